/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * dgram: the port kind "dgram": a frame is a datagram, over UDP to one peer or to a group, or over a unix
 * socket; as QEMU's -netdev dgram and -netdev socket. No virtio-net header, so no frame that is not finished
 * goes out.
 *
 * Of a group's frames the port gets its own, too: they are known by the address that they come from, which is
 * that of a socket of their own.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ctx.h"
#include "kernel_frame.h"
#include "net_address.h"
#include "port.h"
#include "socket_buffer.h"
#include "software_offload.h"
#include "uplink.h"

enum {
	DGRAM_MAX = 65507, /* bytes of UDP's payload, over IPv4 */
	DGRAM_BUFFER = 4 << 20,
};

struct dgram_args {
	char *local, *remote;
};

static const struct key dgram_keys[] = {
	{"local", KEY_STRING, KEY_FIELD(struct dgram_args, local), .form = "ADDRESS",
	 .help = "where frames come to: HOST:PORT, or the path of a unix socket"},
	{"remote", KEY_STRING, KEY_FIELD(struct dgram_args, remote), .form = "ADDRESS",
	 .help = "where frames go; a multicast group is where they come from, too (needed)"},
	{0},
};

struct dgram {
	/* read by workers */
	struct vnic_ctx *ctx;
	struct kernel_buffers buffers;
	int in, out; /* one and the same but for a group */
	struct net_address remote;
	struct sockaddr_in own; /* where a group's member sends from; its port 0: no group */

	/* receive queue's owner */
	uint64_t idle_until __rte_cache_aligned;
	struct kernel_room room;

	/* transmit queue's owner */
	struct mmsghdr msgs[PORT_BURST] __rte_cache_aligned;
	struct iovec iov[PORT_BURST * KERNEL_FRAME_PIECES_MAX];

	/* control */
	char path[sizeof(
		((struct sockaddr_un *)0)->sun_path)]; /* of the unix socket that we have made; "": none */
};

/* --- worker ------------------------------------------------------------------------------------------------
 */

/* One datagram; 0: there is none now, or no packet buffer. *ret_pkt NULL: it was dropped, or is our own. */
static uint16_t
dgram_read(struct port_rxq *rxq, struct rte_mbuf **ret_pkt)
{
	struct dgram *dgram = rxq->dev;
	struct sockaddr_storage from;
	const struct sockaddr_in *in = (const struct sockaddr_in *)&from;
	struct iovec iov[2];
	struct msghdr msg = {.msg_name = &from, .msg_namelen = sizeof(from), .msg_iov = iov, .msg_iovlen = 2};
	ssize_t got;

	*ret_pkt = NULL;
	if (unlikely(!kernel_room_prepare(&dgram->room, &dgram->buffers, iov)))
		return 0;
	from.ss_family = AF_UNSPEC;
	got = recvmsg(dgram->in, &msg, MSG_DONTWAIT);
	/* Whoever we have sent to may have refused it: that is no end of anything. */
	if (got < 0)
		return errno == ECONNREFUSED;
	if (dgram->own.sin_port && from.ss_family == AF_INET && in->sin_port == dgram->own.sin_port &&
	    in->sin_addr.s_addr == dgram->own.sin_addr.s_addr)
		return 1;
	counter_add(&rxq->stats.packets, 1);
	counter_add(&rxq->stats.bytes, (uint64_t)got);
	if (likely(got >= RTE_ETHER_HDR_LEN && !(msg.msg_flags & MSG_TRUNC)))
		*ret_pkt = kernel_room_take(&dgram->room, (uint32_t)got);
	else
		port_rx_count_drop(rxq, got < RTE_ETHER_HDR_LEN ? DROP_RUNT : DROP_TRUNCATED, NULL, 1);
	return 1;
}

static uint16_t
dgram_rx(struct port_rxq *rxq, struct rte_mbuf **pkts, uint16_t n)
{
	struct dgram *dgram = rxq->dev;

	return kernel_frame_poll(rxq, &dgram->idle_until, dgram_read, pkts, n);
}

static enum port_drop
dgram_why(int error, bool *ret_goes_on)
{
	*ret_goes_on = false;
	switch (error) {
	case EMSGSIZE:
		*ret_goes_on = true;
		return DROP_TOO_LONG;
	case EFAULT: /* borrowed from a guest whose memory has gone from its file */
		*ret_goes_on = true;
		return DROP_MALFORMED;
	case EAGAIN:
	case ENOBUFS:
	case ENOMEM:
		return DROP_TX_FULL;
	default: /* ECONNREFUSED, ENOENT: nobody is there; ENETUNREACH */
		return DROP_LINK_DOWN;
	}
}

/* Frames that request nothing. */
static uint16_t
dgram_send(struct port_txq *txq, const void *ctx, struct rte_mbuf **pkts, uint16_t n)
{
	struct dgram *dgram = txq->dev;
	struct iovec *iov = dgram->iov;
	uint16_t n_kept = 0;

	for (uint16_t i = 0; i < n; i++) {
		struct rte_mbuf *pkt = pkts[i];
		unsigned int n_pieces = pkt->pkt_len > DGRAM_MAX ? 0 : kernel_frame_pieces(pkt, iov);

		if (unlikely(n_pieces == 0)) {
			port_tx_drop(txq, DROP_TOO_LONG, &pkt, 1);
			continue;
		}
		dgram->msgs[n_kept].msg_hdr = (struct msghdr){.msg_iov = iov,
							      .msg_iovlen = n_pieces,
							      .msg_name = &dgram->remote.any,
							      .msg_namelen = dgram->remote.len};
		iov += n_pieces;
		pkts[n_kept++] = pkt;
	}
	return kernel_frame_sendmmsg(txq, dgram->out, dgram->msgs, pkts, n_kept, dgram_why);
}

static uint16_t
dgram_tx(struct port_txq *txq, struct rte_mbuf **pkts, uint16_t n)
{
	const struct dgram *dgram = txq->dev;

	return kernel_frame_send(txq, &dgram->buffers, OFFLOADS_NONE, pkts, n, dgram_send);
}

/* --- control thread ---------------------------------------------------------------------------------------
 */

static int
dgram_socket(const struct net_address *address)
{
	int fd = socket(address->any.sa_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -1;
	socket_buffer_set(fd, SOCKET_BUFFER_IN, DGRAM_BUFFER);
	socket_buffer_set(fd, SOCKET_BUFFER_OUT, DGRAM_BUFFER);
	return fd;
}

/* A socket that nobody is bound to any more is in the way of ours. */
static bool
dgram_path_is_stale(const struct net_address *address)
{
	struct stat st;
	bool is_stale;
	int fd;

	if (lstat(address->unix_path.sun_path, &st) < 0 || !S_ISSOCK(st.st_mode))
		return false;
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	is_stale = fd >= 0 && connect(fd, &address->any, address->len) < 0 && errno == ECONNREFUSED;
	if (fd >= 0)
		close(fd);
	return is_stale;
}

static int
dgram_bind(struct dgram *dgram, const struct net_address *local)
{
	if (net_address_is_path(local) && dgram_path_is_stale(local))
		unlink(local->unix_path.sun_path);
	if (bind(dgram->in, &local->any, local->len) < 0)
		return -1;
	if (net_address_is_path(local))
		snprintf(dgram->path, sizeof(dgram->path), "%s", local->unix_path.sun_path);
	return 0;
}

/* `local` is the address of the interface to use, without a port; or none. */
static int
dgram_join(struct dgram *dgram, const struct net_address *local)
{
	const struct sockaddr_in *group = (const struct sockaddr_in *)&dgram->remote.room;
	const struct sockaddr_in *by = (const struct sockaddr_in *)&local->room;
	struct ip_mreq request = {.imr_multiaddr = group->sin_addr};
	struct sockaddr_in own = {.sin_family = AF_INET};
	socklen_t own_len = sizeof(own);
	const int on = 1;

	if (local->len && local->any.sa_family == AF_INET)
		request.imr_interface = own.sin_addr = by->sin_addr;
	dgram->out = dgram_socket(&dgram->remote);
	if (dgram->out < 0 || setsockopt(dgram->in, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
	    bind(dgram->in, &dgram->remote.any, dgram->remote.len) < 0 ||
	    setsockopt(dgram->in, IPPROTO_IP, IP_ADD_MEMBERSHIP, &request, sizeof(request)) < 0 ||
	    setsockopt(dgram->out, IPPROTO_IP, IP_MULTICAST_IF, &request.imr_interface,
		       sizeof(request.imr_interface)) < 0)
		return -1;
	/* The address that it gets is the one that ours come from. */
	if (connect(dgram->out, &dgram->remote.any, dgram->remote.len) < 0 ||
	    getsockname(dgram->out, (struct sockaddr *)&own, &own_len) < 0)
		return -1;
	dgram->own = own;
	return 0;
}

static int
dgram_open_sockets(struct dgram *dgram, const struct port_config *config, struct diag *diag)
{
	const struct dgram_args *args = config->args;
	const bool is_group = net_address_is_multicast(&dgram->remote);
	struct net_address local = {0};
	char object[PORT_NAME_SIZE + 16];
	int ret = 0;

	snprintf(object, sizeof(object), "port %s: local", config->name);
	if (args->local)
		ret = net_address_parse(&local, args->local, SOCK_DGRAM, object, diag);
	if (ret < 0)
		return ret;
	if (is_group && dgram->remote.any.sa_family != AF_INET)
		return diag_set(diag, -EINVAL, "a group of IPv4: remote=230.0.0.1:7000",
				"port %s: remote: groups of IPv6 are not joined", config->name);
	if (!args->local && !is_group)
		return diag_set(diag, -EINVAL, "local=:PORT, where the peer sends to",
				"port %s: without local= nothing comes from a peer", config->name);
	if (args->local && local.any.sa_family != dgram->remote.any.sa_family)
		return diag_set(diag, -EINVAL, "both of IPv4, both of IPv6, or two paths",
				"port %s: local and remote are of two families", config->name);
	dgram->in = dgram_socket(&dgram->remote);
	if (dgram->in >= 0)
		ret = is_group ? dgram_join(dgram, &local) : dgram_bind(dgram, &local);
	if (dgram->in < 0 || ret < 0) {
		int err = errno;

		return diag_set(diag, -err, err == EADDRINUSE ? "another local=ADDRESS" : "",
				"port %s: %s: %s", config->name, is_group ? args->remote : args->local,
				strerror(err));
	}
	if (!is_group)
		dgram->out = dgram->in;
	return 0;
}

static void
dgram_free(struct dgram *dgram)
{
	if (dgram->path[0])
		unlink(dgram->path);
	if (dgram->out >= 0 && dgram->out != dgram->in)
		close(dgram->out);
	if (dgram->in >= 0)
		close(dgram->in);
	kernel_room_free(&dgram->room);
	kernel_buffers_close(&dgram->buffers, dgram->ctx);
	free(dgram);
}

static int
dgram_open(struct port *port, const struct port_config *config, struct diag *diag)
{
	const struct dgram_args *args = config->args;
	const size_t size = RTE_ALIGN_CEIL(sizeof(struct dgram), RTE_CACHE_LINE_SIZE);
	struct dgram *dgram = aligned_alloc(RTE_CACHE_LINE_SIZE, size);
	char object[PORT_NAME_SIZE + 16];
	int ret;

	if (!dgram)
		return port_no_memory(config->name, diag);
	memset(dgram, 0, size);
	dgram->ctx = port->ctx;
	dgram->in = dgram->out = -1;
	snprintf(object, sizeof(object), "port %s: remote", config->name);
	ret = net_address_parse(&dgram->remote, args->remote, SOCK_DGRAM, object, diag);
	if (ret == 0)
		ret = dgram_open_sockets(dgram, config, diag);
	if (ret == 0)
		ret = kernel_buffers_open(&dgram->buffers, port, 1, diag);
	if (ret == 0 && port_queues_alloc(port, 1) < 0)
		ret = port_no_memory(config->name, diag);
	if (ret < 0) {
		dgram_free(dgram);
		return ret;
	}
	port->dev = dgram;
	port->rxqs[0].rx = dgram_rx;
	port->txqs[0].tx = dgram_tx;
	port->txqs[0].accepts_borrowed = true;
	port->rxqs[0].dev = port->txqs[0].dev = dgram;
	port_mac_from_config(port, config);
	atomic_store_explicit(&port->n_active, 1, memory_order_relaxed);
	snprintf(port->describe, sizeof(port->describe), "dgram, %s%.80s%sto %.80s",
		 args->local ? "from " : "", args->local ? args->local : "", args->local ? " " : "",
		 args->remote);
	uplink_port_opened(port);
	return 0;
}

static void
dgram_close(struct port *port)
{
	uplink_port_closing(port);
	dgram_free(port->dev);
	port_queues_free(port);
}

static int
dgram_check(struct port_config *config, struct diag *diag)
{
	const struct dgram_args *args = config->args;

	if (!args->remote)
		return diag_set(diag, -EINVAL,
				"remote=ADDRESS, for example local=:7000,remote=192.0.2.1:7000",
				"port %s: kind dgram needs a remote address", config->name);
	/* A group is both. */
	if (!args->local && strchr(args->remote, '/'))
		return diag_set(diag, -EINVAL, "local=/path/of/another.sock",
				"port %s: two unix sockets need two paths", config->name);
	if (config->n_queues != 1)
		return diag_set(diag, -EINVAL, "queues=1", "port %s: queues: one socket is one queue pair",
				config->name);
	if (args->local)
		snprintf(config->resource, sizeof(config->resource), "address %.150s", args->local);
	return 0;
}

static void
dgram_link(const struct port *port, struct port_link *ret_link)
{
	*ret_link =
		(struct port_link){.up = true, .speed = PORT_SPEED_UNKNOWN, .duplex = PORT_DUPLEX_UNKNOWN};
}

static struct port_kind dgram_kind = {
	.name = "dgram",
	.help = "frames as datagrams: UDP, to a peer or a multicast group, or a unix socket",
	.keys = dgram_keys,
	.args_size = sizeof(struct dgram_args),
	.check = dgram_check,
	.demand = kernel_buffers_demand,
	.open = dgram_open,
	.close = dgram_close,
	.link = dgram_link,
	.is_uplink = true,
};
PORT_KIND_REGISTER(dgram_kind)
