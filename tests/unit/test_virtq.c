/* SPDX-License-Identifier: BSD-3-Clause */
/* Rings without packets: positions, faults, notification, both layouts. */
#include "unit.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "driver.h"
#include "ring.h"
#include "rng.h"
#include "ticks.h"

enum { FRESH = 0x80008000u };

struct rig {
	struct driver_mem mem;
	struct driver_queue driver;
	struct virtq vq;
};

static struct rig *
rig_open(uint32_t traits, uint16_t size, bool event_idx)
{
	struct rig *rig = unit_zalloc(sizeof(*rig));

	driver_mem_open(&rig->mem);
	driver_queue_open(&rig->driver, &rig->mem, 0, traits, size, event_idx);
	assert_int_equal(virtq_start(&rig->vq, &rig->driver.conf, traits & TRAIT_PACKED ? FRESH : 0), 0);
	return rig;
}

static void
rig_close(struct rig *rig)
{
	if (rig->driver.conf.call_fd >= 0)
		close(rig->driver.conf.call_fd);
	driver_queue_close(&rig->driver);
	driver_mem_close(&rig->mem);
	free(rig);
}

static uint16_t
rig_fetch(struct rig *rig, struct virtq_elem elems[], uint16_t n)
{
	struct virtq_cursor at = rig->vq.avail;

	return virtq_fetch(&rig->vq, &rig->driver.conf, &at, elems, n, rig->driver.conf.traits);
}

/* Take and return up to n chains as a device does; returns the count. */
static uint16_t
rig_iteration(struct rig *rig, uint16_t n)
{
	struct virtq_elem elems[VIRTQ_FETCH_MAX];
	const uint32_t traits = rig->driver.conf.traits;

	n = rig_fetch(rig, elems, n);
	for (uint16_t i = 0; i < n; i++)
		virtq_retire(&rig->vq, &rig->driver.conf, &elems[i], 0, traits);
	if (n)
		virtq_publish(&rig->vq, &rig->driver.conf, traits);
	return n;
}

static const struct driver_buf one_buf = {0x200000, 100, false};

/* --- positions --- */

static void
test_base_outside_the_ring_is_refused(void **state)
{
	const struct {
		uint32_t base;
		bool packed;
		uint16_t size;
		bool valid;
	} rows[] = {
		{0, false, 256, true},          {65535, false, 256, true},
		{65536, false, 256, false},     {0xffffffff, false, 256, false},
		{FRESH, true, 256, true},       {0, true, 256, true},
		{255, true, 256, true},         {256, true, 256, false},
		{0x7fff, true, 32768, true},    {0x80ff80ff, true, 256, true},
		{0x81008000, true, 256, false}, {0x80008100, true, 256, false},
		{0xffffffff, true, 256, false}, {0x80008000, true, 1, true},
		{0x80008001, true, 1, false},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		assert_int_equal(virtq_base_valid(rows[i].base, rows[i].packed, rows[i].size), rows[i].valid);
}

/* Stop and start again at every position of several laps: the driver notices nothing. */
static void
test_restart_at_every_position(void **state)
{
	for (uint32_t traits = 0; traits < TRAIT_VIRTQ_N; traits++) {
		uint16_t size = traits & TRAIT_PACKED ? 5 : 4;
		struct rig *rig = rig_open(traits, size, false);
		uint64_t tag;
		uint32_t len;

		for (uint64_t i = 0; i < 100000; i++) {
			uint32_t base;

			assert_true(driver_add(&rig->driver, &one_buf, 1, DRIVER_DIRECT, i));
			assert_int_equal(rig_iteration(rig, 2), 1);
			assert_true(driver_get(&rig->driver, &tag, &len));
			assert_int_equal(tag, i);
			base = virtq_base(&rig->vq, traits & TRAIT_PACKED);
			memset(&rig->vq, 0xa5, sizeof(rig->vq));
			assert_int_equal(virtq_start(&rig->vq, &rig->driver.conf, base), 0);
		}
		rig_close(rig);
	}
}

/* What an earlier back-end took and did not return is taken again. */
static void
test_restart_takes_unreturned_again(void **state)
{
	struct virtq_elem elems[VIRTQ_FETCH_MAX];
	struct rig *rig = rig_open(0, 16, false);

	for (uint64_t i = 0; i < 8; i++)
		assert_true(driver_add(&rig->driver, &one_buf, 1, DRIVER_DIRECT, i));
	assert_int_equal(rig_iteration(rig, 3), 3);
	assert_int_equal(virtq_start(&rig->vq, &rig->driver.conf, 6), 0);
	assert_int_equal(rig_fetch(rig, elems, VIRTQ_FETCH_MAX), 5);
	rig_close(rig);

	/* Packed: available position ahead of the used one. */
	rig = rig_open(TRAIT_PACKED, 16, false);
	for (uint64_t i = 0; i < 8; i++)
		assert_true(driver_add(&rig->driver, &one_buf, 1, DRIVER_DIRECT, i));
	assert_int_equal(rig_iteration(rig, 3), 3);
	assert_int_equal(virtq_start(&rig->vq, &rig->driver.conf, 0x80038006), 0);
	assert_int_equal(rig_fetch(rig, elems, VIRTQ_FETCH_MAX), 5);
	rig_close(rig);
}

/* Fetched but not retired is put back. */
static void
test_not_retired_is_put_back(void **state)
{
	for (uint32_t traits = 0; traits < TRAIT_VIRTQ_N; traits++) {
		struct rig *rig = rig_open(traits, 8, false);
		struct virtq_elem elems[VIRTQ_FETCH_MAX];

		for (uint64_t i = 0; i < 8; i++)
			assert_true(driver_add(&rig->driver, &one_buf, 1, DRIVER_DIRECT, i));
		for (int i = 0; i < 5; i++)
			assert_int_equal(rig_fetch(rig, elems, VIRTQ_FETCH_MAX), 8);
		assert_int_equal(rig_iteration(rig, 3), 3);
		assert_int_equal(rig_fetch(rig, elems, VIRTQ_FETCH_MAX), 5);
		rig_close(rig);
	}
}

/* Retired but not published: the driver sees none of it; then all at once. */
static void
test_retired_is_invisible_until_published(void **state)
{
	for (uint32_t traits = 0; traits < TRAIT_VIRTQ_N; traits++) {
		struct rig *rig = rig_open(traits, 8, false);
		struct virtq_elem elems[VIRTQ_FETCH_MAX];
		uint64_t tag;
		uint32_t len;

		for (uint64_t i = 0; i < 5; i++)
			assert_true(driver_add(&rig->driver, &one_buf, 1, DRIVER_DIRECT, i));
		assert_int_equal(rig_fetch(rig, elems, VIRTQ_FETCH_MAX), 5);
		for (uint64_t i = 0; i < 5; i++) {
			virtq_retire(&rig->vq, &rig->driver.conf, &elems[i], 0, traits);
			assert_false(driver_get(&rig->driver, &tag, &len));
		}
		virtq_publish(&rig->vq, &rig->driver.conf, traits);
		for (uint64_t i = 0; i < 5; i++) {
			assert_true(driver_get(&rig->driver, &tag, &len));
			assert_int_equal(tag, i);
		}
		rig_close(rig);
	}
}

/* --- faults --- */

static enum virtq_fault
fault_of(struct rig *rig)
{
	return atomic_load(&rig->vq.fault);
}

static enum virtq_walk
walk_first(struct rig *rig, struct virtq_chain *chain)
{
	struct virtq_elem elem;

	assert_int_equal(rig_fetch(rig, &elem, 1), 1);
	return virtq_walk(&rig->vq, &rig->driver.conf, &elem, chain);
}

static void
test_avail_index_jump(void **state)
{
	const uint16_t jumps[] = {17, 1000, 0xffff, 0x8000};

	for (size_t i = 0; i < 4; i++) {
		struct rig *rig = rig_open(0, 16, false);
		struct virtq_elem elem;

		rig->driver.avail->idx = jumps[i];
		assert_int_equal(rig_fetch(rig, &elem, 1), 0);
		assert_int_equal(fault_of(rig), FAULT_AVAIL_JUMP);
		rig_close(rig);
	}
}

static void
test_head_outside_table(void **state)
{
	const uint16_t heads[] = {16, 65535};

	for (size_t i = 0; i < 2; i++) {
		struct rig *rig = rig_open(0, 16, false);
		struct virtq_elem elems[8];

		assert_true(driver_add(&rig->driver, &one_buf, 1, DRIVER_DIRECT, 0));
		rig->driver.avail->ring[1] = heads[i];
		rig->driver.avail->idx = 2;
		/* The good one first; the queue breaks when the bad one is next. */
		assert_int_equal(rig_fetch(rig, elems, 8), 1);
		assert_int_equal(fault_of(rig), FAULT_NONE);
		assert_int_equal(rig_iteration(rig, 8), 1);
		assert_int_equal(rig_iteration(rig, 8), 0);
		assert_int_equal(fault_of(rig), FAULT_HEAD_RANGE);
		rig_close(rig);
	}
}

static void
test_split_next_outside_and_loops(void **state)
{
	const struct {
		uint16_t next[3];
		enum virtq_fault fault;
	} rows[] = {
		{{0, 0, 0}, FAULT_LOOP},        {{1, 0, 0}, FAULT_LOOP},           {{1, 2, 1}, FAULT_LOOP},
		{{16, 0, 0}, FAULT_NEXT_RANGE}, {{1, 65535, 0}, FAULT_NEXT_RANGE},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		for (uint32_t len = 0; len < 2; len++) {
			struct rig *rig = rig_open(0, 16, false);
			static struct virtq_chain chain;

			for (uint16_t d = 0; d < 3; d++)
				rig->driver.desc[d] = (struct vring_desc){0x200000, len, VRING_DESC_F_NEXT,
									  rows[i].next[d]};
			rig->driver.avail->ring[0] = 0;
			rig->driver.avail->idx = 1;
			assert_int_equal(walk_first(rig, &chain), VIRTQ_WALK_BROKEN);
			assert_int_equal(fault_of(rig), rows[i].fault);
			rig_close(rig);
		}
}

static void
test_packed_list_longer_than_the_ring(void **state)
{
	struct rig *rig = rig_open(TRAIT_PACKED, 7, false);
	struct virtq_elem elem;

	for (uint16_t d = 0; d < 7; d++)
		rig->driver.ring[d] =
			(struct vring_packed_desc){0x200000, 64, d, VRING_DESC_F_NEXT | PACKED_AVAIL};
	assert_int_equal(rig_fetch(rig, &elem, 1), 0);
	assert_int_equal(fault_of(rig), FAULT_LOOP);
	rig_close(rig);
}

/* An indirect table, entry by entry. */
static void
test_indirect_tables(void **state)
{
	enum { W = VRING_DESC_F_WRITE, N = VRING_DESC_F_NEXT, I = VRING_DESC_F_INDIRECT };
	const struct {
		bool packed;
		uint16_t outer;
		uint32_t len;
		uint16_t flags[3], next[3];
		enum virtq_fault fault;
	} rows[] = {
		{false, I, 0, {0}, {0}, FAULT_INDIRECT_SIZE},
		{false, I, 15, {0}, {0}, FAULT_INDIRECT_SIZE},
		{false, I, 17, {0}, {0}, FAULT_INDIRECT_SIZE},
		/* Longer than the ring, which is for the driver to avoid; the list in it is short. */
		{false, I | W, 17 * 16, {N, W}, {1}, FAULT_NONE},
		{false, I | W, 1 << 20, {N, W}, {1}, FAULT_NONE},
		{false, I | N, 32, {0}, {0}, FAULT_INDIRECT_FLAGS},
		{false, I, 32, {I}, {0}, FAULT_INDIRECT_FLAGS},
		{false, I, 48, {N, I}, {1}, FAULT_INDIRECT_FLAGS},
		{false, I, 32, {N}, {2}, FAULT_NEXT_RANGE},
		{false, I, 32, {N, N}, {1, 0}, FAULT_LOOP},
		{false, I, 16, {N}, {0}, FAULT_LOOP},
		{false, I, 32, {W | N, 0}, {1}, FAULT_ORDER},
		{false, I | W, 32, {N, W}, {1}, FAULT_NONE},
		{true, I, 0, {0}, {0}, FAULT_INDIRECT_SIZE},
		{true, I, 15, {0}, {0}, FAULT_INDIRECT_SIZE},
		{true, I, 17, {0}, {0}, FAULT_INDIRECT_SIZE},
		{true, I, 32, {I, 0}, {0}, FAULT_INDIRECT_FLAGS},
		{true, I, 32, {0, I}, {0}, FAULT_INDIRECT_FLAGS},
		{true, I, 48, {0, W, 0}, {0}, FAULT_ORDER},
		{true, I, 48, {W, W, 0}, {0}, FAULT_ORDER},
		{true, I, 32, {W, 0}, {0}, FAULT_ORDER},
		{true, I, 48, {W, 0, 0}, {0}, FAULT_ORDER},
		/* NEXT and the ring flags mean nothing inside. */
		{true, I | W, 48, {N, PACKED_AVAIL | PACKED_USED, W}, {0}, FAULT_NONE},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct rig *rig = rig_open(rows[i].packed ? TRAIT_PACKED : 0, 16, false);
		static struct virtq_chain chain;
		uint64_t table = 0x300000;

		for (uint16_t d = 0; d < 3; d++) {
			struct vring_desc *split = (struct vring_desc *)driver_va(&rig->mem, table) + d;
			struct vring_packed_desc *packed = (struct vring_packed_desc *)split;

			if (rows[i].packed)
				*packed = (struct vring_packed_desc){0x200000, 64, 9, rows[i].flags[d]};
			else
				*split = (struct vring_desc){0x200000, 64, rows[i].flags[d], rows[i].next[d]};
		}
		if (rows[i].packed) {
			rig->driver.ring[0] = (struct vring_packed_desc){table, rows[i].len, 0,
									 rows[i].outer | PACKED_AVAIL};
		} else {
			rig->driver.desc[0] = (struct vring_desc){table, rows[i].len, rows[i].outer, 1};
			rig->driver.avail->idx = 1;
		}
		assert_int_equal(walk_first(rig, &chain),
				 rows[i].fault == FAULT_NONE ? VIRTQ_WALK_OK : VIRTQ_WALK_BROKEN);
		assert_int_equal(fault_of(rig), rows[i].fault);
		rig_close(rig);
	}
}

/* A chain of three buffers, bit i of `writable`: buffer i is device-writable. */
static void
check_directions(uint32_t traits, enum driver_form form, bool only_read, unsigned int writable)
{
	/* A readable buffer may come before a writable one, but not after it. */
	const bool in_order = writable == 0 || writable == 4 || writable == 6 || writable == 7;
	/* Part direct, part indirect there is in split rings only: in packed ones all is in the table. */
	const bool forgiven = traits & TRAIT_PACKED && form != DRIVER_DIRECT && only_read;
	struct driver_buf bufs[3] = {{0x200000, 12, false}, {0x210000, 100, false}, {0x220000, 1000, false}};
	struct rig *rig = rig_open(traits, 16, false);
	static struct virtq_chain chain;

	rig->driver.conf.only_read = only_read;
	for (unsigned int i = 0; i < 3; i++)
		bufs[i].writable = writable >> i & 1;
	assert_true(driver_add(&rig->driver, bufs, 3, form, 0));
	if (!in_order && !forgiven) {
		assert_int_equal(walk_first(rig, &chain), VIRTQ_WALK_BROKEN);
		assert_int_equal(fault_of(rig), FAULT_ORDER);
	} else {
		uint32_t readable = 0;

		assert_int_equal(walk_first(rig, &chain), VIRTQ_WALK_OK);
		assert_int_equal(fault_of(rig), FAULT_NONE);
		assert_int_equal(chain.n_segs, 3);
		for (unsigned int i = 0; i < 3; i++) {
			assert_int_equal(chain.segs[i].gpa, bufs[i].gpa);
			assert_int_equal(chain.segs[i].len, bufs[i].len);
			if (forgiven || !bufs[i].writable)
				readable += bufs[i].len;
		}
		assert_int_equal(chain.n_readable, forgiven ? 3 : 3 - __builtin_popcount(writable));
		assert_int_equal(chain.readable_len, readable);
		assert_int_equal(chain.writable_len, 1112 - readable);
	}
	rig_close(rig);
}

/*
 * Every pattern of WRITE flags. A driver's slip is let pass, WRITE anywhere in the tables of a packed queue
 * whose buffers are only read; everything else counts as it stands there.
 */
static void
test_directions(void **state)
{
	for (uint32_t traits = 0; traits <= TRAIT_PACKED; traits += TRAIT_PACKED)
		for (enum driver_form form = 0; form < DRIVER_N_FORMS; form++)
			for (int only_read = 0; only_read < 2; only_read++)
				for (unsigned int writable = 0; writable < 8; writable++)
					check_directions(traits, form, only_read, writable);
}

/* Packed: a descriptor both indirect and chained must not occupy the device for ever. */
static void
test_packed_indirect_with_next(void **state)
{
	struct rig *rig = rig_open(TRAIT_PACKED, 16, false);
	static struct virtq_chain chain;

	rig->driver.ring[1] = (struct vring_packed_desc){0x200000, 64, 0, PACKED_AVAIL};
	rig->driver.ring[0] = (struct vring_packed_desc){
		0x300000, 32, 0, VRING_DESC_F_INDIRECT | VRING_DESC_F_NEXT | PACKED_AVAIL};
	assert_int_equal(walk_first(rig, &chain), VIRTQ_WALK_BROKEN);
	assert_int_equal(fault_of(rig), FAULT_INDIRECT_FLAGS);
	rig_close(rig);
}

static void
test_indirect_not_negotiated(void **state)
{
	for (uint32_t traits = 0; traits <= TRAIT_PACKED; traits += TRAIT_PACKED) {
		struct rig *rig = rig_open(traits, 16, false);
		static struct virtq_chain chain;

		rig->driver.conf.indirect = false;
		assert_true(driver_add(&rig->driver, &one_buf, 1, DRIVER_INDIRECT, 0));
		assert_int_equal(walk_first(rig, &chain), VIRTQ_WALK_BROKEN);
		assert_int_equal(fault_of(rig), FAULT_INDIRECT_FLAGS);
		rig_close(rig);
	}
}

/* One chain of n buffers, of which the first n_across reach from a region into the next. */
static void
check_length(uint32_t traits, uint16_t size, enum driver_form form, unsigned int n, unsigned int n_across,
	     enum virtq_walk walked)
{
	static struct driver_buf bufs[DRIVER_BUFS_MAX];
	static struct virtq_chain chain;
	struct rig *rig = rig_open(traits, size, false);
	uint64_t tag;
	uint32_t len;

	rig->driver.long_tables = true;
	for (unsigned int i = 0; i < n; i++)
		bufs[i] = i < n_across ? (struct driver_buf){driver_region_gpa(1) - 1, 2, false}
				       : (struct driver_buf){0x200000 + i, 1, false};
	assert_true(driver_add(&rig->driver, bufs, n, form, n));
	assert_int_equal(walk_first(rig, &chain), walked);
	if (walked == VIRTQ_WALK_OK) {
		assert_int_equal(chain.n_segs, n + n_across);
		assert_int_equal(chain.readable_len, n + n_across);
		assert_int_equal(chain.segs[chain.n_segs - 1].gpa, bufs[n - 1].gpa + (n == n_across));
	}
	assert_int_equal(fault_of(rig), FAULT_NONE);
	/* It goes back whatever it is. */
	assert_int_equal(rig_iteration(rig, 1), 1);
	assert_true(driver_get(&rig->driver, &tag, &len));
	assert_int_equal(tag, n);
	rig_close(rig);
}

/* As many descriptors as QEMU takes, wherever they are and however long the ring; more: useless, not broken.
 */
static void
test_long_chains(void **state)
{
	static const unsigned int n[] = {255, 256, 257, 1023, 1024, 1025, DRIVER_BUFS_MAX};

	assert_int_equal(VIRTQ_DESCS_MAX, 1024);
	for (uint32_t traits = 0; traits <= TRAIT_PACKED; traits += TRAIT_PACKED)
		for (size_t i = 0; i < sizeof(n) / sizeof(n[0]); i++) {
			const enum virtq_walk walked = n[i] <= 1024 ? VIRTQ_WALK_OK : VIRTQ_WALK_LONG;

			for (unsigned int n_across = 0; n_across < 3; n_across++) {
				check_length(traits, 2048, DRIVER_DIRECT, n[i], n_across, walked);
				check_length(traits, 2048, DRIVER_INDIRECT, n[i], n_across, walked);
				check_length(traits, 16, DRIVER_INDIRECT, n[i], n_across, walked);
				check_length(traits, 2048, DRIVER_DIRECT_THEN_INDIRECT, n[i], n_across,
					     walked);
			}
		}
}

/* Pieces that can't be kept: more of them than there are seams in any memory. */
static void
test_chain_of_too_many_pieces(void **state)
{
	const unsigned int seams = VIRTQ_SEGS_MAX - VIRTQ_DESCS_MAX;

	assert_true(seams >= GMEM_REGIONS_MAX - 1);
	for (uint32_t traits = 0; traits <= TRAIT_PACKED; traits += TRAIT_PACKED)
		for (enum driver_form form = 0; form < DRIVER_N_FORMS; form++) {
			check_length(traits, 2048, form, 1024, seams, VIRTQ_WALK_OK);
			check_length(traits, 2048, form, 1024, seams + 1, VIRTQ_WALK_LONG);
			check_length(traits, 2048, form, 1024, 1024, VIRTQ_WALK_LONG);
		}
}

/* A loop in a longer table than any chain may be is not followed to its end. */
static void
test_long_loops(void **state)
{
	static const struct {
		uint16_t size;
		enum virtq_walk walked;
		enum virtq_fault fault;
	} rows[] = {
		{1024, VIRTQ_WALK_BROKEN, FAULT_LOOP},
		{2048, VIRTQ_WALK_LONG, FAULT_NONE},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		for (int indirect = 0; indirect < 2; indirect++) {
			struct rig *rig = rig_open(0, rows[i].size, false);
			struct vring_desc *table = driver_va(&rig->mem, 0x300000);
			static struct virtq_chain chain;

			table[0] = (struct vring_desc){0x200000, 1, VRING_DESC_F_NEXT, 0};
			rig->driver.desc[0] = table[0];
			if (indirect)
				rig->driver.desc[0] = (struct vring_desc){0x300000, 16u * rows[i].size,
									  VRING_DESC_F_INDIRECT, 0};
			rig->driver.avail->idx = 1;
			assert_int_equal(walk_first(rig, &chain), rows[i].walked);
			assert_int_equal(fault_of(rig), rows[i].fault);
			rig_close(rig);
		}
}

/* --- notification --- */

static unsigned int
calls(struct rig *rig)
{
	uint64_t n = 0;

	return read(rig->driver.conf.call_fd, &n, sizeof(n)) == sizeof(n) ? (unsigned int)n : 0;
}

static void
notify_round(struct rig *rig, uint64_t tag, bool settle)
{
	assert_true(driver_add(&rig->driver, &one_buf, 1, DRIVER_DIRECT, tag));
	assert_int_equal(rig_iteration(rig, 1), 1);
	virtq_notify(&rig->vq, &rig->driver.conf, 1);
	if (settle && rig->vq.notify_state != NOTIFY_CONFIRMED)
		virtq_notify_confirm(&rig->vq, &rig->driver.conf);
}

static void
drain(struct rig *rig)
{
	uint64_t tag;
	uint32_t len;

	while (driver_get(&rig->driver, &tag, &len))
		;
}

static void
test_notification_is_sent_when_wanted(void **state)
{
	for (uint32_t traits = 0; traits <= TRAIT_PACKED; traits += TRAIT_PACKED)
		for (int event_idx = 0; event_idx < 2; event_idx++) {
			struct rig *rig = rig_open(traits, traits & TRAIT_PACKED ? 7 : 8, event_idx);

			rig->driver.conf.call_fd = eventfd(0, EFD_NONBLOCK);
			/* Several laps, and for the split ring's 16-bit index more than one iteration of it.
			 */
			for (uint64_t i = 0; i < 70000; i++) {
				driver_interrupts(&rig->driver,
						  event_idx ? DRIVER_INTERRUPTS_NEXT : DRIVER_INTERRUPTS_ON);
				notify_round(rig, i, true);
				assert_int_equal(calls(rig), 1);
				drain(rig);
			}
			for (uint64_t i = 0; i < 5; i++) {
				/* Off is set anew, as a driver does that polls. */
				driver_interrupts(&rig->driver, DRIVER_INTERRUPTS_OFF);
				notify_round(rig, i, true);
				assert_int_equal(calls(rig), 0);
				drain(rig);
			}
			rig_close(rig);
		}
}

/* "Not wanted" was stale: the queue stays pending, and settling finds out. */
static void
test_late_wish_is_served(void **state)
{
	for (uint32_t traits = 0; traits <= TRAIT_PACKED; traits += TRAIT_PACKED)
		for (int event_idx = 0; event_idx < 2; event_idx++) {
			struct rig *rig = rig_open(traits, 64, event_idx);

			rig->driver.conf.call_fd = eventfd(0, EFD_NONBLOCK);
			atomic_store(&rig->vq.conf, &rig->driver.conf);
			for (uint64_t i = 0; i < 1000; i++) {
				/* The constraints is stored after the device looked, the ring was read before
				 * it published. */
				driver_interrupts(&rig->driver, DRIVER_INTERRUPTS_OFF);
				notify_round(rig, i, false);
				assert_int_equal(calls(rig), 0);
				assert_int_equal(rig->vq.notify_state, NOTIFY_ASKED);
				driver_interrupts(&rig->driver,
						  event_idx ? DRIVER_INTERRUPTS_NEXT : DRIVER_INTERRUPTS_ON);
				/* The turn in which it published, then one in which it did not. */
				virtq_notify_service(&rig->vq);
				assert_int_equal(calls(rig), 0);
				virtq_notify_service(&rig->vq);
				assert_int_equal(calls(rig), 1);
				assert_int_equal(rig->vq.notify_state, NOTIFY_CONFIRMED);
				drain(rig);
			}
			rig_close(rig);
		}
}

/* Event index against the standard's own words, element by element: is the event's position among those just
 * used? The flag beside it means nothing then. */
static void
test_C29_C30_event_index_oracle(void **state)
{
	for (uint32_t traits = 0; traits <= TRAIT_PACKED; traits += TRAIT_PACKED)
		for (uint16_t size = 4; size <= 16; size = (uint16_t)(size * 2)) {
			struct rig *rig = rig_open(traits, size, true);
			uint64_t done = 0; /* buffers used since the start */

			rig->driver.conf.call_fd = eventfd(0, EFD_NONBLOCK);
			for (int round = 0; round < 20000; round++) {
				uint16_t n = (uint16_t)(1 + rng_below(size));
				/* An event somewhere within a ring's length after the position of the last
				 * drain. */
				uint64_t event = done + rng_below(size);
				bool want = event < done + n;

				if (traits & TRAIT_PACKED) {
					struct vring_packed_desc_event *area =
						driver_va(&rig->mem, rig->driver.avail_gpa);

					area->off_wrap =
						(uint16_t)(event % size | ((event / size) % 2 ? 0 : 1 << 15));
					area->flags = VRING_PACKED_EVENT_FLAG_DESC;
				} else {
					rig->driver.avail->ring[size] = (uint16_t)event;
					/* C29: means nothing. */
					rig->driver.avail->flags = (uint16_t)rng_below(2);
				}
				for (uint16_t i = 0; i < n; i++)
					assert_true(driver_add(&rig->driver, &one_buf, 1, DRIVER_DIRECT, i));
				assert_int_equal(rig_iteration(rig, n), n);
				virtq_notify(&rig->vq, &rig->driver.conf, n);
				if (rig->vq.notify_state != NOTIFY_CONFIRMED)
					virtq_notify_confirm(&rig->vq, &rig->driver.conf);
				assert_int_equal(calls(rig), want);
				drain(rig);
				done += n;
			}
			rig_close(rig);
		}
}

/*
 * More than a ring's worth goes back between two sure answers: half of it while the driver polls, then a
 * whole ring in one burst, just after the driver asked to be told of its first descriptor.
 */
static void
test_packed_event_a_lap_ago(void **state)
{
	for (uint16_t n_before = 1; n_before < 4; n_before++) {
		struct rig *rig = rig_open(TRAIT_PACKED, 8, true);

		rig->driver.conf.call_fd = eventfd(0, EFD_NONBLOCK);
		driver_interrupts(&rig->driver, DRIVER_INTERRUPTS_OFF);
		for (uint16_t i = 0; i < n_before; i++) {
			notify_round(rig, i, false);
			assert_int_equal(rig->vq.notify_state, NOTIFY_ASKED);
			drain(rig);
		}
		driver_interrupts(&rig->driver, DRIVER_INTERRUPTS_NEXT);
		for (uint16_t i = 0; i < 8; i++)
			assert_true(driver_add(&rig->driver, &one_buf, 1, DRIVER_DIRECT, i));
		assert_int_equal(rig_iteration(rig, 8), 8);
		virtq_notify(&rig->vq, &rig->driver.conf, 8);
		assert_int_equal(calls(rig), 1);
		rig_close(rig);
	}
}

/* The same with lists of three descriptors: a ring is worth a third of the chains then. */
static void
test_packed_event_a_lap_of_lists_ago(void **state)
{
	const struct driver_buf bufs[3] = {one_buf, one_buf, one_buf};
	struct rig *rig = rig_open(TRAIT_PACKED, 64, true);
	unsigned int n_calls = 0;

	rig->driver.conf.call_fd = eventfd(0, EFD_NONBLOCK);
	atomic_store(&rig->vq.conf, &rig->driver.conf);
	/* The driver polls while bursts come without a pause, for whole laps; then it asks, and sleeps. */
	for (unsigned int round = 0; round < 100; round++) {
		driver_interrupts(&rig->driver, DRIVER_INTERRUPTS_OFF);
		for (unsigned int i = 0; i <= round % 30; i++) {
			assert_true(driver_add(&rig->driver, bufs, 3, DRIVER_DIRECT, i));
			assert_int_equal(rig_iteration(rig, 1), 1);
			virtq_notify(&rig->vq, &rig->driver.conf, 1);
			drain(rig);
		}
		assert_int_equal(calls(rig), 0);
		driver_interrupts(&rig->driver, DRIVER_INTERRUPTS_NEXT);
		for (unsigned int i = 0; i < 21; i++)
			assert_true(driver_add(&rig->driver, bufs, 3, DRIVER_DIRECT, i));
		assert_int_equal(rig_iteration(rig, 21), 21);
		virtq_notify(&rig->vq, &rig->driver.conf, 21);
		virtq_notify_service(&rig->vq);
		virtq_notify_service(&rig->vq);
		n_calls = calls(rig);
		assert_int_equal(n_calls, 1);
		drain(rig);
	}
	rig_close(rig);
}

/* --- coalescing --- */

enum { COAL_LONG = 1u << 30 };  /* packets; far more than a test has */
#define COAL_TICKS (1ull << 50) /* days: the tests move the clock */

/* Any traits and ways of asking, in a row. */
struct coal_case {
	uint32_t traits;
	bool event_idx;
};

static const struct coal_case coal_cases[] = {
	{0, false},
	{0, true},
	{TRAIT_PACKED, false},
	{TRAIT_PACKED, true},
};
enum { COAL_CASES = sizeof(coal_cases) / sizeof(coal_cases[0]) };

static struct rig *
coal_open(const struct coal_case *its, uint32_t max_packets, uint64_t max_ticks)
{
	struct rig *rig = rig_open(its->traits, 256, its->event_idx);

	rig->driver.conf.call_fd = eventfd(0, EFD_NONBLOCK);
	rig->driver.conf.coal_max_packets = max_packets;
	rig->driver.conf.coal_max_ticks = max_ticks;
	atomic_store(&rig->vq.conf, &rig->driver.conf);
	return rig;
}

/* The driver sleeps until it is told of the next one. */
static void
coal_sleep(struct rig *rig)
{
	drain(rig);
	driver_interrupts(&rig->driver,
			  rig->driver.conf.event_idx ? DRIVER_INTERRUPTS_NEXT : DRIVER_INTERRUPTS_ON);
}

/* An iteration of the poll loop with a burst of n packets, of n_bufs buffers each; returns the notifications.
 */
static unsigned int
coal_iteration(struct rig *rig, uint16_t n, uint16_t n_bufs)
{
	for (unsigned int i = 0; i < (unsigned int)n * n_bufs; i++)
		assert_true(driver_add(&rig->driver, &one_buf, 1, DRIVER_DIRECT, i));
	if (n) {
		assert_int_equal(rig_iteration(rig, (uint16_t)(n * n_bufs)), n * n_bufs);
		virtq_notify(&rig->vq, &rig->driver.conf, n);
	}
	virtq_notify_service(&rig->vq);
	return calls(rig);
}

/* Time passes for what is held back. */
static void
coal_pass(struct rig *rig, uint64_t ticks)
{
	rig->vq.coal_since -= ticks;
}

/* Each 8th packet, whatever the bursts. */
static void
test_coal_by_packets(void **state)
{
	for (unsigned int c = 0; c < COAL_CASES; c++) {
		struct rig *rig = coal_open(&coal_cases[c], 8, COAL_TICKS);
		unsigned int n_packets = 0, n_calls = 0;

		coal_sleep(rig);
		for (unsigned int i = 0; i < 2000; i++) {
			unsigned int got = coal_iteration(rig, 1, 1);

			n_packets++;
			n_calls += got;
			assert_int_equal(got, n_packets % 8 == 0);
			assert_int_equal(coal_iteration(rig, 0, 1), 0);
			/* Who is not told does not look. */
			if (got)
				coal_sleep(rig);
		}
		assert_int_equal(n_calls, 250);
		rig_close(rig);
	}
}

/* Frames count, not the buffers that they take. */
static void
test_coal_counts_packets(void **state)
{
	for (unsigned int c = 0; c < COAL_CASES; c++) {
		struct rig *rig = coal_open(&coal_cases[c], 8, COAL_TICKS);

		coal_sleep(rig);
		for (unsigned int i = 1; i <= 80; i++) {
			assert_int_equal(coal_iteration(rig, 1, 4), i % 8 == 0);
			if (i % 8 == 0)
				coal_sleep(rig);
		}
		rig_close(rig);
	}
}

/* A burst larger than the limit is one notification, at once, and the next packet starts anew. */
static void
test_coal_large_burst(void **state)
{
	for (unsigned int c = 0; c < COAL_CASES; c++) {
		struct rig *rig = coal_open(&coal_cases[c], 8, COAL_TICKS);

		for (unsigned int i = 0; i < 100; i++) {
			coal_sleep(rig);
			assert_int_equal(coal_iteration(rig, 7, 1), 0);
			assert_int_equal(coal_iteration(rig, 32, 1), 1);
			coal_sleep(rig);
			for (unsigned int k = 0; k < 32; k++)
				assert_true(driver_add(&rig->driver, &one_buf, 1, DRIVER_DIRECT, k));
			assert_int_equal(rig_iteration(rig, 32), 32);
			virtq_notify(&rig->vq, &rig->driver.conf, 32);
			assert_int_equal(calls(rig), 1);
			coal_sleep(rig);
			assert_int_equal(coal_iteration(rig, 7, 1), 0);
			assert_int_equal(coal_iteration(rig, 1, 1), 1);
		}
		rig_close(rig);
	}
}

/* From the first packet on, not from the last, and once. */
static void
test_coal_by_time(void **state)
{
	for (unsigned int c = 0; c < COAL_CASES; c++) {
		struct rig *rig = coal_open(&coal_cases[c], COAL_LONG, COAL_TICKS);

		for (unsigned int i = 0; i < 500; i++) {
			coal_sleep(rig);
			assert_int_equal(coal_iteration(rig, 1, 1), 0);
			coal_pass(rig, COAL_TICKS / 2);
			assert_int_equal(coal_iteration(rig, 0, 1), 0);
			assert_int_equal(coal_iteration(rig, 2, 1), 0);
			coal_pass(rig, COAL_TICKS / 2);
			/* With a burst in that very turn, or without. */
			assert_int_equal(coal_iteration(rig, i % 2, 1), 1);
			assert_int_equal(rig->vq.notify_state, NOTIFY_CONFIRMED);
			assert_int_equal(coal_iteration(rig, 0, 1), 0);
		}
		rig_close(rig);
	}
}

static void
test_coal_whichever_comes_first(void **state)
{
	for (unsigned int c = 0; c < COAL_CASES; c++) {
		struct rig *rig = coal_open(&coal_cases[c], 3, COAL_TICKS);

		for (unsigned int i = 0; i < 500; i++) {
			coal_sleep(rig);
			assert_int_equal(coal_iteration(rig, 2, 1), 0);
			coal_pass(rig, COAL_TICKS);
			assert_int_equal(coal_iteration(rig, 0, 1), 1);
			coal_sleep(rig);
			assert_int_equal(coal_iteration(rig, 2, 1), 0);
			coal_pass(rig, COAL_TICKS / 2);
			assert_int_equal(coal_iteration(rig, 1, 1), 1);
			/* The time before does not count for the next. */
			coal_sleep(rig);
			assert_int_equal(coal_iteration(rig, 1, 1), 0);
			coal_pass(rig, COAL_TICKS / 2 + COAL_TICKS / 4);
			assert_int_equal(coal_iteration(rig, 0, 1), 0);
			coal_pass(rig, COAL_TICKS / 4);
			assert_int_equal(coal_iteration(rig, 0, 1), 1);
		}
		rig_close(rig);
	}
}

static uint64_t
now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

/* The real clock: never before its time. Later than that only by what the machine takes for itself. */
static void
test_coal_by_the_clock(void **state)
{
	struct rig *rig = coal_open(&coal_cases[0], COAL_LONG, 0);
	uint64_t start_us = now_us(), start = ticks_now(), least_us = UINT64_MAX, hz;

	while (now_us() - start_us < 20000)
		;
	hz = (ticks_now() - start) * 1000000 / (now_us() - start_us);
	rig->driver.conf.coal_max_ticks = ticks_from_us(1000, hz);
	for (unsigned int i = 0; i < 20; i++) {
		uint64_t took_us;

		coal_sleep(rig);
		start_us = now_us();
		assert_int_equal(coal_iteration(rig, 1, 1), 0);
		while (coal_iteration(rig, 0, 1) == 0)
			assert_true(now_us() - start_us < 5000000);
		took_us = now_us() - start_us;
		assert_true(took_us >= 950);
		if (took_us < least_us)
			least_us = took_us;
	}
	assert_true(least_us < 2000);
	rig_close(rig);
}

static void
test_ticks(void **state)
{
	assert_int_equal(ticks_from_us(0, 2300000000), 0);
	assert_true(ticks_from_us(1, 0) >= 1);
	/* Within a thousandth, never less, and no overflow. */
#ifdef __x86_64__
	assert_in_range(ticks_from_us(100, 2300000000), 230000, 230230);
	assert_in_range(ticks_from_us(UINT32_MAX, 5000000000), 5000ull * UINT32_MAX, 5005ull * UINT32_MAX);
#endif
}

/* Suppressed stays suppressed, however much has gathered; what comes after the driver's constraints is told.
 */
static void
test_coal_suppressed(void **state)
{
	for (unsigned int c = 0; c < COAL_CASES; c++) {
		struct rig *rig = coal_open(&coal_cases[c], 4, COAL_TICKS);

		for (unsigned int i = 0; i < 500; i++) {
			drain(rig);
			driver_interrupts(&rig->driver, DRIVER_INTERRUPTS_OFF);
			assert_int_equal(coal_iteration(rig, 4, 1), 0);
			assert_int_equal(coal_iteration(rig, 3, 1), 0);
			coal_pass(rig, COAL_TICKS);
			assert_int_equal(coal_iteration(rig, 0, 1), 0);
			assert_int_equal(rig->vq.notify_state, NOTIFY_CONFIRMED);
			coal_sleep(rig);
			assert_int_equal(coal_iteration(rig, 3, 1), 0);
			assert_int_equal(coal_iteration(rig, 1, 1), 1);
		}
		rig_close(rig);
	}
}

/* An event index that lies ahead is waited for; the window in which it is passed is told. */
static void
test_coal_event_ahead(void **state)
{
	struct rig *rig = coal_open(&coal_cases[1], 4, COAL_TICKS);
	uint16_t done = 0;

	for (unsigned int i = 0; i < 10000; i++) {
		drain(rig);
		rig->driver.avail->ring[256] = (uint16_t)(done + 9);
		assert_int_equal(coal_iteration(rig, 4, 1), 0);
		assert_int_equal(coal_iteration(rig, 4, 1), 0);
		/* The tenth is the one; it waits for its window like any other. */
		assert_int_equal(coal_iteration(rig, 2, 1), 0);
		assert_int_equal(coal_iteration(rig, 2, 1), 1);
		done = (uint16_t)(done + 12);
	}
	rig_close(rig);
}

/* The driver asks and sleeps while a notification is held back that it did not want before. */
static void
test_coal_late_wish(void **state)
{
	for (unsigned int c = 0; c < COAL_CASES; c++) {
		struct rig *rig = coal_open(&coal_cases[c], 4, COAL_TICKS);

		for (unsigned int i = 0; i < 500; i++) {
			drain(rig);
			driver_interrupts(&rig->driver, DRIVER_INTERRUPTS_OFF);
			/* The driver reads the ring, then the device publishes, then it sees the constraints.
			 */
			assert_int_equal(coal_iteration(rig, 3, 1), 0);
			driver_interrupts(&rig->driver, coal_cases[c].event_idx ? DRIVER_INTERRUPTS_NEXT
										: DRIVER_INTERRUPTS_ON);
			assert_int_equal(coal_iteration(rig, 0, 1), 0);
			coal_pass(rig, COAL_TICKS);
			assert_int_equal(coal_iteration(rig, 0, 1), 1);
		}
		rig_close(rig);
	}
}

/* The limit of half a ring: a driver that waits for its buffers must get them back. */
static void
test_coal_half_a_ring(void **state)
{
	for (unsigned int c = 0; c < COAL_CASES; c++) {
		struct rig *rig = coal_open(&coal_cases[c], COAL_LONG, COAL_TICKS);

		for (unsigned int lap = 0; lap < 300; lap++) {
			coal_sleep(rig);
			for (unsigned int i = 1; i <= 128; i++)
				assert_int_equal(coal_iteration(rig, 1, 1), i == 128);
		}
		rig_close(rig);
	}
}

/* VIRTIO, "Notifications When Coalescing Parameters Change": what is held back is due under the new ones. */
static void
test_coal_change(void **state)
{
	for (unsigned int c = 0; c < COAL_CASES; c++) {
		struct rig *rig = coal_open(&coal_cases[c], 15, COAL_TICKS);
		struct virtq_conf *conf = &rig->driver.conf;

		/* Fewer packets than have gathered: with the next iteration. */
		coal_sleep(rig);
		assert_int_equal(coal_iteration(rig, 10, 1), 0);
		conf->coal_max_packets = 11;
		assert_int_equal(coal_iteration(rig, 0, 1), 0);
		conf->coal_max_packets = 8;
		assert_int_equal(coal_iteration(rig, 0, 1), 1);

		/* Less time than has passed. */
		coal_sleep(rig);
		assert_int_equal(coal_iteration(rig, 1, 1), 0);
		coal_pass(rig, COAL_TICKS / 2);
		conf->coal_max_ticks = COAL_TICKS / 2;
		assert_int_equal(coal_iteration(rig, 0, 1), 1);

		/* Off: with the next iteration; with the next burst just as well. */
		for (uint16_t n = 0; n < 2; n++) {
			conf->coal_max_packets = 8;
			conf->coal_max_ticks = COAL_TICKS;
			coal_sleep(rig);
			assert_int_equal(coal_iteration(rig, 1, 1), 0);
			conf->coal_max_packets = 0;
			conf->coal_max_ticks = 0;
			assert_int_equal(coal_iteration(rig, n, 1), 1);
			assert_int_equal(rig->vq.notify_state, NOTIFY_CONFIRMED);
		}

		/* On, while the driver's last "no" may have been stale: not forgotten. */
		drain(rig);
		driver_interrupts(&rig->driver, DRIVER_INTERRUPTS_OFF);
		assert_int_equal(coal_iteration(rig, 1, 1), 0);
		driver_interrupts(&rig->driver,
				  conf->event_idx ? DRIVER_INTERRUPTS_NEXT : DRIVER_INTERRUPTS_ON);
		conf->coal_max_packets = 8;
		conf->coal_max_ticks = COAL_TICKS;
		assert_int_equal(coal_iteration(rig, 1, 1), 0);
		coal_pass(rig, COAL_TICKS);
		assert_int_equal(coal_iteration(rig, 0, 1), 1);
		rig_close(rig);
	}
}

/* Without a call descriptor there is nobody to tell, and nothing to hold back. */
static void
test_coal_without_call_descriptor(void **state)
{
	struct rig *rig = coal_open(&coal_cases[0], 8, COAL_TICKS);
	int call_fd = rig->driver.conf.call_fd;

	rig->driver.conf.call_fd = -1;
	for (unsigned int i = 0; i < 100; i++) {
		drain(rig);
		assert_int_equal(coal_iteration(rig, 1, 1), 0);
		assert_int_equal(rig->vq.notify_state, NOTIFY_CONFIRMED);
	}
	assert_int_equal(rig->vq.notified, 0);
	rig->driver.conf.call_fd = call_fd;
	rig_close(rig);
}

static void
test_full_call_descriptor_is_counted(void **state)
{
	struct rig *rig = rig_open(0, 8, false);
	uint64_t most = UINT64_MAX - 1;

	rig->driver.conf.call_fd = eventfd(0, EFD_NONBLOCK);
	assert_int_equal(write(rig->driver.conf.call_fd, &most, sizeof(most)), sizeof(most));
	notify_round(rig, 0, true);
	assert_int_equal(rig->vq.notified, 1);
	assert_int_equal(rig->vq.notify_refused, 1);
	rig_close(rig);
}

static void
test_kicks_are_suppressed_and_wanted_again(void **state)
{
	struct rig *rig = rig_open(0, 8, false);
	struct vring_packed_desc_event *device;

	virtq_want_kicks(&rig->vq, &rig->driver.conf, VIRTQ_KICKS_UNWANTED);
	assert_int_equal(rig->driver.used->flags, VRING_USED_F_NO_NOTIFY);
	virtq_want_kicks(&rig->vq, &rig->driver.conf, VIRTQ_KICKS_WANTED);
	assert_int_equal(rig->driver.used->flags, 0);
	rig_close(rig);

	/* Event index: flags are 0, the index does the work. */
	rig = rig_open(0, 8, true);
	virtq_want_kicks(&rig->vq, &rig->driver.conf, VIRTQ_KICKS_UNWANTED);
	assert_int_equal(rig->driver.used->flags, 0);
	assert_int_equal(*(uint16_t *)&rig->driver.used->ring[8], 0xffff);
	virtq_want_kicks(&rig->vq, &rig->driver.conf, VIRTQ_KICKS_WANTED);
	assert_int_equal(*(uint16_t *)&rig->driver.used->ring[8], 0);
	rig_close(rig);

	rig = rig_open(TRAIT_PACKED, 8, true);
	device = driver_va(&rig->mem, rig->driver.used_gpa);
	virtq_want_kicks(&rig->vq, &rig->driver.conf, VIRTQ_KICKS_UNWANTED);
	assert_int_equal(device->flags, VRING_PACKED_EVENT_FLAG_DISABLE);
	virtq_want_kicks(&rig->vq, &rig->driver.conf, VIRTQ_KICKS_WANTED);
	assert_int_equal(device->flags, VRING_PACKED_EVENT_FLAG_ENABLE);
	rig_close(rig);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_base_outside_the_ring_is_refused),
		cmocka_unit_test(test_restart_at_every_position),
		cmocka_unit_test(test_restart_takes_unreturned_again),
		cmocka_unit_test(test_not_retired_is_put_back),
		cmocka_unit_test(test_retired_is_invisible_until_published),
		cmocka_unit_test(test_avail_index_jump),
		cmocka_unit_test(test_head_outside_table),
		cmocka_unit_test(test_split_next_outside_and_loops),
		cmocka_unit_test(test_packed_list_longer_than_the_ring),
		cmocka_unit_test(test_indirect_tables),
		cmocka_unit_test(test_directions),
		cmocka_unit_test(test_packed_indirect_with_next),
		cmocka_unit_test(test_indirect_not_negotiated),
		cmocka_unit_test(test_long_chains),
		cmocka_unit_test(test_chain_of_too_many_pieces),
		cmocka_unit_test(test_long_loops),
		cmocka_unit_test(test_notification_is_sent_when_wanted),
		cmocka_unit_test(test_late_wish_is_served),
		cmocka_unit_test(test_C29_C30_event_index_oracle),
		cmocka_unit_test(test_packed_event_a_lap_ago),
		cmocka_unit_test(test_packed_event_a_lap_of_lists_ago),
		cmocka_unit_test(test_coal_by_packets),
		cmocka_unit_test(test_coal_counts_packets),
		cmocka_unit_test(test_coal_large_burst),
		cmocka_unit_test(test_coal_by_time),
		cmocka_unit_test(test_coal_whichever_comes_first),
		cmocka_unit_test(test_coal_by_the_clock),
		cmocka_unit_test(test_ticks),
		cmocka_unit_test(test_coal_suppressed),
		cmocka_unit_test(test_coal_event_ahead),
		cmocka_unit_test(test_coal_late_wish),
		cmocka_unit_test(test_coal_half_a_ring),
		cmocka_unit_test(test_coal_change),
		cmocka_unit_test(test_coal_without_call_descriptor),
		cmocka_unit_test(test_full_call_descriptor_is_counted),
		cmocka_unit_test(test_kicks_are_suppressed_and_wanted_again),
	};

	return UNIT_RUN(tests);
}
