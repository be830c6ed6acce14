/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * borrow: long frames that are copied only once, from one guest's memory to the other's.
 *
 * A borrowed frame is one mbuf with the lengths of the whole frame, but only its first BORROW_HEAD bytes (the
 * head) were copied to it. The payload is still in the memory of the guest that sends it: borrow_payload().
 * Decisions are taken on the head, which is private; the guest may change the payload until it is copied, as
 * it may change any frame that it has not sent yet.
 *
 *     mbuf   | head 128 |  room for the payload, not written yet   |
 *                        ^ borrow_materialise() copies to here; after that the frame is like any other
 *     guest  | head ....| payload ................................ |
 *
 * Borrowing ends when the worker calls `release` of the rxq (port.h), in the same poll iteration in which it
 * took the frame. A borrowed frame may not be kept, handed to another worker, shared, or read beyond its
 * head; for any of these it has to be materialised first. So a slow receiver can't hold buffers of a sender.
 *
 * Borrowed frames request no offloads, so tx_offload is free to hold the payload's address.
 */
#ifndef VNICD_BORROW_H
#define VNICD_BORROW_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include <rte_mbuf.h>

enum {
	BORROW_HEAD = 128, /* bytes: the longest headers of the fast path, and two cache lines */
	BORROW_MIN =
		384, /* shortest frame that is borrowed: below, two copies cost less than the bookkeeping */
	BORROW_FLAG_BIT = 40,
};

/* In ol_flags; registered with DPDK as this very bit by borrow_init(). */
#define BORROW_FLAG RTE_BIT64(BORROW_FLAG_BIT)

/* Once, after EAL is up and before the first frame. 0 or -errno. */
int borrow_init(void);

static inline bool
borrow_is(const struct rte_mbuf *pkt)
{
	return pkt->ol_flags & BORROW_FLAG;
}

/* Make pkt a borrowed frame. `frame`: its pkt_len bytes in the guest's memory; the head was copied. */
static inline void
borrow_start(struct rte_mbuf *pkt, const uint8_t *frame)
{
	pkt->ol_flags |= BORROW_FLAG;
	pkt->tx_offload = (uintptr_t)(frame + BORROW_HEAD);
}

/* Where the payload is, pkt_len - BORROW_HEAD bytes in the guest's memory. */
static inline const uint8_t *
borrow_payload(const struct rte_mbuf *pkt)
{
	return (const uint8_t *)(uintptr_t)pkt->tx_offload;
}

/* Copy the payload into the mbuf: the frame is an ordinary one then. Accepts frames that are not borrowed. */
static inline void
borrow_materialise(struct rte_mbuf *pkt)
{
	if (!borrow_is(pkt))
		return;
	memcpy(rte_pktmbuf_mtod_offset(pkt, uint8_t *, BORROW_HEAD), borrow_payload(pkt),
	       pkt->data_len - BORROW_HEAD);
	pkt->ol_flags &= ~BORROW_FLAG;
	pkt->tx_offload = 0;
}

static inline void
borrow_materialise_burst(struct rte_mbuf *const *pkts, uint16_t n)
{
	for (uint16_t i = 0; i < n; i++)
		borrow_materialise(pkts[i]);
}

#endif
