/* SPDX-License-Identifier: BSD-3-Clause */
#include "socket.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { SOCKET_BACKLOG = 1, SOCKET_MODE = 0660 };

static int
socket_address(struct sockaddr_un *addr, const char *path)
{
	memset(addr, 0, sizeof(*addr));
	addr->sun_family = AF_UNIX;
	if (strlen(path) >= sizeof(addr->sun_path))
		return -ENAMETOOLONG;
	strcpy(addr->sun_path, path);
	return 0;
}

int
socket_connect(const char *path)
{
	struct sockaddr_un addr;
	int fd, ret = socket_address(&addr, path);

	if (ret < 0)
		return ret;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0) {
		ret = -errno;
		close(fd);
		return ret;
	}
	return fd;
}

/* Held while we look who is there and bind, so that two programs don't both find the place free. */
static int
socket_lock_directory(const char *path)
{
	char copy[sizeof(((struct sockaddr_un *)0)->sun_path)];
	int fd;

	snprintf(copy, sizeof(copy), "%s", path);
	fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd >= 0 && flock(fd, LOCK_EX) < 0) {
		close(fd);
		return -1;
	}
	return fd;
}

/* 0: the place is free now; -errno with diag: it is not. */
static int
socket_clear(const char *path, struct diag *diag)
{
	struct stat st;
	int fd;

	if (lstat(path, &st) < 0)
		return errno == ENOENT ? 0
				       : diag_set(diag, -errno, "", "socket %s: %s", path, strerror(errno));
	if (!S_ISSOCK(st.st_mode))
		return diag_set(diag, -EEXIST, "name another path, or move that file away",
				"socket %s: there is a file of another kind in its place", path);
	fd = socket_connect(path);
	if (fd >= 0)
		close(fd);
	/* Anything but a refusal means that somebody holds it. */
	if (fd != -ECONNREFUSED)
		return diag_set(diag, -EADDRINUSE,
				"name another path, or stop the program that listens there",
				"socket %s: another program is listening there", path);
	if (unlink(path) < 0 && errno != ENOENT)
		return diag_set(diag, -errno, "", "socket %s: removing the stale one: %s", path,
				strerror(errno));
	return 0;
}

int
socket_listen(const char *path, struct diag *diag)
{
	struct sockaddr_un addr;
	int fd = -1, lock, ret;

	ret = socket_address(&addr, path);
	if (ret < 0)
		return diag_set(diag, ret, "name a path of at most 107 characters",
				"socket %s: its path is too long", path);
	lock = socket_lock_directory(path);
	if (lock < 0)
		return diag_set(diag, -errno, "make the directory, or name another path",
				"socket %s: its directory: %s", path, strerror(errno));
	ret = socket_clear(path, diag);
	if (ret < 0)
		goto out;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 || bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 || chmod(path, SOCKET_MODE) < 0 ||
	    listen(fd, SOCKET_BACKLOG) < 0)
		ret = diag_set(diag, -errno, "", "socket %s: %s", path, strerror(errno));
out:
	close(lock);
	if (ret < 0 && fd >= 0)
		close(fd);
	return ret < 0 ? ret : fd;
}
