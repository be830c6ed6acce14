/* SPDX-License-Identifier: BSD-3-Clause */
#include "nic_tag.h"

#include <string.h>

#include <rte_byteorder.h>
#include <rte_ether.h>

/* Behind the addresses, in front of all other tags. False: there is no room. */
static bool
tag_put(struct rte_mbuf *frame, uint16_t type, uint16_t tci)
{
	char *start = rte_pktmbuf_prepend(frame, RTE_VLAN_HLEN);

	if (!start)
		return false;
	memmove(start, start + RTE_VLAN_HLEN, (size_t)2 * RTE_ETHER_ADDR_LEN);
	type = rte_cpu_to_be_16(type);
	tci = rte_cpu_to_be_16(tci);
	memcpy(start + 2 * RTE_ETHER_ADDR_LEN, &type, sizeof(type));
	memcpy(start + 2 * RTE_ETHER_ADDR_LEN + sizeof(type), &tci, sizeof(tci));
	return true;
}

bool
nic_tag_restore(struct rte_mbuf *frame)
{
	const bool has_two = frame->ol_flags & RTE_MBUF_F_RX_QINQ_STRIPPED;

	if (rte_pktmbuf_data_len(frame) < 2 * RTE_ETHER_ADDR_LEN)
		return false;
	/* The outer one last. */
	if (!tag_put(frame, RTE_ETHER_TYPE_VLAN, frame->vlan_tci) ||
	    (has_two && !tag_put(frame, RTE_ETHER_TYPE_QINQ, frame->vlan_tci_outer)))
		return false;
	/* RTE_MBUF_F_RX_VLAN stays: vlan_tci is true, and a ring's slot did not hold the tag. */
	frame->ol_flags &= ~NIC_TAG_FLAGS;
	return true;
}
