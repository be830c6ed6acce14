/* SPDX-License-Identifier: BSD-3-Clause */
#include "vdev.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "quiesce.h"

enum {
	VDEV_CONFS = 2, /* of a queue: the one that workers see, and the one that takes its place */
	VDEV_CONF_SIZE = (sizeof(struct virtq_conf) + 63) & ~63ul, /* no two in a cache line */
};

static bool
vdev_is_packed(const struct vdev *dev)
{
	return dev->said.features & FEATURE_MASK(RING_PACKED);
}

static void
vdev_conf_put(struct vdev_queue *queue, struct virtq_conf *conf)
{
	conf->control.next = queue->spares;
	queue->spares = conf;
}

static bool
vdev_is_held_by(const void *arg, unsigned int worker)
{
	const struct vdev *dev = arg;

	return dev->ops->is_held(dev, worker);
}

/*
 * Everything replaced so far is out of sight: wait for the workers, then let it go. A queue that was
 * unpublished for good stands still from here on: note where.
 */
static void
vdev_collect(struct vdev *dev)
{
	if (!dev->deferred)
		return;
	quiesce_wait_held(vdev_is_held_by, dev);
	while (dev->deferred) {
		struct virtq_conf *conf = dev->deferred;
		struct vdev_queue *queue = &dev->queues[conf->control.queue_idx];

		if (conf->control.last) {
			queue->said.base = virtq_base(queue->vq, conf->traits & TRAIT_PACKED);
			queue->said.base_is = VDEV_BASE_STOPPED;
			/* No worker comes by any more to say what the driver was not told yet. */
			virtq_notify_confirm(queue->vq, conf);
			/* Whoever serves this ring next may need to be kicked. */
			virtq_want_kicks(queue->vq, conf, VIRTQ_KICKS_WANTED);
		}
		dev->deferred = conf->control.next;
		vdev_conf_put(queue, conf);
	}
}

static void
vdev_log_free(struct gmem_log *log)
{
	if (!log)
		return;
	gmem_map_unref(log->map);
	free(log);
}

static void
vdev_close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

/* --- building what the worker sees --- */

/*
 * A guest address to ours for a part of a ring, which has to lie in one region as a whole. Unaligned rings
 * ("Virtqueues": 16, 2 and 4 bytes) are refused.
 */
static bool
vdev_ring_part(const struct vdev *dev, uint64_t uva, uint64_t len, uint64_t align, void *ret_va,
	       uint64_t *ret_gpa)
{
	uint8_t *va;

	if (!gmem_uva_to_gpa(dev->mem, uva, len, ret_gpa))
		return false;
	va = gmem_va_search(dev->mem, *ret_gpa, len);
	if (!va || (uintptr_t)va % align)
		return false;
	memcpy(ret_va, &va, sizeof(va));
	return true;
}

static int
vdev_conf_rings(const struct vdev *dev, const struct vdev_queue *queue, struct virtq_conf *conf)
{
	uint64_t desc_len = queue->said.size * sizeof(struct vring_desc), avail_len, used_len, gpa;
	uint64_t avail_align, used_align;

	if (vdev_is_packed(dev)) {
		avail_len = used_len = sizeof(struct vring_packed_desc_event);
		avail_align = used_align = 4;
	} else {
		/* Both with the event index behind the ring, which is there whether it is used or not. */
		avail_len = sizeof(struct vring_avail) + queue->said.size * sizeof(uint16_t) + 2;
		used_len = sizeof(struct vring_used) + queue->said.size * sizeof(struct vring_used_elem) + 2;
		avail_align = 2;
		used_align = 4;
	}
	if (!vdev_ring_part(dev, queue->said.desc_uva, desc_len, 16, &conf->desc, &conf->used_gpa) ||
	    !vdev_ring_part(dev, queue->said.avail_uva, avail_len, avail_align, &conf->avail, &gpa) ||
	    !vdev_ring_part(dev, queue->said.used_uva, used_len, used_align, &conf->used, &conf->event_gpa))
		return -EFAULT;
	/* Packed: used elements go to the descriptor ring. Split: where the front-end wants its used ring
	 * logged. */
	if (!vdev_is_packed(dev))
		conf->used_gpa = queue->said.log_used ? queue->said.log_gpa : conf->event_gpa;
	return 0;
}

static bool
vdev_queue_is_configured(const struct vdev *dev, const struct vdev_queue *queue)
{
	return dev->said.has_features && dev->mem && queue->said.has_size && queue->said.has_addr &&
	       queue->said.has_kick && (!dev->said.status_used || dev->said.status & VDEV_STATUS_DRIVER_OK);
}

bool
vdev_queue_is_enabled(const struct vdev *dev, unsigned int idx)
{
	/* vhost-user, "Ring states": without the protocol features bit rings start enabled. */
	return dev->queues[idx].said.enabled || !(dev->said.features & FEATURE_MASK(PROTOCOL_FEATURES));
}

static int
vdev_conf_build(struct vdev *dev, unsigned int idx, struct virtq_conf **ret_conf, struct diag *diag)
{
	struct vdev_queue *queue = &dev->queues[idx];
	struct virtq_conf *conf;

	if (!queue->spares)
		vdev_collect(dev);
	conf = queue->spares;
	queue->spares = conf->control.next;
	memset(conf, 0, sizeof(*conf));
	conf->control.queue_idx = (uint16_t)idx;
	conf->size = (uint16_t)queue->said.size;
	conf->mask = (uint16_t)(queue->said.size - 1);
	if (!vdev_is_packed(dev) && (queue->said.size & (queue->said.size - 1))) {
		vdev_conf_put(queue, conf);
		return diag_set(diag, -EINVAL, "", "queue %u: a split ring's size %u is not a power of two",
				idx, queue->said.size);
	}
	if (vdev_conf_rings(dev, queue, conf) < 0) {
		vdev_conf_put(queue, conf);
		return diag_set(diag, -EFAULT, "",
				"queue %u: its ring is not in the guest's memory as a whole, or not aligned",
				idx);
	}
	conf->mem = dev->mem;
	gmem_cache_init(&conf->hot, dev->mem);
	conf->log = dev->said.features & FEATURE_MASK(LOG_ALL) ? dev->log : NULL;
	conf->traits = (vdev_is_packed(dev) ? TRAIT_PACKED : 0) |
		       (dev->said.features & FEATURE_MASK(IN_ORDER) ? TRAIT_IN_ORDER : 0) |
		       (conf->log ? TRAIT_LOG : 0);
	conf->event_idx = dev->said.features & FEATURE_MASK(EVENT_IDX);
	conf->indirect = dev->said.features & FEATURE_MASK(INDIRECT_DESC);
	conf->enabled = vdev_queue_is_enabled(dev, idx);
	conf->control.waits = !conf->enabled && !queue->said.was_enabled;
	conf->call_fd = queue->call_fd;
	conf->call_kind = queue->call_kind;
	dev->ops->conf_fill(dev, idx, conf);
	*ret_conf = conf;
	return 0;
}

static struct virtq_conf *
vdev_conf_current(const struct vdev_queue *queue)
{
	return (struct virtq_conf *)atomic_load_explicit(&queue->vq->conf, memory_order_relaxed);
}

/* conf NULL: the queue stops. */
static void
vdev_conf_publish(struct vdev *dev, struct vdev_queue *queue, struct virtq_conf *conf)
{
	struct virtq_conf *old = vdev_conf_current(queue);

	/* Release: pairs with the worker's acquire in virtq_conf(). */
	atomic_store_explicit(&queue->vq->conf, conf, memory_order_release);
	if (!old)
		return;
	old->control.last = !conf;
	old->control.next = dev->deferred;
	dev->deferred = old;
}

/* The beginning of a ring: packed: both wrap counters 1. */
static uint32_t
vdev_base_fresh(const struct vdev *dev)
{
	return vdev_is_packed(dev) ? 0x80008000u : 0;
}

/*
 * A front-end that sends base 0 for a packed ring names wrap counters 0. That is a real position, but some
 * front-ends (User-mode Linux) mean the start of a fresh ring, where both counters are 1. A ring that has
 * been through a lap has USED set in its first descriptor when its wrap counters are 0; a fresh one has not.
 */
static uint32_t
vdev_queue_base(const struct vdev *dev, const struct vdev_queue *queue, const struct virtq_conf *conf)
{
	if (queue->said.base_is != VDEV_BASE_SET)
		return queue->said.base_is == VDEV_BASE_STOPPED ? queue->said.base : vdev_base_fresh(dev);
	if (vdev_is_packed(dev) && queue->said.base == 0 && dev->said.base_zero_is_fresh) {
		uint16_t flags = __atomic_load_n(&conf->ring[0].flags, __ATOMIC_RELAXED);

		if (!(le16toh(flags) & 1 << VRING_PACKED_DESC_F_USED))
			return vdev_base_fresh(dev);
	}
	return queue->said.base;
}

/* A front-end whose back-end was killed names a base that its ring contradicts. */
static void
vdev_queue_say_start(struct vdev *dev, unsigned int idx, const struct virtq_conf *conf, uint32_t base,
		     enum virtq_start found)
{
	uint32_t at = virtq_base(dev->queues[idx].vq, conf->traits & TRAIT_PACKED);

	if (found == VIRTQ_START_BY_RING)
		log_limited(&dev->log_limit, LOG_LEVEL_INFO,
			    "port %s: queue %u: starts at 0x%x, where its ring stands, not at base 0x%x",
			    dev->name, idx, at, base);
	else if (found == VIRTQ_START_AMBIGUOUS)
		log_limited(
			&dev->log_limit, LOG_LEVEL_WARN,
			"port %s: queue %u: its ring does not tell where it stands; starts at 0x%x on the "
			"front-end's word (base 0x%x); if no traffic passes, reset the guest's device",
			dev->name, idx, at, base);
}

static int
vdev_queue_start(struct vdev *dev, unsigned int idx, struct virtq_conf *conf, struct diag *diag)
{
	struct vdev_queue *queue = &dev->queues[idx];
	uint32_t base = vdev_queue_base(dev, queue, conf);
	int found = virtq_start(queue->vq, conf, base);

	if (found < 0)
		return diag_set(diag, -EINVAL, "", "queue %u: base 0x%x is outside its ring of %u", idx, base,
				queue->said.size);
	vdev_queue_say_start(dev, idx, conf, base, (enum virtq_start)found);
	queue->reported = FAULT_NONE;
	virtq_want_kicks(queue->vq, conf, VIRTQ_KICKS_UNWANTED);
	return 0;
}

/* Out of the worker's sight; in effect, and its position known, after vdev_collect(). */
static void
vdev_queue_unpublish(struct vdev *dev, unsigned int idx)
{
	if (vdev_conf_current(&dev->queues[idx]))
		vdev_conf_publish(dev, &dev->queues[idx], NULL);
}

/*
 * Bring one queue from what it is to what its configuration says. On failure it stays as it is: stopped, or
 * running by its old conf, which the caller must not leave it when what that names goes away. Takes no
 * memory: what workers may still see and what replaces it are all the confs that a queue has.
 */
static int
vdev_queue_apply(struct vdev *dev, unsigned int idx, struct diag *diag)
{
	struct vdev_queue *queue = &dev->queues[idx];
	bool running = vdev_conf_current(queue);
	struct virtq_conf *conf = NULL;
	int ret;

	if (!vdev_queue_is_configured(dev, queue)) {
		vdev_queue_unpublish(dev, idx);
		return 0;
	}
	ret = vdev_conf_build(dev, idx, &conf, diag);
	if (ret < 0)
		return ret;
	if (!running) {
		/* The worker that saw the last conf of this queue may still be in its last burst. */
		vdev_collect(dev);
		ret = vdev_queue_start(dev, idx, conf, diag);
		if (ret < 0) {
			vdev_conf_put(queue, conf);
			return ret;
		}
	}
	vdev_conf_publish(dev, queue, conf);
	return 0;
}

/* After a change to one queue. On failure nothing has come of it yet, and the caller takes it back. */
static int
vdev_apply_one(struct vdev *dev, unsigned int idx, struct diag *diag)
{
	int ret = vdev_queue_apply(dev, idx, diag);

	if (ret < 0)
		return ret;
	vdev_collect(dev);
	dev->ops->queues_changed(dev);
	return 0;
}

/*
 * After a change to what all queues depend on. Queues that can't follow it stop; the first failure is
 * reported, the other queues go on.
 */
static int
vdev_apply_all(struct vdev *dev, struct diag *diag)
{
	int ret = 0;

	for (unsigned int i = 0; i < dev->n_queues; i++) {
		struct diag one;
		int err = vdev_queue_apply(dev, i, &one);

		if (err == 0)
			continue;
		vdev_queue_unpublish(dev, i);
		if (ret == 0) {
			ret = err;
			*diag = one;
		}
	}
	vdev_collect(dev);
	dev->ops->queues_changed(dev);
	return ret;
}

int
vdev_refresh(struct vdev *dev, struct diag *diag)
{
	return vdev_apply_all(dev, diag);
}

/* --- life --- */

int
vdev_init(struct vdev *dev, const char *name, const struct vdev_ops *ops, void *type_dev,
	  unsigned int n_queues)
{
	memset(dev, 0, sizeof(*dev));
	dev->queues = calloc(n_queues, sizeof(dev->queues[0]));
	dev->confs = aligned_alloc(64, (size_t)n_queues * VDEV_CONFS * VDEV_CONF_SIZE);
	if (!dev->queues || !dev->confs) {
		free(dev->queues);
		free(dev->confs);
		dev->queues = NULL;
		return -ENOMEM;
	}
	dev->name = name;
	dev->ops = ops;
	dev->type_dev = type_dev;
	dev->n_queues = n_queues;
	for (unsigned int i = 0; i < n_queues; i++) {
		struct vdev_queue *queue = &dev->queues[i];

		queue->kick_fd = queue->call_fd = queue->err_fd = -1;
		queue->vq = ops->queue(dev, i);
		for (unsigned int k = 0; k < VDEV_CONFS; k++)
			vdev_conf_put(queue, (void *)((uint8_t *)dev->confs +
						      ((size_t)i * VDEV_CONFS + k) * VDEV_CONF_SIZE));
	}
	ops->reset(dev);
	return 0;
}

static void
vdev_stop_all(struct vdev *dev)
{
	for (unsigned int i = 0; i < dev->n_queues; i++)
		vdev_queue_unpublish(dev, i);
	vdev_collect(dev);
	for (unsigned int i = 0; i < dev->n_queues; i++) {
		dev->queues[i].said.has_addr = dev->queues[i].said.has_kick = false;
		vdev_close_fd(&dev->queues[i].kick_fd);
	}
}

static void
vdev_disable_all(struct vdev *dev)
{
	for (unsigned int i = 0; i < dev->n_queues; i++)
		dev->queues[i].said.enabled = dev->queues[i].said.was_enabled = false;
}

void
vdev_stop(struct vdev *dev)
{
	vdev_stop_all(dev);
	vdev_disable_all(dev);
	dev->ops->queues_changed(dev);
}

enum vdev_positions { VDEV_POSITIONS_REPORTED, VDEV_POSITIONS_FORGOTTEN };

static void
vdev_driver_ends(struct vdev *dev, enum vdev_positions positions)
{
	vdev_stop_all(dev);
	vdev_disable_all(dev);
	for (unsigned int i = 0; i < dev->n_queues; i++) {
		struct vdev_queue *queue = &dev->queues[i];

		if (positions == VDEV_POSITIONS_FORGOTTEN)
			queue->said.base_is = VDEV_BASE_NONE;
		else if (queue->said.base_is != VDEV_BASE_NONE)
			queue->said.base_is = VDEV_BASE_LEFT;
	}
	dev->said.status = 0;
	dev->ops->ended(dev);
	dev->ops->reset(dev);
	dev->ops->queues_changed(dev);
}

void
vdev_reset(struct vdev *dev)
{
	vdev_driver_ends(dev, VDEV_POSITIONS_FORGOTTEN);
}

void
vdev_disconnect(struct vdev *dev)
{
	vdev_reset(dev);
	for (unsigned int i = 0; i < dev->n_queues; i++) {
		struct vdev_queue *queue = &dev->queues[i];

		vdev_close_fd(&queue->call_fd);
		vdev_close_fd(&queue->err_fd);
		queue->said.has_size = false;
		queue->said.log_used = false;
	}
	gmem_free(dev->mem);
	vdev_log_free(dev->log);
	dev->mem = NULL;
	dev->log = NULL;
	dev->said.features = 0;
	dev->said.has_features = false;
	dev->said.status_used = false;
	dev->said.base_zero_is_fresh = false;
	dev->said.config_used = dev->config_channel = false;
	dev->n_disconnects++;
	vdev_change_end(dev);
}

void
vdev_fini(struct vdev *dev)
{
	if (!dev->queues)
		return;
	vdev_disconnect(dev);
	free(dev->confs);
	free(dev->queues);
	dev->queues = NULL;
}

static bool
vdev_any_running(const struct vdev *dev)
{
	for (unsigned int i = 0; i < dev->n_queues; i++)
		if (vdev_queue_is_running(dev, i))
			return true;
	return false;
}

/* --- without waiting --- */

enum { VDEV_CHANGE_TRIES = 50, VDEV_CHANGE_NAP_NS = 20000 };

static bool
vdev_is_held(const struct vdev *dev)
{
	for (unsigned int worker = 0; worker < QUIESCE_WORKERS_MAX; worker++)
		if (quiesce_where(worker) && dev->ops->is_held(dev, worker))
			return true;
	return false;
}

bool
vdev_change_begin(struct vdev *dev)
{
	const struct timespec nap = {.tv_nsec = VDEV_CHANGE_NAP_NS};
	unsigned int tries = dev->changing ? 1 : VDEV_CHANGE_TRIES;

	if (!dev->changing) {
		/* Nobody holds anything, nor comes to it. */
		if (!vdev_any_running(dev) && !vdev_is_held(dev))
			return true;
		/* Also when nothing is held: a worker that begins to hold it now may stay away. */
		dev->changing = true;
		dev->ops->borrow(dev, VDEV_BORROW_NOTHING);
		dev->change_token = quiesce_start();
	}
	/* Most calls of a driver are over in microseconds. */
	for (;;) {
		if (quiesce_passed(dev->change_token, vdev_is_held_by, dev))
			return true;
		if (--tries == 0)
			break;
		nanosleep(&nap, NULL);
	}
	/* Who is not away comes by, as soon as it has a CPU. */
	return !vdev_is_held(dev);
}

void
vdev_change_end(struct vdev *dev)
{
	if (!dev->changing)
		return;
	dev->changing = false;
	dev->ops->borrow(dev, VDEV_BORROW_FRAMES);
}

/* --- the front-end's words --- */

uint64_t
vdev_features_offered(const struct vdev *dev)
{
	return dev->ops->features(dev) | FEATURE_MASK(PROTOCOL_FEATURES) | FEATURE_MASK(LOG_ALL);
}

static bool
vdev_any_enabled(const struct vdev *dev)
{
	for (unsigned int i = 0; i < dev->n_queues; i++)
		if (vdev_queue_is_running(dev, i) && vdev_queue_is_enabled(dev, i))
			return true;
	return false;
}

/*
 * Which state plays which queue depends on the features. A front-end that speaks of status tells a reset by
 * it, and sends the features again when it only resumes, and, having several queue pairs, once for each, when
 * the bases of those before have come already. Of another one, new features are a new driver.
 */
static void
vdev_driver_starts(struct vdev *dev, uint64_t changed)
{
	const bool resumes = dev->said.status_used && !(changed & ~FEATURE_MASK(LOG_ALL));

	for (unsigned int i = 0; i < dev->n_queues; i++) {
		struct vdev_queue *queue = &dev->queues[i];

		queue->vq = dev->ops->queue(dev, i);
		/* A base that has been set is for what is to come, unless it speaks of the other layout. */
		if ((!resumes && queue->said.base_is != VDEV_BASE_SET) || changed & FEATURE_MASK(RING_PACKED))
			queue->said.base_is = VDEV_BASE_NONE;
	}
	if (!dev->said.status_used) {
		dev->said.status &= (uint8_t)~VDEV_STATUS_NEEDS_RESET;
		dev->ops->reset(dev);
	}
}

int
vdev_set_features(struct vdev *dev, uint64_t features, struct diag *diag)
{
	uint64_t unknown = features & ~vdev_features_offered(dev);
	uint64_t changed = features ^ dev->said.features;

	if (unknown)
		return diag_set(diag, -EINVAL, "", "features 0x%llx were not offered",
				(unsigned long long)unknown);
	if (features & FEATURE_MASK(RING_PACKED) && !(features & FEATURE_MASK(VERSION_1)))
		return diag_set(diag, -EINVAL, "", "feature ring_packed without version_1");
	if (dev->ops->features_check(dev, features, diag) < 0)
		return -EINVAL;
	/*
	 * A front-end that has disabled all its queues and names its features again has a new driver, and may
	 * say no more than that of the old one's end (User-mode Linux): its rings are not there any more.
	 */
	if (!dev->said.status_used && changed != FEATURE_MASK(LOG_ALL) && !vdev_any_enabled(dev))
		vdev_stop_all(dev);
	/* Migration switches logging on and off while rings run; nothing else may change under them. */
	if (changed & ~FEATURE_MASK(LOG_ALL) && vdev_any_running(dev))
		return diag_set(diag, -EBUSY, "", "features changed by 0x%llx while queues run",
				(unsigned long long)changed);
	dev->said.features = features;
	dev->said.has_features = true;
	if (!vdev_any_running(dev))
		vdev_driver_starts(dev, changed);
	return vdev_apply_all(dev, diag);
}

int
vdev_set_status(struct vdev *dev, uint64_t status, struct diag *diag)
{
	if (status > UINT8_MAX)
		return diag_set(diag, -EINVAL, "", "status 0x%llx has more than 8 bits",
				(unsigned long long)status);
	if (status == 0) {
		vdev_driver_ends(dev, VDEV_POSITIONS_REPORTED);
		return 0;
	}
	/* The driver can't set or clear what only the device may. */
	dev->said.status =
		(uint8_t)((status & ~VDEV_STATUS_NEEDS_RESET) | (dev->said.status & VDEV_STATUS_NEEDS_RESET));
	return vdev_apply_all(dev, diag);
}

int
vdev_set_mem(struct vdev *dev, struct gmem *mem, struct diag *diag)
{
	struct gmem *old = dev->mem;
	int ret;

	dev->mem = mem;
	ret = vdev_apply_all(dev, diag);
	/* No conf names the old table any more, and no worker sees one that does. */
	gmem_free(old);
	/* A queue whose ring is not in the new table has stopped; the table itself is taken. */
	if (ret < 0)
		log_limited(&dev->log_limit, LOG_LEVEL_WARN, "port %s: %s; the queue stops", dev->name,
			    diag->cause);
	return 0;
}

int
vdev_set_log(struct vdev *dev, struct gmem_map *map, struct diag *diag)
{
	struct gmem_log *log = malloc(sizeof(*log)), *old = dev->log;
	int ret;

	if (!log) {
		gmem_map_unref(map);
		return diag_set(diag, -ENOMEM, "", "dirty log: out of memory");
	}
	*log = (struct gmem_log){.map = map, .bits = (_Atomic uint8_t *)map->va, .n_bytes = map->size};
	dev->log = log;
	ret = vdev_apply_all(dev, diag);
	vdev_log_free(old);
	return ret;
}

/* What defines a ring can't change while it runs. */
static int
vdev_queue_check_stopped(const struct vdev *dev, unsigned int idx, const char *what, struct diag *diag)
{
	if (vdev_queue_is_running(dev, idx))
		return diag_set(diag, -EBUSY, "", "queue %u: %s changed while it runs", idx, what);
	return 0;
}

/* The ring that comes is not the one that stopped, so that one's position says nothing of it. */
static void
vdev_queue_is_another(struct vdev_queue *queue)
{
	if (queue->said.base_is != VDEV_BASE_SET)
		queue->said.base_is = VDEV_BASE_NONE;
}

int
vdev_queue_set_size(struct vdev *dev, unsigned int idx, uint32_t size, struct diag *diag)
{
	struct vdev_queue *queue = &dev->queues[idx];
	const struct vdev_queue old = *queue;
	bool power_of_two = size && !(size & (size - 1));
	int ret;

	if (queue->said.has_size && queue->said.size == size)
		return 0;
	ret = vdev_queue_check_stopped(dev, idx, "size", diag);
	if (ret < 0)
		return ret;
	if (size == 0 || size > VIRTQ_SIZE_MAX ||
	    (dev->said.has_features && !vdev_is_packed(dev) && !power_of_two))
		return diag_set(diag, -EINVAL, "", "queue %u: size %u (split: a power of two; at most %d)",
				idx, size, VIRTQ_SIZE_MAX);
	queue->said.size = size;
	queue->said.has_size = true;
	vdev_queue_is_another(queue);
	ret = vdev_apply_one(dev, idx, diag);
	if (ret < 0)
		*queue = old;
	return ret;
}

int
vdev_queue_set_base(struct vdev *dev, unsigned int idx, uint32_t base, struct diag *diag)
{
	struct vdev_queue *queue = &dev->queues[idx];
	int ret = vdev_queue_check_stopped(dev, idx, "base", diag);

	if (ret < 0)
		return ret;
	if (!virtq_base_valid(base, vdev_is_packed(dev),
			      queue->said.has_size ? (uint16_t)queue->said.size : VIRTQ_SIZE_MAX))
		return diag_set(diag, -EINVAL, "", "queue %u: base 0x%x is outside its ring of %u", idx, base,
				queue->said.size);
	queue->said.base = base;
	queue->said.base_is = VDEV_BASE_SET;
	return 0;
}

int
vdev_queue_set_addr(struct vdev *dev, unsigned int idx, const struct vdev_queue_addr *addr, struct diag *diag)
{
	struct vdev_queue *queue = &dev->queues[idx];
	const struct vdev_queue old = *queue;
	const bool same = queue->said.desc_uva == addr->desc && queue->said.avail_uva == addr->avail &&
			  queue->said.used_uva == addr->used;
	int ret;

	if (!same) {
		ret = vdev_queue_check_stopped(dev, idx, "ring addresses", diag);
		if (ret < 0)
			return ret;
	}
	if (addr->desc % 16 || addr->avail % (vdev_is_packed(dev) ? 4 : 2) || addr->used % 4)
		return diag_set(diag, -EINVAL, "",
				"queue %u: ring addresses 0x%llx, 0x%llx, 0x%llx are not aligned", idx,
				(unsigned long long)addr->desc, (unsigned long long)addr->avail,
				(unsigned long long)addr->used);
	queue->said.desc_uva = addr->desc;
	queue->said.avail_uva = addr->avail;
	queue->said.used_uva = addr->used;
	queue->said.log_gpa = addr->log_gpa;
	queue->said.log_used = addr->log;
	queue->said.has_addr = true;
	if (!same || queue->said.base_is == VDEV_BASE_LEFT)
		vdev_queue_is_another(queue);
	ret = vdev_apply_one(dev, idx, diag);
	if (ret < 0)
		*queue = old;
	return ret;
}

enum vdev_fd_use { VDEV_FD_KICK, VDEV_FD_NOTIFY };

/* Kicks come through an eventfd; notifications go to an eventfd or, with User-mode Linux, a socket or a pipe.
 */
static int
vdev_fd_check(unsigned int idx, int fd, enum vdev_fd_use use, enum notifier_kind *ret_kind, struct diag *diag)
{
	enum notifier_kind kind = notifier_kind_of(fd);

	if (fd < 0 || kind == NOTIFIER_EVENTFD || (use == VDEV_FD_NOTIFY && kind != NOTIFIER_NONE)) {
		*ret_kind = kind;
		return 0;
	}
	return diag_set(
		diag, -EBADF, "",
		"queue %u: the descriptor is neither an eventfd nor, for notifications, a socket or pipe",
		idx);
}

int
vdev_queue_set_kick(struct vdev *dev, unsigned int idx, int fd, struct diag *diag)
{
	struct vdev_queue *queue = &dev->queues[idx];
	struct vdev_queue old = *queue;
	enum notifier_kind kind = NOTIFIER_NONE;
	int ret;

	ret = vdev_fd_check(idx, fd, VDEV_FD_KICK, &kind, diag);
	if (ret < 0)
		return ret;
	queue->kick_fd = fd;
	queue->said.has_kick = true;
	ret = vdev_apply_one(dev, idx, diag);
	if (ret < 0) {
		*queue = old;
		return ret;
	}
	vdev_close_fd(&old.kick_fd);
	return 0;
}

int
vdev_queue_set_call(struct vdev *dev, unsigned int idx, int fd, struct diag *diag)
{
	struct vdev_queue *queue = &dev->queues[idx];
	enum notifier_kind kind = NOTIFIER_NONE;
	struct vdev_queue old = *queue;
	int ret = vdev_fd_check(idx, fd, VDEV_FD_NOTIFY, &kind, diag);

	if (ret < 0)
		return ret;
	queue->call_fd = fd;
	queue->call_kind = kind;
	if (vdev_queue_is_running(dev, idx)) {
		ret = vdev_apply_one(dev, idx, diag);
		if (ret < 0) {
			*queue = old;
			return ret;
		}
		/* What the old descriptor was told may not have been heard. */
		if (fd >= 0)
			notifier_signal(fd, queue->call_kind);
	}
	vdev_close_fd(&old.call_fd);
	return 0;
}

int
vdev_queue_set_err(struct vdev *dev, unsigned int idx, int fd, struct diag *diag)
{
	struct vdev_queue *queue = &dev->queues[idx];
	enum notifier_kind kind = NOTIFIER_NONE;
	int ret = vdev_fd_check(idx, fd, VDEV_FD_NOTIFY, &kind, diag);

	if (ret < 0)
		return ret;
	if (queue->err_fd >= 0)
		close(queue->err_fd);
	queue->err_fd = fd;
	queue->err_kind = kind;
	return 0;
}

int
vdev_queue_set_enable(struct vdev *dev, unsigned int idx, bool enable, struct diag *diag)
{
	struct vdev_queue *queue = &dev->queues[idx];
	const struct vdev_queue old = *queue;
	int ret;

	if (old.said.enabled == enable)
		return 0;
	queue->said.enabled = enable;
	queue->said.was_enabled |= enable;
	ret = vdev_apply_one(dev, idx, diag);
	if (ret < 0)
		*queue = old;
	return ret;
}

uint32_t
vdev_queue_get_base(struct vdev *dev, unsigned int idx)
{
	struct vdev_queue *queue = &dev->queues[idx];

	vdev_queue_unpublish(dev, idx);
	vdev_collect(dev);
	queue->said.has_addr = queue->said.has_kick = false;
	vdev_close_fd(&queue->kick_fd);
	dev->ops->queues_changed(dev);
	return queue->said.base_is == VDEV_BASE_NONE ? vdev_base_fresh(dev) : queue->said.base;
}

uint64_t
vdev_queue_kicks(const struct vdev *dev, unsigned int idx)
{
	struct vdev_queue *queue = &dev->queues[idx];
	uint64_t count = 0;
	struct iovec iov = {.iov_base = &count, .iov_len = sizeof(count)};

	/* The front-end can clear O_NONBLOCK of a descriptor that it shares; RWF_NOWAIT is ours. */
	if (queue->kick_fd >= 0 && preadv2(queue->kick_fd, &iov, 1, -1, RWF_NOWAIT) == sizeof(count))
		queue->n_kicks += count;
	return queue->n_kicks;
}

bool
vdev_queue_is_running(const struct vdev *dev, unsigned int idx)
{
	return vdev_conf_current(&dev->queues[idx]);
}

bool
vdev_queue_is_active(const struct vdev *dev, unsigned int idx)
{
	const struct virtq_conf *conf = vdev_conf_current(&dev->queues[idx]);

	return conf && conf->enabled && !virtq_is_broken(dev->queues[idx].vq);
}

unsigned int
vdev_check_faults(struct vdev *dev)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < dev->n_queues; i++) {
		struct vdev_queue *queue = &dev->queues[i];
		enum virtq_fault fault = atomic_load_explicit(&queue->vq->fault, memory_order_acquire);

		if (fault == FAULT_NONE || fault == queue->reported || !vdev_queue_is_running(dev, i))
			continue;
		queue->reported = fault;
		n++;
		log_limited(&dev->log_limit, LOG_LEVEL_WARN,
			    "port %s: queue %u is broken by its driver and stops: %s", dev->name, i,
			    virtq_fault_help[fault]);
		/* Full: the front-end has been told and has not looked. */
		if (queue->err_fd >= 0)
			notifier_signal(queue->err_fd, queue->err_kind);
		dev->said.status |= VDEV_STATUS_NEEDS_RESET;
	}
	if (n) {
		dev->ops->queues_changed(dev);
		if (dev->config_changed)
			dev->config_changed(dev->config_changed_arg);
	}
	return n;
}

bool
vdev_memory_is_lost(const struct vdev *dev)
{
	return gmem_is_lost(dev->mem) || (dev->log && gmem_map_is_lost(dev->log->map));
}
