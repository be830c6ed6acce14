/* SPDX-License-Identifier: BSD-3-Clause */
#include "nic_burst.h"

#include <stdatomic.h>
#include <string.h>

#include <rte_ethdev.h>

#include "borrow.h"
#include "ctx.h"
#include "gro.h"
#include "nic_private.h"
#include "nic_tag.h"
#include "port.h"
#include "software_offload.h"
#include "ticks.h"

/* Drop runts and truncated frames. Not inlined, for few bursts need it. */
static __rte_noinline uint16_t
nic_rx_slow(struct port_rxq *rxq, struct rte_mbuf **pkts, uint16_t n)
{
	const struct nic *nic = rxq->dev;
	uint16_t n_kept = 0;

	for (uint16_t i = 0; i < n; i++) {
		if (rte_pktmbuf_data_len(pkts[i]) < RTE_ETHER_HDR_LEN)
			port_rx_drop(rxq, DROP_RUNT, &pkts[i], 1);
		else if (!(pkts[i]->ol_flags & FRAME_REQUESTS_SEGMENTS) &&
			 nic_limit_is_cut(&nic->limit, pkts[i]))
			port_rx_drop(rxq, DROP_TRUNCATED, &pkts[i], 1);
		else if (nic->offload.gives_partial && nic_offload_is_partial(pkts[i]->ol_flags) &&
			 !nic_offload_receive(pkts[i]))
			port_rx_drop(rxq, DROP_BAD_OFFLOAD, &pkts[i], 1);
		else
			pkts[n_kept++] = pkts[i];
	}
	return n_kept;
}

/* Tags that lie beside their frames are put back. Not inlined, for few devices do that. */
static __rte_noinline uint16_t
nic_rx_tags(struct port_rxq *rxq, struct rte_mbuf **pkts, uint16_t n)
{
	uint16_t n_kept = 0;

	for (uint16_t i = 0; i < n; i++) {
		if (!(pkts[i]->ol_flags & NIC_TAG_FLAGS) || nic_tag_restore(pkts[i])) {
			pkts[n_kept++] = pkts[i];
			continue;
		}
		counter_add(&rxq->stats.packets, 1);
		counter_add(&rxq->stats.bytes, rte_pktmbuf_pkt_len(pkts[i]));
		port_rx_drop(rxq, DROP_NO_MBUF, &pkts[i], 1);
	}
	return n_kept;
}

uint16_t
nic_burst_rx(struct port_rxq *rxq, struct rte_mbuf **pkts, uint16_t n)
{
	const struct nic *nic = rxq->dev;
	const uint32_t span = nic->rx_span;
	bool any_odd = false;
	uint64_t bytes = 0, flags = 0;

	if (unlikely(atomic_load_explicit(&nic->is_lost, memory_order_relaxed)))
		return 0;
	quiesce_leave(&nic->ctx->quiesce, rxq->worker, &rxq->place);
	n = rte_eth_rx_burst(nic->eth_id, rxq->idx, pkts, n);
	quiesce_return(&nic->ctx->quiesce, rxq->worker);
	for (uint16_t i = 0; i < n; i++)
		flags |= pkts[i]->ol_flags;
	if (unlikely(flags & NIC_TAG_FLAGS))
		n = nic_rx_tags(rxq, pkts, n);
	if (nic->lro.is_on)
		nic_lro_burst(&nic->lro, pkts, n);
	if (nic->gro && n > 1)
		n = gro_burst(pkts, n);
	for (uint16_t i = 0; i < n; i++) {
		bytes += rte_pktmbuf_pkt_len(pkts[i]);
		any_odd |= (uint32_t)rte_pktmbuf_data_len(pkts[i]) - RTE_ETHER_HDR_LEN > span;
	}
	if (nic->offload.gives_partial)
		for (uint16_t i = 0; i < n; i++)
			any_odd |= nic_offload_is_partial(pkts[i]->ol_flags);
	counter_add(&rxq->stats.packets, n);
	counter_add(&rxq->stats.bytes, bytes);
	return unlikely(any_odd) ? nic_rx_slow(rxq, pkts, n) : n;
}

/* 0: the link is down. */
static inline uint32_t
nic_frame_max(const struct nic *nic)
{
	return atomic_load_explicit(&nic->limit.frame_max, memory_order_relaxed);
}

/* A copy of the frame in one segment; NULL, and the reason in *ret_drop, if there is no buffer for it. */
static struct rte_mbuf *
nic_linearise(const struct nic *nic, const struct rte_mbuf *m, enum port_drop *ret_drop)
{
	uint32_t len = rte_pktmbuf_pkt_len(m);
	struct rte_mempool *pool = nic->pool;
	struct rte_mbuf *copy;
	const void *data;
	char *room;

	if (nic->big_pool && len + RTE_PKTMBUF_HEADROOM > rte_pktmbuf_data_room_size(pool))
		pool = nic->big_pool;
	if (len + RTE_PKTMBUF_HEADROOM > rte_pktmbuf_data_room_size(pool)) {
		*ret_drop = DROP_TOO_LONG;
		return NULL;
	}
	copy = rte_pktmbuf_alloc(pool);
	if (!copy) {
		/* All buffers are in the device's transmit rings. */
		*ret_drop = DROP_TX_FULL;
		return NULL;
	}
	room = rte_pktmbuf_append(copy, (uint16_t)len);
	data = rte_pktmbuf_read(m, 0, len, room);
	if (data != room)
		memcpy(room, data, len);
	return copy;
}

/* The frames that the device can take, in order; the others are counted. Returns their number. */
static uint16_t
nic_tx_fit(struct port_txq *txq, struct rte_mbuf **pkts, uint16_t n, uint64_t *ret_bytes)
{
	const struct nic *nic = txq->dev;
	const uint32_t frame_max = nic_frame_max(nic);
	uint16_t n_kept = 0;
	uint64_t bytes = 0;

	if (frame_max == 0) {
		*ret_bytes = 0;
		port_tx_drop(txq, DROP_LINK_DOWN, pkts, n);
		return 0;
	}
	for (uint16_t i = 0; i < n; i++) {
		struct rte_mbuf *m = pkts[i];

		if (rte_pktmbuf_pkt_len(m) > frame_max && !(m->ol_flags & FRAME_REQUESTS_SEGMENTS) &&
		    !nic_limit_accepts(&nic->limit, m)) {
			port_tx_drop(txq, DROP_TOO_LONG, &m, 1);
			continue;
		}
		if (m->nb_segs > nic->segs_max && !(m->ol_flags & FRAME_REQUESTS_SEGMENTS)) {
			enum port_drop drop;

			m = nic_linearise(nic, pkts[i], &drop);
			if (!m) {
				port_tx_drop(txq, drop, &pkts[i], 1);
				continue;
			}
			rte_pktmbuf_free(pkts[i]);
		}
		bytes += rte_pktmbuf_pkt_len(m);
		pkts[n_kept++] = m;
	}
	*ret_bytes = bytes;
	return n_kept;
}

/* As nic_tx_fit(), which few bursts need. */
static inline uint16_t
nic_tx_check(struct port_txq *txq, struct rte_mbuf **pkts, uint16_t n, uint64_t *ret_bytes)
{
	const struct nic *nic = txq->dev;
	const uint32_t frame_max = nic_frame_max(nic);
	bool any_odd = false;
	uint64_t bytes = 0;

	for (uint16_t i = 0; i < n; i++) {
		bytes += rte_pktmbuf_pkt_len(pkts[i]);
		any_odd |= pkts[i]->nb_segs > nic->segs_max || rte_pktmbuf_pkt_len(pkts[i]) > frame_max;
	}
	if (unlikely(any_odd))
		return nic_tx_fit(txq, pkts, n, ret_bytes);
	*ret_bytes = bytes;
	return n;
}

/* Send frames that the device can take, of `bytes` bytes together. */
static inline uint16_t
nic_tx_burst(struct port_txq *txq, struct rte_mbuf **pkts, uint16_t n, uint64_t bytes)
{
	const struct nic *nic = txq->dev;
	uint16_t n_sent;

	quiesce_leave(&nic->ctx->quiesce, txq->worker, &txq->place);
	n_sent = rte_eth_tx_burst(nic->eth_id, txq->idx, pkts, n);
	quiesce_return(&nic->ctx->quiesce, txq->worker);
	if (unlikely(n_sent < n)) {
		for (uint16_t i = n_sent; i < n; i++)
			bytes -= rte_pktmbuf_pkt_len(pkts[i]);
		port_tx_drop(txq, DROP_TX_FULL, pkts + n_sent, (uint16_t)(n - n_sent));
	}
	counter_add(&txq->stats.packets, n_sent);
	counter_add(&txq->stats.bytes, bytes);
	return n_sent;
}

/* Send frames that request no offloads. */
static uint16_t
nic_send(struct port_txq *txq, const void *ctx, struct rte_mbuf **pkts, uint16_t n)
{
	uint64_t bytes;

	n = nic_tx_check(txq, pkts, n, &bytes);
	return nic_tx_burst(txq, pkts, n, bytes);
}

/* Frames that ask for nothing that the device can't do; what it does not do after all is done in software. */
static uint16_t
nic_send_requests(struct port_txq *txq, const void *ctx, struct rte_mbuf **pkts, uint16_t n)
{
	const struct nic *nic = txq->dev;
	uint16_t n_sent = 0;

	while (n) {
		uint16_t n_ready =
			nic_offload_prepare(&nic->offload, nic->eth_id, txq->idx, nic->pool, pkts, n);

		if (n_ready)
			n_sent = (uint16_t)(n_sent + nic_send(txq, NULL, pkts, n_ready));
		pkts += n_ready;
		n = (uint16_t)(n - n_ready);
		if (n == 0)
			break;
		n_sent = (uint16_t)(n_sent + port_software_offload(txq, nic->pool, OFFLOADS_NONE, pkts, 1,
								   nic_send, NULL));
		pkts++;
		n--;
	}
	return n_sent;
}

/* Send frames of which some are borrowed. */
static uint16_t
nic_send_borrowed(struct port_txq *txq, struct rte_mbuf **pkts, uint16_t n)
{
	struct nic *nic = txq->dev;
	uint16_t n_payloads, n_sent;
	uint64_t bytes;

	n = nic_tx_check(txq, pkts, n, &bytes);
	n = nic_borrow_attach(&nic->borrow, txq, nic->pool, pkts, n, &bytes, &n_payloads);
	n_sent = nic_tx_burst(txq, pkts, n, bytes);
	nic_borrow_check(&nic->borrow, txq->idx, n_payloads);
	return n_sent;
}

/* Not inlined, so that other bursts do not save registers for it. */
static __rte_noinline uint16_t
nic_tx_slow(struct port_txq *txq, struct rte_mbuf **pkts, uint16_t n, uint64_t flags)
{
	const struct nic *nic = txq->dev;

	if (!(flags & FRAME_REQUESTS))
		return nic_send_borrowed(txq, pkts, n);
	/* The burst becomes others, in which some may be borrowed and some not. */
	n = borrow_materialise_burst(pkts, n, &txq->stats.drops[DROP_NO_MBUF]);
	return port_software_offload(txq, nic->pool, nic->offload.capabilities, pkts, n, nic_send_requests,
				     NULL);
}

uint16_t
nic_burst_tx(struct port_txq *txq, struct rte_mbuf **pkts, uint16_t n)
{
	const struct nic *nic = txq->dev;
	uint64_t flags = 0;

	if (unlikely(atomic_load_explicit(&nic->is_lost, memory_order_relaxed))) {
		port_tx_drop(txq, DROP_LINK_DOWN, pkts, n);
		return 0;
	}
	for (uint16_t i = 0; i < n; i++)
		flags |= pkts[i]->ol_flags;
	if (unlikely(flags & (FRAME_REQUESTS | BORROW_FLAG)))
		return nic_tx_slow(txq, pkts, n, flags);
	return nic_send(txq, NULL, pkts, n);
}

/* net_bonding speaks LACP in calls of its burst functions, and wants one at least ten times a second. */
void
nic_burst_service(struct port_txq *txq)
{
	struct nic *nic = txq->dev;
	const uint64_t now = ticks_now();

	if (now < nic->service_at)
		return;
	nic->service_at = now + nic->service_period;
	quiesce_leave(&nic->ctx->quiesce, txq->worker, &txq->place);
	rte_eth_tx_burst(nic->eth_id, txq->idx, NULL, 0);
	quiesce_return(&nic->ctx->quiesce, txq->worker);
}
