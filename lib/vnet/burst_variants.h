/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * burst_variants: the same burst bodies, compiled for each ISA variant (isa.h) that has something for them;
 * variants.c is what is compiled. All do the same.
 */
#ifndef VNICD_BURST_VARIANTS_H
#define VNICD_BURST_VARIANTS_H

#include "isa.h"
#include "vnet.h"
#include "vnet_traits.h"

struct vnet_variants {
	vnet_from_guest_fn from_guest[TRAIT_N];
	vnet_to_guest_fn to_guest[TRAIT_N]; /* NULL: words without functions of their own */
	vnet_from_guest_fn from_guest_other;
	vnet_to_guest_fn to_guest_other;
};

/* The functions for a traits word. isa_select() must have said `isa` or one behind it. */
vnet_from_guest_fn vnet_from_guest_variant(enum isa isa, uint32_t traits);
vnet_to_guest_fn vnet_to_guest_variant(enum isa isa, uint32_t traits);

#endif
