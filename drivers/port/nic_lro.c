/* SPDX-License-Identifier: BSD-3-Clause */
#include "nic_lro.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>

#include "checksum.h"
#include "layout.h"
#include "port.h"
#include "request.h"
#include "segment.h"

const char *const nic_lro_words[NIC_LRO_N] = {
	[NIC_LRO_AUTO] = "auto", [NIC_LRO_OFF] = "off", [NIC_LRO_ON] = "on"};

int
nic_lro_configure(struct nic_lro *lro, const struct rte_eth_dev_info *info, enum nic_lro_mode mode,
		  bool is_virtio, struct rte_eth_conf *conf)
{
	const bool is_able = info->rx_offload_capa & RTE_ETH_RX_OFFLOAD_TCP_LRO;

	*lro = (struct nic_lro){0};
	if (mode == NIC_LRO_ON && !is_able)
		return -ENOTSUP;
	if (mode == NIC_LRO_OFF || !is_able || (mode == NIC_LRO_AUTO && !is_virtio))
		return 0;
	conf->rxmode.offloads |= RTE_ETH_RX_OFFLOAD_TCP_LRO;
	/* 0 leaves it to ethdev, which takes the longest frame that is no joined one. */
	if (info->max_lro_pkt_size)
		conf->rxmode.max_lro_pkt_size = RTE_MIN(info->max_lro_pkt_size, (uint32_t)PORT_FRAME_MAX);
	lro->is_on = !is_virtio;
	return 0;
}

void
nic_lro_set_mtu(struct nic_lro *lro, uint16_t mtu)
{
	lro->mtu = mtu;
}

/* --- worker --- */

/* The sum of TCP's pseudo header, with the length of all. */
static uint16_t
lro_pseudo(const uint8_t *l3, const struct layout *layout, uint32_t l4_all)
{
	uint64_t sum =
		layout->ip == RTE_MBUF_F_TX_IPV6 ? checksum_bytes(l3 + 8, 32) : checksum_bytes(l3 + 12, 8);

	return checksum_fold(sum + rte_cpu_to_be_16(IPPROTO_TCP) +
			     (uint64_t)rte_cpu_to_be_16((uint16_t)l4_all));
}

/* As long as the frame is. */
static void
lro_set_ip_len(uint8_t *l3, const struct layout *layout, uint32_t ip_len)
{
	uint16_t len, sum;

	if (layout->ip == RTE_MBUF_F_TX_IPV6) {
		len = rte_cpu_to_be_16((uint16_t)(ip_len - sizeof(struct rte_ipv6_hdr)));
		memcpy(l3 + offsetof(struct rte_ipv6_hdr, payload_len), &len, sizeof(len));
		return;
	}
	len = rte_cpu_to_be_16((uint16_t)ip_len);
	memcpy(l3 + offsetof(struct rte_ipv4_hdr, total_length), &len, sizeof(len));
	memset(l3 + offsetof(struct rte_ipv4_hdr, hdr_checksum), 0, sizeof(sum));
	sum = (uint16_t)~checksum_fold(checksum_bytes(l3, layout->l3_len));
	memcpy(l3 + offsetof(struct rte_ipv4_hdr, hdr_checksum), &sum, sizeof(sum));
}

static uint32_t
lro_ip_len(const uint8_t *l3, const struct layout *layout)
{
	uint16_t len;

	if (layout->ip == RTE_MBUF_F_TX_IPV6) {
		memcpy(&len, l3 + offsetof(struct rte_ipv6_hdr, payload_len), sizeof(len));
		return (uint32_t)sizeof(struct rte_ipv6_hdr) + rte_be_to_cpu_16(len);
	}
	memcpy(&len, l3 + offsetof(struct rte_ipv4_hdr, total_length), sizeof(len));
	return rte_be_to_cpu_16(len);
}

/*
 * May the checksum that came be given up? Devices join what they have verified; but a frame that neither says
 * to be joined nor to be verified is looked at.
 */
static bool
lro_is_verified(const struct rte_mbuf *pkt, uint16_t pseudo, uint32_t l4_at)
{
	const uint64_t said = pkt->ol_flags & RTE_MBUF_F_RX_L4_CKSUM_MASK;

	if (said == RTE_MBUF_F_RX_L4_CKSUM_BAD)
		return false;
	return said == RTE_MBUF_F_RX_L4_CKSUM_GOOD || pkt->ol_flags & RTE_MBUF_F_RX_LRO ||
	       checksum_fold((uint64_t)pseudo + checksum_sum(pkt, l4_at)) == 0xffff;
}

/* What is no TCP, or can't be told, stays as it came. */
static void
lro_frame(const struct nic_lro *lro, struct rte_mbuf *pkt)
{
	const bool says_joined = pkt->ol_flags & RTE_MBUF_F_RX_LRO && pkt->tso_segsz;
	const struct layout_front front = {.at = rte_pktmbuf_mtod(pkt, const uint8_t *),
					   .len = pkt->data_len};
	const struct layout layout = layout_parse(&front);
	const uint32_t l4_at = (uint32_t)layout.l2_len + layout.l3_len, ip_len = pkt->pkt_len - layout.l2_len;
	const uint32_t l4_len =
		layout.ip && layout.proto == IPPROTO_TCP ? layout_tcp_len(&front, l4_at, pkt->data_len) : 0;
	uint8_t *l3 = rte_pktmbuf_mtod_offset(pkt, uint8_t *, layout.l2_len);
	uint32_t payload_len, segment_len;
	bool is_joined;
	uint16_t pseudo;

	if (l4_len == 0 || ip_len > UINT16_MAX)
		return;
	is_joined = says_joined || ip_len > lro->mtu;
	payload_len = pkt->pkt_len - l4_at - l4_len;
	/* Padded, or nothing to join. */
	if (payload_len == 0 || (!is_joined && lro_ip_len(l3, &layout) != ip_len))
		return;
	pseudo = lro_pseudo(l3, &layout, pkt->pkt_len - l4_at);
	/* A short one may be joined, too, of shorter ones; it is not worth a look at its payload. */
	if (!is_joined && (pkt->ol_flags & RTE_MBUF_F_RX_L4_CKSUM_MASK) != RTE_MBUF_F_RX_L4_CKSUM_GOOD)
		return;
	segment_len = says_joined ? pkt->tso_segsz : (uint32_t)lro->mtu - layout.l3_len - l4_len;
	if ((is_joined && !segment_size_is_fair(false, payload_len, segment_len)) ||
	    !lro_is_verified(pkt, pseudo, l4_at))
		return;
	lro_set_ip_len(l3, &layout, ip_len);
	memcpy(l3 + layout.l3_len + offsetof(struct rte_tcp_hdr, cksum), &pseudo, sizeof(pseudo));
	pkt->ol_flags &= ~(RTE_MBUF_F_RX_L4_CKSUM_MASK | RTE_MBUF_F_RX_LRO);
	pkt->ol_flags |= layout.ip | RTE_MBUF_F_TX_TCP_CKSUM;
	pkt->tx_offload = 0;
	pkt->l2_len = layout.l2_len & 0x7f;
	pkt->l3_len = layout.l3_len & 0x1ff;
	if (payload_len <= segment_len || !is_joined)
		return;
	pkt->ol_flags |= RTE_MBUF_F_TX_TCP_SEG;
	pkt->l4_len = l4_len & 0xff;
	pkt->tso_segsz = (uint16_t)segment_len;
}

void
nic_lro_burst(const struct nic_lro *lro, struct rte_mbuf **pkts, uint16_t n)
{
	for (uint16_t i = 0; i < n; i++)
		lro_frame(lro, pkts[i]);
}
