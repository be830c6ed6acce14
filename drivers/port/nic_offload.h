/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * nic_offload: what a device does of a frame's request (request.h), and what frames from it still request.
 *
 * A request is turned into what the device wants just before it gets the frame: DPDK's drivers have their own
 * ideas of the pseudo header, and rte_eth_tx_prepare() writes them into the headers. So that is done to
 * frames that nobody shares.
 */
#ifndef VNICD_NIC_OFFLOAD_H
#define VNICD_NIC_OFFLOAD_H

#include <stdbool.h>
#include <stdint.h>

#include <rte_ethdev.h>
#include <rte_mbuf.h>

struct nic_offload {
	/* read by workers */
	uint32_t capabilities; /* offloads (offloads.def) that the device does of a frame to it: a set */
	uint64_t ip_checksum;  /* RTE_MBUF_F_TX_IP_CKSUM where that goes with segmentation of IPv4; 0: not */
	uint16_t segs_max;     /* of a frame that is to be segmented */
	/* Frames from it may lack their checksum, or be several joined: nic_offload_receive(). */
	bool gives_partial;
};

/* Asks for all of it that `info` says, but what is `without` (a set) and what needs that, in `conf`. */
void nic_offload_configure(struct nic_offload *offload, const struct rte_eth_dev_info *info, uint32_t without,
			   struct rte_eth_conf *conf);

/* --- worker --- */

/* ol_flags of a frame for which nic_offload_receive() is due. */
static inline bool
nic_offload_is_partial(uint64_t flags)
{
	return (flags & RTE_MBUF_F_RX_L4_CKSUM_MASK) == RTE_MBUF_F_RX_L4_CKSUM_NONE ||
	       flags & RTE_MBUF_F_RX_LRO;
}

/* What the device has left open becomes the frame's request. False: it can't be known what that is. */
bool nic_offload_receive(struct rte_mbuf *frame);

/*
 * Of n frames that request nothing beyond the capabilities, those that the device will take: to the front,
 * ready for it. A frame that is shared becomes a copy from `pool`. Returns their number; the others follow,
 * as they came: what they request has to be done in software, or there was no packet buffer.
 */
uint16_t nic_offload_prepare(const struct nic_offload *offload, uint16_t eth_id, uint16_t queue_idx,
			     struct rte_mempool *pool, struct rte_mbuf **pkts, uint16_t n);

#endif
