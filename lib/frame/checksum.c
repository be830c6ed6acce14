/* SPDX-License-Identifier: BSD-3-Clause */
#include "checksum.h"

#include <stddef.h>
#include <string.h>

#include <rte_byteorder.h>
#include <rte_udp.h>

uint64_t
checksum_bytes(const uint8_t *at, uint32_t len)
{
	uint64_t sum = 0;
	uint32_t i = 0, four;
	uint16_t two;

	for (; i + 4 <= len; i += 4) {
		memcpy(&four, at + i, 4);
		sum += four;
	}
	if (i + 2 <= len) {
		memcpy(&two, at + i, 2);
		sum += two;
		i += 2;
	}
	if (i < len)
		sum += rte_cpu_to_le_16(at[i]);
	return sum;
}

uint16_t
checksum_sum(const struct rte_mbuf *frame, uint32_t offset)
{
	const struct rte_mbuf *seg = frame;
	bool odd = false; /* bytes summed so far */
	uint64_t sum = 0;

	for (; seg && offset >= seg->data_len; seg = seg->next)
		offset -= seg->data_len;
	for (; seg; seg = seg->next) {
		uint32_t len = seg->data_len - offset;
		uint16_t its = checksum_fold(
			checksum_bytes(rte_pktmbuf_mtod_offset(seg, const uint8_t *, offset), len));

		/* A piece that starts at an odd byte has its words the other way round (RFC 1071, 2. (B)). */
		sum += odd ? rte_bswap16(its) : its;
		odd ^= len & 1;
		offset = 0;
	}
	return checksum_fold(sum);
}

/* Where byte `offset` of the frame is. */
static uint8_t *
frame_byte(struct rte_mbuf *frame, uint32_t offset)
{
	for (; offset >= frame->data_len; frame = frame->next)
		offset -= frame->data_len;
	return rte_pktmbuf_mtod_offset(frame, uint8_t *, offset);
}

void
checksum_store(struct rte_mbuf *frame, uint32_t start, uint32_t offset)
{
	uint16_t sum = (uint16_t)~checksum_sum(frame, start);
	uint8_t bytes[2];

	/* Nothing else has its checksum there, also inside of tunnels; a 0 would mean that there is none. */
	if (sum == 0 && offset == offsetof(struct rte_udp_hdr, dgram_cksum))
		sum = 0xffff;
	memcpy(bytes, &sum, 2);
	*frame_byte(frame, start + offset) = bytes[0];
	*frame_byte(frame, start + offset + 1) = bytes[1];
}
