/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_config: the configuration space, the link and announcing, of a device without a front-end. Tests that
 * are named after a requirement of VIRTIO ("Device configuration layout") check that one.
 */
#include "unit.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <rte_byteorder.h>

#include "ctx.h"
#include "flows.h"
#include "loop.h"
#include "reconcile.h"
#include "vnet_dev.h"

static struct vnic_ctx ctx;

/* Offsets of the fields; written down here so that the header is tested too. */
enum {
	AT_MAC = 0,
	AT_STATUS = 6,
	AT_PAIRS = 8,
	AT_MTU = 10,
	AT_SPEED = 12,
	AT_DUPLEX = 16,
	AT_RSS_KEY = 17,
	AT_RSS_TABLE = 18,
	AT_HASH_TYPES = 20,
	CONFIG_LEN = 24,
};

enum { STATUS_LINK_UP = 1, STATUS_ANNOUNCE = 2 };

static const struct rte_ether_addr own_mac = {{2, 0, 0, 0, 0, 0x17}};

struct rig {
	struct vnet_dev dev;
	struct loop *loop;
	uint8_t space[VDEV_CONFIG_MAX];
	unsigned int len; /* of the space */
	unsigned int n_notices;
};

static void
rig_notice(void *arg)
{
	struct rig *rig = arg;

	rig->n_notices++;
}

/* What is not given in `config` is as usual. */
static struct rig *
rig_open(struct vnet_config config)
{
	struct rig *rig = unit_zalloc(sizeof(*rig));

	assert_int_equal(ctx_open(&ctx), 0);
	rig->loop = ctx.loop;
	config.name = "vm0";
	config.n_pairs = config.n_pairs ? config.n_pairs : 1;
	config.mac = own_mac;
	config.ctx = &ctx;
	assert_int_equal(vnet_init(&rig->dev, &config), 0);
	rig->dev.vdev.config_changed = rig_notice;
	rig->dev.vdev.config_changed_arg = rig;
	return rig;
}

static void
rig_close(struct rig *rig)
{
	vnet_fini(&rig->dev);
	ctx_close(&ctx);
	free(rig);
}

static const uint8_t *
rig_read(struct rig *rig)
{
	memset(rig->space, 0x5a, sizeof(rig->space));
	rig->len = rig->dev.vdev.ops->config_read(&rig->dev.vdev, rig->space);
	for (unsigned int i = rig->len; i < sizeof(rig->space); i++)
		assert_int_equal(rig->space[i], 0);
	return rig->space;
}

static uint16_t
rig_u16(struct rig *rig, unsigned int at)
{
	const uint8_t *space = rig_read(rig);

	return (uint16_t)(space[at] | space[at + 1] << 8);
}

static uint32_t
rig_u32(struct rig *rig, unsigned int at)
{
	return rig_u16(rig, at) | (uint32_t)rig_u16(rig, at + 2) << 16;
}

static bool
rig_offers(const struct rig *rig, uint64_t feature)
{
	return rig->dev.vdev.ops->features(&rig->dev.vdev) & feature;
}

static void
rig_set_features(struct rig *rig, uint64_t features)
{
	struct diag diag;

	assert_int_equal(vdev_set_features(&rig->dev.vdev, features, &diag), 0);
}

static const struct vnet_config with_everything = {
	.n_pairs = 4,
	.mtu = 1500,
	.standby = true,
	.speed_duplex = true,
	.speed = 25000,
	.duplex = VNET_DUPLEX_FULL,
};

static void
test_C10_readable_before_features_are_chosen(void **state)
{
	struct rig *rig = rig_open(with_everything);

	assert_false(rig->dev.vdev.said.has_features);
	assert_memory_equal(rig_read(rig) + AT_MAC, &own_mac, sizeof(own_mac));
	assert_int_equal(rig->len, CONFIG_LEN);
	assert_int_equal(rig_u16(rig, AT_STATUS), STATUS_LINK_UP);
	assert_int_equal(rig_u16(rig, AT_PAIRS), 4);
	assert_int_equal(rig_u16(rig, AT_MTU), 1500);
	assert_int_equal(rig_u32(rig, AT_SPEED), 25000);
	assert_int_equal(rig_read(rig)[AT_DUPLEX], 1);
	assert_int_equal(rig_read(rig)[AT_RSS_KEY], 40);
	assert_int_equal(rig_u16(rig, AT_RSS_TABLE), 128);
	assert_int_equal(rig_u32(rig, AT_HASH_TYPES), 0x1ff);
	/* The same whatever the driver chooses. */
	rig_set_features(rig, FEATURE_MASK(VERSION_1));
	assert_int_equal(rig_u16(rig, AT_MTU), 1500);
	assert_int_equal(rig_u16(rig, AT_PAIRS), 4);
	rig_close(rig);
}

/* Fields of features that are not offered are 0, and the features are offered when their fields are given. */
static void
test_what_is_not_offered_is_zero(void **state)
{
	struct rig *rig = rig_open((struct vnet_config){0});

	assert_false(rig_offers(rig, FEATURE_MASK(NET_MTU)));
	assert_false(rig_offers(rig, FEATURE_MASK(NET_SPEED_DUPLEX)));
	assert_false(rig_offers(rig, FEATURE_MASK(NET_STANDBY)));
	assert_int_equal(rig_u16(rig, AT_MTU), 0);
	assert_int_equal(rig_u32(rig, AT_SPEED), 0);
	assert_int_equal(rig_read(rig)[AT_DUPLEX], 0);
	assert_int_equal(rig_u16(rig, AT_PAIRS), 1);
	rig_close(rig);

	rig = rig_open(with_everything);
	assert_true(rig_offers(rig, FEATURE_MASK(NET_MTU)));
	assert_true(rig_offers(rig, FEATURE_MASK(NET_SPEED_DUPLEX)));
	assert_true(rig_offers(rig, FEATURE_MASK(NET_STANDBY)));
	rig_close(rig);
}

static void
test_C53_pairs(void **state)
{
	static const uint16_t n_pairs[] = {1, 2, PORT_QUEUES_MAX};

	for (size_t i = 0; i < RTE_DIM(n_pairs); i++) {
		struct rig *rig = rig_open((struct vnet_config){.n_pairs = n_pairs[i]});

		assert_int_equal(rig_offers(rig, FEATURE_MASK(NET_MQ)), n_pairs[i] > 1);
		assert_int_equal(rig_u16(rig, AT_PAIRS), n_pairs[i]);
		rig_close(rig);
	}
}

static void
test_C54_C55_mtu(void **state)
{
	/* Below 1280 is what should not be; but it is what was asked for. */
	static const uint16_t mtus[] = {68, 1279, 1280, 1500, 9000, 65535};

	for (size_t i = 0; i < RTE_DIM(mtus); i++) {
		struct rig *rig = rig_open((struct vnet_config){.mtu = mtus[i]});

		assert_true(rig_offers(rig, FEATURE_MASK(NET_MTU)));
		assert_int_equal(rig_u16(rig, AT_MTU), mtus[i]);
		rig_close(rig);
	}
}

static uint32_t
rig_frame_max(struct rig *rig, unsigned int queue)
{
	struct vnet_conf conf = {0};

	vnet_conf_fill(&rig->dev, &rig->dev.input, &rig->dev.output, queue, &conf);
	return conf.frame_max;
}

/* NET_SET_MTU says what the front-end's guest was told; our field stays, frames obey. */
static void
test_C56_mtu_never_changes(void **state)
{
	struct rig *rig = rig_open((struct vnet_config){.mtu = 1500});

	assert_int_equal(rig->dev.vdev.ops->set_mtu(&rig->dev.vdev, 1400), 0);
	assert_int_equal(rig_u16(rig, AT_MTU), 1500);
	assert_int_equal(rig_frame_max(rig, 0), 1400 + 14 + 8);
	assert_int_equal(rig->n_notices, 0);
	rig_close(rig);
	/* Nor does the field appear. */
	rig = rig_open((struct vnet_config){0});
	assert_int_equal(rig->dev.vdev.ops->set_mtu(&rig->dev.vdev, 1400), 0);
	assert_int_equal(rig_u16(rig, AT_MTU), 0);
	assert_false(rig_offers(rig, FEATURE_MASK(NET_MTU)));
	rig_close(rig);
}

/* All that a driver leaves behind is gone, what the port was configured with and its link stay. */
static void
test_nothing_outlives_its_driver(void **state)
{
	struct rig *rig = rig_open((struct vnet_config){.n_pairs = 2, .mtu = 1500});
	struct vdev *vdev = &rig->dev.vdev;
	_Atomic uint32_t *entry = &rig->dev.flows->entries[7];

	for (int i = 0; i < 2; i++) {
		rig_set_features(rig, FEATURE_MASK(VERSION_1));
		assert_int_equal(vdev->ops->set_mtu(vdev, 1400), 0);
		assert_int_equal(vdev->ops->send_rarp(vdev, own_mac.addr_bytes), 0);
		assert_int_not_equal(atomic_load(&rig->dev.shared.rarp_mac), 0);
		atomic_store(entry, flows_entry(7, 1));
		if (i == 0)
			vdev_reset(vdev);
		else
			vdev_disconnect(vdev);
		assert_int_equal(rig->dev.input.mtu, 1500);
		assert_int_equal(rig_frame_max(rig, 0), 1500 + 14 + 2 * 4);
		assert_int_equal(atomic_load(&rig->dev.shared.rarp_mac), 0);
		assert_int_equal(atomic_load(entry), 0);
		assert_int_equal(rig_u16(rig, AT_STATUS), STATUS_LINK_UP);
	}
	/* New features alone: what was said since the last ring ran is for the driver that has them. */
	assert_int_equal(vdev->ops->set_mtu(vdev, 1400), 0);
	atomic_store(entry, flows_entry(7, 1));
	rig_set_features(rig, FEATURE_MASK(VERSION_1) | FEATURE_MASK(NET_MRG_RXBUF));
	assert_int_equal(rig->dev.input.mtu, 1400);
	assert_int_equal(atomic_load(entry), 0);
	rig_close(rig);
}

static void
test_C57_C58_frames_up_to_mtu(void **state)
{
	struct rig *rig = rig_open((struct vnet_config){.mtu = 1500});

	/* An Ethernet header, with two tags if there are so many; as on a NIC port. */
	assert_int_equal(rig_frame_max(rig, 0), 1500 + 14 + 2 * 4);
	assert_int_equal(rig_frame_max(rig, 1), 1500 + 14 + 2 * 4);
	rig_close(rig);
	rig = rig_open((struct vnet_config){.mtu = 65535});
	assert_int_equal(rig_frame_max(rig, 0), 65535 + 14 + 2 * 4);
	rig_close(rig);
	rig = rig_open((struct vnet_config){0});
	assert_int_equal(rig_frame_max(rig, 0), PORT_FRAME_MAX);
	rig_close(rig);
}

static void
test_C59_C60_rss_limits(void **state)
{
	struct rig *rig = rig_open((struct vnet_config){0});

	assert_true(rig_offers(rig, FEATURE_MASK(NET_RSS)));
	assert_true(rig_read(rig)[AT_RSS_KEY] >= 40);
	assert_true(rig_u16(rig, AT_RSS_TABLE) >= 128);
	rig_close(rig);
}

static void
test_C61_C62_speed_and_duplex(void **state)
{
	static const struct {
		int32_t speed;
		uint8_t duplex;
		uint32_t is_speed;
		uint8_t is_duplex;
	} row[] = {
		{0, VNET_DUPLEX_HALF, 0, 0},
		{10, VNET_DUPLEX_FULL, 10, 1},
		{VNET_SPEED_MAX, VNET_DUPLEX_UNKNOWN, 0x7fffffff, 0xff},
		{VNET_SPEED_UNKNOWN, VNET_DUPLEX_FULL, 0xffffffff, 1},
	};

	for (size_t i = 0; i < RTE_DIM(row); i++) {
		struct rig *rig = rig_open((struct vnet_config){
			.speed_duplex = true, .speed = row[i].speed, .duplex = row[i].duplex});

		assert_int_equal(rig_u32(rig, AT_SPEED), row[i].is_speed);
		assert_int_equal(rig_read(rig)[AT_DUPLEX], row[i].is_duplex);
		rig_close(rig);
	}
}

static int
rig_set_link(struct rig *rig, bool up, int32_t speed)
{
	const struct port_link link = {.up = up, .speed = speed, .duplex = PORT_DUPLEX_FULL};

	return vnet_set_link(&rig->dev, &link);
}

static void
test_C63_speed_changes_while_the_link_is_down(void **state)
{
	struct rig *rig = rig_open(with_everything);

	assert_int_equal(rig_set_link(rig, true, 25000), 0);
	assert_int_equal(rig->n_notices, 0);
	/* First down, with the new speed; then up. */
	assert_int_equal(rig_set_link(rig, true, 100000), -EAGAIN);
	assert_int_equal(rig_u16(rig, AT_STATUS), 0);
	assert_int_equal(rig->n_notices, 1);
	assert_int_equal(rig_set_link(rig, true, 100000), 0);
	assert_int_equal(rig_u16(rig, AT_STATUS), STATUS_LINK_UP);
	assert_int_equal(rig_u32(rig, AT_SPEED), 100000);
	assert_int_equal(rig->n_notices, 2);
	/* Down it may change at will. */
	assert_int_equal(rig_set_link(rig, false, PORT_SPEED_UNKNOWN), 0);
	assert_int_equal(rig_u32(rig, AT_SPEED), UINT32_MAX);
	assert_int_equal(rig_set_link(rig, false, 10), 0);
	assert_int_equal(rig_u32(rig, AT_SPEED), 10);
	assert_int_equal(rig->n_notices, 4);
	rig_close(rig);

	/* A device that does not offer its speed has none to change. */
	rig = rig_open((struct vnet_config){0});
	assert_int_equal(rig_set_link(rig, true, 100000), 0);
	assert_int_equal(rig->n_notices, 0);
	rig_close(rig);
}

static void
test_link(void **state)
{
	struct rig *rig = rig_open((struct vnet_config){0});
	struct vnet_queue *queue = &rig->dev.queues[0];
	struct port_txq txq = {.dev = queue};
	struct vnet_conf conf = {.virtq.enabled = true};
	struct rte_mbuf *pkt = NULL;

	assert_int_equal(rig_set_link(rig, false, PORT_SPEED_UNKNOWN), 0);
	assert_int_equal(rig_u16(rig, AT_STATUS), 0);
	assert_int_equal(rig->n_notices, 1);
	/* What the driver enabled is shut, both ways. */
	vnet_conf_fill(&rig->dev, &rig->dev.input, &rig->dev.output, 1, &conf);
	assert_false(conf.virtq.enabled);
	conf.virtq.enabled = true;
	vnet_conf_fill(&rig->dev, &rig->dev.input, &rig->dev.output, 0, &conf);
	assert_false(conf.virtq.enabled);
	/* Frames for it are dropped under a name of their own; without a driver under others. */
	assert_int_equal(vnet_tx(&txq, &pkt, 1), 0);
	assert_int_equal(txq.stats.drops[DROP_NO_GUEST], 1);
	atomic_store(&rig->dev.shared.has_guest, true);
	assert_int_equal(vnet_tx(&txq, &pkt, 1), 0);
	assert_int_equal(txq.stats.drops[DROP_QUEUE_STOPPED], 1);
	atomic_store(&queue->to_guest.conf, &conf.virtq);
	assert_int_equal(vnet_tx(&txq, &pkt, 1), 0);
	assert_int_equal(txq.stats.drops[DROP_LINK_DOWN], 1);
	/* Up, but disabled by the driver. */
	atomic_store(&rig->dev.shared.link_up, true);
	assert_int_equal(vnet_tx(&txq, &pkt, 1), 0);
	assert_int_equal(txq.stats.drops[DROP_QUEUE_DISABLED], 1);
	atomic_store(&queue->to_guest.conf, NULL);
	atomic_store(&rig->dev.shared.link_up, false);

	/* A reset is the driver's; the link is not. */
	vdev_reset(&rig->dev.vdev);
	assert_int_equal(rig_u16(rig, AT_STATUS), 0);
	rig->n_notices = 0;
	assert_int_equal(rig_set_link(rig, true, PORT_SPEED_UNKNOWN), 0);
	assert_int_equal(rig_u16(rig, AT_STATUS), STATUS_LINK_UP);
	assert_int_equal(rig->n_notices, 1);
	assert_int_equal(rig_set_link(rig, true, PORT_SPEED_UNKNOWN), 0);
	assert_int_equal(rig->n_notices, 1);
	rig_close(rig);
}

static int
rig_write(struct rig *rig, unsigned int offset, const void *data, unsigned int len, bool migration)
{
	return rig->dev.vdev.ops->config_write(&rig->dev.vdev, offset, data, len, migration);
}

static void
test_write(void **state)
{
	static const uint8_t other[] = {2, 1, 2, 3, 4, 5, 6};
	struct rig *rig = rig_open(with_everything);

	/* A legacy driver sets its address, in one piece or byte by byte, and nothing else. */
	assert_int_equal(rig_write(rig, 0, other, 6, false), 0);
	assert_memory_equal(rig_read(rig), other, 6);
	assert_int_equal(rig_write(rig, 5, &other[6], 1, false), 0);
	assert_int_equal(rig_read(rig)[5], 6);
	for (unsigned int at = 1; at < VDEV_CONFIG_MAX; at++)
		assert_true(rig_write(rig, at, other, 6, false) < 0);
	assert_true(rig_write(rig, 0, other, 7, false) < 0);
	assert_true(rig_write(rig, 0, other, 0, false) < 0);
	assert_true(rig_write(rig, AT_STATUS, other, 2, true) < 0);
	assert_int_equal(rig_u16(rig, AT_STATUS), STATUS_LINK_UP);
	/* A modern one does not; migration restores what there was. */
	rig_set_features(rig, FEATURE_MASK(VERSION_1));
	assert_true(rig_write(rig, 0, other, 6, false) < 0);
	assert_memory_equal(rig_read(rig), &own_mac, 6);
	assert_int_equal(rig_write(rig, 0, other, 6, true), 0);
	assert_memory_equal(rig_read(rig), other, 6);
	rig_close(rig);
}

/* Runs the loop until a RARP is due or time is up. Returns when, in ms; UINT64_MAX: none. */
static uint64_t
rig_wait_rarp(struct rig *rig, uint64_t since_ms, uint64_t until_ms)
{
	uint64_t mac = 0;

	while (loop_now_ms() < since_ms + until_ms) {
		uint64_t word = atomic_exchange(&rig->dev.shared.rarp_mac, 0);

		if (word) {
			memcpy(&mac, &own_mac, sizeof(own_mac));
			assert_int_equal(word, mac);
			return loop_now_ms() - since_ms;
		}
		assert_int_equal(loop_run_once(rig->loop, 10), 0);
	}
	return UINT64_MAX;
}

/* A driver that can't be asked: RARPs in its name, as long after each other as they should be. */
static void
test_announce_rounds(void **state)
{
	static const uint64_t due_ms[] = {0, 50, 200, 450, 800};
	struct rig *rig = rig_open((struct vnet_config){0});
	uint64_t start;

	/* Nobody there. */
	assert_int_equal(vnet_announce(&rig->dev), -ENOTCONN);
	rig_set_features(rig, FEATURE_MASK(VERSION_1));
	rig_set_link(rig, false, PORT_SPEED_UNKNOWN);
	assert_int_equal(vnet_announce(&rig->dev), -ENOTCONN);
	rig_set_link(rig, true, PORT_SPEED_UNKNOWN);
	rig->n_notices = 0;
	assert_int_equal(atomic_load(&rig->dev.shared.rarp_mac), 0);

	start = loop_now_ms();
	assert_int_equal(vnet_announce(&rig->dev), 0);
	for (size_t i = 0; i < RTE_DIM(due_ms); i++) {
		uint64_t at = rig_wait_rarp(rig, start, 3000);

		assert_true(at + 2 >= due_ms[i]);
		assert_true(at < due_ms[i] + 200);
	}
	assert_int_equal(rig_wait_rarp(rig, start, 1600), UINT64_MAX);
	assert_int_equal(rig->n_notices, 0);
	assert_int_equal(rig_u16(rig, AT_STATUS), STATUS_LINK_UP);
	rig_close(rig);
}

/* A link that is down passes no announcement, nor does one wait until it is up. */
static void
test_no_rarp_on_a_link_that_is_down(void **state)
{
	struct rig *rig = rig_open((struct vnet_config){0});
	struct vdev *vdev = &rig->dev.vdev;

	assert_int_equal(vdev->ops->send_rarp(vdev, own_mac.addr_bytes), 0);
	assert_int_not_equal(atomic_load(&rig->dev.shared.rarp_mac), 0);
	rig_set_link(rig, false, PORT_SPEED_UNKNOWN);
	assert_int_equal(atomic_load(&rig->dev.shared.rarp_mac), 0);
	assert_int_equal(vdev->ops->send_rarp(vdev, own_mac.addr_bytes), 0);
	assert_int_equal(atomic_load(&rig->dev.shared.rarp_mac), 0);
	rig_set_link(rig, true, PORT_SPEED_UNKNOWN);
	assert_int_equal(atomic_load(&rig->dev.shared.rarp_mac), 0);
	assert_int_equal(vdev->ops->send_rarp(vdev, own_mac.addr_bytes), 0);
	assert_int_not_equal(atomic_load(&rig->dev.shared.rarp_mac), 0);
	rig_close(rig);
}

/* A reset, and a link that goes down, end the rounds. */
static void
test_announce_ends(void **state)
{
	struct rig *rig = rig_open((struct vnet_config){0});
	uint64_t start = loop_now_ms();

	rig_set_features(rig, FEATURE_MASK(VERSION_1));
	assert_int_equal(vnet_announce(&rig->dev), 0);
	assert_true(rig_wait_rarp(rig, start, 1000) < 1000);
	vdev_reset(&rig->dev.vdev);
	start = loop_now_ms();
	assert_int_equal(rig_wait_rarp(rig, start, 300), UINT64_MAX);

	assert_int_equal(vnet_announce(&rig->dev), 0);
	assert_true(rig_wait_rarp(rig, loop_now_ms(), 1000) < 1000);
	rig_set_link(rig, false, PORT_SPEED_UNKNOWN);
	start = loop_now_ms();
	assert_int_equal(rig_wait_rarp(rig, start, 300), UINT64_MAX);
	/* Closed in the middle: nothing is left behind to fire. */
	rig_set_link(rig, true, PORT_SPEED_UNKNOWN);
	assert_int_equal(vnet_announce(&rig->dev), 0);
	rig_close(rig);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_C10_readable_before_features_are_chosen),
		cmocka_unit_test(test_what_is_not_offered_is_zero),
		cmocka_unit_test(test_C53_pairs),
		cmocka_unit_test(test_C54_C55_mtu),
		cmocka_unit_test(test_C56_mtu_never_changes),
		cmocka_unit_test(test_nothing_outlives_its_driver),
		cmocka_unit_test(test_C57_C58_frames_up_to_mtu),
		cmocka_unit_test(test_C59_C60_rss_limits),
		cmocka_unit_test(test_C61_C62_speed_and_duplex),
		cmocka_unit_test(test_C63_speed_changes_while_the_link_is_down),
		cmocka_unit_test(test_link),
		cmocka_unit_test(test_write),
		cmocka_unit_test(test_announce_rounds),
		cmocka_unit_test(test_announce_ends),
		cmocka_unit_test(test_no_rarp_on_a_link_that_is_down),
	};

	return UNIT_RUN(tests);
}
