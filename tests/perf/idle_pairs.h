/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * idle_pairs.h: queue pairs behind the one that carries the traffic: enabled, with buffers to receive in, and
 * without a frame. What they cost a back-end is what it spends on looking at them.
 */
#ifndef PERF_IDLE_PAIRS_H
#define PERF_IDLE_PAIRS_H

#include <stddef.h>
#include <stdint.h>

#include "ring.h"

enum { IDLE_PAIRS_MAX = 127 };

struct idle_pairs {
	unsigned n;
	struct ring *rings; /* [2 * n], virtqueues from 2 on: to the guest, from the guest, pair by pair */
	size_t to_guest_size, from_guest_size; /* guest memory of one ring */
};

/* Rings as `config` says, but small. Returns the bytes of guest memory that idle_pairs_place() will want. */
size_t idle_pairs_plan(struct idle_pairs *pairs, unsigned n, const struct ring_config *config, char port);
void idle_pairs_place(struct idle_pairs *pairs, const struct ring_config *config, uint8_t *mem,
		      uint64_t gpa_delta);

/* The back-end knows the rings: posts all receive buffers, and kicks each ring that wants it, once. */
void idle_pairs_start(struct idle_pairs *pairs);

/* Exits with a message when a frame has come to one of them: then the figure is not the first pair's alone.
 */
void idle_pairs_check(struct idle_pairs *pairs);

void idle_pairs_free(struct idle_pairs *pairs);

#endif
