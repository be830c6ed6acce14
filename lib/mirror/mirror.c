/* SPDX-License-Identifier: BSD-3-Clause */
/* mirror: contract in mirror.h. */
#include "mirror.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <rte_malloc.h>

#include "borrow.h"
#include "fwd.h"
#include "hook.h"
#include "keys.h"
#include "keyval.h"
#include "list.h"
#include "mirror_filter.h"
#include "nearest.h"
#include "switch_port.h"
#include "switch_tags.h"

enum mirror_direction { MIRROR_BOTH, MIRROR_IN, MIRROR_OUT, MIRROR_DIRECTIONS };

static const char *const direction_words[MIRROR_DIRECTIONS] = {"both", "in", "out"};

/* A queue that it watches. */
struct mirror_hook {
	struct port_hook hook;
	struct mirror *mirror;
};

/* A port that it watches. */
struct mirror_tap {
	struct port *port;         /* NULL: there is none of that name */
	struct mirror_hook *hooks; /* [2 * n_queues]: in, then out */
};

/* Written by one worker. */
struct mirror_worker {
	struct mirror_stats stats;
	uint64_t turn; /* of sampling */
} __rte_cache_aligned;

struct mirror {
	struct mirror *next;
	struct mirrors *mirrors;
	char name[PORT_NAME_SIZE];
	/* from the line */
	uint64_t given;
	struct mirror_args {
		struct key_names from;
		char *to;
		char *vlan_text, *filter_text; /* NULL: any frame */
		uint8_t direction;
		uint32_t sample; /* of so many, one */
	} args;
	int vlan;                     /* -1: any */
	struct mirror_filter *filter; /* NULL: any */
	/* Changed while no hook is attached. */
	struct port *to;         /* NULL: it rests */
	struct mirror_tap *taps; /* [args.from.n], as there */
	struct mirror_worker workers[];
};

struct mirrors {
	struct mirror *first;
	struct fwd_worker *workers;
	unsigned int n_workers;
};

static const struct key mirror_rows[] = {
	{"from", KEY_NAMES, KEY_FIELD(struct mirror_args, from), .form = "PORT[+PORT]...",
	 .help = "the ports whose frames are copied"},
	{"to", KEY_NAME, KEY_FIELD(struct mirror_args, to), .form = "PORT",
	 .help = "the port that gets the copies"},
	{"direction", KEY_WORD, KEY_FIELD(struct mirror_args, direction), .words = direction_words,
	 .n_words = MIRROR_DIRECTIONS, .initial = "both",
	 .help = "frames that come from the ports (in), that go to them (out), or both (default)"},
	{"vlan", KEY_STRING, KEY_FIELD(struct mirror_args, vlan_text), .form = "VLAN",
	 .help = "frames of this VLAN only; s100: service VLAN 100"},
	{"filter", KEY_STRING, KEY_FIELD(struct mirror_args, filter_text), .form = "EXPRESSION",
	 .help = "frames of which this is true only: tcp port 80 (pcap-filter(7))"},
	{"sample", KEY_NUMBER, KEY_FIELD(struct mirror_args, sample), .min = 1, .initial = "1",
	 .help = "of so many such frames one, by each worker (default 1)"},
	{0},
};

const struct key *
mirror_keys(void)
{
	return mirror_rows;
}

/* --- workers --- */

/* The VLAN to which a frame belongs on the wire of its port. What goes out of an access port is in its VLAN:
 * the tag of a frame that had two is the second one. */
static int
mirror_vlan(const struct port *port, enum mirror_direction direction, const struct rte_mbuf *pkt)
{
	static const struct switch_port trunk = {.tagging = SWITCH_TRUNK,
						 .untagged = VLAN_PLAIN,
						 .members = {[0 ... VLAN_N / 64 - 1] = UINT64_MAX}};
	const struct switch_port *own = switch_port_of(port);
	struct switch_frame frame;

	if (direction == MIRROR_OUT && own && own->tagging == SWITCH_ACCESS)
		return own->untagged;
	return switch_classify(switch_port_is_plain(own) ? &trunk : own, pkt, &frame) == DROP_N ? frame.vlan
												: -1;
}

static bool
mirror_wants(const struct mirror *mirror, const struct port *port, enum mirror_direction direction,
	     struct rte_mbuf *pkt)
{
	if (mirror->vlan >= 0 && mirror->vlan != mirror_vlan(port, direction, pkt))
		return false;
	return !mirror->filter || mirror_filter_wants(mirror->filter, pkt);
}

/* NULL: no buffer is free. The frame itself stays as it is, borrowed or not. */
static struct rte_mbuf *
mirror_copy(struct rte_mempool *pool, struct rte_mbuf *pkt)
{
	return borrow_is(pkt) ? borrow_copy(pkt, pool) : rte_pktmbuf_clone(pkt, pool);
}

/* `copies` counts those of the queue. */
static void
mirror_see(struct mirror *mirror, const struct port *port, enum mirror_direction direction, uint16_t idx,
	   uint16_t worker_idx, struct rte_mbuf *const *pkts, uint16_t n, uint64_t *copies)
{
	struct fwd_worker *worker = &mirror->mirrors->workers[worker_idx];
	struct mirror_worker *own = &mirror->workers[worker_idx];
	struct rte_mbuf *made[PORT_BURST];
	uint16_t n_made = 0, n_wanted = 0, n_sent = 0;

	for (uint16_t i = 0; i < n; i++) {
		/* One of which that can't be told counts as wanted, and lost. */
		if (mirror->filter && unlikely(!mirror_filter_prepare(mirror->filter, pkts[i]))) {
			n_wanted++;
			continue;
		}
		if (!mirror_wants(mirror, port, direction, pkts[i]))
			continue;
		counter_add(&own->stats.matched, 1);
		if (mirror->args.sample > 1 && own->turn++ % mirror->args.sample)
			continue;
		n_wanted++;
		made[n_made] = mirror_copy(worker->clone_pool, pkts[i]);
		n_made += made[n_made] != NULL;
	}
	if (n_made) {
		const uint16_t n_active = atomic_load_explicit(&mirror->to->n_active, memory_order_relaxed);

		n_sent = fwd_offer(worker, &mirror->to->txqs[idx % n_active], made, n_made);
	}
	counter_add(copies, n_sent);
	counter_add(&own->stats.sent, n_sent);
	counter_add(&own->stats.lost, n_wanted - n_sent);
}

static uint16_t
mirror_rx(struct port_hook *hook, struct port_rxq *rxq, struct rte_mbuf **pkts, uint16_t n)
{
	mirror_see(((struct mirror_hook *)hook)->mirror, rxq->port, MIRROR_IN, rxq->idx, rxq->worker, pkts, n,
		   &rxq->stats.copies);
	return n;
}

static uint16_t
mirror_tx(struct port_hook *hook, struct port_txq *txq, struct rte_mbuf **pkts, uint16_t n)
{
	mirror_see(((struct mirror_hook *)hook)->mirror, txq->port, MIRROR_OUT, txq->idx, txq->worker, pkts,
		   n, &txq->stats.copies);
	return n;
}

/* --- control thread --- */

static int
tap_attach(struct mirror *mirror, struct mirror_tap *tap, struct port *port)
{
	tap->hooks = calloc(2 * port->n_queues, sizeof(tap->hooks[0]));
	if (!tap->hooks)
		return -ENOMEM;
	tap->port = port;
	for (uint16_t i = 0; i < port->n_queues; i++) {
		struct mirror_hook *in = &tap->hooks[i], *out = in + port->n_queues;

		*in = (struct mirror_hook){.hook.rx = mirror_rx, .mirror = mirror};
		*out = (struct mirror_hook){.hook.tx = mirror_tx, .mirror = mirror};
		if (mirror->args.direction != MIRROR_OUT)
			port_rx_hook_attach(&port->rxqs[i], &in->hook);
		if (mirror->args.direction != MIRROR_IN)
			port_tx_hook_attach(&port->txqs[i], &out->hook);
	}
	return 0;
}

static void
tap_detach(const struct mirror *mirror, struct mirror_tap *tap)
{
	struct port *port = tap->port;

	if (!port)
		return;
	for (uint16_t i = 0; i < port->n_queues; i++) {
		if (mirror->args.direction != MIRROR_OUT)
			port_rx_hook_detach(&port->rxqs[i], &tap->hooks[i].hook);
		if (mirror->args.direction != MIRROR_IN)
			port_tx_hook_detach(&port->txqs[i], &tap->hooks[port->n_queues + i].hook);
	}
	free(tap->hooks);
	*tap = (struct mirror_tap){0};
}

static void
mirror_rest(struct mirror *mirror)
{
	for (unsigned int i = 0; i < mirror->args.from.n && mirror->taps; i++)
		tap_detach(mirror, &mirror->taps[i]);
	mirror->to = NULL;
}

/* Watches those of its ports that are there, for the port `to`. -ENOMEM: it rests. */
static int
mirror_start(struct mirror *mirror, struct port *to)
{
	mirror->to = to;
	for (unsigned int i = 0; i < mirror->args.from.n; i++) {
		struct port *port = port_by_name(mirror->args.from.names[i]);

		if (port && tap_attach(mirror, &mirror->taps[i], port) < 0) {
			mirror_rest(mirror);
			return -ENOMEM;
		}
	}
	return 0;
}

static struct key_set
mirror_set(const struct mirror *mirror)
{
	return (struct key_set){
		.rows = mirror_rows, .values = (void *)(uintptr_t)&mirror->args, .given = mirror->given};
}

static void
mirror_free(struct mirror *mirror)
{
	struct key_set set = mirror_set(mirror);

	mirror_rest(mirror);
	mirror_filter_close(mirror->filter);
	free(mirror->taps);
	keys_free(&set);
	free(mirror);
}

static int
no_such_port(const char *object, const char *key, const char *name, struct diag *diag)
{
	const char *names[PORT_MAX];
	unsigned int n = 0;

	for (unsigned int i = 0; i < PORT_MAX; i++)
		if (port_by_id(i))
			names[n++] = port_by_id(i)->name;
	diag_set(diag, -ENOENT, NULL, "%s: %s: there is no port '%.64s'", object, key, name);
	if (n)
		diag_hint(diag, "%s=%s", key, nearest_word(name, names, n));
	else
		diag_hint(diag, "add the port first");
	return -ENOENT;
}

static bool
watches(const struct mirror *mirror, const char *name)
{
	for (unsigned int i = 0; i < mirror->args.from.n; i++)
		if (strcmp(mirror->args.from.names[i], name) == 0)
			return true;
	return false;
}

/* Who looks is not looked at, or copies of copies would never end. */
static int
mirror_check_loops(const struct mirror *mirror, const char *object, struct diag *diag)
{
	const struct mirror *other;

	if (watches(mirror, mirror->args.to))
		return diag_set(diag, -EINVAL,
				"leave it out of from=", "%s: port %s would get copies of its copies", object,
				mirror->args.to);
	list_for_each(other, mirror->mirrors->first) {
		const char *watched = watches(mirror, other->args.to) ? other->args.to : NULL;

		if (watches(other, mirror->args.to))
			watched = mirror->args.to;
		if (!watched)
			continue;
		diag_set(diag, -EINVAL, NULL, "%s: port %s is of mirror %s, where it is on the other side",
			 object, watched, other->name);
		diag_hint(diag, "remove mirror %s first, or take another port", other->name);
		return -EINVAL;
	}
	return 0;
}

/* What the rows can't check. */
static int
mirror_check(struct mirror *mirror, const char *object, struct diag *diag)
{
	const struct mirror *other;

	if (!key_is_name(mirror->name, PORT_NAME_SIZE - 1))
		return diag_set(diag, -EINVAL, "m0,from=vm0,to=cap0", "%s: that is no name", object);
	list_for_each(other, mirror->mirrors->first)
		if (strcmp(other->name, mirror->name) == 0)
			return diag_set(diag, -EEXIST, "take another name, or remove it first",
					"%s: there is a mirror of this name", object);
	if (!mirror->args.from.n || !mirror->args.to) {
		diag_set(diag, -EINVAL, NULL, "%s: %s is not given", object,
			 mirror->args.from.n ? "to" : "from");
		diag_hint(diag, "%s,from=vm0+vm1,to=cap0", mirror->name);
		return -EINVAL;
	}
	for (unsigned int i = 0; i < mirror->args.from.n; i++)
		if (!port_by_name(mirror->args.from.names[i]))
			return no_such_port(object, "from", mirror->args.from.names[i], diag);
	if (!port_by_name(mirror->args.to))
		return no_such_port(object, "to", mirror->args.to, diag);
	return mirror_check_loops(mirror, object, diag);
}

static int
mirror_parse(struct mirror *mirror, const struct keyval *keyval, const char *object, struct diag *diag)
{
	struct key_set set = mirror_set(mirror);
	uint16_t vlan;
	int ret = keys_init(&set);

	if (ret < 0)
		return diag_no_memory(diag, "%s: no memory", object);
	ret = keys_parse(&set, 1, keyval, object, "a mirror", mirror->name, diag);
	mirror->given = set.given;
	if (ret == 0)
		ret = mirror_check(mirror, object, diag);
	mirror->vlan = -1;
	if (ret == 0 && mirror->args.vlan_text) {
		if (!switch_vlan_parse(mirror->args.vlan_text, &vlan))
			return diag_set(diag, -EINVAL, "vlan=10, or vlan=s100 for a service VLAN",
					"%s: vlan: '%.32s' is no VLAN", object, mirror->args.vlan_text);
		mirror->vlan = vlan;
	}
	if (ret == 0 && mirror->args.filter_text)
		ret = mirror_filter_open(&mirror->filter, mirror->args.filter_text, object, diag);
	return ret;
}

int
mirrors_add(struct mirrors *mirrors, const char *line, struct mirror **ret_mirror, struct diag *diag)
{
	const size_t size =
		RTE_ALIGN_CEIL(sizeof(struct mirror) + mirrors->n_workers * sizeof(struct mirror_worker),
			       RTE_CACHE_LINE_SIZE);
	struct mirror *mirror = aligned_alloc(RTE_CACHE_LINE_SIZE, size);
	struct keyval keyval;
	char object[PORT_NAME_SIZE + 8];
	int ret;

	if (!mirror)
		return diag_no_memory(diag, "mirror: no memory");
	memset(mirror, 0, size);
	mirror->mirrors = mirrors;
	ret = keyval_parse(&keyval, line, KEYVAL_UNNAMED, "mirror", diag);
	if (ret < 0) {
		free(mirror);
		return ret;
	}
	snprintf(mirror->name, sizeof(mirror->name), "%s", keyval.kind);
	snprintf(object, sizeof(object), "mirror %s", mirror->name);
	if (strlen(keyval.kind) >= sizeof(mirror->name))
		ret = diag_set(diag, -EINVAL, "a shorter one", "%s..: a name has at most %d characters",
			       object, PORT_NAME_SIZE - 1);
	if (ret == 0)
		ret = mirror_parse(mirror, &keyval, object, diag);
	keyval_free(&keyval);
	if (ret == 0) {
		mirror->taps = calloc(mirror->args.from.n, sizeof(mirror->taps[0]));
		if (!mirror->taps || mirror_start(mirror, port_by_name(mirror->args.to)) < 0)
			ret = diag_no_memory(diag, "%s: no memory", object);
	}
	if (ret < 0) {
		mirror_free(mirror);
		return ret;
	}
	list_append(mirrors->first, mirror);
	*ret_mirror = mirror;
	return 0;
}

int
mirrors_remove(struct mirrors *mirrors, const char *name, struct diag *diag)
{
	struct mirror **link = &mirrors->first, *mirror;

	while (*link && strcmp((*link)->name, name) != 0)
		link = &(*link)->next;
	mirror = *link;
	if (!mirror)
		return diag_set(diag, -ENOENT, "mirror.list tells which there are", "no mirror \"%.64s\"",
				name);
	*link = mirror->next;
	mirror_free(mirror);
	return 0;
}

int
mirrors_port_added(struct mirrors *mirrors, struct port *port)
{
	struct mirror *mirror;
	int ret = 0;

	list_for_each(mirror, mirrors->first) {
		if (strcmp(mirror->args.to, port->name) == 0) {
			ret |= mirror_start(mirror, port);
			continue;
		}
		for (unsigned int i = 0; i < mirror->args.from.n && mirror->to; i++)
			if (strcmp(mirror->args.from.names[i], port->name) == 0)
				ret |= tap_attach(mirror, &mirror->taps[i], port);
	}
	return ret ? -ENOMEM : 0;
}

void
mirrors_port_removed(struct mirrors *mirrors, struct port *port)
{
	struct mirror *mirror;

	list_for_each(mirror, mirrors->first) {
		if (mirror->to == port)
			mirror_rest(mirror);
		for (unsigned int i = 0; i < mirror->args.from.n; i++)
			if (mirror->taps[i].port == port)
				tap_detach(mirror, &mirror->taps[i]);
	}
}

int
mirrors_open(struct mirrors **ret_mirrors, struct fwd_worker *workers, unsigned int n_workers,
	     struct diag *diag)
{
	struct mirrors *mirrors = calloc(1, sizeof(*mirrors));

	if (!mirrors)
		return diag_no_memory(diag, "mirrors: no memory");
	mirrors->workers = workers;
	mirrors->n_workers = n_workers;
	*ret_mirrors = mirrors;
	return 0;
}

void
mirrors_close(struct mirrors *mirrors)
{
	struct mirror *next;

	if (!mirrors)
		return;
	for (struct mirror *mirror = mirrors->first; mirror; mirror = next) {
		next = mirror->next;
		mirror_free(mirror);
	}
	free(mirrors);
}

/* --- for people --- */

struct mirror *
mirrors_first(struct mirrors *mirrors)
{
	return mirrors->first;
}

struct mirror *
mirror_next(const struct mirror *mirror)
{
	return mirror->next;
}

const char *
mirror_name(const struct mirror *mirror)
{
	return mirror->name;
}

bool
mirror_is_active(const struct mirror *mirror)
{
	return mirror->to;
}

size_t
mirror_print(const struct mirror *mirror, char *buf, size_t size)
{
	const struct key_set set = mirror_set(mirror);

	return keys_print(&set, buf, size, keyval_add(buf, size, 0, mirror->name));
}

void
mirror_stats_read(const struct mirror *mirror, struct mirror_stats *ret_stats)
{
	*ret_stats = (struct mirror_stats){0};
	for (unsigned int i = 0; i < mirror->mirrors->n_workers; i++) {
		const struct mirror_stats *own = &mirror->workers[i].stats;

		ret_stats->matched += counter_read(&own->matched);
		ret_stats->sent += counter_read(&own->sent);
		ret_stats->lost += counter_read(&own->lost);
	}
}
