/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * header: the virtio-net header in front of every frame (VIRTIO, "Device Operation" of the network device).
 *
 *   0      1         2        4         6           8            10           12          16           18
 *   flags  gso_type  hdr_len  gso_size  csum_start  csum_offset  num_buffers  hash_value  hash_report padding
 *   |<------- of each header, legacy ones too ------------------>|
 *   |<-- with VERSION_1 or MRG_RXBUF --------------------------------------->|
 *   |<-- with HASH_REPORT
 * ------------------------------------------------------------------------------------>|
 *
 * It has one length on all queues of a device. Little endian, as all x86 guests.
 */
#ifndef VNICD_HEADER_H
#define VNICD_HEADER_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include <linux/virtio_net.h>
#include <rte_mbuf.h>

#include "offload.h"
#include "template.h"
#include "vnet_traits.h"

enum {
	HEADER_LEN_LEGACY = 10, /* neither VERSION_1 nor MRG_RXBUF: no num_buffers */
	HEADER_LEN = 12,
	HEADER_LEN_HASH = 20, /* HASH_REPORT */
	HEADER_LEN_MAX = HEADER_LEN_HASH,
};

/* --- from the guest --- */

/* The fields that every header has, read once: the compiler may not go back to the guest for them. */
static inline struct virtio_net_hdr
header_read(const uint8_t *from)
{
	struct virtio_net_hdr hdr;
	uint64_t first;
	uint16_t last;

	memcpy(&first, from, 8);
	memcpy(&last, from + 8, 2);
	__asm__("" : "+r"(first), "+r"(last));
	memcpy(&hdr, &first, 8);
	hdr.csum_offset = last;
	return hdr;
}

/* --- to the guest --- */

/* A header to write. */
struct header {
	uint64_t first; /* flags to csum_start */
	uint32_t rest;  /* csum_offset, num_buffers */
	uint64_t hash;  /* from hash_value on */
};

/* VIRTIO, "Hash reporting for incoming packets"; how a hash travels in an mbuf is in steer.h. */
static inline uint64_t
header_hash(const struct rte_mbuf *pkt)
{
	const uint32_t report = pkt->hash.fdir.hi;

	if (!(pkt->ol_flags & RTE_MBUF_F_RX_RSS_HASH) || report < VIRTIO_NET_HASH_REPORT_IPv4 ||
	    report > VIRTIO_NET_HASH_REPORT_UDPv6_EX)
		return VIRTIO_NET_HASH_REPORT_NONE;
	return (uint64_t)report << 32 | pkt->hash.rss;
}

/* The header of a frame in num_buffers buffers; 1 without MRG_RXBUF. Without traits it is a constant. */
TEMPLATE struct header
header_of(const struct rte_mbuf *pkt, uint16_t num_buffers, const uint32_t traits)
{
	struct header header = {.rest = (uint32_t)num_buffers << 16};

	if (traits & TRAIT_OFFLOAD && pkt->ol_flags & OFFLOAD_TO_GUEST_FLAGS) {
		struct virtio_net_hdr hdr = vnet_offload_to_guest(pkt);

		if (traits & TRAIT_RSC)
			vnet_offload_add_rsc(pkt, &hdr);
		memcpy(&header.first, &hdr, 8);
		header.rest |= hdr.csum_offset;
	}
	if (traits & TRAIT_HASH_REPORT)
		header.hash = header_hash(pkt);
	return header;
}

/* Write a header of len bytes. */
TEMPLATE void
header_write(uint8_t *to, uint16_t len, const struct header *header, const uint32_t traits)
{
	memcpy(to, &header->first, 8);
	if (traits & TRAIT_HASH_REPORT) {
		memcpy(to + 8, &header->rest, 4);
		memcpy(to + 12, &header->hash, 8);
	} else if (len == HEADER_LEN) {
		memcpy(to + 8, &header->rest, 4);
	} else {
		memcpy(to + 8, &header->rest, 2);
	}
}

/*
 * The same, but without a store where the right header stands already. When the header has a cache line of
 * its own (as with DPDK's drivers, whose frames start on a line), the guest only ever reads that line:
 * leaving it alone leaves it in both caches, while a store would take it from the guest and the guest's next
 * read would take it back. What is read here decides nothing else; a guest that changes it meanwhile spoils
 * its own header. Hashes are seldom the same twice: with them the header is simply written.
 */
TEMPLATE void
header_refresh(uint8_t *to, uint16_t len, const struct header *header, const uint32_t traits)
{
	const uint32_t rest = len == HEADER_LEN ? header->rest : (uint16_t)header->rest;
	uint64_t first_now;
	uint32_t rest_now = 0;

	if (!(traits & TRAIT_HASH_REPORT)) {
		memcpy(&first_now, to, 8);
		memcpy(&rest_now, to + 8, len == HEADER_LEN ? 4 : 2);
		if (first_now == header->first && rest_now == rest)
			return;
	}
	header_write(to, len, header, traits);
}

#endif
