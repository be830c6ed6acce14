/* SPDX-License-Identifier: BSD-3-Clause */
/* direct, one descriptor at a time. See direct.h; twin of direct_avx512.h. */
#ifndef VNICD_DIRECT_SCALAR_H
#define VNICD_DIRECT_SCALAR_H

#include "direct.h"
#include "packed.h"
#include "split.h"

static inline bool
direct_take(const struct virtq_conf *conf, const struct direct_constraints *constraints, uint64_t addr,
	    uint32_t len, uint16_t flags, uint64_t used, struct virtq_direct *direct, uint16_t at)
{
	uint8_t *va = gmem_cache_va(&conf->hot, addr, len);

	if ((flags & DIRECT_FLAGS) != constraints->flags || len < constraints->len_min ||
	    len > constraints->len_max || !va)
		return false;
	direct->va[at] = va;
	direct->len[at] = len;
	direct->used[at] = used;
	return true;
}

/* n (1 or more) entries of the available ring, from the queue's position on, do not pass its end. */
static inline uint16_t
split_direct_load(const struct virtq *vq, const struct virtq_conf *conf,
		  const struct direct_constraints *constraints, struct virtq_direct *direct, uint16_t n)
{
	const uint16_t *ring = &conf->avail->ring[vq->avail.idx & conf->mask];
	uint16_t heads[VIRTQ_FETCH_MAX];

	for (uint16_t i = 0; i < n; i++) {
		heads[i] = __atomic_load_n(&ring[i], __ATOMIC_RELAXED);
		if (likely_false(heads[i] >= conf->size))
			n = i;
		else
			prefetch_read(&conf->desc[heads[i]]);
	}
	for (uint16_t i = 0; i < n; i++) {
		struct vring_desc desc = split_load(conf->desc, heads[i]);

		if (likely_false(!direct_take(conf, constraints, desc.addr, desc.len, desc.flags, heads[i],
					      direct, i)))
			return i;
	}
	return n;
}

/* n used elements from `slot` on, which do not pass the ring's end. */
static inline void
split_direct_store(const struct virtq_conf *conf, uint16_t slot, const uint64_t used[],
		   const uint32_t written[], uint16_t n)
{
	for (uint16_t i = 0; i < n; i++) {
		uint64_t word = used[i] | (written ? (uint64_t)written[i] << 32 : 0);

		/* The ring is 4-byte aligned: two plain stores or one. */
		__builtin_memcpy(&conf->used->ring[slot + i], &word, sizeof(word));
	}
}

/* n slots from `slot` on, which do not pass the ring's end. How many the driver has made available:
 * *ret_n_available. */
static inline uint16_t
packed_direct_load(const struct virtq_conf *conf, const struct direct_constraints *constraints, uint16_t slot,
		   bool wrap, struct virtq_direct *direct, uint16_t at, uint16_t n, uint16_t *ret_n_available)
{
	const uint16_t written = constraints->flags | (wrap ? PACKED_AVAIL | PACKED_USED : 0);

	*ret_n_available = n;
	for (uint16_t i = 0; i < n; i++) {
		const struct vring_packed_desc *desc = &conf->ring[slot + i];
		union packed_word w = packed_load_word(desc);

		if (!packed_is_available(w.flags, wrap)) {
			*ret_n_available = i;
			return i;
		}
		if (likely_false(!direct_take(conf, constraints, packed_load_addr(desc), w.len, w.flags,
					      (uint64_t)w.id << 32 | (uint64_t)written << 48, direct,
					      (uint16_t)(at + i))))
			return i;
	}
	return n;
}

/* n used elements from `slot` on, which do not pass the ring's end, but for the first `skip` (0 or 1). */
static inline void
packed_direct_store(const struct virtq_conf *conf, uint16_t slot, const uint64_t used[],
		    const uint32_t written[], uint16_t n, uint16_t skip)
{
	for (uint16_t i = skip; i < n; i++)
		packed_store_word(conf, (uint16_t)(slot + i), used[i] | (written ? written[i] : 0));
}

#endif
