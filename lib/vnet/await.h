/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * await: a short wait for a guest that has no receive buffers left
 * (docs/decisions/0043-waiting-for-a-guest.md).
 *
 * Before a burst of frames goes to a queue with fewer buffers than frames, its worker looks again, a few
 * times, until there are enough. Others wait meanwhile, so a wait is short, and all waits of a worker
 * together take at most a part of its time: an allowance that fills while it does not wait.
 */
#ifndef VNICD_AWAIT_H
#define VNICD_AWAIT_H

#include <stdint.h>

#include "port.h"
#include "virtq.h"

enum {
	AWAIT_SHARE = 20,         /* of a worker's time, one part in so many may be waited */
	AWAIT_ALLOWANCE_US = 500, /* that has not been waited is kept for later, at most */
	AWAIT_LOOKS_MAX = 64,     /* of a wait */
	AWAIT_TIME_MAX_US = 1000, /* of a wait */
};

/* Of a receiveq. */
struct vnet_await {
	uint16_t looks;    /* of a wait, at most; 0: it never waits */
	uint64_t step_tsc; /* from one look to the next */
};

/* Control thread: at most so many looks, spread over so much time; looks 0 .. AWAIT_LOOKS_MAX. */
void vnet_await_init(struct vnet_await *await, uint16_t looks, uint32_t us);

/* The queue's owner: n frames are to be sent. Counts on txq what it did. */
void vnet_await(const struct vnet_await *await, const struct virtq *vq, const struct virtq_conf *conf,
		struct port_txq *txq, uint16_t n);

#endif
