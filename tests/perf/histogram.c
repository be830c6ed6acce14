/* SPDX-License-Identifier: BSD-3-Clause */
/* histogram.c: see histogram.h. */
#include "histogram.h"

enum { SUB = 1 << HISTOGRAM_SUB_BITS };

void
histogram_add(struct histogram *histogram, uint64_t value)
{
	unsigned shift = 0;

	if (value >= SUB)
		shift = 63 - (unsigned)__builtin_clzll(value) - HISTOGRAM_SUB_BITS + 1;
	/* With a shift, value >> shift is in [SUB / 2, SUB): the lower half of those buckets stays empty. */
	histogram->buckets[shift * SUB + (value >> shift)]++;
	if (!histogram->n || value < histogram->min)
		histogram->min = value;
	if (value > histogram->max)
		histogram->max = value;
	histogram->n++;
}

uint64_t
histogram_percentile(const struct histogram *histogram, double share)
{
	uint64_t rank = (uint64_t)(share * (double)histogram->n);
	uint64_t n = 0;

	if (rank < 1)
		rank = 1;
	for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
		uint64_t top = ((((uint64_t)i % SUB) + 1) << (i / SUB)) - 1;

		n += histogram->buckets[i];
		if (n >= rank)
			return top < histogram->max ? top : histogram->max;
	}
	return 0;
}
