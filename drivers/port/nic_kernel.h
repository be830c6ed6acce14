/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * nic_kernel: the interface of this machine's kernel behind an ethdev (af_packet, pcap, tap), and,
 * when that is one end of a veth pair, the other end, which may be in another network namespace.
 *
 *     ethdev -- p0 ==== eth0 | namespace of a container
 *
 * Asking for the other end may wait for whoever changes interfaces just now, so that is done once, and then
 * the kernel says when something has changed. Control thread.
 */
#ifndef VNICD_NIC_KERNEL_H
#define VNICD_NIC_KERNEL_H

#include <net/if.h>
#include <stdbool.h>
#include <stdint.h>

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
 * What is known of an interface. From then on `changed` is called when it, or its other end, may have
 * changed; what can't be asked is not known. `if_index` 0: none, and it is never called. `loop` NULL: nobody
 * listens.
 */
void nic_kernel_open(struct nic_kernel *kernel, struct loop *loop, unsigned int if_index,
		     void (*changed)(void *arg), void *arg);
/* Accepts one that is all zero. */
void nic_kernel_close(struct nic_kernel *kernel);
/* The MTU and the name as they are now. Does not wait. */
void nic_kernel_look(struct nic_kernel *kernel);

/* Those of this network namespace, for people: "lo, eth0". */
void nic_kernel_names(char *buf, size_t size);
/* An interface is up, and has a carrier. One that is gone is not; one that can't be asked is. Does not wait.
 */
bool nic_kernel_link_is_up(unsigned int if_index);
/* There is one of this number in this namespace. */
bool nic_kernel_is_here(unsigned int if_index);
/* Of an interface in this namespace: it leaves checksums to whoever it sends to; or puts segments together.
 */
bool nic_kernel_leaves_checksums(const char *name);
bool nic_kernel_joins_segments(const char *name);

#endif
