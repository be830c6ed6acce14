/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * nullguest: one or two guests that cost almost nothing, to see how fast a vhost-user back-end is. This file
 * is the command line, the order of events and the report. README.md says what the options mean for the
 * figures.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "control.h"
#include "dirty_log.h"
#include "distance.h"
#include "fail.h"
#include "guest_mem.h"
#include "idle_pairs.h"
#include "ring.h"
#include "slices.h"
#include "traffic.h"
#include "vhost_frontend.h"

enum { FRAME_LEN_MIN = 64, FRAME_LEN_MAX = 9000, FRAME_LEN_DEFAULT = 64, PORTS_MAX = 2, MACS_DEFAULT = 1000 };

enum direction { DIRECTION_BOTH, DIRECTION_A2B, DIRECTION_OUT, DIRECTION_IN };

struct options {
	const char *sockets[PORTS_MAX];
	unsigned n_sockets;
	bool server;
	bool packed;
	bool in_order;
	bool mergeable;
	bool imix;
	bool json;
	bool control_errors_ok;
	bool read_headers;
	bool dirty_log;
	enum direction direction;
	unsigned control; /* enum control_feature */
	enum frame_kind frames;
	enum tcp_tso tso;
	enum ring_shape shape;
	enum traffic_touch touch;
	enum traffic_mode mode;
	enum guest_mem_pages pages;
	unsigned long ring_size;
	unsigned long frame_size; /* 0: not given */
	unsigned long n_macs;     /* 0: not given */
	unsigned long n_idle_pairs;
	unsigned long burst;
	unsigned long window; /* 0: no limit */
	unsigned long wait_s;
	long cpu; /* -1: wherever */
	double duration_s;
	double warmup_s;
	double pps;
	bool in_slices;
	struct slices slices;
};

struct guest {
	char name[16];
	struct guest_mem mem;
	struct ring to_guest; /* virtqueue 0 */
	struct ring from_guest;
	struct control control; /* virtqueue 2, if anything is to be commanded */
	struct idle_pairs idle; /* virtqueues from 2 on, if any */
	struct dirty_log log;
	struct vhost_frontend frontend;
};

/* What happened between two moments, or in several such times. */
struct period {
	double began_s; /* CLOCK_MONOTONIC */
	double seconds;
	struct flow_counters flows[2];
	uint64_t n_dirty_pages;
	long n_involuntary_switches;
};

static const char *const touch_names[] = {"none", "one", "all"};
static const char *const mode_names[] = {"saturated", "paced", "latency"};
static const char *const shape_names[] = {"dpdk", "linux"};
static const char *const direction_names[] = {"both", "a2b", "out", "in"};
static const char *const frames_names[] = {"plain", "udp", "vlan", "macs", "tcp"};
static const char *const tso_names[] = {"none", "whole", "segments"};

/* 7 : 4 : 1, mixed so that every stretch of the ring has all of them. */
static const uint16_t imix_pattern[] = {64, 570, 64, 64, 1518, 64, 570, 64, 570, 64, 64, 570};

void
fail(const char *fmt, ...)
{
	char line[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	fprintf(stderr, "nullguest: %s\n", line);
	exit(1);
}

static const char usage_text[] =
	"usage: nullguest --socket PATH [--socket PATH] [options]\n"
	"  --socket PATH            a back-end's vhost-user socket; the first is port A, the second B;\n"
	"                           with one only, port A gets its own frames back\n"
	"  --server                 listen on the sockets instead of connecting to them\n"
	"  --layout split|packed    (split)\n"
	"  --ring-size N            descriptors: a power of two for split, anything for packed (256)\n"
	"  --in-order               demand VIRTIO_F_IN_ORDER\n"
	"  --no-mergeable           do without VIRTIO_NET_F_MRG_RXBUF\n"
	"  --shape dpdk|linux       whose buffers to imitate (dpdk)\n"
	"  --touch none|one|all     payload lines the guests write and read (one)\n"
	"  --read-headers           the receiver reads each header even with --touch none\n"
	"  --frame-size N           64 to 9000, without FCS (64)\n"
	"  --frames plain|udp|vlan|macs  always the same addresses; IPv4/UDP of ever new flows; the same,\n"
	"                           tagged; plain between many addresses (plain)\n"
	"  --tso none|whole|segments  frames of TCP for the back-end, checksum open and to be cut into 1448 "
	"bytes\n"
	"                           each, in chains of a header and 4 KiB pieces behind an indirect table;\n"
	"                           receivers take them whole, or have them cut and summed up (none).\n"
	"                           --frame-size: 66 and 1 to 45 times 1448 (65226)\n"
	"  --macs N                 addresses of --frames macs, half of them each port's, even, 2 to 4096 "
	"(1000)\n"
	"  --rss                    on all ports: RSS with a table of 128 entries, all of them queue pair 0\n"
	"  --hash-report            on all ports: headers with hashes\n"
	"  --filter                 on all ports: receive filter with 64 MAC addresses and 100 VLANs\n"
	"  --control-errors-ok      go on when the back-end refuses commands for these three\n"
	"  --imix                   7 x 64, 4 x 570, 1 x 1518 instead\n"
	"  --direction both|a2b|out|in  (both, with two sockets); out, in: one socket, and port A sends "
	"only,\n"
	"                           and frames taken are measured, or receives only, whatever comes\n"
	"  --idle-pairs N           on all ports: so many more queue pairs, enabled, without traffic, 0 to "
	"127 (0)\n"
	"  --dirty-log              the back-end marks the pages it writes to, as for migration; the log is "
	"read\n"
	"                           and cleared every 10 ms\n"
	"  --mode saturated|paced|latency  (saturated)\n"
	"  --pps N                  paced: frames per second and direction\n"
	"  --burst N                frames per turn, and per pace, 1 to 512 (32)\n"
	"  --window N               frames of a guest that the back-end has at most, as if the receiver's\n"
	"                           answers were waited for (as many as the ring holds)\n"
	"  --duration S --warmup S  seconds, fractions allowed (5, 1)\n"
	"  --wait S                 for sockets and for the first frames (10)\n"
	"  --cpu N                  run on this CPU\n"
	"  --pages auto|huge|small  guest memory on 2 MiB hugepages or 4 KiB pages (auto)\n"
	"  --slices                 behind the warm-up, run only when told to, by lines on standard input:\n"
	"                           SECONDS SKIP_S PPS [keep]; each is answered by a line of JSON; the end "
	"of "
	"input\n"
	"                           ends the run. The first SKIP_S of a slice do not count; PPS other than 0 "
	"paces it\n"
	"  --stop PID               again for more: processes that run in slices only (SIGSTOP, SIGCONT), or "
	"go "
	"on\n"
	"                           behind one with keep\n"
	"  --beside CPU             the back-end's: before and behind each slice, how far it is from ours\n"
	"  --distance CPU,CPU       nothing of all this: how many ns a line takes between two CPUs;\n"
	"                           --distance CPU,CPU,brief: in two milliseconds, for CPUs that were busy "
	"before\n"
	"  --json                   one JSON object on standard output instead of text\n";

static __attribute__((noreturn, format(printf, 1, 2))) void
usage_error(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fputs("nullguest: ", stderr);
	vfprintf(stderr, fmt, ap);
	fputs("\nnullguest: see nullguest --help\n", stderr);
	va_end(ap);
	exit(2);
}

static double
number(const char *option, const char *text, double min, double max)
{
	char *end;
	double value = strtod(text, &end);

	if (end == text || *end || !(value >= min && value <= max))
		usage_error("--%s %s: not a number from %g to %g", option, text, min, max);
	return value;
}

static unsigned long
whole_number(const char *option, const char *text, unsigned long min, unsigned long max)
{
	double value = number(option, text, (double)min, (double)max);

	if (value != (double)(unsigned long)value)
		usage_error("--%s %s: not a whole number", option, text);
	return (unsigned long)value;
}

static unsigned
choice(const char *option, const char *text, const char *const *names, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		if (!strcmp(text, names[i]))
			return i;
	}
	usage_error("--%s %s: must be one of %s %s %s %s", option, text, names[0], names[1],
		    n > 2 ? names[2] : "", n > 3 ? names[3] : "");
}

static void
options_check_direction(struct options *options)
{
	const char *name = direction_names[options->direction];
	bool one_way = options->direction == DIRECTION_OUT || options->direction == DIRECTION_IN;

	if (one_way && options->n_sockets != 1)
		usage_error("--direction %s works with one --socket only", name);
	if (one_way && options->mode == TRAFFIC_LATENCY)
		usage_error("--direction %s: --mode latency needs frames that are both sent and received",
			    name);
	if (options->direction == DIRECTION_IN && options->mode == TRAFFIC_PACED)
		usage_error("--direction in: nothing is sent that --mode paced could pace");
	if (options->direction == DIRECTION_IN && options->frames != FRAME_PLAIN)
		usage_error("--direction in: nothing is sent that --frames %s could fill",
			    frames_names[options->frames]);
	if (options->direction == DIRECTION_BOTH && options->n_sockets == 1)
		options->direction = DIRECTION_A2B; /* to itself */
}

static void
options_check_macs(struct options *options)
{
	unsigned long n_slots = options->ring_size - (options->in_order ? 0 : 1);

	if (options->window && options->window < n_slots)
		n_slots = options->window;
	if (options->n_macs && options->frames != FRAME_MANY_MACS)
		usage_error("--macs needs --frames macs");
	if (options->n_macs % 2)
		usage_error("--macs %lu: half of them are each port's, so it must be even", options->n_macs);
	if (!options->n_macs)
		options->n_macs = MACS_DEFAULT;
	if (options->frames == FRAME_MANY_MACS && options->touch == TOUCH_NONE &&
	    options->n_macs / 2 > n_slots)
		usage_error("--macs %lu with --touch none: a ring of %lu has no frames for that many; new "
			    "addresses have to be written",
			    options->n_macs, options->ring_size);
}

/* After the others: it makes them frames of TCP. */
static void
options_check_tso(struct options *options)
{
	if (!options->frame_size)
		options->frame_size = options->tso ? TCP_FRAME_LEN_MAX : FRAME_LEN_DEFAULT;
	if (!options->tso && options->frame_size > FRAME_LEN_MAX)
		usage_error("--frame-size %lu: more than %d needs --tso", options->frame_size, FRAME_LEN_MAX);
	if (!options->tso)
		return;
	if (options->frames != FRAME_PLAIN || options->imix || options->control)
		usage_error("--tso has frames of its own: not with --frames, --imix, --rss, --filter, "
			    "--hash-report");
	if (options->frame_size <= TCP_HDRS_LEN || (options->frame_size - TCP_HDRS_LEN) % TCP_SEGMENT_LEN)
		usage_error("--frame-size %lu: with --tso, %d and a multiple of %d", options->frame_size,
			    TCP_HDRS_LEN, TCP_SEGMENT_LEN);
	if (options->touch != TOUCH_ONE || options->mode == TRAFFIC_LATENCY)
		usage_error("--tso works with --touch one only, and without --mode latency");
	if (!options->mergeable || options->in_order)
		usage_error("--tso works without --no-mergeable and --in-order only");
	options->frames = FRAME_TCP;
}

static unsigned
n_segments_of(const struct options *options)
{
	return options->tso ? (unsigned)(options->frame_size - TCP_HDRS_LEN) / TCP_SEGMENT_LEN : 0;
}

/* Frames that a receiver gets for each one that was sent. */
static unsigned
arrivals_of(const struct options *options)
{
	bool cut = options->tso == TSO_SEGMENTS && options->direction != DIRECTION_OUT;

	return cut ? n_segments_of(options) : 1;
}

static void
options_check_slices(struct options *options)
{
	if (options->in_slices && !options->json)
		usage_error("--slices answers in JSON: it needs --json");
	if ((options->slices.n_pids || options->slices.beside >= 0) && !options->in_slices)
		usage_error("--stop and --beside are for --slices");
	if (options->slices.beside >= 0 && (options->cpu < 0 || options->cpu == options->slices.beside))
		usage_error("--beside %d: needs --cpu, and that another one", options->slices.beside);
	if (options->in_slices && options->mode == TRAFFIC_PACED)
		usage_error("--slices are paced one by one: not with --mode paced");
	options->slices.cpu = (int)options->cpu;
}

static void
options_check(struct options *options)
{
	if (!options->n_sockets)
		usage_error("no --socket");
	if (!options->packed && (options->ring_size & (options->ring_size - 1)))
		usage_error("--ring-size %lu: a split ring's size is a power of two", options->ring_size);
	if (options->mode == TRAFFIC_PACED && options->pps <= 0)
		usage_error("--mode paced needs --pps");
	if (options->mode == TRAFFIC_LATENCY && options->touch != TOUCH_ONE)
		usage_error("--mode latency works with --touch one only");
	if (options->mode == TRAFFIC_LATENCY && options->frames != FRAME_PLAIN &&
	    options->frames != FRAME_MANY_MACS)
		usage_error("--mode latency works with --frames plain and macs only");
	options_check_direction(options);
	options_check_macs(options);
	if (options->window && options->in_order)
		usage_error("--window works without --in-order only: that counts on all descriptors in turn");
	if (options->n_idle_pairs && options->control)
		usage_error("--idle-pairs works without --rss, --filter and --hash-report only: it has no "
			    "control queue");
	if (options->control & CONTROL_HASH_REPORT && options->frames != FRAME_UDP &&
	    options->frames != FRAME_VLAN)
		usage_error("--hash-report needs --frames udp or vlan: others have no hash");
	if (options->control & CONTROL_FILTER && options->frames != FRAME_VLAN)
		usage_error("--filter needs --frames vlan: it lets no others in");
	options_check_tso(options);
	options_check_slices(options);
}

static void
distance_print(const char *text)
{
	int cpu_a, cpu_b, end = 0;
	bool brief;

	if (sscanf(text, "%d,%d%n", &cpu_a, &cpu_b, &end) != 2 || cpu_a < 0 || cpu_b < 0 ||
	    cpu_a >= CPU_SETSIZE || cpu_b >= CPU_SETSIZE || cpu_a == cpu_b)
		usage_error("--distance %s: not two CPUs, as in 0,1", text);
	brief = !strcmp(&text[end], ",brief");
	if (text[end] && !brief)
		usage_error("--distance %s: not two CPUs, as in 0,1 or 0,1,brief", text);
	printf("%.1f\n", brief ? slices_distance(&(struct slices){.cpu = cpu_a, .beside = cpu_b})
			       : distance_measure(cpu_a, cpu_b, DISTANCE_WARM_UP_S, DISTANCE_RALLIES_MAX,
						  DISTANCE_LIMIT_S));
}

static void
options_parse(struct options *options, int argc, char **argv)
{
	enum {
		SOCKET,
		SERVER,
		LAYOUT,
		RING_SIZE,
		IN_ORDER,
		NO_MERGEABLE,
		SHAPE,
		TOUCH,
		READ_HEADERS,
		FRAME_SIZE,
		FRAMES,
		TSO,
		MACS,
		RSS,
		HASH_REPORT,
		FILTER,
		CONTROL_ERRORS_OK,
		IMIX,
		DIRECTION,
		IDLE_PAIRS,
		DIRTY_LOG,
		MODE,
		PPS,
		BURST,
		WINDOW,
		DURATION,
		WARMUP,
		WAIT,
		CPU,
		PAGES,
		SLICES,
		STOP,
		BESIDE,
		DISTANCE,
		JSON,
		HELP
	};
	static const struct option table[] = {
		{"socket", required_argument, NULL, SOCKET},
		{"server", no_argument, NULL, SERVER},
		{"layout", required_argument, NULL, LAYOUT},
		{"ring-size", required_argument, NULL, RING_SIZE},
		{"in-order", no_argument, NULL, IN_ORDER},
		{"no-mergeable", no_argument, NULL, NO_MERGEABLE},
		{"shape", required_argument, NULL, SHAPE},
		{"touch", required_argument, NULL, TOUCH},
		{"read-headers", no_argument, NULL, READ_HEADERS},
		{"frame-size", required_argument, NULL, FRAME_SIZE},
		{"frames", required_argument, NULL, FRAMES},
		{"tso", required_argument, NULL, TSO},
		{"macs", required_argument, NULL, MACS},
		{"rss", no_argument, NULL, RSS},
		{"hash-report", no_argument, NULL, HASH_REPORT},
		{"filter", no_argument, NULL, FILTER},
		{"control-errors-ok", no_argument, NULL, CONTROL_ERRORS_OK},
		{"imix", no_argument, NULL, IMIX},
		{"direction", required_argument, NULL, DIRECTION},
		{"idle-pairs", required_argument, NULL, IDLE_PAIRS},
		{"dirty-log", no_argument, NULL, DIRTY_LOG},
		{"mode", required_argument, NULL, MODE},
		{"pps", required_argument, NULL, PPS},
		{"burst", required_argument, NULL, BURST},
		{"window", required_argument, NULL, WINDOW},
		{"duration", required_argument, NULL, DURATION},
		{"warmup", required_argument, NULL, WARMUP},
		{"wait", required_argument, NULL, WAIT},
		{"cpu", required_argument, NULL, CPU},
		{"pages", required_argument, NULL, PAGES},
		{"slices", no_argument, NULL, SLICES},
		{"stop", required_argument, NULL, STOP},
		{"beside", required_argument, NULL, BESIDE},
		{"distance", required_argument, NULL, DISTANCE},
		{"json", no_argument, NULL, JSON},
		{"help", no_argument, NULL, HELP},
		{0},
	};
	static const char *const layouts[] = {"split", "packed"};
	static const char *const pages[] = {"auto", "huge", "small"};
	int c, at = 0;

	*options = (struct options){
		.mergeable = true,
		.touch = TOUCH_ONE,
		.ring_size = 256,
		.burst = 32,
		.wait_s = 10,
		.cpu = -1,
		.duration_s = 5,
		.warmup_s = 1,
		.slices = {.cpu = -1, .beside = -1},
	};
	while ((c = getopt_long(argc, argv, "", table, &at)) != -1) {
		const char *name = c == '?' ? "" : table[at].name;

		switch (c) {
		case SOCKET:
			if (options->n_sockets == PORTS_MAX)
				usage_error("--socket %s: two are enough", optarg);
			options->sockets[options->n_sockets++] = optarg;
			break;
		case SERVER:
			options->server = true;
			break;
		case LAYOUT:
			options->packed = choice(name, optarg, layouts, 2);
			break;
		case RING_SIZE:
			options->ring_size = whole_number(name, optarg, 2, 32768);
			break;
		case IN_ORDER:
			options->in_order = true;
			break;
		case NO_MERGEABLE:
			options->mergeable = false;
			break;
		case SHAPE:
			options->shape = choice(name, optarg, shape_names, 2);
			break;
		case TOUCH:
			options->touch = choice(name, optarg, touch_names, 3);
			break;
		case READ_HEADERS:
			options->read_headers = true;
			break;
		case FRAME_SIZE:
			options->frame_size = whole_number(name, optarg, FRAME_LEN_MIN, TCP_FRAME_LEN_MAX);
			break;
		case FRAMES:
			options->frames = choice(name, optarg, frames_names, 4);
			break;
		case TSO:
			options->tso = choice(name, optarg, tso_names, 3);
			break;
		case MACS:
			options->n_macs = whole_number(name, optarg, 2, 2 * FRAME_PORT_MACS_MAX);
			break;
		case RSS:
			options->control |= CONTROL_RSS;
			break;
		case HASH_REPORT:
			options->control |= CONTROL_HASH_REPORT;
			break;
		case FILTER:
			options->control |= CONTROL_FILTER;
			break;
		case CONTROL_ERRORS_OK:
			options->control_errors_ok = true;
			break;
		case IMIX:
			options->imix = true;
			break;
		case DIRECTION:
			options->direction = choice(name, optarg, direction_names, 4);
			break;
		case IDLE_PAIRS:
			options->n_idle_pairs = whole_number(name, optarg, 0, IDLE_PAIRS_MAX);
			break;
		case DIRTY_LOG:
			options->dirty_log = true;
			break;
		case MODE:
			options->mode = choice(name, optarg, mode_names, 3);
			break;
		case PPS:
			options->pps = number(name, optarg, 1, 1e9);
			break;
		case BURST:
			options->burst = whole_number(name, optarg, 1, RING_BATCH_MAX);
			break;
		case WINDOW:
			options->window = whole_number(name, optarg, 1, 32768);
			break;
		case DURATION:
			options->duration_s = number(name, optarg, 0.01, 1e6);
			break;
		case WARMUP:
			options->warmup_s = number(name, optarg, 0, 1e6);
			break;
		case WAIT:
			options->wait_s = whole_number(name, optarg, 1, 3600);
			break;
		case CPU:
			options->cpu = (long)whole_number(name, optarg, 0, CPU_SETSIZE - 1);
			break;
		case PAGES:
			options->pages = choice(name, optarg, pages, 3);
			break;
		case SLICES:
			options->in_slices = true;
			break;
		case STOP:
			if (options->slices.n_pids == SLICES_PIDS_MAX)
				usage_error("--stop %s: no more than %d", optarg, SLICES_PIDS_MAX);
			options->slices.pids[options->slices.n_pids++] =
				(pid_t)whole_number(name, optarg, 2, INT_MAX);
			break;
		case BESIDE:
			options->slices.beside = (int)whole_number(name, optarg, 0, CPU_SETSIZE - 1);
			break;
		case DISTANCE:
			distance_print(optarg);
			exit(0);
		case JSON:
			options->json = true;
			break;
		case HELP:
			fputs(usage_text, stdout);
			exit(0);
		default:
			fputs("nullguest: see nullguest --help\n", stderr);
			exit(2);
		}
	}
	if (optind < argc)
		usage_error("%s: not an option", argv[optind]);
	options_check(options);
}

static void
guest_start(struct guest *guest, const struct options *options)
{
	struct ring *rings[2 * (IDLE_PAIRS_MAX + 1)] = {&guest->to_guest, &guest->from_guest};
	unsigned n_rings = 2;

	for (unsigned i = 0; i < 2 * guest->idle.n; i++)
		rings[n_rings++] = &guest->idle.rings[i];
	if (options->control) /* and then no idle pairs */
		rings[n_rings++] = &guest->control.ring;
	vhost_frontend_start(&guest->frontend, options->dirty_log ? &guest->log : NULL, &guest->mem, rings,
			     n_rings);
}

static void
guest_open(struct guest *guest, const struct options *options, const struct ring_config *config,
	   unsigned port)
{
	char letter = (char)('A' + port), ring_name[16];
	const struct vhost_frontend_wants wants = {
		.control = options->control,
		.n_pairs = (unsigned)options->n_idle_pairs + 1,
		.dirty_log = options->dirty_log,
		.tso = options->tso,
	};
	size_t size, to_guest_size, control_at, idle_at;
	uint64_t gpa_delta;

	snprintf(guest->name, sizeof(guest->name), "port %c", letter);
	vhost_frontend_connect(&guest->frontend, guest->name, options->sockets[port], options->server,
			       (unsigned)options->wait_s);
	vhost_frontend_negotiate(&guest->frontend, config, &wants);

	snprintf(ring_name, sizeof(ring_name), "port %c rx", letter);
	to_guest_size = ring_plan(&guest->to_guest, config, RING_TO_GUEST, ring_name);
	snprintf(ring_name, sizeof(ring_name), "port %c tx", letter);
	control_at = to_guest_size + ring_plan(&guest->from_guest, config, RING_FROM_GUEST, ring_name);
	/* Last, and always there: everything else lies in the same places with it or without. */
	snprintf(ring_name, sizeof(ring_name), "port %c control", letter);
	idle_at = control_at + control_plan(&guest->control, config, ring_name);
	size = idle_at + idle_pairs_plan(&guest->idle, (unsigned)options->n_idle_pairs, config, letter);
	guest_mem_open(&guest->mem, size, options->pages);
	gpa_delta = GUEST_MEM_GPA - (uint64_t)guest->mem.va;
	ring_place(&guest->to_guest, config, guest->mem.va, gpa_delta);
	ring_place(&guest->from_guest, config, guest->mem.va + to_guest_size, gpa_delta);
	control_place(&guest->control, guest->mem.va + control_at, gpa_delta);
	idle_pairs_place(&guest->idle, config, guest->mem.va + idle_at, gpa_delta);
	guest->control.errors = options->control_errors_ok ? CONTROL_ERRORS_COUNTED : CONTROL_ERRORS_FATAL;
	if (options->dirty_log)
		dirty_log_open(&guest->log, GUEST_MEM_GPA, guest->mem.size);
	guest_start(guest, options);
	control_run(&guest->control, options->control);
	idle_pairs_start(&guest->idle);
}

static void
guest_close(struct guest *guest, const struct options *options)
{
	vhost_frontend_close(&guest->frontend);
	ring_free(&guest->to_guest);
	ring_free(&guest->from_guest);
	control_free(&guest->control);
	idle_pairs_free(&guest->idle);
	if (options->dirty_log)
		dirty_log_close(&guest->log);
	guest_mem_close(&guest->mem);
}

static void
traffic_plan(struct traffic *traffic, const struct options *options, const struct ring_config *config,
	     struct guest *guests)
{
	static const char *const names[2][2] = {{"a2a"}, {"a2b", "b2a"}};
	const bool sends = options->direction != DIRECTION_IN, receives = options->direction != DIRECTION_OUT;

	traffic->mode = options->mode;
	traffic->touch = options->touch;
	traffic->burst = (uint32_t)options->burst;
	traffic->packed = options->packed;
	traffic->pps = options->pps;
	traffic->n_flows = options->direction == DIRECTION_BOTH ? 2 : 1;
	for (unsigned i = 0; i < traffic->n_flows; i++) {
		struct flow *flow = &traffic->flows[i];
		struct guest *to = &guests[(i + 1) % options->n_sockets];

		flow->name = sends && receives ? names[options->n_sockets - 1][i]
					       : direction_names[options->direction];
		flow->from = sends ? &guests[i].from_guest : NULL;
		flow->to = receives ? &to->to_guest : NULL;
		flow->check.any = !sends;
		flow->word = flow->check.next = (uint64_t)(0xa0 + i) << SEQ_TAG_SHIFT;
		/* A guest with mergeable buffers reads each header, unless it looks at nothing. */
		if (config->mergeable && (options->read_headers || options->touch != TOUCH_NONE ||
					  config->frame_len_max > to->to_guest.data_len))
			flow->header =
				options->control & CONTROL_HASH_REPORT ? HEADER_READ_HASH : HEADER_READ;
		if (options->tso && sends && receives) {
			flow->header = HEADER_READ_TCP;
			tcp_arrival_init(&flow->tcp, options->tso, config->n_segments);
		}
	}
	for (unsigned i = 0; i < options->n_sockets; i++) {
		traffic->rings[traffic->n_rings++] = &guests[i].to_guest;
		traffic->rings[traffic->n_rings++] = &guests[i].from_guest;
		if (options->dirty_log)
			traffic->logs[traffic->n_logs++] = &guests[i].log;
	}
}

/* a + sign * b; sign: 1, or all ones for a difference. */
static void
counters_combine(struct flow_counters *a, const struct flow_counters *b, uint64_t sign)
{
	a->posted += sign * b->posted;
	a->taken += sign * b->taken;
	a->delivered += sign * b->delivered;
	a->bytes += sign * b->bytes;
	a->unsent += sign * b->unsent;
	a->lost += sign * b->lost;
	a->duplicated += sign * b->duplicated;
	a->reordered += sign * b->reordered;
	a->foreign += sign * b->foreign;
	a->malformed += sign * b->malformed;
	a->unhashed += sign * b->unhashed;
}

static void
counters_add(struct flow_counters *a, const struct flow_counters *b)
{
	counters_combine(a, b, 1);
}

static void
counters_subtract(struct flow_counters *a, const struct flow_counters *b)
{
	counters_combine(a, b, UINT64_MAX);
}

static double
seconds_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static long
involuntary_switches(void)
{
	struct rusage usage;

	getrusage(RUSAGE_THREAD, &usage);
	return usage.ru_nivcsw;
}

static void
measure(struct traffic *traffic, double seconds, struct period *ret_period)
{
	struct flow_counters before[2];

	traffic_times_reset(traffic);
	ret_period->n_dirty_pages = traffic_dirty_pages(traffic);
	for (unsigned i = 0; i < traffic->n_flows; i++)
		flow_counters_get(&traffic->flows[i], &before[i]);
	ret_period->n_involuntary_switches = involuntary_switches();
	ret_period->began_s = seconds_now();
	traffic_run(traffic, seconds);
	ret_period->seconds = seconds_now() - ret_period->began_s;
	ret_period->n_involuntary_switches = involuntary_switches() - ret_period->n_involuntary_switches;
	ret_period->n_dirty_pages = traffic_dirty_pages(traffic) - ret_period->n_dirty_pages;
	for (unsigned i = 0; i < traffic->n_flows; i++) {
		flow_counters_get(&traffic->flows[i], &ret_period->flows[i]);
		counters_subtract(&ret_period->flows[i], &before[i]);
	}
}

struct sums {
	uint64_t n_frames; /* delivered, or taken where nobody receives */
	double mpps;
	double gbps;
	double payload_gbps; /* of TCP, or 0 */
	double guest_tsc_per_frame;
	double frames_per_iteration; /* of those that moved something */
	double idle_share;
	double stalled_share;
	double dry_share;
};

/* In the frames that the figure counts. Of those that were taken only the number is known: on average. */
static double
flow_bytes(const struct flow *flow, const struct flow_counters *counters)
{
	if (flow->to)
		return (double)counters->bytes;
	return (double)flow->from->frame_bytes / flow->from->n_slots * (double)counters->taken;
}

static struct sums
sum_up(const struct traffic *traffic, const struct period *period)
{
	struct sums sums = {0};
	double tsc = traffic->mode == TRAFFIC_LATENCY
			     ? period->seconds * traffic->tsc_hz
			     : (double)(traffic->tsc_busy + traffic->tsc_idle + traffic->tsc_stalled);
	double bytes = 0;

	for (unsigned i = 0; i < traffic->n_flows; i++) {
		sums.n_frames += flow_n_moved(&traffic->flows[i], &period->flows[i]);
		bytes += flow_bytes(&traffic->flows[i], &period->flows[i]);
	}
	sums.mpps = (double)sums.n_frames / period->seconds / 1e6;
	sums.gbps = bytes * 8 / period->seconds / 1e9;
	if (traffic->flows[0].from && traffic->flows[0].from->n_segments)
		sums.payload_gbps =
			(bytes - (double)sums.n_frames * TCP_HDRS_LEN) * 8 / period->seconds / 1e9;
	if (sums.n_frames)
		sums.guest_tsc_per_frame = (double)traffic->tsc_busy / (double)sums.n_frames;
	if (traffic->n_iterations > traffic->n_iterations_idle)
		sums.frames_per_iteration =
			(double)sums.n_frames / (double)(traffic->n_iterations - traffic->n_iterations_idle);
	if (tsc > 0) {
		sums.idle_share = (double)traffic->tsc_idle / tsc;
		sums.stalled_share = (double)traffic->tsc_stalled / tsc;
		sums.dry_share = (double)traffic->tsc_dry / tsc;
	}
	return sums;
}

/* Of the total, the counters; of the times and latencies, the last period's are the traffic's. */
static void
period_add(struct period *total, const struct period *period, unsigned n_flows)
{
	total->seconds += period->seconds;
	total->n_dirty_pages += period->n_dirty_pages;
	total->n_involuntary_switches += period->n_involuntary_switches;
	for (unsigned i = 0; i < n_flows; i++)
		counters_add(&total->flows[i], &period->flows[i]);
}

static double
latency_ns(const struct traffic *traffic, double share)
{
	return (double)histogram_percentile(&traffic->latency, share) / traffic->tsc_hz * 1e9;
}

static void
report_flow_json(const char *name, const struct flow_counters *c, const char *end)
{
	printf("\"%s\":{\"sent\":%lu,\"taken\":%lu,\"delivered\":%lu,\"bytes\":%lu,\"unsent\":%lu,\"lost\":%"
	       "lu,"
	       "\"duplicated\":%lu,\"reordered\":%lu,\"foreign\":%lu,\"malformed\":%lu,\"unhashed\":%lu}%s",
	       name, c->posted, c->taken, c->delivered, c->bytes, c->unsent, c->lost, c->duplicated,
	       c->reordered, c->foreign, c->malformed, c->unhashed, end);
}

/* What was reached, without the counters: of a whole run, or of a slice. */
static void
report_figures_json(const struct options *options, const struct traffic *traffic, const struct period *period)
{
	struct sums sums = sum_up(traffic, period);

	if (options->tso)
		printf("\"payload_gbps\":%.4f,", sums.payload_gbps);
	printf("\"seconds\":%.6f,\"mpps\":%.6f,\"gbps\":%.4f,\"guest_stalled_share\":%.4f,", period->seconds,
	       sums.mpps, sums.gbps, sums.stalled_share);
	if (traffic->mode != TRAFFIC_LATENCY)
		printf("\"guest_tsc_per_frame\":%.1f,\"guest_frames_per_iteration\":%.1f,"
		       "\"guest_idle_share\":%.4f,\"dry_share\":%.4f,",
		       sums.guest_tsc_per_frame, sums.frames_per_iteration, sums.idle_share, sums.dry_share);
	else
		printf("\"latency_ns\":{\"n\":%lu,\"timeouts\":%lu,\"min\":%.0f,\"p50\":%.0f,\"p99\":%.0f,"
		       "\"p99.9\":%.0f,"
		       "\"max\":%.0f},",
		       traffic->latency.n, traffic->n_timeouts,
		       (double)traffic->latency.min / traffic->tsc_hz * 1e9, latency_ns(traffic, 0.5),
		       latency_ns(traffic, 0.99), latency_ns(traffic, 0.999),
		       (double)traffic->latency.max / traffic->tsc_hz * 1e9);
	printf("\"involuntary_switches\":%ld", period->n_involuntary_switches);
}

static void
report_json(const struct options *options, const struct guest *guests, const struct traffic *traffic,
	    const struct period *period)
{
	printf("{\"layout\":\"%s\",\"ring_size\":%lu,\"mergeable\":%s,\"in_order\":%s,\"shape\":\"%s\","
	       "\"touch\":\"%s\","
	       "\"mode\":\"%s\",\"frame_size\":",
	       options->packed ? "packed" : "split", options->ring_size,
	       options->mergeable ? "true" : "false", options->in_order ? "true" : "false",
	       shape_names[options->shape], touch_names[options->touch], mode_names[options->mode]);
	printf(options->imix ? "\"imix\"" : "%lu", options->frame_size);
	printf(",\"frames\":\"%s\",\"rss\":%s,\"filter\":%s,\"hash_report\":%s,\"hdr_len\":%u,"
	       "\"control_ok\":%u,\"control_errors\":%u",
	       frames_names[options->frames], options->control & CONTROL_RSS ? "true" : "false",
	       options->control & CONTROL_FILTER ? "true" : "false",
	       options->control & CONTROL_HASH_REPORT ? "true" : "false", guests[0].to_guest.hdr_len,
	       guests[0].control.n_ok + guests[1].control.n_ok,
	       guests[0].control.n_errors + guests[1].control.n_errors);
	if (options->frames == FRAME_MANY_MACS)
		printf(",\"macs\":%lu", options->n_macs);
	if (options->tso)
		printf(",\"tso\":\"%s\",\"segments_per_frame\":%u", tso_names[options->tso],
		       arrivals_of(options));
	printf(",\"idle_pairs\":%u", guests[0].idle.n);
	if (options->dirty_log)
		printf(",\"dirty_pages\":%lu", period->n_dirty_pages);
	printf(",\"burst\":%lu,\"page_kib\":%u,\"tsc_hz\":%.0f,", options->burst, guests[0].mem.page_kib,
	       traffic->tsc_hz);
	report_figures_json(options, traffic, period);
	printf(",\"measured\":{");
	for (unsigned i = 0; i < traffic->n_flows; i++)
		report_flow_json(traffic->flows[i].name, &period->flows[i],
				 i + 1 < traffic->n_flows ? "," : "");
	printf("},\"whole_run\":{");
	for (unsigned i = 0; i < traffic->n_flows; i++) {
		struct flow_counters total;

		flow_counters_get(&traffic->flows[i], &total);
		report_flow_json(traffic->flows[i].name, &total, i + 1 < traffic->n_flows ? "," : "");
	}
	printf("}}\n");
}

static void
report_text(const struct options *options, const struct guest *guests, const struct traffic *traffic,
	    const struct period *period)
{
	struct sums sums = sum_up(traffic, period);

	printf("%s ring of %lu, %s, %sshape %s, touch %s, %u KiB pages\n",
	       options->packed ? "packed" : "split", options->ring_size,
	       options->mergeable ? "mergeable" : "not mergeable", options->in_order ? "in order, " : "",
	       shape_names[options->shape], touch_names[options->touch], guests[0].mem.page_kib);
	if (options->control)
		printf("%s frames,%s%s%s; control commands: %u ok, %u refused\n",
		       frames_names[options->frames], options->control & CONTROL_RSS ? " rss" : "",
		       options->control & CONTROL_FILTER ? " filter" : "",
		       options->control & CONTROL_HASH_REPORT ? " hash report" : "",
		       guests[0].control.n_ok + guests[1].control.n_ok,
		       guests[0].control.n_errors + guests[1].control.n_errors);
	if (options->frames == FRAME_MANY_MACS)
		printf("frames between %lu addresses\n", options->n_macs);
	if (options->tso)
		printf("TCP, %u segments in each frame, received %s: %.3f Gbit/s of payload\n",
		       n_segments_of(options), options->tso == TSO_WHOLE ? "whole" : "cut",
		       sums.payload_gbps);
	if (guests[0].idle.n)
		printf("%u idle queue pairs on each port\n", guests[0].idle.n);
	if (options->dirty_log)
		printf("dirty log: %lu pages found\n", period->n_dirty_pages);
	printf("%s: %.3f Mpps, %.3f Gbit/s in %.2f s\n",
	       options->direction == DIRECTION_OUT ? "taken" : "delivered", sums.mpps, sums.gbps,
	       period->seconds);
	for (unsigned i = 0; i < traffic->n_flows; i++) {
		const struct flow_counters *c = &period->flows[i];
		struct flow_counters total;

		printf("  %s: delivered %lu, lost %lu, duplicated %lu, reordered %lu, foreign %lu, malformed "
		       "%lu, unsent %lu\n",
		       traffic->flows[i].name, c->delivered, c->lost, c->duplicated, c->reordered, c->foreign,
		       c->malformed, c->unsent);
		flow_counters_get(&traffic->flows[i], &total);
		printf("       whole run: sent %lu, taken %lu, delivered %lu, missing %ld\n", total.posted,
		       total.taken, total.delivered,
		       options->direction == DIRECTION_IN ? 0
							  : (long)(total.posted * arrivals_of(options) -
								   flow_n_moved(&traffic->flows[i], &total)));
		if (options->control & CONTROL_HASH_REPORT)
			printf("       without a hash: %lu\n", total.unhashed);
	}
	if (traffic->mode == TRAFFIC_LATENCY) {
		printf("latency one way, ns: p50 %.0f, p99 %.0f, p99.9 %.0f, max %.0f (%lu probes, %lu "
		       "timeouts)\n",
		       latency_ns(traffic, 0.5), latency_ns(traffic, 0.99), latency_ns(traffic, 0.999),
		       (double)traffic->latency.max / traffic->tsc_hz * 1e9, traffic->latency.n,
		       traffic->n_timeouts);
		return;
	}
	printf("guests: %.1f tsc per frame (both ends), %.1f frames per turn, idle %.1f %% of the time, off "
	       "the CPU %.1f %%, "
	       "%ld involuntary switches\n",
	       sums.guest_tsc_per_frame, sums.frames_per_iteration, sums.idle_share * 100,
	       sums.stalled_share * 100, period->n_involuntary_switches);
	if (traffic->mode == TRAFFIC_SATURATED)
		printf("limit: the %s\n",
		       sums.idle_share < 0.02 ? "guests (the back-end may be faster)" : "back-end");
}

/* /dev/null. */
static int nothing_fd = -1;

/* A read of standard input that is under way ends by the signal, and one that begins only now at the end of the file
 * that stands in its place. */
static void
on_signal(int sig)
{
	const int before = errno;

	(void)sig;
	traffic_stopped = true;
	dup2(nothing_fd, STDIN_FILENO);
	errno = before;
}

static void
pin(long cpu)
{
	cpu_set_t set;

	if (cpu < 0)
		return;
	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		fail("--cpu %ld: %s", cpu, strerror(errno));
}

/* Two for each ring: more than the usual limit when there are many. */
static void
descriptors_allow(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit))
		fail("RLIMIT_NOFILE: %m");
	limit.rlim_cur = limit.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &limit))
		fail("RLIMIT_NOFILE: %m");
}

static void
slice_report(const struct options *options, const struct traffic *traffic, const struct period *period,
	     const double distances[2])
{
	printf("{\"slice\":true,\"began_s\":%.6f,\"distance_ns\":[%.1f,%.1f],", period->began_s, distances[0],
	       distances[1]);
	report_figures_json(options, traffic, period);
	printf("}\n");
	fflush(stdout);
}

/* One slice. What is under way at its end stays in the rings, for the next one to find. */
static void
slice_run(struct traffic *traffic, const struct options *options, const struct slice_order *order,
	  struct period *ret_period)
{
	double distances[2];

	if (options->mode == TRAFFIC_SATURATED)
		traffic_pace(traffic, order->pps);
	distances[0] = slices_distance(&options->slices);
	slices_go(&options->slices);
	traffic_run(traffic, order->skip_s);
	measure(traffic, order->seconds, ret_period);
	if (!order->keep) {
		slices_halt(&options->slices);
		distances[1] = slices_distance(&options->slices);
	} else {
		distances[1] = distances[0];
	}
	slice_report(options, traffic, ret_period, distances);
}

/* Slices until the end of input; their sum. */
static void
slices_serve(struct traffic *traffic, const struct options *options, struct period *ret_total)
{
	struct slice_order order;

	*ret_total = (struct period){0};
	slices_halt(&options->slices);
	printf("{\"ready\":true,\"tsc_hz\":%.0f}\n", traffic->tsc_hz);
	fflush(stdout);
	while (slices_next(&order) && !traffic_stopped) {
		struct period period;

		slice_run(traffic, options, &order, &period);
		period_add(ret_total, &period, traffic->n_flows);
	}
	slices_go(&options->slices);
}

/* Of the frames that this port sends. What leaves by --direction out goes to addresses of a port B all the
 * same. */
static struct frame_macs
macs_of(const struct options *options, unsigned port)
{
	bool other = options->n_sockets == 2 || options->direction == DIRECTION_OUT;

	if (options->frames != FRAME_MANY_MACS)
		return (struct frame_macs){.n = 0};
	return (struct frame_macs){
		.n = (uint32_t)options->n_macs / 2,
		.from_port = (uint8_t)port,
		.to_port = (uint8_t)(other ? 1 - port : port),
	};
}

int
main(int argc, char **argv)
{
	static struct traffic traffic; /* large: histogram and gaps */
	static struct guest guests[PORTS_MAX];
	/* No SA_RESTART: one that waits for an order ends, too. */
	const struct sigaction ends = {.sa_handler = on_signal};
	struct options options;
	struct period period = {0};
	uint16_t one_length;
	struct ring_config config;

	options_parse(&options, argc, argv);
	one_length = (uint16_t)options.frame_size;
	config = (struct ring_config){
		.packed = options.packed,
		.in_order = options.in_order,
		.mergeable = options.mergeable,
		.shape = options.shape,
		.hdr_len = options.control & CONTROL_HASH_REPORT ? VNET_HDR_LEN_HASHED : VNET_HDR_LEN,
		.frame_kind = options.frames,
		.tso = options.tso,
		.n_segments = n_segments_of(&options),
		.window = (uint32_t)options.window,
		.size = (uint32_t)options.ring_size,
		.frame_len_max = options.imix ? 1518 : one_length,
		.frame_pattern = options.imix ? imix_pattern : &one_length,
		.n_pattern = options.imix ? sizeof(imix_pattern) / sizeof(imix_pattern[0]) : 1,
	};
	nothing_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	sigaction(SIGINT, &ends, NULL);
	sigaction(SIGTERM, &ends, NULL);
	pin(options.cpu);
	traffic.tsc_hz = traffic_tsc_calibrate();
	if (options.n_idle_pairs)
		descriptors_allow();
	for (unsigned i = 0; i < options.n_sockets; i++) {
		config.macs = macs_of(&options, i);
		guest_open(&guests[i], &options, &config, i);
	}
	traffic_plan(&traffic, &options, &config, guests);

	traffic_await(&traffic, (unsigned)options.wait_s);
	traffic_run(&traffic, options.warmup_s);
	if (options.in_slices)
		slices_serve(&traffic, &options, &period);
	else
		measure(&traffic, options.duration_s, &period);
	traffic_drain(&traffic);
	for (unsigned i = 0; i < options.n_sockets; i++)
		idle_pairs_check(&guests[i].idle);
	if (options.dirty_log && !period.n_dirty_pages && sum_up(&traffic, &period).n_frames)
		fail("the back-end moved %lu frames and marked no page in the dirty log",
		     sum_up(&traffic, &period).n_frames);
	if (options.json)
		report_json(&options, guests, &traffic, &period);
	else
		report_text(&options, guests, &traffic, &period);
	for (unsigned i = 0; i < options.n_sockets; i++)
		guest_close(&guests[i], &options);
	return 0;
}
