/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * record: a small file that says what a program knew when it was killed, for the next one.
 *
 * The content is a value of fixed size, replaced as a whole. The file has two places for it, written in turn,
 * each with a number and a checksum: a process that dies in the middle of a write leaves the value before. It
 * is not synced to a disk: it outlives the process, not the machine.
 *
 * A record can also be memory that is mapped from its file: what is stored there outlives the process without
 * a call, store by store, so what is found is whatever the moment left.
 *
 * What is found is checked as to form only; what it says is to be checked by who reads it, like any input.
 */
#ifndef VNICD_RECORD_H
#define VNICD_RECORD_H

#include <stdbool.h>
#include <stdint.h>

#include "diag.h"

struct record;

/*
 * Open the record at `path` for contents of `size` bytes in a form that `version` stands for, or make it,
 * mode 0600. What an earlier process left is copied to `ret_found`, and *ret_is_found is true, if its last
 * write is whole and of this version and size. Anything else that is in the file is overwritten by the next
 * write.
 *
 * 0; -EBUSY: another process has it open; -EEXIST: something is there that is not a file of ours alone (a
 * link, a directory, another user's); or another -errno, with diag filled.
 */
int record_open(const char *path, uint32_t version, uint32_t size, struct record **ret_record,
		void *ret_found, bool *ret_is_found, struct diag *diag);
/* The content from now on, also after the process was killed. 0 or -errno: what was written before counts. */
int record_write(struct record *record, const void *content);
/*
 * The same for memory: *ret_memory is `size` bytes, zero, at the beginning of a cache line, until
 * record_remove(). -EOPNOTSUPP: the file would not be in memory (tmpfs), so that stores would wait for a
 * disk.
 */
int record_map(const char *path, uint32_t version, uint32_t size, struct record **ret_record,
	       void **ret_memory, void *ret_found, bool *ret_is_found, struct diag *diag);
/* Remove the file, and unmap it. Accepts NULL. */
void record_remove(struct record *record);

#endif
