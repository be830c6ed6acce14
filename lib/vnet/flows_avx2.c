/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * flows: the digests of eight frames at a time, for CPUs with AVX2, the same numbers as flow_digest(). Twin
 * of flows_avx512.c, but for the table's entries, which are looked up one by one: a gather is slower on many
 * of these CPUs. Compiled for them (meson.build), so nothing here may be called before flows_variant_of() has
 * been told ISA_AVX2.
 */
#include "flows.h"

#ifdef __AVX2__
#include "flow_group_avx2.h"

/* Four products of 64 bits. */
static inline __m256i
flow_multiply(__m256i a, uint64_t b)
{
	const __m256i low = _mm256_set1_epi64x((long long)(b & UINT32_MAX)),
		      high = _mm256_set1_epi64x((long long)(b >> 32));
	__m256i cross =
		_mm256_add_epi64(_mm256_mul_epu32(_mm256_srli_epi64(a, 32), low), _mm256_mul_epu32(a, high));

	return _mm256_add_epi64(_mm256_mul_epu32(a, low), _mm256_slli_epi64(cross, 32));
}

/* flow_digest_ends() of four, in the high half of each lane. An end is a number below 2^48. */
static inline __m256i
flow_group_digest(__m256i a, __m256i b, __m256i salt)
{
	const __m256i is_greater = _mm256_cmpgt_epi64(a, b);
	const __m256i min = _mm256_blendv_epi8(a, b, is_greater), max = _mm256_blendv_epi8(b, a, is_greater);
	__m256i digest = flow_multiply(_mm256_xor_si256(min, salt), FLOW_DIGEST_FIRST);

	digest = _mm256_xor_si256(digest, _mm256_srli_epi64(digest, 32));
	digest = flow_multiply(_mm256_add_epi64(digest, max), FLOW_DIGEST_SECOND);
	digest = _mm256_xor_si256(digest, _mm256_srli_epi64(digest, 29));
	return flow_multiply(digest, FLOW_DIGEST_THIRD);
}

/* Those of frames i, i + 1, i + 4 and i + 5; the last two in the high half. */
static inline __m256i
flow_group_digest_at(const struct flow_group *group, unsigned int i, __m256i salt)
{
	/* Of a tuple: source and its port, destination and its port, each in a qword. */
	const __m256i ends = _mm256_broadcastsi128_si256(
		_mm_setr_epi8(0, 1, 2, 3, 8, 9, -1, -1, 4, 5, 6, 7, 10, 11, -1, -1));
	__m256i even = _mm256_shuffle_epi8(flow_group_pair(group->frames, i, FLOW_GROUP_TUPLE_AT), ends);
	__m256i odd = _mm256_shuffle_epi8(flow_group_pair(group->frames, i + 1, FLOW_GROUP_TUPLE_AT), ends);

	return flow_group_digest(_mm256_unpacklo_epi64(even, odd), _mm256_unpackhi_epi64(even, odd), salt);
}

/* The digests of the fast path, those of other frames mean nothing. */
static inline void
flow_group_digests(const struct flow_group *group, uint32_t ret_digests[FLOW_GROUP])
{
	/* Of each frame FLOW_TCP or FLOW_UDP, which is one more. */
	const __m256i salts = _mm256_add_epi32(_mm256_set1_epi32(FLOW_UDP), group->is_tcp);
	const __m256i zero = _mm256_setzero_si256();
	__m256i first = flow_group_digest_at(group, 0, _mm256_unpacklo_epi32(salts, zero));
	__m256i second = flow_group_digest_at(group, 2, _mm256_unpackhi_epi32(salts, zero));

	static_assert(FLOW_UDP == FLOW_TCP + 1, "the salt of TCP is one less");
	_mm256_storeu_si256((void *)ret_digests,
			    _mm256_castps_si256(_mm256_shuffle_ps(_mm256_castsi256_ps(first),
								  _mm256_castsi256_ps(second), 0xdd)));
}

static uint32_t
flow_groups(struct rte_mbuf *const *pkts, uint16_t n, uint32_t ret_digests[], uint32_t *ret_known)
{
	uint32_t done = 0, known = 0;

	for (unsigned int i = 0; i + FLOW_GROUP <= n; i += FLOW_GROUP) {
		struct flow_group group;

		if (unlikely(!flow_group_look(pkts + i, &group)))
			continue;
		flow_group_digests(&group, ret_digests + i);
		for (uint32_t others = group.fast ^ FLOW_GROUP_ALL; unlikely(others); others &= others - 1)
			ret_digests[i + (unsigned int)__builtin_ctz(others)] = 0;
		known |= (uint32_t)group.fast << i;
		done |= (uint32_t)(group.fast | group.no_ip) << i;
	}
	*ret_known = known;
	return done;
}

static const struct flows_variant variant = {
	.groups = flow_groups, .changed = flows_changed, .find = flows_find};
const struct flows_variant *const flows_avx2 = &variant;
#else
const struct flows_variant *const flows_avx2 = NULL;
#endif
