/* SPDX-License-Identifier: BSD-3-Clause */
/* io: frames go to the other port of the pair, unchanged. */
#include "fwd.h"

static void
io_forward(struct fwd_worker *worker, struct port_rxq *from, struct rte_mbuf **pkts, uint16_t n)
{
	struct port *peer = worker->plan->peer_by_id[from->port->id];

	if (likely(peer))
		fwd_send(worker, from, peer, pkts, n);
	else
		port_rx_drop(from, DROP_NO_PORT, pkts, n);
}

static struct fwd_mode io_mode = {
	.name = "io",
	.help = "ports in pairs: what comes from one goes to the other, unchanged",
	.check = fwd_check_pairs,
	.forward = io_forward,
	.accepts_borrowed = true,
};
FWD_MODE_REGISTER(io_mode)
