/* SPDX-License-Identifier: BSD-3-Clause */
/* mac: frames go to the other port of the pair, from its address to a made-up station behind it. */
#include "rewrite.h"

static __rte_always_inline void
mac_rewrite(struct rte_ether_hdr *eth, const struct rte_ether_hdr *addresses)
{
	eth->dst_addr = addresses->dst_addr;
	eth->src_addr = addresses->src_addr;
}

static void
mac_forward(struct fwd_worker *worker, struct port_rxq *from, struct rte_mbuf **pkts, uint16_t n)
{
	rewrite_forward(worker, from, pkts, n, mac_rewrite);
}

static struct fwd_mode mac_mode = {
	.name = "mac",
	.help = "ports in pairs; source becomes the address of the port it leaves by, destination "
		"02:00:00:00:00:NN",
	.check = fwd_check_pairs,
	.forward = mac_forward,
	.accepts_borrowed = true,
};
FWD_MODE_REGISTER(mac_mode)
