/* SPDX-License-Identifier: BSD-3-Clause */
/* rpc_events: events.list, events.describe. */
#include "events.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "dataplane.h"
#include "rpc.h"

static json_t *
event_object(const struct event *event)
{
	return json_pack("{s:I, s:f, s:s, s:s*, s:s, s:i}", "seq", (json_int_t)event->seq, "time",
			 (double)event->time_ms / 1000, "event", event_names[event->kind], "port",
			 event->port[0] ? event->port : NULL, "text", event->text, "times",
			 (int)event->times);
}

static enum rpc_status
events_list_call(const char *const values[], json_t **ret_result, struct diag *diag)
{
	const struct vnic_ctx *ctx = dataplane_ctx();
	json_t *list = json_array();
	uint64_t after = 0;
	char *end = NULL;

	if (values[0]) {
		after = strtoull(values[0], &end, 10);
		if (!*values[0] || *end) {
			json_decref(list);
			diag_set(diag, -EINVAL, "after=0, or `last` of the reply before",
				 "after: '%.32s' is no number", values[0]);
			return RPC_INVALID_PARAMS;
		}
	}
	for (const struct event *event; (event = events_after(ctx, after)); after = event->seq)
		json_array_append_new(list, event_object(event));
	*ret_result = json_pack("{s:o, s:I}", "events", list, "last", (json_int_t)events_last(ctx));
	return RPC_OK;
}

static struct rpc_method events_list = {
	.name = "events.list",
	.help = "what has happened lately, the oldest first: number, time (seconds since 1970), event, port, "
		"text, and how many "
		"times in a row; and the number of the last",
	.params = {{"after", "only those with a higher number", .required = false}},
	.call = events_list_call,
};
RPC_METHOD_REGISTER(events_list)

static enum rpc_status
events_describe_call(const char *const values[], json_t **ret_result, struct diag *diag)
{
	*ret_result = json_array();
	for (unsigned int i = 0; i < EVENT_KINDS; i++)
		json_array_append_new(
			*ret_result, json_pack("{s:s, s:s}", "event", event_names[i], "help", event_help[i]));
	return RPC_OK;
}

static struct rpc_method events_describe = {
	.name = "events.describe",
	.help = "which events there are, and what they mean",
	.call = events_describe_call,
};
RPC_METHOD_REGISTER(events_describe)
