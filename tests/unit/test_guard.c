/* SPDX-License-Identifier: BSD-3-Clause */
/* test_guard: lists of addresses; and that nothing is read behind a frame, whatever it is. (What passes and
 * what not is tests/e2e/test_guard.py's.) */
#include "unit.h"

#include <stdlib.h>
#include <string.h>

#include "guard.h"
#include "rng.h"

static bool
allows_ipv4(const struct guard *guard, uint8_t a, uint8_t b, uint8_t c, uint8_t d)
{
	uint8_t frame[34] = {2, 2, 2, 2, 2, 2, 0x52, 0x54, 0, 0, 0, 1, 0x08, 0x00, 0x45, 0};

	frame[26] = a;
	frame[27] = b;
	frame[28] = c;
	frame[29] = d;
	return guard_check(guard, frame, sizeof(frame)) == DROP_N;
}

static void
test_prefixes(void **state)
{
	struct guard guard = {.on = true, .ip = true};
	struct diag diag;

	assert_int_equal(guard_parse_macs(&guard, "52:54:00:00:00:01", "a", &diag), 0);
	assert_int_equal(
		guard_parse_ips(&guard, "10.0.0.1+10.2.0.0/15+192.168.1.128/25+172.16.5.4/32", "a", &diag),
		0);
	assert_int_equal(guard.n_ips, 4);
	assert_true(allows_ipv4(&guard, 10, 0, 0, 1));
	assert_false(allows_ipv4(&guard, 10, 0, 0, 2));
	assert_true(allows_ipv4(&guard, 10, 2, 0, 0));
	assert_true(allows_ipv4(&guard, 10, 3, 255, 255));
	assert_false(allows_ipv4(&guard, 10, 4, 0, 0));
	assert_false(allows_ipv4(&guard, 10, 1, 255, 255));
	assert_true(allows_ipv4(&guard, 192, 168, 1, 128));
	assert_true(allows_ipv4(&guard, 192, 168, 1, 255));
	assert_false(allows_ipv4(&guard, 192, 168, 1, 127));
	assert_true(allows_ipv4(&guard, 172, 16, 5, 4));
	assert_false(allows_ipv4(&guard, 172, 16, 5, 5));
	/* All of IPv4, and nothing of IPv6; and the other way round. */
	guard.n_ips = 0;
	assert_int_equal(guard_parse_ips(&guard, "0.0.0.0/0", "a", &diag), 0);
	assert_true(allows_ipv4(&guard, 1, 2, 3, 4));
	assert_int_equal(guard.ips[0].prefix, 96);
	guard.n_ips = 0;
	assert_int_equal(guard_parse_ips(&guard, "2001:db8::/32", "a", &diag), 0);
	assert_false(allows_ipv4(&guard, 1, 2, 3, 4));
}

/* Frames of bytes that look like headers, each in memory of just its size: for the sanitizers. */
static void
test_nothing_is_read_behind(void **state)
{
	static const uint8_t types[][2] = {{0x08, 0x00}, {0x86, 0xdd}, {0x08, 0x06},
					   {0x80, 0x35}, {0x81, 0x00}, {0x88, 0xa8}};
	static const uint8_t nexts[] = {0, 17, 43, 44, 58, 60, 6, 135, 136, 133, 1};
	struct guard guard = {.on = true, .ip = true};
	unsigned int n[DROP_N + 1] = {0};
	struct diag diag;

	assert_int_equal(guard_parse_macs(&guard, "52:54:00:00:00:01", "a", &diag), 0);
	assert_int_equal(guard_parse_ips(&guard, "0.0.0.0/1+::/1", "a", &diag), 0);
	for (unsigned int round = 0; round < 300000; round++) {
		const uint32_t len = 14 + rng_below(115);
		uint8_t *frame = malloc(len);
		uint32_t at = 14;

		for (uint32_t i = 0; i < len; i++)
			frame[i] =
				(uint8_t)(rng_below(3) ? nexts[rng_below(RTE_DIM(nexts))] : rng_below(256));
		memcpy(frame + 6, &guard.macs[0], 6);
		memcpy(frame + 12, types[rng_below(RTE_DIM(types))], 2);
		while (frame[at - 2] >= 0x81 && frame[at - 1] != 0xdd && at + 4 <= len) {
			memcpy(frame + at + 2, types[rng_below(RTE_DIM(types))], 2);
			at += 4;
		}
		if (at < len && rng_below(4))
			frame[at] = frame[at - 1] == 0xdd ? 0x60 : (uint8_t)(0x45 + rng_below(4));
		n[guard_check(&guard, frame, len)]++;
		free(frame);
	}
	/* All of it was reached. (For another's MAC address in ARP, chance is not enough.) */
	assert_true(n[DROP_N] > 1000 && n[DROP_SPOOFED_IP] > 1000 && n[DROP_NOT_SERVER] > 10);
	assert_int_equal(n[DROP_N] + n[DROP_SPOOFED_IP] + n[DROP_SPOOFED_MAC] + n[DROP_NOT_SERVER], 300000);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_prefixes),
		cmocka_unit_test(test_nothing_is_read_behind),
	};

	return UNIT_RUN(tests);
}
