/* SPDX-License-Identifier: BSD-3-Clause */
#include "gro.h"

#include <string.h>

#include "checksum.h"
#include "layout.h"
#include "request.h"

/* A segment, as far as it matters. */
struct gro_segment {
	uint16_t l2_len, l3_len, l4_len;
	uint16_t payload_len; /* 1 or more */
	uint32_t seq;
	bool v6, is_last; /* nothing may follow: PSH */
};

/* A frame that may go on. */
struct gro_flow {
	struct rte_mbuf *head, *tail; /* head NULL: free */
	struct gro_segment first;
	uint32_t next_seq;
	uint16_t n_segments;
	uint16_t segment_len; /* payload of each but the last */
};

enum { GRO_FLAGS_MASK = 0xff & ~RTE_TCP_PSH_FLAG };

static const struct rte_tcp_hdr *
tcp_of(const struct rte_mbuf *pkt, const struct gro_segment *segment)
{
	return rte_pktmbuf_mtod_offset(pkt, const struct rte_tcp_hdr *, segment->l2_len + segment->l3_len);
}

/* The length that IP gives the packet, and whether it can be joined at all. */
static bool
ip_parse(const struct rte_mbuf *pkt, const struct layout *layout, uint32_t *ret_len)
{
	const void *l3 = rte_pktmbuf_mtod_offset(pkt, const void *, layout->l2_len);
	struct rte_ipv4_hdr v4;
	struct rte_ipv6_hdr v6;

	if (layout->ip == RTE_MBUF_F_TX_IPV6) {
		memcpy(&v6, l3, sizeof(v6));
		*ret_len = sizeof(v6) + rte_be_to_cpu_16(v6.payload_len);
		return layout->l3_len == sizeof(v6);
	}
	memcpy(&v4, l3, sizeof(v4));
	*ret_len = rte_be_to_cpu_16(v4.total_length);
	return layout->l3_len == sizeof(v4) && checksum_fold(checksum_bytes(l3, sizeof(v4))) == 0xffff;
}

/* The sum over pseudo header and segment of what is right is all ones. */
static bool
is_verified(const struct rte_mbuf *pkt, const struct layout *layout)
{
	const uint8_t *l3 = rte_pktmbuf_mtod_offset(pkt, const uint8_t *, layout->l2_len);
	const uint32_t l4_at = (uint32_t)layout->l2_len + layout->l3_len;
	const uint64_t said = pkt->ol_flags & RTE_MBUF_F_RX_L4_CKSUM_MASK;
	uint64_t sum;

	/* NONE: the payload is right, and its checksum was left open. */
	if (said)
		return said != RTE_MBUF_F_RX_L4_CKSUM_BAD;
	sum = layout->ip == RTE_MBUF_F_TX_IPV6 ? checksum_bytes(l3 + 8, 32) : checksum_bytes(l3 + 12, 8);
	sum += rte_cpu_to_be_16(IPPROTO_TCP) + (uint64_t)rte_cpu_to_be_16((uint16_t)(pkt->pkt_len - l4_at));
	return checksum_fold(sum + checksum_sum(pkt, l4_at)) == 0xffff;
}

enum gro_kind {
	GRO_OTHER,   /* of no flow that is looked after */
	GRO_UNKNOWN, /* it may be of any */
	GRO_SINGLE,  /* of the flow of *segment, whose frame ends with it */
	GRO_SEGMENT,
};

static enum gro_kind
segment_parse(const struct rte_mbuf *pkt, struct gro_segment *segment)
{
	struct layout_front front;
	const struct rte_tcp_hdr *tcp;
	struct layout layout;
	uint32_t l4_at, l4_len, ip_len;

	front.at = rte_pktmbuf_mtod(pkt, const uint8_t *);
	front.len = pkt->data_len;
	layout = layout_parse(&front);
	if (layout.ip && layout.proto != IPPROTO_TCP)
		return GRO_OTHER;
	l4_at = (uint32_t)layout.l2_len + layout.l3_len;
	l4_len = layout.ip ? layout_tcp_len(&front, l4_at, pkt->data_len) : 0;
	if (l4_len == 0 || !ip_parse(pkt, &layout, &ip_len))
		return GRO_UNKNOWN;
	*segment = (struct gro_segment){
		.l2_len = layout.l2_len, .l3_len = layout.l3_len, .v6 = layout.ip == RTE_MBUF_F_TX_IPV6};
	tcp = rte_pktmbuf_mtod_offset(pkt, const struct rte_tcp_hdr *, l4_at);
	if (pkt->ol_flags & FRAME_REQUESTS || layout.l2_len + ip_len != pkt->pkt_len ||
	    pkt->pkt_len - l4_at <= l4_len || (tcp->tcp_flags & GRO_FLAGS_MASK) != RTE_TCP_ACK_FLAG ||
	    !is_verified(pkt, &layout))
		return GRO_SINGLE;
	*segment = (struct gro_segment){
		.l2_len = layout.l2_len,
		.l3_len = layout.l3_len,
		.l4_len = (uint16_t)l4_len,
		.payload_len = (uint16_t)(pkt->pkt_len - l4_at - l4_len),
		.seq = rte_be_to_cpu_32(tcp->sent_seq),
		.v6 = layout.ip == RTE_MBUF_F_TX_IPV6,
		.is_last = tcp->tcp_flags & RTE_TCP_PSH_FLAG,
	};
	return GRO_SEGMENT;
}

/* Of one connection: its addresses and ports, the same link header. */
static bool
flow_is(const struct gro_flow *flow, const struct rte_mbuf *pkt, const struct gro_segment *segment)
{
	const uint8_t *a = rte_pktmbuf_mtod(flow->head, const uint8_t *),
		      *b = rte_pktmbuf_mtod(pkt, const uint8_t *);
	const uint32_t l3 = segment->l2_len, l4 = l3 + segment->l3_len;

	if (flow->first.l2_len != segment->l2_len || flow->first.l3_len != segment->l3_len ||
	    memcmp(a, b, l3) != 0)
		return false;
	if (segment->v6)
		return memcmp(a + l3 + 8, b + l3 + 8, 32) == 0 && memcmp(a + l4, b + l4, 4) == 0;
	return memcmp(a + l3 + 12, b + l3 + 12, 8) == 0 && memcmp(a + l4, b + l4, 4) == 0;
}

/* Segmentation of the joined frame gives this segment again. */
static bool
segment_follows(const struct gro_flow *flow, const struct rte_mbuf *pkt, const struct gro_segment *segment)
{
	const uint8_t *a = rte_pktmbuf_mtod(flow->head, const uint8_t *),
		      *b = rte_pktmbuf_mtod(pkt, const uint8_t *);
	const uint32_t l3 = segment->l2_len, l4 = l3 + segment->l3_len;
	const struct rte_tcp_hdr *first = tcp_of(flow->head, &flow->first), *tcp = tcp_of(pkt, segment);
	uint16_t id_a, id_b;

	if (segment->seq != flow->next_seq || segment->l4_len != flow->first.l4_len ||
	    segment->payload_len > flow->segment_len || flow->n_segments == GRO_SEGMENTS_MAX ||
	    flow->head->pkt_len - l3 + segment->payload_len > GRO_FRAME_MAX)
		return false;
	if (tcp->recv_ack != first->recv_ack || tcp->rx_win != first->rx_win ||
	    tcp->tcp_urp != first->tcp_urp ||
	    memcmp(a + l4 + sizeof(*tcp), b + l4 + sizeof(*tcp), segment->l4_len - sizeof(*tcp)) != 0)
		return false;
	/* Version, class and flow label, hop limit. */
	if (segment->v6)
		return memcmp(a + l3, b + l3, 4) == 0 && memcmp(a + l3 + 6, b + l3 + 6, 2) == 0;
	memcpy(&id_a, a + l3 + 4, sizeof(id_a));
	memcpy(&id_b, b + l3 + 4, sizeof(id_b));
	/* Version and type of service; flags and time to live. */
	return memcmp(a + l3, b + l3, 2) == 0 && memcmp(a + l3 + 6, b + l3 + 6, 3) == 0 &&
	       (uint16_t)(rte_be_to_cpu_16(id_a) + flow->n_segments) == rte_be_to_cpu_16(id_b);
}

/* The frame is done: its headers become those of all of it, and it requests what made one of many. */
static void
flow_end(struct gro_flow *flow)
{
	struct rte_mbuf *head = flow->head;
	const struct gro_segment *first = &flow->first;
	uint8_t *l3 = head ? rte_pktmbuf_mtod_offset(head, uint8_t *, first->l2_len) : NULL;
	const uint32_t l4_at = (uint32_t)first->l2_len + first->l3_len;
	struct rte_tcp_hdr *tcp;
	uint16_t ip_len, sum;
	uint64_t pseudo;

	flow->head = NULL;
	if (!head || flow->n_segments == 1)
		return;
	tcp = rte_pktmbuf_mtod_offset(head, struct rte_tcp_hdr *, l4_at);
	if (first->v6) {
		ip_len = rte_cpu_to_be_16((uint16_t)(head->pkt_len - l4_at));
		memcpy(l3 + 4, &ip_len, sizeof(ip_len));
		pseudo = checksum_bytes(l3 + 8, 32);
	} else {
		ip_len = rte_cpu_to_be_16((uint16_t)(head->pkt_len - first->l2_len));
		memcpy(l3 + 2, &ip_len, sizeof(ip_len));
		memset(l3 + 10, 0, 2);
		sum = (uint16_t)~checksum_fold(checksum_bytes(l3, sizeof(struct rte_ipv4_hdr)));
		memcpy(l3 + 10, &sum, sizeof(sum));
		pseudo = checksum_bytes(l3 + 12, 8);
	}
	pseudo +=
		rte_cpu_to_be_16(IPPROTO_TCP) + (uint64_t)rte_cpu_to_be_16((uint16_t)(head->pkt_len - l4_at));
	tcp->cksum = checksum_fold(pseudo);
	head->ol_flags &= ~RTE_MBUF_F_RX_L4_CKSUM_MASK;
	head->ol_flags |= RTE_MBUF_F_TX_TCP_SEG | RTE_MBUF_F_TX_TCP_CKSUM |
			  (first->v6 ? RTE_MBUF_F_TX_IPV6 : RTE_MBUF_F_TX_IPV4);
	head->tx_offload = 0;
	head->l2_len = first->l2_len & 0x7f;
	head->l3_len = first->l3_len & 0x1ff;
	head->l4_len = first->l4_len & 0xff;
	head->tso_segsz = flow->segment_len;
}

static void
flow_join(struct gro_flow *flow, struct rte_mbuf *pkt, const struct gro_segment *segment)
{
	struct rte_tcp_hdr *tcp = (struct rte_tcp_hdr *)(uintptr_t)tcp_of(flow->head, &flow->first);
	const bool is_short = segment->payload_len < flow->segment_len;

	rte_pktmbuf_adj(pkt, (uint16_t)(segment->l2_len + segment->l3_len + segment->l4_len));
	/* Its headers were all that the first piece had. */
	if (unlikely(pkt->data_len == 0)) {
		struct rte_mbuf *rest = pkt->next;

		rest->nb_segs = (uint16_t)(pkt->nb_segs - 1);
		rte_pktmbuf_free_seg(pkt);
		pkt = rest;
	}
	flow->tail->next = pkt;
	flow->tail = rte_pktmbuf_lastseg(pkt);
	flow->head->nb_segs = (uint16_t)(flow->head->nb_segs + pkt->nb_segs);
	pkt->nb_segs = 1;
	flow->head->pkt_len += segment->payload_len;
	flow->next_seq += segment->payload_len;
	flow->n_segments++;
	if (segment->is_last)
		tcp->tcp_flags |= RTE_TCP_PSH_FLAG;
	if (segment->is_last || is_short)
		flow_end(flow);
}

static void
flow_start(struct gro_flow *flow, struct rte_mbuf *pkt, const struct gro_segment *segment)
{
	*flow = (struct gro_flow){
		.head = pkt,
		.tail = rte_pktmbuf_lastseg(pkt),
		.first = *segment,
		.next_seq = segment->seq + segment->payload_len,
		.n_segments = 1,
		.segment_len = segment->payload_len,
	};
}

static struct gro_flow *
flow_find(struct gro_flow flows[GRO_FLOWS], const struct rte_mbuf *pkt, const struct gro_segment *segment,
	  struct gro_flow **ret_unused)
{
	*ret_unused = NULL;
	for (unsigned int i = 0; i < GRO_FLOWS; i++) {
		if (!flows[i].head)
			*ret_unused = &flows[i];
		else if (flow_is(&flows[i], pkt, segment))
			return &flows[i];
	}
	return NULL;
}

static void
flows_end(struct gro_flow flows[GRO_FLOWS])
{
	for (unsigned int i = 0; i < GRO_FLOWS; i++)
		flow_end(&flows[i]);
}

uint16_t
gro_burst(struct rte_mbuf **pkts, uint16_t n)
{
	struct gro_flow flows[GRO_FLOWS] = {0};
	uint16_t n_kept = 0;

	for (uint16_t i = 0; i < n; i++) {
		struct gro_flow *flow = NULL, *unused = NULL;
		struct rte_mbuf *pkt = pkts[i];
		struct gro_segment segment = {0};
		enum gro_kind kind = segment_parse(pkt, &segment);

		if (kind >= GRO_SINGLE)
			flow = flow_find(flows, pkt, &segment, &unused);
		if (kind == GRO_SEGMENT && flow && segment_follows(flow, pkt, &segment)) {
			flow_join(flow, pkt, &segment);
			continue;
		}
		pkts[n_kept++] = pkt;
		if (kind == GRO_UNKNOWN)
			flows_end(flows);
		if (flow) {
			flow_end(flow);
			unused = flow;
		}
		if (kind == GRO_SEGMENT && unused && !segment.is_last)
			flow_start(unused, pkt, &segment);
	}
	flows_end(flows);
	return n_kept;
}
