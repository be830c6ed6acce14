/* SPDX-License-Identifier: BSD-3-Clause */
#include "software_offload.h"

#include <stddef.h>

#include <rte_tcp.h>
#include <rte_udp.h>

#include "borrow.h"
#include "checksum.h"
#include "segment.h"

static bool
frame_requests_tcp(const struct rte_mbuf *frame)
{
	return (frame->ol_flags & RTE_MBUF_F_TX_L4_MASK) == RTE_MBUF_F_TX_TCP_CKSUM;
}

/* The frame, or a copy in its place, with its checksum; NULL: no packet buffer, the frame is still the
 * caller's. */
static struct rte_mbuf *
offload_checksum(struct rte_mbuf *frame, struct rte_mempool *pool)
{
	if (unlikely(!borrow_materialise(frame)))
		return NULL;
	if (!frame_is_own(frame)) {
		struct rte_mbuf *copy = rte_pktmbuf_copy(frame, pool, 0, UINT32_MAX);

		if (!copy)
			return NULL;
		rte_pktmbuf_free(frame);
		frame = copy;
	}
	checksum_store(frame, (uint32_t)frame->l2_len + frame->l3_len,
		       frame_requests_tcp(frame) ? offsetof(struct rte_tcp_hdr, cksum)
						 : offsetof(struct rte_udp_hdr, dgram_cksum));
	frame->ol_flags &= ~FRAME_REQUEST_FLAGS;
	return frame;
}

/* --- a burst --- */

/* Frames gathered for the next call of `send`. */
struct offload_burst {
	struct port_txq *txq;
	struct rte_mempool *pool;
	uint32_t capabilities;
	software_offload_send_fn send;
	const void *ctx;
	struct rte_mbuf *pkts[PORT_BURST];
	uint16_t n;
	uint32_t n_sent;
};

static void
burst_flush(struct offload_burst *burst)
{
	if (burst->n)
		burst->n_sent += burst->send(burst->txq, burst->ctx, burst->pkts, burst->n);
	burst->n = 0;
}

static void
burst_add(struct offload_burst *burst, struct rte_mbuf *frame)
{
	burst->pkts[burst->n++] = frame;
	if (burst->n == PORT_BURST)
		burst_flush(burst);
}

static void
burst_add_segments(struct offload_burst *burst, struct rte_mbuf *frame)
{
	struct segmenter segmenter;

	if (unlikely(segment_kind(frame->ol_flags) == SEGMENT_FRAGMENTS && !borrow_materialise(frame))) {
		port_tx_drop(burst->txq, DROP_NO_MBUF, &frame, 1);
		return;
	}
	if (!segment_is_possible(frame, burst->pool)) {
		port_tx_drop(burst->txq, DROP_BAD_OFFLOAD, &frame, 1);
		return;
	}
	segment_start(&segmenter, frame,
		      burst->capabilities & OFFLOAD_BIT(CHECKSUM) ? SEGMENT_CHECKSUM_LEFT
								  : SEGMENT_CHECKSUM_DONE);
	while (segmenter.done < segmenter.payload_len) {
		struct rte_mbuf *segment = segment_next(&segmenter, burst->pool);

		if (!segment) {
			/* What is missing counts as one more frame: the segments made are copies. */
			counter_add(&burst->txq->stats.copies, segmenter.n);
			port_tx_drop(burst->txq, DROP_NO_MBUF, &frame, 1);
			return;
		}
		burst_add(burst, segment);
	}
	counter_add(&burst->txq->stats.copies, segmenter.n - 1u);
	rte_pktmbuf_free(frame);
}

static void
burst_add_checksummed(struct offload_burst *burst, struct rte_mbuf *frame)
{
	struct rte_mbuf *own = offload_checksum(frame, burst->pool);

	if (own)
		burst_add(burst, own);
	else
		port_tx_drop(burst->txq, DROP_NO_MBUF, &frame, 1);
}

uint16_t
port_software_offload(struct port_txq *txq, struct rte_mempool *pool, uint32_t capabilities,
		      struct rte_mbuf **pkts, uint16_t n, software_offload_send_fn send, const void *ctx)
{
	struct offload_burst burst = {
		.txq = txq, .pool = pool, .capabilities = capabilities, .send = send, .ctx = ctx};

	for (uint16_t i = 0; i < n; i++) {
		uint32_t unsupported = frame_offloads(pkts[i]) & ~capabilities;

		if (unsupported && pkts[i]->ol_flags & FRAME_REQUESTS_SEGMENTS)
			burst_add_segments(&burst, pkts[i]);
		else if (unsupported)
			burst_add_checksummed(&burst, pkts[i]);
		else
			burst_add(&burst, pkts[i]);
	}
	burst_flush(&burst);
	/* Short segments can be more than that. */
	return (uint16_t)RTE_MIN(burst.n_sent, (uint32_t)UINT16_MAX);
}
