/* SPDX-License-Identifier: BSD-3-Clause */
/* rpc_fdb: fdb.list, fdb.ports, fdb.add, fdb.delete, fdb.flush: the forwarding database of the mode switch.
 */
#include <string.h>

#include "dataplane.h"
#include "fdb.h"
#include "fwd.h"
#include "fwd_config.h"
#include "keys.h"
#include "loop.h"
#include "rpc.h"
#include "switch_port.h"

enum { FDB_LIST_MAX = 65536 }; /* stations in one answer */

static const char vlan_help[] = "10; s100 for a service VLAN (qinq=); 0 for the network without VLANs";

/* NULL with diag filled: the mode has none. */
static struct fdb *
fdb_of_mode(struct diag *diag)
{
	const struct fwd_mode *mode = dataplane_fwd()->mode;

	if (strcmp(mode->name, "switch") == 0)
		return dataplane_mode_state();
	diag_set(diag, 0, "start vnicd with --forward-mode switch",
		 "the forwarding mode %s has no forwarding database", mode->name);
	return NULL;
}

/* Of a parameter that may be missing (NULL): *ret_vlan stays as it is. */
static bool
vlan_of(const char *text, int *ret_vlan, struct diag *diag)
{
	uint16_t vlan;

	if (!text)
		return true;
	if (!switch_vlan_parse(text, &vlan)) {
		diag_set(diag, 0, NULL, "vlan: '%.32s' is no VLAN", text);
		diag_hint(diag, "vlan=10 (%s)", vlan_help);
		return false;
	}
	*ret_vlan = vlan;
	return true;
}

static bool
mac_of(const char *text, struct rte_ether_addr *ret_mac, struct diag *diag)
{
	static const struct key row = {.name = "mac", .type = KEY_MAC, .size = sizeof(*ret_mac)};

	return key_parse(&row, ret_mac, "fdb", text, diag) == 0;
}

/* --- fdb.list --- */

struct fdb_listing {
	const struct port *port; /* NULL: all */
	int vlan;                /* -1: all */
	json_t *stations;
	bool more;
};

static bool
list_one(void *arg, const struct fdb_entry *entry)
{
	struct fdb_listing *listing = arg;
	const struct port *port = port_by_id(entry->port_id);
	char mac[RTE_ETHER_ADDR_FMT_SIZE], vlan[SWITCH_VLAN_TEXT];

	if ((listing->port && listing->port != port) || (listing->vlan >= 0 && listing->vlan != entry->vlan))
		return true;
	if (json_array_size(listing->stations) == FDB_LIST_MAX) {
		listing->more = true;
		return false;
	}
	rte_ether_format_addr(mac, sizeof(mac), &entry->mac);
	switch_vlan_print(entry->vlan, vlan);
	json_array_append_new(listing->stations, json_pack("{s:s, s:s, s:s, s:b, s:i}", "mac", mac, "vlan",
							   vlan, "port", port ? port->name : "", "static",
							   (int)entry->fixed, "age", (int)entry->age_s));
	return true;
}

static enum rpc_status
fdb_list_call(const char *const values[], json_t **ret_result, struct diag *diag)
{
	struct fdb_listing listing = {.vlan = -1};
	struct fdb *fdb = fdb_of_mode(diag);

	if (!fdb)
		return RPC_FAILED;
	if (values[0] && !(listing.port = dataplane_port_find(values[0], diag)))
		return RPC_FAILED;
	if (!vlan_of(values[1], &listing.vlan, diag))
		return RPC_INVALID_PARAMS;
	listing.stations = json_array();
	fdb_walk(fdb, (uint32_t)(loop_now_ms() / 1000), list_one, &listing);
	*ret_result = json_pack("{s:i, s:b, s:o}", "known", (int)fdb_count(fdb), "more", (int)listing.more,
				"stations", listing.stations);
	return RPC_OK;
}

static struct rpc_method fdb_list = {
	.name = "fdb.list",
	.help = "the stations that the switch knows (at most 65536 of them; then `more` is true), in no "
		"order: "
		"address, VLAN, port, whether static, and the seconds since it was seen",
	.params = {{"port", "behind this port only", .required = false},
		   {"vlan", vlan_help, .required = false}},
	.call = fdb_list_call,
};
RPC_METHOD_REGISTER(fdb_list)

/* --- fdb.ports --- */

static enum rpc_status
fdb_ports_call(const char *const values[], json_t **ret_result, struct diag *diag)
{
	const struct fdb *fdb = fdb_of_mode(diag);

	if (!fdb)
		return RPC_FAILED;
	*ret_result = json_array();
	for (unsigned int i = 0; i < dataplane_n_ports(); i++) {
		const struct port *port = dataplane_port(i);
		const struct fdb_port *own = fdb_port(fdb, port);
		const bool held = fdb_port_state(fdb, port) & FDB_PORT_HELD;

		json_array_append_new(*ret_result,
				      json_pack("{s:s, s:i, s:o, s:I, s:b, s:I}", "port", port->name,
						"learnt", (int)own->n_learnt, "limit",
						own->limit ? json_integer(own->limit) : json_null(), "moves",
						(json_int_t)own->n_moves, "held", (int)held, "times_held",
						(json_int_t)own->n_held));
	}
	return RPC_OK;
}

static struct rpc_method fdb_ports = {
	.name = "fdb.ports",
	.help = "of each port, how many stations were learnt behind it, how many it may have (null: any "
		"number), how "
		"many moved there from another port, and whether it is held for a loop",
	.call = fdb_ports_call,
};
RPC_METHOD_REGISTER(fdb_ports)

/* --- fdb.add --- */

static enum rpc_status
fdb_add_call(const char *const values[], json_t **ret_result, struct diag *diag)
{
	struct fdb *fdb = fdb_of_mode(diag);
	const struct switch_port *own;
	const struct port *port;
	struct rte_ether_addr mac;
	char text[SWITCH_VLAN_TEXT];
	int vlan;

	if (!fdb || !(port = dataplane_port_find(values[0], diag)))
		return RPC_FAILED;
	if (!mac_of(values[1], &mac, diag))
		return RPC_INVALID_PARAMS;
	own = switch_port_of(port);
	vlan = switch_port_is_plain(own) ? VLAN_PLAIN : own->untagged;
	if (!vlan_of(values[2], &vlan, diag))
		return RPC_INVALID_PARAMS;
	if (vlan == VLAN_NONE) {
		diag_set(diag, 0, "vlan=10", "port %s is a trunk: of which VLAN is the station?", port->name);
		return RPC_FAILED;
	}
	if (!switch_port_has(own, (uint16_t)vlan)) {
		diag_set(diag, 0, "port.show tells which it has", "port %s does not have VLAN %s", port->name,
			 switch_vlan_print((uint16_t)vlan, text));
		return RPC_FAILED;
	}
	if (fdb_fix(fdb, (uint16_t)vlan, &mac, port) < 0) {
		diag_set(diag, 0, "--forward-mode switch,entries=", "the table is full: %u stations",
			 fdb_count(fdb));
		return RPC_FAILED;
	}
	*ret_result = json_pack("{s:s, s:s, s:s, s:b}", "mac", values[1], "vlan",
				switch_vlan_print((uint16_t)vlan, text), "port", port->name, "static", 1);
	return RPC_OK;
}

static struct rpc_method fdb_add = {
	.name = "fdb.add",
	.help = "a static station: behind this port whatever is seen, until it is deleted, or the port is "
		"gone or "
		"out of the VLAN",
	.params = {{"port", "the port's name", .required = true},
		   {"mac", "the station's address", .required = true},
		   {"vlan", "(default: that of the port's untagged frames)", .required = false}},
	.call = fdb_add_call,
};
RPC_METHOD_REGISTER(fdb_add)

/* --- fdb.delete, fdb.flush --- */

static enum rpc_status
fdb_delete_call(const char *const values[], json_t **ret_result, struct diag *diag)
{
	struct fdb *fdb = fdb_of_mode(diag);
	struct rte_ether_addr mac;
	char text[SWITCH_VLAN_TEXT];
	int vlan = VLAN_PLAIN;

	if (!fdb)
		return RPC_FAILED;
	if (!mac_of(values[0], &mac, diag) || !vlan_of(values[1], &vlan, diag))
		return RPC_INVALID_PARAMS;
	if (!fdb_forget_station(fdb, (uint16_t)vlan, &mac)) {
		diag_set(diag, 0, "fdb.list tells what is", "station %.32s is not known in VLAN %s",
			 values[0], switch_vlan_print((uint16_t)vlan, text));
		return RPC_FAILED;
	}
	*ret_result =
		json_pack("{s:s, s:s}", "mac", values[0], "vlan", switch_vlan_print((uint16_t)vlan, text));
	return RPC_OK;
}

static struct rpc_method fdb_delete = {
	.name = "fdb.delete",
	.help = "forget a station, learnt or static; it is learnt again when it is seen",
	.params = {{"mac", "the station's address", .required = true},
		   {"vlan", "(default 0: the network without VLANs)", .required = false}},
	.call = fdb_delete_call,
};
RPC_METHOD_REGISTER(fdb_delete)

static enum rpc_status
fdb_flush_call(const char *const values[], json_t **ret_result, struct diag *diag)
{
	struct fdb *fdb = fdb_of_mode(diag);
	const struct port *port = NULL;
	int vlan = -1;

	if (!fdb || (values[0] && !(port = dataplane_port_find(values[0], diag))))
		return RPC_FAILED;
	if (!vlan_of(values[1], &vlan, diag))
		return RPC_INVALID_PARAMS;
	*ret_result = json_pack("{s:i}", "forgotten", (int)fdb_flush(fdb, port, vlan));
	return RPC_OK;
}

static struct rpc_method fdb_flushing = {
	.name = "fdb.flush",
	.help = "forget the stations that were learnt, not the static ones",
	.params = {{"port", "behind this port only", .required = false},
		   {"vlan", vlan_help, .required = false}},
	.call = fdb_flush_call,
};
RPC_METHOD_REGISTER(fdb_flushing)
