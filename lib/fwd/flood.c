/* SPDX-License-Identifier: BSD-3-Clause */
/* flood: frames to every port but the one they came from. */
#include "fwd.h"

/* Copies of n frames to `to`. A copy that can't be made counts as made and dropped, so that the sums hold. */
static void
flood_send_copies(struct fwd_worker *worker, struct port_rxq *from, struct port *to, struct rte_mbuf **pkts,
		  uint16_t n)
{
	struct rte_mbuf *copies[PORT_BURST];
	uint16_t n_copies = 0;

	/* Copies share their data. */
	if (from->borrowed)
		borrow_materialise_burst(pkts, n);
	for (uint16_t i = 0; i < n; i++) {
		copies[n_copies] = rte_pktmbuf_clone(pkts[i], worker->clone_pool);
		if (likely(copies[n_copies]))
			n_copies++;
	}
	counter_add(&from->stats.copies, n);
	counter_add(&from->stats.drops[DROP_NO_CLONE], n - n_copies);
	if (n_copies)
		fwd_send(worker, from, to, copies, n_copies);
}

void
fwd_flood(struct fwd_worker *worker, struct port_rxq *from, struct rte_mbuf **pkts, uint16_t n)
{
	const struct fwd_plan *plan = worker->plan;
	struct port *last = NULL;

	for (uint16_t i = 0; i < plan->n_ports; i++) {
		if (plan->ports[i] == from->port || fwd_is_isolated(from->port, plan->ports[i]))
			continue;
		if (last)
			flood_send_copies(worker, from, last, pkts, n);
		last = plan->ports[i];
	}
	if (last)
		fwd_send(worker, from, last, pkts, n);
	else
		port_rx_drop(from, DROP_NO_PORT, pkts, n);
}
