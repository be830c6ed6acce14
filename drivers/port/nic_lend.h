/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * nic_lend: frames that go from a guest's memory to an ethdev without a copy of ours (lend.h).
 *
 *     mbuf   | head 128 | -- next --> | mbuf of the NIC's pool, no data of its own |
 *                                              | buf_addr
 *     guest  | head ....| tail ................................ |
 *
 * A loan ends with the turn of the worker that took the frame. So it goes to devices only whose drivers are
 * through with a frame when rte_eth_tx_burst() returns: those that copy it, write it, or drop it there and
 * then. That every tail is back is checked after each burst. A driver that kept one gets copies from then on.
 */
#ifndef VNICD_NIC_LEND_H
#define VNICD_NIC_LEND_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <rte_ethdev.h>
#include <rte_mbuf.h>

struct loop_timer;
struct nic_lend_queue;
struct port;

/* Of one NIC port. All zero: nothing is lent. */
struct nic_lend {
	/* read by workers */
	struct nic_lend_queue *queues; /* one a queue pair; NULL: nothing is lent */
	uint32_t frame_max;            /* bytes of the longest frame that the driver takes in pieces */

	/* Set by a worker whose driver broke the promise; never cleared. */
	atomic_bool kept;

	/* control only */
	uint16_t n_queues;
	struct port *port;
	struct loop_timer *timer; /* looks at `kept` */
};

/*
 * Decide whether frames can be lent to the device of a port whose queues have been made, and tell the queues
 * (takes_lent). `segs_max`: segments that the device takes, by its own account. Control thread. Without the
 * memory for it nothing is lent.
 */
void nic_lend_open(struct nic_lend *lend, struct port *port, const struct rte_eth_dev_info *info,
		   uint16_t segs_max);
/* The device has been closed, or never started. Accepts one that is all zero. */
void nic_lend_close(struct nic_lend *lend);

/*
 * Worker: some of n (1 .. PORT_BURST) frames are lent, each of those one segment. Afterwards none is: their
 * tails are attached, or copied where the driver keeps frames, the frame is too long for it in pieces, or
 * `pool` has no mbuf left. The burst is sent next, and what was not sent is freed; then, in the same turn,
 * nic_lend_check() with the number of tails that is returned here.
 */
uint16_t nic_lend_attach(struct nic_lend *lend, uint16_t queue_idx, struct rte_mempool *pool,
			 struct rte_mbuf **pkts, uint16_t n);
/* Worker: are they all back? */
void nic_lend_check(struct nic_lend *lend, uint16_t queue_idx, uint16_t n_tails);

#endif
