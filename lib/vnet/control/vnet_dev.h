/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * vnet_dev: the control half of the virtio network device: what its front-end, its driver and the
 * administrator have said, and what follows from that for the datapath (vnet.h), which sees none of this.
 *
 *   vnet_dev.c     the device type: features, queues, life        \
 *   controlq.h     the driver's commands                           \   change the input,
 *   config.c       the configuration space, and the link           /   and ask for
 *   announce.h     making the network learn where the guest is    /
 *   notice.h       what neither front-end nor driver will say
 *        |
 *   reconcile.h    what ought to be published                     from
 *        |
 *   settings.h     the input
 *
 * The controlq comes after the last pair that the driver may use.
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

/*
 * What follows from the inputs and is published, besides the confs (reconcile.c). Workers have it, or, what
 * is said here, the device's own.
 */
struct vnet_output {
	bool serves_controlq; /* vnicd serves the controlq, so that what the driver sets there reaches it */
	struct vnet_filter *filter; /* NULL: nothing is kept out */
	struct port_steer *steer;   /* NULL: none needed */
	uint16_t pairs_max;         /* pairs that frames may go to, by the driver's word */
	struct port_link link;
	struct hash_params hash; /* that would be of use: asked for by the driver itself; no types: none */
	/* The device's: made of the settings, NULL for those after a reset. Workers have them, or, as long as
	 * nobody's word counts, don't. */
	struct vnet_filter *own_filter;
	struct port_steer *own_steer; /* by the driver's table, or with its hashes */
	uint64_t driver;              /* whose flows and announcements these are */
};

/* Control lock. */
struct vnet_dev {
	struct vdev vdev;
	struct vnic_ctx *ctx;
	uint16_t n_pairs;
	/* mtu of the configuration space, which never changes; 0: MTU is not offered. */
	uint16_t offered_mtu;
	bool offer_standby;        /* failover: this is the standby of a passed-through NIC */
	bool offer_speed;          /* SPEED_DUPLEX */
	uint64_t without;          /* bits that are not offered, nor what needs them */
	struct rte_ether_addr mac; /* after a reset; the settings' is what counts */
	struct vnet_queue *queues; /* [n_pairs] */
	struct controlq controlq;
	struct announce announce;

	/*
	 * What the driver and the administrator have said, and is in effect; and what is to be, which is the
	 * same but while a message or a command is heard: that changes the draft, and vnet_apply() does the
	 * rest.
	 */
	struct vnet_input input, draft;
	struct vnet_output output;
	/* Once for all, so that a reset needs no memory: without a table and hashes, by STEER_*REPORT. */
	struct port_steer *usual_steer[2];
	struct vnet_flows *flows; /* NULL: a single pair */
	/* Called when output.hash has changed; NULL: nobody asks. */
	void (*hash_changed)(void *arg, const struct hash_params *hash);
	void *hash_changed_arg;
	/* Where workers look for `filter`, `steer` and how many pairs can be sent to: the port's fields. */
	struct port *port;

	struct vnet_notices notices;
	unsigned int n_looks; /* of vdev_ops.look */

	struct vnet_shared shared; /* with its queues */
};

struct vnet_config {
	const char *name;
	uint16_t n_pairs;
	uint16_t mtu; /* 0: not offered */
	struct rte_ether_addr mac;
	struct rte_mempool *pool;
	struct port *port;    /* n_active, filter and steer of it are written by the device */
	struct vnic_ctx *ctx; /* without a loop: nobody watches the controlq's kicks */
	uint64_t mem_max;     /* bytes of the guest's memory that may be mapped; 0: GMEM_BYTES_MAX */
	uint64_t without;     /* feature bits not to offer, and with them what VIRTIO says needs them */
	bool standby;
	bool speed_duplex; /* offer speed and duplex */
	int32_t speed;
	uint8_t duplex;
	/* See struct vnet_dev. Not called for what it is in the beginning: none. */
	void (*hash_changed)(void *arg, const struct hash_params *hash);
	void *hash_changed_arg;
};

/* 0 or -ENOMEM. */
int vnet_init(struct vnet_dev *dev, const struct vnet_config *config);
/* No worker polls its queues any more. */
void vnet_fini(struct vnet_dev *dev);

/*
 * The driver has this data queue enabled and may use it: active, and of a pair in use. Under RSS the table
 * says which receiveqs get frames, not the number of pairs.
 */
bool vnet_queue_is_used(const struct vnet_dev *dev, unsigned int idx);
/* What is offered, the transport's own bits left out: the function of the device type. */
uint64_t vnet_features(const struct vdev *vdev);
/* Offloads (offloads.def) that frames to the guest may leave undone, as its driver has it now: a set. */
uint32_t vnet_capabilities(const struct vnet_dev *dev);
/* VIRTIO, "Virtqueues" of the network device: without MQ and RSS there is one pair, and the controlq follows
 * it.
 */
bool vnet_has_one_pair(const struct vnet_dev *dev);
/* Index of the controlq under the features that the driver has; -1: it has none. */
int vnet_controlq_idx(const struct vnet_dev *dev);
/* vnicd serves the controlq, for its ring runs; otherwise the front-end serves it, or nobody does. */
bool vnet_serves_controlq(const struct vnet_dev *dev);
/* Every few milliseconds: has the driver begun to use another pair? */
void vnet_look(struct vnet_dev *dev);

/* The configuration space (config.c): the two functions of the device type. */
unsigned int vnet_config_read(const struct vdev *vdev, uint8_t space[VDEV_CONFIG_MAX]);
int vnet_config_write(struct vdev *vdev, unsigned int offset, const uint8_t *data, unsigned int len,
		      bool migration);
/* The driver is told to read it again. */
void vnet_config_notify(struct vnet_dev *dev);
/*
 * What the driver sees of its link from now on; speed and duplex are for a device that offers them. While the
 * link is down no frame passes. -EAGAIN: a link that stays up would change its speed, so it is down now: ask
 * again a little later. -EBUSY: nothing has changed (vdev_change_begin()): the same.
 */
int vnet_set_link(struct vnet_dev *dev, const struct port_link *link);

#endif
