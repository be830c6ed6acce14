/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_controlq_coal: class NOTF_COAL: when queues notify, and which queues there are to ask for.
 */
#include "unit.h"

#include "data.h"
#include "rig.h"

static void
test_C123_coalescing_of_queues(void **state)
{
	struct rig *rig = rig_usual();

	assert_true(rig_do_le16(rig, CLASS_MQ, 0, 2));
	for (uint16_t idx = 0; idx < 4; idx++)
		assert_int_equal(rig_coal(rig, idx), 0);
	/* The example of the specification. */
	assert_true(rig_do_data(rig, CLASS_COAL, 1, data_coal(-1, 1, 11)));
	assert_int_equal(rig_coal(rig, 0), 1011);
	assert_int_equal(rig_coal(rig, 2), 1011);
	assert_int_equal(rig_coal(rig, 1), 0);
	assert_true(rig_do_data(rig, CLASS_COAL, 2, data_coal(0, 2, 22)));
	assert_int_equal(rig_coal(rig, 0), 2022);
	assert_int_equal(rig_coal(rig, 2), 1011);
	assert_true(rig_do_data(rig, CLASS_COAL, 2, data_coal(1, 4, 44)));
	assert_int_equal(rig_coal(rig, 3), 0);
	assert_true(rig_do_data(rig, CLASS_COAL, 0, data_coal(-1, 5, 55)));
	assert_int_equal(rig_coal(rig, 1), 5055);
	assert_int_equal(rig_coal(rig, 3), 5055);
	assert_int_equal(rig_coal(rig, 0), 2022);
	/* Not used, not a data queue, not a queue. */
	for (unsigned int idx = 4; idx < 65536; idx += idx < 20 ? 1 : 509) {
		assert_int_equal(rig_coal(rig, (uint16_t)idx), -1);
		assert_false(rig_do_data(rig, CLASS_COAL, 2, data_coal((int)idx, 1, 1)));
	}
	/* Workers see it. */
	assert_int_equal(virtq_conf(&rig->dev->queues[0].to_guest)->coal_max_packets, 2);
	assert_int_equal(virtq_conf(&rig->dev->queues[1].from_guest)->coal_max_packets, 5);
	/* No room for the result: ERR, and one byte. */
	assert_int_equal(rig_ask(rig, &rig_direct, CLASS_COAL, 3, "\0\0\0\0", 4, 7).ack, 1);
	rig_reset(rig, &(struct rig_options){.n_pairs = RIG_PAIRS});
	assert_int_equal(rig_coal(rig, 0), 0);
	assert_int_equal(rig_coal(rig, 1), 0);
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
	assert_int_equal(rig_coal(rig, 0), -1);
	assert_int_equal(rig_coal(rig, 1), 3033);
	rig_enable(rig, 0, true);
	assert_int_equal(rig_coal(rig, 0), 0);
	assert_int_equal(virtq_conf(&rig->dev->queues[0].to_guest)->coal_max_packets, 0);
	assert_int_equal(rig_coal(rig, 1), 3033);
	assert_true(rig_do_data(rig, CLASS_COAL, 0, data_coal(-1, 5, 55)));
	assert_true(rig_do_data(rig, CLASS_COAL, 2, data_coal(1, 3, 33)));
	assert_true(rig_do_data(rig, CLASS_COAL, 2, data_coal(3, 6, 66)));
	rig_enable(rig, 1, false);
	rig_enable(rig, 1, true);
	assert_int_equal(rig_coal(rig, 1), 5055);
	assert_int_equal(virtq_conf(&rig->dev->queues[0].from_guest)->coal_max_packets, 5);
	assert_int_equal(rig_coal(rig, 3), 6066);
	/* The driver does it by the number of pairs, too. */
	assert_true(rig_do_le16(rig, CLASS_MQ, 0, 1));
	assert_int_equal(rig_coal(rig, 3), -1);
	assert_true(rig_do_le16(rig, CLASS_MQ, 0, 3));
	assert_int_equal(rig_coal(rig, 3), 5055);
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
	assert_int_equal(rig_coal(rig, 0), 2022);
	/* Nor is a link that goes down. */
	vnet_set_link(rig->dev, &(struct port_link){.up = false});
	assert_int_equal(rig_coal(rig, 0), 2022);
	vnet_set_link(rig->dev, &(struct port_link){.up = true});
	assert_int_equal(rig_coal(rig, 0), 2022);
	rig_close(rig);
}

/* Under RSS a receiveq is used whatever the number of pairs. */
static void
test_C123_coalescing_under_rss(void **state)
{
	struct rig *rig = rig_usual();
	struct rss rss = data_usual_rss;

	rss.max_tx_vq = 1;
	assert_true(rig_rss(rig, &rss));
	assert_int_equal(rig_coal(rig, 6), 0);
	assert_int_equal(rig_coal(rig, 7), -1);
	rig_close(rig);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_C123_coalescing_of_queues),
		cmocka_unit_test(test_C123_a_queue_enabled_again),
		cmocka_unit_test(test_C123_a_pause_is_not_the_driver),
		cmocka_unit_test(test_C123_coalescing_under_rss),
	};

	rig_env_open();
	return UNIT_RUN(tests);
}
