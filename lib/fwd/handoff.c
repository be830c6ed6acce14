/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * handoff: sends a frame for a queue pair that another worker owns over an rte_ring to that worker.
 *
 *     worker 0 --ring--> worker 1        one ring for each ordered pair of workers: single producer, single
 *     worker 1 --ring--> worker 0        consumer
 *
 * The destination is in a dynamic field of the mbuf. Clones share data but not mbufs, so the field of a
 * cloned frame may be written too.
 */
#include "fwd.h"

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include <rte_errno.h>
#include <rte_mbuf_dyn.h>

static_assert(PORT_MAX <= UINT16_MAX && PORT_QUEUES_MAX <= UINT16_MAX, "a destination is two 16-bit numbers");

static int handoff_field = -1;

static inline uint32_t *
handoff_dest(struct rte_mbuf *m)
{
	return RTE_MBUF_DYNFIELD(m, handoff_field, uint32_t *);
}

static inline uint32_t
handoff_dest_pack(const struct port_txq *txq)
{
	return (uint32_t)txq->port->id << 16 | txq->idx;
}

/* Enqueue frames of `from` to the owner of `txq`. */
static void
handoff_send(struct fwd_worker *worker, struct port_rxq *from, const struct port_txq *txq,
	     struct rte_mbuf **pkts, uint16_t n)
{
	uint32_t dest = handoff_dest_pack(txq);
	unsigned int n_taken;

	for (uint16_t i = 0; i < n; i++)
		*handoff_dest(pkts[i]) = dest;
	n_taken = rte_ring_sp_enqueue_burst(worker->handoff_out[txq->worker], (void **)pkts, n, NULL);
	if (unlikely(n_taken < n))
		port_rx_drop(from, DROP_HANDOFF_FULL, pkts + n_taken, (uint16_t)(n - n_taken));
}

static inline void
handoff_or_tx(struct fwd_worker *worker, struct port_rxq *from, struct port_txq *txq, struct rte_mbuf **pkts,
	      uint16_t n)
{
	if (unlikely(from->borrowed) && !(txq->accepts_borrowed && txq->worker == worker->idx)) {
		n = fwd_materialise(from, pkts, n);
		if (unlikely(n == 0))
			return;
	}
	if (likely(txq->worker == worker->idx))
		port_tx(txq, pkts, n);
	else
		handoff_send(worker, from, txq, pkts, n);
}

/* Send a burst that steering spreads over pairs: all frames of the first one's pair, then of the next. */
static void
handoff_steered(struct fwd_worker *worker, struct port_rxq *from, struct port *to,
		const struct port_steer *steer, struct rte_mbuf **pkts, uint16_t n)
{
	struct rte_mbuf *run[PORT_BURST];
	uint16_t pairs[PORT_BURST];

	uint16_t others = 0;

	steer->pick(steer, to, from, pkts, n, pairs);
	for (uint16_t i = 1; i < n; i++)
		others |= pairs[i] ^ pairs[0];
	if (others == 0) {
		handoff_or_tx(worker, from, &to->txqs[pairs[0]], pkts, n);
		return;
	}
	while (n) {
		uint16_t pair = pairs[0], n_run = 0, n_left = 0;

		for (uint16_t i = 0; i < n; i++) {
			if (pairs[i] == pair) {
				run[n_run++] = pkts[i];
			} else {
				pkts[n_left] = pkts[i];
				pairs[n_left++] = pairs[i];
			}
		}
		handoff_or_tx(worker, from, &to->txqs[pair], run, n_run);
		n = n_left;
	}
}

/* The queue pair without steering: the number of the pair that the frames came from, mod n_active. */
static inline struct port_txq *
handoff_txq(const struct port_rxq *from, const struct port *to)
{
	uint16_t n_active = atomic_load_explicit(&to->n_active, memory_order_relaxed), idx = from->idx;

	if (unlikely(idx >= n_active))
		idx %= n_active;
	return &to->txqs[idx];
}

/* Send to a port that has a filter or steering. */
static __attribute__((noinline)) void
handoff_select(struct fwd_worker *worker, struct port_rxq *from, struct port *to,
	       const struct port_filter *filter, const struct port_steer *steer, struct rte_mbuf **pkts,
	       uint16_t n)
{
	if (filter) {
		n = port_filter_apply(filter, handoff_txq(from, to), worker->idx, pkts, n);
		if (n == 0)
			return;
	}
	if (steer)
		handoff_steered(worker, from, to, steer, pkts, n);
	else
		handoff_or_tx(worker, from, handoff_txq(from, to), pkts, n);
}

void
fwd_send(struct fwd_worker *worker, struct port_rxq *from, struct port *to, struct rte_mbuf **pkts,
	 uint16_t n)
{
	/* Acquire: pairs with the release of whoever published it. */
	const struct port_filter *filter = atomic_load_explicit(&to->filter, memory_order_acquire);
	const struct port_steer *steer = atomic_load_explicit(&to->steer, memory_order_acquire);

	/* One branch for both. */
	if (unlikely((uintptr_t)filter | (uintptr_t)steer))
		handoff_select(worker, from, to, filter, steer, pkts, n);
	else
		handoff_or_tx(worker, from, handoff_txq(from, to), pkts, n);
}

static inline uint16_t
handoff_filter(const struct fwd_worker *worker, struct port_txq *txq, struct rte_mbuf **pkts, uint16_t n)
{
	const struct port_filter *filter = atomic_load_explicit(&txq->port->filter, memory_order_acquire);

	return unlikely(filter) ? port_filter_apply(filter, txq, worker->idx, pkts, n) : n;
}

void
fwd_send_to(struct fwd_worker *worker, struct port_rxq *from, struct port_txq *txq, struct rte_mbuf **pkts,
	    uint16_t n)
{
	n = handoff_filter(worker, txq, pkts, n);
	if (n)
		handoff_or_tx(worker, from, txq, pkts, n);
}

void
fwd_send_made(struct fwd_worker *worker, struct port_txq *txq, struct rte_mbuf **pkts, uint16_t n)
{
	n = handoff_filter(worker, txq, pkts, n);
	if (n)
		port_tx(txq, pkts, n);
}

uint16_t
fwd_offer(struct fwd_worker *worker, struct port_txq *txq, struct rte_mbuf **pkts, uint16_t n)
{
	const uint16_t n_left = handoff_filter(worker, txq, pkts, n);
	struct rte_ring *ring;
	unsigned int n_free, n_taken;

	if (n_left == 0)
		return n;
	if (txq->worker == worker->idx) {
		port_tx(txq, pkts, n_left);
		return n;
	}
	ring = worker->handoff_out[txq->worker];
	n_free = rte_ring_free_count(ring);
	n_taken = n_free > FWD_HANDOFF_SIZE / 2 ? RTE_MIN(n_free - FWD_HANDOFF_SIZE / 2, (unsigned int)n_left)
						: 0;
	for (unsigned int i = 0; i < n_taken; i++)
		*handoff_dest(pkts[i]) = handoff_dest_pack(txq);
	n_taken = rte_ring_sp_enqueue_burst(ring, (void **)pkts, n_taken, NULL);
	rte_pktmbuf_free_bulk(pkts + n_taken, n_left - n_taken);
	return (uint16_t)(n - n_left + n_taken);
}

/* Send frames with the same destination, which this worker owns. */
static void
handoff_deliver(struct fwd_worker *worker, struct rte_mbuf **pkts, uint16_t n)
{
	uint32_t dest = *handoff_dest(pkts[0]);
	struct port *port = worker->plan->port_by_id[dest >> 16];

	if (unlikely(!port)) {
		counter_add(&worker->lost_port_gone, n);
		rte_pktmbuf_free_bulk(pkts, n);
		return;
	}
	port_tx(&port->txqs[dest & UINT16_MAX], pkts, n);
}

static unsigned int
handoff_drain_ring(struct fwd_worker *worker, struct rte_ring *ring)
{
	struct rte_mbuf *pkts[PORT_BURST];
	unsigned int n_done = 0, n;

	/* Bounded: the producer may enqueue as fast as this worker dequeues. */
	while (n_done < FWD_HANDOFF_SIZE) {
		n = rte_ring_sc_dequeue_burst(ring, (void **)pkts, PORT_BURST, NULL);
		for (unsigned int i = 0; i < n; i++)
			rte_prefetch0(pkts[i]);
		for (unsigned int start = 0, end; start < n; start = end) {
			uint32_t dest = *handoff_dest(pkts[start]);

			for (end = start + 1; end < n && *handoff_dest(pkts[end]) == dest; end++)
				;
			handoff_deliver(worker, pkts + start, (uint16_t)(end - start));
		}
		n_done += n;
		if (n < PORT_BURST)
			break;
	}
	return n_done;
}

unsigned int
fwd_handoff_drain(struct fwd_worker *worker)
{
	unsigned int n = 0;

	for (uint16_t from = 0; from < worker->n_workers; from++) {
		struct rte_ring *ring = worker->handoff_in[from];

		if (ring && !rte_ring_empty(ring))
			n += handoff_drain_ring(worker, ring);
	}
	return n;
}

static int
handoff_field_register(struct diag *diag)
{
	static const struct rte_mbuf_dynfield field = {
		.name = "vnicd_handoff_dest",
		.size = sizeof(uint32_t),
		.align = __alignof__(uint32_t),
	};

	handoff_field = rte_mbuf_dynfield_register(&field);
	if (handoff_field < 0)
		return diag_set(diag, -rte_errno, NULL,
				"workers: no dynamic mbuf field for the destination: %s",
				rte_strerror(rte_errno));
	return 0;
}

int
fwd_workers_open(struct fwd_worker workers[], unsigned int n_workers, struct rte_mempool *clone_pool,
		 struct diag *diag)
{
	int ret;

	if (n_workers < 1 || n_workers > FWD_WORKERS_MAX) {
		diag_set(diag, -EINVAL, NULL, "workers: their number %u is out of range", n_workers);
		diag_hint(diag, "1..%d workers", FWD_WORKERS_MAX);
		return -EINVAL;
	}
	ret = handoff_field_register(diag);
	if (ret < 0)
		return ret;
	memset(workers, 0, n_workers * sizeof(workers[0]));
	for (unsigned int i = 0; i < n_workers; i++) {
		workers[i].idx = (uint16_t)i;
		workers[i].n_workers = (uint16_t)n_workers;
		workers[i].clone_pool = clone_pool;
	}
	for (unsigned int from = 0; from < n_workers; from++) {
		for (unsigned int to = 0; to < n_workers; to++) {
			char name[RTE_RING_NAMESIZE];
			struct rte_ring *ring;

			if (from == to)
				continue;
			snprintf(name, sizeof(name), "handoff_%u_%u", from, to);
			ring = rte_ring_create(name, FWD_HANDOFF_SIZE, SOCKET_ID_ANY,
					       RING_F_SP_ENQ | RING_F_SC_DEQ);
			if (!ring) {
				ret = diag_set(diag, -rte_errno,
					       "use fewer workers, or give more memory (-m)",
					       "workers: no ring from worker %u to worker %u: %s", from, to,
					       rte_strerror(rte_errno));
				fwd_workers_close(workers, n_workers);
				return ret;
			}
			workers[from].handoff_out[to] = ring;
			workers[to].handoff_in[from] = ring;
		}
	}
	return 0;
}

void
fwd_workers_close(struct fwd_worker workers[], unsigned int n_workers)
{
	for (unsigned int to = 0; to < n_workers; to++) {
		for (unsigned int from = 0; from < n_workers; from++) {
			struct rte_ring *ring = workers[to].handoff_in[from];
			void *pkt;

			if (!ring)
				continue;
			while (rte_ring_sc_dequeue(ring, &pkt) == 0)
				rte_pktmbuf_free(pkt);
			rte_ring_free(ring);
			workers[to].handoff_in[from] = NULL;
			workers[from].handoff_out[to] = NULL;
		}
	}
}
