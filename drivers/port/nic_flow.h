/* SPDX-License-Identifier: BSD-3-Clause */
/* nic_flow: flow control (IEEE 802.3x pause frames) of an ethdev. */
#ifndef VNICD_NIC_FLOW_H
#define VNICD_NIC_FLOW_H

#include <stdint.h>

/* As the key flow-control= says it. */
enum nic_flow_mode {
	NIC_FLOW_DEVICE, /* left as the device has it */
	NIC_FLOW_OFF,
	NIC_FLOW_RX,   /* pause frames are obeyed */
	NIC_FLOW_TX,   /* and sent */
	NIC_FLOW_FULL, /* both */
	NIC_FLOW_N,
};

/* NULL: no word means it. */
extern const char *const nic_flow_words[NIC_FLOW_N];

/*
 * Control thread, after the device was started: PMDs set up their own at that. 0; -ENOTSUP: the driver can't;
 * or another -errno of it. NIC_FLOW_DEVICE does nothing.
 */
int nic_flow_set(uint16_t eth_id, enum nic_flow_mode mode);

#endif
