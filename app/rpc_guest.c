/* SPDX-License-Identifier: BSD-3-Clause */
/* rpc_guest: guest.show. */
#include <assert.h>

#include "dataplane.h"
#include "nearest.h"
#include "port.h"
#include "rpc.h"
#include "show.h"

/* What a port shows becomes JSON; groups under way are on a stack, the last one takes what comes. */
enum { TREE_DEPTH_MAX = 8 };

struct tree {
	json_t *open[TREE_DEPTH_MAX];
	unsigned int depth;
};

static void
tree_put(struct tree *tree, const char *key, json_t *value)
{
	json_t *into = tree->open[tree->depth];

	if (json_is_array(into))
		json_array_append_new(into, value);
	else
		json_object_set_new(into, key, value);
}

static void
tree_text(void *arg, const char *key, const char *value)
{
	tree_put(arg, key, json_string(value));
}

static void
tree_number(void *arg, const char *key, int64_t value)
{
	tree_put(arg, key, json_integer(value));
}

static void
tree_flag(void *arg, const char *key, bool value)
{
	tree_put(arg, key, json_boolean(value));
}

static void
tree_none(void *arg, const char *key)
{
	tree_put(arg, key, json_null());
}

static void
tree_open(void *arg, const char *key, enum show_group group)
{
	struct tree *tree = arg;
	json_t *value = group == SHOW_LIST ? json_array() : json_object();

	tree_put(tree, key, value);
	assert(tree->depth + 1 < TREE_DEPTH_MAX && "ports show no more levels than this");
	tree->open[++tree->depth] = value;
}

static void
tree_close(void *arg)
{
	struct tree *tree = arg;

	tree->depth--;
}

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
	struct tree tree = {.depth = 0};
	const struct show show = {
		.arg = &tree,
		.text = tree_text,
		.number = tree_number,
		.flag = tree_flag,
		.none = tree_none,
		.open = tree_open,
		.close = tree_close,
	};

	if (!port || !port->kind->show)
		return no_such_guest(values[0], diag);
	tree.open[0] = json_pack("{s:s}", "name", port->name);
	port->kind->show(port, &show);
	*ret_result = tree.open[0];
	return RPC_OK;
}

static struct rpc_method guest_show = {
	.name = "guest.show",
	.help = "what a guest's driver has negotiated and set, and its link",
	.params = {{"name", "the port's name", .required = true}},
	.call = guest_show_call,
};
RPC_METHOD_REGISTER(guest_show)
