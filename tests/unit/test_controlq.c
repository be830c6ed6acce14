/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The control queue: a whole device, its rings in guest memory, and a model driver that sends commands in
 * every shape of chain; what is right takes effect before the answer, what is wrong changes nothing.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <rte_byteorder.h>
#include <rte_eal.h>
#include <rte_ether.h>
#include <rte_mbuf.h>

#include "driver.h"
#include "filter.h"
#include "loop.h"
#include "quiesce.h"
#include "ring.h"
#include "vnet.h"

enum {
	N_PAIRS = 4,
	DATA_QUEUE_SIZE = 8,
	ROOM_MAX = 70000,
	LEN_MAX = 70000,
	UNTOUCHED = 0xa5, /* what the driver's buffers are full of */
};

enum {
	CLASS_RX = 0,
	CLASS_MAC = 1,
	CLASS_VLAN = 2,
	CLASS_ANNOUNCE = 3,
	CLASS_MQ = 4,
	CLASS_OFFLOADS = 5,
	CLASS_COAL = 6,
	CLASS_STATS = 8,
};

static struct rte_mempool *pool;

static const struct rte_ether_addr own_mac = {{0x52, 0x54, 0x00, 0x12, 0x34, 0x56}};

/* --- the rig --- */

struct rig_options {
	uint32_t traits; /* of the rings */
	uint16_t size;   /* of the controlq; 0: 512 */
	uint16_t n_pairs;
	uint64_t without; /* features not negotiated */
	bool status;      /* the front-end speaks of status */
	bool portless;
	bool unfilled; /* the driver has not made any receive buffer available */
	bool kickless; /* the controlq has no kick descriptor */
	struct loop *loop;
};

struct rig {
	struct driver_mem mem;
	struct driver_queue driver, data[2 * N_PAIRS];
	struct vnet_dev *dev;
	struct port port;
	unsigned int controlq;
	uint64_t features;
	int kick_fds[2 * N_PAIRS + 1];
};

/* How a command lies in memory. */
struct shape {
	uint32_t piece;     /* all of it in pieces of so many bytes; 0: not */
	uint32_t cut, wcut; /* the readable and the writable part in two, here; 0: not */
	enum driver_form form;
};

static const struct shape plain = {.form = DRIVER_DIRECT};

struct answer {
	uint32_t len; /* used */
	uint8_t ack;
	const uint8_t *result;
};

static uint8_t answer_bytes[1 + ROOM_MAX];

static void *
zalloc(size_t size)
{
	void *p = aligned_alloc(64, (size + 63) & ~63ul);

	assert_non_null(p);
	memset(p, 0, (size + 63) & ~63ul);
	return p;
}

static void
rig_queue_start(struct rig *rig, unsigned int idx, const struct driver_queue *queue, bool kickless)
{
	struct vdev *vdev = &rig->dev->vdev;
	struct vdev_queue_addr addr = {.desc = driver_uva(queue->desc_gpa),
				       .avail = driver_uva(queue->avail_gpa),
				       .used = driver_uva(queue->used_gpa)};
	struct diag diag;

	rig->kick_fds[idx] = kickless ? -1 : eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	assert_int_equal(vdev_queue_set_size(vdev, idx, queue->size, &diag), 0);
	assert_int_equal(vdev_queue_set_addr(vdev, idx, &addr, &diag), 0);
	assert_int_equal(vdev_queue_set_kick(vdev, idx, rig->kick_fds[idx], &diag), 0);
	assert_int_equal(vdev_queue_set_enable(vdev, idx, true, &diag), 0);
}

/* The driver makes a receive buffer of the pair available. */
static void
rig_fill(struct rig *rig, unsigned int pair)
{
	const struct driver_buf buf = {.gpa = 0x200000, .len = 2048, .writable = true};

	assert_true(driver_add(&rig->data[2 * pair], &buf, 1, DRIVER_DIRECT, pair));
}

/* Also after a reset: the driver starts anew, with fresh rings. */
static void
rig_start(struct rig *rig, const struct rig_options *options)
{
	uint32_t ring = options->traits & (TRAIT_PACKED | TRAIT_IN_ORDER);
	struct vdev *vdev = &rig->dev->vdev;
	bool event_idx = options->loop;
	struct diag diag;

	rig->mem.next[2] = 0;
	rig->features = vdev_features_offered(vdev) & ~options->without & ~FEATURE_MASK(LOG_ALL);
	if (!(ring & TRAIT_PACKED))
		rig->features &= ~FEATURE_MASK(RING_PACKED);
	if (!(ring & TRAIT_IN_ORDER))
		rig->features &= ~FEATURE_MASK(IN_ORDER);
	if (!event_idx)
		rig->features &= ~FEATURE_MASK(EVENT_IDX);
	vdev->said.status_used = options->status;
	assert_int_equal(vdev_set_features(vdev, rig->features, &diag), 0);
	if (options->status)
		assert_int_equal(vdev_set_status(vdev, VDEV_STATUS_DRIVER | VDEV_STATUS_DRIVER_OK, &diag), 0);
	rig->controlq =
		rig->features & (FEATURE_MASK(NET_MQ) | FEATURE_MASK(NET_RSS)) ? 2u * options->n_pairs : 2;
	for (unsigned int i = 0; i < rig->controlq; i++) {
		driver_queue_close(&rig->data[i]);
		driver_queue_open(&rig->data[i], &rig->mem, 2, ring, DATA_QUEUE_SIZE, event_idx);
		/* Linux's driver has filled them all before it says how many it uses. */
		if (i % 2 == 0 && !options->unfilled)
			rig_fill(rig, i / 2);
		rig_queue_start(rig, i, &rig->data[i], false);
	}
	driver_queue_close(&rig->driver);
	driver_queue_open(&rig->driver, &rig->mem, 2, ring, options->size ? options->size : 512, event_idx);
	rig_queue_start(rig, rig->controlq, &rig->driver, options->kickless);
}

static struct rig *
rig_open(const struct rig_options *options)
{
	struct rig *rig = zalloc(sizeof(*rig));
	struct vnet_config config = {
		.name = "test",
		.n_pairs = options->n_pairs,
		.mac = own_mac,
		.pool = pool,
		.port = options->portless ? NULL : &rig->port,
		.loop = options->loop,
	};
	struct diag diag;

	rig->port.n_queues = options->n_pairs;
	rig->port.queues = zalloc(options->n_pairs * sizeof(rig->port.queues[0]));
	driver_mem_open(&rig->mem);
	rig->dev = zalloc(sizeof(*rig->dev));
	assert_int_equal(vnet_init(rig->dev, &config), 0);
	for (uint16_t i = 0; i < options->n_pairs; i++) {
		rig->port.queues[i].dev = &rig->dev->queues[i];
		rig->port.queues[i].port = &rig->port;
		rig->port.queues[i].idx = i;
	}
	assert_int_equal(vdev_set_mem(&rig->dev->vdev, driver_gmem(&rig->mem), &diag), 0);
	rig_start(rig, options);
	return rig;
}

static void
rig_close(struct rig *rig)
{
	vnet_fini(rig->dev);
	for (size_t i = 0; i < RTE_DIM(rig->data); i++)
		driver_queue_close(&rig->data[i]);
	driver_queue_close(&rig->driver);
	driver_mem_close(&rig->mem);
	free(rig->port.queues);
	free(rig->dev);
	free(rig);
}

static struct rig *
rig_usual(void)
{
	return rig_open(&(struct rig_options){.n_pairs = N_PAIRS});
}

static unsigned int
pieces(struct driver_buf bufs[], uint64_t gpa, uint32_t len, uint32_t piece, uint32_t cut, bool writable)
{
	unsigned int n = 0;

	while (len) {
		uint32_t now = len;

		if (piece)
			now = RTE_MIN(piece, len);
		else if (n == 0 && cut && cut < len)
			now = cut;
		bufs[n++] = (struct driver_buf){.gpa = gpa, .len = now, .writable = writable};
		gpa += now;
		len -= now;
	}
	return n;
}

/* What the driver can write, across the seam of two regions, and what the device can. */
static uint64_t
readable_gpa(uint32_t len)
{
	return driver_region_gpa(1) - (len + 1) / 2;
}

static uint64_t
writable_gpa(void)
{
	return driver_region_gpa(0) + (1 << 20) + 3;
}

/* Makes a chain available. writable: bytes, the ack included. */
static void
rig_send(struct rig *rig, const struct shape *shape, const uint8_t *bytes, uint32_t len, uint32_t writable,
	 uint64_t tag)
{
	struct driver_buf bufs[DRIVER_BUFS_MAX];
	unsigned int n;

	rig->mem.next[1] = 2 << 20; /* indirect tables: the last one is of no use any more */
	driver_write(&rig->mem, readable_gpa(len), bytes, len);
	memset(driver_va(&rig->mem, writable_gpa()), UNTOUCHED, writable + 8);
	n = pieces(bufs, readable_gpa(len), len, shape->piece, shape->cut, false);
	n += pieces(bufs + n, writable_gpa(), writable, shape->piece, shape->wcut, true);
	assert_true(driver_add(&rig->driver, bufs, n, shape->form, tag));
}

/* The chain that came back, and nothing written but what it says. */
static struct answer
rig_answer(struct rig *rig, uint32_t writable, uint64_t tag)
{
	struct answer answer = {.result = answer_bytes + 1};
	uint64_t back;

	assert_true(driver_get(&rig->driver, &back, &answer.len));
	assert_int_equal(back, tag);
	assert_true(answer.len <= writable);
	driver_read(&rig->mem, writable_gpa(), answer_bytes, writable);
	for (uint32_t i = answer.len; i < writable + 8; i++) {
		uint8_t byte;

		driver_read(&rig->mem, writable_gpa() + i, &byte, 1);
		assert_int_equal(byte, UNTOUCHED);
	}
	answer.ack = answer.len ? answer_bytes[0] : 0xff;
	return answer;
}

static struct answer
rig_ask(struct rig *rig, const struct shape *shape, uint8_t class, uint8_t command, const void *data,
	uint32_t len, uint32_t room)
{
	static uint8_t bytes[2 + LEN_MAX];
	static uint64_t tag;

	bytes[0] = class;
	bytes[1] = command;
	if (len)
		memcpy(bytes + 2, data, len);
	rig_send(rig, shape, bytes, 2 + len, 1 + room, ++tag);
	assert_int_equal(controlq_serve(&rig->dev->controlq), 1);
	assert_false(virtq_is_broken(&rig->dev->controlq.vq));
	return rig_answer(rig, 1 + room, tag);
}

/* The usual command: no result. Returns whether it was OK. */
static bool
rig_do(struct rig *rig, uint8_t class, uint8_t command, const void *data, uint32_t len)
{
	struct answer answer = rig_ask(rig, &plain, class, command, data, len, 0);

	assert_int_equal(answer.len, 1);
	assert_true(answer.ack == 0 || answer.ack == 1);
	return answer.ack == 0;
}

static bool
rig_do_byte(struct rig *rig, uint8_t class, uint8_t command, uint8_t byte)
{
	return rig_do(rig, class, command, &byte, 1);
}

static bool
rig_do_le16(struct rig *rig, uint8_t class, uint8_t command, uint16_t number)
{
	uint8_t bytes[2] = {(uint8_t)number, (uint8_t)(number >> 8)};

	return rig_do(rig, class, command, bytes, 2);
}

static void
rig_announce(struct rig *rig)
{
	struct vnet_settings settings = *rig->dev->settings;

	settings.announce = true;
	assert_int_equal(vnet_apply(rig->dev, &settings), 0);
}

enum { UNTAGGED = -1 };

/* Is a frame to this address let in by what receiveq 0 has at this moment? */
static bool
wanted_at(const struct rig *rig, uint64_t dst, int vlan, uint16_t pair)
{
	const struct virtq_conf *conf = virtq_conf(&rig->dev->queues[pair].to_guest);
	struct rte_mbuf *pkt = rte_pktmbuf_alloc(pool);
	uint8_t *frame;
	bool wanted = true;

	assert_non_null(pkt);
	frame = (uint8_t *)rte_pktmbuf_append(pkt, 64);
	memset(frame, 0, 64);
	for (unsigned int i = 0; i < 6; i++)
		frame[i] = (uint8_t)(dst >> (40 - 8 * i));
	frame[6] = 2;
	frame[12] = vlan == UNTAGGED ? 0x08 : 0x81;
	if (vlan != UNTAGGED) {
		frame[14] = (uint8_t)(vlan >> 8);
		frame[15] = (uint8_t)vlan;
	}
	if (conf->filter)
		wanted = vnet_filter_burst(conf->filter, &pkt, 1) == 1;
	rte_pktmbuf_free(pkt);
	return wanted;
}

/* --- command-specific-data --- */

struct data {
	uint8_t bytes[LEN_MAX];
	uint32_t len;
};

static void
put(struct data *data, uint64_t number, unsigned int n_bytes)
{
	for (unsigned int i = 0; i < n_bytes; i++)
		data->bytes[data->len++] = (uint8_t)(number >> (8 * i));
}

static const struct data *
data_macs(unsigned int n_unicast, unsigned int n_multicast)
{
	static struct data data;

	data.len = 0;
	put(&data, n_unicast, 4);
	for (unsigned int i = 0; i < n_unicast; i++) {
		put(&data, 0x0002, 2);
		put(&data, rte_cpu_to_be_32(i), 4);
	}
	put(&data, n_multicast, 4);
	for (unsigned int i = 0; i < n_multicast; i++) {
		put(&data, 0x0001, 2);
		put(&data, rte_cpu_to_be_32(i), 4);
	}
	return &data;
}

struct rss {
	uint32_t types;
	uint16_t mask, unclassified, entry, max_tx_vq;
	uint8_t key_len;
};

static const struct rss usual_rss = {
	.types = HASH_TYPES_ALL, .mask = 127, .unclassified = 3, .entry = 2, .max_tx_vq = 4, .key_len = 40};

/* All entries but the last, which is rss->entry, are 1. */
static const struct data *
data_rss(const struct rss *rss)
{
	static struct data data;

	data.len = 0;
	put(&data, rss->types, 4);
	put(&data, rss->mask, 2);
	put(&data, rss->unclassified, 2);
	for (unsigned int i = 0; i <= rss->mask && data.len < 60000; i++)
		put(&data, i == rss->mask ? rss->entry : 1, 2);
	put(&data, rss->max_tx_vq, 2);
	put(&data, rss->key_len, 1);
	for (unsigned int i = 0; i < rss->key_len; i++)
		put(&data, i + 1, 1);
	return &data;
}

static const struct data *
data_hash(uint32_t types, uint16_t reserved, uint8_t key_len)
{
	static struct data data;

	data.len = 0;
	put(&data, types, 4);
	for (unsigned int i = 0; i < 4; i++)
		put(&data, reserved, 2);
	put(&data, key_len, 1);
	for (unsigned int i = 0; i < key_len; i++)
		put(&data, i + 1, 1);
	return &data;
}

static const struct data *
data_coal(int idx, uint32_t max_packets, uint32_t max_usecs)
{
	static struct data data;

	data.len = 0;
	if (idx >= 0) {
		put(&data, (uint64_t)idx, 2);
		put(&data, 0xbeef, 2); /* reserved: "MUST ignore" */
	}
	put(&data, max_packets, 4);
	put(&data, max_usecs, 4);
	return &data;
}

static const struct data *
data_ask(uint16_t idx, uint64_t types)
{
	static struct data data;

	data.len = 0;
	put(&data, idx, 2);
	put(&data, 0, 6);
	put(&data, types, 8);
	return &data;
}

static bool
rig_do_data(struct rig *rig, uint8_t class, uint8_t command, const struct data *data)
{
	return rig_do(rig, class, command, data->bytes, data->len);
}

static bool
rig_rss(struct rig *rig, const struct rss *rss)
{
	return rig_do_data(rig, CLASS_MQ, 1, data_rss(rss));
}

/* --- every command, and what each of them refuses --- */

struct wrong {
	uint8_t bytes[16];
	uint32_t len;
};

static const struct known {
	const char *name;
	uint8_t class, command;
	uint64_t feature;
	uint32_t result; /* bytes */
	uint32_t len;
	uint8_t bytes[16];
	struct wrong wrong[4]; /* of the right length */
} known[] = {
	{"RX_PROMISC", 0, 0, FEATURE_MASK(NET_CTRL_RX), 0, 1, {0}, {{{2}, 1}, {{255}, 1}}},
	{"RX_ALLMULTI", 0, 1, FEATURE_MASK(NET_CTRL_RX), 0, 1, {1}, {{{2}, 1}}},
	{"RX_ALLUNI", 0, 2, FEATURE_MASK(NET_CTRL_RX_EXTRA), 0, 1, {1}, {{{2}, 1}}},
	{"RX_NOMULTI", 0, 3, FEATURE_MASK(NET_CTRL_RX_EXTRA), 0, 1, {1}, {{{2}, 1}}},
	{"RX_NOUNI", 0, 4, FEATURE_MASK(NET_CTRL_RX_EXTRA), 0, 1, {1}, {{{2}, 1}}},
	{"RX_NOBCAST", 0, 5, FEATURE_MASK(NET_CTRL_RX_EXTRA), 0, 1, {1}, {{{128}, 1}}},
	{"MAC_TABLE_SET",
	 1,
	 0,
	 FEATURE_MASK(NET_CTRL_RX),
	 0,
	 14,
	 {1, 0, 0, 0, 2, 1, 1, 1, 1, 1, 0, 0, 0, 0},
	 {{{2, 0, 0, 0, 2, 1, 1, 1, 1, 1, 0, 0, 0, 0}, 14},
	  {{1, 0, 0, 0, 2, 1, 1, 1, 1, 1, 1, 0, 0, 0}, 14},
	  {{255, 255, 255, 255, 2, 1, 1, 1, 1, 1, 0, 0, 0, 0}, 14},
	  {{0, 0, 0, 0, 0, 0, 0, 128, 1, 1, 1, 1, 1, 1}, 14}}},
	{"MAC_ADDR_SET",
	 1,
	 1,
	 FEATURE_MASK(NET_CTRL_MAC_ADDR),
	 0,
	 6,
	 {2, 0, 0, 0, 0, 9},
	 {{{0, 0, 0, 0, 0, 0}, 6}, {{3, 0, 0, 0, 0, 9}, 6}, {{255, 255, 255, 255, 255, 255}, 6}}},
	{"VLAN_ADD",
	 2,
	 0,
	 FEATURE_MASK(NET_CTRL_VLAN),
	 0,
	 2,
	 {5, 1},
	 {{{0, 16}, 2}, {{255, 255}, 2}, {{5, 0x80}, 2}}},
	{"VLAN_DEL", 2, 1, FEATURE_MASK(NET_CTRL_VLAN), 0, 2, {255, 15}, {{{0, 16}, 2}, {{255, 255}, 2}}},
	{"ANNOUNCE_ACK", 3, 0, FEATURE_MASK(NET_GUEST_ANNOUNCE), 0, 0, {0}, {{{0}, 0}}},
	{"MQ_VQ_PAIRS_SET",
	 4,
	 0,
	 FEATURE_MASK(NET_MQ),
	 0,
	 2,
	 {N_PAIRS, 0},
	 {{{0, 0}, 2}, {{N_PAIRS + 1, 0}, 2}, {{1, 0x80}, 2}, {{255, 255}, 2}}},
	/* One entry, and a key of one byte. */
	{"MQ_RSS_CONFIG",
	 4,
	 1,
	 FEATURE_MASK(NET_RSS),
	 0,
	 14,
	 {1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1, 7},
	 {{{0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1, 7}, 14},
	  {{1, 0, 0, 0, 0, 0, N_PAIRS, 0, 0, 0, 1, 0, 1, 7}, 14},
	  {{1, 0, 0, 0, 0, 0, 0, 0, N_PAIRS, 0, 1, 0, 1, 7}, 14},
	  {{1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 7}, 14}}},
	{"MQ_HASH_CONFIG",
	 4,
	 2,
	 FEATURE_MASK(NET_HASH_REPORT),
	 0,
	 14,
	 {1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 7},
	 {{{0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 7}, 14},
	  {{0, 0, 0, 128, 0, 0, 0, 0, 0, 0, 0, 0, 1, 7}, 14},
	  {{1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7}, 14},
	  {{1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 7}, 14}}},
	/* CSUM; wrong: an offload that is not one of these, TSO4 alone, ECN alone, CTRL_GUEST_OFFLOADS' own
	   bit. */
	{"GUEST_OFFLOADS_SET",
	 5,
	 0,
	 FEATURE_MASK(NET_CTRL_GUEST_OFFLOADS),
	 0,
	 8,
	 {2, 0, 0, 0, 0, 0, 0, 0},
	 {{{2, 4, 0, 0, 0, 0, 0, 0}, 8},
	  {{128, 0, 0, 0, 0, 0, 0, 0}, 8},
	  {{2, 2, 0, 0, 0, 0, 0, 0}, 8},
	  {{6, 0, 0, 0, 0, 0, 0, 0}, 8}}},
	{"NOTF_COAL_TX_SET", 6, 0, FEATURE_MASK(NET_NOTF_COAL), 0, 8, {8, 0, 0, 0, 50, 0, 0, 0}, {{{0}, 0}}},
	{"NOTF_COAL_RX_SET", 6, 1, FEATURE_MASK(NET_NOTF_COAL), 0, 8, {8, 0, 0, 0, 50, 0, 0, 0}, {{{0}, 0}}},
	{"NOTF_COAL_VQ_SET",
	 6,
	 2,
	 FEATURE_MASK(NET_VQ_NOTF_COAL),
	 0,
	 12,
	 {1, 0, 0, 0, 8, 0, 0, 0, 50, 0, 0, 0},
	 {{{2 * N_PAIRS, 0, 0, 0, 8}, 12}, {{2, 0, 0, 0, 8}, 12}, {{255, 255, 0, 0, 8}, 12}}},
	{"NOTF_COAL_VQ_GET",
	 6,
	 3,
	 FEATURE_MASK(NET_VQ_NOTF_COAL),
	 8,
	 4,
	 {1, 0, 0, 0},
	 {{{2 * N_PAIRS, 0}, 4}, {{3, 0}, 4}, {{0, 1}, 4}}},
	{"STATS_QUERY", 8, 0, FEATURE_MASK(NET_DEVICE_STATS), 8, 0, {0}, {{{0}, 0}}},
	{"STATS_GET",
	 8,
	 1,
	 FEATURE_MASK(NET_DEVICE_STATS),
	 56,
	 16,
	 {1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0},
	 {{{2 * N_PAIRS + 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0}, 16},
	  {{1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0}, 16},
	  {{1, 0, 0, 0, 0, 0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0}, 16},
	  {{1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 128}, 16}}},
};

/* The command is refused: one byte, ERR, and the settings are what they were, byte for byte. */
static void
refused(struct rig *rig, const struct known *command, const uint8_t *bytes, uint32_t len)
{
	const uint64_t n_err = rig->dev->controlq.n_err;
	struct vnet_settings before;
	struct answer answer;

	rig_announce(rig);
	memcpy(&before, rig->dev->settings, sizeof(before));
	answer = rig_ask(rig, &plain, command->class, command->command, bytes, len, command->result);
	if (answer.len != 1 || answer.ack != 1)
		fail_msg("%s, %u bytes: %u bytes written, ack %u", command->name, len, answer.len,
			 answer.ack);
	assert_memory_equal(&before, rig->dev->settings, sizeof(before));
	assert_int_equal(rig->dev->controlq.n_err, n_err + 1);
}

/* Every ring, and then every command. */
static void
test_commands_refuse(void **state)
{
	for (uint32_t traits = 0; traits < 4; traits++) {
		struct rig_options options = {.n_pairs = N_PAIRS, .traits = traits};
		struct rig *rig = rig_open(&options);

		for (size_t i = 0; i < RTE_DIM(known); i++) {
			const struct known *command = &known[i];
			uint8_t bytes[17] = {0};

			memcpy(bytes, command->bytes, command->len);
			if (command->len) {
				refused(rig, command, bytes, 0);
				refused(rig, command, bytes, command->len - 1);
			}
			refused(rig, command, bytes, command->len + 1);
			for (size_t k = 0; k < RTE_DIM(command->wrong) && command->wrong[k].len; k++)
				refused(rig, command, command->wrong[k].bytes, command->wrong[k].len);
		}
		rig_close(rig);
	}
}

static void
test_commands_need_their_feature(void **state)
{
	for (size_t i = 0; i < RTE_DIM(known); i++) {
		struct rig *rig =
			rig_open(&(struct rig_options){.n_pairs = N_PAIRS, .without = known[i].feature});

		refused(rig, &known[i], known[i].bytes, known[i].len);
		rig_close(rig);
	}
}

/* Whatever its shape, a command means the same: cut at every byte, one byte a descriptor, indirect or not. */
static void
known_in_shape(struct rig *rig, const struct known *command, const struct shape *shape)
{
	const uint64_t n_ok = rig->dev->controlq.n_ok;
	struct answer answer;

	rig_announce(rig);
	answer = rig_ask(rig, shape, command->class, command->command, command->bytes, command->len,
			 command->result);
	if (answer.ack != 0 || answer.len != 1 + command->result)
		fail_msg("%s in pieces of %u, cut at %u and %u, form %d: %u bytes written, ack %u",
			 command->name, shape->piece, shape->cut, shape->wcut, (int)shape->form, answer.len,
			 answer.ack);
	assert_int_equal(rig->dev->controlq.n_ok, n_ok + 1);
}

static void
test_commands_in_every_shape(void **state)
{
	for (uint32_t traits = 0; traits < 4; traits++) {
		struct rig *rig = rig_open(&(struct rig_options){.n_pairs = N_PAIRS, .traits = traits});

		for (size_t i = 0; i < RTE_DIM(known); i++) {
			for (int form = 0; form < DRIVER_N_FORMS; form++) {
				struct shape shape = {.form = (enum driver_form)form};

				for (uint32_t cut = 0; cut < 2 + known[i].len; cut++) {
					shape.cut = cut;
					for (uint32_t wcut = 0; wcut < 1 + known[i].result; wcut++) {
						shape.wcut = wcut;
						known_in_shape(rig, &known[i], &shape);
					}
				}
				shape = (struct shape){.piece = 1, .form = (enum driver_form)form};
				known_in_shape(rig, &known[i], &shape);
				shape.piece = 3;
				known_in_shape(rig, &known[i], &shape);
			}
		}
		rig_close(rig);
	}
}

/* The long ones: every cut of a table of 64 addresses and of 128 queues gives the same settings. */
static void
test_long_commands_cut_everywhere(void **state)
{
	for (uint32_t traits = 0; traits < 4; traits++) {
		struct rig *rig = rig_open(&(struct rig_options){.n_pairs = N_PAIRS, .traits = traits});
		const struct data *macs = data_macs(40, 24), *rss = data_rss(&usual_rss);
		struct vnet_settings whole;

		assert_true(rig_do_data(rig, CLASS_MAC, 0, macs));
		assert_true(rig_do_data(rig, CLASS_MQ, 1, rss));
		whole = *rig->dev->settings;
		assert_int_equal(whole.filter.unicast.n, 40);
		assert_int_equal(whole.filter.multicast.n, 24);
		assert_int_equal(whole.steer.rss.table_len, 128);
		for (uint32_t cut = 1; cut < 2 + macs->len; cut++) {
			struct shape shape = {.cut = cut, .form = cut % DRIVER_N_FORMS};
			uint16_t one = rte_cpu_to_le_16(1);

			/* Something else in between, so that nothing is what it was by itself. */
			assert_true(rig_do_data(rig, CLASS_MAC, 0, data_macs(0, 0)));
			macs = data_macs(40, 24);
			assert_true(rig_do(rig, CLASS_MQ, 0, &one, 2));
			assert_int_equal(rig_ask(rig, &shape, CLASS_MAC, 0, macs->bytes, macs->len, 0).ack,
					 0);
			if (cut < 2 + rss->len)
				assert_int_equal(
					rig_ask(rig, &shape, CLASS_MQ, 1, rss->bytes, rss->len, 0).ack, 0);
			else
				assert_true(rig_do_data(rig, CLASS_MQ, 1, rss));
			assert_memory_equal(&whole, rig->dev->settings, sizeof(whole));
		}
		rig_close(rig);
	}
}

/* --- the queue itself --- */

static void
test_C98_unknown_commands_are_refused(void **state)
{
	struct rig *rig = rig_usual();

	for (unsigned int class = 0; class < 256; class ++) {
		for (unsigned int command = 0; command < 256; command++) {
			struct known unknown = {
				.name = "unknown", .class = (uint8_t) class, .command = (uint8_t)command};
			bool is_known = false;

			for (size_t i = 0; i < RTE_DIM(known); i++)
				is_known |= known[i].class == class && known[i].command == command;
			if (is_known || (command > 20 && command < 250 && class > 9 && class < 250))
				continue;
			refused(rig, &unknown, (const uint8_t *)"\1\0\0\0", command % 5);
		}
	}
	rig_close(rig);
}

static void
test_C98_heads_too_short_are_refused(void **state)
{
	struct rig *rig = rig_usual();
	uint8_t byte = CLASS_RX;

	/* One byte: a class without a command. */
	rig_send(rig, &plain, &byte, 1, 1, 1);
	assert_int_equal(controlq_serve(&rig->dev->controlq), 1);
	assert_int_equal(rig_answer(rig, 1, 1).ack, 1);
	/* None: there is something to write the answer to, nevertheless. */
	rig_send(rig, &plain, &byte, 0, 4, 2);
	assert_int_equal(controlq_serve(&rig->dev->controlq), 1);
	assert_int_equal(rig_answer(rig, 4, 2).ack, 1);
	assert_int_equal(rig->dev->controlq.n_err, 2);
	rig_close(rig);
}

/* No byte for the answer: nothing is done, the chain comes back, and it is counted. */
static void
test_C98_no_room_for_an_answer(void **state)
{
	for (uint32_t traits = 0; traits < 4; traits++) {
		struct rig *rig = rig_open(&(struct rig_options){.n_pairs = N_PAIRS, .traits = traits});
		const uint8_t bytes[] = {CLASS_RX, 0, 0};
		uint64_t tag;
		uint32_t len;

		rig_send(rig, &plain, bytes, sizeof(bytes), 0, 7);
		assert_int_equal(controlq_serve(&rig->dev->controlq), 1);
		assert_true(driver_get(&rig->driver, &tag, &len));
		assert_int_equal(tag, 7);
		assert_int_equal(len, 0);
		assert_int_equal(rig->dev->controlq.n_unanswered, 1);
		assert_true(rig->dev->settings->filter.promisc);
		assert_int_equal(rig->dev->controlq.n_ok + rig->dev->controlq.n_err, 0);
		assert_true(rig_do_byte(rig, CLASS_RX, 0, 0));
		rig_close(rig);
	}
}

/* Memory that is none, more pieces than anybody needs: useless chains come back, and the queue goes on. */
static void
test_useless_chains_come_back(void **state)
{
	struct rig *rig = rig_usual();
	struct driver_buf bad[] = {{.gpa = 0x20000000, .len = 3},
				   {.gpa = writable_gpa(), .len = 1, .writable = true}};
	const struct data *data = data_rss(&usual_rss);
	static uint8_t bytes[2 + LEN_MAX];
	struct shape shape = {.piece = 1, .form = DRIVER_INDIRECT};
	uint64_t tag;
	uint32_t len;

	rig->driver.long_tables = true;
	assert_true(driver_add(&rig->driver, bad, 2, DRIVER_DIRECT, 1));
	assert_int_equal(controlq_serve(&rig->dev->controlq), 1);
	assert_true(driver_get(&rig->driver, &tag, &len));
	assert_int_equal(len, 0);
	bytes[0] = CLASS_MQ;
	bytes[1] = 1;
	memcpy(bytes + 2, data->bytes, data->len);
	rig_send(rig, &shape, bytes, VIRTQ_DESCS_MAX, 1, 2);
	assert_int_equal(controlq_serve(&rig->dev->controlq), 1);
	assert_true(driver_get(&rig->driver, &tag, &len));
	assert_int_equal(len, 0);
	assert_int_equal(rig->dev->controlq.n_unanswered, 2);
	assert_true(rig_rss(rig, &usual_rss));
	rig_close(rig);
}

static void
test_data_longer_than_64_KiB(void **state)
{
	struct rig *rig = rig_usual();
	const struct data *data = data_macs(10920, 0);
	struct answer answer;

	/* 65528 bytes: the most addresses that fit. */
	answer = rig_ask(rig, &plain, CLASS_MAC, 0, data->bytes, data->len, 0);
	assert_int_equal(answer.ack, 0);
	assert_true(rig->dev->settings->filter.unicast.overflow);
	for (unsigned int n = 10922; n < 11000; n += 70) {
		data = data_macs(n, 0);
		answer = rig_ask(rig, &plain, CLASS_MAC, 0, data->bytes, data->len, 0);
		assert_int_equal(answer.len, 1);
		assert_int_equal(answer.ack, 1);
	}
	rig_close(rig);
}

/* A thousand laps of a small ring, with several in flight; answers come in the order of commands. */
static void
test_more_commands_than_the_ring(void **state)
{
	for (uint32_t traits = 0; traits < 4; traits++) {
		uint16_t size = traits & TRAIT_PACKED ? 7 : 8;
		struct rig *rig =
			rig_open(&(struct rig_options){.n_pairs = N_PAIRS, .traits = traits, .size = size});

		for (unsigned int i = 0; i < 5000; i++) {
			uint16_t vlan = (uint16_t)(i % 4096);

			assert_true(rig_do_le16(rig, CLASS_VLAN, i < 4096 ? 0 : 1, vlan));
		}
		for (unsigned int i = 0; i < 4096; i++)
			assert_int_equal(rig->dev->settings->filter.vlans[i / 64] >> i % 64 & 1,
					 i >= 5000 - 4096);
		assert_int_equal(rig->dev->controlq.n_ok, 5000);
		rig_close(rig);
	}
}

static void
test_a_iteration_is_bounded(void **state)
{
	struct rig *rig = rig_usual();
	const uint8_t bytes[] = {CLASS_RX, 0, 0};
	unsigned int n, total = 0, turns = 0;
	uint64_t tag;
	uint32_t len;

	for (unsigned int i = 0; i < 200; i++)
		rig_send(rig, &plain, bytes, sizeof(bytes), 1, i);
	while ((n = controlq_serve(&rig->dev->controlq)) != 0) {
		assert_true(n <= CONTROLQ_ITERATION_MAX);
		total += n;
		turns++;
	}
	assert_int_equal(total, 200);
	assert_true(turns >= 4);
	for (unsigned int i = 0; i < 200; i++) {
		assert_true(driver_get(&rig->driver, &tag, &len));
		assert_int_equal(tag, i);
		assert_int_equal(len, 1);
	}
	rig_close(rig);
}

/* VIRTIO, "Virtqueues" of the network device: behind the last pair that these features make. */
static void
test_controlq_index(void **state)
{
	const uint64_t mq = FEATURE_MASK(NET_MQ), rss = FEATURE_MASK(NET_RSS);
	const struct {
		uint16_t n_pairs;
		uint64_t without;
		int idx;
	} cases[] = {
		{4, 0, 8}, {4, mq, 8},  {4, rss, 8},      {4, mq | rss, 2},
		{1, 0, 2}, {1, rss, 2}, {2, mq | rss, 2}, {2, mq, 4},
	};

	for (size_t i = 0; i < RTE_DIM(cases); i++) {
		struct rig *rig = rig_open(
			&(struct rig_options){.n_pairs = cases[i].n_pairs, .without = cases[i].without});

		assert_int_equal(vnet_controlq_idx(rig->dev), cases[i].idx);
		assert_int_equal(rig->controlq, cases[i].idx);
		assert_true(rig_do_byte(rig, CLASS_RX, 0, 0));
		assert_false(rig->dev->settings->filter.promisc);
		rig_close(rig);
	}
}

/* A command that fails in its last step: by itself, or because its settings can't be built. */
/* The last one would leave the filter as it is. */
enum { CLASS_FAILING = 200, FAILING_ITSELF = 100, FAILING_TO_BUILD, FAILING_TO_STEER };

static int
failing(const struct vnet_dev *dev, struct controlq_request *request)
{
	struct vnet_settings *settings = request->settings;

	memset(request->result, 0x77, request->result_room);
	request->result_len = request->result_room;
	settings->filter.allmulti = request->data[0] == FAILING_TO_STEER;
	settings->n_pairs = 2;
	settings->steer.rss = (struct steer_rss){.enabled = true, .unclassified_queue = 999, .table_len = 1};
	return request->data[0] == FAILING_ITSELF ? -EIO : 0;
}

static struct controlq_command failing_commands[] = {
	{.name = "FAILING_ITSELF", .class = CLASS_FAILING, .command = FAILING_ITSELF, .run = failing},
	{.name = "FAILING_TO_BUILD", .class = CLASS_FAILING, .command = FAILING_TO_BUILD, .run = failing},
	{.name = "FAILING_TO_STEER", .class = CLASS_FAILING, .command = FAILING_TO_STEER, .run = failing},
};

CONTROLQ_COMMANDS_REGISTER(failing_commands)

static void
test_a_command_that_fails_changes_nothing(void **state)
{
	struct rig *rig = rig_usual();

	assert_true(rig_do_byte(rig, CLASS_RX, 0, 0));
	assert_true(rig_do_byte(rig, CLASS_RX, 1, 1));
	assert_true(rig_do_le16(rig, CLASS_MQ, 0, 3));
	rig_announce(rig); /* as refused() does: what it changes, it changes here */
	for (uint8_t number = FAILING_ITSELF; number <= FAILING_TO_STEER; number++) {
		const struct known command = {
			.name = "FAILING", .class = CLASS_FAILING, .command = number, .result = 50};
		const struct vnet_filter *filter = rig->dev->filter;
		const struct port_steer *steer = rig->dev->steer;

		refused(rig, &command, &number, 1);
		assert_ptr_equal(rig->dev->filter, filter);
		assert_ptr_equal(rig->dev->steer, steer);
		assert_int_equal(atomic_load(&rig->port.n_active), 3);
		assert_true(wanted_at(rig, 0x01005e000001, UNTAGGED, 0) &&
			    !wanted_at(rig, 0x020000001234, UNTAGGED, 0));
	}
	rig_close(rig);
}

/* --- by kick, in a loop --- */

static void
loop_iteration(struct loop *loop)
{
	for (unsigned int i = 0; i < 20; i++)
		assert_int_equal(loop_run_once(loop, 0), 0);
}

static void
kick(int fd)
{
	uint64_t one = 1;

	assert_int_equal(write(fd, &one, sizeof(one)), sizeof(one));
}

/* Does the driver have to kick? Asked as a driver asks, after it made a chain available. */
static bool
driver_has_to_kick(const struct driver_queue *queue)
{
	uint16_t idx = queue->avail->idx, event;

	assert_false(queue->packed);
	memcpy(&event, &queue->used->ring[queue->size], sizeof(event));
	return event == (uint16_t)(idx - 1);
}

static void
test_kicked(void **state)
{
	struct loop *loop = loop_open();
	struct rig *rig = rig_open(&(struct rig_options){.n_pairs = N_PAIRS, .loop = loop});
	const uint8_t on[] = {CLASS_RX, 1, 1};
	uint64_t one = 1, huge = UINT64_MAX - 1;
	int fd = rig->kick_fds[rig->controlq];
	uint64_t tag;
	uint32_t len;

	loop_iteration(loop);
	for (uint64_t i = 0; i < 100; i++) {
		rig_send(rig, &plain, on, sizeof(on), 1, i);
		assert_true(driver_has_to_kick(&rig->driver));
		assert_false(driver_get(&rig->driver, &tag, &len));
		kick(fd);
		loop_iteration(loop);
		assert_true(driver_get(&rig->driver, &tag, &len));
		assert_int_equal(tag, i);
	}
	/* Many at once, one kick. */
	for (uint64_t i = 0; i < 200; i++)
		rig_send(rig, &plain, on, sizeof(on), 1, i);
	kick(fd);
	loop_iteration(loop);
	for (uint64_t i = 0; i < 200; i++)
		assert_true(driver_get(&rig->driver, &tag, &len));
	/* A front-end that takes kicks away, or makes the descriptor block and fills it, holds nobody up. */
	assert_int_equal(fcntl(fd, F_SETFL, 0), 0);
	kick(fd);
	assert_int_equal(read(fd, &one, sizeof(one)), sizeof(one));
	loop_iteration(loop);
	assert_int_equal(write(fd, &huge, sizeof(huge)), sizeof(huge));
	for (uint64_t i = 0; i < 200; i++)
		rig_send(rig, &plain, on, sizeof(on), 1, i);
	loop_iteration(loop);
	assert_int_equal(read(fd, &one, sizeof(one)), sizeof(one));
	kick(fd);
	loop_iteration(loop);
	for (uint64_t i = 0; i < 200; i++)
		assert_true(driver_get(&rig->driver, &tag, &len));
	rig_close(rig);
	loop_iteration(loop);
	loop_close(loop);
}

/* What was made available before the queue ran is found without a kick; a new descriptor takes over. */
static void
test_kick_descriptor_changes(void **state)
{
	struct loop *loop = loop_open();
	struct rig *rig = rig_open(&(struct rig_options){.n_pairs = N_PAIRS, .loop = loop});
	const uint8_t on[] = {CLASS_RX, 1, 1};
	int fd = eventfd(0, EFD_CLOEXEC);
	struct diag diag;
	uint64_t tag;
	uint32_t len;

	rig_send(rig, &plain, on, sizeof(on), 1, 1);
	loop_iteration(loop);
	assert_true(driver_get(&rig->driver, &tag, &len));
	assert_int_equal(vdev_queue_set_kick(&rig->dev->vdev, rig->controlq, fd, &diag), 0);
	loop_iteration(loop);
	rig_send(rig, &plain, on, sizeof(on), 1, 2);
	kick(fd);
	loop_iteration(loop);
	assert_true(driver_get(&rig->driver, &tag, &len));
	rig_close(rig);
	loop_iteration(loop);
	loop_close(loop);
}

static void
test_polled_without_kick_descriptor(void **state)
{
	struct loop *loop = loop_open();
	struct rig *rig = rig_open(&(struct rig_options){.n_pairs = N_PAIRS, .loop = loop, .kickless = true});
	const uint8_t on[] = {CLASS_RX, 1, 1};
	uint64_t tag;
	uint32_t len;

	for (uint64_t i = 0; i < 5; i++) {
		bool back = false;

		rig_send(rig, &plain, on, sizeof(on), 1, i);
		for (unsigned int turn = 0; turn < 100 && !back; turn++) {
			assert_int_equal(loop_run_once(loop, 5), 0);
			back = driver_get(&rig->driver, &tag, &len);
		}
		assert_true(back);
	}
	rig_close(rig);
	loop_iteration(loop);
	loop_close(loop);
}

/* --- what takes effect, and when --- */

static bool
wanted(const struct rig *rig, uint64_t dst)
{
	return wanted_at(rig, dst, UNTAGGED, 0);
}

static bool
wanted_tagged(const struct rig *rig, uint64_t dst, int vlan)
{
	return wanted_at(rig, dst, vlan, 0);
}

#define OTHER 0x020000001234ull
#define MULTICAST 0x01005e000001ull
#define BROADCAST 0xffffffffffffull
#define OWN 0x525400123456ull
#define UNICAST_N(n) (0x020000000000ull + (n))
#define MULTICAST_N(n) (0x010000000000ull + (n))

static void
test_C99_promisc_and_allmulti(void **state)
{
	struct rig *rig = rig_usual();

	/* After a reset: promiscuous, as drivers expect. */
	assert_true(wanted(rig, OTHER) && wanted(rig, MULTICAST) && wanted_tagged(rig, OTHER, 7));
	assert_true(rig_do_byte(rig, CLASS_RX, 0, 0));
	assert_true(wanted(rig, OWN) && wanted(rig, BROADCAST));
	assert_false(wanted(rig, OTHER) || wanted(rig, MULTICAST));
	assert_true(rig_do_byte(rig, CLASS_RX, 1, 1));
	assert_true(wanted(rig, MULTICAST) && !wanted(rig, OTHER));
	assert_true(rig_do_byte(rig, CLASS_RX, 1, 0));
	assert_false(wanted(rig, MULTICAST));
	rig_close(rig);
}

static void
test_C100_promisc_overrides_other_modes(void **state)
{
	struct rig *rig = rig_usual();

	for (uint8_t command = 3; command <= 5; command++)
		assert_true(rig_do_byte(rig, CLASS_RX, command, 1));
	assert_true(wanted(rig, OTHER) && wanted(rig, MULTICAST) && wanted(rig, BROADCAST));
	assert_true(rig_do_byte(rig, CLASS_RX, 0, 0));
	assert_false(wanted(rig, OWN) || wanted(rig, MULTICAST) || wanted(rig, BROADCAST));
	rig_close(rig);
}

static void
test_C102_extra_modes(void **state)
{
	struct rig *rig = rig_usual();

	assert_true(rig_do_byte(rig, CLASS_RX, 0, 0));
	/* C103 */
	assert_true(rig_do_byte(rig, CLASS_RX, 2, 1));
	assert_true(wanted(rig, OTHER) && !wanted(rig, MULTICAST));
	/* C105: NOUNI beats ALLUNI. */
	assert_true(rig_do_byte(rig, CLASS_RX, 4, 1));
	assert_false(wanted(rig, OTHER) || wanted(rig, OWN));
	assert_true(rig_do_byte(rig, CLASS_RX, 4, 0));
	assert_true(wanted(rig, OTHER));
	/* C104: NOMULTI beats ALLMULTI, broadcast is not multicast. */
	assert_true(rig_do_byte(rig, CLASS_RX, 1, 1));
	assert_true(rig_do_byte(rig, CLASS_RX, 3, 1));
	assert_true(!wanted(rig, MULTICAST) && wanted(rig, BROADCAST));
	assert_true(rig_do_byte(rig, CLASS_RX, 3, 0));
	/* C106: NOBCAST beats ALLMULTI. */
	assert_true(rig_do_byte(rig, CLASS_RX, 5, 1));
	assert_true(wanted(rig, MULTICAST) && !wanted(rig, BROADCAST));
	rig_close(rig);
}

/* The driver starts anew, told by its front-end's status or by new features. */
static void
rig_reset(struct rig *rig, const struct rig_options *options)
{
	vdev_reset(&rig->dev->vdev);
	rig_start(rig, options);
}

static void
test_C107_mac_table_empty_on_reset(void **state)
{
	for (int status = 0; status < 2; status++) {
		struct rig_options options = {.n_pairs = N_PAIRS, .status = status};
		struct rig *rig = rig_open(&options);

		assert_int_equal(
			rig->dev->settings->filter.unicast.n + rig->dev->settings->filter.multicast.n, 0);
		assert_true(rig_do_data(rig, CLASS_MAC, 0, data_macs(3, 65)));
		assert_true(rig_do_byte(rig, CLASS_RX, 0, 0));
		assert_true(wanted(rig, UNICAST_N(2)) && wanted(rig, MULTICAST_N(99)));
		rig_reset(rig, &options);
		assert_int_equal(
			rig->dev->settings->filter.unicast.n + rig->dev->settings->filter.multicast.n, 0);
		assert_true(rig_do_byte(rig, CLASS_RX, 0, 0));
		assert_false(wanted(rig, UNICAST_N(2)) || wanted(rig, MULTICAST_N(99)));
		rig_close(rig);
	}
}

/* By the time of the answer the filter of every receiveq is the new one. */
static void
test_C108_mac_table_updated_before_the_answer(void **state)
{
	struct rig *rig = rig_usual();

	assert_true(rig_do_byte(rig, CLASS_RX, 0, 0));
	assert_true(rig_do_data(rig, CLASS_MAC, 0, data_macs(2, 3)));
	for (uint16_t pair = 0; pair < N_PAIRS; pair++) {
		assert_true(wanted_at(rig, UNICAST_N(1), UNTAGGED, pair));
		assert_true(wanted_at(rig, MULTICAST_N(2), UNTAGGED, pair));
		assert_false(wanted_at(rig, UNICAST_N(2), UNTAGGED, pair));
		assert_false(wanted_at(rig, MULTICAST_N(3), UNTAGGED, pair));
		assert_true(wanted_at(rig, OWN, UNTAGGED, pair));
	}
	/* The table is replaced, not added to. */
	assert_true(rig_do_data(rig, CLASS_MAC, 0, data_macs(0, 1)));
	assert_true(!wanted(rig, UNICAST_N(1)) && wanted(rig, MULTICAST_N(0)) &&
		    !wanted(rig, MULTICAST_N(2)));
	rig_close(rig);
}

static void
test_C109_mac_in_config_before_the_answer(void **state)
{
	struct rig *rig = rig_usual();
	const uint8_t mac[] = {2, 0, 0, 0, 0x12, 0x34};
	uint8_t space[VDEV_CONFIG_MAX];

	assert_true(vnet_config_read(&rig->dev->vdev, space) >= 6);
	assert_memory_equal(space, own_mac.addr_bytes, 6);
	assert_true(rig_do_byte(rig, CLASS_RX, 0, 0));
	assert_true(rig_do(rig, CLASS_MAC, 1, mac, 6));
	vnet_config_read(&rig->dev->vdev, space);
	assert_memory_equal(space, mac, 6);
	assert_true(wanted(rig, UNICAST_N(0x1234)) && !wanted(rig, OWN));
	/* A reset brings the device's own back. */
	rig_reset(rig, &(struct rig_options){.n_pairs = N_PAIRS});
	vnet_config_read(&rig->dev->vdev, space);
	assert_memory_equal(space, own_mac.addr_bytes, 6);
	rig_close(rig);
}

/* C110 and C111: 64 in both tables together; a table that does not fit lets in all of its kind. */
static void
test_C111_mac_tables_and_their_overflow(void **state)
{
	const struct {
		unsigned int n_unicast, n_multicast;
		bool unicast_overflows, multicast_overflows;
	} cases[] = {
		{0, 0, false, false},   {64, 0, false, false}, {0, 64, false, false}, {60, 4, false, false},
		{60, 5, false, true},   {64, 1, false, true},  {65, 0, true, false},  {65, 64, true, false},
		{1000, 65, true, true}, {0, 65, false, true},
	};
	struct rig *rig = rig_usual();

	assert_true(rig_do_byte(rig, CLASS_RX, 0, 0));
	for (size_t i = 0; i < RTE_DIM(cases); i++) {
		const struct vnet_settings *settings = rig->dev->settings;

		assert_true(
			rig_do_data(rig, CLASS_MAC, 0, data_macs(cases[i].n_unicast, cases[i].n_multicast)));
		assert_int_equal(settings->filter.unicast.overflow, cases[i].unicast_overflows);
		assert_int_equal(settings->filter.multicast.overflow, cases[i].multicast_overflows);
		assert_int_equal(settings->filter.unicast.n,
				 cases[i].unicast_overflows ? 0 : cases[i].n_unicast);
		assert_int_equal(settings->filter.multicast.n,
				 cases[i].multicast_overflows ? 0 : cases[i].n_multicast);
		for (unsigned int n = 0; n < 70; n++) {
			assert_int_equal(wanted(rig, UNICAST_N(n)),
					 cases[i].unicast_overflows || n < cases[i].n_unicast);
			assert_int_equal(wanted(rig, MULTICAST_N(n)),
					 cases[i].multicast_overflows || n < cases[i].n_multicast);
		}
	}
	rig_close(rig);
}

/* Counts that lie: hostile/N09. */
static void
test_mac_table_counts_that_lie(void **state)
{
	const struct known table = {.name = "MAC_TABLE_SET", .class = CLASS_MAC};
	const uint32_t counts[] = {4, 5, 0x7fffffff, 0x80000000, 0xffffffff, 0x2aaaaaab, 0x55555556};
	struct rig *rig = rig_usual();
	uint8_t bytes[100];

	assert_true(rig_do_data(rig, CLASS_MAC, 0, data_macs(3, 3)));
	for (size_t i = 0; i < RTE_DIM(counts); i++) {
		const struct data *data = data_macs(3, 3);
		uint32_t count = rte_cpu_to_le_32(counts[i]);

		memcpy(bytes, data->bytes, data->len);
		memcpy(bytes, &count, 4);
		refused(rig, &table, bytes, data->len);
		memcpy(bytes, data->bytes, data->len);
		memcpy(bytes + 22, &count, 4);
		refused(rig, &table, bytes, data->len);
	}
	for (uint32_t len = 0; len < 44; len++)
		refused(rig, &table, data_macs(3, 3)->bytes, len);
	/* 2^31 addresses are 0 bytes in 32 bits. */
	refused(rig, &table, (const uint8_t[8]){0, 0, 0, 0, 0, 0, 0, 0x80}, 8);
	refused(rig, &table, (const uint8_t[8]){0, 0, 0, 0x80, 0, 0, 0, 0}, 8);
	rig_close(rig);
}

static void
test_C112_without_ctrl_vlan_all_tags_are_let_in(void **state)
{
	struct rig *rig =
		rig_open(&(struct rig_options){.n_pairs = N_PAIRS, .without = FEATURE_MASK(NET_CTRL_VLAN)});

	assert_true(rig_do_byte(rig, CLASS_RX, 0, 0));
	for (int vlan = 0; vlan < FILTER_VLANS; vlan++)
		assert_true(wanted_tagged(rig, OWN, vlan));
	rig_close(rig);
}

static void
test_C113_vlan_table(void **state)
{
	struct rig_options options = {.n_pairs = N_PAIRS};
	struct rig *rig = rig_open(&options);

	assert_true(rig_do_byte(rig, CLASS_RX, 0, 0));
	/* Tag 0 is a priority, not a VLAN. */
	for (int vlan = 0; vlan < FILTER_VLANS; vlan++)
		assert_int_equal(wanted_tagged(rig, OWN, vlan), vlan == 0);
	assert_true(wanted(rig, OWN));
	assert_true(rig_do_le16(rig, CLASS_VLAN, 0, 0));
	assert_true(rig_do_le16(rig, CLASS_VLAN, 0, 64));
	assert_true(rig_do_le16(rig, CLASS_VLAN, 0, 4095));
	/* What is there already, or is not there, is no error: the table is as the driver wants it. */
	assert_true(rig_do_le16(rig, CLASS_VLAN, 0, 4095));
	assert_true(rig_do_le16(rig, CLASS_VLAN, 1, 5));
	for (int vlan = 0; vlan < FILTER_VLANS; vlan++)
		assert_int_equal(wanted_tagged(rig, OWN, vlan), vlan == 0 || vlan == 64 || vlan == 4095);
	assert_true(rig_do_le16(rig, CLASS_VLAN, 1, 64));
	assert_true(!wanted_tagged(rig, OWN, 64) && wanted_tagged(rig, OWN, 4095));
	rig_reset(rig, &options);
	assert_true(rig_do_byte(rig, CLASS_RX, 0, 0));
	assert_false(wanted_tagged(rig, OWN, 4095));
	rig_close(rig);
}

static unsigned int
config_status(const struct rig *rig)
{
	uint8_t space[VDEV_CONFIG_MAX];

	vnet_config_read(&rig->dev->vdev, space);
	return space[6] + space[7] * 256u;
}

static void
test_C114_announce_cleared_before_the_answer(void **state)
{
	struct rig *rig = rig_usual();

	assert_int_equal(config_status(rig), 1);
	assert_false(rig_do(rig, CLASS_ANNOUNCE, 0, NULL, 0));
	rig_announce(rig);
	assert_int_equal(config_status(rig), 3);
	assert_true(rig_do(rig, CLASS_ANNOUNCE, 0, NULL, 0));
	assert_int_equal(config_status(rig), 1);
	assert_false(rig_do(rig, CLASS_ANNOUNCE, 0, NULL, 0));
	rig_announce(rig);
	rig_reset(rig, &(struct rig_options){.n_pairs = N_PAIRS});
	assert_int_equal(config_status(rig), 1);
	rig_close(rig);
}

/* --- queue pairs, RSS, hashes --- */

static bool
transmitq_is_open(const struct rig *rig, unsigned int pair)
{
	return virtq_conf(&rig->dev->queues[pair].from_guest)->enabled;
}

/* Where a frame for the device goes: IPv4 and UDP, or, without, something that has no hash. */
static uint16_t
picked(struct rig *rig, bool udp)
{
	const struct port_steer *steer = atomic_load(&rig->port.steer);
	struct rte_mbuf *pkt = rte_pktmbuf_alloc(pool);
	static const uint8_t ip[] = {0x45, 0, 0, 50, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2};
	uint8_t *frame = (uint8_t *)rte_pktmbuf_append(pkt, 64);
	uint16_t pair = 0;

	memset(frame, 0, 64);
	frame[12] = udp ? 0x08 : 0x88;
	memcpy(frame + 14, ip, sizeof(ip));
	assert_non_null(steer);
	steer->pick(steer, &rig->port, &rig->port.queues[1], &pkt, 1, &pair);
	rte_pktmbuf_free(pkt);
	return pair;
}

static void
test_C96_hash_report_can_be_configured(void **state)
{
	/* By RSS_CONFIG where RSS is offered, with a single pair, too; by HASH_CONFIG all the same. */
	for (uint16_t n_pairs = 1; n_pairs <= N_PAIRS; n_pairs += 3) {
		struct rss rss = {
			.types = HASH_TYPE_UDPV4, .mask = 0, .entry = 0, .max_tx_vq = 1, .key_len = 40};
		struct rig *rig = rig_open(&(struct rig_options){.n_pairs = n_pairs});

		assert_int_equal(rig->dev->settings->steer.hash.types, 0);
		assert_true(rig_rss(rig, &rss));
		assert_int_equal(rig->dev->settings->steer.hash.types, HASH_TYPE_UDPV4);
		assert_true(rig_do_data(rig, CLASS_MQ, 2, data_hash(HASH_TYPE_TCPV4, 0, 40)));
		assert_int_equal(rig->dev->settings->steer.hash.types, HASH_TYPE_TCPV4);
		assert_false(rig->dev->settings->steer.rss.enabled);
		/* Reserved words are ignored: drivers have left things there. */
		assert_true(rig_do_data(rig, CLASS_MQ, 2, data_hash(HASH_TYPE_TCPV6, 4, 40)));
		/* No types need no key, and the other way round not. */
		assert_true(rig_do_data(rig, CLASS_MQ, 2, data_hash(0, 0, 0)));
		assert_false(rig_do_data(rig, CLASS_MQ, 2, data_hash(1, 0, 0)));
		assert_false(rig_do_data(rig, CLASS_MQ, 2, data_hash(1, 0, 41)));
		rig_close(rig);
	}
}

static void
test_C115_one_pair_after_reset(void **state)
{
	struct rig_options options = {.n_pairs = N_PAIRS};
	struct rig *rig = rig_open(&options);

	for (int again = 0; again < 2; again++) {
		assert_int_equal(atomic_load(&rig->port.n_active), 1);
		assert_true(transmitq_is_open(rig, 0));
		for (unsigned int pair = 1; pair < N_PAIRS; pair++)
			assert_false(transmitq_is_open(rig, pair));
		assert_true(again ? rig_do_le16(rig, CLASS_MQ, 0, 4) : rig_rss(rig, &usual_rss));
		assert_int_equal(atomic_load(&rig->port.n_active), 4);
		rig_reset(rig, &options);
	}
	rig_close(rig);
}

/* A front-end may enable every pair whatever the driver does. Frames go where buffers have been. */
static void
test_pairs_without_buffers(void **state)
{
	for (uint32_t traits = 0; traits <= TRAIT_PACKED; traits += TRAIT_PACKED) {
		struct rig_options options = {.n_pairs = N_PAIRS, .traits = traits, .unfilled = true};
		struct rig *rig = rig_open(&options);

		for (int again = 0; again < 2; again++) {
			/* The driver's word alone fills no queue; nor does the front-end's. */
			assert_true(rig_do_le16(rig, CLASS_MQ, 0, N_PAIRS));
			assert_int_equal(atomic_load(&rig->port.n_active), 1);
			vdev_queue_get_base(&rig->dev->vdev, rig->controlq);
			assert_false(vnet_controlq_is_ours(rig->dev));
			assert_int_equal(atomic_load(&rig->port.n_active), 1);
			for (unsigned int i = 0; i < 64; i++)
				assert_int_equal(picked(rig, true), 0);
			/* Pair 0 may be the last to get some. */
			rig_fill(rig, 1);
			vnet_look(rig->dev);
			assert_int_equal(atomic_load(&rig->port.n_active), 2);
			rig_fill(rig, 0);
			/* A gap: what is above waits until it is closed. */
			rig_fill(rig, 3);
			vnet_look(rig->dev);
			assert_int_equal(atomic_load(&rig->port.n_active), 2);
			rig_fill(rig, 2);
			vnet_look(rig->dev);
			assert_int_equal(atomic_load(&rig->port.n_active), 4);
			/* Used once is enough: buffers come and go. */
			for (unsigned int pair = 0; pair < N_PAIRS; pair++) {
				struct virtq *vq = &rig->dev->queues[pair].to_guest;
				struct virtq_cursor at = vq->avail;
				struct virtq_elem elem = {0};

				assert_int_equal(virtq_fetch(vq, virtq_conf(vq), &at, &elem, 1, traits), 1);
				virtq_retire(vq, virtq_conf(vq), &elem, 0, traits);
				virtq_publish(vq, virtq_conf(vq), traits);
				assert_false(virtq_look_available(vq, virtq_conf(vq)));
			}
			vnet_look(rig->dev);
			assert_int_equal(atomic_load(&rig->port.n_active), 4);
			vdev_queue_set_enable(&rig->dev->vdev, 6, false, &(struct diag){0});
			assert_int_equal(atomic_load(&rig->port.n_active), 3);
			vdev_queue_set_enable(&rig->dev->vdev, 6, true, &(struct diag){0});
			assert_int_equal(atomic_load(&rig->port.n_active), 4);
			/* Another driver's pairs are no business of this one. */
			rig_reset(rig, &options);
			assert_int_equal(atomic_load(&rig->port.n_active), 1);
		}
		rig_close(rig);
	}
}

/* Frames stop at the queues above, and only then those queues close. */
static unsigned int n_waits;
static struct rig *waiting_rig;

static void
on_wait(void *arg)
{
	/* As long as workers may see the old steering, its transmitqs are open. */
	if (waiting_rig && n_waits < 3) {
		assert_int_equal(atomic_load(&waiting_rig->port.n_active), 2);
		assert_true(transmitq_is_open(waiting_rig, 3));
	}
	n_waits++;
}

static void
test_C116_nothing_above_the_pairs(void **state)
{
	struct rig *rig = rig_usual();

	for (uint16_t n_pairs = 1; n_pairs <= N_PAIRS; n_pairs++) {
		assert_true(rig_do_le16(rig, CLASS_MQ, 0, n_pairs));
		assert_int_equal(atomic_load(&rig->port.n_active), n_pairs);
		for (unsigned int pair = 0; pair < N_PAIRS; pair++)
			assert_int_equal(transmitq_is_open(rig, pair), pair < n_pairs);
		for (unsigned int i = 0; n_pairs > 1 && i < 50; i++)
			assert_true(picked(rig, i % 2) < n_pairs);
	}
	waiting_rig = rig;
	n_waits = 0;
	quiesce_set_wait(on_wait, NULL);
	assert_true(rig_do_le16(rig, CLASS_MQ, 0, 2));
	quiesce_set_wait(NULL, NULL);
	assert_true(n_waits >= 4);
	assert_false(transmitq_is_open(rig, 3));
	rig_close(rig);
}

static void
test_C119_rss_picks_from_the_table(void **state)
{
	struct rig *rig = rig_usual();
	struct rss rss = {.types = HASH_TYPES_ALL,
			  .mask = 0,
			  .unclassified = 3,
			  .entry = 2,
			  .max_tx_vq = 1,
			  .key_len = 40};

	assert_true(rig_rss(rig, &rss));
	assert_int_equal(picked(rig, true), 2);
	assert_int_equal(picked(rig, false), 3);
	/* The table says where frames go, not the number of pairs; that is for transmitqs. */
	assert_int_equal(atomic_load(&rig->port.n_active), N_PAIRS);
	assert_false(transmitq_is_open(rig, 1));
	rss.types = 0;
	assert_true(rig_rss(rig, &rss));
	assert_int_equal(picked(rig, true), 3);
	rig_close(rig);
}

static void
test_C121_rss_parameters(void **state)
{
	struct rig *rig = rig_usual();
	const struct vnet_settings *settings = rig->dev->settings;
	struct rss rss;

	for (uint32_t len = 1; len <= 256; len++) {
		bool good = (len & (len - 1)) == 0 && len <= 128;

		rss = usual_rss;
		rss.mask = (uint16_t)(len - 1);
		assert_int_equal(rig_rss(rig, &rss), good);
		if (good)
			assert_int_equal(settings->steer.rss.table_len, len);
	}
	rss = usual_rss;
	rss.mask = 0xffff;
	assert_false(rig_rss(rig, &rss));
	for (unsigned int n = 0; n < 65536; n += n < 20 ? 1 : 997) {
		rss = usual_rss;
		rss.entry = (uint16_t)n;
		assert_int_equal(rig_rss(rig, &rss), n < N_PAIRS);
		rss = usual_rss;
		rss.unclassified = (uint16_t)n;
		assert_int_equal(rig_rss(rig, &rss), n < N_PAIRS);
		rss = usual_rss;
		rss.max_tx_vq = (uint16_t)n;
		assert_int_equal(rig_rss(rig, &rss), n >= 1 && n <= N_PAIRS);
	}
	for (unsigned int n = 0; n < 256; n++) {
		rss = usual_rss;
		rss.key_len = (uint8_t)n;
		assert_int_equal(rig_rss(rig, &rss), n >= 1 && n <= 40);
	}
	for (unsigned int bit = 0; bit < 32; bit++) {
		rss = usual_rss;
		rss.types = 1u << bit;
		assert_int_equal(rig_rss(rig, &rss), bit < 9);
	}
	rss = usual_rss;
	rss.key_len = 16;
	rss.max_tx_vq = 3;
	assert_true(rig_do_le16(rig, CLASS_MQ, 0, 1));
	assert_true(rig_rss(rig, &rss));
	assert_int_equal(settings->steer.hash.key_len, 16);
	assert_int_equal(settings->steer.hash.key[15], 16);
	assert_int_equal(settings->steer.hash.key[16], 0);
	assert_int_equal(settings->n_pairs, 3);
	/* Drivers have left an old number in max_tx_vq: it silences no transmitq. */
	rss.max_tx_vq = 2;
	assert_true(rig_rss(rig, &rss));
	assert_int_equal(settings->n_pairs, 3);
	assert_int_equal(settings->steer.rss.unclassified_queue, 3);
	assert_int_equal(settings->steer.rss.table[126], 1);
	assert_int_equal(settings->steer.rss.table[127], 2);
	rig_close(rig);
}

/* Too short, too long, or with a key that ends elsewhere than it says: by every length. */
static void
test_C121_rss_length_is_exact(void **state)
{
	const struct known rss = {.name = "MQ_RSS_CONFIG", .class = CLASS_MQ, .command = 1};
	const struct data *data = data_rss(&usual_rss);
	struct rig *rig = rig_usual();

	for (uint32_t len = 0; len < data->len + 4; len++)
		if (len != data->len)
			refused(rig, &rss, data->bytes, len);
	assert_false(rig->dev->settings->steer.rss.enabled);
	rig_close(rig);
}

static void
test_C121_the_last_of_both_wins(void **state)
{
	struct rig *rig = rig_usual();

	assert_true(rig_do_le16(rig, CLASS_MQ, 0, 2));
	assert_true(rig_rss(rig, &usual_rss));
	assert_int_equal(rig->dev->settings->n_pairs, 4);
	assert_int_equal(picked(rig, false), 3);
	assert_true(rig_do_le16(rig, CLASS_MQ, 0, 2));
	assert_false(rig->dev->settings->steer.rss.enabled);
	assert_int_equal(atomic_load(&rig->port.n_active), 2);
	for (unsigned int i = 0; i < 50; i++)
		assert_true(picked(rig, i % 2) < 2);
	/* A refused one leaves the mode as it was. */
	assert_true(rig_rss(rig, &usual_rss));
	assert_false(rig_do_le16(rig, CLASS_MQ, 0, 5));
	assert_true(rig->dev->settings->steer.rss.enabled);
	rig_close(rig);
}

static void
test_C122_guest_offloads(void **state)
{
	const uint64_t csum = FEATURE_MASK(NET_GUEST_CSUM), tso4 = FEATURE_MASK(NET_GUEST_TSO4),
		       tso6 = FEATURE_MASK(NET_GUEST_TSO6), ecn = FEATURE_MASK(NET_GUEST_ECN);
	struct rig *rig = rig_open(&(struct rig_options){.n_pairs = N_PAIRS, .without = ecn});

	/* All that were negotiated are on. */
	assert_int_equal(virtq_conf(&rig->dev->queues[0].to_guest)->offloads, csum | tso4 | tso6);
	for (uint64_t bits = 0; bits < 16; bits++) {
		uint64_t offloads = (bits & 1 ? csum : 0) | (bits & 2 ? tso4 : 0) | (bits & 4 ? tso6 : 0) |
				    (bits & 8 ? ecn : 0);
		bool good = !(bits & 8) && (!(bits & 6) || bits & 1);
		uint64_t le = rte_cpu_to_le_64(offloads);

		assert_int_equal(rig_do(rig, CLASS_OFFLOADS, 0, &le, 8), good);
		for (unsigned int pair = 0; good && pair < N_PAIRS; pair++)
			assert_int_equal(virtq_conf(&rig->dev->queues[pair].to_guest)->offloads, offloads);
	}
	rig_close(rig);
}

/* --- coalescing --- */

/* What VQ_GET says: packets * 1000 + usecs, or -1 for ERR. */
static int
coal(struct rig *rig, uint16_t idx)
{
	uint8_t data[4] = {(uint8_t)idx, (uint8_t)(idx >> 8), 0xab, 0xcd};
	struct answer answer = rig_ask(rig, &plain, CLASS_COAL, 3, data, 4, 8);

	if (answer.ack)
		return -1;
	assert_int_equal(answer.len, 9);
	return (int)(controlq_le32(answer.result) * 1000 + controlq_le32(answer.result + 4));
}

static void
test_C123_coalescing_of_queues(void **state)
{
	struct rig *rig = rig_usual();

	assert_true(rig_do_le16(rig, CLASS_MQ, 0, 2));
	for (uint16_t idx = 0; idx < 4; idx++)
		assert_int_equal(coal(rig, idx), 0);
	/* The example of the specification. */
	assert_true(rig_do_data(rig, CLASS_COAL, 1, data_coal(-1, 1, 11)));
	assert_int_equal(coal(rig, 0), 1011);
	assert_int_equal(coal(rig, 2), 1011);
	assert_int_equal(coal(rig, 1), 0);
	assert_true(rig_do_data(rig, CLASS_COAL, 2, data_coal(0, 2, 22)));
	assert_int_equal(coal(rig, 0), 2022);
	assert_int_equal(coal(rig, 2), 1011);
	assert_true(rig_do_data(rig, CLASS_COAL, 2, data_coal(1, 4, 44)));
	assert_int_equal(coal(rig, 3), 0);
	assert_true(rig_do_data(rig, CLASS_COAL, 0, data_coal(-1, 5, 55)));
	assert_int_equal(coal(rig, 1), 5055);
	assert_int_equal(coal(rig, 3), 5055);
	assert_int_equal(coal(rig, 0), 2022);
	/* Not used, not a data queue, not a queue. */
	for (unsigned int idx = 4; idx < 65536; idx += idx < 20 ? 1 : 509) {
		assert_int_equal(coal(rig, (uint16_t)idx), -1);
		assert_false(rig_do_data(rig, CLASS_COAL, 2, data_coal((int)idx, 1, 1)));
	}
	/* Workers see it. */
	assert_int_equal(virtq_conf(&rig->dev->queues[0].to_guest)->coal_max_packets, 2);
	assert_int_equal(virtq_conf(&rig->dev->queues[1].from_guest)->coal_max_packets, 5);
	/* No room for the result: ERR, and one byte. */
	assert_int_equal(rig_ask(rig, &plain, CLASS_COAL, 3, "\0\0\0\0", 4, 7).ack, 1);
	rig_reset(rig, &(struct rig_options){.n_pairs = N_PAIRS});
	assert_int_equal(coal(rig, 0), 0);
	assert_int_equal(coal(rig, 1), 0);
	rig_close(rig);
}

static void
rig_enable(struct rig *rig, unsigned int idx, bool enable)
{
	struct diag diag;

	assert_int_equal(vdev_queue_set_enable(&rig->dev->vdev, idx, enable, &diag), 0);
}

static void
test_C123_a_queue_enabled_again(void **state)
{
	struct rig *rig = rig_usual();

	assert_true(rig_do_le16(rig, CLASS_MQ, 0, 2));
	assert_true(rig_do_data(rig, CLASS_COAL, 2, data_coal(0, 2, 22)));
	assert_true(rig_do_data(rig, CLASS_COAL, 2, data_coal(1, 3, 33)));
	/* Without a global value: 0. With one: that. */
	rig_enable(rig, 0, false);
	assert_int_equal(coal(rig, 0), -1);
	assert_int_equal(coal(rig, 1), 3033);
	rig_enable(rig, 0, true);
	assert_int_equal(coal(rig, 0), 0);
	assert_int_equal(virtq_conf(&rig->dev->queues[0].to_guest)->coal_max_packets, 0);
	assert_int_equal(coal(rig, 1), 3033);
	assert_true(rig_do_data(rig, CLASS_COAL, 0, data_coal(-1, 5, 55)));
	assert_true(rig_do_data(rig, CLASS_COAL, 2, data_coal(1, 3, 33)));
	assert_true(rig_do_data(rig, CLASS_COAL, 2, data_coal(3, 6, 66)));
	rig_enable(rig, 1, false);
	rig_enable(rig, 1, true);
	assert_int_equal(coal(rig, 1), 5055);
	assert_int_equal(virtq_conf(&rig->dev->queues[0].from_guest)->coal_max_packets, 5);
	assert_int_equal(coal(rig, 3), 6066);
	/* The driver does it by the number of pairs, too. */
	assert_true(rig_do_le16(rig, CLASS_MQ, 0, 1));
	assert_int_equal(coal(rig, 3), -1);
	assert_true(rig_do_le16(rig, CLASS_MQ, 0, 3));
	assert_int_equal(coal(rig, 3), 5055);
	rig_close(rig);
}

/* A machine that pauses disables everything, controlq last; its driver knows nothing of it. */
static void
test_C123_a_pause_is_not_the_driver(void **state)
{
	struct rig *rig = rig_usual();

	assert_true(rig_do_data(rig, CLASS_COAL, 2, data_coal(0, 2, 22)));
	for (unsigned int i = 0; i <= rig->controlq; i++)
		rig_enable(rig, i, false);
	for (unsigned int i = 0; i <= rig->controlq; i++)
		rig_enable(rig, i, true);
	assert_int_equal(coal(rig, 0), 2022);
	/* Nor is a link that goes down. */
	vnet_set_link(rig->dev, &(struct port_link){.up = false});
	assert_int_equal(coal(rig, 0), 2022);
	vnet_set_link(rig->dev, &(struct port_link){.up = true});
	assert_int_equal(coal(rig, 0), 2022);
	rig_close(rig);
}

/* Under RSS a receiveq is used whatever the number of pairs. */
static void
test_C123_coalescing_under_rss(void **state)
{
	struct rig *rig = rig_usual();
	struct rss rss = usual_rss;

	rss.max_tx_vq = 1;
	assert_true(rig_rss(rig, &rss));
	assert_int_equal(coal(rig, 6), 0);
	assert_int_equal(coal(rig, 7), -1);
	rig_close(rig);
}

/* --- statistics --- */

enum { RX_BASIC = 0, TX_BASIC = 16, CVQ = 32 };

static uint64_t
reply_counter(const struct answer *answer, uint32_t at, unsigned int i)
{
	return controlq_le64(answer->result + at + 8 + 8 * i);
}

static void
reply_is(const struct answer *answer, uint32_t at, uint8_t type, uint16_t idx, uint16_t size)
{
	const uint8_t *hdr = answer->result + at;

	assert_int_equal(hdr[0], type);
	assert_int_equal(hdr[1], 0);
	assert_int_equal(controlq_le16(hdr + 2), idx);
	assert_int_equal(controlq_le16(hdr + 4), 0);
	assert_int_equal(controlq_le16(hdr + 6), size);
}

static void
test_C125_query(void **state)
{
	struct rig *rig = rig_usual();
	struct answer answer = rig_ask(rig, &plain, CLASS_STATS, 0, NULL, 0, 8);

	assert_int_equal(answer.len, 9);
	assert_int_equal(answer.ack, 0);
	assert_int_equal(controlq_le64(answer.result), 1ull << RX_BASIC | 1ull << TX_BASIC | 1ull << CVQ);
	/* More room changes nothing, less is not enough. */
	assert_int_equal(rig_ask(rig, &plain, CLASS_STATS, 0, NULL, 0, 100).len, 9);
	assert_int_equal(rig_ask(rig, &plain, CLASS_STATS, 0, NULL, 0, 7).len, 1);
	rig_close(rig);

	rig = rig_open(&(struct rig_options){.n_pairs = N_PAIRS, .portless = true});
	answer = rig_ask(rig, &plain, CLASS_STATS, 0, NULL, 0, 8);
	assert_int_equal(controlq_le64(answer.result), 1ull << CVQ);
	rig_close(rig);
}

static void
test_C125_counters(void **state)
{
	struct rig *rig = rig_usual();
	struct port_stats *stats = &rig->port.queues[1].stats;
	struct data data = {.len = 0};
	struct answer answer;

	*stats = (struct port_stats){
		.rx_packets = 1000, .rx_bytes = 90000, .tx_packets = 2000, .tx_bytes = 180000};
	/* From the guest: 3 + 5 + 7 + 11 + 13, of these 4 with the link down; to it: 2 malformed, 6 link
	 * down. */
	stats->drops[DROP_MALFORMED] = 3 + 2;
	stats->drops[DROP_RUNT] = 5;
	stats->drops[DROP_OVERSIZE] = 7;
	stats->drops[DROP_BAD_OFFLOAD] = 11;
	stats->drops[DROP_DISABLED] = 9;
	stats->drops[DROP_LINK_DOWN] = 4 + 6;
	rig->dev->queues[1].discarded_packets = 13;
	rig->dev->queues[1].discarded_bytes = 1300;
	rig->dev->queues[1].unusable_buffers = 2;
	/* After the device: not its drops. */
	stats->drops[DROP_NO_PORT] = stats->drops[DROP_SINK] = stats->drops[DROP_HANDOFF_FULL] = 100;
	stats->drops[DROP_NO_BUFFER] = 20;
	stats->drops[DROP_FILTERED] = 30;
	stats->drops[DROP_NOT_READY] = 40;
	stats->drops[DROP_TOO_LONG] = 50;
	stats->drops[DROP_BROKEN] = 60;
	rig->dev->queues[1].to_guest.notified = 77;
	rig->dev->queues[1].from_guest.notified = 88;
	for (unsigned int i = 0; i < 3; i++)
		kick(rig->kick_fds[2]);
	kick(rig->kick_fds[3]);

	/* Three queues in one command, in the driver's order. */
	put(&data, 3, 2);
	put(&data, 0, 6);
	put(&data, 1ull << TX_BASIC, 8);
	put(&data, 2, 2);
	put(&data, 0, 6);
	put(&data, 1ull << RX_BASIC, 8);
	put(&data, 2 * N_PAIRS, 2);
	put(&data, 0, 6);
	put(&data, 1ull << CVQ, 8);
	answer = rig_ask(rig, &plain, CLASS_STATS, 1, data.bytes, data.len, 500);
	assert_int_equal(answer.ack, 0);
	assert_int_equal(answer.len, 1 + 56 + 56 + 24);
	reply_is(&answer, 0, TX_BASIC, 3, 56);
	assert_int_equal(reply_counter(&answer, 0, 0), 1);
	assert_int_equal(reply_counter(&answer, 0, 1), 1000 - 39);
	assert_int_equal(reply_counter(&answer, 0, 2), 90000 - 1300);
	assert_int_equal(reply_counter(&answer, 0, 3), 88);
	assert_int_equal(reply_counter(&answer, 0, 4), 39);
	assert_int_equal(reply_counter(&answer, 0, 5), 8);
	reply_is(&answer, 56, RX_BASIC, 2, 56);
	assert_int_equal(reply_counter(&answer, 56, 0), 3);
	assert_int_equal(reply_counter(&answer, 56, 1), 2000);
	assert_int_equal(reply_counter(&answer, 56, 2), 180000);
	assert_int_equal(reply_counter(&answer, 56, 3), 77);
	assert_int_equal(reply_counter(&answer, 56, 4), 208);
	assert_int_equal(reply_counter(&answer, 56, 5), 20);
	reply_is(&answer, 112, CVQ, 2 * N_PAIRS, 24);
	assert_int_equal(reply_counter(&answer, 112, 0), 1);
	assert_int_equal(reply_counter(&answer, 112, 1), 1);
	/* Kicks are counted on; commands, good and bad. */
	kick(rig->kick_fds[2]);
	assert_false(rig_do_byte(rig, CLASS_RX, 0, 7));
	answer = rig_ask(rig, &plain, CLASS_STATS, 1, data.bytes, data.len, 500);
	assert_int_equal(reply_counter(&answer, 56, 0), 4);
	assert_int_equal(reply_counter(&answer, 112, 0), 3);
	assert_int_equal(reply_counter(&answer, 112, 1), 2);
	rig_close(rig);
}

/* Every size of the driver's buffer: filled as far as it goes, and not a byte further. */
static void
test_C125_bounded_by_the_buffer(void **state)
{
	struct rig *rig = rig_usual();
	struct data data = {.len = 0};
	uint8_t whole[2 * N_PAIRS * 56];

	for (uint16_t idx = 0; idx < 2 * N_PAIRS; idx++) {
		rig->port.queues[idx / 2].stats.rx_packets = rig->port.queues[idx / 2].stats.tx_packets =
			idx * 1001u;
		put(&data, idx, 2);
		put(&data, 0, 6);
		put(&data, idx % 2 ? 1ull << TX_BASIC : 1ull << RX_BASIC, 8);
	}
	memcpy(whole, rig_ask(rig, &plain, CLASS_STATS, 1, data.bytes, data.len, sizeof(whole)).result,
	       sizeof(whole));
	for (uint32_t room = 0; room <= sizeof(whole) + 20; room++) {
		struct shape shape = {.wcut = room / 2};
		struct answer answer = rig_ask(rig, &shape, CLASS_STATS, 1, data.bytes, data.len, room);

		assert_int_equal(answer.ack, 0);
		assert_int_equal(answer.len, 1 + RTE_MIN(room, (uint32_t)sizeof(whole)));
		assert_memory_equal(answer.result, whole, answer.len - 1);
	}
	rig_close(rig);
}

/* More replies than there is room for in any buffer of ours. */
static void
test_C125_as_many_replies_as_can_be(void **state)
{
	struct rig *rig = rig_usual();
	static struct data data;
	struct answer answer;

	data.len = 0;
	while (data.len + 16 <= CONTROLQ_DATA_MAX) {
		put(&data, data.len / 16 % (2 * N_PAIRS) & ~1u, 2);
		put(&data, 0, 6);
		put(&data, 1ull << RX_BASIC, 8);
	}
	answer = rig_ask(rig, &plain, CLASS_STATS, 1, data.bytes, data.len, ROOM_MAX - 1);
	assert_int_equal(answer.ack, 0);
	assert_int_equal(answer.len, 1 + CONTROLQ_RESULT_MAX);
	rig_close(rig);
}

static void
test_C125_one_error_spoils_all(void **state)
{
	struct rig *rig = rig_usual();
	const struct {
		uint16_t idx, reserved;
		uint64_t types;
	} bad[] = {
		{2 * N_PAIRS + 1, 0, 1ull << CVQ},
		{65535, 0, 1ull << CVQ},
		{0, 0, 1ull << TX_BASIC},
		{1, 0, 1ull << RX_BASIC},
		{0, 0, 1ull << CVQ},
		{2 * N_PAIRS, 0, 1ull << RX_BASIC},
		{0, 0, 1ull << RX_BASIC | 2},
		{0, 0, 1ull << 63},
		{0, 1, 1ull << RX_BASIC},
		{1, 0, 1ull << 19},
	};

	for (size_t i = 0; i < RTE_DIM(bad); i++) {
		for (unsigned int place = 0; place < 3; place++) {
			struct data data = {.len = 0};
			struct answer answer;

			for (unsigned int k = 0; k < 3; k++) {
				put(&data, k == place ? bad[i].idx : 0, 2);
				put(&data, k == place ? bad[i].reserved : 0, 2);
				put(&data, 0, 4);
				put(&data, k == place ? bad[i].types : 1ull << RX_BASIC, 8);
			}
			answer = rig_ask(rig, &plain, CLASS_STATS, 1, data.bytes, data.len, 500);
			assert_int_equal(answer.ack, 1);
			assert_int_equal(answer.len, 1);
		}
	}
	/* Nothing asked of a queue is not wrong. */
	assert_int_equal(rig_ask(rig, &plain, CLASS_STATS, 1, data_ask(0, 0)->bytes, 16, 500).len, 1);
	assert_int_equal(rig->dev->controlq.n_ok, 1);
	rig_close(rig);
}

/* --- what settings are made of --- */

static void
count_wait(void *arg)
{
	n_waits++;
}

/* The same again is answered without anything being built, published or waited for. */
static void
test_repeated_commands_cost_nothing(void **state)
{
	struct rig *rig = rig_usual();
	const struct virtq_conf *conf;

	assert_true(rig_do_byte(rig, CLASS_RX, 0, 0));
	assert_true(rig_do_le16(rig, CLASS_MQ, 0, 3));
	conf = virtq_conf(&rig->dev->queues[0].to_guest);
	n_waits = 0;
	quiesce_set_wait(count_wait, NULL);
	for (unsigned int i = 0; i < 100; i++) {
		assert_true(rig_do_byte(rig, CLASS_RX, 0, 0));
		assert_true(rig_do_le16(rig, CLASS_MQ, 0, 3));
		assert_false(rig_do_byte(rig, CLASS_RX, 0, 9));
		assert_int_equal(coal(rig, 0), 0);
	}
	assert_int_equal(n_waits, 0);
	assert_ptr_equal(virtq_conf(&rig->dev->queues[0].to_guest), conf);
	/* And one that changes something does all of that. */
	assert_true(rig_do_byte(rig, CLASS_RX, 0, 1));
	assert_true(n_waits >= 1);
	quiesce_set_wait(NULL, NULL);
	rig_close(rig);
}

/* Steering is built anew for what steers, the filter for what filters. */
static void
test_only_what_changes_is_built(void **state)
{
	struct rig *rig = rig_usual();
	const struct port_steer *steer;
	const void *filter;

	assert_true(rig_do_byte(rig, CLASS_RX, 0, 0));
	assert_true(rig_do_le16(rig, CLASS_MQ, 0, 3));
	steer = atomic_load(&rig->port.steer);
	filter = rig->dev->filter;
	assert_non_null(filter);
	assert_true(rig_do_le16(rig, CLASS_VLAN, 0, 3));
	assert_ptr_equal(atomic_load(&rig->port.steer), steer);
	filter = rig->dev->filter;
	assert_true(rig_do_le16(rig, CLASS_MQ, 0, 2));
	assert_ptr_equal(rig->dev->filter, filter);
	assert_true(wanted_tagged(rig, OWN, 3) && !wanted_tagged(rig, OWN, 4));
	assert_true(rig_do_data(rig, CLASS_COAL, 0, data_coal(-1, 5, 55)));
	assert_ptr_equal(rig->dev->filter, filter);
	assert_ptr_equal(virtq_conf(&rig->dev->queues[0].to_guest)->filter, filter);
	rig_close(rig);
}

static void
rig_stop(struct rig *rig)
{
	for (unsigned int i = 0; i <= rig->controlq; i++)
		vdev_queue_get_base(&rig->dev->vdev, i);
}

/* A paused machine's front-end sends the same features again; others are another driver's. */
static void
test_settings_and_features(void **state)
{
	struct rig_options options = {.n_pairs = N_PAIRS, .status = true};
	struct rig *rig = rig_open(&options);

	assert_true(rig_rss(rig, &usual_rss));
	assert_true(rig_do_byte(rig, CLASS_RX, 0, 0));
	rig_stop(rig);
	assert_null(rig->dev->filter);
	rig_start(rig, &options);
	assert_true(rig->dev->settings->steer.rss.enabled);
	assert_false(wanted(rig, OTHER));
	assert_int_equal(picked(rig, false), 3);
	rig_stop(rig);
	options.without = FEATURE_MASK(NET_RSS);
	rig_start(rig, &options);
	assert_false(rig->dev->settings->steer.rss.enabled);
	assert_int_equal(rig->dev->settings->steer.hash.types, 0);
	assert_true(wanted(rig, OTHER));
	assert_int_equal(atomic_load(&rig->port.n_active), 1);
	/* A front-end that does not speak of status means another driver in any case. */
	rig_stop(rig);
	options = (struct rig_options){.n_pairs = N_PAIRS};
	rig_start(rig, &options);
	assert_true(rig_do_byte(rig, CLASS_RX, 0, 0));
	rig_stop(rig);
	rig_start(rig, &options);
	assert_true(rig->dev->settings->filter.promisc);
	rig_close(rig);
}

/* A front-end that keeps the controlq to itself: nothing is filtered, all pairs are used. */
static void
test_without_a_controlq_of_ours(void **state)
{
	struct rig *rig = rig_usual();

	assert_true(rig_do_byte(rig, CLASS_RX, 0, 0));
	assert_int_equal(atomic_load(&rig->port.n_active), 1);
	vdev_queue_get_base(&rig->dev->vdev, rig->controlq);
	assert_false(vnet_controlq_is_ours(rig->dev));
	assert_true(wanted(rig, OTHER) && wanted_tagged(rig, OTHER, 9));
	assert_int_equal(atomic_load(&rig->port.n_active), N_PAIRS);
	assert_true(transmitq_is_open(rig, 3));
	assert_int_equal(controlq_serve(&rig->dev->controlq), 0);
	rig_close(rig);
}

/* Until nothing is left: an iteration is bounded in time too, and this process may be interrupted in one. */
static unsigned int
serve_all_of_it(void)
{
	unsigned int n = 0, now;

	while ((now = controlq_serve_all()) != 0)
		n += now;
	return n;
}

/* One after the other in one thread, as a service core does it. */
static void
test_all_devices_are_served(void **state)
{
	struct rig *rigs[3];
	const uint8_t bytes[] = {CLASS_RX, 0, 0};
	uint64_t tag;
	uint32_t len;

	for (unsigned int i = 0; i < 3; i++)
		rigs[i] = rig_usual();
	for (unsigned int i = 0; i < 3; i++) {
		rig_send(rigs[i], &plain, bytes, sizeof(bytes), 1, i);
		rig_send(rigs[i], &plain, bytes, sizeof(bytes), 1, i + 10);
	}
	assert_int_equal(serve_all_of_it(), 6);
	for (unsigned int i = 0; i < 3; i++) {
		assert_true(driver_get(&rigs[i]->driver, &tag, &len) && tag == i && len == 1);
		assert_true(driver_get(&rigs[i]->driver, &tag, &len) && tag == i + 10 && len == 1);
	}
	rig_close(rigs[1]);
	rig_send(rigs[0], &plain, bytes, sizeof(bytes), 1, 1);
	rig_send(rigs[2], &plain, bytes, sizeof(bytes), 1, 1);
	assert_int_equal(serve_all_of_it(), 2);
	rig_close(rigs[0]);
	rig_close(rigs[2]);
	assert_int_equal(controlq_serve_all(), 0);
}

int
main(void)
{
	/* A prefix of its own, so that other DPDK programs on the machine don't matter. */
	char *eal[] = {(char *)"test_controlq",
		       (char *)"--no-huge",
		       (char *)"-m",
		       (char *)"64",
		       (char *)"--no-pci",
		       (char *)"--no-shconf",
		       (char *)"--no-telemetry",
		       (char *)"--file-prefix=test_controlq",
		       (char *)"--log-level=lib.*:error",
		       (char *)"-l",
		       (char *)"0"};
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_commands_refuse),
		cmocka_unit_test(test_commands_need_their_feature),
		cmocka_unit_test(test_commands_in_every_shape),
		cmocka_unit_test(test_long_commands_cut_everywhere),
		cmocka_unit_test(test_C98_unknown_commands_are_refused),
		cmocka_unit_test(test_C98_heads_too_short_are_refused),
		cmocka_unit_test(test_C98_no_room_for_an_answer),
		cmocka_unit_test(test_useless_chains_come_back),
		cmocka_unit_test(test_data_longer_than_64_KiB),
		cmocka_unit_test(test_more_commands_than_the_ring),
		cmocka_unit_test(test_a_iteration_is_bounded),
		cmocka_unit_test(test_controlq_index),
		cmocka_unit_test(test_a_command_that_fails_changes_nothing),
		cmocka_unit_test(test_kicked),
		cmocka_unit_test(test_kick_descriptor_changes),
		cmocka_unit_test(test_polled_without_kick_descriptor),
		cmocka_unit_test(test_C99_promisc_and_allmulti),
		cmocka_unit_test(test_C100_promisc_overrides_other_modes),
		cmocka_unit_test(test_C102_extra_modes),
		cmocka_unit_test(test_C107_mac_table_empty_on_reset),
		cmocka_unit_test(test_C108_mac_table_updated_before_the_answer),
		cmocka_unit_test(test_C109_mac_in_config_before_the_answer),
		cmocka_unit_test(test_C111_mac_tables_and_their_overflow),
		cmocka_unit_test(test_mac_table_counts_that_lie),
		cmocka_unit_test(test_C112_without_ctrl_vlan_all_tags_are_let_in),
		cmocka_unit_test(test_C113_vlan_table),
		cmocka_unit_test(test_C114_announce_cleared_before_the_answer),
		cmocka_unit_test(test_C96_hash_report_can_be_configured),
		cmocka_unit_test(test_C115_one_pair_after_reset),
		cmocka_unit_test(test_pairs_without_buffers),
		cmocka_unit_test(test_C116_nothing_above_the_pairs),
		cmocka_unit_test(test_C119_rss_picks_from_the_table),
		cmocka_unit_test(test_C121_rss_parameters),
		cmocka_unit_test(test_C121_rss_length_is_exact),
		cmocka_unit_test(test_C121_the_last_of_both_wins),
		cmocka_unit_test(test_C122_guest_offloads),
		cmocka_unit_test(test_C123_coalescing_of_queues),
		cmocka_unit_test(test_C123_a_queue_enabled_again),
		cmocka_unit_test(test_C123_a_pause_is_not_the_driver),
		cmocka_unit_test(test_C123_coalescing_under_rss),
		cmocka_unit_test(test_C125_query),
		cmocka_unit_test(test_C125_counters),
		cmocka_unit_test(test_C125_bounded_by_the_buffer),
		cmocka_unit_test(test_C125_as_many_replies_as_can_be),
		cmocka_unit_test(test_C125_one_error_spoils_all),
		cmocka_unit_test(test_repeated_commands_cost_nothing),
		cmocka_unit_test(test_only_what_changes_is_built),
		cmocka_unit_test(test_settings_and_features),
		cmocka_unit_test(test_without_a_controlq_of_ours),
		cmocka_unit_test(test_all_devices_are_served),
	};

	if (rte_eal_init(RTE_DIM(eal), eal) < 0)
		return 1;
	pool = rte_pktmbuf_pool_create("test", 255, 0, 0, RTE_MBUF_DEFAULT_BUF_SIZE, 0);
	if (!pool)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
