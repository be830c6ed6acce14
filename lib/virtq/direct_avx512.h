/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * direct, eight descriptors at a time: two cache lines of them. See direct.h; twin of
 * direct_avx2.h, and of direct_scalar.h, which is its oracle.
 *
 * What is loaded from the guest is pinned: the compiler must not load it again where it is used.
 */
#ifndef VNICD_DIRECT_AVX512_H
#define VNICD_DIRECT_AVX512_H

#include <assert.h>
#include <immintrin.h>

#include "direct.h"
#include "packed.h"
#include "split.h"

enum { DIRECT_LANES = 8 };

#define DIRECT_PIN(vector) __asm__ volatile("" : "+v"(vector))

/* Of eight descriptors, the halves: addresses, and what follows them. */
struct direct_lanes {
	__m512i addr, word;
};

static inline struct direct_lanes
direct_split_lanes(__m512i low, __m512i high)
{
	const __m512i even = _mm512_setr_epi64(0, 2, 4, 6, 8, 10, 12, 14),
		      odd = _mm512_setr_epi64(1, 3, 5, 7, 9, 11, 13, 15);

	return (struct direct_lanes){.addr = _mm512_permutex2var_epi64(low, even, high),
				     .word = _mm512_permutex2var_epi64(low, odd, high)};
}

/*
 * Eight descriptors that follow each other at `table`, or as many as n says, which is where the table ends.
 * How many are wanted is left to the caller, on purpose: a load with a mask waits for what the mask is made
 * of.
 */
static inline struct direct_lanes
direct_load_lanes(const void *table, uint32_t n)
{
	const uint8_t *at = table;
	__m512i low, high;

	if (likely_true(n >= DIRECT_LANES)) {
		low = _mm512_loadu_si512(at);
		high = _mm512_loadu_si512(at + 64);
	} else {
		uint32_t words = (1u << 2 * n) - 1;

		low = _mm512_maskz_loadu_epi64((__mmask8)words, at);
		high = _mm512_maskz_loadu_epi64((__mmask8)(words >> 8), at + 64);
	}
	DIRECT_PIN(low);
	DIRECT_PIN(high);
	return direct_split_lanes(low, high);
}

/* The first lanes, n at most, for which `good` is set. */
static inline uint16_t
direct_first(uint32_t good, uint16_t n)
{
	uint16_t first = (uint16_t)__builtin_ctz(~good | 1u << DIRECT_LANES);

	return first < n ? first : n;
}

static inline void
direct_store(void *at, uint16_t n, __m512i lanes)
{
	/* A full group without a mask: what is stored with one is slow to load again at once. */
	if (likely_true(n == DIRECT_LANES))
		_mm512_storeu_si512(at, lanes);
	else
		_mm512_mask_storeu_epi64(at, (__mmask8)((1u << n) - 1), lanes);
}

/*
 * The first lanes that are direct, n at most; their addresses and lengths go to direct[at..]. flags_shift:
 * where the flags are in a descriptor's second half.
 */
static inline uint16_t
direct_take(const struct virtq_conf *conf, const struct direct_constraints *constraints,
	    struct direct_lanes lanes, unsigned int flags_shift, struct virtq_direct *direct, uint16_t at,
	    uint16_t n)
{
	const __m512i size = _mm512_set1_epi64((long long)conf->hot.size);
	const __m512i len = _mm512_and_si512(lanes.word, _mm512_set1_epi64(UINT32_MAX));
	const __m512i offset = _mm512_sub_epi64(lanes.addr, _mm512_set1_epi64((long long)conf->hot.gpa));
	const __m512i flags = _mm512_and_si512(
		lanes.word, _mm512_set1_epi64((long long)((uint64_t)DIRECT_FLAGS << flags_shift)));
	__mmask8 good;

	good = _mm512_cmpeq_epi64_mask(
		flags, _mm512_set1_epi64((long long)((uint64_t)constraints->flags << flags_shift)));
	good = _mm512_mask_cmplt_epu64_mask(good, offset, size);
	good = _mm512_mask_cmple_epu64_mask(good, len, _mm512_sub_epi64(size, offset));
	good = _mm512_mask_cmpge_epu64_mask(good, len, _mm512_set1_epi64(constraints->len_min));
	good = _mm512_mask_cmple_epu64_mask(good, len, _mm512_set1_epi64(constraints->len_max));
	direct_store(&direct->va[at], n,
		     _mm512_add_epi64(offset, _mm512_set1_epi64((long long)(uintptr_t)conf->hot.va)));
	if (likely_true(n == DIRECT_LANES))
		_mm256_storeu_si256((__m256i *)&direct->len[at], _mm512_cvtepi64_epi32(len));
	else
		_mm256_mask_storeu_epi32(&direct->len[at], (__mmask8)((1u << n) - 1),
					 _mm512_cvtepi64_epi32(len));
	return direct_first(good, n);
}

static inline struct direct_lanes
split_gather(const struct vring_desc *table, const uint16_t heads[], uint16_t n)
{
	__m128i desc[DIRECT_LANES];
	__m512i low, high;

	for (uint16_t i = 0; i < DIRECT_LANES; i++) {
		desc[i] = _mm_loadu_si128((const __m128i *)&table[heads[i < n ? i : 0]]);
		DIRECT_PIN(desc[i]);
	}
	low = _mm512_inserti64x4(_mm512_castsi256_si512(_mm256_setr_m128i(desc[0], desc[1])),
				 _mm256_setr_m128i(desc[2], desc[3]), 1);
	high = _mm512_inserti64x4(_mm512_castsi256_si512(_mm256_setr_m128i(desc[4], desc[5])),
				  _mm256_setr_m128i(desc[6], desc[7]), 1);
	return direct_split_lanes(low, high);
}

static_assert(VIRTQ_FETCH_MAX == 32, "heads of a burst are one vector");

/* n (1 or more) entries of the available ring, from the queue's position on, do not pass its end. */
static inline uint16_t
split_direct_load(const struct virtq *vq, const struct virtq_conf *conf,
		  const struct direct_constraints *constraints, struct virtq_direct *direct, uint16_t n)
{
	const __m512i iota = _mm512_set_epi16(31, 30, 29, 28, 27, 26, 25, 24, 23, 22, 21, 20, 19, 18, 17, 16,
					      15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
	const __mmask32 lanes = n == VIRTQ_FETCH_MAX ? UINT32_MAX : (1u << n) - 1;
	const uint16_t slot = vq->avail.idx & conf->mask, until_end = (uint16_t)(conf->size - slot);
	__m512i vector = likely_true(until_end >= VIRTQ_FETCH_MAX)
				 ? _mm512_loadu_si512(&conf->avail->ring[slot])
				 : _mm512_maskz_loadu_epi16((1u << until_end) - 1, &conf->avail->ring[slot]);
	uint16_t heads[VIRTQ_FETCH_MAX] __attribute__((aligned(64)));
	uint32_t outside;
	bool in_a_row;

	DIRECT_PIN(vector);
	outside = _mm512_mask_cmpge_epu16_mask(lanes, vector, _mm512_set1_epi16((short)conf->size));
	if (likely_false(outside)) {
		n = (uint16_t)__builtin_ctz(outside);
		if (n == 0)
			return 0;
	}
	_mm512_store_si512(heads, vector);
	in_a_row = _mm512_mask_cmpneq_epi16_mask(
			   lanes, vector, _mm512_add_epi16(iota, _mm512_set1_epi16((short)heads[0]))) == 0;
	if (in_a_row)
		for (uint16_t i = 0; i < n; i = (uint16_t)(i + PACKED_PER_LINE))
			prefetch_read(&conf->desc[heads[i]]);
	else
		for (uint16_t i = 0; i < n; i++)
			prefetch_read(&conf->desc[heads[i]]);
	for (uint16_t i = 0; i < n; i = (uint16_t)(i + DIRECT_LANES)) {
		uint16_t group = n - i < DIRECT_LANES ? (uint16_t)(n - i) : DIRECT_LANES, taken;
		struct direct_lanes descs =
			in_a_row ? direct_load_lanes(&conf->desc[heads[i]], (uint32_t)(conf->size - heads[i]))
				 : split_gather(conf->desc, &heads[i], group);

		direct_store(&direct->used[i], group,
			     _mm512_cvtepu16_epi64(_mm_loadu_si128((const __m128i *)&heads[i])));
		taken = direct_take(conf, constraints, descs, 32, direct, i, group);
		if (likely_false(taken < group))
			return (uint16_t)(i + taken);
	}
	return n;
}

/* n used elements from `slot` on, which do not pass the ring's end. */
static inline void
split_direct_store(const struct virtq_conf *conf, uint16_t slot, const uint64_t used[],
		   const uint32_t written[], uint16_t n)
{
	for (uint16_t i = 0; i < n; i = (uint16_t)(i + DIRECT_LANES)) {
		const __mmask8 lanes = n - i < DIRECT_LANES ? (__mmask8)((1u << (n - i)) - 1) : 0xff;
		__m512i words = _mm512_maskz_loadu_epi64(lanes, &used[i]);

		if (written)
			words = _mm512_or_si512(
				words, _mm512_slli_epi64(_mm512_cvtepu32_epi64(_mm256_maskz_loadu_epi32(
								 lanes, &written[i])),
							 32));
		_mm512_mask_storeu_epi64(&conf->used->ring[slot + i], lanes, words);
	}
}

static inline uint32_t
packed_direct_available(__m512i word, bool wrap)
{
	const uint64_t both = (uint64_t)(PACKED_AVAIL | PACKED_USED) << 48;
	const uint64_t available = (uint64_t)(wrap ? PACKED_AVAIL : PACKED_USED) << 48;

	return _mm512_cmpeq_epi64_mask(_mm512_and_si512(word, _mm512_set1_epi64((long long)both)),
				       _mm512_set1_epi64((long long)available));
}

/*
 * n slots from `slot` on, which do not pass the ring's end. How many the driver has made available:
 * *ret_n_available.
 *
 * Nobody promises that 64 bytes are read at once, so a line is read twice: loads stay in order, therefore
 * what the second one sees is at least as new as the flags that the first one saw.
 */
static inline uint16_t
packed_direct_load(const struct virtq_conf *conf, const struct direct_constraints *constraints, uint16_t slot,
		   bool wrap, struct virtq_direct *direct, uint16_t at, uint16_t n, uint16_t *ret_n_available)
{
	const uint64_t flags = constraints->flags | (wrap ? PACKED_AVAIL | PACKED_USED : 0u);

	for (uint16_t i = 0; i < n; i = (uint16_t)(i + DIRECT_LANES)) {
		uint16_t group = n - i < DIRECT_LANES ? (uint16_t)(n - i) : DIRECT_LANES, available, taken;
		struct direct_lanes lanes = direct_load_lanes(&conf->ring[slot + i], group);

		available = direct_first(packed_direct_available(lanes.word, wrap), group);
		__asm__ volatile("" ::: "memory"); /* the second load is one */
		lanes = direct_load_lanes(&conf->ring[slot + i], group);
		/* A driver that takes back what it had made available gets what it asks for. */
		available = direct_first(packed_direct_available(lanes.word, wrap), available);
		direct_store(&direct->used[at + i], group,
			     _mm512_or_si512(
				     _mm512_and_si512(lanes.word,
						      _mm512_set1_epi64((long long)(UINT64_C(0xffff) << 32))),
				     _mm512_set1_epi64((long long)(flags << 48))));
		taken = direct_take(conf, constraints, lanes, 48, direct, (uint16_t)(at + i), group);
		if (taken > available)
			taken = available;
		if (taken < group) {
			*ret_n_available = (uint16_t)(i + available);
			return (uint16_t)(i + taken);
		}
	}
	*ret_n_available = n;
	return n;
}

/* n used elements from `slot` on, which do not pass the ring's end, but for the first `skip` (0 or 1). */
static inline void
packed_direct_store(const struct virtq_conf *conf, uint16_t slot, const uint64_t used[],
		    const uint32_t written[], uint16_t n, uint16_t skip)
{
	enum { LANES = PACKED_PER_LINE };

	/* Of each descriptor the second half, all of a line with one store. */
	for (uint16_t i = 0; i < n; i = (uint16_t)(i + LANES)) {
		uint32_t lanes = n - i < LANES ? (1u << (n - i)) - 1 : (1u << LANES) - 1;
		__m256i words = _mm256_maskz_loadu_epi64((__mmask8)lanes, &used[i]);

		if (written)
			words = _mm256_or_si256(words, _mm256_cvtepu32_epi64(_mm_maskz_loadu_epi32(
							       (__mmask8)lanes, &written[i])));
		if (i == 0)
			lanes &= ~(uint32_t)skip;
		__asm__ volatile("" ::: "memory"); /* what was written to the buffers comes before */
		_mm512_mask_storeu_epi64(
			&conf->ring[slot + i], (__mmask8)(_pdep_u32(lanes, 0xaa)),
			_mm512_maskz_permutexvar_epi64(0xaa, _mm512_setr_epi64(0, 0, 0, 1, 0, 2, 0, 3),
						       _mm512_castsi256_si512(words)));
	}
}

#endif
