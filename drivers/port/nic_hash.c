/* SPDX-License-Identifier: BSD-3-Clause */
#include "nic_hash.h"

#include <errno.h>
#include <string.h>

#include "port.h"

#define NIC_HASH_OWN (RTE_ETH_RSS_IP | RTE_ETH_RSS_TCP | RTE_ETH_RSS_UDP)

enum {
	NIC_HASH_KEY_LEN = 40
}; /* of a device that does not say, and the least that covers two IPv6 addresses */

/*
 * VIRTIO's hash types by bit. Some devices have one bit for all IP packets whose transport they don't hash,
 * others one for each sort of them; a device has to have one of `any` at least, and gets all that it has.
 * What it then leaves out has no hash, which costs nothing but speed.
 */
static const struct {
	uint64_t any;
} nic_hash_types[] = {
	{RTE_ETH_RSS_IPV4 | RTE_ETH_RSS_FRAG_IPV4 | RTE_ETH_RSS_NONFRAG_IPV4_OTHER},
	{RTE_ETH_RSS_NONFRAG_IPV4_TCP},
	{RTE_ETH_RSS_NONFRAG_IPV4_UDP},
	{RTE_ETH_RSS_IPV6 | RTE_ETH_RSS_FRAG_IPV6 | RTE_ETH_RSS_NONFRAG_IPV6_OTHER},
	{RTE_ETH_RSS_NONFRAG_IPV6_TCP},
	{RTE_ETH_RSS_NONFRAG_IPV6_UDP},
	{RTE_ETH_RSS_IPV6_EX},
	{RTE_ETH_RSS_IPV6_TCP_EX},
	{RTE_ETH_RSS_IPV6_UDP_EX},
};

void
nic_hash_configure(struct nic_hash *own, const struct rte_eth_dev_info *info, uint16_t n_queues,
		   struct rte_eth_conf *conf)
{
	uint64_t in_frames = info->rx_offload_capa & RTE_ETH_RX_OFFLOAD_RSS_HASH;

	if (n_queues < 2)
		return;
	conf->rx_adv_conf.rss_conf.rss_hf = info->flow_type_rss_offloads & NIC_HASH_OWN;
	if (!conf->rx_adv_conf.rss_conf.rss_hf)
		return;
	conf->rxmode.mq_mode = RTE_ETH_MQ_RX_RSS;
	conf->rxmode.offloads |= in_frames;
	own->in_frames = in_frames;
}

/* 0, or -errno: nothing is known. */
static int
nic_hash_get(uint16_t eth_id, const struct rte_eth_dev_info *info, struct nic_hash *ret_hash)
{
	struct rte_eth_rss_conf conf = {.rss_key = ret_hash->key};
	int ret;

	if (info->hash_key_size > sizeof(ret_hash->key))
		return -E2BIG;
	conf.rss_key_len = info->hash_key_size ? info->hash_key_size : NIC_HASH_KEY_LEN;
	memset(ret_hash->key, 0, sizeof(ret_hash->key));
	ret_hash->key_len = conf.rss_key_len;
	ret = rte_eth_dev_rss_hash_conf_get(eth_id, &conf);
	ret_hash->types = conf.rss_hf;
	return ret;
}

/* Types and key are in effect, and no others. */
static int
nic_hash_program(uint16_t eth_id, const struct rte_eth_dev_info *info, struct nic_hash *hash)
{
	struct rte_eth_rss_conf conf = {
		.rss_key = hash->key,
		.rss_key_len = hash->key_len,
		.rss_hf = hash->types,
	};
	struct nic_hash now;
	int ret = rte_eth_dev_rss_hash_update(eth_id, &conf);

	if (ret == 0)
		ret = nic_hash_get(eth_id, info, &now);
	if (ret < 0)
		return ret;
	return now.types == hash->types && memcmp(now.key, hash->key, hash->key_len) == 0 ? 0 : -ENOTSUP;
}

/* The device's own words for a request. 0, or -ENOTSUP: it has none. */
static int
nic_hash_translate(const struct rte_eth_dev_info *info, const struct hash_params *hash,
		   struct nic_hash *ret_hash)
{
	struct nic_hash words = {.key_len = info->hash_key_size ? info->hash_key_size : NIC_HASH_KEY_LEN};

	if (words.key_len < NIC_HASH_KEY_LEN || words.key_len > sizeof(words.key))
		return -ENOTSUP;
	if (hash->types >> RTE_DIM(nic_hash_types))
		return -ENOTSUP;
	for (unsigned int i = 0; i < RTE_DIM(nic_hash_types); i++) {
		uint64_t some = nic_hash_types[i].any & info->flow_type_rss_offloads;

		if (!(hash->types & RTE_BIT32(i)))
			continue;
		if (!some)
			return -ENOTSUP;
		words.types |= some;
	}
	/* Beyond the 40th byte a key has no part in hashing two addresses and two ports. */
	memcpy(words.key, hash->key, RTE_MIN(hash->key_len, (uint8_t)sizeof(hash->key)));
	*ret_hash = words;
	return 0;
}

void
nic_hash_open(struct nic_hash *own, uint16_t eth_id)
{
	struct rte_eth_dev_info info;

	if (rte_eth_dev_info_get(eth_id, &info) < 0 || nic_hash_get(eth_id, &info, own) < 0)
		own->types = 0;
}

int
nic_hash_set(const struct nic_hash *own, uint16_t eth_id, const struct hash_params *hash)
{
	struct nic_hash words;
	struct rte_eth_dev_info info;
	int ret;

	if (!own->types || !own->in_frames)
		return -ENOTSUP;
	ret = rte_eth_dev_info_get(eth_id, &info);
	if (ret < 0)
		return ret;
	if (hash) {
		ret = nic_hash_translate(&info, hash, &words);
		if (ret == 0)
			ret = nic_hash_program(eth_id, &info, &words);
		if (ret == 0)
			return 0;
	}
	words = *own;
	nic_hash_program(eth_id, &info, &words);
	return ret;
}
