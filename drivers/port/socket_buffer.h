/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * socket_buffer: how much the kernel keeps of what a socket has not sent, or its owner has not read. Control
 * thread.
 */
#ifndef VNICD_SOCKET_BUFFER_H
#define VNICD_SOCKET_BUFFER_H

enum socket_buffer { SOCKET_BUFFER_IN, SOCKET_BUFFER_OUT };

/* Ask for that many bytes, beyond the system's limit where that is allowed (CAP_NET_ADMIN), else up to it:
 * either will do, so nobody is told. */
void socket_buffer_set(int fd, enum socket_buffer buffer, int bytes);

#endif
