/* SPDX-License-Identifier: BSD-3-Clause */
#include "net_address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

static int
address_refuse(const char *text, const char *object, const char *why, struct diag *diag)
{
	return diag_set(diag, -EINVAL, "HOST:PORT, [IPV6]:PORT or /path/of/a.sock", "%s: '%.100s': %s",
			object, text, why);
}

static int
address_path(struct net_address *address, const char *text, const char *object, struct diag *diag)
{
	if (strlen(text) >= sizeof(address->unix_path.sun_path))
		return address_refuse(text, object, "the path is too long", diag);
	address->unix_path.sun_family = AF_UNIX;
	strcpy(address->unix_path.sun_path, text);
	address->len = sizeof(address->unix_path);
	return 0;
}

int
net_address_parse(struct net_address *address, const char *text, int type, const char *object,
		  struct diag *diag)
{
	/* A name is asked for in the families that this machine has; an address is one whatever it has. */
	const struct addrinfo hints = {.ai_socktype = type, .ai_flags = AI_PASSIVE | AI_ADDRCONFIG},
			      literal = {.ai_socktype = type, .ai_flags = AI_PASSIVE | AI_NUMERICHOST};
	const char *colon = strrchr(text, ':');
	size_t host_len = colon ? (size_t)(colon - text) : 0;
	const char *host = text;
	struct addrinfo *found;
	char name[256];
	int ret;

	memset(address, 0, sizeof(*address));
	if (strchr(text, '/'))
		return address_path(address, text, object, diag);
	if (!colon || !colon[1])
		return address_refuse(text, object, "it names no port", diag);
	if (host_len >= 2 && host[0] == '[' && host[host_len - 1] == ']') {
		host++;
		host_len -= 2;
	} else if (memchr(host, ':', host_len)) {
		return address_refuse(text, object, "an IPv6 address stands in brackets", diag);
	}
	if (host_len >= sizeof(name))
		return address_refuse(text, object, "the name of the host is too long", diag);
	memcpy(name, host, host_len);
	name[host_len] = '\0';
	ret = host_len ? getaddrinfo(name, colon + 1, &literal, &found) : EAI_NONAME;
	if (ret != 0)
		ret = getaddrinfo(host_len ? name : NULL, colon + 1, &hints, &found);
	if (ret != 0)
		return address_refuse(text, object, gai_strerror(ret), diag);
	memcpy(&address->room, found->ai_addr, found->ai_addrlen);
	address->len = found->ai_addrlen;
	freeaddrinfo(found);
	return 0;
}

bool
net_address_is_path(const struct net_address *address)
{
	return address->any.sa_family == AF_UNIX;
}

bool
net_address_is_multicast(const struct net_address *address)
{
	const struct sockaddr_in *in = (const struct sockaddr_in *)&address->room;
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&address->room;

	if (address->any.sa_family == AF_INET)
		return IN_MULTICAST(ntohl(in->sin_addr.s_addr));
	return address->any.sa_family == AF_INET6 && IN6_IS_ADDR_MULTICAST(&in6->sin6_addr);
}

void
net_address_print(const struct net_address *address, char text[NET_ADDRESS_TEXT])
{
	char host[64] = "?", port[16] = "?";

	if (net_address_is_path(address)) {
		/* A client of a path has none itself. */
		snprintf(text, NET_ADDRESS_TEXT, "%s",
			 address->unix_path.sun_path[0] ? address->unix_path.sun_path : "a process");
		return;
	}
	getnameinfo(&address->any, address->len, host, sizeof(host), port, sizeof(port),
		    NI_NUMERICHOST | NI_NUMERICSERV);
	snprintf(text, NET_ADDRESS_TEXT, address->any.sa_family == AF_INET6 ? "[%s]:%s" : "%s:%s", host,
		 port);
}
