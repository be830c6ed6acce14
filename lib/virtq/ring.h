/* SPDX-License-Identifier: BSD-3-Clause */
/* ring: ring operations for both layouts, chosen by traits; the burst functions of device types use these. */
#ifndef VNICD_RING_H
#define VNICD_RING_H

#include "direct.h"
#include "inflight.h"
#include "packed.h"
#include "split.h"
#include "virtq.h"

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512VL__) && defined(__AVX512DQ__)
#include "direct_avx512.h"
#elif defined(__AVX2__) && defined(__BMI2__)
#include "direct_avx2.h"
#else
#include "direct_scalar.h"
#endif

/*
 * Copy up to n (at most VIRTQ_FETCH_MAX) available chains, from the cursor on, to elems[], and move the
 * cursor past them. Returns the count; 0 also when the queue broke.
 */
TEMPLATE uint16_t
virtq_fetch(struct virtq *vq, const struct virtq_conf *conf, struct virtq_cursor *at,
	    struct virtq_elem elems[], uint16_t n, const uint32_t traits)
{
	if (traits & TRAIT_PACKED)
		return packed_fetch(vq, conf, at, elems, n);
	return split_fetch(vq, conf, at, elems, n);
}

/* Return the oldest fetched chain; `len` bytes were written to it. */
TEMPLATE void
virtq_retire(struct virtq *vq, const struct virtq_conf *conf, const struct virtq_elem *elem, uint32_t len,
	     const uint32_t traits)
{
	if (traits & TRAIT_PACKED) {
		packed_retire(vq, conf, elem->id, len, elem->n_desc);
		vq->batch = (uint16_t)(vq->batch + elem->n_desc);
	} else {
		split_retire(vq, conf, elem->id, len);
		vq->batch++;
	}
}

/*
 * Packed and IN_ORDER: return n (1 or more) chains, oldest first, nothing written to any, with one used
 * element that has the last chain's id (VIRTIO, "In-order use of descriptors").
 */
TEMPLATE void
virtq_retire_batch(struct virtq *vq, const struct virtq_conf *conf, const struct virtq_elem elems[],
		   uint16_t n, const uint32_t traits)
{
	uint16_t slots = 0;

	for (uint16_t i = 0; i < n; i++)
		slots = (uint16_t)(slots + elems[i].n_desc);
	packed_retire(vq, conf, elems[n - 1].id, 0, slots);
	vq->batch = (uint16_t)(vq->batch + slots);
}

/* --- bursts of direct chains --- */

TEMPLATE int
split_fetch_direct(struct virtq *vq, const struct virtq_conf *conf,
		   const struct direct_constraints *constraints, struct virtq_direct *direct, uint16_t n)
{
	const uint16_t until_end = (uint16_t)(conf->size - (vq->avail.idx & conf->mask));

	n = split_ready(vq, conf, vq->avail, n);
	if (n == 0)
		return virtq_is_broken(vq) ? DIRECT_SLOW : DIRECT_NONE;
	if (n > until_end)
		n = until_end;
	/* The used elements of this burst will be written. */
	for (uint16_t i = 0; i < n; i = (uint16_t)(i + SPLIT_USED_PER_LINE))
		prefetch_write(&conf->used->ring[(uint16_t)(vq->used_idx + i) & conf->mask]);
	n = split_direct_load(vq, conf, constraints, direct, n);
	return n ? n : DIRECT_SLOW;
}

TEMPLATE int
packed_fetch_direct(const struct virtq *vq, const struct virtq_conf *conf,
		    const struct direct_constraints *constraints, struct virtq_direct *direct, uint16_t n)
{
	const uint16_t slot = vq->avail.idx, until_end = (uint16_t)(conf->size - slot);
	uint16_t n_first = n < until_end ? n : until_end, n_available, taken;

	/* Descriptors of an empty ring are not prefetched: the driver is going to write them. */
	if (!packed_is_available(packed_load_word(&conf->ring[slot]).flags, vq->avail.wrap))
		return DIRECT_NONE;
	packed_prefetch(conf, slot, n);
	taken = packed_direct_load(conf, constraints, slot, vq->avail.wrap, direct, 0, n_first, &n_available);
	if (taken == n_first && n_first < n) {
		/* On from the beginning of the ring, but not into slots that this burst has already. */
		uint16_t n_rest = (uint16_t)(n - n_first);

		if (n_rest > slot)
			n_rest = slot;
		taken = (uint16_t)(taken + packed_direct_load(conf, constraints, 0, !vq->avail.wrap, direct,
							      taken, n_rest, &n_available));
	}
	if (likely_true(taken))
		return taken;
	return n_available ? DIRECT_SLOW : DIRECT_NONE;
}

/*
 * Fetch up to n (at most VIRTQ_FETCH_MAX) chains from the queue's position on, up to the first that is not
 * direct or does not meet the constraints. The position stays. Returns the count, DIRECT_NONE or DIRECT_SLOW.
 */
TEMPLATE int
virtq_fetch_direct(struct virtq *vq, const struct virtq_conf *conf,
		   const struct direct_constraints *constraints, struct virtq_direct *direct, uint16_t n,
		   const uint32_t traits)
{
	if (traits & TRAIT_PACKED)
		return packed_fetch_direct(vq, conf, constraints, direct, n);
	return split_fetch_direct(vq, conf, constraints, direct, n);
}

/* The same, for looking ahead: of a split ring, DIRECT_NONE unless n chains are known to be available,
 * without reading the available index again. */
TEMPLATE int
virtq_peek_direct(struct virtq *vq, const struct virtq_conf *conf,
		  const struct direct_constraints *constraints, struct virtq_direct *direct, uint16_t n,
		  const uint32_t traits)
{
	if (!(traits & TRAIT_PACKED) && (uint16_t)(vq->avail_seen - vq->avail.idx) < n)
		return DIRECT_NONE;
	return virtq_fetch_direct(vq, conf, constraints, direct, n, traits);
}

TEMPLATE void
split_retire_direct(struct virtq *vq, const struct virtq_conf *conf, const struct virtq_direct *direct,
		    const uint32_t written[], uint16_t n)
{
	const uint16_t slot = vq->used_idx & conf->mask, until_end = (uint16_t)(conf->size - slot);
	const uint16_t n_first = n < until_end ? n : until_end;

	split_direct_store(conf, slot, direct->used, written, n_first);
	if (likely_false(n_first < n))
		split_direct_store(conf, 0, &direct->used[n_first], written ? &written[n_first] : NULL,
				   (uint16_t)(n - n_first));
	vq->used_idx = (uint16_t)(vq->used_idx + n);
	vq->avail.idx = (uint16_t)(vq->avail.idx + n);
}

TEMPLATE void
packed_retire_direct(struct virtq *vq, const struct virtq_conf *conf, const struct virtq_direct *direct,
		     const uint32_t written[], uint16_t n)
{
	const uint16_t slot = vq->used_idx, until_end = (uint16_t)(conf->size - slot);
	const uint16_t n_first = n < until_end ? n : until_end;
	uint16_t skip = 0;

	if (!vq->held) {
		/* As in packed_retire(). */
		vq->held = true;
		vq->held_idx = slot;
		vq->held_element = direct->used[0] | (written ? written[0] : 0);
		skip = 1;
	}
	packed_direct_store(conf, slot, direct->used, written, n_first, skip);
	if (likely_false(n_first < n))
		packed_direct_store(conf, 0, &direct->used[n_first], written ? &written[n_first] : NULL,
				    (uint16_t)(n - n_first), 0);
	packed_advance(conf, &vq->used_idx, &vq->used_wrap, n);
	packed_advance(conf, &vq->avail.idx, &vq->avail.wrap, n);
}

/*
 * Return the first n (1 or more) chains of `direct`. written[]: bytes written to each; NULL: none to any, and
 * then a packed ring with IN_ORDER gets one used element for all of them.
 */
TEMPLATE void
virtq_retire_direct(struct virtq *vq, const struct virtq_conf *conf, const struct virtq_direct *direct,
		    const uint32_t written[], uint16_t n, const uint32_t traits)
{
	if (!(traits & TRAIT_PACKED)) {
		split_retire_direct(vq, conf, direct, written, n);
	} else if (traits & TRAIT_IN_ORDER && !written) {
		packed_retire(vq, conf, (uint16_t)(direct->used[n - 1] >> 32), 0, n);
	} else {
		packed_retire_direct(vq, conf, direct, written, n);
	}
	vq->batch = (uint16_t)(vq->batch + n);
}

/* The position that is n direct chains after the queue's. */
TEMPLATE struct virtq_cursor
virtq_cursor_after(const struct virtq *vq, const struct virtq_conf *conf, uint16_t n, const uint32_t traits)
{
	struct virtq_cursor at = vq->avail;

	if (traits & TRAIT_PACKED)
		packed_advance(conf, &at.idx, &at.wrap, n);
	else
		at.idx = (uint16_t)(at.idx + n);
	return at;
}

/* After a full burst: prefetch the descriptors of the next one, which is likely to be there. */
TEMPLATE void
virtq_prefetch_next(const struct virtq *vq, const struct virtq_conf *conf, struct virtq_cursor at,
		    const uint32_t traits)
{
	if (traits & TRAIT_PACKED) {
		/* only if the last of them is available already */
		uint32_t far = at.idx + VIRTQ_FETCH_MAX - 1;
		bool wrap = at.wrap;
		if (far >= conf->size) {
			far -= conf->size;
			wrap = !wrap;
		}
		if (packed_is_available(packed_load_word(&conf->ring[far]).flags, wrap))
			packed_prefetch(conf, at.idx, VIRTQ_FETCH_MAX);
	} else if (vq->avail_seen != at.idx)
		prefetch_read(&conf->avail->ring[at.idx & conf->mask]);
}

/* Mark in the dirty log what virtq_publish() has written. */
TEMPLATE void
virtq_log(const struct virtq *vq, const struct virtq_conf *conf, const uint32_t traits)
{
	if (traits & TRAIT_PACKED) {
		uint16_t first = vq->used_idx;

		if (first < vq->batch)
			first = (uint16_t)(first + conf->size);
		packed_log(conf, (uint16_t)(first - vq->batch), vq->batch);
	} else {
		split_log(conf, (uint16_t)(vq->used_idx - vq->batch), vq->batch);
	}
}

/*
 * Make visible to the driver what was retired. With TRAIT_LOG this executes gmem_log_fence(), so that
 * whatever was written to the chains' buffers before may be marked after it without another one.
 */
TEMPLATE void
virtq_publish(struct virtq *vq, const struct virtq_conf *conf, const uint32_t traits)
{
	if (traits & TRAIT_INFLIGHT)
		inflight_begin(vq, conf);
	if (traits & TRAIT_PACKED)
		packed_publish(vq, conf);
	else
		split_publish(vq, conf);
	if (traits & TRAIT_INFLIGHT)
		inflight_end(vq, conf);
	if (traits & TRAIT_LOG) {
		gmem_log_fence();
		virtq_log(vq, conf, traits);
	}
	vq->unsignalled = (uint16_t)(vq->unsignalled + vq->batch);
	vq->batch = 0;
}

#endif
