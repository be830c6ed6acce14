/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * txonly: sends UDP frames of one size to every queue pair as fast as it takes them; what comes in is counted
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
	TXONLY_LEN_MIN = RTE_ETHER_MIN_LEN - RTE_ETHER_CRC_LEN,
	TXONLY_LEN_MAX = RTE_ETHER_MAX_LEN - RTE_ETHER_CRC_LEN,
	TXONLY_UDP_PORT = 9, /* discard */
	TXONLY_TTL = 64,
};

struct txonly_args {
	uint16_t len;
};

static const struct key txonly_keys[] = {
	{"size", KEY_NUMBER, KEY_FIELD(struct txonly_args, len), .min = TXONLY_LEN_MIN, .max = TXONLY_LEN_MAX,
	 .initial = "64", .help = "bytes of a frame, without FCS (default 64)"},
	{0},
};

struct txonly_frame {
	struct rte_ether_hdr eth;
	struct rte_ipv4_hdr ip;
	struct rte_udp_hdr udp;
	uint8_t payload[TXONLY_LEN_MAX - sizeof(struct rte_ether_hdr) - sizeof(struct rte_ipv4_hdr) -
			sizeof(struct rte_udp_hdr)];
} __rte_packed __rte_aligned(2);

static_assert(sizeof(struct txonly_frame) == TXONLY_LEN_MAX, "the longest frame");

struct txonly_state {
	struct txonly_frame frame; /* the template */
	uint16_t len;              /* of it */
};

static int
txonly_open(void **ret_state, const void *args, struct diag *diag)
{
	const struct txonly_args *own = args;
	struct txonly_state *state = calloc(1, sizeof(*state));
	const uint16_t ip_len = (uint16_t)(own->len - sizeof(state->frame.eth));
	struct txonly_frame *frame;

	if (!state)
		return diag_no_memory(diag, "forward mode txonly: no memory");
	state->len = own->len;
	frame = &state->frame;
	frame->eth.ether_type = rte_cpu_to_be_16(RTE_ETHER_TYPE_IPV4);
	frame->ip.version_ihl = RTE_IPV4_VHL_DEF;
	frame->ip.total_length = rte_cpu_to_be_16(ip_len);
	frame->ip.time_to_live = TXONLY_TTL;
	frame->ip.next_proto_id = IPPROTO_UDP;
	/* Set aside for tests between networks (RFC 2544). */
	frame->ip.src_addr = rte_cpu_to_be_32(RTE_IPV4(198U, 18, 0, 1));
	frame->ip.dst_addr = rte_cpu_to_be_32(RTE_IPV4(198U, 18, 0, 2));
	frame->udp.src_port = rte_cpu_to_be_16(TXONLY_UDP_PORT);
	frame->udp.dst_port = rte_cpu_to_be_16(TXONLY_UDP_PORT);
	frame->udp.dgram_len = rte_cpu_to_be_16((uint16_t)(ip_len - sizeof(frame->ip)));
	frame->ip.hdr_checksum = rte_ipv4_cksum(&frame->ip);
	frame->udp.dgram_cksum = rte_ipv4_udptcp_cksum(&frame->ip, &frame->udp);
	*ret_state = state;
	return 0;
}

static void
txonly_generate(struct fwd_worker *worker, struct port_txq *txq)
{
	const struct txonly_state *state = worker->plan->mode_state;
	struct rte_mbuf *pkts[PORT_BURST];
	struct rte_ether_addr dst;

	/* All buffers are on their way: try again next iteration. */
	if (rte_pktmbuf_alloc_bulk(worker->clone_pool, pkts, PORT_BURST) < 0)
		return;
	frame_station(&dst, txq->port);
	for (unsigned int i = 0; i < PORT_BURST; i++) {
		struct txonly_frame *frame = rte_pktmbuf_mtod(pkts[i], struct txonly_frame *);

		memcpy(frame, &state->frame, state->len);
		frame->eth.dst_addr = dst;
		frame->eth.src_addr = txq->port->mac;
		pkts[i]->data_len = state->len;
		pkts[i]->pkt_len = state->len;
	}
	fwd_send_made(worker, txq, pkts, PORT_BURST);
}

static void
txonly_forward(struct fwd_worker *worker, struct port_rxq *from, struct rte_mbuf **pkts, uint16_t n)
{
	port_rx_consume(from, pkts, n);
}

static struct fwd_mode txonly_mode = {
	.name = "txonly",
	.help = "sends UDP frames as fast as each port takes them",
	.keys = txonly_keys,
	.args_size = sizeof(struct txonly_args),
	.open = txonly_open,
	.close = free,
	.forward = txonly_forward,
	.generate = txonly_generate,
};
FWD_MODE_REGISTER(txonly_mode)
