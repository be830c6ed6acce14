/* SPDX-License-Identifier: BSD-3-Clause */
/* nearest: "did you mean" for option names, port kinds and keys. */
#ifndef VNICD_NEAREST_H
#define VNICD_NEAREST_H

#include <stddef.h>

/* The number of single-character insertions, deletions and replacements between two words (at most 63
 * characters each). */
unsigned int nearest_distance(const char *a, const char *b);

/* The word of words[0..n_words) closest to `word`; NULL when n_words is 0. Ties go to the first. */
const char *nearest_word(const char *word, const char *const words[], size_t n_words);

#endif
