/* SPDX-License-Identifier: BSD-3-Clause */
#include "nic_flow.h"

#include <rte_ethdev.h>

const char *const nic_flow_words[NIC_FLOW_N] = {
	[NIC_FLOW_OFF] = "off", [NIC_FLOW_RX] = "rx", [NIC_FLOW_TX] = "tx", [NIC_FLOW_FULL] = "full"};

static const enum rte_eth_fc_mode nic_flow_modes[NIC_FLOW_N] = {
	[NIC_FLOW_OFF] = RTE_ETH_FC_NONE,
	[NIC_FLOW_RX] = RTE_ETH_FC_RX_PAUSE,
	[NIC_FLOW_TX] = RTE_ETH_FC_TX_PAUSE,
	[NIC_FLOW_FULL] = RTE_ETH_FC_FULL,
};

int
nic_flow_set(uint16_t eth_id, enum nic_flow_mode mode)
{
	struct rte_eth_fc_conf conf = {0};
	int ret;

	if (mode == NIC_FLOW_DEVICE)
		return 0;
	/* Water marks, pause time and autonegotiation stay the driver's. */
	ret = rte_eth_dev_flow_ctrl_get(eth_id, &conf);
	if (ret < 0)
		return ret;
	conf.mode = nic_flow_modes[mode];
	return rte_eth_dev_flow_ctrl_set(eth_id, &conf);
}
