/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * ring.h: one virtqueue as the guest sees it, and the buffers that live in it. ring.c cuts the buffers to the
 * chosen shape; ring_split.c and ring_packed.c know the layouts; traffic.c knows what is in the frames.
 *
 * Buffers are called slots, 0 to n_slots - 1. Every slot has a fixed place in guest memory and keeps its
 * descriptor contents for ever, so posting a slot again costs the ring writes only. x86 only: the order of
 * plain stores is the order in which the device sees them, so a compiler barrier is all that publishing
 * needs.
 */
#ifndef PERF_RING_H
#define PERF_RING_H

#include <stdbool.h>
#include <stdint.h>
#include <stddef.h>

#include "frame.h"
#include "tcp.h"

#ifndef __x86_64__
#error "the null guest relies on x86 store ordering"
#endif

enum {
	VNET_HDR_LEN = 12,        /* with VIRTIO_F_VERSION_1, mergeable or not */
	VNET_HDR_LEN_HASHED = 20, /* with VIRTIO_NET_F_HASH_REPORT */
	VNET_HDR_REPORT_OFF = 16, /* then: hash_report, 16 bits */
	VNET_HASH_REPORT_UDP4 = 3,
	RING_BATCH_MAX = 512,
	RING_SPARE = 8,
};

enum ring_direction { RING_FROM_GUEST, RING_TO_GUEST };

/* What the buffers look like; see the README for a drawing. */
enum ring_shape { RING_SHAPE_DPDK, RING_SHAPE_LINUX };

struct ring_config {
	bool packed;
	bool in_order;
	bool mergeable;
	enum ring_shape shape;
	uint32_t hdr_len; /* VNET_HDR_LEN or VNET_HDR_LEN_HASHED */
	uint32_t size;    /* descriptors */
	enum frame_kind frame_kind;
	struct frame_macs macs; /* FRAME_MANY_MACS: of the frames that this port sends; else none */
	uint32_t frame_len_max;
	const uint16_t *frame_pattern; /* frame length of slot i is frame_pattern[i % n_pattern] */
	uint32_t n_pattern;
	enum tcp_tso tso;    /* with FRAME_TCP: what arrives */
	uint32_t n_segments; /* with FRAME_TCP: in each frame */
	uint32_t window;     /* frames that a ring from the guest has at most; 0: no limit */
};

struct split_desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags;
	uint16_t next;
};

struct split_avail {
	uint16_t flags;
	uint16_t idx;
	uint16_t ring[];
};

struct split_used_elem {
	uint32_t id;
	uint32_t len;
};

struct split_used {
	uint16_t flags;
	uint16_t idx;
	struct split_used_elem ring[];
};

/* The last three fields of a packed descriptor share one aligned 8-byte word, read and written whole. */
struct packed_desc {
	uint64_t addr;
	uint64_t len_id_flags;
};

struct packed_event {
	uint16_t off_wrap;
	uint16_t flags;
};

struct ring;

struct ring_ops {
	/* Bytes of guest memory for the three areas: descriptor, driver and device area. */
	void (*layout)(const struct ring *ring, size_t ret_bytes[3]);
	/* Fill in what never changes. The areas are zeroed memory. */
	void (*init)(struct ring *ring);
	/* The nth piece of a chain, into an indirect table at `table`. */
	void (*piece)(void *table, uint32_t n, uint64_t gpa, uint32_t len, bool last);
	/* Takes up to max (RING_BATCH_MAX at most) returned slots, oldest first; the arrays have room for
	 * RING_SPARE more. Exits with a message when the device broke a rule. */
	unsigned (*reap)(struct ring *ring, uint16_t *ret_slots, uint32_t *ret_lens, unsigned max);
	/* Have on their way what reap() will look at. */
	void (*prefetch)(const struct ring *ring);
	/* Gives n slots to the device. */
	void (*post)(struct ring *ring, const uint16_t *slots, unsigned n);
	/* Whether the device asks for a kick. Fenced by the caller. */
	bool (*wants_kick)(const struct ring *ring);
	/* For a ring without slots (control.c): one chain, a buffer to read and one to write, posted; and
	 * whether it has come back. The ring's size is even. */
	void (*request)(struct ring *ring, uint64_t out_gpa, uint32_t out_len, uint64_t in_gpa,
			uint32_t in_len);
	bool (*answered)(struct ring *ring);
};

struct ring {
	const struct ring_ops *ops;
	/* Where the frames are: slot i starts at slots + i * slot_stride. */
	uint8_t *slots;
	size_t slot_stride;
	uint32_t hdr_len;
	uint32_t word_off;   /* of the number in the frame */
	uint32_t ports_off;  /* of the UDP ports or TCP sequence number in the frame; 0: none */
	uint32_t n_segments; /* of TCP in each frame; 0: no TCP */
	uint32_t hdr_off;    /* of the virtio-net header in the slot */
	uint32_t frame_off;  /* of the frame in the slot */
	uint32_t desc_off;   /* of what the first descriptor names: the header, or an indirect table */
	uint16_t desc_flags; /* of the first descriptor, as in a split ring */
	uint32_t n_slots;
	uint32_t *slot_len;   /* per slot: length of the first descriptor */
	uint64_t frame_bytes; /* in the frames of all slots, from the guest */
	uint64_t gpa_delta;   /* guest physical address = pointer + gpa_delta */
	uint32_t size;
	uint16_t desc_per_slot; /* 1, or 2: header and data chained */
	bool in_order;
	enum ring_direction direction;

	/* The specification's three areas. Split: descriptor table, available ring, used ring. */
	void *desc_area;
	void *driver_area;
	void *device_area;

	union {
		struct {
			uint16_t avail_idx;
			uint16_t used_idx;
		} split;
		struct {
			uint32_t avail_pos;
			uint32_t used_pos;
			bool avail_wrap;
			bool used_wrap;
		} packed;
	};

	/* In-order devices may return a batch by its last slot alone; these two say how far into one we are.
	 */
	uint32_t batch_left;
	uint32_t batch_last_len;
	uint32_t in_order_slot; /* the slot that an in-order device returns next */

	/* Slots the guest holds, oldest first (only rings from the guest keep any for long). */
	uint16_t *free_slots;
	uint32_t free_head;
	uint32_t free_tail;
	uint32_t free_mask;

	bool posted; /* since the last look at wants_kick() */
	int kick_fd;
	int call_fd;
	uint64_t n_kicks;
	uint32_t data_len; /* room for frame bytes in an empty slot that starts a packet */
	uint32_t data_off; /* of the second descriptor, or of the pieces behind a table's first, if any */
	struct frame_macs macs; /* of frames to be sent; none when there are slots enough for all addresses */
	char name[16];
};

extern const struct ring_ops ring_split_ops;
extern const struct ring_ops ring_packed_ops;
/* For CPUs with AVX-512, chains of one descriptor, devices that do not batch. */
extern const struct ring_ops ring_split_avx512_ops;
extern const struct ring_ops ring_packed_avx512_ops;

/* Decides shape and count; returns the bytes of guest memory that ring_place() will want. */
size_t ring_plan(struct ring *ring, const struct ring_config *config, enum ring_direction direction,
		 const char *name);

/* Builds rings, headers and frames at mem (zeroed, 4 KiB aligned, ring_plan() bytes). Nothing is posted yet.
 */
void ring_place(struct ring *ring, const struct ring_config *config, uint8_t *mem, uint64_t gpa_delta);

void ring_free(struct ring *ring);

/* Gives the device all slots that the guest holds. */
void ring_post_all(struct ring *ring);

/* Kicks if anything was posted since the last call and the device wants to hear of it. Costs a full fence. */
void ring_kick(struct ring *ring);

static inline uint8_t *
ring_frame(const struct ring *ring, uint16_t slot)
{
	return ring->slots + slot * ring->slot_stride + ring->frame_off;
}

static inline uint8_t *
ring_hdr(const struct ring *ring, uint16_t slot)
{
	return ring->slots + slot * ring->slot_stride + ring->hdr_off;
}

static inline uint32_t
ring_n_free(const struct ring *ring)
{
	return ring->free_tail - ring->free_head;
}

#define ring_barrier() __asm__ volatile("" ::: "memory")

#endif
