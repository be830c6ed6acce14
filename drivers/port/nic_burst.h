/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * nic_burst: the workers' half of a nic port: frames from its ethdev, frames to it. What it drops it counts.
 *
 * The functions are for struct port_rxq and port_txq, whose `dev` is the struct nic.
 */
#ifndef VNICD_NIC_BURST_H
#define VNICD_NIC_BURST_H

#include <stdint.h>

struct port_rxq;
struct port_txq;
struct rte_mbuf;

uint16_t nic_burst_rx(struct port_rxq *rxq, struct rte_mbuf **pkts, uint16_t n);
/*
 * What the device does not do of a frame's request is done here. Segments come from the pool whose buffers
 * the device's rings were counted for.
 */
uint16_t nic_burst_tx(struct port_txq *txq, struct rte_mbuf **pkts, uint16_t n);
/* Of the first pair, for PMDs that have to be called every service_period ticks, also without frames. */
void nic_burst_service(struct port_txq *txq);

#endif
