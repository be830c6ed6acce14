/* SPDX-License-Identifier: BSD-3-Clause */
/* distance.h: how far apart two CPUs are. In a virtual machine that changes while it runs. */
#ifndef PERF_DISTANCE_H
#define PERF_DISTANCE_H

enum { DISTANCE_RALLIES_MAX = 501 };
#define DISTANCE_WARM_UP_S 0.5 /* of CPUs that have idled */
#define DISTANCE_LIMIT_S 20.0

/* Nanoseconds that a changed cache line takes from one CPU to the other while both are busy: median of so
 * many rallies of some 50 microseconds, behind the warm-up; of fewer, when both CPUs were not ours for long
 * enough until the limit; 0: never. The caller's thread is on cpu_a from then on; a second one is on cpu_b
 * meanwhile.
 */
double distance_measure(int cpu_a, int cpu_b, double warm_up_s, unsigned n_rallies, double limit_s);

#endif
