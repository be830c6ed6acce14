/* SPDX-License-Identifier: BSD-3-Clause */
#include "nic_describe.h"

#include <stdatomic.h>
#include <stdio.h>

#include "nic_args.h"
#include "nic_flow.h"
#include "nic_limit.h"
#include "nic_private.h"
#include "port.h"

void
nic_describe(const struct nic *nic, struct port *port, const struct port_config *config)
{
	const struct nic_args *args = config->args;
	char link_text[64] = "link up", flow_text[32] = "";
	struct port_link link;

	nic_limit_link(&nic->limit, &link);
	if (atomic_load_explicit(&nic->is_lost, memory_order_relaxed))
		snprintf(link_text, sizeof(link_text), "lost");
	else if (!link.up)
		snprintf(link_text, sizeof(link_text), "link down");
	else if (link.speed > 0)
		snprintf(link_text, sizeof(link_text), "link up at %d Mbit/s", link.speed);
	if (args->flow_control != NIC_FLOW_DEVICE)
		snprintf(flow_text, sizeof(flow_text), ", flow control %s",
			 nic_flow_words[args->flow_control]);
	snprintf(port->describe, sizeof(port->describe), "nic %s (driver %s), %u queue pair%s, %s%s",
		 nic->dev_name, nic->driver_name, port->n_queues, port->n_queues == 1 ? "" : "s", link_text,
		 flow_text);
}
