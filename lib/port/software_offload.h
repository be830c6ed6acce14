/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * complete: doing in software what a frame still asks for and its destination does not do.
 *
 * A frame asks the DPDK way: RTE_MBUF_F_TX_TCP_CKSUM or RTE_MBUF_F_TX_UDP_CKSUM in ol_flags, and
 * RTE_MBUF_F_TX_TCP_SEG besides the former, with RTE_MBUF_F_TX_IPV4 or RTE_MBUF_F_TX_IPV6; l2_len (VLAN tags
 * included) and l3_len (options and extension headers included) say where the TCP or UDP header is, and with
 * TCP_SEG l4_len and tso_segsz say how long it is and how much payload a segment takes. The checksum field
 * holds the sum of the pseudo header with the length of the whole TCP or UDP packet, also with TCP_SEG: that
 * is VIRTIO's convention, not that of DPDK's drivers. The IP header's checksum is right as it stands.
 *
 * Who makes a request has checked that the headers are there; an mbuf with a request is believed.
 */
#ifndef VNICD_SOFTWARE_OFFLOAD_H
#define VNICD_SOFTWARE_OFFLOAD_H

#include <stdbool.h>
#include <stdint.h>

#include <rte_mbuf.h>

#include "port.h"

/* ol_flags of a frame that asks for anything: one AND over a burst's flags finds the bursts without. */
#define PORT_REQUESTS (RTE_MBUF_F_TX_L4_MASK | RTE_MBUF_F_TX_TCP_SEG)
/* All of ol_flags that belongs to a request. */
#define PORT_REQUEST_FLAGS (PORT_REQUESTS | RTE_MBUF_F_TX_IPV4 | RTE_MBUF_F_TX_IPV6)

/* What a destination does itself; the others need PORT_CAP_CHECKSUM too. */
enum port_capabilities {
	PORT_CAP_NONE = 0,
	PORT_CAP_CHECKSUM = 1 << 0,
	PORT_CAP_TSO4 = 1 << 1,
	PORT_CAP_TSO6 = 1 << 2,
	PORT_CAP_ECN = 1 << 3, /* segmentation of frames with CWR, which only the first segment may have */
};

enum {
	/*
	 * The least payload of a segment: what the smallest MTU of IPv4 (68 bytes, RFC 791) leaves. Linux
	 * does not go below 36. A request for less is refused where it is made: one frame of 64 KiB would
	 * become tens of thousands of frames.
	 */
	PORT_SEGMENT_MIN = 28,
};

/*
 * The one's complement sum (RFC 1071) of the 16-bit words from byte `offset` to the end of the frame, as it
 * lies in memory, not inverted. `offset` is at most the length of the frame.
 */
uint16_t port_sum(const struct rte_mbuf *frame, uint32_t offset);
/*
 * Sum from `start` to the end and store the inverse in the two bytes at start + offset, which are within the
 * frame and hold what the sum begins with. A UDP checksum of 0 is stored as 0xffff (RFC 768). The frame's
 * data is the caller's alone.
 */
void port_sum_store(struct rte_mbuf *frame, uint32_t start, uint32_t offset);

/* Send n (at most PORT_BURST) frames that ask for nothing that the destination does not do; takes ownership;
 * returns how many were sent and counts the others. */
typedef uint16_t (*software_offload_send_fn)(struct port_queue *queue, const void *ctx,
					     struct rte_mbuf **pkts, uint16_t n);

/*
 * Owner of the queue; takes ownership of n frames. Those that ask for something beyond `takes` (enum
 * port_capabilities) get it in software: checksums in place, or in a copy when the data is shared;
 * segmentation into frames from `pool`. All go to `send`, in order, in bursts of at most PORT_BURST. What
 * can't be done for want of packet buffers is counted under DROP_NO_MBUF, a frame that can't be cut as it
 * asks under DROP_BAD_OFFLOAD. A frame that became several counts as copies of itself on `queue`. Returns the
 * number sent.
 */
uint16_t port_software_offload(struct port_queue *queue, struct rte_mempool *pool, unsigned int takes,
			       struct rte_mbuf **pkts, uint16_t n, software_offload_send_fn send,
			       const void *ctx);

#endif
