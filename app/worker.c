/* SPDX-License-Identifier: BSD-3-Clause */
#include "worker.h"

#include <stdatomic.h>
#include <time.h>
#include <unistd.h>

#include <rte_pause.h>
#include <rte_rcu_qsbr.h>

#include "poll.h"
#include "port.h"

enum {
	WORKER_CLOCK_ITERATIONS = 256, /* poll iterations between two reads of the clock */
	/* Idle poll iterations before each is followed by rte_pause(), for the other hardware thread of the
	 * core. A pause delays the next frame by up to some 50 ns. */
	WORKER_PAUSE_ITERATIONS = 1024,
};

/*
 * The clock of loop_now_ms(), in seconds. Not from the TSC, whose calibration is off by seconds a day; the
 * coarse clock is read from the vDSO, without a system call.
 */
static inline uint32_t
clock_now_s(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &ts);
	return (uint32_t)ts.tv_sec;
}

static inline unsigned int
worker_take(struct fwd_worker *fwd, const struct fwd_plan *plan, const struct fwd_worker_plan *own,
	    struct poll *poll)
{
	const struct fwd_mode *mode = plan->mode;
	struct rte_mbuf *pkts[PORT_BURST];
	unsigned int n_frames = 0;

	for (unsigned int i = 0; i < poll->n; i++) {
		const uint16_t visit = poll->visits[i];
		struct port_rxq *rxq = own->queues[visit].rxq;
		uint64_t bytes = rxq->stats.bytes;
		uint16_t n;

		if (unlikely(!poll_may_take(poll, visit)))
			continue;
		n = port_rx(rxq, pkts, rxq->burst);
		if (n) {
			poll_took(poll, visit, rxq->stats.bytes - bytes);
			fwd_forward(fwd, mode, rxq, pkts, n);
			n_frames += n;
		}
	}
	if (mode->generate)
		for (unsigned int i = 0; i < own->n_queues; i++)
			if (own->queues[i].txq != &port_txq_none)
				mode->generate(fwd, own->queues[i].txq);
	return n_frames;
}

static inline void
worker_serve_visit(const struct fwd_visit *visit)
{
	if (visit->rxq->service)
		visit->rxq->service(visit->rxq);
	if (visit->txq->service)
		visit->txq->service(visit->txq);
}

/* The service of the pairs that were visited. Others that were sent to wait until they are (poll.h). */
static inline void
worker_serve(const struct fwd_worker_plan *own, const struct poll *poll)
{
	for (unsigned int i = 0; i < poll->n; i++)
		worker_serve_visit(&own->queues[poll->visits[i]]);
	for (unsigned int i = 0; i < own->n_leaving; i++)
		worker_serve_visit(&own->queues[own->n_queues + i]);
}

int
worker_main(void *arg)
{
	struct worker *worker = arg;
	const struct worker_shared *shared = worker->shared;
	struct worker_counters *counters = worker->counters;
	struct fwd_worker *fwd = worker->fwd;
	unsigned int idx = fwd->idx;
	struct poll poll = {0};
	unsigned int n_idle_iterations = 0;
	int order;

	/* The control thread has registered this worker before launching it. */
	rte_rcu_qsbr_thread_online(shared->rcu, idx);
	atomic_store_explicit(&worker->tid, (int)gettid(), memory_order_relaxed);
	fwd->now_s = clock_now_s();
	while ((order = atomic_load_explicit(&shared->order, memory_order_relaxed)) != WORKER_STOP) {
		/* Acquire: pairs with the release in dataplane_publish(). */
		const struct fwd_plan *plan = atomic_load_explicit(&shared->plan, memory_order_acquire);
		const struct fwd_worker_plan *own = &plan->workers[idx];
		unsigned int n_frames = 0;

		fwd->plan = plan;
		poll_begin(&poll, plan, own);
		if (likely(order == WORKER_RUN))
			n_frames = worker_take(fwd, plan, own, &poll);
		n_frames += fwd_handoff_drain(fwd);
		worker_serve(own, &poll);
		poll_end(&poll, own);
		rte_rcu_qsbr_quiescent(shared->rcu, idx);

		counter_add(&counters->busy_iterations, n_frames != 0);
		counter_add(&counters->iterations, 1);
		if (counters->iterations % WORKER_CLOCK_ITERATIONS == 0)
			fwd->now_s = clock_now_s();
		n_idle_iterations = n_frames ? 0 : n_idle_iterations + 1;
		if (n_idle_iterations > WORKER_PAUSE_ITERATIONS)
			rte_pause();
	}
	fwd->plan = NULL;
	rte_rcu_qsbr_thread_offline(shared->rcu, idx);
	return 0;
}
