/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * filter: which frames a guest wants (VIRTIO, "Packet Receive Filtering", "Setting MAC Address Filtering",
 * "VLAN Filtering").
 *
 * Built from the settings, immutable, published in the conf of every receiveq. In this order, the first rule
 * that applies decides: promiscuous: in; tagged and its VLAN not in the map: out; broadcast: in, unless
 * nobcast; multicast: out if nomulti, in if allmulti, table overflow or in the table; unicast: out if nouni,
 * in if alluni, the own address, table overflow or in the table. Everything else: out.
 */
#ifndef VNICD_FILTER_H
#define VNICD_FILTER_H

#include <stdint.h>

#include <rte_mbuf.h>

struct vnet_filter;
struct vnet_settings;

/*
 * Control lock. *ret_filter NULL: nothing would be kept out. 0 or -ENOMEM. `vlans`: CTRL_VLAN was negotiated;
 * without it tags are not looked at.
 */
enum filter_vlans { FILTER_VLANS_IGNORED, FILTER_VLANS_BY_MAP };
int vnet_filter_build(const struct vnet_settings *settings, enum filter_vlans vlans,
		      struct vnet_filter **ret_filter);
void vnet_filter_free(struct vnet_filter *filter); /* accepts NULL; no worker sees it any more */

/*
 * Worker. Frames that are wanted to the front of pkts[], in their order, the others behind them. Returns how
 * many are wanted. Frames have at least 14 bytes in their first segment.
 */
uint16_t vnet_filter_burst(const struct vnet_filter *filter, struct rte_mbuf **pkts, uint16_t n);

#endif
