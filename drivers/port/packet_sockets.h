/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * packet_sockets: the packet sockets of an interface, one for each queue pair of a port, with a ring that the
 * kernel puts frames in.
 *
 * Rings are made and closed by a thread beside the control thread, which nobody waits for: to allocate and
 * zero a ring takes the kernel some milliseconds, or a second for one of 500 MiB, and it waits for a grace
 * period of all CPUs for each, too. Only the first is there when packet_sockets_open() returns, unless it is
 * long; all send from then on.
 *
 *     socket 0   ring  bind  join |                                         control thread
 *     socket 1                    | ring  bind  join                        thread
 *     socket 2                    |                   ring  bind  join      thread
 *                                 open() returns, frames come by socket 0
 */
#ifndef VNICD_PACKET_SOCKETS_H
#define VNICD_PACKET_SOCKETS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "diag.h"
#include "log.h"
#include "nic_limit.h"

struct loop;
struct loop_watch;

enum {
	PACKET_BLOCK = 1 << 20,  /* bytes of memory that the kernel takes at a time */
	PACKET_PLACE = 68 << 10, /* of the longest frame, with what the kernel writes before it */
	PACKET_BLOCK_PLACES = PACKET_BLOCK / PACKET_PLACE,
};

struct packet_socket {
	int fd;
	/* Places of PACKET_PLACE bytes in blocks of PACKET_BLOCK. NULL: there is none yet. Written once, by
	 * whoever makes it; workers read it. */
	_Atomic(uint8_t *) ring;
	/* Of the thread, until it has said that it is done. */
	const char *failed; /* to do what; NULL: nothing has */
	int error;
};

struct packet_sockets {
	uint16_t n;
	uint32_t n_places; /* of each ring, a multiple of PACKET_BLOCK_PLACES */
	unsigned int if_index;
	char ifname[IF_NAMESIZE];

	/* its own */
	size_t ring_size;
	uint16_t group; /* as the kernel numbers them */
	int done_fd;    /* readable when the thread is done; -1: there is none */
	_Atomic int owner;
	struct packet_socket each[]; /* [n] */
};

/*
 * Control thread; `name` is the port's. With a loop the rest of the rings are on their way when it returns,
 * without one all are there. 0, or -errno with diag filled.
 */
int packet_sockets_open(struct packet_sockets **ret_sockets, const char *name, unsigned int if_index,
			const char *ifname, uint16_t n, uint32_t n_places, bool has_loop, struct diag *diag);
/* Control thread, when done_fd is readable, once: logs which rings there are not. */
void packet_sockets_done(struct packet_sockets *sockets, const char *name, struct log *log);
/* Control thread: nobody uses any of it any more. Does not wait; accepts NULL. */
void packet_sockets_close(struct packet_sockets *sockets);

/* Can frames come in? Any thread. */
bool packet_sockets_receive(const struct packet_sockets *sockets);

#endif
