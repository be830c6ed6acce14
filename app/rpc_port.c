/* SPDX-License-Identifier: BSD-3-Clause */
/* rpc_port: port.add, port.remove, port.list, port.show, port.set, port.announce. */
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include <rte_common.h>

#include "dataplane.h"
#include "nearest.h"
#include "port.h"
#include "request.h"
#include "rpc.h"
#include "rpc_tree.h"

/* What frames to the port may leave undone; all else is done before, in software. */
static json_t *
capabilities_json(const struct port *port)
{
	const uint32_t set = port->kind->capabilities ? port->kind->capabilities(port) : OFFLOADS_NONE;
	json_t *list = json_array();

	for (unsigned int i = 0; i < OFFLOAD_N; i++)
		if (set >> i & 1)
			json_array_append_new(list, json_string(offload_names[i]));
	return list;
}

/* The line that it was made from. */
static json_t *
config_json(const struct port *port)
{
	char line[KEYVAL_LINE_MAX];

	port_config_print(port->config, line, sizeof(line));
	return json_string(line);
}

/* Who is at the other end; null: nothing connects to a port of this kind. */
static void
peer_json(const struct port *port, json_t **ret_connected, json_t **ret_mac)
{
	char mac[RTE_ETHER_ADDR_FMT_SIZE];
	struct port_peer peer;

	*ret_connected = *ret_mac = json_null();
	if (!port->kind->peer)
		return;
	port->kind->peer(port, &peer);
	*ret_connected = json_boolean(peer.connected);
	if (!peer.has_mac)
		return;
	rte_ether_format_addr(mac, sizeof(mac), &peer.mac);
	*ret_mac = json_string(mac);
}

static json_t *
port_object(const struct port *port)
{
	json_t *workers = json_array(), *link = json_null(), *connected, *guest_mac;
	struct port_link state;
	char mac[RTE_ETHER_ADDR_FMT_SIZE];

	rte_ether_format_addr(mac, sizeof(mac), &port->mac);
	peer_json(port, &connected, &guest_mac);
	/* The owner of each queue pair, in order. */
	for (unsigned int i = 0; i < port->n_queues; i++)
		json_array_append_new(workers, json_integer(port->rxqs[i].worker));
	if (port->kind->link) {
		port->kind->link(port, &state);
		link = json_string(state.up ? "up" : "down");
	}
	return json_pack("{s:s, s:s, s:s, s:i, s:i, s:s, s:o, s:o, s:o, s:o, s:o, s:o}", "name", port->name,
			 "kind", port->kind->name, "describe", port->describe, "queues", (int)port->n_queues,
			 "active_queues", (int)atomic_load_explicit(&port->n_active, memory_order_relaxed),
			 "mac", mac, "connected", connected, "guest_mac", guest_mac, "link", link, "workers",
			 workers, "capabilities", capabilities_json(port), "config", config_json(port));
}

static enum rpc_status
port_add_call(const char *const values[], json_t **ret_result, struct diag *diag)
{
	struct port_config config;
	struct port *port;
	int ret;

	if (port_config_parse(&config, values[0], diag) < 0)
		return RPC_FAILED;
	ret = port_config_check_open(&config, diag);
	if (ret == 0)
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
	.help = "all ports, in the order they were added; of one that something connects to, whether it is "
		"connected, and "
		"the guest's own address; link is the cable that it sees, or would see (null: not known)",
	.call = port_list_call,
};
RPC_METHOD_REGISTER(port_list)

static enum rpc_status
port_show_call(const char *const values[], json_t **ret_result, struct diag *diag)
{
	const struct port *port = dataplane_port_find(values[0], diag);
	json_t *options = json_object();
	struct rpc_tree tree;

	if (!port) {
		json_decref(options);
		return RPC_FAILED;
	}
	*ret_result = port_object(port);
	rpc_tree_open(&tree, options);
	port_config_show(port->config, &tree.show);
	json_object_del(options, "name");
	json_object_del(options, "kind");
	json_object_set_new(*ret_result, "options", options);
	return RPC_OK;
}

static struct rpc_method port_show = {
	.name = "port.show",
	.help = "one port, as port.list has it, and its options: what each key of its line is",
	.params = {{"name", "the port's name", .required = true}},
	.call = port_show_call,
};
RPC_METHOD_REGISTER(port_show)

static enum rpc_status
port_cannot(const struct port *port, const char *what, struct diag *diag)
{
	diag_set(diag, 0, "only the port of a guest can", "port %s: kind %s can't %s", port->name,
		 port->kind->name, what);
	return RPC_FAILED;
}

static enum rpc_status
port_set_call(const char *const values[], json_t **ret_result, struct diag *diag)
{
	static const char *const words[] = {[PORT_LINK_DOWN] = "down", [PORT_LINK_UP] = "up"};
	struct port *port = dataplane_port_find(values[0], diag);
	int ret;

	if (!port)
		return RPC_FAILED;
	if (!values[1] == !values[2]) {
		diag_set(diag, 0, "link=up, link=down, or options=key=value[,key=value]...",
			 "port.set takes link or options");
		return RPC_INVALID_PARAMS;
	}
	if (values[2]) {
		if (dataplane_port_set(port, values[2], diag) < 0)
			return RPC_FAILED;
		*ret_result = port_object(port);
		json_object_set_new(*ret_result, "notice", json_null());
		return RPC_OK;
	}
	if (!port->kind->set_link)
		return port_cannot(port, "have its link set", diag);
	for (unsigned int i = 0; i < RTE_DIM(words); i++) {
		if (strcmp(values[1], words[i]) != 0)
			continue;
		ret = port->kind->set_link(port, (enum port_link_request)i, diag);
		if (ret < 0)
			return RPC_FAILED;
		*ret_result = port_object(port);
		json_object_set_new(*ret_result, "notice", ret > 0 ? json_string(diag->cause) : json_null());
		return RPC_OK;
	}
	diag_set(diag, 0, NULL, "link: '%.64s' is neither up nor down", values[1]);
	diag_hint(diag, "link=%s", nearest_word(values[1], words, RTE_DIM(words)));
	return RPC_INVALID_PARAMS;
}

static struct rpc_method port_setting = {
	.name = "port.set",
	.help = "take a guest's link down, or up as far as its uplink lets it; returns the port, and in "
		"`notice` "
		"what keeps the guest's driver from learning of it; or change options of any port",
	.params = {{"name", "the port's name", .required = true},
		   {"link", "up|down", .required = false},
		   {"options", "key=value[,key=value]... of police-*, and of what the switch gives to ports",
		    .required = false}},
	.call = port_set_call,
};
RPC_METHOD_REGISTER(port_setting)

static enum rpc_status
port_announce_call(const char *const values[], json_t **ret_result, struct diag *diag)
{
	struct port *port = dataplane_port_find(values[0], diag);

	if (!port)
		return RPC_FAILED;
	if (!port->kind->announce)
		return port_cannot(port, "be announced", diag);
	if (port->kind->announce(port, diag) < 0)
		return RPC_FAILED;
	*ret_result = json_pack("{s:s}", "announced", port->name);
	return RPC_OK;
}

static struct rpc_method port_announce = {
	.name = "port.announce",
	.help = "make the network learn where a guest is: its driver is asked to, or a RARP goes out in its "
		"name",
	.params = {{"name", "the port's name", .required = true}},
	.call = port_announce_call,
};
RPC_METHOD_REGISTER(port_announce)
