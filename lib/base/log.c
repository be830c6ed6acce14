/* SPDX-License-Identifier: BSD-3-Clause */
#include "log.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "output.h"

enum { LOG_LIMIT_BURST = 10, LOG_LIMIT_REFILL_MS = 1000 };

static enum log_level log_max = LOG_LEVEL_INFO;

/* Lines that found no room because nobody read standard error, in front of the next that does. */
static void
log_tell_dropped(void)
{
	static uint64_t told;
	uint64_t n_dropped = output_n_dropped(OUTPUT_STDERR);
	char line[128];

	if (n_dropped == told)
		return;
	snprintf(line, sizeof(line),
		 "vnicd: warning: %" PRIu64 " log lines are missing here: nobody read standard error\n",
		 n_dropped - told);
	if (output_write(OUTPUT_STDERR, OUTPUT_MAY_DROP, line, strlen(line)))
		told = n_dropped;
	else
		told++; /* this one is none that is missing */
}

static void
log_line(enum log_level level, const char *suffix, const char *fmt, va_list ap)
{
	static const char *const word[] = {"error: ", "warning: ", "", "debug: "};
	char text[1024], line[sizeof(text) + 128];

	if (level > log_max)
		return;
	vsnprintf(text, sizeof(text), fmt, ap);
	snprintf(line, sizeof(line), "vnicd: %s%s%s\n", word[level], text, suffix);
	log_tell_dropped();
	output_write(OUTPUT_STDERR, OUTPUT_MAY_DROP, line, strlen(line));
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
