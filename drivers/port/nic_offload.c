/* SPDX-License-Identifier: BSD-3-Clause */
#include "nic_offload.h"

#include <netinet/in.h>
#include <stddef.h>
#include <string.h>

#include "checksum.h"
#include "layout.h"
#include "request.h"

/* A frame's whole checksum and that of either protocol: both or none, for a frame has one of them. */
#define NIC_CHECKSUMS (RTE_ETH_TX_OFFLOAD_TCP_CKSUM | RTE_ETH_TX_OFFLOAD_UDP_CKSUM)

static const struct nic_offload_row {
	uint64_t needs; /* of the device */
	uint32_t offloads;
} nic_offload_rows[] = {
	{NIC_CHECKSUMS, OFFLOAD_BIT(CHECKSUM)},
	{NIC_CHECKSUMS | RTE_ETH_TX_OFFLOAD_TCP_TSO | RTE_ETH_TX_OFFLOAD_MULTI_SEGS,
	 OFFLOAD_BIT(TSO4) | OFFLOAD_BIT(TSO6) | OFFLOAD_BIT(ECN)},
	{NIC_CHECKSUMS | RTE_ETH_TX_OFFLOAD_UDP_TSO | RTE_ETH_TX_OFFLOAD_MULTI_SEGS,
	 OFFLOAD_BIT(USO4) | OFFLOAD_BIT(USO6)},
};

/* Its receive side is virtio's: frames come as a guest gets them. */
static bool
nic_is_virtio(const struct rte_eth_dev_info *info)
{
	return info->driver_name && strncmp(info->driver_name, "net_virtio", strlen("net_virtio")) == 0;
}

/* A virtual device whose PMD does it in software, and worse: with net_tap's segmentation TCP crawls. */
static bool
nic_is_software(const struct rte_eth_dev_info *info)
{
	return info->driver_name && strcmp(info->driver_name, "net_tap") == 0;
}

void
nic_offload_configure(struct nic_offload *offload, const struct rte_eth_dev_info *info, uint32_t without,
		      struct rte_eth_conf *conf)
{
	uint64_t rx =
		RTE_ETH_RX_OFFLOAD_TCP_CKSUM | RTE_ETH_RX_OFFLOAD_UDP_CKSUM | RTE_ETH_RX_OFFLOAD_IPV4_CKSUM;

	*offload = (struct nic_offload){.segs_max = UINT16_MAX};
	for (size_t i = 0; i < RTE_DIM(nic_offload_rows); i++) {
		const struct nic_offload_row *row = &nic_offload_rows[i];

		if ((info->tx_offload_capa & row->needs) != row->needs || nic_is_software(info))
			continue;
		offload->capabilities |= row->offloads;
		conf->txmode.offloads |= row->needs;
	}
	offload->capabilities = offloads_without(offload->capabilities, without);
	if (offload->capabilities & OFFLOAD_BIT(TSO4) &&
	    info->tx_offload_capa & RTE_ETH_TX_OFFLOAD_IPV4_CKSUM) {
		offload->ip_checksum = RTE_MBUF_F_TX_IP_CKSUM;
		conf->txmode.offloads |= RTE_ETH_TX_OFFLOAD_IPV4_CKSUM;
	}
	if (info->tx_desc_lim.nb_seg_max)
		offload->segs_max = info->tx_desc_lim.nb_seg_max;
	conf->rxmode.offloads |= info->rx_offload_capa & rx;
	offload->gives_partial = nic_is_virtio(info);
}

/* --- worker --- */

bool
nic_offload_receive(struct rte_mbuf *frame)
{
	const bool is_joined = frame->ol_flags & RTE_MBUF_F_RX_LRO && frame->tso_segsz;
	const uint16_t segment_size = frame->tso_segsz;
	struct layout_front front;
	struct layout layout;
	uint64_t request;
	uint32_t l4_at, l4_len = 0;

	layout_front(&front, frame);
	layout = layout_parse(&front);
	l4_at = (uint32_t)layout.l2_len + layout.l3_len;
	if (!layout.ip || (layout.proto != IPPROTO_TCP && layout.proto != IPPROTO_UDP))
		return false;
	request =
		layout.ip | (layout.proto == IPPROTO_TCP ? RTE_MBUF_F_TX_TCP_CKSUM : RTE_MBUF_F_TX_UDP_CKSUM);
	if (is_joined) {
		l4_len = layout.proto == IPPROTO_TCP ? layout_tcp_len(&front, l4_at, frame->pkt_len) : 0;
		if (l4_len == 0)
			return false;
		request |= RTE_MBUF_F_TX_TCP_SEG;
	}
	frame->ol_flags &= ~(RTE_MBUF_F_RX_L4_CKSUM_MASK | RTE_MBUF_F_RX_LRO);
	if (layout.proto == IPPROTO_UDP && l4_at + sizeof(struct rte_udp_hdr) <= front.len &&
	    layout_is_to_dhcp_client(&front, l4_at)) {
		checksum_store(frame, l4_at, offsetof(struct rte_udp_hdr, dgram_cksum));
		return true;
	}
	frame->ol_flags |= request;
	frame->tx_offload = 0;
	frame->l2_len = layout.l2_len & 0x7f;
	frame->l3_len = layout.l3_len & 0x1ff;
	if (is_joined) {
		frame->l4_len = l4_len & 0xff;
		frame->tso_segsz = segment_size;
	}
	return true;
}

/* The frame, or a copy in its place; false: no packet buffer, or too many pieces. */
static bool
offload_ready(const struct nic_offload *offload, struct rte_mempool *pool, struct rte_mbuf **pkt)
{
	if (!((*pkt)->ol_flags & FRAME_REQUESTS))
		return true;
	if (!frame_is_own(*pkt)) {
		struct rte_mbuf *copy = rte_pktmbuf_copy(*pkt, pool, 0, UINT32_MAX);

		if (!copy)
			return false;
		rte_pktmbuf_free(*pkt);
		*pkt = copy;
	}
	return (*pkt)->nb_segs <= offload->segs_max;
}

uint16_t
nic_offload_prepare(const struct nic_offload *offload, uint16_t eth_id, uint16_t queue_idx,
		    struct rte_mempool *pool, struct rte_mbuf **pkts, uint16_t n)
{
	uint16_t n_ready = 0;

	while (n_ready < n && offload_ready(offload, pool, &pkts[n_ready])) {
		struct rte_mbuf *pkt = pkts[n_ready];

		if (pkt->ol_flags & FRAME_REQUESTS_SEGMENTS && pkt->ol_flags & RTE_MBUF_F_TX_IPV4)
			pkt->ol_flags |= offload->ip_checksum;
		n_ready++;
	}
	return n_ready ? rte_eth_tx_prepare(eth_id, queue_idx, pkts, n_ready) : 0;
}
