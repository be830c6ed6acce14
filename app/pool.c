/* SPDX-License-Identifier: BSD-3-Clause */
#include "pool.h"

#include <errno.h>
#include <numa.h>
#include <stdio.h>

#include <rte_errno.h>
#include <rte_lcore.h>
#include <rte_mbuf.h>
#include <rte_mempool.h>

#include "fwd.h"
#include "port.h"

enum {
	POOL_CACHE = RTE_MEMPOOL_CACHE_MAX_SIZE,
	/* A cache gives back to the pool only beyond one and a half times its size. */
	POOL_CACHE_HELD = POOL_CACHE + POOL_CACHE / 2,
	POOL_DATA_ROOM = 2048 + RTE_PKTMBUF_HEADROOM,
	POOL_ELEMENT = POOL_DATA_ROOM + sizeof(struct rte_mbuf),
	POOL_FRAME_MBUFS = 32, /* pieces of the largest frame, 64 KiB */
	/* One burst taken in and one copied by flooding, both of largest frames. */
	POOL_WORKER_BURSTS = 2 * PORT_BURST * POOL_FRAME_MBUFS,
	POOL_SPARE = 4 * 1024, /* for ports added while running, such as four transmit rings of NICs */
	POOL_MIN = 8191,
};

static unsigned int
round_up(unsigned int n)
{
	unsigned int size = POOL_MIN;

	while (size < n)
		size = size * 2 + 1;
	return size;
}

void
pool_size_compute(struct pool_size *size, unsigned int n_workers, unsigned int n_port_mbufs)
{
	unsigned int n_handoff = n_workers * (n_workers - 1);
	unsigned int n;

	n = n_workers * (POOL_CACHE_HELD + POOL_WORKER_BURSTS) + n_handoff * FWD_HANDOFF_SIZE + n_port_mbufs +
	    POOL_SPARE;
	size->n_workers = n_workers;
	size->n_port_mbufs = n_port_mbufs;
	size->n_mbufs = round_up(n);
	/* The pool's own ring and headers cost 64 + 8 bytes for each buffer. */
	size->bytes = (size_t)size->n_mbufs * (POOL_ELEMENT + 72);
	snprintf(size->line, sizeof(size->line),
		 "pool: %u worker%s x (%u cache + %u burst) + %u handoff x %u + %u of the ports + %u spare = "
		 "%u, "
		 "rounded to %u mbufs of %u bytes, %zu MiB",
		 n_workers, n_workers == 1 ? "" : "s", (unsigned int)POOL_CACHE_HELD,
		 (unsigned int)POOL_WORKER_BURSTS, n_handoff, (unsigned int)FWD_HANDOFF_SIZE, n_port_mbufs,
		 (unsigned int)POOL_SPARE, n, size->n_mbufs, (unsigned int)POOL_ELEMENT,
		 (size_t)size->n_mbufs * POOL_ELEMENT >> 20);
}

/*
 * The node of all workers; SOCKET_ID_ANY when they are on several. EAL knows the node of the CPU that has the
 * number of the lcore, which is another one after --lcores; so ask for the CPU that the lcore runs on.
 */
static int
workers_socket(void)
{
	int socket = SOCKET_ID_ANY;
	unsigned int lcore;

	if (numa_available() < 0)
		return SOCKET_ID_ANY;
	RTE_LCORE_FOREACH_WORKER(lcore)
	{
		rte_cpuset_t cpus = rte_lcore_cpuset(lcore);
		int its = SOCKET_ID_ANY;

		for (int cpu = 0; cpu < CPU_SETSIZE && its == SOCKET_ID_ANY; cpu++)
			if (CPU_ISSET(cpu, &cpus))
				its = numa_node_of_cpu(cpu);

		if (socket != SOCKET_ID_ANY && socket != its)
			return SOCKET_ID_ANY;
		socket = its;
	}
	return socket;
}

struct rte_mempool *
pool_open(const struct pool_size *size, struct diag *diag)
{
	struct rte_mempool *pool = NULL;
	int socket = workers_socket();

	pool = rte_pktmbuf_pool_create("vnicd", size->n_mbufs, POOL_CACHE, 0, POOL_DATA_ROOM, socket);
	/* Memory that is not made of huge pages is all on one node, as far as EAL knows. */
	if (!pool && socket != SOCKET_ID_ANY)
		pool = rte_pktmbuf_pool_create("vnicd", size->n_mbufs, POOL_CACHE, 0, POOL_DATA_ROOM,
					       SOCKET_ID_ANY);
	if (pool)
		return pool;
	diag_set(diag, -rte_errno, NULL, "pool: no memory for %u mbufs, %zu MiB: %s", size->n_mbufs,
		 size->bytes >> 20, rte_strerror(rte_errno));
	diag_hint(diag, "give EAL at least -m %zu, or no memory options at all", (size->bytes >> 20) + 64);
	return NULL;
}

void
pool_close(struct rte_mempool *pool)
{
	rte_mempool_free(pool);
}
