/* SPDX-License-Identifier: BSD-3-Clause */
/* mbufs: packets (packet.h) in mbufs, whole and in pieces; and whether a pool is still there. */
#ifndef VNICD_TEST_MBUFS_H
#define VNICD_TEST_MBUFS_H

#include <stdbool.h>
#include <stdint.h>

#include <rte_mbuf.h>

#include "packet.h"

/* How bytes are cut into segments, at random; the first 14 bytes are always in one piece. */
enum mbufs_cuts {
	MBUFS_WHOLE, /* as few as there is room for */
	MBUFS_FEW_CUTS,
	MBUFS_MANY_CUTS, /* pieces of up to 15 bytes where headers are */
	/* Borrowed (borrow.h) in pieces of chance where the frame is longer than a head: the bytes have to
	   stay. */
	MBUFS_BORROWED,
};

/* Never NULL: a pool that is too small fails the test. */
struct rte_mbuf *mbufs_make(struct rte_mempool *pool, const uint8_t *bytes, uint32_t len,
			    enum mbufs_cuts cuts);
/* The same in segments of this many bytes, as far as there is room for so many. */
struct rte_mbuf *mbufs_pieces(struct rte_mempool *pool, const uint8_t *bytes, uint32_t len, uint32_t piece);
/* The bytes of all segments; its headers are not looked for. */
void mbufs_read(const struct rte_mbuf *pkt, struct packet *packet);
bool mbufs_equal(const struct rte_mbuf *pkt, const uint8_t *bytes, uint32_t len);

/* Nobody has freed the pool; touches nothing of it. */
bool mbufs_pool_is_alive(const struct rte_mempool *wanted);

#endif
