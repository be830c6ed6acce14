/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * inflight: the part of a queue in the memory that a front-end keeps for the next back-end (vhost-user,
 * "Inflight I/O tracking"). One region a queue, each of virtq_inflight_stride() bytes, in the layout of its
 * ring.
 *
 * Our device returns chains in the order in which it takes them, so what is in flight is always the range
 * from its position on, and that is available still: whoever comes next finds it in the ring. No descriptor
 * is ever marked as in flight. What is left to say is the position: a split ring has it in its used index; of
 * a packed ring it is written here, the new one before buffers are published and the old one after, so that
 * the ring tells which counts.
 *
 * All of it is written by others, too, and is input.
 */
#ifndef VNICD_INFLIGHT_H
#define VNICD_INFLIGHT_H

#include <stdbool.h>
#include <stdint.h>

#include "virtq.h"

enum { INFLIGHT_VERSION = 1, INFLIGHT_ALIGN = 64 };

struct inflight_split {
	uint64_t features;
	uint16_t version; /* 0: nothing is tracked yet */
	uint16_t desc_num;
	uint16_t last_batch_head;
	uint16_t used_idx;
	struct {
		uint8_t inflight;
		uint8_t padding[5];
		uint16_t next;
		uint64_t counter;
	} desc[];
};

struct inflight_packed {
	uint64_t features;
	uint16_t version;
	uint16_t desc_num;
	uint16_t free_head, old_free_head;
	uint16_t used_idx, old_used_idx;
	uint8_t used_wrap, old_used_wrap;
	uint8_t padding[7];
	struct {
		uint8_t inflight;
		uint8_t padding;
		uint16_t next, last, num;
		uint64_t counter;
		uint16_t id, flags;
		uint32_t len;
		uint64_t addr;
	} desc[];
};

_Static_assert(sizeof(struct inflight_split) == 16 && sizeof(((struct inflight_split *)0)->desc[0]) == 16 &&
		       sizeof(struct inflight_packed) == 32 &&
		       sizeof(((struct inflight_packed *)0)->desc[0]) == 32,
	       "as in the specification");

/* Bytes of a queue of `size` descriptors. */
static inline uint64_t
virtq_inflight_stride(uint16_t size, bool packed)
{
	const uint64_t bytes = packed ? 32 + size * 32ull : 16 + size * 16ull;

	return (bytes + INFLIGHT_ALIGN - 1) & ~(uint64_t)(INFLIGHT_ALIGN - 1);
}

/* The position that the region names for a packed ring, as a base, if it is of such a ring and size. */
bool virtq_inflight_base(const void *region, const struct virtq_conf *conf, uint32_t *ret_base);
/* The queue starts: from here on the region is true. */
void virtq_inflight_start(void *region, const struct virtq *vq, const struct virtq_conf *conf,
			  uint64_t features);

/* --- the owner, around the publishing of a packed ring's batch --- */

static inline void
inflight_begin(const struct virtq *vq, const struct virtq_conf *conf)
{
	struct inflight_packed *region = (struct inflight_packed *)conf->inflight;

	region->used_idx = vq->used_idx;
	region->used_wrap = vq->used_wrap;
	/* Release: the ring is published after it, if we die between them. */
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
}

static inline void
inflight_end(const struct virtq *vq, const struct virtq_conf *conf)
{
	struct inflight_packed *region = (struct inflight_packed *)conf->inflight;

	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	region->old_used_idx = vq->used_idx;
	region->old_used_wrap = vq->used_wrap;
}

#endif
