/* SPDX-License-Identifier: BSD-3-Clause */
/* port_queue: the queues of a port, and their counters; of any port, whether it is in the table or not. */
#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "port.h"

static_assert(sizeof(struct port_stats) % sizeof(uint64_t) == 0, "it is added word by word");
static_assert(sizeof(struct port_queue_stats) % sizeof(uint64_t) == 0, "it is read word by word");

int
port_queues_alloc(struct port *port, uint16_t n_queues)
{
	port->rxqs = aligned_alloc(RTE_CACHE_LINE_SIZE, n_queues * sizeof(port->rxqs[0]));
	port->txqs = aligned_alloc(RTE_CACHE_LINE_SIZE, n_queues * sizeof(port->txqs[0]));
	if (!port->rxqs || !port->txqs) {
		port_queues_free(port);
		return -ENOMEM;
	}
	memset(port->rxqs, 0, n_queues * sizeof(port->rxqs[0]));
	memset(port->txqs, 0, n_queues * sizeof(port->txqs[0]));
	port->n_queues = n_queues;
	for (uint16_t i = 0; i < n_queues; i++) {
		struct port_rxq *rxq = &port->rxqs[i];
		struct port_txq *txq = &port->txqs[i];

		rxq->port = txq->port = port;
		rxq->idx = txq->idx = i;
		rxq->burst = PORT_BURST;
		rxq->place = txq->place = (struct port_place){.port = port, .queue_idx = i};
		/* The first plan with the port in it chooses the owners. */
		rxq->worker = txq->worker = UINT16_MAX;
	}
	return 0;
}

void
port_queues_free(struct port *port)
{
	for (uint16_t i = 0; port->rxqs && port->txqs && i < port->n_queues; i++)
		assert(!port->rxqs[i].hooks.first && !port->txqs[i].hooks.first &&
		       "hooks are detached before their port is closed");
	free(port->rxqs);
	free(port->txqs);
	port->rxqs = NULL;
	port->txqs = NULL;
}

uint16_t
port_filter_apply(const struct port_filter *filter, struct port_txq *txq, uint16_t idx,
		  struct rte_mbuf **pkts, uint16_t n)
{
	const uint16_t n_wanted = filter->burst(filter, pkts, n), n_unwanted = (uint16_t)(n - n_wanted);

	if (likely(n_unwanted == 0))
		return n;
	/* Not the owner: an atomic addition, which costs less than handing the frames over. */
	if (likely(txq->worker == idx))
		counter_add(&txq->stats.drops[DROP_FILTERED], n_unwanted);
	else
		atomic_fetch_add_explicit(&txq->filtered_elsewhere, n_unwanted, memory_order_relaxed);
	if (unlikely(atomic_load_explicit(&txq->hooks.drops, memory_order_relaxed)))
		port_hooks_see_drop(&txq->hooks, idx, DROP_FILTERED, pkts + n_wanted, n_unwanted);
	rte_pktmbuf_free_bulk(pkts + n_wanted, n_unwanted);
	return n_wanted;
}

static void
queue_stats_read(const struct port_queue_stats *stats, struct port_queue_stats *ret_stats)
{
	const uint64_t *counter = (const uint64_t *)stats;
	uint64_t *copy = (uint64_t *)ret_stats;

	for (size_t i = 0; i < sizeof(*ret_stats) / sizeof(*copy); i++)
		copy[i] = counter_read(&counter[i]);
}

void
port_rxq_stats_read(const struct port_rxq *rxq, struct port_queue_stats *ret_stats)
{
	queue_stats_read(&rxq->stats, ret_stats);
}

void
port_txq_stats_read(const struct port_txq *txq, struct port_queue_stats *ret_stats)
{
	queue_stats_read(&txq->stats, ret_stats);
	ret_stats->drops[DROP_FILTERED] +=
		atomic_load_explicit(&txq->filtered_elsewhere, memory_order_relaxed);
}

void
port_pair_stats_read(const struct port *port, uint16_t idx, struct port_stats *ret_stats)
{
	struct port_queue_stats rx, tx;

	port_rxq_stats_read(&port->rxqs[idx], &rx);
	port_txq_stats_read(&port->txqs[idx], &tx);
	*ret_stats = (struct port_stats){
		.rx_packets = rx.packets,
		.rx_bytes = rx.bytes,
		.tx_packets = tx.packets,
		.tx_bytes = tx.bytes,
		.copies = rx.copies + tx.copies,
		.consumed = rx.consumed,
		.waits = tx.waits,
		.waits_helped = tx.waits_helped,
	};
	for (unsigned int i = 0; i < DROP_N; i++)
		ret_stats->drops[i] = rx.drops[i] + tx.drops[i];
}

void
port_stats_add(struct port_stats *sum, const struct port_stats *stats)
{
	const uint64_t *counter = (const uint64_t *)stats;
	uint64_t *total = (uint64_t *)sum;

	for (size_t i = 0; i < sizeof(*sum) / sizeof(*total); i++)
		total[i] += counter[i];
}

void
port_stats_read(const struct port *port, struct port_stats *ret_stats)
{
	struct port_stats stats;

	memset(ret_stats, 0, sizeof(*ret_stats));
	for (uint16_t q = 0; q < port->n_queues; q++) {
		port_pair_stats_read(port, q, &stats);
		port_stats_add(ret_stats, &stats);
	}
}
