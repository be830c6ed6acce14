/* SPDX-License-Identifier: BSD-3-Clause */
/* test_hook: hooks of a queue, between a made-up port and this test as its worker, and with workers that run.
 */
#include "unit.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "borrow.h"
#include "ctx.h"
#include "hook.h"
#include "port.h"
#include "quiesce.h"
#include "unit_eal.h"

enum { N_WORKERS = 2, FRAME_LEN = 64, LONG_LEN = 1000 };

static struct rte_mempool *pool;
static struct vnic_ctx ctx;
static struct port port;

/* --- the port: what it is sent is freed, what is asked of it is there --- */

static uint32_t next_number, n_given;
static uint32_t sent[PORT_BURST], n_sent;

static struct rte_mbuf *
frame_of(uint32_t number)
{
	struct rte_mbuf *pkt = rte_pktmbuf_alloc(pool);

	if (!pkt)
		return NULL;
	memset(rte_pktmbuf_append(pkt, FRAME_LEN), 0, FRAME_LEN);
	memcpy(rte_pktmbuf_mtod(pkt, void *), &number, sizeof(number));
	return pkt;
}

static uint32_t
number_of(const struct rte_mbuf *pkt)
{
	uint32_t number;

	memcpy(&number, rte_pktmbuf_mtod(pkt, void *), sizeof(number));
	return number;
}

static uint16_t
fake_rx(struct port_rxq *rxq, struct rte_mbuf **pkts, uint16_t n)
{
	n = (uint16_t)RTE_MIN(n, n_given);
	for (uint16_t i = 0; i < n; i++)
		pkts[i] = frame_of(next_number++);
	counter_add(&rxq->stats.packets, n);
	return n;
}

static uint16_t
fake_tx(struct port_txq *txq, struct rte_mbuf **pkts, uint16_t n)
{
	assert_true(n >= 1 && n <= PORT_BURST);
	for (n_sent = 0; n_sent < n; n_sent++)
		sent[n_sent] = number_of(pkts[n_sent]);
	counter_add(&txq->stats.packets, n);
	rte_pktmbuf_free_bulk(pkts, n);
	return n;
}

static struct port_rxq *
setup(void)
{
	memset(&port, 0, sizeof(port));
	memset(&ctx, 0, sizeof(ctx));
	port.ctx = &ctx;
	assert_int_equal(port_queues_alloc(&port, N_WORKERS), 0);
	for (uint16_t q = 0; q < N_WORKERS; q++) {
		port.rxqs[q].rx = fake_rx;
		port.txqs[q].tx = fake_tx;
		port.rxqs[q].worker = port.txqs[q].worker = q;
	}
	next_number = n_sent = 0;
	n_given = PORT_BURST;
	return &port.rxqs[0];
}

/* Nothing is lost, nothing is counted twice, no buffer leaks. */
static void
teardown(void)
{
	struct port_stats stats;
	uint64_t drops = 0;

	port_stats_read(&port, &stats);
	for (int i = 0; i < DROP_N; i++)
		drops += stats.drops[i];
	assert_int_equal(stats.rx_packets + stats.copies, stats.tx_packets + drops);
	port_queues_free(&port);
	assert_int_equal(rte_mempool_in_use_count(pool), 0);
}

/* --- order, drops, and none --- */

struct seer {
	struct port_hook hook;
	char name;
	uint32_t modulus; /* drops multiples of it; 0: none, 1: all */
	unsigned int n_seen;
};

static char order[16];

static uint16_t
seer_sort(struct seer *seer, struct rte_mbuf **pkts, uint16_t n, struct rte_mbuf **ret_unwanted)
{
	uint16_t n_wanted = 0, n_unwanted = 0;

	assert_true(n >= 1 && n <= PORT_BURST);
	strncat(order, &seer->name, 1);
	seer->n_seen += n;
	for (uint16_t i = 0; i < n; i++) {
		if (seer->modulus && number_of(pkts[i]) % seer->modulus == 0)
			ret_unwanted[n_unwanted++] = pkts[i];
		else
			pkts[n_wanted++] = pkts[i];
	}
	return n_wanted;
}

static uint16_t
seer_rx(struct port_hook *hook, struct port_rxq *rxq, struct rte_mbuf **pkts, uint16_t n)
{
	struct rte_mbuf *unwanted[PORT_BURST];
	uint16_t n_wanted = seer_sort((struct seer *)hook, pkts, n, unwanted);

	port_rx_drop(rxq, DROP_NO_PORT, unwanted, (uint16_t)(n - n_wanted));
	return n_wanted;
}

static uint16_t
seer_tx(struct port_hook *hook, struct port_txq *txq, struct rte_mbuf **pkts, uint16_t n)
{
	struct rte_mbuf *unwanted[PORT_BURST];
	uint16_t n_wanted = seer_sort((struct seer *)hook, pkts, n, unwanted);

	port_tx_drop(txq, DROP_TX_FULL, unwanted, (uint16_t)(n - n_wanted));
	return n_wanted;
}

/* What came from the queue goes to it again. Returns how many came. */
static uint16_t
go_round(struct port_rxq *rxq)
{
	struct rte_mbuf *pkts[PORT_BURST];
	uint16_t n = port_rx(rxq, pkts, PORT_BURST);

	if (n)
		port_tx(&port.txqs[rxq->idx], pkts, n);
	return n;
}

static void
test_in_the_order_of_attaching(void **state)
{
	struct seer a = {.name = 'a', .hook.rx = seer_rx}, b = {.name = 'b', .hook.rx = seer_rx},
		    c = {.name = 'c', .hook.rx = seer_rx}, t = {.name = 't', .hook.tx = seer_tx},
		    u = {.name = 'u', .hook.tx = seer_tx};
	struct port_rxq *rxq = setup();

	port_rx_hook_attach(rxq, &a.hook);
	port_rx_hook_attach(rxq, &b.hook);
	port_rx_hook_attach(rxq, &c.hook);
	port_tx_hook_attach(&port.txqs[0], &t.hook);
	port_tx_hook_attach(&port.txqs[0], &u.hook);
	order[0] = '\0';
	go_round(rxq);
	assert_string_equal(order, "abctu");
	/* From the middle, the end and the beginning. */
	port_rx_hook_detach(rxq, &b.hook);
	order[0] = '\0';
	go_round(rxq);
	assert_string_equal(order, "actu");
	port_rx_hook_attach(rxq, &b.hook);
	port_rx_hook_detach(rxq, &a.hook);
	port_tx_hook_detach(&port.txqs[0], &u.hook);
	order[0] = '\0';
	go_round(rxq);
	assert_string_equal(order, "cbt");
	/* The other queue is another one. */
	order[0] = '\0';
	go_round(&port.rxqs[1]);
	assert_string_equal(order, "");
	/* Nothing came: nobody is called. */
	n_given = 0;
	go_round(rxq);
	assert_string_equal(order, "");
	port_rx_hook_detach(rxq, &b.hook);
	port_rx_hook_detach(rxq, &c.hook);
	port_tx_hook_detach(&port.txqs[0], &t.hook);
	teardown();
}

/* The caller calls the kind's function, as if there had never been a hook. */
static void
test_none_costs_nothing(void **state)
{
	struct seer a = {.hook.rx = seer_rx}, t = {.hook.tx = seer_tx};
	struct port_rxq *rxq = setup();

	for (int round = 0; round < 3; round++) {
		assert_ptr_equal(rxq->rx, fake_rx);
		assert_ptr_equal(port.txqs[0].tx, fake_tx);
		port_rx_hook_attach(rxq, &a.hook);
		assert_ptr_not_equal(rxq->rx, fake_rx);
		assert_ptr_equal(port.txqs[0].tx, fake_tx);
		port_tx_hook_attach(&port.txqs[0], &t.hook);
		assert_ptr_not_equal(port.txqs[0].tx, fake_tx);
		port_rx_hook_detach(rxq, &a.hook);
		port_tx_hook_detach(&port.txqs[0], &t.hook);
	}
	assert_ptr_equal(rxq->rx, fake_rx);
	assert_ptr_equal(port.txqs[0].tx, fake_tx);
	teardown();
}

static void
test_what_one_drops_the_next_does_not_see(void **state)
{
	struct seer a = {.hook.rx = seer_rx, .modulus = 2}, b = {.hook.rx = seer_rx},
		    t = {.hook.tx = seer_tx, .modulus = 3}, all = {.hook.rx = seer_rx, .modulus = 1},
		    none = {.hook.tx = seer_tx, .modulus = 1};
	struct port_rxq *rxq = setup();
	struct rte_mbuf *pkt;

	port_rx_hook_attach(rxq, &a.hook);
	port_rx_hook_attach(rxq, &b.hook);
	port_tx_hook_attach(&port.txqs[0], &t.hook);
	n_given = 12;
	assert_int_equal(go_round(rxq), 6);
	assert_int_equal(b.n_seen, 6);
	assert_int_equal(t.n_seen, 6);
	/* In their order: of 1 3 5 7 9 11. */
	assert_int_equal(n_sent, 4);
	assert_memory_equal(sent, ((uint32_t[]){1, 5, 7, 11}), sizeof(uint32_t[4]));
	assert_int_equal(rxq->stats.drops[DROP_NO_PORT], 6);
	assert_int_equal(port.txqs[0].stats.drops[DROP_TX_FULL], 2);
	port_rx_hook_detach(rxq, &a.hook);
	port_rx_hook_detach(rxq, &b.hook);

	/* All: neither those behind it nor the port are called. */
	b.n_seen = 0;
	port_rx_hook_attach(rxq, &all.hook);
	port_rx_hook_attach(rxq, &b.hook);
	assert_int_equal(go_round(rxq), 0);
	assert_int_equal(b.n_seen, 0);
	port_tx_hook_attach(&port.txqs[1], &none.hook);
	pkt = frame_of(1);
	port.rxqs[1].stats.packets++;
	assert_int_equal(port_tx(&port.txqs[1], &pkt, 1), 0);
	assert_int_equal(port.txqs[1].stats.packets, 0);
	port_rx_hook_detach(rxq, &all.hook);
	port_rx_hook_detach(rxq, &b.hook);
	port_tx_hook_detach(&port.txqs[0], &t.hook);
	port_tx_hook_detach(&port.txqs[1], &none.hook);
	teardown();
}

/* --- what is dropped --- */

struct drop_seer {
	struct port_hook hook;
	uint32_t numbers[PORT_BURST];
	enum port_drop reason;
	uint16_t worker;
	unsigned int n, n_without_bytes;
};

static void
drop_seer_drop(struct port_hook *hook, uint16_t worker, enum port_drop reason, struct rte_mbuf *const *pkts,
	       uint16_t n)
{
	struct drop_seer *seer = (struct drop_seer *)hook;

	seer->reason = reason;
	seer->worker = worker;
	for (uint16_t i = 0; i < n; i++) {
		if (pkts)
			seer->numbers[seer->n++] = number_of(pkts[i]);
		else
			seer->n_without_bytes++;
	}
}

static uint16_t
odd_burst(const struct port_filter *filter, struct rte_mbuf **pkts, uint16_t n)
{
	struct rte_mbuf *even[PORT_BURST];
	uint16_t n_odd = 0, n_even = 0;

	for (uint16_t i = 0; i < n; i++) {
		if (number_of(pkts[i]) % 2)
			pkts[n_odd++] = pkts[i];
		else
			even[n_even++] = pkts[i];
	}
	memcpy(pkts + n_odd, even, n_even * sizeof(even[0]));
	return n_odd;
}

static void
test_drops_are_seen(void **state)
{
	const struct port_filter filter = {.burst = odd_burst};
	struct seer a = {.hook.rx = seer_rx, .modulus = 3};
	struct drop_seer in = {.hook.drop = drop_seer_drop}, twin = in, out = in;
	struct port_rxq *rxq = setup();
	struct rte_mbuf *pkts[4];

	port_rx_hook_attach(rxq, &a.hook);
	port_rx_drop_hook_attach(rxq, &in.hook);
	port_rx_drop_hook_attach(rxq, &twin.hook);
	port_tx_drop_hook_attach(&port.txqs[0], &out.hook);
	n_given = 8;
	go_round(rxq);
	assert_int_equal(in.n, 3);
	assert_memory_equal(in.numbers, ((uint32_t[]){0, 3, 6}), sizeof(uint32_t[3]));
	assert_int_equal(in.reason, DROP_NO_PORT);
	assert_int_equal(in.worker, 0);
	assert_int_equal(twin.n, 3);
	assert_int_equal(out.n, 0);
	/* What has no bytes. */
	rxq->stats.packets++;
	port_rx_count_drop(rxq, DROP_RUNT, NULL, 1);
	assert_int_equal(in.n_without_bytes, 1);
	/* By a worker that is not the owner. */
	for (uint32_t i = 0; i < 4; i++)
		pkts[i] = frame_of(i);
	rxq->stats.packets += 4;
	assert_int_equal(port_filter_apply(&filter, &port.txqs[0], 1, pkts, 4), 2);
	assert_int_equal(out.n, 2);
	assert_memory_equal(out.numbers, ((uint32_t[]){0, 2}), sizeof(uint32_t[2]));
	assert_int_equal(out.reason, DROP_FILTERED);
	assert_int_equal(out.worker, 1);
	port_tx(&port.txqs[0], pkts, 2);
	/* No more. */
	port_rx_drop_hook_detach(rxq, &in.hook);
	go_round(rxq);
	assert_int_equal(in.n, 3);
	assert_true(twin.n > 3);
	port_rx_drop_hook_detach(rxq, &twin.hook);
	port_tx_drop_hook_detach(&port.txqs[0], &out.hook);
	port_rx_hook_detach(rxq, &a.hook);
	teardown();
}

/* --- borrowed frames --- */

static uint8_t memory[LONG_LEN]; /* the guest's */
static unsigned int n_done;

static uint16_t
lending_rx(struct port_rxq *rxq, struct rte_mbuf **pkts, uint16_t n)
{
	for (uint16_t i = 0; i < LONG_LEN; i++)
		memory[i] = (uint8_t)(i * 7);
	pkts[0] = rte_pktmbuf_alloc(pool);
	memcpy(rte_pktmbuf_append(pkts[0], LONG_LEN), memory, BORROW_HEAD);
	memset(rte_pktmbuf_mtod_offset(pkts[0], void *, BORROW_HEAD), 0xee, LONG_LEN - BORROW_HEAD);
	borrow_start(pkts[0], memory);
	rxq->borrowed = true;
	counter_add(&rxq->stats.packets, 1);
	return 1;
}

static void
lending_done(struct port_rxq *rxq)
{
	assert_true(rxq->borrowed);
	rxq->borrowed = false;
	n_done++;
	memset(memory, 0xbb, sizeof(memory));
}

static void
assert_whole(const struct rte_mbuf *pkt)
{
	const uint8_t *bytes = rte_pktmbuf_mtod(pkt, const uint8_t *);

	assert_false(borrow_is(pkt));
	for (uint16_t i = 0; i < LONG_LEN; i++)
		assert_int_equal(bytes[i], (uint8_t)(i * 7));
}

static struct rte_mbuf *kept;

static uint16_t
keeper_rx(struct port_hook *hook, struct port_rxq *rxq, struct rte_mbuf **pkts, uint16_t n)
{
	assert_true(borrow_is(pkts[0]));
	kept = port_hook_keep(pkts[0]);
	return n;
}

static uint16_t
keeper_tx(struct port_hook *hook, struct port_txq *txq, struct rte_mbuf **pkts, uint16_t n)
{
	assert_true(borrow_is(pkts[0]));
	kept = port_hook_keep(pkts[0]);
	return n;
}

static uint16_t
writer_rx(struct port_hook *hook, struct port_rxq *rxq, struct rte_mbuf **pkts, uint16_t n)
{
	const bool is_own = port_hook_is_own(pkts[0]);

	assert_false(borrow_is(pkts[0]));
	/* The hook before has kept it. */
	assert_int_equal(is_own, !kept);
	return n;
}

static void
test_borrowed_frames(void **state)
{
	struct port_hook keeper = {.rx = keeper_rx}, writer = {.rx = writer_rx}, sender = {.tx = keeper_tx};
	struct port_rxq *rxq = setup();
	struct rte_mbuf *pkt;

	rxq->rx = lending_rx;
	rxq->release = lending_done;
	/* Kept, and forwarded: both have all of it when the guest has its memory back. */
	port_rx_hook_attach(rxq, &keeper);
	port_rx_hook_attach(rxq, &writer);
	assert_int_equal(port_rx(rxq, &pkt, 1), 1);
	assert_ptr_equal(pkt, kept);
	assert_int_equal(rte_mbuf_refcnt_read(pkt), 2);
	rxq->release(rxq);
	port_tx(&port.txqs[0], &pkt, 1);
	assert_whole(kept);
	assert_int_equal(rte_mbuf_refcnt_read(kept), 1);
	rte_pktmbuf_free(kept);
	kept = NULL;
	port_rx_hook_detach(rxq, &keeper);
	assert_int_equal(port_rx(rxq, &pkt, 1), 1);
	rxq->release(rxq);
	assert_whole(pkt);
	port_tx(&port.txqs[0], &pkt, 1);
	port_rx_hook_detach(rxq, &writer);

	/* On its way out. */
	port_tx_hook_attach(&port.txqs[0], &sender);
	assert_int_equal(port_rx(rxq, &pkt, 1), 1);
	assert_true(borrow_is(pkt));
	port_tx(&port.txqs[0], &pkt, 1);
	rxq->release(rxq);
	assert_whole(kept);
	rte_pktmbuf_free(kept);
	kept = NULL;
	port_tx_hook_detach(&port.txqs[0], &sender);
	teardown();
}

/* Dropped by a hook: nobody else knows that the guest is to have its memory back. */
static void
test_borrowed_and_dropped(void **state)
{
	struct seer all = {.hook.rx = seer_rx, .modulus = 1};
	struct port_rxq *rxq = setup();
	struct rte_mbuf *pkt;

	rxq->rx = lending_rx;
	rxq->release = lending_done;
	n_done = 0;
	port_rx_hook_attach(rxq, &all.hook);
	assert_int_equal(port_rx(rxq, &pkt, 1), 0);
	assert_int_equal(n_done, 1);
	assert_false(rxq->borrowed);
	port_rx_hook_detach(rxq, &all.hook);
	teardown();
}

/* --- with workers that run --- */

static struct run_worker {
	_Atomic uint64_t n_quiescent; /* 0: it does not run */
	pthread_t thread;
	uint16_t idx;
} __rte_cache_aligned run_workers[N_WORKERS];
static atomic_bool run_stop;

/* As the dataplane's: every worker has been quiescent, or is away and holds nothing. */
static void
run_wait(void *arg)
{
	for (unsigned int i = 0; i < N_WORKERS; i++) {
		const uint64_t before = atomic_load(&run_workers[i].n_quiescent);

		while (before && atomic_load(&run_workers[i].n_quiescent) == before) {
			if (quiesce_where(&ctx.quiesce, i) && !quiesce_is_held(&ctx.quiesce, i))
				break;
			sched_yield();
		}
	}
}

static void *
run_main(void *arg)
{
	struct run_worker *worker = arg;

	rte_thread_register();
	while (!atomic_load_explicit(&run_stop, memory_order_relaxed)) {
		go_round(&port.rxqs[worker->idx]);
		atomic_fetch_add_explicit(&worker->n_quiescent, 1, memory_order_release);
		sched_yield();
	}
	rte_thread_unregister();
	atomic_store(&worker->n_quiescent, 0);
	return NULL;
}

static void
run_start(void)
{
	atomic_store(&run_stop, false);
	quiesce_set(&ctx.quiesce, run_wait, NULL, NULL, NULL);
	for (uint16_t i = 0; i < N_WORKERS; i++) {
		run_workers[i].idx = i;
		atomic_store(&run_workers[i].n_quiescent, 1);
		assert_int_equal(pthread_create(&run_workers[i].thread, NULL, run_main, &run_workers[i]), 0);
	}
}

static void
run_end(void)
{
	atomic_store(&run_stop, true);
	for (unsigned int i = 0; i < N_WORKERS; i++)
		pthread_join(run_workers[i].thread, NULL);
}

/* In threads of their own, so without what only the test's thread may touch. */
static uint16_t
run_rx(struct port_rxq *rxq, struct rte_mbuf **pkts, uint16_t n)
{
	for (n = 0; n < 4; n++) {
		pkts[n] = frame_of(n);
		if (!pkts[n])
			break;
	}
	counter_add(&rxq->stats.packets, n);
	return n;
}

static uint16_t
run_tx(struct port_txq *txq, struct rte_mbuf **pkts, uint16_t n)
{
	counter_add(&txq->stats.packets, n);
	rte_pktmbuf_free_bulk(pkts, n);
	return n;
}

/* Dropped, and kept for as long as the next burst. */
struct busy_hook {
	struct port_hook hook;
	_Atomic bool attached;
	uint64_t n_calls;
	struct rte_mbuf *kept;
};
static atomic_uint n_wrong;

static uint16_t
busy_drop(struct busy_hook *busy, struct rte_mbuf **pkts, uint16_t n)
{
	if (!atomic_load_explicit(&busy->attached, memory_order_relaxed))
		atomic_fetch_add(&n_wrong, 1);
	rte_pktmbuf_free(busy->kept);
	busy->kept = port_hook_keep(pkts[0]);
	return (uint16_t)(n - busy->n_calls++ % 2);
}

static uint16_t
busy_rx(struct port_hook *hook, struct port_rxq *rxq, struct rte_mbuf **pkts, uint16_t n)
{
	uint16_t n_left = busy_drop((struct busy_hook *)hook, pkts, n);

	port_rx_drop(rxq, DROP_NO_PORT, pkts + n_left, (uint16_t)(n - n_left));
	return n_left;
}

static uint16_t
busy_tx(struct port_hook *hook, struct port_txq *txq, struct rte_mbuf **pkts, uint16_t n)
{
	uint16_t n_left = busy_drop((struct busy_hook *)hook, pkts, n);

	port_tx_drop(txq, DROP_TX_FULL, pkts + n_left, (uint16_t)(n - n_left));
	return n_left;
}

/* From the heap: what is called after it was freed is found by the sanitizers, or by its flag. */
static void
busy_attach(struct busy_hook **busy, uint16_t q, bool is_rx)
{
	*busy = calloc(1, sizeof(**busy));
	assert_non_null(*busy);
	atomic_store(&(*busy)->attached, true);
	if (is_rx) {
		(*busy)->hook.rx = busy_rx;
		port_rx_hook_attach(&port.rxqs[q], &(*busy)->hook);
	} else {
		(*busy)->hook.tx = busy_tx;
		port_tx_hook_attach(&port.txqs[q], &(*busy)->hook);
	}
}

static uint64_t
busy_detach(struct busy_hook *busy, uint16_t q, bool is_rx)
{
	uint64_t n_calls;

	if (is_rx)
		port_rx_hook_detach(&port.rxqs[q], &busy->hook);
	else
		port_tx_hook_detach(&port.txqs[q], &busy->hook);
	atomic_store(&busy->attached, false);
	n_calls = busy->n_calls;
	sched_yield();
	if (busy->n_calls != n_calls)
		atomic_fetch_add(&n_wrong, 1);
	rte_pktmbuf_free(busy->kept);
	free(busy);
	return n_calls;
}

static void
test_attach_and_detach_under_traffic(void **state)
{
	enum { N_HOOKS = 3 };
	const unsigned int n_rounds = UNIT_SANITIZED ? 100 : 300;
	struct busy_hook *hooks[N_WORKERS][2][N_HOOKS];
	uint64_t n_calls = 0;

	setup();
	for (uint16_t q = 0; q < N_WORKERS; q++) {
		port.rxqs[q].rx = run_rx;
		port.txqs[q].tx = run_tx;
	}
	atomic_store(&n_wrong, 0);
	run_start();
	for (unsigned int round = 0; round < n_rounds; round++) {
		for (uint16_t q = 0; q < N_WORKERS; q++)
			for (unsigned int i = 0; i < 2 * N_HOOKS; i++)
				busy_attach(&hooks[q][i % 2][i / 2], q, i % 2);
		/* From the beginning, the middle, the end. */
		for (uint16_t q = 0; q < N_WORKERS; q++)
			for (unsigned int i = 0; i < 2 * N_HOOKS; i++)
				n_calls += busy_detach(hooks[q][i % 2][(i / 2 + round) % N_HOOKS], q, i % 2);
	}
	run_end();
	assert_int_equal(atomic_load(&n_wrong), 0);
	assert_true(n_calls > 0);
	teardown();
}

/* --- detaching waits for who is in it --- */

enum stay { STAY_IN_HOOK, STAY_AWAY_IN_HOOK, STAY_AWAY_IN_RX };

static _Atomic bool staying, stay_over, detached;
static enum stay stay;

static void
stay_here(struct port_rxq *rxq)
{
	if (stay != STAY_IN_HOOK)
		quiesce_leave(&ctx.quiesce, rxq->worker, &rxq->place);
	atomic_store(&staying, true);
	while (!atomic_load(&stay_over))
		sched_yield();
	if (stay != STAY_IN_HOOK)
		quiesce_return(&ctx.quiesce, rxq->worker);
}

static uint16_t
staying_hook(struct port_hook *hook, struct port_rxq *rxq, struct rte_mbuf **pkts, uint16_t n)
{
	if (stay != STAY_AWAY_IN_RX)
		stay_here(rxq);
	return n;
}

static uint16_t
staying_rx(struct port_rxq *rxq, struct rte_mbuf **pkts, uint16_t n)
{
	if (stay == STAY_AWAY_IN_RX && rxq->hooks.first)
		stay_here(rxq);
	return run_rx(rxq, pkts, n);
}

static void *
detach_main(void *arg)
{
	port_rx_hook_detach(&port.rxqs[0], arg);
	atomic_store(&detached, true);
	return NULL;
}

static void
test_detaching_waits(void **state)
{
	for (stay = STAY_IN_HOOK; stay <= STAY_AWAY_IN_RX; stay++) {
		struct port_hook hook = {.rx = staying_hook};
		pthread_t thread;

		setup();
		for (uint16_t q = 0; q < N_WORKERS; q++) {
			port.rxqs[q].rx = q ? run_rx : staying_rx;
			port.txqs[q].tx = run_tx;
		}
		atomic_store(&staying, false);
		atomic_store(&stay_over, false);
		atomic_store(&detached, false);
		run_start();
		port_rx_hook_attach(&port.rxqs[0], &hook);
		while (!atomic_load(&staying))
			sched_yield();
		assert_int_equal(pthread_create(&thread, NULL, detach_main, &hook), 0);
		if (stay == STAY_AWAY_IN_RX) {
			/* In the driver of its own queue it has no hook: nobody waits for that. */
			pthread_join(thread, NULL);
			assert_true(atomic_load(&detached));
			atomic_store(&stay_over, true);
		} else {
			usleep(20000);
			assert_false(atomic_load(&detached));
			atomic_store(&stay_over, true);
			pthread_join(thread, NULL);
		}
		run_end();
		teardown();
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_in_the_order_of_attaching),
		cmocka_unit_test(test_none_costs_nothing),
		cmocka_unit_test(test_what_one_drops_the_next_does_not_see),
		cmocka_unit_test(test_drops_are_seen),
		cmocka_unit_test(test_borrowed_frames),
		cmocka_unit_test(test_borrowed_and_dropped),
		cmocka_unit_test(test_attach_and_detach_under_traffic),
		cmocka_unit_test(test_detaching_waits),
	};

	pool = unit_eal_start(&(struct unit_eal){.memory_mb = 64, .n_mbufs = 4095});
	return UNIT_RUN(tests);
}
