/* SPDX-License-Identifier: BSD-3-Clause */
#include "stats_output.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "dataplane.h"
#include "loop.h"
#include "output.h"
#include "port.h"
#include "stats_walk.h"

/* Doubles in JSON: microseconds of the time of day fit. */
enum { STATS_JSON_DIGITS = 16 };

/* The counters of the last table, for rates; by port id. */
struct stats_last {
	const struct port *port;       /* NULL: none yet */
	uint64_t values[COUNTERS_MAX]; /* of COUNTERS_PORT */
};

static struct {
	enum stats_format format;
	struct loop_timer *timer;
	struct stats_last *last; /* [PORT_MAX]; NULL with STATS_JSON */
	uint64_t start_ms, last_ms;
	unsigned int n_tables;
	uint64_t n_dropped; /* periods not shown that were told of */
} out;

/* --- JSON --- */

/* What there is to say of one class. */
static void
put_counters(json_t *into, enum counter_class class, const uint64_t values[])
{
	const struct counter_class_info *info = &counter_classes[class];

	for (unsigned int i = 0; i < info->n; i++)
		if (counter_is_shown(&info->rows[i], values[i]))
			json_object_set_new(into, info->rows[i].name, json_integer((json_int_t)values[i]));
}

/* A port on its way to JSON. */
struct port_tree {
	json_t *whole;
	json_t *pairs; /* [of each pair] */
};

/* The port's own counters, and those of its pairs, are together; those of another class have a name. */
static void
port_tree_visit(void *arg, const struct stats_object *object, const uint64_t values[])
{
	struct port_tree *tree = arg;
	json_t *into = tree->whole, *group;

	if (object->pair != STATS_WHOLE) {
		if (object->class == COUNTERS_PORT)
			json_array_append_new(tree->pairs, json_object());
		into = json_array_get(tree->pairs, (size_t)object->pair);
	}
	switch (object->class) {
	case COUNTERS_PORT:
		put_counters(into, object->class, values);
		break;
	case COUNTERS_DROPS:
	case COUNTERS_DEVICE:
		group = json_object();
		put_counters(group, object->class, values);
		json_object_set_new(into, counter_classes[object->class].name, group);
		break;
	default: /* guest.show and system.info have it */
		break;
	}
}

static json_t *
port_json(const struct port *port)
{
	struct port_tree tree = {.whole = json_object(), .pairs = json_array()};

	stats_walk_port(port, port_tree_visit, &tree);
	/* With one pair it would say everything twice. */
	if (port->n_queues > 1)
		json_object_set(tree.whole, "queues", tree.pairs);
	json_decref(tree.pairs);
	return tree.whole;
}

json_t *
stats_json(const struct port *only)
{
	json_t *ports = json_object();
	struct timespec now;

	for (unsigned int i = 0; i < dataplane_n_ports(); i++) {
		const struct port *port = dataplane_port(i);

		if (!only || port == only)
			json_object_set_new(ports, port->name, port_json(port));
	}
	clock_gettime(CLOCK_REALTIME, &now);
	/* Cut to microseconds, so that it prints short. */
	return json_pack("{s:f, s:o}", "time", (double)now.tv_sec + (double)(now.tv_nsec / 1000) / 1e6,
			 "ports", ports);
}

static json_t *
counter_json(const struct counter *counter)
{
	return json_pack("{s:s, s:s, s:s, s:b, s:s}", "name", counter->name, "unit",
			 counter_unit_name[counter->unit], "direction",
			 counter_direction_name[counter->direction], "always",
			 (int)(counter->shown == COUNTER_ALWAYS), "help", counter->help);
}

json_t *
stats_describe_json(void)
{
	json_t *classes = json_array();

	for (unsigned int class = 0; class < COUNTERS_CLASSES; class ++) {
		const struct counter_class_info *info = &counter_classes[class];
		json_t *rows = json_array();

		for (unsigned int i = 0; i < info->n; i++)
			json_array_append_new(rows, counter_json(&info->rows[i]));
		json_array_append_new(classes, json_pack("{s:s, s:s, s:o}", "class", info->name, "help",
							 info->help, "counters", rows));
	}
	return classes;
}

/* --- output --- */

static void
tell_dropped(enum output_need need)
{
	uint64_t n_dropped = output_n_dropped(OUTPUT_STDOUT);
	char line[128];

	if (n_dropped == out.n_dropped)
		return;
	snprintf(line, sizeof(line),
		 "vnicd: warning: statistics: %" PRIu64
		 " periods were not shown: nobody read standard output\n",
		 n_dropped - out.n_dropped);
	if (output_write(OUTPUT_STDERR, need, line, strlen(line)))
		out.n_dropped = n_dropped;
}

/* One period's, whole: what a paused reader has no room for is left out, and told of when there is room
 * again; at the latest before the final ones, which are the last that there is to read. */
static void
show(const char *text, size_t len, enum output_need need)
{
	if (need == OUTPUT_KEEP)
		tell_dropped(need);
	if (output_write(OUTPUT_STDOUT, need, text, len) && need == OUTPUT_MAY_DROP)
		tell_dropped(need);
}

static void
print_json(FILE *text)
{
	json_t *stats = stats_json(NULL);

	if (stats)
		json_dumpf(stats, text, JSON_COMPACT | JSON_REAL_PRECISION(STATS_JSON_DIGITS));
	json_decref(stats);
	fputc('\n', text);
}

/* 1234567 -> "1.235M": seven characters at most, for a column. */
static const char *
short_number(double value, char *buf, size_t size)
{
	static const char unit[] = " kMGTPE";
	unsigned int i = 0;

	while (value >= 999.5 && unit[i + 1]) {
		value /= 1000;
		i++;
	}
	if (i == 0)
		snprintf(buf, size, "%.0f", value);
	else
		snprintf(buf, size, "%.*f%c", value < 9.995 ? 2 : value < 99.95 ? 1 : 0, value, unit[i]);
	return buf;
}

/* A port's counters, by class. */
struct port_row {
	bool has[COUNTERS_CLASSES];
	uint64_t values[COUNTERS_CLASSES][COUNTERS_MAX];
};

static void
port_row_visit(void *arg, const struct stats_object *object, const uint64_t values[])
{
	struct port_row *row = arg;

	if (object->pair != STATS_WHOLE)
		return;
	row->has[object->class] = true;
	memcpy(row->values[object->class], values, counter_classes[object->class].n * sizeof(values[0]));
}

/* What is always shown of a port has a column, and its rate another; of bytes there is a rate only. */
static void
print_head(FILE *text)
{
	const struct counter_class_info *info = &counter_classes[COUNTERS_PORT];

	fprintf(text, "%-15s", "port");
	for (unsigned int i = 0; i < info->n; i++) {
		const struct counter *counter = &info->rows[i];
		char name[32];

		if (counter->shown != COUNTER_ALWAYS)
			continue;
		snprintf(name, sizeof(name), "%s", counter->name);
		for (char *c = name; *c; c++)
			if (*c == '_')
				*c = ' ';
		if (counter->unit == COUNTER_BYTES)
			fprintf(text, " %7s", "bit/s");
		else
			fprintf(text, " %14s %7s", name, "/s");
	}
	fprintf(text, " %12s\n", "drops");
}

static void
print_columns(FILE *text, const uint64_t now[], const uint64_t before[], double seconds)
{
	const struct counter_class_info *info = &counter_classes[COUNTERS_PORT];
	char buf[16];

	for (unsigned int i = 0; i < info->n; i++) {
		double rate = (double)(now[i] - before[i]) / seconds;

		if (info->rows[i].shown != COUNTER_ALWAYS)
			continue;
		if (info->rows[i].unit == COUNTER_BYTES)
			fprintf(text, " %7s", short_number(rate * 8, buf, sizeof(buf)));
		else
			fprintf(text, " %14" PRIu64 " %7s", now[i], short_number(rate, buf, sizeof(buf)));
	}
}

/* What has no column, in words: "  (no_guest 12, runt 1)"; nothing when all are 0. */
static void
print_words(FILE *text, const struct port_row *row, enum counter_class class, const char *head)
{
	const struct counter_class_info *info = &counter_classes[class];
	bool any = false;

	for (unsigned int i = 0; i < info->n; i++) {
		bool column = class == COUNTERS_PORT && info->rows[i].shown == COUNTER_ALWAYS;

		if (!row->has[class] || column || row->values[class][i] == 0)
			continue;
		fprintf(text, "%s%s %" PRIu64, any ? ", " : head, info->rows[i].name, row->values[class][i]);
		any = true;
	}
	if (any)
		fputc(')', text);
}

static void
print_table_row(FILE *text, const struct port *port, double seconds)
{
	static const uint64_t zero[COUNTERS_MAX];
	struct stats_last *last = &out.last[port->id];
	struct port_row row = {0};
	const uint64_t *now = row.values[COUNTERS_PORT];
	uint64_t n_drops = 0;

	stats_walk_port(port, port_row_visit, &row);
	for (unsigned int i = 0; i < counter_classes[COUNTERS_DROPS].n; i++)
		n_drops += row.values[COUNTERS_DROPS][i];
	fprintf(text, "%-15s", port->name);
	print_columns(text, now, last->port == port ? last->values : zero, seconds);
	fprintf(text, " %12" PRIu64, n_drops);
	print_words(text, &row, COUNTERS_DROPS, "  (");
	print_words(text, &row, COUNTERS_PORT, "  (");
	print_words(text, &row, COUNTERS_DEVICE, "  (device: ");
	fputc('\n', text);
	last->port = port;
	memcpy(last->values, now, sizeof(last->values));
}

static void
print_table(FILE *text)
{
	uint64_t now_ms = loop_now_ms();
	double seconds = (double)(now_ms - out.last_ms) / 1000;

	if (seconds < 0.001)
		seconds = 0.001;
	if (out.n_tables++)
		fputc('\n', text);
	print_head(text);
	for (unsigned int i = 0; i < dataplane_n_ports(); i++)
		print_table_row(text, dataplane_port(i), seconds);
	out.last_ms = now_ms;
}

static void
stats_print(const char *head, enum output_need need)
{
	char *data = NULL;
	size_t len = 0;
	FILE *text = open_memstream(&data, &len);

	if (!text)
		return;
	fputs(head, text);
	if (out.format == STATS_JSON)
		print_json(text);
	else
		print_table(text);
	if (fclose(text) == 0)
		show(data, len, need);
	free(data);
}

static void
stats_period(void *arg)
{
	stats_print("", OUTPUT_MAY_DROP);
}

int
stats_output_open(struct loop *loop, enum stats_format format, unsigned long period_ms, struct diag *diag)
{
	out.format = format;
	out.start_ms = out.last_ms = loop_now_ms();
	if (format == STATS_TABLE) {
		out.last = calloc(PORT_MAX, sizeof(*out.last));
		if (!out.last)
			return diag_no_memory(diag, "out of memory");
	}
	if (period_ms == 0)
		return 0;
	out.timer = loop_timer_add(loop, period_ms, period_ms, stats_period, NULL);
	if (!out.timer) {
		stats_output_close();
		return diag_no_memory(diag, "out of memory");
	}
	return 0;
}

void
stats_output_final(void)
{
	char head[64] = "";

	/* The rates of the last table are those of the whole run. */
	if (out.format == STATS_TABLE) {
		memset(out.last, 0, PORT_MAX * sizeof(*out.last));
		out.last_ms = out.start_ms;
		if (out.n_tables)
			snprintf(head, sizeof(head),
				 "\nthe whole run, %.1f s:", (double)(loop_now_ms() - out.start_ms) / 1000);
	}
	stats_print(head, OUTPUT_KEEP);
}

void
stats_output_close(void)
{
	loop_timer_remove(out.timer);
	free(out.last);
	out.timer = NULL;
	out.last = NULL;
}
