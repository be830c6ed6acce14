/* SPDX-License-Identifier: BSD-3-Clause */
/* idle_pairs.c: see idle_pairs.h. */
#include "idle_pairs.h"

#include <stdio.h>
#include <stdlib.h>

#include "fail.h"

enum { IDLE_RING_SIZE = 64 };

static struct ring_config
idle_config(const struct ring_config *config)
{
	struct ring_config idle = *config;

	idle.size = IDLE_RING_SIZE;
	idle.frame_kind = FRAME_PLAIN;
	idle.n_segments = 0;
	idle.window = 0;
	idle.macs.n = 0;
	return idle;
}

size_t
idle_pairs_plan(struct idle_pairs *pairs, unsigned n, const struct ring_config *config, char port)
{
	struct ring_config idle = idle_config(config);

	pairs->n = n;
	pairs->rings = NULL;
	pairs->to_guest_size = pairs->from_guest_size = 0;
	if (!n)
		return 0;
	pairs->rings = calloc(2 * n, sizeof(*pairs->rings));
	if (!pairs->rings)
		fail("out of memory");
	for (unsigned i = 0; i < n; i++) {
		char name[32];

		snprintf(name, sizeof(name), "port %c rx %u", port, i + 1);
		pairs->to_guest_size = ring_plan(&pairs->rings[2 * i], &idle, RING_TO_GUEST, name);
		snprintf(name, sizeof(name), "port %c tx %u", port, i + 1);
		pairs->from_guest_size = ring_plan(&pairs->rings[2 * i + 1], &idle, RING_FROM_GUEST, name);
	}
	return n * (pairs->to_guest_size + pairs->from_guest_size);
}

void
idle_pairs_place(struct idle_pairs *pairs, const struct ring_config *config, uint8_t *mem, uint64_t gpa_delta)
{
	struct ring_config idle = idle_config(config);

	for (unsigned i = 0; i < pairs->n; i++) {
		ring_place(&pairs->rings[2 * i], &idle, mem, gpa_delta);
		mem += pairs->to_guest_size;
		ring_place(&pairs->rings[2 * i + 1], &idle, mem, gpa_delta);
		mem += pairs->from_guest_size;
	}
}

void
idle_pairs_start(struct idle_pairs *pairs)
{
	for (unsigned i = 0; i < pairs->n; i++) {
		ring_post_all(&pairs->rings[2 * i]);
		ring_kick(&pairs->rings[2 * i]);
	}
}

void
idle_pairs_check(struct idle_pairs *pairs)
{
	for (unsigned i = 0; i < pairs->n; i++) {
		struct ring *ring = &pairs->rings[2 * i];
		uint32_t lens[IDLE_RING_SIZE];
		uint16_t slots[IDLE_RING_SIZE];
		unsigned n = ring->ops->reap(ring, slots, lens, IDLE_RING_SIZE);

		if (n)
			fail("%s: back-end used %u buffers of a pair that was to be idle; the figure is not "
			     "pair 0's alone",
			     ring->name, n);
	}
}

void
idle_pairs_free(struct idle_pairs *pairs)
{
	for (unsigned i = 0; i < 2 * pairs->n; i++)
		ring_free(&pairs->rings[i]);
	free(pairs->rings);
}
