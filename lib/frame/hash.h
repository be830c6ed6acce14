/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * hash: the Toeplitz hash of frames under a driver's types and key (VIRTIO, "Hash calculation for incoming
 * packets").
 *
 * A burst at a time: each frame's type is decided and its tuple found (in the frame itself, where it lies in
 * one piece), then all tuples are hashed. A tuple without ports is the one with ports 0: zero bits add
 * nothing to the hash. There are three variants of hashing a list of tuples, with the same results:
 *
 *   portable   a table look-up a byte of the tuple
 *   CLMUL      a carry-less product of 4 bytes with the key, on CPUs with AVX2 (hash_clmul.c)
 *   GFNI       8 x 8 bit matrices, on CPUs with GFNI and AVX-512 (hash_gfni.c)
 */
#ifndef VNICD_HASH_H
#define VNICD_HASH_H

#include <stdbool.h>
#include <stdint.h>

#include <rte_mbuf.h>

#include "burst.h"
#include "flow.h"
#include "isa.h"

/* VIRTIO, "Hash calculation for incoming packets": bits of supported_hash_types; report codes are bit + 1. */
enum hash_type {
	HASH_TYPE_IPV4 = 1 << 0,
	HASH_TYPE_TCPV4 = 1 << 1,
	HASH_TYPE_UDPV4 = 1 << 2,
	HASH_TYPE_IPV6 = 1 << 3,
	HASH_TYPE_TCPV6 = 1 << 4,
	HASH_TYPE_UDPV6 = 1 << 5,
	HASH_TYPE_IP_EX = 1 << 6,
	HASH_TYPE_TCP_EX = 1 << 7,
	HASH_TYPE_UDP_EX = 1 << 8,
	HASH_TYPES_ALL = (1 << 9) - 1,
};

/* The hash of tuple byte i depends on key bytes i .. i + 4. */
enum { HASH_KEY_LEN = FLOW_TUPLE_V6 + 4 };

/* One for each 4 bytes of a tuple, and one of zeros that makes pairs of them. */
enum { HASH_WINDOWS = FLOW_TUPLE_V6 / 4 + 1 };

/* VIRTIO, "Setting RSS parameters" and "Hash reporting": which hashes are computed, and with which key. */
struct hash_params {
	uint32_t types;  /* HASH_TYPE_*; 0: none */
	uint8_t key_len; /* bytes; the rest of the key is 0 */
	uint8_t key[HASH_KEY_LEN];
};

struct hash;

/* n (1 .. FRAME_BURST) tuples of FLOW_TUPLE_V4 or _V6 bytes; none of the bytes behind them is read. */
typedef void (*hash_tuples_fn)(const struct hash *hash, const uint8_t *const tuples[], uint16_t n,
			       uint32_t ret_values[]);

/*
 * Of n frames, those in groups that the variant has a short cut for: value and report of each are written,
 * and a bit set for it in what is returned. The others are left as they were.
 */
typedef uint32_t (*hash_groups_fn)(const struct hash *hash, struct rte_mbuf *const *pkts, uint16_t n,
				   uint32_t ret_values[], uint8_t ret_reports[]);

/* Immutable once made. */
struct hash {
	hash_tuples_fn v4, v6;
	hash_groups_fn groups; /* NULL: no short cut, or not with these types */
	uint32_t types;
	uint8_t fast_report[FLOW_FAST_N]; /* report code of fast-path frames; 0: no hash */
	uint8_t key_len;                  /* as the driver gave it */
	uint8_t key[HASH_KEY_LEN];        /* padded with 0 */
	/* With GFNI: what byte i of a tuple adds to byte k of the hash is matrix i + k times it. */
	uint64_t matrices[HASH_KEY_LEN];
	/* With PCLMULQDQ: window i is key bits 32 i .. 32 i + 63, the first of them the lowest. */
	uint64_t windows[HASH_WINDOWS];
	uint32_t tables[][256]; /* portable; [FLOW_TUPLE_V6]: what a byte adds to the hash */
};

/* NULL: out of memory. isa_select() must have said `isa` or one behind it. */
struct hash *hash_new(const struct hash_params *params, enum isa isa);
void hash_free(struct hash *hash); /* accepts NULL */

/* Who hashes by `params` has the values that we have. */
bool hash_is_same(const struct hash *hash, const struct hash_params *params);

/* What frames that come from a port bring with them. */
enum hash_source { HASH_NOT_KNOWN, HASH_IN_MBUF };

/*
 * Worker. The hash value and the report code (0: no hash, and the value is 0) of each of n (1 .. FRAME_BURST)
 * frames. HASH_IN_MBUF: hash_is_same() of where they come from; used for fast-path frames only, which every
 * NIC takes apart in the same way, and only where calculating the value costs more than a look at the frame.
 */
void hash_burst(const struct hash *hash, struct rte_mbuf *const *pkts, uint16_t n, enum hash_source source,
		uint32_t ret_values[], uint8_t ret_reports[]);

/* hash_clmul.c; NULL where the compiler knows no AVX2. */
extern const hash_tuples_fn hash_clmul_v4, hash_clmul_v6;
extern const hash_groups_fn hash_clmul_groups;

/* hash_gfni.c; NULL where the compiler knows no GFNI. */
extern const hash_tuples_fn hash_gfni_v4, hash_gfni_v6;
extern const hash_groups_fn hash_gfni_groups;

#endif
