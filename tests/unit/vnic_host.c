/* SPDX-License-Identifier: BSD-3-Clause */
#include "vnic_host.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "unit.h"

static void
host_log(void *arg, enum vnic_log_level level, const char *text)
{
	struct host *host = arg;

	/* Nobody else's. */
	if (strncmp(text, "port ", 5) == 0)
		assert_non_null(strstr(text, strrchr(host->path, '/') + 1));
	host->n_lines++;
}

static void
host_event(void *arg, struct vnic_dev *dev, const struct vnic_event *event)
{
	struct host *host = arg;

	assert_ptr_equal(dev, host->dev);
	if (host->n_events < HOST_EVENTS_MAX)
		host->events[host->n_events] = event->type;
	host->last = *event;
	host->n_events++;
}

static void *
host_control(void *arg)
{
	struct host *host = arg;

	while (!host->control_stops)
		assert_int_equal(vnic_ctx_run(host->ctx, 20), 0);
	return NULL;
}

static void *
host_echo(void *arg)
{
	struct host *host = arg;
	struct rte_mbuf *pkts[VNIC_BURST_MAX];

	while (!host->data_stops) {
		const uint16_t n = vnic_rx_burst(host->dev, 0, pkts, VNIC_BURST_MAX);

		vnic_tx_burst(host->dev, 0, pkts, n);
		if (n == 0)
			sched_yield();
	}
	return NULL;
}

struct vnic_dev_params
host_params(struct host *host, enum vnic_frames frames)
{
	return (struct vnic_dev_params){.size = sizeof(struct vnic_dev_params),
					.name = strrchr(host->path, '/') + 1,
					.path = host->path,
					.n_queues = 1,
					.pool = host->pool,
					.frames = frames,
					.event = host_event,
					.event_arg = host};
}

void
host_open(struct host *host, const char *dir, const char *name, struct rte_mempool *pool,
	  enum vnic_frames frames)
{
	const struct vnic_ctx_params ctx_params = {
		.size = sizeof(ctx_params), .log_level = VNIC_LOG_INFO, .log = host_log, .log_arg = host};
	struct vnic_dev_params params;
	struct vnic_error error;

	memset(host, 0, sizeof(*host));
	host->pool = pool;
	snprintf(host->path, sizeof(host->path), "%s/%s", dir, name);
	params = host_params(host, frames);
	assert_int_equal(vnic_ctx_new(&ctx_params, &host->ctx, &error), 0);
	assert_int_equal(vnic_dev_new(host->ctx, &params, &host->dev, &error), 0);
}

void
host_run(struct host *host)
{
	assert_int_equal(pthread_create(&host->control, NULL, host_control, host), 0);
	host->has_control = true;
}

void
host_forward(struct host *host)
{
	assert_int_equal(pthread_create(&host->data, NULL, host_echo, host), 0);
	host->has_data = true;
}

void
host_close(struct host *host)
{
	if (host->has_data) {
		host->data_stops = true;
		pthread_join(host->data, NULL);
	}
	vnic_dev_free(host->dev);
	if (host->has_control) {
		host->control_stops = true;
		pthread_join(host->control, NULL);
	}
	vnic_ctx_free(host->ctx);
	assert_int_not_equal(access(host->path, F_OK), 0);
}

uint64_t
host_now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}
