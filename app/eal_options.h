/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * eal_options: what the user says to EAL. If one option of a subject is given, all of the subject is the
 * user's.
 */
#ifndef VNICD_EAL_OPTIONS_H
#define VNICD_EAL_OPTIONS_H

#include <stdbool.h>

struct options;

/* The options of each subject; NULL ends a list. */
extern const char *const eal_options_cpu[],
	*const eal_options_memory[], *const eal_options_shared[], *const eal_options_pci[],
									  *const eal_options_log[];

/* The value of the option `name`; an empty string when it has none. NULL: not given. */
const char *eal_options_value(const struct options *options, const char *name);
/* One of these is given. */
bool eal_options_give(const struct options *options, const char *const names[]);

#endif
