/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * flows: eight frames at a time, for CPUs with AVX-512: their digests, the same numbers as flow_digest(), and
 * their entries in the table. Compiled for those CPUs (meson.build), so nothing here may be called before
 * flows_variant_of() has been told ISA_AVX512.
 */
#include "flows.h"

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512DQ__) && defined(__AVX512VL__)
#include "flow_group.h"

/* flow_digest_ends() of eight. */
static inline __m256i
flow_group_digest(__m512i a, __m512i b, __m512i salt)
{
	__m512i digest = _mm512_xor_si512(_mm512_min_epu64(a, b), salt);

	digest = _mm512_mullo_epi64(digest, _mm512_set1_epi64((long long)FLOW_DIGEST_FIRST));
	digest = _mm512_xor_si512(digest, _mm512_srli_epi64(digest, 32));
	digest = _mm512_add_epi64(digest, _mm512_max_epu64(a, b));
	digest = _mm512_mullo_epi64(digest, _mm512_set1_epi64((long long)FLOW_DIGEST_SECOND));
	digest = _mm512_xor_si512(digest, _mm512_srli_epi64(digest, 29));
	digest = _mm512_mullo_epi64(digest, _mm512_set1_epi64((long long)FLOW_DIGEST_THIRD));
	return _mm512_cvtepi64_epi32(_mm512_srli_epi64(digest, 32));
}

/* The digests of those of the fast path, 0 for the others. */
static inline void
flow_group_digests(const struct flow_group *group, uint32_t ret_digests[FLOW_GROUP])
{
	/* Of a tuple: source and its port, destination and its port, each in a qword. */
	const __m512i ends =
		_mm512_broadcast_i32x4(_mm_setr_epi8(0, 1, 2, 3, 8, 9, -1, -1, 4, 5, 6, 7, 10, 11, -1, -1));
	__m512i even, odd, salt;

	even = _mm512_shuffle_epi8(flow_group_lanes(group->frames, 2, FLOW_GROUP_TUPLE_AT), ends);
	odd = _mm512_shuffle_epi8(flow_group_lanes(group->frames + 1, 2, FLOW_GROUP_TUPLE_AT), ends);
	salt = _mm512_mask_blend_epi64(group->tcp, _mm512_set1_epi64(FLOW_UDP), _mm512_set1_epi64(FLOW_TCP));
	_mm256_storeu_si256((void *)ret_digests,
			    _mm256_maskz_mov_epi32(
				    group->fast, flow_group_digest(_mm512_unpacklo_epi64(even, odd),
								   _mm512_unpackhi_epi64(even, odd), salt)));
}

static uint32_t
flow_groups(struct rte_mbuf *const *pkts, uint16_t n, uint32_t ret_digests[], uint32_t *ret_known)
{
	uint32_t done = 0, known = 0;

	for (unsigned int i = 0; i + FLOW_GROUP <= n; i += FLOW_GROUP) {
		struct flow_group group;

		if (unlikely(!flow_group_look(pkts + i, &group)))
			continue;
		if (likely(group.fast))
			flow_group_digests(&group, ret_digests + i);
		else
			memset(ret_digests + i, 0, FLOW_GROUP * sizeof(ret_digests[0]));
		known |= (uint32_t)group.fast << i;
		done |= (uint32_t)(group.fast | group.no_ip) << i;
	}
	*ret_known = known;
	return done;
}

/* A gather loads each entry at once, as a relaxed load does. */
static inline __m256i
flows_gather(const _Atomic uint32_t entries[FLOWS_SIZE], __m256i digests)
{
	return _mm256_i32gather_epi32((const int *)(uintptr_t)entries,
				      _mm256_and_si256(digests, _mm256_set1_epi32(FLOWS_SIZE - 1)),
				      sizeof(uint32_t));
}

static uint32_t
flows_changed_groups(const _Atomic uint32_t entries[FLOWS_SIZE], const uint32_t digests[], uint16_t n,
		     uint16_t pair)
{
	uint32_t changed = 0;
	uint16_t i;

	for (i = 0; i + FLOW_GROUP <= n; i = (uint16_t)(i + FLOW_GROUP)) {
		__m256i group = _mm256_loadu_si256((const void *)&digests[i]);
		__m256i want = _mm256_or_si256(_mm256_andnot_si256(_mm256_set1_epi32(FLOWS_PAIR_MASK), group),
					       _mm256_set1_epi32(pair + 1));

		changed |= (uint32_t)_mm256_cmpneq_epi32_mask(flows_gather(entries, group), want) << i;
	}
	for (; i < n; i++)
		changed |= flows_changed_one(entries, digests[i], pair) << i;
	return changed;
}

static void
flows_find_groups(const _Atomic uint32_t entries[FLOWS_SIZE], const uint32_t digests[], uint16_t n,
		  uint16_t n_pairs, uint16_t ret_pairs[])
{
	const __m256i pair_mask = _mm256_set1_epi32(FLOWS_PAIR_MASK);
	uint16_t i;

	for (i = 0; i + FLOW_GROUP <= n; i = (uint16_t)(i + FLOW_GROUP)) {
		__m256i group = _mm256_loadu_si256((const void *)&digests[i]);
		__m256i entry = flows_gather(entries, group);
		__m256i pair = _mm256_sub_epi32(_mm256_and_si256(entry, pair_mask), _mm256_set1_epi32(1));
		__mmask8 is_its = _mm256_cmple_epu32_mask(_mm256_xor_si256(entry, group), pair_mask);

		_mm256_mask_cvtepi32_storeu_epi16(
			&ret_pairs[i], _mm256_mask_cmplt_epu32_mask(is_its, pair, _mm256_set1_epi32(n_pairs)),
			pair);
	}
	for (; i < n; i++)
		flows_find_one(entries, digests[i], n_pairs, &ret_pairs[i]);
}

static const struct flows_variant variant = {
	.groups = flow_groups, .changed = flows_changed_groups, .find = flows_find_groups};
const struct flows_variant *const flows_avx512 = &variant;
#else
const struct flows_variant *const flows_avx512 = NULL;
#endif
