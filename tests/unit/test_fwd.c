/* SPDX-License-Identifier: BSD-3-Clause */
/* test_fwd: forwarding modes, the plan and the handoff; those with a file of their own are test_icmpecho,
 * test_switch, and test_fwd_borrowed for frames that are borrowed. */
#include "fwd_scene.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>

#include "fdb.h"
#include "fwd_config.h"
#include "mbufs.h"
#include "packet.h"
#include "rng.h"

/* --- registry, plan --- */

/* A line of a mode: its keys, what is refused and how, and the line again. */
static void
test_mode_lines(void **state)
{
	static const struct {
		const char *line, *cause, *hint;
	} bad[] = {
		{"swich,ageing=5s", "--forward-mode: no mode \"swich\"",
		 "did you mean --forward-mode switch? modes: io|mac|macswap|rxonly|txonly|icmpecho|switch|hub"},
		{"switch,agein=5s", "--forward-mode switch: mode switch has no key 'agein'",
		 "ageing=5s (keys: ageing, entries, loop-moves, loop-hold)"},
		{"switch,ageing=0", "--forward-mode switch: ageing: 0 is not in 1..1000000", "ageing=1"},
		{"switch,ageing=soon", "--forward-mode switch: ageing: 'soon' is not a number",
		 "ageing=1..1000000"},
		{"switch,ageing=1500ms", "--forward-mode switch: ageing: the table counts whole seconds",
		 "ageing=2s"},
		{"switch,entries=0", "--forward-mode switch: entries: 0 is not in 1..16777216", "entries=1"},
		{"switch,", "--forward-mode switch: nothing stands next to a comma", "switch[,key=value]..."},
		{"switch,ageing=5s,ageing=6s", "--forward-mode switch: key 'ageing' is given twice",
		 "ageing=6s once"},
		{"io,ageing=5s", "--forward-mode io: mode io has no key 'ageing'",
		 "leave it out: mode io has no keys"},
		{"txonly,size=59", "--forward-mode txonly: size: 59 is not in 60..1514", "size=60"},
	};
	static const struct {
		const char *line, *again;
	} good[] = {
		{"io", "io"},
		{"switch", "switch"},
		{"switch,ageing=60,entries=64k", "switch,ageing=60s,entries=64000"},
		{"switch,entries=100,ageing=120000ms", "switch,ageing=120s,entries=100"},
		{"txonly,size=1514", "txonly,size=1514"},
	};
	struct fwd_config config;
	struct diag diag;
	char text[128];

	for (size_t i = 0; i < RTE_DIM(bad); i++) {
		assert_true(fwd_config_parse(&config, bad[i].line, &diag) < 0);
		assert_string_equal(diag.cause, bad[i].cause);
		assert_string_equal(diag.hint, bad[i].hint);
		assert_null(config.args);
	}
	for (size_t i = 0; i < RTE_DIM(good); i++) {
		assert_int_equal(fwd_config_parse(&config, good[i].line, &diag), 0);
		assert_int_equal(fwd_config_print(&config, text, sizeof(text)), strlen(good[i].again));
		assert_string_equal(text, good[i].again);
		fwd_config_free(&config);
		assert_null(config.args);
	}
}

static void
test_modes(void **state)
{
	static const char *const names[] = {"io", "mac", "macswap", "rxonly", "txonly", "icmpecho", "switch", "hub"};
	struct fwd_mode *mode;
	struct diag diag;
	unsigned int n = 0;

	for (size_t i = 0; i < RTE_DIM(names); i++) {
		mode = fwd_mode_by_name(names[i]);
		assert_non_null(mode);
		assert_string_equal(mode->name, names[i]);
		assert_true(mode->help[0]);
	}
	list_for_each(mode, fwd_modes())
		n++;
	assert_int_equal(n, RTE_DIM(names));
	assert_null(fwd_mode_by_name("bridge"));
	assert_int_equal(fwd_check_pairs(2, &diag), 0);
	assert_int_equal(fwd_check_pairs(1024, &diag), 0);
	assert_int_equal(fwd_check_pairs(3, &diag), -EINVAL);
	assert_string_equal(diag.cause,
			    "forwarding in pairs needs an even number of ports, 2 or more; there are 3");
	assert_string_equal(diag.hint, "add a port or leave one out, or use --forward-mode switch");
	assert_int_equal(fwd_check_pairs(1, &diag), -EINVAL);
	assert_string_equal(diag.hint, "give two ports, or use --forward-mode switch");
	assert_int_equal(fwd_check_pairs(0, &diag), -EINVAL);
}

static void
test_plan(void **state)
{
	struct fwd_plan *plan = scene_open("io", NULL, 6, 2, 2), *next;
	struct port *fewer[4];
	struct diag diag;

	assert_int_equal(plan->n_ports, 6);
	/* (position / 2 + queue) mod 2 */
	for (unsigned int i = 0; i < 6; i++)
		for (unsigned int q = 0; q < 2; q++) {
			assert_int_equal(scene.ports[i]->rxqs[q].worker, (i / 2 + q) % 2);
			assert_int_equal(scene.ports[i]->txqs[q].worker, (i / 2 + q) % 2);
		}
	assert_int_equal(plan->workers[0].n_queues, 6);
	assert_int_equal(plan->workers[1].n_queues, 6);
	assert_int_equal(plan->workers[0].n_leaving, 0);
	assert_ptr_equal(plan->peer_by_id[4], scene.ports[5]);
	assert_ptr_equal(plan->peer_by_id[5], scene.ports[4]);
	assert_null(plan->peer_by_id[6]);
	assert_null(plan->leaving);

	/* Port 1 leaves, then port 2 in its wake: others keep their workers, pairs close up. */
	fewer[0] = scene.ports[0];
	fewer[1] = scene.ports[3];
	fewer[2] = scene.ports[4];
	fewer[3] = scene.ports[5];
	next = fwd_plan_build(plan->mode, NULL, fewer, 4, scene.ports[1], 2, &diag);
	assert_non_null(next);
	assert_int_equal(next->n_ports, 4);
	assert_ptr_equal(next->leaving, scene.ports[1]);
	assert_ptr_equal(next->port_by_id[1], scene.ports[1]);
	assert_null(next->port_by_id[2]);
	assert_null(next->peer_by_id[1]);
	assert_ptr_equal(next->peer_by_id[0], scene.ports[3]);
	assert_int_equal(scene.ports[3]->rxqs[0].worker, 1);
	for (unsigned int w = 0; w < 2; w++) {
		const struct fwd_worker_plan *worker = &next->workers[w];

		assert_int_equal(worker->n_queues, 4);
		assert_int_equal(worker->n_leaving, 1);
		assert_ptr_equal(worker->queues[4].rxq->port, scene.ports[1]);
		for (unsigned int i = 0; i < 5; i++) {
			assert_int_equal(worker->queues[i].rxq->worker, w);
			assert_int_equal(worker->queues[i].txq->worker, w);
		}
	}
	fwd_plan_free(next);
	/* A leaving port that is still in the list counts as leaving. */
	assert_null(fwd_plan_build(plan->mode, NULL, scene.ports, 6, scene.ports[1], 2, &diag));
	assert_non_null(strstr(diag.cause, "there are 5"));
	next = fwd_plan_build(fwd_mode_by_name("switch"), NULL, scene.ports, 6, scene.ports[1], 2, &diag);
	assert_int_equal(next->n_ports, 5);
	assert_ptr_equal(next->leaving, scene.ports[1]);
	fwd_plan_free(next);
	assert_null(fwd_plan_build(plan->mode, NULL, scene.ports, 6, NULL, 0, &diag));
	assert_null(fwd_plan_build(plan->mode, NULL, scene.ports, 6, NULL, FWD_WORKERS_MAX + 1, &diag));
	fwd_plan_free(NULL);
	scene_close(plan);
}

static void
test_plan_full(void **state)
{
	struct fwd_plan *plan = scene_open("rxonly", NULL, 4, 128, 1);
	struct diag diag;

	assert_int_equal(plan->workers[0].n_queues, FWD_WORKER_QUEUES_MAX);
	scene_port_open(1);
	assert_null(fwd_plan_build(plan->mode, NULL, scene.ports, 5, NULL, 1, &diag));
	assert_string_equal(diag.cause, "port p4: worker 0 would serve more than 512 queue pairs");
	assert_true(diag.hint[0]);
	scene_close(plan);
}

/* --- modes in pairs --- */

static void
test_io(void **state)
{
	struct fwd_plan *plan = scene_open("io", NULL, 4, 1, 1);
	struct rte_mbuf *pkts[3];

	for (uint32_t i = 0; i < 3; i++)
		pkts[i] = scene_frame(STATION(1), STATION(2), i);
	scene_arrive(0, 0, pkts, 3);
	scene_say(3, STATION(1), STATION(2), 3);
	ASSERT_SENT(1, 0, 1, 2);
	ASSERT_SENT(2, 3);
	ASSERT_SENT_NONE(0);
	ASSERT_SENT_NONE(3);
	plan->peer_by_id[0] = NULL;
	scene_say(0, STATION(1), STATION(2), 4);
	assert_int_equal(scene_drops(0, DROP_NO_PORT), 1);
	scene.fakes[2]->room = 0;
	scene_say(3, STATION(1), STATION(2), 5);
	assert_int_equal(scene_drops(2, DROP_TX_FULL), 1);
	scene_close(plan);
}

static void
test_mac(void **state)
{
	struct fwd_plan *plan = scene_open("mac", NULL, 2, 1, 1);
	struct rte_mbuf *shared, *clone, *pkts[2];

	/* One frame of ours, one whose data somebody else still reads. */
	shared = scene_frame(STATION(1), STATION(2), 8);
	clone = rte_pktmbuf_clone(shared, scene.pool);
	pkts[0] = scene_frame(STATION(1), STATION(2), 7);
	pkts[1] = shared;
	scene_arrive(0, 0, pkts, 2);
	assert_int_equal(scene.fakes[1]->n_sent, 2);
	for (int i = 0; i < 2; i++) {
		/* The station that is made up for port 1. */
		assert_int_equal(scene_frame_dst(scene.fakes[1]->sent[i]), 0x020000000001);
		assert_int_equal(scene_frame_src(scene.fakes[1]->sent[i]), scene_mac(1));
	}
	ASSERT_SENT(1, 7, 8);
	assert_int_equal(scene_frame_dst(clone), STATION(1));
	/* The clone itself is as little ours. */
	scene_arrive_one(0, clone);
	ASSERT_SENT(1, 8);
	scene_close(plan);
}

static void
test_macswap(void **state)
{
	struct fwd_plan *plan = scene_open("macswap", NULL, 2, 1, 1);

	scene_say(1, STATION(1), STATION(2), 1);
	assert_int_equal(scene.fakes[0]->n_sent, 1);
	assert_int_equal(scene_frame_dst(scene.fakes[0]->sent[0]), STATION(2));
	assert_int_equal(scene_frame_src(scene.fakes[0]->sent[0]), STATION(1));
	ASSERT_SENT(0, 1);
	scene_close(plan);
}

/* --- rxonly, txonly --- */

static void
test_rxonly(void **state)
{
	struct fwd_plan *plan = scene_open("rxonly", NULL, 1, 1, 1);

	scene_say(0, STATION(1), STATION(2), 1);
	assert_int_equal(scene.ports[0]->rxqs[0].stats.consumed, 1);
	ASSERT_SENT_NONE(0);
	scene_close(plan);
}

/* UDP, all of it right, from a port to the station that is made up for it. */
static void
assert_made(const struct rte_mbuf *m, unsigned int port, uint16_t len)
{
	static struct packet packet;

	mbufs_read(m, &packet);
	assert_int_equal(m->pkt_len, len);
	assert_int_equal(m->data_len, len);
	assert_true(packet_is_whole(&packet));
	assert_int_equal(scene_frame_src(m), scene_mac(port));
	assert_int_equal(scene_frame_dst(m), 0x020000000000 + port);
	assert_int_equal(packet_get16(packet.bytes + 12), PACKET_TYPE_IPV4);
	assert_int_equal(packet.proto, PACKET_UDP);
	assert_int_equal(packet_get16(packet.bytes + packet.l3 + 2), len - 14);
	assert_memory_equal(packet.bytes + packet.l3 + 12, ((const uint8_t[]){198, 18, 0, 1, 198, 18, 0, 2}),
			    8);
	assert_int_equal(packet_get16(packet.bytes + packet.l4 + 4), len - 34);
}

static void
test_txonly(void **state)
{
	struct fwd_mode *mode = fwd_mode_by_name("txonly");
	static struct rte_mbuf *hoard[SCENE_POOL_SIZE + 1];
	struct fwd_plan *plan;
	struct port_stats stats;
	void *mode_state = scene_mode_open("txonly");
	unsigned int n_hoard = 0;

	plan = scene_open("txonly", mode_state, 2, 2, 1);
	mode->generate(&scene.workers[0], &scene.ports[1]->txqs[1]);
	assert_int_equal(scene.fakes[1]->n_sent, 32);
	for (int i = 0; i < 32; i++) {
		assert_int_equal(scene.fakes[1]->sent_on[i], 1);
		assert_made(scene.fakes[1]->sent[i], 1, 64);
	}
	scene_forget(1);
	scene_say(0, STATION(1), STATION(2), 1);
	assert_int_equal(scene.ports[0]->rxqs[0].stats.consumed, 1);
	/* No buffer left: no burst, nothing counted. */
	while ((hoard[n_hoard] = rte_pktmbuf_alloc(scene.pool)))
		n_hoard++;
	mode->generate(&scene.workers[0], &scene.ports[1]->txqs[0]);
	ASSERT_SENT_NONE(1);
	port_stats_read(scene.ports[1], &stats);
	assert_int_equal(stats.tx_packets, 32);
	rte_pktmbuf_free_bulk(hoard, n_hoard);
	/* Made here, so on no port's receiving side. */
	scene.ports[1]->rxqs[1].stats.packets += 32;
	scene_close(plan);
	mode->close(mode_state);
}

static void
test_txonly_sizes(void **state)
{
	static const struct {
		const char *line;
		uint16_t len;
	} row[] = {{"txonly,size=60", 60}, {"txonly,size=1514", 1514}};

	for (size_t i = 0; i < RTE_DIM(row); i++) {
		void *mode_state = scene_mode_open(row[i].line);
		struct fwd_plan *plan = scene_open("txonly", mode_state, 2, 1, 1);

		fwd_mode_by_name("txonly")->generate(&scene.workers[0], &scene.ports[1]->txqs[0]);
		assert_int_equal(scene.fakes[1]->n_sent, 32);
		assert_made(scene.fakes[1]->sent[31], 1, row[i].len);
		scene_forget(1);
		scene.ports[1]->rxqs[0].stats.packets += 32;
		scene_close(plan);
		fwd_mode_by_name("txonly")->close(mode_state);
	}
}

static void
test_hub(void **state)
{
	struct fwd_plan *plan = scene_open("hub", NULL, 3, 1, 1);
	struct port_stats stats;

	/* Also to an address that everybody has heard of. */
	scene_say(0, BROADCAST, STATION(1), 1);
	scene_say(1, STATION(1), STATION(2), 2);
	ASSERT_SENT(0, 2);
	ASSERT_SENT(1, 1);
	ASSERT_SENT(2, 1, 2);
	port_stats_read(scene.ports[1], &stats);
	assert_int_equal(stats.copies, 1);
	scene_close(plan);
	/* Alone. */
	plan = scene_open("hub", NULL, 1, 1, 1);
	scene_say(0, BROADCAST, STATION(1), 3);
	assert_int_equal(scene_drops(0, DROP_NO_PORT), 1);
	scene_close(plan);
}

/* --- handoff --- */

static void
test_handoff(void **state)
{
	struct fwd_plan *plan = scene_open("io", NULL, 2, 2, 2), *empty;
	struct rte_mbuf *pkts[PORT_BURST];
	struct diag diag;

	/* Port 1 has one usable pair only, of worker 0; queue 1 of port 0 is worker 1's. */
	atomic_store(&scene.ports[1]->n_active, 1);
	for (uint32_t i = 0; i < 5; i++)
		pkts[i] = scene_frame(STATION(1), STATION(2), i);
	scene_arrive(0, 1, pkts, 2);
	scene_arrive(0, 1, pkts + 2, 3);
	ASSERT_SENT_NONE(1);
	scene_say(0, STATION(1), STATION(2), 100); /* worker 0 to its own: at once */
	ASSERT_SENT(1, 100);
	assert_int_equal(fwd_handoff_drain(&scene.workers[1]), 0);
	assert_int_equal(fwd_handoff_drain(&scene.workers[0]), 5);
	assert_int_equal(scene.fakes[1]->sent_on[4], 0);
	ASSERT_SENT(1, 0, 1, 2, 3, 4);

	/* A ring holds one less than its size; the rest is counted where it came from. */
	for (uint32_t i = 0; i < FWD_HANDOFF_SIZE + 10; i++) {
		pkts[0] = scene_frame(STATION(1), STATION(2), i);
		scene_arrive(0, 1, pkts, 1);
	}
	assert_int_equal(scene_drops(0, DROP_HANDOFF_FULL), 11);
	assert_int_equal(fwd_handoff_drain(&scene.workers[0]), FWD_HANDOFF_SIZE - 1);
	assert_int_equal(scene.fakes[1]->n_sent, FWD_HANDOFF_SIZE - 1);
	for (uint32_t i = 0; i < FWD_HANDOFF_SIZE - 1; i++)
		assert_int_equal(scene_frame_number(scene.fakes[1]->sent[i]), i);
	scene_forget(1);

	/* A leaving port still gets what is under way; a port that is gone does not. */
	pkts[0] = scene_frame(STATION(1), STATION(2), 7);
	scene_arrive(0, 1, pkts, 1);
	empty = fwd_plan_build(fwd_mode_by_name("switch"), NULL, scene.ports, 1, scene.ports[1], 2, &diag);
	scene.workers[0].plan = empty;
	assert_int_equal(fwd_handoff_drain(&scene.workers[0]), 1);
	ASSERT_SENT(1, 7);
	assert_int_equal(scene.workers[0].lost_port_gone, 0);
	fwd_plan_free(empty);
	pkts[0] = scene_frame(STATION(1), STATION(2), 8);
	scene_arrive(0, 1, pkts, 1);
	empty = fwd_plan_build(fwd_mode_by_name("switch"), NULL, scene.ports, 1, NULL, 2, &diag);
	scene.workers[0].plan = empty;
	assert_int_equal(fwd_handoff_drain(&scene.workers[0]), 1);
	ASSERT_SENT_NONE(1);
	assert_int_equal(scene.workers[0].lost_port_gone, 1);
	scene.ports[1]->txqs[0].stats.drops[DROP_NO_GUEST]++; /* for the sums */
	fwd_plan_free(empty);

	/* What is still in a ring when workers close is freed. */
	scene.workers[0].plan = plan;
	pkts[0] = scene_frame(STATION(1), STATION(2), 9);
	scene_arrive(0, 1, pkts, 1);
	scene.ports[1]->txqs[0].stats.drops[DROP_NO_GUEST]++;
	fwd_workers_close(scene.workers, 2);
	scene_close(plan);
}

/* --- filter, then steering, then the owner's queue --- */

/* Wants even numbers. */
static uint16_t
even_burst(const struct port_filter *filter, struct rte_mbuf **pkts, uint16_t n)
{
	struct rte_mbuf *unwanted[PORT_BURST];
	uint16_t n_wanted = 0, n_unwanted = 0;

	assert_true(n >= 1 && n <= PORT_BURST);
	for (uint16_t i = 0; i < n; i++) {
		if (scene_frame_number(pkts[i]) % 2)
			unwanted[n_unwanted++] = pkts[i];
		else
			pkts[n_wanted++] = pkts[i];
	}
	memcpy(pkts + n_wanted, unwanted, n_unwanted * sizeof(pkts[0]));
	return n_wanted;
}

static const struct port_filter even = {.burst = even_burst};

/* To pair 1, and nothing that the filter does not want. */
static void
pick_second(const struct port_steer *steer, const struct port *to, const struct port_rxq *from,
	    struct rte_mbuf **pkts, uint16_t n, uint16_t ret_pairs[])
{
	assert_true(n >= 1);
	for (uint16_t i = 0; i < n; i++) {
		assert_int_equal(scene_frame_number(pkts[i]) % 2, 0);
		ret_pairs[i] = 1;
	}
}

static const struct port_steer second = {.pick = pick_second};

static uint64_t
filtered_on(unsigned int i, uint16_t q)
{
	struct port_stats stats;

	port_pair_stats_read(scene.ports[i], q, &stats);
	return stats.drops[DROP_FILTERED];
}

static void
test_filter_then_steer_then_owner(void **state)
{
	struct fwd_plan *plan = scene_open("io", NULL, 2, 2, 2);
	struct rte_mbuf *pkts[PORT_BURST];

	/* Queue q of both ports is worker q's. */
	atomic_store(&scene.ports[1]->filter, &even);
	for (uint32_t i = 0; i < 6; i++)
		pkts[i] = scene_frame(STATION(1), STATION(2), i);
	scene_arrive(0, 1, pkts, 6);
	ASSERT_SENT(1, 0, 2, 4);
	/* What is filtered counts on the pair of the sender's number. */
	assert_int_equal(filtered_on(1, 0), 0);
	assert_int_equal(filtered_on(1, 1), 3);

	/* Steered to the other worker: what is not wanted goes to no ring. */
	atomic_store(&scene.ports[1]->steer, &second);
	for (uint32_t i = 0; i < 7; i++)
		pkts[i] = scene_frame(STATION(1), STATION(2), 10 + i);
	scene_arrive(0, 0, pkts, 7);
	assert_int_equal(rte_ring_count(scene.workers[1].handoff_in[0]), 4);
	assert_int_equal(filtered_on(1, 0), 3);
	assert_int_equal(fwd_handoff_drain(&scene.workers[1]), 4);
	ASSERT_SENT(1, 10, 12, 14, 16);
	/* Nothing is left to steer. */
	scene_say(0, STATION(1), STATION(2), 1);
	assert_int_equal(filtered_on(1, 0), 4);

	/* A single pair, of the other worker, and no steering: the count is there, and so are the sums. */
	atomic_store(&scene.ports[1]->steer, NULL);
	atomic_store(&scene.ports[1]->n_active, 1);
	for (uint32_t i = 0; i < 6; i++)
		pkts[i] = scene_frame(STATION(1), STATION(2), 20 + i);
	scene_arrive(0, 1, pkts, 6);
	assert_int_equal(rte_ring_count(scene.workers[0].handoff_in[1]), 3);
	assert_int_equal(filtered_on(1, 0), 7);
	assert_int_equal(scene.ports[1]->txqs[0].stats.drops[DROP_FILTERED], 4);
	assert_int_equal(scene_drops(1, DROP_FILTERED), 10);
	fwd_handoff_drain(&scene.workers[0]);
	ASSERT_SENT(1, 20, 22, 24);
	/* Nobody filters the other way. */
	scene_say(1, STATION(1), STATION(2), 1);
	ASSERT_SENT(0, 1);
	scene_close(plan);
}

/* Where a mode names the queue itself, or makes the frames. */
static void
test_filter_without_a_choice(void **state)
{
	struct fwd_plan *plan = scene_open("txonly", NULL, 2, 1, 1);
	struct rte_mbuf *pkts[4];

	atomic_store(&scene.ports[0]->filter, &even);
	for (uint32_t i = 0; i < 4; i++)
		pkts[i] = scene_frame(STATION(1), STATION(2), i);
	scene.ports[1]->rxqs[0].stats.packets += 4;
	fwd_send_to(&scene.workers[0], &scene.ports[1]->rxqs[0], &scene.ports[0]->txqs[0], pkts, 4);
	ASSERT_SENT(0, 0, 2);
	pkts[0] = scene_frame(STATION(1), STATION(2), 5);
	scene.ports[1]->rxqs[0].stats.packets++;
	fwd_send_made(&scene.workers[0], &scene.ports[0]->txqs[0], pkts, 1);
	ASSERT_SENT_NONE(0);
	assert_int_equal(filtered_on(0, 0), 3);
	scene_close(plan);
}

/* Each port that a frame is flooded to has a word of its own. */
static void
test_filter_of_flooded_frames(void **state)
{
	void *bridge = scene_mode_open("switch,entries=16");
	struct fwd_plan *plan = scene_open("switch", bridge, 4, 1, 2);
	struct rte_mbuf *pkts[3];

	atomic_store(&scene.ports[1]->filter, &even);
	atomic_store(&scene.ports[3]->filter, &even);
	for (uint32_t i = 0; i < 3; i++)
		pkts[i] = scene_frame(BROADCAST, STATION(1), i);
	scene_arrive(0, 0, pkts, 3);
	/* Ports 2 and 3 are worker 1's. */
	assert_int_equal(rte_ring_count(scene.workers[1].handoff_in[0]), 5);
	fwd_handoff_drain(&scene.workers[1]);
	ASSERT_SENT(1, 0, 2);
	ASSERT_SENT(2, 0, 1, 2);
	ASSERT_SENT(3, 0, 2);
	assert_int_equal(scene_drops(1, DROP_FILTERED), 1);
	assert_int_equal(scene_drops(3, DROP_FILTERED), 1);
	scene_close(plan);
	fwd_mode_by_name("switch")->close(bridge);
}

/* Queue pairs of unequal ports: the source's index, wrapped around what the destination has. */
static void
test_send_queue(void **state)
{
	struct fwd_plan *plan = scene_open("io", NULL, 2, 6, 1);

	for (uint16_t n_active = 1; n_active <= 6; n_active++) {
		atomic_store(&scene.ports[1]->n_active, n_active);
		for (uint16_t q = 0; q < 6; q++) {
			struct rte_mbuf *m = scene_frame(STATION(1), STATION(2), q);

			scene_arrive(0, q, &m, 1);
			assert_int_equal(scene.fakes[1]->sent_on[0], q % n_active);
			ASSERT_SENT(1, q);
		}
	}
	scene_close(plan);
}

static void
test_workers_bad(void **state)
{
	struct diag diag;

	assert_int_equal(fwd_workers_open(scene.workers, 0, scene.pool, &diag), -EINVAL);
	assert_int_equal(fwd_workers_open(scene.workers, FWD_WORKERS_MAX + 1, scene.pool, &diag), -EINVAL);
	assert_string_equal(diag.hint, "1..64 workers");
}

/* --- all together --- */

/* Random traffic, full ports, full rings, ports that lose queues: the sums hold, and flows keep their order.
 */
static void
test_conservation(void **state)
{
	static const char *const names[] = {"io", "mac", "macswap", "rxonly", "icmpecho", "switch", "hub"};
	void *bridge = scene_mode_open("switch,entries=16");

	for (size_t mode = 0; mode < RTE_DIM(names); mode++) {
		struct fwd_plan *plan = scene_open(names[mode], bridge, 6, 3, 3);
		uint32_t number = 0;

		for (int round = 0; round < 3000; round++) {
			struct rte_mbuf *pkts[PORT_BURST];
			unsigned int port = rng_below(6);
			uint16_t queue = (uint16_t)rng_below(3);
			uint16_t n = (uint16_t)(1 + rng_below(PORT_BURST));

			/* A burst, and what flooding makes of it. */
			if (rte_mempool_avail_count(scene.pool) < 6 * PORT_BURST) {
				for (unsigned int w = 0; w < 3; w++)
					fwd_handoff_drain(&scene.workers[w]);
				scene_forget_all();
			}
			for (uint16_t i = 0; i < n; i++) {
				unsigned int dst = rng_below(20);

				pkts[i] = scene_frame(dst ? STATION(dst) : BROADCAST, STATION(rng_below(20)),
						      number++);
			}
			scene_arrive(port, queue, pkts, n);
			if (rng_below(40) == 0)
				fwd_handoff_drain(&scene.workers[rng_below(3)]);
			if (rng_below(20) == 0)
				fdb_tick(bridge, (uint32_t)round);
			if (rng_below(10) == 0) {
				scene_forget(port);
				scene.fakes[port]->room = rng_below(200);
				atomic_store(&scene.ports[port]->filter, rng_below(3) ? NULL : &even);
				atomic_store(&scene.ports[port]->n_active, (uint16_t)(1 + rng_below(3)));
			}
		}
		for (unsigned int w = 0; w < 3; w++)
			fwd_handoff_drain(&scene.workers[w]);
		scene_close(plan);
	}
	fwd_mode_by_name("switch")->close(bridge);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_modes),
		cmocka_unit_test(test_mode_lines),
		cmocka_unit_test(test_txonly_sizes),
		cmocka_unit_test(test_plan),
		cmocka_unit_test(test_plan_full),
		cmocka_unit_test(test_io),
		cmocka_unit_test(test_mac),
		cmocka_unit_test(test_macswap),
		cmocka_unit_test(test_rxonly),
		cmocka_unit_test(test_txonly),
		cmocka_unit_test(test_hub),
		cmocka_unit_test(test_handoff),
		cmocka_unit_test(test_filter_then_steer_then_owner),
		cmocka_unit_test(test_filter_without_a_choice),
		cmocka_unit_test(test_filter_of_flooded_frames),
		cmocka_unit_test(test_send_queue),
		cmocka_unit_test(test_workers_bad),
		cmocka_unit_test(test_conservation),
	};

	return UNIT_RUN_WITH(tests, scene_env_open, scene_env_close);
}
