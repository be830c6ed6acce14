/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * net_address: where a socket is, as people write it: HOST:PORT, [IPV6]:PORT, or a path, which has a '/'.
 * Control thread.
 */
#ifndef VNICD_NET_ADDRESS_H
#define VNICD_NET_ADDRESS_H

#include <stdbool.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "diag.h"

enum { NET_ADDRESS_TEXT = 128 };

struct net_address {
	socklen_t len; /* 0: none */
	union {
		struct sockaddr any;
		struct sockaddr_un unix_path;
		struct sockaddr_storage room;
	};
};

/*
 * `type` is SOCK_STREAM or SOCK_DGRAM. An empty host is every address of this machine. `object` begins the
 * cause: "port p0: listen". Names are looked up, which may wait. 0, or -EINVAL with diag filled.
 */
int net_address_parse(struct net_address *address, const char *text, int type, const char *object,
		      struct diag *diag);
bool net_address_is_path(const struct net_address *address);
/* Is it a group's? */
bool net_address_is_multicast(const struct net_address *address);
void net_address_print(const struct net_address *address, char text[NET_ADDRESS_TEXT]);

#endif
