/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * checksum: the Internet checksum (RFC 1071) of frames.
 *
 * One's complement sums do not care for byte order (RFC 1071, 2. (B)): words are added as they lie in memory.
 */
#ifndef VNICD_CHECKSUM_H
#define VNICD_CHECKSUM_H

#include <stdint.h>

#include <rte_mbuf.h>

/* A sum of up to 2^48 words, to 16 bits. */
static inline uint16_t
checksum_fold(uint64_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

/* Not folded; as if a zero byte followed an odd one. */
uint64_t checksum_bytes(const uint8_t *at, uint32_t len);

/*
 * The one's complement sum (RFC 1071) of the 16-bit words from byte `offset` to the end of the frame, as it
 * lies in memory, not inverted. `offset` is at most the length of the frame.
 */
uint16_t checksum_sum(const struct rte_mbuf *frame, uint32_t offset);
/*
 * Sum from `start` to the end and store the inverse in the two bytes at start + offset, which are within the
 * frame and hold what the sum begins with. A UDP checksum of 0 is stored as 0xffff (RFC 768). The frame's
 * data is the caller's alone.
 */
void checksum_store(struct rte_mbuf *frame, uint32_t start, uint32_t offset);

#endif
