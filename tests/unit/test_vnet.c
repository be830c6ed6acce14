/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The burst functions against the driver model: every traits word, many ring sizes, every shape of chain,
 * frames of all lengths, many laps of the ring; the specialised functions of every ISA variant that this CPU
 * has against the generic one, byte for byte; and frames that are borrowed.
 */
#include "unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <rte_mbuf.h>

#include "borrow.h"
#include "burst_variants.h"
#include "driver.h"
#include "flows.h"
#include "rng.h"
#include "unit_eal.h"
#include "vnet.h"
#include "vnet_end.h"
#include "vnet_traits.h"

enum { POOL_SIZE = 8191, FRAME_MAX = 9018 };

static struct rte_mempool *pool;

/* The specialised functions of each ISA variant (enum isa), and the generic ones. */
enum { GENERIC = VNET_END_GENERIC, N_VARIANTS };

/* Compiled in, for this CPU, and with functions of its own. */
static bool
variant_runs(int variant)
{
	if (variant == GENERIC || variant == ISA_PORTABLE)
		return true;
	return variant <= (int)isa_select() && vnet_from_guest_variant((enum isa)variant, 0) !=
						       vnet_from_guest_variant((enum isa)(variant - 1), 0);
}

struct rig {
	struct vnet_end end;
	struct rng rng;
};

/* What a modern driver has. */
static uint16_t
modern_hdr_len(uint32_t traits)
{
	return traits & TRAIT_HASH_REPORT ? 20 : 12;
}

static struct rig *
rig_open(uint32_t traits, uint16_t size, uint16_t hdr_len, int variant)
{
	struct rig *rig = unit_zalloc(sizeof(*rig));

	rig->rng = rng_stream(traits * 131u + size);
	vnet_end_open(&rig->end, 2, traits, size, hdr_len, variant, pool);
	rig->end.conf.offloads = OFFLOADS_ALL;
	return rig;
}

static void
rig_close(struct rig *rig)
{
	vnet_end_close(&rig->end);
	free(rig);
}

static uint8_t
pattern(uint64_t tag, uint32_t i)
{
	return (uint8_t)(tag * 7 + i * 13 + (i >> 8));
}

/* Cut [gpa, gpa + len) into a chain of random pieces, at most `most`. */
static unsigned int
cut(struct rig *rig, uint64_t gpa, uint32_t len, bool writable, unsigned int most, struct driver_buf bufs[])
{
	unsigned int n = 0;

	while (len && n + 1 < most) {
		uint32_t now = 1 + rng_draw(&rig->rng, len);

		bufs[n++] = (struct driver_buf){.gpa = gpa, .len = now, .writable = writable};
		gpa += now;
		len -= now;
	}
	if (len)
		bufs[n++] = (struct driver_buf){.gpa = gpa, .len = len, .writable = writable};
	return n;
}

/* With TRAIT_OFFLOAD, frames of some tags ask for a checksum from SUM_START on, stored at its first two
 * bytes. */
enum { SUM_START = 14 };

static bool
sum_is_asked(const struct rig *rig, uint64_t tag, uint32_t len)
{
	return rig->end.conf.virtq.traits & TRAIT_OFFLOAD && tag % 3 == 1 && len >= SUM_START + 2;
}

/* Byte i of the header in front of a frame from the guest: nonsense where it must not be read. */
static uint8_t
header_byte(const struct rig *rig, uint64_t tag, uint32_t len, uint32_t i)
{
	if (rig->end.conf.virtq.traits & TRAIT_OFFLOAD) {
		if (i == 1)
			return 0; /* gso_type */
		if (sum_is_asked(rig, tag, len) && (i == 0 || (i >= 6 && i < 10)))
			return i == 0 ? 0xff : i == 6 ? SUM_START : 0;
	}
	return 0xee;
}

static bool
mbuf_is(const struct rte_mbuf *pkt, uint64_t tag, uint32_t len, bool summed)
{
	uint8_t whole[FRAME_MAX + 16];
	uint32_t sum = 0;
	const uint8_t *at;

	if (pkt->pkt_len != len)
		return false;
	at = rte_pktmbuf_read(pkt, 0, len, whole);
	for (uint32_t i = SUM_START; i < len && summed; i++) {
		sum += i % 2 ? pattern(tag, i) : (uint32_t)pattern(tag, i) << 8;
		sum = (sum & 0xffff) + (sum >> 16);
	}
	sum = ~sum & 0xffff;
	for (uint32_t i = 0; i < len; i++) {
		uint8_t want = pattern(tag, i);

		if (summed && (i == SUM_START || i == SUM_START + 1))
			want = (uint8_t)(i == SUM_START ? sum >> 8 : sum);
		if (at[i] != want)
			return false;
	}
	return true;
}

static const uint16_t split_sizes[] = {1, 2, 4, 16, 256, 1024};
static const uint16_t packed_sizes[] = {1, 2, 3, 5, 31, 33, 255, 256, 257, 1025};

/* Run fn for every traits word, size, header length and variant. */
static void
for_all(void (*fn)(struct rig *rig))
{
	for (uint32_t traits = 0; traits < TRAIT_N; traits++) {
		const uint16_t *sizes = traits & TRAIT_PACKED ? packed_sizes : split_sizes;
		size_t n = traits & TRAIT_PACKED ? RTE_DIM(packed_sizes) : RTE_DIM(split_sizes);

		for (size_t i = 0; i < n; i += 1 + UNIT_SANITIZED)
			for (int variant = 0; variant < N_VARIANTS; variant++)
				for (uint16_t hdr_len =
					     traits & (TRAIT_PACKED | TRAIT_MERGEABLE | TRAIT_HASH_REPORT)
						     ? modern_hdr_len(traits)
						     : 10;
				     variant_runs(variant) && hdr_len <= modern_hdr_len(traits);
				     hdr_len = (uint16_t)(hdr_len + 2)) {
					struct rig *rig = rig_open(traits, sizes[i], hdr_len, variant);

					fn(rig);
					rig_close(rig);
				}
	}
}

/* A stream of frames of all shapes: what goes in comes out, once, in order, and every chain comes back. */
static void
from_guest_stream(struct rig *rig)
{
	const uint32_t hdr_len = rig->end.conf.hdr_len;
	/* Where frames live: around the seam of the two regions that touch, so that some buffers cross it. */
	const uint64_t seam = driver_region_gpa(1);
	const unsigned int slots = 64;
	uint64_t sent = 0, got = 0, returned = 0, total = RTE_MIN(3u * rig->end.driver.size + 64, 1500u);
	uint32_t lens[64];

	while (returned < total) {
		struct rte_mbuf *pkts[PORT_BURST];
		uint64_t tag;
		uint32_t written;
		uint16_t n;

		while (sent < total && sent - returned < slots) {
			uint32_t len = 14 + rng_draw(&rig->rng, sent % 9 == 0 ? FRAME_MAX - 14 : 200);
			uint64_t gpa = seam - 20000 + (sent % slots) * 640 + rng_draw(&rig->rng, 9);
			unsigned int most = rig->end.driver.size < 6 ? rig->end.driver.size : 6;
			enum driver_form form = (enum driver_form)rng_draw(&rig->rng, DRIVER_N_FORMS);
			struct driver_buf bufs[8];
			unsigned int n_bufs;

			/* Long frames overlap the next slots: only one is in flight then. */
			if (len > 600 && sent != returned)
				break;
			n_bufs = cut(rig, gpa, hdr_len + len, false, 1 + rng_draw(&rig->rng, most), bufs);
			for (uint32_t i = 0; i < hdr_len + len; i++) {
				uint8_t byte = i < hdr_len ? header_byte(rig, sent, len, i)
							   : pattern(sent, i - hdr_len);

				driver_write(&rig->end.mem, gpa + i, &byte, 1);
			}
			if (!driver_add(&rig->end.driver, bufs, n_bufs, form, sent))
				break;
			lens[sent++ % slots] = len;
			if (len > 600)
				break;
		}
		n = vnet_end_take(&rig->end, pkts, (uint16_t)(1 + rng_draw(&rig->rng, PORT_BURST)));
		for (uint16_t i = 0; i < n; i++, got++)
			assert_true(mbuf_is(pkts[i], got, lens[got % slots],
					    sum_is_asked(rig, got, lens[got % slots])));
		rte_pktmbuf_free_bulk(pkts, n);
		while (driver_get(&rig->end.driver, &tag, &written)) {
			assert_int_equal(tag, returned);
			assert_int_equal(written, 0);
			returned++;
		}
		assert_int_equal(returned, got);
		/* The driver's indirect tables are never reused: start over in its region. */
		if (sent == returned)
			rig->end.mem.next[1] = 1 << 20;
	}
	assert_int_equal(rig->end.rxq.stats.packets, total);
	assert_false(virtq_is_broken(&rig->end.queue.from_guest));
}

static struct rte_mbuf *
frame_make(uint64_t tag, uint32_t len)
{
	struct rte_mbuf *pkt = rte_pktmbuf_alloc(pool), *last = pkt;
	uint32_t done = 0;

	assert_non_null(pkt);
	pkt->pkt_len = len;
	while (done < len) {
		/* Segments of odd lengths. */
		uint32_t now = RTE_MIN(len - done, done ? 700u : 1500u);

		if (done) {
			last->next = rte_pktmbuf_alloc(pool);
			last = last->next;
			pkt->nb_segs++;
		}
		last->data_len = (uint16_t)now;
		for (uint32_t i = 0; i < now; i++)
			rte_pktmbuf_mtod(last, uint8_t *)[i] = pattern(tag, done + i);
		done += now;
	}
	return pkt;
}

/* Where borrowed frames' tails are: the memory of a sender. */
static uint8_t loans[PORT_BURST][2048];

/* A frame that can be borrowed is, for every other tag; what is not its head is in loans[i] then. */
static void
frame_borrow(struct rte_mbuf *pkt, uint64_t tag, unsigned int i)
{
	uint8_t *frame = rte_pktmbuf_mtod(pkt, uint8_t *);

	if (tag % 2 || pkt->nb_segs > 1 || pkt->pkt_len < BORROW_MIN ||
	    pkt->ol_flags & RTE_MBUF_F_TX_UDP_CKSUM)
		return;
	memcpy(loans[i], frame, pkt->pkt_len);
	memset(frame + BORROW_HEAD, 0xa5, pkt->pkt_len - BORROW_HEAD);
	/* The head is private: what the sender has there by now does not matter. */
	memset(loans[i], 0xc3, BORROW_HEAD);
	borrow_start(pkt, loans[i]);
}

/* Some frames ask for something, or have a hash; what comes of it depends on the traits alone. */
static void
frame_mark(struct rte_mbuf *pkt, uint64_t tag)
{
	if (tag % 3 == 1) {
		pkt->ol_flags |= RTE_MBUF_F_TX_IPV4 | RTE_MBUF_F_TX_UDP_CKSUM;
		pkt->l2_len = 14;
		pkt->l3_len = 24;
	} else if (tag % 3 == 2) {
		pkt->ol_flags |= RTE_MBUF_F_RX_L4_CKSUM_GOOD;
	}
	if (tag % 2) {
		pkt->ol_flags |= RTE_MBUF_F_RX_RSS_HASH;
		pkt->hash.rss = 0x01020304;
		pkt->hash.fdir.hi = 3;
	}
}

static void
header_check(const struct rig *rig, uint64_t tag, const uint8_t *header)
{
	const uint8_t asks[10] = {1, 0, 0, 0, 0, 0, 38, 0, 6, 0}, valid[10] = {2}, none[10] = {0};
	const uint8_t hash[8] = {4, 3, 2, 1, 3, 0, 0, 0}, no_hash[8] = {0};
	const uint32_t traits = rig->end.conf.virtq.traits;

	if (!(traits & TRAIT_OFFLOAD))
		assert_memory_equal(header, none, 10);
	else
		assert_memory_equal(header, tag % 3 == 1 ? asks : tag % 3 == 2 ? valid : none, 10);
	if (traits & TRAIT_HASH_REPORT)
		assert_memory_equal(header + 12, tag % 2 ? hash : no_hash, 8);
}

/* Frames of all lengths into buffers of all shapes; mergeable ones span several. */
static void
to_guest_stream(struct rig *rig)
{
	const uint32_t hdr_len = rig->end.conf.hdr_len;
	const bool mergeable = rig->end.conf.virtq.traits & TRAIT_MERGEABLE;
	const uint64_t seam = driver_region_gpa(1);
	/* Non-mergeable buffers take the longest frame; mergeable ones need several for most. */
	const uint32_t buffer_len = mergeable ? 600 : hdr_len + 1600,
		       longest = mergeable && rig->end.driver.size >= 16 ? 5000 : 500,
		       borrowed_more = mergeable && rig->end.driver.size < 16 ? 180 : 1100;
	const unsigned int slots = RTE_MIN((unsigned int)rig->end.driver.size, 64u);
	uint64_t posted = 0, frames = 0, back = 0, total = RTE_MIN(3u * rig->end.driver.size + 64, 1200u);
	uint64_t sent_bytes = 0;

	while (frames < total) {
		struct rte_mbuf *pkts[PORT_BURST];
		uint32_t lens[PORT_BURST];
		uint16_t n = (uint16_t)(1 + rng_draw(&rig->rng, PORT_BURST)), n_sent, n_seen = 0;
		uint64_t tag, first = frames;
		uint32_t written;

		if (posted == back)
			rig->end.mem.next[1] = 1 << 20;
		while (posted - back < slots) {
			uint64_t gpa = seam - 50000 + (posted % slots) * 1700;
			enum driver_form form = (enum driver_form)rng_draw(&rig->rng, DRIVER_N_FORMS);
			struct driver_buf bufs[8];
			unsigned int most = rig->end.driver.size < 4 ? rig->end.driver.size : 4, n_bufs;

			n_bufs = cut(rig, gpa, buffer_len, true, 1 + rng_draw(&rig->rng, most), bufs);
			if (!driver_add(&rig->end.driver, bufs, n_bufs, form, posted))
				break;
			posted++;
		}
		for (uint16_t i = 0; i < n; i++) {
			lens[i] = 14 + rng_draw(&rig->rng, i % 5 ? 300 : longest);
			if (i % 5 == 1)
				lens[i] = BORROW_MIN + rng_draw(&rig->rng, borrowed_more);
			pkts[i] = frame_make(first + i, lens[i]);
			frame_mark(pkts[i], first + i);
			frame_borrow(pkts[i], first + i, i);
		}
		n_sent = rig->end.to_guest(&rig->end.queue, &rig->end.conf, &rig->end.txq, pkts, n);
		rte_pktmbuf_free_bulk(pkts, n);
		/* Those that were given are somewhere among the n, in order; the rest found no buffer. */
		for (uint16_t i = 0; i < n && n_seen < n_sent; i++) {
			uint8_t whole[FRAME_MAX + 2000], header[20];
			uint32_t len = 0, num_buffers = 0, k = 0;
			bool match = true;

			do {
				const uint64_t gpa = seam - 50000 + (back % slots) * 1700;

				if (!driver_get(&rig->end.driver, &tag, &written))
					fail_msg("frame %u of %u has no buffer", n_seen, n_sent);
				assert_int_equal(tag, back);
				assert_true(written >= 1 && written <= buffer_len);
				driver_read(&rig->end.mem, gpa, whole + len, written);
				if (k == 0) {
					memcpy(header, whole, hdr_len);
					num_buffers = hdr_len >= 12 ? header[10] + header[11] * 256u : 1;
				}
				len += written;
				back++;
				/* All but the last are filled completely. */
				assert_true(++k == num_buffers || written == buffer_len);
			} while (k < num_buffers);
			assert_true(mergeable || num_buffers == 1);
			while (i < n && lens[i] + hdr_len != len)
				i++;
			assert_true(i < n);
			header_check(rig, first + i, header);
			for (uint32_t b = 0; b < lens[i]; b++)
				match = match && whole[hdr_len + b] == pattern(first + i, b);
			assert_true(match);
			sent_bytes += lens[i];
			n_seen++;
		}
		assert_int_equal(n_seen, n_sent);
		assert_false(driver_get(&rig->end.driver, &tag, &written));
		frames += n;
	}
	assert_int_equal(rig->end.txq.stats.bytes, sent_bytes);
	assert_int_equal(rig->end.txq.stats.packets + rig->end.txq.stats.drops[DROP_NO_BUFFER] +
				 rig->end.txq.stats.drops[DROP_TOO_LONG],
			 frames);
	assert_true(rig->end.txq.stats.packets > 0);
	assert_false(virtq_is_broken(&rig->end.queue.to_guest));
}

static void
test_from_guest(void **state)
{
	for_all(from_guest_stream);
	assert_int_equal(rte_mempool_in_use_count(pool), 0);
}

static void
test_to_guest(void **state)
{
	for_all(to_guest_stream);
	assert_int_equal(rte_mempool_in_use_count(pool), 0);
}

static int variants[] = {ISA_PORTABLE, ISA_AVX2, ISA_AVX512};

/* The variant that a test is for. */
static int
variant_of(void **state)
{
	return *(int *)*state;
}

/*
 * Of the words of a device type's traits, those that a variant's turn it is to be tested with: all are, by
 * one of the variants that run. For what takes long and depends on the variant little.
 */
static bool
is_turn_of(int variant, uint32_t traits)
{
	unsigned int n = 0, idx = 0;

	for (size_t i = 0; i < RTE_DIM(variants); i++) {
		if (variants[i] == variant)
			idx = n;
		n += variant_runs(variants[i]);
	}
	return traits / TRAIT_VIRTQ_N % n == idx;
}

/* cmocka compares byte by byte, which would be half of the time here. */
static void
assert_same_bytes(const void *a, const void *b, size_t len)
{
	if (memcmp(a, b, len) != 0)
		assert_memory_equal(a, b, len);
}

static void
stats_compare(const struct rig *a, const struct rig *b)
{
	assert_same_bytes(&a->end.rxq.stats, &b->end.rxq.stats, sizeof(a->end.rxq.stats));
	assert_same_bytes(&a->end.txq.stats, &b->end.txq.stats, sizeof(a->end.txq.stats));
}

/* What the device leaves behind. */
static void
rigs_compare(const struct rig *a, const struct rig *b)
{
	driver_mem_same(&a->end.mem, &b->end.mem);
	stats_compare(a, b);
	assert_same_bytes((void *)a->end.mem.log.bits, (void *)b->end.mem.log.bits, a->end.mem.log.n_bytes);
}

/* The same stream through the specialised and the generic functions leaves the same guest memory, bit for
 * bit. */
static void
test_variants_agree(void **state)
{
	const int variant = variant_of(state);

	for (uint32_t traits = 0; traits < TRAIT_N; traits++) {
		const uint16_t size = traits & TRAIT_PACKED ? 100 : 128;
		struct rig *rig = rig_open(traits, size, modern_hdr_len(traits), variant),
			   *oracle = rig_open(traits, size, modern_hdr_len(traits), GENERIC);

		to_guest_stream(rig);
		to_guest_stream(oracle);
		rigs_compare(rig, oracle);
		rig_close(rig);
		rig_close(oracle);
	}
}

/* --- bursts in lockstep --- */

enum { PAIR = 2, SLOT_LEN = 8192, ROOM = RTE_MBUF_DEFAULT_DATAROOM };

/* Chains that are not direct, or only just. */
enum oddity {
	ODD_NOT,
	ODD_CHAIN,
	ODD_INDIRECT,
	ODD_DIRECTION,
	ODD_SHORT,
	ODD_EMPTY,
	ODD_LONG,
	ODD_UNMAPPED,
	ODD_ELSEWHERE,
	ODD_BEFORE,
	ODD_SEAM,
	ODD_AROUND,
	ODD_HUGE,
	ODD_JUST_FITS,
	ODD_SHORTEST,
	ODD_LONGEST,
	ODD_N,
};

/* One burst: what the driver makes available, the same for both. */
struct step {
	uint16_t n, odd_at;
	enum oddity odd;
	uint64_t gpa[VIRTQ_FETCH_MAX]; /* of the buffers, or of the first of two */
	uint32_t len[VIRTQ_FETCH_MAX];
};

/* What frames are made of. */
static uint8_t noise[1024 + SLOT_LEN];

static void
noise_fill(void)
{
	static bool done;
	struct rng rng = rng_stream(0);

	for (size_t i = 0; i < sizeof(noise) && !done; i++)
		noise[i] = (uint8_t)rng_draw(&rng, 256);
	done = true;
}

/*
 * The split driver's heads: as its free list has them, in a row (over the end of the table, now and then), or
 * far from each other. All of them are free now.
 */
static void
heads_arrange(struct driver_queue *queue, uint32_t how, uint32_t first)
{
	uint32_t stride = how == 1 ? 1 : (how * 2 + 3);

	if (queue->packed || how == 0)
		return;
	for (uint32_t i = 0; i < queue->size; i++)
		queue->desc[i].next = (uint16_t)((i + stride) % queue->size);
	queue->free_head = (uint16_t)(first % queue->size);
}

static void
step_make(struct rig *rig, struct step *step, bool writable, uint16_t n, enum oddity odd)
{
	const uint16_t hdr_len = rig->end.conf.hdr_len;

	step->n = n;
	step->odd = odd;
	step->odd_at = (uint16_t)rng_draw(&rig->rng, n);
	for (uint16_t i = 0; i < n; i++) {
		/* Every other frame starts on a cache line. */
		uint32_t shift = i % 2 ? 64u - hdr_len : rng_draw(&rig->rng, 128);
		/* Lengths on both sides of what is borrowed, and of what its head is. */
		static const uint32_t lens[] = {14, 15, 60, 64, 127, 128, 129, 200, 383, 384, 385, 600};

		step->gpa[i] = driver_region_gpa(0) + 65536 + i * (uint64_t)SLOT_LEN + shift;
		step->len[i] = writable ? 1600 : hdr_len + lens[rng_draw(&rig->rng, RTE_DIM(lens))];
		if (i != step->odd_at)
			continue;
		switch (odd) {
		case ODD_SHORT:
			step->len[i] = writable ? hdr_len - 1u : hdr_len + 13u;
			break;
		case ODD_EMPTY:
			step->len[i] = 0;
			break;
		case ODD_LONG:
			step->len[i] = hdr_len + ROOM + 1u;
			break;
		case ODD_UNMAPPED:
			step->gpa[i] = 0x30000000;
			break;
		case ODD_ELSEWHERE:
			step->gpa[i] = driver_region_gpa(1) + (7 << 20);
			break;
		case ODD_BEFORE:
			step->gpa[i] = driver_region_gpa(0) - 1;
			break;
		case ODD_SEAM:
			step->gpa[i] = driver_region_gpa(1) - hdr_len - 13;
			break;
		case ODD_AROUND:
			step->gpa[i] = UINT64_MAX - 10;
			break;
		case ODD_HUGE:
			step->len[i] = UINT32_MAX;
			break;
		case ODD_JUST_FITS:
			step->gpa[i] = driver_region_gpa(1) - step->len[i];
			break;
		case ODD_SHORTEST:
			step->len[i] = hdr_len + 14u;
			break;
		case ODD_LONGEST:
			step->len[i] = hdr_len + (uint32_t)ROOM;
			break;
		default:
			break;
		}
	}
}

static void
step_add(struct rig *rig, const struct step *step, bool writable, uint64_t first_tag)
{
	for (uint16_t i = 0; i < step->n; i++) {
		bool is_odd = i == step->odd_at;
		bool write = writable ^ (is_odd && step->odd == ODD_DIRECTION);
		struct driver_buf bufs[2] = {{step->gpa[i], step->len[i], write}};
		unsigned int n_bufs = 1;
		enum driver_form form = DRIVER_DIRECT;

		if (is_odd && step->odd == ODD_CHAIN && rig->end.driver.n_free > step->n - i) {
			bufs[1] = (struct driver_buf){step->gpa[i] + 20, step->len[i] - 20, write};
			bufs[0].len = 20;
			n_bufs = 2;
		}
		if (is_odd && step->odd == ODD_INDIRECT)
			form = DRIVER_INDIRECT;
		assert_true(driver_add(&rig->end.driver, bufs, n_bufs, form, first_tag + i));
	}
	/* Tables are never reused: start over in their region, which ends below ODD_ELSEWHERE. */
	rig->end.mem.next[1] = 1 << 20;
}

/* [gpa, gpa + len) is in the first two regions. */
static bool
step_is_mapped(uint64_t gpa, uint32_t len)
{
	const uint64_t first = driver_region_gpa(0), end = driver_region_gpa(1) + DRIVER_REGION_SIZE;

	return gpa >= first && gpa < end && len <= end - gpa;
}

/* Frames and headers of the step into guest memory. */
static void
step_write(struct rig *rig, const struct step *step, uint64_t first_tag)
{
	const uint16_t hdr_len = rig->end.conf.hdr_len;

	for (uint16_t i = 0; i < step->n; i++) {
		uint8_t header[20];
		uint32_t len = RTE_MIN(step->len[i], (uint32_t)SLOT_LEN / 2);
		uint64_t tag = first_tag + i, gpa = step->gpa[i];

		if (!step_is_mapped(gpa, len))
			continue;
		driver_write(&rig->end.mem, gpa, noise + tag % 1021, len);
		memset(header, 0xee, sizeof(header));
		if (rig->end.conf.virtq.traits & TRAIT_OFFLOAD) {
			/* Nothing, a checksum, or what makes no sense. */
			memset(header, 0, sizeof(header));
			if (tag % 7 == 3) {
				header[0] = 1;
				header[6] = SUM_START;
			}
			header[1] = tag % 11 == 5 ? 99 : 0;
		}
		if (len >= hdr_len)
			driver_write(&rig->end.mem, gpa, header, hdr_len);
	}
}

/* The rings as the device has left them, its state, the counters and the log. */
static void
pair_compare(struct rig *const rigs[PAIR], const struct virtq *a, const struct virtq *b)
{
	const struct driver_queue *ring = &rigs[0]->end.driver;
	const uint64_t end = ring->used_gpa + (ring->packed ? 4 : 6 + 8ull * ring->size);

	assert_same_bytes(driver_va(&rigs[0]->end.mem, ring->desc_gpa),
			  driver_va(&rigs[1]->end.mem, ring->desc_gpa), end - ring->desc_gpa);
	assert_int_equal(a->avail.idx, b->avail.idx);
	assert_int_equal(a->avail.wrap, b->avail.wrap);
	assert_int_equal(a->used_idx, b->used_idx);
	assert_int_equal(a->used_wrap, b->used_wrap);
	assert_int_equal(a->held, b->held);
	assert_int_equal(a->batch, 0);
	assert_int_equal(b->batch, 0);
	assert_int_equal(a->fault, b->fault);
	stats_compare(rigs[0], rigs[1]);
	if (rigs[0]->end.conf.virtq.log) {
		assert_same_bytes((void *)rigs[0]->end.mem.log.bits, (void *)rigs[1]->end.mem.log.bits,
				  rigs[0]->end.mem.log.n_bytes);
		memset((void *)rigs[0]->end.mem.log.bits, 0, rigs[0]->end.mem.log.n_bytes);
		memset((void *)rigs[1]->end.mem.log.bits, 0, rigs[1]->end.mem.log.n_bytes);
	}
}

/* Both drivers get the same back: all of it. */
static void
pair_get(struct rig *const rigs[PAIR], uint64_t first_tag, uint16_t n, uint32_t ret_written[])
{
	for (uint16_t i = 0; i < n; i++) {
		uint32_t written[PAIR];
		uint64_t tag;

		for (int k = 0; k < PAIR; k++) {
			assert_true(driver_get(&rigs[k]->end.driver, &tag, &written[k]));
			assert_int_equal(tag, first_tag + i);
		}
		assert_int_equal(written[0], written[1]);
		ret_written[i] = written[0];
	}
	for (int k = 0; k < PAIR; k++) {
		uint64_t tag;
		uint32_t written;

		assert_false(driver_get(&rigs[k]->end.driver, &tag, &written));
	}
}

static void
from_guest_step(struct rig *const rigs[PAIR], uint64_t first_tag, uint16_t n, enum oddity odd)
{
	uint32_t how = rng_draw(&rigs[0]->rng, 5), first = rng_draw(&rigs[0]->rng, 1 << 16),
		 written[VIRTQ_FETCH_MAX];
	struct rte_mbuf *pkts[PAIR][VIRTQ_FETCH_MAX];
	uint16_t n_pkts[PAIR] = {0};
	struct step step;

	step_make(rigs[0], &step, false, n, odd);
	for (int k = 0; k < PAIR; k++) {
		heads_arrange(&rigs[k]->end.driver, how, first);
		step_write(rigs[k], &step, first_tag);
		step_add(rigs[k], &step, false, first_tag);
		/* What comes before an odd chain, the odd one, what follows, and perhaps the ring's corner.
		 */
		for (int turn = 0; turn < 5; turn++)
			n_pkts[k] = (uint16_t)(n_pkts[k] + vnet_end_take(&rigs[k]->end, pkts[k] + n_pkts[k],
									 VIRTQ_FETCH_MAX));
	}
	assert_int_equal(n_pkts[0], n_pkts[1]);
	for (uint16_t i = 0; i < n_pkts[0]; i++) {
		uint8_t whole[PAIR][ROOM + 16];
		const struct rte_mbuf *a = pkts[0][i], *b = pkts[1][i];

		assert_int_equal(a->pkt_len, b->pkt_len);
		assert_int_equal(a->nb_segs, b->nb_segs);
		assert_int_equal(a->ol_flags, b->ol_flags);
		if (a->ol_flags)
			assert_int_equal(a->tx_offload, b->tx_offload);
		assert_same_bytes(rte_pktmbuf_read(a, 0, a->pkt_len, whole[0]),
				  rte_pktmbuf_read(b, 0, b->pkt_len, whole[1]), a->pkt_len);
	}
	for (int k = 0; k < PAIR; k++)
		rte_pktmbuf_free_bulk(pkts[k], n_pkts[k]);
	/* See test_variants_agree(). The rest of the ring says nothing either then, until it is used again.
	 */
	if (!(rigs[0]->end.driver.packed && rigs[0]->end.driver.in_order))
		pair_compare(rigs, &rigs[0]->end.queue.from_guest, &rigs[1]->end.queue.from_guest);
	else
		stats_compare(rigs[0], rigs[1]);
	pair_get(rigs, first_tag, n, written);
	for (uint16_t i = 0; i < n; i++)
		assert_int_equal(written[i], 0);
}

static void
to_guest_step(struct rig *const rigs[PAIR], uint64_t first_tag, uint16_t n, enum oddity odd)
{
	uint32_t how = rng_draw(&rigs[0]->rng, 5), first = rng_draw(&rigs[0]->rng, 1 << 16),
		 written[VIRTQ_FETCH_MAX];
	static const uint32_t lens[] = {14, 60, 127, 128, 129, 200, 383, 384, 385, 1400, 1500};
	uint32_t len[VIRTQ_FETCH_MAX];
	struct step step;
	/* As many as there are buffers, one more, or one less. */
	uint16_t n_pkts = (uint16_t)RTE_MIN(n + rng_draw(&rigs[0]->rng, 3), (uint32_t)VIRTQ_FETCH_MAX);
	uint16_t n_back = 0;

	step_make(rigs[0], &step, true, n, odd);
	for (uint16_t i = 0; i < n_pkts; i++)
		len[i] = lens[rng_draw(&rigs[0]->rng, RTE_DIM(lens))];
	for (int k = 0; k < PAIR; k++) {
		struct rte_mbuf *pkts[VIRTQ_FETCH_MAX];

		heads_arrange(&rigs[k]->end.driver, how, first);
		step_add(rigs[k], &step, true, first_tag);
		for (uint16_t i = 0; i < n_pkts; i++) {
			pkts[i] = frame_make(first_tag + i, len[i]);
			frame_mark(pkts[i], first_tag + i);
			frame_borrow(pkts[i], first_tag + i, i);
		}
		vnet_end_give(&rigs[k]->end, pkts, n_pkts);
		rte_pktmbuf_free_bulk(pkts, n_pkts);
	}
	pair_compare(rigs, &rigs[0]->end.queue.to_guest, &rigs[1]->end.queue.to_guest);
	for (uint16_t i = 0; i < n; i++)
		if (step_is_mapped(step.gpa[i], 1600))
			assert_same_bytes(driver_va(&rigs[0]->end.mem, step.gpa[i]),
					  driver_va(&rigs[1]->end.mem, step.gpa[i]), 1600);
	/* Buffers that nobody needed are used up with short frames. */
	for (int turn = 0; turn < 3; turn++)
		for (int k = 0; k < PAIR; k++)
			for (uint16_t i = 0; i < n; i++) {
				struct rte_mbuf *pkt = frame_make(0, 14);

				vnet_end_give(&rigs[k]->end, &pkt, 1);
				rte_pktmbuf_free(pkt);
			}
	n_back = n;
	pair_compare(rigs, &rigs[0]->end.queue.to_guest, &rigs[1]->end.queue.to_guest);
	pair_get(rigs, first_tag, n_back, written);
}

static const uint16_t step_split_sizes[] = {32, 64}, step_packed_sizes[] = {31, 37, 97};

/* Every traits word; bursts of every length from every position of the ring; oddities at every place. */
static void
bursts_agree(int variant, void (*step)(struct rig *const rigs[PAIR], uint64_t, uint16_t, enum oddity))
{
	noise_fill();
	for (uint32_t traits = 0; traits < TRAIT_N; traits++) {
		const bool packed = traits & TRAIT_PACKED;
		const uint16_t *sizes = packed ? step_packed_sizes : step_split_sizes;
		const size_t n_sizes = packed ? RTE_DIM(step_packed_sizes) : RTE_DIM(step_split_sizes);

		/* It is between the two others, and test_direct.c has more of what differs. */
		if (variant == ISA_AVX2 && !is_turn_of(variant, traits))
			continue;
		for (size_t i = 0; i < n_sizes; i++) {
			struct rig *rigs[PAIR] = {
				rig_open(traits, sizes[i], modern_hdr_len(traits), variant),
				rig_open(traits, sizes[i], modern_hdr_len(traits), GENERIC)};
			/* Burst lengths that have a factor in common with the ring's size leave out
			 * positions: another burst of 1 follows them then. */
			uint64_t tag = 0;

			for (uint16_t n = 1; n <= RTE_MIN((int)sizes[i], (int)VIRTQ_FETCH_MAX); n++)
				for (uint16_t lap = 0; lap < (i == 0 ? sizes[i] : 3); lap++) {
					enum oddity odd =
						lap % 3 ? ODD_NOT
							: (enum oddity)rng_draw(&rigs[0]->rng, ODD_N);

					step(rigs, tag, n, odd);
					tag += n;
					if (n % 2 == 0 || sizes[i] % n == 0) {
						step(rigs, tag, 1, ODD_NOT);
						tag++;
					}
				}
			if (!(packed && traits & TRAIT_IN_ORDER))
				rigs_compare(rigs[0], rigs[1]);
			assert_false(virtq_is_broken(&rigs[0]->end.queue.from_guest));
			assert_false(virtq_is_broken(&rigs[0]->end.queue.to_guest));
			rig_close(rigs[0]);
			rig_close(rigs[1]);
		}
	}
	assert_int_equal(rte_mempool_in_use_count(pool), 0);
}

static void
test_bursts_agree_from_guest(void **state)
{
	bursts_agree(variant_of(state), from_guest_step);
}

static void
test_bursts_agree_to_guest(void **state)
{
	bursts_agree(variant_of(state), to_guest_step);
}

/* The table again, in a place where what looks like a fine descriptor follows its last one. */
static void
table_continue(struct rig *rig)
{
	struct virtq_conf *conf = &rig->end.conf.virtq;
	const uint32_t len = conf->size * (uint32_t)sizeof(struct vring_desc);
	const uint64_t gpa = driver_alloc(&rig->end.mem, 2, 2 * len, 16);

	memcpy(driver_va(&rig->end.mem, gpa), rig->end.driver.desc, len);
	for (uint32_t i = 0; i < conf->size; i++)
		memcpy((uint8_t *)driver_va(&rig->end.mem, gpa) + len + i * sizeof(struct vring_desc),
		       rig->end.driver.desc, sizeof(struct vring_desc));
	conf->desc = (void *)gmem_va(conf->mem, &conf->hot, gpa, 2 * len);
	assert_non_null(conf->desc);
}

/* A head outside the table, anywhere in a burst: what comes before it is taken, then the queue breaks. */
static void
test_bad_head(void **state)
{
	const int variant = variant_of(state);

	noise_fill();
	for (unsigned int bad = 0; bad < VIRTQ_FETCH_MAX; bad++)
		for (unsigned int head = 64; head <= UINT16_MAX; head += head == 64 ? 1 : 4093) {
			struct rig *rig = rig_open(0, 64, 12, variant);
			struct rte_mbuf *pkts[2 * VIRTQ_FETCH_MAX];
			struct step step;
			uint16_t n = 0;

			step_make(rig, &step, false, VIRTQ_FETCH_MAX, ODD_NOT);
			step_write(rig, &step, 0);
			step_add(rig, &step, false, 0);
			table_continue(rig);
			rig->end.driver.avail->ring[bad] = (uint16_t)head;
			for (int turn = 0; turn < 3; turn++)
				n = (uint16_t)(n + vnet_end_take(&rig->end, pkts + n, VIRTQ_FETCH_MAX));
			assert_int_equal(n, bad);
			rte_pktmbuf_free_bulk(pkts, n);
			assert_int_equal(rig->end.queue.from_guest.fault, FAULT_HEAD_RANGE);
			rig_close(rig);
		}
}

/* The pages of guest memory that differ from `before` are marked. */
static void
log_check(const struct rig *rig, const uint8_t *before)
{
	for (uint64_t first = 0, len; driver_mem_next(&rig->end.mem, &first, &len); first += len)
		for (uint64_t at = first; at < first + len; at += 4096) {
			unsigned int region = (unsigned int)(at / DRIVER_REGION_SIZE);
			uint64_t page = (driver_region_gpa(region) + at % DRIVER_REGION_SIZE) / 4096;

			if (memcmp(before + at, rig->end.mem.file + at, 4096) != 0)
				assert_true(rig->end.mem.log.bits[page / 8] >> (page % 8) & 1);
		}
}

/* Every page that differs from before was marked in the log: nothing is missed, whatever the shapes. */
static void
log_oracle(struct rig *rig, void (*stream)(struct rig *rig))
{
	/* What the driver writes is not the device's: compare with the same stream on a queue without the
	 * log. */
	struct rig *direct = rig_open(rig->end.conf.virtq.traits & ~(uint32_t)TRAIT_LOG,
				      rig->end.conf.virtq.size, rig->end.conf.hdr_len, GENERIC);
	unsigned int marked = 0;

	direct->rng = rig->rng;
	stream(direct);
	stream(rig);
	driver_mem_same(&rig->end.mem, &direct->end.mem);
	for (uint64_t i = 0; i < rig->end.mem.log.n_bytes; i++)
		marked += (unsigned int)__builtin_popcount(rig->end.mem.log.bits[i]);
	assert_true(marked > 0);
	rig_close(direct);
}

static void
test_log_misses_nothing(void **state)
{
	const int variant = variant_of(state);

	for (uint32_t traits = TRAIT_LOG; traits < TRAIT_N; traits++) {
		struct rig *rig;
		uint8_t *before;
		uint64_t tag;
		uint32_t written;

		if (!(traits & TRAIT_LOG) || !is_turn_of(variant, traits))
			continue;
		rig = rig_open(traits, 64, modern_hdr_len(traits), variant);
		log_oracle(rig, to_guest_stream);
		rig_close(rig);

		/* One step at a time: snapshot, one burst, then every changed page must be marked. */
		rig = rig_open(traits, 64, modern_hdr_len(traits), variant);
		for (int round = 0; round < 50; round++) {
			struct driver_buf buf = {.gpa = driver_region_gpa(0) + 4096 * 20 +
							(uint64_t)rng_draw(&rig->rng, 4096 * 50),
						 .len = 7000,
						 .writable = true};
			struct rte_mbuf *pkt =
				frame_make(2, 14 + rng_draw(&rig->rng, round % 3 ? 1480 : 5000));

			assert_true(driver_add(&rig->end.driver, &buf, 1,
					       round % 2 ? DRIVER_INDIRECT : DRIVER_DIRECT, 1));
			before = driver_mem_copy(&rig->end.mem);
			memset((void *)rig->end.mem.log.bits, 0, rig->end.mem.log.n_bytes);
			frame_borrow(pkt, 2, 0);
			assert_int_equal(vnet_end_give(&rig->end, &pkt, 1), 1);
			rte_pktmbuf_free(pkt);
			log_check(rig, before);
			free(before);
			assert_true(driver_get(&rig->end.driver, &tag, &written));
		}
		rig_close(rig);
	}
}

/* Rings of several pages, of which a burst's used elements may touch two: each that was written is marked. */
static void
ring_log_lap(uint32_t traits, int variant, bool to_guest)
{
	const uint16_t size = traits & TRAIT_PACKED ? 700 : 1024, hdr_len = modern_hdr_len(traits);
	struct rig *rig = rig_open(traits, size, hdr_len, variant);
	const struct driver_queue *ring = &rig->end.driver;
	const uint64_t first = ring->packed ? ring->desc_gpa : ring->used_gpa,
		       end = first + (ring->packed ? 16ull : 8ull) * size;
	unsigned int n_two = 0;

	for (uint32_t lap = 0; lap < 2u * size / VIRTQ_FETCH_MAX; lap++) {
		static uint8_t before[1 << 15];
		struct rte_mbuf *pkts[VIRTQ_FETCH_MAX];
		unsigned int n_changed = 0;
		uint32_t written;
		uint64_t tag;

		for (uint16_t i = 0; i < VIRTQ_FETCH_MAX; i++) {
			const struct driver_buf buf = {driver_region_gpa(0) + i * 2048ull, hdr_len + 100u,
						       to_guest};

			assert_true(driver_add(&rig->end.driver, &buf, 1, DRIVER_DIRECT, i));
			if (!to_guest)
				memset(driver_va(&rig->end.mem, buf.gpa), 0, hdr_len);
			else
				pkts[i] = frame_make(i, 100);
		}
		assert_true(end - first <= sizeof(before));
		memcpy(before, driver_va(&rig->end.mem, first), end - first);
		memset((void *)rig->end.mem.log.bits, 0, rig->end.mem.log.n_bytes);
		if (to_guest)
			assert_int_equal(vnet_end_give(&rig->end, pkts, VIRTQ_FETCH_MAX), VIRTQ_FETCH_MAX);
		else
			for (uint16_t n = 0; n < VIRTQ_FETCH_MAX;)
				n = (uint16_t)(n + vnet_end_take(&rig->end, pkts + n, VIRTQ_FETCH_MAX - n));
		for (uint64_t page = first / 4096; page <= (end - 1) / 4096; page++) {
			uint64_t from = RTE_MAX(page * 4096, first), to = RTE_MIN((page + 1) * 4096, end);

			if (memcmp(before + (from - first), driver_va(&rig->end.mem, from), to - from) == 0)
				continue;
			n_changed++;
			assert_true(rig->end.mem.log.bits[page / 8] >> (page % 8) & 1);
		}
		assert_true(n_changed > 0);
		n_two += n_changed > 1;
		rte_pktmbuf_free_bulk(pkts, VIRTQ_FETCH_MAX);
		for (uint16_t i = 0; i < VIRTQ_FETCH_MAX; i++)
			assert_true(driver_get(&rig->end.driver, &tag, &written));
	}
	/* Else it has shown nothing. In order, and nothing written: one element stands for the burst. */
	assert_true(n_two > 0 || (!to_guest && traits & TRAIT_IN_ORDER));
	rig_close(rig);
}

static void
test_log_of_large_rings(void **state)
{
	const int variant = variant_of(state);

	for (uint32_t traits = 0; traits < TRAIT_N; traits++)
		for (int to_guest = 0; to_guest <= 1 && traits & TRAIT_LOG; to_guest++)
			ring_log_lap(traits, variant, to_guest);
}

/* A frame that fits no buffer is lost alone; its neighbours arrive. */
static void
test_only_what_cannot_fit_is_lost(void **state)
{
	const int variant = variant_of(state);
	for (uint32_t traits = 0; traits < TRAIT_N; traits++) {
		const uint16_t hdr_len = modern_hdr_len(traits);
		struct rig *rig = rig_open(traits, 32, hdr_len, variant);
		const uint32_t lens[] = {100, 1500, 200u - hdr_len, 201u - hdr_len, 64};
		struct rte_mbuf *pkts[5];
		uint16_t n;

		for (unsigned int i = 0; i < 8; i++) {
			struct driver_buf buf = {
				.gpa = driver_region_gpa(0) + i * 256, .len = 200, .writable = true};

			assert_true(driver_add(&rig->end.driver, &buf, 1, DRIVER_DIRECT, i));
		}
		for (unsigned int i = 0; i < 5; i++)
			pkts[i] = frame_make(i, lens[i]);
		n = vnet_end_give(&rig->end, pkts, 5);
		rte_pktmbuf_free_bulk(pkts, 5);
		if (traits & TRAIT_MERGEABLE) {
			/* 1512 bytes (or 1520) take all eight buffers' 1600, but one is gone: 7 * 200 is too
			 * little. */
			assert_int_equal(n, 4);
			assert_int_equal(rig->end.txq.stats.drops[DROP_NO_BUFFER], 1);
		} else {
			assert_int_equal(n, 3);
			assert_int_equal(rig->end.txq.stats.drops[DROP_TOO_LONG], 2);
		}
		rig_close(rig);
	}
}

/* The rows below are for headers of 12 bytes: make the first buffer longer for longer ones. */
static void
bufs_for(const struct driver_buf row[], unsigned int n, uint16_t hdr_len, struct driver_buf ret_bufs[])
{
	memcpy(ret_bufs, row, n * sizeof(row[0]));
	if (ret_bufs[0].len && ret_bufs[0].len != UINT32_MAX)
		ret_bufs[0].len += hdr_len - 12u;
}

/* Transmit chains with the tags 1 to 3, in order and with nothing written; the queue goes on. */
static void
three_are_returned(struct rig *rig)
{
	uint64_t tag;
	uint32_t written;

	for (uint64_t want = 1; want <= 3; want++) {
		assert_true(driver_get(&rig->end.driver, &tag, &written));
		assert_int_equal(tag, want);
		assert_int_equal(written, 0);
	}
	assert_false(virtq_is_broken(&rig->end.queue.from_guest));
}

/* What a transmit chain can be that is not a frame: each is dropped, counted once, and the chain comes back.
 */
static void
test_malformed_chains(void **state)
{
	const int variant = variant_of(state);
	const uint64_t good = 0x100000, unmapped = 0x30000000;
	const uint64_t end = driver_region_gpa(2) + DRIVER_REGION_SIZE;
	const struct {
		struct driver_buf bufs[3];
		unsigned int n;
		enum port_drop reason;
	} rows[] = {
		{{{good, 1, false}}, 1, DROP_MALFORMED},
		{{{good, 11, false}}, 1, DROP_MALFORMED},
		{{{good, 12, false}}, 1, DROP_MALFORMED},
		{{{good, 13, false}}, 1, DROP_RUNT},
		{{{good, 25, false}}, 1, DROP_RUNT},
		{{{good, 0, false}}, 1, DROP_MALFORMED},
		{{{good, 12, false}, {good, 0, false}}, 2, DROP_MALFORMED},
		{{{good, 0, false}, {good, 100, false}}, 2, DROP_MALFORMED},
		{{{good, 12, false}, {good, 0, false}, {good, 100, false}}, 3, DROP_MALFORMED},
		{{{unmapped, 100, false}}, 1, DROP_MALFORMED},
		{{{0, 0, false}}, 1, DROP_MALFORMED},
		{{{end - 99, 100, false}}, 1, DROP_MALFORMED},
		{{{UINT64_MAX - 10, 100, false}}, 1, DROP_MALFORMED},
		{{{good, 12, false}, {end - 1, 2, false}}, 2, DROP_MALFORMED},
		{{{good, 100, true}}, 1, DROP_MALFORMED},
		{{{good, 100, false}, {good, 100, true}}, 2, DROP_MALFORMED},
		{{{good, 12 + PORT_FRAME_MAX + 1, false}}, 1, DROP_OVERSIZE},
		{{{good, UINT32_MAX, false}}, 1, DROP_MALFORMED},
		{{{good, 4 << 20, false}, {good, UINT32_MAX, false}}, 2, DROP_MALFORMED},
	};

	for (uint32_t traits = 0; traits < TRAIT_N; traits++)
		for (size_t i = 0; i < RTE_DIM(rows); i++)
			for (enum driver_form form = DRIVER_DIRECT; form < DRIVER_N_FORMS; form++) {
				const uint16_t hdr_len = modern_hdr_len(traits);
				struct rig *rig = rig_open(traits, 16, hdr_len, variant);
				const struct driver_buf fine = {good, hdr_len + 60u, false};
				struct driver_buf bufs[3];
				struct rte_mbuf *pkts[PORT_BURST];
				uint16_t n;

				assert_true(driver_add(&rig->end.driver, &fine, 1, DRIVER_DIRECT, 1));
				bufs_for(rows[i].bufs, rows[i].n, hdr_len, bufs);
				assert_true(driver_add(&rig->end.driver, bufs, rows[i].n, form, 2));
				assert_true(driver_add(&rig->end.driver, &fine, 1, DRIVER_DIRECT, 3));
				/* The neighbours are fine. */
				n = 0;
				/* The first of them may go by itself. */
				for (int turn = 0; turn < 2; turn++)
					n = (uint16_t)(n + vnet_end_take(&rig->end, pkts + n,
									 (uint16_t)(PORT_BURST - n)));
				assert_int_equal(n, 2);
				rte_pktmbuf_free_bulk(pkts, 2);
				assert_int_equal(rig->end.rxq.stats.drops[rows[i].reason], 1);
				three_are_returned(rig);
				rig_close(rig);
			}
	assert_int_equal(rte_mempool_in_use_count(pool), 0);
}

/* Receive chains that can't take a frame: the frame is dropped, the chain comes back empty, nothing is
 * written. */
static void
test_malformed_receive_chains(void **state)
{
	const int variant = variant_of(state);
	const uint64_t good = 0x100000, unmapped = 0x30000000;
	const struct {
		struct driver_buf bufs[2];
		unsigned int n;
	} rows[] = {
		{{{good, 2000, false}}, 1},
		{{{good, 12, false}, {good, 2000, true}}, 2},
		{{{good, 11, true}}, 1},
		{{{good, 0, true}}, 1},
		{{{unmapped, 2000, true}}, 1},
		{{{good, 12, true}, {unmapped, 2000, true}}, 2},
		{{{driver_region_gpa(2) + DRIVER_REGION_SIZE - 100, 101, true}}, 1},
	};

	for (uint32_t traits = 0; traits < TRAIT_N; traits++)
		for (size_t i = 0; i < RTE_DIM(rows); i++) {
			const uint16_t hdr_len = modern_hdr_len(traits);
			struct rig *rig = rig_open(traits, 16, hdr_len, variant);
			const struct driver_buf fine = {good + 4096, 2000, true};
			struct driver_buf bufs[2];
			struct rte_mbuf *pkts[] = {frame_make(1, 100), frame_make(2, 100)};
			uint8_t byte = 0;
			uint64_t tag;
			uint32_t written;

			bufs_for(rows[i].bufs, rows[i].n, hdr_len, bufs);
			assert_true(driver_add(&rig->end.driver, bufs, rows[i].n, DRIVER_DIRECT, 1));
			assert_true(driver_add(&rig->end.driver, &fine, 1, DRIVER_DIRECT, 2));
			assert_int_equal(vnet_end_give(&rig->end, pkts, 2), 1);
			rte_pktmbuf_free_bulk(pkts, 2);
			assert_int_equal(rig->end.txq.stats.drops[DROP_MALFORMED], 1);
			assert_true(driver_get(&rig->end.driver, &tag, &written));
			assert_int_equal(tag, 1);
			assert_int_equal(written, 0);
			for (unsigned int b = 0; b < 2000; b++) {
				driver_read(&rig->end.mem, good + b, &byte, 1);
				assert_int_equal(byte, 0);
			}
			assert_true(driver_get(&rig->end.driver, &tag, &written));
			assert_int_equal(written, hdr_len + 100u);
			rig_close(rig);
		}
}

/* Buffers of n pieces of 10 bytes, one of them over the seam of two regions; the last takes what is left. */
static void
long_chain(struct driver_buf bufs[], unsigned int n, uint32_t len, bool writable)
{
	const uint64_t from = driver_region_gpa(1) - 125;

	for (unsigned int i = 0; i < n; i++)
		bufs[i] = (struct driver_buf){.gpa = from + 10 * i,
					      .len = i + 1 < n ? 10 : len - 10 * (n - 1),
					      .writable = writable};
}

/*
 * Chains with more descriptors than any ring of 256 has: as many as QEMU takes become frames, those with more
 * are dropped for a reason of their own, and all of them go back, with their neighbours.
 */
static void
test_long_chains(void **state)
{
	static const unsigned int n_pieces[] = {256, 257, 1024, 1025};
	static struct driver_buf bufs[DRIVER_BUFS_MAX];
	const int variant = variant_of(state);
	const uint32_t len = 10300;

	for (uint32_t traits = 0; traits < TRAIT_N; traits++)
		for (size_t i = 0; i < RTE_DIM(n_pieces); i++)
			for (enum driver_form form = DRIVER_DIRECT; form <= DRIVER_INDIRECT; form++) {
				const uint16_t size = form == DRIVER_DIRECT ? 2048 : 256;
				const uint16_t hdr_len = modern_hdr_len(traits);
				const unsigned int n_good = n_pieces[i] <= 1024 ? 3 : 2;
				struct rig *rig = rig_open(traits, size, hdr_len, variant);
				const struct driver_buf fine = {0x100000, hdr_len + 60u, false};
				struct rte_mbuf *pkts[PORT_BURST];
				uint16_t n = 0;

				rig->end.driver.long_tables = true;
				rig->end.mem.next[1] = 1 << 20;
				for (uint32_t b = 0; b < hdr_len + len; b++) {
					uint8_t byte = b < hdr_len ? 0 : pattern(1, b - hdr_len);

					driver_write(&rig->end.mem, driver_region_gpa(1) - 125 + b, &byte, 1);
				}
				long_chain(bufs, n_pieces[i], hdr_len + len, false);
				assert_true(driver_add(&rig->end.driver, &fine, 1, DRIVER_DIRECT, 1));
				assert_true(driver_add(&rig->end.driver, bufs, n_pieces[i], form, 2));
				assert_true(driver_add(&rig->end.driver, &fine, 1, DRIVER_DIRECT, 3));
				for (int turn = 0; turn < 3; turn++)
					n = (uint16_t)(n + vnet_end_take(&rig->end, pkts + n,
									 (uint16_t)(PORT_BURST - n)));
				assert_int_equal(n, n_good);
				for (uint32_t b = 0; n_good == 3 && b < len; b++) {
					uint8_t byte;

					assert_int_equal(
						*(const uint8_t *)rte_pktmbuf_read(pkts[1], b, 1, &byte),
						pattern(1, b));
				}
				rte_pktmbuf_free_bulk(pkts, n);
				assert_int_equal(rig->end.rxq.stats.drops[DROP_CHAIN_LONG], 3 - n_good);
				assert_int_equal(rig->end.rxq.stats.drops[DROP_MALFORMED], 0);
				three_are_returned(rig);
				rig_close(rig);
			}
	assert_int_equal(rte_mempool_in_use_count(pool), 0);
}

/* The same of receive buffers: one that is too long goes back empty, with the frame that it was for. */
static void
test_long_receive_chains(void **state)
{
	static const unsigned int n_pieces[] = {256, 257, 384, 385, 1024, 1025};
	static struct driver_buf bufs[DRIVER_BUFS_MAX];
	const int variant = variant_of(state);
	const uint32_t lens[] = {100, 9000};

	for (uint32_t traits = 0; traits < TRAIT_N; traits++)
		for (size_t i = 0; i < RTE_DIM(n_pieces) * RTE_DIM(lens); i++)
			for (enum driver_form form = DRIVER_DIRECT; form <= DRIVER_INDIRECT; form++) {
				const unsigned int n = n_pieces[i / RTE_DIM(lens)];
				const uint32_t len = lens[i % RTE_DIM(lens)];
				const uint16_t hdr_len = modern_hdr_len(traits);
				struct rig *rig = rig_open(traits, form == DRIVER_DIRECT ? 2048 : 256,
							   hdr_len, variant);
				const struct driver_buf fine = {0x100000, 12000, true};
				struct rte_mbuf *pkts[] = {frame_make(1, len), frame_make(2, len)};
				const bool good = n <= 1024;
				uint64_t tag;
				uint32_t written;

				rig->end.driver.long_tables = true;
				rig->end.mem.next[1] = 1 << 20;
				long_chain(bufs, n, 10300, true);
				assert_true(driver_add(&rig->end.driver, bufs, n, form, 1));
				assert_true(driver_add(&rig->end.driver, &fine, 1, DRIVER_DIRECT, 2));
				assert_int_equal(vnet_end_give(&rig->end, pkts, 2), good ? 2 : 1);
				rte_pktmbuf_free_bulk(pkts, 2);
				assert_int_equal(rig->end.txq.stats.drops[DROP_CHAIN_LONG], !good);
				assert_int_equal(rig->end.rxq.stats.drops[DROP_CHAIN_LONG], 0);
				assert_true(driver_get(&rig->end.driver, &tag, &written));
				assert_int_equal(tag, 1);
				assert_int_equal(written, good ? hdr_len + len : 0);
				for (uint32_t b = 0; good && b < len; b++) {
					uint8_t byte;

					driver_read(&rig->end.mem, bufs[0].gpa + hdr_len + b, &byte, 1);
					assert_int_equal(byte, pattern(1, b));
				}
				assert_true(driver_get(&rig->end.driver, &tag, &written));
				assert_int_equal(written, hdr_len + len);
				rig_close(rig);
			}
	assert_int_equal(rte_mempool_in_use_count(pool), 0);
}

/* No packet buffer is free: chains wait, nothing is lost, and it goes on when there is one. */
static void
test_empty_pool_loses_nothing(void **state)
{
	const int variant = variant_of(state);
	static struct rte_mbuf *hoard[POOL_SIZE];
	struct rig *rig = rig_open(TRAIT_PACKED, 64, 12, variant);
	struct rte_mbuf *pkts[PORT_BURST];
	const struct driver_buf big = {0x100000, 12 + 6000, false};
	unsigned int n;

	for (n = 0; n < POOL_SIZE && (hoard[n] = rte_pktmbuf_alloc(pool)); n++)
		;
	for (uint64_t i = 0; i < 10; i++)
		assert_true(driver_add(&rig->end.driver, &big, 1, DRIVER_DIRECT, i));
	assert_int_equal(vnet_end_take(&rig->end, pkts, PORT_BURST), 0);
	assert_true(rig->end.queue.from_guest.no_mbuf > 0);
	/* Enough for the first mbuf of each of ten, but not for the segments. */
	for (unsigned int i = 0; i < 12; i++)
		rte_pktmbuf_free(hoard[--n]);
	assert_int_equal(vnet_end_take(&rig->end, pkts, 10), 1);
	rte_pktmbuf_free(pkts[0]);
	while (n)
		rte_pktmbuf_free(hoard[--n]);
	assert_int_equal(vnet_end_take(&rig->end, pkts, PORT_BURST), 9);
	rte_pktmbuf_free_bulk(pkts, 9);
	assert_int_equal(rte_mempool_in_use_count(pool), 0);
	rig_close(rig);
}

/* --- borrowed frames --- */

/* Two guests, and what vnet_rx() and vnet_tx() need of their devices. */
struct borrowing {
	struct rig *from, *to;
	struct vnet_shared *shared[2];
};

static void
borrowing_open(struct borrowing *borrowing, uint32_t traits, int variant)
{
	struct rig **rigs[] = {&borrowing->from, &borrowing->to};

	for (int k = 0; k < 2; k++) {
		struct rig *rig = rig_open(traits, 64, modern_hdr_len(traits), variant);

		*rigs[k] = rig;
		borrowing->shared[k] = calloc(1, sizeof(*borrowing->shared[k]));
		borrowing->shared[k]->link_up = true;
		rig->end.queue.shared = borrowing->shared[k];
		rig->end.queue.borrowed_conf = NULL;
		if (k == 0)
			rig->end.conf.from_guest = rig->end.from_guest;
		else
			rig->end.conf.to_guest = rig->end.to_guest;
		rig->end.conf.offloads = OFFLOADS_ALL;
		atomic_store(k == 0 ? &rig->end.queue.from_guest.conf : &rig->end.queue.to_guest.conf,
			     &rig->end.conf.virtq);
	}
}

static void
borrowing_close(struct borrowing *borrowing)
{
	assert_int_equal(rte_mempool_in_use_count(pool), 0);
	rig_close(borrowing->from);
	rig_close(borrowing->to);
	free(borrowing->shared[0]);
	free(borrowing->shared[1]);
}

/* The sending guest makes a frame of len bytes of noise available; with a header that asks for nothing. */
static uint64_t
borrowing_send(struct borrowing *borrowing, uint32_t len, uint64_t tag)
{
	const uint16_t hdr_len = borrowing->from->end.conf.hdr_len;
	const struct driver_buf buf = {driver_region_gpa(0) + 65536 + tag % 64 * SLOT_LEN + tag % 3,
				       hdr_len + len, false};
	const uint8_t header[20] = {0};

	noise_fill();
	driver_write(&borrowing->from->end.mem, buf.gpa, header, hdr_len);
	driver_write(&borrowing->from->end.mem, buf.gpa + hdr_len, noise + tag, len);
	assert_true(driver_add(&borrowing->from->end.driver, &buf, 1, DRIVER_DIRECT, tag));
	return buf.gpa;
}

/* One turn of a worker; returns what was delivered. */
static uint16_t
borrowing_iteration(struct borrowing *borrowing)
{
	struct rte_mbuf *pkts[PORT_BURST];
	uint16_t n = vnet_rx(&borrowing->from->end.rxq, pkts, PORT_BURST);

	if (n)
		n = vnet_tx(&borrowing->to->end.txq, pkts, n);
	if (borrowing->from->end.rxq.borrowed)
		vnet_rx_release(&borrowing->from->end.rxq);
	return n;
}

enum receiver { RX_DIRECT, RX_SMALL, RX_CHAIN, RX_INDIRECT, RX_ELSEWHERE, RX_FULL, RX_N };

/* Where the receiving guest's buffer i is. */
static uint64_t
receiver_gpa(enum receiver how, unsigned int i)
{
	if (how == RX_ELSEWHERE)
		return driver_region_gpa(2) + (1 << 20) + i * 4096u;
	return driver_region_gpa(0) + (1 << 20) + i * 4096u + 4000;
}

static void
borrowed_deliver(uint32_t traits, int variant, enum receiver how, uint32_t len)
{
	const uint16_t hdr_len = modern_hdr_len(traits);
	const uint32_t buffer_len = how == RX_SMALL ? 150 : 3000;
	const uint64_t tag = len % 61;
	struct borrowing borrowing;
	uint8_t *whole = malloc(hdr_len + len + 3000), *before = NULL;
	uint32_t got = 0, written;
	bool fits = how != RX_FULL && (traits & TRAIT_MERGEABLE || hdr_len + len <= buffer_len);
	uint64_t back;

	borrowing_open(&borrowing, traits, variant);
	for (unsigned int i = 0; i < (how == RX_FULL ? 0 : 20); i++) {
		uint64_t gpa = receiver_gpa(how, i);
		struct driver_buf bufs[] = {{gpa, buffer_len, true}, {gpa + 900, buffer_len - 900, true}};

		if (how == RX_CHAIN || how == RX_INDIRECT)
			bufs[0].len = 900;
		assert_true(driver_add(&borrowing.to->end.driver, bufs,
				       how == RX_CHAIN || how == RX_INDIRECT ? 2 : 1,
				       how == RX_INDIRECT ? DRIVER_INDIRECT : DRIVER_DIRECT, i));
	}
	if (traits & TRAIT_LOG) {
		before = driver_mem_copy(&borrowing.to->end.mem);
		memset((void *)borrowing.to->end.mem.log.bits, 0, borrowing.to->end.mem.log.n_bytes);
	}
	borrowing_send(&borrowing, len, tag);
	assert_int_equal(borrowing_iteration(&borrowing), fits);
	if (traits & TRAIT_LOG)
		log_check(borrowing.to, before);
	/* Whatever became of it, the sender has its buffer back, and it counts once on either side. */
	assert_true(driver_get(&borrowing.from->end.driver, &back, &written));
	assert_int_equal(back, tag);
	assert_int_equal(borrowing.from->end.rxq.stats.packets, 1);
	assert_int_equal(borrowing.from->end.rxq.stats.bytes, len);
	assert_int_equal(borrowing.to->end.txq.stats.packets, fits);
	assert_int_equal(borrowing.to->end.txq.stats.drops[DROP_NO_BUFFER], how == RX_FULL);
	assert_int_equal(borrowing.to->end.txq.stats.drops[DROP_TOO_LONG], !fits && how != RX_FULL);
	for (unsigned int i = 0; fits && got < hdr_len + len; i++) {
		assert_true(driver_get(&borrowing.to->end.driver, &back, &written));
		assert_int_equal(back, i);
		assert_int_equal(written, RTE_MIN(buffer_len, hdr_len + len - got));
		driver_read(&borrowing.to->end.mem, receiver_gpa(how, i), whole + got, written);
		got += written;
	}
	if (fits)
		assert_same_bytes(whole + hdr_len, noise + tag, len);
	free(whole);
	free(before);
	borrowing_close(&borrowing);
}

/* Frames around every length that matters, to receivers of all kinds, byte for byte. */
static void
test_borrowed_from_guest_to_guest(void **state)
{
	static const uint32_t lens[] = {BORROW_HEAD - 1,
					BORROW_HEAD,
					BORROW_HEAD + 1,
					BORROW_MIN - 1,
					BORROW_MIN,
					BORROW_MIN + 1,
					1500,
					ROOM - 1,
					ROOM};
	static const uint32_t words[] = {0,
					 TRAIT_MERGEABLE,
					 TRAIT_MERGEABLE | TRAIT_OFFLOAD,
					 TRAIT_LOG,
					 TRAIT_LOG | TRAIT_MERGEABLE,
					 TRAIT_PACKED,
					 TRAIT_PACKED | TRAIT_IN_ORDER | TRAIT_LOG,
					 TRAIT_PACKED | TRAIT_MERGEABLE | TRAIT_LOG,
					 TRAIT_PACKED | TRAIT_MERGEABLE | TRAIT_OFFLOAD | TRAIT_HASH_REPORT};
	const int variant = variant_of(state);

	for (size_t t = 0; t < RTE_DIM(words); t++)
		for (int how = 0; how < RX_N; how++)
			for (size_t i = 0; i < RTE_DIM(lens); i++)
				borrowed_deliver(words[t], variant, (enum receiver)how, lens[i]);
}

/* The sender's buffers come back when the frames have gone where they go, not before; all of the burst. */
static void
test_borrowed_is_the_devices_until_done(void **state)
{
	const int variant = variant_of(state);

	for (uint32_t traits = 0; traits < TRAIT_N; traits++) {
		struct borrowing borrowing;
		struct rte_mbuf *pkts[PORT_BURST];
		uint64_t gpa[8], tag;
		uint32_t written;
		uint8_t *ring, *before;
		size_t ring_len;

		borrowing_open(&borrowing, traits, variant);
		for (unsigned int i = 0; i < 8; i++)
			gpa[i] = borrowing_send(&borrowing, i % 2 ? 1500 : 60, i);
		ring = driver_va(&borrowing.from->end.mem, borrowing.from->end.driver.used_gpa);
		ring_len = 2 + 2; /* flags and index */
		if (traits & TRAIT_PACKED) {
			ring = driver_va(&borrowing.from->end.mem, borrowing.from->end.driver.desc_gpa);
			ring_len = 16; /* the first slot, which the driver looks at */
		}
		before = malloc(ring_len);
		memcpy(before, ring, ring_len);
		assert_int_equal(vnet_rx(&borrowing.from->end.rxq, pkts, PORT_BURST), 8);
		assert_true(borrowing.from->end.rxq.borrowed);
		assert_ptr_equal(borrowing.from->end.queue.borrowed_conf, &borrowing.from->end.conf);
		assert_same_bytes(ring, before, ring_len);
		assert_false(driver_get(&borrowing.from->end.driver, &tag, &written));
		for (unsigned int i = 0; i < 8; i++) {
			const uint16_t hdr_len = borrowing.from->end.conf.hdr_len;

			assert_int_equal(borrow_is(pkts[i]), i % 2);
			/* What the guest does to a head now comes too late; its tail is its own affair. */
			memset(driver_va(&borrowing.from->end.mem, gpa[i]), 0x99,
			       hdr_len + (i % 2 ? BORROW_HEAD : 60u));
		}
		assert_false(driver_get(&borrowing.from->end.driver, &tag, &written));
		assert_int_equal(borrow_materialise_burst(pkts, 8, NULL), 8);
		for (unsigned int i = 0; i < 8; i++) {
			assert_false(borrow_is(pkts[i]));
			assert_same_bytes(rte_pktmbuf_mtod(pkts[i], uint8_t *), noise + i, i % 2 ? 1500 : 60);
		}
		assert_false(driver_get(&borrowing.from->end.driver, &tag, &written));
		vnet_rx_release(&borrowing.from->end.rxq);
		assert_false(borrowing.from->end.rxq.borrowed);
		for (unsigned int i = 0; i < 8; i++) {
			assert_true(driver_get(&borrowing.from->end.driver, &tag, &written));
			assert_int_equal(tag, i);
			assert_int_equal(written, 0);
		}
		assert_false(driver_get(&borrowing.from->end.driver, &tag, &written));
		rte_pktmbuf_free_bulk(pkts, 8);
		free(before);
		borrowing_close(&borrowing);
	}
}

/* A queue that is not enabled is drained: borrowed frames are counted and gone, their buffers come back at
 * once.
 */
static void
test_borrowed_on_a_disabled_queue(void **state)
{
	const int variant = variant_of(state);

	for (uint32_t traits = 0; traits < TRAIT_N; traits++) {
		struct borrowing borrowing;
		struct rte_mbuf *pkts[PORT_BURST];
		uint64_t tag;
		uint32_t written;

		borrowing_open(&borrowing, traits, variant);
		borrowing.from->end.conf.virtq.enabled = false;
		for (unsigned int i = 0; i < 8; i++)
			borrowing_send(&borrowing, 1500, i);
		assert_int_equal(vnet_rx(&borrowing.from->end.rxq, pkts, PORT_BURST), 0);
		assert_false(borrowing.from->end.rxq.borrowed);
		for (unsigned int i = 0; i < 8; i++)
			assert_true(driver_get(&borrowing.from->end.driver, &tag, &written));
		assert_int_equal(borrowing.from->end.rxq.stats.packets, 8);
		assert_int_equal(borrowing.from->end.rxq.stats.drops[DROP_DISABLED], 8);
		assert_int_equal(borrowing.from->end.queue.discarded_bytes, 8 * 1500);
		borrowing_close(&borrowing);
	}
}

/* --- headers behind the head --- */

enum { DEEP_L4 = 14 + 40 + 96, DEEP_LEN = 1400 }; /* where the UDP header is */

/* IPv6 with options of 96 bytes, so that the UDP header is in what would be the tail of a borrowed frame. */
static void
deep_frame(uint8_t frame[DEEP_LEN], uint16_t sport)
{
	const uint16_t ip_len = DEEP_LEN - 54, udp_len = DEEP_LEN - DEEP_L4;

	noise_fill();
	memcpy(frame, noise + sport, DEEP_LEN);
	frame[12] = 0x86;
	frame[13] = 0xdd;
	frame[14] = 0x60;
	frame[18] = (uint8_t)(ip_len >> 8);
	frame[19] = (uint8_t)ip_len;
	frame[20] = 60;
	/* PadN up to its end. */
	frame[54] = 17;
	frame[55] = 11;
	frame[56] = 1;
	frame[57] = 92;
	frame[DEEP_L4] = (uint8_t)(sport >> 8);
	frame[DEEP_L4 + 1] = (uint8_t)sport;
	frame[DEEP_L4 + 4] = (uint8_t)(udp_len >> 8);
	frame[DEEP_L4 + 5] = (uint8_t)udp_len;
}

static void
deep_send(struct borrowing *borrowing, const uint8_t header[20], const uint8_t frame[DEEP_LEN], uint64_t tag)
{
	const uint16_t hdr_len = borrowing->from->end.conf.hdr_len;
	const struct driver_buf buf = {driver_region_gpa(0) + 65536 + tag % 64 * SLOT_LEN + tag % 3,
				       hdr_len + DEEP_LEN, false};

	driver_write(&borrowing->from->end.mem, buf.gpa, header, hdr_len);
	driver_write(&borrowing->from->end.mem, buf.gpa + hdr_len, frame, DEEP_LEN);
	assert_true(driver_add(&borrowing->from->end.driver, &buf, 1, DRIVER_DIRECT, tag));
}

/* Flows are learnt from ports that lie behind the head; the frame arrives, and its buffer is back when done.
 */
static void
test_borrowed_flow_behind_the_head(void **state)
{
	static const uint32_t words[] = {0, TRAIT_MERGEABLE | TRAIT_OFFLOAD, TRAIT_PACKED};
	const int variant = variant_of(state);
	const uint8_t header[20] = {0};

	for (size_t t = 0; t < RTE_DIM(words); t++) {
		struct vnet_flows *flows = vnet_flows_new();
		struct borrowing borrowing;

		borrowing_open(&borrowing, words[t], variant);
		borrowing.from->end.conf.flows = flows;
		borrowing.from->end.rxq.idx = 3;
		for (uint16_t i = 0; i < 20; i++) {
			const uint64_t gpa = driver_region_gpa(0) + (4 << 20);
			const struct driver_buf buf = {gpa, 2000, true};
			uint8_t frame[DEEP_LEN], got[DEEP_LEN];
			struct rte_mbuf *pkts[PORT_BURST], *whole = rte_pktmbuf_alloc(pool);
			uint64_t tag;
			uint32_t written, digest;

			deep_frame(frame, i);
			deep_send(&borrowing, header, frame, i);
			assert_true(driver_add(&borrowing.to->end.driver, &buf, 1, DRIVER_DIRECT, i));
			assert_int_equal(vnet_rx(&borrowing.from->end.rxq, pkts, PORT_BURST), 1);
			assert_true(borrowing.from->end.rxq.borrowed);
			memcpy(rte_pktmbuf_append(whole, DEEP_LEN), frame, DEEP_LEN);
			assert_true(flow_digest(whole, &digest));
			assert_int_equal(flows->entries[digest % FLOWS_SIZE], flows_entry(digest, 3));
			rte_pktmbuf_free(whole);
			assert_int_equal(vnet_tx(&borrowing.to->end.txq, pkts, 1), 1);
			assert_false(driver_get(&borrowing.from->end.driver, &tag, &written));
			vnet_rx_release(&borrowing.from->end.rxq);
			assert_true(driver_get(&borrowing.from->end.driver, &tag, &written));
			assert_true(driver_get(&borrowing.to->end.driver, &tag, &written));
			assert_int_equal(written, borrowing.to->end.conf.hdr_len + DEEP_LEN);
			driver_read(&borrowing.to->end.mem, gpa + borrowing.to->end.conf.hdr_len, got,
				    DEEP_LEN);
			assert_same_bytes(got, frame, DEEP_LEN);
		}
		borrowing_close(&borrowing);
		vnet_flows_free(flows);
	}
}

/*
 * A checksum asked for behind the head: of UDP, which mbufs can ask for, and of what only the header knows.
 * To a receiver that takes such requests, and to one that does not.
 */
static void
test_checksum_behind_the_head(void **state)
{
	static const uint16_t starts[] = {BORROW_HEAD - 2, BORROW_HEAD - 1, BORROW_HEAD, DEEP_L4, 700};
	const int variant = variant_of(state);

	for (uint32_t packed = 0; packed <= TRAIT_PACKED; packed += TRAIT_PACKED)
		for (size_t s = 0; s < RTE_DIM(starts); s++)
			for (int takes = 0; takes <= 1; takes++) {
				const uint64_t gpa = driver_region_gpa(0) + (4 << 20);
				const struct driver_buf buf = {gpa, 2000, true};
				/* What is left to the receiver is UDP's alone. */
				const bool left = takes && starts[s] == DEEP_L4;
				uint8_t header[20] = {1}, frame[DEEP_LEN], got[20 + DEEP_LEN];
				struct rte_mbuf *pkts[PORT_BURST];
				struct borrowing borrowing;
				uint32_t written, sum = 0;
				uint64_t tag;

				borrowing_open(&borrowing, packed | TRAIT_MERGEABLE | TRAIT_OFFLOAD, variant);
				if (!takes) {
					borrowing.to->end.conf.offloads = OFFLOADS_NONE;
					borrowing.to->end.conf.unsupported = FRAME_REQUESTS;
				}
				assert_true(driver_add(&borrowing.to->end.driver, &buf, 1, DRIVER_DIRECT, 1));
				deep_frame(frame, 5);
				header[6] = (uint8_t)starts[s];
				header[7] = (uint8_t)(starts[s] >> 8);
				header[8] = 6;
				deep_send(&borrowing, header, frame, 1);
				assert_int_equal(vnet_rx(&borrowing.from->end.rxq, pkts, PORT_BURST), 1);
				/* Such frames are whole at once, and the buffer is back. */
				assert_false(borrow_is(pkts[0]));
				assert_false(borrowing.from->end.rxq.borrowed);
				assert_true(driver_get(&borrowing.from->end.driver, &tag, &written));
				memset(driver_va(&borrowing.from->end.mem, driver_region_gpa(0) + 65536),
				       0x77, 2 * SLOT_LEN);
				assert_int_equal(vnet_tx(&borrowing.to->end.txq, pkts, 1), 1);
				assert_true(driver_get(&borrowing.to->end.driver, &tag, &written));
				assert_int_equal(written, 12 + DEEP_LEN);
				driver_read(&borrowing.to->end.mem, gpa, got, written);
				assert_int_equal(got[0], left ? 1 : 0);
				if (left)
					assert_same_bytes(got + 6, header + 6, 4);
				for (uint32_t i = starts[s]; i < DEEP_LEN && !left; i++)
					sum += (i - starts[s]) % 2 ? frame[i] : (uint32_t)frame[i] << 8;
				sum = (sum & 0xffff) + (sum >> 16);
				sum = ~((sum & 0xffff) + (sum >> 16)) & 0xffff;
				if (!left) {
					sum = sum ? sum : 0xffff;
					frame[starts[s] + 6] = (uint8_t)(sum >> 8);
					frame[starts[s] + 7] = (uint8_t)sum;
				}
				assert_same_bytes(got + 12, frame, DEEP_LEN);
				borrowing_close(&borrowing);
			}
}

#define EACH_WAY(fn)                                                                                  \
	{#fn " portable", fn, NULL, NULL, &variants[0]}, {#fn " avx2", fn, NULL, NULL, &variants[1]}, \
	{                                                                                             \
#fn " avx512", fn, NULL, NULL, &variants[2]                                           \
	}

int
main(void)
{
	struct CMUnitTest tests[] = {
		cmocka_unit_test(test_from_guest),
		cmocka_unit_test(test_to_guest),
		EACH_WAY(test_variants_agree),
		EACH_WAY(test_bursts_agree_from_guest),
		EACH_WAY(test_bursts_agree_to_guest),
		EACH_WAY(test_bad_head),
		EACH_WAY(test_borrowed_from_guest_to_guest),
		EACH_WAY(test_borrowed_is_the_devices_until_done),
		EACH_WAY(test_borrowed_on_a_disabled_queue),
		EACH_WAY(test_borrowed_flow_behind_the_head),
		EACH_WAY(test_checksum_behind_the_head),
		EACH_WAY(test_log_misses_nothing),
		EACH_WAY(test_log_of_large_rings),
		EACH_WAY(test_only_what_cannot_fit_is_lost),
		EACH_WAY(test_malformed_chains),
		EACH_WAY(test_malformed_receive_chains),
		EACH_WAY(test_long_chains),
		EACH_WAY(test_long_receive_chains),
		EACH_WAY(test_empty_pool_loses_nothing),
	};

	pool = unit_eal_start(&(struct unit_eal){.memory_mb = 128, .n_mbufs = POOL_SIZE});
	/* cmocka's skip() is a failure in TAP. usertools/run-tests knows these lines. */
	size_t n = 0;

	for (size_t i = 0; i < RTE_DIM(tests); i++)
		if (!tests[i].initial_state || variant_runs(variant_of(&tests[i].initial_state)))
			tests[n++] = tests[i];
		else
			print_message("# SKIP %s: not compiled in, or not for this CPU\n", tests[i].name);
	return unit_run("tests", tests, n, NULL, NULL);
}
