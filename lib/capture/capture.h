/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * capture: the frames of some ports as a stream of pcapng, live, for who asked for it over a socket.
 *
 *     worker: hook -> filter -> first bytes, into a ring of its own       capture.c, capture_ring.h
 *     a thread: all rings, in the order of time -> pcapng -> the socket   capture_writer.h
 *     control thread: begins and ends it                                  capture.c
 *
 * A line says what is wanted:
 *
 *     from=vm0+vm1,direction=in,queue=0,filter=tcp port 80,snaplen=96,count=100,drops=on,header=on
 *
 * Hooks (hook.h) are on the queues that are wanted, and nowhere else. Nobody waits: what finds no room in its
 * worker's ring is lost to the capture, and counted in the statistics of its interface, at the end. A capture
 * ends when the peer shuts down its end of the socket (then it gets the rest, and the statistics), when it
 * closes it, when `count` frames are written, or with vnicd.
 *
 * Captures go by names of ports, as mirrors do: a port that is removed is out of it, and in again when one of
 * its name is added.
 */
#ifndef VNICD_CAPTURE_H
#define VNICD_CAPTURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "diag.h"

struct port;
struct capture;
struct captures;
struct vnic_ctx;

enum { CAPTURES_MAX = 16 }; /* at a time: each has memory and a thread */

/* Control thread, as all of this. `application` is named in each section, and stays valid. -ENOMEM with diag
 * filled. */
int captures_open(struct captures **ret_captures, struct vnic_ctx *ctx, unsigned int n_workers,
		  const char *application, struct diag *diag);
/* All end; what their peers take at once they get. Accepts NULL. Not a worker: waits as
 * port_rx_hook_detach(). */
void captures_close(struct captures *captures);

/* One more, from its line; it sees nothing yet. capture_start() or capture_abandon() is due. 0, or -errno
 * with diag filled. */
int captures_add(struct captures *captures, const char *line, struct capture **ret_capture,
		 struct diag *diag);
/* It has begun, and writes to `fd`, a socket that is now its own. 0, or -errno: nothing is left of either. */
int capture_start(struct capture *capture, int fd);
void capture_abandon(struct capture *capture);

/* The port is in the plan of the workers, or will be before they run. 0, or -ENOMEM: no capture has it. */
int captures_port_added(struct captures *captures, struct port *port);
/* The port is about to leave the plan. */
void captures_port_removed(struct captures *captures, struct port *port);

struct capture *captures_first(struct captures *captures); /* NULL: there is none */
struct capture *capture_next(const struct capture *capture);

struct capture_stats {
	uint64_t seen;    /* frames that came by, drops among them */
	uint64_t wanted;  /* of these, what the filter wants */
	uint64_t lost;    /* of these, what there was no room for */
	uint64_t written; /* frames given to the socket */
};

/* Different for each since the start. */
unsigned int capture_id(const struct capture *capture);
/* Its line; its length, which is `size` or more when it did not fit. */
size_t capture_print(const struct capture *capture, char *buf, size_t size);
void capture_stats_read(const struct capture *capture, struct capture_stats *ret_stats);

/* The keys of a line, for --help. */
const struct key *capture_keys(void);

#endif
