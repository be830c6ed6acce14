/* SPDX-License-Identifier: BSD-3-Clause */
#include "fdb.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include <rte_malloc.h>
#include <rte_random.h>

static_assert(sizeof(void *) == sizeof(uint64_t), "an event is a port id and an address in one pointer");

void
fdb_request_learning(struct fdb *fdb, struct fdb_worker *own, const struct port *port,
		     const struct fdb_bucket *home, uint64_t mac)
{
	uint64_t *recent = &own->recent[(size_t)(home - fdb->buckets) % FDB_RECENT];

	if (mac == 0 || (mac & FDB_GROUP_BIT) || *recent == mac)
		return;
	if (atomic_load_explicit(&fdb->full, memory_order_relaxed) && !fdb_find_id(fdb, home, mac))
		return;
	if (rte_ring_mp_enqueue(fdb->events, (void *)(uintptr_t)fdb_word(mac, port->id)) == 0)
		*recent = mac;
}

/* --- control thread --- */

/* Put `word` where `old` is; 0: into the free place that is nearest to home. Returns its bucket; NULL: none.
 */
static struct fdb_bucket *
fdb_replace(struct fdb *fdb, const struct fdb_bucket *home, uint64_t old, uint64_t word, uint32_t now_s)
{
	for (unsigned int i = 0; i < FDB_PROBES; i++) {
		struct fdb_bucket *bucket = fdb_behind(fdb, home, i);

		for (unsigned int k = 0; k < FDB_BUCKET_WORDS; k++) {
			if (atomic_load_explicit(&bucket->words[k], memory_order_relaxed) != old)
				continue;
			atomic_store_explicit(&bucket->last_seen_s[k], now_s, memory_order_relaxed);
			atomic_store_explicit(&bucket->words[k], word, memory_order_relaxed);
			fdb->changed = true;
			return bucket;
		}
	}
	return NULL;
}

/* An address was carried from its home to `bucket`; `more` is 1, or -1 when it goes. */
static void
fdb_count_passed(struct fdb *fdb, struct fdb_bucket *home, const struct fdb_bucket *bucket, uint32_t more)
{
	for (struct fdb_bucket *at = home; at != bucket; at = fdb_behind(fdb, at, 1))
		atomic_fetch_add_explicit(&at->n_passed, more, memory_order_relaxed);
}

static void
fdb_learn(struct fdb *fdb, uint64_t mac, uint16_t port_id, uint32_t now_s)
{
	uint64_t word = fdb_word(mac, port_id);
	struct fdb_bucket *home = fdb_home(fdb, mac), *bucket;
	unsigned int id = fdb_find_id(fdb, home, mac);

	if (id) {
		if (id - 1 != port_id)
			fdb_replace(fdb, home, fdb_word(mac, (uint16_t)(id - 1)), word, now_s);
		return;
	}
	if (fdb->n_known == fdb->n_entries)
		return;
	bucket = fdb_replace(fdb, home, 0, word, now_s);
	/* No place near its home: who has not found the secrets can't bring that about. It is flooded. */
	if (!bucket)
		return;
	fdb_count_passed(fdb, home, bucket, 1);
	fdb->n_known++;
}

/* The address in word k. */
static void
fdb_forget(struct fdb *fdb, struct fdb_bucket *bucket, unsigned int k)
{
	uint64_t mac = atomic_load_explicit(&bucket->words[k], memory_order_relaxed) >> 16;

	atomic_store_explicit(&bucket->words[k], 0, memory_order_relaxed);
	fdb_count_passed(fdb, fdb_home(fdb, mac), bucket, UINT32_MAX);
	fdb->n_known--;
	fdb->changed = true;
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

			if (!atomic_load_explicit(&bucket->words[k], memory_order_relaxed))
				continue;
			/* Negative when a worker's clock is ahead of ours by its granularity. */
			age_s = (int32_t)(now_s - atomic_load_explicit(&bucket->last_seen_s[k],
								       memory_order_relaxed));
			if (age_s > 0 && (uint32_t)age_s > fdb->ageing_s)
				fdb_forget(fdb, &fdb->buckets[i], k);
		}
	}
}

void
fdb_tick(struct fdb *fdb, uint32_t now_s)
{
	/* Bounded: workers may add as fast as we take. */
	unsigned int n = rte_ring_count(fdb->events);
	void *event;

	while (n-- && rte_ring_sc_dequeue(fdb->events, &event) == 0) {
		uint64_t word = (uintptr_t)event;
		uint16_t port_id = (uint16_t)((word & FDB_PORT_MASK) - 1);

		if (!fdb->gone[port_id])
			fdb_learn(fdb, word >> 16, port_id, now_s);
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
		fdb->aged_at_s = now_s;
	}
	fdb_publish(fdb);
}

void
fdb_port_removed(struct fdb *fdb, const struct port *port)
{
	fdb->gone[port->id] = true;
	fdb->any_gone = true;
	for (uint64_t i = 0; i <= fdb->bucket_mask; i++) {
		for (unsigned int k = 0; k < FDB_BUCKET_WORDS; k++) {
			uint64_t word = atomic_load_explicit(&fdb->buckets[i].words[k], memory_order_relaxed);

			if ((word & FDB_PORT_MASK) == port->id + 1u)
				fdb_forget(fdb, &fdb->buckets[i], k);
		}
	}
	fdb_publish(fdb);
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
fdb_find(const struct fdb *fdb, const struct rte_ether_addr *addr)
{
	uint64_t mac = fdb_mac(addr);

	return (int)fdb_find_id(fdb, fdb_home(fdb, mac), mac) - 1;
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

/* Two addresses a bucket, on average. */
static uint32_t
fdb_n_buckets(uint32_t n_entries)
{
	return RTE_MAX(rte_align32pow2(n_entries / 2), (uint32_t)FDB_BUCKETS_MIN);
}

size_t
fdb_memory(uint32_t n_entries)
{
	ssize_t ring = rte_ring_get_memsize(FDB_EVENTS);

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
	for (uint16_t i = 0; i < RTE_DIM(fdb->secrets); i++)
		fdb->secrets[i] = rte_rand() | 1;
	fdb->bucket_mask = n_buckets - 1;
	/* On hugepages: a burst touches up to 64 buckets anywhere. */
	fdb->buckets = rte_zmalloc("fdb", n_buckets * sizeof(struct fdb_bucket), RTE_CACHE_LINE_SIZE);
	fdb->events = rte_ring_create(ring_name, FDB_EVENTS, SOCKET_ID_ANY, RING_F_SC_DEQ);
	if (!fdb->buckets || !fdb->events)
		goto no_memory;
	*ret_fdb = fdb;
	return 0;

no_memory:
	fdb_close(fdb);
	return diag_set(diag, -ENOMEM, "give more memory (EAL option -m), or fewer entries=",
			"forward mode switch: no memory for a table of %u addresses", n_entries);
}
