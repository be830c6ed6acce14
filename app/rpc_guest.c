/* SPDX-License-Identifier: BSD-3-Clause */
/* rpc_guest: guest.show. */
#include "dataplane.h"
#include "nearest.h"
#include "port.h"
#include "rpc.h"
#include "rpc_tree.h"

static enum rpc_status
no_such_guest(const char *name, struct diag *diag)
{
	const char *names[PORT_MAX];
	unsigned int n = 0;

	for (unsigned int i = 0; i < dataplane_n_ports(); i++)
		if (dataplane_port(i)->kind->show)
			names[n++] = dataplane_port(i)->name;
	diag_set(diag, 0, "there are no guests; port.add makes a port for one", "no guest \"%.64s\"", name);
	if (n)
		diag_hint(diag, "did you mean \"%s\"? (port.list shows all ports)",
			  nearest_word(name, names, n));
	return RPC_FAILED;
}

static enum rpc_status
guest_show_call(const char *const values[], json_t **ret_result, struct diag *diag)
{
	const struct port *port = port_by_name(values[0]);
	struct rpc_tree tree;

	if (!port || !port->kind->show)
		return no_such_guest(values[0], diag);
	*ret_result = json_pack("{s:s}", "name", port->name);
	rpc_tree_open(&tree, *ret_result);
	port->kind->show(port, &tree.show);
	return RPC_OK;
}

static struct rpc_method guest_show = {
	.name = "guest.show",
	.help = "what a guest's driver has negotiated and set, and its link",
	.params = {{"name", "the port's name", .required = true}},
	.call = guest_show_call,
};
RPC_METHOD_REGISTER(guest_show)
