/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * look: queries of a ring by others than the queue's owner. They fetch nothing and write nothing.
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

bool
virtq_look_enough(const struct virtq *vq, const struct virtq_conf *conf, uint16_t n)
{
	uint32_t at = vq->avail.idx;
	bool wrap = vq->avail.wrap;

	if (!(conf->traits & TRAIT_PACKED))
		return (uint16_t)(__atomic_load_n(&conf->avail->idx, __ATOMIC_RELAXED) - at) >= n;
	if (n > conf->size)
		return false;
	at += n - 1u;
	if (at >= conf->size) {
		at -= conf->size;
		wrap = !wrap;
	}
	return packed_is_available(packed_load_word(&conf->ring[at]).flags, wrap);
}

/* Zeros from one end of [p, p + len) to the other; 8-byte aligned. */
static bool
look_is_zero(const void *p, uint64_t len)
{
	const uint64_t *word = p;

	for (uint64_t i = 0; i < len / sizeof(*word); i++)
		if (__atomic_load_n(&word[i], __ATOMIC_RELAXED))
			return false;
	return true;
}

bool
virtq_look_unused(const struct virtq_conf *conf)
{
	if (conf->traits & TRAIT_PACKED)
		return look_is_zero(&conf->ring[conf->size - 1], sizeof(conf->ring[0]));
	return look_is_zero(&conf->used->ring[conf->size - 1], sizeof(conf->used->ring[0]));
}

bool
virtq_look_blank(const struct virtq_conf *conf)
{
	if (!(conf->traits & TRAIT_PACKED) && __atomic_load_n(&conf->avail->idx, __ATOMIC_RELAXED))
		return false;
	return look_is_zero(conf->desc, conf->size * sizeof(conf->desc[0]));
}
