/* SPDX-License-Identifier: BSD-3-Clause */
/* The class CTRL_ANNOUNCE (VIRTIO, "Gratuitous Packet Sending"). */
#include <errno.h>
#include <linux/virtio_net.h>

#include "controlq.h"
#include "vnet_dev.h"

/* Nothing to acknowledge is an error, as with QEMU: the driver took something for a request that was none. */
static int
announce_ack(const struct vnet_dev *dev, struct controlq_request *request)
{
	if (request->len != 0)
		return -EINVAL;
	if (!request->settings->announce)
		return -EALREADY;
	request->settings->announce = false;
	return 0;
}

static struct controlq_command announce_commands[] = {
	{.name = "ANNOUNCE_ACK",
	 .class = VIRTIO_NET_CTRL_ANNOUNCE,
	 .command = VIRTIO_NET_CTRL_ANNOUNCE_ACK,
	 .features = FEATURE_MASK(NET_GUEST_ANNOUNCE),
	 .run = announce_ack},
};

CONTROLQ_COMMANDS_REGISTER(announce_commands)
