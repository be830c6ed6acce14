/* SPDX-License-Identifier: BSD-3-Clause */
#include "rpc_tree.h"

#include <assert.h>

static void
tree_put(struct rpc_tree *tree, const char *key, json_t *value)
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
	struct rpc_tree *tree = arg;
	json_t *value = group == SHOW_LIST ? json_array() : json_object();

	tree_put(tree, key, value);
	assert(tree->depth + 1 < RPC_TREE_DEPTH_MAX && "ports show no more levels than this");
	tree->open[++tree->depth] = value;
}

static void
tree_close(void *arg)
{
	struct rpc_tree *tree = arg;

	tree->depth--;
}

void
rpc_tree_open(struct rpc_tree *tree, json_t *object)
{
	*tree = (struct rpc_tree){
		.show =
			{
				.arg = tree,
				.text = tree_text,
				.number = tree_number,
				.flag = tree_flag,
				.none = tree_none,
				.open = tree_open,
				.close = tree_close,
			},
		.open = {object},
	};
}
