/* SPDX-License-Identifier: BSD-3-Clause */
#include "gmem_sigbus.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "ctx.h"
#include "gmem_map.h"
#include "loop.h"

/*
 * Written by control threads, read by the handler in any thread. A map is entered after it is complete and
 * leaves, before it is unmapped, when no worker can touch it any more.
 */
static _Atomic(struct gmem_map *) sigbus_table[GMEM_SIGBUS_SLOTS];
static atomic_int sigbus_top;  /* one past the highest slot ever used */
static atomic_int sigbus_hint; /* where to look for a free slot */

/*
 * Our places among the handlers of SIGBUS, from the first to the latest: `old` is what was there before.
 * There is more than one when somebody has installed his handler over ours, and stayed when we went: what he
 * passes on comes to our former place, from which it must not come back to him.
 */
enum { SIGBUS_PLACES = 4 };

static struct {
	pthread_mutex_t mutex; /* for all but the handler, which reads `old` of its place: written before */
	unsigned int n_contexts;
	unsigned int n_places;
	struct sigaction old[SIGBUS_PLACES];
} sigbus = {.mutex = PTHREAD_MUTEX_INITIALIZER};

/* Who is woken when a mapping of his is lost; of a context. */
struct gmem_guard {
	int event_fd;
	struct loop_watch *watch;
	void (*lost)(void *arg);
	void *lost_arg;
};

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
		if (map->guard && write(map->guard->event_fd, &one, sizeof(one)) < 0) {
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
sigbus_pass_on(const struct sigaction *old, int sig, siginfo_t *info, void *context)
{
	if (old->sa_flags & SA_SIGINFO) {
		old->sa_sigaction(sig, info, context);
	} else if (old->sa_handler != SIG_DFL && old->sa_handler != SIG_IGN) {
		old->sa_handler(sig);
	} else if (sigbus_is_fault(info) || old->sa_handler == SIG_DFL) {
		sigaction(SIGBUS, &(struct sigaction){.sa_handler = SIG_DFL}, NULL);
		if (!sigbus_is_fault(info))
			raise(SIGBUS);
	}
}

/* Async-signal-safe: atomics, system calls without more, raise(). */
static void
sigbus_handle(unsigned int place, int sig, siginfo_t *info, void *context)
{
	int saved_errno = errno;

	if (!sigbus_is_fault(info) || !sigbus_replace(info->si_addr))
		sigbus_pass_on(&sigbus.old[place], sig, info, context);
	errno = saved_errno;
}

#define SIGBUS_HANDLER(place)                                                      \
	static void sigbus_handle_##place(int sig, siginfo_t *info, void *context) \
	{                                                                          \
		sigbus_handle(place, sig, info, context);                          \
	}

SIGBUS_HANDLER(0)
SIGBUS_HANDLER(1)
SIGBUS_HANDLER(2)
SIGBUS_HANDLER(3)

static void (*const sigbus_handlers[])(int sig, siginfo_t *info, void *context) = {
	sigbus_handle_0, sigbus_handle_1, sigbus_handle_2, sigbus_handle_3};

static_assert(sizeof(sigbus_handlers) / sizeof(sigbus_handlers[0]) == SIGBUS_PLACES, "a handler each");

/* Is our latest handler the one that the kernel calls? */
static bool
sigbus_is_uppermost(void)
{
	struct sigaction now;

	return sigbus.n_places && sigaction(SIGBUS, NULL, &now) == 0 && now.sa_flags & SA_SIGINFO &&
	       now.sa_sigaction == sigbus_handlers[sigbus.n_places - 1];
}

/* The first context has come. 0 or -errno. */
static int
sigbus_take_place(void)
{
	struct sigaction sa = {.sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK};

	/* Above all that: whoever has come so often passes on what is not his. */
	if (sigbus_is_uppermost() || sigbus.n_places == SIGBUS_PLACES)
		return 0;
	sa.sa_sigaction = sigbus_handlers[sigbus.n_places];
	if (sigaction(SIGBUS, NULL, &sigbus.old[sigbus.n_places]) < 0 || sigaction(SIGBUS, &sa, NULL) < 0)
		return -errno;
	sigbus.n_places++;
	return 0;
}

/* The last one has gone. */
static void
sigbus_leave_place(void)
{
	/* Somebody who came after us may pass on to us what is not his, and from here that goes on as before.
	 */
	if (!sigbus_is_uppermost())
		return;
	sigaction(SIGBUS, &sigbus.old[sigbus.n_places - 1], NULL);
	sigbus.n_places--;
}

static int
sigbus_join(void)
{
	int ret = 0;

	pthread_mutex_lock(&sigbus.mutex);
	if (sigbus.n_contexts == 0)
		ret = sigbus_take_place();
	if (ret == 0)
		sigbus.n_contexts++;
	pthread_mutex_unlock(&sigbus.mutex);
	return ret;
}

static void
sigbus_part(void)
{
	pthread_mutex_lock(&sigbus.mutex);
	if (--sigbus.n_contexts == 0)
		sigbus_leave_place();
	pthread_mutex_unlock(&sigbus.mutex);
}

static void
sigbus_wake(void *arg, uint32_t events)
{
	struct gmem_guard *guard = arg;
	uint64_t count;

	if (read(guard->event_fd, &count, sizeof(count)) == sizeof(count) && guard->lost)
		guard->lost(guard->lost_arg);
}

int
gmem_sigbus_install(struct vnic_ctx *ctx)
{
	struct gmem_guard *guard = calloc(1, sizeof(*guard));
	int err;

	if (!guard)
		return -ENOMEM;
	guard->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (guard->event_fd < 0) {
		err = errno;
		goto err_free;
	}
	guard->watch = loop_watch_add(ctx->loop, guard->event_fd, EPOLLIN, sigbus_wake, guard);
	if (!guard->watch) {
		err = errno;
		goto err_close;
	}
	err = -sigbus_join();
	if (err)
		goto err_watch;
	ctx->guard = guard;
	return 0;

err_watch:
	loop_watch_remove(guard->watch);
err_close:
	close(guard->event_fd);
err_free:
	free(guard);
	return -err;
}

void
gmem_sigbus_uninstall(struct vnic_ctx *ctx)
{
	struct gmem_guard *guard = ctx->guard;

	if (!guard)
		return;
	sigbus_part();
	loop_watch_remove(guard->watch);
	close(guard->event_fd);
	free(guard);
	ctx->guard = NULL;
}

void
gmem_sigbus_listen(struct vnic_ctx *ctx, void (*lost)(void *arg), void *arg)
{
	if (!ctx->guard)
		return;
	ctx->guard->lost = lost;
	ctx->guard->lost_arg = arg;
}

int
gmem_sigbus_guard(struct gmem_map *map)
{
	int hint = atomic_load(&sigbus_hint);

	for (int n = 0; n < GMEM_SIGBUS_SLOTS; n++) {
		int slot = (hint + n) % GMEM_SIGBUS_SLOTS, top = atomic_load(&sigbus_top);
		struct gmem_map *free_slot = NULL;

		/* Two contexts may look at the same one. */
		if (!atomic_compare_exchange_strong(&sigbus_table[slot], &free_slot, map))
			continue;
		while (slot >= top && !atomic_compare_exchange_weak(&sigbus_top, &top, slot + 1)) {
		}
		atomic_store(&sigbus_hint, slot + 1);
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
	if (map->slot < atomic_load(&sigbus_hint))
		atomic_store(&sigbus_hint, map->slot);
	map->slot = -1;
}
