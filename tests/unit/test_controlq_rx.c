/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_controlq_rx: class RX of the control queue: who is let in, as VIRTIO words it ("Packet Receive
 * Filtering").
 */
#include "unit.h"

#include "data.h"
#include "rig.h"

static void
test_C99_promisc_and_allmulti(void **state)
{
	struct rig *rig = rig_usual();

	/* After a reset: promiscuous, as drivers expect. */
	assert_true(rig_wants(rig, RIG_OTHER) && rig_wants(rig, RIG_MULTICAST) &&
		    rig_wants_tagged(rig, RIG_OTHER, 7));
	assert_true(rig_do_byte(rig, CLASS_RX, 0, 0));
	assert_true(rig_wants(rig, RIG_OWN) && rig_wants(rig, RIG_BROADCAST));
	assert_false(rig_wants(rig, RIG_OTHER) || rig_wants(rig, RIG_MULTICAST));
	assert_true(rig_do_byte(rig, CLASS_RX, 1, 1));
	assert_true(rig_wants(rig, RIG_MULTICAST) && !rig_wants(rig, RIG_OTHER));
	assert_true(rig_do_byte(rig, CLASS_RX, 1, 0));
	assert_false(rig_wants(rig, RIG_MULTICAST));
	rig_close(rig);
}

static void
test_C100_promisc_overrides_other_modes(void **state)
{
	struct rig *rig = rig_usual();

	for (uint8_t command = 3; command <= 5; command++)
		assert_true(rig_do_byte(rig, CLASS_RX, command, 1));
	assert_true(rig_wants(rig, RIG_OTHER) && rig_wants(rig, RIG_MULTICAST) &&
		    rig_wants(rig, RIG_BROADCAST));
	assert_true(rig_do_byte(rig, CLASS_RX, 0, 0));
	assert_false(rig_wants(rig, RIG_OWN) || rig_wants(rig, RIG_MULTICAST) ||
		     rig_wants(rig, RIG_BROADCAST));
	rig_close(rig);
}

static void
test_C102_extra_modes(void **state)
{
	struct rig *rig = rig_usual();

	assert_true(rig_do_byte(rig, CLASS_RX, 0, 0));
	/* C103 */
	assert_true(rig_do_byte(rig, CLASS_RX, 2, 1));
	assert_true(rig_wants(rig, RIG_OTHER) && !rig_wants(rig, RIG_MULTICAST));
	/* C105: NOUNI beats ALLUNI. */
	assert_true(rig_do_byte(rig, CLASS_RX, 4, 1));
	assert_false(rig_wants(rig, RIG_OTHER) || rig_wants(rig, RIG_OWN));
	assert_true(rig_do_byte(rig, CLASS_RX, 4, 0));
	assert_true(rig_wants(rig, RIG_OTHER));
	/* C104: NOMULTI beats ALLMULTI, broadcast is not multicast. */
	assert_true(rig_do_byte(rig, CLASS_RX, 1, 1));
	assert_true(rig_do_byte(rig, CLASS_RX, 3, 1));
	assert_true(!rig_wants(rig, RIG_MULTICAST) && rig_wants(rig, RIG_BROADCAST));
	assert_true(rig_do_byte(rig, CLASS_RX, 3, 0));
	/* C106: NOBCAST beats ALLMULTI. */
	assert_true(rig_do_byte(rig, CLASS_RX, 5, 1));
	assert_true(rig_wants(rig, RIG_MULTICAST) && !rig_wants(rig, RIG_BROADCAST));
	rig_close(rig);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_C99_promisc_and_allmulti),
		cmocka_unit_test(test_C100_promisc_overrides_other_modes),
		cmocka_unit_test(test_C102_extra_modes),
	};

	rig_env_open();
	return UNIT_RUN(tests);
}
