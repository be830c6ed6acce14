/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * quiesce: how whoever holds the control lock (control.h) waits until no worker can still see something that
 * has been unpublished.
 *
 * The rooms below the EAL do not know what a worker is; the program sets the waiting function (RCU quiescent
 * states) at start. Without one, waiting returns at once: right for a single-threaded test.
 *
 * A worker that calls a port's driver may be long in coming back: some drivers are made of system calls, and
 * those wait for a reader, a disk, a queue. So around each such call it is *away*, which it says with a store
 * to a line of its own:
 *
 *     quiesce_leave(worker, where)  --->  the driver  --->  quiesce_return(worker)
 *
 * A worker that is away holds nothing of what the control thread publishes, but for its plan, and for the
 * ring and memory of a guest some of whose frames it has been borrowed (borrow.h). So nobody else waits for
 * it.
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
	_Atomic(const void *) away; /* NULL: it is here */
} __attribute__((aligned(64)));

extern struct quiesce_worker quiesce_workers[QUIESCE_WORKERS_MAX];

static inline struct quiesce_worker *
quiesce_worker(unsigned int worker)
{
	/* A queue that nobody owns yet, as in a test of a single thread, has no worker's number. */
	return &quiesce_workers[worker % QUIESCE_WORKERS_MAX];
}

/* Worker, before a call that may not return for long; `where` is what the call is about. */
static inline void
quiesce_leave(unsigned int worker, const void *where)
{
	/* Release: all that it did before is done for who finds it away. */
	atomic_store_explicit(&quiesce_worker(worker)->away, where, memory_order_release);
	atomic_signal_fence(memory_order_seq_cst);
}

/*
 * Worker, after it. No fence: who finds it away has made it execute one since publishing (membarrier), so
 * what it loads from here on is what was published.
 */
static inline void
quiesce_return(unsigned int worker)
{
	atomic_signal_fence(memory_order_seq_cst);
	atomic_store_explicit(&quiesce_worker(worker)->away, NULL, memory_order_relaxed);
	atomic_signal_fence(memory_order_seq_cst);
}

/* Where the worker is; NULL: here. Any thread. */
static inline const void *
quiesce_where(unsigned int worker)
{
	return atomic_load_explicit(&quiesce_worker(worker)->away, memory_order_acquire);
}

/* Does a worker that is away still hold some of what has been unpublished? */
typedef bool (*quiesce_holds_fn)(const void *arg, unsigned int worker);

/* Control thread, before any worker runs. */
void quiesce_set_wait(void (*wait)(void *arg), void *arg);
/* What quiesce_start() and quiesce_passed() ask. As above. */
void quiesce_set_poll(uint64_t (*start)(void), bool (*passed)(uint64_t token));

/*
 * With the control lock; not a worker. On return every worker has passed a point at which it held no
 * reference to anything published, or is away: so what was unpublished before the call may be freed. Not for
 * plans.
 *
 * What workers hand over to each other takes three of these to arrive after the last place that it could come
 * from was unpublished: with the first nobody sends it any more; a worker may be past the look at its rings
 * then, and ends that iteration with the second; with the third it has looked once more. (Of one that is away
 * it arrives when that worker is back.)
 */
void quiesce_wait(void);
/* The same for what a worker may hold while it is away. */
void quiesce_wait_held(quiesce_holds_fn holds, const void *arg);

/* The same without waiting: what was unpublished before quiesce_start() may be freed once this is true. */
uint64_t quiesce_start(void);
bool quiesce_passed(uint64_t token, quiesce_holds_fn holds, const void *arg);

/* For the functions that were set: has the one who waits said that this worker, which is away, holds some of
 * it?
 */
bool quiesce_is_held(unsigned int worker);

#endif
