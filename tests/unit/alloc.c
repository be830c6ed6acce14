/* SPDX-License-Identifier: BSD-3-Clause */
#include "alloc.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <rte_errno.h>
#include <rte_malloc.h>
#include <rte_ring.h>

enum { ALLOC_LIVE_MAX = 4096 };

static const void *alloc_blocks[ALLOC_LIVE_MAX];
static unsigned int alloc_n_blocks;
static unsigned int alloc_left; /* allocations until one fails, that one included; 0: none does */
static enum alloc_failure alloc_how;
static bool alloc_failed, alloc_armed;

void
alloc_fail_at(unsigned int n, enum alloc_failure how)
{
	alloc_left = n;
	alloc_how = how;
	alloc_failed = false;
}

void
alloc_recover(void)
{
	alloc_left = 0;
}

bool
alloc_has_failed(void)
{
	return alloc_failed;
}

void
alloc_arm(void)
{
	alloc_armed = true;
}

void
alloc_disarm(void)
{
	alloc_armed = false;
}

unsigned int
alloc_live(void)
{
	return alloc_n_blocks;
}

static bool
alloc_fails(void)
{
	if (!alloc_armed || alloc_left == 0 || --alloc_left)
		return false;
	if (alloc_how == ALLOC_FAILS_ON)
		alloc_left = 1;
	alloc_failed = true;
	return true;
}

static void *
alloc_made(void *block)
{
	if (!block)
		return NULL;
	if (alloc_n_blocks == ALLOC_LIVE_MAX) {
		fprintf(stderr, "alloc: more than %d blocks at a time\n", ALLOC_LIVE_MAX);
		abort();
	}
	alloc_blocks[alloc_n_blocks++] = block;
	return block;
}

/* One that is not known was a library's. The latest come first. */
static void
alloc_gone(const void *block)
{
	for (unsigned int i = alloc_n_blocks; i--;) {
		if (alloc_blocks[i] != block)
			continue;
		alloc_blocks[i] = alloc_blocks[--alloc_n_blocks];
		return;
	}
}

/* NOLINTBEGIN: the linker's names */
#define WRAP(type, name, params, args)                                        \
	type __real_##name params;                                            \
	type __wrap_##name params;                                            \
	type __wrap_##name params                                             \
	{                                                                     \
		return alloc_fails() ? NULL : alloc_made(__real_##name args); \
	}

WRAP(void *, malloc, (size_t size), (size))
WRAP(void *, calloc, (size_t n, size_t size), (n, size))
WRAP(void *, aligned_alloc, (size_t align, size_t size), (align, size))
WRAP(char *, strdup, (const char *text), (text))
WRAP(void *, rte_malloc, (const char *type, size_t size, unsigned align), (type, size, align))
WRAP(void *, rte_zmalloc, (const char *type, size_t size, unsigned align), (type, size, align))

void *__real_realloc(void *old, size_t size);
void *__wrap_realloc(void *old, size_t size);
void *
__wrap_realloc(void *old, size_t size)
{
	void *block;

	if (alloc_fails())
		return NULL;
	block = __real_realloc(old, size);
	if (block) {
		alloc_gone(old);
		alloc_made(block);
	}
	return block;
}

struct rte_ring *__real_rte_ring_create(const char *name, unsigned count, int socket, unsigned flags);
struct rte_ring *__wrap_rte_ring_create(const char *name, unsigned count, int socket, unsigned flags);
struct rte_ring *
__wrap_rte_ring_create(const char *name, unsigned count, int socket, unsigned flags)
{
	if (alloc_fails()) {
		rte_errno = ENOMEM;
		return NULL;
	}
	return alloc_made(__real_rte_ring_create(name, count, socket, flags));
}

#define UNWRAP(name, type)              \
	void __real_##name(type block); \
	void __wrap_##name(type block); \
	void __wrap_##name(type block)  \
	{                               \
		alloc_gone(block);      \
		__real_##name(block);   \
	}

UNWRAP(free, void *)
UNWRAP(rte_free, void *)
UNWRAP(rte_ring_free, struct rte_ring *)
/* NOLINTEND */
