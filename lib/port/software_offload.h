/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * software_offload: doing what a frame still requests (request.h) and its destination is not capable of.
 * Segmentation is for a destination that is capable of the checksum too.
 */
#ifndef VNICD_SOFTWARE_OFFLOAD_H
#define VNICD_SOFTWARE_OFFLOAD_H

#include <stdbool.h>
#include <stdint.h>

#include <rte_mbuf.h>

#include "port.h"
#include "request.h"

/* Send n (at most PORT_BURST) frames that request nothing that the destination is not capable of; takes
 * ownership; returns how many were sent and counts the others. */
typedef uint16_t (*software_offload_send_fn)(struct port_txq *txq, const void *ctx, struct rte_mbuf **pkts,
					     uint16_t n);

/*
 * Owner of the queue; takes ownership of n frames. Those that request something beyond `capabilities` (a set
 * of offloads) get it in software: checksums in place, or in a copy when the data is shared;
 * segmentation into frames from `pool`. All go to `send`, in order, in bursts of at most PORT_BURST. What
 * can't be done for want of packet buffers is counted under DROP_NO_MBUF, a frame that can't be cut as it
 * asks under DROP_BAD_OFFLOAD. A frame that became several counts as copies of itself on `txq`. Returns the
 * number sent.
 */
uint16_t port_software_offload(struct port_txq *txq, struct rte_mempool *pool, uint32_t capabilities,
			       struct rte_mbuf **pkts, uint16_t n, software_offload_send_fn send,
			       const void *ctx);

#endif
