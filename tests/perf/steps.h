/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * steps: how many instructions a piece of code takes, one by one: the CPU's trap flag is set before it, and
 * each trap is one. The same number on any machine that runs the same code, whatever else it does meanwhile.
 *
 * Counted is what the program and DPDK's libraries execute. The C library picks its functions by the CPU and
 * by its own version, so of those only the calls are counted. A string instruction (rep movsb) is one.
 */
#ifndef PERF_STEPS_H
#define PERF_STEPS_H

#include <stdint.h>

struct steps {
	uint64_t instructions;
	uint64_t libc_calls;
};

/* Once. 0 or -errno. */
int steps_init(void);

/*
 * Of this thread, between the two. What is called for the first time brings the dynamic loader along: have
 * everything called once before.
 */
void steps_start(void);
struct steps steps_stop(void);

#endif
