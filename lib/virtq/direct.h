/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * direct: bursts of direct chains, which nearly all chains are: one descriptor, not indirect, in the region
 * where most buffers lie.
 *
 * These are the types for both layouts. direct_scalar.h, direct_avx2.h and direct_avx512.h have the same functions;
 * ring.h includes one of them, depending on the ISA variant that the file is compiled for.
 */
#ifndef VNICD_DIRECT_H
#define VNICD_DIRECT_H

#include "virtq.h"

/* Up to VIRTQ_FETCH_MAX direct chains, checked and translated; their descriptors are not read again. */
struct virtq_direct {
	uint8_t *va[VIRTQ_FETCH_MAX];
	uint64_t used[VIRTQ_FETCH_MAX]; /* the used element of each, its length 0 */
	uint32_t len[VIRTQ_FETCH_MAX];
} __attribute__((aligned(64)));

/* What a descriptor must meet for its chain to be fetched as a direct one. */
struct direct_constraints {
	uint16_t flags;   /* VRING_DESC_F_WRITE: device-writable; 0: device-readable */
	uint32_t len_min; /* bytes */
	uint32_t len_max;
};

enum {
	DIRECT_NONE = 0,  /* no chain is available */
	DIRECT_SLOW = -1, /* the next chain is not direct, does not meet the constraints, or is malformed:
			   use virtq_fetch() and virtq_walk() */
};

/* The flags that are compared with those of the constraints. */
#define DIRECT_FLAGS (VRING_DESC_F_NEXT | VRING_DESC_F_INDIRECT | VRING_DESC_F_WRITE)

#endif
