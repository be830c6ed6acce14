/* SPDX-License-Identifier: BSD-3-Clause */
#include "vdev.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "quiesce.h"

static bool
vdev_is_packed(const struct vdev *dev)
{
	return dev->features & FEATURE_MASK(RING_PACKED);
}

/*
 * Everything replaced so far is out of sight: wait for the workers, then let it go. A queue that was
 * unpublished for good stands still from here on: note where.
 */
static void
vdev_collect(struct vdev *dev)
{
	if (!dev->trash)
		return;
	quiesce_wait();
	while (dev->trash) {
		struct virtq_conf *conf = dev->trash;
		struct vdev_queue *queue = &dev->queues[conf->control.queue_idx];

		if (conf->control.last) {
			queue->base = virtq_base(queue->vq, conf->traits & TRAIT_PACKED);
			queue->has_base = true;
			/* No worker comes by any more to say what the driver was not told yet. */
			virtq_notify_settle(queue->vq, conf);
			/* Whoever serves this ring next may need to be kicked. */
			virtq_want_kicks(queue->vq, conf, VIRTQ_KICKS_WANTED);
		}
		dev->trash = conf->control.next;
		free(conf);
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
	uint64_t desc_len = queue->size * sizeof(struct vring_desc), avail_len, used_len, gpa;
	uint64_t avail_align, used_align;

	if (vdev_is_packed(dev)) {
		avail_len = used_len = sizeof(struct vring_packed_desc_event);
		avail_align = used_align = 4;
	} else {
		/* Both with the event index behind the ring, which is there whether it is used or not. */
		avail_len = sizeof(struct vring_avail) + queue->size * sizeof(uint16_t) + 2;
		used_len = sizeof(struct vring_used) + queue->size * sizeof(struct vring_used_elem) + 2;
		avail_align = 2;
		used_align = 4;
	}
	if (!vdev_ring_part(dev, queue->desc_uva, desc_len, 16, &conf->desc, &conf->used_gpa) ||
	    !vdev_ring_part(dev, queue->avail_uva, avail_len, avail_align, &conf->avail, &gpa) ||
	    !vdev_ring_part(dev, queue->used_uva, used_len, used_align, &conf->used, &conf->event_gpa))
		return -EFAULT;
	/* Packed: used elements go to the descriptor ring. Split: where the front-end wants its used ring
	 * logged. */
	if (!vdev_is_packed(dev))
		conf->used_gpa = queue->log_used ? queue->log_gpa : conf->event_gpa;
	return 0;
}

static bool
vdev_queue_is_configured(const struct vdev *dev, const struct vdev_queue *queue)
{
	return dev->has_features && dev->mem && queue->has_size && queue->has_addr && queue->has_kick &&
	       (!dev->status_used || dev->status & VDEV_STATUS_DRIVER_OK);
}

bool
vdev_queue_is_enabled(const struct vdev *dev, unsigned int idx)
{
	/* vhost-user, "Ring states": without the protocol features bit rings start enabled. */
	return dev->queues[idx].enabled || !(dev->features & FEATURE_MASK(PROTOCOL_FEATURES));
}

static int
vdev_conf_build(struct vdev *dev, unsigned int idx, struct virtq_conf **ret_conf, struct diag *diag)
{
	struct vdev_queue *queue = &dev->queues[idx];
	struct virtq_conf *conf = aligned_alloc(64, (sizeof(*conf) + 63) & ~63ul);

	if (!conf)
		return diag_set(diag, -ENOMEM, "", "queue %u: out of memory", idx);
	memset(conf, 0, sizeof(*conf));
	conf->control.queue_idx = (uint16_t)idx;
	conf->size = (uint16_t)queue->size;
	conf->mask = (uint16_t)(queue->size - 1);
	if (!vdev_is_packed(dev) && (queue->size & (queue->size - 1))) {
		free(conf);
		return diag_set(diag, -EINVAL, "", "queue %u: a split ring's size %u is not a power of two",
				idx, queue->size);
	}
	if (vdev_conf_rings(dev, queue, conf) < 0) {
		free(conf);
		return diag_set(diag, -EFAULT, "",
				"queue %u: its ring is not in the guest's memory as a whole, or not aligned",
				idx);
	}
	conf->mem = dev->mem;
	gmem_cache_init(&conf->hot, dev->mem);
	conf->log = dev->features & FEATURE_MASK(LOG_ALL) ? dev->log : NULL;
	conf->traits = (vdev_is_packed(dev) ? TRAIT_PACKED : 0) |
		       (dev->features & FEATURE_MASK(IN_ORDER) ? TRAIT_IN_ORDER : 0) |
		       (conf->log ? TRAIT_LOG : 0);
	conf->event_idx = dev->features & FEATURE_MASK(EVENT_IDX);
	conf->indirect = dev->features & FEATURE_MASK(INDIRECT_DESC);
	conf->enabled = vdev_queue_is_enabled(dev, idx);
	conf->control.waits = !conf->enabled && !queue->was_enabled;
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
	old->control.next = dev->trash;
	dev->trash = old;
}

/*
 * A front-end that sends base 0 for a packed ring names wrap counters 0. That is a real position, but some
 * front-ends (User-mode Linux) mean the start of a fresh ring, where both counters are 1. A ring that has
 * been through a lap has USED set in its first descriptor when its wrap counters are 0; a fresh one has not.
 */
static uint32_t
vdev_queue_base(const struct vdev *dev, const struct vdev_queue *queue, const struct virtq_conf *conf)
{
	if (!queue->has_base)
		return vdev_is_packed(dev) ? 0x80008000u : 0;
	if (vdev_is_packed(dev) && queue->base == 0 && dev->base_zero_is_fresh) {
		uint16_t flags = __atomic_load_n(&conf->ring[0].flags, __ATOMIC_RELAXED);

		if (!(le16toh(flags) & 1 << VRING_PACKED_DESC_F_USED))
			return 0x80008000u;
	}
	return queue->base;
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
	else if (found == VIRTQ_START_UNSURE)
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
				queue->size);
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
 * Bring one queue from what it is to what its configuration says. On failure the queue is stopped (when it
 * ran, its ring is no longer in memory) or stays stopped.
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
	if (ret < 0) {
		vdev_queue_unpublish(dev, idx);
		return ret;
	}
	if (!running) {
		/* The worker that saw the last conf of this queue may still be in its last burst. */
		vdev_collect(dev);
		ret = vdev_queue_start(dev, idx, conf, diag);
		if (ret < 0) {
			free(conf);
			return ret;
		}
	}
	vdev_conf_publish(dev, queue, conf);
	return 0;
}

/* After a change to one queue. */
static int
vdev_apply_one(struct vdev *dev, unsigned int idx, struct diag *diag)
{
	int ret = vdev_queue_apply(dev, idx, diag);

	vdev_collect(dev);
	dev->ops->queues_changed(dev);
	return ret;
}

/* After a change to what all queues depend on. The first failure is reported; the other queues go on. */
static int
vdev_apply_all(struct vdev *dev, struct diag *diag)
{
	int ret = 0;

	for (unsigned int i = 0; i < dev->n_queues; i++) {
		struct diag one;
		int err = vdev_queue_apply(dev, i, &one);

		if (err < 0 && ret == 0) {
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
	if (!dev->queues)
		return -ENOMEM;
	dev->name = name;
	dev->ops = ops;
	dev->type_dev = type_dev;
	dev->n_queues = n_queues;
	for (unsigned int i = 0; i < n_queues; i++) {
		struct vdev_queue *queue = &dev->queues[i];

		queue->kick_fd = queue->call_fd = queue->err_fd = -1;
		queue->vq = ops->queue(dev, i);
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
	for (unsigned int i = 0; i < dev->n_queues; i++)
		dev->queues[i].has_addr = dev->queues[i].has_kick = false;
}

void
vdev_reset(struct vdev *dev)
{
	vdev_stop_all(dev);
	for (unsigned int i = 0; i < dev->n_queues; i++) {
		dev->queues[i].enabled = dev->queues[i].was_enabled = false;
		dev->queues[i].has_base = false;
		dev->queues[i].base = 0;
	}
	dev->status = 0;
	dev->ops->reset(dev);
	dev->ops->queues_changed(dev);
}

void
vdev_disconnect(struct vdev *dev)
{
	vdev_reset(dev);
	for (unsigned int i = 0; i < dev->n_queues; i++) {
		struct vdev_queue *queue = &dev->queues[i];

		vdev_close_fd(&queue->kick_fd);
		vdev_close_fd(&queue->call_fd);
		vdev_close_fd(&queue->err_fd);
		queue->has_size = false;
		queue->log_used = false;
	}
	gmem_free(dev->mem);
	vdev_log_free(dev->log);
	dev->mem = NULL;
	dev->log = NULL;
	dev->features = 0;
	dev->has_features = false;
	dev->status_used = false;
	dev->base_zero_is_fresh = false;
}

void
vdev_fini(struct vdev *dev)
{
	if (!dev->queues)
		return;
	vdev_disconnect(dev);
	free(dev->queues);
	dev->queues = NULL;
}

/* --- the front-end's words --- */

uint64_t
vdev_features_offered(const struct vdev *dev)
{
	return dev->ops->features(dev) | FEATURE_MASK(PROTOCOL_FEATURES) | FEATURE_MASK(LOG_ALL);
}

static bool
vdev_any_running(const struct vdev *dev)
{
	for (unsigned int i = 0; i < dev->n_queues; i++)
		if (vdev_queue_is_running(dev, i))
			return true;
	return false;
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
 * it, and sends the features again when it only resumes; of another one, new features are a new driver.
 */
static void
vdev_driver_starts(struct vdev *dev)
{
	for (unsigned int i = 0; i < dev->n_queues; i++)
		dev->queues[i].vq = dev->ops->queue(dev, i);
	if (!dev->status_used)
		dev->ops->reset(dev);
}

int
vdev_set_features(struct vdev *dev, uint64_t features, struct diag *diag)
{
	uint64_t unknown = features & ~vdev_features_offered(dev);
	uint64_t changed = features ^ dev->features;

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
	if (!dev->status_used && changed != FEATURE_MASK(LOG_ALL) && !vdev_any_enabled(dev))
		vdev_stop_all(dev);
	/* Migration switches logging on and off while rings run; nothing else may change under them. */
	if (changed & ~FEATURE_MASK(LOG_ALL) && vdev_any_running(dev))
		return diag_set(diag, -EBUSY, "", "features changed by 0x%llx while queues run",
				(unsigned long long)changed);
	dev->features = features;
	dev->has_features = true;
	if (!vdev_any_running(dev))
		vdev_driver_starts(dev);
	return vdev_apply_all(dev, diag);
}

int
vdev_set_status(struct vdev *dev, uint64_t status, struct diag *diag)
{
	if (status > UINT8_MAX)
		return diag_set(diag, -EINVAL, "", "status 0x%llx has more than 8 bits",
				(unsigned long long)status);
	if (status == 0) {
		vdev_reset(dev);
		return 0;
	}
	/* The driver can't set or clear what only the device may. */
	dev->status =
		(uint8_t)((status & ~VDEV_STATUS_NEEDS_RESET) | (dev->status & VDEV_STATUS_NEEDS_RESET));
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

int
vdev_queue_set_size(struct vdev *dev, unsigned int idx, uint32_t size, struct diag *diag)
{
	struct vdev_queue *queue = &dev->queues[idx];
	bool power_of_two = size && !(size & (size - 1));
	int ret;

	if (queue->has_size && queue->size == size)
		return 0;
	ret = vdev_queue_check_stopped(dev, idx, "size", diag);
	if (ret < 0)
		return ret;
	if (size == 0 || size > VIRTQ_SIZE_MAX ||
	    (dev->has_features && !vdev_is_packed(dev) && !power_of_two))
		return diag_set(diag, -EINVAL, "", "queue %u: size %u (split: a power of two; at most %d)",
				idx, size, VIRTQ_SIZE_MAX);
	queue->size = size;
	queue->has_size = true;
	return vdev_apply_one(dev, idx, diag);
}

int
vdev_queue_set_base(struct vdev *dev, unsigned int idx, uint32_t base, struct diag *diag)
{
	struct vdev_queue *queue = &dev->queues[idx];
	int ret = vdev_queue_check_stopped(dev, idx, "base", diag);

	if (ret < 0)
		return ret;
	if (!virtq_base_valid(base, vdev_is_packed(dev),
			      queue->has_size ? (uint16_t)queue->size : VIRTQ_SIZE_MAX))
		return diag_set(diag, -EINVAL, "", "queue %u: base 0x%x is outside its ring of %u", idx, base,
				queue->size);
	queue->base = base;
	queue->has_base = true;
	return 0;
}

int
vdev_queue_set_addr(struct vdev *dev, unsigned int idx, const struct vdev_queue_addr *addr, struct diag *diag)
{
	struct vdev_queue *queue = &dev->queues[idx];
	bool same = queue->has_addr && queue->desc_uva == addr->desc && queue->avail_uva == addr->avail &&
		    queue->used_uva == addr->used;
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
	queue->desc_uva = addr->desc;
	queue->avail_uva = addr->avail;
	queue->used_uva = addr->used;
	queue->log_gpa = addr->log_gpa;
	queue->log_used = addr->log;
	queue->has_addr = true;
	ret = vdev_apply_one(dev, idx, diag);
	if (ret < 0)
		queue->has_addr = false;
	return ret;
}

enum vdev_fd_use { VDEV_FD_KICK, VDEV_FD_NOTIFY };

/* Kicks come through an eventfd; notifications go to an eventfd or, with User-mode Linux, a socket or a pipe.
 */
static int
vdev_fd_check(unsigned int idx, int fd, enum vdev_fd_use use, enum bell_kind *ret_kind, struct diag *diag)
{
	enum bell_kind kind = bell_kind_of(fd);

	if (fd < 0 || kind == BELL_EVENTFD || (use == VDEV_FD_NOTIFY && kind != BELL_NONE)) {
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
	bool had_kick = queue->has_kick;
	enum bell_kind kind = BELL_NONE;
	int ret, old;

	ret = vdev_fd_check(idx, fd, VDEV_FD_KICK, &kind, diag);
	if (ret < 0)
		return ret;
	old = queue->kick_fd;
	queue->kick_fd = fd;
	queue->has_kick = true;
	ret = vdev_apply_one(dev, idx, diag);
	if (ret < 0) {
		queue->kick_fd = old;
		queue->has_kick = had_kick;
		return ret;
	}
	if (old >= 0)
		close(old);
	return 0;
}

int
vdev_queue_set_call(struct vdev *dev, unsigned int idx, int fd, struct diag *diag)
{
	struct vdev_queue *queue = &dev->queues[idx];
	enum bell_kind kind = BELL_NONE;
	int ret = vdev_fd_check(idx, fd, VDEV_FD_NOTIFY, &kind, diag);
	int old = queue->call_fd;

	if (ret < 0)
		return ret;
	queue->call_fd = fd;
	queue->call_kind = kind;
	if (vdev_queue_is_running(dev, idx)) {
		ret = vdev_apply_one(dev, idx, diag);
		/* What the old descriptor was told may not have been heard. */
		if (ret == 0 && fd >= 0)
			bell_ring(fd, queue->call_kind);
	}
	/* After a failure the queue is stopped, so the old one has no user either way. */
	if (old >= 0)
		close(old);
	return 0;
}

int
vdev_queue_set_err(struct vdev *dev, unsigned int idx, int fd, struct diag *diag)
{
	struct vdev_queue *queue = &dev->queues[idx];
	enum bell_kind kind = BELL_NONE;
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
	bool old = queue->enabled;
	int ret;

	if (old == enable)
		return 0;
	queue->enabled = enable;
	queue->was_enabled |= enable;
	ret = vdev_apply_one(dev, idx, diag);
	if (ret < 0)
		queue->enabled = old;
	return ret;
}

uint32_t
vdev_queue_get_base(struct vdev *dev, unsigned int idx)
{
	struct vdev_queue *queue = &dev->queues[idx];

	vdev_queue_unpublish(dev, idx);
	vdev_collect(dev);
	queue->has_addr = queue->has_kick = false;
	vdev_close_fd(&queue->kick_fd);
	dev->ops->queues_changed(dev);
	return queue->base;
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
			bell_ring(queue->err_fd, queue->err_kind);
		dev->status |= VDEV_STATUS_NEEDS_RESET;
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
