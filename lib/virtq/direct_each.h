/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * direct, one descriptor at a time: all that direct_scalar.h does, and in direct_avx2.h what is no whole
 * group.
 */
#ifndef VNICD_DIRECT_EACH_H
#define VNICD_DIRECT_EACH_H

#include "direct.h"
#include "packed.h"
#include "split.h"

TEMPLATE bool
direct_take_one(const struct gmem_cache *hot, const struct direct_constraints *constraints, uint64_t addr,
		uint32_t len, uint16_t flags, uint64_t used, struct virtq_direct *direct, uint16_t at)
{
	uint8_t *va = gmem_cache_va(hot, addr, len);

	if ((flags & DIRECT_FLAGS) != constraints->flags || len < constraints->len_min ||
	    len > constraints->len_max || !va)
		return false;
	direct->va[at] = va;
	direct->len[at] = len;
	direct->used[at] = used;
	return true;
}

/* The chains of heads[at .. n), which are in the table, go to direct[at..]. Returns where it ended. */
TEMPLATE uint16_t
split_direct_take_each(const struct virtq_conf *conf, const struct direct_constraints *constraints,
		       const uint16_t heads[], struct virtq_direct *direct, uint16_t at, uint16_t n)
{
	/* Copies: what is stored might be these, for all that the compiler knows. */
	const struct gmem_cache hot = conf->hot;
	const struct direct_constraints own = *constraints;
	const struct vring_desc *const table = conf->desc;

	for (uint16_t i = at; i < n; i++) {
		struct vring_desc desc = split_load(table, heads[i]);

		if (likely_false(!direct_take_one(&hot, &own, desc.addr, desc.len, desc.flags, heads[i],
						  direct, i)))
			return i;
	}
	return n;
}

/* split_direct_load() */
TEMPLATE uint16_t
split_direct_load_each(const struct virtq *vq, const struct virtq_conf *conf,
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
	return split_direct_take_each(conf, constraints, heads, direct, 0, n);
}

/* split_direct_store(), of used[at .. n) */
TEMPLATE void
split_direct_store_each(const struct virtq_conf *conf, uint16_t slot, const uint64_t used[],
			const uint32_t written[], uint16_t at, uint16_t n)
{
	struct vring_used_elem *const ring = &conf->used->ring[slot];

	for (uint16_t i = at; i < n; i++) {
		uint64_t word = used[i] | (written ? (uint64_t)written[i] << 32 : 0);

		/* The ring is 4-byte aligned: two plain stores or one. */
		__builtin_memcpy(&ring[i], &word, sizeof(word));
	}
}

/* packed_direct_load() */
TEMPLATE uint16_t
packed_direct_load_each(const struct virtq_conf *conf, const struct direct_constraints *constraints,
			uint16_t slot, bool wrap, struct virtq_direct *direct, uint16_t at, uint16_t n,
			uint16_t *ret_n_available)
{
	const uint16_t written = constraints->flags | (wrap ? PACKED_AVAIL | PACKED_USED : 0);
	const struct gmem_cache hot = conf->hot;
	const struct direct_constraints own = *constraints;
	const struct vring_packed_desc *const ring = &conf->ring[slot];

	*ret_n_available = n;
	for (uint16_t i = 0; i < n; i++) {
		const struct vring_packed_desc *desc = &ring[i];
		union packed_word w = packed_load_word(desc);

		if (!packed_is_available(w.flags, wrap)) {
			*ret_n_available = i;
			return i;
		}
		if (likely_false(!direct_take_one(&hot, &own, packed_load_addr(desc), w.len, w.flags,
						  (uint64_t)w.id << 32 | (uint64_t)written << 48, direct,
						  (uint16_t)(at + i))))
			return i;
	}
	return n;
}

/* packed_direct_store(), of used[at .. n) */
TEMPLATE void
packed_direct_store_each(const struct virtq_conf *conf, uint16_t slot, const uint64_t used[],
			 const uint32_t written[], uint16_t at, uint16_t n)
{
	for (uint16_t i = at; i < n; i++)
		packed_store_word(conf, (uint16_t)(slot + i), used[i] | (written ? written[i] : 0));
}

#endif
