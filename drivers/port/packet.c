/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * packet: the port kind "packet": an interface of this machine's kernel by AF_PACKET. What the interface
 * receives comes in, what is sent to the port goes out on it; the host's own traffic over it is left alone.
 *
 *   in   a ring of places that the kernel fills (PACKET_RX_RING, TPACKET_V2), each for the longest frame:
 *        looked at without a system call
 *   out  sendmmsg() of a burst, from the mbufs
 *
 * Frames have the kernel's virtio-net header in front (PACKET_VNET_HDR): checksums and segments that somebody
 * else does are left to him, in both directions. See packet(7), and the kernel's
 * Documentation/networking/packet_mmap.rst for the ring.
 */
#include <errno.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "ctx.h"
#include "kernel_frame.h"
#include "loop.h"
#include "nic_limit.h"
#include "packet_sockets.h"
#include "port.h"
#include "software_offload.h"
#include "uplink.h"

enum {
	PACKET_RING_MIN = PACKET_BLOCK_PLACES,
	PACKET_RING_MAX = 8192,
};

static_assert(PACKET_PLACE - KERNEL_FRAME_MAX >= 512, "the kernel's header and alignment fit, too");

struct packet_args {
	char *ifname;
	uint16_t n_places;
	uint64_t without; /* offloads */
};

static const struct key packet_keys[] = {
	{"ifname", KEY_STRING, KEY_FIELD(struct packet_args, ifname), .form = "INTERFACE",
	 .help = "the kernel's interface (needed)"},
	{"ring", KEY_NUMBER, KEY_FIELD(struct packet_args, n_places), .min = PACKET_RING_MIN,
	 .max = PACKET_RING_MAX, .initial = "510",
	 .help = "frames of each queue that may wait, at 68 KiB of memory each (default 510)"},
	{"without", KEY_WORDS, KEY_FIELD(struct packet_args, without), .words = offload_names,
	 .n_words = OFFLOAD_N, .form = "OFFLOAD+...",
	 .help = "not left to the kernel, nor what needs it: tso4+uso4"},
	{0},
};

/* One socket, of one queue pair. The worker that has the receive queue writes the one half, and so on. */
struct packet_queue {
	/* read by workers */
	struct packet_socket *socket;
	struct packet *packet;

	/* receive queue's owner */
	uint32_t at __rte_cache_aligned; /* place */

	/* transmit queue's owner */
	struct mmsghdr msgs[PORT_BURST] __rte_cache_aligned;
	struct virtio_net_hdr headers[PORT_BURST];
	struct iovec iov[PORT_BURST * (KERNEL_FRAME_PIECES_MAX + 1)];

	/* control */
	uint64_t n_missed;
} __rte_cache_aligned;

struct packet {
	/* read by workers */
	struct vnic_ctx *ctx;
	struct kernel_buffers buffers;
	struct nic_limit limit;
	uint32_t n_places;
	uint32_t capabilities;

	/* control */
	char ifname[IF_NAMESIZE];
	uint16_t n_queues;
	struct packet_queue *queues; /* [n_queues] */
	struct packet_sockets *sockets;
	struct loop_watch *watch; /* of the rings that are being made; NULL: none is */
	const char *name;         /* the port's */
};

/* --- receive queue: owner ---------------------------------------------------------------------------------
 */

static struct tpacket2_hdr *
packet_place(const struct packet_queue *queue, uint8_t *ring)
{
	return (struct tpacket2_hdr *)(ring + (size_t)(queue->at / PACKET_BLOCK_PLACES) * PACKET_BLOCK +
				       (size_t)(queue->at % PACKET_BLOCK_PLACES) * PACKET_PLACE);
}

/* Put the tag back that the kernel has taken out. */
static bool
packet_tag(struct rte_mbuf *frame, const struct tpacket2_hdr *place)
{
	const uint16_t tpid =
		place->tp_status & TP_STATUS_VLAN_TPID_VALID ? place->tp_vlan_tpid : RTE_ETHER_TYPE_VLAN;
	const uint16_t words[2] = {rte_cpu_to_be_16(tpid), rte_cpu_to_be_16(place->tp_vlan_tci)};
	char *front = rte_pktmbuf_prepend(frame, sizeof(words));

	if (!front)
		return false;
	memmove(front, front + sizeof(words), 2 * RTE_ETHER_ADDR_LEN);
	memcpy(front + 2 * RTE_ETHER_ADDR_LEN, words, sizeof(words));
	return true;
}

/* The frame at a place; NULL: it is counted as dropped, or, when *ret_stop, there is no packet buffer now. */
static struct rte_mbuf *
packet_take(struct port_rxq *rxq, const struct packet_queue *queue, const struct tpacket2_hdr *place,
	    bool *ret_stop)
{
	const uint8_t *data = (const uint8_t *)place + place->tp_mac;
	const bool is_tagged = place->tp_status & TP_STATUS_VLAN_VALID;
	struct virtio_net_hdr hdr;
	struct rte_mbuf *frame;
	enum port_drop why;

	*ret_stop = false;
	if (unlikely(place->tp_snaplen < RTE_ETHER_HDR_LEN || place->tp_snaplen < place->tp_len ||
		     place->tp_snaplen > KERNEL_FRAME_MAX)) {
		why = place->tp_snaplen < RTE_ETHER_HDR_LEN ? DROP_RUNT : DROP_TRUNCATED;
		counter_add(&rxq->stats.packets, 1);
		counter_add(&rxq->stats.bytes, place->tp_snaplen);
		port_rx_count_drop(rxq, why, NULL, 1);
		return NULL;
	}
	frame = kernel_frame_copy(&queue->packet->buffers, data, place->tp_snaplen);
	if (unlikely(!frame)) {
		*ret_stop = true;
		return NULL;
	}
	memcpy(&hdr, data - sizeof(hdr), sizeof(hdr));
	counter_add(&rxq->stats.packets, 1);
	counter_add(&rxq->stats.bytes, place->tp_snaplen + (is_tagged ? RTE_VLAN_HLEN : 0));
	why = DROP_TRUNCATED;
	if (unlikely(is_tagged)) {
		/* Both are counted from the front of the frame. */
		hdr.csum_start += RTE_VLAN_HLEN;
		hdr.hdr_len += RTE_VLAN_HLEN;
		if (!packet_tag(frame, place))
			goto drop;
	}
	if (likely(kernel_frame_request(frame, &hdr)))
		return frame;
	why = kernel_frame_refused(frame, &hdr);
drop:
	port_rx_drop(rxq, why, &frame, 1);
	return NULL;
}

static uint16_t
packet_rx(struct port_rxq *rxq, struct rte_mbuf **pkts, uint16_t n)
{
	struct packet_queue *queue = rxq->dev;
	const uint32_t n_places = queue->packet->n_places;
	/* Acquire: pairs with the release of who has made it. */
	uint8_t *ring = atomic_load_explicit(&queue->socket->ring, memory_order_acquire);
	uint16_t n_taken = 0;
	bool stops = false;

	if (unlikely(!ring))
		return 0;
	/* Those that are dropped here, too: the kernel may be as fast as we are. */
	for (uint16_t i = 0; i < n; i++) {
		struct tpacket2_hdr *place = packet_place(queue, ring);

		/* Acquire: pairs with the kernel's barrier before it hands the place over. */
		if (!(__atomic_load_n(&place->tp_status, __ATOMIC_ACQUIRE) & TP_STATUS_USER))
			break;
		pkts[n_taken] = packet_take(rxq, queue, place, &stops);
		if (unlikely(stops))
			break;
		n_taken += pkts[n_taken] != NULL;
		__atomic_store_n(&place->tp_status, TP_STATUS_KERNEL, __ATOMIC_RELEASE);
		if (++queue->at == n_places)
			queue->at = 0;
	}
	return n_taken;
}

/* --- transmit queue: owner --------------------------------------------------------------------------------
 */

/* Why the kernel does not take a frame, and whether it takes those after it. */
static enum port_drop
packet_why(int error, bool *ret_goes_on)
{
	*ret_goes_on = true;
	switch (error) {
	case EMSGSIZE:
		return DROP_TOO_LONG;
	case EINVAL:
		return DROP_BAD_OFFLOAD;
	case EFAULT: /* borrowed from a guest whose memory has gone from its file */
		return DROP_MALFORMED;
	case ENOBUFS: /* a queueing discipline, or a filter, did not want this one */
		return DROP_TX_FULL;
	case EAGAIN:
	case ENOMEM:
		*ret_goes_on = false;
		return DROP_TX_FULL;
	default: /* ENETDOWN, ENXIO, ENODEV */
		*ret_goes_on = false;
		return DROP_LINK_DOWN;
	}
}

/* Those that are not too long, to the front; the others are counted. */
static uint16_t
packet_fit(struct port_txq *txq, uint32_t frame_max, struct rte_mbuf **pkts, uint16_t n)
{
	const struct packet_queue *queue = txq->dev;
	uint16_t n_kept = 0;

	for (uint16_t i = 0; i < n; i++) {
		struct rte_mbuf *pkt = pkts[i];

		if (likely(kernel_frame_fits(pkt, frame_max, &queue->packet->limit)))
			pkts[n_kept++] = pkt;
		else
			port_tx_drop(txq, DROP_TOO_LONG, &pkt, 1);
	}
	return n_kept;
}

/* Frames that request nothing that the kernel does not do. */
static uint16_t
packet_send(struct port_txq *txq, const void *ctx, struct rte_mbuf **pkts, uint16_t n)
{
	struct packet_queue *queue = txq->dev;
	struct packet *packet = queue->packet;
	const uint32_t frame_max = atomic_load_explicit(&packet->limit.frame_max, memory_order_relaxed);
	struct iovec *iov = queue->iov;

	n = packet_fit(txq, frame_max, pkts, n);
	for (uint16_t i = 0; i < n; i++) {
		queue->headers[i] = kernel_frame_header(pkts[i]);
		iov[0] = (struct iovec){.iov_base = &queue->headers[i], .iov_len = sizeof(queue->headers[i])};
		queue->msgs[i].msg_hdr = (struct msghdr){
			.msg_iov = iov, .msg_iovlen = 1 + kernel_frame_pieces(pkts[i], iov + 1)};
		iov += queue->msgs[i].msg_hdr.msg_iovlen;
	}
	return kernel_frame_sendmmsg(txq, queue->socket->fd, queue->msgs, pkts, n, packet_why);
}

static uint16_t
packet_tx(struct port_txq *txq, struct rte_mbuf **pkts, uint16_t n)
{
	const struct packet_queue *queue = txq->dev;
	const struct packet *packet = queue->packet;

	if (unlikely(atomic_load_explicit(&packet->limit.frame_max, memory_order_relaxed) == 0)) {
		port_tx_drop(txq, DROP_LINK_DOWN, pkts, n);
		return 0;
	}
	return kernel_frame_send(txq, &packet->buffers, packet->capabilities, pkts, n, packet_send);
}

/* --- control thread ---------------------------------------------------------------------------------------
 */

/* All rings are there, or not. */
static void
packet_rings_done(void *arg, uint32_t events)
{
	struct packet *packet = arg;

	packet_sockets_done(packet->sockets, packet->name, &packet->ctx->log);
	loop_watch_remove(packet->watch);
	packet->watch = NULL;
}

static int
packet_open_sockets(struct packet *packet, struct port *port, struct diag *diag)
{
	struct loop *loop = port->ctx->loop;
	int ret = packet_sockets_open(&packet->sockets, port->name, packet->limit.kernel.if_index,
				      packet->ifname, packet->n_queues, packet->n_places, loop, diag);

	if (ret < 0)
		return ret;
	if (packet->sockets->done_fd >= 0) {
		packet->watch =
			loop_watch_add(loop, packet->sockets->done_fd, EPOLLIN, packet_rings_done, packet);
		if (!packet->watch)
			return port_no_memory(port->name, diag);
	}
	for (uint16_t i = 0; i < packet->n_queues; i++) {
		packet->queues[i].packet = packet;
		packet->queues[i].socket = &packet->sockets->each[i];
		port->rxqs[i].rx = packet_rx;
		port->txqs[i].tx = packet_tx;
		port->txqs[i].accepts_borrowed = true;
		port->rxqs[i].dev = port->txqs[i].dev = &packet->queues[i];
	}
	return 0;
}

static void
packet_free(struct packet *packet)
{
	nic_limit_close(&packet->limit);
	loop_watch_remove(packet->watch);
	packet_sockets_close(packet->sockets);
	kernel_buffers_close(&packet->buffers, packet->ctx);
	free(packet->queues);
	free(packet);
}

/* Its address and that it is an Ethernet. */
static int
packet_read_interface(const struct packet *packet, struct port *port, const struct port_config *config,
		      struct diag *diag)
{
	struct ifreq ifr = {0};

	memcpy(ifr.ifr_name, packet->ifname, sizeof(ifr.ifr_name));
	if (nic_kernel_ioctl(SIOCGIFHWADDR, &ifr) < 0)
		return diag_set(diag, -errno, "", "port %s: interface %s: its address: %s", config->name,
				packet->ifname, strerror(errno));
	if (ifr.ifr_hwaddr.sa_family != ARPHRD_ETHER)
		return diag_set(diag, -EINVAL, "name an Ethernet interface: ifname=eth1",
				"port %s: interface %s is no Ethernet", config->name, packet->ifname);
	memcpy(&port->mac, ifr.ifr_hwaddr.sa_data, RTE_ETHER_ADDR_LEN);
	return 0;
}

static int
packet_open_all(struct packet *packet, struct port *port, const struct port_config *config, struct diag *diag)
{
	const struct packet_args *args = config->args;
	const unsigned int if_index = nic_kernel_find(args->ifname, packet->ifname);
	int ret;

	if (!if_index)
		return nic_kernel_no_interface(config->name, args->ifname, diag);
	ret = packet_read_interface(packet, port, config, diag);
	if (ret < 0)
		return ret;
	ret = kernel_buffers_open(&packet->buffers, port, config->n_queues, diag);
	if (ret < 0)
		return ret;
	if (nic_limit_open_kernel(&packet->limit, port, if_index, NIC_LIMIT_PACKET_SOCKET, -1, config->mtu) <
		    0 ||
	    port_queues_alloc(port, config->n_queues) < 0)
		return port_no_memory(config->name, diag);
	return packet_open_sockets(packet, port, diag);
}

static int
packet_open(struct port *port, const struct port_config *config, struct diag *diag)
{
	const struct packet_args *args = config->args;
	const size_t size = config->n_queues * sizeof(struct packet_queue);
	struct packet *packet = calloc(1, sizeof(*packet));
	int ret;

	if (!packet)
		return port_no_memory(config->name, diag);
	packet->ctx = port->ctx;
	packet->n_queues = config->n_queues;
	packet->capabilities = offloads_without(kernel_frame_capabilities(), (uint32_t)args->without);
	packet->name = port->name;
	packet->n_places = args->n_places / PACKET_BLOCK_PLACES * PACKET_BLOCK_PLACES;
	packet->queues = aligned_alloc(RTE_CACHE_LINE_SIZE, size);
	if (packet->queues) {
		memset(packet->queues, 0, size);
		ret = packet_open_all(packet, port, config, diag);
	} else {
		ret = port_no_memory(config->name, diag);
	}
	if (ret < 0) {
		port_queues_free(port);
		packet_free(packet);
		return ret;
	}
	port->dev = packet;
	atomic_store_explicit(&port->n_active, config->n_queues, memory_order_relaxed);
	snprintf(port->describe, sizeof(port->describe), "interface %s", packet->ifname);
	uplink_port_opened(port);
	return 0;
}

static void
packet_close(struct port *port)
{
	uplink_port_closing(port);
	packet_free(port->dev);
	port_queues_free(port);
}

static int
packet_check(struct port_config *config, struct diag *diag)
{
	const struct packet_args *args = config->args;
	char ifname[IF_NAMESIZE];

	if (!args->ifname)
		return diag_set(diag, -EINVAL, "ifname=INTERFACE, for example ifname=eth1",
				"port %s: kind packet needs an interface", config->name);
	if (strlen(args->ifname) > NIC_KERNEL_NAME_MAX)
		return diag_set(diag, -EINVAL,
				"a name of at most 15 characters, or an alternative name of 127",
				"port %s: ifname: '%.64s...' is too long for an interface", config->name,
				args->ifname);
	if (config->has_mac)
		return diag_set(diag, -EINVAL, "leave mac= out: the interface has an address",
				"port %s: mac: the address of a kernel's interface is the kernel's",
				config->name);
	/* One interface is one whatever it is called; one that is not there has the name that was given. */
	snprintf(config->resource, sizeof(config->resource), "interface %s",
		 nic_kernel_find(args->ifname, ifname) ? ifname : args->ifname);
	return 0;
}

static void
packet_link(const struct port *port, struct port_link *ret_link)
{
	const struct packet *packet = port->dev;

	nic_limit_link(&packet->limit, ret_link);
	/* A long ring is still being made. */
	ret_link->up = ret_link->up && packet_sockets_receive(packet->sockets);
}

/* Asking for them sets them back. */
static bool
packet_counters(const struct port *port, enum counter_class class, uint64_t ret_values[])
{
	struct packet *packet = port->dev;
	struct port_device_stats device = {0};

	if (class != COUNTERS_DEVICE)
		return false;
	for (uint16_t i = 0; i < packet->n_queues; i++) {
		struct tpacket_stats stats;
		socklen_t size = sizeof(stats);

		if (getsockopt(packet->sockets->each[i].fd, SOL_PACKET, PACKET_STATISTICS, &stats, &size) ==
		    0)
			packet->queues[i].n_missed += stats.tp_drops;
		device.imissed += packet->queues[i].n_missed;
	}
	nic_limit_lost(&packet->limit, &device);
	memcpy(ret_values, &device, sizeof(device));
	return true;
}

static uint32_t
packet_capabilities(const struct port *port)
{
	const struct packet *packet = port->dev;

	return packet->capabilities;
}

static struct port_kind packet_kind = {
	.name = "packet",
	.help = "an interface of the kernel, by AF_PACKET: with checksums and segments left to whoever does "
		"them",
	.example = "packet,ifname=eth1",
	.keys = packet_keys,
	.args_size = sizeof(struct packet_args),
	.check = packet_check,
	.demand = kernel_buffers_demand,
	.open = packet_open,
	.close = packet_close,
	.link = packet_link,
	.counters = packet_counters,
	.capabilities = packet_capabilities,
	.is_uplink = true,
};
PORT_KIND_REGISTER(packet_kind)
