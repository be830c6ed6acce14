/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * vdev_conf: what each queue of a device ought to have by what its front-end has said, and how workers get
 * it. For the device type's `reconcile`, which calls these in this order, all or none:
 *
 *   vdev_conf_plan()      each queue's next conf, which nobody sees yet; the type fills its part of it
 *   vdev_conf_drop()      or it is none after all
 *   vdev_conf_publish()   those that say something else than what workers have
 *   vdev_conf_collect()   waits until no worker has what was replaced
 *
 * Takes no memory: what workers may still see and what takes its place are all the confs that a queue has.
 * Control lock.
 */
#ifndef VNICD_VDEV_CONF_H
#define VNICD_VDEV_CONF_H

#include <stdbool.h>

#include "diag.h"

struct vdev;
struct virtq_conf;

/* Who has to be able to follow: a queue by its number, or one of these. */
enum vdev_follower {
	VDEV_EVERY_QUEUE = 1 << 30, /* those that can't stop; the first of them is reported */
	VDEV_NO_QUEUE,              /* those that can't stop, and nobody asks */
};

/* Room for the confs of all queues, none of which is published. 0 or -ENOMEM. */
int vdev_conf_init(struct vdev *dev);
void vdev_conf_fini(struct vdev *dev);

/*
 * 0, or -errno with diag filled for a queue that can't follow. When that is the one asked for, the plan is
 * dropped. Otherwise queue->conf is what each queue ought to have, NULL for one that is to stand still.
 */
int vdev_conf_plan(struct vdev *dev, unsigned int follower, struct diag *diag);
void vdev_conf_drop(struct vdev *dev);
void vdev_conf_publish(struct vdev *dev);
/* Something was replaced that workers may still have. */
bool vdev_conf_is_due(const struct vdev *dev);
/* A queue that has stopped stands still on return, and its position is known. */
void vdev_conf_collect(struct vdev *dev);

#endif
