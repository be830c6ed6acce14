/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * vdev_watch: looks after the devices of a context: queues that their drivers broke, guest memory that is
 * lost, and what a device type looks at now and then (vdev_ops.look).
 *
 * Workers only count faults, and the SIGBUS handler only marks what is lost; all that follows is done here,
 * on the context's loop. Without a loop nobody looks by himself: vdev_check_faults().
 */
#ifndef VNICD_VDEV_WATCH_H
#define VNICD_VDEV_WATCH_H

struct vdev;

enum { VDEV_WATCH_MS = 10 }; /* between two looks: a fault is found within that time */

/* By vdev_init(): 0 or -ENOMEM. */
int vdev_watch_start(struct vdev *dev);
/* By vdev_fini(). Also without vdev_watch_start(). */
void vdev_watch_stop(struct vdev *dev);

#endif
