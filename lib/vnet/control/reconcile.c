/* SPDX-License-Identifier: BSD-3-Clause */
#include "reconcile.h"

#include <assert.h>
#include <string.h>

#include <rte_cycles.h>

#include "burst_variants.h"
#include "header.h"
#include "quiesce.h"
#include "ring.h"
#include "ticks.h"
#include "vdev_conf.h"
#include "vnet_dev.h"

/* An MTU does not count VLAN tags: each frame may have the length of two more, as on NIC ports. */
enum { RECONCILE_VLAN_ROOM = 2 * RTE_VLAN_HLEN };

/*
 * After so many waits, frames that passed the old filter and were steered by the old steering are in their
 * queue, also those that were in a handoff ring (quiesce_wait()).
 */
enum { RECONCILE_ARRIVAL_WAITS = 3 };

/* All feature bits but those between front-end and transport, which may change while the driver stays. */
#define RECONCILE_FEATURES (~(FEATURE_MASK(LOG_ALL) | FEATURE_MASK(PROTOCOL_FEATURES)))

bool
vnet_features_differ(uint64_t a, uint64_t b)
{
	return (a ^ b) & RECONCILE_FEATURES;
}

bool
vnet_serves_controlq(const struct vnet_dev *dev)
{
	return dev->output.serves_controlq;
}

/*
 * The front-end has this data queue running and enabled, whether the link is up or down, and it is of a pair
 * that the driver has in use.
 */
static bool
queue_is_used(const struct vnet_dev *dev, const struct vnet_settings *settings, bool serves_controlq,
	      unsigned int idx)
{
	const struct vdev *vdev = &dev->vdev;
	const bool is_receiveq = idx % 2 == 0;
	const int controlq = vnet_controlq_idx(dev);

	if (idx >= (controlq < 0 ? 2u * dev->n_pairs : (unsigned int)controlq))
		return false;
	if (!vdev_queue_is_running(vdev, idx) || vdev_queue_is_broken(vdev, idx) ||
	    !vdev_queue_is_enabled(vdev, idx))
		return false;
	if (!serves_controlq || (is_receiveq && settings->steer.rss.enabled))
		return true;
	return idx / 2 < settings->n_pairs;
}

bool
vnet_queue_is_used(const struct vnet_dev *dev, unsigned int idx)
{
	return queue_is_used(dev, &dev->input.settings, dev->output.serves_controlq, idx);
}

/* --- changes of the driver's input that follow from the front-end's --- */

/* Remember whether the queue is used. True: it is, and was not before. */
static bool
input_note_used(struct vnet_input *input, unsigned int idx, bool used)
{
	uint64_t *word = &input->queues_used[idx / 64], bit = 1ull << idx % 64;
	bool was = *word & bit;

	*word = used ? *word | bit : *word & ~bit;
	return used && !was;
}

/*
 * A queue that the driver uses again gets the coalescing parameters of its direction (VIRTIO, "Notifications
 * Coalescing"). It was the driver if the controlq was active before and is active now; when a machine pauses,
 * its front-end disables all queues, and the parameters stay.
 */
static void
input_restart_coal(const struct vnet_dev *dev, struct vnet_input *input, bool serves_controlq)
{
	const int controlq = vnet_controlq_idx(dev);
	const bool asks = controlq >= 0 && vdev_queue_is_active(&dev->vdev, (unsigned int)controlq);
	const bool asked = !input_note_used(input, 2u * dev->n_pairs, asks) && asks;
	struct vnet_settings *settings = &input->settings;

	for (unsigned int i = 0; i < 2u * dev->n_pairs; i++)
		if (input_note_used(input, i, queue_is_used(dev, settings, serves_controlq, i)) && asked)
			settings->coal[i] = i % 2 ? settings->coal_tx : settings->coal_rx;
}

static void
input_derive(const struct vnet_dev *dev, struct vnet_input *input, bool serves_controlq)
{
	/* Other features mean another driver, which has not made these settings. */
	if (vnet_features_differ(input->settings.features, dev->vdev.said.features))
		vnet_input_reset(dev, input);
	for (unsigned int i = 0; i < dev->vdev.n_queues; i++)
		input->mtu_used |= vdev_queue_is_running(&dev->vdev, i);
	input_restart_coal(dev, input, serves_controlq);
}

/* --- what is to be published --- */

/*
 * Filter and steering are built from the settings alone, and nothing is built from settings after a reset. So
 * neither a reset nor a change of who serves the controlq needs memory.
 */
static enum filter_vlans
output_vlans(const struct vnet_settings *settings)
{
	return settings->features & FEATURE_MASK(NET_CTRL_VLAN) ? FILTER_VLANS_BY_MAP : FILTER_VLANS_IGNORED;
}

static enum steer_report
output_report(const struct vnet_settings *settings)
{
	return settings->features & FEATURE_MASK(NET_HASH_REPORT) ? STEER_REPORT : STEER_NO_REPORT;
}

static bool
output_filter_differs(const struct vnet_settings *a, const struct vnet_settings *b)
{
	return output_vlans(a) != output_vlans(b) || memcmp(&a->filter, &b->filter, sizeof(a->filter)) != 0;
}

static bool
output_steer_differs(const struct vnet_settings *a, const struct vnet_settings *b)
{
	return output_report(a) != output_report(b) || memcmp(&a->steer, &b->steer, sizeof(a->steer)) != 0;
}

/* NULL: the driver has set neither table nor hashes, so that usual_steer is right. */
static int
output_build_steer(const struct vnet_dev *dev, const struct vnet_settings *settings,
		   struct port_steer **ret_steer)
{
	const enum steer_report report = output_report(settings);

	if (!settings->steer.rss.enabled && (report == STEER_NO_REPORT || settings->steer.hash.types == 0)) {
		*ret_steer = NULL;
		return 0;
	}
	return vnet_steer_build(&settings->steer, dev->n_pairs, report, dev->flows, ret_steer);
}

/* Build what has other rules than before. -errno: nothing was built. */
static int
output_build(const struct vnet_dev *dev, struct vnet_output *output)
{
	const struct vnet_settings *old = &dev->input.settings, *new = &dev->draft.settings;
	int ret;

	if (output_filter_differs(old, new)) {
		ret = vnet_filter_build(&new->filter, output_vlans(new), &output->own_filter);
		if (ret < 0)
			return ret;
	}
	if (output_steer_differs(old, new)) {
		ret = output_build_steer(dev, new, &output->own_steer);
		if (ret < 0) {
			if (output->own_filter != dev->output.own_filter)
				vnet_filter_free(output->own_filter);
			return ret;
		}
	}
	return 0;
}

/*
 * A front-end may acknowledge the controlq's features and serve the queue itself. Then vnicd does not know
 * which VLANs the driver wants or how many pairs it uses, so nothing is filtered, and all pairs are used.
 */
static void
output_choose(const struct vnet_dev *dev, struct vnet_output *output)
{
	const struct vnet_settings *settings = &dev->draft.settings;
	const enum steer_report report = output_report(settings);
	const uint16_t n_pairs = output->serves_controlq ? settings->n_pairs : dev->n_pairs;
	struct port_steer *usual = report == STEER_REPORT || n_pairs > 1 ? dev->usual_steer[report] : NULL;

	output->filter = output->serves_controlq ? output->own_filter : NULL;
	output->steer = output->own_steer ? output->own_steer : usual;
	/* Under RSS the table says which receiveqs get frames, not the number of pairs. */
	output->pairs_max = settings->steer.rss.enabled ? dev->n_pairs : n_pairs;
	output->link = dev->draft.link;
	output->driver = dev->draft.driver;
	if (output->serves_controlq && output->steer)
		output->hash = settings->steer.hash;
	else
		memset(&output->hash, 0, sizeof(output->hash));
}

static void
conf_fill_transmitq(const struct vnet_dev *dev, const struct vnet_input *input,
		    const struct vnet_output *output, unsigned int idx, struct vnet_conf *conf)
{
	const struct vnet_settings *settings = &input->settings;

	conf->virtq.only_read = true;
	/* A transmitq above the pairs in use is drained and its frames discarded, like a disabled one. */
	conf->virtq.enabled &= !output->serves_controlq || idx / 2 < settings->n_pairs;
	/* Flows are learnt only while frames are steered by them. */
	conf->flows = output->steer && !settings->steer.rss.enabled ? dev->flows : NULL;
	conf->offloads = vnet_offloads_host(dev->vdev.said.features);
	if (conf->offloads & OFFLOAD_BIT(CHECKSUM))
		conf->virtq.traits |= TRAIT_OFFLOAD;
	conf->from_guest = vnet_from_guest_variant(isa_select(), conf->virtq.traits);
	if (conf->virtq.traits & TRAIT_INFLIGHT)
		conf->from_guest = vnet_from_guest_generic;
	if (vdev_queue_never_enabled(&dev->vdev, idx) || vnet_state_holds(dev))
		conf->from_guest = vnet_from_guest_later;
}

static void
conf_fill_receiveq(const struct vnet_dev *dev, const struct vnet_input *input, struct vnet_conf *conf)
{
	const uint64_t features = dev->vdev.said.features;

	/* All that were negotiated, until GUEST_OFFLOADS_SET. */
	conf->offloads = vnet_offloads_guest(input->settings.offloads & features);
	conf->unsupported = offloads_unsupported(conf->offloads);
	if (conf->offloads & OFFLOAD_BIT(CHECKSUM))
		conf->virtq.traits |= TRAIT_OFFLOAD;
	if (features & FEATURE_MASK(NET_HASH_REPORT))
		conf->virtq.traits |= TRAIT_HASH_REPORT;
	if (features & FEATURE_MASK(NET_RSC_EXT) && conf->offloads & (OFFLOAD_BIT(TSO4) | OFFLOAD_BIT(TSO6)))
		conf->virtq.traits |= TRAIT_RSC;
	conf->to_guest = vnet_to_guest_variant(isa_select(), conf->virtq.traits);
	if (conf->virtq.traits & TRAIT_INFLIGHT)
		conf->to_guest = vnet_to_guest_generic;
}

void
vnet_conf_fill(const struct vnet_dev *dev, const struct vnet_input *input, const struct vnet_output *output,
	       unsigned int idx, struct vnet_conf *conf)
{
	const struct settings_coal *coal = &input->settings.coal[idx];
	const uint64_t features = dev->vdev.said.features;
	const bool mergeable = features & FEATURE_MASK(NET_MRG_RXBUF);

	if ((int)idx == vnet_controlq_idx(dev))
		return;
	/* While the link is down no frame passes: a queue is handled as if it were disabled. */
	conf->virtq.enabled &= input->link.up;
	if (mergeable)
		conf->virtq.traits |= TRAIT_MERGEABLE;
	conf->hdr_len = mergeable || features & FEATURE_MASK(VERSION_1) ? HEADER_LEN : HEADER_LEN_LEGACY;
	if (features & FEATURE_MASK(NET_HASH_REPORT))
		conf->hdr_len = HEADER_LEN_HASH;
	/* VIRTIO, "Notifications Coalescing": with either of them 0 (or with 1 packet), not at all. */
	if (coal->max_usecs && coal->max_packets > 1) {
		conf->virtq.coal_max_packets = coal->max_packets;
		conf->virtq.coal_max_ticks = ticks_from_us(coal->max_usecs, rte_get_tsc_hz());
	}
	conf->frame_max = PORT_FRAME_MAX;
	if (input->mtu)
		conf->frame_max = RTE_MIN((uint32_t)PORT_FRAME_MAX,
					  (uint32_t)input->mtu + RTE_ETHER_HDR_LEN + RECONCILE_VLAN_ROOM);
	if (idx % 2)
		conf_fill_transmitq(dev, input, output, idx, conf);
	else
		conf_fill_receiveq(dev, input, conf);
}

static void
conf_fill_all(const struct vnet_dev *dev, const struct vnet_output *output)
{
	for (unsigned int i = 0; i < dev->vdev.n_queues; i++)
		if (dev->vdev.queues[i].conf)
			vnet_conf_fill(dev, &dev->draft, output, i,
				       (struct vnet_conf *)dev->vdev.queues[i].conf);
}

/* --- publishing it --- */

/* The receiveq of the next pair has a buffer. Nothing is sent to that pair yet, so it is still there. */
static bool
active_next_is_filled(const struct vnet_dev *dev)
{
	const uint16_t n_filled = dev->input.n_filled;
	const struct virtq *vq;
	const struct virtq_conf *conf;

	if (n_filled >= dev->n_pairs || vnet_has_one_pair(dev))
		return false;
	vq = &dev->queues[n_filled].to_guest;
	conf = virtq_conf(vq);
	return conf && virtq_look_available(vq, conf);
}

/*
 * Publish n: frames may be sent to pairs 0 .. n - 1. A front-end may enable more pairs than the driver uses,
 * so they end before the first pair in whose receiveq the driver has never made a buffer available.
 */
static void
active_publish(struct vnet_dev *dev)
{
	uint16_t n_max = vnet_has_one_pair(dev) ? 1 : dev->output.pairs_max, n = 1;

	while (active_next_is_filled(dev))
		dev->input.n_filled++;
	dev->draft.n_filled = dev->input.n_filled;
	n_max = RTE_MIN(n_max, dev->input.n_filled);
	/* Up to the highest pair that can receive, so that one broken queue does not silence those above it.
	 */
	for (uint16_t i = 0; i < n_max; i++)
		if (vdev_queue_is_active(&dev->vdev, 2u * i))
			n = (uint16_t)(i + 1);
	if (dev->port)
		atomic_store_explicit(&dev->port->n_active, n, memory_order_relaxed);
}

static void
output_publish(struct vnet_dev *dev)
{
	const struct vnet_output *output = &dev->output;

	/* Release: pairs with the acquire in fwd_send(). */
	if (dev->port) {
		atomic_store_explicit(&dev->port->filter, vnet_filter_port(output->filter),
				      memory_order_release);
		atomic_store_explicit(&dev->port->steer, output->steer, memory_order_release);
	}
	/* Workers take only the reason of a drop from these; whether a queue is enabled is in its conf. */
	atomic_store_explicit(&dev->shared.link_up, output->link.up, memory_order_relaxed);
	atomic_store_explicit(&dev->shared.has_guest, dev->vdev.said.has_features, memory_order_relaxed);
	if (!output->link.up)
		atomic_store_explicit(&dev->shared.rarp_mac, 0, memory_order_relaxed);
	vdev_conf_publish(&dev->vdev);
	active_publish(dev);
}

/*
 * How many waits it takes until no worker sees what was replaced, and no frame is in a handoff ring that the
 * old filter passed and the new one would not, or that was steered to a pair which is not used any more.
 * Without a new filter, frames that the old one passed do no harm.
 */
static unsigned int
output_n_waits(const struct vnet_output *old, const struct vnet_output *new)
{
	const bool filters = new->filter != old->filter,
		   steers = new->steer != old->steer || new->pairs_max < old->pairs_max;

	if (steers || (filters && new->filter))
		return RECONCILE_ARRIVAL_WAITS;
	return filters;
}

static void
output_wait(struct vnet_dev *dev, const struct vnet_output *old)
{
	unsigned int n_waits = output_n_waits(old, &dev->output);

	/* vdev_conf_collect() is one of them. */
	if (n_waits && vdev_conf_is_due(&dev->vdev))
		n_waits--;
	while (n_waits--)
		quiesce_wait(&dev->ctx->quiesce);
	vdev_conf_collect(&dev->vdev);
}

static void
output_free_old(const struct vnet_dev *dev, const struct vnet_output *old)
{
	if (old->own_filter != dev->output.own_filter)
		vnet_filter_free(old->own_filter);
	if (old->own_steer != dev->output.own_steer)
		vnet_steer_free(old->own_steer);
}

/* Pass the changes on to those that are not workers: controlq, flows, announcements, the driver, the port. */
static void
output_notify(struct vnet_dev *dev, const struct vnet_output *old)
{
	const struct vnet_output *output = &dev->output;

	controlq_follow(&dev->controlq);
	if (output->driver != old->driver) {
		vnet_flows_forget(dev->flows);
		announce_stop(&dev->announce);
	}
	if (output->link.up != old->link.up || output->link.speed != old->link.speed ||
	    output->link.duplex != old->link.duplex)
		vnet_config_notify(dev);
	if (dev->hash_changed && memcmp(&output->hash, &old->hash, sizeof(old->hash)) != 0)
		dev->hash_changed(dev->hash_changed_arg, &output->hash);
}

void
vnet_draft_drop(struct vnet_dev *dev)
{
	dev->draft = dev->input;
}

int
vnet_reconcile(struct vdev *vdev, unsigned int must_apply, struct diag *diag)
{
	struct vnet_dev *dev = vdev->type_dev;
	const struct vnet_output old = dev->output;
	const int controlq = vnet_controlq_idx(dev), planned = vdev_conf_plan(vdev, must_apply, diag);
	struct vnet_output next = old;
	bool takes;
	int ret;

	if (planned < 0 && must_apply != VDEV_EVERY_QUEUE) {
		vnet_draft_drop(dev);
		return planned;
	}
	next.serves_controlq = controlq >= 0 && vdev_queue_is_running(vdev, (unsigned int)controlq);
	input_derive(dev, &dev->draft, next.serves_controlq);
	takes = next.serves_controlq && vnet_state_take(dev);
	ret = output_build(dev, &next);
	if (ret < 0 && takes) {
		vnet_state_refuse(dev);
		takes = false;
		ret = output_build(dev, &next);
	}
	if (ret < 0) {
		vdev_conf_drop(vdev);
		vnet_draft_drop(dev);
		return diag_set(diag, ret, "", "the driver's settings: %s", strerror(-ret));
	}
	output_choose(dev, &next);
	conf_fill_all(dev, &next);

	/* From here on nothing fails. */
	dev->input = dev->draft;
	dev->output = next;
	output_publish(dev);
	output_wait(dev, &old);
	output_free_old(dev, &old);
	output_notify(dev, &old);
	dev->holds = vnet_state_holds(dev);
	if (takes && !vnet_state_confirm(dev))
		vnet_apply(dev);
	vnet_state_look(dev);
	return planned;
}

int
vnet_apply(struct vnet_dev *dev)
{
	struct diag diag;

	/* A command that changes nothing costs nothing, however often it is repeated. */
	if (memcmp(&dev->draft, &dev->input, sizeof(dev->input)) == 0)
		return 0;
	return vnet_reconcile(&dev->vdev, VDEV_NO_QUEUE, &diag);
}

void
vnet_check_new_pairs(struct vnet_dev *dev)
{
	struct diag diag;

	if (!active_next_is_filled(dev))
		return;
	if (vdev_change_begin(&dev->vdev))
		vnet_reconcile(&dev->vdev, VDEV_NO_QUEUE, &diag);
	vdev_change_end(&dev->vdev);
}

void
vnet_go_on(struct vnet_dev *dev)
{
	struct diag diag;

	if (vdev_change_begin(&dev->vdev))
		vnet_reconcile(&dev->vdev, VDEV_NO_QUEUE, &diag);
	vdev_change_end(&dev->vdev);
}
