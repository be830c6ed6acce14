/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * bench_guest: a guest for measuring code in one thread: a whole virtio-net device with its port, whose
 * driver is the model of tests/driver. What a front-end and a driver would say is said by the functions that
 * are there for it (vdev.h) and by commands in the control queue, so nothing here knows how it comes about.
 *
 * Each pair's queues have BENCH_GUEST_SLOTS buffers; a frame that came back makes room for the next.
 */
#ifndef PERF_BENCH_GUEST_H
#define PERF_BENCH_GUEST_H

#include <stdint.h>

#include <rte_mempool.h>

#include "driver.h"
#include "port.h"
#include "vnet_dev.h"

enum {
	BENCH_GUEST_RING = 256,
	BENCH_GUEST_SLOTS = 192,
	BENCH_GUEST_SLOT = 35 * 64, /* bytes from one to the next, which a long frame spills into */
	BENCH_GUEST_FRAME_MAX = 10000,
	BENCH_GUEST_PAIRS = 2,
};

struct bench_guest {
	struct driver_mem mem;
	struct driver_queue queues[2 * BENCH_GUEST_PAIRS], controlq;
	uint64_t slots_gpa[2 * BENCH_GUEST_PAIRS];
	uint16_t next_slot[2 * BENCH_GUEST_PAIRS];
	struct vnet_dev dev;
	struct port port;
	struct port_rxq rxqs[BENCH_GUEST_PAIRS];
	struct port_txq txqs[BENCH_GUEST_PAIRS];
	uint16_t hdr_len;
	int fds[2 * (2 * BENCH_GUEST_PAIRS + 1)];
};

/* How a chain lies in memory: the first buffer, then more of a length each until it is long enough. */
struct bench_shape {
	uint32_t first; /* bytes; 0: one buffer */
	uint32_t next;  /* bytes; 0: all the rest */
	enum driver_form form;
};

/*
 * A guest of n_pairs pairs whose driver has these features besides VERSION_1, CTRL_VQ and INDIRECT_DESC.
 * Aborts when it is not to be had.
 */
struct bench_guest *bench_guest_open(const char *name, uint16_t port_id, uint64_t features, uint16_t n_pairs,
				     struct rte_mempool *pool);
void bench_guest_close(struct bench_guest *guest);

/* A command that is answered with OK; aborts otherwise. */
void bench_guest_command(struct bench_guest *guest, uint8_t class, uint8_t command, const void *data,
			 uint32_t len);
/* All hash types over a table of 128 entries that names n_pairs pairs in turns; 0: HASH_CONFIG, no table. */
void bench_guest_rss(struct bench_guest *guest, uint16_t n_pairs);

/* The driver makes a frame behind a header available to the device, and a buffer of so many bytes. */
void bench_guest_send(struct bench_guest *guest, unsigned int pair, const void *header, const void *frame,
		      uint32_t len, const struct bench_shape *shape);
void bench_guest_post(struct bench_guest *guest, unsigned int pair, uint32_t len,
		      const struct bench_shape *shape);
/* How many chains the driver has got back: those that it sent, and those that it posted. */
unsigned int bench_guest_reap_sent(struct bench_guest *guest, unsigned int pair);
unsigned int bench_guest_reap_posted(struct bench_guest *guest, unsigned int pair);

#endif
