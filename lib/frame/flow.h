/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * flow: whose frame it is: addresses, protocol and ports, for the hash that a guest is told (hash.h) and for
 * steering by flows (steer.h).
 *
 * Nothing here believes a length: a frame's own, and those that its headers claim, bound every read, and the
 * smaller one counts. What can't be read is not there: a frame whose TCP header is cut short has addresses
 * only, one whose IP header is cut short has nothing.
 */
#ifndef VNICD_FLOW_H
#define VNICD_FLOW_H

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include <rte_byteorder.h>
#include <rte_ether.h>
#include <rte_mbuf.h>

enum flow_ip { FLOW_NOT_IP, FLOW_IPV4, FLOW_IPV6 };

/* TCP and UDP: the frame is no fragment, and has the whole header. */
enum flow_l4 { FLOW_NO_PORTS, FLOW_TCP, FLOW_UDP };

enum {
	FLOW_TAGS_MAX = 2,       /* VLAN tags, 802.1Q and 802.1ad */
	FLOW_EXTENSIONS_MAX = 8, /* IPv6 extension headers in a row; behind more of them nothing is found */
	FLOW_OPTIONS_MAX = 16,   /* options in one destination options header, likewise */
	FLOW_IPV4_LEN = 20,      /* without options */
	FLOW_IPV6_LEN = 40,
	FLOW_TCP_LEN = 20, /* without options */
	FLOW_UDP_LEN = 8,
	FLOW_PROTO_TCP = 6,
	FLOW_PROTO_UDP = 17,
	FLOW_TUPLE_V4 =
		12, /* bytes: two addresses, two ports, as they follow each other in a fast-path frame */
	FLOW_TUPLE_V6 = 36,
};

/* All in network byte order; IPv4 addresses are the first 4 bytes. */
struct flow {
	enum flow_ip ip;
	enum flow_l4 l4;
	bool extended; /* IPv6 with extension headers */
	uint8_t src[16], dst[16];
	uint8_t ports[4]; /* source, destination; 0 without them */
	/*
	 * What VIRTIO hashes instead of src and dst of an extended one ("IPv6 packets with extension
	 * header"): home address option and type 2 routing header (RFC 6275), where the frame has them.
	 */
	uint8_t home[16], routed[16];
};

static_assert(RTE_BYTE_ORDER == RTE_LITTLE_ENDIAN, "headers are compared as numbers");

/* Any frame whatsoever. */
void flow_parse(const struct rte_mbuf *pkt, struct flow *ret_flow);

/*
 * Fast-path frames, which nearly all are: not or once tagged, IPv4 without options or IPv6 without extension
 * headers, not a fragment, headers in the first segment, TCP or UDP.
 */
enum flow_fast { FLOW_SLOW, FLOW_FAST_TCP4, FLOW_FAST_UDP4, FLOW_FAST_TCP6, FLOW_FAST_UDP6, FLOW_FAST_N };

/* rte_be_to_cpu_16() of 22.11 costs three operations more. */
static inline uint32_t
flow_be16(uint64_t bytes)
{
	return __builtin_bswap16((uint16_t)bytes);
}

/*
 * Of an IP packet that has l4_len bytes behind its header. No branch on the protocol: a burst may have both.
 */
static inline enum flow_fast
flow_fast_l4(uint8_t proto, uint32_t l4_len, enum flow_fast tcp)
{
	bool is_tcp = proto == FLOW_PROTO_TCP, is_udp = proto == FLOW_PROTO_UDP;
	uint32_t needed = is_tcp ? FLOW_TCP_LEN : FLOW_UDP_LEN;

	if (unlikely(!(is_tcp | is_udp) || l4_len < needed))
		return FLOW_SLOW;
	return (enum flow_fast)(tcp + is_udp);
}

/*
 * Source address, destination address, ports: FLOW_TUPLE_V4 or _V6 bytes within the frame. Not for FLOW_SLOW.
 */
static inline enum flow_fast
flow_fast(const struct rte_mbuf *pkt, const uint8_t **ret_tuple)
{
	const uint8_t *ip = rte_pktmbuf_mtod_offset(pkt, const uint8_t *, RTE_ETHER_HDR_LEN);
	uint32_t len = rte_pktmbuf_data_len(pkt);
	uint64_t first, second; /* the type and 6 bytes of the IP header; the 8 bytes after them */

	/* Before any read: the shortest fast-path frame, IPv4 with UDP, and what is read here of a tagged
	 * one. */
	if (unlikely(len < RTE_ETHER_HDR_LEN + FLOW_IPV4_LEN + FLOW_UDP_LEN))
		return FLOW_SLOW;
	len -= RTE_ETHER_HDR_LEN;
	memcpy(&first, ip - 2, sizeof(first));
	if ((uint16_t)first == RTE_BE16(RTE_ETHER_TYPE_VLAN)) {
		len -= RTE_VLAN_HLEN;
		ip += RTE_VLAN_HLEN;
		memcpy(&first, ip - 2, sizeof(first));
	}
	memcpy(&second, ip + 6, sizeof(second));
	if (likely((first & 0xffffff) == (0x45 << 16 | RTE_BE16(RTE_ETHER_TYPE_IPV4)))) {
		/* Neither more fragments nor an offset. */
		len = RTE_MIN(len, flow_be16(first >> 32));
		if (unlikely((second & 0xff3f) != 0 || len < FLOW_IPV4_LEN))
			return FLOW_SLOW;
		*ret_tuple = ip + 12;
		return flow_fast_l4((uint8_t)(second >> 24), len - FLOW_IPV4_LEN, FLOW_FAST_TCP4);
	}
	if (likely((first & 0xf0ffff) == (0x60 << 16 | RTE_BE16(RTE_ETHER_TYPE_IPV6)))) {
		if (unlikely(len < FLOW_IPV6_LEN))
			return FLOW_SLOW;
		*ret_tuple = ip + 8;
		return flow_fast_l4((uint8_t)second, RTE_MIN(len - FLOW_IPV6_LEN, flow_be16(first >> 48)),
				    FLOW_FAST_TCP6);
	}
	return FLOW_SLOW;
}

/*
 * A number for the flow of an IP frame, the same in both directions: its low and its high bits are equally
 * good. False: not IP.
 */
bool flow_digest_slow(const struct rte_mbuf *pkt, uint32_t *ret_digest);

#define FLOW_DIGEST_FIRST 0x9e3779b97f4a7c15ull
#define FLOW_DIGEST_SECOND 0xd6e8feb86659fd93ull
#define FLOW_DIGEST_THIRD 0xa0761d6478bd642full

/* The two ends of a flow, each a number, to one. The order of the ends does not count. */
static inline uint32_t
flow_digest_ends(uint64_t a, uint64_t b, uint64_t salt)
{
	uint64_t digest = (RTE_MIN(a, b) ^ salt) * FLOW_DIGEST_FIRST;

	digest ^= digest >> 32;
	digest = (digest + RTE_MAX(a, b)) * FLOW_DIGEST_SECOND;
	digest ^= digest >> 29;
	digest *= FLOW_DIGEST_THIRD;
	return (uint32_t)(digest >> 32);
}

static inline uint64_t
flow_digest_end_v6(const uint8_t addr[16], uint16_t port)
{
	uint64_t half[2];

	memcpy(half, addr, sizeof(half));
	half[0] *= 0x9e3779b97f4a7c15ull;
	half[0] ^= half[0] >> 31;
	return (half[0] + half[1] + port) * 0xd6e8feb86659fd93ull;
}

static inline bool
flow_digest(const struct rte_mbuf *pkt, uint32_t *ret_digest)
{
	const uint8_t *tuple;
	enum flow_fast fast = flow_fast(pkt, &tuple);
	uint32_t addrs[2];
	uint16_t ports[2];

	if (likely(fast == FLOW_FAST_TCP4 || fast == FLOW_FAST_UDP4)) {
		memcpy(addrs, tuple, sizeof(addrs));
		memcpy(ports, tuple + sizeof(addrs), sizeof(ports));
		*ret_digest = flow_digest_ends((uint64_t)ports[0] << 32 | addrs[0],
					       (uint64_t)ports[1] << 32 | addrs[1],
					       fast == FLOW_FAST_TCP4 ? FLOW_TCP : FLOW_UDP);
		return true;
	}
	if (unlikely(fast == FLOW_SLOW))
		return flow_digest_slow(pkt, ret_digest);
	memcpy(ports, tuple + 32, sizeof(ports));
	*ret_digest = flow_digest_ends(flow_digest_end_v6(tuple, ports[0]),
				       flow_digest_end_v6(tuple + 16, ports[1]),
				       fast == FLOW_FAST_TCP6 ? FLOW_TCP : FLOW_UDP);
	return true;
}

/*
 * Of n frames, those that the CPU has a short cut for: a bit is set for each in what is returned, their
 * digests are written (0 of those that are not IP), and *ret_known has a bit for each of them that is IP.
 * What is written of the others means nothing.
 */
typedef uint32_t (*flow_groups_fn)(struct rte_mbuf *const *pkts, uint16_t n, uint32_t ret_digests[],
				   uint32_t *ret_known);

/* A bit for each of n (1 .. 32) frames. */
#define FLOW_ALL(n) (UINT32_MAX >> (32 - (n)))

/*
 * flow_digest() of n (1 .. 32) frames; a bit is set for each that is IP, the digests of others are 0.
 * `groups` is that of an ISA variant (flows.h), or NULL; the result is the same.
 */
uint32_t flow_digests(flow_groups_fn groups, struct rte_mbuf *const *pkts, uint16_t n,
		      uint32_t ret_digests[]);

/*
 * The digests of n frames, all of which are IP, for who needs them once more: in hash.rss, which nobody reads
 * while RTE_MBUF_F_RX_RSS_HASH is not set. They are the frames' until something else is written there, or
 * addresses or ports in them; copies and clones have them, too. That they are there is said elsewhere
 * (port_rxq.has_digests).
 */
static inline void
flow_digests_keep(struct rte_mbuf *const *pkts, uint16_t n, const uint32_t digests[])
{
	for (uint16_t i = 0; i < n; i++)
		pkts[i]->hash.rss = digests[i];
}

static inline void
flow_digests_kept(struct rte_mbuf *const *pkts, uint16_t n, uint32_t ret_digests[])
{
	for (uint16_t i = 0; i < n; i++)
		ret_digests[i] = pkts[i]->hash.rss;
}

#endif
