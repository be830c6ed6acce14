/* SPDX-License-Identifier: BSD-3-Clause */
/* socket: unix stream sockets: listening in a place of our own, connecting to somebody else's. */
#ifndef VNICD_SOCKET_H
#define VNICD_SOCKET_H

#include "diag.h"

/*
 * Listen at `path`, mode 0660. A socket that nobody listens at any more (left by a killed program) is
 * replaced; one that somebody answers at, and any other kind of file, is left alone (-EADDRINUSE, -EEXIST).
 * Returns a non-blocking descriptor, or -errno with diag filled.
 */
int
socket_listen(const char *path, struct diag *diag);
/* Returns a connected non-blocking descriptor, or -errno; nobody there: -ENOENT, -ECONNREFUSED, -EAGAIN. */
int
socket_connect(const char *path);

#endif
