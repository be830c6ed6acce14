/* SPDX-License-Identifier: BSD-3-Clause */
#include "log.h"

#include <stdarg.h>
#include <stdio.h>
#include <time.h>

enum { LOG_LIMIT_BURST = 10, LOG_LIMIT_REFILL_MS = 1000 };

static enum log_level log_max = LOG_LEVEL_INFO;

static void
log_line(enum log_level level, const char *suffix, const char *fmt, va_list ap)
{
	static const char *const word[] = {"error: ", "warning: ", "", "debug: "};
	char line[1024];

	if (level > log_max)
		return;
	vsnprintf(line, sizeof(line), fmt, ap);
	fprintf(stderr, "vnicd: %s%s%s\n", word[level], line, suffix);
}

void
log_set_level(enum log_level level)
{
	log_max = level;
}

void
log_write(enum log_level level, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	log_line(level, "", fmt, ap);
	va_end(ap);
}

void
log_limited(struct log_limit *limit, enum log_level level, const char *fmt, ...)
{
	char suffix[48] = "";
	struct timespec ts;
	uint64_t now_ms, refill;
	va_list ap;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	now_ms = (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
	refill = (now_ms - limit->last_ms) / LOG_LIMIT_REFILL_MS;
	if (refill) {
		limit->spent = refill >= limit->spent ? 0 : limit->spent - (uint32_t)refill;
		limit->last_ms = now_ms;
	}
	if (limit->spent >= LOG_LIMIT_BURST) {
		limit->swallowed++;
		return;
	}
	limit->spent++;
	if (limit->swallowed)
		snprintf(suffix, sizeof(suffix), " (%u like it not shown)", limit->swallowed);
	limit->swallowed = 0;
	va_start(ap, fmt);
	log_line(level, suffix, fmt, ap);
	va_end(ap);
}
