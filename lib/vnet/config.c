/* SPDX-License-Identifier: BSD-3-Clause */
/* config: the configuration space (VIRTIO, "Device configuration layout" of the network device). */
#include <errno.h>
#include <linux/virtio_net.h>
#include <string.h>

#include "vnet.h"

static const struct vnet_dev *
config_dev(const struct vdev *vdev)
{
	return vdev->type_dev;
}

unsigned int
vnet_config_read(const struct vdev *vdev, uint8_t space[VDEV_CONFIG_MAX])
{
	const struct vnet_dev *dev = config_dev(vdev);
	struct virtio_net_config config = {
		.status = (uint16_t)((dev->link_up ? VIRTIO_NET_S_LINK_UP : 0) |
				     (dev->settings->announce ? VIRTIO_NET_S_ANNOUNCE : 0)),
		.max_virtqueue_pairs = dev->n_pairs,
		.mtu = dev->mtu,
		.speed = (uint32_t)dev->speed,
		.duplex = dev->duplex,
		.rss_max_key_size = SETTINGS_RSS_KEY_LEN,
		.rss_max_indirection_table_length = SETTINGS_RSS_TABLE_MAX,
		.supported_hash_types = HASH_TYPES_ALL,
	};

	memcpy(config.mac, dev->settings->mac.addr_bytes, sizeof(config.mac));
	memset(space, 0, VDEV_CONFIG_MAX);
	memcpy(space, &config, sizeof(config));
	return sizeof(config);
}

/* Only a legacy driver may write here, and only its MAC address. */
int
vnet_config_write(struct vdev *vdev, unsigned int offset, const uint8_t *data, unsigned int len,
		  bool migration)
{
	struct vnet_dev *dev = vdev->type_dev;
	struct vnet_settings settings = *dev->settings;

	if (offset >= RTE_ETHER_ADDR_LEN || len == 0 || len > RTE_ETHER_ADDR_LEN - offset)
		return -EROFS;
	if (!migration && vdev->features & FEATURE_MASK(VERSION_1))
		return -EROFS;
	memcpy(settings.mac.addr_bytes + offset, data, len);
	return vnet_apply(dev, &settings);
}
