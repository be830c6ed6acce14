/* SPDX-License-Identifier: BSD-3-Clause */
/* port_table: the list of kinds and the table of open ports; contract in port.h. */
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "policer.h"
#include "port.h"

struct port_env port_env;

static uint16_t
port_none_rx(struct port_rxq *rxq, struct rte_mbuf **pkts, uint16_t n)
{
	return 0;
}

struct port_rxq port_rxq_none = {.rx = port_none_rx, .idx = UINT16_MAX, .worker = UINT16_MAX};
struct port_txq port_txq_none = {.idx = UINT16_MAX, .worker = UINT16_MAX};

static struct port_kind *port_kind_list;

/* Control thread only. */
static struct port *port_table[PORT_MAX];
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

int
port_no_memory(const char *name, struct diag *diag)
{
	return diag_no_memory(diag, "port %s: no memory", name);
}

static int
port_find_slot(const struct port_config *config, unsigned int *ret_id, struct diag *diag)
{
	unsigned int id = PORT_MAX;

	for (unsigned int i = 0; i < PORT_MAX; i++) {
		const struct port *port = port_table[i];

		if (!port) {
			if (id == PORT_MAX)
				id = i;
			continue;
		}
		if (strcmp(port->name, config->name) == 0) {
			diag_set(diag, -EEXIST, NULL, "port %s: a port of this name is open", config->name);
			diag_hint(diag, "choose another name, or remove port %s first", config->name);
			return -EEXIST;
		}
		/* An empty one is no claim. */
		if (config->resource[0] && strcmp(port->config->resource, config->resource) == 0) {
			int word = (int)strcspn(config->resource, " ");

			diag_set(diag, -EEXIST, NULL, "port %s: two ports on one %.*s: port %s has %s",
				 config->name, word, config->resource, port->name, config->resource);
			diag_hint(diag, "give port %s a %.*s of its own, or remove port %s first",
				  config->name, word, config->resource, port->name);
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
port_open(struct port_config *config, struct port **ret_port, struct diag *diag)
{
	struct port *port;
	unsigned int id;
	int ret;

	ret = port_find_slot(config, &id, diag);
	if (ret < 0)
		return ret;
	port = calloc(1, sizeof(*port));
	if (port)
		port->config = malloc(sizeof(*port->config));
	if (!port || !port->config) {
		ret = port_no_memory(config->name, diag);
		goto fail;
	}
	memcpy(port->name, config->name, sizeof(port->name));
	port->id = (uint16_t)id;
	port->kind = config->kind;
	port->ctx = port_env.ctx;
	atomic_init(&port->n_active, 1);
	ret = config->kind->open(port, config, diag);
	if (ret < 0)
		goto fail;
	ret = policer_attach(port, &config->police);
	if (ret < 0) {
		port_no_memory(config->name, diag);
		port->kind->close(port);
		goto fail;
	}
	if (atomic_load_explicit(&port->n_active, memory_order_relaxed) == 0)
		atomic_store_explicit(&port->n_active, 1, memory_order_relaxed);
	if (config->mode_keys && config->mode_keys->apply)
		config->mode_keys->apply(port, config->mode_args);
	*port->config = *config;
	memset(config, 0, sizeof(*config));
	port_table[id] = port;
	port_table_count++;
	*ret_port = port;
	return 0;

fail:
	if (port)
		free(port->config);
	free(port);
	return ret;
}

int
port_set(struct port *port, const char *pairs, struct diag *diag)
{
	struct policer_config police;
	uint64_t given;
	int ret = port_config_change(port->config, pairs, &police, &given, diag);

	if (ret < 0)
		return ret;
	if (policer_replace(port, &police) < 0)
		return port_no_memory(port->name, diag);
	port->config->police = police;
	port->config->given[PORT_CONFIG_COMMON] = given;
	return 0;
}

void
port_close(struct port *port)
{
	if (!port)
		return;
	policer_detach(port);
	port->kind->close(port);
	port_table[port->id] = NULL;
	port_table_count--;
	port_config_free(port->config);
	free(port->config);
	free(port);
}

struct port *
port_by_id(unsigned int id)
{
	return id < PORT_MAX ? port_table[id] : NULL;
}

struct port *
port_by_name(const char *name)
{
	for (unsigned int i = 0; i < PORT_MAX; i++)
		if (port_table[i] && strcmp(port_table[i]->name, name) == 0)
			return port_table[i];
	return NULL;
}

unsigned int
port_count(void)
{
	return port_table_count;
}
