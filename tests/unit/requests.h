/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * requests: frames of every shape that request offloads (request.h), in an mbuf or in the header of
 * virtio-net, and a place where they arrive when software has done what was requested. Knows nothing of vnet.
 */
#ifndef VNICD_TEST_REQUESTS_H
#define VNICD_TEST_REQUESTS_H

#include "unit.h"

#include <linux/virtio_net.h>
#include <rte_mbuf.h>

#include "mbufs.h"
#include "packet.h"
#include "port.h"
#include "request.h"

enum {
	REQUESTS_POOL_SIZE = 8191,
	REQUESTS_SPECS = 18,
	REQUESTS_SINK_SIZE = 6000,
};

/* Sets of offloads. */
enum {
	CSUM = OFFLOAD_BIT(CHECKSUM),
	TSO4 = OFFLOAD_BIT(TSO4),
	TSO6 = OFFLOAD_BIT(TSO6),
	USO4 = OFFLOAD_BIT(USO4),
	USO6 = OFFLOAD_BIT(USO6),
	ECN = OFFLOAD_BIT(ECN),
	UFO = OFFLOAD_BIT(UFO),
};

/* Of the header of virtio-net. */
enum {
	F_NONE = 0,
	F_CSUM = VIRTIO_NET_HDR_F_NEEDS_CSUM,
	F_VALID = VIRTIO_NET_HDR_F_DATA_VALID,
	F_RSC = VIRTIO_NET_HDR_F_RSC_INFO,
	G_NONE = VIRTIO_NET_HDR_GSO_NONE,
	G_V4 = VIRTIO_NET_HDR_GSO_TCPV4,
	G_UDP = VIRTIO_NET_HDR_GSO_UDP,
	G_V6 = VIRTIO_NET_HDR_GSO_TCPV6,
	G_USO = 5,
	G_ECN = VIRTIO_NET_HDR_GSO_ECN,
};

extern struct rte_mempool *requests_pool;

/* EAL and the pool; first of all. */
void requests_env_open(void);

/* --- frames --- */

/* TCP and UDP, IPv4 and IPv6, with and without all that there may be before and in them. */
extern const struct packet_spec requests_specs[REQUESTS_SPECS];

/* packet_build(); overwritten by the next. */
struct packet *requests_packet(const struct packet_spec *spec, enum packet_sum sum);
/* Made with PACKET_SUM_PSEUDO; requests its checksum, and with segment_size (of payload; 0: without) to be
 * cut where it is longer. */
struct rte_mbuf *requests_make(const struct packet *frame, uint16_t segment_size, enum mbufs_cuts cuts);
/* A datagram, to be fragmented by IP where it has more than `size` bytes behind what each fragment has. */
struct rte_mbuf *requests_make_fragments(const struct packet *frame, uint16_t size, enum mbufs_cuts cuts);
/* What that is of a frame: UDP, and in IPv6 what comes in front of it behind routing and hop-by-hop headers.
 */
uint32_t requests_cut_len(const struct packet *frame);
bool requests_any(const struct rte_mbuf *pkt);
/* The header that a driver sends with it. */
struct virtio_net_hdr requests_hdr(const struct packet *frame, uint8_t gso_type, uint16_t gso_size);

/* --- done in software --- */

/* What port_software_offload() has sent. */
struct requests_sink {
	struct rte_mbuf *pkts[REQUESTS_SINK_SIZE];
	unsigned int n, calls;
	struct port_txq txq;
};

extern struct requests_sink requests_sink;

/* For a destination that is capable of these. */
uint16_t requests_complete(unsigned int capabilities, struct rte_mbuf **pkts, uint16_t n);
void requests_sink_clear(void);
/* The segments are what the frame was: each a whole frame, its payload in order, its fields as they should
 * be. */
void requests_check_segments(const struct packet *whole, struct rte_mbuf **pkts, unsigned int n,
			     uint16_t segment_size);
/* And fragments are what they were: put together, the datagram, with its checksum. */
void requests_check_fragments(const struct packet *whole, struct rte_mbuf **pkts, unsigned int n,
			      uint16_t size);

#endif
