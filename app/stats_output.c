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

/* Doubles in JSON: microseconds of the time of day fit. */
enum { STATS_JSON_DIGITS = 16 };

/* The counters of the last table, for rates; by port id. */
struct stats_last {
	const struct port *port; /* NULL: none yet */
	struct port_stats stats;
};

static struct {
	enum stats_format format;
	struct loop_timer *timer;
	struct stats_last *last; /* [PORT_MAX]; NULL with STATS_JSON */
	uint64_t start_ms, last_ms;
	unsigned int n_tables;
	uint64_t n_dropped; /* periods not shown that were told of */
} out;

static json_t *
counters_json(const struct port_stats *stats)
{
	json_t *counters, *drops = json_object();

	for (unsigned int i = 0; i < DROP_N; i++)
		if (stats->drops[i])
			json_object_set_new(drops, port_drop_name[i],
					    json_integer((json_int_t)stats->drops[i]));
	counters = json_pack("{s:I, s:I, s:I, s:I, s:o}", "rx_packets", (json_int_t)stats->rx_packets,
			     "rx_bytes", (json_int_t)stats->rx_bytes, "tx_packets",
			     (json_int_t)stats->tx_packets, "tx_bytes", (json_int_t)stats->tx_bytes, "drops",
			     drops);
	if (counters && stats->copies)
		json_object_set_new(counters, "copies", json_integer((json_int_t)stats->copies));
	return counters;
}

/* NULL: the port has no device that counts. */
static json_t *
device_json(const struct port *port)
{
	struct port_device_stats stats;
	json_t *device;

	if (!port_device_stats_read(port, &stats))
		return NULL;
	device = json_object();
	for (unsigned int i = 0; i < PORT_DEVICE_N; i++)
		json_object_set_new(device, port_device_stat_name[i],
				    json_integer((json_int_t)stats.counts[i]));
	return device;
}

/*
 * The port's counters are the sums of the very ones that stand beside them, so that both agree while workers
 * count on.
 */
static json_t *
port_json(const struct port *port)
{
	json_t *counters, *queues = json_array(), *device = device_json(port);
	struct port_stats sum, stats;

	memset(&sum, 0, sizeof(sum));
	for (uint16_t i = 0; i < port->n_queues; i++) {
		port_pair_stats_read(port, i, &stats);
		port_stats_add(&sum, &stats);
		json_array_append_new(queues, counters_json(&stats));
	}
	counters = counters_json(&sum);
	/* With one pair it would say everything twice. */
	if (counters && port->n_queues > 1)
		json_object_set(counters, "queues", queues);
	json_decref(queues);
	if (counters && device)
		json_object_set(counters, "device", device);
	json_decref(device);
	return counters;
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

/* "not_ready 12, runt 1" */
static void
drops_text(const struct port_stats *stats, uint64_t *ret_sum, char *buf, size_t size)
{
	size_t len = 0;

	*ret_sum = 0;
	buf[0] = '\0';
	for (unsigned int i = 0; i < DROP_N; i++) {
		*ret_sum += stats->drops[i];
		if (stats->drops[i] && len < size)
			len += (size_t)snprintf(buf + len, size - len, "%s%s %" PRIu64, len ? ", " : "",
						port_drop_name[i], stats->drops[i]);
	}
}

/* "  (device: imissed 12)"; empty when it has lost nothing. */
static const char *
device_text(const struct port *port, char *buf, size_t size)
{
	struct port_device_stats stats;
	size_t len = 0;

	buf[0] = '\0';
	if (!port_device_stats_read(port, &stats))
		return buf;
	for (unsigned int i = 0; i < PORT_DEVICE_N; i++)
		if (stats.counts[i] && len < size)
			len += (size_t)snprintf(buf + len, size - len, "%s%s %" PRIu64,
						len ? ", " : "  (device: ", port_device_stat_name[i],
						stats.counts[i]);
	if (len && len < size)
		snprintf(buf + len, size - len, ")");
	return buf;
}

static void
print_table_row(FILE *text, const struct port *port, double seconds)
{
	struct stats_last *last = &out.last[port->id];
	static const struct port_stats zero;
	const struct port_stats *before = last->port == port ? &last->stats : &zero;
	char rx_pps[16], tx_pps[16], rx_bps[16], tx_bps[16], drops[512], device[160];
	struct port_stats now;
	uint64_t n_drops;

	port_stats_read(port, &now);
	drops_text(&now, &n_drops, drops, sizeof(drops));
	fprintf(text, "%-15s %14" PRIu64 " %7s %7s %14" PRIu64 " %7s %7s %12" PRIu64 "%s%s%s%s\n", port->name,
		now.rx_packets,
		short_number((double)(now.rx_packets - before->rx_packets) / seconds, rx_pps, sizeof(rx_pps)),
		short_number((double)(now.rx_bytes - before->rx_bytes) * 8 / seconds, rx_bps, sizeof(rx_bps)),
		now.tx_packets,
		short_number((double)(now.tx_packets - before->tx_packets) / seconds, tx_pps, sizeof(tx_pps)),
		short_number((double)(now.tx_bytes - before->tx_bytes) * 8 / seconds, tx_bps, sizeof(tx_bps)),
		n_drops, n_drops ? "  (" : "", drops, n_drops ? ")" : "",
		device_text(port, device, sizeof(device)));
	last->port = port;
	last->stats = now;
}

static void
print_table(FILE *text)
{
	uint64_t now_ms = loop_now_ms();
	double seconds = (double)(now_ms - out.last_ms) / 1000;

	if (seconds < 0.001)
		seconds = 0.001;
	fprintf(text, "%s%-15s %14s %7s %7s %14s %7s %7s %12s\n", out.n_tables++ ? "\n" : "", "port",
		"rx packets", "/s", "bit/s", "tx packets", "/s", "bit/s", "drops");
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
			return diag_set(diag, -ENOMEM, "free some memory", "out of memory");
	}
	if (period_ms == 0)
		return 0;
	out.timer = loop_timer_add(loop, period_ms, period_ms, stats_period, NULL);
	if (!out.timer) {
		stats_output_close();
		return diag_set(diag, -ENOMEM, "free some memory", "out of memory");
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
