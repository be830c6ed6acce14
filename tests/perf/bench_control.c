/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * bench_control: what RSS, the receive filter and hash reports cost a worker, in TSC cycles a frame, with
 * everything in the first-level cache: the instructions alone, without the lines that travel between CPUs.
 *
 *     frames -> fwd_send() -> filter -> steer->pick() -> vnet_tx() -> burst function -> ring -> the driver
 *               \_____________ timed: four bursts of 32 frames of 64 bytes ____________/       model
 *
 * Two devices, one with the feature and one without, get frames of the same kind in turns. Frames are new in
 * every pass, so that nothing can be predicted from the pass before. It measures only what it has seen work:
 * with the feature on, frames arrive, hashed, steered or kept out.
 *
 * --instructions counts instead, by single steps: what code a frame passes through, which is the same on a
 * slow machine, a fast one and a busy one. --isa takes an ISA variant (isa.h) that is less than what this CPU
 * has.
 */
#include <getopt.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <rte_cycles.h>
#include <rte_eal.h>
#include <rte_mbuf.h>
#include <rte_version.h>

#include "driver.h"
#include "filter.h"
#include "frame.h"
#include "fwd.h"
#include "isa.h"
#include "must.h"
#include "reconcile.h"
#include "rng.h"
#include "steer.h"
#include "vnet_dev.h"

enum {
	BURST = 32,
	PASS_BURSTS = 4,
	PASS_FRAMES = BURST * PASS_BURSTS,
	PASSES = 256, /* in a row with one device */
	WARMUP_PASSES = 32,
	COUNTED_FROM = PASS_FRAMES - BURST, /* one burst is enough, and takes some 50 ms */
	ROUNDS = 15,
	ROUNDS_MAX = 1000,
	RING_SIZE = 256,
	PAIRS_MAX = 2,
	FRAME_LEN = 64,
	/* A buffer starts so that the frame starts on a cache line; an odd number of lines apart. */
	BUFFER_LEN = 256,
	BUFFER_STRIDE = 320,
	TEMPLATES = 1024,
	FLOWS_KNOWN = 64, /* few share a place of the table, where they take turns */
	POOL_FRAMES = 1023,
	MBUF_ROOM = RTE_PKTMBUF_HEADROOM + 128,
	REPORT_UDP4 = 3,
};

/* What one device has on. */
enum feature {
	RSS = 1 << 0,
	RSS_PAIRS = 1 << 1, /* the table names two pairs in turns, not one */
	FILTER = 1 << 2,
	HASH_REPORT = 1 << 3,
	FLOWS = 1 << 4, /* two pairs, frames go where their flow was sent from */
};

/* What is timed. */
enum timed {
	TIMED_SEND,   /* fwd_send(), down to the published ring */
	TIMED_PICK,   /* the steering's function alone */
	TIMED_LEARN,  /* learning flows alone */
	TIMED_FILTER, /* the filter's function alone */
};

struct row {
	const char *name;
	enum timed timed;
	enum frame_kind frames;
	unsigned off, on;
};

static const struct row rows[] = {
	{"rss", TIMED_SEND, FRAME_UDP, 0, RSS},
	{"rss-two-pairs", TIMED_SEND, FRAME_UDP, 0, RSS | RSS_PAIRS},
	{"filter", TIMED_SEND, FRAME_VLAN, 0, FILTER},
	{"hash-report", TIMED_SEND, FRAME_UDP, 0, HASH_REPORT},
	{"hash-report-with-rss", TIMED_SEND, FRAME_UDP, RSS, RSS | HASH_REPORT},
	{"pick-alone", TIMED_PICK, FRAME_UDP, 0, RSS | RSS_PAIRS},
	{"flows-pick-alone", TIMED_PICK, FRAME_UDP, 0, FLOWS},
	{"flows-learn-alone", TIMED_LEARN, FRAME_UDP, 0, FLOWS},
	{"filter-alone", TIMED_FILTER, FRAME_VLAN, 0, FILTER},
};

/* A device, its driver, and its port. */
struct rig {
	struct driver_mem mem;
	struct driver_queue driver[PAIRS_MAX];
	struct vnet_conf confs[PAIRS_MAX]; /* of their devices' halves */
	struct vnet_dev dev;
	struct port port;
	struct port_txq txqs[PAIRS_MAX];
	struct port_steer *steer;
	struct vnet_filter *filter;
	struct vnet_flows *flows; /* NULL: none */
	uint64_t buffers_gpa[PAIRS_MAX];
	uint16_t hdr_len;
	unsigned features;
};

static struct rng rng = {1}; /* the same frames in every run */
static struct rte_mempool *pool;
static uint8_t templates[TEMPLATES][FRAME_LEN];
static struct fwd_worker worker;
static struct port from_port = {.name = "from", .n_queues = 1};
static struct port_rxq from_queue = {.port = &from_port};

/* --- a device --- */

static void
settings_fill(const struct rig *rig, struct vnet_settings *settings)
{
	/* The key that Microsoft's RSS documentation verifies its hashes with. */
	static const uint8_t key[STEER_RSS_KEY_LEN] = {
		0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3,
		0x8f, 0xb0, 0xd0, 0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3,
		0x80, 0x30, 0xf2, 0x0c, 0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
	};

	vnet_settings_reset(&rig->dev, settings);
	if (rig->features & (RSS | HASH_REPORT)) {
		settings->steer.hash.types = HASH_TYPES_ALL;
		settings->steer.hash.key_len = sizeof(key);
		memcpy(settings->steer.hash.key, key, sizeof(key));
	}
	if (rig->features & RSS) {
		settings->steer.rss.enabled = true;
		settings->steer.rss.table_len = STEER_RSS_TABLE_MAX;
		for (unsigned i = 0; rig->features & RSS_PAIRS && i < STEER_RSS_TABLE_MAX; i++)
			settings->steer.rss.table[i] = i % PAIRS_MAX;
	}
	if (rig->features & FILTER) {
		settings->filter.promisc = false;
		settings->filter.unicast.n = FRAME_MACS;
		for (unsigned i = 0; i < FRAME_MACS; i++)
			frame_mac(i, settings->filter.unicast.addrs[i].addr_bytes);
		for (unsigned i = 0; i < FRAME_VLANS; i++)
			settings->filter.vlans[frame_vlan(i) / 64] |= 1ull << (frame_vlan(i) % 64);
	}
}

static void
rig_post(struct rig *rig, unsigned pair, uint64_t slot)
{
	struct driver_buf buf = {
		.gpa = rig->buffers_gpa[pair] + slot * BUFFER_STRIDE + RTE_CACHE_LINE_SIZE - rig->hdr_len,
		.len = BUFFER_LEN,
		.writable = true,
	};

	MUST(driver_add(&rig->driver[pair], &buf, 1, DRIVER_DIRECT, slot), "no room in the ring");
}

/* The guest takes its frames and gives the buffers back; returns how many there were. */
static unsigned
rig_reap(struct rig *rig, unsigned *ret_unhashed)
{
	unsigned n = 0;

	*ret_unhashed = 0;
	for (unsigned pair = 0; pair < rig->port.n_queues; pair++) {
		uint64_t slots[PASS_FRAMES];
		uint32_t len;
		unsigned n_pair = 0;

		while (driver_get(&rig->driver[pair], &slots[n_pair], &len)) {
			uint64_t gpa = rig->buffers_gpa[pair] + slots[n_pair] * BUFFER_STRIDE;
			uint16_t report;

			MUST(len == rig->hdr_len + (uint32_t)FRAME_LEN, "a frame of %u bytes with its header",
			     len);
			driver_read(&rig->mem, gpa + RTE_CACHE_LINE_SIZE - 4, &report, sizeof(report));
			*ret_unhashed += report != REPORT_UDP4;
			n_pair++;
		}
		for (unsigned i = 0; i < n_pair; i++)
			rig_post(rig, pair, slots[i]);
		n += n_pair;
	}
	return n;
}

static void
rig_queue_open(struct rig *rig, unsigned pair, uint32_t traits)
{
	uint32_t base = traits & TRAIT_PACKED ? 0x80008000u : 0;
	struct driver_queue *driver = &rig->driver[pair];
	struct vnet_conf *conf = &rig->confs[pair];

	driver_queue_open(driver, &rig->mem, 2, traits, RING_SIZE, false);
	driver_interrupts(driver, DRIVER_INTERRUPTS_OFF);
	conf->virtq = driver->conf;
	vnet_conf_fill(&rig->dev, &rig->dev.input, &rig->dev.output, 2 * pair, conf);
	rig->hdr_len = (uint16_t)conf->hdr_len;
	MUST(virtq_start(&rig->dev.queues[pair].to_guest, &conf->virtq, base) == 0, "no queue");
	atomic_store(&rig->dev.queues[pair].to_guest.conf, &conf->virtq);
	rig->buffers_gpa[pair] =
		driver_alloc(&rig->mem, 2, (uint64_t)PASS_FRAMES * BUFFER_STRIDE, RTE_CACHE_LINE_SIZE);
	for (unsigned i = 0; i < PASS_FRAMES; i++)
		rig_post(rig, pair, i);
	rig->txqs[pair] = (struct port_txq){
		.tx = vnet_tx, .dev = &rig->dev.queues[pair], .port = &rig->port, .idx = (uint16_t)pair};
}

static struct rig *
rig_open(uint32_t traits, unsigned features)
{
	struct rig *rig =
		aligned_alloc(RTE_CACHE_LINE_SIZE, RTE_ALIGN_CEIL(sizeof(*rig), (size_t)RTE_CACHE_LINE_SIZE));
	static struct vnic_ctx ctx;
	struct vnet_config config = {.ctx = &ctx,
				     .name = "bench",
				     .n_pairs = features & (RSS_PAIRS | FLOWS) ? PAIRS_MAX : 1,
				     .pool = pool};
	uint64_t bits = FEATURE_MASK(VERSION_1) | FEATURE_MASK(NET_MRG_RXBUF);
	static struct vnet_settings settings;
	struct diag diag;

	MUST(rig, "out of memory");
	memset(rig, 0, sizeof(*rig));
	rig->features = features;
	driver_mem_open(&rig->mem);
	MUST(vnet_init(&rig->dev, &config) == 0, "no device");
	bits |= (traits & TRAIT_PACKED ? FEATURE_MASK(RING_PACKED) : 0) |
		(features ? FEATURE_MASK(NET_CTRL_VQ) : 0) | (features & RSS ? FEATURE_MASK(NET_RSS) : 0) |
		(features & FLOWS ? FEATURE_MASK(NET_MQ) : 0) |
		(features & FILTER ? FEATURE_MASK(NET_CTRL_RX) | FEATURE_MASK(NET_CTRL_VLAN) : 0) |
		(features & HASH_REPORT ? FEATURE_MASK(NET_HASH_REPORT) : 0);
	MUST(vdev_set_features(&rig->dev.vdev, bits, &diag) == 0, "features 0x%lx are not to be had", bits);
	settings_fill(rig, &settings);
	if (features & FLOWS) {
		rig->flows = vnet_flows_new();
		MUST(rig->flows, "out of memory");
	}
	MUST(vnet_steer_build(&settings.steer, config.n_pairs,
			      features & HASH_REPORT ? STEER_REPORT : STEER_NO_REPORT, rig->flows,
			      &rig->steer) == 0,
	     "no steering");
	MUST(vnet_filter_build(&settings.filter,
			       features & FILTER ? FILTER_VLANS_BY_MAP : FILTER_VLANS_IGNORED,
			       &rig->filter) == 0,
	     "no filter");
	MUST(!rig->steer == !(features & (RSS | HASH_REPORT | FLOWS)),
	     "steering is there only without its features");
	MUST(!rig->filter == !(features & FILTER), "a filter is there only without its feature");
	rig->port = (struct port){.name = "to",
				  .id = 1,
				  .n_queues = config.n_pairs,
				  .n_active = features & FLOWS ? PAIRS_MAX : 1,
				  .filter = vnet_filter_port(rig->filter),
				  .steer = rig->steer,
				  .txqs = rig->txqs};
	for (unsigned pair = 0; pair < config.n_pairs; pair++)
		rig_queue_open(rig, pair, traits);
	return rig;
}

static void
rig_close(struct rig *rig)
{
	for (unsigned pair = 0; pair < rig->port.n_queues; pair++) {
		atomic_store(&rig->dev.queues[pair].to_guest.conf, NULL);
		driver_queue_close(&rig->driver[pair]);
	}
	vnet_steer_free(rig->steer);
	vnet_filter_free(rig->filter);
	vnet_flows_free(rig->flows);
	vnet_fini(&rig->dev);
	driver_mem_close(&rig->mem);
	free(rig);
}

/* --- frames --- */

static void
templates_make(enum frame_kind kind)
{
	for (unsigned i = 0; i < TEMPLATES; i++)
		frame_build(kind, i, templates[i], FRAME_LEN);
}

/* Flows to learn are met again and again; anything else is new each time. */
static void
frames_make(enum frame_kind kind, unsigned features, struct rte_mbuf *pkts[PASS_FRAMES])
{
	uint32_t ports_off = frame_ports_off(kind);

	MUST(rte_pktmbuf_alloc_bulk(pool, pkts, PASS_FRAMES) == 0, "a frame was not freed");
	for (unsigned i = 0; i < PASS_FRAMES; i++) {
		uint8_t *frame = rte_pktmbuf_mtod(pkts[i], uint8_t *);
		uint32_t template = rng_draw(&rng, features & FLOWS ? FLOWS_KNOWN : TEMPLATES);
		uint32_t ports = features & FLOWS ? template : (uint32_t)rng_next(&rng);

		memcpy(frame, templates[template], FRAME_LEN);
		memcpy(frame + ports_off, &ports, sizeof(ports));
		pkts[i]->pkt_len = FRAME_LEN;
		pkts[i]->data_len = FRAME_LEN;
	}
}

/* --- instructions --- */

#define EFLAGS_TF 0x100ull /* a trap after each instruction; the kernel clears it for the handler */

static bool counting;
static volatile uint64_t n_steps;

static void
on_step(int signum)
{
	n_steps = n_steps + 1;
}

static void
steps_init(void)
{
	struct sigaction action = {.sa_handler = on_step};

	MUST(sigaction(SIGTRAP, &action, NULL) == 0, "no handler for SIGTRAP");
}

static inline __attribute__((always_inline)) void
steps_start(void)
{
	n_steps = 0;
	__builtin_ia32_writeeflags_u64(__builtin_ia32_readeflags_u64() | EFLAGS_TF);
}

static inline __attribute__((always_inline)) uint64_t
steps_stop(void)
{
	__builtin_ia32_writeeflags_u64(__builtin_ia32_readeflags_u64() & ~EFLAGS_TF);
	return n_steps;
}

/* --- a pass --- */

static inline uint64_t
tsc_fenced(void)
{
	uint64_t tsc;

	__builtin_ia32_lfence();
	tsc = __builtin_ia32_rdtsc();
	__builtin_ia32_lfence();
	return tsc;
}

/* One function for both devices of a row: the same code, with and without. Returns TSC cycles, or
 * instructions. */
static __attribute__((noinline)) uint64_t
pass_timed(struct rig *rig, enum timed timed, struct rte_mbuf *pkts[PASS_FRAMES], uint16_t pairs[PASS_FRAMES],
	   uint16_t *ret_n)
{
	uint16_t n = 0;
	uint64_t start;

	/* The frames are in the cache, not on their way there. */
	__builtin_ia32_mfence();
	start = tsc_fenced();
	for (unsigned i = 0; i < PASS_FRAMES; i += BURST) {
		if (counting && i == COUNTED_FROM)
			steps_start();
		switch (timed) {
		case TIMED_SEND:
			fwd_send(&worker, &from_queue, &rig->port, pkts + i, BURST);
			n = (uint16_t)(n + BURST);
			break;
		case TIMED_PICK:
			if (rig->steer)
				rig->steer->pick(rig->steer, &rig->port, &from_queue, pkts + i, BURST,
						 pairs + i);
			n = (uint16_t)(n + BURST);
			break;
		case TIMED_LEARN:
			if (rig->flows)
				vnet_flows_learn(rig->flows, 0, pkts + i, BURST);
			n = (uint16_t)(n + BURST);
			break;
		case TIMED_FILTER:
			n = (uint16_t)(n + (rig->filter ? vnet_filter_burst(rig->filter, pkts + i, BURST)
							: BURST));
			break;
		}
	}
	*ret_n = n;
	return counting ? steps_stop() : tsc_fenced() - start;
}

static uint64_t
pass(struct rig *rig, const struct row *row)
{
	struct rte_mbuf *pkts[PASS_FRAMES], *given[PASS_FRAMES];
	uint16_t pairs[PASS_FRAMES], n;
	unsigned n_unhashed;
	uint64_t tsc;

	frames_make(row->frames, row->on, pkts);
	memcpy(given, pkts, sizeof(given));
	tsc = pass_timed(rig, row->timed, pkts, pairs, &n);
	MUST(n == PASS_FRAMES, "%s: %u of %u frames were let in", row->name, n, PASS_FRAMES);
	if (row->timed != TIMED_SEND) {
		unsigned n_second = 0;

		for (unsigned i = 0; row->timed == TIMED_PICK && rig->steer && i < PASS_FRAMES; i++)
			n_second += pairs[i] == 1;
		MUST(row->timed != TIMED_PICK || !rig->steer ||
			     (n_second > PASS_FRAMES / 4 && n_second < PASS_FRAMES * 3 / 4),
		     "%s: %u of %u frames for the second pair", row->name, n_second, PASS_FRAMES);
		rte_pktmbuf_free_bulk(given, PASS_FRAMES);
		return tsc;
	}
	n = (uint16_t)rig_reap(rig, &n_unhashed);
	MUST(n == PASS_FRAMES, "%s: %u of %u frames arrived", row->name, n, PASS_FRAMES);
	MUST(!(rig->features & HASH_REPORT) || n_unhashed == 0, "%s: %u frames arrived without a hash",
	     row->name, n_unhashed);
	return tsc;
}

/* Half of the flows were sent on pair 1. */
static void
rig_learn(struct rig *rig, const struct row *row)
{
	for (unsigned i = 0; i < 16 * TEMPLATES; i += PASS_FRAMES) {
		struct rte_mbuf *pkts[PASS_FRAMES];

		frames_make(row->frames, row->on, pkts);
		for (unsigned k = 0; k < PASS_FRAMES; k++) {
			uint8_t low_port;

			memcpy(&low_port,
			       rte_pktmbuf_mtod_offset(pkts[k], uint8_t *, frame_ports_off(row->frames)), 1);
			vnet_flows_learn(rig->flows, low_port % PAIRS_MAX, &pkts[k], 1);
		}
		rte_pktmbuf_free_bulk(pkts, PASS_FRAMES);
	}
}

/* That the filter keeps strangers out, and that the table of two pairs is used: else nothing is measured. */
static void
rig_prove(struct rig *rig, const struct row *row)
{
	unsigned n_wanted = rig->features & FILTER ? BURST / 4 : BURST, n, n_unhashed;
	struct rte_mbuf *pkts[PASS_FRAMES];

	frames_make(row->frames, row->on, pkts);
	if (rig->features & FILTER) {
		for (unsigned i = 0; i < BURST; i += 2)
			rte_pktmbuf_mtod(pkts[i], uint8_t *)[5] ^= 0x55; /* another address */
		/* Another VLAN, and never 0, which is none. */
		for (unsigned i = 1; i < BURST; i += 4)
			rte_pktmbuf_mtod(pkts[i], uint8_t *)[15] ^= 0x02;
	}
	fwd_send(&worker, &from_queue, &rig->port, pkts, BURST);
	rte_pktmbuf_free_bulk(pkts + BURST, PASS_FRAMES - BURST);
	if (rig->features & (RSS_PAIRS | FLOWS))
		MUST(rig->txqs[0].stats.packets && rig->txqs[1].stats.packets,
		     "%s: all frames went to one pair", row->name);
	n = rig_reap(rig, &n_unhashed);
	MUST(n == n_wanted, "%s: the filter does not do its work: %u frames came in, not %u", row->name, n,
	     n_wanted);
}

/* --- figures --- */

struct figures {
	unsigned n;
	double off[ROUNDS_MAX], on[ROUNDS_MAX],
		difference[ROUNDS_MAX]; /* TSC cycles a frame, or instructions */
};

static int
compare_doubles(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double
quantile(const double *values, unsigned n, double share)
{
	double sorted[ROUNDS_MAX];

	memcpy(sorted, values, n * sizeof(*values));
	qsort(sorted, n, sizeof(*sorted), compare_doubles);
	return sorted[(unsigned)((n - 1) * share + 0.5)];
}

/* Median of the passes, for a frame: what else ran meanwhile has hit a few of them only. */
static double
block(struct rig *rig, const struct row *row)
{
	double each[PASSES];

	if (counting)
		return (double)pass(rig, row) / (PASS_FRAMES - COUNTED_FROM);
	for (unsigned i = 0; i < WARMUP_PASSES; i++)
		pass(rig, row);
	for (unsigned i = 0; i < PASSES; i++)
		each[i] = (double)pass(rig, row) / PASS_FRAMES;
	return quantile(each, PASSES, 0.5);
}

static void
row_measure(const struct row *row, uint32_t traits, unsigned n_rounds, struct figures *figures)
{
	struct rig *off = rig_open(traits, row->off), *on = rig_open(traits, row->on);

	templates_make(row->frames);
	if (on->flows)
		rig_learn(on, row);
	rig_prove(off, row);
	rig_prove(on, row);
	figures->n = n_rounds;
	for (unsigned i = 0; i < n_rounds; i++) {
		figures->off[i] = block(off, row);
		figures->on[i] = block(on, row);
		figures->difference[i] = figures->on[i] - figures->off[i];
	}
	rig_close(off);
	rig_close(on);
}

static void
report_one(const char *name, const double *values, unsigned n)
{
	printf("\"%s\":{\"min\":%.3f,\"median\":%.3f,\"max\":%.3f}", name, quantile(values, n, 0),
	       quantile(values, n, 0.5), quantile(values, n, 1));
}

/*
 * "cost" is best against best. Disturbance makes rounds slower, hardly ever faster, so with several rounds
 * the best one of each is what the code takes.
 */
static void
report(const struct row *row, const char *layout, const struct figures *figures, bool json,
       const char *before)
{
	double cost = quantile(figures->on, figures->n, 0) - quantile(figures->off, figures->n, 0);

	if (!json) {
		printf("%-22s%-8s%8.2f%8.2f%9.2f%12.2f (%.2f to %.2f)\n", row->name, layout,
		       quantile(figures->off, figures->n, 0), quantile(figures->on, figures->n, 0), cost,
		       quantile(figures->difference, figures->n, 0.5),
		       quantile(figures->difference, figures->n, 0),
		       quantile(figures->difference, figures->n, 1));
		return;
	}
	printf("%s\n\"%s-%s\":{\"cost\":%.3f,", before, row->name, layout, cost);
	report_one("off", figures->off, figures->n);
	putchar(',');
	report_one("on", figures->on, figures->n);
	putchar(',');
	report_one("difference", figures->difference, figures->n);
	putchar('}');
}

static void
eal_start(int cpu)
{
	char lcores[32];
	char *eal[] = {(char *)"bench_control",
		       (char *)"--no-huge",
		       (char *)"-m",
		       (char *)"64",
		       (char *)"--no-pci",
		       (char *)"--no-shconf",
		       (char *)"--no-telemetry",
		       (char *)"--file-prefix=bench_control",
		       (char *)"--log-level=lib.*:error",
		       (char *)"--lcores",
		       lcores};

	snprintf(lcores, sizeof(lcores), "0@%d", cpu);
	MUST(rte_eal_init(RTE_DIM(eal), eal) >= 0, "EAL does not start");
	pool = rte_pktmbuf_pool_create("bench", POOL_FRAMES, 256, 0, MBUF_ROOM, SOCKET_ID_ANY);
	MUST(pool, "no packet buffers");
}

int
main(int argc, char **argv)
{
	static const struct option options[] = {
		{"cpu", required_argument, NULL, 'c'},
		{"rounds", required_argument, NULL, 'r'},
		{"row", required_argument, NULL, 'w'},
		{"isa", required_argument, NULL, 'i'},
		{"instructions", no_argument, NULL, 'n'},
		{"json", no_argument, NULL, 'j'},
		{0},
	};
	static const char *const layouts[] = {"split", "packed"};
	static struct figures figures;
	unsigned n_rounds = 0, n_shown = 0;
	const char *only = NULL, *isa_wanted = NULL;
	enum isa isa = isa_select();
	int c, cpu = sched_getcpu();
	bool json = false, is_known = true;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c == 'c')
			cpu = atoi(optarg);
		else if (c == 'r')
			n_rounds = (unsigned)atoi(optarg);
		else if (c == 'w')
			only = optarg;
		else if (c == 'i')
			isa_wanted = optarg;
		else if (c == 'n')
			counting = true;
		else if (c == 'j')
			json = true;
		else
			is_known = false;
	}
	if (n_rounds == 0)
		n_rounds = counting ? 1 : ROUNDS;
	MUST(is_known && optind == argc && n_rounds <= ROUNDS_MAX && cpu >= 0,
	     "usage: bench_control [--cpu N] [--rounds 1..%d] [--row NAME] [--isa NAME] [--instructions] "
	     "[--json]",
	     ROUNDS_MAX);
	for (unsigned i = 0; isa_wanted && i < ISA_N; i++)
		if (strcmp(isa_wanted, isa_name((enum isa)i)) == 0)
			isa = isa_limit((enum isa)i);
	MUST(!isa_wanted || strcmp(isa_wanted, isa_name(isa)) == 0,
	     "there is no ISA variant %s, or it is not for this CPU, which has %s", isa_wanted,
	     isa_name(isa_select()));
	if (counting)
		steps_init();
	eal_start(cpu);
	if (json)
		printf("{\"cpu\":%d,\"tsc_hz\":%lu,\"dpdk\":\"%s\",\"rounds\":%u,\"isa\":\"%s\",\"unit\":\"%"
		       "s\","
		       "\"rows\":{",
		       cpu, rte_get_tsc_hz(), rte_version(), n_rounds, isa_name(isa),
		       counting ? "instructions" : "TSC cycles");
	else
		printf("%-22slayout       off      on     cost  difference, round by round\n",
		       counting ? "instructions a frame" : "TSC cycles a frame");
	for (size_t i = 0; i < RTE_DIM(rows); i++) {
		if (only && strcmp(only, rows[i].name) != 0)
			continue;
		for (unsigned packed = 0; packed < 2; packed++) {
			row_measure(&rows[i], packed ? TRAIT_PACKED : 0, n_rounds, &figures);
			report(&rows[i], layouts[packed], &figures, json, n_shown++ ? "," : "");
		}
	}
	if (json)
		printf("}}\n");
	MUST(n_shown, "there is no row %s", only);
	return 0;
}
