/* SPDX-License-Identifier: BSD-3-Clause */
#include "fwd_scene.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <rte_eal.h>

#include "fwd_config.h"
#include "mbufs.h"
#include "packet.h"
#include "unit_eal.h"

static const struct port_kind scene_kind = {.name = "made-up"};

struct scene scene;

int
scene_env_open(void **state)
{
	/* Tests with threads of their own need more than one CPU. */
	scene.pool = unit_eal_start(
		&(struct unit_eal){.memory_mb = 64, .n_mbufs = SCENE_POOL_SIZE, .keep_affinity = true});
	return 0;
}

int
scene_env_close(void **state)
{
	rte_mempool_free(scene.pool);
	return rte_eal_cleanup();
}

static struct fwd_plan *
plan_of(const char *mode_name, void *mode_state, unsigned int n_workers)
{
	struct diag diag = {0};
	struct fwd_plan *plan = fwd_plan_build(fwd_mode_by_name(mode_name), mode_state, scene.ports,
					       scene.n_ports, NULL, n_workers, &diag);

	assert_string_equal(diag.cause, "");
	assert_non_null(plan);
	for (unsigned int i = 0; i < n_workers; i++)
		scene.workers[i].plan = plan;
	return plan;
}

struct fwd_plan *
scene_open(const char *mode_name, void *mode_state, unsigned int n_ports, uint16_t n_queues,
	   unsigned int n_workers)
{
	struct diag diag = {0};

	assert_int_equal(fwd_workers_open(scene.workers, n_workers, scene.pool, &diag), 0);
	for (unsigned int i = 0; i < n_ports; i++)
		scene_port_open(n_queues);
	return plan_of(mode_name, mode_state, n_workers);
}

static void
sums(struct port_stats *sum)
{
	memset(sum, 0, sizeof(*sum));
	for (unsigned int i = 0; i < scene.n_ports; i++) {
		struct port_stats stats;

		port_stats_read(scene.ports[i], &stats);
		for (size_t w = 0; w < sizeof(stats) / 8; w++)
			((uint64_t *)sum)[w] += ((uint64_t *)&stats)[w];
	}
}

void
scene_close(struct fwd_plan *plan)
{
	unsigned int n_workers = plan->n_workers;
	struct port_stats sum;
	uint64_t drops = 0;

	for (unsigned int i = 0; i < n_workers; i++)
		fwd_handoff_drain(&scene.workers[i]);
	sums(&sum);
	for (int i = 0; i < DROP_N; i++)
		drops += sum.drops[i];
	assert_int_equal(sum.rx_packets + sum.copies, sum.tx_packets + drops + sum.consumed);
	fwd_plan_free(plan);
	fwd_workers_close(scene.workers, n_workers);
	for (unsigned int i = 0; i < scene.n_ports; i++) {
		scene_forget(i);
		port_queues_free(&scene.fakes[i]->port);
		free(scene.fakes[i]);
	}
	scene.n_ports = 0;
	assert_int_equal(rte_mempool_in_use_count(scene.pool), 0);
}

void *
scene_mode_open(const char *line)
{
	struct fwd_config config;
	struct diag diag;
	void *mode_state;

	assert_int_equal(fwd_config_parse(&config, line, &diag), 0);
	assert_int_equal(config.mode->open(&mode_state, config.args, &diag), 0);
	fwd_config_free(&config);
	return mode_state;
}

void
scene_port_open(uint16_t n_queues)
{
	struct scene_port *fake = calloc(1, sizeof(*fake));

	assert_non_null(fake);
	snprintf(fake->port.name, sizeof(fake->port.name), "p%u", scene.n_ports);
	fake->port.id = (uint16_t)scene.n_ports;
	fake->port.kind = &scene_kind;
	atomic_init(&fake->port.n_active, n_queues);
	packet_put48(fake->port.mac.addr_bytes, 0x520000000000 + scene.n_ports);
	assert_int_equal(port_queues_alloc(&fake->port, n_queues), 0);
	for (uint16_t q = 0; q < n_queues; q++) {
		fake->port.txqs[q].tx = scene_port_tx;
		fake->port.txqs[q].dev = fake;
	}
	fake->room = SCENE_SENT_MAX;
	scene.fakes[scene.n_ports] = fake;
	scene.ports[scene.n_ports] = &fake->port;
	scene.n_ports++;
}

uint16_t
scene_port_tx(struct port_txq *txq, struct rte_mbuf **pkts, uint16_t n)
{
	struct scene_port *fake = txq->dev;
	uint16_t n_sent = 0;

	assert_true(n >= 1 && n <= PORT_BURST);
	while (n_sent < n && fake->n_sent < fake->room) {
		fake->sent_on[fake->n_sent] = txq->idx;
		fake->sent[fake->n_sent++] = pkts[n_sent];
		txq->stats.bytes += rte_pktmbuf_pkt_len(pkts[n_sent]);
		n_sent++;
	}
	txq->stats.packets += n_sent;
	if (n_sent < n)
		port_tx_drop(txq, DROP_TX_FULL, pkts + n_sent, (uint16_t)(n - n_sent));
	return n_sent;
}

struct rte_mbuf *
scene_frame(uint64_t dst, uint64_t src, uint32_t number)
{
	static struct packet packet;

	packet_ethernet(&packet, 0, PACKET_TYPE_TEST);
	packet_set_macs(&packet, dst, src);
	packet_add(&packet, &number, sizeof(number));
	packet_add_payload(&packet, 64 - packet.len);
	return mbufs_make(scene.pool, packet.bytes, packet.len, MBUFS_WHOLE);
}

uint32_t
scene_frame_number(const struct rte_mbuf *m)
{
	uint32_t number;

	memcpy(&number, rte_pktmbuf_mtod_offset(m, char *, RTE_ETHER_HDR_LEN), sizeof(number));
	return number;
}

uint64_t
scene_frame_dst(const struct rte_mbuf *m)
{
	return packet_get48(rte_pktmbuf_mtod(m, const uint8_t *));
}

uint64_t
scene_frame_src(const struct rte_mbuf *m)
{
	return packet_get48(rte_pktmbuf_mtod(m, const uint8_t *) + 6);
}

uint64_t
scene_mac(unsigned int i)
{
	return packet_get48(scene.ports[i]->mac.addr_bytes);
}

void
scene_arrive(unsigned int i, uint16_t q, struct rte_mbuf **pkts, uint16_t n)
{
	struct port_rxq *from = &scene.ports[i]->rxqs[q];
	struct fwd_worker *worker = &scene.workers[from->worker];

	from->stats.packets += n;
	worker->plan->mode->forward(worker, from, pkts, n);
}

void
scene_arrive_one(unsigned int i, struct rte_mbuf *m)
{
	scene_arrive(i, 0, &m, 1);
}

void
scene_say(unsigned int i, uint64_t dst, uint64_t src, uint32_t number)
{
	scene_arrive_one(i, scene_frame(dst, src, number));
}

uint64_t
scene_drops(unsigned int i, enum port_drop reason)
{
	struct port_stats stats;

	port_stats_read(scene.ports[i], &stats);
	return stats.drops[reason];
}

void
scene_forget(unsigned int i)
{
	rte_pktmbuf_free_bulk(scene.fakes[i]->sent, scene.fakes[i]->n_sent);
	scene.fakes[i]->n_sent = 0;
}

void
scene_forget_all(void)
{
	for (unsigned int i = 0; i < scene.n_ports; i++)
		scene_forget(i);
}

void
scene_assert_sent(unsigned int i, unsigned int n, const uint32_t numbers[])
{
	assert_int_equal(scene.fakes[i]->n_sent, n);
	for (unsigned int k = 0; k < n; k++)
		assert_int_equal(scene_frame_number(scene.fakes[i]->sent[k]), numbers[k]);
	scene_forget(i);
}
