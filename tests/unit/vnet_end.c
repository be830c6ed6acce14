/* SPDX-License-Identifier: BSD-3-Clause */
#include "vnet_end.h"

#include "borrow.h"
#include "burst_variants.h"

void
vnet_end_open(struct vnet_end *end, unsigned int region, uint32_t traits, uint16_t size, uint16_t hdr_len,
	      int variant, struct rte_mempool *pool)
{
	const uint32_t base = traits & TRAIT_PACKED ? 0x80008000u : 0;

	driver_mem_open(&end->mem);
	driver_queue_open(&end->driver, &end->mem, region, traits, size, false);
	driver_interrupts(&end->driver, DRIVER_INTERRUPTS_OFF);
	end->conf.virtq = end->driver.conf;
	end->conf.hdr_len = hdr_len;
	end->conf.frame_max = PORT_FRAME_MAX;
	end->queue.pool = pool;
	end->queue.borrows_pieces = borrow_fits(pool);
	end->queue.borrowed_conf = &end->conf;
	end->rxq.dev = end->txq.dev = &end->queue;
	assert_int_equal(virtq_start(&end->queue.from_guest, &end->conf.virtq, base), 0);
	assert_int_equal(virtq_start(&end->queue.to_guest, &end->conf.virtq, base), 0);
	if (variant == VNET_END_GENERIC) {
		end->from_guest = vnet_from_guest_generic;
		end->to_guest = vnet_to_guest_generic;
	} else {
		end->from_guest = vnet_from_guest_variant((enum isa)variant, traits);
		end->to_guest = vnet_to_guest_variant((enum isa)variant, traits);
	}
}

void
vnet_end_close(struct vnet_end *end)
{
	driver_queue_close(&end->driver);
	driver_mem_close(&end->mem);
}

uint16_t
vnet_end_take(struct vnet_end *end, struct rte_mbuf **pkts, uint16_t n)
{
	n = end->from_guest(&end->queue, &end->conf, &end->rxq, pkts, n);
	if (end->rxq.borrowed) {
		n = borrow_materialise_burst(pkts, n, &end->rxq.stats.drops[DROP_NO_CLONE]);
		vnet_rx_release(&end->rxq);
	}
	assert_false(end->rxq.borrowed);
	for (uint16_t i = 0; i < n; i++)
		assert_false(borrow_is(pkts[i]));
	return n;
}

uint16_t
vnet_end_give(struct vnet_end *end, struct rte_mbuf **pkts, uint16_t n)
{
	return end->to_guest(&end->queue, &end->conf, &end->txq, pkts, n);
}
