/* SPDX-License-Identifier: BSD-3-Clause */
#include "mbufs.h"

#include <string.h>

#include "rng.h"
#include "unit.h"

enum { ETHERNET_LEN = 14 };

struct rte_mbuf *
mbufs_make(struct rte_mempool *pool, const uint8_t *bytes, uint32_t len, enum mbufs_cuts cuts)
{
	struct rte_mbuf *head = rte_pktmbuf_alloc(pool), *last = head;
	uint32_t done = 0;

	assert_non_null(head);
	for (;;) {
		uint32_t room = rte_pktmbuf_tailroom(last), now = RTE_MIN(len - done, room);
		uint32_t least = RTE_MIN(done ? 1u : (uint32_t)ETHERNET_LEN, now), spread = now - least + 1;

		if (cuts == MBUFS_MANY_CUTS && done < 300)
			spread = RTE_MIN(spread, 15u);
		if (cuts != MBUFS_WHOLE)
			now = least + rng_below(spread);
		memcpy(rte_pktmbuf_mtod(last, uint8_t *), bytes + done, now);
		last->data_len = (uint16_t)now;
		head->pkt_len += now;
		done += now;
		if (done == len)
			return head;
		last->next = rte_pktmbuf_alloc(pool);
		assert_non_null(last->next);
		last = last->next;
		head->nb_segs++;
	}
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
