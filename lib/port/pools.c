/* SPDX-License-Identifier: BSD-3-Clause */
#include "pools.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <rte_errno.h>

#include "ctx.h"

enum { POOLS_TRIES = 250, POOLS_NAP_NS = 20000 };

struct pools_entry {
	struct pools_entry *next;
	struct rte_mempool *pool;
	bool is_released;
	bool is_looked_at;     /* it looked full: */
	unsigned int n_common; /* with so many in no worker's cache, */
	uint64_t token;        /* since this (quiesce_start(&ctx->quiesce)) */
	char owner[PORT_NAME_SIZE];
};

/* Names of pools are the process's, as DPDK has them. */
static atomic_uint pools_serial;

struct rte_mempool *
pools_create(struct vnic_ctx *ctx, const char *owner, unsigned int n_mbufs, unsigned int cache,
	     uint16_t data_room, int socket_id)
{
	struct pools_entry *entry = calloc(1, sizeof(*entry));
	char name[RTE_MEMPOOL_NAMESIZE];

	if (!entry) {
		rte_errno = ENOMEM;
		return NULL;
	}
	snprintf(name, sizeof(name), "port_%u",
		 atomic_fetch_add_explicit(&pools_serial, 1, memory_order_relaxed));
	entry->pool = rte_pktmbuf_pool_create(name, n_mbufs, cache, 0, data_room, socket_id);
	if (!entry->pool) {
		free(entry);
		return NULL;
	}
	snprintf(entry->owner, sizeof(entry->owner), "%s", owner);
	entry->next = ctx->pools;
	ctx->pools = entry;
	return entry->pool;
}

/* Those that are in no worker's cache. */
static unsigned int
pools_count_common(const struct rte_mempool *pool)
{
	return rte_mempool_get_ops(pool->ops_index)->get_count(pool);
}

/* A worker that is away in a PMD may be moving buffers of any pool. */
static bool
pools_is_held(const void *arg, unsigned int worker)
{
	return true;
}

/*
 * All buffers are back. Buffers that a worker moves from its cache to the common ones are counted with both
 * for a moment, so one count may be too high. No more buffers are taken out: when the common ones are as many
 * as before a quiescent state, none was moved meanwhile, and the second count is exact. This does not wait
 * for that state; until it has passed, it returns false.
 */
static bool
pools_is_full(struct vnic_ctx *ctx, struct pools_entry *entry)
{
	if (!rte_mempool_full(entry->pool)) {
		entry->is_looked_at = false;
		return false;
	}
	if (!entry->is_looked_at || pools_count_common(entry->pool) != entry->n_common) {
		entry->n_common = pools_count_common(entry->pool);
		entry->token = quiesce_start(&ctx->quiesce);
		entry->is_looked_at = true;
	}
	return quiesce_passed(&ctx->quiesce, entry->token, pools_is_held, NULL) &&
	       rte_mempool_full(entry->pool) && pools_count_common(entry->pool) == entry->n_common;
}

/* The entry that *link names is gone afterwards. */
static void
pools_entry_free(struct pools_entry **link)
{
	struct pools_entry *entry = *link;

	*link = entry->next;
	rte_mempool_free(entry->pool);
	free(entry);
}

void
pools_release(struct vnic_ctx *ctx, struct rte_mempool *pool)
{
	const struct timespec nap = {.tv_nsec = POOLS_NAP_NS};
	struct pools_entry **link = &ctx->pools, *entry;

	if (!pool)
		return;
	while ((*link)->pool != pool)
		link = &(*link)->next;
	entry = *link;
	entry->is_released = true;
	/*
	 * Plans have just changed, so every worker becomes quiescent soon, and it is worth waiting a moment:
	 * memory for the next port may be short. A worker that is stuck in a PMD does not.
	 */
	for (unsigned int i = 0; !pools_is_full(ctx, entry) && entry->is_looked_at && i < POOLS_TRIES; i++)
		nanosleep(&nap, NULL);
	if (pools_is_full(ctx, entry))
		pools_entry_free(link);
	else
		log_debug(&ctx->log, "port %s: %u of its %u packet buffers are still under way elsewhere",
			  entry->owner, rte_mempool_in_use_count(pool), pool->size);
}

void
pools_reap(struct vnic_ctx *ctx)
{
	struct pools_entry **link = &ctx->pools;

	while (*link) {
		if (!(*link)->is_released || !pools_is_full(ctx, *link)) {
			link = &(*link)->next;
			continue;
		}
		log_debug(&ctx->log, "port %s: all of its packet buffers are back", (*link)->owner);
		pools_entry_free(link);
	}
}

void
pools_free(struct vnic_ctx *ctx)
{
	struct pools_entry **link = &ctx->pools;

	while (*link) {
		if (!(*link)->is_released) {
			link = &(*link)->next;
			continue;
		}
		if (!pools_is_full(ctx, *link))
			log_debug(&ctx->log, "port %s: %u of its packet buffers never came back",
				  (*link)->owner, rte_mempool_in_use_count((*link)->pool));
		pools_entry_free(link);
	}
}

bool
pools_waiting(const struct vnic_ctx *ctx, unsigned int i, struct pools_waiting_info *ret_info)
{
	for (const struct pools_entry *entry = ctx->pools; entry; entry = entry->next) {
		if (!entry->is_released || i-- > 0)
			continue;
		memcpy(ret_info->owner, entry->owner, sizeof(ret_info->owner));
		ret_info->size = entry->pool->size;
		ret_info->out = rte_mempool_in_use_count(entry->pool);
		return true;
	}
	return false;
}
