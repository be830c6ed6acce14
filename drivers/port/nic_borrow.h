/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * nic_borrow: frames that go from a guest's memory to an ethdev without a copy of ours (borrow.h).
 *
 *     mbuf   | head 128 | -- next --> | mbuf of the NIC's pool, no data of its own |
 *                                              | buf_addr
 *     guest  | head ....| payload ................................ |
 *
 * Borrowing ends with the iteration of the worker that took the frame. So it goes to devices only whose
 * drivers complete transmission before rte_eth_tx_burst() returns: those that copy it, write it, or drop it
 * there and then. That every payload is back is checked after each burst. A driver that kept one gets copies
 * from then on.
 */
#ifndef VNICD_NIC_BORROW_H
#define VNICD_NIC_BORROW_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <rte_ethdev.h>
#include <rte_mbuf.h>

struct loop_timer;
struct nic_borrow_queue;
struct port;

/* Of one NIC port. All zero: nothing is borrowed. */
struct nic_borrow {
	/* read by workers */
	struct nic_borrow_queue *queues; /* one a queue pair; NULL: nothing is borrowed */
	uint32_t frame_max;              /* bytes of the longest frame that the driver takes in pieces */

	/* Set by a worker whose driver broke the promise; never cleared. */
	atomic_bool kept;

	/* control only */
	uint16_t n_queues;
	struct port *port;
	struct loop_timer *timer; /* looks at `kept` */
};

/*
 * Decide whether frames can be borrowed to the device of a port whose queues have been made, and tell the
 * queues (accepts_borrowed). `segs_max`: segments that the device takes, by its own account. Control thread.
 * Without the memory for it nothing is borrowed.
 */
void nic_borrow_open(struct nic_borrow *borrow, struct port *port, const struct rte_eth_dev_info *info,
		     uint16_t segs_max);
/* The device has been closed, or never started. Accepts one that is all zero. */
void nic_borrow_close(struct nic_borrow *borrow);

/*
 * Worker: some of n (1 .. PORT_BURST) frames are borrowed, each of those one segment. Afterwards none is:
 * their payloads are attached, or copied where the driver keeps frames, the frame is too long for it in
 * pieces, or `pool` has no mbuf left. The burst is sent next, and what was not sent is freed; then, in the
 * same iteration, nic_borrow_check() with the number of payloads that is returned here.
 */
uint16_t nic_borrow_attach(struct nic_borrow *borrow, uint16_t queue_idx, struct rte_mempool *pool,
			   struct rte_mbuf **pkts, uint16_t n);
/* Worker: are they all back? */
void nic_borrow_check(struct nic_borrow *borrow, uint16_t queue_idx, uint16_t n_payloads);

#endif
