/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * front_end: a VMM's half of a vhost-user connection, with a guest behind it that is the model (driver.h):
 * one queue pair, split rings, no offloads. For tests of a whole device, socket included.
 *
 * Somebody else serves the other end meanwhile, in another thread. What fails fails the test.
 */
#ifndef VNICD_TEST_FRONT_END_H
#define VNICD_TEST_FRONT_END_H

#include <stdbool.h>
#include <stdint.h>

#include "driver.h"

enum { FRONT_END_FRAME_MAX = 1600, FRONT_END_HEADER = 12 };

struct front_end {
	int fd; /* the connection */
	uint64_t offered;
	struct driver_mem mem;
	struct driver_queue receiveq, transmitq;
	uint16_t size;             /* of both */
	uint64_t rx_gpa, tx_gpa;   /* buffers, one for each descriptor */
	uint64_t n_posted, n_sent; /* so far */
	uint64_t n_returned;       /* of those that were sent */
};

/* Memory and rings of `size`. */
void front_end_make(struct front_end *fe, uint16_t size);
void front_end_free(struct front_end *fe);
/* Connect to the device's socket, and set up all of it; all receive buffers are made available. */
void front_end_start(struct front_end *fe, const char *path);
/* The end of the connection. */
void front_end_stop(struct front_end *fe);
/* Returns when what was said before has been heard. */
void front_end_sync(struct front_end *fe);

/* False: there is no room in the ring. */
bool front_end_send(struct front_end *fe, const void *frame, uint32_t len);
/* The next frame that came; its buffer is made available again. 0: none; else its length. */
uint32_t front_end_receive(struct front_end *fe, void *frame);
/* Buffers that are still with the device. */
unsigned int front_end_under_way(struct front_end *fe);

#endif
