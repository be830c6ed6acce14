/* SPDX-License-Identifier: BSD-3-Clause */
/* vhost_frontend.c: see vhost_frontend.h. Every message is answered or acknowledged, so errors are found
 * where they are. */
#include "vhost_frontend.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "control.h"
#include "fail.h"

enum {
	GET_FEATURES = 1,
	SET_FEATURES = 2,
	SET_OWNER = 3,
	SET_MEM_TABLE = 5,
	SET_LOG_BASE = 6,
	SET_VRING_NUM = 8,
	SET_VRING_ADDR = 9,
	SET_VRING_BASE = 10,
	GET_VRING_BASE = 11,
	SET_VRING_KICK = 12,
	SET_VRING_CALL = 13,
	GET_PROTOCOL_FEATURES = 15,
	SET_PROTOCOL_FEATURES = 16,
	GET_QUEUE_NUM = 17,
	SET_VRING_ENABLE = 18,
};

enum {
	MSG_VERSION = 1,
	MSG_REPLY = 1 << 2,
	MSG_NEED_REPLY = 1 << 3,
	ANSWER_WAIT_S = 5,
	VRING_F_LOG = 1 << 0,
};

#define BIT(n) ((uint64_t)1 << (n))
#define F_CSUM BIT(0)
#define F_GUEST_CSUM BIT(1)
#define F_GUEST_TSO4 BIT(7)
#define F_HOST_TSO4 BIT(11)
#define F_MRG_RXBUF BIT(15)
#define F_CTRL_VQ BIT(17)
#define F_CTRL_RX BIT(18)
#define F_CTRL_VLAN BIT(19)
#define F_MQ BIT(22)
#define F_LOG_ALL BIT(26)
#define F_PROTOCOL BIT(30)
#define F_INDIRECT BIT(28)
#define F_VERSION_1 BIT(32)
#define F_RING_PACKED BIT(34)
#define F_IN_ORDER BIT(35)
#define F_HASH_REPORT BIT(57)
#define F_RSS BIT(60)
#define PF_MQ BIT(0)
#define PF_LOG_SHMFD BIT(1)
#define PF_REPLY_ACK BIT(3)

struct msg_vring_state {
	uint32_t index;
	uint32_t num;
};

struct msg_vring_addr {
	uint32_t index;
	uint32_t flags;
	uint64_t desc_uva;
	uint64_t used_uva;
	uint64_t avail_uva;
	uint64_t log_gpa;
};

struct msg_mem_table {
	uint32_t n_regions;
	uint32_t padding;
	struct {
		uint64_t gpa;
		uint64_t size;
		uint64_t uva;
		uint64_t offset;
	} region;
};

struct msg_log {
	uint64_t size;
	uint64_t offset;
};

struct msg {
	uint32_t request;
	uint32_t flags;
	uint32_t size;
	union {
		uint64_t u64;
		struct msg_vring_state state;
		struct msg_vring_addr addr;
		struct msg_mem_table mem;
		struct msg_log log;
	} __attribute__((packed)) payload;
} __attribute__((packed));

enum { MSG_HEAD = 12 };

static const char *
request_name(uint32_t request)
{
	static const char *const names[] = {
		[GET_FEATURES] = "GET_FEATURES",
		[SET_FEATURES] = "SET_FEATURES",
		[SET_OWNER] = "SET_OWNER",
		[SET_MEM_TABLE] = "SET_MEM_TABLE",
		[SET_LOG_BASE] = "SET_LOG_BASE",
		[SET_VRING_NUM] = "SET_VRING_NUM",
		[SET_VRING_ADDR] = "SET_VRING_ADDR",
		[SET_VRING_BASE] = "SET_VRING_BASE",
		[GET_VRING_BASE] = "GET_VRING_BASE",
		[SET_VRING_KICK] = "SET_VRING_KICK",
		[SET_VRING_CALL] = "SET_VRING_CALL",
		[GET_PROTOCOL_FEATURES] = "GET_PROTOCOL_FEATURES",
		[SET_PROTOCOL_FEATURES] = "SET_PROTOCOL_FEATURES",
		[GET_QUEUE_NUM] = "GET_QUEUE_NUM",
		[SET_VRING_ENABLE] = "SET_VRING_ENABLE",
	};

	return names[request];
}

static void
read_all(struct vhost_frontend *fe, uint32_t request, void *buf, size_t len)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = recv(fe->sock, (char *)buf + done, len - done, 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n == 0)
			fail("%s: back-end closed the connection at %s (its log says why)", fe->name,
			     request_name(request));
		if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
			fail("%s: back-end did not answer %s in %d s", fe->name, request_name(request),
			     ANSWER_WAIT_S);
		if (n < 0)
			fail("%s: %s: %m", fe->name, request_name(request));
		done += (size_t)n;
	}
}

static void
send_msg(struct vhost_frontend *fe, const struct msg *msg, int fd)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = {0};
	struct iovec iov = {(void *)msg, MSG_HEAD + msg->size};
	struct msghdr hdr = {.msg_iov = &iov, .msg_iovlen = 1};

	if (fd >= 0) {
		struct cmsghdr *cmsg;

		hdr.msg_control = control.bytes;
		hdr.msg_controllen = sizeof(control.bytes);
		cmsg = CMSG_FIRSTHDR(&hdr);
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(cmsg), &fd, sizeof(fd));
	}
	if (sendmsg(fe->sock, &hdr, MSG_NOSIGNAL) != (ssize_t)iov.iov_len)
		fail("%s: back-end closed the connection before %s (its log says why)", fe->name,
		     request_name(msg->request));
}

static void
recv_answer(struct vhost_frontend *fe, struct msg *msg)
{
	uint32_t request = msg->request;

	read_all(fe, request, msg, MSG_HEAD);
	if (msg->request != request || !(msg->flags & MSG_REPLY) || msg->size > sizeof(msg->payload))
		fail("%s: back-end answered %s with request %u, flags 0x%x, size %u", fe->name,
		     request_name(request), msg->request, msg->flags, msg->size);
	read_all(fe, request, &msg->payload, msg->size);
}

/* A request that sets something. With REPLY_ACK the back-end says whether it took it. */
static void
set(struct vhost_frontend *fe, uint32_t request, const void *payload, uint32_t size, int fd)
{
	struct msg msg = {
		.request = request,
		.flags = MSG_VERSION | (fe->reply_ack ? MSG_NEED_REPLY : 0),
		.size = size,
	};

	if (size)
		memcpy(&msg.payload, payload, size);
	send_msg(fe, &msg, fd);
	if (!fe->reply_ack)
		return;
	recv_answer(fe, &msg);
	if (msg.payload.u64)
		fail("%s: back-end refused %s (its log says why)", fe->name, request_name(request));
}

static void
set_u64(struct vhost_frontend *fe, uint32_t request, uint64_t value, int fd)
{
	set(fe, request, &value, sizeof(value), fd);
}

static void
set_state(struct vhost_frontend *fe, uint32_t request, uint32_t index, uint32_t num)
{
	struct msg_vring_state state = {index, num};

	set(fe, request, &state, sizeof(state), -1);
}

static uint64_t
get_u64(struct vhost_frontend *fe, uint32_t request)
{
	struct msg msg = {.request = request, .flags = MSG_VERSION};

	send_msg(fe, &msg, -1);
	recv_answer(fe, &msg);
	return msg.payload.u64;
}

static int
accept_one(const char *name, const char *path, const struct sockaddr_un *addr, unsigned wait_s)
{
	struct timeval wait = {.tv_sec = wait_s};
	int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int sock;

	if (listener < 0)
		fail("%s: socket: %m", name);
	if (bind(listener, (const struct sockaddr *)addr, sizeof(*addr)) || listen(listener, 1))
		fail("%s: listen on %s: %m", name, path);
	setsockopt(listener, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait));
	sock = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	if (sock < 0)
		fail("%s: no back-end connected to %s in %u s", name, path, wait_s);
	close(listener);
	unlink(path);
	return sock;
}

void
vhost_frontend_connect(struct vhost_frontend *fe, const char *name, const char *path, bool server,
		       unsigned wait_s)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	struct timeval answer_wait = {.tv_sec = ANSWER_WAIT_S};
	struct timespec pause = {.tv_nsec = 50 * 1000 * 1000};
	unsigned tries = wait_s * 20;

	memset(fe, 0, sizeof(*fe));
	fe->name = name;
	if (strlen(path) >= sizeof(addr.sun_path))
		fail("%s: socket path is longer than %zu bytes: %s", name, sizeof(addr.sun_path) - 1, path);
	strcpy(addr.sun_path, path);
	if (server) {
		fe->sock = accept_one(name, path, &addr, wait_s);
	} else {
		fe->sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (fe->sock < 0)
			fail("%s: socket: %m", name);
		while (connect(fe->sock, (const struct sockaddr *)&addr, sizeof(addr))) {
			if (!tries--)
				fail("%s: connect to %s: %m (is the back-end running?)", name, path);
			nanosleep(&pause, NULL);
		}
	}
	setsockopt(fe->sock, SOL_SOCKET, SO_RCVTIMEO, &answer_wait, sizeof(answer_wait));
}

static void
negotiate_protocol(struct vhost_frontend *fe, const struct vhost_frontend_wants *wants)
{
	uint64_t needed = (wants->n_pairs > 1 ? PF_MQ : 0) | (wants->dirty_log ? PF_LOG_SHMFD : 0);
	uint64_t offered = fe->device_features & F_PROTOCOL ? get_u64(fe, GET_PROTOCOL_FEATURES) : 0;

	if (needed & ~offered & PF_MQ)
		fail("%s: back-end does not offer the protocol feature MQ (try without --idle-pairs)",
		     fe->name);
	if (needed & ~offered & PF_LOG_SHMFD)
		fail("%s: back-end does not offer the protocol feature LOG_SHMFD (try without --dirty-log)",
		     fe->name);
	if (!(fe->device_features & F_PROTOCOL))
		return;
	set_u64(fe, SET_PROTOCOL_FEATURES, needed | (offered & PF_REPLY_ACK), -1);
	fe->reply_ack = offered & PF_REPLY_ACK;
	fe->driver_features |= F_PROTOCOL;
	if (wants->n_pairs > 1) {
		/* Pairs, or virtqueues: at least that many. */
		uint64_t n_pairs = get_u64(fe, GET_QUEUE_NUM);

		if (n_pairs < wants->n_pairs)
			fail("%s: back-end says that it has %lu queues, %u pairs are needed with "
			     "--idle-pairs %u",
			     fe->name, n_pairs, wants->n_pairs, wants->n_pairs - 1);
	}
}

void
vhost_frontend_negotiate(struct vhost_frontend *fe, const struct ring_config *config,
			 const struct vhost_frontend_wants *wants)
{
	static const struct {
		uint64_t bit;
		const char *name;
	} names[] = {
		{F_CSUM, "VIRTIO_NET_F_CSUM (try without --tso)"},
		{F_GUEST_CSUM, "VIRTIO_NET_F_GUEST_CSUM (try --tso segments)"},
		{F_GUEST_TSO4, "VIRTIO_NET_F_GUEST_TSO4 (try --tso segments)"},
		{F_HOST_TSO4, "VIRTIO_NET_F_HOST_TSO4 (try without --tso)"},
		{F_INDIRECT, "VIRTIO_F_INDIRECT_DESC (try without --tso)"},
		{F_MRG_RXBUF, "VIRTIO_NET_F_MRG_RXBUF (try --no-mergeable)"},
		{F_CTRL_VQ, "VIRTIO_NET_F_CTRL_VQ (try without --rss, --filter, --hash-report)"},
		{F_CTRL_RX, "VIRTIO_NET_F_CTRL_RX (try without --filter)"},
		{F_CTRL_VLAN, "VIRTIO_NET_F_CTRL_VLAN (try without --filter)"},
		{F_MQ, "VIRTIO_NET_F_MQ (more queue pairs there, or try without --idle-pairs)"},
		{F_LOG_ALL, "VHOST_F_LOG_ALL (try without --dirty-log)"},
		{F_VERSION_1, "VIRTIO_F_VERSION_1"},
		{F_RING_PACKED, "VIRTIO_F_RING_PACKED (try --layout split)"},
		{F_IN_ORDER, "VIRTIO_F_IN_ORDER (try without --in-order)"},
		{F_HASH_REPORT, "VIRTIO_NET_F_HASH_REPORT (try without --hash-report)"},
		{F_RSS, "VIRTIO_NET_F_RSS (try without --rss)"},
	};

	const unsigned control = wants->control;

	fe->device_features = get_u64(fe, GET_FEATURES);
	fe->driver_features = F_VERSION_1 | (config->mergeable ? F_MRG_RXBUF : 0) |
			      (config->packed ? F_RING_PACKED : 0) | (config->in_order ? F_IN_ORDER : 0) |
			      (wants->n_pairs > 1 ? F_MQ : 0) | (wants->dirty_log ? F_LOG_ALL : 0) |
			      (control ? F_CTRL_VQ : 0) | (control & CONTROL_RSS ? F_RSS : 0) |
			      (control & CONTROL_FILTER ? F_CTRL_RX | F_CTRL_VLAN : 0) |
			      (control & CONTROL_HASH_REPORT ? F_HASH_REPORT : 0) |
			      (wants->tso ? F_CSUM | F_HOST_TSO4 | F_INDIRECT : 0) |
			      (wants->tso == TSO_WHOLE ? F_GUEST_CSUM | F_GUEST_TSO4 : 0);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (fe->driver_features & ~fe->device_features & names[i].bit)
			fail("%s: back-end does not offer %s", fe->name, names[i].name);
	}
	set(fe, SET_OWNER, NULL, 0, -1);
	negotiate_protocol(fe, wants);
	set_u64(fe, SET_FEATURES, fe->driver_features, -1);
}

/* Not set(): with LOG_SHMFD this one is answered by a message of its own, whose payload says nothing. */
static void
set_log_base(struct vhost_frontend *fe, const struct dirty_log *log)
{
	struct msg msg = {
		.request = SET_LOG_BASE,
		.flags = MSG_VERSION,
		.size = sizeof(msg.payload.log),
		.payload.log = {.size = log->size},
	};

	send_msg(fe, &msg, log->fd);
	recv_answer(fe, &msg);
}

static void
start_ring(struct vhost_frontend *fe, struct ring *ring, uint32_t index)
{
	struct msg_vring_addr addr = {
		.index = index,
		.desc_uva = (uint64_t)ring->desc_area,
		.avail_uva = (uint64_t)ring->driver_area,
		.used_uva = (uint64_t)ring->device_area,
	};
	/* Packed: next available and next used position, each with its wrap counter (1 at the start) on top.
	 */
	uint32_t base = fe->driver_features & F_RING_PACKED ? 0x80008000 : 0;

	if (fe->driver_features & F_LOG_ALL) {
		/* Where the device writes what it has used: of a packed ring the descriptors. */
		void *used = fe->driver_features & F_RING_PACKED ? ring->desc_area : ring->device_area;

		addr.flags = VRING_F_LOG;
		addr.log_gpa = (uint64_t)used + ring->gpa_delta;
	}
	ring->kick_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	ring->call_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (ring->kick_fd < 0 || ring->call_fd < 0)
		fail("%s: eventfd: %m", ring->name);
	set_state(fe, SET_VRING_NUM, index, ring->size);
	set_state(fe, SET_VRING_BASE, index, base);
	set(fe, SET_VRING_ADDR, &addr, sizeof(addr), -1);
	set_u64(fe, SET_VRING_CALL, index, ring->call_fd);
	set_u64(fe, SET_VRING_KICK, index, ring->kick_fd);
}

void
vhost_frontend_start(struct vhost_frontend *fe, const struct dirty_log *log, const struct guest_mem *mem,
		     struct ring *const rings[], unsigned n_rings)
{
	struct msg_mem_table table = {
		.n_regions = 1,
		.region = {.gpa = GUEST_MEM_GPA, .size = mem->size, .uva = (uint64_t)mem->va},
	};

	if (log)
		set_log_base(fe, log);
	set(fe, SET_MEM_TABLE, &table, sizeof(table), mem->fd);
	fe->n_rings = n_rings;
	for (uint32_t i = 0; i < n_rings; i++)
		start_ring(fe, rings[i], i);
	if (fe->driver_features & F_PROTOCOL) {
		for (uint32_t i = 0; i < n_rings; i++)
			set_state(fe, SET_VRING_ENABLE, i, 1);
	}
}

void
vhost_frontend_close(struct vhost_frontend *fe)
{
	for (uint32_t i = 0; i < fe->n_rings; i++) {
		struct msg msg = {
			.request = GET_VRING_BASE,
			.flags = MSG_VERSION,
			.size = sizeof(msg.payload.state),
			.payload.state = {.index = i},
		};

		send_msg(fe, &msg, -1);
		recv_answer(fe, &msg);
	}
	close(fe->sock);
}
