/* SPDX-License-Identifier: BSD-3-Clause */
/* ring: one set of words for both layouts; the burst bodies of the device types are written in them. */
#ifndef VNICD_RING_H
#define VNICD_RING_H

#include "packed.h"
#include "split.h"
#include "virtq.h"

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

/* Give back the oldest fetched chain; `len` bytes were written to it. */
TEMPLATE void
virtq_retire(struct virtq *vq, const struct virtq_conf *conf, const struct virtq_elem *elem, uint32_t len,
	     const uint32_t traits)
{
	if (traits & TRAIT_PACKED) {
		if (traits & TRAIT_LOG)
			gmem_log_mark(conf->log,
				      conf->used_gpa + vq->used_idx * sizeof(struct vring_packed_desc),
				      sizeof(struct vring_packed_desc));
		packed_retire(vq, conf, elem->id, len, elem->n_desc);
		vq->batch = (uint16_t)(vq->batch + elem->n_desc);
	} else {
		split_retire(vq, conf, elem->id, len);
		vq->batch++;
	}
}

/*
 * Packed and IN_ORDER: give back n (1 or more) chains, oldest first, nothing written to any, with one used
 * element that has the last chain's id ("In-order use of descriptors").
 */
TEMPLATE void
virtq_retire_batch(struct virtq *vq, const struct virtq_conf *conf, const struct virtq_elem elems[],
		   uint16_t n, const uint32_t traits)
{
	uint16_t slots = 0;

	for (uint16_t i = 0; i < n; i++)
		slots = (uint16_t)(slots + elems[i].n_desc);
	if (traits & TRAIT_LOG)
		gmem_log_mark(conf->log, conf->used_gpa + vq->used_idx * sizeof(struct vring_packed_desc),
			      sizeof(struct vring_packed_desc));
	packed_retire(vq, conf, elems[n - 1].id, 0, slots);
	vq->batch = (uint16_t)(vq->batch + slots);
}

/* A full burst was taken, so there is likely to be another: have its descriptors on their way meanwhile. */
TEMPLATE void
virtq_prefetch_next(const struct virtq_conf *conf, struct virtq_cursor at, const uint32_t traits)
{
	if (traits & TRAIT_PACKED)
		packed_prefetch(conf, at.idx, VIRTQ_FETCH_MAX);
}

/* Let the driver see what was retired. */
TEMPLATE void
virtq_publish(struct virtq *vq, const struct virtq_conf *conf, const uint32_t traits)
{
	if (traits & TRAIT_PACKED) {
		packed_publish(vq, conf);
	} else {
		if (traits & TRAIT_LOG)
			split_log(vq, conf, (uint16_t)(vq->used_idx - vq->batch), vq->batch);
		split_publish(vq, conf);
	}
	vq->unsignalled = (uint16_t)(vq->unsignalled + vq->batch);
	vq->batch = 0;
}

#endif
