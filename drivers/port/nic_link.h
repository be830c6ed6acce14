/* SPDX-License-Identifier: BSD-3-Clause */
/* nic_link: the state of an ethdev's link, by its driver and, behind a kernel's interface, by the kernel. */
#ifndef VNICD_NIC_LINK_H
#define VNICD_NIC_LINK_H

#include <stdint.h>

struct port_link;

/* Control thread; does not wait. if_index: the interface of this machine's kernel behind it; 0: none. */
void nic_link_read(uint16_t eth_id, unsigned int if_index, struct port_link *ret_link);

#endif
