/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * guard: does a guest speak for itself? Its source addresses, and those that it claims in ARP and Neighbor
 * Discovery, are those it may have; and it is no DHCP server and no router unless it may be.
 *
 *     guard=mac       the Ethernet source, and the sender's hardware address in ARP and RARP
 *     guard=mac+ip    that, and the sender's protocol address in ARP, the source of IPv4 and IPv6, and the
 * target and link-layer addresses of Neighbor Discovery
 *
 * Besides its list, a guest may have 0.0.0.0 (ARP probes, RFC 5227; a DHCP client, RFC 2131), the unspecified
 * IPv6 address (duplicate address detection, MLD and router solicitations, RFC 4862 and 3810), and the
 * link-local addresses that are made of its MAC addresses (RFC 4291, appendix A).
 *
 * A frame in which what is to be checked can't be read, within GUARD_REACH bytes, is not let pass. Fragments
 * but the first carry nothing to be checked but their source; Neighbor Discovery is never fragmented (RFC
 * 6980). VLAN tags, two at most, are passed over, and LLC/SNAP, in which some hosts take IP and ARP.
 */
#ifndef VNICD_GUARD_H
#define VNICD_GUARD_H

#include <stdbool.h>
#include <stdint.h>

#include <rte_ether.h>

#include "diag.h"
#include "port.h"

enum {
	GUARD_MACS_MAX = 32,
	GUARD_IPS_MAX = 64,
	GUARD_REACH = 128, /* bytes: the head of a borrowed frame (borrow.h) */
};

/* An address of IPv4 (as ::ffff:a.b.c.d) or IPv6, and how many of its bits count, of 128. */
struct guard_ip {
	uint8_t bytes[16];
	uint8_t prefix;
};

struct guard {
	bool on;             /* else nothing is checked */
	bool ip;             /* IP addresses, too */
	bool is_dhcp_server; /* may be */
	bool is_router;
	uint16_t n_macs, n_ips;
	struct rte_ether_addr macs[GUARD_MACS_MAX];
	struct guard_ip ips[GUARD_IPS_MAX];
};

/* Lists as `52:54:00:00:00:01+52:54:00:00:00:02` and `10.0.0.1+10.1.0.0/16+2001:db8::/64`, into `guard`. 0;
 * or -EINVAL, or -E2BIG, with diag filled; `object` begins the cause. */
int guard_parse_macs(struct guard *guard, const char *list, const char *object, struct diag *diag);
int guard_parse_ips(struct guard *guard, const char *list, const char *object, struct diag *diag);

/*
 * Any thread. `frame` is the first `len` bytes of a frame, all of it or GUARD_REACH of them or more; len is
 * 14 or more. DROP_N: it may pass; else the reason.
 */
enum port_drop guard_check(const struct guard *guard, const uint8_t *frame, uint32_t len);

#endif
