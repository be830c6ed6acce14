/* SPDX-License-Identifier: BSD-3-Clause */
#include "unit.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "rng.h"

enum { CACHE_LINE = 64 };

void *
unit_zalloc(size_t size)
{
	void *p;

	size = (size + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE;
	p = aligned_alloc(CACHE_LINE, size);
	assert_non_null(p);
	memset(p, 0, size);
	return p;
}

/* Of a case, before unit_run() put itself in front of it. */
struct original {
	CMFixtureFunction set_up;
	const char *name;
	void *initial_state;
};

static uint64_t
salt_of(const char *name)
{
	uint64_t salt = 14695981039346656037u;

	for (; *name; name++)
		salt = (salt ^ (uint8_t)*name) * 1099511628211u;
	return salt;
}

static int
case_set_up(void **state)
{
	const struct original *original = *state;

	rng_case = rng_stream(salt_of(original->name));
	*state = original->initial_state;
	return original->set_up ? original->set_up(state) : 0;
}

static void
on_abort(int sig)
{
	rng_report();
	signal(sig, SIG_DFL);
	raise(sig);
}

int
unit_run(const char *name, const struct CMUnitTest tests[], size_t n, CMFixtureFunction set_up,
	 CMFixtureFunction tear_down)
{
	struct CMUnitTest *wrapped = calloc(n, sizeof(*wrapped));
	struct original *originals = calloc(n, sizeof(*originals));
	int n_failed = -1;

	if (wrapped && originals) {
		for (size_t i = 0; i < n; i++) {
			originals[i] = (struct original){.set_up = tests[i].setup_func,
							 .name = tests[i].name,
							 .initial_state = tests[i].initial_state};
			wrapped[i] = tests[i];
			wrapped[i].setup_func = case_set_up;
			wrapped[i].initial_state = &originals[i];
		}
		signal(SIGABRT, on_abort);
		n_failed = _cmocka_run_group_tests(name, wrapped, n, set_up, tear_down);
		if (n_failed)
			rng_report();
	}
	free(originals);
	free(wrapped);
	return n_failed;
}
