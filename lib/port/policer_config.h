/* SPDX-License-Identifier: BSD-3-Clause */
/* policer_config: what a line says of a port's policers (policer.h), and whether it can be. */
#ifndef VNICD_POLICER_CONFIG_H
#define VNICD_POLICER_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "keys.h"

struct diag;

enum {
	POLICER_BITS = 8,       /* of a byte, of which rates are */
	POLICER_BURST_S = 3600, /* a burst that the rate needs longer to make up for is refused */
	POLICER_BURST_MS = 10,  /* what a burst is by default, at the rate, but at least one of these: */
	POLICER_BURST_BYTES_MIN = 65536,
	POLICER_BURST_FRAMES_MIN = 64,
};

/* As configured: police-in, police-in-burst, and the same of out. */
struct policer_limit {
	struct key_rate rate; /* 0 per second: no limit */
	uint64_t burst;       /* bytes, or frames where the rate is in pps; 0: policer_burst() */
};

struct policer_config {
	struct policer_limit in, out;
};

static inline bool
policer_limit_is_given(const struct policer_limit *limit)
{
	return limit->rate.per_s > 0;
}

/* The same limits, as configured? */
bool policer_config_equal(const struct policer_config *a, const struct policer_config *b);

/* The burst in effect: what is given, or 10 ms of the rate, and at least 64 KiB or 64 frames. */
uint64_t policer_burst(const struct policer_limit *limit);

/* Of a parsed line: 0, or -EINVAL or -ERANGE with diag filled. `object` begins the cause ("port vm0"). */
int policer_check(const struct policer_config *config, const char *object, struct diag *diag);

#endif
