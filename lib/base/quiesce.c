/* SPDX-License-Identifier: BSD-3-Clause */
#include "quiesce.h"

struct quiesce_worker quiesce_workers[QUIESCE_WORKERS_MAX];

static struct {
	void (*wait)(void *arg);
	void *wait_arg;
	uint64_t (*start)(void);
	bool (*passed)(uint64_t token);
	/* Of the wait under way. */
	quiesce_holds_fn holds;
	const void *holds_arg;
} quiesce;

void
quiesce_set_wait(void (*wait)(void *arg), void *arg)
{
	quiesce.wait = wait;
	quiesce.wait_arg = arg;
}

void
quiesce_set_poll(uint64_t (*start)(void), bool (*passed)(uint64_t token))
{
	quiesce.start = start;
	quiesce.passed = passed;
}

void
quiesce_wait(void)
{
	quiesce_wait_held(NULL, NULL);
}

void
quiesce_wait_held(quiesce_holds_fn holds, const void *arg)
{
	quiesce.holds = holds;
	quiesce.holds_arg = arg;
	if (quiesce.wait)
		quiesce.wait(quiesce.wait_arg);
	quiesce.holds = NULL;
}

uint64_t
quiesce_start(void)
{
	return quiesce.start ? quiesce.start() : 0;
}

bool
quiesce_passed(uint64_t token, quiesce_holds_fn holds, const void *arg)
{
	bool passed;

	quiesce.holds = holds;
	quiesce.holds_arg = arg;
	passed = !quiesce.passed || quiesce.passed(token);
	quiesce.holds = NULL;
	return passed;
}

bool
quiesce_is_held(unsigned int worker)
{
	return quiesce.holds && quiesce.holds(quiesce.holds_arg, worker);
}
