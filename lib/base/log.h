/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * log: one line per event, for whoever holds the control lock (control.h), to where the context's log goes.
 *
 * A line names the object first, then what happened, then numbers with their units. Workers never log: they
 * count, and the control thread speaks for them. Lines that a guest or a front-end can provoke go through a
 * `log_limit`, which lets a burst of ten through and then one a second, and says how many it swallowed.
 */
#ifndef VNICD_LOG_H
#define VNICD_LOG_H

#include <stdint.h>

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

/*
 * Where lines go. `text` is the line without prefix, level and newline; valid during the call, which comes
 * with the control lock held and should not wait for who reads it.
 */
typedef void (*log_write_fn)(void *arg, enum log_level level, const char *text);

struct log {
	enum log_level level; /* lines above this are not written */
	log_write_fn write;   /* NULL: to standard error, each after the prefix */
	void *write_arg;
	const char *prefix; /* NULL: "vnic" */
};

void log_write(const struct log *log, enum log_level level, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

#define log_error(log, ...) log_write(log, LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warn(log, ...) log_write(log, LOG_LEVEL_WARN, __VA_ARGS__)
#define log_info(log, ...) log_write(log, LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(log, ...) log_write(log, LOG_LEVEL_DEBUG, __VA_ARGS__)

/* "error: ", "warning: ", "", "debug: ": what a line begins with, after its prefix. */
const char *log_level_word(enum log_level level);

/* A token bucket; zero-initialised is full. */
struct log_limit {
	uint64_t last_ms;
	uint32_t spent;
	uint32_t swallowed;
};

/* Like log_write(), unless `limit` has run dry. */
void log_limited(const struct log *log, struct log_limit *limit, enum log_level level, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

#endif
