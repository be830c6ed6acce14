/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * layout: where the headers of a frame are, as far as a request (request.h) has to know: the network header
 * and the transport header behind up to two tags, options and extension headers.
 */
#ifndef VNICD_LAYOUT_H
#define VNICD_LAYOUT_H

#include <stdint.h>

#include <rte_ether.h>
#include <rte_mbuf.h>
#include <rte_tcp.h>

enum {
	LAYOUT_TAGS_MAX = 2,
	/* Extension headers that are looked at; and what an mbuf's l3_len has bits for. */
	LAYOUT_EXTENSIONS_MAX = 8,
	LAYOUT_L3_MAX = 511,
	LAYOUT_L2_MAX = RTE_ETHER_HDR_LEN + LAYOUT_TAGS_MAX * RTE_VLAN_HLEN,
	/* What has to be read to know the layout. */
	LAYOUT_HEADERS_MAX = LAYOUT_L2_MAX + LAYOUT_L3_MAX + sizeof(struct rte_tcp_hdr),
};

struct layout {
	uint64_t ip; /* RTE_MBUF_F_TX_IPV4 or _IPV6; 0: neither, or not whole, or a fragment */
	uint8_t proto;
	uint16_t l2_len, l3_len;
};

/* The bytes of a frame's front that may be looked at. */
struct layout_front {
	const uint8_t *at;
	uint32_t len;
	uint8_t copy[LAYOUT_HEADERS_MAX];
};

/* They are the frame's own, where they are in one piece. */
static inline void
layout_front(struct layout_front *front, const struct rte_mbuf *frame)
{
	front->len = RTE_MIN(frame->pkt_len, (uint32_t)sizeof(front->copy));
	front->at = rte_pktmbuf_read(frame, 0, front->len, front->copy);
}

/* len bytes at offset, or NULL. */
static inline const uint8_t *
layout_at(const struct layout_front *front, uint32_t offset, uint32_t len)
{
	return offset <= front->len && len <= front->len - offset ? front->at + offset : NULL;
}

struct layout layout_parse(const struct layout_front *front);

/* Of the TCP header at l4_at in a frame of frame_len bytes; 0: it is not whole. */
uint32_t layout_tcp_len(const struct layout_front *front, uint32_t l4_at, uint32_t frame_len);

#endif
