/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * loop: the control thread's event loop, over epoll: file descriptors and timers.
 *
 * One thread uses it, the control thread of its context: it holds the control lock (control.h) from
 * loop_open() to loop_close(), but for the time that it waits. A callback may add and remove any watch or
 * timer, its own included.
 */
#ifndef VNICD_LOOP_H
#define VNICD_LOOP_H

#include <stdbool.h>
#include <stdint.h>

struct control;
struct loop;
struct loop_watch;
struct loop_timer;

/* `events` are EPOLLIN, EPOLLOUT, EPOLLHUP, EPOLLERR, and EPOLLET. */
typedef void (*loop_fd_fn)(void *arg, uint32_t events);
typedef void (*loop_timer_fn)(void *arg);

/* NULL with errno set when the kernel gives no epoll instance or no memory. */
struct loop *loop_open(struct control *control);
void loop_close(struct loop *loop); /* accepts NULL; watches and timers must be gone */

/* The descriptor stays the caller's. NULL with errno set on failure. */
struct loop_watch *loop_watch_add(struct loop *loop, int fd, uint32_t events, loop_fd_fn fn, void *arg);
int loop_watch_set(struct loop_watch *watch, uint32_t events);
void loop_watch_remove(struct loop_watch *watch); /* accepts NULL; before the descriptor is closed */

/* First call after delay_ms, then every period_ms; period_ms 0 fires once (the timer still has to be
 * removed). */
struct loop_timer *loop_timer_add(struct loop *loop, uint64_t delay_ms, uint64_t period_ms, loop_timer_fn fn,
				  void *arg);
void loop_timer_set(struct loop_timer *timer, uint64_t delay_ms);
void loop_timer_stop(struct loop_timer *timer);
void loop_timer_remove(struct loop_timer *timer); /* accepts NULL */

/* Runs until loop_stop(). Returns 0, or -errno when waiting itself failed. */
int loop_run(struct loop *loop);
/* Waits at most timeout_ms (-1: no limit) for something and handles it. Returns 0 or -errno. */
int loop_run_once(struct loop *loop, int timeout_ms);
void loop_stop(struct loop *loop);

/*
 * For who waits for other things in the same thread: a descriptor that is readable when loop_run_once() has
 * something to do, a timer included; the loop's. With one loop_arm() has to follow each loop_run_once(), and
 * all else that adds or sets a timer. -errno: the kernel gives none.
 */
int loop_fd(struct loop *loop);
/* Does nothing before loop_fd(). */
void loop_arm(struct loop *loop);

/* CLOCK_MONOTONIC */
uint64_t loop_now_ms(void);
uint64_t loop_now_us(void);

#endif
