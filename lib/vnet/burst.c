/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * burst: the slow path of from_guest.h and to_guest.h: chains that are not one direct buffer, frames that are
 * not one single-segment mbuf, and all errors. Traits are read at run time; the common case never comes here.
 */
#include <rte_mbuf.h>

#include "copy.h"
#include "from_guest.h"
#include "header.h"
#include "prefetch.h"
#include "ring.h"
#include "to_guest.h"
#include "vnet.h"

/* --- from the guest --- */

/* Walks a chain's pieces from the first byte to the last. */
struct burst_reader {
	const struct virtq_seg *seg;
	uint32_t offset;
};

static void
burst_read(struct burst_reader *reader, uint8_t *to, uint32_t len)
{
	while (len) {
		uint32_t left = reader->seg->len - reader->offset;
		uint32_t now = len < left ? len : left;

		copy_frame(to, reader->seg->va + reader->offset, now);
		to += now;
		len -= now;
		reader->offset += now;
		if (reader->offset == reader->seg->len) {
			reader->seg++;
			reader->offset = 0;
		}
	}
}

/* The frame into `first` and as many more mbufs as it takes. NULL: no packet buffer was free; `first` is
 * untouched. */
static struct rte_mbuf *
burst_mbufs_fill(struct rte_mempool *pool, struct rte_mbuf *first, struct burst_reader *reader, uint32_t len)
{
	const uint32_t room = rte_pktmbuf_data_room_size(pool) - RTE_PKTMBUF_HEADROOM;
	struct rte_mbuf *last = first;

	from_guest_mbuf_set(first, len);
	for (;;) {
		uint32_t now = len < room ? len : room;

		burst_read(reader, rte_pktmbuf_mtod(last, uint8_t *), now);
		last->data_len = (uint16_t)now;
		len -= now;
		if (len == 0)
			return first;
		last->next = rte_pktmbuf_alloc(pool);
		if (!last->next) {
			rte_pktmbuf_free(first->next);
			first->next = NULL;
			first->nb_segs = 1;
			return NULL;
		}
		last = last->next;
		first->nb_segs++;
	}
}

/*
 * Are there packet buffers to materialise a frame of len bytes as well? Without, it is better left in the
 * ring: a frame that is borrowed and has to be materialised then is lost. What is counted here is reserved
 * for nobody; other workers may take it.
 */
static bool
burst_may_borrow(struct rte_mempool *pool, uint32_t len, struct vnet_spare *spare)
{
	const uint32_t room = (uint32_t)rte_pktmbuf_data_room_size(pool) - RTE_PKTMBUF_HEADROOM;
	/* A frame that is copied after all has taken them, which comes to the same. */
	const uint32_t need = spare->promised + (len - 1) / room;

	/* First what costs little to ask. */
	if (need > spare->n && spare->known == VNET_SPARE_NONE) {
		const struct rte_mempool_cache *cache = rte_mempool_default_cache(pool, rte_lcore_id());

		spare->n = cache ? cache->len : 0;
		spare->known = VNET_SPARE_CACHE;
	}
	if (need > spare->n && spare->known == VNET_SPARE_CACHE) {
		spare->n = rte_mempool_avail_count(pool);
		spare->known = VNET_SPARE_POOL;
	}
	if (unlikely(need > spare->n))
		return false;
	spare->promised = need;
	return true;
}

/*
 * Borrow the frame of len bytes, BORROW_MIN or more, that the reader is at the beginning of: copy its head,
 * and list the pieces that follow. False: they are too many; `pkt` is as before.
 */
static bool
burst_borrow(struct rte_mbuf *pkt, const struct virtq_chain *chain, struct burst_reader *reader, uint32_t len)
{
	struct borrow_pieces *pieces = borrow_pieces_of(pkt);
	uint32_t left = len - BORROW_HEAD;
	uint16_t n = 0;

	if (unlikely(chain->n_segs > BORROW_PIECES_MAX))
		return false;
	from_guest_mbuf_set(pkt, len);
	burst_read(reader, rte_pktmbuf_mtod(pkt, uint8_t *), BORROW_HEAD);
	for (; left; reader->seg++, reader->offset = 0) {
		const uint32_t now = RTE_MIN(left, reader->seg->len - reader->offset);

		pieces->at[n++] = (struct borrow_piece){.va = reader->seg->va + reader->offset, .len = now};
		left -= now;
	}
	pieces->n = n;
	borrow_start_pieces(pkt);
	return true;
}

bool
vnet_from_guest_request(const struct vnet_conf *conf, struct port_rxq *rxq, const struct virtio_net_hdr *hdr,
			struct rte_mbuf *pkt)
{
	if (likely_true(vnet_offload_from_guest(pkt, hdr, conf->offloads) == VNET_OFFLOAD_TAKEN))
		return true;
	port_rx_drop(rxq, DROP_BAD_OFFLOAD, &pkt, 1);
	return false;
}

static enum vnet_took
burst_no_mbuf(struct vnet_queue *queue)
{
	counter_add(&queue->from_guest.no_mbuf, 1);
	return VNET_TOOK_NONE;
}

enum vnet_took
vnet_from_guest_chain(struct vnet_queue *queue, const struct vnet_conf *conf, struct port_rxq *rxq,
		      const struct virtq_elem *elem, struct rte_mbuf *first, struct vnet_spare *spare,
		      struct rte_mbuf **ret_pkt)
{
	enum port_drop reason = DROP_MALFORMED;
	struct burst_reader reader, start;
	uint8_t header[HEADER_LEN_MAX];
	const uint8_t *header_at;
	struct virtio_net_hdr hdr;
	struct virtq_chain chain;
	bool may_borrow;
	uint32_t len;

	switch (virtq_walk(&queue->from_guest, &conf->virtq, elem, &chain)) {
	case VIRTQ_WALK_OK:
		break;
	case VIRTQ_WALK_BAD:
		goto drop;
	case VIRTQ_WALK_LONG:
		reason = DROP_CHAIN_LONG;
		goto drop;
	case VIRTQ_WALK_BROKEN:
		return VNET_TOOK_NONE;
	}
	if (chain.writable_len || chain.readable_len <= conf->hdr_len)
		goto drop;
	len = chain.readable_len - conf->hdr_len;
	if (len < RTE_ETHER_HDR_LEN || len > PORT_FRAME_MAX) {
		reason = len < RTE_ETHER_HDR_LEN ? DROP_RUNT : DROP_OVERSIZE;
		goto drop;
	}
	reader = (struct burst_reader){.seg = chain.segs};
	if (likely(chain.segs[0].len >= conf->hdr_len)) {
		header_at = chain.segs[0].va;
		reader.offset = conf->hdr_len;
		if (reader.offset == chain.segs[0].len)
			reader = (struct burst_reader){.seg = chain.segs + 1};
	} else {
		burst_read(&reader, header, conf->hdr_len);
		header_at = header;
	}
	hdr = conf->virtq.traits & TRAIT_OFFLOAD ? header_read(header_at) : (struct virtio_net_hdr){0};
	start = reader;
	may_borrow = len >= BORROW_MIN && queue->borrows_pieces;
	if (may_borrow && !burst_may_borrow(queue->pool, len, spare)) {
		/* A copy would take what is promised to frames of this burst. */
		if (spare->promised)
			return burst_no_mbuf(queue);
		may_borrow = false;
	}
	if (may_borrow && burst_borrow(first, &chain, &reader, len)) {
		*ret_pkt = first;
		switch (vnet_offload_requested(&hdr) ? vnet_offload_from_guest(first, &hdr, conf->offloads)
						     : VNET_OFFLOAD_TAKEN) {
		case VNET_OFFLOAD_TAKEN:
			rxq->borrowed = true;
			return VNET_TOOK_FRAME;
		case VNET_OFFLOAD_REFUSED:
			reason = DROP_BAD_OFFLOAD;
			goto drop;
		case VNET_OFFLOAD_NEEDS_WHOLE:
			break;
		}
		reader = start;
	}
	*ret_pkt = burst_mbufs_fill(queue->pool, first, &reader, len);
	if (!*ret_pkt)
		return burst_no_mbuf(queue);
	if (vnet_offload_requested(&hdr) && !vnet_from_guest_request(conf, rxq, &hdr, *ret_pkt))
		return VNET_TOOK_DROP;
	return VNET_TOOK_FRAME;

drop:
	port_rx_count_drop(rxq, reason, NULL, 1);
	rte_mempool_put(queue->pool, first);
	return VNET_TOOK_DROP;
}

/* --- to the guest --- */

enum {
	BURST_SPAN_MAX = 128, /* buffers that one frame may take */
	/* Pieces of guest memory that one frame may take: the longest chain's, at least. */
	BURST_PIECES_MAX = VIRTQ_SEGS_MAX,
};

/* The buffers chosen for one frame. */
struct burst_span {
	struct virtq_elem elems[BURST_SPAN_MAX];
	uint32_t room[BURST_SPAN_MAX]; /* writable bytes of each */
	uint16_t n;
	struct virtq_seg pieces[BURST_PIECES_MAX];
	uint16_t n_pieces;
	uint64_t total;
};

/* The next available chain, which stays in `buffers`; NULL: there is none. */
static const struct virtq_elem *
burst_next(struct virtq *vq, const struct vnet_conf *conf, struct vnet_buffers *buffers, uint16_t n_taken)
{
	if (buffers->next + n_taken == buffers->n) {
		uint16_t n;

		if (buffers->n + VIRTQ_FETCH_MAX > VNET_BUFFERS_MAX) {
			buffers->n = (uint16_t)(buffers->n - buffers->next);
			memmove(buffers->elems, buffers->elems + buffers->next,
				buffers->n * sizeof(buffers->elems[0]));
			buffers->next = 0;
			buffers->moved = true;
		}
		n = virtq_fetch(vq, &conf->virtq, &buffers->at, buffers->elems + buffers->n, VIRTQ_FETCH_MAX,
				conf->virtq.traits);
		if (n == 0)
			return NULL;
		buffers->n = (uint16_t)(buffers->n + n);
	}
	return &buffers->elems[buffers->next + n_taken];
}

/* Retire the span's buffers, and remove them from `buffers`. */
static void
burst_give(struct virtq *vq, const struct vnet_conf *conf, struct vnet_buffers *buffers,
	   const struct burst_span *span, uint64_t written)
{
	for (uint16_t i = 0; i < span->n; i++) {
		uint32_t len = written < span->room[i] ? (uint32_t)written : span->room[i];

		virtq_retire(vq, &conf->virtq, &span->elems[i], len, conf->virtq.traits);
		written -= len;
	}
	buffers->next = (uint16_t)(buffers->next + span->n);
}

/* Add to the span those segments of the chain that a frame of `need` bytes takes. */
static bool
burst_span_add(struct burst_span *span, const struct virtq_elem *elem, const struct virtq_chain *chain,
	       uint32_t need)
{
	uint64_t total = span->total;

	for (uint16_t i = 0; i < chain->n_segs && total < need; i++) {
		if (span->n_pieces == BURST_PIECES_MAX)
			return false;
		span->pieces[span->n_pieces++] = chain->segs[i];
		total += chain->segs[i].len;
	}
	span->elems[span->n] = *elem;
	span->room[span->n] = chain->writable_len;
	span->total += chain->writable_len;
	span->n++;
	return true;
}

/* The same for a buffer of one descriptor in one piece. False: it is not one, or is wrong in some way. */
static bool
burst_span_add_direct(struct burst_span *span, const struct vnet_conf *conf, const struct virtq_elem *elem)
{
	const uint16_t flags = elem->flags & (VRING_DESC_F_NEXT | VRING_DESC_F_INDIRECT | VRING_DESC_F_WRITE);
	uint8_t *va;

	if (flags != VRING_DESC_F_WRITE || elem->len < conf->hdr_len || span->n_pieces == BURST_PIECES_MAX)
		return false;
	va = gmem_va(conf->virtq.mem, &conf->virtq.hot, elem->addr, elem->len);
	if (!va)
		return false;
	prefetch_write(va);
	span->pieces[span->n_pieces++] = (struct virtq_seg){.va = va, .gpa = elem->addr, .len = elem->len};
	span->elems[span->n] = *elem;
	span->room[span->n++] = elem->len;
	span->total += elem->len;
	return true;
}

static bool
burst_is_useless(enum port_drop reason)
{
	return reason == DROP_MALFORMED || reason == DROP_CHAIN_LONG;
}

/*
 * Choose buffers for `need` bytes. DROP_N: done. Otherwise the reason to drop the frame, and the span is not
 * to be retired, except if burst_is_useless(): the malformed chain and those before it, with length 0.
 */
static enum port_drop
burst_gather(struct virtq *vq, const struct vnet_conf *conf, struct vnet_buffers *buffers, uint32_t need,
	     struct burst_span *span)
{
	while (span->total < need) {
		const struct virtq_elem *elem;
		struct virtq_chain chain;
		enum virtq_walk walked;

		if (span->n && (!(conf->virtq.traits & TRAIT_MERGEABLE) || span->n == BURST_SPAN_MAX))
			return DROP_TOO_LONG;
		elem = burst_next(vq, conf, buffers, span->n);
		if (!elem)
			return virtq_is_broken(vq) ? DROP_BROKEN : DROP_NO_BUFFER;
		if (burst_span_add_direct(span, conf, elem))
			continue;
		walked = virtq_walk(vq, &conf->virtq, elem, &chain);
		if (walked == VIRTQ_WALK_BROKEN)
			return DROP_BROKEN;
		if (walked != VIRTQ_WALK_OK || chain.n_readable || chain.writable_len < conf->hdr_len) {
			span->elems[span->n] = *elem;
			span->room[span->n++] = 0;
			return walked == VIRTQ_WALK_LONG ? DROP_CHAIN_LONG : DROP_MALFORMED;
		}
		if (!burst_span_add(span, elem, &chain, need))
			return DROP_TOO_LONG;
	}
	return DROP_N;
}

/* Write len bytes at *piece, *offset, which move on. */
static void
burst_write(const struct virtq_seg **piece, uint32_t *offset, const uint8_t *from, uint32_t len)
{
	while (len) {
		uint32_t left = (*piece)->len - *offset;
		uint32_t now = len < left ? len : left;

		copy_piece((*piece)->va + *offset, from, now);
		from += now;
		len -= now;
		*offset += now;
		if (*offset == (*piece)->len) {
			(*piece)++;
			*offset = 0;
		}
	}
}

static void
burst_write_frame(const struct virtq_seg *piece, uint32_t offset, const struct rte_mbuf *pkt)
{
	const struct borrow_piece *from;
	struct borrow_piece one;
	uint16_t n;

	if (!borrow_is(pkt)) {
		for (; pkt; pkt = pkt->next)
			burst_write(&piece, &offset, rte_pktmbuf_mtod(pkt, const uint8_t *), pkt->data_len);
		return;
	}
	burst_write(&piece, &offset, rte_pktmbuf_mtod(pkt, const uint8_t *), pkt->data_len);
	n = borrow_pieces(pkt, &one, &from);
	for (uint16_t i = 0; i < n; i++)
		burst_write(&piece, &offset, from[i].va, from[i].len);
}

void
vnet_to_guest_borrowed(const struct rte_mbuf *pkt, uint8_t *to)
{
	const struct borrow_piece *pieces;
	struct borrow_piece one;
	const uint16_t n = borrow_pieces(pkt, &one, &pieces);

	copy_frame(to, rte_pktmbuf_mtod(pkt, const uint8_t *), pkt->data_len);
	to += pkt->data_len;
	for (uint16_t i = 0; i < n; i++) {
		copy_piece(to, pieces[i].va, pieces[i].len);
		to += pieces[i].len;
	}
}

/* Mark the span's first `written` bytes in the dirty log. */
static void
burst_log(const struct vnet_conf *conf, const struct burst_span *span, uint32_t written)
{
	gmem_log_fence();
	for (uint16_t i = 0; i < span->n_pieces && written; i++) {
		uint32_t len = RTE_MIN(written, span->pieces[i].len);

		gmem_log_mark(conf->virtq.log, span->pieces[i].gpa, len);
		written -= len;
	}
}

/* The MTU limits frames on a wire; a frame that the guest accepts unsegmented (TSO) may be longer. */
static uint32_t
burst_frame_max(const struct vnet_conf *conf, const struct rte_mbuf *pkt)
{
	if (conf->virtq.traits & TRAIT_OFFLOAD && pkt->ol_flags & FRAME_REQUESTS_SEGMENTS)
		return PORT_FRAME_MAX;
	return conf->frame_max;
}

bool
vnet_to_guest_frame(struct vnet_queue *queue, const struct vnet_conf *conf, struct port_txq *txq,
		    const struct rte_mbuf *pkt, struct vnet_buffers *buffers)
{
	const uint32_t need = conf->hdr_len + pkt->pkt_len;
	struct virtq *vq = &queue->to_guest;
	uint8_t bytes[HEADER_LEN_MAX];
	struct header header;
	const struct virtq_seg *piece;
	struct burst_span span;
	enum port_drop reason;
	uint32_t offset = 0;

	span.n = span.n_pieces = 0;
	span.total = 0;
	if (virtq_is_broken(vq))
		reason = DROP_BROKEN;
	else if (pkt->pkt_len > burst_frame_max(conf, pkt))
		reason = DROP_TOO_LONG;
	else
		reason = burst_gather(vq, conf, buffers, need, &span);
	if (reason != DROP_N) {
		port_tx_count_drop(txq, reason, &(struct rte_mbuf *){(struct rte_mbuf *)(uintptr_t)pkt}, 1);
		/* Other chains that were read stay in the ring. */
		if (burst_is_useless(reason))
			burst_give(vq, conf, buffers, &span, 0);
		return false;
	}

	header = header_of(pkt, span.n, conf->virtq.traits);
	piece = span.pieces;
	if (likely(piece->len > conf->hdr_len)) {
		header_write(piece->va, conf->hdr_len, &header, conf->virtq.traits);
		offset = conf->hdr_len;
	} else {
		header_write(bytes, conf->hdr_len, &header, conf->virtq.traits);
		burst_write(&piece, &offset, bytes, conf->hdr_len);
	}
	burst_write_frame(piece, offset, pkt);
	if (conf->virtq.log)
		burst_log(conf, &span, need);
	burst_give(vq, conf, buffers, &span, need);
	return true;
}

/* --- whole bursts --- */

uint16_t
vnet_from_guest_later(struct vnet_queue *queue, const struct vnet_conf *conf, struct port_rxq *rxq,
		      struct rte_mbuf **pkts, uint16_t n)
{
	(void)queue, (void)conf, (void)rxq, (void)pkts, (void)n;
	return 0;
}

uint16_t
vnet_from_guest_generic(struct vnet_queue *queue, const struct vnet_conf *conf, struct port_rxq *rxq,
			struct rte_mbuf **pkts, uint16_t n)
{
	return vnet_from_guest_any(queue, conf, rxq, pkts, n, conf->virtq.traits);
}

uint16_t
vnet_to_guest_generic(struct vnet_queue *queue, const struct vnet_conf *conf, struct port_txq *txq,
		      struct rte_mbuf *const *pkts, uint16_t n)
{
	return vnet_to_guest_any(queue, conf, txq, pkts, n, conf->virtq.traits);
}
