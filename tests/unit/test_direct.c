/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Bursts of direct chains, ISA variant by ISA variant, with rings full of anything: descriptors in and around
 * the region, all flags, heads that are not in the table, positions at both ends of the ring. Each variant
 * takes what the portable one takes, and writes what it writes. Rings end where nothing is mapped, so that a
 * read or write behind them ends the test.
 */
#include "unit.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "direct_body.h"
#include "isa.h"
#include "packed.h"
#include "rng.h"

enum {
	SIZE_MAX_TESTED = 256,
	ROUNDS = UNIT_SANITIZED ? 20000 : 60000,
	AREA = 8192, /* bytes: of each part of a ring, at its end */
};

/* A queue: its rings at the ends of their areas. */
struct side {
	struct virtq vq;
	struct virtq_conf conf;
	struct virtq_direct direct;
	uint8_t *areas[3];
};

static struct side sides[2];

static const struct {
	const struct direct_body *body;
	enum isa isa;
} bodies[] = {
#ifdef HAVE_ISA_AVX2
	{&direct_body_avx2, ISA_AVX2},
#endif
#ifdef HAVE_ISA_AVX512
	{&direct_body_avx512, ISA_AVX512},
#endif
	{&direct_body_portable, ISA_PORTABLE},
};

static uint8_t *
area_map(void)
{
	uint8_t *area =
		mmap(NULL, AREA + (size_t)getpagesize(), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	assert_true(area != MAP_FAILED);
	assert_int_equal(mprotect(area, AREA, PROT_READ | PROT_WRITE), 0);
	return area;
}

static int
sides_open(void **state)
{
	for (unsigned int i = 0; i < 2; i++)
		for (unsigned int k = 0; k < 3; k++)
			sides[i].areas[k] = area_map();
	return 0;
}

static int
sides_close(void **state)
{
	for (unsigned int i = 0; i < 2; i++)
		for (unsigned int k = 0; k < 3; k++)
			munmap(sides[i].areas[k], AREA + (size_t)getpagesize());
	return 0;
}

static void *
at_end(const struct side *side, unsigned int area, size_t len)
{
	return side->areas[area] + AREA - len;
}

static uint64_t
rng_word(void)
{
	uint64_t word = 0;

	for (unsigned int i = 0; i < 8; i++)
		word = word << 8 | rng_byte();
	return word;
}

/* Both queues with the same configuration and position. */
static void
sides_set(uint32_t traits, uint16_t size)
{
	const struct gmem_cache regions[] = {
		{.gpa = 0, .size = 4096, .va = (uint8_t *)(uintptr_t)0x7f0000000000},
		{.gpa = 0x100000000, .size = 0x80000000, .va = (uint8_t *)(uintptr_t)0x7f0000001000},
		{.gpa = 0x40000000, .size = 0x2000000000, .va = (uint8_t *)(uintptr_t)0x700000000000},
		{.gpa = UINT64_MAX - 0xffffff, .size = 0x1000000, .va = (uint8_t *)(uintptr_t)0x10000},
		{.gpa = 0x7fffffffffff0000, .size = 0x40000, .va = (uint8_t *)(uintptr_t)0x7ffffff00000},
	};
	struct virtq vq = {.avail_seen = (uint16_t)rng_word()};
	struct gmem_cache hot = regions[rng_below(sizeof(regions) / sizeof(regions[0]))];

	if (traits & TRAIT_PACKED) {
		vq.avail.idx = vq.used_idx = (uint16_t)rng_below(size);
		vq.avail.wrap = vq.used_wrap = rng_below(2);
		if (rng_below(4) == 0) {
			/* Something was retired already, and what was first is kept back. */
			vq.held = true;
			vq.held_idx = (uint16_t)rng_below(size);
			vq.held_element = rng_word();
		}
	} else {
		vq.avail.idx = vq.used_idx = (uint16_t)(vq.avail_seen - rng_below(40));
	}
	for (unsigned int i = 0; i < 2; i++) {
		struct side *side = &sides[i];

		side->vq = vq;
		memset(&side->conf, 0, sizeof(side->conf));
		memset(&side->direct, 0xee, sizeof(side->direct));
		side->conf.hot = hot;
		side->conf.size = size;
		side->conf.mask = (uint16_t)(size - 1);
		side->conf.traits = traits;
		side->conf.desc = at_end(side, 0, size * sizeof(struct vring_desc));
		if (!(traits & TRAIT_PACKED)) {
			side->conf.avail =
				at_end(side, 1, sizeof(struct vring_avail) + size * sizeof(uint16_t));
			side->conf.used = at_end(
				side, 2, sizeof(struct vring_used) + size * sizeof(struct vring_used_elem));
		}
	}
}

static uint64_t
any_addr(const struct gmem_cache *hot, uint32_t len, bool hostile)
{
	if (!hostile)
		return hot->gpa + rng_word() % (hot->size > len ? hot->size - len : 1);
	switch (rng_below(6)) {
	case 0:
		return hot->gpa + hot->size - len + rng_below(3) - 1;
	case 1:
		return hot->gpa + hot->size + rng_below(3) - 1;
	case 2:
		return hot->gpa - rng_below(3);
	case 3:
		return hot->gpa + rng_below(3);
	case 4:
		return hot->gpa + (UINT64_C(1) << 63) + rng_below(100);
	default:
		return rng_word();
	}
}

static uint32_t
any_len(const struct direct_constraints *constraints, bool hostile)
{
	static const uint32_t lens[] = {0, 1, 0x7fffffff, 0x80000000, UINT32_MAX};

	if (!hostile)
		return constraints->len_min + rng_below(1000);
	switch (rng_below(4)) {
	case 0:
		return constraints->len_min + rng_below(3) - 1;
	case 1:
		return constraints->len_max + rng_below(3) - 1;
	case 2:
		return lens[rng_below(sizeof(lens) / sizeof(lens[0]))];
	default:
		return (uint32_t)rng_word();
	}
}

/* What the driver has written; odd is how many of 64 descriptors are anything at all. */
static void
rings_fill(const struct direct_constraints *constraints, unsigned int odd)
{
	const struct virtq_conf *conf = &sides[0].conf;
	const bool packed = conf->traits & TRAIT_PACKED;
	const struct virtq *vq = &sides[0].vq;

	for (uint16_t i = 0; i < conf->size; i++) {
		bool hostile = rng_below(64) < odd;
		uint32_t len = any_len(constraints, hostile && rng_below(2));
		uint64_t addr = any_addr(&conf->hot, len, hostile && rng_below(2));
		uint16_t flags =
			hostile && rng_below(2) ? (uint16_t)(rng_word() & DIRECT_FLAGS) : constraints->flags;

		if (!packed) {
			if (hostile && rng_below(2))
				flags = (uint16_t)rng_word();
			conf->desc[i] = (struct vring_desc){
				.addr = addr, .len = len, .flags = flags, .next = (uint16_t)rng_word()};
			continue;
		}
		/* Behind the position, and in front of it in the next lap. */
		flags |= (i >= vq->avail.idx) == vq->avail.wrap ? PACKED_AVAIL : PACKED_USED;
		if (hostile && rng_below(2))
			flags ^= (uint16_t)(rng_word() & (PACKED_AVAIL | PACKED_USED));
		if (hostile && rng_below(4) == 0)
			flags = (uint16_t)rng_word();
		conf->ring[i] = (struct vring_packed_desc){
			.addr = addr, .len = len, .id = (uint16_t)rng_word(), .flags = flags};
	}
	if (!packed) {
		uint16_t head = (uint16_t)rng_below(conf->size), step = (uint16_t)(rng_below(4) != 0);

		memset(conf->used, 0xaa, sizeof(struct vring_used));
		for (uint16_t i = 0; i < conf->size; i++) {
			bool hostile = rng_below(64) < odd;

			conf->avail->ring[i] = hostile && rng_below(2)
						       ? (uint16_t)(conf->size + rng_below(3) - 1)
					       : hostile ? (uint16_t)rng_word()
					       : step    ? head
							 : (uint16_t)rng_below(conf->size);
			head = (uint16_t)((head + 1) % conf->size);
		}
		conf->avail->flags = 0;
		/* A little more than is seen so far; rarely more than there can be. */
		conf->avail->idx =
			(uint16_t)(vq->avail.idx + rng_below(odd ? conf->size + 2u : conf->size + 1u));
	}
	for (unsigned int k = 0; k < 3; k++)
		memcpy(sides[1].areas[k], sides[0].areas[k], AREA);
}

static void
same(const void *a, const void *b, size_t len)
{
	if (memcmp(a, b, len) != 0)
		assert_memory_equal(a, b, len);
}

static void
queues_same(void)
{
	same(&sides[0].vq, &sides[1].vq, sizeof(sides[0].vq));
	for (unsigned int k = 0; k < 3; k++)
		same(sides[0].areas[k], sides[1].areas[k], AREA);
}

static void
retire_some(const struct direct_body *body, uint16_t n, uint32_t traits)
{
	uint32_t written[VIRTQ_FETCH_MAX] __attribute__((aligned(64)));
	const bool is_written = rng_below(2);

	n = (uint16_t)(rng_below(2) ? n : 1 + rng_below(n));
	for (uint16_t i = 0; i < n; i++)
		written[i] = rng_below(8) ? rng_below(2000) : (uint32_t)rng_word();
	direct_body_portable.retire(&sides[0].vq, &sides[0].conf, &sides[0].direct,
				    is_written ? written : NULL, n, traits);
	body->retire(&sides[1].vq, &sides[1].conf, &sides[1].direct, is_written ? written : NULL, n, traits);
	queues_same();
}

/* Returns how many chains were taken. */
static uint16_t
burst(const struct direct_body *body, uint32_t traits)
{
	static const uint16_t split_sizes[] = {1, 2, 4, 8, 16, 32, 64, 128, 256};
	const bool packed = traits & TRAIT_PACKED;
	const uint16_t size = packed && rng_below(2)
				      ? (uint16_t)(1 + rng_below(SIZE_MAX_TESTED))
				      : split_sizes[rng_below(sizeof(split_sizes) / sizeof(split_sizes[0]))];
	const struct direct_constraints constraints = {
		.flags = rng_below(2) ? VRING_DESC_F_WRITE : 0,
		.len_min = rng_below(2) ? 26 : rng_below(3),
		.len_max = rng_below(2) ? UINT32_MAX : 1600,
	};
	uint16_t n = (uint16_t)(rng_below(2) ? VIRTQ_FETCH_MAX : 1 + rng_below(VIRTQ_FETCH_MAX));
	int taken, expected;

	sides_set(traits, size);
	rings_fill(&constraints, rng_below(2) ? 0 : rng_below(rng_below(2) ? 4 : 32));
	expected = direct_body_portable.fetch(&sides[0].vq, &sides[0].conf, &constraints, &sides[0].direct, n,
					      traits);
	taken = body->fetch(&sides[1].vq, &sides[1].conf, &constraints, &sides[1].direct, n, traits);
	assert_int_equal(taken, expected);
	queues_same();
	if (taken <= 0)
		return 0;
	same(sides[0].direct.va, sides[1].direct.va, (size_t)taken * sizeof(sides[0].direct.va[0]));
	same(sides[0].direct.used, sides[1].direct.used, (size_t)taken * sizeof(sides[0].direct.used[0]));
	same(sides[0].direct.len, sides[1].direct.len, (size_t)taken * sizeof(sides[0].direct.len[0]));
	retire_some(body, (uint16_t)taken, traits);
	return (uint16_t)taken;
}

static void
test_variants_agree(void **state)
{
	for (size_t i = 0; i + 1 < sizeof(bodies) / sizeof(bodies[0]); i++) {
		unsigned long n_taken = 0, n_bursts = 0, n_full = 0;

		if (bodies[i].isa > isa_select()) {
			print_message("# not for this CPU, and not tested: %s\n", isa_name(bodies[i].isa));
			continue;
		}
		for (unsigned int round = 0; round < ROUNDS; round++) {
			uint16_t taken = burst(bodies[i].body, round % 2 ? TRAIT_PACKED : 0);

			n_taken += taken;
			n_bursts += taken != 0;
			n_full += taken == VIRTQ_FETCH_MAX;
		}
		/* Neither everything nor nothing is taken. */
		assert_true(n_bursts > ROUNDS / 2 && n_bursts < ROUNDS);
		assert_true(n_full > ROUNDS / 20 && n_full < ROUNDS / 2);
		assert_true(n_taken > 5 * n_bursts);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_variants_agree),
	};

	return UNIT_RUN_WITH(tests, sides_open, sides_close);
}
