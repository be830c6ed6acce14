/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * notifier: signals a descriptor that somebody we do not trust has given us, and shares, without ever waiting
 * for him.
 *
 * O_NONBLOCK does not do: it belongs to the open file, so whoever shares that can take it back between two of
 * our writes, fill the counter or pipe, and the next write sleeps. Each kind has a way that is ours alone:
 *
 *   eventfd   a completion of asynchronous I/O that names it (io_submit, IOCB_FLAG_RESFD): the kernel adds to
 *             the counter and never waits
 *   socket    send with MSG_DONTWAIT
 *   pipe      write with RWF_NOWAIT
 */
#ifndef VNICD_NOTIFIER_H
#define VNICD_NOTIFIER_H

#include <stddef.h>

enum notifier_kind { NOTIFIER_NONE, NOTIFIER_EVENTFD, NOTIFIER_SOCKET, NOTIFIER_PIPE };

/* What fd is; NOTIFIER_NONE: nothing that can be signalled (or -1). */
enum notifier_kind notifier_kind_of(int fd);

/*
 * Any thread; a system call or two. 0, or -errno: full (-EAGAIN, something is there to be read already) or
 * gone. The eight bytes of the number 1 on a socket or pipe.
 */
int notifier_signal(int fd, enum notifier_kind kind);

/* len bytes on a socket or pipe, likewise. 0, or -errno: -EAGAIN when there is no room. */
int notifier_send(int fd, enum notifier_kind kind, const void *data, size_t len);

#endif
