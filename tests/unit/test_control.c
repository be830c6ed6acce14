/* SPDX-License-Identifier: BSD-3-Clause */
/* The control lock between the control thread and service cores that try for it without a pause. */
#include "unit.h"

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#include "control.h"

static struct control control;

enum {
	SPINNERS_MAX = 3,
	HOLD_US = 100, /* a spinner's turn with the lock */
	ROUNDS = 200,  /* turns of the control thread */
	NAP_US = 500,  /* in which it waits for events */
	HOLD_ROUNDS = 20,
	HOLD_LONG_US = 20000,
	TURNS_MOST = 2, /* let in before the control thread: the one under way, and one that was faster */
	WAIT_MOST_MS = 5000, /* for anything; the machine may be busy */
};

/* Written under the lock only. */
static struct {
	uint64_t iterations, sum, copy;
	int inside;
} guarded;

static atomic_bool stopping;
static atomic_uint_fast64_t turns; /* of all spinners; read without the lock */

static uint64_t
now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

static void
nap(unsigned int us)
{
	const struct timespec ts = {.tv_nsec = us * 1000L};

	nanosleep(&ts, NULL);
}

/* With the lock: nobody else is here, and what they wrote is seen whole. */
static void
touch(void)
{
	assert_int_equal(guarded.inside, 0);
	guarded.inside = 1;
	assert_int_equal(guarded.sum, guarded.copy);
	guarded.sum++;
	guarded.copy++;
	guarded.inside = 0;
}

/* A service core: again and again, hardly ever without the lock. */
static void *
spin(void *arg)
{
	while (!atomic_load(&stopping)) {
		uint64_t until_us;

		if (!control_trylock(&control))
			continue;
		until_us = now_us() + HOLD_US;
		touch();
		guarded.iterations++;
		atomic_fetch_add(&turns, 1);
		while (now_us() < until_us)
			;
		control_unlock(&control);
	}
	return NULL;
}

static void
spinners_start(pthread_t threads[], unsigned int n)
{
	atomic_store(&stopping, false);
	for (unsigned int i = 0; i < n; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, spin, NULL), 0);
}

/* Without the lock held. */
static void
spinners_stop(const pthread_t threads[], unsigned int n)
{
	atomic_store(&stopping, true);
	for (unsigned int i = 0; i < n; i++)
		pthread_join(threads[i], NULL);
}

/* Until the spinners have had n more iterations. */
static void
iterations_await(uint64_t n)
{
	uint64_t from = atomic_load(&turns), start_us = now_us();

	while (atomic_load(&turns) - from < n) {
		assert_true(now_us() - start_us < WAIT_MOST_MS * 1000ull);
		nap(NAP_US);
	}
}

/*
 * The control thread is the next but those who were faster, however many try. Counted in turns of the others,
 * which a busy machine does not change; but it may stop us between our look at the count and the call, so a
 * few rounds may go by in which more got in.
 */
static void
control_thread_is_next(unsigned int n_spinners)
{
	pthread_t threads[SPINNERS_MAX];
	unsigned int n_late = 0;

	control_lock(&control);
	spinners_start(threads, n_spinners);
	for (unsigned int i = 0; i < ROUNDS; i++) {
		uint64_t before, start_us;

		control_unlock(&control);
		nap(NAP_US);
		start_us = now_us();
		before = atomic_load(&turns);
		control_lock(&control);
		n_late += atomic_load(&turns) - before > TURNS_MOST;
		assert_true(now_us() - start_us < WAIT_MOST_MS * 1000ull);
		touch();
	}
	control_unlock(&control);
	iterations_await(1);
	spinners_stop(threads, n_spinners);
	assert_in_range(n_late, 0, ROUNDS / 50);
}

static void
test_control_thread_is_next(void **state)
{
	control_thread_is_next(1);
}

static void
test_control_thread_is_next_of_many(void **state)
{
	control_thread_is_next(SPINNERS_MAX);
}

static atomic_bool asked_to_hold, holds;
static atomic_uint n_overtook;

/* A service core that is in its iteration until the control thread surely waits, and tries again at once. */
static void *
hold_and_try_again(void *arg)
{
	for (unsigned int i = 0; i < HOLD_ROUNDS; i++) {
		while (!atomic_load(&asked_to_hold) || !control_trylock(&control))
			;
		atomic_store(&asked_to_hold, false);
		atomic_store(&holds, true);
		nap(HOLD_LONG_US);
		control_unlock(&control);
		if (control_trylock(&control)) {
			atomic_fetch_add(&n_overtook, 1);
			control_unlock(&control);
		}
	}
	return NULL;
}

/* On a busy machine the control thread may come too late to wait, now and then. */
static void
test_nobody_overtakes_a_waiting_control_thread(void **state)
{
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, hold_and_try_again, NULL), 0);
	for (unsigned int i = 0; i < HOLD_ROUNDS; i++) {
		atomic_store(&asked_to_hold, true);
		while (!atomic_load(&holds))
			;
		control_lock(&control);
		atomic_store(&holds, false);
		nap(NAP_US);
		control_unlock(&control);
	}
	pthread_join(thread, NULL);
	assert_in_range(atomic_load(&n_overtook), 0, HOLD_ROUNDS / 4);
}

/* While the control thread works, nobody else does; while it waits, everybody can. */
static void
test_service_cores_work_while_it_waits(void **state)
{
	pthread_t threads[SPINNERS_MAX];

	control_lock(&control);
	spinners_start(threads, SPINNERS_MAX);
	for (unsigned int i = 0; i < 5; i++) {
		uint64_t before = guarded.iterations;

		assert_false(control_trylock(&control));
		nap(10 * NAP_US);
		assert_int_equal(guarded.iterations, before);
		control_unlock(&control);
		iterations_await(10);
		control_lock(&control);
		touch();
	}
	control_unlock(&control);
	spinners_stop(threads, SPINNERS_MAX);
}

static void
test_trylock(void **state)
{
	assert_true(control_trylock(&control));
	assert_false(control_trylock(&control));
	control_unlock(&control);
	control_lock(&control);
	assert_false(control_trylock(&control));
	control_unlock(&control);
	assert_true(control_trylock(&control));
	control_unlock(&control);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_trylock),
		cmocka_unit_test(test_control_thread_is_next),
		cmocka_unit_test(test_control_thread_is_next_of_many),
		cmocka_unit_test(test_nobody_overtakes_a_waiting_control_thread),
		cmocka_unit_test(test_service_cores_work_while_it_waits),
	};

	return UNIT_RUN(tests);
}
