/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * capture_ring: what one worker has seen, on its way to the thread that writes it: a bounded ring of bytes
 * with one writer and one reader, neither of which waits.
 *
 *     | record | record | record |     room      |     `size` bytes; positions count on and on
 *     ^ tail, the reader's       ^ head, the worker's
 *
 * A record lies in one piece. One that does not fit before the end of the memory begins at its start, and the
 * rest there is skipped.
 */
#ifndef VNICD_CAPTURE_RING_H
#define VNICD_CAPTURE_RING_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include <rte_common.h>

enum { CAPTURE_RECORD_ALIGN = 8 };

/* In front of each record. */
struct capture_record_head {
	uint32_t size; /* bytes to the next one, this included; 0: it is at the start of the memory */
	uint32_t unused;
};

struct capture_ring {
	uint8_t *bytes;
	uint64_t size; /* a power of two */
	/* The worker's. */
	uint64_t next __rte_cache_aligned; /* where its next record goes: head, and what is not committed */
	uint64_t tail_seen;
	_Atomic uint64_t head;
	/* The reader's. */
	_Atomic uint64_t tail __rte_cache_aligned;
	uint64_t at; /* the record that was read last is before it */
} __rte_cache_aligned;

/* Control thread. Its memory is there at once, so that a worker does not have to wait for it. `size` is
 * rounded up to a power of two. 0 or -ENOMEM. */
int capture_ring_open(struct capture_ring *ring, uint64_t size);
/* Accepts one that is all zero. */
void capture_ring_close(struct capture_ring *ring);

/* Worker: room for `len` bytes, which the reader gets with capture_ring_commit(). NULL: there is none. */
void *capture_ring_reserve(struct capture_ring *ring, uint32_t len);
static inline void
capture_ring_commit(struct capture_ring *ring)
{
	/* Release: pairs with the acquire in capture_ring_peek(). */
	atomic_store_explicit(&ring->head, ring->next, memory_order_release);
}

/* Reader: the next record, again until capture_ring_take() has taken it. NULL: there is none. */
const void *capture_ring_peek(struct capture_ring *ring);
void capture_ring_take(struct capture_ring *ring);

#endif
