/* SPDX-License-Identifier: BSD-3-Clause */
/* rpc_system: system.version, system.info and rpc.list. */
#include <unistd.h>

#include <rte_lcore.h>
#include <rte_mempool.h>
#include <rte_version.h>

#include "dataplane.h"
#include "eal.h"
#include "fwd.h"
#include "fwd_config.h"
#include "isa.h"
#include "list.h"
#include "pools.h"
#include "port.h"
#include "rpc.h"

/* A worker that merely lost its CPU for a moment moves. */
enum { WORKER_STILL_MS = 200 };

/* Where the lcore may run, almost always one CPU. (rte_lcore_to_cpu_id() knows nothing of --lcores.) */
static json_t *
cpus_json(unsigned int lcore)
{
	rte_cpuset_t cpus = rte_lcore_cpuset(lcore);
	json_t *list = json_array();

	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET(cpu, &cpus))
			json_array_append_new(list, json_integer(cpu));
	return list;
}

/* null: it moves. */
static json_t *
still_json(const struct dataplane_worker_info *info)
{
	if (info->still_ms < WORKER_STILL_MS)
		return json_null();
	if (!info->where)
		return json_pack("{s:f, s:n, s:n}", "seconds", (double)info->still_ms / 1000, "port",
				 "queue");
	return json_pack("{s:f, s:s, s:i}", "seconds", (double)info->still_ms / 1000, "port",
			 info->where->port->name, "queue", (int)info->where->queue_idx);
}

static json_t *
worker_json(unsigned int idx)
{
	const struct counter_class_info *class = &counter_classes[COUNTERS_WORKER];
	struct dataplane_worker_info info;
	const uint64_t *values = (const uint64_t *)&info.stats;
	json_t *worker;

	dataplane_worker_info(idx, &info);
	worker = json_pack("{s:i, s:i, s:o, s:i}", "idx", (int)idx, "lcore", (int)info.lcore, "cpus",
			   cpus_json(info.lcore), "queues", (int)info.n_queues);
	for (unsigned int i = 0; i < class->n; i++)
		json_object_set_new(worker, class->rows[i].name, json_integer((json_int_t)values[i]));
	json_object_set_new(worker, "stands_still", still_json(&info));
	return worker;
}

static json_t *
workers_json(void)
{
	json_t *list = json_array();

	for (unsigned int i = 0; i < dataplane_n_workers(); i++)
		json_array_append_new(list, worker_json(i));
	return list;
}

/* Of ports that are gone, with buffers that somebody still has. */
static json_t *
pools_waiting_json(void)
{
	json_t *list = json_array();
	struct pools_waiting_info info;

	for (unsigned int i = 0; pools_waiting(dataplane_ctx(), i, &info); i++)
		json_array_append_new(list, json_pack("{s:s, s:i, s:i}", "port", info.owner, "size",
						      (int)info.size, "out", (int)info.out));
	return list;
}

static json_t *
api_json(void)
{
	return json_pack("{s:i, s:i}", "major", (int)RPC_API_MAJOR, "minor", (int)RPC_API_MINOR);
}

static enum rpc_status
system_version_call(const char *const values[], json_t **ret_result, struct diag *diag)
{
	*ret_result = json_pack("{s:s, s:o}", "program", VNICD_VERSION, "api", api_json());
	return RPC_OK;
}

static struct rpc_method system_version = {
	.name = "system.version",
	.help = "version of the program and of these methods (api): major is another one when a client has "
		"to be "
		"changed, minor when there is more",
	.call = system_version_call,
};
RPC_METHOD_REGISTER(system_version)

static enum rpc_status
system_info_call(const char *const values[], json_t **ret_result, struct diag *diag)
{
	struct rte_mempool *pool = dataplane_pool();
	char forward_mode[KEY_TEXT_MAX];

	fwd_config_print(dataplane_fwd(), forward_mode, sizeof(forward_mode));
	*ret_result = json_pack(
		"{s:s, s:o, s:s, s:s, s:i, s:s, s:s, s:s, s:i, s:o, s:s, s:{s:i, s:i, s:o}, s:o}", "version",
		VNICD_VERSION, "api", api_json(), "dpdk", rte_version(), "isa", isa_name(isa_select()), "pid",
		(int)getpid(), "mode", dataplane_fwd()->mode->name, "forward_mode", forward_mode,
		"control_socket", rpc_path(), "main_lcore", (int)rte_get_main_lcore(), "main_cpus",
		cpus_json(rte_get_main_lcore()), "picked", eal_describe(), "pool", "size", (int)pool->size,
		"in_use", (int)rte_mempool_in_use_count(pool), "waiting", pools_waiting_json(), "workers",
		workers_json());
	return RPC_OK;
}

static struct rpc_method system_info = {
	.name = "system.info",
	.help = "version, forwarding mode, ISA variant, lcores, packet buffers, iterations of the workers' "
		"poll loops",
	.call = system_info_call,
};
RPC_METHOD_REGISTER(system_info)

static json_t *
params_json(const struct rpc_method *method)
{
	json_t *params = json_object();

	for (const struct rpc_param *param = method->params; param->name; param++)
		json_object_set_new(
			params, param->name,
			json_pack("{s:s, s:b}", "help", param->help, "required", (int)param->required));
	return params;
}

static enum rpc_status
rpc_list_call(const char *const values[], json_t **ret_result, struct diag *diag)
{
	const struct rpc_method *method;
	json_t *list = json_array();

	list_for_each(method, rpc_methods())
		json_array_append_new(list, json_pack("{s:s, s:s, s:o}", "name", method->name, "help",
						      method->help, "params", params_json(method)));
	*ret_result = list;
	return RPC_OK;
}

static struct rpc_method rpc_list = {
	.name = "rpc.list",
	.help = "all methods with their parameters",
	.call = rpc_list_call,
};
RPC_METHOD_REGISTER(rpc_list)
