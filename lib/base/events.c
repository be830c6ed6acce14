/* SPDX-License-Identifier: BSD-3-Clause */
/* events: contract in events.h. Number `seq` is at seq % EVENTS_MAX, where older ones were. */
#include "events.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ctx.h"

struct events {
	uint64_t last;
	struct event ring[EVENTS_MAX];
};

const char *const event_names[EVENT_KINDS] = {
#define EVENT(symbol, name, help) [EVENT_##symbol] = name,
#include "events.def"
#undef EVENT
};

const char *const event_help[EVENT_KINDS] = {
#define EVENT(symbol, name, help) [EVENT_##symbol] = help,
#include "events.def"
#undef EVENT
};

int
events_open(struct vnic_ctx *ctx)
{
	ctx->events = calloc(1, sizeof(*ctx->events));
	return ctx->events ? 0 : -ENOMEM;
}

void
events_close(struct vnic_ctx *ctx)
{
	free(ctx->events);
	ctx->events = NULL;
}

void
event_record(struct vnic_ctx *ctx, enum event_kind kind, const char *port, const char *fmt, ...)
{
	struct events *events = ctx->events;
	struct event event = {.kind = kind, .times = 1}, *last;
	struct timespec now;
	va_list args;

	if (!events)
		return;
	clock_gettime(CLOCK_REALTIME, &now);
	event.time_ms = (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
	snprintf(event.port, sizeof(event.port), "%s", port ? port : "");
	va_start(args, fmt);
	vsnprintf(event.text, sizeof(event.text), fmt, args);
	va_end(args);
	last = &events->ring[events->last % EVENTS_MAX];
	event.seq = ++events->last;
	if (last->times && last->kind == kind && strcmp(last->port, event.port) == 0 &&
	    strcmp(last->text, event.text) == 0) {
		event.times = last->times + 1;
		last->times = 0; /* it is not there any more */
	}
	events->ring[event.seq % EVENTS_MAX] = event;
}

const struct event *
events_after(const struct vnic_ctx *ctx, uint64_t seq)
{
	const struct events *events = ctx->events;
	const uint64_t last = events ? events->last : 0;

	if (last > EVENTS_MAX && seq < last - EVENTS_MAX)
		seq = last - EVENTS_MAX;
	while (seq < last) {
		const struct event *event = &events->ring[++seq % EVENTS_MAX];

		if (event->times)
			return event;
	}
	return NULL;
}

uint64_t
events_last(const struct vnic_ctx *ctx)
{
	return ctx->events ? ctx->events->last : 0;
}
