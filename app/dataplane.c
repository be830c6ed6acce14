/* SPDX-License-Identifier: BSD-3-Clause */
#include "dataplane.h"

#include <assert.h>
#include <errno.h>
#include <linux/membarrier.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_launch.h>
#include <rte_lcore.h>
#include <rte_malloc.h>
#include <rte_pause.h>
#include <rte_rcu_qsbr.h>

#include "capture.h"
#include "ctx.h"
#include "events.h"
#include "fwd.h"
#include "fwd_config.h"
#include "keyval.h"
#include "loop.h"
#include "mirror.h"
#include "nearest.h"
#include "pools.h"
#include "port.h"
#include "worker.h"

enum {
	MODE_TICK_MS = 10,
	POOLS_REAP_MS = 100,
	QUIESCE_SPINS = 1000, /* before the waiting thread sleeps: a worker may need this very CPU */
	QUIESCE_SLEEP_NS = 20000,
	WATCH_PERIOD_MS = 100,
	WATCH_FIRST_MS = 1000,   /* a worker that stands still is logged after so long, */
	WATCH_AGAIN_MS = 10000,  /* and again each time after so long */
	BUSY_PATIENCE_MS = 20,   /* a change of plans is refused when a worker is in a PMD for so long */
	STOP_PATIENCE_MS = 2000, /* vnicd ends without a worker that stands still for so long */
	DRAIN_ROUNDS_MAX = 1000, /* a ring that is never empty must not keep us from stopping */
};

/* Whether a worker that is away (quiesce.h) counts as quiescent. */
enum dataplane_away {
	AWAY_AND_HOLDS, /* no: it may hold what is waited for, as its plan */
	AWAY_AND_PASSED,
};

static struct {
	struct vnic_ctx *ctx;
	const struct fwd_config *fwd;
	const struct fwd_mode *mode; /* fwd's */
	/*
	 * The same without `check`, for plans: the command line must name ports in pairs for io, but while
	 * ports come and go one may be without its peer for a time; its frames are dropped with a reason.
	 */
	struct fwd_mode plan_mode;
	void *mode_state;
	struct mirrors *mirrors;
	struct captures *captures;
	bool mode_is_open;
	struct rte_mempool *pool;
	struct loop_timer *tick;
	struct loop_timer *reap; /* frees pools of ports that are gone */
	unsigned int n_workers;
	bool workers_are_open;
	bool running;
	/* Of quiesce_passed(): the last token since which there was a fence, and what is known by it. */
	uint64_t fenced;
	enum dataplane_away away;

	struct loop_timer *watch;
	uint64_t looked_ms;
	struct worker_watch {
		uint64_t iterations; /* when last looked at */
		uint64_t still_ms;   /* for so long it is at the same one */
		uint64_t next_ms;    /* when to say so, in terms of still_ms */
	} watches[FWD_WORKERS_MAX];

	struct port *ports[PORT_MAX]; /* [n_ports], in the order they were added */
	unsigned int n_ports;

	struct worker_shared shared __rte_cache_aligned;
	struct worker workers[FWD_WORKERS_MAX];
	struct worker_counters counters[FWD_WORKERS_MAX];
	struct fwd_worker fwd_workers[FWD_WORKERS_MAX];
} dp;

/* --- who has passed --- */

static_assert((int)QUIESCE_WORKERS_MAX == (int)FWD_WORKERS_MAX, "every worker can say where it is");

/* The control thread is no reader, so waiting for all readers can't wait for itself. */
static bool
worker_passed(unsigned int idx, uint64_t token, enum dataplane_away away)
{
	/* Acquire: pairs with the release in rte_rcu_qsbr_quiescent(). */
	uint64_t count = __atomic_load_n(&dp.shared.rcu->qsbr_cnt[idx].cnt, __ATOMIC_ACQUIRE);

	/* 0: it does not run. */
	if (count == 0 || count >= token)
		return true;
	return away == AWAY_AND_PASSED && quiesce_where(&dp.ctx->quiesce, idx) &&
	       !quiesce_is_held(&dp.ctx->quiesce, idx);
}

static bool
workers_passed(uint64_t token, enum dataplane_away away)
{
	for (unsigned int i = 0; i < dp.n_workers; i++)
		if (!worker_passed(i, token, away))
			return false;
	return true;
}

/*
 * Every worker executes a full fence. One that is found away after that will see, when it returns, what was
 * published before: its store that says that it is back comes after the fence, or it would not be found away.
 */
static enum dataplane_away
workers_fence(void)
{
	return syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0) == 0 ? AWAY_AND_PASSED
										    : AWAY_AND_HOLDS;
}

/* --- workers that stand still --- */

static void
worker_place(unsigned int idx, char *text, size_t size)
{
	const struct port_place *place = quiesce_where(&dp.ctx->quiesce, idx);

	if (place)
		snprintf(text, size, "in the driver of port %s, queue %u", place->port->name,
			 place->queue_idx);
	else
		snprintf(text, size, "in no port's driver");
}

static void
worker_look(unsigned int idx, uint64_t elapsed_ms)
{
	struct worker_watch *watch = &dp.watches[idx];
	uint64_t iterations = counter_read(&dp.counters[idx].iterations);
	char place[128];

	if (iterations != watch->iterations) {
		if (watch->next_ms > WATCH_FIRST_MS) {
			event_record(dp.ctx, EVENT_WORKER, NULL, "worker %u goes on after %.1f s", idx,
				     (double)watch->still_ms / 1000);
			log_info(&dp.ctx->log, "worker %u (lcore %u) goes on after %.1f s", idx,
				 dp.workers[idx].lcore, (double)watch->still_ms / 1000);
		}
		*watch = (struct worker_watch){.iterations = iterations, .next_ms = WATCH_FIRST_MS};
		return;
	}
	watch->still_ms += elapsed_ms;
	if (watch->still_ms < watch->next_ms)
		return;
	watch->next_ms = watch->still_ms - watch->still_ms % WATCH_AGAIN_MS + WATCH_AGAIN_MS;
	worker_place(idx, place, sizeof(place));
	event_record(dp.ctx, EVENT_WORKER, NULL, "worker %u stands still for %.1f s, %s", idx,
		     (double)watch->still_ms / 1000, place);
	log_warn(&dp.ctx->log, "worker %u (lcore %u) stands still for %.1f s, %s: %s", idx,
		 dp.workers[idx].lcore, (double)watch->still_ms / 1000, place,
		 quiesce_where(&dp.ctx->quiesce, idx)
			 ? "it waits in the kernel, for a reader, a disk or an interface; all ports that "
			   "this worker serves wait with it"
			 : "has its CPU been taken away, or a guest's memory?");
}

/* Called by a timer, and from loops in which the control thread waits. */
static void
workers_look(void *arg)
{
	uint64_t now_ms = loop_now_ms(), elapsed_ms = now_ms - dp.looked_ms;

	if (!dp.running || elapsed_ms < WATCH_PERIOD_MS)
		return;
	dp.looked_ms = now_ms;
	/* The whole process may have been stopped (SIGSTOP). */
	elapsed_ms = RTE_MIN(elapsed_ms, 2ull * WATCH_PERIOD_MS);
	for (unsigned int i = 0; i < dp.n_workers; i++)
		worker_look(i, elapsed_ms);
}

/* Asleep in a system call; not merely without a CPU. */
static bool
worker_is_asleep(unsigned int idx)
{
	char path[64], line[256], *after;
	bool asleep = true;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/self/task/%d/stat",
		 atomic_load_explicit(&dp.workers[idx].tid, memory_order_relaxed));
	file = fopen(path, "re");
	if (!file)
		return asleep;
	/* "TID (NAME) STATE ..." */
	if (fgets(line, sizeof(line), file) && (after = strrchr(line, ')')) && after[1])
		asleep = after[2] != 'R';
	fclose(file);
	return asleep;
}

/* --- waiting --- */

static void
dataplane_nap(void)
{
	const struct timespec nap = {.tv_nsec = QUIESCE_SLEEP_NS};

	nanosleep(&nap, NULL);
	workers_look(NULL);
}

/* True: all have passed soon, without a fence for anybody. */
static bool
workers_passed_soon(uint64_t token)
{
	for (unsigned int spins = 0; spins < QUIESCE_SPINS; spins++) {
		if (workers_passed(token, AWAY_AND_HOLDS))
			return true;
		rte_pause();
	}
	return false;
}

/* quiesce_wait() */
static void
dataplane_quiesce(void *arg)
{
	uint64_t token = rte_rcu_qsbr_start(dp.shared.rcu);
	enum dataplane_away away;

	if (workers_passed_soon(token))
		return;
	away = workers_fence();
	while (!workers_passed(token, away))
		dataplane_nap();
}

/* quiesce_start() and quiesce_passed() */
static uint64_t
dataplane_quiesce_start(void *arg)
{
	return rte_rcu_qsbr_start(dp.shared.rcu);
}

static bool
dataplane_quiesce_passed(void *arg, uint64_t token)
{
	/* As in dataplane_quiesce(): most need none. */
	if (token > dp.fenced) {
		if (workers_passed_soon(token))
			return true;
		dp.away = workers_fence();
		dp.fenced = token;
	}
	return workers_passed(token, dp.away);
}

/* For plans, which a worker holds even when it is away. */
static void
dataplane_quiesce_plans(void)
{
	uint64_t token = rte_rcu_qsbr_start(dp.shared.rcu);

	if (workers_passed_soon(token))
		return;
	while (!workers_passed(token, AWAY_AND_HOLDS))
		dataplane_nap();
}

/* Can plans change? 0; or -EBUSY with diag filled: a worker is away, and asleep there. */
static int
dataplane_check_plans(struct diag *diag)
{
	uint64_t token, start_ms = loop_now_ms();
	char place[128];

	if (!dp.running)
		return 0;
	token = rte_rcu_qsbr_start(dp.shared.rcu);
	if (workers_passed_soon(token))
		return 0;
	while (!workers_passed(token, AWAY_AND_HOLDS)) {
		dataplane_nap();
		if (loop_now_ms() - start_ms < BUSY_PATIENCE_MS)
			continue;
		for (unsigned int i = 0; i < dp.n_workers; i++) {
			if (worker_passed(i, token, AWAY_AND_HOLDS) || !quiesce_where(&dp.ctx->quiesce, i) ||
			    !worker_is_asleep(i))
				continue;
			worker_place(i, place, sizeof(place));
			return diag_set(
				diag, -EBUSY,
				"make what that driver waits for happen (read its pipe, bring its "
				"interface up), then try again",
				"worker %u (lcore %u) waits %s: ports can't come or go until it goes on", i,
				dp.workers[i].lcore, place);
		}
	}
	return 0;
}

static void
dataplane_tick(void *arg)
{
	dp.mode->tick(dp.mode_state);
}

static void
dataplane_reap(void *arg)
{
	pools_reap(dp.ctx);
}

/* Workers see `plan` from here; the one before is freed once none of them does. */
static void
dataplane_publish(struct fwd_plan *plan)
{
	struct fwd_plan *old = atomic_load_explicit(&dp.shared.plan, memory_order_relaxed);

	/* Release: pairs with the acquire in worker_main(). */
	atomic_store_explicit(&dp.shared.plan, plan, memory_order_release);
	dataplane_quiesce_plans();
	fwd_plan_free(old);
}

/* NULL with diag filled. */
static struct fwd_plan *
dataplane_plan(struct port *leaving, struct diag *diag)
{
	return fwd_plan_build(&dp.plan_mode, dp.mode_state, dp.ports, dp.n_ports, leaving, dp.n_workers,
			      diag);
}

/*
 * A port joins or leaves in two steps. Both plans are made before the first is published: what could fail has
 * not failed by then, and nothing has to be taken back.
 */
struct dataplane_plans {
	struct fwd_plan *between; /* `port` is neither sent to nor polled, but known */
	struct fwd_plan *after;
};

static int
dataplane_plans_make(struct dataplane_plans *plans, struct port *port, struct diag *diag)
{
	plans->between = dataplane_plan(port, diag);
	plans->after = plans->between ? dataplane_plan(NULL, diag) : NULL;
	if (plans->after)
		return 0;
	fwd_plan_free(plans->between);
	return -EINVAL;
}

int
dataplane_open(const struct fwd_config *fwd, struct rte_mempool *pool, struct vnic_ctx *ctx,
	       struct diag *diag)
{
	const struct fwd_mode *mode = fwd->mode;
	unsigned int lcore;
	int ret;

	dp.ctx = ctx;
	dp.fwd = fwd;
	dp.mode = mode;
	dp.plan_mode = *mode;
	dp.plan_mode.check = NULL;
	dp.pool = pool;
	RTE_LCORE_FOREACH_WORKER(lcore)
	{
		if (dp.n_workers == FWD_WORKERS_MAX) {
			log_warn(&dp.ctx->log, "only the first %u worker lcores are used",
				 (unsigned int)FWD_WORKERS_MAX);
			break;
		}
		dp.workers[dp.n_workers].lcore = lcore;
		dp.n_workers++;
	}
	if (dp.n_workers == 0)
		return diag_set(diag, -EINVAL,
				"give two lcores, for example -l 0-1, or --lcores 0@0,1@0 to share one CPU",
				"no lcore is left for a worker: the control thread takes one");

	dp.shared.rcu = rte_zmalloc("rcu", rte_rcu_qsbr_get_memsize(dp.n_workers), RTE_CACHE_LINE_SIZE);
	if (!dp.shared.rcu || rte_rcu_qsbr_init(dp.shared.rcu, dp.n_workers) != 0)
		return diag_set(diag, -ENOMEM, "give EAL more memory (-m)", "no memory for the workers");
	dp.fenced = 0;
	quiesce_set(&ctx->quiesce, dataplane_quiesce, dataplane_quiesce_start, dataplane_quiesce_passed,
		    NULL);
	/* Where the kernel has none, workers that are away are waited for. */
	syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0);
	dp.watch = loop_timer_add(ctx->loop, WATCH_PERIOD_MS, WATCH_PERIOD_MS, workers_look, NULL);
	if (!dp.watch)
		return diag_no_memory(diag, "no memory for a timer");

	ret = fwd_workers_open(dp.fwd_workers, dp.n_workers, pool, diag);
	if (ret < 0)
		return ret;
	dp.workers_are_open = true;
	for (unsigned int i = 0; i < dp.n_workers; i++) {
		dp.workers[i].fwd = &dp.fwd_workers[i];
		dp.workers[i].shared = &dp.shared;
		dp.workers[i].counters = &dp.counters[i];
	}

	ret = mirrors_open(&dp.mirrors, dp.fwd_workers, dp.n_workers, diag);
	if (ret < 0)
		return ret;
	ret = captures_open(&dp.captures, ctx, dp.n_workers, "vnicd", diag);
	if (ret < 0)
		return ret;
	if (mode->open) {
		ret = mode->open(&dp.mode_state, fwd->args, diag);
		if (ret < 0)
			return ret;
	}
	dp.mode_is_open = true;
	dp.reap = loop_timer_add(ctx->loop, POOLS_REAP_MS, POOLS_REAP_MS, dataplane_reap, NULL);
	if (!dp.reap)
		return diag_no_memory(diag, "no memory for a timer");
	if (mode->tick) {
		dp.tick = loop_timer_add(ctx->loop, MODE_TICK_MS, MODE_TICK_MS, dataplane_tick, NULL);
		if (!dp.tick)
			return diag_no_memory(diag, "no memory for a timer");
	}
	return 0;
}

int
dataplane_start(struct diag *diag)
{
	struct fwd_plan *plan = dataplane_plan(NULL, diag);
	int ret;

	if (!plan)
		return -EINVAL;
	dataplane_publish(plan);
	atomic_store_explicit(&dp.shared.order, WORKER_RUN, memory_order_relaxed);
	for (unsigned int i = 0; i < dp.n_workers; i++) {
		rte_rcu_qsbr_thread_register(dp.shared.rcu, i);
		ret = rte_eal_remote_launch(worker_main, &dp.workers[i], dp.workers[i].lcore);
		if (ret < 0)
			return diag_set(diag, ret, "choose other lcores (-l)",
					"worker %u does not start on lcore %u: %s", i, dp.workers[i].lcore,
					rte_strerror(-ret));
		dp.running = true;
		dp.watches[i] = (struct worker_watch){.next_ms = WATCH_FIRST_MS};
	}
	dp.looked_ms = loop_now_ms();
	return 0;
}

static bool
handoff_is_empty(void)
{
	for (unsigned int to = 0; to < dp.n_workers; to++) {
		for (unsigned int from = 0; from < dp.n_workers; from++) {
			struct rte_ring *ring = dp.fwd_workers[to].handoff_in[from];

			if (ring && !rte_ring_empty(ring))
				return false;
		}
	}
	return true;
}

/* -ETIMEDOUT with diag filled: one of the workers that have not passed stands still for too long. */
static int
stop_check(unsigned int idx, struct diag *diag)
{
	char place[128];

	if (dp.watches[idx].still_ms < STOP_PATIENCE_MS)
		return 0;
	worker_place(idx, place, sizeof(place));
	return diag_set(
		diag, -ETIMEDOUT,
		"what this worker had of frames is lost; next time let the driver go on first (read its "
		"pipe, bring its interface up)",
		"worker %u (lcore %u) does not stop: it stands still for %.1f s, %s", idx,
		dp.workers[idx].lcore, (double)dp.watches[idx].still_ms / 1000, place);
}

static int
stop_quiesce(struct diag *diag)
{
	uint64_t token = rte_rcu_qsbr_start(dp.shared.rcu);
	int ret = 0;

	if (workers_passed_soon(token))
		return 0;
	while (!workers_passed(token, AWAY_AND_HOLDS)) {
		dataplane_nap();
		for (unsigned int i = 0; i < dp.n_workers && ret == 0; i++)
			if (!worker_passed(i, token, AWAY_AND_HOLDS))
				ret = stop_check(i, diag);
		if (ret < 0)
			return ret;
	}
	return 0;
}

static int
stop_join(struct diag *diag)
{
	for (unsigned int i = 0; i < dp.n_workers; i++) {
		while (rte_eal_get_lcore_state(dp.workers[i].lcore) == RUNNING) {
			int ret;

			dataplane_nap();
			ret = stop_check(i, diag);
			if (ret < 0)
				return ret;
		}
	}
	rte_eal_mp_wait_lcore();
	return 0;
}

int
dataplane_stop(struct diag *diag)
{
	unsigned int rounds = 0;
	int ret;

	if (!dp.running)
		return 0;
	/*
	 * First everybody stops taking frames in, then what is on its way arrives: so that at the end every
	 * frame that came in was sent or has its drop reason.
	 */
	atomic_store_explicit(&dp.shared.order, WORKER_DRAIN, memory_order_relaxed);
	do {
		ret = stop_quiesce(diag);
		if (ret < 0)
			return ret;
	} while (++rounds < 2 || (!handoff_is_empty() && rounds < DRAIN_ROUNDS_MAX));
	atomic_store_explicit(&dp.shared.order, WORKER_STOP, memory_order_relaxed);
	ret = stop_join(diag);
	if (ret < 0)
		return ret;
	for (unsigned int i = 0; i < dp.n_workers; i++)
		rte_rcu_qsbr_thread_unregister(dp.shared.rcu, i);
	dp.running = false;
	return 0;
}

void
dataplane_close(void)
{
	struct diag diag;

	/* Nothing can be taken from under a worker that does not stop. */
	while (dataplane_stop(&diag) < 0)
		log_error(&dp.ctx->log, "%s", diag.cause);
	loop_timer_remove(dp.tick);
	loop_timer_remove(dp.reap);
	loop_timer_remove(dp.watch);
	fwd_plan_free(atomic_load_explicit(&dp.shared.plan, memory_order_relaxed));
	atomic_store_explicit(&dp.shared.plan, NULL, memory_order_relaxed);
	/* Who may hold a frame goes before what it is made of: what is under way, the ports, their pools. */
	if (dp.workers_are_open)
		fwd_workers_close(dp.fwd_workers, dp.n_workers);
	captures_close(dp.captures);
	dp.captures = NULL;
	mirrors_close(dp.mirrors);
	dp.mirrors = NULL;
	while (dp.n_ports)
		port_close(dp.ports[--dp.n_ports]);
	for (struct port_kind *kind = port_kinds(); kind; kind = kind->next)
		if (kind->finish)
			kind->finish();
	if (dp.ctx)
		pools_free(dp.ctx);
	if (dp.mode_is_open && dp.mode->close)
		dp.mode->close(dp.mode_state);
	if (dp.ctx)
		quiesce_set(&dp.ctx->quiesce, NULL, NULL, NULL, NULL);
	rte_free(dp.shared.rcu);
	dp.shared.rcu = NULL;
	dp.mode_is_open = false;
	dp.workers_are_open = false;
	dp.tick = NULL;
	dp.reap = NULL;
	dp.watch = NULL;
}

/*
 * First every worker learns the port's id, but nobody sends to it yet; or a worker with the new plan would
 * hand frames over to one that still has the old plan and does not know what they are for.
 */
static int
dataplane_let_in(struct port *port, struct diag *diag)
{
	struct dataplane_plans plans;
	int ret = dataplane_plans_make(&plans, port, diag);

	if (ret < 0)
		return ret;
	dataplane_publish(plans.between);
	dataplane_publish(plans.after);
	return 0;
}

int
dataplane_port_add(struct port_config *config, struct port **ret_port, struct diag *diag)
{
	struct port *port;
	int ret;

	ret = dataplane_check_plans(diag);
	if (ret < 0)
		return ret;
	ret = port_open(config, &port, diag);
	if (ret < 0)
		return ret;
	if (dp.mode->port_changed)
		dp.mode->port_changed(dp.mode_state, port);
	dp.ports[dp.n_ports++] = port;
	if (dp.running) {
		/* Again: opening a device takes as long as it takes. */
		ret = dataplane_check_plans(diag);
		if (ret == 0)
			ret = dataplane_let_in(port, diag);
		if (ret < 0) {
			dp.ports[--dp.n_ports] = NULL;
			port_close(port);
			return ret;
		}
	}
	if (mirrors_port_added(dp.mirrors, port) < 0)
		log_warn(&dp.ctx->log, "port %s: no memory to mirror it", port->name);
	if (captures_port_added(dp.captures, port) < 0)
		log_warn(&dp.ctx->log, "port %s: no memory to capture it", port->name);
	event_record(dp.ctx, EVENT_PORT_ADDED, port->name, "%s", port->describe);
	log_info(&dp.ctx->log, "port %s: %s, %u queue pair%s", port->name, port->describe, port->n_queues,
		 port->n_queues == 1 ? "" : "s");
	if (ret_port)
		*ret_port = port;
	return 0;
}

static int
no_such_port(const char *name, struct diag *diag)
{
	const char *names[PORT_MAX];

	for (unsigned int i = 0; i < dp.n_ports; i++)
		names[i] = dp.ports[i]->name;
	diag_set(diag, -ENOENT, NULL, "no port \"%.64s\"", name);
	if (dp.n_ports)
		diag_hint(diag, "did you mean \"%s\"? (port.list shows all)",
			  nearest_word(name, names, dp.n_ports));
	else
		diag_hint(diag, "there are no ports; port.add makes one");
	return -ENOENT;
}

struct port *
dataplane_port_find(const char *name, struct diag *diag)
{
	struct port *port = port_by_name(name);

	if (!port)
		no_such_port(name, diag);
	return port;
}

/* What was seen by the old keys comes before what they are now. */
static void
port_was_set(struct port *port, const char *said)
{
	if (dp.mode->tick)
		dp.mode->tick(dp.mode_state);
	if (dp.mode->port_changed)
		dp.mode->port_changed(dp.mode_state, port);
	event_record(dp.ctx, EVENT_PORT_SET, port->name, "%s", said);
	log_info(&dp.ctx->log, "port %s: set: %s", port->name, said);
}

int
dataplane_port_set(struct port *port, const char *pairs, struct diag *diag)
{
	int ret = port_set(port, pairs, diag);

	if (ret == 0)
		port_was_set(port, pairs);
	return ret;
}

int
dataplane_port_become(struct port *port, struct port_config *as, struct diag *diag)
{
	char line[KEYVAL_LINE_MAX];
	int ret = port_become(port, as, diag);

	if (ret == 0) {
		port_config_print(port->config, line, sizeof(line));
		port_was_set(port, line);
	}
	return ret;
}

int
dataplane_port_remove(const char *name, struct diag *diag)
{
	struct port *port = port_by_name(name);
	unsigned int at = 0;
	int ret;

	if (!port)
		return no_such_port(name, diag);
	ret = dataplane_check_plans(diag);
	if (ret < 0)
		return ret;
	mirrors_port_removed(dp.mirrors, port);
	captures_port_removed(dp.captures, port);
	while (dp.ports[at] != port)
		at++;
	dp.n_ports--;
	memmove(&dp.ports[at], &dp.ports[at + 1], (dp.n_ports - at) * sizeof(dp.ports[0]));
	dp.ports[dp.n_ports] = NULL;

	if (dp.running) {
		struct dataplane_plans plans;

		ret = dataplane_plans_make(&plans, port, diag);
		if (ret < 0)
			goto back;
		/*
		 * With the leaving plan nothing new comes from the port, so the mode can't learn it again
		 * once it was told to forget, and nobody is in the middle of sending to it. Then two more
		 * waits until what was handed over has arrived (quiesce.h).
		 */
		dataplane_publish(plans.between);
		if (dp.mode->tick)
			dp.mode->tick(
				dp.mode_state); /* what it has yet to learn, so that it forgets that too */
		if (dp.mode->port_removed)
			dp.mode->port_removed(dp.mode_state, port);
		dataplane_quiesce_plans();
		dataplane_quiesce_plans();
		dataplane_publish(plans.after);
	}
	event_record(dp.ctx, EVENT_PORT_REMOVED, port->name, "removed");
	log_info(&dp.ctx->log, "port %s: removed", port->name);
	port_close(port);
	return 0;

back:
	memmove(&dp.ports[at + 1], &dp.ports[at], (dp.n_ports - at) * sizeof(dp.ports[0]));
	dp.ports[at] = port;
	dp.n_ports++;
	mirrors_port_added(dp.mirrors, port);
	captures_port_added(dp.captures, port);
	return ret;
}

unsigned int
dataplane_n_ports(void)
{
	return dp.n_ports;
}

struct port *
dataplane_port(unsigned int i)
{
	return i < dp.n_ports ? dp.ports[i] : NULL;
}

const struct fwd_config *
dataplane_fwd(void)
{
	return dp.fwd;
}

struct mirrors *
dataplane_mirrors(void)
{
	return dp.mirrors;
}

struct captures *
dataplane_captures(void)
{
	return dp.captures;
}

void *
dataplane_mode_state(void)
{
	return dp.mode_state;
}

struct rte_mempool *
dataplane_pool(void)
{
	return dp.pool;
}

struct vnic_ctx *
dataplane_ctx(void)
{
	return dp.ctx;
}

unsigned int
dataplane_n_workers(void)
{
	return dp.n_workers;
}

void
dataplane_worker_info(unsigned int idx, struct dataplane_worker_info *ret_info)
{
	const struct fwd_plan *plan = atomic_load_explicit(&dp.shared.plan, memory_order_relaxed);

	ret_info->lcore = dp.workers[idx].lcore;
	ret_info->n_queues = plan ? plan->workers[idx].n_queues : 0;
	ret_info->stats.lost = counter_read(&dp.fwd_workers[idx].lost_port_gone);
	ret_info->stats.iterations = counter_read(&dp.counters[idx].iterations);
	ret_info->stats.busy_iterations = counter_read(&dp.counters[idx].busy_iterations);
	/* By the last look, unless it has moved since. */
	ret_info->still_ms =
		ret_info->stats.iterations == dp.watches[idx].iterations ? dp.watches[idx].still_ms : 0;
	ret_info->where = ret_info->still_ms ? quiesce_where(&dp.ctx->quiesce, idx) : NULL;
}
