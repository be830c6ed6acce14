/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * txonly: sends 64-byte UDP frames to every queue pair as fast as it takes them; what comes in is counted
 * only.
 *
 * A frame differs from the template in its Ethernet addresses alone, so its checksums are computed once.
 */
#include "frame.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <rte_ip.h>
#include <rte_udp.h>

enum {
	TXONLY_FRAME_LEN = 64, /* without FCS */
	TXONLY_UDP_PORT = 9,   /* discard */
	TXONLY_TTL = 64,
};

struct txonly_frame {
	struct rte_ether_hdr eth;
	struct rte_ipv4_hdr ip;
	struct rte_udp_hdr udp;
	uint8_t payload[TXONLY_FRAME_LEN - sizeof(struct rte_ether_hdr) - sizeof(struct rte_ipv4_hdr) -
			sizeof(struct rte_udp_hdr)];
} __rte_packed __rte_aligned(2);

static_assert(sizeof(struct txonly_frame) == TXONLY_FRAME_LEN, "the frame has 64 bytes");

static int
txonly_open(void **ret_state, struct diag *diag)
{
	struct txonly_frame *frame = calloc(1, sizeof(*frame));
	const uint16_t udp_len = sizeof(frame->udp) + sizeof(frame->payload);

	if (!frame)
		return diag_set(diag, -ENOMEM, NULL, "forward mode txonly: no memory");
	frame->eth.ether_type = rte_cpu_to_be_16(RTE_ETHER_TYPE_IPV4);
	frame->ip.version_ihl = RTE_IPV4_VHL_DEF;
	frame->ip.total_length = rte_cpu_to_be_16((uint16_t)(sizeof(frame->ip) + udp_len));
	frame->ip.time_to_live = TXONLY_TTL;
	frame->ip.next_proto_id = IPPROTO_UDP;
	/* Set aside for tests between networks (RFC 2544). */
	frame->ip.src_addr = rte_cpu_to_be_32(RTE_IPV4(198U, 18, 0, 1));
	frame->ip.dst_addr = rte_cpu_to_be_32(RTE_IPV4(198U, 18, 0, 2));
	frame->udp.src_port = rte_cpu_to_be_16(TXONLY_UDP_PORT);
	frame->udp.dst_port = rte_cpu_to_be_16(TXONLY_UDP_PORT);
	frame->udp.dgram_len = rte_cpu_to_be_16(udp_len);
	frame->ip.hdr_checksum = rte_ipv4_cksum(&frame->ip);
	frame->udp.dgram_cksum = rte_ipv4_udptcp_cksum(&frame->ip, &frame->udp);
	*ret_state = frame;
	return 0;
}

static void
txonly_generate(struct fwd_worker *worker, struct port_txq *txq)
{
	const struct txonly_frame *template = worker->plan->mode_state;
	struct rte_mbuf *pkts[PORT_BURST];
	struct rte_ether_addr dst;

	/* All buffers are on their way: try again next iteration. */
	if (rte_pktmbuf_alloc_bulk(worker->clone_pool, pkts, PORT_BURST) < 0)
		return;
	frame_station(&dst, txq->port);
	for (unsigned int i = 0; i < PORT_BURST; i++) {
		struct txonly_frame *frame = rte_pktmbuf_mtod(pkts[i], struct txonly_frame *);

		memcpy(frame, template, sizeof(*frame));
		frame->eth.dst_addr = dst;
		frame->eth.src_addr = txq->port->mac;
		pkts[i]->data_len = TXONLY_FRAME_LEN;
		pkts[i]->pkt_len = TXONLY_FRAME_LEN;
	}
	fwd_send_made(worker, txq, pkts, PORT_BURST);
}

static void
txonly_forward(struct fwd_worker *worker, struct port_rxq *from, struct rte_mbuf **pkts, uint16_t n)
{
	port_rx_drop(from, DROP_SINK, pkts, n);
}

static struct fwd_mode txonly_mode = {
	.name = "txonly",
	.help = "sends 64-byte UDP frames as fast as each port takes them",
	.open = txonly_open,
	.close = free,
	.forward = txonly_forward,
	.generate = txonly_generate,
};
FWD_MODE_REGISTER(txonly_mode)
