/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * settings: all that a guest's driver has set by its control queue, and that a reset clears; and, with what
 * else is known of the driver and of its link, the device's input (reconcile.h).
 *
 * Plain data without pointers: a command changes a copy, which takes effect as a whole or not at all
 * (vnet_apply()). Workers never see it; they see what is built from it: filters, steering, confs. Control
 * lock.
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
	uint64_t features; /* under which they were made; with others the settings are void */
	struct vnet_filter_rules filter;
	uint16_t n_pairs; /* transmit queues in use: VQ_PAIRS_SET; max_tx_vq of RSS_CONFIG may raise it */
	struct vnet_steer_rules steer;
	uint64_t offloads;                     /* GUEST_OFFLOADS_SET: feature bits of those that are on */
	bool announce;                         /* status bit ANNOUNCE: the driver is to announce itself */
	struct settings_coal coal_rx, coal_tx; /* what a queue gets when it is enabled again */
	struct settings_coal
		coal[2 * PORT_QUEUES_MAX + 1]; /* by virtqueue; the controlq may be any even one */
};

enum { INPUT_QUEUES_WORDS = (2 * PORT_QUEUES_MAX + 1 + 63) / 64 };

/* Padding included, it is all zero or written: inputs are compared as bytes. */
struct vnet_input {
	struct vnet_settings settings;
	uint64_t driver; /* serial number of the driver: what was learnt of another one is void */
	/* offered_mtu, or that of NET_SET_MTU; 0: no limit known. mtu_used: a ring has run since NET_SET_MTU,
	 * so that it was not meant for the next driver. */
	uint16_t mtu;
	bool mtu_used;
	/* Pairs 0 .. n_filled - 1 have had a receive buffer since the driver's reset; pair 0 counts always.
	 */
	uint16_t n_filled;
	/* Bit by virtqueue, the controlq last: in use at the last reconcile. */
	uint64_t queues_used[INPUT_QUEUES_WORDS];
	struct port_link link; /* set by the administrator, and by the link behind the port */
};

struct vnet_dev;

/* The driver's settings after a reset, under the features that it has. */
void vnet_settings_reset(const struct vnet_dev *dev, struct vnet_settings *settings);
/* Another driver starts: reset what was the last one's. An MTU that is for the next one stays, and the link.
 */
void vnet_input_reset(const struct vnet_dev *dev, struct vnet_input *input);
/* Back to what the port was configured with. */
void vnet_input_forget_mtu(const struct vnet_dev *dev, struct vnet_input *input);

#endif
