/* SPDX-License-Identifier: BSD-3-Clause */
#include "inflight.h"

#include "packed.h"

/* Fetch once: the region may be written meanwhile. */
static struct virtq_cursor
inflight_cursor(const uint16_t *idx, const uint8_t *wrap)
{
	return (struct virtq_cursor){.idx = __atomic_load_n(idx, __ATOMIC_RELAXED),
				     .wrap = __atomic_load_n(wrap, __ATOMIC_RELAXED) != 0};
}

static bool
inflight_is_used(const struct virtq_conf *conf, struct virtq_cursor at)
{
	const uint16_t both = PACKED_AVAIL | PACKED_USED;

	return (packed_load_word(&conf->ring[at.idx]).flags & both) == (at.wrap ? both : 0);
}

bool
virtq_inflight_base(const void *memory, const struct virtq_conf *conf, uint32_t *ret_base)
{
	const struct inflight_packed *region = memory;
	struct virtq_cursor at, old;
	uint32_t half;

	if (!(conf->traits & TRAIT_PACKED) || region->version != INFLIGHT_VERSION ||
	    region->desc_num != conf->size)
		return false;
	at = inflight_cursor(&region->used_idx, &region->used_wrap);
	old = inflight_cursor(&region->old_used_idx, &region->old_used_wrap);
	if (at.idx >= conf->size || old.idx >= conf->size)
		return false;
	/* They differ: the back-end died around publishing. The driver sees the batch if it sees its first.
	 */
	if ((at.idx != old.idx || at.wrap != old.wrap) && !inflight_is_used(conf, old))
		at = old;
	half = at.idx | (at.wrap ? BASE_AVAIL_WRAP : 0u);
	*ret_base = half | half << BASE_USED_SHIFT;
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
