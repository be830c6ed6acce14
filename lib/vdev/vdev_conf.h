/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * vdev_conf: the confs of a device's queues, computed from what its front-end has said, and published to
 * workers. For the device type's `reconcile`, which calls these in this order:
 *
 *   vdev_conf_plan()      compute each queue's next conf, unpublished; the type then fills its part of it
 *   vdev_conf_drop()      or discard the plan, and that is all
 *   vdev_conf_publish()   publish the confs that differ from the published ones
 *   vdev_conf_collect()   wait until no worker sees a conf that was replaced
 *
 * No memory is allocated: each queue has two confs, the published one and the next. Control lock.
 */
#ifndef VNICD_VDEV_CONF_H
#define VNICD_VDEV_CONF_H

#include <stdbool.h>

#include "diag.h"

struct vdev;
struct virtq_conf;

/* The queue that must be able to apply what the front-end said: its number, or one of these. */
enum vdev_must_apply {
	VDEV_EVERY_QUEUE = 1 << 30, /* queues that can't are stopped, and the first one's error returned */
	VDEV_NO_QUEUE,              /* queues that can't are stopped; no error is returned for them */
};

/* Allocate the confs of all queues, none of which is published. 0 or -ENOMEM. */
int vdev_conf_init(struct vdev *dev);
void vdev_conf_fini(struct vdev *dev);

/*
 * 0, or -errno with diag filled for a queue that `must_apply` names and that can't; if it names a single
 * queue, the plan is dropped then. Otherwise queue->conf is each queue's next conf; NULL: it is to stop.
 */
int vdev_conf_plan(struct vdev *dev, unsigned int must_apply, struct diag *diag);
void vdev_conf_drop(struct vdev *dev);
void vdev_conf_publish(struct vdev *dev);
/* A conf was replaced that workers may still see: vdev_conf_collect() has to wait. */
bool vdev_conf_is_due(const struct vdev *dev);
/* On return no worker is in a burst of a queue that was stopped, and its position is in queue->said. */
void vdev_conf_collect(struct vdev *dev);

#endif
