/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * rpc: the JSON-RPC 2.0 server on the control socket.
 *
 * A unix stream socket. A request is one JSON text on a line (several on a line are taken too, and the
 * newline after a complete text may be missing); batches and notifications work as in the JSON-RPC 2.0
 * specification. Every reply ends with a newline. An error carries {"cause", "hint"} in its data.
 *
 * A class of methods is one file, whose methods register themselves (RPC_METHOD_REGISTER). All of it runs on
 * the control thread, and nothing of it makes a worker wait.
 */
#ifndef VNICD_RPC_H
#define VNICD_RPC_H

#include <stdbool.h>

#include <jansson.h>

#include "diag.h"

struct perms;
struct vnic_ctx;

/*
 * Version of the methods, their parameters and results: another major number when what worked does not any
 * more, another minor one when there is more. What a client does not know it leaves alone.
 */
enum { RPC_API_MAJOR = 1, RPC_API_MINOR = 6 };

enum rpc_status {
	RPC_OK = 0,
	RPC_PARSE_ERROR = -32700,
	RPC_INVALID_REQUEST = -32600,
	RPC_METHOD_NOT_FOUND = -32601,
	RPC_INVALID_PARAMS = -32602,
	RPC_INTERNAL_ERROR = -32603,
	RPC_FAILED = -32000, /* understood, but it can't be done */
};

struct rpc_param {
	const char *name; /* all parameters are strings */
	const char *help;
	bool required;
};

struct rpc_method {
	struct rpc_method *next;
	const char *name; /* "class.verb" */
	const char *help;
	struct rpc_param params[4]; /* ends with a NULL name */
	/*
	 * values[i] belongs to params[i]; NULL: not given. On RPC_OK sets *ret_result (a new reference), else
	 * fills diag.
	 */
	enum rpc_status (*call)(const char *const values[], json_t **ret_result, struct diag *diag);
};

void rpc_method_register(struct rpc_method *method);
struct rpc_method *rpc_methods(void); /* head of the list */

#define RPC_METHOD_REGISTER(method)                                                 \
	__attribute__((constructor)) static void rpc_method_register_##method(void) \
	{                                                                           \
		rpc_method_register(&(method));                                     \
	}

/*
 * In a call: once its reply is out, the connection ends as one of requests, and its descriptor is the
 * caller's: fn(arg, fd), from the loop. What the client sends after the request is not looked at. fn(arg,
 * -1): it is gone before. 0, or -EINVAL with diag filled: there is another request in the same batch, or on
 * its way.
 */
int rpc_take_connection(void (*fn)(void *arg, int fd), void *arg, struct diag *diag);

/*
 * Listen on `path`; when it is NULL on vnicd.ctl in run_dir, or vnicd-PID.ctl when a live process has that
 * one; with the permissions `perms`. A stale socket is replaced; a live one, or any other file, is left
 * alone. 0 or -errno with diag filled.
 */
int rpc_open(struct vnic_ctx *ctx, const char *path, const char *run_dir, const struct perms *perms,
	     struct diag *diag);
/* Close everything and remove the socket. Also without rpc_open(). */
void rpc_close(void);
const char *rpc_path(void);

#endif
