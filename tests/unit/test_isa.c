/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which ISA variant is chosen: by CPUs made up here, each with all extensions but some. Of a variant none of
 * whose code may run, each extension is missed alone.
 */
#include "unit.h"

#include "isa.h"

/* The table, as the compiler's options are made from it too. */
static const struct {
	enum isa isa;
	enum isa_extension extension;
	const char *word;
} needed[] = {
#define ISA_VARIANT(NAME, name, is_compiled, bits)
#define ISA_EXTENSION(NAME, word) {ISA_##NAME, ISA_HAS_##word, #word},
#include "isa.def"
#undef ISA_VARIANT
#undef ISA_EXTENSION
};

static const bool compiled[ISA_N] = {
	[ISA_PORTABLE] = true,
#define ISA_VARIANT(NAME, name, is_compiled, bits) [ISA_##NAME] = is_compiled,
#define ISA_EXTENSION(NAME, word)
#include "isa.def"
#undef ISA_VARIANT
#undef ISA_EXTENSION
};

enum { N_NEEDED = sizeof(needed) / sizeof(needed[0]) };

/* The CPU that is asked: what it lacks, and how often it was asked. */
static bool lacks[ISA_HAS_N + 1];
static unsigned int n_asked;

static bool
cpu_has(enum isa_extension extension)
{
	assert_in_range(extension, 0, ISA_HAS_N - 1);
	n_asked++;
	return !lacks[extension];
}

static enum isa
best_compiled(void)
{
	unsigned int isa = ISA_PORTABLE;

	while (isa + 1 < ISA_N && compiled[isa + 1])
		isa++;
	return (enum isa)isa;
}

/* On the machines that the project is built on, all of them: else the cases below test nothing. */
static void
test_compiled_in(void **state)
{
#ifdef __x86_64__
	assert_int_equal(best_compiled(), ISA_N - 1);
	assert_true(N_NEEDED > 0);
#endif
}

static void
test_cpu_that_has_all(void **state)
{
	assert_int_equal(isa_select_by(cpu_has), best_compiled());
}

static void
test_cpu_that_has_none(void **state)
{
	for (unsigned int i = 0; i < ISA_HAS_N; i++)
		lacks[i] = true;
	assert_int_equal(isa_select_by(cpu_has), ISA_PORTABLE);
	for (unsigned int i = 0; i < ISA_HAS_N; i++)
		lacks[i] = false;
}

/* One is missing: its variant and all behind it are out, the one before it is in. */
static void
test_each_extension_is_asked_for(void **state)
{
	for (unsigned int i = 0; i < N_NEEDED; i++) {
		enum isa isa;

		if (!compiled[needed[i].isa])
			continue;
		lacks[needed[i].extension] = true;
		n_asked = 0;
		isa = isa_select_by(cpu_has);
		lacks[needed[i].extension] = false;
		if (isa != needed[i].isa - 1)
			fail_msg("without %s: %s", needed[i].word, isa_name(isa));
		assert_true(n_asked > 0);
	}
}

/* EAL's limits: none, half of and all of a width, and more than there is. */
static void
test_width(void **state)
{
	static const struct {
		unsigned int bits;
		enum isa isa;
	} cases[] = {
		{0, ISA_PORTABLE},   {64, ISA_PORTABLE}, {128, ISA_PORTABLE},
		{255, ISA_PORTABLE}, {256, ISA_AVX2},    {511, ISA_AVX2},
		{512, ISA_N - 1},    {1024, ISA_N - 1},  {32768, ISA_N - 1},
	};

	for (unsigned int i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_int_equal(isa_of_width(cases[i].bits), cases[i].isa);
}

/* This CPU: no more than it has, whatever is wanted. */
static void
test_limit(void **state)
{
	enum isa most = isa_select();

	assert_in_range(most, ISA_PORTABLE, best_compiled());
	for (unsigned int isa = ISA_PORTABLE; isa < ISA_N; isa++) {
		enum isa expected = isa < most ? (enum isa)isa : most;

		assert_int_equal(isa_limit((enum isa)isa), expected);
		assert_int_equal(isa_select(), expected);
	}
	print_message("# this CPU: %s\n", isa_name(most));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_compiled_in),
		cmocka_unit_test(test_cpu_that_has_all),
		cmocka_unit_test(test_cpu_that_has_none),
		cmocka_unit_test(test_each_extension_is_asked_for),
		cmocka_unit_test(test_width),
		cmocka_unit_test(test_limit),
	};

	return UNIT_RUN(tests);
}
