/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * nic: a port that is a DPDK ethdev: a physical NIC, af_packet, tap, pcap, null and so on.
 *
 * The ethdev exists when the program starts (a PCI device, or EAL --vdev), or the port plugs it itself
 * (vdev=). Frames may come from several pools and be shared, so no transmit offload that assumes otherwise is
 * asked for; checksums and segmentation are (nic_offload.h). nic_private.h says what is where.
 */
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include <rte_dev.h>
#include <rte_ethdev.h>

#include "ctx.h"
#include "diag.h"
#include "nic_args.h"
#include "nic_burst.h"
#include "nic_describe.h"
#include "nic_device.h"
#include "nic_presence.h"
#include "nic_private.h"
#include "nic_setup.h"
#include "nic_stats.h"
#include "port.h"
#include "ticks.h"
#include "uplink.h"

enum {
	NIC_SERVICE_US = 20000,
};

static int
nic_make_queues(struct nic *nic, struct port *port, const struct port_config *config, struct diag *diag)
{
	if (port_queues_alloc(port, config->n_queues) < 0)
		return port_no_memory(config->name, diag);
	for (uint16_t q = 0; q < config->n_queues; q++) {
		port->rxqs[q].rx = nic_burst_rx;
		port->rxqs[q].dev = nic;
		port->txqs[q].tx = nic_burst_tx;
		port->txqs[q].dev = nic;
	}
	atomic_store_explicit(&port->n_active, config->n_queues, memory_order_relaxed);
	if (strcmp(nic->driver_name, "net_bonding") == 0) {
		nic->service_period = ticks_from_us(NIC_SERVICE_US, rte_get_tsc_hz());
		port->txqs[0].service = nic_burst_service;
	}
	return 0;
}

/* Undo everything; fine at any stage of opening. */
static void
nic_free(struct nic *nic)
{
	nic_presence_close(nic);
	nic_limit_close(&nic->limit);
	nic_setup_close(nic, NIC_DEVICE_STAYS);
	nic_pci_close(&nic->pci);
	if (nic->plugged && rte_eal_hotplug_remove("vdev", nic->vdev_name) < 0)
		log_warn(&nic->ctx->log, "device %s: could not be removed", nic->vdev_name);
	nic_borrow_close(&nic->borrow);
	nic_setup_release_pools(nic);
	free(nic);
}

static int
nic_open(struct port *port, const struct port_config *config, struct diag *diag)
{
	struct nic *nic = calloc(1, sizeof(*nic));
	int ret;

	if (!nic)
		return port_no_memory(config->name, diag);
	nic->ctx = port->ctx;
	nic->port = port;
	ret = nic_setup_open(nic, port, config, nic_presence_report, diag);
	if (ret == 0)
		ret = nic_make_queues(nic, port, config, diag);
	if (ret == 0 && nic_presence_open(nic) < 0)
		ret = diag_set(diag, -ENOMEM, NULL, "port %s: no memory", config->name);
	if (ret < 0) {
		nic_free(nic);
		return ret;
	}
	port->dev = nic;
	nic_describe(nic, port, config);
	nic_borrow_open(&nic->borrow, port, &nic->info, nic->segs_max);
	uplink_port_opened(port);
	return 0;
}

static void
nic_close(struct port *port)
{
	uplink_port_closing(port);
	nic_free(port->dev);
	port_queues_free(port);
}

static void
nic_link(const struct port *port, struct port_link *ret_link)
{
	const struct nic *nic = port->dev;

	nic_limit_link(&nic->limit, ret_link);
}

static uint32_t
nic_capabilities(const struct port *port)
{
	const struct nic *nic = port->dev;

	return nic->offload.capabilities;
}

static bool
nic_counters(const struct port *port, enum counter_class class, uint64_t ret_values[])
{
	struct nic *nic = port->dev;
	struct port_device_stats device;

	if (class != COUNTERS_DEVICE)
		return false;
	nic_stats_read(nic);
	device = nic_stats_all(nic);
	memcpy(ret_values, &device, sizeof(device));
	return true;
}

static int
nic_set_hash(struct port *port, const struct hash_params *hash)
{
	const struct nic *nic = port->dev;

	if (atomic_load_explicit(&nic->is_lost, memory_order_relaxed))
		return -ENODEV;
	return nic_hash_set(&nic->hash, nic->eth_id, hash);
}

static struct port_kind nic_kind = {
	.name = "nic",
	.help = "a DPDK ethdev: a physical NIC, or net_af_packet, net_tap, net_pcap, net_null and so on",
	.example = "nic,dev=net_af_packet0",
	.keys = nic_args_keys,
	.args_size = sizeof(struct nic_args),
	.check = nic_args_check,
	.demand = nic_setup_demand,
	.open = nic_open,
	.close = nic_close,
	.link = nic_link,
	.counters = nic_counters,
	.capabilities = nic_capabilities,
	.set_hash = nic_set_hash,
	.finish = nic_device_settle,
	.is_uplink = true,
};
PORT_KIND_REGISTER(nic_kind)
