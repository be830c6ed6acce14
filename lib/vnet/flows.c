/* SPDX-License-Identifier: BSD-3-Clause */
#include "flows.h"

#include <stdlib.h>
#include <string.h>

uint32_t
flows_changed(const _Atomic uint32_t entries[FLOWS_SIZE], const uint32_t digests[], uint16_t n, uint16_t pair)
{
	uint32_t changed = 0;

	for (uint16_t i = 0; i < n; i++)
		changed |= flows_changed_one(entries, digests[i], pair) << i;
	return changed;
}

void
flows_find(const _Atomic uint32_t entries[FLOWS_SIZE], const uint32_t digests[], uint16_t n, uint16_t n_pairs,
	   uint16_t ret_pairs[])
{
	for (uint16_t i = 0; i < n; i++)
		flows_find_one(entries, digests[i], n_pairs, &ret_pairs[i]);
}

static const struct flows_variant flows_portable = {.changed = flows_changed, .find = flows_find};

const struct flows_variant *
flows_variant_of(enum isa isa)
{
	if (isa >= ISA_AVX512)
		return flows_avx512;
	return isa >= ISA_AVX2 ? flows_avx2 : &flows_portable;
}

struct vnet_flows *
vnet_flows_new(void)
{
	struct vnet_flows *flows = aligned_alloc(RTE_CACHE_LINE_SIZE, sizeof(*flows));

	if (!flows)
		return NULL;
	memset(flows, 0, sizeof(*flows));
	flows->variant = flows_variant_of(isa_select());
	return flows;
}

void
vnet_flows_free(struct vnet_flows *flows)
{
	free(flows);
}

void
vnet_flows_forget(struct vnet_flows *flows)
{
	/* Those who send to the guest may be looking. */
	for (unsigned int i = 0; flows && i < FLOWS_SIZE; i++)
		atomic_store_explicit(&flows->entries[i], 0, memory_order_relaxed);
}

/* `todo`: a bit for each digest. */
static inline void
flows_learn(struct vnet_flows *flows, uint16_t pair, const uint32_t digests[], uint32_t todo, uint16_t n)
{
	if (todo == 0)
		return;
	/* Without a store in the common case the line stays in the caches of all who read it. */
	todo &= flows->variant->changed(flows->entries, digests, n, pair);
	for (; unlikely(todo); todo &= todo - 1) {
		uint32_t digest = digests[__builtin_ctz(todo)];

		atomic_store_explicit(&flows->entries[digest % FLOWS_SIZE], flows_entry(digest, pair),
				      memory_order_relaxed);
	}
}

void
vnet_flows_learn(struct vnet_flows *flows, uint16_t pair, struct rte_mbuf *const *pkts, uint16_t n)
{
	uint32_t digests[PORT_BURST];
	uint32_t known = flow_digests(flows->variant->groups, pkts, n, digests);

	flows_learn(flows, pair, digests, known, n);
}

bool
vnet_flows_learn_and_keep(struct vnet_flows *flows, uint16_t pair, struct rte_mbuf *const *pkts, uint16_t n)
{
	uint32_t digests[PORT_BURST];
	uint32_t known = flow_digests(flows->variant->groups, pkts, n, digests);

	flows_learn(flows, pair, digests, known, n);
	if (unlikely(known != FLOW_ALL(n)))
		return false;
	flow_digests_keep(pkts, n, digests);
	return true;
}
