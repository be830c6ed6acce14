/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fdb: the forwarding database of a learning bridge: which port an address is behind.
 *
 *       workers                                        control thread
 *   source address not known, or behind another port
 *      --- event (address, port) over a ring --->  tick: writes the table, ages it
 *   look addresses up  <--------- table ---------  one writer
 *
 * The table is an array of buckets, a cache line each. An address is one 64-bit word there, with its port,
 * and beside it the time it was last seen:
 *
 *     bucket  | word 0 .. word 4 | last seen 0 .. 4 | passed |      word: address << 16 | port id + 1
 *                                                                   0: free
 *
 * A look-up starts in the bucket that a hash of the address says, its home. An address whose home was full
 * lives in one of the next buckets, and each bucket that it was carried past counts it in `passed`: a look-up
 * goes on only where that is not 0, and never further than FDB_PROBES buckets.
 *
 * Workers keep no copy of the table and no pointer into it between bursts. They read each word once, and a
 * word says all there is to say, so whatever control writes there meanwhile, a worker has an answer that was
 * right a moment ago, or none, and then it floods. Workers write only the time an address was last seen, once
 * a second; where control has just given the place to another address, that one was seen a moment ago too.
 *
 * A worker remembers which addresses it has recently reported, so as not to report them with each frame,
 * until the table's generation changes: after every change of the table.
 *
 * An address is a 48-bit number here, first byte on the wire highest.
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
	FDB_ENTRIES = 16384, /* addresses, by default */
	FDB_AGEING_S = 300,  /* an address not seen for longer is forgotten, by default */
	FDB_ENTRIES_MAX = 1 << 24,
	FDB_EVENTS = 4096,    /* addresses waiting to be learnt; more are learnt when they are seen again */
	FDB_RECENT = 512,     /* addresses that a worker remembers having reported; a power of two */
	FDB_BUCKET_WORDS = 5, /* that fit into a cache line, with their times */
	FDB_BUCKETS_MIN = 16,
	/* With two addresses a bucket, on average, all of a full table find a place within so many buckets
	 * but for one time in 10^9. */
	FDB_PROBES = 16,
};

#define FDB_GROUP_BIT (UINT64_C(1) << 40) /* multicast or broadcast address */
#define FDB_MAC_MASK (RTE_BIT64(48) - 1)
#define FDB_PORT_MASK UINT64_C(0xffff) /* of a word */

struct fdb_bucket {
	_Atomic uint64_t words[FDB_BUCKET_WORDS]; /* written by control */
	_Atomic uint32_t
		last_seen_s[FDB_BUCKET_WORDS]; /* written by workers, and by control when it learns */
	_Atomic uint32_t n_passed;             /* written by control */
} __rte_cache_aligned;

static_assert(sizeof(struct fdb_bucket) == 64, "a look-up is one cache line");
static_assert(PORT_MAX < 1 << 16, "a word and an event have 16 bits for the port id");
static_assert(FDB_PROBES <= FDB_BUCKETS_MIN, "no look-up sees a bucket twice");

struct fdb_worker {
	uint64_t recent[FDB_RECENT]; /* addresses that it has reported, by hash; 0: free */
	uint64_t generation;         /* of the table when they were reported */
} __rte_cache_aligned;

struct fdb {
	/* read by workers */
	struct fdb_bucket *buckets; /* [bucket_mask + 1] */
	uint64_t bucket_mask;
	uint64_t secrets[4];
	struct rte_ring *events;
	_Atomic uint64_t
		generation; /* written by control (release, after the change), read by workers (acquire) */
	_Atomic bool full;  /* written by control: there is no use in reporting new addresses */

	/* control only */
	uint32_t n_entries __rte_cache_aligned; /* addresses that may be known */
	uint32_t n_known;
	uint32_t ageing_s, aged_at_s;
	bool changed;
	bool any_gone;
	bool gone[PORT_MAX]; /* by id: removed since the last tick; what the ring says of it is stale */

	struct fdb_worker workers[]; /* each written by that worker alone */
};

/*
 * Control thread, as all below but for the look-ups. A table of n_entries (1 .. FDB_ENTRIES_MAX) addresses
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
/* The number of addresses known. */
uint32_t fdb_count(const struct fdb *fdb);
/* The number of addresses that workers have reported and no tick has taken yet. */
unsigned int fdb_waiting(const struct fdb *fdb);
/* The id of the port that an address is behind; -1: not known. */
int fdb_find(const struct fdb *fdb, const struct rte_ether_addr *mac);

/* What a word of the table is, and an event: never 0. */
static inline uint64_t
fdb_word(uint64_t mac, uint16_t port_id)
{
	return mac << 16 | (port_id + 1u);
}

static inline uint64_t
fdb_mac(const struct rte_ether_addr *addr)
{
	uint64_t word = 0;

	memcpy(&word, addr, sizeof(*addr));
	return rte_be_to_cpu_64(word) >> 16;
}

/* Both halves of a product: a bit of x reaches all of it, those above by the lower half, those below by the
 * upper. */
static inline uint64_t
fdb_fold(uint64_t x, uint64_t secret)
{
	unsigned __int128 product = (unsigned __int128)x * secret;

	return (uint64_t)(product >> 64) ^ (uint64_t)product;
}

/*
 * Who does not know the secrets can't choose addresses that meet in one bucket, and addresses in a row are
 * spread as well as any: after one round alone they are not, with one pair of secrets in some hundreds. (A
 * CRC would be as quick, but is linear: addresses that collide under one seed do so under all.)
 */
static inline uint64_t
fdb_hash(const struct fdb *fdb, uint64_t mac)
{
	mac = fdb_fold(mac ^ fdb->secrets[0], fdb->secrets[1]);
	return fdb_fold(mac ^ fdb->secrets[2], fdb->secrets[3]);
}

static inline struct fdb_bucket *
fdb_home(const struct fdb *fdb, uint64_t mac)
{
	return &fdb->buckets[fdb_hash(fdb, mac) & fdb->bucket_mask];
}

/* The bucket n behind another one. */
static inline struct fdb_bucket *
fdb_behind(const struct fdb *fdb, const struct fdb_bucket *bucket, unsigned int n)
{
	return &fdb->buckets[((uint64_t)(bucket - fdb->buckets) + n) & fdb->bucket_mask];
}

/* --- look-ups, in any thread --- */

/* The id of the port that an address is behind, and 1; 0: not known. */
static inline unsigned int
fdb_find_id(const struct fdb *fdb, const struct fdb_bucket *home, uint64_t mac)
{
	const struct fdb_bucket *bucket = home;

	for (unsigned int i = 1;; i++) {
		uint64_t least = UINT64_MAX;

		/* Of the right word the port is left, of all others more. No branches: none could be
		 * foreseen. */
#pragma GCC unroll 5
		for (unsigned int k = 0; k < FDB_BUCKET_WORDS; k++) {
			uint64_t rest =
				atomic_load_explicit(&bucket->words[k], memory_order_relaxed) ^ mac << 16;

			least = RTE_MIN(least, rest);
		}
		if (likely(least <= FDB_PORT_MASK))
			return (unsigned int)least;
		if (likely(atomic_load_explicit(&bucket->n_passed, memory_order_relaxed) == 0) ||
		    i == FDB_PROBES)
			return 0;
		bucket = fdb_behind(fdb, home, i);
	}
}

/* Where a word has its time; NULL: the word is not in the table. */
static inline _Atomic uint32_t *
fdb_find_word(const struct fdb *fdb, struct fdb_bucket *home, uint64_t word)
{
	struct fdb_bucket *bucket = home;

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
		bucket = fdb_behind(fdb, home, i);
	}
}

/* --- workers --- */

/* A source that is not in the table with this port: ask the control thread to learn it. */
void fdb_request_learning(struct fdb *fdb, struct fdb_worker *own, const struct port *port,
			  const struct fdb_bucket *home, uint64_t mac);

/* Worker `worker_idx` has n frames from `port`, whose source addresses and their homes these are. */
static inline void
fdb_see_sources(struct fdb *fdb, uint16_t worker_idx, uint32_t now_s, const struct port *port,
		const uint64_t macs[], struct fdb_bucket *const homes[], uint16_t n)
{
	struct fdb_worker *own = &fdb->workers[worker_idx];
	uint64_t generation, word_of_0 = fdb_word(0, port->id);

	/* Acquire: pairs with the release in fdb_publish(); a look-up from here on sees that change. */
	generation = atomic_load_explicit(&fdb->generation, memory_order_acquire);
	if (unlikely(own->generation != generation)) {
		memset(own->recent, 0, sizeof(own->recent));
		own->generation = generation;
	}
	for (uint16_t i = 0; i < n; i++) {
		_Atomic uint32_t *last_seen_s = fdb_find_word(fdb, homes[i], macs[i] << 16 | word_of_0);

		if (unlikely(!last_seen_s))
			fdb_request_learning(fdb, own, port, homes[i], macs[i]);
		/* Once a second, so that workers don't pull the line from each other for every frame. */
		else if (unlikely(atomic_load_explicit(last_seen_s, memory_order_relaxed) != now_s))
			atomic_store_explicit(last_seen_s, now_s, memory_order_relaxed);
	}
}
#endif
