/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_vdev: which message clears what (docs/decisions/0017-what-a-message-clears.md, whose table is `rows`
 * here), where a ring starts again, and what a function that fails leaves behind. A device type with nothing
 * in it, four queues, each with a ring of the model driver; the test plays the worker.
 */
#include "unit.h"

#include <errno.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "ctx.h"
#include "driver.h"
#include "gmem_sigbus.h"
#include "loop.h"
#include "vdev.h"
#include "vdev_conf.h"
#include "vdev_watch.h"

static struct vnic_ctx ctx;

enum { N_QUEUES = 4, SIZE = 16, OTHER_SIZE = 8, QUEUE = 1, BROKEN_QUEUE = 2, LOG_BYTES = 65536 };
enum { STATUS_RUNNING = 15 };

/* A position that no fresh ring has. Packed: available 5, used 3, both wrap counters 0. */
enum { POSITION_SPLIT = 291, POSITION_PACKED = 3 << 16 | 5 };

/* --- confs come from here --- */

static bool no_memory;

void *
aligned_alloc(size_t alignment, size_t size)
{
	return no_memory ? NULL : memalign(alignment, size);
}

/* --- the device type --- */

struct rig {
	struct vdev dev;
	struct virtq vqs[N_QUEUES];
	struct driver_mem mem;
	struct driver_queue rings[N_QUEUES], others[N_QUEUES];
	bool packed, status_used;
	unsigned int n_resets, n_ended, n_drops;
};

static uint64_t
tiny_features(const struct vdev *dev)
{
	return FEATURE_MASK(VERSION_1) | FEATURE_MASK(RING_PACKED) | FEATURE_MASK(EVENT_IDX);
}

static int
tiny_features_check(const struct vdev *dev, uint64_t features, struct diag *diag)
{
	return 0;
}

static struct virtq *
tiny_queue(struct vdev *dev, unsigned int idx)
{
	struct rig *rig = dev->type_dev;

	return &rig->vqs[idx];
}

static void
tiny_reset(struct vdev *dev)
{
	struct rig *rig = dev->type_dev;

	rig->n_resets++;
}

static void
tiny_ended(struct vdev *dev)
{
	struct rig *rig = dev->type_dev;

	rig->n_ended++;
}

static int
tiny_reconcile(struct vdev *dev, unsigned int follower, struct diag *diag)
{
	const int ret = vdev_conf_plan(dev, follower, diag);

	if (ret < 0 && follower != VDEV_EVERY_QUEUE)
		return ret;
	vdev_conf_publish(dev);
	vdev_conf_collect(dev);
	return ret;
}

static bool
tiny_is_held(const struct vdev *dev, unsigned int worker)
{
	return false;
}

static void
tiny_borrow(struct vdev *dev, enum vdev_borrow borrow)
{
}

static const struct vdev_ops tiny_ops = {
	.name = "tiny",
	.features = tiny_features,
	.conf_size = sizeof(struct virtq_conf),
	.features_check = tiny_features_check,
	.queue = tiny_queue,
	.reset = tiny_reset,
	.ended = tiny_ended,
	.reconcile = tiny_reconcile,
	.is_held = tiny_is_held,
	.borrow = tiny_borrow,
};

/* --- the front-end --- */

static uint64_t
rig_features(const struct rig *rig)
{
	return FEATURE_MASK(VERSION_1) | FEATURE_MASK(PROTOCOL_FEATURES) |
	       (rig->packed ? FEATURE_MASK(RING_PACKED) : 0);
}

#define MUST(call)                                             \
	do {                                                   \
		struct diag diag;                              \
		int err = (call);                              \
		if (err < 0)                                   \
			fail_msg("%s: %s", #call, diag.cause); \
	} while (0)

static struct vdev_queue_addr
ring_addr(const struct driver_queue *ring)
{
	return (struct vdev_queue_addr){.desc = driver_uva(ring->desc_gpa),
					.avail = driver_uva(ring->avail_gpa),
					.used = driver_uva(ring->used_gpa),
					.log_gpa = ring->used_gpa};
}

static void
rig_set_addr(struct rig *rig, unsigned int idx, const struct driver_queue *ring)
{
	struct vdev_queue_addr addr = ring_addr(ring);

	MUST(vdev_queue_set_addr(&rig->dev, idx, &addr, &diag));
}

static void
rig_set_kick(struct rig *rig, unsigned int idx)
{
	MUST(vdev_queue_set_kick(&rig->dev, idx, eventfd(0, EFD_CLOEXEC), &diag));
}

static void
rig_set_log(struct rig *rig)
{
	int fd = memfd_create("log", MFD_CLOEXEC);
	struct gmem_map *map;

	assert_int_equal(ftruncate(fd, LOG_BYTES), 0);
	MUST(gmem_map_open(fd, 0, LOG_BYTES, &map, &diag));
	close(fd);
	MUST(vdev_set_log(&rig->dev, map, &diag));
}

/* A table of the model's first `n` regions; the rings are in the last one. */
static struct gmem *
rig_gmem(const struct rig *rig, unsigned int n)
{
	const struct gmem_budget budget = {.bytes_max = GMEM_BYTES_MAX, .guard = ctx.guard};
	struct gmem_region_spec specs[DRIVER_N_REGIONS];
	struct gmem *mem;

	for (unsigned int i = 0; i < n; i++)
		specs[i] = (struct gmem_region_spec){.gpa = driver_region_gpa(i),
						     .size = DRIVER_REGION_SIZE,
						     .uva = driver_uva(driver_region_gpa(i)),
						     .file_offset = (uint64_t)i * DRIVER_REGION_SIZE,
						     .fd = rig->mem.fd};
	MUST(gmem_build_within(budget, NULL, specs, n, &mem, &diag));
	return mem;
}

static void
rig_set_mem(struct rig *rig)
{
	MUST(vdev_set_mem(&rig->dev, rig_gmem(rig, DRIVER_N_REGIONS), &diag));
}

static void
rig_set_status(struct rig *rig, uint64_t status)
{
	MUST(vdev_set_status(&rig->dev, status, &diag));
}

/* Everything that a front-end says, up to running and enabled rings; the position is not named. */
static void
rig_start(struct rig *rig)
{
	MUST(vdev_set_features(&rig->dev, rig_features(rig), &diag));
	rig_set_mem(rig);
	for (unsigned int i = 0; i < N_QUEUES; i++) {
		MUST(vdev_queue_set_call(&rig->dev, i, eventfd(0, EFD_CLOEXEC), &diag));
		MUST(vdev_queue_set_err(&rig->dev, i, eventfd(0, EFD_CLOEXEC), &diag));
		MUST(vdev_queue_set_size(&rig->dev, i, SIZE, &diag));
		rig_set_addr(rig, i, &rig->rings[i]);
		rig_set_kick(rig, i);
		MUST(vdev_queue_set_enable(&rig->dev, i, true, &diag));
	}
	if (rig->status_used)
		rig_set_status(rig, STATUS_RUNNING);
	for (unsigned int i = 0; i < N_QUEUES; i++)
		assert_true(vdev_queue_is_running(&rig->dev, i));
}

static uint32_t
position(const struct rig *rig)
{
	return rig->packed ? POSITION_PACKED : POSITION_SPLIT;
}

static uint32_t
fresh(const struct rig *rig)
{
	return rig->packed ? 0x80008000u : 0;
}

/* A packed ring that does not tell by itself where it stands (decision 3), so that what counts is what was
 * kept. */
static void
rig_obscure(struct rig *rig, unsigned int idx)
{
	rig->rings[idx].ring[0].flags = rig->rings[idx].ring[2].flags = 1 << VRING_PACKED_DESC_F_AVAIL;
}

/* The queue has been through some laps. */
static void
rig_work(struct rig *rig, unsigned int idx)
{
	struct virtq *vq = &rig->vqs[idx];

	if (rig->packed) {
		vq->avail = (struct virtq_cursor){.idx = 5, .wrap = false};
		vq->used_idx = 3;
		vq->used_wrap = false;
		rig_obscure(rig, idx);
		/* What was taken and not returned is still available there: a resumed ring begins with it. */
		rig->rings[idx].ring[3].flags = 1 << VRING_PACKED_DESC_F_USED;
		rig->rings[idx].ring[5].flags = 1 << VRING_PACKED_DESC_F_USED;
	} else {
		vq->avail.idx = vq->used_idx = vq->avail_seen = POSITION_SPLIT;
		rig->rings[idx].used->idx = rig->rings[idx].avail->idx = POSITION_SPLIT;
	}
}

/* Where a queue starts that stopped at position(): with what it took and has not returned. */
static uint32_t
position_resumed(const struct rig *rig)
{
	return rig->packed ? 3 << 16 | 3 : POSITION_SPLIT;
}

enum rig_speaks { SPEAKS_STATUS, SPEAKS_NO_STATUS };

static struct rig *
rig_open(bool packed, enum rig_speaks speaks)
{
	struct rig *rig = unit_zalloc(sizeof(*rig));

	rig->packed = packed;
	rig->status_used = speaks == SPEAKS_STATUS;
	driver_mem_open(&rig->mem);
	for (unsigned int i = 0; i < N_QUEUES; i++) {
		driver_queue_open(&rig->rings[i], &rig->mem, 2, packed ? TRAIT_PACKED : 0, SIZE, false);
		driver_queue_open(&rig->others[i], &rig->mem, 2, packed ? TRAIT_PACKED : 0, SIZE, false);
	}
	assert_int_equal(vdev_init(&rig->dev, &ctx, "vm0", &tiny_ops, rig, N_QUEUES), 0);
	rig->dev.said.status_used = rig->status_used;
	return rig;
}

/* Rings at position(), one of them broken, a log: something of everything that can be forgotten. */
static struct rig *
rig_open_running(bool packed, enum rig_speaks speaks)
{
	struct rig *rig = rig_open(packed, speaks);

	rig_start(rig);
	rig_set_log(rig);
	for (unsigned int i = 0; i < N_QUEUES; i++)
		rig_work(rig, i);
	virtq_break(&rig->vqs[BROKEN_QUEUE], 1);
	assert_int_equal(vdev_check_faults(&rig->dev), 1);
	assert_true(rig->dev.said.status & VDEV_STATUS_NEEDS_RESET);
	rig->n_resets = rig->n_ended = 0;
	return rig;
}

static void
rig_free(struct rig *rig)
{
	for (unsigned int i = 0; i < N_QUEUES; i++) {
		driver_queue_close(&rig->rings[i]);
		driver_queue_close(&rig->others[i]);
	}
	driver_mem_close(&rig->mem);
	free(rig);
}

static void
rig_close(struct rig *rig)
{
	vdev_fini(&rig->dev);
	rig_free(rig);
}

/* --- the table --- */

/* What there is to forget, of queue QUEUE where it is a queue's. */
enum kept {
	FEATURES = 1 << 0,
	STATUS = 1 << 1,
	NEEDS_RESET = 1 << 2,
	SETTINGS = 1 << 3, /* the device type's */
	MEMORY = 1 << 4,
	LOG = 1 << 5,
	RUNS = 1 << 6,
	ADDRESSES = 1 << 7,
	KICK = 1 << 8,
	ENABLE = 1 << 9,
	SIZE_ = 1 << 10,
	CALL = 1 << 11,
	ERR = 1 << 12,
	REPORTED = 1 << 13, /* GET_VRING_BASE answers with the position */
	RESUMES = 1 << 14,  /* a ring that starts without SET_VRING_BASE starts there */
	WORDS = 1 << 15,    /* what the front-end said for the driver: NET_SET_MTU, SEND_RARP */
	ALL = (1 << 16) - 1,
};

static const char *const kept_names[] = {
	"features", "status", "needs_reset", "settings", "memory", "log",      "runs",    "addresses",
	"kick",     "enable", "size",        "call",     "err",    "reported", "resumes", "words",
};

static void
do_status_0(struct rig *rig)
{
	rig_set_status(rig, 0);
}

static void
do_status_again(struct rig *rig)
{
	rig_set_status(rig, STATUS_RUNNING);
}

static void
do_reset_device(struct rig *rig)
{
	vdev_reset(&rig->dev);
}

static void
do_reset_owner(struct rig *rig)
{
	vdev_stop(&rig->dev);
}

static void
do_disconnect(struct rig *rig)
{
	vdev_disconnect(&rig->dev);
}

static void
do_features_same(struct rig *rig)
{
	MUST(vdev_set_features(&rig->dev, rig_features(rig), &diag));
}

static void
do_features_log(struct rig *rig)
{
	MUST(vdev_set_features(&rig->dev, rig_features(rig) | FEATURE_MASK(LOG_ALL), &diag));
}

static void
do_features_other(struct rig *rig)
{
	MUST(vdev_set_features(&rig->dev, rig_features(rig) | FEATURE_MASK(EVENT_IDX), &diag));
}

static void
do_get_base(struct rig *rig)
{
	for (unsigned int i = 0; i < N_QUEUES; i++)
		vdev_queue_get_base(&rig->dev, i);
}

static void
do_disable(struct rig *rig)
{
	for (unsigned int i = 0; i < N_QUEUES; i++)
		MUST(vdev_queue_set_enable(&rig->dev, i, false, &diag));
}

static void
do_get_base_status_0(struct rig *rig)
{
	do_get_base(rig);
	do_status_0(rig);
}

static void
do_set_size_same(struct rig *rig)
{
	MUST(vdev_queue_set_size(&rig->dev, QUEUE, SIZE, &diag));
}

static void
do_set_size_other(struct rig *rig)
{
	MUST(vdev_queue_set_size(&rig->dev, QUEUE, OTHER_SIZE, &diag));
}

static void
do_set_addr_same(struct rig *rig)
{
	rig_set_addr(rig, QUEUE, &rig->rings[QUEUE]);
}

static void
do_set_addr_other(struct rig *rig)
{
	rig_set_addr(rig, QUEUE, &rig->others[QUEUE]);
}

static void
do_set_base_fresh(struct rig *rig)
{
	MUST(vdev_queue_set_base(&rig->dev, QUEUE, fresh(rig), &diag));
}

static void
do_set_kick(struct rig *rig)
{
	rig_set_kick(rig, QUEUE);
}

static void
do_set_call(struct rig *rig)
{
	MUST(vdev_queue_set_call(&rig->dev, QUEUE, eventfd(0, EFD_CLOEXEC), &diag));
}

static void
do_set_err(struct rig *rig)
{
	MUST(vdev_queue_set_err(&rig->dev, QUEUE, eventfd(0, EFD_CLOEXEC), &diag));
}

static void
do_set_mem(struct rig *rig)
{
	rig_set_mem(rig);
}

static void
do_set_mem_without(struct rig *rig)
{
	MUST(vdev_set_mem(&rig->dev, rig_gmem(rig, DRIVER_N_REGIONS - 1), &diag));
}

static void
do_set_log(struct rig *rig)
{
	rig_set_log(rig);
}

enum { STOPPED = RUNS | ADDRESSES | KICK };

static const struct row {
	const char *name;
	void (*before)(struct rig *rig); /* NULL: the rings run */
	void (*message)(struct rig *rig);
	enum rig_speaks speaks;
	unsigned int forgets; /* of what there is `before`, and of what that has forgotten itself */
} rows[] = {
	{"SET_STATUS 0", NULL, do_status_0, SPEAKS_STATUS,
	 STATUS | NEEDS_RESET | SETTINGS | WORDS | STOPPED | ENABLE | RESUMES},
	{"SET_STATUS, another", NULL, do_status_again, SPEAKS_STATUS, 0},
	{"RESET_DEVICE", NULL, do_reset_device, SPEAKS_STATUS,
	 STATUS | NEEDS_RESET | SETTINGS | WORDS | STOPPED | ENABLE | REPORTED | RESUMES},
	{"RESET_DEVICE, no status", NULL, do_reset_device, SPEAKS_NO_STATUS,
	 STATUS | NEEDS_RESET | SETTINGS | WORDS | STOPPED | ENABLE | REPORTED | RESUMES},
	{"RESET_OWNER", NULL, do_reset_owner, SPEAKS_STATUS, STOPPED | ENABLE},
	{"RESET_OWNER, no status", NULL, do_reset_owner, SPEAKS_NO_STATUS, STOPPED | ENABLE},
	{"disconnect", NULL, do_disconnect, SPEAKS_STATUS, ALL},

	{"SET_FEATURES, the same, running", NULL, do_features_same, SPEAKS_STATUS, 0},
	{"SET_FEATURES, LOG_ALL, running", NULL, do_features_log, SPEAKS_STATUS, 0},
	{"SET_FEATURES, the same, stopped", do_get_base, do_features_same, SPEAKS_STATUS, STOPPED},
	{"SET_FEATURES, LOG_ALL, stopped", do_get_base, do_features_log, SPEAKS_STATUS, STOPPED},
	{"SET_FEATURES, others, stopped", do_get_base, do_features_other, SPEAKS_STATUS,
	 STOPPED | REPORTED | RESUMES},
	{"SET_FEATURES, the same, after status 0", do_status_0, do_features_same, SPEAKS_STATUS,
	 STATUS | NEEDS_RESET | SETTINGS | WORDS | STOPPED | ENABLE | RESUMES},
	{"SET_FEATURES, the same, enabled, no status", NULL, do_features_same, SPEAKS_NO_STATUS, 0},
	{"SET_FEATURES, LOG_ALL, enabled, no status", NULL, do_features_log, SPEAKS_NO_STATUS, 0},
	{"SET_FEATURES, the same, disabled, no status", do_disable, do_features_same, SPEAKS_NO_STATUS,
	 NEEDS_RESET | SETTINGS | STOPPED | ENABLE | REPORTED | RESUMES},
	{"SET_FEATURES, LOG_ALL, disabled, no status", do_disable, do_features_log, SPEAKS_NO_STATUS, ENABLE},
	{"SET_FEATURES, LOG_ALL, stopped, no status", do_get_base, do_features_log, SPEAKS_NO_STATUS,
	 NEEDS_RESET | SETTINGS | STOPPED | REPORTED | RESUMES},
	{"SET_FEATURES, the same, stopped, no status", do_get_base, do_features_same, SPEAKS_NO_STATUS,
	 NEEDS_RESET | SETTINGS | STOPPED | REPORTED | RESUMES},

	{"SET_VRING_NUM, the same", NULL, do_set_size_same, SPEAKS_STATUS, 0},
	{"SET_VRING_NUM, the same, stopped", do_get_base, do_set_size_same, SPEAKS_STATUS, STOPPED},
	{"SET_VRING_NUM, another, stopped", do_get_base, do_set_size_other, SPEAKS_STATUS,
	 STOPPED | SIZE_ | REPORTED | RESUMES},
	{"SET_VRING_ADDR, the same", NULL, do_set_addr_same, SPEAKS_STATUS, 0},
	{"SET_VRING_ADDR, the same, stopped", do_get_base, do_set_addr_same, SPEAKS_STATUS, RUNS | KICK},
	{"SET_VRING_ADDR, others, stopped", do_get_base, do_set_addr_other, SPEAKS_STATUS,
	 RUNS | KICK | REPORTED | RESUMES},
	{"SET_VRING_ADDR, the same, after status 0", do_status_0, do_set_addr_same, SPEAKS_STATUS,
	 STATUS | NEEDS_RESET | SETTINGS | WORDS | RUNS | KICK | ENABLE | REPORTED | RESUMES},
	{"SET_VRING_BASE, stopped", do_get_base, do_set_base_fresh, SPEAKS_STATUS,
	 STOPPED | REPORTED | RESUMES},
	{"SET_VRING_BASE, after status 0", do_status_0, do_set_base_fresh, SPEAKS_STATUS,
	 STATUS | NEEDS_RESET | SETTINGS | WORDS | STOPPED | ENABLE | REPORTED | RESUMES},
	{"SET_VRING_KICK", NULL, do_set_kick, SPEAKS_STATUS, 0},
	{"SET_VRING_KICK, stopped", do_get_base, do_set_kick, SPEAKS_STATUS, RUNS | ADDRESSES},
	{"SET_VRING_CALL", NULL, do_set_call, SPEAKS_STATUS, 0},
	{"SET_VRING_ERR", NULL, do_set_err, SPEAKS_STATUS, 0},
	{"SET_VRING_ENABLE 0", NULL, do_disable, SPEAKS_STATUS, ENABLE},
	{"GET_VRING_BASE", NULL, do_get_base, SPEAKS_STATUS, STOPPED},
	{"GET_VRING_BASE, no status", NULL, do_get_base, SPEAKS_NO_STATUS, STOPPED},
	{"GET_VRING_BASE, again", do_get_base, do_get_base, SPEAKS_STATUS, STOPPED},
	{"GET_VRING_BASE, after status 0", do_status_0, do_get_base, SPEAKS_STATUS,
	 STATUS | NEEDS_RESET | SETTINGS | WORDS | STOPPED | ENABLE | RESUMES},
	{"GET_VRING_BASE, then status 0", NULL, do_get_base_status_0, SPEAKS_STATUS,
	 STATUS | NEEDS_RESET | SETTINGS | WORDS | STOPPED | ENABLE | RESUMES},

	{"SET_MEM_TABLE, ADD_MEM_REG, with the rings", NULL, do_set_mem, SPEAKS_STATUS, 0},
	{"SET_MEM_TABLE, REM_MEM_REG, without them", NULL, do_set_mem_without, SPEAKS_STATUS, RUNS},
	{"SET_MEM_TABLE, stopped", do_get_base, do_set_mem, SPEAKS_STATUS, STOPPED},
	{"SET_LOG_BASE", NULL, do_set_log, SPEAKS_STATUS, 0},
	{"SET_LOG_BASE, stopped", do_get_base, do_set_log, SPEAKS_STATUS, STOPPED},
};

/* Everything but the last two, which take a message to see. */
static unsigned int
rig_kept(const struct rig *rig)
{
	const struct vdev_queue *queue = &rig->dev.queues[QUEUE];
	unsigned int kept = 0;

	kept |= rig->dev.said.has_features && rig->dev.said.features & FEATURE_MASK(VERSION_1) ? FEATURES : 0;
	kept |= rig->dev.said.status & VDEV_STATUS_DRIVER_OK ? STATUS : 0;
	kept |= rig->dev.said.status & VDEV_STATUS_NEEDS_RESET ? NEEDS_RESET : 0;
	kept |= rig->n_resets == 0 ? SETTINGS : 0;
	kept |= rig->n_ended == 0 ? WORDS : 0;
	kept |= rig->dev.mem ? MEMORY : 0;
	kept |= rig->dev.log ? LOG : 0;
	kept |= vdev_queue_is_running(&rig->dev, QUEUE) ? RUNS : 0;
	kept |= queue->said.has_addr ? ADDRESSES : 0;
	kept |= queue->said.has_kick && queue->kick_fd >= 0 ? KICK : 0;
	kept |= queue->said.enabled ? ENABLE : 0;
	kept |= queue->said.has_size && queue->said.size == SIZE ? SIZE_ : 0;
	kept |= queue->call_fd >= 0 ? CALL : 0;
	kept |= queue->err_fd >= 0 ? ERR : 0;
	return kept;
}

/* Where queue QUEUE starts when the front-end says whatever is missing, but no base. */
static uint32_t
rig_starts_at(struct rig *rig)
{
	const struct vdev_queue *queue = &rig->dev.queues[QUEUE];
	const struct driver_queue *ring =
		queue->said.desc_uva == driver_uva(rig->others[QUEUE].desc_gpa) ? rig->others : rig->rings;

	if (!rig->dev.said.has_features)
		MUST(vdev_set_features(&rig->dev, rig_features(rig), &diag));
	rig_set_mem(rig);
	if (!queue->said.has_size)
		MUST(vdev_queue_set_size(&rig->dev, QUEUE, SIZE, &diag));
	rig_set_addr(rig, QUEUE, &ring[QUEUE]);
	if (!queue->said.has_kick)
		rig_set_kick(rig, QUEUE);
	if (rig->status_used)
		rig_set_status(rig, STATUS_RUNNING);
	assert_true(vdev_queue_is_running(&rig->dev, QUEUE));
	return virtq_base(&rig->vqs[QUEUE], rig->packed);
}

static void
check_kept(const struct row *row, bool packed, unsigned int kept, unsigned int looked_at)
{
	const unsigned int want = ALL & ~row->forgets;

	for (unsigned int i = 0; i < sizeof(kept_names) / sizeof(kept_names[0]); i++)
		if (looked_at >> i & 1 && (kept ^ want) >> i & 1)
			fail_msg("%s, %s: %s %s", row->name, packed ? "packed" : "split", kept_names[i],
				 kept >> i & 1 ? "is still there" : "is gone");
}

static struct rig *
row_open(const struct row *row, bool packed)
{
	struct rig *rig = rig_open_running(packed, row->speaks);

	if (!rig->status_used)
		rig_set_status(rig, STATUS_RUNNING); /* nobody asked for it, nobody minds */
	if (row->before)
		row->before(rig);
	row->message(rig);
	return rig;
}

static void
test_which_message_clears_what(void **state)
{
	for (unsigned int i = 0; i < 2 * sizeof(rows) / sizeof(rows[0]); i++) {
		const struct row *row = &rows[i / 2];
		const bool packed = i % 2;
		struct rig *rig = row_open(row, packed);
		uint32_t at;

		check_kept(row, packed, rig_kept(rig), ALL & ~(REPORTED | RESUMES));

		at = vdev_queue_get_base(&rig->dev, QUEUE);
		check_kept(row, packed, at == position(rig) ? REPORTED : 0, REPORTED);
		if (row->forgets & REPORTED)
			assert_int_equal(at, rig->dev.said.has_features ? fresh(rig) : 0);
		rig_close(rig);

		/* Of a split ring the used index in memory says where it starts, and the driver clears it. */
		if (!packed)
			continue;
		rig = row_open(row, packed);
		/* Otherwise it is seen where it stands, not where it would start. */
		if (vdev_queue_is_running(&rig->dev, QUEUE)) {
			rig_close(rig);
			continue;
		}
		at = rig_starts_at(rig);
		check_kept(row, packed, at == position_resumed(rig) ? RESUMES : 0, RESUMES);
		if (row->forgets & RESUMES)
			assert_int_equal(at, fresh(rig));
		rig_close(rig);
	}
}

/* --- resuming --- */

/* QEMU 7.2 and `stop`, `cont`: status 0 first, then the positions are asked for, one queue pair after
 * another. */
static void
test_stop_and_cont(void **state)
{
	for (unsigned int i = 0; i < 8; i++) {
		struct rig *rig = rig_open_running(i % 2, SPEAKS_STATUS);
		const bool status_first = i & 2, one_connection_each = i & 4;
		uint32_t at[N_QUEUES];

		for (unsigned int q = 0; q < N_QUEUES; q++) {
			if (status_first && q == N_QUEUES - 2)
				rig_set_status(rig, 0);
			at[q] = vdev_queue_get_base(&rig->dev, q);
			assert_int_equal(at[q], position(rig));
		}
		if (!status_first)
			rig_set_status(rig, 0);
		if (one_connection_each) {
			/* The other side of a migration. */
			vdev_disconnect(&rig->dev);
			rig->dev.said.status_used = true;
		}
		for (unsigned int q = 0; q < N_QUEUES; q++) {
			if (q % 2 == 0) {
				MUST(vdev_set_features(&rig->dev, rig_features(rig), &diag));
				rig_set_mem(rig);
			}
			MUST(vdev_queue_set_size(&rig->dev, q, SIZE, &diag));
			MUST(vdev_queue_set_base(&rig->dev, q, at[q], &diag));
			rig_set_addr(rig, q, &rig->rings[q]);
			rig_set_kick(rig, q);
			assert_false(vdev_queue_is_running(&rig->dev, q));
		}
		rig_set_status(rig, STATUS_RUNNING);
		for (unsigned int q = 0; q < N_QUEUES; q++) {
			assert_true(vdev_queue_is_running(&rig->dev, q));
			assert_int_equal(virtq_base(&rig->vqs[q], rig->packed), position_resumed(rig));
			/* The one that was broken as well: its driver is the same, but it gets its chance. */
			assert_false(virtq_is_broken(&rig->vqs[q]));
		}
		assert_int_equal(rig->dev.said.status, STATUS_RUNNING);
		assert_int_equal(vdev_check_faults(&rig->dev), 0);
		rig_close(rig);
	}
}

/* A base that came before the features of the next queue pair counts; one of the other layout does not. */
static void
test_base_before_features(void **state)
{
	struct rig *rig = rig_open(true, SPEAKS_STATUS);

	MUST(vdev_set_features(&rig->dev, rig_features(rig), &diag));
	MUST(vdev_queue_set_base(&rig->dev, 0, POSITION_PACKED, &diag));
	MUST(vdev_set_features(&rig->dev, rig_features(rig), &diag));
	assert_int_equal(vdev_queue_get_base(&rig->dev, 0), POSITION_PACKED);
	MUST(vdev_set_features(&rig->dev, rig_features(rig) | FEATURE_MASK(EVENT_IDX), &diag));
	assert_int_equal(vdev_queue_get_base(&rig->dev, 0), POSITION_PACKED);
	MUST(vdev_set_features(&rig->dev, FEATURE_MASK(VERSION_1), &diag));
	assert_int_equal(vdev_queue_get_base(&rig->dev, 0), 0);
	MUST(vdev_queue_set_base(&rig->dev, 0, 77, &diag));
	MUST(vdev_set_features(&rig->dev, rig_features(rig), &diag));
	assert_int_equal(vdev_queue_get_base(&rig->dev, 0), 0x80008000);
	rig_close(rig);
}

/* Base 0 means a fresh ring to some front-ends; to a ring of ours that stopped there it is a place like
 * others. */
static void
test_base_zero_where_the_ring_stopped(void **state)
{
	struct rig *rig = rig_open(true, SPEAKS_STATUS);

	rig->dev.said.base_zero_is_fresh = true;
	rig_start(rig);
	rig_obscure(rig, QUEUE);
	rig->vqs[QUEUE].avail = (struct virtq_cursor){0};
	rig->vqs[QUEUE].used_idx = 0;
	rig->vqs[QUEUE].used_wrap = false;
	assert_int_equal(vdev_queue_get_base(&rig->dev, QUEUE), 0);
	rig_set_addr(rig, QUEUE, &rig->rings[QUEUE]);
	rig_set_kick(rig, QUEUE);
	assert_int_equal(virtq_base(&rig->vqs[QUEUE], true), 0);
	/* The front-end's word 0 means fresh, as far as the ring shows. */
	vdev_queue_get_base(&rig->dev, QUEUE);
	MUST(vdev_queue_set_base(&rig->dev, QUEUE, 0, &diag));
	rig_set_addr(rig, QUEUE, &rig->rings[QUEUE]);
	rig_set_kick(rig, QUEUE);
	assert_int_equal(virtq_base(&rig->vqs[QUEUE], true), 0x80008000);
	rig_close(rig);
}

/* --- failures --- */

/* Publishing takes no memory, so a word that only publishes anew can't fail for want of it. */
#define MUST_WITHOUT_MEMORY(call)         \
	do {                              \
		struct diag diag;         \
		no_memory = true;         \
		const int got = (call);   \
		no_memory = false;        \
		assert_int_equal(got, 0); \
	} while (0)

#define FAILS(call, want)                               \
	do {                                            \
		struct diag diag = {{0}, {0}};          \
		assert_int_equal((call), want);         \
		assert_int_not_equal(diag.cause[0], 0); \
	} while (0)

struct before {
	struct vdev_queue queues[N_QUEUES];
	const struct virtq_conf *confs[N_QUEUES];
	struct gmem *mem;
	struct gmem_log *log;
	uint64_t features;
	uint8_t status;
	unsigned int n_resets;
};

static struct before
before(const struct rig *rig)
{
	struct before was = {.mem = rig->dev.mem,
			     .log = rig->dev.log,
			     .features = rig->dev.said.features,
			     .status = rig->dev.said.status,
			     .n_resets = rig->n_resets};

	memcpy(was.queues, rig->dev.queues, sizeof(was.queues));
	for (unsigned int i = 0; i < N_QUEUES; i++)
		was.confs[i] = rig->vqs[i].conf;
	return was;
}

static void
assert_as(const struct rig *rig, const struct before *was)
{
	assert_memory_equal(was->queues, rig->dev.queues, sizeof(was->queues));
	for (unsigned int i = 0; i < N_QUEUES; i++)
		assert_ptr_equal(was->confs[i], rig->vqs[i].conf);
	assert_ptr_equal(was->mem, rig->dev.mem);
	assert_ptr_equal(was->log, rig->dev.log);
	assert_int_equal(was->features, rig->dev.said.features);
	assert_int_equal(was->status, rig->dev.said.status);
	assert_int_equal(was->n_resets, rig->n_resets);
}

/* What is wrong by itself: nothing has changed, whatever runs. */
static void
test_refused_words(void **state)
{
	struct rig *rig = rig_open_running(true, SPEAKS_STATUS);
	const uint64_t features = rig_features(rig);
	struct vdev_queue_addr addr = ring_addr(&rig->others[QUEUE]);
	struct before was = before(rig);
	int null_fd = dup(STDERR_FILENO);

	FAILS(vdev_set_features(&rig->dev, features | FEATURE_MASK(NET_MQ), &diag), -EINVAL);
	FAILS(vdev_set_features(&rig->dev, FEATURE_MASK(RING_PACKED), &diag), -EINVAL);
	FAILS(vdev_set_features(&rig->dev, features | FEATURE_MASK(EVENT_IDX), &diag), -EBUSY);
	FAILS(vdev_set_status(&rig->dev, 256, &diag), -EINVAL);
	FAILS(vdev_queue_set_size(&rig->dev, QUEUE, OTHER_SIZE, &diag), -EBUSY);
	FAILS(vdev_queue_set_base(&rig->dev, QUEUE, 1, &diag), -EBUSY);
	FAILS(vdev_queue_set_addr(&rig->dev, QUEUE, &addr, &diag), -EBUSY);
	if (notifier_kind_of(null_fd) == NOTIFIER_NONE) {
		FAILS(vdev_queue_set_call(&rig->dev, QUEUE, null_fd, &diag), -EBADF);
		FAILS(vdev_queue_set_err(&rig->dev, QUEUE, null_fd, &diag), -EBADF);
	}
	FAILS(vdev_queue_set_kick(&rig->dev, QUEUE, rig->mem.fd, &diag), -EBADF);
	FAILS(vdev_queue_set_call(&rig->dev, QUEUE, rig->mem.fd, &diag), -EBADF);
	FAILS(vdev_queue_set_err(&rig->dev, QUEUE, rig->mem.fd, &diag), -EBADF);
	assert_as(rig, &was);
	close(null_fd);

	do_get_base(rig);
	was = before(rig);
	FAILS(vdev_queue_set_size(&rig->dev, QUEUE, 0, &diag), -EINVAL);
	FAILS(vdev_queue_set_size(&rig->dev, QUEUE, VIRTQ_SIZE_MAX + 1, &diag), -EINVAL);
	FAILS(vdev_queue_set_base(&rig->dev, QUEUE, SIZE, &diag), -EINVAL);
	addr.avail += 2;
	FAILS(vdev_queue_set_addr(&rig->dev, QUEUE, &addr, &diag), -EINVAL);
	assert_as(rig, &was);
	rig_close(rig);
}

/* A queue that runs goes on, by the new word, although there is no memory. */
static void
test_queue_that_runs_goes_on(void **state)
{
	for (unsigned int packed = 0; packed < 2; packed++) {
		struct rig *rig = rig_open_running(packed, SPEAKS_STATUS);
		struct vdev_queue_addr addr = ring_addr(&rig->rings[QUEUE]);
		struct vdev_queue *queue = &rig->dev.queues[QUEUE];
		int kick_fd = eventfd(0, EFD_CLOEXEC), call_fd = eventfd(0, EFD_CLOEXEC);

		addr.log = true;
		MUST_WITHOUT_MEMORY(vdev_queue_set_addr(&rig->dev, QUEUE, &addr, &diag));
		assert_true(queue->said.log_used);
		MUST_WITHOUT_MEMORY(vdev_queue_set_kick(&rig->dev, QUEUE, kick_fd, &diag));
		assert_int_equal(queue->kick_fd, kick_fd);
		MUST_WITHOUT_MEMORY(vdev_queue_set_call(&rig->dev, QUEUE, call_fd, &diag));
		assert_int_equal(queue->call_fd, call_fd);
		MUST_WITHOUT_MEMORY(vdev_queue_set_enable(&rig->dev, QUEUE, false, &diag));
		assert_false(queue->said.enabled);
		assert_true(vdev_queue_is_running(&rig->dev, QUEUE));
		rig_close(rig);
	}
}

/* A word that is right and would start a stopped queue, but the queue can't follow it: each of them can be
 * the last one that was missing. */
static void
test_queue_that_cannot_start(void **state)
{
	struct vdev_queue_addr nowhere = {.desc = 1 << 20, .avail = 2 << 20, .used = 3 << 20};
	struct vdev_queue_addr addr;
	struct rig *rig = rig_open_running(true, SPEAKS_STATUS);
	struct before was;
	int fd = eventfd(0, EFD_CLOEXEC);

	/* Addresses are the last to come; nowhere in memory. */
	vdev_queue_get_base(&rig->dev, QUEUE);
	rig_set_kick(rig, QUEUE);
	was = before(rig);
	FAILS(vdev_queue_set_addr(&rig->dev, QUEUE, &nowhere, &diag), -EFAULT);
	assert_as(rig, &was);
	addr = ring_addr(&rig->rings[QUEUE]);
	MUST_WITHOUT_MEMORY(vdev_queue_set_addr(&rig->dev, QUEUE, &addr, &diag));
	assert_int_equal(virtq_base(&rig->vqs[QUEUE], true), position_resumed(rig));

	/* The kick descriptor is. */
	vdev_queue_get_base(&rig->dev, QUEUE);
	MUST(vdev_queue_set_addr(&rig->dev, QUEUE, &nowhere, &diag));
	was = before(rig);
	FAILS(vdev_queue_set_kick(&rig->dev, QUEUE, fd, &diag), -EFAULT);
	assert_as(rig, &was);
	assert_int_equal(close(fd), 0);

	/* The size is, and the base that came before it is outside. */
	vdev_disconnect(&rig->dev);
	rig->dev.said.status_used = true;
	MUST(vdev_set_features(&rig->dev, rig_features(rig), &diag));
	rig_set_mem(rig);
	MUST(vdev_queue_set_base(&rig->dev, QUEUE, SIZE + 1, &diag));
	rig_set_addr(rig, QUEUE, &rig->rings[QUEUE]);
	rig_set_kick(rig, QUEUE);
	rig_set_status(rig, STATUS_RUNNING);
	was = before(rig);
	FAILS(vdev_queue_set_size(&rig->dev, QUEUE, SIZE, &diag), -EINVAL);
	assert_as(rig, &was);
	rig_close(rig);
}

/* A refused SET_VRING_ENABLE is none: what the driver has put there waits for the one that is taken. */
static void
test_enable_refused(void **state)
{
	struct vdev_queue_addr nowhere = {.desc = 1 << 20, .avail = 2 << 20, .used = 3 << 20};
	struct rig *rig = rig_open_running(true, SPEAKS_STATUS);

	vdev_stop(&rig->dev);
	rig_set_status(rig, VDEV_STATUS_ACKNOWLEDGE);
	MUST(vdev_queue_set_addr(&rig->dev, QUEUE, &nowhere, &diag));
	rig_set_kick(rig, QUEUE);
	FAILS(vdev_set_status(&rig->dev, STATUS_RUNNING, &diag), -EFAULT);
	FAILS(vdev_queue_set_enable(&rig->dev, QUEUE, true, &diag), -EFAULT);
	rig_set_addr(rig, QUEUE, &rig->rings[QUEUE]);
	assert_true(vdev_queue_is_running(&rig->dev, QUEUE));
	assert_false(vdev_queue_is_enabled(&rig->dev, QUEUE));
	assert_true(vdev_queue_never_enabled(&rig->dev, QUEUE));
	rig_close(rig);
}

/* A word to all of them is taken; who can't follow stops, the others go on. */
static void
test_words_to_all_are_taken(void **state)
{
	struct vdev_queue_addr nowhere = {.desc = 1 << 20, .avail = 2 << 20, .used = 3 << 20};
	struct rig *rig = rig_open_running(false, SPEAKS_STATUS);
	struct gmem_map *map;
	struct gmem *mem;

	/* The features: logging is switched on, without memory too. */
	MUST_WITHOUT_MEMORY(vdev_set_features(&rig->dev, rig_features(rig) | FEATURE_MASK(LOG_ALL), &diag));
	assert_int_equal(rig->dev.said.features, rig_features(rig) | FEATURE_MASK(LOG_ALL));
	assert_true(vdev_queue_is_running(&rig->dev, QUEUE));

	/* The status: one queue's ring is nowhere. */
	do_get_base(rig);
	rig_set_status(rig, VDEV_STATUS_ACKNOWLEDGE);
	for (unsigned int i = 0; i < N_QUEUES; i++) {
		if (i == QUEUE)
			MUST(vdev_queue_set_addr(&rig->dev, i, &nowhere, &diag));
		else
			rig_set_addr(rig, i, &rig->rings[i]);
		rig_set_kick(rig, i);
	}
	FAILS(vdev_set_status(&rig->dev, STATUS_RUNNING, &diag), -EFAULT);
	assert_int_equal(rig->dev.said.status & STATUS_RUNNING, STATUS_RUNNING);
	for (unsigned int i = 0; i < N_QUEUES; i++)
		assert_int_equal(vdev_queue_is_running(&rig->dev, i), i != QUEUE);
	rig_set_addr(rig, QUEUE, &rig->rings[QUEUE]);
	assert_true(vdev_queue_is_running(&rig->dev, QUEUE));

	/* The log: nobody writes by the old one any more. */
	MUST(gmem_map_open(rig->mem.fd, 0, LOG_BYTES, &map, &diag));
	MUST_WITHOUT_MEMORY(vdev_set_log(&rig->dev, map, &diag));
	assert_ptr_equal(rig->dev.log->map, map);
	assert_true(vdev_queue_is_running(&rig->dev, QUEUE));

	/* The memory: taken, and never an error. */
	mem = rig_gmem(rig, DRIVER_N_REGIONS - 1);
	MUST(vdev_set_mem(&rig->dev, mem, &diag));
	assert_ptr_equal(rig->dev.mem, mem);
	assert_false(vdev_queue_is_running(&rig->dev, QUEUE));
	rig_close(rig);
}

/* --- who looks after devices --- */

static void
rig_dropped(void *arg, const char *why)
{
	struct rig *rig = arg;

	rig->n_drops++;
	vdev_disconnect(&rig->dev);
}

/* On the loop, once or for some looks: what is not there yet will not come. */
static void
look(unsigned int n)
{
	for (unsigned int i = 0; i < n; i++)
		assert_int_equal(loop_run_once(ctx.loop, VDEV_WATCH_MS), 0);
}

/* With a context that has a loop nobody else needs to: a broken queue, and memory that is lost. */
static void
test_the_context_looks_after_its_devices(void **state)
{
	struct rig *rig, *other;

	assert_int_equal(ctx_open(&ctx), 0);
	assert_int_equal(gmem_sigbus_install(&ctx), 0);
	rig = rig_open(false, SPEAKS_STATUS);
	other = rig_open(false, SPEAKS_STATUS);
	rig->dev.drop = other->dev.drop = rig_dropped;
	rig->dev.drop_arg = rig;
	other->dev.drop_arg = other;
	rig_start(rig);
	rig_start(other);
	virtq_break(&rig->vqs[BROKEN_QUEUE], 1);
	for (unsigned int i = 0; i < 500 && rig->dev.n_faults == 0; i++)
		look(1);
	assert_int_equal(rig->dev.n_faults, 1);
	assert_int_equal(other->dev.n_faults, 0);
	assert_true(rig->dev.said.status & VDEV_STATUS_NEEDS_RESET);

	assert_int_equal(ftruncate(rig->mem.fd, 0), 0);
	assert_int_equal(*(volatile uint8_t *)rig->dev.mem->regions[0].va, 0);
	for (unsigned int i = 0; i < 500 && rig->n_drops == 0; i++)
		look(1);
	assert_int_equal(rig->n_drops, 1);
	assert_null(rig->dev.mem);
	look(3);
	assert_int_equal(rig->n_drops, 1);
	assert_int_equal(other->n_drops, 0);
	assert_non_null(other->dev.mem);
	vdev_fini(&rig->dev);
	vdev_fini(&other->dev);
	assert_null(ctx.vdev_watch);
	gmem_sigbus_uninstall(&ctx);
	ctx_close(&ctx);
	rig_free(rig);
	rig_free(other);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_which_message_clears_what),
		cmocka_unit_test(test_stop_and_cont),
		cmocka_unit_test(test_base_before_features),
		cmocka_unit_test(test_base_zero_where_the_ring_stopped),
		cmocka_unit_test(test_refused_words),
		cmocka_unit_test(test_queue_that_runs_goes_on),
		cmocka_unit_test(test_queue_that_cannot_start),
		cmocka_unit_test(test_enable_refused),
		cmocka_unit_test(test_words_to_all_are_taken),
		cmocka_unit_test(test_the_context_looks_after_its_devices),
	};

	return UNIT_RUN(tests);
}
