/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * icmpecho: answers ARP requests and ICMP echo requests for any IPv4 address, out of the port and queue they
 * came from; also behind one VLAN tag. So a guest can be tested with nothing but `ping`.
 *
 * Not answered: ARP probes and announcements (an answer would tell the sender that its address is taken),
 * fragments (only the first of them says that it is an echo request), anything sent to many.
 */
#include "frame.h"

#include <string.h>

#include <rte_arp.h>
#include <rte_icmp.h>
#include <rte_ip.h>

enum {
	ICMPECHO_IP_LEN_MAX = 60, /* IPv4 header with all options */
	ICMPECHO_LEN = sizeof(struct rte_ether_hdr) + sizeof(struct rte_vlan_hdr) + ICMPECHO_IP_LEN_MAX +
		       sizeof(struct rte_icmp_hdr),
};

/* The ICMP checksum after an echo request has become a reply (RFC 1624, equation 3). */
static uint16_t
icmpecho_cksum_update(uint16_t cksum)
{
	const uint16_t old = rte_cpu_to_be_16(RTE_IP_ICMP_ECHO_REQUEST << 8);
	uint32_t sum = (uint16_t)~cksum + (uint32_t)(uint16_t)~old;

	/* The new word, type 0 and code 0, adds nothing. */
	sum = (sum & UINT16_MAX) + (sum >> 16); /* two words carry once at most */
	return (uint16_t)~sum;
}

/* Turn the ARP request at `arp` into its reply. false: not a request to answer; nothing is changed. */
static bool
icmpecho_arp(struct rte_arp_hdr *arp, uint32_t len, const struct rte_ether_addr *mac)
{
	struct rte_arp_ipv4 *data = &arp->arp_data;
	rte_be32_t target;

	if (len < sizeof(*arp) || arp->arp_hardware != rte_cpu_to_be_16(RTE_ARP_HRD_ETHER) ||
	    arp->arp_protocol != rte_cpu_to_be_16(RTE_ETHER_TYPE_IPV4) ||
	    arp->arp_hlen != RTE_ETHER_ADDR_LEN || arp->arp_plen != sizeof(target) ||
	    arp->arp_opcode != rte_cpu_to_be_16(RTE_ARP_OP_REQUEST))
		return false;
	if (data->arp_sip == 0 || data->arp_sip == data->arp_tip)
		return false;
	target = data->arp_tip;
	arp->arp_opcode = rte_cpu_to_be_16(RTE_ARP_OP_REPLY);
	data->arp_tha = data->arp_sha;
	data->arp_tip = data->arp_sip;
	data->arp_sha = *mac;
	data->arp_sip = target;
	return true;
}

/* Turn the echo request in the IPv4 packet at `ip` into its reply. false: not one; nothing is changed. */
static bool
icmpecho_ip(struct rte_ipv4_hdr *ip, uint32_t len)
{
	struct rte_icmp_hdr *icmp;
	rte_be32_t dst;
	uint32_t total_len, head_len;

	if (len < sizeof(*ip) || ip->version_ihl >> 4 != 4)
		return false;
	total_len = rte_be_to_cpu_16(ip->total_length);
	head_len = rte_ipv4_hdr_len(ip);
	if (head_len < sizeof(*ip) || total_len > len || total_len < head_len + sizeof(*icmp))
		return false;
	if (ip->next_proto_id != IPPROTO_ICMP ||
	    (ip->fragment_offset & rte_cpu_to_be_16(RTE_IPV4_HDR_MF_FLAG | RTE_IPV4_HDR_OFFSET_MASK)))
		return false;
	/* Multicast, reserved and broadcast addresses can't be the source of the reply. */
	dst = ip->dst_addr;
	if (rte_be_to_cpu_32(dst) >= RTE_IPV4(224U, 0, 0, 0))
		return false;
	icmp = RTE_PTR_ADD(ip, head_len);
	if (icmp->icmp_type != RTE_IP_ICMP_ECHO_REQUEST || icmp->icmp_code != 0)
		return false;
	icmp->icmp_type = RTE_IP_ICMP_ECHO_REPLY;
	icmp->icmp_cksum = icmpecho_cksum_update(icmp->icmp_cksum);
	/* An exchange of addresses leaves the checksum of the IPv4 header as it is. */
	ip->dst_addr = ip->src_addr;
	ip->src_addr = dst;
	return true;
}

/* Turn a frame, its headers in one piece, into its answer. */
static bool
icmpecho_answer(struct rte_mbuf *m, const struct rte_ether_addr *mac)
{
	struct rte_ether_hdr *eth = rte_pktmbuf_mtod(m, struct rte_ether_hdr *);
	rte_be16_t type = eth->ether_type;
	uint32_t offset = sizeof(*eth);
	uint32_t len;
	bool answered;
	void *l3;

	if (rte_is_multicast_ether_addr(&eth->src_addr))
		return false;
	if (type == rte_cpu_to_be_16(RTE_ETHER_TYPE_VLAN)) {
		if (rte_pktmbuf_pkt_len(m) < offset + sizeof(struct rte_vlan_hdr))
			return false;
		type = rte_pktmbuf_mtod_offset(m, struct rte_vlan_hdr *, offset)->eth_proto;
		offset += sizeof(struct rte_vlan_hdr);
	}
	l3 = rte_pktmbuf_mtod_offset(m, void *, offset);
	len = rte_pktmbuf_pkt_len(m) - offset;
	if (type == rte_cpu_to_be_16(RTE_ETHER_TYPE_ARP))
		answered = icmpecho_arp(l3, len, mac);
	else if (type == rte_cpu_to_be_16(RTE_ETHER_TYPE_IPV4))
		answered = icmpecho_ip(l3, len);
	else
		answered = false;
	if (answered) {
		eth->dst_addr = eth->src_addr;
		eth->src_addr = *mac;
	}
	return answered;
}

static void
icmpecho_forward(struct fwd_worker *worker, struct port_rxq *from, struct rte_mbuf **pkts, uint16_t n)
{
	uint16_t n_answers = 0;

	for (uint16_t i = 0; i < n; i++) {
		struct rte_mbuf *m = frame_own(worker, pkts[i], ICMPECHO_LEN, 0);

		if (unlikely(!m))
			port_rx_drop(from, DROP_NO_CLONE, &pkts[i], 1);
		else if (icmpecho_answer(m, &from->port->mac))
			pkts[n_answers++] = m;
		else
			port_rx_drop(from, DROP_NOT_ECHO, &m, 1);
	}
	if (n_answers)
		fwd_send_to(worker, from, &from->port->txqs[from->idx], pkts, n_answers);
}

static struct fwd_mode icmpecho_mode = {
	.name = "icmpecho",
	.help = "answers ARP and ICMP echo requests for any IPv4 address",
	.forward = icmpecho_forward,
};
FWD_MODE_REGISTER(icmpecho_mode)
