/* SPDX-License-Identifier: BSD-3-Clause */
#include "uplink.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "ctx.h"
#include "list.h"
#include "loop.h"

enum { UPLINK_PERIOD_MS = 100 };

enum uplink_hash {
	UPLINK_HASH_OFF,       /* none is requested, or the port can't */
	UPLINK_HASH_NEW,       /* set, but older frames may still be under way */
	UPLINK_HASH_PUBLISHED, /* port->rx_hash points to uplink->hash */
};

/* One that is followed. */
struct uplink {
	struct uplink *next;
	struct uplink_follower *followers; /* never empty */
	struct port *port;                 /* NULL: not there */
	struct port_link link;             /* as last read */
	enum uplink_hash hash_state;
	struct hash_params hash; /* last requested; workers see it while it is published */
	char name[PORT_NAME_SIZE];
};

static const struct port_link uplink_down = {
	.speed = PORT_SPEED_UNKNOWN,
	.duplex = PORT_DUPLEX_UNKNOWN,
};

static struct uplink *uplinks;
static struct loop_timer *uplink_timer;

static struct uplink *
uplink_by_name(const char *name)
{
	for (struct uplink *uplink = uplinks; uplink; uplink = uplink->next)
		if (strcmp(uplink->name, name) == 0)
			return uplink;
	return NULL;
}

/* --- the hash --- */

static bool
uplink_hash_is_same(const struct hash_params *a, const struct hash_params *b)
{
	if (a->types != b->types)
		return false;
	return a->types == 0 ||
	       (a->key_len == b->key_len && memcmp(a->key, b->key, RTE_MIN(a->key_len, sizeof(a->key))) == 0);
}

/* On return no worker uses the port's hashes any more, and `hash` may be changed. */
static void
uplink_hash_unpublish(struct uplink *uplink)
{
	if (uplink->hash_state == UPLINK_HASH_PUBLISHED) {
		atomic_store_explicit(&uplink->port->rx_hash, NULL, memory_order_relaxed);
		quiesce_wait(&uplink->port->ctx->quiesce);
	}
	uplink->hash_state = UPLINK_HASH_OFF;
}

/* What the port should compute: the request of the only one who follows it. */
static struct hash_params
uplink_hash_request(const struct uplink *uplink)
{
	const struct uplink_follower *only = uplink->followers;

	return only->next ? (struct hash_params){0} : only->hash;
}

/* The request is set in one tick and published in the next, when older frames have been forwarded. */
static void
uplink_hash_update(struct uplink *uplink)
{
	const struct hash_params request = uplink_hash_request(uplink);
	int ret;

	if (!uplink->port || !uplink->port->kind->set_hash)
		return;
	if (uplink_hash_is_same(&request, &uplink->hash)) {
		if (uplink->hash_state != UPLINK_HASH_NEW)
			return;
		/* Release: pairs with the acquire of those who steer by it. */
		atomic_store_explicit(&uplink->port->rx_hash, &uplink->hash, memory_order_release);
		uplink->hash_state = UPLINK_HASH_PUBLISHED;
		return;
	}
	uplink_hash_unpublish(uplink);
	uplink->hash = request;
	ret = uplink->port->kind->set_hash(uplink->port, request.types ? &uplink->hash : NULL);
	if (request.types && ret == 0)
		uplink->hash_state = UPLINK_HASH_NEW;
	else if (request.types)
		log_debug(&uplink->port->ctx->log, "port %s: its guest's hashes are computed in software: %s",
			  uplink->port->name, strerror(-ret));
}

void
uplink_want_hash(struct uplink_follower *follower, const struct hash_params *hash)
{
	follower->hash = *hash;
}

/* --- the link --- */

static void
uplink_look(struct uplink *uplink)
{
	uplink->link = uplink_down;
	if (uplink->port)
		uplink->port->kind->link(uplink->port, &uplink->link);
	for (struct uplink_follower *follower = uplink->followers; follower; follower = follower->next)
		follower->look(follower->arg);
}

static void
uplink_tick(void *arg)
{
	for (struct uplink *uplink = uplinks; uplink; uplink = uplink->next) {
		uplink_look(uplink);
		uplink_hash_update(uplink);
	}
}

const char *
uplink_name(const struct uplink_follower *follower)
{
	return follower->uplink->name;
}

const struct port_link *
uplink_link(const struct uplink_follower *follower)
{
	return &follower->uplink->link;
}

/* --- who follows whom --- */

static struct uplink *
uplink_new(const char *name)
{
	struct uplink *uplink;

	if (!uplinks && port_env.ctx->loop) {
		uplink_timer = loop_timer_add(port_env.ctx->loop, UPLINK_PERIOD_MS, UPLINK_PERIOD_MS,
					      uplink_tick, NULL);
		if (!uplink_timer)
			return NULL;
	}
	uplink = calloc(1, sizeof(*uplink));
	if (!uplink)
		goto err;
	memcpy(uplink->name, name, RTE_MIN(strlen(name), sizeof(uplink->name) - 1));
	uplink->link = uplink_down;
	uplink->port = port_by_name(name);
	if (uplink->port && !uplink->port->kind->is_uplink)
		uplink->port = NULL;
	if (uplink->port)
		uplink->port->kind->link(uplink->port, &uplink->link);
	uplink->next = uplinks;
	uplinks = uplink;
	return uplink;

err:
	if (!uplinks) {
		loop_timer_remove(uplink_timer);
		uplink_timer = NULL;
	}
	return NULL;
}

static void
uplink_free(struct uplink *uplink)
{
	struct uplink **link = &uplinks;

	uplink_hash_unpublish(uplink);
	if (uplink->port && uplink->hash.types)
		uplink->port->kind->set_hash(uplink->port, NULL);
	while (*link != uplink)
		link = &(*link)->next;
	*link = uplink->next;
	free(uplink);
	if (!uplinks) {
		loop_timer_remove(uplink_timer);
		uplink_timer = NULL;
	}
}

int
uplink_follow(struct uplink_follower *follower, const char *name, void (*look)(void *arg), void *arg)
{
	struct uplink *uplink = uplink_by_name(name);

	if (!uplink)
		uplink = uplink_new(name);
	if (!uplink)
		return -ENOMEM;
	*follower = (struct uplink_follower){
		.next = uplink->followers,
		.uplink = uplink,
		.look = look,
		.arg = arg,
	};
	uplink->followers = follower;
	return 0;
}

void
uplink_unfollow(struct uplink_follower *follower)
{
	struct uplink *uplink = follower->uplink;
	struct uplink_follower **link;

	if (!uplink)
		return;
	link = &uplink->followers;
	while (*link != follower)
		link = &(*link)->next;
	*link = follower->next;
	follower->uplink = NULL;
	if (!uplink->followers)
		uplink_free(uplink);
}

void
uplink_port_opened(struct port *port)
{
	struct uplink *uplink = uplink_by_name(port->name);

	if (!uplink)
		return;
	uplink->port = port;
	uplink_look(uplink);
}

void
uplink_port_closing(struct port *port)
{
	struct uplink *uplink = uplink_by_name(port->name);

	if (!uplink || uplink->port != port)
		return;
	uplink_hash_unpublish(uplink);
	uplink->hash = (struct hash_params){0};
	uplink->port = NULL;
	uplink_look(uplink);
}

void
uplink_port_changed(struct port *port)
{
	struct uplink *uplink = uplink_by_name(port->name);

	if (uplink && uplink->port == port)
		uplink_look(uplink);
}
