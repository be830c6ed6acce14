/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_stats: a counter that has a row is visited and shown, whichever rows there are: all tests go by the
 * list (counters.h) and none by a name. Two ports, one with two pairs and a device that counts, and two
 * workers.
 */
#include "unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "dataplane.h"
#include "loop.h"
#include "port.h"
#include "stats_output.h"
#include "stats_walk.h"

enum { N_PAIRS = 2, N_WORKERS = 2 };

/* --- what is shown --- */

static struct port_rxq rxqs[2][N_PAIRS];
static struct port_txq txqs[2][N_PAIRS];
static struct port_kind kind;
static struct port ports[2] = {
	{.name = "one", .id = 0, .n_queues = 1, .kind = &kind, .rxqs = rxqs[0], .txqs = txqs[0]},
	{.name = "two", .id = 1, .n_queues = N_PAIRS, .kind = &kind, .rxqs = rxqs[1], .txqs = txqs[1]},
};

/* Different of each counter and each object, and never 0. */
static uint64_t
value_of(unsigned int object, enum counter_class class, unsigned int i)
{
	return 1000000 * (object + 1) + 1000 * (class + 1) + i;
}

/* Objects that are not pairs. */
enum { OBJECT_PORT = 10, OBJECT_WORKER = 20 };

static bool
counts(const struct port *port, enum counter_class class, uint64_t ret_values[])
{
	if (port == &ports[0])
		return false;
	for (unsigned int i = 0; i < counter_classes[class].n; i++)
		ret_values[i] = value_of(OBJECT_PORT, class, i);
	return true;
}

/* Some of what has no direction in the sum comes from each queue. */
static void
fill_pair(struct port_rxq *rxq, struct port_txq *txq, unsigned int object)
{
	struct port_stats stats;

	for (unsigned int i = 0; i < counter_classes[COUNTERS_PORT].n; i++)
		((uint64_t *)&stats)[i] = value_of(object, COUNTERS_PORT, i);
	rxq->stats = (struct port_queue_stats){
		.packets = stats.rx_packets, .bytes = stats.rx_bytes, .copies = stats.copies - 7, .consumed = stats.consumed};
	txq->stats = (struct port_queue_stats){.packets = stats.tx_packets,
					       .bytes = stats.tx_bytes,
					       .copies = 7,
					       .waits = stats.waits,
					       .waits_helped = stats.waits_helped};
	for (unsigned int i = 0; i < DROP_N; i++) {
		rxq->stats.drops[i] = value_of(object, COUNTERS_DROPS, i) - i;
		txq->stats.drops[i] = i;
	}
}

static void
fill(void)
{
	kind.counters = counts;
	for (unsigned int p = 0; p < 2; p++)
		for (unsigned int q = 0; q < ports[p].n_queues; q++)
			fill_pair(&rxqs[p][q], &txqs[p][q], 2 * p + q);
}

unsigned int
dataplane_n_ports(void)
{
	return 2;
}

struct port *
dataplane_port(unsigned int i)
{
	return i < 2 ? &ports[i] : NULL;
}

unsigned int
dataplane_n_workers(void)
{
	return N_WORKERS;
}

void
dataplane_worker_info(unsigned int idx, struct dataplane_worker_info *ret_info)
{
	uint64_t *values = (uint64_t *)&ret_info->stats;

	for (unsigned int i = 0; i < counter_classes[COUNTERS_WORKER].n; i++)
		values[i] = value_of(OBJECT_WORKER + idx, COUNTERS_WORKER, i);
}

/* A pair's value, or the sum of the pairs'. */
static uint64_t
port_value(unsigned int p, int pair, enum counter_class class, unsigned int i)
{
	uint64_t sum = 0;

	if (class != COUNTERS_PORT && class != COUNTERS_DROPS)
		return value_of(OBJECT_PORT, class, i);
	for (unsigned int q = 0; q < ports[p].n_queues; q++)
		if (pair == STATS_WHOLE || (unsigned int)pair == q)
			sum += value_of(2 * p + q, class, i);
	return sum;
}

/* --- the visitor --- */

static struct {
	unsigned int n[COUNTERS_CLASSES];
	unsigned int n_whole;
} seen;

static void
see(void *arg, const struct stats_object *object, const uint64_t values[])
{
	const struct counter_class_info *info = &counter_classes[object->class];

	assert_ptr_equal(arg, &seen);
	seen.n[object->class]++;
	seen.n_whole += object->pair == STATS_WHOLE && object->class == COUNTERS_PORT;
	for (unsigned int i = 0; i < info->n; i++)
		assert_int_equal(values[i],
				 object->port ? port_value(object->port->id, object->pair, object->class, i)
					      : value_of(OBJECT_WORKER + object->worker, object->class, i));
}

static void
test_walk_visits_all(void **state)
{
	memset(&seen, 0, sizeof(seen));
	fill();
	stats_walk(see, &seen);
	/* Each pair, and each port as a whole. */
	assert_int_equal(seen.n[COUNTERS_PORT], 1 + N_PAIRS + 2);
	assert_int_equal(seen.n[COUNTERS_DROPS], 1 + N_PAIRS + 2);
	assert_int_equal(seen.n_whole, 2);
	assert_int_equal(seen.n[COUNTERS_DEVICE], 1);
	assert_int_equal(seen.n[COUNTERS_CONTROLQ], 1);
	assert_int_equal(seen.n[COUNTERS_WORKER], N_WORKERS);
}

/* --- JSON --- */

static void
json_has(const json_t *object, unsigned int p, int pair, enum counter_class class)
{
	const struct counter_class_info *info = &counter_classes[class];

	assert_non_null(object);
	for (unsigned int i = 0; i < info->n; i++) {
		const json_t *value = json_object_get(object, info->rows[i].name);

		assert_true(json_is_integer(value));
		assert_int_equal(json_integer_value(value), port_value(p, pair, class, i));
	}
}

static void
test_json_has_every_row(void **state)
{
	json_t *stats, *all, *pairs;

	fill();
	stats = stats_json(NULL);
	all = json_object_get(stats, "ports");
	for (unsigned int p = 0; p < 2; p++) {
		const json_t *port = json_object_get(all, ports[p].name);

		json_has(port, p, STATS_WHOLE, COUNTERS_PORT);
		json_has(json_object_get(port, "drops"), p, STATS_WHOLE, COUNTERS_DROPS);
	}
	pairs = json_object_get(json_object_get(all, "two"), "queues");
	assert_int_equal(json_array_size(pairs), N_PAIRS);
	for (int q = 0; q < N_PAIRS; q++) {
		json_has(json_array_get(pairs, (size_t)q), 1, q, COUNTERS_PORT);
		json_has(json_object_get(json_array_get(pairs, (size_t)q), "drops"), 1, q, COUNTERS_DROPS);
	}
	json_has(json_object_get(json_object_get(all, "two"), "device"), 1, STATS_WHOLE, COUNTERS_DEVICE);
	assert_null(json_object_get(json_object_get(all, "one"), "device"));
	assert_null(json_object_get(json_object_get(all, "one"), "queues"));
	json_decref(stats);
}

/* Of what is 0 only that is there which always is. */
static void
test_json_of_nothing(void **state)
{
	const struct counter_class_info *info = &counter_classes[COUNTERS_PORT];
	json_t *stats, *port;

	memset(rxqs, 0, sizeof(rxqs));
	memset(txqs, 0, sizeof(txqs));
	stats = stats_json(&ports[0]);
	port = json_object_get(json_object_get(stats, "ports"), "one");
	for (unsigned int i = 0; i < info->n; i++)
		assert_int_equal(json_object_get(port, info->rows[i].name) != NULL,
				 info->rows[i].shown == COUNTER_ALWAYS);
	assert_int_equal(json_object_size(json_object_get(port, "drops")), 0);
	json_decref(stats);
}

static void
test_describe_has_every_row(void **state)
{
	json_t *classes = stats_describe_json();

	assert_int_equal(json_array_size(classes), COUNTERS_CLASSES);
	for (unsigned int class = 0; class < COUNTERS_CLASSES; class ++) {
		const struct counter_class_info *info = &counter_classes[class];
		const json_t *one = json_array_get(classes, class);
		const json_t *rows = json_object_get(one, "counters");

		assert_string_equal(json_string_value(json_object_get(one, "class")), info->name);
		assert_int_equal(json_array_size(rows), info->n);
		for (unsigned int i = 0; i < info->n; i++) {
			const json_t *row = json_array_get(rows, i);

			assert_string_equal(json_string_value(json_object_get(row, "name")),
					    info->rows[i].name);
			assert_string_equal(json_string_value(json_object_get(row, "help")),
					    info->rows[i].help);
		}
	}
	json_decref(classes);
}

/* --- the table --- */

/* What the final table says; to be freed. */
static char *
table(void)
{
	struct diag diag;
	char *text = calloc(1, 65536);
	int fds[2], saved;

	assert_non_null(text);
	fflush(stdout);
	saved = dup(STDOUT_FILENO);
	assert_int_equal(pipe(fds), 0);
	dup2(fds[1], STDOUT_FILENO);
	assert_int_equal(stats_output_open(NULL, STATS_TABLE, 0, &diag), 0);
	stats_output_final();
	stats_output_close();
	dup2(saved, STDOUT_FILENO);
	close(saved);
	close(fds[1]);
	for (ssize_t n, len = 0; (n = read(fds[0], text + len, 65535 - (size_t)len)) > 0;)
		len += n;
	close(fds[0]);
	return text;
}

/* The line of a port. */
static void
line_of(const char *text, const char *name, char *line, size_t size)
{
	char start[64];
	const char *at;

	snprintf(start, sizeof(start), "\n%s ", name);
	at = strstr(text, start);
	assert_non_null(at);
	snprintf(line, size, "%.*s", (int)strcspn(at + 1, "\n"), at + 1);
}

static void
test_table_has_every_row(void **state)
{
	static const enum counter_class classes[] = {COUNTERS_PORT, COUNTERS_DROPS, COUNTERS_DEVICE};
	char line[4096], word[64];
	char *text;

	fill();
	text = table();
	line_of(text, "two", line, sizeof(line));
	for (unsigned int c = 0; c < RTE_DIM(classes); c++) {
		const struct counter_class_info *info = &counter_classes[classes[c]];

		for (unsigned int i = 0; i < info->n; i++) {
			unsigned long long value = port_value(1, STATS_WHOLE, classes[c], i);
			bool column = classes[c] == COUNTERS_PORT && info->rows[i].shown == COUNTER_ALWAYS;

			/* Of bytes there is the rate. */
			if (column && info->rows[i].unit == COUNTER_BYTES)
				continue;
			snprintf(word, sizeof(word), "%s %llu", column ? "" : info->rows[i].name, value);
			assert_non_null(strstr(line, word));
		}
	}
	line_of(text, "one", line, sizeof(line));
	assert_null(strstr(line, "device"));
	free(text);

	/* And nothing else of a port that has counted nothing. */
	memset(rxqs, 0, sizeof(rxqs));
	memset(txqs, 0, sizeof(txqs));
	text = table();
	line_of(text, "one", line, sizeof(line));
	assert_null(strchr(line, '('));
	assert_int_equal(line[strlen(line) - 1], '0');
	free(text);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_walk_visits_all),     cmocka_unit_test(test_json_has_every_row),
		cmocka_unit_test(test_json_of_nothing),     cmocka_unit_test(test_describe_has_every_row),
		cmocka_unit_test(test_table_has_every_row),
	};

	return UNIT_RUN(tests);
}
