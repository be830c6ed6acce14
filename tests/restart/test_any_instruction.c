/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A worker is killed at each instruction of a burst from one guest to another: the CPU's trap flag is set,
 * and after each instruction what outlives the process is looked at: the rings, and the memory of the queues
 * or of an inflight region. (A killed process leaves what it has stored so far, for the CPU's store buffer is
 * emptied by the kernel's own work.) From every such moment that differs, another device goes on, and the
 * drivers say what became of the frames. Printed: at how many of the burst's instructions a kill loses a
 * frame, or brings one twice.
 */
#include "unit.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include "borrow.h"
#include "ctx.h"
#include "driver.h"
#include "unit_eal.h"
#include "vdev.h"
#include "vnet_dev.h"

enum {
	RING = 16,
	HEADER = 12,
	SLOT = 2048,
	LONG_SLOT = 9216,
	N_BURST = 5,
	N_BEFORE = 13, /* so that the burst comes round the end of the ring */
	LOOKS_MAX = 4000,
	WATCHED_MAX = 8,
	WATCHED_FROM = 2, /* the sender's transmitq */
	WATCHED_TO = 3,   /* the receiver's receiveq */
	TRAP_FLAG = 0x100,
};

static struct rte_mempool *pool;
static struct vnic_ctx ctx;

enum memory { MEMORY_NONE, MEMORY_QUEUES, MEMORY_INFLIGHT };
static const char *const memory_words[] = {"nothing else", "the queues", "an inflight region"};

struct guest {
	struct driver_mem mem;
	struct driver_queue rx, tx;
	struct vnet_dev dev;
	struct port port;
	uint64_t rx_gpa, tx_gpa;
	int inflight_fd;
};

struct scene {
	const char *name;
	uint32_t traits;
	bool mergeable;
	uint32_t len;
	uint32_t slot; /* of receive buffers */
	enum memory memory;
	/* What is known not to hold yet (docs/decisions/0049-the-burst-record.md): frames are returned to
	 * their sender before their receiver has them. */
	bool may_lose;
};

static struct guest guests[2];
static const struct scene *scene;

/* --- the guests --- */

static void
guest_memory(struct guest *guest)
{
	memset(guest, 0, sizeof(*guest));
	driver_mem_open(&guest->mem);
	driver_queue_open(&guest->rx, &guest->mem, 2, scene->traits, RING, false);
	driver_queue_open(&guest->tx, &guest->mem, 2, scene->traits, RING, false);
	driver_interrupts(&guest->rx, DRIVER_INTERRUPTS_OFF);
	driver_interrupts(&guest->tx, DRIVER_INTERRUPTS_OFF);
	guest->rx_gpa = driver_alloc(&guest->mem, 0, RING * scene->slot, 64);
	guest->tx_gpa = driver_alloc(&guest->mem, 0, RING * LONG_SLOT, 64);
	guest->inflight_fd = memfd_create("inflight", MFD_CLOEXEC);
	assert_int_equal(ftruncate(guest->inflight_fd, 65536), 0);
	assert_int_equal(port_queues_alloc(&guest->port, 1), 0);
}

static void
guest_queue(struct guest *guest, unsigned int idx, const struct driver_queue *queue)
{
	const struct vdev_queue_addr addr = {.desc = driver_uva(queue->desc_gpa),
					     .avail = driver_uva(queue->avail_gpa),
					     .used = driver_uva(queue->used_gpa)};
	struct vdev *vdev = &guest->dev.vdev;
	struct diag diag;

	assert_int_equal(vdev_queue_set_size(vdev, idx, queue->size, &diag), 0);
	/* As QEMU does. */
	assert_int_equal(
		vdev_queue_set_base(vdev, idx, queue->packed ? 0x80008000u : queue->used->idx, &diag), 0);
	assert_int_equal(vdev_queue_set_addr(vdev, idx, &addr, &diag), 0);
	assert_int_equal(vdev_queue_set_kick(vdev, idx, eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), &diag), 0);
	assert_int_equal(vdev_queue_set_enable(vdev, idx, true, &diag), 0);
}

/* A device for the guest; `left`: what the one before has left, NULL: nothing. */
static void
guest_device(struct guest *guest, const struct vnet_queue *left)
{
	struct vnet_config config = {
		.ctx = &ctx, .name = "guest", .n_pairs = 1, .pool = pool, .port = &guest->port, .mac = {{2}}};
	struct vdev *vdev = &guest->dev.vdev;
	struct vdev_inflight inflight = {.n_queues = 2, .queue_size = RING};
	struct diag diag;

	assert_int_equal(vnet_init(&guest->dev, &config), 0);
	if (left)
		vnet_state_put_queues(&guest->dev, left);
	guest->port.rxqs[0].dev = guest->port.txqs[0].dev = &guest->dev.queues[0];
	assert_int_equal(vdev_set_mem(vdev, driver_gmem(&guest->mem), &diag), 0);
	assert_int_equal(
		vdev_set_features(vdev,
				  FEATURE_MASK(VERSION_1) |
					  (scene->traits & TRAIT_PACKED ? FEATURE_MASK(RING_PACKED) : 0) |
					  (scene->traits & TRAIT_IN_ORDER ? FEATURE_MASK(IN_ORDER) : 0) |
					  (scene->mergeable ? FEATURE_MASK(NET_MRG_RXBUF) : 0),
				  &diag),
		0);
	if (scene->memory == MEMORY_INFLIGHT) {
		assert_int_equal(gmem_map_open(guest->inflight_fd, 0, 65536, &inflight.map, &diag), 0);
		assert_int_equal(vdev_set_inflight(vdev, &inflight, &diag), 0);
	}
	guest_queue(guest, 0, &guest->rx);
	guest_queue(guest, 1, &guest->tx);
}

static void
post(struct guest *guest, uint64_t slot)
{
	const struct driver_buf buf = {
		.gpa = guest->rx_gpa + slot * scene->slot, .len = scene->slot, .writable = true};

	assert_true(driver_add(&guest->rx, &buf, 1, DRIVER_DIRECT, slot));
}

static void
send_frame(struct guest *guest, uint64_t number)
{
	const struct driver_buf buf = {.gpa = guest->tx_gpa + number % RING * LONG_SLOT,
				       .len = HEADER + scene->len};
	uint8_t *at = driver_va(&guest->mem, buf.gpa);

	memset(at, 0, HEADER);
	memset(at + HEADER, (int)(number + 1), scene->len);
	assert_true(driver_add(&guest->tx, &buf, 1, DRIVER_DIRECT, number));
}

/* --- the worker --- */

/* What a worker does in mode io (fwd_forward()). */
static uint16_t
iteration(void)
{
	struct port_rxq *rxq = &guests[0].port.rxqs[0];
	struct rte_mbuf *pkts[PORT_BURST];
	uint16_t n = vnet_rx(rxq, pkts, PORT_BURST);

	if (n)
		vnet_tx(&guests[1].port.txqs[0], pkts, n);
	if (rxq->borrowed)
		vnet_rx_release(rxq);
	return n;
}

/* --- what outlives it --- */

struct watched {
	uint8_t *at;
	size_t len;
};

static struct watched watched[WATCHED_MAX];
static unsigned int n_watched, n_looks;
static size_t look_len;
static uint8_t *looks; /* [LOOKS_MAX][look_len] */
static uint32_t look_weight[LOOKS_MAX];

static void
watch(void *at, size_t len)
{
	assert_true(n_watched < WATCHED_MAX);
	watched[n_watched++] = (struct watched){at, len};
	look_len += len;
}

/* What decides, first; a change of the buffers alone is seen with the next change of these. */
static unsigned int n_deciding;

static void
look(void)
{
	uint8_t *to = looks + n_looks * look_len;
	bool same = n_looks > 0;

	if (n_looks) {
		const uint8_t *before = to - look_len;

		for (unsigned int i = 0; i < n_deciding; i++) {
			same = same && memcmp(before, watched[i].at, watched[i].len) == 0;
			before += watched[i].len;
		}
	}
	if (same) {
		look_weight[n_looks - 1]++;
		return;
	}
	if (n_looks == LOOKS_MAX)
		abort();
	for (unsigned int i = 0; i < n_watched; i++) {
		memcpy(to, watched[i].at, watched[i].len);
		to += watched[i].len;
	}
	look_weight[n_looks++] = 1;
}

static volatile bool stepping;

static void
on_trap(int signum, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;

	(void)signum, (void)info;
	if (!stepping)
		uc->uc_mcontext.gregs[REG_EFL] &= ~(greg_t)TRAP_FLAG;
	else
		look();
}

static __attribute__((noinline)) void
trap_on(void)
{
	stepping = true;
	__asm__ volatile("pushfq; orq $0x100, (%%rsp); popfq" ::: "memory", "cc");
}

/* --- what becomes of the frames --- */

struct outcome {
	unsigned int n_lost, n_twice, n_reordered, n_wrong, n_empty, n_unreturned;
};

static void
receive(struct outcome *outcome, uint64_t *n_expected, bool came[N_BEFORE + 2 * N_BURST])
{
	struct guest *guest = &guests[1];
	uint32_t len, left = 0;
	uint64_t slot;
	int value = 0;

	while (driver_get(&guest->rx, &slot, &len)) {
		const uint8_t *at = driver_va(&guest->mem, guest->rx_gpa + slot * scene->slot);
		const uint8_t *end = at + len;

		if (len == 0) {
			outcome->n_empty++;
			outcome->n_wrong += left != 0;
			left = 0;
		} else if (left == 0) {
			uint64_t number;

			value = at[HEADER];
			number = (uint64_t)value - 1;
			left = HEADER + scene->len;
			if (number >= N_BEFORE + 2 * N_BURST) {
				outcome->n_wrong++;
				break;
			}
			outcome->n_twice += came[number];
			outcome->n_reordered += number < *n_expected && !came[number];
			came[number] = true;
			if (number >= *n_expected)
				*n_expected = number + 1;
			at += HEADER;
		}
		for (; at < end; at++)
			outcome->n_wrong += *at != value;
		left -= RTE_MIN(left, len);
		post(guest, slot);
	}
	outcome->n_wrong += left != 0;
}

static void
take_back(unsigned int *n_returned)
{
	uint64_t tag;
	uint32_t len;

	while (driver_get(&guests[0].tx, &tag, &len))
		(*n_returned)++;
}

struct driver_copy {
	struct driver_queue queue;
	struct driver_token tokens[RING];
	uint16_t order[RING];
	struct vring_desc own_desc[RING];
};

static void
driver_save(const struct driver_queue *queue, struct driver_copy *copy)
{
	copy->queue = *queue;
	memcpy(copy->tokens, queue->tokens, sizeof(copy->tokens));
	memcpy(copy->order, queue->order, sizeof(copy->order));
	memcpy(copy->own_desc, queue->own_desc, sizeof(copy->own_desc));
}

static void
driver_restore(struct driver_queue *queue, const struct driver_copy *copy)
{
	*queue = copy->queue;
	memcpy(queue->tokens, copy->tokens, sizeof(copy->tokens));
	memcpy(queue->order, copy->order, sizeof(copy->order));
	memcpy(queue->own_desc, copy->own_desc, sizeof(copy->own_desc));
}

/* Another process goes on from there, and the sender sends as much again. */
static struct outcome
go_on(unsigned int idx, const struct driver_copy copies[2], unsigned int n_sent)
{
	bool came[N_BEFORE + 2 * N_BURST] = {false};
	struct vnet_queue left[2];
	struct outcome outcome = {0};
	uint64_t n_expected = N_BEFORE;
	unsigned int n_returned = 0;
	const uint8_t *from = looks + idx * look_len;

	memset(left, 0, sizeof(left));
	for (unsigned int i = 0; i < n_watched; i++) {
		/* The queues are gone with their device; the rest is still where it was. */
		if (i == WATCHED_FROM)
			memcpy(&left[0].from_guest, from, watched[i].len);
		else if (i == WATCHED_TO)
			memcpy(&left[1].to_guest, from, watched[i].len);
		else
			memcpy(watched[i].at, from, watched[i].len);
		from += watched[i].len;
	}
	driver_restore(&guests[0].tx, &copies[0]);
	driver_restore(&guests[1].rx, &copies[1]);
	for (unsigned int i = 0; i < 2; i++) {
		/* As if it had never been: its end would write to the rings. */
		struct vnet_dev *dead = &guests[i].dev;

		for (unsigned int q = 0; q < dead->vdev.n_queues; q++) {
			atomic_store(&dead->vdev.queues[q].vq->conf, NULL);
			dead->vdev.queues[q].conf = NULL;
		}
		vnet_fini(dead);
		guests[i].port.rxqs[0].borrowed = false;
		guest_device(&guests[i], scene->memory == MEMORY_QUEUES ? &left[i] : NULL);
	}
	for (unsigned int n = 0; n < 4; n++) {
		iteration();
		receive(&outcome, &n_expected, came);
		take_back(&n_returned);
	}
	for (unsigned int n = 0; n < n_sent && guests[0].tx.n_free; n++)
		send_frame(&guests[0], N_BEFORE + n_sent + n);
	for (unsigned int n = 0; n < 4; n++) {
		iteration();
		receive(&outcome, &n_expected, came);
		take_back(&n_returned);
	}
	for (unsigned int n = 0; n < 2 * n_sent; n++)
		outcome.n_lost += !came[N_BEFORE + n];
	outcome.n_unreturned = 2 * n_sent - n_returned;
	return outcome;
}

/* --- */

static void
watch_queue(struct guest *guest, const struct driver_queue *queue)
{
	/* The three areas lie one after the other. */
	watch(driver_va(&guest->mem, queue->desc_gpa), RING * 16 + 8 + 8 * RING + 64);
}

static void
scene_open(void)
{
	uint64_t number = 0;
	bool came[N_BEFORE + 2 * N_BURST] = {false};
	struct outcome before = {0};
	uint64_t n_expected = 0;
	unsigned int n_returned = 0;

	for (unsigned int i = 0; i < 2; i++)
		guest_memory(&guests[i]);
	for (uint64_t slot = 0; slot < RING; slot++)
		post(&guests[1], slot);
	for (unsigned int i = 0; i < 2; i++)
		guest_device(&guests[i], NULL);
	while (number < N_BEFORE) {
		send_frame(&guests[0], number++);
		iteration();
		receive(&before, &n_expected, came);
		take_back(&n_returned);
	}
	assert_int_equal(n_expected, N_BEFORE);
	assert_int_equal(n_returned, N_BEFORE);
}

static void
scene_close(void)
{
	for (unsigned int i = 0; i < 2; i++) {
		vnet_fini(&guests[i].dev);
		driver_queue_close(&guests[i].rx);
		driver_queue_close(&guests[i].tx);
		driver_mem_close(&guests[i].mem);
		close(guests[i].inflight_fd);
		port_queues_free(&guests[i].port);
	}
}

static void
run(const struct scene *of)
{
	const unsigned int n_sent = of->len > SLOT ? 2 : N_BURST;
	unsigned int n_total = 0, n_losing = 0, n_twice = 0, lost_max = 0, twice_max = 0, n_empty = 0;
	/* The scan of a ring alone can't always tell a half-stored batch from a whole one. */
	const bool knows_little = of->traits & TRAIT_PACKED && of->memory == MEMORY_NONE;
	struct driver_copy copies[2];
	unsigned int n_harmed = 0;
	void *regions[2];

	scene = of;
	scene_open();
	for (unsigned int n = 0; n < n_sent; n++)
		send_frame(&guests[0], N_BEFORE + n);
	n_watched = n_looks = 0;
	look_len = 0;
	watch_queue(&guests[0], &guests[0].tx);
	watch_queue(&guests[1], &guests[1].rx);
	watch(&guests[0].dev.queues[0].from_guest, sizeof(struct virtq));
	watch(&guests[1].dev.queues[0].to_guest, sizeof(struct virtq));
	for (unsigned int i = 0; i < 2; i++) {
		regions[i] = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_SHARED, guests[i].inflight_fd, 0);
		assert_true(regions[i] != MAP_FAILED);
		watch(regions[i], 2 * 32 * (RING + 1));
	}
	n_deciding = n_watched;
	watch(driver_va(&guests[1].mem, guests[1].rx_gpa), RING * scene->slot);
	looks = mmap(NULL, LOOKS_MAX * look_len, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	assert_true(looks != MAP_FAILED);
	driver_save(&guests[0].tx, &copies[0]);
	driver_save(&guests[1].rx, &copies[1]);
	trap_on();
	iteration();
	stepping = false;
	look();

	for (unsigned int i = 0; i < n_looks; i++) {
		struct outcome outcome = go_on(i, copies, n_sent);

		n_total += look_weight[i];
		n_losing += outcome.n_lost ? look_weight[i] : 0;
		n_twice += outcome.n_twice ? look_weight[i] : 0;
		lost_max = RTE_MAX(lost_max, outcome.n_lost);
		twice_max = RTE_MAX(twice_max, outcome.n_twice);
		n_empty = RTE_MAX(n_empty, outcome.n_empty);
		n_harmed += outcome.n_wrong || outcome.n_reordered ? look_weight[i] : 0;
		if ((!knows_little && (outcome.n_wrong || outcome.n_reordered)) || outcome.n_unreturned)
			fail_msg("%s, look %u of %u: %u wrong, %u reordered, %u not returned", scene->name, i,
				 n_looks, outcome.n_wrong, outcome.n_reordered, outcome.n_unreturned);
	}
	print_message(
		"# %-34s + %-18s %5u instructions, %3u states; loses at %4u (%u at most), twice at %4u (%u), "
		"%u empty, %u harmed\n",
		scene->name, memory_words[scene->memory], n_total, n_looks, n_losing, lost_max, n_twice,
		twice_max, n_empty, n_harmed);
	/* Queues with an inflight region run generic functions, which borrow nothing. */
	if (!scene->may_lose && !knows_little &&
	    !(of->traits & TRAIT_PACKED && of->memory == MEMORY_INFLIGHT))
		assert_int_equal(n_losing, 0);
	assert_true(n_looks > 10);
	munmap(looks, LOOKS_MAX * look_len);
	for (unsigned int i = 0; i < 2; i++)
		munmap(regions[i], 65536);
	scene_close();
}

static void
run_layouts(uint32_t len, bool mergeable, const char *const names[3], const bool may_lose[3])
{
	static const uint32_t traits[] = {0, TRAIT_PACKED | TRAIT_IN_ORDER, TRAIT_PACKED};

	for (unsigned int i = 0; i < RTE_DIM(traits); i++)
		for (enum memory memory = MEMORY_NONE; memory <= MEMORY_INFLIGHT; memory++)
			run(&(struct scene){.name = names[i],
					    .traits = traits[i],
					    .mergeable = mergeable,
					    .len = len,
					    .slot = mergeable || len < SLOT - HEADER ? SLOT : LONG_SLOT,
					    .memory = memory,
					    .may_lose = may_lose[i]});
}

static void
test_short_frames(void **state)
{
	run_layouts(64, false, (const char *const[]){"split, 64", "packed in order, 64", "packed, 64"},
		    (const bool[]){true, true, true});
}

static void
test_borrowed_frames(void **state)
{
	run_layouts(1000, false,
		    (const char *const[]){"split, 1000", "packed in order, 1000", "packed, 1000"},
		    (const bool[]){false, false, true});
	run_layouts(1000, true,
		    (const char *const[]){"split, 1000 mergeable", "packed in order, 1000 mergeable",
					  "packed, 1000 mergeable"},
		    (const bool[]){false, false, true});
}

static void
test_long_frames(void **state)
{
	run_layouts(9000, true,
		    (const char *const[]){"split, 9000 mergeable", "packed in order, 9000 mergeable",
					  "packed, 9000 mergeable"},
		    (const bool[]){false, true, true});
	run_layouts(9000, false,
		    (const char *const[]){"split, 9000", "packed in order, 9000", "packed, 9000"},
		    (const bool[]){false, false, true});
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_short_frames),
		cmocka_unit_test(test_borrowed_frames),
		cmocka_unit_test(test_long_frames),
	};
	struct sigaction action = {.sa_sigaction = on_trap, .sa_flags = SA_SIGINFO};

	pool = unit_eal_start(&(struct unit_eal){.memory_mb = 64, .n_mbufs = 1023});
	if (sigaction(SIGTRAP, &action, NULL) < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
