/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * segment: segmentation of TCP and UDP in software: a frame with a request for it (request.h) becomes frames,
 * the parts of a TCP segment or datagrams of their own.
 *
 * The frame stays the caller's, who frees it when all segments are made.
 */
#ifndef VNICD_SEGMENT_H
#define VNICD_SEGMENT_H

#include <stdbool.h>
#include <stdint.h>

#include <rte_mbuf.h>

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
	/* l2_len, l3_len and l4_len have 7, 9 and 8 bits in an mbuf. */
	SEGMENT_HEADERS_MAX = 127 + 511 + 255,
};

/* Each segment's checksum is computed, or left to the destination as a request. */
enum segment_checksum { SEGMENT_CHECKSUM_DONE, SEGMENT_CHECKSUM_LEFT };

/* A frame on its way to become segments. */
struct segmenter {
	const struct rte_mbuf *frame;
	bool leave_checksum; /* to the destination */
	bool is_udp;
	uint32_t headers_len, l4_at, payload_len;
	uint16_t pseudo_sum;       /* without length, as it lies in memory */
	const struct rte_mbuf *at; /* where the payload goes on */
	uint32_t at_offset;
	uint32_t done; /* bytes of payload */
	uint16_t n;    /* segments made */
	uint8_t headers[SEGMENT_HEADERS_MAX];
};

/* A frame whose payload (1 or more bytes) is so long may be cut into pieces of `size`, of TCP or UDP. */
static inline bool
segment_size_is_fair(bool is_udp, uint32_t payload_len, uint32_t size)
{
	if (is_udp)
		return size && payload_len <= (uint64_t)size * SEGMENT_DATAGRAMS_MAX;
	return size >= SEGMENT_PAYLOAD_MIN;
}

/*
 * False: the request can't be met: the headers are not there, or the segments would be too many or too long
 * for the buffers of `pool`.
 */
bool segment_is_possible(const struct rte_mbuf *frame, const struct rte_mempool *pool);
/* segment_is_possible() has said so. */
void segment_start(struct segmenter *segmenter, const struct rte_mbuf *frame, enum segment_checksum checksum);
/* While segmenter->done is less than payload_len: the next segment; NULL: no packet buffer. */
struct rte_mbuf *segment_next(struct segmenter *segmenter, struct rte_mempool *pool);

#endif
