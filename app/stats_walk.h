/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * stats_walk: everything that has counters, visited: what JSON and the tables are made by, and what metrics
 * would be.
 *
 * A visitor gets whose counters they are and their values; what each of them is called and means is in
 * counter_classes[object->class].rows[] (counters.h). A format that wants all of one counter together asks
 * for one class at a time.
 */
#ifndef VNICD_STATS_WALK_H
#define VNICD_STATS_WALK_H

#include <stdint.h>

#include "counters.h"

struct port;

enum { STATS_WHOLE = -1 };

struct stats_object {
	enum counter_class class;
	const struct port *port; /* NULL: it is a worker */
	int pair; /* of the port, or STATS_WHOLE: the whole port, whose sums are those of its pairs */
	unsigned int worker;
};

/* values[counter_classes[object->class].n], valid during the call. */
typedef void (*stats_visit_fn)(void *arg, const struct stats_object *object, const uint64_t values[]);

/*
 * One port: of each pair PORT and DROPS; then of the port as a whole these two and what its kind counts. The
 * whole is the sum of the very values that were visited before, so that both agree while workers count on.
 * Control thread.
 */
void stats_walk_port(const struct port *port, stats_visit_fn visit, void *arg);
/* All ports, in the order they were added, and then all workers. */
void stats_walk(stats_visit_fn visit, void *arg);

#endif
