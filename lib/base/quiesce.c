/* SPDX-License-Identifier: BSD-3-Clause */
#include "quiesce.h"

void
quiesce_set(struct quiesce *q, void (*wait)(void *arg), uint64_t (*start)(void *arg),
	    bool (*passed)(void *arg, uint64_t token), void *arg)
{
	q->wait = wait;
	q->start = start;
	q->passed = passed;
	q->arg = arg;
}

void
quiesce_wait(struct quiesce *q)
{
	quiesce_wait_held(q, NULL, NULL);
}

void
quiesce_wait_held(struct quiesce *q, quiesce_holds_fn holds, const void *arg)
{
	q->holds = holds;
	q->holds_arg = arg;
	if (q->wait)
		q->wait(q->arg);
	q->holds = NULL;
}

uint64_t
quiesce_start(struct quiesce *q)
{
	return q->start ? q->start(q->arg) : 0;
}

bool
quiesce_passed(struct quiesce *q, uint64_t token, quiesce_holds_fn holds, const void *arg)
{
	bool passed;

	q->holds = holds;
	q->holds_arg = arg;
	passed = !q->passed || q->passed(q->arg, token);
	q->holds = NULL;
	return passed;
}

bool
quiesce_is_held(const struct quiesce *q, unsigned int worker)
{
	return q->holds && q->holds(q->holds_arg, worker);
}
