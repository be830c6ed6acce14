/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * hook: functions that see the frames of one queue as they pass, and may count, keep, change or drop them: a
 * capture, a trace, a mirror, a policer.
 *
 *     device -> kind's rx -> hook, hook, ..  -> port_rx() -> forwarding mode
 *     forwarding mode, handoff -> port_tx() -> hook, hook, .. -> kind's tx -> device
 *
 * A queue without hooks pays nothing: port_rx() and port_tx() call the kind's function, which is replaced
 * only while a hook is attached. Hooks are called in the order in which they were attached, but those that
 * decide what is let in or out (`is_gate`) before the others, by the worker that owns the queue, and as a
 * worker they may not take locks, allocate memory or make system calls.
 *
 * What a hook may do with the frames, of which it gets 1 .. PORT_BURST:
 *
 * - read one: of a borrowed frame (borrow.h) only the head is there, and it is read-only;
 *
 * - keep one: port_hook_keep() materialises it and adds a reference. The kept bytes are read-only for
 * everybody from then on; fields of the mbuf still change as the frame is forwarded;
 *
 * - change one: only if port_hook_is_own(), which materialises it, and is false for a frame that is shared.
 * Who changes IP addresses or ports also clears rxq->has_digests;
 *
 * - drop some: port_rx_drop() or port_tx_drop() with a reason. The hook moves the others to the front of
 * pkts[], in their order, and returns their number.
 *
 * It makes no new frames, and does not call the rx or tx of the queue that it is called for.
 *
 * Drop hooks are a list of their own: they see, with its reason, what is counted as dropped on the queue
 * (port_rx_count_drop(), port_tx_count_drop()), just before it is freed, and may only read it. What was lost
 * before there was a frame (a malformed chain) has no bytes.
 */
#ifndef VNICD_HOOK_H
#define VNICD_HOOK_H

#include <stdbool.h>

#include <rte_mbuf.h>

#include "borrow.h"
#include "port.h"

/*
 * A hook of one queue, embedded in a struct of the user's. Set `rx`, `tx` or `drop`, and is_gate, before
 * attaching it; the rest is hook.c's.
 */
struct port_hook {
	union {
		uint16_t (*rx)(struct port_hook *hook, struct port_rxq *rxq, struct rte_mbuf **pkts,
			       uint16_t n);
		uint16_t (*tx)(struct port_hook *hook, struct port_txq *txq, struct rte_mbuf **pkts,
			       uint16_t n);
		/* `worker` calls it, which need not be the queue's owner: a port's filter is applied by
		 * who sends. n may be 0; pkts is NULL when there are no bytes. */
		void (*drop)(struct port_hook *hook, uint16_t worker, enum port_drop reason,
			     struct rte_mbuf *const *pkts, uint16_t n);
	};
	bool is_gate;
	_Atomic(struct port_hook *) next; /* control lock writes, the queue's owner reads */
};

/*
 * Control lock. From here on the hook sees every frame, in its turn (see above). It is of no
 * other queue, stays where it is, and is detached before its port is closed.
 */
void port_rx_hook_attach(struct port_rxq *rxq, struct port_hook *hook);
void port_tx_hook_attach(struct port_txq *txq, struct port_hook *hook);

/*
 * Control lock; not a worker. Waits until the queue's owner is not in the hook and will not call it again,
 * also when the hook itself is in a call of a PMD (quiesce.h). After that the hook may be freed, and what it
 * has counted is final.
 */
void port_rx_hook_detach(struct port_rxq *rxq, struct port_hook *hook);
void port_tx_hook_detach(struct port_txq *txq, struct port_hook *hook);

/* The same of drop hooks: control lock, and to detach one, not a worker. */
void port_rx_drop_hook_attach(struct port_rxq *rxq, struct port_hook *hook);
void port_tx_drop_hook_attach(struct port_txq *txq, struct port_hook *hook);
void port_rx_drop_hook_detach(struct port_rxq *rxq, struct port_hook *hook);
void port_tx_drop_hook_detach(struct port_txq *txq, struct port_hook *hook);

/* In a hook: the same frame, to be freed by who keeps it. NULL: it is borrowed, and packet buffers are
 * wanting. */
static inline struct rte_mbuf *
port_hook_keep(struct rte_mbuf *pkt)
{
	if (unlikely(!borrow_materialise(pkt)))
		return NULL;
	rte_pktmbuf_refcnt_update(pkt, 1);
	return pkt;
}

/* In a hook: may the first segment be written to? The frame is materialised, unless packet buffers are
 * wanting. */
static inline bool
port_hook_is_own(struct rte_mbuf *pkt)
{
	return borrow_materialise(pkt) && RTE_MBUF_DIRECT(pkt) && rte_mbuf_refcnt_read(pkt) == 1;
}

#endif
