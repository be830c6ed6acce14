/* SPDX-License-Identifier: BSD-3-Clause */
#include "nic_link.h"

#include <limits.h>

#include <rte_ethdev.h>

#include "nic_kernel.h"
#include "port.h"

void
nic_link_read(uint16_t eth_id, unsigned int if_index, enum nic_link_absent absent, struct port_link *ret_link)
{
	struct rte_eth_link link;
	/* DPDK logs each question about an ethdev that there is not. */
	bool is_known = rte_eth_dev_is_valid_port(eth_id) && rte_eth_link_get_nowait(eth_id, &link) == 0;

	/* The PMD (tap) looks it up by name in this namespace, and reports it down if it is elsewhere. */
	if (if_index && absent == NIC_LINK_ABSENT_UNKNOWN && !nic_kernel_is_here(if_index)) {
		if_index = 0;
		is_known = false;
	}

	*ret_link = (struct port_link){.speed = PORT_SPEED_UNKNOWN, .duplex = PORT_DUPLEX_UNKNOWN};
	/* A link whose state the PMD can't tell counts as up. */
	ret_link->up = !is_known || link.link_status == RTE_ETH_LINK_UP;
	/* Some PMDs (af_packet) report the link as up whenever they are started. */
	if (ret_link->up && if_index)
		ret_link->up = nic_kernel_link_is_up(if_index);
	if (!ret_link->up || !is_known || link.link_speed == RTE_ETH_SPEED_NUM_NONE ||
	    link.link_speed > INT_MAX)
		return;
	ret_link->speed = (int32_t)link.link_speed;
	ret_link->duplex = link.link_duplex == RTE_ETH_LINK_FULL_DUPLEX ? PORT_DUPLEX_FULL : PORT_DUPLEX_HALF;
}
