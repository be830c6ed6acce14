/* SPDX-License-Identifier: BSD-3-Clause */
#include "nic_presence.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "ctx.h"
#include "diag.h"
#include "events.h"
#include "loop.h"
#include "nic_describe.h"
#include "nic_device.h"
#include "nic_private.h"
#include "nic_setup.h"
#include "nic_stats.h"
#include "port.h"
#include "uplink.h"

enum {
	NIC_STATS_LOOKS = 10, /* its counters, which go with it, are read with one of so many looks */
	NIC_TRIES = 3,        /* at a card that is back, with one driver of the kernel's */
	NIC_TRY_MS = 1000,
	NIC_PRESENCE_MS = 100, /* between looks for a card that was unplugged, and for one that is back */
};

/* Is the worker in a call of this port's PMD? */
static bool
nic_is_in_use(const void *arg, unsigned int worker)
{
	const struct nic *nic = arg;
	const struct port_place *place = quiesce_where(&nic->ctx->quiesce, worker);

	return place && place->port == nic->port;
}

/* The card is gone, or has to be let go: the port stays, with its counters, until it is removed. */
static void
nic_lose(struct nic *nic)
{
	if (atomic_load_explicit(&nic->is_lost, memory_order_relaxed))
		return;
	uplink_port_closing(nic->port);
	nic_limit_lose(&nic->limit);
	atomic_store_explicit(&nic->is_lost, true, memory_order_release);
	quiesce_wait_held(&nic->ctx->quiesce, nic_is_in_use, nic);
	nic_stats_lose(nic);
	nic_setup_close(nic, NIC_DEVICE_GOES);
	nic->tried[0] = '\0';
	nic_describe(nic, nic->port, nic->port->config);
	event_record(nic->ctx, EVENT_DEVICE, nic->port->name, "device %s was unplugged", nic->dev_name);
	log_warn(&nic->ctx->log, "port %s: device %s was unplugged: no link until it is back",
		 nic->port->name, nic->dev_name);
}

void
nic_presence_report(void *arg, unsigned int events)
{
	struct nic *nic = arg;

	if (events & NIC_EVENT_GOES) {
		nic_lose(nic);
		return;
	}
	nic_limit_update(&nic->limit);
	uplink_port_changed(nic->port);
}

static void
nic_find_again(struct nic *nic)
{
	struct port *port = nic->port;
	char driver[NIC_PCI_DRIVER_SIZE];
	struct diag diag = {0};
	int ret;

	if (nic->dropped && !nic_device_is_dropped(nic->dropped))
		return;
	nic_pci_driver(nic->pci.address, driver);
	if (strcmp(driver, nic->tried) != 0)
		nic->n_tries = 0;
	snprintf(nic->tried, sizeof(nic->tried), "%s", driver);
	if (!driver[0] || nic->n_tries == NIC_TRIES || loop_now_ms() < nic->next_try_ms)
		return;
	nic->n_tries++;
	nic->next_try_ms = loop_now_ms() + NIC_TRY_MS;
	nic->dropped = NULL;
	nic_pci_close(&nic->pci);
	nic_limit_close(&nic->limit);
	nic_setup_release_pools(nic);
	ret = nic_setup_open(nic, port, port->config, nic_presence_report, &diag);
	if (ret < 0) {
		log_warn(&nic->ctx->log, "port %s: device %s is there again, but: %s", port->name,
			 nic->dev_name, diag.cause);
		nic_setup_close(nic, NIC_DEVICE_GOES);
		return;
	}
	/* Release: who sees the device sees all of it. */
	atomic_store_explicit(&nic->is_lost, false, memory_order_release);
	nic_describe(nic, port, port->config);
	event_record(nic->ctx, EVENT_DEVICE, port->name, "device %s is back", nic->dev_name);
	log_info(&nic->ctx->log, "port %s: device %s is back", port->name, nic->dev_name);
	uplink_port_opened(port);
}

static void
nic_look_for_it(void *arg)
{
	struct nic *nic = arg;

	if (atomic_load_explicit(&nic->is_lost, memory_order_relaxed))
		nic_find_again(nic);
	else if (nic_pci_is_gone(&nic->pci))
		nic_lose(nic);
	else if (++nic->n_looks % NIC_STATS_LOOKS == 0)
		nic_stats_read(nic);
}

int
nic_presence_open(struct nic *nic)
{
	if (!nic->pci.address[0] || !nic->ctx->loop)
		return 0;
	nic->presence =
		loop_timer_add(nic->ctx->loop, NIC_PRESENCE_MS, NIC_PRESENCE_MS, nic_look_for_it, nic);
	return nic->presence ? 0 : -ENOMEM;
}

void
nic_presence_close(struct nic *nic)
{
	loop_timer_remove(nic->presence);
}
