/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_restart: a device that is killed, and one of the next process in its place: same driver, same rings,
 * and what the first has left (state.h).
 */
#include "rig.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

#include "ctx.h"
#include "loop.h"
#include "reconcile.h"
#include "rng.h"

static const uint32_t layouts[] = {0, TRAIT_PACKED, TRAIT_PACKED | TRAIT_IN_ORDER};

/* What is outside of the device: its record. */
static struct vnet_state kept;
static unsigned int n_kept;
static uint8_t *memory_then; /* the guest's, when the state was kept; NULL: not wanted */
static struct rig *memory_of;

static void
keep(void *arg, const struct vnet_state *state)
{
	kept = *state;
	n_kept++;
	if (memory_of) {
		free(memory_then);
		memory_then = driver_mem_copy(&memory_of->mem);
	}
}

static struct rig *
start(uint32_t traits, bool status)
{
	const struct rig_options options = {.traits = traits, .n_pairs = RIG_PAIRS, .status = status};
	struct rig *rig = rig_open(&options);

	rig->dev->state_changed = keep;
	/* So that what is there by now is told, too. */
	vnet_state_look(rig->dev);
	return rig;
}

static void
queue_again(struct rig *rig, unsigned int idx, const struct driver_queue *queue)
{
	const struct vdev_queue_addr addr = {.desc = driver_uva(queue->desc_gpa),
					     .avail = driver_uva(queue->avail_gpa),
					     .used = driver_uva(queue->used_gpa)};
	struct vdev *vdev = &rig->dev->vdev;
	struct diag diag;

	assert_int_equal(vdev_queue_set_size(vdev, idx, queue->size, &diag), 0);
	/* As virtio-user does, which knows nothing of the position. */
	assert_int_equal(vdev_queue_set_base(vdev, idx, queue->packed ? 0x8000 : 0, &diag), 0);
	assert_int_equal(vdev_queue_set_addr(vdev, idx, &addr, &diag), 0);
	assert_int_equal(vdev_queue_set_kick(vdev, idx, eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), &diag), 0);
	assert_int_equal(vdev_queue_set_enable(vdev, idx, true, &diag), 0);
}

/* The device has died; the next one has its record, and no front-end yet. */
static void
kill_device(struct rig *rig, const struct vnet_state *state)
{
	struct vnet_config config = {
		.name = "test", .n_pairs = RIG_PAIRS, .mac = rig_mac, .pool = rig_pool, .port = &rig->port};
	struct vnet_queue left[RIG_PAIRS];
	struct diag diag;

	memcpy(left, rig->dev->queues, sizeof(left));
	vnet_fini(rig->dev);
	config.ctx = rig->ctx;
	assert_int_equal(vnet_init(rig->dev, &config), 0);
	rig->dev->state_changed = keep;
	for (uint16_t i = 0; i < RIG_PAIRS; i++) {
		rig->port.rxqs[i].dev = &rig->dev->queues[i];
		rig->port.txqs[i].dev = &rig->dev->queues[i];
	}
	assert_int_equal(vnet_state_put(rig->dev, state, &diag), 0);
	vnet_state_put_queues(rig->dev, left);
}

static void
connect_again(struct rig *rig, uint64_t features, bool status)
{
	struct vdev *vdev = &rig->dev->vdev;
	struct diag diag;

	vdev->said.status_used = status;
	assert_int_equal(vdev_set_features(vdev, features, &diag), 0);
	assert_int_equal(vdev_set_mem(vdev, driver_gmem(&rig->mem), &diag), 0);
	for (unsigned int i = 0; i < rig->controlq; i++)
		queue_again(rig, i, &rig->data[i]);
	queue_again(rig, rig->controlq, &rig->driver);
	if (status)
		assert_int_equal(vdev_set_status(vdev, VDEV_STATUS_DRIVER | VDEV_STATUS_DRIVER_OK, &diag), 0);
}

/* A command of each class. */
static void
set_all(struct rig *rig)
{
	const uint8_t mac[] = {2, 0, 0, 0, 0x12, 0x34}, offloads[8] = {2}, coal[8] = {9, 0, 0, 0, 100};

	assert_true(rig_do(rig, CLASS_MAC, 1, mac, 6));
	assert_true(rig_do_byte(rig, CLASS_RX, 0, 0));
	assert_true(rig_do_byte(rig, CLASS_RX, 1, 1));
	assert_true(rig_do_data(rig, CLASS_MAC, 0, data_macs(2, 3)));
	assert_true(rig_do_le16(rig, CLASS_VLAN, 0, 77));
	assert_true(rig_do_le16(rig, CLASS_MQ, 0, 3));
	assert_true(rig_do(rig, CLASS_OFFLOADS, 0, offloads, 8));
	assert_true(rig_do(rig, CLASS_COAL, 0, coal, 8));
}

static void
test_settings_outlive_the_process(void **state)
{
	for (size_t i = 0; i < RTE_DIM(layouts); i++)
		for (int status = 0; status < 2; status++) {
			struct rig *rig = start(layouts[i], status);
			struct vnet_settings before;

			set_all(rig);
			for (unsigned int n = 0; n < 3; n++) {
				before = rig->dev->input.settings;
				kill_device(rig, &kept);
				assert_memory_not_equal(&rig->dev->input.settings, &before, sizeof(before));
				connect_again(rig, rig->features, status);
				assert_memory_equal(&rig->dev->input.settings, &before, sizeof(before));
				assert_true(rig_wants(rig, RIG_UNICAST_N(1)) &&
					    !rig_wants(rig, RIG_UNICAST_N(2)));
				assert_true(rig_wants_tagged(rig, RIG_UNICAST_N(1), 77) &&
					    !rig_wants_tagged(rig, RIG_UNICAST_N(1), 78));
				assert_true(rig_transmitq_is_open(rig, 2) && !rig_transmitq_is_open(rig, 3));
				assert_int_equal(rig_coal(rig, 1), 9100);
				/* It goes on from there. */
				assert_true(rig_do_le16(rig, CLASS_VLAN, 0, (uint16_t)(100 + n)));
			}
			/* Many commands, so that a ring has come round. */
			for (unsigned int n = 0; n < 700; n++)
				assert_true(rig_do_le16(rig, CLASS_VLAN, n % 2, 77));
			before = rig->dev->input.settings;
			kill_device(rig, &kept);
			connect_again(rig, rig->features, status);
			assert_memory_equal(&rig->dev->input.settings, &before, sizeof(before));
			rig_close(rig);
		}
}

static void
test_rss_outlives_the_process(void **state)
{
	const struct rss rss = {.types = 0x1ff, .mask = 7, .entry = 2, .max_tx_vq = RIG_PAIRS, .key_len = 40};
	struct rig *rig = start(TRAIT_PACKED, false);
	struct vnet_settings before;
	uint16_t picked;

	assert_true(rig_rss(rig, &rss));
	before = rig->dev->input.settings;
	picked = rig_picks(rig, true);
	kill_device(rig, &kept);
	connect_again(rig, rig->features, false);
	assert_memory_equal(&rig->dev->input.settings, &before, sizeof(before));
	assert_int_equal(rig_picks(rig, true), picked);
	rig_close(rig);
}

/* Killed after the settings were kept, and before the driver could see the answer: the command is done again.
 */
static void
test_killed_before_the_answer(void **state)
{
	for (size_t i = 0; i < RTE_DIM(layouts); i++) {
		struct rig *rig = start(layouts[i], false);
		const uint8_t bytes[] = {CLASS_VLAN, 0, 99, 0};
		struct vnet_settings after;

		set_all(rig);
		memory_of = rig;
		rig_send(rig, &rig_direct, bytes, sizeof(bytes), 1, 1234);
		assert_int_equal(controlq_serve(&rig->dev->controlq), 1);
		memory_of = NULL;
		assert_non_null(memory_then);
		after = rig->dev->input.settings;
		memcpy(rig->mem.file, memory_then, (size_t)DRIVER_REGION_SIZE * DRIVER_N_REGIONS);
		free(memory_then);
		memory_then = NULL;
		kill_device(rig, &kept);
		connect_again(rig, rig->features, false);
		assert_memory_equal(&rig->dev->input.settings, &after, sizeof(after));
		assert_int_equal(controlq_serve(&rig->dev->controlq), 1);
		assert_int_equal(rig_take_answer(rig, 1, 1234).ack, 0);
		assert_memory_equal(&rig->dev->input.settings, &after, sizeof(after));
		rig_close(rig);
	}
}

/* --- whose they are not --- */

static void
assert_reset(struct rig *rig)
{
	struct vnet_settings usual;

	vnet_settings_reset(rig->dev, &usual);
	assert_memory_equal(&rig->dev->input.settings, &usual, sizeof(usual));
	assert_true(rig_wants(rig, RIG_UNICAST_N(2)));
}

static void
test_a_driver_that_was_reset_gets_none(void **state)
{
	for (size_t i = 0; i < RTE_DIM(layouts); i++)
		for (int served = 0; served < 2; served++) {
			const struct rig_options options = {.traits = layouts[i], .n_pairs = RIG_PAIRS};
			struct rig *rig = start(layouts[i], false);
			struct diag diag;

			set_all(rig);
			kill_device(rig, &kept);
			assert_int_equal(vdev_set_mem(&rig->dev->vdev, driver_gmem(&rig->mem), &diag), 0);
			/* New rings where the old ones were. */
			rig_start(rig, &options);
			assert_reset(rig);
			/* What is kept from now on is this driver's. */
			if (served)
				assert_true(rig_do_le16(rig, CLASS_VLAN, 0, 5));
			assert_int_equal(kept.settings.filter.vlans[1], 0);
			rig_close(rig);
		}
}

static void
test_other_features_get_none(void **state)
{
	struct rig *rig = start(0, false);

	set_all(rig);
	kill_device(rig, &kept);
	connect_again(rig, rig->features & ~FEATURE_MASK(NET_GUEST_UFO), false);
	assert_reset(rig);
	rig_close(rig);
}

/* Status 0 says that the driver has been reset, whatever its rings look like. */
static void
test_status_0_makes_positions_void(void **state)
{
	struct rig *rig = start(TRAIT_PACKED, true);
	uint32_t base;
	struct diag diag;

	set_all(rig);
	kill_device(rig, &kept);
	assert_false(rig->dev->vdev.queues[0].left_is_void);
	assert_true(rig->dev->vdev.ops->left(&rig->dev->vdev, 0, &rig->data[0].conf, &base));
	assert_int_equal(vdev_set_status(&rig->dev->vdev, 0, &diag), 0);
	assert_true(rig->dev->vdev.queues[0].left_is_void);
	rig_close(rig);
}

/* --- a state that lies --- */

static void
test_a_state_that_lies_is_refused(void **state)
{
	static const struct {
		size_t offset;
		uint16_t value;
	} lies[] = {
#define AT(member) offsetof(struct vnet_state, member)
		{AT(n_pairs), 0},
		{AT(n_pairs), RIG_PAIRS + 1},
		{AT(n_filled), 0},
		{AT(n_filled), RIG_PAIRS + 1},
		{AT(running), 2},
		{AT(served), 0x80},
		{AT(settings.n_pairs), 0},
		{AT(settings.n_pairs), RIG_PAIRS + 1},
		{AT(settings.announce), 7},
		{AT(settings.filter.promisc), 2},
		{AT(settings.filter.nobcast), 3},
		{AT(settings.filter.mac), 0x0101},
		{AT(settings.filter.unicast.n), 65},
		{AT(settings.filter.unicast.n), 0xffff},
		{AT(settings.filter.multicast.n), 63},
		{AT(settings.filter.unicast.overflow), 2},
		{AT(settings.steer.rss.enabled), 2},
		{AT(settings.steer.rss.table_len), 0},
		{AT(settings.steer.rss.table_len), 3},
		{AT(settings.steer.rss.table_len), 256},
		{AT(settings.steer.rss.unclassified_queue), RIG_PAIRS},
		{AT(settings.steer.rss.table[1]), RIG_PAIRS},
		{AT(settings.steer.rss.table[1]), 0xffff},
		{AT(settings.steer.hash.types), 0x200},
		{AT(settings.steer.hash.key_len), 41},
		{AT(settings.offloads), 1 << 9},
		{AT(settings.offloads), 1 << 7},
#undef AT
	};
	const struct rss rss = {.types = 0x1ff, .mask = 1, .max_tx_vq = 1, .key_len = 40};
	struct rig *rig = start(0, false);
	struct diag diag;

	assert_true(rig_do_data(rig, CLASS_MAC, 0, data_macs(2, 3)));
	assert_true(rig_rss(rig, &rss));
	assert_true(kept.settings.steer.rss.enabled);
	for (size_t i = 0; i < RTE_DIM(lies); i++) {
		struct vnet_state lie = kept;

		memcpy((uint8_t *)&lie + lies[i].offset, &lies[i].value, sizeof(lies[i].value));
		if (vnet_state_put(rig->dev, &lie, &diag) != -EINVAL)
			fail_msg("lie %zu is believed", i);
	}
	assert_false(rig->dev->awaited || rig->dev->has_kept);
	rig_close(rig);
}

/* Whatever it says: it is refused, or the device lives with it. */
static void
test_random_states(void **state)
{
	unsigned int n_believed = 0;

	for (unsigned int n = 0; n < 300; n++) {
		struct rig *rig = start(layouts[n % RTE_DIM(layouts)], false);
		struct vnet_state lie;
		struct diag diag;
		uint8_t *byte = (uint8_t *)&lie;

		set_all(rig);
		lie = kept;
		for (unsigned int k = rng_below(6); k-- > 0;)
			byte[rng_below(sizeof(lie))] = rng_byte();
		if (vnet_state_put(rig->dev, &lie, &diag) == 0) {
			n_believed++;
			vnet_state_fini(rig->dev);
			rig->dev->has_kept = false;
			kill_device(rig, &lie);
			connect_again(rig, rig->features, false);
			rig_wants(rig, RIG_UNICAST_N(2));
			rig_picks(rig, true);
			assert_true(rig_do_le16(rig, CLASS_VLAN, 0, 5));
		}
		rig_close(rig);
	}
	assert_true(n_believed > 30);
}

/* --- waiting for the others --- */

static bool
is_polled(const struct rig *rig, unsigned int pair)
{
	const struct vnet_conf *conf = vnet_conf(&rig->dev->queues[pair].from_guest);

	return conf->from_guest != vnet_from_guest_later;
}

/* Nothing is taken from a guest that is back until all are. */
static void
test_guests_wait_for_each_other(void **state)
{
	static struct vnic_ctx ctx;
	const struct rig_options options = {.n_pairs = RIG_PAIRS, .ctx = &ctx};
	struct rig *rigs[2];

	for (unsigned int i = 0; i < 2; i++) {
		rigs[i] = rig_open(&options);
		rigs[i]->dev->state_changed = keep;
		vnet_state_look(rigs[i]->dev);
		assert_true(is_polled(rigs[i], 0));
	}
	for (unsigned int i = 0; i < 2; i++)
		kill_device(rigs[i], &kept);
	assert_int_equal(ctx.n_awaited, 2);
	connect_again(rigs[0], rigs[0]->features, false);
	for (unsigned int i = 0; i < 3; i++)
		rigs[0]->dev->vdev.ops->poll_slow(&rigs[0]->dev->vdev);
	assert_false(is_polled(rigs[0], 0) || is_polled(rigs[0], 3));
	/* Only when it filters and steers as before is the other one back. */
	connect_again(rigs[1], rigs[1]->features, false);
	assert_false(is_polled(rigs[1], 0));
	rigs[1]->dev->vdev.ops->poll_slow(&rigs[1]->dev->vdev);
	rigs[0]->dev->vdev.ops->poll_slow(&rigs[0]->dev->vdev);
	assert_int_equal(ctx.n_awaited, 0);
	for (unsigned int i = 0; i < 2; i++)
		assert_true(is_polled(rigs[i], 0));
	rig_close(rigs[0]);
	rig_close(rigs[1]);
}

/* One that does not come back does not keep the others for ever; nor does one whose port is closed. */
static void
test_waiting_ends(void **state)
{
	static struct vnic_ctx ctx;
	const struct rig_options options = {.n_pairs = RIG_PAIRS, .ctx = &ctx};
	struct rig *rigs[2];

	for (int closed = 0; closed < 2; closed++) {
		for (unsigned int i = 0; i < 2; i++) {
			rigs[i] = rig_open(&options);
			rigs[i]->dev->state_changed = keep;
			vnet_state_look(rigs[i]->dev);
			kill_device(rigs[i], &kept);
		}
		connect_again(rigs[0], rigs[0]->features, false);
		rigs[0]->dev->vdev.ops->poll_slow(&rigs[0]->dev->vdev);
		assert_false(is_polled(rigs[0], 0));
		if (closed) {
			rig_close(rigs[1]);
		} else {
			ctx.awaited_until_ms = loop_now_ms();
			rigs[1]->dev->vdev.ops->poll_slow(&rigs[1]->dev->vdev);
		}
		rigs[0]->dev->vdev.ops->poll_slow(&rigs[0]->dev->vdev);
		assert_true(is_polled(rigs[0], 0));
		rig_close(rigs[0]);
		if (!closed)
			rig_close(rigs[1]);
		assert_int_equal(ctx.n_awaited, 0);
	}
}

/* It is told once for each change, and a driver that changes nothing costs nothing. */
static void
test_what_is_told(void **state)
{
	struct rig *rig = start(0, false);
	unsigned int before;

	assert_true(kept.running && kept.served && kept.n_pairs == RIG_PAIRS);
	assert_true(rig_do_le16(rig, CLASS_VLAN, 0, 5));
	before = n_kept;
	vnet_state_look(rig->dev);
	vnet_go_on(rig->dev);
	assert_int_equal(n_kept, before);
	rig_stop(rig);
	assert_false(kept.running || kept.served);
	rig_close(rig);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_settings_outlive_the_process),
		cmocka_unit_test(test_rss_outlives_the_process),
		cmocka_unit_test(test_killed_before_the_answer),
		cmocka_unit_test(test_a_driver_that_was_reset_gets_none),
		cmocka_unit_test(test_other_features_get_none),
		cmocka_unit_test(test_status_0_makes_positions_void),
		cmocka_unit_test(test_a_state_that_lies_is_refused),
		cmocka_unit_test(test_random_states),
		cmocka_unit_test(test_guests_wait_for_each_other),
		cmocka_unit_test(test_waiting_ends),
		cmocka_unit_test(test_what_is_told),
	};

	rig_env_open();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
