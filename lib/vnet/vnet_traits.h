/* SPDX-License-Identifier: BSD-3-Clause */
/* vnet_traits: what the burst functions of a network device are specialised for besides the ring (traits.h).
 */
#ifndef VNICD_VNET_TRAITS_H
#define VNICD_VNET_TRAITS_H

#include "traits.h"

enum vnet_trait {
	TRAIT_MERGEABLE = TRAIT_VIRTQ_N, /* VIRTIO_NET_F_MRG_RXBUF: a frame may span several buffers */
	/* From the guest: the header may ask for offloads. To the guest: frames may go with offloads undone.
	 */
	TRAIT_OFFLOAD = TRAIT_VIRTQ_N << 1,
	TRAIT_HASH_REPORT = TRAIT_VIRTQ_N
			    << 2,     /* VIRTIO_NET_F_HASH_REPORT: to the guest, a header of 20 bytes */
	TRAIT_N = TRAIT_VIRTQ_N << 3, /* number of traits words that may have functions of their own */
	/* VIRTIO_NET_F_RSC_EXT: to the guest, headers have the number of a frame's segments. Words with it
	 * run vnet_to_guest_generic(), and the burst bodies know nothing of it. */
	TRAIT_RSC = TRAIT_N,
};

#endif
