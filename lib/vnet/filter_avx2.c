/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * filter: four frames at a time, for CPUs with AVX2. Compiled for those (meson.build), so nothing here may be
 * called before isa_select() has said ISA_AVX2. The same look-ups as filter_judge(), which it is tested
 * against. Twin of filter_avx512.c; places of the tables are loaded one by one, as a gather is slower on many
 * of these CPUs.
 */
#include "filter_table.h"

#if defined(__AVX2__)
#include <immintrin.h>

enum {
	FILTER_LANES = 4,
	/* In the second 8 bytes of a frame: the type in bits 32 to 47, the tag's bytes above it. */
	FILTER_TYPE_SHIFT = 32,
	FILTER_TAG_SHIFT = 48,
};

static_assert((int)FILTER_LOOK == 16, "one load a frame");
static_assert((int)FILTER_GROUP % (int)FILTER_LANES == 0, "a group is whole vectors");

/* The first 16 bytes of two frames. */
static inline __m256i
filter_heads(const struct rte_mbuf *a, const struct rte_mbuf *b)
{
	return _mm256_loadu2_m128i(rte_pktmbuf_mtod(b, const __m128i *),
				   rte_pktmbuf_mtod(a, const __m128i *));
}

/* What is the same for all frames of a burst. */
struct filter_vectors {
	__m256i key_mask, low, high, open, differs;
	__m128i shift;
};

/* The words of a table at four places. */
static inline __m256i
filter_look_up(const uint64_t *table, __m256i places)
{
	const __m128i low = _mm256_castsi256_si128(places), high = _mm256_extracti128_si256(places, 1);

	return _mm256_setr_epi64x(
		(long long)table[_mm_cvtsi128_si64(low)], (long long)table[_mm_extract_epi64(low, 1)],
		(long long)table[_mm_cvtsi128_si64(high)], (long long)table[_mm_extract_epi64(high, 1)]);
}

/* In the highest bit of each lane: wanted by its tag, or without one. */
static inline __m256i
filter_lanes_vlan(const struct vnet_filter *filter, __m256i tail, __m256i is_tagged)
{
	/* The tag is big endian, and its highest 4 bits are not the VLAN's. */
	const __m256i tag = _mm256_srli_epi64(tail, FILTER_TAG_SHIFT);
	const __m256i vlan =
		_mm256_or_si256(_mm256_slli_epi64(_mm256_and_si256(tag, _mm256_set1_epi64x(0xf)), 8),
				_mm256_srli_epi64(tag, 8));
	const __m256i word = filter_look_up(filter->vlans, _mm256_srli_epi64(vlan, 6));
	const __m256i bit = _mm256_srlv_epi64(word, _mm256_and_si256(vlan, _mm256_set1_epi64x(63)));

	return _mm256_or_si256(_mm256_slli_epi64(bit, 63),
			       _mm256_xor_si256(is_tagged, _mm256_set1_epi64x(-1)));
}

/* A bit for each of four frames. */
static inline uint32_t
filter_lanes(const struct vnet_filter *filter, const struct filter_vectors *vectors,
	     struct rte_mbuf *const *pkts)
{
	const __m256i even = filter_heads(pkts[0], pkts[2]), odd = filter_heads(pkts[1], pkts[3]);
	const __m256i key = _mm256_and_si256(_mm256_unpacklo_epi64(even, odd), vectors->key_mask);
	const __m256i tail = _mm256_unpackhi_epi64(even, odd);
	/* key * multiplier */
	const __m256i cross = _mm256_add_epi64(_mm256_mul_epu32(_mm256_srli_epi64(key, 32), vectors->low),
					       _mm256_mul_epu32(key, vectors->high));
	const __m256i product =
		_mm256_add_epi64(_mm256_mul_epu32(key, vectors->low), _mm256_slli_epi64(cross, 32));
	const __m256i exception =
		filter_look_up(filter->exceptions, _mm256_srl_epi64(product, vectors->shift));
	const __m256i is_tagged = _mm256_cmpeq_epi64(
		_mm256_and_si256(tail,
				 _mm256_set1_epi64x((long long)(UINT64_C(0xffff) << FILTER_TYPE_SHIFT))),
		_mm256_set1_epi64x(
			(long long)((uint64_t)RTE_BE16(RTE_ETHER_TYPE_VLAN) << FILTER_TYPE_SHIFT)));
	/* In the highest bit: the class is open. */
	__m256i wanted = _mm256_xor_si256(vectors->open,
					  _mm256_and_si256(_mm256_slli_epi64(key, 63), vectors->differs));

	wanted = _mm256_xor_si256(wanted, _mm256_cmpeq_epi64(exception, key));
	if (filter->by_vlan && !_mm256_testz_si256(is_tagged, is_tagged))
		wanted = _mm256_and_si256(wanted, filter_lanes_vlan(filter, tail, is_tagged));
	return (uint32_t)_mm256_movemask_pd(_mm256_castsi256_pd(wanted));
}

static uint64_t
filter_groups(const struct vnet_filter *filter, struct rte_mbuf *const *pkts, uint16_t n)
{
	const struct filter_vectors vectors = {
		.key_mask = _mm256_set1_epi64x((long long)FILTER_KEY_MASK),
		.low = _mm256_set1_epi64x((long long)(filter->multiplier & UINT32_MAX)),
		.high = _mm256_set1_epi64x((long long)(filter->multiplier >> 32)),
		.open = _mm256_set1_epi64x(-(long long)filter->open_unicast),
		.differs = _mm256_set1_epi64x(-(long long)filter->open_differs),
		.shift = _mm_cvtsi64_si128((long long)filter->shift),
	};
	uint64_t wanted = 0;

	n &= (uint16_t) ~(FILTER_GROUP - 1);
	for (uint16_t i = 0; i < n; i = (uint16_t)(i + FILTER_LANES)) {
		if (unlikely(pkts[i]->data_len < FILTER_LOOK || pkts[i + 1]->data_len < FILTER_LOOK ||
			     pkts[i + 2]->data_len < FILTER_LOOK || pkts[i + 3]->data_len < FILTER_LOOK))
			return FILTER_NONE;
		wanted |= (uint64_t)filter_lanes(filter, &vectors, &pkts[i]) << i;
	}
	return wanted;
}

const filter_groups_fn filter_groups_avx2 = filter_groups;
#else
const filter_groups_fn filter_groups_avx2 = NULL;
#endif
