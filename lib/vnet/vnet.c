/* SPDX-License-Identifier: BSD-3-Clause */
#include "vnet.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <rte_arp.h>
#include <rte_cycles.h>
#include <rte_ether.h>

#include "burst_variants.h"
#include "filter.h"
#include "header.h"
#include "reconcile.h"
#include "ring.h"
#include "steer.h"

enum { VNET_MTU_MIN = 68 };

static struct vnet_dev *
vnet_of(const struct vdev *vdev)
{
	return vdev->type_dev;
}

/* --- the device type --- */

/* VIRTIO, "Feature bit requirements"; CTRL_VQ itself is for the front-end to ask for or to keep to itself. */
static const struct {
	uint64_t feature, needs_one_of;
	const char *what;
} vnet_requirements[] = {
	{FEATURE_MASK(NET_GUEST_TSO4) | FEATURE_MASK(NET_GUEST_TSO6), FEATURE_MASK(NET_GUEST_CSUM),
	 "guest_tso4 and guest_tso6 need guest_csum"},
	{FEATURE_MASK(NET_GUEST_ECN), FEATURE_MASK(NET_GUEST_TSO4) | FEATURE_MASK(NET_GUEST_TSO6),
	 "guest_ecn needs guest_tso4 or guest_tso6"},
	{FEATURE_MASK(NET_HOST_TSO4) | FEATURE_MASK(NET_HOST_TSO6), FEATURE_MASK(NET_CSUM),
	 "host_tso4 and host_tso6 need csum"},
	{FEATURE_MASK(NET_HOST_ECN), FEATURE_MASK(NET_HOST_TSO4) | FEATURE_MASK(NET_HOST_TSO6),
	 "host_ecn needs host_tso4 or host_tso6"},
};

static uint64_t
vnet_features(const struct vdev *vdev)
{
	const struct vnet_dev *dev = vnet_of(vdev);
	uint64_t features = FEATURE_MASK(NET_MAC) | FEATURE_MASK(NET_STATUS) | FEATURE_MASK(NET_MRG_RXBUF) |
			    FEATURE_MASK(NET_CTRL_VQ) | FEATURE_MASK(ANY_LAYOUT) |
			    FEATURE_MASK(INDIRECT_DESC) | FEATURE_MASK(EVENT_IDX) | FEATURE_MASK(VERSION_1) |
			    FEATURE_MASK(RING_PACKED) | FEATURE_MASK(IN_ORDER) | FEATURE_MASK(ORDER_PLATFORM);

	/* What the controlq's commands need, and the datapath behind them. */
	features |= FEATURE_MASK(NET_CTRL_RX) | FEATURE_MASK(NET_CTRL_RX_EXTRA) |
		    FEATURE_MASK(NET_CTRL_VLAN) | FEATURE_MASK(NET_CTRL_MAC_ADDR) |
		    FEATURE_MASK(NET_CTRL_GUEST_OFFLOADS) | FEATURE_MASK(NET_GUEST_ANNOUNCE) |
		    FEATURE_MASK(NET_RSS) | FEATURE_MASK(NET_HASH_REPORT) | FEATURE_MASK(NET_NOTF_COAL) |
		    FEATURE_MASK(NET_VQ_NOTF_COAL) | FEATURE_MASK(NET_DEVICE_STATS);
	features |= FEATURE_MASK(NET_CSUM) | FEATURE_MASK(NET_HOST_TSO4) | FEATURE_MASK(NET_HOST_TSO6) |
		    FEATURE_MASK(NET_HOST_ECN) | VNET_GUEST_OFFLOADS;
	if (dev->n_pairs > 1)
		features |= FEATURE_MASK(NET_MQ);
	if (dev->offered_mtu)
		features |= FEATURE_MASK(NET_MTU);
	if (dev->offer_standby)
		features |= FEATURE_MASK(NET_STANDBY);
	if (dev->offer_speed)
		features |= FEATURE_MASK(NET_SPEED_DUPLEX);
	return features;
}

static int
vnet_features_check(const struct vdev *vdev, uint64_t features, struct diag *diag)
{
	for (size_t i = 0; i < RTE_DIM(vnet_requirements); i++)
		if (features & vnet_requirements[i].feature &&
		    !(features & vnet_requirements[i].needs_one_of))
			return diag_set(diag, -EINVAL, "", "features: %s", vnet_requirements[i].what);
	return 0;
}

bool
vnet_has_one_pair(const struct vnet_dev *dev)
{
	uint64_t several = FEATURE_MASK(NET_MQ) | FEATURE_MASK(NET_RSS);

	return dev->vdev.said.features & FEATURE_MASK(NET_CTRL_VQ) && !(dev->vdev.said.features & several);
}

int
vnet_controlq_idx(const struct vnet_dev *dev)
{
	if (!(dev->vdev.said.features & FEATURE_MASK(NET_CTRL_VQ)))
		return -1;
	return vnet_has_one_pair(dev) ? 2 : 2 * dev->n_pairs;
}

static struct virtq *
vnet_queue_of(struct vdev *vdev, unsigned int idx)
{
	struct vnet_dev *dev = vnet_of(vdev);
	unsigned int last = 2u * dev->n_pairs;

	/* With one pair, queues 2 and `last` change places, so that every state plays one queue. */
	if (vnet_has_one_pair(dev) && (idx == 2 || idx == last))
		idx = 2 + last - idx;
	if (idx == last)
		return &dev->controlq.vq;
	return idx % 2 ? &dev->queues[idx / 2].from_guest : &dev->queues[idx / 2].to_guest;
}

static bool
vnet_any_running(const struct vnet_dev *dev)
{
	for (unsigned int i = 0; i < dev->vdev.n_queues; i++)
		if (vdev_queue_is_running(&dev->vdev, i))
			return true;
	return false;
}

static void
vnet_ended(struct vdev *vdev)
{
	struct vnet_dev *dev = vnet_of(vdev);

	vnet_input_forget_mtu(dev, &dev->draft);
	atomic_store_explicit(&dev->rarp_mac, 0, memory_order_relaxed);
}

static void
vnet_reset(struct vdev *vdev)
{
	struct vnet_dev *dev = vnet_of(vdev);

	vnet_input_reset(dev, &dev->draft);
}

static int
vnet_set_mtu(struct vdev *vdev, uint64_t mtu)
{
	struct vnet_dev *dev = vnet_of(vdev);

	if (mtu < VNET_MTU_MIN || mtu > UINT16_MAX)
		return -EINVAL;
	dev->draft.mtu_used = vnet_any_running(dev);
	dev->draft.mtu = (uint16_t)mtu;
	/* Running queues get the new limit with their next conf. */
	return vnet_apply(dev);
}

static int
vnet_send_rarp(struct vdev *vdev, const uint8_t mac[6])
{
	struct vnet_dev *dev = vnet_of(vdev);
	uint64_t word = 0;

	memcpy(&word, mac, RTE_ETHER_ADDR_LEN);
	if (word == 0)
		return -EINVAL;
	/* No frame passes a link that is down, nor does it wait for better times. */
	if (!dev->link_up)
		return 0;
	/* Release: pairs with the exchange in vnet_rarp(). */
	atomic_store_explicit(&dev->rarp_mac, word, memory_order_release);
	return 0;
}

/* Its ring and memory, for frames that are borrowed. */
static bool
vnet_is_held(const struct vdev *vdev, unsigned int worker)
{
	const struct port *port = vnet_of(vdev)->port;

	if (!port || !port->rxqs)
		return false;
	for (uint16_t i = 0; i < port->n_queues; i++)
		if (port->rxqs[i].worker == worker && port_rxq_is_borrowed(&port->rxqs[i]))
			return true;
	return false;
}

static void
vnet_borrow(struct vdev *vdev, enum vdev_borrow borrow)
{
	struct port *port = vnet_of(vdev)->port;

	if (!port || !port->rxqs)
		return;
	for (uint16_t i = 0; i < port->n_queues; i++)
		atomic_store_explicit(&port->rxqs[i].materialises, borrow == VDEV_BORROW_NOTHING,
				      memory_order_relaxed);
}

static const struct vdev_ops vnet_ops = {
	.name = "net",
	.conf_size = sizeof(struct virtq_conf),
	.features = vnet_features,
	.features_check = vnet_features_check,
	.queue = vnet_queue_of,
	.reset = vnet_reset,
	.ended = vnet_ended,
	.reconcile = vnet_reconcile,
	.config_read = vnet_config_read,
	.config_write = vnet_config_write,
	.set_mtu = vnet_set_mtu,
	.send_rarp = vnet_send_rarp,
	.is_held = vnet_is_held,
	.borrow = vnet_borrow,
};

int
vnet_init(struct vnet_dev *dev, const struct vnet_config *config)
{
	static const struct vnet_steer_rules no_rules;
	int ret;

	memset(dev, 0, sizeof(*dev));
	dev->n_pairs = config->n_pairs;
	dev->offered_mtu = config->mtu;
	dev->offer_standby = config->standby;
	dev->offer_speed = config->speed_duplex;
	dev->draft.mtu = config->mtu;
	dev->draft.link.up = true;
	dev->draft.link.speed = config->speed_duplex ? config->speed : VNET_SPEED_UNKNOWN;
	dev->draft.link.duplex = config->speed_duplex ? config->duplex : VNET_DUPLEX_UNKNOWN;
	dev->mac = config->mac;
	dev->port = config->port;
	dev->loop = config->loop;
	dev->hash_changed = config->hash_changed;
	dev->hash_changed_arg = config->hash_changed_arg;
	ret = controlq_init(&dev->controlq, dev);
	dev->queues = aligned_alloc(RTE_CACHE_LINE_SIZE, config->n_pairs * sizeof(dev->queues[0]));
	if (config->n_pairs > 1)
		dev->flows = vnet_flows_new();
	if (ret < 0 || !dev->queues || (config->n_pairs > 1 && !dev->flows))
		goto err;
	for (enum steer_report report = STEER_NO_REPORT; report <= STEER_REPORT; report++)
		if (vnet_steer_build(&no_rules, config->n_pairs, report, dev->flows,
				     &dev->usual_steer[report]) < 0)
			goto err;
	memset(dev->queues, 0, config->n_pairs * sizeof(dev->queues[0]));
	for (uint16_t i = 0; i < config->n_pairs; i++) {
		dev->queues[i].pool = config->pool;
		dev->queues[i].dev = dev;
	}
	if (vdev_init(&dev->vdev, config->name, &vnet_ops, dev, 2u * config->n_pairs + 1) < 0)
		goto err;
	dev->vdev.mem_max = config->mem_max ? config->mem_max : GMEM_BYTES_MAX;
	ret = vnet_apply(dev);
	assert(ret == 0 && "of settings after a reset nothing is built");
	return ret;

err:
	vnet_fini(dev);
	return -ENOMEM;
}

void
vnet_fini(struct vnet_dev *dev)
{
	vdev_fini(&dev->vdev);
	controlq_fini(&dev->controlq);
	announce_fini(&dev->announce);
	if (dev->port)
		atomic_store_explicit(&dev->port->steer, NULL, memory_order_relaxed);
	vnet_steer_free(dev->output.own_steer);
	vnet_steer_free(dev->usual_steer[STEER_NO_REPORT]);
	vnet_steer_free(dev->usual_steer[STEER_REPORT]);
	vnet_filter_free(dev->output.own_filter);
	vnet_flows_free(dev->flows);
	free(dev->queues);
	memset(&dev->output, 0, sizeof(dev->output));
	memset(dev->usual_steer, 0, sizeof(dev->usual_steer));
	dev->flows = NULL;
	dev->queues = NULL;
}

/* --- the port functions --- */

/* SEND_RARP asks that the guest's address be announced in its name (vhost-user, "VHOST_USER_SEND_RARP"). */
static struct rte_mbuf *
vnet_rarp(struct vnet_queue *queue)
{
	uint64_t word = atomic_exchange_explicit(&queue->dev->rarp_mac, 0, memory_order_acquire);
	struct rte_ether_addr mac;

	if (!word)
		return NULL;
	memcpy(mac.addr_bytes, &word, RTE_ETHER_ADDR_LEN);
	return rte_net_make_rarp_packet(queue->pool, &mac);
}

/* Why a queue that runs is not enabled. */
static enum port_drop
vnet_closed(const struct vnet_queue *queue, enum port_drop otherwise)
{
	bool link_up = atomic_load_explicit(&queue->dev->link_up, memory_order_relaxed);

	return link_up ? otherwise : DROP_LINK_DOWN;
}

/* The conf is still there: the worker has not been quiescent since vnet_rx(). */
void
vnet_done(struct port_rxq *rxq)
{
	struct vnet_queue *queue = rxq->dev;
	uint16_t n = queue->from_guest.batch;

	virtq_publish(&queue->from_guest, queue->borrowed_conf, queue->borrowed_conf->traits);
	virtq_notify(&queue->from_guest, queue->borrowed_conf, n);
	/* Release: pairs with port_rxq_is_borrowed(). */
	__atomic_store_n(&rxq->borrowed, false, __ATOMIC_RELEASE);
}

uint16_t
vnet_rx(struct port_rxq *rxq, struct rte_mbuf **pkts, uint16_t n)
{
	struct vnet_queue *queue = rxq->dev;
	const struct virtq_conf *conf = virtq_conf(&queue->from_guest);

	if (unlikely(atomic_load_explicit(&queue->dev->rarp_mac, memory_order_relaxed)) && rxq->idx == 0) {
		pkts[0] = vnet_rarp(queue);
		if (pkts[0]) {
			counter_add(&rxq->stats.packets, 1);
			counter_add(&rxq->stats.bytes, pkts[0]->pkt_len);
			return 1;
		}
	}
	if (!conf || unlikely(virtq_is_broken(&queue->from_guest)))
		return 0;
	n = ((vnet_from_guest_fn)conf->burst)(queue, conf, rxq, pkts, n);
	queue->borrowed_conf = conf;
	if (unlikely(n && !conf->enabled)) {
		/* Started but disabled: drained and discarded (vhost-user, "Ring states"). */
		for (uint16_t i = 0; i < n; i++)
			counter_add(&queue->discarded_bytes, pkts[i]->pkt_len);
		port_rx_drop(rxq, vnet_closed(queue, DROP_DISABLED), pkts, n);
		if (rxq->borrowed)
			vnet_done(rxq);
		return 0;
	}
	if (unlikely(n && conf->flows))
		vnet_flows_learn(conf->flows, rxq->idx, pkts, n);
	return n;
}

/*
 * Frames from guests are single, unshared mbufs of one pool: they go back as they are, without a look at
 * their second cache line. Anything else takes the library's way.
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

/* The rest of sending, for frames that ask for nothing that the guest does not take; `ctx` is the conf. */
static uint16_t
vnet_send(struct port_txq *txq, const void *ctx, struct rte_mbuf **pkts, uint16_t n)
{
	const struct virtq_conf *conf = ctx;
	uint16_t n_sent;

	n_sent = ((vnet_to_guest_fn)conf->burst)(txq->dev, conf, txq, pkts, n);
	vnet_free(pkts, n);
	return n_sent;
}

/* The requests among ol_flags that the guest does not take, or not always. */
static inline uint64_t
vnet_requests_unsupported(uint64_t offloads)
{
	const uint64_t segments = VNET_GUEST_OFFLOADS & ~FEATURE_MASK(NET_GUEST_CSUM);

	if (!(offloads & FEATURE_MASK(NET_GUEST_CSUM)))
		return FRAME_REQUESTS;
	return ~offloads & segments ? RTE_MBUF_F_TX_TCP_SEG : 0;
}

uint16_t
vnet_tx(struct port_txq *txq, struct rte_mbuf **pkts, uint16_t n)
{
	struct vnet_queue *queue = txq->dev;
	const struct virtq_conf *conf = virtq_conf(&queue->to_guest);
	uint64_t flags = 0;

	if (unlikely(!conf || !conf->enabled)) {
		port_tx_drop(txq, conf ? vnet_closed(queue, DROP_NOT_READY) : DROP_NOT_READY, pkts, n);
		return 0;
	}
	if (unlikely(virtq_is_broken(&queue->to_guest))) {
		port_tx_drop(txq, DROP_BROKEN, pkts, n);
		return 0;
	}
	if (unlikely(conf->filter)) {
		uint16_t n_wanted = vnet_filter_burst(conf->filter, pkts, n);

		if (n_wanted < n)
			port_tx_drop(txq, DROP_FILTERED, pkts + n_wanted, (uint16_t)(n - n_wanted));
		if (n_wanted == 0)
			return 0;
		n = n_wanted;
	}
	for (uint16_t i = 0; i < n; i++)
		flags |= pkts[i]->ol_flags;
	/* The conf stays the same for all of them: what is completed depends on it. */
	if (unlikely(flags & vnet_requests_unsupported(conf->offloads)))
		return port_software_offload(txq, queue->pool, vnet_offload_capabilities(conf->offloads),
					     pkts, n, vnet_send, conf);
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
