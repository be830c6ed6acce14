/* SPDX-License-Identifier: BSD-3-Clause */
#include "notify.h"

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "loop.h"

static struct loop_timer *notify_watchdog;

/* Never waits: a manager that does not read is not told. */
static void
notify_send(const char *text)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	size_t len = path ? strlen(path) : 0;
	int fd;

	if (len < 2 || len >= sizeof(addr.sun_path) || (path[0] != '/' && path[0] != '@'))
		return;
	memcpy(addr.sun_path, path, len);
	if (path[0] == '@')
		addr.sun_path[0] = '\0';
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return;
	sendto(fd, text, strlen(text), MSG_DONTWAIT | MSG_NOSIGNAL, (struct sockaddr *)&addr,
	       (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len));
	close(fd);
}

static void
notify_alive(void *arg)
{
	notify_send("WATCHDOG=1");
}

/* Milliseconds between two signs of life; 0: nobody waits for any. */
static uint64_t
notify_period_ms(void)
{
	const char *usec = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");
	unsigned long long us = usec ? strtoull(usec, NULL, 10) : 0;

	if (us < 2000 || us > 1000ull * 1000 * 1000 * 1000 || (pid && strtoll(pid, NULL, 10) != getpid()))
		return 0;
	/* As sd_watchdog_enabled(3) recommends: half of it. */
	return us / 2000;
}

int
notify_ready(struct loop *loop, struct diag *diag)
{
	const uint64_t period_ms = notify_period_ms();

	if (period_ms) {
		notify_watchdog = loop_timer_add(loop, period_ms, period_ms, notify_alive, NULL);
		if (!notify_watchdog)
			return diag_no_memory(diag, "watchdog: out of memory");
	}
	notify_send("READY=1");
	return 0;
}

void
notify_stopping(void)
{
	if (notify_watchdog)
		loop_timer_remove(notify_watchdog);
	notify_watchdog = NULL;
	notify_send("STOPPING=1");
}
