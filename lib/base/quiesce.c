/* SPDX-License-Identifier: BSD-3-Clause */
#include "quiesce.h"

#include <stddef.h>

static void (*quiesce_fn)(void *arg);
static void *quiesce_arg;

void
quiesce_set_wait(void (*wait)(void *arg), void *arg)
{
	quiesce_fn = wait;
	quiesce_arg = arg;
}

void
quiesce_wait(void)
{
	if (quiesce_fn)
		quiesce_fn(quiesce_arg);
}
