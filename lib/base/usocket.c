/* SPDX-License-Identifier: BSD-3-Clause */
#include "usocket.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "ctx.h"

enum { USOCKET_LOCK_TRIES = 100, USOCKET_LOCK_WAIT_NS = 5000000, USOCKET_MODE = 0660 };

static int
usocket_address(struct sockaddr_un *addr, const char *path)
{
	memset(addr, 0, sizeof(*addr));
	addr->sun_family = AF_UNIX;
	if (strlen(path) > USOCKET_PATH_MAX)
		return -ENAMETOOLONG;
	strcpy(addr->sun_path, path);
	return 0;
}

int
usocket_connect(const char *path)
{
	struct sockaddr_un addr;
	int fd, ret = usocket_address(&addr, path);

	if (ret < 0)
		return ret;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0) {
		struct stat st;

		ret = -errno;
		close(fd);
		/* The kernel says the same of a socket that nobody listens at and of any other file. */
		if (ret == -ECONNREFUSED && stat(path, &st) == 0 && !S_ISSOCK(st.st_mode))
			return -ENOTSOCK;
		return ret;
	}
	return fd;
}

int
usocket_connect_diag(const char *path, int err, struct diag *diag)
{
	char copy[USOCKET_PATH_MAX + 1], *directory;

	switch (err) {
	case -ENOENT:
		snprintf(copy, sizeof(copy), "%s", path);
		directory = dirname(copy);
		if (access(directory, F_OK) < 0 && errno == ENOENT)
			return diag_set(diag, err, "make it, or name another path",
					"socket %s: the directory %s does not exist", path, directory);
		return diag_set(diag, err, "start the process that listens there",
				"socket %s: does not exist", path);
	case -ECONNREFUSED:
		return diag_set(diag, err, "start the process that listens there",
				"socket %s: nobody listens there", path);
	case -ENOTSOCK:
		return diag_set(diag, err, "name the socket at which the front-end listens",
				"socket %s: a file that is no socket is there", path);
	case -EPROTOTYPE:
		return diag_set(diag, err, "name a stream socket", "socket %s: not a stream socket", path);
	case -EACCES:
		diag_set(diag, err, NULL, "socket %s: permission denied", path);
		diag_hint(diag, "allow user %u to write to it and to enter its directories",
			  (unsigned int)geteuid());
		return err;
	case -EAGAIN:
		return diag_set(diag, err, "end the connections that wait there, or restart the process",
				"socket %s: its process accepts no connection", path);
	default:
		return diag_set(diag, err, "name another path", "socket %s: %s", path, strerror(-err));
	}
}

/* A process may call itself anything: terminal control sequences, say. */
static void
usocket_read_comm(int pid, char comm[USOCKET_COMM_MAX + 1])
{
	char path[32];
	ssize_t n = -1;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/comm", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0) {
		n = read(fd, comm, USOCKET_COMM_MAX);
		close(fd);
	}
	comm[n > 0 ? n : 0] = '\0';
	comm[strcspn(comm, "\n")] = '\0';
	for (char *c = comm; *c; c++)
		if (*c < ' ' || *c > '~')
			*c = '?';
}

void
usocket_peer(int fd, struct usocket_peer *ret_peer)
{
	struct ucred cred = {0};
	socklen_t len = sizeof(cred);

	memset(ret_peer, 0, sizeof(*ret_peer));
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0 || cred.pid <= 0)
		return;
	ret_peer->pid = cred.pid;
	usocket_read_comm(cred.pid, ret_peer->comm);
}

/*
 * Held while we look who is there and bind, so that two programs don't both find the place free. Returns a
 * descriptor, or -1: go on without.
 */
static int
usocket_lock_directory(const char *path)
{
	const struct timespec nap = {.tv_nsec = USOCKET_LOCK_WAIT_NS};
	char copy[USOCKET_PATH_MAX + 1];
	int fd;

	snprintf(copy, sizeof(copy), "%s", path);
	fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	/* Bounded: whoever can open the directory can lock it for ever. */
	for (unsigned int i = 0; fd >= 0 && i < USOCKET_LOCK_TRIES && flock(fd, LOCK_EX | LOCK_NB) < 0; i++)
		nanosleep(&nap, NULL);
	return fd;
}

/* 0: the place is free now. */
static int
usocket_clear(const char *path)
{
	struct stat st;
	int fd;

	if (lstat(path, &st) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISSOCK(st.st_mode))
		return -EEXIST;
	fd = usocket_connect(path);
	if (fd >= 0)
		close(fd);
	if (fd == -ENOENT)
		return 0;
	/* Anything but a refusal means that somebody holds it: a full backlog, a socket of another type. */
	if (fd != -ECONNREFUSED)
		return fd == -EACCES ? -EACCES : -EADDRINUSE;
	return unlink(path) < 0 ? -errno : 0;
}

/*
 * The file of a socket that is bound and does not listen yet: until it does, nobody connects to it, so nobody
 * gets in under other permissions. Its mode it has from bind(). The file is held while it is given away, so
 * that it can't be another one by then, whatever happens to its name: it is one that we have made.
 */
static int
usocket_give(const struct usocket *sock, const struct perms *perms, struct stat *ret_st, struct diag *diag)
{
	const int fd = open(sock->path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	int ret;

	if (fd < 0 || fstat(fd, ret_st) < 0)
		ret = -errno;
	else if (!S_ISSOCK(ret_st->st_mode) || ret_st->st_uid != geteuid() || ret_st->st_nlink != 1)
		ret = -ESTALE;
	else
		ret = perms ? perms_give(perms, fd, sock->path, diag) : 0;
	if (fd >= 0)
		close(fd);
	return ret;
}

static int
usocket_bind(struct usocket *sock, int backlog, const struct perms *perms, struct diag *diag)
{
	const mode_t mode = perms && perms->mode ? perms->mode : USOCKET_MODE;
	struct sockaddr_un addr;
	struct stat st;
	mode_t mask;
	int ret;

	ret = usocket_address(&addr, sock->path);
	if (ret == 0)
		ret = usocket_clear(sock->path);
	if (ret < 0)
		return ret;
	sock->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (sock->fd < 0)
		return -errno;
	mask = umask(~mode & 0777);
	ret = bind(sock->fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 ? -errno : 0;
	umask(mask);
	/* Still under the lock: a bound socket that does not listen looks stale. */
	if (ret == 0) {
		ret = usocket_give(sock, perms, &st, diag);
		if (ret == 0 && listen(sock->fd, backlog) < 0)
			ret = -errno;
		/* Of what is somebody else's by now nothing is removed. */
		if (ret < 0 && ret != -ESTALE)
			unlink(sock->path);
	}
	if (ret < 0) {
		close(sock->fd);
		return ret;
	}
	sock->dev = st.st_dev;
	sock->ino = st.st_ino;
	return 0;
}

int
usocket_listen(struct vnic_ctx *ctx, struct usocket *sock, const char *path, int backlog,
	       const struct perms *perms, struct diag *diag)
{
	int lock, ret;

	if (strlen(path) > USOCKET_PATH_MAX)
		return diag_set(diag, -ENAMETOOLONG, "name a path of at most 107 characters",
				"socket %.60s...: its path is too long", path);
	snprintf(sock->path, sizeof(sock->path), "%s", path);
	diag->cause[0] = '\0';
	lock = usocket_lock_directory(path);
	ret = usocket_bind(sock, backlog, perms, diag);
	if (lock >= 0)
		close(lock);
	if (ret < 0 && diag->cause[0])
		return ret;
	switch (ret) {
	case 0:
		sock->next = ctx->usockets;
		ctx->usockets = sock;
		return 0;
	case -EADDRINUSE:
		return diag_set(diag, ret, "stop that process, or name another path",
				"socket %s: another process listens there", path);
	case -EEXIST:
		return diag_set(diag, ret, "remove it, or name another path",
				"socket %s: a file that is no socket is there", path);
	case -ESTALE:
		return diag_set(diag, ret, "name a path in a directory that nobody else writes to",
				"socket %s: another process has put a file in its place", path);
	default:
		return diag_set(diag, ret, "name a path in a directory that can be written", "socket %s: %s",
				path, strerror(-ret));
	}
}

static void
usocket_remove(const struct usocket *sock)
{
	struct stat st;

	/* Somebody may have removed it and put theirs there. */
	if (lstat(sock->path, &st) == 0 && st.st_dev == sock->dev && st.st_ino == sock->ino)
		unlink(sock->path);
}

void
usocket_close(struct vnic_ctx *ctx, struct usocket *sock)
{
	struct usocket **link = &ctx->usockets;

	while (*link && *link != sock)
		link = &(*link)->next;
	if (*link)
		*link = sock->next;
	usocket_remove(sock);
	close(sock->fd);
	sock->fd = -1;
}

void
usocket_remove_all(struct vnic_ctx *ctx)
{
	for (const struct usocket *sock = ctx->usockets; sock; sock = sock->next)
		usocket_remove(sock);
}
