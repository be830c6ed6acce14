/* SPDX-License-Identifier: BSD-3-Clause */
#include "rig.h"

#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "filter.h"
#include "mbufs.h"
#include "packet.h"
#include "reconcile.h"
#include "unit_eal.h"

enum {
	DATA_QUEUE_SIZE = 8,
	UNTOUCHED = 0xa5, /* what the driver's buffers are full of */
};

struct rte_mempool *rig_pool;

const struct rte_ether_addr rig_mac = {{0x52, 0x54, 0x00, 0x12, 0x34, 0x56}};

const struct rig_shape rig_direct = {.form = DRIVER_DIRECT};

void
rig_env_open(void)
{
	rig_pool = unit_eal_start(&(struct unit_eal){.memory_mb = 64, .n_mbufs = 255});
}

static uint8_t answer_bytes[1 + RIG_ROOM_MAX];

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

void
rig_fill(struct rig *rig, unsigned int pair)
{
	const struct driver_buf buf = {.gpa = 0x200000, .len = 2048, .writable = true};

	assert_true(driver_add(&rig->data[2 * pair], &buf, 1, DRIVER_DIRECT, pair));
}

void
rig_start(struct rig *rig, const struct rig_options *options)
{
	uint32_t ring = options->traits & (TRAIT_PACKED | TRAIT_IN_ORDER);
	struct vdev *vdev = &rig->dev->vdev;
	bool event_idx = options->ctx && options->ctx->loop;
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

struct rig *
rig_open(const struct rig_options *options)
{
	struct rig *rig = unit_zalloc(sizeof(*rig));
	struct vnet_config config = {
		.name = "test",
		.n_pairs = options->n_pairs,
		.mac = rig_mac,
		.pool = rig_pool,
		.port = options->portless ? NULL : &rig->port,
	};
	struct diag diag;

	rig->ctx = config.ctx = options->ctx ? options->ctx : &rig->own_ctx;
	assert_int_equal(port_queues_alloc(&rig->port, options->n_pairs), 0);
	driver_mem_open(&rig->mem);
	rig->dev = unit_zalloc(sizeof(*rig->dev));
	assert_int_equal(vnet_init(rig->dev, &config), 0);
	for (uint16_t i = 0; i < options->n_pairs; i++) {
		rig->port.rxqs[i].dev = &rig->dev->queues[i];
		rig->port.txqs[i].dev = &rig->dev->queues[i];
	}
	assert_int_equal(vdev_set_mem(&rig->dev->vdev, driver_gmem(&rig->mem), &diag), 0);
	rig_start(rig, options);
	return rig;
}

void
rig_close(struct rig *rig)
{
	vnet_fini(rig->dev);
	for (size_t i = 0; i < RTE_DIM(rig->data); i++)
		driver_queue_close(&rig->data[i]);
	driver_queue_close(&rig->driver);
	driver_mem_close(&rig->mem);
	port_queues_free(&rig->port);
	ctx_close(&rig->own_ctx);
	free(rig->dev);
	free(rig);
}

struct rig *
rig_usual(void)
{
	return rig_open(&(struct rig_options){.n_pairs = RIG_PAIRS});
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
rig_readable_gpa(uint32_t len)
{
	return driver_region_gpa(1) - (len + 1) / 2;
}

uint64_t
rig_writable_gpa(void)
{
	return driver_region_gpa(0) + (1 << 20) + 3;
}

void
rig_send(struct rig *rig, const struct rig_shape *shape, const uint8_t *bytes, uint32_t len,
	 uint32_t writable, uint64_t tag)
{
	struct driver_buf bufs[DRIVER_BUFS_MAX];
	unsigned int n;

	rig->mem.next[1] = 2 << 20; /* indirect tables: the last one is of no use any more */
	driver_write(&rig->mem, rig_readable_gpa(len), bytes, len);
	memset(driver_va(&rig->mem, rig_writable_gpa()), UNTOUCHED, writable + 8);
	n = pieces(bufs, rig_readable_gpa(len), len, shape->piece, shape->cut, false);
	n += pieces(bufs + n, rig_writable_gpa(), writable, shape->piece, shape->wcut, true);
	assert_true(driver_add(&rig->driver, bufs, n, shape->form, tag));
}

struct rig_answer
rig_take_answer(struct rig *rig, uint32_t writable, uint64_t tag)
{
	struct rig_answer answer = {.result = answer_bytes + 1};
	uint64_t back;

	assert_true(driver_get(&rig->driver, &back, &answer.len));
	assert_int_equal(back, tag);
	assert_true(answer.len <= writable);
	driver_read(&rig->mem, rig_writable_gpa(), answer_bytes, writable);
	for (uint32_t i = answer.len; i < writable + 8; i++) {
		uint8_t byte;

		driver_read(&rig->mem, rig_writable_gpa() + i, &byte, 1);
		assert_int_equal(byte, UNTOUCHED);
	}
	answer.ack = answer.len ? answer_bytes[0] : 0xff;
	return answer;
}

struct rig_answer
rig_ask(struct rig *rig, const struct rig_shape *shape, uint8_t class, uint8_t command, const void *data,
	uint32_t len, uint32_t room)
{
	static uint8_t bytes[2 + DATA_MAX];
	static uint64_t tag;

	bytes[0] = class;
	bytes[1] = command;
	if (len)
		memcpy(bytes + 2, data, len);
	rig_send(rig, shape, bytes, 2 + len, 1 + room, ++tag);
	assert_int_equal(controlq_serve(&rig->dev->controlq), 1);
	assert_false(virtq_is_broken(&rig->dev->controlq.vq));
	return rig_take_answer(rig, 1 + room, tag);
}

bool
rig_do(struct rig *rig, uint8_t class, uint8_t command, const void *data, uint32_t len)
{
	struct rig_answer answer = rig_ask(rig, &rig_direct, class, command, data, len, 0);

	assert_int_equal(answer.len, 1);
	assert_true(answer.ack == 0 || answer.ack == 1);
	return answer.ack == 0;
}

bool
rig_do_byte(struct rig *rig, uint8_t class, uint8_t command, uint8_t byte)
{
	return rig_do(rig, class, command, &byte, 1);
}

bool
rig_do_le16(struct rig *rig, uint8_t class, uint8_t command, uint16_t number)
{
	uint8_t bytes[2] = {(uint8_t)number, (uint8_t)(number >> 8)};

	return rig_do(rig, class, command, bytes, 2);
}

void
rig_announce(struct rig *rig)
{
	rig->dev->draft.settings.announce = true;
	assert_int_equal(vnet_apply(rig->dev), 0);
}

bool
rig_wants_tagged(const struct rig *rig, uint64_t dst, int vlan)
{
	const struct port_filter *filter = atomic_load(&rig->port.filter);
	static struct packet packet;
	struct rte_mbuf *pkt;
	bool wanted = true;

	packet_ethernet(&packet, vlan == RIG_UNTAGGED ? 0 : 1, PACKET_TYPE_IPV4);
	packet_set_macs(&packet, dst, 0x020000000000);
	if (vlan != RIG_UNTAGGED)
		packet_put16(packet.bytes + 14, (uint32_t)vlan);
	packet_add(&packet, NULL, 64 - packet.len);
	pkt = mbufs_make(rig_pool, packet.bytes, packet.len, MBUFS_WHOLE);
	if (filter)
		wanted = filter->burst(filter, &pkt, 1) == 1;
	rte_pktmbuf_free(pkt);
	return wanted;
}

bool
rig_do_data(struct rig *rig, uint8_t class, uint8_t command, const struct data *data)
{
	return rig_do(rig, class, command, data->bytes, data->len);
}

bool
rig_rss(struct rig *rig, const struct rss *rss)
{
	return rig_do_data(rig, CLASS_MQ, 1, data_rss(rss));
}

void
rig_refuses(struct rig *rig, const struct rig_command *command, const uint8_t *bytes, uint32_t len)
{
	const uint64_t n_err = rig->dev->controlq.stats.err;
	struct vnet_settings before;
	struct rig_answer answer;

	rig_announce(rig);
	memcpy(&before, &rig->dev->input.settings, sizeof(before));
	answer = rig_ask(rig, &rig_direct, command->class, command->command, bytes, len, command->result);
	if (answer.len != 1 || answer.ack != 1)
		fail_msg("%s, %u bytes: %u bytes written, ack %u", command->name, len, answer.len,
			 answer.ack);
	assert_memory_equal(&before, &rig->dev->input.settings, sizeof(before));
	assert_int_equal(rig->dev->controlq.stats.err, n_err + 1);
}

void
rig_kick(int fd)
{
	uint64_t one = 1;

	assert_int_equal(write(fd, &one, sizeof(one)), sizeof(one));
}

bool
rig_wants(const struct rig *rig, uint64_t dst)
{
	return rig_wants_tagged(rig, dst, RIG_UNTAGGED);
}

void
rig_stop(struct rig *rig)
{
	for (unsigned int i = 0; i <= rig->controlq; i++)
		vdev_queue_get_base(&rig->dev->vdev, i);
}

void
rig_reset(struct rig *rig, const struct rig_options *options)
{
	vdev_reset(&rig->dev->vdev);
	rig_start(rig, options);
}

bool
rig_transmitq_is_open(const struct rig *rig, unsigned int pair)
{
	return virtq_conf(&rig->dev->queues[pair].from_guest)->enabled;
}

uint16_t
rig_picks(struct rig *rig, bool udp)
{
	const struct port_steer *steer = atomic_load(&rig->port.steer);
	static struct packet packet;
	struct rte_mbuf *pkt;
	uint16_t pair = 0;

	packet_build(&packet, &(struct packet_spec){.proto = PACKET_UDP, .payload = 22}, PACKET_SUM_WHOLE);
	if (!udp)
		packet_put16(packet.bytes + 12, PACKET_TYPE_TEST);
	pkt = mbufs_make(rig_pool, packet.bytes, packet.len, MBUFS_WHOLE);
	assert_non_null(steer);
	steer->pick(steer, &rig->port, &rig->port.rxqs[1], &pkt, 1, &pair);
	rte_pktmbuf_free(pkt);
	return pair;
}

int
rig_coal(struct rig *rig, uint16_t idx)
{
	uint8_t data[4] = {(uint8_t)idx, (uint8_t)(idx >> 8), 0xab, 0xcd};
	struct rig_answer answer = rig_ask(rig, &rig_direct, CLASS_COAL, 3, data, 4, 8);

	if (answer.ack)
		return -1;
	assert_int_equal(answer.len, 9);
	return (int)(controlq_le32(answer.result) * 1000 + controlq_le32(answer.result + 4));
}
