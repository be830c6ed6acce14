/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * dataplane: the workers, the forwarding mode and the plan they run on; and how a port joins and leaves while
 * others forward. Control thread only. One in a program.
 */
#ifndef VNICD_DATAPLANE_H
#define VNICD_DATAPLANE_H

#include <stdint.h>

#include "diag.h"

struct fwd_config;
struct mirrors;
struct captures;
struct port;
struct port_config;
struct port_place;
struct rte_mempool;
struct vnic_ctx;

/*
 * Workers on all worker lcores of EAL, none running yet; no ports. `pool` is for copies; it and `fwd` stay
 * the caller's, until dataplane_close(). From here quiesce_wait() of `ctx` waits for the workers. 0 or -errno
 * with diag filled.
 */
int dataplane_open(const struct fwd_config *fwd, struct rte_mempool *pool, struct vnic_ctx *ctx,
		   struct diag *diag);
/* Start the workers on the ports that are open by now. */
int dataplane_start(struct diag *diag);
/*
 * Take no more frames, deliver those under way, stop the workers. Ports stay open, with their counters final.
 * 0; or -ETIMEDOUT with diag filled: a worker does not come back from where it is. Then it still uses all
 * that there is, so nothing can be closed: what is left is to end the process.
 */
int dataplane_stop(struct diag *diag);
/* Drain, close all ports, then free what frames are made of. Also after a failed or missing dataplane_open().
 */
void dataplane_close(void);

/*
 * Open a port, and when the workers run make them poll it. The port takes over what config owns as soon as it
 * is open (port_open()). 0 or -errno with diag filled; -EBUSY: a worker is in a call of a PMD that does not
 * return.
 */
int dataplane_port_add(struct port_config *config, struct port **ret_port, struct diag *diag);
/* 0, or -ENOENT, or -EBUSY as above, with diag filled. The port is gone on return; nobody was stopped for it.
 */
int dataplane_port_remove(const char *name, struct diag *diag);

/* Change a port's keys (port_set()), which its mode is told of. 0, or -errno with diag filled. */
int dataplane_port_set(struct port *port, const char *pairs, struct diag *diag);
/* The same, to what another line says (port_become()); 1: it would have to be opened anew. */
int dataplane_port_become(struct port *port, struct port_config *as, struct diag *diag);

/* NULL with diag filled: there is none of that name. */
struct port *dataplane_port_find(const char *name, struct diag *diag);

/* The ports in the order they were added; NULL from dataplane_n_ports() on. */
unsigned int dataplane_n_ports(void);
struct port *dataplane_port(unsigned int i);

const struct fwd_config *dataplane_fwd(void);
/* Of its ports; none to begin with. */
struct mirrors *dataplane_mirrors(void);
struct captures *dataplane_captures(void);
/* What the mode opened. */
void *dataplane_mode_state(void);
struct rte_mempool *dataplane_pool(void);
struct vnic_ctx *dataplane_ctx(void);
unsigned int dataplane_n_workers(void);

/* The class COUNTERS_WORKER. */
struct dataplane_worker_stats {
#define COUNTER_WORKER(field, ...) uint64_t field;
#include "counters.def"
};

struct dataplane_worker_info {
	unsigned int lcore;
	unsigned int n_queues; /* queue pairs it serves */
	struct dataplane_worker_stats stats;
	uint64_t still_ms;              /* it stands still for so long; 0: it does not */
	const struct port_place *where; /* the queue in whose PMD it does; NULL: not in a PMD */
};
void dataplane_worker_info(unsigned int idx, struct dataplane_worker_info *ret_info);

#endif
