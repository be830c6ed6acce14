/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * offload: what the virtio-net header requests, as a request in the mbuf, and the other way round (VIRTIO,
 * "Packet Transmission", "Processing of Incoming Packets"). How a request looks in an mbuf, and what a set of
 * offloads is, is in request.h.
 */
#ifndef VNICD_OFFLOAD_H
#define VNICD_OFFLOAD_H

#include <stdbool.h>
#include <stdint.h>

#include <linux/virtio_net.h>
#include <rte_mbuf.h>

#include "request.h"
#include "vdev.h"

#ifndef VIRTIO_NET_HDR_GSO_UDP_L4 /* Linux 6.2 */
#define VIRTIO_NET_HDR_GSO_UDP_L4 5
#endif

/* Feature bits of the offloads that frames from the guest may request, */
#define OFFLOAD(symbol, name, host, ...) | FEATURE_MASK(host)
enum {
	VNET_HOST_OFFLOADS = 0ull
#include "offloads.def"
};
#undef OFFLOAD

/* and of those of frames to the guest, which GUEST_OFFLOADS_SET switches. */
#define OFFLOAD(symbol, name, host, guest, ...) | FEATURE_MASK(guest)
enum {
	VNET_GUEST_OFFLOADS = 0ull
#include "offloads.def"
};
#undef OFFLOAD

/* The set of offloads that feature bits mean, for frames from the guest, */
static inline uint32_t
vnet_offloads_host(uint64_t features)
{
	uint32_t set = 0;

#define OFFLOAD(symbol, name, host, ...) set |= features & FEATURE_MASK(host) ? OFFLOAD_BIT(symbol) : 0;
#include "offloads.def"
#undef OFFLOAD
	return set;
}

/* and for frames to it. */
static inline uint32_t
vnet_offloads_guest(uint64_t features)
{
	uint32_t set = 0;

#define OFFLOAD(symbol, name, host, guest, ...) \
	set |= features & FEATURE_MASK(guest) ? OFFLOAD_BIT(symbol) : 0;
#include "offloads.def"
#undef OFFLOAD
	return set;
}

/* Of feature bits, those of offloads that lack what they need ("Feature bit requirements"). */
uint64_t vnet_offloads_unmet(uint64_t features);
/* Accepted features lack what these need. 0, or -EINVAL with diag filled. */
int vnet_offloads_check(uint64_t features, struct diag *diag);

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
 * and it has no request. `offloads`: the set that the driver has. A checksum that is not plainly that of
 * TCP or UDP is computed here. False: the header contradicts itself, the frame or the features, and the frame
 * has to be dropped (DROP_BAD_OFFLOAD).
 */
bool vnet_offload_from_guest(struct rte_mbuf *frame, const struct virtio_net_hdr *hdr, uint32_t offloads);

/* The header for a frame whose request, if any, the guest is capable of. */
struct virtio_net_hdr vnet_offload_to_guest(const struct rte_mbuf *frame);

#endif
