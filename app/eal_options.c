/* SPDX-License-Identifier: BSD-3-Clause */
#include "eal_options.h"

#include <stddef.h>
#include <string.h>

#include "options.h"

/*
 * In these tables "-x" also matches with its value attached, "--word" also with "=value".
 */
const char *const eal_options_cpu[] = {"-c", "-l", "--lcores", "-s", "-S", "--main-lcore", NULL};
const char *const eal_options_memory[] = {
	"-m",
	"--no-huge",
	"--socket-mem",
	"--socket-limit",
	"--huge-dir",
	"--huge-unlink",
	"--legacy-mem",
	"--in-memory",
	"--file-prefix",
	"--proc-type",
	"--no-shconf",
	"--iova-mode",
	"--match-allocations",
	"--single-file-segments",
	NULL,
};
const char *const eal_options_shared[] = {"--no-shconf", "--in-memory", "--proc-type", NULL};
const char *const eal_options_pci[] = {"--no-pci", "-a", "-b", "--allow", "--block", NULL};
const char *const eal_options_log[] = {"--log-level", "--syslog", NULL};

/* Where the value of argument `i` is, when the argument is `name`; an empty string when it has none. NULL:
 * not it. */
static const char *
eal_arg_match(const struct options *options, unsigned int i, const char *name)
{
	const char *arg = options->eal_args[i];
	size_t len = strlen(name);

	if (strncmp(arg, name, len) != 0)
		return NULL;
	if (name[1] != '-' && arg[len] != '\0')
		return arg + len;
	if (arg[len] == '=')
		return arg + len + 1;
	if (arg[len] != '\0')
		return NULL;
	return i + 1 < options->n_eal_args ? options->eal_args[i + 1] : "";
}

const char *
eal_options_value(const struct options *options, const char *name)
{
	for (unsigned int i = 0; i < options->n_eal_args; i++) {
		const char *value = eal_arg_match(options, i, name);

		if (value)
			return value;
	}
	return NULL;
}

bool
eal_options_give(const struct options *options, const char *const names[])
{
	for (; *names; names++)
		if (eal_options_value(options, *names))
			return true;
	return false;
}
