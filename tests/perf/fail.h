/* SPDX-License-Identifier: BSD-3-Clause */
/* fail.h: the null guest ends at the first error, with one line that says the cause. */
#ifndef PERF_FAIL_H
#define PERF_FAIL_H

__attribute__((noreturn, cold, format(printf, 1, 2))) void fail(const char *fmt, ...);

#endif
