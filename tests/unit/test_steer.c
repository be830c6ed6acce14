/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Steering and hashing: the published vectors; every type of hash; frames of all shapes, whole, cut short at
 * each byte and cut over segments, against a parser of another make; both variants of hashing against
 * the definition, bit by bit; flows that come back where they were sent.
 *
 * Segments end where memory ends, so a read beyond one is not a matter of luck.
 */
#include "unit.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <rte_byteorder.h>
#include <rte_mbuf.h>
#include <rte_thash.h>

#include "borrow.h"
#include "flow.h"
#include "hash.h"
#include "port.h"
#include "rng.h"
#include "steer.h"

enum {
	FRAME_MAX = 1024,
	SEGMENTS_MAX = 4096, /* in use at a time */
	PAGE = 4096,
};

/* --- memory --- */

static struct {
	struct rte_mbuf mbufs[SEGMENTS_MAX];
	uint8_t *pages; /* a page for each, and one behind it that can't be touched */
	unsigned int n;
} segments;

static int
segments_open(void **state)
{
	segments.pages = mmap(NULL, 2ul * PAGE * SEGMENTS_MAX, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (segments.pages == MAP_FAILED)
		return -1;
	for (unsigned int i = 0; i < SEGMENTS_MAX; i++)
		if (mprotect(segments.pages + (2ul * i + 1) * PAGE, PAGE, PROT_NONE) < 0)
			return -1;
	return 0;
}

/* All frames made so far are gone. */
static void
segments_reset(void)
{
	segments.n = 0;
}

static struct rte_mbuf *
segment_new(const uint8_t *bytes, uint32_t len)
{
	unsigned int i = segments.n++;
	struct rte_mbuf *pkt = &segments.mbufs[i];

	assert_true(i < SEGMENTS_MAX && len <= PAGE);
	memset(pkt, 0, sizeof(*pkt));
	pkt->buf_addr = segments.pages + (2ul * i + 1) * PAGE - len;
	memcpy(pkt->buf_addr, bytes, len);
	pkt->data_len = (uint16_t)len;
	pkt->pkt_len = len;
	pkt->nb_segs = 1;
	return pkt;
}

/* First a segment of `first` bytes, then some of `rest` bytes each. */
static struct rte_mbuf *
pkt_new(const uint8_t *bytes, uint32_t len, uint32_t first, uint32_t rest)
{
	struct rte_mbuf *pkt = segment_new(bytes, RTE_MIN(first, len)), *last = pkt;

	for (uint32_t at = pkt->data_len; at < len; at += last->data_len) {
		last->next = segment_new(bytes + at, RTE_MIN(rest, len - at));
		last = last->next;
		pkt->nb_segs++;
	}
	pkt->pkt_len = len;
	return pkt;
}

/* --- frames --- */

struct frame {
	uint8_t bytes[FRAME_MAX];
	uint32_t len;
	uint32_t ip;          /* where the IP header is */
	uint32_t next_header; /* where the type of the next header to be added is written */
};

static void
put(struct frame *frame, const void *bytes, uint32_t len)
{
	assert_true(frame->len + len <= FRAME_MAX);
	memcpy(frame->bytes + frame->len, bytes, len);
	frame->len += len;
}

static void
put16(struct frame *frame, uint16_t number)
{
	uint8_t bytes[2] = {(uint8_t)(number >> 8), (uint8_t)number};

	put(frame, bytes, 2);
}

static void
put_zeros(struct frame *frame, uint32_t len)
{
	static const uint8_t zeros[FRAME_MAX];

	put(frame, zeros, len);
}

static void
put_ethernet(struct frame *frame, unsigned int n_tags, uint16_t type)
{
	static const uint8_t macs[12] = {0x02, 0, 0, 0, 0, 1, 0x02, 0, 0, 0, 0, 2};

	frame->len = 0;
	put(frame, macs, 12);
	for (unsigned int i = 0; i < n_tags; i++) {
		put16(frame, i + 1 < n_tags ? 0x88a8 : 0x8100);
		put16(frame, (uint16_t)(100 + i));
	}
	put16(frame, type);
	frame->ip = frame->len;
}

/* `words` of header, so 4 x (words - 5) bytes of options. */
static void
put_v4(struct frame *frame, unsigned int n_tags, const uint8_t src[4], const uint8_t dst[4],
       unsigned int words, uint16_t fragment)
{
	put_ethernet(frame, n_tags, 0x0800);
	put16(frame, (uint16_t)(0x4000 | words << 8));
	put_zeros(frame, 4);
	put16(frame, fragment);
	put16(frame, 0x4000);
	frame->next_header = frame->len - 1;
	put_zeros(frame, 2);
	put(frame, src, 4);
	put(frame, dst, 4);
	if (words > 5)
		put_zeros(frame, (words - 5) * 4);
}

static void
put_v6(struct frame *frame, unsigned int n_tags, const uint8_t src[16], const uint8_t dst[16])
{
	put_ethernet(frame, n_tags, 0x86dd);
	put16(frame, 0x6000);
	put_zeros(frame, 4);
	put16(frame, 0x3b40);
	frame->next_header = frame->len - 2;
	put(frame, src, 16);
	put(frame, dst, 16);
}

/* An IPv6 extension header of 8 (1 + units) bytes, zeros behind the first two. */
static uint32_t
put_extension(struct frame *frame, uint8_t type, unsigned int units)
{
	uint32_t at = frame->len;

	frame->bytes[frame->next_header] = type;
	frame->next_header = at;
	put16(frame, (uint16_t)(59 << 8 | units));
	put_zeros(frame, 8 * (1 + units) - 2);
	return at;
}

/* Destination options: padding, as the home address option has to stand at 8 n + 6; then that. */
static void
put_home(struct frame *frame, const uint8_t home[16])
{
	uint32_t at = put_extension(frame, 60, 2);

	frame->bytes[at + 2] = 1;
	frame->bytes[at + 3] = 2;
	frame->bytes[at + 6] = 0xc9;
	frame->bytes[at + 7] = 16;
	memcpy(frame->bytes + at + 8, home, 16);
}

static void
put_routing_type_2(struct frame *frame, const uint8_t routed[16])
{
	uint32_t at = put_extension(frame, 43, 2);

	frame->bytes[at + 2] = 2;
	frame->bytes[at + 3] = 1;
	memcpy(frame->bytes + at + 8, routed, 16);
}

enum { TCP = 6, UDP = 17, ICMP = 1 };

/* The transport header and some payload; with it the lengths. */
static void
put_l4(struct frame *frame, uint8_t proto, uint16_t sport, uint16_t dport)
{
	uint32_t len;

	frame->bytes[frame->next_header] = proto;
	put16(frame, sport);
	put16(frame, dport);
	put_zeros(frame, proto == TCP ? 16 : 4);
	put_zeros(frame, 11);
	len = frame->len - frame->ip;
	if (frame->bytes[frame->ip] >> 4 == 4) {
		frame->bytes[frame->ip + 2] = (uint8_t)(len >> 8);
		frame->bytes[frame->ip + 3] = (uint8_t)len;
	} else {
		frame->bytes[frame->ip + 4] = (uint8_t)((len - 40) >> 8);
		frame->bytes[frame->ip + 5] = (uint8_t)(len - 40);
	}
}

/* --- the definition of the hash, and a parser of flat frames --- */

static uint32_t
toeplitz(const uint8_t *key, const uint8_t *tuple, unsigned int len)
{
	uint32_t value = 0;

	for (unsigned int bit = 0; bit < 8 * len; bit++) {
		if (!(tuple[bit / 8] >> (7 - bit % 8) & 1))
			continue;
		for (unsigned int k = 0; k < 32; k++) {
			unsigned int at = bit + k;

			value ^= (uint32_t)(key[at / 8] >> (7 - at % 8) & 1) << (31 - k);
		}
	}
	return value;
}

struct outcome {
	uint8_t report;
	uint8_t tuple[36];
	unsigned int len;
};

static void
outcome_add(struct outcome *outcome, const uint8_t *bytes, unsigned int len)
{
	memcpy(outcome->tuple + outcome->len, bytes, len);
	outcome->len += len;
}

/* What VIRTIO asks for, read off a flat frame. */
static struct outcome
model(const uint8_t *f, uint32_t len, uint32_t types)
{
	struct outcome outcome = {0};
	const uint8_t *src, *dst, *home, *routed;
	uint32_t at = 14, end;
	unsigned int addr_len, tags = 0, proto, l4 = 0;
	bool v6, extended = false, stop = false;
	unsigned int etype = len >= 14 ? f[12] << 8 | f[13] : 0;

	while ((etype == 0x8100 || etype == 0x88a8) && tags++ < 2 && len >= at + 4) {
		etype = f[at + 2] << 8 | f[at + 3];
		at += 4;
	}
	if (etype != 0x0800 && etype != 0x86dd)
		return outcome;
	v6 = etype == 0x86dd;
	if (len < at + (v6 ? 40u : 20u) || f[at] >> 4 != (v6 ? 6 : 4))
		return outcome;
	if (!v6) {
		unsigned int header = (f[at] & 15) * 4u;

		if (header < 20)
			return outcome;
		src = home = f + at + 12;
		dst = routed = f + at + 16;
		addr_len = 4;
		proto = f[at + 9];
		stop = (f[at + 6] << 8 | f[at + 7]) & 0x3fff;
		end = at + (f[at + 2] << 8 | f[at + 3]);
		end = RTE_MIN(end, len);
		at += header;
	} else {
		src = home = f + at + 8;
		dst = routed = f + at + 24;
		addr_len = 16;
		proto = f[at + 6];
		end = at + 40 + (f[at + 4] << 8 | f[at + 5]);
		end = RTE_MIN(end, len);
		at += 40;
		for (unsigned int n = 0; !stop; n++) {
			unsigned int unit = proto == 51 ? 4 : 8, size;

			if (proto != 0 && proto != 43 && proto != 44 && proto != 50 && proto != 51 &&
			    proto != 60 && proto != 135 && proto != 139 && proto != 140)
				break;
			extended = true;
			if (n == FLOW_EXTENSIONS_MAX || proto == 50 || at + 8 > end) {
				stop = true;
				break;
			}
			size = proto == 44   ? 8
			       : proto == 51 ? (f[at + 1] + 2u) * unit
					     : (f[at + 1] + 1u) * unit;
			if (proto == 44 && ((f[at + 2] << 8 | f[at + 3]) & 0xfff9)) {
				stop = true;
				break;
			}
			if (at + size > end) {
				stop = true;
				break;
			}
			if (proto == 43 && f[at + 1] == 2 && f[at + 2] == 2 && f[at + 3] == 1)
				routed = f + at + 8;
			if (proto == 60) {
				unsigned int n_options = 0;

				for (uint32_t o = at + 2; o < at + size && n_options < FLOW_OPTIONS_MAX;
				     n_options++) {
					if (f[o] == 0) {
						o++;
						continue;
					}
					if (o + 2 > at + size)
						break;
					if (f[o] == 0xc9 && f[o + 1] == 16) {
						if (o + 18 <= at + size)
							home = f + o + 2;
						break;
					}
					o += 2u + f[o + 1];
				}
			}
			proto = f[at];
			at += size;
		}
	}
	if (!stop && ((proto == TCP && at + 20 <= end) || (proto == UDP && at + 8 <= end)))
		l4 = proto;
	if (v6 && extended) {
		if (l4 == TCP && types & 1 << 7)
			outcome.report = 8;
		else if (l4 == UDP && types & 1 << 8)
			outcome.report = 9;
		else if (types & 1 << 6)
			outcome.report = 7;
	}
	if (outcome.report) {
		src = home;
		dst = routed;
	} else {
		unsigned int first = v6 ? 3 : 0;

		if (l4 == TCP && types & 2u << first)
			outcome.report = (uint8_t)(first + 2);
		else if (l4 == UDP && types & 4u << first)
			outcome.report = (uint8_t)(first + 3);
		else if (types & 1u << first)
			outcome.report = (uint8_t)(first + 1);
		else
			return outcome;
	}
	outcome_add(&outcome, src, addr_len);
	outcome_add(&outcome, dst, addr_len);
	if (outcome.report != 1 && outcome.report != 4 && outcome.report != 7)
		outcome_add(&outcome, f + at, 4);
	return outcome;
}

/* --- hashing --- */

static const uint8_t key[40] = {0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67,
				0x25, 0x3d, 0x43, 0xa3, 0x8f, 0xb0, 0xd0, 0xca, 0x2b, 0xcb,
				0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30,
				0xf2, 0x0c, 0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa};

static struct hash_params
hash_with(uint32_t types)
{
	struct hash_params rules = {.types = types, .key_len = sizeof(key)};

	memcpy(rules.key, key, sizeof(key));
	return rules;
}

/* Every variant of hashing that this machine has, with every set of types. */
static const enum isa hash_isas[] = {ISA_PORTABLE, ISA_AVX2, ISA_AVX512_GFNI};
static struct hash *hashes[RTE_DIM(hash_isas)][HASH_TYPES_ALL + 1];
static unsigned int n_isas;

static int
hashes_open(void **state)
{
	for (n_isas = 0; n_isas < RTE_DIM(hash_isas) && hash_isas[n_isas] <= isa_select();)
		n_isas++;
	for (unsigned int isa = n_isas; isa < RTE_DIM(hash_isas); isa++)
		print_message("# not for this CPU, and not tested: %s\n", isa_name(hash_isas[isa]));
	for (unsigned int isa = 0; isa < n_isas; isa++)
		for (uint32_t types = 0; types <= HASH_TYPES_ALL; types++) {
			struct hash_params rules = hash_with(types);

			hashes[isa][types] = hash_new(&rules, hash_isas[isa]);
			if (!hashes[isa][types])
				return -1;
		}
	return segments_open(state);
}

static int
hashes_close(void **state)
{
	for (unsigned int isa = 0; isa < n_isas; isa++)
		for (uint32_t types = 0; types <= HASH_TYPES_ALL; types++)
			hash_free(hashes[isa][types]);
	return munmap(segments.pages, 2ul * PAGE * SEGMENTS_MAX);
}

/* The same frame n times over, both variants: all get what is expected. */
static void
expect_outcome(struct rte_mbuf *pkt, uint16_t n, uint32_t types, const struct outcome *outcome)
{
	uint32_t want = outcome->report ? toeplitz(key, outcome->tuple, outcome->len) : 0;

	for (unsigned int isa = 0; isa < n_isas; isa++) {
		struct rte_mbuf *pkts[PORT_BURST];
		uint32_t values[PORT_BURST];
		uint8_t reports[PORT_BURST];

		memset(values, 0xee, sizeof(values));
		memset(reports, 0xee, sizeof(reports));
		for (uint16_t i = 0; i < n; i++)
			pkts[i] = pkt;
		hash_burst(hashes[isa][types], pkts, n, HASH_NOT_KNOWN, values, reports);
		for (uint16_t i = 0; i < n; i++) {
			assert_int_equal(reports[i], outcome->report);
			assert_int_equal(values[i], want);
		}
		if (n < PORT_BURST)
			assert_int_equal(reports[n], 0xee);
	}
}

static void
expect_frame(const struct frame *frame, uint32_t types, uint8_t report, const uint8_t *src,
	     const uint8_t *dst, unsigned int addr_len, const uint8_t *ports)
{
	struct outcome outcome = {.report = report}, from_model = model(frame->bytes, frame->len, types);

	if (report) {
		outcome_add(&outcome, src, addr_len);
		outcome_add(&outcome, dst, addr_len);
		if (ports)
			outcome_add(&outcome, ports, 4);
	}
	assert_memory_equal(&outcome, &from_model, sizeof(outcome));
	segments_reset();
	for (uint16_t n = 1; n <= PORT_BURST; n = (uint16_t)(n * 2 + 1))
		expect_outcome(pkt_new(frame->bytes, frame->len, frame->len, 0), n, types, &outcome);
	expect_outcome(pkt_new(frame->bytes, frame->len, 14, 1), 1, types, &outcome);
}

/* --- the published vectors --- */

static const struct {
	const char *dst, *src; /* hexadecimal digits */
	uint16_t dport, sport;
	uint32_t two, four;
	uint16_t queue; /* by the four-tuple, in a table of 128 entries i mod 4 */
} vectors[] = {
	{"a18e6450", "420995bb", 1766, 2794, 0x323e8fc2, 0x51ccc178, 0},
	{"41458c53", "c75c6f02", 4739, 14230, 0xd718262a, 0xc626b0ea, 2},
	{"0c16cfb8", "1813c65f", 38024, 12898, 0xd2d0a5de, 0x5c2b394a, 2},
	{"d18ea306", "261bcd1e", 2217, 48228, 0x82989176, 0xafc7327f, 3},
	{"cabc7f02", "9927a3bf", 1303, 44251, 0x5d1809c5, 0x10e828a2, 2},
	{"3ffe2501020000030000000000000001", "3ffe250102001fff0000000000000007", 1766, 2794, 0x2cc18cd5,
	 0x40207d3d, 1},
	{"ff020000000000000000000000000001", "3ffe050100080000026097fffe40efab", 4739, 14230, 0x0f0c461c,
	 0xdde51bbf, 3},
	{"fe800000000000000200f8fffe2167cf", "3ffe1900454500030200f8fffe2167cf", 38024, 44251, 0x4b61e985,
	 0x02d1feef, 3},
};

static unsigned int
from_hex(const char *digits, uint8_t bytes[16])
{
	unsigned int n = 0;

	for (; *digits; digits++) {
		if (*digits == ' ')
			continue;
		if (n % 2 == 0)
			bytes[n / 2] = 0;
		bytes[n / 2] |=
			(uint8_t)((*digits <= '9' ? *digits - '0' : *digits - 'a' + 10) << (n % 2 ? 0 : 4));
		n++;
	}
	return n / 2;
}

static void
vector_frame(unsigned int i, unsigned int n_tags, uint8_t proto, struct frame *frame)
{
	uint8_t src[16], dst[16];
	unsigned int len = from_hex(vectors[i].dst, dst);

	assert_int_equal(from_hex(vectors[i].src, src), len);
	if (len == 4)
		put_v4(frame, n_tags, src, dst, 5, 0x4000);
	else
		put_v6(frame, n_tags, src, dst);
	put_l4(frame, proto, vectors[i].sport, vectors[i].dport);
}

static struct port_rxq from;
static struct port from_port, to_port;

static void
ports_make(uint16_t n_from, uint16_t n_to)
{
	memset(&from, 0, sizeof(from));
	memset(&from_port, 0, sizeof(from_port));
	memset(&to_port, 0, sizeof(to_port));
	from.port = &from_port;
	from_port.n_queues = 8;
	from_port.n_active = n_from;
	to_port.n_queues = 8;
	to_port.n_active = n_to;
}

static struct vnet_steer_rules
rss_rules(uint32_t types)
{
	struct vnet_steer_rules rules = {0};

	rules.hash = hash_with(types);
	rules.rss.enabled = true;
	rules.rss.unclassified_queue = 5;
	rules.rss.table_len = 128;
	for (unsigned int i = 0; i < 128; i++)
		rules.rss.table[i] = (uint16_t)(i % 4);
	return rules;
}

static struct port_steer *
steer_make(const struct vnet_steer_rules *rules, uint16_t n_pairs, enum steer_report report,
	   const struct vnet_flows *flows)
{
	struct port_steer *steer = (struct port_steer *)1;

	assert_int_equal(vnet_steer_build(rules, n_pairs, report, flows, &steer), 0);
	return steer;
}

static uint16_t
pick_one(const struct port_steer *steer, struct rte_mbuf *pkt)
{
	uint16_t pairs[2] = {0xeeee, 0xeeee};

	steer->pick(steer, &to_port, &from, &pkt, 1, pairs);
	assert_int_equal(pairs[1], 0xeeee);
	assert_true(pairs[0] < to_port.n_queues);
	return pairs[0];
}

static void
expect_mark(const struct rte_mbuf *pkt, uint32_t value, uint8_t report)
{
	assert_int_equal(!!(pkt->ol_flags & RTE_MBUF_F_RX_RSS_HASH), report != 0);
	if (!report)
		return;
	assert_int_equal(pkt->hash.rss, value);
	assert_int_equal(pkt->hash.fdir.hi, report);
}

/* Value, report code and queue, alone and all eight in one burst, tagged and not, TCP and UDP. */
static void
test_c97_c119_vectors(void **state)
{
	struct vnet_steer_rules rules = rss_rules(HASH_TYPES_ALL);
	struct vnet_steer_rules two = rss_rules(HASH_TYPE_IPV4 | HASH_TYPE_IPV6);
	struct port_steer *steer = steer_make(&rules, 8, STEER_REPORT, NULL);
	struct port_steer *steer_two = steer_make(&two, 8, STEER_REPORT, NULL);

	ports_make(1, 1);
	for (unsigned int n_tags = 0; n_tags <= 2; n_tags++) {
		for (unsigned int udp = 0; udp <= 1; udp++) {
			struct rte_mbuf *pkts[RTE_DIM(vectors)];
			uint16_t pairs[RTE_DIM(vectors)];

			segments_reset();
			for (unsigned int i = 0; i < RTE_DIM(vectors); i++) {
				unsigned int report = i < 5 ? 2 : 5;
				struct frame frame;

				vector_frame(i, n_tags, udp ? UDP : TCP, &frame);
				pkts[i] = pkt_new(frame.bytes, frame.len, frame.len, 0);
				pkts[i]->ol_flags = RTE_MBUF_F_RX_FDIR;
				assert_int_equal(pick_one(steer, pkts[i]), vectors[i].queue);
				expect_mark(pkts[i], vectors[i].four, (uint8_t)(report + udp));
				assert_int_equal(pick_one(steer_two, pkts[i]), vectors[i].two % 128 % 4);
				expect_mark(pkts[i], vectors[i].two, i < 5 ? 1 : 4);
				/* Other flags are other people's. */
				assert_true(pkts[i]->ol_flags & RTE_MBUF_F_RX_FDIR);
			}
			steer->pick(steer, &to_port, &from, pkts, RTE_DIM(vectors), pairs);
			for (unsigned int i = 0; i < RTE_DIM(vectors); i++) {
				assert_int_equal(pairs[i], vectors[i].queue);
				expect_mark(pkts[i], vectors[i].four, (uint8_t)((i < 5 ? 2 : 5) + udp));
			}
		}
	}
	vnet_steer_free(steer);
	vnet_steer_free(steer_two);
}

/* --- types --- */

static const uint8_t a4[4] = {10, 1, 2, 3}, b4[4] = {192, 168, 7, 200}, ports[4] = {0x30, 0x39, 0x01, 0xbb};
static const uint8_t a6[16] = {0x20, 1, 0xd, 0xb8, [15] = 1}, b6[16] = {0x20, 1, 0xd, 0xb8, 9, [15] = 2};
static const uint8_t home[16] = {0x20, 1, 0xd, 0xb8, 77, [15] = 3},
		     routed[16] = {0x20, 1, 0xd, 0xb8, 88, [15] = 4};
enum { SPORT = 0x3039, DPORT = 0x01bb };

enum {
	V4 = HASH_TYPE_IPV4,
	TCP4 = HASH_TYPE_TCPV4,
	UDP4 = HASH_TYPE_UDPV4,
	V6 = HASH_TYPE_IPV6,
	TCP6 = HASH_TYPE_TCPV6,
	UDP6 = HASH_TYPE_UDPV6,
	EX = HASH_TYPE_IP_EX,
	TCPEX = HASH_TYPE_TCP_EX,
	UDPEX = HASH_TYPE_UDP_EX,
};

static void
test_c97_types_of_ipv4(void **state)
{
	for (unsigned int n_tags = 0; n_tags <= 2; n_tags++) {
		for (unsigned int words = 5; words <= 15; words += 5) {
			struct frame tcp, udp, icmp;

			put_v4(&tcp, n_tags, a4, b4, words, 0);
			put_l4(&tcp, TCP, SPORT, DPORT);
			put_v4(&udp, n_tags, a4, b4, words, 0);
			put_l4(&udp, UDP, SPORT, DPORT);
			put_v4(&icmp, n_tags, a4, b4, words, 0);
			put_l4(&icmp, ICMP, SPORT, DPORT);

			expect_frame(&tcp, V4 | TCP4 | UDP4, 2, a4, b4, 4, ports);
			expect_frame(&tcp, TCP4, 2, a4, b4, 4, ports);
			expect_frame(&tcp, V4 | UDP4, 1, a4, b4, 4, NULL);
			expect_frame(&tcp, UDP4 | V6 | TCP6 | UDP6 | EX | TCPEX | UDPEX, 0, NULL, NULL, 0,
				     NULL);
			expect_frame(&udp, V4 | TCP4 | UDP4, 3, a4, b4, 4, ports);
			expect_frame(&udp, UDP4, 3, a4, b4, 4, ports);
			expect_frame(&udp, V4 | TCP4, 1, a4, b4, 4, NULL);
			expect_frame(&udp, TCP4, 0, NULL, NULL, 0, NULL);
			expect_frame(&icmp, HASH_TYPES_ALL, 1, a4, b4, 4, NULL);
			expect_frame(&icmp, HASH_TYPES_ALL & ~V4, 0, NULL, NULL, 0, NULL);
			expect_frame(&icmp, 0, 0, NULL, NULL, 0, NULL);
		}
	}
}

static void
test_c97_types_of_ipv6(void **state)
{
	for (unsigned int n_tags = 0; n_tags <= 2; n_tags++) {
		struct frame tcp, udp;

		put_v6(&tcp, n_tags, a6, b6);
		put_l4(&tcp, TCP, SPORT, DPORT);
		put_v6(&udp, n_tags, a6, b6);
		put_l4(&udp, UDP, SPORT, DPORT);
		/* Without extension headers the types for those do not count. */
		expect_frame(&tcp, HASH_TYPES_ALL, 5, a6, b6, 16, ports);
		expect_frame(&tcp, V6 | UDP6, 4, a6, b6, 16, NULL);
		expect_frame(&tcp, EX | TCPEX | UDPEX | UDP6, 0, NULL, NULL, 0, NULL);
		expect_frame(&udp, HASH_TYPES_ALL, 6, a6, b6, 16, ports);
		expect_frame(&udp, V6 | TCP6, 4, a6, b6, 16, NULL);
		expect_frame(&udp, EX | TCPEX | UDPEX | TCP6, 0, NULL, NULL, 0, NULL);
	}
}

static void
test_c97_types_of_extended(void **state)
{
	struct frame tcp, udp, plain_routing;

	put_v6(&tcp, 0, a6, b6);
	put_extension(&tcp, 0, 1);
	put_home(&tcp, home);
	put_routing_type_2(&tcp, routed);
	put_extension(&tcp, 51, 2); /* its length is in words, less two */
	tcp.len -= 8;
	put_l4(&tcp, TCP, SPORT, DPORT);
	put_v6(&udp, 1, a6, b6);
	put_home(&udp, home);
	put_l4(&udp, UDP, SPORT, DPORT);
	/* Another type of routing header has no address of that kind. */
	put_v6(&plain_routing, 0, a6, b6);
	put_routing_type_2(&plain_routing, routed);
	plain_routing.bytes[plain_routing.ip + 40 + 2] = 4;
	put_l4(&plain_routing, TCP, SPORT, DPORT);

	expect_frame(&tcp, HASH_TYPES_ALL, 8, home, routed, 16, ports);
	expect_frame(&tcp, HASH_TYPES_ALL & ~TCPEX, 7, home, routed, 16, NULL);
	expect_frame(&tcp, HASH_TYPES_ALL & ~(TCPEX | EX), 5, a6, b6, 16, ports);
	expect_frame(&tcp, V6 | UDP6 | UDPEX, 4, a6, b6, 16, NULL);
	expect_frame(&tcp, UDP6 | UDPEX | V4, 0, NULL, NULL, 0, NULL);
	expect_frame(&udp, HASH_TYPES_ALL, 9, home, b6, 16, ports);
	expect_frame(&udp, HASH_TYPES_ALL & ~UDPEX, 7, home, b6, 16, NULL);
	expect_frame(&udp, HASH_TYPES_ALL & ~(UDPEX | EX), 6, a6, b6, 16, ports);
	expect_frame(&plain_routing, HASH_TYPES_ALL, 8, a6, b6, 16, ports);
}

/* All fragments of a datagram get the same hash, which can't have the ports. */
static void
test_fragments_have_no_ports(void **state)
{
	static const uint16_t v4[] = {0x2000, 0x0001, 0x2001, 0x1fff};
	static const uint16_t v6[] = {0x0001, 0x0008, 0x0009, 0xfff8};
	struct frame frame;

	for (unsigned int i = 0; i < RTE_DIM(v4); i++) {
		put_v4(&frame, 0, a4, b4, 5, v4[i]);
		put_l4(&frame, i % 2 ? TCP : UDP, SPORT, DPORT);
		expect_frame(&frame, HASH_TYPES_ALL, 1, a4, b4, 4, NULL);
		expect_frame(&frame, TCP4 | UDP4, 0, NULL, NULL, 0, NULL);
	}
	put_v4(&frame, 0, a4, b4, 5, 0xc000); /* may not be fragmented; reserved */
	put_l4(&frame, TCP, SPORT, DPORT);
	expect_frame(&frame, HASH_TYPES_ALL, 2, a4, b4, 4, ports);
	for (unsigned int i = 0; i < RTE_DIM(v6); i++) {
		put_v6(&frame, 0, a6, b6);
		put_extension(&frame, 44, 0);
		frame.bytes[frame.len - 6] = (uint8_t)(v6[i] >> 8);
		frame.bytes[frame.len - 5] = (uint8_t)v6[i];
		put_l4(&frame, i % 2 ? TCP : UDP, SPORT, DPORT);
		expect_frame(&frame, HASH_TYPES_ALL, 7, a6, b6, 16, NULL);
		expect_frame(&frame, HASH_TYPES_ALL & ~EX, 4, a6, b6, 16, NULL);
	}
	/* The only fragment is a whole datagram. */
	put_v6(&frame, 0, a6, b6);
	put_extension(&frame, 44, 0);
	put_l4(&frame, UDP, SPORT, DPORT);
	expect_frame(&frame, HASH_TYPES_ALL, 9, a6, b6, 16, ports);
}

/* --- frames that lie, and frames that end --- */

enum { N_SHAPES = 14 };

static void
shape(unsigned int i, struct frame *frame)
{
	switch (i) {
	case 0 ... 5:
		put_v4(frame, i / 2, a4, b4, 5, 0);
		put_l4(frame, i % 2 ? TCP : UDP, SPORT, DPORT);
		break;
	case 6:
		put_v4(frame, 0, a4, b4, 11, 0);
		put_l4(frame, TCP, SPORT, DPORT);
		break;
	case 7 ... 10:
		put_v6(frame, (i - 7) / 2, a6, b6);
		put_l4(frame, i % 2 ? TCP : UDP, SPORT, DPORT);
		break;
	case 11:
		put_v6(frame, 0, a6, b6);
		put_extension(frame, 0, 0);
		put_routing_type_2(frame, routed);
		put_home(frame, home);
		put_l4(frame, TCP, SPORT, DPORT);
		break;
	case 12:
		put_v6(frame, 1, a6, b6);
		for (unsigned int k = 0; k < FLOW_EXTENSIONS_MAX; k++)
			put_extension(frame, 60, k % 3);
		put_l4(frame, UDP, SPORT, DPORT);
		break;
	default:
		put_v6(frame, 0, a6, b6);
		for (unsigned int k = 0; k <= FLOW_EXTENSIONS_MAX; k++)
			put_extension(frame, 135, 0);
		put_l4(frame, UDP, SPORT, DPORT);
		break;
	}
}

/* However it is cut into segments, a frame is what its bytes are. */
static void
expect_like_model(const uint8_t *bytes, uint32_t len, uint32_t first, uint32_t rest, uint32_t types)
{
	struct outcome outcome = model(bytes, len, types);
	struct rte_mbuf *pkt;

	segments_reset();
	pkt = pkt_new(bytes, len, first, rest);
	expect_outcome(pkt, 1, types, &outcome);
	expect_outcome(pkt, 8, types, &outcome);
}

static void
test_n02_cut_at_every_byte(void **state)
{
	static const uint32_t types[] = {HASH_TYPES_ALL, V4 | V6 | EX};

	for (unsigned int i = 0; i < N_SHAPES; i++) {
		struct frame frame;

		shape(i, &frame);
		for (uint32_t len = 14; len <= frame.len; len++) {
			for (unsigned int t = 0; t < RTE_DIM(types); t++) {
				expect_like_model(frame.bytes, len, len, 0, types[t]);
				for (uint32_t rest = 1; rest < 8; rest++)
					expect_like_model(frame.bytes, len, 14, rest, types[t]);
			}
		}
		for (uint32_t first = 14; first < frame.len; first++)
			expect_like_model(frame.bytes, frame.len, first, FRAME_MAX, HASH_TYPES_ALL);
	}
}

/* Frames that are right but for some bytes of their headers; whole and in pieces. */
static void
test_n02_n15_lies(void **state)
{
	for (unsigned int round = 0; round < 200000; round++) {
		struct frame frame;
		uint32_t len, first;

		shape(rng_below(N_SHAPES), &frame);
		for (unsigned int n = 1 + rng_below(3); n; n--) {
			uint32_t at = 12 + rng_below(frame.len - 12);

			frame.bytes[at] = (uint8_t)(rng_below(2) ? rng_byte() : rng_below(4));
		}
		if (rng_below(4) == 0) {
			static const uint8_t types[] = {0, 43, 44, 50, 51, 59, 60, 135, 6, 17, 255};

			frame.bytes[frame.next_header] = types[rng_below(sizeof(types))];
		}
		len = rng_below(4) ? frame.len : 14 + rng_below(frame.len - 13);
		first = rng_below(2) ? len : 14 + rng_below(len - 13);
		expect_like_model(frame.bytes, len, first, 1 + rng_below(40),
				  rng_below(2) ? HASH_TYPES_ALL : rng_below(512));
	}
}

/* Every length of IPv4 header and every total length, with all of the frame there. */
static void
test_n02_n15_ihl_and_total_length(void **state)
{
	struct frame frame;

	for (unsigned int words = 0; words < 16; words++) {
		put_v4(&frame, 0, a4, b4, 5, 0);
		put_l4(&frame, TCP, SPORT, DPORT);
		put_zeros(&frame, 60);
		frame.bytes[frame.ip] = (uint8_t)(0x40 | words);
		for (unsigned int total = 0; total < 120; total++) {
			frame.bytes[frame.ip + 3] = (uint8_t)total;
			expect_like_model(frame.bytes, frame.len, frame.len, 0, HASH_TYPES_ALL);
			expect_like_model(frame.bytes, frame.len, 20, 9, HASH_TYPES_ALL);
		}
	}
	/* Padding is no header, whatever it looks like. */
	put_v4(&frame, 0, a4, b4, 5, 0);
	put_l4(&frame, UDP, SPORT, DPORT);
	frame.bytes[frame.ip + 3] = 20;
	expect_frame(&frame, HASH_TYPES_ALL, 1, a4, b4, 4, NULL);
}

/* The home address is found behind other options, and not beyond the bound on them or the header's end. */
static void
test_home_address_among_options(void **state)
{
	for (unsigned int pads = 0; pads < 40; pads++) {
		struct frame frame;
		uint32_t at;

		put_v6(&frame, 0, a6, b6);
		at = put_extension(&frame, 60, 7);
		/* `pads` of one byte each, then the option; it may stick out of the header. */
		frame.bytes[at + 2 + pads] = 0xc9;
		frame.bytes[at + 3 + pads] = 16;
		memcpy(frame.bytes + at + 4 + pads, home, 16);
		put_l4(&frame, UDP, SPORT, DPORT);
		expect_frame(&frame, HASH_TYPES_ALL, 9, pads < FLOW_OPTIONS_MAX ? home : a6, b6, 16, ports);
	}
}

/* --- the two variants against the definition --- */

static void
test_variants_agree_for_every_key(void **state)
{
	for (unsigned int key_len = 0; key_len <= STEER_RSS_KEY_LEN; key_len++) {
		for (unsigned int round = 0; round < 20; round++) {
			struct hash_params rules = {.types = HASH_TYPES_ALL, .key_len = (uint8_t)key_len};
			uint8_t padded[STEER_RSS_KEY_LEN] = {0}, bytes[PORT_BURST][FLOW_TUPLE_V6];
			uint32_t converted[STEER_RSS_KEY_LEN / 4];
			const uint8_t *tuples[PORT_BURST];
			uint16_t n = (uint16_t)(1 + rng_below(PORT_BURST));

			/* What the driver left behind the key's end is not part of it. */
			for (unsigned int i = 0; i < sizeof(rules.key); i++)
				rules.key[i] = rng_byte();
			memcpy(padded, rules.key, key_len);
			rte_convert_rss_key((const uint32_t *)padded, converted, sizeof(padded));
			segments_reset();
			for (uint16_t i = 0; i < n; i++) {
				for (unsigned int k = 0; k < FLOW_TUPLE_V6; k++)
					bytes[i][k] = (uint8_t)(round == 0 ? 0xff : rng_byte());
				tuples[i] = pkt_new(bytes[i], FLOW_TUPLE_V6, FLOW_TUPLE_V6, 0)->buf_addr;
			}
			for (unsigned int isa = 0; isa < n_isas; isa++) {
				struct hash *hash = hash_new(&rules, hash_isas[isa]);
				uint32_t v4[PORT_BURST + 1], v6[PORT_BURST + 1];

				v4[n] = v6[n] = 0xeeeeeeee;
				hash->v6(hash, tuples, n, v6);
				for (uint16_t i = 0; i < n; i++)
					tuples[i] += FLOW_TUPLE_V6 - FLOW_TUPLE_V4;
				hash->v4(hash, tuples, n, v4);
				for (uint16_t i = 0; i < n; i++)
					tuples[i] -= FLOW_TUPLE_V6 - FLOW_TUPLE_V4;
				for (uint16_t i = 0; i < n; i++) {
					uint32_t words[FLOW_TUPLE_V6 / 4];

					for (unsigned int k = 0; k < RTE_DIM(words); k++)
						words[k] = rte_be_to_cpu_32(
							((const unaligned_uint32_t *)tuples[i])[k]);
					assert_int_equal(v6[i], rte_softrss_be(words, RTE_DIM(words),
									       (uint8_t *)converted));
					assert_int_equal(v6[i], toeplitz(padded, tuples[i], 36));
					assert_int_equal(v4[i], toeplitz(padded, tuples[i] + 24, 12));
				}
				assert_int_equal(v4[n], 0xeeeeeeee);
				assert_int_equal(v6[n], 0xeeeeeeee);
				hash_free(hash);
			}
		}
	}
}

/* Bursts of all kinds of frames with random addresses: groups of plain ones, and groups that are not. */
static void
test_variants_agree_for_mixed_bursts(void **state)
{
	for (unsigned int round = 0; round < 20000; round++) {
		struct rte_mbuf *pkts[PORT_BURST];
		struct frame frames[PORT_BURST];
		uint16_t n = (uint16_t)(rng_below(2) ? PORT_BURST : 1 + rng_below(PORT_BURST));
		uint32_t types = rng_below(2) ? HASH_TYPES_ALL : rng_below(HASH_TYPES_ALL + 1),
			 odd = rng_below(20);

		segments_reset();
		for (uint16_t i = 0; i < n; i++) {
			shape(rng_below(20) < odd ? rng_below(N_SHAPES) : rng_below(2), &frames[i]);
			for (unsigned int k = 0; k < 16; k++)
				frames[i].bytes[frames[i].ip + 8 + rng_below(32)] ^=
					(uint8_t)(k < 2 ? rng_byte() : 0);
			for (unsigned int k = 12; k < 24; k++)
				frames[i].bytes[frames[i].ip + k] = rng_byte();
			pkts[i] = pkt_new(frames[i].bytes, frames[i].len,
					  rng_below(8) ? frames[i].len : 14 + rng_below(frames[i].len - 13),
					  20);
		}
		for (unsigned int isa = 0; isa < n_isas; isa++) {
			uint32_t values[PORT_BURST];
			uint8_t reports[PORT_BURST];

			hash_burst(hashes[isa][types], pkts, n, HASH_NOT_KNOWN, values, reports);
			for (uint16_t i = 0; i < n; i++) {
				struct outcome want = model(frames[i].bytes, frames[i].len, types);

				assert_int_equal(reports[i], want.report);
				assert_int_equal(values[i],
						 want.report ? toeplitz(key, want.tuple, want.len) : 0);
			}
		}
	}
}

/* --- RSS --- */

static struct rte_mbuf *
arp_new(void)
{
	struct frame frame;

	put_ethernet(&frame, 0, 0x0806);
	put_zeros(&frame, 46);
	return pkt_new(frame.bytes, frame.len, frame.len, 0);
}

static struct rte_mbuf *
udp_new(uint16_t sport, uint16_t dport)
{
	struct frame frame;

	put_v4(&frame, 0, a4, b4, 5, 0);
	put_l4(&frame, UDP, sport, dport);
	return pkt_new(frame.bytes, frame.len, frame.len, 0);
}

static void
test_c119_unclassified_queue(void **state)
{
	struct vnet_steer_rules rules = rss_rules(TCP4);
	struct port_steer *steer = steer_make(&rules, 8, STEER_REPORT, NULL);
	struct rte_mbuf *pkt;

	ports_make(1, 8);
	segments_reset();
	/* What a NIC said of it is gone. */
	pkt = arp_new();
	pkt->ol_flags = RTE_MBUF_F_RX_RSS_HASH;
	pkt->hash.rss = 2;
	assert_int_equal(pick_one(steer, pkt), 5);
	expect_mark(pkt, 0, 0);
	pkt = udp_new(1, 2);
	assert_int_equal(pick_one(steer, pkt), 5);
	expect_mark(pkt, 0, 0);
	vnet_steer_free(steer);
	/* A single pair can have it too. */
	rules.rss.unclassified_queue = 0;
	rules.rss.table_len = 1;
	steer = steer_make(&rules, 1, STEER_NO_REPORT, NULL);
	assert_int_equal(pick_one(steer, pkt), 0);
	vnet_steer_free(steer);
}

/* A target that can't be sent to stays the target: its tx drops the frame, no other queue gets it. */
static void
test_c120_target_is_kept(void **state)
{
	struct vnet_steer_rules rules = rss_rules(UDP4);
	struct port_steer *steer;

	for (unsigned int i = 0; i < 128; i++)
		rules.rss.table[i] = 6;
	steer = steer_make(&rules, 8, STEER_NO_REPORT, NULL);
	ports_make(8, 2);
	segments_reset();
	assert_int_equal(pick_one(steer, udp_new(7, 8)), 6);
	assert_int_equal(pick_one(steer, arp_new()), 5);
	vnet_steer_free(steer);
}

/* Tables of every length; what is not a table of this device is none. */
static void
test_c121_tables(void **state)
{
	struct vnet_steer_rules rules = rss_rules(UDP4);
	struct port_steer *steer;

	ports_make(1, 8);
	for (uint16_t len = 1; len <= 128; len = (uint16_t)(len * 2)) {
		unsigned int seen = 0;

		rules.rss.table_len = len;
		for (unsigned int i = 0; i < 128; i++)
			rules.rss.table[i] = (uint16_t)(i < len ? i % 8 : 7);
		steer = steer_make(&rules, 8, STEER_REPORT, NULL);
		segments_reset();
		for (uint16_t port = 0; port < 200; port++) {
			struct rte_mbuf *pkt = udp_new(port, 53);
			uint16_t pair = pick_one(steer, pkt);

			assert_int_equal(pair, (pkt->hash.rss & (len - 1u)) % 8);
			seen |= 1u << pair;
		}
		assert_int_equal(seen, (1u << RTE_MIN(len, 8u)) - 1);
		vnet_steer_free(steer);
	}
	rules.rss.table[5] = 8;
	assert_int_equal(vnet_steer_build(&rules, 8, STEER_NO_REPORT, NULL, &steer), -EINVAL);
	rules.rss.table[5] = 0;
	rules.rss.unclassified_queue = 8;
	assert_int_equal(vnet_steer_build(&rules, 8, STEER_NO_REPORT, NULL, &steer), -EINVAL);
	rules.rss.unclassified_queue = 0;
	rules.rss.table_len = 0;
	assert_int_equal(vnet_steer_build(&rules, 8, STEER_NO_REPORT, NULL, &steer), -EINVAL);
	rules.rss.table_len = 96;
	assert_int_equal(vnet_steer_build(&rules, 8, STEER_NO_REPORT, NULL, &steer), -EINVAL);
	rules.rss.table_len = 256;
	assert_int_equal(vnet_steer_build(&rules, 8, STEER_NO_REPORT, NULL, &steer), -EINVAL);
}

/* --- what a NIC has hashed --- */

static void
test_nic_hash_is_used(void **state)
{
	struct vnet_steer_rules rules = rss_rules(HASH_TYPES_ALL);
	struct port_steer *steer = steer_make(&rules, 8, STEER_REPORT, NULL);
	struct hash_params rx_hash = {.types = HASH_TYPES_ALL, .key_len = sizeof(key)};
	const uint32_t planted = 0x12345602;
	struct frame fragment;
	struct rte_mbuf *pkt;
	uint32_t right;

	memcpy(rx_hash.key, key, sizeof(key));
	ports_make(1, 8);
	segments_reset();
	pkt = udp_new(1000, 2000);
	pick_one(steer, pkt);
	right = pkt->hash.rss;
	assert_true(right != planted);
	/* The value of a port with the same key and types is taken; the report code is ours to find. */
	from_port.rx_hash = &rx_hash;
	pkt->ol_flags = RTE_MBUF_F_RX_RSS_HASH;
	pkt->hash.rss = planted;
	pkt->hash.fdir.hi = 99;
	assert_int_equal(pick_one(steer, pkt), 2);
	expect_mark(pkt, planted, 3);
	/* Not where the NIC gave none. */
	pkt->ol_flags = 0;
	pick_one(steer, pkt);
	expect_mark(pkt, right, 3);
	/* Nor for what NICs do not agree about, nor where there is no hash. */
	put_v4(&fragment, 0, a4, b4, 5, 0x2000);
	put_l4(&fragment, UDP, 1, 2);
	pkt = pkt_new(fragment.bytes, fragment.len, fragment.len, 0);
	pkt->ol_flags = RTE_MBUF_F_RX_RSS_HASH;
	pkt->hash.rss = planted;
	pick_one(steer, pkt);
	expect_mark(pkt, toeplitz(key, (const uint8_t[8]){10, 1, 2, 3, 192, 168, 7, 200}, 8), 1);
	pkt = arp_new();
	pkt->ol_flags = RTE_MBUF_F_RX_RSS_HASH;
	assert_int_equal(pick_one(steer, pkt), 5);
	expect_mark(pkt, 0, 0);
	/* Other key, other types, shorter key: calculated. */
	pkt = udp_new(1000, 2000);
	for (unsigned int i = 0; i < 3; i++) {
		struct hash_params differs = rx_hash;

		if (i == 0)
			differs.key[39] ^= 1;
		else if (i == 1)
			differs.types = UDP4;
		else
			differs.key_len = 16;
		from_port.rx_hash = &differs;
		pkt->ol_flags = RTE_MBUF_F_RX_RSS_HASH;
		pkt->hash.rss = planted;
		pick_one(steer, pkt);
		expect_mark(pkt, right, 3);
		from_port.rx_hash = NULL;
	}
	vnet_steer_free(steer);
}

/* Whole bursts: the portable variant takes the values, and with right ones nothing shows which one it was. */
static void
test_nic_hash_in_bursts(void **state)
{
	struct rte_mbuf *pkts[PORT_BURST];
	uint32_t values[PORT_BURST], again[PORT_BURST];
	uint8_t reports[PORT_BURST];

	segments_reset();
	for (unsigned int i = 0; i < PORT_BURST; i++)
		pkts[i] = udp_new((uint16_t)i, 9);
	for (unsigned int isa = 0; isa < n_isas; isa++) {
		hash_burst(hashes[isa][HASH_TYPES_ALL], pkts, PORT_BURST, HASH_NOT_KNOWN, values, reports);
		for (unsigned int i = 0; i < PORT_BURST; i++) {
			pkts[i]->ol_flags = i % 3 ? RTE_MBUF_F_RX_RSS_HASH : 0;
			pkts[i]->hash.rss = values[i];
		}
		hash_burst(hashes[isa][HASH_TYPES_ALL], pkts, PORT_BURST, HASH_IN_MBUF, again, reports);
		assert_memory_equal(values, again, sizeof(values));
	}
	for (unsigned int i = 0; i < PORT_BURST; i++)
		pkts[i]->hash.rss = i;
	hash_burst(hashes[0][HASH_TYPES_ALL], pkts, PORT_BURST, HASH_IN_MBUF, again, reports);
	for (unsigned int i = 0; i < PORT_BURST; i++) {
		assert_int_equal(again[i], i % 3 ? i : values[i]);
		assert_int_equal(reports[i], 3);
	}
}

/* --- flows --- */

static void
test_c115_one_pair_needs_no_steering(void **state)
{
	struct vnet_steer_rules rules = {0};
	struct vnet_flows *flows = vnet_flows_new();
	struct port_steer *steer;

	assert_null(steer_make(&rules, 1, STEER_NO_REPORT, flows));
	/* With hash reports there is an object, and one pair all the same. Types are none after a reset. */
	steer = steer_make(&rules, 1, STEER_REPORT, flows);
	assert_non_null(steer);
	ports_make(8, 1);
	from.idx = 5;
	segments_reset();
	for (uint16_t port = 0; port < 100; port++) {
		struct rte_mbuf *pkt = udp_new(port, 80), *back = udp_new(80, port);

		vnet_flows_learn(flows, 3, &back, 1);
		pkt->ol_flags = RTE_MBUF_F_RX_RSS_HASH;
		assert_int_equal(pick_one(steer, pkt), 0);
		expect_mark(pkt, 0, 0);
	}
	vnet_steer_free(steer);
	vnet_steer_free(NULL);
	vnet_flows_free(flows);
	vnet_flows_free(NULL);
}

/* A frame of each kind, and the one that answers it. */
static void
flow_make(unsigned int i, bool back, struct frame *frame)
{
	uint16_t sport = (uint16_t)(1024 + i / 5), dport = 443;
	uint8_t x4[4], y4[4], x6[16], y6[16];

	memcpy(x4, a4, 4);
	memcpy(y4, b4, 4);
	memcpy(x6, a6, 16);
	memcpy(y6, b6, 16);
	x4[3] = x6[15] = (uint8_t)(i * 7);
	switch (i % 5) {
	case 0:
	case 1:
		put_v4(frame, i % 3, back ? y4 : x4, back ? x4 : y4, 5, 0);
		break;
	case 2:
		put_v4(frame, 0, back ? y4 : x4, back ? x4 : y4, 6, 0);
		break;
	case 3:
		put_v6(frame, i % 3, back ? y6 : x6, back ? x6 : y6);
		break;
	default:
		put_v6(frame, 0, back ? y6 : x6, back ? x6 : y6);
		put_extension(frame, 0, 0);
		break;
	}
	put_l4(frame, i % 2 ? TCP : UDP, back ? dport : sport, back ? sport : dport);
}

static struct rte_mbuf *
flow_new(unsigned int i, bool back)
{
	struct frame frame;

	flow_make(i, back, &frame);
	return pkt_new(frame.bytes, frame.len, frame.len, 0);
}

static void
test_c117_flows_come_back(void **state)
{
	enum { N_FLOWS = 300 };
	struct vnet_steer_rules rules = {0};
	struct vnet_flows *flows = vnet_flows_new();
	struct port_steer *steer;

	ports_make(8, 8);
	for (unsigned int report = 0; report < 2; report++) {
		unsigned int n_lost = 0;

		steer = steer_make(&rules, 8, report ? STEER_REPORT : STEER_NO_REPORT, flows);
		segments_reset();
		for (unsigned int i = 0; i < N_FLOWS; i++) {
			struct rte_mbuf *pkt = flow_new(i, false);

			vnet_flows_learn(flows, (uint16_t)((i + report) % 8), &pkt, 1);
		}
		segments_reset();
		for (unsigned int i = 0; i < N_FLOWS; i++) {
			from.idx = (uint16_t)((i + 4) % 8);
			n_lost += pick_one(steer, flow_new(i, true)) != (i + report) % 8;
		}
		/* Of 300 in 4096 places some 11 meet; each pair loses one. */
		assert_true(n_lost < 30);
		vnet_steer_free(steer);
	}
	vnet_flows_free(flows);
}

/* Two flows in one place: the later one has it, the other one goes the way of those never seen. */
static void
test_c117_collisions(void **state)
{
	struct vnet_steer_rules rules = {0};
	struct vnet_flows *flows = vnet_flows_new();
	struct port_steer *steer = steer_make(&rules, 8, STEER_NO_REPORT, flows);
	uint32_t first, other = 0;
	struct rte_mbuf *pkt;
	unsigned int i = 0;

	ports_make(8, 8);
	from.idx = 6;
	segments_reset();
	assert_true(flow_digest(flow_new(0, false), &first));
	do {
		segments_reset();
		assert_true(++i < 100000);
		assert_true(flow_digest(flow_new(i, false), &other));
	} while ((other ^ first) % 4096 || other == first);
	pkt = flow_new(0, false);
	vnet_flows_learn(flows, 2, &pkt, 1);
	assert_int_equal(pick_one(steer, flow_new(0, true)), 2);
	assert_int_equal(pick_one(steer, flow_new(i, true)), 6);
	pkt = flow_new(i, false);
	vnet_flows_learn(flows, 3, &pkt, 1);
	assert_int_equal(pick_one(steer, flow_new(i, true)), 3);
	assert_int_equal(pick_one(steer, flow_new(0, true)), 6);
	/* A flow moves when the guest moves it. */
	vnet_flows_learn(flows, 4, &pkt, 1);
	assert_int_equal(pick_one(steer, flow_new(i, true)), 4);
	/* What is no flow takes nobody's place. */
	for (i = 0, first = 1; first % 4096; i++) {
		segments_reset();
		assert_true(i < 100000);
		assert_true(flow_digest(flow_new(i, false), &first));
	}
	pkt = flow_new(i - 1, false);
	vnet_flows_learn(flows, 5, &pkt, 1);
	pkt = arp_new();
	vnet_flows_learn(flows, 1, &pkt, 1);
	assert_int_equal(pick_one(steer, flow_new(i - 1, true)), 5);
	vnet_steer_free(steer);
	vnet_flows_free(flows);
}

/* Nothing goes to pairs above those in use, whatever was learnt before. */
static void
test_c116_pairs_above_get_nothing(void **state)
{
	struct vnet_steer_rules rules = {0};
	struct vnet_flows *flows = vnet_flows_new();
	struct port_steer *steer = steer_make(&rules, 8, STEER_NO_REPORT, flows);

	for (uint16_t n_from = 1; n_from <= 8; n_from++) {
		for (uint16_t n_to = 1; n_to <= 8; n_to++) {
			ports_make(n_from, n_to);
			for (unsigned int i = 0; i < 200; i++) {
				struct rte_mbuf *pkt;

				segments_reset();
				from.idx = (uint16_t)(i % n_from);
				pkt = flow_new(i, false);
				vnet_flows_learn(flows, (uint16_t)(i % 8), &pkt, 1);
				pkt = i % 7 ? flow_new(rng_below(400), true) : arp_new();
				assert_true(pick_one(steer, pkt) < n_to);
			}
		}
	}
	vnet_steer_free(steer);
	vnet_flows_free(flows);
}

static void
test_unknown_flows(void **state)
{
	struct vnet_steer_rules rules = {0};
	struct vnet_flows *flows = vnet_flows_new();
	unsigned int seen[8] = {0};

	for (unsigned int without = 0; without < 2; without++) {
		struct port_steer *steer = steer_make(&rules, 8, STEER_NO_REPORT, without ? NULL : flows);

		/* As many pairs there as here: the sender's own. */
		ports_make(8, 8);
		for (unsigned int i = 0; i < 100; i++) {
			segments_reset();
			from.idx = (uint16_t)(i % 8);
			assert_int_equal(pick_one(steer, flow_new(i, true)), i % 8);
			assert_int_equal(pick_one(steer, arp_new()), i % 8);
		}
		/* Fewer: spread, each flow always to the same. */
		ports_make(1, 8);
		for (unsigned int i = 0; i < 800; i++) {
			uint16_t pair;

			segments_reset();
			pair = pick_one(steer, flow_new(i, true));
			seen[pair]++;
			assert_int_equal(pick_one(steer, flow_new(i, true)), pair);
			assert_int_equal(pick_one(steer, arp_new()), 0);
		}
		vnet_steer_free(steer);
	}
	for (unsigned int i = 0; i < 8; i++)
		assert_true(seen[i] > 120 && seen[i] < 280);
	vnet_flows_free(flows);
}

/* With flows, the guest is still told the hash. */
static void
test_hash_report_with_flows(void **state)
{
	struct vnet_steer_rules rules = {0};
	struct vnet_flows *flows = vnet_flows_new();
	struct port_steer *steer;
	struct rte_mbuf *pkt, *back;

	rules.hash = hash_with(HASH_TYPES_ALL);
	steer = steer_make(&rules, 8, STEER_REPORT, flows);
	ports_make(8, 8);
	segments_reset();
	for (unsigned int i = 0; i < RTE_DIM(vectors); i++) {
		struct frame frame;

		vector_frame(i, 0, TCP, &frame);
		pkt = pkt_new(frame.bytes, frame.len, frame.len, 0);
		from.idx = (uint16_t)i;
		assert_int_equal(pick_one(steer, pkt), i);
		expect_mark(pkt, vectors[i].four, i < 5 ? 2 : 5);
	}
	back = udp_new(7, 9);
	vnet_flows_learn(flows, 6, &back, 1);
	pkt = udp_new(7, 9);
	assert_int_equal(pick_one(steer, pkt), 6);
	expect_mark(pkt, toeplitz(key, (const uint8_t[12]){10, 1, 2, 3, 192, 168, 7, 200, 0, 7, 0, 9}, 12),
		    3);
	vnet_steer_free(steer);
	/* Without reports, what is there is left as it is. */
	steer = steer_make(&rules, 8, STEER_NO_REPORT, flows);
	pkt->hash.rss = 0x12345678;
	assert_int_equal(pick_one(steer, pkt), 6);
	expect_mark(pkt, 0x12345678, 3);
	vnet_steer_free(steer);
	vnet_flows_free(flows);
}

/* Plain frames and others, whole and cut, true and lying. */
static struct rte_mbuf *
any_frame(unsigned int share_of_odd)
{
	struct frame frame;
	uint8_t *ip = frame.bytes;

	shape(rng_below(20) < share_of_odd ? rng_below(N_SHAPES) : rng_below(2), &frame);
	ip += frame.ip;
	ip[12 + rng_below(12)] ^= (uint8_t)(1 + rng_below(3));
	if (rng_below(20) < share_of_odd) {
		static const uint8_t fields[] = {0, 2, 3, 6, 7, 9};

		ip[fields[rng_below(RTE_DIM(fields))]] ^= (uint8_t)(1 << rng_below(8));
	}
	if (rng_below(20) < share_of_odd) {
		static const uint16_t types[] = {0x0800, 0x86dd, 0x8100, 0x88a8, 0x0806, 0x0008, 0xdd86};
		rte_be16_t type = rte_cpu_to_be_16(types[rng_below(RTE_DIM(types))]);

		memcpy(frame.bytes + 12, &type, sizeof(type));
	}
	if (rng_below(20) < share_of_odd)
		frame.len = 14 + rng_below(frame.len - 13);
	else if (rng_below(20) >= share_of_odd)
		put_zeros(&frame, 18); /* padding, which the shortest frames of Ethernet have */
	return pkt_new(frame.bytes, frame.len,
		       rng_below(20) < share_of_odd ? 14 + rng_below(frame.len - 13) : frame.len, 20);
}

/* The digest of each frame by itself is the measure. */
static void
test_digests_of_bursts(void **state)
{
	const flow_groups_fn ways[] = {NULL, flows_variant_of(isa_limit(ISA_AVX2))->groups,
				       flows_variant_of(isa_limit(ISA_N - 1))->groups};
	unsigned int n_grouped[RTE_DIM(ways)] = {0};

	for (unsigned int round = 0; round < 20000; round++) {
		struct rte_mbuf *pkts[PORT_BURST];
		uint16_t n = (uint16_t)(rng_below(2) ? PORT_BURST : 1 + rng_below(PORT_BURST));
		unsigned int share_of_odd = rng_below(2) * rng_below(20);

		segments_reset();
		for (uint16_t i = 0; i < n; i++)
			pkts[i] = any_frame(share_of_odd);
		for (unsigned int way = 0; way < RTE_DIM(ways); way++) {
			uint32_t digests[PORT_BURST + 1], known;

			digests[n] = 0xeeeeeeee;
			known = flow_digests(ways[way], pkts, n, digests);
			assert_int_equal((uint64_t)known >> n, 0);
			for (uint16_t i = 0; i < n; i++) {
				uint32_t digest = 0;

				assert_int_equal(known >> i & 1, flow_digest(pkts[i], &digest));
				assert_int_equal(digests[i], digest);
			}
			assert_int_equal(digests[n], 0xeeeeeeee);
			if (ways[way])
				n_grouped[way] +=
					(unsigned int)__builtin_popcount(ways[way](pkts, n, digests, &known));
		}
	}
	/* The short cut is one: most plain frames take it. */
	for (unsigned int way = 0; way < RTE_DIM(ways); way++)
		if (ways[way])
			assert_true(n_grouped[way] > 200000);
}

/*
 * What a burst from `pair` did to the table: the place of each flow has it, or another one of the burst that
 * belongs there; no other place has changed.
 */
static void
expect_learnt(const struct vnet_flows *flows, uint32_t before[FLOWS_SIZE], uint16_t pair,
	      struct rte_mbuf *const *pkts, uint16_t n)
{
	static bool is_place[FLOWS_SIZE];

	memset(is_place, 0, sizeof(is_place));
	for (uint16_t i = 0; i < n; i++) {
		uint32_t digest, place, other, entry;
		bool is_of_burst = false;

		if (!flow_digest(pkts[i], &digest))
			continue;
		place = digest % FLOWS_SIZE;
		entry = flows->entries[place];
		is_place[place] = true;
		for (uint16_t k = 0; k < n; k++)
			is_of_burst |= flow_digest(pkts[k], &other) && other % FLOWS_SIZE == place &&
				       entry == ((other & ~(FLOWS_SIZE - 1u)) | (pair + 1u));
		assert_true(is_of_burst);
	}
	for (unsigned int place = 0; place < FLOWS_SIZE; place++) {
		assert_true(is_place[place] || flows->entries[place] == before[place]);
		before[place] = flows->entries[place];
	}
}

/* Where the frame has to go, by the table. */
static uint16_t
expected_pair(const uint32_t entries[FLOWS_SIZE], const struct rte_mbuf *pkt, bool *ret_found)
{
	uint16_t n_from = from_port.n_active, n_to = to_port.n_active;
	uint32_t digest, entry;

	*ret_found = false;
	if (!flow_digest(pkt, &digest))
		return from.idx % n_to;
	entry = entries[digest % FLOWS_SIZE];
	*ret_found = entry / FLOWS_SIZE == digest / FLOWS_SIZE && entry % FLOWS_SIZE != 0 &&
		     entry % FLOWS_SIZE - 1 < n_to;
	if (*ret_found)
		return (uint16_t)(entry % FLOWS_SIZE - 1);
	return (uint16_t)(n_from < n_to ? (uint64_t)digest * n_to >> 32 : from.idx % n_to);
}

static void
learn_and_pick(const struct flows_variant *variant)
{
	struct vnet_steer_rules rules = {0};
	struct vnet_flows *flows = vnet_flows_new();
	struct port_steer *steer = steer_make(&rules, 8, STEER_NO_REPORT, flows);
	static uint32_t entries[FLOWS_SIZE];
	unsigned int n_found = 0;

	flows->variant = variant;
	memset(entries, 0, sizeof(entries));
	for (unsigned int round = 0; round < 10000; round++) {
		uint16_t n = (uint16_t)(rng_below(2) ? PORT_BURST : 1 + rng_below(PORT_BURST)),
			 pairs[PORT_BURST + 1];
		uint16_t n_from = (uint16_t)(1 + rng_below(8)), learnt = (uint16_t)rng_below(8);
		unsigned int share_of_odd = rng_below(2) * rng_below(20);
		struct rte_mbuf *pkts[PORT_BURST];

		ports_make(n_from, (uint16_t)(1 + rng_below(8)));
		from.idx = (uint16_t)rng_below(n_from);
		segments_reset();
		for (uint16_t i = 0; i < n; i++) {
			bool odd = rng_below(20) < share_of_odd;

			pkts[i] = rng_below(4)
					  ? flow_new(odd ? rng_below(400) : 10 * rng_below(40), rng_below(2))
				  : odd ? arp_new()
					: any_frame(share_of_odd);
		}
		if (round % 3 == 0) {
			vnet_flows_learn(flows, learnt, pkts, n);
			expect_learnt(flows, entries, learnt, pkts, n);
			continue;
		}
		pairs[n] = 0xeeee;
		steer->pick(steer, &to_port, &from, pkts, n, pairs);
		assert_int_equal(pairs[n], 0xeeee);
		for (uint16_t i = 0; i < n; i++) {
			bool is_found;

			assert_int_equal(pairs[i], expected_pair(entries, pkts[i], &is_found));
			n_found += is_found;
		}
	}
	assert_true(n_found > 25000);
	vnet_steer_free(steer);
	vnet_flows_free(flows);
}

/* Bursts learnt and picked, each frame as if it came alone. */
static void
test_c117_bursts(void **state)
{
	const enum isa most = isa_select();

	for (unsigned int isa = ISA_PORTABLE; isa <= most; isa++)
		if (isa == ISA_PORTABLE ||
		    flows_variant_of((enum isa)isa) != flows_variant_of((enum isa)(isa - 1)))
			learn_and_pick(flows_variant_of((enum isa)isa));
}

/*
 * What the sender has computed is what counts at the receiver: frames whose addresses are others since then
 * go where their digests say, until nobody says any more that they have some. With a hash report, too, which
 * is written where the digest is.
 */
static void
test_digests_are_computed_once(void **state)
{
	static const enum steer_report reports[] = {STEER_NO_REPORT, STEER_REPORT, STEER_REPORT};
	struct vnet_flows *flows = vnet_flows_new();

	for (size_t k = 0; k < RTE_DIM(reports); k++) {
		struct vnet_steer_rules rules = {
			.hash = {.types = k == 2 ? HASH_TYPES_ALL : 0, .key_len = HASH_KEY_LEN}};
		struct port_steer *steer = steer_make(&rules, 8, reports[k], flows);
		struct rte_mbuf *pkts[PORT_BURST], *arp;
		uint16_t pairs[PORT_BURST];

		ports_make(8, 8);
		from.idx = 0;
		segments_reset();
		for (uint16_t i = 0; i < PORT_BURST; i++)
			pkts[i] = flow_new(30 * i, false); /* IPv4, no tag */
		assert_true(vnet_flows_learn_and_keep(flows, 5, pkts, PORT_BURST));
		/* Other flows now. */
		for (uint16_t i = 0; i < PORT_BURST; i++)
			rte_pktmbuf_mtod(pkts[i], uint8_t *)[14 + 12] ^= 0x41;
		for (int round = 0; round < 2; round++) {
			from.has_digests = round == 0;
			steer->pick(steer, &to_port, &from, pkts, PORT_BURST, pairs);
			for (uint16_t i = 0; i < PORT_BURST; i++)
				assert_int_equal(pairs[i], round == 0 ? 5 : 0);
		}
		/* One that has none is enough. */
		arp = arp_new();
		assert_false(vnet_flows_learn_and_keep(flows, 5, &arp, 1));
		vnet_steer_free(steer);
		vnet_flows_forget(flows);
	}
	vnet_flows_free(flows);
}

/* --- borrowed frames --- */

/*
 * The frame as vnet_rx() borrows it: the head is here, of the rest only the room; the tail ends where the
 * sender's memory ends, and the head is not looked at there.
 */
static struct rte_mbuf *
borrowed_new(const struct frame *frame)
{
	struct rte_mbuf *pkt = segment_new(frame->bytes, frame->len);
	struct rte_mbuf *sender = segment_new(frame->bytes, frame->len);

	assert_true(frame->len >= BORROW_MIN);
	memset((uint8_t *)pkt->buf_addr + BORROW_HEAD, 0xa5, frame->len - BORROW_HEAD);
	memset(sender->buf_addr, 0xc3, BORROW_HEAD);
	borrow_start(pkt, sender->buf_addr);
	return pkt;
}

/* Long enough to be borrowed, with more behind the IP packet that looks like headers. */
static void
put_padding(struct frame *frame)
{
	while (frame->len < BORROW_MIN + rng_below(50))
		put16(frame, (uint16_t)rng_below(1 << 16));
}

/* Hash, pair and digest are those of a frame that is not borrowed; what comes of it afterwards is whole. */
static void
expect_like_not_borrowed(const struct frame *frame, uint32_t types)
{
	struct outcome outcome = model(frame->bytes, frame->len, types);
	uint32_t want = outcome.report ? toeplitz(key, outcome.tuple, outcome.len) : 0;
	struct rte_mbuf *pkts[PORT_BURST], *whole;
	uint32_t values[PORT_BURST], digests[2] = {0};
	uint8_t reports[PORT_BURST];
	bool known[2];

	for (unsigned int isa = 0; isa < n_isas; isa++) {
		segments_reset();
		for (uint16_t i = 0; i < 9; i++)
			pkts[i] = borrowed_new(frame);
		hash_burst(hashes[isa][types], pkts, 9, HASH_NOT_KNOWN, values, reports);
		for (uint16_t i = 0; i < 9; i++) {
			assert_int_equal(reports[i], outcome.report);
			assert_int_equal(values[i], want);
			borrow_materialise(pkts[i]);
			assert_memory_equal(pkts[i]->buf_addr, frame->bytes, frame->len);
		}
	}
	segments_reset();
	whole = pkt_new(frame->bytes, frame->len, frame->len, 0);
	known[0] = flow_digest(whole, &digests[0]);
	known[1] = flow_digest(borrowed_new(frame), &digests[1]);
	assert_int_equal(known[0], known[1]);
	assert_int_equal(digests[0], digests[1]);
}

/* Extension headers up to and across the end of the head, and ports on either side of it. */
static void
test_borrowed_ports_behind_the_head(void **state)
{
	unsigned int n_behind = 0;

	for (unsigned int n_tags = 0; n_tags <= 2; n_tags++) {
		for (unsigned int units = 0; units < 24; units++) {
			for (unsigned int n = 1; n <= FLOW_EXTENSIONS_MAX + 1; n += 3) {
				struct frame frame;

				put_v6(&frame, n_tags, a6, b6);
				for (unsigned int i = 0; i < n; i++)
					put_extension(&frame, i % 2 ? 51 : 0, i ? 1 : units);
				n_behind += frame.len >= BORROW_HEAD;
				put_l4(&frame, units % 2 ? TCP : UDP, SPORT, DPORT);
				put_padding(&frame);
				expect_like_not_borrowed(&frame, HASH_TYPES_ALL);
				expect_like_not_borrowed(&frame, V6 | TCP6 | UDP6);
			}
		}
	}
	assert_true(n_behind > 50);
}

/* The home address and the type 2 routing header, before, across and behind the end of the head: byte by
 * byte.
 */
static void
test_borrowed_addresses_across_the_head(void **state)
{
	for (unsigned int pad = 2; pad < 120; pad++) {
		struct frame frame;
		uint32_t at;

		put_v6(&frame, 0, a6, b6);
		at = put_extension(&frame, 60, 17);
		frame.bytes[at + 2] = 1;
		frame.bytes[at + 3] = (uint8_t)(pad - 2);
		frame.bytes[at + 2 + pad] = 0xc9;
		frame.bytes[at + 3 + pad] = 16;
		memcpy(frame.bytes + at + 4 + pad, home, 16);
		put_routing_type_2(&frame, routed);
		put_l4(&frame, pad % 2 ? TCP : UDP, SPORT, DPORT);
		put_padding(&frame);
		expect_like_not_borrowed(&frame, HASH_TYPES_ALL);
		expect_like_not_borrowed(&frame, EX);

		put_v6(&frame, pad % 3, a6, b6);
		put_extension(&frame, 0, pad % 16);
		put_routing_type_2(&frame, routed);
		put_l4(&frame, pad % 2 ? TCP : UDP, SPORT, DPORT);
		put_padding(&frame);
		expect_like_not_borrowed(&frame, HASH_TYPES_ALL);
		expect_like_not_borrowed(&frame, EX);
	}
}

/* All shapes, with lies in their headers. */
static void
test_borrowed_lies(void **state)
{
	for (unsigned int round = 0; round < 20000; round++) {
		struct frame frame;
		uint32_t n = rng_below(4);

		shape(rng_below(N_SHAPES), &frame);
		for (; n; n--)
			frame.bytes[12 + rng_below(frame.len - 12)] =
				(uint8_t)(rng_below(2) ? rng_byte() : rng_below(20));
		put_padding(&frame);
		expect_like_not_borrowed(&frame, rng_below(2) ? HASH_TYPES_ALL : rng_below(512));
	}
}

/* What is plain stays borrowed; the steering of borrowed frames is that of others, by RSS and by flows. */
static void
test_borrowed_steering(void **state)
{
	struct vnet_steer_rules rss = rss_rules(HASH_TYPES_ALL), rules = {0};
	struct vnet_flows *flows = vnet_flows_new();
	struct port_steer *by_rss = steer_make(&rss, 8, STEER_REPORT, NULL);
	struct port_steer *by_flows = steer_make(&rules, 8, STEER_NO_REPORT, flows);

	ports_make(8, 8);
	for (unsigned int i = 0; i < 400; i++) {
		struct rte_mbuf *whole, *borrowed;
		struct frame frame;
		bool plain = i % 4;

		segments_reset();
		put_v6(&frame, 0, a6, b6);
		if (!plain)
			put_extension(&frame, 60, i % 24);
		put_l4(&frame, i % 3 ? TCP : UDP, (uint16_t)i, DPORT);
		put_padding(&frame);
		whole = pkt_new(frame.bytes, frame.len, frame.len, 0);
		borrowed = borrowed_new(&frame);
		assert_int_equal(pick_one(by_rss, borrowed), pick_one(by_rss, whole));
		expect_mark(borrowed, whole->hash.rss, (uint8_t)whole->hash.fdir.hi);
		assert_true(borrow_is(borrowed) || !plain);
		/* Learnt from a borrowed one, found by one that is not, and the other way round. */
		borrowed = borrowed_new(&frame);
		vnet_flows_learn(flows, (uint16_t)(i % 8), i % 2 ? &borrowed : &whole, 1);
		assert_true(borrow_is(borrowed) || !plain);
		borrowed = borrowed_new(&frame);
		from.idx = (uint16_t)((i + 3) % 8);
		assert_int_equal(pick_one(by_flows, i % 2 ? whole : borrowed), i % 8);
	}
	vnet_steer_free(by_rss);
	vnet_steer_free(by_flows);
	vnet_flows_free(flows);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_c97_c119_vectors),
		cmocka_unit_test(test_c97_types_of_ipv4),
		cmocka_unit_test(test_c97_types_of_ipv6),
		cmocka_unit_test(test_c97_types_of_extended),
		cmocka_unit_test(test_fragments_have_no_ports),
		cmocka_unit_test(test_n02_cut_at_every_byte),
		cmocka_unit_test(test_n02_n15_lies),
		cmocka_unit_test(test_n02_n15_ihl_and_total_length),
		cmocka_unit_test(test_home_address_among_options),
		cmocka_unit_test(test_variants_agree_for_every_key),
		cmocka_unit_test(test_variants_agree_for_mixed_bursts),
		cmocka_unit_test(test_c115_one_pair_needs_no_steering),
		cmocka_unit_test(test_c116_pairs_above_get_nothing),
		cmocka_unit_test(test_c117_flows_come_back),
		cmocka_unit_test(test_c117_collisions),
		cmocka_unit_test(test_c117_bursts),
		cmocka_unit_test(test_digests_are_computed_once),
		cmocka_unit_test(test_digests_of_bursts),
		cmocka_unit_test(test_unknown_flows),
		cmocka_unit_test(test_c119_unclassified_queue),
		cmocka_unit_test(test_c120_target_is_kept),
		cmocka_unit_test(test_c121_tables),
		cmocka_unit_test(test_nic_hash_is_used),
		cmocka_unit_test(test_nic_hash_in_bursts),
		cmocka_unit_test(test_hash_report_with_flows),
		cmocka_unit_test(test_borrowed_ports_behind_the_head),
		cmocka_unit_test(test_borrowed_addresses_across_the_head),
		cmocka_unit_test(test_borrowed_lies),
		cmocka_unit_test(test_borrowed_steering),
	};

	return UNIT_RUN_WITH(tests, hashes_open, hashes_close);
}
