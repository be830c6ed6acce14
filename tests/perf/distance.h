/* SPDX-License-Identifier: BSD-3-Clause */
/* distance.h: how far apart two CPUs are. In a virtual machine that changes while it runs. */
#ifndef PERF_DISTANCE_H
#define PERF_DISTANCE_H

/* Nanoseconds that a changed cache line takes from one CPU to the other while both are busy, median of many
 * short rallies. Takes about half a second, and both CPUs.
 */
double distance_measure(int cpu_a, int cpu_b);

#endif
