/* SPDX-License-Identifier: BSD-3-Clause */
/* frame.c: see frame.h. */
#include "frame.h"

#include <stdbool.h>
#include <string.h>

#include "tcp.h"

enum {
	ETH_LEN = 14,
	TAG_LEN = 4,
	IP_LEN = 20,
	UDP_LEN = 8,
	PLAIN_WORD_OFF = 16,
	UDP_WORD_OFF = 52, /* behind all headers, with a tag or without, and in the first 60 bytes */
};

static void
put16(uint8_t *at, uint32_t value)
{
	at[0] = (uint8_t)(value >> 8);
	at[1] = (uint8_t)value;
}

static void
put32(uint8_t *at, uint32_t value)
{
	put16(at, value >> 16);
	put16(at + 2, value & 0xffff);
}

/* Locally administered, all bytes but two without pattern; byte 1 keeps them apart. */
void
frame_mac(unsigned i, uint8_t ret_mac[FRAME_MAC_LEN])
{
	ret_mac[0] = 0x02;
	ret_mac[1] = (uint8_t)i;
	put32(ret_mac + 2, frame_scatter(i));
}

/* All over the map of 4096: one in about 41. */
uint16_t
frame_vlan(unsigned i)
{
	return (uint16_t)(1 + i * 4093 / FRAME_VLANS);
}

static bool
frame_has_ip(enum frame_kind kind)
{
	return kind == FRAME_UDP || kind == FRAME_VLAN;
}

uint32_t
frame_word_off(enum frame_kind kind)
{
	if (kind == FRAME_TCP)
		return TCP_WORD_OFF;
	return frame_has_ip(kind) ? UDP_WORD_OFF : PLAIN_WORD_OFF;
}

uint32_t
frame_ports_off(enum frame_kind kind)
{
	if (kind == FRAME_TCP)
		return TCP_SEQ_OFF;
	if (!frame_has_ip(kind))
		return 0;
	return ETH_LEN + (kind == FRAME_VLAN ? TAG_LEN : 0) + IP_LEN;
}

static void
ip_checksum_put(uint8_t *ip)
{
	uint32_t sum = 0;

	for (unsigned i = 0; i < IP_LEN; i += 2)
		sum += (uint32_t)ip[i] << 8 | ip[i + 1];
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	put16(ip + 10, ~sum & 0xffff);
}

void
frame_build(enum frame_kind kind, uint32_t slot, uint8_t *frame, uint32_t len)
{
	static const uint8_t plain[ETH_LEN] = {0x02, 0, 0, 0, 0, 0x0b, 0x02, 0, 0, 0, 0, 0x0a, 0x88, 0xb5};
	uint8_t *ip = frame + ETH_LEN, *udp;

	memcpy(frame, plain, ETH_LEN);
	for (uint32_t i = ETH_LEN; i < len; i++)
		frame[i] = (uint8_t)i;
	if (!frame_has_ip(kind))
		return;
	/* Steps without a common divisor: all of them have their turn. */
	frame_mac(slot * 29 % FRAME_MACS, frame);
	if (kind == FRAME_VLAN) {
		put16(frame + 12, 0x8100);
		put16(frame + 14, frame_vlan(slot * 37 % FRAME_VLANS));
		ip += TAG_LEN;
	}
	put16(ip - 2, 0x0800);
	memset(ip, 0, IP_LEN + UDP_LEN);
	ip[0] = 0x45;
	put16(ip + 2, len - (uint32_t)(ip - frame));
	ip[8] = 64; /* time to live */
	ip[9] = 17; /* UDP */
	put32(ip + 12, 10u << 24 | frame_scatter(slot) >> 8);
	put32(ip + 16, 10u << 24 | frame_scatter(slot + 65536) >> 8);
	ip_checksum_put(ip);
	/* Checksum 0: none, so that new ports need no new one. */
	udp = ip + IP_LEN;
	put16(udp + 4, len - (uint32_t)(udp - frame));
}
