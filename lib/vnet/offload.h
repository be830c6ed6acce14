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

/* Of feature bits, those of offloads that lack what they need, and so for RSC_EXT ("Feature bit
 * requirements"). */
uint64_t vnet_offloads_unmet(uint64_t features);
/* Check that the features which these offloads need are among `features`. 0, or -EINVAL with diag filled. */
int vnet_offloads_check(uint64_t features, struct diag *diag);

/* ol_flags of a frame to the guest for which the header is not all zero. */
#define OFFLOAD_TO_GUEST_FLAGS (FRAME_REQUESTS | RTE_MBUF_F_RX_L4_CKSUM_MASK)

/* Does the header request an offload? If not, its unknown flags and other fields are ignored. */
static inline bool
vnet_offload_requested(const struct virtio_net_hdr *hdr)
{
	return (hdr->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) | hdr->gso_type;
}

enum vnet_offload_took {
	VNET_OFFLOAD_TAKEN,
	/* The header contradicts itself, the frame or the features: to be dropped (DROP_BAD_OFFLOAD). */
	VNET_OFFLOAD_REFUSED,
	/* The frame is borrowed (borrow.h), and more of it is needed than its head; it has no request. */
	VNET_OFFLOAD_NEEDS_WHOLE,
};

/*
 * Put what the header (a private copy) requests in the frame, which was just taken from the guest: it is not
 * shared and has no request. `offloads`: the set that was negotiated. A checksum other than that of TCP or
 * UDP at the usual place, and that of a datagram for a DHCP client, is computed here.
 */
enum vnet_offload_took vnet_offload_from_guest(struct rte_mbuf *frame, const struct virtio_net_hdr *hdr,
					       uint32_t offloads);

/* The header for a frame whose request, if any, the guest is capable of. */
struct virtio_net_hdr vnet_offload_to_guest(const struct rte_mbuf *frame);

/*
 * What RSC_EXT adds to that header, for a frame of several TCP segments: their number, and that of duplicate
 * ACKs (VIRTIO, "Processing of Incoming Packets"), in the place of where the checksum is.
 */
void vnet_offload_add_rsc(const struct rte_mbuf *frame, struct virtio_net_hdr *hdr);

#endif
