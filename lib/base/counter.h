/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * counter: counts of one writer that anybody may read meanwhile.
 *
 * A load and a store of the whole word, without order and without a lock: it costs what a plain `+=` does,
 * but has a meaning when another thread reads. Each value read was the counter's at some moment; two counters
 * are not of the same moment. The writer itself may read its counters as they are.
 */
#ifndef VNICD_COUNTER_H
#define VNICD_COUNTER_H

#include <stdint.h>

/* The only writer. */
static inline void
counter_add(uint64_t *counter, uint64_t n)
{
	__atomic_store_n(counter, *counter + n, __ATOMIC_RELAXED);
}

/* Anybody. */
static inline uint64_t
counter_read(const uint64_t *counter)
{
	return __atomic_load_n(counter, __ATOMIC_RELAXED);
}

#endif
