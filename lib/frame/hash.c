/* SPDX-License-Identifier: BSD-3-Clause */
/* hash: which type of hash a frame gets, and the portable variant of calculating it. */
#include "hash.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static_assert(FRAME_BURST <= 32, "a bit for each frame");
static_assert(HASH_KEY_LEN == 40, "all of the longest tuple is hashed, no more");
static_assert(FLOW_FAST_UDP4 == FLOW_FAST_TCP4 + 1 && FLOW_FAST_UDP6 == FLOW_FAST_TCP6 + 1,
	      "TCP and UDP side by side");

/* VIRTIO, "Hash reporting for incoming packets": bit of the type + 1. */
enum hash_report {
	HASH_REPORT_NONE,
	HASH_REPORT_IPV4,
	HASH_REPORT_TCPV4,
	HASH_REPORT_UDPV4,
	HASH_REPORT_IPV6,
	HASH_REPORT_TCPV6,
	HASH_REPORT_UDPV6,
	HASH_REPORT_IP_EX,
	HASH_REPORT_TCP_EX,
	HASH_REPORT_UDP_EX,
};

/* --- the type --- */

/* The first of the three that is enabled and that the frame has what it takes for. */
static enum hash_report
hash_report_of(uint32_t types, enum flow_l4 l4, enum hash_report ip, enum hash_report tcp,
	       enum hash_report udp)
{
	if (l4 == FLOW_TCP && types & 1u << (tcp - 1))
		return tcp;
	if (l4 == FLOW_UDP && types & 1u << (udp - 1))
		return udp;
	return types & 1u << (ip - 1) ? ip : HASH_REPORT_NONE;
}

static enum hash_report
hash_report(uint32_t types, enum flow_ip ip, enum flow_l4 l4, bool extended)
{
	enum hash_report report = HASH_REPORT_NONE;

	if (ip == FLOW_IPV4)
		return hash_report_of(types, l4, HASH_REPORT_IPV4, HASH_REPORT_TCPV4, HASH_REPORT_UDPV4);
	if (ip != FLOW_IPV6)
		return HASH_REPORT_NONE;
	/* "IPv6 packets with extension header": else as if it had none. */
	if (extended)
		report = hash_report_of(types, l4, HASH_REPORT_IP_EX, HASH_REPORT_TCP_EX, HASH_REPORT_UDP_EX);
	if (report == HASH_REPORT_NONE)
		report = hash_report_of(types, l4, HASH_REPORT_IPV6, HASH_REPORT_TCPV6, HASH_REPORT_UDPV6);
	return report;
}

static inline bool
hash_report_has_ports(uint8_t report)
{
	const uint32_t without = 1 << HASH_REPORT_NONE | 1 << HASH_REPORT_IPV4 | 1 << HASH_REPORT_IPV6 |
				 1 << HASH_REPORT_IP_EX;

	return !(without >> report & 1);
}

/* --- the portable variant --- */

/* Bits [at, at + 32) of the key. */
static uint32_t
hash_key_window(const uint8_t key[HASH_KEY_LEN], unsigned int at)
{
	uint64_t bits = 0;

	for (unsigned int i = 0; i < 5; i++)
		bits = bits << 8 | key[at / 8 + i];
	return (uint32_t)(bits >> (8 - at % 8));
}

static void
hash_tables_make(struct hash *hash)
{
	for (unsigned int i = 0; i < FLOW_TUPLE_V6; i++) {
		hash->tables[i][0] = 0;
		for (unsigned int bit = 0; bit < 8; bit++)
			for (unsigned int byte = 0; byte < 1u << bit; byte++)
				hash->tables[i][byte | 1u << bit] =
					hash->tables[i][byte] ^ hash_key_window(hash->key, 8 * i + 7 - bit);
	}
}

static inline __attribute__((always_inline)) void
hash_by_tables(const struct hash *hash, const uint8_t *const tuples[], uint16_t n, unsigned int len,
	       uint32_t ret_values[])
{
	for (uint16_t i = 0; i < n; i++) {
		const uint8_t *tuple = tuples[i];
		uint32_t value = 0;

#pragma GCC unroll 36
		for (unsigned int at = 0; at < len; at++)
			value ^= hash->tables[at][tuple[at]];
		ret_values[i] = value;
	}
}

static void
hash_portable_v4(const struct hash *hash, const uint8_t *const tuples[], uint16_t n, uint32_t ret_values[])
{
	hash_by_tables(hash, tuples, n, FLOW_TUPLE_V4, ret_values);
}

static void
hash_portable_v6(const struct hash *hash, const uint8_t *const tuples[], uint16_t n, uint32_t ret_values[])
{
	hash_by_tables(hash, tuples, n, FLOW_TUPLE_V6, ret_values);
}

/* --- making it --- */

/*
 * Output bit r (from the left) of a byte of the hash is the sum of tuple bits c (from the left) where key bit
 * 8 i + r + c is set. GF2P8AFFINEQB takes output bit r's row from byte r from the top, when bit 7 is the
 * leftmost.
 */
static void
hash_matrices_make(struct hash *hash)
{
	for (unsigned int i = 0; i + 1 < HASH_KEY_LEN; i++) {
		uint16_t bits = (uint16_t)(hash->key[i] << 8 | hash->key[i + 1]);
		uint64_t matrix = 0;

		for (unsigned int row = 0; row < 8; row++)
			matrix |= (uint64_t)(uint8_t)(bits >> (8 - row)) << 8 * row;
		hash->matrices[i] = matrix;
	}
}

/* See hash_clmul.c. */
static void
hash_windows_make(struct hash *hash)
{
	for (unsigned int i = 0; i < FLOW_TUPLE_V6 / 4; i++)
		for (unsigned int bit = 0; bit < 64; bit++) {
			uint64_t is_set = hash->key[4 * i + bit / 8] >> (7 - bit % 8) & 1;

			hash->windows[i] |= is_set << bit;
		}
}

static bool
hash_by_gfni(enum isa isa)
{
	return isa >= ISA_AVX512_GFNI && hash_gfni_v4;
}

static bool
hash_by_clmul(enum isa isa)
{
	return !hash_by_gfni(isa) && isa >= ISA_AVX2 && hash_clmul_v4;
}

struct hash *
hash_new(const struct hash_params *params, enum isa isa)
{
	bool by_tables = !hash_by_gfni(isa) && !hash_by_clmul(isa);
	size_t n_tables = by_tables ? FLOW_TUPLE_V6 : 0;
	struct hash *hash = calloc(1, sizeof(*hash) + n_tables * sizeof(hash->tables[0]));

	if (!hash)
		return NULL;
	hash->types = params->types & HASH_TYPES_ALL;
	hash->key_len = (uint8_t)RTE_MIN((unsigned int)params->key_len, (unsigned int)HASH_KEY_LEN);
	memcpy(hash->key, params->key, hash->key_len);
	for (enum flow_fast fast = FLOW_FAST_TCP4; fast < FLOW_FAST_N; fast++)
		hash->fast_report[fast] = (uint8_t)hash_report(
			hash->types, fast < FLOW_FAST_TCP6 ? FLOW_IPV4 : FLOW_IPV6,
			fast == FLOW_FAST_TCP4 || fast == FLOW_FAST_TCP6 ? FLOW_TCP : FLOW_UDP, false);
	if (by_tables) {
		hash_tables_make(hash);
		hash->v4 = hash_portable_v4;
		hash->v6 = hash_portable_v6;
	} else if (hash_by_clmul(isa)) {
		hash_windows_make(hash);
		hash->v4 = hash_clmul_v4;
		hash->v6 = hash_clmul_v6;
		hash->groups = hash_clmul_groups;
	} else {
		hash_matrices_make(hash);
		hash->v4 = hash_gfni_v4;
		hash->v6 = hash_gfni_v6;
		hash->groups = hash_gfni_groups;
	}
	/* Groups are hashed with their ports. */
	if (!hash_report_has_ports(hash->fast_report[FLOW_FAST_TCP4]) ||
	    !hash_report_has_ports(hash->fast_report[FLOW_FAST_UDP4]))
		hash->groups = NULL;
	return hash;
}

void
hash_free(struct hash *hash)
{
	free(hash);
}

bool
hash_is_same(const struct hash *hash, const struct hash_params *params)
{
	uint8_t key[HASH_KEY_LEN] = {0};

	static_assert(sizeof(params->key) == HASH_KEY_LEN, "the same longest key");
	if (params->types != hash->types || params->key_len > HASH_KEY_LEN)
		return false;
	memcpy(key, params->key, params->key_len);
	return memcmp(key, hash->key, HASH_KEY_LEN) == 0;
}

/* --- a burst --- */

struct hash_list {
	const uint8_t *tuples[FRAME_BURST];
	uint8_t frames[FRAME_BURST]; /* whose tuple it is: index in the burst */
	uint16_t n;
};

/* Tuples that do not stand in their frames as they are hashed. */
struct hash_scratch {
	uint8_t tuples[FRAME_BURST][FLOW_TUPLE_V6];
};

static inline void
hash_list_add(struct hash_list *list, const uint8_t *tuple, uint16_t frame)
{
	list->tuples[list->n] = tuple;
	list->frames[list->n++] = (uint8_t)frame;
}

static inline void
hash_list_run(const struct hash *hash, hash_tuples_fn run, const struct hash_list *list, uint16_t n,
	      uint32_t ret_values[])
{
	uint32_t values[FRAME_BURST];

	if (likely(list->n == n)) {
		run(hash, list->tuples, n, ret_values);
		return;
	}
	if (list->n == 0)
		return;
	run(hash, list->tuples, list->n, values);
	for (uint16_t i = 0; i < list->n; i++)
		ret_values[list->frames[i]] = values[i];
}

/* Returns the report code; where it is not 0, the tuple is written. */
static __attribute__((noinline)) uint8_t
hash_slow(const struct hash *hash, const struct rte_mbuf *pkt, uint8_t tuple[FLOW_TUPLE_V6],
	  enum flow_ip *ret_ip)
{
	struct flow flow;
	enum hash_report report;
	unsigned int addr_len;

	flow_parse(pkt, &flow);
	report = hash_report(hash->types, flow.ip, flow.l4, flow.extended);
	if (report == HASH_REPORT_NONE)
		return HASH_REPORT_NONE;
	addr_len = flow.ip == FLOW_IPV4 ? 4 : 16;
	memcpy(tuple, report >= HASH_REPORT_IP_EX ? flow.home : flow.src, addr_len);
	memcpy(tuple + addr_len, report >= HASH_REPORT_IP_EX ? flow.routed : flow.dst, addr_len);
	if (!hash_report_has_ports((uint8_t)report))
		memset(flow.ports, 0, sizeof(flow.ports));
	memcpy(tuple + 2 * addr_len, flow.ports, sizeof(flow.ports));
	*ret_ip = flow.ip;
	return (uint8_t)report;
}

void
hash_burst(const struct hash *hash, struct rte_mbuf *const *pkts, uint16_t n, enum hash_source source,
	   uint32_t ret_values[], uint8_t ret_reports[])
{
	struct hash_list v4, v6;
	struct hash_scratch scratch;
	uint32_t done = 0;

	if (hash->groups) {
		done = hash->groups(hash, pkts, n, ret_values, ret_reports);
		if (likely(done == (uint32_t)((1ull << n) - 1)))
			return;
	}
	v4.n = 0;
	v6.n = 0;
	for (uint16_t i = 0; i < n; i++) {
		const struct rte_mbuf *pkt = pkts[i];
		const uint8_t *tuple;
		enum flow_fast fast;
		enum flow_ip ip;
		uint8_t report;

		if (done >> i & 1)
			continue;
		fast = flow_fast(pkt, &tuple);
		if (unlikely(fast == FLOW_SLOW)) {
			tuple = scratch.tuples[i];
			report = hash_slow(hash, pkt, scratch.tuples[i], &ip);
		} else {
			report = hash->fast_report[fast];
			ip = fast < FLOW_FAST_TCP6 ? FLOW_IPV4 : FLOW_IPV6;
		}
		ret_reports[i] = report;
		if (unlikely(report == HASH_REPORT_NONE)) {
			ret_values[i] = 0;
			continue;
		}
		if (unlikely(source == HASH_IN_MBUF) && fast != FLOW_SLOW &&
		    pkt->ol_flags & RTE_MBUF_F_RX_RSS_HASH) {
			ret_values[i] = pkt->hash.rss;
			continue;
		}
		if (unlikely(!hash_report_has_ports(report)) && fast != FLOW_SLOW) {
			unsigned int len = ip == FLOW_IPV4 ? FLOW_TUPLE_V4 : FLOW_TUPLE_V6;

			memcpy(scratch.tuples[i], tuple, len - 4);
			memset(scratch.tuples[i] + len - 4, 0, 4);
			tuple = scratch.tuples[i];
		}
		hash_list_add(ip == FLOW_IPV4 ? &v4 : &v6, tuple, i);
	}
	hash_list_run(hash, hash->v4, &v4, n, ret_values);
	hash_list_run(hash, hash->v6, &v6, n, ret_values);
}
