/* SPDX-License-Identifier: BSD-3-Clause */
#include "mbufs.h"

#include <string.h>

#include "borrow.h"
#include "rng.h"
#include "unit.h"

enum { ETHERNET_LEN = 14 };

static uint32_t
segment_room(struct rte_mempool *pool)
{
	return (uint32_t)rte_pktmbuf_data_room_size(pool) - RTE_PKTMBUF_HEADROOM;
}

/* One more segment for the packet; the packet itself where there is none yet. */
static struct rte_mbuf *
segment_add(struct rte_mempool *pool, struct rte_mbuf *head, const uint8_t *bytes, uint32_t len)
{
	struct rte_mbuf *segment = rte_pktmbuf_alloc(pool);

	assert_non_null(segment);
	memcpy(rte_pktmbuf_append(segment, (uint16_t)len), bytes, len);
	if (!head)
		return segment;
	assert_int_equal(rte_pktmbuf_chain(head, segment), 0);
	return head;
}

static struct rte_mbuf *
frame_borrow(struct rte_mempool *pool, const uint8_t *bytes, uint32_t len)
{
	struct rte_mbuf *pkt = segment_add(pool, NULL, bytes, BORROW_HEAD);
	struct borrow_pieces *pieces = borrow_pieces_of(pkt);
	uint32_t at = BORROW_HEAD, n = 0;

	while (at < len) {
		const uint32_t left = len - at;
		const uint32_t now = n + 1 == BORROW_PIECES_MAX ? left : 1 + rng_below(RTE_MIN(left, 8000u));

		pieces->at[n++] = (struct borrow_piece){.va = bytes + at, .len = now};
		at += now;
	}
	pieces->n = n;
	pkt->pkt_len = len;
	borrow_start_pieces(pkt);
	return pkt;
}

struct rte_mbuf *
mbufs_make(struct rte_mempool *pool, const uint8_t *bytes, uint32_t len, enum mbufs_cuts cuts)
{
	const uint32_t room = segment_room(pool);
	struct rte_mbuf *head = NULL;
	uint32_t done = 0;

	if (cuts == MBUFS_BORROWED && len > BORROW_HEAD)
		return frame_borrow(pool, bytes, len);
	do {
		uint32_t now = RTE_MIN(len - done, room);
		uint32_t least = RTE_MIN(done ? 1u : (uint32_t)ETHERNET_LEN, now), spread = now - least + 1;

		if (cuts == MBUFS_MANY_CUTS && done < 300)
			spread = RTE_MIN(spread, 15u);
		if (cuts != MBUFS_WHOLE)
			now = least + rng_below(spread);
		head = segment_add(pool, head, bytes + done, now);
		done += now;
	} while (done < len);
	return head;
}

struct rte_mbuf *
mbufs_pieces(struct rte_mempool *pool, const uint8_t *bytes, uint32_t len, uint32_t piece)
{
	const uint32_t most = RTE_MIN(piece, segment_room(pool));
	struct rte_mbuf *head = NULL;

	for (uint32_t done = 0; done < len; done += most)
		head = segment_add(pool, head, bytes + done, RTE_MIN(len - done, most));
	return head;
}

void
mbufs_read(const struct rte_mbuf *pkt, struct packet *packet)
{
	packet->len = 0;
	for (; pkt; pkt = pkt->next)
		packet_add(packet, rte_pktmbuf_mtod(pkt, void *), pkt->data_len);
}

bool
mbufs_equal(const struct rte_mbuf *pkt, const uint8_t *bytes, uint32_t len)
{
	uint32_t at = 0;

	if (pkt->pkt_len != len)
		return false;
	for (; pkt; at += pkt->data_len, pkt = pkt->next)
		if (pkt->data_len > len - at ||
		    memcmp(rte_pktmbuf_mtod(pkt, void *), bytes + at, pkt->data_len) != 0)
			return false;
	return at == len;
}

struct search {
	const struct rte_mempool *wanted;
	bool found;
};

static void
search_one(struct rte_mempool *one, void *arg)
{
	struct search *search = arg;

	search->found |= one == search->wanted;
}

bool
mbufs_pool_is_alive(const struct rte_mempool *wanted)
{
	struct search search = {.wanted = wanted};

	rte_mempool_walk(search_one, &search);
	return search.found;
}
