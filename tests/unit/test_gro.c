/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_gro: receive coalescing is segmentation backwards: what software cuts (test_software_offload.c has
 * shown that it is right), in any order with others between, is one frame again, with the request that it
 * had.
 */
#include "requests.h"

#include <string.h>

#include "gro.h"
#include "rng.h"

/* The segments of a frame, as a wire brings them: no request; at most PORT_BURST of them. */
static unsigned int
segments_of(const struct packet *frame, uint16_t size, struct rte_mbuf **pkts)
{
	struct rte_mbuf *pkt = requests_make(frame, size, MBUFS_WHOLE);
	unsigned int n;

	requests_complete(OFFLOADS_NONE, &pkt, 1);
	n = requests_sink.n;
	assert_true(n <= PORT_BURST);
	memcpy(pkts, requests_sink.pkts, n * sizeof(pkts[0]));
	requests_sink.n = 0;
	requests_sink_clear();
	return n;
}

/* It is `frame`, and is to be cut as it was. */
static void
assert_joined(const struct rte_mbuf *pkt, const struct packet *frame, uint16_t size)
{
	struct rte_mbuf *whole = requests_make(frame, size, MBUFS_WHOLE);

	assert_int_equal(pkt->ol_flags, whole->ol_flags);
	assert_int_equal(pkt->tx_offload, whole->tx_offload);
	assert_true(mbufs_equal(pkt, frame->bytes, frame->len));
	rte_pktmbuf_free(whole);
}

static bool
spec_is_joined(const struct packet_spec *spec)
{
	return spec->proto == PACKET_TCP && spec->ip_options == 0 &&
	       !(spec->tcp_flags & ~(PACKET_TCP_ACK | PACKET_TCP_PSH)) && spec->tcp_flags & PACKET_TCP_ACK;
}

static void
test_segments_become_the_frame_again(void **state)
{
	static const uint16_t sizes[] = {100, 536, 1448, 1460, 2500};
	unsigned int n_joined = 0;

	for (size_t i = 0; i < REQUESTS_SPECS; i++)
		for (size_t k = 0; k < RTE_DIM(sizes); k++) {
			struct packet_spec spec = requests_specs[i];
			const struct packet *frame;
			struct rte_mbuf *pkts[PORT_BURST];
			unsigned int n;

			if (spec.proto != PACKET_TCP)
				continue;
			spec.payload = RTE_MIN(spec.payload, (uint32_t)PORT_BURST * sizes[k]);
			if (spec.payload <= sizes[k])
				continue;
			frame = requests_packet(&spec, PACKET_SUM_PSEUDO);
			n = segments_of(frame, sizes[k], pkts);
			n = gro_burst(pkts, (uint16_t)n);
			if (spec_is_joined(&spec)) {
				assert_int_equal(n, 1);
				assert_joined(pkts[0], frame, sizes[k]);
				n_joined++;
			}
			/* Whatever was joined, cut again it is what came. */
			for (unsigned int f = 0; f < n; f++)
				requests_complete(OFFLOADS_NONE, &pkts[f], 1);
			requests_check_segments(frame, requests_sink.pkts, requests_sink.n, sizes[k]);
			requests_sink_clear();
		}
	assert_true(n_joined >= 5);
	assert_int_equal(rte_mempool_in_use_count(requests_pool), 0);
}

enum { N_FLOWS = 4, SEGMENT = 500 };

/* Several flows take turns, with others between; each has its order, and is joined as far as it goes. */
static void
test_flows_take_turns(void **state)
{
	static struct packet frames[N_FLOWS];

	for (int round = 0; round < 3000; round++) {
		struct rte_mbuf *segments[N_FLOWS][PORT_BURST], *pkts[PORT_BURST];
		unsigned int n_segments[N_FLOWS], at[N_FLOWS] = {0}, n = 0, n_frames = 0;
		bool seen[N_FLOWS] = {false};

		for (unsigned int f = 0; f < N_FLOWS; f++) {
			const struct packet_spec spec = {.v6 = f % 2,
							 .tags = (uint8_t)rng_below(3),
							 .proto = PACKET_TCP,
							 .tcp_options = (uint8_t)(4 * rng_below(4)),
							 .tcp_flags = PACKET_TCP_ACK,
							 .payload = 2 + rng_below(7 * SEGMENT)};

			packet_build(&frames[f], &spec, PACKET_SUM_NONE);
			packet_put16(frames[f].bytes + frames[f].l4, 1000 + f);
			packet_finish(&frames[f], PACKET_SUM_PSEUDO);
			n_segments[f] = segments_of(&frames[f], SEGMENT, segments[f]);
		}
		for (unsigned int left = N_FLOWS; left;) {
			unsigned int f = rng_below(N_FLOWS);

			if (at[f] == n_segments[f])
				continue;
			pkts[n++] = segments[f][at[f]++];
			left -= at[f] == n_segments[f];
		}
		assert_true(n <= PORT_BURST);
		n = gro_burst(pkts, (uint16_t)n);
		assert_int_equal(n, N_FLOWS);
		for (unsigned int i = 0; i < n; i++) {
			static struct packet got;
			unsigned int f;

			mbufs_read(pkts[i], &got);
			assert_true(packet_parse(&got));
			f = packet_get16(got.bytes + got.l4) - 1000;
			assert_true(f < N_FLOWS && !seen[f]);
			seen[f] = true;
			n_frames++;
			if (n_segments[f] > 1)
				assert_joined(pkts[i], &frames[f], SEGMENT);
			else
				assert_false(requests_any(pkts[i]));
		}
		assert_int_equal(n_frames, N_FLOWS);
		rte_pktmbuf_free_bulk(pkts, n);
	}
	assert_int_equal(rte_mempool_in_use_count(requests_pool), 0);
}

static uint32_t first_seq;

/* Four segments of one flow; `spoil` does something to the third. Returns how many frames are left. */
static uint16_t
joined_after(void (*spoil)(struct packet *segment), bool right_sum, struct rte_mbuf **pkts)
{
	static const struct packet_spec spec = {
		.proto = PACKET_TCP, .tcp_options = 12, .tcp_flags = PACKET_TCP_ACK, .payload = 4 * SEGMENT};
	static struct packet segment;
	const struct packet *frame = requests_packet(&spec, PACKET_SUM_PSEUDO);

	first_seq = packet_get32(frame->bytes + frame->l4 + 4);
	assert_int_equal(segments_of(frame, SEGMENT, pkts), 4);
	mbufs_read(pkts[2], &segment);
	assert_true(packet_parse(&segment));
	spoil(&segment);
	if (right_sum)
		packet_finish(&segment, PACKET_SUM_WHOLE);
	rte_pktmbuf_free(pkts[2]);
	pkts[2] = mbufs_make(requests_pool, segment.bytes, segment.len, MBUFS_WHOLE);
	return gro_burst(pkts, 4);
}

static void
spoil_nothing(struct packet *segment)
{
}

static void
spoil_sequence(struct packet *segment)
{
	packet_put32(segment->bytes + segment->l4 + 4, packet_get32(segment->bytes + segment->l4 + 4) + 1);
}

static void
spoil_acknowledgement(struct packet *segment)
{
	segment->bytes[segment->l4 + 11] ^= 1;
}

static void
spoil_window(struct packet *segment)
{
	segment->bytes[segment->l4 + 15] ^= 1;
}

static void
spoil_option(struct packet *segment)
{
	segment->bytes[segment->l4 + 25] ^= 1;
}

static void
spoil_fin(struct packet *segment)
{
	segment->bytes[segment->l4 + 13] |= PACKET_TCP_FIN;
}

static void
spoil_push(struct packet *segment)
{
	segment->bytes[segment->l4 + 13] |= PACKET_TCP_PSH;
}

static void
spoil_ttl(struct packet *segment)
{
	segment->bytes[segment->l3 + 8]--;
}

static void
spoil_tos(struct packet *segment)
{
	segment->bytes[segment->l3 + 1] ^= 4;
}

static void
spoil_identification(struct packet *segment)
{
	segment->bytes[segment->l3 + 5] ^= 1;
}

static void
spoil_payload(struct packet *segment)
{
	segment->bytes[segment->payload] ^= 1;
}

/* A fragment, of which it can't be known whose it is. */
static void
spoil_fragment(struct packet *segment)
{
	segment->bytes[segment->l3 + 6] |= 0x20;
}

static void
test_what_is_not_joined(void **state)
{
	static const struct {
		void (*spoil)(struct packet *segment);
		bool right_sum;
		uint16_t n; /* frames */
	} rows[] = {
		{spoil_nothing, true, 1},
		/* The third is no second part of the first two, but the fourth goes on with it, or not. */
		{spoil_sequence, true, 3},
		{spoil_acknowledgement, true, 3},
		{spoil_window, true, 3},
		{spoil_option, true, 3},
		{spoil_fin, true, 3},
		{spoil_ttl, true, 3},
		{spoil_tos, true, 3},
		{spoil_identification, true, 3},
		{spoil_fragment, true, 3},
		/* It ends a frame, as its last segment. */
		{spoil_push, true, 2},
		/* What is damaged stays so, and by itself. */
		{spoil_payload, false, 3},
	};

	for (size_t i = 0; i < RTE_DIM(rows); i++) {
		struct rte_mbuf *pkts[PORT_BURST];
		uint16_t n = joined_after(rows[i].spoil, rows[i].right_sum, pkts);

		assert_int_equal(n, rows[i].n);
		/* Cut again, they are the four that came, in their order. */
		for (uint16_t k = 0; k < n; k++)
			requests_complete(OFFLOADS_NONE, &pkts[k], 1);
		assert_int_equal(requests_sink.n, 4);
		for (unsigned int k = 0; k < 4; k++) {
			static struct packet segment;

			mbufs_read(requests_sink.pkts[k], &segment);
			if (rows[i].spoil == spoil_fragment && k == 2)
				continue;
			assert_int_equal(packet_is_whole(&segment), rows[i].right_sum || k != 2);
			if (rows[i].spoil != spoil_sequence || k != 2)
				assert_int_equal(packet_get32(segment.bytes + segment.l4 + 4),
						 (uint32_t)(first_seq + k * SEGMENT));
		}
		requests_sink_clear();
	}
	assert_int_equal(rte_mempool_in_use_count(requests_pool), 0);
}

/* Bytes without sense, and frames of every shape: nothing is lost, nothing is written past. */
static void
test_anything(void **state)
{
	for (int round = 0; round < 2000; round++) {
		struct rte_mbuf *pkts[PORT_BURST];
		uint32_t bytes = 0, after = 0;
		unsigned int segs = 0;
		uint16_t n = (uint16_t)(1 + rng_below(PORT_BURST)), left;

		for (uint16_t i = 0; i < n; i++) {
			struct packet_spec spec = requests_specs[rng_below(REQUESTS_SPECS)];
			struct packet *frame;

			spec.payload = RTE_MIN(spec.payload, 600u);
			frame = requests_packet(&spec, PACKET_SUM_WHOLE);
			for (unsigned int k = rng_below(4); k; k--)
				frame->bytes[rng_below(frame->len)] = rng_byte();
			if (rng_below(8) == 0)
				frame->len = 14 + rng_below(frame->len - 14);
			pkts[i] = mbufs_make(requests_pool, frame->bytes, frame->len,
					     (enum mbufs_cuts)rng_below(3));
			bytes += pkts[i]->pkt_len;
		}
		left = gro_burst(pkts, n);
		assert_in_range(left, 1, n);
		for (uint16_t i = 0; i < left; i++) {
			after += pkts[i]->pkt_len;
			for (const struct rte_mbuf *m = pkts[i]; m; m = m->next)
				segs++;
			rte_mbuf_sanity_check(pkts[i], 1);
		}
		assert_true(after <= bytes && segs >= left);
		rte_pktmbuf_free_bulk(pkts, left);
	}
	assert_int_equal(rte_mempool_in_use_count(requests_pool), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_segments_become_the_frame_again),
		cmocka_unit_test(test_flows_take_turns),
		cmocka_unit_test(test_what_is_not_joined),
		cmocka_unit_test(test_anything),
	};

	requests_env_open();
	return UNIT_RUN(tests);
}
