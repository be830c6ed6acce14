/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * eal: starts DPDK's EAL. For whatever the user's EAL options say nothing about (CPUs, memory, PCI, log
 * level) it picks, and tells.
 */
#ifndef VNICD_EAL_H
#define VNICD_EAL_H

#include "diag.h"

struct options;
struct pool_size;

/* Start EAL. 0 or -errno with diag filled. */
int eal_open(const char *program, const struct options *options, const struct pool_size *size,
	     struct diag *diag);
/* Stop EAL and remove what it leaves in the file system. */
void eal_close(void);
/* Instead, when the process ends without closing anything: remove what of us is in the file system. */
void eal_abandon(void);

/* What EAL was told, for system.info. */
const char *eal_describe(void);

#endif
