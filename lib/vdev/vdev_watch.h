/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * vdev_watch: checks the devices of a context every VDEV_WATCH_MS: for queues that their drivers broke, for
 * guest memory that is lost, and by the device type's own poll_slow().
 *
 * Workers only count faults, and the SIGBUS handler only marks mappings; what follows from that is done here,
 * by the context's loop. Without a loop the owner of a device calls vdev_check_faults() himself.
 */
#ifndef VNICD_VDEV_WATCH_H
#define VNICD_VDEV_WATCH_H

struct vdev;

enum { VDEV_WATCH_MS = 10 }; /* a fault is found within that time */

/* By vdev_init(): 0 or -ENOMEM. */
int vdev_watch_start(struct vdev *dev);
/* By vdev_fini(). Also without vdev_watch_start(). */
void vdev_watch_stop(struct vdev *dev);

#endif
