/* SPDX-License-Identifier: BSD-3-Clause */
/* policer_config: contract in policer_config.h. */
#include "policer_config.h"

#include <errno.h>

#include <rte_common.h>

#include "diag.h"

static bool
limit_equal(const struct policer_limit *a, const struct policer_limit *b)
{
	return a->rate.per_s == b->rate.per_s && a->rate.unit == b->rate.unit && a->burst == b->burst;
}

bool
policer_config_equal(const struct policer_config *a, const struct policer_config *b)
{
	return limit_equal(&a->in, &b->in) && limit_equal(&a->out, &b->out);
}

/* What the bucket counts, in a second: bytes or frames. */
static uint64_t
limit_per_s(const struct policer_limit *limit)
{
	if (limit->rate.unit == KEY_RATE_PPS)
		return limit->rate.per_s;
	return RTE_MAX(limit->rate.per_s / POLICER_BITS, 1u);
}

uint64_t
policer_burst(const struct policer_limit *limit)
{
	const uint64_t least =
		limit->rate.unit == KEY_RATE_PPS ? POLICER_BURST_FRAMES_MIN : POLICER_BURST_BYTES_MIN;

	if (limit->burst)
		return limit->burst;
	return RTE_MAX(limit_per_s(limit) / (1000 / POLICER_BURST_MS), least);
}

static int
limit_check(const struct policer_limit *limit, const char *key, const char *object, struct diag *diag)
{
	const uint64_t most = limit_per_s(limit) * POLICER_BURST_S;

	if (!policer_limit_is_given(limit)) {
		if (!limit->burst)
			return 0;
		diag_set(diag, -EINVAL, NULL, "%s: %s-burst is given, and %s is not", object, key, key);
		diag_hint(diag, "add the rate, for example %s=100mbit", key);
		return -EINVAL;
	}
	if (limit->burst > most) {
		diag_set(diag, -ERANGE, NULL, "%s: %s-burst: at the rate, %llu %s take over an hour", object,
			 key, (unsigned long long)limit->burst,
			 limit->rate.unit == KEY_RATE_PPS ? "frames" : "bytes");
		diag_hint(diag, "%s-burst=%llu", key, (unsigned long long)most);
		return -ERANGE;
	}
	return 0;
}

int
policer_check(const struct policer_config *config, const char *object, struct diag *diag)
{
	int ret = limit_check(&config->in, "police-in", object, diag);

	return ret < 0 ? ret : limit_check(&config->out, "police-out", object, diag);
}
