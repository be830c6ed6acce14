/* SPDX-License-Identifier: BSD-3-Clause */
/* traffic.h: what one thread does with both guests' rings: fill, empty, count, time. */
#ifndef PERF_TRAFFIC_H
#define PERF_TRAFFIC_H

#include <stdbool.h>
#include <stdint.h>

#include "dirty_log.h"
#include "histogram.h"
#include "ring.h"
#include "seqcheck.h"

enum traffic_mode { TRAFFIC_SATURATED, TRAFFIC_PACED, TRAFFIC_LATENCY };

/* Which lines of a frame the guest writes before sending and reads after receiving. */
enum traffic_touch { TOUCH_NONE, TOUCH_ONE, TOUCH_ALL };

/* Counted since the start; what a period saw is a difference of two. */
struct flow_counters {
	uint64_t posted;    /* frames given to the back-end */
	uint64_t taken;     /* frames whose buffers the back-end returned */
	uint64_t delivered; /* frames the receiving guest got */
	uint64_t bytes;     /* in them, without headers */
	uint64_t unsent;    /* paced: due, but the ring was full */
	uint64_t lost;
	uint64_t duplicated;
	uint64_t reordered;
	uint64_t foreign;
	uint64_t malformed; /* HEADER_READ_TCP: delivered, but not what they must be */
	uint64_t unhashed;  /* HEADER_READ_HASH: delivered without the report of a UDP frame's hash */
};

/* What the receiving guest reads of each header. */
enum flow_header { HEADER_UNREAD, HEADER_READ, HEADER_READ_HASH, HEADER_READ_TCP };

/* Frames that came and wait to be received. */
struct flow_got {
	unsigned n;
	uint16_t slots[RING_BATCH_MAX + RING_SPARE];
	uint32_t lens[RING_BATCH_MAX + RING_SPARE];
};

/* Frames from one guest to the other, or to itself when there is but one. Without `to` they are only sent,
 * without `from` only received, from whomever. */
struct flow {
	const char *name; /* "a2b" */
	struct ring *from;
	struct ring *to;
	struct flow_counters counters;
	uint64_t word; /* of the next frame to send: tag and number */
	struct seqcheck check;
	uint32_t more; /* buffers that still belong to the frame being received */
	enum flow_header header;
	struct tcp_arrival tcp; /* HEADER_READ_TCP */
	struct flow_got got;
	uint64_t allowance; /* paced: frames due now */
};

struct traffic {
	enum traffic_mode mode;
	enum traffic_touch touch;
	uint32_t burst;
	bool packed; /* rings */
	double pps;  /* paced: per flow */
	double tsc_hz;
	struct flow flows[2];
	unsigned n_flows;
	struct ring *rings[4]; /* all of both guests */
	unsigned n_rings;
	struct dirty_log *logs[2];
	unsigned n_logs;

	uint64_t tsc_busy; /* in turns that moved something */
	uint64_t tsc_idle;
	uint64_t tsc_stalled; /* in turns so long that something else must have had our CPU */
	uint64_t
		tsc_dry; /* in turns that found nothing for so long that the back-end must have stood still */
	uint64_t n_iterations;
	uint64_t n_iterations_idle;
	uint64_t n_timeouts; /* latency: probes that did not arrive in time */
	struct histogram latency;
	uint64_t next_due;    /* paced: TSC */
	uint64_t harvest_due; /* logs: TSC */
};

/* Set by signal handlers: every loop ends soon. */
extern volatile bool traffic_stopped;

double traffic_tsc_calibrate(void);

/* Posts all receive buffers and starts to send; returns when every flow moves what it is measured by. Exits
 * with the cause if not. */
void traffic_await(struct traffic *traffic, unsigned wait_s);

/* From now on: paced at so many frames per second and flow, or, with 0, saturated. */
void traffic_pace(struct traffic *traffic, double pps);

/* The chosen mode for so long. */
void traffic_run(struct traffic *traffic, double seconds);

/* Sends no more and receives until all is quiet. Who is sent to by others posts no more buffers, and is quiet
 * when all are full. */
void traffic_drain(struct traffic *traffic);

/* Forgets times and latencies, not counters. */
void traffic_times_reset(struct traffic *traffic);

/* Looks at the logs once more. Returns the pages found since the start. */
uint64_t traffic_dirty_pages(struct traffic *traffic);

void flow_counters_get(const struct flow *flow, struct flow_counters *ret_counters);

/* What a flow is measured by: frames delivered, or, when nobody receives, frames taken. */
static inline uint64_t
flow_n_moved(const struct flow *flow, const struct flow_counters *counters)
{
	return flow->to ? counters->delivered : counters->taken;
}

static inline uint64_t
tsc_now(void)
{
	return __builtin_ia32_rdtsc();
}

#endif
