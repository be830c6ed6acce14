/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * frame.h: what is in the frames that a guest sends. traffic.c writes a number into each, and, in those with
 * UDP, new ports, so that no slot ever holds the same flow twice in a row.
 */
#ifndef PERF_FRAME_H
#define PERF_FRAME_H

#include <stdint.h>

/*
 *   plain  Ethernet of an experimental type, always the same addresses
 *   udp    Ethernet, IPv4, UDP: addresses by slot, ports by frame
 *   vlan   the same behind an 802.1Q tag
 */
enum frame_kind { FRAME_PLAIN, FRAME_UDP, FRAME_VLAN };

enum { FRAME_MACS = 64, FRAME_VLANS = 100, FRAME_MAC_LEN = 6 };

/* The addresses and VLANs that udp and vlan frames go to. */
void frame_mac(unsigned i, uint8_t ret_mac[FRAME_MAC_LEN]);
uint16_t frame_vlan(unsigned i);

void frame_build(enum frame_kind kind, uint32_t slot, uint8_t *frame, uint32_t len);

/* Where the number is: 8 bytes. */
uint32_t frame_word_off(enum frame_kind kind);
/* Where the two UDP ports are: 4 bytes; 0: there are none. */
uint32_t frame_ports_off(enum frame_kind kind);

#endif
