/* SPDX-License-Identifier: BSD-3-Clause */
/* must.h: a benchmark in one thread ends when something is not as it has to be, with a line that says what.
 */
#ifndef PERF_MUST_H
#define PERF_MUST_H

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define MUST(condition, ...)                                                    \
	do {                                                                    \
		if (!(condition)) {                                             \
			fprintf(stderr, "%s: ", program_invocation_short_name); \
			fprintf(stderr, __VA_ARGS__);                           \
			fputc('\n', stderr);                                    \
			exit(1);                                                \
		}                                                               \
	} while (0)

#endif
