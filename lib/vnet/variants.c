/* SPDX-License-Identifier: BSD-3-Clause */
/* variants: the burst bodies, once for each traits word of variants.def and once for all others. */
#include "from_guest.h"
#include "to_guest.h"
#include "vnet.h"

#define VARIANT(name, word)                                                                                  \
	static uint16_t from_guest_##name(struct vnet_queue *queue, const struct virtq_conf *conf,           \
					  struct port_queue *port_queue, struct rte_mbuf **pkts, uint16_t n) \
	{                                                                                                    \
		return vnet_from_guest_burst(queue, conf, port_queue, pkts, n, (word));                      \
	}                                                                                                    \
	static uint16_t to_guest_##name(struct vnet_queue *queue, const struct virtq_conf *conf,             \
					struct port_queue *port_queue, struct rte_mbuf *const *pkts,         \
					uint16_t n)                                                          \
	{                                                                                                    \
		return vnet_to_guest_burst(queue, conf, port_queue, pkts, n, (word));                        \
	}
#include "variants.def"
VARIANT(generic, conf->traits)
#undef VARIANT

static const vnet_from_guest_fn from_guest_variants[TRAIT_N] = {
#define VARIANT(name, word) [word] = from_guest_##name,
#include "variants.def"
#undef VARIANT
};

static const vnet_to_guest_fn to_guest_variants[TRAIT_N] = {
#define VARIANT(name, word) [word] = to_guest_##name,
#include "variants.def"
#undef VARIANT
};

const vnet_from_guest_fn vnet_from_guest_generic = from_guest_generic;
const vnet_to_guest_fn vnet_to_guest_generic = to_guest_generic;

/*
 * The row that does for a word: IN_ORDER changes nothing for a split ring, and MERGEABLE nothing that the burst
 * bodies look at. There may be none.
 */
static uint32_t
variants_row(uint32_t traits)
{
	if (!(traits & TRAIT_PACKED))
		traits &= ~(uint32_t)TRAIT_IN_ORDER;
	return from_guest_variants[traits] ? traits : traits ^ TRAIT_MERGEABLE;
}

vnet_from_guest_fn
vnet_from_guest_variant(uint32_t traits)
{
	vnet_from_guest_fn variant = from_guest_variants[variants_row(traits)];

	return variant ? variant : from_guest_generic;
}

vnet_to_guest_fn
vnet_to_guest_variant(uint32_t traits)
{
	vnet_to_guest_fn variant = to_guest_variants[variants_row(traits)];

	return variant ? variant : to_guest_generic;
}
