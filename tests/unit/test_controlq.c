/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_controlq: the control queue itself: a whole device, its rings in guest memory, and a model driver that
 * sends commands in every shape of chain; what is right takes effect before the answer, what is wrong changes
 * nothing. What commands do by class: test_controlq_*.c.
 */
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <rte_byteorder.h>

#include "ctx.h"
#include "data.h"
#include "filter.h"
#include "loop.h"
#include "rig.h"
#include "ring.h"
#include "rng.h"

static const struct rig_command known[] = {
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
	 {RIG_PAIRS, 0},
	 {{{0, 0}, 2}, {{RIG_PAIRS + 1, 0}, 2}, {{1, 0x80}, 2}, {{255, 255}, 2}}},
	/* One entry, and a key of one byte. */
	{"MQ_RSS_CONFIG",
	 4,
	 1,
	 FEATURE_MASK(NET_RSS),
	 0,
	 14,
	 {1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1, 7},
	 {{{0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1, 7}, 14},
	  {{1, 0, 0, 0, 0, 0, RIG_PAIRS, 0, 0, 0, 1, 0, 1, 7}, 14},
	  {{1, 0, 0, 0, 0, 0, 0, 0, RIG_PAIRS, 0, 1, 0, 1, 7}, 14},
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
	/* CSUM; wrong: HOST_TSO4, which is not one of these, TSO4 alone, ECN alone, CTRL_GUEST_OFFLOADS' own
	   bit. */
	{"GUEST_OFFLOADS_SET",
	 5,
	 0,
	 FEATURE_MASK(NET_CTRL_GUEST_OFFLOADS),
	 0,
	 8,
	 {2, 0, 0, 0, 0, 0, 0, 0},
	 {{{2, 8, 0, 0, 0, 0, 0, 0}, 8},
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
	 {{{2 * RIG_PAIRS, 0, 0, 0, 8}, 12}, {{2, 0, 0, 0, 8}, 12}, {{255, 255, 0, 0, 8}, 12}}},
	{"NOTF_COAL_VQ_GET",
	 6,
	 3,
	 FEATURE_MASK(NET_VQ_NOTF_COAL),
	 8,
	 4,
	 {1, 0, 0, 0},
	 {{{2 * RIG_PAIRS, 0}, 4}, {{3, 0}, 4}, {{0, 1}, 4}}},
	{"STATS_QUERY", 8, 0, FEATURE_MASK(NET_DEVICE_STATS), 8, 0, {0}, {{{0}, 0}}},
	{"STATS_GET",
	 8,
	 1,
	 FEATURE_MASK(NET_DEVICE_STATS),
	 56,
	 16,
	 {1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0},
	 {{{2 * RIG_PAIRS + 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0}, 16},
	  {{1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0}, 16},
	  {{1, 0, 0, 0, 0, 0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0}, 16},
	  {{1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 128}, 16}}},
};

/* Every ring, and then every command. */
static void
test_commands_refuse(void **state)
{
	for (uint32_t traits = 0; traits < 4; traits++) {
		struct rig_options options = {.n_pairs = RIG_PAIRS, .traits = traits};
		struct rig *rig = rig_open(&options);

		for (size_t i = 0; i < RTE_DIM(known); i++) {
			const struct rig_command *command = &known[i];
			uint8_t bytes[17] = {0};

			memcpy(bytes, command->bytes, command->len);
			if (command->len) {
				rig_refuses(rig, command, bytes, 0);
				rig_refuses(rig, command, bytes, command->len - 1);
			}
			rig_refuses(rig, command, bytes, command->len + 1);
			for (size_t k = 0; k < RTE_DIM(command->wrong) && command->wrong[k].len; k++)
				rig_refuses(rig, command, command->wrong[k].bytes, command->wrong[k].len);
		}
		rig_close(rig);
	}
}

static void
test_commands_need_their_feature(void **state)
{
	for (size_t i = 0; i < RTE_DIM(known); i++) {
		struct rig *rig =
			rig_open(&(struct rig_options){.n_pairs = RIG_PAIRS, .without = known[i].feature});

		rig_refuses(rig, &known[i], known[i].bytes, known[i].len);
		rig_close(rig);
	}
}

/* Whatever its shape, a command means the same: cut at every byte, one byte a descriptor, indirect or not. */
static void
known_in_shape(struct rig *rig, const struct rig_command *command, const struct rig_shape *shape)
{
	const uint64_t n_ok = rig->dev->controlq.stats.ok;
	struct rig_answer answer;

	rig_announce(rig);
	answer = rig_ask(rig, shape, command->class, command->command, command->bytes, command->len,
			 command->result);
	if (answer.ack != 0 || answer.len != 1 + command->result)
		fail_msg("%s in pieces of %u, cut at %u and %u, form %d: %u bytes written, ack %u",
			 command->name, shape->piece, shape->cut, shape->wcut, (int)shape->form, answer.len,
			 answer.ack);
	assert_int_equal(rig->dev->controlq.stats.ok, n_ok + 1);
}

static void
test_commands_in_every_shape(void **state)
{
	for (uint32_t traits = 0; traits < 4; traits++) {
		struct rig *rig = rig_open(&(struct rig_options){.n_pairs = RIG_PAIRS, .traits = traits});

		for (size_t i = 0; i < RTE_DIM(known); i++) {
			for (int form = 0; form < DRIVER_N_FORMS; form++) {
				struct rig_shape shape = {.form = (enum driver_form)form};

				for (uint32_t cut = 0; cut < 2 + known[i].len; cut++) {
					shape.cut = cut;
					for (uint32_t wcut = 0; wcut < 1 + known[i].result; wcut++) {
						shape.wcut = wcut;
						known_in_shape(rig, &known[i], &shape);
					}
				}
				shape = (struct rig_shape){.piece = 1, .form = (enum driver_form)form};
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
		struct rig *rig = rig_open(&(struct rig_options){.n_pairs = RIG_PAIRS, .traits = traits});
		const struct data *macs = data_macs(40, 24), *rss = data_rss(&data_usual_rss);
		struct vnet_settings whole;

		assert_true(rig_do_data(rig, CLASS_MAC, 0, macs));
		assert_true(rig_do_data(rig, CLASS_MQ, 1, rss));
		whole = rig->dev->input.settings;
		assert_int_equal(whole.filter.unicast.n, 40);
		assert_int_equal(whole.filter.multicast.n, 24);
		assert_int_equal(whole.steer.rss.table_len, 128);
		for (uint32_t cut = 1; cut < 2 + macs->len; cut++) {
			struct rig_shape shape = {.cut = cut, .form = cut % DRIVER_N_FORMS};
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
			assert_memory_equal(&whole, &rig->dev->input.settings, sizeof(whole));
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
			struct rig_command unknown = {
				.name = "unknown", .class = (uint8_t) class, .command = (uint8_t)command};
			bool is_known = false;

			for (size_t i = 0; i < RTE_DIM(known); i++)
				is_known |= known[i].class == class && known[i].command == command;
			if (is_known || (command > 20 && command < 250 && class > 9 && class < 250))
				continue;
			rig_refuses(rig, &unknown, (const uint8_t *)"\1\0\0\0", command % 5);
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
	rig_send(rig, &rig_direct, &byte, 1, 1, 1);
	assert_int_equal(controlq_serve(&rig->dev->controlq), 1);
	assert_int_equal(rig_take_answer(rig, 1, 1).ack, 1);
	/* None: there is something to write the answer to, nevertheless. */
	rig_send(rig, &rig_direct, &byte, 0, 4, 2);
	assert_int_equal(controlq_serve(&rig->dev->controlq), 1);
	assert_int_equal(rig_take_answer(rig, 4, 2).ack, 1);
	assert_int_equal(rig->dev->controlq.stats.err, 2);
	rig_close(rig);
}

/* No byte for the answer: nothing is done, the chain comes back, and it is counted. */
static void
test_C98_no_room_for_an_answer(void **state)
{
	for (uint32_t traits = 0; traits < 4; traits++) {
		struct rig *rig = rig_open(&(struct rig_options){.n_pairs = RIG_PAIRS, .traits = traits});
		const uint8_t bytes[] = {CLASS_RX, 0, 0};
		uint64_t tag;
		uint32_t len;

		rig_send(rig, &rig_direct, bytes, sizeof(bytes), 0, 7);
		assert_int_equal(controlq_serve(&rig->dev->controlq), 1);
		assert_true(driver_get(&rig->driver, &tag, &len));
		assert_int_equal(tag, 7);
		assert_int_equal(len, 0);
		assert_int_equal(rig->dev->controlq.stats.unanswered, 1);
		assert_true(rig->dev->input.settings.filter.promisc);
		assert_int_equal(rig->dev->controlq.stats.ok + rig->dev->controlq.stats.err, 0);
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
				   {.gpa = rig_writable_gpa(), .len = 1, .writable = true}};
	const struct data *data = data_rss(&data_usual_rss);
	static uint8_t bytes[2 + DATA_MAX];
	struct rig_shape shape = {.piece = 1, .form = DRIVER_INDIRECT};
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
	assert_int_equal(rig->dev->controlq.stats.unanswered, 2);
	assert_true(rig_rss(rig, &data_usual_rss));
	rig_close(rig);
}

static void
test_data_longer_than_64_KiB(void **state)
{
	struct rig *rig = rig_usual();
	const struct data *data = data_macs(10920, 0);
	struct rig_answer answer;

	/* 65528 bytes: the most addresses that fit. */
	answer = rig_ask(rig, &rig_direct, CLASS_MAC, 0, data->bytes, data->len, 0);
	assert_int_equal(answer.ack, 0);
	assert_true(rig->dev->input.settings.filter.unicast.overflow);
	for (unsigned int n = 10922; n < 11000; n += 70) {
		data = data_macs(n, 0);
		answer = rig_ask(rig, &rig_direct, CLASS_MAC, 0, data->bytes, data->len, 0);
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
			rig_open(&(struct rig_options){.n_pairs = RIG_PAIRS, .traits = traits, .size = size});

		for (unsigned int i = 0; i < 5000; i++) {
			uint16_t vlan = (uint16_t)(i % 4096);

			assert_true(rig_do_le16(rig, CLASS_VLAN, i < 4096 ? 0 : 1, vlan));
		}
		for (unsigned int i = 0; i < 4096; i++)
			assert_int_equal(rig->dev->input.settings.filter.vlans[i / 64] >> i % 64 & 1,
					 i >= 5000 - 4096);
		assert_int_equal(rig->dev->controlq.stats.ok, 5000);
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
		rig_send(rig, &rig_direct, bytes, sizeof(bytes), 1, i);
	while ((n = controlq_serve(&rig->dev->controlq)) != 0) {
		assert_true(n <= CONTROLQ_QUOTA_MAX);
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
		assert_false(rig->dev->input.settings.filter.promisc);
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
	rig_announce(rig); /* as rig_refuses() does: what it changes, it changes here */
	for (uint8_t number = FAILING_ITSELF; number <= FAILING_TO_STEER; number++) {
		const struct rig_command command = {
			.name = "FAILING", .class = CLASS_FAILING, .command = number, .result = 50};
		const struct vnet_filter *filter = rig->dev->output.filter;
		const struct port_steer *steer = rig->dev->output.steer;

		rig_refuses(rig, &command, &number, 1);
		assert_ptr_equal(rig->dev->output.filter, filter);
		assert_ptr_equal(rig->dev->output.steer, steer);
		assert_int_equal(atomic_load(&rig->port.n_active), 3);
		assert_true(rig_wants(rig, RIG_MULTICAST) && !rig_wants(rig, RIG_OTHER));
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
	struct vnic_ctx ctx = {};
	struct rig *rig;
	const uint8_t on[] = {CLASS_RX, 1, 1};
	uint64_t one = 1, huge = UINT64_MAX - 1;
	uint64_t tag;
	uint32_t len;
	int fd;

	assert_int_equal(ctx_open(&ctx), 0);
	rig = rig_open(&(struct rig_options){.n_pairs = RIG_PAIRS, .ctx = &ctx});
	fd = rig->kick_fds[rig->controlq];
	loop_iteration(ctx.loop);
	for (uint64_t i = 0; i < 100; i++) {
		rig_send(rig, &rig_direct, on, sizeof(on), 1, i);
		assert_true(driver_has_to_kick(&rig->driver));
		assert_false(driver_get(&rig->driver, &tag, &len));
		rig_kick(fd);
		loop_iteration(ctx.loop);
		assert_true(driver_get(&rig->driver, &tag, &len));
		assert_int_equal(tag, i);
	}
	/* Many at once, one kick. */
	for (uint64_t i = 0; i < 200; i++)
		rig_send(rig, &rig_direct, on, sizeof(on), 1, i);
	rig_kick(fd);
	loop_iteration(ctx.loop);
	for (uint64_t i = 0; i < 200; i++)
		assert_true(driver_get(&rig->driver, &tag, &len));
	/* A front-end that takes kicks away, or makes the descriptor block and fills it, holds nobody up. */
	assert_int_equal(fcntl(fd, F_SETFL, 0), 0);
	rig_kick(fd);
	assert_int_equal(read(fd, &one, sizeof(one)), sizeof(one));
	loop_iteration(ctx.loop);
	assert_int_equal(write(fd, &huge, sizeof(huge)), sizeof(huge));
	for (uint64_t i = 0; i < 200; i++)
		rig_send(rig, &rig_direct, on, sizeof(on), 1, i);
	loop_iteration(ctx.loop);
	assert_int_equal(read(fd, &one, sizeof(one)), sizeof(one));
	rig_kick(fd);
	loop_iteration(ctx.loop);
	for (uint64_t i = 0; i < 200; i++)
		assert_true(driver_get(&rig->driver, &tag, &len));
	rig_close(rig);
	loop_iteration(ctx.loop);
	ctx_close(&ctx);
}

/* NOTIFICATION_DATA: whatever is written into the descriptor, true or not, a kick is a kick. */
static void
test_C36_kicked_with_data(void **state)
{
	struct vnic_ctx ctx = {};
	const uint8_t on[] = {CLASS_RX, 1, 1};

	assert_int_equal(ctx_open(&ctx), 0);
	for (uint32_t packed = 0; packed < 2; packed++) {
		struct rig *rig = rig_open(&(struct rig_options){
			.n_pairs = RIG_PAIRS, .ctx = &ctx, .traits = packed ? TRAIT_PACKED : 0});
		const int fd = rig->kick_fds[rig->controlq];

		assert_true(rig->features & FEATURE_MASK(NOTIFICATION_DATA));
		loop_iteration(ctx.loop);
		for (uint64_t i = 0; i < 1000; i++) {
			/* The queue's number, and what looks like a position: often a wrong one. */
			const uint64_t word = rig->controlq | (uint64_t)rng_below(UINT16_MAX) << 16;
			uint64_t tag;
			uint32_t len;

			rig_send(rig, &rig_direct, on, sizeof(on), 1, i);
			assert_int_equal(write(fd, &word, sizeof(word)), sizeof(word));
			loop_iteration(ctx.loop);
			assert_true(driver_get(&rig->driver, &tag, &len));
			assert_int_equal(tag, i);
		}
		rig_close(rig);
		loop_iteration(ctx.loop);
	}
	ctx_close(&ctx);
}

/* What was made available before the queue ran is found without a kick; a new descriptor takes over. */
static void
test_kick_descriptor_changes(void **state)
{
	struct vnic_ctx ctx = {};
	struct rig *rig;
	const uint8_t on[] = {CLASS_RX, 1, 1};
	int fd = eventfd(0, EFD_CLOEXEC);
	struct diag diag;
	uint64_t tag;
	uint32_t len;

	assert_int_equal(ctx_open(&ctx), 0);
	rig = rig_open(&(struct rig_options){.n_pairs = RIG_PAIRS, .ctx = &ctx});
	rig_send(rig, &rig_direct, on, sizeof(on), 1, 1);
	loop_iteration(ctx.loop);
	assert_true(driver_get(&rig->driver, &tag, &len));
	assert_int_equal(vdev_queue_set_kick(&rig->dev->vdev, rig->controlq, fd, &diag), 0);
	loop_iteration(ctx.loop);
	rig_send(rig, &rig_direct, on, sizeof(on), 1, 2);
	rig_kick(fd);
	loop_iteration(ctx.loop);
	assert_true(driver_get(&rig->driver, &tag, &len));
	rig_close(rig);
	loop_iteration(ctx.loop);
	ctx_close(&ctx);
}

static void
test_polled_without_kick_descriptor(void **state)
{
	struct vnic_ctx ctx = {};
	struct rig *rig;
	const uint8_t on[] = {CLASS_RX, 1, 1};
	uint64_t tag;
	uint32_t len;

	assert_int_equal(ctx_open(&ctx), 0);
	rig = rig_open(&(struct rig_options){.n_pairs = RIG_PAIRS, .ctx = &ctx, .kickless = true});
	for (uint64_t i = 0; i < 5; i++) {
		bool back = false;

		rig_send(rig, &rig_direct, on, sizeof(on), 1, i);
		for (unsigned int turn = 0; turn < 100 && !back; turn++) {
			assert_int_equal(loop_run_once(ctx.loop, 5), 0);
			back = driver_get(&rig->driver, &tag, &len);
		}
		assert_true(back);
	}
	rig_close(rig);
	loop_iteration(ctx.loop);
	ctx_close(&ctx);
}

static unsigned int n_waits;

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
	quiesce_set(&rig->ctx->quiesce, count_wait, NULL, NULL, NULL);
	for (unsigned int i = 0; i < 100; i++) {
		assert_true(rig_do_byte(rig, CLASS_RX, 0, 0));
		assert_true(rig_do_le16(rig, CLASS_MQ, 0, 3));
		assert_false(rig_do_byte(rig, CLASS_RX, 0, 9));
		assert_int_equal(rig_coal(rig, 0), 0);
	}
	assert_int_equal(n_waits, 0);
	assert_ptr_equal(virtq_conf(&rig->dev->queues[0].to_guest), conf);
	/* And one that changes something does all of that. */
	assert_true(rig_do_byte(rig, CLASS_RX, 0, 1));
	assert_true(n_waits >= 1);
	quiesce_set(&rig->ctx->quiesce, NULL, NULL, NULL, NULL);
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
	filter = rig->dev->output.filter;
	assert_non_null(filter);
	assert_true(rig_do_le16(rig, CLASS_VLAN, 0, 3));
	assert_ptr_equal(atomic_load(&rig->port.steer), steer);
	filter = rig->dev->output.filter;
	assert_true(rig_do_le16(rig, CLASS_MQ, 0, 2));
	assert_ptr_equal(rig->dev->output.filter, filter);
	assert_true(rig_wants_tagged(rig, RIG_OWN, 3) && !rig_wants_tagged(rig, RIG_OWN, 4));
	assert_true(rig_do_data(rig, CLASS_COAL, 0, data_coal(-1, 5, 55)));
	assert_ptr_equal(rig->dev->output.filter, filter);
	assert_ptr_equal(atomic_load(&rig->port.filter), filter);
	rig_close(rig);
}

/* A paused machine's front-end sends the same features again; others are another driver's. */
static void
test_settings_and_features(void **state)
{
	struct rig_options options = {.n_pairs = RIG_PAIRS, .status = true};
	struct rig *rig = rig_open(&options);

	assert_true(rig_rss(rig, &data_usual_rss));
	assert_true(rig_do_byte(rig, CLASS_RX, 0, 0));
	rig_stop(rig);
	assert_null(rig->dev->output.filter);
	rig_start(rig, &options);
	assert_true(rig->dev->input.settings.steer.rss.enabled);
	assert_false(rig_wants(rig, RIG_OTHER));
	assert_int_equal(rig_picks(rig, false), 3);
	rig_stop(rig);
	options.without = FEATURE_MASK(NET_RSS);
	rig_start(rig, &options);
	assert_false(rig->dev->input.settings.steer.rss.enabled);
	assert_int_equal(rig->dev->input.settings.steer.hash.types, 0);
	assert_true(rig_wants(rig, RIG_OTHER));
	assert_int_equal(atomic_load(&rig->port.n_active), 1);
	/* A front-end that does not speak of status means another driver in any case. */
	rig_stop(rig);
	options = (struct rig_options){.n_pairs = RIG_PAIRS};
	rig_start(rig, &options);
	assert_true(rig_do_byte(rig, CLASS_RX, 0, 0));
	rig_stop(rig);
	rig_start(rig, &options);
	assert_true(rig->dev->input.settings.filter.promisc);
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
	assert_false(vnet_serves_controlq(rig->dev));
	assert_true(rig_wants(rig, RIG_OTHER) && rig_wants_tagged(rig, RIG_OTHER, 9));
	assert_int_equal(atomic_load(&rig->port.n_active), RIG_PAIRS);
	assert_true(rig_transmitq_is_open(rig, 3));
	assert_int_equal(controlq_serve(&rig->dev->controlq), 0);
	rig_close(rig);
}

/* Until nothing is left: an iteration is bounded in time too, and this process may be interrupted in one. */
static unsigned int
serve_all_of_it(struct vnic_ctx *ctx)
{
	unsigned int n = 0, now;

	while ((now = controlq_serve_all(ctx)) != 0)
		n += now;
	return n;
}

/* One after the other in one thread, as a service core does it; and none of another context. */
static void
test_all_devices_are_served(void **state)
{
	struct vnic_ctx ctx = {};
	struct rig *rigs[3], *other = rig_usual();
	const uint8_t bytes[] = {CLASS_RX, 0, 0};
	uint64_t tag;
	uint32_t len;

	for (unsigned int i = 0; i < 3; i++)
		rigs[i] = rig_open(&(struct rig_options){.n_pairs = RIG_PAIRS, .ctx = &ctx});
	rig_send(other, &rig_direct, bytes, sizeof(bytes), 1, 0);
	for (unsigned int i = 0; i < 3; i++) {
		rig_send(rigs[i], &rig_direct, bytes, sizeof(bytes), 1, i);
		rig_send(rigs[i], &rig_direct, bytes, sizeof(bytes), 1, i + 10);
	}
	assert_int_equal(serve_all_of_it(&ctx), 6);
	for (unsigned int i = 0; i < 3; i++) {
		assert_true(driver_get(&rigs[i]->driver, &tag, &len) && tag == i && len == 1);
		assert_true(driver_get(&rigs[i]->driver, &tag, &len) && tag == i + 10 && len == 1);
	}
	rig_close(rigs[1]);
	rig_send(rigs[0], &rig_direct, bytes, sizeof(bytes), 1, 1);
	rig_send(rigs[2], &rig_direct, bytes, sizeof(bytes), 1, 1);
	assert_int_equal(serve_all_of_it(&ctx), 2);
	rig_close(rigs[0]);
	rig_close(rigs[2]);
	assert_int_equal(controlq_serve_all(&ctx), 0);
	ctx_close(&ctx);
	assert_int_equal(serve_all_of_it(other->ctx), 1);
	rig_close(other);
}

int
main(void)
{
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
		cmocka_unit_test(test_C36_kicked_with_data),
		cmocka_unit_test(test_kick_descriptor_changes),
		cmocka_unit_test(test_polled_without_kick_descriptor),
		cmocka_unit_test(test_repeated_commands_cost_nothing),
		cmocka_unit_test(test_only_what_changes_is_built),
		cmocka_unit_test(test_settings_and_features),
		cmocka_unit_test(test_without_a_controlq_of_ours),
		cmocka_unit_test(test_all_devices_are_served),
	};

	rig_env_open();
	return UNIT_RUN(tests);
}
