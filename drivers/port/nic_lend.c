/* SPDX-License-Identifier: BSD-3-Clause */
#include "nic_lend.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctx.h"
#include "lend.h"
#include "loop.h"
#include "port.h"

enum { NIC_LEND_PERIOD_MS = 100 };

/* Drivers that are through with a frame when rte_eth_tx_burst() returns, by their sources in DPDK 22.11. */
struct nic_lend_driver {
	const char *name; /* as in rte_eth_dev_info */
	const char *why;  /* for people */
	uint32_t frame_max;
	bool pieces; /* takes frames of two segments, although it does not offer MULTI_SEGS */
};

static const struct nic_lend_driver nic_lend_drivers[] = {
	/* Frees the frame, segment by segment; copy=1 copies from the first segment, and less than that has.
	 */
	{.name = "net_null", .why = "it drops frames at once", .frame_max = UINT32_MAX, .pieces = true},
	/* Copies all segments into the socket's ring, frees the frame, and only then tells the kernel. */
	{.name = "net_af_packet", .why = "it copies frames at once", .frame_max = UINT32_MAX},
	/* One writev() a frame, and the kernel has copied it when that returns; no offloads are asked for. */
	{.name = "net_tap", .why = "it writes frames at once", .frame_max = UINT32_MAX},
	/*
	 * Puts segments together on its stack, writes that to a file or a socket, frees the frame. What is
	 * longer than its stack's buffer (RTE_ETH_PCAP_SNAPLEN) is cut off or dropped, unless it is in one
	 * piece.
	 */
	{.name = "net_pcap",
	 .why = "it writes frames at once",
	 .frame_max = RTE_ETHER_MAX_JUMBO_FRAME_LEN,
	 .pieces = true},
};

/*
 * Written by the owner of the queue. An info a tail, not one for all: the last reference is given back
 * without an atomic operation, and each of these is the last.
 */
struct nic_lend_queue {
	struct rte_mbuf_ext_shared_info tails[PORT_BURST];
} __rte_cache_aligned;

/* --- worker -----------------------------------------------------------------------------------------------
 */

/* What is said of a tail is its reference count: 0 is back. */
static void
nic_lend_back(void *tail, void *arg)
{
}

static inline void
nic_lend_attach_one(struct rte_mbuf *pkt, struct rte_mbuf *tail, struct rte_mbuf_ext_shared_info *info)
{
	uint16_t len = (uint16_t)(pkt->data_len - LEND_HEAD);

	rte_mbuf_ext_refcnt_set(info, 1);
	/* The drivers in the table go by virtual addresses. */
	rte_pktmbuf_attach_extbuf(tail, (void *)(uintptr_t)lend_tail(pkt), RTE_BAD_IOVA, len, info);
	tail->data_len = len;
	pkt->data_len = LEND_HEAD;
	pkt->next = tail;
	pkt->nb_segs = 2;
	pkt->ol_flags &= ~LEND_FLAG;
	pkt->tx_offload = 0;
}

uint16_t
nic_lend_attach(struct nic_lend *lend, uint16_t queue_idx, struct rte_mempool *pool, struct rte_mbuf **pkts,
		uint16_t n)
{
	struct rte_mbuf *tails[PORT_BURST], *lent[PORT_BURST];
	uint16_t n_lent = 0;

	if (unlikely(atomic_load_explicit(&lend->kept, memory_order_relaxed))) {
		lend_settle_burst(pkts, n);
		return 0;
	}
	for (uint16_t i = 0; i < n; i++) {
		if (!lend_is(pkts[i]))
			continue;
		if (likely(pkts[i]->pkt_len <= lend->frame_max))
			lent[n_lent++] = pkts[i];
		else
			lend_settle(pkts[i]);
	}
	if (n_lent == 0)
		return 0;
	if (unlikely(rte_pktmbuf_alloc_bulk(pool, tails, n_lent) != 0)) {
		lend_settle_burst(lent, n_lent);
		return 0;
	}
	for (uint16_t i = 0; i < n_lent; i++)
		nic_lend_attach_one(lent[i], tails[i], &lend->queues[queue_idx].tails[i]);
	return n_lent;
}

void
nic_lend_check(struct nic_lend *lend, uint16_t queue_idx, uint16_t n_tails)
{
	const struct nic_lend_queue *queue = &lend->queues[queue_idx];
	uint16_t out = 0;

	for (uint16_t i = 0; i < n_tails; i++)
		out |= rte_mbuf_ext_refcnt_read(&queue->tails[i]);
	if (unlikely(out))
		atomic_store_explicit(&lend->kept, true, memory_order_relaxed);
}

/* --- control thread ---------------------------------------------------------------------------------------
 */

/* The end of the port's line for people. */
static void
nic_lend_describe(struct port *port, bool lends, const char *why)
{
	static const char key[] = ", lent frames: ";
	char *end = strstr(port->describe, key);

	if (!end)
		end = port->describe + strlen(port->describe);
	snprintf(end, sizeof(port->describe) - (size_t)(end - port->describe), "%s%s (%s)", key,
		 lends ? "yes" : "no", why);
}

static void
nic_lend_look(void *arg)
{
	struct nic_lend *lend = arg;

	if (!atomic_load_explicit(&lend->kept, memory_order_relaxed))
		return;
	loop_timer_stop(lend->timer);
	nic_lend_describe(lend->port, false, "its driver kept some");
	log_error(&lend->port->ctx->log,
		  "port %s: its driver still had frames that lie in a guest's memory after it had sent them: "
		  "it "
		  "gets copies from now on",
		  lend->port->name);
}

static const struct nic_lend_driver *
nic_lend_find(const struct rte_eth_dev_info *info)
{
	for (size_t i = 0; i < RTE_DIM(nic_lend_drivers); i++)
		if (info->driver_name && strcmp(info->driver_name, nic_lend_drivers[i].name) == 0)
			return &nic_lend_drivers[i];
	return NULL;
}

void
nic_lend_open(struct nic_lend *lend, struct port *port, const struct rte_eth_dev_info *info,
	      uint16_t segs_max)
{
	const struct nic_lend_driver *driver = nic_lend_find(info);
	size_t size = port->n_queues * sizeof(lend->queues[0]);

	if (!driver) {
		nic_lend_describe(port, false, "its driver may keep them");
		return;
	}
	if (segs_max < 2 && !driver->pieces) {
		nic_lend_describe(port, false, "it takes frames in one piece");
		return;
	}
	lend->port = port;
	lend->n_queues = port->n_queues;
	lend->frame_max = driver->frame_max;
	lend->queues = aligned_alloc(RTE_CACHE_LINE_SIZE, size);
	if (lend->queues && port->ctx->loop)
		lend->timer = loop_timer_add(port->ctx->loop, NIC_LEND_PERIOD_MS, NIC_LEND_PERIOD_MS,
					     nic_lend_look, lend);
	if (!lend->timer) {
		free(lend->queues);
		lend->queues = NULL;
		nic_lend_describe(port, false, "no memory");
		return;
	}
	memset(lend->queues, 0, size);
	for (uint16_t q = 0; q < port->n_queues; q++) {
		for (uint16_t i = 0; i < PORT_BURST; i++)
			lend->queues[q].tails[i].free_cb = nic_lend_back;
		port->queues[q].takes_lent = true;
	}
	nic_lend_describe(port, true, driver->why);
}

/* Whoever kept a tail writes to its reference count when it is freed at last. */
static bool
nic_lend_is_out(const struct nic_lend *lend)
{
	for (uint16_t q = 0; q < lend->n_queues; q++)
		for (uint16_t i = 0; i < PORT_BURST; i++)
			if (rte_mbuf_ext_refcnt_read(&lend->queues[q].tails[i]) != 0)
				return true;
	return false;
}

void
nic_lend_close(struct nic_lend *lend)
{
	loop_timer_remove(lend->timer);
	if (lend->queues && !nic_lend_is_out(lend))
		free(lend->queues);
	lend->queues = NULL;
}
