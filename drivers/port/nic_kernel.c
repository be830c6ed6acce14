/* SPDX-License-Identifier: BSD-3-Clause */
#include "nic_kernel.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/ethtool.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sockios.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "loop.h"
#include "port.h"

#ifndef IFLA_ALT_IFNAME /* Linux 5.5 */
#define IFLA_ALT_IFNAME 53
#endif

enum { NIC_KERNEL_SAME_NS = -1 };

/* An interface as a message of the kernel describes it. */
struct nic_kernel_link {
	unsigned char family; /* AF_UNSPEC, or a bridge's, who speaks of what it loses */
	unsigned int if_index;
	uint32_t mtu;
	unsigned int peer_index; /* of a veth; 0: not one */
	int peer_nsid;
	char name[IF_NAMESIZE];
};

/* For the largest message: with statistics and attributes of network drivers. Control thread. */
static char nic_kernel_buffer[32768] __attribute__((aligned(NLMSG_ALIGNTO)));

/* --- asking without waiting --- */

int
nic_kernel_ioctl(unsigned long request, struct ifreq *ifr)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int ret;

	if (fd < 0)
		return -errno;
	ret = ioctl(fd, request, ifr) < 0 ? -errno : 0;
	close(fd);
	return ret;
}

bool
nic_kernel_is_here(unsigned int if_index)
{
	char name[IF_NAMESIZE];

	return if_indextoname(if_index, name);
}

/* For people: "lo, eth0". */
static void
kernel_names(char *buf, size_t size)
{
	struct if_nameindex *all = if_nameindex();
	size_t used = 0;

	buf[0] = '\0';
	for (struct if_nameindex *one = all; one && one->if_index; one++)
		if (used < size)
			used += (size_t)snprintf(buf + used, size - used, "%s%s", used ? ", " : "",
						 one->if_name);
	if_freenameindex(all);
}

int
nic_kernel_no_interface(const char *port_name, const char *ifname, struct diag *diag)
{
	char names[200];

	kernel_names(names, sizeof(names));
	diag_set(diag, -ENODEV, NULL, "port %s: there is no interface %s", port_name, ifname);
	diag_hint(diag, "interfaces of this network namespace: %s", names);
	return -ENODEV;
}

bool
nic_kernel_link_is_up(unsigned int if_index)
{
	struct ifreq ifr = {0};

	if (!if_indextoname(if_index, ifr.ifr_name))
		return false;
	if (nic_kernel_ioctl(SIOCGIFFLAGS, &ifr) < 0)
		return true;
	return ifr.ifr_flags & IFF_UP && ifr.ifr_flags & IFF_RUNNING;
}

void
nic_kernel_look(struct nic_kernel *kernel)
{
	struct ifreq ifr = {0};

	if (kernel->if_index == 0)
		return;
	if (!if_indextoname(kernel->if_index, ifr.ifr_name)) {
		kernel->has_left = true;
		return;
	}
	memcpy(kernel->name, ifr.ifr_name, sizeof(kernel->name));
	if (nic_kernel_ioctl(SIOCGIFMTU, &ifr) == 0 && ifr.ifr_mtu > 0)
		kernel->mtu = (uint32_t)ifr.ifr_mtu;
}

/* By /proc: what rtnetlink says of it waits for the lock on interfaces. */
bool
nic_kernel_lost(const char *name, struct nic_kernel_lost *ret_lost)
{
	FILE *stream = fopen("/proc/thread-self/net/dev", "re");
	const size_t name_len = strlen(name);
	struct nic_kernel_lost lost;
	bool is_known = false;
	char line[512];

	while (stream && !is_known && fgets(line, sizeof(line), stream)) {
		const char *at = line + strspn(line, " ");

		/* rx: bytes packets errs drop fifo frame compressed multicast, tx: bytes packets errs drop */
		is_known = strncmp(at, name, name_len) == 0 && at[name_len] == ':' &&
			   sscanf(at + name_len + 1,
				  "%*u %*u %*u %" SCNu64 " %*u %*u %*u %*u %*u %*u %" SCNu64 " %" SCNu64,
				  &lost.rx_dropped, &lost.tx_errors, &lost.tx_dropped) == 3;
	}
	if (stream)
		fclose(stream);
	if (is_known)
		*ret_lost = lost;
	return is_known;
}

static bool
nic_kernel_ethtool(const char *name, uint32_t command)
{
	struct ethtool_value value = {.cmd = command};
	struct ifreq ifr = {.ifr_data = (void *)&value};

	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", name);
	return nic_kernel_ioctl(SIOCETHTOOL, &ifr) == 0 && value.data;
}

bool
nic_kernel_leaves_checksums(const char *name)
{
	return nic_kernel_ethtool(name, ETHTOOL_GTXCSUM);
}

bool
nic_kernel_joins_segments(const char *name)
{
	return nic_kernel_ethtool(name, ETHTOOL_GGRO);
}

/* --- rtnetlink --- */

/* NLMSG_OK(), which compares signed and unsigned lengths. */
static bool
nic_kernel_is_whole(const struct nlmsghdr *message, ssize_t len)
{
	return len >= (ssize_t)sizeof(*message) && message->nlmsg_len >= sizeof(*message) &&
	       message->nlmsg_len <= (size_t)len;
}

static bool
nic_kernel_is_veth(struct rtattr *info)
{
	int len = (int)RTA_PAYLOAD(info);

	for (struct rtattr *a = RTA_DATA(info); RTA_OK(a, len); a = RTA_NEXT(a, len))
		if (a->rta_type == IFLA_INFO_KIND)
			return RTA_PAYLOAD(a) >= sizeof("veth") - 1 &&
			       memcmp(RTA_DATA(a), "veth", sizeof("veth") - 1) == 0;
	return false;
}

static bool
nic_kernel_parse(struct nlmsghdr *message, struct nic_kernel_link *ret_link)
{
	struct nic_kernel_link link = {.mtu = UINT32_MAX, .peer_nsid = NIC_KERNEL_SAME_NS};
	struct ifinfomsg *info = NLMSG_DATA(message);
	int len = (int)IFLA_PAYLOAD(message);
	bool is_veth = false;

	if (message->nlmsg_type != RTM_NEWLINK && message->nlmsg_type != RTM_DELLINK)
		return false;
	if (message->nlmsg_len < NLMSG_LENGTH(sizeof(*info)))
		return false;
	link.family = info->ifi_family;
	link.if_index = (unsigned int)info->ifi_index;
	for (struct rtattr *a = IFLA_RTA(info); RTA_OK(a, len); a = RTA_NEXT(a, len)) {
		switch (a->rta_type) {
		case IFLA_IFNAME:
			snprintf(link.name, sizeof(link.name), "%.*s", (int)RTA_PAYLOAD(a),
				 (const char *)RTA_DATA(a));
			break;
		case IFLA_MTU:
			memcpy(&link.mtu, RTA_DATA(a), sizeof(link.mtu));
			break;
		case IFLA_LINK:
			memcpy(&link.peer_index, RTA_DATA(a), sizeof(link.peer_index));
			break;
		case IFLA_LINK_NETNSID:
			memcpy(&link.peer_nsid, RTA_DATA(a), sizeof(link.peer_nsid));
			break;
		case IFLA_LINKINFO:
			is_veth = nic_kernel_is_veth(a);
			break;
		}
	}
	if (!is_veth)
		link.peer_index = 0;
	*ret_link = link;
	return true;
}

/* Query one interface, by its number, or (number 0) by the attribute. The kernel answers within send(). */
static bool
nic_kernel_query(unsigned int if_index, unsigned short attribute, const void *value, size_t size,
		 struct nic_kernel_link *ret_link)
{
	struct {
		struct nlmsghdr head;
		struct ifinfomsg info;
		struct rtattr attr;
		uint8_t value[RTA_ALIGN(NIC_KERNEL_NAME_MAX + 1)];
	} request = {
		.head = {.nlmsg_type = RTM_GETLINK,
			 .nlmsg_flags = NLM_F_REQUEST,
			 .nlmsg_len = NLMSG_LENGTH(sizeof(request.info))},
		.info = {.ifi_family = AF_UNSPEC, .ifi_index = (int)if_index},
		.attr = {.rta_type = attribute, .rta_len = (unsigned short)RTA_LENGTH(size)},
	};
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);
	struct nlmsghdr *message = (void *)nic_kernel_buffer;
	bool is_known = false;
	ssize_t len;

	if (fd < 0)
		return false;
	if (size) {
		memcpy(request.value, value, size);
		request.head.nlmsg_len += (uint32_t)RTA_SPACE(size);
	}
	if (send(fd, &request, request.head.nlmsg_len, 0) >= 0) {
		len = recv(fd, nic_kernel_buffer, sizeof(nic_kernel_buffer), 0);
		is_known = nic_kernel_is_whole(message, len) && nic_kernel_parse(message, ret_link);
	}
	close(fd);
	return is_known;
}

/* In this namespace, or in that of the id `nsid`. */
static bool
nic_kernel_ask(unsigned int if_index, int nsid, struct nic_kernel_link *ret_link)
{
	const int32_t id = nsid;

	return nic_kernel_query(if_index, IFLA_TARGET_NETNSID, &id,
				nsid == NIC_KERNEL_SAME_NS ? 0 : sizeof(id), ret_link);
}

unsigned int
nic_kernel_find(const char *name, char ret_name[IF_NAMESIZE])
{
	const size_t size = strlen(name) + 1;
	struct nic_kernel_link link;
	unsigned int if_index;

	/* The short ones, of both kinds, the kernel finds without its lock on interfaces. */
	if (size <= IF_NAMESIZE) {
		if_index = if_nametoindex(name);
		return if_index && if_indextoname(if_index, ret_name) ? if_index : 0;
	}
	if (size > NIC_KERNEL_NAME_MAX + 1 || !nic_kernel_query(0, IFLA_ALT_IFNAME, name, size, &link))
		return 0;
	memcpy(ret_name, link.name, IF_NAMESIZE);
	return link.if_index;
}

static void
nic_kernel_ask_both(struct nic_kernel *kernel)
{
	struct nic_kernel_link own, peer;

	kernel->peer_place = NIC_KERNEL_NO_PEER;
	kernel->peer_mtu = UINT32_MAX;
	kernel->peer_name[0] = '\0';
	if (!nic_kernel_ask(kernel->if_index, NIC_KERNEL_SAME_NS, &own) || own.peer_index == 0)
		return;
	kernel->peer_index = own.peer_index;
	kernel->peer_nsid = own.peer_nsid;
	kernel->peer_place =
		own.peer_nsid == NIC_KERNEL_SAME_NS ? NIC_KERNEL_PEER_HERE : NIC_KERNEL_PEER_ELSEWHERE;
	if (!nic_kernel_ask(own.peer_index, own.peer_nsid, &peer))
		return;
	memcpy(kernel->peer_name, peer.name, sizeof(kernel->peer_name));
	kernel->peer_mtu = peer.mtu;
}

/* --- news --- */

enum nic_kernel_news {
	NIC_KERNEL_NOT_OURS,
	NIC_KERNEL_CHANGED,
	NIC_KERNEL_PEER_MOVED, /* the other end is somewhere else now */
};

/* Handle a message of this namespace, or of that of the id `nsid`. */
static enum nic_kernel_news
nic_kernel_hear(struct nic_kernel *kernel, struct nlmsghdr *message, int nsid)
{
	struct nic_kernel_link link;

	if (!nic_kernel_parse(message, &link))
		return NIC_KERNEL_NOT_OURS;
	if (nsid == NIC_KERNEL_SAME_NS && link.if_index == kernel->if_index) {
		/* It may be back before anybody looks. */
		kernel->has_left |= message->nlmsg_type == RTM_DELLINK && link.family == AF_UNSPEC;
		return link.peer_index && (link.peer_index != kernel->peer_index ||
					   link.peer_nsid != kernel->peer_nsid)
			       ? NIC_KERNEL_PEER_MOVED
			       : NIC_KERNEL_CHANGED;
	}
	if (kernel->peer_place == NIC_KERNEL_NO_PEER || nsid != kernel->peer_nsid ||
	    link.if_index != kernel->peer_index || message->nlmsg_type != RTM_NEWLINK)
		return NIC_KERNEL_NOT_OURS;
	if (link.mtu != UINT32_MAX)
		kernel->peer_mtu = link.mtu;
	if (link.name[0])
		memcpy(kernel->peer_name, link.name, sizeof(kernel->peer_name));
	return NIC_KERNEL_CHANGED;
}

static int
nic_kernel_nsid(struct msghdr *msg)
{
	int nsid = NIC_KERNEL_SAME_NS;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c))
		if (c->cmsg_level == SOL_NETLINK && c->cmsg_type == NETLINK_LISTEN_ALL_NSID)
			memcpy(&nsid, CMSG_DATA(c), sizeof(nsid));
	return nsid;
}

static void
nic_kernel_on_news(void *arg, uint32_t events)
{
	struct nic_kernel *kernel = arg;
	char control[CMSG_SPACE(sizeof(struct nl_pktinfo)) + CMSG_SPACE(sizeof(int))];
	struct iovec iov = {.iov_base = nic_kernel_buffer, .iov_len = sizeof(nic_kernel_buffer)};
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)};
	struct nlmsghdr *message = (void *)nic_kernel_buffer;
	enum nic_kernel_news news = NIC_KERNEL_NOT_OURS;
	ssize_t got = recvmsg(kernel->fd, &msg, MSG_DONTWAIT);
	int nsid;

	/* Messages were lost: anything may have changed. */
	if (got < 0 && errno == ENOBUFS)
		news = NIC_KERNEL_PEER_MOVED;
	if (got > 0) {
		nsid = nic_kernel_nsid(&msg);
		for (ssize_t len = got; nic_kernel_is_whole(message, len); message = NLMSG_NEXT(message, len))
			news = RTE_MAX(news, nic_kernel_hear(kernel, message, nsid));
	}
	if (news == NIC_KERNEL_PEER_MOVED)
		nic_kernel_ask_both(kernel);
	if (news != NIC_KERNEL_NOT_OURS)
		kernel->changed(kernel->arg);
}

/* If this fails, changes of our own end are still found by nic_kernel_look(). */
static void
nic_kernel_listen(struct nic_kernel *kernel, struct loop *loop)
{
	struct sockaddr_nl links = {.nl_family = AF_NETLINK, .nl_groups = RTMGRP_LINK};
	int on = 1;

	kernel->fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);
	if (kernel->fd < 0)
		return;
	/* Refused without CAP_NET_BROADCAST: then there are no messages of other namespaces. */
	setsockopt(kernel->fd, SOL_NETLINK, NETLINK_LISTEN_ALL_NSID, &on, sizeof(on));
	if (bind(kernel->fd, (struct sockaddr *)&links, sizeof(links)) == 0)
		kernel->watch = loop_watch_add(loop, kernel->fd, EPOLLIN, nic_kernel_on_news, kernel);
	if (!kernel->watch)
		close(kernel->fd);
}

void
nic_kernel_open(struct nic_kernel *kernel, struct loop *loop, unsigned int if_index,
		void (*changed)(void *arg), void *arg)
{
	*kernel = (struct nic_kernel){
		.if_index = if_index,
		.mtu = UINT32_MAX,
		.peer_mtu = UINT32_MAX,
		.changed = changed,
		.arg = arg,
	};
	if (if_index == 0)
		return;
	/* First listen, then ask: nothing is missed in between. */
	if (loop)
		nic_kernel_listen(kernel, loop);
	nic_kernel_ask_both(kernel);
	nic_kernel_look(kernel);
}

void
nic_kernel_close(struct nic_kernel *kernel)
{
	if (!kernel->watch)
		return;
	loop_watch_remove(kernel->watch);
	close(kernel->fd);
	kernel->watch = NULL;
}
