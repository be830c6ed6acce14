/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_handoff: two guests, each a whole device (rig.h), behind two workers: who has which queue, and what
 * becomes of frames on their way from one to the other.
 */
#include "unit.h"

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include <rte_rcu_qsbr.h>
#include <rte_ring.h>

#include "data.h"
#include "fwd.h"
#include "header.h"
#include "mbufs.h"
#include "packet.h"
#include "rig.h"
#include "worker.h"

enum { N_GUESTS = 2, N_WORKERS = 2, BUFFERS_AT = 0x100000, BUFFER = 2048 };

static struct fwd_worker workers[N_WORKERS];

struct scene {
	struct rig *guests[N_GUESTS];
	struct fwd_plan *plan; /* io: from one to the other */
};

/* The owners of a pair of a guest: of its rxq and its txq. */
struct owners {
	uint16_t rxq, txq;
};
typedef struct owners (*owners_fn)(unsigned int guest, uint16_t pair);

static void
scene_open(struct scene *scene, owners_fn owners)
{
	struct port *ports[N_GUESTS];
	struct diag diag;

	for (unsigned int i = 0; i < N_GUESTS; i++) {
		struct rig *rig = scene->guests[i] = rig_usual();

		rig->port.id = (uint16_t)i;
		ports[i] = &rig->port;
		for (uint16_t q = 0; q < RIG_PAIRS; q++) {
			struct port_rxq *rxq = &rig->port.rxqs[q];
			struct port_txq *txq = &rig->port.txqs[q];

			rxq->worker = owners(i, q).rxq;
			rxq->rx = vnet_rx;
			rxq->service = vnet_rx_service;
			rxq->release = vnet_rx_release;
			rxq->keeps_digests = true;
			txq->worker = owners(i, q).txq;
			txq->tx = vnet_tx;
			txq->service = vnet_tx_service;
			txq->accepts_borrowed = true;
		}
		assert_true(rig_do_le16(rig, CLASS_MQ, 0, RIG_PAIRS));
		assert_int_equal(rig->port.n_active, RIG_PAIRS);
	}
	assert_int_equal(fwd_workers_open(workers, N_WORKERS, rig_pool, &diag), 0);
	scene->plan = fwd_plan_build(fwd_mode_by_name("io"), NULL, ports, N_GUESTS, NULL, N_WORKERS, &diag);
	assert_non_null(scene->plan);
	for (unsigned int i = 0; i < N_WORKERS; i++)
		workers[i].plan = scene->plan;
}

static void
scene_close(struct scene *scene)
{
	fwd_workers_close(workers, N_WORKERS);
	fwd_plan_free(scene->plan);
	for (unsigned int i = 0; i < N_GUESTS; i++)
		rig_close(scene->guests[i]);
	assert_int_equal(rte_mempool_in_use_count(rig_pool), 0);
}

/* Everything of a guest is the worker's of its number. */
static struct owners
one_worker_each(unsigned int guest, uint16_t pair)
{
	return (struct owners){(uint16_t)guest, (uint16_t)guest};
}

static struct owners
one_worker(unsigned int guest, uint16_t pair)
{
	return (struct owners){0, 0};
}

/* UDP over IPv4, which has a flow and a hash. */
static void
packet_to(struct packet *packet, uint64_t dst)
{
	packet_build(packet, &(struct packet_spec){.proto = PACKET_UDP, .payload = 22}, PACKET_SUM_WHOLE);
	packet_set_macs(packet, dst, 0x020000000000);
}

/* --- filter, then steering, then the owner's queue --- */

static uint64_t
filtered(const struct rig *rig)
{
	struct port_stats stats;

	port_stats_read(&rig->port, &stats);
	return stats.drops[DROP_FILTERED];
}

/* What a guest does not want costs neither a hash nor a place in a ring, nor a look by the queue's owner. */
static void
test_what_is_not_wanted_stays_where_it_is(void **state)
{
	struct rte_mbuf *pkts[4], *wanted[2], *unwanted[2];
	static struct packet packet;
	struct scene scene;
	struct rig *to;

	scene_open(&scene, one_worker_each);
	to = scene.guests[0];
	assert_true(rig_rss(to, &data_usual_rss));
	assert_true(rig_do_byte(to, CLASS_RX, 0, 0));
	for (unsigned int i = 0; i < 4; i++) {
		packet_to(&packet, i % 2 ? RIG_OTHER : RIG_OWN);
		pkts[i] = mbufs_make(rig_pool, packet.bytes, packet.len, MBUFS_WHOLE);
		*(i % 2 ? &unwanted[i / 2] : &wanted[i / 2]) = pkts[i];
		/* To be looked at afterwards. */
		rte_mbuf_refcnt_update(pkts[i], 1);
	}
	fwd_send(&workers[1], &scene.guests[1]->port.rxqs[0], &to->port, pkts, 4);
	assert_int_equal(rte_ring_count(workers[0].handoff_in[1]), 2);
	assert_int_equal(filtered(to), 2);
	for (unsigned int i = 0; i < 2; i++) {
		assert_true(wanted[i]->ol_flags & RTE_MBUF_F_RX_RSS_HASH);
		assert_false(unwanted[i]->ol_flags & RTE_MBUF_F_RX_RSS_HASH);
		assert_int_equal(rte_mbuf_refcnt_read(unwanted[i]), 1);
	}
	assert_int_equal(fwd_handoff_drain(&workers[0]), 2);
	assert_int_equal(filtered(to), 2);
	for (unsigned int i = 0; i < 2; i++) {
		rte_pktmbuf_free(wanted[i]);
		rte_pktmbuf_free(unwanted[i]);
	}
	scene_close(&scene);
}

/* --- the drivers --- */

static uint64_t
buffer_gpa(unsigned int queue)
{
	return driver_region_gpa(0) + BUFFERS_AT + (uint64_t)queue * BUFFER;
}

/* The driver sends the frame on its transmitq of the pair; it has come back at the end of the iteration. */
static void
guest_send(struct rig *rig, uint16_t pair, const struct packet *packet)
{
	const uint16_t hdr_len = vnet_conf(&rig->dev->queues[pair].from_guest)->hdr_len;
	const unsigned int queue = 2u * pair + 1;
	const struct driver_buf buf = {buffer_gpa(queue), hdr_len + packet->len, false};
	const uint8_t header[HEADER_LEN_MAX] = {0};

	driver_write(&rig->mem, buf.gpa, header, hdr_len);
	driver_write(&rig->mem, buf.gpa + hdr_len, packet->bytes, packet->len);
	assert_true(driver_add(&rig->data[queue], &buf, 1, DRIVER_DIRECT, pair));
}

static unsigned int
queue_used(struct rig *rig, unsigned int queue)
{
	unsigned int n = 0;
	uint64_t tag;
	uint32_t len;

	while (driver_get(&rig->data[queue], &tag, &len))
		n++;
	return n;
}

/* The driver gets what came for the pair, and makes as many buffers available. Returns how many frames. */
static unsigned int
guest_receive(struct rig *rig, uint16_t pair)
{
	const unsigned int n = queue_used(rig, 2u * pair);

	for (unsigned int i = 0; i < n; i++)
		rig_fill(rig, pair);
	return n;
}

/* --- digests --- */

/*
 * A flow's digest is computed when the guest that sends has its flow learnt, and steers at the other guest;
 * at the end of forwarding nobody says any more that frames have one.
 */
static void
test_a_digest_is_for_as_long_as_forwarding(void **state)
{
	static struct packet packet;
	struct rte_mbuf *pkts[PORT_BURST];
	struct port_rxq *rxq;
	struct scene scene;

	scene_open(&scene, one_worker);
	rxq = &scene.guests[0]->port.rxqs[0];
	packet_to(&packet, RIG_OWN);
	for (unsigned int round = 0; round < 3; round++) {
		uint16_t n;

		/* Guest 1 sends the flow on another pair each time. */
		guest_send(scene.guests[1], (uint16_t)(round + 1), &packet);
		n = port_rx(&scene.guests[1]->port.rxqs[round + 1], pkts, PORT_BURST);
		assert_int_equal(n, 1);
		fwd_forward(&workers[0], scene.plan->mode, &scene.guests[1]->port.rxqs[round + 1], pkts, n);
		assert_int_equal(queue_used(scene.guests[1], 2 * (round + 1) + 1), 1);

		/* And it comes back there. */
		guest_send(scene.guests[0], 0, &packet);
		n = port_rx(rxq, pkts, PORT_BURST);
		assert_int_equal(n, 1);
		assert_true(rxq->has_digests);
		fwd_forward(&workers[0], scene.plan->mode, rxq, pkts, n);
		assert_false(rxq->has_digests);
		assert_int_equal(queue_used(scene.guests[0], 1), 1);
		for (uint16_t pair = 0; pair < RIG_PAIRS; pair++)
			assert_int_equal(guest_receive(scene.guests[1], pair), pair == round + 1);
		for (uint16_t pair = 0; pair < RIG_PAIRS; pair++)
			guest_receive(scene.guests[0], pair);
	}
	/* Not for who does not forward in this way. */
	rxq->keeps_digests = false;
	guest_send(scene.guests[0], 0, &packet);
	assert_int_equal(port_rx(rxq, pkts, 1), 1);
	assert_false(rxq->has_digests);
	rte_pktmbuf_free(pkts[0]);
	scene_close(&scene);
}

/* --- a pair with two owners --- */

/* Who takes frames from a pair is not who sends to it, in neither guest. */
static struct owners
crosswise(unsigned int guest, uint16_t pair)
{
	return (struct owners){pair % N_WORKERS, (uint16_t)((pair + 1) % N_WORKERS)};
}

static void
test_a_plan_with_two_owners_of_a_pair(void **state)
{
	struct scene scene;
	unsigned int n_rxqs[N_WORKERS] = {0}, n_txqs[N_WORKERS] = {0};

	scene_open(&scene, crosswise);
	for (uint16_t w = 0; w < N_WORKERS; w++) {
		const struct fwd_worker_plan *own = &scene.plan->workers[w];

		/* A half of each pair. */
		assert_int_equal(own->n_queues, N_GUESTS * RIG_PAIRS);
		for (unsigned int i = 0; i < own->n_queues; i++) {
			const struct fwd_visit *visit = &own->queues[i];

			assert_true((visit->rxq == &port_rxq_none) != (visit->txq == &port_txq_none));
			if (visit->rxq != &port_rxq_none) {
				assert_int_equal(visit->rxq->worker, w);
				n_rxqs[w]++;
			} else {
				assert_int_equal(visit->txq->worker, w);
				n_txqs[w]++;
			}
		}
		assert_int_equal(n_rxqs[w], N_GUESTS * RIG_PAIRS / N_WORKERS);
		assert_int_equal(n_txqs[w], N_GUESTS * RIG_PAIRS / N_WORKERS);
	}
	scene_close(&scene);
}

struct running {
	struct worker_shared shared;
	struct worker workers[N_WORKERS];
	struct worker_counters counters[N_WORKERS];
	pthread_t threads[N_WORKERS];
};

static void *
running_main(void *arg)
{
	rte_thread_register();
	worker_main(arg);
	rte_thread_unregister();
	return NULL;
}

static struct running *
running_start(const struct scene *scene)
{
	struct running *running = unit_zalloc(sizeof(*running));

	running->shared.rcu = unit_zalloc(rte_rcu_qsbr_get_memsize(N_WORKERS));
	assert_int_equal(rte_rcu_qsbr_init(running->shared.rcu, N_WORKERS), 0);
	atomic_store(&running->shared.plan, scene->plan);
	atomic_store(&running->shared.order, WORKER_RUN);
	for (unsigned int w = 0; w < N_WORKERS; w++) {
		running->workers[w] = (struct worker){
			.fwd = &workers[w], .shared = &running->shared, .counters = &running->counters[w]};
		rte_rcu_qsbr_thread_register(running->shared.rcu, w);
		assert_int_equal(
			pthread_create(&running->threads[w], NULL, running_main, &running->workers[w]), 0);
	}
	return running;
}

static void
running_stop(struct running *running)
{
	atomic_store(&running->shared.order, WORKER_STOP);
	for (unsigned int w = 0; w < N_WORKERS; w++)
		pthread_join(running->threads[w], NULL);
	free(running->shared.rcu);
	free(running);
}

/* A flow for each pair, the same in both directions. */
static void
packet_of_pair(struct packet *packet, uint16_t pair)
{
	packet_to(packet, RIG_OWN);
	packet_put16(packet->bytes + packet->l4, 1000u + pair);
}

/* Each pair's frames go over a ring to whom the other guest's txq belongs, both ways, with two real workers.
 */
static void
test_frames_between_pairs_with_two_owners(void **state)
{
	const unsigned int n_rounds = UNIT_SANITIZED ? 20 : 60;
	static struct packet packets[RIG_PAIRS];
	struct running *running;
	struct scene scene;

	scene_open(&scene, crosswise);
	for (uint16_t pair = 0; pair < RIG_PAIRS; pair++)
		packet_of_pair(&packets[pair], pair);
	running = running_start(&scene);
	for (unsigned int round = 0; round < n_rounds; round++) {
		unsigned int n_sent[N_GUESTS][RIG_PAIRS] = {0}, n_got[N_GUESTS][RIG_PAIRS] = {0},
			     n_left = 2 * N_GUESTS * RIG_PAIRS;

		for (unsigned int i = 0; i < N_GUESTS; i++)
			for (uint16_t pair = 0; pair < RIG_PAIRS; pair++)
				guest_send(scene.guests[i], pair, &packets[pair]);
		/* The time limit of the test is that of this loop. */
		while (n_left) {
			for (unsigned int i = 0; i < N_GUESTS; i++) {
				for (uint16_t pair = 0; pair < RIG_PAIRS; pair++) {
					unsigned int back = queue_used(scene.guests[i], 2u * pair + 1),
						     got = guest_receive(scene.guests[i], pair);

					n_sent[i][pair] += back;
					n_got[i][pair] += got;
					n_left -= back + got;
				}
			}
			sched_yield();
		}
		/* Each where it is at home. */
		for (unsigned int i = 0; i < N_GUESTS; i++) {
			for (uint16_t pair = 0; pair < RIG_PAIRS; pair++) {
				assert_int_equal(n_sent[i][pair], 1);
				assert_int_equal(n_got[i][pair], 1);
			}
		}
	}
	running_stop(running);
	for (unsigned int i = 0; i < N_GUESTS; i++) {
		const struct port *port = &scene.guests[i]->port;
		struct port_stats stats;

		port_stats_read(port, &stats);
		for (unsigned int k = 0; k < DROP_N; k++)
			assert_int_equal(stats.drops[k], 0);
		for (uint16_t pair = 0; pair < RIG_PAIRS; pair++) {
			assert_int_equal(port->rxqs[pair].stats.packets, n_rounds);
			assert_int_equal(port->txqs[pair].stats.packets, n_rounds);
		}
	}
	scene_close(&scene);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_is_not_wanted_stays_where_it_is),
		cmocka_unit_test(test_a_digest_is_for_as_long_as_forwarding),
		cmocka_unit_test(test_a_plan_with_two_owners_of_a_pair),
		cmocka_unit_test(test_frames_between_pairs_with_two_owners),
	};

	rig_env_open();
	return UNIT_RUN(tests);
}
