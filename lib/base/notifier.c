/* SPDX-License-Identifier: BSD-3-Clause */
#include "notifier.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { NOTIFIER_EVENTS = 32 }; /* completions that may be waiting to be collected */

/* Of the thread: nobody else submits to it. */
struct notifier_thread {
	aio_context_t aio; /* 0: none yet */
	unsigned int n_waiting;
	bool refused; /* the kernel gives none */
};

static __thread struct notifier_thread notifier_thread;

enum notifier_kind
notifier_kind_of(int fd)
{
	static const char eventfd_name[] = "anon_inode:[eventfd]";
	char link[40], target[sizeof(eventfd_name)] = "";
	struct stat st;
	ssize_t len;

	if (fd < 0)
		return NOTIFIER_NONE;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	len = readlink(link, target, sizeof(target));
	if (len == sizeof(eventfd_name) - 1 && memcmp(target, eventfd_name, sizeof(eventfd_name) - 1) == 0)
		return NOTIFIER_EVENTFD;
	if (fstat(fd, &st) < 0)
		return NOTIFIER_NONE;
	return S_ISSOCK(st.st_mode) ? NOTIFIER_SOCKET : S_ISFIFO(st.st_mode) ? NOTIFIER_PIPE : NOTIFIER_NONE;
}

/* What is read to have something completed: nothing, from here. Opened once; -1: it can't be. */
static int
notifier_null(void)
{
	static atomic_int null_fd = -2;
	int fd = atomic_load_explicit(&null_fd, memory_order_acquire), other = -2;

	if (fd != -2)
		return fd;
	fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (atomic_compare_exchange_strong(&null_fd, &other, fd))
		return fd;
	if (fd >= 0)
		close(fd);
	return other;
}

/* False: this kernel has no asynchronous I/O for us. */
static bool
notifier_thread_open(struct notifier_thread *thread)
{
	if (thread->aio)
		return true;
	if (!thread->refused &&
	    (notifier_null() < 0 || syscall(SYS_io_setup, NOTIFIER_EVENTS, &thread->aio) < 0))
		thread->refused = true;
	return !thread->refused;
}

static int
notifier_signal_eventfd(int fd)
{
	struct notifier_thread *thread = &notifier_thread;
	struct io_event events[NOTIFIER_EVENTS];
	struct timespec now = {0};
	struct iocb read_nothing =
			    {
				    .aio_fildes = (uint32_t)notifier_null(),
				    .aio_lio_opcode = IOCB_CMD_PREAD,
				    .aio_flags = IOCB_FLAG_RESFD,
				    .aio_resfd = (uint32_t)fd,
			    },
		    *submitted = &read_nothing;

	if (thread->n_waiting == NOTIFIER_EVENTS) {
		syscall(SYS_io_getevents, thread->aio, 1, NOTIFIER_EVENTS, events, &now);
		thread->n_waiting = 0;
	}
	if (syscall(SYS_io_submit, thread->aio, 1, &submitted) < 0)
		return -errno;
	thread->n_waiting++;
	return 0;
}

int
notifier_send(int fd, enum notifier_kind kind, const void *data, size_t len)
{
	struct iovec iov = {.iov_base = (void *)(uintptr_t)data, .iov_len = len};
	ssize_t sent;

	if (kind == NOTIFIER_SOCKET)
		sent = send(fd, data, len, MSG_DONTWAIT | MSG_NOSIGNAL);
	else
		sent = pwritev2(fd, &iov, 1, -1, RWF_NOWAIT);
	/* Kernels before 6.4 know that of no pipe, and none of an eventfd: as well as can be. */
	if (sent < 0 && errno == EOPNOTSUPP && fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) == 0)
		sent = write(fd, data, len);
	return sent < 0 ? -errno : 0;
}

int
notifier_signal(int fd, enum notifier_kind kind)
{
	const uint64_t one = 1;

	/* What the kernel does not take that way is written, rather than lost. */
	if (kind == NOTIFIER_EVENTFD && notifier_thread_open(&notifier_thread) &&
	    notifier_signal_eventfd(fd) == 0)
		return 0;
	return notifier_send(fd, kind, &one, sizeof(one));
}
