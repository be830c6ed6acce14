/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * dirty_log.h: the log that a back-end marks the pages in which it writes to, one bit for each 4096 bytes of
 * the guest's address space from 0 on (vhost-user, "Migration"), and the VMM's half: looking at it.
 */
#ifndef PERF_DIRTY_LOG_H
#define PERF_DIRTY_LOG_H

#include <stddef.h>
#include <stdint.h>

struct dirty_log {
	uint64_t *words;            /* shared with the back-end, which sets bits in them */
	size_t first_word, n_words; /* that memory has bits in */
	size_t size;                /* bytes in whole pages: of the file, and what the back-end is told */
	int fd;
	uint64_t n_pages; /* bits found since the start */
};

/* A log of clear bits for memory from gpa to gpa + size, `gpa` in whole words of pages. Exits with a message
 * when memory is short. */
void dirty_log_open(struct dirty_log *log, uint64_t gpa, size_t size);

/* Fetches and clears every word of the memory, as a VMM does before it sends the pages. Bits elsewhere it
 * would not find either. */
void dirty_log_harvest(struct dirty_log *log);

void dirty_log_close(struct dirty_log *log);

#endif
