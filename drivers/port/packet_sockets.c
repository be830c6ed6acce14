/* SPDX-License-Identifier: BSD-3-Clause */
#include "packet_sockets.h"

#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <rte_lcore.h>

#include "port.h"
#include "socket_buffer.h"

#ifndef PACKET_IGNORE_OUTGOING
#define PACKET_IGNORE_OUTGOING 23
#endif
#ifndef PACKET_FANOUT_FLAG_IGNORE_OUTGOING
#define PACKET_FANOUT_FLAG_IGNORE_OUTGOING 0x4000
#endif

enum {
	PACKET_AT_ONCE = 510,    /* places of a ring that whoever opens a port may wait for */
	PACKET_SNDBUF = 8 << 20, /* of what the interface has not sent yet */
};

/* Who frees them. It is handed over by an exchange, in both directions. */
enum packet_owner {
	PACKET_CONTROL, /* there is no thread */
	PACKET_BOTH,    /* the thread makes rings, the port uses them */
	PACKET_THREAD,  /* the port is gone */
};

/* --- one socket --- */

static int
sockets_option(int fd, int option, const void *value, size_t size)
{
	return setsockopt(fd, SOL_PACKET, option, value, (socklen_t)size);
}

static int
sockets_bind(const struct packet_sockets *sockets, int fd, uint16_t protocol)
{
	const struct sockaddr_ll address = {.sll_family = AF_PACKET,
					    .sll_protocol = htons(protocol),
					    .sll_ifindex = (int)sockets->if_index};

	return bind(fd, (const struct sockaddr *)&address, sizeof(address));
}

/* A socket that sends; of no protocol yet, so nothing comes. NULL, or what has failed, with errno set. */
static const char *
sockets_make(struct packet_sockets *sockets, struct packet_socket *sock)
{
	const int on = 1, version = TPACKET_V2;

	sock->fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (sock->fd < 0)
		return "no socket";
	if (sockets_option(sock->fd, PACKET_VERSION, &version, sizeof(version)) < 0 ||
	    sockets_option(sock->fd, PACKET_VNET_HDR, &on, sizeof(on)) < 0 ||
	    sockets_option(sock->fd, PACKET_IGNORE_OUTGOING, &on, sizeof(on)) < 0)
		return "this kernel lacks what is needed";
	socket_buffer_set(sock->fd, SOCKET_BUFFER_OUT, PACKET_SNDBUF);
	return sockets_bind(sockets, sock->fd, 0) < 0 ? "it can't be bound to" : NULL;
}

/* Frames of one flow come out of one socket. The first makes a group, whose number the kernel chooses. */
static int
sockets_join(struct packet_sockets *sockets, const struct packet_socket *sock)
{
	const bool is_first = sock == &sockets->each[0];
	/* What the sockets ignore by themselves, a group does not. */
	const uint32_t type = PACKET_FANOUT_HASH | PACKET_FANOUT_FLAG_IGNORE_OUTGOING;
	uint32_t group = is_first ? (type | PACKET_FANOUT_FLAG_UNIQUEID) << 16 : sockets->group | type << 16;
	socklen_t size = sizeof(group);

	if (sockets->n == 1)
		return 0;
	if (sockets_option(sock->fd, PACKET_FANOUT, &group, sizeof(group)) < 0)
		return -1;
	if (!is_first)
		return 0;
	if (getsockopt(sock->fd, SOL_PACKET, PACKET_FANOUT, &group, &size) < 0)
		return -1;
	sockets->group = group & UINT16_MAX;
	return 0;
}

/* Its ring, and from then on what comes. NULL, or what has failed, with errno set. */
static const char *
sockets_make_ring(struct packet_sockets *sockets, struct packet_socket *sock)
{
	const struct tpacket_req request = {
		.tp_block_size = PACKET_BLOCK,
		.tp_block_nr = sockets->n_places / PACKET_BLOCK_PLACES,
		.tp_frame_size = PACKET_PLACE,
		.tp_frame_nr = sockets->n_places,
	};
	void *ring = MAP_FAILED;

	if (sockets_option(sock->fd, PACKET_RX_RING, &request, sizeof(request)) == 0)
		ring = mmap(NULL, sockets->ring_size, PROT_READ | PROT_WRITE, MAP_SHARED, sock->fd, 0);
	if (ring == MAP_FAILED)
		return "no memory for its ring";
	/* Release: workers see a ring that is whole. */
	atomic_store_explicit(&sock->ring, ring, memory_order_release);
	if (sockets_bind(sockets, sock->fd, ETH_P_ALL) < 0)
		return "it can't be bound to";
	return sockets_join(sockets, sock) < 0 ? "several queues" : NULL;
}

static void
sockets_free(struct packet_sockets *sockets)
{
	for (uint16_t i = 0; i < sockets->n; i++) {
		struct packet_socket *sock = &sockets->each[i];
		uint8_t *ring = atomic_load_explicit(&sock->ring, memory_order_relaxed);

		if (ring)
			munmap(ring, sockets->ring_size);
		if (sock->fd >= 0)
			close(sock->fd);
	}
	if (sockets->done_fd >= 0)
		close(sockets->done_fd);
	free(sockets);
}

/* --- the thread --- */

static void
sockets_make_rings(struct packet_sockets *sockets)
{
	for (uint16_t i = 0; i < sockets->n; i++) {
		struct packet_socket *sock = &sockets->each[i];

		if (atomic_load_explicit(&sockets->owner, memory_order_relaxed) == PACKET_THREAD)
			return;
		if (atomic_load_explicit(&sock->ring, memory_order_relaxed))
			continue;
		sock->failed = sockets_make_ring(sockets, sock);
		sock->error = errno;
	}
}

static void *
sockets_maker_main(void *arg)
{
	struct packet_sockets *sockets = arg;

	sockets_make_rings(sockets);
	eventfd_write(sockets->done_fd, 1);
	/* Whoever comes second frees them: with PACKET_BOTH they are the port's from here on. */
	if (atomic_exchange_explicit(&sockets->owner, PACKET_CONTROL, memory_order_acq_rel) == PACKET_THREAD)
		sockets_free(sockets);
	return NULL;
}

static void *
sockets_closer_main(void *arg)
{
	sockets_free(arg);
	return NULL;
}

/* On a CPU that is no worker's, nor the control thread's where there is another. Nobody waits for it. 0 or
 * -errno. */
static int
sockets_thread(void *(*run)(void *arg), struct packet_sockets *sockets)
{
	sigset_t all, before;
	pthread_t thread;
	int ret;

	/* Signals are for the thread that started us. */
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &before);
	ret = rte_ctrl_thread_create(&thread, "vnicd-rings", NULL, run, sockets);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (ret == 0)
		pthread_detach(thread);
	return ret;
}

/* --- control thread --- */

static int
sockets_refuse(const struct packet_sockets *sockets, const char *name, const char *what, struct diag *diag)
{
	const int err = errno;

	diag_set(diag, -err, NULL, "port %s: interface %s: %s: %s", name, sockets->ifname, what,
		 strerror(err));
	if (err == EPERM || err == EACCES)
		diag_hint(diag, "AF_PACKET needs CAP_NET_RAW: run as root, or give it to vnicd");
	else if (err == ENOMEM || err == ENOBUFS)
		diag_hint(diag, "fewer places: ring=%d", PACKET_BLOCK_PLACES);
	else
		diag_hint(diag, "%s", "");
	return -err;
}

/* NULL, or what has failed, with errno set. */
static const char *
sockets_open_all(struct packet_sockets *sockets, bool has_loop)
{
	const struct packet_mreq promisc = {.mr_ifindex = (int)sockets->if_index,
					    .mr_type = PACKET_MR_PROMISC};
	const bool is_short = sockets->n_places <= PACKET_AT_ONCE;
	const char *failed = NULL;

	for (uint16_t i = 0; i < sockets->n && !failed; i++)
		failed = sockets_make(sockets, &sockets->each[i]);
	/* Of the interface, once. */
	if (!failed &&
	    sockets_option(sockets->each[0].fd, PACKET_ADD_MEMBERSHIP, &promisc, sizeof(promisc)) < 0)
		failed = "promiscuous mode";
	for (uint16_t i = 0; i < sockets->n && !failed && (!has_loop || (is_short && i == 0)); i++)
		failed = sockets_make_ring(sockets, &sockets->each[i]);
	if (failed || !has_loop || (is_short && sockets->n == 1))
		return failed;
	sockets->done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (sockets->done_fd < 0)
		return "no descriptor";
	atomic_store_explicit(&sockets->owner, PACKET_BOTH, memory_order_relaxed);
	errno = -sockets_thread(sockets_maker_main, sockets);
	if (errno == 0)
		return NULL;
	atomic_store_explicit(&sockets->owner, PACKET_CONTROL, memory_order_relaxed);
	return "no thread";
}

int
packet_sockets_open(struct packet_sockets **ret_sockets, const char *name, unsigned int if_index,
		    const char *ifname, uint16_t n, uint32_t n_places, bool has_loop, struct diag *diag)
{
	struct packet_sockets *sockets = calloc(1, sizeof(*sockets) + n * sizeof(sockets->each[0]));
	const char *failed;
	int ret;

	if (!sockets)
		return port_no_memory(name, diag);
	sockets->n = n;
	sockets->n_places = n_places;
	sockets->ring_size = (size_t)n_places / PACKET_BLOCK_PLACES * PACKET_BLOCK;
	sockets->if_index = if_index;
	snprintf(sockets->ifname, sizeof(sockets->ifname), "%s", ifname);
	sockets->done_fd = -1;
	for (uint16_t i = 0; i < n; i++)
		sockets->each[i].fd = -1;
	failed = sockets_open_all(sockets, has_loop);
	if (!failed) {
		*ret_sockets = sockets;
		return 0;
	}
	ret = sockets_refuse(sockets, name, failed, diag);
	packet_sockets_close(sockets);
	return ret;
}

void
packet_sockets_done(struct packet_sockets *sockets, const char *name, struct log *log)
{
	uint64_t value;
	struct diag diag;

	/* The thread has written all before this was readable. */
	if (eventfd_read(sockets->done_fd, &value) < 0)
		return;
	for (uint16_t i = 0; i < sockets->n; i++) {
		if (!sockets->each[i].failed)
			continue;
		errno = sockets->each[i].error;
		sockets_refuse(sockets, name, sockets->each[i].failed, &diag);
		log_error(log, "%s: nothing comes by queue pair %u%s%s", diag.cause, i,
			  diag.hint[0] ? "; " : "", diag.hint);
	}
}

void
packet_sockets_close(struct packet_sockets *sockets)
{
	if (!sockets ||
	    atomic_exchange_explicit(&sockets->owner, PACKET_THREAD, memory_order_acq_rel) == PACKET_BOTH)
		return;
	/* The kernel waits for grace periods. */
	if (sockets_thread(sockets_closer_main, sockets) < 0)
		sockets_free(sockets);
}

bool
packet_sockets_receive(const struct packet_sockets *sockets)
{
	for (uint16_t i = 0; i < sockets->n; i++)
		if (atomic_load_explicit(&sockets->each[i].ring, memory_order_relaxed))
			return true;
	return false;
}
