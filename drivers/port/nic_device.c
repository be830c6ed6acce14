/* SPDX-License-Identifier: BSD-3-Clause */
#include "nic_device.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <rte_bus.h>
#include <rte_devargs.h>
#include <rte_ethdev.h>

#include "loop.h"
#include "nearest.h"
#include "nic_pci.h"

enum { NIC_HINT_DEVICES = 16, NIC_DEVICE_LOOK_MS = 20 };

struct nic_device {
	struct nic_device *next;
	char dev_name[RTE_ETH_NAME_MAX_LEN]; /* of the ethdev it had */
	char bus[32];
	char name[RTE_DEV_NAME_MAX_LEN];
	char *args;

	/* of one that is dropped */
	enum nic_device_state { NIC_DEVICE_CLOSED, NIC_DEVICE_DROPPING, NIC_DEVICE_DROPPED } state;
	uint16_t eth_id;
	bool has_thread;
	pthread_t thread;
	struct nic_pci pci;
	_Atomic bool is_done; /* the ethdev is closed; written by the thread */
};

static struct nic_device *nic_devices_closed;
static struct loop_timer *nic_device_timer; /* while one is dropping */

void
nic_device_hint(const char *dev_name, struct diag *diag)
{
	static char names[NIC_HINT_DEVICES][RTE_ETH_NAME_MAX_LEN];
	const char *words[NIC_HINT_DEVICES];
	char all[200] = "";
	size_t n = 0, used = 0;
	uint16_t eth_id;

	RTE_ETH_FOREACH_DEV(eth_id)
	{
		if (n == NIC_HINT_DEVICES || rte_eth_dev_get_name_by_port(eth_id, names[n]) < 0)
			continue;
		words[n] = names[n];
		if (used < sizeof(all))
			used += (size_t)snprintf(all + used, sizeof(all) - used, "%s%s", n ? ", " : "",
						 names[n]);
		n++;
	}
	if (n)
		diag_hint(diag, "dev=%s (devices: %s)", nearest_word(dev_name, words, n), all);
	else
		diag_hint(diag, "there is no device yet: let the port make one, for example "
				"vdev=net_af_packet0,vdev.iface=eth0, or start with "
				"--vdev=net_af_packet0,iface=eth0");
}

/* A PCI function may have two ports. */
static bool
nic_device_is_used(const char *name)
{
	uint16_t eth_id;

	RTE_ETH_FOREACH_DEV(eth_id)
	{
		struct rte_eth_dev_info info;

		if (rte_eth_dev_info_get(eth_id, &info) == 0 && info.device &&
		    strcmp(rte_dev_name(info.device), name) == 0)
			return true;
	}
	return false;
}

/* NULL: no memory. */
static struct nic_device *
nic_device_remember(const char *dev_name, const struct rte_device *device)
{
	const struct rte_devargs *devargs = rte_dev_devargs(device);
	struct nic_device *closed = calloc(1, sizeof(*closed));

	if (!closed)
		return NULL;
	snprintf(closed->dev_name, sizeof(closed->dev_name), "%s", dev_name);
	snprintf(closed->bus, sizeof(closed->bus), "%s", rte_bus_name(rte_dev_bus(device)));
	snprintf(closed->name, sizeof(closed->name), "%s", rte_dev_name(device));
	closed->args = strdup(devargs && devargs->args ? devargs->args : "");
	closed->next = nic_devices_closed;
	nic_devices_closed = closed;
	return closed;
}

static void
nic_device_stop(uint16_t eth_id)
{
	rte_eth_dev_stop(eth_id);
	rte_eth_dev_close(eth_id);
}

void
nic_device_close(uint16_t eth_id, const char *dev_name, const struct rte_device *device)
{
	nic_device_remember(dev_name, device);
	nic_device_stop(eth_id);
}

static void *
nic_device_main(void *arg)
{
	struct nic_device *device = arg;

	nic_device_stop(device->eth_id);
	/* Release: pairs with the acquire of nic_device_end(). */
	atomic_store_explicit(&device->is_done, true, memory_order_release);
	return NULL;
}

/* Its ethdev is closed. With the device its descriptors are closed, for which VFIO waits. */
static void
nic_device_end(struct nic_device *device)
{
	if (device->has_thread)
		pthread_join(device->thread, NULL);
	device->has_thread = false;
	device->state = NIC_DEVICE_CLOSED;
	if (!nic_device_is_used(device->name) && rte_eal_hotplug_remove(device->bus, device->name) == 0)
		device->state = NIC_DEVICE_DROPPED;
	nic_pci_close(&device->pci);
}

static void
nic_device_look(void *arg)
{
	bool any_left = false;

	for (struct nic_device *device = nic_devices_closed; device; device = device->next) {
		if (device->state != NIC_DEVICE_DROPPING)
			continue;
		if (atomic_load_explicit(&device->is_done, memory_order_acquire))
			nic_device_end(device);
		else
			any_left = true;
	}
	if (any_left)
		return;
	loop_timer_remove(nic_device_timer);
	nic_device_timer = NULL;
}

struct nic_device *
nic_device_drop(struct loop *loop, uint16_t eth_id, const char *dev_name, const struct rte_device *bus_device,
		struct nic_pci *pci)
{
	struct nic_device *device = nic_device_remember(dev_name, bus_device);

	if (!device) {
		nic_device_stop(eth_id);
		nic_pci_close(pci);
		return NULL;
	}
	device->eth_id = eth_id;
	device->state = NIC_DEVICE_DROPPING;
	nic_pci_move(&device->pci, pci);
	if (!nic_device_timer)
		nic_device_timer =
			loop_timer_add(loop, NIC_DEVICE_LOOK_MS, NIC_DEVICE_LOOK_MS, nic_device_look, NULL);
	device->has_thread =
		nic_device_timer && pthread_create(&device->thread, NULL, nic_device_main, device) == 0;
	if (!device->has_thread) {
		nic_device_stop(eth_id);
		nic_device_end(device);
	}
	return device;
}

bool
nic_device_is_dropped(const struct nic_device *device)
{
	return device->state != NIC_DEVICE_DROPPING;
}

void
nic_device_settle(void)
{
	for (struct nic_device *device = nic_devices_closed; device; device = device->next)
		if (device->state == NIC_DEVICE_DROPPING)
			nic_device_end(device);
	loop_timer_remove(nic_device_timer);
	nic_device_timer = NULL;
}

/* Make the ethdev of a device that we closed before. Returns 0 or -errno. */
static int
nic_device_revive(const char *dev_name)
{
	struct nic_device **link = &nic_devices_closed, *closed;
	int ret = 0;

	while (*link && strcmp((*link)->dev_name, dev_name) != 0)
		link = &(*link)->next;
	closed = *link;
	if (!closed || !closed->args)
		return -ENODEV;
	if (closed->state == NIC_DEVICE_DROPPING)
		return -EAGAIN;
	if (nic_device_is_used(closed->name))
		return -EBUSY;
	if (closed->state == NIC_DEVICE_CLOSED)
		ret = rte_eal_hotplug_remove(closed->bus, closed->name);
	if (ret == 0)
		ret = rte_eal_hotplug_add(closed->bus, closed->name, closed->args);
	if (ret < 0)
		return ret;
	*link = closed->next;
	free(closed->args);
	free(closed);
	return 0;
}

/* A card that was not there when the program started. Returns 0 or -errno. */
static int
nic_device_plug(const char *dev_name)
{
	char driver[NIC_PCI_DRIVER_SIZE];

	if (!nic_pci_is_address(dev_name))
		return -ENODEV;
	/* EAL would log what is wrong in its own words. */
	nic_pci_driver(dev_name, driver);
	return driver[0] ? rte_eal_hotplug_add("pci", dev_name, "") : -ENODEV;
}

int
nic_device_find(const char *dev_name, uint16_t *ret_eth_id)
{
	int ret;

	/* While it is being closed there still is one. */
	for (struct nic_device *device = nic_devices_closed; device; device = device->next)
		if (device->state == NIC_DEVICE_DROPPING && strcmp(device->dev_name, dev_name) == 0)
			return -EAGAIN;
	ret = rte_eth_dev_get_port_by_name(dev_name, ret_eth_id);
	if (ret == 0)
		return 0;
	ret = nic_device_revive(dev_name);
	if (ret == -ENODEV)
		ret = nic_device_plug(dev_name);
	return ret == 0 ? rte_eth_dev_get_port_by_name(dev_name, ret_eth_id) : ret;
}
