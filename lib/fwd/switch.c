/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * switch: a learning bridge over a forwarding database (fdb.h).
 */
#include <assert.h>
#include <errno.h>

#include "fdb.h"
#include "fwd.h"
#include "loop.h"

#define SWITCH_RESERVED UINT64_C(0x0180c2000000) /* ..0f: not for bridges to forward (IEEE 802.1Q) */
#define SWITCH_RESERVED_MASK UINT64_C(0xfffffffffff0)

/* The port of which fdb_find_id() spoke; NULL: to be flooded. */
static inline struct port *
switch_port(const struct fwd_plan *plan, unsigned int id_and_1)
{
	struct port *port = id_and_1 ? plan->port_by_id[id_and_1 - 1] : NULL;

	return unlikely(port == plan->leaving) ? NULL : port;
}

static inline bool
switch_is_reserved(const struct rte_mbuf *m)
{
	const uint64_t dst = fdb_mac(rte_pktmbuf_mtod(m, const struct rte_ether_addr *));

	return (dst & SWITCH_RESERVED_MASK) == SWITCH_RESERVED;
}

/* A run of frames, each for a known port: those for the first one's port together, then those of the next. */
static void
switch_send_run(struct fwd_worker *worker, struct port_rxq *from, struct port **to, struct rte_mbuf **pkts,
		uint16_t n)
{
	struct rte_mbuf *group[PORT_BURST];

	while (n) {
		struct port *port = to[0];
		uint16_t n_group = 0, n_left = 0;

		for (uint16_t i = 0; i < n; i++) {
			if (to[i] == port) {
				group[n_group++] = pkts[i];
			} else {
				pkts[n_left] = pkts[i];
				to[n_left++] = to[i];
			}
		}
		fwd_send(worker, from, port, group, n_group);
		n = n_left;
	}
}

/* A burst that does not go to one port as it is. Frames to one port stay in order, flooded ones too. */
static void
switch_spread(struct fwd_worker *worker, struct port_rxq *from, struct rte_mbuf **pkts,
	      const unsigned int ids[], uint16_t n)
{
	struct port *to[PORT_BURST];
	uint16_t n_kept = 0;

	for (uint16_t i = 0; i < n; i++) {
		struct rte_mbuf *m = pkts[i];

		to[n_kept] = switch_port(worker->plan, ids[i]);
		if (unlikely(!to[n_kept] && switch_is_reserved(m)))
			port_rx_drop(from, DROP_NO_PORT, &m, 1);
		else if (unlikely(to[n_kept] == from->port))
			port_rx_drop(from, DROP_SAME_PORT, &m, 1);
		else if (unlikely(to[n_kept] && fwd_is_isolated(from->port, to[n_kept])))
			port_rx_drop(from, DROP_ISOLATED, &m, 1);
		else
			pkts[n_kept++] = m;
	}
	/* Runs of frames to flood and of other frames, alternately. */
	for (uint16_t first = 0, end; first < n_kept; first = end) {
		for (end = first + 1; end < n_kept && !to[end] == !to[first];)
			end++;
		if (to[first])
			switch_send_run(worker, from, &to[first], &pkts[first], end - first);
		else
			fwd_flood(worker, from, &pkts[first], end - first);
	}
}

static void
switch_forward(struct fwd_worker *worker, struct port_rxq *from, struct rte_mbuf **pkts, uint16_t n)
{
	const struct fwd_plan *plan = worker->plan;
	struct fdb *fdb = plan->mode_state;
	struct fdb_place dst_places[PORT_BURST], src_places[PORT_BURST];
	unsigned int ids[PORT_BURST], first_id = 0, others = 0;
	struct port *to;

	if (unlikely(plan->n_ports < 2)) {
		port_rx_drop(from, DROP_NO_PORT, pkts, n);
		return;
	}
	/* All lines of the burst are under way before the first of them is needed. */
	for (uint16_t i = 0; i < n; i++)
		rte_prefetch0(rte_pktmbuf_mtod(pkts[i], void *));
	for (uint16_t i = 0; i < n; i++) {
		const uint8_t *eth = rte_pktmbuf_mtod(pkts[i], const uint8_t *);
		uint64_t words[2];

		/* The first 12 bytes: destination and two, two and source. */
		memcpy(&words[0], eth, 8);
		memcpy(&words[1], eth + 4, 8);
		dst_places[i] = fdb_place(fdb, rte_be_to_cpu_64(words[0]) >> 16);
		src_places[i] = fdb_place(fdb, rte_be_to_cpu_64(words[1]) & FDB_MAC_MASK);
		rte_prefetch0(dst_places[i].home);
		rte_prefetch0(src_places[i].home);
	}
	fdb_see_sources(fdb, worker->idx, worker->now_s, from->port, src_places, n);
	for (uint16_t i = 0; i < n; i++) {
		ids[i] = fdb_find_id(fdb, dst_places[i]);
		first_id = i ? first_id : ids[0];
		others |= ids[i] ^ first_id;
	}
	/* Groups are never in the table. */
	to = others ? NULL : switch_port(plan, first_id);
	if (likely(to && to != from->port && !fwd_is_isolated(from->port, to)))
		fwd_send(worker, from, to, pkts, n);
	else
		switch_spread(worker, from, pkts, ids, n);
}

/* --- control thread --- */

#define SWITCH_SECOND 1000000ull /* in the unit of a key's duration */

struct switch_args {
	uint64_t ageing_us;
	uint32_t n_entries;
};

static_assert(FDB_AGEING_S == 300 && FDB_ENTRIES == 16384, "the defaults of the keys");

static const struct key switch_keys[] = {
	{"ageing", KEY_DURATION, KEY_FIELD(struct switch_args, ageing_us), .bare = SWITCH_SECOND,
	 .min = SWITCH_SECOND, .max = 1000000 * SWITCH_SECOND, .initial = "300s", .form = "SECONDS",
	 .help = "an address not seen for so long is forgotten (default 300s)"},
	{"entries", KEY_NUMBER, KEY_FIELD(struct switch_args, n_entries), .min = 1, .max = FDB_ENTRIES_MAX,
	 .initial = "16384",
	 .help = "addresses that are known at a time; others are flooded (default 16384)"},
	{0},
};

/* Of a port. */
struct switch_port_args {
	bool isolated;
};

static const struct key switch_port_keys[] = {
	{"isolated", KEY_SWITCH, KEY_FIELD(struct switch_port_args, isolated), .initial = "off",
	 .help = "no frames for other isolated ports: guests that see the uplink only (default off)"},
	{0},
};

static void
switch_port_apply(struct port *port, const void *args)
{
	const struct switch_port_args *own = args;

	port->isolated = own->isolated;
}

static struct port_mode_keys switch_port_mode = {
	.mode = "switch",
	.keys = switch_port_keys,
	.args_size = sizeof(struct switch_port_args),
	.apply = switch_port_apply,
};

static size_t
switch_demand(const void *args)
{
	const struct switch_args *own = args;

	return fdb_memory(own->n_entries);
}

static int
switch_check_args(const void *args, struct diag *diag)
{
	const struct switch_args *own = args;

	if (own->ageing_us % SWITCH_SECOND == 0)
		return 0;
	diag_set(diag, -EINVAL, NULL, "--forward-mode switch: ageing: the table counts whole seconds");
	diag_hint(diag, "ageing=%llus", (unsigned long long)(own->ageing_us / SWITCH_SECOND + 1));
	return -EINVAL;
}

static int
switch_open(void **ret_state, const void *args, struct diag *diag)
{
	const struct switch_args *own = args;
	struct fdb *fdb;
	int ret = fdb_open(&fdb, own->n_entries, FWD_WORKERS_MAX, diag);

	if (ret < 0)
		return ret;
	fdb_set_ageing_s(fdb, (uint32_t)(own->ageing_us / SWITCH_SECOND));
	*ret_state = fdb;
	return 0;
}

static void
switch_close(void *state)
{
	fdb_close(state);
}

static void
switch_tick(void *state)
{
	fdb_tick(state, (uint32_t)(loop_now_ms() / 1000));
}

static void
switch_port_removed(void *state, const struct port *port)
{
	fdb_port_removed(state, port);
}

static struct fwd_mode switch_mode = {
	.name = "switch",
	.help = "learning bridge: known addresses to their port, broadcast and unknown ones to every other "
		"port",
	.keys = switch_keys,
	.port_keys = &switch_port_mode,
	.args_size = sizeof(struct switch_args),
	.check_args = switch_check_args,
	.demand = switch_demand,
	.open = switch_open,
	.close = switch_close,
	.tick = switch_tick,
	.port_removed = switch_port_removed,
	.forward = switch_forward,
	.accepts_borrowed = true,
};
FWD_MODE_REGISTER(switch_mode)
