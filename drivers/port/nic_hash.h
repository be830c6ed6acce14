/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * nic_hash: an ethdev that computes a guest's RSS hashes, so that vnicd need not. It does so when it says
 * that frames bring their hash along, when it has every hash type that is asked for, and when what it says it
 * does is what was asked for. Control thread.
 */
#ifndef VNICD_NIC_HASH_H
#define VNICD_NIC_HASH_H

#include <stdbool.h>
#include <stdint.h>

#include <rte_ethdev.h>

struct hash_params;

/* What the device hashes with when nothing else is requested. */
struct nic_hash {
	bool in_frames; /* frames bring their hash along */
	uint64_t types; /* RTE_ETH_RSS_*; 0: it does not hash */
	uint8_t key_len;
	uint8_t key[64];
};

/* Before the device is configured: ask for hashes, where it has them. */
void nic_hash_configure(struct nic_hash *own, const struct rte_eth_dev_info *info, uint16_t n_queues,
			struct rte_eth_conf *conf);
/* The device has been started. */
void nic_hash_open(struct nic_hash *own, uint16_t eth_id);
/* 0: exactly so; -errno: as before anybody wished. `hash` NULL: that. */
int nic_hash_set(const struct nic_hash *own, uint16_t eth_id, const struct hash_params *hash);

#endif
