/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * transport: how a front-end reaches a device. Transports register themselves; the device names one by name
 * and never sees its sockets.
 */
#ifndef VNICD_TRANSPORT_H
#define VNICD_TRANSPORT_H

#include <stdbool.h>

#include "diag.h"

struct perms;
struct transport;
struct vdev;

enum transport_mode { TRANSPORT_SERVER, TRANSPORT_CLIENT };

struct transport_config {
	const char *path; /* unix socket */
	enum transport_mode mode;
	const struct perms *perms; /* server: of the socket (usocket.h); NULL: none are given */
	unsigned int n_pairs;      /* of queues; the device may have a control queue more */
};

/* Who is there, or why nobody is. */
struct transport_status {
	bool connected;
	int pid;       /* of the front-end; 0: not known */
	char comm[32]; /* its name; "": not known */
	/* Client, not connected: why the last attempt failed (empty: none has yet), and for how many seconds
	 * it has been that. */
	struct diag failure;
	unsigned int failure_s;
};

struct transport_ops {
	struct transport_ops *next;
	const char *name;
	/* Serve `dev` from now on, on its context's loop. Server: the socket exists on return. 0 or -errno
	 * with diag filled. */
	int (*open)(struct vdev *dev, const struct transport_config *config, struct transport **ret_transport,
		    struct diag *diag);
	/* Ends the connection (vdev_disconnect() has been called on return) and removes the socket. */
	void (*close)(struct transport *transport);
	void (*status)(const struct transport *transport, struct transport_status *ret_status);
};

void transport_register(struct transport_ops *ops);
const struct transport_ops *transport_by_name(const char *name); /* NULL: none */

#define TRANSPORT_REGISTER(ops)                                                 \
	__attribute__((constructor)) static void transport_register_##ops(void) \
	{                                                                       \
		transport_register(&(ops));                                     \
	}

#endif
