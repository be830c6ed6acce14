/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * flow: as flow_group.h, with AVX2: eight frames in a row looked at together. For files that are compiled for
 * AVX2 (meson.build). The same checks as flow_fast(), but for what it leaves to that one.
 *
 *     from FLOW_GROUP_TYPE_AT on, four words of 32 bits of each frame; turned round, so that lane i of each
 *     vector is frame i
 *
 *     word 0   type, version and words, TOS
 *     word 1   length, id
 *     word 2   fragment, TTL, protocol
 *     word 3   checksum, half of an address: not looked at
 */
#ifndef VNICD_FLOW_GROUP_AVX2_H
#define VNICD_FLOW_GROUP_AVX2_H

#include <immintrin.h>

#include "flow.h"

enum {
	FLOW_GROUP = 8,
	FLOW_GROUP_ALL = 0xff,
	FLOW_GROUP_TYPE_AT = 2 * RTE_ETHER_ADDR_LEN, /* 16 bytes from here on have all that is checked */
	FLOW_GROUP_TUPLE_AT = RTE_ETHER_HDR_LEN + 12,
	/* Shorter ones, which only UDP can be, are left out. Both loads are within it. */
	FLOW_GROUP_LEN = RTE_ETHER_HDR_LEN + FLOW_IPV4_LEN + FLOW_TCP_LEN,
};

/* A bit for each of the eight. */
struct flow_group {
	const uint8_t *frames[FLOW_GROUP];
	uint8_t fast;   /* fast-path IPv4, with TCP or UDP */
	uint8_t no_ip;  /* not IP, whatever follows; neither of both: flow_fast() knows more */
	__m256i is_tcp; /* all ones in the lanes of those that are TCP; of the fast-path ones */
};

/* Words 0 and 1, 2 and 3 of frames 0 to 3 in the low half, 4 to 7 in the high one. */
static inline __m256i
flow_group_pair(const uint8_t *const frames[], unsigned int i, unsigned int at)
{
	return _mm256_loadu2_m128i((const void *)(frames[i + 4] + at), (const void *)(frames[i] + at));
}

static inline uint8_t
flow_group_mask(__m256i lanes)
{
	return (uint8_t)_mm256_movemask_ps(_mm256_castsi256_ps(lanes));
}

static inline __m256i
flow_group_is(__m256i words, __m256i mask, uint32_t value)
{
	return _mm256_cmpeq_epi32(_mm256_and_si256(words, mask), _mm256_set1_epi32((int)value));
}

/* False: one of them is too short to be looked at in this way. */
static inline bool
flow_group_look(struct rte_mbuf *const *pkts, struct flow_group *ret_group)
{
	const __m256i head_mask = _mm256_set1_epi32(0xffffff), rest_mask = _mm256_set1_epi32((int)0xff00ff3f);
	/* The length, as a number. */
	const __m256i length_at = _mm256_broadcastsi128_si256(
		_mm_setr_epi8(1, 0, -1, -1, 5, 4, -1, -1, 9, 8, -1, -1, 13, 12, -1, -1));
	const uint8_t **frames = ret_group->frames;
	__m256i a, b, c, d, low, high, head, rest, length, is_udp, fast;

	for (unsigned int i = 0; i < FLOW_GROUP; i++) {
		if (unlikely(rte_pktmbuf_data_len(pkts[i]) < FLOW_GROUP_LEN))
			return false;
		frames[i] = rte_pktmbuf_mtod(pkts[i], const uint8_t *);
	}
	a = flow_group_pair(frames, 0, FLOW_GROUP_TYPE_AT);
	b = flow_group_pair(frames, 1, FLOW_GROUP_TYPE_AT);
	c = flow_group_pair(frames, 2, FLOW_GROUP_TYPE_AT);
	d = flow_group_pair(frames, 3, FLOW_GROUP_TYPE_AT);
	low = _mm256_unpacklo_epi32(a, b);
	high = _mm256_unpacklo_epi32(c, d);
	head = _mm256_unpacklo_epi64(low, high);
	length = _mm256_shuffle_epi8(_mm256_unpackhi_epi64(low, high), length_at);
	rest = _mm256_unpacklo_epi64(_mm256_unpackhi_epi32(a, b), _mm256_unpackhi_epi32(c, d));
	ret_group->is_tcp = flow_group_is(rest, rest_mask, (uint32_t)FLOW_PROTO_TCP << 24);
	is_udp = flow_group_is(rest, rest_mask, (uint32_t)FLOW_PROTO_UDP << 24);
	fast = _mm256_cmpgt_epi32(
		length, _mm256_add_epi32(_mm256_set1_epi32(FLOW_IPV4_LEN + FLOW_UDP_LEN - 1),
					 _mm256_and_si256(ret_group->is_tcp,
							  _mm256_set1_epi32(FLOW_TCP_LEN - FLOW_UDP_LEN))));
	fast = _mm256_and_si256(fast, _mm256_or_si256(ret_group->is_tcp, is_udp));
	fast = _mm256_and_si256(fast,
				flow_group_is(head, head_mask, 0x45 << 16 | RTE_BE16(RTE_ETHER_TYPE_IPV4)));
	ret_group->fast = flow_group_mask(fast);
	ret_group->no_ip = 0;
	if (unlikely(ret_group->fast != FLOW_GROUP_ALL)) {
		const __m256i type_mask = _mm256_set1_epi32(0xffff);

		ret_group->no_ip = (uint8_t) ~(
			flow_group_mask(flow_group_is(head, type_mask, RTE_BE16(RTE_ETHER_TYPE_IPV4))) |
			flow_group_mask(flow_group_is(head, type_mask, RTE_BE16(RTE_ETHER_TYPE_IPV6))) |
			flow_group_mask(flow_group_is(head, type_mask, RTE_BE16(RTE_ETHER_TYPE_VLAN))) |
			flow_group_mask(flow_group_is(head, type_mask, RTE_BE16(RTE_ETHER_TYPE_QINQ))));
	}
	return true;
}

#endif
