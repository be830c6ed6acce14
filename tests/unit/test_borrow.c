/* SPDX-License-Identifier: BSD-3-Clause */
/* test_borrow: frames borrowed in one piece and in several (borrow.h): read, copied and materialised, of all
 * lengths, and when no packet buffers are free. */
#include "unit.h"

#include <string.h>

#include <rte_ether.h>
#include <rte_mempool.h>

#include "borrow.h"
#include "rng.h"
#include "unit_eal.h"

enum { POOL_N = 63, ROOM = RTE_MBUF_DEFAULT_BUF_SIZE - RTE_PKTMBUF_HEADROOM, LEN_MAX = 65549, ROUNDS = 3000 };

static struct rte_mempool *pool;
static uint8_t guest[LEN_MAX];
static struct rng rng;

static uint32_t
some(uint32_t least, uint32_t most)
{
	return least + rng_draw(&rng, most - least + 1);
}

static uint8_t
byte_of(uint32_t at)
{
	return (uint8_t)(at * 7 + (at >> 8) * 13);
}

/* A borrowed frame of len bytes in n_pieces pieces of chance; 0: by the form for one piece. */
static struct rte_mbuf *
borrowed(uint32_t len, uint32_t n_pieces)
{
	struct rte_mbuf *pkt = rte_pktmbuf_alloc(pool);
	struct borrow_pieces *pieces;
	uint32_t at = BORROW_HEAD;

	assert_non_null(pkt);
	assert_true(borrow_fits(pool));
	memcpy(rte_pktmbuf_mtod(pkt, void *), guest, BORROW_HEAD);
	pkt->pkt_len = len;
	if (n_pieces == 0) {
		borrow_start(pkt, guest);
		return pkt;
	}
	pieces = borrow_pieces_of(pkt);
	for (uint32_t i = 0; i < n_pieces; i++) {
		const uint32_t most = len - at - (n_pieces - 1 - i);
		const uint32_t now = i + 1 == n_pieces ? most : some(1, RTE_MIN(most, 4096u));

		pieces->at[i] = (struct borrow_piece){.va = guest + at, .len = now};
		at += now;
	}
	pieces->n = n_pieces;
	pkt->tx_offload = 0;
	pkt->l2_len = RTE_ETHER_HDR_LEN;
	pkt->ol_flags |= RTE_MBUF_F_TX_TCP_CKSUM;
	borrow_start_pieces(pkt);
	return pkt;
}

static uint32_t
some_pieces(uint32_t len)
{
	return some(1, RTE_MIN((uint32_t)BORROW_PIECES_MAX, len - BORROW_HEAD));
}

/* An ordinary frame with all bytes. */
static void
assert_whole(const struct rte_mbuf *pkt, uint32_t len, bool in_pieces)
{
	static uint8_t copy[LEN_MAX];
	const uint8_t *bytes = rte_pktmbuf_read(pkt, 0, len, copy);

	assert_false(borrow_is(pkt) || borrow_is_in_pieces(pkt));
	rte_mbuf_sanity_check(pkt, 1);
	assert_int_equal(rte_pktmbuf_pkt_len(pkt), len);
	assert_non_null(bytes);
	assert_memory_equal(bytes, guest, len);
	assert_int_equal(pkt->tx_offload, in_pieces ? RTE_ETHER_HDR_LEN : 0);
	assert_int_equal(pkt->ol_flags, in_pieces ? RTE_MBUF_F_TX_TCP_CKSUM : 0);
}

static uint32_t
some_len(unsigned int round)
{
	static const uint32_t edges[] = {BORROW_HEAD + 1, BORROW_MIN,   ROOM - 1, ROOM,   ROOM + 1,
					 2 * ROOM,        2 * ROOM + 1, 9000,     LEN_MAX};

	return round < RTE_DIM(edges) ? edges[round] : some(BORROW_HEAD + 1, LEN_MAX);
}

static void
test_materialise(void **state)
{
	for (unsigned int i = 0; i < ROUNDS; i++) {
		const uint32_t len = some_len(i);
		struct rte_mbuf *pkt = borrowed(len, some_pieces(len));

		assert_true(borrow_materialise(pkt));
		assert_whole(pkt, len, true);
		assert_true(borrow_materialise(pkt));
		rte_pktmbuf_free(pkt);
	}
	for (uint32_t len = BORROW_HEAD + 1; len <= ROOM; len++) {
		struct rte_mbuf *pkt = borrowed(len, 0);

		assert_true(borrow_materialise(pkt));
		assert_whole(pkt, len, false);
		rte_pktmbuf_free(pkt);
	}
	assert_int_equal(rte_mempool_avail_count(pool), POOL_N);
}

static void
test_copy(void **state)
{
	for (unsigned int i = 0; i < ROUNDS; i++) {
		const uint32_t len = some_len(i);
		const bool in_pieces = len > ROOM || i % 2;
		struct rte_mbuf *pkt = borrowed(len, in_pieces ? some_pieces(len) : 0);
		struct rte_mbuf *copy = borrow_copy(pkt, pool);

		assert_non_null(copy);
		assert_whole(copy, len, in_pieces);
		assert_true(borrow_is(pkt));
		rte_pktmbuf_free(copy);
		rte_pktmbuf_free(pkt);
	}
	assert_int_equal(rte_mempool_avail_count(pool), POOL_N);
}

static void
test_read(void **state)
{
	static uint8_t copy[LEN_MAX];

	for (unsigned int i = 0; i < ROUNDS; i++) {
		const uint32_t len = some_len(i);
		struct rte_mbuf *pkt = borrowed(len, len > ROOM || i % 2 ? some_pieces(len) : 0);
		const uint32_t at = some(0, len - 1), n = some(1, len - at);
		const uint8_t *bytes = borrow_read(pkt, at, n, copy);

		assert_non_null(bytes);
		assert_memory_equal(bytes, guest + at, n);
		assert_true(borrow_is(pkt));
		rte_pktmbuf_free(pkt);
	}
}

/* A tag was put in front, or taken off: the head is longer or shorter, and the pieces are found. */
static void
test_other_heads(void **state)
{
	for (int by = -4; by <= 4; by += 8) {
		struct rte_mbuf *pkt = borrowed(3000, 7);
		uint8_t copy[3004];
		const uint8_t *bytes;

		if (by > 0)
			memset(rte_pktmbuf_prepend(pkt, 4), 0xee, 4);
		else
			rte_pktmbuf_adj(pkt, 4);
		assert_true(borrow_materialise(pkt));
		assert_int_equal(rte_pktmbuf_pkt_len(pkt), 3000 + by);
		bytes = rte_pktmbuf_read(pkt, 0, (uint32_t)(3000 + by), copy);
		assert_non_null(bytes);
		assert_memory_equal(bytes + RTE_MAX(by, 0), guest + RTE_MAX(-by, 0), 2996);
		rte_pktmbuf_free(pkt);
	}
}

/* Without packet buffers the frame stays as it is, and in a burst only it is lost, and counted. */
static void
test_no_mbufs(void **state)
{
	struct rte_mbuf *taken[POOL_N], *pkts[] = {borrowed(9000, 5), borrowed(1000, 9), borrowed(1000, 0),
						   borrowed(4000, 3), rte_pktmbuf_alloc(pool)};
	const unsigned int n_free = rte_mempool_avail_count(pool) - 1;
	uint64_t drops = 0;

	rte_pktmbuf_append(pkts[4], 60);
	assert_int_equal(rte_pktmbuf_alloc_bulk(pool, taken, n_free), 0);
	assert_false(borrow_materialise(pkts[0]));
	assert_true(borrow_is(pkts[0]) && borrow_is_in_pieces(pkts[0]));
	assert_int_equal(pkts[0]->nb_segs, 1);
	assert_null(borrow_copy(pkts[0], pool));
	/* One is free, and the one that is lost leaves one more: enough for 4000 bytes. */
	assert_int_equal(borrow_materialise_burst(pkts, RTE_DIM(pkts), &drops), RTE_DIM(pkts) - 1);
	assert_int_equal(drops, 1);
	assert_whole(pkts[0], 1000, true);
	assert_whole(pkts[1], 1000, false);
	assert_whole(pkts[2], 4000, true);
	assert_int_equal(rte_pktmbuf_pkt_len(pkts[3]), 60);
	rte_pktmbuf_free_bulk(pkts, RTE_DIM(pkts) - 1);
	rte_pktmbuf_free_bulk(taken, n_free);
	assert_int_equal(rte_mempool_avail_count(pool), POOL_N);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_materialise), cmocka_unit_test(test_copy),
		cmocka_unit_test(test_read),        cmocka_unit_test(test_other_heads),
		cmocka_unit_test(test_no_mbufs),
	};

	pool = unit_eal_start(&(struct unit_eal){.memory_mb = 64, .n_mbufs = POOL_N});
	rng = rng_stream(1);
	for (uint32_t i = 0; i < LEN_MAX; i++)
		guest[i] = byte_of(i);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
