/* SPDX-License-Identifier: BSD-3-Clause */
/* settings: what they are after a reset, and how new ones take effect. */
#include "settings.h"

#include <assert.h>
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
	settings->features = dev->vdev.said.features;
	settings->filter.mac = dev->mac;
	settings->filter.promisc = true;
	settings->n_pairs = 1;
	/* All that the driver will have: its features may come later. */
	settings->offloads = VNET_GUEST_OFFLOADS;
}

/* --- what is built from them --- */

enum settings_part {
	SETTINGS_FILTER = 1 << 0,
	SETTINGS_STEER = 1 << 1,
	SETTINGS_REST = 1 << 2,
	SETTINGS_WHOSE = 1 << 3, /* not the settings, but whether they count */
};

/* The parts that are to be put in effect anew. 0: none, all is in effect already. */
static unsigned int
settings_changes(const struct vnet_dev *dev, const struct vnet_settings *settings)
{
	enum vnet_built wanted = vnet_controlq_is_ours(dev) ? VNET_BUILT_OURS : VNET_BUILT_NOT_OURS;
	const struct vnet_settings *old = dev->settings;
	unsigned int parts = 0;

	if (dev->built != wanted)
		parts |= SETTINGS_WHOSE;
	/* They decide on VLANs and on hash reports. */
	if (old->features != settings->features)
		return parts | SETTINGS_FILTER | SETTINGS_STEER | SETTINGS_REST;
	if (memcmp(&old->filter, &settings->filter, sizeof(old->filter)) != 0)
		parts |= SETTINGS_FILTER;
	if (old->n_pairs != settings->n_pairs ||
	    memcmp(&old->steer, &settings->steer, sizeof(old->steer)) != 0)
		parts |= SETTINGS_STEER;
	if (memcmp(old, settings, sizeof(*old)) != 0)
		parts |= SETTINGS_REST;
	return parts;
}

/*
 * What is built depends on the settings alone, and of those after a reset nothing is: so a reset, and a
 * change of whose word counts, need no memory. Which of it workers get is decided when it is published.
 */
static int
settings_build_filter(const struct vnet_settings *settings, struct vnet_filter **ret_filter)
{
	return vnet_filter_build(&settings->filter,
				 settings->features & FEATURE_MASK(NET_CTRL_VLAN) ? FILTER_VLANS_BY_MAP
										  : FILTER_VLANS_IGNORED,
				 ret_filter);
}

static enum steer_report
settings_report(const struct vnet_settings *settings)
{
	return settings->features & FEATURE_MASK(NET_HASH_REPORT) ? STEER_REPORT : STEER_NO_REPORT;
}

/* NULL: without a table or hashes of the driver's, what the device has does. */
static int
settings_build_steer(const struct vnet_dev *dev, const struct vnet_settings *settings,
		     struct port_steer **ret_steer)
{
	const enum steer_report report = settings_report(settings);

	*ret_steer = NULL;
	if (!settings->steer.rss.enabled && (report == STEER_NO_REPORT || settings->steer.hash.types == 0))
		return 0;
	return vnet_steer_build(&settings->steer, dev->n_pairs, report, dev->flows, ret_steer);
}

static struct port_steer *
settings_steer_usual(const struct vnet_dev *dev)
{
	const enum steer_report report = settings_report(dev->settings);
	const uint16_t n_pairs = vnet_controlq_is_ours(dev) ? dev->settings->n_pairs : dev->n_pairs;

	return report == STEER_REPORT || n_pairs > 1 ? dev->usual_steer[report] : NULL;
}

/*
 * A front-end may take the controlq's features and keep the queue to itself: then nobody tells us which VLANs
 * the driver wants or how many pairs it uses, and nothing is kept from it.
 */
static void
settings_publish(struct vnet_dev *dev)
{
	const bool ours = vnet_controlq_is_ours(dev);

	dev->built = ours ? VNET_BUILT_OURS : VNET_BUILT_NOT_OURS;
	dev->filter = ours ? dev->own_filter : NULL;
	dev->steer = dev->own_steer ? dev->own_steer : settings_steer_usual(dev);
	/* Release: pairs with the acquire in fwd_send(). */
	if (dev->port)
		atomic_store_explicit(&dev->port->steer, dev->steer, memory_order_release);
}

int
vnet_apply(struct vnet_dev *dev, const struct vnet_settings *settings)
{
	struct vnet_filter *old_filter = dev->own_filter, *filter = old_filter;
	struct port_steer *old_steer = dev->own_steer, *steer = old_steer;
	unsigned int parts = settings_changes(dev, settings);
	struct diag diag;
	int ret;

	/* A driver may repeat itself as fast as it likes. */
	if (!parts)
		return 0;
	if (parts & SETTINGS_FILTER) {
		ret = settings_build_filter(settings, &filter);
		if (ret < 0)
			return ret;
	}
	if (parts & SETTINGS_STEER) {
		ret = settings_build_steer(dev, settings, &steer);
		if (ret < 0) {
			if (filter != old_filter)
				vnet_filter_free(filter);
			return ret;
		}
	}
	*dev->settings = *settings;
	dev->own_filter = filter;
	dev->own_steer = steer;
	settings_publish(dev);
	vnet_active_update(dev);
	/*
	 * Nobody steers by the old rules any more after the first wait; what was on its way between workers
	 * has arrived after the third (quiesce.h). Only then are queues closed that it may have been for.
	 */
	if (parts & (SETTINGS_STEER | SETTINGS_WHOSE)) {
		quiesce_wait();
		quiesce_wait();
		quiesce_wait();
	}
	/*
	 * All confs were in effect before, and takes no memory to publish them anew; what fails is a queue
	 * that stood still already, for its ring is not in the guest's memory. What comes of the change, such
	 * as a queue that is used again, may apply settings in turn, and then these have been replaced, and
	 * freed, in there.
	 */
	vdev_refresh(&dev->vdev, &diag);
	if (filter != old_filter)
		vnet_filter_free(old_filter);
	if (steer != old_steer)
		vnet_steer_free(old_steer);
	if (dev->settings_changed)
		dev->settings_changed(dev->settings_changed_arg);
	return 0;
}

/* --- what the front-end does to the queues --- */

/* Bits that are not between the driver and the device type, and may change under way. */
#define SETTINGS_FEATURES (~(FEATURE_MASK(LOG_ALL) | FEATURE_MASK(PROTOCOL_FEATURES)))

bool
vnet_queue_is_used(const struct vnet_dev *dev, unsigned int idx)
{
	const struct vnet_settings *settings = dev->settings;
	const struct vdev *vdev = &dev->vdev;
	bool is_receiveq = idx % 2 == 0;
	int controlq = vnet_controlq_idx(dev);

	if (idx >= (controlq < 0 ? 2u * dev->n_pairs : (unsigned int)controlq))
		return false;
	/* By the front-end's word: a link that is down disables nothing. */
	if (!vdev_queue_is_running(vdev, idx) || virtq_is_broken(vdev->queues[idx].vq) ||
	    !vdev_queue_is_enabled(vdev, idx))
		return false;
	if (!vnet_controlq_is_ours(dev) || (is_receiveq && settings->steer.rss.enabled))
		return true;
	return idx / 2 < settings->n_pairs;
}

/* Notes whether the queue is used; true: it is, and was not. */
static bool
settings_note_used(struct vnet_dev *dev, unsigned int idx, bool used)
{
	uint64_t *word = &dev->queues_used[idx / 64], bit = 1ull << idx % 64;
	bool was = *word & bit;

	*word = used ? *word | bit : *word & ~bit;
	return used && !was;
}

/*
 * A machine that pauses disables all its queues, and its driver knows nothing of that; a driver does it with
 * the controlq running, before and after.
 */
static void
settings_coal_restart(struct vnet_dev *dev)
{
	const int controlq = vnet_controlq_idx(dev);
	const bool asks = controlq >= 0 && vdev_queue_is_active(&dev->vdev, (unsigned int)controlq);
	const bool asked = asks && !settings_note_used(dev, 2u * dev->n_pairs, true);
	struct vnet_settings settings = *dev->settings;
	int ret;

	if (!asks)
		settings_note_used(dev, 2u * dev->n_pairs, false);
	for (unsigned int i = 0; i < 2u * dev->n_pairs; i++) {
		if (settings_note_used(dev, i, vnet_queue_is_used(dev, i)) && asked)
			settings.coal[i] = i % 2 ? settings.coal_tx : settings.coal_rx;
	}
	/* Whose word counts may have changed, too. */
	ret = vnet_apply(dev, &settings);
	assert(ret == 0 && "coalescing, and whose word counts, take no memory");
	(void)ret;
}

void
vnet_settings_follow(struct vnet_dev *dev)
{
	if ((dev->settings->features ^ dev->vdev.said.features) & SETTINGS_FEATURES)
		dev->vdev.ops->reset(&dev->vdev);
	settings_coal_restart(dev);
}
