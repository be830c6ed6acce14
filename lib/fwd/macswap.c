/* SPDX-License-Identifier: BSD-3-Clause */
/* macswap: frames go to the other port of the pair with source and destination address exchanged. */
#include "rewrite.h"

static __rte_always_inline void
macswap_rewrite(struct rte_ether_hdr *eth, const struct rte_ether_hdr *addresses)
{
	struct rte_ether_addr dst = eth->dst_addr;

	eth->dst_addr = eth->src_addr;
	eth->src_addr = dst;
}

static void
macswap_forward(struct fwd_worker *worker, struct port_rxq *from, struct rte_mbuf **pkts, uint16_t n)
{
	rewrite_forward(worker, from, pkts, n, macswap_rewrite);
}

static struct fwd_mode macswap_mode = {
	.name = "macswap",
	.help = "ports in pairs; source and destination address are exchanged",
	.check = fwd_check_pairs,
	.forward = macswap_forward,
	.accepts_borrowed = true,
};
FWD_MODE_REGISTER(macswap_mode)
