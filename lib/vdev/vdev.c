/* SPDX-License-Identifier: BSD-3-Clause */
#include "vdev.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "counter.h"
#include "events.h"
#include "inflight.h"
#include "quiesce.h"
#include "vdev_conf.h"
#include "vdev_watch.h"

const char *
vdev_feature_name(uint64_t feature)
{
	static const char *const names[64] = {
#define FEATURE(bit, symbol, name) [bit] = name,
#include "features.def"
#undef FEATURE
	};

	return feature ? names[__builtin_ctzll(feature)] : NULL;
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

bool
vdev_is_packed(const struct vdev *dev)
{
	return dev->said.features & FEATURE_MASK(RING_PACKED);
}

bool
vdev_queue_is_enabled(const struct vdev *dev, unsigned int idx)
{
	/* vhost-user, "Ring states": without the protocol features bit rings start enabled. */
	return dev->queues[idx].said.enabled || !(dev->said.features & FEATURE_MASK(PROTOCOL_FEATURES));
}

bool
vdev_queue_never_enabled(const struct vdev *dev, unsigned int idx)
{
	return !vdev_queue_is_enabled(dev, idx) && !dev->queues[idx].said.was_enabled;
}

bool
vdev_is_held_by(const void *arg, unsigned int worker)
{
	const struct vdev *dev = arg;

	return dev->ops->is_held(dev, worker);
}

static int
vdev_reconcile(struct vdev *dev, unsigned int must_apply, struct diag *diag)
{
	return dev->ops->reconcile(dev, must_apply, diag);
}

/* For changes that can't be refused. It can't fail: it needs no memory, and no queue must apply it. */
static void
vdev_reconcile_all(struct vdev *dev)
{
	struct diag diag;
	int ret = vdev_reconcile(dev, VDEV_NO_QUEUE, &diag);

	assert(ret == 0 && "what a front-end says takes no memory");
	(void)ret;
}

/* --- life --- */

int
vdev_init(struct vdev *dev, struct vnic_ctx *ctx, const char *name, const struct vdev_ops *ops,
	  void *type_dev, unsigned int n_queues)
{
	memset(dev, 0, sizeof(*dev));
	dev->ctx = ctx;
	dev->name = name;
	dev->ops = ops;
	dev->type_dev = type_dev;
	dev->n_queues = n_queues;
	dev->queues = calloc(n_queues, sizeof(dev->queues[0]));
	if (!dev->queues || vdev_watch_start(dev) < 0 || vdev_conf_init(dev) < 0) {
		vdev_watch_stop(dev);
		free(dev->queues);
		dev->queues = NULL;
		return -ENOMEM;
	}
	for (unsigned int i = 0; i < n_queues; i++) {
		struct vdev_queue *queue = &dev->queues[i];

		queue->kick_fd = queue->call_fd = queue->err_fd = -1;
		queue->vq = ops->queue(dev, i);
	}
	ops->reset(dev);
	return 0;
}

/* Forget the rings of all queues. Queues stop with the next reconcile; after that, vdev_rings_close(). */
static void
vdev_rings_forget(struct vdev *dev)
{
	for (unsigned int i = 0; i < dev->n_queues; i++)
		dev->queues[i].said.has_addr = dev->queues[i].said.has_kick = false;
}

static void
vdev_rings_close(struct vdev *dev)
{
	for (unsigned int i = 0; i < dev->n_queues; i++)
		vdev_close_fd(&dev->queues[i].kick_fd);
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
	vdev_rings_forget(dev);
	vdev_disable_all(dev);
	vdev_reconcile_all(dev);
	vdev_rings_close(dev);
}

enum vdev_positions { VDEV_POSITIONS_REPORTED, VDEV_POSITIONS_FORGOTTEN };

/* The connection may end without the driver. */
enum vdev_ends { VDEV_ENDS_BY_RESET, VDEV_ENDS_BY_DISCONNECT };

/* A reset: what is kept of the driver is in `said`. */
static void
vdev_driver_ends(struct vdev *dev, enum vdev_positions positions, enum vdev_ends cause)
{
	vdev_rings_forget(dev);
	vdev_disable_all(dev);
	dev->said.status = 0;
	dev->ops->ended(dev);
	dev->ops->reset(dev);
	vdev_reconcile_all(dev);
	vdev_rings_close(dev);
	for (unsigned int i = 0; i < dev->n_queues; i++) {
		struct vdev_queue *queue = &dev->queues[i];

		queue->left_is_void |= cause == VDEV_ENDS_BY_RESET;
		if (positions == VDEV_POSITIONS_FORGOTTEN)
			queue->said.base_is = VDEV_BASE_NONE;
		else if (queue->said.base_is != VDEV_BASE_NONE)
			queue->said.base_is = VDEV_BASE_LEFT;
	}
}

void
vdev_reset(struct vdev *dev)
{
	vdev_driver_ends(dev, VDEV_POSITIONS_FORGOTTEN, VDEV_ENDS_BY_RESET);
}

void
vdev_disconnect(struct vdev *dev)
{
	dev->said = (struct vdev_input){0};
	vdev_driver_ends(dev, VDEV_POSITIONS_FORGOTTEN, VDEV_ENDS_BY_DISCONNECT);
	for (unsigned int i = 0; i < dev->n_queues; i++) {
		struct vdev_queue *queue = &dev->queues[i];

		vdev_close_fd(&queue->call_fd);
		vdev_close_fd(&queue->err_fd);
		queue->said.has_size = false;
		queue->said.log_used = false;
	}
	gmem_free(dev->mem);
	vdev_log_free(dev->log);
	gmem_map_unref(dev->inflight.map);
	dev->inflight = (struct vdev_inflight){0};
	dev->mem = NULL;
	dev->log = NULL;
	dev->config_channel = false;
	dev->n_disconnects++;
	vdev_change_end(dev);
}

void
vdev_fini(struct vdev *dev)
{
	if (!dev->queues)
		return;
	vdev_disconnect(dev);
	vdev_watch_stop(dev);
	vdev_conf_fini(dev);
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
		if (quiesce_where(&dev->ctx->quiesce, worker) && dev->ops->is_held(dev, worker))
			return true;
	return false;
}

bool
vdev_change_begin(struct vdev *dev)
{
	const struct timespec nap = {.tv_nsec = VDEV_CHANGE_NAP_NS};
	unsigned int tries = dev->changing ? 1 : VDEV_CHANGE_TRIES;

	if (!dev->changing) {
		/* No worker has borrowed frames, and without a running queue none borrows any. */
		if (!vdev_any_running(dev) && !vdev_is_held(dev))
			return true;
		/* Also when none has any: a worker may borrow some now, and go away with them. */
		dev->changing = true;
		dev->ops->borrow(dev, VDEV_BORROW_NOTHING);
		dev->change_token = quiesce_start(&dev->ctx->quiesce);
	}
	/* Most calls of a PMD return within microseconds. */
	for (;;) {
		if (quiesce_passed(&dev->ctx->quiesce, dev->change_token, vdev_is_held_by, dev))
			return true;
		if (--tries == 0)
			break;
		nanosleep(&nap, NULL);
	}
	/* A worker that is not away becomes quiescent as soon as it gets a CPU: that can be waited for. */
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

/* --- messages to the device --- */

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
 * New features may come from a new driver, and they decide which virtq belongs to which virtqueue. A
 * front-end with PROTOCOL_F_STATUS announces a new driver by status 0; it also sends the features when it
 * resumes, and with several queue pairs once for each, after the bases of those before. With any other
 * front-end, SET_FEATURES means a new driver.
 */
static void
vdev_driver_starts(struct vdev *dev, uint64_t changed)
{
	const bool resumes = dev->said.status_used && !(changed & ~FEATURE_MASK(LOG_ALL));

	for (unsigned int i = 0; i < dev->n_queues; i++) {
		struct vdev_queue *queue = &dev->queues[i];

		queue->vq = dev->ops->queue(dev, i);
		/* SET_VRING_BASE may come before SET_FEATURES; its base is void if the ring layout changes.
		 */
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
	 * User-mode Linux tells the end of its driver only so: it disables all queues, and sends features for
	 * the next driver. The old driver's rings are not there any more.
	 */
	if (!dev->said.status_used && changed != FEATURE_MASK(LOG_ALL) && !vdev_any_enabled(dev)) {
		vdev_rings_forget(dev);
		vdev_reconcile_all(dev);
		vdev_rings_close(dev);
	}
	/* Migration switches logging on and off while rings run; nothing else may change under them. */
	if (changed & ~FEATURE_MASK(LOG_ALL) && vdev_any_running(dev))
		return diag_set(diag, -EBUSY, "", "features changed by 0x%llx while queues run",
				(unsigned long long)changed);
	dev->said.features = features;
	dev->said.has_features = true;
	event_record(dev->ctx, EVENT_FEATURES, dev->name, "driver has agreed on features 0x%llx, %s rings",
		     (unsigned long long)features, vdev_is_packed(dev) ? "packed" : "split");
	if (!vdev_any_running(dev))
		vdev_driver_starts(dev, changed);
	return vdev_reconcile(dev, VDEV_EVERY_QUEUE, diag);
}

int
vdev_set_status(struct vdev *dev, uint64_t status, struct diag *diag)
{
	if (status > UINT8_MAX)
		return diag_set(diag, -EINVAL, "", "status 0x%llx has more than 8 bits",
				(unsigned long long)status);
	if (status == 0) {
		vdev_driver_ends(dev, VDEV_POSITIONS_REPORTED, VDEV_ENDS_BY_RESET);
		return 0;
	}
	/* The driver can't set or clear what only the device may. */
	dev->said.status =
		(uint8_t)((status & ~VDEV_STATUS_NEEDS_RESET) | (dev->said.status & VDEV_STATUS_NEEDS_RESET));
	return vdev_reconcile(dev, VDEV_EVERY_QUEUE, diag);
}

int
vdev_set_mem(struct vdev *dev, struct gmem *mem, struct diag *diag)
{
	struct gmem *old = dev->mem;
	int ret;

	dev->mem = mem;
	ret = vdev_reconcile(dev, VDEV_EVERY_QUEUE, diag);
	/* No conf refers to the old table any more, and no worker sees one that does. */
	gmem_free(old);
	/* A queue whose ring is not in the new table has stopped; the message itself is accepted. */
	if (ret < 0) {
		event_record(dev->ctx, EVENT_FAULT, dev->name, "%s; the queue stops", diag->cause);
		log_limited(&dev->ctx->log, &dev->log_limit, LOG_LEVEL_WARN, "port %s: %s; the queue stops",
			    dev->name, diag->cause);
	}
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
	ret = vdev_reconcile(dev, VDEV_EVERY_QUEUE, diag);
	vdev_log_free(old);
	return ret;
}

uint64_t
vdev_inflight_bytes(const struct vdev *dev, uint16_t n_queues, uint16_t queue_size)
{
	return n_queues * virtq_inflight_stride(queue_size, vdev_is_packed(dev));
}

int
vdev_set_inflight(struct vdev *dev, const struct vdev_inflight *inflight, struct diag *diag)
{
	if (vdev_any_running(dev)) {
		gmem_map_unref(inflight->map);
		return diag_set(diag, -EBUSY, "", "another inflight region while queues run");
	}
	/* No queue runs, so no conf refers to the old one. */
	gmem_map_unref(dev->inflight.map);
	dev->inflight = *inflight;
	return 0;
}

/* What defines a ring can't change while it runs. */
static int
vdev_queue_check_stopped(const struct vdev *dev, unsigned int idx, const char *what, struct diag *diag)
{
	if (vdev_queue_is_running(dev, idx))
		return diag_set(diag, -EBUSY, "", "queue %u: %s changed while it runs", idx, what);
	return 0;
}

/* The queue gets another ring: the position at which the last one stopped does not apply to it. */
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
	ret = vdev_reconcile(dev, idx, diag);
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
	ret = vdev_reconcile(dev, idx, diag);
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
	ret = vdev_reconcile(dev, idx, diag);
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
		ret = vdev_reconcile(dev, idx, diag);
		if (ret < 0) {
			*queue = old;
			return ret;
		}
		/* A signal to the old descriptor may not have been noticed. */
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
	ret = vdev_reconcile(dev, idx, diag);
	if (ret < 0)
		*queue = old;
	return ret;
}

uint32_t
vdev_queue_get_base(struct vdev *dev, unsigned int idx)
{
	struct vdev_queue *queue = &dev->queues[idx];

	queue->said.has_addr = queue->said.has_kick = false;
	vdev_reconcile_all(dev);
	vdev_close_fd(&queue->kick_fd);
	return queue->said.base_is == VDEV_BASE_NONE ? vdev_base_fresh(dev) : queue->said.base;
}

uint64_t
vdev_queue_kicks(const struct vdev *dev, unsigned int idx)
{
	struct vdev_queue *queue = &dev->queues[idx];
	uint64_t count = 0;
	struct iovec iov = {.iov_base = &count, .iov_len = sizeof(count)};

	/* The front-end can clear O_NONBLOCK of the file that it shares with us; RWF_NOWAIT is per call. */
	if (queue->kick_fd >= 0 && preadv2(queue->kick_fd, &iov, 1, -1, RWF_NOWAIT) == sizeof(count))
		queue->n_kicks += dev->said.features & FEATURE_MASK(NOTIFICATION_DATA) ? 1 : count;
	return queue->n_kicks;
}

bool
vdev_queue_is_running(const struct vdev *dev, unsigned int idx)
{
	return dev->queues[idx].conf;
}

bool
vdev_queue_is_broken(const struct vdev *dev, unsigned int idx)
{
	const struct virtq *vq = dev->queues[idx].vq;

	/* The fault of a queue that is stopped does not count: the next start clears it. */
	return virtq_conf(vq) && virtq_is_broken(vq);
}

bool
vdev_queue_is_active(const struct vdev *dev, unsigned int idx)
{
	const struct virtq_conf *conf = dev->queues[idx].conf;

	return conf && conf->enabled && !vdev_queue_is_broken(dev, idx);
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
		event_record(dev->ctx, EVENT_FAULT, dev->name, "queue %u is broken by its driver: %s", i,
			     virtq_fault_help[fault]);
		log_limited(&dev->ctx->log, &dev->log_limit, LOG_LEVEL_WARN,
			    "port %s: queue %u is broken by its driver and stops: %s", dev->name, i,
			    virtq_fault_help[fault]);
		/* Fails when it is full: then the front-end has a signal that it has not read. */
		if (queue->err_fd >= 0)
			notifier_signal(queue->err_fd, queue->err_kind);
		dev->said.status |= VDEV_STATUS_NEEDS_RESET;
	}
	counter_add(&dev->n_faults, n);
	if (n) {
		vdev_reconcile_all(dev);
		if (dev->config_changed)
			dev->config_changed(dev->config_changed_arg);
	}
	return n;
}

bool
vdev_memory_is_lost(const struct vdev *dev)
{
	return gmem_is_lost(dev->mem) || (dev->log && gmem_map_is_lost(dev->log->map)) ||
	       (dev->inflight.map && gmem_map_is_lost(dev->inflight.map));
}
