/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * nic_hash: an ethdev that computes a guest's RSS hashes, so that vnicd need not. It is used for that if it
 * delivers the hash with the frame, supports every requested hash type, and reports the requested
 * configuration after it was set. Control thread.
 */
#ifndef VNICD_NIC_HASH_H
#define VNICD_NIC_HASH_H

#include <stdbool.h>
#include <stdint.h>

#include <rte_ethdev.h>

struct hash_params;

/* The device's own RSS configuration, while no guest's hash is requested. */
struct nic_hash {
	bool in_frames; /* RTE_ETH_RX_OFFLOAD_RSS_HASH: it delivers the hash with the frame */
	uint64_t types; /* RTE_ETH_RSS_*; 0: it does not hash */
	uint8_t key_len;
	uint8_t key[64];
};

/* Before the device is configured: request hashes in `conf`, if the device has them. */
void nic_hash_configure(struct nic_hash *own, const struct rte_eth_dev_info *info, uint16_t n_queues,
			struct rte_eth_conf *conf);
/* After the device was started. */
void nic_hash_open(struct nic_hash *own, uint16_t eth_id);
/* Hash with these parameters; `hash` NULL: with the device's own. 0, or -errno, and then with its own. */
int nic_hash_set(const struct nic_hash *own, uint16_t eth_id, const struct hash_params *hash);

#endif
