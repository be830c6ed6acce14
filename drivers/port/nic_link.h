/* SPDX-License-Identifier: BSD-3-Clause */
/* nic_link: the state of an ethdev's link, by its driver and, behind a kernel's interface, by the kernel. */
#ifndef VNICD_NIC_LINK_H
#define VNICD_NIC_LINK_H

#include <stdint.h>

struct port_link;

/* What it means that the interface is not in this network namespace (any more). */
enum nic_link_absent {
	NIC_LINK_ABSENT_DOWN,    /* it is lost for its driver */
	NIC_LINK_ABSENT_UNKNOWN, /* it may be in another one, and work there */
};

/*
 * Control thread; does not wait. eth_id: RTE_MAX_ETHPORTS: there is none. if_index: the interface of this
 * machine's kernel behind it; 0: none. A link whose state can't be told is up.
 */
void nic_link_read(uint16_t eth_id, unsigned int if_index, enum nic_link_absent absent,
		   struct port_link *ret_link);

#endif
