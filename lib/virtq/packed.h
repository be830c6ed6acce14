/* SPDX-License-Identifier: BSD-3-Clause */
/* packed: the primitives of the packed layout (VIRTIO, "Packed Virtqueues"). Twin of split.h; used by ring.h
 * and virtq.c. */
#ifndef VNICD_PACKED_H
#define VNICD_PACKED_H

#include "prefetch.h"
#include "virtq.h"

enum {
	PACKED_AVAIL = 1 << VRING_PACKED_DESC_F_AVAIL,
	PACKED_USED = 1 << VRING_PACKED_DESC_F_USED,
	PACKED_PER_LINE = 4, /* descriptors in a cache line */
};

/* The second half of a descriptor: length, id and flags are read and written as one word. */
union packed_word {
	struct {
		uint32_t len;
		uint16_t id;
		uint16_t flags;
	};
	uint64_t word;
};

static inline union packed_word
packed_load_word(const struct vring_packed_desc *desc)
{
	union packed_word w;

	/* Acquire: pairs with the driver's write barrier before it stores the flags. */
	w.word = __atomic_load_n((const uint64_t *)desc + 1, __ATOMIC_ACQUIRE);
	return w;
}

static inline uint64_t
packed_load_addr(const struct vring_packed_desc *desc)
{
	return __atomic_load_n((const uint64_t *)desc, __ATOMIC_RELAXED);
}

/* Available to the device: AVAIL equals the driver's wrap counter, USED does not ("Available and Used
 * flags"). */
static inline bool
packed_is_available(uint16_t flags, bool wrap)
{
	const uint16_t both = PACKED_AVAIL | PACKED_USED;

	return (flags & both) == (wrap ? PACKED_AVAIL : PACKED_USED);
}

static inline void
packed_advance(const struct virtq_conf *conf, uint16_t *idx, bool *wrap, uint16_t n)
{
	uint32_t next = (uint32_t)*idx + n;

	if (next >= conf->size) {
		next -= conf->size;
		*wrap = !*wrap;
	}
	*idx = (uint16_t)next;
}

/* The length of the list that starts at `head` and the id in its last descriptor; 0: longer than the ring. */
static inline uint16_t
packed_list_length(const struct virtq_conf *conf, uint16_t head, uint16_t *ret_id)
{
	uint16_t i = head;
	bool wrap = false;

	for (uint16_t n = 1; n <= conf->size; n++) {
		union packed_word w = packed_load_word(&conf->ring[i]);

		if (!(w.flags & VRING_DESC_F_NEXT)) {
			*ret_id = w.id;
			return n;
		}
		packed_advance(conf, &i, &wrap, 1);
	}
	return 0;
}

/*
 * A burst's descriptors are read when they are fetched and written when they are retired: prefetch all their
 * lines for writing at once, so that neither step waits for the driver's CPU line by line.
 */
static inline void
packed_prefetch(const struct virtq_conf *conf, uint32_t slot, uint16_t n)
{
	for (uint16_t i = 0; i < n; i = (uint16_t)(i + PACKED_PER_LINE)) {
		prefetch_write(&conf->ring[slot]);
		slot += PACKED_PER_LINE;
		if (slot >= conf->size)
			slot = 0;
	}
}

static inline uint16_t
packed_fetch(struct virtq *vq, const struct virtq_conf *conf, struct virtq_cursor *at,
	     struct virtq_elem elems[], uint16_t n)
{
	/* Slots between the queue's position and the cursor; more than the ring holds can't be outstanding.
	 */
	uint32_t taken = (uint32_t)(at->idx - vq->avail.idx);

	if (at->wrap != vq->avail.wrap)
		taken = (uint32_t)(at->idx + conf->size - vq->avail.idx);
	/* Descriptors of an empty ring are not prefetched: the driver is going to write them. */
	if (!packed_is_available(packed_load_word(&conf->ring[at->idx]).flags, at->wrap))
		return 0;
	packed_prefetch(conf, at->idx, n);
	for (uint16_t i = 0; i < n; i++) {
		const struct vring_packed_desc *desc = &conf->ring[at->idx];
		union packed_word w = packed_load_word(desc);

		if (!packed_is_available(w.flags, at->wrap) || taken >= conf->size)
			return i;
		elems[i].addr = packed_load_addr(desc);
		elems[i].len = w.len;
		elems[i].flags = w.flags;
		elems[i].id = w.id;
		elems[i].head = at->idx;
		elems[i].n_desc = 1;
		if (likely_false(w.flags & VRING_DESC_F_NEXT)) {
			elems[i].n_desc = packed_list_length(conf, at->idx, &elems[i].id);
			if (elems[i].n_desc == 0 || elems[i].n_desc > conf->size - taken) {
				/* What came before is fine; the queue breaks when this one is the next. */
				if (taken == 0)
					virtq_break(vq, FAULT_LOOP);
				return i;
			}
		}
		taken += elems[i].n_desc;
		packed_advance(conf, &at->idx, &at->wrap, elems[i].n_desc);
	}
	return n;
}

static inline void
packed_store_word(const struct virtq_conf *conf, uint16_t idx, uint64_t word)
{
	/* Release: pairs with the driver's read barrier after it sees the flags. */
	__atomic_store_n((uint64_t *)&conf->ring[idx] + 1, word, __ATOMIC_RELEASE);
}

/* `advance`: ring slots this used element stands for: those of its chain, or of a whole in-order batch. */
static inline void
packed_retire(struct virtq *vq, const struct virtq_conf *conf, uint16_t id, uint32_t len, uint16_t advance)
{
	union packed_word w = {.len = len, .id = id};

	w.flags =
		(uint16_t)((vq->used_wrap ? PACKED_AVAIL | PACKED_USED : 0) | (len ? VRING_DESC_F_WRITE : 0));
	if (!vq->held) {
		/* The driver looks for this one first: it is stored last, so that no part of a batch is seen
		 * before the rest. */
		vq->held = true;
		vq->held_idx = vq->used_idx;
		vq->held_element = w.word;
	} else {
		packed_store_word(conf, vq->used_idx, w.word);
	}
	packed_advance(conf, &vq->used_idx, &vq->used_wrap, advance);
	packed_advance(conf, &vq->avail.idx, &vq->avail.wrap, advance);
}

static inline void
packed_publish(struct virtq *vq, const struct virtq_conf *conf)
{
	if (!vq->held)
		return;
	packed_store_word(conf, vq->held_idx, vq->held_element);
	vq->held = false;
}

/* Used elements were written in the n slots from `first` on. */
static inline void
packed_log(const struct virtq_conf *conf, uint16_t first, uint16_t n)
{
	uint16_t until_end = (uint16_t)(conf->size - first);

	if (n < until_end)
		until_end = n;
	gmem_log_mark(conf->log, conf->used_gpa + first * sizeof(struct vring_packed_desc),
		      until_end * sizeof(struct vring_packed_desc));
	gmem_log_mark(conf->log, conf->used_gpa,
		      (uint64_t)(n - until_end) * sizeof(struct vring_packed_desc));
}

#endif
