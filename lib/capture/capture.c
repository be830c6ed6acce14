/* SPDX-License-Identifier: BSD-3-Clause */
/* capture: contract in capture.h. */
#include "capture.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "capture_record.h"
#include "capture_ring.h"
#include "capture_writer.h"
#include "ctx.h"
#include "events.h"
#include "hook.h"
#include "keys.h"
#include "keyval.h"
#include "list.h"
#include "loop.h"
#include "mirror_filter.h"
#include "nearest.h"
#include "quiesce.h"
#include "ticks.h"

enum capture_direction { CAPTURE_BOTH, CAPTURE_IN, CAPTURE_OUT, CAPTURE_DIRECTIONS };
static const char *const direction_words[CAPTURE_DIRECTIONS] = {"both", "in", "out"};

enum capture_drops { CAPTURE_DROPS_OFF, CAPTURE_DROPS_ON, CAPTURE_DROPS_ONLY, CAPTURE_DROPS_WORDS };
static const char *const drops_words[CAPTURE_DROPS_WORDS] = {"off", "on", "only"};

/* What is attached to one queue: a hook for what passes, one for what is dropped there. */
struct capture_hook {
	struct port_hook hook;
	struct capture_tap *tap;
	uint16_t queue_idx;
	uint8_t direction; /* enum pcapng_direction */
};

/* Written by one worker. */
struct capture_counts {
	uint64_t seen, wanted, lost;
} __rte_cache_aligned;

/* A port that is looked at, or will be when it is there. */
struct capture_tap {
	struct capture *capture;
	struct port *port; /* NULL: there is none of that name */
	uint16_t idx;
	struct capture_hook *hooks;    /* [4 * n_queues]: in, out, drops in, drops out */
	struct capture_counts *counts; /* [n_workers] */
};

struct capture {
	struct capture *next;
	struct captures *captures;
	unsigned int id;
	/* from the line */
	uint64_t given;
	struct capture_args {
		struct key_names from;
		char *filter_text; /* NULL: any frame */
		uint8_t direction, drops;
		uint16_t queue;
		uint32_t snaplen;
		uint64_t count, buffer;
		bool header;
	} args;
	struct mirror_filter *filter; /* NULL: any */
	struct capture_tap *taps;     /* [args.from.n] */
	struct capture_ring *rings;   /* [n_workers] */
	struct capture_interface *interfaces;
	struct capture_writer writer;
	struct loop_watch *told; /* NULL: it has not started */
};

struct captures {
	struct capture *first;
	struct vnic_ctx *ctx;
	const char *application;
	unsigned int n_workers;
	unsigned int n, last_id;
};

static const struct key capture_rows[] = {
	{"from", KEY_NAMES, KEY_FIELD(struct capture_args, from), .form = "PORT[+PORT]...",
	 .help = "the ports whose frames are wanted"},
	{"direction", KEY_WORD, KEY_FIELD(struct capture_args, direction), .words = direction_words,
	 .n_words = CAPTURE_DIRECTIONS, .initial = "both",
	 .help = "frames that come from the ports (in), that go to them (out), or both (default)"},
	{"queue", KEY_NUMBER, KEY_FIELD(struct capture_args, queue), .min = 0, .max = PORT_QUEUES_MAX - 1,
	 .help = "of this queue pair only"},
	{"filter", KEY_STRING, KEY_FIELD(struct capture_args, filter_text), .form = "EXPRESSION",
	 .help = "frames of which this is true only: tcp port 80 (pcap-filter(7))"},
	{"snaplen", KEY_NUMBER, KEY_FIELD(struct capture_args, snaplen), .min = 1, .max = PORT_FRAME_MAX,
	 .help = "bytes of each frame (default: all)"},
	{"count", KEY_NUMBER, KEY_FIELD(struct capture_args, count), .min = 1,
	 .help = "frames after which it ends (default: none)"},
	{"drops", KEY_WORD, KEY_FIELD(struct capture_args, drops), .words = drops_words,
	 .n_words = CAPTURE_DROPS_WORDS, .initial = "off",
	 .help = "also what is dropped, with the reason as a comment (on), or nothing else (only)"},
	{"header", KEY_SWITCH, KEY_FIELD(struct capture_args, header), .initial = "off",
	 .help = "each frame's virtio-net header as a comment"},
	{"buffer", KEY_SIZE, KEY_FIELD(struct capture_args, buffer), .min = 256 << 10, .max = 1 << 30,
	 .initial = "4m", .help = "bytes that wait for the reader, of each worker (default 4m)"},
	{0},
};

const struct key *
capture_keys(void)
{
	return capture_rows;
}

/* --- workers --- */

static bool
capture_wants(const struct capture *capture, struct rte_mbuf *pkt)
{
	return !capture->filter || (pkt && mirror_filter_wants(capture->filter, pkt));
}

/* `pkts` NULL: n frames without bytes. */
static void
capture_see(struct capture_hook *hook, uint16_t worker_idx, enum port_drop reason,
	    struct rte_mbuf *const *pkts, uint16_t n)
{
	struct capture_tap *tap = hook->tap;
	const struct capture *capture = tap->capture;
	struct capture_counts *counts = &tap->counts[worker_idx];
	struct capture_ring *ring = &capture->rings[worker_idx];
	const uint64_t ticks = ticks_now();
	uint16_t n_wanted = 0, n_lost = 0;

	for (uint16_t i = 0; i < n; i++) {
		struct rte_mbuf *pkt = pkts ? pkts[i] : NULL;
		const uint32_t captured = pkt ? RTE_MIN(pkt->pkt_len, capture->args.snaplen) : 0;
		struct capture_record *record;

		/* One of which that can't be told counts as wanted, and lost. */
		if (capture->filter && pkt && unlikely(!mirror_filter_prepare(capture->filter, pkt))) {
			n_wanted++;
			n_lost++;
			continue;
		}
		if (!capture_wants(capture, pkt))
			continue;
		n_wanted++;
		record = capture_ring_reserve(ring, (uint32_t)sizeof(*record) + captured);
		if (unlikely(!record)) {
			n_lost++;
			continue;
		}
		*record = (struct capture_record){
			.ticks = ticks,
			.tap_idx = tap->idx,
			.queue_idx = hook->queue_idx,
			.direction = hook->direction,
			.reason = (uint8_t)reason,
		};
		if (pkt)
			capture_record_fill(record, pkt, captured);
	}
	capture_ring_commit(ring);
	counter_add(&counts->seen, n);
	counter_add(&counts->wanted, n_wanted);
	counter_add(&counts->lost, n_lost);
}

static uint16_t
capture_rx(struct port_hook *hook, struct port_rxq *rxq, struct rte_mbuf **pkts, uint16_t n)
{
	capture_see((struct capture_hook *)hook, rxq->worker, DROP_N, pkts, n);
	return n;
}

static uint16_t
capture_tx(struct port_hook *hook, struct port_txq *txq, struct rte_mbuf **pkts, uint16_t n)
{
	capture_see((struct capture_hook *)hook, txq->worker, DROP_N, pkts, n);
	return n;
}

static void
capture_drop(struct port_hook *hook, uint16_t worker, enum port_drop reason, struct rte_mbuf *const *pkts,
	     uint16_t n)
{
	capture_see((struct capture_hook *)hook, worker, reason, pkts, n);
}

/* --- hooks: control thread --- */

/* Which of a port's queues, and for what. */
struct capture_place {
	struct port_rxq *rxq; /* one of both */
	struct port_txq *txq;
	struct capture_hook *passing, *dropped; /* NULL: not wanted */
};

static struct capture_place
tap_place(const struct capture_tap *tap, uint16_t i, enum pcapng_direction direction)
{
	const struct capture_args *args = &tap->capture->args;
	const bool in = direction == PCAPNG_INBOUND;
	const uint16_t n = tap->port->n_queues;
	struct capture_hook *hook = &tap->hooks[in ? i : n + i];

	return (struct capture_place){
		.rxq = in ? &tap->port->rxqs[i] : NULL,
		.txq = in ? NULL : &tap->port->txqs[i],
		.passing = args->drops == CAPTURE_DROPS_ONLY ? NULL : hook,
		.dropped = args->drops == CAPTURE_DROPS_OFF ? NULL : hook + 2 * n,
	};
}

static void
place_attach(const struct capture_place *place)
{
	if (place->rxq && place->passing)
		port_rx_hook_attach(place->rxq, &place->passing->hook);
	if (place->rxq && place->dropped)
		port_rx_drop_hook_attach(place->rxq, &place->dropped->hook);
	if (place->txq && place->passing)
		port_tx_hook_attach(place->txq, &place->passing->hook);
	if (place->txq && place->dropped)
		port_tx_drop_hook_attach(place->txq, &place->dropped->hook);
}

static void
place_detach(const struct capture_place *place)
{
	if (place->rxq && place->passing)
		port_rx_hook_detach(place->rxq, &place->passing->hook);
	if (place->rxq && place->dropped)
		port_rx_drop_hook_detach(place->rxq, &place->dropped->hook);
	if (place->txq && place->passing)
		port_tx_hook_detach(place->txq, &place->passing->hook);
	if (place->txq && place->dropped)
		port_tx_drop_hook_detach(place->txq, &place->dropped->hook);
}

static void
tap_each_place(const struct capture_tap *tap, void (*fn)(const struct capture_place *place))
{
	const struct capture *capture = tap->capture;
	static const struct key_set set = {.rows = capture_rows};
	const struct key_set given = {.rows = set.rows, .given = capture->given};
	const bool one = key_is_given(&given, "queue");

	for (uint16_t i = 0; i < tap->port->n_queues; i++) {
		struct capture_place in = tap_place(tap, i, PCAPNG_INBOUND),
				     out = tap_place(tap, i, PCAPNG_OUTBOUND);

		if (one && i != capture->args.queue)
			continue;
		if (capture->args.direction != CAPTURE_OUT)
			fn(&in);
		if (capture->args.direction != CAPTURE_IN)
			fn(&out);
	}
}

static int
tap_attach(struct capture_tap *tap, struct port *port)
{
	const uint16_t n = port->n_queues;

	tap->hooks = calloc(4 * n, sizeof(tap->hooks[0]));
	if (!tap->hooks)
		return -ENOMEM;
	for (uint16_t i = 0; i < n; i++) {
		const struct capture_hook in = {.tap = tap, .queue_idx = i, .direction = PCAPNG_INBOUND},
					  out = {.tap = tap, .queue_idx = i, .direction = PCAPNG_OUTBOUND};

		tap->hooks[i] = in;
		tap->hooks[i].hook.rx = capture_rx;
		tap->hooks[n + i] = out;
		tap->hooks[n + i].hook.tx = capture_tx;
		tap->hooks[2 * n + i] = in;
		tap->hooks[2 * n + i].hook.drop = capture_drop;
		tap->hooks[3 * n + i] = out;
		tap->hooks[3 * n + i].hook.drop = capture_drop;
	}
	tap->port = port;
	tap_each_place(tap, place_attach);
	return 0;
}

static void
tap_detach(struct capture_tap *tap)
{
	if (!tap->port)
		return;
	tap_each_place(tap, place_detach);
	free(tap->hooks);
	tap->hooks = NULL;
	tap->port = NULL;
}

static void
capture_detach(struct capture *capture)
{
	for (unsigned int i = 0; capture->taps && i < capture->args.from.n; i++)
		tap_detach(&capture->taps[i]);
}

/* --- life --- */

static struct key_set
capture_set(const struct capture *capture)
{
	return (struct key_set){
		.rows = capture_rows, .values = (void *)(uintptr_t)&capture->args, .given = capture->given};
}

/* Its thread has ended, or never began; it is in no list. */
static void
capture_free(struct capture *capture)
{
	struct key_set set = capture_set(capture);

	capture_detach(capture);
	loop_watch_remove(capture->told);
	capture_writer_join(&capture->writer);
	mirror_filter_close(capture->filter);
	for (unsigned int i = 0; capture->rings && i < capture->captures->n_workers; i++)
		capture_ring_close(&capture->rings[i]);
	for (unsigned int i = 0; capture->taps && i < capture->args.from.n; i++)
		free(capture->taps[i].counts);
	free(capture->rings);
	free(capture->taps);
	free(capture->interfaces);
	keys_free(&set);
	free(capture);
}

static void
capture_unlink(struct capture *capture)
{
	struct capture **link = &capture->captures->first;

	while (*link != capture)
		link = &(*link)->next;
	*link = capture->next;
	capture->captures->n--;
}

void
capture_abandon(struct capture *capture)
{
	capture_unlink(capture);
	capture_free(capture);
}

static int
no_such_port(const char *name, struct diag *diag)
{
	const char *names[PORT_MAX];
	unsigned int n = 0;

	for (unsigned int i = 0; i < PORT_MAX; i++)
		if (port_by_id(i))
			names[n++] = port_by_id(i)->name;
	diag_set(diag, -ENOENT, "there are no ports; port.add makes one",
		 "capture: from: there is no port '%.64s'", name);
	if (n)
		diag_hint(diag, "from=%s", nearest_word(name, names, n));
	return -ENOENT;
}

/* The line, and what its rows can't check. */
static int
capture_parse(struct capture *capture, const char *line, struct diag *diag)
{
	struct key_set set = capture_set(capture);
	struct keyval keyval;
	char whole[KEYVAL_LINE_MAX];
	int ret;

	/* The grammar has a word in front of the keys. */
	snprintf(whole, sizeof(whole), "capture,%s", line);
	ret = keyval_parse(&keyval, whole, KEYVAL_UNNAMED, "capture", diag);
	if (ret < 0)
		return ret;
	ret = keys_init(&set);
	if (ret < 0)
		ret = diag_no_memory(diag, "capture: no memory");
	else
		ret = keys_parse(&set, 1, &keyval, "capture", "a capture", "", diag);
	capture->given = set.given;
	keyval_free(&keyval);
	if (ret < 0)
		return ret;
	if (!capture->args.from.n)
		return diag_set(diag, -EINVAL, "from=vm0+vm1", "capture: from is not given");
	for (unsigned int i = 0; i < capture->args.from.n; i++)
		if (!port_by_name(capture->args.from.names[i]))
			return no_such_port(capture->args.from.names[i], diag);
	if (!capture->args.snaplen)
		capture->args.snaplen = PORT_FRAME_MAX;
	return capture->args.filter_text
		       ? mirror_filter_open(&capture->filter, capture->args.filter_text, "capture", diag)
		       : 0;
}

static int
capture_alloc(struct capture *capture)
{
	const unsigned int n_workers = capture->captures->n_workers, n = capture->args.from.n;

	capture->taps = calloc(n, sizeof(capture->taps[0]));
	capture->interfaces = calloc(n, sizeof(capture->interfaces[0]));
	capture->rings = aligned_alloc(RTE_CACHE_LINE_SIZE, n_workers * sizeof(capture->rings[0]));
	if (!capture->taps || !capture->interfaces || !capture->rings)
		return -ENOMEM;
	memset(capture->rings, 0, n_workers * sizeof(capture->rings[0]));
	for (unsigned int i = 0; i < n_workers; i++)
		if (capture_ring_open(&capture->rings[i], capture->args.buffer) < 0)
			return -ENOMEM;
	for (unsigned int i = 0; i < n; i++) {
		struct capture_tap *tap = &capture->taps[i];
		const size_t size = n_workers * sizeof(tap->counts[0]);

		tap->capture = capture;
		tap->idx = (uint16_t)i;
		tap->counts = aligned_alloc(RTE_CACHE_LINE_SIZE, size);
		if (!tap->counts)
			return -ENOMEM;
		memset(tap->counts, 0, size);
		capture->interfaces[i].name = capture->args.from.names[i];
		snprintf(capture->interfaces[i].description, sizeof(capture->interfaces[i].description), "%s",
			 port_by_name(capture->args.from.names[i])->describe);
	}
	return 0;
}

int
captures_add(struct captures *captures, const char *line, struct capture **ret_capture, struct diag *diag)
{
	struct capture *capture;
	int ret;

	if (captures->n == CAPTURES_MAX)
		return diag_set(diag, -EBUSY, "end one of them: capture.list", "%u captures run already",
				captures->n);
	capture = calloc(1, sizeof(*capture));
	if (!capture)
		return diag_no_memory(diag, "capture: no memory");
	capture->captures = captures;
	ret = capture_parse(capture, line, diag);
	if (ret == 0 && capture_alloc(capture) < 0)
		ret = diag_set(diag, -ENOMEM, "a smaller buffer=, or end another capture",
			       "capture: no memory for its buffers");
	if (ret < 0) {
		capture_free(capture);
		return ret;
	}
	capture->id = ++captures->last_id;
	captures->n++;
	list_append(captures->first, capture);
	*ret_capture = capture;
	return 0;
}

/* Of one interface, or (tap NULL) of all. */
static void
tap_stats_add(const struct capture_tap *tap, struct capture_stats *stats)
{
	for (unsigned int i = 0; i < tap->capture->captures->n_workers; i++) {
		stats->seen += counter_read(&tap->counts[i].seen);
		stats->wanted += counter_read(&tap->counts[i].wanted);
		stats->lost += counter_read(&tap->counts[i].lost);
	}
	stats->written +=
		atomic_load_explicit(&tap->capture->interfaces[tap->idx].written, memory_order_relaxed);
}

static void
capture_statistics(const void *arg, uint32_t interface, struct pcapng_statistics *ret_statistics)
{
	const struct capture *capture = arg;
	struct capture_stats stats = {0};

	tap_stats_add(&capture->taps[interface], &stats);
	ret_statistics->seen = stats.seen;
	ret_statistics->wanted = stats.wanted;
	ret_statistics->lost = stats.lost;
}

/* From the thread: it wants to end, or has ended. */
static void
capture_told(void *arg, uint32_t events)
{
	struct capture *capture = arg;
	struct capture_stats stats;
	uint64_t n;
	ssize_t ret = read(capture->writer.told_fd, &n, sizeof(n));

	(void)ret;
	switch (atomic_load_explicit(&capture->writer.state, memory_order_acquire)) {
	case CAPTURE_ENDING:
		capture_detach(capture);
		capture_writer_finish(&capture->writer, CAPTURE_PATIENT);
		return;
	case CAPTURE_DONE:
		capture_detach(capture);
		capture_stats_read(capture, &stats);
		event_record(capture->captures->ctx, EVENT_CAPTURE, NULL,
			     "capture %u ended: %llu frames, %llu lost", capture->id,
			     (unsigned long long)stats.written, (unsigned long long)stats.lost);
		log_info(&capture->captures->ctx->log, "capture %u: ended: %llu frames, %llu lost",
			 capture->id, (unsigned long long)stats.written, (unsigned long long)stats.lost);
		capture_abandon(capture);
		return;
	default:
		return;
	}
}

int
capture_start(struct capture *capture, int fd)
{
	struct captures *captures = capture->captures;
	struct capture_writer *writer = &capture->writer;
	int ret;

	writer->rings = capture->rings;
	writer->n_rings = captures->n_workers;
	writer->interfaces = capture->interfaces;
	writer->n_interfaces = capture->args.from.n;
	writer->application = captures->application;
	writer->filter = capture->args.filter_text;
	writer->snaplen = capture->args.snaplen;
	writer->count = capture->args.count;
	writer->headers = capture->args.header;
	writer->statistics = capture_statistics;
	writer->statistics_arg = capture;
	ret = capture_writer_start(writer, fd);
	if (ret < 0) {
		close(fd);
		capture_abandon(capture);
		return ret;
	}
	/* Its socket is closed with it from here on. */
	capture->told = loop_watch_add(captures->ctx->loop, writer->told_fd, EPOLLIN, capture_told, capture);
	for (unsigned int i = 0; ret == 0 && i < capture->args.from.n; i++) {
		struct port *port = port_by_name(capture->args.from.names[i]);

		if (port)
			ret = tap_attach(&capture->taps[i], port);
	}
	if (!capture->told || ret < 0) {
		capture_writer_finish(writer, CAPTURE_HURRIED);
		capture_abandon(capture);
		return -ENOMEM;
	}
	/* A worker may be about to call the function that was there before. */
	quiesce_wait(&captures->ctx->quiesce);
	return 0;
}

int
captures_port_added(struct captures *captures, struct port *port)
{
	struct capture *capture;
	int ret = 0;

	list_for_each(capture, captures->first) {
		for (unsigned int i = 0; i < capture->args.from.n; i++) {
			/* One that ends gets no more hooks. */
			if (!capture->told || strcmp(capture->args.from.names[i], port->name) != 0 ||
			    atomic_load_explicit(&capture->writer.state, memory_order_relaxed) !=
				    CAPTURE_RUNNING)
				continue;
			ret |= tap_attach(&capture->taps[i], port);
		}
	}
	return ret ? -ENOMEM : 0;
}

void
captures_port_removed(struct captures *captures, struct port *port)
{
	struct capture *capture;

	list_for_each(capture, captures->first)
		for (unsigned int i = 0; i < capture->args.from.n; i++)
			if (capture->taps[i].port == port)
				tap_detach(&capture->taps[i]);
}

int
captures_open(struct captures **ret_captures, struct vnic_ctx *ctx, unsigned int n_workers,
	      const char *application, struct diag *diag)
{
	struct captures *captures = calloc(1, sizeof(*captures));

	if (!captures)
		return diag_no_memory(diag, "captures: no memory");
	captures->ctx = ctx;
	captures->n_workers = n_workers;
	captures->application = application;
	*ret_captures = captures;
	return 0;
}

void
captures_close(struct captures *captures)
{
	if (!captures)
		return;
	while (captures->first) {
		struct capture *capture = captures->first;

		capture_detach(capture);
		capture_writer_finish(&capture->writer, CAPTURE_HURRIED);
		capture_abandon(capture);
	}
	free(captures);
}

/* --- for people --- */

struct capture *
captures_first(struct captures *captures)
{
	return captures->first;
}

struct capture *
capture_next(const struct capture *capture)
{
	return capture->next;
}

unsigned int
capture_id(const struct capture *capture)
{
	return capture->id;
}

size_t
capture_print(const struct capture *capture, char *buf, size_t size)
{
	const struct key_set set = capture_set(capture);
	size_t len;

	buf[0] = '\0';
	len = keys_print(&set, buf, size, 0);
	/* The comma in front is for who has a name. */
	memmove(buf, buf + 1, strlen(buf));
	return len - 1;
}

void
capture_stats_read(const struct capture *capture, struct capture_stats *ret_stats)
{
	*ret_stats = (struct capture_stats){0};
	for (unsigned int i = 0; i < capture->args.from.n; i++)
		tap_stats_add(&capture->taps[i], ret_stats);
}
