/* SPDX-License-Identifier: BSD-3-Clause */
#include "guest_record.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctx.h"
#include "port.h"
#include "record.h"
#include "vnet_dev.h"

/* Of the form of struct vnet_queue, as VNET_STATE_VERSION is of the state's. */
enum { GUEST_RINGS_VERSION = 1 };

static void
guest_state_changed(void *arg, const struct vnet_state *state)
{
	struct guest_record *record = arg;
	int ret = record->state ? record_write(record->state, state) : 0;

	if (ret < 0)
		log_limited(&record->ctx->log, &record->log_limit, LOG_LEVEL_WARN,
			    "port %s: its guest's settings can't be kept for the case of a crash: %s",
			    record->name, strerror(-ret));
}

static void
guest_record_path(const struct guest_record *record, const char *what, char path[PATH_MAX])
{
	snprintf(path, PATH_MAX, "%s/%s.%s", port_env.run_dir, record->name, what);
}

static void
guest_record_open_state(struct guest_record *record)
{
	char path[PATH_MAX];
	struct diag diag;

	guest_record_path(record, "state", path);
	if (record_open(path, VNET_STATE_VERSION, sizeof(record->found), &record->state, &record->found,
			&record->has_found, &diag) < 0)
		log_warn(&record->ctx->log, "port %s: its guest's settings will not outlive a crash: %s; %s",
			 record->name, diag.cause, diag.hint);
}

static void
guest_record_open_rings(struct guest_record *record, struct vnet_config *config)
{
	const size_t size = config->n_pairs * sizeof(struct vnet_queue);
	struct vnet_queue *left = aligned_alloc(RTE_CACHE_LINE_SIZE, size);
	bool is_found = false;
	char path[PATH_MAX];
	struct diag diag;
	void *memory;
	int ret;

	if (!left)
		return;
	guest_record_path(record, "rings", path);
	ret = record_map(path, GUEST_RINGS_VERSION, (uint32_t)size, &record->rings, &memory, left, &is_found,
			 &diag);
	if (ret == 0)
		config->queues = memory;
	else if (ret == -EOPNOTSUPP)
		log_debug(&record->ctx->log, "port %s: where its rings stand will not outlive a crash: %s",
			  record->name, diag.cause);
	else
		log_warn(&record->ctx->log, "port %s: where its rings stand will not outlive a crash: %s; %s",
			 record->name, diag.cause, diag.hint);
	if (is_found)
		record->left = left;
	else
		free(left);
}

void
guest_record_open(struct guest_record *record, struct vnic_ctx *ctx, struct vnet_config *config)
{
	record->name = config->name;
	record->ctx = ctx;
	/* A program without such a directory keeps nothing. */
	if (!port_env.run_dir)
		return;
	guest_record_open_state(record);
	guest_record_open_rings(record, config);
	config->state_changed = guest_state_changed;
	config->state_changed_arg = record;
}

void
guest_record_restore(struct guest_record *record, struct vnet_dev *dev)
{
	struct diag diag;

	if (record->has_found && vnet_state_put(dev, &record->found, &diag) < 0)
		log_warn(&record->ctx->log, "port %s: its guest's settings are lost: %s", record->name,
			 diag.cause);
	if (dev->awaited)
		log_info(&record->ctx->log,
			 "port %s: its guest was connected when vnicd was killed; what guests send waits "
			 "until it "
			 "is back, %d s at most",
			 record->name, VNET_STATE_WAIT_MS / 1000);
	if (record->left)
		vnet_state_put_queues(dev, record->left);
	free(record->left);
	record->left = NULL;
}

void
guest_record_close(struct guest_record *record)
{
	record_remove(record->state);
	record_remove(record->rings);
	free(record->left);
	memset(record, 0, sizeof(*record));
}
