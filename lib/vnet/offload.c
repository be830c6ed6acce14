/* SPDX-License-Identifier: BSD-3-Clause */
#include "offload.h"

#include <errno.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <rte_byteorder.h>
#include <rte_ether.h>
#include <rte_ip.h>
#include <rte_tcp.h>
#include <rte_udp.h>

#include "checksum.h"
#include "segment.h"
#include "vdev.h"

enum {
	OFFLOAD_TAGS_MAX = 2,
	/* Extension headers that are looked at; and what an mbuf's l3_len has bits for. */
	OFFLOAD_EXTENSIONS_MAX = 8,
	OFFLOAD_L3_MAX = 511,
	OFFLOAD_L2_MAX = RTE_ETHER_HDR_LEN + OFFLOAD_TAGS_MAX * RTE_VLAN_HLEN,
	/* What has to be read to know the layout. */
	OFFLOAD_HEADERS_MAX = OFFLOAD_L2_MAX + OFFLOAD_L3_MAX + sizeof(struct rte_tcp_hdr),
	OFFLOAD_TCP_CHECKSUM = offsetof(struct rte_tcp_hdr, cksum),
	OFFLOAD_UDP_CHECKSUM = offsetof(struct rte_udp_hdr, dgram_cksum),
};

/* --- accepted features --- */

struct offload_features {
	uint64_t side[2]; /* host, guest */
	uint32_t needs;
};

static const struct offload_features offload_features[OFFLOAD_N] = {
#define OFFLOAD(symbol, name, host, guest, needs, ...) {{FEATURE_MASK(host), FEATURE_MASK(guest)}, needs},
#include "offloads.def"
#undef OFFLOAD
};

/* "guest_ecn needs guest_tso4 or guest_tso6" */
static void
offload_tell_need(enum frame_offload offload, unsigned int side, char *text, size_t size)
{
	const struct offload_features *row = &offload_features[offload];
	size_t len = (size_t)snprintf(text, size, "%s needs", vdev_feature_name(row->side[side]));
	const char *before = " ";

	for (unsigned int i = 0; i < OFFLOAD_N && len < size; i++)
		if (row->needs >> i & 1) {
			len += (size_t)snprintf(text + len, size - len, "%s%s", before,
						vdev_feature_name(offload_features[i].side[side]));
			before = " or ";
		}
}

uint64_t
vnet_offloads_unmet(uint64_t features)
{
	const uint32_t unmet[2] = {offloads_unmet(vnet_offloads_host(features)),
				   offloads_unmet(vnet_offloads_guest(features))};
	uint64_t bits = 0;

	for (unsigned int side = 0; side < RTE_DIM(unmet); side++)
		for (unsigned int i = 0; i < OFFLOAD_N; i++)
			bits |= unmet[side] >> i & 1 ? offload_features[i].side[side] : 0;
	return bits;
}

int
vnet_offloads_check(uint64_t features, struct diag *diag)
{
	const uint32_t unmet[2] = {offloads_unmet(vnet_offloads_host(features)),
				   offloads_unmet(vnet_offloads_guest(features))};
	char text[128];

	for (unsigned int side = 0; side < RTE_DIM(unmet); side++) {
		if (!unmet[side])
			continue;
		offload_tell_need((enum frame_offload)rte_bsf32(unmet[side]), side, text, sizeof(text));
		return diag_set(diag, -EINVAL, "", "features: %s", text);
	}
	return 0;
}

/* --- what a frame is --- */

struct offload_layout {
	uint64_t ip; /* RTE_MBUF_F_TX_IPV4 or _IPV6; 0: neither, or not whole, or a fragment */
	uint8_t proto;
	uint16_t l2_len, l3_len;
};

/* The bytes of a frame's front that may be looked at. */
struct offload_front {
	const uint8_t *at;
	uint32_t len;
};

/* len bytes at offset, or NULL. */
static const uint8_t *
front_at(const struct offload_front *front, uint32_t offset, uint32_t len)
{
	return offset <= front->len && len <= front->len - offset ? front->at + offset : NULL;
}

static bool
layout_ipv4(const struct offload_front *front, struct offload_layout *layout)
{
	struct rte_ipv4_hdr ip;
	const uint8_t *at = front_at(front, layout->l2_len, sizeof(ip));

	if (!at)
		return false;
	memcpy(&ip, at, sizeof(ip));
	layout->l3_len = rte_ipv4_hdr_len(&ip);
	layout->proto = ip.next_proto_id;
	return ip.version == 4 && layout->l3_len >= sizeof(ip) &&
	       front_at(front, layout->l2_len, layout->l3_len) &&
	       !(ip.fragment_offset & rte_cpu_to_be_16(RTE_IPV4_HDR_MF_FLAG | RTE_IPV4_HDR_OFFSET_MASK));
}

static bool
layout_ipv6(const struct offload_front *front, struct offload_layout *layout)
{
	uint32_t l3_len = sizeof(struct rte_ipv6_hdr);
	const uint8_t *at = front_at(front, layout->l2_len, l3_len);

	if (!at || at[0] >> 4 != 6)
		return false;
	layout->proto = at[offsetof(struct rte_ipv6_hdr, proto)];
	for (int i = 0; layout->proto == IPPROTO_HOPOPTS || layout->proto == IPPROTO_ROUTING ||
			layout->proto == IPPROTO_DSTOPTS;
	     i++) {
		/* RFC 8200, "IPv6 Extension Headers": next header, length in units of 8 bytes beyond the
		 * first. */
		at = front_at(front, layout->l2_len + l3_len, 8);
		if (!at || i == OFFLOAD_EXTENSIONS_MAX)
			return false;
		layout->proto = at[0];
		l3_len += 8 + 8u * at[1];
		if (l3_len > OFFLOAD_L3_MAX)
			return false;
	}
	layout->l3_len = (uint16_t)l3_len;
	return front_at(front, layout->l2_len, l3_len);
}

static struct offload_layout
offload_layout(const struct offload_front *front)
{
	struct offload_layout layout = {.l2_len = RTE_ETHER_HDR_LEN};
	uint64_t ip = 0;
	uint16_t type = 0;

	for (int tags = 0; tags <= OFFLOAD_TAGS_MAX; tags++) {
		const uint8_t *at = front_at(front, layout.l2_len - sizeof(type), sizeof(type));

		if (!at)
			return layout;
		memcpy(&type, at, sizeof(type));
		type = rte_be_to_cpu_16(type);
		if (tags == OFFLOAD_TAGS_MAX || (type != RTE_ETHER_TYPE_VLAN && type != RTE_ETHER_TYPE_QINQ))
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

/* --- from the guest --- */

static uint64_t
from_guest_checksum(const struct rte_mbuf *frame, const struct virtio_net_hdr *hdr,
		    const struct offload_layout *layout)
{
	const uint32_t l4_at = (uint32_t)layout->l2_len + layout->l3_len;

	if (!layout->ip || hdr->csum_start != l4_at)
		return 0;
	if (layout->proto == IPPROTO_TCP && hdr->csum_offset == OFFLOAD_TCP_CHECKSUM &&
	    l4_at + sizeof(struct rte_tcp_hdr) <= frame->pkt_len)
		return layout->ip | RTE_MBUF_F_TX_TCP_CKSUM;
	if (layout->proto == IPPROTO_UDP && hdr->csum_offset == OFFLOAD_UDP_CHECKSUM &&
	    l4_at + sizeof(struct rte_udp_hdr) <= frame->pkt_len)
		return layout->ip | RTE_MBUF_F_TX_UDP_CKSUM;
	return 0;
}

/* The kind of segmentation that a header asks for; OFFLOADS_NONE: nothing that there is for such a frame. */
static uint32_t
from_guest_kind(uint8_t gso_type, uint64_t frame_ip)
{
#define OFFLOAD(symbol, name, host, guest, needs, gso, request, ip)                \
	if ((ip) != 0 && gso_type == VIRTIO_NET_HDR_GSO_##gso && frame_ip == (ip)) \
		return OFFLOAD_BIT(symbol);
#include "offloads.def"
#undef OFFLOAD
	return OFFLOADS_NONE;
}

/* What is put in the mbuf for it. */
static uint64_t
from_guest_kind_flags(uint32_t kind)
{
	uint64_t flags = 0;

#define OFFLOAD(symbol, name, host, guest, needs, gso, request, ip) \
	flags |= kind & OFFLOAD_BIT(symbol) ? (request) : 0;
#include "offloads.def"
#undef OFFLOAD
	return flags;
}

/* Of the TCP header at l4_at; 0: it is not whole. */
static uint32_t
from_guest_tcp_len(const struct rte_mbuf *frame, const struct offload_front *front, uint32_t l4_at)
{
	const uint8_t *at = front_at(front, l4_at, sizeof(struct rte_tcp_hdr));
	struct rte_tcp_hdr tcp;
	uint32_t len;

	if (!at)
		return 0;
	memcpy(&tcp, at, sizeof(tcp));
	len = (tcp.data_off >> 4) * 4u;
	return len < sizeof(tcp) || l4_at + len > frame->pkt_len ? 0 : len;
}

/* Of the UDP header at l4_at; 0: it is not whole. */
static uint32_t
from_guest_udp_len(const struct offload_front *front, uint32_t l4_at)
{
	return front_at(front, l4_at, sizeof(struct rte_udp_hdr)) ? sizeof(struct rte_udp_hdr) : 0;
}

/*
 * A request to segment, besides that for a checksum: what is not said plainly and rightly is refused.
 */
static bool
from_guest_segments(struct rte_mbuf *frame, const struct virtio_net_hdr *hdr, uint32_t offloads,
		    const struct offload_front *front, const struct offload_layout *layout, uint64_t checksum)
{
	const uint32_t kind = from_guest_kind(hdr->gso_type & ~VIRTIO_NET_HDR_GSO_ECN, layout->ip);
	const uint32_t needed = kind | (hdr->gso_type & VIRTIO_NET_HDR_GSO_ECN ? OFFLOAD_BIT(ECN) : 0);
	const uint32_t l4_at = (uint32_t)layout->l2_len + layout->l3_len;
	const uint64_t flags = from_guest_kind_flags(kind);
	const bool is_udp = flags & RTE_MBUF_F_TX_UDP_SEG;
	uint32_t l4_len, payload_len;

	if (!kind || needed & ~offloads || (is_udp && hdr->gso_type & VIRTIO_NET_HDR_GSO_ECN))
		return false;
	if ((checksum & RTE_MBUF_F_TX_L4_MASK) != frame_segments_checksum(flags))
		return false;
	l4_len = is_udp ? from_guest_udp_len(front, l4_at) : from_guest_tcp_len(frame, front, l4_at);
	if (l4_len == 0)
		return false;
	payload_len = frame->pkt_len - l4_at - l4_len;
	if (!segment_size_is_fair(is_udp, payload_len, hdr->gso_size))
		return false;
	/* One segment is an ordinary frame, and has to fit like one. */
	if (payload_len <= hdr->gso_size)
		return true;
	frame->l4_len = l4_len & 0xff;
	frame->tso_segsz = hdr->gso_size;
	frame->ol_flags |= flags;
	return true;
}

bool
vnet_offload_from_guest(struct rte_mbuf *frame, const struct virtio_net_hdr *hdr, uint32_t offloads)
{
	const uint32_t sum_at = (uint32_t)hdr->csum_start + hdr->csum_offset;
	uint8_t copy[OFFLOAD_HEADERS_MAX];
	struct offload_front front;
	struct offload_layout layout;
	uint64_t request;

	/* Segmentation needs the checksum too (VIRTIO, driver requirements of "Packet Transmission"); nothing
	 * in front of the network header has one. */
	if (!(hdr->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) || !(offloads & OFFLOAD_BIT(CHECKSUM)) ||
	    hdr->csum_start < RTE_ETHER_HDR_LEN || sum_at + sizeof(uint16_t) > frame->pkt_len)
		return false;
	front.len = RTE_MIN(frame->pkt_len, (uint32_t)sizeof(copy));
	front.at = rte_pktmbuf_read(frame, 0, front.len, copy);
	layout = offload_layout(&front);
	request = from_guest_checksum(frame, hdr, &layout);
	if (hdr->gso_type != VIRTIO_NET_HDR_GSO_NONE &&
	    !from_guest_segments(frame, hdr, offloads, &front, &layout, request))
		return false;
	if (!request) {
		checksum_store(frame, hdr->csum_start, hdr->csum_offset);
		return true;
	}
	frame->l2_len = layout.l2_len & 0x7f;
	frame->l3_len = layout.l3_len & 0x1ff;
	frame->ol_flags |= request;
	return true;
}

/* --- to the guest --- */

static uint8_t
to_guest_type(uint64_t flags)
{
#define OFFLOAD(symbol, name, host, guest, needs, gso, request, ip) \
	if ((ip) != 0 && flags & (request) && flags & (ip))         \
		return VIRTIO_NET_HDR_GSO_##gso;
#include "offloads.def"
#undef OFFLOAD
	return VIRTIO_NET_HDR_GSO_NONE;
}

struct virtio_net_hdr
vnet_offload_to_guest(const struct rte_mbuf *frame)
{
	const uint64_t flags = frame->ol_flags;
	struct virtio_net_hdr hdr = {0};

	if (!(flags & FRAME_REQUESTS)) {
		if ((flags & RTE_MBUF_F_RX_L4_CKSUM_MASK) == RTE_MBUF_F_RX_L4_CKSUM_GOOD)
			hdr.flags = VIRTIO_NET_HDR_F_DATA_VALID;
		return hdr;
	}
	hdr.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
	hdr.csum_start = (uint16_t)(frame->l2_len + frame->l3_len);
	hdr.csum_offset = (flags & RTE_MBUF_F_TX_L4_MASK) == RTE_MBUF_F_TX_UDP_CKSUM ? OFFLOAD_UDP_CHECKSUM
										     : OFFLOAD_TCP_CHECKSUM;
	if (flags & FRAME_REQUESTS_SEGMENTS) {
		hdr.gso_type = to_guest_type(flags);
		hdr.gso_size = (uint16_t)frame->tso_segsz;
		hdr.hdr_len = (uint16_t)(hdr.csum_start + frame->l4_len);
		if (flags & RTE_MBUF_F_TX_TCP_SEG && frame_has_cwr(frame))
			hdr.gso_type |= VIRTIO_NET_HDR_GSO_ECN;
	}
	return hdr;
}
