/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_controlq_stats: class STATS: counters of queues, and of the control queue itself.
 */
#include "unit.h"

#include <string.h>
#include <unistd.h>

#include "data.h"
#include "rig.h"

enum { RX_BASIC = 0, TX_BASIC = 16, CVQ = 32 };

static uint64_t
reply_counter(const struct rig_answer *answer, uint32_t at, unsigned int i)
{
	return controlq_le64(answer->result + at + 8 + 8 * i);
}

static void
reply_is(const struct rig_answer *answer, uint32_t at, uint8_t type, uint16_t idx, uint16_t size)
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
	struct rig_answer answer = rig_ask(rig, &rig_direct, CLASS_STATS, 0, NULL, 0, 8);

	assert_int_equal(answer.len, 9);
	assert_int_equal(answer.ack, 0);
	assert_int_equal(controlq_le64(answer.result), 1ull << RX_BASIC | 1ull << TX_BASIC | 1ull << CVQ);
	/* More room changes nothing, less is not enough. */
	assert_int_equal(rig_ask(rig, &rig_direct, CLASS_STATS, 0, NULL, 0, 100).len, 9);
	assert_int_equal(rig_ask(rig, &rig_direct, CLASS_STATS, 0, NULL, 0, 7).len, 1);
	rig_close(rig);

	rig = rig_open(&(struct rig_options){.n_pairs = RIG_PAIRS, .portless = true});
	answer = rig_ask(rig, &rig_direct, CLASS_STATS, 0, NULL, 0, 8);
	assert_int_equal(controlq_le64(answer.result), 1ull << CVQ);
	rig_close(rig);
}

static void
test_C125_counters(void **state)
{
	struct rig *rig = rig_open(
		&(struct rig_options){.n_pairs = RIG_PAIRS, .without = FEATURE_MASK(NOTIFICATION_DATA)});
	struct port_queue_stats *rx = &rig->port.rxqs[1].stats, *tx = &rig->port.txqs[1].stats;
	struct data data = {.len = 0};
	struct rig_answer answer;

	/* From the guest: 3 + 5 + 7 + 11 + 13, of these 4 with the link down. */
	rx->packets = 1000;
	rx->bytes = 90000;
	rx->drops[DROP_MALFORMED] = 3;
	rx->drops[DROP_RUNT] = 5;
	rx->drops[DROP_OVERSIZE] = 7;
	rx->drops[DROP_BAD_OFFLOAD] = 11;
	rx->drops[DROP_DISABLED] = 9;
	rx->drops[DROP_LINK_DOWN] = 4;
	rig->dev->queues[1].discarded_bytes = 1300;
	/* After the device: not its drops. */
	rx->drops[DROP_NO_PORT] = rx->drops[DROP_HANDOFF_FULL] = 100;
	/* To it: whatever the reason. */
	tx->packets = 2000;
	tx->bytes = 180000;
	tx->drops[DROP_MALFORMED] = 2;
	tx->drops[DROP_LINK_DOWN] = 6;
	tx->drops[DROP_NO_BUFFER] = 20;
	tx->drops[DROP_FILTERED] = 30;
	tx->drops[DROP_QUEUE_STOPPED] = 40;
	tx->drops[DROP_TOO_LONG] = 50;
	tx->drops[DROP_BROKEN] = 60;
	rig->dev->queues[1].to_guest.notified = 77;
	rig->dev->queues[1].from_guest.notified = 88;
	for (unsigned int i = 0; i < 3; i++)
		rig_kick(rig->kick_fds[2]);
	rig_kick(rig->kick_fds[3]);

	/* Three queues in one command, in the driver's order. */
	data_put(&data, 3, 2);
	data_put(&data, 0, 6);
	data_put(&data, 1ull << TX_BASIC, 8);
	data_put(&data, 2, 2);
	data_put(&data, 0, 6);
	data_put(&data, 1ull << RX_BASIC, 8);
	data_put(&data, 2 * RIG_PAIRS, 2);
	data_put(&data, 0, 6);
	data_put(&data, 1ull << CVQ, 8);
	answer = rig_ask(rig, &rig_direct, CLASS_STATS, 1, data.bytes, data.len, 500);
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
	reply_is(&answer, 112, CVQ, 2 * RIG_PAIRS, 24);
	assert_int_equal(reply_counter(&answer, 112, 0), 1);
	assert_int_equal(reply_counter(&answer, 112, 1), 1);
	/* Kicks are counted on; commands, good and bad. */
	rig_kick(rig->kick_fds[2]);
	assert_false(rig_do_byte(rig, CLASS_RX, 0, 7));
	answer = rig_ask(rig, &rig_direct, CLASS_STATS, 1, data.bytes, data.len, 500);
	assert_int_equal(reply_counter(&answer, 56, 0), 4);
	assert_int_equal(reply_counter(&answer, 112, 0), 3);
	assert_int_equal(reply_counter(&answer, 112, 1), 2);
	rig_close(rig);
}

/* NOTIFICATION_DATA: what a kick descriptor holds is no count; that there was something is. */
static void
test_C36_kicks_with_data(void **state)
{
	static const uint64_t words[] = {2, 3, 1, 0x80010002, 0x7fff0002, UINT32_MAX, UINT64_MAX - 1};
	struct rig *rig = rig_open(&(struct rig_options){.n_pairs = RIG_PAIRS});
	const struct vdev *vdev = &rig->dev->vdev;
	uint64_t n = 0;

	assert_true(vdev->said.features & FEATURE_MASK(NOTIFICATION_DATA));
	for (size_t i = 0; i < RTE_DIM(words); i++) {
		assert_int_equal(write(rig->kick_fds[2], &words[i], sizeof(words[i])), sizeof(words[i]));
		assert_int_equal(vdev_queue_kicks(vdev, 2), ++n);
		assert_int_equal(vdev_queue_kicks(vdev, 2), n);
		assert_int_equal(vdev_queue_kicks(vdev, 3), 0);
	}
	rig_close(rig);
}

/* Every size of the driver's buffer: filled as far as it goes, and not a byte further. */
static void
test_C125_bounded_by_the_buffer(void **state)
{
	struct rig *rig = rig_usual();
	struct data data = {.len = 0};
	uint8_t whole[2 * RIG_PAIRS * 56];

	for (uint16_t idx = 0; idx < 2 * RIG_PAIRS; idx++) {
		rig->port.rxqs[idx / 2].stats.packets = rig->port.txqs[idx / 2].stats.packets = idx * 1001u;
		data_put(&data, idx, 2);
		data_put(&data, 0, 6);
		data_put(&data, idx % 2 ? 1ull << TX_BASIC : 1ull << RX_BASIC, 8);
	}
	memcpy(whole, rig_ask(rig, &rig_direct, CLASS_STATS, 1, data.bytes, data.len, sizeof(whole)).result,
	       sizeof(whole));
	for (uint32_t room = 0; room <= sizeof(whole) + 20; room++) {
		struct rig_shape shape = {.wcut = room / 2};
		struct rig_answer answer = rig_ask(rig, &shape, CLASS_STATS, 1, data.bytes, data.len, room);

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
	struct rig_answer answer;

	data.len = 0;
	while (data.len + 16 <= CONTROLQ_DATA_MAX) {
		data_put(&data, data.len / 16 % (2 * RIG_PAIRS) & ~1u, 2);
		data_put(&data, 0, 6);
		data_put(&data, 1ull << RX_BASIC, 8);
	}
	answer = rig_ask(rig, &rig_direct, CLASS_STATS, 1, data.bytes, data.len, RIG_ROOM_MAX - 1);
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
		{2 * RIG_PAIRS + 1, 0, 1ull << CVQ},
		{65535, 0, 1ull << CVQ},
		{0, 0, 1ull << TX_BASIC},
		{1, 0, 1ull << RX_BASIC},
		{0, 0, 1ull << CVQ},
		{2 * RIG_PAIRS, 0, 1ull << RX_BASIC},
		{0, 0, 1ull << RX_BASIC | 2},
		{0, 0, 1ull << 63},
		{0, 1, 1ull << RX_BASIC},
		{1, 0, 1ull << 19},
	};

	for (size_t i = 0; i < RTE_DIM(bad); i++) {
		for (unsigned int place = 0; place < 3; place++) {
			struct data data = {.len = 0};
			struct rig_answer answer;

			for (unsigned int k = 0; k < 3; k++) {
				data_put(&data, k == place ? bad[i].idx : 0, 2);
				data_put(&data, k == place ? bad[i].reserved : 0, 2);
				data_put(&data, 0, 4);
				data_put(&data, k == place ? bad[i].types : 1ull << RX_BASIC, 8);
			}
			answer = rig_ask(rig, &rig_direct, CLASS_STATS, 1, data.bytes, data.len, 500);
			assert_int_equal(answer.ack, 1);
			assert_int_equal(answer.len, 1);
		}
	}
	/* Nothing asked of a queue is not wrong. */
	assert_int_equal(rig_ask(rig, &rig_direct, CLASS_STATS, 1, data_ask(0, 0)->bytes, 16, 500).len, 1);
	assert_int_equal(rig->dev->controlq.stats.ok, 1);
	rig_close(rig);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_C125_query),
		cmocka_unit_test(test_C125_counters),
		cmocka_unit_test(test_C36_kicks_with_data),
		cmocka_unit_test(test_C125_bounded_by_the_buffer),
		cmocka_unit_test(test_C125_as_many_replies_as_can_be),
		cmocka_unit_test(test_C125_one_error_spoils_all),
	};

	rig_env_open();
	return UNIT_RUN(tests);
}
