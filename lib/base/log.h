/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * log: one line per event on standard error, for whoever holds the control lock (control.h).
 *
 * Writing one never waits for who reads them (output.h); lines that nobody made room for are counted, and
 * told.
 *
 * A line names the object first, then what happened, then numbers with their units. Workers never log: they
 * count, and the control thread speaks for them. Lines that a guest or a front-end can provoke go through a
 * `log_limit`, which lets a burst of ten through and then one a second, and says how many it swallowed.
 */
#ifndef VNICD_LOG_H
#define VNICD_LOG_H

#include <stdint.h>

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

/* Lines above this level are not written. Default: LOG_LEVEL_INFO. Control thread only. */
void log_set_level(enum log_level level);

void log_write(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#define log_error(...) log_write(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warn(...) log_write(LOG_LEVEL_WARN, __VA_ARGS__)
#define log_info(...) log_write(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...) log_write(LOG_LEVEL_DEBUG, __VA_ARGS__)

/* A token bucket; zero-initialised is full. */
struct log_limit {
	uint64_t last_ms;
	uint32_t spent;
	uint32_t swallowed;
};

/* Like log_write(), unless `limit` has run dry. */
void log_limited(struct log_limit *limit, enum log_level level, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

#endif
