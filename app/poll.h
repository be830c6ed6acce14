/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * poll: which queue pairs a worker visits in an iteration of its loop. Visiting is all that a worker does
 * with a pair for the pair's own sake: it takes frames from it, and services it.
 *
 *          visits[]  busy | busy | busy | idle | idle       every busy pair, and a share of the idle ones
 *                                        ^
 *          idle[]  idle | idle | ... | idle               those that have waited longest come first
 *
 * A pair is busy while its counters change: frames came from it or were sent to it, by any worker, at most
 * POLL_BUSY_ITERATIONS visits ago. One visit that finds nothing costs little, but those to many idle pairs
 * add up, so these are visited in rotation: each at least once in POLL_IDLE_ITERATIONS iterations. While no
 * pair is busy, all are visited in every iteration.
 *
 * Busy pairs are asked in turn for a burst each, and a burst of long frames takes as long as many of short
 * ones. So a visit is worth POLL_QUANTUM bytes (deficit round robin): a pair that took more is passed over,
 * serviced all the same, until its visits have paid. A burst of frames of 1,514 bytes is no more than that,
 * and a pair that is busy alone is never passed over (docs/decisions/0044-fair-service.md).
 *
 * So the first frame of an idle pair waits at most POLL_IDLE_ITERATIONS iterations (those of a busy worker
 * take a microsecond or so), and so does a notification that is due because frames were sent to the pair:
 * from its first visit on it is busy, and it stays so until long after the notification is confirmed
 * (virtq_notify_service() takes two iterations). Only a notification that is coalesced for longer than a pair
 * stays busy, or is due for buffers that carried no frame, may come POLL_IDLE_ITERATIONS iterations late, at
 * most twice.
 */
#ifndef VNICD_POLL_H
#define VNICD_POLL_H

#include <stdbool.h>
#include <stdint.h>

#include <rte_common.h>
#include <rte_ether.h>

#include "fwd.h"

enum {
	POLL_BUSY_ITERATIONS = 64, /* more than it takes to confirm a queue, and than pauses between bursts */
	POLL_IDLE_ITERATIONS = 16,
	POLL_QUANTUM = PORT_BURST * (RTE_ETHER_MAX_LEN - RTE_ETHER_CRC_LEN), /* bytes */
};

/* A worker's own. Pairs go by their place among the queues of the worker's plan. */
struct poll {
	uint64_t plan_serial; /* what all this is about; 0: nothing yet */
	uint16_t n_queues;
	uint16_t n_share;    /* idle pairs to visit in an iteration while others are busy */
	uint16_t n_busy;     /* visits[0 .. n_busy) */
	uint16_t n;          /* visits[n_busy .. n): idle ones that are visited in this iteration */
	uint16_t first_idle; /* free-running; the others, n_idle of them, from idle[first_idle % size] on */
	uint16_t n_idle;
	uint16_t visits[FWD_WORKER_QUEUES_MAX];
	uint16_t idle[FWD_WORKER_QUEUES_MAX];
	struct {
		uint64_t moved;   /* the counters, as they were when it was visited last */
		uint64_t n_still; /* visits since they moved */
	} queues[FWD_WORKER_QUEUES_MAX];
	uint64_t debts[FWD_WORKER_QUEUES_MAX]; /* bytes; 0: none */
};

static_assert((FWD_WORKER_QUEUES_MAX & (FWD_WORKER_QUEUES_MAX - 1)) == 0,
	      "free-running indexes wrap in idle[]");

static inline uint64_t
poll_moved(const struct fwd_visit *visit)
{
	return visit->rxq->stats.packets + visit->txq->stats.packets;
}

static inline void
poll_add_idle(struct poll *poll, uint16_t i)
{
	poll->idle[(uint16_t)(poll->first_idle + poll->n_idle++) % FWD_WORKER_QUEUES_MAX] = i;
}

static inline uint16_t
poll_take_idle(struct poll *poll)
{
	poll->n_idle--;
	return poll->idle[poll->first_idle++ % FWD_WORKER_QUEUES_MAX];
}

/* All are idle, so that the next iteration visits all, and finds out which are not. */
static inline void
poll_reset(struct poll *poll, const struct fwd_plan *plan, const struct fwd_worker_plan *own)
{
	poll->plan_serial = plan->serial;
	poll->n_queues = own->n_queues;
	poll->n_share = (uint16_t)((own->n_queues + POLL_IDLE_ITERATIONS - 1) / POLL_IDLE_ITERATIONS);
	poll->n_busy = 0;
	poll->n = 0;
	poll->n_idle = 0;
	for (uint16_t i = 0; i < own->n_queues; i++) {
		poll->queues[i].moved = poll_moved(&own->queues[i]);
		poll->queues[i].n_still = POLL_BUSY_ITERATIONS;
		poll->debts[i] = 0;
		poll_add_idle(poll, i);
	}
}

/* An iteration begins: own->queues[poll->visits[0 .. poll->n)] are to be visited. */
static inline void
poll_begin(struct poll *poll, const struct fwd_plan *plan, const struct fwd_worker_plan *own)
{
	uint16_t n;

	if (unlikely(poll->plan_serial != plan->serial))
		poll_reset(poll, plan, own);
	/* The share is one of all pairs, not of those that are idle now: this is what bounds the wait. */
	n = poll->n_busy ? RTE_MIN(poll->n_share, poll->n_idle) : poll->n_idle;
	poll->n = poll->n_busy;
	for (; n; n--)
		poll->visits[poll->n++] = poll_take_idle(poll);
}

/* Of a pair that is visited: may frames be taken from it? */
static inline bool
poll_may_take(struct poll *poll, uint16_t i)
{
	if (likely(!poll->debts[i]))
		return true;
	poll->debts[i] -= RTE_MIN(poll->debts[i], (uint64_t)POLL_QUANTUM);
	if (poll->n_busy < 2)
		poll->debts[i] = 0;
	/* It is busy: it waits for others. */
	poll->queues[i].n_still = 0;
	return !poll->debts[i];
}

/* So many bytes were taken from it. */
static inline void
poll_took(struct poll *poll, uint16_t i, uint64_t bytes)
{
	if (unlikely(bytes > POLL_QUANTUM))
		poll->debts[i] = bytes - POLL_QUANTUM;
}

/* The iteration ends: which of the visited pairs are busy in the next one? */
static inline void
poll_end(struct poll *poll, const struct fwd_worker_plan *own)
{
	uint16_t n_busy = 0;

	for (uint16_t k = 0; k < poll->n; k++) {
		uint16_t i = poll->visits[k];
		uint64_t moved = poll_moved(&own->queues[i]);

		if (moved != poll->queues[i].moved) {
			poll->queues[i].moved = moved;
			poll->queues[i].n_still = 0;
		} else {
			poll->queues[i].n_still++;
		}
		if (poll->queues[i].n_still < POLL_BUSY_ITERATIONS)
			poll->visits[n_busy++] = i;
		else
			poll_add_idle(poll, i);
	}
	poll->n_busy = n_busy;
}

#endif
