/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * direct: chains of one descriptor, without surprises, which nearly all are, taken and given back by the
 * burst.
 *
 * Here are the words for both layouts; direct_scalar.h and direct_avx512.h are two bodies for them that do
 * the same, of which ring.h takes one by what the file is compiled for.
 */
#ifndef VNICD_DIRECT_H
#define VNICD_DIRECT_H

#include "virtq.h"

/* Up to VIRTQ_FETCH_MAX direct chains: checked, translated, and nothing of them left in the guest's memory.
 */
struct virtq_direct {
	uint8_t *va[VIRTQ_FETCH_MAX];
	uint64_t used[VIRTQ_FETCH_MAX]; /* the used element of each, but for its length */
	uint32_t len[VIRTQ_FETCH_MAX];
} __attribute__((aligned(64)));

/* What a queue's chains have to be like. */
struct direct_constraints {
	uint16_t flags;   /* VRING_DESC_F_WRITE, or 0 */
	uint32_t len_min; /* bytes */
	uint32_t len_max;
};

enum {
	DIRECT_NONE = 0,  /* the driver has made nothing available */
	DIRECT_SLOW = -1, /* the next chain is not direct, or is nonsense: virtq_fetch() and virtq_walk() say
			   which */
};

/* The bits of a descriptor that direct ones have as the constraints say: no list, no table, the right
 * direction. */
#define DIRECT_FLAGS (VRING_DESC_F_NEXT | VRING_DESC_F_INDIRECT | VRING_DESC_F_WRITE)

#endif
