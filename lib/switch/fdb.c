/* SPDX-License-Identifier: BSD-3-Clause */
#include "fdb.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include <rte_common.h>
#include <rte_malloc.h>
#include <rte_random.h>
#include <rte_ring_elem.h>

/* The inverse of fdb_spread(). */
static uint64_t
fdb_unspread(const struct fdb *fdb, uint64_t spread)
{
	uint64_t x = rte_bswap64(spread) * fdb->inverses[1];

	/* What the fold brought down is not moved by it: it is its own inverse. */
	x ^= x >> FDB_FOLD & ~(RTE_BIT64(FDB_FREE_BITS) - 1);
	return x * fdb->inverses[0] >> FDB_FREE_BITS;
}

/* The station whose home this is; `word` may have steps and a port. */
static uint64_t
fdb_station_of(const struct fdb *fdb, uint64_t home, uint64_t word)
{
	return fdb_unspread(fdb, (word & FDB_REST_MASK) | home);
}

void
fdb_request_learning(struct fdb *fdb, struct fdb_worker *own, const struct port *port, struct fdb_place place)
{
	const size_t home = (size_t)(place.home - fdb->buckets);
	const uint64_t station = fdb_station_of(fdb, home, place.word);
	const struct fdb_event event = {.station = station, .port_id = port->id};
	uint64_t *recent = &own->recent[home % FDB_RECENT];

	if ((station & FDB_MAC_MASK) == 0 || (station & FDB_GROUP_BIT) || *recent == station)
		return;
	if (fdb_port_state(fdb, port) & FDB_PORT_FULL)
		return;
	if (atomic_load_explicit(&fdb->full, memory_order_relaxed) && !fdb_find_id(fdb, place))
		return;
	if (rte_ring_mp_enqueue_elem(fdb->events, (void *)(uintptr_t)&event, sizeof(event)) == 0)
		*recent = station;
}

/* --- control thread --- */

/* A word of the table. */
struct fdb_slot {
	struct fdb_bucket *bucket; /* NULL: none */
	unsigned int k;
	unsigned int steps; /* from home */
};

static uint64_t
fdb_load(const struct fdb_bucket *bucket, unsigned int k)
{
	return atomic_load_explicit(&bucket->words[k], memory_order_relaxed);
}

/* How far from home a word is. */
static unsigned int
fdb_steps(uint64_t word)
{
	return (unsigned int)((word >> FDB_FREE_SHIFT & (RTE_BIT64(FDB_FREE_BITS) - 1)) << 1 |
			      (word >> FDB_PORT_BITS & 1));
}

static bool
fdb_is_fixed(const struct fdb_bucket *bucket, unsigned int k)
{
	return bucket->fixed >> k & 1;
}

/* The place where the station is; with `free`, the free one that is nearest to home. */
static struct fdb_slot
fdb_slot(const struct fdb *fdb, struct fdb_place place, bool free)
{
	for (unsigned int i = 0; i < FDB_PROBES; i++) {
		struct fdb_bucket *bucket = fdb_behind(fdb, place.home, i);
		const uint64_t wanted = place.word | FDB_STEPS(i);

		for (unsigned int k = 0; k < FDB_BUCKET_WORDS; k++) {
			const uint64_t word = fdb_load(bucket, k);

			if (free ? word == 0 : word && (word & ~FDB_PORT_MASK) == wanted)
				return (struct fdb_slot){.bucket = bucket, .k = k, .steps = i};
		}
	}
	return (struct fdb_slot){0};
}

static void
fdb_port_tell(struct fdb *fdb, uint16_t port_id, enum fdb_port_state bit, bool set)
{
	const uint8_t was = atomic_load_explicit(&fdb->port_states[port_id], memory_order_relaxed);
	const uint8_t is = (uint8_t)(set ? was | bit : was & ~(unsigned int)bit);

	if (is == was)
		return;
	atomic_store_explicit(&fdb->port_states[port_id], is, memory_order_relaxed);
	/* Workers tell again of stations of which they would not have. */
	fdb->changed = true;
}

/* A station more behind the port, or one less. */
static void
fdb_port_count(struct fdb *fdb, uint16_t port_id, int by)
{
	struct fdb_port *port = &fdb->ports[port_id];

	port->n_learnt += (uint32_t)by;
	fdb_port_tell(fdb, port_id, FDB_PORT_FULL, port->limit && port->n_learnt >= port->limit);
}

static uint16_t
fdb_port_in(const struct fdb_bucket *bucket, unsigned int k)
{
	return (uint16_t)((fdb_load(bucket, k) & FDB_PORT_MASK) - 1);
}

/* In a place that is free, or where it was behind another port. */
static void
fdb_store(struct fdb *fdb, struct fdb_slot slot, struct fdb_place place, uint16_t port_id, bool fixed,
	  uint32_t now_s)
{
	struct fdb_bucket *bucket = slot.bucket;

	if (fdb_load(bucket, slot.k) && !fdb_is_fixed(bucket, slot.k))
		fdb_port_count(fdb, fdb_port_in(bucket, slot.k), -1);
	atomic_store_explicit(&bucket->last_seen_s[slot.k], now_s, memory_order_relaxed);
	atomic_store_explicit(&bucket->words[slot.k], place.word | FDB_STEPS(slot.steps) | (port_id + 1u),
			      memory_order_relaxed);
	bucket->fixed = (uint16_t)((bucket->fixed & ~(1u << slot.k)) | (unsigned int)fixed << slot.k);
	if (!fixed)
		fdb_port_count(fdb, port_id, 1);
	fdb->changed = true;
}

/* A station was carried from its home to `bucket`; `more` is 1, or -1 when it goes. */
static void
fdb_count_passed(struct fdb *fdb, struct fdb_bucket *bucket, unsigned int steps, uint16_t more)
{
	for (unsigned int i = 1; i <= steps; i++)
		atomic_fetch_add_explicit(
			&fdb_behind(fdb, bucket, (unsigned int)fdb->bucket_mask + 1 - i)->n_passed, more,
			memory_order_relaxed);
}

/* A station that is not in the table. Its slot; its bucket is NULL: there is no room. */
static struct fdb_slot
fdb_add(struct fdb *fdb, struct fdb_place place, uint16_t port_id, bool fixed, uint32_t now_s)
{
	struct fdb_slot slot = {0};

	/* One station in 10^14 would look like a free word: it is flooded. */
	if (fdb->n_known == fdb->n_entries || place.word == 0)
		return slot;
	slot = fdb_slot(fdb, place, true);
	/* No place near its home: who has not found the secrets can't bring that about. It is flooded. */
	if (!slot.bucket)
		return slot;
	fdb_store(fdb, slot, place, port_id, fixed, now_s);
	fdb_count_passed(fdb, slot.bucket, slot.steps, 1);
	fdb->n_known++;
	return slot;
}

/* Defined below. */
static void fdb_hold(struct fdb *fdb, uint16_t port_id, uint64_t station, uint32_t now_s);

static void
fdb_learn(struct fdb *fdb, uint64_t station, uint16_t port_id, uint32_t now_s)
{
	const struct fdb_place place = fdb_place(fdb, station);
	const struct fdb_slot slot = fdb_slot(fdb, place, false);
	uint16_t was_id;

	/* Said before it was full, or held. */
	if (fdb->port_states[port_id])
		return;
	if (!slot.bucket) {
		fdb_add(fdb, place, port_id, false, now_s);
		return;
	}
	was_id = fdb_port_in(slot.bucket, slot.k);
	if (fdb_is_fixed(slot.bucket, slot.k) || was_id == port_id)
		return;
	fdb_store(fdb, slot, place, port_id, false, now_s);
	fdb->ports[port_id].n_moves++;
	if (fdb->loop_moves && fdb_loops_moved(fdb, station, was_id, port_id, now_s))
		fdb_hold(fdb, port_id, station, now_s);
}

static void
fdb_forget(struct fdb *fdb, struct fdb_bucket *bucket, unsigned int k)
{
	const uint64_t word = fdb_load(bucket, k);

	if (!fdb_is_fixed(bucket, k))
		fdb_port_count(fdb, fdb_port_in(bucket, k), -1);
	atomic_store_explicit(&bucket->words[k], 0, memory_order_relaxed);
	bucket->fixed &= (uint16_t) ~(1u << k);
	fdb_count_passed(fdb, bucket, fdb_steps(word), UINT16_MAX);
	fdb->n_known--;
	fdb->changed = true;
}

/* Of an odd number, modulo 2^64: each round doubles the bits that are right, and the first three are. */
static uint64_t
fdb_inverse(uint64_t odd)
{
	uint64_t x = odd;

	for (int bits = 3; bits < 64; bits *= 2)
		x *= 2 - odd * x;
	return x;
}

/* The station in word k, which is not free. */
static uint64_t
fdb_station_in(const struct fdb *fdb, const struct fdb_bucket *bucket, unsigned int k)
{
	const uint64_t word = fdb_load(bucket, k);
	const uint64_t home = ((uint64_t)(bucket - fdb->buckets) - fdb_steps(word)) & fdb->bucket_mask;

	return fdb_station_of(fdb, home, word);
}

/* Workers learn of changes by the generation. */
static void
fdb_publish(struct fdb *fdb)
{
	if (!fdb->changed)
		return;
	fdb->changed = false;
	atomic_store_explicit(&fdb->full, fdb->n_known == fdb->n_entries, memory_order_relaxed);
	/* Release: pairs with the acquire in fdb_see_sources(). */
	atomic_fetch_add_explicit(&fdb->generation, 1, memory_order_release);
}

static void
fdb_age(struct fdb *fdb, uint32_t now_s)
{
	for (uint64_t i = 0; i <= fdb->bucket_mask; i++) {
		for (unsigned int k = 0; k < FDB_BUCKET_WORDS; k++) {
			struct fdb_bucket *bucket = &fdb->buckets[i];
			int32_t age_s;

			if (!fdb_load(bucket, k) || fdb_is_fixed(bucket, k))
				continue;
			/* Negative when a worker's clock is ahead of ours by its granularity. */
			age_s = (int32_t)(now_s - atomic_load_explicit(&bucket->last_seen_s[k],
								       memory_order_relaxed));
			if (age_s > 0 && (uint32_t)age_s > fdb->ageing_s)
				fdb_forget(fdb, &fdb->buckets[i], k);
		}
	}
}

/* Ports have been held for long enough. */
static void
fdb_let_go(struct fdb *fdb, uint32_t now_s)
{
	for (uint16_t id = 0; id < PORT_MAX; id++) {
		if (!(fdb->port_states[id] & FDB_PORT_HELD) ||
		    (int32_t)(now_s - fdb->ports[id].held_until_s) < 0)
			continue;
		fdb_port_tell(fdb, id, FDB_PORT_HELD, false);
		if (fdb->held)
			fdb->held(fdb->held_arg, id, NULL, 0);
	}
}

void
fdb_tick(struct fdb *fdb, uint32_t now_s)
{
	/* Bounded: workers may add as fast as we take. */
	unsigned int n = rte_ring_count(fdb->events);
	struct fdb_event event;

	while (n-- && rte_ring_sc_dequeue_elem(fdb->events, &event, sizeof(event)) == 0) {
		if (!fdb->gone[event.port_id])
			fdb_learn(fdb, event.station, (uint16_t)event.port_id, now_s);
	}
	if (fdb->any_gone) {
		/*
		 * A port is removed within one iteration of the control thread, so whatever was said of it
		 * before has just been passed over. Its id may have a new port, of whose events some were
		 * passed over too: a new generation makes workers report again.
		 */
		memset(fdb->gone, 0, sizeof(fdb->gone));
		fdb->any_gone = false;
		fdb->changed = true;
	}
	if (now_s != fdb->aged_at_s) {
		fdb_age(fdb, now_s);
		fdb_let_go(fdb, now_s);
		fdb->aged_at_s = now_s;
	}
	fdb_publish(fdb);
}

/* Which stations are forgotten: the port's (0: any), the VLAN's (-1: any), and those of VLANs not kept. */
struct fdb_choice {
	unsigned int port_id_and_1;
	int vlan;
	bool also_fixed;
	bool (*keeps)(const void *arg, uint16_t vlan); /* NULL: none is kept */
	const void *arg;
};

static bool
fdb_is_chosen(const struct fdb *fdb, const struct fdb_choice *choice, const struct fdb_bucket *bucket,
	      unsigned int k)
{
	const uint64_t word = fdb_load(bucket, k);
	uint16_t vlan;

	if (!word || (fdb_is_fixed(bucket, k) && !choice->also_fixed) ||
	    (choice->port_id_and_1 && (word & FDB_PORT_MASK) != choice->port_id_and_1))
		return false;
	vlan = (uint16_t)(fdb_station_in(fdb, bucket, k) >> FDB_MAC_BITS);
	if (choice->vlan >= 0 && choice->vlan != vlan)
		return false;
	return !choice->keeps || !choice->keeps(choice->arg, vlan);
}

static uint32_t
fdb_forget_all(struct fdb *fdb, const struct fdb_choice *choice)
{
	uint32_t n = 0;

	/* Of an empty table, as when ports are added at start, nothing. */
	for (uint64_t i = 0; fdb->n_known && i <= fdb->bucket_mask; i++) {
		for (unsigned int k = 0; k < FDB_BUCKET_WORDS; k++) {
			if (!fdb_is_chosen(fdb, choice, &fdb->buckets[i], k))
				continue;
			fdb_forget(fdb, &fdb->buckets[i], k);
			n++;
		}
	}
	fdb_publish(fdb);
	return n;
}

static void
fdb_hold(struct fdb *fdb, uint16_t port_id, uint64_t station, uint32_t now_s)
{
	const rte_be64_t mac = rte_cpu_to_be_64(station << (64 - FDB_MAC_BITS));
	struct fdb_port *port = &fdb->ports[port_id];
	struct rte_ether_addr addr;

	if (!port->may_hold)
		return;
	port->n_held++;
	port->held_until_s = now_s + fdb->loop_hold_s;
	fdb_port_tell(fdb, port_id, FDB_PORT_HELD, true);
	/* Its stations are looked for elsewhere. */
	fdb_forget_all(fdb, &(struct fdb_choice){.port_id_and_1 = port_id + 1u, .vlan = -1});
	memcpy(&addr, &mac, sizeof(addr));
	if (fdb->held)
		fdb->held(fdb->held_arg, port_id, &addr, (uint16_t)(station >> FDB_MAC_BITS));
}

void
fdb_set_loops(struct fdb *fdb, uint32_t moves, uint32_t hold_s, fdb_held_fn held, void *arg)
{
	fdb->loop_moves = moves;
	fdb->loop_hold_s = hold_s;
	fdb->held = held;
	fdb->held_arg = arg;
}

void
fdb_set_port(struct fdb *fdb, const struct port *port, uint32_t limit, bool may_hold)
{
	fdb->ports[port->id].limit = limit;
	fdb->ports[port->id].may_hold = may_hold;
	if (!may_hold)
		fdb_port_tell(fdb, port->id, FDB_PORT_HELD, false);
	fdb_port_count(fdb, port->id, 0);
	fdb_publish(fdb);
}

const struct fdb_port *
fdb_port(const struct fdb *fdb, const struct port *port)
{
	return &fdb->ports[port->id];
}

void
fdb_port_removed(struct fdb *fdb, const struct port *port)
{
	fdb->gone[port->id] = true;
	fdb->any_gone = true;
	fdb->ports[port->id].limit = 0;
	fdb_forget_all(fdb, &(struct fdb_choice){.port_id_and_1 = port ? port->id + 1u : 0,
						 .vlan = -1,
						 .also_fixed = true});
	fdb->ports[port->id] = (struct fdb_port){0};
	fdb_port_tell(fdb, port->id, FDB_PORT_HELD, false);
	fdb_publish(fdb);
}

void
fdb_retain(struct fdb *fdb, const struct port *port, bool (*keeps)(const void *arg, uint16_t vlan),
	   const void *arg)
{
	fdb_forget_all(fdb, &(struct fdb_choice){.port_id_and_1 = port ? port->id + 1u : 0,
						 .vlan = -1,
						 .also_fixed = true,
						 .keeps = keeps,
						 .arg = arg});
	/* Workers tell again what they told of the VLANs that it had. */
	fdb->changed = true;
	fdb_publish(fdb);
}

uint32_t
fdb_flush(struct fdb *fdb, const struct port *port, int vlan)
{
	return fdb_forget_all(fdb,
			      &(struct fdb_choice){.port_id_and_1 = port ? port->id + 1u : 0, .vlan = vlan});
}

/* Forgets the station that was learnt nearest behind this bucket. */
static bool
fdb_make_room(struct fdb *fdb, const struct fdb_bucket *home)
{
	for (uint64_t i = 0; i <= fdb->bucket_mask; i++) {
		struct fdb_bucket *bucket = fdb_behind(fdb, home, (unsigned int)i);

		for (unsigned int k = 0; k < FDB_BUCKET_WORDS; k++) {
			if (!fdb_load(bucket, k) || fdb_is_fixed(bucket, k))
				continue;
			fdb_forget(fdb, bucket, k);
			return true;
		}
	}
	return false;
}

int
fdb_fix(struct fdb *fdb, uint16_t vlan, const struct rte_ether_addr *mac, const struct port *port)
{
	const struct fdb_place place = fdb_place(fdb, fdb_station(vlan, fdb_mac(mac)));
	struct fdb_slot slot = fdb_slot(fdb, place, false);

	if (slot.bucket)
		fdb_store(fdb, slot, place, port->id, true, 0);
	else if (fdb->n_known < fdb->n_entries || fdb_make_room(fdb, place.home))
		slot = fdb_add(fdb, place, port->id, true, 0);
	if (!slot.bucket)
		return -ENOSPC;
	fdb_publish(fdb);
	return 0;
}

bool
fdb_forget_station(struct fdb *fdb, uint16_t vlan, const struct rte_ether_addr *mac)
{
	const struct fdb_slot slot = fdb_slot(fdb, fdb_place(fdb, fdb_station(vlan, fdb_mac(mac))), false);

	if (!slot.bucket)
		return false;
	fdb_forget(fdb, slot.bucket, slot.k);
	fdb_publish(fdb);
	return true;
}

void
fdb_walk(const struct fdb *fdb, uint32_t now_s, bool (*each)(void *arg, const struct fdb_entry *entry),
	 void *arg)
{
	for (uint64_t i = 0; i <= fdb->bucket_mask; i++) {
		const struct fdb_bucket *bucket = &fdb->buckets[i];

		for (unsigned int k = 0; k < FDB_BUCKET_WORDS; k++) {
			struct fdb_entry entry = {.fixed = fdb_is_fixed(bucket, k)};
			const uint64_t word = fdb_load(bucket, k);
			rte_be64_t mac;
			uint64_t station;
			int32_t age_s;

			if (!word)
				continue;
			station = fdb_station_in(fdb, bucket, k);
			mac = rte_cpu_to_be_64(station << (64 - FDB_MAC_BITS));
			memcpy(&entry.mac, &mac, sizeof(entry.mac));
			entry.vlan = (uint16_t)(station >> FDB_MAC_BITS);
			entry.port_id = (uint16_t)((word & FDB_PORT_MASK) - 1);
			age_s = (int32_t)(now_s - atomic_load_explicit(&bucket->last_seen_s[k],
								       memory_order_relaxed));
			entry.age_s = entry.fixed || age_s < 0 ? 0 : (uint32_t)age_s;
			if (!each(arg, &entry))
				return;
		}
	}
}

void
fdb_set_ageing_s(struct fdb *fdb, uint32_t ageing_s)
{
	fdb->ageing_s = ageing_s;
}

uint32_t
fdb_count(const struct fdb *fdb)
{
	return fdb->n_known;
}

int
fdb_find(const struct fdb *fdb, uint16_t vlan, const struct rte_ether_addr *mac)
{
	return (int)fdb_find_id(fdb, fdb_place(fdb, fdb_station(vlan, fdb_mac(mac)))) - 1;
}

unsigned int
fdb_waiting(const struct fdb *fdb)
{
	return rte_ring_count(fdb->events);
}

void
fdb_close(struct fdb *fdb)
{
	if (!fdb)
		return;
	rte_ring_free(fdb->events);
	rte_free(fdb->buckets);
	free(fdb);
}

/* Two stations a bucket, on average. */
static uint32_t
fdb_n_buckets(uint32_t n_entries)
{
	return RTE_MAX(rte_align32pow2(n_entries / 2), (uint32_t)FDB_BUCKETS_MIN);
}

size_t
fdb_memory(uint32_t n_entries)
{
	ssize_t ring = rte_ring_get_memsize_elem(sizeof(struct fdb_event), FDB_EVENTS);

	return fdb_n_buckets(n_entries) * sizeof(struct fdb_bucket) + (ring < 0 ? 0 : (size_t)ring);
}

int
fdb_open(struct fdb **ret_fdb, uint32_t n_entries, uint16_t n_workers, struct diag *diag)
{
	static unsigned int n_opened; /* DPDK wants a name of its own for each ring */
	size_t size = RTE_ALIGN_CEIL(sizeof(struct fdb) + n_workers * sizeof(struct fdb_worker),
				     RTE_CACHE_LINE_SIZE);
	struct fdb *fdb = aligned_alloc(RTE_CACHE_LINE_SIZE, size);
	uint32_t n_buckets = fdb_n_buckets(n_entries);
	char ring_name[RTE_RING_NAMESIZE];

	if (!fdb)
		goto no_memory;
	memset(fdb, 0, size);
	snprintf(ring_name, sizeof(ring_name), "fdb_%u", n_opened++);
	fdb->n_entries = n_entries;
	fdb->ageing_s = FDB_AGEING_S;
	atomic_init(&fdb->generation, 1);
	for (int i = 0; i < 2; i++) {
		fdb->factors[i] = rte_rand() | 1;
		fdb->inverses[i] = fdb_inverse(fdb->factors[i]);
	}
	fdb->bucket_mask = n_buckets - 1;
	/* On hugepages: a burst touches up to 64 buckets anywhere. */
	fdb->buckets = rte_zmalloc("fdb", n_buckets * sizeof(struct fdb_bucket), RTE_CACHE_LINE_SIZE);
	fdb->events = rte_ring_create_elem(ring_name, sizeof(struct fdb_event), FDB_EVENTS, SOCKET_ID_ANY,
					   RING_F_SC_DEQ);
	if (!fdb->buckets || !fdb->events)
		goto no_memory;
	*ret_fdb = fdb;
	return 0;

no_memory:
	fdb_close(fdb);
	return diag_set(diag, -ENOMEM, "give more memory (EAL option -m), or fewer entries=",
			"forward mode switch: no memory for a table of %u addresses", n_entries);
}
