/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * quiesce: waiting, under the control lock (control.h), until no worker can still see what has been
 * unpublished.
 *
 * Components below the EAL do not know what a worker is: who makes the context sets the waiting function (RCU
 * quiescent states) at start. Without one, waiting returns at once: right for a single-threaded test.
 *
 * A call of a PMD may take long: some PMDs make system calls, which wait for a reader, a disk, a queue. So
 * around each such call a worker is *away*, which it says with a store to a cache line of its own:
 *
 *     quiesce_leave(q, worker, where)  --->  the PMD  --->  quiesce_return(q, worker)
 *
 * A worker that is away holds no reference to what the control thread publishes, but for its plan, and for
 * the ring and memory of a guest from which it holds borrowed frames (borrow.h). Only who changes one of
 * these waits for it.
 */
#ifndef VNICD_QUIESCE_H
#define VNICD_QUIESCE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { QUIESCE_WORKERS_MAX = 64 };

/* Written by the worker. */
struct quiesce_worker {
	_Atomic(const void *) away; /* `where` of quiesce_leave(); NULL: it is not away */
} __attribute__((aligned(64)));

/* Does a worker that is away still hold a reference to what has been unpublished? */
typedef bool (*quiesce_holds_fn)(const void *arg, unsigned int worker);

/* Of a context. Zero-initialised: there are no workers. */
struct quiesce {
	struct quiesce_worker workers[QUIESCE_WORKERS_MAX];

	/* Control lock. */
	void (*wait)(void *arg);
	uint64_t (*start)(void *arg);
	bool (*passed)(void *arg, uint64_t token);
	void *arg;
	/* Of the current wait. */
	quiesce_holds_fn holds;
	const void *holds_arg;
};

static inline struct quiesce_worker *
quiesce_worker(struct quiesce *q, unsigned int worker)
{
	/* The number may be out of range: that of a queue without an owner, as in a single-threaded test. */
	return &q->workers[worker % QUIESCE_WORKERS_MAX];
}

/* Worker, before a call that may take long; `where` identifies the call (port_place). */
static inline void
quiesce_leave(struct quiesce *q, unsigned int worker, const void *where)
{
	/* Release: who sees it away also sees all that it did before. */
	atomic_store_explicit(&quiesce_worker(q, worker)->away, where, memory_order_release);
	atomic_signal_fence(memory_order_seq_cst);
}

/*
 * Worker, after the call. No fence: who finds it away has made it execute one since publishing (membarrier),
 * so what it loads from here on is what was published.
 */
static inline void
quiesce_return(struct quiesce *q, unsigned int worker)
{
	atomic_signal_fence(memory_order_seq_cst);
	atomic_store_explicit(&quiesce_worker(q, worker)->away, NULL, memory_order_relaxed);
	atomic_signal_fence(memory_order_seq_cst);
}

/* `where` of a worker that is away; NULL: it is not. Any thread. */
static inline const void *
quiesce_where(const struct quiesce *q, unsigned int worker)
{
	return atomic_load_explicit(&q->workers[worker % QUIESCE_WORKERS_MAX].away, memory_order_acquire);
}

/*
 * Control thread, before any worker runs: the functions behind quiesce_wait(), quiesce_start() and
 * quiesce_passed(). NULL: there are no workers to wait for.
 */
void quiesce_set(struct quiesce *q, void (*wait)(void *arg), uint64_t (*start)(void *arg),
		 bool (*passed)(void *arg, uint64_t token), void *arg);

/*
 * With the control lock; not a worker. On return every worker has passed a point at which it held no
 * reference to anything published, or is away: so what was unpublished before the call may be freed. Not for
 * plans.
 *
 * After three of these, frames that were handed over before something was unpublished have arrived: after the
 * first, no worker sends such a frame any more; a worker may have drained its handoff rings just before, and
 * ends that poll iteration with the second; with the third it has drained them once more. (A worker that is
 * away drains them when it returns.)
 */
void quiesce_wait(struct quiesce *q);
/* The same, but also waits for workers that are away while holds(arg, worker) is true. */
void quiesce_wait_held(struct quiesce *q, quiesce_holds_fn holds, const void *arg);

/* The same without waiting: what was unpublished before quiesce_start() may be freed when quiesce_passed() is
 * true. */
uint64_t quiesce_start(struct quiesce *q);
bool quiesce_passed(struct quiesce *q, uint64_t token, quiesce_holds_fn holds, const void *arg);

/* For the functions of quiesce_set(): has the current wait to include this worker, which is away? */
bool quiesce_is_held(const struct quiesce *q, unsigned int worker);

#endif
