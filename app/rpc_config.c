/* SPDX-License-Identifier: BSD-3-Clause */
/* rpc_config: config.get, config.apply. */
#include <stdlib.h>
#include <string.h>

#include "config_apply.h"
#include "rpc.h"

static enum rpc_status
config_get_call(const char *const values[], json_t **ret_result, struct diag *diag)
{
	char *text = config_text();

	if (!text) {
		diag_no_memory(diag, "configuration: no memory");
		return RPC_FAILED;
	}
	*ret_result = json_pack("{s:s}", "text", text);
	free(text);
	return RPC_OK;
}

static struct rpc_method config_get = {
	.name = "config.get",
	.help = "`text`: the configuration file that would start what runs now",
	.call = config_get_call,
};
RPC_METHOD_REGISTER(config_get)

static enum rpc_status
config_apply_call(const char *const values[], json_t **ret_result, struct diag *diag)
{
	json_t *changes;

	if (values[1] && strcmp(values[1], "on") != 0 && strcmp(values[1], "off") != 0) {
		diag_set(diag, 0, "dry_run=on, or leave it out", "dry_run: '%.64s' is neither on nor off",
			 values[1]);
		return RPC_INVALID_PARAMS;
	}
	if (config_apply(values[0], values[1] && strcmp(values[1], "on") == 0, &changes, diag) < 0)
		return RPC_FAILED;
	*ret_result = json_pack("{s:o}", "changes", changes);
	return RPC_OK;
}

static struct rpc_method config_applying = {
	.name = "config.apply",
	.help = "change ports and mirrors to those of a configuration file, all or none; returns the changes",
	.params = {{"text", "the file's lines", .required = true},
		   {"dry_run", "on: only say what would change", .required = false}},
	.call = config_apply_call,
};
RPC_METHOD_REGISTER(config_applying)
