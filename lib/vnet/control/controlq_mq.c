/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The class CTRL_MQ: how many queue pairs are used and how frames are spread over them (VIRTIO, "Device
 * operation in multiqueue mode").
 *
 * Each of the three selects a mode, and the last one counts: VQ_PAIRS_SET and HASH_CONFIG automatic steering,
 * RSS_CONFIG the driver's table. What hashes are computed is a matter of its own: with HASH_REPORT they are
 * reported in all modes, so VQ_PAIRS_SET leaves that alone.
 */
#include <errno.h>
#include <linux/virtio_net.h>
#include <string.h>

#include "controlq.h"
#include "vnet_dev.h"

/* Layouts of "Setting RSS parameters" and "Hash calculation": what comes before the table, and before the
 * key. */
enum {
	MQ_RSS_MASK = 4,
	MQ_RSS_UNCLASSIFIED = 6,
	MQ_RSS_TABLE = 8,
	MQ_RSS_TAIL_LEN = 3, /* max_tx_vq and hash_key_length */
	MQ_HASH_RESERVED_LEN = 8,
};

static void
mq_rss_off(struct vnet_settings *settings)
{
	memset(&settings->steer.rss, 0, sizeof(settings->steer.rss));
}

static int
mq_pairs_set(const struct vnet_dev *dev, struct controlq_request *request)
{
	uint16_t n_pairs;

	if (request->len != sizeof(n_pairs))
		return -EINVAL;
	n_pairs = controlq_le16(request->data);
	if (n_pairs < 1 || n_pairs > dev->n_pairs)
		return -ERANGE;
	mq_rss_off(request->settings);
	request->settings->n_pairs = n_pairs;
	return 0;
}

/* hash_key_length and the key, which are the end of the command. No key is none to compute a hash with. */
static int
mq_hash_set(struct vnet_settings *settings, uint32_t types, const uint8_t *key, uint32_t len)
{
	struct hash_params *hash = &settings->steer.hash;

	if (types & ~(uint32_t)HASH_TYPES_ALL)
		return -EINVAL;
	if (len < 1 || len != 1u + key[0] || key[0] > STEER_RSS_KEY_LEN || (types && !key[0]))
		return -EINVAL;
	memset(hash, 0, sizeof(*hash));
	hash->types = types;
	hash->key_len = key[0];
	memcpy(hash->key, key + 1, key[0]);
	return 0;
}

static int
mq_rss_table(const struct vnet_dev *dev, const struct controlq_request *request, uint32_t table_len)
{
	struct steer_rss *rss = &request->settings->steer.rss;

	mq_rss_off(request->settings);
	rss->enabled = true;
	rss->unclassified_queue = controlq_le16(request->data + MQ_RSS_UNCLASSIFIED);
	if (rss->unclassified_queue >= dev->n_pairs)
		return -ERANGE;
	rss->table_len = (uint16_t)table_len;
	for (uint32_t i = 0; i < table_len; i++) {
		rss->table[i] = controlq_le16(request->data + MQ_RSS_TABLE + 2 * i);
		if (rss->table[i] >= dev->n_pairs)
			return -ERANGE;
	}
	return 0;
}

static int
mq_rss_config(const struct vnet_dev *dev, struct controlq_request *request)
{
	const uint8_t *data = request->data;
	uint32_t table_len, tail;
	uint16_t max_tx_vq;
	int ret;

	if (request->len < MQ_RSS_TABLE)
		return -EINVAL;
	table_len = controlq_le16(data + MQ_RSS_MASK) + 1u;
	if (table_len & (table_len - 1) || table_len > STEER_RSS_TABLE_MAX)
		return -ERANGE;
	tail = MQ_RSS_TABLE + 2 * table_len;
	if (request->len < tail + MQ_RSS_TAIL_LEN)
		return -EINVAL;
	ret = mq_rss_table(dev, request, table_len);
	if (ret < 0)
		return ret;
	max_tx_vq = controlq_le16(data + tail);
	if (max_tx_vq < 1 || max_tx_vq > dev->n_pairs)
		return -ERANGE;
	/*
	 * Linux's driver has left in this field what it began with, whatever VQ_PAIRS_SET said since, and
	 * sends on all its pairs: so this may take transmit queues into use, but silences none.
	 */
	request->settings->n_pairs = RTE_MAX(request->settings->n_pairs, max_tx_vq);
	return mq_hash_set(request->settings, controlq_le32(data), data + tail + 2, request->len - tail - 2);
}

/* The reserved words are not looked at: Linux's driver has had a number of pairs in the last one. */
static int
mq_hash_config(const struct vnet_dev *dev, struct controlq_request *request)
{
	const uint32_t key = 4 + MQ_HASH_RESERVED_LEN;

	if (request->len < key)
		return -EINVAL;
	mq_rss_off(request->settings);
	return mq_hash_set(request->settings, controlq_le32(request->data), request->data + key,
			   request->len - key);
}

static struct controlq_command mq_commands[] = {
	{.name = "MQ_VQ_PAIRS_SET",
	 .class = VIRTIO_NET_CTRL_MQ,
	 .command = VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET,
	 .features = FEATURE_MASK(NET_MQ),
	 .run = mq_pairs_set},
	{.name = "MQ_RSS_CONFIG",
	 .class = VIRTIO_NET_CTRL_MQ,
	 .command = VIRTIO_NET_CTRL_MQ_RSS_CONFIG,
	 .features = FEATURE_MASK(NET_RSS),
	 .run = mq_rss_config},
	{.name = "MQ_HASH_CONFIG",
	 .class = VIRTIO_NET_CTRL_MQ,
	 .command = VIRTIO_NET_CTRL_MQ_HASH_CONFIG,
	 .features = FEATURE_MASK(NET_HASH_REPORT),
	 .run = mq_hash_config},
};

CONTROLQ_COMMANDS_REGISTER(mq_commands)
