/* SPDX-License-Identifier: BSD-3-Clause */
/* rpc_mirror: mirror.add, mirror.remove, mirror.list. */
#include "dataplane.h"
#include "keyval.h"
#include "mirror.h"
#include "rpc.h"

static json_t *
mirror_object(const struct mirror *mirror)
{
	struct mirror_stats stats;
	char line[KEYVAL_LINE_MAX];

	mirror_print(mirror, line, sizeof(line));
	mirror_stats_read(mirror, &stats);
	return json_pack("{s:s, s:s, s:b, s:I, s:I, s:I}", "name", mirror_name(mirror), "config", line,
			 "active", (int)mirror_is_active(mirror), "matched", (json_int_t)stats.matched,
			 "sent", (json_int_t)stats.sent, "lost", (json_int_t)stats.lost);
}

static enum rpc_status
mirror_add_call(const char *const values[], json_t **ret_result, struct diag *diag)
{
	struct mirror *mirror;

	if (mirrors_add(dataplane_mirrors(), values[0], &mirror, diag) < 0)
		return RPC_FAILED;
	*ret_result = mirror_object(mirror);
	return RPC_OK;
}

static struct rpc_method mirror_add = {
	.name = "mirror.add",
	.help = "copy frames of some ports to another one; returns the mirror, as mirror.list has it",
	.params = {{"config",
		    "NAME,from=PORT[+PORT]...,to=PORT[,direction=in|out][,vlan=VLAN]"
		    "[,filter=EXPRESSION][,sample=N]",
		    .required = true}},
	.call = mirror_add_call,
};
RPC_METHOD_REGISTER(mirror_add)

static enum rpc_status
mirror_remove_call(const char *const values[], json_t **ret_result, struct diag *diag)
{
	if (mirrors_remove(dataplane_mirrors(), values[0], diag) < 0)
		return RPC_FAILED;
	*ret_result = json_pack("{s:s}", "name", values[0]);
	return RPC_OK;
}

static struct rpc_method mirror_remove = {
	.name = "mirror.remove",
	.help = "end a mirror",
	.params = {{"name", "the mirror's name", .required = true}},
	.call = mirror_remove_call,
};
RPC_METHOD_REGISTER(mirror_remove)

static enum rpc_status
mirror_list_call(const char *const values[], json_t **ret_result, struct diag *diag)
{
	*ret_result = json_array();
	for (const struct mirror *mirror = mirrors_first(dataplane_mirrors()); mirror;
	     mirror = mirror_next(mirror))
		json_array_append_new(*ret_result, mirror_object(mirror));
	return RPC_OK;
}

static struct rpc_method mirror_list = {
	.name = "mirror.list",
	.help = "all mirrors: their lines, whether the port that gets the copies is there (active), and how "
		"many "
		"frames matched, and how many copies were sent and lost",
	.call = mirror_list_call,
};
RPC_METHOD_REGISTER(mirror_list)
