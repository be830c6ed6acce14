/* SPDX-License-Identifier: BSD-3-Clause */
/* test_handoff: frames for a guest whose queues other workers own: a whole device behind two workers. */
#include "unit.h"

#include <string.h>

#include <rte_ring.h>

#include "data.h"
#include "fwd.h"
#include "mbufs.h"
#include "packet.h"
#include "rig.h"

enum { N_WORKERS = 2 };

static struct fwd_worker workers[N_WORKERS];

/* The guest's device, and a port that frames come from; a plan in which worker 0 has all that is the guest's.
 */
struct scene {
	struct rig *rig;
	struct port from;
	struct fwd_plan *plan;
};

static void
scene_open(struct scene *scene)
{
	struct port *ports[2];
	struct diag diag;

	memset(scene, 0, sizeof(*scene));
	scene->rig = rig_usual();
	scene->rig->port.id = 1;
	for (uint16_t q = 0; q < RIG_PAIRS; q++) {
		scene->rig->port.rxqs[q].worker = scene->rig->port.txqs[q].worker = 0;
		scene->rig->port.rxqs[q].rx = vnet_rx;
		scene->rig->port.rxqs[q].done = vnet_done;
		scene->rig->port.txqs[q].tx = vnet_tx;
		scene->rig->port.txqs[q].accepts_borrowed = true;
	}
	assert_int_equal(port_queues_alloc(&scene->from, RIG_PAIRS), 0);
	atomic_init(&scene->from.n_active, RIG_PAIRS);
	for (uint16_t q = 0; q < RIG_PAIRS; q++)
		scene->from.rxqs[q].worker = scene->from.txqs[q].worker = 1;
	ports[0] = &scene->from;
	ports[1] = &scene->rig->port;
	assert_int_equal(fwd_workers_open(workers, N_WORKERS, rig_pool, &diag), 0);
	scene->plan = fwd_plan_build(fwd_mode_by_name("io"), NULL, ports, 2, NULL, N_WORKERS, &diag);
	assert_non_null(scene->plan);
	for (unsigned int i = 0; i < N_WORKERS; i++)
		workers[i].plan = scene->plan;
}

static void
scene_close(struct scene *scene)
{
	fwd_workers_close(workers, N_WORKERS);
	fwd_plan_free(scene->plan);
	port_queues_free(&scene->from);
	rig_close(scene->rig);
	assert_int_equal(rte_mempool_in_use_count(rig_pool), 0);
}

/* UDP over IPv4, which has a hash. */
static struct rte_mbuf *
frame_to(uint64_t dst)
{
	static struct packet packet;

	packet_build(&packet, &(struct packet_spec){.proto = PACKET_UDP, .payload = 22}, PACKET_SUM_WHOLE);
	packet_set_macs(&packet, dst, 0x020000000000);
	return mbufs_make(rig_pool, packet.bytes, packet.len, MBUFS_WHOLE);
}

static uint64_t
filtered(const struct scene *scene)
{
	struct port_stats stats;

	port_stats_read(&scene->rig->port, &stats);
	return stats.drops[DROP_FILTERED];
}

/* What a guest does not want costs neither a hash nor a place in a ring, nor a look by the queue's owner. */
static void
test_what_is_not_wanted_stays_where_it_is(void **state)
{
	struct rte_mbuf *pkts[4], *wanted[2], *unwanted[2];
	struct scene scene;

	scene_open(&scene);
	assert_true(rig_rss(scene.rig, &data_usual_rss));
	assert_true(rig_do_byte(scene.rig, CLASS_RX, 0, 0));
	for (unsigned int i = 0; i < 4; i++) {
		pkts[i] = frame_to(i % 2 ? RIG_OTHER : RIG_OWN);
		*(i % 2 ? &unwanted[i / 2] : &wanted[i / 2]) = pkts[i];
		/* To be looked at afterwards. */
		rte_mbuf_refcnt_update(pkts[i], 1);
	}
	fwd_send(&workers[1], &scene.from.rxqs[0], &scene.rig->port, pkts, 4);
	assert_int_equal(rte_ring_count(workers[0].handoff_in[1]), 2);
	assert_int_equal(filtered(&scene), 2);
	for (unsigned int i = 0; i < 2; i++) {
		assert_true(wanted[i]->ol_flags & RTE_MBUF_F_RX_RSS_HASH);
		assert_false(unwanted[i]->ol_flags & RTE_MBUF_F_RX_RSS_HASH);
		assert_int_equal(rte_mbuf_refcnt_read(unwanted[i]), 1);
	}
	assert_int_equal(fwd_handoff_drain(&workers[0]), 2);
	assert_int_equal(filtered(&scene), 2);
	for (unsigned int i = 0; i < 2; i++) {
		rte_pktmbuf_free(wanted[i]);
		rte_pktmbuf_free(unwanted[i]);
	}
	scene_close(&scene);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_is_not_wanted_stays_where_it_is),
	};

	rig_env_open();
	return UNIT_RUN(tests);
}
