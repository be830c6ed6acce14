/* SPDX-License-Identifier: BSD-3-Clause */
#include "socket_buffer.h"

#include <sys/socket.h>

void
socket_buffer_set(int fd, enum socket_buffer buffer, int bytes)
{
	static const struct {
		int force, plain;
	} options[] = {
		[SOCKET_BUFFER_IN] = {SO_RCVBUFFORCE, SO_RCVBUF},
		[SOCKET_BUFFER_OUT] = {SO_SNDBUFFORCE, SO_SNDBUF},
	};

	if (setsockopt(fd, SOL_SOCKET, options[buffer].force, &bytes, sizeof(bytes)) < 0)
		setsockopt(fd, SOL_SOCKET, options[buffer].plain, &bytes, sizeof(bytes));
}
