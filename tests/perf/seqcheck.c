/* SPDX-License-Identifier: BSD-3-Clause */
/* seqcheck.c: see seqcheck.h. */
#include "seqcheck.h"

static void
gap_add(struct seqcheck *check, uint64_t from, uint64_t to)
{
	struct seqcheck_gap *gap = &check->gaps[check->gap_at++ % SEQCHECK_GAPS];

	gap->from = from;
	gap->to = to;
}

bool
seqcheck_unexpected(struct seqcheck *check, uint64_t word)
{
	if (check->any)
		return true;
	if (word >> SEQ_TAG_SHIFT != check->next >> SEQ_TAG_SHIFT) {
		check->n_foreign++;
		return false;
	}
	if (word > check->next) {
		check->n_lost += word - check->next;
		gap_add(check, check->next, word);
		check->next = word + 1;
		return true;
	}
	for (uint32_t i = 0; i < SEQCHECK_GAPS; i++) {
		struct seqcheck_gap *gap = &check->gaps[i];
		uint64_t to = gap->to;

		if (word < gap->from || word >= to)
			continue;
		gap->to = word;
		if (word + 1 < to)
			gap_add(check, word + 1, to);
		check->n_lost--;
		check->n_reordered++;
		return true;
	}
	check->n_duplicated++;
	return true;
}
