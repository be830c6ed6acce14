/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * nic_events: what an ethdev and its bus report by themselves: the link has changed, the device goes.
 *
 * DPDK calls back in its interrupt thread; from there it is an event descriptor to the control thread, where
 * all of vnicd's own is done. A device that reports nothing has to be asked: that is the owner's business.
 */
#ifndef VNICD_NIC_EVENTS_H
#define VNICD_NIC_EVENTS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <rte_dev.h>
#include <rte_ethdev.h>

struct loop;
struct loop_watch;

enum nic_event {
	NIC_EVENT_LINK = 1 << 0, /* the link may have changed */
	NIC_EVENT_GOES = 1 << 1, /* the device is gone, or is waited for to be let go */
};

/* Zero-initialised: closed. */
struct nic_events {
	_Atomic unsigned int reported; /* set of enum nic_event; written by the interrupt thread */

	/* control only */
	bool has_link; /* changes of the link come by interrupt */
	bool has_removal;
	bool is_open;
	bool is_heard; /* the bus is listened to */
	uint16_t eth_id;
	int fd;
	struct loop_watch *watch;
	void (*report)(void *arg, unsigned int events); /* a set of enum nic_event */
	void *arg;
	char dev_name[RTE_DEV_NAME_MAX_LEN];
};

enum nic_events_link {
	NIC_EVENTS_LINK_REPORTED, /* by interrupt, if the device has them */
	NIC_EVENTS_LINK_POLLED,
};

/* Before the device is configured: ask in `conf` for what the device reports. */
void nic_events_configure(struct nic_events *events, const struct rte_eth_dev_info *info,
			  enum nic_events_link link, struct rte_eth_conf *conf);
/*
 * After it was configured, before it is started. `report` is called by the loop, control thread. `loop` NULL:
 * nothing is reported. 0 or -errno.
 */
int nic_events_open(struct nic_events *events, struct loop *loop, uint16_t eth_id,
		    const struct rte_eth_dev_info *info, void (*report)(void *arg, unsigned int events),
		    void *arg);
/* Before the ethdev is closed. Accepts one that is closed. */
void nic_events_close(struct nic_events *events);

#endif
