/* SPDX-License-Identifier: BSD-3-Clause */
/* rpc_capture: capture.start, capture.list. */
#include "capture.h"
#include "ctx.h"
#include "dataplane.h"
#include "events.h"
#include "keyval.h"
#include "rpc.h"

static json_t *
capture_object(const struct capture *capture)
{
	struct capture_stats stats;
	char line[KEYVAL_LINE_MAX];

	capture_print(capture, line, sizeof(line));
	capture_stats_read(capture, &stats);
	return json_pack("{s:i, s:s, s:I, s:I, s:I, s:I}", "id", (int)capture_id(capture), "config", line,
			 "seen", (json_int_t)stats.seen, "wanted", (json_int_t)stats.wanted, "lost",
			 (json_int_t)stats.lost, "written", (json_int_t)stats.written);
}

/* The reply is out, and the connection is the capture's; or the client is gone. */
static void
capture_connected(void *arg, int fd)
{
	struct capture *capture = arg;
	const unsigned int id = capture_id(capture);
	char line[KEYVAL_LINE_MAX];

	if (fd < 0) {
		capture_abandon(capture);
		return;
	}
	capture_print(capture, line, sizeof(line));
	if (capture_start(capture, fd) < 0) {
		log_warn(&dataplane_ctx()->log, "capture %u: no memory", id);
		return;
	}
	event_record(dataplane_ctx(), EVENT_CAPTURE, NULL, "capture %u begins: %s", id, line);
	log_info(&dataplane_ctx()->log, "capture %u: %s", id, line);
}

static enum rpc_status
capture_start_call(const char *const values[], json_t **ret_result, struct diag *diag)
{
	struct capture *capture;

	if (captures_add(dataplane_captures(), values[0], &capture, diag) < 0)
		return RPC_FAILED;
	if (rpc_take_connection(capture_connected, capture, diag) < 0) {
		capture_abandon(capture);
		return RPC_FAILED;
	}
	*ret_result = capture_object(capture);
	return RPC_OK;
}

static struct rpc_method capture_start_method = {
	.name = "capture.start",
	.help = "frames of some ports as pcapng, live, over this connection: its last reply is the capture, "
		"as "
		"capture.list has it, and what follows its newline is the file; shut down your end, and the "
		"rest and the statistics follow",
	.params = {{"config",
		    "from=PORT[+PORT]...[,direction=in|out][,queue=N][,filter=EXPRESSION][,snaplen=BYTES]"
		    "[,count=N][,drops=on|only][,header=on][,buffer=BYTES]",
		    .required = true}},
	.call = capture_start_call,
};
RPC_METHOD_REGISTER(capture_start_method)

static enum rpc_status
capture_list_call(const char *const values[], json_t **ret_result, struct diag *diag)
{
	*ret_result = json_array();
	for (const struct capture *capture = captures_first(dataplane_captures()); capture;
	     capture = capture_next(capture))
		json_array_append_new(*ret_result, capture_object(capture));
	return RPC_OK;
}

static struct rpc_method capture_list = {
	.name = "capture.list",
	.help = "captures that run: what they are for, how many frames they have seen, how many of these are "
		"wanted, "
		"and of those lost, for want of room, and written",
	.call = capture_list_call,
};
RPC_METHOD_REGISTER(capture_list)
