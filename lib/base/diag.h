/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * diag: what went wrong, in two lines for a person: the cause and the way out.
 *
 * Everything that can refuse a user's input fills one of these and returns -errno. The one place that
 * talks to the user (the command line, the JSON-RPC server) prints it.
 */
#ifndef VNICD_DIAG_H
#define VNICD_DIAG_H

#include <stdarg.h>

struct diag {
	char cause[320]; /* one line, no newline, names the object first */
	char hint[640];  /* one line: the nearest valid form, or what to do; may be empty */
};

/* Set both lines and return `err` (a negative errno), so that a caller can write `return diag_set(...)`. */
int diag_set(struct diag *diag, int err, const char *hint, const char *cause_fmt, ...)
	__attribute__((format(printf, 4, 5)));

/* The same for want of memory, whose hint is always the same. Returns -ENOMEM. */
int diag_no_memory(struct diag *diag, const char *cause_fmt, ...) __attribute__((format(printf, 2, 3)));

/* Replace the hint by a formatted one. Returns nothing so that it cannot be taken for the error. */
void diag_hint(struct diag *diag, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
