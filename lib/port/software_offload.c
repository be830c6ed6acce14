/* SPDX-License-Identifier: BSD-3-Clause */
#include "software_offload.h"

#include <stddef.h>
#include <string.h>

#include <rte_byteorder.h>
#include <rte_ip.h>
#include <rte_tcp.h>
#include <rte_udp.h>

enum {
	/* l2_len, l3_len and l4_len have 7, 9 and 8 bits in an mbuf. */
	COMPLETE_HEADERS_MAX = 127 + 511 + 255,
};

/* --- sums ---
 *
 * One's complement sums do not care for byte order (RFC 1071, 2. (B)): words are added as they lie in memory.
 */

static uint16_t
sum_fold(uint64_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

/* As if a zero byte followed an odd one. */
static uint64_t
sum_bytes(const uint8_t *at, uint32_t len)
{
	uint64_t sum = 0;
	uint32_t i = 0, four;
	uint16_t two;

	for (; i + 4 <= len; i += 4) {
		memcpy(&four, at + i, 4);
		sum += four;
	}
	if (i + 2 <= len) {
		memcpy(&two, at + i, 2);
		sum += two;
		i += 2;
	}
	if (i < len)
		sum += rte_cpu_to_le_16(at[i]);
	return sum;
}

uint16_t
port_sum(const struct rte_mbuf *frame, uint32_t offset)
{
	const struct rte_mbuf *seg = frame;
	bool odd = false; /* bytes summed so far */
	uint64_t sum = 0;

	for (; seg && offset >= seg->data_len; seg = seg->next)
		offset -= seg->data_len;
	for (; seg; seg = seg->next) {
		uint32_t len = seg->data_len - offset;
		uint16_t its =
			sum_fold(sum_bytes(rte_pktmbuf_mtod_offset(seg, const uint8_t *, offset), len));

		/* A piece that starts at an odd byte has its words the other way round (RFC 1071, 2. (B)). */
		sum += odd ? rte_bswap16(its) : its;
		odd ^= len & 1;
		offset = 0;
	}
	return sum_fold(sum);
}

/* Where byte `offset` of the frame is. */
static uint8_t *
frame_byte(struct rte_mbuf *frame, uint32_t offset)
{
	for (; offset >= frame->data_len; frame = frame->next)
		offset -= frame->data_len;
	return rte_pktmbuf_mtod_offset(frame, uint8_t *, offset);
}

void
port_sum_store(struct rte_mbuf *frame, uint32_t start, uint32_t offset)
{
	uint16_t sum = (uint16_t)~port_sum(frame, start);
	uint8_t bytes[2];

	/* Nothing else has its checksum there, also inside of tunnels; a 0 would mean that there is none. */
	if (sum == 0 && offset == offsetof(struct rte_udp_hdr, dgram_cksum))
		sum = 0xffff;
	memcpy(bytes, &sum, 2);
	*frame_byte(frame, start + offset) = bytes[0];
	*frame_byte(frame, start + offset + 1) = bytes[1];
}

/* --- checksum of a frame --- */

static bool
frame_requests_tcp(const struct rte_mbuf *frame)
{
	return (frame->ol_flags & RTE_MBUF_F_TX_L4_MASK) == RTE_MBUF_F_TX_TCP_CKSUM;
}

/* All data is ours alone. */
static bool
frame_is_own(const struct rte_mbuf *frame)
{
	for (; frame; frame = frame->next)
		if (!RTE_MBUF_DIRECT(frame) || rte_mbuf_refcnt_read(frame) != 1)
			return false;
	return true;
}

/* The frame, or a copy in its place, with its checksum; NULL: no packet buffer, the frame is still the
 * caller's. */
static struct rte_mbuf *
complete_checksum(struct rte_mbuf *frame, struct rte_mempool *pool)
{
	if (!frame_is_own(frame)) {
		struct rte_mbuf *copy = rte_pktmbuf_copy(frame, pool, 0, UINT32_MAX);

		if (!copy)
			return NULL;
		rte_pktmbuf_free(frame);
		frame = copy;
	}
	port_sum_store(frame, (uint32_t)frame->l2_len + frame->l3_len,
		       frame_requests_tcp(frame) ? offsetof(struct rte_tcp_hdr, cksum)
						 : offsetof(struct rte_udp_hdr, dgram_cksum));
	frame->ol_flags &= ~PORT_REQUEST_FLAGS;
	return frame;
}

/* --- segmentation --- */

/* A frame on its way to become segments. */
struct complete_cut {
	const struct rte_mbuf *frame;
	bool leave_checksum; /* to the destination */
	uint32_t headers_len, l4_at, payload_len;
	uint16_t pseudo_sum;       /* without length, as it lies in memory */
	const struct rte_mbuf *at; /* where the payload goes on */
	uint32_t at_offset;
	uint32_t done; /* bytes of payload */
	uint16_t n;    /* segments made */
	uint8_t headers[COMPLETE_HEADERS_MAX];
};

/* What was in one of the words of a sum is taken out by adding its inverse. */
static uint16_t
sum_without(uint16_t sum, uint16_t word)
{
	return sum_fold((uint64_t)sum + (uint16_t)~word);
}

static void
cut_start(struct complete_cut *cut, const struct rte_mbuf *frame, unsigned int takes)
{
	const void *headers;
	uint16_t l4_len;
	struct rte_tcp_hdr tcp;

	cut->frame = frame;
	cut->leave_checksum = takes & PORT_CAP_CHECKSUM;
	cut->l4_at = (uint32_t)frame->l2_len + frame->l3_len;
	cut->headers_len = cut->l4_at + frame->l4_len;
	cut->payload_len = frame->pkt_len - cut->headers_len;
	headers = rte_pktmbuf_read(frame, 0, cut->headers_len, cut->headers);
	if (headers != cut->headers)
		memcpy(cut->headers, headers, cut->headers_len);
	memcpy(&tcp, cut->headers + cut->l4_at, sizeof(tcp));
	l4_len = (uint16_t)(frame->pkt_len - cut->l4_at);
	cut->pseudo_sum = sum_without(tcp.cksum, rte_cpu_to_be_16(l4_len));
	cut->at = frame;
	cut->at_offset = cut->headers_len;
	cut->done = 0;
	cut->n = 0;
}

/* The next len bytes of payload. */
static void
cut_read(struct complete_cut *cut, uint8_t *to, uint32_t len)
{
	while (len) {
		uint32_t now;

		while (cut->at_offset >= cut->at->data_len) {
			cut->at_offset -= cut->at->data_len;
			cut->at = cut->at->next;
		}
		now = RTE_MIN(len, cut->at->data_len - cut->at_offset);
		memcpy(to, rte_pktmbuf_mtod_offset(cut->at, const uint8_t *, cut->at_offset), now);
		to += now;
		len -= now;
		cut->at_offset += now;
	}
}

/* An mbuf with the headers, and behind them len bytes of payload over as many mbufs as it takes; NULL: no
 * packet buffer. */
static struct rte_mbuf *
cut_copy(struct complete_cut *cut, struct rte_mempool *pool, uint32_t len)
{
	const uint32_t room = (uint32_t)rte_pktmbuf_data_room_size(pool) - RTE_PKTMBUF_HEADROOM;
	struct rte_mbuf *segment = rte_pktmbuf_alloc(pool), *last = segment;

	if (!segment)
		return NULL;
	segment->data_len = (uint16_t)cut->headers_len;
	segment->pkt_len = cut->headers_len + len;
	memcpy(rte_pktmbuf_mtod(segment, void *), cut->headers, cut->headers_len);
	for (;;) {
		uint32_t now = RTE_MIN(len, room - last->data_len);

		cut_read(cut, rte_pktmbuf_mtod_offset(last, uint8_t *, last->data_len), now);
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
cut_ip(const struct complete_cut *cut, uint8_t *l3, uint32_t len)
{
	const uint32_t l3_len = cut->frame->l3_len, l4_len = cut->frame->l4_len;

	if (cut->frame->ol_flags & RTE_MBUF_F_TX_IPV4) {
		struct rte_ipv4_hdr ip;

		memcpy(&ip, l3, sizeof(ip));
		ip.total_length = rte_cpu_to_be_16((uint16_t)(l3_len + l4_len + len));
		ip.packet_id = rte_cpu_to_be_16((uint16_t)(rte_be_to_cpu_16(ip.packet_id) + cut->n));
		ip.hdr_checksum = 0;
		memcpy(l3, &ip, sizeof(ip));
		ip.hdr_checksum = (uint16_t)~sum_fold(sum_bytes(l3, l3_len));
		memcpy(l3 + offsetof(struct rte_ipv4_hdr, hdr_checksum), &ip.hdr_checksum, 2);
	} else {
		/* Extension headers are payload of the IPv6 header. */
		uint16_t payload_len =
			rte_cpu_to_be_16((uint16_t)(l3_len - sizeof(struct rte_ipv6_hdr) + l4_len + len));

		memcpy(l3 + offsetof(struct rte_ipv6_hdr, payload_len), &payload_len, 2);
	}
}

static void
cut_tcp(const struct complete_cut *cut, uint8_t *l4, uint32_t len)
{
	const uint16_t l4_len = rte_cpu_to_be_16((uint16_t)(cut->frame->l4_len + len));
	struct rte_tcp_hdr tcp;

	memcpy(&tcp, l4, sizeof(tcp));
	tcp.sent_seq = rte_cpu_to_be_32(rte_be_to_cpu_32(tcp.sent_seq) + cut->done);
	/* The end of the data is in the last segment only; the window was reduced once (RFC 3168, 6.1.2). */
	if (cut->done + len < cut->payload_len)
		tcp.tcp_flags &= (uint8_t) ~(RTE_TCP_FIN_FLAG | RTE_TCP_PSH_FLAG);
	if (cut->n > 0)
		tcp.tcp_flags &= (uint8_t)~RTE_TCP_CWR_FLAG;
	tcp.cksum = sum_fold((uint64_t)cut->pseudo_sum + l4_len);
	memcpy(l4, &tcp, sizeof(tcp));
}

/* What the frame says of itself beside its request. */
static void
cut_metadata(const struct complete_cut *cut, struct rte_mbuf *segment)
{
	const struct rte_mbuf *frame = cut->frame;
	const uint64_t request = RTE_MBUF_F_TX_TCP_CKSUM | RTE_MBUF_F_TX_IPV4 | RTE_MBUF_F_TX_IPV6;

	segment->port = frame->port;
	segment->packet_type = frame->packet_type;
	segment->vlan_tci = frame->vlan_tci;
	segment->hash = frame->hash;
	segment->ol_flags = frame->ol_flags & RTE_MBUF_F_RX_RSS_HASH;
	if (cut->leave_checksum) {
		segment->ol_flags |= frame->ol_flags & request;
		segment->l2_len = frame->l2_len;
		segment->l3_len = frame->l3_len;
	}
}

/* The next segment; NULL: no packet buffer. */
static struct rte_mbuf *
cut_next(struct complete_cut *cut, struct rte_mempool *pool)
{
	uint32_t len = RTE_MIN((uint32_t)cut->frame->tso_segsz, cut->payload_len - cut->done);
	struct rte_mbuf *segment = cut_copy(cut, pool, len);
	uint8_t *headers;

	if (!segment)
		return NULL;
	headers = rte_pktmbuf_mtod(segment, uint8_t *);
	cut_ip(cut, headers + cut->frame->l2_len, len);
	cut_tcp(cut, headers + cut->l4_at, len);
	cut_metadata(cut, segment);
	if (!cut->leave_checksum)
		port_sum_store(segment, cut->l4_at, offsetof(struct rte_tcp_hdr, cksum));
	cut->done += len;
	cut->n++;
	return segment;
}

/* --- a burst --- */

static bool
frame_has_cwr(const struct rte_mbuf *frame)
{
	uint32_t at = (uint32_t)frame->l2_len + frame->l3_len + offsetof(struct rte_tcp_hdr, tcp_flags);
	uint8_t copy;
	const uint8_t *flags = rte_pktmbuf_read(frame, at, 1, &copy);

	return flags && *flags & RTE_TCP_CWR_FLAG;
}

/* The destination segments such frames itself. */
static bool
segmentation_is_taken(const struct rte_mbuf *frame, unsigned int takes)
{
	unsigned int needs = frame->ol_flags & RTE_MBUF_F_TX_IPV4 ? PORT_CAP_TSO4 : PORT_CAP_TSO6;

	return takes & needs && takes & PORT_CAP_CHECKSUM && (takes & PORT_CAP_ECN || !frame_has_cwr(frame));
}

/* Frames gathered for the next call of `send`. */
struct complete_burst {
	struct port_queue *queue;
	struct rte_mempool *pool;
	unsigned int takes;
	software_offload_send_fn send;
	const void *ctx;
	struct rte_mbuf *pkts[PORT_BURST];
	uint16_t n;
	uint32_t n_sent;
};

static void
burst_flush(struct complete_burst *burst)
{
	if (burst->n)
		burst->n_sent += burst->send(burst->queue, burst->ctx, burst->pkts, burst->n);
	burst->n = 0;
}

static void
burst_add(struct complete_burst *burst, struct rte_mbuf *frame)
{
	burst->pkts[burst->n++] = frame;
	if (burst->n == PORT_BURST)
		burst_flush(burst);
}

/* A request that can't be met: the headers are not there, or segments would be too many or too long. */
static bool
segmentation_is_sane(const struct rte_mbuf *frame, const struct rte_mempool *pool)
{
	uint32_t headers_len = (uint32_t)frame->l2_len + frame->l3_len + frame->l4_len;

	return headers_len < frame->pkt_len && frame->tso_segsz >= PORT_SEGMENT_MIN &&
	       frame->l4_len >= sizeof(struct rte_tcp_hdr) &&
	       headers_len + RTE_PKTMBUF_HEADROOM <= rte_pktmbuf_data_room_size((struct rte_mempool *)pool);
}

static void
burst_add_segments(struct complete_burst *burst, struct rte_mbuf *frame)
{
	struct complete_cut cut;

	if (!segmentation_is_sane(frame, burst->pool)) {
		port_drop(burst->queue, DROP_BAD_OFFLOAD, &frame, 1);
		return;
	}
	cut_start(&cut, frame, burst->takes);
	while (cut.done < cut.payload_len) {
		struct rte_mbuf *segment = cut_next(&cut, burst->pool);

		if (!segment) {
			/* What is missing counts as one more frame: the segments made are copies. */
			counter_add(&burst->queue->stats.copies, cut.n);
			port_drop(burst->queue, DROP_NO_MBUF, &frame, 1);
			return;
		}
		burst_add(burst, segment);
	}
	counter_add(&burst->queue->stats.copies, cut.n - 1u);
	rte_pktmbuf_free(frame);
}

static void
burst_add_checksummed(struct complete_burst *burst, struct rte_mbuf *frame)
{
	struct rte_mbuf *complete = complete_checksum(frame, burst->pool);

	if (complete)
		burst_add(burst, complete);
	else
		port_drop(burst->queue, DROP_NO_MBUF, &frame, 1);
}

uint16_t
port_software_offload(struct port_queue *queue, struct rte_mempool *pool, unsigned int takes,
		      struct rte_mbuf **pkts, uint16_t n, software_offload_send_fn send, const void *ctx)
{
	struct complete_burst burst = {
		.queue = queue, .pool = pool, .takes = takes, .send = send, .ctx = ctx};

	for (uint16_t i = 0; i < n; i++) {
		uint64_t asks = pkts[i]->ol_flags & PORT_REQUESTS;

		if (asks & RTE_MBUF_F_TX_TCP_SEG && !segmentation_is_taken(pkts[i], takes))
			burst_add_segments(&burst, pkts[i]);
		else if (asks && !(takes & PORT_CAP_CHECKSUM))
			burst_add_checksummed(&burst, pkts[i]);
		else
			burst_add(&burst, pkts[i]);
	}
	burst_flush(&burst);
	/* Short segments can be more than that. */
	return (uint16_t)RTE_MIN(burst.n_sent, (uint32_t)UINT16_MAX);
}
