/* SPDX-License-Identifier: BSD-3-Clause */
/* flood: frames to several ports, or to every port but the one they came from. */
#include "fwd.h"

/* Copies of n frames to `to`. A copy that can't be made counts as made and dropped, so that the sums hold. */
static void
flood_send_copies(struct fwd_worker *worker, struct port_rxq *from, struct port *to, struct rte_mbuf **pkts,
		  uint16_t n)
{
	struct rte_mbuf *copies[PORT_BURST];
	uint16_t n_copies = 0;

	for (uint16_t i = 0; i < n; i++) {
		copies[n_copies] = rte_pktmbuf_clone(pkts[i], worker->clone_pool);
		if (likely(copies[n_copies]))
			n_copies++;
		else
			port_rx_count_drop(from, DROP_NO_CLONE, &pkts[i], 1);
	}
	counter_add(&from->stats.copies, n);
	if (n_copies)
		fwd_send(worker, from, to, copies, n_copies);
}

void
fwd_send_all(struct fwd_worker *worker, struct port_rxq *from, struct port *const to[], uint16_t n_to,
	     struct rte_mbuf **pkts, uint16_t n)
{
	if (unlikely(n_to == 0)) {
		port_rx_drop(from, DROP_NO_PORT, pkts, n);
		return;
	}
	/* Copies share their data. */
	if (from->borrowed && n_to > 1) {
		n = fwd_materialise(from, pkts, n);
		if (unlikely(n == 0))
			return;
	}
	for (uint16_t i = 0; i < n_to - 1; i++)
		flood_send_copies(worker, from, to[i], pkts, n);
	fwd_send(worker, from, to[n_to - 1], pkts, n);
}

void
fwd_flood(struct fwd_worker *worker, struct port_rxq *from, struct rte_mbuf **pkts, uint16_t n)
{
	const struct fwd_plan *plan = worker->plan;
	struct port *to[PORT_MAX];
	uint16_t n_to = 0;

	for (uint16_t i = 0; i < plan->n_ports; i++) {
		to[n_to] = plan->ports[i];
		n_to += plan->ports[i] != from->port;
	}
	fwd_send_all(worker, from, to, n_to, pkts, n);
}
