/* SPDX-License-Identifier: BSD-3-Clause */
/* histogram.h: values in buckets at most 1/32 of the value wide, for percentiles of latencies. */
#ifndef PERF_HISTOGRAM_H
#define PERF_HISTOGRAM_H

#include <stdint.h>

enum { HISTOGRAM_SUB_BITS = 6, HISTOGRAM_BUCKETS = (64 - HISTOGRAM_SUB_BITS + 1) << HISTOGRAM_SUB_BITS };

struct histogram {
	uint64_t n;
	uint64_t min;
	uint64_t max;
	uint64_t buckets[HISTOGRAM_BUCKETS];
};

void histogram_add(struct histogram *histogram, uint64_t value);

/* The value that the given share (0 to 1) of all values does not exceed; 0 when there are none. */
uint64_t histogram_percentile(const struct histogram *histogram, double share);

#endif
