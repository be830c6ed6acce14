/* SPDX-License-Identifier: BSD-3-Clause */
/* guest_mem.h: a guest's whole memory: one memfd, on hugepages when enough are free. */
#ifndef PERF_GUEST_MEM_H
#define PERF_GUEST_MEM_H

#include <stdbool.h>
#include <stdint.h>
#include <stddef.h>

/* Where guest memory starts in the guest's own address space; not 0, so that no valid address looks like
 * NULL. */
#define GUEST_MEM_GPA ((uint64_t)1 << 30)

enum guest_mem_pages { GUEST_MEM_AUTO, GUEST_MEM_HUGE, GUEST_MEM_SMALL };

struct guest_mem {
	uint8_t *va;
	size_t size;
	int fd;
	unsigned page_kib;
};

/* All pages present and zeroed. Exits with a message when memory is short. */
void guest_mem_open(struct guest_mem *mem, size_t size, enum guest_mem_pages pages);
void guest_mem_close(struct guest_mem *mem);

#endif
