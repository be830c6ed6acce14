/* SPDX-License-Identifier: BSD-3-Clause */
/* capture_record: contract in capture_record.h. */
#include "capture_record.h"

#include <stdio.h>
#include <string.h>

#include <rte_ether.h>
#include <rte_tcp.h>
#include <rte_udp.h>

#include "borrow.h"
#include "request.h"

/* Where bytes go, and how many there is still room for. */
struct copier {
	uint8_t *to;
	uint32_t left;
};

static void
copy_bytes(struct copier *copier, const void *from, uint32_t len)
{
	len = RTE_MIN(len, copier->left);
	memcpy(copier->to, from, len);
	copier->to += len;
	copier->left -= len;
}

void
capture_record_fill(struct capture_record *record, struct rte_mbuf *pkt, uint32_t captured)
{
	struct copier copier = {.to = record->bytes, .left = captured};
	const struct borrow_piece *pieces;
	struct borrow_piece one;
	uint16_t n;

	record->len = pkt->pkt_len;
	record->captured = captured;
	record->ol_flags = pkt->ol_flags;
	/* A frame in one piece has its address there. */
	record->tx_offload = borrow_is(pkt) && !borrow_is_in_pieces(pkt) ? 0 : pkt->tx_offload;
	for (const struct rte_mbuf *part = pkt; part; part = part->next)
		copy_bytes(&copier, rte_pktmbuf_mtod(part, const void *), part->data_len);
	if (!borrow_is(pkt))
		return;
	n = borrow_pieces(pkt, &one, &pieces);
	for (uint16_t i = 0; i < n; i++)
		copy_bytes(&copier, pieces[i].va, pieces[i].len);
}

void
capture_record_drop(const struct capture_record *record, char *buf, size_t size)
{
	const struct counter *row = &counter_classes[COUNTERS_DROPS].rows[record->reason];

	snprintf(buf, size, "dropped: %s: %s", row->name, row->help);
}

/* The row of offloads.def that segmentation is. */
static const char *
gso_type(uint64_t flags)
{
#define OFFLOAD(symbol, name, host, guest, needs, gso, request, ip)                                  \
	if ((request)&FRAME_REQUESTS_SEGMENTS && flags & (request) && ((ip) == 0 || flags & (ip)) && \
	    (ip) != 0)                                                                               \
		return #gso;
#include "offloads.def"
#undef OFFLOAD
	return "NONE";
}

void
capture_record_header(const struct capture_record *record, char *buf, size_t size)
{
	const uint64_t flags = record->ol_flags;
	const struct rte_mbuf frame = {.tx_offload = record->tx_offload};
	const unsigned int csum_start = frame.l2_len + frame.l3_len;

	if (!(flags & FRAME_REQUESTS)) {
		snprintf(buf, size, "virtio_net_hdr: flags %s, gso_type NONE",
			 (flags & RTE_MBUF_F_RX_L4_CKSUM_MASK) == RTE_MBUF_F_RX_L4_CKSUM_GOOD ? "DATA_VALID"
											      : "0");
		return;
	}
	snprintf(buf, size,
		 "virtio_net_hdr: flags NEEDS_CSUM, gso_type %s, hdr_len %u, gso_size %u, csum_start %u, "
		 "csum_offset %zu",
		 gso_type(flags),
		 flags & FRAME_REQUESTS_SEGMENTS ? csum_start + (unsigned int)frame.l4_len : 0,
		 flags & FRAME_REQUESTS_SEGMENTS ? (unsigned int)frame.tso_segsz : 0, csum_start,
		 (flags & RTE_MBUF_F_TX_L4_MASK) == RTE_MBUF_F_TX_UDP_CKSUM
			 ? offsetof(struct rte_udp_hdr, dgram_cksum)
			 : offsetof(struct rte_tcp_hdr, cksum));
}
