/* SPDX-License-Identifier: BSD-3-Clause */
#include "vdev_conf.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "inflight.h"
#include "quiesce.h"
#include "vdev.h"

enum { CONF_ALIGN = 64 }; /* no two confs in a cache line */

int
vdev_conf_init(struct vdev *dev)
{
	const size_t size = (dev->ops->conf_size + CONF_ALIGN - 1) & ~(size_t)(CONF_ALIGN - 1);

	dev->confs = aligned_alloc(CONF_ALIGN, dev->n_queues * VDEV_CONFS * size);
	if (!dev->confs)
		return -ENOMEM;
	for (unsigned int i = 0; i < dev->n_queues; i++)
		for (unsigned int k = 0; k < VDEV_CONFS; k++)
			dev->queues[i].room[k] =
				(void *)((uint8_t *)dev->confs + (i * VDEV_CONFS + k) * size);
	return 0;
}

void
vdev_conf_fini(struct vdev *dev)
{
	free(dev->confs);
	dev->confs = NULL;
}

static struct virtq_conf *
conf_published(const struct vdev_queue *queue)
{
	return (struct virtq_conf *)atomic_load_explicit(&queue->vq->conf, memory_order_relaxed);
}

/* --- the next conf of a queue --- */

/*
 * Translate the front-end address of a part of a ring, which has to lie in one region as a whole. Unaligned
 * rings (VIRTIO, "Virtqueues": 16, 2 and 4 bytes) are refused.
 */
static bool
conf_ring_part(const struct vdev *dev, uint64_t uva, uint64_t len, uint64_t align, void *ret_va,
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
conf_rings(const struct vdev *dev, const struct vdev_queue *queue, struct virtq_conf *conf)
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
	if (!conf_ring_part(dev, queue->said.desc_uva, desc_len, 16, &conf->desc, &conf->used_gpa) ||
	    !conf_ring_part(dev, queue->said.avail_uva, avail_len, avail_align, &conf->avail, &gpa) ||
	    !conf_ring_part(dev, queue->said.used_uva, used_len, used_align, &conf->used, &conf->event_gpa))
		return -EFAULT;
	/* For the dirty log. Packed: used elements are written to the descriptor ring. Split: the front-end
	 * may give another address to log for the used ring. */
	if (!vdev_is_packed(dev))
		conf->used_gpa = queue->said.log_used ? queue->said.log_gpa : conf->event_gpa;
	return 0;
}

static bool
conf_is_wanted(const struct vdev *dev, const struct vdev_queue *queue)
{
	return dev->said.has_features && dev->mem && queue->said.has_size && queue->said.has_addr &&
	       queue->said.has_kick && (!dev->said.status_used || dev->said.status & VDEV_STATUS_DRIVER_OK);
}

/* The beginning of a ring: packed: both wrap counters 1. */
uint32_t
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
conf_base(struct vdev *dev, unsigned int idx, const struct virtq_conf *conf)
{
	const struct vdev_queue *queue = &dev->queues[idx];
	uint32_t left;

	/* Who has served the ring before us knows, and the ring agrees: more than its front-end can say. */
	if (dev->ops->left && !queue->left_is_void && queue->said.base_is != VDEV_BASE_STOPPED &&
	    dev->ops->left(dev, idx, conf, &left) && virtq_could_stand(conf, left))
		return left;
	if (conf->inflight && queue->said.base_is != VDEV_BASE_STOPPED &&
	    virtq_inflight_base(conf->inflight, conf, &left) && virtq_could_stand(conf, left))
		return left;
	if (queue->said.base_is != VDEV_BASE_SET)
		return queue->said.base_is == VDEV_BASE_STOPPED ? queue->said.base : vdev_base_fresh(dev);
	if (vdev_is_packed(dev) && queue->said.base == 0 && dev->said.base_zero_is_fresh) {
		uint16_t flags = __atomic_load_n(&conf->ring[0].flags, __ATOMIC_RELAXED);

		if (!(le16toh(flags) & 1 << VRING_PACKED_DESC_F_USED))
			return vdev_base_fresh(dev);
	}
	return queue->said.base;
}

/* NULL: there is none, or the ring does not fit into it. */
static void *
conf_inflight(const struct vdev *dev, unsigned int idx)
{
	const struct vdev_inflight *inflight = &dev->inflight;

	/* The layout may have changed since the region was given. */
	if (!inflight->map || idx >= inflight->n_queues ||
	    dev->queues[idx].said.size > inflight->queue_size ||
	    vdev_inflight_bytes(dev, inflight->n_queues, inflight->queue_size) > inflight->map->size)
		return NULL;
	return inflight->map->va + vdev_inflight_bytes(dev, (uint16_t)idx, inflight->queue_size);
}

/* Build it in the one of the queue's two confs that is not published. */
static struct virtq_conf *
conf_build(const struct vdev *dev, const struct vdev_queue *queue)
{
	struct virtq_conf *conf = queue->room[queue->room[0] == conf_published(queue)];

	memset(conf, 0, dev->ops->conf_size);
	conf->size = (uint16_t)queue->said.size;
	conf->mask = (uint16_t)(queue->said.size - 1);
	conf->mem = dev->mem;
	gmem_cache_init(&conf->hot, dev->mem);
	conf->log = dev->said.features & FEATURE_MASK(LOG_ALL) ? dev->log : NULL;
	conf->traits = (vdev_is_packed(dev) ? TRAIT_PACKED : 0) |
		       (dev->said.features & FEATURE_MASK(IN_ORDER) ? TRAIT_IN_ORDER : 0) |
		       (conf->log ? TRAIT_LOG : 0);
	conf->inflight = conf_inflight(dev, (unsigned int)(queue - dev->queues));
	if (conf->inflight && vdev_is_packed(dev))
		conf->traits |= TRAIT_INFLIGHT;
	conf->event_idx = dev->said.features & FEATURE_MASK(EVENT_IDX);
	conf->indirect = dev->said.features & FEATURE_MASK(INDIRECT_DESC);
	conf->call_fd = queue->call_fd;
	conf->call_kind = queue->call_kind;
	return conf;
}

static int
conf_plan(struct vdev *dev, unsigned int idx, struct diag *diag)
{
	struct vdev_queue *queue = &dev->queues[idx];
	const uint32_t size = queue->said.size;
	struct virtq_conf *conf;
	uint32_t base;

	queue->conf = NULL;
	if (!conf_is_wanted(dev, queue))
		return 0;
	if (!vdev_is_packed(dev) && size & (size - 1))
		return diag_set(diag, -EINVAL, "", "queue %u: a split ring's size %u is not a power of two",
				idx, size);
	conf = conf_build(dev, queue);
	if (conf_rings(dev, queue, conf) < 0)
		return diag_set(diag, -EFAULT, "",
				"queue %u: its ring is not in the guest's memory as a whole, or not aligned",
				idx);
	if (conf_published(queue)) {
		conf->enabled = vdev_queue_is_enabled(dev, idx);
		queue->conf = conf;
		return 0;
	}
	base = conf_base(dev, idx, conf);
	if (!virtq_base_valid(base, vdev_is_packed(dev), (uint16_t)size))
		return diag_set(diag, -EINVAL, "", "queue %u: base 0x%x is outside its ring of %u", idx, base,
				size);
	conf->enabled = vdev_queue_is_enabled(dev, idx);
	queue->conf = conf;
	return 0;
}

void
vdev_conf_drop(struct vdev *dev)
{
	for (unsigned int i = 0; i < dev->n_queues; i++)
		dev->queues[i].conf = conf_published(&dev->queues[i]);
}

int
vdev_conf_plan(struct vdev *dev, unsigned int must_apply, struct diag *diag)
{
	int ret = 0;

	for (unsigned int i = 0; i < dev->n_queues; i++) {
		struct diag one;
		int err = conf_plan(dev, i, &one);

		if (err == 0 || ret < 0 || (must_apply != i && must_apply != VDEV_EVERY_QUEUE))
			continue;
		ret = err;
		*diag = one;
	}
	if (ret < 0 && must_apply != VDEV_EVERY_QUEUE)
		vdev_conf_drop(dev);
	return ret;
}

/* --- publishing it --- */

/* The base may contradict the ring: a front-end whose back-end was killed does not know the position. */
static void
conf_say_start(struct vdev *dev, unsigned int idx, const struct virtq_conf *conf, uint32_t base,
	       enum virtq_start found)
{
	uint32_t at = virtq_base(dev->queues[idx].vq, conf->traits & TRAIT_PACKED);

	if (found == VIRTQ_START_BY_RING)
		log_limited(&dev->ctx->log, &dev->log_limit, LOG_LEVEL_INFO,
			    "port %s: queue %u: starts at 0x%x, where its ring stands, not at base 0x%x",
			    dev->name, idx, at, base);
	else if (found == VIRTQ_START_AMBIGUOUS)
		log_limited(
			&dev->ctx->log, &dev->log_limit, LOG_LEVEL_WARN,
			"port %s: queue %u: its ring does not tell where it stands; starts at 0x%x on the "
			"front-end's word (base 0x%x); if no traffic passes, reset the guest's device",
			dev->name, idx, at, base);
}

static void
conf_start(struct vdev *dev, unsigned int idx)
{
	struct vdev_queue *queue = &dev->queues[idx];
	const uint32_t base = conf_base(dev, idx, queue->conf);
	const int found = virtq_start(queue->vq, queue->conf, base);

	assert(found >= 0 && "the base was checked when the start was planned");
	conf_say_start(dev, idx, queue->conf, base, (enum virtq_start)found);
	if (queue->conf->inflight)
		virtq_inflight_start(queue->conf->inflight, queue->vq, queue->conf, dev->said.features);
	queue->reported = FAULT_NONE;
	queue->left_is_void = true;
	virtq_want_kicks(queue->vq, queue->conf, VIRTQ_KICKS_UNWANTED);
}

void
vdev_conf_publish(struct vdev *dev)
{
	for (unsigned int i = 0; i < dev->n_queues; i++) {
		struct vdev_queue *queue = &dev->queues[i];
		struct virtq_conf *now = conf_published(queue);

		if (queue->conf && now && memcmp(queue->conf, now, dev->ops->conf_size) == 0)
			queue->conf = now;
		if (queue->conf == now)
			continue;
		/* The queue was stopped, and vdev_conf_collect() has waited: no worker is in a burst of it.
		 */
		if (!now)
			conf_start(dev, i);
		/* Release: pairs with the worker's acquire in virtq_conf(). */
		atomic_store_explicit(&queue->vq->conf, queue->conf, memory_order_release);
		queue->replaced = now;
	}
}

bool
vdev_conf_is_due(const struct vdev *dev)
{
	for (unsigned int i = 0; i < dev->n_queues; i++)
		if (dev->queues[i].replaced)
			return true;
	return false;
}

/* The queue has stopped, and no worker is in a burst of it. */
static void
conf_stopped(struct vdev_queue *queue)
{
	const struct virtq_conf *conf = queue->replaced;

	queue->said.base = virtq_base(queue->vq, conf->traits & TRAIT_PACKED);
	queue->said.base_is = VDEV_BASE_STOPPED;
	/* No worker serves it any more, so a notification that is still due is sent here. */
	virtq_notify_confirm(queue->vq, conf);
	/* The next back-end of this ring may need kicks. */
	virtq_want_kicks(queue->vq, conf, VIRTQ_KICKS_WANTED);
}

void
vdev_conf_collect(struct vdev *dev)
{
	if (!vdev_conf_is_due(dev))
		return;
	quiesce_wait_held(&dev->ctx->quiesce, vdev_is_held_by, dev);
	for (unsigned int i = 0; i < dev->n_queues; i++) {
		struct vdev_queue *queue = &dev->queues[i];

		if (queue->replaced && !queue->conf)
			conf_stopped(queue);
		queue->replaced = NULL;
	}
}
