/* SPDX-License-Identifier: BSD-3-Clause */
#include "direct_body.h"

#include "ring.h"

static int
fetch(struct virtq *vq, const struct virtq_conf *conf, const struct direct_constraints *constraints,
      struct virtq_direct *direct, uint16_t n, uint32_t traits)
{
	return virtq_fetch_direct(vq, conf, constraints, direct, n, traits);
}

static void
retire(struct virtq *vq, const struct virtq_conf *conf, const struct virtq_direct *direct,
       const uint32_t written[], uint16_t n, uint32_t traits)
{
	virtq_retire_direct(vq, conf, direct, written, n, traits);
}

const struct direct_body BODY = {.fetch = fetch, .retire = retire};
