/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * reconcile: computes what workers see of a network device, and publishes it.
 *
 *   vdev.said     what the front-end has set     \        confs of the virtqueues: ring, burst function,
 *                                                 >---->  offloads, coalescing, longest frame; filter,
 *   vnet.input    what the driver and the        /        steering, number of pairs in use, link
 *                 administrator have set
 *
 * Messages, commands and administrators change an input, and nothing else. vnet_reconcile() computes from
 * both inputs all that is to be published, publishes what differs from the published state, waits for the
 * workers once, and frees what was replaced. So the order in which inputs were set does not matter, setting
 * one again to the same value does nothing, and a device with a copy of another one's inputs publishes the
 * same as that one. No function that is called from here changes an input in turn. Control lock.
 */
#ifndef VNICD_RECONCILE_H
#define VNICD_RECONCILE_H

#include "diag.h"

struct vdev;
struct vnet_conf;
struct vnet_dev;
struct vnet_input;
struct vnet_output;

/* The `reconcile` of the device type (vdev.h); also -EINVAL or -ENOMEM, as vnet_apply(). */
int vnet_reconcile(struct vdev *vdev, unsigned int must_apply, struct diag *diag);

/*
 * Make dev->draft the input and reconcile: it is in effect for every worker on return. 0; or -EINVAL or
 * -ENOMEM from building a filter or steering: nothing has changed, and the draft is dropped. Can't fail for
 * settings after a reset, which need neither, and for changes of the link or the MTU.
 */
int vnet_apply(struct vnet_dev *dev);
/* The transmitqs are polled again (state.h): now, or when the device can be changed. */
void vnet_go_on(struct vnet_dev *dev);
/* Discard the changes in dev->draft. */
void vnet_draft_drop(struct vnet_dev *dev);

/* Fill in what a data queue's conf has besides its ring; conf->virtq.enabled is what the front-end has set,
 * and may be cleared. Does nothing for the controlq. */
void vnet_conf_fill(const struct vnet_dev *dev, const struct vnet_input *input,
		    const struct vnet_output *output, unsigned int idx, struct vnet_conf *conf);

#endif
