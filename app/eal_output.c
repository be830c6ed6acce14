/* SPDX-License-Identifier: BSD-3-Clause */
#include "eal_output.h"

#include <ctype.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <rte_errno.h>
#include <rte_log.h>

#include "eal_options.h"
#include "output.h"

void
eal_output_capture(struct eal_output *output)
{
	fflush(stdout);
	fflush(stderr);
	output->file = memfd_create("vnicd-eal-output", MFD_CLOEXEC);
	output->saved_stdout = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
	output->saved_stderr = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
	if (output->file < 0)
		return;
	dup2(output->file, STDOUT_FILENO);
	dup2(output->file, STDERR_FILENO);
}

void
eal_output_restore(struct eal_output *output, char *text, size_t size)
{
	ssize_t len = 0;

	fflush(stdout);
	fflush(stderr);
	if (output->saved_stdout >= 0)
		dup2(output->saved_stdout, STDOUT_FILENO);
	else
		close(STDOUT_FILENO);
	if (output->saved_stderr >= 0)
		dup2(output->saved_stderr, STDERR_FILENO);
	close(output->saved_stdout);
	close(output->saved_stderr);
	if (output->file >= 0) {
		len = pread(output->file, text, size - 1, 0);
		close(output->file);
	}
	text[len > 0 ? len : 0] = '\0';
}

void
eal_output_cause(char *text, char *ret_cause, size_t size)
{
	char *save = NULL, *best = NULL;

	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		if (strncmp(line, "EAL: ", 5) == 0)
			line += 5;
		if (line[0] == '\0' || isspace((unsigned char)line[0]))
			continue;
		if (!best)
			best = line;
		if (strstr(line, "FATAL")) {
			break;
		}
	}
	if (best && strncmp(best, "vnicd: ", 7) == 0)
		best += 7; /* getopt's "PROGRAM: unrecognized option ..." */
	snprintf(ret_cause, size, "%s", best ? best : rte_strerror(rte_errno));
}

static ssize_t
eal_log_write(void *cookie, const char *data, size_t size)
{
	output_write(OUTPUT_STDERR, OUTPUT_MAY_DROP, data, size);
	return (ssize_t)size;
}

void
eal_output_redirect_log(const struct options *options)
{
	FILE *log = NULL;

	if (!eal_options_value(options, "--syslog"))
		log = fopencookie(NULL, "w", (cookie_io_functions_t){.write = eal_log_write});
	if (log)
		rte_openlog_stream(log);
}
