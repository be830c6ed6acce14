/* SPDX-License-Identifier: BSD-3-Clause */
/* direct, for any CPU. See direct.h; twin of direct_avx2.h and direct_avx512.h. */
#ifndef VNICD_DIRECT_SCALAR_H
#define VNICD_DIRECT_SCALAR_H

#include "direct_each.h"

/* n (1 or more) entries of the available ring, from the queue's position on, do not pass its end. */
TEMPLATE uint16_t
split_direct_load(const struct virtq *vq, const struct virtq_conf *conf,
		  const struct direct_constraints *constraints, struct virtq_direct *direct, uint16_t n)
{
	return split_direct_load_each(vq, conf, constraints, direct, n);
}

/* n used elements from `slot` on, which do not pass the ring's end. */
TEMPLATE void
split_direct_store(const struct virtq_conf *conf, uint16_t slot, const uint64_t used[],
		   const uint32_t written[], uint16_t n)
{
	split_direct_store_each(conf, slot, used, written, 0, n);
}

/* n slots from `slot` on, which do not pass the ring's end. How many the driver has made available:
 * *ret_n_available. */
TEMPLATE uint16_t
packed_direct_load(const struct virtq_conf *conf, const struct direct_constraints *constraints, uint16_t slot,
		   bool wrap, struct virtq_direct *direct, uint16_t at, uint16_t n, uint16_t *ret_n_available)
{
	return packed_direct_load_each(conf, constraints, slot, wrap, direct, at, n, ret_n_available);
}

/* n used elements from `slot` on, which do not pass the ring's end, but for the first `skip` (0 or 1). */
TEMPLATE void
packed_direct_store(const struct virtq_conf *conf, uint16_t slot, const uint64_t used[],
		    const uint32_t written[], uint16_t n, uint16_t skip)
{
	packed_direct_store_each(conf, slot, used, written, skip, n);
}

#endif
