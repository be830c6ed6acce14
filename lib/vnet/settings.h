/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * settings: all that a guest's driver has set by its control queue; what a reset forgets.
 *
 * Plain data: a command changes a copy, and the copy takes effect as a whole or not at all (vnet_apply()).
 * Workers never see it; they see what is built from it: filters, steering, confs. Control lock.
 */
#ifndef VNICD_SETTINGS_H
#define VNICD_SETTINGS_H

#include <stdbool.h>
#include <stdint.h>

#include <rte_ether.h>

#include "filter.h"
#include "port.h"
#include "steer.h"

/* VIRTIO, "Notifications Coalescing": of one virtqueue; 0, 0: notify at once. */
struct settings_coal {
	uint32_t max_usecs;
	uint32_t max_packets;
};

struct vnet_settings {
	uint64_t features; /* that the driver had when it made them; void with others */
	struct vnet_filter_rules filter;
	uint16_t n_pairs; /* transmit queues in use: VQ_PAIRS_SET; max_tx_vq of RSS_CONFIG may raise it */
	struct vnet_steer_rules steer;
	uint64_t offloads;                     /* GUEST_OFFLOADS_SET: feature bits of those that are on */
	bool announce;                         /* status bit: the driver is asked to announce itself */
	struct settings_coal coal_rx, coal_tx; /* what a queue gets when it is reset */
	struct settings_coal
		coal[2 * PORT_QUEUES_MAX + 1]; /* by virtqueue; the controlq may be any even one */
};

#endif
