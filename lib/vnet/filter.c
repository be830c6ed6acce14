/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * filter: the rules compiled to one table look-up a frame.
 *
 *     open        whether unicast and multicast frames are let in without being in the table: a bit each
 *     exceptions  destinations for which it is the other way round; each in the one place that it can be in
 *     vlans       the driver's map
 *
 * So a table of wanted addresses is the exceptions of a class that is not open, a class that is shut (nouni,
 * nomulti) is not open and has none, and the broadcast address, which is a multicast one, is an exception
 * where nobcast and allmulti disagree about it.
 */
#include "filter.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>

#include <rte_random.h>

#include "filter_table.h"
#include "isa.h"

enum {
	FILTER_KEYS_MAX = FILTER_MACS_MAX + 2, /* own address and broadcast */
	FILTER_BITS_MIN = 10,                  /* 1024 places, 8 KiB: some eight tries for 66 addresses */
	FILTER_BITS_MAX = 14,
	FILTER_TRIES = 64, /* for each number of places */
};

/* --- making it --- */

/* What the table is made of. */
struct filter_table {
	bool open_unicast, open_multicast;
	uint64_t keys[FILTER_KEYS_MAX];
	unsigned int n_keys;
};

static void
filter_table_add(struct filter_table *table, const struct rte_ether_addr *addr, bool is_multicast)
{
	uint64_t key = 0;

	memcpy(&key, addr, RTE_ETHER_ADDR_LEN);
	/*
	 * An address counts in the table of its own class only, as with QEMU: a group address among the
	 * unicast ones lets nothing in; nor does the broadcast address, about which nobcast alone decides.
	 */
	if ((key & 1) != is_multicast || key == FILTER_KEY_BROADCAST)
		return;
	for (unsigned int i = 0; i < table->n_keys; i++)
		if (table->keys[i] == key)
			return;
	table->keys[table->n_keys++] = key;
}

static void
filter_table_make(const struct vnet_filter_rules *rules, struct filter_table *table)
{
	bool by_unicast_table, by_multicast_table;

	table->n_keys = 0;
	table->open_unicast = !rules->nouni && (rules->alluni || rules->unicast.overflow);
	table->open_multicast = !rules->nomulti && (rules->allmulti || rules->multicast.overflow);
	by_unicast_table = !rules->nouni && !table->open_unicast;
	by_multicast_table = !rules->nomulti && !table->open_multicast;
	if (by_unicast_table)
		filter_table_add(table, &rules->mac, false);
	for (unsigned int i = 0; by_unicast_table && i < rules->unicast.n; i++)
		filter_table_add(table, &rules->unicast.addrs[i], false);
	for (unsigned int i = 0; by_multicast_table && i < rules->multicast.n; i++)
		filter_table_add(table, &rules->multicast.addrs[i], true);
	if (rules->nobcast == table->open_multicast)
		table->keys[table->n_keys++] = FILTER_KEY_BROADCAST;
}

/* False: two of them would meet. */
static bool
filter_fill(struct vnet_filter *filter, const struct filter_table *table)
{
	memset(filter->exceptions, 0xff, sizeof(filter->exceptions[0]) << (64 - filter->shift));
	for (unsigned int i = 0; i < table->n_keys; i++) {
		uint64_t *place = &filter->exceptions[table->keys[i] * filter->multiplier >> filter->shift];

		if (*place != FILTER_KEY_NONE)
			return false;
		*place = table->keys[i];
	}
	return true;
}

/*
 * The multiplier is random, so that a driver can't choose addresses for which every try fails. Should it be
 * that lucky all the same, its frames are let in as if its tables had overflowed.
 */
static struct vnet_filter *
filter_new(const struct vnet_filter_rules *rules, struct filter_table *table)
{
	struct vnet_filter *filter = NULL;

	for (unsigned int bits = FILTER_BITS_MIN; bits <= FILTER_BITS_MAX; bits++) {
		free(filter);
		filter = malloc(sizeof(*filter) + (sizeof(filter->exceptions[0]) << bits));
		if (!filter)
			return NULL;
		filter->shift = 64 - bits;
		for (unsigned int try = 0; try < FILTER_TRIES; try++) {
			filter->multiplier = rte_rand() | 1;
			if (filter_fill(filter, table))
				return filter;
		}
	}
	table->open_unicast = !rules->nouni;
	table->open_multicast = !rules->nomulti;
	table->n_keys = 0;
	if (rules->nobcast == table->open_multicast)
		table->keys[table->n_keys++] = FILTER_KEY_BROADCAST;
	filter_fill(filter, table);
	return filter;
}

static bool
filter_vlans_are_all(const struct vnet_filter_rules *rules)
{
	for (size_t i = 0; i < RTE_DIM(rules->vlans); i++)
		if (rules->vlans[i] != UINT64_MAX)
			return false;
	return true;
}

static uint16_t
filter_port_burst(const struct port_filter *filter, struct rte_mbuf **pkts, uint16_t n)
{
	static_assert(offsetof(struct vnet_filter, port) == 0, "a published one is a struct vnet_filter");
	return vnet_filter_burst((const struct vnet_filter *)filter, pkts, n);
}

const struct port_filter *
vnet_filter_port(const struct vnet_filter *filter)
{
	return filter ? &filter->port : NULL;
}

static filter_groups_fn
filter_groups_of(enum isa isa)
{
	if (isa >= ISA_AVX512)
		return filter_groups_avx512;
	return isa >= ISA_AVX2 ? filter_groups_avx2 : NULL;
}

int
vnet_filter_build(const struct vnet_filter_rules *rules, enum filter_vlans vlans,
		  struct vnet_filter **ret_filter)
{
	bool by_vlan = vlans == FILTER_VLANS_BY_MAP && !filter_vlans_are_all(rules);
	struct filter_table table;
	struct vnet_filter *filter;

	filter_table_make(rules, &table);
	if (rules->promisc || (table.open_unicast && table.open_multicast && table.n_keys == 0 && !by_vlan)) {
		*ret_filter = NULL;
		return 0;
	}
	filter = filter_new(rules, &table);
	if (!filter)
		return -ENOMEM;
	filter->port.burst = filter_port_burst;
	filter->open_unicast = table.open_unicast;
	filter->open_differs = table.open_unicast != table.open_multicast;
	filter->groups = filter_groups_of(isa_select());
	filter->by_vlan = by_vlan;
	if (by_vlan)
		memcpy(filter->vlans, rules->vlans, sizeof(filter->vlans));
	else
		memset(filter->vlans, 0xff, sizeof(filter->vlans));
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

/* The first segment ends within FILTER_LOOK bytes: a copy of them. */
static __attribute__((noinline)) uint64_t
filter_judge_apart(const struct vnet_filter *filter, const struct rte_mbuf *pkt)
{
	uint8_t copy[FILTER_LOOK];
	const uint8_t *frame = rte_pktmbuf_read(pkt, 0, sizeof(copy), copy);
	rte_be16_t type;

	if (frame)
		return filter_judge(filter, frame);
	/* Its 14 bytes are all of it, or all but one. */
	memset(copy, 0, sizeof(copy));
	memcpy(copy, rte_pktmbuf_mtod(pkt, const uint8_t *), RTE_ETHER_HDR_LEN);
	memcpy(&type, copy + 2 * RTE_ETHER_ADDR_LEN, sizeof(type));
	/* It ends before its tag: of no VLAN in the map. */
	if (filter->by_vlan && type == RTE_BE16(RTE_ETHER_TYPE_VLAN))
		return 0;
	return filter_judge(filter, copy);
}

/* Bit i: frame i is wanted. */
static inline uint32_t
filter_judge_burst(const struct vnet_filter *filter, struct rte_mbuf *const *pkts, uint16_t n)
{
	uint32_t wanted = 0;
	uint16_t i = 0;

	if (likely(filter->groups && n >= FILTER_GROUP)) {
		uint64_t judged = filter->groups(filter, pkts, n);

		if (likely(judged != FILTER_NONE)) {
			wanted = (uint32_t)judged;
			i = n & ~(FILTER_GROUP - 1);
		}
	}
	for (; i < n; i++) {
		const struct rte_mbuf *pkt = pkts[i];
		uint64_t one = likely(pkt->data_len >= FILTER_LOOK)
				       ? filter_judge(filter, rte_pktmbuf_mtod(pkt, const uint8_t *))
				       : filter_judge_apart(filter, pkt);

		wanted |= (uint32_t)one << i;
	}
	return wanted;
}

uint16_t
vnet_filter_burst(const struct vnet_filter *filter, struct rte_mbuf **pkts, uint16_t n)
{
	struct rte_mbuf *unwanted[PORT_BURST];
	uint16_t n_wanted = 0, n_unwanted = 0;
	uint32_t wanted;

	static_assert(PORT_BURST <= 32, "a bit for each frame");
	if (n == 0)
		return 0;
	wanted = filter_judge_burst(filter, pkts, n);
	if (likely(wanted == UINT32_MAX >> (32 - n)))
		return n;
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
