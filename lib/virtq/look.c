/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * look: what others than its owner may ask of a ring: what its driver has done so far. Nothing is taken and
 * nothing is written.
 */
#include "packed.h"
#include "virtq.h"

bool
virtq_look_available(const struct virtq *vq, const struct virtq_conf *conf)
{
	const uint16_t at = __atomic_load_n(&vq->avail.idx, __ATOMIC_RELAXED);

	if (!(conf->traits & TRAIT_PACKED))
		return __atomic_load_n(&conf->avail->idx, __ATOMIC_RELAXED) != at;
	return packed_is_available(packed_load_word(&conf->ring[at]).flags,
				   __atomic_load_n(&vq->avail.wrap, __ATOMIC_RELAXED));
}
