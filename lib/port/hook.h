/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * hook: who sees the frames of one queue on their way, counts, keeps, changes or drops them: a capture, a
 * trace, a mirror, a policer.
 *
 *     device -> kind's rx -> hook, hook, ..  -> port_rx() -> forwarding mode
 *     forwarding mode, handoff -> port_tx() -> hook, hook, .. -> kind's tx -> device
 *
 * A queue without hooks pays nothing: port_rx() and port_tx() call the kind's function, and another one only
 * while somebody is attached. Hooks are called in the order in which they were attached, by the worker that
 * owns the queue, and what it may not do, they may not either: no lock, no memory of the heap, no system
 * call.
 *
 * What a hook may do with the frames, of which it gets 1 .. PORT_BURST:
 *
 * - look at one: of a borrowed frame (borrow.h) only the head is there, and it is read-only;
 *
 * - keep one: port_hook_keep(), a reference more, and the frame is whole. What is kept is the bytes, from now
 *   on read-only for everybody; fields of the mbuf still change as the frame goes on;
 *
 * - change one: port_hook_is_own() first, which makes it whole, and is false where others have it, too. Who
 *   changes addresses or ports of IP also clears rxq->has_digests;
 *
 * - drop some: port_rx_drop() or port_tx_drop() with a reason. The others go to the front of pkts[], in their
 *   order, and it returns how many they are.
 *
 * It makes no new frames, and does not call the rx or tx of the queue that it is called for.
 */
#ifndef VNICD_HOOK_H
#define VNICD_HOOK_H

#include <stdbool.h>

#include <rte_mbuf.h>

#include "borrow.h"
#include "port.h"

/*
 * Of one queue, and in whatever belongs to who attached it. `rx` or `tx` is set before that; the rest is
 * ours.
 */
struct port_hook {
	union {
		uint16_t (*rx)(struct port_hook *hook, struct port_rxq *rxq, struct rte_mbuf **pkts,
			       uint16_t n);
		uint16_t (*tx)(struct port_hook *hook, struct port_txq *txq, struct rte_mbuf **pkts,
			       uint16_t n);
	};
	_Atomic(struct port_hook *) next; /* control lock writes, the queue's owner reads */
};

/*
 * Control lock. From here on the hook sees every frame, after those that are attached already. It is of no
 * other queue, stays where it is, and is detached before its port is closed.
 */
void port_rx_hook_attach(struct port_rxq *rxq, struct port_hook *hook);
void port_tx_hook_attach(struct port_txq *txq, struct port_hook *hook);

/*
 * Control lock; not a worker. Waits until the queue's owner is not in the hook and will not call it again,
 * also where the hook has called a driver that has not returned (quiesce.h): it may be freed then, and what
 * it has counted is final.
 */
void port_rx_hook_detach(struct port_rxq *rxq, struct port_hook *hook);
void port_tx_hook_detach(struct port_txq *txq, struct port_hook *hook);

/* In a hook: the same frame, to be freed by who keeps it. */
static inline struct rte_mbuf *
port_hook_keep(struct rte_mbuf *pkt)
{
	borrow_materialise(pkt);
	rte_pktmbuf_refcnt_update(pkt, 1);
	return pkt;
}

/* In a hook: may the first segment be written to? All of the frame is there then. */
static inline bool
port_hook_is_own(struct rte_mbuf *pkt)
{
	borrow_materialise(pkt);
	return RTE_MBUF_DIRECT(pkt) && rte_mbuf_refcnt_read(pkt) == 1;
}

#endif
