/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * switch: a learning bridge.
 *
 *       workers                                        control thread
 *   source address not known, or behind another port
 *      --- event (address, port) over a ring --->  tick: writes the table, ages it
 *   look addresses up  <--------- table ---------  one writer
 *
 * Workers read the table (rte_hash, lock-free) through a small cache of their own, and store the time an
 * address was last seen into its entry. Every change of the table is followed by a new generation number; a
 * worker that sees one at the start of a burst empties its cache. An entry that leaves the table is used
 * again only after every worker has passed a quiescent state, so a cached pointer never outlives its entry.
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

#include <rte_errno.h>
#include <rte_hash.h>
#include <rte_jhash.h>
#include <rte_random.h>

#include "fwd.h"
#include "loop.h"
#include "quiesce.h"

enum {
	SWITCH_EVENTS = 4096,  /* addresses waiting to be learnt; more are learnt when they are seen again */
	SWITCH_CACHE_BITS = 7, /* slots of a worker's cache, each for sources and for destinations */
	SWITCH_PREFETCH_AHEAD = 4, /* frames */
};

#define SWITCH_GROUP_BIT (UINT64_C(1) << 40)     /* multicast or broadcast address */
#define SWITCH_RESERVED UINT64_C(0x0180c2000000) /* ..0f: not for bridges to forward (IEEE 802.1Q) */
#define SWITCH_RESERVED_MASK UINT64_C(0xfffffffffff0)

struct switch_entry {
	uint64_t mac;                 /* written while no worker knows the entry */
	_Atomic uint32_t last_seen_s; /* written by workers, and by control when it learns */
	_Atomic uint16_t port_id;     /* written by control */
	bool in_table;                /* control only */
	int32_t position;             /* control only: of the key in the hash; valid in the dead list */
	struct switch_entry *next;    /* control only: in the list of free or dead entries */
};

/* What a worker remembers of one lookup. */
struct switch_slot {
	uint64_t key;               /* address | flags; 0: empty */
	struct switch_entry *entry; /* NULL: not in the table */
};
#define SWITCH_SLOT_USED (UINT64_C(1) << 63)
#define SWITCH_SLOT_TOLD (UINT64_C(1) << 62) /* an event for it is under way: don't send another */

struct switch_worker {
	struct switch_slot sources[1 << SWITCH_CACHE_BITS];
	struct switch_slot dests[1 << SWITCH_CACHE_BITS];
	uint32_t generation; /* of the table that the slots were filled from */
} __rte_cache_aligned;

struct switch_state {
	/* read by workers */
	struct rte_hash *hash; /* address -> struct switch_entry */
	struct rte_ring *events;
	_Atomic uint32_t
		generation; /* written by control (release, after the change), read by workers (acquire) */
	_Atomic bool full;  /* written by control: there is no use in telling of new addresses */

	/* control only */
	struct switch_entry *entries __rte_cache_aligned; /* [n_entries] */
	struct switch_entry *free_list, *dead_list;
	uint32_t n_entries, n_known;
	uint32_t ageing_s, aged_at_s;
	bool changed;
	bool any_gone;
	bool gone[PORT_MAX]; /* by id: removed since the last tick; what the ring says of it is stale */

	struct switch_worker workers[FWD_WORKERS_MAX]; /* each written by that worker alone */
};

static_assert(sizeof(void *) == sizeof(uint64_t), "an event is a port id and an address in one pointer");
static_assert(PORT_MAX <= 1 << 16, "an event has 16 bits for the port id");

static inline void *
switch_event_pack(uint64_t mac, uint16_t port_id)
{
	return (void *)(uintptr_t)((uint64_t)port_id << 48 | mac);
}

static inline uint64_t
switch_mac(const struct rte_ether_addr *addr)
{
	uint64_t word = 0;

	memcpy(&word, addr, sizeof(*addr));
	return rte_be_to_cpu_64(word) >> 16;
}

/* --- worker -----------------------------------------------------------------------------------------------
 */

static inline struct switch_slot *
switch_lookup(const struct switch_state *state, struct switch_slot slots[], uint64_t mac)
{
	struct switch_slot *slot = &slots[mac * UINT64_C(0x9e3779b97f4a7c15) >> (64 - SWITCH_CACHE_BITS)];
	void *entry;

	if (likely((slot->key & ~SWITCH_SLOT_TOLD) == (mac | SWITCH_SLOT_USED)))
		return slot;
	slot->key = mac | SWITCH_SLOT_USED;
	slot->entry = rte_hash_lookup_data(state->hash, &mac, &entry) >= 0 ? entry : NULL;
	return slot;
}

static inline void
switch_see_source(struct fwd_worker *worker, struct switch_state *state, struct switch_worker *own,
		  const struct port *port, uint64_t mac)
{
	struct switch_slot *slot;
	struct switch_entry *entry;

	if (unlikely(mac == 0 || (mac & SWITCH_GROUP_BIT)))
		return;
	slot = switch_lookup(state, own->sources, mac);
	entry = slot->entry;
	if (likely(entry && atomic_load_explicit(&entry->port_id, memory_order_relaxed) == port->id)) {
		/* Once a second, so that workers don't pull the line from each other for every frame. */
		if (atomic_load_explicit(&entry->last_seen_s, memory_order_relaxed) != worker->now_s)
			atomic_store_explicit(&entry->last_seen_s, worker->now_s, memory_order_relaxed);
		return;
	}
	if (slot->key & SWITCH_SLOT_TOLD)
		return;
	if (!entry && atomic_load_explicit(&state->full, memory_order_relaxed))
		return;
	if (rte_ring_mp_enqueue(state->events, switch_event_pack(mac, port->id)) == 0)
		slot->key |= SWITCH_SLOT_TOLD;
}

/* The port that a unicast address is behind; NULL: not known. */
static inline struct port *
switch_find_port(const struct fwd_plan *plan, const struct switch_state *state, struct switch_worker *own,
		 uint64_t mac)
{
	const struct switch_entry *entry = switch_lookup(state, own->dests, mac)->entry;
	struct port *port;

	if (unlikely(!entry))
		return NULL;
	port = plan->port_by_id[atomic_load_explicit(&entry->port_id, memory_order_relaxed)];
	return unlikely(port == plan->leaving) ? NULL : port;
}

/* Copies of n frames to `to`. A copy that can't be made counts as made and dropped, so that the sums hold. */
static void
switch_send_copies(struct fwd_worker *worker, struct port_queue *from, struct port *to,
		   struct rte_mbuf **pkts, uint16_t n)
{
	struct rte_mbuf *copies[PORT_BURST];
	uint16_t n_copies = 0;

	/* Copies share their data. */
	if (from->lent)
		lend_settle_burst(pkts, n);
	for (uint16_t i = 0; i < n; i++) {
		copies[n_copies] = rte_pktmbuf_clone(pkts[i], worker->clone_pool);
		if (likely(copies[n_copies]))
			n_copies++;
	}
	from->stats.copies += n;
	from->stats.drops[DROP_NO_CLONE] += n - n_copies;
	if (n_copies)
		fwd_send(worker, from, to, copies, n_copies);
}

static void
switch_flood(struct fwd_worker *worker, struct port_queue *from, struct rte_mbuf **pkts, uint16_t n)
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
		port_drop(from, DROP_NO_PORT, pkts, n);
}

/*
 * Frames of a burst, sorted by where they go. Frames to one port stay in order: what is to be flooded waits
 * here only while nothing for a single port does, and the other way round.
 */
struct switch_sorted {
	uint16_t n_groups; /* at most one a frame */
	uint16_t n_flood;
	struct port *to[PORT_BURST];
	uint16_t n[PORT_BURST];
	struct rte_mbuf *flood[PORT_BURST];
	struct rte_mbuf *pkts[PORT_BURST][PORT_BURST];
};

static inline void
switch_send_groups(struct fwd_worker *worker, struct port_queue *from, struct switch_sorted *sorted)
{
	for (uint16_t i = 0; i < sorted->n_groups; i++)
		fwd_send(worker, from, sorted->to[i], sorted->pkts[i], sorted->n[i]);
	sorted->n_groups = 0;
}

static inline void
switch_send_flood(struct fwd_worker *worker, struct port_queue *from, struct switch_sorted *sorted)
{
	if (sorted->n_flood)
		switch_flood(worker, from, sorted->flood, sorted->n_flood);
	sorted->n_flood = 0;
}

static inline void
switch_sort_known(struct switch_sorted *sorted, struct port *to, struct rte_mbuf *m)
{
	uint16_t i = 0;

	while (i < sorted->n_groups && sorted->to[i] != to)
		i++;
	if (i == sorted->n_groups) {
		sorted->to[i] = to;
		sorted->n[i] = 0;
		sorted->n_groups++;
	}
	sorted->pkts[i][sorted->n[i]++] = m;
}

static void
switch_forward(struct fwd_worker *worker, struct port_queue *from, struct rte_mbuf **pkts, uint16_t n)
{
	const struct fwd_plan *plan = worker->plan;
	struct switch_state *state = plan->mode_state;
	struct switch_worker *own = &state->workers[worker->idx];
	struct switch_sorted sorted;
	uint32_t generation;

	if (unlikely(plan->n_ports < 2)) {
		port_drop(from, DROP_NO_PORT, pkts, n);
		return;
	}
	/* Acquire: pairs with the release in switch_publish(); a lookup from here on sees that change. */
	generation = atomic_load_explicit(&state->generation, memory_order_acquire);
	if (unlikely(own->generation != generation)) {
		memset(own, 0, sizeof(*own));
		own->generation = generation;
	}
	sorted.n_groups = 0;
	sorted.n_flood = 0;
	for (uint16_t i = 0; i < RTE_MIN(n, (uint16_t)SWITCH_PREFETCH_AHEAD); i++)
		rte_prefetch0(rte_pktmbuf_mtod(pkts[i], void *));
	for (uint16_t i = 0; i < n; i++) {
		const struct rte_ether_hdr *eth = rte_pktmbuf_mtod(pkts[i], const struct rte_ether_hdr *);
		uint64_t dst = switch_mac(&eth->dst_addr);
		struct port *to = NULL;

		if (i + SWITCH_PREFETCH_AHEAD < n)
			rte_prefetch0(rte_pktmbuf_mtod(pkts[i + SWITCH_PREFETCH_AHEAD], void *));
		switch_see_source(worker, state, own, from->port, switch_mac(&eth->src_addr));
		if (likely(!(dst & SWITCH_GROUP_BIT))) {
			to = switch_find_port(plan, state, own, dst);
		} else if (unlikely((dst & SWITCH_RESERVED_MASK) == SWITCH_RESERVED)) {
			port_drop(from, DROP_NO_PORT, &pkts[i], 1);
			continue;
		}
		if (unlikely(!to)) {
			switch_send_groups(worker, from, &sorted);
			sorted.flood[sorted.n_flood++] = pkts[i];
		} else if (unlikely(to == from->port)) {
			port_drop(from, DROP_SAME_PORT, &pkts[i], 1);
		} else {
			switch_send_flood(worker, from, &sorted);
			switch_sort_known(&sorted, to, pkts[i]);
		}
	}
	switch_send_groups(worker, from, &sorted);
	switch_send_flood(worker, from, &sorted);
}

/* --- control thread ---------------------------------------------------------------------------------------
 */

static void
switch_list_push(struct switch_entry **list, struct switch_entry *entry)
{
	entry->next = *list;
	*list = entry;
}

static struct switch_entry *
switch_list_pop(struct switch_entry **list)
{
	struct switch_entry *entry = *list;

	if (entry)
		*list = entry->next;
	return entry;
}

static void
switch_learn(struct switch_state *state, uint64_t mac, uint16_t port_id, uint32_t now_s)
{
	struct switch_entry *entry;
	void *found;

	if (rte_hash_lookup_data(state->hash, &mac, &found) >= 0) {
		entry = found;
		if (atomic_load_explicit(&entry->port_id, memory_order_relaxed) == port_id)
			return;
		atomic_store_explicit(&entry->port_id, port_id, memory_order_relaxed);
		atomic_store_explicit(&entry->last_seen_s, now_s, memory_order_relaxed);
		state->changed = true;
		return;
	}
	entry = switch_list_pop(&state->free_list);
	if (!entry)
		return;
	entry->mac = mac;
	atomic_store_explicit(&entry->port_id, port_id, memory_order_relaxed);
	atomic_store_explicit(&entry->last_seen_s, now_s, memory_order_relaxed);
	if (rte_hash_add_key_data(state->hash, &entry->mac, entry) < 0) {
		/* The hash has twice the room, so this takes addresses chosen to collide: they are flooded.
		 */
		switch_list_push(&state->free_list, entry);
		return;
	}
	entry->in_table = true;
	state->n_known++;
	state->changed = true;
}

static void
switch_forget(struct switch_state *state, struct switch_entry *entry)
{
	entry->position = rte_hash_del_key(state->hash, &entry->mac);
	entry->in_table = false;
	switch_list_push(&state->dead_list, entry);
	state->n_known--;
	state->changed = true;
}

/* Tell workers of changes, and take back what they can no longer see. */
static void
switch_publish(struct switch_state *state)
{
	struct switch_entry *entry;

	if (!state->changed)
		return;
	state->changed = false;
	atomic_store_explicit(&state->full, state->n_known == state->n_entries, memory_order_relaxed);
	/* Release: pairs with the acquire in switch_forward(). */
	atomic_fetch_add_explicit(&state->generation, 1, memory_order_release);
	if (!state->dead_list)
		return;
	quiesce_wait();
	while ((entry = switch_list_pop(&state->dead_list))) {
		if (entry->position >= 0)
			rte_hash_free_key_with_position(state->hash, entry->position);
		switch_list_push(&state->free_list, entry);
	}
}

static void
switch_age(struct switch_state *state, uint32_t now_s)
{
	for (uint32_t i = 0; i < state->n_entries; i++) {
		struct switch_entry *entry = &state->entries[i];
		int32_t age_s;

		if (!entry->in_table)
			continue;
		/* Negative when a worker's clock is ahead of ours by its granularity. */
		age_s = (int32_t)(now_s - atomic_load_explicit(&entry->last_seen_s, memory_order_relaxed));
		if (age_s > 0 && (uint32_t)age_s > state->ageing_s)
			switch_forget(state, entry);
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
		uint16_t port_id = (uint16_t)((uintptr_t)event >> 48);

		if (!state->gone[port_id])
			switch_learn(state, (uintptr_t)event & (RTE_BIT64(48) - 1), port_id, now_s);
	}
	if (state->any_gone) {
		/*
		 * A port is removed within one turn of the control thread, so whatever was said of it before
		 * has just been passed over. Its id may have a new port, of whose events some were passed
		 * over too: a new generation makes workers tell us again.
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
	for (uint32_t i = 0; i < state->n_entries; i++) {
		struct switch_entry *entry = &state->entries[i];

		if (entry->in_table &&
		    atomic_load_explicit(&entry->port_id, memory_order_relaxed) == port->id)
			switch_forget(state, entry);
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
	void *entry;

	if (rte_hash_lookup_data(state->hash, &mac, &entry) < 0)
		return -1;
	return atomic_load_explicit(&((struct switch_entry *)entry)->port_id, memory_order_relaxed);
}

static void
switch_close(void *arg)
{
	struct switch_state *state = arg;

	if (!state)
		return;
	rte_ring_free(state->events);
	rte_hash_free(state->hash);
	free(state->entries);
	free(state);
}

int
switch_open_sized(void **ret_state, uint32_t n_entries, struct diag *diag)
{
	static unsigned int n_opened; /* DPDK wants a name of its own for each table */
	struct rte_hash_parameters params = {
		.entries = RTE_MAX(2 * n_entries, 64u), /* with room to spare, every address finds a place */
		.key_len = sizeof(uint64_t),
		.hash_func = rte_jhash,
		/* A guest that can't guess the seed can't choose addresses that collide. */
		.hash_func_init_val = (uint32_t)rte_rand(),
		.socket_id = SOCKET_ID_ANY,
		.extra_flag = RTE_HASH_EXTRA_FLAGS_RW_CONCURRENCY_LF,
	};
	size_t size = RTE_ALIGN_CEIL(sizeof(struct switch_state), RTE_CACHE_LINE_SIZE);
	struct switch_state *state = aligned_alloc(RTE_CACHE_LINE_SIZE, size);
	char hash_name[RTE_HASH_NAMESIZE], ring_name[RTE_RING_NAMESIZE];

	if (!state)
		goto no_memory;
	memset(state, 0, size);
	snprintf(hash_name, sizeof(hash_name), "switch_%u", n_opened);
	snprintf(ring_name, sizeof(ring_name), "switch_%u", n_opened++);
	params.name = hash_name;
	state->n_entries = n_entries;
	state->ageing_s = SWITCH_AGEING_S;
	atomic_init(&state->generation, 1);
	state->entries = calloc(n_entries, sizeof(*state->entries));
	state->hash = rte_hash_create(&params);
	state->events = rte_ring_create(ring_name, SWITCH_EVENTS, SOCKET_ID_ANY, RING_F_SC_DEQ);
	if (!state->entries || !state->hash || !state->events)
		goto no_memory;
	for (uint32_t i = n_entries; i-- > 0;)
		switch_list_push(&state->free_list, &state->entries[i]);
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
	.takes_lent = true,
};
FWD_MODE_REGISTER(switch_mode)
