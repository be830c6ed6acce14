/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * capture_record: a frame as it lies in a capture_ring: what is known of it, then its first bytes.
 */
#ifndef VNICD_CAPTURE_RECORD_H
#define VNICD_CAPTURE_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <rte_mbuf.h>

#include "port.h"

struct capture_record {
	uint64_t ticks; /* ticks_now() of its burst */
	/* What it requests (request.h). */
	uint64_t ol_flags;
	uint64_t tx_offload;
	uint32_t captured, len;
	uint16_t tap_idx, queue_idx;
	uint8_t direction; /* enum pcapng_direction */
	uint8_t reason;    /* enum port_drop; DROP_N: it is not one that was dropped */
	uint8_t bytes[];   /* [captured] */
};

static_assert(DROP_N <= UINT8_MAX, "a reason fits");

/* Worker: the frame's first `captured` bytes, of a borrowed one too, which stays borrowed. */
void capture_record_fill(struct capture_record *record, struct rte_mbuf *pkt, uint32_t captured);

enum { CAPTURE_COMMENT_MAX = 256 };

/* "dropped: no_buffer: the guest had no receive buffer for the frame" */
void capture_record_drop(const struct capture_record *record, char *buf, size_t size);
/* The frame's virtio-net header, in VIRTIO's words. */
void capture_record_header(const struct capture_record *record, char *buf, size_t size);

#endif
