/* SPDX-License-Identifier: BSD-3-Clause */
#include "hugepages.h"

#include <dirent.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/mman.h>

#include <rte_common.h>

/* Can this many bytes of huge pages of this size be had, now, by us? Asking the kernel is the only true test.
 */
static bool
hugepages_try(size_t bytes, size_t page_size)
{
	unsigned int shift = (unsigned int)__builtin_ctzl(page_size);
	bool usable;
	void *addr;

	bytes = RTE_ALIGN_CEIL(bytes, page_size);
	addr = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | (int)(shift << MAP_HUGE_SHIFT), -1, 0);
	if (addr == MAP_FAILED)
		return false;
	/* Unlike a touch, this reports a shortage (a cgroup's limit, say) instead of SIGBUS. */
	usable = madvise(addr, bytes, MADV_POPULATE_WRITE) == 0;
	munmap(addr, bytes);
	return usable;
}

size_t
hugepages_find(size_t bytes)
{
	static const char dir_name[] = "/sys/kernel/mm/hugepages";
	DIR *dir = opendir(dir_name);
	struct dirent *entry;
	size_t found = 0;

	if (!dir)
		return 0;
	while (!found && (entry = readdir(dir))) {
		unsigned long page_kib, n_free = 0;
		char path[PATH_MAX];
		size_t page_size;
		FILE *file;

		if (sscanf(entry->d_name, "hugepages-%lukB", &page_kib) != 1)
			continue;
		snprintf(path, sizeof(path), "%s/%s/free_hugepages", dir_name, entry->d_name);
		file = fopen(path, "r");
		if (!file)
			continue;
		if (fscanf(file, "%lu", &n_free) != 1)
			n_free = 0;
		fclose(file);
		page_size = page_kib << 10;
		if (n_free * page_size >= bytes && hugepages_try(bytes, page_size))
			found = page_size;
	}
	closedir(dir);
	return found;
}
