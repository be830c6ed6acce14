/* SPDX-License-Identifier: BSD-3-Clause */
/* rpc_stats: stats.get, stats.describe. */
#include <errno.h>

#include "dataplane.h"
#include "nearest.h"
#include "port.h"
#include "rpc.h"
#include "stats_output.h"

static enum rpc_status
stats_get_call(const char *const values[], json_t **ret_result, struct diag *diag)
{
	struct port *port = NULL;

	if (values[0]) {
		port = port_by_name(values[0]);
		if (!port) {
			diag_set(diag, -ENOENT, "port.list shows all ports", "no port \"%.64s\"", values[0]);
			return RPC_FAILED;
		}
	}
	*ret_result = stats_json(port);
	return RPC_OK;
}

static struct rpc_method stats_get = {
	.name = "stats.get",
	.help = "counters of all ports, or of one",
	.params = {{"name", "the port's name (default: all)", .required = false}},
	.call = stats_get_call,
};
RPC_METHOD_REGISTER(stats_get)

static enum rpc_status
stats_describe_call(const char *const values[], json_t **ret_result, struct diag *diag)
{
	*ret_result = stats_describe_json();
	return RPC_OK;
}

static struct rpc_method stats_describe = {
	.name = "stats.describe",
	.help = "what each counter and each drop reason means",
	.call = stats_describe_call,
};
RPC_METHOD_REGISTER(stats_describe)
