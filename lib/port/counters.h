/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * counters: what is known of every counter: its name, unit, direction and meaning, from counters.def and
 * drops.def.
 *
 * A class is the counters of one kind of object. Their values travel as an array of 64-bit numbers, values[i]
 * being that of counter_classes[class].rows[i]. Whoever shows counters (JSON, tables, metrics) is a visitor
 * of that array, and has no list of its own: a row added is shown. app/stats_walk.h visits all objects.
 */
#ifndef VNICD_COUNTERS_H
#define VNICD_COUNTERS_H

#include <stdbool.h>
#include <stdint.h>

enum counter_unit {
	COUNTER_PACKETS,
	COUNTER_BYTES,
	COUNTER_COMMANDS,
	COUNTER_ITERATIONS,
	COUNTER_BURSTS,
	COUNTER_UNITS
};

/* Where a frame is when it is counted. */
enum counter_direction {
	COUNTER_NONE,    /* it is not of frames that go somewhere */
	COUNTER_RX,      /* from the port into vnicd */
	COUNTER_FORWARD, /* taken from the port, and on its way to another */
	COUNTER_TX,      /* towards the port */
	COUNTER_RX_TX,   /* one or the other */
	COUNTER_DIRECTIONS,
};

enum counter_shown { COUNTER_ALWAYS, COUNTER_WHEN_USED };

struct counter {
	const char *name;
	enum counter_unit unit;
	enum counter_direction direction;
	enum counter_shown shown;
	const char *help;
};

enum counter_class {
	COUNTERS_PORT,     /* of a queue pair, or of a port: their sum */
	COUNTERS_DROPS,    /* the same */
	COUNTERS_DEVICE,   /* of a port */
	COUNTERS_CONTROLQ, /* of a port */
	COUNTERS_WORKER,
	COUNTERS_CLASSES,
};

enum { COUNTERS_MAX = 64 }; /* rows of a class, at most */

extern const struct counter_class_info {
	const char *name;
	const char *help; /* whose they are, and where they are shown */
	unsigned int n;
	const struct counter *rows; /* [n] */
} counter_classes[COUNTERS_CLASSES];

extern const char *const counter_unit_name[COUNTER_UNITS];
extern const char *const counter_direction_name[COUNTER_DIRECTIONS];

/* It is to be shown, or left out because it is 0. */
static inline bool
counter_is_shown(const struct counter *counter, uint64_t value)
{
	return value || counter->shown == COUNTER_ALWAYS;
}

#endif
