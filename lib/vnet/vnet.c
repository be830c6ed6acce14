/* SPDX-License-Identifier: BSD-3-Clause */
#include "vnet.h"

#include <errno.h>
#include <linux/virtio_net.h>
#include <stdlib.h>
#include <string.h>

#include <rte_arp.h>
#include <rte_ether.h>

#include "header.h"

enum { VNET_MTU_MIN = 68, VNET_LINK_UP = VIRTIO_NET_S_LINK_UP };

static struct vnet_dev *
vnet_of(const struct vdev *vdev)
{
	return vdev->type_dev;
}

/* --- the device type --- */

static uint64_t
vnet_features(const struct vdev *vdev)
{
	const struct vnet_dev *dev = vnet_of(vdev);
	uint64_t features = FEATURE_MASK(NET_MAC) | FEATURE_MASK(NET_STATUS) | FEATURE_MASK(NET_MRG_RXBUF) |
			    FEATURE_MASK(ANY_LAYOUT) | FEATURE_MASK(INDIRECT_DESC) | FEATURE_MASK(EVENT_IDX) |
			    FEATURE_MASK(VERSION_1) | FEATURE_MASK(RING_PACKED) | FEATURE_MASK(IN_ORDER) |
			    FEATURE_MASK(ORDER_PLATFORM);

	if (dev->n_pairs > 1)
		features |= FEATURE_MASK(NET_MQ);
	if (dev->offer_mtu)
		features |= FEATURE_MASK(NET_MTU);
	return features;
}

static void
vnet_conf_fill(struct vdev *vdev, unsigned int idx, struct virtq_conf *conf)
{
	const struct vnet_dev *dev = vnet_of(vdev);
	bool mergeable = vdev->features & FEATURE_MASK(NET_MRG_RXBUF);

	if (mergeable)
		conf->traits |= TRAIT_MERGEABLE;
	conf->hdr_len =
		mergeable || vdev->features & FEATURE_MASK(VERSION_1) ? HEADER_LEN : HEADER_LEN_LEGACY;
	conf->frame_max = PORT_FRAME_MAX;
	if (dev->mtu)
		conf->frame_max = RTE_MIN((uint32_t)PORT_FRAME_MAX,
					  (uint32_t)dev->mtu + RTE_ETHER_HDR_LEN + RTE_VLAN_HLEN);
	conf->burst = idx % 2 ? (void (*)(void))vnet_from_guest_variant(conf->traits)
			      : (void (*)(void))vnet_to_guest_variant(conf->traits);
}

/* Up to the highest pair that can receive, so that one broken queue does not silence those above it. */
static void
vnet_queues_changed(struct vdev *vdev)
{
	struct vnet_dev *dev = vnet_of(vdev);
	uint16_t n = 1;

	for (uint16_t i = 0; i < dev->n_pairs; i++)
		if (vdev_queue_is_active(vdev, 2u * i))
			n = (uint16_t)(i + 1);
	dev->active_changed(dev->active_changed_arg, n);
}

static unsigned int
vnet_config_read(const struct vdev *vdev, uint8_t space[VDEV_CONFIG_MAX])
{
	const struct vnet_dev *dev = vnet_of(vdev);
	struct virtio_net_config config = {
		.status = VNET_LINK_UP,
		.max_virtqueue_pairs = dev->n_pairs,
		.mtu = dev->mtu,
	};

	memcpy(config.mac, dev->mac.addr_bytes, sizeof(config.mac));
	memset(space, 0, VDEV_CONFIG_MAX);
	memcpy(space, &config, sizeof(config));
	return sizeof(config);
}

/* Only a legacy driver may write here, and only its MAC address ("Device configuration layout"). */
static int
vnet_config_write(struct vdev *vdev, unsigned int offset, const uint8_t *data, unsigned int len,
		  bool migration)
{
	struct vnet_dev *dev = vnet_of(vdev);
	struct rte_ether_addr mac = dev->mac;

	if (offset >= RTE_ETHER_ADDR_LEN || len == 0 || len > RTE_ETHER_ADDR_LEN - offset)
		return -EROFS;
	if (!migration && vdev->features & FEATURE_MASK(VERSION_1))
		return -EROFS;
	memcpy(mac.addr_bytes + offset, data, len);
	dev->mac = mac;
	return 0;
}

static int
vnet_set_mtu(struct vdev *vdev, uint64_t mtu)
{
	struct vnet_dev *dev = vnet_of(vdev);
	struct diag diag;

	if (mtu < VNET_MTU_MIN || mtu > UINT16_MAX)
		return -EINVAL;
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
	/* Release: pairs with the exchange in vnet_rarp(). */
	atomic_store_explicit(&dev->rarp_mac, word, memory_order_release);
	return 0;
}

static const struct vdev_ops vnet_ops = {
	.name = "net",
	.features = vnet_features,
	.conf_fill = vnet_conf_fill,
	.queues_changed = vnet_queues_changed,
	.config_read = vnet_config_read,
	.config_write = vnet_config_write,
	.set_mtu = vnet_set_mtu,
	.send_rarp = vnet_send_rarp,
};

static bool
vnet_init_queue(void *type_dev, unsigned int idx, struct virtq **ret_vq)
{
	struct vnet_dev *dev = type_dev;
	struct vnet_queue *queue = &dev->queues[idx / 2];

	*ret_vq = idx % 2 ? &queue->from_guest : &queue->to_guest;
	return true;
}

int
vnet_init(struct vnet_dev *dev, const struct vnet_config *config)
{
	int ret;

	memset(dev, 0, sizeof(*dev));
	dev->queues = aligned_alloc(RTE_CACHE_LINE_SIZE, config->n_pairs * sizeof(dev->queues[0]));
	if (!dev->queues)
		return -ENOMEM;
	memset(dev->queues, 0, config->n_pairs * sizeof(dev->queues[0]));
	dev->n_pairs = config->n_pairs;
	dev->mtu = config->mtu;
	dev->offer_mtu = config->mtu != 0;
	dev->mac = config->mac;
	dev->active_changed = config->active_changed;
	dev->active_changed_arg = config->active_changed_arg;
	for (uint16_t i = 0; i < config->n_pairs; i++) {
		dev->queues[i].pool = config->pool;
		dev->queues[i].dev = dev;
	}
	ret = vdev_init(&dev->vdev, config->name, &vnet_ops, dev, 2u * config->n_pairs, vnet_init_queue);
	if (ret < 0)
		free(dev->queues);
	return ret;
}

void
vnet_fini(struct vnet_dev *dev)
{
	vdev_fini(&dev->vdev);
	free(dev->queues);
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

uint16_t
vnet_rx(struct port_queue *port_queue, struct rte_mbuf **pkts, uint16_t n)
{
	struct vnet_queue *queue = port_queue->dev;
	const struct virtq_conf *conf = virtq_conf(&queue->from_guest);

	if (unlikely(atomic_load_explicit(&queue->dev->rarp_mac, memory_order_relaxed)) &&
	    port_queue->idx == 0) {
		pkts[0] = vnet_rarp(queue);
		if (pkts[0]) {
			port_queue->stats.rx_packets++;
			port_queue->stats.rx_bytes += pkts[0]->pkt_len;
			return 1;
		}
	}
	if (!conf || unlikely(virtq_is_broken(&queue->from_guest)))
		return 0;
	n = ((vnet_from_guest_fn)conf->burst)(queue, conf, port_queue, pkts, n);
	if (unlikely(n && !conf->enabled)) {
		/* Started but disabled: drained and discarded (vhost-user, "Ring states"). */
		port_drop(port_queue, DROP_DISABLED, pkts, n);
		return 0;
	}
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
	bool plain = true;

	for (uint16_t i = 0; i < n; i++)
		plain &= pkts[i]->pool == pool && pkts[i]->nb_segs == 1 &&
			 rte_mbuf_refcnt_read(pkts[i]) == 1 && RTE_MBUF_DIRECT(pkts[i]);
	if (likely(plain))
		rte_mempool_put_bulk(pool, (void **)pkts, n);
	else
		rte_pktmbuf_free_bulk(pkts, n);
}

uint16_t
vnet_tx(struct port_queue *port_queue, struct rte_mbuf **pkts, uint16_t n)
{
	struct vnet_queue *queue = port_queue->dev;
	const struct virtq_conf *conf = virtq_conf(&queue->to_guest);
	uint16_t n_sent;

	if (unlikely(!conf || !conf->enabled)) {
		port_drop(port_queue, DROP_NOT_READY, pkts, n);
		return 0;
	}
	if (unlikely(virtq_is_broken(&queue->to_guest))) {
		port_drop(port_queue, DROP_BROKEN, pkts, n);
		return 0;
	}
	n_sent = ((vnet_to_guest_fn)conf->burst)(queue, conf, port_queue, pkts, n);
	vnet_free(pkts, n);
	return n_sent;
}

void
vnet_service(struct port_queue *port_queue)
{
	struct vnet_queue *queue = port_queue->dev;

	virtq_notify_service(&queue->from_guest);
	virtq_notify_service(&queue->to_guest);
}
