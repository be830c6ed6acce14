/* SPDX-License-Identifier: BSD-3-Clause */
#include "counters.h"

#include <assert.h>

#define ROW(name, unit, direction, shown, help) \
	{name, COUNTER_##unit, COUNTER_##direction, COUNTER_##shown, help},

static const struct counter port_rows[] = {
#define COUNTER_PORT(field, ...) ROW(__VA_ARGS__)
#include "counters.def"
};

static const struct counter drops_rows[] = {
#define DROP(symbol, name, direction, help) ROW(name, PACKETS, direction, WHEN_USED, help)
#include "drops.def"
#undef DROP
};

static const struct counter device_rows[] = {
#define COUNTER_DEVICE(field, ...) ROW(__VA_ARGS__)
#include "counters.def"
};

static const struct counter controlq_rows[] = {
#define COUNTER_CONTROLQ(field, ...) ROW(__VA_ARGS__)
#include "counters.def"
};

static const struct counter worker_rows[] = {
#define COUNTER_WORKER(field, ...) ROW(__VA_ARGS__)
#include "counters.def"
};

#define ROWS(rows) sizeof(rows) / sizeof((rows)[0]), rows

const struct counter_class_info counter_classes[COUNTERS_CLASSES] = {
	[COUNTERS_PORT] = {"port", "of each port, and of each of its queue pairs (stats.get)",
			   ROWS(port_rows)},
	[COUNTERS_DROPS] = {"drops",
			    "frames that a port lost, by reason, each under one; and of each of its queue "
			    "pairs (stats.get)",
			    ROWS(drops_rows)},
	[COUNTERS_DEVICE] = {"device", "what the device of a NIC port itself counts as lost (stats.get)",
			     ROWS(device_rows)},
	[COUNTERS_CONTROLQ] = {"controlq", "of a guest's control queue (guest.show)", ROWS(controlq_rows)},
	[COUNTERS_WORKER] = {"worker", "of each worker (system.info)", ROWS(worker_rows)},
};

const char *const counter_unit_name[COUNTER_UNITS] = {
	[COUNTER_PACKETS] = "packets",
	[COUNTER_BYTES] = "bytes",
	[COUNTER_COMMANDS] = "commands",
	[COUNTER_ITERATIONS] = "iterations",
	[COUNTER_BURSTS] = "bursts",
};

const char *const counter_direction_name[COUNTER_DIRECTIONS] = {
	[COUNTER_NONE] = "none", [COUNTER_RX] = "rx",       [COUNTER_FORWARD] = "forward",
	[COUNTER_TX] = "tx",     [COUNTER_RX_TX] = "rx+tx",
};
