/* SPDX-License-Identifier: BSD-3-Clause */
/* rewrite: the common half of modes that change the addresses of a frame and send it to the peer of its port.
 */
#ifndef VNICD_REWRITE_H
#define VNICD_REWRITE_H

#include "frame.h"

typedef void (*rewrite_fn)(struct rte_ether_hdr *eth, const struct rte_ether_hdr *addresses);

/* `rewrite` is a constant at every call, so it folds into the loop. */
static __rte_always_inline void
rewrite_forward(struct fwd_worker *worker, struct port_rxq *from, struct rte_mbuf **pkts, uint16_t n,
		rewrite_fn rewrite)
{
	struct port *peer = worker->plan->peer_by_id[from->port->id];
	struct rte_ether_hdr addresses;
	uint16_t n_kept = 0;

	if (unlikely(!peer)) {
		port_rx_drop(from, DROP_NO_PORT, pkts, n);
		return;
	}
	addresses.src_addr = peer->mac;
	frame_station(&addresses.dst_addr, peer);
	for (uint16_t i = 0; i < n; i++) {
		struct rte_mbuf *m = frame_own(worker, pkts[i], sizeof(struct rte_ether_hdr), 0);

		if (unlikely(!m)) {
			port_rx_drop(from, DROP_NO_CLONE, &pkts[i], 1);
			continue;
		}
		rewrite(rte_pktmbuf_mtod(m, struct rte_ether_hdr *), &addresses);
		pkts[n_kept++] = m;
	}
	if (likely(n_kept))
		fwd_send(worker, from, peer, pkts, n_kept);
}

#endif
