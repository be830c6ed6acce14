/* SPDX-License-Identifier: BSD-3-Clause */
#include "nearest.h"

#include <limits.h>
#include <string.h>

enum { NEAREST_LEN_MAX = 63 };

unsigned int
nearest_distance(const char *a, const char *b)
{
	size_t len_a = strnlen(a, NEAREST_LEN_MAX), len_b = strnlen(b, NEAREST_LEN_MAX);
	unsigned int row[NEAREST_LEN_MAX + 1];

	for (size_t j = 0; j <= len_b; j++)
		row[j] = (unsigned int)j;
	for (size_t i = 1; i <= len_a; i++) {
		unsigned int diagonal = row[0];

		row[0] = (unsigned int)i;
		for (size_t j = 1; j <= len_b; j++) {
			unsigned int best = diagonal + (a[i - 1] != b[j - 1]);

			diagonal = row[j];
			if (row[j] + 1 < best)
				best = row[j] + 1;
			if (row[j - 1] + 1 < best)
				best = row[j - 1] + 1;
			row[j] = best;
		}
	}
	return row[len_b];
}

const char *
nearest_word(const char *word, const char *const words[], size_t n_words)
{
	unsigned int best_distance = UINT_MAX;
	const char *best = NULL;

	for (size_t i = 0; i < n_words; i++) {
		unsigned int distance = nearest_distance(word, words[i]);

		if (distance < best_distance) {
			best_distance = distance;
			best = words[i];
		}
	}
	return best;
}
