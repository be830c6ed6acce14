/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * eal_output: what EAL prints: kept back while it starts, and never waited for while it runs.
 */
#ifndef VNICD_EAL_OUTPUT_H
#define VNICD_EAL_OUTPUT_H

#include <stddef.h>

struct options;

struct eal_output {
	int file, saved_stdout, saved_stderr;
};

/* What EAL and the C library print goes to a file, so that a failure can be told in two lines, */
void eal_output_capture(struct eal_output *output);
/* until here. The text of it is in text[size], cut off if need be. */
void eal_output_restore(struct eal_output *output, char *text, size_t size);
/* The first line that looks like the cause of a failure, without "EAL: ". Writes to `text`. */
void eal_output_cause(char *text, char *ret_cause, size_t size);
/* What DPDK logs while we run must not wait for its reader either; with --syslog it goes where that says. */
void eal_output_redirect_log(const struct options *options);

#endif
