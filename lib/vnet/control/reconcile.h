/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * reconcile: what workers get of a device, made what it ought to be.
 *
 *   vdev.said     what the front-end said         \        confs of the virtqueues: ring, burst function,
 * filter, vnet.input    what the driver and the          >---->  offloads, coalescing, longest frame
 *                 administrator said                       steering, pairs that can be sent to, link
 *
 * Whoever hears something changes an input, and no more; one function computes from both all that ought to be
 * published, compares it with what is, publishes what differs, waits for the workers once, and frees what
 * they had. So it does not matter in which order things were said, saying them again does nothing, and a
 * device that is given the inputs of another one becomes what that one is. Nothing is called from here that
 * would change an input. Control lock.
 */
#ifndef VNICD_RECONCILE_H
#define VNICD_RECONCILE_H

#include "diag.h"

struct vdev;
struct vnet_conf;
struct vnet_dev;
struct vnet_input;
struct vnet_output;

/* The `reconcile` of the device type (vdev.h). Besides as it says: -EINVAL or -ENOMEM as vnet_apply(). */
int vnet_reconcile(struct vdev *vdev, unsigned int follower, struct diag *diag);

/*
 * dev->draft takes effect as a whole, for every worker, before this returns. 0, or -errno, and nothing has
 * changed, the draft is dropped: -EINVAL, or -ENOMEM, but not for settings of which nothing is built, as
 * those after a reset, nor for what is no setting.
 */
int vnet_apply(struct vnet_dev *dev);
/* What was changed in dev->draft is forgotten. */
void vnet_draft_drop(struct vnet_dev *dev);

/* What a data queue ought to have besides what follows from its ring; conf->virtq.enabled is the front-end's
 * word. Nothing for the controlq. */
void vnet_conf_fill(const struct vnet_dev *dev, const struct vnet_input *input,
		    const struct vnet_output *output, unsigned int idx, struct vnet_conf *conf);

#endif
