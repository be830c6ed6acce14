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

#include "borrow.h"
#include "checksum.h"
#include "layout.h"
#include "segment.h"
#include "vdev.h"

enum {
	OFFLOAD_TCP_CHECKSUM = offsetof(struct rte_tcp_hdr, cksum),
	OFFLOAD_UDP_CHECKSUM = offsetof(struct rte_udp_hdr, dgram_cksum),
	OFFLOAD_TCP_MAX = 60, /* bytes of a TCP header, options included */
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

/* It is said to need the driver's own offloads, not those of frames to it, which it is about. */
static bool
offload_rsc_is_unmet(uint64_t features)
{
	return features & FEATURE_MASK(NET_RSC_EXT) &&
	       !(features & (FEATURE_MASK(NET_HOST_TSO4) | FEATURE_MASK(NET_HOST_TSO6)));
}

uint64_t
vnet_offloads_unmet(uint64_t features)
{
	const uint32_t unmet[2] = {offloads_unmet(vnet_offloads_host(features)),
				   offloads_unmet(vnet_offloads_guest(features))};
	uint64_t bits = offload_rsc_is_unmet(features) ? FEATURE_MASK(NET_RSC_EXT) : 0;

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
	if (offload_rsc_is_unmet(features))
		return diag_set(diag, -EINVAL, "", "features: rsc_ext needs host_tso4 or host_tso6");
	return 0;
}

/* --- from the guest --- */

static uint64_t
from_guest_checksum(const struct rte_mbuf *frame, const struct virtio_net_hdr *hdr,
		    const struct layout *layout, const struct layout_front *front)
{
	const uint32_t l4_at = (uint32_t)layout->l2_len + layout->l3_len;

	if (!layout->ip || hdr->csum_start != l4_at)
		return 0;
	if (layout->proto == IPPROTO_TCP && hdr->csum_offset == OFFLOAD_TCP_CHECKSUM &&
	    l4_at + sizeof(struct rte_tcp_hdr) <= frame->pkt_len)
		return layout->ip | RTE_MBUF_F_TX_TCP_CKSUM;
	if (layout->proto == IPPROTO_UDP && hdr->csum_offset == OFFLOAD_UDP_CHECKSUM &&
	    l4_at + sizeof(struct rte_udp_hdr) <= frame->pkt_len &&
	    !(layout_is_to_dhcp_client(front, l4_at) && hdr->gso_type == VIRTIO_NET_HDR_GSO_NONE))
		return layout->ip | RTE_MBUF_F_TX_UDP_CKSUM;
	return 0;
}

/* The segmentation that a header asks for; OFFLOADS_NONE: nothing that there is for such a frame. */
static uint32_t
from_guest_kind(uint8_t gso_type, uint64_t frame_ip)
{
#define OFFLOAD(symbol, name, host, guest, needs, gso, request, ip)            \
	if (gso_type == VIRTIO_NET_HDR_GSO_##gso && frame_ip & (uint64_t)(ip)) \
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

/* Of the UDP header at l4_at; 0: it is not whole. */
static uint32_t
from_guest_udp_len(const struct layout_front *front, uint32_t l4_at)
{
	return layout_at(front, l4_at, sizeof(struct rte_udp_hdr)) ? sizeof(struct rte_udp_hdr) : 0;
}

/* What is cut of a frame with this layout: what is behind the headers that each segment has. */
static uint32_t
from_guest_cut_len(const struct rte_mbuf *frame, enum segment_kind kind, const struct layout_front *front,
		   const struct layout *layout, uint32_t l4_len)
{
	uint32_t l3_len = layout->l3_len;

	if (kind != SEGMENT_FRAGMENTS)
		return frame->pkt_len - layout->l2_len - l3_len - l4_len;
	if (layout->ip == RTE_MBUF_F_TX_IPV6)
		l3_len = layout_unfragmentable(front->at + layout->l2_len).len;
	return frame->pkt_len - layout->l2_len - l3_len;
}

/*
 * The datagram that fragments have to become again is not longer than there may be one, and the first
 * fragment has room for all of its headers (RFC 8200, "Fragment Header").
 */
static bool
from_guest_fragments_are_fair(const struct rte_mbuf *frame, const struct layout *layout, uint32_t cut_len,
			      uint32_t size)
{
	/* IPv6 does not count its own header. */
	const uint32_t own = layout->ip == RTE_MBUF_F_TX_IPV6 ? sizeof(struct rte_ipv6_hdr) : 0;
	const uint32_t packet_len = frame->pkt_len - layout->l2_len;
	const uint32_t payload_len = packet_len - layout->l3_len - sizeof(struct rte_udp_hdr);

	return packet_len - own <= UINT16_MAX &&
	       cut_len - payload_len <= (size & ~(SEGMENT_FRAGMENT_UNIT - 1u));
}

/*
 * A request to segment, besides that for a checksum: what is not said plainly and rightly is refused.
 */
static __rte_noinline bool
from_guest_segments(struct rte_mbuf *frame, const struct virtio_net_hdr *hdr, uint32_t offloads,
		    const struct layout_front *front, const struct layout *layout, uint64_t checksum)
{
	const uint32_t offload = from_guest_kind(hdr->gso_type & ~VIRTIO_NET_HDR_GSO_ECN, layout->ip);
	const uint32_t needed = offload | (hdr->gso_type & VIRTIO_NET_HDR_GSO_ECN ? OFFLOAD_BIT(ECN) : 0);
	const uint32_t l4_at = (uint32_t)layout->l2_len + layout->l3_len;
	const uint64_t flags = from_guest_kind_flags(offload);
	const enum segment_kind kind = segment_kind(flags);
	uint32_t l4_len, cut_len;

	if (!offload || needed & ~offloads || (kind != SEGMENT_TCP && hdr->gso_type & VIRTIO_NET_HDR_GSO_ECN))
		return false;
	if ((checksum & RTE_MBUF_F_TX_L4_MASK) != frame_segments_checksum(flags))
		return false;
	l4_len = kind == SEGMENT_TCP ? layout_tcp_len(front, l4_at, frame->pkt_len)
				     : from_guest_udp_len(front, l4_at);
	if (l4_len == 0)
		return false;
	cut_len = from_guest_cut_len(frame, kind, front, layout, l4_len);
	if (!segment_size_is_fair(kind, cut_len, hdr->gso_size))
		return false;
	if (kind == SEGMENT_FRAGMENTS &&
	    !from_guest_fragments_are_fair(frame, layout, cut_len, hdr->gso_size))
		return false;
	/* One segment is an ordinary frame, and has to fit like one. */
	if (cut_len <= hdr->gso_size)
		return true;
	frame->l4_len = l4_len & 0xff;
	frame->tso_segsz = hdr->gso_size;
	frame->ol_flags |= flags;
	return true;
}

enum vnet_offload_took
vnet_offload_from_guest(struct rte_mbuf *frame, const struct virtio_net_hdr *hdr, uint32_t offloads)
{
	const uint32_t sum_at = (uint32_t)hdr->csum_start + hdr->csum_offset;
	struct layout_front front;
	struct layout layout;
	uint64_t request;

	/* Segmentation needs the checksum too (VIRTIO, driver requirements of "Packet Transmission"); nothing
	 * in front of the network header has one. */
	if (!(hdr->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) || !(offloads & OFFLOAD_BIT(CHECKSUM)) ||
	    hdr->csum_start < RTE_ETHER_HDR_LEN || sum_at + sizeof(uint16_t) > frame->pkt_len)
		return VNET_OFFLOAD_REFUSED;
	/* The longest TCP header is in the head, then, and so are all that come before it. */
	if (borrow_is(frame) && hdr->csum_start + OFFLOAD_TCP_MAX > frame->data_len)
		return VNET_OFFLOAD_NEEDS_WHOLE;
	layout_front(&front, frame);
	layout = layout_parse(&front);
	request = from_guest_checksum(frame, hdr, &layout, &front);
	if (!request && borrow_is(frame))
		return VNET_OFFLOAD_NEEDS_WHOLE;
	if (unlikely(hdr->gso_type != VIRTIO_NET_HDR_GSO_NONE) &&
	    !from_guest_segments(frame, hdr, offloads, &front, &layout, request))
		return VNET_OFFLOAD_REFUSED;
	if (!request) {
		checksum_store(frame, hdr->csum_start, hdr->csum_offset);
		return VNET_OFFLOAD_TAKEN;
	}
	frame->l2_len = layout.l2_len & 0x7f;
	frame->l3_len = layout.l3_len & 0x1ff;
	frame->ol_flags |= request;
	return VNET_OFFLOAD_TAKEN;
}

/* --- to the guest --- */

static uint8_t
to_guest_type(uint64_t flags)
{
#define OFFLOAD(symbol, name, host, guest, needs, gso, request, ip) \
	if (flags & (request) && flags & (uint64_t)(ip))            \
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

/*
 * Whoever has joined the frame, or was to cut it: its segments are of one size but for the last (gro.h), and
 * no ACK without payload is joined. Datagrams have no segments of TCP to be counted.
 */
void
vnet_offload_add_rsc(const struct rte_mbuf *frame, struct virtio_net_hdr *hdr)
{
	const uint32_t headers_len = (uint32_t)frame->l2_len + frame->l3_len + frame->l4_len;

	if (!(frame->ol_flags & RTE_MBUF_F_TX_TCP_SEG))
		return;
	hdr->flags |= VIRTIO_NET_HDR_F_RSC_INFO;
	hdr->csum_start =
		(uint16_t)((frame->pkt_len - headers_len + frame->tso_segsz - 1) / frame->tso_segsz);
	hdr->csum_offset = 0;
}
