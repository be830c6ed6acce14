/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * nic_private: what the files of the port kind nic share of one port.
 *
 * nic_args.c has its keys; nic_setup.c finds its device, and brings it up and down; nic_burst.c is the
 * workers' half; nic_presence.c loses a device that is unplugged, and takes it up again; nic_stats.c keeps
 * the device's counters over that; nic.c is the port, and has the memory of all of it. The other nic_*.c know
 * nothing of this.
 */
#ifndef VNICD_NIC_PRIVATE_H
#define VNICD_NIC_PRIVATE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <rte_ethdev.h>

#include "nic_borrow.h"
#include "nic_events.h"
#include "nic_hash.h"
#include "nic_limit.h"
#include "nic_lro.h"
#include "nic_offload.h"
#include "nic_pci.h"
#include "port.h"

struct loop_timer;
struct nic_device;
struct rte_mempool;
struct vnic_ctx;

struct nic {
	/* Read by workers. Written by nic_setup.c while no worker uses the port, or all see that it is lost.
	 */
	struct vnic_ctx *ctx; /* by nic.c */
	uint16_t eth_id;
	uint16_t segs_max; /* segments that a frame may have on its way out */
	/* A received frame is neither a runt nor truncated if it has at most so many bytes beyond
	 * RTE_ETHER_HDR_LEN. */
	uint32_t rx_span;
	bool gro;             /* segments of TCP are joined */
	_Atomic bool is_lost; /* there is no device now; written by the control thread, in nic_presence.c */
	struct rte_mempool *pool;
	struct rte_mempool *big_pool; /* for frames to linearise that `pool` can't hold; NULL: not needed */
	struct nic_borrow borrow;     /* by nic.c */
	struct nic_limit limit;
	struct nic_offload offload;
	struct nic_lro lro;
	uint64_t service_period; /* ticks; by nic.c */

	/* Written by the worker of the first pair, in nic_burst.c. */
	uint64_t service_at; /* ticks */

	/* Control only: nic.c */
	struct port *port;

	/* nic_setup.c */
	struct rte_mempool *pool_refused; /* after a failure: the PMD may still hold buffers of it */
	bool plugged;                     /* the port made the device */
	bool configured;
	struct rte_eth_dev_info info;
	uint64_t rx_offloads, tx_offloads; /* that it was configured with */
	struct nic_hash hash;              /* its own */
	struct nic_events events;
	struct nic_pci pci;
	struct nic_device *dropped; /* being closed; NULL: none is, or nic_presence.c has seen it closed */
	char driver_name[32];       /* of the PMD */
	char dev_name[RTE_ETH_NAME_MAX_LEN];
	char vdev_name[RTE_ETH_NAME_MAX_LEN]; /* when plugged */

	/* nic_presence.c */
	struct loop_timer *presence;
	unsigned int n_looks;
	char tried[NIC_PCI_DRIVER_SIZE]; /* the kernel's driver when it was tried last; "": none */
	unsigned int n_tries;
	uint64_t next_try_ms;

	/* nic_stats.c */
	struct port_device_stats seen_stats; /* of the device, as last read */
	struct port_device_stats lost_stats; /* of devices that were unplugged */
};

#endif
