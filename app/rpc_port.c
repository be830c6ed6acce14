/* SPDX-License-Identifier: BSD-3-Clause */
/* rpc_port: port.add, port.remove, port.list. */
#include <stdatomic.h>
#include <stdio.h>

#include "dataplane.h"
#include "port.h"
#include "rpc.h"

static json_t *
port_object(const struct port *port)
{
	json_t *workers = json_array();
	char mac[RTE_ETHER_ADDR_FMT_SIZE];

	rte_ether_format_addr(mac, sizeof(mac), &port->mac);
	/* The owner of each queue pair, in order. */
	for (unsigned int i = 0; i < port->n_queues; i++)
		json_array_append_new(workers, json_integer(port->queues[i].worker));
	return json_pack("{s:s, s:s, s:s, s:i, s:i, s:s, s:o}", "name", port->name, "kind", port->kind->name,
			 "describe", port->describe, "queues", (int)port->n_queues, "active_queues",
			 (int)atomic_load_explicit(&port->n_active, memory_order_relaxed), "mac", mac,
			 "workers", workers);
}

static enum rpc_status
port_add_call(const char *const values[], json_t **ret_result, struct diag *diag)
{
	struct port_config config;
	struct port *port;
	int ret;

	if (port_config_parse(&config, values[0], diag) < 0)
		return RPC_FAILED;
	ret = dataplane_port_add(&config, &port, diag);
	port_config_free(&config);
	if (ret < 0)
		return RPC_FAILED;
	*ret_result = port_object(port);
	return RPC_OK;
}

static struct rpc_method port_add = {
	.name = "port.add",
	.help = "add a port while the others forward; returns it",
	.params = {{"config", "as after --port: NAME=KIND[,key=value]...", .required = true}},
	.call = port_add_call,
};
RPC_METHOD_REGISTER(port_add)

static enum rpc_status
port_remove_call(const char *const values[], json_t **ret_result, struct diag *diag)
{
	if (dataplane_port_remove(values[0], diag) < 0)
		return RPC_FAILED;
	*ret_result = json_pack("{s:s}", "removed", values[0]);
	return RPC_OK;
}

static struct rpc_method port_remove = {
	.name = "port.remove",
	.help = "remove a port while the others forward",
	.params = {{"name", "the port's name", .required = true}},
	.call = port_remove_call,
};
RPC_METHOD_REGISTER(port_remove)

static enum rpc_status
port_list_call(const char *const values[], json_t **ret_result, struct diag *diag)
{
	json_t *list = json_array();

	for (unsigned int i = 0; i < dataplane_n_ports(); i++)
		json_array_append_new(list, port_object(dataplane_port(i)));
	*ret_result = list;
	return RPC_OK;
}

static struct rpc_method port_list = {
	.name = "port.list",
	.help = "all ports, in the order they were added",
	.call = port_list_call,
};
RPC_METHOD_REGISTER(port_list)
