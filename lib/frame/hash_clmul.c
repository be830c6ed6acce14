/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * hash: the variant for CPUs with AVX2 and PCLMULQDQ. Compiled for those (meson.build), so nothing here may
 * be called before isa_select() has said ISA_AVX2.
 *
 * Toeplitz's hash is a product of polynomials over GF(2). Bit j of the hash (from the left) is the sum of
 * T[i] K[i + j] over the tuple's bits i. Take 32 bits of the tuple as T(x) = sum T[i] x^(31 - i), which is
 * them as a big endian number, and 64 bits of the key the other way round, K(x) = sum K[m] x^m: then bit j is
 * the coefficient of x^(31 + j) in T(x) K(x), so 32 bits in the middle of the product are the hash, the other
 * way round. For each word of the tuple there is one window of the key, and the sum of the products has the
 * hash of all words.
 */
#include "hash.h"

#if defined(__AVX2__) && defined(__PCLMUL__)
#include "flow_group_avx2.h"

enum { HASH_LANES = 4 };

static_assert(FLOW_TUPLE_V4 == 3 * 4 && FLOW_TUPLE_V6 == 9 * 4, "words of a tuple");

/* Windows of words i and i + 1. */
static inline __m128i
hash_windows(const struct hash *hash, unsigned int i)
{
	return _mm_loadu_si128((const void *)&hash->windows[i]);
}

/* Words 0 and 1 of four, or 2 and 3, as numbers, each in a qword. */
static inline __m128i
hash_words_low(__m128i words)
{
	return _mm_shuffle_epi8(words, _mm_setr_epi8(3, 2, 1, 0, -1, -1, -1, -1, 7, 6, 5, 4, -1, -1, -1, -1));
}

static inline __m128i
hash_words_high(__m128i words)
{
	return _mm_shuffle_epi8(words,
				_mm_setr_epi8(11, 10, 9, 8, -1, -1, -1, -1, 15, 14, 13, 12, -1, -1, -1, -1));
}

/* The compiler would add the sums of several tuples in wider registers, and spill what it collects for it. */
static inline __m128i
hash_alone(__m128i sum)
{
	__asm__("" : "+x"(sum));
	return sum;
}

static inline __m128i
hash_products(__m128i words, __m128i windows)
{
	return _mm_xor_si128(_mm_clmulepi64_si128(words, windows, 0x00),
			     _mm_clmulepi64_si128(words, windows, 0x11));
}

/* The sum of the products of 12 bytes, the first of 16. */
static inline __m128i
hash_v4_sum_of(const struct hash *hash, __m128i tuple)
{
	return hash_alone(
		_mm_xor_si128(hash_products(hash_words_low(tuple), hash_windows(hash, 0)),
			      _mm_clmulepi64_si128(hash_words_high(tuple), hash_windows(hash, 2), 0x00)));
}

/* 12 bytes, and no more. */
static inline __m128i
hash_v4_sum(const struct hash *hash, const uint8_t *tuple)
{
	uint32_t ports;

	memcpy(&ports, tuple + 8, sizeof(ports));
	return hash_v4_sum_of(hash, _mm_insert_epi32(_mm_loadl_epi64((const void *)tuple), (int)ports, 2));
}

static inline __m128i
hash_load_ports(const uint8_t ports[4])
{
	int word;

	memcpy(&word, ports, sizeof(word));
	return _mm_cvtsi32_si128(word);
}

static inline __m128i
hash_v6_sum(const struct hash *hash, const uint8_t *tuple)
{
	const __m128i first = _mm_loadu_si128((const void *)tuple);
	const __m128i second = _mm_loadu_si128((const void *)(tuple + 16));
	const __m128i ports = hash_load_ports(tuple + 32);
	__m128i sum = hash_products(hash_words_low(first), hash_windows(hash, 0));

	sum = _mm_xor_si128(sum, hash_products(hash_words_high(first), hash_windows(hash, 2)));
	sum = _mm_xor_si128(sum, hash_products(hash_words_low(second), hash_windows(hash, 4)));
	sum = _mm_xor_si128(sum, hash_products(hash_words_high(second), hash_windows(hash, 6)));
	return hash_alone(
		_mm_xor_si128(sum, _mm_clmulepi64_si128(hash_words_low(ports), hash_windows(hash, 8), 0x00)));
}

/* The hashes that are in four sums. */
static inline __m128i
hash_of_sums(__m128i a, __m128i b, __m128i c, __m128i d)
{
	const __m128i nibbles =
		_mm_setr_epi8(0x0, 0x8, 0x4, 0xc, 0x2, 0xa, 0x6, 0xe, 0x1, 0x9, 0x5, 0xd, 0x3, 0xb, 0x7, 0xf);
	const __m128i nibbles_high = _mm_slli_epi16(nibbles, 4), low_mask = _mm_set1_epi8(0xf);
	const __m128i bytes = _mm_setr_epi8(3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12);
	__m128i ab = _mm_srli_epi64(_mm_unpacklo_epi64(a, b), 31);
	__m128i cd = _mm_srli_epi64(_mm_unpacklo_epi64(c, d), 31);
	__m128i turned = _mm_castps_si128(_mm_shuffle_ps(_mm_castsi128_ps(ab), _mm_castsi128_ps(cd), 0x88));

	turned = _mm_shuffle_epi8(turned, bytes);
	return _mm_or_si128(_mm_shuffle_epi8(nibbles_high, _mm_and_si128(turned, low_mask)),
			    _mm_shuffle_epi8(nibbles, _mm_and_si128(_mm_srli_epi16(turned, 4), low_mask)));
}

/* Four at a time; the last one stands in for those behind it. */
static inline __attribute__((always_inline)) void
hash_tuples(const struct hash *hash, const uint8_t *const tuples[], uint16_t n, uint32_t ret_values[],
	    __m128i (*sum)(const struct hash *hash, const uint8_t *tuple))
{
	uint32_t values[HASH_LANES];
	uint16_t i = 0;

	for (; i + HASH_LANES <= n; i = (uint16_t)(i + HASH_LANES))
		_mm_storeu_si128((void *)&ret_values[i],
				 hash_of_sums(sum(hash, tuples[i]), sum(hash, tuples[i + 1]),
					      sum(hash, tuples[i + 2]), sum(hash, tuples[i + 3])));
	if (i == n)
		return;
	_mm_storeu_si128((void *)values,
			 hash_of_sums(sum(hash, tuples[i]), sum(hash, tuples[RTE_MIN(i + 1, n - 1)]),
				      sum(hash, tuples[RTE_MIN(i + 2, n - 1)]), _mm_setzero_si128()));
	for (uint16_t k = 0; i + k < n; k++)
		ret_values[i + k] = values[k];
}

static void
hash_tuples_v4(const struct hash *hash, const uint8_t *const tuples[], uint16_t n, uint32_t ret_values[])
{
	hash_tuples(hash, tuples, n, ret_values, hash_v4_sum);
}

static void
hash_tuples_v6(const struct hash *hash, const uint8_t *const tuples[], uint16_t n, uint32_t ret_values[])
{
	hash_tuples(hash, tuples, n, ret_values, hash_v6_sum);
}

/* --- eight fast-path IPv4 frames --- */

/* The tuple of a frame that is known to have 16 bytes from there on. */
static inline __m128i
hash_group_sum(const struct hash *hash, const uint8_t *frame)
{
	return hash_v4_sum_of(hash, _mm_loadu_si128((const void *)(frame + FLOW_GROUP_TUPLE_AT)));
}

static inline __m128i
hash_group_half(const struct hash *hash, const uint8_t *const frames[])
{
	return hash_of_sums(hash_group_sum(hash, frames[0]), hash_group_sum(hash, frames[1]),
			    hash_group_sum(hash, frames[2]), hash_group_sum(hash, frames[3]));
}

static inline bool
hash_group(const struct hash *hash, struct rte_mbuf *const *pkts, uint32_t ret_values[],
	   uint8_t ret_reports[])
{
	struct flow_group group;
	__m256i reports;

	if (unlikely(!flow_group_look(pkts, &group) || group.fast != FLOW_GROUP_ALL))
		return false;
	_mm_storeu_si128((void *)ret_values, hash_group_half(hash, group.frames));
	_mm_storeu_si128((void *)(ret_values + 4), hash_group_half(hash, group.frames + 4));
	reports = _mm256_blendv_epi8(_mm256_set1_epi32(hash->fast_report[FLOW_FAST_UDP4]),
				     _mm256_set1_epi32(hash->fast_report[FLOW_FAST_TCP4]), group.is_tcp);
	reports = _mm256_packus_epi32(reports, reports);
	reports = _mm256_packus_epi16(reports, reports);
	_mm_storel_epi64((void *)ret_reports, _mm_unpacklo_epi32(_mm256_castsi256_si128(reports),
								 _mm256_extracti128_si256(reports, 1)));
	return true;
}

static uint32_t
hash_groups(const struct hash *hash, struct rte_mbuf *const *pkts, uint16_t n, uint32_t ret_values[],
	    uint8_t ret_reports[])
{
	uint32_t done = 0;

	for (unsigned int i = 0; i + FLOW_GROUP <= n; i += FLOW_GROUP)
		if (likely(hash_group(hash, pkts + i, ret_values + i, ret_reports + i)))
			done |= (uint32_t)FLOW_GROUP_ALL << i;
	return done;
}

const hash_tuples_fn hash_clmul_v4 = hash_tuples_v4, hash_clmul_v6 = hash_tuples_v6;
const hash_groups_fn hash_clmul_groups = hash_groups;

#else

const hash_tuples_fn hash_clmul_v4, hash_clmul_v6;
const hash_groups_fn hash_clmul_groups;

#endif
