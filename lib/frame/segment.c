/* SPDX-License-Identifier: BSD-3-Clause */
#include "segment.h"

#include <stddef.h>
#include <string.h>

#include <rte_byteorder.h>
#include <rte_ip.h>
#include <rte_random.h>
#include <rte_tcp.h>
#include <rte_udp.h>

#include "borrow.h"
#include "checksum.h"
#include "layout.h"

/* RFC 8200, "Fragment Header". */
struct segment_fragment_header {
	uint8_t next_header, reserved;
	uint16_t offset; /* in units of 8 bytes, and from bit 3 on; bit 0: there are more */
	uint32_t id;
};

enum { SEGMENT_FRAGMENT_HEADER = sizeof(struct segment_fragment_header), SEGMENT_MORE_V6 = 1 };

bool
segment_is_possible(const struct rte_mbuf *frame, const struct rte_mempool *pool)
{
	const enum segment_kind kind = segment_kind(frame->ol_flags);
	const uint32_t l4_min = kind == SEGMENT_TCP ? sizeof(struct rte_tcp_hdr) : sizeof(struct rte_udp_hdr);
	/* Of the first fragment, whose headers are in one piece, too. */
	const uint32_t more = kind == SEGMENT_FRAGMENTS ? SEGMENT_FRAGMENT_HEADER : 0;
	uint32_t headers_len = (uint32_t)frame->l2_len + frame->l3_len + frame->l4_len;

	return headers_len < frame->pkt_len && frame->l4_len >= l4_min &&
	       segment_size_is_fair(kind, frame->pkt_len - headers_len, frame->tso_segsz) &&
	       headers_len + more + RTE_PKTMBUF_HEADROOM <=
		       rte_pktmbuf_data_room_size((struct rte_mempool *)pool);
}

/* What was in one of the words of a sum is taken out by adding its inverse. */
static uint16_t
sum_without(uint16_t sum, uint16_t word)
{
	return checksum_fold((uint64_t)sum + (uint16_t)~word);
}

static uint32_t
segment_checksum_at(const struct segmenter *segmenter)
{
	return segmenter->kind == SEGMENT_TCP ? offsetof(struct rte_tcp_hdr, cksum)
					      : offsetof(struct rte_udp_hdr, dgram_cksum);
}

/* Put a fragment header into the headers, which end where it goes: its offset follows. */
static void
fragment_insert(struct segmenter *segmenter, uint32_t next_header_at)
{
	/* RFC 7739: no counter, which would tell others how much is sent, and what comes next. */
	struct segment_fragment_header header = {.next_header = segmenter->headers[next_header_at],
						 .id = (uint32_t)rte_rand()};

	segmenter->headers[next_header_at] = IPPROTO_FRAGMENT;
	memcpy(segmenter->headers + segmenter->headers_len, &header, sizeof(header));
	segmenter->headers_len += SEGMENT_FRAGMENT_HEADER;
}

/* What is cut begins in front of UDP's header, and the whole datagram's checksum is known. */
static void
fragments_start(struct segmenter *segmenter, const struct rte_mbuf *frame)
{
	const uint32_t l2_len = frame->l2_len;

	segmenter->sum = (uint16_t)~checksum_sum(frame, segmenter->l4_at);
	if (segmenter->sum == 0)
		segmenter->sum = 0xffff; /* RFC 768: 0 would mean that there is none */
	segmenter->headers_len = segmenter->l4_at;
	if (frame->ol_flags & RTE_MBUF_F_TX_IPV6) {
		const struct layout_unfragmentable first = layout_unfragmentable(segmenter->headers + l2_len);

		segmenter->headers_len = l2_len + first.len;
		segmenter->at_offset = segmenter->headers_len;
		fragment_insert(segmenter, l2_len + first.next_header_at);
	} else {
		struct rte_ipv4_hdr ip;

		memcpy(&ip, segmenter->headers + l2_len, sizeof(ip));
		/* RFC 6864: of a datagram that is not to be fragmented it means nothing. */
		if (ip.fragment_offset & RTE_BE16(RTE_IPV4_HDR_DF_FLAG))
			segmenter->ip_id = (uint16_t)rte_rand();
		segmenter->at_offset = segmenter->headers_len;
	}
	segmenter->payload_len = frame->pkt_len - segmenter->at_offset;
}

/* RFC 791, "Internet Header Format", options: those that are not to be copied are in the first fragment only.
 */
static void
fragments_blank_options(struct segmenter *segmenter)
{
	enum { OPTION_END, OPTION_NOTHING, OPTION_COPIED = 0x80 };
	uint8_t *at = segmenter->headers + segmenter->frame->l2_len + sizeof(struct rte_ipv4_hdr);
	const uint8_t *end = segmenter->headers + segmenter->l4_at;

	while (at < end && *at != OPTION_END) {
		uint32_t len = 1;

		if (*at != OPTION_NOTHING) {
			/* Type, length of both and what follows. */
			if (end - at < 2 || at[1] < 2 || at[1] > end - at)
				return;
			len = at[1];
			if (!(*at & OPTION_COPIED))
				memset(at, OPTION_NOTHING, len);
		}
		at += len;
	}
}

void
segment_start(struct segmenter *segmenter, const struct rte_mbuf *frame, enum segment_checksum checksum)
{
	const void *headers;
	uint16_t l4_len, sum;

	segmenter->frame = frame;
	segmenter->kind = segment_kind(frame->ol_flags);
	segmenter->leave_checksum = checksum == SEGMENT_CHECKSUM_LEFT;
	segmenter->l4_at = (uint32_t)frame->l2_len + frame->l3_len;
	segmenter->headers_len = segmenter->l4_at + frame->l4_len;
	segmenter->payload_len = frame->pkt_len - segmenter->headers_len;
	headers = borrow_read(frame, 0, segmenter->headers_len, segmenter->headers);
	if (headers != segmenter->headers)
		memcpy(segmenter->headers, headers, segmenter->headers_len);
	segmenter->at_offset = segmenter->headers_len;
	segmenter->done = 0;
	segmenter->n = 0;
	if (frame->ol_flags & RTE_MBUF_F_TX_IPV4) {
		memcpy(&segmenter->ip_id,
		       segmenter->headers + frame->l2_len + offsetof(struct rte_ipv4_hdr, packet_id),
		       sizeof(segmenter->ip_id));
		segmenter->ip_id = rte_be_to_cpu_16(segmenter->ip_id);
	}
	segmenter->at = frame;
	segmenter->span = rte_pktmbuf_mtod(frame, const uint8_t *);
	segmenter->span_len = frame->data_len;
	segmenter->n_pieces = borrow_is(frame) ? borrow_pieces(frame, &segmenter->one, &segmenter->piece) : 0;
	if (segmenter->kind == SEGMENT_FRAGMENTS) {
		fragments_start(segmenter, frame);
		return;
	}
	memcpy(&sum, segmenter->headers + segmenter->l4_at + segment_checksum_at(segmenter), sizeof(sum));
	l4_len = (uint16_t)(frame->pkt_len - segmenter->l4_at);
	segmenter->sum = sum_without(sum, rte_cpu_to_be_16(l4_len));
}

/* The next segment of the frame; or piece, of one that is borrowed. */
static void
segment_span_next(struct segmenter *segmenter)
{
	if (segmenter->n_pieces) {
		segmenter->span = segmenter->piece->va;
		segmenter->span_len = segmenter->piece->len;
		segmenter->piece++;
		segmenter->n_pieces--;
		return;
	}
	segmenter->at = segmenter->at->next;
	segmenter->span = rte_pktmbuf_mtod(segmenter->at, const uint8_t *);
	segmenter->span_len = segmenter->at->data_len;
}

/* The next len bytes of payload. */
static void
segment_read(struct segmenter *segmenter, uint8_t *to, uint32_t len)
{
	while (len) {
		uint32_t now;

		while (segmenter->at_offset >= segmenter->span_len) {
			segmenter->at_offset -= segmenter->span_len;
			segment_span_next(segmenter);
		}
		now = RTE_MIN(len, segmenter->span_len - segmenter->at_offset);
		memcpy(to, segmenter->span + segmenter->at_offset, now);
		to += now;
		len -= now;
		segmenter->at_offset += now;
	}
}

/* An mbuf with the headers, and behind them len bytes of payload over as many mbufs as it takes; NULL: no
 * packet buffer. */
static struct rte_mbuf *
segment_copy(struct segmenter *segmenter, struct rte_mempool *pool, uint32_t len)
{
	const uint32_t room = (uint32_t)rte_pktmbuf_data_room_size(pool) - RTE_PKTMBUF_HEADROOM;
	struct rte_mbuf *segment = rte_pktmbuf_alloc(pool), *last = segment;

	if (!segment)
		return NULL;
	segment->data_len = (uint16_t)segmenter->headers_len;
	segment->pkt_len = segmenter->headers_len + len;
	memcpy(rte_pktmbuf_mtod(segment, void *), segmenter->headers, segmenter->headers_len);
	for (;;) {
		uint32_t now = RTE_MIN(len, room - last->data_len);

		segment_read(segmenter, rte_pktmbuf_mtod_offset(last, uint8_t *, last->data_len), now);
		last->data_len = (uint16_t)(last->data_len + now);
		len -= now;
		if (len == 0)
			return segment;
		last->next = rte_pktmbuf_alloc(pool);
		if (!last->next) {
			rte_pktmbuf_free(segment);
			return NULL;
		}
		last = last->next;
		segment->nb_segs++;
	}
}

/* Where a fragment's part belongs, with `more` where others follow. */
static uint16_t
fragment_offset(const struct segmenter *segmenter, uint32_t len, uint16_t unit_bits, uint16_t more)
{
	const uint16_t offset = (uint16_t)(segmenter->done / SEGMENT_FRAGMENT_UNIT << unit_bits);

	return rte_cpu_to_be_16(segmenter->done + len < segmenter->payload_len ? offset | more : offset);
}

static void
segment_ip(const struct segmenter *segmenter, uint8_t *headers, uint32_t len)
{
	const bool is_fragment = segmenter->kind == SEGMENT_FRAGMENTS;
	const uint32_t l3_len = segmenter->frame->l3_len;
	const uint32_t packet_len = segmenter->headers_len - segmenter->frame->l2_len + len;
	uint8_t *l3 = headers + segmenter->frame->l2_len;

	if (segmenter->frame->ol_flags & RTE_MBUF_F_TX_IPV4) {
		struct rte_ipv4_hdr ip;

		memcpy(&ip, l3, sizeof(ip));
		ip.total_length = rte_cpu_to_be_16((uint16_t)packet_len);
		ip.packet_id =
			rte_cpu_to_be_16((uint16_t)(segmenter->ip_id + (is_fragment ? 0 : segmenter->n)));
		if (is_fragment)
			ip.fragment_offset = fragment_offset(segmenter, len, 0, RTE_IPV4_HDR_MF_FLAG);
		ip.hdr_checksum = 0;
		memcpy(l3, &ip, sizeof(ip));
		ip.hdr_checksum = (uint16_t)~checksum_fold(checksum_bytes(l3, l3_len));
		memcpy(l3 + offsetof(struct rte_ipv4_hdr, hdr_checksum), &ip.hdr_checksum, 2);
	} else {
		/* Extension headers are payload of the IPv6 header. */
		uint16_t payload_len = rte_cpu_to_be_16((uint16_t)(packet_len - sizeof(struct rte_ipv6_hdr)));

		memcpy(l3 + offsetof(struct rte_ipv6_hdr, payload_len), &payload_len, 2);
		if (is_fragment) {
			const uint16_t offset = fragment_offset(segmenter, len, 3, SEGMENT_MORE_V6);

			memcpy(headers + segmenter->headers_len - SEGMENT_FRAGMENT_HEADER +
				       offsetof(struct segment_fragment_header, offset),
			       &offset, sizeof(offset));
		}
	}
}

/* The first one has UDP's header, behind what of IPv6 is cut with it. */
static void
segment_fragment(struct segmenter *segmenter, uint8_t *headers)
{
	const uint32_t cut_at = segmenter->frame->pkt_len - segmenter->payload_len;

	if (segmenter->n)
		return;
	memcpy(headers + segmenter->headers_len + segmenter->l4_at - cut_at + segment_checksum_at(segmenter),
	       &segmenter->sum, sizeof(segmenter->sum));
	if (segmenter->frame->ol_flags & RTE_MBUF_F_TX_IPV4)
		fragments_blank_options(segmenter);
}

static void
segment_tcp(const struct segmenter *segmenter, uint8_t *l4, uint32_t len)
{
	const uint16_t l4_len = rte_cpu_to_be_16((uint16_t)(segmenter->frame->l4_len + len));
	struct rte_tcp_hdr tcp;

	memcpy(&tcp, l4, sizeof(tcp));
	tcp.sent_seq = rte_cpu_to_be_32(rte_be_to_cpu_32(tcp.sent_seq) + segmenter->done);
	/* The end of the data is in the last segment only; the window was reduced once (RFC 3168, 6.1.2). */
	if (segmenter->done + len < segmenter->payload_len)
		tcp.tcp_flags &= (uint8_t) ~(RTE_TCP_FIN_FLAG | RTE_TCP_PSH_FLAG);
	if (segmenter->n > 0)
		tcp.tcp_flags &= (uint8_t)~RTE_TCP_CWR_FLAG;
	tcp.cksum = checksum_fold((uint64_t)segmenter->sum + l4_len);
	memcpy(l4, &tcp, sizeof(tcp));
}

static void
segment_udp(const struct segmenter *segmenter, uint8_t *l4, uint32_t len)
{
	struct rte_udp_hdr udp;

	memcpy(&udp, l4, sizeof(udp));
	udp.dgram_len = rte_cpu_to_be_16((uint16_t)(segmenter->frame->l4_len + len));
	udp.dgram_cksum = checksum_fold((uint64_t)segmenter->sum + udp.dgram_len);
	memcpy(l4, &udp, sizeof(udp));
}

/* What the frame says of itself beside its request. A fragment has no hash: the datagram's is one of ports.
 */
static void
segment_metadata(const struct segmenter *segmenter, struct rte_mbuf *segment)
{
	const struct rte_mbuf *frame = segmenter->frame;
	const uint64_t request = RTE_MBUF_F_TX_L4_MASK | RTE_MBUF_F_TX_IPV4 | RTE_MBUF_F_TX_IPV6;

	segment->port = frame->port;
	segment->packet_type = frame->packet_type;
	segment->vlan_tci = frame->vlan_tci;
	if (segmenter->kind == SEGMENT_FRAGMENTS)
		return;
	segment->hash = frame->hash;
	segment->ol_flags = frame->ol_flags & RTE_MBUF_F_RX_RSS_HASH;
	if (segmenter->leave_checksum) {
		segment->ol_flags |= frame->ol_flags & request;
		segment->l2_len = frame->l2_len;
		segment->l3_len = frame->l3_len;
	} else {
		checksum_store(segment, segmenter->l4_at, segment_checksum_at(segmenter));
	}
}

/* How much of the payload the next segment takes. */
static uint32_t
segment_len(const struct segmenter *segmenter)
{
	const uint32_t left = segmenter->payload_len - segmenter->done, most = segmenter->frame->tso_segsz;

	if (left <= most)
		return left;
	return segmenter->kind == SEGMENT_FRAGMENTS ? most & ~(SEGMENT_FRAGMENT_UNIT - 1u) : most;
}

struct rte_mbuf *
segment_next(struct segmenter *segmenter, struct rte_mempool *pool)
{
	const uint32_t len = segment_len(segmenter);
	struct rte_mbuf *segment = segment_copy(segmenter, pool, len);
	uint8_t *headers;

	if (!segment)
		return NULL;
	headers = rte_pktmbuf_mtod(segment, uint8_t *);
	segment_ip(segmenter, headers, len);
	switch (segmenter->kind) {
	case SEGMENT_TCP:
		segment_tcp(segmenter, headers + segmenter->l4_at, len);
		break;
	case SEGMENT_DATAGRAMS:
		segment_udp(segmenter, headers + segmenter->l4_at, len);
		break;
	case SEGMENT_FRAGMENTS:
		segment_fragment(segmenter, headers);
		break;
	}
	segment_metadata(segmenter, segment);
	segmenter->done += len;
	segmenter->n++;
	return segment;
}
