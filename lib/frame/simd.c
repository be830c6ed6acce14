/* SPDX-License-Identifier: BSD-3-Clause */
#define ALLOW_EXPERIMENTAL_API /* rte_vect_get_max_simd_bitwidth() and its twin, of 22.11 */
#include "simd.h"

#include <errno.h>

#include <rte_vect.h>

enum isa
simd_limit(void)
{
	uint16_t bits = rte_vect_get_max_simd_bitwidth();

	/* What it is already changes nothing, and is refused where the command line has said it. */
	if (bits < RTE_VECT_DEFAULT_SIMD_BITWIDTH || rte_vect_set_max_simd_bitwidth(bits) == -EPERM) {
		enum isa allowed = isa_of_width(bits);

		if (isa_select() > allowed)
			isa_limit(allowed);
	}
	return isa_select();
}
