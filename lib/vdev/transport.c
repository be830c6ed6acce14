/* SPDX-License-Identifier: BSD-3-Clause */
#include "transport.h"

#include <stddef.h>
#include <string.h>

#include "list.h"

static struct transport_ops *transports;

void
transport_register(struct transport_ops *ops)
{
	list_append(transports, ops);
}

const struct transport_ops *
transport_by_name(const char *name)
{
	struct transport_ops *ops;

	list_for_each(ops, transports)
		if (strcmp(ops->name, name) == 0)
			return ops;
	return NULL;
}
