/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * rng: the random numbers of tests. One seed for a program: VNICD_TEST_SEED, a number or the word random; 1
 * without it, so that a run can be repeated. Whoever fails prints it (rng_report()). No DPDK in here.
 */
#ifndef VNICD_TEST_RNG_H
#define VNICD_TEST_RNG_H

#include <stdint.h>

struct rng {
	uint64_t state;
};

/* The program's seed. */
uint64_t rng_seed(void);
/* "VNICD_TEST_SEED=..." to stderr. May be called in a signal handler. */
void rng_report(void);
/* A stream of numbers of its own: the same for the same seed and salt, and nobody else draws from it. */
struct rng rng_stream(uint64_t salt);

static inline uint64_t
rng_next(struct rng *rng)
{
	uint64_t z = rng->state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

/* In [0, below); `below` is not 0. */
static inline uint32_t
rng_draw(struct rng *rng, uint32_t below)
{
	return (uint32_t)((rng_next(rng) >> 32) * below >> 32);
}

/* From the stream of the test case that runs (unit.h starts it anew for each). One thread. */
extern struct rng rng_case;

static inline uint32_t
rng_below(uint32_t below)
{
	return rng_draw(&rng_case, below);
}

static inline uint8_t
rng_byte(void)
{
	return (uint8_t)rng_below(256);
}

#endif
