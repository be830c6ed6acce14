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
#include "lcores.h"
#include "log.h"
#include "options.h"
#include "pool.h"

enum {
	MEMORY_SLACK_MIB = 64, /* rings, tables and what PMDs allocate */
	/* The receive pool of a NIC's queue pair, rings of DPDK's usual size. */
	MEMORY_NIC_PAIR_MIB = 48,
	MEMORY_NIC_SPARE_MIB = 128,
};

static void
pick_memory(const struct options *options, const struct pool_size *size)
{
	size_t pool_mib = (size->bytes >> 20) + 1;
	size_t nic_mib = (size_t)options_queue_pairs(options, "nic") * MEMORY_NIC_PAIR_MIB;
	size_t need_mib = pool_mib + nic_mib + MEMORY_SLACK_MIB / 2;
	size_t page_size = hugepages_find(need_mib << 20);

	/* Nothing in the file system, nothing shared with other DPDK programs. */
	eal_args_add("--file-prefix=vnicd-%d", (int)getpid());
	if (page_size) {
		eal_args_add("--in-memory");
		eal_args_picked("memory from free huge pages of %zu MiB", page_size >> 20);
	} else {
		/* The kernel gives these pages as they are touched: room for later NICs costs nothing now. */
		need_mib = pool_mib + pool_mib / 8 + nic_mib + MEMORY_SLACK_MIB + MEMORY_NIC_SPARE_MIB;
		/* EAL takes --in-memory with huge pages only; this is the rest of it. */
		eal_args_add("--no-shconf");
		eal_args_add("--no-huge");
		eal_args_add("-m");
		eal_args_add("%zu", need_mib);
		eal_args_picked("up to %zu MiB of memory from a memfd (no free huge pages)", need_mib);
	}
	eal_args_picked("file prefix vnicd-%d", (int)getpid());
}

/* "0000:03:00.0" or "03:00.0" */
static bool
is_pci_address(const char *text)
{
	unsigned int domain, bus, device, function;
	int len = 0;

	if (sscanf(text, "%x:%x:%x.%x%n", &domain, &bus, &device, &function, &len) == 4 && text[len] == '\0')
		return true;
	return sscanf(text, "%x:%x.%x%n", &bus, &device, &function, &len) == 3 && text[len] == '\0';
}

/* A scan of the PCI bus would take devices that nobody named; so only the ones that a port names are let in.
 */
static void
pick_pci(const struct options *options)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < options->n_ports; i++) {
		const struct port_config *config = &options->ports[i];

		for (unsigned int k = 0; config->kind->keys && config->kind->keys[k].name; k++) {
			if (strcmp(config->kind->keys[k].name, "dev") != 0 || !config->values[k])
				continue;
			if (!is_pci_address(config->values[k]))
				continue;
			eal_args_add("-a");
			eal_args_add("%s", config->values[k]);
			eal_args_picked("PCI device %s", config->values[k]);
			n++;
		}
	}
	if (n == 0) {
		eal_args_add("--no-pci");
		eal_args_picked("no PCI");
	}
}

int
eal_open(const char *program, const struct options *options, const struct pool_size *size, struct diag *diag)
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
		log_info("picked: %s", eal_args_describe());

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
