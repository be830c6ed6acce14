/* SPDX-License-Identifier: BSD-3-Clause */
/* ring_split.c: the guest's half of a split virtqueue. Neighbour and twin in purpose: ring_packed.c. */
#include "ring.h"

#include <immintrin.h>

#include "fail.h"

#define AVX512 __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,bmi")))

enum { DESC_F_NEXT = 1, DESC_F_WRITE = 2, AVAIL_F_NO_INTERRUPT = 1, USED_F_NO_NOTIFY = 1 };

static void
split_layout(const struct ring *ring, size_t ret_bytes[3])
{
	ret_bytes[0] = ring->size * sizeof(struct split_desc);
	ret_bytes[1] = sizeof(struct split_avail) + ring->size * sizeof(uint16_t) + sizeof(uint16_t);
	ret_bytes[2] =
		sizeof(struct split_used) + ring->size * sizeof(struct split_used_elem) + sizeof(uint16_t);
}

static void
split_init(struct ring *ring)
{
	struct split_desc *table = ring->desc_area;
	struct split_avail *avail = ring->driver_area;

	for (uint32_t slot = 0; slot < ring->n_slots; slot++) {
		struct split_desc *desc = &table[slot * ring->desc_per_slot];

		desc->addr =
			(uint64_t)ring->slots + slot * ring->slot_stride + ring->desc_off + ring->gpa_delta;
		desc->len = ring->slot_len[slot];
		desc->flags = ring->desc_flags;
		if (ring->desc_per_slot == 2) {
			desc[0].flags |= DESC_F_NEXT;
			desc[0].next = (uint16_t)(slot * 2 + 1);
			desc[1].addr = (uint64_t)ring_frame(ring, (uint16_t)slot) + ring->gpa_delta;
			desc[1].len = ring->data_len;
			desc[1].flags = ring->desc_flags;
		}
	}
	avail->flags = AVAIL_F_NO_INTERRUPT;
}

static void
split_piece(void *table, uint32_t n, uint64_t gpa, uint32_t len, bool last)
{
	struct split_desc *desc = (struct split_desc *)table + n;

	desc->addr = gpa;
	desc->len = len;
	desc->flags = last ? 0 : DESC_F_NEXT;
	desc->next = last ? 0 : (uint16_t)(n + 1);
}

static unsigned
split_reap_in_order(struct ring *ring, uint16_t *ret_slots, uint32_t *ret_lens, unsigned n_ready,
		    unsigned max)
{
	const struct split_used *used = ring->device_area;
	unsigned n = 0;

	for (; n < n_ready && n < max; n++) {
		if (!ring->batch_left) {
			/* One element for a batch: its id is the last of them, the others were filled
			 * completely. */
			const struct split_used_elem *elem =
				&used->ring[ring->split.used_idx & (ring->size - 1)];
			uint32_t last = elem->id / ring->desc_per_slot;

			ring->batch_left = (last + ring->n_slots - ring->in_order_slot) % ring->n_slots + 1;
			ring->batch_last_len = elem->len;
			if (last >= ring->n_slots || ring->batch_left > n_ready - n)
				fail("%s: back-end returned descriptor %u out of order", ring->name,
				     elem->id);
		}
		ret_slots[n] = (uint16_t)ring->in_order_slot;
		ret_lens[n] = --ring->batch_left ? ring->hdr_len + ring->data_len : ring->batch_last_len;
		ring->split.used_idx++;
		if (++ring->in_order_slot == ring->n_slots)
			ring->in_order_slot = 0;
	}
	return n;
}

static unsigned
split_reap(struct ring *ring, uint16_t *ret_slots, uint32_t *ret_lens, unsigned max)
{
	const struct split_used *used = ring->device_area;
	uint16_t idx = *(volatile const uint16_t *)&used->idx;
	unsigned n = (uint16_t)(idx - ring->split.used_idx);
	unsigned shift = ring->desc_per_slot - 1u;
	uint32_t mask = ring->size - 1;

	ring_barrier(); /* partner: the device's release of used->idx; x86 loads stay in order */
	if (!n)
		return 0;
	if (n > ring->n_slots)
		fail("%s: back-end moved the used index by %u of %u buffers", ring->name, n, ring->n_slots);
	if (ring->in_order)
		return split_reap_in_order(ring, ret_slots, ret_lens, n, max);
	if (n > max)
		n = max;
	for (unsigned i = 0; i < n; i++) {
		const struct split_used_elem *elem = &used->ring[(ring->split.used_idx + i) & mask];
		uint32_t id = elem->id;

		if (__builtin_expect(id >= ring->size || (id & shift), 0))
			fail("%s: back-end returned descriptor %u, which heads no buffer", ring->name, id);
		ret_slots[i] = (uint16_t)(id >> shift);
		ret_lens[i] = elem->len;
	}
	ring->split.used_idx = (uint16_t)(ring->split.used_idx + n);
	return n;
}

static void
split_prefetch(const struct ring *ring)
{
	const struct split_used *used = ring->device_area;

	__builtin_prefetch(used);
	__builtin_prefetch(&used->ring[ring->split.used_idx & (ring->size - 1)]);
}

static void
split_post(struct ring *ring, const uint16_t *slots, unsigned n)
{
	struct split_avail *avail = ring->driver_area;
	unsigned shift = ring->desc_per_slot - 1u;
	uint32_t mask = ring->size - 1;

	for (unsigned i = 0; i < n; i++) {
		uint16_t *entry = &avail->ring[(ring->split.avail_idx + i) & mask];
		uint16_t head = (uint16_t)(slots[i] << shift);

		/* A device that returns in order finds the entries of the last round, in lines it still has.
		 */
		if (*entry != head)
			*entry = head;
	}
	ring->split.avail_idx = (uint16_t)(ring->split.avail_idx + n);
	ring_barrier(); /* partner: the device's load of avail->idx */
	*(volatile uint16_t *)&avail->idx = ring->split.avail_idx;
	ring->posted = true;
}

/* --- the same with AVX-512, for chains of one descriptor --- */

AVX512 static unsigned
split_reap_avx512(struct ring *ring, uint16_t *ret_slots, uint32_t *ret_lens, unsigned max)
{
	enum { LANES = 8 };
	const struct split_used *used = ring->device_area;
	uint16_t idx = *(volatile const uint16_t *)&used->idx;
	unsigned n = (uint16_t)(idx - ring->split.used_idx), k;
	const __m512i size = _mm512_set1_epi64(ring->size);
	uint32_t mask = ring->size - 1;

	ring_barrier(); /* as in split_reap() */
	if (n > ring->n_slots)
		fail("%s: back-end moved the used index by %u of %u buffers", ring->name, n, ring->n_slots);
	if (n > max)
		n = max;
	for (unsigned i = 0; i < n; i += k) {
		uint32_t at = (ring->split.used_idx + i) & mask;
		__m512i elems, ids;
		__mmask8 lanes;

		k = n - i < LANES ? n - i : LANES;
		if (k > ring->size - at)
			k = ring->size - at;
		lanes = (__mmask8)((1u << k) - 1);
		/* Whole vectors inside the ring, however many are used: so the load need not wait for the
		 * index's. */
		if (at + LANES <= ring->size)
			elems = _mm512_loadu_si512(&used->ring[at]);
		else
			elems = _mm512_maskz_loadu_epi64((__mmask8)((1u << (ring->size - at)) - 1),
							 &used->ring[at]);
		ids = _mm512_and_si512(elems, _mm512_set1_epi64(UINT32_MAX));
		if (_mm512_mask_cmpge_epu64_mask(lanes, ids, size))
			fail("%s: back-end returned a descriptor beyond %u", ring->name, ring->size);
		/* Whole vectors are stored; there is room for one more. */
		_mm_storeu_si128((__m128i *)&ret_slots[i], _mm512_cvtepi64_epi16(ids));
		_mm256_storeu_si256((__m256i *)&ret_lens[i],
				    _mm512_cvtepi64_epi32(_mm512_srli_epi64(elems, 32)));
	}
	ring->split.used_idx = (uint16_t)(ring->split.used_idx + n);
	return n;
}

static bool
split_wants_kick(const struct ring *ring)
{
	const struct split_used *used = ring->device_area;

	return !(*(volatile const uint16_t *)&used->flags & USED_F_NO_NOTIFY);
}

/* Always descriptors 0 and 1. */
static void
split_request(struct ring *ring, uint64_t out_gpa, uint32_t out_len, uint64_t in_gpa, uint32_t in_len)
{
	struct split_desc *table = ring->desc_area;
	const uint16_t head = 0;

	table[0] = (struct split_desc){.addr = out_gpa, .len = out_len, .flags = DESC_F_NEXT, .next = 1};
	table[1] = (struct split_desc){.addr = in_gpa, .len = in_len, .flags = DESC_F_WRITE};
	split_post(ring, &head, 1);
}

static bool
split_answered(struct ring *ring)
{
	const struct split_used *used = ring->device_area;

	if (*(volatile const uint16_t *)&used->idx == ring->split.used_idx)
		return false;
	ring->split.used_idx++;
	ring_barrier(); /* partner: the device's release of used->idx; x86 loads stay in order */
	return true;
}

const struct ring_ops ring_split_ops = {
	.layout = split_layout,
	.init = split_init,
	.piece = split_piece,
	.reap = split_reap,
	.prefetch = split_prefetch,
	.post = split_post,
	.wants_kick = split_wants_kick,
	.request = split_request,
	.answered = split_answered,
};

const struct ring_ops ring_split_avx512_ops = {
	.layout = split_layout,
	.init = split_init,
	.piece = split_piece,
	.reap = split_reap_avx512,
	.prefetch = split_prefetch,
	.post = split_post,
	.wants_kick = split_wants_kick,
	.request = split_request,
	.answered = split_answered,
};
