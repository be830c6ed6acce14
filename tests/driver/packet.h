/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * packet: frames as bytes, for tests to send and to judge. Built a header at a time, or all at once from a
 * description; and an oracle that finds its own way through the headers of any frame, adds up one byte after
 * the other, and knows nothing of mbufs nor of the code under test. No DPDK in here.
 */
#ifndef VNICD_TEST_PACKET_H
#define VNICD_TEST_PACKET_H

#include <stdbool.h>
#include <stdint.h>

enum {
	PACKET_SIZE = 66000, /* room for the largest that TCP segmentation offload makes, and some */
	PACKET_ICMP = 1,
	PACKET_TCP = 6,
	PACKET_UDP = 17,
	PACKET_SCTP = 132,
	/* Where the checksum is in the transport header. */
	PACKET_TCP_SUM = 16,
	PACKET_UDP_SUM = 6,
	PACKET_SCTP_SUM = 8,
	PACKET_ICMP_SUM = 2,
	PACKET_TCP_FIN = 0x01,
	PACKET_TCP_PSH = 0x08,
	PACKET_TCP_ACK = 0x10,
	PACKET_TCP_CWR = 0x80,
	PACKET_ECHO_REPLY = 0, /* type of ICMP */
	PACKET_ECHO_REQUEST = 8,
	PACKET_ARP_REQUEST = 1,
	PACKET_ARP_REPLY = 2,
	/* Of IPv4's word of fragment offset and flags. */
	PACKET_IPV4_DF = 0x4000,
	PACKET_IPV4_MF = 0x2000,
	/* EtherTypes */
	PACKET_TYPE_IPV4 = 0x0800,
	PACKET_TYPE_ARP = 0x0806,
	PACKET_TYPE_VLAN = 0x8100,
	PACKET_TYPE_IPV6 = 0x86dd,
	PACKET_TYPE_QINQ = 0x88a8,
	PACKET_TYPE_TEST = 0x88b5, /* "local experimental" */
};

struct packet {
	uint32_t len;
	uint32_t l3, l4,
		payload;      /* where they start; the last header that was added, where there is no more */
	uint32_t next_header; /* where the type of the header that is added next goes */
	uint8_t proto;        /* of the transport header */
	bool v6;
	uint8_t bytes[PACKET_SIZE];
};

/* --- big-endian numbers --- */

static inline uint16_t
packet_get16(const uint8_t *at)
{
	return (uint16_t)(at[0] << 8 | at[1]);
}

static inline uint32_t
packet_get32(const uint8_t *at)
{
	return (uint32_t)packet_get16(at) << 16 | packet_get16(at + 2);
}

static inline void
packet_put16(uint8_t *at, uint32_t value)
{
	at[0] = (uint8_t)(value >> 8);
	at[1] = (uint8_t)value;
}

static inline void
packet_put32(uint8_t *at, uint32_t value)
{
	packet_put16(at, value >> 16);
	packet_put16(at + 2, value);
}

/* MAC addresses are numbers: 0x525400000001. */

static inline uint64_t
packet_get48(const uint8_t *at)
{
	return (uint64_t)packet_get16(at) << 32 | packet_get32(at + 2);
}

static inline void
packet_put48(uint8_t *at, uint64_t value)
{
	packet_put16(at, (uint32_t)(value >> 32));
	packet_put32(at + 2, (uint32_t)value);
}

/* --- a header at a time, in the order of the bytes --- */

/* More bytes at the end; NULL: zeros. */
void packet_add(struct packet *packet, const void *bytes, uint32_t len);
void packet_add16(struct packet *packet, uint16_t number);
/*
 * Starts anew: between two addresses that never change, behind n_tags VLAN tags (the inner one 802.1Q, those
 * before it 802.1ad; VLANs 100, 101, ..).
 */
void packet_ethernet(struct packet *packet, unsigned int n_tags, uint16_t type);
/* Other addresses than those. */
void packet_set_macs(struct packet *packet, uint64_t dst, uint64_t src);
/* ARP, for an IPv4 address on Ethernet. */
void packet_arp(struct packet *packet, uint16_t op, uint64_t sender_mac, const uint8_t sender[4],
		uint64_t target_mac, const uint8_t target[4]);
/* With `options` bytes of options (of one byte each that does nothing), a multiple of 4, and this word of
 * fragment offset and flags. Addresses NULL: two that never change. */
void packet_ipv4(struct packet *packet, const uint8_t src[4], const uint8_t dst[4], uint32_t options,
		 uint16_t fragment);
void packet_ipv6(struct packet *packet, const uint8_t src[16], const uint8_t dst[16]);
/* An IPv6 extension header of 8 (1 + units) bytes, zeros behind the first two. Returns where it starts. */
uint32_t packet_extension(struct packet *packet, uint8_t type, unsigned int units);
/* Destination options with a home address. */
void packet_home_address(struct packet *packet, const uint8_t home[16]);
void packet_routing_type_2(struct packet *packet, const uint8_t routed[16]);
void packet_fragment_header(struct packet *packet, uint16_t offset_and_flags);
/* The transport header: TCP's without options, UDP's, or what is as long as that. */
void packet_transport(struct packet *packet, uint8_t proto, uint16_t sport, uint16_t dport);
void packet_tcp_options(struct packet *packet, uint8_t len);
/* What ping sends and gets, as transport header in IPv4. */
void packet_echo(struct packet *packet, uint8_t type, uint16_t id, uint16_t number);
/* Payload byte i is packet_payload_byte(i). */
void packet_add_payload(struct packet *packet, uint32_t len);

static inline uint8_t
packet_payload_byte(uint32_t i)
{
	return (uint8_t)(i * 31 + (i >> 8) * 7 + 5);
}

/*
 * What the checksum field of TCP, UDP and ICMP (which has no pseudo header) has:
 *   PACKET_SUM_NONE    0
 *   PACKET_SUM_PSEUDO  the sum over the pseudo header, as for an offload that finishes it
 *   PACKET_SUM_WHOLE   the checksum
 */
enum packet_sum { PACKET_SUM_NONE, PACKET_SUM_PSEUDO, PACKET_SUM_WHOLE };

/* Lengths in the headers, IPv4's checksum, and this in the transport header. */
void packet_finish(struct packet *packet, enum packet_sum sum);

/* --- all at once --- */

struct packet_spec {
	bool v6;
	uint8_t tags, proto;
	uint8_t ip_options;  /* bytes, a multiple of 4; IPv6: of extension headers, a multiple of 8 */
	uint8_t tcp_options; /* bytes, a multiple of 4 */
	uint8_t tcp_flags;
	uint32_t payload;
};

void packet_build(struct packet *packet, const struct packet_spec *spec, enum packet_sum sum);

/* --- the oracle --- */

/* As RFC 1071 describes it, in network byte order. */
uint32_t packet_sum_add(uint32_t sum, const uint8_t *at, uint32_t len);
uint32_t packet_pseudo_sum(const struct packet *packet);
/* Bytes from elsewhere, to be looked at. */
void packet_set(struct packet *packet, const void *bytes, uint32_t len);
/*
 * Finds the headers in bytes and len. False: not TCP or UDP in IP as a whole, or its lengths or IPv4's
 * checksum are wrong.
 */
bool packet_parse(struct packet *packet);
/* And the checksum of the transport header is right, and there is one: it can go on a wire. */
bool packet_is_whole(struct packet *packet);

/* Fragments of one packet, put together in the order of their offsets. All zero: none yet. */
struct packet_fragments {
	struct packet whole; /* what has come; with all of it, as it was before it was cut, but for DF */
	uint32_t n;
	uint32_t head_len; /* what each begins with, up to what it brings */
	uint32_t id;
	bool complete;
};

/*
 * The next one. False: it is no fragment (RFC 791, "Fragmentation and Reassembly"; RFC 8200, "Fragment
 * Header"), is not to be fragmented, or not the one that follows: another's, with other headers, or from
 * elsewhere.
 */
bool packet_fragments_add(struct packet_fragments *fragments, const struct packet *fragment);

#endif
