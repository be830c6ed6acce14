/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * stream: the port kind "stream": frames over a TCP connection, or one by a unix socket, to another vnicd, a
 * QEMU (-netdev stream, -netdev socket) or whoever else speaks so: before each frame its length, four bytes
 * in network order. No virtio-net header, so no frame that is not finished goes out.
 *
 *   control thread   listens, or connects and connects again, and publishes the connection
 *   worker           reads into a buffer and takes whole frames out of it; puts frames into another one and
 *                    writes it; says when the connection has ended
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <rte_byteorder.h>
#include <rte_cycles.h>

#include "ctx.h"
#include "events.h"
#include "kernel_frame.h"
#include "loop.h"
#include "net_address.h"
#include "port.h"
#include "software_offload.h"
#include "uplink.h"
#include "usocket.h"

enum {
	STREAM_BUFFER = 1 << 20, /* bytes of a direction that may wait here */
	STREAM_READ = 256 << 10, /* bytes that a poll takes of the kernel: others wait */
	STREAM_LEN_SIZE = 4,
	STREAM_FRAME_MAX = KERNEL_FRAME_MAX,
	STREAM_LOOK_MS = 20,
	STREAM_RETRY_MS = 1000, /* after the first failure; twice as long after each */
	STREAM_RETRY_MAX_MS = 30000,
	STREAM_BACKLOG = 8,
};

static_assert(STREAM_BUFFER - STREAM_LEN_SIZE - STREAM_FRAME_MAX > 0, "whoever reads has room to read to");

struct stream_args {
	char *listen;
	char *connect;
};

static const struct key stream_keys[] = {
	{"listen", KEY_STRING, KEY_FIELD(struct stream_args, listen), .form = "ADDRESS",
	 .help = "where one peer is waited for: HOST:PORT, or the path of a unix socket"},
	{"connect", KEY_STRING, KEY_FIELD(struct stream_args, connect), .form = "ADDRESS",
	 .help = "where the peer listens, who is tried again and again"},
	{0},
};

enum stream_state {
	STREAM_IDLE,       /* nobody is connected */
	STREAM_CONNECTING, /* client: under way */
	STREAM_CONNECTED,
	STREAM_CLOSING, /* unpublished, but a worker may still see it */
};

/* Written by the control thread, read by workers. Two with one number have another serial. */
#define STREAM_NONE UINT64_C(0)
#define STREAM_CONNECTION(serial, fd) ((uint64_t)(serial) << 32 | ((uint32_t)(fd) + 1))
#define STREAM_FD(connection) ((int)((uint32_t)(connection)-1))

/* What waits between a worker and the connection. */
struct stream_buffer {
	uint64_t connection; /* whose bytes these are */
	uint64_t idle_until; /* by the TSC: until then the kernel is not asked */
	uint32_t start, end;
	uint8_t *bytes; /* [STREAM_BUFFER] */
};

enum stream_record {
	STREAM_FRAME,
	STREAM_RUNT,       /* counted and gone */
	STREAM_INCOMPLETE, /* more has to be read */
	STREAM_STOP,       /* there is no packet buffer now, or the connection has ended */
};

struct stream {
	/* read by workers */
	struct vnic_ctx *ctx;
	_Atomic uint64_t connection; /* STREAM_NONE: none */
	struct kernel_buffers buffers;
	const struct port *port;

	struct stream_buffer in __rte_cache_aligned;  /* the receive queue's owner's */
	struct stream_buffer out __rte_cache_aligned; /* the transmit queue's owner's */

	/* written by workers: it has ended, and how: 0 the peer has, or errno */
	_Atomic uint64_t ended __rte_cache_aligned;
	_Atomic int ended_how;

	/* control */
	enum stream_state state;
	bool is_server;
	struct net_address address;
	struct usocket listener;  /* server by path; fd -1: not */
	int listen_fd;            /* server by address; -1: not */
	struct loop_watch *watch; /* of who comes, or of the connection that is being made */
	struct loop_timer *timer;
	int fd;
	uint32_t serial;
	uint64_t token; /* of the quiescence that closing waits for */
	uint64_t retry_at_ms;
	unsigned int retry_ms;
	char peer[NET_ADDRESS_TEXT];
	struct log_limit log, refused_log;
};

/* --- worker ------------------------------------------------------------------------------------------------
 */

static void
stream_end(struct stream *stream, uint64_t connection, int how)
{
	atomic_store_explicit(&stream->ended_how, how, memory_order_relaxed);
	atomic_store_explicit(&stream->ended, connection, memory_order_release);
}

/* There is nothing to read, or no room to write: later, or, by `error` (0: the peer has ended it), never. */
static void
stream_wait(struct stream *stream, struct stream_buffer *buffer, uint64_t connection, int error)
{
	buffer->idle_until = kernel_idle_until();
	if (error != EAGAIN && error != EINTR)
		stream_end(stream, connection, error);
}

/* What waits moves to the front: all the room there is comes behind it. */
static void
stream_compact(struct stream_buffer *buffer)
{
	memmove(buffer->bytes, buffer->bytes + buffer->start, buffer->end - buffer->start);
	buffer->end -= buffer->start;
	buffer->start = 0;
}

/* The connection that `buffer` is for now; STREAM_NONE: there is none, or it has ended. */
static uint64_t
stream_connection(struct stream *stream, struct stream_buffer *buffer)
{
	const uint64_t connection = atomic_load_explicit(&stream->connection, memory_order_acquire);

	if (unlikely(connection != buffer->connection)) {
		buffer->connection = connection;
		buffer->start = buffer->end = 0;
		buffer->idle_until = 0;
	}
	if (unlikely(connection == atomic_load_explicit(&stream->ended, memory_order_relaxed)))
		return STREAM_NONE;
	return connection;
}

/* More of what the peer has sent. */
static void
stream_read(struct port_rxq *rxq, struct stream *stream, uint64_t connection)
{
	struct stream_buffer *in = &stream->in;
	ssize_t got;

	if (rte_rdtsc() < in->idle_until)
		return;
	if (in->start)
		stream_compact(in);
	quiesce_leave(&stream->ctx->quiesce, rxq->worker, &rxq->place);
	got = recv(STREAM_FD(connection), in->bytes + in->end,
		   RTE_MIN(STREAM_BUFFER - in->end, (uint32_t)STREAM_READ), MSG_DONTWAIT);
	quiesce_return(&stream->ctx->quiesce, rxq->worker);
	if (got > 0)
		in->end += (uint32_t)got;
	else
		stream_wait(stream, in, connection, got == 0 ? 0 : errno);
}

/* The next whole record of the buffer; *ret_frame is set for a frame. */
static enum stream_record
stream_take(struct port_rxq *rxq, struct stream *stream, uint64_t connection, struct rte_mbuf **ret_frame)
{
	struct stream_buffer *in = &stream->in;
	enum stream_record record = STREAM_FRAME;
	uint32_t len;

	if (in->end - in->start < STREAM_LEN_SIZE)
		return STREAM_INCOMPLETE;
	memcpy(&len, in->bytes + in->start, sizeof(len));
	len = rte_be_to_cpu_32(len);
	if (unlikely(len > STREAM_FRAME_MAX)) {
		/* Where the next frame begins can't be known any more. */
		stream_end(stream, connection, EMSGSIZE);
		in->start = in->end = 0;
		return STREAM_STOP;
	}
	if (in->end - in->start - STREAM_LEN_SIZE < len)
		return STREAM_INCOMPLETE;
	if (unlikely(len < RTE_ETHER_HDR_LEN)) {
		port_rx_count_drop(rxq, DROP_RUNT, NULL, 1);
		record = STREAM_RUNT;
	} else {
		*ret_frame =
			kernel_frame_copy(&stream->buffers, in->bytes + in->start + STREAM_LEN_SIZE, len);
		if (unlikely(!*ret_frame))
			return STREAM_STOP;
	}
	in->start += STREAM_LEN_SIZE + len;
	counter_add(&rxq->stats.packets, 1);
	counter_add(&rxq->stats.bytes, len);
	return record;
}

static uint16_t
stream_rx(struct port_rxq *rxq, struct rte_mbuf **pkts, uint16_t n)
{
	struct stream *stream = rxq->dev;
	const uint64_t connection = stream_connection(stream, &stream->in);
	uint16_t n_taken = 0;
	bool has_read = false;

	if (connection == STREAM_NONE)
		return 0;
	/* Runts count, too: the peer could fill the buffer with them. */
	for (uint16_t n_records = 0; n_records < n;) {
		switch (stream_take(rxq, stream, connection, &pkts[n_taken])) {
		case STREAM_FRAME:
			n_taken++;
			n_records++;
			break;
		case STREAM_RUNT:
			n_records++;
			break;
		case STREAM_INCOMPLETE:
			if (has_read)
				return n_taken;
			has_read = true;
			stream_read(rxq, stream, connection);
			break;
		case STREAM_STOP:
			return n_taken;
		}
	}
	return n_taken;
}

static void
stream_flush(struct port_txq *txq, struct stream *stream, uint64_t connection)
{
	struct stream_buffer *out = &stream->out;
	ssize_t sent;

	if (out->start == out->end || rte_rdtsc() < out->idle_until)
		return;
	quiesce_leave(&stream->ctx->quiesce, txq->worker, &txq->place);
	sent = send(STREAM_FD(connection), out->bytes + out->start, out->end - out->start,
		    MSG_DONTWAIT | MSG_NOSIGNAL);
	quiesce_return(&stream->ctx->quiesce, txq->worker);
	if (likely(sent > 0)) {
		out->start += (uint32_t)sent;
		if (out->start == out->end)
			out->start = out->end = 0;
		return;
	}
	stream_wait(stream, out, connection, errno);
}

/* Room for so many bytes at the end of what waits. */
static bool
stream_make_room(struct stream_buffer *out, uint32_t len)
{
	if (likely(STREAM_BUFFER - out->end >= len))
		return true;
	if (STREAM_BUFFER - (out->end - out->start) < len)
		return false;
	stream_compact(out);
	return true;
}

static void
stream_put(struct stream_buffer *out, const struct rte_mbuf *pkt)
{
	const uint32_t len = rte_cpu_to_be_32(pkt->pkt_len);

	memcpy(out->bytes + out->end, &len, sizeof(len));
	out->end += sizeof(len);
	for (; pkt; pkt = pkt->next) {
		memcpy(out->bytes + out->end, rte_pktmbuf_mtod(pkt, const void *), pkt->data_len);
		out->end += pkt->data_len;
	}
}

/* Frames that request nothing. */
static uint16_t
stream_send(struct port_txq *txq, const void *ctx, struct rte_mbuf **pkts, uint16_t n)
{
	struct stream *stream = txq->dev;
	struct stream_buffer *out = &stream->out;
	uint16_t n_sent = 0;
	uint64_t bytes = 0;

	for (uint16_t i = 0; i < n; i++) {
		struct rte_mbuf *pkt = pkts[i];

		if (unlikely(pkt->pkt_len > STREAM_FRAME_MAX)) {
			port_tx_drop(txq, DROP_TOO_LONG, &pkt, 1);
			continue;
		}
		/* The peer may have read some since. */
		if (unlikely(!stream_make_room(out, STREAM_LEN_SIZE + pkt->pkt_len)))
			stream_flush(txq, stream, out->connection);
		if (unlikely(!stream_make_room(out, STREAM_LEN_SIZE + pkt->pkt_len))) {
			port_tx_drop(txq, DROP_TX_FULL, &pkt, 1);
			continue;
		}
		stream_put(out, pkt);
		bytes += pkt->pkt_len;
		n_sent++;
		rte_pktmbuf_free(pkt);
	}
	counter_add(&txq->stats.packets, n_sent);
	counter_add(&txq->stats.bytes, bytes);
	return n_sent;
}

static uint16_t
stream_tx(struct port_txq *txq, struct rte_mbuf **pkts, uint16_t n)
{
	struct stream *stream = txq->dev;
	const uint64_t connection = stream_connection(stream, &stream->out);

	if (connection == STREAM_NONE) {
		port_tx_drop(txq, DROP_LINK_DOWN, pkts, n);
		return 0;
	}
	return kernel_frame_send(txq, &stream->buffers, OFFLOADS_NONE, pkts, n, stream_send);
}

/* What bursts of this iteration have gathered, and what the peer has not taken before. */
static void
stream_service(struct port_txq *txq)
{
	struct stream *stream = txq->dev;
	const uint64_t connection = stream_connection(stream, &stream->out);

	if (connection != STREAM_NONE)
		stream_flush(txq, stream, connection);
}

/* --- control thread: connections --------------------------------------------------------------------------
 */

/* Of the connection that is being closed. */
static bool
stream_is_held(const void *arg, unsigned int worker)
{
	const struct stream *stream = arg;

	return stream->port->rxqs[0].worker == worker || stream->port->txqs[0].worker == worker;
}

static void
stream_connected(struct stream *stream, int fd, const struct net_address *peer)
{
	const int on = 1;

	/* Not so of a unix socket. */
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
	net_address_print(peer, stream->peer);
	stream->fd = fd;
	stream->state = STREAM_CONNECTED;
	stream->retry_ms = STREAM_RETRY_MS;
	stream->serial++;
	atomic_store_explicit(&stream->connection, STREAM_CONNECTION(stream->serial, fd),
			      memory_order_release);
	event_record(stream->ctx, EVENT_CONNECTED, stream->port->name, "connected to %s", stream->peer);
	log_limited(&stream->ctx->log, &stream->log, LOG_LEVEL_INFO, "port %s: connected to %s",
		    stream->port->name, stream->peer);
}

/* The next attempt is due in a while. */
static void
stream_failed(struct stream *stream, int err)
{
	log_limited(&stream->ctx->log, &stream->log, LOG_LEVEL_INFO, "port %s: no connection to %s: %s",
		    stream->port->name, stream->peer, strerror(err));
	stream->state = STREAM_IDLE;
	stream->retry_at_ms = loop_now_ms() + stream->retry_ms;
	stream->retry_ms = RTE_MIN(2 * stream->retry_ms, (unsigned int)STREAM_RETRY_MAX_MS);
}

/* Client: the kernel knows how it went. */
static void
stream_on_connected(void *arg, uint32_t events)
{
	struct stream *stream = arg;
	int err = 0;
	socklen_t size = sizeof(err);

	loop_watch_remove(stream->watch);
	stream->watch = NULL;
	if (getsockopt(stream->fd, SOL_SOCKET, SO_ERROR, &err, &size) < 0)
		err = errno;
	if (err == 0) {
		stream_connected(stream, stream->fd, &stream->address);
		return;
	}
	close(stream->fd);
	stream->fd = -1;
	stream_failed(stream, err);
}

static void
stream_connect(struct stream *stream)
{
	int err;

	net_address_print(&stream->address, stream->peer);
	stream->fd = socket(stream->address.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (stream->fd < 0) {
		stream_failed(stream, errno);
		return;
	}
	if (connect(stream->fd, &stream->address.any, stream->address.len) == 0) {
		stream_connected(stream, stream->fd, &stream->address);
		return;
	}
	err = errno;
	if (err == EINPROGRESS) {
		stream->watch =
			loop_watch_add(stream->ctx->loop, stream->fd, EPOLLOUT, stream_on_connected, stream);
		if (stream->watch) {
			stream->state = STREAM_CONNECTING;
			return;
		}
		err = errno;
	}
	close(stream->fd);
	stream->fd = -1;
	stream_failed(stream, err);
}

/* Server. One peer: whoever else comes is told by the end of the connection. */
static void
stream_on_peer(void *arg, uint32_t events)
{
	struct stream *stream = arg;
	const int listener = stream->listen_fd >= 0 ? stream->listen_fd : stream->listener.fd;
	struct net_address peer = {.len = sizeof(peer.room)};
	char text[NET_ADDRESS_TEXT];
	int fd = accept4(listener, &peer.any, &peer.len, SOCK_NONBLOCK | SOCK_CLOEXEC);

	if (fd < 0)
		return;
	if (stream->state == STREAM_IDLE) {
		stream_connected(stream, fd, &peer);
		return;
	}
	net_address_print(&peer, text);
	log_limited(&stream->ctx->log, &stream->refused_log, LOG_LEVEL_WARN,
		    "port %s: %s is sent away, for %s is connected: a port has one peer", stream->port->name,
		    text, stream->peer);
	close(fd);
}

static void
stream_look(void *arg)
{
	struct stream *stream = arg;
	const uint64_t connection = atomic_load_explicit(&stream->connection, memory_order_relaxed);

	/* Acquire: pairs with the release of who has seen it end. */
	if (stream->state == STREAM_CONNECTED &&
	    atomic_load_explicit(&stream->ended, memory_order_acquire) == connection) {
		int how = atomic_load_explicit(&stream->ended_how, memory_order_relaxed);

		log_limited(&stream->ctx->log, &stream->log, LOG_LEVEL_INFO,
			    "port %s: connection to %s ended: %s", stream->port->name, stream->peer,
			    how == EMSGSIZE ? "it says that a frame is longer than frames are"
			    : how           ? strerror(how)
					    : "by the peer");
		atomic_store_explicit(&stream->connection, STREAM_NONE, memory_order_release);
		stream->token = quiesce_start(&stream->ctx->quiesce);
		stream->state = STREAM_CLOSING;
		/* Who comes now waits in the kernel's queue, and is the next. */
		if (stream->is_server)
			loop_watch_set(stream->watch, 0);
	}
	if (stream->state == STREAM_CLOSING &&
	    quiesce_passed(&stream->ctx->quiesce, stream->token, stream_is_held, stream)) {
		close(stream->fd);
		stream->fd = -1;
		stream->state = STREAM_IDLE;
		stream->retry_at_ms = loop_now_ms() + stream->retry_ms;
		if (stream->is_server)
			loop_watch_set(stream->watch, EPOLLIN);
	}
	if (stream->state == STREAM_IDLE && !stream->is_server && loop_now_ms() >= stream->retry_at_ms)
		stream_connect(stream);
}

/* --- control thread: the port -----------------------------------------------------------------------------
 */

static int
stream_listen(struct stream *stream, const char *name, const char *text, struct diag *diag)
{
	const int on = 1;
	int fd;

	if (net_address_is_path(&stream->address)) {
		int ret = usocket_listen(stream->ctx, &stream->listener, stream->address.unix_path.sun_path,
					 STREAM_BACKLOG, &port_env.socket_perms, diag);

		if (ret < 0)
			stream->listener.fd = -1;
		return ret;
	}
	fd = socket(stream->address.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0 &&
	    bind(fd, &stream->address.any, stream->address.len) == 0 && listen(fd, STREAM_BACKLOG) == 0) {
		stream->listen_fd = fd;
		return 0;
	}
	fd = errno;
	return diag_set(diag, -fd, fd == EADDRINUSE ? "another port number, or is somebody still there?" : "",
			"port %s: listen: %s: %s", name, text, strerror(fd));
}

static int
stream_open_all(struct stream *stream, struct port *port, const struct port_config *config, struct diag *diag)
{
	const struct stream_args *args = config->args;
	const char *text = args->listen ? args->listen : args->connect;
	char object[PORT_NAME_SIZE + 16];
	int ret;

	snprintf(object, sizeof(object), "port %s: %s", config->name, args->listen ? "listen" : "connect");
	ret = net_address_parse(&stream->address, text, SOCK_STREAM, object, diag);
	if (ret == 0)
		ret = kernel_buffers_open(&stream->buffers, port, 1, diag);
	if (ret == 0 && stream->is_server)
		ret = stream_listen(stream, config->name, text, diag);
	if (ret < 0)
		return ret;
	stream->in.bytes = malloc(STREAM_BUFFER);
	stream->out.bytes = malloc(STREAM_BUFFER);
	if (!stream->in.bytes || !stream->out.bytes || port_queues_alloc(port, 1) < 0)
		return -ENOMEM;
	port->rxqs[0].rx = stream_rx;
	port->txqs[0].tx = stream_tx;
	port->txqs[0].service = stream_service;
	port->rxqs[0].dev = port->txqs[0].dev = stream;
	if (stream->is_server) {
		int fd = stream->listen_fd >= 0 ? stream->listen_fd : stream->listener.fd;

		stream->watch = loop_watch_add(port->ctx->loop, fd, EPOLLIN, stream_on_peer, stream);
		if (!stream->watch)
			return -ENOMEM;
	}
	stream->timer = loop_timer_add(port->ctx->loop, 0, STREAM_LOOK_MS, stream_look, stream);
	return stream->timer ? 0 : -ENOMEM;
}

static void
stream_free(struct stream *stream)
{
	loop_timer_remove(stream->timer);
	loop_watch_remove(stream->watch);
	if (stream->fd >= 0)
		close(stream->fd);
	if (stream->listen_fd >= 0)
		close(stream->listen_fd);
	if (stream->listener.fd >= 0)
		usocket_close(stream->ctx, &stream->listener);
	kernel_buffers_close(&stream->buffers, stream->ctx);
	free(stream->in.bytes);
	free(stream->out.bytes);
	free(stream);
}

static int
stream_open(struct port *port, const struct port_config *config, struct diag *diag)
{
	const struct stream_args *args = config->args;
	const size_t size = RTE_ALIGN_CEIL(sizeof(struct stream), RTE_CACHE_LINE_SIZE);
	struct stream *stream = aligned_alloc(RTE_CACHE_LINE_SIZE, size);
	int ret;

	if (!stream)
		return port_no_memory(config->name, diag);
	memset(stream, 0, size);
	stream->ctx = port->ctx;
	stream->port = port;
	stream->is_server = args->listen;
	stream->fd = stream->listen_fd = stream->listener.fd = -1;
	stream->retry_ms = STREAM_RETRY_MS;
	/* No connection has this, and none is the end of none. */
	atomic_store(&stream->ended, UINT64_MAX);
	ret = stream_open_all(stream, port, config, diag);
	if (ret < 0) {
		if (ret == -ENOMEM)
			port_no_memory(config->name, diag);
		port_queues_free(port);
		stream_free(stream);
		return ret;
	}
	port->dev = stream;
	port_mac_from_config(port, config);
	atomic_store_explicit(&port->n_active, 1, memory_order_relaxed);
	snprintf(port->describe, sizeof(port->describe), "stream, %s %.150s",
		 stream->is_server ? "listens at" : "connects to",
		 args->listen ? args->listen : args->connect);
	uplink_port_opened(port);
	return 0;
}

static void
stream_close(struct port *port)
{
	uplink_port_closing(port);
	stream_free(port->dev);
	port_queues_free(port);
}

static int
stream_check(struct port_config *config, struct diag *diag)
{
	const struct stream_args *args = config->args;

	if (!args->listen == !args->connect)
		return diag_set(diag, -EINVAL, "listen=ADDRESS or connect=ADDRESS, for example listen=:7000",
				"port %s: kind stream listens or connects, and does one of both",
				config->name);
	if (config->n_queues != 1)
		return diag_set(diag, -EINVAL, "queues=1",
				"port %s: queues: one connection is one queue pair", config->name);
	if (args->listen)
		snprintf(config->resource, sizeof(config->resource), "address %.150s", args->listen);
	return 0;
}

static void
stream_link(const struct port *port, struct port_link *ret_link)
{
	const struct stream *stream = port->dev;

	*ret_link = (struct port_link){.up = stream->state == STREAM_CONNECTED,
				       .speed = PORT_SPEED_UNKNOWN,
				       .duplex = PORT_DUPLEX_UNKNOWN};
}

static struct port_kind stream_kind = {
	.name = "stream",
	.help = "frames over TCP or a unix stream, to another vnicd or QEMU's -netdev stream",
	.keys = stream_keys,
	.args_size = sizeof(struct stream_args),
	.check = stream_check,
	.demand = kernel_buffers_demand,
	.open = stream_open,
	.close = stream_close,
	.link = stream_link,
	.is_uplink = true,
};
PORT_KIND_REGISTER(stream_kind)
