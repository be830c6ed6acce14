/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * EAL's limit for vector registers chooses the ISA variant: as an option, and as set by the program. EAL
 * starts once in a process, so each case is a child.
 */
#define ALLOW_EXPERIMENTAL_API /* rte_vect_set_max_simd_bitwidth() */
#include "unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <rte_common.h>
#include <rte_eal.h>
#include <rte_vect.h>

#include "isa.h"
#include "simd.h"

enum { BY_NOBODY = 0, FAILED = 99 };

/* What is chosen in a process whose EAL has that option, and whose program then sets that limit. */
static int
chosen(unsigned int option, uint16_t set)
{
	char limit[64];
	char *args[] = {(char *)"test_simd",
			(char *)"--no-huge",
			(char *)"-m",
			(char *)"16",
			(char *)"--no-shconf",
			(char *)"--no-telemetry",
			(char *)"--no-pci",
			(char *)"--log-level=error",
			(char *)"-l",
			(char *)"0",
			limit};

	snprintf(limit, sizeof(limit), "--force-max-simd-bitwidth=%u", option);
	if (rte_eal_init((int)RTE_DIM(args) - (option == BY_NOBODY), args) < 0)
		return FAILED;
	if (set != BY_NOBODY && rte_vect_set_max_simd_bitwidth(set) < 0)
		return FAILED;
	return simd_limit() == isa_select() ? (int)isa_select() : FAILED;
}

static int
chosen_by_child(unsigned int option, uint16_t set)
{
	pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (pid == 0)
		_exit(chosen(option, set));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void
test_limits(void **state)
{
	static const struct {
		unsigned int option;
		uint16_t set;
		enum isa most; /* where the CPU has it */
	} cases[] = {
		{BY_NOBODY, BY_NOBODY, ISA_N - 1}, {64, BY_NOBODY, ISA_PORTABLE},
		{128, BY_NOBODY, ISA_PORTABLE},    {256, BY_NOBODY, ISA_AVX2},
		{512, BY_NOBODY, ISA_N - 1},       {BY_NOBODY, 128, ISA_PORTABLE},
		{BY_NOBODY, 512, ISA_N - 1},
	};

	for (size_t i = 0; i < RTE_DIM(cases); i++) {
		int want = (int)RTE_MIN(cases[i].most, isa_select()),
		    got = chosen_by_child(cases[i].option, cases[i].set);

		if (got != want)
			fail_msg("option %u, set %u: %d, not %s", cases[i].option, cases[i].set, got,
				 isa_name((enum isa)want));
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_limits),
	};

	return UNIT_RUN(tests);
}
