/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_controlq_announce: class ANNOUNCE: the bit in the status that asks for gratuitous packets.
 */
#include "unit.h"

#include "data.h"
#include "rig.h"

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
	rig_reset(rig, &(struct rig_options){.n_pairs = RIG_PAIRS});
	assert_int_equal(config_status(rig), 1);
	rig_close(rig);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_C114_announce_cleared_before_the_answer),
	};

	rig_env_open();
	return UNIT_RUN(tests);
}
