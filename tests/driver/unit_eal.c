/* SPDX-License-Identifier: BSD-3-Clause */
#include "unit_eal.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

#include <rte_eal.h>

#include "borrow.h"
#include "request.h"

enum { ARGS_MAX = 24 };

static void
arg_add(char *args[ARGS_MAX], int *n, const char *arg)
{
	/* EAL wants to be able to write to them, and does not. */
	args[(*n)++] = (char *)(uintptr_t)arg;
}

struct rte_mempool *
unit_eal_start(const struct unit_eal *eal)
{
	char memory[16], prefix[64], *args[ARGS_MAX];
	struct rte_mempool *pool = NULL;
	cpu_set_t cpus;
	int n = 0;

	snprintf(memory, sizeof(memory), "%u", eal->memory_mb);
	snprintf(prefix, sizeof(prefix), "--file-prefix=%.40s", program_invocation_short_name);
	arg_add(args, &n, program_invocation_short_name);
	arg_add(args, &n, "--no-huge");
	arg_add(args, &n, "-m");
	arg_add(args, &n, memory);
	arg_add(args, &n, "--no-pci");
	arg_add(args, &n, "--no-shconf");
	arg_add(args, &n, "--no-telemetry");
	arg_add(args, &n, prefix);
	arg_add(args, &n, "--log-level=error");
	arg_add(args, &n, eal->lcores ? "--lcores" : "-l");
	arg_add(args, &n, eal->lcores ? eal->lcores : "0");
	for (unsigned int i = 0; i < RTE_DIM(eal->vdevs) && eal->vdevs[i]; i++) {
		arg_add(args, &n, "--vdev");
		arg_add(args, &n, eal->vdevs[i]);
	}
	sched_getaffinity(0, sizeof(cpus), &cpus);
	if (rte_eal_init(n, args) < 0 || (!eal->flagless && (borrow_init() < 0 || request_init() < 0))) {
		fprintf(stderr, "EAL does not start with %u MiB\n", eal->memory_mb);
		exit(1);
	}
	if (eal->keep_affinity)
		sched_setaffinity(0, sizeof(cpus), &cpus);
	if (eal->n_mbufs) {
		pool = rte_pktmbuf_pool_create("test", eal->n_mbufs, 0, 0, RTE_MBUF_DEFAULT_BUF_SIZE,
					       SOCKET_ID_ANY);
		if (!pool) {
			fprintf(stderr, "no %u packet buffers in %u MiB\n", eal->n_mbufs, eal->memory_mb);
			exit(1);
		}
	}
	return pool;
}
