/* SPDX-License-Identifier: BSD-3-Clause */
/* vnic_ctx: contexts of vnic.h: the lock, the loop in steps, the log, and waiting for data functions. */
#include <errno.h>
#include <linux/membarrier.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <rte_pause.h>

#include "borrow.h"
#include "gmem_sigbus.h"
#include "loop.h"
#include "request.h"
#include "simd.h"
#include "vnic_private.h"

enum { SECTION_SPINS = 1000 }; /* before the waiting thread lets others run: they may need this very CPU */

static_assert((int)VNIC_LOG_ERROR == (int)LOG_LEVEL_ERROR && (int)VNIC_LOG_DEBUG == (int)LOG_LEVEL_DEBUG,
	      "the same levels");

unsigned int
vnic_api_version(void)
{
	return VNIC_API_VERSION;
}

/* --- the lock --- */

void
home_lock(struct vnic_home *home)
{
	control_lock(&home->ctx.control);
}

/* The loop may be waiting without a timer that was set meanwhile: loop_arm(). */
void
home_unlock(struct vnic_home *home)
{
	loop_arm(home->ctx.loop);
	control_unlock(&home->ctx.control);
}

int
error_set(struct vnic_error *error, const struct diag *diag, int err)
{
	if (error) {
		snprintf(error->cause, sizeof(error->cause), "%s", diag->cause);
		snprintf(error->hint, sizeof(error->hint), "%.*s", (int)sizeof(error->hint) - 1, diag->hint);
	}
	return err;
}

/* --- waiting for data functions --- */

static void
section_wait(const struct vnic_section *section)
{
	/* Acquire: pairs with the release of section_leave(). */
	const uint32_t n = atomic_load_explicit(&section->n, memory_order_acquire);
	unsigned int spins = 0;

	if (n % 2 == 0)
		return;
	while (atomic_load_explicit(&section->n, memory_order_acquire) == n) {
		if (++spins < SECTION_SPINS)
			rte_pause();
		else
			sched_yield();
	}
}

/*
 * On return every data function that was under way has ended, and each that begins later sees what was
 * published before: the barrier is executed between our stores and our reads of the sections, and in each
 * other thread between its last store and its next load.
 */
static void
section_wait_all(void *arg)
{
	const struct vnic_home *home = arg;

	if (home->fences)
		atomic_thread_fence(memory_order_seq_cst);
	else
		syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0);
	for (const struct vnic_dev *dev = home->devices; dev; dev = dev->next)
		for (uint16_t i = 0; i < dev->port.n_queues; i++) {
			section_wait(&dev->rx[i]);
			section_wait(&dev->tx[i]);
		}
}

/* Data functions are short, so quiesce_passed() waits for them. */
static bool
section_all_passed(void *arg, uint64_t token)
{
	section_wait_all(arg);
	return true;
}

/* --- life --- */

static void
home_log(void *arg, enum log_level level, const char *text)
{
	const struct vnic_home *home = arg;

	home->log(home->log_arg, (enum vnic_log_level)level, text);
}

static int
home_open(struct vnic_home *home, struct diag *diag)
{
	int ret = ctx_open(&home->ctx);

	if (ret < 0)
		return diag_set(diag, ret, "", "event loop: %s", strerror(-ret));
	ret = loop_fd(home->ctx.loop);
	if (ret < 0)
		return diag_set(diag, ret, "", "event loop: its timer: %s", strerror(-ret));
	ret = gmem_sigbus_install(&home->ctx);
	if (ret < 0)
		return diag_set(diag, ret, "", "SIGBUS guard: %s", strerror(-ret));
	home->fences = syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) != 0;
	simd_limit();
	if (request_init() < 0)
		home->foreign_flags |= FRAME_UFO;
	if (borrow_init() < 0) {
		home->foreign_flags |= BORROW_FLAG | BORROW_PIECES_FLAG;
		log_info(&home->ctx.log,
			 "frames are never borrowed: bit %d or %d of ol_flags is somebody else's",
			 BORROW_FLAG_BIT, BORROW_PIECES_FLAG_BIT);
	}
	quiesce_set(&home->ctx.quiesce, section_wait_all, NULL, section_all_passed, home);
	return 0;
}

/* Called with the lock, which does not exist any more on return. */
static void
home_close(struct vnic_home *home)
{
	while (home->devices)
		device_close(home->devices);
	gmem_sigbus_uninstall(&home->ctx);
	ctx_close(&home->ctx);
	free(home);
}

int
vnic_ctx_new(const struct vnic_ctx_params *params, struct vnic_ctx **ret_ctx, struct vnic_error *error)
{
	struct vnic_home *home;
	struct diag diag = {{0}, {0}};
	int ret;

	if (params->size != sizeof(*params)) {
		diag_set(&diag, -EINVAL, "set it to sizeof(struct vnic_ctx_params)", "context: size is %zu",
			 params->size);
		return error_set(error, &diag, -EINVAL);
	}
	home = aligned_alloc(RTE_CACHE_LINE_SIZE, RTE_ALIGN_CEIL(sizeof(*home), (size_t)RTE_CACHE_LINE_SIZE));
	if (!home) {
		diag_no_memory(&diag, "context: out of memory");
		return error_set(error, &diag, -ENOMEM);
	}
	memset(home, 0, sizeof(*home));
	home->memory_max = params->memory_max ? params->memory_max : GMEM_BYTES_MAX;
	home->ctx.log.level = (enum log_level)params->log_level;
	if (params->log_prefix) {
		snprintf(home->log_prefix, sizeof(home->log_prefix), "%s", params->log_prefix);
		home->ctx.log.prefix = home->log_prefix;
	}
	if (params->log) {
		home->log = params->log;
		home->log_arg = params->log_arg;
		home->ctx.log.write = home_log;
		home->ctx.log.write_arg = home;
	}
	ret = home_open(home, &diag);
	if (ret < 0) {
		home_close(home);
		return error_set(error, &diag, ret);
	}
	home_unlock(home);
	*ret_ctx = &home->ctx;
	return 0;
}

void
vnic_ctx_free(struct vnic_ctx *ctx)
{
	if (!ctx)
		return;
	home_lock(home_of(ctx));
	home_close(home_of(ctx));
}

/* --- the loop --- */

int
vnic_ctx_fd(struct vnic_ctx *ctx)
{
	return loop_fd(ctx->loop);
}

/* Report one event, without the lock: the callee may call any function. False: there is none. */
static bool
home_report(struct vnic_home *home)
{
	void (*report)(void *arg, struct vnic_dev *dev, const struct vnic_event *event);
	struct vnic_event event;
	struct vnic_dev *dev;
	void *arg;

	for (dev = home->devices; dev; dev = dev->next)
		if (dev->event && device_news(dev, &event))
			break;
	if (!dev)
		return false;
	/* The device may be freed in its own event; another thread that frees it waits (vnic_dev_free()). */
	report = dev->event;
	arg = dev->event_arg;
	home->reporting = dev;
	home_unlock(home);
	report(arg, dev, &event);
	home_lock(home);
	home->reporting = NULL;
	return true;
}

int
vnic_ctx_run(struct vnic_ctx *ctx, int timeout_ms)
{
	struct vnic_home *home = home_of(ctx);
	int ret;

	home_lock(home);
	if (home->running) {
		home_unlock(home);
		return -EBUSY;
	}
	home->running = true;
	home->runner = pthread_self();
	loop_arm(ctx->loop);
	ret = loop_run_once(ctx->loop, timeout_ms);
	while (home_report(home)) {
	}
	home->running = false;
	home_unlock(home);
	return ret;
}
