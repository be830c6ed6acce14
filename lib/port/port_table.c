/* SPDX-License-Identifier: BSD-3-Clause */
/* port_table: the list of kinds and the table of open ports; contract in port.h. */
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "ctx.h"
#include "policer.h"
#include "quiesce.h"
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

static int
port_make_of_mode(const struct port *port, const struct port_config *config, const void *mode_args,
		  void **ret_of_mode)
{
	*ret_of_mode = NULL;
	if (!config->mode_keys || !config->mode_keys->make)
		return 0;
	return config->mode_keys->make(port, mode_args, ret_of_mode);
}

int
port_open(struct port_config *config, struct port **ret_port, struct diag *diag)
{
	void *of_mode = NULL;
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
	ret = port_make_of_mode(port, config, config->mode_args, &of_mode);
	if (ret == 0)
		ret = policer_attach(port, &config->police);
	if (ret < 0) {
		port_no_memory(config->name, diag);
		free(of_mode);
		port->kind->close(port);
		goto fail;
	}
	atomic_init(&port->of_mode, of_mode);
	if (atomic_load_explicit(&port->n_active, memory_order_relaxed) == 0)
		atomic_store_explicit(&port->n_active, 1, memory_order_relaxed);
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

static int
port_change(struct port *port, struct port_config_change *change, struct diag *diag)
{
	const void *was = atomic_load_explicit(&port->of_mode, memory_order_relaxed);
	void *of_mode = NULL;
	int ret = 0;

	if (change->mode_args)
		ret = port_make_of_mode(port, port->config, change->mode_args, &of_mode);
	/* New ones begin with full buckets. */
	if (ret == 0 && !policer_config_equal(&change->police, &port->config->police))
		ret = policer_replace(port, &change->police);
	if (ret < 0) {
		free(of_mode);
		port_config_change_free(port->config, change);
		return port_no_memory(port->name, diag);
	}
	if (change->mode_args) {
		/* Release: pairs with the acquire of the mode's workers. */
		atomic_store_explicit(&port->of_mode, of_mode, memory_order_release);
		quiesce_wait(&port->ctx->quiesce);
		free((void *)(uintptr_t)was);
	}
	port_config_take(port->config, change);
	return 0;
}

int
port_set(struct port *port, const char *pairs, struct diag *diag)
{
	struct port_config_change change;
	int ret = port_config_change(port->config, pairs, &change, diag);

	return ret < 0 ? ret : port_change(port, &change, diag);
}

int
port_become(struct port *port, struct port_config *as, struct diag *diag)
{
	struct port_config_change change;

	if (!port_config_change_to(port->config, as, &change))
		return 1;
	return port_change(port, &change, diag);
}

void
port_close(struct port *port)
{
	if (!port)
		return;
	policer_detach(port);
	port->kind->close(port);
	free((void *)(uintptr_t)atomic_load_explicit(&port->of_mode, memory_order_relaxed));
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
