/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_poll: whom a worker visits, and how soon. The worker's own loop runs over queue pairs that write down
 * in which turns they were asked for frames and serviced, and have frames when a test's script says so.
 */
#include "unit.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <rte_rcu_qsbr.h>

#include "poll.h"
#include "rng.h"
#include "worker.h"

enum {
	NEVER = UINT32_MAX,
	RCU_THREADS = 1,
	EDGE = POLL_IDLE_ITERATIONS, /* numbers of pairs around which the share of idle ones changes */
};

/* What befalls the pairs: called before a pair is asked for frames. */
typedef void (*script_fn)(unsigned int turn, unsigned int i);

static struct fake {
	struct port_rxq rxq;
	struct port_txq txq;
	uint16_t n_frames; /* to have when asked next */
	uint32_t len;      /* of each */
	unsigned int n_polls, n_services, n_tx_services, n_generated;
	uint64_t last_poll, last_service; /* turns */
	uint64_t gap_poll, gap_service;   /* longest time between two of them, in turns */
} * fakes;
static unsigned int n_fakes, n_leaving;
static struct port port = {.name = "fake"}, leaving = {.name = "leaving", .id = 1};

static struct fwd_worker fwd_worker = {.n_workers = 1};
static struct worker_shared shared;
static struct worker_counters counters;
static unsigned int turn_last, forwarded;
static script_fn script;

/* --- the fakes --- */

static unsigned int
turn_now(void)
{
	return (unsigned int)counters.iterations;
}

static void
gap_add(uint64_t *gap, uint64_t *last)
{
	uint64_t turn = counters.iterations;

	if (turn - *last > *gap)
		*gap = turn - *last;
	*last = turn;
}

static uint16_t
fake_rx(struct port_rxq *rxq, struct rte_mbuf **pkts, uint16_t n)
{
	struct fake *fake = rxq->dev;

	assert_int_equal(n, rxq->burst);
	if (script)
		script(turn_now(), rxq->idx);
	if (turn_now() == turn_last)
		atomic_store(&shared.order, WORKER_STOP);
	fake->n_polls++;
	gap_add(&fake->gap_poll, &fake->last_poll);
	n = fake->n_frames;
	fake->n_frames = 0;
	rxq->stats.packets += n;
	rxq->stats.bytes += n * fake->len;
	for (uint16_t i = 0; i < n; i++)
		pkts[i] = NULL; /* nobody looks at them */
	return n;
}

static uint16_t
fake_tx(struct port_txq *txq, struct rte_mbuf **pkts, uint16_t n)
{
	txq->stats.packets += n;
	return n;
}

static void
fake_service(struct port_rxq *rxq)
{
	struct fake *fake = rxq->dev;

	fake->n_services++;
	gap_add(&fake->gap_service, &fake->last_service);
}

/* At the same visits. */
static void
fake_tx_service(struct port_txq *txq)
{
	struct fake *fake = txq->dev;

	fake->n_tx_services++;
	assert_int_equal(fake->n_tx_services, fake->n_services);
}

static void
test_forward(struct fwd_worker *worker, struct port_rxq *from, struct rte_mbuf **pkts, uint16_t n)
{
	forwarded += n;
}

static void
test_generate(struct fwd_worker *worker, struct port_txq *txq)
{
	((struct fake *)txq->dev)->n_generated++;
}

static const struct fwd_mode mode = {.name = "test", .forward = test_forward};
static const struct fwd_mode mode_generating = {
	.name = "generating", .forward = test_forward, .generate = test_generate};

/* --- the worker --- */

static void
fakes_open(unsigned int n)
{
	n_fakes = n + n_leaving;
	fakes = unit_zalloc(n_fakes * sizeof(*fakes));
}

static void
plan_forget(void)
{
	fwd_plan_free(atomic_exchange(&shared.plan, NULL));
}

/* The first n - n_leaving fakes are the pairs of a port, the others of one that leaves. */
static struct fwd_plan *
plan_make(const struct fwd_mode *plan_mode, unsigned int n)
{
	struct fwd_plan *plan = calloc(1, sizeof(*plan) + sizeof(plan->workers[0]));
	static uint64_t serial;

	assert_non_null(plan);
	plan->serial = ++serial;
	plan->mode = plan_mode;
	plan->n_workers = 1;
	plan->workers[0].n_queues = (uint16_t)n;
	plan->workers[0].n_leaving = (uint16_t)n_leaving;
	for (unsigned int i = 0; i < n + n_leaving; i++) {
		fakes[i].rxq.rx = i < n ? fake_rx : NULL;
		fakes[i].rxq.service = fake_service;
		fakes[i].rxq.dev = &fakes[i];
		fakes[i].rxq.port = i < n ? &port : &leaving;
		fakes[i].rxq.idx = (uint16_t)i;
		fakes[i].rxq.burst = (uint16_t)(1 + i % PORT_BURST);
		fakes[i].txq.tx = fake_tx;
		fakes[i].txq.service = fake_tx_service;
		fakes[i].txq.dev = &fakes[i];
		plan->workers[0].queues[i] = (struct fwd_visit){&fakes[i].rxq, &fakes[i].txq};
	}
	return plan;
}

/* n_iterations turns over n pairs, from the first iteration of a worker on. */
static void
run(const struct fwd_mode *plan_mode, unsigned int n, unsigned int n_iterations, script_fn what_befalls)
{
	struct worker worker = {.fwd = &fwd_worker, .shared = &shared, .counters = &counters};

	fakes_open(n);
	counters = (struct worker_counters){0};
	forwarded = 0;
	script = what_befalls;
	turn_last = n_iterations - 1;
	atomic_store(&shared.plan, plan_make(plan_mode, n));
	atomic_store(&shared.order, WORKER_RUN);
	rte_rcu_qsbr_thread_register(shared.rcu, 0);
	assert_int_equal(worker_main(&worker), 0);
	rte_rcu_qsbr_thread_unregister(shared.rcu, 0);
	assert_int_equal(counters.iterations, n_iterations);
	/* The time from the last visit to the end counts, too. */
	for (unsigned int i = 0; i < n; i++) {
		gap_add(&fakes[i].gap_poll, &fakes[i].last_poll);
		gap_add(&fakes[i].gap_service, &fakes[i].last_service);
	}
}

static void
run_end(void)
{
	plan_forget();
	free(fakes);
	fakes = NULL;
}

/* Visits that one of n pairs gets at most in that many iterations, when it is idle and another one is busy.
 */
static unsigned int
idle_visits(unsigned int n, unsigned int n_iterations)
{
	unsigned int share = (n + POLL_IDLE_ITERATIONS - 1) / POLL_IDLE_ITERATIONS;

	return n_iterations * share / (n - 2) + 1;
}

/* Numbers of pairs for which the schedule could go wrong by one. */
static const unsigned int sizes[] = {
	1, 2, EDGE - 1, EDGE, EDGE + 1, EDGE + 2, 2 * EDGE, 66, FWD_WORKER_QUEUES_MAX};

/* --- tests --- */

static void
test_quiet_worker_polls_all(void **state)
{
	for (unsigned int k = 0; k < RTE_DIM(sizes); k++) {
		run(&mode, sizes[k], 300, NULL);
		for (unsigned int i = 0; i < sizes[k]; i++) {
			assert_int_equal(fakes[i].n_polls, 300);
			assert_int_equal(fakes[i].n_services, 300);
		}
		assert_int_equal(counters.busy_iterations, 0);
		run_end();
	}
}

static void
script_first_two_busy(unsigned int turn, unsigned int i)
{
	fakes[i].n_frames = i < 2 ? 32 : 0;
}

/* Each turn for those that have frames; for the others seldom, but never more seldom than promised. */
static void
test_busy_pairs_first(void **state)
{
	enum { TURNS = 10 * POLL_IDLE_ITERATIONS };

	for (unsigned int k = 2; k < RTE_DIM(sizes); k++) {
		unsigned int n = sizes[k], n_idle_polls = 0;

		run(&mode, n, TURNS, script_first_two_busy);
		for (unsigned int i = 0; i < n; i++) {
			assert_int_equal(fakes[i].n_services, fakes[i].n_polls);
			if (i < 2) {
				assert_int_equal(fakes[i].n_polls, TURNS);
				continue;
			}
			assert_in_range(fakes[i].gap_poll, 1, POLL_IDLE_ITERATIONS);
			n_idle_polls += fakes[i].n_polls;
		}
		/* In the first iteration all; then a share, rounded up. */
		assert_in_range(
			n_idle_polls, n - 2,
			n - 2 + (TURNS - 1) * ((n + POLL_IDLE_ITERATIONS - 1) / POLL_IDLE_ITERATIONS));
		assert_int_equal(forwarded, 2 * 32 * TURNS);
		run_end();
	}
}

enum { WAKES = 40 };

static unsigned int wakes_at, woke_at, visits_when_awake;

/* Pair 0 is always busy; pair WAKES has one frame, in turn wakes_at. */
static void
script_wake(unsigned int turn, unsigned int i)
{
	fakes[i].n_frames = i == 0;
	if (i == WAKES && turn >= wakes_at && woke_at == NEVER) {
		fakes[i].n_frames = 1;
		fakes[i].n_polls = 0;
		woke_at = turn;
	}
	if (i == 0 && woke_at != NEVER && turn == woke_at + POLL_BUSY_ITERATIONS)
		visits_when_awake = fakes[WAKES].n_polls;
}

/* Wherever in a round it is, it waits no longer than promised; it is busy for a time, and idle again then. */
static void
test_woken_pair_is_busy(void **state)
{
	const unsigned int iterations_after = 50 * POLL_IDLE_ITERATIONS;
	unsigned int longest = 0;

	for (wakes_at = 1000; wakes_at < 1000 + 2 * POLL_IDLE_ITERATIONS; wakes_at++) {
		woke_at = NEVER;
		run(&mode, 66, wakes_at + iterations_after, script_wake);
		assert_int_not_equal(woke_at, NEVER);
		assert_in_range(woke_at - wakes_at, 0, POLL_IDLE_ITERATIONS - 1);
		longest = RTE_MAX(longest, woke_at - wakes_at);
		assert_int_equal(visits_when_awake, POLL_BUSY_ITERATIONS);
		assert_in_range(fakes[WAKES].n_polls, POLL_BUSY_ITERATIONS + 1,
				POLL_BUSY_ITERATIONS + 1 + idle_visits(66, iterations_after));
		run_end();
	}
	/* Some did wait. */
	assert_in_range(longest, POLL_IDLE_ITERATIONS / 2, POLL_IDLE_ITERATIONS - 1);
}

/* Phases in which more or fewer pairs have frames, at random, and sometimes all of those that are asked. */
static void
script_random(unsigned int turn, unsigned int i)
{
	unsigned int phase = turn / 97 % 4;

	fakes[i].n_frames = phase == 0   ? i == 0 || rng_below(200) == 0
			    : phase == 1 ? 1
			    : phase == 2 ? i % 2
					 : rng_below(7) == 0;
}

static void
test_nobody_starves(void **state)
{
	for (unsigned int k = 0; k < RTE_DIM(sizes); k++) {
		run(&mode, sizes[k], 5000, script_random);
		for (unsigned int i = 0; i < sizes[k]; i++) {
			assert_in_range(fakes[i].gap_poll, 1, POLL_IDLE_ITERATIONS);
			assert_in_range(fakes[i].gap_service, 1, POLL_IDLE_ITERATIONS);
		}
		run_end();
	}
}

static unsigned int services_before, services_until;

/* From turn 1000 on, pair 0 sends to pair WAKES, which never has a frame itself; until turn 2000. */
static void
script_send(unsigned int turn, unsigned int i)
{
	struct rte_mbuf *pkts[2] = {NULL};

	fakes[i].n_frames = i == 0 ? 2 : 0;
	if (i == 0 && turn == 1000)
		services_before = fakes[WAKES].n_services;
	if (i == 0 && turn >= 1000 && turn < 2000)
		port_tx(&fakes[WAKES].txq, pkts, 2);
	if (i == 0 && turn == 2000 + POLL_BUSY_ITERATIONS)
		services_until = fakes[WAKES].n_services;
}

/* What it owes its driver is looked after although the worker is busy with others. */
static void
test_pair_that_is_sent_to_is_serviced(void **state)
{
	run(&mode, 66, 2000 + POLL_BUSY_ITERATIONS + 1, script_send);
	assert_in_range(services_until - services_before,
			1000 - POLL_IDLE_ITERATIONS + POLL_BUSY_ITERATIONS - 1, 1000 + POLL_BUSY_ITERATIONS);
	for (unsigned int i = 0; i < 66; i++)
		assert_in_range(fakes[i].gap_service, 1, POLL_IDLE_ITERATIONS);
	run_end();
}

/* Frames that rx took and dropped at once: it has nothing to show, but its counters have moved. */
static void
script_drop(unsigned int turn, unsigned int i)
{
	fakes[i].n_frames = i == 0;
	if (i == WAKES && turn >= 1000)
		fakes[i].rxq.stats.packets++;
}

static void
test_dropped_frames_count(void **state)
{
	run(&mode, 66, 2000, script_drop);
	assert_in_range(fakes[WAKES].n_polls, 1000 - POLL_IDLE_ITERATIONS,
			1000 + POLL_BUSY_ITERATIONS + idle_visits(66, 1000));
	run_end();
}

/* Long frames of the first pair, as many as it is asked for; long frames on a wire of the next ones. */
enum { HEAVY_LEN = 65535, LIGHT_LEN = 1514, N_LIGHT = 4 };

static void
script_heavy(unsigned int turn, unsigned int i)
{
	fakes[i].n_frames = i <= N_LIGHT ? PORT_BURST : 0;
	fakes[i].len = i == 0 ? HEAVY_LEN : LIGHT_LEN;
}

static void
script_heavy_alone(unsigned int turn, unsigned int i)
{
	script_heavy(turn, i);
	fakes[i].n_frames = i == 0 ? PORT_BURST : 0;
}

/* Who sends longer frames does not get more of the worker, is serviced all the same, and loses nothing when
 * nobody else sends. */
static void
test_bytes_are_shared(void **state)
{
	enum { TURNS = 8000 };

	run(&mode, 66, TURNS, script_heavy);
	for (unsigned int i = 1; i <= N_LIGHT; i++) {
		assert_int_equal(fakes[i].gap_poll, 1);
		assert_in_range(fakes[i].rxq.stats.bytes, (uint64_t)TURNS * PORT_BURST * LIGHT_LEN * 99 / 100,
				(uint64_t)TURNS * PORT_BURST * LIGHT_LEN);
		/* Of the heavy one, a burst and what its debt is rounded by. */
		assert_in_range(fakes[0].rxq.stats.bytes, fakes[i].rxq.stats.bytes * 95 / 100,
				fakes[i].rxq.stats.bytes * 105 / 100);
	}
	assert_int_equal(fakes[0].gap_service, 1);
	run_end();
	run(&mode, 66, TURNS, script_heavy_alone);
	assert_int_equal(fakes[0].gap_poll, 1);
	assert_in_range(fakes[0].n_polls, TURNS - 1, TURNS);
	run_end();
}

static void
test_generating_is_for_all(void **state)
{
	run(&mode_generating, 66, 500, script_first_two_busy);
	for (unsigned int i = 0; i < 66; i++)
		assert_int_equal(fakes[i].n_generated, 500);
	run_end();
}

static void
test_leaving_pairs_are_serviced(void **state)
{
	n_leaving = 3;
	run(&mode, 66, 500, script_first_two_busy);
	for (unsigned int i = 66; i < 69; i++) {
		assert_int_equal(fakes[i].n_polls, 0);
		assert_int_equal(fakes[i].n_services, 500);
	}
	n_leaving = 0;
	run_end();
}

static struct fwd_plan *plan_next;

static void
script_new_plan(unsigned int turn, unsigned int i)
{
	script_first_two_busy(turn, i);
	if (turn == 200 && plan_next) {
		fwd_plan_free(plan_next);
		plan_next = NULL;
	}
	if (turn == 100 && i == 0)
		plan_next = atomic_exchange(&shared.plan, plan_next);
}

/* Fewer pairs, more pairs, none: what was remembered is of the other plan. */
static void
test_new_plan(void **state)
{
	static const struct {
		unsigned int n_before, n_after;
	} cases[] = {{66, 3}, {3, 66}, {66, 66}, {FWD_WORKER_QUEUES_MAX, 1}};

	for (unsigned int k = 0; k < RTE_DIM(cases); k++) {
		unsigned int n_before = cases[k].n_before, n_after = cases[k].n_after;

		/* The fakes are there for the larger one; both have plans over them. */
		fakes_open(RTE_MAX(n_before, n_after));
		plan_next = plan_make(&mode, n_after);
		plan_forget();
		atomic_store(&shared.plan, plan_make(&mode, n_before));
		for (unsigned int i = n_before; i < n_after; i++)
			fakes[i].rxq.rx = fake_rx;
		counters = (struct worker_counters){0};
		script = script_new_plan;
		turn_last = 299;
		atomic_store(&shared.order, WORKER_RUN);
		rte_rcu_qsbr_thread_register(shared.rcu, 0);
		worker_main(&(struct worker){.fwd = &fwd_worker, .shared = &shared, .counters = &counters});
		rte_rcu_qsbr_thread_unregister(shared.rcu, 0);
		for (unsigned int i = 0; i < RTE_MAX(n_before, n_after); i++) {
			if (i < n_after)
				gap_add(&fakes[i].gap_poll, &fakes[i].last_poll);
			else
				assert_in_range(fakes[i].last_poll, 0, 100);
			/* In the first iteration of the new plan all were visited: here, those new to it. */
			if (i >= n_before)
				assert_int_equal(fakes[i].gap_poll, 101);
			else if (i < n_after)
				assert_in_range(fakes[i].gap_poll, 1, POLL_IDLE_ITERATIONS);
		}
		assert_null(plan_next);
		run_end();
	}
}

/* Memory is used again: another plan may be where the one before was, and only its serial tells. */
static void
test_new_plan_in_the_same_place(void **state)
{
	static struct poll poll;
	struct fwd_plan *plan, *other;

	fakes_open(66);
	plan = plan_make(&mode, 66);
	other = plan_make(&mode, 5);
	poll_begin(&poll, plan, &plan->workers[0]);
	assert_int_equal(poll.n, 66);
	fakes[7].rxq.stats.packets++;
	poll_end(&poll, &plan->workers[0]);
	memcpy(plan, other, sizeof(*plan) + sizeof(plan->workers[0]));
	for (unsigned int turn = 0; turn < 100; turn++) {
		poll_begin(&poll, plan, &plan->workers[0]);
		assert_int_equal(poll.n, 5);
		for (unsigned int i = 0; i < poll.n; i++)
			assert_in_range(poll.visits[i], 0, 4);
		poll_end(&poll, &plan->workers[0]);
	}
	fwd_plan_free(plan);
	fwd_plan_free(other);
	free(fakes);
}

/* The plans of the program have such serials. */
static void
test_serials(void **state)
{
	struct diag diag;
	struct fwd_plan *a = fwd_plan_build(&mode, NULL, NULL, 0, NULL, 1, &diag);
	struct fwd_plan *b = fwd_plan_build(&mode, NULL, NULL, 0, NULL, 1, &diag);

	assert_non_null(a);
	assert_non_null(b);
	assert_true(a->serial != 0 && b->serial != 0);
	assert_true(a->serial != b->serial);
	fwd_plan_free(a);
	fwd_plan_free(b);
}

static int
group_setup(void **state)
{
	size_t size = rte_rcu_qsbr_get_memsize(RCU_THREADS);

	shared.rcu = unit_zalloc(size);
	return rte_rcu_qsbr_init(shared.rcu, RCU_THREADS);
}

static int
group_teardown(void **state)
{
	free(shared.rcu);
	return 0;
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_quiet_worker_polls_all),
		cmocka_unit_test(test_busy_pairs_first),
		cmocka_unit_test(test_woken_pair_is_busy),
		cmocka_unit_test(test_nobody_starves),
		cmocka_unit_test(test_pair_that_is_sent_to_is_serviced),
		cmocka_unit_test(test_dropped_frames_count),
		cmocka_unit_test(test_bytes_are_shared),
		cmocka_unit_test(test_generating_is_for_all),
		cmocka_unit_test(test_leaving_pairs_are_serviced),
		cmocka_unit_test(test_new_plan),
		cmocka_unit_test(test_new_plan_in_the_same_place),
		cmocka_unit_test(test_serials),
	};

	return UNIT_RUN_WITH(tests, group_setup, group_teardown);
}
