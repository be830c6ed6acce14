/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * driver: the guest's half of a virtqueue, as a model to test the device's half against. Both layouts, direct
 * and indirect chains, in-order or not. Written from the specification's words for drivers, not from our
 * device code.
 *
 * Guest memory is one memfd, mapped twice: here (the driver's view) and by gmem (the device's view). It has
 * three regions: two that touch in guest addresses but not in front-end addresses, and one behind a hole.
 */
#ifndef VNICD_TEST_DRIVER_H
#define VNICD_TEST_DRIVER_H

#include <stdbool.h>
#include <stdint.h>

#include "gmem.h"
#include "virtq.h"

enum { DRIVER_REGION_SIZE = 8 << 20, DRIVER_N_REGIONS = 3, DRIVER_BUFS_MAX = 1100 };

struct driver_mem {
	int fd;
	uint8_t *file; /* the driver's view of the whole file */
	struct gmem *gmem;
	uint64_t next[DRIVER_N_REGIONS]; /* bytes allocated in each region */
	struct gmem_log log;
};

void driver_mem_open(struct driver_mem *mem);
void driver_mem_close(struct driver_mem *mem);
/*
 * The next piece of the file from *offset on that anybody has ever written to or read through a mapping; the
 * rest is zero, and looking at it would cost a page each. False: there is none.
 */
bool driver_mem_next(const struct driver_mem *mem, uint64_t *offset, uint64_t *ret_len);
/* All of it as it is now; to be freed. */
uint8_t *driver_mem_copy(const struct driver_mem *mem);
/* Aborts with the place where they differ. */
void driver_mem_same(const struct driver_mem *a, const struct driver_mem *b);
/* First guest address and size of a region. */
uint64_t driver_region_gpa(unsigned int region);
/* The front-end address of a guest address. */
uint64_t driver_uva(uint64_t gpa);
/* The memory table once more, for a device that will own it. */
struct gmem *driver_gmem(const struct driver_mem *mem);
/* A piece of region `region`, zeroed; aborts when it is full. */
uint64_t driver_alloc(struct driver_mem *mem, unsigned int region, uint64_t size, uint64_t align);
/* The driver's view of a guest address. */
void *driver_va(struct driver_mem *mem, uint64_t gpa);
/* Copies that may cross from the first into the second region. */
void driver_write(struct driver_mem *mem, uint64_t gpa, const void *from, uint64_t len);
void driver_read(struct driver_mem *mem, uint64_t gpa, void *to, uint64_t len);

struct driver_buf {
	uint64_t gpa;
	uint32_t len;
	bool writable;
};

enum driver_form { DRIVER_DIRECT, DRIVER_INDIRECT, DRIVER_DIRECT_THEN_INDIRECT, DRIVER_N_FORMS };

struct driver_token {
	bool used;
	uint16_t n_desc;
	uint64_t tag;
};

struct driver_queue {
	struct driver_mem *mem;
	struct virtq_conf conf; /* what the device needs to know */
	bool packed, in_order;
	bool long_tables;  /* indirect tables may be longer than the ring, which a driver must not do */
	bool id_is_chosen; /* packed: the next chain's id is this, which is free; else one by the driver's own
			      rule */
	uint16_t id_chosen;
	uint16_t size, n_free;
	uint64_t desc_gpa, avail_gpa, used_gpa;
	/* split */
	struct vring_desc *desc;
	struct vring_desc *own_desc; /* [size]: what was written there; the device may not */
	struct vring_avail *avail;
	struct vring_used *used;
	uint16_t free_head, last_used;
	/* packed */
	struct vring_packed_desc *ring;
	uint16_t next_avail, next_used;
	bool avail_wrap, used_wrap;
	/* buffers in flight, by id; in order of addition for in-order */
	struct driver_token *tokens; /* [size] */
	uint16_t *order;             /* ids, oldest first, as a ring of `size` */
	uint32_t order_head, order_tail;
	uint16_t batch_id; /* in-order: the id of a used element that stands for several buffers */
	uint32_t batch_len;
	bool in_batch;
};

/* A queue at the start of its life (packed: wrap counters 1), its ring in region `region`. */
void driver_queue_open(struct driver_queue *queue, struct driver_mem *mem, unsigned int region,
		       uint32_t traits, uint16_t size, bool event_idx);
void driver_queue_close(struct driver_queue *queue);

/* Make a chain available. False: no room in the ring. */
bool driver_add(struct driver_queue *queue, const struct driver_buf bufs[], unsigned int n,
		enum driver_form form, uint64_t tag);
/* The next used chain: its tag and how many bytes the device wrote. False: none. Aborts on what a driver
 * can't accept. */
bool driver_get(struct driver_queue *queue, uint64_t *ret_tag, uint32_t *ret_len);

enum driver_interrupts { DRIVER_INTERRUPTS_OFF, DRIVER_INTERRUPTS_ON, DRIVER_INTERRUPTS_NEXT };
/* NEXT: tell me about the next used buffer (event index at our position). */
void driver_interrupts(struct driver_queue *queue, enum driver_interrupts what);

#endif
