/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * vnet: the datapath of the virtio network device (VIRTIO, "Network Device"): virtqueues on one side, frames
 * in mbufs on the other.
 *
 * Virtqueue 2i is receiveq i (to the guest), 2i + 1 is transmitq i (from the guest). What a burst needs to
 * know is in the queue's conf, which control/ makes and publishes; nothing in this room knows how.
 *
 *   vnet.c            the port functions                     filter.h  which frames the driver wants
 *   from_guest.h      burst bodies, common case              steer.h   which pair they go to
 *   to_guest.h        the same, the other way                flows.h   by what the guest sent
 *   burst.c           everything else, and errors            offload.h header <-> requests in the mbuf
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

#include "offload.h"
#include "port.h"
#include "vdev.h"
#include "virtq.h"

struct vnet_flows;
struct virtio_net_hdr;

struct vnet_conf;
struct vnet_queue;

/* Take up to n frames from the guest. Counts what the guest got wrong on rxq. */
typedef uint16_t (*vnet_from_guest_fn)(struct vnet_queue *queue, const struct vnet_conf *conf,
				       struct port_rxq *rxq, struct rte_mbuf **pkts, uint16_t n);
/* Give n frames to the guest; they stay the caller's. Returns how many were given; the rest is counted as
 * dropped. */
typedef uint16_t (*vnet_to_guest_fn)(struct vnet_queue *queue, const struct vnet_conf *conf,
				     struct port_txq *txq, struct rte_mbuf *const *pkts, uint16_t n);

/* Of a receiveq or a transmitq: what its virtqueue's is, and what is the network device's. */
struct vnet_conf {
	struct virtq_conf virtq; /* the first, by which it is published */
	uint16_t hdr_len;        /* bytes before the frame */
	uint32_t frame_max;      /* longest frame to deliver */
	union {
		vnet_from_guest_fn from_guest; /* of a transmitq */
		vnet_to_guest_fn to_guest;     /* of a receiveq */
	};
	struct vnet_flows *flows; /* where flows from the guest are learnt; NULL: nowhere */
	uint32_t offloads;        /* the set of those that the frames of this queue may request (request.h) */
	uint64_t unsupported;     /* to the guest: ol_flags of frames that may request others */
};

static_assert(offsetof(struct vnet_conf, virtq) == 0, "a published virtq_conf is one of these");

/* What workers have of a data queue now; NULL: it stands still. */
static inline const struct vnet_conf *
vnet_conf(const struct virtq *vq)
{
	return (const struct vnet_conf *)virtq_conf(vq);
}

/* Of a device: between its control half and all its queues. */
struct vnet_shared {
	_Atomic bool
		link_up; /* written by the control half; names a drop, what is acted on is in the confs */
	/* SEND_RARP: the address to announce, written by the control half, taken by the owner of transmitq 0.
	 * 0: none. */
	_Atomic uint64_t rarp_mac;
};

/* One queue pair: the two virtqueues may have different owners. */
struct vnet_queue {
	/* the rxq's owner's */
	struct virtq from_guest; /* transmitq */
	struct rte_mempool
		*pool; /* for frames from the guest, and for what is made of those to it; read-only */
	struct vnet_shared *shared; /* the device's */
	const struct vnet_conf
		*borrowed_conf; /* of the last vnet_rx(): what borrowed frames were taken under */
	/* Counter (counter.h): what the port's do not tell apart (controlq_stats.c). */
	uint64_t discarded_bytes; /* from the guest, on a queue that is not enabled */

	/* the txq's owner's */
	struct virtq to_guest; /* receiveq */
};

static_assert(offsetof(struct vnet_queue, to_guest) % RTE_CACHE_LINE_SIZE == 0 &&
		      sizeof(struct vnet_queue) % RTE_CACHE_LINE_SIZE == 0,
	      "what one owner writes is in no line of the other's");

/* The port functions of a queue pair: `dev` of both its queues is its struct vnet_queue. */
uint16_t vnet_rx(struct port_rxq *rxq, struct rte_mbuf **pkts, uint16_t n);
/* As vnet_rx(), for who keeps frames, or does not know borrowed ones (borrow.h): nothing is borrowed on
 * return. */
uint16_t vnet_rx_whole(struct port_rxq *rxq, struct rte_mbuf **pkts, uint16_t n);
uint16_t vnet_tx(struct port_txq *txq, struct rte_mbuf **pkts, uint16_t n);
void vnet_rx_release(struct port_rxq *rxq);
void vnet_rx_service(struct port_rxq *rxq);
void vnet_tx_service(struct port_txq *txq);

/* --- burst functions --- */

/*
 * Of a transmitq that has not been enabled yet: what waits there is for later. Only what the front-end has
 * disabled is drained (vhost-user, "Ring states"), and what no frame may pass, for a link is down or a pair
 * not in use.
 */
uint16_t vnet_from_guest_later(struct vnet_queue *queue, const struct vnet_conf *conf, struct port_rxq *rxq,
			       struct rte_mbuf **pkts, uint16_t n);

/* All chains, all frames, any traits: what the specialised functions (burst_variants.h) fall back to, and are
 * tested against. */
uint16_t vnet_from_guest_generic(struct vnet_queue *queue, const struct vnet_conf *conf, struct port_rxq *rxq,
				 struct rte_mbuf **pkts, uint16_t n);
uint16_t vnet_to_guest_generic(struct vnet_queue *queue, const struct vnet_conf *conf, struct port_txq *txq,
			       struct rte_mbuf *const *pkts, uint16_t n);

/* The slow path: chains, indirect tables, frames over several buffers or mbufs, all errors (burst.c). */
enum vnet_took {
	VNET_TOOK_FRAME, /* *ret_pkt is a frame */
	VNET_TOOK_DROP,  /* counted; the chain goes back */
	VNET_TOOK_NONE,  /* the chain stays: no packet buffer, or the queue broke */
};
enum vnet_took vnet_from_guest_chain(struct vnet_queue *queue, const struct vnet_conf *conf,
				     struct port_rxq *rxq, const struct virtq_elem *elem,
				     struct rte_mbuf *first, struct rte_mbuf **ret_pkt);

/* A header that requests something. True: the request is in pkt; false: nonsense, counted, pkt is freed. */
bool vnet_from_guest_request(const struct vnet_conf *conf, struct port_rxq *rxq,
			     const struct virtio_net_hdr *hdr, struct rte_mbuf *pkt);

/* Chains fetched for a burst and not used yet: elems[next .. n), then what lies beyond the cursor. */
struct vnet_buffers {
	struct virtq_elem elems[VIRTQ_FETCH_MAX];
	uint16_t n, next;
	struct virtq_cursor at;
};
/* True: the frame was given; false: it was counted as dropped. */
bool vnet_to_guest_frame(struct vnet_queue *queue, const struct vnet_conf *conf, struct port_txq *txq,
			 const struct rte_mbuf *pkt, struct vnet_buffers *buffers);

#endif
