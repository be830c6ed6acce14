/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * header: the virtio-net header in front of every frame (VIRTIO, "Device Operation" of the network device).
 *
 * No offload is negotiated yet, so from the guest every field but the length of the header itself is without
 * meaning and is not read, and to the guest every field but num_buffers is 0.
 */
#ifndef VNICD_HEADER_H
#define VNICD_HEADER_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

enum {
	HEADER_LEN_LEGACY = 10, /* neither VERSION_1 nor MRG_RXBUF: no num_buffers */
	HEADER_LEN = 12,
};

/* Write a header of len bytes; modern ones carry num_buffers, 1 without MRG_RXBUF. Little endian, as all x86
 * guests. */
static inline void
header_write(uint8_t *to, uint16_t len, uint16_t num_buffers)
{
	const uint64_t first = 0;
	const uint32_t rest = (uint32_t)num_buffers << 16;

	memcpy(to, &first, 8);
	if (len == HEADER_LEN)
		memcpy(to + 8, &rest, 4);
	else
		memcpy(to + 8, &rest, 2);
}

/*
 * The same, but without a store where the right header stands already. When the header has a cache line of
 * its own (as with DPDK's drivers, whose frames start on a line), the guest only ever reads that line:
 * leaving it alone leaves it in both caches, while a store would take it from the guest and the guest's next
 * read would take it back. What is read here decides nothing else; a guest that changes it meanwhile spoils
 * its own header.
 */
static inline void
header_refresh(uint8_t *to, uint16_t len, uint16_t num_buffers)
{
	const uint32_t rest = (uint32_t)num_buffers << 16;
	uint64_t first_now;
	uint32_t rest_now = 0;

	memcpy(&first_now, to, 8);
	memcpy(&rest_now, to + 8, len == HEADER_LEN ? 4 : 2);
	if (first_now != 0 || rest_now != (len == HEADER_LEN ? rest : 0))
		header_write(to, len, num_buffers);
}

#endif
