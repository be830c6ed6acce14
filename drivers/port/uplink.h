/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * uplink: the port whose link a guest's follows (uplink=), and whose hashes it may use.
 *
 * An uplink is known by its name: the port may come and go while guests follow it; without the port the link
 * is down. Ports of a kind that can be an uplink say when they come and go. Control thread, but for
 * uplink_want_hash().
 */
#ifndef VNICD_UPLINK_H
#define VNICD_UPLINK_H

#include "port.h"

struct uplink;

/* One who follows; its owner keeps it where it is while it follows. */
struct uplink_follower {
	struct uplink_follower *next;
	struct uplink *uplink;
	/* Called ten times a second, and when the port has come or is about to go: uplink_link() may differ.
	 */
	void (*look)(void *arg);
	void *arg;
	struct hash_params hash; /* requested; no types: none */
};

/* `look` is not called before this returns. 0 or -ENOMEM. */
int uplink_follow(struct uplink_follower *follower, const char *name, void (*look)(void *arg), void *arg);
/* Also of one who does not follow. */
void uplink_unfollow(struct uplink_follower *follower);
const char *uplink_name(const struct uplink_follower *follower);
const struct port_link *uplink_link(const struct uplink_follower *follower);

/*
 * The hash that would be of use to the follower. When it is the only one, the port is asked to compute it,
 * and port->rx_hash says so some 0.1 s later. With the control lock, from any thread.
 */
void uplink_want_hash(struct uplink_follower *follower, const struct hash_params *hash);

/* By kinds that can be an uplink: at the end of open, and first in close. */
void uplink_port_opened(struct port *port);
void uplink_port_closing(struct port *port);

#endif
