/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Where a ring starts when its back-end has died: every state that small rings can get into, every base that
 * a front-end can name, and what the driver gets to see then.
 */
#include "unit.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "driver.h"
#include "ring.h"

enum { FRESH = 0x80008000u, SIZE_MAX_HERE = 4 };

static const struct driver_buf bufs[] = {
	{0x200000, 100, false}, {0x201000, 50, false}, {0x202000, 60, false}, {0x203000, 70, false}};

/* --- a driver and a device whose state can be put back --- */

struct rig {
	struct driver_mem mem;
	struct driver_queue driver;
	struct virtq vq;
};

/* Everything that tells one state from another, or goes back with it. */
struct state {
	struct vring_packed_desc ring[SIZE_MAX_HERE];
	struct driver_token tokens[SIZE_MAX_HERE];
	uint16_t order[SIZE_MAX_HERE];
	struct driver_queue driver;
	struct virtq vq;
};

static void
state_save(const struct rig *rig, struct state *state)
{
	const uint16_t size = rig->driver.size;

	memset(state, 0, sizeof(*state));
	memcpy(state->ring, rig->driver.ring, size * sizeof(state->ring[0]));
	memcpy(state->tokens, rig->driver.tokens, size * sizeof(state->tokens[0]));
	memcpy(state->order, rig->driver.order, size * sizeof(state->order[0]));
	state->driver = rig->driver;
	state->vq = rig->vq;
}

static void
state_restore(struct rig *rig, const struct state *state)
{
	const uint16_t size = rig->driver.size;

	memcpy(rig->driver.ring, state->ring, size * sizeof(state->ring[0]));
	memcpy(rig->driver.tokens, state->tokens, size * sizeof(state->tokens[0]));
	memcpy(rig->driver.order, state->order, size * sizeof(state->order[0]));
	rig->driver = state->driver;
	rig->vq = state->vq;
	rig->mem.next[1] = 0;
}

static uint64_t
hash(uint64_t h, uint64_t value)
{
	h = (h ^ value) * UINT64_C(0x9e3779b97f4a7c15);
	return h ^ h >> 29;
}

/* What a scan may look at. */
static uint64_t
hash_image(const struct rig *rig)
{
	uint64_t h = 1;

	for (uint16_t i = 0; i < rig->driver.size; i++)
		h = hash(h, (uint64_t)rig->driver.ring[i].id << 16 | rig->driver.ring[i].flags);
	return h;
}

/* The same and what only driver and device know. */
static uint64_t
hash_state(const struct rig *rig)
{
	const struct driver_queue *driver = &rig->driver;
	uint64_t h = hash_image(rig);

	h = hash(h, driver->next_avail | driver->avail_wrap << 15 | (uint64_t)driver->next_used << 16 |
			    (uint64_t)driver->used_wrap << 31 | (uint64_t)driver->in_batch << 32 |
			    (uint64_t)(driver->in_batch ? driver->batch_id : 0) << 40);
	h = hash(h, virtq_base(&rig->vq, true));
	for (uint32_t i = driver->order_head; i != driver->order_tail; i++)
		h = hash(h, driver->order[i % driver->size] |
				    driver->tokens[driver->order[i % driver->size]].n_desc << 8);
	h = hash(h, driver->order_tail - driver->order_head);
	return h;
}

static struct rig *
rig_open(uint32_t traits, uint16_t size)
{
	struct rig *rig = unit_zalloc(sizeof(*rig));

	driver_mem_open(&rig->mem);
	driver_queue_open(&rig->driver, &rig->mem, 0, traits, size, false);
	assert_int_equal(virtq_start(&rig->vq, &rig->driver.conf, traits & TRAIT_PACKED ? FRESH : 0),
			 VIRTQ_START_AT_BASE);
	return rig;
}

static void
rig_close(struct rig *rig)
{
	driver_queue_close(&rig->driver);
	driver_mem_close(&rig->mem);
	free(rig);
}

/* Take up to n chains and retire them, one by one or as a batch; returns the count. */
static uint16_t
rig_retire(struct rig *rig, uint16_t n, bool batch)
{
	const struct virtq_conf *conf = &rig->driver.conf;
	struct virtq_elem elems[VIRTQ_FETCH_MAX];
	struct virtq_cursor at = rig->vq.avail;

	n = virtq_fetch(&rig->vq, conf, &at, elems, n, conf->traits);
	if (n && batch)
		virtq_retire_batch(&rig->vq, conf, elems, n, conf->traits);
	for (uint16_t i = 0; i < n && !batch; i++)
		virtq_retire(&rig->vq, conf, &elems[i], 0, conf->traits);
	return n;
}

enum action {
	ADD_1,
	ADD_2,
	ADD_3,
	ADD_4,
	TAKE_1,
	TAKE_BATCH,
	GET,
	ACTIONS,
};

/* n: the id to add under, or how many more to return as a batch. False: not now. */
static bool
rig_do(struct rig *rig, enum action action, uint16_t n)
{
	uint64_t tag;
	uint32_t len;

	switch (action) {
	case ADD_1:
	case ADD_2:
	case ADD_3:
	case ADD_4:
		if (rig->driver.tokens[n].used)
			return false;
		rig->driver.id_is_chosen = true;
		rig->driver.id_chosen = n;
		return driver_add(&rig->driver, bufs, 1 + (unsigned int)action - ADD_1, DRIVER_DIRECT, 0);
	case TAKE_1:
	case TAKE_BATCH:
		if (action == TAKE_BATCH && !(rig->driver.conf.traits & TRAIT_IN_ORDER))
			return false;
		if (!rig_retire(rig, action == TAKE_1 ? 1 : 1 + n, action == TAKE_BATCH))
			return false;
		virtq_publish(&rig->vq, &rig->driver.conf, rig->driver.conf.traits);
		return true;
	case GET:
		return driver_get(&rig->driver, &tag, &len);
	case ACTIONS:
		break;
	}
	return false;
}

/* --- all states that can be reached --- */

enum { SLOTS = 1 << 20 };

static struct {
	uint64_t hash;
	uint32_t truths; /* of an image: positions that a device can be at, as bits idx + size * wrap */
} seen[SLOTS], images[SLOTS];

static struct state *states;
static uint32_t n_states;

static uint32_t
position_bit(const struct rig *rig, uint16_t idx, bool wrap)
{
	return 1u << (idx + rig->driver.size * wrap);
}

static uint32_t *
image_truths(uint64_t image)
{
	uint32_t i = (uint32_t)image % SLOTS;

	while (images[i].hash && images[i].hash != image)
		i = (i + 1) % SLOTS;
	images[i].hash = image;
	return &images[i].truths;
}

static void
visit(const struct rig *rig)
{
	uint64_t h = hash_state(rig);
	uint32_t i = (uint32_t)h % SLOTS;

	while (seen[i].hash && seen[i].hash != h)
		i = (i + 1) % SLOTS;
	if (seen[i].hash)
		return;
	seen[i].hash = h;
	assert_true(n_states < SLOTS / 2);
	if ((n_states & (n_states - 1)) == 0)
		states = realloc(states, (n_states ? 2ul * n_states : 1) * sizeof(states[0]));
	assert_non_null(states);
	state_save(rig, &states[n_states++]);
	*image_truths(hash_image(rig)) |= position_bit(rig, rig->vq.avail.idx, rig->vq.avail.wrap);
}

static void
explore(struct rig *rig)
{
	memset(seen, 0, sizeof(seen));
	memset(images, 0, sizeof(images));
	n_states = 0;
	visit(rig);
	for (uint32_t i = 0; i < n_states; i++)
		for (unsigned int action = 0; action < ACTIONS; action++) {
			for (uint16_t n = 0; n < rig->driver.size; n++) {
				state_restore(rig, &states[i]);
				if (rig_do(rig, (enum action)action, n))
					visit(rig);
			}
		}
}

/* --- a back-end dies, another starts --- */

/* All that is in flight comes back, once, in order; and so does all that is added for some laps. Aborts or
 * fails otherwise. Returns how many chains did not have to be taken for that. */
static unsigned int
live_on(struct rig *rig)
{
	const unsigned int in_flight = rig->driver.order_tail - rig->driver.order_head;
	unsigned int n_got = 0, n_taken = 0;
	uint64_t tag;
	uint32_t len;

	for (;;) {
		struct virtq_elem elem = {0};
		struct virtq_cursor at = rig->vq.avail;

		while (driver_get(&rig->driver, &tag, &len))
			n_got++;
		if (n_got == in_flight)
			break;
		/* The next chain is the oldest that the driver has not had back. */
		assert_int_equal(
			virtq_fetch(&rig->vq, &rig->driver.conf, &at, &elem, 1, rig->driver.conf.traits), 1);
		assert_int_equal(elem.id, rig->driver.order[rig->driver.order_head % rig->driver.size]);
		virtq_retire(&rig->vq, &rig->driver.conf, &elem, 0, rig->driver.conf.traits);
		virtq_publish(&rig->vq, &rig->driver.conf, rig->driver.conf.traits);
		n_taken++;
	}
	for (uint16_t i = 0; i < 3 * rig->driver.size; i++) {
		assert_true(rig_do(rig, ADD_1, i % rig->driver.size));
		assert_true(rig_do(rig, TAKE_1, 0));
		assert_true(driver_get(&rig->driver, &tag, &len));
		assert_false(rig_do(rig, TAKE_1, 0));
	}
	return in_flight - n_taken;
}

/* How many chains the driver would find used. */
static unsigned int
count_used(struct rig *rig, const struct state *now)
{
	unsigned int n = 0;

	for (; rig_do(rig, GET, 0); n++)
		;
	state_restore(rig, now);
	return n;
}

struct outcome {
	unsigned int n_as_told, n_by_ring, n_lookalike, n_unsure, n_decided;
};

/* `was`: before the dead back-end took its last burst, of `in_hand` chains, whose used elements it has stored
 * but for the first. */
static void
check_start(struct rig *rig, const struct state *was, uint32_t base, unsigned int in_hand,
	    unsigned int n_used, struct outcome *outcome)
{
	const uint32_t truths = *image_truths(hash_image(rig));
	const struct virtq_cursor truth = was->vq.avail;
	const bool is_truth = !in_hand && base == virtq_base(&was->vq, true);
	unsigned int unsupported;
	bool only;
	int found;

	memset(&rig->vq, 0xa5, sizeof(rig->vq));
	found = virtq_start(&rig->vq, &rig->driver.conf, base);
	assert_int_equal(rig->vq.used_idx, rig->vq.avail.idx);
	assert_int_equal(rig->vq.used_wrap, rig->vq.avail.wrap);
	if (is_truth) {
		assert_int_equal(found, VIRTQ_START_AT_BASE);
		assert_int_equal(rig->vq.avail.idx, truth.idx);
		assert_int_equal(rig->vq.avail.wrap, truth.wrap);
		assert_memory_equal(rig->driver.ring, was->ring, rig->driver.size * sizeof(was->ring[0]));
	}
	switch ((enum virtq_start)found) {
	case VIRTQ_START_AT_BASE:
		/* Believed: right, or nobody could know better, for a ring that stands there looks the same.
		 */
		assert_true(truths & position_bit(rig, rig->vq.avail.idx, rig->vq.avail.wrap));
		outcome->n_as_told++;
		if (!in_hand && rig->vq.avail.idx == truth.idx && rig->vq.avail.wrap == truth.wrap)
			live_on(rig);
		else
			outcome->n_lookalike++;
		break;
	case VIRTQ_START_BY_RING:
		/* Nothing is lost that need not be. */
		only = !in_hand && (truths & (truths - 1)) == 0;
		if (only)
			assert_int_equal(truths, position_bit(rig, rig->vq.avail.idx, rig->vq.avail.wrap));
		unsupported = live_on(rig);
		assert_true(!only || unsupported == n_used);
		outcome->n_by_ring++;
		outcome->n_decided += only;
		break;
	case VIRTQ_START_AMBIGUOUS:
		assert_true(in_hand > 1);
		outcome->n_unsure++;
		break;
	}
}

/* Every base that a front-end can name with one position, and with the low half alone. */
static void
check_bases(struct rig *rig, const struct state *was, unsigned int in_hand, struct outcome *outcome)
{
	unsigned int n_used;
	struct state now;

	state_save(rig, &now);
	n_used = count_used(rig, &now);
	for (unsigned int wrap = 0; wrap <= 1; wrap++)
		for (uint16_t idx = 0; idx < rig->driver.size; idx++) {
			uint32_t half = idx | wrap << 15;

			state_restore(rig, &now);
			check_start(rig, was, half | half << 16, in_hand, n_used, outcome);
			state_restore(rig, &now);
			check_start(rig, was, half, in_hand, n_used, outcome);
		}
}

static void
check_all(uint32_t traits, uint16_t size)
{
	struct rig *rig = rig_open(traits, size);
	struct outcome clean = {0}, in_hand = {0};

	explore(rig);
	for (uint32_t i = 0; i < n_states; i++) {
		const struct state was = states[i];

		state_restore(rig, &was);
		check_bases(rig, &was, 0, &clean);
		/* Killed with chains in hand: all of their used elements are stored but the first. */
		for (uint16_t n = 1; n <= size; n++) {
			state_restore(rig, &was);
			if (rig_retire(rig, n, false) < n)
				break;
			rig->vq.held = false;
			check_bases(rig, &was, n, &in_hand);
		}
	}
	print_message("# size %u%s: %u states. Base believed: %u, %u of them wrong, but a ring that stands "
		      "there looks the "
		      "same; by the ring: %u, %u without a doubt. In hand: %u, %u; %u; unsure %u\n",
		      size, traits & TRAIT_IN_ORDER ? ", in order" : "", n_states, clean.n_as_told,
		      clean.n_lookalike, clean.n_by_ring, clean.n_decided, in_hand.n_as_told,
		      in_hand.n_lookalike, in_hand.n_by_ring, in_hand.n_unsure);
	/* Else nothing was tried. */
	assert_true(clean.n_as_told && clean.n_by_ring && clean.n_decided);
	rig_close(rig);
}

static void
test_packed_every_state(void **state)
{
	(void)state;
	for (uint16_t size = 1; size <= SIZE_MAX_HERE - UNIT_SANITIZED; size++) {
		check_all(TRAIT_PACKED, size);
		check_all(TRAIT_PACKED | TRAIT_IN_ORDER, size);
	}
	free(states);
	states = NULL;
}

/* What was received in a batch whose first element is missing goes back as empty as that: a frame may have
 * begun there. */
static void
test_batch_in_hand_goes_back_empty(void **state)
{
	const struct driver_buf buf = {0x200000, 100, true};
	struct virtq_elem elems[VIRTQ_FETCH_MAX];
	struct rig *rig = rig_open(TRAIT_PACKED, 8);
	const struct virtq_conf *conf = &rig->driver.conf;
	struct virtq_cursor at;
	uint64_t tag;
	uint32_t len;

	(void)state;
	for (uint64_t i = 0; i < 8; i++)
		assert_true(driver_add(&rig->driver, &buf, 1, DRIVER_DIRECT, i));
	at = rig->vq.avail;
	assert_int_equal(virtq_fetch(&rig->vq, conf, &at, elems, 5, conf->traits), 5);
	for (unsigned int i = 0; i < 2; i++)
		virtq_retire(&rig->vq, conf, &elems[i], 60, conf->traits);
	virtq_publish(&rig->vq, conf, conf->traits);
	for (unsigned int i = 2; i < 5; i++)
		virtq_retire(&rig->vq, conf, &elems[i], 60, conf->traits);
	/* And dies. */
	assert_int_equal(virtq_start(&rig->vq, conf, 0x00030003), VIRTQ_START_BY_RING);
	assert_int_equal(rig->vq.avail.idx, 5);
	for (uint64_t i = 0; i < 5; i++) {
		assert_true(driver_get(&rig->driver, &tag, &len));
		assert_int_equal(tag, i);
		assert_int_equal(len, i < 2 ? 60 : 0);
	}
	assert_false(driver_get(&rig->driver, &tag, &len));
	assert_int_equal(live_on(rig), 0);
	rig_close(rig);
}

/* The last back-end may have died between returning buffers and saying so. */
static void
test_driver_is_told_again(void **state)
{
	(void)state;
	for (int packed = 0; packed <= 1; packed++) {
		struct rig *rig = rig_open(packed ? TRAIT_PACKED : 0, 8);
		uint32_t base;

		assert_int_equal(rig->vq.notify_state, NOTIFY_CONFIRMED);
		assert_true(driver_add(&rig->driver, bufs, 1, DRIVER_DIRECT, 0));
		assert_int_equal(rig_retire(rig, 1, false), 1);
		virtq_publish(&rig->vq, &rig->driver.conf, rig->driver.conf.traits);
		base = virtq_base(&rig->vq, packed);
		assert_int_equal(virtq_start(&rig->vq, &rig->driver.conf, base), VIRTQ_START_AT_BASE);
		assert_int_equal(rig->vq.notify_state, NOTIFY_STALE);
		assert_true(rig->vq.unsignalled > 0);
		rig_close(rig);
	}
}

/* A ring that makes no sense is not touched; the base counts, and the caller is told. */
static void
test_packed_nonsense(void **state)
{
	struct rig *rig = rig_open(TRAIT_PACKED, 8);
	struct vring_packed_desc before[8];

	(void)state;
	for (uint32_t pattern = 0; pattern < 1 << 16; pattern++) {
		int found;

		for (unsigned int i = 0; i < 8; i++)
			rig->driver.ring[i].flags = (uint16_t)((pattern >> i & 1 ? PACKED_AVAIL : 0) |
							       (pattern >> (i + 8) & 1 ? PACKED_USED : 0));
		memcpy(before, rig->driver.ring, sizeof(before));
		found = virtq_start(&rig->vq, &rig->driver.conf, 0x00050005);
		if (found == VIRTQ_START_BY_RING)
			continue;
		assert_memory_equal(before, rig->driver.ring, sizeof(before));
		assert_int_equal(rig->vq.avail.idx, 5);
		assert_false(rig->vq.avail.wrap);
	}
	rig_close(rig);
}

/* --- split --- */

/* Used index, available index and base against each other: who of them lies, and what is done about it. */
static void
test_split_who_lies(void **state)
{
	enum { SIZE = 256 };
	const struct {
		uint16_t used, avail, base, start;
		enum virtq_start found;
		bool runs;
	} rows[] = {
		/* all of one mind: fresh, in the middle, round the corner, full */
		{0, 0, 0, 0, VIRTQ_START_AT_BASE, true},
		{0, 256, 0, 0, VIRTQ_START_AT_BASE, true},
		{700, 700, 700, 700, VIRTQ_START_AT_BASE, true},
		{65500, 20, 65500, 65500, VIRTQ_START_AT_BASE, true},
		/* taken and not returned: again */
		{700, 710, 705, 700, VIRTQ_START_AT_BASE, true},
		{65500, 20, 10, 65500, VIRTQ_START_AT_BASE, true},
		/* a front-end that guesses: the used index knows */
		{700, 710, 0, 700, VIRTQ_START_BY_RING, true},
		{700, 700, 3, 700, VIRTQ_START_BY_RING, true},
		{700, 710, 60000, 700, VIRTQ_START_BY_RING, true},
		/* a used index that can't be: the base can */
		{43981, 3, 0, 0, VIRTQ_START_AT_BASE, true},
		{5, 3, 0, 0, VIRTQ_START_AT_BASE, true},
		{300, 3, 0, 0, VIRTQ_START_AT_BASE, true},
		{65000, 256, 0, 0, VIRTQ_START_AT_BASE, true},
		{43981, 0, 0, 0, VIRTQ_START_AT_BASE, true},
		{1, 0, 0, 0, VIRTQ_START_AT_BASE, true},
		/* near enough, but the ring has the same head many times there, for it was never written */
		{65530, 3, 0, 0, VIRTQ_START_AT_BASE, true},
		{65300, 3, 0, 0, VIRTQ_START_AT_BASE, true},
		/* neither can be: the available index is the liar, and the queue breaks */
		{700, 5000, 700, 700, VIRTQ_START_AMBIGUOUS, false},
		{0, 300, 0, 0, VIRTQ_START_AMBIGUOUS, false},
		{43981, 1000, 0, 43981, VIRTQ_START_AMBIGUOUS, false},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct rig *rig = rig_open(0, SIZE);
		struct virtq_elem elems[VIRTQ_FETCH_MAX];
		struct virtq_cursor at;
		uint16_t n = (uint16_t)(rows[i].avail - rows[i].start), n_taken;

		rig->driver.used->idx = rows[i].used;
		rig->driver.avail->idx = rows[i].avail;
		/* The heads of what is in flight. */
		for (uint16_t k = 0; k < n && n <= SIZE; k++)
			rig->driver.avail->ring[(uint16_t)(rows[i].start + k) % SIZE] =
				(uint16_t)(k * 3) % SIZE;
		assert_int_equal(virtq_start(&rig->vq, &rig->driver.conf, rows[i].base), rows[i].found);
		assert_int_equal(rig->vq.avail.idx, rows[i].start);
		assert_int_equal(rig->vq.used_idx, rows[i].start);
		at = rig->vq.avail;
		n_taken = virtq_fetch(&rig->vq, &rig->driver.conf, &at, elems, VIRTQ_FETCH_MAX, 0);
		assert_int_equal(virtq_is_broken(&rig->vq), !rows[i].runs);
		if (rows[i].runs)
			assert_int_equal(n_taken, n < VIRTQ_FETCH_MAX ? n : VIRTQ_FETCH_MAX);
		rig_close(rig);
	}
}

/* All of a ring looks available: `n_next` descriptors that say that another one follows, then others. Returns
 * how long the start takes, of the control thread's time, in ns. */
static uint64_t
start_cost(struct rig *rig, uint16_t n_next)
{
	const uint32_t base = 0x80058005; /* the ring contradicts it */
	struct timespec from, to;

	for (uint16_t i = 0; i < rig->driver.size; i++) {
		rig->driver.ring[i].id = i;
		rig->driver.ring[i].flags = PACKED_AVAIL | (i < n_next ? VRING_DESC_F_NEXT : 0);
	}
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &from);
	assert_int_equal(virtq_start(&rig->vq, &rig->driver.conf, base), VIRTQ_START_BY_RING);
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &to);
	return (uint64_t)(to.tv_sec - from.tv_sec) * 1000000000 + (uint64_t)(to.tv_nsec - from.tv_nsec);
}

/* The longest ring costs what its length says, whatever its driver has put there: everybody waits meanwhile.
 */
static void
test_packed_cost(void **state)
{
	struct rig *rig = rig_open(TRAIT_PACKED, VIRTQ_SIZE_MAX);
	uint64_t plain = UINT64_MAX, odd = UINT64_MAX;

	(void)state;
	for (unsigned int i = 0; i < 3; i++) {
		uint64_t cost = start_cost(rig, 0);

		plain = cost < plain ? cost : plain;
		cost = start_cost(rig, VIRTQ_SIZE_MAX / 2);
		odd = cost < odd ? cost : odd;
	}
	assert_in_range(odd, 0, 20 * plain);
	rig_close(rig);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_packed_every_state),
		cmocka_unit_test(test_batch_in_hand_goes_back_empty),
		cmocka_unit_test(test_driver_is_told_again),
		cmocka_unit_test(test_packed_nonsense),
		cmocka_unit_test(test_packed_cost),
		cmocka_unit_test(test_split_who_lies),
	};

	return UNIT_RUN(tests);
}
