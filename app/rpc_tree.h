/* SPDX-License-Identifier: BSD-3-Clause */
/* rpc_tree: what something shows of itself (show.h), as JSON. */
#ifndef VNICD_RPC_TREE_H
#define VNICD_RPC_TREE_H

#include <jansson.h>

#include "show.h"

enum { RPC_TREE_DEPTH_MAX = 8 };

struct rpc_tree {
	struct show show; /* to be given to who shows */
	/* Groups under way are on a stack, the last one takes what comes. */
	json_t *open[RPC_TREE_DEPTH_MAX];
	unsigned int depth;
};

/* What is shown goes into `object`, which stays the caller's. */
void rpc_tree_open(struct rpc_tree *tree, json_t *object);

#endif
