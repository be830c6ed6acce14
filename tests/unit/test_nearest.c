/* SPDX-License-Identifier: BSD-3-Clause */
/* test_nearest: the distance between words, and the choice of the closest. */
#include "unit.h"

#include "nearest.h"

static void
test_distance(void **state)
{
	static const struct {
		const char *a, *b;
		unsigned int distance;
	} row[] = {
		{"", "", 0},
		{"", "abc", 3},
		{"abc", "", 3},
		{"mac", "mac", 0},
		{"mac", "mtu", 2},
		{"queus", "queues", 1},
		{"queuess", "queues", 1},
		{"qeueus", "queues", 2},
		{"kitten", "sitting", 3},
	};

	for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
		assert_int_equal(nearest_distance(row[i].a, row[i].b), row[i].distance);
		assert_int_equal(nearest_distance(row[i].b, row[i].a), row[i].distance);
	}
}

static void
test_distance_long(void **state)
{
	char a[100], b[100];

	for (size_t i = 0; i < sizeof(a) - 1; i++)
		a[i] = b[i] = 'x';
	a[99] = b[99] = '\0';
	b[0] = 'y';
	b[98] = 'y'; /* beyond what is compared */
	assert_int_equal(nearest_distance(a, b), 1);
}

static void
test_word(void **state)
{
	static const char *const words[] = {"io", "mac", "macswap", "rxonly", "txonly", "switch"};
	const size_t n = sizeof(words) / sizeof(words[0]);

	assert_string_equal(nearest_word("swich", words, n), "switch");
	assert_string_equal(nearest_word("macswp", words, n), "macswap");
	assert_string_equal(nearest_word("mac", words, n), "mac");
	assert_string_equal(nearest_word("xonly", words, n), "rxonly"); /* a tie goes to the first */
	assert_null(nearest_word("mac", words, 0));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_distance),
		cmocka_unit_test(test_distance_long),
		cmocka_unit_test(test_word),
	};

	return UNIT_RUN(tests);
}
