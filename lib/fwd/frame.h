/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * frame: how forwarding modes look at and write to the front of a frame.
 *
 * A mode reads the Ethernet header in place: every frame has its first 14 bytes in its first segment. What it
 * writes to must be its own; frame_own() sees to that.
 */
#ifndef VNICD_FRAME_H
#define VNICD_FRAME_H

#include <stdbool.h>

#include <rte_ether.h>
#include <rte_mbuf.h>

#include "fwd.h"

/* Nobody else reads the data of the first segment. */
static inline bool
frame_head_is_own(const struct rte_mbuf *m)
{
	return RTE_MBUF_DIRECT(m) && rte_mbuf_refcnt_read(m) == 1;
}

/*
 * The frame with its first `len` bytes (or all of them, when it is shorter) in one piece that may be written
 * to, and `room` bytes of headroom (at most RTE_PKTMBUF_HEADROOM): itself, or a copy in its place. NULL when
 * no buffer was free: the frame is still the caller's.
 */
static inline struct rte_mbuf *
frame_own(struct fwd_worker *worker, struct rte_mbuf *m, uint32_t len, uint16_t room)
{
	struct rte_mbuf *copy;

	if (likely(frame_head_is_own(m) && rte_pktmbuf_data_len(m) >= RTE_MIN(len, rte_pktmbuf_pkt_len(m)) &&
		   rte_pktmbuf_headroom(m) >= room))
		return m;
	copy = rte_pktmbuf_copy(m, worker->clone_pool, 0, UINT32_MAX);
	if (copy)
		rte_pktmbuf_free(m);
	return copy;
}

/* The made-up station that mac and txonly send to by a port: 02:00:00:00:HH:LL, the port's id. */
static inline void
frame_station(struct rte_ether_addr *mac, const struct port *by)
{
	*mac = (struct rte_ether_addr){
		.addr_bytes = {0x02, 0, 0, 0, (uint8_t)(by->id >> 8), (uint8_t)by->id}};
}

#endif
