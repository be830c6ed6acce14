/* SPDX-License-Identifier: BSD-3-Clause */
#include "requests.h"

#include <string.h>

#include "borrow.h"
#include "software_offload.h"
#include "unit_eal.h"

struct rte_mempool *requests_pool;
struct requests_sink requests_sink;

const struct packet_spec requests_specs[REQUESTS_SPECS] = {
	{.proto = PACKET_TCP, .payload = 100, .tcp_flags = PACKET_TCP_ACK},
	{.proto = PACKET_TCP, .payload = 0, .tcp_flags = PACKET_TCP_ACK},
	{.proto = PACKET_TCP,
	 .payload = 1,
	 .tags = 1,
	 .tcp_options = 12,
	 .tcp_flags = PACKET_TCP_ACK | PACKET_TCP_PSH},
	{.proto = PACKET_TCP, .payload = 5001, .ip_options = 40, .tcp_options = 40, .tcp_flags = 0xff},
	{.proto = PACKET_TCP,
	 .payload = 2999,
	 .tags = 2,
	 .tcp_flags = PACKET_TCP_ACK | PACKET_TCP_FIN | PACKET_TCP_PSH},
	{.proto = PACKET_TCP,
	 .payload = 65000,
	 .tcp_options = 12,
	 .tcp_flags = PACKET_TCP_ACK | PACKET_TCP_PSH},
	{.proto = PACKET_TCP, .payload = 3000, .tcp_flags = PACKET_TCP_ACK | PACKET_TCP_CWR},
	{.proto = PACKET_UDP, .payload = 0},
	{.proto = PACKET_UDP, .payload = 1471, .ip_options = 4},
	{.proto = PACKET_UDP, .payload = 33, .tags = 1},
	{.proto = PACKET_UDP, .payload = 65001, .tags = 2},
	{.v6 = true, .proto = PACKET_TCP, .payload = 100, .tcp_flags = PACKET_TCP_ACK},
	{.v6 = true,
	 .proto = PACKET_TCP,
	 .payload = 4000,
	 .tags = 1,
	 .ip_options = 8,
	 .tcp_flags = PACKET_TCP_ACK},
	{.v6 = true,
	 .proto = PACKET_TCP,
	 .payload = 2001,
	 .tags = 2,
	 .ip_options = 24,
	 .tcp_options = 40,
	 .tcp_flags = PACKET_TCP_ACK | PACKET_TCP_FIN},
	{.v6 = true,
	 .proto = PACKET_TCP,
	 .payload = 65000,
	 .tcp_flags = PACKET_TCP_ACK | PACKET_TCP_CWR | PACKET_TCP_PSH},
	{.v6 = true, .proto = PACKET_UDP, .payload = 0},
	{.v6 = true, .proto = PACKET_UDP, .payload = 999, .ip_options = 16},
	{.v6 = true, .proto = PACKET_UDP, .payload = 12000, .ip_options = 8},
};

void
requests_env_open(void)
{
	requests_pool = unit_eal_start(&(struct unit_eal){.memory_mb = 256, .n_mbufs = REQUESTS_POOL_SIZE});
}

struct packet *
requests_packet(const struct packet_spec *spec, enum packet_sum sum)
{
	static struct packet packet;

	packet_build(&packet, spec, sum);
	return &packet;
}

struct rte_mbuf *
requests_make(const struct packet *frame, uint16_t segment_size, enum mbufs_cuts cuts)
{
	/* Headers that are longer than a head are never borrowed. */
	struct rte_mbuf *pkt =
		mbufs_make(requests_pool, frame->bytes, frame->len,
			   cuts == MBUFS_BORROWED && frame->payload > BORROW_HEAD ? MBUFS_FEW_CUTS : cuts);
	const bool tcp = frame->proto == PACKET_TCP;

	pkt->ol_flags |= (frame->v6 ? RTE_MBUF_F_TX_IPV6 : RTE_MBUF_F_TX_IPV4) |
			 (tcp ? RTE_MBUF_F_TX_TCP_CKSUM : RTE_MBUF_F_TX_UDP_CKSUM);
	pkt->l2_len = frame->l3 & 0x7f;
	pkt->l3_len = (frame->l4 - frame->l3) & 0x1ff;
	if (segment_size && frame->len - frame->payload > segment_size) {
		pkt->ol_flags |= tcp ? RTE_MBUF_F_TX_TCP_SEG : RTE_MBUF_F_TX_UDP_SEG;
		pkt->l4_len = (frame->payload - frame->l4) & 0xff;
		pkt->tso_segsz = segment_size;
	}
	return pkt;
}

uint32_t
requests_cut_len(const struct packet *frame)
{
	uint32_t at = frame->l3 + 40;

	if (!frame->v6)
		return frame->len - frame->l4;
	/* Of those that packet_build() makes: hop-by-hop options first, if any. */
	if (frame->bytes[frame->l3 + 6] == 0)
		at += 8 + 8u * frame->bytes[at + 1];
	return frame->len - at;
}

struct rte_mbuf *
requests_make_fragments(const struct packet *frame, uint16_t size, enum mbufs_cuts cuts)
{
	struct rte_mbuf *pkt = requests_make(frame, 0, cuts);

	if (requests_cut_len(frame) > size) {
		pkt->ol_flags |= FRAME_UFO;
		pkt->l4_len = (frame->payload - frame->l4) & 0xff;
		pkt->tso_segsz = size;
	}
	return pkt;
}

bool
requests_any(const struct rte_mbuf *pkt)
{
	return pkt->ol_flags & FRAME_REQUEST_FLAGS;
}

struct virtio_net_hdr
requests_hdr(const struct packet *frame, uint8_t gso_type, uint16_t gso_size)
{
	return (struct virtio_net_hdr){
		.flags = F_CSUM,
		.gso_type = gso_type,
		.hdr_len = (uint16_t)frame->payload,
		.gso_size = gso_size,
		.csum_start = (uint16_t)frame->l4,
		.csum_offset = frame->proto == PACKET_TCP ? PACKET_TCP_SUM : PACKET_UDP_SUM,
	};
}

static uint16_t
sink_send(struct port_txq *txq, const void *arg, struct rte_mbuf **pkts, uint16_t n)
{
	assert_ptr_equal(txq, &requests_sink.txq);
	assert_ptr_equal(arg, &requests_sink);
	assert_true(n >= 1 && n <= PORT_BURST);
	for (uint16_t i = 0; i < n; i++)
		requests_sink.pkts[requests_sink.n++] = pkts[i];
	requests_sink.calls++;
	return n;
}

uint16_t
requests_complete(unsigned int capabilities, struct rte_mbuf **pkts, uint16_t n)
{
	return port_software_offload(&requests_sink.txq, requests_pool, capabilities, pkts, n, sink_send,
				     &requests_sink);
}

void
requests_sink_clear(void)
{
	rte_pktmbuf_free_bulk(requests_sink.pkts, requests_sink.n);
	requests_sink.n = requests_sink.calls = 0;
	memset(&requests_sink.txq.stats, 0, sizeof(requests_sink.txq.stats));
}

void
requests_check_segments(const struct packet *whole, struct rte_mbuf **pkts, unsigned int n,
			uint16_t segment_size)
{
	static struct packet segment;
	const uint8_t *tcp = whole->bytes + whole->l4;
	uint32_t payload = 0, total = whole->len - whole->payload;

	assert_int_equal(n, (total + segment_size - 1) / segment_size);
	for (unsigned int i = 0; i < n; i++) {
		const bool first = i == 0, last = i == n - 1;
		uint8_t flags = tcp[13];
		const uint8_t *its;
		uint32_t len;

		assert_false(requests_any(pkts[i]));
		mbufs_read(pkts[i], &segment);
		assert_true(packet_is_whole(&segment));
		len = segment.len - segment.payload;
		assert_int_equal(segment.l4, whole->l4);
		assert_int_equal(segment.payload, whole->payload);
		assert_int_equal(len, last ? total - payload : segment_size);
		assert_memory_equal(segment.bytes + segment.payload, whole->bytes + whole->payload + payload,
				    len);
		/* Addresses, tags, types; then IP but for length, identification and checksum. */
		assert_memory_equal(segment.bytes, whole->bytes, whole->l3 + (whole->v6 ? 4 : 2));
		if (whole->v6) {
			assert_memory_equal(segment.bytes + whole->l3 + 6, whole->bytes + whole->l3 + 6,
					    whole->l4 - whole->l3 - 6);
		} else {
			assert_int_equal(packet_get16(segment.bytes + whole->l3 + 4),
					 (uint16_t)(packet_get16(whole->bytes + whole->l3 + 4) + i));
			assert_memory_equal(segment.bytes + whole->l3 + 6, whole->bytes + whole->l3 + 6, 4);
			assert_memory_equal(segment.bytes + whole->l3 + 12, whole->bytes + whole->l3 + 12,
					    whole->l4 - whole->l3 - 12);
		}
		its = segment.bytes + segment.l4;
		assert_memory_equal(its, tcp, 4);
		payload += len;
		/* Datagrams have their own length, which packet_is_whole() has looked at, and that is all. */
		if (whole->proto == PACKET_UDP)
			continue;
		assert_int_equal(packet_get32(its + 4), packet_get32(tcp + 4) + payload - len);
		assert_memory_equal(its + 8, tcp + 8, 5);
		if (!last)
			flags &= (uint8_t) ~(PACKET_TCP_FIN | PACKET_TCP_PSH);
		if (!first)
			flags &= (uint8_t)~PACKET_TCP_CWR;
		assert_int_equal(its[13], flags);
		assert_memory_equal(its + 14, tcp + 14, 2);
		assert_memory_equal(its + 18, tcp + 18, whole->payload - whole->l4 - 18);
	}
	assert_int_equal(payload, total);
}

void
requests_check_fragments(const struct packet *whole, struct rte_mbuf **pkts, unsigned int n, uint16_t size)
{
	static struct packet fragment, want;
	static struct packet_fragments got;
	uint32_t left = requests_cut_len(whole);

	got = (struct packet_fragments){0};
	for (unsigned int i = 0; i < n; i++) {
		const uint32_t len = left <= size ? left : size & ~7u;

		assert_false(requests_any(pkts[i]));
		assert_false(pkts[i]->ol_flags & RTE_MBUF_F_RX_RSS_HASH);
		mbufs_read(pkts[i], &fragment);
		assert_true(packet_fragments_add(&got, &fragment));
		assert_int_equal(fragment.len, got.head_len + (whole->v6 ? 8 : 0) + len);
		/* All that is in front of the payload is in the first one. */
		assert_true(i || len >= left - (whole->len - whole->payload));
		left -= len;
	}
	assert_int_equal(left, 0);
	assert_true(got.complete && n > 1);
	want = *whole;
	if (!want.v6) {
		/* Nobody has to keep the identification of what was not to be fragmented. */
		if (!(packet_get16(whole->bytes + whole->l3 + 6) & PACKET_IPV4_DF))
			assert_int_equal(got.id, packet_get16(whole->bytes + whole->l3 + 4));
		packet_put16(want.bytes + want.l3 + 4, got.id);
		packet_put16(want.bytes + want.l3 + 6, 0);
	}
	packet_finish(&want, PACKET_SUM_WHOLE);
	assert_int_equal(got.whole.len, want.len);
	assert_memory_equal(got.whole.bytes, want.bytes, want.len);
	assert_true(packet_is_whole(&got.whole));
}
