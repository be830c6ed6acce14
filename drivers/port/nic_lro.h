/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * nic_lro: frames that a device has joined of TCP segments (LRO, RSC, TPA), whose headers are made right.
 *
 * What devices leave in the header of a joined frame differs, and so does what their PMDs say of it: some
 * give the segments' size (RTE_MBUF_F_RX_LRO), some nothing at all; some have a checksum of the whole, some
 * that of the first segment. So what can be told by the frame alone is written anew: IP's length and
 * checksum; TCP's checksum is left open, and the frame requests it and its segmentation (request.h), as one
 * from a guest does.
 */
#ifndef VNICD_NIC_LRO_H
#define VNICD_NIC_LRO_H

#include <stdbool.h>
#include <stdint.h>

#include <rte_ethdev.h>
#include <rte_mbuf.h>

/* As the key lro= says it. */
enum nic_lro_mode {
	NIC_LRO_AUTO, /* from virtio devices, whose frames come as a guest's do */
	NIC_LRO_OFF,
	NIC_LRO_ON, /* from any device */
	NIC_LRO_N,
};

extern const char *const nic_lro_words[NIC_LRO_N];

struct nic_lro {
	/* read by workers */
	bool is_on; /* frames are to be looked at by nic_lro_burst() */
	uint16_t mtu;
};

/*
 * Ask for it in `conf`, if the mode says so. `is_virtio`: nic_offload receives its frames. 0, or -ENOTSUP:
 * the mode is NIC_LRO_ON, and the device does not join.
 */
int nic_lro_configure(struct nic_lro *lro, const struct rte_eth_dev_info *info, enum nic_lro_mode mode,
		      bool is_virtio, struct rte_eth_conf *conf);
/* When the device's MTU is set: it has the longest segment, where the device does not say. */
void nic_lro_set_mtu(struct nic_lro *lro, uint16_t mtu);

/* --- worker --- */

/* Of n frames from the device, which nobody shares and whose tags are in place; all of them stay. */
void nic_lro_burst(const struct nic_lro *lro, struct rte_mbuf **pkts, uint16_t n);

#endif
