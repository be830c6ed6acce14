/* SPDX-License-Identifier: BSD-3-Clause */
/* The events of devices are experimental in DPDK 22.11, and have not changed since. */
#define ALLOW_EXPERIMENTAL_API

#include "nic_events.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <rte_bus.h>

#include "loop.h"
#include "nic_pci.h"

/* --- DPDK's interrupt thread --- */

static void
nic_events_tell(struct nic_events *events, unsigned int event)
{
	const uint64_t one = 1;

	/* Release: pairs with the exchange of nic_events_wake(). */
	atomic_fetch_or_explicit(&events->reported, event, memory_order_release);
	if (write(events->fd, &one, sizeof(one)) < 0) {
		/* Full means that the control thread has a wake-up pending already. */
	}
}

static int
nic_events_on_ethdev(uint16_t eth_id, enum rte_eth_event_type type, void *arg, void *ret_param)
{
	nic_events_tell(arg, type == RTE_ETH_EVENT_INTR_LSC ? NIC_EVENT_LINK : NIC_EVENT_GOES);
	return 0;
}

static void
nic_events_on_bus(const char *dev_name, enum rte_dev_event_type type, void *arg)
{
	if (type == RTE_DEV_EVENT_REMOVE)
		nic_events_tell(arg, NIC_EVENT_GOES);
}

/* --- control thread --- */

static void
nic_events_wake(void *arg, uint32_t epoll_events)
{
	struct nic_events *events = arg;
	unsigned int reported;
	uint64_t count;

	if (read(events->fd, &count, sizeof(count)) != sizeof(count))
		return;
	reported = atomic_exchange_explicit(&events->reported, 0, memory_order_acquire);
	/* Last: it may close the events. */
	if (reported)
		events->report(events->arg, reported);
}

/* Cards; hot-plug is of buses that the kernel reports on, too. */
static bool
nic_events_is_on_pci(const struct rte_eth_dev_info *info)
{
	return info->device && strcmp(rte_bus_name(rte_dev_bus(info->device)), "pci") == 0;
}

/* Where interrupts were seen to get lost, with DPDK 22.11 and QEMU 7.2. */
static const struct {
	const char *pmd;
	const char *kernel_driver; /* "": with any */
} nic_events_lossy[] = {
	/* Never acknowledges one of uio_pci_generic, and so gets one; reads a register that QEMU does not
	   have. */
	{"net_vmxnet3", ""},
	/* One comes, by MSI-X. */
	{"net_e1000_em", "vfio-pci"},
};

static bool
nic_events_are_lost(const struct rte_eth_dev_info *info)
{
	char driver[NIC_PCI_DRIVER_SIZE];

	nic_pci_driver(rte_dev_name(info->device), driver);
	for (size_t i = 0; i < RTE_DIM(nic_events_lossy); i++)
		if (strcmp(info->driver_name, nic_events_lossy[i].pmd) == 0 &&
		    (!nic_events_lossy[i].kernel_driver[0] ||
		     strcmp(driver, nic_events_lossy[i].kernel_driver) == 0))
			return true;
	return false;
}

void
nic_events_configure(struct nic_events *events, const struct rte_eth_dev_info *info,
		     enum nic_events_link link, struct rte_eth_conf *conf)
{
	const uint32_t flags = info->dev_flags ? *info->dev_flags : 0;

	/*
	 * With interrupts what a PMD reports is all that can be known of the link, and the PMD is not asked
	 * any more. So they are for cards; virtual devices are asked, which costs nothing: tap's knows its
	 * interface by a name, wherever it is moved.
	 */
	events->has_link = link == NIC_EVENTS_LINK_REPORTED && flags & RTE_ETH_DEV_INTR_LSC &&
			   nic_events_is_on_pci(info) && !nic_events_are_lost(info);
	events->has_removal = flags & RTE_ETH_DEV_INTR_RMV;
	conf->intr_conf.lsc = events->has_link;
	conf->intr_conf.rmv = events->has_removal;
}

static int
nic_events_listen(struct nic_events *events, const struct rte_eth_dev_info *info)
{
	int ret = 0;

	if (events->has_link)
		ret = rte_eth_dev_callback_register(events->eth_id, RTE_ETH_EVENT_INTR_LSC,
						    nic_events_on_ethdev, events);
	if (ret == 0 && events->has_removal)
		ret = rte_eth_dev_callback_register(events->eth_id, RTE_ETH_EVENT_INTR_RMV,
						    nic_events_on_ethdev, events);
	if (ret == 0 && nic_events_is_on_pci(info)) {
		snprintf(events->dev_name, sizeof(events->dev_name), "%s", rte_dev_name(info->device));
		/* VFIO asks this way for its device, and the kernel's uevents, where they can be had, come
		 * so. */
		ret = rte_dev_event_callback_register(events->dev_name, nic_events_on_bus, events);
		events->is_heard = ret == 0 && rte_dev_event_monitor_start() == 0;
	}
	return ret;
}

int
nic_events_open(struct nic_events *events, struct loop *loop, uint16_t eth_id,
		const struct rte_eth_dev_info *info, void (*report)(void *arg, unsigned int events),
		void *arg)
{
	int ret;

	if (!loop)
		return 0;
	events->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (events->fd < 0)
		return -errno;
	events->eth_id = eth_id;
	events->report = report;
	events->arg = arg;
	events->dev_name[0] = '\0';
	atomic_store(&events->reported, 0);
	events->watch = loop_watch_add(loop, events->fd, EPOLLIN, nic_events_wake, events);
	if (!events->watch) {
		ret = -errno;
		close(events->fd);
		return ret;
	}
	events->is_open = true;
	ret = nic_events_listen(events, info);
	if (ret < 0)
		nic_events_close(events);
	return ret;
}

/* While a callback runs, DPDK refuses. */
static void
nic_events_unregister(struct nic_events *events, enum rte_eth_event_type type)
{
	while (rte_eth_dev_callback_unregister(events->eth_id, type, nic_events_on_ethdev, events) == -EAGAIN)
		sched_yield();
}

void
nic_events_close(struct nic_events *events)
{
	if (!events->is_open)
		return;
	if (events->has_link)
		nic_events_unregister(events, RTE_ETH_EVENT_INTR_LSC);
	if (events->has_removal)
		nic_events_unregister(events, RTE_ETH_EVENT_INTR_RMV);
	if (events->dev_name[0])
		while (rte_dev_event_callback_unregister(events->dev_name, nic_events_on_bus, events) ==
		       -EAGAIN)
			sched_yield();
	if (events->is_heard)
		rte_dev_event_monitor_stop();
	events->is_heard = false;
	loop_watch_remove(events->watch);
	close(events->fd);
	events->is_open = false;
}
