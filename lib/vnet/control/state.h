/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * state: what of a device is to outlive the process: the driver's settings, and that there was a driver.
 *
 *   vnet_dev.state_changed   is told of each change, before the driver can know of it: who has a place that
 *                            outlives us keeps the value there
 *   vnet_state_put()         gives it to the device of the same port in the next process
 *
 * The settings are the driver's again when its controlq starts, under the same features, where the last one
 * left it: at the position after its last command, or before that. A driver that was reset meanwhile has a
 * new ring, which nobody has served; it gets settings as after a reset. Why: docs/decisions/0048-restart.md.
 *
 * Until the guests that were there are back, or VNET_STATE_WAIT_MS have passed, nothing is taken from any
 * guest of the context: what they send would be lost for those who are not back yet.
 *
 * Control lock.
 */
#ifndef VNICD_STATE_H
#define VNICD_STATE_H

#include <stdbool.h>
#include <stdint.h>

#include "settings.h"

struct diag;
struct vdev;
struct virtq_conf;
struct vnet_dev;
struct vnet_queue;

enum {
	/* Of the form of struct vnet_state: to be raised with each change of it, also of what its members
	 * mean. */
	VNET_STATE_VERSION = 1,
	VNET_STATE_WAIT_MS = 5000,
};

/* Plain data without pointers; padding is zero. */
struct vnet_state {
	struct vnet_settings settings;
	/* The controlq's position, in the form of SET_VRING_BASE: after the last command that was answered,
	 * and before that. */
	uint32_t controlq_base, controlq_base_before;
	uint16_t n_pairs;  /* of the port */
	uint16_t n_filled; /* as in struct vnet_input */
	bool running;      /* a data queue ran: the front-end will be back */
	bool served;       /* the controlq ran, and was served here: the settings are the driver's */
};

/* For a device that no front-end has come to yet. 0, or -EINVAL with diag filled: it is no state of such a
 * device, and is not used. */
int vnet_state_put(struct vnet_dev *dev, const struct vnet_state *state, struct diag *diag);

/*
 * The queue pairs as the process before has left them, at any instruction: as many as the device has. Their
 * positions are used where the rings agree. Before a front-end comes.
 */
void vnet_state_put_queues(struct vnet_dev *dev, const struct vnet_queue *left);
/* The `left` of the device type (vdev.h). */
bool vnet_state_left(struct vdev *vdev, unsigned int idx, const struct virtq_conf *conf, uint32_t *ret_base);

/* --- for reconcile.c and controlq.c --- */

/* The controlq starts under `draft`'s features: true: the draft has the kept settings now, and
 * vnet_state_confirm() has to be called when the ring has started. */
bool vnet_state_take(struct vnet_dev *dev);
/* They could not be applied: the draft is what it was. */
void vnet_state_refuse(struct vnet_dev *dev);
/* False: it is another driver's ring, and the draft has settings as after a reset, which are to be applied.
 */
bool vnet_state_confirm(struct vnet_dev *dev);
/* Pass it on if it has changed. */
void vnet_state_look(struct vnet_dev *dev);
/* No transmitq is to be polled, for guests that were there are not back. */
bool vnet_state_holds(const struct vnet_dev *dev);
/* Whether this one is back; to be called now and then. True: the device waited, and the wait is over:
 * reconcile. */
bool vnet_state_poll(struct vnet_dev *dev);
/* The device will not be back. */
void vnet_state_fini(struct vnet_dev *dev);

#endif
