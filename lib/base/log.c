/* SPDX-License-Identifier: BSD-3-Clause */
#include "log.h"

#include <stdarg.h>
#include <stdio.h>
#include <time.h>

enum { LOG_LIMIT_BURST = 10, LOG_LIMIT_REFILL_MS = 1000, LOG_TEXT_MAX = 1024 };

const char *
log_level_word(enum log_level level)
{
	static const char *const words[] = {
		[LOG_LEVEL_ERROR] = "error: ",
		[LOG_LEVEL_WARN] = "warning: ",
		[LOG_LEVEL_INFO] = "",
		[LOG_LEVEL_DEBUG] = "debug: ",
	};

	return words[level];
}

static void
log_line(const struct log *log, enum log_level level, const char *suffix, const char *fmt, va_list ap)
{
	char text[LOG_TEXT_MAX], line[LOG_TEXT_MAX + 64];

	if (level > log->level)
		return;
	vsnprintf(text, sizeof(text), fmt, ap);
	snprintf(line, sizeof(line), "%s%s", text, suffix);
	if (log->write)
		log->write(log->write_arg, level, line);
	else
		fprintf(stderr, "%s: %s%s\n", log->prefix ? log->prefix : "vnic", log_level_word(level),
			line);
}

void
log_write(const struct log *log, enum log_level level, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	log_line(log, level, "", fmt, ap);
	va_end(ap);
}

void
log_limited(const struct log *log, struct log_limit *limit, enum log_level level, const char *fmt, ...)
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
		snprintf(suffix, sizeof(suffix), " (%u similar messages suppressed)", limit->swallowed);
	limit->swallowed = 0;
	va_start(ap, fmt);
	log_line(log, level, suffix, fmt, ap);
	va_end(ap);
}
