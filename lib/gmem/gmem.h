/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * gmem: a guest's memory as the device sees it: regions, translation, the dirty log.
 *
 * A `struct gmem` is immutable once workers can see it; a changed memory table is a new one. Each byte has
 * three addresses: its guest physical address (gpa, as in descriptors), its address in the front-end (uva, as
 * in ring set-up messages) and its address in this process (va).
 *
 * Guest memory is accessed by gmem_va() and gmem_piece() only; every byte of what they return is mapped.
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
	 * Regions that a device may have: the reply to GET_MAX_MEM_SLOTS. Each of GMEM_DEVICES_MAX devices
	 * can have so many and a dirty log (gmem_sigbus.h), within the 65530 mappings that Linux lets a
	 * process have by default.
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
	unsigned int n_added; /* times that it was added, minus times that it was removed; 1 or more */
};

struct gmem {
	unsigned int n_regions;
	struct gmem_region regions[]; /* by ascending gpa, without overlap in gpa or uva */
};

/* A region as the front-end describes it. */
struct gmem_region_spec {
	uint64_t gpa, size, uva, file_offset;
	int fd; /* stays the caller's */
};

/*
 * Make a table of n regions (1 or more), or of those of `old` and n more. 0, or -errno with diag filled:
 * -EINVAL for sizes that are 0 or overflow, and for overlaps; -ENOSPC for more than GMEM_REGIONS_MAX;
 * -ENOMEM; and those of gmem_map_open_within(), which counts the regions of `old`. `old` stays as it is.
 *
 * If `old` has a region already (the same bytes of the same file at the same addresses), its n_added is
 * incremented, and it has to be removed as often: QEMU adds and removes each region once for each queue pair.
 */
int gmem_build_within(struct gmem_budget budget, const struct gmem *old,
		      const struct gmem_region_spec specs[], unsigned int n, struct gmem **ret_mem,
		      struct diag *diag);
/* With the default budget, GMEM_BYTES_MAX. */
int gmem_build(const struct gmem *old, const struct gmem_region_spec specs[], unsigned int n,
	       struct gmem **ret_mem, struct diag *diag);
/* Make a table of `old` in which the region with just this gpa, uva and size was removed once; it is gone
 * when n_added becomes 0. -ENOENT when there is no such region. */
int gmem_build_without(const struct gmem *old, uint64_t gpa, uint64_t uva, uint64_t size,
		       struct gmem **ret_mem, struct diag *diag);
/* No worker may still see it. Accepts NULL. */
void gmem_free(struct gmem *mem);
/* Bytes of address space that are mapped for it. Accepts NULL. */
uint64_t gmem_bytes(const struct gmem *mem);
/* The file of one of its regions was truncated (gmem_sigbus.h). Accepts NULL. */
bool gmem_is_lost(const struct gmem *mem);

/* Translate uva to gpa; false when [uva, uva + len) is not inside one region. Accepts NULL. */
bool gmem_uva_to_gpa(const struct gmem *mem, uint64_t uva, uint64_t len, uint64_t *ret_gpa);

/* The slow path of gmem_va(): searches all regions. */
uint8_t *gmem_va_search(const struct gmem *mem, uint64_t gpa, uint64_t len);
/*
 * For ranges that cross from one region into the next: the va of gpa, and in *ret_len (1 .. len) how many
 * bytes of [gpa, gpa + len), len 1 or more, lie in the region of gpa. NULL when gpa is in no region.
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

/* Cache the largest region, in which most buffers lie. */
void gmem_cache_init(struct gmem_cache *cache, const struct gmem *mem);

/* --- dirty log: one bit per page of 4096 bytes, in memory shared with the front-end (SET_LOG_BASE) --- */

struct gmem_log {
	struct gmem_map *map;
	_Atomic uint8_t *bits; /* [n_bytes] */
	uint64_t n_bytes;
};

/*
 * To be executed between writes to guest memory and their marks: once for any number of them, after all of
 * these writes and before all of these marks.
 *
 * Full fence: pairs with the front-end's atomic exchange, by which it clears the marks before it copies the
 * pages. Either gmem_log_mark() sees that the bit was cleared and sets it again, or the copy has the write.
 */
static inline void
gmem_log_fence(void)
{
	atomic_thread_fence(memory_order_seq_cst);
}

/*
 * Mark every page of [gpa, gpa + len), after the write and after gmem_log_fence(): if the mark came first,
 * the front-end could clear it and copy the page before the write. All writes are marked before the front-end
 * gets the reply to GET_VRING_BASE. Pages beyond the end of the log are not marked: the front-end chose its
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

		/* Atomic: other devices' back-ends set bits in it too, and the front-end clears them. Most
		 * bits are set already, and then the cache line is not written. */
		if (!(atomic_load_explicit(&log->bits[page / 8], memory_order_relaxed) & bit))
			atomic_fetch_or_explicit(&log->bits[page / 8], bit, memory_order_release);
	}
}

#endif
