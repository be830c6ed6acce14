/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Offloads: headers from the guest, requests in mbufs, software completion, headers to the guest; from one
 * guest to another through the burst functions, and out of a NIC.
 *
 * Frames are judged by an oracle of their bytes alone: it finds its own way through the headers, adds up one
 * byte after the other, and knows nothing of mbufs.
 */
#include "unit.h"

#include <errno.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <rte_ethdev.h>
#include <rte_mbuf.h>

#include "borrow.h"
#include "burst_variants.h"
#include "checksum.h"
#include "ctx.h"
#include "driver.h"
#include "header.h"
#include "offload.h"
#include "rng.h"
#include "segment.h"
#include "software_offload.h"
#include "unit_eal.h"
#include "vnet.h"

enum {
	POOL_SIZE = 8191,
	FRAME_SIZE = 66000, /* room for the largest, and some */
	OFF_TCP = 16,       /* of the checksum in the header */
	OFF_UDP = 6,
	OFF_SCTP = 8,
};

#define HOST_ALL OFFLOADS_ALL
#define GUEST_ALL OFFLOADS_ALL
#define CSUM OFFLOAD_BIT(CHECKSUM)
#define HOST_TSO4 OFFLOAD_BIT(TSO4)
#define HOST_TSO6 OFFLOAD_BIT(TSO6)
#define GUEST_CSUM OFFLOAD_BIT(CHECKSUM)
#define GUEST_TSO4 OFFLOAD_BIT(TSO4)
#define GUEST_TSO6 OFFLOAD_BIT(TSO6)
#define GUEST_ECN OFFLOAD_BIT(ECN)

enum {
	F_NONE = 0,
	F_CSUM = VIRTIO_NET_HDR_F_NEEDS_CSUM,
	F_VALID = VIRTIO_NET_HDR_F_DATA_VALID,
	G_NONE = VIRTIO_NET_HDR_GSO_NONE,
	G_V4 = VIRTIO_NET_HDR_GSO_TCPV4,
	G_UDP = VIRTIO_NET_HDR_GSO_UDP,
	G_V6 = VIRTIO_NET_HDR_GSO_TCPV6,
	G_USO = 5,
	G_ECN = VIRTIO_NET_HDR_GSO_ECN,
	TCP_FIN = 0x01,
	TCP_PSH = 0x08,
	TCP_ACK = 0x10,
	TCP_CWR = 0x80,
	PROTO_TCP = 6,
	PROTO_UDP = 17,
	PROTO_SCTP = 132,
};

static struct rte_mempool *pool;
static struct vnic_ctx ctx;

/* --- frames as bytes --- */

static uint16_t
get16(const uint8_t *at)
{
	return (uint16_t)(at[0] << 8 | at[1]);
}

static uint32_t
get32(const uint8_t *at)
{
	return (uint32_t)get16(at) << 16 | get16(at + 2);
}

static void
put16(uint8_t *at, uint32_t value)
{
	at[0] = (uint8_t)(value >> 8);
	at[1] = (uint8_t)value;
}

/* As RFC 1071 describes it, in network byte order. */
static uint32_t
oracle_add(uint32_t sum, const uint8_t *at, uint32_t len)
{
	for (uint32_t i = 0; i < len; i++) {
		sum += i % 2 ? at[i] : (uint32_t)at[i] << 8;
		sum = (sum & 0xffff) + (sum >> 16);
	}
	return sum;
}

struct spec {
	bool v6;
	uint8_t tags, proto;
	uint8_t ip_options;  /* bytes, a multiple of 4; IPv6: of extension headers, a multiple of 8 */
	uint8_t tcp_options; /* bytes, a multiple of 4 */
	uint8_t tcp_flags;
	uint32_t payload;
};

struct frame {
	uint8_t bytes[FRAME_SIZE];
	uint32_t len, l3_at, l4_at, payload_at;
	uint8_t proto;
	bool v6;
};

static uint32_t
pseudo_sum(const struct frame *frame)
{
	const uint8_t *l3 = frame->bytes + frame->l3_at;
	const uint32_t l4_len = frame->len - frame->l4_at;
	uint8_t tail[4];
	uint32_t sum = frame->v6 ? oracle_add(0, l3 + 8, 32) : oracle_add(0, l3 + 12, 8);

	put16(tail, frame->proto);
	put16(tail + 2, l4_len);
	return oracle_add(sum, tail, 4);
}

static uint8_t
payload_byte(uint32_t i)
{
	return (uint8_t)(i * 31 + (i >> 8) * 7 + 5);
}

/* Checksum field: the pseudo header's sum; `complete`: the checksum. */
enum finish { PSEUDO, COMPLETE };

static struct frame *
frame_build(const struct spec *spec, enum finish finish)
{
	static struct frame frame;
	uint8_t *at = frame.bytes;
	uint32_t l4_len = (spec->proto == PROTO_TCP   ? 20u + spec->tcp_options
			   : spec->proto == PROTO_UDP ? 8u
						      : 12u) +
			  spec->payload;

	memset(&frame, 0, sizeof(frame));
	frame.v6 = spec->v6;
	frame.proto = spec->proto;
	memcpy(at, "\x52\x54\x00\x00\x00\x01\x52\x54\x00\x00\x00\x02", 12);
	at += 12;
	for (int i = 0; i < spec->tags; i++) {
		put16(at, i + 1 < spec->tags ? 0x88a8 : 0x8100);
		put16(at + 2, 100 + (uint32_t)i);
		at += 4;
	}
	put16(at, spec->v6 ? 0x86dd : 0x0800);
	at += 2;
	frame.l3_at = (uint32_t)(at - frame.bytes);
	if (spec->v6) {
		at[0] = 0x60;
		at[3] = 0x77;
		put16(at + 4, spec->ip_options + l4_len);
		at[6] = spec->ip_options ? 0 : spec->proto;
		at[7] = 64;
		for (uint8_t i = 0; i < 32; i++)
			at[8 + i] = (uint8_t)(0x20 + i * 3);
		at += 40;
		for (int left = spec->ip_options; left > 0; at += 8, left -= 8) {
			/* Hop-by-hop first, destination options after; padding inside. */
			at[0] = left > 8 ? 60 : spec->proto;
			at[2] = 1;
			at[3] = 4;
		}
	} else {
		at[0] = (uint8_t)(0x45 + spec->ip_options / 4);
		put16(at + 2, 20u + spec->ip_options + l4_len);
		put16(at + 4, 0xfffe);
		put16(at + 6, 0x4000);
		at[8] = 64;
		at[9] = spec->proto;
		memcpy(at + 12, "\x0a\x01\x02\x03\xc0\xa8\xfe\x09", 8);
		memset(at + 20, 1, spec->ip_options);
		put16(at + 10, ~oracle_add(0, at, 20u + spec->ip_options));
		at += 20 + spec->ip_options;
	}
	frame.l4_at = (uint32_t)(at - frame.bytes);
	put16(at, 40000);
	put16(at + 2, 5001);
	if (spec->proto == PROTO_TCP) {
		put16(at + 4, 0xffff);
		put16(at + 6, 0xff00); /* wraps soon */
		put16(at + 8, 0x1234);
		at[12] = (uint8_t)((20 + spec->tcp_options) / 4 << 4);
		at[13] = spec->tcp_flags;
		put16(at + 14, 502);
		memset(at + 20, 1, spec->tcp_options);
		at += 20 + spec->tcp_options;
	} else if (spec->proto == PROTO_UDP) {
		put16(at + 4, l4_len);
		at += 8;
	} else {
		at += 12;
	}
	frame.payload_at = (uint32_t)(at - frame.bytes);
	for (uint32_t i = 0; i < spec->payload; i++)
		at[i] = payload_byte(i);
	frame.len = frame.payload_at + spec->payload;
	if (spec->proto != PROTO_SCTP) {
		uint8_t *field = frame.bytes + frame.l4_at + (spec->proto == PROTO_TCP ? OFF_TCP : OFF_UDP);

		put16(field, pseudo_sum(&frame));
		if (finish == COMPLETE) {
			uint32_t sum = oracle_add(0, frame.bytes + frame.l4_at, frame.len - frame.l4_at);

			sum = ~sum & 0xffff;
			put16(field, sum == 0 && spec->proto == PROTO_UDP ? 0xffff : sum);
		}
	}
	return &frame;
}

/* Finds the headers in a frame's bytes. False: not TCP or UDP in IP as a whole, or its lengths are wrong. */
static bool
oracle_parse(struct frame *frame)
{
	uint32_t at = 12, l3_len;
	uint8_t *l3;

	while (get16(frame->bytes + at) == 0x8100 || get16(frame->bytes + at) == 0x88a8)
		at += 4;
	frame->v6 = get16(frame->bytes + at) == 0x86dd;
	frame->l3_at = at + 2;
	l3 = frame->bytes + frame->l3_at;
	if (frame->v6) {
		l3_len = 40;
		frame->proto = l3[6];
		while (frame->proto == 0 || frame->proto == 60) {
			frame->proto = l3[l3_len];
			l3_len += 8 + 8u * l3[l3_len + 1];
		}
		if (frame->l3_at + 40u + get16(l3 + 4) != frame->len)
			return false;
	} else {
		l3_len = (l3[0] & 15u) * 4;
		frame->proto = l3[9];
		if (frame->l3_at + get16(l3 + 2) != frame->len || oracle_add(0, l3, l3_len) != 0xffff)
			return false;
	}
	frame->l4_at = frame->l3_at + l3_len;
	frame->payload_at =
		frame->l4_at + (frame->proto == PROTO_TCP ? (frame->bytes[frame->l4_at + 12] >> 4) * 4u : 8u);
	return frame->payload_at <= frame->len;
}

/* The frame can go on a wire. */
static bool
oracle_is_complete(struct frame *frame)
{
	uint32_t sum;

	if (!oracle_parse(frame))
		return false;
	/* No UDP checksum, or a wrong one. */
	if (frame->proto == PROTO_UDP && get16(frame->bytes + frame->l4_at + OFF_UDP) == 0)
		return false;
	sum = oracle_add(pseudo_sum(frame), frame->bytes + frame->l4_at, frame->len - frame->l4_at);
	return sum == 0xffff;
}

/* --- frames as mbufs --- */

enum cuts { WHOLE, FEW_CUTS, MANY_CUTS };

static struct rte_mbuf *
mbuf_from(const uint8_t *bytes, uint32_t len, enum cuts cuts)
{
	struct rte_mbuf *head = rte_pktmbuf_alloc(pool), *last = head;
	uint32_t done = 0;

	assert_non_null(head);
	for (;;) {
		uint32_t room = rte_pktmbuf_tailroom(last), now = RTE_MIN(len - done, room);

		/* The first 14 bytes are always in one piece. */
		uint32_t least = done ? 1 : 14, spread = now - least + 1;

		if (cuts == MANY_CUTS && done < 300)
			spread = RTE_MIN(spread, 15u);
		if (cuts != WHOLE)
			now = least + rng_below(spread);
		memcpy(rte_pktmbuf_mtod(last, uint8_t *), bytes + done, now);
		last->data_len = (uint16_t)now;
		head->pkt_len += now;
		done += now;
		if (done == len)
			return head;
		last->next = rte_pktmbuf_alloc(pool);
		assert_non_null(last->next);
		last = last->next;
		head->nb_segs++;
	}
}

static void
mbuf_read(const struct rte_mbuf *pkt, struct frame *frame)
{
	memset(frame, 0, sizeof(*frame));
	for (; pkt; pkt = pkt->next) {
		memcpy(frame->bytes + frame->len, rte_pktmbuf_mtod(pkt, void *), pkt->data_len);
		frame->len += pkt->data_len;
	}
}

static bool
mbuf_is(const struct rte_mbuf *pkt, const uint8_t *bytes, uint32_t len)
{
	static struct frame got;

	mbuf_read(pkt, &got);
	return got.len == len && pkt->pkt_len == len && memcmp(got.bytes, bytes, len) == 0;
}

static struct virtio_net_hdr
hdr_of(const struct frame *frame, uint8_t gso_type, uint16_t gso_size)
{
	return (struct virtio_net_hdr){
		.flags = F_CSUM,
		.gso_type = gso_type,
		.hdr_len = (uint16_t)frame->payload_at,
		.gso_size = gso_size,
		.csum_start = (uint16_t)frame->l4_at,
		.csum_offset = frame->proto == PROTO_TCP ? OFF_TCP : OFF_UDP,
	};
}

static bool
asks(const struct rte_mbuf *pkt)
{
	return pkt->ol_flags & FRAME_REQUEST_FLAGS;
}

/* --- what comes out of port_software_offload --- */

struct sink {
	struct rte_mbuf *pkts[6000];
	unsigned int n, calls;
};

static struct sink sink;
static struct port_txq sink_queue;

static uint16_t
sink_send(struct port_txq *txq, const void *arg, struct rte_mbuf **pkts, uint16_t n)
{
	assert_ptr_equal(txq, &sink_queue);
	assert_ptr_equal(arg, &sink);
	assert_true(n >= 1 && n <= PORT_BURST);
	for (uint16_t i = 0; i < n; i++)
		sink.pkts[sink.n++] = pkts[i];
	sink.calls++;
	return n;
}

static void
sink_clear(void)
{
	rte_pktmbuf_free_bulk(sink.pkts, sink.n);
	sink.n = sink.calls = 0;
	memset(&sink_queue.stats, 0, sizeof(sink_queue.stats));
}

static uint16_t
complete(unsigned int takes, struct rte_mbuf **pkts, uint16_t n)
{
	return port_software_offload(&sink_queue, pool, takes, pkts, n, sink_send, &sink);
}

/* The segments are what the frame was: each a whole frame, its payload in order, its fields as they should
 * be.
 */
static void
segments_check(const struct frame *whole, struct rte_mbuf **pkts, unsigned int n, uint16_t gso_size)
{
	static struct frame segment;
	const uint8_t *tcp = whole->bytes + whole->l4_at;
	uint32_t payload = 0, total = whole->len - whole->payload_at;

	assert_int_equal(n, (total + gso_size - 1) / gso_size);
	for (unsigned int i = 0; i < n; i++) {
		const bool first = i == 0, last = i == n - 1;
		uint8_t flags = tcp[13];
		const uint8_t *its;
		uint32_t len;

		assert_false(asks(pkts[i]));
		mbuf_read(pkts[i], &segment);
		assert_true(oracle_is_complete(&segment));
		len = segment.len - segment.payload_at;
		assert_int_equal(segment.l4_at, whole->l4_at);
		assert_int_equal(segment.payload_at, whole->payload_at);
		assert_int_equal(len, last ? total - payload : gso_size);
		assert_memory_equal(segment.bytes + segment.payload_at,
				    whole->bytes + whole->payload_at + payload, len);
		/* Addresses, tags, types; then IP but for length, identification and checksum. */
		assert_memory_equal(segment.bytes, whole->bytes, whole->l3_at + (whole->v6 ? 4 : 2));
		if (whole->v6) {
			assert_memory_equal(segment.bytes + whole->l3_at + 6, whole->bytes + whole->l3_at + 6,
					    whole->l4_at - whole->l3_at - 6);
		} else {
			assert_int_equal(get16(segment.bytes + whole->l3_at + 4),
					 (uint16_t)(get16(whole->bytes + whole->l3_at + 4) + i));
			assert_memory_equal(segment.bytes + whole->l3_at + 6, whole->bytes + whole->l3_at + 6,
					    4);
			assert_memory_equal(segment.bytes + whole->l3_at + 12,
					    whole->bytes + whole->l3_at + 12,
					    whole->l4_at - whole->l3_at - 12);
		}
		its = segment.bytes + segment.l4_at;
		assert_memory_equal(its, tcp, 4);
		assert_int_equal(get32(its + 4), get32(tcp + 4) + payload);
		assert_memory_equal(its + 8, tcp + 8, 5);
		if (!last)
			flags &= (uint8_t) ~(TCP_FIN | TCP_PSH);
		if (!first)
			flags &= (uint8_t)~TCP_CWR;
		assert_int_equal(its[13], flags);
		assert_memory_equal(its + 14, tcp + 14, 2);
		assert_memory_equal(its + 18, tcp + 18, whole->payload_at - whole->l4_at - 18);
		payload += len;
	}
	assert_int_equal(payload, total);
}

/* --- sums --- */

static void
test_sum_over_any_cuts(void **state)
{
	uint8_t bytes[700];

	for (int round = 0; round < 3000; round++) {
		uint32_t len = 14 + rng_below(sizeof(bytes) - 14), start = rng_below(len + 1), sum;
		uint8_t fill = (uint8_t)rng_below(4);
		struct rte_mbuf *pkt;
		uint8_t lies[2];
		uint16_t got;

		/* All ones and all zeros too: where carries and the two zeros are. */
		for (uint32_t i = 0; i < len; i++)
			bytes[i] = fill == 0 ? 0xff : fill == 1 ? 0 : rng_byte();
		pkt = mbuf_from(bytes, len, (enum cuts)(round % 3));
		got = checksum_sum(pkt, start);
		memcpy(lies, &got, 2);
		sum = oracle_add(0, bytes + start, len - start);
		assert_int_equal(get16(lies), sum);
		rte_pktmbuf_free(pkt);
	}
}

/* C72, RFC 768: over all of what is stored, the sum is right, and for UDP never 0. */
static void
test_c72_sum_is_stored_and_udp_zero_is_ffff(void **state)
{
	uint8_t bytes[200];
	unsigned int zeros = 0;

	for (int round = 0; round < 200000 && zeros < 4; round++) {
		uint32_t offset = round % 2 ? OFF_UDP : OFF_TCP, len = 60 + rng_below(8);
		uint32_t want;
		struct rte_mbuf *pkt;

		for (uint32_t i = 0; i < len; i++)
			bytes[i] = rng_byte();
		want = ~oracle_add(0, bytes + 14, len - 14) & 0xffff;
		/* Every now and then one whose sum is 0. */
		if (round % 1000 < 2) {
			put16(bytes + 14, 0);
			put16(bytes + 14, ~oracle_add(0, bytes + 14, len - 14));
			want = 0;
		}
		pkt = mbuf_from(bytes, len, (enum cuts)(round % 3));
		checksum_store(pkt, 14, offset);
		if (want == 0 && offset == OFF_UDP) {
			want = 0xffff;
			zeros++;
		}
		put16(bytes + 14 + offset, want);
		assert_true(mbuf_is(pkt, bytes, len));
		rte_pktmbuf_free(pkt);
	}
	assert_int_equal(zeros, 4);
}

/* --- from the guest --- */

static const struct spec specs[] = {
	{.proto = PROTO_TCP, .payload = 100, .tcp_flags = TCP_ACK},
	{.proto = PROTO_TCP, .payload = 0, .tcp_flags = TCP_ACK},
	{.proto = PROTO_TCP, .payload = 1, .tags = 1, .tcp_options = 12, .tcp_flags = TCP_ACK | TCP_PSH},
	{.proto = PROTO_TCP, .payload = 5001, .ip_options = 40, .tcp_options = 40, .tcp_flags = 0xff},
	{.proto = PROTO_TCP, .payload = 2999, .tags = 2, .tcp_flags = TCP_ACK | TCP_FIN | TCP_PSH},
	{.proto = PROTO_TCP, .payload = 65000, .tcp_options = 12, .tcp_flags = TCP_ACK | TCP_PSH},
	{.proto = PROTO_TCP, .payload = 3000, .tcp_flags = TCP_ACK | TCP_CWR},
	{.proto = PROTO_UDP, .payload = 0},
	{.proto = PROTO_UDP, .payload = 1471, .ip_options = 4},
	{.proto = PROTO_UDP, .payload = 33, .tags = 1},
	{.v6 = true, .proto = PROTO_TCP, .payload = 100, .tcp_flags = TCP_ACK},
	{.v6 = true, .proto = PROTO_TCP, .payload = 4000, .tags = 1, .ip_options = 8, .tcp_flags = TCP_ACK},
	{.v6 = true,
	 .proto = PROTO_TCP,
	 .payload = 2001,
	 .tags = 2,
	 .ip_options = 24,
	 .tcp_options = 40,
	 .tcp_flags = TCP_ACK | TCP_FIN},
	{.v6 = true, .proto = PROTO_TCP, .payload = 65000, .tcp_flags = TCP_ACK | TCP_CWR | TCP_PSH},
	{.v6 = true, .proto = PROTO_UDP, .payload = 0},
	{.v6 = true, .proto = PROTO_UDP, .payload = 999, .ip_options = 16},
};

/* A plain request travels; the frame is not touched. */
static void
test_request_of_every_shape(void **state)
{
	for (size_t i = 0; i < RTE_DIM(specs); i++)
		for (enum cuts cuts = WHOLE; cuts <= MANY_CUTS; cuts++) {
			const struct frame *frame = frame_build(&specs[i], PSEUDO);
			struct virtio_net_hdr hdr = hdr_of(frame, G_NONE, 0);
			struct rte_mbuf *pkt = mbuf_from(frame->bytes, frame->len, cuts);
			uint64_t ip = frame->v6 ? RTE_MBUF_F_TX_IPV6 : RTE_MBUF_F_TX_IPV4;

			assert_true(vnet_offload_from_guest(pkt, &hdr, HOST_ALL));
			assert_int_equal(pkt->ol_flags,
					 ip | (frame->proto == PROTO_TCP ? RTE_MBUF_F_TX_TCP_CKSUM
									 : RTE_MBUF_F_TX_UDP_CKSUM));
			assert_int_equal(pkt->l2_len, frame->l3_at);
			assert_int_equal(pkt->l3_len, frame->l4_at - frame->l3_at);
			assert_true(mbuf_is(pkt, frame->bytes, frame->len));
			rte_pktmbuf_free(pkt);
			if (frame->proto != PROTO_TCP)
				continue;

			hdr = hdr_of(frame, frame->v6 ? G_V6 : G_V4, 700);
			pkt = mbuf_from(frame->bytes, frame->len, cuts);
			assert_true(vnet_offload_from_guest(pkt, &hdr, HOST_ALL));
			/* What is one segment is no longer asked for. */
			assert_int_equal(!!(pkt->ol_flags & RTE_MBUF_F_TX_TCP_SEG), specs[i].payload > 700);
			if (specs[i].payload > 700) {
				assert_int_equal(pkt->tso_segsz, 700);
				assert_int_equal(pkt->l4_len, frame->payload_at - frame->l4_at);
			}
			assert_true(mbuf_is(pkt, frame->bytes, frame->len));
			rte_pktmbuf_free(pkt);
		}
	assert_int_equal(rte_mempool_in_use_count(pool), 0);
}

/* C66: flags that mean nothing, and C67, C69: without NEEDS_CSUM the other fields are nothing to us. */
static void
test_c66_c67_c69_what_is_not_asked_is_not_read(void **state)
{
	struct virtio_net_hdr hdr = {
		.flags = 0xfe, .csum_start = 65535, .csum_offset = 65535, .hdr_len = 9999};

	assert_false(vnet_offload_requested(&hdr));
	hdr.flags = 0xff;
	assert_true(vnet_offload_requested(&hdr));
	hdr.flags = 0;
	hdr.gso_type = 0x40;
	assert_true(vnet_offload_requested(&hdr));

	for (int i = 0; i < 128; i++) {
		const struct frame *frame = frame_build(&specs[0], PSEUDO);
		struct rte_mbuf *pkt = mbuf_from(frame->bytes, frame->len, WHOLE);

		hdr = hdr_of(frame, G_NONE, 0);
		hdr.flags = (uint8_t)(i << 1 | F_CSUM);
		assert_true(vnet_offload_from_guest(pkt, &hdr, HOST_ALL));
		assert_int_equal(pkt->ol_flags, RTE_MBUF_F_TX_IPV4 | RTE_MBUF_F_TX_TCP_CKSUM);
		rte_pktmbuf_free(pkt);
	}
}

/* C68: hdr_len is a hint, whatever it is. */
static void
test_c68_hdr_len_is_not_believed(void **state)
{
	const uint16_t lens[] = {0, 1, 53, 55, 54, 1000, 65535};

	for (size_t i = 0; i < RTE_DIM(lens); i++) {
		const struct frame *frame = frame_build(&specs[3], PSEUDO);
		struct virtio_net_hdr hdr = hdr_of(frame, G_V4, 1000);
		struct rte_mbuf *pkt = mbuf_from(frame->bytes, frame->len, FEW_CUTS);

		hdr.hdr_len = lens[i];
		assert_true(vnet_offload_from_guest(pkt, &hdr, HOST_ALL));
		assert_int_equal(vnet_offload_to_guest(pkt).hdr_len, frame->payload_at);
		assert_int_equal(complete(OFFLOADS_NONE, &pkt, 1), 6);
		segments_check(frame, sink.pkts, sink.n, 1000);
		sink_clear();
	}
}

enum outcome { DROPPED, REQUESTED, SUMMED };

static void
outcome_check(const struct frame *frame, const struct virtio_net_hdr *hdr, uint32_t offloads,
	      enum outcome want)
{
	static struct frame after;
	struct rte_mbuf *pkt = mbuf_from(frame->bytes, frame->len, WHOLE);
	bool kept = vnet_offload_from_guest(pkt, hdr, offloads);

	assert_int_equal(kept ? asks(pkt) ? REQUESTED : SUMMED : DROPPED, want);
	if (want == SUMMED) {
		uint32_t sum = oracle_add(0, frame->bytes + hdr->csum_start, frame->len - hdr->csum_start);

		after = *frame;
		sum = ~sum & 0xffff;
		put16(after.bytes + hdr->csum_start + hdr->csum_offset,
		      sum == 0 && hdr->csum_offset == OFF_UDP ? 0xffff : sum);
		assert_true(mbuf_is(pkt, after.bytes, after.len));
	}
	rte_pktmbuf_free(pkt);
}

/* N01, N03, N04: each header against one good frame. */
static void
test_contradictions(void **state)
{
	const struct spec v4 = {.proto = PROTO_TCP, .payload = 3000, .tcp_flags = TCP_ACK};
	const struct spec v6 = {.v6 = true, .proto = PROTO_TCP, .payload = 3000, .tcp_flags = TCP_ACK};
	const struct spec udp = {.proto = PROTO_UDP, .payload = 3000};
	const struct spec sctp = {.proto = PROTO_SCTP, .payload = 3000};
	/* l4 at 34 (v4) and 54 (v6); lengths 3054 and 3074 */
	const struct {
		const struct spec *spec;
		struct virtio_net_hdr hdr;
		uint32_t offloads;
		enum outcome want;
	} rows[] = {
		/* flags, gso_type, hdr_len, gso_size, csum_start, csum_offset */
		{&v4, {F_CSUM, G_NONE, 0, 0, 34, 16}, HOST_ALL, REQUESTED},
		{&v4, {F_CSUM, G_NONE, 0, 0, 34, 16}, CSUM, REQUESTED},
		{&v4, {F_CSUM, G_NONE, 0, 0, 34, 16}, 0, DROPPED},
		{&v4, {F_CSUM, G_NONE, 54, 1000, 34, 16}, HOST_ALL, REQUESTED}, /* gso_size without gso */
		/* a sum of something else: done, not asked */
		{&v4, {F_CSUM, G_NONE, 0, 0, 34, 6}, HOST_ALL, SUMMED},
		{&v4, {F_CSUM, G_NONE, 0, 0, 35, 16}, HOST_ALL, SUMMED},
		{&v4, {F_CSUM, G_NONE, 0, 0, 14, 10}, HOST_ALL, SUMMED},
		{&v4, {F_CSUM, G_NONE, 0, 0, 34, 0}, HOST_ALL, SUMMED},
		{&v4, {F_CSUM, G_NONE, 0, 0, 3052, 0}, HOST_ALL, SUMMED},
		{&v4, {F_CSUM, G_NONE, 0, 0, 14, 3038}, HOST_ALL, SUMMED},
		{&udp, {F_CSUM, G_NONE, 0, 0, 34, 16}, HOST_ALL, SUMMED},
		{&udp, {F_CSUM, G_NONE, 0, 0, 34, 6}, HOST_ALL, REQUESTED},
		{&sctp, {F_CSUM, G_NONE, 0, 0, 34, 8}, HOST_ALL, SUMMED},
		{&v6, {F_CSUM, G_NONE, 0, 0, 54, 16}, HOST_ALL, REQUESTED},
		{&v6, {F_CSUM, G_NONE, 0, 0, 34, 16}, HOST_ALL, SUMMED},
		/* a sum outside of the frame, or over the addresses */
		{&v4, {F_CSUM, G_NONE, 0, 0, 3053, 0}, HOST_ALL, DROPPED},
		{&v4, {F_CSUM, G_NONE, 0, 0, 3054, 0}, HOST_ALL, DROPPED},
		{&v4, {F_CSUM, G_NONE, 0, 0, 34, 3019}, HOST_ALL, DROPPED},
		{&v4, {F_CSUM, G_NONE, 0, 0, 34, 65535}, HOST_ALL, DROPPED},
		{&v4, {F_CSUM, G_NONE, 0, 0, 65535, 16}, HOST_ALL, DROPPED},
		{&v4, {F_CSUM, G_NONE, 0, 0, 65535, 65535}, HOST_ALL, DROPPED},
		{&v4, {F_CSUM, G_NONE, 0, 0, 65520, 65520}, HOST_ALL, DROPPED},
		{&v4, {F_CSUM, G_NONE, 0, 0, 13, 16}, HOST_ALL, DROPPED},
		{&v4, {F_CSUM, G_NONE, 0, 0, 0, 0}, HOST_ALL, DROPPED},
		/* segmentation */
		{&v4, {F_CSUM, G_V4, 54, 1000, 34, 16}, HOST_ALL, REQUESTED},
		{&v4, {F_CSUM, G_V4 | G_ECN, 54, 1000, 34, 16}, HOST_ALL, REQUESTED},
		{&v4, {F_CSUM, G_V4, 54, 3000, 34, 16}, HOST_ALL, REQUESTED},
		{&v4, {F_CSUM, G_V4, 54, 65535, 34, 16}, HOST_ALL, REQUESTED},
		{&v4, {F_CSUM, G_V4, 54, SEGMENT_PAYLOAD_MIN, 34, 16}, HOST_ALL, REQUESTED},
		{&v4, {F_CSUM, G_V4, 54, SEGMENT_PAYLOAD_MIN - 1, 34, 16}, HOST_ALL, DROPPED},
		{&v4, {F_CSUM, G_V4, 54, 1, 34, 16}, HOST_ALL, DROPPED},
		{&v4, {F_CSUM, G_V4, 54, 0, 34, 16}, HOST_ALL, DROPPED},
		{&v4, {F_NONE, G_V4, 54, 1000, 34, 16}, HOST_ALL, DROPPED},
		{&v4, {F_VALID, G_V4, 54, 1000, 34, 16}, HOST_ALL, DROPPED},
		{&v4, {F_CSUM, G_V4, 54, 1000, 35, 16}, HOST_ALL, DROPPED},
		{&v4, {F_CSUM, G_V4, 54, 1000, 34, 6}, HOST_ALL, DROPPED},
		{&v4, {F_CSUM, G_V4, 54, 1000, 0, 0}, HOST_ALL, DROPPED},
		{&v4, {F_CSUM, G_V6, 54, 1000, 34, 16}, HOST_ALL, DROPPED},
		{&v6, {F_CSUM, G_V4, 54, 1000, 54, 16}, HOST_ALL, DROPPED},
		{&v6, {F_CSUM, G_V6, 54, 1000, 54, 16}, HOST_ALL, REQUESTED},
		{&v6, {F_CSUM, G_V6 | G_ECN, 54, 1000, 54, 16}, HOST_ALL, REQUESTED},
		{&udp, {F_CSUM, G_V4, 42, 1000, 34, 6}, HOST_ALL, DROPPED},
		{&udp, {F_CSUM, G_V4, 42, 1000, 34, 16}, HOST_ALL, DROPPED},
		/* not offered: UFO, USO, ECN alone; not known */
		{&udp, {F_CSUM, G_UDP, 42, 1000, 34, 6}, HOST_ALL, DROPPED},
		{&udp, {F_CSUM, G_USO, 42, 1000, 34, 6}, HOST_ALL, DROPPED},
		{&v4, {F_CSUM, G_ECN, 54, 1000, 34, 16}, HOST_ALL, DROPPED},
		/* not negotiated */
		{&v4, {F_CSUM, G_V4, 54, 1000, 34, 16}, CSUM, DROPPED},
		{&v4, {F_CSUM, G_V4, 54, 1000, 34, 16}, CSUM | HOST_TSO6, DROPPED},
		{&v4, {F_CSUM, G_V4, 54, 1000, 34, 16}, CSUM | HOST_TSO4, REQUESTED},
		{&v4, {F_CSUM, G_V4 | G_ECN, 54, 1000, 34, 16}, CSUM | HOST_TSO4, DROPPED},
		{&v6, {F_CSUM, G_V6, 54, 1000, 54, 16}, CSUM | HOST_TSO4, DROPPED},
	};

	for (size_t i = 0; i < RTE_DIM(rows); i++)
		outcome_check(frame_build(rows[i].spec, PSEUDO), &rows[i].hdr, rows[i].offloads,
			      rows[i].want);
	/* N03: all 256 types. */
	for (unsigned int type = 0; type < 256; type++) {
		const struct frame *frame = frame_build(&v4, PSEUDO);
		struct virtio_net_hdr hdr = hdr_of(frame, (uint8_t)type, 1000);
		bool fine = type == G_NONE || type == G_V4 || type == (G_V4 | G_ECN);

		outcome_check(frame, &hdr, HOST_ALL, fine ? REQUESTED : DROPPED);
	}
	assert_int_equal(rte_mempool_in_use_count(pool), 0);
}

/* Headers that are not what the request says: N02, N04. */
static void
test_frames_that_are_not_what_is_asked(void **state)
{
	const struct spec spec = {.proto = PROTO_TCP, .payload = 3000, .tcp_flags = TCP_ACK};
	const struct spec spec6 = {
		.v6 = true, .proto = PROTO_TCP, .payload = 3000, .ip_options = 8, .tcp_flags = TCP_ACK};
	const struct {
		const struct spec *spec;
		uint32_t at;
		uint8_t byte;
	} rows[] = {
		{&spec, 12, 0x86},      /* another type */
		{&spec, 14, 0x55},      /* version 5 */
		{&spec, 14, 0x44},      /* a header of 16 bytes */
		{&spec, 14, 0x40},      /* of none */
		{&spec, 14, 0x46},      /* TCP is not at csum_start */
		{&spec, 20, 0x60},      /* more fragments */
		{&spec, 21, 0x01},      /* a later fragment */
		{&spec, 23, PROTO_UDP}, /* */
		{&spec6, 14, 0x40},     /* version 4 */
		{&spec6, 20, 44},       /* a fragment */
		{&spec6, 20, PROTO_TCP}, {&spec6, 54, PROTO_UDP},
		{&spec6, 54, 43},  /* a routing header where TCP is */
		{&spec6, 55, 1},   /* a longer option */
		{&spec6, 55, 255}, /* a much longer one */
	};

	for (size_t i = 0; i < RTE_DIM(rows); i++) {
		struct frame *frame = frame_build(rows[i].spec, PSEUDO);
		struct virtio_net_hdr hdr = hdr_of(frame, frame->v6 ? G_V6 : G_V4, 1000);

		frame->bytes[rows[i].at] = rows[i].byte;
		outcome_check(frame, &hdr, HOST_ALL, DROPPED);
		/* The checksum alone can be had. */
		hdr.gso_type = G_NONE;
		outcome_check(frame, &hdr, HOST_ALL, SUMMED);
	}
	/* TCP header: too short, longer than the frame. */
	for (uint8_t words = 0; words < 16; words++) {
		struct frame *frame = frame_build(&spec, PSEUDO);
		struct virtio_net_hdr hdr = hdr_of(frame, G_V4, 1000);

		frame->bytes[frame->l4_at + 12] = (uint8_t)(words << 4);
		outcome_check(frame, &hdr, HOST_ALL, words < 5 ? DROPPED : REQUESTED);
		frame->len = frame->l4_at + 40;
		outcome_check(frame, &hdr, HOST_ALL, words < 5 || words > 10 ? DROPPED : REQUESTED);
	}
	/* The frame ends in the middle of it all. */
	for (uint32_t len = 14; len < 54; len++) {
		struct frame *frame = frame_build(&spec, PSEUDO);
		struct virtio_net_hdr hdr = hdr_of(frame, G_V4, 1000);

		frame->len = len;
		outcome_check(frame, &hdr, HOST_ALL, DROPPED);
		hdr.gso_type = G_NONE;
		outcome_check(frame, &hdr, HOST_ALL, len < 52 ? DROPPED : SUMMED);
	}
}

/* --- software completion --- */

static struct rte_mbuf *
requested(const struct frame *frame, uint8_t gso_type, uint16_t gso_size, enum cuts cuts)
{
	struct rte_mbuf *pkt = mbuf_from(frame->bytes, frame->len, cuts);
	struct virtio_net_hdr hdr = hdr_of(frame, gso_type, gso_size);

	assert_true(vnet_offload_from_guest(pkt, &hdr, HOST_ALL));
	assert_true(asks(pkt));
	return pkt;
}

static void
test_checksum_in_software(void **state)
{
	for (size_t i = 0; i < RTE_DIM(specs); i++)
		for (enum cuts cuts = WHOLE; cuts <= MANY_CUTS; cuts++) {
			static struct frame want;
			struct rte_mbuf *pkt;

			want = *frame_build(&specs[i], COMPLETE);
			pkt = requested(frame_build(&specs[i], PSEUDO), G_NONE, 0, cuts);
			assert_int_equal(complete(OFFLOADS_NONE, &pkt, 1), 1);
			assert_ptr_equal(sink.pkts[0], pkt);
			assert_false(asks(pkt));
			assert_true(mbuf_is(pkt, want.bytes, want.len));
			assert_true(oracle_is_complete(&want));
			sink_clear();
		}
	assert_int_equal(rte_mempool_in_use_count(pool), 0);
}

static void
test_segments_in_software(void **state)
{
	const uint16_t sizes[] = {SEGMENT_PAYLOAD_MIN, 100, 536, 1448, 1460, 8960, 30000};

	for (size_t i = 0; i < RTE_DIM(specs); i++)
		for (size_t k = 0; k < RTE_DIM(sizes); k++)
			for (enum cuts cuts = WHOLE; cuts <= MANY_CUTS; cuts++) {
				const struct frame *frame = frame_build(&specs[i], PSEUDO);
				uint32_t n = (specs[i].payload + sizes[k] - 1) / sizes[k];
				struct rte_mbuf *pkt;

				if (specs[i].proto != PROTO_TCP || specs[i].payload <= sizes[k])
					continue;
				pkt = requested(frame, frame->v6 ? G_V6 : G_V4, sizes[k], cuts);
				pkt->ol_flags |= RTE_MBUF_F_RX_RSS_HASH;
				pkt->hash.rss = 0x12345678;
				pkt->hash.fdir.hi = 2;
				assert_int_equal(complete(OFFLOADS_NONE, &pkt, 1), n);
				segments_check(frame, sink.pkts, sink.n, sizes[k]);
				/* Full bursts but for the last; the sums hold; the hash is the flow's. */
				assert_int_equal(sink.calls, (n + PORT_BURST - 1) / PORT_BURST);
				assert_int_equal(sink_queue.stats.copies, n - 1);
				for (unsigned int s = 0; s < sink.n; s++) {
					assert_int_equal(sink.pkts[s]->ol_flags, RTE_MBUF_F_RX_RSS_HASH);
					assert_int_equal(sink.pkts[s]->hash.rss, 0x12345678);
					assert_int_equal(sink.pkts[s]->hash.fdir.hi, 2);
				}
				sink_clear();
			}
	assert_int_equal(rte_mempool_in_use_count(pool), 0);
}

/* Segments for a destination that takes checksums still ask for them. */
static void
test_segments_leave_the_checksum_to_who_takes_it(void **state)
{
	for (size_t i = 0; i < RTE_DIM(specs); i++) {
		const struct frame *frame = frame_build(&specs[i], PSEUDO);
		struct rte_mbuf *pkt;

		if (specs[i].proto != PROTO_TCP || specs[i].payload <= 900)
			continue;
		pkt = requested(frame, frame->v6 ? G_V6 : G_V4, 900, FEW_CUTS);
		complete(OFFLOAD_BIT(CHECKSUM), &pkt, 1);
		for (unsigned int s = 0; s < sink.n; s++) {
			static struct frame segment;

			assert_int_equal(sink.pkts[s]->ol_flags & FRAME_REQUESTS, RTE_MBUF_F_TX_TCP_CKSUM);
			mbuf_read(sink.pkts[s], &segment);
			assert_true(oracle_parse(&segment));
			assert_int_equal(get16(segment.bytes + segment.l4_at + OFF_TCP),
					 pseudo_sum(&segment));
		}
		/* And so they can be completed later. */
		for (unsigned int s = 0, n = sink.n; s < n; s++) {
			struct rte_mbuf *segment = sink.pkts[s];

			complete(OFFLOADS_NONE, &segment, 1);
			sink.pkts[s] = sink.pkts[--sink.n];
		}
		segments_check(frame, sink.pkts, sink.n, 900);
		sink_clear();
	}
}

static void
test_what_is_taken_is_left_alone(void **state)
{
	const struct spec spec4 = {.proto = PROTO_TCP, .payload = 3000};
	const struct spec cwr4 = {.proto = PROTO_TCP, .payload = 3000, .tcp_flags = TCP_CWR};
	const struct spec spec6 = {.v6 = true, .proto = PROTO_TCP, .payload = 3000};
	const struct spec udp = {.proto = PROTO_UDP, .payload = 3000};
	const struct {
		const struct spec *spec;
		uint8_t gso;
		unsigned int takes;
		unsigned int n; /* frames that come out */
		bool ask;
	} rows[] = {
		{&udp, G_NONE, OFFLOAD_BIT(CHECKSUM), 1, true},
		{&udp, G_NONE, OFFLOADS_NONE, 1, false},
		{&udp, G_NONE, OFFLOAD_BIT(TSO4) | OFFLOAD_BIT(TSO6) | OFFLOAD_BIT(ECN), 1, false},
		{&spec4, G_V4, OFFLOAD_BIT(CHECKSUM) | OFFLOAD_BIT(TSO4), 1, true},
		{&spec4, G_V4, OFFLOAD_BIT(CHECKSUM) | OFFLOAD_BIT(TSO6), 3, true},
		{&spec4, G_V4, OFFLOAD_BIT(TSO4), 3, false},
		{&spec6, G_V6, OFFLOAD_BIT(CHECKSUM) | OFFLOAD_BIT(TSO6), 1, true},
		{&spec6, G_V6, OFFLOAD_BIT(CHECKSUM) | OFFLOAD_BIT(TSO4), 3, true},
		/* C85 */
		{&cwr4, G_V4, OFFLOAD_BIT(CHECKSUM) | OFFLOAD_BIT(TSO4), 3, true},
		{&cwr4, G_V4 | G_ECN, OFFLOAD_BIT(CHECKSUM) | OFFLOAD_BIT(TSO4), 3, true},
		{&cwr4, G_V4 | G_ECN, OFFLOAD_BIT(CHECKSUM) | OFFLOAD_BIT(TSO4) | OFFLOAD_BIT(ECN), 1, true},
	};

	for (size_t i = 0; i < RTE_DIM(rows); i++) {
		const struct frame *frame = frame_build(rows[i].spec, PSEUDO);
		struct rte_mbuf *pkt = requested(frame, rows[i].gso, 1000, WHOLE);

		complete(rows[i].takes, &pkt, 1);
		assert_int_equal(sink.n, rows[i].n);
		assert_int_equal(asks(sink.pkts[0]), rows[i].ask);
		if (rows[i].n == 1 && rows[i].ask)
			assert_true(mbuf_is(sink.pkts[0], frame->bytes, frame->len));
		sink_clear();
	}
}

/* Whoever else holds the frame finds it as it was. */
static void
test_shared_frames_are_not_written(void **state)
{
	for (size_t i = 0; i < RTE_DIM(specs); i++)
		for (enum cuts cuts = WHOLE; cuts <= FEW_CUTS; cuts++)
			for (int tso = 0; tso < 2; tso++)
				for (int which = 0; which < 3; which++) {
					const struct frame *frame = frame_build(&specs[i], PSEUDO);
					uint8_t gso = !tso ? G_NONE : frame->v6 ? G_V6 : G_V4;
					struct rte_mbuf *pkt, *other;

					if (tso && (specs[i].proto != PROTO_TCP || specs[i].payload <= 1000))
						continue;
					pkt = requested(frame, gso, 1000, cuts);
					if (which == 2) {
						rte_pktmbuf_refcnt_update(pkt, 1);
						other = pkt;
					} else {
						other = rte_pktmbuf_clone(pkt, pool);
					}
					assert_non_null(other);
					if (which == 1) {
						/* The original goes out, the clone stays. */
						struct rte_mbuf *swap = pkt;

						pkt = other;
						other = swap;
					}
					if (which == 2 && pkt->nb_segs > 1) {
						/* Only whole frames are shared so. */
						rte_pktmbuf_refcnt_update(pkt, -1);
						rte_pktmbuf_free(pkt);
						continue;
					}
					complete(OFFLOADS_NONE, &pkt, 1);
					assert_true(asks(other));
					assert_true(mbuf_is(other, frame->bytes, frame->len));
					if (tso) {
						segments_check(frame, sink.pkts, sink.n, 1000);
					} else {
						static struct frame got;

						mbuf_read(sink.pkts[0], &got);
						assert_true(oracle_is_complete(&got));
						assert_false(asks(sink.pkts[0]));
					}
					sink_clear();
					rte_pktmbuf_free(other);
				}
	assert_int_equal(rte_mempool_in_use_count(pool), 0);
}

/* Order is kept in a mixed burst, and bursts are cut anew. */
static void
test_mixed_burst_keeps_its_order(void **state)
{
	const struct spec small = {.proto = PROTO_UDP, .payload = 20};
	const struct spec large = {.proto = PROTO_TCP, .payload = 60000};
	struct rte_mbuf *pkts[PORT_BURST];
	unsigned int at = 0;

	for (int i = 0; i < PORT_BURST; i++) {
		const struct frame *frame =
			frame_build(i % 3 == 0 ? &large : &small, i % 3 == 2 ? COMPLETE : PSEUDO);

		pkts[i] = i % 3 == 2 ? mbuf_from(frame->bytes, frame->len, WHOLE)
				     : requested(frame, i % 3 ? G_NONE : G_V4, 1460, WHOLE);
	}
	assert_int_equal(complete(OFFLOADS_NONE, pkts, PORT_BURST), 11 * 42 + 21);
	for (int i = 0; i < PORT_BURST; i++) {
		if (i % 3 == 0) {
			segments_check(frame_build(&large, PSEUDO), sink.pkts + at, 42, 1460);
			at += 42;
		} else {
			const struct frame *frame = frame_build(&small, COMPLETE);

			assert_true(mbuf_is(sink.pkts[at++], frame->bytes, frame->len));
		}
	}
	assert_int_equal(at, sink.n);
	assert_int_equal(sink_queue.stats.copies, 11 * 41);
	sink_clear();
	assert_int_equal(rte_mempool_in_use_count(pool), 0);
}

/* Packet buffers run out: counted, once a frame, and the sums hold. */
static void
test_no_packet_buffer(void **state)
{
	static struct rte_mbuf *hoard[POOL_SIZE];
	const struct spec spec = {.proto = PROTO_TCP, .payload = 60000};
	struct rte_mbuf *pkts[2];
	unsigned int n, spare;

	for (spare = 0; spare < 100; spare++) {
		pkts[0] = requested(frame_build(&spec, PSEUDO), G_V4, 8960, WHOLE);
		pkts[1] = requested(frame_build(&specs[0], PSEUDO), G_NONE, 0, WHOLE);
		rte_pktmbuf_refcnt_update(pkts[1], 1);
		for (n = 0; n < POOL_SIZE && (hoard[n] = rte_pktmbuf_alloc(pool)); n++)
			;
		for (unsigned int i = 0; i < spare; i++)
			rte_pktmbuf_free(hoard[--n]);
		complete(OFFLOADS_NONE, pkts, 2);
		assert_int_equal(2 + sink_queue.stats.copies, sink.n + sink_queue.stats.drops[DROP_NO_MBUF]);
		if (spare == 0) {
			/* The large frame's own buffers are free again when the small one's turn comes. */
			assert_int_equal(sink.n, 1);
			assert_int_equal(sink_queue.stats.drops[DROP_NO_MBUF], 1);
		}
		sink_clear();
		rte_pktmbuf_free(pkts[1]);
		rte_pktmbuf_free_bulk(hoard, n);
		assert_int_equal(rte_mempool_in_use_count(pool), 0);
	}
}

/* --- to the guest --- */

/* What a strict driver (Linux) asks of a header; N05. */
static void
strict_driver_check(const struct virtio_net_hdr *hdr, struct frame *frame, uint32_t offloads)
{
	uint8_t gso = hdr->gso_type & (uint8_t)~G_ECN;

	/* C79, C89 */
	if (!(offloads & GUEST_CSUM)) {
		assert_int_equal(hdr->flags, 0);
		assert_int_equal(hdr->gso_type, G_NONE);
	}
	assert_int_equal(hdr->flags & ~(F_CSUM | F_VALID), 0);
	assert_int_not_equal(hdr->flags, F_CSUM | F_VALID);
	if (hdr->flags & F_CSUM) {
		/* C86 .. C88: where the checksum is, and the pseudo header's sum in it */
		assert_true(hdr->csum_start + hdr->csum_offset + 2u <= frame->len);
		assert_int_equal(hdr->csum_start, frame->l4_at);
		assert_int_equal(hdr->csum_offset, frame->proto == PROTO_TCP ? OFF_TCP : OFF_UDP);
		assert_int_equal(get16(frame->bytes + frame->l4_at + hdr->csum_offset), pseudo_sum(frame));
	} else {
		assert_int_equal(hdr->csum_start, 0);
		assert_int_equal(hdr->csum_offset, 0);
	}
	if (gso == G_NONE) {
		assert_int_equal(hdr->gso_type, G_NONE);
		assert_int_equal(hdr->gso_size, 0);
		return;
	}
	/* C81, C83, C82, C84 */
	assert_true((gso == G_V4 && offloads & GUEST_TSO4) || (gso == G_V6 && offloads & GUEST_TSO6));
	assert_int_equal(gso, frame->v6 ? G_V6 : G_V4);
	assert_int_equal(frame->proto, PROTO_TCP);
	/* C90, C92 */
	assert_true(hdr->flags & F_CSUM);
	assert_true(hdr->gso_size > 0 && frame->len - frame->payload_at > hdr->gso_size);
	assert_true(hdr->hdr_len >= frame->payload_at && hdr->hdr_len <= frame->len);
	/* C85 */
	assert_int_equal(!!(hdr->gso_type & G_ECN), !!(frame->bytes[frame->l4_at + 13] & TCP_CWR));
	assert_true(!(hdr->gso_type & G_ECN) || offloads & GUEST_ECN);
}

/* C93 */
static void
test_c93_data_valid_is_what_the_nic_said(void **state)
{
	const struct {
		uint64_t ol_flags;
		uint8_t flags;
	} rows[] = {
		{0, F_NONE},
		{RTE_MBUF_F_RX_L4_CKSUM_GOOD, F_VALID},
		{RTE_MBUF_F_RX_L4_CKSUM_BAD, F_NONE},
		{RTE_MBUF_F_RX_L4_CKSUM_NONE, F_NONE},
		{RTE_MBUF_F_RX_IP_CKSUM_GOOD, F_NONE},
		{RTE_MBUF_F_RX_L4_CKSUM_GOOD | RTE_MBUF_F_TX_IPV4 | RTE_MBUF_F_TX_TCP_CKSUM, F_CSUM},
	};

	for (size_t i = 0; i < RTE_DIM(rows); i++) {
		const struct frame *frame = frame_build(&specs[0], COMPLETE);
		struct rte_mbuf *pkt = mbuf_from(frame->bytes, frame->len, WHOLE);
		struct virtio_net_hdr hdr;

		pkt->ol_flags = rows[i].ol_flags;
		pkt->l2_len = 14;
		pkt->l3_len = 20;
		hdr = vnet_offload_to_guest(pkt);
		assert_int_equal(hdr.flags, rows[i].flags);
		assert_int_equal(hdr.gso_type, G_NONE);
		rte_pktmbuf_free(pkt);
	}
}

/* --- hostile headers --- */

/* N01, N03, N04: anything at all in the header, in frames with something wrong or not, cut anywhere. Nothing
 * is read or written outside (run under ASan), and what passes can be completed and delivered. */
static void
test_hostile_headers(void **state)
{
	static struct frame frame, got;

	for (int round = 0; round < 60000; round++) {
		struct spec spec = specs[rng_below(RTE_DIM(specs))];
		uint32_t mode = rng_below(4);
		struct virtio_net_hdr hdr;
		struct rte_mbuf *pkt;
		bool segments;

		spec.payload %= 4000;
		frame = *frame_build(&spec, PSEUDO);
		hdr = hdr_of(&frame,
			     rng_below(2) ? G_NONE
			     : frame.v6   ? G_V6
					  : G_V4,
			     (uint16_t)rng_below(2000));
		if (mode == 0) {
			uint8_t *bytes = (uint8_t *)&hdr;

			for (size_t i = 0; i < sizeof(hdr); i++)
				bytes[i] = rng_byte();
			hdr.flags |= F_CSUM;
		}
		if (mode == 1)
			for (uint32_t i = rng_below(4); i; i--)
				frame.bytes[12 + rng_below(RTE_MIN(80u, frame.len - 12))] = rng_byte();
		if (mode == 2)
			frame.len = 14 + rng_below(frame.len - 13);
		if (rng_below(4) == 0)
			hdr.csum_start = (uint16_t)(rng_below(2) ? rng_below(100) : rng_below(65536));
		if (rng_below(4) == 0)
			hdr.csum_offset = (uint16_t)(rng_below(2) ? rng_below(20) : rng_below(65536));
		pkt = mbuf_from(frame.bytes, frame.len, (enum cuts)rng_below(3));
		if (!vnet_offload_from_guest(pkt, &hdr, rng_below(8) ? HOST_ALL : CSUM)) {
			rte_pktmbuf_free(pkt);
			continue;
		}
		segments = pkt->ol_flags & RTE_MBUF_F_TX_TCP_SEG;
		hdr = vnet_offload_to_guest(pkt);
		if (hdr.flags & F_CSUM)
			assert_true(hdr.csum_start + hdr.csum_offset + 2u <= pkt->pkt_len);
		assert_true(!hdr.gso_type ||
			    (hdr.hdr_len < pkt->pkt_len && hdr.gso_size >= SEGMENT_PAYLOAD_MIN));
		complete(OFFLOADS_NONE, &pkt, 1);
		assert_int_equal(sink_queue.stats.drops[DROP_BAD_OFFLOAD], 0);
		assert_true(sink.n >= 1 && (segments || sink.n == 1));
		for (unsigned int i = 0; i < sink.n; i++) {
			assert_false(asks(sink.pkts[i]));
			if (segments) {
				mbuf_read(sink.pkts[i], &got);
				assert_true(oracle_parse(&got));
			}
		}
		sink_clear();
	}
	assert_int_equal(rte_mempool_in_use_count(pool), 0);
}

/* --- from guest to guest --- */

struct end {
	struct driver_mem mem;
	struct driver_queue driver;
	struct vnet_conf conf; /* of the device's half */
	struct vnet_queue queue;
	struct port_rxq rxq;
	struct port_txq txq;
};

static struct end *
end_open(bool receives, uint32_t traits, uint16_t hdr_len, uint32_t offloads)
{
	struct end *end = unit_zalloc(sizeof(*end));
	struct virtq *vq;

	driver_mem_open(&end->mem);
	driver_queue_open(&end->driver, &end->mem, 2, traits, 256, false);
	end->conf.virtq = end->driver.conf;
	driver_interrupts(&end->driver, DRIVER_INTERRUPTS_OFF);
	end->conf.virtq.traits = traits;
	end->conf.hdr_len = hdr_len;
	end->conf.frame_max = 1518;
	end->conf.offloads = offloads;
	end->conf.unsupported = offloads_unsupported(offloads);
	end->conf.virtq.enabled = true;
	if (receives)
		end->conf.to_guest = vnet_to_guest_variant(isa_select(), traits);
	else
		end->conf.from_guest = vnet_from_guest_variant(isa_select(), traits);
	end->queue.pool = pool;
	end->queue.borrowed_conf = &end->conf;
	end->rxq.dev = end->txq.dev = &end->queue;
	vq = receives ? &end->queue.to_guest : &end->queue.from_guest;
	assert_int_equal(virtq_start(vq, &end->conf.virtq, traits & TRAIT_PACKED ? 0x80008000u : 0), 0);
	atomic_store(&vq->conf, &end->conf.virtq);
	return end;
}

static void
end_close(struct end *end)
{
	driver_queue_close(&end->driver);
	driver_mem_close(&end->mem);
	free(end);
}

static uint16_t
end_take(struct end *end, struct rte_mbuf **pkts)
{
	uint16_t n = end->conf.from_guest(&end->queue, &end->conf, &end->rxq, pkts, PORT_BURST);

	/* What the frames are made to ask for later would be where a borrowed frame's tail is said to be. */
	if (end->rxq.borrowed) {
		borrow_materialise_burst(pkts, n);
		vnet_rx_release(&end->rxq);
	}
	return n;
}

/* The driver of `end` sends a frame: in one buffer, or a chain with the header apart. */
static void
end_send(struct end *end, const struct virtio_net_hdr *hdr, const struct frame *frame, enum driver_form form)
{
	const uint64_t gpa = driver_region_gpa(0) + 4096;
	uint8_t header[HEADER_LEN_MAX];
	struct driver_buf bufs[3] = {{.gpa = gpa, .len = end->conf.hdr_len + frame->len}};
	unsigned int n = 1;

	memset(header, 0xee, sizeof(header));
	memcpy(header, hdr, sizeof(*hdr));
	driver_write(&end->mem, gpa, header, end->conf.hdr_len);
	driver_write(&end->mem, gpa + end->conf.hdr_len, frame->bytes, frame->len);
	if (form != DRIVER_DIRECT) {
		/* The header in two pieces, too. */
		bufs[0].len = 7;
		bufs[1] = (struct driver_buf){.gpa = gpa + 7, .len = end->conf.hdr_len + 20 - 7};
		bufs[2] = (struct driver_buf){.gpa = gpa + end->conf.hdr_len + 20, .len = frame->len - 20};
		n = 3;
	}
	assert_true(driver_add(&end->driver, bufs, n, form, 1));
}

enum { BUFFERS = 100, BUFFER_MERGEABLE = 1536, BUFFER_LARGE = 68 << 10 };

static void
end_post(struct end *end)
{
	const bool mergeable = end->conf.virtq.traits & TRAIT_MERGEABLE;

	for (uint64_t i = 0; i < BUFFERS; i++) {
		uint32_t len = mergeable ? BUFFER_MERGEABLE : BUFFER_LARGE;
		struct driver_buf buf = {
			.gpa = driver_region_gpa(0) + 4096 + i * len, .len = len, .writable = true};

		assert_true(driver_add(&end->driver, &buf, 1, DRIVER_DIRECT, i));
	}
}

/* The next frame that the driver of `end` has received; false: none. */
static bool
end_receive(struct end *end, struct virtio_net_hdr *ret_hdr, struct frame *frame,
	    uint8_t header[HEADER_LEN_MAX])
{
	const struct vnet_conf *conf = &end->conf;
	const bool mergeable = conf->virtq.traits & TRAIT_MERGEABLE;
	const uint32_t room = mergeable ? BUFFER_MERGEABLE : BUFFER_LARGE;
	static uint8_t bytes[FRAME_SIZE + HEADER_LEN_MAX];
	uint32_t len = 0, written;
	uint16_t num_buffers = 1;
	uint64_t tag;

	for (uint16_t k = 0; k < num_buffers; k++) {
		if (!driver_get(&end->driver, &tag, &written)) {
			assert_int_equal(k, 0);
			return false;
		}
		assert_true(len + written <= sizeof(bytes));
		driver_read(&end->mem, driver_region_gpa(0) + 4096 + tag * room, bytes + len, written);
		len += written;
		/* C73, C75, C76 */
		if (k == 0 && conf->hdr_len >= HEADER_LEN)
			num_buffers = (uint16_t)(bytes[10] | bytes[11] << 8);
		assert_true(num_buffers >= 1 && (mergeable || num_buffers == 1));
		/* C77 */
		assert_true(k == num_buffers - 1 || written == room);
	}
	memset(frame, 0, sizeof(*frame));
	memcpy(header, bytes, conf->hdr_len);
	memcpy(ret_hdr, bytes, sizeof(*ret_hdr));
	frame->len = len - conf->hdr_len;
	memcpy(frame->bytes, bytes + conf->hdr_len, frame->len);
	return true;
}

/* Everything that A can ask, to every B: what B's driver finds is right by itself, and together it is what A
 * sent.
 */
static void
pair_check(uint32_t a_traits, uint64_t a_offloads, uint32_t b_traits, uint64_t b_offloads)
{
	const uint16_t a_hdr = a_traits & TRAIT_HASH_REPORT ? 20 : 12;
	const uint16_t b_hdr = b_traits & TRAIT_HASH_REPORT                                  ? 20
			       : b_traits & (TRAIT_MERGEABLE | TRAIT_PACKED | TRAIT_OFFLOAD) ? 12
											     : 10;
	static struct frame sent, got;
	struct end *a = end_open(false, a_traits & ~(uint32_t)TRAIT_HASH_REPORT, a_hdr, a_offloads);

	for (size_t i = 0; i < RTE_DIM(specs); i++)
		for (enum driver_form form = DRIVER_DIRECT; form <= DRIVER_INDIRECT; form++) {
			struct end *b = end_open(true, b_traits, b_hdr, b_offloads);
			const bool tso = a_offloads & HOST_TSO4 && specs[i].proto == PROTO_TCP &&
					 specs[i].payload > 1000;
			struct virtio_net_hdr hdr = {0};
			uint8_t header[HEADER_LEN_MAX];
			struct rte_mbuf *pkts[PORT_BURST];
			uint32_t payload = 0, total;
			unsigned int n = 0;
			uint32_t written;
			uint64_t tag;

			sent = *frame_build(&specs[i], a_offloads ? PSEUDO : COMPLETE);
			/* What is too long for an MTU of 1500 is only sent as segments to be. */
			if (!tso && sent.len > 1518) {
				end_close(b);
				continue;
			}
			/* A driver that offloads nothing may leave anything in fields that nobody reads. */
			if (a_offloads)
				hdr = hdr_of(&sent, tso ? sent.v6 ? G_V6 : G_V4 : G_NONE, tso ? 1000 : 0);
			else
				memset(&hdr, 0xee, sizeof(hdr));
			end_send(a, &hdr, &sent, form);
			end_post(b);
			assert_int_equal(end_take(a, pkts), 1);
			assert_true(driver_get(&a->driver, &tag, &written));
			pkts[0]->ol_flags |= RTE_MBUF_F_RX_RSS_HASH;
			pkts[0]->hash.rss = 0xa1b2c3d4;
			pkts[0]->hash.fdir.hi = 2;
			assert_true(vnet_tx(&b->txq, pkts, 1) >= 1);
			while (end_receive(b, &hdr, &got, header)) {
				assert_true(oracle_parse(&got));
				strict_driver_check(&hdr, &got, b_offloads);
				/* C57 */
				assert_true(got.len <= 1518 || hdr.gso_type != G_NONE);
				/* C80 */
				if (!(hdr.flags & F_CSUM))
					assert_true(oracle_is_complete(&got));
				/* C95 */
				if (b_hdr == HEADER_LEN_HASH)
					assert_memory_equal(header + 12, "\xd4\xc3\xb2\xa1\x02\x00\x00\x00",
							    8);
				total = got.len - got.payload_at;
				assert_memory_equal(got.bytes + got.payload_at,
						    sent.bytes + sent.payload_at + payload, total);
				payload += total;
				n++;
				/* Not done twice, and not left undone. */
				if (a_offloads && b_offloads & GUEST_CSUM)
					assert_int_equal(hdr.flags, F_CSUM);
			}
			assert_int_equal(payload, specs[i].payload);
			if (tso) {
				bool taken = b_offloads & (sent.v6 ? GUEST_TSO6 : GUEST_TSO4) &&
					     (b_offloads & GUEST_ECN || !(specs[i].tcp_flags & TCP_CWR));

				assert_int_equal(n, taken ? 1 : (specs[i].payload + 999) / 1000);
			} else {
				assert_int_equal(n, 1);
			}
			assert_int_equal(b->txq.stats.packets, n);
			assert_int_equal(b->txq.stats.copies, n - 1);
			end_close(b);
		}
	assert_int_equal(rte_mempool_in_use_count(pool), 0);
	end_close(a);
}

static void
test_guest_to_guest(void **state)
{
	const uint64_t b_offloads[] = {0, GUEST_CSUM, GUEST_CSUM | GUEST_TSO4,
				       GUEST_CSUM | GUEST_TSO4 | GUEST_TSO6, GUEST_ALL};
	const uint32_t layouts[] = {0, TRAIT_PACKED, TRAIT_PACKED | TRAIT_IN_ORDER};

	for (int a = 0; a < 2; a++)
		for (size_t b = 0; b < RTE_DIM(b_offloads); b++)
			for (size_t layout = 0; layout < RTE_DIM(layouts); layout++)
				for (int form = 0; form < 4; form++) {
					uint32_t a_traits = layouts[layout] | (a ? TRAIT_OFFLOAD : 0);
					uint32_t b_traits = layouts[layout];

					if (b_offloads[b])
						b_traits |= TRAIT_OFFLOAD;
					if (form & 1)
						b_traits |= TRAIT_MERGEABLE;
					if (form & 2) {
						a_traits |= TRAIT_HASH_REPORT;
						b_traits |= TRAIT_HASH_REPORT;
					}
					pair_check(a_traits, a ? HOST_ALL : 0, b_traits, b_offloads[b]);
				}
}

/* A guest that asks nonsense loses that frame alone, in every form of chain. */
static void
test_nonsense_costs_its_own_frame(void **state)
{
	const uint32_t traits[] = {TRAIT_OFFLOAD, TRAIT_OFFLOAD | TRAIT_MERGEABLE,
				   TRAIT_OFFLOAD | TRAIT_PACKED,
				   TRAIT_OFFLOAD | TRAIT_PACKED | TRAIT_MERGEABLE,
				   TRAIT_OFFLOAD | TRAIT_PACKED | TRAIT_IN_ORDER | TRAIT_MERGEABLE};

	for (size_t i = 0; i < RTE_DIM(traits); i++)
		for (enum driver_form form = DRIVER_DIRECT; form <= DRIVER_INDIRECT; form++) {
			struct end *end = end_open(false, traits[i], 12, HOST_ALL);
			const struct frame *frame = frame_build(&specs[0], PSEUDO);
			struct virtio_net_hdr bad = hdr_of(frame, 0x7f, 100), good = hdr_of(frame, G_NONE, 0);
			struct rte_mbuf *pkts[PORT_BURST];
			uint32_t written;
			uint64_t tag;

			end_send(end, &bad, frame, form);
			assert_int_equal(end_take(end, pkts), 0);
			assert_int_equal(end->rxq.stats.drops[DROP_BAD_OFFLOAD], 1);
			assert_int_equal(end->rxq.stats.packets, 1);
			assert_true(driver_get(&end->driver, &tag, &written));
			assert_int_equal(rte_mempool_in_use_count(pool), 0);
			end_send(end, &good, frame, form);
			assert_int_equal(end_take(end, pkts), 1);
			assert_true(asks(pkts[0]));
			rte_pktmbuf_free(pkts[0]);
			end_close(end);
		}
}

/* GUEST_OFFLOADS_SET between two frames: the second is as the driver wishes now. */
static void
test_offloads_switched_at_run_time(void **state)
{
	const struct spec spec = {.proto = PROTO_TCP, .payload = 2000, .tcp_flags = TCP_ACK};
	struct end *b = end_open(true, TRAIT_OFFLOAD | TRAIT_MERGEABLE, 12, GUEST_ALL);
	struct vnet_conf off = b->conf;
	static struct frame got;
	struct virtio_net_hdr hdr;
	uint8_t header[HEADER_LEN_MAX];
	struct rte_mbuf *pkt;

	off.offloads = OFFLOADS_NONE;
	off.unsupported = FRAME_REQUESTS;
	off.virtq.traits = TRAIT_MERGEABLE;
	off.to_guest = vnet_to_guest_variant(isa_select(), off.virtq.traits);
	end_post(b);
	pkt = requested(frame_build(&spec, PSEUDO), G_V4, 1000, WHOLE);
	assert_int_equal(vnet_tx(&b->txq, &pkt, 1), 1);
	assert_true(end_receive(b, &hdr, &got, header));
	assert_int_equal(hdr.gso_type, G_V4);
	atomic_store(&b->queue.to_guest.conf, &off.virtq);
	pkt = requested(frame_build(&spec, PSEUDO), G_V4, 1000, WHOLE);
	assert_int_equal(vnet_tx(&b->txq, &pkt, 1), 2);
	for (int i = 0; i < 2; i++) {
		assert_true(end_receive(b, &hdr, &got, header));
		assert_true(oracle_is_complete(&got));
		strict_driver_check(&hdr, &got, 0);
	}
	/* And a frame that the NIC has checked is no news to it. */
	pkt = mbuf_from(frame_build(&specs[0], COMPLETE)->bytes, 154, WHOLE);
	pkt->ol_flags = RTE_MBUF_F_RX_L4_CKSUM_GOOD;
	assert_int_equal(vnet_tx(&b->txq, &pkt, 1), 1);
	assert_true(end_receive(b, &hdr, &got, header));
	assert_int_equal(hdr.flags, 0);
	end_close(b);
}

/* Reports of nobody's hash, or with a code that does not exist. */
static void
test_c95_hash_report(void **state)
{
	const struct {
		uint64_t ol_flags;
		uint32_t code;
		const char *tail;
	} rows[] = {
		{RTE_MBUF_F_RX_RSS_HASH, 1, "\xd4\xc3\xb2\xa1\x01\x00\x00\x00"},
		{RTE_MBUF_F_RX_RSS_HASH, 9, "\xd4\xc3\xb2\xa1\x09\x00\x00\x00"},
		{RTE_MBUF_F_RX_RSS_HASH, 0, "\0\0\0\0\0\0\0\0"},
		{RTE_MBUF_F_RX_RSS_HASH, 10, "\0\0\0\0\0\0\0\0"},
		{RTE_MBUF_F_RX_RSS_HASH, 0x10001, "\0\0\0\0\0\0\0\0"},
		{0, 1, "\0\0\0\0\0\0\0\0"},
	};

	for (uint32_t traits = 0; traits < TRAIT_N; traits++)
		for (size_t i = 0; i < RTE_DIM(rows); i++) {
			struct end *b;
			static struct frame got;
			const struct frame *frame = frame_build(&specs[0], COMPLETE);
			struct virtio_net_hdr hdr;
			uint8_t header[HEADER_LEN_MAX];
			struct rte_mbuf *pkt;

			if (!(traits & TRAIT_HASH_REPORT) || traits & TRAIT_LOG)
				continue;
			b = end_open(true, traits, 20, 0);
			end_post(b);
			/* One mbuf: the body; several: the odd case. */
			for (enum cuts cuts = WHOLE; cuts <= FEW_CUTS; cuts++) {
				pkt = mbuf_from(frame->bytes, frame->len, cuts);
				pkt->ol_flags = rows[i].ol_flags;
				pkt->hash.rss = 0xa1b2c3d4;
				pkt->hash.fdir.hi = rows[i].code;
				assert_int_equal(vnet_tx(&b->txq, &pkt, 1), 1);
				assert_true(end_receive(b, &hdr, &got, header));
				assert_memory_equal(header, "\0\0\0\0\0\0\0\0\0\0\1\0", 12);
				assert_memory_equal(header + 12, rows[i].tail, 8);
				assert_int_equal(got.len, frame->len);
				assert_memory_equal(got.bytes, frame->bytes, frame->len);
			}
			end_close(b);
		}
}

/* --- out of a NIC --- */

static void
test_nic_gets_complete_frames(void **state)
{
	struct port_config config;
	struct port *port;
	struct diag diag;

	memset(&diag, 0, sizeof(diag));
	assert_int_equal(port_config_parse(&config, "up0=nic,vdev=net_ring0", &diag), 0);
	assert_int_equal(port_open(&config, &port, &diag), 0);
	port_config_free(&config);
	for (size_t i = 0; i < RTE_DIM(specs); i++) {
		const struct frame *frame = frame_build(&specs[i], PSEUDO);
		const bool tso = specs[i].proto == PROTO_TCP && specs[i].payload > 1000;
		struct rte_mbuf *pkts[128];
		unsigned int n, n_back = 0;

		pkts[0] = requested(frame, !tso ? G_NONE : frame->v6 ? G_V6 : G_V4, tso ? 1000 : 0, FEW_CUTS);
		n = port_tx(&port->txqs[0], pkts, 1);
		assert_int_equal(n, tso ? (specs[i].payload + 999) / 1000 : 1);
		/* The ring driver gives back what it was sent. */
		while (n_back < n) {
			uint16_t now = port_rx(&port->rxqs[0], pkts + n_back, PORT_BURST);

			assert_true(now > 0);
			n_back += now;
		}
		if (tso) {
			segments_check(frame, pkts, n, 1000);
		} else {
			static struct frame got;

			mbuf_read(pkts[0], &got);
			assert_true(oracle_is_complete(&got));
			assert_false(asks(pkts[0]));
		}
		rte_pktmbuf_free_bulk(pkts, n);
	}
	port_close(port);
	assert_int_equal(rte_mempool_in_use_count(pool), 0);
}

/* --- the list of offloads, whichever rows there are --- */

static const struct row {
	const char *name;
	uint64_t host, guest, request, ip;
	uint32_t needs;
	uint8_t gso;
} list[OFFLOAD_N] = {
#define OFFLOAD(symbol, name, host, guest, needs, gso, request, ip) \
	{name, FEATURE_MASK(host), FEATURE_MASK(guest), request, ip, needs, VIRTIO_NET_HDR_GSO_##gso},
#include "offloads.def"
#undef OFFLOAD
};

/* The set, and all that it needs. */
static uint32_t
with_needs(uint32_t set)
{
	for (uint32_t before = 0; before != set;) {
		before = set;
		for (unsigned int i = 0; i < OFFLOAD_N; i++)
			if (set >> i & 1 && list[i].needs && !(set & list[i].needs))
				set |= 1u << __builtin_ctz(list[i].needs);
	}
	return set;
}

static void
test_every_offload_is_offered_and_named(void **state)
{
	uint64_t host = 0, guest = 0;

	for (unsigned int i = 0; i < OFFLOAD_N; i++) {
		assert_true(list[i].name[0]);
		assert_non_null(vdev_feature_name(list[i].host));
		assert_non_null(vdev_feature_name(list[i].guest));
		assert_true(list[i].request & FRAME_REQUESTS);
		assert_false(list[i].needs & (1u << i));
		assert_false(list[i].needs & ~OFFLOADS_ALL);
		assert_true(vnet_offloads_host(list[i].host) >> i & 1);
		assert_int_equal(vnet_offloads_guest(list[i].guest), 1u << i);
		assert_int_equal(vnet_offloads_guest(list[i].host), OFFLOADS_NONE);
		host |= list[i].host;
		guest |= list[i].guest;
		for (unsigned int k = 0; k < i; k++)
			assert_string_not_equal(list[i].name, list[k].name);
	}
	assert_int_equal(host, VNET_HOST_OFFLOADS);
	assert_int_equal(guest, VNET_GUEST_OFFLOADS);
	assert_int_equal(host & guest, 0);
}

/* VIRTIO, "Feature bit requirements", as it says it. */
static bool
oracle_accepts(bool csum, bool tso4, bool tso6, bool ecn)
{
	return (!tso4 || csum) && (!tso6 || csum) && (!ecn || tso4 || tso6);
}

static void
test_accepted_features_have_what_they_need(void **state)
{
	static const uint64_t sides[2][4] = {
		{FEATURE_MASK(NET_CSUM), FEATURE_MASK(NET_HOST_TSO4), FEATURE_MASK(NET_HOST_TSO6),
		 FEATURE_MASK(NET_HOST_ECN)},
		{FEATURE_MASK(NET_GUEST_CSUM), FEATURE_MASK(NET_GUEST_TSO4), FEATURE_MASK(NET_GUEST_TSO6),
		 FEATURE_MASK(NET_GUEST_ECN)},
	};
	struct diag diag;

	for (unsigned int bits = 0; bits < 256; bits++) {
		bool host = oracle_accepts(bits & 1, bits & 2, bits & 4, bits & 8);
		bool guest = oracle_accepts(bits & 16, bits & 32, bits & 64, bits & 128);
		uint64_t features = 0;

		for (unsigned int i = 0; i < 8; i++)
			features |= bits >> i & 1 ? sides[i / 4][i % 4] : 0;
		assert_int_equal(vnet_offloads_check(features, &diag) == 0, host && guest);
	}
	assert_int_equal(vnet_offloads_check(FEATURE_MASK(NET_GUEST_ECN), &diag), -EINVAL);
	assert_string_equal(diag.cause, "features: guest_ecn needs guest_tso4 or guest_tso6");
	assert_int_equal(vnet_offloads_check(FEATURE_MASK(NET_HOST_TSO6), &diag), -EINVAL);
	assert_string_equal(diag.cause, "features: host_tso6 needs csum");
	/* Each row's needs are enough. */
	for (unsigned int i = 0; i < OFFLOAD_N; i++)
		assert_int_equal(offloads_unmet(with_needs(1u << i)), OFFLOADS_NONE);
}

/* Requested, known as that, told the guest as it was asked, and done in software for whoever lacks it. */
static void
test_every_segmentation_goes_its_way(void **state)
{
	for (unsigned int i = 0; i < OFFLOAD_N; i++) {
		const bool udp = frame_segments_checksum(list[i].request) == RTE_MBUF_F_TX_UDP_CKSUM;
		const struct spec spec = {.v6 = list[i].ip == RTE_MBUF_F_TX_IPV6,
					  .proto = udp ? PROTO_UDP : PROTO_TCP,
					  .payload = 3000};
		const uint32_t set = with_needs(1u << i);
		const struct frame *frame;
		struct virtio_net_hdr hdr;
		struct rte_mbuf *pkt;

		/* Kinds of segmentation have an IP of their own. */
		if (!list[i].ip)
			continue;
		frame = frame_build(&spec, PSEUDO);
		hdr = hdr_of(frame, list[i].gso, 1000);
		pkt = mbuf_from(frame->bytes, frame->len, WHOLE);
		assert_false(vnet_offload_from_guest(pkt, &hdr, set & ~(1u << i)));
		assert_true(vnet_offload_from_guest(pkt, &hdr, set));
		assert_int_equal(frame_offloads(pkt), set);
		assert_int_equal(vnet_offload_to_guest(pkt).gso_type, list[i].gso);
		assert_false(pkt->ol_flags & offloads_unsupported(OFFLOADS_ALL));
		assert_true(pkt->ol_flags & offloads_unsupported(OFFLOADS_ALL & ~(1u << i)));
		assert_int_equal(complete(set, &pkt, 1), 1);
		assert_int_equal(frame_offloads(sink.pkts[0]), set);
		sink_clear();
		pkt = requested(frame, list[i].gso, 1000, WHOLE);
		assert_int_equal(complete(OFFLOADS_ALL & ~(1u << i), &pkt, 1), 3);
		sink_clear();
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_offload_is_offered_and_named),
		cmocka_unit_test(test_accepted_features_have_what_they_need),
		cmocka_unit_test(test_every_segmentation_goes_its_way),
		cmocka_unit_test(test_sum_over_any_cuts),
		cmocka_unit_test(test_c72_sum_is_stored_and_udp_zero_is_ffff),
		cmocka_unit_test(test_request_of_every_shape),
		cmocka_unit_test(test_c66_c67_c69_what_is_not_asked_is_not_read),
		cmocka_unit_test(test_c68_hdr_len_is_not_believed),
		cmocka_unit_test(test_contradictions),
		cmocka_unit_test(test_frames_that_are_not_what_is_asked),
		cmocka_unit_test(test_checksum_in_software),
		cmocka_unit_test(test_segments_in_software),
		cmocka_unit_test(test_segments_leave_the_checksum_to_who_takes_it),
		cmocka_unit_test(test_what_is_taken_is_left_alone),
		cmocka_unit_test(test_shared_frames_are_not_written),
		cmocka_unit_test(test_mixed_burst_keeps_its_order),
		cmocka_unit_test(test_no_packet_buffer),
		cmocka_unit_test(test_c93_data_valid_is_what_the_nic_said),
		cmocka_unit_test(test_hostile_headers),
		cmocka_unit_test(test_guest_to_guest),
		cmocka_unit_test(test_nonsense_costs_its_own_frame),
		cmocka_unit_test(test_offloads_switched_at_run_time),
		cmocka_unit_test(test_c95_hash_report),
		cmocka_unit_test(test_nic_gets_complete_frames),
	};

	pool = unit_eal_start(&(struct unit_eal){.memory_mb = 256, .n_mbufs = POOL_SIZE});
	port_env.ctx = &ctx;
	port_env.pool = pool;
	port_env.n_workers = 1;
	return UNIT_RUN(tests);
}
