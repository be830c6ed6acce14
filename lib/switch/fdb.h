/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fdb: the forwarding database of a bridge: which port a station is behind, for each VLAN.
 *
 *       workers                                        control thread
 *   source not known, or behind another port
 *      --- event (station, port) over a ring --->  tick: writes the table, ages it
 *   look stations up  <--------- table ---------  one writer
 *
 * A station is an address in a VLAN, 61 bits. A secret permutation of these spreads them over a word, of
 * which three bits stay 0; its lower bits say the bucket where a look-up starts, the station's home, and the
 * others, 49 at most, which of the stations with that home it is. So a place in the table holds a whole
 * station in one 64-bit word, with its port, and how many steps from home it is:
 *
 *     bucket  | word 0 .. word 4 | last seen 0 .. 4 | passed, fixed |
 *     word    | 5 bits | steps, 3 | 44 bits | step, 1 | port id + 1, 11 |        0: free
 *
 * The table is an array of buckets, a cache line each. A station whose home was full lives in one of the next
 * buckets, some steps on, and each bucket that it was carried past counts it in `passed`: a look-up goes on
 * only where that is not 0, and never further than FDB_PROBES buckets.
 *
 * Workers keep no copy of the table and no pointer into it between bursts. They read each word once, and a
 * word says all there is to say, so whatever control writes there meanwhile, a worker has an answer that was
 * right a moment ago, or none, and then it floods. Workers write only the time a station was last seen, once
 * a second; where control has just given the place to another one, that one was seen a moment ago too.
 *
 * A worker remembers which stations it has recently reported, so as not to report them with each frame,
 * until the table's generation changes: after every change of the table.
 *
 * Of each port it knows how many stations were learnt there, up to a limit, and how many came there from
 * another one. A station that moves to and fro is what a loop looks like: the port to which it moves, and
 * which is not where it was first, is held for a while (fdb_loops.c): nothing is taken from it.
 *
 * A station is a number here: the address, first byte on the wire highest, and above it the VLAN's 13 bits,
 * whose meaning is vlan.h's.
 */
#ifndef VNICD_FDB_H
#define VNICD_FDB_H

#include <assert.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include <rte_byteorder.h>
#include <rte_ring.h>

#include "diag.h"
#include "port.h"

enum {
	FDB_ENTRIES = 16384, /* stations, by default */
	FDB_AGEING_S = 300,  /* a station not seen for longer is forgotten, by default */
	FDB_ENTRIES_MAX = 1 << 24,
	FDB_EVENTS = 4096,    /* stations waiting to be learnt; more are learnt when they are seen again */
	FDB_RECENT = 512,     /* stations that a worker remembers having reported; a power of two */
	FDB_BUCKET_WORDS = 5, /* that fit into a cache line, with their times */
	/* With two stations a bucket, on average, all of a full table find a place within so many buckets
	 * but for one time in 10^9. */
	FDB_PROBES = 16,
	FDB_MOVERS = 64, /* stations that move, of which it is remembered at a time where they were first */

	FDB_MAC_BITS = 48,
	FDB_STATION_BITS = FDB_MAC_BITS + 13,
	/* Of a word. */
	FDB_PORT_BITS = 11,
	FDB_LOW_BITS = 12, /* with the step */
	FDB_FREE_BITS = 64 - FDB_STATION_BITS,
	FDB_FREE_SHIFT = 56, /* where a permuted station has them */
	FDB_FOLD = FDB_STATION_BITS / 2 + 1,
	FDB_BUCKETS_MIN = 1 << FDB_LOW_BITS, /* what a word leaves out is the home's */
};

#define FDB_GROUP_BIT (UINT64_C(1) << 40) /* multicast or broadcast address */
#define FDB_MAC_MASK (RTE_BIT64(FDB_MAC_BITS) - 1)
#define FDB_PORT_MASK (RTE_BIT64(FDB_PORT_BITS) - 1)
/* Of n steps. */
#define FDB_STEPS(n) (((uint64_t)(n)&1) << FDB_PORT_BITS | ((uint64_t)(n) >> 1) << FDB_FREE_SHIFT)
#define FDB_REST_MASK (~(FDB_STEPS(FDB_PROBES - 1) | FDB_PORT_MASK))

struct fdb_bucket {
	_Atomic uint64_t words[FDB_BUCKET_WORDS]; /* written by control */
	_Atomic uint32_t
		last_seen_s[FDB_BUCKET_WORDS]; /* written by workers, and by control when it learns */
	_Atomic uint16_t n_passed;             /* written by control */
	uint16_t fixed;                        /* control only: bit by word, neither moved nor aged */
} __rte_cache_aligned;

static_assert(sizeof(struct fdb_bucket) == 64, "a look-up is one cache line");
static_assert(PORT_MAX < 1 << FDB_PORT_BITS, "a word has so many bits for the port id and 1");
static_assert(FDB_PROBES == 2 << FDB_FREE_BITS, "a word has so many bits for the steps");
static_assert(FDB_PROBES <= FDB_BUCKETS_MIN, "no look-up sees a bucket twice");

/* Where a station is looked for, and by what. */
struct fdb_place {
	struct fdb_bucket *home;
	uint64_t word; /* less steps and port */
};

/* What a worker saw. */
struct fdb_event {
	uint64_t station;
	uint64_t port_id;
};

struct fdb_worker {
	uint64_t recent[FDB_RECENT]; /* stations that it has reported, by home; 0: free */
	uint64_t generation;         /* of the table when they were reported */
} __rte_cache_aligned;

/* What workers are told of a port. */
enum fdb_port_state {
	FDB_PORT_HELD = 1 << 0, /* a loop: nothing is taken from it */
	FDB_PORT_FULL = 1 << 1, /* it has as many stations as it may have */
};

/* Control only. */
struct fdb_port {
	uint32_t n_learnt; /* stations, less the fixed ones */
	uint32_t limit;    /* 0: none */
	uint64_t n_moves;  /* stations that were behind another port before */
	uint64_t n_held;   /* times */
	uint32_t held_until_s;
	bool may_hold;
};

/* A station that has moved. Control only. */
struct fdb_mover {
	uint64_t station;
	uint32_t since_s, last_s; /* moves are counted; the last one was */
	uint16_t first_id;        /* the port where it was before it began to move */
	uint16_t n_moves;         /* since since_s, to others than that one */
	bool in_use;
};

/* Something for the administrator: the port is held, or no longer (`mac` is NULL then). Control thread. */
typedef void (*fdb_held_fn)(void *arg, uint16_t port_id, const struct rte_ether_addr *mac, uint16_t vlan);

struct fdb {
	/* read by workers */
	struct fdb_bucket *buckets; /* [bucket_mask + 1] */
	uint64_t bucket_mask;
	uint64_t factors[2];     /* of the permutation: odd, and secret */
	struct rte_ring *events; /* of struct fdb_event */
	_Atomic uint64_t
		generation; /* written by control (release, after the change), read by workers (acquire) */
	_Atomic bool full;  /* written by control: there is no use in reporting new stations */
	_Atomic uint8_t port_states[PORT_MAX]; /* by id: enum fdb_port_state, written by control */

	/* control only */
	uint32_t n_entries __rte_cache_aligned; /* stations that may be known */
	uint32_t n_known;
	uint64_t inverses[2]; /* of the factors, modulo 2^64 */
	uint32_t ageing_s, aged_at_s;
	bool changed;
	bool any_gone;
	bool gone[PORT_MAX]; /* by id: removed since the last tick; what the ring says of it is stale */
	struct fdb_port ports[PORT_MAX]; /* by id */
	struct fdb_mover movers[FDB_MOVERS];
	uint32_t loop_moves, loop_hold_s;
	fdb_held_fn held;
	void *held_arg;

	struct fdb_worker workers[]; /* each written by that worker alone */
};

/*
 * Control thread, as all below but for the look-ups. A table of n_entries (1 .. FDB_ENTRIES_MAX) stations
 * for n_workers workers. 0, or -ENOMEM with *diag set.
 */
int fdb_open(struct fdb **ret_fdb, uint32_t n_entries, uint16_t n_workers, struct diag *diag);
/* Bytes of EAL's memory that fdb_open() takes for so many. */
size_t fdb_memory(uint32_t n_entries);
/* No worker sees it any more. Accepts NULL. */
void fdb_close(struct fdb *fdb);
void fdb_set_ageing_s(struct fdb *fdb, uint32_t ageing_s);
/* Learns what workers have reported and forgets what is too old, at a time on the clock of `now_s` below. */
void fdb_tick(struct fdb *fdb, uint32_t now_s);
/* The port is about to be closed: no worker sends to it any more. */
void fdb_port_removed(struct fdb *fdb, const struct port *port);
/* The number of stations known. */
uint32_t fdb_count(const struct fdb *fdb);
/* The number of events that no tick has taken yet. */
unsigned int fdb_waiting(const struct fdb *fdb);
/* The id of the port that a station is behind; -1: not known. */
int fdb_find(const struct fdb *fdb, uint16_t vlan, const struct rte_ether_addr *mac);

/* A port that is there, or has changed: how many stations it may learn (0: any number), and may it be held?
 * One that may not is let go. */
void fdb_set_port(struct fdb *fdb, const struct port *port, uint32_t limit, bool may_hold);
const struct fdb_port *fdb_port(const struct fdb *fdb, const struct port *port);
/* A port to which one station moves so many times in a second is held for so long; 0 moves: never. `held` is
 * told; NULL: nobody is. */
void fdb_set_loops(struct fdb *fdb, uint32_t moves, uint32_t hold_s, fdb_held_fn held, void *arg);
/* The station has moved; is the port it is behind now to be held? Of fdb_loops.c, for fdb.c. */
bool fdb_loops_moved(struct fdb *fdb, uint64_t station, uint16_t was_id, uint16_t is_id, uint32_t now_s);

/* What is known of a station. */
struct fdb_entry {
	struct rte_ether_addr mac;
	uint16_t vlan;
	uint16_t port_id;
	bool fixed;     /* by fdb_fix() */
	uint32_t age_s; /* since it was seen; 0 of a fixed one */
};

/* Calls `each` for all stations, in no order that means anything, until it returns false. `each` changes
 * nothing of the table. */
void fdb_walk(const struct fdb *fdb, uint32_t now_s, bool (*each)(void *arg, const struct fdb_entry *entry),
	      void *arg);
/* The station is behind this port, whatever is seen, until fdb_forget_station() or the port's end; in a full
 * table one that was learnt is forgotten for it. 0; -ENOSPC: all are fixed. */
int fdb_fix(struct fdb *fdb, uint16_t vlan, const struct rte_ether_addr *mac, const struct port *port);
/* False: it is not known. */
bool fdb_forget_station(struct fdb *fdb, uint16_t vlan, const struct rte_ether_addr *mac);
/* Forgets of a port all that is in VLANs which it does not keep, learnt or fixed. */
void fdb_retain(struct fdb *fdb, const struct port *port, bool (*keeps)(const void *arg, uint16_t vlan),
		const void *arg);
/* Forgets what was learnt, not what is fixed: of a port (NULL: all) and a VLAN (-1: all). Returns how many.
 */
uint32_t fdb_flush(struct fdb *fdb, const struct port *port, int vlan);

static inline uint64_t
fdb_mac(const struct rte_ether_addr *addr)
{
	uint64_t word = 0;

	memcpy(&word, addr, sizeof(*addr));
	return rte_be_to_cpu_64(word) >> 16;
}

static inline uint64_t
fdb_station(uint16_t vlan, uint64_t mac)
{
	return (uint64_t)vlan << FDB_MAC_BITS | mac;
}

/*
 * Two products with secret factors, folded between: each is a permutation of the 61-bit numbers, for odd
 * factors and this fold have inverses (fdb_unspread()). Who does not know the secrets can't choose stations
 * that meet in one bucket, and addresses in a row are spread as well as any: after one product alone they are
 * not. (A CRC would be as quick, but is linear: stations that collide under one seed do so under all.)
 */
static inline uint64_t
fdb_spread(const struct fdb *fdb, uint64_t station)
{
	/* In the upper bits of the word, so that products stay below 2^61 by themselves. */
	uint64_t x = (station << FDB_FREE_BITS) * fdb->factors[0];

	x ^= x >> FDB_FOLD & ~(RTE_BIT64(FDB_FREE_BITS) - 1);
	/* The bits that all of the station has part in are the upper ones of a product. */
	return rte_bswap64(x * fdb->factors[1]);
}

static inline struct fdb_place
fdb_place(const struct fdb *fdb, uint64_t station)
{
	const uint64_t spread = fdb_spread(fdb, station);

	return (struct fdb_place){
		.home = &fdb->buckets[spread & fdb->bucket_mask],
		.word = spread & ~(RTE_BIT64(FDB_LOW_BITS) - 1),
	};
}

/* The bucket n behind another one. */
static inline struct fdb_bucket *
fdb_behind(const struct fdb *fdb, const struct fdb_bucket *bucket, unsigned int n)
{
	return &fdb->buckets[((uint64_t)(bucket - fdb->buckets) + n) & fdb->bucket_mask];
}

/* --- look-ups, in any thread --- */

/* The id of the port that a station is behind, and 1; 0: not known. */
static inline unsigned int
fdb_find_id(const struct fdb *fdb, struct fdb_place place)
{
	const struct fdb_bucket *bucket = place.home;

	for (unsigned int i = 1;; i++) {
		uint64_t least = UINT64_MAX;

		/* Of the right word the port is left, of all others more. No branches: none could be
		 * foreseen. */
#pragma GCC unroll 5
		for (unsigned int k = 0; k < FDB_BUCKET_WORDS; k++) {
			uint64_t rest =
				atomic_load_explicit(&bucket->words[k], memory_order_relaxed) ^ place.word;

			least = RTE_MIN(least, rest);
		}
		/* A free word is 0, and what is left of it is no port's. */
		if (likely(least <= FDB_PORT_MASK))
			return (unsigned int)least;
		if (likely(atomic_load_explicit(&bucket->n_passed, memory_order_relaxed) == 0) ||
		    i == FDB_PROBES)
			return 0;
		bucket = fdb_behind(fdb, place.home, i);
		place.word = (place.word & FDB_REST_MASK) | FDB_STEPS(i);
	}
}

/* Where the station has its time, if it is behind the port with this id; NULL: it is not. */
static inline _Atomic uint32_t *
fdb_find_seen(const struct fdb *fdb, struct fdb_place place, uint16_t port_id)
{
	struct fdb_bucket *bucket = place.home;
	const uint64_t at_home = place.word | (port_id + 1u);
	uint64_t word = at_home;

	for (unsigned int i = 1;; i++) {
		unsigned int mask = 0;

#pragma GCC unroll 5
		for (unsigned int k = 0; k < FDB_BUCKET_WORDS; k++)
			mask |= (unsigned int)(atomic_load_explicit(&bucket->words[k],
								    memory_order_relaxed) == word)
				<< k;
		if (likely(mask))
			return &bucket->last_seen_s[__builtin_ctz(mask)];
		if (likely(atomic_load_explicit(&bucket->n_passed, memory_order_relaxed) == 0) ||
		    i == FDB_PROBES)
			return NULL;
		bucket = fdb_behind(fdb, place.home, i);
		word = at_home | FDB_STEPS(i);
	}
}

/* --- workers --- */

static inline unsigned int
fdb_port_state(const struct fdb *fdb, const struct port *port)
{
	return atomic_load_explicit(&fdb->port_states[port->id], memory_order_relaxed);
}

/* A source that is not in the table with this port: ask the control thread to learn it. */
void fdb_request_learning(struct fdb *fdb, struct fdb_worker *own, const struct port *port,
			  struct fdb_place place);

/* Worker `worker_idx` has n frames from `port`, whose sources have these places. */
static inline void
fdb_see_sources(struct fdb *fdb, uint16_t worker_idx, uint32_t now_s, const struct port *port,
		const struct fdb_place places[], uint16_t n)
{
	struct fdb_worker *own = &fdb->workers[worker_idx];
	uint64_t generation;

	/* Acquire: pairs with the release in fdb_publish(); a look-up from here on sees that change. */
	generation = atomic_load_explicit(&fdb->generation, memory_order_acquire);
	if (unlikely(own->generation != generation)) {
		memset(own->recent, 0, sizeof(own->recent));
		own->generation = generation;
	}
	for (uint16_t i = 0; i < n; i++) {
		_Atomic uint32_t *last_seen_s = fdb_find_seen(fdb, places[i], port->id);

		if (unlikely(!last_seen_s))
			fdb_request_learning(fdb, own, port, places[i]);
		/* Once a second, so that workers don't pull the line from each other for every frame. */
		else if (unlikely(atomic_load_explicit(last_seen_s, memory_order_relaxed) != now_s))
			atomic_store_explicit(last_seen_s, now_s, memory_order_relaxed);
	}
}
#endif
