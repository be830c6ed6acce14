/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * layout: where the headers of a frame are, as far as a request (request.h) has to know: the network header
 * and the transport header behind up to two tags, options and extension headers.
 */
#ifndef VNICD_LAYOUT_H
#define VNICD_LAYOUT_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <rte_byteorder.h>
#include <rte_ether.h>
#include <rte_ip.h>
#include <rte_mbuf.h>
#include <rte_tcp.h>
#include <rte_udp.h>

#include "borrow.h"

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

/* They are the frame's own, where they are in one piece; of a borrowed frame, its head. */
static inline void
layout_front(struct layout_front *front, const struct rte_mbuf *frame)
{
	front->len =
		RTE_MIN(borrow_is(frame) ? frame->data_len : frame->pkt_len, (uint32_t)sizeof(front->copy));
	front->at = rte_pktmbuf_read(frame, 0, front->len, front->copy);
}

/* len bytes at offset, or NULL. */
static inline const uint8_t *
layout_at(const struct layout_front *front, uint32_t offset, uint32_t len)
{
	return offset <= front->len && len <= front->len - offset ? front->at + offset : NULL;
}

static inline bool
layout_ipv4(const struct layout_front *front, struct layout *layout)
{
	struct rte_ipv4_hdr ip;
	const uint8_t *at = layout_at(front, layout->l2_len, sizeof(ip));

	if (!at)
		return false;
	memcpy(&ip, at, sizeof(ip));
	layout->l3_len = rte_ipv4_hdr_len(&ip);
	layout->proto = ip.next_proto_id;
	return ip.version == 4 && layout->l3_len >= sizeof(ip) &&
	       layout_at(front, layout->l2_len, layout->l3_len) &&
	       !(ip.fragment_offset & rte_cpu_to_be_16(RTE_IPV4_HDR_MF_FLAG | RTE_IPV4_HDR_OFFSET_MASK));
}

static inline bool
layout_ipv6(const struct layout_front *front, struct layout *layout)
{
	uint32_t l3_len = sizeof(struct rte_ipv6_hdr);
	const uint8_t *at = layout_at(front, layout->l2_len, l3_len);

	if (!at || at[0] >> 4 != 6)
		return false;
	layout->proto = at[offsetof(struct rte_ipv6_hdr, proto)];
	for (int i = 0; layout->proto == IPPROTO_HOPOPTS || layout->proto == IPPROTO_ROUTING ||
			layout->proto == IPPROTO_DSTOPTS;
	     i++) {
		/* RFC 8200, "IPv6 Extension Headers": next header, length in units of 8 bytes beyond the
		 * first. */
		at = layout_at(front, layout->l2_len + l3_len, 8);
		if (!at || i == LAYOUT_EXTENSIONS_MAX)
			return false;
		layout->proto = at[0];
		l3_len += 8 + 8u * at[1];
		if (l3_len > LAYOUT_L3_MAX)
			return false;
	}
	layout->l3_len = (uint16_t)l3_len;
	return layout_at(front, layout->l2_len, l3_len);
}

static inline struct layout
layout_parse(const struct layout_front *front)
{
	struct layout layout = {.l2_len = RTE_ETHER_HDR_LEN};
	uint64_t ip = 0;
	uint16_t type = 0;

	for (int tags = 0; tags <= LAYOUT_TAGS_MAX; tags++) {
		const uint8_t *at = layout_at(front, layout.l2_len - sizeof(type), sizeof(type));

		if (!at)
			return layout;
		memcpy(&type, at, sizeof(type));
		type = rte_be_to_cpu_16(type);
		if (tags == LAYOUT_TAGS_MAX || (type != RTE_ETHER_TYPE_VLAN && type != RTE_ETHER_TYPE_QINQ))
			break;
		layout.l2_len += RTE_VLAN_HLEN;
	}
	if (type == RTE_ETHER_TYPE_IPV4 && layout_ipv4(front, &layout))
		ip = RTE_MBUF_F_TX_IPV4;
	else if (type == RTE_ETHER_TYPE_IPV6 && layout_ipv6(front, &layout))
		ip = RTE_MBUF_F_TX_IPV6;
	layout.ip = ip;
	return layout;
}

/* Of an IPv6 packet: what every fragment of it begins with, and which of its bytes is the type of what
 * follows. */
struct layout_unfragmentable {
	uint32_t len;
	uint32_t next_header_at;
};

/*
 * l3 is an IPv6 header, with all the extension headers behind it that layout_parse() has found: they count up
 * to the last routing header, or else the hop-by-hop options (RFC 8200, "Fragment Header").
 */
static inline struct layout_unfragmentable
layout_unfragmentable(const uint8_t *l3)
{
	struct layout_unfragmentable first = {.len = sizeof(struct rte_ipv6_hdr),
					      .next_header_at = offsetof(struct rte_ipv6_hdr, proto)};
	uint32_t at = first.len;
	uint8_t type = l3[first.next_header_at];

	while (type == IPPROTO_HOPOPTS || type == IPPROTO_ROUTING || type == IPPROTO_DSTOPTS) {
		const uint8_t *header = l3 + at;

		if (type != IPPROTO_DSTOPTS)
			first = (struct layout_unfragmentable){.len = at + 8 + 8u * header[1],
							       .next_header_at = at};
		type = header[0];
		at += 8 + 8u * header[1];
	}
	return first;
}

/*
 * A datagram for a DHCP client: UDP to port 68 or 546, whose header is at l4_at, and in the front. Old ones
 * read their datagrams before the kernel has computed the checksum that was left open, and drop them.
 */
static inline bool
layout_is_to_dhcp_client(const struct layout_front *front, uint32_t l4_at)
{
	uint16_t dst_port;

	memcpy(&dst_port, front->at + l4_at + offsetof(struct rte_udp_hdr, dst_port), sizeof(dst_port));
	return unlikely(dst_port == RTE_BE16(68) || dst_port == RTE_BE16(546));
}

/* Of the TCP header at l4_at in a frame of frame_len bytes; 0: it is not whole. */
static inline uint32_t
layout_tcp_len(const struct layout_front *front, uint32_t l4_at, uint32_t frame_len)
{
	const uint8_t *at = layout_at(front, l4_at, sizeof(struct rte_tcp_hdr));
	struct rte_tcp_hdr tcp;
	uint32_t len;

	if (!at)
		return 0;
	memcpy(&tcp, at, sizeof(tcp));
	len = (tcp.data_off >> 4) * 4u;
	return len < sizeof(tcp) || l4_at + len > frame_len ? 0 : len;
}

#endif
