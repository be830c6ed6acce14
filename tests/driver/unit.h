/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * unit: what each unit test program begins with. cmocka and what it wants in front of it, EAL and packet
 * buffers where a test needs them, and a main() that runs the cases.
 *
 *     int
 *     main(void)
 *     {
 *             const struct CMUnitTest tests[] = { cmocka_unit_test(test_this), ... };
 *
 *             unit_eal_start(&(struct unit_eal){.memory_mb = 64, .n_mbufs = 255});
 *             return UNIT_RUN(tests);
 *     }
 */
#ifndef VNICD_TEST_UNIT_H
#define VNICD_TEST_UNIT_H

/* cmocka.h uses these and does not include them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* Code for the sanitizers takes several times as long: what goes through very many states or sizes goes
 * through some of them there. */
#if defined(__SANITIZE_ADDRESS__)
#define UNIT_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define UNIT_SANITIZED 1
#endif
#endif
#ifndef UNIT_SANITIZED
#define UNIT_SANITIZED 0
#endif

/*
 * Runs the cases, each from the start of its own stream of random numbers, so that one alone does what it
 * does among the others. Who fails or aborts says the seed. Returns how many failed.
 */
#define UNIT_RUN(tests) unit_run(#tests, tests, sizeof(tests) / sizeof((tests)[0]), NULL, NULL)
/* The same with something to be done before the first case and after the last. */
#define UNIT_RUN_WITH(tests, set_up, tear_down) \
	unit_run(#tests, tests, sizeof(tests) / sizeof((tests)[0]), set_up, tear_down)

int unit_run(const char *name, const struct CMUnitTest tests[], size_t n, CMFixtureFunction set_up,
	     CMFixtureFunction tear_down);

/* Zeroed, at the start of a cache line, a whole number of them; to be freed by free(). Never NULL. */
void *unit_zalloc(size_t size);

#endif
