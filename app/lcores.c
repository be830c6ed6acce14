/* SPDX-License-Identifier: BSD-3-Clause */
#include "lcores.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <rte_lcore.h>

#include "eal_args.h"
#include "eal_options.h"
#include "fwd.h"
#include "options.h"

static_assert(FWD_WORKERS_MAX < RTE_MAX_LCORE, "EAL has an lcore for every worker and for control");

/*
 * Marks the lcore ids of one of EAL's lists: "0-3,5", "(0-1)@2,1@(3,4)". The ids stand left of an @. False:
 * not understood.
 */
static bool
lcore_list_mark(const char *list, bool lcores[])
{
	bool cpus = false; /* right of an @ */
	int depth = 0;

	while (*list) {
		if (*list == '(') {
			depth++;
			list++;
		} else if (*list == ')') {
			depth--;
			list++;
		} else if (*list == '@') {
			cpus = true;
			list++;
		} else if (*list == ',') {
			if (depth == 0)
				cpus = false;
			list++;
		} else if (isdigit((unsigned char)*list)) {
			unsigned long first = strtoul(list, (char **)&list, 10), last = first;

			if (*list == '-' && isdigit((unsigned char)list[1]))
				last = strtoul(list + 1, (char **)&list, 10);
			if (first > last || last >= LCORES_CPUS_MAX)
				return false;
			for (; !cpus && first <= last; first++)
				lcores[first] = true;
		} else {
			return false;
		}
	}
	return true;
}

/* The same of a mask in hexadecimal. */
static bool
lcore_mask_mark(const char *mask, bool lcores[])
{
	size_t len;

	if (strncasecmp(mask, "0x", 2) == 0)
		mask += 2;
	len = strlen(mask);
	if (len == 0 || len > LCORES_CPUS_MAX / 4)
		return false;
	for (size_t i = 0; i < len; i++) {
		unsigned long digit;

		if (!isxdigit((unsigned char)mask[len - 1 - i]))
			return false;
		digit = strtoul((char[]){mask[len - 1 - i], '\0'}, NULL, 16);
		for (unsigned int bit = 0; bit < 4; bit++)
			lcores[i * 4 + bit] |= digit >> bit & 1;
	}
	return true;
}

/* CPUs we may run on, in order. */
static unsigned int
cpus_usable(unsigned int cpus[])
{
	cpu_set_t *set = CPU_ALLOC(LCORES_CPUS_MAX);
	size_t size = CPU_ALLOC_SIZE(LCORES_CPUS_MAX);
	unsigned int n = 0;

	if (!set)
		return 0;
	CPU_ZERO_S(size, set);
	if (sched_getaffinity(0, size, set) == 0)
		for (unsigned int cpu = 0; cpu < LCORES_CPUS_MAX; cpu++)
			if (CPU_ISSET_S(cpu, size, set))
				cpus[n++] = cpu;
	CPU_FREE(set);
	return n;
}

/* Our own choice: a worker serves two queue pairs or more, as far as the CPUs go; one CPU is left for
 * control. */
static unsigned int
workers_to_start(const struct options *options, unsigned int n_cpus)
{
	unsigned int n_pairs = options_queue_pairs(options);
	unsigned int n = RTE_MAX(1U, n_pairs / 2);

	n = RTE_MIN(n, n_cpus > 1 ? n_cpus - 1 : 1);
	return RTE_MIN(n, (unsigned int)FWD_WORKERS_MAX);
}

/* What the lcores are for that the user's options make. */
struct lcore_roles {
	bool exists[LCORES_CPUS_MAX];
	bool serves[LCORES_CPUS_MAX]; /* -s, -S */
	unsigned int control;         /* EAL's main lcore */
};

/* False: not understood. */
static bool
lcore_roles_read(const struct options *options, struct lcore_roles *roles)
{
	unsigned int cpus[LCORES_CPUS_MAX], n_cpus;
	const char *value;
	bool ok = true;

	memset(roles, 0, sizeof(*roles));
	if ((value = eal_options_value(options, "--lcores")) || (value = eal_options_value(options, "-l"))) {
		ok = lcore_list_mark(value, roles->exists);
	} else if ((value = eal_options_value(options, "-c"))) {
		ok = lcore_mask_mark(value, roles->exists);
	} else {
		n_cpus = cpus_usable(cpus);
		for (unsigned int i = 0; i < n_cpus; i++)
			roles->exists[cpus[i]] = cpus[i] < RTE_MAX_LCORE;
	}
	if ((value = eal_options_value(options, "-S")))
		ok = ok && lcore_list_mark(value, roles->serves);
	if ((value = eal_options_value(options, "-s")))
		ok = ok && lcore_mask_mark(value, roles->serves);
	value = eal_options_value(options, "--main-lcore");
	if (value)
		return ok && sscanf(value, "%u", &roles->control) == 1 && roles->control < LCORES_CPUS_MAX;
	while (roles->control < LCORES_CPUS_MAX && !roles->exists[roles->control])
		roles->control++;
	return ok && roles->control < LCORES_CPUS_MAX;
}

static int
lcores_count_given(const struct options *options, const struct lcore_roles *roles, unsigned int *ret_n,
		   struct diag *diag)
{
	unsigned int n_workers = 0, n_service = 0;

	for (unsigned int i = 0; i < LCORES_CPUS_MAX; i++) {
		if (roles->serves[i] && !roles->exists[i]) {
			diag_set(diag, -EINVAL, NULL, "service lcore %u is not among the lcores", i);
			diag_hint(diag, "-l or --lcores names it too, for example --lcores 0@0,1@1,2@0 -S 2");
			return -EINVAL;
		}
		if (i == roles->control || !roles->exists[i])
			continue;
		n_service += roles->serves[i];
		n_workers += !roles->serves[i];
	}
	if (n_workers == 0 && n_service)
		return diag_set(
			diag, -EINVAL,
			"give one more, for example --lcores 0@0,1@1,2@0 -S 2: lcore 2 serves, on the "
			"control thread's CPU",
			"no lcore is left for a worker: the control thread takes one, %u serve%s", n_service,
			n_service == 1 ? "s" : "");
	if (n_workers == 0)
		return options_check_workers(options, 0, diag);
	*ret_n = RTE_MIN(n_workers, (unsigned int)FWD_WORKERS_MAX);
	return 0;
}

int
lcores_count_workers(const struct options *options, unsigned int *ret_n, struct diag *diag)
{
	unsigned int cpus[LCORES_CPUS_MAX];
	struct lcore_roles roles;

	if (!eal_options_give(options, eal_options_cpu)) {
		unsigned int n_cpus = cpus_usable(cpus);

		if (n_cpus == 0)
			return diag_set(diag, -ENODEV, "name CPUs with the EAL option -l",
					"can't read the CPU affinity mask");
		*ret_n = workers_to_start(options, n_cpus);
		return 0;
	}
	if (!lcore_roles_read(options, &roles)) {
		*ret_n = 0;
		return 0;
	}
	return lcores_count_given(options, &roles, ret_n, diag);
}

unsigned int
lcores_n_workers(void)
{
	unsigned int lcore, n = 0;

	RTE_LCORE_FOREACH_WORKER(lcore)
	{
		n++;
	}
	return RTE_MIN(n, (unsigned int)FWD_WORKERS_MAX);
}

void
lcores_pick(const struct options *options)
{
	unsigned int cpus[LCORES_CPUS_MAX], n_cpus = cpus_usable(cpus), n_workers;
	unsigned int control_cpu = cpus[n_cpus - 1];
	char list[2048];
	size_t len;

	n_workers = workers_to_start(options, n_cpus);
	len = (size_t)snprintf(list, sizeof(list), "0@%u", control_cpu);
	for (unsigned int i = 0; i < n_workers; i++)
		len += (size_t)snprintf(list + len, sizeof(list) - len, ",%u@%u", i + 1, cpus[i]);
	eal_args_add("--lcores");
	eal_args_add("%s", list);
	if (n_cpus == 1)
		eal_args_picked("control and 1 worker share CPU %u", control_cpu);
	else if (n_workers == 1)
		eal_args_picked("control on CPU %u, 1 worker on CPU %u", control_cpu, cpus[0]);
	else
		eal_args_picked("control on CPU %u, %u workers on CPUs %u to %u", control_cpu, n_workers,
				cpus[0], cpus[n_workers - 1]);
}
