/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * direct, four descriptors at a time: a cache line of them. See direct.h; twin of direct_avx512.h, and of
 * direct_scalar.h, which is its oracle.
 *
 * No gather and no store with a mask: both are slow on many of the CPUs that this is for. What is no group of
 * four goes one by one (direct_each.h), and so do short bursts, for which the vectors would have to be made.
 *
 * What is loaded from the guest is pinned: the compiler must not load it again where it is used.
 */
#ifndef VNICD_DIRECT_AVX2_H
#define VNICD_DIRECT_AVX2_H

#include <assert.h>
#include <immintrin.h>

#include "direct_each.h"

enum { DIRECT_LANES = 4, DIRECT_ALL = (1 << DIRECT_LANES) - 1 };

#define DIRECT_PIN(vector) __asm__ volatile("" : "+x"(vector))

/* Of four descriptors, the halves: addresses, and what follows them. */
struct direct_lanes {
	__m256i addr, word;
};

/* The constraints and the region, in each lane; made once for a burst. */
struct direct_checks {
	__m256i biased_size, to_biased_offset, to_va, flags_mask, flags, len_min, len_max;
};

/* flags_shift: where the flags are in a descriptor's second half. */
static inline struct direct_checks
direct_checks_make(const struct virtq_conf *conf, const struct direct_constraints *constraints,
		   unsigned int flags_shift)
{
	/* There are only signed comparisons: with the highest bit turned over they do for unsigned numbers.
	 */
	const uint64_t bias = UINT64_C(1) << 63;

	return (struct direct_checks){
		.biased_size = _mm256_set1_epi64x((long long)(conf->hot.size + bias)),
		.to_biased_offset = _mm256_set1_epi64x((long long)(bias - conf->hot.gpa)),
		.to_va = _mm256_set1_epi64x((long long)((uintptr_t)conf->hot.va - conf->hot.gpa)),
		.flags_mask = _mm256_set1_epi64x((long long)((uint64_t)DIRECT_FLAGS << flags_shift)),
		.flags = _mm256_set1_epi64x((long long)((uint64_t)constraints->flags << flags_shift)),
		.len_min = _mm256_set1_epi64x(constraints->len_min),
		.len_max = _mm256_set1_epi64x(constraints->len_max),
	};
}

/*
 * Addresses and lengths go to direct[at..]. All ones in the lanes that are direct and
 * meet the constraints.
 */
static inline __m256i
direct_take(const struct direct_checks *checks, struct direct_lanes lanes, struct virtq_direct *direct,
	    uint16_t at)
{
	const __m256i len = _mm256_blend_epi32(lanes.word, _mm256_setzero_si256(), 0xaa);
	const __m256i biased_offset = _mm256_add_epi64(lanes.addr, checks->to_biased_offset);
	/* Half open: offset in [0, size], len in [0, size - offset]. A region is shorter than 2^63 bytes. */
	const __m256i is_inside = _mm256_cmpgt_epi64(checks->biased_size, biased_offset);
	const __m256i room = _mm256_sub_epi64(checks->biased_size, biased_offset);
	const __m256i has_flags =
		_mm256_cmpeq_epi64(_mm256_and_si256(lanes.word, checks->flags_mask), checks->flags);
	const __m256i is_wrong_len = _mm256_or_si256(
		_mm256_or_si256(_mm256_cmpgt_epi64(len, room), _mm256_cmpgt_epi64(checks->len_min, len)),
		_mm256_cmpgt_epi64(len, checks->len_max));

	_mm256_storeu_si256((__m256i *)&direct->va[at], _mm256_add_epi64(lanes.addr, checks->to_va));
	_mm_storeu_ps((float *)&direct->len[at],
		      _mm_shuffle_ps(_mm_castsi128_ps(_mm256_castsi256_si128(lanes.word)),
				     _mm_castsi128_ps(_mm256_extracti128_si256(lanes.word, 1)), 0x88));
	return _mm256_andnot_si256(is_wrong_len, _mm256_and_si256(is_inside, has_flags));
}

static inline uint32_t
direct_mask(__m256i lanes)
{
	return (uint32_t)_mm256_movemask_pd(_mm256_castsi256_pd(lanes));
}

/* The first lanes for which `good` is set. */
static inline uint16_t
direct_first(uint32_t good)
{
	return (uint16_t)__builtin_ctz(~good);
}

static inline struct direct_lanes
split_direct_lanes(const struct vring_desc *a, const struct vring_desc *b, const struct vring_desc *c,
		   const struct vring_desc *d)
{
	__m256i even = _mm256_loadu2_m128i((const __m128i *)c, (const __m128i *)a);
	__m256i odd = _mm256_loadu2_m128i((const __m128i *)d, (const __m128i *)b);

	DIRECT_PIN(even);
	DIRECT_PIN(odd);
	return (struct direct_lanes){.addr = _mm256_unpacklo_epi64(even, odd),
				     .word = _mm256_unpackhi_epi64(even, odd)};
}

/* The heads are all in the table, and follow each other: heads[i] is heads[0] + i. */
static inline struct direct_lanes
split_direct_row(const struct vring_desc *table, const uint16_t heads[])
{
	const struct vring_desc *desc = &table[heads[0]];

	return split_direct_lanes(desc, desc + 1, desc + 2, desc + 3);
}

static inline struct direct_lanes
split_direct_any(const struct vring_desc *table, const uint16_t heads[])
{
	return split_direct_lanes(&table[heads[0]], &table[heads[1]], &table[heads[2]], &table[heads[3]]);
}

static_assert(VIRTQ_FETCH_MAX == 32, "heads of a burst are two vectors");

/*
 * n entries of the available ring from `slot` on, copied to heads[]. Returns how many of them, from the first
 * on, are in the table; *ret_in_a_row: each is the one before it + 1.
 */
static inline uint16_t
split_direct_heads(const struct virtq_conf *conf, uint16_t slot, uint16_t heads[VIRTQ_FETCH_MAX], uint16_t n,
		   bool *ret_in_a_row)
{
	const __m256i iota = _mm256_setr_epi16(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
	const __m256i size = _mm256_set1_epi16((short)conf->size);
	const uint16_t *ring = &conf->avail->ring[slot];
	__m256i low, high, row;
	uint64_t outside, is_next;

	if (likely_true(conf->size - slot >= VIRTQ_FETCH_MAX)) {
		low = _mm256_loadu_si256((const __m256i *)ring);
		high = _mm256_loadu_si256((const __m256i *)ring + 1);
		DIRECT_PIN(low);
		DIRECT_PIN(high);
		_mm256_store_si256((__m256i *)heads, low);
		_mm256_store_si256((__m256i *)heads + 1, high);
	} else {
		for (uint16_t i = 0; i < n; i++)
			heads[i] = __atomic_load_n(&ring[i], __ATOMIC_RELAXED);
		for (uint16_t i = n; i < VIRTQ_FETCH_MAX; i++)
			heads[i] = 0;
		low = _mm256_load_si256((const __m256i *)heads);
		high = _mm256_load_si256((const __m256i *)heads + 1);
	}
	/* Two bits a lane. */
	outside = (uint32_t)_mm256_movemask_epi8(_mm256_cmpeq_epi16(_mm256_max_epu16(low, size), low)) |
		  (uint64_t)(uint32_t)_mm256_movemask_epi8(
			  _mm256_cmpeq_epi16(_mm256_max_epu16(high, size), high))
			  << 32;
	row = _mm256_add_epi16(iota, _mm256_broadcastw_epi16(_mm256_castsi256_si128(low)));
	is_next = (uint32_t)_mm256_movemask_epi8(_mm256_cmpeq_epi16(low, row)) |
		  (uint64_t)(uint32_t)_mm256_movemask_epi8(
			  _mm256_cmpeq_epi16(high, _mm256_add_epi16(row, _mm256_set1_epi16(16))))
			  << 32;
	*ret_in_a_row = _bzhi_u64(~is_next, 2u * n) == 0;
	outside = _bzhi_u64(outside, 2u * n);
	return likely_true(outside == 0) ? n : (uint16_t)(__builtin_ctzll(outside) / 2);
}

/* The chains of four heads go to direct[at..]; how many, from the first on, are direct. */
static inline uint16_t
split_direct_group(const struct vring_desc *table, const struct direct_checks *checks, const uint16_t heads[],
		   bool in_a_row, struct virtq_direct *direct, uint16_t at)
{
	const struct direct_lanes lanes =
		likely_true(in_a_row) ? split_direct_row(table, heads) : split_direct_any(table, heads);

	_mm256_storeu_si256((__m256i *)&direct->used[at],
			    _mm256_cvtepu16_epi64(_mm_loadl_epi64((const __m128i *)heads)));
	return direct_first(direct_mask(direct_take(checks, lanes, direct, at)));
}

/* n (1 or more) entries of the available ring, from the queue's position on, do not pass its end. */
static inline uint16_t
split_direct_load(const struct virtq *vq, const struct virtq_conf *conf,
		  const struct direct_constraints *constraints, struct virtq_direct *direct, uint16_t n)
{
	const struct vring_desc *const table = conf->desc;
	uint16_t heads[VIRTQ_FETCH_MAX] __attribute__((aligned(64))), i = 0;
	struct direct_checks checks;
	bool in_a_row;

	if (n < DIRECT_LANES)
		return split_direct_load_each(vq, conf, constraints, direct, n);
	checks = direct_checks_make(conf, constraints, 32);
	n = split_direct_heads(conf, vq->avail.idx & conf->mask, heads, n, &in_a_row);
	if (likely_true(in_a_row))
		for (uint16_t k = 0; k < n; k = (uint16_t)(k + PACKED_PER_LINE))
			prefetch_read(&table[heads[k]]);
	else
		for (uint16_t k = 0; k < n; k++)
			prefetch_read(&table[heads[k]]);
	for (; i + DIRECT_LANES <= n; i = (uint16_t)(i + DIRECT_LANES)) {
		uint16_t taken = split_direct_group(table, &checks, &heads[i], in_a_row, direct, i);

		if (likely_false(taken < DIRECT_LANES))
			return (uint16_t)(i + taken);
	}
	return split_direct_take_each(conf, constraints, heads, direct, i, n);
}

/* n used elements from `slot` on, which do not pass the ring's end. */
static inline void
split_direct_store(const struct virtq_conf *conf, uint16_t slot, const uint64_t used[],
		   const uint32_t written[], uint16_t n)
{
	struct vring_used_elem *ring = &conf->used->ring[slot];
	uint16_t i = 0;

	for (; i + DIRECT_LANES <= n; i = (uint16_t)(i + DIRECT_LANES)) {
		__m256i words = _mm256_loadu_si256((const __m256i *)&used[i]);

		if (written)
			words = _mm256_or_si256(words,
						_mm256_slli_epi64(_mm256_cvtepu32_epi64(_mm_loadu_si128(
									  (const __m128i *)&written[i])),
								  32));
		_mm256_storeu_si256((__m256i *)&ring[i], words);
	}
	split_direct_store_each(conf, slot, used, written, i, n);
}

/* Halves of four descriptors, from the first's address or 8 bytes on, each loaded at once. */
static inline __m256i
packed_direct_halves(const uint64_t *a, const uint64_t *b, const uint64_t *c, const uint64_t *d)
{
	__m128i low = _mm_loadl_epi64((const __m128i *)a), high = _mm_loadl_epi64((const __m128i *)c);
	__m256i halves;

	low = _mm_castps_si128(_mm_loadh_pi(_mm_castsi128_ps(low), (const __m64 *)b));
	high = _mm_castps_si128(_mm_loadh_pi(_mm_castsi128_ps(high), (const __m64 *)d));
	halves = _mm256_set_m128i(high, low);
	DIRECT_PIN(halves);
	return halves;
}

/* Four descriptors. Loads stay in order: the addresses are at least as new as the flags. */
static inline struct direct_lanes
packed_direct_lanes(const struct vring_packed_desc *ring)
{
	const uint64_t *a = (const uint64_t *)ring, *b = a + 2, *c = a + 4, *d = a + 6;
	struct direct_lanes lanes;

	lanes.word = packed_direct_halves(a + 1, b + 1, c + 1, d + 1);
	__asm__ volatile("" ::: "memory"); /* the addresses come after */
	lanes.addr = packed_direct_halves(a, b, c, d);
	return lanes;
}

/* What the flags of a queue's descriptors are compared with, and what goes into its used elements. */
struct packed_direct_words {
	__m256i both, available, id, used;
};

static inline struct packed_direct_words
packed_direct_words_make(const struct direct_constraints *constraints, bool wrap)
{
	const uint64_t written = constraints->flags | (wrap ? PACKED_AVAIL | PACKED_USED : 0u);
	const uint64_t available = wrap ? PACKED_AVAIL : PACKED_USED;

	return (struct packed_direct_words){
		.both = _mm256_set1_epi64x((long long)((uint64_t)(PACKED_AVAIL | PACKED_USED) << 48)),
		.available = _mm256_set1_epi64x((long long)(available << 48)),
		.id = _mm256_set1_epi64x((long long)(UINT64_C(0xffff) << 32)),
		.used = _mm256_set1_epi64x((long long)(written << 48)),
	};
}

/*
 * The chains of four slots go to direct[at..]; how many, from the first on, are direct, and how many
 * available.
 */
static inline uint16_t
packed_direct_group(const struct vring_packed_desc *ring, const struct direct_checks *checks,
		    const struct packed_direct_words *words, struct virtq_direct *direct, uint16_t at,
		    uint16_t *ret_n_available)
{
	const struct direct_lanes lanes = packed_direct_lanes(ring);
	const __m256i is_available =
		_mm256_cmpeq_epi64(_mm256_and_si256(lanes.word, words->both), words->available);
	const __m256i is_direct = direct_take(checks, lanes, direct, at);

	_mm256_storeu_si256((__m256i *)&direct->used[at],
			    _mm256_or_si256(_mm256_and_si256(lanes.word, words->id), words->used));
	*ret_n_available = DIRECT_LANES;
	if (likely_true(direct_mask(_mm256_and_si256(is_available, is_direct)) == DIRECT_ALL))
		return DIRECT_LANES;
	*ret_n_available = direct_first(direct_mask(is_available));
	return direct_first(direct_mask(_mm256_and_si256(is_available, is_direct)));
}

/* n slots from `slot` on, which do not pass the ring's end. How many the driver has made available:
 * *ret_n_available. */
static inline uint16_t
packed_direct_load(const struct virtq_conf *conf, const struct direct_constraints *constraints, uint16_t slot,
		   bool wrap, struct virtq_direct *direct, uint16_t at, uint16_t n, uint16_t *ret_n_available)
{
	uint16_t i = 0, taken, available;

	if (n >= DIRECT_LANES) {
		const struct direct_checks checks = direct_checks_make(conf, constraints, 48);
		const struct packed_direct_words words = packed_direct_words_make(constraints, wrap);
		const struct vring_packed_desc *const ring = &conf->ring[slot];

		for (; i + DIRECT_LANES <= n; i = (uint16_t)(i + DIRECT_LANES)) {
			taken = packed_direct_group(&ring[i], &checks, &words, direct, (uint16_t)(at + i),
						    &available);
			if (likely_false(taken < DIRECT_LANES)) {
				*ret_n_available = (uint16_t)(i + available);
				return (uint16_t)(i + taken);
			}
		}
	}
	taken = packed_direct_load_each(conf, constraints, (uint16_t)(slot + i), wrap, direct,
					(uint16_t)(at + i), (uint16_t)(n - i), &available);
	*ret_n_available = (uint16_t)(i + available);
	return (uint16_t)(i + taken);
}

/* The second halves of desc[0] and desc[1]. */
static inline void
packed_direct_store_first(struct vring_packed_desc *desc, __m128i words)
{
	_mm_storel_pi((__m64 *)((uint64_t *)&desc[0] + 1), _mm_castsi128_ps(words));
}

static inline void
packed_direct_store_second(struct vring_packed_desc *desc, __m128i words)
{
	_mm_storeh_pi((__m64 *)((uint64_t *)&desc[1] + 1), _mm_castsi128_ps(words));
}

/* n used elements from `slot` on, which do not pass the ring's end, but for the first `skip` (0 or 1). */
static inline void
packed_direct_store(const struct virtq_conf *conf, uint16_t slot, const uint64_t used[],
		    const uint32_t written[], uint16_t n, uint16_t skip)
{
	struct vring_packed_desc *ring = &conf->ring[slot];
	uint16_t i = 0;

	__asm__ volatile("" ::: "memory"); /* what was written to the buffers comes before */
	for (; i + DIRECT_LANES <= n; i = (uint16_t)(i + DIRECT_LANES)) {
		__m256i words = _mm256_loadu_si256((const __m256i *)&used[i]);

		if (written)
			words = _mm256_or_si256(
				words, _mm256_cvtepu32_epi64(_mm_loadu_si128((const __m128i *)&written[i])));
		if (i >= skip)
			packed_direct_store_first(&ring[i], _mm256_castsi256_si128(words));
		packed_direct_store_second(&ring[i], _mm256_castsi256_si128(words));
		packed_direct_store_first(&ring[i + 2], _mm256_extracti128_si256(words, 1));
		packed_direct_store_second(&ring[i + 2], _mm256_extracti128_si256(words, 1));
	}
	packed_direct_store_each(conf, slot, used, written, i > skip ? i : skip, n);
}

#endif
