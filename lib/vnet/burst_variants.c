/* SPDX-License-Identifier: BSD-3-Clause */
#include "burst_variants.h"

extern const struct vnet_variants vnet_variants_portable;
#ifdef HAVE_BURSTS_AVX2
extern const struct vnet_variants vnet_variants_avx2;
#endif
#ifdef HAVE_BURSTS_AVX512
extern const struct vnet_variants vnet_variants_avx512;
#endif

static const struct vnet_variants *
variants_of(enum isa isa)
{
#ifdef HAVE_BURSTS_AVX512
	if (isa >= ISA_AVX512)
		return &vnet_variants_avx512;
#endif
#ifdef HAVE_BURSTS_AVX2
	if (isa >= ISA_AVX2)
		return &vnet_variants_avx2;
#endif
	return &vnet_variants_portable;
}

/*
 * The row that does for a word: IN_ORDER changes nothing for a split ring, and MERGEABLE nothing that the
 * burst bodies look at. There may be none.
 */
static uint32_t
variants_row(const struct vnet_variants *variants, uint32_t traits)
{
	/* Of what has no functions of its own, those for frames from guests know nothing. */
	traits &= TRAIT_N - 1;
	if (!(traits & TRAIT_PACKED))
		traits &= ~(uint32_t)TRAIT_IN_ORDER;
	return variants->from_guest[traits] ? traits : traits ^ TRAIT_MERGEABLE;
}

vnet_from_guest_fn
vnet_from_guest_variant(enum isa isa, uint32_t traits)
{
	const struct vnet_variants *variants = variants_of(isa);
	vnet_from_guest_fn variant = variants->from_guest[variants_row(variants, traits)];

	return variant ? variant : variants->from_guest_other;
}

vnet_to_guest_fn
vnet_to_guest_variant(enum isa isa, uint32_t traits)
{
	const struct vnet_variants *variants = variants_of(isa);
	vnet_to_guest_fn variant;

	/* Nor do the functions for other words know of it. */
	if (traits & TRAIT_RSC)
		return vnet_to_guest_generic;
	variant = variants->to_guest[variants_row(variants, traits)];
	return variant ? variant : variants->to_guest_other;
}
