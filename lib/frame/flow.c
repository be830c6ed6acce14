/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * flow: the frames of the slow path, one header after the other, each read in one piece wherever its bytes
 * lie. `at` is the offset of the next header in the frame, `end` where the IP packet ends: by its own word,
 * or where the frame does.
 */
#include "flow.h"

#include "borrow.h"

/* IPv6 extension headers (IANA, "Protocol Numbers", those marked so). */
enum {
	FLOW_HOP_BY_HOP = 0,
	FLOW_ROUTING = 43,
	FLOW_FRAGMENT = 44,
	FLOW_ESP = 50,
	FLOW_AUTHENTICATION = 51,
	FLOW_DESTINATION = 60,
	FLOW_MOBILITY = 135,
	FLOW_HIP = 139,
	FLOW_SHIM6 = 140,
};

/* RFC 8200 "Options", RFC 6275 "Home Address Option" and "Type 2 Routing Header". */
enum {
	FLOW_OPTION_PAD1 = 0,
	FLOW_OPTION_HOME = 0xc9,
	FLOW_ROUTING_TYPE_2 = 2,
	FLOW_ROUTING_TYPE_2_LEN = 24,
};

/*
 * Long rows of headers, which fast-path frames have not: what lies beyond the head of a borrowed frame is to
 * be private, too. Without packet buffers for that it is read where it is, and what is decided may be about
 * other bytes than those that arrive.
 */
static __rte_noinline const uint8_t *
flow_read_borrowed(const struct rte_mbuf *pkt, uint32_t at, uint32_t len, uint8_t copy[])
{
	(void)borrow_materialise((struct rte_mbuf *)(uintptr_t)pkt);
	return borrow_read(pkt, at, len, copy);
}

static const uint8_t *
flow_read(const struct rte_mbuf *pkt, uint32_t at, uint32_t len, uint32_t end, uint8_t copy[])
{
	if (at + len > end)
		return NULL;
	if (unlikely(at + len > pkt->data_len && borrow_is(pkt)))
		return flow_read_borrowed(pkt, at, len, copy);
	return rte_pktmbuf_read(pkt, at, len, copy);
}

static void
flow_parse_l4(const struct rte_mbuf *pkt, uint32_t at, uint32_t end, uint8_t proto, struct flow *flow)
{
	uint32_t len = proto == FLOW_PROTO_TCP ? FLOW_TCP_LEN : FLOW_UDP_LEN;
	uint8_t copy[FLOW_TCP_LEN];
	const uint8_t *header;

	if (proto != FLOW_PROTO_TCP && proto != FLOW_PROTO_UDP)
		return;
	header = flow_read(pkt, at, len, end, copy);
	if (!header)
		return;
	flow->l4 = proto == FLOW_PROTO_TCP ? FLOW_TCP : FLOW_UDP;
	memcpy(flow->ports, header, sizeof(flow->ports));
}

static void
flow_parse_v4(const struct rte_mbuf *pkt, uint32_t at, struct flow *flow)
{
	uint8_t copy[FLOW_IPV4_LEN];
	const uint8_t *header = flow_read(pkt, at, FLOW_IPV4_LEN, rte_pktmbuf_pkt_len(pkt), copy);
	uint32_t header_len, end;

	if (!header || header[0] >> 4 != 4)
		return;
	header_len = (header[0] & 0xf) * 4u;
	if (header_len < FLOW_IPV4_LEN)
		return;
	flow->ip = FLOW_IPV4;
	memcpy(flow->src, header + 12, 4);
	memcpy(flow->dst, header + 16, 4);
	/* Fragments other than the first have no ports; without those of the first, all are of one flow. */
	if (header[6] & 0x3f || header[7])
		return;
	end = RTE_MIN(at + (header[2] << 8 | header[3]), rte_pktmbuf_pkt_len(pkt));
	flow_parse_l4(pkt, at + header_len, end, header[9], flow);
}

/* The home address among the options at [at, end). */
static void
flow_parse_home(const struct rte_mbuf *pkt, uint32_t at, uint32_t end, struct flow *flow)
{
	for (unsigned int i = 0; i < FLOW_OPTIONS_MAX && at < end; i++) {
		uint8_t copy[16];
		const uint8_t *option = flow_read(pkt, at, 1, end, copy);

		if (option && option[0] == FLOW_OPTION_PAD1) {
			at++;
			continue;
		}
		option = flow_read(pkt, at, 2, end, copy);
		if (!option)
			return;
		if (option[0] == FLOW_OPTION_HOME && option[1] == sizeof(flow->home)) {
			option = flow_read(pkt, at + 2, sizeof(flow->home), end, copy);
			if (option)
				memcpy(flow->home, option, sizeof(flow->home));
			return;
		}
		at += 2u + option[1];
	}
}

static void
flow_parse_routing(const struct rte_mbuf *pkt, uint32_t at, uint32_t len, struct flow *flow)
{
	uint8_t copy[FLOW_ROUTING_TYPE_2_LEN];
	const uint8_t *header;

	if (len != FLOW_ROUTING_TYPE_2_LEN)
		return;
	header = flow_read(pkt, at, len, at + len, copy);
	if (header && header[2] == FLOW_ROUTING_TYPE_2 && header[3] == 1)
		memcpy(flow->routed, header + 8, sizeof(flow->routed));
}

/*
 * One extension header of type *proto at *at: moves both on to what follows. False: nothing that could be
 * found follows it.
 */
static bool
flow_parse_extension(const struct rte_mbuf *pkt, uint32_t *at, uint32_t end, uint8_t *proto,
		     struct flow *flow)
{
	uint8_t copy[8];
	const uint8_t *header = flow_read(pkt, *at, sizeof(copy), end, copy);
	uint32_t len;

	if (!header)
		return false;
	switch (*proto) {
	case FLOW_ESP:
		return false;
	case FLOW_FRAGMENT:
		len = 8;
		/* As in flow_parse_v4(); the lowest bit says that more fragments follow. */
		if (header[2] || header[3] & 0xf9)
			return false;
		break;
	case FLOW_AUTHENTICATION:
		len = (header[1] + 2u) * 4;
		break;
	default:
		len = (header[1] + 1u) * 8;
		break;
	}
	if (*at + len > end)
		return false;
	/* `header` may be in `copy`, which is ours: it stays as it is. */
	if (*proto == FLOW_DESTINATION)
		flow_parse_home(pkt, *at + 2, *at + len, flow);
	else if (*proto == FLOW_ROUTING)
		flow_parse_routing(pkt, *at, len, flow);
	*proto = header[0];
	*at += len;
	return true;
}

static bool
flow_is_extension(uint8_t proto)
{
	switch (proto) {
	case FLOW_HOP_BY_HOP:
	case FLOW_ROUTING:
	case FLOW_FRAGMENT:
	case FLOW_ESP:
	case FLOW_AUTHENTICATION:
	case FLOW_DESTINATION:
	case FLOW_MOBILITY:
	case FLOW_HIP:
	case FLOW_SHIM6:
		return true;
	default:
		return false;
	}
}

static void
flow_parse_v6(const struct rte_mbuf *pkt, uint32_t at, struct flow *flow)
{
	uint8_t copy[FLOW_IPV6_LEN], proto;
	const uint8_t *header = flow_read(pkt, at, FLOW_IPV6_LEN, rte_pktmbuf_pkt_len(pkt), copy);
	uint32_t end;

	if (!header || header[0] >> 4 != 6)
		return;
	flow->ip = FLOW_IPV6;
	memcpy(flow->src, header + 8, 16);
	memcpy(flow->dst, header + 24, 16);
	memcpy(flow->home, flow->src, 16);
	memcpy(flow->routed, flow->dst, 16);
	proto = header[6];
	at += FLOW_IPV6_LEN;
	end = RTE_MIN(at + (header[4] << 8 | header[5]), rte_pktmbuf_pkt_len(pkt));
	flow->extended = flow_is_extension(proto);
	for (unsigned int i = 0; i < FLOW_EXTENSIONS_MAX && flow_is_extension(proto); i++)
		if (!flow_parse_extension(pkt, &at, end, &proto, flow))
			return;
	flow_parse_l4(pkt, at, end, proto, flow);
}

void
flow_parse(const struct rte_mbuf *pkt, struct flow *ret_flow)
{
	uint32_t at = 2 * RTE_ETHER_ADDR_LEN;
	uint8_t copy[2];

	memset(ret_flow, 0, sizeof(*ret_flow));
	for (unsigned int tags = 0; tags <= FLOW_TAGS_MAX; tags++) {
		const uint8_t *type = flow_read(pkt, at, sizeof(copy), rte_pktmbuf_pkt_len(pkt), copy);

		if (!type)
			return;
		at += sizeof(copy);
		switch (type[0] << 8 | type[1]) {
		case RTE_ETHER_TYPE_IPV4:
			flow_parse_v4(pkt, at, ret_flow);
			return;
		case RTE_ETHER_TYPE_IPV6:
			flow_parse_v6(pkt, at, ret_flow);
			return;
		case RTE_ETHER_TYPE_VLAN:
		case RTE_ETHER_TYPE_QINQ:
			at += 2; /* tag control information */
			break;
		default:
			return;
		}
	}
}

/* Where all frames are of some other protocol, a look at the type is all that it takes. */
static inline bool
flow_is_surely_no_ip(const struct rte_mbuf *pkt)
{
	rte_be16_t type;

	if (rte_pktmbuf_data_len(pkt) < RTE_ETHER_HDR_LEN)
		return false;
	memcpy(&type, rte_pktmbuf_mtod_offset(pkt, const uint8_t *, 2 * RTE_ETHER_ADDR_LEN), sizeof(type));
	return type != RTE_BE16(RTE_ETHER_TYPE_IPV4) && type != RTE_BE16(RTE_ETHER_TYPE_IPV6) &&
	       type != RTE_BE16(RTE_ETHER_TYPE_VLAN) && type != RTE_BE16(RTE_ETHER_TYPE_QINQ);
}

bool
flow_digest_slow(const struct rte_mbuf *pkt, uint32_t *ret_digest)
{
	struct flow flow;
	uint32_t addrs[2];
	uint16_t ports[2];

	if (flow_is_surely_no_ip(pkt))
		return false;
	flow_parse(pkt, &flow);
	if (flow.ip == FLOW_NOT_IP)
		return false;
	memcpy(ports, flow.ports, sizeof(ports));
	if (flow.ip == FLOW_IPV4) {
		memcpy(&addrs[0], flow.src, sizeof(addrs[0]));
		memcpy(&addrs[1], flow.dst, sizeof(addrs[1]));
		*ret_digest = flow_digest_ends((uint64_t)ports[0] << 32 | addrs[0],
					       (uint64_t)ports[1] << 32 | addrs[1], flow.l4);
	} else {
		*ret_digest = flow_digest_ends(flow_digest_end_v6(flow.src, ports[0]),
					       flow_digest_end_v6(flow.dst, ports[1]), flow.l4);
	}
	return true;
}

uint32_t
flow_digests(flow_groups_fn groups, struct rte_mbuf *const *pkts, uint16_t n, uint32_t ret_digests[])
{
	uint32_t known = 0, todo = (uint32_t)((1ull << n) - 1);

	if (groups)
		todo &= ~groups(pkts, n, ret_digests, &known);
	for (; unlikely(todo); todo &= todo - 1) {
		unsigned int i = (unsigned int)__builtin_ctz(todo);

		ret_digests[i] = 0;
		if (likely(flow_digest(pkts[i], &ret_digests[i])))
			known |= 1u << i;
	}
	return known;
}
