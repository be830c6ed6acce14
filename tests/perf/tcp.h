/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tcp.h: frames of TCP that somebody behind the sender is to cut into segments (--tso), and what they must be
 * when they arrive: whole, with the header that says how to cut, or cut, with all checksums.
 *
 *   | Ethernet 14 | IPv4 20 | TCP 20, timestamps 12 | segment 1 | segment 2 | .. |
 *
 * The frame's number stands where the two timestamps are, which each segment inherits; a segment's sequence
 * number says which one it is. All segments have the same TCP_SEGMENT_LEN bytes of payload, so that a
 * receiver knows their sum without reading them.
 */
#ifndef PERF_TCP_H
#define PERF_TCP_H

#include <stdbool.h>
#include <stdint.h>

enum {
	TCP_HDRS_LEN = 66,
	TCP_SEGMENT_LEN = 1448, /* an MTU of 1500 */
	TCP_SEGMENTS_MAX = 45,  /* what an IPv4 packet can hold */
	TCP_FRAME_LEN_MAX = TCP_HDRS_LEN + TCP_SEGMENTS_MAX * TCP_SEGMENT_LEN,
	TCP_SEQ_OFF = 38,
	TCP_WORD_OFF = 56,
};

/* What receivers accept. */
enum tcp_tso { TSO_NONE, TSO_WHOLE, TSO_SEGMENTS };

struct tcp_arrival {
	enum tcp_tso tso;
	uint32_t n_segments; /* of a frame as sent */
	uint32_t frame_len;  /* of one that arrives */

	/* of the frame that is being received */
	uint32_t len;
	bool inspected; /* its payload is looked at, too */
};

/* The headers of a frame of n_segments, and the virtio-net header in front of it (its first 12 bytes). */
void tcp_headers_build(uint8_t *hdr, uint8_t *frame, uint32_t n_segments);
/* len bytes of payload that are off bytes behind the headers. */
void tcp_payload_build(uint8_t *at, uint32_t off, uint32_t len);

/* The sequence number's bytes in the frame whose number that is. */
uint32_t tcp_seq(uint64_t number, uint32_t n_segments);

void tcp_arrival_init(struct tcp_arrival *arrival, enum tcp_tso tso, uint32_t n_segments);

/*
 * A frame begins, len bytes of which lie at frame. False when its headers are not what they must be. Makes of
 * the number in *word the number of what arrives: the same of whole frames; of segments, all of them in turn.
 */
bool tcp_arrival_begin(struct tcp_arrival *arrival, const uint8_t *hdr, const uint8_t *frame, uint32_t len,
		       uint64_t *word);
/* It goes on in another buffer. False: the payload is wrong. */
bool tcp_arrival_continue(struct tcp_arrival *arrival, const uint8_t *at, uint32_t len);
/* That was all of it. False: the length is wrong. */
bool tcp_arrival_end(const struct tcp_arrival *arrival);

#endif
