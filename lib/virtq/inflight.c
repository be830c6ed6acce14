/* SPDX-License-Identifier: BSD-3-Clause */
#include "inflight.h"

#include "packed.h"

bool
virtq_inflight_base(const void *memory, const struct virtq_conf *conf, uint32_t *ret_base)
{
	const struct inflight_packed *region = memory;
	uint16_t idx, old_idx, flags;

	if (!(conf->traits & TRAIT_PACKED) || region->version != INFLIGHT_VERSION ||
	    region->desc_num != conf->size)
		return false;
	/* Fetch once: the region may be written meanwhile. The wrap counters are in the ring. */
	idx = __atomic_load_n(&region->used_idx, __ATOMIC_RELAXED);
	old_idx = __atomic_load_n(&region->old_used_idx, __ATOMIC_RELAXED);
	if (idx >= conf->size || old_idx >= conf->size)
		return false;
	/* They differ: the back-end died around publishing. The driver sees the batch if it sees its first.
	 */
	flags = packed_load_word(&conf->ring[old_idx]).flags;
	if (!(flags & PACKED_AVAIL) != !(flags & PACKED_USED))
		idx = old_idx;
	*ret_base = virtq_settle(conf, idx);
	return true;
}

static void
inflight_start_split(struct inflight_split *region, const struct virtq *vq, const struct virtq_conf *conf,
		     uint64_t features)
{
	region->features = features;
	region->desc_num = conf->size;
	region->last_batch_head = 0;
	region->used_idx = vq->used_idx;
	/* What another one had in flight is taken from the ring again. */
	for (uint16_t i = 0; i < conf->size; i++)
		region->desc[i].inflight = 0;
	__atomic_store_n(&region->version, INFLIGHT_VERSION, __ATOMIC_RELEASE);
}

static void
inflight_start_packed(struct inflight_packed *region, const struct virtq *vq, const struct virtq_conf *conf,
		      uint64_t features)
{
	region->features = features;
	region->desc_num = conf->size;
	region->free_head = region->old_free_head = 0;
	for (uint16_t i = 0; i < conf->size; i++) {
		region->desc[i].inflight = 0;
		region->desc[i].next = (uint16_t)(i + 1);
	}
	inflight_begin(vq, conf);
	inflight_end(vq, conf);
	__atomic_store_n(&region->version, INFLIGHT_VERSION, __ATOMIC_RELEASE);
}

void
virtq_inflight_start(void *region, const struct virtq *vq, const struct virtq_conf *conf, uint64_t features)
{
	if (conf->traits & TRAIT_PACKED)
		inflight_start_packed(region, vq, conf, features);
	else
		inflight_start_split(region, vq, conf, features);
}
