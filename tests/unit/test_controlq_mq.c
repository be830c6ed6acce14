/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_controlq_mq: class MQ: queue pairs, RSS, hashes.
 */
#include "unit.h"

#include <string.h>

#include "ctx.h"
#include "data.h"
#include "rig.h"
#include "ring.h"

static void
test_C96_hash_report_can_be_configured(void **state)
{
	/* By RSS_CONFIG where RSS is offered, with a single pair, too; by HASH_CONFIG all the same. */
	for (uint16_t n_pairs = 1; n_pairs <= RIG_PAIRS; n_pairs += 3) {
		struct rss rss = {
			.types = HASH_TYPE_UDPV4, .mask = 0, .entry = 0, .max_tx_vq = 1, .key_len = 40};
		struct rig *rig = rig_open(&(struct rig_options){.n_pairs = n_pairs});

		assert_int_equal(rig->dev->input.settings.steer.hash.types, 0);
		assert_true(rig_rss(rig, &rss));
		assert_int_equal(rig->dev->input.settings.steer.hash.types, HASH_TYPE_UDPV4);
		assert_true(rig_do_data(rig, CLASS_MQ, 2, data_hash(HASH_TYPE_TCPV4, 0, 40)));
		assert_int_equal(rig->dev->input.settings.steer.hash.types, HASH_TYPE_TCPV4);
		assert_false(rig->dev->input.settings.steer.rss.enabled);
		/* Reserved words are ignored: drivers have left things there. */
		assert_true(rig_do_data(rig, CLASS_MQ, 2, data_hash(HASH_TYPE_TCPV6, 4, 40)));
		/* No types need no key, and the other way round not. */
		assert_true(rig_do_data(rig, CLASS_MQ, 2, data_hash(0, 0, 0)));
		assert_false(rig_do_data(rig, CLASS_MQ, 2, data_hash(1, 0, 0)));
		assert_false(rig_do_data(rig, CLASS_MQ, 2, data_hash(1, 0, 41)));
		rig_close(rig);
	}
}

static void
test_C115_one_pair_after_reset(void **state)
{
	struct rig_options options = {.n_pairs = RIG_PAIRS};
	struct rig *rig = rig_open(&options);

	for (int again = 0; again < 2; again++) {
		assert_int_equal(atomic_load(&rig->port.n_active), 1);
		assert_true(rig_transmitq_is_open(rig, 0));
		for (unsigned int pair = 1; pair < RIG_PAIRS; pair++)
			assert_false(rig_transmitq_is_open(rig, pair));
		assert_true(again ? rig_do_le16(rig, CLASS_MQ, 0, 4) : rig_rss(rig, &data_usual_rss));
		assert_int_equal(atomic_load(&rig->port.n_active), 4);
		rig_reset(rig, &options);
	}
	rig_close(rig);
}

/* A front-end may enable every pair whatever the driver does. Frames go where buffers have been. */
static void
test_pairs_without_buffers(void **state)
{
	for (uint32_t traits = 0; traits <= TRAIT_PACKED; traits += TRAIT_PACKED) {
		struct rig_options options = {.n_pairs = RIG_PAIRS, .traits = traits, .unfilled = true};
		struct rig *rig = rig_open(&options);

		for (int again = 0; again < 2; again++) {
			/* The driver's word alone fills no queue; nor does the front-end's. */
			assert_true(rig_do_le16(rig, CLASS_MQ, 0, RIG_PAIRS));
			assert_int_equal(atomic_load(&rig->port.n_active), 1);
			vdev_queue_get_base(&rig->dev->vdev, rig->controlq);
			assert_false(vnet_serves_controlq(rig->dev));
			assert_int_equal(atomic_load(&rig->port.n_active), 1);
			for (unsigned int i = 0; i < 64; i++)
				assert_int_equal(rig_picks(rig, true), 0);
			/* Pair 0 may be the last to get some. */
			rig_fill(rig, 1);
			vnet_check_new_pairs(rig->dev);
			assert_int_equal(atomic_load(&rig->port.n_active), 2);
			rig_fill(rig, 0);
			/* A gap: what is above waits until it is closed. */
			rig_fill(rig, 3);
			vnet_check_new_pairs(rig->dev);
			assert_int_equal(atomic_load(&rig->port.n_active), 2);
			rig_fill(rig, 2);
			vnet_check_new_pairs(rig->dev);
			assert_int_equal(atomic_load(&rig->port.n_active), 4);
			/* Used once is enough: buffers come and go. */
			for (unsigned int pair = 0; pair < RIG_PAIRS; pair++) {
				struct virtq *vq = &rig->dev->queues[pair].to_guest;
				struct virtq_cursor at = vq->avail;
				struct virtq_elem elem = {0};

				assert_int_equal(virtq_fetch(vq, virtq_conf(vq), &at, &elem, 1, traits), 1);
				virtq_retire(vq, virtq_conf(vq), &elem, 0, traits);
				virtq_publish(vq, virtq_conf(vq), traits);
				assert_false(virtq_look_available(vq, virtq_conf(vq)));
			}
			vnet_check_new_pairs(rig->dev);
			assert_int_equal(atomic_load(&rig->port.n_active), 4);
			vdev_queue_set_enable(&rig->dev->vdev, 6, false, &(struct diag){0});
			assert_int_equal(atomic_load(&rig->port.n_active), 3);
			vdev_queue_set_enable(&rig->dev->vdev, 6, true, &(struct diag){0});
			assert_int_equal(atomic_load(&rig->port.n_active), 4);
			/* Another driver's pairs are no business of this one. */
			rig_reset(rig, &options);
			assert_int_equal(atomic_load(&rig->port.n_active), 1);
		}
		rig_close(rig);
	}
}

static unsigned int n_waits;
static struct rig *waiting_rig;

static void
on_wait(void *arg)
{
	/* What is waited for is that nobody goes by anything else any more. */
	assert_int_equal(atomic_load(&waiting_rig->port.n_active), 2);
	assert_false(rig_transmitq_is_open(waiting_rig, 3));
	n_waits++;
}

static void
test_C116_nothing_above_the_pairs(void **state)
{
	struct rig *rig = rig_usual();

	for (uint16_t n_pairs = 1; n_pairs <= RIG_PAIRS; n_pairs++) {
		assert_true(rig_do_le16(rig, CLASS_MQ, 0, n_pairs));
		assert_int_equal(atomic_load(&rig->port.n_active), n_pairs);
		for (unsigned int pair = 0; pair < RIG_PAIRS; pair++)
			assert_int_equal(rig_transmitq_is_open(rig, pair), pair < n_pairs);
		for (unsigned int i = 0; n_pairs > 1 && i < 50; i++)
			assert_true(rig_picks(rig, i % 2) < n_pairs);
	}
	waiting_rig = rig;
	n_waits = 0;
	quiesce_set(&rig->ctx->quiesce, on_wait, NULL, NULL, NULL);
	assert_true(rig_do_le16(rig, CLASS_MQ, 0, 2));
	quiesce_set(&rig->ctx->quiesce, NULL, NULL, NULL, NULL);
	/* A frame on its way between two workers has arrived after three (quiesce.h), and the answer comes
	 * then. */
	assert_int_equal(n_waits, 3);
	rig_close(rig);
}

static void
test_C119_rss_picks_from_the_table(void **state)
{
	struct rig *rig = rig_usual();
	struct rss rss = {.types = HASH_TYPES_ALL,
			  .mask = 0,
			  .unclassified = 3,
			  .entry = 2,
			  .max_tx_vq = 1,
			  .key_len = 40};

	assert_true(rig_rss(rig, &rss));
	assert_int_equal(rig_picks(rig, true), 2);
	assert_int_equal(rig_picks(rig, false), 3);
	/* The table says where frames go, not the number of pairs; that is for transmitqs. */
	assert_int_equal(atomic_load(&rig->port.n_active), RIG_PAIRS);
	assert_false(rig_transmitq_is_open(rig, 1));
	rss.types = 0;
	assert_true(rig_rss(rig, &rss));
	assert_int_equal(rig_picks(rig, true), 3);
	rig_close(rig);
}

static void
test_C121_rss_parameters(void **state)
{
	struct rig *rig = rig_usual();
	const struct vnet_settings *settings = &rig->dev->input.settings;
	struct rss rss;

	for (uint32_t len = 1; len <= 256; len++) {
		bool good = (len & (len - 1)) == 0 && len <= 128;

		rss = data_usual_rss;
		rss.mask = (uint16_t)(len - 1);
		assert_int_equal(rig_rss(rig, &rss), good);
		if (good)
			assert_int_equal(settings->steer.rss.table_len, len);
	}
	rss = data_usual_rss;
	rss.mask = 0xffff;
	assert_false(rig_rss(rig, &rss));
	for (unsigned int n = 0; n < 65536; n += n < 20 ? 1 : 997) {
		rss = data_usual_rss;
		rss.entry = (uint16_t)n;
		assert_int_equal(rig_rss(rig, &rss), n < RIG_PAIRS);
		rss = data_usual_rss;
		rss.unclassified = (uint16_t)n;
		assert_int_equal(rig_rss(rig, &rss), n < RIG_PAIRS);
		rss = data_usual_rss;
		rss.max_tx_vq = (uint16_t)n;
		assert_int_equal(rig_rss(rig, &rss), n >= 1 && n <= RIG_PAIRS);
	}
	for (unsigned int n = 0; n < 256; n++) {
		rss = data_usual_rss;
		rss.key_len = (uint8_t)n;
		assert_int_equal(rig_rss(rig, &rss), n >= 1 && n <= 40);
	}
	for (unsigned int bit = 0; bit < 32; bit++) {
		rss = data_usual_rss;
		rss.types = 1u << bit;
		assert_int_equal(rig_rss(rig, &rss), bit < 9);
	}
	rss = data_usual_rss;
	rss.key_len = 16;
	rss.max_tx_vq = 3;
	assert_true(rig_do_le16(rig, CLASS_MQ, 0, 1));
	assert_true(rig_rss(rig, &rss));
	assert_int_equal(settings->steer.hash.key_len, 16);
	assert_int_equal(settings->steer.hash.key[15], 16);
	assert_int_equal(settings->steer.hash.key[16], 0);
	assert_int_equal(settings->n_pairs, 3);
	/* Drivers have left an old number in max_tx_vq: it silences no transmitq. */
	rss.max_tx_vq = 2;
	assert_true(rig_rss(rig, &rss));
	assert_int_equal(settings->n_pairs, 3);
	assert_int_equal(settings->steer.rss.unclassified_queue, 3);
	assert_int_equal(settings->steer.rss.table[126], 1);
	assert_int_equal(settings->steer.rss.table[127], 2);
	rig_close(rig);
}

/* Too short, too long, or with a key that ends elsewhere than it says: by every length. */
static void
test_C121_rss_length_is_exact(void **state)
{
	const struct rig_command rss = {.name = "MQ_RSS_CONFIG", .class = CLASS_MQ, .command = 1};
	const struct data *data = data_rss(&data_usual_rss);
	struct rig *rig = rig_usual();

	for (uint32_t len = 0; len < data->len + 4; len++)
		if (len != data->len)
			rig_refuses(rig, &rss, data->bytes, len);
	assert_false(rig->dev->input.settings.steer.rss.enabled);
	rig_close(rig);
}

static void
test_C121_the_last_of_both_wins(void **state)
{
	struct rig *rig = rig_usual();

	assert_true(rig_do_le16(rig, CLASS_MQ, 0, 2));
	assert_true(rig_rss(rig, &data_usual_rss));
	assert_int_equal(rig->dev->input.settings.n_pairs, 4);
	assert_int_equal(rig_picks(rig, false), 3);
	assert_true(rig_do_le16(rig, CLASS_MQ, 0, 2));
	assert_false(rig->dev->input.settings.steer.rss.enabled);
	assert_int_equal(atomic_load(&rig->port.n_active), 2);
	for (unsigned int i = 0; i < 50; i++)
		assert_true(rig_picks(rig, i % 2) < 2);
	/* A refused one leaves the mode as it was. */
	assert_true(rig_rss(rig, &data_usual_rss));
	assert_false(rig_do_le16(rig, CLASS_MQ, 0, 5));
	assert_true(rig->dev->input.settings.steer.rss.enabled);
	rig_close(rig);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_C96_hash_report_can_be_configured),
		cmocka_unit_test(test_C115_one_pair_after_reset),
		cmocka_unit_test(test_pairs_without_buffers),
		cmocka_unit_test(test_C116_nothing_above_the_pairs),
		cmocka_unit_test(test_C119_rss_picks_from_the_table),
		cmocka_unit_test(test_C121_rss_parameters),
		cmocka_unit_test(test_C121_rss_length_is_exact),
		cmocka_unit_test(test_C121_the_last_of_both_wins),
	};

	rig_env_open();
	return UNIT_RUN(tests);
}
