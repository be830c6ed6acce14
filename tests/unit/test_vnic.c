/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_vnic: the library as a program sees it (vnic.h), with guests at its sockets: contexts that know
 * nothing of each other, events, who waits for whom, and frames that are borrowed or not.
 */
#include "unit.h"

#include <errno.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/poll.h>
#include <time.h>
#include <unistd.h>

#include "front_end.h"
#include "unit_eal.h"
#include "usocket.h"
#include "vdev.h"
#include "vnic_host.h"

enum { RING = 64, LEN = 1000 };

static struct rte_mempool *pool;
static char dir[] = "/tmp/vnic-XXXXXX";

/* --- frames that are numbered --- */

static uint32_t
frame_make(uint8_t *frame, uint64_t number)
{
	const uint32_t len = 60 + (uint32_t)(number * 37 % (LEN - 60));

	memset(frame, (int)(number % 251), len);
	memcpy(frame + 14, &number, sizeof(number));
	return len;
}

static void
frame_check(const uint8_t *frame, uint32_t len, uint64_t number)
{
	uint8_t wanted[LEN];

	assert_int_equal(len, frame_make(wanted, number));
	assert_memory_equal(frame, wanted, len);
}

/* A guest that sends and gets back. */
struct pinger {
	struct front_end fe;
	uint64_t n_sent, n_got;
};

/* Nothing is ever lost: no more is under way than the guest has buffers for. */
static void
ping(struct pinger *pinger)
{
	uint8_t frame[FRONT_END_FRAME_MAX];
	uint32_t len;

	while (pinger->n_sent - pinger->n_got < RING / 2) {
		len = frame_make(frame, pinger->n_sent);
		if (!front_end_send(&pinger->fe, frame, len))
			break;
		pinger->n_sent++;
	}
	while ((len = front_end_receive(&pinger->fe, frame)) != 0) {
		frame_check(frame, len, pinger->n_got);
		pinger->n_got++;
	}
}

static void
ping_until(struct pinger *pinger, uint64_t n_got)
{
	HOST_WAIT_FOR((ping(pinger), pinger->n_got >= n_got));
}

static struct vnic_dev_stats
stats_of(const struct host *host)
{
	struct vnic_dev_stats stats = {.size = sizeof(stats)};

	vnic_dev_stats(host->dev, &stats);
	return stats;
}

/*
 * One context comes and goes with its guest at work, in the middle of frames, while the other's guest goes on
 * and misses none.
 */
static void
test_one_context_goes_while_the_other_forwards(void **state)
{
	enum { ROUNDS = UNIT_SANITIZED ? 3 : 10, FRAMES = 300 };
	static struct host stays, goes;
	static struct pinger a, b;
	struct vnic_dev_stats stats;

	host_open(&stays, dir, "stays", pool, VNIC_FRAMES_COPY);
	host_run(&stays);
	host_forward(&stays);
	memset(&a, 0, sizeof(a));
	front_end_make(&a.fe, RING);
	front_end_start(&a.fe, stays.path);
	ping_until(&a, FRAMES);
	for (unsigned int round = 0; round < ROUNDS; round++) {
		host_open(&goes, dir, "goes", pool, round % 2 ? VNIC_FRAMES_BORROW : VNIC_FRAMES_COPY);
		host_run(&goes);
		host_forward(&goes);
		memset(&b, 0, sizeof(b));
		front_end_make(&b.fe, RING);
		front_end_start(&b.fe, goes.path);
		HOST_WAIT_FOR((ping(&a), ping(&b), b.n_got >= FRAMES));
		/* Both have frames under way. */
		ping(&b);
		ping(&a);
		host_close(&goes);
		ping_until(&a, a.n_got + FRAMES);
		front_end_free(&b.fe);
	}
	HOST_WAIT_FOR((ping(&a), a.n_got >= FRAMES * (ROUNDS + 1)));
	HOST_WAIT_FOR(front_end_under_way(&a.fe) == 0);
	/* The rest of what was sent, and nothing more than that. */
	for (uint8_t frame[FRONT_END_FRAME_MAX]; a.n_got < a.n_sent;) {
		uint32_t len = front_end_receive(&a.fe, frame);

		if (len) {
			frame_check(frame, len, a.n_got);
			a.n_got++;
		}
	}
	stats = stats_of(&stays);
	assert_int_equal(stats.rx_packets, a.n_sent);
	assert_int_equal(stats.tx_packets, a.n_sent);
	assert_int_equal(stats.drops, 0);
	assert_int_equal(stats.faults, 0);
	assert_true(stays.n_lines >= 1);
	host_close(&stays);
	front_end_free(&a.fe);
}

/* --- events --- */

static void
events_are(const struct host *host, const enum vnic_event_type wanted[], unsigned int n)
{
	assert_int_equal(host->n_events, n);
	for (unsigned int i = 0; i < n; i++)
		assert_int_equal(host->events[i], wanted[i]);
}

static void
test_events(void **state)
{
	static const enum vnic_event_type wanted[] = {
		VNIC_EVENT_CONNECTED, VNIC_EVENT_STARTED, VNIC_EVENT_STOPPED,
		VNIC_EVENT_STARTED,   VNIC_EVENT_STOPPED, VNIC_EVENT_DISCONNECTED,
		VNIC_EVENT_CONNECTED, VNIC_EVENT_STARTED, VNIC_EVENT_FAULT,
	};
	struct vnic_dev_status status = {.size = sizeof(status)};
	static struct host host;
	struct rte_mbuf *pkts[VNIC_BURST_MAX];
	struct front_end fe;

	host_open(&host, dir, "vm0", pool, VNIC_FRAMES_COPY);
	host_run(&host);
	vnic_dev_status(host.dev, &status);
	assert_false(status.connected || status.started);
	assert_true(status.link_up);
	front_end_make(&fe, RING);
	front_end_start(&fe, host.path);
	HOST_WAIT_FOR(host.n_events == 2);
	vnic_dev_status(host.dev, &status);
	assert_true(status.connected && status.started);
	assert_int_equal(status.pid, getpid());
	assert_int_equal(status.features, FEATURE_MASK(VERSION_1));
	/* The link, by another thread than the one that runs the context. */
	assert_int_equal(vnic_dev_set_link(host.dev, false), 0);
	HOST_WAIT_FOR(host.n_events == 3);
	assert_int_equal(vnic_dev_set_link(host.dev, true), 0);
	HOST_WAIT_FOR(host.n_events == 4);
	front_end_stop(&fe);
	HOST_WAIT_FOR(host.n_events == 6);
	front_end_free(&fe);
	/* Another one, whose driver breaks its queue: more is available than there can be. */
	front_end_make(&fe, RING);
	front_end_start(&fe, host.path);
	HOST_WAIT_FOR(host.n_events == 8);
	fe.transmitq.avail->idx = RING + 1;
	assert_int_equal(vnic_rx_burst(host.dev, 0, pkts, VNIC_BURST_MAX), 0);
	HOST_WAIT_FOR(host.n_events == 9);
	events_are(&host, wanted, 9);
	assert_int_equal(host.last.virtqueue, 1);
	assert_true(host.last.text && host.last.text[0]);
	assert_int_equal(stats_of(&host).faults, 1);
	host_close(&host);
	front_end_free(&fe);
}

static void *
start(void *arg)
{
	struct front_end *fe = arg;
	char path[64];

	snprintf(path, sizeof(path), "%s", (char *)driver_va(&fe->mem, fe->rx_gpa));
	front_end_start(fe, path);
	return NULL;
}

/* With poll() and nothing else: the descriptor says when there is something to do. */
static void
test_a_loop_of_ones_own(void **state)
{
	struct vnic_dev_status status = {.size = sizeof(status)};
	struct pollfd fd = {.events = POLLIN};
	struct front_end fe;
	static struct host host;
	uint64_t end_ms = host_now_ms() + HOST_WAIT_MS;
	pthread_t starter;

	host_open(&host, dir, "vm0", pool, VNIC_FRAMES_COPY);
	fd.fd = vnic_ctx_fd(host.ctx);
	front_end_make(&fe, RING);
	snprintf((char *)driver_va(&fe.mem, fe.rx_gpa), 64, "%s", host.path);
	assert_int_equal(pthread_create(&starter, NULL, start, &fe), 0);
	while (host.n_events < 2) {
		assert_int_equal(poll(&fd, 1, HOST_WAIT_MS), 1);
		assert_int_equal(vnic_ctx_run(host.ctx, 0), 0);
		assert_true(host_now_ms() < end_ms);
	}
	pthread_join(starter, NULL);
	vnic_dev_status(host.dev, &status);
	assert_true(status.started);
	/* Also timers: without a message or anything else. */
	assert_int_equal(poll(&fd, 1, HOST_WAIT_MS), 1);
	host_close(&host);
	front_end_free(&fe);
}

/* --- borrowed frames --- */

struct setter {
	struct host *host;
	atomic_bool done;
};

static void *
set_link_down(void *arg)
{
	struct setter *setter = arg;

	assert_int_equal(vnic_dev_set_link(setter->host->dev, false), 0);
	setter->done = true;
	return NULL;
}

static uint16_t
receive_some(const struct host *host, struct rte_mbuf **pkts)
{
	uint16_t n;

	HOST_WAIT_FOR((n = vnic_rx_burst(host->dev, 0, pkts, VNIC_BURST_MAX)) != 0);
	return n;
}

static void
test_borrowed_frames(void **state)
{
	uint8_t frame[FRONT_END_FRAME_MAX];
	struct rte_mbuf *pkts[VNIC_BURST_MAX];
	static struct host host;
	struct setter setter = {.host = &host};
	struct front_end fe;
	pthread_t thread;

	host_open(&host, dir, "vm0", pool, VNIC_FRAMES_BORROW);
	host_run(&host);
	front_end_make(&fe, RING);
	front_end_start(&fe, host.path);
	for (unsigned int i = 0; i < LEN; i++)
		frame[i] = (uint8_t)(i * 7);
	assert_true(front_end_send(&fe, frame, LEN));
	assert_int_equal(receive_some(&host, pkts), 1);
	assert_true(vnic_frame_is_borrowed(pkts[0]));
	assert_int_equal(front_end_under_way(&fe), 1);
	/* Who changes the device waits meanwhile. */
	assert_int_equal(pthread_create(&thread, NULL, set_link_down, &setter), 0);
	for (unsigned int i = 0; i < 20; i++) {
		nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
		assert_false(setter.done);
	}
	vnic_frame_materialise(pkts[0]);
	assert_false(vnic_frame_is_borrowed(pkts[0]));
	assert_memory_equal(rte_pktmbuf_mtod(pkts[0], void *), frame, LEN);
	vnic_rx_release(host.dev, 0);
	pthread_join(thread, NULL);
	assert_true(setter.done);
	assert_int_equal(front_end_under_way(&fe), 0);
	rte_pktmbuf_free(pkts[0]);
	host_close(&host);
	front_end_free(&fe);
}

/* As it is without asking: they may be kept. */
static void
test_copied_frames(void **state)
{
	uint8_t frame[FRONT_END_FRAME_MAX];
	struct rte_mbuf *pkts[VNIC_BURST_MAX];
	static struct host host;
	struct front_end fe;

	host_open(&host, dir, "vm0", pool, VNIC_FRAMES_COPY);
	host_run(&host);
	front_end_make(&fe, RING);
	front_end_start(&fe, host.path);
	for (unsigned int i = 0; i < LEN; i++)
		frame[i] = (uint8_t)(i * 7);
	assert_true(front_end_send(&fe, frame, LEN));
	assert_int_equal(receive_some(&host, pkts), 1);
	assert_false(vnic_frame_is_borrowed(pkts[0]));
	assert_int_equal(pkts[0]->ol_flags, 0);
	assert_int_equal(front_end_under_way(&fe), 0);
	host_close(&host);
	front_end_free(&fe);
	assert_int_equal(rte_pktmbuf_pkt_len(pkts[0]), LEN);
	assert_memory_equal(rte_pktmbuf_mtod(pkts[0], void *), frame, LEN);
	rte_pktmbuf_free(pkts[0]);
}

/* --- what is refused, and what is offered --- */

static void
test_params(void **state)
{
	static struct host host;
	struct vnic_error error;
	struct vnic_ctx *ctx;
	struct vnic_dev *dev;
	struct vnic_dev_params params;

	assert_int_equal(vnic_api_version(), VNIC_API_VERSION);
	assert_int_equal(vnic_ctx_new(&(struct vnic_ctx_params){.size = 1}, &ctx, &error), -EINVAL);
	assert_true(error.cause[0] && error.hint[0]);
	assert_int_equal(vnic_ctx_new(&(struct vnic_ctx_params){.size = 1}, &ctx, NULL), -EINVAL);
	host_open(&host, dir, "vm0", pool, VNIC_FRAMES_COPY);
#define REFUSED(member, value, err)                                                   \
	do {                                                                          \
		params = host_params(&host, VNIC_FRAMES_COPY);                        \
		params.name = "other";                                                \
		params.path = "/tmp/not-used";                                        \
		params.member = value;                                                \
		memset(&error, 0, sizeof(error));                                     \
		assert_int_equal(vnic_dev_new(host.ctx, &params, &dev, &error), err); \
		assert_true(error.cause[0] && error.hint[0]);                         \
	} while (0)
	REFUSED(size, 3, -EINVAL);
	REFUSED(name, NULL, -EINVAL);
	REFUSED(name, "a name of more than thirty-one characters", -EINVAL);
	REFUSED(path, NULL, -EINVAL);
	REFUSED(path, host.path, -EADDRINUSE);
	REFUSED(path, "/nowhere/at/all", -ENOENT);
	REFUSED(n_queues, 0, -EINVAL);
	REFUSED(n_queues, 129, -EINVAL);
	REFUSED(pool, NULL, -EINVAL);
	REFUSED(mtu, 67, -EINVAL);
	REFUSED(mac[0], 1, -EINVAL);
	host_close(&host);
	vnic_ctx_free(NULL);
	vnic_dev_free(NULL);
}

/* A program that was built with an older library has shorter structs, and may use one over and over. */
static void
test_shorter_structs(void **state)
{
	enum { SHORT = 16 };
	static struct host host;
	union {
		struct vnic_dev_status status;
		struct vnic_dev_stats stats;
		uint8_t bytes[sizeof(struct vnic_dev_status) + sizeof(struct vnic_dev_stats)];
	} room;

	host_open(&host, dir, "vm0", pool, VNIC_FRAMES_COPY);
	memset(&room, 0x5c, sizeof(room));
	room.status.size = SHORT;
	for (int i = 0; i < 2; i++) {
		vnic_dev_status(host.dev, &room.status);
		assert_int_equal(room.status.size, SHORT);
		for (size_t at = SHORT; at < sizeof(room); at++)
			assert_int_equal(room.bytes[at], 0x5c);
	}
	for (int i = 0; i < 2; i++) {
		vnic_dev_stats(host.dev, &room.stats);
		assert_int_equal(room.stats.size, SHORT);
		for (size_t at = SHORT; at < sizeof(room); at++)
			assert_int_equal(room.bytes[at], 0x5c);
	}
	host_close(&host);
}

struct slow_event {
	atomic_bool entered, left;
	bool frees; /* the device, from within */
};

static void
slow_event(void *arg, struct vnic_dev *dev, const struct vnic_event *event)
{
	struct slow_event *slow = arg;

	if (atomic_exchange(&slow->entered, true))
		return;
	if (slow->frees) {
		vnic_dev_free(dev);
	} else {
		const uint64_t end_ms = host_now_ms() + 100;

		while (host_now_ms() < end_ms)
			sched_yield();
	}
	atomic_store(&slow->left, true);
}

/* Its event is over when a device is gone, whoever frees it. */
static void
test_freed_during_its_event(void **state)
{
	for (unsigned int frees = 0; frees < 2; frees++) {
		static struct host host;
		struct slow_event slow = {.frees = frees};
		struct vnic_dev_params params;
		struct vnic_dev *dev;
		int fd;

		host_open(&host, dir, "vm0", pool, VNIC_FRAMES_COPY);
		vnic_dev_free(host.dev);
		host.dev = NULL;
		params = host_params(&host, VNIC_FRAMES_COPY);
		params.event = slow_event;
		params.event_arg = &slow;
		assert_int_equal(vnic_dev_new(host.ctx, &params, &dev, NULL), 0);
		host_run(&host);
		fd = usocket_connect(host.path);
		assert_true(fd >= 0);
		HOST_WAIT_FOR(atomic_load(&slow.entered));
		if (frees)
			HOST_WAIT_FOR(atomic_load(&slow.left));
		else
			vnic_dev_free(dev);
		assert_true(atomic_load(&slow.left));
		host_close(&host);
		close(fd);
	}
}

/* What a program can't handle is not offered, and nor is what VIRTIO says needs it. */
static void
test_without(void **state)
{
	const uint64_t csum = FEATURE_MASK(NET_CSUM),
		       tso = FEATURE_MASK(NET_HOST_TSO4) | FEATURE_MASK(NET_HOST_TSO6) |
			     FEATURE_MASK(NET_HOST_ECN) | FEATURE_MASK(NET_HOST_USO);
	static const uint64_t without[] = {0, FEATURE_MASK(NET_CSUM), FEATURE_MASK(NET_CTRL_VQ)};
	const uint64_t gone[] = {
		0, csum | tso, FEATURE_MASK(NET_CTRL_VQ) | FEATURE_MASK(NET_CTRL_RX) | FEATURE_MASK(NET_RSS)};

	for (unsigned int i = 0; i < 3; i++) {
		static struct host host;
		struct vnic_dev_params params;
		struct front_end fe;

		host_open(&host, dir, "vm0", pool, VNIC_FRAMES_COPY);
		vnic_dev_free(host.dev);
		params = host_params(&host, VNIC_FRAMES_COPY);
		params.without = without[i];
		assert_int_equal(vnic_dev_new(host.ctx, &params, &host.dev, NULL), 0);
		host_run(&host);
		front_end_make(&fe, RING);
		front_end_start(&fe, host.path);
		assert_int_equal(fe.offered & gone[i], 0);
		for (unsigned int other = 0; other < 3; other++)
			if (other != i)
				assert_int_equal(fe.offered & gone[other], gone[other]);
		host_close(&host);
		front_end_free(&fe);
	}
}

/* Every frame goes to a queue that the driver uses, whatever the program's own is. */
static void
test_steering(void **state)
{
	uint16_t queues[VNIC_BURST_MAX];
	struct rte_mbuf *pkts[VNIC_BURST_MAX];
	uint8_t frame[FRONT_END_FRAME_MAX];
	struct vnic_dev_params params;
	static struct host host;

	host_open(&host, dir, "vm0", pool, VNIC_FRAMES_COPY);
	vnic_dev_free(host.dev);
	params = host_params(&host, VNIC_FRAMES_COPY);
	params.n_queues = 4;
	assert_int_equal(vnic_dev_new(host.ctx, &params, &host.dev, NULL), 0);
	assert_int_equal(vnic_tx_queues(host.dev), 1);
	for (uint16_t i = 0; i < VNIC_BURST_MAX; i++) {
		const uint32_t len = frame_make(frame, i);

		pkts[i] = rte_pktmbuf_alloc(pool);
		assert_non_null(pkts[i]);
		memcpy(rte_pktmbuf_append(pkts[i], (uint16_t)len), frame, len);
	}
	for (uint16_t queue = 0; queue < 4; queue++) {
		memset(queues, 0xff, sizeof(queues));
		vnic_tx_steer(host.dev, queue, pkts, VNIC_BURST_MAX, queues);
		for (uint16_t i = 0; i < VNIC_BURST_MAX; i++)
			assert_int_equal(queues[i], 0);
	}
	/* Nobody is there to take them: they are counted, and gone. */
	assert_int_equal(vnic_tx_burst(host.dev, 3, pkts, VNIC_BURST_MAX), 0);
	assert_int_equal(stats_of(&host).drops, VNIC_BURST_MAX);
	assert_int_equal(rte_mempool_in_use_count(pool), 0);
	host_close(&host);
}

static int
tear_down(void **state)
{
	return rmdir(dir);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_params),
		cmocka_unit_test(test_shorter_structs),
		cmocka_unit_test(test_freed_during_its_event),
		cmocka_unit_test(test_without),
		cmocka_unit_test(test_events),
		cmocka_unit_test(test_a_loop_of_ones_own),
		cmocka_unit_test(test_steering),
		cmocka_unit_test(test_copied_frames),
		cmocka_unit_test(test_borrowed_frames),
		cmocka_unit_test(test_one_context_goes_while_the_other_forwards),
	};

	pool = unit_eal_start(&(struct unit_eal){.memory_mb = 64, .n_mbufs = 2047});
	if (!mkdtemp(dir))
		return 1;
	return UNIT_RUN_WITH(tests, NULL, tear_down);
}
