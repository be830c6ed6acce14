/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * gmem: a guest's memory as the device sees it: regions, translation, the dirty log.
 *
 * A `struct gmem` is immutable once workers can see it; a changed memory table is a new one. It knows three
 * names of a byte: its guest physical address (gpa, what descriptors hold), its address in the front-end
 * (uva, what ring set-up messages hold) and its address here (va).
 *
 * All guest memory is reached through gmem_va() and gmem_piece(): a range is mapped as a whole or not at all.
 */
#ifndef VNICD_GMEM_H
#define VNICD_GMEM_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "diag.h"
#include "gmem_map.h"

enum {
	GMEM_TABLE_REGIONS_MAX = 8, /* vhost-user, "Memory region description" */
	/*
	 * Regions that a device may have: what GET_MAX_MEM_SLOTS answers. Each device can have them, and a
	 * dirty log, whatever GMEM_DEVICES_MAX - 1 others have (gmem_sigbus.h), within the 65530 mappings
	 * that Linux lets a process have by default.
	 */
	GMEM_REGIONS_MAX = 48,
	GMEM_DEVICES_MAX = 1024,
	GMEM_PAGE_SHIFT = 12,
};

struct gmem_region {
	uint64_t gpa;
	uint64_t size; /* bytes */
	uint8_t *va;   /* of gpa */
	uint64_t uva;
	struct gmem_map *map;
	unsigned int n_named; /* how often it was added, less how often it was removed; 1 or more */
};

struct gmem {
	unsigned int n_regions;
	struct gmem_region regions[]; /* by ascending gpa, without overlap in gpa or uva */
};

/* What one region is made of, as a front-end says it. */
struct gmem_region_spec {
	uint64_t gpa, size, uva, file_offset;
	int fd; /* stays the caller's */
};

/*
 * A table of n specs (1 or more), or of `old` plus n specs. Refuses sizes that are 0 or overflow, and
 * overlaps (-EINVAL), more than GMEM_REGIONS_MAX (-ENOSPC), want of memory (-ENOMEM), and what
 * gmem_map_open_within() refuses, the regions of `old` counted. `old` stays as it is.
 *
 * A region that `old` has already, the same bytes of the same file under the same addresses, is only counted
 * once more, and has to be removed as often: QEMU adds and removes each region once for each queue pair.
 */
int gmem_build_within(struct gmem_budget budget, const struct gmem *old,
		      const struct gmem_region_spec specs[], unsigned int n, struct gmem **ret_mem,
		      struct diag *diag);
/* Within the usual budget. */
int gmem_build(const struct gmem *old, const struct gmem_region_spec specs[], unsigned int n,
	       struct gmem **ret_mem, struct diag *diag);
/* `old` without (or named once less) the region of exactly this gpa, uva and size; -ENOENT when there is
 * none. */
int gmem_build_without(const struct gmem *old, uint64_t gpa, uint64_t uva, uint64_t size,
		       struct gmem **ret_mem, struct diag *diag);
/* No worker may still see it. Accepts NULL. */
void gmem_free(struct gmem *mem);
/* Bytes of address space that it takes. Accepts NULL. */
uint64_t gmem_bytes(const struct gmem *mem);
/* Some region's file has gone from under us. Accepts NULL. */
bool gmem_is_lost(const struct gmem *mem);

/* Front-end address to guest address; false when [uva, uva + len) is not inside one region. Accepts NULL. */
bool gmem_uva_to_gpa(const struct gmem *mem, uint64_t uva, uint64_t len, uint64_t *ret_gpa);

/* The slow half of gmem_va(): searches all regions. */
uint8_t *gmem_va_search(const struct gmem *mem, uint64_t gpa, uint64_t len);
/*
 * As much of [gpa, gpa + len), len 1 or more, as one region holds: returns its va and the length in *ret_len
 * (1 .. len); NULL when gpa itself is not mapped. For ranges that cross from one region into the next.
 */
uint8_t *gmem_piece(const struct gmem *mem, uint64_t gpa, uint64_t len, uint64_t *ret_len);

/* The region that a queue found its last buffer in; owned by the queue's worker. */
struct gmem_cache {
	uint64_t gpa, size;
	uint8_t *va;
};

/* va of [gpa, gpa + len) when the cached region holds all of it; NULL otherwise. len may be 0. */
static inline uint8_t *
gmem_cache_va(const struct gmem_cache *cache, uint64_t gpa, uint32_t len)
{
	uint64_t offset = gpa - cache->gpa;

	/* Half open: offset in [0, size], len in [0, size - offset]. */
	if (__builtin_expect(offset < cache->size && len <= cache->size - offset, 1))
		return cache->va + offset;
	return NULL;
}

/* va of [gpa, gpa + len), which must lie in one region as a whole; NULL otherwise. len may be 0. */
static inline uint8_t *
gmem_va(const struct gmem *mem, const struct gmem_cache *cache, uint64_t gpa, uint32_t len)
{
	uint8_t *va = gmem_cache_va(cache, gpa, len);

	return __builtin_expect(va != NULL, 1) ? va : gmem_va_search(mem, gpa, len);
}

/* The guest address of a byte of the cached region. */
static inline uint64_t
gmem_cache_gpa(const struct gmem_cache *cache, const uint8_t *va)
{
	return cache->gpa + (uint64_t)(va - cache->va);
}

/* The region in which most buffers lie: the largest. */
void gmem_cache_init(struct gmem_cache *cache, const struct gmem *mem);

/* --- dirty log: one bit a page of 4096 bytes, in memory shared with the front-end (SET_LOG_BASE) --- */

struct gmem_log {
	struct gmem_map *map;
	_Atomic uint8_t *bits; /* [n_bytes] */
	uint64_t n_bytes;
};

/*
 * Between writes to guest memory and their marks: once for any number of both, each write before it and each
 * mark after it.
 *
 * Full fence: pairs with the front-end's atomic exchange, by which it takes the marks before it copies the
 * pages. Either gmem_log_mark() sees that the bit was taken and sets it again, or the copy has the write.
 */
static inline void
gmem_log_fence(void)
{
	atomic_thread_fence(memory_order_seq_cst);
}

/*
 * Mark every page of [gpa, gpa + len), after the write and after gmem_log_fence(): a mark that comes before
 * its write may be taken, and the page copied, in between. The last write of all to a page, and its mark,
 * come before the queue is said to have stopped. Pages beyond the log are left out: it is the front-end's to
 * size.
 */
static inline void
gmem_log_mark(const struct gmem_log *log, uint64_t gpa, uint64_t len)
{
	uint64_t page = gpa >> GMEM_PAGE_SHIFT;
	uint64_t last = (gpa + len - 1) >> GMEM_PAGE_SHIFT;

	if (len == 0)
		return;
	for (; page <= last && page / 8 < log->n_bytes; page++) {
		uint8_t bit = (uint8_t)(1u << (page % 8));

		/* Shared with other devices' back-ends and the front-end that clears it: atomic. Most bits
		 * are set already, and their line stays as it is. */
		if (!(atomic_load_explicit(&log->bits[page / 8], memory_order_relaxed) & bit))
			atomic_fetch_or_explicit(&log->bits[page / 8], bit, memory_order_release);
	}
}

#endif
