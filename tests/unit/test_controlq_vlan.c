/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_controlq_vlan: class VLAN: the table of tags.
 */
#include "unit.h"

#include "data.h"
#include "rig.h"

static void
test_C112_without_ctrl_vlan_all_tags_are_let_in(void **state)
{
	struct rig *rig =
		rig_open(&(struct rig_options){.n_pairs = RIG_PAIRS, .without = FEATURE_MASK(NET_CTRL_VLAN)});

	assert_true(rig_do_byte(rig, CLASS_RX, 0, 0));
	for (int vlan = 0; vlan < FILTER_VLANS; vlan++)
		assert_true(rig_wants_tagged(rig, RIG_OWN, vlan));
	rig_close(rig);
}

static void
test_C113_vlan_table(void **state)
{
	struct rig_options options = {.n_pairs = RIG_PAIRS};
	struct rig *rig = rig_open(&options);

	assert_true(rig_do_byte(rig, CLASS_RX, 0, 0));
	/* Tag 0 is a priority, not a VLAN. */
	for (int vlan = 0; vlan < FILTER_VLANS; vlan++)
		assert_int_equal(rig_wants_tagged(rig, RIG_OWN, vlan), vlan == 0);
	assert_true(rig_wants(rig, RIG_OWN));
	assert_true(rig_do_le16(rig, CLASS_VLAN, 0, 0));
	assert_true(rig_do_le16(rig, CLASS_VLAN, 0, 64));
	assert_true(rig_do_le16(rig, CLASS_VLAN, 0, 4095));
	/* What is there already, or is not there, is no error: the table is as the driver wants it. */
	assert_true(rig_do_le16(rig, CLASS_VLAN, 0, 4095));
	assert_true(rig_do_le16(rig, CLASS_VLAN, 1, 5));
	for (int vlan = 0; vlan < FILTER_VLANS; vlan++)
		assert_int_equal(rig_wants_tagged(rig, RIG_OWN, vlan),
				 vlan == 0 || vlan == 64 || vlan == 4095);
	assert_true(rig_do_le16(rig, CLASS_VLAN, 1, 64));
	assert_true(!rig_wants_tagged(rig, RIG_OWN, 64) && rig_wants_tagged(rig, RIG_OWN, 4095));
	rig_reset(rig, &options);
	assert_true(rig_do_byte(rig, CLASS_RX, 0, 0));
	assert_false(rig_wants_tagged(rig, RIG_OWN, 4095));
	rig_close(rig);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_C112_without_ctrl_vlan_all_tags_are_let_in),
		cmocka_unit_test(test_C113_vlan_table),
	};

	rig_env_open();
	return UNIT_RUN(tests);
}
