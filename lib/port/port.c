/* SPDX-License-Identifier: BSD-3-Clause */
/* port: the list of kinds and the table of open ports. */
#include "port.h"

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

static_assert(sizeof(struct port_stats) % sizeof(uint64_t) == 0, "it is added word by word");
static_assert(sizeof(struct port_queue_stats) % sizeof(uint64_t) == 0, "it is read word by word");

struct port_env port_env;

static uint16_t
port_none_rx(struct port_rxq *rxq, struct rte_mbuf **pkts, uint16_t n)
{
	return 0;
}

struct port_rxq port_rxq_none = {.rx = port_none_rx, .idx = UINT16_MAX, .worker = UINT16_MAX};
struct port_txq port_txq_none = {.idx = UINT16_MAX, .worker = UINT16_MAX};

static struct port_kind *port_kind_list;

/* Control thread only. The resource is kept here because a port does not outlive its claim. */
static struct port_slot {
	struct port *port;
	char *resource; /* never empty; NULL: the port claims nothing */
} port_table[PORT_MAX];
static unsigned int port_table_count;

void
port_kind_register(struct port_kind *kind)
{
	list_append(port_kind_list, kind);
}

struct port_kind *
port_kinds(void)
{
	return port_kind_list;
}

static int
port_find_slot(const struct port_config *config, unsigned int *ret_id, struct diag *diag)
{
	unsigned int id = PORT_MAX;

	for (unsigned int i = 0; i < PORT_MAX; i++) {
		const struct port_slot *slot = &port_table[i];

		if (!slot->port) {
			if (id == PORT_MAX)
				id = i;
			continue;
		}
		if (strcmp(slot->port->name, config->name) == 0) {
			diag_set(diag, -EEXIST, NULL, "port %s: a port of this name is open", config->name);
			diag_hint(diag, "choose another name, or remove port %s first", config->name);
			return -EEXIST;
		}
		if (slot->resource && strcmp(slot->resource, config->resource) == 0) {
			int word = (int)strcspn(slot->resource, " ");

			diag_set(diag, -EEXIST, NULL, "port %s: two ports on one %.*s: port %s has %s",
				 config->name, word, slot->resource, slot->port->name, slot->resource);
			diag_hint(diag, "give port %s a %.*s of its own, or remove port %s first",
				  config->name, word, slot->resource, slot->port->name);
			return -EEXIST;
		}
	}
	if (id == PORT_MAX) {
		diag_set(diag, -ENOSPC, NULL, "port %s: %d ports are open", config->name, PORT_MAX);
		diag_hint(diag, "remove a port first");
		return -ENOSPC;
	}
	*ret_id = id;
	return 0;
}

int
port_open(const struct port_config *config, struct port **ret_port, struct diag *diag)
{
	char *resource = NULL;
	struct port *port;
	unsigned int id;
	int ret;

	ret = port_find_slot(config, &id, diag);
	if (ret < 0)
		return ret;
	port = calloc(1, sizeof(*port));
	if (config->resource[0])
		resource = strdup(config->resource);
	if (!port || (config->resource[0] && !resource)) {
		ret = diag_set(diag, -ENOMEM, NULL, "port %s: no memory", config->name);
		goto fail;
	}
	memcpy(port->name, config->name, sizeof(port->name));
	port->id = (uint16_t)id;
	port->kind = config->kind;
	atomic_init(&port->n_active, 1);
	ret = config->kind->open(port, config, diag);
	if (ret < 0)
		goto fail;
	if (atomic_load_explicit(&port->n_active, memory_order_relaxed) == 0)
		atomic_store_explicit(&port->n_active, 1, memory_order_relaxed);
	port_table[id] = (struct port_slot){.port = port, .resource = resource};
	port_table_count++;
	*ret_port = port;
	return 0;

fail:
	free(resource);
	free(port);
	return ret;
}

void
port_close(struct port *port)
{
	struct port_slot *slot;

	if (!port)
		return;
	slot = &port_table[port->id];
	port->kind->close(port);
	free(slot->resource);
	*slot = (struct port_slot){0};
	port_table_count--;
	free(port);
}

struct port *
port_by_id(unsigned int id)
{
	return id < PORT_MAX ? port_table[id].port : NULL;
}

struct port *
port_by_name(const char *name)
{
	for (unsigned int i = 0; i < PORT_MAX; i++)
		if (port_table[i].port && strcmp(port_table[i].port->name, name) == 0)
			return port_table[i].port;
	return NULL;
}

unsigned int
port_count(void)
{
	return port_table_count;
}

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
		rxq->place = txq->place = (struct port_place){.port = port, .queue_idx = i};
		/* The first plan with the port in it chooses the owners. */
		rxq->worker = txq->worker = UINT16_MAX;
	}
	return 0;
}

void
port_queues_free(struct port *port)
{
	free(port->rxqs);
	free(port->txqs);
	port->rxqs = NULL;
	port->txqs = NULL;
}

void
port_queue_stats_read(const struct port_queue_stats *stats, struct port_queue_stats *ret_stats)
{
	const uint64_t *counter = (const uint64_t *)stats;
	uint64_t *copy = (uint64_t *)ret_stats;

	for (size_t i = 0; i < sizeof(*ret_stats) / sizeof(*copy); i++)
		copy[i] = counter_read(&counter[i]);
}

void
port_pair_stats_read(const struct port *port, uint16_t idx, struct port_stats *ret_stats)
{
	struct port_queue_stats rx, tx;

	port_queue_stats_read(&port->rxqs[idx].stats, &rx);
	port_queue_stats_read(&port->txqs[idx].stats, &tx);
	*ret_stats = (struct port_stats){
		.rx_packets = rx.packets,
		.rx_bytes = rx.bytes,
		.tx_packets = tx.packets,
		.tx_bytes = tx.bytes,
		.copies = rx.copies + tx.copies,
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
