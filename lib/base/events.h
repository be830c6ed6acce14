/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * events: what has happened lately, of which kind and to which port: the last EVENTS_MAX of it, for who asks.
 *
 * Control lock, all of it. A context without events_open() keeps none: recording does nothing then. The same
 * thing again (kind, port and text) is one event with a count, so that a guest that does it a thousand times
 * leaves room for others.
 */
#ifndef VNICD_EVENTS_H
#define VNICD_EVENTS_H

#include <stdint.h>

enum event_kind {
#define EVENT(symbol, ...) EVENT_##symbol,
#include "events.def"
#undef EVENT
	EVENT_KINDS,
};

enum {
	EVENTS_MAX = 1024,
	EVENT_TEXT_MAX = 240, /* bytes; what is longer is cut */
	EVENT_PORT_MAX = 64,
};

struct event {
	uint64_t seq;     /* 1, 2, ..; another one each time that it is counted again */
	uint64_t time_ms; /* since 1970, the last time */
	enum event_kind kind;
	uint32_t times;
	char port[EVENT_PORT_MAX]; /* "": of none */
	char text[EVENT_TEXT_MAX];
};

struct events;
struct vnic_ctx;

extern const char *const event_names[EVENT_KINDS], *const event_help[EVENT_KINDS];

/* 0 or -ENOMEM. */
int events_open(struct vnic_ctx *ctx);
/* Also without events_open(). */
void events_close(struct vnic_ctx *ctx);

/* `port` may be NULL. */
void event_record(struct vnic_ctx *ctx, enum event_kind kind, const char *port, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

/* The first event after `seq` (0: of all) that is still there; NULL: there is none. Valid until the next is
 * recorded. */
const struct event *events_after(const struct vnic_ctx *ctx, uint64_t seq);
/* The number of the last one; 0: there was none. */
uint64_t events_last(const struct vnic_ctx *ctx);

#endif
