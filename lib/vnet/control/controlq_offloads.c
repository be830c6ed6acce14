/* SPDX-License-Identifier: BSD-3-Clause */
/* The class CTRL_GUEST_OFFLOADS: offloads of frames to the guest (VIRTIO, "Offloads State Configuration"). */
#include <errno.h>
#include <linux/virtio_net.h>

#include "controlq.h"
#include "offload.h"
#include "vnet_dev.h"

/* Bits as in the features, and so are their dependencies ("Feature bit requirements"). */
static int
offloads_set(const struct vnet_dev *dev, struct controlq_request *request)
{
	uint64_t offloads;

	if (request->len != sizeof(offloads))
		return -EINVAL;
	/* RSC_EXT is none of these in VIRTIO; drivers and devices have it here all the same, and it goes with
	 * TSO4 and TSO6. */
	offloads = controlq_le64(request->data);
	offloads &= ~(dev->vdev.said.features & FEATURE_MASK(NET_RSC_EXT));
	if (offloads & ~(dev->vdev.said.features & VNET_GUEST_OFFLOADS))
		return -EOPNOTSUPP;
	if (offloads_unmet(vnet_offloads_guest(offloads)))
		return -EINVAL;
	request->settings->offloads = offloads;
	return 0;
}

static struct controlq_command offloads_commands[] = {
	{.name = "GUEST_OFFLOADS_SET",
	 .class = VIRTIO_NET_CTRL_GUEST_OFFLOADS,
	 .command = VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET,
	 .features = FEATURE_MASK(NET_CTRL_GUEST_OFFLOADS),
	 .run = offloads_set},
};

CONTROLQ_COMMANDS_REGISTER(offloads_commands)
