/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * vnet: the datapath of the virtio network device (VIRTIO, "Network Device"): virtqueues on one side, frames
 * in mbufs on the other.
 *
 * Virtqueue 2i is receiveq i (to the guest), 2i + 1 is transmitq i (from the guest). What a burst needs to
 * know is in the queue's conf, which control/ makes and publishes; nothing in lib/vnet depends on control/.
 *
 *   vnet.c            the port functions                     filter.h  which frames the driver wants
 *   from_guest.h      burst functions, common case           steer.h   the queue pair for a frame
 *   to_guest.h        the same, the other way                flows.h   the pair that a flow was sent from
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
#include "await.h"
#include "port.h"
#include "vdev.h"
#include "virtq.h"

struct vnet_flows;
struct virtio_net_hdr;

struct vnet_conf;
struct vnet_queue;

/* Take up to n frames from the guest. Malformed chains are counted as drops of rxq. */
typedef uint16_t (*vnet_from_guest_fn)(struct vnet_queue *queue, const struct vnet_conf *conf,
				       struct port_rxq *rxq, struct rte_mbuf **pkts, uint16_t n);
/* Give n frames to the guest; they stay the caller's. Returns how many were given; the rest is counted as
 * dropped. */
typedef uint16_t (*vnet_to_guest_fn)(struct vnet_queue *queue, const struct vnet_conf *conf,
				     struct port_txq *txq, struct rte_mbuf *const *pkts, uint16_t n);

/* The conf of a receiveq or a transmitq. */
struct vnet_conf {
	struct virtq_conf virtq; /* first: the published pointer is to it */
	uint16_t hdr_len;        /* bytes before the frame */
	uint32_t frame_max;      /* longest frame to deliver */
	union {
		vnet_from_guest_fn from_guest; /* of a transmitq */
		vnet_to_guest_fn to_guest;     /* of a receiveq */
	};
	struct vnet_flows *flows; /* of a transmitq: where its flows are learnt; NULL: they are not */
	uint32_t offloads;        /* the set that frames of this queue may request (request.h) */
	uint64_t unsupported;     /* of a receiveq: ol_flags of frames that may request other offloads */
};

static_assert(offsetof(struct vnet_conf, virtq) == 0, "a published virtq_conf is one of these");

/* The published conf of a data queue; NULL: the queue is stopped. */
static inline const struct vnet_conf *
vnet_conf(const struct virtq *vq)
{
	return (const struct vnet_conf *)virtq_conf(vq);
}

/* Of a device: what its control half and the workers share besides the confs. */
struct vnet_shared {
	/* Written by the control half. They name the reason of a drop; what workers act on is in the confs. */
	_Atomic bool link_up;
	_Atomic bool has_guest; /* a front-end is connected, and has said for which features */
	/* SEND_RARP: the address to announce; 0: none. Written by the control half, read and cleared by the
	 * owner of transmitq 0. */
	_Atomic uint64_t rarp_mac;
};

/* One queue pair: the two virtqueues may have different owners. */
struct vnet_queue {
	/* Written by the rxq's owner. */
	struct virtq from_guest;               /* transmitq */
	const struct vnet_conf *borrowed_conf; /* of the last vnet_rx(), for vnet_rx_release() */
	/* Counter (counter.h) for the driver's statistics (controlq_stats.c): bytes of frames that were
	 * discarded because the queue was not enabled. */
	uint64_t discarded_bytes;

	/* Read-only. */
	/* For frames from the guest, and for segments and copies of frames to it. */
	struct rte_mempool *pool __rte_cache_aligned;
	struct vnet_shared *shared; /* the device's */
	bool borrows_pieces;        /* the pool has room for them (borrow_fits()) */
	struct vnet_await await;    /* of the receiveq */

	/* Written by the txq's owner. */
	struct virtq to_guest; /* receiveq */
};

static_assert(offsetof(struct vnet_queue, pool) % RTE_CACHE_LINE_SIZE == 0 &&
		      offsetof(struct vnet_queue, to_guest) % RTE_CACHE_LINE_SIZE == 0 &&
		      sizeof(struct vnet_queue) % RTE_CACHE_LINE_SIZE == 0,
	      "what one owner writes is in no line that the other reads");

/* The functions of a pair's port_rxq and port_txq (port.h), whose `dev` is the struct vnet_queue. */
uint16_t vnet_rx(struct port_rxq *rxq, struct rte_mbuf **pkts, uint16_t n);
/* As vnet_rx(), but no frame is borrowed on return. */
uint16_t vnet_rx_whole(struct port_rxq *rxq, struct rte_mbuf **pkts, uint16_t n);
uint16_t vnet_tx(struct port_txq *txq, struct rte_mbuf **pkts, uint16_t n);
void vnet_rx_release(struct port_rxq *rxq);
void vnet_rx_service(struct port_rxq *rxq);
void vnet_tx_service(struct port_txq *txq);

/* --- burst functions --- */

/*
 * For a transmitq that was never enabled: takes nothing, so its chains wait until it is. Other transmitqs
 * that are not enabled are drained: those that the front-end has disabled (vhost-user, "Ring states"), and
 * all while the link is down or their pair is not in use.
 */
uint16_t vnet_from_guest_later(struct vnet_queue *queue, const struct vnet_conf *conf, struct port_rxq *rxq,
			       struct rte_mbuf **pkts, uint16_t n);

/* For all chains, all frames and any traits: the specialised functions (burst_variants.h) fall back to these,
 * and are tested against them. */
uint16_t vnet_from_guest_generic(struct vnet_queue *queue, const struct vnet_conf *conf, struct port_rxq *rxq,
				 struct rte_mbuf **pkts, uint16_t n);
uint16_t vnet_to_guest_generic(struct vnet_queue *queue, const struct vnet_conf *conf, struct port_txq *txq,
			       struct rte_mbuf *const *pkts, uint16_t n);

/* The slow path: chains of several descriptors, indirect tables, frames over several buffers or mbufs, all
 * errors (burst.c). */
enum vnet_took {
	VNET_TOOK_FRAME, /* *ret_pkt is a frame; the chain is to be returned */
	VNET_TOOK_DROP,  /* the drop was counted; the chain is to be returned */
	VNET_TOOK_NONE,  /* the chain stays in the ring: no mbuf is free, or the queue broke */
};
/* Of a burst: free packet buffers, as far as is known, and how many of them its borrowed frames take when
 * they are materialised (borrow.h). All zero at first. */
struct vnet_spare {
	uint32_t n, promised;
	enum { VNET_SPARE_NONE, VNET_SPARE_CACHE, VNET_SPARE_POOL } known;
};
enum vnet_took vnet_from_guest_chain(struct vnet_queue *queue, const struct vnet_conf *conf,
				     struct port_rxq *rxq, const struct virtq_elem *elem,
				     struct rte_mbuf *first, struct vnet_spare *spare,
				     struct rte_mbuf **ret_pkt);

/* The header has a request. True: it is in pkt now; false: it is invalid, counted, and pkt is freed. */
bool vnet_from_guest_request(const struct vnet_conf *conf, struct port_rxq *rxq,
			     const struct virtio_net_hdr *hdr, struct rte_mbuf *pkt);

/* Receive buffers of a burst: elems[next .. n) are fetched and unused; `at` is the position after those. */
enum { VNET_BUFFERS_MAX = 256 };
struct vnet_buffers {
	struct virtq_elem elems[VNET_BUFFERS_MAX];
	uint16_t n, next;
	bool moved; /* elems[0] is not the first any more that was fetched */
	struct virtq_cursor at;
};
/* True: the frame was given; false: it was counted as dropped. */
bool vnet_to_guest_frame(struct vnet_queue *queue, const struct vnet_conf *conf, struct port_txq *txq,
			 const struct rte_mbuf *pkt, struct vnet_buffers *buffers);
/* Copy a borrowed frame of any form (borrow.h) to where there is room for all of it. */
void vnet_to_guest_borrowed(const struct rte_mbuf *pkt, uint8_t *to);

#endif
