/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * guest: the port kind "vhost-user": a virtual machine's NIC. Puts together a virtio-net device (lib/vnet)
 * and the transport that its front-end comes over, and speaks for the device when its driver or its memory
 * misbehaves.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "gmem_sigbus.h"
#include "log.h"
#include "loop.h"
#include "port.h"
#include "transport.h"
#include "vnet.h"

enum { GUEST_FAULT_PERIOD_MS = 10 };

enum guest_key { GUEST_KEY_PATH, GUEST_KEY_MODE };

static const struct port_key guest_keys[] = {
	[GUEST_KEY_PATH] = {"path", "SOCKET",
			    "unix socket of the front-end; default NAME.sock in the run-time directory"},
	[GUEST_KEY_MODE] = {"mode", "server|client",
			    "who makes the socket: vnicd (server, the default) or the front-end"},
	{NULL, NULL, NULL},
};

struct guest {
	struct guest *next;
	struct vnet_dev vnet;
	struct port *port;
	const struct transport_ops *transport_ops;
	struct transport *transport;
};

/* All guests, and the timer that looks for broken queues; control thread. */
static struct guest *guests;
static struct loop_timer *guest_timer;
static unsigned int guest_faults_seen;

/* Workers only count; when the count moved, find out who it was. */
static void
guest_look_for_faults(void *arg)
{
	unsigned int total = virtq_faults_total();

	if (total == guest_faults_seen)
		return;
	guest_faults_seen = total;
	for (struct guest *guest = guests; guest; guest = guest->next)
		vdev_check_faults(&guest->vnet.vdev);
}

static void
guest_memory_lost(void *arg)
{
	for (struct guest *guest = guests; guest; guest = guest->next)
		if (vdev_memory_is_lost(&guest->vnet.vdev))
			guest->transport_ops->drop(guest->transport, "its memory file was truncated");
}

static int
guest_watch_start(struct guest *guest)
{
	if (!guests) {
		guest_timer = loop_timer_add(port_env.loop, GUEST_FAULT_PERIOD_MS, GUEST_FAULT_PERIOD_MS,
					     guest_look_for_faults, NULL);
		if (!guest_timer)
			return -ENOMEM;
		gmem_sigbus_listen(guest_memory_lost, NULL);
	}
	guest->next = guests;
	guests = guest;
	return 0;
}

static void
guest_watch_stop(struct guest *guest)
{
	struct guest **link = &guests;

	while (*link && *link != guest)
		link = &(*link)->next;
	if (*link)
		*link = guest->next;
	if (!guests) {
		loop_timer_remove(guest_timer);
		guest_timer = NULL;
		gmem_sigbus_listen(NULL, NULL);
	}
}

static void
guest_path(const struct port_config *config, char *path, size_t size)
{
	if (config->values[GUEST_KEY_PATH])
		snprintf(path, size, "%s", config->values[GUEST_KEY_PATH]);
	else
		snprintf(path, size, "%s/%s.sock", port_env.run_dir ? port_env.run_dir : ".", config->name);
}

static bool
guest_is_client(const struct port_config *config)
{
	return config->values[GUEST_KEY_MODE] && strcmp(config->values[GUEST_KEY_MODE], "client") == 0;
}

static int
guest_check(struct port_config *config, struct diag *diag)
{
	const char *mode = config->values[GUEST_KEY_MODE];
	char path[sizeof(config->resource)];

	if (mode && strcmp(mode, "server") != 0 && strcmp(mode, "client") != 0) {
		diag_set(diag, -EINVAL, NULL, "port %s: mode '%s' is neither server nor client", config->name,
			 mode);
		diag_hint(diag, "%s=vhost-user,mode=%s", config->name, mode[0] == 'c' ? "client" : "server");
		return -EINVAL;
	}
	guest_path(config, path, sizeof(path));
	if (strlen(path) >= sizeof(((struct sockaddr_un *)0)->sun_path))
		return diag_set(diag, -EINVAL, "name a path of at most 107 characters: path=SOCKET",
				"port %s: the path of its socket is too long", config->name);
	snprintf(config->resource, sizeof(config->resource), "socket %s", path);
	return 0;
}

static int
guest_open_queues(struct port *port, struct guest *guest)
{
	port->queues = aligned_alloc(RTE_CACHE_LINE_SIZE, port->n_queues * sizeof(port->queues[0]));
	if (!port->queues)
		return -ENOMEM;
	memset(port->queues, 0, port->n_queues * sizeof(port->queues[0]));
	for (uint16_t i = 0; i < port->n_queues; i++) {
		port->queues[i].rx = vnet_rx;
		port->queues[i].tx = vnet_tx;
		port->queues[i].service = vnet_service;
		port->queues[i].dev = &guest->vnet.queues[i];
		port->queues[i].port = port;
		port->queues[i].idx = i;
		port->queues[i].worker = UINT16_MAX;
	}
	return 0;
}

static void
guest_close(struct port *port)
{
	struct guest *guest = port->dev;

	if (!guest)
		return;
	if (guest->transport)
		guest->transport_ops->close(guest->transport);
	guest_watch_stop(guest);
	vnet_fini(&guest->vnet);
	free(port->queues);
	port->queues = NULL;
	free(guest);
	port->dev = NULL;
}

static int
guest_open(struct port *port, const struct port_config *config, struct diag *diag)
{
	struct guest *guest =
		aligned_alloc(RTE_CACHE_LINE_SIZE, RTE_ALIGN_CEIL(sizeof(*guest), RTE_CACHE_LINE_SIZE));
	struct transport_config transport = {.n_pairs = config->n_queues};
	char path[sizeof(config->resource)];
	struct vnet_config vnet = {
		.name = port->name,
		.n_pairs = config->n_queues,
		.mtu = config->mtu,
		.pool = port_env.pool,
		.port = port,
		.loop = port_env.loop,
	};
	int ret;

	if (!guest)
		return diag_set(diag, -ENOMEM, "", "port %s: out of memory", port->name);
	memset(guest, 0, sizeof(*guest));
	guest->port = port;
	if (config->has_mac)
		port->mac = config->mac;
	else
		port_mac_from_name(&port->mac, port->name);
	port->n_queues = config->n_queues;
	atomic_store(&port->n_active, 1);
	vnet.mac = port->mac;
	if (vnet_init(&guest->vnet, &vnet) < 0) {
		free(guest);
		return diag_set(diag, -ENOMEM, "", "port %s: out of memory", port->name);
	}
	port->dev = guest;
	if (guest_open_queues(port, guest) < 0 || guest_watch_start(guest) < 0) {
		ret = diag_set(diag, -ENOMEM, "", "port %s: out of memory", port->name);
		goto err;
	}
	guest_path(config, path, sizeof(path));
	transport.path = path;
	transport.mode = guest_is_client(config) ? TRANSPORT_CLIENT : TRANSPORT_SERVER;
	guest->transport_ops = transport_by_name("vhost-user");
	ret = guest->transport_ops->open(port_env.loop, &guest->vnet.vdev, &transport, &guest->transport,
					 diag);
	if (ret < 0)
		goto err;
	snprintf(port->describe, sizeof(port->describe), "vhost-user %s %.150s",
		 transport.mode == TRANSPORT_CLIENT ? "client of" : "server", path);
	return 0;

err:
	guest_close(port);
	return ret;
}

static struct port_kind guest_kind = {
	.name = "vhost-user",
	.help = "a virtual machine: virtio-net device served over a vhost-user socket",
	.keys = guest_keys,
	.check = guest_check,
	.open = guest_open,
	.close = guest_close,
};

PORT_KIND_REGISTER(guest_kind)
