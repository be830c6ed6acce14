/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * vnic: virtio-net devices for a program of one's own, over vhost-user. The device side: the guest's frames
 * come out here as mbufs, and mbufs go in to the guest.
 *
 *     rte_eal_init()                              the program's
 *     vnic_ctx_new()    a context: a lock, a loop, a log; devices that share them
 *     vnic_dev_new()    a device: a socket at which a VMM's front-end connects
 *
 *     one thread, the context's:                  others, the program's own choice:
 *       vnic_ctx_run(), over and over               vnic_rx_burst(dev, queue, ..)
 *       (messages, faults, timers, events)          vnic_tx_burst(dev, queue, ..)
 *
 *     vnic_dev_free(), vnic_ctx_free()
 *
 * **Threads.** Control functions, all but those called *data functions* below, may be called by any thread
 * at any time; one at a time in a context, by its lock. Data functions take no lock, allocate nothing but
 * from mbuf pools, do not log, and enter the kernel only to notify a driver that asked for it. Each queue of
 * each direction has one thread at a time that calls its data functions, and they may be different ones for
 * rx and tx. A control function waits for data functions that are under way, so none may be called by a
 * thread that is in one, or that holds borrowed frames. Contexts don't wait for each other.
 *
 * **Ownership.** What is passed in params is copied. Frames of vnic_rx_burst() are the caller's; those given
 * to vnic_tx_burst() are the library's, all of them, whatever it returns.
 *
 * **Errors.** 0 or more is success; -errno says what failed, and struct vnic_error, where it is given, why
 * and what to do about it, in a line each. What a guest does wrong is no error: it is counted, and costs its
 * frame, its queue (VNIC_EVENT_FAULT) or its connection (VNIC_EVENT_DISCONNECTED).
 *
 * **Units.** Lengths are bytes; a frame's is without FCS; speeds are Mb/s; times have their unit in the name.
 *
 * **Words** are VIRTIO's (1.3, "Network Device") and those of the vhost-user protocol. `rx` is from the guest
 * to the program, `tx` the other way: rx queue i is the guest's transmitq i, tx queue i its receiveq i.
 */
#ifndef VNIC_H
#define VNIC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define VNIC_API __attribute__((visibility("default")))

/*
 * Another major number: programs have to be changed, and the library's soname is another one. Another minor
 * number: functions were added, or members at the end of structs that have a `size`.
 */
#define VNIC_API_VERSION_MAJOR 1
#define VNIC_API_VERSION_MINOR 1
#define VNIC_API_VERSION (VNIC_API_VERSION_MAJOR << 16 | VNIC_API_VERSION_MINOR)

/* VNIC_API_VERSION of the library that runs. */
VNIC_API unsigned int vnic_api_version(void);

struct rte_mbuf;
struct rte_mempool;
struct vnic_ctx;
struct vnic_dev;

/* Why something failed, and the way out; for people, one line each, without newline. */
struct vnic_error {
	char cause[320];
	char hint[320]; /* may be empty */
};

/* --- a context --- */

enum vnic_log_level { VNIC_LOG_ERROR, VNIC_LOG_WARNING, VNIC_LOG_INFO, VNIC_LOG_DEBUG };

/* All zero, but for `size`: errors only, to standard error. */
struct vnic_ctx_params {
	size_t size;                   /* sizeof(struct vnic_ctx_params) */
	enum vnic_log_level log_level; /* lines above it are not written */
	const char *log_prefix;        /* NULL: "vnic". With `log` it is not used */
	/* NULL: to standard error. Called with the context's lock held: must not call its functions. */
	void (*log)(void *arg, enum vnic_log_level level, const char *text);
	void *log_arg;
	uint64_t memory_max; /* bytes of its guest's memory that a device may map; 0: 1 TiB */
};

/*
 * After rte_eal_init(). Installs a handler for SIGBUS, if the process has no context yet: a guest may
 * truncate its memory file. A SIGBUS for other reasons is passed on to the handler that was installed before.
 * 0, or -errno: -EINVAL (size), -ENOMEM, and errors of the kernel.
 */
VNIC_API int vnic_ctx_new(const struct vnic_ctx_params *params, struct vnic_ctx **ret_ctx,
			  struct vnic_error *error);
/* Also frees its devices (vnic_dev_free()). No thread is in one of its functions. Accepts NULL. */
VNIC_API void vnic_ctx_free(struct vnic_ctx *ctx);

/*
 * For a program with a loop of its own: a descriptor that is readable (poll(), epoll) whenever
 * vnic_ctx_run(ctx, 0) has something to do, timers included: 100 times a second while there is a device. The
 * descriptor is the context's: not to be read, written or closed.
 */
VNIC_API int vnic_ctx_fd(struct vnic_ctx *ctx);
/*
 * Wait for something at most timeout_ms (0: not at all; -1: without limit) and handle it; then report the
 * devices' events, without the lock. One thread at a time: -EBUSY while another one is in it, and in an
 * event. 0 or -errno.
 */
VNIC_API int vnic_ctx_run(struct vnic_ctx *ctx, int timeout_ms);

/* --- a device --- */

enum vnic_event_type {
	VNIC_EVENT_CONNECTED,    /* a front-end */
	VNIC_EVENT_DISCONNECTED, /* the connection has ended; another CONNECTED may follow */
	VNIC_EVENT_STARTED,      /* the first queue can carry frames: running, enabled, and the link is up */
	VNIC_EVENT_STOPPED,      /* no queue can carry frames any more */
	VNIC_EVENT_QUEUES,       /* vnic_tx_queues() has changed */
	VNIC_EVENT_FAULT,        /* the driver broke a queue, which is stopped until it is set up anew */
};

struct vnic_event {
	enum vnic_event_type type;
	uint16_t virtqueue; /* FAULT: its number in VIRTIO: 2i is tx queue i, 2i + 1 rx queue i */
	const char *text;   /* FAULT: what the driver did; static storage */
};

/*
 * VIRTIO, "Feature bits": offloads, in two directions. RX: a guest that has negotiated some of these sends
 * frames without their checksum or longer than its MTU, with requests in their mbuf. TX: the program may send
 * such frames to any guest; for one that has not negotiated these, the library does it in software.
 * HOST_UFO (14) and GUEST_UFO (10) are never offered: no flag of an mbuf says what they ask for.
 */
#define VNIC_FEATURES_RX_OFFLOADS (1ull << 0 | 1ull << 11 | 1ull << 12 | 1ull << 13 | 1ull << 56)
#define VNIC_FEATURES_TX_OFFLOADS (1ull << 1 | 1ull << 7 | 1ull << 8 | 1ull << 9 | 1ull << 54 | 1ull << 55)

enum vnic_socket { VNIC_SOCKET_SERVER, VNIC_SOCKET_CLIENT };

/*
 * What vnic_rx_burst() returns of long frames. COPY: the whole frame, which may be kept. BORROW: of a frame
 * of 384 bytes or more only the first 128 are copied, the rest stays in the guest's memory until
 * vnic_rx_release(). That saves a copy when it is sent to a guest of the same process (vnic_tx_burst()), and
 * the copy when only headers are read.
 */
enum vnic_frames { VNIC_FRAMES_COPY, VNIC_FRAMES_BORROW };

struct vnic_dev_params {
	size_t size;             /* sizeof(struct vnic_dev_params) */
	const char *name;        /* for log lines; at most 31 characters */
	const char *path;        /* of the unix socket; at most 107 characters */
	enum vnic_socket socket; /* SERVER: the library makes it; CLIENT: the front-end does */
	uint16_t n_queues;       /* of each direction, 1..128 */
	/* For frames from the guest, and what is made of frames to it: rte_pktmbuf_pool_create(), private
	 * size 0, a data room of RTE_MBUF_DEFAULT_BUF_SIZE or more. Outlives the device. */
	struct rte_mempool *pool;
	uint8_t mac[6];      /* of no group; all zero: one that is always the same for a name */
	uint16_t mtu;        /* 68 or more; 0: not offered */
	uint64_t without;    /* feature bits not to offer; what VIRTIO says needs them goes, too */
	uint64_t memory_max; /* 0: the context's */
	enum vnic_frames frames;
	void (*event)(void *arg, struct vnic_dev *dev,
		      const struct vnic_event *event); /* NULL: nobody asks */
	void *event_arg;
};

/*
 * The socket exists on return (SERVER); its connections are served by vnic_ctx_run(). 0, or -errno: -EINVAL,
 * -ENOMEM, -ENOSPC (more than 1024 devices in the process), and those of the socket: -EADDRINUSE, -EACCES,
 * ...
 */
VNIC_API int vnic_dev_new(struct vnic_ctx *ctx, const struct vnic_dev_params *params,
			  struct vnic_dev **ret_dev, struct vnic_error *error);
/*
 * Ends the connection and removes the socket. No thread calls data functions of the device any more; frames
 * that came from it may be anywhere. No event comes after that: a thread that does not run the context waits
 * for the device's `event` to return, so that may not wait for the thread. From an event of the device, too.
 * Accepts NULL.
 */
VNIC_API void vnic_dev_free(struct vnic_dev *dev);

struct vnic_dev_status {
	size_t size; /* in: sizeof(struct vnic_dev_status); out: of what is filled in */
	bool connected;
	bool started;
	bool link_up;
	int pid;           /* of the front-end; 0: not known */
	uint64_t features; /* that the driver has acknowledged */
	uint16_t mtu;      /* 0: no limit known */
	uint8_t mac[6];    /* as the driver has it */
};
VNIC_API void vnic_dev_status(struct vnic_dev *dev, struct vnic_dev_status *status);

/*
 * The link as the driver sees it: up from the beginning. While it is down no frame passes. 0, or -EBUSY: ask
 * again a little later. The driver learns of it where its front-end lets us tell
 * (VHOST_USER_PROTOCOL_F_CONFIG and a back-end channel).
 */
VNIC_API int vnic_dev_set_link(struct vnic_dev *dev, bool up);
/* Make the network learn where the guest is: by the driver (GUEST_ANNOUNCE), or in its name by RARP frames,
 * which come out of rx queue 0. 0, or -ENOTCONN: there is no driver, or its link is down. */
VNIC_API int vnic_dev_announce(struct vnic_dev *dev);

/* A frame from the guest counts in rx, and if it is dropped, in a drop too; one to it in tx or in a drop. */
struct vnic_dev_stats {
	size_t size; /* in: sizeof(struct vnic_dev_stats); out: of what is filled in */
	uint64_t rx_packets, rx_bytes;
	uint64_t tx_packets, tx_bytes;
	uint64_t drops; /* all of them together: vnic_dev_drop() */
	uint64_t faults;
};
/* Counters since vnic_dev_new(), read while others count; not all of one moment. Takes no lock. */
VNIC_API void vnic_dev_stats(const struct vnic_dev *dev, struct vnic_dev_stats *stats);
/* The drops by reason, i from 0: false: there are no more. The name is static. */
VNIC_API bool vnic_dev_drop(const struct vnic_dev *dev, unsigned int i, const char **ret_name,
			    uint64_t *ret_packets);

/* --- data functions: the thread that has the queue --- */

enum { VNIC_BURST_MAX = 32 };

/*
 * Take up to n frames (at most VNIC_BURST_MAX at a time) from the guest's transmitq `queue`. To be called
 * over and over, also when there is no room for frames (n = 0): it also sees to notifications that the driver
 * is still owed. Returns the count. Packet type and lengths of headers are not set; a frame may have several
 * segments; offloads that the guest leaves to the device (VNIC_FEATURES_RX_OFFLOADS) are requests in ol_flags
 * and tx_offload, as for rte_eth_tx_burst().
 */
VNIC_API uint16_t vnic_rx_burst(struct vnic_dev *dev, uint16_t queue, struct rte_mbuf **pkts, uint16_t n);
/*
 * With VNIC_FRAMES_BORROW, to be called after each vnic_rx_burst() when its borrowed frames were sent or are
 * not needed any more; otherwise the next vnic_rx_burst() does it. Until then control functions of the
 * context wait.
 */
VNIC_API void vnic_rx_release(struct vnic_dev *dev, uint16_t queue);
/* Is a part of the frame still in a guest's memory? Such frames may be sent to a device of the same context,
 * changed in their first 128 bytes, or freed. */
VNIC_API bool vnic_frame_is_borrowed(const struct rte_mbuf *pkt);
/*
 * Copy the rest of a borrowed frame, which may be kept from then on. Only before vnic_rx_release(). 0; or
 * -ENOMEM: it takes more packet buffers than are free, and the frame is as it was.
 */
VNIC_API int vnic_frame_materialise(struct rte_mbuf *pkt);

/*
 * Send n frames to the guest's receiveq `queue`. Takes all of them. Frames may have several segments, be
 * shared, and have requests as for rte_eth_tx_burst() (l2_len, l3_len, l4_len, tso_segsz set). To be called
 * over and over, with n = 0 when there is nothing to send, for the same reason as vnic_rx_burst(). Returns
 * how many were given to the guest; the rest is counted under a drop: a guest that has no buffers makes
 * nobody wait.
 */
VNIC_API uint16_t vnic_tx_burst(struct vnic_dev *dev, uint16_t queue, struct rte_mbuf **pkts, uint16_t n);
/* Number of tx queues that the driver uses, from 0 on; at least 1. Any thread. */
VNIC_API uint16_t vnic_tx_queues(const struct vnic_dev *dev);
/*
 * The tx queue to which the driver wants each of n frames (at most VNIC_BURST_MAX) to be sent (VIRTIO,
 * "Receive-side scaling", "Automatic receive steering"), into ret_queues; with hash reports the frames'
 * hashes are computed too. `queue` is the calling thread's own tx queue, and the result for frames that the
 * driver's settings say nothing of.
 */
VNIC_API void vnic_tx_steer(struct vnic_dev *dev, uint16_t queue, struct rte_mbuf **pkts, uint16_t n,
			    uint16_t ret_queues[]);

#ifdef __cplusplus
}
#endif

#endif
