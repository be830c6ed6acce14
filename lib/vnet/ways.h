/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * ways: the same burst bodies, compiled for several kinds of CPU (variants.c). Which one runs is decided when
 * the program starts; all do the same.
 */
#ifndef VNICD_WAYS_H
#define VNICD_WAYS_H

#include "traits.h"
#include "vnet.h"

enum vnet_way {
	VNET_PORTABLE, /* any CPU that DPDK runs on */
	VNET_AVX512,   /* AVX-512 F, BW, DQ, VL, and BMI2 */
	VNET_WAYS,
};

/* By the CPU that we run on; the first call asks it. */
enum vnet_way vnet_way_best(void);

struct vnet_variants {
	vnet_from_guest_fn from_guest[TRAIT_N];
	vnet_to_guest_fn to_guest[TRAIT_N]; /* NULL: words without functions of their own */
	vnet_from_guest_fn from_guest_other;
	vnet_to_guest_fn to_guest_other;
};

/* NULL: not compiled in. */
const struct vnet_variants *vnet_variants_of(enum vnet_way way);

/* The functions for a traits word; `way` must be one that is compiled in and that this CPU has. */
vnet_from_guest_fn vnet_from_guest_variant(enum vnet_way way, uint32_t traits);
vnet_to_guest_fn vnet_to_guest_variant(enum vnet_way way, uint32_t traits);

#endif
