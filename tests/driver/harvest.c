/* SPDX-License-Identifier: BSD-3-Clause */
#include "harvest.h"

#include <assert.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

enum { PAGES_PER_WORD = 64, WORDS = HARVEST_PAGES / PAGES_PER_WORD };

static uint8_t copy[HARVEST_PAGES * HARVEST_PAGE];
static uint64_t *words;
static const uint8_t *memory;

static pthread_t thread;
static _Atomic enum thread_state { THREAD_OFF, THREAD_GO, THREAD_PAUSE, THREAD_PAUSED } thread_state;

static void
harvest(void)
{
	for (unsigned int i = 0; i < WORDS; i++) {
		uint64_t word;

		if (!__atomic_load_n(&words[i], __ATOMIC_RELAXED))
			continue;
		/* Partner: gmem_log_mark(). */
		word = __atomic_exchange_n(&words[i], 0, __ATOMIC_SEQ_CST);
		for (; word; word &= word - 1) {
			size_t at = (i * PAGES_PER_WORD + (unsigned int)__builtin_ctzll(word)) *
				    (size_t)HARVEST_PAGE;

			memcpy(copy + at, memory + at, HARVEST_PAGE);
		}
	}
}

void
harvest_start(struct driver_mem *mem)
{
	const uint64_t page = driver_region_gpa(0) / HARVEST_PAGE;

	assert(page % PAGES_PER_WORD == 0);
	words = (uint64_t *)((uint8_t *)mem->log.bits + page / 8);
	memory = driver_va(mem, driver_region_gpa(0));
	memset(words, 0, WORDS * sizeof(words[0]));
	harvest_driver_wrote();
}

void
harvest_driver_wrote(void)
{
	memcpy(copy, memory, sizeof(copy));
}

/* --- after every instruction --- */

static void
harvest_trap(int signo)
{
	(void)signo;
	harvest();
}

void
harvest_step_on(void)
{
	struct sigaction action = {.sa_handler = harvest_trap};

	sigaction(SIGTRAP, &action, NULL);
	/* TF, below the red zone. */
	__asm__ volatile("lea -128(%%rsp), %%rsp\n\tpushfq\n\torq $0x100, (%%rsp)\n\tpopfq\n\t"
			 "lea 128(%%rsp), %%rsp" ::
				 : "memory", "cc");
}

void
harvest_step_off(void)
{
	__asm__ volatile("lea -128(%%rsp), %%rsp\n\tpushfq\n\tandq $~0x100, (%%rsp)\n\tpopfq\n\t"
			 "lea 128(%%rsp), %%rsp" ::
				 : "memory", "cc");
}

/* --- all the time --- */

static void *
harvest_run(void *arg)
{
	enum thread_state state;
	cpu_set_t all;

	/* The rest of the program may have bound itself to one CPU. */
	memset(&all, 0xff, sizeof(all));
	sched_setaffinity(0, sizeof(all), &all);
	while ((state = atomic_load(&thread_state)) != THREAD_OFF) {
		if (state == THREAD_GO)
			harvest();
		else if (state == THREAD_PAUSE)
			atomic_compare_exchange_strong(&thread_state, &state, THREAD_PAUSED);
		else
			sched_yield();
	}
	return arg;
}

void
harvest_thread_on(void)
{
	atomic_store(&thread_state, THREAD_PAUSED);
	if (pthread_create(&thread, NULL, harvest_run, NULL) != 0)
		abort();
}

void
harvest_thread_go(void)
{
	atomic_store(&thread_state, THREAD_GO);
	/* On its way by the time that the device writes, if it has a CPU. */
	for (unsigned int i = 0; i < 100; i++)
		__builtin_ia32_pause();
}

void
harvest_thread_pause(void)
{
	atomic_store(&thread_state, THREAD_PAUSE);
	while (atomic_load(&thread_state) != THREAD_PAUSED)
		sched_yield();
}

void
harvest_thread_off(void)
{
	atomic_store(&thread_state, THREAD_OFF);
	pthread_join(thread, NULL);
}

int
harvest_end(void)
{
	harvest();
	for (int i = 0; i < HARVEST_PAGES; i++)
		if (memcmp(copy + (size_t)i * HARVEST_PAGE, memory + (size_t)i * HARVEST_PAGE,
			   HARVEST_PAGE) != 0)
			return i;
	return -1;
}
