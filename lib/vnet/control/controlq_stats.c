/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The class CTRL_STATS: counters for the driver (VIRTIO, "Device Statistics").
 *
 * Offered are the types of which every field is counted: the controlq's, and the basic ones of receiveqs and
 * transmitqs. The driver's words point the other way than a port's: its receiveq is what the port sends to.
 * What happens to a frame after it left the device (no port to go to, a full ring on the way) is not the
 * device's, so it counts as sent.
 */
#include <errno.h>
#include <string.h>

#include "controlq.h"
#include "vnet_dev.h"

/* Not part of every linux/virtio_net.h. */
enum { STATS_CLASS = 8, STATS_QUERY = 0, STATS_GET = 1 };

/* The number of a type is its bit in the bitmaps. */
enum { STATS_RX_BASIC = 0, STATS_TX_BASIC = 16, STATS_CVQ = 32 };

enum {
	STATS_CAPABILITIES_LEN = 8, /* struct virtio_net_stats_capabilities */
	STATS_ASK_LEN = 16, /* one of struct virtio_net_ctrl_queue_stats: vq_index, reserved[3], types */
	STATS_COUNTERS_MAX = 6,
};

struct stats_reply_hdr {
	uint8_t type;
	uint8_t reserved;
	uint16_t vq_index;
	uint16_t reserved1;
	uint16_t size;
};

/* Commands that were understood as such; this one is among them, and it will have been OK. */
static void
stats_cvq(const struct vnet_dev *dev, unsigned int idx, uint64_t counters[])
{
	const struct controlq *controlq = &dev->controlq;

	counters[0] = controlq->stats.ok + controlq->stats.err + 1;
	counters[1] = controlq->stats.ok + 1;
}

static void
stats_rx_basic(const struct vnet_dev *dev, unsigned int idx, uint64_t counters[])
{
	struct port_queue_stats stats;
	uint64_t drops = 0;

	port_txq_stats_read(&dev->port->txqs[idx / 2], &stats);
	for (unsigned int i = 0; i < DROP_N; i++)
		drops += stats.drops[i];
	counters[0] = vdev_queue_kicks(&dev->vdev, idx);
	counters[1] = stats.packets;
	counters[2] = stats.bytes;
	counters[3] = counter_read(&dev->queues[idx / 2].to_guest.notified);
	counters[4] = drops;
	counters[5] = stats.drops[DROP_NO_BUFFER];
}

static void
stats_tx_basic(const struct vnet_dev *dev, unsigned int idx, uint64_t counters[])
{
	const struct vnet_queue *queue = &dev->queues[idx / 2];
	/* First what is subtracted, for it is counted last: by its worker, meanwhile. */
	uint64_t discarded_bytes = counter_read(&queue->discarded_bytes), malformed, drops;
	struct port_queue_stats stats;

	port_rxq_stats_read(&dev->port->rxqs[idx / 2], &stats);
	malformed = stats.drops[DROP_MALFORMED] + stats.drops[DROP_CHAIN_LONG] + stats.drops[DROP_RUNT];
	drops = malformed + stats.drops[DROP_OVERSIZE] + stats.drops[DROP_BAD_OFFLOAD] +
		stats.drops[DROP_DISABLED] + stats.drops[DROP_LINK_DOWN];
	counters[0] = vdev_queue_kicks(&dev->vdev, idx);
	counters[1] = RTE_MAX(stats.packets, drops) - drops;
	counters[2] = stats.bytes - discarded_bytes;
	counters[3] = counter_read(&queue->from_guest.notified);
	counters[4] = drops;
	counters[5] = malformed;
}

/* In the order of replies for one queue. */
static const struct stats_type {
	uint8_t type;
	uint8_t n_counters;
	void (*read)(const struct vnet_dev *dev, unsigned int idx, uint64_t counters[]);
} stats_types[] = {
	{STATS_RX_BASIC, 6, stats_rx_basic},
	{STATS_TX_BASIC, 6, stats_tx_basic},
	{STATS_CVQ, 2, stats_cvq},
};

/* Types that a queue has. A device without a port has nobody who counts frames. */
static uint64_t
stats_types_of(const struct vnet_dev *dev, unsigned int idx)
{
	if ((int)idx == vnet_controlq_idx(dev))
		return 1ull << STATS_CVQ;
	if (!dev->port)
		return 0;
	return idx % 2 ? 1ull << STATS_TX_BASIC : 1ull << STATS_RX_BASIC;
}

static int
stats_query(const struct vnet_dev *dev, struct controlq_request *request)
{
	uint64_t types = stats_types_of(dev, 0) | stats_types_of(dev, 1) |
			 stats_types_of(dev, (unsigned int)vnet_controlq_idx(dev));

	if (request->len != 0 || request->result_room < STATS_CAPABILITIES_LEN)
		return -EINVAL;
	types = rte_cpu_to_le_64(types);
	memcpy(request->result, &types, STATS_CAPABILITIES_LEN);
	request->result_len = STATS_CAPABILITIES_LEN;
	return 0;
}

/* As much as there is room for; a full buffer tells the driver that there may be more. */
static void
stats_put(struct controlq_request *request, const void *from, uint32_t len)
{
	len = RTE_MIN(len, request->result_room - request->result_len);
	memcpy(request->result + request->result_len, from, len);
	request->result_len += len;
}

static void
stats_reply(const struct vnet_dev *dev, const struct stats_type *type, uint16_t idx,
	    struct controlq_request *request)
{
	uint64_t counters[STATS_COUNTERS_MAX];
	uint32_t len = type->n_counters * (uint32_t)sizeof(counters[0]);
	struct stats_reply_hdr hdr = {
		.type = type->type,
		.vq_index = rte_cpu_to_le_16(idx),
		.size = rte_cpu_to_le_16((uint16_t)(sizeof(hdr) + len)),
	};

	type->read(dev, idx, counters);
	for (unsigned int i = 0; i < type->n_counters; i++)
		counters[i] = rte_cpu_to_le_64(counters[i]);
	stats_put(request, &hdr, sizeof(hdr));
	stats_put(request, counters, len);
}

static int
stats_ask_check(const struct vnet_dev *dev, const uint8_t *ask)
{
	unsigned int idx = controlq_le16(ask);

	if (idx > (unsigned int)vnet_controlq_idx(dev))
		return -ERANGE;
	if (controlq_le16(ask + 2) || controlq_le16(ask + 4) || controlq_le16(ask + 6))
		return -EINVAL;
	return controlq_le64(ask + 8) & ~stats_types_of(dev, idx) ? -EOPNOTSUPP : 0;
}

static int
stats_get(const struct vnet_dev *dev, struct controlq_request *request)
{
	const uint8_t *end = request->data + request->len;

	if (request->len == 0 || request->len % STATS_ASK_LEN)
		return -EINVAL;
	/* One that is wrong spoils all of them. */
	for (const uint8_t *ask = request->data; ask < end; ask += STATS_ASK_LEN) {
		int ret = stats_ask_check(dev, ask);

		if (ret < 0)
			return ret;
	}
	for (const uint8_t *ask = request->data; ask < end && request->result_len < request->result_room;
	     ask += STATS_ASK_LEN) {
		for (unsigned int i = 0; i < RTE_DIM(stats_types); i++)
			if (controlq_le64(ask + 8) >> stats_types[i].type & 1)
				stats_reply(dev, &stats_types[i], controlq_le16(ask), request);
	}
	return 0;
}

static struct controlq_command stats_commands[] = {
	{.name = "STATS_QUERY",
	 .class = STATS_CLASS,
	 .command = STATS_QUERY,
	 .features = FEATURE_MASK(NET_DEVICE_STATS),
	 .run = stats_query},
	{.name = "STATS_GET",
	 .class = STATS_CLASS,
	 .command = STATS_GET,
	 .features = FEATURE_MASK(NET_DEVICE_STATS),
	 .run = stats_get},
};

CONTROLQ_COMMANDS_REGISTER(stats_commands)
