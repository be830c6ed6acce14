/* SPDX-License-Identifier: BSD-3-Clause */
#include "packet.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MUST(condition)                                                                                  \
	do {                                                                                             \
		if (!(condition)) {                                                                      \
			fprintf(stderr, "%s:%d: not a packet: !(%s)\n", __FILE__, __LINE__, #condition); \
			abort();                                                                         \
		}                                                                                        \
	} while (0)

enum {
	TCP_LEN = 20,
	UDP_LEN = 8,
	SCTP_LEN = 12,
	ARP_LEN = 28,
	ARP_ETHERNET = 1,
	EXT_HOP_BY_HOP = 0,
	EXT_ROUTING = 43,
	EXT_FRAGMENT = 44,
	EXT_NONE = 59,
	EXT_DESTINATION = 60,
	OPTION_PADN = 1,
	OPTION_HOME = 0xc9,
};

void
packet_add(struct packet *packet, const void *bytes, uint32_t len)
{
	MUST(packet->len + len <= PACKET_SIZE);
	if (bytes)
		memcpy(packet->bytes + packet->len, bytes, len);
	else
		memset(packet->bytes + packet->len, 0, len);
	packet->len += len;
	packet->payload = packet->len;
}

void
packet_add16(struct packet *packet, uint16_t number)
{
	uint8_t bytes[2];

	packet_put16(bytes, number);
	packet_add(packet, bytes, 2);
}

void
packet_ethernet(struct packet *packet, unsigned int n_tags, uint16_t type)
{
	packet->len = 0;
	packet->l4 = 0;
	packet->proto = 0;
	packet->v6 = type == PACKET_TYPE_IPV6;
	packet_add(packet, NULL, 12);
	packet_set_macs(packet, 0x525400000001, 0x525400000002);
	for (unsigned int i = 0; i < n_tags; i++) {
		packet_add16(packet, i + 1 < n_tags ? PACKET_TYPE_QINQ : PACKET_TYPE_VLAN);
		packet_add16(packet, (uint16_t)(100 + i));
	}
	packet_add16(packet, type);
	packet->l3 = packet->len;
}

void
packet_set_macs(struct packet *packet, uint64_t dst, uint64_t src)
{
	packet_put48(packet->bytes, dst);
	packet_put48(packet->bytes + 6, src);
}

void
packet_arp(struct packet *packet, uint16_t op, uint64_t sender_mac, const uint8_t sender[4],
	   uint64_t target_mac, const uint8_t target[4])
{
	uint8_t *arp = packet->bytes + packet->l3;

	packet_add(packet, NULL, ARP_LEN);
	packet_put16(arp, ARP_ETHERNET);
	packet_put16(arp + 2, PACKET_TYPE_IPV4);
	arp[4] = 6;
	arp[5] = 4;
	packet_put16(arp + 6, op);
	packet_put48(arp + 8, sender_mac);
	memcpy(arp + 14, sender, 4);
	packet_put48(arp + 18, target_mac);
	memcpy(arp + 24, target, 4);
}

void
packet_ipv4(struct packet *packet, const uint8_t src[4], const uint8_t dst[4], uint32_t options,
	    uint16_t fragment)
{
	uint8_t *ip = packet->bytes + packet->l3;

	packet_add(packet, NULL, 20 + options);
	packet->next_header = packet->l3 + 9;
	packet->l4 = packet->len;
	ip[0] = (uint8_t)(0x45 + options / 4);
	packet_put16(ip + 4, 0xfffe); /* wraps soon */
	packet_put16(ip + 6, fragment);
	ip[8] = 64;
	memcpy(ip + 12, src ? src : (const uint8_t[4]){10, 1, 2, 3}, 4);
	memcpy(ip + 16, dst ? dst : (const uint8_t[4]){192, 168, 254, 9}, 4);
	memset(ip + 20, 1, options);
}

void
packet_ipv6(struct packet *packet, const uint8_t src[16], const uint8_t dst[16])
{
	uint8_t *ip = packet->bytes + packet->l3;

	packet_add(packet, NULL, 40);
	packet->next_header = packet->l3 + 6;
	packet->l4 = packet->len;
	ip[0] = 0x60;
	ip[3] = 0x77;
	ip[6] = EXT_NONE;
	ip[7] = 64;
	for (uint8_t i = 0; i < 32; i++)
		ip[8 + i] = (uint8_t)(0x20 + i * 3);
	if (src)
		memcpy(ip + 8, src, 16);
	if (dst)
		memcpy(ip + 24, dst, 16);
}

uint32_t
packet_extension(struct packet *packet, uint8_t type, unsigned int units)
{
	uint32_t at = packet->len;

	packet->bytes[packet->next_header] = type;
	packet_add(packet, NULL, 8 * (1 + units));
	packet->next_header = at;
	packet->l4 = packet->len;
	packet->bytes[at] = EXT_NONE;
	packet->bytes[at + 1] = (uint8_t)units;
	return at;
}

void
packet_home_address(struct packet *packet, const uint8_t home[16])
{
	uint8_t *at = packet->bytes + packet_extension(packet, EXT_DESTINATION, 2);

	/* The option has to stand at 8 n + 6: padding before it. */
	at[2] = OPTION_PADN;
	at[3] = 2;
	at[6] = OPTION_HOME;
	at[7] = 16;
	memcpy(at + 8, home, 16);
}

void
packet_routing_type_2(struct packet *packet, const uint8_t routed[16])
{
	uint8_t *at = packet->bytes + packet_extension(packet, EXT_ROUTING, 2);

	at[2] = 2;
	at[3] = 1;
	memcpy(at + 8, routed, 16);
}

void
packet_fragment_header(struct packet *packet, uint16_t offset_and_flags)
{
	packet_put16(packet->bytes + packet_extension(packet, EXT_FRAGMENT, 0) + 2, offset_and_flags);
}

void
packet_transport(struct packet *packet, uint8_t proto, uint16_t sport, uint16_t dport)
{
	uint8_t *at = packet->bytes + packet->len;

	packet->bytes[packet->next_header] = proto;
	packet->proto = proto;
	packet->l4 = packet->len;
	packet_add(packet, NULL, proto == PACKET_TCP ? TCP_LEN : proto == PACKET_SCTP ? SCTP_LEN : UDP_LEN);
	packet_put16(at, sport);
	packet_put16(at + 2, dport);
	if (proto != PACKET_TCP)
		return;
	packet_put32(at + 4, 0xffffff00); /* wraps soon */
	packet_put32(at + 8, 0x12340000);
	at[12] = TCP_LEN / 4 << 4;
	packet_put16(at + 14, 502);
}

void
packet_tcp_options(struct packet *packet, uint8_t len)
{
	uint8_t *tcp = packet->bytes + packet->l4;

	packet_add(packet, NULL, len);
	memset(tcp + TCP_LEN, 1, len);
	tcp[12] = (uint8_t)((TCP_LEN + len) / 4 << 4);
}

void
packet_echo(struct packet *packet, uint8_t type, uint16_t id, uint16_t number)
{
	/* Type and code where others have their first port; the checksum is the second. */
	packet_transport(packet, PACKET_ICMP, (uint16_t)(type << 8), 0);
	packet_put16(packet->bytes + packet->l4 + 4, id);
	packet_put16(packet->bytes + packet->l4 + 6, number);
}

void
packet_add_payload(struct packet *packet, uint32_t len)
{
	uint32_t at = packet->len;

	MUST(at + len <= PACKET_SIZE);
	for (uint32_t i = 0; i < len; i++)
		packet->bytes[at + i] = packet_payload_byte(i);
	packet->len += len;
	packet->payload = at;
}

void
packet_finish(struct packet *packet, enum packet_sum sum)
{
	uint8_t *l3 = packet->bytes + packet->l3, *l4 = packet->bytes + packet->l4;
	uint32_t whole;

	if (packet->v6) {
		packet_put16(l3 + 4, packet->len - packet->l3 - 40);
	} else {
		packet_put16(l3 + 2, packet->len - packet->l3);
		packet_put16(l3 + 10, 0);
		packet_put16(l3 + 10, ~packet_sum_add(0, l3, (l3[0] & 15u) * 4));
	}
	if (packet->proto == PACKET_UDP)
		packet_put16(l4 + 4, packet->len - packet->l4);
	if (packet->proto == PACKET_TCP)
		l4 += PACKET_TCP_SUM;
	else if (packet->proto == PACKET_UDP)
		l4 += PACKET_UDP_SUM;
	else if (packet->proto == PACKET_ICMP && !packet->v6)
		l4 += PACKET_ICMP_SUM;
	else
		return;
	packet_put16(l4,
		     sum == PACKET_SUM_NONE || packet->proto == PACKET_ICMP ? 0 : packet_pseudo_sum(packet));
	if (sum != PACKET_SUM_WHOLE)
		return;
	whole = ~packet_sum_add(0, packet->bytes + packet->l4, packet->len - packet->l4) & 0xffff;
	packet_put16(l4, whole == 0 && packet->proto == PACKET_UDP ? 0xffff : whole);
}

void
packet_build(struct packet *packet, const struct packet_spec *spec, enum packet_sum sum)
{
	packet_ethernet(packet, spec->tags, spec->v6 ? PACKET_TYPE_IPV6 : PACKET_TYPE_IPV4);
	if (spec->v6) {
		packet_ipv6(packet, NULL, NULL);
		/* Hop-by-hop first, destination options after; padding inside. */
		for (int left = spec->ip_options; left > 0; left -= 8) {
			uint8_t type = left == spec->ip_options ? EXT_HOP_BY_HOP : EXT_DESTINATION;
			uint8_t *at = packet->bytes + packet_extension(packet, type, 0);

			at[2] = OPTION_PADN;
			at[3] = 4;
		}
	} else {
		packet_ipv4(packet, NULL, NULL, spec->ip_options, PACKET_IPV4_DF);
	}
	packet_transport(packet, spec->proto, 40000, 5001);
	if (spec->proto == PACKET_TCP) {
		packet->bytes[packet->l4 + 13] = spec->tcp_flags;
		packet_tcp_options(packet, spec->tcp_options);
	}
	packet_add_payload(packet, spec->payload);
	packet_finish(packet, sum);
}

uint32_t
packet_sum_add(uint32_t sum, const uint8_t *at, uint32_t len)
{
	for (uint32_t i = 0; i < len; i++) {
		sum += i % 2 ? at[i] : (uint32_t)at[i] << 8;
		sum = (sum & 0xffff) + (sum >> 16);
	}
	return sum;
}

uint32_t
packet_pseudo_sum(const struct packet *packet)
{
	const uint8_t *l3 = packet->bytes + packet->l3;
	uint32_t sum = packet->v6 ? packet_sum_add(0, l3 + 8, 32) : packet_sum_add(0, l3 + 12, 8);
	uint8_t tail[4];

	packet_put16(tail, packet->proto);
	packet_put16(tail + 2, packet->len - packet->l4);
	return packet_sum_add(sum, tail, 4);
}

void
packet_set(struct packet *packet, const void *bytes, uint32_t len)
{
	packet->len = 0;
	packet_add(packet, bytes, len);
}

bool
packet_parse(struct packet *packet)
{
	uint32_t at = 12, l3_len;
	uint8_t *l3;

	while (packet_get16(packet->bytes + at) == PACKET_TYPE_VLAN ||
	       packet_get16(packet->bytes + at) == PACKET_TYPE_QINQ)
		at += 4;
	packet->v6 = packet_get16(packet->bytes + at) == PACKET_TYPE_IPV6;
	packet->l3 = at + 2;
	l3 = packet->bytes + packet->l3;
	if (packet->v6) {
		l3_len = 40;
		packet->proto = l3[6];
		while (packet->proto == EXT_HOP_BY_HOP || packet->proto == EXT_DESTINATION) {
			packet->proto = l3[l3_len];
			l3_len += 8 + 8u * l3[l3_len + 1];
		}
		if (packet->l3 + 40u + packet_get16(l3 + 4) != packet->len)
			return false;
	} else {
		l3_len = (l3[0] & 15u) * 4;
		packet->proto = l3[9];
		if (packet->l3 + packet_get16(l3 + 2) != packet->len ||
		    packet_sum_add(0, l3, l3_len) != 0xffff)
			return false;
	}
	packet->l4 = packet->l3 + l3_len;
	packet->payload =
		packet->l4 + (packet->proto == PACKET_TCP ? (packet->bytes[packet->l4 + 12] >> 4) * 4u
							  : (uint32_t)UDP_LEN);
	return packet->payload <= packet->len;
}

bool
packet_is_whole(struct packet *packet)
{
	const uint8_t *l4;

	if (!packet_parse(packet))
		return false;
	l4 = packet->bytes + packet->l4;
	if (packet->proto == PACKET_UDP && packet_get16(l4 + 4) != packet->len - packet->l4)
		return false;
	/* No UDP checksum is as good as a wrong one. */
	if (packet->proto == PACKET_UDP && packet_get16(l4 + PACKET_UDP_SUM) == 0)
		return false;
	return packet_sum_add(packet_pseudo_sum(packet), l4, packet->len - packet->l4) == 0xffff;
}

/* --- fragments --- */

struct fragment {
	uint32_t l3, head_len, data, id, offset;
	uint32_t next_at; /* IPv6: the byte that says that a fragment header follows */
	uint8_t next;     /* and what it would say without */
	bool v6, more;
};

static bool
fragment_parse_v6(const struct packet *packet, struct fragment *ret)
{
	const uint8_t *l3 = packet->bytes + packet->l3;
	uint32_t at = 40, next_at = 6;

	while (l3[next_at] == EXT_HOP_BY_HOP || l3[next_at] == EXT_ROUTING ||
	       l3[next_at] == EXT_DESTINATION) {
		next_at = at;
		at += 8 + 8u * l3[at + 1];
	}
	if (l3[next_at] != EXT_FRAGMENT || packet->l3 + at + 8 > packet->len || l3[at + 1] != 0 ||
	    packet_get16(l3 + 4) != packet->len - packet->l3 - 40)
		return false;
	ret->next_at = packet->l3 + next_at;
	ret->next = l3[at];
	ret->head_len = packet->l3 + at;
	ret->data = ret->head_len + 8;
	ret->offset = packet_get16(l3 + at + 2) & 0xfff8u;
	ret->more = l3[at + 3] & 1;
	ret->id = packet_get32(l3 + at + 4);
	return (l3[at + 3] & 6) == 0;
}

static bool
fragment_parse_v4(const struct packet *packet, struct fragment *ret)
{
	const uint8_t *l3 = packet->bytes + packet->l3;
	const uint32_t l3_len = (l3[0] & 15u) * 4;
	const uint16_t word = packet_get16(l3 + 6);

	if (packet_get16(l3 + 2) != packet->len - packet->l3 || packet_sum_add(0, l3, l3_len) != 0xffff)
		return false;
	ret->head_len = ret->data = packet->l3 + l3_len;
	ret->offset = (word & 0x1fffu) * 8;
	ret->more = word & PACKET_IPV4_MF;
	ret->id = packet_get16(l3 + 4);
	return !(word & PACKET_IPV4_DF);
}

static bool
fragment_parse(struct packet *packet, struct fragment *ret)
{
	uint32_t at = 12;

	*ret = (struct fragment){0};
	while (packet_get16(packet->bytes + at) == PACKET_TYPE_VLAN ||
	       packet_get16(packet->bytes + at) == PACKET_TYPE_QINQ)
		at += 4;
	packet->v6 = packet_get16(packet->bytes + at) == PACKET_TYPE_IPV6;
	packet->l3 = at + 2;
	ret->l3 = packet->l3;
	ret->v6 = packet->v6;
	return (packet->v6 ? fragment_parse_v6 : fragment_parse_v4)(packet, ret) && ret->data < packet->len;
}

/* But for what differs: lengths, flags and offset, checksum; options of IPv4 that are the first fragment's
 * alone. */
static bool
fragment_heads_match(const struct packet *first, const struct packet *other, const struct fragment *fragment)
{
	const uint32_t l3 = fragment->l3;

	for (uint32_t i = 0; i < fragment->head_len; i++) {
		const uint32_t at = i - l3;
		const bool differs = i >= l3 && (fragment->v6 ? at == 4 || at == 5 || i == fragment->next_at
							      : at == 2 || at == 3 || at == 6 || at == 7 ||
									at == 10 || at == 11);
		const bool blank = i >= l3 + 20 && !fragment->v6 && other->bytes[i] == 1;

		if (!differs && !blank && first->bytes[i] != other->bytes[i])
			return false;
	}
	return true;
}

bool
packet_fragments_add(struct packet_fragments *fragments, const struct packet *packet)
{
	static struct packet copy;
	struct packet *whole = &fragments->whole;
	struct fragment fragment;

	copy = *packet;
	if (fragments->complete || !fragment_parse(&copy, &fragment) ||
	    (fragment.more && (copy.len - fragment.data) % 8 != 0))
		return false;
	if (fragments->n == 0) {
		packet_set(whole, copy.bytes, fragment.head_len);
		whole->l3 = fragment.l3;
		whole->v6 = fragment.v6;
		if (fragment.v6)
			whole->bytes[fragment.next_at] = fragment.next;
		fragments->head_len = fragment.head_len;
		fragments->id = fragment.id;
	}
	if (fragment.id != fragments->id || fragment.head_len != fragments->head_len ||
	    fragment.offset != whole->len - fragments->head_len ||
	    !fragment_heads_match(whole, &copy, &fragment))
		return false;
	packet_add(whole, copy.bytes + fragment.data, copy.len - fragment.data);
	fragments->n++;
	fragments->complete = !fragment.more;
	if (!fragments->complete)
		return true;
	/* The longest packet that there is (65535 bytes) has not become a longer one. */
	if (whole->len - whole->l3 - (whole->v6 ? 40 : 0) > 65535)
		return false;
	whole->proto = 0;
	if (!whole->v6)
		packet_put16(whole->bytes + whole->l3 + 6, 0);
	packet_finish(whole, PACKET_SUM_NONE);
	return true;
}
