/* SPDX-License-Identifier: BSD-3-Clause */
/* vnic_burst: the data functions of vnic.h. */
#include <errno.h>

#include "borrow.h"
#include "vnic_private.h"

/* --- from the guest --- */

/* Release the borrowed frames, and leave the section, which was entered until now because of them. */
static void
rx_release(struct port_rxq *rxq, struct vnic_section *section)
{
	if (rxq->borrowed)
		rxq->release(rxq);
	section_leave(section);
}

uint16_t
vnic_rx_burst(struct vnic_dev *dev, uint16_t queue, struct rte_mbuf **pkts, uint16_t n)
{
	struct vnic_section *section = &dev->rx[queue];
	struct port_rxq *rxq = &dev->port.rxqs[queue];

	if (unlikely(section_is_entered(section)))
		rx_release(rxq, section);
	section_enter(section, dev->fences);
	rxq->service(rxq);
	n = n ? port_rx(rxq, pkts, RTE_MIN(n, (uint16_t)VNIC_BURST_MAX)) : 0;
	/* While frames are borrowed the section stays entered, so that the guest's memory stays mapped. */
	if (likely(!rxq->borrowed))
		section_leave(section);
	return n;
}

void
vnic_rx_release(struct vnic_dev *dev, uint16_t queue)
{
	if (section_is_entered(&dev->rx[queue]))
		rx_release(&dev->port.rxqs[queue], &dev->rx[queue]);
}

bool
vnic_frame_is_borrowed(const struct rte_mbuf *pkt)
{
	return borrow_is(pkt);
}

int
vnic_frame_materialise(struct rte_mbuf *pkt)
{
	return borrow_materialise(pkt) ? 0 : -ENOMEM;
}

/* --- to the guest --- */

/*
 * The program uses a bit of the library's for something else: clear it. In a copy, if the frame is
 * shared: the flags of the other holders' frame stay as they are.
 */
static uint16_t
tx_clean(const struct vnic_dev *dev, struct port_txq *txq, struct rte_mbuf **pkts, uint16_t n)
{
	uint16_t n_clean = 0;

	for (uint16_t i = 0; i < n; i++) {
		struct rte_mbuf *pkt = pkts[i];

		if (pkt->ol_flags & dev->foreign_flags && rte_mbuf_refcnt_read(pkt) > 1) {
			struct rte_mbuf *copy =
				rte_pktmbuf_copy(pkt, dev->vnet.queues[txq->idx].pool, 0, UINT32_MAX);

			if (!copy) {
				port_tx_drop(txq, DROP_NO_MBUF, &pkt, 1);
				continue;
			}
			rte_pktmbuf_free(pkt);
			pkt = copy;
		}
		pkt->ol_flags &= ~dev->foreign_flags;
		pkts[n_clean++] = pkt;
	}
	return n_clean;
}

uint16_t
vnic_tx_burst(struct vnic_dev *dev, uint16_t queue, struct rte_mbuf **pkts, uint16_t n)
{
	struct vnic_section *section = &dev->tx[queue];
	struct port_txq *txq = &dev->port.txqs[queue];
	const struct port_filter *filter;
	uint16_t n_sent = 0;

	section_enter(section, dev->fences);
	txq->service(txq);
	if (unlikely(dev->foreign_flags))
		n = tx_clean(dev, txq, pkts, n);
	/* Acquire: pairs with the release of who published it. */
	filter = atomic_load_explicit(&dev->port.filter, memory_order_acquire);
	while (n) {
		const uint16_t now = RTE_MIN(n, (uint16_t)VNIC_BURST_MAX);
		uint16_t n_wanted = now;

		if (unlikely(filter))
			n_wanted = port_filter_apply(filter, txq, txq->worker, pkts, now);
		if (likely(n_wanted))
			n_sent += port_tx(txq, pkts, n_wanted);
		pkts += now;
		n -= now;
	}
	section_leave(section);
	return n_sent;
}

uint16_t
vnic_tx_queues(const struct vnic_dev *dev)
{
	return atomic_load_explicit(&dev->port.n_active, memory_order_relaxed);
}

void
vnic_tx_steer(struct vnic_dev *dev, uint16_t queue, struct rte_mbuf **pkts, uint16_t n, uint16_t ret_queues[])
{
	struct vnic_section *section = &dev->tx[queue];
	const struct port_steer *steer;

	section_enter(section, dev->fences);
	/* Acquire: pairs with the release of who published it. */
	steer = atomic_load_explicit(&dev->port.steer, memory_order_acquire);
	if (steer) {
		/* As if the frames came from the rx queue of the same number. */
		steer->pick(steer, &dev->port, &dev->port.rxqs[queue], pkts, n, ret_queues);
	} else {
		const uint16_t to = queue % vnic_tx_queues(dev);

		for (uint16_t i = 0; i < n; i++)
			ret_queues[i] = to;
	}
	section_leave(section);
}
