/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * pool: the one pool of packet buffers for frames from guests and for copies, and how large it must be.
 *
 * Guest ports copy frames, so a buffer is away only while a frame is in a worker's burst or cache, in a
 * handoff ring, or in a NIC's transmit ring. NIC ports receive into pools of their own.
 */
#ifndef VNICD_POOL_H
#define VNICD_POOL_H

#include <stddef.h>

#include "diag.h"

struct rte_mempool;

struct pool_size {
	unsigned int n_workers;
	unsigned int n_port_mbufs; /* that the ports demand, those there are at start */
	unsigned int n_mbufs;      /* the result: 2^n - 1, which wastes no ring slot */
	size_t bytes;
	char line[256]; /* the computation, for people */
};

void pool_size_compute(struct pool_size *size, unsigned int n_workers, unsigned int n_port_mbufs);

/* On the NUMA node of the workers when they share one and it has memory. NULL with diag filled. EAL runs. */
struct rte_mempool *pool_open(const struct pool_size *size, struct diag *diag);
void pool_close(struct rte_mempool *pool); /* accepts NULL */

#endif
