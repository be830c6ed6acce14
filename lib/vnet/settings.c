/* SPDX-License-Identifier: BSD-3-Clause */
/* settings: what they are after a reset, and how new ones take effect. */
#include "settings.h"

#include <errno.h>
#include <string.h>

#include "filter.h"
#include "quiesce.h"
#include "steer.h"
#include "vnet.h"

bool
vnet_controlq_is_ours(const struct vnet_dev *dev)
{
	return dev->controlq.listed;
}

/*
 * Promiscuous and no VLAN, as with QEMU, whose drivers we serve: Linux's sets its modes when the interface is
 * brought up.
 */
void
vnet_settings_reset(const struct vnet_dev *dev, struct vnet_settings *settings)
{
	memset(settings, 0, sizeof(*settings));
	settings->mac = dev->mac;
	settings->promisc = true;
	settings->n_pairs = 1;
	settings->offloads = dev->vdev.features & VNET_GUEST_OFFLOADS;
}

/*
 * A front-end may take the controlq's features and keep the queue to itself: then nobody tells us which VLANs
 * the driver wants or how many pairs it uses, and nothing is kept from it.
 */
static int
settings_build(const struct vnet_dev *dev, const struct vnet_settings *settings,
	       struct vnet_filter **ret_filter, struct port_steer **ret_steer)
{
	uint64_t features = dev->vdev.features;
	bool ours = vnet_controlq_is_ours(dev);
	uint16_t n_pairs = ours && !settings->rss.enabled ? settings->n_pairs : dev->n_pairs;
	int ret;

	*ret_filter = NULL;
	*ret_steer = NULL;
	if (ours) {
		ret = vnet_filter_build(settings,
					features & FEATURE_MASK(NET_CTRL_VLAN) ? FILTER_VLANS_BY_MAP
									       : FILTER_VLANS_IGNORED,
					ret_filter);
		if (ret < 0)
			return ret;
	}
	ret = vnet_steer_build(settings, n_pairs,
			       features & FEATURE_MASK(NET_HASH_REPORT) ? STEER_REPORT : STEER_NO_REPORT,
			       dev->flows, ret_steer);
	if (ret < 0)
		vnet_filter_free(*ret_filter);
	return ret;
}

int
vnet_apply(struct vnet_dev *dev, const struct vnet_settings *settings)
{
	struct vnet_filter *old_filter = dev->filter, *filter;
	struct port_steer *old_steer = dev->steer, *steer;
	struct diag diag;
	int ret = settings_build(dev, settings, &filter, &steer);

	if (ret < 0)
		return ret;
	*dev->settings = *settings;
	dev->filter = filter;
	dev->steer = steer;
	/* Release: pairs with the acquire in fwd_send(). */
	if (dev->port)
		atomic_store_explicit(&dev->port->steer, steer, memory_order_release);
	vnet_active_update(dev);
	/*
	 * Nobody steers by the old rules any more after the first wait; what was on its way between workers
	 * has arrived after the second. Only then are queues closed that it may have been for.
	 */
	quiesce_wait();
	quiesce_wait();
	vdev_refresh(&dev->vdev, &diag);
	vnet_filter_free(old_filter);
	vnet_steer_free(old_steer);
	return 0;
}
