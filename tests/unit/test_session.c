/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A session's turn: how much of what a front-end has sent is handled before others get theirs. A session's
 * end: when a worker that is away lets go of the device.
 */
#include "unit.h"

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ctx.h"
#include "loop.h"
#include "session.h"
#include "vdev.h"

/* Opened anew for each test, and closed after it, whatever has become of it: it holds a lock. */
static struct vnic_ctx ctx;

enum {
	SLOW_US = SESSION_QUOTA_US / 4,
	SLOW_ITERATION_MAX = SESSION_QUOTA_US / SLOW_US,
	GET_FEATURES = 1,
	SEND_RARP = 19
};

/* A device without queues, on which one message takes long. */
struct rig {
	struct vdev vdev;
	struct session *session;
	int fd; /* the front-end's end */
	unsigned int rarp_us, n_rarps;
	bool ended;
	bool held; /* by a worker that is away */
	char why[sizeof(((struct diag *)0)->cause)];
};

static uint64_t
rig_features(const struct vdev *dev)
{
	return 0;
}

static void
rig_nothing(struct vdev *dev)
{
}

static int
rig_send_rarp(struct vdev *dev, const uint8_t mac[6])
{
	struct rig *rig = dev->type_dev;
	uint64_t start_us = loop_now_us();

	while (loop_now_us() - start_us < rig->rarp_us)
		;
	rig->n_rarps++;
	return 0;
}

static bool
rig_is_held(const struct vdev *dev, unsigned int worker)
{
	const struct rig *rig = dev->type_dev;

	return rig->held;
}

static void
rig_borrow(struct vdev *dev, enum vdev_borrow borrow)
{
}

static int
rig_reconcile(struct vdev *dev, unsigned int follower, struct diag *diag)
{
	return 0;
}

static const struct vdev_ops rig_ops = {
	.name = "rig",
	.features = rig_features,
	.reset = rig_nothing,
	.ended = rig_nothing,
	.is_held = rig_is_held,
	.borrow = rig_borrow,
	.reconcile = rig_reconcile,
	.send_rarp = rig_send_rarp,
};

static void
rig_ended(void *arg, const char *why)
{
	struct rig *rig = arg;

	rig->ended = true;
	strcpy(rig->why, why ? why : "");
}

static struct rig rigs[2];

static struct rig *
rig_open(unsigned int idx, unsigned int rarp_us)
{
	struct rig *rig = &rigs[idx];
	int fds[2];

	rig->rarp_us = rarp_us;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
	assert_int_equal(vdev_init(&rig->vdev, &ctx, "rig", &rig_ops, rig, 0), 0);
	rig->fd = fds[0];
	rig->session = session_open(&rig->vdev, 1, fds[1], rig_ended, rig);
	assert_non_null(rig->session);
	return rig;
}

static int
set_up(void **state)
{
	memset(rigs, 0, sizeof(rigs));
	return ctx_open(&ctx);
}

static int
tear_down(void **state)
{
	bool ended = false;

	for (unsigned int i = 0; i < 2; i++) {
		if (!rigs[i].session)
			continue;
		ended |= rigs[i].ended;
		session_close(rigs[i].session);
		vdev_fini(&rigs[i].vdev);
		close(rigs[i].fd);
	}
	ctx_close(&ctx);
	return ended ? -1 : 0;
}

static void
rig_send_rarps(struct rig *rig, unsigned int n)
{
	const struct {
		struct message_header header;
		uint64_t mac;
	} __attribute__((packed)) message = {{SEND_RARP, MESSAGE_VERSION, 8}, 0x020000000002};

	for (unsigned int i = 0; i < n; i++)
		assert_int_equal(send(rig->fd, &message, sizeof(message), 0), sizeof(message));
}

/* Slow messages: an iteration ends by the clock; what is left is handled in the next ones, all of it. */
static void
test_iteration_ends_by_time(void **state)
{
	enum { N = 50 };
	struct rig *rig = rig_open(0, SLOW_US);
	unsigned int n_iterations = 0;

	rig_send_rarps(rig, N);
	while (rig->n_rarps < N) {
		unsigned int before = rig->n_rarps;

		assert_int_equal(loop_run_once(ctx.loop, 1000), 0);
		assert_in_range(rig->n_rarps - before, 1, SLOW_ITERATION_MAX);
		n_iterations++;
	}
	assert_true(n_iterations >= N / SLOW_ITERATION_MAX);
}

/* A message that takes longer than an iteration is an iteration of its own. */
static void
test_one_message_at_least(void **state)
{
	struct rig *rig = rig_open(0, 2 * SESSION_QUOTA_US);

	rig_send_rarps(rig, 3);
	for (unsigned int i = 1; i <= 3; i++) {
		assert_int_equal(loop_run_once(ctx.loop, 1000), 0);
		assert_int_equal(rig->n_rarps, i);
	}
}

/* Fast ones: by their number. */
static void
test_iteration_ends_by_count(void **state)
{
	struct rig *rig = rig_open(0, 0);

	rig_send_rarps(rig, SESSION_QUOTA_MAX + 1);
	assert_int_equal(loop_run_once(ctx.loop, 1000), 0);
	assert_in_range(rig->n_rarps, 1, SESSION_QUOTA_MAX);
	while (rig->n_rarps < SESSION_QUOTA_MAX + 1)
		assert_int_equal(loop_run_once(ctx.loop, 1000), 0);
}

/* While one front-end floods, another is answered after one iteration of it. */
static void
test_others_get_their_iteration(void **state)
{
	const struct message_header get_features = {GET_FEATURES, MESSAGE_VERSION, 0};
	struct rig *flood = rig_open(0, SLOW_US), *other = rig_open(1, 0);
	uint8_t reply[sizeof(struct message_header) + 8];

	rig_send_rarps(flood, 60);
	for (unsigned int i = 1; i <= 5; i++) {
		assert_int_equal(send(other->fd, &get_features, sizeof(get_features), 0),
				 sizeof(get_features));
		assert_int_equal(loop_run_once(ctx.loop, 1000), 0);
		assert_int_equal(recv(other->fd, reply, sizeof(reply), 0), sizeof(reply));
		assert_in_range(flood->n_rarps, i, i * SLOW_ITERATION_MAX);
	}
}

/* quiesce_passed() */
static bool
rig_passed(void *arg, uint64_t token)
{
	return !rigs[0].held;
}

/* The end waits, for as long as it takes, and its reason with it; dropped once more, it is still that one. */
static void
test_end_waits_with_its_reason(void **state)
{
	enum { N = 5 };
	const struct message_header header = {GET_FEATURES, MESSAGE_VERSION, MESSAGE_PAYLOAD_MAX + 1};
	struct rig *rig = rig_open(0, 0);

	quiesce_set(&ctx.quiesce, NULL, NULL, rig_passed, NULL);
	quiesce_leave(&ctx.quiesce, 0, rig);
	rig->held = true;
	assert_int_equal(send(rig->fd, &header, sizeof(header), 0), sizeof(header));
	for (unsigned int i = 0; i < N; i++) {
		usleep(SESSION_RETRY_MS * 1000);
		assert_int_equal(loop_run_once(ctx.loop, 1000), 0);
		assert_false(rig->ended);
	}
	assert_true(session_is_over(rig->session));
	session_drop(rig->session, "another one");
	assert_false(rig->ended);
	rig->held = false;
	quiesce_return(&ctx.quiesce, 0);
	while (!rig->ended)
		assert_int_equal(loop_run_once(ctx.loop, 1000), 0);
	quiesce_set(&ctx.quiesce, NULL, NULL, NULL, NULL);
	rig->ended = false; /* as was to be */
	assert_string_equal(rig->why, "message 1 has a payload of 513 bytes");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_iteration_ends_by_time, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_one_message_at_least, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_iteration_ends_by_count, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_others_get_their_iteration, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_end_waits_with_its_reason, set_up, tear_down),
	};

	return UNIT_RUN(tests);
}
