/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_lifetimes: what frames are made of lives longer than whoever may still hold one. A NIC's frames go to
 * a port that keeps what it is sent, as the transmit ring of a NIC does, until it is told to let go or
 * closed.
 */
#include "unit.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <rte_eal.h>
#include <rte_ring.h>

#include "borrow.h"
#include "ctx.h"
#include "dataplane.h"
#include "fwd.h"
#include "fwd_config.h"
#include "loop.h"
#include "mbufs.h"
#include "pools.h"
#include "port.h"
#include "unit_eal.h"

static struct vnic_ctx ctx;

enum { KEEP = 64, PATIENCE_MS = 20000 };

static struct rte_mempool *pool;

/* --- who is alive --- */

static void
count_one(struct rte_mempool *one, void *arg)
{
	++*(unsigned int *)arg;
}

static unsigned int
pools_alive(void)
{
	unsigned int n = 0;

	rte_mempool_walk(count_one, &n);
	return n;
}

/* --- the port that keeps frames --- */

static struct keeper {
	struct rte_mbuf *pkts[KEEP];
	struct rte_mempool *pools[KEEP]; /* of each, from when it was kept */
	_Atomic unsigned int n;
	atomic_bool keeps, lets_go;
	atomic_bool stays;      /* in its driver, until it is false again */
	unsigned int n_orphans; /* whose pool was gone when they were given back */
} keeper;

/* Worker, or nobody polls. */
static void
keeper_let_go(void)
{
	unsigned int n = atomic_load(&keeper.n);

	for (unsigned int i = 0; i < n; i++) {
		if (mbufs_pool_is_alive(keeper.pools[i]))
			rte_pktmbuf_free(keeper.pkts[i]);
		else
			keeper.n_orphans++;
	}
	atomic_store(&keeper.n, 0);
}

static uint16_t
keeper_rx(struct port_rxq *rxq, struct rte_mbuf **pkts, uint16_t n)
{
	if (atomic_exchange(&keeper.lets_go, false))
		keeper_let_go();
	return 0;
}

static uint16_t
keeper_tx(struct port_txq *txq, struct rte_mbuf **pkts, uint16_t n)
{
	quiesce_leave(&ctx.quiesce, txq->worker, &txq->place);
	while (atomic_load(&keeper.stays))
		sched_yield();
	quiesce_return(&ctx.quiesce, txq->worker);
	for (uint16_t i = 0; i < n; i++) {
		unsigned int at = atomic_load(&keeper.n);

		if (!atomic_load(&keeper.keeps) || at == KEEP) {
			rte_pktmbuf_free(pkts[i]);
			continue;
		}
		keeper.pkts[at] = pkts[i];
		keeper.pools[at] = pkts[i]->pool;
		atomic_store(&keeper.n, at + 1);
	}
	txq->stats.packets += n;
	return n;
}

static int
keeper_open(struct port *port, const struct port_config *config, struct diag *diag)
{
	if (port_queues_alloc(port, 1) < 0)
		return -ENOMEM;
	port->rxqs[0].rx = keeper_rx;
	port->txqs[0].tx = keeper_tx;
	return 0;
}

static void
keeper_close(struct port *port)
{
	keeper_let_go();
	port_queues_free(port);
}

static int
keeper_check(struct port_config *config, struct diag *diag)
{
	return 0;
}

static struct port_kind keeper_kind = {
	.name = "keeper",
	.help = "keeps frames",
	.check = keeper_check,
	.open = keeper_open,
	.close = keeper_close,
};
PORT_KIND_REGISTER(keeper_kind)

/* --- */

static int
add(const char *line)
{
	struct port_config config;
	struct diag diag = {0};
	int ret;

	assert_int_equal(port_config_parse(&config, line, &diag), 0);
	ret = dataplane_port_add(&config, NULL, &diag);
	if (ret < 0)
		print_error("%s\n", diag.cause);
	port_config_free(&config);
	return ret;
}

static void
wait_for(bool (*is_so)(void))
{
	uint64_t end = loop_now_ms() + PATIENCE_MS;

	while (!is_so() && loop_now_ms() < end)
		loop_run_once(ctx.loop, 5);
	assert_true(is_so());
}

static bool
keeper_is_full(void)
{
	return atomic_load(&keeper.n) == KEEP;
}

static bool
only_one_nic_is_left(void)
{
	/* The program's, and a NIC's two: the usual size, and big ones. */
	return pools_alive() == 3;
}

static void
keep(void)
{
	atomic_store(&keeper.keeps, true);
	wait_for(keeper_is_full);
	atomic_store(&keeper.keeps, false);
}

/* While others forward: a NIC goes, and comes back under its old name; its frames are elsewhere all that
 * time. */
static void
test_remove(void **state)
{
	struct diag diag = {0};

	assert_int_equal(add("keep=keeper"), 0);
	assert_int_equal(add("up0=nic,vdev=net_null0"), 0);
	assert_int_equal(dataplane_start(&diag), 0);
	keep();
	assert_int_equal(dataplane_port_remove("up0", &diag), 0);
	assert_true(mbufs_pool_is_alive(keeper.pools[0]));
	assert_int_equal(add("up0=nic,vdev=net_null0"), 0);
	for (unsigned int i = 0; i < 30; i++)
		loop_run_once(ctx.loop, 10);
	assert_true(mbufs_pool_is_alive(keeper.pools[0]));
	assert_int_equal(pools_alive(), 4);
	atomic_store(&keeper.lets_go, true);
	wait_for(only_one_nic_is_left);
	assert_int_equal(keeper.n_orphans, 0);
}

static bool
worker_is_away(void)
{
	return quiesce_where(&ctx.quiesce, 0);
}

static struct rte_mempool *released;

static bool
released_is_gone(void)
{
	return !mbufs_pool_is_alive(released);
}

/* What the test would wait for in vain comes after a while all the same. */
static void *
end_the_stay(void *arg)
{
	atomic_bool *was_needed = arg;

	for (unsigned int i = 0; i < 300 && atomic_load(&keeper.stays); i++)
		usleep(10000);
	atomic_store(was_needed, atomic_exchange(&keeper.stays, false));
	return NULL;
}

/* A worker got stuck in a driver while a NIC was being closed: its pools wait for that, and nobody else. */
static void
test_release_while_a_worker_is_away(void **state)
{
	atomic_bool was_needed = false;
	pthread_t thread;

	atomic_store(&keeper.stays, true);
	wait_for(worker_is_away);
	assert_int_equal(pthread_create(&thread, NULL, end_the_stay, &was_needed), 0);
	released = pools_create(&ctx, "gone", 31, 0, RTE_MBUF_DEFAULT_BUF_SIZE, SOCKET_ID_ANY);
	assert_non_null(released);
	pools_release(&ctx, released);
	assert_true(mbufs_pool_is_alive(released));
	atomic_store(&keeper.stays, false);
	pthread_join(thread, NULL);
	assert_false(was_needed);
	wait_for(released_is_gone);
}

/* At the end: the NIC is closed before the one that has its frames. */
static void
test_close(void **state)
{
	struct diag diag;

	keep();
	assert_int_equal(dataplane_stop(&diag), 0);
	dataplane_close();
	assert_int_equal(atomic_load(&keeper.n), 0);
	assert_int_equal(keeper.n_orphans, 0);
	assert_int_equal(port_count(), 0);
	assert_int_equal(pools_alive(), 1);
	assert_int_equal(rte_mempool_in_use_count(pool), 0);
}

static int
group_setup(void **state)
{
	char lcores[64];
	static struct fwd_config mode_config; /* of a mode without keys: owns nothing */
	struct diag diag = {0};
	cpu_set_t cpus;
	int first = 0, last = 0;

	sched_getaffinity(0, sizeof(cpus), &cpus);
	for (int cpu = CPU_SETSIZE - 1; cpu >= 0; cpu--)
		if (CPU_ISSET(cpu, &cpus))
			first = cpu;
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET(cpu, &cpus))
			last = cpu;
	snprintf(lcores, sizeof(lcores), "0@%d,1@%d", last, first);
	pool = unit_eal_start(&(struct unit_eal){.memory_mb = 128, .n_mbufs = 4095, .lcores = lcores});
	port_env.ctx = &ctx;
	if (ctx_open(&ctx) < 0 || fwd_config_parse(&mode_config, "io", &diag) < 0 ||
	    dataplane_open(&mode_config, pool, &ctx, &diag) < 0)
		return -1;
	port_env.pool = pool;
	port_env.n_workers = dataplane_n_workers();
	return 0;
}

static int
group_teardown(void **state)
{
	ctx_close(&ctx);
	return rte_eal_cleanup();
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_remove),
		cmocka_unit_test(test_release_while_a_worker_is_away),
		cmocka_unit_test(test_close),
	};

	return UNIT_RUN_WITH(tests, group_setup, group_teardown);
}
