/* SPDX-License-Identifier: BSD-3-Clause */
/* dirty_log.c: see dirty_log.h. */
#include "dirty_log.h"

#include <sys/mman.h>
#include <unistd.h>

#include "fail.h"

enum { PAGE = 4096, PAGES_PER_WORD = 64 };

static size_t
units(size_t n, size_t unit)
{
	return (n + unit - 1) / unit;
}

void
dirty_log_open(struct dirty_log *log, uint64_t gpa, size_t size)
{
	log->n_pages = 0;
	log->first_word = gpa / PAGE / PAGES_PER_WORD;
	log->n_words = units(size, PAGE * PAGES_PER_WORD);
	log->size = units((log->first_word + log->n_words) * sizeof(*log->words), PAGE) * PAGE;
	log->fd = memfd_create("nullguest-log", MFD_CLOEXEC);
	if (log->fd < 0 || ftruncate(log->fd, (off_t)log->size))
		fail("dirty log of %zu KiB: %m", log->size >> 10);
	log->words = mmap(NULL, log->size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, log->fd, 0);
	if (log->words == MAP_FAILED)
		fail("dirty log of %zu KiB: %m", log->size >> 10);
}

void
dirty_log_harvest(struct dirty_log *log)
{
	uint64_t *words = log->words + log->first_word;

	for (size_t i = 0; i < log->n_words; i++) {
		/* A look first: words without news are not taken from the back-end's cache. */
		if (!__atomic_load_n(&words[i], __ATOMIC_RELAXED))
			continue;
		/* Partner: the back-end's atomic OR; what it has written to the page comes before. */
		log->n_pages +=
			(unsigned)__builtin_popcountll(__atomic_exchange_n(&words[i], 0, __ATOMIC_ACQUIRE));
	}
}

void
dirty_log_close(struct dirty_log *log)
{
	munmap(log->words, log->size);
	close(log->fd);
}
