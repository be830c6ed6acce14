/* SPDX-License-Identifier: BSD-3-Clause */
/* vhost_frontend.h: the VMM's half of a vhost-user connection, as much of it as one queue pair and a control
 * queue need. */
#ifndef PERF_VHOST_FRONTEND_H
#define PERF_VHOST_FRONTEND_H

#include <stdbool.h>
#include <stdint.h>

#include "guest_mem.h"
#include "ring.h"

struct vhost_frontend {
	const char *name; /* for messages: "port A" */
	int sock;
	bool reply_ack;
	uint64_t device_features;
	uint64_t driver_features;
	unsigned n_rings;
};

/* A back-end that connects to us is awaited up to wait_s; one that listens is tried as long. */
void vhost_frontend_connect(struct vhost_frontend *fe, const char *name, const char *path, bool server,
			    unsigned wait_s);

/* Feature negotiation up to SET_FEATURES. Exits when the back-end lacks what the configuration needs;
 * `control` is made of enum control_feature. */
void vhost_frontend_negotiate(struct vhost_frontend *fe, const struct ring_config *config, unsigned control);

/* Hands over memory and rings, virtqueues 0 .. n_rings - 1, and starts them. Opens the rings' eventfds. */
void vhost_frontend_start(struct vhost_frontend *fe, const struct guest_mem *mem, struct ring *const rings[],
			  unsigned n_rings);

/* Stops the rings, so that the back-end lets go of the memory, and closes the connection. */
void vhost_frontend_close(struct vhost_frontend *fe);

#endif
