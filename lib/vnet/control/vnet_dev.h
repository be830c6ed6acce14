/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * vnet_dev: the control half of the virtio network device: what its front-end, its driver and the
 * administrator have set, and what follows from that for the datapath (vnet.h), which sees none of this.
 *
 *   vnet_dev.c     the device type: features, queues, life        \
 *   controlq.h     the driver's commands                           \   change the draft of the input,
 *   config.c       the configuration space, and the link           /   and call vnet_apply()
 *   announce.h     making the network learn where the guest is    /
 *        |
 *   reconcile.h    computes from the input what workers see, and publishes it
 *        |
 *   settings.h     the input
 *   state.h        what of it outlives the process
 *
 *   notice.h       finds and reports problems between guest and front-end
 *
 * The controlq is the virtqueue after the last pair that the driver may use.
 */
#ifndef VNICD_VNET_DEV_H
#define VNICD_VNET_DEV_H

#include <stdbool.h>
#include <stdint.h>

#include <rte_ether.h>
#include <rte_mempool.h>

#include "announce.h"
#include "controlq.h"
#include "notice.h"
#include "port.h"
#include "settings.h"
#include "state.h"
#include "vdev.h"
#include "vnet.h"

/* VIRTIO, "Device configuration layout". */
enum {
	VNET_SPEED_MAX = 0x7fffffff, /* Mb/s */
	VNET_SPEED_UNKNOWN = -1,
	VNET_DUPLEX_HALF = 0,
	VNET_DUPLEX_FULL = 1,
	VNET_DUPLEX_UNKNOWN = 0xff,
};

/* What vnet_reconcile() has computed from the inputs, besides the confs. */
struct vnet_output {
	bool serves_controlq; /* vnicd serves the controlq, so that what the driver sets there reaches it */
	struct vnet_filter *filter; /* as workers see it; NULL: no frame is filtered */
	struct port_steer *steer;   /* as workers see it; NULL: not needed */
	uint16_t pairs_max;         /* frames are sent to so many pairs at most, as the driver has set */
	struct port_link link;
	/* The hash that the driver requests, and an uplink may compute in vnicd's place; no types: none. */
	struct hash_params hash;
	/* Built from the settings, and owned by the device, whether workers see them or not; NULL for
	 * settings as after a reset. */
	struct vnet_filter *own_filter;
	struct port_steer *own_steer; /* with the driver's table or hashes */
	uint64_t driver;              /* vnet_input.driver, whose flows and announcements these are */
};

/* Control lock. */
struct vnet_dev {
	struct vdev vdev;
	struct vnic_ctx *ctx;
	uint16_t n_pairs;
	/* mtu of the configuration space, which does not change; 0: MTU is not offered. */
	uint16_t offered_mtu;
	bool offer_standby;            /* failover: this is the standby of a passed-through NIC */
	bool offer_speed;              /* SPEED_DUPLEX */
	uint64_t without;              /* feature bits that are not offered, nor those that need them */
	struct rte_ether_addr mac;     /* the address after a reset; the current one is in the settings */
	struct vnet_queue *queues;     /* [n_pairs] */
	struct vnet_queue *own_queues; /* the same; NULL: somebody else's memory */
	struct controlq controlq;
	struct announce announce;

	/*
	 * input: what the driver and the administrator have set, in effect. draft: a copy of it, which a
	 * message or a command changes while it is handled; vnet_apply() puts it into effect.
	 */
	struct vnet_input input, draft;
	struct vnet_output output;
	/* Steering without table and hashes, by enum steer_report. Made once: a reset needs no memory. */
	struct port_steer *usual_steer[2];
	struct vnet_flows *flows; /* NULL: a single pair */
	/* Called when output.hash has changed; NULL: not needed. */
	void (*hash_changed)(void *arg, const struct hash_params *hash);
	void *hash_changed_arg;
	/* Called when what is to outlive the process has changed (state.h); NULL: not needed. It may not
	 * change the device. */
	void (*state_changed)(void *arg, const struct vnet_state *state);
	void *state_changed_arg;
	struct vnet_state state; /* as it was passed on last */
	struct vnet_state kept;  /* of the process before */
	bool has_kept;           /* it has not been decided yet whose settings these are */
	bool has_left;           /* vnet_state_put_queues() */
	bool awaited;            /* counted in ctx->n_awaited */
	bool holds;              /* nothing is taken from its transmitqs, as they are published */
	/* Its members filter, steer and n_active are how these are published to workers. */
	struct port *port;

	struct vnet_notices notices;
	unsigned int n_slow_polls; /* calls of vdev_ops.poll_slow */

	struct vnet_shared shared;
};

struct vnet_config {
	const char *name;
	uint16_t n_pairs;
	uint16_t mtu; /* 0: not offered */
	struct rte_ether_addr mac;
	struct rte_mempool *pool;
	struct port *port;    /* n_active, filter and steer of it are written by the device */
	struct vnic_ctx *ctx; /* without a loop: the caller serves the controlq, its kicks are not seen */
	/* Memory for n_pairs of them, zero, in which they are to be; NULL: the device's own. */
	struct vnet_queue *queues;
	uint64_t mem_max; /* bytes of the guest's memory that may be mapped; 0: GMEM_BYTES_MAX */
	uint64_t without; /* feature bits not to offer, and with them what VIRTIO says needs them */
	bool standby;
	bool speed_duplex; /* offer speed and duplex */
	int32_t speed;
	uint8_t duplex;
	/* See struct vnet_dev. Not called for the first value, which is that of a device without front-end.
	 */
	void (*state_changed)(void *arg, const struct vnet_state *state);
	void *state_changed_arg;
	/* The same. */
	void (*hash_changed)(void *arg, const struct hash_params *hash);
	void *hash_changed_arg;
};

/* 0 or -ENOMEM. */
int vnet_init(struct vnet_dev *dev, const struct vnet_config *config);
/* No worker polls its queues any more. */
void vnet_fini(struct vnet_dev *dev);

/*
 * The data queue is active, and of a pair that the driver has in use. With RSS all receiveqs are in use: the
 * table says which of them get frames, not the number of pairs.
 */
bool vnet_queue_is_used(const struct vnet_dev *dev, unsigned int idx);
/* The feature bits that are offered, without those of the transport: `features` of the device type. */
uint64_t vnet_features(const struct vdev *vdev);
/* Other features, so another driver: apart from bits between front-end and transport. */
bool vnet_features_differ(uint64_t a, uint64_t b);
/* The set of offloads (offloads.def) that frames to the guest may request, as its driver has set it now. */
uint32_t vnet_capabilities(const struct vnet_dev *dev);
/* VIRTIO, "Virtqueues" of the network device: without MQ and RSS there is one pair, and the controlq follows
 * it.
 */
bool vnet_has_one_pair(const struct vnet_dev *dev);
/* Index of the controlq under the features that the driver has; -1: it has none. */
int vnet_controlq_idx(const struct vnet_dev *dev);
/* vnicd serves the controlq, for its ring runs; otherwise the front-end serves it, or nobody does. */
bool vnet_serves_controlq(const struct vnet_dev *dev);
/* Use the next pair too, if the driver has made a buffer available in its receiveq. */
void vnet_check_new_pairs(struct vnet_dev *dev);

/* The configuration space (config.c): the two functions of the device type. */
unsigned int vnet_config_read(const struct vdev *vdev, uint8_t space[VDEV_CONFIG_MAX]);
int vnet_config_write(struct vdev *vdev, unsigned int offset, const uint8_t *data, unsigned int len,
		      bool migration);
/* Notify the driver that its configuration space has changed. */
void vnet_config_notify(struct vnet_dev *dev);
/*
 * Set the link as the driver sees it, speed and duplex only for a device that offers them. While the link is
 * down no frame passes. 0; -EAGAIN: the speed or duplex of a link that is up would change, so the link has
 * been set down first: call this again; -EBUSY: the device can't be changed now (vdev_change_begin()), and
 * nothing has changed: call this again some milliseconds later.
 */
int vnet_set_link(struct vnet_dev *dev, const struct port_link *link);

#endif
