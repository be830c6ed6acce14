/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * vnet: the virtio network device (VIRTIO, "Network Device"): virtqueues on one side, frames in mbufs on the
 * other.
 *
 * Virtqueue 2i is receiveq i (to the guest), 2i + 1 is transmitq i (from the guest). One worker owns both.
 * The controlq comes after the last pair that the driver may use (controlq.h).
 *
 *   settings.h  what the driver has set        -> filter.h   which frames it wants  (in the receiveqs' confs)
 *   controlq.h  how it sets it                  -> steer.h    which pair they go to  (port->steer)
 *   config.c    the configuration space         -> confs      offloads, coalescing, queues in use
 */
#ifndef VNICD_VNET_H
#define VNICD_VNET_H

#include <assert.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <rte_ether.h>
#include <rte_mempool.h>

#include "announce.h"
#include "controlq.h"
#include "port.h"
#include "settings.h"
#include "vdev.h"
#include "virtq.h"

struct loop;
struct vnet_dev;
struct vnet_filter;
struct vnet_flows;
struct virtio_net_hdr;

/* One queue pair: the two virtqueues may have different owners. */
struct vnet_queue {
	/* the rxq's owner's */
	struct virtq from_guest; /* transmitq */
	struct rte_mempool
		*pool;        /* for frames from the guest, and for what is made of those to it; read-only */
	struct vnet_dev *dev; /* read-only */
	const struct virtq_conf
		*borrowed_conf; /* of the last vnet_rx(): what borrowed frames were taken under */
	/* Counter (counter.h): what the port's do not tell apart (controlq_stats.c). */
	uint64_t discarded_bytes; /* from the guest, on a queue that is not enabled */

	/* the txq's owner's */
	struct virtq to_guest; /* receiveq */
};

static_assert(offsetof(struct vnet_queue, to_guest) % RTE_CACHE_LINE_SIZE == 0 &&
		      sizeof(struct vnet_queue) % RTE_CACHE_LINE_SIZE == 0,
	      "what one owner writes is in no line of the other's");

/* VIRTIO, "Device configuration layout". */
enum {
	VNET_SPEED_MAX = 0x7fffffff, /* Mb/s */
	VNET_SPEED_UNKNOWN = -1,
	VNET_DUPLEX_HALF = 0,
	VNET_DUPLEX_FULL = 1,
	VNET_DUPLEX_UNKNOWN = 0xff,
};

/* Offloads of frames to the guest, which GUEST_OFFLOADS_SET switches. */
#define VNET_GUEST_OFFLOADS                                                                           \
	(FEATURE_MASK(NET_GUEST_CSUM) | FEATURE_MASK(NET_GUEST_TSO4) | FEATURE_MASK(NET_GUEST_TSO6) | \
	 FEATURE_MASK(NET_GUEST_ECN))

/* Offloads that frames from the guest may ask for. */
#define VNET_HOST_OFFLOADS                                                                    \
	(FEATURE_MASK(NET_CSUM) | FEATURE_MASK(NET_HOST_TSO4) | FEATURE_MASK(NET_HOST_TSO6) | \
	 FEATURE_MASK(NET_HOST_ECN))

/*
 * What follows from the inputs and is published, besides the confs (reconcile.c). Workers have it, or, what
 * is said here, the device's own.
 */
struct vnet_output {
	bool ours;                  /* the controlq is served by us, so the driver's word counts */
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
	uint16_t n_pairs;
	/* mtu of the configuration space, which never changes; 0: MTU is not offered. */
	uint16_t offered_mtu;
	bool offer_standby;        /* failover: this is the standby of a passed-through NIC */
	bool offer_speed;          /* SPEED_DUPLEX */
	struct rte_ether_addr mac; /* after a reset; the settings' is what counts */
	struct vnet_queue *queues; /* [n_pairs] */
	struct controlq controlq;
	struct announce announce;
	struct loop *loop; /* NULL: nobody watches the controlq's kicks */

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
	/* Where workers look for `steer` and how many pairs can be sent to: the port's fields. */
	struct port *port;

	_Atomic bool link_up;
	/* SEND_RARP: the address to announce, written by the control thread, taken by the owner of pair 0. 0:
	 * none. */
	_Atomic uint64_t rarp_mac;
};

struct vnet_config {
	const char *name;
	uint16_t n_pairs;
	uint16_t mtu; /* 0: not offered */
	struct rte_ether_addr mac;
	struct rte_mempool *pool;
	struct port *port; /* n_active and steer of it are written by the device */
	struct loop *loop; /* NULL: nobody watches the controlq's kicks */
	uint64_t mem_max;  /* bytes of the guest's memory that may be mapped; 0: GMEM_BYTES_MAX */
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
/* VIRTIO, "Virtqueues" of the network device: without MQ and RSS there is one pair, and the controlq follows
 * it.
 */
bool vnet_has_one_pair(const struct vnet_dev *dev);
/* Index of the controlq under the features that the driver has; -1: it has none. */
int vnet_controlq_idx(const struct vnet_dev *dev);
/* The controlq is served by us: what the driver sets there comes to us, not to the VMM. */
bool vnet_controlq_is_ours(const struct vnet_dev *dev);
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

/* The port functions of a queue pair: `dev` of both its queues is its struct vnet_queue. */
uint16_t vnet_rx(struct port_rxq *rxq, struct rte_mbuf **pkts, uint16_t n);
uint16_t vnet_tx(struct port_txq *txq, struct rte_mbuf **pkts, uint16_t n);
void vnet_done(struct port_rxq *rxq);
void vnet_rx_service(struct port_rxq *rxq);
void vnet_tx_service(struct port_txq *txq);

/* --- burst functions: conf->burst of a transmitq and a receiveq --- */

/* Take up to n frames from the guest. Counts what the guest got wrong on rxq. */
typedef uint16_t (*vnet_from_guest_fn)(struct vnet_queue *queue, const struct virtq_conf *conf,
				       struct port_rxq *rxq, struct rte_mbuf **pkts, uint16_t n);
/* Give n frames to the guest; they stay the caller's. Returns how many were given; the rest is counted as
 * dropped. */
typedef uint16_t (*vnet_to_guest_fn)(struct vnet_queue *queue, const struct virtq_conf *conf,
				     struct port_txq *txq, struct rte_mbuf *const *pkts, uint16_t n);

/* All chains, all frames, any traits: what the specialised functions (burst_variants.h) fall back to, and are
 * tested against. */
uint16_t vnet_from_guest_generic(struct vnet_queue *queue, const struct virtq_conf *conf,
				 struct port_rxq *rxq, struct rte_mbuf **pkts, uint16_t n);
uint16_t vnet_to_guest_generic(struct vnet_queue *queue, const struct virtq_conf *conf, struct port_txq *txq,
			       struct rte_mbuf *const *pkts, uint16_t n);

/* The odd cases: chains, indirect tables, frames over several buffers or mbufs, all errors (burst.c). */
enum vnet_took {
	VNET_TOOK_FRAME, /* *ret_pkt is a frame */
	VNET_TOOK_DROP,  /* counted; the chain goes back */
	VNET_TOOK_NONE,  /* the chain stays: no packet buffer, or the queue broke */
};
enum vnet_took vnet_from_guest_chain(struct vnet_queue *queue, const struct virtq_conf *conf,
				     struct port_rxq *rxq, const struct virtq_elem *elem,
				     struct rte_mbuf *first, struct rte_mbuf **ret_pkt);

/* A header that asks for something. True: the request is in pkt; false: nonsense, counted, pkt is freed. */
bool vnet_from_guest_request(const struct virtq_conf *conf, struct port_rxq *rxq,
			     const struct virtio_net_hdr *hdr, struct rte_mbuf *pkt);

/* Chains fetched for a burst and not used yet: elems[next .. n), then what lies beyond the cursor. */
struct vnet_buffers {
	struct virtq_elem elems[VIRTQ_FETCH_MAX];
	uint16_t n, next;
	struct virtq_cursor at;
};
/* True: the frame was given; false: it was counted as dropped. */
bool vnet_to_guest_frame(struct vnet_queue *queue, const struct virtq_conf *conf, struct port_txq *txq,
			 const struct rte_mbuf *pkt, struct vnet_buffers *buffers);

#endif
