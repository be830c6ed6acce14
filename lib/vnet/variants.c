/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * variants: the burst bodies for direct chains, once for each traits word of variants.def and once for all
 * others.
 *
 * Compiled once for each ISA variant that has burst bodies (isa.h), with VARIANTS set to the name of the
 * table.
 */
#include "burst_variants.h"
#include "from_guest.h"
#include "to_guest.h"

#define VARIANT(name, word)                                                                             \
	static uint16_t from_guest_##name(struct vnet_queue *queue, const struct vnet_conf *conf,       \
					  struct port_rxq *rxq, struct rte_mbuf **pkts, uint16_t n)     \
	{                                                                                               \
		return vnet_from_guest_burst(queue, conf, rxq, pkts, n, (word));                        \
	}                                                                                               \
	static uint16_t to_guest_##name(struct vnet_queue *queue, const struct vnet_conf *conf,         \
					struct port_txq *txq, struct rte_mbuf *const *pkts, uint16_t n) \
	{                                                                                               \
		return vnet_to_guest_burst(queue, conf, txq, pkts, n, (word));                          \
	}
#include "variants.def"
/* Without TRAIT_RSC, so that nothing is compiled for it here. */
VARIANT(other, (conf->virtq.traits & (TRAIT_N - 1u)))
#undef VARIANT

const struct vnet_variants VARIANTS = {
	.from_guest =
		{
#define VARIANT(name, word) [word] = from_guest_##name,
#include "variants.def"
#undef VARIANT
		},
	.to_guest =
		{
#define VARIANT(name, word) [word] = to_guest_##name,
#include "variants.def"
#undef VARIANT
		},
	.from_guest_other = from_guest_other,
	.to_guest_other = to_guest_other,
};
