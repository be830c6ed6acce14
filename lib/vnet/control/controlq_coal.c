/* SPDX-License-Identifier: BSD-3-Clause */
/* The class CTRL_NOTF_COAL (VIRTIO, "Notifications Coalescing"). */
#include <errno.h>
#include <linux/virtio_net.h>
#include <string.h>

#include "controlq.h"
#include "vnet_dev.h"

/* Not part of every linux/virtio_net.h. */
enum { COAL_VQ_SET = 2, COAL_VQ_GET = 3 };

enum {
	COAL_LEN = 8,    /* struct virtio_net_ctrl_coal: max_packets, max_usecs */
	COAL_VQ_LEN = 4, /* vq_index and reserved, before it */
};

static struct settings_coal
coal_read(const uint8_t *data)
{
	return (struct settings_coal){.max_packets = controlq_le32(data),
				      .max_usecs = controlq_le32(data + 4)};
}

enum coal_direction { COAL_RX = 0, COAL_TX = 1 }; /* the first virtqueue; every other one is of its kind */

static int
coal_set_all(const struct controlq_request *request, enum coal_direction direction)
{
	struct vnet_settings *settings = request->settings;
	struct settings_coal coal;

	if (request->len != COAL_LEN)
		return -EINVAL;
	coal = coal_read(request->data);
	*(direction == COAL_TX ? &settings->coal_tx : &settings->coal_rx) = coal;
	for (unsigned int i = direction; i < RTE_DIM(settings->coal); i += 2)
		settings->coal[i] = coal;
	return 0;
}

static int
coal_tx_set(const struct vnet_dev *dev, struct controlq_request *request)
{
	return coal_set_all(request, COAL_TX);
}

static int
coal_rx_set(const struct vnet_dev *dev, struct controlq_request *request)
{
	return coal_set_all(request, COAL_RX);
}

/* The parameters of the queue that the command names; NULL: none that the driver may use. */
static struct settings_coal *
coal_of_queue(const struct vnet_dev *dev, const struct controlq_request *request)
{
	uint16_t idx = controlq_le16(request->data);

	return vnet_queue_is_used(dev, idx) ? &request->settings->coal[idx] : NULL;
}

static int
coal_vq_set(const struct vnet_dev *dev, struct controlq_request *request)
{
	struct settings_coal *coal;

	if (request->len != COAL_VQ_LEN + COAL_LEN)
		return -EINVAL;
	coal = coal_of_queue(dev, request);
	if (!coal)
		return -ENOENT;
	*coal = coal_read(request->data + COAL_VQ_LEN);
	return 0;
}

static int
coal_vq_get(const struct vnet_dev *dev, struct controlq_request *request)
{
	const struct settings_coal *coal;
	uint32_t words[2];

	if (request->len != COAL_VQ_LEN || request->result_room < COAL_LEN)
		return -EINVAL;
	coal = coal_of_queue(dev, request);
	if (!coal)
		return -ENOENT;
	words[0] = rte_cpu_to_le_32(coal->max_packets);
	words[1] = rte_cpu_to_le_32(coal->max_usecs);
	memcpy(request->result, words, COAL_LEN);
	request->result_len = COAL_LEN;
	return 0;
}

static struct controlq_command coal_commands[] = {
	{.name = "NOTF_COAL_TX_SET",
	 .class = VIRTIO_NET_CTRL_NOTF_COAL,
	 .command = VIRTIO_NET_CTRL_NOTF_COAL_TX_SET,
	 .features = FEATURE_MASK(NET_NOTF_COAL),
	 .run = coal_tx_set},
	{.name = "NOTF_COAL_RX_SET",
	 .class = VIRTIO_NET_CTRL_NOTF_COAL,
	 .command = VIRTIO_NET_CTRL_NOTF_COAL_RX_SET,
	 .features = FEATURE_MASK(NET_NOTF_COAL),
	 .run = coal_rx_set},
	{.name = "NOTF_COAL_VQ_SET",
	 .class = VIRTIO_NET_CTRL_NOTF_COAL,
	 .command = COAL_VQ_SET,
	 .features = FEATURE_MASK(NET_VQ_NOTF_COAL),
	 .run = coal_vq_set},
	{.name = "NOTF_COAL_VQ_GET",
	 .class = VIRTIO_NET_CTRL_NOTF_COAL,
	 .command = COAL_VQ_GET,
	 .features = FEATURE_MASK(NET_VQ_NOTF_COAL),
	 .run = coal_vq_get},
};

CONTROLQ_COMMANDS_REGISTER(coal_commands)
