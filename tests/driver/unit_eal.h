/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * unit_eal: EAL and packet buffers for a test, without hugepages, PCI devices, files that others see, or
 * anything that another DPDK program on the machine could notice.
 */
#ifndef VNICD_TEST_UNIT_EAL_H
#define VNICD_TEST_UNIT_EAL_H

#include <stdbool.h>
#include <stdint.h>

#include <rte_mbuf.h>

struct unit_eal {
	unsigned int memory_mb;
	unsigned int n_mbufs; /* 0: no pool */
	const char *lcores;   /* --lcores; NULL: the main lcore alone, on any CPU */
	bool keep_affinity;   /* threads of this one may run where this one could before EAL */
	bool flagless;        /* without the mbuf flag of borrowed frames (borrow.h) */
	const char *vdevs[4]; /* --vdev, up to the first NULL */
};

/* Ends the program with 1 when it can't be had. Returns the pool. */
struct rte_mempool *unit_eal_start(const struct unit_eal *eal);

#endif
