/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * traits: what one queue's burst functions are specialised for.
 *
 * The same bodies run with a constant word (the specialised variants) and with the word read from the queue
 * (the generic variant: the fallback, and the oracle that the others are tested against).
 */
#ifndef VNICD_TRAITS_H
#define VNICD_TRAITS_H

#include <stdint.h>

enum virtq_trait {
	TRAIT_PACKED = 1 << 0,   /* VIRTIO_F_RING_PACKED */
	TRAIT_IN_ORDER = 1 << 1, /* VIRTIO_F_IN_ORDER */
	TRAIT_LOG = 1 << 2,      /* every page written is marked in the dirty log */
	/* Number of traits words of a ring; the bits from here on are the device type's. */
	TRAIT_VIRTQ_N = 1 << 3,
	/* A packed ring's position is kept in memory of the front-end's (inflight.h). Words with it run
	 * generic functions. */
	TRAIT_INFLIGHT = 1 << 16,
};

#endif
