/* SPDX-License-Identifier: BSD-3-Clause */
#include "loop.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "control.h"

enum { LOOP_EVENTS_MAX = 32 };

/*
 * Removed watches and timers are freed after the round in which they were removed, because events for them
 * may already be waiting in this round's array.
 */
struct loop_watch {
	struct loop *loop;
	struct loop_watch *next;
	loop_fd_fn fn; /* NULL once removed */
	void *arg;
	int fd;
};

struct loop_timer {
	struct loop *loop;
	struct loop_timer *next;
	loop_timer_fn fn; /* NULL once removed */
	void *arg;
	uint64_t due_ms; /* UINT64_MAX: stopped */
	uint64_t period_ms;
};

struct loop {
	struct control *control;
	int epoll_fd;
	int timer_fd; /* loop_fd(): expires when the first timer is due; -1: nobody asked */
	bool stopping;
	struct loop_watch *dead_watches;
	struct loop_timer *timers;
};

uint64_t
loop_now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

uint64_t
loop_now_ms(void)
{
	return loop_now_us() / 1000;
}

struct loop *
loop_open(struct control *control)
{
	struct loop *loop = calloc(1, sizeof(*loop));

	if (!loop)
		return NULL;
	loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (loop->epoll_fd < 0) {
		free(loop);
		return NULL;
	}
	loop->control = control;
	loop->timer_fd = -1;
	control_lock(control);
	return loop;
}

static void
loop_free_deferred(struct loop *loop)
{
	struct loop_timer **link = &loop->timers;

	while (loop->dead_watches) {
		struct loop_watch *watch = loop->dead_watches;

		loop->dead_watches = watch->next;
		free(watch);
	}
	while (*link) {
		struct loop_timer *timer = *link;

		if (timer->fn) {
			link = &timer->next;
			continue;
		}
		*link = timer->next;
		free(timer);
	}
}

void
loop_close(struct loop *loop)
{
	struct control *control;

	if (!loop)
		return;
	control = loop->control;
	loop_free_deferred(loop);
	if (loop->timer_fd >= 0)
		close(loop->timer_fd);
	close(loop->epoll_fd);
	free(loop);
	control_unlock(control);
}

struct loop_watch *
loop_watch_add(struct loop *loop, int fd, uint32_t events, loop_fd_fn fn, void *arg)
{
	struct loop_watch *watch = calloc(1, sizeof(*watch));
	struct epoll_event ev = {.events = events, .data.ptr = watch};

	if (!watch)
		return NULL;
	watch->loop = loop;
	watch->fn = fn;
	watch->arg = arg;
	watch->fd = fd;
	if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &ev) < 0) {
		free(watch);
		return NULL;
	}
	return watch;
}

int
loop_watch_set(struct loop_watch *watch, uint32_t events)
{
	struct epoll_event ev = {.events = events, .data.ptr = watch};

	return epoll_ctl(watch->loop->epoll_fd, EPOLL_CTL_MOD, watch->fd, &ev) < 0 ? -errno : 0;
}

void
loop_watch_remove(struct loop_watch *watch)
{
	if (!watch)
		return;
	epoll_ctl(watch->loop->epoll_fd, EPOLL_CTL_DEL, watch->fd, NULL);
	watch->fn = NULL;
	watch->next = watch->loop->dead_watches;
	watch->loop->dead_watches = watch;
}

struct loop_timer *
loop_timer_add(struct loop *loop, uint64_t delay_ms, uint64_t period_ms, loop_timer_fn fn, void *arg)
{
	struct loop_timer *timer = calloc(1, sizeof(*timer));

	if (!timer)
		return NULL;
	timer->loop = loop;
	timer->fn = fn;
	timer->arg = arg;
	timer->due_ms = loop_now_ms() + delay_ms;
	timer->period_ms = period_ms;
	timer->next = loop->timers;
	loop->timers = timer;
	return timer;
}

void
loop_timer_set(struct loop_timer *timer, uint64_t delay_ms)
{
	timer->due_ms = loop_now_ms() + delay_ms;
}

void
loop_timer_stop(struct loop_timer *timer)
{
	timer->due_ms = UINT64_MAX;
}

void
loop_timer_remove(struct loop_timer *timer)
{
	if (timer)
		timer->fn = NULL;
}

static int
loop_timeout(const struct loop *loop, int timeout_ms)
{
	uint64_t now_ms = loop_now_ms();
	uint64_t wait_ms = timeout_ms < 0 ? UINT64_MAX : (uint64_t)timeout_ms;

	for (const struct loop_timer *timer = loop->timers; timer; timer = timer->next) {
		uint64_t left_ms;

		if (!timer->fn || timer->due_ms == UINT64_MAX)
			continue;
		left_ms = timer->due_ms > now_ms ? timer->due_ms - now_ms : 0;
		if (left_ms < wait_ms)
			wait_ms = left_ms;
	}
	if (wait_ms == UINT64_MAX)
		return -1;
	return wait_ms > 60000 ? 60000 : (int)wait_ms;
}

int
loop_run_once(struct loop *loop, int timeout_ms)
{
	struct epoll_event events[LOOP_EVENTS_MAX];
	uint64_t now_ms;
	int n;

	timeout_ms = loop_timeout(loop, timeout_ms);
	control_unlock(loop->control);
	n = epoll_wait(loop->epoll_fd, events, LOOP_EVENTS_MAX, timeout_ms);
	control_lock(loop->control);
	if (n < 0 && errno != EINTR)
		return -errno;
	for (int i = 0; i < n; i++) {
		struct loop_watch *watch = events[i].data.ptr;

		/* Of the timer descriptor: loop_arm() sets it anew. */
		if (watch && watch->fn)
			watch->fn(watch->arg, events[i].events);
	}
	now_ms = loop_now_ms();
	for (struct loop_timer *timer = loop->timers; timer; timer = timer->next) {
		if (!timer->fn || timer->due_ms > now_ms)
			continue;
		timer->due_ms = timer->period_ms ? now_ms + timer->period_ms : UINT64_MAX;
		timer->fn(timer->arg);
	}
	loop_free_deferred(loop);
	return 0;
}

int
loop_run(struct loop *loop)
{
	int ret = 0;

	loop->stopping = false;
	while (!loop->stopping && ret == 0)
		ret = loop_run_once(loop, -1);
	return ret;
}

void
loop_stop(struct loop *loop)
{
	loop->stopping = true;
}

int
loop_fd(struct loop *loop)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.ptr = NULL};
	int err;

	if (loop->timer_fd >= 0)
		return loop->epoll_fd;
	loop->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (loop->timer_fd < 0)
		return -errno;
	if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, loop->timer_fd, &ev) < 0) {
		err = errno;
		close(loop->timer_fd);
		loop->timer_fd = -1;
		return -err;
	}
	loop_arm(loop);
	return loop->epoll_fd;
}

void
loop_arm(struct loop *loop)
{
	const int wait_ms = loop_timeout(loop, -1);
	struct itimerspec in = {0};

	if (loop->timer_fd < 0)
		return;
	if (wait_ms >= 0) {
		in.it_value.tv_sec = wait_ms / 1000;
		/* All zero would switch it off. */
		in.it_value.tv_nsec = wait_ms % 1000 * 1000000L + 1;
	}
	/* Also makes it unreadable. */
	timerfd_settime(loop->timer_fd, 0, &in, NULL);
}
