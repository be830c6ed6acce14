/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * slices.h: a guest whose back-end runs only for moments at a time, when it is told to: between them the
 * back-end's processes are stopped (SIGSTOP) and the guest sleeps in read(), so that another pair of guest
 * and back-end can have both CPUs.
 *
 *   order in   | distance | continue | skip | measure | stop | distance |   answer out, sleep
 *
 * One order is a line on standard input: SECONDS SKIP_S PPS [keep]. The end of input is the end of the run.
 */
#ifndef PERF_SLICES_H
#define PERF_SLICES_H

#include <stdbool.h>
#include <sys/types.h>

enum { SLICES_PIDS_MAX = 4 };

struct slices {
	pid_t pids[SLICES_PIDS_MAX]; /* of the back-end, and what else is to stand still with it */
	unsigned n_pids;
	int cpu;    /* the guest's, -1: not pinned */
	int beside; /* the back-end's, -1: no distances */
};

struct slice_order {
	double seconds; /* to measure, behind the skipped ones */
	double skip_s;
	double pps; /* of each flow; 0: as the command line says */
	bool keep;  /* the processes are left running */
};

/* Sleeps until there is an order. False: no more will come. Exits when a line is none. */
bool slices_next(struct slice_order *ret_order);

/* All processes go on, or stand still. */
void slices_go(const struct slices *slices);
void slices_halt(const struct slices *slices);

/* Nanoseconds that a line takes between the two CPUs, in two milliseconds, while the processes stand still;
 * 0: not asked for, or not to be had in ten. */
double slices_distance(const struct slices *slices);

#endif
