/* SPDX-License-Identifier: BSD-3-Clause */
/* switch_port: the keys that the switch gives to its ports; contract in switch_port.h. */
#include "switch_port.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "diag.h"
#include "keys.h"

struct switch_args {
	bool isolated;
	uint16_t vlan, native, qinq; /* 0: not given */
	struct key_numbers trunk;
};

enum { ROW_ISOLATED, ROW_VLAN, ROW_TRUNK, ROW_NATIVE, ROW_QINQ, ROW_N };

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
	[ROW_N] = {0},
};

/* The VLANs of a port are said by one of these, and two contradict each other. */
static int
switch_two(const char *object, const char *a, const char *b, struct diag *diag)
{
	return diag_set(diag, -EINVAL, NULL, "%s: %s= and %s= contradict each other", object, a, b);
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
	const uint64_t dropped = said & anew ? (anew | RTE_BIT64(ROW_NATIVE)) & ~said : 0;

	if (dropped & RTE_BIT64(ROW_VLAN))
		args->vlan = 0;
	if (dropped & RTE_BIT64(ROW_QINQ))
		args->qinq = 0;
	if (dropped & RTE_BIT64(ROW_NATIVE))
		args->native = 0;
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
switch_make(const void *values, void **ret_of_mode)
{
	const struct switch_args *args = values;
	struct switch_port *own;

	*ret_of_mode = NULL;
	if (!args->isolated && !args->vlan && !args->qinq && !args->trunk.n)
		return 0;
	own = calloc(1, sizeof(*own));
	if (!own)
		return -ENOMEM;
	own->isolated = args->isolated;
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
