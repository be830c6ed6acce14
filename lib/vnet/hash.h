/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * hash: the Toeplitz hash of frames under a driver's types and key (VIRTIO, "Hash calculation for incoming
 * packets").
 *
 * A burst at a time: each frame's type is decided and its tuple found (in the frame itself, where it lies in
 * one piece), then all tuples are hashed. A tuple without ports is the one with ports 0: zero bits add
 * nothing to the hash. There are two variants of hashing a list of tuples, with the same results:
 *
 *   portable   a table look-up a byte of the tuple
 *   GFNI       8 x 8 bit matrices, on CPUs with GFNI and AVX-512 (hash_gfni.c)
 */
#ifndef VNICD_HASH_H
#define VNICD_HASH_H

#include <stdbool.h>
#include <stdint.h>

#include <rte_mbuf.h>

#include "flow.h"
#include "isa.h"
#include "port.h"
#include "settings.h"

struct vnet_hash;

/* n (1 .. PORT_BURST) tuples of FLOW_TUPLE_V4 or _V6 bytes; none of the bytes behind them is read. */
typedef void (*hash_tuples_fn)(const struct vnet_hash *hash, const uint8_t *const tuples[], uint16_t n,
			       uint32_t ret_values[]);

/*
 * Of n frames, those in groups that the variant has a short cut for: value and report of each are written,
 * and a bit set for it in what is returned. The others are left as they were.
 */
typedef uint32_t (*hash_groups_fn)(const struct vnet_hash *hash, struct rte_mbuf *const *pkts, uint16_t n,
				   uint32_t ret_values[], uint8_t ret_reports[]);

/* The hash of tuple byte i depends on key bytes i .. i + 4. */
enum { HASH_KEY_LEN = FLOW_TUPLE_V6 + 4 };

/* Immutable once made. */
struct vnet_hash {
	hash_tuples_fn v4, v6;
	hash_groups_fn groups; /* NULL: no short cut, or not with these types */
	uint32_t types;
	uint8_t fast_report[FLOW_FAST_N]; /* report code of plain frames; 0: no hash */
	uint8_t key_len;                  /* as the driver gave it */
	uint8_t key[HASH_KEY_LEN];        /* padded with 0 */
	/* With GFNI: what byte i of a tuple adds to byte k of the hash is matrix i + k times it. */
	uint64_t matrices[HASH_KEY_LEN];
	uint32_t tables[][256]; /* portable; [FLOW_TUPLE_V6]: what a byte adds to the hash */
};

/* NULL: out of memory. vnet_isa_select() must have said `isa` or one behind it. */
struct vnet_hash *vnet_hash_new(const struct settings_hash *settings, enum vnet_isa isa);
void vnet_hash_free(struct vnet_hash *hash); /* accepts NULL */

/* The port hashes as we do, so that what it left in a frame can be used. */
bool vnet_hash_is_same(const struct vnet_hash *hash, const struct port_rx_hash *rx_hash);

/* What frames that come from a port bring with them. */
enum hash_source { HASH_NOT_KNOWN, HASH_IN_MBUF };

/*
 * Worker. The hash value and the report code (0: no hash, and the value is 0) of each of n (1 .. PORT_BURST)
 * frames. HASH_IN_MBUF: vnet_hash_is_same() of where they come from; used for plain frames only, which every
 * NIC takes apart in the same way, and only where calculating the value costs more than a look at the frame.
 */
void vnet_hash_burst(const struct vnet_hash *hash, struct rte_mbuf *const *pkts, uint16_t n,
		     enum hash_source source, uint32_t ret_values[], uint8_t ret_reports[]);

/* hash_gfni.c; NULL where the compiler knows no GFNI. */
extern const hash_tuples_fn hash_gfni_v4, hash_gfni_v6;
extern const hash_groups_fn hash_gfni_groups;

#endif
