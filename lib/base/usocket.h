/* SPDX-License-Identifier: BSD-3-Clause */
/* usocket: unix stream sockets: listening in a place of our own, connecting to somebody else's. Control
 * thread. */
#ifndef VNICD_USOCKET_H
#define VNICD_USOCKET_H

#include <sys/types.h>
#include <sys/un.h>

#include "diag.h"
#include "perms.h"

enum { USOCKET_PATH_MAX = sizeof(((struct sockaddr_un *)0)->sun_path) - 1 };

struct vnic_ctx;

struct usocket {
	struct usocket *next; /* in the context's list of those that listen */
	int fd;               /* listening, non-blocking */
	char path[USOCKET_PATH_MAX + 1];
	dev_t dev; /* of the file, so that we remove ours and no other */
	ino_t ino;
};

/*
 * Listen at `path`, with the permissions `perms` (mode 0660 where it has none, or where it is NULL): nobody
 * can connect before all of them are in effect. A socket that nobody listens at any more (left by a
 * killed program) is replaced; one that somebody answers at (-EADDRINUSE) or that is not for us
 * (-EACCES), and any other kind of file (-EEXIST), is left alone. 0, or -errno with diag filled.
 */
int usocket_listen(struct vnic_ctx *ctx, struct usocket *sock, const char *path, int backlog,
		   const struct perms *perms, struct diag *diag);
/* Stop listening and remove the file, if it is still ours. */
void usocket_close(struct vnic_ctx *ctx, struct usocket *sock);
/* Remove the files of all of the context, for a process that ends without closing anything. */
void usocket_remove_all(struct vnic_ctx *ctx);

/* Returns a connected non-blocking descriptor, or -errno: nobody is there (-ENOENT, -ECONNREFUSED), or his
 * queue of connections is full (-EAGAIN), or the file is no socket (-ENOTSOCK). */
int usocket_connect(const char *path);
/* What such an -errno means and what to do about it, into diag; returns it. */
int usocket_connect_diag(const char *path, int err, struct diag *diag);

enum { USOCKET_COMM_MAX = 31 };

/* A process at the other end of a connection. */
struct usocket_peer {
	int pid;                         /* 0: not known, it lives in another PID namespace */
	char comm[USOCKET_COMM_MAX + 1]; /* its name now, printable; "": not known */
};

/* Who connected, or whom we connected to. */
void usocket_peer(int fd, struct usocket_peer *ret_peer);

#endif
