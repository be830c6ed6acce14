/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * flow: eight frames in a row looked at together; nearly always they are all fast-path IPv4. For files that
 * are compiled for AVX-512 only (meson.build). The same checks as flow_fast(), which it is tested against,
 * but for what it leaves to that one: tags, IPv6, and frames too short for TCP.
 *
 *     lanes of 16 bytes:   even | frame 0 | frame 2 | frame 4 | frame 6 |     unpacked: qwords of frames 0 ..
 * 7 odd  | frame 1 | frame 3 | frame 5 | frame 7 |     in their order
 */
#ifndef VNICD_FLOW_GROUP_H
#define VNICD_FLOW_GROUP_H

#include <immintrin.h>

#include "flow.h"

enum {
	FLOW_GROUP = 8,
	FLOW_GROUP_TYPE_AT = 2 * RTE_ETHER_ADDR_LEN, /* 16 bytes from here on have all that is checked */
	FLOW_GROUP_TUPLE_AT = RTE_ETHER_HDR_LEN + 12,
	/* Shorter ones, which only UDP can be, are left out. Both loads are within it. */
	FLOW_GROUP_LEN = RTE_ETHER_HDR_LEN + FLOW_IPV4_LEN + FLOW_TCP_LEN,
};

/* 16 bytes of each of frames[0], frames[step], frames[2 * step], frames[3 * step]. */
static inline __m512i
flow_group_lanes(const uint8_t *const frames[], unsigned int step, unsigned int at)
{
	__m512i lanes = _mm512_castsi128_si512(_mm_loadu_si128((const void *)(frames[0] + at)));

	lanes = _mm512_inserti32x4(lanes, _mm_loadu_si128((const void *)(frames[step] + at)), 1);
	lanes = _mm512_inserti32x4(lanes, _mm_loadu_si128((const void *)(frames[2 * step] + at)), 2);
	return _mm512_inserti32x4(lanes, _mm_loadu_si128((const void *)(frames[3 * step] + at)), 3);
}

/* A bit for each of the eight. */
struct flow_group {
	const uint8_t *frames[FLOW_GROUP];
	uint8_t fast;  /* fast-path IPv4, with TCP or UDP */
	uint8_t tcp;   /* of the fast-path ones: TCP */
	uint8_t no_ip; /* not IP, whatever follows; neither of both: flow_fast() knows more */
};

/* False: one of them is too short to be looked at in this way. */
static inline bool
flow_group_look(struct rte_mbuf *const *pkts, struct flow_group *ret_group)
{
	/* Type, version and words, TOS, length, id; fragment, TTL, protocol, checksum, two of the address. */
	const __m512i type_mask = _mm512_set1_epi64(0xffff), head_mask = _mm512_set1_epi64(0xffffff);
	const __m512i rest_mask = _mm512_set1_epi64(0xff00ff3f);
	const __m512i ipv4 = _mm512_set1_epi64(0x45 << 16 | RTE_BE16(RTE_ETHER_TYPE_IPV4));
	/* The length, as a number. */
	const __m512i length_at = _mm512_broadcast_i32x4(
		_mm_setr_epi8(5, 4, -1, -1, -1, -1, -1, -1, 13, 12, -1, -1, -1, -1, -1, -1));
	const uint8_t **frames = ret_group->frames;
	__m512i even, odd, head, rest, needed, type;
	__mmask8 is_ipv4, is_tcp, is_udp, is_long;

	for (unsigned int i = 0; i < FLOW_GROUP; i++) {
		if (unlikely(rte_pktmbuf_data_len(pkts[i]) < FLOW_GROUP_LEN))
			return false;
		frames[i] = rte_pktmbuf_mtod(pkts[i], const uint8_t *);
	}
	even = flow_group_lanes(frames, 2, FLOW_GROUP_TYPE_AT);
	odd = flow_group_lanes(frames + 1, 2, FLOW_GROUP_TYPE_AT);
	head = _mm512_unpacklo_epi64(even, odd);
	rest = _mm512_and_si512(_mm512_unpackhi_epi64(even, odd), rest_mask);
	is_ipv4 = _mm512_cmpeq_epi64_mask(_mm512_and_si512(head, head_mask), ipv4);
	is_tcp = _mm512_cmpeq_epi64_mask(rest, _mm512_set1_epi64((long long)FLOW_PROTO_TCP << 24));
	is_udp = _mm512_cmpeq_epi64_mask(rest, _mm512_set1_epi64((long long)FLOW_PROTO_UDP << 24));
	needed = _mm512_mask_blend_epi64(is_tcp, _mm512_set1_epi64(FLOW_IPV4_LEN + FLOW_UDP_LEN),
					 _mm512_set1_epi64(FLOW_IPV4_LEN + FLOW_TCP_LEN));
	is_long = _mm512_cmpge_epu64_mask(_mm512_shuffle_epi8(head, length_at), needed);
	ret_group->tcp = is_tcp;
	ret_group->fast = is_ipv4 & is_long & (is_tcp | is_udp);
	ret_group->no_ip = 0;
	if (likely(ret_group->fast == 0xff))
		return true;
	type = _mm512_and_si512(head, type_mask);
	ret_group->no_ip = _mm512_cmpneq_epi64_mask(type, _mm512_set1_epi64(RTE_BE16(RTE_ETHER_TYPE_IPV4))) &
			   _mm512_cmpneq_epi64_mask(type, _mm512_set1_epi64(RTE_BE16(RTE_ETHER_TYPE_IPV6))) &
			   _mm512_cmpneq_epi64_mask(type, _mm512_set1_epi64(RTE_BE16(RTE_ETHER_TYPE_VLAN))) &
			   _mm512_cmpneq_epi64_mask(type, _mm512_set1_epi64(RTE_BE16(RTE_ETHER_TYPE_QINQ)));
	return true;
}

#endif
