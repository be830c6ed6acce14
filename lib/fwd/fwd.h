/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fwd: decides to which port a frame goes. Sees ports and mbufs, never virtio.
 *
 * A forwarding mode is one file that registers itself (FWD_MODE_REGISTER). The control thread builds an
 * immutable plan of the ports and publishes it; workers run the mode's functions on it.
 */
#ifndef VNICD_FWD_H
#define VNICD_FWD_H

#include <stdatomic.h>
#include <stdint.h>

#include <rte_mbuf.h>
#include <rte_ring.h>

#include "borrow.h"
#include "diag.h"
#include "keys.h"
#include "port.h"

enum {
	FWD_WORKERS_MAX = 64,        /* poll-mode workers */
	FWD_WORKER_QUEUES_MAX = 512, /* queue pairs that one worker serves, or halves of such */
	FWD_HANDOFF_SIZE = 1024,     /* frames in flight from one worker to another */
};

/*
 * What a worker serves of a queue pair: usually both queues. The queue that another worker has is
 * port_rxq_none or port_txq_none here.
 */
struct fwd_visit {
	struct port_rxq *rxq;
	struct port_txq *txq;
};

/* Published to workers; nothing in it changes after that, but the ports' own state. */
struct fwd_plan {
	/* Different for each plan, while the address of a freed one may be used again: by it workers notice
	 * that the plan has changed. */
	uint64_t serial;
	const struct fwd_mode *mode;
	void *mode_state; /* from mode->open; outlives plans */
	uint16_t n_ports;
	uint16_t n_workers;
	struct port *ports[PORT_MAX]; /* [n_ports], in the order they were configured */
	/*
	 * By id; NULL: no such port. A port that is leaving is still here, so that frames on their way to it
	 * over a handoff ring arrive, but no longer in ports[], peer_by_id[] or a worker's queues to take
	 * frames from.
	 */
	struct port *port_by_id[PORT_MAX];
	/* The port paired with a port (io, mac, macswap), by id; NULL: none. */
	struct port *peer_by_id[PORT_MAX];
	const struct port *leaving; /* NULL: none. Nothing new may be sent to it. */
	struct fwd_worker_plan {
		uint16_t n_queues;  /* to take frames from, and to service */
		uint16_t n_leaving; /* after those: to service only */
		struct fwd_visit queues[FWD_WORKER_QUEUES_MAX];
	} workers[]; /* [n_workers] */
};

/* One a worker; written by that worker alone, except the rings. */
struct fwd_worker {
	uint16_t idx;
	uint16_t n_workers;
	const struct fwd_plan *plan; /* the plan of this iteration of the poll loop */
	/* [from]: frames from worker `from`; NULL for this worker. Single producer, single consumer. */
	struct rte_ring *handoff_in[FWD_WORKERS_MAX];
	/* [to]: the same rings seen from the other end. */
	struct rte_ring *handoff_out[FWD_WORKERS_MAX];
	struct rte_mempool *clone_pool; /* for the copies made by flooding */
	uint32_t now_s; /* loop_now_ms() / 1000, coarse: refreshed by the poll loop at least once a second */
	/* Frames that came over a ring for a port that is not in the plan any more; not 0 only if a port was
	 * removed too early. */
	uint64_t lost_port_gone;
} __rte_cache_aligned;

struct fwd_mode {
	struct fwd_mode *next;
	const char *name;
	const char *help;
	/* Check that the mode can forward for this number of ports. 0 or -errno with diag filled. NULL: any
	 * number from 1. Control thread. */
	int (*check)(unsigned int n_ports, struct diag *diag);
	/* The mode's own keys, and the size of the struct that they fill, which `args` is below
	 * (fwd_config.h). NULL and 0: none; args is NULL. */
	const struct key *keys;
	size_t args_size;
	/* Looks for buffers of a guest that has none, where its port does not say how many (vnet_await()). */
	uint16_t retry;
	/* Keys that ports have in this mode; NULL: none. */
	struct port_mode_keys *port_keys;
	/* Check what the keys' rows can't. 0 or -errno with diag filled; opens nothing. NULL: not needed. */
	int (*check_args)(const void *args, struct diag *diag);
	/* Bytes of EAL's memory that the state will take. NULL: next to nothing. */
	size_t (*demand)(const void *args);
	/* State that outlives plans (the learning table), which keeps nothing of args. NULL: none. Control
	 * thread. */
	int (*open)(void **ret_state, const void *args, struct diag *diag);
	void (*close)(void *state);
	/* Every 10 ms on the control thread, for learning and ageing. NULL: not needed. */
	void (*tick)(void *state);
	/* A port is about to leave: forget it. Control thread, before the plan without it is published. */
	void (*port_removed)(void *state, const struct port *port);
	/* A port is new, in no plan yet; or its keys of this mode have changed, and no worker goes by the old
	 * ones. Control thread. NULL: not needed. */
	void (*port_changed)(void *state, const struct port *port);
	/* Worker: n (1 .. PORT_BURST) frames came from `from`; takes ownership of all. */
	void (*forward)(struct fwd_worker *worker, struct port_rxq *from, struct rte_mbuf **pkts, uint16_t n);
	/* `forward` reads only the head of a frame, and neither keeps nor shares it, so that frames may be
	 * borrowed (borrow.h). */
	bool accepts_borrowed;
	/* Worker: once per iteration for each owned transmit queue, to make traffic. NULL: none. */
	void (*generate)(struct fwd_worker *worker, struct port_txq *txq);
};

void fwd_mode_register(struct fwd_mode *mode);
struct fwd_mode *fwd_modes(void);
struct fwd_mode *fwd_mode_by_name(const char *name); /* NULL: none */
/* "io|mac|switch", for people. */
void fwd_mode_names(char *buf, size_t size);

#define FWD_MODE_REGISTER(mode)                                                 \
	__attribute__((constructor)) static void fwd_mode_register_##mode(void) \
	{                                                                       \
		fwd_mode_register(&(mode));                                     \
	}

/* Ready-made mode->check: an even number of ports, 2 or more (io, mac, macswap: "ports in pairs"). */
int fwd_check_pairs(unsigned int n_ports, struct diag *diag);

/* Worker: materialise those of n frames from `from` that are borrowed (borrow.h). Returns how many are left:
 * those for which there is no packet buffer are dropped. */
static inline uint16_t
fwd_materialise(struct port_rxq *from, struct rte_mbuf **pkts, uint16_t n)
{
	const uint16_t n_kept = borrow_materialise_burst(pkts, n, &from->stats.drops[DROP_NO_CLONE]);

	/* The digests are those of the frames by their places. */
	if (unlikely(n_kept < n))
		from->has_digests = false;
	return n_kept;
}

/* Worker: forward n (1 .. PORT_BURST) frames that rx took from `from`. On return the borrowed ones are
 * released, and has_digests is cleared. */
static inline void
fwd_forward(struct fwd_worker *worker, const struct fwd_mode *mode, struct port_rxq *from,
	    struct rte_mbuf **pkts, uint16_t n)
{
	if (from->borrowed &&
	    (!mode->accepts_borrowed || atomic_load_explicit(&from->materialises, memory_order_relaxed))) {
		n = fwd_materialise(from, pkts, n);
		from->release(from);
		if (unlikely(n == 0))
			return;
	}
	mode->forward(worker, from, pkts, n);
	if (from->borrowed)
		from->release(from);
	from->has_digests = false;
}

/*
 * Worker: send n (at most PORT_BURST) frames that came from `from` to the port `to`. First the port's filter,
 * which counts FILTERED on `to`; then the queue pair that its steering picks (without one: from->idx mod
 * to->n_active), at once when this worker owns the pair's transmit queue, over the ring to its owner
 * otherwise. Takes ownership; counts HANDOFF_FULL on `from`.
 */
void fwd_send(struct fwd_worker *worker, struct port_rxq *from, struct port *to, struct rte_mbuf **pkts,
	      uint16_t n);

/*
 * Worker: the same to each of n_to ports: copies, and the frames themselves to the last of them. Counts
 * copies and, of those that could not be made, NO_CLONE on `from`; NO_PORT where there is no port.
 */
void fwd_send_all(struct fwd_worker *worker, struct port_rxq *from, struct port *const to[], uint16_t n_to,
		  struct rte_mbuf **pkts, uint16_t n);

/* Worker: the same to all ports of the plan but `from`'s. */
void fwd_flood(struct fwd_worker *worker, struct port_rxq *from, struct rte_mbuf **pkts, uint16_t n);

/* Worker: the same to one queue, without steering. */
void fwd_send_to(struct fwd_worker *worker, struct port_rxq *from, struct port_txq *txq,
		 struct rte_mbuf **pkts, uint16_t n);

/*
 * Worker: send n (1 .. PORT_BURST) frames to one queue, without steering, that nobody waits for: of the ring
 * to its owner they take no more than half. Takes ownership of all; those for which there was no room are
 * freed and not counted. Returns how many were sent, or dropped under a reason of the queue's.
 */
uint16_t fwd_offer(struct fwd_worker *worker, struct port_txq *txq, struct rte_mbuf **pkts, uint16_t n);

/* Worker, in `generate`: send frames that the mode has made for this queue. The port's filter applies, too.
 */
void fwd_send_made(struct fwd_worker *worker, struct port_txq *txq, struct rte_mbuf **pkts, uint16_t n);

/* Worker: send the frames that other workers have handed over. Returns their number. */
unsigned int fwd_handoff_drain(struct fwd_worker *worker);

/* Once, before the first worker runs: make the rings and register the mbuf field that carries the
 * destination. */
int fwd_workers_open(struct fwd_worker workers[], unsigned int n_workers, struct rte_mempool *clone_pool,
		     struct diag *diag);
void fwd_workers_close(struct fwd_worker workers[], unsigned int n_workers);

/*
 * Control thread: a new plan over ports[0..n_ports) (their queues' `worker` is assigned here for those not
 * yet assigned: UINT16_MAX; the same one for both queues of a pair, so that its lines stay with one CPU).
 * NULL with diag filled: the mode refuses, a worker would serve more than FWD_WORKER_QUEUES_MAX pairs, or
 * there is no memory. Freed with fwd_plan_free() after no worker sees it.
 *
 * `leaving` (NULL: none) is a port being removed: first publish a plan with it as `leaving`, and wait for
 * quiescence three times (no worker sends to it any more, and frames in handoff rings have arrived:
 * quiesce_wait()); then publish a plan without it, and wait once more before the port is closed. A port that
 * is added is published as `leaving` first, so that every worker can deliver frames that are handed over for
 * it, then as one of the ports.
 */
struct fwd_plan *fwd_plan_build(const struct fwd_mode *mode, void *mode_state, struct port *const ports[],
				unsigned int n_ports, struct port *leaving, unsigned int n_workers,
				struct diag *diag);
void fwd_plan_free(struct fwd_plan *plan);

#endif
