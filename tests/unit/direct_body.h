/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * direct_body: the functions of lib/virtq/direct_*.h as an ISA variant has them. direct_body.c is compiled
 * for each, with BODY set to the name.
 */
#ifndef VNICD_TEST_DIRECT_BODY_H
#define VNICD_TEST_DIRECT_BODY_H

#include "direct.h"

struct direct_body {
	/* virtq_fetch_direct() and virtq_retire_direct() */
	int (*fetch)(struct virtq *vq, const struct virtq_conf *conf,
		     const struct direct_constraints *constraints, struct virtq_direct *direct, uint16_t n,
		     uint32_t traits);
	void (*retire)(struct virtq *vq, const struct virtq_conf *conf, const struct virtq_direct *direct,
		       const uint32_t written[], uint16_t n, uint32_t traits);
};

extern const struct direct_body direct_body_portable;
#ifdef HAVE_ISA_AVX2
extern const struct direct_body direct_body_avx2;
#endif
#ifdef HAVE_ISA_AVX512
extern const struct direct_body direct_body_avx512;
#endif

#endif
