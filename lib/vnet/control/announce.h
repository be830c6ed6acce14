/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * announce: make the network learn where a guest is (VIRTIO, "Gratuitous Packet Sending").
 *
 * A driver with GUEST_ANNOUNCE is asked to announce itself, for it alone knows the guest's addresses and
 * VLANs; for any other guest, and for one that does not answer, a RARP is sent in its name. Rounds follow
 * each other as with QEMU: at once, then after 50, 150, 250 and 350 ms, until the driver acknowledges.
 * Control lock; without a loop there is one round.
 */
#ifndef VNICD_ANNOUNCE_H
#define VNICD_ANNOUNCE_H

#include <stdint.h>

struct loop_timer;
struct vdev;
struct vnet_dev;

enum {
	ANNOUNCE_ROUNDS = 5,
	ANNOUNCE_FIRST_MS = 50, /* from the first round to the second */
	ANNOUNCE_STEP_MS = 100, /* by which each further wait is longer */
};

/* Of one device. */
struct announce {
	struct loop_timer *timer;
	unsigned int n_rounds; /* so far */
};

/* Start anew; rounds under way are forgotten. -ENOTCONN: there is no driver, or its link is down; -ENOMEM. */
int vnet_announce(struct vnet_dev *dev);
/* One RARP in the name of this address; the function of the device type. -EINVAL: it is all zero. */
int vnet_send_rarp(struct vdev *vdev, const uint8_t mac[6]);
/* No more rounds: the driver starts anew. */
void announce_stop(struct announce *announce);
void announce_fini(struct announce *announce);

#endif
