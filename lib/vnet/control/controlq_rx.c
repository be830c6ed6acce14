/* SPDX-License-Identifier: BSD-3-Clause */
/* The class CTRL_RX: receive modes (VIRTIO, "Packet Receive Filtering"). */
#include <errno.h>
#include <linux/virtio_net.h>

#include "controlq.h"
#include "vnet_dev.h"

static int
rx_set(const struct controlq_request *request, bool *mode)
{
	if (request->len != 1 || request->data[0] > 1)
		return -EINVAL;
	*mode = request->data[0];
	return 0;
}

static int
rx_promisc(const struct vnet_dev *dev, struct controlq_request *request)
{
	return rx_set(request, &request->settings->filter.promisc);
}

static int
rx_allmulti(const struct vnet_dev *dev, struct controlq_request *request)
{
	return rx_set(request, &request->settings->filter.allmulti);
}

static int
rx_alluni(const struct vnet_dev *dev, struct controlq_request *request)
{
	return rx_set(request, &request->settings->filter.alluni);
}

static int
rx_nomulti(const struct vnet_dev *dev, struct controlq_request *request)
{
	return rx_set(request, &request->settings->filter.nomulti);
}

static int
rx_nouni(const struct vnet_dev *dev, struct controlq_request *request)
{
	return rx_set(request, &request->settings->filter.nouni);
}

static int
rx_nobcast(const struct vnet_dev *dev, struct controlq_request *request)
{
	return rx_set(request, &request->settings->filter.nobcast);
}

static struct controlq_command rx_commands[] = {
	{.name = "RX_PROMISC",
	 .class = VIRTIO_NET_CTRL_RX,
	 .command = VIRTIO_NET_CTRL_RX_PROMISC,
	 .features = FEATURE_MASK(NET_CTRL_RX),
	 .run = rx_promisc},
	{.name = "RX_ALLMULTI",
	 .class = VIRTIO_NET_CTRL_RX,
	 .command = VIRTIO_NET_CTRL_RX_ALLMULTI,
	 .features = FEATURE_MASK(NET_CTRL_RX),
	 .run = rx_allmulti},
	{.name = "RX_ALLUNI",
	 .class = VIRTIO_NET_CTRL_RX,
	 .command = VIRTIO_NET_CTRL_RX_ALLUNI,
	 .features = FEATURE_MASK(NET_CTRL_RX_EXTRA),
	 .run = rx_alluni},
	{.name = "RX_NOMULTI",
	 .class = VIRTIO_NET_CTRL_RX,
	 .command = VIRTIO_NET_CTRL_RX_NOMULTI,
	 .features = FEATURE_MASK(NET_CTRL_RX_EXTRA),
	 .run = rx_nomulti},
	{.name = "RX_NOUNI",
	 .class = VIRTIO_NET_CTRL_RX,
	 .command = VIRTIO_NET_CTRL_RX_NOUNI,
	 .features = FEATURE_MASK(NET_CTRL_RX_EXTRA),
	 .run = rx_nouni},
	{.name = "RX_NOBCAST",
	 .class = VIRTIO_NET_CTRL_RX,
	 .command = VIRTIO_NET_CTRL_RX_NOBCAST,
	 .features = FEATURE_MASK(NET_CTRL_RX_EXTRA),
	 .run = rx_nobcast},
};

CONTROLQ_COMMANDS_REGISTER(rx_commands)
