/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The receive filter against a plain model that knows only the order of the rules, with random rules and
 * frames under every combination of flags; and the requirements of VIRTIO one by one.
 */
#include "unit.h"

#include <stdlib.h>
#include <string.h>

#include <rte_mbuf.h>

#include "filter.h"
#include "isa.h"
#include "port.h"
#include "rng.h"

enum {
	FRAME_LEN = 64,
	FLAG_COMBINATIONS = 1 << 8,
	ROUNDS = 16, /* bursts for each of them, with the VLANs looked at and not: 131072 frames */
	N_ADDRS = 200,
};

/* --- frames whose every byte outside of their segments is somebody else's (run under ASan) --- */

struct frame {
	struct rte_mbuf *pkt;
	uint8_t bytes[FRAME_LEN];
	uint32_t len;
};

static struct rte_mbuf *
segment_new(const uint8_t *bytes, uint32_t len)
{
	struct rte_mbuf *pkt = calloc(1, sizeof(*pkt));

	pkt->buf_addr = malloc(len ? len : 1);
	memcpy(pkt->buf_addr, bytes, len);
	pkt->data_len = (uint16_t)len;
	pkt->pkt_len = len;
	pkt->nb_segs = 1;
	return pkt;
}

/* The first segment has `first` bytes. */
static void
frame_cut(struct frame *frame, uint32_t first)
{
	frame->pkt = segment_new(frame->bytes, first);
	if (first < frame->len) {
		frame->pkt->next = segment_new(frame->bytes + first, frame->len - first);
		frame->pkt->nb_segs = 2;
		frame->pkt->pkt_len = frame->len;
	}
}

static void
frame_free(struct frame *frame)
{
	for (struct rte_mbuf *pkt = frame->pkt, *next; pkt; pkt = next) {
		next = pkt->next;
		free(pkt->buf_addr);
		free(pkt);
	}
}

enum { UNTAGGED = -1 };

static void
frame_make(struct frame *frame, const struct rte_ether_addr *dst, int tci)
{
	for (unsigned int i = 0; i < FRAME_LEN; i++)
		frame->bytes[i] = rng_byte();
	memcpy(frame->bytes, dst, 6);
	frame->bytes[12] = 0x08;
	frame->bytes[13] = 0x00;
	if (tci != UNTAGGED) {
		frame->bytes[12] = 0x81;
		frame->bytes[14] = (uint8_t)(tci >> 8);
		frame->bytes[15] = (uint8_t)tci;
	}
	frame->len = FRAME_LEN;
}

/* --- the model --- */

static bool
model_is_in(const struct filter_macs *macs, const uint8_t *addr)
{
	for (unsigned int i = 0; i < macs->n; i++)
		if (memcmp(&macs->addrs[i], addr, 6) == 0)
			return true;
	return false;
}

static bool
model_wants(const struct vnet_filter_rules *s, enum filter_vlans vlans, const struct frame *frame)
{
	static const uint8_t broadcast[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
	const uint8_t *dst = frame->bytes;

	if (s->promisc)
		return true;
	if (vlans == FILTER_VLANS_BY_MAP && dst[12] == 0x81 && dst[13] == 0x00) {
		unsigned int vlan = (dst[14] & 0xfu) << 8 | dst[15];

		/* Whatever the tag would have been: with every VLAN let in, it is. */
		if (frame->len < 16) {
			for (unsigned int i = 0; i < RTE_DIM(s->vlans); i++)
				if (s->vlans[i] != UINT64_MAX)
					return false;
			vlan = 0;
		}
		if (vlan != 0 && !(s->vlans[vlan / 64] & 1ull << vlan % 64))
			return false;
	}
	if (memcmp(dst, broadcast, 6) == 0)
		return !s->nobcast;
	if (dst[0] & 1) {
		if (s->nomulti)
			return false;
		return s->allmulti || s->multicast.overflow || model_is_in(&s->multicast, dst);
	}
	if (s->nouni)
		return false;
	return s->alluni || s->unicast.overflow || memcmp(&s->mac, dst, 6) == 0 ||
	       model_is_in(&s->unicast, dst);
}

/* A burst through the filter: those that the model wants first, in their order, and all the others behind. */
static unsigned int
check_burst(const struct vnet_filter_rules *rules, enum filter_vlans vlans, struct frame frames[], uint16_t n)
{
	struct rte_mbuf *pkts[PORT_BURST], *wanted[PORT_BURST];
	struct vnet_filter *filter = (struct vnet_filter *)1;
	uint16_t n_wanted = 0, n_got;
	unsigned int n_unwanted_seen = 0;

	for (uint16_t i = 0; i < n; i++) {
		pkts[i] = frames[i].pkt;
		if (model_wants(rules, vlans, &frames[i]))
			wanted[n_wanted++] = frames[i].pkt;
	}
	assert_int_equal(vnet_filter_build(rules, vlans, &filter), 0);
	if (rules->promisc)
		assert_null(filter);
	n_got = filter ? vnet_filter_burst(filter, pkts, n) : n;
	assert_int_equal(n_got, n_wanted);
	for (uint16_t i = 0; i < n_wanted; i++)
		assert_ptr_equal(pkts[i], wanted[i]);
	for (uint16_t i = 0; i < n; i++)
		for (uint16_t k = n_wanted; k < n; k++)
			n_unwanted_seen += pkts[k] == frames[i].pkt;
	assert_int_equal(n_unwanted_seen, n - n_wanted);
	vnet_filter_free(filter);
	return n_wanted;
}

/* --- random --- */

static struct rte_ether_addr addrs[N_ADDRS];

/* Addresses of both classes, many that differ in one bit only. */
static void
addrs_make(void)
{
	for (unsigned int i = 0; i < N_ADDRS; i++) {
		if (i % 4 == 3) {
			unsigned int bit = rng_below(48);

			addrs[i] = addrs[i - 1];
			addrs[i].addr_bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
		} else {
			for (unsigned int k = 0; k < 6; k++)
				addrs[i].addr_bytes[k] = rng_byte();
		}
	}
	memset(&addrs[0], 0xff, 6);
	memset(&addrs[1], 0, 6);
}

/* Mostly addresses of the table's class; a driver may give others. */
static void
macs_make(struct filter_macs *macs, unsigned int most, bool multicast)
{
	macs->n = (uint16_t)rng_below(most + 1);
	for (unsigned int i = 0; i < macs->n; i++) {
		const struct rte_ether_addr *addr = &addrs[rng_below(N_ADDRS)];

		for (unsigned int try = 0; try < 4 && (addr->addr_bytes[0] & 1) != multicast; try++)
			addr = &addrs[rng_below(N_ADDRS)];
		macs->addrs[i] = *addr;
	}
}

static void
rules_make(struct vnet_filter_rules *s, unsigned int flags)
{
	memset(s, 0, sizeof(*s));
	s->promisc = flags & 1;
	s->allmulti = flags & 2;
	s->alluni = flags & 4;
	s->nomulti = flags & 8;
	s->nouni = flags & 16;
	s->nobcast = flags & 32;
	s->unicast.overflow = flags & 64;
	s->multicast.overflow = flags & 128;
	s->mac = addrs[rng_below(N_ADDRS)];
	macs_make(&s->unicast, rng_below(3) ? 32 : 64, false);
	macs_make(&s->multicast, FILTER_MACS_MAX - s->unicast.n, true);
	switch (rng_below(4)) {
	case 0:
		break;
	case 1:
		memset(s->vlans, 0xff, sizeof(s->vlans));
		break;
	default:
		for (unsigned int i = 0; i < 100; i++) {
			unsigned int vlan = rng_below(rng_below(2) ? 200 : FILTER_VLANS);

			s->vlans[vlan / 64] |= 1ull << vlan % 64;
		}
	}
}

static void
test_against_the_model(void **state)
{
	unsigned long n_frames = 0, n_wanted = 0;

	addrs_make();
	for (unsigned int round = 0; round < FLAG_COMBINATIONS * ROUNDS; round++) {
		struct vnet_filter_rules rules;
		struct frame frames[PORT_BURST];
		uint16_t n = (uint16_t)(rng_below(2) ? PORT_BURST : 1 + rng_below(PORT_BURST));

		/* Each ISA variant that this CPU has in turns. */
		isa_limit((enum isa)(round / FLAG_COMBINATIONS % ISA_N));
		rules_make(&rules, round % FLAG_COMBINATIONS);
		for (uint16_t i = 0; i < n; i++) {
			const struct rte_ether_addr *dst = &addrs[rng_below(N_ADDRS)];
			static const uint32_t firsts[] = {14, 15, 16, 17, FRAME_LEN, FRAME_LEN};

			switch (rng_below(6)) {
			case 0:
				dst = &rules.mac;
				break;
			case 1:
				dst = &addrs[0];
				break;
			case 2:
				if (rules.unicast.n)
					dst = &rules.unicast.addrs[rng_below(rules.unicast.n)];
				break;
			case 3:
				if (rules.multicast.n)
					dst = &rules.multicast.addrs[rng_below(rules.multicast.n)];
				break;
			}
			frame_make(&frames[i], dst,
				   rng_below(2) ? UNTAGGED : (int)rng_below(rng_below(2) ? 200 : 65536));
			if (rng_below(16) == 0)
				frames[i].len = 14 + rng_below(4);
			frame_cut(&frames[i], RTE_MIN(firsts[rng_below(6)], frames[i].len));
		}
		for (int vlans = FILTER_VLANS_IGNORED; vlans <= FILTER_VLANS_BY_MAP; vlans++) {
			n_wanted += check_burst(&rules, (enum filter_vlans)vlans, frames, n);
			n_frames += n;
		}
		for (uint16_t i = 0; i < n; i++)
			frame_free(&frames[i]);
	}
	isa_limit(ISA_N - 1);
	/* Neither of the two was rare. */
	assert_true(n_frames > 100000);
	assert_true(n_wanted > n_frames / 5 && n_wanted < n_frames * 4 / 5);
}

/* --- the requirements, by their numbers --- */

static const struct rte_ether_addr own = {{0x52, 0x54, 0, 1, 2, 3}}, other = {{0x52, 0x54, 0, 1, 2, 4}},
				   group = {{0x33, 0x33, 0, 0, 0, 1}}, group2 = {{0x33, 0x33, 0, 0, 0, 2}},
				   everyone = {{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}};

static bool
lets_in(const struct vnet_filter_rules *rules, enum filter_vlans vlans, const struct rte_ether_addr *dst,
	int tci)
{
	struct vnet_filter *filter;
	struct frame frame;
	struct rte_mbuf *pkt;
	bool is_in;

	frame_make(&frame, dst, tci);
	frame_cut(&frame, FRAME_LEN);
	pkt = frame.pkt;
	assert_int_equal(vnet_filter_build(rules, vlans, &filter), 0);
	is_in = !filter || vnet_filter_burst(filter, &pkt, 1) == 1;
	vnet_filter_free(filter);
	frame_free(&frame);
	return is_in;
}

static struct vnet_filter_rules
rules_plain(void)
{
	struct vnet_filter_rules rules;

	memset(&rules, 0, sizeof(rules));
	rules.mac = own;
	rules.multicast.n = 1;
	rules.multicast.addrs[0] = group;
	return rules;
}

/* own, another's, the group in the table, another group, broadcast */
struct verdict {
	bool own, other, group, group2, everyone;
};

static void
expect(const struct vnet_filter_rules *rules, struct verdict in)
{
	const enum filter_vlans vlans = FILTER_VLANS_BY_MAP;

	assert_int_equal(lets_in(rules, vlans, &own, UNTAGGED), in.own);
	assert_int_equal(lets_in(rules, vlans, &other, UNTAGGED), in.other);
	assert_int_equal(lets_in(rules, vlans, &group, UNTAGGED), in.group);
	assert_int_equal(lets_in(rules, vlans, &group2, UNTAGGED), in.group2);
	assert_int_equal(lets_in(rules, vlans, &everyone, UNTAGGED), in.everyone);
}

static void
test_c99_c100_promisc_overrides_all(void **state)
{
	struct vnet_filter_rules rules = rules_plain();
	struct vnet_filter *filter;

	expect(&rules, (struct verdict){.own = true, .group = true, .everyone = true});
	rules.nomulti = rules.nouni = rules.nobcast = true;
	expect(&rules, (struct verdict){0});
	rules.promisc = true;
	expect(&rules, (struct verdict){true, true, true, true, true});
	assert_true(lets_in(&rules, FILTER_VLANS_BY_MAP, &other, 7));
	assert_int_equal(vnet_filter_build(&rules, FILTER_VLANS_BY_MAP, &filter), 0);
	assert_null(filter);
}

static void
test_c101_allmulti(void **state)
{
	struct vnet_filter_rules rules = rules_plain();

	rules.allmulti = true;
	expect(&rules, (struct verdict){.own = true, .group = true, .group2 = true, .everyone = true});
}

static void
test_c102_c103_alluni(void **state)
{
	struct vnet_filter_rules rules = rules_plain();

	rules.alluni = true;
	expect(&rules, (struct verdict){.own = true, .other = true, .group = true, .everyone = true});
}

static void
test_c104_nomulti_beats_allmulti(void **state)
{
	struct vnet_filter_rules rules = rules_plain();

	rules.nomulti = true;
	expect(&rules, (struct verdict){.own = true, .everyone = true});
	rules.allmulti = rules.multicast.overflow = true;
	expect(&rules, (struct verdict){.own = true, .everyone = true});
}

static void
test_c105_nouni_beats_alluni(void **state)
{
	struct vnet_filter_rules rules = rules_plain();

	rules.nouni = true;
	expect(&rules, (struct verdict){.group = true, .everyone = true});
	rules.alluni = rules.unicast.overflow = true;
	expect(&rules, (struct verdict){.group = true, .everyone = true});
}

static void
test_c106_nobcast_beats_allmulti(void **state)
{
	struct vnet_filter_rules rules = rules_plain();

	rules.nobcast = true;
	expect(&rules, (struct verdict){.own = true, .group = true});
	rules.allmulti = true;
	expect(&rules, (struct verdict){.own = true, .group = true, .group2 = true});
	/* Nor does an entry in the table help. */
	rules.allmulti = false;
	rules.multicast.addrs[0] = everyone;
	expect(&rules, (struct verdict){.own = true});
}

static void
test_c110_neither_mac_nor_table(void **state)
{
	struct vnet_filter_rules rules = rules_plain();

	rules.unicast.n = 1;
	rules.unicast.addrs[0] = other;
	expect(&rules, (struct verdict){.own = true, .other = true, .group = true, .everyone = true});
	rules.mac = rules.unicast.addrs[0];
	rules.unicast.n = 0;
	expect(&rules, (struct verdict){.other = true, .group = true, .everyone = true});
	/* More than the table holds: all of that class. */
	rules.unicast.overflow = true;
	expect(&rules, (struct verdict){.own = true, .other = true, .group = true, .everyone = true});
	rules.multicast.overflow = true;
	expect(&rules, (struct verdict){true, true, true, true, true});
}

static void
test_c111_two_tables(void **state)
{
	struct vnet_filter_rules rules = rules_plain();

	rules.multicast.n = 0;
	expect(&rules, (struct verdict){.own = true, .everyone = true});
	/* A group address in the table of unicast addresses is none, and the other way round. */
	rules.unicast.n = 1;
	rules.unicast.addrs[0] = group;
	rules.multicast.n = 1;
	rules.multicast.addrs[0] = other;
	expect(&rules, (struct verdict){.own = true, .everyone = true});
}

static void
test_c112_without_ctrl_vlan_all_tags(void **state)
{
	struct vnet_filter_rules rules = rules_plain();

	for (int vlan = 0; vlan < FILTER_VLANS; vlan += 5)
		assert_true(lets_in(&rules, FILTER_VLANS_IGNORED, &own, vlan));
	assert_false(lets_in(&rules, FILTER_VLANS_IGNORED, &other, 5));
}

static void
test_c113_tags_in_the_table_only(void **state)
{
	struct vnet_filter_rules rules = rules_plain();

	assert_true(lets_in(&rules, FILTER_VLANS_BY_MAP, &own, UNTAGGED));
	for (int vlan = 1; vlan < FILTER_VLANS; vlan += 5)
		assert_false(lets_in(&rules, FILTER_VLANS_BY_MAP, &own, vlan));
	rules.vlans[100 / 64] |= 1ull << 100 % 64;
	rules.vlans[4095 / 64] |= 1ull << 4095 % 64;
	assert_true(lets_in(&rules, FILTER_VLANS_BY_MAP, &own, 100));
	assert_true(lets_in(&rules, FILTER_VLANS_BY_MAP, &own, 0xf000 | 100)); /* priority 7 and DEI */
	assert_true(lets_in(&rules, FILTER_VLANS_BY_MAP, &own, 4095));
	assert_false(lets_in(&rules, FILTER_VLANS_BY_MAP, &own, 101));
	assert_false(lets_in(&rules, FILTER_VLANS_BY_MAP, &everyone, 101));
	/* The right VLAN does not make up for the wrong address. */
	assert_false(lets_in(&rules, FILTER_VLANS_BY_MAP, &other, 100));
	/* A priority is no VLAN. */
	assert_true(lets_in(&rules, FILTER_VLANS_BY_MAP, &own, 0));
	assert_true(lets_in(&rules, FILTER_VLANS_BY_MAP, &own, 0xe000));
	/* With every address let in, tags still count. */
	rules.alluni = rules.allmulti = true;
	assert_false(lets_in(&rules, FILTER_VLANS_BY_MAP, &other, 101));
	assert_true(lets_in(&rules, FILTER_VLANS_BY_MAP, &other, 100));
}

/* Nothing to keep out, nothing to look at. */
static void
test_no_filter_where_all_is_let_in(void **state)
{
	struct vnet_filter_rules rules = rules_plain();
	struct vnet_filter *filter;

	rules.alluni = rules.allmulti = true;
	assert_int_equal(vnet_filter_build(&rules, FILTER_VLANS_IGNORED, &filter), 0);
	assert_null(filter);
	memset(rules.vlans, 0xff, sizeof(rules.vlans));
	assert_int_equal(vnet_filter_build(&rules, FILTER_VLANS_BY_MAP, &filter), 0);
	assert_null(filter);
	rules.vlans[3] = 0;
	assert_int_equal(vnet_filter_build(&rules, FILTER_VLANS_BY_MAP, &filter), 0);
	assert_non_null(filter);
	vnet_filter_free(filter);
	vnet_filter_free(NULL);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_against_the_model),
		cmocka_unit_test(test_c99_c100_promisc_overrides_all),
		cmocka_unit_test(test_c101_allmulti),
		cmocka_unit_test(test_c102_c103_alluni),
		cmocka_unit_test(test_c104_nomulti_beats_allmulti),
		cmocka_unit_test(test_c105_nouni_beats_alluni),
		cmocka_unit_test(test_c106_nobcast_beats_allmulti),
		cmocka_unit_test(test_c110_neither_mac_nor_table),
		cmocka_unit_test(test_c111_two_tables),
		cmocka_unit_test(test_c112_without_ctrl_vlan_all_tags),
		cmocka_unit_test(test_c113_tags_in_the_table_only),
		cmocka_unit_test(test_no_filter_where_all_is_let_in),
	};

	return UNIT_RUN(tests);
}
