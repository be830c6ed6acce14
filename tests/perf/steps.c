/* SPDX-License-Identifier: BSD-3-Clause */
#include "steps.h"

#include <errno.h>
#include <link.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <ucontext.h>

#define STEPS_TRAP_FLAG 0x100ull /* of EFLAGS: a trap after each instruction; clear in the handler */

enum { STEPS_RANGES_MAX = 256 };

/* Where code that counts is. */
static struct {
	uintptr_t begin, end;
} ranges[STEPS_RANGES_MAX];
static unsigned int n_ranges;

/* Of the thread that is counted. `last` is the instruction that the next trap will be about. */
static volatile uint64_t n_instructions, n_libc_calls;
static struct steps overhead;
static uintptr_t last;
static bool last_counts;

static bool
range_has(unsigned int i, uintptr_t at)
{
	return at >= ranges[i].begin && at < ranges[i].end;
}

static bool
steps_counts(uintptr_t at)
{
	static unsigned int hit;

	if (range_has(hit, at))
		return true;
	for (unsigned int i = 0; i < n_ranges; i++)
		if (range_has(i, at)) {
			hit = i;
			return true;
		}
	return false;
}

static void
steps_on_trap(int signum, siginfo_t *info, void *context)
{
	const uintptr_t next = (uintptr_t)((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP];
	bool next_counts;

	(void)signum, (void)info;
	/* A string instruction traps after each of its rounds. */
	if (next == last)
		return;
	next_counts = steps_counts(next);
	n_instructions = n_instructions + last_counts;
	n_libc_calls = n_libc_calls + (last_counts && !next_counts);
	last = next;
	last_counts = next_counts;
}

/* The program itself comes first and has no name. */
static int
steps_add_object(struct dl_phdr_info *object, size_t size, void *arg)
{
	const char *name = strrchr(object->dlpi_name, '/');

	(void)size, (void)arg;
	if (n_ranges && (!name || strncmp(name, "/librte_", 8) != 0))
		return 0;
	for (unsigned int i = 0; i < object->dlpi_phnum; i++) {
		const ElfW(Phdr) *segment = &object->dlpi_phdr[i];

		if (segment->p_type != PT_LOAD || !(segment->p_flags & PF_X))
			continue;
		if (n_ranges == STEPS_RANGES_MAX)
			return -E2BIG;
		ranges[n_ranges].begin = object->dlpi_addr + segment->p_vaddr;
		ranges[n_ranges].end = ranges[n_ranges].begin + segment->p_memsz;
		n_ranges++;
	}
	return 0;
}

int
steps_init(void)
{
	struct sigaction action = {.sa_sigaction = steps_on_trap, .sa_flags = SA_SIGINFO};

	if (dl_iterate_phdr(steps_add_object, NULL) < 0)
		return -E2BIG;
	if (sigaction(SIGTRAP, &action, NULL) < 0)
		return -errno;
	/* What the two take themselves. */
	steps_start();
	overhead = steps_stop();
	return 0;
}

/* The last thing that it does: what follows, its return included, is counted. */
__attribute__((noinline)) void
steps_start(void)
{
	n_instructions = n_libc_calls = 0;
	last = 0;
	last_counts = false;
	__builtin_ia32_writeeflags_u64(__builtin_ia32_readeflags_u64() | STEPS_TRAP_FLAG);
}

__attribute__((noinline)) struct steps
steps_stop(void)
{
	__builtin_ia32_writeeflags_u64(__builtin_ia32_readeflags_u64() & ~STEPS_TRAP_FLAG);
	return (struct steps){.instructions = n_instructions - overhead.instructions,
			      .libc_calls = n_libc_calls - overhead.libc_calls};
}
