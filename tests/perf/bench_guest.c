/* SPDX-License-Identifier: BSD-3-Clause */
#include "bench_guest.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define MUST(condition)                                                                             \
	do {                                                                                        \
		if (!(condition)) {                                                                 \
			fprintf(stderr, "%s:%d: a guest can't be had: !(%s)\n", __FILE__, __LINE__, \
				#condition);                                                        \
			abort();                                                                    \
		}                                                                                   \
	} while (0)

enum {
	GUEST_CONTROL_RING = 64,
	GUEST_CONTROL_ROOM = 4096,
	GUEST_CLASS_MQ = 4,
	GUEST_RSS_CONFIG = 1,
	GUEST_HASH_CONFIG = 2,
	/* A buffer starts so that the frame starts on a cache line, as with DPDK's driver. */
	GUEST_FRAME_OFFSET = RTE_CACHE_LINE_SIZE,
};

static void
guest_queue_start(struct bench_guest *guest, unsigned int idx, const struct driver_queue *queue)
{
	const struct vdev_queue_addr addr = {.desc = driver_uva(queue->desc_gpa),
					     .avail = driver_uva(queue->avail_gpa),
					     .used = driver_uva(queue->used_gpa)};
	struct vdev *vdev = &guest->dev.vdev;
	struct diag diag;

	/* Never signalled: the driver has interrupts off, which the device has to find out. */
	for (unsigned int i = 0; i < 2; i++) {
		guest->fds[2 * idx + i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		MUST(guest->fds[2 * idx + i] >= 0);
	}
	MUST(vdev_queue_set_size(vdev, idx, queue->size, &diag) == 0);
	MUST(vdev_queue_set_addr(vdev, idx, &addr, &diag) == 0);
	MUST(vdev_queue_set_call(vdev, idx, guest->fds[2 * idx + 1], &diag) == 0);
	MUST(vdev_queue_set_kick(vdev, idx, guest->fds[2 * idx], &diag) == 0);
	MUST(vdev_queue_set_enable(vdev, idx, true, &diag) == 0);
}

static void
guest_port_fill(struct bench_guest *guest, const char *name, uint16_t port_id, uint16_t n_pairs)
{
	snprintf(guest->port.name, sizeof(guest->port.name), "%s", name);
	guest->port.id = port_id;
	guest->port.n_queues = n_pairs;
	guest->port.n_active = 1;
	guest->port.rxqs = guest->rxqs;
	guest->port.txqs = guest->txqs;
	for (uint16_t i = 0; i < n_pairs; i++) {
		guest->rxqs[i] = (struct port_rxq){
			.rx = vnet_rx,
			.burst = PORT_BURST,
			.service = vnet_rx_service,
			.release = vnet_rx_release,
			.dev = &guest->dev.queues[i],
			.port = &guest->port,
			.idx = i,
		};
		guest->txqs[i] = (struct port_txq){
			.tx = vnet_tx,
			.service = vnet_tx_service,
			.dev = &guest->dev.queues[i],
			.port = &guest->port,
			.idx = i,
			.accepts_borrowed = true,
		};
	}
}

struct bench_guest *
bench_guest_open(const char *name, uint16_t port_id, uint64_t features, uint16_t n_pairs,
		 struct rte_mempool *pool)
{
	const uint32_t traits = (features & FEATURE_MASK(RING_PACKED) ? TRAIT_PACKED : 0) |
				(features & FEATURE_MASK(IN_ORDER) ? TRAIT_IN_ORDER : 0);
	const bool event_idx = features & FEATURE_MASK(EVENT_IDX);
	const size_t size = RTE_ALIGN_CEIL(sizeof(struct bench_guest), (size_t)RTE_CACHE_LINE_SIZE);
	struct bench_guest *guest = aligned_alloc(RTE_CACHE_LINE_SIZE, size);
	static struct vnic_ctx ctx; /* of all of them */
	struct vnet_config config = {.ctx = &ctx, .name = name, .n_pairs = n_pairs, .pool = pool};
	struct diag diag;

	MUST(guest && n_pairs <= BENCH_GUEST_PAIRS);
	memset(guest, 0, size);
	memset(guest->fds, -1, sizeof(guest->fds));
	config.port = &guest->port;
	driver_mem_open(&guest->mem);
	MUST(vnet_init(&guest->dev, &config) == 0);
	guest_port_fill(guest, name, port_id, n_pairs);
	features |= FEATURE_MASK(VERSION_1) | FEATURE_MASK(NET_CTRL_VQ) | FEATURE_MASK(INDIRECT_DESC);
	guest->hdr_len = features & FEATURE_MASK(NET_HASH_REPORT) ? 20 : 12;
	MUST(vdev_set_mem(&guest->dev.vdev, driver_gmem(&guest->mem), &diag) == 0);
	MUST(vdev_set_features(&guest->dev.vdev, features, &diag) == 0);
	for (unsigned int i = 0; i < 2u * n_pairs; i++) {
		struct driver_queue *queue = &guest->queues[i];

		driver_queue_open(queue, &guest->mem, 2, traits, BENCH_GUEST_RING, event_idx);
		driver_interrupts(queue, DRIVER_INTERRUPTS_OFF);
		/* In one region, as nearly all of a real guest's are. */
		guest->slots_gpa[i] = driver_alloc(
			&guest->mem, 0, BENCH_GUEST_SLOTS * BENCH_GUEST_SLOT + BENCH_GUEST_FRAME_MAX,
			RTE_CACHE_LINE_SIZE);
		guest_queue_start(guest, i, queue);
	}
	driver_queue_open(&guest->controlq, &guest->mem, 2, traits, GUEST_CONTROL_RING, event_idx);
	driver_interrupts(&guest->controlq, DRIVER_INTERRUPTS_OFF);
	guest_queue_start(guest, 2u * n_pairs, &guest->controlq);
	return guest;
}

void
bench_guest_close(struct bench_guest *guest)
{
	/* The descriptors are the device's. */
	vnet_fini(&guest->dev);
	for (unsigned int i = 0; i < 2u * guest->port.n_queues; i++)
		driver_queue_close(&guest->queues[i]);
	driver_queue_close(&guest->controlq);
	driver_mem_close(&guest->mem);
	free(guest);
}

void
bench_guest_command(struct bench_guest *guest, uint8_t class, uint8_t command, const void *data, uint32_t len)
{
	const uint64_t gpa = driver_alloc(&guest->mem, 2, 2 + len + 1, 8);
	const uint8_t head[2] = {class, command}, no_ack = 0xff;
	const struct driver_buf bufs[] = {{.gpa = gpa, .len = 2 + len},
					  {.gpa = gpa + 2 + len, .len = 1, .writable = true}};
	uint32_t written;
	uint64_t tag;
	uint8_t ack;

	driver_write(&guest->mem, gpa, head, sizeof(head));
	driver_write(&guest->mem, gpa + sizeof(head), data, len);
	driver_write(&guest->mem, gpa + 2 + len, &no_ack, 1);
	MUST(driver_add(&guest->controlq, bufs, 2, DRIVER_DIRECT, 0));
	MUST(controlq_serve(&guest->dev.controlq) == 1);
	MUST(driver_get(&guest->controlq, &tag, &written));
	driver_read(&guest->mem, gpa + 2 + len, &ack, 1);
	MUST(ack == CONTROLQ_ACK_OK);
}

void
bench_guest_rss(struct bench_guest *guest, uint16_t n_pairs)
{
	/* The key that Microsoft's RSS documentation verifies its hashes with. */
	static const uint8_t key[] = {
		0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3,
		0x8f, 0xb0, 0xd0, 0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3,
		0x80, 0x30, 0xf2, 0x0c, 0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
	};
	struct {
		uint32_t types;
		uint16_t mask, unclassified, table[128], max_tx_vq;
		uint8_t key_len, key[sizeof(key)];
	} __rte_packed rss = {
		.types = HASH_TYPES_ALL, .mask = 127, .max_tx_vq = n_pairs, .key_len = sizeof(key)};
	struct {
		uint32_t types;
		uint16_t reserved[4];
		uint8_t key_len, key[sizeof(key)];
	} __rte_packed report = {.types = HASH_TYPES_ALL, .key_len = sizeof(key)};

	memcpy(rss.key, key, sizeof(key));
	memcpy(report.key, key, sizeof(key));
	for (unsigned int i = 0; n_pairs && i < RTE_DIM(rss.table); i++)
		rss.table[i] = (uint16_t)(i % n_pairs);
	if (n_pairs)
		bench_guest_command(guest, GUEST_CLASS_MQ, GUEST_RSS_CONFIG, &rss, sizeof(rss));
	else
		bench_guest_command(guest, GUEST_CLASS_MQ, GUEST_HASH_CONFIG, &report, sizeof(report));
}

/* [gpa, gpa + len) as a chain. */
static void
guest_add(struct driver_queue *queue, uint64_t gpa, uint32_t len, bool writable,
	  const struct bench_shape *shape)
{
	struct driver_buf bufs[DRIVER_BUFS_MAX];
	uint32_t now = shape->first ? shape->first : len;
	unsigned int n = 0;

	for (; len; len -= now, gpa += now) {
		if (n)
			now = shape->next ? shape->next : len;
		now = RTE_MIN(now, len);
		bufs[n++] = (struct driver_buf){.gpa = gpa, .len = now, .writable = writable};
	}
	MUST(driver_add(queue, bufs, n, shape->form, 0));
}

static uint64_t
guest_slot(struct bench_guest *guest, unsigned int idx)
{
	uint64_t gpa = guest->slots_gpa[idx] + (uint64_t)guest->next_slot[idx] * BENCH_GUEST_SLOT;

	guest->next_slot[idx] = (uint16_t)((guest->next_slot[idx] + 1) % BENCH_GUEST_SLOTS);
	return gpa + GUEST_FRAME_OFFSET - guest->hdr_len;
}

void
bench_guest_send(struct bench_guest *guest, unsigned int pair, const void *header, const void *frame,
		 uint32_t len, const struct bench_shape *shape)
{
	uint64_t gpa = guest_slot(guest, 2 * pair + 1);

	driver_write(&guest->mem, gpa, header, guest->hdr_len);
	driver_write(&guest->mem, gpa + guest->hdr_len, frame, len);
	guest_add(&guest->queues[2 * pair + 1], gpa, guest->hdr_len + len, false, shape);
}

void
bench_guest_post(struct bench_guest *guest, unsigned int pair, uint32_t len, const struct bench_shape *shape)
{
	guest_add(&guest->queues[2 * pair], guest_slot(guest, 2 * pair), len, true, shape);
}

static unsigned int
guest_reap(struct driver_queue *queue)
{
	unsigned int n = 0;
	uint32_t written;
	uint64_t tag;

	while (driver_get(queue, &tag, &written))
		n++;
	return n;
}

unsigned int
bench_guest_reap_sent(struct bench_guest *guest, unsigned int pair)
{
	return guest_reap(&guest->queues[2 * pair + 1]);
}

unsigned int
bench_guest_reap_posted(struct bench_guest *guest, unsigned int pair)
{
	return guest_reap(&guest->queues[2 * pair]);
}
