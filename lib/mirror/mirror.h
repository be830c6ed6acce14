/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * mirror: copies of the frames of some ports for another one, where somebody looks at them.
 *
 *     m0,from=vm0+vm1,direction=both,vlan=10,filter=tcp port 80,sample=100,to=cap0
 *
 * A mirror is hooks (hook.h) on the queues of the ports that it watches. Frames that come from a port are
 * seen behind its device and before they are forwarded; frames that go to a port as they are sent to it, tag
 * and all, also those that it then has no room for.
 *
 * The copies go to the port `to` past the forwarding mode, by the pair with the number of the queue that they
 * come from, modulo the port's active pairs. Nobody waits for it: a copy for which there is no packet buffer,
 * or no room in the half of the ring to its worker that copies may take, is counted as lost by the mirror,
 * and one that the port drops by the port. A port that others watch is not watched itself.
 *
 * Mirrors go by names. A port that is removed is out of its mirrors, and in again when one of its name is
 * added; without the port `to` a mirror rests.
 */
#ifndef VNICD_MIRROR_H
#define VNICD_MIRROR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "diag.h"

struct fwd_worker;
struct port;
struct mirror;
struct mirrors;

/* Control thread, as all of this. The workers are there until mirrors_close(). -ENOMEM with diag filled. */
int mirrors_open(struct mirrors **ret_mirrors, struct fwd_worker *workers, unsigned int n_workers,
		 struct diag *diag);
/* All ends. Accepts NULL. Not a worker: waits as port_rx_hook_detach(), also below. */
void mirrors_close(struct mirrors *mirrors);

/* One more, from its line; its ports are open. 0, or -errno with diag filled. */
int mirrors_add(struct mirrors *mirrors, const char *line, struct mirror **ret_mirror, struct diag *diag);
/* -ENOENT with diag filled: there is none of that name. */
int mirrors_remove(struct mirrors *mirrors, const char *name, struct diag *diag);

/* The port is in the plan of the workers, or will be before they run. 0, or -ENOMEM: a mirror does not watch
 * it. */
int mirrors_port_added(struct mirrors *mirrors, struct port *port);
/* The port is about to leave the plan. */
void mirrors_port_removed(struct mirrors *mirrors, struct port *port);

struct mirror *mirrors_first(struct mirrors *mirrors); /* NULL: there is none */
struct mirror *mirror_next(const struct mirror *mirror);

/* Since it was added. */
struct mirror_stats {
	uint64_t matched; /* frames that it is for */
	uint64_t sent;    /* copies given to the port `to`: in its counters as sent or dropped */
	uint64_t lost;    /* copies that could not be made, or not be handed over */
};

const char *mirror_name(const struct mirror *mirror);
/* Its line; its length, which is `size` or more when it did not fit. */
size_t mirror_print(const struct mirror *mirror, char *buf, size_t size);
void mirror_stats_read(const struct mirror *mirror, struct mirror_stats *ret_stats);
/* Is the port `to` there? */
bool mirror_is_active(const struct mirror *mirror);

/* The keys of a line, for --help. */
const struct key *mirror_keys(void);

#endif
