/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * switch: a learning bridge.
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
 * goes on only where that is not 0, and never further than SWITCH_PROBES buckets.
 *
 * Workers keep no copy of the table and no pointer into it between bursts. They read each word once, and a
 * word says all there is to say, so whatever control writes there meanwhile, a worker has an answer that was
 * right a moment ago, or none, and then it floods. Workers write only the time an address was last seen, once
 * a second; where control has just given the place to another address, that one was seen a moment ago too.
 *
 * What a worker has told the control thread it remembers, so as not to say it with each frame, until the
 * table's generation changes: after every change of the table.
 *
 * An address is a 48-bit number here, first byte on the wire highest.
 */
#include "switch.h"

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <rte_malloc.h>
#include <rte_random.h>

#include "fwd.h"
#include "loop.h"

enum {
	SWITCH_EVENTS = 4096, /* addresses waiting to be learnt; more are learnt when they are seen again */
	SWITCH_TOLD = 512,    /* addresses that a worker remembers having told of; a power of two */
	SWITCH_BUCKET_WORDS = 5, /* that fit into a cache line, with their times */
	SWITCH_BUCKETS_MIN = 16,
	/* With two addresses a bucket, on average, all of a full table find a place within so many buckets
	 * but for one time in 10^9. */
	SWITCH_PROBES = 16,
};

#define SWITCH_GROUP_BIT (UINT64_C(1) << 40)     /* multicast or broadcast address */
#define SWITCH_RESERVED UINT64_C(0x0180c2000000) /* ..0f: not for bridges to forward (IEEE 802.1Q) */
#define SWITCH_RESERVED_MASK UINT64_C(0xfffffffffff0)
#define SWITCH_MAC_MASK (RTE_BIT64(48) - 1)
#define SWITCH_PORT_MASK UINT64_C(0xffff) /* of a word */

struct switch_bucket {
	_Atomic uint64_t words[SWITCH_BUCKET_WORDS]; /* written by control */
	_Atomic uint32_t
		last_seen_s[SWITCH_BUCKET_WORDS]; /* written by workers, and by control when it learns */
	_Atomic uint32_t n_passed;                /* written by control */
} __rte_cache_aligned;

static_assert(sizeof(struct switch_bucket) == 64, "a look-up is one cache line");
static_assert(PORT_MAX < 1 << 16, "a word and an event have 16 bits for the port id");
static_assert(SWITCH_PROBES <= SWITCH_BUCKETS_MIN, "no look-up sees a bucket twice");

struct switch_worker {
	uint64_t told[SWITCH_TOLD]; /* addresses, by hash; 0: free */
	uint64_t generation;        /* of the table when they were told of */
} __rte_cache_aligned;

struct switch_state {
	/* read by workers */
	struct switch_bucket *buckets; /* [bucket_mask + 1] */
	uint64_t bucket_mask;
	uint64_t secrets[4];
	struct rte_ring *events;
	_Atomic uint64_t
		generation; /* written by control (release, after the change), read by workers (acquire) */
	_Atomic bool full;  /* written by control: there is no use in telling of new addresses */

	/* control only */
	uint32_t n_entries __rte_cache_aligned; /* addresses that may be known */
	uint32_t n_known;
	uint32_t ageing_s, aged_at_s;
	bool changed;
	bool any_gone;
	bool gone[PORT_MAX]; /* by id: removed since the last tick; what the ring says of it is stale */

	struct switch_worker workers[FWD_WORKERS_MAX]; /* each written by that worker alone */
};

static_assert(sizeof(void *) == sizeof(uint64_t), "an event is a port id and an address in one pointer");

/* What a word of the table is, and an event: never 0. */
static inline uint64_t
switch_word(uint64_t mac, uint16_t port_id)
{
	return mac << 16 | (port_id + 1u);
}

static inline uint64_t
switch_mac(const struct rte_ether_addr *addr)
{
	uint64_t word = 0;

	memcpy(&word, addr, sizeof(*addr));
	return rte_be_to_cpu_64(word) >> 16;
}

/* Both halves of a product: a bit of x reaches all of it, those above by the lower half, those below by the
 * upper. */
static inline uint64_t
switch_fold(uint64_t x, uint64_t secret)
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
switch_hash(const struct switch_state *state, uint64_t mac)
{
	mac = switch_fold(mac ^ state->secrets[0], state->secrets[1]);
	return switch_fold(mac ^ state->secrets[2], state->secrets[3]);
}

static inline struct switch_bucket *
switch_home(const struct switch_state *state, uint64_t mac)
{
	return &state->buckets[switch_hash(state, mac) & state->bucket_mask];
}

/* The bucket n behind another one. */
static inline struct switch_bucket *
switch_behind(const struct switch_state *state, const struct switch_bucket *bucket, unsigned int n)
{
	return &state->buckets[((uint64_t)(bucket - state->buckets) + n) & state->bucket_mask];
}

/* --- look-ups, in any thread ------------------------------------------------------------------------------
 */

/* The id of the port that an address is behind, and 1; 0: not known. */
static inline unsigned int
switch_find_id(const struct switch_state *state, const struct switch_bucket *home, uint64_t mac)
{
	const struct switch_bucket *bucket = home;

	for (unsigned int i = 1;; i++) {
		uint64_t least = UINT64_MAX;

		/* Of the right word the port is left, of all others more. No branches: none could be
		 * foreseen. */
#pragma GCC unroll 5
		for (unsigned int k = 0; k < SWITCH_BUCKET_WORDS; k++) {
			uint64_t rest =
				atomic_load_explicit(&bucket->words[k], memory_order_relaxed) ^ mac << 16;

			least = RTE_MIN(least, rest);
		}
		if (likely(least <= SWITCH_PORT_MASK))
			return (unsigned int)least;
		if (likely(atomic_load_explicit(&bucket->n_passed, memory_order_relaxed) == 0) ||
		    i == SWITCH_PROBES)
			return 0;
		bucket = switch_behind(state, home, i);
	}
}

/* Where a word has its time; NULL: the word is not in the table. */
static inline _Atomic uint32_t *
switch_find_word(const struct switch_state *state, struct switch_bucket *home, uint64_t word)
{
	struct switch_bucket *bucket = home;

	for (unsigned int i = 1;; i++) {
		unsigned int mask = 0;

#pragma GCC unroll 5
		for (unsigned int k = 0; k < SWITCH_BUCKET_WORDS; k++)
			mask |= (unsigned int)(atomic_load_explicit(&bucket->words[k],
								    memory_order_relaxed) == word)
				<< k;
		if (likely(mask))
			return &bucket->last_seen_s[__builtin_ctz(mask)];
		if (likely(atomic_load_explicit(&bucket->n_passed, memory_order_relaxed) == 0) ||
		    i == SWITCH_PROBES)
			return NULL;
		bucket = switch_behind(state, home, i);
	}
}

/* --- worker -----------------------------------------------------------------------------------------------
 */

/* A source that is not in the table with this port. */
static __rte_noinline void
switch_tell(struct switch_state *state, struct switch_worker *own, const struct port *port,
	    const struct switch_bucket *home, uint64_t mac)
{
	uint64_t *told = &own->told[(size_t)(home - state->buckets) % SWITCH_TOLD];

	if (mac == 0 || (mac & SWITCH_GROUP_BIT) || *told == mac)
		return;
	if (atomic_load_explicit(&state->full, memory_order_relaxed) && !switch_find_id(state, home, mac))
		return;
	if (rte_ring_mp_enqueue(state->events, (void *)(uintptr_t)switch_word(mac, port->id)) == 0)
		*told = mac;
}

/* The port of which switch_find_id() spoke; NULL: to be flooded. */
static inline struct port *
switch_port(const struct fwd_plan *plan, unsigned int id_and_1)
{
	struct port *port = id_and_1 ? plan->port_by_id[id_and_1 - 1] : NULL;

	return unlikely(port == plan->leaving) ? NULL : port;
}

/* Copies of n frames to `to`. A copy that can't be made counts as made and dropped, so that the sums hold. */
static void
switch_send_copies(struct fwd_worker *worker, struct port_rxq *from, struct port *to, struct rte_mbuf **pkts,
		   uint16_t n)
{
	struct rte_mbuf *copies[PORT_BURST];
	uint16_t n_copies = 0;

	/* Copies share their data. */
	if (from->borrowed)
		borrow_materialise_burst(pkts, n);
	for (uint16_t i = 0; i < n; i++) {
		copies[n_copies] = rte_pktmbuf_clone(pkts[i], worker->clone_pool);
		if (likely(copies[n_copies]))
			n_copies++;
	}
	counter_add(&from->stats.copies, n);
	counter_add(&from->stats.drops[DROP_NO_CLONE], n - n_copies);
	if (n_copies)
		fwd_send(worker, from, to, copies, n_copies);
}

static void
switch_flood(struct fwd_worker *worker, struct port_rxq *from, struct rte_mbuf **pkts, uint16_t n)
{
	const struct fwd_plan *plan = worker->plan;
	struct port *last = NULL;

	for (uint16_t i = 0; i < plan->n_ports; i++) {
		if (plan->ports[i] == from->port)
			continue;
		if (last)
			switch_send_copies(worker, from, last, pkts, n);
		last = plan->ports[i];
	}
	if (last)
		fwd_send(worker, from, last, pkts, n);
	else
		port_rx_drop(from, DROP_NO_PORT, pkts, n);
}

/* A run of frames, each for a known port: those for the first one's port together, then those of the next. */
static void
switch_send_run(struct fwd_worker *worker, struct port_rxq *from, struct port **to, struct rte_mbuf **pkts,
		uint16_t n)
{
	struct rte_mbuf *group[PORT_BURST];

	while (n) {
		struct port *port = to[0];
		uint16_t n_group = 0, n_left = 0;

		for (uint16_t i = 0; i < n; i++) {
			if (to[i] == port) {
				group[n_group++] = pkts[i];
			} else {
				pkts[n_left] = pkts[i];
				to[n_left++] = to[i];
			}
		}
		fwd_send(worker, from, port, group, n_group);
		n = n_left;
	}
}

/* A burst that does not go to one port as it is. Frames to one port stay in order, flooded ones too. */
static void
switch_spread(struct fwd_worker *worker, struct port_rxq *from, struct rte_mbuf **pkts, const uint64_t dsts[],
	      const unsigned int ids[], uint16_t n)
{
	struct port *to[PORT_BURST];
	uint16_t n_kept = 0;

	for (uint16_t i = 0; i < n; i++) {
		struct rte_mbuf *m = pkts[i];

		to[n_kept] = switch_port(worker->plan, ids[i]);
		if (unlikely((dsts[i] & SWITCH_RESERVED_MASK) == SWITCH_RESERVED))
			port_rx_drop(from, DROP_NO_PORT, &m, 1);
		else if (unlikely(to[n_kept] == from->port))
			port_rx_drop(from, DROP_SAME_PORT, &m, 1);
		else
			pkts[n_kept++] = m;
	}
	/* Runs of frames to flood and of others, in turns. */
	for (uint16_t first = 0, end; first < n_kept; first = end) {
		for (end = first + 1; end < n_kept && !to[end] == !to[first];)
			end++;
		if (to[first])
			switch_send_run(worker, from, &to[first], &pkts[first], end - first);
		else
			switch_flood(worker, from, &pkts[first], end - first);
	}
}

static inline void
switch_see_sources(struct fwd_worker *worker, struct switch_state *state, const struct port *port,
		   const uint64_t macs[], struct switch_bucket *const homes[], uint16_t n)
{
	struct switch_worker *own = &state->workers[worker->idx];
	uint64_t generation, word_of_0 = switch_word(0, port->id);
	uint32_t now_s = worker->now_s;

	/* Acquire: pairs with the release in switch_publish(); a look-up from here on sees that change. */
	generation = atomic_load_explicit(&state->generation, memory_order_acquire);
	if (unlikely(own->generation != generation)) {
		memset(own->told, 0, sizeof(own->told));
		own->generation = generation;
	}
	for (uint16_t i = 0; i < n; i++) {
		_Atomic uint32_t *last_seen_s = switch_find_word(state, homes[i], macs[i] << 16 | word_of_0);

		if (unlikely(!last_seen_s))
			switch_tell(state, own, port, homes[i], macs[i]);
		/* Once a second, so that workers don't pull the line from each other for every frame. */
		else if (unlikely(atomic_load_explicit(last_seen_s, memory_order_relaxed) != now_s))
			atomic_store_explicit(last_seen_s, now_s, memory_order_relaxed);
	}
}

static void
switch_forward(struct fwd_worker *worker, struct port_rxq *from, struct rte_mbuf **pkts, uint16_t n)
{
	const struct fwd_plan *plan = worker->plan;
	struct switch_state *state = plan->mode_state;
	struct switch_bucket *dst_homes[PORT_BURST], *src_homes[PORT_BURST];
	uint64_t dsts[PORT_BURST], srcs[PORT_BURST];
	unsigned int ids[PORT_BURST], first_id = 0, others = 0;
	struct port *to;

	if (unlikely(plan->n_ports < 2)) {
		port_rx_drop(from, DROP_NO_PORT, pkts, n);
		return;
	}
	/* All lines of the burst are under way before the first of them is needed. */
	for (uint16_t i = 0; i < n; i++)
		rte_prefetch0(rte_pktmbuf_mtod(pkts[i], void *));
	for (uint16_t i = 0; i < n; i++) {
		const uint8_t *eth = rte_pktmbuf_mtod(pkts[i], const uint8_t *);
		uint64_t words[2];

		/* The first 12 bytes: destination and two, two and source. */
		memcpy(&words[0], eth, 8);
		memcpy(&words[1], eth + 4, 8);
		dsts[i] = rte_be_to_cpu_64(words[0]) >> 16;
		srcs[i] = rte_be_to_cpu_64(words[1]) & SWITCH_MAC_MASK;
		dst_homes[i] = switch_home(state, dsts[i]);
		src_homes[i] = switch_home(state, srcs[i]);
		rte_prefetch0(dst_homes[i]);
		rte_prefetch0(src_homes[i]);
	}
	switch_see_sources(worker, state, from->port, srcs, src_homes, n);
	for (uint16_t i = 0; i < n; i++) {
		ids[i] = switch_find_id(state, dst_homes[i], dsts[i]);
		first_id = i ? first_id : ids[0];
		others |= ids[i] ^ first_id;
	}
	/* Groups are never in the table. */
	to = others ? NULL : switch_port(plan, first_id);
	if (likely(to && to != from->port))
		fwd_send(worker, from, to, pkts, n);
	else
		switch_spread(worker, from, pkts, dsts, ids, n);
}

/* --- control thread ---------------------------------------------------------------------------------------
 */

/* Put `word` where `old` is; 0: into the free place that is nearest to home. Returns its bucket; NULL: none.
 */
static struct switch_bucket *
switch_replace(struct switch_state *state, const struct switch_bucket *home, uint64_t old, uint64_t word,
	       uint32_t now_s)
{
	for (unsigned int i = 0; i < SWITCH_PROBES; i++) {
		struct switch_bucket *bucket = switch_behind(state, home, i);

		for (unsigned int k = 0; k < SWITCH_BUCKET_WORDS; k++) {
			if (atomic_load_explicit(&bucket->words[k], memory_order_relaxed) != old)
				continue;
			atomic_store_explicit(&bucket->last_seen_s[k], now_s, memory_order_relaxed);
			atomic_store_explicit(&bucket->words[k], word, memory_order_relaxed);
			state->changed = true;
			return bucket;
		}
	}
	return NULL;
}

/* An address was carried from its home to `bucket`; `more` is 1, or -1 when it goes. */
static void
switch_count_passed(struct switch_state *state, struct switch_bucket *home,
		    const struct switch_bucket *bucket, uint32_t more)
{
	for (struct switch_bucket *at = home; at != bucket; at = switch_behind(state, at, 1))
		atomic_fetch_add_explicit(&at->n_passed, more, memory_order_relaxed);
}

static void
switch_learn(struct switch_state *state, uint64_t mac, uint16_t port_id, uint32_t now_s)
{
	uint64_t word = switch_word(mac, port_id);
	struct switch_bucket *home = switch_home(state, mac), *bucket;
	unsigned int id = switch_find_id(state, home, mac);

	if (id) {
		if (id - 1 != port_id)
			switch_replace(state, home, switch_word(mac, (uint16_t)(id - 1)), word, now_s);
		return;
	}
	if (state->n_known == state->n_entries)
		return;
	bucket = switch_replace(state, home, 0, word, now_s);
	/* No place near its home: who has not found the secrets can't bring that about. It is flooded. */
	if (!bucket)
		return;
	switch_count_passed(state, home, bucket, 1);
	state->n_known++;
}

/* The address in word k. */
static void
switch_forget(struct switch_state *state, struct switch_bucket *bucket, unsigned int k)
{
	uint64_t mac = atomic_load_explicit(&bucket->words[k], memory_order_relaxed) >> 16;

	atomic_store_explicit(&bucket->words[k], 0, memory_order_relaxed);
	switch_count_passed(state, switch_home(state, mac), bucket, UINT32_MAX);
	state->n_known--;
	state->changed = true;
}

/* Tell workers of changes. */
static void
switch_publish(struct switch_state *state)
{
	if (!state->changed)
		return;
	state->changed = false;
	atomic_store_explicit(&state->full, state->n_known == state->n_entries, memory_order_relaxed);
	/* Release: pairs with the acquire in switch_see_sources(). */
	atomic_fetch_add_explicit(&state->generation, 1, memory_order_release);
}

static void
switch_age(struct switch_state *state, uint32_t now_s)
{
	for (uint64_t i = 0; i <= state->bucket_mask; i++) {
		for (unsigned int k = 0; k < SWITCH_BUCKET_WORDS; k++) {
			struct switch_bucket *bucket = &state->buckets[i];
			int32_t age_s;

			if (!atomic_load_explicit(&bucket->words[k], memory_order_relaxed))
				continue;
			/* Negative when a worker's clock is ahead of ours by its granularity. */
			age_s = (int32_t)(now_s - atomic_load_explicit(&bucket->last_seen_s[k],
								       memory_order_relaxed));
			if (age_s > 0 && (uint32_t)age_s > state->ageing_s)
				switch_forget(state, &state->buckets[i], k);
		}
	}
}

void
switch_tick_at(void *arg, uint32_t now_s)
{
	struct switch_state *state = arg;
	/* Bounded: workers may add as fast as we take. */
	unsigned int n = rte_ring_count(state->events);
	void *event;

	while (n-- && rte_ring_sc_dequeue(state->events, &event) == 0) {
		uint64_t word = (uintptr_t)event;
		uint16_t port_id = (uint16_t)((word & SWITCH_PORT_MASK) - 1);

		if (!state->gone[port_id])
			switch_learn(state, word >> 16, port_id, now_s);
	}
	if (state->any_gone) {
		/*
		 * A port is removed within one iteration of the control thread, so whatever was said of it
		 * before has just been passed over. Its id may have a new port, of whose events some were
		 * passed over too: a new generation makes workers tell us again.
		 */
		memset(state->gone, 0, sizeof(state->gone));
		state->any_gone = false;
		state->changed = true;
	}
	if (now_s != state->aged_at_s) {
		switch_age(state, now_s);
		state->aged_at_s = now_s;
	}
	switch_publish(state);
}

static void
switch_tick(void *state)
{
	switch_tick_at(state, (uint32_t)(loop_now_ms() / 1000));
}

static void
switch_port_removed(void *arg, const struct port *port)
{
	struct switch_state *state = arg;

	state->gone[port->id] = true;
	state->any_gone = true;
	for (uint64_t i = 0; i <= state->bucket_mask; i++) {
		for (unsigned int k = 0; k < SWITCH_BUCKET_WORDS; k++) {
			uint64_t word =
				atomic_load_explicit(&state->buckets[i].words[k], memory_order_relaxed);

			if ((word & SWITCH_PORT_MASK) == port->id + 1u)
				switch_forget(state, &state->buckets[i], k);
		}
	}
	switch_publish(state);
}

void
switch_set_ageing_s(void *arg, uint32_t ageing_s)
{
	struct switch_state *state = arg;

	state->ageing_s = ageing_s;
}

uint32_t
switch_count(const void *arg)
{
	const struct switch_state *state = arg;

	return state->n_known;
}

int
switch_find(const void *arg, const struct rte_ether_addr *addr)
{
	const struct switch_state *state = arg;
	uint64_t mac = switch_mac(addr);

	return (int)switch_find_id(state, switch_home(state, mac), mac) - 1;
}

unsigned int
switch_waiting(const void *arg)
{
	const struct switch_state *state = arg;

	return rte_ring_count(state->events);
}

static void
switch_close(void *arg)
{
	struct switch_state *state = arg;

	if (!state)
		return;
	rte_ring_free(state->events);
	rte_free(state->buckets);
	free(state);
}

int
switch_open_sized(void **ret_state, uint32_t n_entries, struct diag *diag)
{
	static unsigned int n_opened; /* DPDK wants a name of its own for each ring */
	size_t size = RTE_ALIGN_CEIL(sizeof(struct switch_state), RTE_CACHE_LINE_SIZE);
	struct switch_state *state = aligned_alloc(RTE_CACHE_LINE_SIZE, size);
	uint32_t n_buckets = RTE_MAX(rte_align32pow2(n_entries / 2), (uint32_t)SWITCH_BUCKETS_MIN);
	char ring_name[RTE_RING_NAMESIZE];

	if (!state)
		goto no_memory;
	memset(state, 0, size);
	snprintf(ring_name, sizeof(ring_name), "switch_%u", n_opened++);
	state->n_entries = n_entries;
	state->ageing_s = SWITCH_AGEING_S;
	atomic_init(&state->generation, 1);
	for (uint16_t i = 0; i < RTE_DIM(state->secrets); i++)
		state->secrets[i] = rte_rand() | 1;
	state->bucket_mask = n_buckets - 1;
	/* On hugepages: a burst touches up to 64 buckets anywhere. */
	state->buckets = rte_zmalloc("switch", n_buckets * sizeof(struct switch_bucket), RTE_CACHE_LINE_SIZE);
	state->events = rte_ring_create(ring_name, SWITCH_EVENTS, SOCKET_ID_ANY, RING_F_SC_DEQ);
	if (!state->buckets || !state->events)
		goto no_memory;
	*ret_state = state;
	return 0;

no_memory:
	switch_close(state);
	return diag_set(diag, -ENOMEM, "give more memory (-m)",
			"forward mode switch: no memory for a table of %u addresses", n_entries);
}

static int
switch_open(void **ret_state, struct diag *diag)
{
	return switch_open_sized(ret_state, SWITCH_ENTRIES, diag);
}

static struct fwd_mode switch_mode = {
	.name = "switch",
	.help = "learning bridge: known addresses to their port, broadcast and unknown ones to every other "
		"port",
	.open = switch_open,
	.close = switch_close,
	.tick = switch_tick,
	.port_removed = switch_port_removed,
	.forward = switch_forward,
	.accepts_borrowed = true,
};
FWD_MODE_REGISTER(switch_mode)
