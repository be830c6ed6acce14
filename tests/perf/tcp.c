/* SPDX-License-Identifier: BSD-3-Clause */
/* tcp.c: see tcp.h. */
#include "tcp.h"

#include <arpa/inet.h>
#include <string.h>

#include "seqcheck.h"

enum {
	ETH_LEN = 14,
	IP_LEN = 20,
	TCP_LEN = TCP_HDRS_LEN - ETH_LEN - IP_LEN,
	IP_OFF = ETH_LEN,
	TCP_OFF = ETH_LEN + IP_LEN,
	CSUM_OFF = 16, /* in the TCP header */
	FLAGS_OFF = 13,
	FLAG_ACK = 0x10,
	FLAG_PSH = 0x08,
	HDR_F_NEEDS_CSUM = 1,
	HDR_GSO_TCPV4 = 1,
	INSPECT_EVERY = 256, /* frames: their payload costs lines that a receiver would leave alone */
};

/* As it stands in memory, little endian. */
struct vnet_hdr {
	uint8_t flags;
	uint8_t gso_type;
	uint16_t hdr_len;
	uint16_t gso_size;
	uint16_t csum_start;
	uint16_t csum_offset;
	uint16_t num_buffers;
};

static void
put16(uint8_t *at, uint32_t value)
{
	at[0] = (uint8_t)(value >> 8);
	at[1] = (uint8_t)value;
}

static uint32_t
get16(const uint8_t *at)
{
	return (uint32_t)at[0] << 8 | at[1];
}

static uint32_t
get32(const uint8_t *at)
{
	return get16(at) << 16 | get16(at + 2);
}

/* The ones' complement sum, not folded, of whole 16-bit words. */
static uint32_t
sum16(const uint8_t *at, uint32_t len)
{
	uint32_t sum = 0;

	for (uint32_t i = 0; i < len; i += 2)
		sum += get16(at + i);
	return sum;
}

static uint32_t
fold(uint32_t sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	return (sum & 0xffff) + (sum >> 16);
}

static uint8_t
payload_byte(uint32_t off)
{
	return (uint8_t)(off * 7 + (off >> 8));
}

/* Of every segment the same; filled by tcp_arrival_init(). */
static uint8_t segment_payload[TCP_SEGMENT_LEN];
static uint32_t segment_payload_sum;

static uint32_t
pseudo_sum(const uint8_t *ip, uint32_t tcp_len)
{
	return sum16(ip + 12, 8) + 6 + tcp_len;
}

void
tcp_headers_build(uint8_t *hdr, uint8_t *frame, uint32_t n_segments)
{
	static const uint8_t headers[TCP_HDRS_LEN] = {
		0x02,
		0,
		0,
		0,
		0,
		0x0b,
		0x02,
		0,
		0,
		0,
		0,
		0x0a,
		0x08,
		0x00, /* Ethernet: B, A, IPv4 */
		0x45,
		0,
		0,
		0,
		0,
		1,
		0x40,
		0,
		64,
		6,
		0,
		0, /* whole packets, TCP */
		10,
		0,
		0,
		1,
		10,
		0,
		0,
		2, /* A, B */
		0x9c,
		0x40,
		0x14,
		0x51,
		0,
		0,
		0,
		0,
		0,
		0,
		0,
		1, /* ports, numbers */
		TCP_LEN / 4 << 4,
		FLAG_ACK | FLAG_PSH,
		0x20,
		0,
		0,
		0,
		0,
		0, /* window 8192 */
		8,
		10,
		0,
		0,
		0,
		0,
		0,
		0,
		0,
		0,
		1,
		1, /* timestamps, two fillers */
	};
	const uint32_t tcp_len = TCP_LEN + n_segments * TCP_SEGMENT_LEN;
	const struct vnet_hdr vnet = {
		.flags = HDR_F_NEEDS_CSUM,
		.gso_type = HDR_GSO_TCPV4,
		.hdr_len = TCP_HDRS_LEN,
		.gso_size = TCP_SEGMENT_LEN,
		.csum_start = TCP_OFF,
		.csum_offset = CSUM_OFF,
	};

	memcpy(hdr, &vnet, sizeof(vnet));
	memcpy(frame, headers, sizeof(headers));
	put16(frame + IP_OFF + 2, IP_LEN + tcp_len);
	put16(frame + IP_OFF + 10, ~fold(sum16(frame + IP_OFF, IP_LEN)) & 0xffff);
	/* What a driver leaves there: the pseudo header's sum. */
	put16(frame + TCP_OFF + CSUM_OFF, fold(pseudo_sum(frame + IP_OFF, tcp_len)));
}

void
tcp_payload_build(uint8_t *at, uint32_t off, uint32_t len)
{
	for (uint32_t i = 0; i < len; i++)
		at[i] = payload_byte((off + i) % TCP_SEGMENT_LEN);
}

uint32_t
tcp_seq(uint64_t number, uint32_t n_segments)
{
	return htonl((uint32_t)(number * n_segments * TCP_SEGMENT_LEN));
}

void
tcp_arrival_init(struct tcp_arrival *arrival, enum tcp_tso tso, uint32_t n_segments)
{
	*arrival = (struct tcp_arrival){
		.tso = tso,
		.n_segments = n_segments,
		.frame_len =
			TCP_HDRS_LEN + (tso == TSO_SEGMENTS ? 1 : n_segments) * (uint32_t)TCP_SEGMENT_LEN,
	};
	tcp_payload_build(segment_payload, 0, TCP_SEGMENT_LEN);
	segment_payload_sum = sum16(segment_payload, TCP_SEGMENT_LEN);
}

static bool
ip_is_right(const uint8_t *frame, uint32_t frame_len)
{
	const uint8_t *ip = frame + IP_OFF;

	return get16(frame + 12) == 0x0800 && ip[0] == 0x45 && ip[9] == 6 &&
	       get16(ip + 2) == frame_len - ETH_LEN && fold(sum16(ip, IP_LEN)) == 0xffff &&
	       frame[TCP_OFF + 12] == TCP_LEN / 4 << 4;
}

/*
 * As it was sent: who receives it could cut it, or sum it up, as the sender's device was asked to. Of the
 * pseudo header's sum DPDK's vhost leaves the length out, as its own NIC drivers want it; Linux as a receiver
 * does not look at it.
 */
static bool
whole_is_right(const struct tcp_arrival *arrival, const struct vnet_hdr *vnet, const uint8_t *frame)
{
	const uint32_t csum = get16(frame + TCP_OFF + CSUM_OFF), tcp_len = arrival->frame_len - TCP_OFF;
	const uint8_t *ip = frame + IP_OFF;

	return vnet->flags & HDR_F_NEEDS_CSUM && vnet->gso_type == HDR_GSO_TCPV4 &&
	       vnet->gso_size == TCP_SEGMENT_LEN && vnet->csum_start == TCP_OFF &&
	       vnet->csum_offset == CSUM_OFF &&
	       (csum == fold(pseudo_sum(ip, tcp_len)) || csum == fold(pseudo_sum(ip, 0)));
}

/* A packet like any other: nothing is left to be done. PSH stands in the last one only. */
static bool
segment_is_right(const struct tcp_arrival *arrival, const struct vnet_hdr *vnet, const uint8_t *frame,
		 uint32_t segment)
{
	const uint8_t flags = segment + 1 == arrival->n_segments ? FLAG_ACK | FLAG_PSH : FLAG_ACK;
	const uint32_t sum = pseudo_sum(frame + IP_OFF, TCP_LEN + TCP_SEGMENT_LEN) +
			     sum16(frame + TCP_OFF, TCP_LEN) + segment_payload_sum;

	return !vnet->flags && !vnet->gso_type && frame[TCP_OFF + FLAGS_OFF] == flags && fold(sum) == 0xffff;
}

bool
tcp_arrival_begin(struct tcp_arrival *arrival, const uint8_t *hdr, const uint8_t *frame, uint32_t len,
		  uint64_t *word)
{
	const uint64_t tag = *word >> SEQ_TAG_SHIFT << SEQ_TAG_SHIFT, number = *word - tag;
	const uint32_t step = get32(frame + TCP_SEQ_OFF) - ntohl(tcp_seq(number, arrival->n_segments));
	const uint32_t segment = step / TCP_SEGMENT_LEN;
	struct vnet_hdr vnet;
	bool right;

	arrival->len = 0;
	arrival->inspected = false;
	if (len < TCP_HDRS_LEN || step % TCP_SEGMENT_LEN || segment >= arrival->n_segments)
		return false;
	memcpy(&vnet, hdr, sizeof(vnet));
	right = ip_is_right(frame, arrival->frame_len);
	if (arrival->tso == TSO_SEGMENTS) {
		right = right && segment_is_right(arrival, &vnet, frame, segment);
		*word = tag | (number * arrival->n_segments + segment);
	} else {
		right = right && !segment && whole_is_right(arrival, &vnet, frame);
	}
	arrival->inspected = (*word - tag) % INSPECT_EVERY == 0;
	arrival->len = TCP_HDRS_LEN;
	return tcp_arrival_continue(arrival, frame + TCP_HDRS_LEN, len - TCP_HDRS_LEN) && right;
}

bool
tcp_arrival_continue(struct tcp_arrival *arrival, const uint8_t *at, uint32_t len)
{
	uint32_t off = arrival->len - TCP_HDRS_LEN;
	bool right = true;

	arrival->len += len;
	if (!arrival->inspected)
		return true;
	for (uint32_t n; len; at += n, off += n, len -= n) {
		const uint32_t from = off % TCP_SEGMENT_LEN;

		n = TCP_SEGMENT_LEN - from < len ? TCP_SEGMENT_LEN - from : len;
		right = right && !memcmp(at, segment_payload + from, n);
	}
	return right;
}

bool
tcp_arrival_end(const struct tcp_arrival *arrival)
{
	return arrival->len == arrival->frame_len;
}
