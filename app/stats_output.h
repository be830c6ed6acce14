/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * stats_output: the ports' counters as people and programs see them: a table or one JSON object a line on
 * standard output, and the same object for the control socket.
 */
#ifndef VNICD_STATS_OUTPUT_H
#define VNICD_STATS_OUTPUT_H

#include <jansson.h>

#include "diag.h"

struct loop;
struct port;

/*
 * {"time": seconds since the epoch, "ports": {NAME: counters}}; of all ports, or of one when `only` is not
 * NULL. A port with several queue pairs has "queues" among its counters: [counters of pair 0, 1, ...], whose
 * sums its own are. A port with a device has what that itself counts as lost in "device". NULL: no memory.
 */
json_t *stats_json(const struct port *only);
/* [{"class", "help", "counters": [{"name", "unit", "direction", "always": false: left out while 0,
 * "help"}]}]: what is known of every counter. NULL: no memory. */
json_t *stats_describe_json(void);

enum stats_format { STATS_TABLE, STATS_JSON };

/* Print each period_ms (0: only at the end). 0 or -errno with diag filled. */
int stats_output_open(struct loop *loop, enum stats_format format, unsigned long period_ms,
		      struct diag *diag);
/* The last output, after the workers have stopped and before the ports are closed. */
void stats_output_final(void);
void stats_output_close(void);

#endif
