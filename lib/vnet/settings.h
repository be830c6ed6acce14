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

#include "hash.h"
#include "port.h"

enum {
	SETTINGS_MACS_MAX = 64,              /* entries in both MAC tables together, as with QEMU */
	SETTINGS_VLANS = 4096,               /* IEEE 802.1Q: 12 bits */
	SETTINGS_RSS_KEY_LEN = HASH_KEY_LEN, /* rss_max_key_size: the least that the standard allows, 40 */
	SETTINGS_RSS_TABLE_MAX =
		128 /* rss_max_indirection_table_length; Linux's driver has room for no more */
};

/* VIRTIO, "Packet Receive Filtering". Overflow: the driver has more addresses than the table; all are let in.
 */
struct settings_macs {
	uint16_t n;
	bool overflow;
	struct rte_ether_addr addrs[SETTINGS_MACS_MAX];
};

struct settings_rss {
	bool enabled;
	uint16_t unclassified_queue;            /* queue pair */
	uint16_t table_len;                     /* a power of two */
	uint16_t table[SETTINGS_RSS_TABLE_MAX]; /* queue pairs */
};

/* VIRTIO, "Notifications Coalescing": of one virtqueue; 0, 0: notify at once. */
struct settings_coal {
	uint32_t max_usecs;
	uint32_t max_packets;
};

struct vnet_settings {
	uint64_t features; /* that the driver had when it made them; void with others */
	struct rte_ether_addr mac;
	bool promisc, allmulti, alluni, nomulti, nouni, nobcast;
	struct settings_macs unicast, multicast;
	uint64_t vlans[SETTINGS_VLANS / 64]; /* bit: frames with this tag are let in */
	uint16_t n_pairs; /* transmit queues in use: VQ_PAIRS_SET; max_tx_vq of RSS_CONFIG may raise it */
	struct settings_rss rss;
	struct hash_params hash;               /* RSS_CONFIG or HASH_CONFIG: whichever came last */
	uint64_t offloads;                     /* GUEST_OFFLOADS_SET: feature bits of those that are on */
	bool announce;                         /* status bit: the driver is asked to announce itself */
	struct settings_coal coal_rx, coal_tx; /* what a queue gets when it is reset */
	struct settings_coal
		coal[2 * PORT_QUEUES_MAX + 1]; /* by virtqueue; the controlq may be any even one */
};

#endif
