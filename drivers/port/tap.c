/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tap: the port kind "tap": an interface of this machine's kernel whose other end is the port. What the
 * kernel sends on it comes in, what is sent to the port the kernel receives. Also macvtap, which takes a
 * share of another interface: what that receives comes in, what is sent to the port goes out on it.
 *
 * Frames have the kernel's virtio-net header in front (IFF_VNET_HDR): checksums and segments that somebody
 * else does are left to him, in both directions. See the kernel's Documentation/networking/tuntap.rst.
 *
 * Reading costs a system call a frame, and one more to learn that there is none. After that one the queue is
 * left alone for KERNEL_IDLE_US, which is little beside what the kernel takes to get a frame here
 * (docs/decisions/0033-ports-of-the-kernel.md).
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "ctx.h"
#include "kernel_frame.h"
#include "macvtap.h"
#include "nic_limit.h"
#include "port.h"
#include "uplink.h"

#ifndef TUN_F_USO4
#define TUN_F_USO4 0x20
#define TUN_F_USO6 0x40
#endif

enum {
	TAP_HDR_LEN = sizeof(struct virtio_net_hdr_mrg_rxbuf), /* as guests have it */
	TAP_QUEUES_MAX = 128,
};

struct tap_args {
	char *ifname;
	char *macvtap;
	bool persist;
	uint64_t owner; /* counts when it was given */
	uint64_t group;
	uint64_t without; /* offloads */
};

static const struct key tap_keys[] = {
	{"ifname", KEY_STRING, KEY_FIELD(struct tap_args, ifname), .form = "INTERFACE",
	 .help = "of the kernel's end: it is made, or there already (default: the port's name)"},
	{"macvtap", KEY_STRING, KEY_FIELD(struct tap_args, macvtap), .form = "INTERFACE",
	 .help = "instead take all of this interface's traffic, by a macvtap that is made"},
	{"persist", KEY_SWITCH, KEY_FIELD(struct tap_args, persist), .initial = "off",
	 .help = "the interface stays when the port is gone (default off)"},
	{"owner", KEY_NUMBER, KEY_FIELD(struct tap_args, owner), .max = UINT32_MAX - 1, .form = "UID",
	 .help = "who may open a persistent one"},
	{"group", KEY_NUMBER, KEY_FIELD(struct tap_args, group), .max = UINT32_MAX - 1, .form = "GID",
	 .help = "whose members may"},
	{"without", KEY_WORDS, KEY_FIELD(struct tap_args, without), .words = offload_names,
	 .n_words = OFFLOAD_N, .form = "OFFLOAD+...",
	 .help = "not left to the kernel nor taken from it, nor what needs it: tso4+uso4"},
	{0},
};

struct tap_queue {
	/* read by workers */
	struct tap *tap;
	int fd;

	/* receive queue's owner */
	uint64_t idle_until __rte_cache_aligned; /* by the TSC */
	struct kernel_room room;

	/* transmit queue's owner */
	struct iovec iov[KERNEL_FRAME_PIECES_MAX + 1] __rte_cache_aligned;
} __rte_cache_aligned;

struct tap {
	/* read by workers */
	struct vnic_ctx *ctx;
	struct kernel_buffers buffers;
	struct nic_limit limit;
	uint32_t capabilities;

	/* control */
	char ifname[IF_NAMESIZE];
	const char *altname; /* of the line, for one that is there under another name; NULL: not so */
	struct macvtap macvtap;
	bool is_macvtap;
	uint16_t n_queues;
	struct tap_queue *queues; /* [n_queues] */
};

/* --- receive queue: owner ---------------------------------------------------------------------------------
 */

/* One frame; 0: there is none, or it is lost (*ret_pkt NULL, and 1 returned: counted). */
static uint16_t
tap_read(struct port_rxq *rxq, struct rte_mbuf **ret_pkt)
{
	struct tap_queue *queue = rxq->dev;
	struct virtio_net_hdr_mrg_rxbuf hdr;
	struct iovec iov[3];
	ssize_t got;

	*ret_pkt = NULL;
	iov[0] = (struct iovec){&hdr, sizeof(hdr)};
	if (unlikely(!kernel_room_prepare(&queue->room, &queue->tap->buffers, iov + 1)))
		return 0;
	got = readv(queue->fd, iov, RTE_DIM(iov)) - (ssize_t)sizeof(hdr);
	if (got < 0)
		return 0;
	counter_add(&rxq->stats.packets, 1);
	counter_add(&rxq->stats.bytes, (uint64_t)got);
	if (unlikely(got < RTE_ETHER_HDR_LEN)) {
		port_rx_count_drop(rxq, DROP_RUNT, NULL, 1);
		return 1;
	}
	*ret_pkt = kernel_room_take(&queue->room, (uint32_t)got);
	if (likely(kernel_frame_request(*ret_pkt, &hdr.hdr)))
		return 1;
	port_rx_drop(rxq, kernel_frame_refused(*ret_pkt, &hdr.hdr), ret_pkt, 1);
	*ret_pkt = NULL;
	return 1;
}

static uint16_t
tap_rx(struct port_rxq *rxq, struct rte_mbuf **pkts, uint16_t n)
{
	struct tap_queue *queue = rxq->dev;

	return kernel_frame_poll(rxq, &queue->idle_until, tap_read, pkts, n);
}

/* --- transmit queue: owner --------------------------------------------------------------------------------
 */

static enum port_drop
tap_why(int error)
{
	switch (error) {
	case EINVAL:
	case EMSGSIZE:
		return DROP_BAD_OFFLOAD;
	case EFAULT: /* borrowed from a guest whose memory has gone from its file */
		return DROP_MALFORMED;
	case EAGAIN:
	case ENOBUFS:
	case ENOMEM:
		return DROP_TX_FULL;
	default: /* EIO: not up; EBADFD: it is gone */
		return DROP_LINK_DOWN;
	}
}

/* 0, or why not. */
static int
tap_write(struct tap_queue *queue, const struct rte_mbuf *pkt)
{
	struct virtio_net_hdr_mrg_rxbuf hdr = {.hdr = kernel_frame_header(pkt)};

	queue->iov[0] = (struct iovec){&hdr, sizeof(hdr)};
	return writev(queue->fd, queue->iov, 1 + (int)kernel_frame_pieces(pkt, queue->iov + 1)) < 0 ? errno
												    : 0;
}

/* Frames that request nothing that the kernel does not do. */
static uint16_t
tap_send(struct port_txq *txq, const void *ctx, struct rte_mbuf **pkts, uint16_t n)
{
	struct tap_queue *queue = txq->dev;
	struct tap *tap = queue->tap;
	const uint32_t frame_max = atomic_load_explicit(&tap->limit.frame_max, memory_order_relaxed);
	uint16_t n_sent = 0;
	uint64_t bytes = 0;

	for (uint16_t i = 0; i < n; i++) {
		struct rte_mbuf *pkt = pkts[i];
		int error;

		if (unlikely(!kernel_frame_fits(pkt, frame_max, &tap->limit))) {
			port_tx_drop(txq, DROP_TOO_LONG, &pkt, 1);
			continue;
		}
		quiesce_leave(&tap->ctx->quiesce, txq->worker, &txq->place);
		error = tap_write(queue, pkt);
		quiesce_return(&tap->ctx->quiesce, txq->worker);
		if (unlikely(error)) {
			port_tx_drop(txq, tap_why(error), &pkt, 1);
			continue;
		}
		bytes += pkt->pkt_len;
		n_sent++;
		rte_pktmbuf_free(pkt);
	}
	counter_add(&txq->stats.packets, n_sent);
	counter_add(&txq->stats.bytes, bytes);
	return n_sent;
}

static uint16_t
tap_tx(struct port_txq *txq, struct rte_mbuf **pkts, uint16_t n)
{
	const struct tap_queue *queue = txq->dev;
	struct tap *tap = queue->tap;

	if (unlikely(atomic_load_explicit(&tap->limit.frame_max, memory_order_relaxed) == 0)) {
		port_tx_drop(txq, DROP_LINK_DOWN, pkts, n);
		return 0;
	}
	return kernel_frame_send(txq, &tap->buffers, tap->capabilities, pkts, n, tap_send);
}

/* --- control thread ---------------------------------------------------------------------------------------
 */

static int
tap_refuse(const struct tap *tap, const char *name, const char *what, struct diag *diag)
{
	const int err = errno;

	diag_set(diag, -err, NULL, "port %s: interface %s%s%s: %s: %s", name, tap->ifname,
		 tap->altname ? ", also named " : "", tap->altname ? tap->altname : "", what, strerror(err));
	if (tap->is_macvtap) {
		diag_hint(diag, "%s",
			  err == EPERM || err == EACCES ? "it takes CAP_NET_ADMIN"
			  : err == EEXIST               ? "name another: ifname=INTERFACE"
			  : err == EINVAL || err == EBUSY
				  ? "the one below has to be an Ethernet interface, with nothing else over it"
				  : "");
		return -err;
	}
	switch (err) {
	case EPERM:
	case EACCES:
		diag_hint(
			diag,
			"it takes CAP_NET_ADMIN, or a persistent one of ours: ip tuntap add dev %s mode tap "
			"vnet_hdr user $(id -u)",
			tap->ifname);
		break;
	case EBUSY:
		diag_hint(diag, "somebody else has it; name another: ifname=INTERFACE");
		break;
	case EINVAL:
		diag_hint(diag,
			  "an interface that is there has to be a tap%s: ip tuntap add dev %s mode tap "
			  "vnet_hdr%s",
			  tap->n_queues > 1 ? " of several queues" : "", tap->ifname,
			  tap->n_queues > 1 ? " multi_queue" : "");
		break;
	case ENOENT:
	case ENODEV:
		diag_hint(diag, "modprobe tun, or is /dev/net/tun missing in this container?");
		break;
	default:
		diag_hint(diag, "%s", "");
	}
	return -err;
}

/* By name, for what the descriptor can't do. */
static int
tap_ioctl(const struct tap *tap, unsigned long request, struct ifreq *ifr)
{
	snprintf(ifr->ifr_name, sizeof(ifr->ifr_name), "%s", tap->ifname);
	return nic_kernel_ioctl(request, ifr);
}

/* A set of offloads, as the kernel has it. */
static unsigned long
tap_flags(uint32_t offloads)
{
	static const unsigned int flags[OFFLOAD_N] = {
		[OFFLOAD_CHECKSUM] = TUN_F_CSUM, [OFFLOAD_TSO4] = TUN_F_TSO4, [OFFLOAD_TSO6] = TUN_F_TSO6,
		[OFFLOAD_USO4] = TUN_F_USO4,     [OFFLOAD_USO6] = TUN_F_USO6, [OFFLOAD_ECN] = TUN_F_TSO_ECN,
		[OFFLOAD_UFO] = TUN_F_UFO,
	};
	unsigned long all = 0;

	for (unsigned int i = 0; i < OFFLOAD_N; i++)
		all |= offloads >> i & 1 ? flags[i] : 0;
	return all;
}

/* As many offloads as the kernel knows: 0, or -1 with errno. */
static int
tap_negotiate(struct tap *tap, const struct tap_queue *queue)
{
	/* Segmentation of UDP came with Linux 6.2; fragmentation was away for a time before. */
	static const uint32_t missing[] = {OFFLOADS_NONE, OFFLOAD_BIT(USO4) | OFFLOAD_BIT(USO6),
					   OFFLOAD_BIT(UFO)};
	int ret = -1;

	for (size_t i = 0; i < RTE_DIM(missing) && ret < 0; i++) {
		tap->capabilities = offloads_without(tap->capabilities, missing[i]);
		ret = ioctl(queue->fd, TUNSETOFFLOAD, tap_flags(tap->capabilities));
	}
	return ret;
}

static int
tap_open_queue(struct tap *tap, struct tap_queue *queue, struct diag *diag, const char *name)
{
	struct ifreq ifr = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};
	const int hdr_len = TAP_HDR_LEN;

	queue->tap = tap;
	queue->fd = tap->is_macvtap ? macvtap_open(&tap->macvtap)
				    : open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (queue->fd < 0)
		return tap_refuse(tap, name, "its device can't be opened", diag);
	if (tap->n_queues > 1)
		ifr.ifr_flags |= IFF_MULTI_QUEUE;
	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", tap->ifname);
	if (ioctl(queue->fd, TUNSETIFF, &ifr) < 0)
		return tap_refuse(tap, name, "it can't be attached to", diag);
	if (ioctl(queue->fd, TUNSETVNETHDRSZ, &hdr_len) < 0)
		return tap_refuse(tap, name, "the kernel has no virtio-net header", diag);
	if (tap_negotiate(tap, queue) < 0)
		return tap_refuse(tap, name, "the kernel leaves no offloads to us", diag);
	return 0;
}

static int
tap_set_up(struct tap *tap, struct port *port, const struct port_config *config, struct diag *diag)
{
	const struct tap_args *args = config->args;
	struct ifreq ifr = {0};

	/* One that is there already stays as it is: we may not be able to make it again. */
	if (port_config_has(config, "persist") &&
	    ioctl(tap->queues[0].fd, TUNSETPERSIST, (unsigned long)args->persist) < 0)
		return tap_refuse(tap, config->name, "persist", diag);
	if (port_config_has(config, "owner") &&
	    ioctl(tap->queues[0].fd, TUNSETOWNER, (unsigned long)args->owner) < 0)
		return tap_refuse(tap, config->name, "owner", diag);
	if (port_config_has(config, "group") &&
	    ioctl(tap->queues[0].fd, TUNSETGROUP, (unsigned long)args->group) < 0)
		return tap_refuse(tap, config->name, "group", diag);
	if (config->mtu) {
		ifr.ifr_mtu = config->mtu;
		if (tap_ioctl(tap, SIOCSIFMTU, &ifr) < 0)
			return tap_refuse(tap, config->name, "its MTU", diag);
	}
	if (tap_ioctl(tap, SIOCGIFHWADDR, &ifr) < 0)
		return tap_refuse(tap, config->name, "its address", diag);
	if (config->has_mac && memcmp(ifr.ifr_hwaddr.sa_data, &config->mac, RTE_ETHER_ADDR_LEN) != 0) {
		memcpy(ifr.ifr_hwaddr.sa_data, &config->mac, RTE_ETHER_ADDR_LEN);
		if (tap_ioctl(tap, SIOCSIFHWADDR, &ifr) < 0)
			return tap_refuse(tap, config->name, "its address", diag);
	}
	memcpy(&port->mac, ifr.ifr_hwaddr.sa_data, RTE_ETHER_ADDR_LEN);
	/* Who may not does without: of a persistent one its owner has seen to that. */
	if (tap_ioctl(tap, SIOCGIFFLAGS, &ifr) == 0 && !(ifr.ifr_flags & IFF_UP)) {
		ifr.ifr_flags |= IFF_UP;
		if (tap_ioctl(tap, SIOCSIFFLAGS, &ifr) < 0)
			log_warn(&port->ctx->log, "port %s: interface %s is down, and may not be set up: %s",
				 config->name, tap->ifname, strerror(errno));
	}
	return 0;
}

/* The name of the line, which may be an alternative one of a tap that is there. */
static const char *
tap_name(const struct port_config *config)
{
	const struct tap_args *args = config->args;

	return args->ifname ? args->ifname : config->name;
}

static int
tap_open_all(struct tap *tap, struct port *port, const struct port_config *config, struct diag *diag)
{
	const struct tap_args *args = config->args;
	const char *ifname = tap_name(config);
	unsigned int lower;
	char lower_name[IF_NAMESIZE];
	int ret;

	tap->is_macvtap = args->macvtap;
	/* One that is there has its first name from here on. */
	if (tap->is_macvtap || !nic_kernel_find(ifname, tap->ifname))
		snprintf(tap->ifname, sizeof(tap->ifname), "%.15s", ifname);
	else if (strcmp(ifname, tap->ifname) != 0)
		tap->altname = ifname;
	if (tap->is_macvtap) {
		lower = nic_kernel_find(args->macvtap, lower_name);
		if (!lower)
			return nic_kernel_no_interface(config->name, args->macvtap, diag);
		if (macvtap_make(&tap->macvtap, lower, tap->ifname, config->n_queues) < 0)
			return tap_refuse(tap, config->name, "no macvtap", diag);
	}
	ret = kernel_buffers_open(&tap->buffers, port, config->n_queues, diag);
	if (ret < 0)
		return ret;
	if (port_queues_alloc(port, config->n_queues) < 0)
		return port_no_memory(config->name, diag);
	for (uint16_t i = 0; i < tap->n_queues; i++) {
		ret = tap_open_queue(tap, &tap->queues[i], diag, config->name);
		if (ret < 0)
			return ret;
		port->rxqs[i].rx = tap_rx;
		port->txqs[i].tx = tap_tx;
		port->txqs[i].accepts_borrowed = true;
		port->rxqs[i].dev = port->txqs[i].dev = &tap->queues[i];
	}
	ret = tap_set_up(tap, port, config, diag);
	if (ret < 0)
		return ret;
	if (nic_limit_open_kernel(&tap->limit, port, if_nametoindex(tap->ifname),
				  tap->is_macvtap ? NIC_LIMIT_MACVTAP : NIC_LIMIT_TAP, tap->queues[0].fd,
				  config->mtu) < 0)
		return port_no_memory(config->name, diag);
	return 0;
}

static void
tap_free(struct tap *tap)
{
	nic_limit_close(&tap->limit);
	for (uint16_t i = 0; tap->queues && i < tap->n_queues; i++) {
		struct tap_queue *queue = &tap->queues[i];

		if (queue->fd >= 0)
			close(queue->fd);
		kernel_room_free(&queue->room);
	}
	if (tap->is_macvtap)
		macvtap_remove(&tap->macvtap);
	kernel_buffers_close(&tap->buffers, tap->ctx);
	free(tap->queues);
	free(tap);
}

static int
tap_open(struct port *port, const struct port_config *config, struct diag *diag)
{
	const struct tap_args *args = config->args;
	const size_t size = config->n_queues * sizeof(struct tap_queue);
	struct tap *tap = calloc(1, sizeof(*tap));
	int ret = -ENOMEM;

	if (tap) {
		tap->ctx = port->ctx;
		tap->n_queues = config->n_queues;
		tap->capabilities = offloads_without(OFFLOADS_ALL, (uint32_t)args->without);
		tap->queues = aligned_alloc(RTE_CACHE_LINE_SIZE, size);
	}
	if (!tap || !tap->queues) {
		free(tap);
		return port_no_memory(config->name, diag);
	}
	memset(tap->queues, 0, size);
	for (uint16_t i = 0; i < tap->n_queues; i++)
		tap->queues[i].fd = -1;
	ret = tap_open_all(tap, port, config, diag);
	if (ret < 0) {
		port_queues_free(port);
		tap_free(tap);
		return ret;
	}
	tap->altname = NULL;
	port->dev = tap;
	atomic_store_explicit(&port->n_active, config->n_queues, memory_order_relaxed);
	snprintf(port->describe, sizeof(port->describe), "%s %s%s%s", tap->is_macvtap ? "macvtap" : "tap",
		 tap->ifname, tap->is_macvtap ? " of " : "", tap->is_macvtap ? args->macvtap : "");
	uplink_port_opened(port);
	return 0;
}

static void
tap_close(struct port *port)
{
	uplink_port_closing(port);
	tap_free(port->dev);
	port_queues_free(port);
}

static int
tap_check(struct port_config *config, struct diag *diag)
{
	const struct tap_args *args = config->args;
	const char *ifname = tap_name(config), *claimed = args->macvtap ? args->macvtap : ifname;
	char found[IF_NAMESIZE];
	const bool is_found = nic_kernel_find(claimed, found);

	/* Of one to be made: what the kernel refuses, and "%d", for which it would choose a number. */
	if (is_found && !args->macvtap)
		ifname = found;
	if (strlen(ifname) >= IF_NAMESIZE || strpbrk(ifname, "/: %") || strcmp(ifname, ".") == 0 ||
	    strcmp(ifname, "..") == 0)
		return diag_set(
			diag, -EINVAL,
			"ifname=INTERFACE, of at most 15 characters, without '/', ':', '%' and blanks",
			"port %s: '%.64s' is no name of an interface", config->name, ifname);
	if (args->macvtap && strlen(args->macvtap) > NIC_KERNEL_NAME_MAX)
		return diag_set(
			diag, -EINVAL, "a name of at most 15 characters, or an alternative name of 127",
			"port %s: macvtap: '%.64s' is no name of an interface", config->name, args->macvtap);
	if (args->macvtap &&
	    (args->persist || port_config_has(config, "owner") || port_config_has(config, "group")))
		return diag_set(diag, -EINVAL, "leave persist=, owner= and group= out",
				"port %s: a macvtap goes with its port", config->name);
	/* Of a macvtap's own name the kernel sees to it that there is one. */
	snprintf(config->resource, sizeof(config->resource), "interface %s", is_found ? found : claimed);
	return 0;
}

static void
tap_link(const struct port *port, struct port_link *ret_link)
{
	const struct tap *tap = port->dev;

	nic_limit_link(&tap->limit, ret_link);
}

static bool
tap_counters(const struct port *port, enum counter_class class, uint64_t ret_values[])
{
	struct tap *tap = port->dev;
	struct port_device_stats device = {0};

	if (class != COUNTERS_DEVICE)
		return false;
	nic_limit_lost(&tap->limit, &device);
	memcpy(ret_values, &device, sizeof(device));
	return true;
}

static uint32_t
tap_capabilities(const struct port *port)
{
	const struct tap *tap = port->dev;

	return tap->capabilities;
}

static struct port_kind tap_kind = {
	.name = "tap",
	.help = "an interface of the kernel whose other end is the port; or, by macvtap, all traffic of "
		"another one",
	.keys = tap_keys,
	.args_size = sizeof(struct tap_args),
	.check = tap_check,
	.demand = kernel_buffers_demand,
	.open = tap_open,
	.close = tap_close,
	.link = tap_link,
	.counters = tap_counters,
	.capabilities = tap_capabilities,
	.is_uplink = true,
};
PORT_KIND_REGISTER(tap_kind)
