/* SPDX-License-Identifier: BSD-3-Clause */
#include "nic_borrow.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "borrow.h"
#include "ctx.h"
#include "loop.h"
#include "port.h"

enum { NIC_BORROW_PERIOD_MS = 100 };

/* PMDs that complete transmission before rte_eth_tx_burst() returns, by their sources in DPDK 22.11. */
struct nic_borrow_driver {
	const char *name; /* as in rte_eth_dev_info */
	const char *why;  /* for people */
	uint32_t frame_max;
	bool pieces; /* accepts frames of two segments, although it does not offer MULTI_SEGS */
};

static const struct nic_borrow_driver nic_borrow_drivers[] = {
	/* Frees all segments; with copy=1 it copies from the first segment, at most that segment's length. */
	{.name = "net_null", .why = "it drops frames at once", .frame_max = UINT32_MAX, .pieces = true},
	/* Copies all segments into the socket's ring, frees the frame, and only then tells the kernel. */
	{.name = "net_af_packet", .why = "it copies frames at once", .frame_max = UINT32_MAX},
	/* One writev() per frame, which returns when the kernel has copied it; requests no offloads. */
	{.name = "net_tap", .why = "it writes frames at once", .frame_max = UINT32_MAX},
	/*
	 * Copies segments to a buffer on its stack, writes that to a file or a socket, frees the frame. A
	 * frame of several segments that is longer than the buffer (RTE_ETH_PCAP_SNAPLEN) is truncated or
	 * dropped.
	 */
	{.name = "net_pcap",
	 .why = "it writes frames at once",
	 .frame_max = RTE_ETHER_MAX_JUMBO_FRAME_LEN,
	 .pieces = true},
};

/*
 * Written by the owner of the queue. One info per payload, not one for all: a reference count of 1 is dropped
 * without an atomic operation.
 */
struct nic_borrow_queue {
	struct rte_mbuf_ext_shared_info payloads[NIC_BORROW_PIECES];
} __rte_cache_aligned;

/* --- worker -----------------------------------------------------------------------------------------------
 */

/* Nothing to do when a payload is freed: nic_borrow_check() reads its reference count, which is 0 then. */
static void
nic_borrow_back(void *payload, void *arg)
{
}

static inline void
nic_borrow_attach_one(struct rte_mbuf *payload, const struct borrow_piece *piece,
		      struct rte_mbuf_ext_shared_info *info)
{
	rte_mbuf_ext_refcnt_set(info, 1);
	/* No IOVA: the PMDs in the table use virtual addresses. */
	rte_pktmbuf_attach_extbuf(payload, (void *)(uintptr_t)piece->va, RTE_BAD_IOVA, (uint16_t)piece->len,
				  info);
	payload->data_len = (uint16_t)piece->len;
}

/* How many segments the pieces of a borrowed frame would be; 0: they can't be segments. */
static inline uint16_t
nic_borrow_count(const struct nic_borrow *borrow, const struct rte_mbuf *pkt, uint16_t n_payloads)
{
	const struct borrow_piece *pieces;
	struct borrow_piece one;
	const uint16_t n = borrow_pieces(pkt, &one, &pieces);

	if (unlikely(pkt->pkt_len > borrow->frame_max || n > borrow->pieces_max ||
		     n_payloads + n > NIC_BORROW_PIECES))
		return 0;
	for (uint16_t i = 0; i < n; i++)
		if (unlikely(pieces[i].len > UINT16_MAX))
			return 0;
	return n;
}

/* Make the pieces of a borrowed frame its segments, with an mbuf and an info for each. */
static inline void
nic_borrow_attach_frame(struct rte_mbuf *pkt, struct rte_mbuf *payloads[],
			struct rte_mbuf_ext_shared_info infos[])
{
	const struct borrow_piece *pieces;
	struct borrow_piece one;
	const uint16_t n = borrow_pieces(pkt, &one, &pieces);

	for (uint16_t i = 0; i < n; i++) {
		nic_borrow_attach_one(payloads[i], &pieces[i], &infos[i]);
		payloads[i]->next = i + 1 < n ? payloads[i + 1] : NULL;
	}
	pkt->next = payloads[0];
	pkt->nb_segs = (uint16_t)(1 + n);
	if (!borrow_is_in_pieces(pkt))
		pkt->tx_offload = 0;
	pkt->ol_flags &= ~(BORROW_FLAG | BORROW_PIECES_FLAG);
}

uint16_t
nic_borrow_attach(struct nic_borrow *borrow, struct port_txq *txq, struct rte_mempool *pool,
		  struct rte_mbuf **pkts, uint16_t n, uint64_t *bytes, uint16_t *ret_n_payloads)
{
	const bool may = !atomic_load_explicit(&borrow->kept, memory_order_relaxed);
	struct rte_mbuf_ext_shared_info *infos = borrow->queues[txq->idx].payloads;
	struct rte_mbuf *payloads[NIC_BORROW_PIECES];
	uint16_t counts[PORT_BURST], n_payloads = 0, at = 0, n_left = 0;

	for (uint16_t i = 0; i < n; i++) {
		counts[i] = may && borrow_is(pkts[i]) ? nic_borrow_count(borrow, pkts[i], n_payloads) : 0;
		n_payloads = (uint16_t)(n_payloads + counts[i]);
	}
	if (unlikely(n_payloads && rte_pktmbuf_alloc_bulk(pool, payloads, n_payloads) != 0)) {
		memset(counts, 0, sizeof(counts));
		n_payloads = 0;
	}
	for (uint16_t i = 0; i < n; i++) {
		struct rte_mbuf *pkt = pkts[i];

		if (likely(counts[i])) {
			nic_borrow_attach_frame(pkt, &payloads[at], &infos[at]);
			at = (uint16_t)(at + counts[i]);
		} else if (unlikely(!borrow_materialise(pkt))) {
			*bytes -= pkt->pkt_len;
			port_tx_drop(txq, DROP_NO_MBUF, &pkt, 1);
			continue;
		}
		pkts[n_left++] = pkt;
	}
	*ret_n_payloads = n_payloads;
	return n_left;
}

void
nic_borrow_check(struct nic_borrow *borrow, uint16_t queue_idx, uint16_t n_payloads)
{
	const struct nic_borrow_queue *queue = &borrow->queues[queue_idx];
	uint16_t out = 0;

	for (uint16_t i = 0; i < n_payloads; i++)
		out |= rte_mbuf_ext_refcnt_read(&queue->payloads[i]);
	if (unlikely(out))
		atomic_store_explicit(&borrow->kept, true, memory_order_relaxed);
}

/* --- control thread ---------------------------------------------------------------------------------------
 */

/* The end of the port's line for people. */
static void
nic_borrow_describe(struct port *port, bool borrows, const char *why)
{
	static const char key[] = ", borrowed frames: ";
	char *end = strstr(port->describe, key);

	if (!end)
		end = port->describe + strlen(port->describe);
	snprintf(end, sizeof(port->describe) - (size_t)(end - port->describe), "%s%s (%s)", key,
		 borrows ? "yes" : "no", why);
}

static void
nic_borrow_look(void *arg)
{
	struct nic_borrow *borrow = arg;

	if (!atomic_load_explicit(&borrow->kept, memory_order_relaxed))
		return;
	loop_timer_stop(borrow->timer);
	nic_borrow_describe(borrow->port, false, "its driver kept some");
	log_error(&borrow->port->ctx->log,
		  "port %s: its driver still had frames that lie in a guest's memory after it had sent them: "
		  "it "
		  "gets copies from now on",
		  borrow->port->name);
}

static const struct nic_borrow_driver *
nic_borrow_find(const struct rte_eth_dev_info *info)
{
	for (size_t i = 0; i < RTE_DIM(nic_borrow_drivers); i++)
		if (info->driver_name && strcmp(info->driver_name, nic_borrow_drivers[i].name) == 0)
			return &nic_borrow_drivers[i];
	return NULL;
}

void
nic_borrow_open(struct nic_borrow *borrow, struct port *port, const struct rte_eth_dev_info *info,
		uint16_t segs_max)
{
	const struct nic_borrow_driver *driver = nic_borrow_find(info);
	size_t size = port->n_queues * sizeof(borrow->queues[0]);

	if (!driver) {
		nic_borrow_describe(port, false, "its driver may keep them");
		return;
	}
	if (segs_max < 2 && !driver->pieces) {
		nic_borrow_describe(port, false, "it takes frames in one piece");
		return;
	}
	borrow->port = port;
	borrow->n_queues = port->n_queues;
	borrow->frame_max = driver->frame_max;
	borrow->pieces_max = driver->pieces ? NIC_BORROW_PIECES : (uint16_t)(segs_max - 1);
	borrow->queues = aligned_alloc(RTE_CACHE_LINE_SIZE, size);
	if (borrow->queues && port->ctx->loop)
		borrow->timer = loop_timer_add(port->ctx->loop, NIC_BORROW_PERIOD_MS, NIC_BORROW_PERIOD_MS,
					       nic_borrow_look, borrow);
	if (!borrow->timer) {
		free(borrow->queues);
		borrow->queues = NULL;
		nic_borrow_describe(port, false, "no memory");
		return;
	}
	memset(borrow->queues, 0, size);
	for (uint16_t q = 0; q < port->n_queues; q++) {
		for (uint16_t i = 0; i < NIC_BORROW_PIECES; i++)
			borrow->queues[q].payloads[i].free_cb = nic_borrow_back;
		port->txqs[q].accepts_borrowed = true;
	}
	nic_borrow_describe(port, true, driver->why);
}

/* A PMD that has kept a payload will write to its reference count when it frees it: then don't free that. */
static bool
nic_borrow_is_out(const struct nic_borrow *borrow)
{
	for (uint16_t q = 0; q < borrow->n_queues; q++)
		for (uint16_t i = 0; i < NIC_BORROW_PIECES; i++)
			if (rte_mbuf_ext_refcnt_read(&borrow->queues[q].payloads[i]) != 0)
				return true;
	return false;
}

void
nic_borrow_close(struct nic_borrow *borrow)
{
	loop_timer_remove(borrow->timer);
	if (borrow->queues && !nic_borrow_is_out(borrow))
		free(borrow->queues);
	borrow->queues = NULL;
}
