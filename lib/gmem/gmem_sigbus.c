/* SPDX-License-Identifier: BSD-3-Clause */
#include "gmem_sigbus.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "gmem_map.h"
#include "loop.h"

/*
 * Written by the control thread, read by the handler in any thread. A map is entered after it is complete and
 * leaves, before it is unmapped, when no worker can touch it any more.
 */
static _Atomic(struct gmem_map *) sigbus_table[GMEM_SIGBUS_SLOTS];
static atomic_int sigbus_top; /* one past the highest slot ever used */
static int sigbus_hint;       /* where to look for a free slot; control thread */
static int sigbus_event_fd = -1;
static struct loop_watch *sigbus_watch;
static struct sigaction sigbus_old;
static void (*sigbus_lost_fn)(void *arg);
static void *sigbus_lost_arg;

/* Async-signal-safe: atomics, mmap(), write(). */
static void
sigbus_handle(int sig, siginfo_t *info, void *context)
{
	uint8_t *addr = info->si_addr;
	int top = atomic_load(&sigbus_top), saved_errno = errno;
	uint64_t one = 1;

	for (int i = 0; i < top; i++) {
		struct gmem_map *map = atomic_load(&sigbus_table[i]);

		if (!map || addr < map->base || addr >= map->base + map->len)
			continue;
		if (mmap(map->base, map->len, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0) == MAP_FAILED)
			break;
		atomic_store(&map->lost, true);
		if (write(sigbus_event_fd, &one, sizeof(one)) < 0) {
			/* Full means that the control thread has a wake-up pending already. */
		}
		errno = saved_errno;
		return;
	}
	/* Not guest memory: return with the default action set, and the access faults again. */
	sigaction(SIGBUS, &(struct sigaction){.sa_handler = SIG_DFL}, NULL);
	errno = saved_errno;
}

static void
sigbus_wake(void *arg, uint32_t events)
{
	uint64_t count;

	if (read(sigbus_event_fd, &count, sizeof(count)) == sizeof(count) && sigbus_lost_fn)
		sigbus_lost_fn(sigbus_lost_arg);
}

int
gmem_sigbus_install(struct loop *loop)
{
	struct sigaction sa = {.sa_sigaction = sigbus_handle, .sa_flags = SA_SIGINFO | SA_RESTART};
	int err;

	sigbus_event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (sigbus_event_fd < 0)
		return -errno;
	sigbus_watch = loop_watch_add(loop, sigbus_event_fd, EPOLLIN, sigbus_wake, NULL);
	if (!sigbus_watch)
		goto err_close;
	if (sigaction(SIGBUS, &sa, &sigbus_old) < 0)
		goto err_watch;
	return 0;

err_watch:
	err = errno;
	loop_watch_remove(sigbus_watch);
	errno = err;
err_close:
	err = errno;
	close(sigbus_event_fd);
	sigbus_event_fd = -1;
	return -err;
}

void
gmem_sigbus_uninstall(void)
{
	if (sigbus_event_fd < 0)
		return;
	sigaction(SIGBUS, &sigbus_old, NULL);
	loop_watch_remove(sigbus_watch);
	close(sigbus_event_fd);
	sigbus_event_fd = -1;
}

void
gmem_sigbus_listen(void (*lost)(void *arg), void *arg)
{
	sigbus_lost_fn = lost;
	sigbus_lost_arg = arg;
}

int
gmem_sigbus_guard(struct gmem_map *map)
{
	for (int n = 0; n < GMEM_SIGBUS_SLOTS; n++) {
		int slot = (sigbus_hint + n) % GMEM_SIGBUS_SLOTS;

		if (atomic_load(&sigbus_table[slot]))
			continue;
		atomic_store(&sigbus_table[slot], map);
		if (slot >= atomic_load(&sigbus_top))
			atomic_store(&sigbus_top, slot + 1);
		sigbus_hint = slot + 1;
		return slot;
	}
	return -1;
}

void
gmem_sigbus_unguard(struct gmem_map *map)
{
	if (map->slot < 0)
		return;
	atomic_store(&sigbus_table[map->slot], NULL);
	if (map->slot < sigbus_hint)
		sigbus_hint = map->slot;
	map->slot = -1;
}
