/* SPDX-License-Identifier: BSD-3-Clause */
#include "borrow.h"

#include <errno.h>

#include <rte_errno.h>
#include <rte_mbuf_dyn.h>

#include "counter.h"

static int
borrow_flag_register(const char *name, unsigned int bit)
{
	struct rte_mbuf_dynflag flag = {0};

	snprintf(flag.name, sizeof(flag.name), "%s", name);
	if (rte_mbuf_dynflag_register_bitnum(&flag, bit) != (int)bit)
		return rte_errno ? -rte_errno : -EBUSY;
	return 0;
}

int
borrow_init(void)
{
	int ret = borrow_flag_register("vnicd_borrowed", BORROW_FLAG_BIT);

	return ret < 0 ? ret : borrow_flag_register("vnicd_borrowed_pieces", BORROW_PIECES_FLAG_BIT);
}

const uint8_t *
borrow_read(const struct rte_mbuf *pkt, uint32_t offset, uint32_t len, uint8_t copy[])
{
	const struct borrow_piece *piece;
	struct borrow_piece one;
	uint32_t done = 0;

	if (!borrow_is(pkt) || offset + len <= pkt->data_len)
		return rte_pktmbuf_read(pkt, offset, len, copy);
	if (offset < pkt->data_len) {
		done = pkt->data_len - offset;
		memcpy(copy, rte_pktmbuf_mtod_offset(pkt, const uint8_t *, offset), done);
		offset = pkt->data_len;
	}
	offset -= pkt->data_len;
	for (borrow_pieces(pkt, &one, &piece); done < len; piece++) {
		if (offset < piece->len) {
			const uint32_t now = RTE_MIN(len - done, piece->len - offset);

			memcpy(copy + done, piece->va + offset, now);
			done += now;
			offset = 0;
		} else {
			offset -= piece->len;
		}
	}
	return copy;
}

/* Segments of a pool with room for len bytes, linked; NULL: not as many are free. */
static struct rte_mbuf *
borrow_segments(struct rte_mempool *pool, uint32_t len, uint16_t *ret_n)
{
	const uint32_t room = (uint32_t)rte_pktmbuf_data_room_size(pool) - RTE_PKTMBUF_HEADROOM;
	const uint32_t n = (len + room - 1) / room;
	struct rte_mbuf *first = NULL;

	for (uint32_t i = 0; i < n; i++) {
		struct rte_mbuf *segment = rte_pktmbuf_alloc(pool);

		if (unlikely(!segment)) {
			rte_pktmbuf_free(first);
			return NULL;
		}
		segment->next = first;
		first = segment;
	}
	*ret_n = (uint16_t)n;
	return first;
}

/* Copy a piece to the end of *to, and on to the segments behind it. */
static void
borrow_append(struct rte_mbuf **to, const uint8_t *from, uint32_t len)
{
	while (len) {
		const uint32_t left = rte_pktmbuf_tailroom(*to), now = RTE_MIN(len, left);

		memcpy(rte_pktmbuf_mtod_offset(*to, uint8_t *, (*to)->data_len), from, now);
		(*to)->data_len = (uint16_t)((*to)->data_len + now);
		from += now;
		len -= now;
		if (len)
			*to = (*to)->next;
	}
}

bool
borrow_materialise_pieces(struct rte_mbuf *pkt)
{
	const struct borrow_pieces *listed = borrow_pieces_of(pkt);
	const uint32_t room = rte_pktmbuf_tailroom(pkt), len = pkt->pkt_len - pkt->data_len;
	struct borrow_piece pieces[BORROW_PIECES_MAX];
	const uint16_t n = (uint16_t)listed->n;
	struct rte_mbuf *to = pkt;

	if (len > room) {
		uint16_t n_more;
		struct rte_mbuf *more = borrow_segments(pkt->pool, len - room, &n_more);

		if (!more)
			return false;
		pkt->next = more;
		pkt->nb_segs = (uint16_t)(1 + n_more);
	}
	/* The payload is copied to where they are listed. */
	memcpy(pieces, listed->at, n * sizeof(pieces[0]));
	for (uint16_t i = 0; i < n; i++)
		borrow_append(&to, pieces[i].va, pieces[i].len);
	pkt->ol_flags &= ~(BORROW_FLAG | BORROW_PIECES_FLAG);
	return true;
}

struct rte_mbuf *
borrow_copy(const struct rte_mbuf *pkt, struct rte_mempool *pool)
{
	const struct borrow_piece *pieces;
	struct borrow_piece one;
	const uint16_t n = borrow_pieces(pkt, &one, &pieces);
	uint16_t n_segs;
	struct rte_mbuf *copy = borrow_segments(pool, pkt->pkt_len, &n_segs), *to = copy;

	if (!copy)
		return NULL;
	copy->nb_segs = n_segs;
	copy->pkt_len = pkt->pkt_len;
	copy->port = pkt->port;
	copy->packet_type = pkt->packet_type;
	copy->vlan_tci = pkt->vlan_tci;
	copy->hash = pkt->hash;
	copy->tx_offload = borrow_is_in_pieces(pkt) ? pkt->tx_offload : 0;
	copy->ol_flags = pkt->ol_flags & ~(BORROW_FLAG | BORROW_PIECES_FLAG);
	borrow_append(&to, rte_pktmbuf_mtod(pkt, const uint8_t *), pkt->data_len);
	for (uint16_t i = 0; i < n; i++)
		borrow_append(&to, pieces[i].va, pieces[i].len);
	return copy;
}

uint16_t
borrow_materialise_rest(struct rte_mbuf **pkts, uint16_t i, uint16_t n, uint64_t *drops)
{
	uint16_t n_kept = i;

	for (; i < n; i++) {
		if (likely(borrow_materialise(pkts[i])))
			pkts[n_kept++] = pkts[i];
		else
			rte_pktmbuf_free(pkts[i]);
	}
	if (unlikely(n_kept < n))
		counter_add(drops, n - n_kept);
	return n_kept;
}
