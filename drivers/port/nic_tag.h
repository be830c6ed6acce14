/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * nic_tag: VLAN tags that a device has taken out of a frame, put back where they were.
 *
 * Stripping is never asked for, and insertion neither: frames have their tags in them everywhere in vnicd,
 * for that is how guests have them. But some PMDs strip all the same.
 */
#ifndef VNICD_NIC_TAG_H
#define VNICD_NIC_TAG_H

#include <stdbool.h>

#include <rte_mbuf.h>

/* ol_flags of frames whose tag is beside them. */
#define NIC_TAG_FLAGS (RTE_MBUF_F_RX_VLAN_STRIPPED | RTE_MBUF_F_RX_QINQ_STRIPPED)

/* Worker, for a frame from the device. False: there is no room in front of it, and it is no frame any more.
 */
bool nic_tag_restore(struct rte_mbuf *frame);

#endif
