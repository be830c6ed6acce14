/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * filter: eight frames at a time, for CPUs with AVX-512. Compiled for those (meson.build), so nothing here
 * may be called before isa_select() has said ISA_AVX512. The same look-ups as filter_judge(), which
 * it is tested against.
 */
#include "filter_table.h"

#if defined(__AVX512F__) && defined(__AVX512DQ__)
#include <immintrin.h>

/* In the second 8 bytes of a frame: the type in bits 32 to 47, the tag's bytes above it. */
enum { FILTER_TYPE_SHIFT = 32, FILTER_TAG_SHIFT = 48, FILTER_HEAD = 16 };

static_assert((int)FILTER_LOOK == (int)FILTER_HEAD, "one load a frame");

static inline __m128i
filter_head(const struct rte_mbuf *pkt)
{
	return _mm_loadu_si128(rte_pktmbuf_mtod(pkt, const void *));
}

/* The first 16 bytes of every second of eight frames. */
static inline __m512i
filter_heads(struct rte_mbuf *const *pkts)
{
	__m512i heads = _mm512_castsi128_si512(filter_head(pkts[0]));

	heads = _mm512_inserti64x2(heads, filter_head(pkts[2]), 1);
	heads = _mm512_inserti64x2(heads, filter_head(pkts[4]), 2);
	return _mm512_inserti64x2(heads, filter_head(pkts[6]), 3);
}

static inline uint8_t
filter_group(const struct vnet_filter *filter, struct rte_mbuf *const *pkts)
{
	const __m512i even = filter_heads(pkts), odd = filter_heads(pkts + 1);
	__m512i key = _mm512_unpacklo_epi64(even, odd), tail = _mm512_unpackhi_epi64(even, odd);
	__m512i place, tag, vlan, word;
	__mmask8 is_exception, is_multicast, is_tagged, is_of_vlan, is_open;

	key = _mm512_and_si512(key, _mm512_set1_epi64((long long)FILTER_KEY_MASK));
	place = _mm512_srl_epi64(_mm512_mullo_epi64(key, _mm512_set1_epi64((long long)filter->multiplier)),
				 _mm_cvtsi64_si128((long long)filter->shift));
	is_exception = _mm512_cmpeq_epi64_mask(_mm512_i64gather_epi64(place, filter->exceptions, 8), key);
	is_multicast = _mm512_test_epi64_mask(key, _mm512_set1_epi64(1));
	is_open = (__mmask8)((filter->open_unicast ? 0xff : 0) ^ (filter->open_differs ? is_multicast : 0));

	is_tagged = _mm512_cmpeq_epi64_mask(
		_mm512_and_si512(_mm512_srli_epi64(tail, FILTER_TYPE_SHIFT), _mm512_set1_epi64(0xffff)),
		_mm512_set1_epi64(RTE_BE16(RTE_ETHER_TYPE_VLAN)));
	if (!filter->by_vlan || !is_tagged)
		return (uint8_t)(is_exception ^ is_open);
	/* The tag is big endian, and its highest 4 bits are not the VLAN's. */
	tag = _mm512_srli_epi64(tail, FILTER_TAG_SHIFT);
	vlan = _mm512_or_si512(_mm512_slli_epi64(_mm512_and_si512(tag, _mm512_set1_epi64(0xf)), 8),
			       _mm512_srli_epi64(tag, 8));
	word = _mm512_i64gather_epi64(_mm512_srli_epi64(vlan, 6), filter->vlans, 8);
	is_of_vlan = _mm512_test_epi64_mask(
		_mm512_srlv_epi64(word, _mm512_and_si512(vlan, _mm512_set1_epi64(63))), _mm512_set1_epi64(1));
	return (uint8_t)((is_exception ^ is_open) & (is_of_vlan | ~is_tagged));
}

static uint64_t
filter_groups(const struct vnet_filter *filter, struct rte_mbuf *const *pkts, uint16_t n)
{
	uint16_t shortest = UINT16_MAX;
	uint64_t wanted = 0;

	for (uint16_t i = 0; i < n; i++)
		shortest = RTE_MIN(shortest, pkts[i]->data_len);
	if (unlikely(shortest < FILTER_LOOK))
		return FILTER_NONE;
	for (uint16_t i = 0; i + FILTER_GROUP <= n; i = (uint16_t)(i + FILTER_GROUP))
		wanted |= (uint64_t)filter_group(filter, &pkts[i]) << i;
	return wanted;
}

const filter_groups_fn filter_groups_avx512 = filter_groups;
#else
const filter_groups_fn filter_groups_avx512 = NULL;
#endif
