/* SPDX-License-Identifier: BSD-3-Clause */
/* await: contract in await.h. */
#include "await.h"

#include <rte_cycles.h>
#include <rte_pause.h>

#include "ctx.h"

void
vnet_await_init(struct vnet_await *await, uint16_t looks, uint32_t us)
{
	const uint64_t tsc = rte_get_tsc_hz() * us / US_PER_S;

	await->looks = looks;
	await->step_tsc = looks ? RTE_MAX(tsc / looks, UINT64_C(1)) : 0;
}

/* What the worker may wait at `now`. */
static uint64_t
await_allowance(struct ctx_wait *wait, uint64_t now)
{
	const uint64_t most = rte_get_tsc_hz() * AWAIT_ALLOWANCE_US / US_PER_S;
	const uint64_t more = (now - wait->at) / AWAIT_SHARE;

	wait->left_tsc = RTE_MIN(wait->left_tsc + RTE_MIN(more, most), most);
	wait->at = now;
	return wait->left_tsc;
}

void
vnet_await(const struct vnet_await *await, const struct virtq *vq, const struct virtq_conf *conf,
	   struct port_txq *txq, uint16_t n)
{
	struct ctx_wait *wait;
	uint64_t start, now;

	if (likely(virtq_look_enough(vq, conf, n)))
		return;
	wait = &txq->port->ctx->waits[txq->worker % QUIESCE_WORKERS_MAX];
	start = now = rte_rdtsc();
	if (await_allowance(wait, now) < await->step_tsc)
		return;
	counter_add(&txq->stats.waits, 1);
	for (uint16_t look = 1; look <= await->looks && now - start + await->step_tsc <= wait->left_tsc;
	     look++) {
		do {
			rte_pause();
			now = rte_rdtsc();
		} while (now - start < look * await->step_tsc);
		if (virtq_look_enough(vq, conf, n)) {
			counter_add(&txq->stats.waits_helped, 1);
			break;
		}
	}
	wait->left_tsc -= RTE_MIN(now - start, wait->left_tsc);
	/* What was waited fills nothing. */
	wait->at = now;
}
