/* SPDX-License-Identifier: BSD-3-Clause */
#include "stats_walk.h"

#include <assert.h>
#include <stddef.h>
#include <string.h>

#include "dataplane.h"
#include "port.h"

/* A struct of counters is the array of its values. */
static_assert(offsetof(struct port_stats, drops) + DROP_N * sizeof(uint64_t) == sizeof(struct port_stats),
	      "the class PORT, then the class DROPS");
static_assert(sizeof(struct port_device_stats) <= COUNTERS_MAX * sizeof(uint64_t), "no class has more rows");

static void
visit_port_stats(const struct port *port, int pair, const struct port_stats *stats, stats_visit_fn visit,
		 void *arg)
{
	struct stats_object object = {.class = COUNTERS_PORT, .port = port, .pair = pair};

	visit(arg, &object, (const uint64_t *)stats);
	object.class = COUNTERS_DROPS;
	visit(arg, &object, stats->drops);
}

static void
visit_kind(const struct port *port, stats_visit_fn visit, void *arg)
{
	static const enum counter_class classes[] = {COUNTERS_DEVICE, COUNTERS_CONTROLQ};
	uint64_t values[COUNTERS_MAX];

	if (!port->kind->counters)
		return;
	for (size_t i = 0; i < RTE_DIM(classes); i++) {
		struct stats_object object = {.class = classes[i], .port = port, .pair = STATS_WHOLE};

		if (port->kind->counters(port, classes[i], values))
			visit(arg, &object, values);
	}
}

void
stats_walk_port(const struct port *port, stats_visit_fn visit, void *arg)
{
	struct port_stats sum, stats;

	memset(&sum, 0, sizeof(sum));
	for (uint16_t i = 0; i < port->n_queues; i++) {
		port_pair_stats_read(port, i, &stats);
		port_stats_add(&sum, &stats);
		visit_port_stats(port, i, &stats, visit, arg);
	}
	visit_port_stats(port, STATS_WHOLE, &sum, visit, arg);
	visit_kind(port, visit, arg);
}

void
stats_walk(stats_visit_fn visit, void *arg)
{
	for (unsigned int i = 0; i < dataplane_n_ports(); i++)
		stats_walk_port(dataplane_port(i), visit, arg);
	for (unsigned int i = 0; i < dataplane_n_workers(); i++) {
		struct stats_object object = {.class = COUNTERS_WORKER, .pair = STATS_WHOLE, .worker = i};
		struct dataplane_worker_info info;

		dataplane_worker_info(i, &info);
		visit(arg, &object, (const uint64_t *)&info.stats);
	}
}
