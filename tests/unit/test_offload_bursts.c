/* SPDX-License-Identifier: BSD-3-Clause */
/* test_offload_bursts: offloads and what else the header of virtio-net says, through the burst functions:
 * from one guest to another, and out of a NIC. */
#include "requests.h"

#include <stdlib.h>
#include <string.h>

#include "burst_variants.h"
#include "ctx.h"
#include "driver.h"
#include "gro.h"
#include "header.h"
#include "segment.h"
#include "vnet.h"
#include "vnet_end.h"

static struct vnic_ctx ctx;

/* --- from guest to guest --- */

/* What a strict driver (Linux) asks of a header; N05. */
static void
strict_driver_check(const struct virtio_net_hdr *hdr, struct packet *frame, uint32_t offloads)
{
	uint8_t gso = hdr->gso_type & (uint8_t)~G_ECN;

	/* C79, C89 */
	if (!(offloads & CSUM)) {
		assert_int_equal(hdr->flags, 0);
		assert_int_equal(hdr->gso_type, G_NONE);
	}
	assert_int_equal(hdr->flags & ~(F_CSUM | F_VALID), 0);
	assert_int_not_equal(hdr->flags, F_CSUM | F_VALID);
	if (hdr->flags & F_CSUM) {
		/* C86 .. C88: where the checksum is, and the pseudo header's sum in it */
		assert_true(hdr->csum_start + hdr->csum_offset + 2u <= frame->len);
		assert_int_equal(hdr->csum_start, frame->l4);
		assert_int_equal(hdr->csum_offset,
				 frame->proto == PACKET_TCP ? PACKET_TCP_SUM : PACKET_UDP_SUM);
		assert_int_equal(packet_get16(frame->bytes + frame->l4 + hdr->csum_offset),
				 packet_pseudo_sum(frame));
	} else {
		assert_int_equal(hdr->csum_start, 0);
		assert_int_equal(hdr->csum_offset, 0);
	}
	if (gso == G_NONE) {
		assert_int_equal(hdr->gso_type, G_NONE);
		assert_int_equal(hdr->gso_size, 0);
		return;
	}
	/* C81, C83, C82, C84 */
	if (frame->proto == PACKET_TCP)
		assert_true(gso == (frame->v6 ? G_V6 : G_V4) && offloads & (frame->v6 ? TSO6 : TSO4));
	else
		assert_true((gso == G_UDP && offloads & UFO) ||
			    (gso == G_USO && offloads & (frame->v6 ? USO6 : USO4)));
	/* C90, C92 */
	assert_true(hdr->flags & F_CSUM);
	assert_true(hdr->gso_size > 0 &&
		    frame->len - (gso == G_UDP ? frame->l4 : frame->payload) > hdr->gso_size);
	assert_true(hdr->hdr_len >= frame->payload && hdr->hdr_len <= frame->len);
	/* C85 */
	if (frame->proto != PACKET_TCP) {
		assert_int_equal(hdr->gso_type, gso);
		return;
	}
	assert_int_equal(!!(hdr->gso_type & G_ECN), !!(frame->bytes[frame->l4 + 13] & PACKET_TCP_CWR));
	assert_true(!(hdr->gso_type & G_ECN) || offloads & ECN);
}

static struct vnet_end *
end_open(bool receives, uint32_t traits, uint16_t hdr_len, uint32_t offloads)
{
	struct vnet_end *end = unit_zalloc(sizeof(*end));

	vnet_end_open(end, 2, traits, 256, hdr_len, (int)isa_select(), requests_pool);
	end->conf.frame_max = 1518;
	end->conf.offloads = offloads;
	end->conf.unsupported = offloads_unsupported(offloads);
	/* vnet_tx() and vnet_rx() take what is published. */
	end->conf.from_guest = end->from_guest;
	end->conf.to_guest = end->to_guest;
	atomic_store(receives ? &end->queue.to_guest.conf : &end->queue.from_guest.conf, &end->conf.virtq);
	return end;
}

static void
end_close(struct vnet_end *end)
{
	vnet_end_close(end);
	free(end);
}

/* The driver of `end` sends a frame: in one buffer, or a chain with the header apart. */
static void
end_send(struct vnet_end *end, const struct virtio_net_hdr *hdr, const struct packet *frame,
	 enum driver_form form)
{
	const uint64_t gpa = driver_region_gpa(0) + 4096;
	uint8_t header[HEADER_LEN_MAX];
	struct driver_buf bufs[3] = {{.gpa = gpa, .len = end->conf.hdr_len + frame->len}};
	unsigned int n = 1;

	memset(header, 0xee, sizeof(header));
	memcpy(header, hdr, sizeof(*hdr));
	driver_write(&end->mem, gpa, header, end->conf.hdr_len);
	driver_write(&end->mem, gpa + end->conf.hdr_len, frame->bytes, frame->len);
	if (form != DRIVER_DIRECT) {
		/* The header in two pieces, too. */
		bufs[0].len = 7;
		bufs[1] = (struct driver_buf){.gpa = gpa + 7, .len = end->conf.hdr_len + 20 - 7};
		bufs[2] = (struct driver_buf){.gpa = gpa + end->conf.hdr_len + 20, .len = frame->len - 20};
		n = 3;
	}
	assert_true(driver_add(&end->driver, bufs, n, form, 1));
}

enum { BUFFERS = 100, BUFFER_MERGEABLE = 1536, BUFFER_LARGE = 68 << 10 };

static void
end_post(struct vnet_end *end)
{
	const bool mergeable = end->conf.virtq.traits & TRAIT_MERGEABLE;

	for (uint64_t i = 0; i < BUFFERS; i++) {
		uint32_t len = mergeable ? BUFFER_MERGEABLE : BUFFER_LARGE;
		struct driver_buf buf = {
			.gpa = driver_region_gpa(0) + 4096 + i * len, .len = len, .writable = true};

		assert_true(driver_add(&end->driver, &buf, 1, DRIVER_DIRECT, i));
	}
}

/* The next frame that the driver of `end` has received; false: none. */
static bool
end_receive(struct vnet_end *end, struct virtio_net_hdr *ret_hdr, struct packet *frame,
	    uint8_t header[HEADER_LEN_MAX])
{
	const struct vnet_conf *conf = &end->conf;
	const bool mergeable = conf->virtq.traits & TRAIT_MERGEABLE;
	const uint32_t room = mergeable ? BUFFER_MERGEABLE : BUFFER_LARGE;
	static uint8_t bytes[PACKET_SIZE + HEADER_LEN_MAX];
	uint32_t len = 0, written;
	uint16_t num_buffers = 1;
	uint64_t tag;

	for (uint16_t k = 0; k < num_buffers; k++) {
		if (!driver_get(&end->driver, &tag, &written)) {
			assert_int_equal(k, 0);
			return false;
		}
		assert_true(len + written <= sizeof(bytes));
		driver_read(&end->mem, driver_region_gpa(0) + 4096 + tag * room, bytes + len, written);
		len += written;
		/* C73, C75, C76 */
		if (k == 0 && conf->hdr_len >= HEADER_LEN)
			num_buffers = (uint16_t)(bytes[10] | bytes[11] << 8);
		assert_true(num_buffers >= 1 && (mergeable || num_buffers == 1));
		/* C77 */
		assert_true(k == num_buffers - 1 || written == room);
	}
	memcpy(header, bytes, conf->hdr_len);
	memcpy(ret_hdr, bytes, sizeof(*ret_hdr));
	packet_set(frame, bytes + conf->hdr_len, len - conf->hdr_len);
	return true;
}

enum { SIZE = 1000 };

/* C91: with RSC_EXT a frame of several segments of TCP has their number where it is not said what the
 * checksum is of. Then the header as it would be without; `segment`: payload of each but the last. */
static void
rsc_check(struct virtio_net_hdr *hdr, const struct packet *frame, uint32_t traits, uint16_t segment)
{
	const uint32_t payload = frame->len - frame->payload;

	if (!(traits & TRAIT_RSC) || hdr->gso_type == G_NONE || frame->proto != PACKET_TCP) {
		assert_false(hdr->flags & F_RSC);
		return;
	}
	assert_int_equal(hdr->flags, F_CSUM | F_RSC);
	assert_int_equal(hdr->csum_start, (payload + segment - 1) / segment);
	assert_int_equal(hdr->csum_offset, 0);
	hdr->flags = F_CSUM;
	hdr->csum_start = (uint16_t)frame->l4;
	hdr->csum_offset = PACKET_TCP_SUM;
}

/* The kinds of segmentation that A can ask for a frame, G_NONE first; how many. */
static unsigned int
kinds_of(const struct packet *frame, uint32_t a_offloads, uint8_t kinds[3])
{
	const uint32_t payload = frame->len - frame->payload;
	unsigned int n = 0;

	/* What is too long for an MTU of 1500 is only sent as segments to be. */
	if (frame->len <= 1518)
		kinds[n++] = G_NONE;
	if (!a_offloads || payload <= SIZE)
		return n;
	if (frame->proto == PACKET_TCP) {
		kinds[n++] = frame->v6 ? G_V6 : G_V4;
		return n;
	}
	kinds[n++] = G_UDP;
	if (payload <= SIZE * SEGMENT_DATAGRAMS_MAX)
		kinds[n++] = G_USO;
	return n;
}

/* Does B take the frame as it is? */
static bool
kind_is_taken(const struct packet *frame, uint8_t kind, uint32_t b_offloads)
{
	switch (kind) {
	case G_UDP:
		return b_offloads & UFO;
	case G_USO:
		return b_offloads & (frame->v6 ? USO6 : USO4);
	default:
		return b_offloads & (frame->v6 ? TSO6 : TSO4) &&
		       (b_offloads & ECN || !(frame->bytes[frame->l4 + 13] & PACKET_TCP_CWR));
	}
}

/* Frames that B has received. */
struct received {
	unsigned int n;
	uint32_t payload;
	struct packet_fragments fragments;
};

/* One that is not a fragment. */
static void
received_whole(struct received *received, const struct packet *sent, struct packet *got,
	       struct virtio_net_hdr *hdr, uint32_t b_offloads, uint32_t b_traits)
{
	uint32_t total;

	assert_true(packet_parse(got));
	rsc_check(hdr, got, b_traits, SIZE);
	strict_driver_check(hdr, got, b_offloads);
	/* C57 */
	assert_true(got->len <= 1518 || hdr->gso_type != G_NONE);
	/* C80 */
	if (!(hdr->flags & F_CSUM))
		assert_true(packet_is_whole(got));
	total = got->len - got->payload;
	assert_memory_equal(got->bytes + got->payload, sent->bytes + sent->payload + received->payload,
			    total);
	received->payload += total;
}

/* One of a datagram that B does not take as it is: finished, whatever B takes. */
static void
received_fragment(struct received *received, const struct packet *sent, const struct packet *got,
		  const struct virtio_net_hdr *hdr)
{
	static const struct virtio_net_hdr nothing;
	struct packet *whole = &received->fragments.whole;

	assert_memory_equal(hdr, &nothing, sizeof(nothing));
	assert_true(got->len <= 1518);
	assert_true(packet_fragments_add(&received->fragments, got));
	if (!received->fragments.complete)
		return;
	assert_true(packet_is_whole(whole));
	received->payload = whole->len - whole->payload;
	assert_int_equal(whole->payload, sent->payload);
	assert_memory_equal(whole->bytes + whole->payload, sent->bytes + sent->payload, received->payload);
}

/* A sends a frame of this kind and form, and B's driver is asked what it found. */
static void
pair_send(struct vnet_end *a, uint32_t a_offloads, struct vnet_end *b, uint32_t b_offloads,
	  const struct packet *sent, uint8_t kind, enum driver_form form)
{
	const bool taken = kind == G_NONE || kind_is_taken(sent, kind, b_offloads);
	const bool fragmented = kind == G_UDP && !taken;
	const uint32_t payload = sent->len - sent->payload;
	struct virtio_net_hdr hdr = {0};
	static struct received received;
	static struct packet got;
	uint8_t header[HEADER_LEN_MAX];
	struct rte_mbuf *pkts[PORT_BURST];
	uint32_t written, n_want = 1;
	uint64_t tag;

	received = (struct received){0};
	/* A driver that offloads nothing may leave anything in fields that nobody reads. */
	if (a_offloads)
		hdr = requests_hdr(sent, kind, kind == G_NONE ? 0 : SIZE);
	else
		memset(&hdr, 0xee, sizeof(hdr));
	end_send(a, &hdr, sent, form);
	end_post(b);
	assert_int_equal(vnet_end_take(a, pkts, PORT_BURST), 1);
	assert_true(driver_get(&a->driver, &tag, &written));
	pkts[0]->ol_flags |= RTE_MBUF_F_RX_RSS_HASH;
	pkts[0]->hash.rss = 0xa1b2c3d4;
	pkts[0]->hash.fdir.hi = 2;
	assert_true(vnet_tx(&b->txq, pkts, 1) >= 1);
	while (end_receive(b, &hdr, &got, header)) {
		if (fragmented)
			received_fragment(&received, sent, &got, &hdr);
		else
			received_whole(&received, sent, &got, &hdr, b_offloads, b->conf.virtq.traits);
		/* C95; a fragment has no ports. */
		if (b->conf.hdr_len == HEADER_LEN_HASH)
			assert_memory_equal(
				header + 12,
				fragmented ? "\0\0\0\0\0\0\0\0" : "\xd4\xc3\xb2\xa1\x02\x00\x00\x00", 8);
		received.n++;
		/* Not done twice, and not left undone. */
		if (a_offloads && b_offloads & CSUM && !fragmented)
			assert_int_equal(hdr.flags, F_CSUM);
	}
	assert_int_equal(received.payload, payload);
	if (fragmented)
		n_want = (requests_cut_len(sent) + SIZE - 1) / SIZE;
	else if (!taken)
		n_want = (payload + SIZE - 1) / SIZE;
	assert_int_equal(received.n, n_want);
	assert_int_equal(b->txq.stats.packets, n_want);
	assert_int_equal(b->txq.stats.copies, n_want - 1);
}

/* Everything that A can ask, to every B: what B's driver finds is right by itself, and together it is what A
 * sent.
 */
static void
pair_check(uint32_t a_traits, uint32_t a_offloads, uint32_t b_traits, uint32_t b_offloads)
{
	const uint16_t a_hdr = a_traits & TRAIT_HASH_REPORT ? 20 : 12;
	const uint16_t b_hdr = b_traits & TRAIT_HASH_REPORT                                  ? 20
			       : b_traits & (TRAIT_MERGEABLE | TRAIT_PACKED | TRAIT_OFFLOAD) ? 12
											     : 10;
	static struct packet sent;
	struct vnet_end *a = end_open(false, a_traits & ~(uint32_t)TRAIT_HASH_REPORT, a_hdr, a_offloads);
	uint8_t kinds[3];

	for (size_t i = 0; i < REQUESTS_SPECS; i++) {
		sent = *requests_packet(&requests_specs[i],
					a_offloads ? PACKET_SUM_PSEUDO : PACKET_SUM_WHOLE);
		for (unsigned int k = kinds_of(&sent, a_offloads, kinds); k--;)
			for (enum driver_form form = DRIVER_DIRECT; form <= DRIVER_INDIRECT; form++) {
				struct vnet_end *b = end_open(true, b_traits, b_hdr, b_offloads);

				pair_send(a, a_offloads, b, b_offloads, &sent, kinds[k], form);
				end_close(b);
			}
	}
	assert_int_equal(rte_mempool_in_use_count(requests_pool), 0);
	end_close(a);
}

static void
test_guest_to_guest(void **state)
{
	const uint32_t b_offloads[] = {0,          CSUM,        CSUM | TSO4, CSUM | TSO4 | TSO6,
				       CSUM | UFO, CSUM | USO4, OFFLOADS_ALL};
	const uint32_t layouts[] = {0, TRAIT_PACKED, TRAIT_PACKED | TRAIT_IN_ORDER};

	for (int a = 0; a < 2; a++)
		for (size_t b = 0; b < RTE_DIM(b_offloads); b++)
			for (size_t layout = 0; layout < RTE_DIM(layouts); layout++)
				for (int form = 0; form < 8; form++) {
					uint32_t a_traits = layouts[layout] | (a ? TRAIT_OFFLOAD : 0);
					uint32_t b_traits = layouts[layout];

					if (b_offloads[b])
						b_traits |= TRAIT_OFFLOAD;
					if (form & 1)
						b_traits |= TRAIT_MERGEABLE;
					if (form & 2) {
						a_traits |= TRAIT_HASH_REPORT;
						b_traits |= TRAIT_HASH_REPORT;
					}
					if (form & 4 && b_offloads[b] & (TSO4 | TSO6))
						b_traits |= TRAIT_RSC;
					pair_check(a_traits, a ? OFFLOADS_ALL : 0, b_traits, b_offloads[b]);
				}
}

/* C91: what was joined here has as many segments as came. */
static void
test_c91_segments_that_were_joined_are_counted(void **state)
{
	static const uint32_t lens[] = {2, SIZE + 1, 2 * SIZE, 2 * SIZE + 1, 7 * SIZE - 1, 20 * SIZE};

	for (int v6 = 0; v6 < 2; v6++)
		for (size_t i = 0; i < RTE_DIM(lens); i++)
			for (int rsc = 0; rsc < 2; rsc++) {
				const struct packet_spec spec = {.v6 = v6,
								 .proto = PACKET_TCP,
								 .tags = 1,
								 .tcp_options = 12,
								 .tcp_flags = PACKET_TCP_ACK,
								 .payload = lens[i]};
				const uint32_t traits =
					TRAIT_OFFLOAD | TRAIT_MERGEABLE | (rsc ? TRAIT_RSC : 0);
				struct vnet_end *b = end_open(true, traits, 12, OFFLOADS_ALL);
				const struct packet *frame = requests_packet(&spec, PACKET_SUM_PSEUDO);
				struct rte_mbuf *pkts[PORT_BURST],
					*pkt = requests_make(frame, SIZE, MBUFS_WHOLE);
				uint8_t header[HEADER_LEN_MAX];
				static struct packet got;
				struct virtio_net_hdr hdr;
				unsigned int n;

				requests_complete(OFFLOADS_NONE, &pkt, 1);
				n = requests_sink.n;
				memcpy(pkts, requests_sink.pkts, n * sizeof(pkts[0]));
				requests_sink.n = 0;
				requests_sink_clear();
				end_post(b);
				assert_int_equal(gro_burst(pkts, (uint16_t)n), 1);
				assert_int_equal(vnet_tx(&b->txq, pkts, 1), 1);
				assert_true(end_receive(b, &hdr, &got, header));
				assert_true(packet_parse(&got));
				if (rsc && n > 1)
					assert_int_equal(hdr.csum_start, n);
				assert_int_equal(!!(hdr.flags & F_RSC), rsc && n > 1);
				rsc_check(&hdr, &got, traits, SIZE);
				strict_driver_check(&hdr, &got, OFFLOADS_ALL);
				end_close(b);
			}
	assert_int_equal(rte_mempool_in_use_count(requests_pool), 0);
}

/* A guest that asks nonsense loses that frame alone, in every form of chain. */
static void
test_nonsense_costs_its_own_frame(void **state)
{
	const uint32_t traits[] = {TRAIT_OFFLOAD, TRAIT_OFFLOAD | TRAIT_MERGEABLE,
				   TRAIT_OFFLOAD | TRAIT_PACKED,
				   TRAIT_OFFLOAD | TRAIT_PACKED | TRAIT_MERGEABLE,
				   TRAIT_OFFLOAD | TRAIT_PACKED | TRAIT_IN_ORDER | TRAIT_MERGEABLE};

	for (size_t i = 0; i < RTE_DIM(traits); i++)
		for (enum driver_form form = DRIVER_DIRECT; form <= DRIVER_INDIRECT; form++) {
			struct vnet_end *end = end_open(false, traits[i], 12, OFFLOADS_ALL);
			const struct packet *frame = requests_packet(&requests_specs[0], PACKET_SUM_PSEUDO);
			struct virtio_net_hdr bad = requests_hdr(frame, 0x7f, 100),
					      good = requests_hdr(frame, G_NONE, 0);
			struct rte_mbuf *pkts[PORT_BURST];
			uint32_t written;
			uint64_t tag;

			end_send(end, &bad, frame, form);
			assert_int_equal(vnet_end_take(end, pkts, PORT_BURST), 0);
			assert_int_equal(end->rxq.stats.drops[DROP_BAD_OFFLOAD], 1);
			assert_int_equal(end->rxq.stats.packets, 1);
			assert_true(driver_get(&end->driver, &tag, &written));
			assert_int_equal(rte_mempool_in_use_count(requests_pool), 0);
			end_send(end, &good, frame, form);
			assert_int_equal(vnet_end_take(end, pkts, PORT_BURST), 1);
			assert_true(requests_any(pkts[0]));
			rte_pktmbuf_free(pkts[0]);
			end_close(end);
		}
}

/* GUEST_OFFLOADS_SET between two frames: the second is as the driver wishes now. */
static void
test_offloads_switched_at_run_time(void **state)
{
	const struct packet_spec spec = {.proto = PACKET_TCP, .payload = 2000, .tcp_flags = PACKET_TCP_ACK};
	struct vnet_end *b = end_open(true, TRAIT_OFFLOAD | TRAIT_MERGEABLE, 12, OFFLOADS_ALL);
	struct vnet_conf off = b->conf;
	static struct packet got;
	struct virtio_net_hdr hdr;
	uint8_t header[HEADER_LEN_MAX];
	struct rte_mbuf *pkt;

	off.offloads = OFFLOADS_NONE;
	off.unsupported = FRAME_REQUESTS;
	off.virtq.traits = TRAIT_MERGEABLE;
	off.to_guest = vnet_to_guest_variant(isa_select(), off.virtq.traits);
	end_post(b);
	pkt = requests_make(requests_packet(&spec, PACKET_SUM_PSEUDO), 1000, MBUFS_WHOLE);
	assert_int_equal(vnet_tx(&b->txq, &pkt, 1), 1);
	assert_true(end_receive(b, &hdr, &got, header));
	assert_int_equal(hdr.gso_type, G_V4);
	atomic_store(&b->queue.to_guest.conf, &off.virtq);
	pkt = requests_make(requests_packet(&spec, PACKET_SUM_PSEUDO), 1000, MBUFS_WHOLE);
	assert_int_equal(vnet_tx(&b->txq, &pkt, 1), 2);
	for (int i = 0; i < 2; i++) {
		assert_true(end_receive(b, &hdr, &got, header));
		assert_true(packet_is_whole(&got));
		strict_driver_check(&hdr, &got, 0);
	}
	/* And a frame that the NIC has checked is no news to it. */
	pkt = mbufs_make(requests_pool, requests_packet(&requests_specs[0], PACKET_SUM_WHOLE)->bytes, 154,
			 MBUFS_WHOLE);
	pkt->ol_flags = RTE_MBUF_F_RX_L4_CKSUM_GOOD;
	assert_int_equal(vnet_tx(&b->txq, &pkt, 1), 1);
	assert_true(end_receive(b, &hdr, &got, header));
	assert_int_equal(hdr.flags, 0);
	end_close(b);
}

/* Reports of nobody's hash, or with a code that does not exist. */
static void
test_c95_hash_report(void **state)
{
	const struct {
		uint64_t ol_flags;
		uint32_t code;
		const char *tail;
	} rows[] = {
		{RTE_MBUF_F_RX_RSS_HASH, 1, "\xd4\xc3\xb2\xa1\x01\x00\x00\x00"},
		{RTE_MBUF_F_RX_RSS_HASH, 9, "\xd4\xc3\xb2\xa1\x09\x00\x00\x00"},
		{RTE_MBUF_F_RX_RSS_HASH, 0, "\0\0\0\0\0\0\0\0"},
		{RTE_MBUF_F_RX_RSS_HASH, 10, "\0\0\0\0\0\0\0\0"},
		{RTE_MBUF_F_RX_RSS_HASH, 0x10001, "\0\0\0\0\0\0\0\0"},
		{0, 1, "\0\0\0\0\0\0\0\0"},
	};

	for (uint32_t traits = 0; traits < TRAIT_N; traits++)
		for (size_t i = 0; i < RTE_DIM(rows); i++) {
			struct vnet_end *b;
			static struct packet got;
			const struct packet *frame = requests_packet(&requests_specs[0], PACKET_SUM_WHOLE);
			struct virtio_net_hdr hdr;
			uint8_t header[HEADER_LEN_MAX];
			struct rte_mbuf *pkt;

			if (!(traits & TRAIT_HASH_REPORT) || traits & TRAIT_LOG)
				continue;
			b = end_open(true, traits, 20, 0);
			end_post(b);
			/* One mbuf: the body; several: the odd case. */
			for (enum mbufs_cuts cuts = MBUFS_WHOLE; cuts <= MBUFS_FEW_CUTS; cuts++) {
				pkt = mbufs_make(requests_pool, frame->bytes, frame->len, cuts);
				pkt->ol_flags = rows[i].ol_flags;
				pkt->hash.rss = 0xa1b2c3d4;
				pkt->hash.fdir.hi = rows[i].code;
				assert_int_equal(vnet_tx(&b->txq, &pkt, 1), 1);
				assert_true(end_receive(b, &hdr, &got, header));
				assert_memory_equal(header, "\0\0\0\0\0\0\0\0\0\0\1\0", 12);
				assert_memory_equal(header + 12, rows[i].tail, 8);
				assert_int_equal(got.len, frame->len);
				assert_memory_equal(got.bytes, frame->bytes, frame->len);
			}
			end_close(b);
		}
}

/* --- out of a NIC --- */

/* What a port sends goes to its own receive queue; how many frames came back. */
static unsigned int
nic_send(struct port *port, struct rte_mbuf *pkt, struct rte_mbuf **ret_pkts)
{
	unsigned int n = port_tx(&port->txqs[0], &pkt, 1), n_back = 0;

	while (n_back < n) {
		uint16_t now = port_rx(&port->rxqs[0], ret_pkts + n_back, PORT_BURST);

		assert_true(now > 0);
		n_back += now;
	}
	return n;
}

static void
test_nic_gets_complete_frames(void **state)
{
	struct rte_mbuf *pkts[128];
	struct port_config config;
	struct port *port;
	struct diag diag;

	memset(&diag, 0, sizeof(diag));
	assert_int_equal(port_config_parse(&config, "up0=nic,vdev=net_ring0", &diag), 0);
	assert_int_equal(port_open(&config, &port, &diag), 0);
	port_config_free(&config);
	for (size_t i = 0; i < REQUESTS_SPECS; i++) {
		const struct packet *frame = requests_packet(&requests_specs[i], PACKET_SUM_PSEUDO);
		const bool tso = requests_specs[i].proto == PACKET_TCP && requests_specs[i].payload > 1000;
		unsigned int n;

		n = nic_send(port, requests_make(frame, tso ? 1000 : 0, MBUFS_FEW_CUTS), pkts);
		assert_int_equal(n, tso ? (requests_specs[i].payload + 999) / 1000 : 1);
		if (tso) {
			requests_check_segments(frame, pkts, n, 1000);
		} else {
			static struct packet got;

			mbufs_read(pkts[0], &got);
			assert_true(packet_is_whole(&got));
			assert_false(requests_any(pkts[0]));
		}
		rte_pktmbuf_free_bulk(pkts, n);
		if (requests_specs[i].proto != PACKET_UDP || requests_cut_len(frame) <= 1000)
			continue;
		n = nic_send(port, requests_make_fragments(frame, 1000, MBUFS_FEW_CUTS), pkts);
		requests_check_fragments(frame, pkts, n, 1000);
		rte_pktmbuf_free_bulk(pkts, n);
	}
	port_close(port);
	assert_int_equal(rte_mempool_in_use_count(requests_pool), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_guest_to_guest),
		cmocka_unit_test(test_c91_segments_that_were_joined_are_counted),
		cmocka_unit_test(test_nonsense_costs_its_own_frame),
		cmocka_unit_test(test_offloads_switched_at_run_time),
		cmocka_unit_test(test_c95_hash_report),
		cmocka_unit_test(test_nic_gets_complete_frames),
	};

	requests_env_open();
	port_env.ctx = &ctx;
	port_env.pool = requests_pool;
	port_env.n_workers = 1;
	return UNIT_RUN(tests);
}
