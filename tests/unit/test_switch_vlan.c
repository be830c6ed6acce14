/* SPDX-License-Identifier: BSD-3-Clause */
/* test_switch_vlan: VLANs of the switch: where a frame belongs, where it goes, and with which tag. */
#include "fwd_scene.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "borrow.h"
#include "fdb.h"
#include "keys.h"
#include "keyval.h"
#include "mbufs.h"
#include "packet.h"
#include "switch_port.h"
#include "tag.h"

#define C(tci) (0x81000000u | (tci))
#define S(tci) (0x88a80000u | (tci))
#define NO_TAGS 0, 0

enum { PORTS = 8, FRAME = 64, TEXT = 4096 };

static struct {
	struct fdb *fdb;
	struct fwd_plan *plan;
} vlans;

/* --- the keys --- */

static int
parse(const char *pairs, void *args, struct diag *diag)
{
	struct key_set set = {.rows = switch_port_keys.keys, .values = args};
	struct keyval keyval;
	char line[256];
	int ret;

	snprintf(line, sizeof(line), "kind%s%s", *pairs ? "," : "", pairs);
	memset(args, 0, switch_port_keys.args_size);
	assert_int_equal(keys_init(&set), 0);
	assert_int_equal(keyval_parse(&keyval, line, KEYVAL_UNNAMED, "port", diag), 0);
	ret = keys_parse(&set, 1, &keyval, "port a", "mode switch", "a=kind", diag);
	keyval_free(&keyval);
	if (ret == 0)
		ret = switch_port_keys.check(args, "port a", diag);
	return ret;
}

/* The port is what these keys make of it. */
static void
port_is(unsigned int i, const char *pairs)
{
	uint8_t args[256] __rte_aligned(8);
	struct key_set set = {.rows = switch_port_keys.keys, .values = args};
	struct diag diag;
	void *of_mode;

	assert_true(switch_port_keys.args_size <= sizeof(args));
	assert_int_equal(parse(pairs, args, &diag), 0);
	assert_int_equal(switch_port_keys.make(scene.ports[i], args, &of_mode), 0);
	keys_free(&set);
	free((void *)(uintptr_t)atomic_exchange(&scene.ports[i]->of_mode, of_mode));
}

static void
open_ports(const char *const pairs[], unsigned int n)
{
	struct diag diag;

	assert_int_equal(fdb_open(&vlans.fdb, 1024, FWD_WORKERS_MAX, &diag), 0);
	vlans.plan = scene_open("switch", vlans.fdb, n, 1, 1);
	for (unsigned int i = 0; i < n; i++)
		port_is(i, pairs[i]);
}

static void
close_ports(void)
{
	for (unsigned int i = 0; i < scene.n_ports; i++)
		free((void *)(uintptr_t)atomic_exchange(&scene.ports[i]->of_mode, NULL));
	scene_close(vlans.plan);
	fdb_close(vlans.fdb);
}

static void
refuse(const char *pairs, const char *cause, const char *hint)
{
	uint8_t args[256] __rte_aligned(8);
	struct key_set set = {.rows = switch_port_keys.keys, .values = args};
	struct diag diag = {0};

	assert_true(parse(pairs, args, &diag) < 0);
	assert_string_equal(diag.cause, cause);
	assert_string_equal(diag.hint, hint);
	keys_free(&set);
}

static void
test_keys(void **state)
{
	refuse("vlan=10,trunk=20+30", "port a: vlan= and trunk= contradict each other",
	       "vlan=10, or trunk=20+30,native=10");
	refuse("vlan=10,qinq=20", "port a: vlan= and qinq= contradict each other", "vlan=10, or qinq=20");
	refuse("qinq=20,trunk=5-9", "port a: qinq= and trunk= contradict each other",
	       "qinq=20, or trunk=5-9");
	refuse("native=10", "port a: native= is for a trunk, and there is no trunk=",
	       "vlan=10, or trunk=1-4094,native=10");
	refuse("vlan=4095", "port a: vlan: 4095 is not in 0..4094", "vlan=4094");
	refuse("learn-full=drop", "port a: learn-full= is of learn-limit=, which is not given",
	       "learn-limit=16,learn-full=drop");
	refuse("trunk=0", "port a: trunk: 0 is not in 1..4094", "trunk=1");
}

/* --- frames --- */

/* `tags` from the outside in, 0 ends them; the frame is FRAME bytes long and a tag more each. */
static struct rte_mbuf *
frame(uint64_t dst, uint64_t src, const uint32_t tags[2], uint32_t number)
{
	static const uint8_t type[2] = {PACKET_TYPE_TEST >> 8, PACKET_TYPE_TEST & 0xff};
	uint8_t bytes[FRAME + 2 * TAG_LEN] = {0};
	size_t len = TAG_AT;

	packet_put48(bytes, dst);
	packet_put48(bytes + 6, src);
	for (int i = 0; i < 2 && tags[i]; i++, len += TAG_LEN) {
		tag_put_word(bytes + len, (uint16_t)(tags[i] >> 16));
		tag_put_word(bytes + len + 2, (uint16_t)tags[i]);
	}
	memcpy(bytes + len, type, sizeof(type));
	memcpy(bytes + len + 2, &number, sizeof(number));
	return mbufs_make(scene.pool, bytes, FRAME + len - TAG_AT, MBUFS_WHOLE);
}

static void
say(unsigned int i, uint64_t dst, uint64_t src, uint32_t outer, uint32_t inner, uint32_t number)
{
	scene_arrive_one(i, frame(dst, src, (const uint32_t[2]){outer, inner}, number));
}

/* "number@TPID.TCI@TPID.TCI". */
static size_t
tell(const struct rte_mbuf *m, char *text, size_t size)
{
	uint8_t bytes[FRAME + 2 * TAG_LEN];
	const uint8_t *at = rte_pktmbuf_read(m, 0, RTE_MIN(m->pkt_len, (uint32_t)sizeof(bytes)), bytes);
	uint32_t number, len = TAG_AT;
	char tags[64] = "";

	for (; tag_word(at + len) != PACKET_TYPE_TEST; len += TAG_LEN) {
		assert_true(len < TAG_AT + 3 * TAG_LEN);
		snprintf(tags + strlen(tags), sizeof(tags) - strlen(tags), "@%04x.%04x", tag_word(at + len),
			 tag_word(at + len + 2));
	}
	assert_int_equal(m->pkt_len, FRAME + len - TAG_AT);
	memcpy(&number, at + len + 2, sizeof(number));
	return (size_t)snprintf(text, size, "%u%s", number, tags);
}

/* What the port was sent since the last time, in order. */
static void
expect(unsigned int i, const char *expected)
{
	struct scene_port *fake = scene.fakes[i];
	char text[TEXT] = "";
	size_t len = 0;

	for (unsigned int k = 0; k < fake->n_sent; k++) {
		if (k)
			text[len++] = ' ';
		len += tell(fake->sent[k], text + len, sizeof(text) - len);
	}
	assert_string_equal(text, expected);
	scene_forget(i);
}

static void
expect_all(const char *const expected[], unsigned int n)
{
	for (unsigned int i = 0; i < n; i++)
		expect(i, expected[i]);
}

#define EXPECT(...) \
	expect_all((const char *const[]){__VA_ARGS__}, RTE_DIM(((const char *const[]){__VA_ARGS__})))

/* --- cases --- */

/* Who gets a broadcast, and how, from each kind of port; and what a port does not take. */
static void
test_flood(void **state)
{
	static const char *const pairs[] = {
		"vlan=10", "vlan=10", "vlan=20", "trunk=10+20", "trunk=10+30,native=20", "", ""};

	open_ports(pairs, RTE_DIM(pairs));
	/* Access. */
	say(0, BROADCAST, STATION(0), NO_TAGS, 1);
	EXPECT("", "1", "", "1@8100.000a", "1@8100.000a", "", "");
	say(2, BROADCAST, STATION(2), NO_TAGS, 2);
	EXPECT("", "", "", "2@8100.0014", "2", "", "");
	/* A priority, and no VLAN. */
	say(0, BROADCAST, STATION(0), C(0xa000), 0, 3);
	EXPECT("", "3", "", "3@8100.a00a", "3@8100.a00a", "", "");
	say(2, BROADCAST, STATION(2), C(0xe000), 0, 4);
	EXPECT("", "", "", "4@8100.e014", "4", "", "");
	/* Its own VLAN's tag is a tag, too. */
	say(0, BROADCAST, STATION(0), C(10), 0, 5);
	say(0, BROADCAST, STATION(0), C(20), 0, 5);
	say(0, BROADCAST, STATION(0), S(0), 0, 5);
	say(0, BROADCAST, STATION(0), S(10), C(10), 5);
	EXPECT("", "", "", "", "", "", "");
	assert_int_equal(scene_drops(0, DROP_VLAN_TAGGED), 4);
	/* Trunk. */
	say(3, BROADCAST, STATION(3), C(10), 0, 6);
	EXPECT("6", "6", "", "", "6@8100.000a", "", "");
	say(3, BROADCAST, STATION(3), C(0x7014), 0, 7);
	EXPECT("", "", "7", "", "7", "", "");
	say(3, BROADCAST, STATION(3), NO_TAGS, 8);
	say(3, BROADCAST, STATION(3), C(0x2000), 0, 8);
	assert_int_equal(scene_drops(3, DROP_VLAN_UNTAGGED), 2);
	say(3, BROADCAST, STATION(3), C(30), 0, 9);
	say(3, BROADCAST, STATION(3), C(4095), 0, 9);
	say(3, BROADCAST, STATION(3), S(0), 0, 9);
	say(3, BROADCAST, STATION(3), S(30), 0, 9);
	assert_int_equal(scene_drops(3, DROP_VLAN_FOREIGN), 4);
	EXPECT("", "", "", "", "", "", "");
	/* Service VLAN 10 is another one than VLAN 10, and the guest's own tags are inside. */
	say(3, BROADCAST, STATION(3), S(10), C(10), 10);
	EXPECT("", "", "", "", "10@88a8.000a@8100.000a", "", "");
	say(3, BROADCAST, STATION(3), C(10), C(99), 11);
	EXPECT("11@8100.0063", "11@8100.0063", "", "", "11@8100.000a@8100.0063", "", "");
	/* With a native VLAN, which may be named by a tag. */
	say(4, BROADCAST, STATION(4), NO_TAGS, 12);
	EXPECT("", "", "12", "12@8100.0014", "", "", "");
	say(4, BROADCAST, STATION(4), C(0x4000), 0, 13);
	EXPECT("", "", "13", "13@8100.4014", "", "", "");
	say(4, BROADCAST, STATION(4), C(20), 0, 14);
	EXPECT("", "", "14", "14@8100.0014", "", "", "");
	/* A VLAN that no other port has. */
	say(4, BROADCAST, STATION(4), C(30), 0, 15);
	EXPECT("", "", "", "", "", "", "");
	assert_int_equal(scene_drops(4, DROP_NO_PORT), 1);
	/* The plain network: tags are payload. */
	say(5, BROADCAST, STATION(5), NO_TAGS, 16);
	say(5, BROADCAST, STATION(5), C(10), 0, 17);
	say(5, BROADCAST, STATION(5), S(10), C(20), 18);
	EXPECT("", "", "", "", "", "", "16 17@8100.000a 18@88a8.000a@8100.0014");
	close_ports();
}

static void
test_tunnel(void **state)
{
	static const char *const pairs[] = {"qinq=100", "qinq=100", "qinq=200", "trunk=100-200", "vlan=100"};

	open_ports(pairs, RTE_DIM(pairs));
	say(0, BROADCAST, STATION(0), NO_TAGS, 1);
	EXPECT("", "1", "", "1@88a8.0064", "");
	say(0, BROADCAST, STATION(0), C(0x300a), 0, 2);
	EXPECT("", "2@8100.300a", "", "2@88a8.0064@8100.300a", "");
	say(0, BROADCAST, STATION(0), S(200), C(10), 3);
	EXPECT("", "3@88a8.00c8@8100.000a", "", "3@88a8.0064@88a8.00c8@8100.000a", "");
	say(3, BROADCAST, STATION(3), S(0xc0c8), C(10), 4);
	EXPECT("", "", "4@8100.000a", "", "");
	say(3, BROADCAST, STATION(3), C(100), 0, 5);
	EXPECT("", "", "", "", "5");
	say(4, BROADCAST, STATION(4), NO_TAGS, 6);
	EXPECT("", "", "", "6@8100.0064", "");
	close_ports();
}

/* One address in several VLANs is behind several ports; where it is known, only that port gets its frames. */
static void
test_learning(void **state)
{
	static const char *const pairs[] = {"vlan=10",     "vlan=10", "vlan=20", "vlan=20",
					    "trunk=10+20", "",        ""};
	struct rte_ether_addr addr;

	open_ports(pairs, RTE_DIM(pairs));
	say(0, BROADCAST, STATION(1), NO_TAGS, 0);
	say(2, BROADCAST, STATION(1), NO_TAGS, 0);
	say(5, BROADCAST, STATION(1), NO_TAGS, 0);
	say(4, BROADCAST, STATION(4), C(10), 0, 0);
	say(4, BROADCAST, STATION(5), C(20), 0, 0);
	scene_forget_all();
	fdb_tick(vlans.fdb, 1);
	assert_int_equal(fdb_count(vlans.fdb), 5);
	packet_put48(addr.addr_bytes, STATION(1));
	assert_int_equal(fdb_find(vlans.fdb, 10, &addr), 0);
	assert_int_equal(fdb_find(vlans.fdb, 20, &addr), 2);
	assert_int_equal(fdb_find(vlans.fdb, VLAN_PLAIN, &addr), 5);
	say(1, STATION(1), STATION(2), NO_TAGS, 1);
	EXPECT("1", "", "", "", "", "", "");
	say(3, STATION(1), STATION(3), NO_TAGS, 2);
	EXPECT("", "", "2", "", "", "", "");
	say(6, STATION(1), STATION(6), NO_TAGS, 3);
	EXPECT("", "", "", "", "", "3", "");
	say(4, STATION(1), STATION(4), C(0x600a), 0, 4);
	EXPECT("4", "", "", "", "", "", "");
	say(4, STATION(1), STATION(4), C(20), 0, 5);
	EXPECT("", "", "5", "", "", "", "");
	say(0, STATION(4), STATION(1), NO_TAGS, 6);
	EXPECT("", "", "", "", "6@8100.000a", "", "");
	say(0, STATION(4), STATION(1), C(0x8000), 0, 7);
	EXPECT("", "", "", "", "7@8100.800a", "", "");
	/* Known in the other VLAN only. */
	say(0, STATION(5), STATION(1), NO_TAGS, 8);
	EXPECT("", "8", "", "", "8@8100.000a", "", "");
	/* Behind the trunk it came from, in this VLAN. */
	say(4, STATION(5), STATION(4), C(20), 0, 9);
	assert_int_equal(scene_drops(4, DROP_SAME_PORT), 1);
	close_ports();
}

/* A burst of everything: each port gets its own in order. */
static void
test_mixed_burst(void **state)
{
	static const char *const pairs[] = {"trunk=1-4094", "vlan=10", "vlan=20", "trunk=10+20"};
	static const uint32_t tags[][2] = {{C(10)}, {C(20)}, {C(10)}, {C(10)},
					   {C(20)}, {0},     {C(30)}, {C(20)}};
	static const uint64_t dsts[] = {STATION(1), STATION(2), BROADCAST,  STATION(1),
					BROADCAST,  BROADCAST,  STATION(1), STATION(2)};
	struct rte_mbuf *pkts[RTE_DIM(dsts)];

	open_ports(pairs, RTE_DIM(pairs));
	say(1, BROADCAST, STATION(1), NO_TAGS, 0);
	say(2, BROADCAST, STATION(2), NO_TAGS, 0);
	scene_forget_all();
	fdb_tick(vlans.fdb, 1);
	for (uint32_t i = 0; i < RTE_DIM(dsts); i++)
		pkts[i] = frame(dsts[i], STATION(0), tags[i], i);
	scene_arrive(0, 0, pkts, RTE_DIM(dsts));
	EXPECT("", "0 2 3", "1 4 7", "2@8100.000a 4@8100.0014");
	assert_int_equal(scene_drops(0, DROP_VLAN_UNTAGGED), 1);
	/* VLAN 30 has no other port. */
	assert_int_equal(scene_drops(0, DROP_NO_PORT), 1);
	/* All to one port, two VLANs. */
	for (uint32_t i = 0; i < 4; i++)
		pkts[i] = frame(i % 2 ? STATION(2) : STATION(1), STATION(0), tags[i % 2], i);
	scene_arrive(0, 0, pkts, 4);
	EXPECT("", "0 2", "1 3", "");
	close_ports();
}

static void
test_isolated(void **state)
{
	static const char *const pairs[] = {"vlan=10,isolated=on", "vlan=10,isolated=on", "vlan=10",
					    "trunk=10"};

	open_ports(pairs, RTE_DIM(pairs));
	say(0, BROADCAST, STATION(0), NO_TAGS, 1);
	EXPECT("", "", "1", "1@8100.000a");
	fdb_tick(vlans.fdb, 1);
	say(1, STATION(0), STATION(1), NO_TAGS, 2);
	assert_int_equal(scene_drops(1, DROP_ISOLATED), 1);
	say(3, STATION(0), STATION(3), C(10), 0, 3);
	EXPECT("3", "", "", "");
	close_ports();
}

/* What a port was changes while its stations are known: nothing goes where it does not belong. */
static void
test_changes(void **state)
{
	static const char *const pairs[] = {"vlan=10", "vlan=10", "vlan=20", "trunk=10+20", ""};
	struct rte_ether_addr addr;

	open_ports(pairs, RTE_DIM(pairs));
	say(0, BROADCAST, STATION(0), NO_TAGS, 0);
	scene_forget_all();
	fdb_tick(vlans.fdb, 1);
	port_is(0, "vlan=20");
	say(1, STATION(0), STATION(1), NO_TAGS, 1);
	EXPECT("", "", "", "1@8100.000a", "");
	say(2, STATION(0), STATION(2), NO_TAGS, 2);
	EXPECT("2", "", "", "2@8100.0014", "");
	port_is(0, "");
	say(1, STATION(0), STATION(1), NO_TAGS, 3);
	EXPECT("", "", "", "3@8100.000a", "");
	say(4, BROADCAST, STATION(4), NO_TAGS, 4);
	EXPECT("4", "", "", "", "");
	fdb_tick(vlans.fdb, 1);
	/* From plain to a VLAN: plain frames for it are flooded among plain ports, of which there is none. */
	say(0, BROADCAST, STATION(0), NO_TAGS, 5);
	fdb_tick(vlans.fdb, 1);
	port_is(0, "trunk=10,native=20");
	scene_forget_all();
	say(4, STATION(0), STATION(4), NO_TAGS, 6);
	EXPECT("", "", "", "", "");
	assert_int_equal(scene_drops(4, DROP_NO_PORT), 1);
	fwd_mode_by_name("switch")->port_changed(vlans.fdb, scene.ports[0]);
	/* Of what was learnt there, what is in VLANs that it still has is kept. */
	packet_put48(addr.addr_bytes, STATION(0));
	assert_int_equal(fdb_find(vlans.fdb, 10, &addr), 0);
	assert_int_equal(fdb_find(vlans.fdb, VLAN_PLAIN, &addr), -1);
	assert_int_equal(fdb_flush(vlans.fdb, scene.ports[0], -1), 1);
	close_ports();
}

/* The tag is written to no data that others read: a frame that a hook keeps, a borrowed one, one in pieces.
 */
static void
test_not_ours(void **state)
{
	static const char *const pairs[] = {"trunk=10", "vlan=10", "trunk=10"};
	static const enum mbufs_shape {
		SHARED,
		BORROWED,
		PIECES,
		TIGHT,
		SHAPES
	} shapes[] = {SHARED, BORROWED, PIECES, TIGHT};
	uint8_t payload[BORROW_HEAD + 400];

	open_ports(pairs, RTE_DIM(pairs));
	for (unsigned int k = 0; k < RTE_DIM(shapes); k++) {
		for (unsigned int from = 0; from < 2; from++) {
			const uint32_t tags[2] = {from ? 0 : C(10), 0};
			struct rte_mbuf *m = frame(BROADCAST, STATION(from), tags, k), *kept = NULL;
			struct port_rxq *rxq = &scene.ports[from]->rxqs[0];
			uint8_t before[FRAME + TAG_LEN];

			switch (shapes[k]) {
			case SHARED:
				memcpy(before, rte_pktmbuf_mtod(m, void *), m->data_len);
				rte_pktmbuf_refcnt_update(m, 1);
				kept = m;
				break;
			case BORROWED:
				for (size_t i = 0; i < sizeof(payload); i++)
					payload[i] = (uint8_t)(i * 7);
				m->data_len = sizeof(payload);
				m->pkt_len = sizeof(payload);
				borrow_start(m, payload);
				rxq->borrowed = true;
				break;
			case PIECES: {
				struct rte_mbuf *rest = rte_pktmbuf_alloc(scene.pool);
				const uint16_t first = 15;

				memcpy(rte_pktmbuf_append(rest, m->data_len - first),
				       rte_pktmbuf_mtod_offset(m, void *, first), m->data_len - first);
				m->next = rest;
				m->nb_segs = 2;
				m->data_len = first;
				break;
			}
			case TIGHT: {
				const uint16_t len = m->data_len, room = rte_pktmbuf_headroom(m);
				char *start = rte_pktmbuf_prepend(m, room);

				memmove(start, start + room, len);
				rte_pktmbuf_trim(m, room);
				break;
			}
			default:
				fail();
			}
			rxq->stats.packets++;
			scene.workers[0].plan->mode->forward(&scene.workers[0], rxq, &m, 1);
			rxq->borrowed = false;
			for (unsigned int to = 0; to < 3; to++) {
				struct rte_mbuf *sent;
				const bool tagged = to != 1;

				assert_int_equal(scene.fakes[to]->n_sent, to != from);
				if (to == from)
					continue;
				sent = scene.fakes[to]->sent[0];
				assert_int_equal(tag_type(sent),
						 tagged ? RTE_ETHER_TYPE_VLAN : PACKET_TYPE_TEST);
				if (shapes[k] == BORROWED) {
					const int moved = (tagged ? TAG_LEN : 0) - (from ? 0 : TAG_LEN);

					assert_false(borrow_is(sent));
					assert_int_equal(sent->pkt_len, (int)sizeof(payload) + moved);
					assert_memory_equal(
						rte_pktmbuf_mtod_offset(sent, uint8_t *, BORROW_HEAD + moved),
						payload + BORROW_HEAD, 400);
				} else {
					char text[64];

					tell(sent, text, sizeof(text));
					assert_int_equal(text[0], '0' + (char)k);
				}
				scene_forget(to);
			}
			if (kept) {
				assert_int_equal(kept->data_len, FRAME + (from ? 0 : TAG_LEN));
				assert_memory_equal(rte_pktmbuf_mtod(kept, void *), before, kept->data_len);
				rte_pktmbuf_free(kept);
			}
		}
	}
	close_ports();
}

/* A request for offloads goes with the tag. */
static void
test_requests(void **state)
{
	static const char *const pairs[] = {"vlan=10", "trunk=10", "vlan=10"};
	struct rte_mbuf *m;

	open_ports(pairs, RTE_DIM(pairs));
	m = frame(BROADCAST, STATION(0), (const uint32_t[2]){0, 0}, 1);
	m->ol_flags |= RTE_MBUF_F_TX_TCP_SEG | RTE_MBUF_F_TX_TCP_CKSUM | RTE_MBUF_F_TX_IPV4;
	m->l2_len = RTE_ETHER_HDR_LEN;
	m->l3_len = 20;
	m->l4_len = 32;
	m->tso_segsz = 1448;
	scene_arrive_one(0, m);
	for (unsigned int i = 1; i < 3; i++) {
		m = scene.fakes[i]->sent[0];
		assert_int_equal(m->ol_flags & RTE_MBUF_F_TX_TCP_SEG, RTE_MBUF_F_TX_TCP_SEG);
		assert_int_equal(m->l2_len, RTE_ETHER_HDR_LEN + (i == 1 ? TAG_LEN : 0));
		assert_int_equal(m->l3_len, 20);
		assert_int_equal(m->l4_len, 32);
		assert_int_equal(m->tso_segsz, 1448);
	}
	EXPECT("", "1@8100.000a", "1");
	m = frame(BROADCAST, STATION(1), (const uint32_t[2]){C(10), 0}, 2);
	m->ol_flags |= RTE_MBUF_F_TX_UDP_CKSUM | RTE_MBUF_F_TX_IPV6;
	m->l2_len = RTE_ETHER_HDR_LEN + TAG_LEN;
	m->l3_len = 40;
	scene_arrive_one(1, m);
	for (unsigned int i = 0; i < 3; i += 2) {
		assert_int_equal(scene.fakes[i]->sent[0]->l2_len, RTE_ETHER_HDR_LEN);
		assert_int_equal(scene.fakes[i]->sent[0]->l3_len, 40);
	}
	scene_forget_all();
	close_ports();
}

/* A tag behind the frame's own never becomes the one that says where the frame belongs. */
static void
test_tags_behind(void **state)
{
	static const char *const pairs[] = {
		"vlan=30", "trunk=30+40", "trunk=40,native=30", "trunk=40,native=30", "vlan=40", "vlan=30"};

	open_ports(pairs, RTE_DIM(pairs));
	/* Behind a priority tag, which says no VLAN: dropped, as the tag would be without it. */
	say(0, BROADCAST, STATION(0), C(0), C(40), 1);
	say(0, BROADCAST, STATION(0), C(0), S(40), 2);
	say(2, BROADCAST, STATION(2), C(0), C(40), 3);
	EXPECT("", "", "", "", "", "");
	assert_int_equal(scene_drops(0, DROP_VLAN_TAGGED), 2);
	assert_int_equal(scene_drops(2, DROP_VLAN_FOREIGN), 1);
	/* Behind a VLAN's: that tag stays on trunks of which it is the native VLAN. */
	say(1, BROADCAST, STATION(1), C(30), C(40), 4);
	EXPECT("4@8100.0028", "", "4@8100.001e@8100.0028", "4@8100.001e@8100.0028", "", "4@8100.0028");
	say(2, BROADCAST, STATION(2), C(30), S(40), 5);
	EXPECT("5@88a8.0028", "5@8100.001e@88a8.0028", "", "5@8100.001e@88a8.0028", "", "5@88a8.0028");
	/* Known stations, alone, and in a burst with others. */
	fdb_tick(vlans.fdb, 1);
	say(1, STATION(2), STATION(1), C(30), C(40), 6);
	EXPECT("", "", "6@8100.001e@8100.0028", "", "", "");
	for (unsigned int known = 0; known < 2; known++) {
		struct rte_mbuf *pkts[4];
		const uint64_t dst = known ? STATION(2) : BROADCAST;

		for (uint32_t k = 0; k < 4; k++)
			pkts[k] = frame(dst, STATION(1), (const uint32_t[2]){C(30), k % 2 ? C(40) : 0}, k);
		scene_arrive(1, 0, pkts, 4);
		expect(2, "0 1@8100.001e@8100.0028 2 3@8100.001e@8100.0028");
		expect(5, known ? "" : "0 1@8100.0028 2 3@8100.0028");
		scene_forget_all();
	}
	close_ports();
}

/* A tag that is cut off is no tag, and nothing is read behind it. */
static void
test_cut_tags(void **state)
{
	static const char *const pairs[] = {"trunk=10,native=10", "vlan=10", "qinq=10"};

	open_ports(pairs, RTE_DIM(pairs));
	for (uint16_t len = RTE_ETHER_HDR_LEN; len < TAG_REACH; len++) {
		for (unsigned int i = 0; i < 3; i++) {
			struct rte_mbuf *m = frame(BROADCAST, STATION(i), (const uint32_t[2]){C(10), 0}, 1);

			rte_pktmbuf_trim(m, (uint16_t)(m->data_len - len));
			scene_arrive_one(i, m);
		}
	}
	assert_int_equal(scene_drops(0, DROP_VLAN_FOREIGN), 4);
	assert_int_equal(scene_drops(1, DROP_VLAN_TAGGED), 4);
	/* From the tunnel they are payload, but the trunk does not have its service VLAN 10? It does. */
	assert_int_equal(scene.fakes[0]->n_sent, 4);
	assert_int_equal(tag_type(scene.fakes[0]->sent[0]), RTE_ETHER_TYPE_QINQ);
	scene_forget_all();
	/* One byte more: a tag, and nothing behind it. */
	for (unsigned int i = 0; i < 2; i++) {
		struct rte_mbuf *m = frame(BROADCAST, STATION(i), (const uint32_t[2]){C(0), 0}, 1);

		rte_pktmbuf_trim(m, (uint16_t)(m->data_len - TAG_REACH));
		scene_arrive_one(i, m);
	}
	assert_int_equal(scene.fakes[0]->n_sent, 1);
	assert_int_equal(scene.fakes[1]->n_sent, 1);
	assert_int_equal(scene.fakes[1]->sent[0]->pkt_len, RTE_ETHER_HDR_LEN);
	scene_forget_all();
	close_ports();
}

/* --- limits --- */

static void
changed(unsigned int i)
{
	fwd_mode_by_name("switch")->port_changed(vlans.fdb, scene.ports[i]);
}

/* n frames at once. */
static void
burst(unsigned int i, uint64_t dst, uint16_t n)
{
	struct rte_mbuf *pkts[PORT_BURST];

	for (uint16_t k = 0; k < n; k++)
		pkts[k] = frame(dst, STATION(i), (const uint32_t[2]){0, 0}, k);
	scene_arrive(i, 0, pkts, n);
}

/* Each kind of flood has a limit of its own; what is known is not limited. The least burst is 64 frames. */
static void
test_storm(void **state)
{
	enum { BURST = 64, GROUP = 30, ROUNDS = 4 };
	static const uint64_t multicast = 0x01005e000001;
	static const char *const pairs[] = {"storm-broadcast=1pps,storm-unknown=1pps", "",
					    "vlan=5,storm-multicast=1pps", "vlan=5"};

	open_ports(pairs, RTE_DIM(pairs));
	say(1, BROADCAST, STATION(1), NO_TAGS, 0);
	scene_forget_all();
	fdb_tick(vlans.fdb, 1);
	for (int k = 0; k < ROUNDS; k++) {
		burst(0, BROADCAST, GROUP);
		burst(0, STATION(77), GROUP);
		burst(0, multicast, GROUP);
		burst(0, STATION(1), GROUP);
		burst(2, multicast, GROUP);
		burst(2, BROADCAST, GROUP);
	}
	/* A second may have passed, and more; not ten. */
	assert_in_range(scene_drops(0, DROP_STORM), 2 * (ROUNDS * GROUP - BURST) - 20,
			2 * (ROUNDS * GROUP - BURST));
	assert_in_range(scene_drops(2, DROP_STORM), ROUNDS * GROUP - BURST - 10, ROUNDS * GROUP - BURST);
	assert_int_equal(scene.fakes[1]->n_sent, 4 * ROUNDS * GROUP - scene_drops(0, DROP_STORM));
	assert_int_equal(scene.fakes[3]->n_sent, 2 * ROUNDS * GROUP - scene_drops(2, DROP_STORM));
	close_ports();
}

static void
test_bpdu(void **state)
{
	static const char *const pairs[] = {"bpdu=forward", "", "vlan=5", "vlan=5,bpdu=forward"};

	open_ports(pairs, RTE_DIM(pairs));
	say(0, 0x0180c2000000, STATION(0), NO_TAGS, 1);
	say(1, 0x0180c2000000, STATION(1), NO_TAGS, 2);
	say(2, 0x0180c200000e, STATION(2), NO_TAGS, 3);
	say(3, 0x0180c200000e, STATION(3), NO_TAGS, 4);
	EXPECT("", "1", "4", "");
	assert_int_equal(scene_drops(1, DROP_BPDU), 1);
	assert_int_equal(scene_drops(2, DROP_BPDU), 1);
	close_ports();
}

/* A port learns as many stations as it may; the rest is flooded, or dropped; room is made by age. */
static void
test_learn_limit(void **state)
{
	static const char *const pairs[] = {"learn-limit=2", "", "vlan=5,learn-limit=2,learn-full=drop",
					    "vlan=5"};
	struct rte_ether_addr addr;

	open_ports(pairs, RTE_DIM(pairs));
	for (unsigned int i = 0; i < 4; i++)
		changed(i);
	scene.workers[0].now_s = 1;
	for (unsigned int k = 0; k < 6; k++) {
		say(0, BROADCAST, STATION(k), NO_TAGS, k);
		say(2, BROADCAST, STATION(k), NO_TAGS, k);
		fdb_tick(vlans.fdb, 1);
	}
	assert_int_equal(fdb_count(vlans.fdb), 4);
	assert_int_equal(fdb_port(vlans.fdb, scene.ports[0])->n_learnt, 2);
	EXPECT("", "0 1 2 3 4 5", "", "0 1");
	assert_int_equal(scene_drops(0, DROP_STRANGER), 0);
	assert_int_equal(scene_drops(2, DROP_STRANGER), 4);
	/* A tag that it may not have is that, and no stranger. */
	say(2, BROADCAST, STATION(9), C(5), 0, 9);
	assert_int_equal(scene_drops(2, DROP_VLAN_TAGGED), 1);
	/* Nor does a station move to a port that is full. */
	say(1, BROADCAST, STATION(50), NO_TAGS, 0);
	fdb_tick(vlans.fdb, 1);
	say(0, BROADCAST, STATION(50), NO_TAGS, 0);
	fdb_tick(vlans.fdb, 1);
	packet_put48(addr.addr_bytes, STATION(50));
	assert_int_equal(fdb_find(vlans.fdb, VLAN_PLAIN, &addr), 1);
	/* Fixed ones are not counted. */
	packet_put48(addr.addr_bytes, STATION(3));
	assert_int_equal(fdb_fix(vlans.fdb, 5, &addr, scene.ports[2]), 0);
	scene_forget_all();
	say(2, BROADCAST, STATION(3), NO_TAGS, 3);
	EXPECT("", "", "", "3");
	packet_put48(addr.addr_bytes, STATION(0));
	assert_int_equal(fdb_fix(vlans.fdb, 5, &addr, scene.ports[2]), 0);
	assert_int_equal(fdb_port(vlans.fdb, scene.ports[2])->n_learnt, 1);
	say(2, BROADCAST, STATION(4), NO_TAGS, 4);
	fdb_tick(vlans.fdb, 1);
	assert_int_equal(fdb_port(vlans.fdb, scene.ports[2])->n_learnt, 2);
	say(2, BROADCAST, STATION(5), NO_TAGS, 5);
	EXPECT("", "", "", "4");
	/* Age, and another limit. */
	fdb_tick(vlans.fdb, 1000);
	assert_int_equal(fdb_port(vlans.fdb, scene.ports[2])->n_learnt, 0);
	scene.workers[0].now_s = 1000;
	say(2, BROADCAST, STATION(5), NO_TAGS, 6);
	EXPECT("", "", "", "6");
	port_is(2, "vlan=5,learn-limit=1,learn-full=drop");
	changed(2);
	fdb_tick(vlans.fdb, 1000);
	say(2, BROADCAST, STATION(5), NO_TAGS, 7);
	say(2, BROADCAST, STATION(4), NO_TAGS, 7);
	EXPECT("", "", "", "7");
	port_is(2, "vlan=5");
	changed(2);
	say(2, BROADCAST, STATION(4), NO_TAGS, 8);
	EXPECT("", "", "", "8");
	close_ports();
}

static struct {
	unsigned int n_held, n_let_go;
	uint16_t port_id;
} told;

static void
tell_held(void *arg, uint16_t port_id, const struct rte_ether_addr *mac, uint16_t vlan)
{
	told.port_id = port_id;
	*(mac ? &told.n_held : &told.n_let_go) += 1;
}

/* The station is at port 0, and appears at `at` in between, so many times. */
static void
move(unsigned int at, unsigned int times, uint32_t now_s)
{
	for (unsigned int k = 0; k < times; k++) {
		say(0, BROADCAST, STATION(1), NO_TAGS, 0);
		fdb_tick(vlans.fdb, now_s);
		say(at, BROADCAST, STATION(1), NO_TAGS, 0);
		fdb_tick(vlans.fdb, now_s);
	}
	say(0, BROADCAST, STATION(1), NO_TAGS, 0);
	fdb_tick(vlans.fdb, now_s);
	scene_forget_all();
}

/* Held is the port to which a station moves, never the one where it was. */
static void
test_loops(void **state)
{
	static const char *const pairs[] = {"", "", "", "loop=ignore"};
	struct rte_ether_addr addr;

	open_ports(pairs, RTE_DIM(pairs));
	for (unsigned int i = 0; i < 4; i++)
		changed(i);
	memset(&told, 0, sizeof(told));
	fdb_set_loops(vlans.fdb, 5, 60, tell_held, NULL);
	say(1, BROADCAST, STATION(11), NO_TAGS, 0);
	fdb_tick(vlans.fdb, 10);
	/* Not often enough, or not soon enough. */
	move(1, 4, 10);
	move(1, 4, 20);
	assert_int_equal(told.n_held, 0);
	assert_int_equal(fdb_port(vlans.fdb, scene.ports[1])->n_moves, 8);
	move(1, 1, 20);
	assert_int_equal(told.n_held, 1);
	assert_int_equal(told.port_id, 1);
	/* Its stations are forgotten, nothing is taken from it, and floods pass it over. */
	packet_put48(addr.addr_bytes, STATION(11));
	assert_int_equal(fdb_find(vlans.fdb, VLAN_PLAIN, &addr), -1);
	say(1, BROADCAST, STATION(11), NO_TAGS, 1);
	say(0, BROADCAST, STATION(1), NO_TAGS, 2);
	EXPECT("", "", "2", "2");
	assert_int_equal(scene_drops(1, DROP_HELD), 1);
	fdb_tick(vlans.fdb, 79);
	assert_int_equal(told.n_let_go, 0);
	fdb_tick(vlans.fdb, 80);
	assert_int_equal(told.n_let_go, 1);
	say(1, BROADCAST, STATION(11), NO_TAGS, 3);
	EXPECT("3", "", "3", "3");
	/* A port that may not be held, a station that is fixed. */
	move(3, 20, 100);
	assert_int_equal(told.n_held, 1);
	packet_put48(addr.addr_bytes, STATION(1));
	assert_int_equal(fdb_fix(vlans.fdb, VLAN_PLAIN, &addr, scene.ports[0]), 0);
	move(1, 20, 110);
	assert_int_equal(told.n_held, 1);
	assert_true(fdb_forget_station(vlans.fdb, VLAN_PLAIN, &addr));
	/* Removed while it is held, it is another one when it comes again. */
	move(2, 6, 120);
	assert_int_equal(told.n_held, 2);
	assert_int_equal(told.port_id, 2);
	fwd_mode_by_name("switch")->port_removed(vlans.fdb, scene.ports[2]);
	fdb_tick(vlans.fdb, 120);
	changed(2);
	say(2, BROADCAST, STATION(12), NO_TAGS, 4);
	EXPECT("4", "4", "", "4");
	/* Held, and then it may not be. */
	move(1, 6, 125);
	assert_int_equal(told.n_held, 3);
	port_is(1, "loop=ignore");
	changed(1);
	say(1, BROADCAST, STATION(11), NO_TAGS, 5);
	EXPECT("5", "", "5", "5");
	port_is(1, "");
	changed(1);
	/* Switched off. */
	fdb_set_loops(vlans.fdb, 0, 60, tell_held, NULL);
	move(1, 20, 130);
	assert_int_equal(told.n_held, 3);
	close_ports();
}

/* As many stations as the table has by default, in all VLANs, between two trunks: each is known in its VLAN
 * alone. */
static void
test_all_vlans(void **state)
{
	static const char *const pairs[] = {"trunk=1-4094", "trunk=1-4094", "trunk=1-4094"};
	struct rte_mbuf *pkts[PORT_BURST];
	struct rte_ether_addr addr;
	struct diag diag;

	assert_int_equal(fdb_open(&vlans.fdb, FDB_ENTRIES, FWD_WORKERS_MAX, &diag), 0);
	vlans.plan = scene_open("switch", vlans.fdb, RTE_DIM(pairs), 1, 1);
	for (unsigned int i = 0; i < RTE_DIM(pairs); i++)
		port_is(i, pairs[i]);
	for (uint32_t i = 0; i < FDB_ENTRIES; i += PORT_BURST) {
		for (uint32_t k = 0; k < PORT_BURST; k++)
			pkts[k] = frame(BROADCAST, STATION((i + k) / VLAN_VID_MAX),
					(const uint32_t[2]){C(1 + (i + k) % VLAN_VID_MAX), 0}, i + k);
		scene_arrive((i / PORT_BURST) % 2, 0, pkts, PORT_BURST);
		fdb_tick(vlans.fdb, 1);
		scene_forget_all();
	}
	assert_int_equal(fdb_count(vlans.fdb), FDB_ENTRIES);
	for (uint32_t i = 0; i < FDB_ENTRIES; i += PORT_BURST) {
		const unsigned int at = (i / PORT_BURST) % 2;

		for (uint32_t k = 0; k < PORT_BURST; k++)
			pkts[k] = frame(STATION((i + k) / VLAN_VID_MAX), STATION(99999),
					(const uint32_t[2]){C(1 + (i + k) % VLAN_VID_MAX), 0}, i + k);
		/* A table that is full: the source is not learnt. */
		scene_arrive(2, 0, pkts, PORT_BURST);
		assert_int_equal(scene.fakes[at]->n_sent, PORT_BURST);
		assert_int_equal(scene.fakes[!at]->n_sent, 0);
		scene_forget_all();
	}
	packet_put48(addr.addr_bytes, STATION(0));
	assert_int_equal(fdb_find(vlans.fdb, VLAN_PLAIN, &addr), -1);
	assert_int_equal(fdb_find(vlans.fdb, VLAN_SERVICE + 1, &addr), -1);
	close_ports();
}

/* Who is held does not depend on when, while the station moves: port 1 pretends to be STATION(0), which goes
 * on speaking, and the second of the count is over while the station is behind port 1. */
static void
test_loops_at_any_time(void **state)
{
	static const char *const pairs[] = {"", "", ""};
	static const struct {
		uint32_t now_s;
		unsigned int port;
	} says[] = {{10, 0}, {10, 1}, {10, 0}, {11, 1}, {12, 0}, {12, 1}, {12, 0},
		    {12, 1}, {12, 0}, {12, 1}, {12, 0}, {12, 1}, {12, 0}};

	open_ports(pairs, RTE_DIM(pairs));
	for (unsigned int i = 0; i < 3; i++)
		changed(i);
	memset(&told, 0, sizeof(told));
	fdb_set_loops(vlans.fdb, 4, 60, tell_held, NULL);
	for (size_t i = 0; i < RTE_DIM(says); i++) {
		say(says[i].port, BROADCAST, STATION(0), NO_TAGS, 0);
		fdb_tick(vlans.fdb, says[i].now_s);
	}
	assert_int_equal(told.n_held, 1);
	assert_int_equal(told.port_id, 1);
	scene_forget_all();
	close_ports();
}

/* Without buffers for copies, who needs none has the frame all the same, and every frame is accounted. */
static void
test_no_buffers(void **state)
{
	static const char *const pairs[] = {"vlan=10", "vlan=10", "trunk=10", "trunk=10", "vlan=10"};
	static struct rte_mbuf *hoard[SCENE_POOL_SIZE + 1];
	struct rte_mbuf *m;
	struct port_stats stats;
	unsigned int n_hoard = 0;

	open_ports(pairs, RTE_DIM(pairs));
	m = frame(BROADCAST, STATION(0), (const uint32_t[2]){0, 0}, 1);
	while ((hoard[n_hoard] = rte_pktmbuf_alloc(scene.pool)))
		n_hoard++;
	scene_arrive_one(0, m);
	EXPECT("", "", "", "", "1");
	port_stats_read(scene.ports[0], &stats);
	/* One for the tagged ports, of which the first would have been sent a copy of it; one for port 1. */
	assert_int_equal(stats.copies, 2);
	assert_int_equal(stats.drops[DROP_NO_CLONE], 2);
	rte_pktmbuf_free_bulk(hoard, n_hoard);
	close_ports();
}

/* --- long frames (borrow.h) --- */

enum { LONG_LEN = 4000 };

static unsigned int n_borrowed;

static uint16_t
borrowed_tx(struct port_txq *txq, struct rte_mbuf **pkts, uint16_t n)
{
	for (uint16_t i = 0; i < n; i++)
		n_borrowed += borrow_is(pkts[i]);
	assert_int_equal(borrow_materialise_burst(pkts, n, NULL), n);
	return scene_port_tx(txq, pkts, n);
}

static void
borrowed_release(struct port_rxq *rxq)
{
	rxq->borrowed = false;
}

/* They stay borrowed when a tag is put on or taken off, and only their heads change. */
static void
test_tags_of_borrowed_frames(void **state)
{
	static const char *const pairs[] = {"vlan=10", "trunk=10+20"};
	static uint8_t bytes[2][LONG_LEN], got[LONG_LEN + TAG_LEN];

	open_ports(pairs, RTE_DIM(pairs));
	for (unsigned int i = 0; i < 2; i++) {
		struct port_rxq *from = &scene.ports[i]->rxqs[0];
		struct rte_mbuf *pkt;
		const uint8_t *sent;
		/* The trunk's frame has a tag that goes. */
		const uint32_t at = i ? TAG_AT + TAG_LEN : TAG_AT;

		for (uint32_t b = 0; b < LONG_LEN; b++)
			bytes[i][b] = (uint8_t)(b * 3 + (b >> 8) + i);
		packet_put48(bytes[i], BROADCAST);
		packet_put48(bytes[i] + 6, STATION(i));
		if (i) {
			tag_put_word(bytes[i] + TAG_AT, RTE_ETHER_TYPE_VLAN);
			tag_put_word(bytes[i] + TAG_AT + 2, 0x600a);
		}
		tag_put_word(bytes[i] + at, PACKET_TYPE_TEST);
		pkt = mbufs_make(scene.pool, bytes[i], LONG_LEN, MBUFS_BORROWED);
		scene.ports[!i]->txqs[0].tx = borrowed_tx;
		scene.ports[!i]->txqs[0].accepts_borrowed = true;
		from->borrowed = true;
		from->release = borrowed_release;
		n_borrowed = 0;
		from->stats.packets++;
		fwd_forward(&scene.workers[0], vlans.plan->mode, from, &pkt, 1);
		assert_int_equal(n_borrowed, 1);
		assert_false(from->borrowed);
		assert_int_equal(scene.fakes[!i]->n_sent, 1);
		pkt = scene.fakes[!i]->sent[0];
		assert_int_equal(pkt->pkt_len, i ? LONG_LEN - TAG_LEN : LONG_LEN + TAG_LEN);
		sent = rte_pktmbuf_read(pkt, 0, pkt->pkt_len, got);
		assert_non_null(sent);
		assert_memory_equal(sent, bytes[i], TAG_AT);
		if (i) {
			assert_memory_equal(sent + TAG_AT, bytes[i] + at, LONG_LEN - at);
		} else {
			assert_memory_equal(sent + TAG_AT, "\x81\0\0\x0a", TAG_LEN);
			assert_memory_equal(sent + TAG_AT + TAG_LEN, bytes[i] + at, LONG_LEN - at);
		}
		scene_forget(!i);
	}
	close_ports();
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_keys),
		cmocka_unit_test(test_flood),
		cmocka_unit_test(test_tunnel),
		cmocka_unit_test(test_learning),
		cmocka_unit_test(test_mixed_burst),
		cmocka_unit_test(test_isolated),
		cmocka_unit_test(test_changes),
		cmocka_unit_test(test_not_ours),
		cmocka_unit_test(test_requests),
		cmocka_unit_test(test_tags_behind),
		cmocka_unit_test(test_cut_tags),
		cmocka_unit_test(test_no_buffers),
		cmocka_unit_test(test_all_vlans),
		cmocka_unit_test(test_storm),
		cmocka_unit_test(test_bpdu),
		cmocka_unit_test(test_learn_limit),
		cmocka_unit_test(test_loops),
		cmocka_unit_test(test_loops_at_any_time),
		cmocka_unit_test(test_tags_of_borrowed_frames),
	};

	return UNIT_RUN_WITH(tests, scene_env_open, scene_env_close);
}
