/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * hook: a queue's list of hooks, and the functions that replace the kind's while it is not empty.
 *
 *     queue   rx ----> hooked_rx() --> own.rx, the kind's
 *             hooks -> first ---> next ---> NULL
 *
 * Workers walk the list while it changes: a hook is complete before it is linked, and after it was unlinked,
 * the worker is waited for. A worker that is away in a PMD (quiesce.h) may have been called from a hook;
 * `in_hooks` says so.
 */
#include "hook.h"

#include <assert.h>
#include <stdatomic.h>

#include "ctx.h"
#include "quiesce.h"

/* --- the owner's half --- */

static inline void
hooks_enter(_Atomic bool *in_hooks)
{
	/* Ordered before the reads of the list: who finds this worker away, by a release store, sees this
	 * too.
	 */
	atomic_store_explicit(in_hooks, true, memory_order_relaxed);
	atomic_signal_fence(memory_order_seq_cst);
}

static inline void
hooks_leave(_Atomic bool *in_hooks)
{
	/* Release: what the hooks did is done. */
	atomic_store_explicit(in_hooks, false, memory_order_release);
}

static inline struct port_hook *
hooks_next(_Atomic(struct port_hook *) *next)
{
	/* Acquire: pairs with the release in hooks_add(). */
	return atomic_load_explicit(next, memory_order_acquire);
}

static uint16_t
hooked_rx(struct port_rxq *rxq, struct rte_mbuf **pkts, uint16_t n)
{
	n = rxq->hooks.own.rx(rxq, pkts, n);
	if (n == 0)
		return 0;
	/* Only after the kind's rx: while this worker is away in a PMD there, nobody waits for it. */
	hooks_enter(&rxq->in_hooks);
	for (struct port_hook *hook = hooks_next(&rxq->hooks.first); hook && n;
	     hook = hooks_next(&hook->next))
		n = hook->rx(hook, rxq, pkts, n);
	hooks_leave(&rxq->in_hooks);
	if (unlikely(n == 0)) {
		/* The caller gets no frames, so it will neither release them nor clear has_digests. */
		if (rxq->borrowed)
			rxq->release(rxq);
		rxq->has_digests = false;
	}
	return n;
}

static uint16_t
hooked_tx(struct port_txq *txq, struct rte_mbuf **pkts, uint16_t n)
{
	hooks_enter(&txq->in_hooks);
	for (struct port_hook *hook = hooks_next(&txq->hooks.first); hook && n;
	     hook = hooks_next(&hook->next))
		n = hook->tx(hook, txq, pkts, n);
	hooks_leave(&txq->in_hooks);
	return n ? txq->hooks.own.tx(txq, pkts, n) : 0;
}

void
port_hooks_see_drop(struct port_hooks *hooks, uint16_t worker, enum port_drop reason,
		    struct rte_mbuf *const *pkts, uint16_t n)
{
	for (struct port_hook *hook = hooks_next(&hooks->drops); hook && n; hook = hooks_next(&hook->next))
		hook->drop(hook, worker, reason, pkts, n);
}

/* --- the control lock's --- */

static void
hooks_add(_Atomic(struct port_hook *) *link, struct port_hook *hook)
{
	struct port_hook *at;

	while ((at = atomic_load_explicit(link, memory_order_relaxed))) {
		assert(at != hook && "a hook is attached once");
		if (hook->is_gate && !at->is_gate)
			break;
		link = &at->next;
	}
	atomic_store_explicit(&hook->next, at, memory_order_relaxed);
	/* Release: pairs with the acquire in hooks_next(); the hook is complete for who finds it. */
	atomic_store_explicit(link, hook, memory_order_release);
}

/* The hook keeps its `next`: the owner may be in this hook now. */
static void
hooks_take_out(_Atomic(struct port_hook *) *link, struct port_hook *hook)
{
	struct port_hook *at;

	while ((at = atomic_load_explicit(link, memory_order_relaxed)) != hook) {
		assert(at && "the hook is attached to this queue");
		link = &at->next;
	}
	atomic_store_explicit(link, atomic_load_explicit(&hook->next, memory_order_relaxed),
			      memory_order_release);
}

static bool
hooks_are_empty(const struct port_hooks *hooks)
{
	return !atomic_load_explicit(&hooks->first, memory_order_relaxed);
}

void
port_rx_hook_attach(struct port_rxq *rxq, struct port_hook *hook)
{
	if (hooks_are_empty(&rxq->hooks))
		rxq->hooks.own.rx = atomic_load_explicit(&rxq->rx, memory_order_relaxed);
	hooks_add(&rxq->hooks.first, hook);
	/* Release: pairs with the acquire in port_rx(); `own` is there for who calls it. */
	atomic_store_explicit(&rxq->rx, hooked_rx, memory_order_release);
}

void
port_tx_hook_attach(struct port_txq *txq, struct port_hook *hook)
{
	if (hooks_are_empty(&txq->hooks))
		txq->hooks.own.tx = atomic_load_explicit(&txq->tx, memory_order_relaxed);
	hooks_add(&txq->hooks.first, hook);
	atomic_store_explicit(&txq->tx, hooked_tx, memory_order_release);
}

static bool
rxq_holds(const void *arg, unsigned int worker)
{
	const struct port_rxq *rxq = arg;

	return rxq->worker == worker && atomic_load_explicit(&rxq->in_hooks, memory_order_acquire);
}

static bool
txq_holds(const void *arg, unsigned int worker)
{
	const struct port_txq *txq = arg;

	return txq->worker == worker && atomic_load_explicit(&txq->in_hooks, memory_order_acquire);
}

void
port_rx_hook_detach(struct port_rxq *rxq, struct port_hook *hook)
{
	hooks_take_out(&rxq->hooks.first, hook);
	if (hooks_are_empty(&rxq->hooks))
		atomic_store_explicit(&rxq->rx, rxq->hooks.own.rx, memory_order_release);
	quiesce_wait_held(&rxq->port->ctx->quiesce, rxq_holds, rxq);
}

void
port_tx_hook_detach(struct port_txq *txq, struct port_hook *hook)
{
	hooks_take_out(&txq->hooks.first, hook);
	if (hooks_are_empty(&txq->hooks))
		atomic_store_explicit(&txq->tx, txq->hooks.own.tx, memory_order_release);
	quiesce_wait_held(&txq->port->ctx->quiesce, txq_holds, txq);
}

void
port_rx_drop_hook_attach(struct port_rxq *rxq, struct port_hook *hook)
{
	hooks_add(&rxq->hooks.drops, hook);
}

void
port_tx_drop_hook_attach(struct port_txq *txq, struct port_hook *hook)
{
	hooks_add(&txq->hooks.drops, hook);
}

/* A worker is in no PMD while it is in a drop hook, so there is nobody besides to wait for. */
void
port_rx_drop_hook_detach(struct port_rxq *rxq, struct port_hook *hook)
{
	hooks_take_out(&rxq->hooks.drops, hook);
	quiesce_wait(&rxq->port->ctx->quiesce);
}

void
port_tx_drop_hook_detach(struct port_txq *txq, struct port_hook *hook)
{
	hooks_take_out(&txq->hooks.drops, hook);
	quiesce_wait(&txq->port->ctx->quiesce);
}
