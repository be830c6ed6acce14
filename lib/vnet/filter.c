/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * filter: the settings compiled to one table look-up a frame.
 *
 *     open        whether unicast and multicast frames are let in without being in the table: a bit each
 *     exceptions  destinations for which it is the other way round; two candidates in one place, no chains
 *     vlans       the driver's map
 *
 * So a table of wanted addresses is the exceptions of a class that is not open, a class that is shut (nouni,
 * nomulti) is not open and has none, and the broadcast address, which is a multicast one, is an exception
 * where nobcast and allmulti disagree about it.
 */
#include "filter.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <rte_byteorder.h>
#include <rte_ether.h>
#include <rte_random.h>

#include "settings.h"

enum {
	FILTER_KEYS_MAX = SETTINGS_MACS_MAX + 2, /* own address and broadcast */
	FILTER_WAYS = 2,                         /* addresses in a bucket: 16 bytes of one line */
	FILTER_BITS_MIN = 7,                     /* 128 buckets, 2 KiB: some ten tries for 66 addresses */
	FILTER_BITS_MAX = 12,
	FILTER_TRIES = 64, /* for each number of buckets */
};

/* Addresses are the low 48 bits of a frame's first 8 bytes, as a little endian CPU reads them. */
#define FILTER_KEY_MASK 0x0000ffffffffffffull
#define FILTER_KEY_BROADCAST FILTER_KEY_MASK
#define FILTER_KEY_NONE UINT64_MAX

static_assert(RTE_BYTE_ORDER == RTE_LITTLE_ENDIAN, "the group bit is the lowest of a key");

/* Immutable when published. */
struct vnet_filter {
	uint64_t multiplier;   /* odd; chosen so that no bucket gets more than FILTER_WAYS addresses */
	uint64_t bucket_mask;  /* a power of two - 1 */
	uint64_t open_unicast; /* 0 or 1 */
	uint64_t open_differs; /* 1: it is the other way round for multicast */
	bool by_vlan;
	uint64_t vlans[SETTINGS_VLANS / 64];
	uint64_t exceptions[][FILTER_WAYS];
};

/* Bits 48 and up of the product depend on all of the key. */
static inline size_t
filter_bucket(const struct vnet_filter *filter, uint64_t key)
{
	return key * filter->multiplier >> 48 & filter->bucket_mask;
}

/* --- making it --- */

/* What the table is made of. */
struct filter_rules {
	bool open_unicast, open_multicast;
	uint64_t keys[FILTER_KEYS_MAX];
	unsigned int n_keys;
};

static void
filter_rules_add(struct filter_rules *rules, const struct rte_ether_addr *addr, bool is_multicast)
{
	uint64_t key = 0;

	memcpy(&key, addr, RTE_ETHER_ADDR_LEN);
	/*
	 * An address counts in the table of its own class only, as with QEMU: a group address among the
	 * unicast ones lets nothing in; nor does the broadcast address, about which nobcast alone decides.
	 */
	if ((key & 1) != is_multicast || key == FILTER_KEY_BROADCAST)
		return;
	for (unsigned int i = 0; i < rules->n_keys; i++)
		if (rules->keys[i] == key)
			return;
	rules->keys[rules->n_keys++] = key;
}

static void
filter_rules_make(const struct vnet_settings *settings, struct filter_rules *rules)
{
	bool by_unicast_table, by_multicast_table;

	rules->n_keys = 0;
	rules->open_unicast = !settings->nouni && (settings->alluni || settings->unicast.overflow);
	rules->open_multicast = !settings->nomulti && (settings->allmulti || settings->multicast.overflow);
	by_unicast_table = !settings->nouni && !rules->open_unicast;
	by_multicast_table = !settings->nomulti && !rules->open_multicast;
	if (by_unicast_table)
		filter_rules_add(rules, &settings->mac, false);
	for (unsigned int i = 0; by_unicast_table && i < settings->unicast.n; i++)
		filter_rules_add(rules, &settings->unicast.addrs[i], false);
	for (unsigned int i = 0; by_multicast_table && i < settings->multicast.n; i++)
		filter_rules_add(rules, &settings->multicast.addrs[i], true);
	if (settings->nobcast == rules->open_multicast)
		rules->keys[rules->n_keys++] = FILTER_KEY_BROADCAST;
}

/* False: some bucket would overflow. */
static bool
filter_fill(struct vnet_filter *filter, const struct filter_rules *rules)
{
	memset(filter->exceptions, 0xff, (filter->bucket_mask + 1) * sizeof(filter->exceptions[0]));
	for (unsigned int i = 0; i < rules->n_keys; i++) {
		uint64_t *bucket = filter->exceptions[filter_bucket(filter, rules->keys[i])];
		unsigned int way = 0;

		while (way < FILTER_WAYS && bucket[way] != FILTER_KEY_NONE)
			way++;
		if (way == FILTER_WAYS)
			return false;
		bucket[way] = rules->keys[i];
	}
	return true;
}

/*
 * The multiplier is random, so that a driver can't choose addresses for which every try fails. Should it be
 * that lucky all the same, its frames are let in as if its tables had overflowed.
 */
static struct vnet_filter *
filter_new(const struct vnet_settings *settings, struct filter_rules *rules)
{
	struct vnet_filter *filter = NULL;

	for (unsigned int bits = FILTER_BITS_MIN; bits <= FILTER_BITS_MAX; bits++) {
		free(filter);
		filter = malloc(sizeof(*filter) + ((size_t)1 << bits) * sizeof(filter->exceptions[0]));
		if (!filter)
			return NULL;
		filter->bucket_mask = (1u << bits) - 1;
		for (unsigned int try = 0; try < FILTER_TRIES; try++) {
			filter->multiplier = rte_rand() | 1;
			if (filter_fill(filter, rules))
				return filter;
		}
	}
	rules->open_unicast = !settings->nouni;
	rules->open_multicast = !settings->nomulti;
	rules->n_keys = 0;
	if (settings->nobcast == rules->open_multicast)
		rules->keys[rules->n_keys++] = FILTER_KEY_BROADCAST;
	filter_fill(filter, rules);
	return filter;
}

static bool
filter_vlans_are_all(const struct vnet_settings *settings)
{
	for (size_t i = 0; i < RTE_DIM(settings->vlans); i++)
		if (settings->vlans[i] != UINT64_MAX)
			return false;
	return true;
}

int
vnet_filter_build(const struct vnet_settings *settings, enum filter_vlans vlans,
		  struct vnet_filter **ret_filter)
{
	bool by_vlan = vlans == FILTER_VLANS_BY_MAP && !filter_vlans_are_all(settings);
	struct filter_rules rules;
	struct vnet_filter *filter;

	filter_rules_make(settings, &rules);
	if (settings->promisc ||
	    (rules.open_unicast && rules.open_multicast && rules.n_keys == 0 && !by_vlan)) {
		*ret_filter = NULL;
		return 0;
	}
	filter = filter_new(settings, &rules);
	if (!filter)
		return -ENOMEM;
	filter->open_unicast = rules.open_unicast;
	filter->open_differs = rules.open_unicast != rules.open_multicast;
	filter->by_vlan = by_vlan;
	memcpy(filter->vlans, settings->vlans, sizeof(filter->vlans));
	/* Tag 0 is a priority without a VLAN (IEEE 802.1Q, the null VID): such a frame counts as untagged. */
	filter->vlans[0] |= 1;
	*ret_filter = filter;
	return 0;
}

void
vnet_filter_free(struct vnet_filter *filter)
{
	free(filter);
}

/* --- using it --- */

/* A frame that ends before its tag is of no VLAN in the map. */
static inline uint64_t
filter_vlan_is_wanted(const struct vnet_filter *filter, const struct rte_mbuf *pkt)
{
	uint8_t copy[2];
	const uint8_t *tci = rte_pktmbuf_read(pkt, RTE_ETHER_HDR_LEN, sizeof(copy), copy);
	unsigned int vlan;

	if (unlikely(!tci))
		return 0;
	vlan = (unsigned int)(tci[0] << 8 | tci[1]) % SETTINGS_VLANS;
	return filter->vlans[vlan / 64] >> vlan % 64 & 1;
}

/* 0 or 1. No branch on the destination: a burst may mix everything. */
static inline uint64_t
filter_is_wanted(const struct vnet_filter *filter, const struct rte_mbuf *pkt)
{
	const uint8_t *frame = rte_pktmbuf_mtod(pkt, const uint8_t *);
	const uint64_t *bucket;
	uint64_t key, is_exception, is_wanted;
	rte_be16_t type;

	/* Both are within the 14 bytes that every first segment has. */
	memcpy(&key, frame, sizeof(key));
	memcpy(&type, frame + 2 * RTE_ETHER_ADDR_LEN, sizeof(type));
	key &= FILTER_KEY_MASK;
	bucket = filter->exceptions[filter_bucket(filter, key)];
	is_exception = (bucket[0] == key) | (bucket[1] == key);
	is_wanted = is_exception ^ filter->open_unicast ^ (key & filter->open_differs);
	if (type == RTE_BE16(RTE_ETHER_TYPE_VLAN) && filter->by_vlan)
		is_wanted &= filter_vlan_is_wanted(filter, pkt);
	return is_wanted;
}

uint16_t
vnet_filter_burst(const struct vnet_filter *filter, struct rte_mbuf **pkts, uint16_t n)
{
	struct rte_mbuf *unwanted[PORT_BURST];
	uint32_t wanted = 0;
	uint16_t n_wanted = 0, n_unwanted = 0;

	static_assert(PORT_BURST <= 32, "a bit for each frame");
	if (n == 0)
		return 0;
	/* The first frame's bit ends up as the lowest one. */
	for (uint16_t i = 0; i < n; i++)
		wanted = wanted >> 1 | (uint32_t)(filter_is_wanted(filter, pkts[i]) << 31);
	if (likely(wanted == UINT32_MAX << (32 - n)))
		return n;
	wanted >>= 32 - n;
	for (uint16_t i = 0; i < n; i++) {
		struct rte_mbuf *pkt = pkts[i];
		uint16_t is_wanted = wanted >> i & 1;

		/* Both are written, one is kept: pkts[n_wanted] has been read before, for n_wanted <= i. */
		pkts[n_wanted] = pkt;
		unwanted[n_unwanted] = pkt;
		n_wanted = (uint16_t)(n_wanted + is_wanted);
		n_unwanted = (uint16_t)(n_unwanted + 1 - is_wanted);
	}
	memcpy(pkts + n_wanted, unwanted, n_unwanted * sizeof(pkts[0]));
	return n_wanted;
}
