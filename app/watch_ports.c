/* SPDX-License-Identifier: BSD-3-Clause */
#include "watch_ports.h"

#include <errno.h>
#include <string.h>

#include "ctx.h"
#include "dataplane.h"
#include "events.h"
#include "fdb.h"
#include "fwd_config.h"
#include "fwd.h"
#include "loop.h"
#include "port.h"

enum { WATCH_PORTS_MS = 250 };

enum watch_link { LINK_UNSEEN, LINK_DOWN, LINK_UP };

static struct {
	struct loop_timer *timer;
	struct watched {
		const struct port *port; /* NULL: none has this id */
		enum watch_link link;
		bool is_full;
	} ports[PORT_MAX]; /* by id */
} watch;

static void
look_at_link(const struct port *port, struct watched *was)
{
	struct port_link link;
	enum watch_link is;

	if (!port->kind->link)
		return;
	port->kind->link(port, &link);
	is = link.up ? LINK_UP : LINK_DOWN;
	/* That it is up to begin with is no news. */
	if (is != was->link && (was->link != LINK_UNSEEN || is == LINK_DOWN))
		event_record(port->ctx, EVENT_LINK, port->name, link.up ? "link is up" : "link is down");
	was->link = is;
}

static void
look_at_stations(const struct port *port, struct watched *was)
{
	const struct fdb *fdb = dataplane_mode_state();
	const bool is_full = strcmp(dataplane_fwd()->mode->name, "switch") == 0 &&
			     fdb_port_state(fdb, port) & FDB_PORT_FULL;

	if (is_full && !was->is_full)
		event_record(port->ctx, EVENT_LIMIT, port->name,
			     "it has as many stations as it may have (learn-limit=)");
	was->is_full = is_full;
}

static void
watch_look(void *arg)
{
	for (unsigned int i = 0; i < PORT_MAX; i++) {
		const struct port *port = port_by_id(i);
		struct watched *was = &watch.ports[i];

		if (was->port != port)
			*was = (struct watched){.port = port};
		if (!port)
			continue;
		look_at_link(port, was);
		look_at_stations(port, was);
	}
}

int
watch_ports_open(void)
{
	watch.timer = loop_timer_add(dataplane_ctx()->loop, WATCH_PORTS_MS, WATCH_PORTS_MS, watch_look, NULL);
	return watch.timer ? 0 : -ENOMEM;
}

void
watch_ports_close(void)
{
	loop_timer_remove(watch.timer);
	memset(&watch, 0, sizeof(watch));
}
