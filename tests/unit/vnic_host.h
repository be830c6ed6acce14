/* SPDX-License-Identifier: BSD-3-Clause */
/* vnic_host: a program that uses vnic.h: a context with one device, a thread that runs it, and one that
 * echoes. */
#ifndef VNICD_TEST_VNIC_HOST_H
#define VNICD_TEST_VNIC_HOST_H

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "vnic.h"

enum { HOST_EVENTS_MAX = 64, HOST_WAIT_MS = 20000 };

struct host {
	char path[64];
	struct rte_mempool *pool;
	struct vnic_ctx *ctx;
	struct vnic_dev *dev;
	pthread_t control, data;
	atomic_bool control_stops, data_stops;
	bool has_control, has_data;
	/* Written by the control thread. */
	enum vnic_event_type events[HOST_EVENTS_MAX];
	struct vnic_event last;
	atomic_uint n_events;
	atomic_uint n_lines; /* in its log */
};

/* A context, and a device at a socket `name` in `dir`; no thread yet. */
void host_open(struct host *host, const char *dir, const char *name, struct rte_mempool *pool,
	       enum vnic_frames frames);
/* As they were made with; for another one. */
struct vnic_dev_params host_params(struct host *host, enum vnic_frames frames);
void host_run(struct host *host);
void host_forward(struct host *host);
/* In the order that vnic.h asks for, while the guest is still at it. */
void host_close(struct host *host);

uint64_t host_now_ms(void);

#define HOST_WAIT_FOR(condition)                                                            \
	do {                                                                                \
		const uint64_t end_ms_ = host_now_ms() + HOST_WAIT_MS;                      \
		while (!(condition)) {                                                      \
			if (host_now_ms() > end_ms_)                                        \
				fail_msg("%s: not within %d ms", #condition, HOST_WAIT_MS); \
			sched_yield();                                                      \
		}                                                                           \
	} while (0)

#endif
