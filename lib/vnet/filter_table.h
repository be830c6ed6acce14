/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * filter_table: what a filter is compiled to, and how it judges one frame. For filter.c,
 * filter_avx2.c and
 * filter_avx512.c, which judge several at a time.
 */
#ifndef VNICD_FILTER_TABLE_H
#define VNICD_FILTER_TABLE_H

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include <rte_byteorder.h>
#include <rte_ether.h>
#include <rte_mbuf.h>

#include "filter.h"

/* Addresses are the low 48 bits of a frame's first 8 bytes, as a little endian CPU reads them. */
#define FILTER_KEY_MASK 0x0000ffffffffffffull
#define FILTER_KEY_BROADCAST FILTER_KEY_MASK
#define FILTER_KEY_NONE UINT64_MAX

static_assert(RTE_BYTE_ORDER == RTE_LITTLE_ENDIAN, "the group bit is the lowest of a key");

enum {
	FILTER_GROUP = 8, /* frames judged together */
	/* Bytes of a frame that are looked at without asking whether it has them; it has, with a tag. */
	FILTER_LOOK = 2 * RTE_ETHER_ADDR_LEN + 4,
};

/*
 * Of n frames, as many as there are whole groups of: a bit for each that is wanted. FILTER_NONE: some first
 * segment is shorter than FILTER_LOOK, nothing is judged.
 */
#define FILTER_NONE UINT64_MAX
typedef uint64_t (*filter_groups_fn)(const struct vnet_filter *filter, struct rte_mbuf *const *pkts,
				     uint16_t n);

/* Immutable when published. */
struct vnet_filter {
	struct port_filter port;
	uint64_t multiplier;     /* odd; chosen so that no two exceptions meet */
	uint64_t shift;          /* 64 - the number of bits of an index */
	uint64_t open_unicast;   /* 0 or 1 */
	uint64_t open_differs;   /* 1: it is the other way round for multicast */
	filter_groups_fn groups; /* NULL: one at a time */
	bool by_vlan;
	uint64_t vlans[FILTER_VLANS / 64]; /* all ones when not by_vlan */
	uint64_t exceptions[];             /* each in its only place; FILTER_KEY_NONE elsewhere */
};

/* 0 or 1, for a frame whose first FILTER_LOOK bytes are there. */
static inline uint64_t
filter_judge(const struct vnet_filter *filter, const uint8_t *frame)
{
	uint64_t key, is_wanted;
	uint32_t type_and_tag;
	unsigned int vlan;

	memcpy(&key, frame, sizeof(key));
	memcpy(&type_and_tag, frame + 2 * RTE_ETHER_ADDR_LEN, sizeof(type_and_tag));
	key &= FILTER_KEY_MASK;
	is_wanted = (filter->exceptions[key * filter->multiplier >> filter->shift] == key) ^
		    filter->open_unicast ^ (key & filter->open_differs);
	if ((uint16_t)type_and_tag != RTE_BE16(RTE_ETHER_TYPE_VLAN))
		return is_wanted;
	vlan = rte_bswap16((uint16_t)(type_and_tag >> 16)) % FILTER_VLANS;
	return is_wanted & filter->vlans[vlan / 64] >> vlan % 64;
}

/* filter_avx2.c; NULL where the compiler knows no AVX2. */
extern const filter_groups_fn filter_groups_avx2;
/* filter_avx512.c; NULL where the compiler knows no AVX-512. */
extern const filter_groups_fn filter_groups_avx512;

#endif
