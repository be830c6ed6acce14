/* SPDX-License-Identifier: BSD-3-Clause */
/* test_switch: the learning bridge: what its table learns, keeps and forgets, and where frames go by it. */
#include "fwd_scene.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "fdb.h"
#include "packet.h"
#include "rng.h"
#include "switch_port.h"

static void *
switch_state(uint32_t n_entries)
{
	struct diag diag;
	struct fdb *bridge;

	assert_int_equal(fdb_open(&bridge, n_entries, FWD_WORKERS_MAX, &diag), 0);
	return bridge;
}

static void
switch_free(void *bridge)
{
	fwd_mode_by_name("switch")->close(bridge);
}

static int
find_mac(const void *bridge, uint64_t mac)
{
	struct rte_ether_addr addr;

	packet_put48(addr.addr_bytes, mac);
	return fdb_find(bridge, 0, &addr);
}

static int
find(const void *bridge, unsigned int number)
{
	return find_mac(bridge, STATION(number));
}

static void
test_switch_learn(void **state)
{
	void *bridge = switch_state(64);
	struct fwd_plan *plan = scene_open("switch", bridge, 4, 1, 1);
	struct port_stats stats;
	struct rte_mbuf *pkts[6];

	/* Nobody is known: to everybody else. */
	scene_say(0, STATION(2), STATION(1), 1);
	ASSERT_SENT_NONE(0);
	ASSERT_SENT(1, 1);
	ASSERT_SENT(2, 1);
	ASSERT_SENT(3, 1);
	port_stats_read(scene.ports[0], &stats);
	assert_int_equal(stats.copies, 2);
	assert_int_equal(find(bridge, 1), -1);
	fdb_tick(bridge, 1);
	assert_int_equal(find(bridge, 1), 0);
	assert_int_equal(fdb_count(bridge), 1);
	/* The answer goes to port 0 alone, and teaches. */
	scene_say(2, STATION(1), STATION(2), 2);
	ASSERT_SENT(0, 2);
	ASSERT_SENT_NONE(1);
	ASSERT_SENT_NONE(3);
	fdb_tick(bridge, 1);
	scene_say(0, STATION(2), STATION(1), 3);
	ASSERT_SENT(2, 3);
	ASSERT_SENT_NONE(1);
	ASSERT_SENT_NONE(3);
	/* Behind the port it came from. */
	scene_say(2, STATION(2), STATION(3), 4);
	assert_int_equal(scene_drops(2, DROP_SAME_PORT), 1);
	/* Broadcast and multicast, known source. */
	scene_say(0, BROADCAST, STATION(1), 5);
	scene_say(0, 0x01005e000001, STATION(1), 6);
	for (unsigned int i = 1; i < 4; i++)
		ASSERT_SENT(i, 5, 6);
	ASSERT_SENT_NONE(0);
	/* Not for bridges; the neighbours of that block are. */
	for (uint8_t i = 0; i < 18; i++)
		scene_say(0, 0x0180c2000000 + i, STATION(1), i);
	assert_int_equal(scene_drops(0, DROP_BPDU), 16);
	ASSERT_SENT(1, 16, 17);
	scene_forget(2);
	scene_forget(3);
	/* Sources that are no address of a station. */
	fdb_tick(bridge, 1);
	assert_int_equal(fdb_count(bridge), 3);
	scene_say(0, STATION(2), BROADCAST, 1);
	scene_say(0, STATION(2), 0x010000000001, 1);
	scene_say(0, STATION(2), 0, 1);
	fdb_tick(bridge, 1);
	assert_int_equal(fdb_count(bridge), 3);
	scene_forget(2);

	/* A burst for all kinds of destinations: each port gets its frames in order. */
	pkts[0] = scene_frame(STATION(2), STATION(1), 10);
	pkts[1] = scene_frame(BROADCAST, STATION(1), 11);
	pkts[2] = scene_frame(STATION(2), STATION(1), 12);
	pkts[3] = scene_frame(STATION(77), STATION(1), 13);
	pkts[4] = scene_frame(STATION(1), STATION(1), 14);
	pkts[5] = scene_frame(STATION(3), STATION(1), 15);
	scene_arrive(0, 0, pkts, 6);
	ASSERT_SENT(1, 11, 13);
	ASSERT_SENT(2, 10, 11, 12, 13, 15);
	ASSERT_SENT(3, 11, 13);
	assert_int_equal(scene_drops(0, DROP_SAME_PORT), 1);
	scene_close(plan);
	switch_free(bridge);
}

static void
test_switch_move(void **state)
{
	void *bridge = switch_state(64);
	struct fwd_plan *plan = scene_open("switch", bridge, 3, 1, 1);

	scene_say(0, BROADCAST, STATION(1), 1);
	fdb_tick(bridge, 1);
	scene_say(1, STATION(1), STATION(2), 2); /* fills the cache of the worker */
	assert_int_equal(find(bridge, 1), 0);
	scene_say(2, BROADCAST, STATION(1), 3); /* station 1 speaks from port 2 now */
	fdb_tick(bridge, 1);
	assert_int_equal(find(bridge, 1), 2);
	assert_int_equal(fdb_count(bridge), 2);
	scene_forget_all();
	scene_say(1, STATION(1), STATION(2), 4);
	ASSERT_SENT(2, 4);
	ASSERT_SENT_NONE(0);
	scene_close(plan);
	switch_free(bridge);
}

static void
test_switch_age(void **state)
{
	void *bridge = switch_state(64);
	struct fwd_plan *plan = scene_open("switch", bridge, 3, 1, 1);

	scene.workers[0].now_s = 1000;
	scene_say(0, BROADCAST, STATION(1), 1);
	scene_say(0, BROADCAST, STATION(2), 1);
	fdb_tick(bridge, 1000);
	assert_int_equal(fdb_count(bridge), 2);
	scene.workers[0].now_s = 1200;
	scene_say(0, BROADCAST, STATION(2), 1); /* alive */
	fdb_tick(bridge, 1300);
	assert_int_equal(fdb_count(bridge), 2); /* exactly the age: kept */
	fdb_tick(bridge, 1301);
	assert_int_equal(find(bridge, 1), -1);
	assert_int_equal(find(bridge, 2), 0);
	scene_forget_all();
	scene_say(1, STATION(1), STATION(3), 2); /* forgotten: flooded again */
	ASSERT_SENT(0, 2);
	ASSERT_SENT(2, 2);
	fdb_set_ageing_s(bridge, 5);
	fdb_tick(bridge, 1302); /* learns 3, forgets 2 */
	assert_int_equal(find(bridge, 2), -1);
	assert_int_equal(find(bridge, 3), 1);
	fdb_tick(bridge, 1308);
	assert_int_equal(fdb_count(bridge), 0);
	/* The clock of a worker may be a second ahead. */
	scene.workers[0].now_s = 1310;
	scene_say(0, BROADCAST, STATION(1), 1);
	fdb_tick(bridge, 1310);
	scene.workers[0].now_s = 1312;
	scene_say(0, BROADCAST, STATION(1), 1);
	fdb_tick(bridge, 1311);
	assert_int_equal(fdb_count(bridge), 1);
	scene_close(plan);
	switch_free(bridge);
}

static void
test_switch_full(void **state)
{
	void *bridge = switch_state(8);
	struct fwd_plan *plan = scene_open("switch", bridge, 3, 1, 1);

	for (uint8_t i = 1; i <= 10; i++)
		scene_say(0, BROADCAST, STATION(i), i);
	fdb_tick(bridge, 1);
	assert_int_equal(fdb_count(bridge), 8);
	scene_forget_all();
	assert_int_equal(find(bridge, 8), 0);
	assert_int_equal(find(bridge, 9), -1);
	scene_say(1, STATION(9), STATION(8), 1); /* not learnt: flooded; 8 moves all the same */
	ASSERT_SENT(0, 1);
	ASSERT_SENT(2, 1);
	fdb_tick(bridge, 2);
	assert_int_equal(find(bridge, 8), 1);
	/* When all have aged there is room again, and the slots of the hash are used anew, many times. */
	for (uint32_t round = 1; round < 50; round++) {
		uint32_t now_s = round * 1000;

		fdb_tick(bridge, now_s);
		assert_int_equal(fdb_count(bridge), 0);
		scene.workers[0].now_s = now_s;
		for (uint8_t i = 0; i < 8; i++)
			scene_say(2, BROADCAST, STATION(round + i), i);
		fdb_tick(bridge, now_s);
		assert_int_equal(fdb_count(bridge), 8);
		assert_int_equal(find(bridge, round + 7), 2);
		scene_forget_all();
	}
	scene_close(plan);
	switch_free(bridge);
}

static void
test_switch_remove(void **state)
{
	struct fwd_mode *mode = fwd_mode_by_name("switch");
	void *bridge = switch_state(64);
	struct fwd_plan *plan = scene_open("switch", bridge, 3, 1, 1), *next;
	struct port *two[] = {scene.ports[0], scene.ports[2]};
	struct diag diag;

	scene_say(1, BROADCAST, STATION(1), 1);
	scene_say(2, BROADCAST, STATION(2), 1);
	fdb_tick(bridge, 1);
	scene_say(0, STATION(1), STATION(3), 2);
	scene_forget(1);
	scene_say(1, BROADCAST, STATION(4), 1); /* waits to be learnt while its port goes */
	scene_forget_all();

	mode->port_removed(bridge, scene.ports[1]);
	assert_int_equal(find(bridge, 1), -1);
	assert_int_equal(find(bridge, 2), 2);
	scene_say(1, BROADCAST, STATION(5), 3); /* the worker does not know yet */
	scene_forget_all();
	next = fwd_plan_build(mode, bridge, two, 2, scene.ports[1], 1, &diag);
	scene.workers[0].plan = next;
	scene_say(0, STATION(1), STATION(3), 4); /* not to the leaving port, flooded among the others */
	ASSERT_SENT(2, 4);
	ASSERT_SENT_NONE(1);
	fdb_tick(bridge, 1);
	assert_int_equal(find(bridge, 4), -1);
	assert_int_equal(find(bridge, 5), -1);
	assert_int_equal(find(bridge, 3), 0);
	/* Were it learnt again all the same, nothing would be sent to a leaving port. */
	scene.workers[0].plan = plan;
	scene_say(1, STATION(3), STATION(1), 5);
	ASSERT_SENT(0, 5);
	fdb_tick(bridge, 1);
	assert_int_equal(find(bridge, 1), 1);
	scene.workers[0].plan = next;
	scene_say(0, STATION(1), STATION(3), 6);
	ASSERT_SENT(2, 6);
	ASSERT_SENT_NONE(1);
	fwd_plan_free(next);

	/* One port left: nowhere to go. */
	next = fwd_plan_build(mode, bridge, two, 1, NULL, 1, &diag);
	scene.workers[0].plan = next;
	scene_say(0, BROADCAST, STATION(3), 7);
	assert_int_equal(scene_drops(0, DROP_NO_PORT), 1);
	fwd_plan_free(next);
	scene.workers[0].plan = plan;
	scene_close(plan);
	switch_free(bridge);
}

/* Ports 0 and 1 are isolated, 2 and 3 are not. */
static void
test_switch_isolated(void **state)
{
	static const struct switch_port isolated = {.isolated = true};
	void *bridge = switch_state(64);
	struct fwd_plan *plan = scene_open("switch", bridge, 4, 1, 1);
	struct rte_mbuf *pkts[3];

	atomic_store(&scene.ports[0]->of_mode, &isolated);
	atomic_store(&scene.ports[1]->of_mode, &isolated);
	scene_say(0, BROADCAST, STATION(0), 1);
	ASSERT_SENT_NONE(1);
	ASSERT_SENT(2, 1);
	ASSERT_SENT(3, 1);
	scene_say(2, BROADCAST, STATION(2), 2);
	ASSERT_SENT(0, 2);
	ASSERT_SENT(1, 2);
	ASSERT_SENT(3, 2);
	fdb_tick(bridge, 1);
	/* To an address that is known: from the one, from the others, and among others of a burst. */
	scene_say(1, STATION(0), STATION(1), 3);
	ASSERT_SENT_NONE(0);
	assert_int_equal(scene_drops(1, DROP_ISOLATED), 1);
	scene_say(2, STATION(0), STATION(2), 4);
	ASSERT_SENT(0, 4);
	scene_say(1, STATION(2), STATION(1), 5);
	ASSERT_SENT(2, 5);
	pkts[0] = scene_frame(STATION(2), STATION(1), 6);
	pkts[1] = scene_frame(STATION(0), STATION(1), 7);
	pkts[2] = scene_frame(BROADCAST, STATION(1), 8);
	scene_forget_all();
	scene_arrive(1, 0, pkts, 3);
	ASSERT_SENT_NONE(0);
	ASSERT_SENT(2, 6, 8);
	ASSERT_SENT(3, 8);
	assert_int_equal(scene_drops(1, DROP_ISOLATED), 2);
	scene_close(plan);
	switch_free(bridge);
}

static void
test_switch_no_clone(void **state)
{
	static struct rte_mbuf *hoard[SCENE_POOL_SIZE + 1];
	void *bridge = switch_state(64);
	struct fwd_plan *plan = scene_open("switch", bridge, 4, 1, 1);
	struct rte_mbuf *pkts[2] = {scene_frame(BROADCAST, STATION(1), 1),
				    scene_frame(BROADCAST, STATION(1), 2)};
	struct port_stats stats;
	unsigned int n_hoard = 0;

	while ((hoard[n_hoard] = rte_pktmbuf_alloc(scene.pool)))
		n_hoard++;
	rte_pktmbuf_free(hoard[--n_hoard]); /* room for one copy */
	scene_arrive(0, 0, pkts, 2);
	port_stats_read(scene.ports[0], &stats);
	assert_int_equal(stats.copies, 4);
	assert_int_equal(stats.drops[DROP_NO_CLONE], 3);
	ASSERT_SENT(1, 1);
	ASSERT_SENT_NONE(2);
	ASSERT_SENT(3, 1, 2); /* the frames themselves */
	rte_pktmbuf_free_bulk(hoard, n_hoard);
	scene_close(plan);
	switch_free(bridge);
}

static uint64_t
station_of_port(unsigned int i)
{
	return 0x02bb00000000 + i;
}

static void
test_switch_many_ports(void **state)
{
	void *bridge = switch_state(2048);
	struct fwd_plan *plan = scene_open("switch", bridge, PORT_MAX, 1, 4);
	struct rte_mbuf *pkts[PORT_BURST];

	/* Everybody speaks to an address behind port 0, which answers a burst for 32 ports at a time. */
	scene_say(0, BROADCAST, station_of_port(0), 0);
	for (unsigned int w = 0; w < 4; w++)
		assert_int_equal(fwd_handoff_drain(&scene.workers[w]), w ? PORT_MAX / 4 : 0);
	fdb_tick(bridge, 1);
	for (unsigned int i = 1; i < PORT_MAX; i++) {
		assert_int_equal(scene.fakes[i]->n_sent, 1);
		scene_forget(i);
		scene_say(i, station_of_port(0), station_of_port(i), i);
	}
	fwd_handoff_drain(&scene.workers[0]);
	assert_int_equal(scene.fakes[0]->n_sent, PORT_MAX - 1);
	scene_forget(0);
	fdb_tick(bridge, 1);
	assert_int_equal(fdb_count(bridge), PORT_MAX);
	for (unsigned int first = 1; first + PORT_BURST <= PORT_MAX; first += PORT_BURST) {
		for (unsigned int i = 0; i < PORT_BURST; i++)
			pkts[i] = scene_frame(station_of_port(first + i), station_of_port(0), first + i);
		scene_arrive(0, 0, pkts, PORT_BURST);
	}
	for (unsigned int w = 0; w < 4; w++)
		fwd_handoff_drain(&scene.workers[w]);
	for (unsigned int i = 1; i + PORT_BURST <= PORT_MAX; i++)
		ASSERT_SENT(i, i);
	scene_close(plan);
	switch_free(bridge);
}

/* Any number of addresses, without pattern. */
static uint64_t
station_of_many(uint32_t i)
{
	return 0x02cc00000000 + i * 2654435761u;
}

/* n stations from `first` on speak from port i to everybody, and are heard. */
static void
speak(void *bridge, unsigned int i, uint32_t first, uint32_t n, uint32_t now_s)
{
	struct rte_mbuf *pkts[PORT_BURST];

	for (uint32_t end = first + n; first < end; first += PORT_BURST) {
		uint16_t n_burst = (uint16_t)RTE_MIN(end - first, (uint32_t)PORT_BURST);

		for (uint16_t k = 0; k < n_burst; k++)
			pkts[k] = scene_frame(BROADCAST, station_of_many(first + k), first + k);
		scene_arrive(i, 0, pkts, n_burst);
		fdb_tick(bridge, now_s);
		scene_forget_all();
	}
}

/*
 * As many addresses as the table may have: each finds a place and is found, in bursts to several ports. Half
 * of them age, others come in their places, and the rest is found as before.
 */
static void
test_switch_many_addresses(void **state)
{
	void *bridge = switch_state(FDB_ENTRIES);
	struct fwd_plan *plan = scene_open("switch", bridge, 4, 1, 1);
	struct rte_mbuf *pkts[PORT_BURST];

	scene.workers[0].now_s = 1000;
	for (unsigned int i = 0; i < 4; i++)
		speak(bridge, i, i * FDB_ENTRIES / 4, FDB_ENTRIES / 4, 1000);
	for (int round = 0; round < 6; round++) {
		assert_int_equal(fdb_count(bridge), FDB_ENTRIES);
		for (uint32_t n = 0; n < FDB_ENTRIES; n++)
			assert_int_equal(find_mac(bridge, station_of_many(n)), n / (FDB_ENTRIES / 4));
		for (uint32_t n = 0; n < FDB_ENTRIES / 4; n += PORT_BURST) {
			/* From port 0 to 1, 2, 3, 1 .. */
			for (uint32_t k = 0; k < PORT_BURST; k++)
				pkts[k] = scene_frame(station_of_many(n + k + (k % 3 + 1) * FDB_ENTRIES / 4),
						      station_of_many(n + k), k);
			scene_arrive(0, 0, pkts, PORT_BURST);
			ASSERT_SENT_NONE(0);
			ASSERT_SENT(1, 0, 3, 6, 9, 12, 15, 18, 21, 24, 27, 30);
			ASSERT_SENT(2, 1, 4, 7, 10, 13, 16, 19, 22, 25, 28, 31);
			ASSERT_SENT(3, 2, 5, 8, 11, 14, 17, 20, 23, 26, 29);
		}
		assert_int_equal(fdb_waiting(bridge), 0);
		/* Ports 1 and 3 fall silent; strangers take their places, then leave them again. */
		for (uint32_t half = 0; half < 2; half++) {
			uint32_t now_s = scene.workers[0].now_s += FDB_AGEING_S;
			uint32_t strangers = FDB_ENTRIES * (2 + (uint32_t)round);

			speak(bridge, 0, 0, FDB_ENTRIES / 4, now_s);
			speak(bridge, 2, FDB_ENTRIES / 2, FDB_ENTRIES / 4, now_s);
			fdb_tick(bridge, now_s + 1);
			assert_int_equal(fdb_count(bridge), FDB_ENTRIES / 2);
			scene.workers[0].now_s = ++now_s;
			speak(bridge, 1, half ? FDB_ENTRIES / 4 : strangers, FDB_ENTRIES / 4, now_s);
			speak(bridge, 3, half ? 3 * FDB_ENTRIES / 4 : strangers + FDB_ENTRIES / 2,
			      FDB_ENTRIES / 4, now_s);
			assert_int_equal(fdb_count(bridge), FDB_ENTRIES);
		}
	}
	scene_close(plan);
	switch_free(bridge);
}

/* Addresses in a row, as one maker's cards have them, find their places whatever the secrets are. */
static void
test_switch_addresses_in_a_row(void **state)
{
	enum { SECRETS = 60, N = 1024, N_STRIDES = 3 };
	static const uint8_t changing[N_STRIDES] = {5, 4, 1}; /* the lower byte of the two that count */

	for (unsigned int i = 0; i < SECRETS; i++) {
		void *bridge = switch_state(N);
		struct fwd_plan *plan = scene_open("switch", bridge, 4, 1, 1);
		const uint8_t low = changing[i % N_STRIDES];

		for (uint32_t n = 0; n < N; n++) {
			uint8_t mac[6] = {0x02, 0xcc};

			mac[low] = (uint8_t)n;
			/* 0 is the byte that says whether it is a group's */
			mac[low > 1 ? low - 1 : 2] = (uint8_t)(n >> 8);
			scene_say(1, BROADCAST, packet_get48(mac), n);
			fdb_tick(bridge, 1);
			scene_forget_all();
		}
		assert_int_equal(fdb_count(bridge), N);
		scene_close(plan);
		switch_free(bridge);
	}
}

/* What fdb_walk() tells, by a number that was made of each station. */
static struct {
	unsigned int n, n_wrong, n_fixed;
	bool seen[4 * FDB_ENTRIES];
	uint16_t port_of[4 * FDB_ENTRIES];
} walked;

static uint16_t
vlan_of_many(uint32_t i)
{
	return (uint16_t)(i * 2477 % 8192);
}

static bool
walk_one(void *arg, const struct fdb_entry *entry)
{
	const uint64_t mac = packet_get48(entry->mac.addr_bytes);
	/* The inverse of the factor in station_of_many(). */
	const uint32_t i = (uint32_t)(mac - 0x02cc00000000) * 244002641u;

	walked.n++;
	walked.n_fixed += entry->fixed;
	if (i >= RTE_DIM(walked.seen) || walked.seen[i] || mac != station_of_many(i) ||
	    entry->vlan != vlan_of_many(i) || entry->port_id != walked.port_of[i]) {
		walked.n_wrong++;
		return true;
	}
	walked.seen[i] = true;
	return !arg || walked.n < *(const unsigned int *)arg;
}

static void
walk(const void *bridge, const unsigned int *limit)
{
	walked.n = walked.n_wrong = walked.n_fixed = 0;
	memset(walked.seen, 0, sizeof(walked.seen));
	fdb_walk(bridge, 1, walk_one, (void *)(uintptr_t)limit);
	assert_int_equal(walked.n_wrong, 0);
}

/* Whatever is put into the table is told by it again, whole, and each VLAN is a table of its own. */
static void
test_fdb_stations(void **state)
{
	static const unsigned int limit = 5;
	struct rte_ether_addr addr;

	for (int round = 0; round < 8; round++) {
		/* The smallest table, so that many live away from home, and larger ones. */
		const uint32_t n = round % 2 ? FDB_ENTRIES : 4 * FDB_ENTRIES;
		void *bridge = switch_state(n);
		struct fwd_plan *plan = scene_open("switch", bridge, 4, 1, 1);

		for (uint32_t i = 0; i < n; i++) {
			walked.port_of[i] = (uint16_t)(i % 3);
			packet_put48(addr.addr_bytes, station_of_many(i));
			assert_int_equal(fdb_find(bridge, vlan_of_many(i), &addr), -1);
			assert_int_equal(fdb_fix(bridge, vlan_of_many(i), &addr, scene.ports[i % 3]), 0);
			assert_int_equal(fdb_find(bridge, vlan_of_many(i), &addr), i % 3);
			assert_int_equal(fdb_find(bridge, vlan_of_many(i) ^ 4096, &addr), -1);
			assert_int_equal(fdb_find(bridge, vlan_of_many(i) ^ 1, &addr), -1);
		}
		assert_int_equal(fdb_count(bridge), n);
		packet_put48(addr.addr_bytes, STATION(1));
		assert_int_equal(fdb_fix(bridge, 7, &addr, scene.ports[0]), -ENOSPC);
		walk(bridge, NULL);
		assert_int_equal(walked.n, n);
		assert_int_equal(walked.n_fixed, n);
		walk(bridge, &limit);
		assert_int_equal(walked.n, limit);
		/* Fixed: no flush, no age. */
		assert_int_equal(fdb_flush(bridge, NULL, -1), 0);
		fdb_tick(bridge, 100000);
		assert_int_equal(fdb_count(bridge), n);
		/* In another order than that in which they came. */
		for (uint32_t k = 0; k < n; k += 2) {
			const uint32_t i = k * 13 % n;

			packet_put48(addr.addr_bytes, station_of_many(i));
			assert_false(fdb_forget_station(bridge, vlan_of_many(i) ^ 4096, &addr));
			assert_true(fdb_forget_station(bridge, vlan_of_many(i), &addr));
			assert_false(fdb_forget_station(bridge, vlan_of_many(i), &addr));
		}
		walk(bridge, NULL);
		assert_int_equal(walked.n, n / 2);
		fdb_port_removed(bridge, scene.ports[0]);
		walk(bridge, NULL);
		assert_in_range(walked.n, n / 3 - 1, n / 3 + 1);
		fdb_port_removed(bridge, scene.ports[1]);
		fdb_port_removed(bridge, scene.ports[2]);
		assert_int_equal(fdb_count(bridge), 0);
		scene_close(plan);
		switch_free(bridge);
	}
}

/* A fixed station does not move; flush forgets what was learnt, by port and by VLAN. */
static void
test_fdb_fixed(void **state)
{
	void *bridge = switch_state(64);
	struct fwd_plan *plan = scene_open("switch", bridge, 4, 1, 1);
	struct rte_ether_addr addr;

	packet_put48(addr.addr_bytes, STATION(1));
	assert_int_equal(fdb_fix(bridge, 0, &addr, scene.ports[2]), 0);
	for (int i = 0; i < 3; i++) {
		scene_say(0, BROADCAST, STATION(1), 0);
		scene_say(0, BROADCAST, STATION(2), 0);
		scene_say(1, BROADCAST, STATION(3), 0);
		fdb_tick(bridge, 1);
	}
	scene_forget_all();
	assert_int_equal(find(bridge, 1), 2);
	scene_say(1, STATION(1), STATION(3), 7);
	ASSERT_SENT(2, 7);
	ASSERT_SENT_NONE(0);
	assert_int_equal(fdb_flush(bridge, scene.ports[0], 0), 1);
	assert_int_equal(find(bridge, 2), -1);
	assert_int_equal(find(bridge, 3), 1);
	assert_int_equal(fdb_flush(bridge, NULL, 9), 0);
	assert_int_equal(fdb_flush(bridge, NULL, -1), 1);
	assert_int_equal(find(bridge, 1), 2);
	/* What was learnt becomes fixed, and where it is said. */
	scene_say(0, BROADCAST, STATION(2), 0);
	fdb_tick(bridge, 1);
	packet_put48(addr.addr_bytes, STATION(2));
	assert_int_equal(fdb_fix(bridge, 0, &addr, scene.ports[3]), 0);
	assert_int_equal(find(bridge, 2), 3);
	assert_int_equal(fdb_count(bridge), 2);
	/* In a full table, what was learnt gives way, and what is fixed does not. */
	for (uint32_t i = 0; i < 70; i++)
		scene_say(0, BROADCAST, STATION(100 + i), 0);
	fdb_tick(bridge, 1);
	assert_int_equal(fdb_count(bridge), 64);
	for (uint32_t i = 0; i < 62; i++) {
		packet_put48(addr.addr_bytes, STATION(200 + i));
		assert_int_equal(fdb_fix(bridge, 0, &addr, scene.ports[1]), 0);
		assert_int_equal(fdb_count(bridge), 64);
	}
	assert_int_equal(find(bridge, 1), 2);
	assert_int_equal(find(bridge, 261), 1);
	packet_put48(addr.addr_bytes, STATION(300));
	assert_int_equal(fdb_fix(bridge, 0, &addr, scene.ports[1]), -ENOSPC);
	for (uint32_t i = 0; i < 62; i++) {
		packet_put48(addr.addr_bytes, STATION(200 + i));
		assert_true(fdb_forget_station(bridge, 0, &addr));
	}
	packet_put48(addr.addr_bytes, STATION(2));
	scene_forget_all();
	/* Until it is said otherwise. */
	assert_true(fdb_forget_station(bridge, 0, &addr));
	scene_say(0, BROADCAST, STATION(2), 0);
	fdb_tick(bridge, 1);
	assert_int_equal(find(bridge, 2), 0);
	scene_forget_all();
	scene_close(plan);
	switch_free(bridge);
}

/* A worker tells of an address once, until the table has changed: not with each frame. */
static void
test_switch_told(void **state)
{
	void *bridge = switch_state(64);
	struct fwd_plan *plan = scene_open("switch", bridge, 3, 1, 1);
	struct rte_mbuf *pkts[PORT_BURST];

	/* The same address over and over, in one burst and the next. */
	for (int burst = 0; burst < 3; burst++) {
		for (uint8_t k = 0; k < PORT_BURST; k++)
			pkts[k] = scene_frame(STATION(1), STATION(2), k);
		scene_arrive(0, 0, pkts, PORT_BURST);
		for (unsigned int i = 1; i < 3; i++) {
			assert_int_equal(scene.fakes[i]->n_sent, PORT_BURST);
			scene_forget(i);
		}
	}
	assert_int_equal(fdb_waiting(bridge), 1);
	fdb_tick(bridge, 1);
	scene_say(0, BROADCAST, STATION(1), 0);
	scene_forget(1);
	scene_forget(2);
	fdb_tick(bridge, 1);
	assert_int_equal(fdb_waiting(bridge), 0);
	assert_int_equal(fdb_count(bridge), 2);
	scene_say(1, STATION(2), STATION(3), 1);
	scene_forget(0);
	scene_say(1, STATION(2), STATION(3), 2);
	assert_int_equal(fdb_waiting(bridge), 1);
	fdb_tick(bridge, 1);
	/* A station that moves is told of once, and again when it moves back. */
	for (uint32_t i = 0; i < 4; i++) {
		unsigned int port = i % 2 ? 0 : 2;

		for (int k = 0; k < 3; k++)
			scene_say(port, STATION(3), STATION(1), i);
		assert_int_equal(fdb_waiting(bridge), 1);
		/* Till then, frames go where it was. */
		assert_int_equal(find(bridge, 1), 2 - port);
		fdb_tick(bridge, 1);
		assert_int_equal(find(bridge, 1), port);
	}
	scene_forget_all();
	/* Within a burst: what is known goes to its port, before and after the tick another one. */
	for (uint8_t k = 0; k < 4; k++)
		pkts[k] = scene_frame(STATION(1), STATION(3), k);
	scene_arrive(1, 0, pkts, 4);
	ASSERT_SENT(0, 0, 1, 2, 3);
	scene_say(2, STATION(3), STATION(1), 4);
	for (uint8_t k = 0; k < 4; k++)
		pkts[k] = scene_frame(STATION(1), STATION(3), k);
	scene_arrive(1, 0, pkts, 4);
	ASSERT_SENT(0, 0, 1, 2, 3);
	fdb_tick(bridge, 1);
	for (uint8_t k = 0; k < 4; k++)
		pkts[k] = scene_frame(STATION(1), STATION(3), k);
	scene_arrive(1, 0, pkts, 4);
	ASSERT_SENT(2, 0, 1, 2, 3);
	ASSERT_SENT_NONE(0);
	ASSERT_SENT(1, 4);
	/* No address, though free places in the table look like it. */
	scene_say(1, 0, STATION(3), 5);
	ASSERT_SENT(0, 5);
	ASSERT_SENT(2, 5);
	scene_close(plan);
	switch_free(bridge);
}

/*
 * One worker sees nothing of what happens while the other makes 2^16 changes and one more of the table: then
 * it tells all the same what it told before, for that has come to nothing.
 */
static void
test_switch_generations(void **state)
{
	void *bridge = switch_state(64);
	struct fwd_plan *plan = scene_open("switch", bridge, 4, 1, 2);
	struct fwd_mode *mode = fwd_mode_by_name("switch");

	assert_int_not_equal(scene.ports[0]->txqs[0].worker, scene.ports[2]->txqs[0].worker);
	assert_int_equal(scene.ports[2]->txqs[0].worker, scene.ports[3]->txqs[0].worker);
	scene_say(0, STATION(2), STATION(1), 0);
	assert_int_equal(fdb_waiting(bridge), 1);
	mode->port_removed(bridge, scene.ports[0]);
	/* Passed over, for the port is gone: change 1. */
	fdb_tick(bridge, 1);
	assert_int_equal(find(bridge, 1), -1);
	for (uint32_t i = 1; i <= 1 << 16; i++) {
		scene_say(2 + i % 2, STATION(9), STATION(9), 0);
		fdb_tick(bridge, 1);
		assert_int_equal(find(bridge, 9), 2 + i % 2);
		scene_forget_all();
		for (unsigned int w = 0; w < 2; w++)
			fwd_handoff_drain(&scene.workers[w]);
		if (i < (1 << 16) - 1)
			continue;
		scene_say(0, STATION(9), STATION(1), 0);
		assert_int_equal(fdb_waiting(bridge), i == (1 << 16) - 1 ? 1 : 0);
	}
	assert_int_equal(find(bridge, 1), 0);
	for (unsigned int w = 0; w < 2; w++)
		fwd_handoff_drain(&scene.workers[w]);
	scene_close(plan);
	switch_free(bridge);
}

/* Each port has its frames in the order in which they came, whatever lies between them. */
static void
test_switch_order(void **state)
{
	static const uint64_t reserved = 0x0180c2000000;
	void *bridge = switch_state(64);
	struct fwd_plan *plan = scene_open("switch", bridge, 4, 1, 1);

	for (uint8_t i = 0; i < 4; i++) {
		scene_say(i, BROADCAST, STATION(i + 1), 0);
		fdb_tick(bridge, 1);
	}
	scene_forget_all();
	for (int round = 0; round < 2000; round++) {
		uint32_t expected[4][PORT_BURST];
		uint16_t n_expected[4] = {0}, n = (uint16_t)(1 + rng_below(PORT_BURST));
		struct rte_mbuf *pkts[PORT_BURST];

		for (uint16_t k = 0; k < n; k++) {
			/* Ports, unknown, broadcast, reserved; most frames go where the one before went. */
			static unsigned int kind;

			if (rng_below(3) == 0)
				kind = rng_below(7);
			pkts[k] = scene_frame(kind < 4    ? STATION(kind + 1)
					      : kind == 4 ? STATION(99)
					      : kind == 5 ? BROADCAST
							  : reserved,
					      STATION(1), k);
			for (unsigned int i = 1; i < 4; i++)
				if (kind == i || kind == 4 || kind == 5)
					expected[i][n_expected[i]++] = k;
		}
		scene_arrive(0, 0, pkts, n);
		ASSERT_SENT_NONE(0);
		for (unsigned int i = 1; i < 4; i++)
			scene_assert_sent(i, n_expected[i], expected[i]);
	}
	scene_close(plan);
	switch_free(bridge);
}

/*
 * Two workers on threads of their own, while this thread learns, ages and forgets as fast as it can, in a
 * table too small for all: no frame is lost or comes back out of its own port. Most of its worth is under the
 * sanitizers.
 */
enum { RACE_STATIONS = 40 };

static struct {
	atomic_uint stop;
	atomic_uint n_wrong;
} race;

static uint16_t
race_tx(struct port_txq *txq, struct rte_mbuf **pkts, uint16_t n)
{
	for (uint16_t i = 0; i < n; i++) {
		/* Station s is behind port s % 4 and nowhere else. */
		if (scene_frame_src(pkts[i]) % 4 == txq->port->id)
			atomic_fetch_add(&race.n_wrong, 1);
	}
	txq->stats.packets += n;
	rte_pktmbuf_free_bulk(pkts, n);
	return n;
}

static void *
race_worker(void *arg)
{
	struct fwd_worker *worker = arg;
	const struct fwd_worker_plan *own = &worker->plan->workers[worker->idx];
	struct rng rng = rng_stream(worker->idx);
	uint32_t rounds = 0;

	rte_thread_register();
	while (!atomic_load_explicit(&race.stop, memory_order_relaxed)) {
		for (uint16_t q = 0; q < own->n_queues; q++) {
			struct port_rxq *from = own->queues[q].rxq;
			struct rte_mbuf *pkts[PORT_BURST];
			uint16_t n = 0;

			while (n < PORT_BURST) {
				uint8_t src =
					(uint8_t)(rng_draw(&rng, RACE_STATIONS / 4) * 4 + from->port->id);
				uint8_t dst = (uint8_t)rng_draw(&rng, RACE_STATIONS);
				uint8_t *bytes;

				pkts[n] = rte_pktmbuf_alloc(scene.pool);
				if (!pkts[n])
					break;
				bytes = (uint8_t *)rte_pktmbuf_append(pkts[n], 64);
				packet_put48(bytes, STATION(dst));
				packet_put48(bytes + 6, STATION(src));
				n++;
			}
			from->stats.packets += n;
			if (n)
				worker->plan->mode->forward(worker, from, pkts, n);
		}
		fwd_handoff_drain(worker);
		worker->now_s = rounds++;
		sched_yield();
	}
	rte_thread_unregister();
	return NULL;
}

static void
test_race(void **state)
{
	struct fwd_mode *mode = fwd_mode_by_name("switch");
	void *bridge = switch_state(RACE_STATIONS / 2);
	struct fwd_plan *plan = scene_open("switch", bridge, 4, 1, 2);
	pthread_t threads[2];
	uint64_t n_rx = 0;

	for (unsigned int i = 0; i < 4; i++)
		scene.ports[i]->txqs[0].tx = race_tx;
	fdb_set_ageing_s(bridge, 1);
	memset(&race, 0, sizeof(race));
	for (int w = 0; w < 2; w++)
		assert_int_equal(pthread_create(&threads[w], NULL, race_worker, &scene.workers[w]), 0);
	for (int i = 0; i < 300; i++) {
		fdb_tick(bridge, (uint32_t)i * 3);
		if (i % 7 == 0)
			mode->port_removed(bridge, scene.ports[i % 4]);
		usleep(1000);
	}
	atomic_store(&race.stop, 1);
	for (int w = 0; w < 2; w++)
		pthread_join(threads[w], NULL);
	for (unsigned int i = 0; i < 4; i++)
		n_rx += scene.ports[i]->rxqs[0].stats.packets;
	assert_true(n_rx > 1000);
	assert_int_equal(atomic_load(&race.n_wrong), 0);
	scene_close(plan);
	switch_free(bridge);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_switch_learn),
		cmocka_unit_test(test_switch_move),
		cmocka_unit_test(test_switch_age),
		cmocka_unit_test(test_switch_full),
		cmocka_unit_test(test_switch_remove),
		cmocka_unit_test(test_switch_isolated),
		cmocka_unit_test(test_switch_no_clone),
		cmocka_unit_test(test_switch_many_ports),
		cmocka_unit_test(test_switch_many_addresses),
		cmocka_unit_test(test_switch_addresses_in_a_row),
		cmocka_unit_test(test_fdb_stations),
		cmocka_unit_test(test_fdb_fixed),
		cmocka_unit_test(test_switch_told),
		cmocka_unit_test(test_switch_generations),
		cmocka_unit_test(test_switch_order),
		cmocka_unit_test(test_race),
	};

	return UNIT_RUN_WITH(tests, scene_env_open, scene_env_close);
}
