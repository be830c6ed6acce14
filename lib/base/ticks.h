/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * ticks: a clock for short delays that costs a worker some twenty cycles to read and never enters the kernel.
 *
 * x86: the time stamp counter, whose frequency whoever starts the program knows or measures. Elsewhere:
 * nanoseconds of CLOCK_MONOTONIC. Differences only; of one thread, or of threads that hand a time over.
 */
#ifndef VNICD_TICKS_H
#define VNICD_TICKS_H

#include <stdint.h>
#include <time.h>

static inline uint64_t
ticks_now(void)
{
#ifdef __x86_64__
	return __builtin_ia32_rdtsc();
#else
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
#endif
}

/* Microseconds to ticks; tsc_hz is what the time stamp counter counts in a second (x86; else not looked at).
 * 0 only for 0. */
static inline uint64_t
ticks_from_us(uint32_t us, uint64_t tsc_hz)
{
#ifdef __x86_64__
	/* 32 bits times ticks in a millisecond fit. Rounded up. */
	return (us * (tsc_hz / 1000 + 1) + 999) / 1000;
#else
	return (uint64_t)us * 1000;
#endif
}

#endif
