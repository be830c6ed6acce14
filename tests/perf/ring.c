/* SPDX-License-Identifier: BSD-3-Clause */
/* ring.c: what both layouts share: buffers cut to shape, and the kick. */
#include "ring.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fail.h"

enum {
	LINE = 64,
	RING_PART_ALIGN = 4096,
	DPDK_DATA_LEN = 2048,       /* an mbuf's usual room */
	LINUX_MERGEABLE_LEN = 1536, /* header included: an Ethernet frame and header, in whole lines */
	LINUX_SMALL_LEN = 1518,     /* header in a buffer of its own */
	LINUX_FROM_GUEST_OFF = 50,  /* where a sent frame starts; the header is right before it */
};

static size_t
round_up(size_t n, size_t to)
{
	return (n + to - 1) / to * to;
}

static void
ring_shape(struct ring *ring, const struct ring_config *config)
{
	bool to_guest = ring->direction == RING_TO_GUEST;
	uint32_t frame_max = config->frame_len_max;

	ring->desc_per_slot = 1;
	if (config->shape == RING_SHAPE_DPDK) {
		ring->frame_off = LINE;
		ring->data_len = DPDK_DATA_LEN;
	} else if (!to_guest) {
		ring->frame_off = LINUX_FROM_GUEST_OFF;
		ring->data_len = DPDK_DATA_LEN;
	} else if (config->mergeable) {
		ring->frame_off = ring->hdr_len;
		ring->data_len = LINUX_MERGEABLE_LEN - ring->hdr_len;
	} else {
		ring->desc_per_slot = 2;
		ring->frame_off = LINE;
		ring->data_len = LINUX_SMALL_LEN;
	}
	ring->hdr_off = ring->desc_per_slot == 2 ? 0 : ring->frame_off - ring->hdr_len;
	ring->data_off = ring->frame_off;
	/* Without mergeable buffers a frame must fit in one; what is sent is always one. */
	if (ring->data_len < frame_max && (!to_guest || !config->mergeable))
		ring->data_len = frame_max;
	/* An odd number of lines from slot to slot: first lines spread over all sets of the caches. */
	ring->slot_stride = round_up(ring->frame_off + ring->data_len, LINE);
	if (ring->slot_stride / LINE % 2 == 0)
		ring->slot_stride += LINE;
}

static const struct ring_ops *
ring_ops_choose(const struct ring *ring, bool packed)
{
	/* All that the functions are compiled for (AVX512 in ring_split.c and ring_packed.c). */
	bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
		      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
		      __builtin_cpu_supports("bmi");

	if (!avx512 || ring->desc_per_slot != 1 || ring->in_order)
		return packed ? &ring_packed_ops : &ring_split_ops;
	return packed ? &ring_packed_avx512_ops : &ring_split_avx512_ops;
}

size_t
ring_plan(struct ring *ring, const struct ring_config *config, enum ring_direction direction,
	  const char *name)
{
	size_t parts[3];

	memset(ring, 0, sizeof(*ring));
	ring->direction = direction;
	ring->size = config->size;
	ring->in_order = config->in_order;
	ring->hdr_len = config->hdr_len;
	ring->word_off = frame_word_off(config->frame_kind);
	ring->ports_off = frame_ports_off(config->frame_kind);
	ring->kick_fd = ring->call_fd = -1;
	snprintf(ring->name, sizeof(ring->name), "%s", name);
	ring_shape(ring, config);
	ring->ops = ring_ops_choose(ring, config->packed);
	ring->n_slots = ring->size / ring->desc_per_slot;
	/*
	 * One slot less than there are buffers to receive in: else each buffer would see the same frame lap
	 * after lap. In-order devices count on all descriptors being used in turn.
	 */
	if (direction == RING_FROM_GUEST && config->frame_kind != FRAME_PLAIN && !config->in_order)
		ring->n_slots--;
	ring->ops->layout(ring, parts);
	return round_up(parts[0], RING_PART_ALIGN) + round_up(parts[1], RING_PART_ALIGN) +
	       round_up(parts[2], RING_PART_ALIGN) +
	       round_up(ring->n_slots * ring->slot_stride, RING_PART_ALIGN);
}

void
ring_place(struct ring *ring, const struct ring_config *config, uint8_t *mem, uint64_t gpa_delta)
{
	struct frame_macs macs = config->macs;
	uint32_t n_fifo = 1;
	size_t parts[3];

	ring->ops->layout(ring, parts);
	ring->gpa_delta = gpa_delta;
	ring->desc_area = mem;
	mem += round_up(parts[0], RING_PART_ALIGN);
	ring->driver_area = mem;
	mem += round_up(parts[1], RING_PART_ALIGN);
	ring->device_area = mem;
	mem += round_up(parts[2], RING_PART_ALIGN);
	ring->slots = mem;

	while (n_fifo < ring->n_slots)
		n_fifo *= 2;
	ring->free_slots = calloc(n_fifo, sizeof(*ring->free_slots));
	ring->slot_len = calloc(ring->n_slots, sizeof(*ring->slot_len));
	if (!ring->free_slots || !ring->slot_len)
		fail("out of memory");
	ring->free_mask = n_fifo - 1;

	for (uint32_t slot = 0; slot < ring->n_slots; slot++) {
		uint32_t frame_len = config->frame_pattern[slot % config->n_pattern];

		if (ring->direction == RING_FROM_GUEST) {
			frame_build(config->frame_kind, slot, ring_frame(ring, (uint16_t)slot), frame_len);
			if (macs.n)
				frame_macs_put(&macs, ring_frame(ring, (uint16_t)slot));
			ring->slot_len[slot] = ring->hdr_len + frame_len;
		} else if (ring->desc_per_slot == 2) {
			ring->slot_len[slot] = ring->hdr_len;
		} else {
			ring->slot_len[slot] = ring->hdr_len + ring->data_len;
		}
		ring->free_slots[ring->free_tail++] = (uint16_t)slot;
	}
	if (ring->direction == RING_FROM_GUEST && ring->n_slots < config->macs.n)
		ring->macs = config->macs;
	ring->ops->init(ring);
}

void
ring_free(struct ring *ring)
{
	free(ring->free_slots);
	free(ring->slot_len);
	if (ring->kick_fd >= 0)
		close(ring->kick_fd);
	if (ring->call_fd >= 0)
		close(ring->call_fd);
}

void
ring_post_all(struct ring *ring)
{
	while (ring_n_free(ring)) {
		uint16_t slot = ring->free_slots[ring->free_head++ & ring->free_mask];

		ring->ops->post(ring, &slot, 1);
	}
}

void
ring_kick(struct ring *ring)
{
	uint64_t one = 1;

	if (!ring->posted)
		return;
	ring->posted = false;
	/* Partner: the device's fence between asking for kicks and looking at the ring once more. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (!ring->ops->wants_kick(ring))
		return;
	ring->n_kicks++;
	if (write(ring->kick_fd, &one, sizeof(one)) < 0)
		fail("%s: kick: %m", ring->name);
}
