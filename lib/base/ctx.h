/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * ctx: a context: what the devices of one program, or of one part of it, share, and what would be global
 * variables otherwise.
 *
 * Contexts know nothing of each other: each has its own lock, its own loop, and threads of its own to wait
 * for. A device or port belongs to one from its start to its end. What is left as a variable of the process
 * is there once by its nature: docs/decisions/0032-contexts.md has the list.
 */
#ifndef VNICD_CTX_H
#define VNICD_CTX_H

#include "control.h"
#include "log.h"
#include "quiesce.h"

struct controlqs;
struct events;
struct gmem_guard;
struct loop;
struct pools_entry;
struct usocket;
struct vdev_watch;

/* How long a worker may yet wait for guests (lib/vnet/await.h). Written by that worker alone. */
struct ctx_wait {
	uint64_t at; /* TSC when left_tsc was counted; 0: never */
	uint64_t left_tsc;
} __attribute__((aligned(64)));

/* Zero-initialised: a context without a loop and without workers, which logs errors only. */
struct vnic_ctx {
	struct quiesce quiesce;
	struct ctx_wait waits[QUIESCE_WORKERS_MAX]; /* by worker */
	struct control control;
	struct log log;
	struct loop *loop;        /* NULL: nobody watches descriptors, and there are no timers */
	struct usocket *usockets; /* those that listen; control lock */
	struct events *events;    /* NULL: they are not kept; control lock */

	/* Devices whose guests were there when the process before was killed, and are not back yet; until
	 * when they are waited for (state.h). Control lock. */
	unsigned int n_awaited;
	uint64_t awaited_until_ms; /* loop_now_ms() */

	/* Of the components above. Control lock. */
	struct controlqs *controlqs;   /* controlq.c; NULL: no device has been made yet */
	struct gmem_guard *guard;      /* gmem_sigbus.c; NULL: nobody is told of memory that is lost */
	struct pools_entry *pools;     /* pools.c */
	struct vdev_watch *vdev_watch; /* vdev_watch.c; NULL: there are no devices */
};

/*
 * A context with its loop; the caller holds its control lock from here on (loop.h). `ctx` is zero-initialised
 * by then but for what has been set of its log. 0 or -errno.
 */
int ctx_open(struct vnic_ctx *ctx);
/* All that belongs to it is gone. Also without ctx_open(). */
void ctx_close(struct vnic_ctx *ctx);

#endif
