/* SPDX-License-Identifier: BSD-3-Clause */
/* test_software_offload: checksums and segments that software makes: checksum.c and segment.c, and
 * port_software_offload() above them. What is made is judged by the oracle of packet.h. */
#include "requests.h"

#include <string.h>

#include "checksum.h"
#include "rng.h"
#include "segment.h"

/* --- sums --- */

static void
test_sum_over_any_cuts(void **state)
{
	uint8_t bytes[700];

	for (int round = 0; round < 3000; round++) {
		uint32_t len = 14 + rng_below(sizeof(bytes) - 14), start = rng_below(len + 1), sum;
		uint8_t fill = (uint8_t)rng_below(4);
		struct rte_mbuf *pkt;
		uint8_t lies[2];
		uint16_t got;

		/* All ones and all zeros too: where carries and the two zeros are. */
		for (uint32_t i = 0; i < len; i++)
			bytes[i] = fill == 0 ? 0xff : fill == 1 ? 0 : rng_byte();
		pkt = mbufs_make(requests_pool, bytes, len, (enum mbufs_cuts)(round % 3));
		got = checksum_sum(pkt, start);
		memcpy(lies, &got, 2);
		sum = packet_sum_add(0, bytes + start, len - start);
		assert_int_equal(packet_get16(lies), sum);
		rte_pktmbuf_free(pkt);
	}
}

/* C72, RFC 768: over all of what is stored, the sum is right, and for UDP never 0. */
static void
test_c72_sum_is_stored_and_udp_zero_is_ffff(void **state)
{
	uint8_t bytes[200];
	unsigned int zeros = 0;

	for (int round = 0; round < 200000 && zeros < 4; round++) {
		uint32_t offset = round % 2 ? PACKET_UDP_SUM : PACKET_TCP_SUM, len = 60 + rng_below(8);
		uint32_t want;
		struct rte_mbuf *pkt;

		for (uint32_t i = 0; i < len; i++)
			bytes[i] = rng_byte();
		want = ~packet_sum_add(0, bytes + 14, len - 14) & 0xffff;
		/* Every now and then one whose sum is 0. */
		if (round % 1000 < 2) {
			packet_put16(bytes + 14, 0);
			packet_put16(bytes + 14, ~packet_sum_add(0, bytes + 14, len - 14));
			want = 0;
		}
		pkt = mbufs_make(requests_pool, bytes, len, (enum mbufs_cuts)(round % 3));
		checksum_store(pkt, 14, offset);
		if (want == 0 && offset == PACKET_UDP_SUM) {
			want = 0xffff;
			zeros++;
		}
		packet_put16(bytes + 14 + offset, want);
		assert_true(mbufs_equal(pkt, bytes, len));
		rte_pktmbuf_free(pkt);
	}
	assert_int_equal(zeros, 4);
}

/* --- frames that request them --- */

static void
test_checksum_in_software(void **state)
{
	for (size_t i = 0; i < REQUESTS_SPECS; i++)
		for (enum mbufs_cuts cuts = MBUFS_WHOLE; cuts <= MBUFS_BORROWED; cuts++) {
			static struct packet want;
			struct rte_mbuf *pkt;

			want = *requests_packet(&requests_specs[i], PACKET_SUM_WHOLE);
			pkt = requests_make(requests_packet(&requests_specs[i], PACKET_SUM_PSEUDO), 0, cuts);
			assert_int_equal(requests_complete(OFFLOADS_NONE, &pkt, 1), 1);
			assert_ptr_equal(requests_sink.pkts[0], pkt);
			assert_false(requests_any(pkt));
			assert_true(mbufs_equal(pkt, want.bytes, want.len));
			assert_true(packet_is_whole(&want));
			requests_sink_clear();
		}
	assert_int_equal(rte_mempool_in_use_count(requests_pool), 0);
}

static void
test_segments_in_software(void **state)
{
	const uint16_t sizes[] = {SEGMENT_PAYLOAD_MIN, 100, 536, 1448, 1460, 8960, 30000};

	for (size_t i = 0; i < REQUESTS_SPECS; i++)
		for (size_t k = 0; k < RTE_DIM(sizes); k++)
			for (enum mbufs_cuts cuts = MBUFS_WHOLE; cuts <= MBUFS_BORROWED; cuts++) {
				const struct packet *frame =
					requests_packet(&requests_specs[i], PACKET_SUM_PSEUDO);
				uint32_t n = (requests_specs[i].payload + sizes[k] - 1) / sizes[k];
				struct rte_mbuf *pkt;

				if (requests_specs[i].payload <= sizes[k] ||
				    (requests_specs[i].proto == PACKET_UDP && n > SEGMENT_DATAGRAMS_MAX))
					continue;
				pkt = requests_make(frame, sizes[k], cuts);
				pkt->ol_flags |= RTE_MBUF_F_RX_RSS_HASH;
				pkt->hash.rss = 0x12345678;
				pkt->hash.fdir.hi = 2;
				assert_int_equal(requests_complete(OFFLOADS_NONE, &pkt, 1), n);
				requests_check_segments(frame, requests_sink.pkts, requests_sink.n, sizes[k]);
				/* Full bursts but for the last; the sums hold; the hash is the flow's. */
				assert_int_equal(requests_sink.calls, (n + PORT_BURST - 1) / PORT_BURST);
				assert_int_equal(requests_sink.txq.stats.copies, n - 1);
				for (unsigned int s = 0; s < requests_sink.n; s++) {
					assert_int_equal(requests_sink.pkts[s]->ol_flags,
							 RTE_MBUF_F_RX_RSS_HASH);
					assert_int_equal(requests_sink.pkts[s]->hash.rss, 0x12345678);
					assert_int_equal(requests_sink.pkts[s]->hash.fdir.hi, 2);
				}
				requests_sink_clear();
			}
	assert_int_equal(rte_mempool_in_use_count(requests_pool), 0);
}

/* Datagrams cut by IP, for whoever takes all but that: nothing is left to do on a fragment. */
static void
test_fragments_in_software(void **state)
{
	const uint16_t sizes[] = {SEGMENT_PAYLOAD_MIN, 100, 536, 1448, 1479, 1480, 8953, 30000};
	unsigned int n_cut = 0;

	for (size_t i = 0; i < REQUESTS_SPECS; i++)
		for (size_t k = 0; k < RTE_DIM(sizes); k++)
			for (enum mbufs_cuts cuts = MBUFS_WHOLE; cuts <= MBUFS_BORROWED; cuts++)
				for (int df = 0; df < 2; df++) {
					struct packet *frame =
						requests_packet(&requests_specs[i], PACKET_SUM_PSEUDO);
					struct rte_mbuf *pkt;

					if (frame->proto != PACKET_UDP || requests_cut_len(frame) <= sizes[k])
						continue;
					if (!df && !frame->v6) {
						packet_put16(frame->bytes + frame->l3 + 6, 0);
						packet_finish(frame, PACKET_SUM_PSEUDO);
					}
					pkt = requests_make_fragments(frame, sizes[k], cuts);
					pkt->ol_flags |= RTE_MBUF_F_RX_RSS_HASH;
					requests_complete(OFFLOADS_ALL & ~(uint32_t)UFO, &pkt, 1);
					requests_check_fragments(frame, requests_sink.pkts, requests_sink.n,
								 sizes[k]);
					assert_int_equal(requests_sink.txq.stats.copies, requests_sink.n - 1);
					n_cut++;
					requests_sink_clear();
				}
	assert_true(n_cut > 100);
	assert_int_equal(rte_mempool_in_use_count(requests_pool), 0);
}

/* Options that are for the first fragment alone, and those that all have; what is no option at all. */
static void
test_options_of_fragments(void **state)
{
	static const struct {
		uint8_t options[12], later[12];
	} rows[] = {
		{{7, 7, 4, 0, 0, 0, 0, 0, 0}, {1, 1, 1, 1, 1, 1, 1, 0, 0}},  /* record route */
		{{0x94, 4, 0, 0, 68, 4, 5, 0}, {0x94, 4, 0, 0, 1, 1, 1, 1}}, /* alert, time stamp */
		{{1, 1, 0x83, 3, 4, 68, 4, 9, 9, 1}, {1, 1, 0x83, 3, 4, 1, 1, 1, 1, 1}}, /* source route */
		{{7, 1, 4, 4}, {7, 1, 4, 4}},                                            /* too short */
		{{1, 68, 12, 9, 9}, {1, 68, 12, 9, 9}},                                  /* too long */
		{{1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 68}, {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 68}},
	};

	for (size_t i = 0; i < RTE_DIM(rows); i++) {
		const struct packet_spec spec = {.proto = PACKET_UDP, .payload = 2000, .ip_options = 12};
		struct packet *frame = requests_packet(&spec, PACKET_SUM_PSEUDO);
		struct rte_mbuf *pkt;

		memcpy(frame->bytes + frame->l3 + 20, rows[i].options, 12);
		packet_finish(frame, PACKET_SUM_PSEUDO);
		pkt = requests_make_fragments(frame, 1000, MBUFS_WHOLE);
		requests_complete(OFFLOADS_NONE, &pkt, 1);
		requests_check_fragments(frame, requests_sink.pkts, requests_sink.n, 1000);
		assert_int_equal(requests_sink.n, 3);
		for (unsigned int f = 0; f < 3; f++)
			assert_memory_equal(
				rte_pktmbuf_mtod_offset(requests_sink.pkts[f], uint8_t *, frame->l3 + 20),
				f ? rows[i].later : rows[i].options, 12);
		requests_sink_clear();
	}
}

/* Routing headers count as what every fragment has, whatever is in front of them. */
static void
test_routing_headers_of_fragments(void **state)
{
	static struct packet frame;

	for (unsigned int routed = 0; routed < 2; routed++)
		for (unsigned int options = 0; options < 2; options++) {
			struct rte_mbuf *pkt;

			packet_ethernet(&frame, 1, PACKET_TYPE_IPV6);
			packet_ipv6(&frame, NULL, NULL);
			if (options)
				packet_home_address(&frame, (const uint8_t[16]){1});
			if (routed)
				packet_routing_type_2(&frame, (const uint8_t[16]){2});
			packet_home_address(&frame, (const uint8_t[16]){3});
			packet_transport(&frame, PACKET_UDP, 1, 2);
			packet_add_payload(&frame, 3000);
			packet_finish(&frame, PACKET_SUM_PSEUDO);
			pkt = requests_make(&frame, 0, MBUFS_FEW_CUTS);
			pkt->ol_flags |= FRAME_UFO;
			pkt->l4_len = 8;
			pkt->tso_segsz = 1000;
			requests_complete(OFFLOADS_NONE, &pkt, 1);
			assert_int_equal(requests_sink.n, 4);
			for (unsigned int f = 0; f < requests_sink.n; f++) {
				const uint32_t head = frame.l3 + 40 + (routed ? 24 * (1 + options) : 0);
				static struct packet fragment;

				mbufs_read(requests_sink.pkts[f], &fragment);
				/* The byte that names it, and there it is. */
				assert_int_equal(fragment.bytes[routed ? head - 24 : frame.l3 + 6], 44);
				assert_int_equal(fragment.bytes[head], 60);
				assert_int_equal(packet_get16(fragment.bytes + head + 2) & ~7, f * 1000);
				assert_int_equal(fragment.len, f < 3 ? head + 8 + 1000
								     : head + 8 + frame.len - head - 3000);
			}
			requests_sink_clear();
		}
	assert_int_equal(rte_mempool_in_use_count(requests_pool), 0);
}

/* Segments for a destination that takes checksums still ask for them. */
static void
test_segments_leave_the_checksum_to_who_takes_it(void **state)
{
	for (size_t i = 0; i < REQUESTS_SPECS; i++) {
		const struct packet *frame = requests_packet(&requests_specs[i], PACKET_SUM_PSEUDO);
		struct rte_mbuf *pkt;

		const bool udp = requests_specs[i].proto == PACKET_UDP;

		if (requests_specs[i].payload <= 900)
			continue;
		pkt = requests_make(frame, 900, MBUFS_FEW_CUTS);
		requests_complete(CSUM, &pkt, 1);
		for (unsigned int s = 0; s < requests_sink.n; s++) {
			static struct packet segment;

			assert_int_equal(requests_sink.pkts[s]->ol_flags & FRAME_REQUESTS,
					 udp ? RTE_MBUF_F_TX_UDP_CKSUM : RTE_MBUF_F_TX_TCP_CKSUM);
			mbufs_read(requests_sink.pkts[s], &segment);
			assert_true(packet_parse(&segment));
			assert_int_equal(packet_get16(segment.bytes + segment.l4 +
						      (udp ? PACKET_UDP_SUM : PACKET_TCP_SUM)),
					 packet_pseudo_sum(&segment));
		}
		/* And so they can be completed later. */
		for (unsigned int s = 0, n = requests_sink.n; s < n; s++) {
			struct rte_mbuf *segment = requests_sink.pkts[s];

			requests_complete(OFFLOADS_NONE, &segment, 1);
			requests_sink.pkts[s] = requests_sink.pkts[--requests_sink.n];
		}
		requests_check_segments(frame, requests_sink.pkts, requests_sink.n, 900);
		requests_sink_clear();
	}
}

/* Whoever else holds the frame finds it as it was. */
static void
test_shared_frames_are_not_written(void **state)
{
	for (size_t i = 0; i < REQUESTS_SPECS; i++)
		for (enum mbufs_cuts cuts = MBUFS_WHOLE; cuts <= MBUFS_FEW_CUTS; cuts++)
			for (int tso = 0; tso < 2; tso++)
				for (int which = 0; which < 3; which++) {
					const struct packet *frame =
						requests_packet(&requests_specs[i], PACKET_SUM_PSEUDO);
					struct rte_mbuf *pkt, *other;

					if (tso && requests_specs[i].payload <= 1000)
						continue;
					pkt = requests_make(frame, tso ? 1000 : 0, cuts);
					if (which == 2) {
						rte_pktmbuf_refcnt_update(pkt, 1);
						other = pkt;
					} else {
						other = rte_pktmbuf_clone(pkt, requests_pool);
					}
					assert_non_null(other);
					if (which == 1) {
						/* The original goes out, the clone stays. */
						struct rte_mbuf *swap = pkt;

						pkt = other;
						other = swap;
					}
					if (which == 2 && pkt->nb_segs > 1) {
						/* Only whole frames are shared so. */
						rte_pktmbuf_refcnt_update(pkt, -1);
						rte_pktmbuf_free(pkt);
						continue;
					}
					requests_complete(OFFLOADS_NONE, &pkt, 1);
					assert_true(requests_any(other));
					assert_true(mbufs_equal(other, frame->bytes, frame->len));
					if (tso) {
						requests_check_segments(frame, requests_sink.pkts,
									requests_sink.n, 1000);
					} else {
						static struct packet got;

						mbufs_read(requests_sink.pkts[0], &got);
						assert_true(packet_is_whole(&got));
						assert_false(requests_any(requests_sink.pkts[0]));
					}
					requests_sink_clear();
					rte_pktmbuf_free(other);
				}
	assert_int_equal(rte_mempool_in_use_count(requests_pool), 0);
}

/* Order is kept in a mixed burst, and bursts are cut anew. */
static void
test_mixed_burst_keeps_its_order(void **state)
{
	const struct packet_spec small = {.proto = PACKET_UDP, .payload = 20};
	const struct packet_spec large = {.proto = PACKET_TCP, .payload = 60000};
	struct rte_mbuf *pkts[PORT_BURST];
	unsigned int at = 0;

	for (int i = 0; i < PORT_BURST; i++) {
		const struct packet *frame = requests_packet(
			i % 3 == 0 ? &large : &small, i % 3 == 2 ? PACKET_SUM_WHOLE : PACKET_SUM_PSEUDO);

		pkts[i] = i % 3 == 2 ? mbufs_make(requests_pool, frame->bytes, frame->len, MBUFS_WHOLE)
				     : requests_make(frame, i % 3 ? 0 : 1460, MBUFS_WHOLE);
	}
	assert_int_equal(requests_complete(OFFLOADS_NONE, pkts, PORT_BURST), 11 * 42 + 21);
	for (int i = 0; i < PORT_BURST; i++) {
		if (i % 3 == 0) {
			requests_check_segments(requests_packet(&large, PACKET_SUM_PSEUDO),
						requests_sink.pkts + at, 42, 1460);
			at += 42;
		} else {
			const struct packet *frame = requests_packet(&small, PACKET_SUM_WHOLE);

			assert_true(mbufs_equal(requests_sink.pkts[at++], frame->bytes, frame->len));
		}
	}
	assert_int_equal(at, requests_sink.n);
	assert_int_equal(requests_sink.txq.stats.copies, 11 * 41);
	requests_sink_clear();
	assert_int_equal(rte_mempool_in_use_count(requests_pool), 0);
}

/* Packet buffers run out: counted, once a frame, and the sums hold. */
static void
test_no_packet_buffer(void **state)
{
	static struct rte_mbuf *hoard[REQUESTS_POOL_SIZE];
	const struct packet_spec spec = {.proto = PACKET_TCP, .payload = 60000};
	struct rte_mbuf *pkts[2];
	unsigned int n, spare;

	for (spare = 0; spare < 100; spare++) {
		pkts[0] = requests_make(requests_packet(&spec, PACKET_SUM_PSEUDO), 8960, MBUFS_WHOLE);
		pkts[1] =
			requests_make(requests_packet(&requests_specs[0], PACKET_SUM_PSEUDO), 0, MBUFS_WHOLE);
		rte_pktmbuf_refcnt_update(pkts[1], 1);
		for (n = 0; n < REQUESTS_POOL_SIZE && (hoard[n] = rte_pktmbuf_alloc(requests_pool)); n++)
			;
		for (unsigned int i = 0; i < spare; i++)
			rte_pktmbuf_free(hoard[--n]);
		requests_complete(OFFLOADS_NONE, pkts, 2);
		assert_int_equal(2 + requests_sink.txq.stats.copies,
				 requests_sink.n + requests_sink.txq.stats.drops[DROP_NO_MBUF]);
		if (spare == 0) {
			/* The large frame's own buffers are free again when the small one's turn comes. */
			assert_int_equal(requests_sink.n, 1);
			assert_int_equal(requests_sink.txq.stats.drops[DROP_NO_MBUF], 1);
		}
		requests_sink_clear();
		rte_pktmbuf_free(pkts[1]);
		rte_pktmbuf_free_bulk(hoard, n);
		assert_int_equal(rte_mempool_in_use_count(requests_pool), 0);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sum_over_any_cuts),
		cmocka_unit_test(test_c72_sum_is_stored_and_udp_zero_is_ffff),
		cmocka_unit_test(test_checksum_in_software),
		cmocka_unit_test(test_segments_in_software),
		cmocka_unit_test(test_fragments_in_software),
		cmocka_unit_test(test_options_of_fragments),
		cmocka_unit_test(test_routing_headers_of_fragments),
		cmocka_unit_test(test_segments_leave_the_checksum_to_who_takes_it),
		cmocka_unit_test(test_shared_frames_are_not_written),
		cmocka_unit_test(test_mixed_burst_keeps_its_order),
		cmocka_unit_test(test_no_packet_buffer),
	};

	requests_env_open();
	return UNIT_RUN(tests);
}
