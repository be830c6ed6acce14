/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * offload: what the virtio-net header requests, as a request in the mbuf, and the other way round (VIRTIO,
 * "Packet Transmission", "Processing of Incoming Packets"). How a request looks in an mbuf is in
 * software_offload.h.
 */
#ifndef VNICD_OFFLOAD_H
#define VNICD_OFFLOAD_H

#include <stdbool.h>
#include <stdint.h>

#include <linux/virtio_net.h>
#include <rte_mbuf.h>

#include "software_offload.h"

/* ol_flags that make a header to the guest say anything. */
#define OFFLOAD_TO_GUEST_FLAGS (FRAME_REQUESTS | RTE_MBUF_F_RX_L4_CKSUM_MASK)

/* The header requests something. Unknown flags, and all fields besides, mean nothing then. */
static inline bool
vnet_offload_requested(const struct virtio_net_hdr *hdr)
{
	return (hdr->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) | hdr->gso_type;
}

/*
 * Put what the header (a private copy) asks for in the frame, which is fresh from the guest: nobody shares it
 * and it has no request. `offloads`: feature bits that the driver has. A checksum that is not plainly that of
 * TCP or UDP is computed here. False: the header contradicts itself, the frame or the features, and the frame
 * has to be dropped (DROP_BAD_OFFLOAD).
 */
bool vnet_offload_from_guest(struct rte_mbuf *frame, const struct virtio_net_hdr *hdr, uint64_t offloads);

/* The header for a frame whose request, if any, the guest takes. */
struct virtio_net_hdr vnet_offload_to_guest(const struct rte_mbuf *frame);

/* enum port_capabilities of a guest that has the offloads `offloads` (feature bits) switched on. */
unsigned int vnet_offload_capabilities(uint64_t offloads);

#endif
