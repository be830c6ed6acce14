/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * lcores: CPUs and what they are for: control, workers, services.
 */
#ifndef VNICD_LCORES_H
#define VNICD_LCORES_H

#include "diag.h"

struct options;

enum { LCORES_CPUS_MAX = 1024 };

/*
 * How many workers there will be, from the user's EAL options or by our own choice. 0: can't be told before
 * EAL runs (forms of -l that EAL knows and we don't, ...). -errno with diag filled: none, no usable CPU, or a
 * service lcore (-s, -S) that is no lcore.
 */
int lcores_count_workers(const struct options *options, unsigned int *ret_n, struct diag *diag);
/* The same once EAL runs: lcores that are neither the control thread's nor EAL's for services. */
unsigned int lcores_n_workers(void);
/* Our own choice, as arguments for EAL (eal_args.h). */
void lcores_pick(const struct options *options);

#endif
