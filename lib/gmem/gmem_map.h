/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * gmem_map: a range of a file that a front-end passed, mapped shared.
 *
 * Reference-counted, because a new memory table often keeps most of the old one's regions. The file is not
 * trusted: it may be truncated at any time. gmem_sigbus handles the signal by marking the mapping as lost.
 */
#ifndef VNICD_GMEM_MAP_H
#define VNICD_GMEM_MAP_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "diag.h"

struct gmem_guard;

struct gmem_map {
	uint8_t *base; /* page aligned, as mapped */
	size_t len;    /* whole pages */
	uint8_t *va;   /* of the first requested byte */
	uint64_t size; /* requested bytes */
	/* The file, and the offset of the first requested byte. */
	uint64_t file_dev, file_ino, file_offset;
	unsigned int refs;        /* control thread only */
	struct gmem_guard *guard; /* of the context that is woken when it is lost; NULL: none */
	/* Set by the SIGBUS handler, in the thread that accessed the missing page; read by the control
	 * thread. */
	atomic_bool lost;
	int slot; /* in the handler's table */
};

#define GMEM_BYTES_MAX (1ull << 40) /* of address space that a device may have mapped, by default */

#define GMEM_LOG_BYTES_MAX (1ull << 32) /* of a dirty log, which is a bit for each page up to the highest */

/* How much may be mapped, and how much is mapped already: the regions of a device. */
struct gmem_budget {
	uint64_t bytes_max, bytes;
	struct gmem_guard *guard; /* of the context (gmem_sigbus.h); NULL: none is woken for lost memory */
};

/*
 * Map [offset, offset + size) of the file `fd`, readable and writable, and add it to budget->bytes. The
 * descriptor stays the caller's.
 *
 * Refused, with nothing left behind: size 0, ranges that overflow (-EINVAL) or reach past the end of the file
 * (-EFBIG), descriptors that are not regular files opened for reading and writing (-EBADF), more than the
 * budget, or than there are guard slots (-ENOSPC), and what mmap() refuses (-ENOMEM and others of its own).
 */
int gmem_map_open_within(struct gmem_budget *budget, int fd, uint64_t offset, uint64_t size,
			 struct gmem_map **ret_map, struct diag *diag);
/* With the default budget, GMEM_BYTES_MAX, for this mapping alone. */
int gmem_map_open(int fd, uint64_t offset, uint64_t size, struct gmem_map **ret_map, struct diag *diag);

/* The same bytes of the same file, as far as `fd` can tell. */
bool gmem_map_is_of(const struct gmem_map *map, int fd, uint64_t offset, uint64_t size);

void gmem_map_ref(struct gmem_map *map);
/* The last reference unmaps; no worker may still see the mapping. Accepts NULL. */
void gmem_map_unref(struct gmem_map *map);

static inline bool
gmem_map_is_lost(const struct gmem_map *map)
{
	return atomic_load_explicit(&map->lost, memory_order_acquire);
}

#endif
