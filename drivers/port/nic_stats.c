/* SPDX-License-Identifier: BSD-3-Clause */
#include "nic_stats.h"

#include <rte_ethdev.h>

#include "nic_pci.h"
#include "nic_private.h"
#include "port.h"

/* Registers that are gone read as all ones, which are no counts. */
void
nic_stats_read(struct nic *nic)
{
	struct rte_eth_stats stats;

	if (!nic->configured || rte_eth_stats_get(nic->eth_id, &stats) < 0 || nic_pci_is_gone(&nic->pci))
		return;
	nic->seen_stats = (struct port_device_stats){
		.imissed = stats.imissed,
		.ierrors = stats.ierrors,
		.oerrors = stats.oerrors,
		.rx_nombuf = stats.rx_nombuf,
	};
}

struct port_device_stats
nic_stats_all(const struct nic *nic)
{
	struct port_device_stats all = nic->seen_stats;

	all.imissed += nic->lost_stats.imissed;
	all.ierrors += nic->lost_stats.ierrors;
	all.oerrors += nic->lost_stats.oerrors;
	all.rx_nombuf += nic->lost_stats.rx_nombuf;
	return all;
}

void
nic_stats_lose(struct nic *nic)
{
	nic->lost_stats = nic_stats_all(nic);
	nic->seen_stats = (struct port_device_stats){0};
}
