/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tag: the VLAN tag of a frame (IEEE 802.1Q-2018, 9.6): put on, taken off, and given another VLAN.
 *
 *     dst 6 | src 6 | TPID 2 | TCI 2: priority 3, drop eligible 1, VID 12 | type 2 ..
 *
 * What a frame requests (request.h) goes with it: l2_len moves by the four bytes. All three write to the
 * first segment, which must be the caller's alone (frame_own() in lib/fwd), with the first TAG_REACH bytes in
 * one piece. It may be borrowed (borrow.h): its head changes.
 */
#ifndef VNICD_TAG_H
#define VNICD_TAG_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include <rte_byteorder.h>
#include <rte_ether.h>
#include <rte_mbuf.h>

#include "request.h"

enum {
	TAG_LEN = RTE_VLAN_HLEN,
	TAG_AT = 2 * RTE_ETHER_ADDR_LEN,
	TAG_REACH = RTE_ETHER_HDR_LEN + TAG_LEN,
	TAG_VID_BITS = 12,
	TAG_VID_MASK = (1 << TAG_VID_BITS) - 1,
};

static inline uint16_t
tag_word(const uint8_t *at)
{
	return (uint16_t)(at[0] << 8 | at[1]);
}

static inline void
tag_put_word(uint8_t *at, uint16_t word)
{
	at[0] = (uint8_t)(word >> 8);
	at[1] = (uint8_t)word;
}

/* The type field behind the addresses; of a tagged frame, the TPID. */
static inline uint16_t
tag_type(const struct rte_mbuf *pkt)
{
	return tag_word(rte_pktmbuf_mtod_offset(pkt, const uint8_t *, TAG_AT));
}

/* The tag of a frame that has one, TPID and TCI, and the type behind it; false: the frame ends in the tag. */
static inline bool
tag_whole(const struct rte_mbuf *pkt, uint32_t *ret_tag, uint16_t *ret_type)
{
	uint8_t copy[TAG_LEN + 2];
	const uint8_t *at;
	rte_be32_t tag;

	if (rte_pktmbuf_pkt_len(pkt) < TAG_REACH)
		return false;
	at = rte_pktmbuf_read(pkt, TAG_AT, sizeof(copy), copy);
	memcpy(&tag, at, sizeof(tag));
	*ret_tag = rte_be_to_cpu_32(tag);
	*ret_type = tag_word(at + TAG_LEN);
	return true;
}

static inline void
tag_move_request(struct rte_mbuf *pkt, int by)
{
	if (pkt->ol_flags & FRAME_REQUESTS)
		pkt->l2_len = (uint64_t)((int)pkt->l2_len + by) & (RTE_BIT64(RTE_MBUF_L2_LEN_BITS) - 1);
}

/* There are TAG_LEN bytes of headroom. */
static inline void
tag_push(struct rte_mbuf *pkt, uint16_t tpid, uint16_t tci)
{
	uint8_t *eth;

	pkt->data_off = (uint16_t)(pkt->data_off - TAG_LEN);
	pkt->data_len = (uint16_t)(pkt->data_len + TAG_LEN);
	pkt->pkt_len += TAG_LEN;
	eth = rte_pktmbuf_mtod(pkt, uint8_t *);
	memmove(eth, eth + TAG_LEN, TAG_AT);
	tag_put_word(eth + TAG_AT, tpid);
	tag_put_word(eth + TAG_AT + 2, tci);
	tag_move_request(pkt, TAG_LEN);
}

/* The frame has a whole tag. */
static inline void
tag_pop(struct rte_mbuf *pkt)
{
	uint8_t *eth = rte_pktmbuf_mtod(pkt, uint8_t *);

	memmove(eth + TAG_LEN, eth, TAG_AT);
	rte_pktmbuf_adj(pkt, TAG_LEN);
	tag_move_request(pkt, -TAG_LEN);
}

/* The frame has a whole tag; its priority stays. */
static inline void
tag_set_vid(struct rte_mbuf *pkt, uint16_t vid)
{
	uint8_t *tci = rte_pktmbuf_mtod_offset(pkt, uint8_t *, TAG_AT + 2);

	tag_put_word(tci, (uint16_t)((tag_word(tci) & ~TAG_VID_MASK) | vid));
}

#endif
