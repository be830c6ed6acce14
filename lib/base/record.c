/* SPDX-License-Identifier: BSD-3-Clause */
#include "record.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

enum { RECORD_PLACES = 2, RECORD_ALIGN = 64, RECORD_MAPPED = 1u << 31 };

#define RECORD_MAGIC UINT64_C(0x30647263696e76) /* "vnicrd0" */

/* Before each of the two contents. */
struct record_head {
	uint64_t magic;
	uint32_t version, size;
	uint64_t serial; /* of the write; the higher one counts */
	uint64_t sum;    /* of all of the above and the content */
};

struct record {
	int fd;
	uint32_t version, size;
	uint64_t serial;          /* of the last write */
	struct record_head *room; /* a head and its content, to be written at once */
	struct record_head *map;  /* of memory, whose serial and sum are 0; NULL: not mapped */
	char path[];
};

static size_t
record_stride(uint32_t size)
{
	return (sizeof(struct record_head) + size + RECORD_ALIGN - 1) & ~(size_t)(RECORD_ALIGN - 1);
}

/* Not against forgery, for who can write the file can write what he likes: against halves. */
static uint64_t
record_sum(const struct record_head *head)
{
	const uint8_t *at = (const uint8_t *)(head + 1);
	uint64_t sum = (head->magic ^ head->serial) * UINT64_C(0x9e3779b97f4a7c15) ^
		       ((uint64_t)head->version << 32 | head->size);

	for (uint32_t left = head->size, now; left; left -= now, at += now) {
		uint64_t word = 0;

		now = left < sizeof(word) ? left : (uint32_t)sizeof(word);
		memcpy(&word, at, now);
		sum = (sum ^ word) * UINT64_C(0x9e3779b97f4a7c15);
		sum ^= sum >> 32;
	}
	return sum;
}

static bool
record_read(const struct record *record, unsigned int place)
{
	const size_t len = sizeof(struct record_head) + record->size;
	const struct record_head *head = record->room;

	return pread(record->fd, record->room, len, (off_t)(place * record_stride(record->size))) ==
		       (ssize_t)len &&
	       head->magic == RECORD_MAGIC && head->version == record->version &&
	       head->size == record->size && head->sum == record_sum(head);
}

static bool
record_find(struct record *record, void *ret_found)
{
	bool found = false;

	for (unsigned int place = 0; place < RECORD_PLACES; place++) {
		if (!record_read(record, place) || (found && record->room->serial <= record->serial))
			continue;
		found = true;
		record->serial = record->room->serial;
		memcpy(ret_found, record->room + 1, record->size);
	}
	return found;
}

/* A file that nobody else can have put there, or writes. */
static int
record_open_file(struct record *record, struct diag *diag)
{
	const char *way_out = "remove it, or let vnicd have another run-time directory";
	struct stat st;

	record->fd = open(record->path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
	if (record->fd < 0 && (errno == ELOOP || errno == EISDIR || errno == ENXIO))
		return diag_set(diag, -EEXIST, way_out, "%s: something that is no file is there",
				record->path);
	if (record->fd < 0)
		return diag_set(diag, -errno, way_out, "%s: %s", record->path, strerror(errno));
	if (fstat(record->fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_uid != geteuid() ||
	    st.st_mode & (S_IWGRP | S_IWOTH) || st.st_nlink != 1)
		return diag_set(diag, -EEXIST, way_out, "%s: not a file that only we can write",
				record->path);
	if (flock(record->fd, LOCK_EX | LOCK_NB) < 0)
		return diag_set(diag, -EBUSY,
				"stop that process, or let vnicd have another run-time directory",
				"%s: another process has it", record->path);
	/* So that a write does not fail later for want of room. */
	if (posix_fallocate(record->fd, 0, (off_t)(RECORD_PLACES * record_stride(record->size))) != 0)
		return diag_set(diag, -ENOSPC, "make room there", "%s: no room", record->path);
	return 0;
}

static void
record_free(struct record *record)
{
	if (record->map)
		munmap(record->map, RECORD_ALIGN + (size_t)record->size);
	if (record->fd >= 0)
		close(record->fd);
	free(record->room);
	free(record);
}

/* NULL: out of memory, with diag filled. */
static struct record *
record_new(const char *path, uint32_t version, uint32_t size, struct diag *diag)
{
	struct record *record = calloc(1, sizeof(*record) + strlen(path) + 1);

	if (!record) {
		diag_no_memory(diag, "%s: out of memory", path);
		return NULL;
	}
	strcpy(record->path, path);
	record->fd = -1;
	record->version = version;
	record->size = size;
	return record;
}

int
record_open(const char *path, uint32_t version, uint32_t size, struct record **ret_record, void *ret_found,
	    bool *ret_is_found, struct diag *diag)
{
	struct record *record = record_new(path, version, size, diag);
	int ret;

	if (!record)
		return -ENOMEM;
	record->room = calloc(1, record_stride(size));
	ret = record->room ? record_open_file(record, diag) : diag_no_memory(diag, "%s: out of memory", path);
	if (ret < 0) {
		record_free(record);
		return ret;
	}
	*ret_is_found = record_find(record, ret_found);
	*ret_record = record;
	return 0;
}

int
record_write(struct record *record, const void *content)
{
	const size_t len = sizeof(struct record_head) + record->size;
	const uint64_t serial = record->serial + 1;
	struct record_head *head = record->room;
	ssize_t n;

	*head = (struct record_head){
		.magic = RECORD_MAGIC, .version = record->version, .size = record->size, .serial = serial};
	memcpy(head + 1, content, record->size);
	head->sum = record_sum(head);
	n = pwrite(record->fd, head, len, (off_t)(serial % RECORD_PLACES * record_stride(record->size)));
	if (n != (ssize_t)len)
		return n < 0 ? -errno : -EIO;
	record->serial = serial;
	return 0;
}

static int
record_map_file(struct record *record, struct diag *diag)
{
	const size_t len = RECORD_ALIGN + (size_t)record->size;
	struct statfs fs;
	void *map;

	if (fstatfs(record->fd, &fs) < 0 || fs.f_type != TMPFS_MAGIC)
		return diag_set(diag, -EOPNOTSUPP,
				"let vnicd have a run-time directory on a tmpfs, as /run is",
				"%s: not in memory", record->path);
	map = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, record->fd, 0);
	if (map == MAP_FAILED)
		return diag_set(diag, -errno, "", "%s: %s", record->path, strerror(errno));
	record->map = map;
	return 0;
}

int
record_map(const char *path, uint32_t version, uint32_t size, struct record **ret_record, void **ret_memory,
	   void *ret_found, bool *ret_is_found, struct diag *diag)
{
	struct record *record = record_new(path, version, size, diag);
	const struct record_head head = {
		.magic = RECORD_MAGIC, .version = version | RECORD_MAPPED, .size = size};
	uint8_t *memory;
	int ret;

	if (!record)
		return -ENOMEM;
	ret = record_open_file(record, diag);
	if (ret == 0)
		ret = record_map_file(record, diag);
	if (ret < 0) {
		if (ret == -EOPNOTSUPP)
			unlink(path);
		record_free(record);
		return ret;
	}
	memory = (uint8_t *)record->map + RECORD_ALIGN;
	*ret_is_found = memcmp(record->map, &head, sizeof(head)) == 0;
	if (*ret_is_found)
		memcpy(ret_found, memory, size);
	memset(memory, 0, size);
	*record->map = head;
	*ret_record = record;
	*ret_memory = memory;
	return 0;
}

void
record_remove(struct record *record)
{
	if (!record)
		return;
	unlink(record->path);
	record_free(record);
}
