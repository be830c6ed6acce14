/* SPDX-License-Identifier: BSD-3-Clause */
/* switch_port: the keys that the switch gives to its ports; contract in switch_port.h. */
#include "switch_port.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <rte_cycles.h>

#include "diag.h"
#include "keys.h"

struct switch_args {
	bool isolated;
	uint16_t vlan, native, qinq; /* 0: not given */
	struct key_numbers trunk;
	struct key_rate storm[SWITCH_STORMS];
	uint32_t learn_limit;
	uint64_t guard, allow;          /* bit by word */
	char *allow_mac, *allow_ip;     /* NULL: not given */
	uint8_t learn_full, bpdu, loop; /* index of the word; 0 is the default */
};

enum {
	ROW_ISOLATED,
	ROW_VLAN,
	ROW_TRUNK,
	ROW_NATIVE,
	ROW_QINQ,
	ROW_STORM,
	ROW_LEARN_LIMIT = ROW_STORM + SWITCH_STORMS,
	ROW_LEARN_FULL,
	ROW_BPDU,
	ROW_LOOP,
	ROW_GUARD,
	ROW_ALLOW_MAC,
	ROW_ALLOW_IP,
	ROW_ALLOW,
	ROW_N,
};

static const char *const learn_full_words[] = {"flood", "drop"};
static const char *const bpdu_words[] = {"drop", "forward"};
enum { GUARD_OFF, GUARD_MAC, GUARD_IP };
static const char *const guard_words[] = {[GUARD_OFF] = "off", [GUARD_MAC] = "mac", [GUARD_IP] = "ip"};
enum { ALLOW_DHCP_SERVER, ALLOW_ROUTER };
static const char *const allow_words[] = {[ALLOW_DHCP_SERVER] = "dhcp-server", [ALLOW_ROUTER] = "router"};
static const char *const loop_words[] = {"hold", "ignore"};

#define STORM_ROW(key, index, what)                                                                        \
	{                                                                                                  \
		key, KEY_RATE, KEY_FIELD(struct switch_args, storm[index]),                                \
			.rate_units = KEY_RATE_BIT | KEY_RATE_PPS, .max = SWITCH_RATE_MAX, .form = "RATE", \
			.help = what                                                                       \
	}
#define SWITCH_RATE_MAX (1000ull * 1000 * 1000 * 1000)

static const struct key switch_rows[] = {
	[ROW_ISOLATED] = {"isolated", KEY_SWITCH, KEY_FIELD(struct switch_args, isolated), .initial = "off",
			  .help = "no frames for other isolated ports: guests that see the uplink only"},
	[ROW_VLAN] = {"vlan", KEY_NUMBER, KEY_FIELD(struct switch_args, vlan), .max = VLAN_VID_MAX,
		      .help = "access port: untagged frames, which are in this VLAN; 0: in none"},
	[ROW_TRUNK] = {"trunk", KEY_NUMBERS, KEY_FIELD(struct switch_args, trunk), .min = 1,
		       .max = VLAN_VID_MAX, .form = "VID[+VID|VID-VID]...",
		       .help = "tagged frames of these VLANs: 10+20+30-40"},
	[ROW_NATIVE] = {"native", KEY_NUMBER, KEY_FIELD(struct switch_args, native), .max = VLAN_VID_MAX,
			.help = "of a trunk: the VLAN of untagged frames; 0: they are dropped"},
	[ROW_QINQ] = {"qinq", KEY_NUMBER, KEY_FIELD(struct switch_args, qinq), .max = VLAN_VID_MAX,
		      .help = "all frames, tagged or not, are in this service VLAN (802.1ad); 0: in none"},
	[ROW_STORM + SWITCH_STORM_BROADCAST] =
		STORM_ROW("storm-broadcast", SWITCH_STORM_BROADCAST,
			  "drop broadcast that it sends beyond 1kpps, or 10mbit; 0: no limit"),
	[ROW_STORM + SWITCH_STORM_MULTICAST] =
		STORM_ROW("storm-multicast", SWITCH_STORM_MULTICAST, "the same of multicast"),
	[ROW_STORM + SWITCH_STORM_UNKNOWN] =
		STORM_ROW("storm-unknown", SWITCH_STORM_UNKNOWN, "the same of frames to unknown stations"),
	[ROW_LEARN_LIMIT] = {"learn-limit", KEY_NUMBER, KEY_FIELD(struct switch_args, learn_limit),
			     .help = "stations that are learnt behind it, at most; 0: no limit"},
	[ROW_LEARN_FULL] =
		{"learn-full", KEY_WORD, KEY_FIELD(struct switch_args, learn_full), .words = learn_full_words,
		 .n_words = RTE_DIM(learn_full_words),
		 .help = "frames of further stations: forwarded, and not learnt (default), or dropped"},
	[ROW_BPDU] =
		{"bpdu", KEY_WORD, KEY_FIELD(struct switch_args, bpdu), .words = bpdu_words,
		 .n_words = RTE_DIM(bpdu_words),
		 .help = "frames that it sends to 01:80:c2:00:00:00..0f (STP, LACP, LLDP); default drop"},
	[ROW_LOOP] = {"loop", KEY_WORD, KEY_FIELD(struct switch_args, loop), .words = loop_words,
		      .n_words = RTE_DIM(loop_words),
		      .help = "may the port be held for a loop? (default; never one to other networks)"},
	[ROW_GUARD] = {"guard", KEY_WORDS, KEY_FIELD(struct switch_args, guard), .words = guard_words,
		       .n_words = RTE_DIM(guard_words), .form = "off|mac|mac+ip",
		       .help = "drop what it sends with addresses that it may not have"},
	[ROW_ALLOW_MAC] = {"allow-mac", KEY_STRING, KEY_FIELD(struct switch_args, allow_mac),
			   .form = "MAC[+MAC]...",
			   .help = "those that it may have (default: the port's own)"},
	[ROW_ALLOW_IP] = {"allow-ip", KEY_STRING, KEY_FIELD(struct switch_args, allow_ip),
			  .form = "IP[/BITS][+IP]...", .help = "the same of guard=mac+ip, IPv4 and IPv6"},
	[ROW_ALLOW] = {"allow", KEY_WORDS, KEY_FIELD(struct switch_args, allow), .words = allow_words,
		       .n_words = RTE_DIM(allow_words), .form = "dhcp-server|router",
		       .help = "what a guarded guest may be, besides a host"},
	[ROW_N] = {0},
};

/* The VLANs of a port are said by one of these, and two contradict each other. */
static int
switch_two(const char *object, const char *a, const char *b, struct diag *diag)
{
	return diag_set(diag, -EINVAL, NULL, "%s: %s= and %s= contradict each other", object, a, b);
}

static bool
switch_is_guarded(const struct switch_args *args, unsigned int what)
{
	return args->guard >> what & 1;
}

static int
switch_guard(const struct switch_args *args, const struct rte_ether_addr *own, struct guard *ret_guard,
	     const char *object, struct diag *diag)
{
	struct guard guard = {
		.on = switch_is_guarded(args, GUARD_MAC) || switch_is_guarded(args, GUARD_IP),
		.ip = switch_is_guarded(args, GUARD_IP),
		.is_dhcp_server = args->allow >> ALLOW_DHCP_SERVER & 1,
		.is_router = args->allow >> ALLOW_ROUTER & 1,
	};
	int ret = 0;

	if (args->allow_mac)
		ret = guard_parse_macs(&guard, args->allow_mac, object, diag);
	else if (own)
		guard.macs[guard.n_macs++] = *own;
	if (ret == 0 && args->allow_ip)
		ret = guard_parse_ips(&guard, args->allow_ip, object, diag);
	*ret_guard = guard;
	return ret;
}

static int
switch_check_guard(const struct switch_args *args, const char *object, struct diag *diag)
{
	struct guard guard;
	int ret = switch_guard(args, NULL, &guard, object, diag);

	if (ret < 0)
		return ret;
	if (switch_is_guarded(args, GUARD_OFF) && guard.on)
		return diag_set(diag, -EINVAL, "guard=mac, or guard=off", "%s: guard=off is all that it says",
				object);
	if (!guard.on && (args->allow_mac || args->allow_ip || args->allow)) {
		diag_set(diag, -EINVAL, NULL, "%s: %s= is of guard=, which is not given", object,
			 args->allow_mac  ? "allow-mac"
			 : args->allow_ip ? "allow-ip"
					  : "allow");
		diag_hint(diag, "guard=%s", args->allow_ip ? "mac+ip" : "mac");
		return -EINVAL;
	}
	if (args->allow_ip && !guard.ip)
		return diag_set(diag, -EINVAL, "guard=mac+ip", "%s: allow-ip= needs guard=mac+ip", object);
	if (guard.ip && guard.n_ips == 0)
		return diag_set(diag, -EINVAL, "guard=mac+ip,allow-ip=10.0.0.1+2001:db8::1",
				"%s: guard=mac+ip needs allow-ip=", object);
	return 0;
}

static int
switch_check(const void *values, const char *object, struct diag *diag)
{
	const struct switch_args *args = values;
	char list[KEY_TEXT_MAX];

	key_print(&switch_rows[ROW_TRUNK], args, 0, list, sizeof(list));
	if (args->vlan && args->trunk.n) {
		switch_two(object, "vlan", "trunk", diag);
		diag_hint(diag, "vlan=%u, or trunk=%s,native=%u", args->vlan, list, args->vlan);
		return -EINVAL;
	}
	if (args->vlan && args->qinq) {
		switch_two(object, "vlan", "qinq", diag);
		diag_hint(diag, "vlan=%u, or qinq=%u", args->vlan, args->qinq);
		return -EINVAL;
	}
	if (args->qinq && args->trunk.n) {
		switch_two(object, "qinq", "trunk", diag);
		diag_hint(diag, "qinq=%u, or trunk=%s", args->qinq, list);
		return -EINVAL;
	}
	if (switch_check_guard(args, object, diag) < 0)
		return -EINVAL;
	if (args->learn_full && !args->learn_limit) {
		diag_set(diag, -EINVAL, NULL, "%s: learn-full= is of learn-limit=, which is not given",
			 object);
		diag_hint(diag, "learn-limit=16,learn-full=drop");
		return -EINVAL;
	}
	if (args->native && !args->trunk.n) {
		diag_set(diag, -EINVAL, NULL, "%s: native= is for a trunk, and there is no trunk=", object);
		diag_hint(diag, "vlan=%u, or trunk=1-%d,native=%u", args->native, VLAN_VID_MAX, args->native);
		return -EINVAL;
	}
	return 0;
}

static void
switch_change(void *values, uint64_t said, uint64_t *given)
{
	const uint64_t anew = RTE_BIT64(ROW_VLAN) | RTE_BIT64(ROW_TRUNK) | RTE_BIT64(ROW_QINQ);
	struct switch_args *args = values;
	/* Who says anew what the port is says all of it; native alone goes with the trunk that it is of. */
	const uint64_t off = args->qinq ? 0 : RTE_BIT64(ROW_QINQ); /* says nothing anew */
	uint64_t dropped = said & anew & ~off ? (anew | RTE_BIT64(ROW_NATIVE)) & ~said : 0;

	/* And who says what is guarded says by which lists. */
	if (said & RTE_BIT64(ROW_GUARD))
		dropped |=
			(RTE_BIT64(ROW_ALLOW_MAC) | RTE_BIT64(ROW_ALLOW_IP) | RTE_BIT64(ROW_ALLOW)) & ~said;
	/* Where there is no limit any more nothing is said of its end. */
	if (said & RTE_BIT64(ROW_LEARN_LIMIT) && !args->learn_limit)
		dropped |= RTE_BIT64(ROW_LEARN_FULL) & ~said;
	if (dropped & RTE_BIT64(ROW_LEARN_FULL))
		args->learn_full = 0;
	if (dropped & RTE_BIT64(ROW_VLAN))
		args->vlan = 0;
	if (dropped & RTE_BIT64(ROW_QINQ))
		args->qinq = 0;
	if (dropped & RTE_BIT64(ROW_NATIVE))
		args->native = 0;
	if (dropped & RTE_BIT64(ROW_ALLOW))
		args->allow = 0;
	if (dropped & RTE_BIT64(ROW_ALLOW_MAC)) {
		free(args->allow_mac);
		args->allow_mac = NULL;
	}
	if (dropped & RTE_BIT64(ROW_ALLOW_IP)) {
		free(args->allow_ip);
		args->allow_ip = NULL;
	}
	if (dropped & RTE_BIT64(ROW_TRUNK)) {
		free(args->trunk.ranges);
		args->trunk = (struct key_numbers){0};
	}
	*given &= ~dropped;
}

static void
switch_port_add(struct switch_port *own, uint16_t vlan)
{
	own->members[vlan / 64] |= RTE_BIT64(vlan % 64);
}

static int
switch_make(const struct port *port, const void *values, void **ret_of_mode)
{
	const struct switch_args *args = values;
	struct switch_port *own;
	struct diag diag;
	bool storms = false;

	*ret_of_mode = NULL;
	for (int i = 0; i < SWITCH_STORMS; i++)
		storms |= args->storm[i].per_s > 0;
	if (!args->isolated && !args->vlan && !args->qinq && !args->trunk.n && !storms &&
	    !args->learn_limit && !args->bpdu && !args->loop && args->guard <= 1u << GUARD_OFF)
		return 0;
	own = aligned_alloc(RTE_CACHE_LINE_SIZE, sizeof(*own));
	if (!own)
		return -ENOMEM;
	memset(own, 0, sizeof(*own));
	own->isolated = args->isolated;
	own->forwards_bpdu = args->bpdu;
	own->learn_limit = args->learn_limit;
	own->drops_strangers = args->learn_full;
	own->may_loop = args->loop;
	/* Checked before. */
	switch_guard(args, &port->mac, &own->guard, port->name, &diag);
	for (int i = 0; i < SWITCH_STORMS; i++) {
		const struct policer_limit limit = {.rate = args->storm[i]};

		if (!policer_limit_is_given(&limit))
			continue;
		own->storms |= (uint8_t)(1u << i);
		policer_bucket_init(&own->storm[i], &limit, rte_get_tsc_hz(), rte_rdtsc());
	}
	own->untagged = VLAN_NONE;
	if (args->vlan) {
		own->tagging = SWITCH_ACCESS;
		own->untagged = args->vlan;
	} else if (args->qinq) {
		own->tagging = SWITCH_TUNNEL;
		own->untagged = VLAN_SERVICE + args->qinq;
	} else if (args->trunk.n) {
		own->tagging = SWITCH_TRUNK;
		if (args->native)
			own->untagged = args->native;
		for (uint16_t vid = 1; vid <= VLAN_VID_MAX; vid++) {
			if (!key_numbers_has(&args->trunk, vid))
				continue;
			switch_port_add(own, vid);
			switch_port_add(own, VLAN_SERVICE + vid);
		}
	}
	if (own->untagged != VLAN_NONE)
		switch_port_add(own, own->untagged);
	*ret_of_mode = own;
	return 0;
}

struct port_mode_keys switch_port_keys = {
	.mode = "switch",
	.keys = switch_rows,
	.args_size = sizeof(struct switch_args),
	.check = switch_check,
	.make = switch_make,
	.change = switch_change,
};

/* --- VLANs as text --- */

bool
switch_vlan_parse(const char *text, uint16_t *ret_vlan)
{
	const bool service = text[0] == 's';
	unsigned int vid = 0;

	text += service;
	if (!text[0] || strlen(text) > 4 || text[strspn(text, "0123456789")])
		return false;
	vid = (unsigned int)strtoul(text, NULL, 10);
	if (vid > VLAN_VID_MAX || (service && vid == 0))
		return false;
	*ret_vlan = (uint16_t)(vid + (service ? VLAN_SERVICE : 0));
	return true;
}

const char *
switch_vlan_print(uint16_t vlan, char text[SWITCH_VLAN_TEXT])
{
	snprintf(text, SWITCH_VLAN_TEXT, "%s%u", vlan > VLAN_SERVICE ? "s" : "", vlan & (VLAN_SERVICE - 1));
	return text;
}
