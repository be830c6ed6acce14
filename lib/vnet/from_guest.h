/* SPDX-License-Identifier: BSD-3-Clause */
/* from_guest: the burst body that takes frames from a transmitq. Twin of to_guest.h; instantiated by
 * variants.c. */
#ifndef VNICD_FROM_GUEST_H
#define VNICD_FROM_GUEST_H

#include <rte_mbuf.h>
#include <rte_prefetch.h>

#include "copy.h"
#include "header.h"
#include "ring.h"
#include "vnet.h"

/* A fresh mbuf of the pool has refcnt 1, one segment and no next; only its first cache line is written. */
static inline void
from_guest_mbuf_set(struct rte_mbuf *pkt, uint32_t len)
{
	pkt->data_off = RTE_PKTMBUF_HEADROOM;
	pkt->port = RTE_MBUF_PORT_INVALID;
	pkt->ol_flags = 0;
	pkt->packet_type = 0;
	pkt->pkt_len = len;
	pkt->data_len = (uint16_t)len;
	pkt->vlan_tci = 0;
}

/* What the header asks for goes into the mbuf; false: it was nonsense, the frame is counted and gone. */
TEMPLATE bool
from_guest_request(const struct virtq_conf *conf, struct port_queue *port_queue, const uint8_t *header,
		   struct rte_mbuf *pkt, const uint32_t traits)
{
	struct virtio_net_hdr hdr;

	if (!(traits & TRAIT_OFFLOAD))
		return true;
	hdr = header_read(header);
	return !vnet_offload_asks(&hdr) || vnet_from_guest_request(conf, port_queue, &hdr, pkt);
}

TEMPLATE uint16_t
vnet_from_guest_burst(struct vnet_queue *queue, const struct virtq_conf *conf, struct port_queue *port_queue,
		      struct rte_mbuf **pkts, uint16_t n, const uint32_t traits)
{
	const uint16_t odd = VRING_DESC_F_NEXT | VRING_DESC_F_INDIRECT | VRING_DESC_F_WRITE;
	const uint32_t hdr_len = conf->hdr_len,
		       room = rte_pktmbuf_data_room_size(queue->pool) - RTE_PKTMBUF_HEADROOM;
	/* One used element for all of them ("In-order use of descriptors"). */
	const bool batched = (traits & TRAIT_PACKED) && (traits & TRAIT_IN_ORDER);
	struct virtq *vq = &queue->from_guest;
	struct virtq_cursor at = vq->avail;
	struct virtq_elem elems[VIRTQ_FETCH_MAX];
	struct rte_mbuf *fresh[VIRTQ_FETCH_MAX];
	const uint8_t *frame[VIRTQ_FETCH_MAX];
	uint16_t n_chains, n_done, n_pkts = 0;
	uint64_t bytes = 0;

	n_chains = virtq_fetch(vq, conf, &at, elems, n, traits);
	if (n_chains == 0)
		return 0;

	/* Where the frames are, and have them on their way before the first is touched. */
	for (uint16_t i = 0; i < n_chains; i++) {
		const struct virtq_elem *elem = &elems[i];
		uint32_t len = elem->len - hdr_len;
		const uint8_t *va = NULL;

		if (likely_true(!(elem->flags & odd) && elem->len >= hdr_len + RTE_ETHER_HDR_LEN &&
				len <= room))
			va = gmem_va(conf->mem, &conf->hot, elem->addr, elem->len);
		frame[i] = va ? va + hdr_len : NULL;
		if (likely_true(va != NULL))
			rte_prefetch0(frame[i]);
		/* A header that is read may be in a line of its own, which is not prefetched otherwise. */
		if (traits & TRAIT_OFFLOAD && likely_true(va != NULL))
			rte_prefetch0(va);
	}
	if (unlikely(rte_mempool_get_bulk(queue->pool, (void **)fresh, n_chains) < 0)) {
		vq->no_mbuf++;
		return 0;
	}
	if (n_chains == VIRTQ_FETCH_MAX)
		virtq_prefetch_next(conf, at, traits);
	for (n_done = 0; n_done < n_chains; n_done++) {
		struct rte_mbuf *pkt = fresh[n_done];
		enum vnet_took took;

		if (likely_true(frame[n_done] != NULL)) {
			uint32_t len = elems[n_done].len - hdr_len;

			from_guest_mbuf_set(pkt, len);
			copy_frame((uint8_t *)pkt->buf_addr + RTE_PKTMBUF_HEADROOM, frame[n_done], len);
			if (from_guest_request(conf, port_queue, frame[n_done] - hdr_len, pkt, traits)) {
				bytes += len;
				pkts[n_pkts++] = pkt;
			}
		} else {
			took = vnet_from_guest_chain(queue, conf, port_queue, &elems[n_done], pkt,
						     &pkts[n_pkts]);
			if (took == VNET_TOOK_NONE)
				break;
			if (took == VNET_TOOK_FRAME)
				bytes += pkts[n_pkts++]->pkt_len;
		}
		/* At once, so that these stores drain while the next frame's loads are waited for. */
		if (!batched)
			virtq_retire(vq, conf, &elems[n_done], 0, traits);
	}
	if (unlikely(n_done < n_chains))
		rte_mempool_put_bulk(queue->pool, (void **)&fresh[n_done], n_chains - n_done);
	if (unlikely(n_done == 0))
		return 0;

	if (batched)
		virtq_retire_batch(vq, conf, elems, n_done, traits);
	virtq_publish(vq, conf, traits);
	virtq_notify(vq, conf, n_done);
	port_queue->stats.rx_packets += n_done;
	port_queue->stats.rx_bytes += bytes;
	return n_pkts;
}

#endif
