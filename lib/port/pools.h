/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * pools: the packet buffers of ports, which outlive their port until the last one is back.
 *
 * A frame goes on after the port that received it is gone: it waits in another NIC's transmit ring, or copies
 * made by flooding refer to it. So a port that closes releases its pools, and each is freed when it is full
 * again. At the end of the program everybody who may hold a buffer is closed first, then all pools are freed.
 * Control thread.
 */
#ifndef VNICD_POOLS_H
#define VNICD_POOLS_H

#include <stdint.h>

#include <rte_mempool.h>

#include "port.h"

/*
 * As rte_pktmbuf_pool_create(), under a name that no pool before it had: the one of a port of the same name
 * may still be there. `owner`: the port's name, for people. NULL with rte_errno set.
 */
struct rte_mempool *pools_create(struct vnic_ctx *ctx, const char *owner, unsigned int n_mbufs,
				 unsigned int cache, uint16_t data_room, int socket_id);
/* Its owner is gone or has another: nobody takes buffers from it any more. Accepts NULL. */
void pools_release(struct vnic_ctx *ctx, struct rte_mempool *pool);

/* Free those of the released that are full. Called every now and then. */
void pools_reap(struct vnic_ctx *ctx);
/* Free those of the released that are left, full or not: all ports are closed, and no worker runs. */
void pools_free(struct vnic_ctx *ctx);

/* Of one that is released and not full. */
struct pools_waiting_info {
	char owner[PORT_NAME_SIZE];
	unsigned int size; /* buffers */
	unsigned int out;  /* of those, not back yet */
};
/* False: there are no more than i. */
bool pools_waiting(const struct vnic_ctx *ctx, unsigned int i, struct pools_waiting_info *ret_info);

#endif
