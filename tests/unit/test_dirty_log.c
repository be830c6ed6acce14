/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The dirty log against a migration that harvests it and copies pages while the device writes: what counts is
 * that the copy is whole when the device has stopped.
 */
#include "unit.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <rte_mbuf.h>

#include "driver.h"
#include "harvest.h"
#include "unit_eal.h"
#include "vnet.h"
#include "vnet_end.h"
#include "vnet_traits.h"

enum {
	POOL_SIZE = 1023,
	HDR_LEN = 12,
	BUFFERS = 0x40000, /* in region 0; what is before is the ring's */
	BUFFER_SIZE = 2560,
	N_BUFFERS = 256,
	FRAMES = 3, /* a burst */
};

static struct rte_mempool *pool;

enum shape {
	SHAPE_ONE,      /* a buffer a frame */
	SHAPE_CHAIN,    /* two descriptors */
	SHAPE_INDIRECT, /* a table */
	SHAPE_LONG, /* long enough to be borrowed; to the guest: in several mbufs, and buffers if mergeable */
	SHAPE_N,
};

struct rig {
	struct vnet_end end;
	bool is_to_guest;
	uint64_t n_added;
};

static struct rig *
rig_open(uint32_t traits, bool to_guest, bool generic)
{
	struct rig *rig = unit_zalloc(sizeof(*rig));
	/* Rings that reach from one page into the next. */
	const uint16_t size = traits & TRAIT_PACKED ? 260 : 512;

	vnet_end_open(&rig->end, 0, traits, size, HDR_LEN, generic ? VNET_END_GENERIC : (int)isa_select(),
		      pool);
	rig->is_to_guest = to_guest;
	return rig;
}

static void
rig_close(struct rig *rig)
{
	vnet_end_close(&rig->end);
	free(rig);
}

/* The driver makes one chain available. */
static void
rig_add(struct rig *rig, enum shape shape)
{
	uint64_t gpa = driver_region_gpa(0) + BUFFERS + rig->n_added % N_BUFFERS * BUFFER_SIZE;
	uint32_t len = shape == SHAPE_LONG ? 1000 : 200;
	struct driver_buf bufs[] = {{gpa, HDR_LEN + len, rig->is_to_guest},
				    {gpa + 300, len, rig->is_to_guest}};
	const bool two = shape == SHAPE_CHAIN || shape == SHAPE_INDIRECT;

	if (!rig->is_to_guest)
		memset(driver_va(&rig->end.mem, gpa), 0, HDR_LEN);
	assert_true(driver_add(&rig->end.driver, bufs, two ? 2 : 1,
			       shape == SHAPE_INDIRECT ? DRIVER_INDIRECT : DRIVER_DIRECT, rig->n_added++));
}

static struct rte_mbuf *
frame_make(enum shape shape, uint8_t fill)
{
	struct rte_mbuf *pkt = rte_pktmbuf_alloc(pool);
	uint16_t len = shape == SHAPE_LONG ? 700 : 120;

	assert_non_null(pkt);
	memset(rte_pktmbuf_append(pkt, len), fill, len);
	if (shape == SHAPE_LONG) {
		struct rte_mbuf *rest = rte_pktmbuf_alloc(pool);

		assert_non_null(rest);
		memset(rte_pktmbuf_append(rest, len), fill + 1, len);
		assert_int_equal(rte_pktmbuf_chain(pkt, rest), 0);
	}
	return pkt;
}

/* What a worker does, and nothing else: the part that is harvested. */
static uint16_t
rig_burst(struct rig *rig, struct rte_mbuf **pkts, uint16_t n)
{
	uint16_t taken, n_taken = 0;

	if (rig->is_to_guest)
		return rig->end.to_guest(&rig->end.queue, &rig->end.conf, &rig->end.txq, pkts, n);
	do {
		taken = rig->end.from_guest(&rig->end.queue, &rig->end.conf, &rig->end.rxq, pkts + n_taken,
					    (uint16_t)(n - n_taken));
		if (rig->end.rxq.borrowed)
			vnet_rx_release(&rig->end.rxq);
		n_taken = (uint16_t)(n_taken + taken);
	} while (taken && n_taken < n);
	return n_taken;
}

/* The driver takes back what there is. */
static void
rig_reclaim(struct rig *rig)
{
	uint64_t tag;
	uint32_t len;

	while (driver_get(&rig->end.driver, &tag, &len))
		;
	rig->end.mem.next[1] = 0; /* of indirect tables */
}

/* Plain chains up to where a burst passes from one page of the ring to the next. */
static void
rig_advance(struct rig *rig)
{
	const uint16_t n = rig->end.driver.packed ? 4096 / 16 - 1 : 4096 / 8 - 2;

	for (uint16_t i = 0; i < n; i++) {
		struct rte_mbuf *pkt = rig->is_to_guest ? frame_make(SHAPE_ONE, 0) : NULL;

		rig_add(rig, SHAPE_ONE);
		assert_int_equal(rig_burst(rig, &pkt, 1), 1);
		rte_pktmbuf_free(pkt);
		rig_reclaim(rig);
	}
}

/* The driver adds what `frames` frames take. */
static void
rig_fill(struct rig *rig, enum shape shape, unsigned int frames)
{
	const unsigned int buffers = rig->is_to_guest && shape == SHAPE_LONG ? 2 : 1;

	for (unsigned int i = 0; i < frames * buffers; i++)
		rig_add(rig, shape);
}

static bool
shape_fits(uint32_t traits, bool to_guest, enum shape shape)
{
	return !to_guest || shape != SHAPE_LONG || traits & TRAIT_MERGEABLE;
}

/* What the traits and shapes of a log have to do with. */
static const uint32_t log_traits[] = {
	TRAIT_LOG,
	TRAIT_LOG | TRAIT_MERGEABLE,
	TRAIT_LOG | TRAIT_PACKED,
	TRAIT_LOG | TRAIT_PACKED | TRAIT_MERGEABLE,
	TRAIT_LOG | TRAIT_PACKED | TRAIT_IN_ORDER,
};

static void
for_all(void (*fn)(struct rig *rig, enum shape shape))
{
	for (size_t t = 0; t < RTE_DIM(log_traits); t++)
		for (int to_guest = 0; to_guest <= 1; to_guest++)
			for (int generic = UNIT_SANITIZED; generic <= 1; generic++)
				for (enum shape shape = 0; shape < SHAPE_N; shape++) {
					struct rig *rig;

					if (!shape_fits(log_traits[t], to_guest, shape))
						continue;
					rig = rig_open(log_traits[t], to_guest, generic);
					fn(rig, shape);
					rig_close(rig);
				}
}

/* A harvest after every instruction of a burst: whatever is written is marked after it is. */
static void
step_burst(struct rig *rig, enum shape shape)
{
	struct rte_mbuf *pkts[FRAMES];
	uint16_t n;

	rig_advance(rig);
	rig_fill(rig, shape, FRAMES);
	for (unsigned int i = 0; i < FRAMES && rig->is_to_guest; i++)
		pkts[i] = frame_make(shape, (uint8_t)(0x51 + i));
	harvest_start(&rig->end.mem);
	harvest_step_on();
	n = rig_burst(rig, pkts, FRAMES);
	harvest_step_off();
	assert_int_equal(n, FRAMES);
	assert_int_equal(harvest_end(), -1);
	rte_pktmbuf_free_bulk(pkts, FRAMES);
}

static void
test_every_write_is_marked_after_it_is_made(void **state)
{
	(void)state;
	for_all(step_burst);
}

/* The same for what the control thread writes when a queue starts or stops. */
static void
test_wanted_kicks_are_marked(void **state)
{
	(void)state;
	for (int packed = 0; packed <= 1; packed++)
		for (int event_idx = 0; event_idx <= 1; event_idx++)
			for (int wanted = 1; wanted >= 0; wanted--) {
				struct rig *rig =
					rig_open(TRAIT_LOG | (packed ? TRAIT_PACKED : 0), true, true);

				rig->end.conf.virtq.event_idx = event_idx;
				/* What was there before differs. */
				virtq_want_kicks(&rig->end.queue.to_guest, &rig->end.conf.virtq,
						 wanted ? VIRTQ_KICKS_UNWANTED : VIRTQ_KICKS_WANTED);
				harvest_start(&rig->end.mem);
				harvest_step_on();
				virtq_want_kicks(&rig->end.queue.to_guest, &rig->end.conf.virtq,
						 wanted ? VIRTQ_KICKS_WANTED : VIRTQ_KICKS_UNWANTED);
				harvest_step_off();
				assert_int_equal(harvest_end(), -1);
				rig_close(rig);
			}
}

/* Stores that are still on their way when the log is looked at, which no step shows: a harvest all the time.
 */
static void
race(struct rig *rig, enum shape shape)
{
	struct timespec now, end;

	rig_advance(rig);
	harvest_start(&rig->end.mem);
	harvest_thread_on();
	clock_gettime(CLOCK_MONOTONIC, &end);
	end.tv_nsec += 30000000;
	do {
		struct rte_mbuf *pkts[FRAMES];

		rig_fill(rig, shape, FRAMES);
		for (unsigned int i = 0; i < FRAMES && rig->is_to_guest; i++)
			pkts[i] = frame_make(shape, (uint8_t)rig->n_added);
		harvest_driver_wrote();
		harvest_thread_go();
		assert_int_equal(rig_burst(rig, pkts, FRAMES), FRAMES);
		harvest_thread_pause();
		assert_int_equal(harvest_end(), -1);
		rte_pktmbuf_free_bulk(pkts, FRAMES);
		rig_reclaim(rig);
		clock_gettime(CLOCK_MONOTONIC, &now);
	} while (now.tv_sec * 1000000000 + now.tv_nsec < end.tv_sec * 1000000000 + end.tv_nsec);
	harvest_thread_off();
}

static void
test_harvest_all_the_time(void **state)
{
	(void)state;
	for_all(race);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_write_is_marked_after_it_is_made),
		cmocka_unit_test(test_wanted_kicks_are_marked),
		cmocka_unit_test(test_harvest_all_the_time),
	};

	pool = unit_eal_start(&(struct unit_eal){.memory_mb = 64, .n_mbufs = POOL_SIZE});
	return UNIT_RUN(tests);
}
