/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * to_guest: the burst functions that give frames to a receiveq. Twin of from_guest.h; compiled for each
 * variant by variants.c.
 *
 * vnet_to_guest_burst() is specialised, for frames of one segment and direct buffers that hold them; it stops
 * at the first that is not. vnet_to_guest_any() is for all frames and buffers, and compiled once.
 */
#ifndef VNICD_TO_GUEST_H
#define VNICD_TO_GUEST_H

#include <rte_mbuf.h>
#include <rte_prefetch.h>

#include "borrow.h"
#include "copy.h"
#include "header.h"
#include "prefetch.h"
#include "ring.h"
#include "vnet.h"

/* The frame starts on a cache line, so that the header ends the line before it. */
static inline bool
to_guest_header_apart(const uint8_t *buffer, uint32_t hdr_len)
{
	return ((uintptr_t)buffer + hdr_len) % RTE_CACHE_LINE_SIZE == 0;
}

/* Have a buffer's first lines on their way, to be written. */
static inline void
to_guest_prefetch(const uint8_t *buffer, uint32_t hdr_len)
{
	if (to_guest_header_apart(buffer, hdr_len)) {
		prefetch_read(buffer);
		prefetch_write(buffer + hdr_len);
	} else {
		prefetch_write(buffer);
		prefetch_write(buffer + RTE_CACHE_LINE_SIZE);
	}
}

TEMPLATE void
to_guest_frame(const struct vnet_conf *conf, const struct rte_mbuf *pkt, uint8_t *buffer,
	       const uint32_t traits)
{
	const struct header header = header_of(pkt, 1, traits);
	const uint8_t *head = rte_pktmbuf_mtod(pkt, const uint8_t *);
	uint8_t *frame = buffer + conf->hdr_len;

	if (to_guest_header_apart(buffer, conf->hdr_len))
		header_refresh(buffer, conf->hdr_len, &header, traits);
	else
		header_write(buffer, conf->hdr_len, &header, traits);
	if (borrow_is(pkt)) {
		if (unlikely(pkt->ol_flags & BORROW_PIECES_FLAG || pkt->data_len != BORROW_HEAD))
			return vnet_to_guest_borrowed(pkt, frame);
		copy_frame(frame, head, BORROW_HEAD);
		copy_frame(frame + BORROW_HEAD, borrow_payload(pkt), pkt->pkt_len - BORROW_HEAD);
	} else {
		copy_frame(frame, head, pkt->pkt_len);
	}
}

TEMPLATE uint16_t
vnet_to_guest_any(struct vnet_queue *queue, const struct vnet_conf *conf, struct port_txq *txq,
		  struct rte_mbuf *const *pkts, uint16_t n, const uint32_t traits)
{
	const uint16_t slow = VRING_DESC_F_NEXT | VRING_DESC_F_INDIRECT;
	const uint32_t hdr_len = conf->hdr_len, frame_max = conf->frame_max;
	struct virtq *vq = &queue->to_guest;
	struct vnet_buffers buffers;
	uint8_t *buffer[VIRTQ_FETCH_MAX];
	uint64_t gpa[VIRTQ_FETCH_MAX];
	uint32_t written[VIRTQ_FETCH_MAX];
	uint16_t n_first, n_written = 0, n_sent = 0;
	uint64_t bytes = 0;

	buffers.at = vq->avail;
	buffers.next = 0;
	buffers.moved = false;
	n_first = buffers.n = virtq_fetch(vq, &conf->virtq, &buffers.at, buffers.elems, n, traits);
	if (buffers.n == 0) {
		port_tx_count_drop(txq, virtq_is_broken(vq) ? DROP_BROKEN : DROP_NO_BUFFER, pkts, n);
		return 0;
	}

	/* Translate the addresses of all buffers and prefetch their first lines for writing. */
	for (uint16_t i = 0; i < buffers.n; i++) {
		const struct virtq_elem *elem = &buffers.elems[i];

		buffer[i] = NULL;
		if (likely_true((elem->flags & VRING_DESC_F_WRITE) && !(elem->flags & slow)))
			buffer[i] = gmem_va(conf->virtq.mem, &conf->virtq.hot, elem->addr, elem->len);
		if (likely_true(buffer[i] != NULL))
			to_guest_prefetch(buffer[i], hdr_len);
		rte_prefetch0(rte_pktmbuf_mtod(pkts[i], const void *));
	}
	if (buffers.n == VIRTQ_FETCH_MAX)
		virtq_prefetch_next(vq, &conf->virtq, buffers.at, traits);
	for (uint16_t i = 0; i < n; i++) {
		const struct rte_mbuf *pkt = pkts[i];
		const uint32_t len = pkt->pkt_len;
		const uint16_t k = buffers.next;

		if (likely_true(k < n_first && !buffers.moved && buffer[k] && pkt->nb_segs == 1 &&
				len <= frame_max && hdr_len + len <= buffers.elems[k].len)) {
			to_guest_frame(conf, pkt, buffer[k], traits);
			if (traits & TRAIT_LOG) {
				gpa[n_written] = buffers.elems[k].addr;
				written[n_written++] = hdr_len + len;
			}
			virtq_retire(vq, &conf->virtq, &buffers.elems[k], hdr_len + len, traits);
			buffers.next++;
		} else if (!vnet_to_guest_frame(queue, conf, txq, pkt, &buffers)) {
			continue;
		}
		bytes += len;
		n_sent++;
	}
	/* Malformed buffers may have been returned although no frame was sent. */
	if (likely_true(vq->batch != 0)) {
		virtq_publish(vq, &conf->virtq, traits);
		for (uint16_t i = 0; traits & TRAIT_LOG && i < n_written; i++)
			gmem_log_mark(conf->virtq.log, gpa[i], written[i]);
		virtq_notify(vq, &conf->virtq, n_sent);
	}
	counter_add(&txq->stats.packets, n_sent);
	counter_add(&txq->stats.bytes, bytes);
	return n_sent;
}

/*
 * How many of n frames, from the first on, are of one piece and fit their buffers; what will be written to
 * each.
 *
 * This comes before the copying on purpose: a load of several of the lengths, when they go to the ring, would
 * have to wait for all stores that are older than theirs.
 */
static inline uint16_t
to_guest_fitting(struct rte_mbuf *const *pkts, const struct virtq_direct *direct,
		 const struct vnet_conf *conf, uint16_t n, uint32_t ret_written[])
{
	for (uint16_t i = 0; i < n; i++) {
		const struct rte_mbuf *pkt = pkts[i];

		ret_written[i] = conf->hdr_len + pkt->pkt_len;
		if (unlikely(pkt->nb_segs != 1 || pkt->pkt_len > conf->frame_max ||
			     ret_written[i] > direct->len[i]))
			return i;
	}
	return n;
}

enum {
	TO_GUEST_SHORT = 8,  /* frames */
	TO_GUEST_AHEAD = 16, /* frames */
};

/*
 * As many of n frames as there are direct buffers for, in order. *ret_slow: the next frame or buffer is not
 * for us; without that, and with less than n sent, there are no more buffers.
 */
TEMPLATE uint16_t
to_guest_direct(struct vnet_queue *queue, const struct vnet_conf *conf, struct port_txq *txq,
		struct rte_mbuf *const *pkts, uint16_t n, bool *ret_slow, const uint32_t traits)
{
	const struct direct_constraints constraints = {
		.flags = VRING_DESC_F_WRITE, .len_min = conf->hdr_len, .len_max = UINT32_MAX};
	const uint32_t hdr_len = conf->hdr_len;
	struct virtq *vq = &queue->to_guest;
	uint32_t written[VIRTQ_FETCH_MAX] __rte_aligned(64);
	struct virtq_direct direct;
	int n_direct = virtq_fetch_direct(vq, &conf->virtq, &constraints, &direct, n, traits);
	uint16_t n_sent;
	uint64_t bytes = 0;

	*ret_slow = n_direct == DIRECT_SLOW;
	if (unlikely(n_direct <= 0))
		return 0;
	/* As in vnet_from_guest_burst(). */
	for (uint16_t i = 0; i < n_direct && i < TO_GUEST_AHEAD; i++)
		to_guest_prefetch(direct.va[i], hdr_len);
	if (n_direct == VIRTQ_FETCH_MAX)
		virtq_prefetch_next(vq, &conf->virtq,
				    virtq_cursor_after(vq, &conf->virtq, VIRTQ_FETCH_MAX, traits), traits);
	n_sent = to_guest_fitting(pkts, &direct, conf, (uint16_t)n_direct, written);
	*ret_slow = n_sent < n_direct;
	if (unlikely(n_sent == 0))
		return 0;
	for (uint16_t i = 0; i < n_sent; i++) {
		const struct rte_mbuf *pkt = pkts[i];

		if (i + TO_GUEST_AHEAD < n_sent)
			to_guest_prefetch(direct.va[i + TO_GUEST_AHEAD], hdr_len);
		to_guest_frame(conf, pkt, direct.va[i], traits);
		bytes += pkt->pkt_len;
	}
	virtq_retire_direct(vq, &conf->virtq, &direct, written, n_sent, traits);
	virtq_publish(vq, &conf->virtq, traits);
	for (uint16_t i = 0; traits & TRAIT_LOG && i < n_sent; i++)
		gmem_log_mark(conf->virtq.log, gmem_cache_gpa(&conf->virtq.hot, direct.va[i]), written[i]);
	virtq_notify(vq, &conf->virtq, n_sent);
	counter_add(&txq->stats.packets, n_sent);
	counter_add(&txq->stats.bytes, bytes);
	/*
	 * After a short burst there is time, and the next one is likely to be as short: its buffers' lines
	 * can be here before its frames are.
	 */
	if (n_sent <= TO_GUEST_SHORT) {
		n_direct = virtq_peek_direct(vq, &conf->virtq, &constraints, &direct, n_sent, traits);
		for (uint16_t i = 0; i < n_direct; i++)
			to_guest_prefetch(direct.va[i], hdr_len);
	}
	return n_sent;
}

TEMPLATE uint16_t
vnet_to_guest_burst(struct vnet_queue *queue, const struct vnet_conf *conf, struct port_txq *txq,
		    struct rte_mbuf *const *pkts, uint16_t n, const uint32_t traits)
{
	bool slow;
	uint16_t n_sent = to_guest_direct(queue, conf, txq, pkts, n, &slow, traits), more = n_sent;

	/* The ring's end was in the way, or a buffer for the slow path, or the driver made more available
	 * meanwhile. */
	while (unlikely(more && n_sent < n && !slow)) {
		more = to_guest_direct(queue, conf, txq, pkts + n_sent, (uint16_t)(n - n_sent), &slow,
				       traits);
		n_sent = (uint16_t)(n_sent + more);
	}
	if (likely(n_sent == n))
		return n;
	if (slow)
		return (uint16_t)(n_sent + vnet_to_guest_generic(queue, conf, txq, pkts + n_sent,
								 (uint16_t)(n - n_sent)));
	port_tx_count_drop(txq, DROP_NO_BUFFER, pkts + n_sent, (uint16_t)(n - n_sent));
	return n_sent;
}

#endif
