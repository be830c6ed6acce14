/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * nic_borrow: borrowed frames (borrow.h) that are sent to an ethdev from a guest's memory, without a copy.
 *
 *     mbuf   | head 128 | -- next --> | mbuf of the NIC's pool, no data of its own |
 *                                              | buf_addr
 *     guest  | head ....| payload ................................ |
 *
 * Borrowing ends with the poll iteration in which the worker took the frame. So a borrowed frame is sent only
 * to devices whose PMD completes transmission before rte_eth_tx_burst() returns: it copies, writes or drops
 * the frame in that call. After each burst it is checked that no payload is referenced any more. A PMD that
 * has kept one gets copies from then on.
 */
#ifndef VNICD_NIC_BORROW_H
#define VNICD_NIC_BORROW_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <rte_ethdev.h>
#include <rte_mbuf.h>

#include "port.h"

struct loop_timer;
struct nic_borrow_queue;

enum { NIC_BORROW_PIECES = 4 * PORT_BURST }; /* that a burst may have attached */

/* Of one NIC port. All zero: nothing is borrowed. */
struct nic_borrow {
	/* read by workers */
	struct nic_borrow_queue *queues; /* one a queue pair; NULL: nothing is borrowed */
	uint32_t frame_max;              /* bytes of the longest frame that the PMD accepts in two segments */

	/* Set by a worker when the PMD has kept a payload after all; never cleared. */
	atomic_bool kept;

	/* control only */
	uint16_t n_queues;
	struct port *port;
	uint16_t pieces_max;      /* of a frame */
	struct loop_timer *timer; /* checks `kept` */
};

/*
 * Decide whether the device of a port gets borrowed frames, and set accepts_borrowed of the port's txqs,
 * which have been allocated. `segs_max`: segments per frame that the device reports. Control thread. Without
 * memory for it the device gets copies.
 */
void nic_borrow_open(struct nic_borrow *borrow, struct port *port, const struct rte_eth_dev_info *info,
		     uint16_t segs_max);
/* The device has been closed, or never started. Accepts one that is all zero. */
void nic_borrow_close(struct nic_borrow *borrow);

/*
 * Worker: some of n (1 .. PORT_BURST) frames of `bytes` bytes are borrowed. On return none is: their pieces
 * are attached as segments, or copied if the PMD has kept one, if the frame is longer than frame_max or in
 * more pieces than the device takes segments, or if `pool` has no mbufs. Returns how many frames are left:
 * those for which there are no mbufs to copy them are dropped. *ret_n_payloads: how many segments were
 * attached. The caller sends the burst and frees what was not sent, and then, in the same poll iteration,
 * calls nic_borrow_check() with that number.
 */
uint16_t nic_borrow_attach(struct nic_borrow *borrow, struct port_txq *txq, struct rte_mempool *pool,
			   struct rte_mbuf **pkts, uint16_t n, uint64_t *bytes, uint16_t *ret_n_payloads);
/* Worker: check that none of the attached payloads is referenced any more. */
void nic_borrow_check(struct nic_borrow *borrow, uint16_t queue_idx, uint16_t n_payloads);

#endif
