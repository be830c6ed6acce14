/* SPDX-License-Identifier: BSD-3-Clause */
/* test_fwd_borrowed: long frames whose payload is still in the memory of a guest (borrow.h), through every
 * forwarding mode. */
#include "fwd_scene.h"

#include <stdatomic.h>
#include <string.h>

#include "borrow.h"

enum { BORROWED_LEN = 1000, BORROWED_N = 8 };

/* The sender's memory, and how often it got it back. */
static uint8_t borrowed_memory[BORROWED_N][BORROWED_LEN];
static unsigned int borrowed_done;

static void
borrowed_done_fn(struct port_rxq *rxq)
{
	assert_true(rxq->borrowed);
	rxq->borrowed = false;
	borrowed_done++;
	/* From here on it is the guest's to use for something else. */
	memset(borrowed_memory, 0xbb, sizeof(borrowed_memory));
}

/* A tx that takes borrowed frames copies their tails at once, as vnet_tx() does. What is borrowed is shared
 * with nobody. */
static uint16_t
borrowed_tx(struct port_txq *txq, struct rte_mbuf **pkts, uint16_t n)
{
	for (uint16_t i = 0; i < n; i++)
		assert_true(!borrow_is(pkts[i]) ||
			    (RTE_MBUF_DIRECT(pkts[i]) && rte_mbuf_refcnt_read(pkts[i]) == 1));
	assert_int_equal(borrow_materialise_burst(pkts, n, NULL), n);
	return scene_port_tx(txq, pkts, n);
}

/* One that does not must never see one. */
static uint16_t
unborrowed_tx(struct port_txq *txq, struct rte_mbuf **pkts, uint16_t n)
{
	for (uint16_t i = 0; i < n; i++)
		assert_false(borrow_is(pkts[i]));
	return scene_port_tx(txq, pkts, n);
}

/* Borrow a frame whose bytes are in memory, in pieces that grow by and by. */
static void
borrow_in_pieces(struct rte_mbuf *pkt, const uint8_t *memory)
{
	struct borrow_pieces *pieces = borrow_pieces_of(pkt);
	uint32_t at = BORROW_HEAD, n = 0;

	while (at < BORROWED_LEN) {
		const uint32_t len = RTE_MIN(1 + 40 * n, BORROWED_LEN - at);

		pieces->at[n++] = (struct borrow_piece){.va = memory + at, .len = len};
		at += len;
	}
	pieces->n = n;
	borrow_start_pieces(pkt);
}

/* Frames 0 .. n - 1, the odd ones borrowed, every second of these in pieces, from queue q of port i; n at
 * most BORROWED_N. */
static void
borrowed_arrive(unsigned int i, uint16_t q, uint64_t dst, uint16_t n)
{
	struct port_rxq *from = &scene.ports[i]->rxqs[q];
	struct fwd_worker *worker = &scene.workers[from->worker];
	struct rte_mbuf *pkts[BORROWED_N];

	borrowed_done = 0;
	from->release = borrowed_done_fn;
	from->stats.packets += n;
	for (uint16_t k = 0; k < n; k++) {
		pkts[k] = scene_frame(dst, STATION(2), k);
		rte_pktmbuf_append(pkts[k], BORROWED_LEN - 64);
		for (unsigned int b = 64; b < BORROWED_LEN; b++)
			rte_pktmbuf_mtod(pkts[k], uint8_t *)[b] = (uint8_t)(k * 31 + b * 7 + (b >> 8));
		if (k % 2 == 0)
			continue;
		memcpy(borrowed_memory[k], rte_pktmbuf_mtod(pkts[k], void *), BORROWED_LEN);
		memset(borrowed_memory[k], 0xcc, BORROW_HEAD);
		memset(rte_pktmbuf_mtod(pkts[k], uint8_t *) + BORROW_HEAD, 0xdd, BORROWED_LEN - BORROW_HEAD);
		if (k % 4 == 1)
			borrow_start(pkts[k], borrowed_memory[k]);
		else
			borrow_in_pieces(pkts[k], borrowed_memory[k]);
		from->borrowed = true;
	}
	fwd_forward(worker, worker->plan->mode, from, pkts, n);
	assert_int_equal(borrowed_done, n > 1);
	assert_false(from->borrowed);
}

/* Port i was sent frames 0 .. n - 1, whole. */
static void
assert_sent_whole(unsigned int i, unsigned int n)
{
	assert_int_equal(scene.fakes[i]->n_sent, n);
	for (unsigned int k = 0; k < n; k++) {
		const struct rte_mbuf *m = scene.fakes[i]->sent[k];

		assert_false(borrow_is(m));
		assert_int_equal(rte_pktmbuf_pkt_len(m), BORROWED_LEN);
		assert_int_equal(scene_frame_number(m), k);
		for (unsigned int b = 64; b < BORROWED_LEN; b++)
			assert_int_equal(rte_pktmbuf_mtod(m, const uint8_t *)[b],
					 (uint8_t)(k * 31 + b * 7 + (b >> 8)));
	}
	scene_forget(i);
}

/* Two workers, ports of two pairs; tx says whether ports take borrowed frames. */
static struct fwd_plan *
borrowed_setup(const char *mode, void *mode_state, unsigned int n_ports, bool takes)
{
	struct fwd_plan *plan = scene_open(mode, mode_state, n_ports, 2, 2);

	for (unsigned int i = 0; i < n_ports; i++)
		for (uint16_t q = 0; q < 2; q++) {
			scene.ports[i]->txqs[q].accepts_borrowed = takes;
			scene.ports[i]->txqs[q].tx = takes ? borrowed_tx : unborrowed_tx;
		}
	return plan;
}

/* In pairs: to a port of this worker and of the other, to one that takes borrowed frames and one that does
 * not.
 */
static void
test_borrowed_in_pairs(void **state)
{
	static const char *const modes[] = {"io", "mac", "macswap"};

	for (size_t i = 0; i < RTE_DIM(modes); i++)
		for (int takes = 0; takes < 2; takes++)
			for (uint16_t q = 0; q < 2; q++) {
				struct fwd_plan *plan = borrowed_setup(modes[i], NULL, 2, takes);

				assert_int_equal(scene.ports[0]->rxqs[q].worker, q);
				borrowed_arrive(0, q, STATION(1), BORROWED_N);
				assert_sent_whole(1, BORROWED_N);
				/* Pair 1 is the other worker's: by then the sender's memory is its own again.
				 */
				atomic_store(&scene.ports[1]->n_active, 1);
				borrowed_arrive(0, 1, STATION(1), BORROWED_N);
				ASSERT_SENT_NONE(1);
				assert_int_equal(fwd_handoff_drain(&scene.workers[0]), BORROWED_N);
				assert_sent_whole(1, BORROWED_N);
				scene_close(plan);
			}
}

static uint16_t
confirmed_tx(struct port_txq *txq, struct rte_mbuf **pkts, uint16_t n)
{
	assert_false(port_rxq_is_borrowed(&scene.ports[0]->rxqs[0]));
	return unborrowed_tx(txq, pkts, n);
}

/* Somebody waits for the sender's memory: it is given back before anybody may be long in sending the frames.
 */
static void
test_borrowed_to_nobody_for_long(void **state)
{
	struct fwd_plan *plan = borrowed_setup("io", NULL, 2, true);

	atomic_store(&scene.ports[0]->rxqs[0].materialises, true);
	scene.ports[1]->txqs[0].tx = confirmed_tx;
	borrowed_arrive(0, 0, STATION(1), BORROWED_N);
	assert_sent_whole(1, BORROWED_N);
	atomic_store(&scene.ports[0]->rxqs[0].materialises, false);
	scene.ports[1]->txqs[0].tx = borrowed_tx;
	borrowed_arrive(0, 0, STATION(1), BORROWED_N);
	assert_sent_whole(1, BORROWED_N);
	scene_close(plan);
}

/* Modes that do not send on what they got, and a mode that looks at whole frames. */
static void
test_borrowed_to_nobody(void **state)
{
	static const char *const modes[] = {"rxonly", "icmpecho"};

	for (size_t i = 0; i < RTE_DIM(modes); i++) {
		struct fwd_plan *plan = borrowed_setup(modes[i], NULL, 1, true);

		borrowed_arrive(0, 0, STATION(1), BORROWED_N);
		ASSERT_SENT_NONE(0);
		scene_close(plan);
	}
}

static void
whole_forward(struct fwd_worker *worker, struct port_rxq *from, struct rte_mbuf **pkts, uint16_t n)
{
	scene_port_tx(&scene.ports[0]->txqs[0], pkts, n);
}

/* A mode that does not say that it takes borrowed frames sees whole ones only. */
static void
test_borrowed_to_a_mode_that_looks(void **state)
{
	static const struct fwd_mode mode = {.name = "whole", .forward = whole_forward};
	struct fwd_plan *plan = borrowed_setup("rxonly", NULL, 1, true);

	plan->mode = &mode;
	borrowed_arrive(0, 0, STATION(1), BORROWED_N);
	assert_sent_whole(0, BORROWED_N);
	scene_close(plan);
}

/* The receiver is full: the frames are dropped there, and the sender has its memory back. */
static void
test_borrowed_to_a_full_port(void **state)
{
	struct fwd_plan *plan = borrowed_setup("io", NULL, 2, true);

	scene.fakes[1]->room = 3;
	borrowed_arrive(0, 0, STATION(1), BORROWED_N);
	assert_int_equal(scene_drops(1, DROP_TX_FULL), BORROWED_N - 3);
	assert_sent_whole(1, 3);
	scene_close(plan);
}

static void
borrowed_drain(void)
{
	for (unsigned int w = 0; w < 2; w++)
		fwd_handoff_drain(&scene.workers[w]);
}

/* The switch: flooded to ports of both kinds, to the other worker, and to the one port that is known. */
static void
test_borrowed_switched(void **state)
{
	void *bridge = scene_mode_open("switch");
	struct fwd_plan *plan;

	plan = borrowed_setup("switch", bridge, 4, true);
	for (uint16_t q = 0; q < 2; q++) {
		scene.ports[2]->txqs[q].accepts_borrowed = false;
		scene.ports[2]->txqs[q].tx = unborrowed_tx;
	}
	atomic_store(&scene.ports[3]->n_active, 1);
	for (uint16_t q = 0; q < 2; q++) {
		borrowed_arrive(0, q, BROADCAST, BORROWED_N);
		borrowed_drain();
		for (unsigned int i = 1; i < 4; i++)
			assert_sent_whole(i, BORROWED_N);
	}
	for (unsigned int to = 1; to < 4; to++) {
		scene_say(to, STATION(2), STATION(9 + to), 0);
		borrowed_drain();
		scene_forget_all();
		fwd_mode_by_name("switch")->tick(bridge);
		for (uint16_t q = 0; q < 2; q++) {
			borrowed_arrive(0, q, STATION(9 + to), BORROWED_N);
			borrowed_drain();
			assert_sent_whole(to, BORROWED_N);
			for (unsigned int i = 0; i < 4; i++)
				ASSERT_SENT_NONE(i);
		}
	}
	scene_close(plan);
	fwd_mode_by_name("switch")->close(bridge);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_borrowed_in_pairs),
		cmocka_unit_test(test_borrowed_to_nobody),
		cmocka_unit_test(test_borrowed_to_nobody_for_long),
		cmocka_unit_test(test_borrowed_to_a_mode_that_looks),
		cmocka_unit_test(test_borrowed_to_a_full_port),
		cmocka_unit_test(test_borrowed_switched),
	};

	return UNIT_RUN_WITH(tests, scene_env_open, scene_env_close);
}
