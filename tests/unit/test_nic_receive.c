/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_nic_receive: what a device makes of frames before we get them, made good: segments that it has joined
 * (nic_lro.h), tags that it has taken out (nic_tag.h).
 */
#include "requests.h"

#include <errno.h>
#include <string.h>

#include <rte_ethdev.h>

#include "nic_lro.h"
#include "nic_tag.h"

enum { MTU = 1500 };

static const struct nic_lro lro = {.is_on = true, .mtu = MTU};

/* What PMDs say of a joined frame. */
enum report {
	REPORT_SIZE, /* RTE_MBUF_F_RX_LRO, and the segments' size */
	REPORT_GOOD, /* the checksum was right */
	REPORT_NONE,
	REPORT_BAD, /* the checksum was wrong */
	REPORT_N,
};

/* A joined frame, with what devices leave in its header: the first segment's length, and its checksum or that
 * of all. */
static struct rte_mbuf *
joined(const struct packet *frame, enum report report, uint16_t segment_size, bool is_stale)
{
	static struct packet left;
	struct rte_mbuf *pkt;

	memcpy(&left, frame, sizeof(left));
	packet_finish(&left, PACKET_SUM_WHOLE);
	if (is_stale) {
		left.bytes[left.l3 + (left.v6 ? 4 : 2)] ^= 0x5a;
		left.bytes[left.l4 + PACKET_TCP_SUM] ^= 0xa5;
	}
	pkt = mbufs_pieces(requests_pool, left.bytes, left.len, 2000);
	if (report == REPORT_SIZE) {
		pkt->ol_flags = RTE_MBUF_F_RX_LRO;
		pkt->tso_segsz = segment_size;
	} else if (report == REPORT_GOOD) {
		pkt->ol_flags = RTE_MBUF_F_RX_L4_CKSUM_GOOD;
	} else if (report == REPORT_BAD) {
		pkt->ol_flags = RTE_MBUF_F_RX_L4_CKSUM_BAD;
	}
	return pkt;
}

/* Payload of the longest segment within the MTU. */
static uint16_t
segment_of(const struct packet *frame)
{
	return (uint16_t)(MTU - (frame->payload - frame->l3));
}

/* A joined frame of any shape is what a guest would have sent: the same bytes, the same request. */
static void
test_joined_frames_request_their_segments(void **state)
{
	static const uint32_t lens[] = {1, 1000, 1461, 5000, 60000};
	unsigned int n = 0;

	for (size_t i = 0; i < REQUESTS_SPECS * RTE_DIM(lens); i++)
		for (enum report report = 0; report < REPORT_BAD; report++)
			for (int is_stale = 0; is_stale < 2; is_stale++) {
				struct packet_spec spec = requests_specs[i / RTE_DIM(lens)];
				const struct packet *frame;
				struct rte_mbuf *pkt, *whole;
				uint16_t size;

				spec.payload = lens[i % RTE_DIM(lens)];
				if (spec.proto != PACKET_TCP)
					continue;
				frame = requests_packet(&spec, PACKET_SUM_PSEUDO);
				size = report == REPORT_SIZE ? 500 : segment_of(frame);
				/* Who reports nothing has to have made the checksum. */
				if (is_stale && (report == REPORT_NONE || frame->len - frame->l3 <= MTU))
					continue;
				if (!is_stale && report == REPORT_NONE && frame->len - frame->l3 <= MTU)
					continue;
				pkt = joined(frame, report, size, is_stale);
				whole = requests_make(frame, size, MBUFS_WHOLE);
				nic_lro_burst(&lro, &pkt, 1);
				assert_int_equal(pkt->ol_flags, whole->ol_flags);
				assert_int_equal(pkt->tx_offload, whole->tx_offload);
				assert_true(mbufs_equal(pkt, frame->bytes, frame->len));
				rte_pktmbuf_free(pkt);
				rte_pktmbuf_free(whole);
				n++;
			}
	assert_true(n > 100);
	assert_int_equal(rte_mempool_in_use_count(requests_pool), 0);
}

/* For who takes no long frames they are cut to right ones. */
static void
test_joined_frames_are_cut_again(void **state)
{
	for (size_t i = 0; i < REQUESTS_SPECS; i++) {
		struct packet_spec spec = requests_specs[i];
		const struct packet *frame;
		struct rte_mbuf *pkt;
		uint16_t size;

		spec.payload = 30000;
		if (spec.proto != PACKET_TCP)
			continue;
		frame = requests_packet(&spec, PACKET_SUM_PSEUDO);
		size = segment_of(frame);
		pkt = joined(frame, REPORT_GOOD, 0, true);
		nic_lro_burst(&lro, &pkt, 1);
		requests_complete(OFFLOADS_NONE, &pkt, 1);
		assert_true(requests_sink.n > 20);
		requests_check_segments(frame, requests_sink.pkts, requests_sink.n, size);
		requests_sink_clear();
	}
	assert_int_equal(rte_mempool_in_use_count(requests_pool), 0);
}

static void
assert_untouched(const struct packet *frame, struct rte_mbuf *pkt)
{
	const uint64_t flags = pkt->ol_flags;

	nic_lro_burst(&lro, &pkt, 1);
	assert_int_equal(pkt->ol_flags, flags);
	assert_true(mbufs_equal(pkt, frame->bytes, frame->len));
	rte_pktmbuf_free(pkt);
}

/* Wrong checksums, other protocols, acknowledgements and what is padded stay as they came. */
static void
test_others_stay(void **state)
{
	for (size_t i = 0; i < REQUESTS_SPECS; i++) {
		struct packet_spec spec = requests_specs[i];
		struct packet *frame;
		struct rte_mbuf *pkt;

		spec.payload = 4000;
		frame = requests_packet(&spec, PACKET_SUM_WHOLE);
		pkt = mbufs_pieces(requests_pool, frame->bytes, frame->len, 2000);
		pkt->ol_flags =
			spec.proto == PACKET_TCP ? RTE_MBUF_F_RX_L4_CKSUM_BAD : RTE_MBUF_F_RX_L4_CKSUM_GOOD;
		assert_untouched(frame, pkt);
		if (spec.proto != PACKET_TCP)
			continue;
		/* Long, nothing said, and wrong. */
		frame->bytes[frame->payload + 17] ^= 1;
		assert_untouched(frame, mbufs_pieces(requests_pool, frame->bytes, frame->len, 2000));
		spec.payload = 0;
		frame = requests_packet(&spec, PACKET_SUM_WHOLE);
		memset(frame->bytes + frame->len, 0, 6);
		frame->len += 6;
		pkt = mbufs_pieces(requests_pool, frame->bytes, frame->len, 2000);
		pkt->ol_flags = RTE_MBUF_F_RX_L4_CKSUM_GOOD;
		assert_untouched(frame, pkt);
	}
	assert_int_equal(rte_mempool_in_use_count(requests_pool), 0);
}

static void
test_configure(void **state)
{
	struct rte_eth_dev_info info = {.rx_offload_capa = RTE_ETH_RX_OFFLOAD_TCP_LRO,
					.max_lro_pkt_size = 16384};
	struct rte_eth_dev_info without = {0};
	struct rte_eth_conf conf = {0};
	struct nic_lro made;

	assert_int_equal(nic_lro_configure(&made, &info, NIC_LRO_AUTO, false, &conf), 0);
	assert_int_equal(conf.rxmode.offloads, 0);
	assert_false(made.is_on);
	assert_int_equal(nic_lro_configure(&made, &info, NIC_LRO_ON, false, &conf), 0);
	assert_int_equal(conf.rxmode.offloads, RTE_ETH_RX_OFFLOAD_TCP_LRO);
	assert_int_equal(conf.rxmode.max_lro_pkt_size, 16384);
	assert_true(made.is_on);
	memset(&conf, 0, sizeof(conf));
	assert_int_equal(nic_lro_configure(&made, &info, NIC_LRO_AUTO, true, &conf), 0);
	assert_int_equal(conf.rxmode.offloads, RTE_ETH_RX_OFFLOAD_TCP_LRO);
	assert_false(made.is_on);
	memset(&conf, 0, sizeof(conf));
	assert_int_equal(nic_lro_configure(&made, &info, NIC_LRO_OFF, true, &conf), 0);
	assert_int_equal(nic_lro_configure(&made, &without, NIC_LRO_AUTO, true, &conf), 0);
	assert_int_equal(conf.rxmode.offloads, 0);
	assert_int_equal(nic_lro_configure(&made, &without, NIC_LRO_ON, false, &conf), -ENOTSUP);
}

/* --- tags --- */

static void
test_tags_are_put_back(void **state)
{
	for (uint8_t tags = 1; tags <= 2; tags++) {
		const struct packet_spec spec = {.tags = tags, .proto = PACKET_UDP, .payload = 100};
		const struct packet *frame = requests_packet(&spec, PACKET_SUM_WHOLE);
		const uint8_t *tag = frame->bytes + 12;
		struct rte_mbuf *pkt = mbufs_pieces(requests_pool, frame->bytes, frame->len, 2000);
		char *start = rte_pktmbuf_mtod(pkt, char *);

		/* The device takes them out. */
		memmove(start + tags * 4, start, 12);
		rte_pktmbuf_adj(pkt, tags * 4);
		pkt->ol_flags = RTE_MBUF_F_RX_VLAN | RTE_MBUF_F_RX_VLAN_STRIPPED;
		pkt->vlan_tci = packet_get16(tag + 2 + (tags - 1) * 4);
		if (tags == 2) {
			pkt->ol_flags |= RTE_MBUF_F_RX_QINQ | RTE_MBUF_F_RX_QINQ_STRIPPED;
			pkt->vlan_tci_outer = packet_get16(tag + 2);
		}
		assert_true(nic_tag_restore(pkt));
		assert_false(pkt->ol_flags & NIC_TAG_FLAGS);
		assert_true(pkt->ol_flags & RTE_MBUF_F_RX_VLAN);
		/* The outer one's type is not reported, and is what a bridge of providers uses. */
		if (tags == 2) {
			assert_int_equal(rte_pktmbuf_mtod(pkt, uint8_t *)[12], 0x88);
			assert_int_equal(rte_pktmbuf_mtod(pkt, uint8_t *)[13], 0xa8);
			rte_pktmbuf_mtod(pkt, uint8_t *)[12] = tag[0];
			rte_pktmbuf_mtod(pkt, uint8_t *)[13] = tag[1];
		}
		assert_true(mbufs_equal(pkt, frame->bytes, frame->len));
		rte_pktmbuf_free(pkt);
	}
}

static void
test_tag_without_room(void **state)
{
	const struct packet_spec spec = {.proto = PACKET_UDP, .payload = 100};
	const struct packet *frame = requests_packet(&spec, PACKET_SUM_WHOLE);
	struct rte_mbuf *pkt = mbufs_pieces(requests_pool, frame->bytes, frame->len, 2000);

	rte_pktmbuf_prepend(pkt, rte_pktmbuf_headroom(pkt));
	pkt->ol_flags = RTE_MBUF_F_RX_VLAN | RTE_MBUF_F_RX_VLAN_STRIPPED;
	assert_false(nic_tag_restore(pkt));
	rte_pktmbuf_free(pkt);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_joined_frames_request_their_segments),
		cmocka_unit_test(test_joined_frames_are_cut_again),
		cmocka_unit_test(test_others_stay),
		cmocka_unit_test(test_configure),
		cmocka_unit_test(test_tags_are_put_back),
		cmocka_unit_test(test_tag_without_room),
	};

	requests_env_open();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
