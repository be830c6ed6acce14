/* SPDX-License-Identifier: BSD-3-Clause */
/* test_await: waiting for a guest's buffers: when, for how long, and what a worker may wait in all. */
#include "unit.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include <rte_cycles.h>
#include <rte_pause.h>

#include "await.h"
#include "ctx.h"
#include "unit_eal.h"

enum { RING = 64 };

static struct vnic_ctx ctx;
static struct port port = {.ctx = &ctx};
static struct port_txq txq = {.port = &port};

static struct {
	struct virtq vq;
	struct virtq_conf conf;
	struct vring_packed_desc ring[RING];
	uint16_t avail[4]; /* a struct vring_avail, whose ring nobody reads */
} queue;

static uint16_t *
avail_idx(void)
{
	return &((struct vring_avail *)queue.avail)->idx;
}

static void
split_open(uint16_t n_available)
{
	memset(&queue, 0, sizeof(queue));
	memset(&ctx.waits, 0, sizeof(ctx.waits));
	memset(&txq.stats, 0, sizeof(txq.stats));
	queue.conf.size = RING;
	queue.conf.avail = (struct vring_avail *)queue.avail;
	queue.vq.avail.idx = 65530;
	*avail_idx() = (uint16_t)(65530 + n_available);
}

static void
packed_open(uint16_t at, bool wrap, uint16_t n_available)
{
	split_open(0);
	queue.conf.traits = TRAIT_PACKED;
	queue.conf.ring = queue.ring;
	queue.vq.avail.idx = at;
	queue.vq.avail.wrap = wrap;
	for (uint16_t i = 0; i < RING; i++) {
		const uint16_t slot = (uint16_t)((at + i) % RING);
		const bool its_wrap = at + i < RING ? wrap : !wrap;
		const bool is_avail = i < n_available;

		queue.ring[slot].flags = (uint16_t)((its_wrap == is_avail) << VRING_PACKED_DESC_F_AVAIL |
						    !its_wrap << VRING_PACKED_DESC_F_USED);
	}
}

/* Is there enough for exactly up to n_available? */
static void
assert_available(uint16_t n_available)
{
	for (uint16_t n = 1; n <= RING; n++)
		assert_int_equal(virtq_look_enough(&queue.vq, &queue.conf, n), n <= n_available);
}

static void
test_look(void **state)
{
	for (uint16_t n = 0; n <= RING; n += 4) {
		split_open(n);
		assert_available(n);
		for (uint16_t at = 0; at < RING; at += 7) {
			packed_open(at, true, n);
			assert_available(n);
			packed_open(at, false, n);
			assert_available(n);
		}
	}
}

static uint64_t
await(const struct vnet_await *how, uint16_t n)
{
	const uint64_t start = rte_rdtsc();

	vnet_await(how, &queue.vq, &queue.conf, &txq, n);
	return rte_rdtsc() - start;
}

static void
test_enough(void **state)
{
	struct vnet_await how;

	vnet_await_init(&how, 8, 20);
	split_open(32);
	await(&how, 32);
	assert_int_equal(txq.stats.waits, 0);
	await(&how, 33);
	assert_int_equal(txq.stats.waits, 1);
	assert_int_equal(txq.stats.waits_helped, 0);
}

/* Waiting without end for nothing, a worker still has nearly all of its time. */
static void
test_share(void **state)
{
	const uint64_t hz = rte_get_tsc_hz(), start = rte_rdtsc();
	uint64_t waited = 0, now;
	struct vnet_await how;

	vnet_await_init(&how, 8, 20);
	split_open(0);
	do {
		const uint64_t was = txq.stats.waits;
		const uint64_t spent = await(&how, 32);

		/* Unless the CPU was taken away meanwhile. */
		if (txq.stats.waits != was)
			waited += RTE_MIN(spent, 2 * 8 * how.step_tsc);
		now = rte_rdtsc();
	} while (now - start < hz / 5);
	assert_true(txq.stats.waits > 20);
	/* A twentieth, and the allowance; twice, for the CPU is shared. */
	assert_true(waited < 2 * ((now - start) / AWAIT_SHARE + hz * AWAIT_ALLOWANCE_US / US_PER_S));
	assert_int_equal(txq.stats.waits_helped, 0);
}

static atomic_bool asked, ended;

/* The driver: makes buffers available when it is asked. */
static void *
driver(void *arg)
{
	while (!atomic_load(&ended)) {
		if (atomic_exchange(&asked, false)) {
			for (int i = 0; i < 1000; i++)
				rte_pause();
			__atomic_store_n(avail_idx(), (uint16_t)(65530 + 32), __ATOMIC_RELEASE);
		}
		rte_pause();
	}
	return NULL;
}

static void
test_helped(void **state)
{
	struct vnet_await how;
	pthread_t thread;

	vnet_await_init(&how, AWAIT_LOOKS_MAX, 400);
	split_open(0);
	assert_int_equal(pthread_create(&thread, NULL, driver, NULL), 0);
	for (int i = 0; i < 2000 && txq.stats.waits_helped == 0; i++) {
		__atomic_store_n(avail_idx(), 65530, __ATOMIC_RELAXED);
		/* A full allowance. */
		ctx.waits[0] = (struct ctx_wait){.at = rte_rdtsc() - rte_get_tsc_hz()};
		atomic_store(&asked, true);
		await(&how, 32);
	}
	atomic_store(&ended, true);
	pthread_join(thread, NULL);
	assert_int_equal(txq.stats.waits_helped, 1);
	assert_true(virtq_look_enough(&queue.vq, &queue.conf, 32));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_look),
		cmocka_unit_test(test_enough),
		cmocka_unit_test(test_share),
		cmocka_unit_test(test_helped),
	};

	unit_eal_start(&(struct unit_eal){.memory_mb = 16});
	return UNIT_RUN(tests);
}
