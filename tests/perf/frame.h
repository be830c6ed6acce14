/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * frame.h: what is in the frames that a guest sends. traffic.c writes a number into each, and, in those with
 * UDP, new ports, so that no slot ever holds the same flow twice in a row.
 */
#ifndef PERF_FRAME_H
#define PERF_FRAME_H

#include <stdint.h>
#include <string.h>

/*
 *   plain  Ethernet of an experimental type, always the same addresses
 *   udp    Ethernet, IPv4, UDP: addresses by slot, ports by frame
 *   vlan   the same behind an 802.1Q tag
 *   macs   plain, between many addresses: see struct frame_macs
 *   tcp    to be cut into segments: see tcp.h, which builds them
 */
enum frame_kind { FRAME_PLAIN, FRAME_UDP, FRAME_VLAN, FRAME_MANY_MACS, FRAME_TCP };

enum { FRAME_MACS = 64, FRAME_VLANS = 100, FRAME_MAC_LEN = 6, FRAME_PORT_MACS_MAX = 2048 };

/* Numbers without a pattern that a hash table could profit from; no two n have the same. */
static inline uint32_t
frame_scatter(uint32_t n)
{
	n = (n + 1) * 2654435761u;
	n = (n ^ n >> 15) * 2246822519u;
	return n ^ n >> 13;
}

/* The addresses and VLANs that udp and vlan frames go to. */
void frame_mac(unsigned i, uint8_t ret_mac[FRAME_MAC_LEN]);
uint16_t frame_vlan(unsigned i);

void frame_build(enum frame_kind kind, uint32_t slot, uint8_t *frame, uint32_t len);

/*
 * Whose turn it is among the addresses of two ports that own n each. All of the sender's come one after
 * another, each to another one of the receiver's than in the lap before.
 */
struct frame_macs {
	uint32_t n;        /* 0: frames keep the addresses that they have */
	uint8_t from_port; /* 0, 1: A, B */
	uint8_t to_port;
	uint32_t from_next; /* below n */
	uint32_t to_next;
};

/* The next two addresses, into the frame: 12 bytes. Calculated, for a table would be warm when nothing else
 * is. */
static inline void
frame_macs_put(struct frame_macs *macs, uint8_t *frame)
{
	/* Each address: locally administered, the port's letter, four bytes without pattern. */
	const uint64_t to_head = 0x0a02 + ((uint64_t)macs->to_port << 8);
	const uint64_t from_head = 0x0a02 + ((uint64_t)macs->from_port << 8);
	const uint64_t to = frame_scatter(macs->to_port * FRAME_PORT_MACS_MAX + macs->to_next);
	const uint32_t from = frame_scatter(macs->from_port * FRAME_PORT_MACS_MAX + macs->from_next);
	const uint64_t first = to_head | to << 16 | from_head << 48;

	memcpy(frame, &first, sizeof(first));
	memcpy(frame + sizeof(first), &from, sizeof(from));
	if (++macs->from_next == macs->n) {
		macs->from_next = 0;
		if (++macs->to_next == macs->n)
			macs->to_next = 0;
	}
	if (++macs->to_next == macs->n)
		macs->to_next = 0;
}

/* Where the number is: 8 bytes. */
uint32_t frame_word_off(enum frame_kind kind);
/* Where 4 bytes are that each frame has new: the two UDP ports, or the TCP sequence number; 0: there are
 * none. */
uint32_t frame_ports_off(enum frame_kind kind);

#endif
