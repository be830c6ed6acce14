/* SPDX-License-Identifier: BSD-3-Clause */
#include "announce.h"

#include <errno.h>
#include <string.h>

#include "loop.h"
#include "reconcile.h"
#include "vnet_dev.h"

int
vnet_send_rarp(struct vdev *vdev, const uint8_t mac[6])
{
	struct vnet_dev *dev = vdev->type_dev;
	uint64_t word = 0;

	memcpy(&word, mac, RTE_ETHER_ADDR_LEN);
	if (word == 0)
		return -EINVAL;
	/* No frame passes while the link is down, and none is kept for later. */
	if (!dev->input.link.up)
		return 0;
	/* Release: pairs with the exchange in vnet_rarp(). */
	atomic_store_explicit(&dev->shared.rarp_mac, word, memory_order_release);
	return 0;
}

static bool
announce_can_ask(const struct vnet_dev *dev)
{
	return dev->vdev.said.features & FEATURE_MASK(NET_GUEST_ANNOUNCE) && vnet_serves_controlq(dev);
}

/* The status bit and a configuration change; the driver clears the bit by VIRTIO_NET_CTRL_ANNOUNCE_ACK. */
static void
announce_ask(struct vnet_dev *dev)
{
	dev->draft.settings.announce = true;
	if (vnet_apply(dev) < 0)
		return;
	vnet_config_notify(dev);
}

static void
announce_in_its_name(struct vnet_dev *dev)
{
	/* Does nothing for an address that is all zero. */
	vnet_send_rarp(&dev->vdev, dev->input.settings.filter.mac.addr_bytes);
}

/* False: the driver has acknowledged, or there is nobody to announce any more. */
static bool
announce_round(struct vnet_dev *dev)
{
	bool is_first = dev->announce.n_rounds++ == 0;

	if (!dev->vdev.said.has_features || !dev->input.link.up)
		return false;
	if (!announce_can_ask(dev)) {
		announce_in_its_name(dev);
		return true;
	}
	if (!is_first) {
		if (!dev->input.settings.announce)
			return false;
		/* The driver may have no way to learn of the configuration change. */
		announce_in_its_name(dev);
	}
	announce_ask(dev);
	return true;
}

static void
announce_next(void *arg)
{
	struct vnet_dev *dev = arg;
	struct announce *announce = &dev->announce;
	if (!vdev_change_begin(&dev->vdev) && announce->timer)
		loop_timer_set(announce->timer, ANNOUNCE_FIRST_MS);
	else if (announce_round(dev) && announce->timer && announce->n_rounds < ANNOUNCE_ROUNDS)
		loop_timer_set(announce->timer,
			       ANNOUNCE_FIRST_MS + (announce->n_rounds - 1) * ANNOUNCE_STEP_MS);
	vdev_change_end(&dev->vdev);
}

int
vnet_announce(struct vnet_dev *dev)
{
	struct announce *announce = &dev->announce;

	if (!dev->vdev.said.has_features || !dev->input.link.up)
		return -ENOTCONN;
	if (!announce->timer && dev->ctx->loop) {
		announce->timer = loop_timer_add(dev->ctx->loop, ANNOUNCE_FIRST_MS, 0, announce_next, dev);
		if (!announce->timer)
			return -ENOMEM;
	}
	announce_stop(announce);
	announce_next(dev);
	return 0;
}

void
announce_stop(struct announce *announce)
{
	announce->n_rounds = 0;
	if (announce->timer)
		loop_timer_stop(announce->timer);
}

void
announce_fini(struct announce *announce)
{
	loop_timer_remove(announce->timer);
	announce->timer = NULL;
}
