/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * segment: segmentation of TCP and UDP in software: a frame with a request for it (request.h) becomes frames,
 * the parts of a TCP segment, datagrams of their own, or IP fragments of the one datagram.
 *
 *   TCP         Ethernet | IP | TCP | payload   ->   each Ethernet | IP' | TCP' | a part
 *   DATAGRAMS   Ethernet | IP | UDP | payload   ->   each Ethernet | IP' | UDP' | a part
 *   FRAGMENTS   Ethernet | IP | UDP | payload   ->   each Ethernet | IP' | a part of UDP and payload
 *
 * In a fragment IP' says where its part belongs. IPv6 has a header for that, which stands behind what routers
 * read (layout_unfragmentable()); extension headers behind it are part of what is cut, and all in the first
 * fragment.
 *
 * The frame stays the caller's, who frees it when all segments are made.
 */
#ifndef VNICD_SEGMENT_H
#define VNICD_SEGMENT_H

#include <stdbool.h>
#include <stdint.h>

#include <rte_mbuf.h>

#include "borrow.h"
#include "request.h"

enum {
	/*
	 * The least payload of a segment: what the smallest MTU of IPv4 (68 bytes, RFC 791) leaves. Linux
	 * does not go below 36. A request for less is refused where it is made: one frame of 64 KiB would
	 * become tens of thousands of frames.
	 */
	SEGMENT_PAYLOAD_MIN = 28,
	/* Datagrams that one frame may become: Linux's UDP_MAX_SEGMENTS. They may be as short as they like.
	 */
	SEGMENT_DATAGRAMS_MAX = 128,
	/* Fragments have multiples of that, but for the last. */
	SEGMENT_FRAGMENT_UNIT = 8,
	/* l2_len, l3_len and l4_len have 7, 9 and 8 bits in an mbuf. */
	SEGMENT_HEADERS_MAX = 127 + 511 + 255,
};

enum segment_kind { SEGMENT_TCP, SEGMENT_DATAGRAMS, SEGMENT_FRAGMENTS };

/* What a request (of FRAME_REQUESTS_SEGMENTS) makes of a frame. */
static inline enum segment_kind
segment_kind(uint64_t request)
{
	if (request & RTE_MBUF_F_TX_TCP_SEG)
		return SEGMENT_TCP;
	return request & FRAME_UFO ? SEGMENT_FRAGMENTS : SEGMENT_DATAGRAMS;
}

/* Each segment's checksum is computed, or left to the destination as a request. Fragments have none: the
 * datagram's is computed first. */
enum segment_checksum { SEGMENT_CHECKSUM_DONE, SEGMENT_CHECKSUM_LEFT };

/* A frame on its way to become segments. */
struct segmenter {
	const struct rte_mbuf *frame;
	bool leave_checksum; /* to the destination */
	enum segment_kind kind;
	uint32_t headers_len, l4_at;
	uint32_t payload_len; /* of what is cut: of fragments UDP's header is a part */
	uint16_t sum; /* of the pseudo header without length, as it lies in memory; FRAGMENTS: the checksum */
	uint16_t ip_id; /* IPv4: of the first segment, or of all fragments */
	/* Where the payload goes on: at at_offset of this, */
	const uint8_t *span;
	uint32_t span_len, at_offset;
	const struct rte_mbuf *at; /* which is of this segment, or the piece in front of these, */
	const struct borrow_piece *piece;
	struct borrow_piece one;
	uint16_t n_pieces;                    /* so many */
	uint32_t done;                        /* bytes of payload */
	uint16_t n;                           /* segments made */
	uint8_t headers[SEGMENT_HEADERS_MAX]; /* with room for the one that a fragment has */
};

/* What a frame whose payload (1 or more bytes) is so long may be cut into by pieces of `size`. */
static inline bool
segment_size_is_fair(enum segment_kind kind, uint32_t payload_len, uint32_t size)
{
	if (kind == SEGMENT_DATAGRAMS)
		return size && payload_len <= (uint64_t)size * SEGMENT_DATAGRAMS_MAX;
	return size >= SEGMENT_PAYLOAD_MIN;
}

/*
 * False: the request can't be met: the headers are not there, or the segments would be too many or too long
 * for the buffers of `pool`.
 */
bool segment_is_possible(const struct rte_mbuf *frame, const struct rte_mempool *pool);
/* segment_is_possible() has said so. The frame may be borrowed (borrow.h), but not one for SEGMENT_FRAGMENTS,
 * whose payload is read twice. */
void segment_start(struct segmenter *segmenter, const struct rte_mbuf *frame, enum segment_checksum checksum);
/* While segmenter->done is less than payload_len: the next segment; NULL: no packet buffer. */
struct rte_mbuf *segment_next(struct segmenter *segmenter, struct rte_mempool *pool);

#endif
