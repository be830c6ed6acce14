/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_controlq_mac: class MAC: the table of addresses and the address of the device.
 */
#include "unit.h"

#include <string.h>

#include <rte_byteorder.h>

#include "data.h"
#include "rig.h"

static void
test_C107_mac_table_empty_on_reset(void **state)
{
	for (int status = 0; status < 2; status++) {
		struct rig_options options = {.n_pairs = RIG_PAIRS, .status = status};
		struct rig *rig = rig_open(&options);

		assert_int_equal(rig->dev->input.settings.filter.unicast.n +
					 rig->dev->input.settings.filter.multicast.n,
				 0);
		assert_true(rig_do_data(rig, CLASS_MAC, 0, data_macs(3, 65)));
		assert_true(rig_do_byte(rig, CLASS_RX, 0, 0));
		assert_true(rig_wants(rig, RIG_UNICAST_N(2)) && rig_wants(rig, RIG_MULTICAST_N(99)));
		rig_reset(rig, &options);
		assert_int_equal(rig->dev->input.settings.filter.unicast.n +
					 rig->dev->input.settings.filter.multicast.n,
				 0);
		assert_true(rig_do_byte(rig, CLASS_RX, 0, 0));
		assert_false(rig_wants(rig, RIG_UNICAST_N(2)) || rig_wants(rig, RIG_MULTICAST_N(99)));
		rig_close(rig);
	}
}

/* By the time of the answer the filter is the new one. */
static void
test_C108_mac_table_updated_before_the_answer(void **state)
{
	struct rig *rig = rig_usual();

	assert_true(rig_do_byte(rig, CLASS_RX, 0, 0));
	assert_true(rig_do_data(rig, CLASS_MAC, 0, data_macs(2, 3)));
	assert_true(rig_wants(rig, RIG_UNICAST_N(1)));
	assert_true(rig_wants(rig, RIG_MULTICAST_N(2)));
	assert_false(rig_wants(rig, RIG_UNICAST_N(2)));
	assert_false(rig_wants(rig, RIG_MULTICAST_N(3)));
	assert_true(rig_wants(rig, RIG_OWN));
	/* The table is replaced, not added to. */
	assert_true(rig_do_data(rig, CLASS_MAC, 0, data_macs(0, 1)));
	assert_true(!rig_wants(rig, RIG_UNICAST_N(1)) && rig_wants(rig, RIG_MULTICAST_N(0)) &&
		    !rig_wants(rig, RIG_MULTICAST_N(2)));
	rig_close(rig);
}

static void
test_C109_mac_in_config_before_the_answer(void **state)
{
	struct rig *rig = rig_usual();
	const uint8_t mac[] = {2, 0, 0, 0, 0x12, 0x34};
	uint8_t space[VDEV_CONFIG_MAX];

	assert_true(vnet_config_read(&rig->dev->vdev, space) >= 6);
	assert_memory_equal(space, rig_mac.addr_bytes, 6);
	assert_true(rig_do_byte(rig, CLASS_RX, 0, 0));
	assert_true(rig_do(rig, CLASS_MAC, 1, mac, 6));
	vnet_config_read(&rig->dev->vdev, space);
	assert_memory_equal(space, mac, 6);
	assert_true(rig_wants(rig, RIG_UNICAST_N(0x1234)) && !rig_wants(rig, RIG_OWN));
	/* A reset brings the device's own back. */
	rig_reset(rig, &(struct rig_options){.n_pairs = RIG_PAIRS});
	vnet_config_read(&rig->dev->vdev, space);
	assert_memory_equal(space, rig_mac.addr_bytes, 6);
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
		const struct vnet_settings *settings = &rig->dev->input.settings;

		assert_true(
			rig_do_data(rig, CLASS_MAC, 0, data_macs(cases[i].n_unicast, cases[i].n_multicast)));
		assert_int_equal(settings->filter.unicast.overflow, cases[i].unicast_overflows);
		assert_int_equal(settings->filter.multicast.overflow, cases[i].multicast_overflows);
		assert_int_equal(settings->filter.unicast.n,
				 cases[i].unicast_overflows ? 0 : cases[i].n_unicast);
		assert_int_equal(settings->filter.multicast.n,
				 cases[i].multicast_overflows ? 0 : cases[i].n_multicast);
		for (unsigned int n = 0; n < 70; n++) {
			assert_int_equal(rig_wants(rig, RIG_UNICAST_N(n)),
					 cases[i].unicast_overflows || n < cases[i].n_unicast);
			assert_int_equal(rig_wants(rig, RIG_MULTICAST_N(n)),
					 cases[i].multicast_overflows || n < cases[i].n_multicast);
		}
	}
	rig_close(rig);
}

/* Counts that lie: hostile/N09. */
static void
test_mac_table_counts_that_lie(void **state)
{
	const struct rig_command table = {.name = "MAC_TABLE_SET", .class = CLASS_MAC};
	const uint32_t counts[] = {4, 5, 0x7fffffff, 0x80000000, 0xffffffff, 0x2aaaaaab, 0x55555556};
	struct rig *rig = rig_usual();
	uint8_t bytes[100];

	assert_true(rig_do_data(rig, CLASS_MAC, 0, data_macs(3, 3)));
	for (size_t i = 0; i < RTE_DIM(counts); i++) {
		const struct data *data = data_macs(3, 3);
		uint32_t count = rte_cpu_to_le_32(counts[i]);

		memcpy(bytes, data->bytes, data->len);
		memcpy(bytes, &count, 4);
		rig_refuses(rig, &table, bytes, data->len);
		memcpy(bytes, data->bytes, data->len);
		memcpy(bytes + 22, &count, 4);
		rig_refuses(rig, &table, bytes, data->len);
	}
	for (uint32_t len = 0; len < 44; len++)
		rig_refuses(rig, &table, data_macs(3, 3)->bytes, len);
	/* 2^31 addresses are 0 bytes in 32 bits. */
	rig_refuses(rig, &table, (const uint8_t[8]){0, 0, 0, 0, 0, 0, 0, 0x80}, 8);
	rig_refuses(rig, &table, (const uint8_t[8]){0, 0, 0, 0x80, 0, 0, 0, 0}, 8);
	rig_close(rig);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_C107_mac_table_empty_on_reset),
		cmocka_unit_test(test_C108_mac_table_updated_before_the_answer),
		cmocka_unit_test(test_C109_mac_in_config_before_the_answer),
		cmocka_unit_test(test_C111_mac_tables_and_their_overflow),
		cmocka_unit_test(test_mac_table_counts_that_lie),
	};

	rig_env_open();
	return UNIT_RUN(tests);
}
