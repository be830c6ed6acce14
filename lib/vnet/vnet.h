/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * vnet: the virtio network device (VIRTIO, "Network Device"): virtqueues on one side, frames in mbufs on the
 * other.
 *
 * Virtqueue 2i is receiveq i (to the guest), 2i + 1 is transmitq i (from the guest). One worker owns both.
 */
#ifndef VNICD_VNET_H
#define VNICD_VNET_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <rte_ether.h>
#include <rte_mempool.h>

#include "port.h"
#include "vdev.h"
#include "virtq.h"

struct vnet_dev;

/* One queue pair; its owner's, but for what is said at the fields. */
struct vnet_queue {
	struct virtq from_guest;  /* transmitq */
	struct virtq to_guest;    /* receiveq */
	struct rte_mempool *pool; /* for frames from the guest */
	struct vnet_dev *dev;
};

/* Control thread's. */
struct vnet_dev {
	struct vdev vdev;
	uint16_t n_pairs;
	bool offer_mtu; /* mtu was given when the port was made */
	uint16_t mtu;   /* 0: no limit known */
	struct rte_ether_addr mac;
	struct vnet_queue *queues; /* [n_pairs] */
	/* Called when the set of usable queues changed: pairs 0 .. n - 1 can be sent to (n is at least 1). */
	void (*active_changed)(void *arg, uint16_t n_pairs);
	void *active_changed_arg;
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
	void (*active_changed)(void *arg, uint16_t n_pairs);
	void *active_changed_arg;
};

/* 0 or -ENOMEM. */
int vnet_init(struct vnet_dev *dev, const struct vnet_config *config);
/* No worker polls its queues any more. */
void vnet_fini(struct vnet_dev *dev);

/* The port functions of a queue pair: queue->dev is its struct vnet_queue. */
uint16_t vnet_rx(struct port_queue *queue, struct rte_mbuf **pkts, uint16_t n);
uint16_t vnet_tx(struct port_queue *queue, struct rte_mbuf **pkts, uint16_t n);
void vnet_service(struct port_queue *queue);

/* --- burst functions: conf->burst of a transmitq and a receiveq --- */

/* Take up to n frames from the guest. Counts what the guest got wrong on port_queue. */
typedef uint16_t (*vnet_from_guest_fn)(struct vnet_queue *queue, const struct virtq_conf *conf,
				       struct port_queue *port_queue, struct rte_mbuf **pkts, uint16_t n);
/* Give n frames to the guest; they stay the caller's. Returns how many were given; the rest is counted as
 * dropped. */
typedef uint16_t (*vnet_to_guest_fn)(struct vnet_queue *queue, const struct virtq_conf *conf,
				     struct port_queue *port_queue, struct rte_mbuf *const *pkts, uint16_t n);

/* The fastest variant for a traits word, and the one that reads the word from the conf (fallback and oracle).
 */
vnet_from_guest_fn vnet_from_guest_variant(uint32_t traits);
vnet_to_guest_fn vnet_to_guest_variant(uint32_t traits);
extern const vnet_from_guest_fn vnet_from_guest_generic;
extern const vnet_to_guest_fn vnet_to_guest_generic;

/* The odd cases: chains, indirect tables, frames over several buffers or mbufs, all errors (burst.c). */
enum vnet_took {
	VNET_TOOK_FRAME, /* *ret_pkt is a frame */
	VNET_TOOK_DROP,  /* counted; the chain goes back */
	VNET_TOOK_NONE,  /* the chain stays: no packet buffer, or the queue broke */
};
enum vnet_took vnet_from_guest_chain(struct vnet_queue *queue, const struct virtq_conf *conf,
				     struct port_queue *port_queue, const struct virtq_elem *elem,
				     struct rte_mbuf *first, struct rte_mbuf **ret_pkt);

/* Chains fetched for a burst and not used yet: elems[next .. n), then what lies beyond the cursor. */
struct vnet_buffers {
	struct virtq_elem elems[VIRTQ_FETCH_MAX];
	uint16_t n, next;
	struct virtq_cursor at;
};
/* True: the frame was given; false: it was counted as dropped. */
bool vnet_to_guest_frame(struct vnet_queue *queue, const struct virtq_conf *conf,
			 struct port_queue *port_queue, const struct rte_mbuf *pkt,
			 struct vnet_buffers *buffers);

#endif
