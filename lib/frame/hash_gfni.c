/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * hash: the variant for CPUs with GFNI and AVX-512. Compiled for those (meson.build), so nothing here may be
 * called before isa_select() has said ISA_AVX512_GFNI.
 *
 * Lists of tuples go to DPDK's function. Eight fast-path IPv4 frames in a row, which is nearly always, are
 * looked at and hashed together: less than half the cost.
 */
#define ALLOW_EXPERIMENTAL_API /* rte_thash_gfni */
#define ALLOW_INTERNAL_API     /* the helpers in the same header, inlined into it */
#include "hash.h"

#include <rte_thash_gfni.h>

#ifdef RTE_THASH_GFNI_DEFINED
#include "flow_group.h"

/* rte_thash_gfni_bulk() only reads tuples; its parameter does not say so. */
static void
hash_gfni_bulk_v4(const struct hash *hash, const uint8_t *const tuples[], uint16_t n, uint32_t ret_values[])
{
	rte_thash_gfni_bulk(hash->matrices, FLOW_TUPLE_V4, (uint8_t **)(uintptr_t)tuples, ret_values, n);
}

static void
hash_gfni_bulk_v6(const struct hash *hash, const uint8_t *const tuples[], uint16_t n, uint32_t ret_values[])
{
	rte_thash_gfni_bulk(hash->matrices, FLOW_TUPLE_V6, (uint8_t **)(uintptr_t)tuples, ret_values, n);
}

/* --- eight fast-path IPv4 frames --- */

/*
 * Eight tuples, each in a lane of a or b. Turned round, so that qword j has byte j of all of them; multiplied
 * by matrices k .. k + 7 this gives what bytes 0 .. 7 add to byte k of the eight hashes, and likewise bytes
 * 8 .. 11; the sum of the qwords is byte k.
 */
static inline __m256i
hash_lanes_sum(const uint64_t *matrices, __m512i a, __m512i b)
{
	/* Byte 8 j + p of what comes is byte j of tuple p: 16 p + j of a (p below 4) or b (16 p + j - 64). */
	const __m512i turn = _mm512_setr_epi64(0x7060504030201000, 0x7161514131211101, 0x7262524232221202,
					       0x7363534333231303, 0x7464544434241404, 0x7565554535251505,
					       0x7666564636261606, 0x7767574737271707);
	const __m512i turn_rest = _mm512_add_epi8(turn, _mm512_set1_epi8(8));
	const __mmask64 from_b = 0xf0f0f0f0f0f0f0f0;
	/* Byte 3 - k of number p is byte p of qword k; the qwords are 0, 1, 4 and 5 by then. */
	const __m256i numbers = _mm256_setr_epi8(40, 32, 8, 0, 41, 33, 9, 1, 42, 34, 10, 2, 43, 35, 11, 3, 44,
						 36, 12, 4, 45, 37, 13, 5, 46, 38, 14, 6, 47, 39, 15, 7);
	__m512i head = _mm512_mask_permutexvar_epi8(_mm512_permutexvar_epi8(turn, a), from_b, turn, b);
	__m512i rest = _mm512_maskz_permutexvar_epi8(UINT32_MAX, turn_rest, a);
	__m512i sum[4], sum01, sum23;

	rest = _mm512_mask_permutexvar_epi8(rest, from_b & UINT32_MAX, turn_rest, b);
	for (unsigned int k = 0; k < 4; k++)
		sum[k] = _mm512_xor_si512(
			_mm512_gf2p8affine_epi64_epi8(head, _mm512_loadu_si512(matrices + k), 0),
			_mm512_gf2p8affine_epi64_epi8(rest, _mm512_loadu_si512(matrices + 8 + k), 0));
	sum01 = _mm512_xor_si512(_mm512_unpacklo_epi64(sum[0], sum[1]),
				 _mm512_unpackhi_epi64(sum[0], sum[1]));
	sum23 = _mm512_xor_si512(_mm512_unpacklo_epi64(sum[2], sum[3]),
				 _mm512_unpackhi_epi64(sum[2], sum[3]));
	sum01 = _mm512_xor_si512(_mm512_shuffle_i64x2(sum01, sum23, 0x44),
				 _mm512_shuffle_i64x2(sum01, sum23, 0xee));
	sum01 = _mm512_xor_si512(sum01, _mm512_shuffle_i64x2(sum01, sum01, 0xb1));
	return _mm512_castsi512_si256(_mm512_permutexvar_epi8(_mm512_castsi256_si512(numbers), sum01));
}

static inline bool
hash_group(const struct hash *hash, struct rte_mbuf *const *pkts, uint32_t ret_values[],
	   uint8_t ret_reports[])
{
	struct flow_group group;

	if (unlikely(!flow_group_look(pkts, &group) || group.fast != 0xff))
		return false;
	_mm256_storeu_si256((void *)ret_values,
			    hash_lanes_sum(hash->matrices,
					   flow_group_lanes(group.frames, 1, FLOW_GROUP_TUPLE_AT),
					   flow_group_lanes(group.frames + 4, 1, FLOW_GROUP_TUPLE_AT)));
	_mm_storel_epi64((void *)ret_reports,
			 _mm_mask_blend_epi8(group.tcp,
					     _mm_set1_epi8((char)hash->fast_report[FLOW_FAST_UDP4]),
					     _mm_set1_epi8((char)hash->fast_report[FLOW_FAST_TCP4])));
	return true;
}

static uint32_t
hash_groups(const struct hash *hash, struct rte_mbuf *const *pkts, uint16_t n, uint32_t ret_values[],
	    uint8_t ret_reports[])
{
	uint32_t done = 0;

	for (unsigned int i = 0; i + FLOW_GROUP <= n; i += FLOW_GROUP)
		if (likely(hash_group(hash, pkts + i, ret_values + i, ret_reports + i)))
			done |= 0xffu << i;
	return done;
}

const hash_tuples_fn hash_gfni_v4 = hash_gfni_bulk_v4, hash_gfni_v6 = hash_gfni_bulk_v6;
const hash_groups_fn hash_gfni_groups = hash_groups;

#else

const hash_tuples_fn hash_gfni_v4, hash_gfni_v6;
const hash_groups_fn hash_gfni_groups;

#endif
