/* SPDX-License-Identifier: BSD-3-Clause */
/* ring_packed.c: the guest's half of a packed virtqueue. Neighbour and twin in purpose: ring_split.c. */
#include "ring.h"

#include <immintrin.h>

#include "fail.h"

#define AVX512 __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,bmi")))

#define DESC_F_NEXT ((uint64_t)1 << 48)
#define DESC_F_WRITE ((uint64_t)1 << 49)
#define DESC_F_AVAIL ((uint64_t)1 << 55)
#define DESC_F_USED ((uint64_t)1 << 63)

enum { EVENT_F_DISABLE = 1, DESC_PER_LINE = 4, DESC_FLAGS_SHIFT = 48 };

static void
packed_layout(const struct ring *ring, size_t ret_bytes[3])
{
	ret_bytes[0] = ring->size * sizeof(struct packed_desc);
	ret_bytes[1] = sizeof(struct packed_event);
	ret_bytes[2] = sizeof(struct packed_event);
}

static void
packed_init(struct ring *ring)
{
	struct packed_event *driver_event = ring->driver_area;

	ring->packed.avail_wrap = true;
	ring->packed.used_wrap = true;
	driver_event->flags = EVENT_F_DISABLE;
}

/* How many there are, the ring's descriptor says. */
static void
packed_piece(void *table, uint32_t n, uint64_t gpa, uint32_t len, bool last)
{
	struct packed_desc *desc = (struct packed_desc *)table + n;

	(void)last;
	desc->addr = gpa;
	desc->len_id_flags = len;
}

static void
packed_used_pos_advance(struct ring *ring, uint32_t n)
{
	ring->packed.used_pos += n;
	if (ring->packed.used_pos >= ring->size) {
		ring->packed.used_pos -= ring->size;
		ring->packed.used_wrap = !ring->packed.used_wrap;
	}
}

/* Flags, id and length in one load: there is no order to keep between them. */
static inline uint64_t
packed_word_read(const struct ring *ring, uint32_t pos)
{
	const struct packed_desc *desc = ring->desc_area;

	return *(volatile const uint64_t *)&desc[pos].len_id_flags;
}

static inline bool
packed_word_used(uint64_t word, bool wrap)
{
	return (word & (DESC_F_AVAIL | DESC_F_USED)) == (wrap ? DESC_F_AVAIL | DESC_F_USED : 0);
}

static inline uint32_t
packed_word_slot(const struct ring *ring, uint64_t word)
{
	uint32_t id = (uint16_t)(word >> 32);

	if (__builtin_expect(id >= ring->n_slots, 0))
		fail("%s: back-end returned buffer %u of %u", ring->name, id, ring->n_slots);
	return id;
}

/* One descriptor for a batch: its id is the last of them, the others were filled completely. */
static unsigned
packed_reap_in_order(struct ring *ring, uint16_t *ret_slots, uint32_t *ret_lens, unsigned max)
{
	unsigned n = 0;

	for (; n < max; n++) {
		if (!ring->batch_left) {
			uint64_t word = packed_word_read(ring, ring->packed.used_pos);

			if (!packed_word_used(word, ring->packed.used_wrap))
				break;
			ring->batch_left =
				(packed_word_slot(ring, word) + ring->n_slots - ring->in_order_slot) %
					ring->n_slots +
				1;
			ring->batch_last_len = (uint32_t)word;
		}
		ret_slots[n] = (uint16_t)ring->in_order_slot;
		ret_lens[n] = --ring->batch_left ? ring->hdr_len + ring->data_len : ring->batch_last_len;
		if (++ring->in_order_slot == ring->n_slots)
			ring->in_order_slot = 0;
		packed_used_pos_advance(ring, ring->desc_per_slot);
	}
	return n;
}

static unsigned
packed_reap(struct ring *ring, uint16_t *ret_slots, uint32_t *ret_lens, unsigned max)
{
	bool wrap = ring->packed.used_wrap;
	uint32_t pos = ring->packed.used_pos;
	unsigned n = 0;

	if (ring->in_order)
		return packed_reap_in_order(ring, ret_slots, ret_lens, max);
	while (n < max) {
		uint64_t word = packed_word_read(ring, pos);

		if (!packed_word_used(word, wrap))
			break;
		ret_slots[n] = (uint16_t)packed_word_slot(ring, word);
		ret_lens[n++] = (uint32_t)word;
		pos += ring->desc_per_slot;
		if (__builtin_expect(pos >= ring->size, 0)) {
			pos -= ring->size;
			wrap = !wrap;
		}
	}
	ring->packed.used_pos = pos;
	ring->packed.used_wrap = wrap;
	ring_barrier(); /* partner: the device's release of the flags; x86 loads stay in order */
	return n;
}

static void
packed_prefetch(const struct ring *ring)
{
	const struct packed_desc *desc = ring->desc_area;

	__builtin_prefetch(&desc[ring->packed.used_pos]);
}

static inline void
packed_desc_write(struct packed_desc *desc, uint64_t addr, uint64_t len_id_flags)
{
	desc->addr = addr;
	ring_barrier(); /* partner: the device's load of the flags, before it loads the rest */
	*(volatile uint64_t *)&desc->len_id_flags = len_id_flags;
}

/* Header and data chained. The second is written first, so the device never sees half a chain. */
static void
packed_post_pairs(struct ring *ring, const uint16_t *slots, unsigned n)
{
	struct packed_desc *desc = ring->desc_area;

	for (unsigned i = 0; i < n; i++) {
		uint64_t id = (uint64_t)slots[i] << 32;
		uint64_t first_flags = ring->packed.avail_wrap ? DESC_F_AVAIL : DESC_F_USED;
		uint32_t first = ring->packed.avail_pos, second = first + 1;

		if (second == ring->size) {
			second = 0;
			ring->packed.avail_wrap = !ring->packed.avail_wrap;
		}
		packed_desc_write(&desc[second], (uint64_t)ring_frame(ring, slots[i]) + ring->gpa_delta,
				  ring->data_len | id | DESC_F_WRITE |
					  (ring->packed.avail_wrap ? DESC_F_AVAIL : DESC_F_USED));
		packed_desc_write(&desc[first], (uint64_t)ring_hdr(ring, slots[i]) + ring->gpa_delta,
				  ring->hdr_len | id | DESC_F_WRITE | DESC_F_NEXT | first_flags);
		ring->packed.avail_pos = second + 1;
		if (ring->packed.avail_pos == ring->size) {
			ring->packed.avail_pos = 0;
			ring->packed.avail_wrap = !ring->packed.avail_wrap;
		}
	}
}

static inline void
packed_single_write(const struct ring *ring, struct packed_desc *desc, uint16_t slot, uint64_t base,
		    uint64_t flags)
{
	packed_desc_write(desc, base + slot * ring->slot_stride,
			  ring->slot_len[slot] | (uint64_t)slot << 32 | flags);
}

/* One line of four at a time, last descriptor first: the device finds four or none. */
static void
packed_post_singles(struct ring *ring, const uint16_t *slots, unsigned n)
{
	struct packed_desc *desc = ring->desc_area;
	const uint64_t fixed = (uint64_t)ring->desc_flags << DESC_FLAGS_SHIFT;
	uint64_t base = (uint64_t)ring->slots + ring->desc_off + ring->gpa_delta;

	while (n) {
		uint32_t pos = ring->packed.avail_pos;
		uint64_t flags = fixed | (ring->packed.avail_wrap ? DESC_F_AVAIL : DESC_F_USED);
		unsigned k = DESC_PER_LINE - pos % DESC_PER_LINE;

		if (k > ring->size - pos)
			k = ring->size - pos;
		if (k > n)
			k = n;
		if (__builtin_expect(k == DESC_PER_LINE, 1)) {
			packed_single_write(ring, &desc[pos + 3], slots[3], base, flags);
			packed_single_write(ring, &desc[pos + 2], slots[2], base, flags);
			packed_single_write(ring, &desc[pos + 1], slots[1], base, flags);
			packed_single_write(ring, &desc[pos], slots[0], base, flags);
		} else {
			for (unsigned i = k; i-- > 0;)
				packed_single_write(ring, &desc[pos + i], slots[i], base, flags);
		}
		slots += k;
		n -= k;
		ring->packed.avail_pos += k;
		if (ring->packed.avail_pos == ring->size) {
			ring->packed.avail_pos = 0;
			ring->packed.avail_wrap = !ring->packed.avail_wrap;
		}
	}
}

static void
packed_post(struct ring *ring, const uint16_t *slots, unsigned n)
{
	if (ring->desc_per_slot == 2)
		packed_post_pairs(ring, slots, n);
	else
		packed_post_singles(ring, slots, n);
	ring->posted = true;
}

/* --- the same with AVX-512, for chains of one descriptor: a line of four at a time --- */

AVX512 static unsigned
packed_reap_avx512(struct ring *ring, uint16_t *ret_slots, uint32_t *ret_lens, unsigned max)
{
	const __m256i both = _mm256_set1_epi64x((long long)(DESC_F_AVAIL | DESC_F_USED));
	const struct packed_desc *desc = ring->desc_area;
	bool wrap = ring->packed.used_wrap;
	uint32_t pos = ring->packed.used_pos;
	unsigned n = 0, k;

	do {
		unsigned room = DESC_PER_LINE - pos % DESC_PER_LINE;
		uint32_t lanes, used;
		__m256i words;
		__m128i ids;

		if (room > ring->size - pos)
			room = ring->size - pos;
		if (room > max - n)
			room = max - n;
		lanes = (1u << room) - 1;
		/* Each word is whole by itself. The line is read once: x86 loads stay in order. */
		words = _mm512_castsi512_si256(_mm512_permutexvar_epi64(
			_mm512_setr_epi64(1, 3, 5, 7, 0, 0, 0, 0),
			_mm512_maskz_loadu_epi64((__mmask8)((1u << 2 * room) - 1), &desc[pos])));
		used = _mm256_mask_cmpeq_epi64_mask((__mmask8)lanes, _mm256_and_si256(words, both),
						    wrap ? both : _mm256_setzero_si256());
		k = (unsigned)__builtin_ctz(~used);
		ids = _mm256_cvtepi64_epi16(_mm256_srli_epi64(words, 32));
		if (_mm_mask_cmpge_epu16_mask((__mmask8)((1u << k) - 1), ids,
					      _mm_set1_epi16((short)ring->n_slots)))
			fail("%s: back-end returned a buffer beyond %u", ring->name, ring->n_slots);
		/* Whole lines are stored; there is room for one more. */
		_mm_storel_epi64((__m128i *)&ret_slots[n], ids);
		_mm_storeu_si128((__m128i *)&ret_lens[n], _mm256_cvtepi64_epi32(words));
		if (k < room) {
			n += k;
			pos += k;
			break;
		}
		/* By `room`, not by k: so the next line's load need not wait for this one's. */
		n += room;
		pos += room;
		if (pos == ring->size) {
			pos = 0;
			wrap = !wrap;
		}
	} while (n < max);
	ring->packed.used_pos = pos;
	ring->packed.used_wrap = wrap;
	ring_barrier();
	return n;
}

AVX512 static void
packed_post_avx512(struct ring *ring, const uint16_t *slots, unsigned n)
{
	struct packed_desc *desc = ring->desc_area;
	const uint64_t fixed = (uint64_t)ring->desc_flags << DESC_FLAGS_SHIFT;
	const __m256i base =
		_mm256_set1_epi64x((long long)((uint64_t)ring->slots + ring->desc_off + ring->gpa_delta));
	const __m256i stride = _mm256_set1_epi64x((long long)ring->slot_stride);

	while (n) {
		uint32_t pos = ring->packed.avail_pos;
		uint64_t flags = fixed | (ring->packed.avail_wrap ? DESC_F_AVAIL : DESC_F_USED);
		__m256i slot, addr, word;

		if (__builtin_expect(pos % DESC_PER_LINE || n < DESC_PER_LINE ||
					     ring->size - pos < DESC_PER_LINE,
				     0)) {
			unsigned k = DESC_PER_LINE - pos % DESC_PER_LINE;

			packed_post_singles(ring, slots, k < n ? k : n);
			if (n <= k)
				break;
			slots += k;
			n -= k;
			continue;
		}
		/* One by one: a load of several that were stored one by one waits until they have left the
		 * store buffer, behind everything that is on its way to the device. */
		slot = _mm256_set_epi64x(slots[3], slots[2], slots[1], slots[0]);
		addr = _mm256_add_epi64(base, _mm256_mul_epu32(slot, stride));
		word = _mm256_cvtepu32_epi64(_mm256_i64gather_epi32((const int *)ring->slot_len, slot, 4));
		word = _mm256_or_si256(word, _mm256_slli_epi64(slot, 32));
		word = _mm256_or_si256(word, _mm256_set1_epi64x((long long)flags));
		ring_barrier();
		/* One aligned line: the device sees four or none, as with other drivers that do this. */
		_mm512_store_si512(&desc[pos],
				   _mm512_permutex2var_epi64(_mm512_castsi256_si512(addr),
							     _mm512_setr_epi64(0, 8, 1, 9, 2, 10, 3, 11),
							     _mm512_castsi256_si512(word)));
		slots += DESC_PER_LINE;
		n -= DESC_PER_LINE;
		ring->packed.avail_pos += DESC_PER_LINE;
		if (ring->packed.avail_pos == ring->size) {
			ring->packed.avail_pos = 0;
			ring->packed.avail_wrap = !ring->packed.avail_wrap;
		}
	}
	ring->posted = true;
}

static bool
packed_wants_kick(const struct ring *ring)
{
	const struct packed_event *device_event = ring->device_area;

	return *(volatile const uint16_t *)&device_event->flags != EVENT_F_DISABLE;
}

static void
packed_request(struct ring *ring, uint64_t out_gpa, uint32_t out_len, uint64_t in_gpa, uint32_t in_len)
{
	struct packed_desc *first = (struct packed_desc *)ring->desc_area + ring->packed.avail_pos;
	uint64_t flags = ring->packed.avail_wrap ? DESC_F_AVAIL : DESC_F_USED;

	packed_desc_write(first + 1, in_gpa, in_len | DESC_F_WRITE | flags);
	packed_desc_write(first, out_gpa, out_len | DESC_F_NEXT | flags);
	ring->packed.avail_pos += 2;
	if (ring->packed.avail_pos == ring->size) {
		ring->packed.avail_pos = 0;
		ring->packed.avail_wrap = !ring->packed.avail_wrap;
	}
	ring->posted = true;
}

static bool
packed_answered(struct ring *ring)
{
	if (!packed_word_used(packed_word_read(ring, ring->packed.used_pos), ring->packed.used_wrap))
		return false;
	packed_used_pos_advance(ring, 2);
	ring_barrier(); /* partner: the device's release of the flags; x86 loads stay in order */
	return true;
}

const struct ring_ops ring_packed_ops = {
	.layout = packed_layout,
	.init = packed_init,
	.piece = packed_piece,
	.reap = packed_reap,
	.prefetch = packed_prefetch,
	.post = packed_post,
	.wants_kick = packed_wants_kick,
	.request = packed_request,
	.answered = packed_answered,
};

const struct ring_ops ring_packed_avx512_ops = {
	.layout = packed_layout,
	.init = packed_init,
	.piece = packed_piece,
	.reap = packed_reap_avx512,
	.prefetch = packed_prefetch,
	.post = packed_post_avx512,
	.wants_kick = packed_wants_kick,
	.request = packed_request,
	.answered = packed_answered,
};
