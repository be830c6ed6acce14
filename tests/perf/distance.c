/* SPDX-License-Identifier: BSD-3-Clause */
/* distance.c: see distance.h. Two threads play ping-pong with one line. A hypervisor brings two virtual CPUs
 * together only once it has seen both busy for some tenths of a second, and lets them drift apart when they
 * idle: what counts is how far apart they are while both work, so they play a while before it is measured,
 * where both have idled.
 */
#include "distance.h"

#include <assert.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "fail.h"

enum { STROKES = 200, PATIENCE = 1000 /* looks, a stroke takes some two */ };

struct distance_court {
	_Alignas(128) uint32_t ball; /* even: the first thread's turn; nothing else in its lines */
	_Alignas(128) bool over;     /* the ball won't be hit again */
};

static double
now_s(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void *
second_player(void *arg)
{
	struct distance_court *court = arg;

	while (!__atomic_load_n(&court->over, __ATOMIC_RELAXED)) {
		uint32_t ball = __atomic_load_n(&court->ball, __ATOMIC_ACQUIRE);

		if (ball & 1)
			__atomic_store_n(&court->ball, ball + 1, __ATOMIC_RELEASE);
		else
			__builtin_ia32_pause();
	}
	return NULL;
}

/* The ball comes back. False: not before the end, so the other player has no CPU. */
static bool
ball_awaited(const struct distance_court *court, uint32_t ball, double end_s)
{
	for (unsigned i = 0; __atomic_load_n(&court->ball, __ATOMIC_ACQUIRE) != ball; i++) {
		__builtin_ia32_pause();
		if (i % PATIENCE == PATIENCE - 1 && now_s() >= end_s)
			return false;
	}
	return true;
}

/* Nanoseconds for one way of the ball; 0: it did not come back before the end. */
static double
rally_ns(struct distance_court *court, double end_s)
{
	double start_s = now_s();

	for (int i = 0; i < STROKES; i++) {
		uint32_t ball = court->ball;

		__atomic_store_n(&court->ball, ball + 1, __ATOMIC_RELEASE);
		if (!ball_awaited(court, ball + 2, end_s))
			return 0;
	}
	return (now_s() - start_s) * 1e9 / (STROKES * 2);
}

static int
compare_doubles(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

double
distance_measure(int cpu_a, int cpu_b, double warm_up_s, unsigned n_rallies, double limit_s)
{
	static struct distance_court court;
	double ns[DISTANCE_RALLIES_MAX], start_s, end_s;
	unsigned n = 0;
	pthread_attr_t attr;
	pthread_t second;
	cpu_set_t set;
	int err;

	assert(n_rallies > 0 && n_rallies <= DISTANCE_RALLIES_MAX && "there is room for each");
	court = (struct distance_court){0};
	CPU_ZERO(&set);
	CPU_SET(cpu_a, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		fail("CPU %d: %m", cpu_a);
	CPU_ZERO(&set);
	CPU_SET(cpu_b, &set);
	pthread_attr_init(&attr);
	pthread_attr_setaffinity_np(&attr, sizeof(set), &set);
	err = pthread_create(&second, &attr, second_player, &court);
	if (err)
		fail("thread on CPU %d: %s", cpu_b, strerror(err));
	pthread_attr_destroy(&attr);
	start_s = now_s();
	end_s = start_s + limit_s;
	while (now_s() < start_s + warm_up_s && rally_ns(&court, end_s) > 0)
		;
	while (n < n_rallies && now_s() < end_s && (ns[n] = rally_ns(&court, end_s)) > 0)
		n++;
	__atomic_store_n(&court.over, true, __ATOMIC_RELAXED);
	pthread_join(second, NULL);
	qsort(ns, n, sizeof(ns[0]), compare_doubles);
	return n ? ns[n / 2] : 0;
}
