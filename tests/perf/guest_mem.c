/* SPDX-License-Identifier: BSD-3-Clause */
/* guest_mem.c: see guest_mem.h. */
#include "guest_mem.h"

#include <sys/mman.h>
#include <unistd.h>

#include "fail.h"

#ifndef MFD_HUGE_2MB
#define MFD_HUGE_2MB (21u << 26)
#endif

enum { HUGE_SIZE = 2 << 20 };

static bool
guest_mem_try(struct guest_mem *mem, size_t size, bool huge)
{
	size_t unit = huge ? HUGE_SIZE : 4096;

	mem->size = (size + unit - 1) / unit * unit;
	mem->page_kib = (unsigned)(unit >> 10);
	mem->fd = memfd_create("nullguest", MFD_CLOEXEC | (huge ? MFD_HUGETLB | MFD_HUGE_2MB : 0));
	if (mem->fd < 0)
		return false;
	/* For hugepages, mmap is what fails when too few are free. */
	if (!ftruncate(mem->fd, (off_t)mem->size)) {
		void *va =
			mmap(NULL, mem->size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, mem->fd, 0);

		if (va != MAP_FAILED) {
			mem->va = va;
			return true;
		}
	}
	close(mem->fd);
	return false;
}

void
guest_mem_open(struct guest_mem *mem, size_t size, enum guest_mem_pages pages)
{
	if (pages != GUEST_MEM_SMALL && guest_mem_try(mem, size, true))
		return;
	if (pages == GUEST_MEM_HUGE)
		fail("no free 2 MiB hugepages for %zu MiB of guest memory: echo 1024 > "
		     "/proc/sys/vm/nr_hugepages",
		     (size + HUGE_SIZE - 1) >> 20);
	if (!guest_mem_try(mem, size, false))
		fail("guest memory of %zu MiB: %m", size >> 20);
}

void
guest_mem_close(struct guest_mem *mem)
{
	munmap(mem->va, mem->size);
	close(mem->fd);
}
