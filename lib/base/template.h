/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * template: marks a function whose `traits` argument has to fold to a constant in each specialised caller.
 *
 * Only for bodies that are instantiated more than once; a few shared lines are plain `static inline`.
 */
#ifndef VNICD_TEMPLATE_H
#define VNICD_TEMPLATE_H

#define TEMPLATE static inline __attribute__((always_inline))
#define NOINLINE __attribute__((noinline))
#define likely_true(x) __builtin_expect(!!(x), 1)
#define likely_false(x) __builtin_expect(!!(x), 0)

#endif
