/* SPDX-License-Identifier: BSD-3-Clause */
#include "kernel_frame.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>

#include <rte_errno.h>
#include <rte_lcore.h>

#include "ctx.h"
#include "layout.h"
#include "offload.h"
#include "pools.h"

enum {
	LONG_ROOM = 64000,       /* of a long buffer; lengths of mbufs have 16 bits */
	LONG_CACHE = PORT_BURST, /* of a worker */
};

static_assert(LONG_ROOM + RTE_MBUF_DEFAULT_DATAROOM >= KERNEL_FRAME_MAX,
	      "two buffers hold the longest frame");
static_assert(LONG_ROOM + RTE_PKTMBUF_HEADROOM <= UINT16_MAX, "a length of an mbuf");
static_assert(KERNEL_BUFFERS_PAIR_BYTES / (KERNEL_BUFFERS_PAIR + 1) > LONG_ROOM + RTE_PKTMBUF_HEADROOM + 512,
	      "with what a pool adds");

int
kernel_buffers_open(struct kernel_buffers *buffers, const struct port *port, uint16_t n_queues,
		    struct diag *diag)
{
	const unsigned int n =
		n_queues * KERNEL_BUFFERS_PAIR + RTE_MAX(port_env.n_workers, 1u) * LONG_CACHE * 3 / 2;

	buffers->pool = port_env.pool;
	buffers->long_pool = pools_create(port->ctx, port->name, n, LONG_CACHE,
					  LONG_ROOM + RTE_PKTMBUF_HEADROOM, SOCKET_ID_ANY);
	if (!buffers->long_pool)
		return diag_set(diag, -rte_errno, "give more memory (EAL option -m), or fewer queues",
				"port %s: no memory for %u packet buffers of %d bytes", port->name, n,
				LONG_ROOM);
	return 0;
}

void
kernel_buffers_close(struct kernel_buffers *buffers, struct vnic_ctx *ctx)
{
	/* Frames may still be on their way. */
	pools_release(ctx, buffers->long_pool);
	buffers->long_pool = NULL;
}

void
kernel_buffers_demand(const struct port_config *config, struct port_demand *ret_demand)
{
	/* A burst in from each, and a burst out to each: of frames of two buffers. */
	ret_demand->n_mbufs = config->n_queues * 4 * PORT_BURST;
	ret_demand->own_bytes = config->n_queues * (size_t)KERNEL_BUFFERS_PAIR_BYTES;
}

uint32_t
kernel_frame_capabilities(void)
{
	unsigned int major_version = 0, minor_version = 0;
	struct utsname name;

	/* Segmentation of UDP came with Linux 6.2. */
	if (uname(&name) == 0 && sscanf(name.release, "%u.%u", &major_version, &minor_version) == 2 &&
	    (major_version > 6 || (major_version == 6 && minor_version >= 2)))
		return OFFLOADS_ALL;
	return OFFLOADS_ALL & ~(OFFLOAD_BIT(USO4) | OFFLOAD_BIT(USO6));
}

struct rte_mbuf *
kernel_frame_copy(const struct kernel_buffers *buffers, const void *data, uint32_t len)
{
	struct rte_mbuf *head = rte_pktmbuf_alloc(buffers->pool), *rest;
	const uint32_t first = head ? RTE_MIN(len, (uint32_t)rte_pktmbuf_tailroom(head)) : 0;

	if (!head)
		return NULL;
	memcpy(rte_pktmbuf_mtod(head, void *), data, first);
	head->data_len = (uint16_t)first;
	head->pkt_len = len;
	if (likely(first == len))
		return head;
	rest = rte_pktmbuf_alloc(buffers->long_pool);
	if (!rest) {
		rte_pktmbuf_free(head);
		return NULL;
	}
	memcpy(rte_pktmbuf_mtod(rest, void *), (const uint8_t *)data + first, len - first);
	rest->data_len = (uint16_t)(len - first);
	head->next = rest;
	head->nb_segs = 2;
	return head;
}

bool
kernel_room_prepare(struct kernel_room *room, const struct kernel_buffers *buffers, struct iovec iov[2])
{
	if (!room->head)
		room->head = rte_pktmbuf_alloc(buffers->pool);
	if (!room->rest)
		room->rest = rte_pktmbuf_alloc(buffers->long_pool);
	if (unlikely(!room->head || !room->rest))
		return false;
	iov[0] = (struct iovec){rte_pktmbuf_mtod(room->head, void *), rte_pktmbuf_tailroom(room->head)};
	iov[1] = (struct iovec){rte_pktmbuf_mtod(room->rest, void *), rte_pktmbuf_tailroom(room->rest)};
	return true;
}

struct rte_mbuf *
kernel_room_take(struct kernel_room *room, uint32_t len)
{
	struct rte_mbuf *head = room->head, *rest = room->rest;
	const uint32_t first = RTE_MIN(len, (uint32_t)rte_pktmbuf_tailroom(head));

	head->data_len = (uint16_t)first;
	head->pkt_len = len;
	room->head = NULL;
	if (likely(first == len))
		return head;
	rest->data_len = (uint16_t)(len - first);
	head->next = rest;
	head->nb_segs = 2;
	room->rest = NULL;
	return head;
}

void
kernel_room_free(struct kernel_room *room)
{
	rte_pktmbuf_free(room->head);
	rte_pktmbuf_free(room->rest);
	room->head = room->rest = NULL;
}

uint16_t
kernel_frame_poll(struct port_rxq *rxq, uint64_t *idle_until, kernel_frame_read_fn read,
		  struct rte_mbuf **pkts, uint16_t n)
{
	struct quiesce *quiesce = &rxq->port->ctx->quiesce;
	uint16_t n_taken = 0;

	if (rte_rdtsc() < *idle_until)
		return 0;
	quiesce_leave(quiesce, rxq->worker, &rxq->place);
	for (uint16_t i = 0; i < n; i++) {
		if (read(rxq, &pkts[n_taken]) == 0) {
			*idle_until = kernel_idle_until();
			break;
		}
		n_taken += pkts[n_taken] != NULL;
	}
	quiesce_return(quiesce, rxq->worker);
	return n_taken;
}

bool
kernel_frame_request(struct rte_mbuf *frame, const struct virtio_net_hdr *hdr)
{
	if (likely(!vnet_offload_requested(hdr))) {
		/* What the kernel has verified is known to be right, or comes from this machine. */
		if (hdr->flags & VIRTIO_NET_HDR_F_DATA_VALID)
			frame->ol_flags |= RTE_MBUF_F_RX_L4_CKSUM_GOOD;
		return true;
	}
	return vnet_offload_from_guest(frame, hdr, OFFLOADS_ALL) == VNET_OFFLOAD_TAKEN;
}

enum port_drop
kernel_frame_refused(const struct rte_mbuf *frame, const struct virtio_net_hdr *hdr)
{
	const uint8_t kind = hdr->gso_type & ~VIRTIO_NET_HDR_GSO_ECN;
	struct layout_front front;
	struct layout layout;

	layout_front(&front, frame);
	layout = layout_parse(&front);
	/* The checksum is that of TCP further in than where these headers end: UDP (VXLAN), GRE, IP. */
	if ((kind == VIRTIO_NET_HDR_GSO_TCPV4 || kind == VIRTIO_NET_HDR_GSO_TCPV6) && layout.ip &&
	    layout.proto != IPPROTO_TCP && hdr->csum_start > layout.l2_len + layout.l3_len &&
	    hdr->csum_start + sizeof(struct rte_tcp_hdr) <= frame->pkt_len)
		return DROP_TUNNEL_SEGMENTS;
	return DROP_BAD_OFFLOAD;
}

bool
kernel_frame_fits(const struct rte_mbuf *frame, uint32_t frame_max, const struct nic_limit *limit)
{
	if (unlikely(frame->nb_segs > KERNEL_FRAME_PIECES_MAX || frame->pkt_len > KERNEL_FRAME_MAX))
		return false;
	return likely(frame->pkt_len <= frame_max) || frame->ol_flags & FRAME_REQUESTS_SEGMENTS ||
	       nic_limit_accepts(limit, frame);
}

uint16_t
kernel_frame_send(struct port_txq *txq, const struct kernel_buffers *buffers, uint32_t capabilities,
		  struct rte_mbuf **pkts, uint16_t n, software_offload_send_fn send)
{
	const uint64_t unsupported = offloads_unsupported(capabilities);
	uint64_t flags = 0;

	for (uint16_t i = 0; i < n; i++)
		flags |= pkts[i]->ol_flags;
	if (likely(!(flags & unsupported)))
		return send(txq, NULL, pkts, n);
	return port_software_offload(txq, buffers->pool, capabilities, pkts, n, send, NULL);
}

struct virtio_net_hdr
kernel_frame_header(const struct rte_mbuf *frame)
{
	if (likely(!(frame->ol_flags & FRAME_REQUESTS)))
		return (struct virtio_net_hdr){0};
	return vnet_offload_to_guest(frame);
}

unsigned int
kernel_frame_pieces(const struct rte_mbuf *frame, struct iovec iov[])
{
	const struct borrow_piece *pieces;
	struct borrow_piece one;
	unsigned int n = 0, n_pieces;

	if (unlikely(frame->nb_segs > KERNEL_FRAME_PIECES_MAX))
		return 0;
	n_pieces = borrow_is(frame) ? borrow_pieces(frame, &one, &pieces) : 0;
	for (; frame; frame = frame->next)
		iov[n++] = (struct iovec){.iov_base = rte_pktmbuf_mtod(frame, void *),
					  .iov_len = frame->data_len};
	for (unsigned int i = 0; i < n_pieces; i++)
		iov[n++] =
			(struct iovec){.iov_base = (void *)(uintptr_t)pieces[i].va, .iov_len = pieces[i].len};
	return n;
}

uint16_t
kernel_frame_sendmmsg(struct port_txq *txq, int fd, struct mmsghdr msgs[], struct rte_mbuf **pkts, uint16_t n,
		      kernel_frame_why_fn why)
{
	struct quiesce *quiesce = &txq->port->ctx->quiesce;
	uint16_t done = 0, n_sent = 0;
	bool is_retried = false;
	uint64_t bytes = 0;

	while (done < n) {
		enum port_drop reason;
		bool goes_on;
		int ret;

		quiesce_leave(quiesce, txq->worker, &txq->place);
		ret = sendmmsg(fd, msgs + done, (unsigned int)(n - done), MSG_DONTWAIT);
		quiesce_return(quiesce, txq->worker);
		if (likely(ret > 0)) {
			for (int i = 0; i < ret; i++)
				bytes += pkts[done + i]->pkt_len;
			rte_pktmbuf_free_bulk(pkts + done, (unsigned int)ret);
			n_sent = (uint16_t)(n_sent + ret);
			done = (uint16_t)(done + ret);
			continue;
		}
		/* What has happened to the interface since the last call is told once, and may be over. */
		if (errno == ENETDOWN && !is_retried) {
			is_retried = true;
			continue;
		}
		reason = why(errno, &goes_on);
		ret = goes_on ? 1 : n - done;
		port_tx_drop(txq, reason, pkts + done, (uint16_t)ret);
		done = (uint16_t)(done + ret);
	}
	counter_add(&txq->stats.packets, n_sent);
	counter_add(&txq->stats.bytes, bytes);
	return n_sent;
}
