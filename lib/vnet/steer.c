/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * steer: the objects that a device publishes in port->steer. One struct for all of them; what it does is its
 * `pick`: by RSS, or by flows, with or without a hash for the guest.
 */
#include "steer.h"

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "flow.h"
#include "flows.h"
#include "hash.h"

/* Immutable when published. */
struct steer {
	struct port_steer port;
	struct hash *hash;              /* ours; NULL: frames get none */
	const struct vnet_flows *flows; /* the device's; NULL: none are learnt */
	flow_groups_fn groups;          /* for flow_digests() */
	uint16_t unclassified_queue, table_mask;
	uint16_t table[STEER_RSS_TABLE_MAX];
};

static struct steer *
steer_of(const struct port_steer *steer)
{
	return (struct steer *)(uintptr_t)steer;
}

static inline enum hash_source
steer_hash_source(const struct steer *steer, const struct port_rxq *from)
{
	/* Acquire: pairs with the release of the port's kind. */
	const struct hash_params *rx_hash = atomic_load_explicit(&from->port->rx_hash, memory_order_acquire);

	return unlikely(rx_hash) && hash_is_same(steer->hash, rx_hash) ? HASH_IN_MBUF : HASH_NOT_KNOWN;
}

static_assert(offsetof(struct rte_mbuf, hash.fdir.hi) == offsetof(struct rte_mbuf, hash.rss) + 4,
	      "value and report code are written at once");

/* As steer.h says: flag, value and report code. */
static inline void
steer_mark(struct rte_mbuf *pkt, uint32_t value, uint8_t report)
{
	const uint64_t word = value | (uint64_t)report << 32; /* hash.rss, hash.fdir.hi */

	pkt->ol_flags = (pkt->ol_flags & ~RTE_MBUF_F_RX_RSS_HASH) | (report ? RTE_MBUF_F_RX_RSS_HASH : 0);
	memcpy(&pkt->hash, &word, sizeof(word));
}

/* VIRTIO, "RSS processing". A queue that can't take the frame drops it when it gets there. */
static inline void
steer_pick_by_rss(const struct steer *steer, const struct port_rxq *from, struct rte_mbuf **pkts, uint16_t n,
		  uint16_t ret_pairs[], uint32_t values[], uint8_t reports[])
{
	hash_burst(steer->hash, pkts, n, steer_hash_source(steer, from), values, reports);
	for (uint16_t i = 0; i < n; i++)
		ret_pairs[i] =
			reports[i] ? steer->table[values[i] & steer->table_mask] : steer->unclassified_queue;
}

/* Nobody asks what the hash was, so it is not written down. */
static void
steer_by_rss(const struct port_steer *port_steer, const struct port *to, const struct port_rxq *from,
	     struct rte_mbuf **pkts, uint16_t n, uint16_t ret_pairs[])
{
	uint32_t values[PORT_BURST];
	uint8_t reports[PORT_BURST];

	steer_pick_by_rss(steer_of(port_steer), from, pkts, n, ret_pairs, values, reports);
}

static void
steer_by_rss_with_hash(const struct port_steer *port_steer, const struct port *to,
		       const struct port_rxq *from, struct rte_mbuf **pkts, uint16_t n, uint16_t ret_pairs[])
{
	uint32_t values[PORT_BURST];
	uint8_t reports[PORT_BURST];

	steer_pick_by_rss(steer_of(port_steer), from, pkts, n, ret_pairs, values, reports);
	for (uint16_t i = 0; i < n; i++)
		steer_mark(pkts[i], values[i], reports[i]);
}

/*
 * VIRTIO, "Automatic receive steering in multiqueue mode". A flow that the guest has not sent yet keeps the
 * sender's pair, which spreads it already and often is the same worker's, unless the sender has fewer pairs
 * than the guest: then all of them are used by hash.
 */
static inline void
steer_pick_by_flows(const struct steer *steer, const struct port *to, const struct port_rxq *from,
		    struct rte_mbuf **pkts, uint16_t n, uint16_t ret_pairs[])
{
	uint16_t n_active = atomic_load_explicit(&to->n_active, memory_order_relaxed);
	bool by_sender = atomic_load_explicit(&from->port->n_active, memory_order_relaxed) >= n_active;
	uint16_t sender = from->idx < n_active ? from->idx : from->idx % n_active;
	uint32_t digests[PORT_BURST], known;

	if (n_active == 1) {
		memset(ret_pairs, 0, n * sizeof(ret_pairs[0]));
		return;
	}
	/* The guest that they come from has learnt them: they have been computed. */
	if (from->has_digests) {
		flow_digests_kept(pkts, n, digests);
		known = FLOW_ALL(n);
	} else {
		known = flow_digests(steer->groups, pkts, n, digests);
	}
	for (uint16_t i = 0; i < n; i++)
		ret_pairs[i] = by_sender ? sender : (uint16_t)((uint64_t)digests[i] * n_active >> 32);
	if (likely(known && steer->flows))
		vnet_flows_find(steer->flows, digests, n, n_active, ret_pairs);
	if (likely(known == FLOW_ALL(n)))
		return;
	for (uint16_t i = 0; i < n; i++)
		ret_pairs[i] = known >> i & 1 ? ret_pairs[i] : sender;
}

static void
steer_by_flows(const struct port_steer *port_steer, const struct port *to, const struct port_rxq *from,
	       struct rte_mbuf **pkts, uint16_t n, uint16_t ret_pairs[])
{
	steer_pick_by_flows(steer_of(port_steer), to, from, pkts, n, ret_pairs);
}

static void
steer_by_flows_with_hash(const struct port_steer *port_steer, const struct port *to,
			 const struct port_rxq *from, struct rte_mbuf **pkts, uint16_t n,
			 uint16_t ret_pairs[])
{
	const struct steer *steer = steer_of(port_steer);
	uint32_t values[PORT_BURST];
	uint8_t reports[PORT_BURST];

	/* First, for the mark is where the digest is. */
	steer_pick_by_flows(steer, to, from, pkts, n, ret_pairs);
	hash_burst(steer->hash, pkts, n, steer_hash_source(steer, from), values, reports);
	for (uint16_t i = 0; i < n; i++)
		steer_mark(pkts[i], values[i], reports[i]);
}

/* HASH_REPORT, and no types: there is nothing to compute. */
static void
steer_by_flows_without_hash(const struct port_steer *port_steer, const struct port *to,
			    const struct port_rxq *from, struct rte_mbuf **pkts, uint16_t n,
			    uint16_t ret_pairs[])
{
	steer_pick_by_flows(steer_of(port_steer), to, from, pkts, n, ret_pairs);
	for (uint16_t i = 0; i < n; i++)
		steer_mark(pkts[i], 0, 0);
}

/* --- making it --- */

bool
steer_rss_is_valid(const struct steer_rss *rss, uint16_t n_pairs)
{
	if (rss->table_len == 0 || rss->table_len > STEER_RSS_TABLE_MAX ||
	    rss->table_len & (rss->table_len - 1) || rss->unclassified_queue >= n_pairs)
		return false;
	for (uint16_t i = 0; i < rss->table_len; i++)
		if (rss->table[i] >= n_pairs)
			return false;
	return true;
}

int
vnet_steer_build(const struct vnet_steer_rules *rules, uint16_t n_pairs, enum steer_report report,
		 const struct vnet_flows *flows, struct port_steer **ret_steer)
{
	const struct steer_rss *rss = &rules->rss;
	struct steer *steer;

	if (!rss->enabled && n_pairs == 1 && report == STEER_NO_REPORT) {
		*ret_steer = NULL;
		return 0;
	}
	if (rss->enabled && !steer_rss_is_valid(rss, n_pairs))
		return -EINVAL;
	steer = calloc(1, sizeof(*steer));
	if (!steer)
		return -ENOMEM;
	if (rss->enabled || (report == STEER_REPORT && rules->hash.types)) {
		steer->hash = hash_new(&rules->hash, isa_select());
		if (!steer->hash) {
			free(steer);
			return -ENOMEM;
		}
	}
	if (rss->enabled) {
		steer->port.pick = report == STEER_REPORT ? steer_by_rss_with_hash : steer_by_rss;
		steer->unclassified_queue = rss->unclassified_queue;
		steer->table_mask = (uint16_t)(rss->table_len - 1);
		memcpy(steer->table, rss->table, rss->table_len * sizeof(rss->table[0]));
	} else {
		steer->port.pick = report == STEER_NO_REPORT ? steer_by_flows
				   : steer->hash             ? steer_by_flows_with_hash
							     : steer_by_flows_without_hash;
		steer->flows = flows;
		steer->groups = flows_variant_of(isa_select())->groups;
	}
	*ret_steer = &steer->port;
	return 0;
}

void
vnet_steer_free(struct port_steer *port_steer)
{
	struct steer *steer = steer_of(port_steer);

	if (!steer)
		return;
	hash_free(steer->hash);
	free(steer);
}
