/* SPDX-License-Identifier: BSD-3-Clause */
#include "eal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <rte_eal.h>

#include "eal_args.h"
#include "eal_dir.h"
#include "eal_options.h"
#include "eal_output.h"
#include "hugepages.h"
#include "isa.h"
#include "lcores.h"
#include "log.h"
#include "options.h"
#include "pool.h"
#include "simd.h"

enum {
	MEMORY_SLACK_MIB = 64,  /* rings, tables and what PMDs allocate */
	MEMORY_SPARE_MIB = 128, /* for ports added while running */
};

static void
pick_memory(const struct options *options, const struct pool_size *size)
{
	size_t pool_mib = (size->bytes >> 20) + 1;
	struct port_demand demand;
	size_t own_mib, need_mib, page_size;

	options_demand(options, &demand);
	own_mib = demand.own_bytes >> 20;
	need_mib = pool_mib + own_mib + MEMORY_SLACK_MIB / 2;
	page_size = hugepages_find(need_mib << 20);

	/* Nothing in the file system, nothing shared with other DPDK programs. */
	eal_args_add("--file-prefix=vnicd-%d", (int)getpid());
	if (page_size) {
		eal_args_add("--in-memory");
		eal_args_picked("memory from free huge pages of %zu MiB", page_size >> 20);
	} else {
		/* The kernel gives these pages as they are touched: room for later ports costs nothing now.
		 */
		need_mib = pool_mib + pool_mib / 8 + own_mib + MEMORY_SLACK_MIB + MEMORY_SPARE_MIB;
		/* EAL takes --in-memory with huge pages only; this is the rest of it. */
		eal_args_add("--no-shconf");
		eal_args_add("--no-huge");
		eal_args_add("-m");
		eal_args_add("%zu", need_mib);
		eal_args_picked("up to %zu MiB of memory from a memfd (no free huge pages)", need_mib);
	}
	eal_args_picked("file prefix vnicd-%d", (int)getpid());
}

/* A scan of the PCI bus would take devices that nobody named; so only the ones that a port names are let in.
 */
static void
pick_pci(const struct options *options)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < options->n_ports; i++) {
		struct port_demand demand;

		port_config_demand(&options->ports[i], &demand);
		if (!demand.pci_device)
			continue;
		eal_args_add("-a");
		eal_args_add("%s", demand.pci_device);
		eal_args_picked("PCI device %s", demand.pci_device);
		n++;
	}
	if (n == 0) {
		eal_args_add("--no-pci");
		eal_args_picked("no PCI");
	}
}

/* Who limits DPDK means us too, and is told what that does. */
static void
simd_look(const struct log *log)
{
	const char *best = isa_name(isa_select()), *allowed = isa_name(simd_limit());

	if (strcmp(best, allowed) != 0)
		log_info(log, "ISA variant: %s instead of %s, as --force-max-simd-bitwidth says", allowed,
			 best);
}

int
eal_open(const struct log *log, const char *program, const struct options *options,
	 const struct pool_size *size, struct diag *diag)
{
	static char output[65536];
	struct eal_output capture;
	char **argv;
	int argc;
	char cause[240];
	int ret;

	if (options->n_eal_args + 32 > EAL_ARGS_MAX)
		return diag_set(diag, -E2BIG, "give fewer of them", "%u EAL options are too many",
				options->n_eal_args);
	/* The name EAL's own messages start with. */
	eal_args_add("vnicd");
	for (unsigned int i = 0; i < options->n_eal_args; i++)
		eal_args_add_given(options->eal_args[i]);
	if (!eal_options_give(options, eal_options_cpu))
		lcores_pick(options);
	if (!eal_options_give(options, eal_options_memory))
		pick_memory(options, size);
	else if (eal_options_value(options, "--no-huge") && !eal_options_give(options, eal_options_shared))
		eal_args_add("--no-shconf"); /* memory that nobody can share needs no files that say how */
	if (!eal_options_give(options, eal_options_pci))
		pick_pci(options);
	if (!eal_options_give(options, eal_options_log)) {
		eal_args_add("--log-level=lib.*:error");
		eal_args_add("--log-level=pmd.*:warning");
	}
	if (eal_args_describe()[0])
		log_info(log, "picked: %s", eal_args_describe());

	eal_dir_look(options);
	atexit(eal_dir_remove);
	eal_output_capture(&capture);
	argc = eal_args_get(&argv);
	ret = rte_eal_init(argc, argv);
	eal_output_restore(&capture, output, sizeof(output));
	if (ret < 0) {
		eal_output_cause(output, cause, sizeof(cause));
		diag_set(diag, -EINVAL, NULL, "EAL does not start: %s", cause);
		if (options->n_eal_args)
			diag_hint(diag,
				  "check the EAL options before the --, or leave them out: vnicd --port ...");
		else
			diag_hint(diag, "choose CPUs and memory yourself: vnicd -l 0-1 --no-huge -m 256 -- "
					"--port ...");
		return -EINVAL;
	}
	if (output[0])
		fputs(output, stderr);
	eal_output_redirect_log(options);
	simd_look(log);
	return 0;
}

void
eal_close(void)
{
	rte_eal_cleanup();
}

void
eal_abandon(void)
{
	eal_dir_abandon();
}

const char *
eal_describe(void)
{
	return eal_args_describe()[0] ? eal_args_describe() : "as the EAL options say";
}
