/* SPDX-License-Identifier: BSD-3-Clause */
#include "rpc.h"

#include <errno.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ctx.h"
#include "list.h"
#include "loop.h"
#include "nearest.h"
#include "usocket.h"

enum {
	RPC_CLIENTS_MAX = 64,
	RPC_REQUEST_MAX = 1 << 20, /* bytes of one request */
	RPC_REPLIES_MAX = 4 << 20, /* bytes of replies that a client has not read */
	RPC_READ_SIZE = 64 << 10,
	RPC_BATCH_MAX = 1024, /* requests in one batch */
	RPC_STUCK_MS = 10000, /* a client that reads nothing for so long is dropped */
	RPC_SWEEP_MS = 1000,
	RPC_BACKLOG = 128,
	RPC_ACCEPTS = 32,  /* connections taken in one go */
	RPC_WORD_MAX = 64, /* of a client's words in our messages */
};

struct rpc_buffer {
	char *data;
	size_t len, size;
};

/* Where the current text ends, found byte by byte, each looked at once. */
struct rpc_scan {
	size_t at; /* bytes of the input looked at */
	unsigned int depth;
	bool in_string, escaped;
	bool skip; /* to the end of the line, after an error */
};

struct rpc_client {
	struct rpc_client *next;
	struct loop_watch *watch;
	struct rpc_buffer in, out;
	struct rpc_scan scan;
	uint64_t out_progress_ms; /* when it last read something, or had nothing to read */
	int fd;
	void (*take)(void *arg, int fd); /* NULL: the connection stays one of requests */
	void *take_arg;
	bool in_batch; /* what is called is one of several */
	bool gone;     /* to be closed at the end of the callback */
	bool no_more;  /* it has shut down its end: close once all replies are out */
};

static struct rpc_method *methods;

static struct {
	struct vnic_ctx *ctx;
	struct loop_watch *watch;
	struct loop_timer *sweep;
	struct rpc_client *clients;
	struct rpc_client *calling; /* NULL: no method is called */
	unsigned int n_clients;
	struct usocket listener;
	struct perms perms; /* of its socket */
	bool is_open;
} server;

static struct log_limit log_limit;

void
rpc_method_register(struct rpc_method *method)
{
	list_append(methods, method);
}

struct rpc_method *
rpc_methods(void)
{
	return methods;
}

const char *
rpc_path(void)
{
	return server.listener.path;
}

int
rpc_take_connection(void (*fn)(void *arg, int fd), void *arg, struct diag *diag)
{
	struct rpc_client *client = server.calling;

	if (!client || client->in_batch || client->take)
		return diag_set(diag, -EINVAL, "send it as the only one, and not in a batch",
				"this method takes the whole connection");
	client->take = fn;
	client->take_arg = arg;
	return 0;
}

/* ---- from a request to its reply ---- */

static json_t *
error_object(enum rpc_status status, const struct diag *diag)
{
	return json_pack("{s:i, s:s, s:{s:s, s:s}}", "code", (int)status, "message", diag->cause, "data",
			 "cause", diag->cause, "hint", diag->hint);
}

static void
ascii_only(char *text)
{
	for (; *text; text++)
		if (*text & 0x80)
			*text = '?';
}

static json_t *
reply_error(json_t *id, enum rpc_status status, const struct diag *diag)
{
	json_t *error = error_object(status, diag);

	if (!error) {
		/* A cause may quote what a client sent, cut in the middle of a character. */
		struct diag plain = *diag;

		ascii_only(plain.cause);
		ascii_only(plain.hint);
		error = error_object(status, &plain);
	}
	return json_pack("{s:s, s:o, s:O}", "jsonrpc", "2.0", "error", error, "id", id);
}

static struct rpc_method *
method_find(const char *name, struct diag *diag)
{
	const char *names[RPC_WORD_MAX];
	struct rpc_method *method;
	size_t n = 0;

	list_for_each(method, methods) {
		if (strcmp(method->name, name) == 0)
			return method;
		if (n < RPC_WORD_MAX)
			names[n++] = method->name;
	}
	diag_set(diag, -ENOENT, NULL, "no method \"%.64s\"", name);
	diag_hint(diag, "did you mean \"%s\"? (rpc.list shows all)", nearest_word(name, names, n));
	return NULL;
}

static void
hint_params(const struct rpc_method *method, struct diag *diag)
{
	char text[256] = "";

	for (const struct rpc_param *param = method->params; param->name; param++) {
		size_t len = strlen(text);

		snprintf(text + len, sizeof(text) - len, "%s\"%s\": \"...\"%s", len ? ", " : "", param->name,
			 param->required ? "" : " (optional)");
	}
	if (text[0])
		diag_hint(diag, "%s takes {%s}", method->name, text);
	else
		diag_hint(diag, "%s takes no parameters", method->name);
}

static enum rpc_status
params_bad(const struct rpc_method *method, struct diag *diag)
{
	hint_params(method, diag);
	return RPC_INVALID_PARAMS;
}

static enum rpc_status
params_read(const struct rpc_method *method, json_t *params, const char *values[], struct diag *diag)
{
	const char *key;
	json_t *value;

	if (params && !json_is_object(params)) {
		diag_set(diag, -EINVAL, NULL, "params is not an object: parameters go by name");
		return params_bad(method, diag);
	}
	json_object_foreach(params, key, value)
	{
		const struct rpc_param *param = method->params;

		while (param->name && strcmp(param->name, key) != 0)
			param++;
		if (!param->name) {
			diag_set(diag, -EINVAL, NULL, "%s has no parameter \"%.64s\"", method->name, key);
			return params_bad(method, diag);
		}
		if (!json_is_string(value) || strlen(json_string_value(value)) != json_string_length(value)) {
			diag_set(diag, -EINVAL, NULL, "%s: parameter \"%s\" is not a string", method->name,
				 param->name);
			return params_bad(method, diag);
		}
		values[param - method->params] = json_string_value(value);
	}
	for (const struct rpc_param *param = method->params; param->name; param++) {
		if (param->required && !values[param - method->params]) {
			diag_set(diag, -EINVAL, NULL, "%s: parameter \"%s\" is missing", method->name,
				 param->name);
			return params_bad(method, diag);
		}
	}
	return RPC_OK;
}

static enum rpc_status
request_call(const char *name, json_t *params, json_t **ret_result, struct diag *diag)
{
	const char *values[sizeof(((struct rpc_method *)NULL)->params) / sizeof(struct rpc_param)] = {NULL};
	struct rpc_method *method = method_find(name, diag);
	enum rpc_status status;

	if (!method)
		return RPC_METHOD_NOT_FOUND;
	status = params_read(method, params, values, diag);
	if (status != RPC_OK)
		return status;
	status = method->call(values, ret_result, diag);
	if (status == RPC_OK && !*ret_result) {
		diag_set(diag, -ENOMEM, "try again", "out of memory");
		return RPC_INTERNAL_ERROR;
	}
	return status;
}

/* NULL: a notification, which has no reply. */
static json_t *
request_handle(json_t *request)
{
	json_t *id = json_object_get(request, "id"), *result = NULL, *reply, *null = json_null();
	const char *version = json_string_value(json_object_get(request, "jsonrpc"));
	const char *name = json_string_value(json_object_get(request, "method"));
	static const char form[] = "{\"jsonrpc\": \"2.0\", \"id\": 1, \"method\": \"rpc.list\"}";
	struct diag diag = {0};
	enum rpc_status status;

	if (!version || strcmp(version, "2.0") != 0 || !name ||
	    (id && !json_is_string(id) && !json_is_number(id) && !json_is_null(id))) {
		diag_set(&diag, -EINVAL, form, "not a JSON-RPC 2.0 request: %s",
			 !json_is_object(request)                  ? "not an object"
			 : !version || strcmp(version, "2.0") != 0 ? "\"jsonrpc\" is not \"2.0\""
			 : !name                                   ? "\"method\" is not a string"
								   : "\"id\" is not a string or number");
		return reply_error(json_is_string(id) || json_is_number(id) ? id : null, RPC_INVALID_REQUEST,
				   &diag);
	}
	status = request_call(name, json_object_get(request, "params"), &result, &diag);
	if (!id) {
		json_decref(result);
		return NULL;
	}
	if (status != RPC_OK)
		return reply_error(id, status, &diag);
	reply = json_pack("{s:s, s:o, s:O}", "jsonrpc", "2.0", "result", result, "id", id);
	return reply;
}

static json_t *
batch_handle(json_t *batch)
{
	json_t *replies, *request;
	struct diag diag;
	size_t i;

	if (json_array_size(batch) == 0) {
		diag_set(&diag, -EINVAL, "send requests in it", "an empty batch");
		return reply_error(json_null(), RPC_INVALID_REQUEST, &diag);
	}
	if (json_array_size(batch) > RPC_BATCH_MAX) {
		diag_set(&diag, -E2BIG, NULL, "a batch of %zu requests is too long", json_array_size(batch));
		diag_hint(&diag, "send at most %u in one batch", (unsigned int)RPC_BATCH_MAX);
		return reply_error(json_null(), RPC_INVALID_REQUEST, &diag);
	}
	replies = json_array();
	json_array_foreach(batch, i, request)
	{
		json_t *reply = request_handle(request);

		if (reply)
			json_array_append_new(replies, reply);
	}
	if (json_array_size(replies) == 0) {
		json_decref(replies);
		return NULL;
	}
	return replies;
}

/* ---- one client ---- */

static int
buffer_append(struct rpc_buffer *buffer, const char *data, size_t len)
{
	if (buffer->size - buffer->len < len) {
		size_t size = buffer->size ? buffer->size : 4096;
		char *grown;

		while (size - buffer->len < len)
			size *= 2;
		grown = realloc(buffer->data, size);
		if (!grown)
			return -ENOMEM;
		buffer->data = grown;
		buffer->size = size;
	}
	memcpy(buffer->data + buffer->len, data, len);
	buffer->len += len;
	return 0;
}

static void
buffer_consume(struct rpc_buffer *buffer, size_t len)
{
	buffer->len -= len;
	memmove(buffer->data, buffer->data + len, buffer->len);
	/* A client that once had a large request does not keep the memory. */
	if (buffer->len == 0) {
		free(buffer->data);
		*buffer = (struct rpc_buffer){0};
	}
}

static void
client_flush(struct rpc_client *client)
{
	while (client->out.len) {
		ssize_t n = send(client->fd, client->out.data, client->out.len, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			if (errno != EAGAIN)
				client->gone = true;
			return;
		}
		buffer_consume(&client->out, (size_t)n);
		client->out_progress_ms = loop_now_ms();
	}
}

static int
reply_write(const char *data, size_t len, void *arg)
{
	return buffer_append(arg, data, len);
}

static void
client_reply(struct rpc_client *client, json_t *reply)
{
	if (!reply)
		return;
	if (client->out.len == 0)
		client->out_progress_ms = loop_now_ms();
	if (json_dump_callback(reply, reply_write, &client->out, JSON_COMPACT | JSON_REAL_PRECISION(16)) <
		    0 ||
	    buffer_append(&client->out, "\n", 1) < 0)
		client->gone = true;
	json_decref(reply);
	if (client->out.len > RPC_READ_SIZE)
		client_flush(client);
	if (client->out.len > RPC_REPLIES_MAX) {
		log_limited(&server.ctx->log, &log_limit, LOG_LEVEL_WARN,
			    "%s: dropped a client that does not read its replies", server.listener.path);
		client->gone = true;
	}
}

static void
client_refuse(struct rpc_client *client, enum rpc_status status, struct diag *diag)
{
	client_reply(client, reply_error(json_null(), status, diag));
}

/* One JSON text, or a line that is none. Returns false when the rest of its line makes no sense any more. */
static bool
client_text(struct rpc_client *client, const char *text, size_t len)
{
	json_error_t error;
	struct diag diag;
	json_t *request;

	while (len && (*text == ' ' || *text == '\t' || *text == '\r' || *text == '\n')) {
		text++;
		len--;
	}
	if (len == 0)
		return true;
	request = json_loadb(text, len, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
	if (!request) {
		diag_set(&diag, -EINVAL, "send one JSON text on each line", "not JSON: %.160s", error.text);
		client_refuse(client, RPC_PARSE_ERROR, &diag);
		return false;
	}
	server.calling = client;
	client->in_batch = json_is_array(request);
	client_reply(client, client->in_batch ? batch_handle(request) : request_handle(request));
	server.calling = NULL;
	json_decref(request);
	return true;
}

/*
 * Is the byte the last of a text? Brackets that close at the outermost level end a text; so does a newline
 * wherever it comes, so that a broken text can't swallow the ones after it.
 */
static bool
scan_byte(struct rpc_scan *scan, char byte)
{
	if (byte == '\n')
		return true;
	if (scan->in_string) {
		if (scan->escaped)
			scan->escaped = false;
		else if (byte == '\\')
			scan->escaped = true;
		else if (byte == '"')
			scan->in_string = false;
		return false;
	}
	switch (byte) {
	case '"':
		scan->in_string = true;
		return false;
	case '{':
	case '[':
		scan->depth++;
		return false;
	case '}':
	case ']':
		if (scan->depth)
			scan->depth--;
		return scan->depth == 0;
	default:
		return false;
	}
}

/*
 * Handle the complete texts of the input, until its replies are more than a client may leave unread; what is
 * not looked at yet waits. With `at_end` the rest of the input too.
 */
static void
client_scan(struct rpc_client *client, bool at_end)
{
	struct rpc_scan *scan = &client->scan;
	size_t begin = 0;

	while (scan->at < client->in.len && !client->gone && !client->take &&
	       client->out.len < RPC_REQUEST_MAX) {
		char byte = client->in.data[scan->at++];
		bool skip = scan->skip;

		if (!scan_byte(scan, byte))
			continue;
		if (!skip)
			skip = !client_text(client, client->in.data + begin, scan->at - begin);
		begin = scan->at;
		*scan = (struct rpc_scan){.at = begin, .skip = skip && byte != '\n'};
	}
	if (client->take)
		return;
	if (at_end && scan->at == client->in.len && !client->gone && !scan->skip && begin < client->in.len) {
		client_text(client, client->in.data + begin, client->in.len - begin);
		begin = client->in.len;
	}
	if (scan->skip)
		begin = scan->at;
	if (begin)
		buffer_consume(&client->in, begin);
	scan->at -= begin < scan->at ? begin : scan->at;
	if (client->in.len > RPC_REQUEST_MAX) {
		struct diag diag;

		diag_set(&diag, -E2BIG, "send shorter requests", "a request is longer than %u bytes",
			 (unsigned int)RPC_REQUEST_MAX);
		client_refuse(client, RPC_INVALID_REQUEST, &diag);
		buffer_consume(&client->in, client->in.len);
		*scan = (struct rpc_scan){.skip = true};
	}
}

static void
client_read(struct rpc_client *client)
{
	static char data[RPC_READ_SIZE];
	ssize_t n = recv(client->fd, data, sizeof(data), MSG_DONTWAIT);

	if (n < 0) {
		if (errno != EAGAIN && errno != EINTR)
			client->gone = true;
		return;
	}
	if (n == 0) {
		client->no_more = true;
		client_scan(client, true);
		return;
	}
	if (buffer_append(&client->in, data, (size_t)n) < 0)
		client->gone = true;
	else
		client_scan(client, false);
}

static void
client_close(struct rpc_client *client)
{
	struct rpc_client **link = &server.clients;

	while (*link != client)
		link = &(*link)->next;
	*link = client->next;
	server.n_clients--;
	loop_watch_remove(client->watch);
	if (client->take)
		client->take(client->take_arg, client->gone || client->out.len ? -1 : client->fd);
	if (!client->take || client->gone || client->out.len)
		close(client->fd);
	free(client->in.data);
	free(client->out.data);
	free(client);
}

/* Send what can be sent, and wait for what makes sense. The client may be gone after this. */
static void
client_settle(struct rpc_client *client)
{
	uint32_t events = 0;

	if (!client->gone)
		client_flush(client);
	while (!client->gone && !client->take && client->scan.at < client->in.len &&
	       client->out.len < RPC_REQUEST_MAX) {
		client_scan(client, client->no_more);
		client_flush(client);
	}
	if (client->gone || ((client->no_more || client->take) && client->out.len == 0)) {
		client_close(client);
		return;
	}
	if (client->out.len)
		events |= EPOLLOUT;
	/* A client that is slow to read is not read from either, but for that it may go on sending and never
	 * read. */
	if (!client->no_more && !client->take && client->out.len < RPC_REQUEST_MAX)
		events |= EPOLLIN;
	loop_watch_set(client->watch, events);
}

static void
client_event(void *arg, uint32_t events)
{
	struct rpc_client *client = arg;

	if (events & EPOLLERR)
		client->gone = true;
	else if (events & (EPOLLIN | EPOLLHUP) && !client->no_more)
		client_read(client);
	else if (events & EPOLLHUP)
		client->gone = true;
	client_settle(client);
}

static void
client_accept(int fd)
{
	struct rpc_client *client = calloc(1, sizeof(*client));

	if (!client) {
		close(fd);
		return;
	}
	client->fd = fd;
	client->watch = loop_watch_add(server.ctx->loop, fd, EPOLLIN, client_event, client);
	if (!client->watch) {
		close(fd);
		free(client);
		return;
	}
	client->next = server.clients;
	server.clients = client;
	server.n_clients++;
	if (server.n_clients > RPC_CLIENTS_MAX) {
		struct diag diag;

		diag_set(&diag, -EMFILE, "close some of them", "%u clients are connected already",
			 (unsigned int)RPC_CLIENTS_MAX);
		client_refuse(client, RPC_FAILED, &diag);
		client->no_more = true;
	}
	client_settle(client);
}

static void
server_event(void *arg, uint32_t events)
{
	for (unsigned int i = 0; i < RPC_ACCEPTS; i++) {
		int fd = accept4(server.listener.fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd >= 0) {
			client_accept(fd);
			continue;
		}
		if (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED)
			return;
		/* No descriptors or no memory. The connection keeps waiting, so look again later, not at
		 * once. */
		log_limited(&server.ctx->log, &log_limit, LOG_LEVEL_WARN, "%s: accept: %s",
			    server.listener.path, strerror(errno));
		loop_watch_set(server.watch, 0);
		return;
	}
}

static void
server_sweep(void *arg)
{
	uint64_t now_ms = loop_now_ms();
	struct rpc_client *client = server.clients, *next;

	loop_watch_set(server.watch, EPOLLIN);
	for (; client; client = next) {
		next = client->next;
		if (client->out.len == 0 || now_ms - client->out_progress_ms < RPC_STUCK_MS)
			continue;
		log_limited(&server.ctx->log, &log_limit, LOG_LEVEL_WARN,
			    "%s: dropped a client that does not read its replies", server.listener.path);
		client_close(client);
	}
}

static int
server_listen_at(const char *path, struct diag *diag)
{
	return usocket_listen(server.ctx, &server.listener, path, RPC_BACKLOG, &server.perms, diag);
}

static int
server_listen(const char *path, const char *run_dir, struct diag *diag)
{
	char place[PATH_MAX];
	int ret;

	if (path)
		return server_listen_at(path, diag);
	snprintf(place, sizeof(place), "%s/vnicd.ctl", run_dir);
	ret = server_listen_at(place, diag);
	if (ret != -EADDRINUSE)
		return ret;
	snprintf(place, sizeof(place), "%s/vnicd-%d.ctl", run_dir, (int)getpid());
	log_info(&server.ctx->log, "control: %s/vnicd.ctl belongs to another running vnicd, using %s",
		 run_dir, place);
	return server_listen_at(place, diag);
}

int
rpc_open(struct vnic_ctx *ctx, const char *path, const char *run_dir, const struct perms *perms,
	 struct diag *diag)
{
	int ret;

	server.ctx = ctx;
	server.perms = *perms;
	ret = server_listen(path, run_dir, diag);
	if (ret < 0)
		return ret;
	server.is_open = true;
	server.watch = loop_watch_add(ctx->loop, server.listener.fd, EPOLLIN, server_event, NULL);
	server.sweep = loop_timer_add(ctx->loop, RPC_SWEEP_MS, RPC_SWEEP_MS, server_sweep, NULL);
	if (server.watch && server.sweep)
		return 0;
	rpc_close();
	return diag_no_memory(diag, "control socket: out of memory");
}

void
rpc_close(void)
{
	if (!server.is_open)
		return;
	while (server.clients) {
		client_flush(server.clients);
		client_close(server.clients);
	}
	loop_timer_remove(server.sweep);
	loop_watch_remove(server.watch);
	usocket_close(server.ctx, &server.listener);
	server.is_open = false;
}
