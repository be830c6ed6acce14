/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * steer: which queue pair of a guest a frame is for, and its hash (VIRTIO, "Receive-side scaling",
 * "Automatic receive steering in multiqueue mode", "Hash reporting for incoming packets").
 *
 * Three ways, chosen by what the driver has set:
 *   RSS          Toeplitz hash, indirection table; no hash: unclassified_queue
 *   flows        a flow that the guest sent on transmitq n comes back on receiveq n; others: the sender's own
 *                pair number where it fits, else spread by hash
 *   none         one pair and no hash report: no steering object at all
 * With HASH_REPORT the hash is computed in all of them, as soon as the driver has named types.
 *
 * The hash of a frame travels in its mbuf: ol_flags has RTE_MBUF_F_RX_RSS_HASH, hash.rss is the value and
 * hash.fdir.hi the report code (1 .. 9). A frame without hash has the flag clear. That is written for guests
 * with HASH_REPORT, over whatever a NIC left there; for others nobody asks, and nothing is written.
 */
#ifndef VNICD_STEER_H
#define VNICD_STEER_H

#include <stdbool.h>
#include <stdint.h>

#include <rte_mbuf.h>

#include "flows.h"
#include "hash.h"
#include "port.h"

enum {
	STEER_RSS_KEY_LEN = HASH_KEY_LEN, /* rss_max_key_size: the least that the standard allows, 40 */
	/* rss_max_indirection_table_length; Linux's driver has room for no more */
	STEER_RSS_TABLE_MAX = 128,
};

/* VIRTIO, "Setting RSS parameters". */
struct steer_rss {
	bool enabled;
	uint16_t unclassified_queue;         /* queue pair */
	uint16_t table_len;                  /* a power of two */
	uint16_t table[STEER_RSS_TABLE_MAX]; /* queue pairs */
};

/* Is the table one that a device with n_pairs pairs can have? What is not enabled is not looked at by the
 * caller. */
bool steer_rss_is_valid(const struct steer_rss *rss, uint16_t n_pairs);

/* As a driver sets them. */
struct vnet_steer_rules {
	struct steer_rss rss;
	struct hash_params hash; /* RSS_CONFIG or HASH_CONFIG: whichever came last */
};

enum steer_report { STEER_NO_REPORT, STEER_REPORT }; /* HASH_REPORT */

/*
 * Control lock. The steering of a device with n_pairs pairs; *ret_steer NULL: none is needed. `flows` (NULL:
 * none) stays the caller's and outlives it. 0, -ENOMEM, or -EINVAL for an RSS table that is none or names
 * pairs that are not there.
 */
int vnet_steer_build(const struct vnet_steer_rules *rules, uint16_t n_pairs, enum steer_report report,
		     const struct vnet_flows *flows, struct port_steer **ret_steer);
void vnet_steer_free(struct port_steer *steer); /* accepts NULL; no worker sees it any more */

#endif
