/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * copy: frames between guest memory and packet buffers.
 *
 * Short copies are inlined as 16-byte moves, whose last one overlaps the one before; nothing outside the two
 * ranges is touched. Long ones go to the C library, which chooses for the CPU at start.
 */
#ifndef VNICD_COPY_H
#define VNICD_COPY_H

#include <stdint.h>
#include <string.h>

enum { COPY_INLINE_MAX = 256 };

static inline void
copy_16(uint8_t *to, const uint8_t *from)
{
	memcpy(to, from, 16);
}

static inline void
copy_frame(uint8_t *to, const uint8_t *from, uint32_t len)
{
	uint32_t i = 0;

	if (len < 16 || len > COPY_INLINE_MAX) {
		memcpy(to, from, len);
		return;
	}
	for (; i + 64 <= len; i += 64) {
		copy_16(to + i, from + i);
		copy_16(to + i + 16, from + i + 16);
		copy_16(to + i + 32, from + i + 32);
		copy_16(to + i + 48, from + i + 48);
	}
	for (; i + 16 <= len; i += 16)
		copy_16(to + i, from + i);
	if (i < len)
		copy_16(to + len - 16, from + len - 16);
}

#endif
