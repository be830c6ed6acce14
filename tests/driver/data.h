/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * data: command-specific-data of control commands, as drivers write it. What a function returns is
 * overwritten when it is called again.
 */
#ifndef VNICD_TEST_DATA_H
#define VNICD_TEST_DATA_H

#include <stdint.h>

#include "hash.h"

enum { DATA_MAX = 70000 };

struct data {
	uint32_t len;
	uint8_t bytes[DATA_MAX];
};

/* The number's n_bytes lowest bytes, the lowest one first, at the end. */
void data_put(struct data *data, uint64_t number, unsigned int n_bytes);

/* MAC_TABLE_SET: addresses 02:00:number and 01:00:number, from 0 on. */
const struct data *data_macs(unsigned int n_unicast, unsigned int n_multicast);

/* RSS_CONFIG. All entries but the last, which is `entry`, are 1; byte i of the key is i + 1. */
struct rss {
	uint32_t types;
	uint16_t mask, unclassified, entry, max_tx_vq;
	uint8_t key_len;
};
extern const struct rss data_usual_rss;
const struct data *data_rss(const struct rss *rss);

/* HASH_CONFIG. */
const struct data *data_hash(uint32_t types, uint16_t reserved, uint8_t key_len);

/* NOTF_COAL: of this queue; idx < 0: of all in one direction. */
const struct data *data_coal(int idx, uint32_t max_packets, uint32_t max_usecs);

/* STATS_GET: these types of one queue. */
const struct data *data_ask(uint16_t idx, uint64_t types);

#endif
