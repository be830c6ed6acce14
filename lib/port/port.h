/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * port: something frames come from and go to: a guest, a NIC.
 *
 * A port has queue pairs: a receive queue, which frames come from, and a transmit queue, which they go to.
 * Each of the two has a worker that owns it: it alone calls port_rx() or port_tx() and the service of that
 * queue, and it alone writes its counters (counter.h). Both of a pair usually have the same one
 * (fwd_plan_build()). Kinds of ports register themselves (PORT_KIND_REGISTER), so adding a kind is adding a
 * file.
 *
 * Life: port_config_parse() checks one line of configuration and opens nothing; port_config_check() checks a
 * set of them against each other; port_open() makes the port. All three belong to the control thread.
 */
#ifndef VNICD_PORT_H
#define VNICD_PORT_H

#include <assert.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <rte_common.h>
#include <rte_ether.h>
#include <rte_mbuf.h>

#include "burst.h"
#include "counter.h"
#include "counters.h"
#include "diag.h"
#include "hash.h"
#include "list.h"
#include "perms.h"
#include "port_config.h"

struct rte_kvargs;
struct policer;
struct show;
struct vnic_ctx;

enum {
	PORT_MAX = 1024,          /* ports in one program */
	PORT_QUEUES_MAX = 128,    /* queue pairs of one port */
	PORT_BURST = FRAME_BURST, /* frames per rx or tx call, at most */
	/* Largest frame, without FCS: Ethernet's header, two tags, IPv6's header and 65,535 bytes behind that
	 * (VIRTIO, "Setting Up Receive Buffers", has 65,589 without tags). */
	PORT_FRAME_MAX = 14 + 2 * 4 + 40 + 65535,
};

enum port_drop {
#define DROP(symbol, ...) DROP_##symbol,
#include "drops.def"
#undef DROP
	DROP_N,
};

/*
 * rx: from the port into vnicd; tx: towards the port. A frame that was taken from the port and then dropped
 * for whatever reason counts in rx and in one drop reason; a frame handed to tx counts either in tx or in one
 * drop reason. So over all ports rx + copies = tx + drops + consumed.
 */
struct port_stats {
/* The class COUNTERS_PORT, then COUNTERS_DROPS. */
#define COUNTER_PORT(field, ...) uint64_t field;
#include "counters.def"
	uint64_t drops[DROP_N];
};

/* The same of one queue, which is of one direction. */
struct port_queue_stats {
	uint64_t packets, bytes;
	uint64_t copies;              /* rx: made to flood; tx: segments beyond the first */
	uint64_t consumed;            /* rx: by the forwarding mode, whose purpose it is */
	uint64_t waits, waits_helped; /* tx, of guests */
	uint64_t drops[DROP_N];
};

/* What the device behind a port counts itself, since the port was opened: the class COUNTERS_DEVICE. */
struct port_device_stats {
#define COUNTER_DEVICE(field, ...) uint64_t field;
#include "counters.def"
};

struct port;
struct port_rxq;
struct port_txq;

/* A queue: for which one a worker is away in a PMD (quiesce.h). */
struct port_place {
	const struct port *port;
	uint16_t queue_idx;
};

/*
 * Take up to n (at most PORT_BURST) frames; the caller owns the mbufs. Packet type and l2/l3 lengths are not
 * set. Multi-segment mbufs are possible. Returns the count.
 */
typedef uint16_t (*port_rx_fn)(struct port_rxq *rxq, struct rte_mbuf **pkts, uint16_t n);
/*
 * Send n (at most PORT_BURST) frames: takes ownership of all of them, counts those not sent under a drop
 * reason. Does not write to frames whose reference count is above one. Returns the number sent.
 */
typedef uint16_t (*port_tx_fn)(struct port_txq *txq, struct rte_mbuf **pkts, uint16_t n);
/*
 * End the borrowing of the frames that the last rx took (borrow.h): nobody uses their payloads any more, so
 * the guest's buffers are returned to it. Called by the owner when rxq->borrowed is set; clears it.
 */
typedef void (*port_release_fn)(struct port_rxq *rxq);
/*
 * Called at the end of the owner's poll iterations, after all rx and tx: of every iteration while the pair
 * carries frames, and of dozens more; when it is idle, only of some, as rx is (app/poll.h). NULL: not needed.
 */
typedef void (*port_rx_service_fn)(struct port_rxq *rxq);
typedef void (*port_tx_service_fn)(struct port_txq *txq);

/* The hooks of a queue (hook.h), and the kind's function that they stand in front of. */
struct port_hook;
struct port_hooks {
	_Atomic(struct port_hook *) first; /* NULL: none, and `own` is not in use */
	union {
		port_rx_fn rx;
		port_tx_fn tx;
	} own;
	_Atomic(struct port_hook *) drops; /* those that see what is dropped; NULL: none */
};

/* A receive queue: frames come from it. */
struct port_rxq {
	/* The kind's function; while the queue has hooks, that of hook.c. Called by port_rx() alone. */
	_Atomic(port_rx_fn) rx;
	/* read-only after port_open() */
	port_rx_service_fn service;
	port_release_fn release; /* NULL: the kind never borrows */
	void *dev;               /* the kind's own */
	struct port *port;
	uint16_t idx;    /* of this pair in its port */
	uint16_t worker; /* index of the owner; set before the queue is polled, fixed while it is */
	uint16_t
		burst; /* 1 .. PORT_BURST: frames that it may give at a time, before others have their turn */
	/* Borrowed frames are to be materialised and released before they are forwarded, for the device is
	 * about to change (vdev_change_begin()). Written under the control lock. */
	_Atomic bool materialises;
	bool keeps_digests; /* its frames go to fwd_forward(), which clears has_digests: it may be set */
	struct port_place place;
	/* control lock writes */
	struct port_hooks hooks;

	/* written by the owner */
	struct port_queue_stats stats __rte_cache_aligned;
	/* Some of the frames that rx took last are borrowed. Read under the control lock, too
	 * (port_rxq_is_borrowed()). */
	bool borrowed;
	/* All frames that rx took last have their flow's digest with them (flow_digests_keep()), for the
	 * destination's steering. Valid on this worker, until the end of fwd_forward(); who changes IP
	 * addresses or ports before that clears it. */
	bool has_digests;
	_Atomic bool in_hooks; /* the owner is in a hook */
} __rte_cache_aligned;

/* A transmit queue: frames go to it. */
struct port_txq {
	/* As rxq's. Called by port_tx() alone. */
	_Atomic(port_tx_fn) tx;
	/* read-only after port_open() */
	port_tx_service_fn service;
	void *dev; /* the kind's own */
	struct port *port;
	uint16_t idx;          /* of this pair in its port */
	uint16_t worker;       /* index of the owner; as rxq's */
	bool accepts_borrowed; /* tx knows borrowed frames (borrow.h), and keeps none of them when it
				  returns */
	struct port_place place;
	/* control lock writes */
	struct port_hooks hooks;

	/* written by the owner */
	struct port_queue_stats stats __rte_cache_aligned;
	_Atomic bool in_hooks; /* the owner is in a hook */

	/* Atomic, written by all workers but the owner: frames that they dropped because the port's filter
	 * does not want them. port_txq_stats_read() adds it to the owner's count. */
	_Atomic uint64_t filtered_elsewhere __rte_cache_aligned;
} __rte_cache_aligned;

/* Placeholder for the half of a pair that another worker has: no frames, no service, no owner. */
extern struct port_rxq port_rxq_none;
extern struct port_txq port_txq_none; /* nothing is sent to it */

/* What a burst reads is in one cache line, and no line is written by two owners. */
static_assert(offsetof(struct port_rxq, materialises) < RTE_CACHE_LINE_MIN_SIZE &&
		      offsetof(struct port_txq, accepts_borrowed) < RTE_CACHE_LINE_MIN_SIZE,
	      "what a burst reads is in the first line");
static_assert(offsetof(struct port_rxq, stats) % RTE_CACHE_LINE_SIZE == 0 &&
		      offsetof(struct port_txq, stats) % RTE_CACHE_LINE_SIZE == 0 &&
		      offsetof(struct port_txq, filtered_elsewhere) % RTE_CACHE_LINE_SIZE == 0 &&
		      sizeof(struct port_rxq) % RTE_CACHE_LINE_SIZE == 0 &&
		      sizeof(struct port_txq) % RTE_CACHE_LINE_SIZE == 0,
	      "what the owner writes is in lines of its own");

/*
 * Which frames a port wants. Applied by the worker that has the frames, before they are steered, hashed or
 * handed to another worker. Immutable once published; freed as `port_steer`.
 */
struct port_filter {
	/*
	 * Any worker: moves those of n (1 .. PORT_BURST) frames that are wanted to the front of pkts[], in
	 * their order, the others behind them. Returns how many are wanted. Reads only the head of borrowed
	 * frames.
	 */
	uint16_t (*burst)(const struct port_filter *filter, struct rte_mbuf **pkts, uint16_t n);
};

/*
 * How frames for a port are spread over its queue pairs, where that is not simply by the sender's own pair
 * number. Immutable once published; freed by the port's kind when no worker sees it any more (quiesce.h).
 */
struct port_steer {
	/*
	 * Any worker that sends to the port: the pair for each of n (1 .. PORT_BURST) frames, each below
	 * `to`'s n_queues. May write the mbufs' hash fields.
	 */
	void (*pick)(const struct port_steer *steer, const struct port *to, const struct port_rxq *from,
		     struct rte_mbuf **pkts, uint16_t n, uint16_t ret_pairs[]);
};

struct port {
	char name[PORT_NAME_SIZE];
	uint16_t id;       /* slot in the port table, 0 .. PORT_MAX - 1; fixed for life */
	uint16_t n_queues; /* queue pairs, 1 .. PORT_QUEUES_MAX */
	/*
	 * Pairs 0 .. n_active - 1 can be sent to now; at least 1 (a frame for a pair that can't take it is
	 * dropped by its tx). Written by the control thread, read by every worker (relaxed).
	 */
	_Atomic uint16_t n_active;
	/* NULL: all frames are wanted. Written under the control lock, read by workers. */
	_Atomic(const struct port_filter *) filter;
	/* NULL: frames go to pair (sender's pair) mod n_active. As `filter`. */
	_Atomic(const struct port_steer *) steer;
	/*
	 * The parameters of the RSS hash that the port itself (a NIC) computes for frames that come from it,
	 * so that it need not be computed again for a guest with the same ones. Such frames have
	 * RTE_MBUF_F_RX_RSS_HASH and hash.rss set. NULL: no usable hash. As `filter`.
	 */
	_Atomic(const struct hash_params *) rx_hash;
	/* What the forwarding mode makes of its keys (struct port_mode_keys), read by its workers; NULL:
	 * nothing. As `filter`. */
	_Atomic(const void *) of_mode;
	const struct port_kind *kind;
	struct vnic_ctx *ctx;
	struct rte_ether_addr mac;
	struct policer *policer; /* NULL: no rate is limited */
	void *dev;               /* the kind's own */
	struct port_rxq *rxqs;   /* [n_queues] */
	struct port_txq *txqs;   /* [n_queues] */
	char describe[192];      /* one line for people: "vhost-user server /run/vnicd/vm0.sock" */
	struct port_config *config;
};

/* The state of a link. Speed and duplex are numbers as in VIRTIO's configuration space and Linux's ethtool.
 */
enum {
	PORT_SPEED_UNKNOWN = -1,
	PORT_DUPLEX_HALF = 0,
	PORT_DUPLEX_FULL = 1,
	PORT_DUPLEX_UNKNOWN = 0xff,
};

struct port_link {
	bool up;
	int32_t speed; /* Mb/s, or PORT_SPEED_UNKNOWN */
	uint8_t duplex;
};

/* Who is at the other end of a port that something connects to. */
struct port_peer {
	bool connected;
	bool has_mac; /* a driver runs there, whose address this is */
	struct rte_ether_addr mac;
};

enum port_link_request { PORT_LINK_DOWN, PORT_LINK_UP };

struct port_kind {
	struct port_kind *next;
	const char *name;
	const char *help;
	/* An example of what follows NAME= in a line, of one that others may follow: "nic,dev=net_tap0". */
	const char *example;
	/* The kind's own keys, besides the common ones (queues, mac, mtu), and the size of the struct that
	 * they fill, which config->args is. NULL and 0: none. */
	const struct key *keys;
	size_t args_size;
	/* Fill config->resource and config->uplink, check config->args. Opens nothing. Returns 0 or -errno
	 * with diag filled. NULL: there is nothing to check. */
	int (*check)(struct port_config *config, struct diag *diag);
	/* Fill in what the port will need; *ret_demand is zeroed before. NULL: nothing. */
	void (*demand)(const struct port_config *config, struct port_demand *ret_demand);
	/*
	 * Make the port: port_queues_alloc(), fill every field but name, id, kind and ctx. Returns 0 or
	 * -errno with diag filled and nothing left behind.
	 */
	int (*open)(struct port *port, const struct port_config *config, struct diag *diag);
	/* No worker polls the port any more. Frees everything that open made. */
	void (*close)(struct port *port);

	/* The following are NULL where a kind has no such thing. Control lock. */

	/* The link as it is now. */
	void (*link)(const struct port *port, struct port_link *ret_link);
	/* Who is connected now. */
	void (*peer)(const struct port *port, struct port_peer *ret_peer);
	/* The set of offloads (offloads.def) that frames to the port may request now. NULL: none. Others are
	 * done in software before (software_offload.h). */
	uint32_t (*capabilities)(const struct port *port);
	/* Copy the counters of the class COUNTERS_DEVICE or COUNTERS_CONTROLQ to ret_values[]. False: the
	 * port has none of that class. */
	bool (*counters)(const struct port *port, enum counter_class class, uint64_t ret_values[]);
	/* The administrator sets the link down, or up again, unless its uplink keeps it down. 0; 1: done, and
	 * diag's cause is a notice for the administrator; or -errno with diag filled. */
	int (*set_link)(struct port *port, enum port_link_request request, struct diag *diag);
	/* Make the port's address known to the network behind the other ports. 0 or -errno with diag filled.
	 */
	int (*announce)(struct port *port, struct diag *diag);
	/* The port's state, besides the counters. */
	void (*show)(const struct port *port, const struct show *show);
	/*
	 * From now on, compute the hash of incoming frames with these parameters, and leave frames without
	 * one for which the device can't; `hash` NULL: go back to the device's defaults. 0, or -errno, and
	 * the defaults are back. Control thread, while port->rx_hash is NULL: no one uses the hashes.
	 */
	int (*set_hash)(struct port *port, const struct hash_params *hash);
	/* When all ports are closed, before mempools are freed: wait for what goes on nevertheless. Control
	 * thread. */
	void (*finish)(void);
	bool is_uplink; /* other ports may follow the link of such a port (uplink=) */
};

void port_kind_register(struct port_kind *kind);
struct port_kind *port_kinds(void); /* head of the list */

#define PORT_KIND_REGISTER(kind)                                                 \
	__attribute__((constructor)) static void port_kind_register_##kind(void) \
	{                                                                        \
		port_kind_register(&(kind));                                     \
	}

/* What a kind needs of the program around it. Set once, before the first port_open(). */
struct port_env {
	struct vnic_ctx *ctx;      /* of all ports */
	struct rte_mempool *pool;  /* for frames from guests, and for copies */
	unsigned int n_workers;    /* 1 or more */
	const char *run_dir;       /* where sockets go by default */
	struct perms socket_perms; /* of ports' sockets, where the port does not say it */
	uint16_t retry;            /* of guests, where the port does not say it: the mode's */
	/* Of the forwarding mode; NULL: it gives ports no keys. Set before the first port_config_parse(). */
	const struct port_mode_keys *mode_keys;
};
extern struct port_env port_env;

/*
 * Open a port and enter it in the table. On success the port takes over what config owns, and config is
 * empty. -EEXIST: the name or the resource is taken; -ENOSPC: the table is full.
 */
int port_open(struct port_config *config, struct port **ret_port, struct diag *diag);
/* The caller has made sure that no worker sees the port. */
void port_close(struct port *port);

/* Control lock. Change what can be while the port is open, as port_config_change() reads it. Until it
 * returns, the old limits and the new ones hold. 0, or -errno with diag filled and nothing changed. */
int port_set(struct port *port, const char *pairs, struct diag *diag);
/* The same, to what another line of it says, as port_config_change_to() reads it; `as` stays the caller's. 1:
 * it would have to be opened anew, and nothing has changed. */
int port_become(struct port *port, struct port_config *as, struct diag *diag);

/* The table: control thread only (workers see ports through their plan). NULL for an empty slot or unknown
 * name. */
struct port *port_by_id(unsigned int id);
struct port *port_by_name(const char *name);
unsigned int port_count(void);

/* Sum over the queues, from any thread; a snapshot in which single counters are exact. */
void port_stats_read(const struct port *port, struct port_stats *ret_stats);
/* As port_stats_read(), of one queue pair. */
void port_pair_stats_read(const struct port *port, uint16_t idx, struct port_stats *ret_stats);
void port_stats_add(struct port_stats *sum, const struct port_stats *stats);
/* Of one queue. */
void port_rxq_stats_read(const struct port_rxq *rxq, struct port_queue_stats *ret_stats);
void port_txq_stats_read(const struct port_txq *txq, struct port_queue_stats *ret_stats);

/* For a kind's open: n_queues of both, zeroed but for what is true of every kind. 0 or -ENOMEM. */
int port_queues_alloc(struct port *port, uint16_t n_queues);
void port_queues_free(struct port *port); /* accepts a port without any */

/* There is none for the port of this name. Returns -ENOMEM with diag filled. */
int port_no_memory(const char *name, struct diag *diag);

/* A locally administered address that is always the same for a name. */
void port_mac_from_name(struct rte_ether_addr *mac, const char *name);
/* For a kind's open, of a port that has no address by itself: mac= of its line, or that of its name. */
void port_mac_from_config(struct port *port, const struct port_config *config);

/* Worker `worker`, of port_rx_count_drop() and its like: the drop hooks of a queue, called one by one. */
void port_hooks_see_drop(struct port_hooks *hooks, uint16_t worker, enum port_drop reason,
			 struct rte_mbuf *const *pkts, uint16_t n);

/* Owner of the queue: as port_rx_fn and port_tx_fn, which are called through these only. */
static inline uint16_t
port_rx(struct port_rxq *rxq, struct rte_mbuf **pkts, uint16_t n)
{
	/* Acquire: pairs with the release of who attaches a hook. */
	return atomic_load_explicit(&rxq->rx, memory_order_acquire)(rxq, pkts, n);
}

static inline uint16_t
port_tx(struct port_txq *txq, struct rte_mbuf **pkts, uint16_t n)
{
	return atomic_load_explicit(&txq->tx, memory_order_acquire)(txq, pkts, n);
}

/* Control lock. False: the borrowed frames were released, and the guest's ring was written by that. */
static inline bool
port_rxq_is_borrowed(const struct port_rxq *rxq)
{
	/* Acquire: pairs with the release of who gives it back. */
	return __atomic_load_n(&rxq->borrowed, __ATOMIC_ACQUIRE);
}

/*
 * Owner of the queue only: count n packets under a reason, and let the queue's drop hooks see them (hook.h).
 * They stay the caller's. `pkts` NULL: their bytes are nowhere to be seen. Not while the worker is away
 * (quiesce.h).
 */
static inline void
port_rx_count_drop(struct port_rxq *rxq, enum port_drop reason, struct rte_mbuf *const *pkts, uint16_t n)
{
	counter_add(&rxq->stats.drops[reason], n);
	if (unlikely(atomic_load_explicit(&rxq->hooks.drops, memory_order_relaxed)))
		port_hooks_see_drop(&rxq->hooks, rxq->worker, reason, pkts, n);
}

static inline void
port_tx_count_drop(struct port_txq *txq, enum port_drop reason, struct rte_mbuf *const *pkts, uint16_t n)
{
	counter_add(&txq->stats.drops[reason], n);
	if (unlikely(atomic_load_explicit(&txq->hooks.drops, memory_order_relaxed)))
		port_hooks_see_drop(&txq->hooks, txq->worker, reason, pkts, n);
}

/* Owner of the queue only: frames that end here as they are meant to. */
static inline void
port_rx_consume(struct port_rxq *rxq, struct rte_mbuf **pkts, uint16_t n)
{
	counter_add(&rxq->stats.consumed, n);
	rte_pktmbuf_free_bulk(pkts, n);
}

/* As port_rx_count_drop() and port_tx_count_drop(), and free them. */
static inline void
port_rx_drop(struct port_rxq *rxq, enum port_drop reason, struct rte_mbuf **pkts, uint16_t n)
{
	port_rx_count_drop(rxq, reason, pkts, n);
	rte_pktmbuf_free_bulk(pkts, n);
}

static inline void
port_tx_drop(struct port_txq *txq, enum port_drop reason, struct rte_mbuf **pkts, uint16_t n)
{
	port_tx_count_drop(txq, reason, pkts, n);
	rte_pktmbuf_free_bulk(pkts, n);
}

/*
 * Worker `idx` (any): frames that the port's `filter` does not want are counted as FILTERED on txq, which is
 * any queue of the port, and freed. Returns how many frames are left.
 */
uint16_t port_filter_apply(const struct port_filter *filter, struct port_txq *txq, uint16_t idx,
			   struct rte_mbuf **pkts, uint16_t n);

#endif
