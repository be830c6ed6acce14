/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * flows: where flows from a guest are learnt, so that steering (steer.h) finds the queue pair that each was
 * last sent from. A frame's flow is a number here, flow_digest().
 *
 * Direct mapped by the digest's low bits: a flow that meets another one's entry takes it over. Shared by all
 * pairs of a device: written by the owners of the guest's transmitqs, read by all that send to it, without
 * order: each entry says all there is to say, and an old one was right a moment ago.
 */
#ifndef VNICD_FLOWS_H
#define VNICD_FLOWS_H

#include <assert.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <rte_mbuf.h>

#include "flow.h"
#include "isa.h"
#include "port.h"

enum {
	FLOWS_SIZE = 4096, /* entries: 16 KiB */
	FLOWS_PAIR_MASK = FLOWS_SIZE - 1,
};

static_assert((FLOWS_SIZE & FLOWS_PAIR_MASK) == 0 && (int)PORT_QUEUES_MAX < (int)FLOWS_SIZE,
	      "an entry: the digest's high bits, and where its low bits were, the pair + 1");

/* n (1 .. PORT_BURST) digests at a time. The variants have the same results. */
struct flows_variant {
	flow_groups_fn groups; /* for flow_digests() */
	/* A bit for each digest whose entry is another flow's or says another pair. */
	uint32_t (*changed)(const _Atomic uint32_t entries[FLOWS_SIZE], const uint32_t digests[], uint16_t n,
			    uint16_t pair);
	/* As vnet_flows_find(). */
	void (*find)(const _Atomic uint32_t entries[FLOWS_SIZE], const uint32_t digests[], uint16_t n,
		     uint16_t n_pairs, uint16_t ret_pairs[]);
};

/* One digest after the other: for variants without functions of their own. */
uint32_t flows_changed(const _Atomic uint32_t entries[FLOWS_SIZE], const uint32_t digests[], uint16_t n,
		       uint16_t pair);
void flows_find(const _Atomic uint32_t entries[FLOWS_SIZE], const uint32_t digests[], uint16_t n,
		uint16_t n_pairs, uint16_t ret_pairs[]);

/* flows_avx2.c; NULL where the compiler knows no AVX2. */
extern const struct flows_variant *const flows_avx2;
/* flows_avx512.c; NULL where the compiler knows no AVX-512. */
extern const struct flows_variant *const flows_avx512;
/* isa_select() must have said `isa` or one behind it. */
const struct flows_variant *flows_variant_of(enum isa isa);

struct vnet_flows {
	const struct flows_variant *variant;
	_Atomic uint32_t entries[FLOWS_SIZE] __rte_cache_aligned; /* 0: empty */
} __rte_cache_aligned;

struct vnet_flows *vnet_flows_new(void);        /* NULL: out of memory */
void vnet_flows_free(struct vnet_flows *flows); /* accepts NULL */
/* Control thread, while nobody learns: all of them. Accepts NULL. */
void vnet_flows_forget(struct vnet_flows *flows);
/* Worker: frames that the guest sent on transmitq `pair`. */
void vnet_flows_learn(struct vnet_flows *flows, uint16_t pair, struct rte_mbuf *const *pkts, uint16_t n);
/* The same, and the digests stay in the frames (flow_digests_keep()). False: not, for some are not IP. */
bool vnet_flows_learn_and_keep(struct vnet_flows *flows, uint16_t pair, struct rte_mbuf *const *pkts,
			       uint16_t n);

/*
 * Worker: the pairs of those flows that are known and were last sent from a pair below n_pairs; the others'
 * are left as they were.
 */
static inline void
vnet_flows_find(const struct vnet_flows *flows, const uint32_t digests[], uint16_t n, uint16_t n_pairs,
		uint16_t ret_pairs[])
{
	flows->variant->find(flows->entries, digests, n, n_pairs, ret_pairs);
}

/* What the entry of a flow is when it was last sent from `pair`, */
static inline uint32_t
flows_entry(uint32_t digest, uint16_t pair)
{
	return (digest & ~(uint32_t)FLOWS_PAIR_MASK) | (pair + 1u);
}

/* and whether a digest's entry is that of its flow, sent from a pair below n_pairs. */
static inline bool
flows_entry_says(uint32_t entry, uint32_t digest, uint16_t n_pairs, uint16_t *ret_pair)
{
	/* An empty one has pair -1. */
	uint32_t pair = (entry & FLOWS_PAIR_MASK) - 1;

	*ret_pair = (uint16_t)pair;
	return (entry ^ digest) < FLOWS_SIZE && pair < n_pairs;
}

static inline uint32_t
flows_changed_one(const _Atomic uint32_t entries[FLOWS_SIZE], uint32_t digest, uint16_t pair)
{
	return atomic_load_explicit(&entries[digest % FLOWS_SIZE], memory_order_relaxed) !=
	       flows_entry(digest, pair);
}

static inline void
flows_find_one(const _Atomic uint32_t entries[FLOWS_SIZE], uint32_t digest, uint16_t n_pairs,
	       uint16_t *ret_pair)
{
	uint16_t pair;

	if (flows_entry_says(atomic_load_explicit(&entries[digest % FLOWS_SIZE], memory_order_relaxed),
			     digest, n_pairs, &pair))
		*ret_pair = pair;
}

#endif
