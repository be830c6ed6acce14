/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The burst functions against the driver model: every traits word, many ring sizes, every shape of chain,
 * frames of all lengths, many laps of the ring; the specialised variants against the generic one, byte for
 * byte.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <rte_eal.h>
#include <rte_mbuf.h>

#include "driver.h"
#include "vnet.h"
#include "ways.h"

enum { POOL_SIZE = 8191, FRAME_MAX = 9018 };

static struct rte_mempool *pool;

enum variant { SPECIALISED, GENERIC };

/* One queue of a port, with everything around it. */
struct rig {
	struct driver_mem mem;
	struct driver_queue driver;
	struct vnet_queue queue;
	struct port_queue port_queue;
	vnet_from_guest_fn from_guest;
	vnet_to_guest_fn to_guest;
	uint32_t seed;
};

static uint32_t
rig_random(struct rig *rig, uint32_t below)
{
	rig->seed = rig->seed * 1664525u + 1013904223u;
	return (uint32_t)(((uint64_t)(rig->seed >> 8) * below) >> 24);
}

/* What a modern driver has. */
static uint16_t
modern_hdr_len(uint32_t traits)
{
	return traits & TRAIT_HASH_REPORT ? 20 : 12;
}

static struct rig *
rig_open(uint32_t traits, uint16_t size, uint16_t hdr_len, enum variant variant)
{
	struct rig *rig = aligned_alloc(64, (sizeof(*rig) + 63) & ~63ul);
	uint32_t base = traits & TRAIT_PACKED ? 0x80008000u : 0;

	memset(rig, 0, sizeof(*rig));
	rig->seed = traits * 131u + size;
	driver_mem_open(&rig->mem);
	driver_queue_open(&rig->driver, &rig->mem, 2, traits, size, false);
	rig->driver.conf.hdr_len = hdr_len;
	rig->driver.conf.frame_max = PORT_FRAME_MAX;
	rig->driver.conf.offloads = VNET_HOST_OFFLOADS;
	driver_interrupts(&rig->driver, DRIVER_INTERRUPTS_OFF);
	rig->queue.pool = pool;
	assert_int_equal(virtq_start(&rig->queue.from_guest, &rig->driver.conf, base), 0);
	assert_int_equal(virtq_start(&rig->queue.to_guest, &rig->driver.conf, base), 0);
	rig->from_guest = variant == GENERIC ? vnet_from_guest_generic : vnet_from_guest_variant(vnet_way_best(), traits);
	rig->to_guest = variant == GENERIC ? vnet_to_guest_generic : vnet_to_guest_variant(vnet_way_best(), traits);
	return rig;
}

static void
rig_close(struct rig *rig)
{
	driver_queue_close(&rig->driver);
	driver_mem_close(&rig->mem);
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
		uint32_t now = 1 + rig_random(rig, len);

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
	return rig->driver.conf.traits & TRAIT_OFFLOAD && tag % 3 == 1 && len >= SUM_START + 2;
}

/* Byte i of the header in front of a frame from the guest: nonsense where it must not be read. */
static uint8_t
header_byte(const struct rig *rig, uint64_t tag, uint32_t len, uint32_t i)
{
	if (rig->driver.conf.traits & TRAIT_OFFLOAD) {
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

		for (size_t i = 0; i < n; i++)
			for (int variant = SPECIALISED; variant <= GENERIC; variant++)
				for (uint16_t hdr_len =
					     traits & (TRAIT_PACKED | TRAIT_MERGEABLE | TRAIT_HASH_REPORT)
						     ? modern_hdr_len(traits)
						     : 10;
				     hdr_len <= modern_hdr_len(traits); hdr_len = (uint16_t)(hdr_len + 2)) {
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
	const uint32_t hdr_len = rig->driver.conf.hdr_len;
	/* Where frames live: around the seam of the two regions that touch, so that some buffers cross it. */
	const uint64_t seam = driver_region_gpa(1);
	const unsigned int slots = 64;
	uint64_t sent = 0, got = 0, returned = 0, total = RTE_MIN(3u * rig->driver.size + 64, 1500u);
	uint32_t lens[64];

	while (returned < total) {
		struct rte_mbuf *pkts[PORT_BURST];
		uint64_t tag;
		uint32_t written;
		uint16_t n;

		while (sent < total && sent - returned < slots) {
			uint32_t len = 14 + rig_random(rig, sent % 9 == 0 ? FRAME_MAX - 14 : 200);
			uint64_t gpa = seam - 20000 + (sent % slots) * 640 + rig_random(rig, 9);
			unsigned int most = rig->driver.size < 6 ? rig->driver.size : 6;
			enum driver_form form = (enum driver_form)rig_random(rig, DRIVER_N_FORMS);
			struct driver_buf bufs[8];
			unsigned int n_bufs;

			/* Long frames overlap the next slots: only one is in flight then. */
			if (len > 600 && sent != returned)
				break;
			n_bufs = cut(rig, gpa, hdr_len + len, false, 1 + rig_random(rig, most), bufs);
			for (uint32_t i = 0; i < hdr_len + len; i++) {
				uint8_t byte = i < hdr_len ? header_byte(rig, sent, len, i)
							   : pattern(sent, i - hdr_len);

				driver_write(&rig->mem, gpa + i, &byte, 1);
			}
			if (!driver_add(&rig->driver, bufs, n_bufs, form, sent))
				break;
			lens[sent++ % slots] = len;
			if (len > 600)
				break;
		}
		n = rig->from_guest(&rig->queue, &rig->driver.conf, &rig->port_queue, pkts,
				    (uint16_t)(1 + rig_random(rig, PORT_BURST)));
		for (uint16_t i = 0; i < n; i++, got++)
			assert_true(mbuf_is(pkts[i], got, lens[got % slots],
					    sum_is_asked(rig, got, lens[got % slots])));
		rte_pktmbuf_free_bulk(pkts, n);
		while (driver_get(&rig->driver, &tag, &written)) {
			assert_int_equal(tag, returned);
			assert_int_equal(written, 0);
			returned++;
		}
		assert_int_equal(returned, got);
		/* The driver's indirect tables are never reused: start over in its region. */
		if (sent == returned)
			rig->mem.next[1] = 1 << 20;
	}
	assert_int_equal(rig->port_queue.stats.rx_packets, total);
	assert_false(virtq_is_broken(&rig->queue.from_guest));
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
	const uint32_t traits = rig->driver.conf.traits;

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
	const uint32_t hdr_len = rig->driver.conf.hdr_len;
	const bool mergeable = rig->driver.conf.traits & TRAIT_MERGEABLE;
	const uint64_t seam = driver_region_gpa(1);
	/* Non-mergeable buffers take the longest frame; mergeable ones need several for most. */
	const uint32_t buffer_len = mergeable ? 600 : hdr_len + 1600,
		       longest = mergeable && rig->driver.size >= 16 ? 5000 : 500;
	const unsigned int slots = RTE_MIN((unsigned int)rig->driver.size, 64u);
	uint64_t posted = 0, frames = 0, back = 0, total = RTE_MIN(3u * rig->driver.size + 64, 1200u);
	uint64_t sent_bytes = 0;

	while (frames < total) {
		struct rte_mbuf *pkts[PORT_BURST];
		uint32_t lens[PORT_BURST];
		uint16_t n = (uint16_t)(1 + rig_random(rig, PORT_BURST)), n_sent, n_seen = 0;
		uint64_t tag, first = frames;
		uint32_t written;

		if (posted == back)
			rig->mem.next[1] = 1 << 20;
		while (posted - back < slots) {
			uint64_t gpa = seam - 50000 + (posted % slots) * 1700;
			enum driver_form form = (enum driver_form)rig_random(rig, DRIVER_N_FORMS);
			struct driver_buf bufs[8];
			unsigned int most = rig->driver.size < 4 ? rig->driver.size : 4, n_bufs;

			n_bufs = cut(rig, gpa, buffer_len, true, 1 + rig_random(rig, most), bufs);
			if (!driver_add(&rig->driver, bufs, n_bufs, form, posted))
				break;
			posted++;
		}
		for (uint16_t i = 0; i < n; i++) {
			lens[i] = 14 + rig_random(rig, i % 5 ? 300 : longest);
			pkts[i] = frame_make(first + i, lens[i]);
			frame_mark(pkts[i], first + i);
		}
		n_sent = rig->to_guest(&rig->queue, &rig->driver.conf, &rig->port_queue, pkts, n);
		rte_pktmbuf_free_bulk(pkts, n);
		/* Those that were given are somewhere among the n, in order; the rest found no buffer. */
		for (uint16_t i = 0; i < n && n_seen < n_sent; i++) {
			uint8_t whole[FRAME_MAX + 2000], header[20];
			uint32_t len = 0, num_buffers = 0, k = 0;
			bool match = true;

			do {
				const uint64_t gpa = seam - 50000 + (back % slots) * 1700;

				if (!driver_get(&rig->driver, &tag, &written))
					fail_msg("frame %u of %u has no buffer", n_seen, n_sent);
				assert_int_equal(tag, back);
				assert_true(written >= 1 && written <= buffer_len);
				driver_read(&rig->mem, gpa, whole + len, written);
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
		assert_false(driver_get(&rig->driver, &tag, &written));
		frames += n;
	}
	assert_int_equal(rig->port_queue.stats.tx_bytes, sent_bytes);
	assert_int_equal(rig->port_queue.stats.tx_packets + rig->port_queue.stats.drops[DROP_NO_BUFFER] +
				 rig->port_queue.stats.drops[DROP_TOO_LONG],
			 frames);
	assert_true(rig->port_queue.stats.tx_packets > 0);
	assert_false(virtq_is_broken(&rig->queue.to_guest));
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

/* The same operations through the specialised and the generic functions leave the same guest memory, bit for
 * bit. */
static void
test_variants_agree(void **state)
{
	for (uint32_t traits = 0; traits < TRAIT_N; traits++) {
		struct rig *rigs[2];
		const size_t bytes = (size_t)DRIVER_REGION_SIZE * DRIVER_N_REGIONS;

		for (int variant = SPECIALISED; variant <= GENERIC; variant++) {
			rigs[variant] = rig_open(traits, traits & TRAIT_PACKED ? 100 : 128,
						 modern_hdr_len(traits), variant);
			to_guest_stream(rigs[variant]);
		}
		assert_memory_equal(rigs[0]->mem.file, rigs[1]->mem.file, bytes);
		assert_memory_equal(&rigs[0]->port_queue.stats, &rigs[1]->port_queue.stats,
				    sizeof(struct port_stats));
		assert_memory_equal((void *)rigs[0]->mem.log.bits, (void *)rigs[1]->mem.log.bits,
				    rigs[0]->mem.log.n_bytes);
		rig_close(rigs[0]);
		rig_close(rigs[1]);
		for (int variant = SPECIALISED; variant <= GENERIC; variant++) {
			rigs[variant] = rig_open(traits, traits & TRAIT_PACKED ? 100 : 128,
						 modern_hdr_len(traits), variant);
			from_guest_stream(rigs[variant]);
		}
		assert_memory_equal(rigs[0]->mem.file, rigs[1]->mem.file, bytes);
		assert_memory_equal(&rigs[0]->port_queue.stats, &rigs[1]->port_queue.stats,
				    sizeof(struct port_stats));
		rig_close(rigs[0]);
		rig_close(rigs[1]);
	}
}

/* Every page that differs from before was marked in the log: nothing is missed, whatever the shapes. */
static void
log_oracle(struct rig *rig, void (*stream)(struct rig *rig))
{
	/* What the driver writes is not the device's: compare with the same stream on a queue without the
	 * log. */
	struct rig *plain = rig_open(rig->driver.conf.traits & ~(uint32_t)TRAIT_LOG, rig->driver.conf.size,
				     rig->driver.conf.hdr_len, GENERIC);
	unsigned int marked = 0;

	plain->seed = rig->seed;
	stream(plain);
	stream(rig);
	assert_memory_equal(rig->mem.file, plain->mem.file, (size_t)DRIVER_REGION_SIZE * DRIVER_N_REGIONS);
	for (uint64_t i = 0; i < rig->mem.log.n_bytes; i++)
		marked += (unsigned int)__builtin_popcount(rig->mem.log.bits[i]);
	assert_true(marked > 0);
	rig_close(plain);
}

static void
test_log_misses_nothing(void **state)
{
	for (uint32_t traits = TRAIT_LOG; traits < TRAIT_N; traits++) {
		struct rig *rig;
		uint8_t *before;
		uint64_t tag;
		uint32_t written;

		if (!(traits & TRAIT_LOG))
			continue;
		rig = rig_open(traits, 64, modern_hdr_len(traits), SPECIALISED);
		log_oracle(rig, to_guest_stream);
		rig_close(rig);

		/* One step at a time: snapshot, one burst, then every changed page must be marked. */
		rig = rig_open(traits, 64, modern_hdr_len(traits), SPECIALISED);
		before = malloc((size_t)DRIVER_REGION_SIZE * DRIVER_N_REGIONS);
		for (int round = 0; round < 50; round++) {
			struct driver_buf buf = {.gpa = driver_region_gpa(0) + 4096 * 20 +
							(uint64_t)rig_random(rig, 4096 * 50),
						 .len = 7000,
						 .writable = true};
			struct rte_mbuf *pkt = frame_make(1, 14 + rig_random(rig, 5000));

			assert_true(driver_add(&rig->driver, &buf, 1,
					       round % 2 ? DRIVER_INDIRECT : DRIVER_DIRECT, 1));
			memcpy(before, rig->mem.file, (size_t)DRIVER_REGION_SIZE * DRIVER_N_REGIONS);
			memset((void *)rig->mem.log.bits, 0, rig->mem.log.n_bytes);
			assert_int_equal(
				rig->to_guest(&rig->queue, &rig->driver.conf, &rig->port_queue, &pkt, 1), 1);
			rte_pktmbuf_free(pkt);
			for (unsigned int region = 0; region < DRIVER_N_REGIONS; region++)
				for (uint64_t offset = 0; offset < DRIVER_REGION_SIZE; offset += 4096) {
					uint64_t page = (driver_region_gpa(region) + offset) / 4096;
					uint64_t at = (uint64_t)region * DRIVER_REGION_SIZE + offset;

					if (memcmp(before + at, rig->mem.file + at, 4096) != 0)
						assert_true(rig->mem.log.bits[page / 8] >> (page % 8) & 1);
				}
			assert_true(driver_get(&rig->driver, &tag, &written));
		}
		free(before);
		rig_close(rig);
	}
}

/* A frame that fits no buffer is lost alone; its neighbours arrive. */
static void
test_only_what_cannot_fit_is_lost(void **state)
{
	for (uint32_t traits = 0; traits < TRAIT_N; traits++) {
		const uint16_t hdr_len = modern_hdr_len(traits);
		struct rig *rig = rig_open(traits, 32, hdr_len, SPECIALISED);
		const uint32_t lens[] = {100, 1500, 200u - hdr_len, 201u - hdr_len, 64};
		struct rte_mbuf *pkts[5];
		uint16_t n;

		for (unsigned int i = 0; i < 8; i++) {
			struct driver_buf buf = {
				.gpa = driver_region_gpa(0) + i * 256, .len = 200, .writable = true};

			assert_true(driver_add(&rig->driver, &buf, 1, DRIVER_DIRECT, i));
		}
		for (unsigned int i = 0; i < 5; i++)
			pkts[i] = frame_make(i, lens[i]);
		n = rig->to_guest(&rig->queue, &rig->driver.conf, &rig->port_queue, pkts, 5);
		rte_pktmbuf_free_bulk(pkts, 5);
		if (traits & TRAIT_MERGEABLE) {
			/* 1512 bytes (or 1520) take all eight buffers' 1600, but one is gone: 7 * 200 is too
			 * little. */
			assert_int_equal(n, 4);
			assert_int_equal(rig->port_queue.stats.drops[DROP_NO_BUFFER], 1);
		} else {
			assert_int_equal(n, 3);
			assert_int_equal(rig->port_queue.stats.drops[DROP_TOO_LONG], 2);
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

/* What a transmit chain can be that is not a frame: each is dropped, counted once, and the chain comes back.
 */
static void
test_malformed_chains(void **state)
{
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
		{{{good, 12 + 65535 + 1, false}}, 1, DROP_OVERSIZE},
		{{{good, UINT32_MAX, false}}, 1, DROP_MALFORMED},
		{{{good, 4 << 20, false}, {good, UINT32_MAX, false}}, 2, DROP_MALFORMED},
	};

	for (uint32_t traits = 0; traits < TRAIT_N; traits++)
		for (size_t i = 0; i < RTE_DIM(rows); i++)
			for (enum driver_form form = DRIVER_DIRECT; form < DRIVER_N_FORMS; form++) {
				const uint16_t hdr_len = modern_hdr_len(traits);
				struct rig *rig = rig_open(traits, 16, hdr_len, SPECIALISED);
				const struct driver_buf fine = {good, hdr_len + 60u, false};
				struct driver_buf bufs[3];
				struct rte_mbuf *pkts[PORT_BURST];
				uint64_t tag;
				uint32_t written;

				assert_true(driver_add(&rig->driver, &fine, 1, DRIVER_DIRECT, 1));
				bufs_for(rows[i].bufs, rows[i].n, hdr_len, bufs);
				assert_true(driver_add(&rig->driver, bufs, rows[i].n, form, 2));
				assert_true(driver_add(&rig->driver, &fine, 1, DRIVER_DIRECT, 3));
				/* The neighbours are fine. */
				assert_int_equal(rig->from_guest(&rig->queue, &rig->driver.conf,
								 &rig->port_queue, pkts, PORT_BURST),
						 2);
				rte_pktmbuf_free_bulk(pkts, 2);
				assert_int_equal(rig->port_queue.stats.drops[rows[i].reason], 1);
				for (uint64_t want = 1; want <= 3; want++) {
					assert_true(driver_get(&rig->driver, &tag, &written));
					assert_int_equal(tag, want);
					assert_int_equal(written, 0);
				}
				assert_false(virtq_is_broken(&rig->queue.from_guest));
				rig_close(rig);
			}
	assert_int_equal(rte_mempool_in_use_count(pool), 0);
}

/* Receive chains that can't take a frame: the frame is dropped, the chain comes back empty, nothing is
 * written. */
static void
test_malformed_receive_chains(void **state)
{
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
			struct rig *rig = rig_open(traits, 16, hdr_len, SPECIALISED);
			const struct driver_buf fine = {good + 4096, 2000, true};
			struct driver_buf bufs[2];
			struct rte_mbuf *pkts[] = {frame_make(1, 100), frame_make(2, 100)};
			uint8_t byte = 0;
			uint64_t tag;
			uint32_t written;

			bufs_for(rows[i].bufs, rows[i].n, hdr_len, bufs);
			assert_true(driver_add(&rig->driver, bufs, rows[i].n, DRIVER_DIRECT, 1));
			assert_true(driver_add(&rig->driver, &fine, 1, DRIVER_DIRECT, 2));
			assert_int_equal(
				rig->to_guest(&rig->queue, &rig->driver.conf, &rig->port_queue, pkts, 2), 1);
			rte_pktmbuf_free_bulk(pkts, 2);
			assert_int_equal(rig->port_queue.stats.drops[DROP_MALFORMED], 1);
			assert_true(driver_get(&rig->driver, &tag, &written));
			assert_int_equal(tag, 1);
			assert_int_equal(written, 0);
			for (unsigned int b = 0; b < 2000; b++) {
				driver_read(&rig->mem, good + b, &byte, 1);
				assert_int_equal(byte, 0);
			}
			assert_true(driver_get(&rig->driver, &tag, &written));
			assert_int_equal(written, hdr_len + 100u);
			rig_close(rig);
		}
}

/* No packet buffer is free: chains wait, nothing is lost, and it goes on when there is one. */
static void
test_empty_pool_loses_nothing(void **state)
{
	static struct rte_mbuf *hoard[POOL_SIZE];
	struct rig *rig = rig_open(TRAIT_PACKED, 64, 12, SPECIALISED);
	struct rte_mbuf *pkts[PORT_BURST];
	const struct driver_buf big = {0x100000, 12 + 6000, false};
	unsigned int n;

	for (n = 0; n < POOL_SIZE && (hoard[n] = rte_pktmbuf_alloc(pool)); n++)
		;
	for (uint64_t i = 0; i < 10; i++)
		assert_true(driver_add(&rig->driver, &big, 1, DRIVER_DIRECT, i));
	assert_int_equal(rig->from_guest(&rig->queue, &rig->driver.conf, &rig->port_queue, pkts, PORT_BURST),
			 0);
	assert_true(rig->queue.from_guest.no_mbuf > 0);
	/* Enough for the first mbuf of each of ten, but not for the segments. */
	for (unsigned int i = 0; i < 12; i++)
		rte_pktmbuf_free(hoard[--n]);
	assert_int_equal(rig->from_guest(&rig->queue, &rig->driver.conf, &rig->port_queue, pkts, 10), 1);
	rte_pktmbuf_free(pkts[0]);
	while (n)
		rte_pktmbuf_free(hoard[--n]);
	assert_int_equal(rig->from_guest(&rig->queue, &rig->driver.conf, &rig->port_queue, pkts, PORT_BURST),
			 9);
	rte_pktmbuf_free_bulk(pkts, 9);
	assert_int_equal(rte_mempool_in_use_count(pool), 0);
	rig_close(rig);
}

int
main(void)
{
	/* A prefix of its own, so that other DPDK programs on the machine don't matter. */
	char *eal[] = {(char *)"test_vnet",
		       (char *)"--no-huge",
		       (char *)"-m",
		       (char *)"128",
		       (char *)"--no-pci",
		       (char *)"--no-shconf",
		       (char *)"--no-telemetry",
		       (char *)"--file-prefix=test_vnet",
		       (char *)"--log-level=lib.*:error",
		       (char *)"-l",
		       (char *)"0"};
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_from_guest),
		cmocka_unit_test(test_to_guest),
		cmocka_unit_test(test_variants_agree),
		cmocka_unit_test(test_log_misses_nothing),
		cmocka_unit_test(test_only_what_cannot_fit_is_lost),
		cmocka_unit_test(test_malformed_chains),
		cmocka_unit_test(test_malformed_receive_chains),
		cmocka_unit_test(test_empty_pool_loses_nothing),
	};

	if (rte_eal_init(RTE_DIM(eal), eal) < 0)
		return 1;
	pool = rte_pktmbuf_pool_create("test", POOL_SIZE, 0, 0, RTE_MBUF_DEFAULT_BUF_SIZE, 0);
	if (!pool)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
