/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * from_guest: the burst functions that take frames from a transmitq. Twin of to_guest.h; compiled for each
 * variant by variants.c.
 *
 * vnet_from_guest_burst() is specialised, for direct chains; it stops before the first chain that is not.
 * vnet_from_guest_any() is for all chains, and compiled once.
 */
#ifndef VNICD_FROM_GUEST_H
#define VNICD_FROM_GUEST_H

#include <rte_mbuf.h>
#include <rte_prefetch.h>

#include "borrow.h"
#include "copy.h"
#include "header.h"
#include "ring.h"
#include "vnet.h"

static_assert(offsetof(struct rte_mbuf, ol_flags) == offsetof(struct rte_mbuf, rearm_data) + 8 &&
		      offsetof(struct rte_mbuf, pkt_len) == offsetof(struct rte_mbuf, packet_type) + 4 &&
		      offsetof(struct rte_mbuf, data_len) == offsetof(struct rte_mbuf, packet_type) + 8 &&
		      offsetof(struct rte_mbuf, vlan_tci) == offsetof(struct rte_mbuf, packet_type) + 10,
	      "fields are written several at a time");

/* A fresh mbuf of the pool has refcnt 1, one segment and no next; only its first cache line is written. */
static inline void
from_guest_mbuf_set(struct rte_mbuf *pkt, uint32_t len)
{
	/* data_off, refcnt, nb_segs, port; ol_flags */
	const uint64_t rearm[2] = {RTE_PKTMBUF_HEADROOM | UINT64_C(1) << 16 | UINT64_C(1) << 32 |
				   (uint64_t)RTE_MBUF_PORT_INVALID << 48};
	/* packet_type, pkt_len; data_len, vlan_tci */
	const uint64_t first = (uint64_t)len << 32;
	const uint32_t second = (uint16_t)len;

	memcpy(&pkt->rearm_data, rearm, sizeof(rearm));
	memcpy(&pkt->packet_type, &first, sizeof(first));
	memcpy(&pkt->data_len, &second, sizeof(second));
}

/*
 * Read the request of a frame's header, and copy the frame to the mbuf: all of it, or the head of a frame
 * that is borrowed. False: the drop is counted and the mbuf freed.
 */
TEMPLATE bool
from_guest_frame(const struct vnet_conf *conf, struct port_rxq *rxq, const uint8_t *header, uint32_t len,
		 struct rte_mbuf *pkt, const uint32_t traits)
{
	const uint8_t *frame = header + conf->hdr_len;

	from_guest_mbuf_set(pkt, len);
	if (traits & TRAIT_OFFLOAD) {
		struct virtio_net_hdr hdr = header_read(header);

		if (likely_false(vnet_offload_requested(&hdr))) {
			copy_frame((uint8_t *)pkt->buf_addr + RTE_PKTMBUF_HEADROOM, frame, len);
			return vnet_from_guest_request(conf, rxq, &hdr, pkt);
		}
	}
	if (len >= BORROW_MIN) {
		copy_frame((uint8_t *)pkt->buf_addr + RTE_PKTMBUF_HEADROOM, frame, BORROW_HEAD);
		borrow_start(pkt, frame);
		rxq->borrowed = true;
	} else {
		copy_frame((uint8_t *)pkt->buf_addr + RTE_PKTMBUF_HEADROOM, frame, len);
	}
	return true;
}

TEMPLATE uint16_t
vnet_from_guest_any(struct vnet_queue *queue, const struct vnet_conf *conf, struct port_rxq *rxq,
		    struct rte_mbuf **pkts, uint16_t n, const uint32_t traits)
{
	const uint16_t slow = VRING_DESC_F_NEXT | VRING_DESC_F_INDIRECT | VRING_DESC_F_WRITE;
	const uint32_t hdr_len = conf->hdr_len,
		       room = rte_pktmbuf_data_room_size(queue->pool) - RTE_PKTMBUF_HEADROOM;
	/* One used element for all of them ("In-order use of descriptors"). */
	const bool batched = (traits & TRAIT_PACKED) && (traits & TRAIT_IN_ORDER);
	struct virtq *vq = &queue->from_guest;
	struct virtq_cursor at = vq->avail;
	struct virtq_elem elems[VIRTQ_FETCH_MAX];
	struct rte_mbuf *fresh[VIRTQ_FETCH_MAX];
	const uint8_t *frame[VIRTQ_FETCH_MAX];
	struct vnet_spare spare = {0};
	uint16_t n_chains, n_done, n_pkts = 0;
	uint64_t bytes = 0;

	n_chains = virtq_fetch(vq, &conf->virtq, &at, elems, n, traits);
	if (n_chains == 0)
		return 0;

	/* Translate the addresses of all frames and prefetch them, before the first is read. */
	for (uint16_t i = 0; i < n_chains; i++) {
		const struct virtq_elem *elem = &elems[i];
		uint32_t len = elem->len - hdr_len;
		const uint8_t *va = NULL;

		if (likely_true(!(elem->flags & slow) && elem->len >= hdr_len + RTE_ETHER_HDR_LEN &&
				len <= room))
			va = gmem_va(conf->virtq.mem, &conf->virtq.hot, elem->addr, elem->len);
		frame[i] = va ? va + hdr_len : NULL;
		if (likely_true(va != NULL))
			rte_prefetch0(frame[i]);
		/* A header that is read may be in a line of its own, which is not prefetched otherwise. */
		if (traits & TRAIT_OFFLOAD && likely_true(va != NULL))
			rte_prefetch0(va);
	}
	if (unlikely(rte_mempool_get_bulk(queue->pool, (void **)fresh, n_chains) < 0)) {
		counter_add(&vq->no_mbuf, 1);
		return 0;
	}
	if (n_chains == VIRTQ_FETCH_MAX)
		virtq_prefetch_next(vq, &conf->virtq, at, traits);
	for (n_done = 0; n_done < n_chains; n_done++) {
		struct rte_mbuf *pkt = fresh[n_done];
		enum vnet_took took;

		if (likely_true(frame[n_done] != NULL)) {
			uint32_t len = elems[n_done].len - hdr_len;

			if (from_guest_frame(conf, rxq, frame[n_done] - hdr_len, len, pkt, traits)) {
				bytes += len;
				pkts[n_pkts++] = pkt;
			}
		} else {
			took = vnet_from_guest_chain(queue, conf, rxq, &elems[n_done], pkt, &spare,
						     &pkts[n_pkts]);
			if (took == VNET_TOOK_NONE)
				break;
			if (took == VNET_TOOK_FRAME)
				bytes += pkts[n_pkts++]->pkt_len;
		}
		/* Retired here, so that these stores drain while the next frame's loads are waited for. */
		if (!batched)
			virtq_retire(vq, &conf->virtq, &elems[n_done], 0, traits);
	}
	if (unlikely(n_done < n_chains))
		rte_mempool_put_bulk(queue->pool, (void **)&fresh[n_done], n_chains - n_done);
	if (unlikely(n_done == 0))
		return 0;

	if (batched)
		virtq_retire_batch(vq, &conf->virtq, elems, n_done, traits);
	counter_add(&rxq->stats.packets, n_done);
	counter_add(&rxq->stats.bytes, bytes);
	/* As in vnet_from_guest_burst(). */
	if (!rxq->borrowed) {
		virtq_publish(vq, &conf->virtq, traits);
		virtq_notify(vq, &conf->virtq, n_done);
	}
	return n_pkts;
}

enum { FROM_GUEST_AHEAD = 16 }; /* frames */

TEMPLATE void
from_guest_prefetch(const struct virtq_direct *direct, uint16_t i, uint32_t hdr_len, const uint32_t traits)
{
	rte_prefetch0(direct->va[i] + hdr_len);
	/* A header that is read may be in a line of its own, which is not prefetched otherwise. */
	if (traits & TRAIT_OFFLOAD)
		rte_prefetch0(direct->va[i]);
}

TEMPLATE uint16_t
vnet_from_guest_burst(struct vnet_queue *queue, const struct vnet_conf *conf, struct port_rxq *rxq,
		      struct rte_mbuf **pkts, uint16_t n, const uint32_t traits)
{
	const uint32_t hdr_len = conf->hdr_len;
	const struct direct_constraints constraints = {
		.len_min = hdr_len + RTE_ETHER_HDR_LEN,
		.len_max = hdr_len + rte_pktmbuf_data_room_size(queue->pool) - RTE_PKTMBUF_HEADROOM,
	};
	struct virtq *vq = &queue->from_guest;
	struct rte_mbuf *fresh[VIRTQ_FETCH_MAX];
	struct virtq_direct direct;
	int n_direct = virtq_fetch_direct(vq, &conf->virtq, &constraints, &direct, n, traits);
	uint16_t n_chains, n_pkts = 0;
	uint64_t bytes = 0;

	if (n_direct <= 0)
		return n_direct == DIRECT_NONE ? 0 : vnet_from_guest_generic(queue, conf, rxq, pkts, n);
	n_chains = (uint16_t)n_direct;

	/* Have as many frames on their way as a CPU can wait for at a time; the others follow while these are
	 * copied.
	 */
	for (uint16_t i = 0; i < n_chains && i < FROM_GUEST_AHEAD; i++)
		from_guest_prefetch(&direct, i, hdr_len, traits);
	if (unlikely(rte_mempool_get_bulk(queue->pool, (void **)fresh, n_chains) < 0)) {
		counter_add(&vq->no_mbuf, 1);
		return 0;
	}
	if (n_chains == VIRTQ_FETCH_MAX)
		virtq_prefetch_next(vq, &conf->virtq, virtq_cursor_after(vq, &conf->virtq, n_chains, traits),
				    traits);
	for (uint16_t i = 0; i < n_chains; i++) {
		uint32_t len = direct.len[i] - hdr_len;

		if (i + FROM_GUEST_AHEAD < n_chains)
			from_guest_prefetch(&direct, (uint16_t)(i + FROM_GUEST_AHEAD), hdr_len, traits);
		if (likely_true(from_guest_frame(conf, rxq, direct.va[i], len, fresh[i], traits))) {
			bytes += len;
			pkts[n_pkts++] = fresh[i];
		}
	}
	virtq_retire_direct(vq, &conf->virtq, &direct, NULL, n_chains, traits);
	counter_add(&rxq->stats.packets, n_chains);
	counter_add(&rxq->stats.bytes, bytes);
	/* What is borrowed stays the device's until vnet_rx_release(). */
	if (likely_true(!rxq->borrowed)) {
		virtq_publish(vq, &conf->virtq, traits);
		virtq_notify(vq, &conf->virtq, n_chains);
	}
	return n_pkts;
}

#endif
