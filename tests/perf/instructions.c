/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * instructions: how many instructions each hot loop takes for a frame (steps.h), with one ISA variant
 * (isa.h). Prints a line for each loop: its name, instructions and calls of the C library for a frame.
 * instructions.py compares them with those on record.
 *
 * A loop is a row below: what is set up, what is made ready before each burst, and what is counted. It runs a
 * few bursts first, so that everything has been called, then one is counted. Each checks that it did its
 * work.
 */
#include <getopt.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_ip.h>
#include <rte_mbuf.h>
#include <rte_random.h>
#include <rte_rcu_qsbr.h>
#include <rte_tcp.h>
#include <rte_udp.h>
#include <rte_version.h>

#include <linux/virtio_net.h>

#include "bench_guest.h"
#include "borrow.h"
#include "filter.h"
#include "flows.h"
#include "frame.h"
#include "fwd.h"
#include "fwd_config.h"
#include "switch_port.h"
#include "tag.h"
#include "hash.h"
#include "isa.h"
#include "loop.h"
#include "must.h"
#include "steps.h"
#include "worker.h"

enum {
	BURST = PORT_BURST,
	WARMUP = 3, /* bursts */
	POOL_FRAMES = 4095,
	POOL_CACHE = 256,
	GUESTS_MAX = 4,
	N_WORKERS = 2,
	ITERATION_COUNTED = 3, /* of the poll loop; before it, all is called once */
	FRAME_SHORT = 64,
	FRAME_LONG = 1514,
	FRAME_JUMBO = 9014,
	SEGMENT = 1448,
	BUFFER = 2048,
	HEADROOM_L2 = RTE_ETHER_HDR_LEN,
};

/* What is in the frames. */
enum content {
	CONTENT_UDP4,
	CONTENT_UDP6,
	CONTENT_OPTIONS, /* IPv4 with options: parsed step by step */
	CONTENT_VLAN,    /* tagged, to the addresses and VLANs of frame.h */
	CONTENT_TCP4,
};

/* What a frame asks for. */
enum request { REQUEST_NOTHING, REQUEST_CHECKSUM, REQUEST_SEGMENTS };

struct bench;

struct loop_row {
	const char *name;
	void (*open)(struct bench *bench);
	void (*prepare)(struct bench *bench);
	void (*run)(struct bench *bench); /* counted, but where it counts itself */
	void (*finish)(struct bench *bench);
	uint64_t features; /* of the guests' drivers, besides those of bench_guest_open() */
	uint16_t n_frames; /* in a burst; 0: BURST */
	uint16_t n_pairs;  /* 0: one */
	uint16_t n_guests; /* 0: one */
	uint32_t len;      /* of a frame; 0: FRAME_SHORT */
	enum content content;
	enum request request;
	struct bench_shape shape; /* of the chains */
	uint32_t buffer;          /* bytes of each buffer posted; 0: BUFFER */
	uint16_t n_segs;          /* of the mbufs; 0: one */
	bool materialised;        /* frames are not borrowed for longer than rx */
	bool self_counted;
	bool by_layout; /* of the ring: for each */
};

/* All that a row has, from one burst to the next. */
struct bench {
	const struct loop_row *row;
	uint64_t features;
	uint16_t n_frames;
	struct bench_guest *guests[GUESTS_MAX], *source; /* source: whose frames are borrowed */
	struct rte_mbuf *pkts[BURST];
	uint16_t n_pkts;
	uint16_t pairs[BURST];
	uint32_t seed; /* of the next burst's frames */
	struct fwd_plan *plan;
	const struct fwd_mode *mode;
	void *mode_state;
	struct hash *hash;
	uint32_t hash_values[BURST];
	uint8_t hash_reports[BURST];
	/* The poll loop. */
	struct worker_shared shared;
	struct worker_counters counters;
	struct steps steps;
};

static struct rte_mempool *pool;
static struct fwd_worker workers[N_WORKERS];
static struct port from_port = {.name = "from", .id = GUESTS_MAX, .n_queues = 1, .n_active = 1};
static struct port_rxq from_queue = {.port = &from_port};
static struct bench *polled; /* whose poll loop runs */

/* --- frames --- */

static uint16_t
sum16(const uint8_t *bytes, uint32_t len)
{
	return (uint16_t)~rte_raw_cksum(bytes, len);
}

/* Frame `slot` of some content; its headers are right, its checksums are those that a request begins with. */
static void
frame_fill(const struct loop_row *row, uint32_t slot, uint8_t *frame, uint32_t len)
{
	uint8_t *ip = frame + RTE_ETHER_HDR_LEN;

	frame_build(row->content == CONTENT_VLAN ? FRAME_VLAN : FRAME_UDP, slot, frame, len);
	if (row->content == CONTENT_UDP6) {
		struct rte_ipv6_hdr ip6 = {.vtc_flow = RTE_BE32(6u << 28),
					   .payload_len = rte_cpu_to_be_16((uint16_t)(len - 54)),
					   .proto = IPPROTO_UDP,
					   .hop_limits = 64};
		struct rte_udp_hdr udp = {.dgram_len = ip6.payload_len};
		uint32_t scattered = frame_scatter(slot);

		ip6.src_addr[0] = ip6.dst_addr[0] = 0xfd;
		memcpy(ip6.src_addr + 12, &scattered, 4);
		memcpy(ip6.dst_addr + 12, &slot, 4);
		memcpy(&udp, &scattered, 4); /* ports */
		memcpy(frame + 12, "\x86\xdd", 2);
		memcpy(ip, &ip6, sizeof(ip6));
		memcpy(ip + sizeof(ip6), &udp, sizeof(udp));
		return;
	}
	if (row->content == CONTENT_OPTIONS) {
		/* Four of no operation between header and UDP. */
		memmove(ip + 24, ip + 20, len - RTE_ETHER_HDR_LEN - 24);
		memset(ip + 20, 1, 4);
		ip[0] = 0x46;
		return;
	}
	if (row->content == CONTENT_TCP4) {
		struct rte_tcp_hdr tcp = {
			.src_port = (uint16_t)slot, .data_off = 5 << 4, .tcp_flags = RTE_TCP_ACK_FLAG};
		uint16_t sum;

		ip[9] = IPPROTO_TCP;
		memset(ip + 10, 0, 2);
		memcpy(ip + 20, &tcp, sizeof(tcp));
		tcp.cksum = rte_ipv4_phdr_cksum((struct rte_ipv4_hdr *)ip, 0);
		memcpy(ip + 20, &tcp, sizeof(tcp));
		sum = sum16(ip, 20);
		memcpy(ip + 10, &sum, 2);
	}
}

static uint32_t
row_len(const struct loop_row *row)
{
	return row->len ? row->len : FRAME_SHORT;
}

/* The next burst as mbufs. */
static void
pkts_make(struct bench *bench)
{
	const struct loop_row *row = bench->row;
	static uint8_t frame[BENCH_GUEST_FRAME_MAX];
	uint32_t len = row_len(row);

	for (uint16_t i = 0; i < bench->n_frames; i++) {
		uint16_t n_segs = row->n_segs ? row->n_segs : 1,
			 room = (uint16_t)((len + n_segs - 1) / n_segs);
		struct rte_mbuf *pkt = NULL;

		frame_fill(row, bench->seed++, frame, len);
		for (uint32_t done = 0; done < len;) {
			struct rte_mbuf *seg = rte_pktmbuf_alloc(pool);
			uint16_t now =
				(uint16_t)RTE_MIN(len - done, RTE_MIN((uint32_t)room, (uint32_t)BUFFER));

			MUST(seg, "a frame was not freed");
			memcpy(rte_pktmbuf_append(seg, now), frame + done, now);
			done += now;
			if (pkt)
				MUST(rte_pktmbuf_chain(pkt, seg) == 0, "a frame of too many segments");
			else
				pkt = seg;
		}
		if (row->request != REQUEST_NOTHING) {
			pkt->ol_flags |= RTE_MBUF_F_TX_IPV4;
			pkt->ol_flags |= row->content == CONTENT_TCP4 ? RTE_MBUF_F_TX_TCP_CKSUM
								      : RTE_MBUF_F_TX_UDP_CKSUM;
			pkt->l2_len = RTE_ETHER_HDR_LEN;
			pkt->l3_len = sizeof(struct rte_ipv4_hdr);
		}
		if (row->request == REQUEST_SEGMENTS) {
			pkt->ol_flags |= RTE_MBUF_F_TX_TCP_SEG;
			pkt->l4_len = sizeof(struct rte_tcp_hdr);
			pkt->tso_segsz = SEGMENT;
		}
		bench->pkts[i] = pkt;
	}
	bench->n_pkts = bench->n_frames;
}

static void
pkts_free(struct bench *bench)
{
	rte_pktmbuf_free_bulk(bench->pkts, bench->n_pkts);
	bench->n_pkts = 0;
}

/* The next burst in a guest's transmitq. */
static void
guest_send(struct bench *bench, struct bench_guest *guest)
{
	const struct loop_row *row = bench->row;
	static uint8_t frame[BENCH_GUEST_FRAME_MAX];
	struct virtio_net_hdr header[2] = {{0}}; /* room for the longest */

	if (row->request != REQUEST_NOTHING) {
		header[0].flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
		header[0].csum_start = RTE_ETHER_HDR_LEN + sizeof(struct rte_ipv4_hdr);
		header[0].csum_offset = row->content == CONTENT_TCP4 ? 16 : 6;
	}
	for (uint16_t i = 0; i < bench->n_frames; i++) {
		frame_fill(row, bench->seed++, frame, row_len(row));
		bench_guest_send(guest, 0, header, frame, row_len(row), &row->shape);
	}
}

static void
guest_post(struct bench *bench, struct bench_guest *guest, unsigned int pair, unsigned int n)
{
	const struct loop_row *row = bench->row;

	for (unsigned int i = 0; i < n; i++)
		bench_guest_post(guest, pair, row->buffer ? row->buffer : BUFFER, &row->shape);
}

static void
must_be(const struct bench *bench, unsigned int n, unsigned int wanted, const char *what)
{
	MUST(n == wanted, "%s: %u %s, not %u", bench->row->name, n, what, wanted);
}

/* --- setting up --- */

static void
open_guests(struct bench *bench)
{
	static const char *const names[GUESTS_MAX] = {"a", "b", "c", "d"};
	const struct loop_row *row = bench->row;
	uint16_t n = row->n_guests ? row->n_guests : 1;

	for (uint16_t i = 0; i < n; i++)
		bench->guests[i] =
			bench_guest_open(names[i], i, bench->features, row->n_pairs ? row->n_pairs : 1, pool);
}

static void
open_plan(struct bench *bench, const char *mode, unsigned int n_workers)
{
	struct port *ports[GUESTS_MAX];
	struct fwd_config config;
	unsigned int n = 0;
	struct diag diag;

	MUST(fwd_config_parse(&config, mode, &diag) == 0, "no mode %s", mode);
	bench->mode = config.mode;
	if (bench->mode->open)
		MUST(bench->mode->open(&bench->mode_state, config.args, &diag) == 0, "mode %s does not open",
		     mode);
	fwd_config_free(&config);
	for (; n < GUESTS_MAX && bench->guests[n]; n++)
		ports[n] = &bench->guests[n]->port;
	bench->plan = fwd_plan_build(bench->mode, bench->mode_state, ports, n, NULL, n_workers, &diag);
	MUST(bench->plan, "no plan for mode %s", mode);
	for (unsigned int i = 0; i < N_WORKERS; i++)
		workers[i].plan = bench->plan;
}

/* --- from a guest --- */

static void
from_guest_prepare(struct bench *bench)
{
	guest_send(bench, bench->guests[0]);
	bench->n_pkts = 0;
}

static void
keep_burst(struct fwd_worker *worker, struct port_rxq *from, struct rte_mbuf **pkts, uint16_t n)
{
	(void)worker, (void)from;
	polled->n_pkts = n;
}

static const struct fwd_mode mode_borrowing = {
	.name = "keep", .forward = keep_burst, .accepts_borrowed = true};
static const struct fwd_mode mode_materialising = {.name = "keep", .forward = keep_burst};

static void
from_guest_run(struct bench *bench)
{
	struct port_rxq *rxq = &bench->guests[0]->port.rxqs[0];
	uint16_t n = port_rx(rxq, bench->pkts, bench->n_frames);

	polled = bench;
	fwd_forward(&workers[0], bench->row->materialised ? &mode_materialising : &mode_borrowing, rxq,
		    bench->pkts, n);
}

static void
from_guest_finish(struct bench *bench)
{
	must_be(bench, bench->n_pkts, bench->n_frames, "frames came");
	must_be(bench, bench_guest_reap_sent(bench->guests[0], 0), bench->n_frames, "buffers came back");
	for (uint16_t i = 0; i < bench->n_pkts; i++)
		must_be(bench, bench->pkts[i]->pkt_len, row_len(bench->row), "bytes in a frame");
	pkts_free(bench);
}

/* --- to a guest --- */

static unsigned int
to_guest_buffers(const struct bench *bench)
{
	const struct loop_row *row = bench->row;
	uint32_t buffer = row->buffer ? row->buffer : BUFFER;
	uint32_t hdr_len = bench->guests[0]->hdr_len;

	if (row->request == REQUEST_SEGMENTS && !(bench->features & FEATURE_MASK(NET_GUEST_TSO4)))
		return (row_len(row) - 54 + SEGMENT - 1) / SEGMENT;
	return (row_len(row) + hdr_len + buffer - 1) / buffer;
}

static void
to_guest_prepare(struct bench *bench)
{
	guest_post(bench, bench->guests[0], 0, bench->n_frames * to_guest_buffers(bench));
	pkts_make(bench);
}

/* The frames are borrowed from another guest. */
static void
to_guest_prepare_borrowed(struct bench *bench)
{
	struct port_rxq *rxq = &bench->guests[1]->port.rxqs[0];

	guest_post(bench, bench->guests[0], 0, bench->n_frames * to_guest_buffers(bench));
	guest_send(bench, bench->guests[1]);
	bench->n_pkts = port_rx(rxq, bench->pkts, bench->n_frames);
	must_be(bench, bench->n_pkts, bench->n_frames, "frames came");
	MUST(rxq->borrowed, "%s: nothing is borrowed", bench->row->name);
}

static void
to_guest_run(struct bench *bench)
{
	struct port_txq *txq = &bench->guests[0]->port.txqs[0];

	port_tx(txq, bench->pkts, bench->n_pkts);
}

static void
to_guest_finish(struct bench *bench)
{
	must_be(bench, bench_guest_reap_posted(bench->guests[0], 0),
		bench->n_frames * to_guest_buffers(bench), "buffers came back");
}

static void
to_guest_finish_borrowed(struct bench *bench)
{
	struct port_rxq *rxq = &bench->guests[1]->port.rxqs[0];

	rxq->release(rxq);
	must_be(bench, bench_guest_reap_sent(bench->guests[1], 0), bench->n_frames, "buffers came back");
	to_guest_finish(bench);
}

/* --- filter, steering, hash --- */

static void
open_filter(struct bench *bench)
{
	struct {
		uint32_t n;
		uint8_t macs[FRAME_MACS][RTE_ETHER_ADDR_LEN];
		uint32_t n_multicast;
	} __rte_packed table = {.n = FRAME_MACS};

	open_guests(bench);
	for (unsigned int i = 0; i < FRAME_MACS; i++)
		frame_mac(i, table.macs[i]);
	bench_guest_command(bench->guests[0], VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET, &table,
			    sizeof(table));
	for (unsigned int i = 0; i < FRAME_VLANS; i++) {
		uint16_t vlan = frame_vlan(i);

		bench_guest_command(bench->guests[0], VIRTIO_NET_CTRL_VLAN, VIRTIO_NET_CTRL_VLAN_ADD, &vlan,
				    sizeof(vlan));
	}
	bench_guest_command(bench->guests[0], VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_PROMISC, "", 1);
	MUST(bench->guests[0]->dev.output.filter, "no filter");
}

static void
filter_run(struct bench *bench)
{
	bench->n_pkts = vnet_filter_burst(bench->guests[0]->dev.output.filter, bench->pkts, bench->n_frames);
}

static void
filter_finish(struct bench *bench)
{
	must_be(bench, bench->n_pkts, bench->n_frames, "frames were let in");
	pkts_free(bench);
}

/* Every other frame is a stranger's. */
static void
filter_prepare_strangers(struct bench *bench)
{
	pkts_make(bench);
	for (uint16_t i = 0; i < bench->n_frames; i += 2)
		rte_pktmbuf_mtod(bench->pkts[i], uint8_t *)[5] ^= 0x55;
}

static void
filter_finish_strangers(struct bench *bench)
{
	must_be(bench, bench->n_pkts, bench->n_frames / 2, "frames were let in");
	bench->n_pkts = bench->n_frames;
	pkts_free(bench);
}

static void
open_rss(struct bench *bench)
{
	open_guests(bench);
	bench_guest_rss(bench->guests[0], BENCH_GUEST_PAIRS);
}

static void
open_hash_report(struct bench *bench)
{
	open_guests(bench);
	bench_guest_rss(bench->guests[0], 0);
}

static void
open_two_pairs(struct bench *bench)
{
	const uint16_t n_pairs = BENCH_GUEST_PAIRS;

	open_guests(bench);
	bench_guest_command(bench->guests[0], VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, &n_pairs,
			    sizeof(n_pairs));
	/* A pair that has had buffers can be sent to. */
	for (unsigned int pair = 0; pair < BENCH_GUEST_PAIRS; pair++)
		guest_post(bench, bench->guests[0], pair, 1);
	vnet_check_new_pairs(&bench->guests[0]->dev);
	must_be(bench, bench->guests[0]->port.n_active, BENCH_GUEST_PAIRS, "pairs to send to");
}

/* Flows that come back on the pair that they were sent on. */
static void
open_flows(struct bench *bench)
{
	open_two_pairs(bench);
	for (unsigned int burst = 0; burst < 2 * (WARMUP + 1); burst++) {
		pkts_make(bench);
		for (uint16_t i = 0; i < bench->n_pkts; i++)
			vnet_flows_learn(bench->guests[0]->dev.flows, i / 2 % 2, &bench->pkts[i], 1);
		pkts_free(bench);
	}
	bench->seed = 0;
}

static void
pick_run(struct bench *bench)
{
	const struct port *to = &bench->guests[0]->port;
	const struct port_steer *steer = atomic_load(&to->steer);

	steer->pick(steer, to, &from_queue, bench->pkts, bench->n_pkts, bench->pairs);
}

static void
pick_finish(struct bench *bench)
{
	unsigned int n_second = 0;

	for (uint16_t i = 0; i < bench->n_pkts; i++)
		n_second += bench->pairs[i] == 1;
	MUST(n_second > bench->n_pkts / 8u && n_second < bench->n_pkts * 7 / 8u,
	     "%s: %u of %u frames for the second pair", bench->row->name, n_second, bench->n_pkts);
	pkts_free(bench);
}

static void
learn_run(struct bench *bench)
{
	vnet_flows_learn(bench->guests[0]->dev.flows, 1, bench->pkts, bench->n_pkts);
}

static void
learn_and_keep_run(struct bench *bench)
{
	MUST(vnet_flows_learn_and_keep(bench->guests[0]->dev.flows, 1, bench->pkts, bench->n_pkts),
	     "%s: not kept", bench->row->name);
}

/* As if the guest that they come from had learnt them. */
static void
pick_prepare_kept(struct bench *bench)
{
	pkts_make(bench);
	for (uint16_t i = 0; i < bench->n_pkts; i++)
		MUST(flow_digest(bench->pkts[i], &bench->pkts[i]->hash.rss), "a frame without a digest");
	from_queue.has_digests = true;
}

static void
pick_finish_kept(struct bench *bench)
{
	from_queue.has_digests = false;
	pick_finish(bench);
}

/* The same flows again, which are known. */
static void
learn_prepare_known(struct bench *bench)
{
	bench->seed = 0;
	pkts_make(bench);
}

static void
open_hash(struct bench *bench)
{
	struct hash_params params = {.types = HASH_TYPES_ALL, .key_len = HASH_KEY_LEN};

	for (unsigned int i = 0; i < HASH_KEY_LEN; i++)
		params.key[i] = (uint8_t)frame_scatter(i);
	bench->hash = hash_new(&params, isa_select());
	MUST(bench->hash, "no hash");
}

static void
hash_run(struct bench *bench)
{
	hash_burst(bench->hash, bench->pkts, bench->n_pkts, HASH_NOT_KNOWN, bench->hash_values,
		   bench->hash_reports);
}

static void
hash_finish(struct bench *bench)
{
	for (uint16_t i = 0; i < bench->n_pkts; i++)
		MUST(bench->hash_reports[i], "%s: a frame without a hash", bench->row->name);
	pkts_free(bench);
}

/* --- the switch --- */

static void
mac_put(struct rte_mbuf *pkt, unsigned int offset, uint32_t port, uint32_t n)
{
	uint8_t *mac = rte_pktmbuf_mtod_offset(pkt, uint8_t *, offset);
	uint32_t scattered = frame_scatter(port << 16 | n);

	mac[0] = 0x02;
	mac[1] = (uint8_t)port;
	memcpy(mac + 2, &scattered, 4);
}

/* Address n of port `from` sends to address n of port `to`. */
static void
switch_addresses(struct bench *bench, uint32_t from, uint32_t to, uint16_t n_ports)
{
	for (uint16_t i = 0; i < bench->n_pkts; i++) {
		mac_put(bench->pkts[i], 0, to + i % n_ports, i);
		mac_put(bench->pkts[i], RTE_ETHER_ADDR_LEN, from, i);
	}
}

static void
switch_forward(struct bench *bench, unsigned int from)
{
	bench->mode->forward(&workers[0], &bench->guests[from]->port.rxqs[0], bench->pkts, bench->n_pkts);
}

/* VLAN 10, by an access port and by a trunk. */
enum { SWITCH_VID = 10 };
static const struct switch_port switch_access = {
	.tagging = SWITCH_ACCESS, .untagged = SWITCH_VID, .members = {1 << SWITCH_VID}};
static const struct switch_port switch_trunk = {
	.tagging = SWITCH_TRUNK, .untagged = VLAN_NONE, .members = {1 << SWITCH_VID}};

/* Frames from port 0 have the tag that they have there. */
static void
switch_tag(struct bench *bench, const struct switch_port *from)
{
	for (uint16_t i = 0; i < bench->n_pkts && from == &switch_trunk; i++)
		tag_push(bench->pkts[i], RTE_ETHER_TYPE_VLAN, SWITCH_VID);
}

/* The ports are plain, or what they are in VLAN 10. */
static void
open_switch_as(struct bench *bench, const struct switch_port *const ports[], unsigned int n_ports)
{
	open_guests(bench);
	/* Its hash has secrets: always the same ones. */
	rte_srand(1);
	open_plan(bench, "switch", 1);
	workers[0].now_s = (uint32_t)(loop_now_ms() / 1000);
	for (uint32_t port = 0; port < bench->row->n_guests; port++) {
		const struct switch_port *own = port < n_ports ? ports[port] : NULL;

		atomic_store(&bench->guests[port]->port.of_mode, own);
		pkts_make(bench);
		switch_addresses(bench, port, port, 1);
		switch_tag(bench, own);
		/* To nobody, so that they are learnt and go nowhere. */
		for (uint16_t i = 0; i < bench->n_pkts; i++)
			memcpy(rte_pktmbuf_mtod(bench->pkts[i], void *), "\x01\x80\xc2\x00\x00\x01", 6);
		switch_forward(bench, port);
	}
	bench->mode->tick(bench->mode_state);
}

static void
open_switch(struct bench *bench)
{
	open_switch_as(bench, NULL, 0);
}

static void
open_switch_access(struct bench *bench)
{
	open_switch_as(bench, (const struct switch_port *const[]){&switch_access, &switch_access}, 2);
}

static void
open_switch_push(struct bench *bench)
{
	open_switch_as(bench, (const struct switch_port *const[]){&switch_access, &switch_trunk}, 2);
}

static void
open_switch_pop(struct bench *bench)
{
	open_switch_as(bench, (const struct switch_port *const[]){&switch_trunk, &switch_access}, 2);
}

/* A guest with one address of each kind, all of which it may have. */
static struct switch_port switch_guarded = {
	.tagging = SWITCH_PLAIN,
	.guard = {.on = true,
		  .ip = true,
		  .n_macs = 1,
		  .n_ips = 1,
		  .macs = {{{0x02}}},
		  .ips = {{.bytes = {[10] = 0xff, 0xff}, .prefix = 96}}},
};

static void
open_switch_guarded(struct bench *bench)
{
	open_switch_as(bench, (const struct switch_port *const[]){&switch_guarded}, 1);
}

static void
switch_prepare_guarded(struct bench *bench)
{
	guest_post(bench, bench->guests[1], 0, bench->n_frames);
	pkts_make(bench);
	switch_addresses(bench, 0, 1, 1);
	for (uint16_t i = 0; i < bench->n_pkts; i++)
		memcpy(rte_pktmbuf_mtod_offset(bench->pkts[i], void *, RTE_ETHER_ADDR_LEN),
		       &switch_guarded.guard.macs[0], RTE_ETHER_ADDR_LEN);
}

static void
switch_prepare(struct bench *bench)
{
	guest_post(bench, bench->guests[1], 0, bench->n_frames);
	pkts_make(bench);
	switch_addresses(bench, 0, 1, 1);
	switch_tag(bench, atomic_load(&bench->guests[0]->port.of_mode));
}

static void
switch_run(struct bench *bench)
{
	switch_forward(bench, 0);
}

static void
switch_finish(struct bench *bench)
{
	must_be(bench, bench_guest_reap_posted(bench->guests[1], 0), bench->n_frames, "frames arrived");
}

/* Each frame to another port than the one before. */
static void
switch_prepare_mixed(struct bench *bench)
{
	for (unsigned int i = 1; i < GUESTS_MAX; i++)
		guest_post(bench, bench->guests[i], 0,
			   (bench->n_frames + GUESTS_MAX - 1 - i) / (GUESTS_MAX - 1));
	pkts_make(bench);
	switch_addresses(bench, 0, 1, GUESTS_MAX - 1);
}

static void
switch_finish_mixed(struct bench *bench)
{
	unsigned int n = 0;

	for (unsigned int i = 1; i < GUESTS_MAX; i++)
		n += bench_guest_reap_posted(bench->guests[i], 0);
	must_be(bench, n, bench->n_frames, "frames arrived");
}

static void
switch_prepare_flood(struct bench *bench)
{
	for (unsigned int i = 1; i < GUESTS_MAX; i++)
		guest_post(bench, bench->guests[i], 0, bench->n_frames);
	pkts_make(bench);
	switch_addresses(bench, 0, 1, 1);
	for (uint16_t i = 0; i < bench->n_pkts; i++)
		memset(rte_pktmbuf_mtod(bench->pkts[i], void *), 0xff, RTE_ETHER_ADDR_LEN);
}

static void
switch_finish_flood(struct bench *bench)
{
	for (unsigned int i = 1; i < GUESTS_MAX; i++)
		must_be(bench, bench_guest_reap_posted(bench->guests[i], 0), bench->n_frames,
			"frames arrived");
}

/* Sources that have not been seen before: the control thread is to learn them. */
static void
switch_prepare_strangers(struct bench *bench)
{
	guest_post(bench, bench->guests[1], 0, bench->n_frames);
	pkts_make(bench);
	for (uint16_t i = 0; i < bench->n_pkts; i++) {
		mac_put(bench->pkts[i], 0, 1, i);
		mac_put(bench->pkts[i], RTE_ETHER_ADDR_LEN, 0, bench->seed + i);
	}
}

/* --- from worker to worker --- */

static void
open_handoff(struct bench *bench)
{
	open_guests(bench);
	bench->guests[0]->port.rxqs[0].worker = bench->guests[0]->port.txqs[0].worker = 1;
	open_plan(bench, "rxonly", N_WORKERS);
}

static void
handoff_run(struct bench *bench)
{
	fwd_send(&workers[0], &from_queue, &bench->guests[0]->port, bench->pkts, bench->n_pkts);
	fwd_handoff_drain(&workers[1]);
}

static void
send_run(struct bench *bench)
{
	fwd_send(&workers[0], &from_queue, &bench->guests[0]->port, bench->pkts, bench->n_pkts);
}

/* --- an iteration of the poll loop --- */

/* The first of the worker's queues: from its visit to the next one is one iteration. */
static uint16_t
poll_rx(struct port_rxq *rxq, struct rte_mbuf **pkts, uint16_t n)
{
	struct bench *bench = polled;

	if (bench->counters.iterations == ITERATION_COUNTED) {
		steps_start();
	} else if (bench->counters.iterations == ITERATION_COUNTED + 1) {
		bench->steps = steps_stop();
		atomic_store(&bench->shared.order, WORKER_STOP);
		return 0;
	}
	return vnet_rx(rxq, pkts, n);
}

static void
open_poll(struct bench *bench)
{
	open_guests(bench);
	open_plan(bench, "io", 1);
	bench->guests[0]->port.rxqs[0].rx = poll_rx;
	bench->shared.rcu = aligned_alloc(RTE_CACHE_LINE_SIZE, rte_rcu_qsbr_get_memsize(1));
	MUST(bench->shared.rcu && rte_rcu_qsbr_init(bench->shared.rcu, 1) == 0, "no RCU");
	atomic_store(&bench->shared.plan, bench->plan);
}

static void
poll_prepare(struct bench *bench)
{
	for (unsigned int k = 0; k <= ITERATION_COUNTED; k++)
		for (unsigned int i = 0; i < 2; i++) {
			guest_send(bench, bench->guests[i]);
			guest_post(bench, bench->guests[i], 0, bench->n_frames * to_guest_buffers(bench));
		}
}

static void
poll_prepare_idle(struct bench *bench)
{
	(void)bench;
}

static void
poll_run(struct bench *bench)
{
	struct worker worker = {.fwd = &workers[0], .shared = &bench->shared, .counters = &bench->counters};

	polled = bench;
	bench->counters = (struct worker_counters){0};
	atomic_store(&bench->shared.order, WORKER_RUN);
	rte_rcu_qsbr_thread_register(bench->shared.rcu, 0);
	worker_main(&worker);
	rte_rcu_qsbr_thread_unregister(bench->shared.rcu, 0);
}

static void
poll_finish(struct bench *bench)
{
	for (unsigned int i = 0; i < 2; i++) {
		must_be(bench, bench_guest_reap_sent(bench->guests[i], 0),
			bench->n_frames * (ITERATION_COUNTED + 1u), "frames were taken");
		must_be(bench, bench_guest_reap_posted(bench->guests[i], 0),
			bench->n_frames * to_guest_buffers(bench) * (ITERATION_COUNTED + 1u),
			"buffers came back");
	}
}

static void
poll_finish_idle(struct bench *bench)
{
	must_be(bench, bench->counters.busy_iterations, 0, "iterations had frames");
}

/* --- the table --- */

#define MERGEABLE FEATURE_MASK(NET_MRG_RXBUF)
/* What Linux's driver takes. */
#define LINUX                                                                                         \
	(MERGEABLE | FEATURE_MASK(EVENT_IDX) | FEATURE_MASK(NET_CSUM) | FEATURE_MASK(NET_HOST_TSO4) | \
	 FEATURE_MASK(NET_HOST_TSO6) | FEATURE_MASK(NET_HOST_ECN) | FEATURE_MASK(NET_GUEST_CSUM) |    \
	 FEATURE_MASK(NET_GUEST_TSO4) | FEATURE_MASK(NET_GUEST_TSO6) | FEATURE_MASK(NET_GUEST_ECN))

#define FROM_GUEST \
	.open = open_guests, .prepare = from_guest_prepare, .run = from_guest_run, .finish = from_guest_finish
#define TO_GUEST \
	.open = open_guests, .prepare = to_guest_prepare, .run = to_guest_run, .finish = to_guest_finish

static const struct loop_row rows[] = {
	/* Frames from a guest, through the mode's doorstep. */
	{"from_guest/64", FROM_GUEST, .by_layout = true},
	{"from_guest/64/mergeable", FROM_GUEST, .features = MERGEABLE, .by_layout = true},
	{"from_guest/64/linux", FROM_GUEST, .features = LINUX, .by_layout = true},
	{"from_guest/64/checksum", FROM_GUEST, .features = LINUX, .request = REQUEST_CHECKSUM,
	 .by_layout = true, .n_frames = 8},
	{"from_guest/1514/borrowed", FROM_GUEST, .len = FRAME_LONG, .by_layout = true},
	{"from_guest/1514/borrowed-mergeable", FROM_GUEST, .len = FRAME_LONG, .features = MERGEABLE,
	 .by_layout = true},
	{"from_guest/1514/materialised", FROM_GUEST, .len = FRAME_LONG, .materialised = true,
	 .by_layout = true},
	{"from_guest/64/chain", FROM_GUEST, .n_frames = 4, .features = LINUX, .shape = {.first = 12},
	 .by_layout = true},
	{"from_guest/64/indirect", FROM_GUEST, .n_frames = 4, .features = LINUX,
	 .shape = {.first = 12, .form = DRIVER_INDIRECT}, .by_layout = true},
	{"from_guest/9014/chain", FROM_GUEST, .n_frames = 2, .len = FRAME_JUMBO, .features = LINUX,
	 .shape = {.first = 12, .next = 4096, .form = DRIVER_INDIRECT}, .by_layout = true},
	{"from_guest/64/two-pairs", .open = open_two_pairs, .prepare = from_guest_prepare,
	 .run = from_guest_run, .finish = from_guest_finish, .n_pairs = 2,
	 .features = LINUX | FEATURE_MASK(NET_MQ), .by_layout = true},

	/* Frames to a guest. */
	{"to_guest/64", TO_GUEST, .by_layout = true},
	{"to_guest/64/mergeable", TO_GUEST, .features = MERGEABLE, .by_layout = true},
	{"to_guest/64/linux", TO_GUEST, .features = LINUX, .buffer = 1536, .by_layout = true},
	{"to_guest/64/checksum", TO_GUEST, .features = LINUX, .request = REQUEST_CHECKSUM, .by_layout = true,
	 .n_frames = 8},
	{"to_guest/64/hash-report", .open = open_hash_report, .prepare = to_guest_prepare, .run = send_run,
	 .finish = to_guest_finish, .features = LINUX | FEATURE_MASK(NET_HASH_REPORT), .by_layout = true},
	{"to_guest/64/burst-4", TO_GUEST, .n_frames = 4, .by_layout = true},
	{"to_guest/1514", TO_GUEST, .len = FRAME_LONG, .by_layout = true},
	{"to_guest/1514/mergeable", TO_GUEST, .len = FRAME_LONG, .features = MERGEABLE, .by_layout = true},
	{"to_guest/1514/borrowed", .open = open_guests, .prepare = to_guest_prepare_borrowed,
	 .run = to_guest_run, .finish = to_guest_finish_borrowed, .n_guests = 2, .len = FRAME_LONG,
	 .by_layout = true},
	{"to_guest/9014/borrowed", .open = open_guests, .prepare = to_guest_prepare_borrowed,
	 .run = to_guest_run, .finish = to_guest_finish_borrowed, .n_guests = 2, .n_frames = 2,
	 .len = FRAME_JUMBO, .features = LINUX, .buffer = 2060, .by_layout = true},
	{"to_guest/1514/span", TO_GUEST, .n_frames = 4, .len = FRAME_LONG, .features = MERGEABLE,
	 .buffer = 512, .by_layout = true},
	{"to_guest/64/chain", TO_GUEST, .n_frames = 4, .shape = {.first = 12}, .by_layout = true},
	{"to_guest/64/indirect", TO_GUEST, .n_frames = 4, .shape = {.first = 12, .form = DRIVER_INDIRECT},
	 .by_layout = true},
	{"to_guest/1514/segments", TO_GUEST, .n_frames = 4, .len = FRAME_LONG, .n_segs = 2,
	 .by_layout = true},
	{"to_guest/9014/linux", TO_GUEST, .n_frames = 2, .len = FRAME_JUMBO, .n_segs = 5, .features = LINUX,
	 .buffer = 1536, .by_layout = true},

	/* What a frame asks for and the guest does not do. */
	{"software/checksum/64", TO_GUEST, .request = REQUEST_CHECKSUM, .n_frames = 8},
	{"software/checksum/1514", TO_GUEST, .n_frames = 4, .len = FRAME_LONG, .request = REQUEST_CHECKSUM},
	{"software/segments/9014", TO_GUEST, .n_frames = 1, .len = FRAME_JUMBO, .n_segs = 5,
	 .content = CONTENT_TCP4, .request = REQUEST_SEGMENTS},

	/* Which frames a guest wants, and where. */
	{"filter/wanted", .open = open_filter, .prepare = pkts_make, .run = filter_run,
	 .finish = filter_finish, .content = CONTENT_VLAN,
	 .features = FEATURE_MASK(NET_CTRL_RX) | FEATURE_MASK(NET_CTRL_VLAN)},
	{"filter/every-other", .open = open_filter, .prepare = filter_prepare_strangers, .run = filter_run,
	 .finish = filter_finish_strangers, .content = CONTENT_VLAN,
	 .features = FEATURE_MASK(NET_CTRL_RX) | FEATURE_MASK(NET_CTRL_VLAN)},
	{"flows/learn", .open = open_two_pairs, .prepare = pkts_make, .run = learn_run, .finish = pkts_free,
	 .n_pairs = 2, .features = FEATURE_MASK(NET_MQ)},
	{"flows/learn-known", .open = open_two_pairs, .prepare = learn_prepare_known, .run = learn_run,
	 .finish = pkts_free, .n_pairs = 2, .features = FEATURE_MASK(NET_MQ)},
	{"flows/learn-kept", .open = open_two_pairs, .prepare = learn_prepare_known,
	 .run = learn_and_keep_run, .finish = pkts_free, .n_pairs = 2, .features = FEATURE_MASK(NET_MQ)},
	{"flows/pick", .open = open_flows, .prepare = pkts_make, .run = pick_run, .finish = pick_finish,
	 .n_pairs = 2, .features = FEATURE_MASK(NET_MQ)},
	{"flows/pick-kept", .open = open_flows, .prepare = pick_prepare_kept, .run = pick_run,
	 .finish = pick_finish_kept, .n_pairs = 2, .features = FEATURE_MASK(NET_MQ)},
	{"rss/pick/udp4", .open = open_rss, .prepare = pkts_make, .run = pick_run, .finish = pick_finish,
	 .n_pairs = 2, .features = FEATURE_MASK(NET_RSS)},
	{"rss/pick/udp6", .open = open_rss, .prepare = pkts_make, .run = pick_run, .finish = pick_finish,
	 .n_pairs = 2, .len = 78, .content = CONTENT_UDP6, .features = FEATURE_MASK(NET_RSS)},
	{"hash/udp4", .open = open_hash, .prepare = pkts_make, .run = hash_run, .finish = hash_finish},
	{"hash/udp6", .open = open_hash, .prepare = pkts_make, .run = hash_run, .finish = hash_finish,
	 .len = 78, .content = CONTENT_UDP6},
	{"hash/options", .open = open_hash, .prepare = pkts_make, .run = hash_run, .finish = hash_finish,
	 .content = CONTENT_OPTIONS, .n_frames = 8},

	/* The bridge, with what it sends. */
	{"switch/one-port", .open = open_switch, .prepare = switch_prepare, .run = switch_run,
	 .finish = switch_finish, .n_guests = 4},
	{"switch/access", .open = open_switch_access, .prepare = switch_prepare, .run = switch_run,
	 .finish = switch_finish, .n_guests = 4},
	{"switch/push", .open = open_switch_push, .prepare = switch_prepare, .run = switch_run,
	 .finish = switch_finish, .n_guests = 4},
	{"switch/pop", .open = open_switch_pop, .prepare = switch_prepare, .run = switch_run,
	 .finish = switch_finish, .n_guests = 4},
	{"switch/guard", .open = open_switch_guarded, .prepare = switch_prepare_guarded, .run = switch_run,
	 .finish = switch_finish, .n_guests = 4},
	{"switch/mixed", .open = open_switch, .prepare = switch_prepare_mixed, .run = switch_run,
	 .finish = switch_finish_mixed, .n_guests = 4, .n_frames = 16},
	{"switch/flood", .open = open_switch, .prepare = switch_prepare_flood, .run = switch_run,
	 .finish = switch_finish_flood, .n_guests = 4, .n_frames = 4},
	{"switch/strangers", .open = open_switch, .prepare = switch_prepare_strangers, .run = switch_run,
	 .finish = switch_finish, .n_guests = 4, .n_frames = 16},

	/* Over the ring to another worker, and from there to a guest. */
	{"handoff", .open = open_handoff, .prepare = to_guest_prepare, .run = handoff_run,
	 .finish = to_guest_finish},

	/* One iteration of a worker between two guests that send to each other, per frame of one direction.
	 */
	{"poll/io/64", .open = open_poll, .prepare = poll_prepare, .run = poll_run, .finish = poll_finish,
	 .n_guests = 2, .self_counted = true, .by_layout = true, .n_frames = 8},
	{"poll/io/1514", .open = open_poll, .prepare = poll_prepare, .run = poll_run, .finish = poll_finish,
	 .n_guests = 2, .len = FRAME_LONG, .self_counted = true, .by_layout = true, .n_frames = 8},
	{"poll/io/9014", .open = open_poll, .prepare = poll_prepare, .run = poll_run, .finish = poll_finish,
	 .n_guests = 2, .len = FRAME_JUMBO, .features = LINUX, .buffer = 2060, .self_counted = true,
	 .by_layout = true, .n_frames = 2},
	{"poll/idle", .open = open_poll, .prepare = poll_prepare_idle, .run = poll_run,
	 .finish = poll_finish_idle, .n_guests = 2, .n_frames = 1, .self_counted = true, .by_layout = true},
};

static const struct {
	const char *name;
	uint64_t features;
} layouts[] = {
	{"split", 0},
	{"packed", FEATURE_MASK(RING_PACKED)},
};

static void
bench_close(struct bench *bench)
{
	fwd_plan_free(bench->plan);
	if (bench->mode && bench->mode->close)
		bench->mode->close(bench->mode_state);
	for (unsigned int i = 0; i < GUESTS_MAX && bench->guests[i]; i++)
		bench_guest_close(bench->guests[i]);
	hash_free(bench->hash);
	free(bench->shared.rcu);
}

static void
row_count(const struct loop_row *row, uint64_t features, const char *name)
{
	struct bench bench = {.row = row,
			      .features = row->features | features,
			      .n_frames = row->n_frames ? row->n_frames : BURST};

	row->open(&bench);
	for (unsigned int burst = 0; burst < WARMUP + 1; burst++) {
		row->prepare(&bench);
		if (burst == WARMUP && !row->self_counted) {
			steps_start();
			row->run(&bench);
			bench.steps = steps_stop();
		} else {
			row->run(&bench);
		}
		row->finish(&bench);
		if (row->self_counted)
			break;
	}
	bench_close(&bench);
	printf("%s %.2f %.2f\n", name, (double)bench.steps.instructions / bench.n_frames,
	       (double)bench.steps.libc_calls / bench.n_frames);
	fflush(stdout);
}

static void
rows_count(const char *only)
{
	char name[64];

	for (size_t i = 0; i < RTE_DIM(rows); i++)
		for (size_t k = 0; k < (rows[i].by_layout ? RTE_DIM(layouts) : 1); k++) {
			snprintf(name, sizeof(name), "%s%s%s", rows[i].name, rows[i].by_layout ? "/" : "",
				 rows[i].by_layout ? layouts[k].name : "");
			if (!only || strstr(name, only))
				row_count(&rows[i], layouts[k].features, name);
		}
}

static void
eal_start(int cpu)
{
	char lcores[32];
	char *eal[] = {(char *)"instructions",
		       (char *)"--no-huge",
		       (char *)"-m",
		       (char *)"64",
		       (char *)"--no-pci",
		       (char *)"--no-shconf",
		       (char *)"--no-telemetry",
		       (char *)"--log-level=lib.*:error",
		       (char *)"--lcores",
		       lcores};
	struct diag diag;

	snprintf(lcores, sizeof(lcores), "0@%d", cpu);
	MUST(rte_eal_init(RTE_DIM(eal), eal) >= 0, "EAL does not start");
	pool = rte_pktmbuf_pool_create("bench", POOL_FRAMES, POOL_CACHE, 0, RTE_PKTMBUF_HEADROOM + BUFFER,
				       SOCKET_ID_ANY);
	MUST(pool, "no packet buffers");
	MUST(borrow_init() == 0, "no flag for borrowed frames");
	MUST(fwd_workers_open(workers, N_WORKERS, pool, &diag) == 0, "no workers");
}

static enum isa
isa_of(const char *name)
{
	for (unsigned int i = 0; i < ISA_N; i++)
		if (strcmp(name, isa_name((enum isa)i)) == 0)
			return (enum isa)i;
	MUST(false, "there is no ISA variant %s", name);
	return ISA_N;
}

/* What the counts depend on besides the code, and which of the variants this CPU has. */
static void
facts_print(void)
{
#ifdef __clang__
	printf("compiler clang-%d\n", __clang_major__);
#else
	printf("compiler gcc-%d\n", __GNUC__);
#endif
	printf("dpdk %d.%02d\nbuild %s\n", RTE_VER_YEAR, RTE_VER_MONTH, INSTRUCTIONS_BUILD);
	for (unsigned int i = 0; i < ISA_N; i++)
		printf("isa %s %s\n", isa_name((enum isa)i), i <= isa_select() ? "runs" : "absent");
}

int
main(int argc, char **argv)
{
	static const struct option options[] = {
		{"facts", no_argument, NULL, 'f'},
		{"cpu", required_argument, NULL, 'c'},
		{"isa", required_argument, NULL, 'i'},
		{"loop", required_argument, NULL, 'l'},
		{0},
	};
	const char *only = NULL;
	bool facts = false, is_known = true;
	int c, cpu = sched_getcpu();

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c == 'c') {
			cpu = atoi(optarg);
		} else if (c == 'f') {
			facts = true;
		} else if (c == 'l') {
			only = optarg;
		} else if (c == 'i') {
			enum isa isa = isa_of(optarg);

			MUST(isa_limit(isa) == isa, "this CPU has no %s", optarg);
		} else {
			is_known = false;
		}
	}
	MUST(is_known && optind == argc,
	     "usage: instructions --facts | [--cpu N] [--isa NAME] [--loop PART_OF_A_NAME]");
	if (facts) {
		facts_print();
		return 0;
	}
	eal_start(cpu);
	MUST(steps_init() == 0, "no trap after an instruction");
	rows_count(only);
	return 0;
}
