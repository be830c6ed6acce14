/* SPDX-License-Identifier: BSD-3-Clause */
#include "diag.h"

#include <errno.h>
#include <stdio.h>

int
diag_set(struct diag *diag, int err, const char *hint, const char *cause_fmt, ...)
{
	va_list ap;

	va_start(ap, cause_fmt);
	vsnprintf(diag->cause, sizeof(diag->cause), cause_fmt, ap);
	va_end(ap);
	snprintf(diag->hint, sizeof(diag->hint), "%s", hint ? hint : "");
	return err;
}

int
diag_no_memory(struct diag *diag, const char *cause_fmt, ...)
{
	va_list ap;

	va_start(ap, cause_fmt);
	vsnprintf(diag->cause, sizeof(diag->cause), cause_fmt, ap);
	va_end(ap);
	snprintf(diag->hint, sizeof(diag->hint), "free some memory");
	return -ENOMEM;
}

void
diag_hint(struct diag *diag, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(diag->hint, sizeof(diag->hint), fmt, ap);
	va_end(ap);
}
