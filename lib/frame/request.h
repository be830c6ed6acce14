/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * request: the offloads that a frame still needs, the DPDK way: RTE_MBUF_F_TX_TCP_CKSUM or
 * RTE_MBUF_F_TX_UDP_CKSUM in ol_flags, and RTE_MBUF_F_TX_TCP_SEG or RTE_MBUF_F_TX_UDP_SEG besides, with
 * RTE_MBUF_F_TX_IPV4 or RTE_MBUF_F_TX_IPV6; l2_len (VLAN tags included) and l3_len (options and extension
 * headers included) say where the TCP or UDP header is, and with segmentation l4_len and tso_segsz say how
 * long it is and how much payload a segment takes. A datagram that IP is to fragment has FRAME_UFO instead,
 * for which DPDK has no word; its tso_segsz is how much of the IP payload, UDP header included, a fragment
 * takes (multiples of 8 but for the last). The checksum field holds the sum of the pseudo header with the
 * length of the whole TCP or UDP packet, also with segmentation: that is VIRTIO's convention, not that of
 * PMDs. The IP header's checksum is right as it stands.
 *
 * Who sets a request has checked that the headers are there; nobody checks that again.
 *
 * Which offloads there are is in offloads.def. A set of them is a word of OFFLOAD_BIT()s: what a frame
 * requests, what its destination is capable of, what a driver has negotiated.
 */
#ifndef VNICD_REQUEST_H
#define VNICD_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <rte_mbuf.h>
#include <rte_tcp.h>

/* In ol_flags; registered with DPDK as this very bit by request_init(). */
enum { FRAME_UFO_BIT = 39 };
#define FRAME_UFO RTE_BIT64(FRAME_UFO_BIT)

/* Once, after EAL is up and before the first frame that may be fragmented. 0 or -errno. */
int request_init(void);

enum frame_offload {
#define OFFLOAD(symbol, ...) OFFLOAD_##symbol,
#include "offloads.def"
#undef OFFLOAD
	OFFLOAD_N,
};

#define OFFLOAD_BIT(symbol) (1u << OFFLOAD_##symbol)

enum {
	OFFLOADS_NONE = 0,
	OFFLOADS_ALL = (1u << OFFLOAD_N) - 1,
};

/* Their names, for people. */
static const char *const offload_names[OFFLOAD_N] __attribute__((unused)) = {
#define OFFLOAD(symbol, name, ...) [OFFLOAD_##symbol] = name,
#include "offloads.def"
#undef OFFLOAD
};

/* ol_flags of any request: one AND over a burst's flags finds the bursts without. */
#define OFFLOAD(symbol, name, host, guest, needs, gso, request, ip) | (request)
enum {
	FRAME_REQUESTS = 0ull
#include "offloads.def"
};
#undef OFFLOAD

/* Of these, segmentation; all others are for a checksum. */
enum { FRAME_REQUESTS_SEGMENTS = FRAME_REQUESTS & ~RTE_MBUF_F_TX_L4_MASK };

/* The checksum that goes with a request for segments. */
static inline uint64_t
frame_segments_checksum(uint64_t request)
{
	return request & RTE_MBUF_F_TX_TCP_SEG ? RTE_MBUF_F_TX_TCP_CKSUM : RTE_MBUF_F_TX_UDP_CKSUM;
}

/* All of ol_flags that belongs to a request. */
enum { FRAME_REQUEST_FLAGS = FRAME_REQUESTS | RTE_MBUF_F_TX_IPV4 | RTE_MBUF_F_TX_IPV6 };

/* Those of a set whose prerequisites are not in the set. */
static inline uint32_t
offloads_unmet(uint32_t set)
{
	uint32_t unmet = 0;

#define OFFLOAD(symbol, name, host, guest, needs, gso, request, ip)   \
	if (set & OFFLOAD_BIT(symbol) && (needs) && !(set & (needs))) \
		unmet |= OFFLOAD_BIT(symbol);
#include "offloads.def"
#undef OFFLOAD
	return unmet;
}

/* A set, less some, and less what needs one of those. */
static inline uint32_t
offloads_without(uint32_t set, uint32_t without)
{
	uint32_t unmet;

	set &= ~without;
	while ((unmet = offloads_unmet(set)))
		set &= ~unmet;
	return set;
}

/* ol_flags of frames that may request what is not in the set. */
static inline uint64_t
offloads_unsupported(uint32_t set)
{
	uint64_t flags = 0;

#define OFFLOAD(symbol, name, host, guest, needs, gso, request, ip) \
	flags |= set & OFFLOAD_BIT(symbol) ? 0 : (request);
#include "offloads.def"
#undef OFFLOAD
	return flags;
}

/* All its data is the caller's alone, who may write there. */
static inline bool
frame_is_own(const struct rte_mbuf *frame)
{
	for (; frame; frame = frame->next)
		if (!RTE_MBUF_DIRECT(frame) || rte_mbuf_refcnt_read(frame) != 1)
			return false;
	return true;
}

static inline bool
frame_has_cwr(const struct rte_mbuf *frame)
{
	uint32_t at = (uint32_t)frame->l2_len + frame->l3_len + offsetof(struct rte_tcp_hdr, tcp_flags);
	uint8_t copy;
	const uint8_t *flags = rte_pktmbuf_read(frame, at, 1, &copy);

	return flags && *flags & RTE_TCP_CWR_FLAG;
}

/* The set of those that a frame requests. */
static inline uint32_t
frame_offloads(const struct rte_mbuf *frame)
{
	const uint64_t flags = frame->ol_flags;
	uint32_t set = 0;

	/* Most frames that request anything are not to be cut. */
#define OFFLOAD(symbol, name, host, guest, needs, gso, request, ip)    \
	if (!((request)&FRAME_REQUESTS_SEGMENTS) && flags & (request)) \
		set |= OFFLOAD_BIT(symbol);
#include "offloads.def"
#undef OFFLOAD
	if (!(flags & FRAME_REQUESTS_SEGMENTS))
		return set;
#define OFFLOAD(symbol, name, host, guest, needs, gso, request, ip)                                  \
	if ((request)&FRAME_REQUESTS_SEGMENTS && flags & (request) && ((ip) == 0 || flags & (ip)) && \
	    (OFFLOAD_##symbol != OFFLOAD_ECN || frame_has_cwr(frame)))                               \
		set |= OFFLOAD_BIT(symbol);
#include "offloads.def"
#undef OFFLOAD
	return set;
}

#endif
