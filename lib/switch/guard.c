/* SPDX-License-Identifier: BSD-3-Clause */
/* guard: contract in guard.h. */
#include "guard.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <arpa/inet.h>

#include <rte_ip.h>

enum {
	ARP_HTYPE_ETHERNET = 1,
	ARP_LEN = 28,
	TAGS_MAX = 2,
	/* IEEE 802.3, 3.2.6: below, the field behind the addresses is a length, and LLC follows. */
	TYPE_MIN = 0x600,
	SNAP_LEN = 8,
	UDP_LEN = 8,
	/* RFC 2131, 4.1; RFC 8415, 7.2. */
	DHCP_SERVER_PORT = 67,
	DHCP_CLIENT_PORT = 68,
	DHCPV6_CLIENT_PORT = 546,
	DHCPV6_SERVER_PORT = 547,
	/* RFC 8200, 4. */
	IPV6_HOP_BY_HOP = 0,
	IPV6_ROUTING = 43,
	IPV6_FRAGMENT = 44,
	IPV6_OPTIONS = 60,
	IPV6_HEADERS_MAX = 8,
	/* RFC 4861, 4; RFC 2710, 3; RFC 3810, 5. */
	ND_ROUTER_SOLICITATION = 133,
	ND_ROUTER_ADVERTISEMENT = 134,
	ND_NEIGHBOR_SOLICITATION = 135,
	ND_NEIGHBOR_ADVERTISEMENT = 136,
	ND_REDIRECT = 137,
	ND_OPTION_SOURCE = 1,
	ND_OPTION_TARGET = 2,
	MLD_REPORT = 131,
	MLD_DONE = 132,
	MLD2_REPORT = 143,
};

/* What is left of the frame. */
struct cursor {
	const uint8_t *at;
	uint32_t left;
};

static const uint8_t *
take(struct cursor *cursor, uint32_t len)
{
	const uint8_t *at = cursor->at;

	if (cursor->left < len)
		return NULL;
	cursor->at += len;
	cursor->left -= len;
	return at;
}

static uint16_t
word(const uint8_t *at)
{
	return (uint16_t)(at[0] << 8 | at[1]);
}

static bool
has_mac(const struct guard *guard, const uint8_t *mac)
{
	for (uint16_t i = 0; i < guard->n_macs; i++)
		if (memcmp(&guard->macs[i], mac, RTE_ETHER_ADDR_LEN) == 0)
			return true;
	return false;
}

static bool
ip_matches(const struct guard_ip *ip, const uint8_t addr[16])
{
	const unsigned int bytes = ip->prefix / 8, bits = ip->prefix % 8;

	if (memcmp(ip->bytes, addr, bytes) != 0)
		return false;
	return bits == 0 || (ip->bytes[bytes] ^ addr[bytes]) >> (8 - bits) == 0;
}

static bool
has_ip(const struct guard *guard, const uint8_t addr[16])
{
	for (uint16_t i = 0; i < guard->n_ips; i++)
		if (ip_matches(&guard->ips[i], addr))
			return true;
	return false;
}

static void
map_ipv4(uint8_t ret_addr[16], const uint8_t ipv4[4])
{
	memset(ret_addr, 0, 10);
	memset(ret_addr + 10, 0xff, 2);
	memcpy(ret_addr + 12, ipv4, 4);
}

static bool
has_ipv4(const struct guard *guard, const uint8_t ipv4[4])
{
	uint8_t addr[16];

	map_ipv4(addr, ipv4);
	return has_ip(guard, addr);
}

static bool
has_ipv6(const struct guard *guard, const uint8_t addr[16])
{
	static const uint8_t link_local[8] = {0xfe, 0x80};

	if (has_ip(guard, addr))
		return true;
	if (memcmp(addr, link_local, sizeof(link_local)) != 0 || addr[11] != 0xff || addr[12] != 0xfe)
		return false;
	for (uint16_t i = 0; i < guard->n_macs; i++) {
		const uint8_t *mac = guard->macs[i].addr_bytes;

		if (addr[8] == (mac[0] ^ 2) && memcmp(addr + 9, mac + 1, 2) == 0 &&
		    memcmp(addr + 13, mac + 3, 3) == 0)
			return true;
	}
	return false;
}

static bool
is_zero(const uint8_t *at, uint32_t len)
{
	for (uint32_t i = 0; i < len; i++)
		if (at[i])
			return false;
	return true;
}

/* ARP, and RARP, which claims the sender's hardware address only. */
static enum port_drop
check_arp(const struct guard *guard, struct cursor cursor, bool reverse)
{
	static const uint8_t kind[] = {0, ARP_HTYPE_ETHERNET, 0x08, 0x00, RTE_ETHER_ADDR_LEN, 4};
	const uint8_t *arp = take(&cursor, ARP_LEN);

	if (!arp || memcmp(arp, kind, sizeof(kind)) != 0)
		return DROP_SPOOFED_IP;
	if (!has_mac(guard, arp + 8))
		return DROP_SPOOFED_MAC;
	if (!guard->ip || reverse || is_zero(arp + 14, 4) || has_ipv4(guard, arp + 14))
		return DROP_N;
	return DROP_SPOOFED_IP;
}

/* What a server sends is known by where it goes, too: clients take it from any port. */
static enum port_drop
check_udp(const struct guard *guard, struct cursor cursor, uint16_t server_port, uint16_t client_port)
{
	const uint8_t *udp = take(&cursor, UDP_LEN);

	if (!udp || ((word(udp) == server_port || word(udp + 2) == client_port) && !guard->is_dhcp_server))
		return DROP_NOT_SERVER;
	return DROP_N;
}

static enum port_drop
check_ipv4(const struct guard *guard, struct cursor cursor)
{
	const uint8_t *ip = take(&cursor, sizeof(struct rte_ipv4_hdr));
	uint32_t options;
	bool is_first, is_udp;

	/* Nobody takes what is no header; it is let pass only where nobody asks. */
	if (!ip || ip[0] >> 4 != 4 || (ip[0] & 0xf) < 5)
		return guard->ip ? DROP_SPOOFED_IP : DROP_N;
	options = (ip[0] & 0xfu) * 4 - (uint32_t)sizeof(struct rte_ipv4_hdr);
	is_udp = ip[9] == IPPROTO_UDP;
	is_first = (word(ip + 6) & RTE_IPV4_HDR_OFFSET_MASK) == 0;
	if (!take(&cursor, options))
		return guard->ip || is_udp ? DROP_SPOOFED_IP : DROP_N;
	if (guard->ip && !has_ipv4(guard, ip + 12)) {
		/* A client that has no address yet. */
		if (!is_zero(ip + 12, 4) || !is_udp || !is_first || cursor.left < UDP_LEN ||
		    word(cursor.at) != DHCP_CLIENT_PORT || word(cursor.at + 2) != DHCP_SERVER_PORT)
			return DROP_SPOOFED_IP;
	}
	return is_udp && is_first ? check_udp(guard, cursor, DHCP_SERVER_PORT, DHCP_CLIENT_PORT) : DROP_N;
}

/* The options of a message are at `cursor`: those of `type` name a hardware address that the guest has. */
static bool
options_are_own(const struct guard *guard, struct cursor cursor, uint8_t type)
{
	while (cursor.left >= 2) {
		const uint32_t len = cursor.at[1] * 8u;
		const uint8_t *option = len ? take(&cursor, len) : NULL;

		if (!option || (option[0] == type && !has_mac(guard, option + 2)))
			return false;
	}
	return true;
}

static enum port_drop
check_icmpv6(const struct guard *guard, const uint8_t *src, struct cursor cursor, bool fragmented)
{
	const bool unspecified = is_zero(src, 16);
	const uint8_t *icmp = take(&cursor, 8), *target;
	bool own = false;

	if (!icmp)
		return DROP_SPOOFED_IP;
	if (fragmented && icmp[0] >= ND_ROUTER_SOLICITATION && icmp[0] <= ND_REDIRECT)
		return DROP_SPOOFED_IP;
	switch (icmp[0]) {
	case ND_ROUTER_ADVERTISEMENT:
	case ND_REDIRECT:
		return guard->is_router ? DROP_N : DROP_NOT_SERVER;
	case ND_ROUTER_SOLICITATION:
		own = options_are_own(guard, cursor, ND_OPTION_SOURCE);
		break;
	case ND_NEIGHBOR_SOLICITATION:
		target = take(&cursor, 16);
		own = target && (!guard->ip || !unspecified || has_ipv6(guard, target)) &&
		      options_are_own(guard, cursor, ND_OPTION_SOURCE);
		break;
	case ND_NEIGHBOR_ADVERTISEMENT:
		target = take(&cursor, 16);
		own = target && (!guard->ip || (has_ipv6(guard, target) && !unspecified)) &&
		      options_are_own(guard, cursor, ND_OPTION_TARGET);
		break;
	case MLD_REPORT:
	case MLD_DONE:
	case MLD2_REPORT:
		own = true;
		break;
	default:
		own = !guard->ip || !unspecified;
		break;
	}
	return own ? DROP_N : DROP_SPOOFED_IP;
}

static enum port_drop
check_ipv6(const struct guard *guard, struct cursor cursor)
{
	const uint8_t *ip = take(&cursor, sizeof(struct rte_ipv6_hdr)), *src;
	bool fragmented = false;
	uint8_t next;

	if (!ip || ip[0] >> 4 != 6)
		return guard->ip ? DROP_SPOOFED_IP : DROP_N;
	/* Behind it there is padding, in which a fragment could show headers that nobody else will see. (0: a
	 * guest that leaves the length of a frame to be segmented to its device.) */
	if (word(ip + 4))
		cursor.left = RTE_MIN(cursor.left, (uint32_t)word(ip + 4));
	src = ip + 8;
	if (guard->ip && !is_zero(src, 16) && !has_ipv6(guard, src))
		return DROP_SPOOFED_IP;
	next = ip[6];
	for (int i = 0; i < IPV6_HEADERS_MAX; i++) {
		const uint8_t *header;

		switch (next) {
		case IPPROTO_ICMPV6:
			return check_icmpv6(guard, src, cursor, fragmented);
		case IPPROTO_UDP:
			if (guard->ip && is_zero(src, 16))
				return DROP_SPOOFED_IP;
			return check_udp(guard, cursor, DHCPV6_SERVER_PORT, DHCPV6_CLIENT_PORT);
		case IPV6_FRAGMENT:
			header = take(&cursor, 8);
			if (!header)
				return DROP_SPOOFED_IP;
			/* What follows is no header; the first of these fragments was looked at. */
			if (word(header + 2) >> 3)
				return guard->ip && is_zero(src, 16) ? DROP_SPOOFED_IP : DROP_N;
			fragmented = word(header + 2) & 1 || fragmented;
			break;
		case IPV6_HOP_BY_HOP:
		case IPV6_ROUTING:
		case IPV6_OPTIONS:
			header = take(&cursor, 2);
			if (!header || !take(&cursor, 6 + header[1] * 8u))
				return DROP_SPOOFED_IP;
			break;
		default:
			return guard->ip && is_zero(src, 16) ? DROP_SPOOFED_IP : DROP_N;
		}
		next = header[0];
	}
	return DROP_SPOOFED_IP;
}

/* 802.1Q's, and those that were in use for service tags before 802.1ad. */
static bool
is_tag(uint16_t type)
{
	return type == RTE_ETHER_TYPE_VLAN || type == RTE_ETHER_TYPE_QINQ || type == RTE_ETHER_TYPE_QINQ1 ||
	       type == RTE_ETHER_TYPE_QINQ2 || type == RTE_ETHER_TYPE_QINQ3;
}

/* Some hosts take IP and ARP in SNAP as they take it without (RFC 1042; IEEE 802.1H), whatever length is
 * said. */
static bool
take_snap(struct cursor *cursor, uint16_t *ret_type)
{
	static const uint8_t rfc1042[] = {0xaa, 0xaa, 3, 0, 0, 0}, bridged[] = {0xaa, 0xaa, 3, 0, 0, 0xf8};
	struct cursor behind = *cursor;
	const uint8_t *snap = take(&behind, SNAP_LEN);

	if (!snap ||
	    (memcmp(snap, rfc1042, sizeof(rfc1042)) != 0 && memcmp(snap, bridged, sizeof(bridged)) != 0))
		return false;
	*cursor = behind;
	*ret_type = word(snap + 6);
	return true;
}

enum port_drop
guard_check(const struct guard *guard, const uint8_t *frame, uint32_t len)
{
	struct cursor cursor = {.at = frame + RTE_ETHER_HDR_LEN, .left = len - RTE_ETHER_HDR_LEN};
	uint16_t type = word(frame + 2 * RTE_ETHER_ADDR_LEN);
	unsigned int n_tags = 0, n_snaps = 0;

	if (!has_mac(guard, frame + RTE_ETHER_ADDR_LEN))
		return DROP_SPOOFED_MAC;
	while (is_tag(type) || (type < TYPE_MIN && take_snap(&cursor, &type) && ++n_snaps)) {
		const uint8_t *tag;

		/* More of them than anybody needs may hide anything. */
		if (n_snaps > 1 || (is_tag(type) && ++n_tags > TAGS_MAX))
			return DROP_SPOOFED_IP;
		if (!is_tag(type))
			continue;
		tag = take(&cursor, RTE_VLAN_HLEN);
		if (!tag)
			return DROP_SPOOFED_IP;
		type = word(tag + 2);
	}
	switch (type) {
	case RTE_ETHER_TYPE_IPV4:
		return check_ipv4(guard, cursor);
	case RTE_ETHER_TYPE_IPV6:
		return check_ipv6(guard, cursor);
	case RTE_ETHER_TYPE_ARP:
	case RTE_ETHER_TYPE_RARP:
		return check_arp(guard, cursor, type == RTE_ETHER_TYPE_RARP);
	default:
		return DROP_N;
	}
}

/* --- lists --- */

/* The next element, in `text`; false: there is none, or it is too long to be an address (then text is empty).
 */
static bool
list_next(const char **list, char *text, size_t size)
{
	const size_t len = strcspn(*list, "+");

	if (!**list)
		return false;
	text[0] = '\0';
	if (len < size) {
		memcpy(text, *list, len);
		text[len] = '\0';
	}
	*list += len + ((*list)[len] == '+');
	return true;
}

static int
list_too_long(const char *key, unsigned int max, const char *object, struct diag *diag)
{
	diag_set(diag, -E2BIG, NULL, "%s: %s: more than %u addresses", object, key, max);
	diag_hint(diag, "guard fewer addresses, or give prefixes");
	return -E2BIG;
}

int
guard_parse_macs(struct guard *guard, const char *list, const char *object, struct diag *diag)
{
	char text[RTE_ETHER_ADDR_FMT_SIZE];

	while (list_next(&list, text, sizeof(text))) {
		struct rte_ether_addr *mac = &guard->macs[guard->n_macs];

		if (guard->n_macs == GUARD_MACS_MAX)
			return list_too_long("allow-mac", GUARD_MACS_MAX, object, diag);
		if (strlen(text) != sizeof(text) - 1 || rte_ether_unformat_addr(text, mac) < 0 ||
		    rte_is_multicast_ether_addr(mac) || rte_is_zero_ether_addr(mac))
			return diag_set(diag, -EINVAL, "allow-mac=52:54:00:00:00:01+52:54:00:00:00:02",
					"%s: allow-mac: '%.32s' is no address of a station", object, text);
		guard->n_macs++;
	}
	return 0;
}

static bool
ip_parse(struct guard_ip *ip, char *text)
{
	char *slash = strchr(text, '/'), *end;
	uint8_t ipv4[4];
	unsigned long bits;
	bool is_v4;

	if (slash)
		*slash = '\0';
	is_v4 = inet_pton(AF_INET, text, ipv4) == 1;
	if (is_v4)
		map_ipv4(ip->bytes, ipv4);
	else if (inet_pton(AF_INET6, text, ip->bytes) != 1)
		return false;
	ip->prefix = 128;
	if (!slash)
		return true;
	*slash = '/';
	bits = strtoul(slash + 1, &end, 10);
	if (slash[1] < '0' || slash[1] > '9' || *end || bits > (is_v4 ? 32 : 128))
		return false;
	ip->prefix = (uint8_t)(bits + (is_v4 ? 96 : 0));
	return true;
}

int
guard_parse_ips(struct guard *guard, const char *list, const char *object, struct diag *diag)
{
	char text[INET6_ADDRSTRLEN + 4];

	while (list_next(&list, text, sizeof(text))) {
		if (guard->n_ips == GUARD_IPS_MAX)
			return list_too_long("allow-ip", GUARD_IPS_MAX, object, diag);
		if (!ip_parse(&guard->ips[guard->n_ips], text))
			return diag_set(diag, -EINVAL, "allow-ip=10.0.0.1+10.1.0.0/16+2001:db8::/64",
					"%s: allow-ip: '%.64s' is no IP address or prefix", object, text);
		guard->n_ips++;
	}
	return 0;
}
