/* SPDX-License-Identifier: BSD-3-Clause */
#include "gmem_map.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "gmem_sigbus.h"

/* Larger than any guest; keeps the arithmetic below far from overflow. */
static const uint64_t GMEM_MAP_SIZE_MAX = 1ull << 46;

/* The unit in which the file can be mapped: its huge page, or a page. 0: not a file that we take. */
static uint64_t
gmem_map_page_size(int fd, struct stat *ret_stat)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	struct statfs fs;
	int flags;

	flags = fcntl(fd, F_GETFL);
	if (flags < 0 || (flags & O_ACCMODE) != O_RDWR || fstat(fd, ret_stat) < 0 ||
	    !S_ISREG(ret_stat->st_mode) || fstatfs(fd, &fs) < 0)
		return 0;
	if (fs.f_type == HUGETLBFS_MAGIC)
		page = (uint64_t)fs.f_bsize;
	return page && !(page & (page - 1)) ? page : 0;
}

static unsigned long long
gib(uint64_t bytes)
{
	return (bytes + (1ull << 30) - 1) >> 30;
}

int
gmem_map_open_within(struct gmem_budget *budget, int fd, uint64_t offset, uint64_t size,
		     struct gmem_map **ret_map, struct diag *diag)
{
	uint64_t page, file_size, start, end;
	struct gmem_map *map;
	struct stat st;
	void *base;

	page = gmem_map_page_size(fd, &st);
	if (!page)
		return diag_set(
			diag, -EBADF, "pass a memfd or a file opened for reading and writing",
			"memory region: its descriptor is not a regular file opened for reading and writing");
	if (size == 0 || size > GMEM_MAP_SIZE_MAX || offset > GMEM_MAP_SIZE_MAX)
		return diag_set(diag, -EINVAL, "",
				"memory region: size 0x%llx at file offset 0x%llx is out of range",
				(unsigned long long)size, (unsigned long long)offset);
	file_size = (uint64_t)st.st_size;
	if (offset + size > file_size)
		return diag_set(diag, -EFBIG, "",
				"memory region: 0x%llx bytes at offset 0x%llx reach past the file's 0x%llx",
				(unsigned long long)size, (unsigned long long)offset,
				(unsigned long long)file_size);

	start = offset & ~(page - 1);
	end = (offset + size + page - 1) & ~(page - 1);
	if (budget->bytes > budget->bytes_max || end - start > budget->bytes_max - budget->bytes)
		return diag_set(
			diag, -ENOSPC, "",
			"memory region: with it the front-end has %llu GiB mapped, and its port is for "
			"%llu: give the port memory=%llu",
			gib(budget->bytes + (end - start)), gib(budget->bytes_max),
			gib(budget->bytes + (end - start)));
	map = calloc(1, sizeof(*map));
	if (!map)
		return diag_set(diag, -ENOMEM, "", "memory region: out of memory");
	base = mmap(NULL, end - start, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, (off_t)start);
	if (base == MAP_FAILED) {
		int err = errno;

		free(map);
		return diag_set(diag, -err, "", "memory region: mapping 0x%llx bytes: %s",
				(unsigned long long)(end - start), strerror(err));
	}
	madvise(base, end - start, MADV_DONTDUMP);
	map->base = base;
	map->len = end - start;
	map->va = map->base + (offset - start);
	map->size = size;
	map->file_dev = st.st_dev;
	map->file_ino = st.st_ino;
	map->file_offset = offset;
	map->refs = 1;
	map->guard = budget->guard;
	map->slot = gmem_sigbus_guard(map);
	if (map->slot < 0) {
		gmem_map_unref(map);
		return diag_set(diag, -ENOSPC, "", "memory region: more than %d regions mapped in all",
				GMEM_SIGBUS_SLOTS);
	}
	budget->bytes += map->len;
	*ret_map = map;
	return 0;
}

int
gmem_map_open(int fd, uint64_t offset, uint64_t size, struct gmem_map **ret_map, struct diag *diag)
{
	struct gmem_budget usual = {.bytes_max = GMEM_BYTES_MAX};

	return gmem_map_open_within(&usual, fd, offset, size, ret_map, diag);
}

bool
gmem_map_is_of(const struct gmem_map *map, int fd, uint64_t offset, uint64_t size)
{
	struct stat st;

	return fstat(fd, &st) == 0 && st.st_dev == map->file_dev && st.st_ino == map->file_ino &&
	       offset == map->file_offset && size == map->size;
}

void
gmem_map_ref(struct gmem_map *map)
{
	map->refs++;
}

void
gmem_map_unref(struct gmem_map *map)
{
	if (!map || --map->refs)
		return;
	gmem_sigbus_unguard(map);
	munmap(map->base, map->len);
	free(map);
}
