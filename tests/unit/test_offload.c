/* SPDX-License-Identifier: BSD-3-Clause */
/* test_offload: the list of offloads, and the header of virtio-net: what a guest requests in it, believed or
 * not, as a request in an mbuf, and the way back. */
#include "requests.h"

#include <errno.h>
#include <string.h>

#include "borrow.h"
#include "diag.h"
#include "offload.h"
#include "rng.h"
#include "segment.h"

/* --- the list of offloads, whichever rows there are --- */

static const struct row {
	const char *name;
	uint64_t host, guest, request, ip;
	uint32_t needs;
	uint8_t gso;
} list[OFFLOAD_N] = {
#define OFFLOAD(symbol, name, host, guest, needs, gso, request, ip) \
	{name, FEATURE_MASK(host), FEATURE_MASK(guest), request, ip, needs, VIRTIO_NET_HDR_GSO_##gso},
#include "offloads.def"
#undef OFFLOAD
};

/* The set, and all that it needs. */
static uint32_t
with_needs(uint32_t set)
{
	for (uint32_t before = 0; before != set;) {
		before = set;
		for (unsigned int i = 0; i < OFFLOAD_N; i++)
			if (set >> i & 1 && list[i].needs && !(set & list[i].needs))
				set |= 1u << __builtin_ctz(list[i].needs);
	}
	return set;
}

static void
test_every_offload_is_offered_and_named(void **state)
{
	uint64_t host = 0, guest = 0;

	for (unsigned int i = 0; i < OFFLOAD_N; i++) {
		assert_true(list[i].name[0]);
		assert_non_null(vdev_feature_name(list[i].host));
		assert_non_null(vdev_feature_name(list[i].guest));
		assert_true(list[i].request & FRAME_REQUESTS);
		assert_false(list[i].needs & (1u << i));
		assert_false(list[i].needs & ~OFFLOADS_ALL);
		assert_true(vnet_offloads_host(list[i].host) >> i & 1);
		assert_int_equal(vnet_offloads_guest(list[i].guest), 1u << i);
		assert_int_equal(vnet_offloads_guest(list[i].host), OFFLOADS_NONE);
		host |= list[i].host;
		guest |= list[i].guest;
		for (unsigned int k = 0; k < i; k++)
			assert_string_not_equal(list[i].name, list[k].name);
	}
	assert_int_equal(host, VNET_HOST_OFFLOADS);
	assert_int_equal(guest, VNET_GUEST_OFFLOADS);
	assert_int_equal(host & guest, 0);
}

/* VIRTIO, "Feature bit requirements", as it says it. */
static bool
oracle_accepts(bool csum, bool tso4, bool tso6, bool ecn, bool ufo)
{
	return (!tso4 || csum) && (!tso6 || csum) && (!ecn || tso4 || tso6) && (!ufo || csum);
}

static void
test_accepted_features_have_what_they_need(void **state)
{
	static const uint64_t sides[2][5] = {
		{FEATURE_MASK(NET_CSUM), FEATURE_MASK(NET_HOST_TSO4), FEATURE_MASK(NET_HOST_TSO6),
		 FEATURE_MASK(NET_HOST_ECN), FEATURE_MASK(NET_HOST_UFO)},
		{FEATURE_MASK(NET_GUEST_CSUM), FEATURE_MASK(NET_GUEST_TSO4), FEATURE_MASK(NET_GUEST_TSO6),
		 FEATURE_MASK(NET_GUEST_ECN), FEATURE_MASK(NET_GUEST_UFO)},
	};
	struct diag diag;

	for (unsigned int bits = 0; bits < 1024; bits++) {
		bool host = oracle_accepts(bits & 1, bits & 2, bits & 4, bits & 8, bits & 16);
		bool guest = oracle_accepts(bits & 32, bits & 64, bits & 128, bits & 256, bits & 512);
		uint64_t features = 0;

		for (unsigned int i = 0; i < 10; i++)
			features |= bits >> i & 1 ? sides[i / 5][i % 5] : 0;
		assert_int_equal(vnet_offloads_check(features, &diag) == 0, host && guest);
	}
	assert_int_equal(vnet_offloads_check(FEATURE_MASK(NET_GUEST_ECN), &diag), -EINVAL);
	assert_string_equal(diag.cause, "features: guest_ecn needs guest_tso4 or guest_tso6");
	assert_int_equal(vnet_offloads_check(FEATURE_MASK(NET_HOST_TSO6), &diag), -EINVAL);
	assert_string_equal(diag.cause, "features: host_tso6 needs csum");
	assert_int_equal(vnet_offloads_check(FEATURE_MASK(NET_GUEST_UFO), &diag), -EINVAL);
	assert_string_equal(diag.cause, "features: guest_ufo needs guest_csum");
	/* RSC_EXT needs what the driver may send, whatever it takes. */
	for (unsigned int bits = 0; bits < 16; bits++) {
		const uint64_t host = (bits & 1 ? sides[0][1] : 0) | (bits & 2 ? sides[0][2] : 0),
			       guest = (bits & 4 ? sides[1][1] : 0) | (bits & 8 ? sides[1][2] : 0),
			       rsc = FEATURE_MASK(NET_RSC_EXT),
			       all = host | guest | sides[0][0] | sides[1][0];

		assert_int_equal(vnet_offloads_unmet(all | rsc), host ? 0 : rsc);
		assert_int_equal(vnet_offloads_check(all | rsc, &diag), host ? 0 : -EINVAL);
		if (!host)
			assert_string_equal(diag.cause, "features: rsc_ext needs host_tso4 or host_tso6");
	}
	/* Each row's needs are enough. */
	for (unsigned int i = 0; i < OFFLOAD_N; i++)
		assert_int_equal(offloads_unmet(with_needs(1u << i)), OFFLOADS_NONE);
}

static struct rte_mbuf *
requested(const struct packet *frame, uint8_t gso_type, uint16_t gso_size, enum mbufs_cuts cuts)
{
	struct rte_mbuf *pkt = mbufs_make(requests_pool, frame->bytes, frame->len, cuts);
	struct virtio_net_hdr hdr = requests_hdr(frame, gso_type, gso_size);

	assert_int_equal(vnet_offload_from_guest(pkt, &hdr, OFFLOADS_ALL), VNET_OFFLOAD_TAKEN);
	assert_true(requests_any(pkt));
	return pkt;
}

static void
segmentation_check(unsigned int i, bool v6)
{
	const bool is_udp = frame_segments_checksum(list[i].request) == RTE_MBUF_F_TX_UDP_CKSUM;
	/* Of the IP payload: UDP's header is cut, too. */
	const uint32_t cut = segment_kind(list[i].request) == SEGMENT_FRAGMENTS ? 3000 - 8 : 3000;
	const struct packet_spec spec = {.v6 = v6, .proto = is_udp ? PACKET_UDP : PACKET_TCP, .payload = cut};
	const uint32_t set = with_needs(1u << i);
	const struct packet *frame = requests_packet(&spec, PACKET_SUM_PSEUDO);
	struct virtio_net_hdr hdr = requests_hdr(frame, list[i].gso, 1000);
	struct rte_mbuf *pkt = mbufs_make(requests_pool, frame->bytes, frame->len, MBUFS_WHOLE);

	assert_int_equal(vnet_offload_from_guest(pkt, &hdr, set & ~(1u << i)), VNET_OFFLOAD_REFUSED);
	/* Nor with all others. */
	assert_int_equal(vnet_offload_from_guest(pkt, &hdr, OFFLOADS_ALL & ~(1u << i)), VNET_OFFLOAD_REFUSED);
	assert_int_equal(vnet_offload_from_guest(pkt, &hdr, set), VNET_OFFLOAD_TAKEN);
	assert_int_equal(frame_offloads(pkt), set);
	assert_int_equal(vnet_offload_to_guest(pkt).gso_type, list[i].gso);
	assert_int_equal(vnet_offload_to_guest(pkt).gso_size, 1000);
	assert_int_equal(vnet_offload_to_guest(pkt).hdr_len, frame->payload);
	assert_false(pkt->ol_flags & offloads_unsupported(OFFLOADS_ALL));
	assert_true(pkt->ol_flags & offloads_unsupported(OFFLOADS_ALL & ~(1u << i)));
	assert_int_equal(requests_complete(set, &pkt, 1), 1);
	assert_int_equal(frame_offloads(requests_sink.pkts[0]), set);
	requests_sink_clear();
	pkt = requested(frame, list[i].gso, 1000, MBUFS_WHOLE);
	assert_int_equal(requests_complete(OFFLOADS_ALL & ~(1u << i), &pkt, 1), 3);
	requests_sink_clear();
}

/* Requested, known as that, told the guest as it was asked, and done in software for whoever lacks it. */
static void
test_every_segmentation_goes_its_way(void **state)
{
	/* Kinds of segmentation have an IP of their own, or both. */
	for (unsigned int i = 0; i < OFFLOAD_N; i++)
		for (int v6 = 0; v6 < 2; v6++)
			if (list[i].ip & (v6 ? RTE_MBUF_F_TX_IPV6 : RTE_MBUF_F_TX_IPV4))
				segmentation_check(i, v6);
	assert_int_equal(rte_mempool_in_use_count(requests_pool), 0);
}

/* --- from the guest --- */

/* What was made of a header is what requests_make() makes without one. */
static void
assert_same_request(const struct rte_mbuf *pkt, struct rte_mbuf *other)
{
	assert_int_equal(pkt->ol_flags, other->ol_flags);
	assert_int_equal(pkt->tx_offload, other->tx_offload);
	rte_pktmbuf_free(other);
}

/* A plain request travels; the frame is not touched. */
static void
test_request_of_every_shape(void **state)
{
	for (size_t i = 0; i < REQUESTS_SPECS; i++)
		for (enum mbufs_cuts cuts = MBUFS_WHOLE; cuts <= MBUFS_MANY_CUTS; cuts++) {
			const struct packet *frame = requests_packet(&requests_specs[i], PACKET_SUM_PSEUDO);
			struct virtio_net_hdr hdr = requests_hdr(frame, G_NONE, 0);
			struct rte_mbuf *pkt = mbufs_make(requests_pool, frame->bytes, frame->len, cuts);
			uint64_t ip = frame->v6 ? RTE_MBUF_F_TX_IPV6 : RTE_MBUF_F_TX_IPV4;

			assert_int_equal(vnet_offload_from_guest(pkt, &hdr, OFFLOADS_ALL),
					 VNET_OFFLOAD_TAKEN);
			assert_int_equal(pkt->ol_flags,
					 ip | (frame->proto == PACKET_TCP ? RTE_MBUF_F_TX_TCP_CKSUM
									  : RTE_MBUF_F_TX_UDP_CKSUM));
			assert_int_equal(pkt->l2_len, frame->l3);
			assert_int_equal(pkt->l3_len, frame->l4 - frame->l3);
			assert_same_request(pkt, requests_make(frame, 0, MBUFS_WHOLE));
			assert_true(mbufs_equal(pkt, frame->bytes, frame->len));
			rte_pktmbuf_free(pkt);

			hdr = requests_hdr(frame,
					   frame->proto == PACKET_UDP ? G_USO
					   : frame->v6                ? G_V6
								      : G_V4,
					   700);
			pkt = mbufs_make(requests_pool, frame->bytes, frame->len, cuts);
			assert_int_equal(vnet_offload_from_guest(pkt, &hdr, OFFLOADS_ALL),
					 VNET_OFFLOAD_TAKEN);
			/* What is one segment is no longer asked for. */
			assert_int_equal(
				!!(pkt->ol_flags & (frame->proto == PACKET_UDP ? RTE_MBUF_F_TX_UDP_SEG
									       : RTE_MBUF_F_TX_TCP_SEG)),
				requests_specs[i].payload > 700);
			if (requests_specs[i].payload > 700) {
				assert_int_equal(pkt->tso_segsz, 700);
				assert_int_equal(pkt->l4_len, frame->payload - frame->l4);
			}
			assert_same_request(pkt, requests_make(frame, 700, MBUFS_WHOLE));
			assert_true(mbufs_equal(pkt, frame->bytes, frame->len));
			rte_pktmbuf_free(pkt);
			if (frame->proto != PACKET_UDP)
				continue;
			hdr.gso_type = G_UDP;
			pkt = mbufs_make(requests_pool, frame->bytes, frame->len, cuts);
			assert_int_equal(vnet_offload_from_guest(pkt, &hdr, OFFLOADS_ALL),
					 VNET_OFFLOAD_TAKEN);
			assert_int_equal(!!(pkt->ol_flags & FRAME_UFO), requests_cut_len(frame) > 700);
			assert_false(pkt->ol_flags & RTE_MBUF_F_TX_UDP_SEG);
			assert_same_request(pkt, requests_make_fragments(frame, 700, MBUFS_WHOLE));
			assert_true(mbufs_equal(pkt, frame->bytes, frame->len));
			rte_pktmbuf_free(pkt);
		}
	assert_int_equal(rte_mempool_in_use_count(requests_pool), 0);
}

/* C66: flags that mean nothing, and C67, C69: without NEEDS_CSUM the other fields are nothing to us. */
static void
test_c66_c67_c69_what_is_not_asked_is_not_read(void **state)
{
	struct virtio_net_hdr hdr = {
		.flags = 0xfe, .csum_start = 65535, .csum_offset = 65535, .hdr_len = 9999};

	assert_false(vnet_offload_requested(&hdr));
	hdr.flags = 0xff;
	assert_true(vnet_offload_requested(&hdr));
	hdr.flags = 0;
	hdr.gso_type = 0x40;
	assert_true(vnet_offload_requested(&hdr));

	for (int i = 0; i < 128; i++) {
		const struct packet *frame = requests_packet(&requests_specs[0], PACKET_SUM_PSEUDO);
		struct rte_mbuf *pkt = mbufs_make(requests_pool, frame->bytes, frame->len, MBUFS_WHOLE);

		hdr = requests_hdr(frame, G_NONE, 0);
		hdr.flags = (uint8_t)(i << 1 | F_CSUM);
		assert_int_equal(vnet_offload_from_guest(pkt, &hdr, OFFLOADS_ALL), VNET_OFFLOAD_TAKEN);
		assert_int_equal(pkt->ol_flags, RTE_MBUF_F_TX_IPV4 | RTE_MBUF_F_TX_TCP_CKSUM);
		rte_pktmbuf_free(pkt);
	}
}

/* C68: hdr_len is a hint, whatever it is. */
static void
test_c68_hdr_len_is_not_believed(void **state)
{
	const uint16_t lens[] = {0, 1, 53, 55, 54, 1000, 65535};

	for (size_t i = 0; i < RTE_DIM(lens); i++) {
		const struct packet *frame = requests_packet(&requests_specs[3], PACKET_SUM_PSEUDO);
		struct virtio_net_hdr hdr = requests_hdr(frame, G_V4, 1000);
		struct rte_mbuf *pkt = mbufs_make(requests_pool, frame->bytes, frame->len, MBUFS_FEW_CUTS);

		hdr.hdr_len = lens[i];
		assert_int_equal(vnet_offload_from_guest(pkt, &hdr, OFFLOADS_ALL), VNET_OFFLOAD_TAKEN);
		assert_int_equal(vnet_offload_to_guest(pkt).hdr_len, frame->payload);
		assert_int_equal(requests_complete(OFFLOADS_NONE, &pkt, 1), 6);
		requests_check_segments(frame, requests_sink.pkts, requests_sink.n, 1000);
		requests_sink_clear();
	}
}

enum outcome { DROPPED, REQUESTED, SUMMED };

static void
outcome_check(const struct packet *frame, const struct virtio_net_hdr *hdr, uint32_t offloads,
	      enum outcome want)
{
	static struct packet after;
	struct rte_mbuf *pkt = mbufs_make(requests_pool, frame->bytes, frame->len, MBUFS_WHOLE);
	bool kept = vnet_offload_from_guest(pkt, hdr, offloads) == VNET_OFFLOAD_TAKEN;

	assert_int_equal(kept ? requests_any(pkt) ? REQUESTED : SUMMED : DROPPED, want);
	if (want == SUMMED) {
		uint32_t sum =
			packet_sum_add(0, frame->bytes + hdr->csum_start, frame->len - hdr->csum_start);

		after = *frame;
		sum = ~sum & 0xffff;
		packet_put16(after.bytes + hdr->csum_start + hdr->csum_offset,
			     sum == 0 && hdr->csum_offset == PACKET_UDP_SUM ? 0xffff : sum);
		assert_true(mbufs_equal(pkt, after.bytes, after.len));
	}
	rte_pktmbuf_free(pkt);
}

/* Datagrams to DHCP clients get theirs at once. */
static void
test_dhcp_clients_get_whole_checksums(void **state)
{
	static const struct {
		bool v6;
		uint8_t proto;
		uint16_t port;
		bool whole;
	} rows[] = {
		{false, PACKET_UDP, 68, true},  {true, PACKET_UDP, 546, true},
		{false, PACKET_UDP, 67, false}, {true, PACKET_UDP, 547, false},
		{false, PACKET_TCP, 68, false}, {true, PACKET_TCP, 546, false},
	};

	for (size_t i = 0; i < RTE_DIM(rows); i++)
		for (enum mbufs_cuts cuts = MBUFS_WHOLE; cuts <= MBUFS_MANY_CUTS; cuts++) {
			const struct packet_spec spec = {
				.v6 = rows[i].v6, .proto = rows[i].proto, .tags = 1, .payload = 301};
			static struct packet packet;
			struct virtio_net_hdr hdr;
			struct rte_mbuf *pkt;

			packet_build(&packet, &spec, PACKET_SUM_NONE);
			packet_put16(packet.bytes + packet.l4 + 2, rows[i].port);
			packet_finish(&packet, PACKET_SUM_PSEUDO);
			pkt = mbufs_make(requests_pool, packet.bytes, packet.len, cuts);
			hdr = requests_hdr(&packet, G_NONE, 0);
			assert_int_equal(vnet_offload_from_guest(pkt, &hdr, OFFLOADS_ALL),
					 VNET_OFFLOAD_TAKEN);
			assert_int_equal(!requests_any(pkt), rows[i].whole);
			mbufs_read(pkt, &packet);
			assert_int_equal(packet_is_whole(&packet), rows[i].whole);
			rte_pktmbuf_free(pkt);
		}
	assert_int_equal(rte_mempool_in_use_count(requests_pool), 0);
}

/* N01, N03, N04: each header against one good frame. */
static void
test_contradictions(void **state)
{
	const struct packet_spec v4 = {.proto = PACKET_TCP, .payload = 3000, .tcp_flags = PACKET_TCP_ACK};
	const struct packet_spec v6 = {
		.v6 = true, .proto = PACKET_TCP, .payload = 3000, .tcp_flags = PACKET_TCP_ACK};
	const struct packet_spec udp = {.proto = PACKET_UDP, .payload = 3000};
	const struct packet_spec udp6 = {.v6 = true, .proto = PACKET_UDP, .payload = 3000};
	const struct packet_spec options6 = {
		.v6 = true, .proto = PACKET_UDP, .payload = 3000, .ip_options = 64};
	const struct packet_spec sctp = {.proto = PACKET_SCTP, .payload = 3000};
	/* l4 at 34 (v4) and 54 (v6); lengths 3054 and 3074 */
	const struct {
		const struct packet_spec *spec;
		struct virtio_net_hdr hdr;
		uint32_t offloads;
		enum outcome want;
	} rows[] = {
		/* flags, gso_type, hdr_len, gso_size, csum_start, csum_offset */
		{&v4, {F_CSUM, G_NONE, 0, 0, 34, 16}, OFFLOADS_ALL, REQUESTED},
		{&v4, {F_CSUM, G_NONE, 0, 0, 34, 16}, CSUM, REQUESTED},
		{&v4, {F_CSUM, G_NONE, 0, 0, 34, 16}, 0, DROPPED},
		{&v4, {F_CSUM, G_NONE, 54, 1000, 34, 16}, OFFLOADS_ALL, REQUESTED}, /* gso_size without gso */
		/* a sum of something else: done, not asked */
		{&v4, {F_CSUM, G_NONE, 0, 0, 34, 6}, OFFLOADS_ALL, SUMMED},
		{&v4, {F_CSUM, G_NONE, 0, 0, 35, 16}, OFFLOADS_ALL, SUMMED},
		{&v4, {F_CSUM, G_NONE, 0, 0, 14, 10}, OFFLOADS_ALL, SUMMED},
		{&v4, {F_CSUM, G_NONE, 0, 0, 34, 0}, OFFLOADS_ALL, SUMMED},
		{&v4, {F_CSUM, G_NONE, 0, 0, 3052, 0}, OFFLOADS_ALL, SUMMED},
		{&v4, {F_CSUM, G_NONE, 0, 0, 14, 3038}, OFFLOADS_ALL, SUMMED},
		{&udp, {F_CSUM, G_NONE, 0, 0, 34, 16}, OFFLOADS_ALL, SUMMED},
		{&udp, {F_CSUM, G_NONE, 0, 0, 34, 6}, OFFLOADS_ALL, REQUESTED},
		{&sctp, {F_CSUM, G_NONE, 0, 0, 34, 8}, OFFLOADS_ALL, SUMMED},
		{&v6, {F_CSUM, G_NONE, 0, 0, 54, 16}, OFFLOADS_ALL, REQUESTED},
		{&v6, {F_CSUM, G_NONE, 0, 0, 34, 16}, OFFLOADS_ALL, SUMMED},
		/* a sum outside of the frame, or over the addresses */
		{&v4, {F_CSUM, G_NONE, 0, 0, 3053, 0}, OFFLOADS_ALL, DROPPED},
		{&v4, {F_CSUM, G_NONE, 0, 0, 3054, 0}, OFFLOADS_ALL, DROPPED},
		{&v4, {F_CSUM, G_NONE, 0, 0, 34, 3019}, OFFLOADS_ALL, DROPPED},
		{&v4, {F_CSUM, G_NONE, 0, 0, 34, 65535}, OFFLOADS_ALL, DROPPED},
		{&v4, {F_CSUM, G_NONE, 0, 0, 65535, 16}, OFFLOADS_ALL, DROPPED},
		{&v4, {F_CSUM, G_NONE, 0, 0, 65535, 65535}, OFFLOADS_ALL, DROPPED},
		{&v4, {F_CSUM, G_NONE, 0, 0, 65520, 65520}, OFFLOADS_ALL, DROPPED},
		{&v4, {F_CSUM, G_NONE, 0, 0, 13, 16}, OFFLOADS_ALL, DROPPED},
		{&v4, {F_CSUM, G_NONE, 0, 0, 0, 0}, OFFLOADS_ALL, DROPPED},
		/* segmentation */
		{&v4, {F_CSUM, G_V4, 54, 1000, 34, 16}, OFFLOADS_ALL, REQUESTED},
		{&v4, {F_CSUM, G_V4 | G_ECN, 54, 1000, 34, 16}, OFFLOADS_ALL, REQUESTED},
		{&v4, {F_CSUM, G_V4, 54, 3000, 34, 16}, OFFLOADS_ALL, REQUESTED},
		{&v4, {F_CSUM, G_V4, 54, 65535, 34, 16}, OFFLOADS_ALL, REQUESTED},
		{&v4, {F_CSUM, G_V4, 54, SEGMENT_PAYLOAD_MIN, 34, 16}, OFFLOADS_ALL, REQUESTED},
		{&v4, {F_CSUM, G_V4, 54, SEGMENT_PAYLOAD_MIN - 1, 34, 16}, OFFLOADS_ALL, DROPPED},
		{&v4, {F_CSUM, G_V4, 54, 1, 34, 16}, OFFLOADS_ALL, DROPPED},
		{&v4, {F_CSUM, G_V4, 54, 0, 34, 16}, OFFLOADS_ALL, DROPPED},
		{&v4, {F_NONE, G_V4, 54, 1000, 34, 16}, OFFLOADS_ALL, DROPPED},
		{&v4, {F_VALID, G_V4, 54, 1000, 34, 16}, OFFLOADS_ALL, DROPPED},
		{&v4, {F_CSUM, G_V4, 54, 1000, 35, 16}, OFFLOADS_ALL, DROPPED},
		{&v4, {F_CSUM, G_V4, 54, 1000, 34, 6}, OFFLOADS_ALL, DROPPED},
		{&v4, {F_CSUM, G_V4, 54, 1000, 0, 0}, OFFLOADS_ALL, DROPPED},
		{&v4, {F_CSUM, G_V6, 54, 1000, 34, 16}, OFFLOADS_ALL, DROPPED},
		{&v6, {F_CSUM, G_V4, 54, 1000, 54, 16}, OFFLOADS_ALL, DROPPED},
		{&v6, {F_CSUM, G_V6, 54, 1000, 54, 16}, OFFLOADS_ALL, REQUESTED},
		{&v6, {F_CSUM, G_V6 | G_ECN, 54, 1000, 54, 16}, OFFLOADS_ALL, REQUESTED},
		{&udp, {F_CSUM, G_V4, 42, 1000, 34, 6}, OFFLOADS_ALL, DROPPED},
		{&udp, {F_CSUM, G_V4, 42, 1000, 34, 16}, OFFLOADS_ALL, DROPPED},
		/* datagrams: any length, but no more than a driver makes of one frame */
		{&udp, {F_CSUM, G_USO, 42, 1000, 34, 6}, OFFLOADS_ALL, REQUESTED},
		{&udp, {F_CSUM, G_USO, 42, 24, 34, 6}, OFFLOADS_ALL, REQUESTED},
		{&udp, {F_CSUM, G_USO, 42, 3000, 34, 6}, OFFLOADS_ALL, REQUESTED},
		{&udp, {F_CSUM, G_USO, 42, 23, 34, 6}, OFFLOADS_ALL, DROPPED},
		{&udp, {F_CSUM, G_USO, 42, 0, 34, 6}, OFFLOADS_ALL, DROPPED},
		{&udp, {F_CSUM, G_USO | G_ECN, 42, 1000, 34, 6}, OFFLOADS_ALL, DROPPED},
		{&udp, {F_CSUM, G_USO, 42, 1000, 34, 16}, OFFLOADS_ALL, DROPPED},
		{&udp, {F_NONE, G_USO, 42, 1000, 34, 6}, OFFLOADS_ALL, DROPPED},
		{&v4, {F_CSUM, G_USO, 54, 1000, 34, 16}, OFFLOADS_ALL, DROPPED},
		{&udp, {F_CSUM, G_USO, 42, 1000, 34, 6}, CSUM | TSO4 | USO6, DROPPED},
		{&udp, {F_CSUM, G_USO, 42, 1000, 34, 6}, CSUM | USO4, REQUESTED},
		/* fragments: not too many */
		{&udp, {F_CSUM, G_UDP, 42, 1000, 34, 6}, OFFLOADS_ALL, REQUESTED},
		{&udp, {F_CSUM, G_UDP, 42, 3007, 34, 6}, OFFLOADS_ALL, REQUESTED},
		{&udp, {F_CSUM, G_UDP, 42, 3008, 34, 6}, OFFLOADS_ALL, REQUESTED},
		{&udp, {F_CSUM, G_UDP, 42, 65535, 34, 6}, OFFLOADS_ALL, REQUESTED},
		{&udp, {F_CSUM, G_UDP, 42, SEGMENT_PAYLOAD_MIN, 34, 6}, OFFLOADS_ALL, REQUESTED},
		{&udp, {F_CSUM, G_UDP, 42, SEGMENT_PAYLOAD_MIN - 1, 34, 6}, OFFLOADS_ALL, DROPPED},
		{&udp, {F_CSUM, G_UDP, 42, 7, 34, 6}, OFFLOADS_ALL, DROPPED},
		{&udp, {F_CSUM, G_UDP, 42, 0, 34, 6}, OFFLOADS_ALL, DROPPED},
		{&udp, {F_CSUM, G_UDP | G_ECN, 42, 1000, 34, 6}, OFFLOADS_ALL, DROPPED},
		{&udp, {F_CSUM, G_UDP, 42, 1000, 34, 16}, OFFLOADS_ALL, DROPPED},
		{&udp, {F_CSUM, G_UDP, 42, 1000, 35, 6}, OFFLOADS_ALL, DROPPED},
		{&udp, {F_NONE, G_UDP, 42, 1000, 34, 6}, OFFLOADS_ALL, DROPPED},
		{&udp, {F_VALID, G_UDP, 42, 1000, 34, 6}, OFFLOADS_ALL, DROPPED},
		{&v4, {F_CSUM, G_UDP, 54, 1000, 34, 16}, OFFLOADS_ALL, DROPPED},
		{&v4, {F_CSUM, G_UDP, 54, 1000, 34, 6}, OFFLOADS_ALL, DROPPED},
		{&udp, {F_CSUM, G_UDP, 42, 1000, 34, 6}, OFFLOADS_ALL & ~(uint32_t)UFO, DROPPED},
		{&udp, {F_CSUM, G_UDP, 42, 1000, 34, 6}, CSUM | UFO, REQUESTED},
		{&udp, {F_CSUM, G_USO, 42, 1000, 34, 6}, CSUM | UFO, DROPPED},
		{&udp6, {F_CSUM, G_UDP, 62, 1000, 54, 6}, CSUM | UFO, REQUESTED},
		{&udp6, {F_CSUM, G_UDP, 62, 1000, 54, 6}, CSUM | USO6, DROPPED},
		/* behind destination options of 56 bytes, which the first fragment has to hold */
		{&options6, {F_CSUM, G_UDP, 126, 1000, 118, 6}, CSUM | UFO, REQUESTED},
		{&options6, {F_CSUM, G_UDP, 126, 64, 118, 6}, CSUM | UFO, REQUESTED},
		{&options6, {F_CSUM, G_UDP, 126, 63, 118, 6}, CSUM | UFO, DROPPED},
		/* ECN alone; not known */
		{&v4, {F_CSUM, G_ECN, 54, 1000, 34, 16}, OFFLOADS_ALL, DROPPED},
		/* not negotiated */
		{&v4, {F_CSUM, G_V4, 54, 1000, 34, 16}, CSUM, DROPPED},
		{&v4, {F_CSUM, G_V4, 54, 1000, 34, 16}, CSUM | TSO6, DROPPED},
		{&v4, {F_CSUM, G_V4, 54, 1000, 34, 16}, CSUM | TSO4, REQUESTED},
		{&v4, {F_CSUM, G_V4 | G_ECN, 54, 1000, 34, 16}, CSUM | TSO4, DROPPED},
		{&v6, {F_CSUM, G_V6, 54, 1000, 54, 16}, CSUM | TSO4, DROPPED},
	};

	for (size_t i = 0; i < RTE_DIM(rows); i++)
		outcome_check(requests_packet(rows[i].spec, PACKET_SUM_PSEUDO), &rows[i].hdr,
			      rows[i].offloads, rows[i].want);
	/* N03: all 256 types. */
	for (unsigned int type = 0; type < 256; type++) {
		const struct packet *frame = requests_packet(&v4, PACKET_SUM_PSEUDO);
		struct virtio_net_hdr hdr = requests_hdr(frame, (uint8_t)type, 1000);
		bool fine = type == G_NONE || type == G_V4 || type == (G_V4 | G_ECN);

		outcome_check(frame, &hdr, OFFLOADS_ALL, fine ? REQUESTED : DROPPED);
		frame = requests_packet(&udp, PACKET_SUM_PSEUDO);
		hdr = requests_hdr(frame, (uint8_t)type, 1000);
		fine = type == G_NONE || type == G_UDP || type == G_USO;
		outcome_check(frame, &hdr, OFFLOADS_ALL, fine ? REQUESTED : DROPPED);
	}
	assert_int_equal(rte_mempool_in_use_count(requests_pool), 0);
}

/* N16: a datagram that would be longer, put together again, than any may be. */
static void
test_datagrams_are_not_too_long(void **state)
{
	static struct packet frame;

	for (int v6 = 0; v6 < 2; v6++)
		for (uint32_t options = 0; options <= 16; options += 8)
			for (uint32_t more = 0; more < 3; more++) {
				const uint32_t longest = 65535 - 8 - options - (v6 ? 0 : 20);
				const struct packet_spec spec = {.v6 = v6,
								 .proto = PACKET_UDP,
								 .tags = 1,
								 .ip_options = (uint8_t)options,
								 .payload = longest + more};
				struct virtio_net_hdr hdr;

				packet_build(&frame, &spec, PACKET_SUM_PSEUDO);
				hdr = requests_hdr(&frame, G_UDP, 1400);
				outcome_check(&frame, &hdr, OFFLOADS_ALL, more ? DROPPED : REQUESTED);
			}
	assert_int_equal(rte_mempool_in_use_count(requests_pool), 0);
}

/* Headers that are not what the request says: N02, N04. */
static void
test_frames_that_are_not_what_is_asked(void **state)
{
	const struct packet_spec spec = {.proto = PACKET_TCP, .payload = 3000, .tcp_flags = PACKET_TCP_ACK};
	const struct packet_spec spec6 = {.v6 = true,
					  .proto = PACKET_TCP,
					  .payload = 3000,
					  .ip_options = 8,
					  .tcp_flags = PACKET_TCP_ACK};
	const struct packet_spec udp = {.proto = PACKET_UDP, .payload = 3000};
	const struct packet_spec udp6 = {.v6 = true, .proto = PACKET_UDP, .payload = 3000, .ip_options = 8};
	const struct {
		const struct packet_spec *spec;
		uint32_t at;
		uint8_t byte;
	} ufo_rows[] =
		{
			{&udp, 14, 0x46},       /* UDP is not at csum_start */
			{&udp, 20, 0x20},       /* more fragments */
			{&udp, 20, 0x1f},       /* a later fragment */
			{&udp, 23, PACKET_TCP}, /* */
			{&udp6, 20, 44},        /* a fragment */
			{&udp6, 54, 44},        /* the same, later */
			{&udp6, 55, 1},         /* a longer option */
			{&udp6, 54, PACKET_TCP},
		},
	  rows[] = {
		  {&spec, 12, 0x86},       /* another type */
		  {&spec, 14, 0x55},       /* version 5 */
		  {&spec, 14, 0x44},       /* a header of 16 bytes */
		  {&spec, 14, 0x40},       /* of none */
		  {&spec, 14, 0x46},       /* TCP is not at csum_start */
		  {&spec, 20, 0x60},       /* more fragments */
		  {&spec, 21, 0x01},       /* a later fragment */
		  {&spec, 23, PACKET_UDP}, /* */
		  {&spec6, 14, 0x40},      /* version 4 */
		  {&spec6, 20, 44},        /* a fragment */
		  {&spec6, 20, PACKET_TCP}, {&spec6, 54, PACKET_UDP},
		  {&spec6, 54, 43},  /* a routing header where TCP is */
		  {&spec6, 55, 1},   /* a longer option */
		  {&spec6, 55, 255}, /* a much longer one */
	  };

	for (size_t i = 0; i < RTE_DIM(rows); i++) {
		struct packet *frame = requests_packet(rows[i].spec, PACKET_SUM_PSEUDO);
		struct virtio_net_hdr hdr = requests_hdr(frame, frame->v6 ? G_V6 : G_V4, 1000);

		frame->bytes[rows[i].at] = rows[i].byte;
		outcome_check(frame, &hdr, OFFLOADS_ALL, DROPPED);
		/* The checksum alone can be had. */
		hdr.gso_type = G_NONE;
		outcome_check(frame, &hdr, OFFLOADS_ALL, SUMMED);
	}
	/* Fragments of what is a fragment, and of what has no UDP. */
	for (size_t i = 0; i < RTE_DIM(ufo_rows); i++) {
		struct packet *frame = requests_packet(ufo_rows[i].spec, PACKET_SUM_PSEUDO);
		struct virtio_net_hdr hdr = requests_hdr(frame, G_UDP, 1000);

		frame->bytes[ufo_rows[i].at] = ufo_rows[i].byte;
		outcome_check(frame, &hdr, OFFLOADS_ALL, DROPPED);
		for (uint32_t len = 14; len < frame->payload; len++) {
			frame->len = len;
			outcome_check(frame, &hdr, OFFLOADS_ALL, DROPPED);
		}
	}
	/* TCP header: too short, longer than the frame. */
	for (uint8_t words = 0; words < 16; words++) {
		struct packet *frame = requests_packet(&spec, PACKET_SUM_PSEUDO);
		struct virtio_net_hdr hdr = requests_hdr(frame, G_V4, 1000);

		frame->bytes[frame->l4 + 12] = (uint8_t)(words << 4);
		outcome_check(frame, &hdr, OFFLOADS_ALL, words < 5 ? DROPPED : REQUESTED);
		frame->len = frame->l4 + 40;
		outcome_check(frame, &hdr, OFFLOADS_ALL, words < 5 || words > 10 ? DROPPED : REQUESTED);
	}
	/* The frame ends in the middle of it all. */
	for (uint32_t len = 14; len < 54; len++) {
		struct packet *frame = requests_packet(&spec, PACKET_SUM_PSEUDO);
		struct virtio_net_hdr hdr = requests_hdr(frame, G_V4, 1000);

		frame->len = len;
		outcome_check(frame, &hdr, OFFLOADS_ALL, DROPPED);
		hdr.gso_type = G_NONE;
		outcome_check(frame, &hdr, OFFLOADS_ALL, len < 52 ? DROPPED : SUMMED);
	}
}

static void
test_what_is_taken_is_left_alone(void **state)
{
	const struct packet_spec spec4 = {.proto = PACKET_TCP, .payload = 3000};
	const struct packet_spec cwr4 = {.proto = PACKET_TCP, .payload = 3000, .tcp_flags = PACKET_TCP_CWR};
	const struct packet_spec spec6 = {.v6 = true, .proto = PACKET_TCP, .payload = 3000};
	const struct packet_spec udp = {.proto = PACKET_UDP, .payload = 3000};
	const struct {
		const struct packet_spec *spec;
		uint8_t gso;
		unsigned int takes;
		unsigned int n; /* frames that come out */
		bool ask;
	} rows[] = {
		{&udp, G_NONE, CSUM, 1, true},
		{&udp, G_NONE, OFFLOADS_NONE, 1, false},
		/* neither for the other */
		{&udp, G_UDP, CSUM | UFO, 1, true},
		{&udp, G_UDP, CSUM | USO4 | USO6, 4, false},
		{&udp, G_USO, CSUM | USO4, 1, true},
		{&udp, G_USO, CSUM | UFO, 3, true},
		{&udp, G_NONE, TSO4 | TSO6 | ECN, 1, false},
		{&spec4, G_V4, CSUM | TSO4, 1, true},
		{&spec4, G_V4, CSUM | TSO6, 3, true},
		{&spec4, G_V4, TSO4, 3, false},
		{&spec6, G_V6, CSUM | TSO6, 1, true},
		{&spec6, G_V6, CSUM | TSO4, 3, true},
		/* C85 */
		{&cwr4, G_V4, CSUM | TSO4, 3, true},
		{&cwr4, G_V4 | G_ECN, CSUM | TSO4, 3, true},
		{&cwr4, G_V4 | G_ECN, CSUM | TSO4 | ECN, 1, true},
	};

	for (size_t i = 0; i < RTE_DIM(rows); i++) {
		const struct packet *frame = requests_packet(rows[i].spec, PACKET_SUM_PSEUDO);
		struct rte_mbuf *pkt = requested(frame, rows[i].gso, 1000, MBUFS_WHOLE);

		requests_complete(rows[i].takes, &pkt, 1);
		assert_int_equal(requests_sink.n, rows[i].n);
		assert_int_equal(requests_any(requests_sink.pkts[0]), rows[i].ask);
		if (rows[i].n == 1 && rows[i].ask)
			assert_true(mbufs_equal(requests_sink.pkts[0], frame->bytes, frame->len));
		requests_sink_clear();
	}
}

/* --- to the guest --- */

/* C93 */
static void
test_c93_data_valid_is_what_the_nic_said(void **state)
{
	const struct {
		uint64_t ol_flags;
		uint8_t flags;
	} rows[] = {
		{0, F_NONE},
		{RTE_MBUF_F_RX_L4_CKSUM_GOOD, F_VALID},
		{RTE_MBUF_F_RX_L4_CKSUM_BAD, F_NONE},
		{RTE_MBUF_F_RX_L4_CKSUM_NONE, F_NONE},
		{RTE_MBUF_F_RX_IP_CKSUM_GOOD, F_NONE},
		{RTE_MBUF_F_RX_L4_CKSUM_GOOD | RTE_MBUF_F_TX_IPV4 | RTE_MBUF_F_TX_TCP_CKSUM, F_CSUM},
	};

	for (size_t i = 0; i < RTE_DIM(rows); i++) {
		const struct packet *frame = requests_packet(&requests_specs[0], PACKET_SUM_WHOLE);
		struct rte_mbuf *pkt = mbufs_make(requests_pool, frame->bytes, frame->len, MBUFS_WHOLE);
		struct virtio_net_hdr hdr;

		pkt->ol_flags = rows[i].ol_flags;
		pkt->l2_len = 14;
		pkt->l3_len = 20;
		hdr = vnet_offload_to_guest(pkt);
		assert_int_equal(hdr.flags, rows[i].flags);
		assert_int_equal(hdr.gso_type, G_NONE);
		rte_pktmbuf_free(pkt);
	}
}

/* --- hostile headers --- */

/* N01, N03, N04: anything at all in the header, in frames with something wrong or not, cut anywhere. Nothing
 * is read or written outside (run under ASan), and what passes can be completed and delivered. */
static void
test_hostile_headers(void **state)
{
	static struct packet_fragments fragments;
	static struct packet frame, got;
	unsigned int n_kinds[SEGMENT_FRAGMENTS + 1] = {0}, n_whole = 0, n_borrowed = 0;

	for (int round = 0; round < 60000; round++) {
		struct packet_spec spec = requests_specs[rng_below(REQUESTS_SPECS)];
		uint32_t mode = rng_below(4);
		struct virtio_net_hdr hdr;
		struct rte_mbuf *pkt;
		enum vnet_offload_took took;
		enum segment_kind kind;
		uint32_t least, offloads;
		bool segments;

		spec.payload %= 4000;
		frame = *requests_packet(&spec, PACKET_SUM_PSEUDO);
		hdr = requests_hdr(&frame,
				   rng_below(2)                ? G_NONE
				   : frame.proto == PACKET_UDP ? rng_below(3) ? G_UDP : G_USO
				   : frame.v6                  ? G_V6
							       : G_V4,
				   (uint16_t)rng_below(2000));
		if (mode == 0) {
			uint8_t *bytes = (uint8_t *)&hdr;

			for (size_t i = 0; i < sizeof(hdr); i++)
				bytes[i] = rng_byte();
			hdr.flags |= F_CSUM;
		}
		if (mode == 1)
			for (uint32_t i = rng_below(4); i; i--)
				frame.bytes[12 + rng_below(RTE_MIN(80u, frame.len - 12))] = rng_byte();
		if (mode == 2)
			frame.len = 14 + rng_below(frame.len - 13);
		if (rng_below(4) == 0)
			hdr.csum_start = (uint16_t)(rng_below(2) ? rng_below(100) : rng_below(65536));
		if (rng_below(4) == 0)
			hdr.csum_offset = (uint16_t)(rng_below(2) ? rng_below(20) : rng_below(65536));
		offloads = rng_below(8) ? OFFLOADS_ALL : CSUM;
		pkt = mbufs_make(requests_pool, frame.bytes, frame.len, (enum mbufs_cuts)rng_below(4));
		took = vnet_offload_from_guest(pkt, &hdr, offloads);
		if (took == VNET_OFFLOAD_NEEDS_WHOLE) {
			assert_true(borrow_is(pkt) && !requests_any(pkt));
			assert_true(borrow_materialise(pkt));
			took = vnet_offload_from_guest(pkt, &hdr, offloads);
			assert_int_not_equal(took, VNET_OFFLOAD_NEEDS_WHOLE);
			n_whole++;
		}
		if (took != VNET_OFFLOAD_TAKEN) {
			rte_pktmbuf_free(pkt);
			continue;
		}
		n_borrowed += borrow_is(pkt);
		segments = pkt->ol_flags & FRAME_REQUESTS_SEGMENTS;
		kind = segment_kind(pkt->ol_flags);
		least = kind == SEGMENT_DATAGRAMS ? 1 : SEGMENT_PAYLOAD_MIN;
		n_kinds[kind] += segments;
		hdr = vnet_offload_to_guest(pkt);
		if (hdr.flags & F_CSUM)
			assert_true(hdr.csum_start + hdr.csum_offset + 2u <= pkt->pkt_len);
		assert_true(!hdr.gso_type || (hdr.hdr_len < pkt->pkt_len && hdr.gso_size >= least));
		requests_complete(OFFLOADS_NONE, &pkt, 1);
		assert_int_equal(requests_sink.txq.stats.drops[DROP_BAD_OFFLOAD], 0);
		assert_true(requests_sink.n >= 1 && (segments || requests_sink.n == 1));
		fragments = (struct packet_fragments){0};
		for (unsigned int i = 0; i < requests_sink.n; i++) {
			assert_false(requests_any(requests_sink.pkts[i]));
			if (!segments)
				continue;
			mbufs_read(requests_sink.pkts[i], &got);
			if (kind == SEGMENT_FRAGMENTS)
				assert_true(packet_fragments_add(&fragments, &got));
			else
				assert_true(packet_parse(&got));
		}
		if (segments && kind == SEGMENT_FRAGMENTS)
			assert_true(fragments.complete);
		requests_sink_clear();
	}
	for (size_t i = 0; i < RTE_DIM(n_kinds); i++)
		assert_true(n_kinds[i] > 100);
	assert_true(n_whole > 100 && n_borrowed > 100);
	assert_int_equal(rte_mempool_in_use_count(requests_pool), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_offload_is_offered_and_named),
		cmocka_unit_test(test_accepted_features_have_what_they_need),
		cmocka_unit_test(test_every_segmentation_goes_its_way),
		cmocka_unit_test(test_request_of_every_shape),
		cmocka_unit_test(test_c66_c67_c69_what_is_not_asked_is_not_read),
		cmocka_unit_test(test_c68_hdr_len_is_not_believed),
		cmocka_unit_test(test_dhcp_clients_get_whole_checksums),
		cmocka_unit_test(test_contradictions),
		cmocka_unit_test(test_datagrams_are_not_too_long),
		cmocka_unit_test(test_frames_that_are_not_what_is_asked),
		cmocka_unit_test(test_what_is_taken_is_left_alone),
		cmocka_unit_test(test_c93_data_valid_is_what_the_nic_said),
		cmocka_unit_test(test_hostile_headers),
	};

	requests_env_open();
	return UNIT_RUN(tests);
}
