/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * gro: receive coalescing: TCP segments of one flow that come one behind another in a burst become one frame,
 * which requests to be segmented again (request.h). Whoever takes such frames gets one instead of many; for
 * others they are cut again, into the same segments.
 *
 * Only what segmentation would make of the frame is joined: headers that differ in length, identification,
 * sequence number and checksum alone; payloads of one size but for the last; no flag but ACK, and PSH on the
 * last. So no frame waits for another burst, and none is joined across a PSH. IPv4 without options and
 * fragments, IPv6 without extension headers, up to two tags before either.
 */
#ifndef VNICD_GRO_H
#define VNICD_GRO_H

#include <stdint.h>

#include <rte_mbuf.h>

enum {
	GRO_FLOWS = 8,                /* of a burst that are looked after; others pass as they are */
	GRO_FRAME_MAX = 65535,        /* bytes of the IP packet */
	GRO_SEGMENTS_MAX = UINT8_MAX, /* of one frame */
};

/*
 * Of n (1 .. PORT_BURST) frames that nobody shares, those that are left, to the front and in their order; a
 * frame is where its first segment was. What a device has not verified (RTE_MBUF_F_RX_L4_CKSUM_GOOD or _NONE)
 * is verified here; a frame whose checksum is wrong is left as it is. Returns how many are left.
 */
uint16_t gro_burst(struct rte_mbuf **pkts, uint16_t n);

#endif
