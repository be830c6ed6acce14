/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * guest: the port kind "vhost-user": a virtual machine's NIC. Puts together a virtio-net device (lib/vnet)
 * and the transport that its front-end comes over, and makes them a port.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "ctx.h"
#include "guest_record.h"
#include "guest_show.h"
#include "perms.h"
#include "port.h"
#include "show.h"
#include "transport.h"
#include "uplink.h"
#include "vnet_dev.h"

enum {
	GUEST_MTU_SHOULD = 1280,
	GUEST_MEMORY_GIB_MAX = 65536, /* more does not fit into our own address space */
};

static_assert((int)PORT_MAX <= (int)GMEM_DEVICES_MAX, "every guest can map its regions");
static_assert(GMEM_BYTES_MAX >> 30 == 1024, "the default of memory= is 1024");

#define GUEST_MBIT 1000000ull
#define GUEST_GIB (1ull << 30)

struct guest_args {
	char *path;
	uint32_t mode;         /* enum transport_mode */
	struct key_rate speed; /* 0: unknown */
	uint8_t duplex;        /* as in VIRTIO's configuration space; counts when it was given */
	bool standby;
	char *uplink;
	struct perms perms; /* of the socket */
	uint64_t memory;    /* bytes */
	uint64_t without;   /* feature bits */
	uint16_t txburst;
	uint16_t retry;
	uint64_t retry_us;
};

static const char *const guest_mode_words[] = {[TRANSPORT_SERVER] = "server", [TRANSPORT_CLIENT] = "client"};
static const char *const guest_duplex_words[] = {[PORT_DUPLEX_HALF] = "half", [PORT_DUPLEX_FULL] = "full"};

static const char *const guest_feature_words[64] = {
#define FEATURE(bit, symbol, name) [bit] = name,
#define FEATURE_TRANSPORT(bit, symbol, name)
#include "features.def"
#undef FEATURE
};

static const struct key guest_keys[] = {
	{"path", KEY_PATH, KEY_FIELD(struct guest_args, path), .form = "SOCKET",
	 .help = "unix socket of the front-end; default NAME.sock in the run-time directory"},
	{"mode", KEY_WORD, KEY_FIELD(struct guest_args, mode), .words = guest_mode_words,
	 .n_words = RTE_DIM(guest_mode_words), .initial = "server",
	 .help = "who makes the socket: vnicd (server, the default) or the front-end"},
	{"socket-owner", KEY_USER, KEY_FIELD(struct guest_args, perms.owner),
	 .help = "owner of the socket that vnicd makes (default: --socket-owner, else who runs vnicd)"},
	{"socket-group", KEY_GROUP, KEY_FIELD(struct guest_args, perms.group),
	 .help = "its group, kvm for QEMU of libvirt's (default: --socket-group)"},
	{"socket-mode", KEY_MODE, KEY_FIELD(struct guest_args, perms.mode),
	 .help = "its mode, octal (default: --socket-mode, else 0660)"},
	{"speed", KEY_RATE, KEY_FIELD(struct guest_args, speed), .bare = GUEST_MBIT,
	 .max = VNET_SPEED_MAX * GUEST_MBIT, .form = "MBPS",
	 .help = "speed that the guest is told, 0..2147483647 Mb/s, or 10gbit (default: unknown)"},
	{"duplex", KEY_WORD, KEY_FIELD(struct guest_args, duplex), .words = guest_duplex_words,
	 .n_words = RTE_DIM(guest_duplex_words), .help = "duplex that the guest is told (default: unknown)"},
	{"standby", KEY_SWITCH, KEY_FIELD(struct guest_args, standby), .initial = "off",
	 .help = "offer to stand in for a passed-through NIC with the same address (failover)"},
	{"uplink", KEY_NAME, KEY_FIELD(struct guest_args, uplink), .max = PORT_NAME_SIZE - 1, .form = "PORT",
	 .help = "a nic port: the guest sees its link, and its speed and duplex unless given"},
	{"memory", KEY_SIZE, KEY_FIELD(struct guest_args, memory), .bare = GUEST_GIB, .min = GUEST_GIB,
	 .max = GUEST_MEMORY_GIB_MAX * GUEST_GIB, .initial = "1024",
	 .help = "guest memory that the front-end may have mapped, GiB, or 1536m (default 1024)"},
	{"txburst", KEY_NUMBER, KEY_FIELD(struct guest_args, txburst), .min = 1, .max = PORT_BURST,
	 .initial = "32",
	 .help = "frames that a queue of the guest may send before others get their turn (default 32)"},
	{"retry", KEY_NUMBER, KEY_FIELD(struct guest_args, retry), .max = AWAIT_LOOKS_MAX,
	 .help = "looks for buffers before frames are dropped (default: 8 in the switch, else 0)"},
	{"retry-time", KEY_DURATION, KEY_FIELD(struct guest_args, retry_us), .min = 1,
	 .max = AWAIT_TIME_MAX_US, .initial = "20us",
	 .help = "over which they are spread, for each burst (default 20us)"},
	{"without", KEY_WORDS, KEY_FIELD(struct guest_args, without), .words = guest_feature_words,
	 .n_words = RTE_DIM(guest_feature_words), .form = "FEATURE+...",
	 .help = "not offered to the guest, nor what needs it: ring_packed+host_tso4"},
	{0},
};

struct guest {
	struct vnet_dev vnet;
	struct port *port;
	const struct transport_ops *transport_ops;
	struct transport *transport;
	struct port_link link;         /* as configured and as port.set has it: speed, duplex, not down */
	struct uplink_follower uplink; /* .uplink NULL: none */
	struct guest_record record;
};

static void
guest_path(const struct port_config *config, char *path, size_t size)
{
	const struct guest_args *args = config->args;

	if (args->path)
		snprintf(path, size, "%s", args->path);
	else
		snprintf(path, size, "%s/%s.sock", port_env.run_dir ? port_env.run_dir : ".", config->name);
}

static int
guest_check(struct port_config *config, struct diag *diag)
{
	const struct guest_args *args = config->args;
	char path[sizeof(config->resource)];

	config->uplink = args->uplink;
	if (args->mode == TRANSPORT_CLIENT &&
	    (args->perms.owner.given || args->perms.group.given || args->perms.mode))
		return diag_set(diag, -EINVAL, "leave socket-owner, socket-group and socket-mode out",
				"port %s: with mode=client it is the front-end that makes the socket",
				config->name);
	if (args->speed.per_s % GUEST_MBIT) {
		diag_set(diag, -EINVAL, NULL, "port %s: speed: a guest is told whole Mbit/s", config->name);
		diag_hint(diag, "speed=%llu", (unsigned long long)(args->speed.per_s / GUEST_MBIT));
		return -EINVAL;
	}
	guest_path(config, path, sizeof(path));
	if (strlen(path) >= sizeof(((struct sockaddr_un *)0)->sun_path))
		return diag_set(diag, -EINVAL, "name a path of at most 107 characters: path=SOCKET",
				"port %s: the path of its socket is too long", config->name);
	snprintf(config->resource, sizeof(config->resource), "socket %s", path);
	return 0;
}

static void
guest_demand(const struct port_config *config, struct port_demand *ret_demand)
{
	/* A frame that is flooded stays until the last of its receivers has it. */
	ret_demand->n_mbufs = config->n_queues * PORT_BURST;
}

/* --- the link --- */

static int
guest_link_update(struct guest *guest)
{
	struct port_link link = guest->link;

	if (guest->uplink.uplink) {
		const struct port_link *uplink = uplink_link(&guest->uplink);

		link.up &= uplink->up;
		if (link.speed == PORT_SPEED_UNKNOWN)
			link.speed = uplink->speed;
		if (link.duplex == PORT_DUPLEX_UNKNOWN)
			link.duplex = uplink->duplex;
	}
	return vnet_set_link(&guest->vnet, &link);
}

/* Its link came back: the network may have another way to the guest from now on. */
static void
guest_uplink_look(void *arg)
{
	struct guest *guest = arg;
	bool was_up = guest->vnet.input.link.up;

	/* -EAGAIN, -EBUSY: the next look does the rest. */
	guest_link_update(guest);
	if (!was_up && guest->vnet.input.link.up)
		vnet_announce(&guest->vnet);
}

static void
guest_hash_changed(void *arg, const struct hash_params *hash)
{
	struct guest *guest = arg;

	if (guest->uplink.uplink)
		uplink_want_hash(&guest->uplink, hash);
}

static void
guest_link(const struct port *port, struct port_link *ret_link)
{
	const struct guest *guest = port->dev;

	*ret_link = (struct port_link){.up = guest->vnet.input.link.up,
				       .speed = guest->vnet.input.link.speed,
				       .duplex = guest->vnet.input.link.duplex};
}

static void
guest_peer(const struct port *port, struct port_peer *ret_peer)
{
	const struct guest *guest = port->dev;
	struct transport_status status;

	guest->transport_ops->status(guest->transport, &status);
	*ret_peer = (struct port_peer){.connected = status.connected,
				       .has_mac = status.connected && guest->vnet.vdev.said.has_features,
				       .mac = guest->vnet.input.settings.filter.mac};
}

static int
guest_set_link(struct port *port, enum port_link_request request, struct diag *diag)
{
	struct guest *guest = port->dev;

	const char *notice = vnet_notice_of_link(&guest->vnet);
	const bool was_up = guest->link.up;

	guest->link.up = request == PORT_LINK_UP;
	if (guest_link_update(guest) == -EBUSY) {
		guest->link.up = was_up;
		return diag_set(
			diag, -EBUSY, "try again when that port's driver goes on (system.info shows workers)",
			"port %s: a worker has frames of this guest in another port's driver", port->name);
	}
	if (!notice)
		return 0;
	diag_set(diag, 0, "", "%s", notice);
	return 1;
}

static int
guest_announce(struct port *port, struct diag *diag)
{
	struct guest *guest = port->dev;

	switch (vnet_announce(&guest->vnet)) {
	case 0:
		return 0;
	case -ENOMEM:
		return diag_no_memory(diag, "port %s: out of memory", port->name);
	default:
		if (!guest->vnet.input.link.up) {
			diag_set(diag, -ENOTCONN, NULL, "port %s: its link is down", port->name);
			diag_hint(diag, "%s",
				  guest->link.up ? "bring its uplink up" : "port.set with link=up first");
			return -ENOTCONN;
		}
		return diag_set(diag, -ENOTCONN, "start the guest first",
				"port %s: there is no driver to announce", port->name);
	}
}

static void
guest_show_link(const struct guest *guest, const struct show *show)
{
	const struct vnet_dev *vnet = &guest->vnet;

	show->open(show->arg, "link", SHOW_OBJECT);
	show->text(show->arg, "state", vnet->input.link.up ? "up" : "down");
	guest_show_speed(show, vnet->input.link.speed, vnet->input.link.duplex);
	show->text(show->arg, "set", guest->link.up ? "up" : "down");
	if (guest->uplink.uplink) {
		show->text(show->arg, "uplink", uplink_name(&guest->uplink));
		show->text(show->arg, "uplink_state", uplink_link(&guest->uplink)->up ? "up" : "down");
	} else {
		show->none(show->arg, "uplink");
	}
	show->flag(show->arg, "standby", vnet->offer_standby);
	show->close(show->arg);
}

/* Who is connected; of a client also why nobody is. */
static void
guest_show_front_end(const struct guest *guest, const struct show *show)
{
	struct transport_status status;

	guest->transport_ops->status(guest->transport, &status);
	show->flag(show->arg, "connected", status.connected);
	if (status.connected && status.pid) {
		show->open(show->arg, "front_end", SHOW_OBJECT);
		show->number(show->arg, "pid", status.pid);
		if (status.comm[0])
			show->text(show->arg, "name", status.comm);
		else
			show->none(show->arg, "name");
		show->close(show->arg);
	} else {
		show->none(show->arg, "front_end");
	}
	if (status.failure.cause[0]) {
		show->open(show->arg, "connecting", SHOW_OBJECT);
		show->text(show->arg, "failure", status.failure.cause);
		show->text(show->arg, "hint", status.failure.hint);
		show->number(show->arg, "seconds", status.failure_s);
		show->close(show->arg);
	} else {
		show->none(show->arg, "connecting");
	}
}

static uint32_t
guest_capabilities(const struct port *port)
{
	const struct guest *guest = port->dev;

	return vnet_capabilities(&guest->vnet);
}

static bool
guest_counters(const struct port *port, enum counter_class class, uint64_t ret_values[])
{
	const struct guest *guest = port->dev;

	if (class != COUNTERS_CONTROLQ)
		return false;
	memcpy(ret_values, &guest->vnet.controlq.stats, sizeof(guest->vnet.controlq.stats));
	return true;
}

static void
guest_show(const struct port *port, const struct show *show)
{
	const struct guest *guest = port->dev;

	guest_show_front_end(guest, show);
	guest_show_link(guest, show);
	guest_show_device(&guest->vnet, show);
	vnet_notices_show(&guest->vnet.notices, &guest->vnet, show);
}

/* --- life --- */

static int
guest_open_queues(struct port *port, struct guest *guest, uint16_t n_queues, uint16_t retry,
		  const struct guest_args *args)
{
	if (port_queues_alloc(port, n_queues) < 0)
		return -ENOMEM;
	for (uint16_t i = 0; i < n_queues; i++) {
		struct port_rxq *rxq = &port->rxqs[i];
		struct port_txq *txq = &port->txqs[i];

		rxq->rx = vnet_rx;
		rxq->service = vnet_rx_service;
		rxq->release = vnet_rx_release;
		rxq->keeps_digests = true;
		rxq->burst = args->txburst;
		rxq->dev = &guest->vnet.queues[i];
		txq->tx = vnet_tx;
		txq->service = vnet_tx_service;
		txq->accepts_borrowed = true;
		txq->dev = &guest->vnet.queues[i];
		vnet_await_init(&guest->vnet.queues[i].await, retry, (uint32_t)args->retry_us);
	}
	return 0;
}

static void
guest_close(struct port *port)
{
	struct guest *guest = port->dev;

	if (!guest)
		return;
	uplink_unfollow(&guest->uplink);
	if (guest->transport)
		guest->transport_ops->close(guest->transport);
	vnet_fini(&guest->vnet);
	guest_record_close(&guest->record);
	port_queues_free(port);
	free(guest);
	port->dev = NULL;
}

static int
guest_open(struct port *port, const struct port_config *config, struct diag *diag)
{
	struct guest *guest =
		aligned_alloc(RTE_CACHE_LINE_SIZE, RTE_ALIGN_CEIL(sizeof(*guest), RTE_CACHE_LINE_SIZE));
	const struct guest_args *args = config->args;
	const uint16_t retry = port_config_has(config, "retry") ? args->retry : port_env.retry;
	const bool has_speed = port_config_has(config, "speed"),
		   has_duplex = port_config_has(config, "duplex");
	struct perms perms = args->perms;
	struct transport_config transport = {
		.n_pairs = config->n_queues, .mode = (enum transport_mode)args->mode, .perms = &perms};
	char path[sizeof(config->resource)];
	struct vnet_config vnet = {
		.ctx = port->ctx,
		.name = port->name,
		.n_pairs = config->n_queues,
		.mtu = config->mtu,
		.pool = port_env.pool,
		.port = port,
		.standby = args->standby,
		.mem_max = args->memory,
		.without = args->without,
	};
	int ret;

	if (!guest)
		return diag_set(diag, -ENOMEM, "", "port %s: out of memory", port->name);
	memset(guest, 0, sizeof(*guest));
	guest->port = port;
	guest->link = (struct port_link){
		.up = true,
		.speed = has_speed ? (int32_t)(args->speed.per_s / GUEST_MBIT) : PORT_SPEED_UNKNOWN,
		.duplex = has_duplex ? args->duplex : PORT_DUPLEX_UNKNOWN,
	};
	vnet.speed_duplex = has_speed || has_duplex || config->uplink;
	vnet.speed = guest->link.speed;
	vnet.duplex = guest->link.duplex;
	vnet.hash_changed = guest_hash_changed;
	vnet.hash_changed_arg = guest;
	port_mac_from_config(port, config);
	atomic_store(&port->n_active, 1);
	vnet.mac = port->mac;
	/* VIRTIO, "Device configuration layout": it should not be less, for that is what IPv6 needs. */
	if (config->mtu && config->mtu < GUEST_MTU_SHOULD)
		log_warn(&port->ctx->log, "port %s: an MTU of %u bytes is too small for IPv6, which needs %d",
			 port->name, config->mtu, GUEST_MTU_SHOULD);
	guest_record_open(&guest->record, port->ctx, &vnet);
	if (vnet_init(&guest->vnet, &vnet) < 0) {
		guest_record_close(&guest->record);
		free(guest);
		return diag_set(diag, -ENOMEM, "", "port %s: out of memory", port->name);
	}
	guest_record_restore(&guest->record, &guest->vnet);
	port->dev = guest;
	if (guest_open_queues(port, guest, config->n_queues, retry, args) < 0) {
		ret = diag_set(diag, -ENOMEM, "", "port %s: out of memory", port->name);
		goto err;
	}
	if (config->uplink && uplink_follow(&guest->uplink, config->uplink, guest_uplink_look, guest) < 0) {
		ret = diag_set(diag, -ENOMEM, "", "port %s: out of memory", port->name);
		goto err;
	}
	guest_link_update(guest);
	perms_complete(&perms, &port_env.socket_perms);
	guest_path(config, path, sizeof(path));
	transport.path = path;
	guest->transport_ops = transport_by_name("vhost-user");
	ret = guest->transport_ops->open(&guest->vnet.vdev, &transport, &guest->transport, diag);
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
	.args_size = sizeof(struct guest_args),
	.check = guest_check,
	.demand = guest_demand,
	.open = guest_open,
	.close = guest_close,
	.link = guest_link,
	.peer = guest_peer,
	.set_link = guest_set_link,
	.announce = guest_announce,
	.capabilities = guest_capabilities,
	.counters = guest_counters,
	.show = guest_show,
};

PORT_KIND_REGISTER(guest_kind)
