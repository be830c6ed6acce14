/* SPDX-License-Identifier: BSD-3-Clause */
#include "vnet_dev.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "borrow.h"
#include "filter.h"
#include "flows.h"
#include "reconcile.h"
#include "steer.h"
#include "vdev_watch.h"

enum { VNET_MTU_MIN = 68 };

static struct vnet_dev *
vnet_of(const struct vdev *vdev)
{
	return vdev->type_dev;
}

/* Features whose commands go over the controlq (VIRTIO, "Feature bits" of the network device). */
static const uint64_t vnet_by_controlq =
	FEATURE_MASK(NET_CTRL_RX) | FEATURE_MASK(NET_CTRL_RX_EXTRA) | FEATURE_MASK(NET_CTRL_VLAN) |
	FEATURE_MASK(NET_CTRL_MAC_ADDR) | FEATURE_MASK(NET_CTRL_GUEST_OFFLOADS) |
	FEATURE_MASK(NET_GUEST_ANNOUNCE) | FEATURE_MASK(NET_MQ) | FEATURE_MASK(NET_RSS) |
	FEATURE_MASK(NET_HASH_REPORT) | FEATURE_MASK(NET_NOTF_COAL) | FEATURE_MASK(NET_VQ_NOTF_COAL) |
	FEATURE_MASK(NET_DEVICE_STATS);

/* `features` without the bits of `without`, and without those that need one of these. */
static uint64_t
vnet_features_without(uint64_t features, uint64_t without)
{
	uint64_t unmet;

	features &= ~without;
	if (without & FEATURE_MASK(NET_CTRL_VQ))
		features &= ~vnet_by_controlq;
	if (without & FEATURE_MASK(VERSION_1))
		features &= ~FEATURE_MASK(RING_PACKED);
	while ((unmet = vnet_offloads_unmet(features)))
		features &= ~unmet;
	return features;
}

uint64_t
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
	/* GUEST_HDRLEN: hdr_len is exact then; as it is never believed, that is of no account. */
	features |= VNET_HOST_OFFLOADS | VNET_GUEST_OFFLOADS | FEATURE_MASK(NET_GUEST_HDRLEN) |
		    FEATURE_MASK(NET_RSC_EXT);
	/* Kick descriptors carry no data (vdev_queue_kicks()): what the driver says of its position is
	 * ignored. */
	features |= FEATURE_MASK(NOTIFICATION_DATA);
	if (dev->n_pairs > 1)
		features |= FEATURE_MASK(NET_MQ);
	if (dev->offered_mtu)
		features |= FEATURE_MASK(NET_MTU);
	if (dev->offer_standby)
		features |= FEATURE_MASK(NET_STANDBY);
	if (dev->offer_speed)
		features |= FEATURE_MASK(NET_SPEED_DUPLEX);
	return vnet_features_without(features, dev->without);
}

/* CTRL_VQ is not required by others: a front-end that serves the controlq itself does not acknowledge it. */
static int
vnet_features_check(const struct vdev *vdev, uint64_t features, struct diag *diag)
{
	return vnet_offloads_check(features, diag);
}

uint32_t
vnet_capabilities(const struct vnet_dev *dev)
{
	return vnet_offloads_guest(dev->input.settings.offloads & dev->vdev.said.features);
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

	/* With one pair virtqueue 2 is the controlq: 2 and `last` change places, so that each has a virtq. */
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
	atomic_store_explicit(&dev->shared.rarp_mac, 0, memory_order_relaxed);
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

/* Does the worker have borrowed frames of one of the device's queues? */
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

enum { VNET_NOTICE_POLLS = 1000 / VDEV_WATCH_MS };

static void
vnet_poll_slow(struct vdev *vdev)
{
	struct vnet_dev *dev = vnet_of(vdev);

	vnet_check_new_pairs(dev);
	if (vnet_state_poll(dev))
		vnet_go_on(dev);
	if (++dev->n_slow_polls % VNET_NOTICE_POLLS == 0)
		vnet_notices_look(&dev->notices, dev);
}

static const struct vdev_ops vnet_ops = {
	.name = "net",
	.conf_size = sizeof(struct vnet_conf),
	.features = vnet_features,
	.features_check = vnet_features_check,
	.queue = vnet_queue_of,
	.reset = vnet_reset,
	.ended = vnet_ended,
	.reconcile = vnet_reconcile,
	.left = vnet_state_left,
	.config_read = vnet_config_read,
	.config_write = vnet_config_write,
	.set_mtu = vnet_set_mtu,
	.send_rarp = vnet_send_rarp,
	.is_held = vnet_is_held,
	.borrow = vnet_borrow,
	.poll_slow = vnet_poll_slow,
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
	dev->without = config->without;
	dev->offer_speed = config->speed_duplex;
	dev->draft.mtu = config->mtu;
	dev->draft.link.up = true;
	dev->draft.link.speed = config->speed_duplex ? config->speed : VNET_SPEED_UNKNOWN;
	dev->draft.link.duplex = config->speed_duplex ? config->duplex : VNET_DUPLEX_UNKNOWN;
	dev->mac = config->mac;
	dev->port = config->port;
	dev->ctx = config->ctx;
	dev->hash_changed = config->hash_changed;
	dev->hash_changed_arg = config->hash_changed_arg;
	dev->state_changed = config->state_changed;
	dev->state_changed_arg = config->state_changed_arg;
	ret = controlq_init(&dev->controlq, dev);
	dev->queues = config->queues;
	if (!dev->queues)
		dev->queues = dev->own_queues =
			aligned_alloc(RTE_CACHE_LINE_SIZE, config->n_pairs * sizeof(dev->queues[0]));
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
		dev->queues[i].borrows_pieces = config->pool && borrow_fits(config->pool);
		dev->queues[i].shared = &dev->shared;
	}
	if (vdev_init(&dev->vdev, config->ctx, config->name, &vnet_ops, dev, 2u * config->n_pairs + 1) < 0)
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
	/* Whoever keeps the state knows better than this end what is to become of it. */
	dev->state_changed = NULL;
	vnet_state_fini(dev);
	vdev_fini(&dev->vdev);
	controlq_fini(&dev->controlq);
	announce_fini(&dev->announce);
	if (dev->port) {
		atomic_store_explicit(&dev->port->filter, NULL, memory_order_relaxed);
		atomic_store_explicit(&dev->port->steer, NULL, memory_order_relaxed);
	}
	vnet_steer_free(dev->output.own_steer);
	vnet_steer_free(dev->usual_steer[STEER_NO_REPORT]);
	vnet_steer_free(dev->usual_steer[STEER_REPORT]);
	vnet_filter_free(dev->output.own_filter);
	vnet_flows_free(dev->flows);
	free(dev->own_queues);
	memset(&dev->output, 0, sizeof(dev->output));
	memset(dev->usual_steer, 0, sizeof(dev->usual_steer));
	dev->flows = NULL;
	dev->queues = dev->own_queues = NULL;
}
