/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * environment: what the program finds around it: the run-time directory, CPUs, memory, and DPDK's EAL on top.
 *
 * For whatever the user's EAL options say nothing about (CPUs, memory, PCI, log level) it picks, and tells.
 */
#ifndef VNICD_ENVIRONMENT_H
#define VNICD_ENVIRONMENT_H

#include <stdbool.h>
#include <stddef.h>

#include "diag.h"

struct log;
struct options;
struct pool_size;

/* The run-time directory's path; nothing is made yet. NULL with diag filled: there is none. Static storage.
 */
const char *environment_run_dir(struct diag *diag);
/* Make it (0750) if it is not there. 0 or -errno with diag filled. */
int environment_run_dir_open(const struct log *log, struct diag *diag);
/* Remove it, if it is empty and we made it. */
void environment_run_dir_close(void);

/*
 * How many workers there will be, from the user's EAL options or by our own choice. 0: can't be told before
 * EAL runs (forms of -l that EAL knows and we don't, ...). -errno with diag filled: none, no usable CPU, or a
 * service lcore (-s, -S) that is no lcore.
 */
int environment_count_workers(const struct options *options, unsigned int *ret_n, struct diag *diag);
/* The same once EAL runs: lcores that are neither the control thread's nor EAL's for services. */
unsigned int environment_n_workers(void);

/* Start EAL. 0 or -errno with diag filled. */
int environment_eal_open(const struct log *log, const char *program, const struct options *options,
			 const struct pool_size *size, struct diag *diag);
/* Stop EAL and remove what it leaves in the file system. */
void environment_eal_close(void);
/* Instead, when the process ends without closing anything: remove what of us is in the file system. */
void environment_abandon(void);

/* What EAL was told, for system.info. */
const char *environment_describe(void);

#endif
