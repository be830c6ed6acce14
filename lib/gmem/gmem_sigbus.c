/* SPDX-License-Identifier: BSD-3-Clause */
#include "gmem_sigbus.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
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
static struct sigaction sigbus_old; /* what was there before us; written before our handler is installed */
static void (*sigbus_lost_fn)(void *arg);
static void *sigbus_lost_arg;

/* An access, not somebody's kill(): of those alone si_addr is an address. */
static bool
sigbus_is_fault(const siginfo_t *info)
{
	return info->si_code > 0;
}

/*
 * Zeroes in place of all of it, at once for every thread. Anonymous memory of that size the kernel may refuse
 * (vm.overcommit_memory=2, RLIMIT_DATA), and has then taken the old mapping away; a file's pages it counts as
 * they are touched. For want of a descriptor there is still the other.
 */
static bool
sigbus_map_zeroes(const struct gmem_map *map)
{
	const int fd = memfd_create("vnicd-lost", MFD_CLOEXEC);
	bool done = false;

	if (fd >= 0) {
		done = ftruncate(fd, (off_t)map->len) == 0 &&
		       mmap(map->base, map->len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) !=
			       MAP_FAILED;
		close(fd);
	}
	return done || mmap(map->base, map->len, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0) != MAP_FAILED;
}

/* True: it was guest memory, and the access can go on. */
static bool
sigbus_replace(const uint8_t *addr)
{
	int top = atomic_load(&sigbus_top);
	uint64_t one = 1;

	for (int i = 0; i < top; i++) {
		struct gmem_map *map = atomic_load(&sigbus_table[i]);

		if (!map || addr < map->base || addr >= map->base + map->len)
			continue;
		if (!sigbus_map_zeroes(map))
			return false;
		atomic_store(&map->lost, true);
		if (write(sigbus_event_fd, &one, sizeof(one)) < 0) {
			/* Full means that the control thread has a wake-up pending already. */
		}
		return true;
	}
	return false;
}

/*
 * Not ours: as if we were not there. An access can't be ignored, no more than by the kernel: with the default
 * action set it faults again when we return. A kill() comes only once, so it is sent again.
 */
static void
sigbus_pass_on(int sig, siginfo_t *info, void *context)
{
	if (sigbus_old.sa_flags & SA_SIGINFO) {
		sigbus_old.sa_sigaction(sig, info, context);
	} else if (sigbus_old.sa_handler != SIG_DFL && sigbus_old.sa_handler != SIG_IGN) {
		sigbus_old.sa_handler(sig);
	} else if (sigbus_is_fault(info) || sigbus_old.sa_handler == SIG_DFL) {
		sigaction(SIGBUS, &(struct sigaction){.sa_handler = SIG_DFL}, NULL);
		if (!sigbus_is_fault(info))
			raise(SIGBUS);
	}
}

/* Async-signal-safe: atomics, system calls without more, raise(). */
static void
sigbus_handle(int sig, siginfo_t *info, void *context)
{
	int saved_errno = errno;

	if (!sigbus_is_fault(info) || !sigbus_replace(info->si_addr))
		sigbus_pass_on(sig, info, context);
	errno = saved_errno;
}

static bool
sigbus_is_ours(const struct sigaction *sa)
{
	return sa->sa_flags & SA_SIGINFO && sa->sa_sigaction == sigbus_handle;
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
	struct sigaction sa = {.sa_sigaction = sigbus_handle,
			       .sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK};
	int err;

	sigbus_event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (sigbus_event_fd < 0)
		return -errno;
	sigbus_watch = loop_watch_add(loop, sigbus_event_fd, EPOLLIN, sigbus_wake, NULL);
	if (!sigbus_watch)
		goto err_close;
	if (sigaction(SIGBUS, NULL, &sigbus_old) < 0 || sigaction(SIGBUS, &sa, NULL) < 0)
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
	struct sigaction now;

	if (sigbus_event_fd < 0)
		return;
	/* Somebody who came after us may pass on to us what is not his, and from here that goes on as before.
	 */
	if (sigaction(SIGBUS, NULL, &now) == 0 && sigbus_is_ours(&now))
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
