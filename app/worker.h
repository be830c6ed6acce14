/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * worker: the poll loop of one worker lcore.
 *
 * An iteration takes frames from the queue pairs that the worker owns and forwards them, delivers what other
 * workers handed over, and serves the pairs. Pairs that have had nothing to do for a while are visited in
 * some iterations only (poll.h). No lock, no system call, no allocation.
 */
#ifndef VNICD_WORKER_H
#define VNICD_WORKER_H

#include <stdint.h>

#include "fwd.h"

struct rte_rcu_qsbr;

enum worker_order {
	WORKER_RUN,
	WORKER_DRAIN, /* take no new frames in, deliver those under way */
	WORKER_STOP,
};

/* Shared by all workers. Written by the control thread, read by workers each iteration. */
struct worker_shared {
	struct fwd_plan *_Atomic plan; /* never NULL while workers run */
	_Atomic int order;             /* enum worker_order */
	struct rte_rcu_qsbr *rcu;
};

/* Written by the worker, once an iteration (counter.h). */
struct worker_counters {
	uint64_t iterations;
	uint64_t busy_iterations; /* in which at least one frame came */
} __rte_cache_aligned;

struct worker {
	struct fwd_worker *fwd;
	const struct worker_shared *shared;
	struct worker_counters *counters;
	unsigned int lcore;
	_Atomic int tid; /* the kernel's; 0 until it runs */
};

/* For rte_eal_remote_launch(); `arg` is a struct worker. Returns 0 after WORKER_STOP. */
int worker_main(void *arg);

#endif
