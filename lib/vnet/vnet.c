/* SPDX-License-Identifier: BSD-3-Clause */
#include "vnet.h"

#include <string.h>

#include <rte_arp.h>
#include <rte_ether.h>

#include "borrow.h"
#include "flows.h"
#include "offload.h"
#include "ring.h"
#include "software_offload.h"
#include "template.h"

/* SEND_RARP asks that the guest's address be announced in its name (vhost-user, "VHOST_USER_SEND_RARP"). */
static struct rte_mbuf *
vnet_rarp(struct vnet_queue *queue)
{
	uint64_t word = atomic_exchange_explicit(&queue->shared->rarp_mac, 0, memory_order_acquire);
	struct rte_ether_addr mac;

	if (!word)
		return NULL;
	memcpy(mac.addr_bytes, &word, RTE_ETHER_ADDR_LEN);
	return rte_net_make_rarp_packet(queue->pool, &mac);
}

/* The reason to drop frames on a queue that runs and is not enabled. */
static enum port_drop
vnet_closed(const struct vnet_queue *queue, enum port_drop otherwise)
{
	bool link_up = atomic_load_explicit(&queue->shared->link_up, memory_order_relaxed);

	return link_up ? otherwise : DROP_LINK_DOWN;
}

/* The reason to drop frames for a queue that does not run. */
static enum port_drop
vnet_stopped(const struct vnet_queue *queue)
{
	bool has_guest = atomic_load_explicit(&queue->shared->has_guest, memory_order_relaxed);

	return has_guest ? DROP_QUEUE_STOPPED : DROP_NO_GUEST;
}

/* The conf is still there: the worker has not been quiescent since vnet_rx(). */
void
vnet_rx_release(struct port_rxq *rxq)
{
	struct vnet_queue *queue = rxq->dev;
	const struct virtq_conf *conf = &queue->borrowed_conf->virtq;
	uint16_t n = queue->from_guest.batch;

	virtq_publish(&queue->from_guest, conf, conf->traits);
	virtq_notify(&queue->from_guest, conf, n);
	/* Release: pairs with port_rxq_is_borrowed(). */
	__atomic_store_n(&rxq->borrowed, false, __ATOMIC_RELEASE);
}

/* Not inlined, so that queues that learn no flows pay nothing for it. */
static NOINLINE uint16_t
vnet_learn(struct port_rxq *rxq, struct vnet_flows *flows, struct rte_mbuf **pkts, uint16_t n)
{
	if (rxq->keeps_digests)
		rxq->has_digests = vnet_flows_learn_and_keep(flows, rxq->idx, pkts, n);
	else
		vnet_flows_learn(flows, rxq->idx, pkts, n);
	return n;
}

uint16_t
vnet_rx(struct port_rxq *rxq, struct rte_mbuf **pkts, uint16_t n)
{
	struct vnet_queue *queue = rxq->dev;
	const struct vnet_conf *conf = vnet_conf(&queue->from_guest);

	if (unlikely(atomic_load_explicit(&queue->shared->rarp_mac, memory_order_relaxed)) && rxq->idx == 0) {
		pkts[0] = vnet_rarp(queue);
		if (pkts[0]) {
			counter_add(&rxq->stats.packets, 1);
			counter_add(&rxq->stats.bytes, pkts[0]->pkt_len);
			return 1;
		}
	}
	if (!conf || unlikely(virtq_is_broken(&queue->from_guest)))
		return 0;
	n = conf->from_guest(queue, conf, rxq, pkts, n);
	queue->borrowed_conf = conf;
	if (unlikely(n && !conf->virtq.enabled)) {
		/* Started but disabled: drained and discarded (vhost-user, "Ring states"). */
		for (uint16_t i = 0; i < n; i++)
			counter_add(&queue->discarded_bytes, pkts[i]->pkt_len);
		port_rx_drop(rxq, vnet_closed(queue, DROP_DISABLED), pkts, n);
		if (rxq->borrowed)
			vnet_rx_release(rxq);
		return 0;
	}
	if (unlikely(n && conf->flows))
		return vnet_learn(rxq, conf->flows, pkts, n);
	return n;
}

uint16_t
vnet_rx_whole(struct port_rxq *rxq, struct rte_mbuf **pkts, uint16_t n)
{
	n = vnet_rx(rxq, pkts, n);
	if (rxq->borrowed) {
		n = borrow_materialise_burst(pkts, n, &rxq->stats.drops[DROP_NO_CLONE]);
		vnet_rx_release(rxq);
	}
	return n;
}

/*
 * Frames from guests are single, unshared mbufs of one pool: they are put back without access to their second
 * cache line. Any other burst is freed by rte_pktmbuf_free_bulk().
 */
static inline void
vnet_free(struct rte_mbuf **pkts, uint16_t n)
{
	struct rte_mempool *pool = pkts[0]->pool;
	bool unshared = true;

	for (uint16_t i = 0; i < n; i++)
		unshared &= pkts[i]->pool == pool && pkts[i]->nb_segs == 1 &&
			    rte_mbuf_refcnt_read(pkts[i]) == 1 && RTE_MBUF_DIRECT(pkts[i]);
	if (likely(unshared))
		rte_mempool_put_bulk(pool, (void **)pkts, n);
	else
		rte_pktmbuf_free_bulk(pkts, n);
}

/* Send frames that request no offload that the guest has not negotiated; `ctx` is the conf. */
static uint16_t
vnet_send(struct port_txq *txq, const void *ctx, struct rte_mbuf **pkts, uint16_t n)
{
	const struct vnet_conf *conf = ctx;
	struct vnet_queue *queue = txq->dev;
	uint16_t n_sent;

	if (queue->await.looks)
		vnet_await(&queue->await, &queue->to_guest, &conf->virtq, txq, n);
	n_sent = conf->to_guest(txq->dev, conf, txq, pkts, n);
	vnet_free(pkts, n);
	return n_sent;
}

uint16_t
vnet_tx(struct port_txq *txq, struct rte_mbuf **pkts, uint16_t n)
{
	struct vnet_queue *queue = txq->dev;
	const struct vnet_conf *conf = vnet_conf(&queue->to_guest);
	uint64_t flags = 0;

	if (unlikely(!conf || !conf->virtq.enabled)) {
		port_tx_drop(txq, conf ? vnet_closed(queue, DROP_QUEUE_DISABLED) : vnet_stopped(queue), pkts, n);
		return 0;
	}
	if (unlikely(virtq_is_broken(&queue->to_guest))) {
		port_tx_drop(txq, DROP_BROKEN, pkts, n);
		return 0;
	}
	for (uint16_t i = 0; i < n; i++)
		flags |= pkts[i]->ol_flags;
	/* All frames are sent with this conf, for its offloads decide what is done in software. */
	if (unlikely(flags & conf->unsupported))
		return port_software_offload(txq, queue->pool, conf->offloads, pkts, n, vnet_send, conf);
	return vnet_send(txq, conf, pkts, n);
}

void
vnet_rx_service(struct port_rxq *rxq)
{
	struct vnet_queue *queue = rxq->dev;

	virtq_notify_service(&queue->from_guest);
}

void
vnet_tx_service(struct port_txq *txq)
{
	struct vnet_queue *queue = txq->dev;

	virtq_notify_service(&queue->to_guest);
}
