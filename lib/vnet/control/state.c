/* SPDX-License-Identifier: BSD-3-Clause */
#include "state.h"

#include <errno.h>
#include <string.h>

#include "loop.h"
#include "offload.h"
#include "ring.h"
#include "vnet_dev.h"

static_assert(sizeof(struct vnet_state) == 3736 && VNET_STATE_VERSION == 1,
	      "another form of the state has another version");

/* --- checks: the state is input like any other --- */

static bool
state_macs_valid(const struct filter_macs *macs)
{
	return macs->n <= FILTER_MACS_MAX && !(macs->overflow && macs->n);
}

/* A bool that is neither 0 nor 1 is undefined behaviour: bytes are looked at. */
static bool
state_bools_valid(const void *bools, size_t n)
{
	const uint8_t *byte = bools;

	for (size_t i = 0; i < n; i++)
		if (byte[i] > 1)
			return false;
	return true;
}

static bool
state_filter_valid(const struct vnet_filter_rules *filter)
{
	return state_bools_valid(&filter->promisc, 6) && state_bools_valid(&filter->unicast.overflow, 1) &&
	       state_bools_valid(&filter->multicast.overflow, 1) && state_macs_valid(&filter->unicast) &&
	       state_macs_valid(&filter->multicast) &&
	       filter->unicast.n + filter->multicast.n <= FILTER_MACS_MAX &&
	       rte_is_valid_assigned_ether_addr(&filter->mac);
}

static bool
state_rss_valid(const struct steer_rss *rss, uint16_t n_pairs)
{
	return state_bools_valid(&rss->enabled, 1) && (!rss->enabled || steer_rss_is_valid(rss, n_pairs));
}

static bool
state_hash_valid(const struct hash_params *hash)
{
	return !(hash->types & ~(uint32_t)HASH_TYPES_ALL) && hash->key_len <= HASH_KEY_LEN &&
	       (hash->types == 0 || hash->key_len);
}

static bool
state_valid(const struct vnet_dev *dev, const struct vnet_state *state)
{
	const struct vnet_settings *settings = &state->settings;

	return state_bools_valid(&state->running, 1) && state_bools_valid(&state->served, 1) &&
	       state_bools_valid(&settings->announce, 1) && state->n_pairs == dev->n_pairs &&
	       state->n_filled >= 1 && state->n_filled <= dev->n_pairs && settings->n_pairs >= 1 &&
	       settings->n_pairs <= dev->n_pairs && !(settings->offloads & ~VNET_GUEST_OFFLOADS) &&
	       !offloads_unmet(vnet_offloads_guest(settings->offloads)) &&
	       state_filter_valid(&settings->filter) && state_rss_valid(&settings->steer.rss, dev->n_pairs) &&
	       state_hash_valid(&settings->steer.hash);
}

/* --- keeping it --- */

static bool
state_any_running(const struct vnet_dev *dev)
{
	for (unsigned int i = 0; i < 2u * dev->n_pairs; i++)
		if ((int)i != vnet_controlq_idx(dev) && vdev_queue_is_running(&dev->vdev, i))
			return true;
	return false;
}

void
vnet_state_look(struct vnet_dev *dev)
{
	struct vnet_state now;

	if (!dev->state_changed)
		return;
	/* What was kept stays until it is known whose it is. */
	if (dev->has_kept)
		return;
	memset(&now, 0, sizeof(now));
	now.settings = dev->input.settings;
	now.n_pairs = dev->n_pairs;
	now.n_filled = dev->input.n_filled;
	/* Also while it is on its way back. */
	now.running = dev->awaited || state_any_running(dev);
	now.served = dev->output.serves_controlq;
	if (now.served) {
		now.controlq_base = virtq_base(&dev->controlq.vq, vdev_is_packed(&dev->vdev));
		now.controlq_base_before = dev->state.controlq_base_before;
		if (now.controlq_base != dev->state.controlq_base)
			now.controlq_base_before = dev->state.controlq_base;
	}
	if (memcmp(&now, &dev->state, sizeof(now)) == 0)
		return;
	dev->state = now;
	dev->state_changed(dev->state_changed_arg, &dev->state);
}

/* --- giving it back --- */

int
vnet_state_put(struct vnet_dev *dev, const struct vnet_state *state, struct diag *diag)
{
	if (!state_valid(dev, state))
		return diag_set(diag, -EINVAL, "", "not the state of a device with %u pairs", dev->n_pairs);
	/* Nobody was there. */
	if (!state->running)
		return 0;
	dev->state = dev->kept = *state;
	dev->has_kept = state->served;
	dev->awaited = true;
	dev->ctx->n_awaited++;
	dev->ctx->awaited_until_ms = loop_now_ms() + VNET_STATE_WAIT_MS;
	return 0;
}

bool
vnet_state_take(struct vnet_dev *dev)
{
	const uint64_t features = dev->vdev.said.features;

	if (!dev->has_kept)
		return false;
	dev->has_kept = false;
	if (vnet_features_differ(dev->kept.settings.features, features))
		return false;
	dev->draft.settings = dev->kept.settings;
	dev->draft.settings.features = features;
	dev->draft.n_filled = dev->kept.n_filled;
	return true;
}

void
vnet_state_refuse(struct vnet_dev *dev)
{
	dev->draft.settings = dev->input.settings;
	dev->draft.n_filled = dev->input.n_filled;
	log_warn(&dev->ctx->log, "port %s: out of memory for the settings of its driver, which are lost",
		 dev->vdev.name);
}

/* By its position at its beginning: a ring that was never used, or one that has come round. */
static bool
state_ring_is_new(const struct vnet_dev *dev, uint32_t base)
{
	const struct virtq_conf *conf = virtq_conf(&dev->controlq.vq);

	return base == vdev_base_fresh(&dev->vdev) && virtq_look_unused(conf);
}

bool
vnet_state_confirm(struct vnet_dev *dev)
{
	const uint32_t base = virtq_base(&dev->controlq.vq, vdev_is_packed(&dev->vdev));

	if ((base == dev->kept.controlq_base || base == dev->kept.controlq_base_before) &&
	    !state_ring_is_new(dev, base)) {
		log_info(&dev->ctx->log, "port %s: its driver's settings are in effect again",
			 dev->vdev.name);
		return true;
	}
	/* Its first command has not been answered: there are none. */
	if (base != dev->kept.controlq_base)
		log_info(&dev->ctx->log, "port %s: its driver has been reset since vnicd was killed",
			 dev->vdev.name);
	vnet_input_reset(dev, &dev->draft);
	return false;
}

/* --- where the queues stand --- */

/* What a queue begins with is what another one left: so it is still there if we are killed before it starts.
 */
static void
state_leave(struct virtq *vq, const struct virtq *left)
{
	vq->avail = left->avail;
	vq->used_idx = left->used_idx;
	vq->used_wrap = left->used_wrap;
	vq->held = left->held;
	vq->held_idx = left->held_idx;
	vq->held_element = left->held_element;
}

void
vnet_state_put_queues(struct vnet_dev *dev, const struct vnet_queue *left)
{
	for (uint16_t i = 0; i < dev->n_pairs; i++) {
		state_leave(&dev->queues[i].from_guest, &left[i].from_guest);
		state_leave(&dev->queues[i].to_guest, &left[i].to_guest);
	}
	dev->has_left = true;
}

bool
vnet_state_left(struct vdev *vdev, unsigned int idx, const struct virtq_conf *conf, uint32_t *ret_base)
{
	const struct vnet_dev *dev = vdev->type_dev;
	const uint32_t before = dev->kept.controlq_base_before;

	if ((int)idx != vnet_controlq_idx(dev)) {
		*ret_base = virtq_left_base(vdev->queues[idx].vq, conf);
		return dev->has_left;
	}
	*ret_base = dev->kept.controlq_base;
	if (!virtq_could_stand(conf, *ret_base) && virtq_could_stand(conf, before))
		*ret_base = before;
	return dev->has_kept;
}

/* --- waiting for those who were there --- */

bool
vnet_state_holds(const struct vnet_dev *dev)
{
	return dev->ctx->n_awaited;
}

static void
state_arrived(struct vnet_dev *dev)
{
	dev->awaited = false;
	dev->ctx->n_awaited--;
}

bool
vnet_state_poll(struct vnet_dev *dev)
{
	const bool active = vdev_queue_is_active(&dev->vdev, 0);

	if (dev->has_kept && active &&
	    (vnet_controlq_idx(dev) < 0 ||
	     vnet_features_differ(dev->kept.settings.features, dev->vdev.said.features)))
		dev->has_kept = false;
	/* A guest whose controlq is served here is back when that runs, with what it filters and steers. */
	if (dev->awaited && active && !dev->has_kept)
		state_arrived(dev);
	if (dev->awaited && loop_now_ms() >= dev->ctx->awaited_until_ms) {
		log_warn(&dev->ctx->log,
			 "port %s: its guest has not come back within %d s; going on without it",
			 dev->vdev.name, VNET_STATE_WAIT_MS / 1000);
		state_arrived(dev);
	}
	return dev->holds && !vnet_state_holds(dev);
}

void
vnet_state_fini(struct vnet_dev *dev)
{
	if (dev->awaited)
		state_arrived(dev);
}
