/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * filter: which frames a guest wants (VIRTIO, "Packet Receive Filtering", "Setting MAC Address Filtering",
 * "VLAN Filtering").
 *
 * Built from the driver's rules, immutable, published in port->filter. In this order, the first
 * rule that applies decides: promiscuous: in; tagged and its VLAN not in the map: out; broadcast: in, unless
 * nobcast; multicast: out if nomulti, in if allmulti, table overflow or in the table; unicast: out if nouni,
 * in if alluni, the own address, table overflow or in the table. Everything else: out.
 */
#ifndef VNICD_FILTER_H
#define VNICD_FILTER_H

#include <stdbool.h>
#include <stdint.h>

#include <rte_ether.h>
#include <rte_mbuf.h>

#include "port.h"

enum {
	FILTER_MACS_MAX = 64, /* entries in both MAC tables together, as with QEMU */
	FILTER_VLANS = 4096,  /* IEEE 802.1Q: 12 bits */
};

/* VIRTIO, "Packet Receive Filtering". Overflow: the driver has more addresses than the table; all are let in.
 */
struct filter_macs {
	uint16_t n;
	bool overflow;
	struct rte_ether_addr addrs[FILTER_MACS_MAX];
};

/* As a driver sets them; the address is its own. */
struct vnet_filter_rules {
	struct rte_ether_addr mac;
	bool promisc, allmulti, alluni, nomulti, nouni, nobcast;
	struct filter_macs unicast, multicast;
	uint64_t vlans[FILTER_VLANS / 64]; /* bit: frames with this tag are let in */
};

struct vnet_filter;

/*
 * Control lock. *ret_filter NULL: nothing would be kept out. 0 or -ENOMEM. `vlans`: CTRL_VLAN was negotiated;
 * without it tags are not looked at.
 */
enum filter_vlans { FILTER_VLANS_IGNORED, FILTER_VLANS_BY_MAP };
int vnet_filter_build(const struct vnet_filter_rules *rules, enum filter_vlans vlans,
		      struct vnet_filter **ret_filter);
void vnet_filter_free(struct vnet_filter *filter); /* accepts NULL; no worker sees it any more */

/*
 * Worker. Frames that are wanted to the front of pkts[], in their order, the others behind them. Returns how
 * many are wanted. Frames have at least 14 bytes in their first segment.
 */
uint16_t vnet_filter_burst(const struct vnet_filter *filter, struct rte_mbuf **pkts, uint16_t n);

/* What is published of it; NULL of NULL. */
const struct port_filter *vnet_filter_port(const struct vnet_filter *filter);

#endif
