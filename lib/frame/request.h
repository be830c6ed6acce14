/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * request: the offloads that a frame still needs, the DPDK way: RTE_MBUF_F_TX_TCP_CKSUM or
 * RTE_MBUF_F_TX_UDP_CKSUM in ol_flags, and RTE_MBUF_F_TX_TCP_SEG besides the former, with RTE_MBUF_F_TX_IPV4
 * or RTE_MBUF_F_TX_IPV6; l2_len (VLAN tags included) and l3_len (options and extension headers included) say
 * where the TCP or UDP header is, and with TCP_SEG l4_len and tso_segsz say how long it is and how much
 * payload a segment takes. The checksum field holds the sum of the pseudo header with the length of the whole
 * TCP or UDP packet, also with TCP_SEG: that is VIRTIO's convention, not that of DPDK's drivers. The IP
 * header's checksum is right as it stands.
 *
 * Who makes a request has checked that the headers are there; an mbuf with a request is believed.
 */
#ifndef VNICD_REQUEST_H
#define VNICD_REQUEST_H

#include <rte_mbuf.h>

/* ol_flags of a frame with any request: one AND over a burst's flags finds the bursts without. */
#define FRAME_REQUESTS (RTE_MBUF_F_TX_L4_MASK | RTE_MBUF_F_TX_TCP_SEG)
/* All of ol_flags that belongs to a request. */
#define FRAME_REQUEST_FLAGS (FRAME_REQUESTS | RTE_MBUF_F_TX_IPV4 | RTE_MBUF_F_TX_IPV6)

#endif
