/* SPDX-License-Identifier: BSD-3-Clause */
/* fwd: the list of forwarding modes. */
#include "fwd.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static struct fwd_mode *fwd_mode_list;

void
fwd_mode_register(struct fwd_mode *mode)
{
	list_append(fwd_mode_list, mode);
	if (mode->port_keys)
		port_mode_keys_register(mode->port_keys);
}

struct fwd_mode *
fwd_modes(void)
{
	return fwd_mode_list;
}

struct fwd_mode *
fwd_mode_by_name(const char *name)
{
	struct fwd_mode *mode;

	list_for_each(mode, fwd_mode_list) {
		if (strcmp(mode->name, name) == 0)
			return mode;
	}
	return NULL;
}

void
fwd_mode_names(char *buf, size_t size)
{
	const struct fwd_mode *mode;
	size_t len = 0;

	buf[0] = '\0';
	list_for_each(mode, fwd_mode_list) {
		if (len < size)
			len += (size_t)snprintf(buf + len, size - len, "%s%s", len ? "|" : "", mode->name);
	}
}

int
fwd_check_pairs(unsigned int n_ports, struct diag *diag)
{
	if (n_ports >= 2 && n_ports % 2 == 0)
		return 0;
	diag_set(diag, -EINVAL, NULL,
		 "forwarding in pairs needs an even number of ports, 2 or more; there %s %u",
		 n_ports == 1 ? "is" : "are", n_ports);
	diag_hint(diag, "%s, or use --forward-mode switch",
		  n_ports < 2 ? "give two ports" : "add a port or leave one out");
	return -EINVAL;
}
