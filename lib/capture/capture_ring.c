/* SPDX-License-Identifier: BSD-3-Clause */
/* capture_ring: contract in capture_ring.h. */
#include "capture_ring.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

int
capture_ring_open(struct capture_ring *ring, uint64_t size)
{
	void *bytes;

	memset(ring, 0, sizeof(*ring));
	size = rte_align64pow2(size);
	bytes = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (bytes == MAP_FAILED)
		return -ENOMEM;
	ring->bytes = bytes;
	ring->size = size;
	return 0;
}

void
capture_ring_close(struct capture_ring *ring)
{
	if (ring->bytes)
		munmap(ring->bytes, ring->size);
	memset(ring, 0, sizeof(*ring));
}

static struct capture_record_head *
ring_head_at(const struct capture_ring *ring, uint64_t at)
{
	return (struct capture_record_head *)(ring->bytes + (at & (ring->size - 1)));
}

void *
capture_ring_reserve(struct capture_ring *ring, uint32_t len)
{
	const uint32_t need =
		RTE_ALIGN_CEIL((uint32_t)sizeof(struct capture_record_head) + len, CAPTURE_RECORD_ALIGN);
	const uint64_t to_end = ring->size - (ring->next & (ring->size - 1));
	const uint64_t skipped = need > to_end ? to_end : 0;
	struct capture_record_head *head;

	if (ring->next + skipped + need - ring->tail_seen > ring->size) {
		/* Acquire: pairs with the release in capture_ring_take(); it has read what was there. */
		ring->tail_seen = atomic_load_explicit(&ring->tail, memory_order_acquire);
		if (ring->next + skipped + need - ring->tail_seen > ring->size)
			return NULL;
	}
	if (skipped) {
		ring_head_at(ring, ring->next)->size = 0;
		ring->next += skipped;
	}
	head = ring_head_at(ring, ring->next);
	head->size = need;
	ring->next += need;
	return head + 1;
}

const void *
capture_ring_peek(struct capture_ring *ring)
{
	const uint64_t head = atomic_load_explicit(&ring->head, memory_order_acquire);

	if (ring->at == head)
		return NULL;
	if (ring_head_at(ring, ring->at)->size == 0)
		ring->at += ring->size - (ring->at & (ring->size - 1));
	return ring_head_at(ring, ring->at) + 1;
}

void
capture_ring_take(struct capture_ring *ring)
{
	ring->at += ring_head_at(ring, ring->at)->size;
	atomic_store_explicit(&ring->tail, ring->at, memory_order_release);
}
