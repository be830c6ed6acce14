/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * switch_port: what the switch's keys make of a port: its VLANs, and whether it is isolated.
 *
 * Each frame belongs to one VLAN while it is in the switch, and stays in it. Which one the port says from
 * which it comes, and whether it goes out of a port, and with a tag or without, that port says:
 *
 *     keys                    in: without a tag     with a tag              out
 *     none                    the plain network     the plain network       as it came
 *     vlan=10 (access)        VLAN 10               dropped                 without a tag
 *     trunk=10+20             dropped               the tag's, if listed    with the tag
 *     trunk=10+20,native=30   VLAN 30               the tag's, or VLAN 30   with the tag, but VLAN 30 without
 *     qinq=100 (tunnel)       service VLAN 100      service VLAN 100        without the service tag
 *
 * The plain network is that of all ports without such keys, which look at no tags; nothing passes between it
 * and VLANs. An 802.1Q tag with VID 0 says a priority and no VLAN, so it counts as none; it is taken off
 * where frames go out without a tag, and becomes the VLAN's, with the priority, where they go out with one.
 * What may be behind a tag is payload, and stays it: a tag behind VID 0 is a tag, dropped as a foreign one; a
 * frame of the native VLAN that has one behind its own leaves a trunk with both.
 * Customer VLANs (tag 0x8100) and service VLANs (0x88a8, IEEE 802.1ad) have numbers of their own: a trunk
 * carries both of a number that it lists. VID 4095 is reserved, and no port has it. (IEEE 802.1Q-2018, 9.6
 * and 6.9.)
 */
#ifndef VNICD_SWITCH_PORT_H
#define VNICD_SWITCH_PORT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <rte_common.h>

#include "guard.h"
#include "policer.h"
#include "port.h"

enum {
	VLAN_PLAIN = 0, /* no VLAN: the plain network */
	VLAN_VID_MAX = 4094,
	VLAN_SERVICE = 4096, /* and the VID: a service VLAN. A VLAN's number has 13 bits. */
	VLAN_N = 2 * VLAN_SERVICE,
	VLAN_NONE = UINT16_MAX, /* not a VLAN */
};

enum switch_tagging {
	SWITCH_PLAIN, /* looks at no tags */
	SWITCH_ACCESS,
	SWITCH_TRUNK,
	SWITCH_TUNNEL,
};

/* Frames that are flooded, which are limited each by themselves. */
enum switch_storm {
	SWITCH_STORM_BROADCAST,
	SWITCH_STORM_MULTICAST,
	SWITCH_STORM_UNKNOWN, /* to a station that is not known */
	SWITCH_STORMS,
};

/* port->of_mode of the switch; NULL: plain, and nothing else. */
struct switch_port {
	enum switch_tagging tagging;
	bool isolated;                 /* no frames for and from other isolated ports */
	bool forwards_bpdu;            /* also what is for bridges alone, 01:80:c2:00:00:00 .. 0f */
	bool drops_strangers;          /* while it has learnt as many stations as it may */
	bool may_loop;                 /* it is never held */
	uint8_t storms;                /* bit by enum switch_storm: a limit is given */
	uint32_t learn_limit;          /* stations; 0: any number */
	uint16_t untagged;             /* the VLAN whose frames have no tag here; VLAN_NONE: there is none */
	uint64_t members[VLAN_N / 64]; /* bit by VLAN: its frames go out here; all but plain ones */
	struct policer_bucket storm[SWITCH_STORMS];
	struct guard guard;
};

/* The keys of a port; `make` makes a struct switch_port. */
extern struct port_mode_keys switch_port_keys;

enum { SWITCH_VLAN_TEXT = 16 }; /* bytes that are enough for the text of a VLAN */

/* The text of a VLAN: 10, s100 for a service VLAN, 0 for the plain network. False: it is none. */
bool switch_vlan_parse(const char *text, uint16_t *ret_vlan);
const char *switch_vlan_print(uint16_t vlan, char text[SWITCH_VLAN_TEXT]); /* returns `text` */

/* Worker, in no call of a PMD since: NULL as above. */
static inline const struct switch_port *
switch_port_of(const struct port *port)
{
	/* Acquire: pairs with the release of port_set(). */
	return atomic_load_explicit(&port->of_mode, memory_order_acquire);
}

/* The bucket of a limit that is given: all workers draw from it. */
static inline struct policer_bucket *
switch_port_storm(const struct switch_port *own, enum switch_storm storm)
{
	return (struct policer_bucket *)(uintptr_t)&own->storm[storm];
}

static inline bool
switch_port_is_plain(const struct switch_port *own)
{
	return !own || own->tagging == SWITCH_PLAIN;
}

static inline bool
switch_port_is_isolated(const struct switch_port *own)
{
	return own && own->isolated;
}

/* Do frames of the VLAN go out of the port? */
static inline bool
switch_port_has(const struct switch_port *own, uint16_t vlan)
{
	if (switch_port_is_plain(own))
		return vlan == VLAN_PLAIN;
	return own->members[vlan / 64] >> vlan % 64 & 1;
}

#endif
