/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * seqcheck.h: what became of numbered frames: lost, duplicated, reordered. A word is a tag of 8 bits that
 * says which flow the frame belongs to, and a number of 56 bits.
 */
#ifndef PERF_SEQCHECK_H
#define PERF_SEQCHECK_H

#include <stdbool.h>
#include <stdint.h>

enum { SEQ_TAG_SHIFT = 56, SEQCHECK_GAPS = 1024 };

/* Numbers [from, to) that have not been seen; one that comes late shrinks or splits its gap. */
struct seqcheck_gap {
	uint64_t from;
	uint64_t to;
};

struct seqcheck {
	uint64_t next; /* word, tag included */
	bool any;      /* words mean nothing: no frame is ours to number */
	uint64_t n_lost;
	uint64_t n_duplicated;
	uint64_t n_reordered;
	uint64_t n_foreign; /* another tag: not from this flow */
	uint32_t gap_at;    /* the oldest gap is forgotten when a new one needs its place */
	struct seqcheck_gap gaps[SEQCHECK_GAPS];
};

/* The word is not the expected one. False: it is foreign. */
bool seqcheck_unexpected(struct seqcheck *check, uint64_t word);

static inline bool
seqcheck_word(struct seqcheck *check, uint64_t word)
{
	if (__builtin_expect(word == check->next, 1)) {
		check->next++;
		return true;
	}
	return seqcheck_unexpected(check, word);
}

#endif
