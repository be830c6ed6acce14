/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * vnet_end: one queue of a guest's port with everything around it, and no device: memory, a model driver, and
 * the burst functions, which the test calls as a worker does. The queue goes in one direction or the other;
 * the test knows which.
 */
#ifndef VNICD_TEST_VNET_END_H
#define VNICD_TEST_VNET_END_H

#include "unit.h"

#include <rte_mbuf.h>

#include "driver.h"
#include "isa.h"
#include "port.h"
#include "vnet.h"

/* The functions that are not specialised, beside those of each enum isa. */
enum { VNET_END_GENERIC = ISA_N };

struct vnet_end {
	struct driver_mem mem;
	struct driver_queue driver;
	struct vnet_conf conf; /* of the device's half; the test may change it while no burst is under way */
	struct vnet_queue queue;
	struct port_rxq rxq;
	struct port_txq txq;
	vnet_from_guest_fn from_guest;
	vnet_to_guest_fn to_guest;
};

/*
 * Started, in both directions, and not published; the ring of `size` is in that region of the memory. No
 * offloads and no interrupts; frames are PORT_FRAME_MAX at the most, and from `pool`. `variant` is an enum
 * isa or VNET_END_GENERIC. `end` is all zero.
 */
void vnet_end_open(struct vnet_end *end, unsigned int region, uint32_t traits, uint16_t size,
		   uint16_t hdr_len, int variant, struct rte_mempool *pool);
/* The memory of `end` itself stays. */
void vnet_end_close(struct vnet_end *end);

/* What a worker does with a burst whose frames are looked at: they are whole, and nothing is borrowed any
 * more. */
uint16_t vnet_end_take(struct vnet_end *end, struct rte_mbuf **pkts, uint16_t n);
uint16_t vnet_end_give(struct vnet_end *end, struct rte_mbuf **pkts, uint16_t n);

#endif
