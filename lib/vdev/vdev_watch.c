/* SPDX-License-Identifier: BSD-3-Clause */
#include "vdev_watch.h"

#include <errno.h>
#include <stdlib.h>

#include "ctx.h"
#include "gmem_sigbus.h"
#include "loop.h"
#include "vdev.h"

/* Of a context; exists while it has devices. */
struct vdev_watch {
	struct vdev *devices;
	struct loop_timer *timer; /* NULL: the context has no loop */
	unsigned int faults_seen;
};

/* The fault counter is the process's: when it has changed, look for a broken queue of this context. */
static void
watch_faults(struct vdev_watch *watch)
{
	unsigned int total = virtq_faults_total();

	if (total == watch->faults_seen)
		return;
	watch->faults_seen = total;
	for (struct vdev *dev = watch->devices; dev; dev = dev->next)
		vdev_check_faults(dev);
}

static void
watch_poll(void *arg)
{
	struct vdev_watch *watch = arg;

	watch_faults(watch);
	for (struct vdev *dev = watch->devices; dev; dev = dev->next)
		if (dev->ops->poll_slow)
			dev->ops->poll_slow(dev);
}

static void
watch_memory_lost(void *arg)
{
	const struct vdev_watch *watch = arg;

	for (struct vdev *dev = watch->devices; dev; dev = dev->next)
		if (vdev_memory_is_lost(dev) && dev->drop)
			dev->drop(dev->drop_arg, "its memory file was truncated");
}

static struct vdev_watch *
watch_open(struct vnic_ctx *ctx)
{
	struct vdev_watch *watch = calloc(1, sizeof(*watch));

	if (!watch)
		return NULL;
	if (ctx->loop) {
		watch->timer = loop_timer_add(ctx->loop, VDEV_WATCH_MS, VDEV_WATCH_MS, watch_poll, watch);
		if (!watch->timer) {
			free(watch);
			return NULL;
		}
	}
	gmem_sigbus_listen(ctx, watch_memory_lost, watch);
	return watch;
}

int
vdev_watch_start(struct vdev *dev)
{
	struct vnic_ctx *ctx = dev->ctx;

	if (!ctx->vdev_watch)
		ctx->vdev_watch = watch_open(ctx);
	if (!ctx->vdev_watch)
		return -ENOMEM;
	dev->next = ctx->vdev_watch->devices;
	ctx->vdev_watch->devices = dev;
	dev->watched = true;
	return 0;
}

void
vdev_watch_stop(struct vdev *dev)
{
	struct vdev_watch *watch;
	struct vdev **link;

	if (!dev->watched)
		return;
	dev->watched = false;
	watch = dev->ctx->vdev_watch;
	link = &watch->devices;
	while (*link != dev)
		link = &(*link)->next;
	*link = dev->next;
	if (watch->devices)
		return;
	gmem_sigbus_listen(dev->ctx, NULL, NULL);
	loop_timer_remove(watch->timer);
	free(watch);
	dev->ctx->vdev_watch = NULL;
}
