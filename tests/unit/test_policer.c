/* SPDX-License-Identifier: BSD-3-Clause */
/* test_policer: the bucket against a reference with exact numbers, time made up; and a made-up port. */
#include "unit.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "ctx.h"
#include "policer.h"
#include "port.h"
#include "unit_eal.h"

enum { FRAME_LEN = 1000, HZ = 1000 * 1000 * 1000 };

static struct rte_mempool *pool;
static struct vnic_ctx ctx;

/* Frames of which only the length is looked at. */
static struct rte_mbuf bodies[PORT_BURST];
static struct rte_mbuf *frames[PORT_BURST];

static void
frames_of(uint32_t len)
{
	for (int i = 0; i < PORT_BURST; i++) {
		bodies[i].pkt_len = len;
		frames[i] = &bodies[i];
	}
}

static struct policer_limit
bits(uint64_t per_s, uint64_t burst)
{
	return (struct policer_limit){.rate = {per_s, KEY_RATE_BIT}, .burst = burst};
}

static struct policer_limit
pps(uint64_t per_s, uint64_t burst)
{
	return (struct policer_limit){.rate = {per_s, KEY_RATE_PPS}, .burst = burst};
}

static void
test_burst_then_rate(void **state)
{
	/* 8 Mbit/s: a byte a microsecond, which is 1,000 ticks. */
	const struct policer_limit limit = bits(8000000, 4000);
	struct policer_bucket bucket;
	uint64_t now = 12345;

	frames_of(FRAME_LEN);
	policer_bucket_init(&bucket, &limit, HZ, now);
	assert_int_equal(policer_pass(&bucket, frames, PORT_BURST, now), 4);
	assert_int_equal(policer_pass(&bucket, frames, PORT_BURST, now), 0);
	/* The least more, and one frame passes, with a debt. */
	now += 1000;
	assert_int_equal(policer_pass(&bucket, frames, PORT_BURST, now), 1);
	now += 1000 * 998;
	assert_int_equal(policer_pass(&bucket, frames, PORT_BURST, now), 0);
	now += 1000 * 2;
	assert_int_equal(policer_pass(&bucket, frames, PORT_BURST, now), 1);
	/* Full again, and no fuller. */
	now += 1000ull * 1000 * 1000;
	assert_int_equal(policer_pass(&bucket, frames, PORT_BURST, now), 4);
	/* A frame longer than the bucket passes, and is paid for. */
	now += 1000ull * 1000 * 1000;
	frames_of(60000);
	assert_int_equal(policer_pass(&bucket, frames, 2, now), 1);
	frames_of(60);
	now += 1000 * 55900;
	assert_int_equal(policer_pass(&bucket, frames, 1, now), 0);
	now += 1000 * 200;
	assert_int_equal(policer_pass(&bucket, frames, 1, now), 1);
}

static void
test_frames_a_second(void **state)
{
	const struct policer_limit limit = pps(1000, 10);
	struct policer_bucket bucket;

	frames_of(65535);
	policer_bucket_init(&bucket, &limit, HZ, 0);
	assert_int_equal(policer_pass(&bucket, frames, PORT_BURST, 0), 10);
	assert_int_equal(policer_pass(&bucket, frames, PORT_BURST, 999999), 1);
	assert_int_equal(policer_pass(&bucket, frames, PORT_BURST, 999999), 0);
	assert_int_equal(policer_pass(&bucket, frames, PORT_BURST, 2000000), 1);
}

/* Times that are late by a little, as of other CPUs, long pauses, and where the clock goes round. */
static void
test_clocks(void **state)
{
	const struct policer_limit limit = bits(8000000, 4000);
	const uint64_t starts[] = {0, UINT64_MAX >> POLICER_FRACTION, UINT64_MAX - 500};
	struct policer_bucket bucket;

	frames_of(FRAME_LEN);
	for (size_t i = 0; i < RTE_DIM(starts); i++) {
		const uint64_t start = starts[i];

		policer_bucket_init(&bucket, &limit, HZ, start);
		assert_int_equal(policer_pass(&bucket, frames, 2, start + 1000), 2);
		assert_int_equal(policer_pass(&bucket, frames, 4, start + 900), 2);
		assert_int_equal(policer_pass(&bucket, frames, 4, start), 0);
		for (uint64_t pause = 1ull << 33; pause < 1ull << 55; pause *= 2) {
			policer_bucket_init(&bucket, &limit, HZ, start);
			assert_int_equal(policer_pass(&bucket, frames, PORT_BURST, start), 4);
			assert_int_equal(policer_pass(&bucket, frames, PORT_BURST, start + pause), 4);
		}
	}
}

/* A worker that was interrupted after it has read the clock finds the bucket as the others left it since. */
static void
test_late_worker(void **state)
{
	const struct policer_limit limits[] = {pps(1000, 10), bits(8ull * HZ, 4000)};
	const uint64_t late[] = {2, 1000, 100 * 1000, HZ / 10};
	struct policer_bucket bucket;

	frames_of(FRAME_LEN);
	for (size_t i = 0; i < RTE_DIM(limits); i++) {
		for (size_t k = 0; k < RTE_DIM(late); k++) {
			const uint64_t start = 10ull * HZ;

			policer_bucket_init(&bucket, &limits[i], HZ, start);
			assert_int_equal(policer_pass(&bucket, frames, PORT_BURST, start), i ? 4 : 10);
			assert_int_equal(policer_pass(&bucket, frames, 1, start + 1), 1);
			assert_int_equal(policer_pass(&bucket, frames, PORT_BURST, start + 1 - late[k]), 0);
		}
	}
}

/* The extremes of what a line can say neither overflow nor stand still. */
static void
test_extremes(void **state)
{
	const struct policer_limit limits[] = {bits(1, 450),
					       bits(1000ull * 1000 * 1000 * 1000, 0),
					       pps(1, 3600),
					       bits(1, 0),
					       bits(1000ull * 1000 * 1000 * 1000, 1ull << 40),
					       bits(1000ull * 1000 * 1000 * 1000, 1),
					       pps(1000ull * 1000 * 1000 * 1000, 1)};
	const uint64_t clocks[] = {HZ, 5ull * HZ};

	for (size_t i = 0; i < RTE_DIM(limits); i++) {
		for (size_t j = 0; j < RTE_DIM(clocks); j++) {
			struct policer_bucket bucket;

			policer_bucket_init(&bucket, &limits[i], clocks[j], 7);
			assert_true(bucket.cost > 0 && bucket.tolerance > 0);
			assert_true(bucket.ahead_max < UINT64_MAX / 4);
			frames_of(65535);
			assert_true(policer_pass(&bucket, frames, 1, 7) == 1);
			assert_true(policer_pass(&bucket, frames, 1, 8) <= 1);
		}
	}
}

/* What passes is what exact arithmetic lets pass, but for one frame at most, whatever the lengths. */
static void
test_reference(void **state)
{
	srand(36);
	for (int round = 0; round < 200; round++) {
		const uint64_t per_s = 1000ull + (uint64_t)rand() * (round % 3 ? 1 : 40),
			       burst = 100u + (unsigned int)rand() % 200000;
		const struct policer_limit limit = bits(per_s, burst);
		long double level = burst; /* bytes that the bucket has */
		uint64_t now = (uint64_t)rand(), passed = 0, exact = 0;
		struct policer_bucket bucket;

		policer_bucket_init(&bucket, &limit, HZ, now);
		for (int i = 0; i < 500; i++) {
			const uint32_t len = 14 + (uint32_t)rand() % (rand() % 8 ? 1500 : 65000);
			const uint64_t pause = (uint64_t)rand() % (1 + 16ull * HZ * len / per_s);

			frames_of(len);
			now += pause;
			level += (long double)pause * per_s / 8 / HZ;
			if (level > burst)
				level = burst;
			passed += len * policer_pass(&bucket, frames, 4, now);
			for (int k = 0; k < 4 && level > 0; k++) {
				level -= len;
				exact += len;
			}
		}
		if (passed > exact)
			assert_true(passed - exact <= 65014);
		else
			assert_true(exact - passed <= 65014);
		assert_true(passed > 0);
	}
}

/* Two workers and one bucket that never fills again: together they get what is in it. */
static struct policer_bucket shared;

static void *
worker(void *arg)
{
	uint64_t *ret_passed = arg;
	struct rte_mbuf body = {.pkt_len = 100}, *pkts[] = {&body, &body, &body};

	for (int i = 0; i < 200000; i++)
		*ret_passed += policer_pass(&shared, pkts, 3, 1000);
	return NULL;
}

static void
test_workers_share(void **state)
{
	const struct policer_limit limit = pps(1000, 50000);
	uint64_t passed[2] = {0};
	pthread_t threads[2];

	policer_bucket_init(&shared, &limit, HZ, 1000);
	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, worker, &passed[i]), 0);
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(passed[0] + passed[1], 50000);
}

/* --- lines --- */

static void
assert_refused(struct policer_config config, const char *cause, const char *hint)
{
	struct diag diag;

	assert_true(policer_check(&config, "port vm0", &diag) < 0);
	assert_string_equal(diag.cause, cause);
	assert_string_equal(diag.hint, hint);
}

static void
test_checks(void **state)
{
	struct policer_config config = {.in = bits(1000, 450000)};
	struct diag diag;

	assert_int_equal(policer_check(&config, "port vm0", &diag), 0);
	config.in.burst++;
	assert_refused(config, "port vm0: police-in-burst: at the rate, 450001 bytes take over an hour",
		       "police-in-burst=450000");
	config = (struct policer_config){.out = pps(1, 3601)};
	assert_refused(config, "port vm0: police-out-burst: at the rate, 3601 frames take over an hour",
		       "police-out-burst=3600");
	config = (struct policer_config){.out.burst = 1};
	assert_refused(config, "port vm0: police-out-burst is given, and police-out is not",
		       "add the rate, for example police-out=100mbit");
	/* By default 10 ms, and not too little for a few frames. */
	assert_int_equal(policer_burst(&(struct policer_limit){.rate = {8000000000, KEY_RATE_BIT}}),
			 10000000);
	assert_int_equal(policer_burst(&(struct policer_limit){.rate = {1000000, KEY_RATE_BIT}}), 65536);
	assert_int_equal(policer_burst(&(struct policer_limit){.rate = {1000000, KEY_RATE_PPS}}), 10000);
	assert_int_equal(policer_burst(&(struct policer_limit){.rate = {100, KEY_RATE_PPS}}), 64);
}

/* --- a port --- */

static uint16_t
fake_rx(struct port_rxq *rxq, struct rte_mbuf **pkts, uint16_t n)
{
	for (uint16_t i = 0; i < n; i++) {
		pkts[i] = rte_pktmbuf_alloc(pool);
		memset(rte_pktmbuf_append(pkts[i], FRAME_LEN), i, FRAME_LEN);
	}
	counter_add(&rxq->stats.packets, n);
	return n;
}

static uint16_t
fake_tx(struct port_txq *txq, struct rte_mbuf **pkts, uint16_t n)
{
	counter_add(&txq->stats.packets, n);
	rte_pktmbuf_free_bulk(pkts, n);
	return n;
}

static void
test_of_a_port(void **state)
{
	struct rte_mbuf *pkts[PORT_BURST];
	const struct policer_config in = {.in = pps(1, 100)}, out = {.out = bits(8, 2500)}, none = {0};
	struct port port = {.ctx = &ctx};
	uint16_t n;

	assert_int_equal(port_queues_alloc(&port, 2), 0);
	for (int q = 0; q < 2; q++) {
		port.rxqs[q].rx = fake_rx;
		port.txqs[q].tx = fake_tx;
		port.rxqs[q].worker = port.txqs[q].worker = 0;
	}
	/* No limit: nothing is in the way. */
	assert_int_equal(policer_attach(&port, &none), 0);
	assert_ptr_equal(port.rxqs[0].rx, fake_rx);
	assert_null(port.policer);
	policer_detach(&port);

	/* In: both queues draw from one bucket; what is sent to the port is left alone. */
	assert_int_equal(policer_attach(&port, &in), 0);
	assert_ptr_equal(port.txqs[0].tx, fake_tx);
	n = port_rx(&port.rxqs[0], pkts, 32);
	assert_int_equal(n, 32);
	assert_int_equal(port_tx(&port.txqs[0], pkts, n), 32);
	for (int i = 0; i < 4; i++) {
		n = port_rx(&port.rxqs[1], pkts, 32);
		/* The first ones of a burst are those that pass. */
		for (uint16_t k = 0; k < n; k++)
			assert_int_equal(*rte_pktmbuf_mtod(pkts[k], uint8_t *), k);
		rte_pktmbuf_free_bulk(pkts, n);
	}
	/* A second or more may have passed here; each gives one. */
	assert_in_range(port.rxqs[1].stats.drops[DROP_POLICED_IN], 4 * 32 - 68 - 30, 4 * 32 - 68);
	assert_int_equal(port.rxqs[0].stats.drops[DROP_POLICED_IN], 0);
	policer_detach(&port);
	assert_ptr_equal(port.rxqs[0].rx, fake_rx);
	assert_ptr_equal(port.rxqs[1].rx, fake_rx);

	/* Out. */
	assert_int_equal(policer_attach(&port, &out), 0);
	assert_ptr_equal(port.rxqs[0].rx, fake_rx);
	n = port_rx(&port.rxqs[0], pkts, 5);
	assert_int_equal(port_tx(&port.txqs[1], pkts, n), 3);
	assert_int_equal(port.txqs[1].stats.drops[DROP_POLICED_OUT], 2);
	n = port_rx(&port.rxqs[0], pkts, 5);
	assert_int_equal(port_tx(&port.txqs[0], pkts, n), 0);
	assert_int_equal(port.txqs[0].stats.drops[DROP_POLICED_OUT], 5);
	policer_detach(&port);
	port_queues_free(&port);
	assert_int_equal(rte_mempool_in_use_count(pool), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_burst_then_rate), cmocka_unit_test(test_frames_a_second),
		cmocka_unit_test(test_clocks),          cmocka_unit_test(test_late_worker),
		cmocka_unit_test(test_extremes),        cmocka_unit_test(test_reference),
		cmocka_unit_test(test_workers_share),   cmocka_unit_test(test_checks),
		cmocka_unit_test(test_of_a_port),
	};

	pool = unit_eal_start(&(struct unit_eal){.memory_mb = 64, .n_mbufs = 1023});
	return UNIT_RUN(tests);
}
