/* SPDX-License-Identifier: BSD-3-Clause */
/* The class CTRL_VLAN: tags let in (VIRTIO, "VLAN Filtering"). */
#include <errno.h>
#include <linux/virtio_net.h>

#include "controlq.h"
#include "vnet_dev.h"

/* The bit of the map that the command is about. */
static int
vlan_find(const struct controlq_request *request, uint64_t **ret_word, uint64_t *ret_bit)
{
	uint16_t vlan;

	if (request->len != sizeof(vlan))
		return -EINVAL;
	vlan = controlq_le16(request->data);
	if (vlan >= FILTER_VLANS)
		return -ERANGE;
	*ret_word = &request->settings->filter.vlans[vlan / 64];
	*ret_bit = 1ull << vlan % 64;
	return 0;
}

static int
vlan_add(const struct vnet_dev *dev, struct controlq_request *request)
{
	uint64_t *word, bit;
	int ret = vlan_find(request, &word, &bit);

	if (ret == 0)
		*word |= bit;
	return ret;
}

static int
vlan_del(const struct vnet_dev *dev, struct controlq_request *request)
{
	uint64_t *word, bit;
	int ret = vlan_find(request, &word, &bit);

	if (ret == 0)
		*word &= ~bit;
	return ret;
}

static struct controlq_command vlan_commands[] = {
	{.name = "VLAN_ADD",
	 .class = VIRTIO_NET_CTRL_VLAN,
	 .command = VIRTIO_NET_CTRL_VLAN_ADD,
	 .features = FEATURE_MASK(NET_CTRL_VLAN),
	 .run = vlan_add},
	{.name = "VLAN_DEL",
	 .class = VIRTIO_NET_CTRL_VLAN,
	 .command = VIRTIO_NET_CTRL_VLAN_DEL,
	 .features = FEATURE_MASK(NET_CTRL_VLAN),
	 .run = vlan_del},
};

CONTROLQ_COMMANDS_REGISTER(vlan_commands)
