/* SPDX-License-Identifier: BSD-3-Clause */
#include "macvtap.h"

#include <errno.h>
#include <fcntl.h>
#include <libmnl/libmnl.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

enum { MACVTAP_MESSAGE = 1024, MACVTAP_ANSWER = 16384 };

/* Send it, and wait for the kernel's answer, which is there when sending has returned. */
static int
link_ask(struct nlmsghdr *message)
{
	struct mnl_socket *sock = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
	char answer[MACVTAP_ANSWER];
	ssize_t got = -1;
	int ret = -1, err;

	if (!sock)
		return -1;
	message->nlmsg_flags |= NLM_F_REQUEST | NLM_F_ACK;
	message->nlmsg_seq = (uint32_t)time(NULL);
	if (mnl_socket_bind(sock, 0, MNL_SOCKET_AUTOPID) == 0 &&
	    mnl_socket_sendto(sock, message, message->nlmsg_len) >= 0)
		got = mnl_socket_recvfrom(sock, answer, sizeof(answer));
	if (got >= 0)
		ret = mnl_cb_run(answer, (size_t)got, message->nlmsg_seq, mnl_socket_get_portid(sock), NULL,
				 NULL);
	err = errno;
	mnl_socket_close(sock);
	errno = err;
	return ret < 0 ? -1 : 0;
}

static int
link_make(const char *ifname, unsigned int lower, uint16_t n_queues)
{
	char buf[MACVTAP_MESSAGE];
	struct nlmsghdr *message = mnl_nlmsg_put_header(buf);
	struct ifinfomsg *info;
	struct nlattr *link, *data;

	message->nlmsg_type = RTM_NEWLINK;
	message->nlmsg_flags = NLM_F_CREATE | NLM_F_EXCL;
	info = mnl_nlmsg_put_extra_header(message, sizeof(*info));
	/* Groups are whoever's is behind the port, and so is what may be sent to them. */
	info->ifi_flags = info->ifi_change = IFF_UP | IFF_ALLMULTI;
	mnl_attr_put_strz(message, IFLA_IFNAME, ifname);
	mnl_attr_put_u32(message, IFLA_LINK, lower);
	mnl_attr_put_u32(message, IFLA_NUM_TX_QUEUES, n_queues);
	mnl_attr_put_u32(message, IFLA_NUM_RX_QUEUES, n_queues);
	link = mnl_attr_nest_start(message, IFLA_LINKINFO);
	mnl_attr_put_str(message, IFLA_INFO_KIND, "macvtap");
	data = mnl_attr_nest_start(message, IFLA_INFO_DATA);
	/* Frames of any address may go out, and all that come in are ours. */
	mnl_attr_put_u32(message, IFLA_MACVLAN_MODE, MACVLAN_MODE_PASSTHRU);
	mnl_attr_nest_end(message, data);
	mnl_attr_nest_end(message, link);
	return link_ask(message);
}

/* The device's number, as sysfs has it. */
static int
device_number(const char *ifname, unsigned int if_index, dev_t *ret_device)
{
	char path[128];
	unsigned int major_number, minor_number;
	FILE *stream;
	int n;

	snprintf(path, sizeof(path), "/sys/class/net/%s/tap%u/dev", ifname, if_index);
	stream = fopen(path, "re");
	if (!stream)
		return -1;
	n = fscanf(stream, "%u:%u", &major_number, &minor_number);
	fclose(stream);
	if (n != 2) {
		errno = ENODEV;
		return -1;
	}
	*ret_device = makedev(major_number, minor_number);
	return 0;
}

/* /dev/tapN may be that of an interface with the same number in another network namespace. */
static int
node_find(struct macvtap *macvtap, const char *ifname)
{
	const unsigned int if_index = macvtap->if_index;
	char node[sizeof(macvtap->node)];
	struct stat st;
	dev_t device;

	if (device_number(ifname, if_index, &device) < 0)
		return -1;
	snprintf(node, sizeof(node), "/dev/tap%u", if_index);
	if (stat(node, &st) < 0 || !S_ISCHR(st.st_mode) || st.st_rdev != device) {
		snprintf(macvtap->node, sizeof(macvtap->node), "/dev/vnicd-%d-tap%u", (int)getpid(),
			 if_index);
		return mknod(macvtap->node, S_IFCHR | 0600, device);
	}
	return 0;
}

int
macvtap_make(struct macvtap *macvtap, unsigned int lower, const char *ifname, uint16_t n_queues)
{
	int err;

	if (link_make(ifname, lower, n_queues) < 0)
		return -1;
	macvtap->if_index = if_nametoindex(ifname);
	if (macvtap->if_index && node_find(macvtap, ifname) == 0)
		return 0;
	err = errno;
	macvtap_remove(macvtap);
	errno = err;
	return -1;
}

int
macvtap_open(struct macvtap *macvtap)
{
	char node[sizeof(macvtap->node)];

	if (macvtap->node[0])
		snprintf(node, sizeof(node), "%s", macvtap->node);
	else
		snprintf(node, sizeof(node), "/dev/tap%u", macvtap->if_index);
	return open(node, O_RDWR | O_NONBLOCK | O_CLOEXEC);
}

void
macvtap_remove(struct macvtap *macvtap)
{
	char buf[MACVTAP_MESSAGE];
	struct nlmsghdr *message = mnl_nlmsg_put_header(buf);
	struct ifinfomsg *info;

	if (macvtap->node[0])
		unlink(macvtap->node);
	if (macvtap->if_index) {
		message->nlmsg_type = RTM_DELLINK;
		info = mnl_nlmsg_put_extra_header(message, sizeof(*info));
		info->ifi_index = (int)macvtap->if_index;
		/* It may be gone, with the interface below. */
		link_ask(message);
	}
	memset(macvtap, 0, sizeof(*macvtap));
}
