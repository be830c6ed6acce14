/* SPDX-License-Identifier: BSD-3-Clause */
#include "segment.h"

#include <stddef.h>
#include <string.h>

#include <rte_byteorder.h>
#include <rte_ip.h>
#include <rte_tcp.h>
#include <rte_udp.h>

#include "checksum.h"

bool
segment_is_possible(const struct rte_mbuf *frame, const struct rte_mempool *pool)
{
	uint32_t headers_len = (uint32_t)frame->l2_len + frame->l3_len + frame->l4_len;

	const bool is_udp = frame->ol_flags & RTE_MBUF_F_TX_UDP_SEG;
	const uint32_t l4_min = is_udp ? sizeof(struct rte_udp_hdr) : sizeof(struct rte_tcp_hdr);

	return headers_len < frame->pkt_len && frame->l4_len >= l4_min &&
	       segment_size_is_fair(is_udp, frame->pkt_len - headers_len, frame->tso_segsz) &&
	       headers_len + RTE_PKTMBUF_HEADROOM <= rte_pktmbuf_data_room_size((struct rte_mempool *)pool);
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
	return segmenter->is_udp ? offsetof(struct rte_udp_hdr, dgram_cksum)
				 : offsetof(struct rte_tcp_hdr, cksum);
}

void
segment_start(struct segmenter *segmenter, const struct rte_mbuf *frame, enum segment_checksum checksum)
{
	const void *headers;
	uint16_t l4_len, sum;

	segmenter->frame = frame;
	segmenter->is_udp = frame->ol_flags & RTE_MBUF_F_TX_UDP_SEG;
	segmenter->leave_checksum = checksum == SEGMENT_CHECKSUM_LEFT;
	segmenter->l4_at = (uint32_t)frame->l2_len + frame->l3_len;
	segmenter->headers_len = segmenter->l4_at + frame->l4_len;
	segmenter->payload_len = frame->pkt_len - segmenter->headers_len;
	headers = rte_pktmbuf_read(frame, 0, segmenter->headers_len, segmenter->headers);
	if (headers != segmenter->headers)
		memcpy(segmenter->headers, headers, segmenter->headers_len);
	memcpy(&sum, segmenter->headers + segmenter->l4_at + segment_checksum_at(segmenter), sizeof(sum));
	l4_len = (uint16_t)(frame->pkt_len - segmenter->l4_at);
	segmenter->pseudo_sum = sum_without(sum, rte_cpu_to_be_16(l4_len));
	segmenter->at = frame;
	segmenter->at_offset = segmenter->headers_len;
	segmenter->done = 0;
	segmenter->n = 0;
}

/* The next len bytes of payload. */
static void
segment_read(struct segmenter *segmenter, uint8_t *to, uint32_t len)
{
	while (len) {
		uint32_t now;

		while (segmenter->at_offset >= segmenter->at->data_len) {
			segmenter->at_offset -= segmenter->at->data_len;
			segmenter->at = segmenter->at->next;
		}
		now = RTE_MIN(len, segmenter->at->data_len - segmenter->at_offset);
		memcpy(to, rte_pktmbuf_mtod_offset(segmenter->at, const uint8_t *, segmenter->at_offset),
		       now);
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

static void
segment_ip(const struct segmenter *segmenter, uint8_t *l3, uint32_t len)
{
	const uint32_t l3_len = segmenter->frame->l3_len, l4_len = segmenter->frame->l4_len;

	if (segmenter->frame->ol_flags & RTE_MBUF_F_TX_IPV4) {
		struct rte_ipv4_hdr ip;

		memcpy(&ip, l3, sizeof(ip));
		ip.total_length = rte_cpu_to_be_16((uint16_t)(l3_len + l4_len + len));
		ip.packet_id = rte_cpu_to_be_16((uint16_t)(rte_be_to_cpu_16(ip.packet_id) + segmenter->n));
		ip.hdr_checksum = 0;
		memcpy(l3, &ip, sizeof(ip));
		ip.hdr_checksum = (uint16_t)~checksum_fold(checksum_bytes(l3, l3_len));
		memcpy(l3 + offsetof(struct rte_ipv4_hdr, hdr_checksum), &ip.hdr_checksum, 2);
	} else {
		/* Extension headers are payload of the IPv6 header. */
		uint16_t payload_len =
			rte_cpu_to_be_16((uint16_t)(l3_len - sizeof(struct rte_ipv6_hdr) + l4_len + len));

		memcpy(l3 + offsetof(struct rte_ipv6_hdr, payload_len), &payload_len, 2);
	}
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
	tcp.cksum = checksum_fold((uint64_t)segmenter->pseudo_sum + l4_len);
	memcpy(l4, &tcp, sizeof(tcp));
}

static void
segment_udp(const struct segmenter *segmenter, uint8_t *l4, uint32_t len)
{
	struct rte_udp_hdr udp;

	memcpy(&udp, l4, sizeof(udp));
	udp.dgram_len = rte_cpu_to_be_16((uint16_t)(segmenter->frame->l4_len + len));
	udp.dgram_cksum = checksum_fold((uint64_t)segmenter->pseudo_sum + udp.dgram_len);
	memcpy(l4, &udp, sizeof(udp));
}

/* What the frame says of itself beside its request. */
static void
segment_metadata(const struct segmenter *segmenter, struct rte_mbuf *segment)
{
	const struct rte_mbuf *frame = segmenter->frame;
	const uint64_t request = RTE_MBUF_F_TX_L4_MASK | RTE_MBUF_F_TX_IPV4 | RTE_MBUF_F_TX_IPV6;

	segment->port = frame->port;
	segment->packet_type = frame->packet_type;
	segment->vlan_tci = frame->vlan_tci;
	segment->hash = frame->hash;
	segment->ol_flags = frame->ol_flags & RTE_MBUF_F_RX_RSS_HASH;
	if (segmenter->leave_checksum) {
		segment->ol_flags |= frame->ol_flags & request;
		segment->l2_len = frame->l2_len;
		segment->l3_len = frame->l3_len;
	}
}

struct rte_mbuf *
segment_next(struct segmenter *segmenter, struct rte_mempool *pool)
{
	uint32_t len =
		RTE_MIN((uint32_t)segmenter->frame->tso_segsz, segmenter->payload_len - segmenter->done);
	struct rte_mbuf *segment = segment_copy(segmenter, pool, len);
	uint8_t *headers;

	if (!segment)
		return NULL;
	headers = rte_pktmbuf_mtod(segment, uint8_t *);
	segment_ip(segmenter, headers + segmenter->frame->l2_len, len);
	if (segmenter->is_udp)
		segment_udp(segmenter, headers + segmenter->l4_at, len);
	else
		segment_tcp(segmenter, headers + segmenter->l4_at, len);
	segment_metadata(segmenter, segment);
	if (!segmenter->leave_checksum)
		checksum_store(segment, segmenter->l4_at, segment_checksum_at(segmenter));
	segmenter->done += len;
	segmenter->n++;
	return segment;
}
