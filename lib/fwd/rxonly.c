/* SPDX-License-Identifier: BSD-3-Clause */
/* rxonly: takes frames in, counts them, sends nothing. */
#include "fwd.h"

static void
rxonly_forward(struct fwd_worker *worker, struct port_rxq *from, struct rte_mbuf **pkts, uint16_t n)
{
	port_rx_consume(from, pkts, n);
}

static struct fwd_mode rxonly_mode = {
	.name = "rxonly",
	.help = "takes frames in and counts them",
	.forward = rxonly_forward,
	.accepts_borrowed = true,
};
FWD_MODE_REGISTER(rxonly_mode)
