/* SPDX-License-Identifier: BSD-3-Clause */
/* vnic_dev: devices of vnic.h: a network device, a port's queues for it, its transport, and its events. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include <rte_cycles.h>

#include "borrow.h"
#include "counters.h"
#include "offload.h"
#include "vnic_private.h"

/* DPDK has no word for fragmentation, so a program could not understand such a frame. */
#define VNIC_WITHOUT (FEATURE_MASK(NET_HOST_UFO) | FEATURE_MASK(NET_GUEST_UFO))

static_assert(VNIC_FEATURES_RX_OFFLOADS == (VNET_HOST_OFFLOADS & ~VNIC_WITHOUT), "the same bits");
static_assert(VNIC_FEATURES_TX_OFFLOADS == (VNET_GUEST_OFFLOADS & ~VNIC_WITHOUT), "the same bits");
static_assert((int)VNIC_BURST_MAX == (int)PORT_BURST, "one burst of a port");

enum {
	DEV_REPORT_US = 100, /* vnic_dev_free(): between checks whether an event has returned */
	VNIC_MTU_MIN = 68,
};

/* Of the process, which has so many mappings (gmem.h). */
static atomic_uint n_devices;

/* --- life --- */

static int
dev_check(const struct vnic_dev_params *params, struct diag *diag)
{
	if (params->size != sizeof(*params))
		return diag_set(diag, -EINVAL, "set it to sizeof(struct vnic_dev_params)",
				"device: size is %zu", params->size);
	if (!params->name || !params->name[0] || strlen(params->name) >= PORT_NAME_SIZE)
		return diag_set(diag, -EINVAL, "a name of 1 to 31 characters", "device: its name is %s",
				params->name && params->name[0] ? "too long" : "missing");
	if (!params->path || !params->path[0])
		return diag_set(diag, -EINVAL, "name the unix socket of the front-end",
				"device %s: path is missing", params->name);
	if (params->n_queues < 1 || params->n_queues > PORT_QUEUES_MAX)
		return diag_set(diag, -EINVAL, "1 to 128", "device %s: %u queues", params->name,
				params->n_queues);
	/* VIRTIO, "Device configuration layout"; drivers refuse both. */
	if (params->mtu && params->mtu < VNIC_MTU_MIN)
		return diag_set(diag, -EINVAL, "68 to 65535, or 0", "device %s: an MTU of %u", params->name,
				params->mtu);
	if (params->mac[0] & 1)
		return diag_set(diag, -EINVAL, "one with an even first byte, or all zero",
				"device %s: its address is that of a group", params->name);
	if (!params->pool || rte_pktmbuf_data_room_size(params->pool) < RTE_MBUF_DEFAULT_BUF_SIZE ||
	    rte_pktmbuf_priv_size(params->pool))
		return diag_set(diag, -EINVAL,
				"rte_pktmbuf_pool_create() with private size 0 and a data room of "
				"RTE_MBUF_DEFAULT_BUF_SIZE or more",
				"device %s: its pool can't hold frames", params->name);
	return 0;
}

/* Sections and reported faults, as many as there are queues. */
static int
dev_alloc(struct vnic_dev *dev, uint16_t n_queues)
{
	const size_t size = n_queues * sizeof(struct vnic_section);

	dev->rx = aligned_alloc(RTE_CACHE_LINE_SIZE, size);
	dev->tx = aligned_alloc(RTE_CACHE_LINE_SIZE, size);
	dev->reported.faults = calloc(2u * n_queues + 1, 1);
	if (!dev->rx || !dev->tx || !dev->reported.faults || port_queues_alloc(&dev->port, n_queues) < 0)
		return -ENOMEM;
	memset(dev->rx, 0, size);
	memset(dev->tx, 0, size);
	return 0;
}

static void
dev_queues_open(struct vnic_dev *dev, bool borrows)
{
	for (uint16_t i = 0; i < dev->port.n_queues; i++) {
		struct port_rxq *rxq = &dev->port.rxqs[i];
		struct port_txq *txq = &dev->port.txqs[i];

		rxq->rx = borrows ? vnet_rx : vnet_rx_whole;
		rxq->service = vnet_rx_service;
		rxq->release = vnet_rx_release;
		rxq->dev = &dev->vnet.queues[i];
		txq->tx = vnet_tx;
		txq->service = vnet_tx_service;
		txq->accepts_borrowed = true;
		txq->dev = &dev->vnet.queues[i];
	}
}

static int
dev_open(struct vnic_dev *dev, const struct vnic_dev_params *params, struct diag *diag)
{
	static const uint8_t no_mac[RTE_ETHER_ADDR_LEN];
	struct vnic_home *home = dev->home;
	const struct transport_config transport = {
		.path = params->path,
		.mode = params->socket == VNIC_SOCKET_CLIENT ? TRANSPORT_CLIENT : TRANSPORT_SERVER,
		.n_pairs = params->n_queues,
	};
	struct vnet_config vnet = {
		.ctx = &home->ctx,
		.name = dev->port.name,
		.n_pairs = params->n_queues,
		.mtu = params->mtu,
		.pool = params->pool,
		.port = &dev->port,
		.mem_max = params->memory_max ? params->memory_max : home->memory_max,
		.without = params->without | VNIC_WITHOUT,
	};

	snprintf(dev->port.name, sizeof(dev->port.name), "%s", params->name);
	dev->port.ctx = &home->ctx;
	if (memcmp(params->mac, no_mac, sizeof(no_mac)) == 0)
		port_mac_from_name(&dev->port.mac, dev->port.name);
	else
		memcpy(dev->port.mac.addr_bytes, params->mac, RTE_ETHER_ADDR_LEN);
	vnet.mac = dev->port.mac;
	atomic_store(&dev->port.n_active, 1);
	dev->reported.n_queues = 1;
	if (dev_alloc(dev, params->n_queues) < 0 || vnet_init(&dev->vnet, &vnet) < 0)
		return diag_no_memory(diag, "device %s: out of memory", params->name);
	dev->has_vnet = true;
	dev_queues_open(dev, params->frames == VNIC_FRAMES_BORROW && !(home->foreign_flags & BORROW_FLAG));
	dev->fences = home->fences;
	dev->foreign_flags = home->foreign_flags;
	dev->event = params->event;
	dev->event_arg = params->event_arg;
	dev->transport_ops = transport_by_name("vhost-user");
	return dev->transport_ops->open(&dev->vnet.vdev, &transport, &dev->transport, diag);
}

void
device_close(struct vnic_dev *dev)
{
	struct vnic_dev **link = &dev->home->devices;

	if (dev->transport)
		dev->transport_ops->close(dev->transport);
	if (dev->has_vnet)
		vnet_fini(&dev->vnet);
	while (*link && *link != dev)
		link = &(*link)->next;
	if (*link)
		*link = dev->next;
	port_queues_free(&dev->port);
	free(dev->rx);
	free(dev->tx);
	free(dev->reported.faults);
	free(dev);
	atomic_fetch_sub(&n_devices, 1);
}

/* Counted. 0, or -errno with diag filled. */
static int
dev_make(struct vnic_home *home, struct vnic_dev **ret_dev, struct diag *diag)
{
	struct vnic_dev *dev;

	if (atomic_fetch_add(&n_devices, 1) >= GMEM_DEVICES_MAX) {
		atomic_fetch_sub(&n_devices, 1);
		return diag_set(diag, -ENOSPC, "free one first", "device: this process has %d",
				GMEM_DEVICES_MAX);
	}
	dev = aligned_alloc(RTE_CACHE_LINE_SIZE, RTE_ALIGN_CEIL(sizeof(*dev), (size_t)RTE_CACHE_LINE_SIZE));
	if (!dev) {
		atomic_fetch_sub(&n_devices, 1);
		return diag_no_memory(diag, "device: out of memory");
	}
	memset(dev, 0, sizeof(*dev));
	dev->home = home;
	*ret_dev = dev;
	return 0;
}

int
vnic_dev_new(struct vnic_ctx *ctx, const struct vnic_dev_params *params, struct vnic_dev **ret_dev,
	     struct vnic_error *error)
{
	struct vnic_home *home = home_of(ctx);
	struct diag diag = {{0}, {0}};
	struct vnic_dev *dev = NULL;
	int ret = dev_check(params, &diag);

	if (ret == 0)
		ret = dev_make(home, &dev, &diag);
	if (ret < 0)
		return error_set(error, &diag, ret);
	home_lock(home);
	ret = dev_open(dev, params, &diag);
	if (ret < 0) {
		device_close(dev);
	} else {
		dev->next = home->devices;
		home->devices = dev;
		*ret_dev = dev;
	}
	home_unlock(home);
	return ret < 0 ? error_set(error, &diag, ret) : 0;
}

void
vnic_dev_free(struct vnic_dev *dev)
{
	struct vnic_home *home;

	if (!dev)
		return;
	home = dev->home;
	home_lock(home);
	while (home->reporting == dev && !pthread_equal(home->runner, pthread_self())) {
		home_unlock(home);
		rte_delay_us_sleep(DEV_REPORT_US);
		home_lock(home);
	}
	device_close(dev);
	home_unlock(home);
}

/* --- what it is --- */

static bool
dev_is_connected(const struct vnic_dev *dev)
{
	struct transport_status status;

	dev->transport_ops->status(dev->transport, &status);
	return status.connected;
}

static bool
dev_is_started(const struct vnic_dev *dev)
{
	for (unsigned int i = 0; i < 2u * dev->port.n_queues; i++)
		if ((int)i != vnet_controlq_idx(&dev->vnet) && vdev_queue_is_active(&dev->vnet.vdev, i))
			return true;
	return false;
}

void
vnic_dev_status(struct vnic_dev *dev, struct vnic_dev_status *status)
{
	const struct vnet_input *input = &dev->vnet.input;
	/* What is not written is not said to be there: the caller may ask again with the same struct. */
	struct vnic_dev_status now = {.size = RTE_MIN(status->size, sizeof(now))};
	struct transport_status transport;

	home_lock(dev->home);
	dev->transport_ops->status(dev->transport, &transport);
	now.connected = transport.connected;
	now.pid = transport.pid;
	now.started = dev_is_started(dev);
	now.link_up = input->link.up;
	now.features = dev->vnet.vdev.said.has_features ? dev->vnet.vdev.said.features : 0;
	now.mtu = input->mtu;
	memcpy(now.mac, input->settings.filter.mac.addr_bytes, sizeof(now.mac));
	home_unlock(dev->home);
	memcpy(status, &now, now.size);
}

int
vnic_dev_set_link(struct vnic_dev *dev, bool up)
{
	struct port_link link = {.speed = VNET_SPEED_UNKNOWN, .duplex = VNET_DUPLEX_UNKNOWN};
	int ret;

	home_lock(dev->home);
	link.up = up;
	ret = vnet_set_link(&dev->vnet, &link);
	home_unlock(dev->home);
	return ret;
}

int
vnic_dev_announce(struct vnic_dev *dev)
{
	int ret;

	home_lock(dev->home);
	ret = vnet_announce(&dev->vnet);
	home_unlock(dev->home);
	return ret;
}

void
vnic_dev_stats(const struct vnic_dev *dev, struct vnic_dev_stats *stats)
{
	struct vnic_dev_stats now = {.size = RTE_MIN(stats->size, sizeof(now))};
	struct port_stats sum;

	port_stats_read(&dev->port, &sum);
	now.rx_packets = sum.rx_packets;
	now.rx_bytes = sum.rx_bytes;
	now.tx_packets = sum.tx_packets;
	now.tx_bytes = sum.tx_bytes;
	for (unsigned int i = 0; i < DROP_N; i++)
		now.drops += sum.drops[i];
	now.faults = counter_read(&dev->vnet.vdev.n_faults);
	memcpy(stats, &now, now.size);
}

bool
vnic_dev_drop(const struct vnic_dev *dev, unsigned int i, const char **ret_name, uint64_t *ret_packets)
{
	struct port_stats sum;

	if (i >= DROP_N)
		return false;
	port_stats_read(&dev->port, &sum);
	*ret_name = counter_classes[COUNTERS_DROPS].rows[i].name;
	*ret_packets = sum.drops[i];
	return true;
}

/* --- events --- */

static bool
dev_news_of_faults(struct vnic_dev *dev, struct vnic_event *ret_event)
{
	const struct vdev *vdev = &dev->vnet.vdev;

	if (dev->reported.n_faults == vdev->n_faults)
		return false;
	for (unsigned int i = 0; i < vdev->n_queues; i++) {
		const enum virtq_fault fault = vdev->queues[i].reported;

		if (dev->reported.faults[i] == fault)
			continue;
		dev->reported.faults[i] = (uint8_t)fault;
		if (fault == FAULT_NONE)
			continue;
		*ret_event = (struct vnic_event){
			.type = VNIC_EVENT_FAULT, .virtqueue = (uint16_t)i, .text = virtq_fault_help[fault]};
		return true;
	}
	dev->reported.n_faults = vdev->n_faults;
	return false;
}

bool
device_news(struct vnic_dev *dev, struct vnic_event *ret_event)
{
	const uint64_t n_disconnects = dev->vnet.vdev.n_disconnects;
	const bool gone = dev->reported.connected && dev->reported.n_disconnects != n_disconnects;
	const bool connected = dev_is_connected(dev) && !gone, started = dev_is_started(dev) && !gone;
	const uint16_t n_queues = vnic_tx_queues(dev);

	*ret_event = (struct vnic_event){0};
	/* Of a connection that was replaced, the end is reported before the beginning of the new one. */
	if (dev->reported.started && !started) {
		dev->reported.started = false;
		ret_event->type = VNIC_EVENT_STOPPED;
		return true;
	}
	if (dev->reported.connected && !connected) {
		dev->reported.connected = false;
		ret_event->type = VNIC_EVENT_DISCONNECTED;
		return true;
	}
	if (connected && !dev->reported.connected) {
		dev->reported.connected = true;
		dev->reported.n_disconnects = n_disconnects;
		ret_event->type = VNIC_EVENT_CONNECTED;
		return true;
	}
	if (started && !dev->reported.started) {
		dev->reported.started = true;
		ret_event->type = VNIC_EVENT_STARTED;
		return true;
	}
	if (n_queues != dev->reported.n_queues) {
		dev->reported.n_queues = n_queues;
		ret_event->type = VNIC_EVENT_QUEUES;
		return true;
	}
	return dev_news_of_faults(dev, ret_event);
}
