/* SPDX-License-Identifier: BSD-3-Clause */
/* distance.c: see distance.h. Two threads play ping-pong with one line. */
#include "distance.h"

#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "fail.h"

enum { RALLIES = 51, STROKES = 200 };

struct distance_court {
	_Alignas(128) uint32_t ball; /* even: the first thread's turn; nothing else in its lines */
};

/* Hits every second ball; the release and acquire pair with the other thread's. */
static void
rally(struct distance_court *court, uint32_t from, uint32_t to)
{
	for (uint32_t ball = from; ball < to; ball += 2) {
		while (__atomic_load_n(&court->ball, __ATOMIC_ACQUIRE) != ball)
			__builtin_ia32_pause();
		__atomic_store_n(&court->ball, ball + 1, __ATOMIC_RELEASE);
	}
}

static void *
second_player(void *arg)
{
	rally(arg, 1, RALLIES * STROKES * 2 + 1);
	return NULL;
}

static int
compare_doubles(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

double
distance_measure(int cpu_a, int cpu_b)
{
	static struct distance_court court;
	double ns[RALLIES];
	pthread_attr_t attr;
	pthread_t second;
	cpu_set_t set;
	int err;

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
	for (uint32_t i = 0; i < RALLIES; i++) {
		struct timespec start, end;

		clock_gettime(CLOCK_MONOTONIC, &start);
		rally(&court, i * STROKES * 2, (i + 1) * STROKES * 2);
		clock_gettime(CLOCK_MONOTONIC, &end);
		ns[i] = ((double)(end.tv_sec - start.tv_sec) * 1e9 + (double)(end.tv_nsec - start.tv_nsec)) /
			(STROKES * 2);
	}
	pthread_join(second, NULL);
	qsort(ns, RALLIES, sizeof(ns[0]), compare_doubles);
	return ns[RALLIES / 2];
}
