/* SPDX-License-Identifier: BSD-3-Clause */
/* The class CTRL_MAC: addresses let in (VIRTIO, "Setting MAC Address Filtering"). */
#include <errno.h>
#include <linux/virtio_net.h>
#include <string.h>

#include "controlq.h"
#include "vnet_dev.h"

enum { MAC_COUNT_LEN = 4 };

/*
 * Takes one table from the front of what is left. A table with more addresses than there is room for is empty
 * and overflows: the best-effort filter then lets in all of its kind, instead of some that the driver can't
 * tell from the others.
 */
static int
mac_table(struct controlq_request *request, uint32_t room, struct filter_macs *macs)
{
	uint32_t n;

	if (request->len < MAC_COUNT_LEN)
		return -EINVAL;
	n = controlq_le32(request->data);
	request->data += MAC_COUNT_LEN;
	request->len -= MAC_COUNT_LEN;
	if (n > request->len / RTE_ETHER_ADDR_LEN)
		return -EINVAL;
	memset(macs, 0, sizeof(*macs));
	macs->overflow = n > room;
	if (!macs->overflow) {
		macs->n = (uint16_t)n;
		memcpy(macs->addrs, request->data, n * RTE_ETHER_ADDR_LEN);
	}
	request->data += n * RTE_ETHER_ADDR_LEN;
	request->len -= n * RTE_ETHER_ADDR_LEN;
	return 0;
}

/*
 * As with QEMU, unicast addresses come first for the room there is. A table may hold an address of the other
 * kind (Linux does not look when a program asks for it): it matches nothing, and is no reason to refuse the
 * rest.
 */
static int
mac_table_set(const struct vnet_dev *dev, struct controlq_request *request)
{
	struct vnet_settings *settings = request->settings;
	int ret = mac_table(request, FILTER_MACS_MAX, &settings->filter.unicast);

	if (ret < 0)
		return ret;
	ret = mac_table(request, (uint32_t)FILTER_MACS_MAX - settings->filter.unicast.n,
			&settings->filter.multicast);
	if (ret < 0)
		return ret;
	return request->len ? -EINVAL : 0;
}

static int
mac_addr_set(const struct vnet_dev *dev, struct controlq_request *request)
{
	struct rte_ether_addr mac;

	if (request->len != RTE_ETHER_ADDR_LEN)
		return -EINVAL;
	memcpy(&mac, request->data, sizeof(mac));
	if (!rte_is_valid_assigned_ether_addr(&mac))
		return -EINVAL;
	request->settings->filter.mac = mac;
	return 0;
}

static struct controlq_command mac_commands[] = {
	{.name = "MAC_TABLE_SET",
	 .class = VIRTIO_NET_CTRL_MAC,
	 .command = VIRTIO_NET_CTRL_MAC_TABLE_SET,
	 .features = FEATURE_MASK(NET_CTRL_RX),
	 .run = mac_table_set},
	{.name = "MAC_ADDR_SET",
	 .class = VIRTIO_NET_CTRL_MAC,
	 .command = VIRTIO_NET_CTRL_MAC_ADDR_SET,
	 .features = FEATURE_MASK(NET_CTRL_MAC_ADDR),
	 .run = mac_addr_set},
};

CONTROLQ_COMMANDS_REGISTER(mac_commands)
