/* SPDX-License-Identifier: BSD-3-Clause */
/* vhost_frontend.h: the VMM's half of a vhost-user connection, as much of it as queue pairs, a control queue
 * and a dirty log need. */
#ifndef PERF_VHOST_FRONTEND_H
#define PERF_VHOST_FRONTEND_H

#include <stdbool.h>
#include <stdint.h>

#include "dirty_log.h"
#include "guest_mem.h"
#include "ring.h"

/* What is negotiated besides what the rings' configuration says. */
struct vhost_frontend_wants {
	unsigned control; /* made of enum control_feature */
	unsigned
		n_pairs; /* queue pairs; above 1: VIRTIO_NET_F_MQ, without a control queue, which VMMs keep */
	bool dirty_log;
	enum tcp_tso tso;
};

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

/* Feature negotiation up to SET_FEATURES. Exits when the back-end lacks what is needed. */
void vhost_frontend_negotiate(struct vhost_frontend *fe, const struct ring_config *config,
			      const struct vhost_frontend_wants *wants);

/* Hands over the dirty log (NULL: none was negotiated), memory and rings, virtqueues 0 .. n_rings - 1, and
 * starts them. Opens the rings' eventfds. */
void vhost_frontend_start(struct vhost_frontend *fe, const struct dirty_log *log, const struct guest_mem *mem,
			  struct ring *const rings[], unsigned n_rings);

/* Stops the rings, so that the back-end lets go of the memory, and closes the connection. */
void vhost_frontend_close(struct vhost_frontend *fe);

#endif
