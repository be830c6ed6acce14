/* SPDX-License-Identifier: BSD-3-Clause */
#include "controlq.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <rte_cycles.h>

#include "ctx.h"
#include "list.h"
#include "loop.h"
#include "reconcile.h"
#include "ring.h"
#include "vnet_dev.h"

enum {
	CONTROLQ_HEAD = 2,     /* class and command */
	CONTROLQ_POLL_MS = 1,  /* where the driver gives no kick descriptor */
	CONTROLQ_RETRY_MS = 5, /* while a worker keeps the device from changing (vdev_change_begin()) */
};

static struct controlq_command *controlq_commands;

/* Of a context. Control lock. One block of memory, which ctx_close() frees. */
struct controlqs {
	struct controlq *running;
	enum controlq_mode mode;
	void (*wake)(void);
	/* The command under way, one at a time. */
	uint8_t data[CONTROLQ_HEAD + CONTROLQ_DATA_MAX];
	uint8_t result[CONTROLQ_RESULT_MAX];
};

void
controlq_command_register(struct controlq_command *command)
{
	list_append(controlq_commands, command);
}

/* 0 or -ENOMEM. */
static int
controlqs_make(struct vnic_ctx *ctx)
{
	if (!ctx->controlqs)
		ctx->controlqs = calloc(1, sizeof(*ctx->controlqs));
	return ctx->controlqs ? 0 : -ENOMEM;
}

int
controlq_set_mode(struct vnic_ctx *ctx, enum controlq_mode mode, void (*wake)(void))
{
	if (controlqs_make(ctx) < 0)
		return -ENOMEM;
	ctx->controlqs->mode = mode;
	ctx->controlqs->wake = wake;
	return 0;
}

static const struct controlq_command *
controlq_command(uint8_t class, uint8_t number)
{
	const struct controlq_command *command;

	list_for_each(command, controlq_commands) {
		if (command->class == class && command->command == number)
			return command;
	}
	return NULL;
}

/* --- one command --- */

static void
controlq_read(const struct virtq_chain *chain, uint8_t *to)
{
	for (uint16_t i = 0; i < chain->n_readable; i++) {
		memcpy(to, chain->segs[i].va, chain->segs[i].len);
		to += chain->segs[i].len;
	}
}

/* Writes len bytes at `offset` of the chain's writable part. */
static void
controlq_write(const struct virtq_conf *conf, const struct virtq_chain *chain, uint32_t offset,
	       const uint8_t *from, uint32_t len)
{
	for (uint16_t i = chain->n_readable; i < chain->n_segs && len; i++) {
		const struct virtq_seg *seg = &chain->segs[i];
		uint32_t now;

		if (offset >= seg->len) {
			offset -= seg->len;
			continue;
		}
		now = RTE_MIN(len, seg->len - offset);
		memcpy(seg->va + offset, from, now);
		if (conf->log) {
			gmem_log_fence();
			gmem_log_mark(conf->log, seg->gpa + offset, now);
		}
		from += now;
		len -= now;
		offset = 0;
	}
}

/* 0: in effect. */
static int
controlq_run(struct vnet_dev *dev, const struct controlq_command *command, struct controlq_request *request)
{
	int ret;

	if (!command)
		return -ENOSYS;
	if (command->features & ~dev->vdev.said.features)
		return -EOPNOTSUPP;
	request->settings = &dev->draft.settings;
	ret = command->run(dev, request);
	if (ret < 0) {
		vnet_draft_drop(dev);
		return ret;
	}
	return vnet_apply(dev);
}

/* Carry out the chain's command and write its answer; returns the number of bytes written. */
static uint32_t
controlq_answer(struct controlq *controlq, const struct virtq_chain *chain)
{
	struct controlqs *all = controlq->dev->ctx->controlqs;
	const struct virtq_conf *conf;
	const struct controlq_command *command = NULL;
	struct controlq_request request = {
		.data = all->data + CONTROLQ_HEAD,
		.result = all->result,
		.result_room = RTE_MIN(chain->writable_len - 1, (uint32_t)CONTROLQ_RESULT_MAX),
	};
	struct vnet_dev *dev = controlq->dev;
	uint8_t ack = CONTROLQ_ACK_OK;
	int ret = -EINVAL;

	if (chain->readable_len >= CONTROLQ_HEAD && chain->readable_len <= sizeof(all->data)) {
		controlq_read(chain, all->data);
		request.len = chain->readable_len - CONTROLQ_HEAD;
		command = controlq_command(all->data[0], all->data[1]);
		ret = controlq_run(dev, command, &request);
	}
	if (ret < 0) {
		ack = CONTROLQ_ACK_ERR;
		request.result_len = 0;
		controlq->stats.err++;
		log_limited(&dev->ctx->log, &controlq->log_limit, LOG_LEVEL_DEBUG,
			    "port %s: control command %s: %s", dev->vdev.name, command ? command->name : "?",
			    strerror(-ret));
	} else {
		controlq->stats.ok++;
	}
	/* The command may have published new confs, this queue's too: the old one is freed by now. */
	conf = virtq_conf(&controlq->vq);
	if (!conf)
		return 0;
	controlq_write(conf, chain, 1, all->result, request.result_len);
	controlq_write(conf, chain, 0, &ack, 1);
	return 1 + request.result_len;
}

/* True: a chain was returned to the driver. */
static bool
controlq_serve_one(struct controlq *controlq)
{
	struct virtq *vq = &controlq->vq;
	const struct virtq_conf *conf = virtq_conf(vq);
	struct virtq_chain chain;
	struct virtq_cursor at;
	struct virtq_elem elem;
	uint32_t written = 0;

	if (!conf || virtq_is_broken(vq) || !conf->enabled)
		return false;
	at = vq->avail;
	if (virtq_fetch(vq, conf, &at, &elem, 1, conf->traits) == 0)
		return false;
	/* The command stays in the ring until the device can be changed. */
	controlq->late = !vdev_change_begin(&controlq->dev->vdev);
	if (controlq->late)
		return false;
	switch (virtq_walk(vq, conf, &elem, &chain)) {
	case VIRTQ_WALK_OK:
		if (chain.writable_len)
			written = controlq_answer(controlq, &chain);
		else
			controlq->stats.unanswered++;
		break;
	case VIRTQ_WALK_BAD:
	case VIRTQ_WALK_LONG:
		controlq->stats.unanswered++;
		break;
	case VIRTQ_WALK_BROKEN:
		return false;
	}
	conf = virtq_conf(vq);
	if (!conf)
		return false;
	virtq_retire(vq, conf, &elem, written, conf->traits);
	/* Before the driver sees the answer: what it takes for done must outlive us. */
	vnet_state_look(controlq->dev);
	virtq_publish(vq, conf, conf->traits);
	virtq_notify_confirm(vq, conf);
	return true;
}

unsigned int
controlq_serve(struct controlq *controlq)
{
	const uint64_t start = rte_rdtsc(), most = rte_get_tsc_hz() / 1000000 * CONTROLQ_QUOTA_US;
	unsigned int n = 0;

	if (controlq->serving)
		return 0;
	controlq->late = false;
	controlq->serving = true;
	do {
		controlq->more = controlq_serve_one(controlq);
		n += controlq->more;
	} while (controlq->more && n < CONTROLQ_QUOTA_MAX && rte_rdtsc() - start <= most);
	controlq->serving = false;
	/* A command that is late is tried again, and vdev_change_begin() with it. */
	if (!controlq->late)
		vdev_change_end(&controlq->dev->vdev);
	return n;
}

unsigned int
controlq_serve_all(struct vnic_ctx *ctx)
{
	struct controlq *controlq, *next;
	unsigned int n = 0;

	for (controlq = ctx->controlqs ? ctx->controlqs->running : NULL; controlq; controlq = next) {
		next = controlq->next;
		n += controlq_serve(controlq);
	}
	return n;
}

/*
 * --- by kick ---
 *
 * The front-end holds the same eventfd as we do, and may read it, fill it, or make it block. So it is neither
 * read nor written here: each kick is an edge of epoll, and what exceeded the quota is served by a timer.
 */

/* Serve; on return either the queue is empty, and the driver kicks for its next command, or the timer is set.
 */
static void
controlq_kicked(struct controlq *controlq)
{
	controlq_serve(controlq);
	if (!controlq->more && !controlq->late) {
		const struct virtq_conf *conf = virtq_conf(&controlq->vq);

		if (!conf)
			return;
		virtq_want_kicks(&controlq->vq, conf, VIRTQ_KICKS_WANTED);
		/* Pairs with the driver's fence between making a command available and looking whether to
		 * kick. */
		atomic_thread_fence(memory_order_seq_cst);
		if (controlq_serve(controlq) == 0 && !controlq->late)
			return;
	}
	/* There may be more; everybody else in the loop comes first. */
	if (controlq->timer)
		loop_timer_set(controlq->timer, controlq->late ? CONTROLQ_RETRY_MS : 0);
}

static void
controlq_on_kick(void *arg, uint32_t events)
{
	struct controlq *controlq = arg;
	const struct controlqs *all = controlq->dev->ctx->controlqs;

	if (all->wake)
		all->wake();
	controlq_kicked(controlq);
}

static void
controlq_on_timer(void *arg)
{
	struct controlq *controlq = arg;

	if (controlq->watch) {
		controlq_kicked(controlq);
		return;
	}
	controlq_serve(controlq);
	loop_timer_set(controlq->timer, CONTROLQ_POLL_MS);
}

static void
controlq_watch_stop(struct controlq *controlq)
{
	loop_watch_remove(controlq->watch);
	if (controlq->timer)
		loop_timer_stop(controlq->timer);
	if (controlq->kick_fd >= 0)
		close(controlq->kick_fd);
	controlq->watch = NULL;
	controlq->kick_fd = controlq->watched_fd = -1;
}

static void
controlq_watch_start(struct controlq *controlq, int kick_fd)
{
	struct vnet_dev *dev = controlq->dev;

	if (!dev->ctx->loop || dev->ctx->controlqs->mode == CONTROLQ_POLLED)
		return;
	controlq->watched_fd = kick_fd;
	if (kick_fd >= 0) {
		/* The device may close its descriptor at any time; a watch needs one that stays open. */
		controlq->kick_fd = dup(kick_fd);
		if (controlq->kick_fd >= 0)
			controlq->watch = loop_watch_add(dev->ctx->loop, controlq->kick_fd, EPOLLIN | EPOLLET,
							 controlq_on_kick, controlq);
	}
	/*
	 * The first commands are served from the loop too, for our caller is still publishing the queue. The
	 * timer also serves a queue whose kicks can't be watched.
	 */
	loop_timer_set(controlq->timer, controlq->watch ? 0 : CONTROLQ_POLL_MS);
}

/* --- life --- */

static void
controlq_unlist(struct controlq *controlq)
{
	struct controlq **link = &controlq->dev->ctx->controlqs->running;

	while (*link && *link != controlq)
		link = &(*link)->next;
	if (*link)
		*link = controlq->next;
	controlq->listed = false;
}

int
controlq_init(struct controlq *controlq, struct vnet_dev *dev)
{
	memset(controlq, 0, sizeof(*controlq));
	controlq->dev = dev;
	controlq->kick_fd = controlq->watched_fd = -1;
	if (controlqs_make(dev->ctx) < 0)
		return -ENOMEM;
	if (!dev->ctx->loop)
		return 0;
	controlq->timer = loop_timer_add(dev->ctx->loop, 0, 0, controlq_on_timer, controlq);
	if (!controlq->timer)
		return -ENOMEM;
	loop_timer_stop(controlq->timer);
	return 0;
}

static void
controlq_stop(struct controlq *controlq)
{
	controlq_watch_stop(controlq);
	if (controlq->listed)
		controlq_unlist(controlq);
}

void
controlq_fini(struct controlq *controlq)
{
	controlq_stop(controlq);
	loop_timer_remove(controlq->timer);
	controlq->timer = NULL;
}

void
controlq_follow(struct controlq *controlq)
{
	int idx = vnet_controlq_idx(controlq->dev);
	bool running = idx >= 0 && virtq_conf(&controlq->vq);
	int kick_fd = running ? controlq->dev->vdev.queues[idx].kick_fd : -1;

	if (!running) {
		controlq_stop(controlq);
		return;
	}
	if (controlq->listed && kick_fd == controlq->watched_fd)
		return;
	controlq_watch_stop(controlq);
	if (!controlq->listed) {
		controlq->next = controlq->dev->ctx->controlqs->running;
		controlq->dev->ctx->controlqs->running = controlq;
		controlq->listed = true;
	}
	controlq_watch_start(controlq, kick_fd);
}
