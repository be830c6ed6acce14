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
#include "ring.h"
#include "steer.h"
#include "ticks.h"

enum {
	VNET_MTU_MIN = 68,
	/* Two tags are no part of what an MTU limits; nobody counts how many a frame has. As on NIC ports. */
	VNET_VLAN_ROOM = 2 * RTE_VLAN_HLEN,
};

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

/* VIRTIO, "Virtqueues" of the network device: without MQ and RSS there is one pair, and the controlq follows
 * it. */
static bool
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

/* A transmitq above the pairs in use is drained and discarded, like a disabled one. */
static bool
vnet_pair_is_in_use(const struct vnet_dev *dev, unsigned int pair)
{
	return !vnet_controlq_is_ours(dev) || pair < dev->settings->n_pairs;
}

/*
 * Of a transmitq that has not been enabled yet: what waits there is for later. Only what the front-end has
 * disabled is drained (vhost-user, "Ring states"), and what no frame may pass, for a link is down or a pair
 * not in use.
 */
static uint16_t
vnet_from_guest_later(struct vnet_queue *queue, const struct virtq_conf *conf, struct port_rxq *rxq,
		      struct rte_mbuf **pkts, uint16_t n)
{
	(void)queue, (void)conf, (void)rxq, (void)pkts, (void)n;
	return 0;
}

static void
vnet_conf_fill(struct vdev *vdev, unsigned int idx, struct virtq_conf *conf)
{
	const struct vnet_dev *dev = vnet_of(vdev);
	const struct settings_coal *coal = &dev->settings->coal[idx];
	bool mergeable = vdev->said.features & FEATURE_MASK(NET_MRG_RXBUF);

	if ((int)idx == vnet_controlq_idx(dev))
		return;
	/* No frame passes a link that is down; it is as if the driver had disabled the queue. */
	conf->enabled &= dev->link_up;
	if (mergeable)
		conf->traits |= TRAIT_MERGEABLE;
	conf->hdr_len =
		mergeable || vdev->said.features & FEATURE_MASK(VERSION_1) ? HEADER_LEN : HEADER_LEN_LEGACY;
	if (vdev->said.features & FEATURE_MASK(NET_HASH_REPORT))
		conf->hdr_len = HEADER_LEN_HASH;
	/* VIRTIO, "Notifications Coalescing": with either of them 0 (or with 1 packet), not at all. */
	if (coal->max_usecs && coal->max_packets > 1) {
		conf->coal_max_packets = coal->max_packets;
		conf->coal_max_ticks = ticks_from_us(coal->max_usecs, rte_get_tsc_hz());
	}
	conf->frame_max = PORT_FRAME_MAX;
	if (dev->mtu)
		conf->frame_max = RTE_MIN((uint32_t)PORT_FRAME_MAX,
					  (uint32_t)dev->mtu + RTE_ETHER_HDR_LEN + VNET_VLAN_ROOM);
	if (idx % 2) {
		conf->only_read = true;
		conf->enabled &= vnet_pair_is_in_use(dev, idx / 2);
		/* Learnt only while they are steered by. */
		conf->flows = dev->steer && !dev->settings->steer.rss.enabled ? dev->flows : NULL;
		conf->offloads = vdev->said.features & VNET_HOST_OFFLOADS;
		if (conf->offloads & FEATURE_MASK(NET_CSUM))
			conf->traits |= TRAIT_OFFLOAD;
		conf->burst = (void (*)(void))vnet_from_guest_variant(isa_select(), conf->traits);
		if (conf->control.waits)
			conf->burst = (void (*)(void))vnet_from_guest_later;
	} else {
		conf->filter = dev->filter;
		/* All that the driver has, until it says otherwise. */
		conf->offloads = dev->settings->offloads & vdev->said.features;
		if (conf->offloads & FEATURE_MASK(NET_GUEST_CSUM))
			conf->traits |= TRAIT_OFFLOAD;
		if (vdev->said.features & FEATURE_MASK(NET_HASH_REPORT))
			conf->traits |= TRAIT_HASH_REPORT;
		conf->burst = (void (*)(void))vnet_to_guest_variant(isa_select(), conf->traits);
	}
}

/* Nobody sends to it, so what the driver has put there is still to be seen. */
static bool
vnet_next_is_filled(const struct vnet_dev *dev)
{
	const struct virtq *vq;
	const struct virtq_conf *conf;

	if (dev->n_filled >= dev->n_pairs || vnet_has_one_pair(dev))
		return false;
	vq = &dev->queues[dev->n_filled].to_guest;
	conf = virtq_conf(vq);
	return conf && virtq_look_available(vq, conf);
}

void
vnet_look(struct vnet_dev *dev)
{
	if (vnet_next_is_filled(dev))
		vnet_active_update(dev);
}

void
vnet_active_update(struct vnet_dev *dev)
{
	uint16_t n_max = vnet_has_one_pair(dev) ? 1 : dev->n_pairs, n = 1;

	while (vnet_next_is_filled(dev))
		dev->n_filled++;
	n_max = RTE_MIN(n_max, dev->n_filled);
	if (vnet_controlq_is_ours(dev) && !dev->settings->steer.rss.enabled)
		n_max = RTE_MIN(n_max, dev->settings->n_pairs);
	/* Up to the highest pair that can receive, so that one broken queue does not silence those above it.
	 */
	for (uint16_t i = 0; i < n_max; i++)
		if (vdev_queue_is_active(&dev->vdev, 2u * i))
			n = (uint16_t)(i + 1);
	if (dev->port)
		atomic_store_explicit(&dev->port->n_active, n, memory_order_relaxed);
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
vnet_queues_changed(struct vdev *vdev)
{
	struct vnet_dev *dev = vnet_of(vdev);

	dev->mtu_used |= vnet_any_running(dev);
	controlq_update(&dev->controlq);
	vnet_active_update(dev);
	vnet_settings_follow(dev);
}

/* Back to what the port was configured with; no conf is published that has it otherwise. */
static void
vnet_mtu_forget(struct vnet_dev *dev)
{
	dev->mtu = dev->offered_mtu;
	dev->mtu_used = false;
}

static void
vnet_ended(struct vdev *vdev)
{
	struct vnet_dev *dev = vnet_of(vdev);

	vnet_mtu_forget(dev);
	atomic_store_explicit(&dev->rarp_mac, 0, memory_order_relaxed);
}

static void
vnet_reset(struct vdev *vdev)
{
	struct vnet_dev *dev = vnet_of(vdev);
	struct vnet_settings settings;
	int ret;

	/* QEMU says it before all else when a driver starts, the features included. */
	if (dev->mtu_used)
		vnet_mtu_forget(dev);
	dev->n_filled = 1;
	vnet_flows_forget(dev->flows);
	announce_stop(&dev->announce);
	vnet_settings_reset(dev, &settings);
	ret = vnet_apply(dev, &settings);
	assert(ret == 0 && "settings of which nothing is built take no memory");
	(void)ret;
}

static int
vnet_set_mtu(struct vdev *vdev, uint64_t mtu)
{
	struct vnet_dev *dev = vnet_of(vdev);
	struct diag diag;

	if (mtu < VNET_MTU_MIN || mtu > UINT16_MAX)
		return -EINVAL;
	dev->mtu_used = vnet_any_running(dev);
	if (dev->mtu == mtu)
		return 0;
	dev->mtu = (uint16_t)mtu;
	/* Running queues get the new limit with their next conf. */
	return vdev_refresh(vdev, &diag);
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
	.features = vnet_features,
	.features_check = vnet_features_check,
	.queue = vnet_queue_of,
	.reset = vnet_reset,
	.ended = vnet_ended,
	.conf_fill = vnet_conf_fill,
	.queues_changed = vnet_queues_changed,
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
	int ret;

	memset(dev, 0, sizeof(*dev));
	dev->n_pairs = config->n_pairs;
	dev->mtu = config->mtu;
	dev->offered_mtu = config->mtu;
	dev->offer_standby = config->standby;
	dev->offer_speed = config->speed_duplex;
	dev->speed = config->speed_duplex ? config->speed : VNET_SPEED_UNKNOWN;
	dev->duplex = config->speed_duplex ? config->duplex : VNET_DUPLEX_UNKNOWN;
	dev->link_up = true;
	dev->mac = config->mac;
	dev->port = config->port;
	dev->loop = config->loop;
	dev->settings_changed = config->settings_changed;
	dev->settings_changed_arg = config->settings_changed_arg;
	ret = controlq_init(&dev->controlq, dev);
	dev->queues = aligned_alloc(RTE_CACHE_LINE_SIZE, config->n_pairs * sizeof(dev->queues[0]));
	dev->settings = calloc(1, sizeof(*dev->settings));
	if (config->n_pairs > 1)
		dev->flows = vnet_flows_new();
	if (ret < 0 || !dev->queues || !dev->settings || (config->n_pairs > 1 && !dev->flows))
		goto err;
	for (enum steer_report report = STEER_NO_REPORT; report <= STEER_REPORT; report++)
		if (vnet_steer_build(&dev->settings->steer, config->n_pairs, report, dev->flows,
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
	return 0;

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
	vnet_steer_free(dev->own_steer);
	vnet_steer_free(dev->usual_steer[STEER_NO_REPORT]);
	vnet_steer_free(dev->usual_steer[STEER_REPORT]);
	vnet_filter_free(dev->own_filter);
	vnet_flows_free(dev->flows);
	free(dev->settings);
	free(dev->queues);
	dev->steer = dev->own_steer = NULL;
	dev->filter = dev->own_filter = NULL;
	memset(dev->usual_steer, 0, sizeof(dev->usual_steer));
	dev->flows = NULL;
	dev->settings = NULL;
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
