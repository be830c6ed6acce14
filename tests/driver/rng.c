/* SPDX-License-Identifier: BSD-3-Clause */
#include "rng.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct rng rng_case = {1};

uint64_t
rng_seed(void)
{
	static uint64_t seed;
	static bool known;

	if (!known) {
		const char *text = getenv("VNICD_TEST_SEED");
		struct timespec now;

		if (!text || !text[0]) {
			seed = 1;
		} else if (strcmp(text, "random") == 0) {
			clock_gettime(CLOCK_REALTIME, &now);
			seed = (uint64_t)now.tv_sec * 1000000007u + (uint64_t)now.tv_nsec +
			       (uint64_t)getpid();
		} else {
			seed = strtoull(text, NULL, 0);
		}
		known = true;
	}
	return seed;
}

void
rng_report(void)
{
	char line[64] = "VNICD_TEST_SEED=", digits[24];
	size_t len = strlen(line), n = 0;
	uint64_t seed = rng_seed();

	do
		digits[n++] = (char)('0' + seed % 10);
	while (seed /= 10);
	while (n)
		line[len++] = digits[--n];
	line[len++] = '\n';
	/* There is nobody to tell that it failed. */
	if (write(STDERR_FILENO, line, len) < 0)
		return;
}

struct rng
rng_stream(uint64_t salt)
{
	struct rng rng = {rng_seed() ^ salt * UINT64_C(0xd1342543de82ef95)};

	rng.state = rng_next(&rng);
	return rng;
}
