/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * borrow: long frames that are copied only once, from one guest's memory to the other's.
 *
 * A borrowed frame is one mbuf, whose pkt_len is that of the whole frame and whose data_len is that of its
 * head: only these first bytes were copied. The payload, all that follows, is still in the memory of the
 * guest that sends it. Decisions are taken on the head, which is private; the guest may change the payload
 * until it is copied, as it may change any frame that it has not sent yet.
 *
 *     mbuf   | head 128 |  room for the payload, not written yet   |   in one piece: borrow_start()
 *     guest  | head ....| payload ................................ |
 *
 *     mbuf   | head 128 | piece, piece, ..                         |   in several, and of any length:
 *     guest  | header | head .. | piece |   | piece |  ..              borrow_start_pieces()
 *
 * borrow_materialise() copies the payload behind the head, and to more mbufs of the pool where it is longer
 * than the room; after that the frame is like any other.
 *
 * Borrowing ends when the worker calls `release` of the rxq (port.h), in the same poll iteration in which it
 * took the frame. A borrowed frame may not be kept, handed to another worker, shared, or read beyond its
 * head; for any of these it has to be materialised first. So a slow receiver can't hold buffers of a sender,
 * and what a queue may have borrowed is bounded by a burst: PORT_BURST frames of PORT_FRAME_MAX bytes.
 *
 * A frame in one piece requests no offloads, so that its tx_offload is free to hold the payload's address.
 * One in several pieces may: its headers are in the head.
 */
#ifndef VNICD_BORROW_H
#define VNICD_BORROW_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include <rte_mbuf.h>

enum {
	BORROW_HEAD = 128, /* bytes: the longest headers of the fast path, and two cache lines */
	BORROW_MIN =
		384, /* shortest frame that is borrowed: below, two copies cost less than the bookkeeping */
	/* More pieces than this are copied at once: Linux's drivers send 19 at most, so there is room to
	 * spare. */
	BORROW_PIECES_MAX = 96,
	BORROW_FLAG_BIT = 40,
	BORROW_PIECES_FLAG_BIT = 38,
};

/* In ol_flags; registered with DPDK as these very bits by borrow_init(). The second one only beside the
 * first. */
#define BORROW_FLAG RTE_BIT64(BORROW_FLAG_BIT)
#define BORROW_PIECES_FLAG RTE_BIT64(BORROW_PIECES_FLAG_BIT)

/* Guest memory that is mapped, and was checked. */
struct borrow_piece {
	const uint8_t *va;
	uint32_t len;
};

/* What is behind the head of a frame in several pieces, in its mbuf. */
struct borrow_pieces {
	uint64_t n;
	uint64_t reserved;
	struct borrow_piece at[BORROW_PIECES_MAX];
};

/* Once, after EAL is up and before the first frame. 0 or -errno. */
int borrow_init(void);

static inline bool
borrow_is(const struct rte_mbuf *pkt)
{
	return pkt->ol_flags & BORROW_FLAG;
}

static inline bool
borrow_is_in_pieces(const struct rte_mbuf *pkt)
{
	return pkt->ol_flags & BORROW_PIECES_FLAG;
}

/* Has an mbuf of this pool room for a head and all pieces? Frames in pieces are borrowed only then. */
static inline bool
borrow_fits(struct rte_mempool *pool)
{
	return rte_pktmbuf_data_room_size(pool) >=
	       RTE_PKTMBUF_HEADROOM + BORROW_HEAD + sizeof(struct borrow_pieces);
}

/* Where the pieces are listed, whatever was put in front of the head or taken off it. */
static inline struct borrow_pieces *
borrow_pieces_of(const struct rte_mbuf *pkt)
{
	return (struct borrow_pieces *)((uint8_t *)pkt->buf_addr + RTE_PKTMBUF_HEADROOM + BORROW_HEAD);
}

/* Make pkt a borrowed frame. `frame`: its pkt_len bytes in the guest's memory; the head was copied. */
static inline void
borrow_start(struct rte_mbuf *pkt, const uint8_t *frame)
{
	pkt->ol_flags |= BORROW_FLAG;
	pkt->data_len = BORROW_HEAD;
	pkt->tx_offload = (uintptr_t)(frame + BORROW_HEAD);
}

/* The same in pieces, which the caller has listed; they are pkt_len - BORROW_HEAD bytes. */
static inline void
borrow_start_pieces(struct rte_mbuf *pkt)
{
	pkt->ol_flags |= BORROW_FLAG | BORROW_PIECES_FLAG;
	pkt->data_len = BORROW_HEAD;
}

/* Where the payload in one piece is, pkt_len - data_len bytes in the guest's memory. */
static inline const uint8_t *
borrow_payload(const struct rte_mbuf *pkt)
{
	return (const uint8_t *)(uintptr_t)pkt->tx_offload;
}

/* The pieces of a borrowed frame, in their order; returns how many. `one` is room for the only one. */
static inline uint16_t
borrow_pieces(const struct rte_mbuf *pkt, struct borrow_piece *one, const struct borrow_piece **ret_pieces)
{
	if (borrow_is_in_pieces(pkt)) {
		const struct borrow_pieces *pieces = borrow_pieces_of(pkt);

		*ret_pieces = pieces->at;
		return (uint16_t)pieces->n;
	}
	*one = (struct borrow_piece){.va = borrow_payload(pkt), .len = pkt->pkt_len - pkt->data_len};
	*ret_pieces = one;
	return 1;
}

/*
 * Bytes of a frame, borrowed or not: len bytes at offset, which is at most pkt_len - len; in place, or in
 * copy[]. The guest may change those of the payload in place.
 */
const uint8_t *borrow_read(const struct rte_mbuf *pkt, uint32_t offset, uint32_t len, uint8_t copy[]);

/* A copy of a borrowed frame, with its request, that is an ordinary one; NULL: no packet buffers are free. */
struct rte_mbuf *borrow_copy(const struct rte_mbuf *pkt, struct rte_mempool *pool);

/* borrow_materialise() of a frame in pieces. */
bool borrow_materialise_pieces(struct rte_mbuf *pkt);

/*
 * Copy the payload to the mbuf: the frame is an ordinary one then. Accepts frames that are not borrowed.
 * False: more packet buffers are needed than are free (never for a frame in one piece); the frame is as
 * before.
 */
static inline bool
borrow_materialise(struct rte_mbuf *pkt)
{
	if (!borrow_is(pkt))
		return true;
	if (borrow_is_in_pieces(pkt))
		return borrow_materialise_pieces(pkt);
	memcpy(rte_pktmbuf_mtod_offset(pkt, uint8_t *, pkt->data_len), borrow_payload(pkt),
	       pkt->pkt_len - pkt->data_len);
	pkt->data_len = (uint16_t)pkt->pkt_len;
	pkt->ol_flags &= ~BORROW_FLAG;
	pkt->tx_offload = 0;
	return true;
}

/* borrow_materialise_burst(), from frame i on, whose turn it is. */
uint16_t borrow_materialise_rest(struct rte_mbuf **pkts, uint16_t i, uint16_t n, uint64_t *drops);

/*
 * The same of n frames. Those for which no packet buffers are free are freed and added to the counter *drops;
 * the others are moved to the front. Returns how many they are.
 */
static inline uint16_t
borrow_materialise_burst(struct rte_mbuf **pkts, uint16_t n, uint64_t *drops)
{
	for (uint16_t i = 0; i < n; i++)
		if (unlikely(!borrow_materialise(pkts[i])))
			return borrow_materialise_rest(pkts, i, n, drops);
	return n;
}

#endif
