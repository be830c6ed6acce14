/* SPDX-License-Identifier: BSD-3-Clause */
#include "eal_args.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct eal_args {
	char *argv[EAL_ARGS_MAX];
	int argc;
	char text[16384]; /* storage of the strings that we make */
	size_t text_len;
	char picked[512]; /* what we chose, for people */
};

static struct eal_args eal_args;
void
eal_args_add_given(char *arg)
{
	eal_args.argv[eal_args.argc++] = arg;
}

void
eal_args_add(const char *fmt, ...)
{
	char *arg = eal_args.text + eal_args.text_len;
	size_t room = sizeof(eal_args.text) - eal_args.text_len;
	va_list ap;
	int len;

	va_start(ap, fmt);
	len = vsnprintf(arg, room, fmt, ap);
	va_end(ap);
	if (len < 0 || (size_t)len >= room || eal_args.argc >= EAL_ARGS_MAX - 1)
		return;
	eal_args.text_len += (size_t)len + 1;
	eal_args.argv[eal_args.argc++] = arg;
}

void
eal_args_picked(const char *fmt, ...)
{
	size_t len = strlen(eal_args.picked);
	va_list ap;

	if (len) {
		snprintf(eal_args.picked + len, sizeof(eal_args.picked) - len, ", ");
		len = strlen(eal_args.picked);
	}
	va_start(ap, fmt);
	vsnprintf(eal_args.picked + len, sizeof(eal_args.picked) - len, fmt, ap);
	va_end(ap);
}

int
eal_args_get(char ***ret_argv)
{
	*ret_argv = eal_args.argv;
	return eal_args.argc;
}

const char *
eal_args_describe(void)
{
	return eal_args.picked;
}
