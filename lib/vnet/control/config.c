/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * config: the configuration space (VIRTIO, "Device configuration layout" of the network device), and the link
 * that it tells of.
 *
 * A field exists when a feature of its is offered: the driver may read it before it has chosen any. Those
 * that don't exist read as 0, and the space ends with the last one that does.
 */
#include <assert.h>
#include <errno.h>
#include <linux/virtio_net.h>
#include <stddef.h>
#include <string.h>

#include "reconcile.h"
#include "vnet_dev.h"

/* VIRTIO gives two meanings to 0 and 1 here: half and full in its description and in Linux's driver, which
 * hands the field to ethtool as it is; full and half in the device's requirements. We go with the drivers. */
static_assert((int)VNET_DUPLEX_HALF == (int)PORT_DUPLEX_HALF &&
		      (int)VNET_DUPLEX_FULL == (int)PORT_DUPLEX_FULL &&
		      (int)VNET_DUPLEX_UNKNOWN == (int)PORT_DUPLEX_UNKNOWN &&
		      (int)VNET_SPEED_UNKNOWN == (int)PORT_SPEED_UNKNOWN,
	      "a port's link goes to its guest as it is");

#define CONFIG_FIELD(member) \
	offsetof(struct virtio_net_config, member), sizeof(((struct virtio_net_config *)0)->member)

static const struct {
	uint16_t offset, size;
	uint64_t needs_one_of;
} config_fields[] = {
	{CONFIG_FIELD(mac), FEATURE_MASK(NET_MAC)},
	{CONFIG_FIELD(status), FEATURE_MASK(NET_STATUS)},
	{CONFIG_FIELD(max_virtqueue_pairs), FEATURE_MASK(NET_MQ) | FEATURE_MASK(NET_RSS)},
	{CONFIG_FIELD(mtu), FEATURE_MASK(NET_MTU)},
	{CONFIG_FIELD(speed), FEATURE_MASK(NET_SPEED_DUPLEX)},
	{CONFIG_FIELD(duplex), FEATURE_MASK(NET_SPEED_DUPLEX)},
	{CONFIG_FIELD(rss_max_key_size), FEATURE_MASK(NET_RSS) | FEATURE_MASK(NET_HASH_REPORT)},
	{CONFIG_FIELD(rss_max_indirection_table_length), FEATURE_MASK(NET_RSS)},
	{CONFIG_FIELD(supported_hash_types), FEATURE_MASK(NET_RSS) | FEATURE_MASK(NET_HASH_REPORT)},
};

unsigned int
vnet_config_read(const struct vdev *vdev, uint8_t space[VDEV_CONFIG_MAX])
{
	const struct vnet_dev *dev = vdev->type_dev;
	const uint64_t offered = vnet_features(vdev);
	struct virtio_net_config config = {
		.status = (uint16_t)((dev->input.link.up ? VIRTIO_NET_S_LINK_UP : 0) |
				     (dev->input.settings.announce ? VIRTIO_NET_S_ANNOUNCE : 0)),
		.max_virtqueue_pairs = dev->n_pairs,
		.mtu = dev->offered_mtu,
		.speed = (uint32_t)dev->input.link.speed,
		.duplex = dev->input.link.duplex,
		.rss_max_key_size = STEER_RSS_KEY_LEN,
		.rss_max_indirection_table_length = STEER_RSS_TABLE_MAX,
		.supported_hash_types = HASH_TYPES_ALL,
	};
	unsigned int len = 0;

	static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the fields are stored as they are");
	memcpy(config.mac, dev->input.settings.filter.mac.addr_bytes, sizeof(config.mac));
	memset(space, 0, VDEV_CONFIG_MAX);
	for (size_t i = 0; i < RTE_DIM(config_fields); i++) {
		if (!(offered & config_fields[i].needs_one_of))
			continue;
		memcpy(space + config_fields[i].offset, (const uint8_t *)&config + config_fields[i].offset,
		       config_fields[i].size);
		len = (unsigned int)config_fields[i].offset + config_fields[i].size;
	}
	return len;
}

/* Only a legacy driver may write here, and only its MAC address. */
int
vnet_config_write(struct vdev *vdev, unsigned int offset, const uint8_t *data, unsigned int len,
		  bool migration)
{
	struct vnet_dev *dev = vdev->type_dev;

	if (offset >= RTE_ETHER_ADDR_LEN || len == 0 || len > RTE_ETHER_ADDR_LEN - offset)
		return -EROFS;
	if (!migration && vdev->said.features & FEATURE_MASK(VERSION_1))
		return -EROFS;
	memcpy(dev->draft.settings.filter.mac.addr_bytes + offset, data, len);
	return vnet_apply(dev);
}

void
vnet_config_notify(struct vnet_dev *dev)
{
	if (dev->vdev.config_changed)
		dev->vdev.config_changed(dev->vdev.config_changed_arg);
}

int
vnet_set_link(struct vnet_dev *dev, const struct port_link *link)
{
	const struct port_link *now = &dev->input.link;
	bool is_same = !dev->offer_speed || (link->speed == now->speed && link->duplex == now->duplex);
	/* Speed and duplex should not change while the driver sees a link that is up. */
	bool up = link->up && (is_same || !now->up), up_changes = up != now->up;
	int ret;

	if (up_changes && !vdev_change_begin(&dev->vdev)) {
		vdev_change_end(&dev->vdev);
		return -EBUSY;
	}
	dev->draft.link.up = up;
	if (dev->offer_speed) {
		dev->draft.link.speed = link->speed;
		dev->draft.link.duplex = link->duplex;
	}
	ret = vnet_apply(dev);
	assert(ret == 0 && "a link takes no memory");
	(void)ret;
	if (up_changes)
		vdev_change_end(&dev->vdev);
	return up == link->up ? 0 : -EAGAIN;
}
