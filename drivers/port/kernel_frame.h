/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * kernel_frame: frames as this machine's kernel gives and takes them (tap, AF_PACKET), with a virtio-net
 * header in front that says what is still to be done: a checksum, segmentation (linux/virtio_net.h). So they
 * pass with up to 64 KiB, unsegmented and without a checksum, where both ends can.
 *
 * One from the kernel lies in a buffer of the program's pool, and what does not fit there in one of the
 * port's own, which holds the rest of the longest.
 */
#ifndef VNICD_KERNEL_FRAME_H
#define VNICD_KERNEL_FRAME_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <linux/virtio_net.h>
#include <rte_cycles.h>
#include <rte_mbuf.h>

#include "borrow.h"
#include "nic_limit.h"
#include "port.h"
#include "request.h"
#include "software_offload.h"

enum {
	/* What the kernel gives in one piece, and takes. */
	KERNEL_FRAME_MAX = PORT_FRAME_MAX,
	/* Of one on its way to the kernel, without its header. */
	KERNEL_FRAME_PIECES_MAX = 1 + BORROW_PIECES_MAX,
	KERNEL_BUFFERS_PAIR = 2 * PORT_BURST, /* of the long ones, for a queue pair */
	KERNEL_BUFFERS_PAIR_BYTES = (KERNEL_BUFFERS_PAIR + 1) * (66 << 10),
};

enum { KERNEL_IDLE_US = 5 }; /* the kernel had nothing, and is not asked again (decision 0033) */

/* What buffers frames from the kernel go to. */
struct kernel_buffers {
	struct rte_mempool *pool; /* the program's */
	struct rte_mempool *long_pool;
};

/* Control thread. 0, or -errno with diag filled. */
int kernel_buffers_open(struct kernel_buffers *buffers, const struct port *port, uint16_t n_queues,
			struct diag *diag);
/* Accepts one that is all zero. */
void kernel_buffers_close(struct kernel_buffers *buffers, struct vnic_ctx *ctx);

/* As a kind's demand, of one with such buffers. */
void kernel_buffers_demand(const struct port_config *config, struct port_demand *ret_demand);

/* What this kernel does of a frame's request, by its version: for where it can't be asked. */
uint32_t kernel_frame_capabilities(void);

/* --- worker --- */

/* Room for the longest frame, kept for the next that comes: of a queue, and its owner's. */
struct kernel_room {
	struct rte_mbuf *head, *rest;
};

/* Where it is. False: there is no packet buffer now, and nothing should be read. */
bool kernel_room_prepare(struct kernel_room *room, const struct kernel_buffers *buffers, struct iovec iov[2]);
/* `len` (0 .. KERNEL_FRAME_MAX) bytes have been read into it. */
struct rte_mbuf *kernel_room_take(struct kernel_room *room, uint32_t len);
/* Control thread; nobody owns the queue any more. */
void kernel_room_free(struct kernel_room *room);

/* By the TSC. */
static inline uint64_t
kernel_idle_until(void)
{
	return rte_rdtsc() + rte_get_tsc_hz() / US_PER_S * KERNEL_IDLE_US;
}

/* One frame. 0: there is none now, or no packet buffer; 1: *ret_pkt, which is NULL where it was not kept. */
typedef uint16_t (*kernel_frame_read_fn)(struct port_rxq *rxq, struct rte_mbuf **ret_pkt);
/* As a port's rx, with a system call for each frame. *idle_until is the queue's owner's. */
uint16_t kernel_frame_poll(struct port_rxq *rxq, uint64_t *idle_until, kernel_frame_read_fn read,
			   struct rte_mbuf **pkts, uint16_t n);

/* A new mbuf with len (1 .. KERNEL_FRAME_MAX) bytes; NULL: no packet buffer. */
struct rte_mbuf *kernel_frame_copy(const struct kernel_buffers *buffers, const void *data, uint32_t len);

/*
 * A frame that is fresh from the kernel gets the request of its header. False: the kernel asks for what there
 * is not (kernel_frame_refused()).
 */
bool kernel_frame_request(struct rte_mbuf *frame, const struct virtio_net_hdr *hdr);

/* Why not: DROP_BAD_OFFLOAD, or it is one of a tunnel that is to be cut within, which the header has no words
 * for. */
enum port_drop kernel_frame_refused(const struct rte_mbuf *frame, const struct virtio_net_hdr *hdr);

/*
 * A frame of this length can go out. frame_max is that of the limit, read once for a burst. What is to become
 * several frames is cut by the kernel, as the link needs it.
 */
bool kernel_frame_fits(const struct rte_mbuf *frame, uint32_t frame_max, const struct nic_limit *limit);

/*
 * As a port's tx: what is beyond `capabilities` is done in software, then all go to `send`, whose argument
 * ctx is NULL.
 */
uint16_t kernel_frame_send(struct port_txq *txq, const struct kernel_buffers *buffers, uint32_t capabilities,
			   struct rte_mbuf **pkts, uint16_t n, software_offload_send_fn send);

/* Why the kernel does not take a frame (errno), and whether it takes those after it. */
typedef enum port_drop (*kernel_frame_why_fn)(int error, bool *ret_goes_on);
/* As a port's tx, of n frames that msgs[] are made of. */
uint16_t kernel_frame_sendmmsg(struct port_txq *txq, int fd, struct mmsghdr msgs[], struct rte_mbuf **pkts,
			       uint16_t n, kernel_frame_why_fn why);

/* The header of a frame to the kernel, which does what the frame requests. */
struct virtio_net_hdr kernel_frame_header(const struct rte_mbuf *frame);
/* Its pieces, at most KERNEL_FRAME_PIECES_MAX; 0: there are more. Of a borrowed one (borrow.h), those in the
 * guest's memory, too. */
unsigned int kernel_frame_pieces(const struct rte_mbuf *frame, struct iovec iov[]);

#endif
