/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * uplink: the port whose link state a guest's link follows (uplink=), and whose RSS hashes the guest may use.
 *
 * An uplink is known by its name: the port may be added and removed while guests follow it; without the port
 * the link is down. Control thread, but for uplink_want_hash().
 */
#ifndef VNICD_UPLINK_H
#define VNICD_UPLINK_H

#include "port.h"

struct uplink;

/* A guest's port that follows an uplink. Stays at its address meanwhile. */
struct uplink_follower {
	struct uplink_follower *next;
	struct uplink *uplink;
	/* Called ten times a second, and when the uplink was added or is about to be removed: uplink_link()
	 * may have changed. */
	void (*look)(void *arg);
	void *arg;
	struct hash_params hash; /* requested; no types: none */
};

/* `look` is not called before this returns. 0 or -ENOMEM. */
int uplink_follow(struct uplink_follower *follower, const char *name, void (*look)(void *arg), void *arg);
/* Accepts one that does not follow. */
void uplink_unfollow(struct uplink_follower *follower);
const char *uplink_name(const struct uplink_follower *follower);
const struct port_link *uplink_link(const struct uplink_follower *follower);

/*
 * Set the hash that the follower could use. If it is the uplink's only follower, the port is asked to compute
 * that hash, and port->rx_hash is set some 0.1 s later. With the control lock, from any thread.
 */
void uplink_want_hash(struct uplink_follower *follower, const struct hash_params *hash);

/* By kinds that can be an uplink: at the end of open, and first in close. */
void uplink_port_opened(struct port *port);
void uplink_port_closing(struct port *port);
/* Its link may have changed: who follows it learns that now, and not with the next look. */
void uplink_port_changed(struct port *port);

#endif
