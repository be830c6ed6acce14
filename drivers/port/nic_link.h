/* SPDX-License-Identifier: BSD-3-Clause */
/* nic_link: the state of an ethdev's link, as its PMD and, for a kernel's interface, the kernel report it. */
#ifndef VNICD_NIC_LINK_H
#define VNICD_NIC_LINK_H

#include <stdint.h>

struct port_link;

/* What it means for the link if the interface is not in this network namespace (any more). */
enum nic_link_absent {
	NIC_LINK_ABSENT_DOWN,    /* the PMD has lost it */
	NIC_LINK_ABSENT_UNKNOWN, /* it may be in another namespace, and work there */
};

/*
 * Control thread; does not wait. eth_id: RTE_MAX_ETHPORTS: there is none. if_index: the kernel's interface
 * behind it; 0: none. A link whose state is not known counts as up.
 */
void nic_link_read(uint16_t eth_id, unsigned int if_index, enum nic_link_absent absent,
		   struct port_link *ret_link);

#endif
