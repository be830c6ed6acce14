/* SPDX-License-Identifier: BSD-3-Clause */
#include "nic_setup.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <rte_bus.h>
#include <rte_dev.h>
#include <rte_errno.h>
#include <rte_ethdev.h>

#include "ctx.h"
#include "diag.h"
#include "nic_args.h"
#include "nic_device.h"
#include "nic_flow.h"
#include "nic_private.h"
#include "pools.h"
#include "port.h"

enum {
	NIC_DESC = 1024, /* descriptors of a queue that we ask for */
	NIC_POOL_CACHE = 256,
	NIC_POOL_CACHE_FULL = NIC_POOL_CACHE * 3 / 2, /* what a worker's cache may hold back */
	NIC_VLAN_ROOM = 2 * sizeof(struct rte_vlan_hdr),
	NIC_ROOM_BIG = 16384,      /* for devices that want a whole frame in one buffer */
	NIC_BIG_BUFFERS = 255,     /* of that size, for devices that send one segment only */
	NIC_PAIR_BYTES = 48 << 20, /* of EAL's memory, for a queue pair */
};

void
nic_setup_demand(const struct port_config *config, struct port_demand *ret_demand)
{
	const struct nic_args *args = config->args;

	/* Frames of guests, in its transmit rings. */
	ret_demand->n_mbufs = config->n_queues * NIC_DESC;
	/* Receive pools, for rings of DPDK's usual size. */
	ret_demand->own_bytes = config->n_queues * NIC_PAIR_BYTES;
	if (args->dev && nic_pci_is_address(args->dev))
		ret_demand->pci_device = args->dev;
}

static int
nic_plug(struct nic *nic, const struct port_config *config, struct diag *diag)
{
	const struct nic_args *nic_args = config->args;
	char args[NIC_VDEV_ARGS_SIZE];
	uint16_t eth_id;
	int ret;

	snprintf(nic->vdev_name, sizeof(nic->vdev_name), "%.*s", (int)strcspn(nic_args->vdev, ";"),
		 nic_args->vdev);
	nic_args_vdev(nic_args, args, sizeof(args));
	/* Plugging it again would seem to work, and closing this port would then take it from its owner. */
	if (rte_eth_dev_get_port_by_name(nic->vdev_name, &eth_id) == 0) {
		diag_set(diag, -EEXIST, NULL, "port %s: device %s exists already", config->name,
			 nic->vdev_name);
		diag_hint(diag, "dev=%s uses the device that exists", nic->vdev_name);
		return -EEXIST;
	}
	ret = rte_eal_hotplug_add("vdev", nic->vdev_name, args);
	if (ret < 0)
		return diag_set(
			diag, ret,
			"vdev=DRIVER[,vdev.KEY=VALUE]..., for example vdev=net_af_packet0,vdev.iface=eth0; "
			"the driver's own message is in the log",
			"port %s: device %s could not be made%s%s: %s", config->name, nic->vdev_name,
			args[0] ? " with " : "", args, strerror(-ret));
	nic->plugged = true;
	return 0;
}

static int
nic_find(struct nic *nic, const struct port_config *config, struct diag *diag)
{
	const struct nic_args *args = config->args;
	int ret;

	if (args->vdev) {
		ret = nic_plug(nic, config, diag);
		if (ret < 0)
			return ret;
	}
	snprintf(nic->dev_name, sizeof(nic->dev_name), "%s", args->dev ? args->dev : nic->vdev_name);
	ret = nic_device_find(nic->dev_name, &nic->eth_id);
	if (ret == -EAGAIN)
		return diag_set(diag, ret, "try again in some seconds",
				"port %s: device %s is still being closed after it was unplugged",
				config->name, nic->dev_name);
	if (ret < 0) {
		diag_set(diag, -ENODEV, NULL, "port %s: there is no device %s", config->name, nic->dev_name);
		nic_device_hint(nic->dev_name, diag);
		return -ENODEV;
	}
	ret = rte_eth_dev_info_get(nic->eth_id, &nic->info);
	if (ret < 0)
		return diag_set(diag, ret, NULL, "port %s: cannot query device %s: %s", config->name,
				nic->dev_name, strerror(-ret));
	nic->info.if_index = nic_limit_if_index(&nic->info);
	snprintf(nic->driver_name, sizeof(nic->driver_name), "%s", nic->info.driver_name);
	return 0;
}

static int
nic_check_limits(const struct nic *nic, const struct port_config *config, struct diag *diag)
{
	const struct nic_args *args = config->args;
	const struct rte_eth_dev_info *info = &nic->info;
	uint16_t queues_max = RTE_MIN(info->max_rx_queues, info->max_tx_queues);
	uint16_t mtu_max = info->max_mtu;

	if (config->n_queues > queues_max) {
		diag_set(diag, -ERANGE, NULL, "port %s: device %s has %u queue pair%s, %u asked for",
			 config->name, nic->dev_name, queues_max, queues_max == 1 ? "" : "s",
			 config->n_queues);
		diag_hint(diag, "queues=%u%s", queues_max,
			  args->vdev ? ", or an argument of the device that gives it more" : "");
		return -ERANGE;
	}
	/* Some PMDs report the largest frame only. */
	if (info->max_rx_pktlen > RTE_ETHER_MIN_LEN &&
	    info->max_rx_pktlen < (uint32_t)mtu_max + RTE_ETHER_HDR_LEN + RTE_ETHER_CRC_LEN)
		mtu_max = (uint16_t)(info->max_rx_pktlen - RTE_ETHER_HDR_LEN - RTE_ETHER_CRC_LEN);
	if (config->mtu && (config->mtu < info->min_mtu || config->mtu > mtu_max)) {
		diag_set(diag, -ERANGE, NULL, "port %s: device %s takes an MTU of %u..%u, not %u",
			 config->name, nic->dev_name, info->min_mtu, mtu_max, config->mtu);
		diag_hint(diag, "mtu=%u", config->mtu < info->min_mtu ? info->min_mtu : mtu_max);
		return -ERANGE;
	}
	return 0;
}

static int
nic_configure(struct nic *nic, const struct port_config *config, struct diag *diag)
{
	const struct rte_eth_dev_info *info = &nic->info;
	const struct nic_args *args = config->args;
	struct rte_eth_conf conf = {0};
	uint16_t mtu;
	int ret;

	/* What the device has now, so that configuring it does not quietly make it another. */
	if (rte_eth_dev_get_mtu(nic->eth_id, &mtu) == 0 && mtu >= info->min_mtu && mtu <= info->max_mtu)
		conf.rxmode.mtu = mtu;
	conf.rxmode.offloads = info->rx_offload_capa & RTE_ETH_RX_OFFLOAD_SCATTER;
	conf.txmode.offloads = info->tx_offload_capa & RTE_ETH_TX_OFFLOAD_MULTI_SEGS;
	nic_offload_configure(&nic->offload, info, (uint32_t)args->without, &conf);
	ret = nic_lro_configure(&nic->lro, info, args->lro, nic->offload.gives_partial, &conf);
	if (ret < 0)
		return diag_set(diag, ret, "leave lro= out, or gro=on, which joins segments in software",
				"port %s: device %s (driver %s) does not join TCP segments", config->name,
				nic->dev_name, info->driver_name);
	nic_events_configure(&nic->events, info,
			     args->link_polling ? NIC_EVENTS_LINK_POLLED : NIC_EVENTS_LINK_REPORTED, &conf);
	nic->gro = args->gro;
	nic->rx_offloads = conf.rxmode.offloads;
	nic->tx_offloads = conf.txmode.offloads;
	nic_hash_configure(&nic->hash, info, config->n_queues, &conf);
	nic->configured = true;
	ret = rte_eth_dev_configure(nic->eth_id, config->n_queues, config->n_queues, &conf);
	if (ret < 0)
		return diag_set(diag, ret, NULL,
				"port %s: device %s can't be configured with %u queue pairs: %s",
				config->name, nic->dev_name, config->n_queues, strerror(-ret));
	nic->segs_max = 1;
	if (conf.txmode.offloads & RTE_ETH_TX_OFFLOAD_MULTI_SEGS)
		nic->segs_max =
			info->tx_desc_lim.nb_mtu_seg_max ? info->tx_desc_lim.nb_mtu_seg_max : UINT16_MAX;
	if (config->mtu) {
		ret = rte_eth_dev_set_mtu(nic->eth_id, config->mtu);
		if (ret < 0)
			return diag_set(diag, ret, "leave mtu= out to keep the device's own",
					"port %s: device %s refuses an MTU of %u: %s", config->name,
					nic->dev_name, config->mtu, strerror(-ret));
	}
	if (rte_eth_dev_get_mtu(nic->eth_id, &mtu) == 0)
		nic_lro_set_mtu(&nic->lro, mtu);
	return 0;
}

/* Bytes of a buffer: the usual, or a whole frame where the device can't spread one over several. */
static uint32_t
nic_room(const struct nic *nic)
{
	bool scatter = nic->info.rx_offload_capa & RTE_ETH_RX_OFFLOAD_SCATTER;
	uint32_t room = RTE_MBUF_DEFAULT_DATAROOM;
	uint16_t mtu;

	if ((!scatter || nic->segs_max == 1) && rte_eth_dev_get_mtu(nic->eth_id, &mtu) == 0)
		room = RTE_MAX(room, (uint32_t)mtu + RTE_ETHER_HDR_LEN + NIC_VLAN_ROOM);
	return RTE_MIN(RTE_ALIGN_CEIL(room, RTE_CACHE_LINE_SIZE),
		       (uint32_t)UINT16_MAX - RTE_PKTMBUF_HEADROOM);
}

static int
nic_setup_queues_with(struct nic *nic, const struct port_config *config, uint32_t room, struct diag *diag)
{
	int socket = rte_eth_dev_socket_id(nic->eth_id);
	unsigned int socket_id = socket < 0 ? (unsigned int)SOCKET_ID_ANY : (unsigned int)socket;
	struct rte_eth_rxconf rx_conf = nic->info.default_rxconf;
	struct rte_eth_txconf tx_conf = nic->info.default_txconf;
	uint16_t rx_desc = NIC_DESC, tx_desc = NIC_DESC;
	unsigned int n_mbufs;
	int ret;

	ret = rte_eth_dev_adjust_nb_rx_tx_desc(nic->eth_id, &rx_desc, &tx_desc);
	if (ret < 0)
		return diag_set(diag, ret, NULL, "port %s: device %s gives no ring size: %s", config->name,
				nic->dev_name, strerror(-ret));
	n_mbufs = config->n_queues * ((unsigned int)rx_desc + tx_desc) +
		  RTE_MAX(port_env.n_workers, 1u) * (NIC_POOL_CACHE_FULL + 4 * PORT_BURST);
	nic->pool = pools_create(nic->ctx, config->name, n_mbufs, NIC_POOL_CACHE,
				 (uint16_t)(room + RTE_PKTMBUF_HEADROOM), (int)socket_id);
	if (!nic->pool)
		return diag_set(diag, -rte_errno, "give more memory (-m), or fewer queues",
				"port %s: no memory for %u packet buffers of %u bytes: %s", config->name,
				n_mbufs, room, rte_strerror(rte_errno));
	if (nic->segs_max == 1 && !nic->big_pool) {
		nic->big_pool = pools_create(nic->ctx, config->name, NIC_BIG_BUFFERS, 0,
					     NIC_ROOM_BIG + RTE_PKTMBUF_HEADROOM, (int)socket_id);
		if (!nic->big_pool)
			return diag_set(diag, -rte_errno, "give more memory (-m)",
					"port %s: no memory for %d packet buffers of %d bytes: %s",
					config->name, NIC_BIG_BUFFERS, NIC_ROOM_BIG, rte_strerror(rte_errno));
	}
	rx_conf.offloads = nic->rx_offloads & nic->info.rx_queue_offload_capa;
	tx_conf.offloads = nic->tx_offloads & nic->info.tx_queue_offload_capa;
	for (uint16_t q = 0; q < config->n_queues; q++) {
		ret = rte_eth_rx_queue_setup(nic->eth_id, q, rx_desc, socket_id, &rx_conf, nic->pool);
		if (ret < 0)
			return diag_set(diag, ret, NULL, "port %s: device %s: receive queue %u: %s",
					config->name, nic->dev_name, q, strerror(-ret));
		ret = rte_eth_tx_queue_setup(nic->eth_id, q, tx_desc, socket_id, &tx_conf);
		if (ret < 0)
			return diag_set(diag, ret, NULL, "port %s: device %s: transmit queue %u: %s",
					config->name, nic->dev_name, q, strerror(-ret));
	}
	return 0;
}

/* Buffers of the usual size first; some PMDs refuse those that hold less than a frame of their own ring.
 */
static int
nic_setup_queues(struct nic *nic, const struct port_config *config, struct diag *diag)
{
	uint32_t room = nic_room(nic);
	int ret = nic_setup_queues_with(nic, config, room, diag);
	struct rte_mempool *small = nic->pool;

	if (ret == 0 || !small || room >= NIC_ROOM_BIG)
		return ret;
	nic->pool = NULL;
	ret = nic_setup_queues_with(nic, config, NIC_ROOM_BIG, diag);
	/* Only now, or after the device is closed: queues set up before know it. */
	if (ret == 0)
		pools_release(nic->ctx, small);
	else
		nic->pool_refused = small;
	return ret;
}

/* The device is configured: what it reports from now on, and what becomes of its registers, is looked after.
 */
static int
nic_listen(struct nic *nic, const struct port_config *config, void (*report)(void *arg, unsigned int events),
	   struct diag *diag)
{
	int ret = nic_events_open(&nic->events, nic->ctx->loop, nic->eth_id, &nic->info, report, nic);

	if (ret < 0)
		return diag_set(diag, ret, NULL, "port %s: device %s: no events: %s", config->name,
				nic->dev_name, strerror(-ret));
	if (nic->info.device && strcmp(rte_bus_name(rte_dev_bus(nic->info.device)), "pci") == 0)
		nic_pci_open(&nic->pci, rte_dev_name(nic->info.device));
	return 0;
}

static int
nic_set_mac(struct nic *nic, struct port *port, const struct port_config *config, struct diag *diag)
{
	struct rte_ether_addr mac;
	int ret;

	if (config->has_mac) {
		mac = config->mac;
		ret = rte_eth_dev_default_mac_addr_set(nic->eth_id, &mac);
		if (ret < 0)
			return diag_set(diag, ret, "leave mac= out to keep the device's own",
					"port %s: device %s refuses the address: %s", config->name,
					nic->dev_name, strerror(-ret));
	}
	ret = rte_eth_macaddr_get(nic->eth_id, &port->mac);
	if (ret < 0)
		return diag_set(diag, ret, NULL, "port %s: device %s has no address: %s", config->name,
				nic->dev_name, strerror(-ret));
	/* PMDs without a physical link may have none. */
	if (!rte_is_valid_assigned_ether_addr(&port->mac))
		port_mac_from_name(&port->mac, port->name);
	return 0;
}

static int
nic_start(struct nic *nic, const struct port_config *config, struct diag *diag)
{
	const struct nic_args *args = config->args;
	int ret;

	/* Counters are the port's, not those of whoever had the device before. Some PMDs can't reset them. */
	rte_eth_stats_reset(nic->eth_id);
	ret = rte_eth_dev_start(nic->eth_id);
	if (ret < 0)
		return diag_set(diag, ret, NULL, "port %s: device %s can't be started: %s", config->name,
				nic->dev_name, strerror(-ret));
	ret = nic_flow_set(nic->eth_id, args->flow_control);
	if (ret == -ENOTSUP)
		return diag_set(diag, ret, "leave flow-control= out",
				"port %s: device %s (driver %s) has no flow control that can be set",
				config->name, nic->dev_name, nic->info.driver_name);
	if (ret < 0)
		return diag_set(diag, ret, "leave flow-control= out to keep the device's own",
				"port %s: device %s refuses flow-control=%s: %s", config->name, nic->dev_name,
				nic_flow_words[args->flow_control], strerror(-ret));
	nic_hash_open(&nic->hash, nic->eth_id);
	ret = rte_eth_promiscuous_enable(nic->eth_id);
	if (ret < 0)
		log_warn(&nic->ctx->log,
			 "port %s: device %s refuses promiscuous mode (%s): frames for other addresses may "
			 "not arrive",
			 config->name, nic->dev_name, strerror(-ret));
	return 0;
}

/* What can be sent and received whole; the device has been started. */
static int
nic_watch(struct nic *nic, const struct port *port, const struct port_config *config, struct diag *diag)
{
	int ret = nic_limit_open(&nic->limit, port, nic->eth_id, &nic->info, config->mtu);

	nic->rx_span = nic->limit.whole_max - RTE_ETHER_HDR_LEN;
	return ret < 0 ? port_no_memory(config->name, diag) : 0;
}

int
nic_setup_open(struct nic *nic, struct port *port, const struct port_config *config,
	       void (*report)(void *arg, unsigned int events), struct diag *diag)
{
	int ret = nic_find(nic, config, diag);

	if (ret == 0)
		ret = nic_check_limits(nic, config, diag);
	if (ret == 0)
		ret = nic_configure(nic, config, diag);
	if (ret == 0)
		ret = nic_setup_queues(nic, config, diag);
	if (ret == 0)
		ret = nic_listen(nic, config, report, diag);
	if (ret == 0)
		ret = nic_set_mac(nic, port, config, diag);
	if (ret == 0)
		ret = nic_start(nic, config, diag);
	if (ret == 0)
		ret = nic_watch(nic, port, config, diag);
	return ret;
}

void
nic_setup_close(struct nic *nic, enum nic_device_fate fate)
{
	nic_events_close(&nic->events);
	if (!nic->configured)
		return;
	nic->configured = false;
	if (fate == NIC_DEVICE_GOES)
		nic->dropped = nic_device_drop(nic->ctx->loop, nic->eth_id, nic->dev_name, nic->info.device,
					       &nic->pci);
	else if (!nic->plugged)
		nic_device_close(nic->eth_id, nic->dev_name, nic->info.device);
	else {
		rte_eth_dev_stop(nic->eth_id);
		rte_eth_dev_close(nic->eth_id);
	}
}

void
nic_setup_release_pools(struct nic *nic)
{
	/* Frames of theirs may wait in another device, or copies refer to them. */
	pools_release(nic->ctx, nic->pool);
	pools_release(nic->ctx, nic->pool_refused);
	pools_release(nic->ctx, nic->big_pool);
	nic->pool = nic->pool_refused = nic->big_pool = NULL;
}
