/* SPDX-License-Identifier: BSD-3-Clause */
#include "data.h"

#include <rte_byteorder.h>

void
data_put(struct data *data, uint64_t number, unsigned int n_bytes)
{
	for (unsigned int i = 0; i < n_bytes; i++)
		data->bytes[data->len++] = (uint8_t)(number >> (8 * i));
}

const struct data *
data_macs(unsigned int n_unicast, unsigned int n_multicast)
{
	static struct data data;

	data.len = 0;
	data_put(&data, n_unicast, 4);
	for (unsigned int i = 0; i < n_unicast; i++) {
		data_put(&data, 0x0002, 2);
		data_put(&data, rte_cpu_to_be_32(i), 4);
	}
	data_put(&data, n_multicast, 4);
	for (unsigned int i = 0; i < n_multicast; i++) {
		data_put(&data, 0x0001, 2);
		data_put(&data, rte_cpu_to_be_32(i), 4);
	}
	return &data;
}

const struct rss data_usual_rss = {
	.types = HASH_TYPES_ALL, .mask = 127, .unclassified = 3, .entry = 2, .max_tx_vq = 4, .key_len = 40};

const struct data *
data_rss(const struct rss *rss)
{
	static struct data data;

	data.len = 0;
	data_put(&data, rss->types, 4);
	data_put(&data, rss->mask, 2);
	data_put(&data, rss->unclassified, 2);
	for (unsigned int i = 0; i <= rss->mask && data.len < 60000; i++)
		data_put(&data, i == rss->mask ? rss->entry : 1, 2);
	data_put(&data, rss->max_tx_vq, 2);
	data_put(&data, rss->key_len, 1);
	for (unsigned int i = 0; i < rss->key_len; i++)
		data_put(&data, i + 1, 1);
	return &data;
}

const struct data *
data_hash(uint32_t types, uint16_t reserved, uint8_t key_len)
{
	static struct data data;

	data.len = 0;
	data_put(&data, types, 4);
	for (unsigned int i = 0; i < 4; i++)
		data_put(&data, reserved, 2);
	data_put(&data, key_len, 1);
	for (unsigned int i = 0; i < key_len; i++)
		data_put(&data, i + 1, 1);
	return &data;
}

const struct data *
data_coal(int idx, uint32_t max_packets, uint32_t max_usecs)
{
	static struct data data;

	data.len = 0;
	if (idx >= 0) {
		data_put(&data, (uint64_t)idx, 2);
		data_put(&data, 0xbeef, 2); /* reserved: "MUST ignore" */
	}
	data_put(&data, max_packets, 4);
	data_put(&data, max_usecs, 4);
	return &data;
}

const struct data *
data_ask(uint16_t idx, uint64_t types)
{
	static struct data data;

	data.len = 0;
	data_put(&data, idx, 2);
	data_put(&data, 0, 6);
	data_put(&data, types, 8);
	return &data;
}
