/* SPDX-License-Identifier: BSD-3-Clause */
/* split: the primitives of the split layout (VIRTIO, "Split Virtqueues"). Twin of packed.h; used by ring.h
 * only. */
#ifndef VNICD_SPLIT_H
#define VNICD_SPLIT_H

#include "prefetch.h"
#include "virtq.h"

enum { SPLIT_USED_PER_LINE = 8 }; /* used elements in a cache line */

/* Fetch once: two loads into private memory, whatever the driver does meanwhile. */
static inline struct vring_desc
split_load(const struct vring_desc *table, uint16_t i)
{
	const uint64_t *p = (const uint64_t *)&table[i];
	union {
		uint64_t word[2];
		struct vring_desc desc;
	} u;

	u.word[0] = __atomic_load_n(&p[0], __ATOMIC_RELAXED);
	u.word[1] = __atomic_load_n(&p[1], __ATOMIC_RELAXED);
	return u.desc;
}

/* How many chains are available from the cursor on, n at most. */
static inline uint16_t
split_ready(struct virtq *vq, const struct virtq_conf *conf, struct virtq_cursor at, uint16_t n)
{
	uint16_t ready = (uint16_t)(vq->avail_seen - at.idx);

	if (ready < n) {
		/* Acquire: pairs with the driver's write barrier before it moves the index. */
		vq->avail_seen = __atomic_load_n(&conf->avail->idx, __ATOMIC_ACQUIRE);
		ready = (uint16_t)(vq->avail_seen - at.idx);
		if (likely_false((uint16_t)(vq->avail_seen - vq->avail.idx) > conf->size)) {
			virtq_break(vq, FAULT_AVAIL_JUMP);
			/* The invalid index is not used by later calls either. */
			vq->avail_seen = vq->avail.idx;
			return 0;
		}
	}
	return ready < n ? ready : n;
}

static inline uint16_t
split_fetch(struct virtq *vq, const struct virtq_conf *conf, struct virtq_cursor *at,
	    struct virtq_elem elems[], uint16_t n)
{
	n = split_ready(vq, conf, *at, n);
	/* The used elements of this burst will be written. */
	for (uint16_t i = 0; i < n; i = (uint16_t)(i + SPLIT_USED_PER_LINE))
		prefetch_write(&conf->used->ring[(uint16_t)(vq->used_idx + i) & conf->mask]);
	for (uint16_t i = 0; i < n; i++) {
		elems[i].head = __atomic_load_n(&conf->avail->ring[(uint16_t)(at->idx + i) & conf->mask],
						__ATOMIC_RELAXED);
		if (likely_false(elems[i].head >= conf->size)) {
			/* What came before is fine; the queue breaks when this one is the next. */
			if (i == 0)
				virtq_break(vq, FAULT_HEAD_RANGE);
			n = i;
			break;
		}
		prefetch_read(&conf->desc[elems[i].head]);
	}
	for (uint16_t i = 0; i < n; i++) {
		struct vring_desc desc = split_load(conf->desc, elems[i].head);

		elems[i].addr = desc.addr;
		elems[i].len = desc.len;
		elems[i].flags = desc.flags;
		elems[i].id = elems[i].head;
		elems[i].next = desc.next;
		elems[i].n_desc = 1;
	}
	at->idx = (uint16_t)(at->idx + n);
	return n;
}

static inline void
split_retire(struct virtq *vq, const struct virtq_conf *conf, uint16_t id, uint32_t len)
{
	void *slot = &conf->used->ring[vq->used_idx & conf->mask];
	union {
		struct vring_used_elem elem;
		uint64_t word;
	} u = {.elem = {.id = id, .len = len}};

	/* Not visible to the driver before publish moves the index. The ring is 4-byte aligned: two plain
	 * stores or one. */
	__builtin_memcpy(slot, &u.word, sizeof(u.word));
	vq->used_idx++;
	vq->avail.idx++;
}

static inline void
split_publish(struct virtq *vq, const struct virtq_conf *conf)
{
	/* Release: pairs with the driver's read barrier after it sees the index. */
	__atomic_store_n(&conf->used->idx, vq->used_idx, __ATOMIC_RELEASE);
}

/* n used elements from `first` on were written, and the index. */
static inline void
split_log(const struct virtq_conf *conf, uint16_t first, uint16_t n)
{
	uint16_t from = first & conf->mask;
	uint32_t until_end = n < conf->size - from ? n : (uint32_t)(conf->size - from);
	const uint64_t ring = conf->used_gpa + offsetof(struct vring_used, ring);

	gmem_log_mark(conf->log, ring + from * sizeof(struct vring_used_elem),
		      until_end * sizeof(struct vring_used_elem));
	gmem_log_mark(conf->log, ring, (n - until_end) * sizeof(struct vring_used_elem));
	gmem_log_mark(conf->log, conf->used_gpa, offsetof(struct vring_used, ring));
}

#endif
