/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * policer: the generic cell rate algorithm, a leaky bucket kept as one number: the time at which the bucket
 * will be full. A frame moves it by what the rate needs for its length.
 *
 *     now            full_at       now + tolerance
 *      |   <- used ->   |   <- left ->   |            beyond: in debt, nothing passes
 *
 * One compare-and-swap a burst lets all workers that poll queues of the port share the bucket. Nothing that
 * time brings changes within a burst, so what passes of it is its beginning.
 */
#include "policer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <rte_cycles.h>

#include "hook.h"
#include "port.h"

enum { POLICER_LATE_S = 1 };

struct policer_queue {
	struct port_hook hook;
	struct policer_bucket *bucket;
};

struct policer {
	struct policer_bucket in, out;
	struct policer_queue queues[]; /* [2 * n_queues]: in, then out */
};

/* --- the bucket --- */

static uint64_t
bucket_cost(const struct policer_bucket *bucket, uint64_t amount)
{
	return (uint64_t)(((unsigned __int128)bucket->cost * amount) >> POLICER_COST_FRACTION);
}

void
policer_bucket_init(struct policer_bucket *bucket, const struct policer_limit *limit, uint64_t tsc_hz,
		    uint64_t now)
{
	/* In bits or frames: bytes would lose what a rate has beyond a multiple of eight. */
	const unsigned int times = limit->rate.unit == KEY_RATE_PPS ? 1 : POLICER_BITS;
	const unsigned __int128 second = (unsigned __int128)tsc_hz
					 << (POLICER_FRACTION + POLICER_COST_FRACTION);

	bucket->unit = limit->rate.unit;
	bucket->cost = (uint64_t)(second * times / limit->rate.per_s);
	/* At rates beyond those of the clock some of it is left, or nothing would ever pass. */
	bucket->tolerance = RTE_MAX(bucket_cost(bucket, policer_burst(limit)), 1u);
	/* Twice the longest frame: devices may add a few bytes to it. And for a worker that was interrupted
	 * after it had read the clock the others are ahead: it must not take their debt for one long past. */
	bucket->ahead_max = bucket->tolerance + bucket_cost(bucket, times == 1 ? 1 : 2 * PORT_FRAME_MAX) +
			    POLICER_LATE_S * (tsc_hz << POLICER_FRACTION);
	atomic_init(&bucket->full_at, now << POLICER_FRACTION);
}

uint16_t
policer_pass(struct policer_bucket *bucket, struct rte_mbuf *const pkts[], uint16_t n, uint64_t now)
{
	uint64_t was = atomic_load_explicit(&bucket->full_at, memory_order_relaxed), used;
	uint16_t n_pass;

	now <<= POLICER_FRACTION;
	do {
		used = was - now;
		/* Full, since then. (After half a year and more without a frame the clock has gone round, and
		 * a full bucket may look like one in debt, for as long as it would need to pay that.)
		 */
		if (used > bucket->ahead_max)
			used = 0;
		for (n_pass = 0; n_pass < n && used < bucket->tolerance; n_pass++)
			used += bucket_cost(bucket, bucket->unit == KEY_RATE_PPS ? 1 : pkts[n_pass]->pkt_len);
		if (n_pass == 0)
			break;
		/* Relaxed: it orders nothing else. */
	} while (!atomic_compare_exchange_weak_explicit(&bucket->full_at, &was, now + used,
							memory_order_relaxed, memory_order_relaxed));
	return n_pass;
}

/* --- of a port --- */

static uint16_t
policer_rx(struct port_hook *hook, struct port_rxq *rxq, struct rte_mbuf **pkts, uint16_t n)
{
	const struct policer_queue *queue = (const struct policer_queue *)hook;
	const uint16_t n_pass = policer_pass(queue->bucket, pkts, n, rte_rdtsc());

	if (unlikely(n_pass < n))
		port_rx_drop(rxq, DROP_POLICED_IN, pkts + n_pass, (uint16_t)(n - n_pass));
	return n_pass;
}

static uint16_t
policer_tx(struct port_hook *hook, struct port_txq *txq, struct rte_mbuf **pkts, uint16_t n)
{
	const struct policer_queue *queue = (const struct policer_queue *)hook;
	const uint16_t n_pass = policer_pass(queue->bucket, pkts, n, rte_rdtsc());

	if (unlikely(n_pass < n))
		port_tx_drop(txq, DROP_POLICED_OUT, pkts + n_pass, (uint16_t)(n - n_pass));
	return n_pass;
}

int
policer_attach(struct port *port, const struct policer_config *config)
{
	const size_t size = sizeof(struct policer) + 2 * port->n_queues * sizeof(struct policer_queue);
	struct policer *policer;

	if (!policer_limit_is_given(&config->in) && !policer_limit_is_given(&config->out))
		return 0;
	policer = aligned_alloc(RTE_CACHE_LINE_SIZE, RTE_ALIGN_CEIL(size, RTE_CACHE_LINE_SIZE));
	if (!policer)
		return -ENOMEM;
	memset(policer, 0, size);
	if (policer_limit_is_given(&config->in))
		policer_bucket_init(&policer->in, &config->in, rte_get_tsc_hz(), rte_rdtsc());
	if (policer_limit_is_given(&config->out))
		policer_bucket_init(&policer->out, &config->out, rte_get_tsc_hz(), rte_rdtsc());
	for (uint16_t i = 0; i < port->n_queues; i++) {
		struct policer_queue *in = &policer->queues[i], *out = in + port->n_queues;

		*in = (struct policer_queue){.hook = {.rx = policer_rx, .is_gate = true},
					     .bucket = &policer->in};
		*out = (struct policer_queue){.hook = {.tx = policer_tx, .is_gate = true},
					      .bucket = &policer->out};
		if (policer_limit_is_given(&config->in))
			port_rx_hook_attach(&port->rxqs[i], &in->hook);
		if (policer_limit_is_given(&config->out))
			port_tx_hook_attach(&port->txqs[i], &out->hook);
	}
	port->policer = policer;
	return 0;
}

int
policer_replace(struct port *port, const struct policer_config *config)
{
	struct policer *was = port->policer, *is;
	int ret;

	port->policer = NULL;
	ret = policer_attach(port, config);
	is = port->policer;
	port->policer = was;
	if (ret == 0) {
		policer_detach(port);
		port->policer = is;
	}
	return ret;
}

void
policer_detach(struct port *port)
{
	struct policer *policer = port->policer;

	if (!policer)
		return;
	for (uint16_t i = 0; i < port->n_queues; i++) {
		if (policer->in.tolerance)
			port_rx_hook_detach(&port->rxqs[i], &policer->queues[i].hook);
		if (policer->out.tolerance)
			port_tx_hook_detach(&port->txqs[i], &policer->queues[port->n_queues + i].hook);
	}
	port->policer = NULL;
	free(policer);
}
