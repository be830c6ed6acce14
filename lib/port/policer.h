/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * policer: what a port may send into vnicd (in), or be sent (out), in bits or in frames a second; the rest is
 * dropped, as POLICED_IN and POLICED_OUT (docs/decisions/0036-policers.md).
 *
 * A bucket of `burst` bytes or frames that fills at the rate. A frame passes while the bucket is not empty,
 * takes its length from it, and may leave it with a debt, so that any length passes at any rate, and what
 * passes in a long time is the rate. Lengths are those of the frames as they are forwarded: Ethernet header
 * included, FCS, preamble and gap not; one that is still to be segmented counts once, with its length.
 *
 * All queues of the port share the two buckets. Where no rate is given there is nothing (hook.h).
 */
#ifndef VNICD_POLICER_H
#define VNICD_POLICER_H

#include <stdatomic.h>
#include <stdint.h>

#include <rte_common.h>

#include "policer_config.h"

struct port;
struct rte_mbuf;

/* Lock-free: any number of workers. */
struct policer_bucket {
	/* Read-only. Times are TSC cycles with POLICER_FRACTION further bits, modulo 2^64. */
	uint64_t tolerance; /* how long the rate needs to fill it */
	uint64_t ahead_max; /* `full_at` is at most so far from now, unless it is long past */
	uint64_t cost;      /* of one byte or frame, with POLICER_COST_FRACTION further bits */
	enum key_rate_unit unit;

	/* When it will be full. */
	_Atomic uint64_t full_at __rte_cache_aligned;
} __rte_cache_aligned;

enum {
	POLICER_FRACTION = 8,
	POLICER_COST_FRACTION = 16,
};

/* `tsc_hz` above 0: what the clock of `now` counts in a second. The bucket is full. */
void policer_bucket_init(struct policer_bucket *bucket, const struct policer_limit *limit, uint64_t tsc_hz,
			 uint64_t now);
/* Any worker: how many of n (at most PORT_BURST) frames pass at `now`; it is always the first ones. */
uint16_t policer_pass(struct policer_bucket *bucket, struct rte_mbuf *const pkts[], uint16_t n, uint64_t now);

/* Control lock, all three. A port that has none; its config is one that was checked. 0 or -ENOMEM. */
int policer_attach(struct port *port, const struct policer_config *config);
/* The port has the new ones, then no longer the old ones, if any. 0; or -ENOMEM, and it has the old ones. */
int policer_replace(struct port *port, const struct policer_config *config);
/* Accepts a port without. Not a worker: waits as port_rx_hook_detach(). */
void policer_detach(struct port *port);

#endif
