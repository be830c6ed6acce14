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
	LINUX_BIG_LEN = 4096,       /* of a mergeable buffer, when long frames have been coming for a while */
	LINUX_PIECE_LEN = 4096,     /* of a long frame to be sent */
	PIECE_STRIDE = LINUX_PIECE_LEN + LINE, /* pages of their own, that fall into all sets of the caches */
	DESC_LEN = 16,
	DESC_F_WRITE = 2,
	DESC_F_INDIRECT = 4,
};

static size_t
round_up(size_t n, size_t to)
{
	return (n + to - 1) / to * to;
}

static uint32_t
payload_len(const struct ring *ring)
{
	return ring->n_segments * TCP_SEGMENT_LEN;
}

static uint32_t
n_pieces(const struct ring *ring)
{
	return 1 + (payload_len(ring) + LINUX_PIECE_LEN - 1) / LINUX_PIECE_LEN;
}

/* TCP: an indirect table, the headers, the payload in pieces. */
static void
ring_shape_pieces(struct ring *ring)
{
	ring->desc_off = 0;
	ring->desc_flags = DESC_F_INDIRECT;
	ring->frame_off += (uint32_t)round_up(n_pieces(ring) * DESC_LEN, LINE);
	ring->data_off = (uint32_t)round_up(ring->frame_off + TCP_HDRS_LEN, LINE);
	ring->data_len = ring->data_off - ring->frame_off + (n_pieces(ring) - 1) * PIECE_STRIDE;
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
		ring->data_len =
			(config->tso == TSO_WHOLE ? LINUX_BIG_LEN : LINUX_MERGEABLE_LEN) - ring->hdr_len;
	} else {
		ring->desc_per_slot = 2;
		ring->frame_off = LINE;
		ring->data_len = LINUX_SMALL_LEN;
	}
	ring->desc_flags = to_guest ? DESC_F_WRITE : 0;
	ring->data_off = ring->frame_off;
	if (!to_guest && ring->n_segments)
		ring_shape_pieces(ring);
	ring->hdr_off = ring->desc_per_slot == 2 ? 0 : ring->frame_off - ring->hdr_len;
	if (ring->desc_flags != DESC_F_INDIRECT)
		ring->desc_off = ring->hdr_off;
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
	ring->n_segments = config->n_segments;
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
	if (direction == RING_FROM_GUEST && config->window && config->window < ring->n_slots)
		ring->n_slots = config->window;
	ring->ops->layout(ring, parts);
	return round_up(parts[0], RING_PART_ALIGN) + round_up(parts[1], RING_PART_ALIGN) +
	       round_up(parts[2], RING_PART_ALIGN) +
	       round_up(ring->n_slots * ring->slot_stride, RING_PART_ALIGN);
}

/* A frame of TCP, and the table that names its pieces; the length of that. */
static uint32_t
pieces_build(struct ring *ring, uint16_t slot)
{
	uint8_t *table = ring->slots + slot * ring->slot_stride, *piece = table + ring->data_off;
	const uint32_t n = n_pieces(ring);
	uint32_t done = 0;

	tcp_headers_build(ring_hdr(ring, slot), ring_frame(ring, slot), ring->n_segments);
	ring->ops->piece(table, 0, (uint64_t)ring_hdr(ring, slot) + ring->gpa_delta,
			 ring->hdr_len + TCP_HDRS_LEN, false);
	for (uint32_t i = 1; i < n; i++, piece += PIECE_STRIDE) {
		const uint32_t left = payload_len(ring) - done;
		const uint32_t len = left < LINUX_PIECE_LEN ? left : LINUX_PIECE_LEN;

		tcp_payload_build(piece, done, len);
		ring->ops->piece(table, i, (uint64_t)piece + ring->gpa_delta, len, i + 1 == n);
		done += len;
	}
	return n * DESC_LEN;
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

		if (ring->direction == RING_FROM_GUEST)
			ring->frame_bytes += frame_len;
		if (ring->direction == RING_FROM_GUEST && ring->n_segments) {
			ring->slot_len[slot] = pieces_build(ring, (uint16_t)slot);
		} else if (ring->direction == RING_FROM_GUEST) {
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
