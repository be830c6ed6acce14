/* SPDX-License-Identifier: BSD-3-Clause */
#include "steer.h"

#include <stdlib.h>

struct vnet_flows {
	int unused;
};

struct vnet_flows *
vnet_flows_new(void)
{
	return calloc(1, sizeof(struct vnet_flows));
}

void
vnet_flows_free(struct vnet_flows *flows)
{
	free(flows);
}

void
vnet_flows_learn(struct vnet_flows *flows, uint16_t pair, struct rte_mbuf *const *pkts, uint16_t n)
{
}

int
vnet_steer_build(const struct vnet_settings *settings, uint16_t n_pairs, enum steer_report report,
		 const struct vnet_flows *flows, struct port_steer **ret_steer)
{
	*ret_steer = NULL;
	return 0;
}

void
vnet_steer_free(struct port_steer *steer)
{
}
