/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * nic_kernel: the interface of this machine's kernel behind an ethdev (af_packet, pcap, tap), and,
 * when that is one end of a veth pair, the other end, which may be in another network namespace.
 *
 *     ethdev -- p0 ==== eth0 | namespace of a container
 *
 * To query the other end may wait for the kernel's lock on interfaces, so that is done once; after that the
 * kernel reports changes (rtnetlink). Control thread.
 */
#ifndef VNICD_NIC_KERNEL_H
#define VNICD_NIC_KERNEL_H

#include <net/if.h>
#include <stdbool.h>
#include <stdint.h>

struct diag;
struct loop;
struct loop_watch;

enum nic_kernel_place {
	NIC_KERNEL_NO_PEER,
	NIC_KERNEL_PEER_HERE,
	NIC_KERNEL_PEER_ELSEWHERE, /* in another network namespace */
};

struct nic_kernel {
	unsigned int if_index; /* 0: there is none */
	char name[IF_NAMESIZE];
	uint32_t mtu;  /* UINT32_MAX: not known; see nic_kernel_look() */
	bool has_left; /* this namespace, at least once since it was opened, or is deleted */

	enum nic_kernel_place peer_place;
	char peer_name[IF_NAMESIZE];
	uint32_t peer_mtu; /* UINT32_MAX: not known */

	/* its own */
	unsigned int peer_index;
	int peer_nsid;
	int fd;
	struct loop_watch *watch;
	void (*changed)(void *arg);
	void *arg;
};

/*
 * Query an interface. What the kernel does not tell stays unknown. From then on `changed` is called when the
 * interface or its other end may have changed; not for `if_index` 0 (none), nor without a loop.
 */
void nic_kernel_open(struct nic_kernel *kernel, struct loop *loop, unsigned int if_index,
		     void (*changed)(void *arg), void *arg);
/* Accepts one that is all zero. */
void nic_kernel_close(struct nic_kernel *kernel);
/* Query MTU and name again. Does not wait. */
void nic_kernel_look(struct nic_kernel *kernel);

enum { NIC_KERNEL_NAME_MAX = 127 }; /* characters of an alternative name (ip-link(8): property add altname) */

/* The interface in this network namespace that has this name or alternative name, and its first name. 0:
 * there is none. */
unsigned int nic_kernel_find(const char *name, char ret_name[IF_NAMESIZE]);
struct nic_kernel_lost {
	uint64_t rx_dropped, tx_errors, tx_dropped; /* frames */
};

/* What an interface of this namespace has lost, by the kernel's count. False: there is none of that name, or
 * no /proc. Does not wait. */
bool nic_kernel_lost(const char *name, struct nic_kernel_lost *ret_lost);
/* A request to the kernel for the interface of ifr->ifr_name. 0; or -errno, and errno is that. */
int nic_kernel_ioctl(unsigned long request, struct ifreq *ifr);
/* Refuse the port's line: -ENODEV with diag filled, whose hint has the interfaces of this network namespace.
 */
int nic_kernel_no_interface(const char *port_name, const char *ifname, struct diag *diag);
/* Is the interface up, with a carrier? False when there is no such interface, true when its state can't be
 * queried. Does not wait. */
bool nic_kernel_link_is_up(unsigned int if_index);
/* Is there an interface of this number in this namespace? */
bool nic_kernel_is_here(unsigned int if_index);
/* Of an interface in this namespace: transmit checksum offload is on, so that frames leave it with partial
 * checksums; GRO is on. */
bool nic_kernel_leaves_checksums(const char *name);
bool nic_kernel_joins_segments(const char *name);

#endif
