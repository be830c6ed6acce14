/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * switch: a learning bridge over a forwarding database (fdb.h).
 */
#include <assert.h>
#include <errno.h>

#include <rte_cycles.h>

#include "ctx.h"
#include "events.h"
#include "fdb.h"
#include "fwd.h"
#include "log.h"
#include "loop.h"
#include "switch_port.h"
#include "switch_tags.h"

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

/* Copies of n frames that others don't share, so that their tags can be changed. Returns how many there are.
 */
static uint16_t
switch_copy(struct fwd_worker *worker, struct port_rxq *from, struct rte_mbuf **pkts,
	    const struct switch_frames *frames, struct rte_mbuf *ret_copies[], struct switch_frame ret_each[],
	    uint16_t n)
{
	uint16_t n_copies = 0;

	for (uint16_t i = 0; i < n; i++) {
		ret_copies[n_copies] = borrow_is(pkts[i])
					       ? borrow_copy(pkts[i], worker->clone_pool)
					       : rte_pktmbuf_copy(pkts[i], worker->clone_pool, 0, UINT32_MAX);
		ret_each[n_copies] = switch_frame(frames, i);
		if (likely(ret_copies[n_copies]))
			n_copies++;
		else
			port_rx_count_drop(from, DROP_NO_CLONE, &pkts[i], 1);
	}
	counter_add(&from->stats.copies, n);
	return n_copies;
}

/* Those of n frames that are to be flooded which the port's limits let pass; returns how many. */
static __rte_noinline uint16_t
switch_storm(const struct switch_port *own, struct port_rxq *from, struct rte_mbuf **pkts,
	     const struct switch_frames *frames, uint16_t n)
{
	const uint64_t now = rte_rdtsc();
	uint16_t n_kept = 0;

	for (uint16_t i = 0; i < n; i++) {
		const struct rte_ether_addr *dst = rte_pktmbuf_mtod(pkts[i], const struct rte_ether_addr *);
		const enum switch_storm storm = rte_is_broadcast_ether_addr(dst)   ? SWITCH_STORM_BROADCAST
						: rte_is_multicast_ether_addr(dst) ? SWITCH_STORM_MULTICAST
										   : SWITCH_STORM_UNKNOWN;

		if (own->storms >> storm & 1 &&
		    !policer_pass(switch_port_storm(own, storm), &pkts[i], 1, now)) {
			port_rx_drop(from, DROP_STORM, &pkts[i], 1);
			continue;
		}
		if (frames->each)
			frames->each[n_kept] = frames->each[i];
		pkts[n_kept++] = pkts[i];
	}
	return n_kept;
}

/* n frames of one VLAN, with or without a tag behind its own, to all of its ports that may have frames of
 * `from`'s. */
static void
switch_flood(struct fwd_worker *worker, struct port_rxq *from, struct rte_mbuf **pkts,
	     const struct switch_frames *frames, uint16_t n)
{
	const struct fwd_plan *plan = worker->plan;
	const struct fdb *fdb = plan->mode_state;
	const struct switch_port *own = switch_port_of(from->port);
	const bool isolated = switch_port_is_isolated(own);
	const struct switch_frame frame = switch_frame(frames, 0);
	const uint16_t vlan = frame.vlan;
	/* From the beginning those that are sent untagged frames, from the end those that are sent tagged
	 * ones. */
	struct port *to[PORT_MAX], **tagged = to + PORT_MAX;
	uint16_t n_untagged = 0, n_tagged = 0;

	if (own && own->storms) {
		n = switch_storm(own, from, pkts, frames, n);
		if (n == 0)
			return;
	}
	for (uint16_t i = 0; i < plan->n_ports; i++) {
		struct port *port = plan->ports[i];
		const struct switch_port *its = switch_port_of(port);

		if (port == from->port || !switch_port_has(its, vlan) ||
		    fdb_port_state(fdb, port) & FDB_PORT_HELD || (isolated && switch_port_is_isolated(its)))
			continue;
		if (vlan != VLAN_PLAIN && switch_port_tags(its, frame))
			tagged[-++n_tagged] = port;
		else
			to[n_untagged++] = port;
	}
	tagged -= n_tagged;
	if (n_tagged && n_untagged) {
		struct rte_mbuf *copies[PORT_BURST];
		struct switch_frame each[PORT_BURST];
		const struct switch_frames copied = {.each = each};
		uint16_t n_copies = switch_copy(worker, from, pkts, frames, copies, each, n);

		n_copies = switch_retag_burst(worker, from, copies, &copied, n_copies, true);
		if (n_copies)
			fwd_send_all(worker, from, tagged, n_tagged, copies, n_copies);
	}
	if (vlan != VLAN_PLAIN)
		n = switch_retag_burst(worker, from, pkts, frames, n, !n_untagged && n_tagged);
	if (likely(n))
		fwd_send_all(worker, from, n_untagged ? to : tagged, n_untagged ? n_untagged : n_tagged, pkts,
			     n);
}

/* May the frame go to this port, to which its destination belongs? Then it gets the tag that it has there. */
static __rte_always_inline bool
switch_admit(struct fwd_worker *worker, struct port_rxq *from, bool isolated, bool forwards_bpdu,
	     struct port **to, struct rte_mbuf **pkt, struct switch_frame frame)
{
	const struct switch_port *its = *to ? switch_port_of(*to) : NULL;
	enum port_drop reason = DROP_N;

	if (*to == from->port)
		reason = DROP_SAME_PORT;
	else if (!*to && !forwards_bpdu && switch_is_reserved(*pkt))
		reason = DROP_BPDU;
	else if (isolated && switch_port_is_isolated(its))
		reason = DROP_ISOLATED;
	/* It has just been taken out of the VLAN. */
	else if (*to && unlikely(!switch_port_has(its, frame.vlan)))
		*to = NULL;
	else if (*to && frame.vlan != VLAN_PLAIN) {
		struct rte_mbuf *m = switch_retag(worker, *pkt, frame, switch_port_tags(its, frame));

		if (likely(m))
			*pkt = m;
		else
			reason = DROP_NO_CLONE;
	}
	if (likely(reason == DROP_N))
		return true;
	port_rx_drop(from, reason, pkt, 1);
	return false;
}

/* A burst that does not go to one port as it is. Frames to one port stay in order, flooded ones too. */
static __rte_always_inline void
switch_spread(struct fwd_worker *worker, struct port_rxq *from, struct rte_mbuf **pkts,
	      const unsigned int ids[], const struct switch_frames *frames, uint16_t n)
{
	const struct switch_port *own = switch_port_of(from->port);
	const bool isolated = switch_port_is_isolated(own), forwards_bpdu = own && own->forwards_bpdu;
	struct port *to[PORT_BURST];
	uint16_t n_kept = 0;

	for (uint16_t i = 0; i < n; i++) {
		const struct switch_frame frame = switch_frame(frames, i);

		pkts[n_kept] = pkts[i];
		to[n_kept] = switch_port(worker->plan, ids[i]);
		if (frames->each)
			frames->each[n_kept] = frame;
		n_kept += switch_admit(worker, from, isolated, forwards_bpdu, &to[n_kept], &pkts[n_kept],
				       frame);
	}
	/* Runs of frames to flood, of one VLAN each, and of other frames. */
	for (uint16_t first = 0, end; first < n_kept; first = end) {
		for (end = first + 1; end < n_kept && !to[end] == !to[first]; end++)
			if (frames->each && !to[first] &&
			    switch_frames_differ(frames->each[end], frames->each[first]))
				break;
		if (to[first]) {
			switch_send_run(worker, from, &to[first], &pkts[first], end - first);
		} else {
			const struct switch_frames rest = switch_frames_from(frames, first);

			switch_flood(worker, from, &pkts[first], &rest, end - first);
		}
	}
}

static __rte_noinline void
switch_spread_plain(struct fwd_worker *worker, struct port_rxq *from, struct rte_mbuf **pkts,
		    const unsigned int ids[], uint16_t n)
{
	static const struct switch_frames plain = {.all = {.vlan = VLAN_PLAIN}};

	switch_spread(worker, from, pkts, ids, &plain, n);
}

static __rte_noinline void
switch_spread_vlans(struct fwd_worker *worker, struct port_rxq *from, struct rte_mbuf **pkts,
		    const unsigned int ids[], const struct switch_frames *frames, uint16_t n)
{
	switch_spread(worker, from, pkts, ids, frames, n);
}

/* `frames` is NULL, a constant, for those of the plain network. `simple`: `from` is not isolated. */
static __rte_always_inline void
switch_forward_in(struct fwd_worker *worker, struct port_rxq *from, bool simple, struct rte_mbuf **pkts,
		  const struct switch_frames *frames, uint16_t n)
{
	const struct fwd_plan *plan = worker->plan;
	struct fdb *fdb = plan->mode_state;
	struct fdb_place dst_places[PORT_BURST], src_places[PORT_BURST];
	unsigned int ids[PORT_BURST], first_id = 0, others = 0;
	const struct switch_port *its;
	struct port *to;

	for (uint16_t i = 0; i < n; i++) {
		const uint8_t *eth = rte_pktmbuf_mtod(pkts[i], const uint8_t *);
		const uint16_t vlan = frames ? switch_frame(frames, i).vlan : VLAN_PLAIN;
		uint64_t words[2];

		/* The first 12 bytes: destination and two, two and source. */
		memcpy(&words[0], eth, 8);
		memcpy(&words[1], eth + 4, 8);
		dst_places[i] = fdb_place(fdb, fdb_station(vlan, rte_be_to_cpu_64(words[0]) >> 16));
		src_places[i] = fdb_place(fdb, fdb_station(vlan, rte_be_to_cpu_64(words[1]) & FDB_MAC_MASK));
		rte_prefetch0(dst_places[i].home);
		rte_prefetch0(src_places[i].home);
		if (frames && frames->each)
			others |= switch_frames_differ(frames->each[i], frames->each[0]);
	}
	fdb_see_sources(fdb, worker->idx, worker->now_s, from->port, src_places, n);
	for (uint16_t i = 0; i < n; i++) {
		ids[i] = fdb_find_id(fdb, dst_places[i]);
		first_id = i ? first_id : ids[0];
		others |= ids[i] ^ first_id;
	}
	/* Groups are never in the table. */
	to = others ? NULL : switch_port(plan, first_id);
	if (likely(to && to != from->port && simple)) {
		its = switch_port_of(to);
		if (!frames && likely(!its || its->tagging == SWITCH_PLAIN)) {
			fwd_send(worker, from, to, pkts, n);
			return;
		}
		if (frames && likely(switch_port_has(its, switch_frame(frames, 0).vlan))) {
			n = switch_retag_burst(worker, from, pkts, frames, n,
					       switch_port_tags(its, switch_frame(frames, 0)));
			if (likely(n))
				fwd_send(worker, from, to, pkts, n);
			return;
		}
	}
	if (frames)
		switch_spread_vlans(worker, from, pkts, ids, frames, n);
	else
		switch_spread_plain(worker, from, pkts, ids, n);
}

static __rte_noinline void
switch_forward_vlans(struct fwd_worker *worker, struct port_rxq *from, const struct switch_port *own,
		     struct rte_mbuf **pkts, uint16_t n)
{
	struct switch_frame each[PORT_BURST];
	struct switch_frames frames;
	const bool simple = !own->isolated;

	n = switch_classify_burst(own, from, pkts, each, &frames, n);
	if (unlikely(n == 0))
		return;
	if (likely(!frames.each)) {
		const struct switch_frames alike = {.all = frames.all};

		switch_forward_in(worker, from, simple, pkts, &alike, n);
	} else {
		switch_forward_in(worker, from, simple, pkts, &frames, n);
	}
}

/* Drops those of n frames whose sources are not known behind the port, which is full; returns how many are
 * left. */
static uint16_t
switch_drop_strangers(const struct fdb *fdb, const struct switch_port *own, struct port_rxq *from,
		      struct rte_mbuf **pkts, uint16_t n)
{
	uint16_t n_kept = 0;

	for (uint16_t i = 0; i < n; i++) {
		const struct rte_ether_hdr *eth = rte_pktmbuf_mtod(pkts[i], const struct rte_ether_hdr *);
		struct switch_frame frame = {.vlan = VLAN_PLAIN};

		/* What has no VLAN here is dropped under that reason. */
		if (!switch_port_is_plain(own) && switch_classify(own, pkts[i], &frame) != DROP_N)
			pkts[n_kept++] = pkts[i];
		else if (fdb_find_seen(fdb, fdb_place(fdb, fdb_station(frame.vlan, fdb_mac(&eth->src_addr))),
				       from->port->id))
			pkts[n_kept++] = pkts[i];
		else
			port_rx_drop(from, DROP_STRANGER, &pkts[i], 1);
	}
	return n_kept;
}

/* Drops those of n frames that say what the port may not; returns how many are left. */
static __rte_noinline uint16_t
switch_guard(const struct guard *guard, struct port_rxq *from, struct rte_mbuf **pkts, uint16_t n)
{
	uint16_t n_kept = 0;

	for (uint16_t i = 0; i < n; i++) {
		const uint32_t len = RTE_MIN(rte_pktmbuf_pkt_len(pkts[i]), (uint32_t)GUARD_REACH);
		uint8_t copy[GUARD_REACH];
		const enum port_drop reason =
			guard_check(guard, rte_pktmbuf_read(pkts[i], 0, len, copy), len);

		if (unlikely(reason != DROP_N))
			port_rx_drop(from, reason, &pkts[i], 1);
		else
			pkts[n_kept++] = pkts[i];
	}
	return n_kept;
}

static void
switch_forward(struct fwd_worker *worker, struct port_rxq *from, struct rte_mbuf **pkts, uint16_t n)
{
	const struct switch_port *own = switch_port_of(from->port);
	const struct fdb *fdb = worker->plan->mode_state;
	const unsigned int state = fdb_port_state(fdb, from->port);

	if (unlikely(worker->plan->n_ports < 2)) {
		port_rx_drop(from, DROP_NO_PORT, pkts, n);
		return;
	}
	/* All lines of the burst are under way before the first of them is needed. */
	for (uint16_t i = 0; i < n; i++)
		rte_prefetch0(rte_pktmbuf_mtod(pkts[i], void *));
	if (unlikely(state)) {
		if (state & FDB_PORT_HELD) {
			port_rx_drop(from, DROP_HELD, pkts, n);
			return;
		}
		if (own && own->drops_strangers)
			n = switch_drop_strangers(fdb, own, from, pkts, n);
	}
	if (unlikely(own && own->guard.on))
		n = switch_guard(&own->guard, from, pkts, n);
	if (unlikely(n == 0))
		return;
	if (unlikely(!switch_port_is_plain(own)))
		switch_forward_vlans(worker, from, own, pkts, n);
	else
		switch_forward_in(worker, from, !own || !own->isolated, pkts, NULL, n);
}

/* --- control thread --- */

#define SWITCH_SECOND 1000000ull /* in the unit of a key's duration */

struct switch_args {
	uint64_t ageing_us, loop_hold_us;
	uint32_t n_entries, loop_moves;
};

static_assert(FDB_AGEING_S == 300 && FDB_ENTRIES == 16384, "the defaults of the keys");

static const struct key switch_keys[] = {
	{"ageing", KEY_DURATION, KEY_FIELD(struct switch_args, ageing_us), .bare = SWITCH_SECOND,
	 .min = SWITCH_SECOND, .max = 1000000 * SWITCH_SECOND, .initial = "300s", .form = "SECONDS",
	 .help = "an address not seen for so long is forgotten (default 300s)"},
	{"entries", KEY_NUMBER, KEY_FIELD(struct switch_args, n_entries), .min = 1, .max = FDB_ENTRIES_MAX,
	 .initial = "16384",
	 .help = "addresses that are known at a time; others are flooded (default 16384)"},
	{"loop-moves", KEY_NUMBER, KEY_FIELD(struct switch_args, loop_moves), .initial = "5",
	 .help = "a port to which a station moves so often within a second is held; 0: none (default 5)"},
	{"loop-hold", KEY_DURATION, KEY_FIELD(struct switch_args, loop_hold_us), .bare = SWITCH_SECOND,
	 .min = SWITCH_SECOND, .max = 1000000 * SWITCH_SECOND, .initial = "60s", .form = "SECONDS",
	 .help = "for so long nothing is taken from it (default 60s)"},
	{0},
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

	const bool ageing = own->ageing_us % SWITCH_SECOND;
	const uint64_t us = ageing ? own->ageing_us : own->loop_hold_us;

	if (us % SWITCH_SECOND == 0)
		return 0;
	diag_set(diag, -EINVAL, NULL, "--forward-mode switch: %s: the table counts whole seconds",
		 ageing ? "ageing" : "loop-hold");
	diag_hint(diag, "%s=%llus", ageing ? "ageing" : "loop-hold",
		  (unsigned long long)(us / SWITCH_SECOND + 1));
	return -EINVAL;
}

/* What the administrator is told of a port that is held. */
static void
switch_held(void *arg, uint16_t port_id, const struct rte_ether_addr *mac, uint16_t vlan)
{
	const struct port *port = port_by_id(port_id);
	char text[RTE_ETHER_ADDR_FMT_SIZE], vlan_text[SWITCH_VLAN_TEXT];

	if (!port)
		return;
	if (!mac) {
		event_record(port->ctx, EVENT_HELD, port->name, "no longer held");
		log_info(&port->ctx->log, "port %s: no longer held", port->name);
		return;
	}
	rte_ether_format_addr(text, sizeof(text), mac);
	event_record(port->ctx, EVENT_HELD, port->name, "held: station %s in VLAN %s moves to it and back",
		     text, switch_vlan_print(vlan, vlan_text));
	log_warn(&port->ctx->log,
		 "port %s: held: station %s in VLAN %s moves to it and back, as in a loop. Look for two ways "
		 "to one "
		 "network, or another station with this address; loop=ignore at the port lets it be",
		 port->name, text, switch_vlan_print(vlan, vlan_text));
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
	fdb_set_loops(fdb, own->loop_moves, (uint32_t)(own->loop_hold_us / SWITCH_SECOND), switch_held, fdb);
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

static bool
switch_keeps(const void *own, uint16_t vlan)
{
	return switch_port_has(own, vlan);
}

/* Of one that was there, what was learnt may be of VLANs that it has no longer. */
static void
switch_port_changed(void *state, const struct port *port)
{
	const struct switch_port *own = switch_port_of(port);

	fdb_set_port(state, port, own ? own->learn_limit : 0,
		     !port->kind->is_uplink && !(own && own->may_loop));
	fdb_retain(state, port, switch_keeps, own);
}

static struct fwd_mode switch_mode = {
	.name = "switch",
	.help = "learning bridge: known addresses to their port, broadcast and unknown ones to every other "
		"port",
	.keys = switch_keys,
	.port_keys = &switch_port_keys,
	.args_size = sizeof(struct switch_args),
	.check_args = switch_check_args,
	.demand = switch_demand,
	.open = switch_open,
	.close = switch_close,
	.tick = switch_tick,
	.port_removed = switch_port_removed,
	.port_changed = switch_port_changed,
	.forward = switch_forward,
	.accepts_borrowed = true,
	.retry = 8,
};
FWD_MODE_REGISTER(switch_mode)
