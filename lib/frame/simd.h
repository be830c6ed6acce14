/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * simd: EAL's limit for the width of vector registers (--force-max-simd-bitwidth,
 * rte_vect_set_max_simd_bitwidth()), for the choice of an ISA variant (isa.h).
 */
#ifndef VNICD_SIMD_H
#define VNICD_SIMD_H

#include "isa.h"

/*
 * After rte_eal_init(), before there is a device: the ISA variant is one that EAL's limit allows. EAL's
 * default on x86 is 256 bits, which nobody asked for; it counts as no limit, unless it was given on the
 * command line. Returns isa_select().
 */
enum isa simd_limit(void);

#endif
