/* SPDX-License-Identifier: BSD-3-Clause */
#include "ways.h"

#include <stdatomic.h>

#include <rte_cpuflags.h>

extern const struct vnet_variants vnet_variants_portable;
#ifdef VNET_HAVE_AVX512
extern const struct vnet_variants vnet_variants_avx512;
#endif

static const struct vnet_variants *const ways_tables[VNET_WAYS] = {
	[VNET_PORTABLE] = &vnet_variants_portable,
#ifdef VNET_HAVE_AVX512
	[VNET_AVX512] = &vnet_variants_avx512,
#endif
};

const struct vnet_variants *
vnet_variants_of(enum vnet_way way)
{
	return ways_tables[way];
}

static enum vnet_way
ways_ask_cpu(void)
{
#ifdef VNET_HAVE_AVX512
	static const enum rte_cpu_flag_t needed[] = {RTE_CPUFLAG_AVX512F, RTE_CPUFLAG_AVX512BW,
						     RTE_CPUFLAG_AVX512DQ, RTE_CPUFLAG_AVX512VL,
						     RTE_CPUFLAG_BMI2};

	for (size_t i = 0; i < RTE_DIM(needed); i++)
		if (rte_cpu_get_flag_enabled(needed[i]) <= 0)
			return VNET_PORTABLE;
	return VNET_AVX512;
#else
	return VNET_PORTABLE;
#endif
}

enum vnet_way
vnet_way_best(void)
{
	static _Atomic int known = -1;
	int way = atomic_load_explicit(&known, memory_order_relaxed);

	if (way < 0) {
		way = (int)ways_ask_cpu();
		atomic_store_explicit(&known, way, memory_order_relaxed);
	}
	return (enum vnet_way)way;
}

/*
 * The row that does for a word: IN_ORDER changes nothing for a split ring, and MERGEABLE nothing that the
 * burst bodies look at. There may be none.
 */
static uint32_t
ways_row(const struct vnet_variants *variants, uint32_t traits)
{
	if (!(traits & TRAIT_PACKED))
		traits &= ~(uint32_t)TRAIT_IN_ORDER;
	return variants->from_guest[traits] ? traits : traits ^ TRAIT_MERGEABLE;
}

vnet_from_guest_fn
vnet_from_guest_variant(enum vnet_way way, uint32_t traits)
{
	const struct vnet_variants *variants = ways_tables[way];
	vnet_from_guest_fn variant = variants->from_guest[ways_row(variants, traits)];

	return variant ? variant : variants->from_guest_other;
}

vnet_to_guest_fn
vnet_to_guest_variant(enum vnet_way way, uint32_t traits)
{
	const struct vnet_variants *variants = ways_tables[way];
	vnet_to_guest_fn variant = variants->to_guest[ways_row(variants, traits)];

	return variant ? variant : variants->to_guest_other;
}
