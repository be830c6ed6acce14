/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_reconcile: what is published follows from the inputs (reconcile.h), and from nothing else.
 * The same inputs once more publish nothing; a change publishes what depends on it; whatever has been said in
 * whatever order, another device that is given the inputs alone becomes the same; and what can't be had for
 * want of memory has changed nothing.
 */
#include "rig.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "alloc.h"
#include "ctx.h"
#include "filter.h"
#include "mbufs.h"
#include "reconcile.h"
#include "rng.h"
#include "vdev_conf.h"

enum { N_QUEUES = 2 * RIG_PAIRS + 1, CONTROLQ = N_QUEUES - 1, LOG_LEN = 65536 };

static unsigned int n_waits, n_notices, n_hashes;

static void
count_wait(void *arg)
{
	n_waits++;
}

static void
count_notice(void *arg)
{
	n_notices++;
}

static void
count_hash(void *arg, const struct hash_params *hash)
{
	n_hashes++;
}

static void
watch(struct rig *rig)
{
	rig->dev->vdev.config_changed = count_notice;
	rig->dev->hash_changed = count_hash;
	quiesce_set(&rig->ctx->quiesce, count_wait, NULL, NULL, NULL);
	n_waits = n_notices = n_hashes = 0;
}

static void
unwatch(struct rig *rig)
{
	quiesce_set(&rig->ctx->quiesce, NULL, NULL, NULL, NULL);
}

/* What workers have at one moment, by address. */
struct published {
	const struct virtq_conf *confs[N_QUEUES];
	const struct port_steer *steer;
	const struct port_filter *filter;
	const struct vnet_filter *own_filter;
	const struct port_steer *own_steer;
	uint16_t n_active;
	bool link_up;
};

static struct published
published(const struct rig *rig)
{
	struct published now;

	memset(&now, 0, sizeof(now));
	for (unsigned int i = 0; i < rig->dev->vdev.n_queues; i++) {
		now.confs[i] = virtq_conf(rig->dev->vdev.queues[i].vq);
		/* No plan is left over. */
		assert_ptr_equal(rig->dev->vdev.queues[i].conf, now.confs[i]);
	}
	now.steer = atomic_load(&rig->port.steer);
	now.n_active = atomic_load(&rig->port.n_active);
	now.filter = atomic_load(&rig->port.filter);
	now.own_filter = rig->dev->output.own_filter;
	now.own_steer = rig->dev->output.own_steer;
	now.link_up = atomic_load(&rig->dev->shared.link_up);
	return now;
}

/* --- once more --- */

static void
reconcile_again(struct rig *rig, const char *after)
{
	const struct published before = published(rig);
	const struct vnet_input input = rig->dev->input;
	struct published now;
	struct diag diag;

	watch(rig);
	/* A queue that can't run can't the second time either. */
	vnet_reconcile(&rig->dev->vdev, VDEV_EVERY_QUEUE, &diag);
	unwatch(rig);
	now = published(rig);
	for (unsigned int i = 0; i < N_QUEUES; i++)
		if (now.confs[i] != before.confs[i])
			fail_msg("after %s: queue %u is published once more", after, i);
	if (memcmp(&now, &before, sizeof(now)) != 0 || n_waits || n_notices || n_hashes)
		fail_msg("after %s, once more: %u waits, %u notices, %u hashes, or another object", after,
			 n_waits, n_notices, n_hashes);
	assert_memory_equal(&rig->dev->input, &input, sizeof(input));
	assert_memory_equal(&rig->dev->draft, &input, sizeof(input));
}

/* --- what depends on what --- */

static void
do_nothing(struct rig *rig)
{
}

static void
do_promisc_off(struct rig *rig)
{
	assert_true(rig_do_byte(rig, CLASS_RX, 0, 0));
}

static void
do_promisc_on(struct rig *rig)
{
	assert_true(rig_do_byte(rig, CLASS_RX, 0, 1));
}

static void
do_vlan(struct rig *rig)
{
	assert_true(rig_do_le16(rig, CLASS_VLAN, 0, 7));
}

static void
do_mac(struct rig *rig)
{
	assert_true(rig_do(rig, CLASS_MAC, 1, "\2\0\0\0\0\11", 6));
}

static void
do_two_pairs(struct rig *rig)
{
	assert_true(rig_do_le16(rig, CLASS_MQ, 0, 2));
}

static void
do_four_pairs(struct rig *rig)
{
	assert_true(rig_do_le16(rig, CLASS_MQ, 0, 4));
}

static void
do_rss(struct rig *rig)
{
	assert_true(rig_rss(rig, &data_usual_rss));
}

static void
do_hash(struct rig *rig)
{
	assert_true(rig_do_data(rig, CLASS_MQ, 2, data_hash(HASH_TYPE_TCPV4, 0, 40)));
}

static void
do_coal_tx(struct rig *rig)
{
	assert_true(rig_do_data(rig, CLASS_COAL, 0, data_coal(-1, 5, 55)));
}

static void
do_coal_of_0(struct rig *rig)
{
	assert_true(rig_do_data(rig, CLASS_COAL, 2, data_coal(0, 5, 55)));
}

static void
do_offloads_off(struct rig *rig)
{
	assert_true(rig_do(rig, CLASS_OFFLOADS, 0, "\0\0\0\0\0\0\0\0", 8));
}

static void
do_announce(struct rig *rig)
{
	rig_announce(rig);
}

static void
do_refused(struct rig *rig)
{
	assert_false(rig_do_byte(rig, CLASS_RX, 0, 9));
	assert_false(rig_do_le16(rig, CLASS_MQ, 0, RIG_PAIRS + 1));
}

static void
do_call(struct rig *rig)
{
	struct diag diag;

	assert_int_equal(vdev_queue_set_call(&rig->dev->vdev, 2, eventfd(0, EFD_CLOEXEC), &diag), 0);
}

static void
do_kick(struct rig *rig)
{
	struct diag diag;

	rig->kick_fds[2] = eventfd(0, EFD_CLOEXEC);
	assert_int_equal(vdev_queue_set_kick(&rig->dev->vdev, 2, rig->kick_fds[2], &diag), 0);
}

static void
do_disable_2(struct rig *rig)
{
	struct diag diag;

	assert_int_equal(vdev_queue_set_enable(&rig->dev->vdev, 2, false, &diag), 0);
}

static void
do_stop_2(struct rig *rig)
{
	vdev_queue_get_base(&rig->dev->vdev, 2);
}

static void
do_stop_controlq(struct rig *rig)
{
	vdev_queue_get_base(&rig->dev->vdev, rig->controlq);
}

static void
do_mem(struct rig *rig)
{
	struct diag diag;

	assert_int_equal(vdev_set_mem(&rig->dev->vdev, driver_gmem(&rig->mem), &diag), 0);
}

static void
do_log(struct rig *rig)
{
	int fd = memfd_create("log", MFD_CLOEXEC);
	struct gmem_map *map;
	struct diag diag;

	assert_int_equal(ftruncate(fd, LOG_LEN), 0);
	assert_int_equal(gmem_map_open(fd, 0, LOG_LEN, &map, &diag), 0);
	close(fd);
	assert_int_equal(vdev_set_log(&rig->dev->vdev, map, &diag), 0);
}

static void
do_log_all(struct rig *rig)
{
	struct diag diag;

	assert_int_equal(vdev_set_features(&rig->dev->vdev, rig->features | FEATURE_MASK(LOG_ALL), &diag), 0);
}

static void
do_features(struct rig *rig)
{
	struct diag diag;

	assert_int_equal(vdev_set_features(&rig->dev->vdev, rig->dev->vdev.said.features, &diag), 0);
}

static void
do_mtu(struct rig *rig)
{
	assert_int_equal(rig->dev->vdev.ops->set_mtu(&rig->dev->vdev, 1400), 0);
}

static void
do_link_down(struct rig *rig)
{
	assert_int_equal(vnet_set_link(rig->dev, &(struct port_link){.up = false}), 0);
}

static void
do_filled(struct rig *rig)
{
	rig_fill(rig, 1);
	vnet_check_new_pairs(rig->dev);
}

#define RX 0x055u      /* receiveqs */
#define TX 0x0aau      /* transmitqs */
#define DATA (RX | TX) /* the controlq is the last one */
#define EVERY (1u << CONTROLQ | DATA)

enum {
	FILTER = 1 << 0, /* is another object */
	STEER = 1 << 1,
	N_ACTIVE = 1 << 2,
	LINK = 1 << 3, /* and the driver is told to look at its configuration space */
	HASH = 1 << 4, /* and so is the uplink */
};

static const struct row {
	const char *name;
	void (*before)(struct rig *rig);
	void (*change)(struct rig *rig);
	unsigned int queues; /* whose confs are others then: bits */
	unsigned int others;
	unsigned int n_waits;
	bool unfilled;
} rows[] = {
	{"RX_PROMISC off", do_nothing, do_promisc_off, 0, FILTER, 3, false},
	{"RX_PROMISC as it is", do_promisc_off, do_promisc_off, 0, 0, 0, false},
	{"VLAN_ADD", do_promisc_off, do_vlan, 0, FILTER, 3, false},
	/* Nothing is unwanted any more. */
	{"RX_PROMISC on", do_promisc_off, do_promisc_on, 0, FILTER, 1, false},
	{"VLAN_ADD, promiscuous", do_nothing, do_vlan, 0, 0, 0, false},
	{"MAC_ADDR_SET", do_promisc_off, do_mac, 0, FILTER, 3, false},
	{"MAC_ADDR_SET, promiscuous", do_nothing, do_mac, 0, 0, 0, false},
	{"VQ_PAIRS_SET, more", do_two_pairs, do_four_pairs, 1u << 5 | 1u << 7, N_ACTIVE, 1, false},
	{"VQ_PAIRS_SET, fewer", do_four_pairs, do_two_pairs, 1u << 5 | 1u << 7, N_ACTIVE, 3, false},
	/* Flows are not learnt any more. */
	{"RSS_CONFIG", do_four_pairs, do_rss, TX, STEER | HASH, 3, false},
	{"RSS_CONFIG as it is", do_rss, do_rss, 0, 0, 0, false},
	{"HASH_CONFIG", do_four_pairs, do_hash, 0, STEER | HASH, 3, false},
	{"NOTF_COAL_TX_SET", do_nothing, do_coal_tx, TX, 0, 1, false},
	{"NOTF_COAL_VQ_SET", do_nothing, do_coal_of_0, 1, 0, 1, false},
	{"GUEST_OFFLOADS_SET", do_nothing, do_offloads_off, RX, 0, 1, false},
	{"an announcement", do_nothing, do_announce, 0, 0, 0, false},
	{"commands that are refused", do_promisc_off, do_refused, 0, 0, 0, false},
	{"SET_VRING_CALL", do_nothing, do_call, 1u << 2, 0, 1, false},
	{"SET_VRING_KICK", do_nothing, do_kick, 0, 0, 0, false},
	{"SET_VRING_ENABLE 0", do_nothing, do_disable_2, 1u << 2, 0, 1, false},
	{"SET_VRING_ENABLE 0 of a pair that is used", do_two_pairs, do_disable_2, 1u << 2, N_ACTIVE, 1,
	 false},
	{"GET_VRING_BASE", do_nothing, do_stop_2, 1u << 2, 0, 1, false},
	/* All pairs are used, and nothing is filtered. */
	{"GET_VRING_BASE of the controlq", do_promisc_off, do_stop_controlq,
	 1u << 3 | 1u << 5 | 1u << 7 | 1u << CONTROLQ, FILTER | N_ACTIVE, 1, false},
	{"SET_MEM_TABLE", do_nothing, do_mem, EVERY, 0, 1, false},
	{"SET_LOG_BASE", do_nothing, do_log, 0, 0, 0, false},
	{"SET_LOG_BASE while logging", do_log_all, do_log, EVERY, 0, 1, false},
	{"LOG_ALL", do_log, do_log_all, EVERY, 0, 1, false},
	{"SET_FEATURES as they are", do_nothing, do_features, 0, 0, 0, false},
	{"NET_SET_MTU", do_nothing, do_mtu, DATA, 0, 1, false},
	{"NET_SET_MTU as it is", do_mtu, do_mtu, 0, 0, 0, false},
	{"a link that goes down", do_nothing, do_link_down, RX | 1u << 1, LINK, 1, false},
	{"a link that is down", do_link_down, do_link_down, 0, 0, 0, false},
	{"a pair that has buffers at last", do_two_pairs, do_filled, 0, N_ACTIVE, 0, true},
};

static void
test_a_change_publishes_what_depends_on_it(void **state)
{
	for (size_t i = 0; i < RTE_DIM(rows); i++) {
		const struct row *row = &rows[i];
		struct rig *rig = rig_open(&(struct rig_options){
			.n_pairs = RIG_PAIRS, .status = true, .unfilled = row->unfilled});
		struct published was, is;
		unsigned int queues = 0, others;

		row->before(rig);
		was = published(rig);
		watch(rig);
		row->change(rig);
		unwatch(rig);
		is = published(rig);
		for (unsigned int k = 0; k < N_QUEUES; k++)
			queues |= (unsigned int)(was.confs[k] != is.confs[k]) << k;
		others = (was.filter != is.filter ? FILTER : 0) | (was.steer != is.steer ? STEER : 0) |
			 (was.n_active != is.n_active ? N_ACTIVE : 0) | (n_notices ? LINK : 0) |
			 (n_hashes ? HASH : 0);
		assert_int_equal(was.link_up != is.link_up, n_notices);
		if (queues != row->queues || others != row->others || n_waits != row->n_waits)
			fail_msg("%s: queues 0x%x, not 0x%x; others 0x%x, not 0x%x; waits %u, not %u",
				 row->name, queues, row->queues, others, row->others, n_waits, row->n_waits);
		reconcile_again(rig, row->name);
		rig_close(rig);
	}
}

/* --- the same inputs, another history --- */

static void
queue_start(struct rig *rig, unsigned int idx)
{
	const struct driver_queue *ring = idx == rig->controlq ? &rig->driver : &rig->data[idx];
	struct vdev_queue_addr addr = {.desc = driver_uva(ring->desc_gpa),
				       .avail = driver_uva(ring->avail_gpa),
				       .used = driver_uva(ring->used_gpa)};
	struct diag diag;

	rig->kick_fds[idx] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	assert_int_equal(vdev_queue_set_addr(&rig->dev->vdev, idx, &addr, &diag), 0);
	assert_int_equal(vdev_queue_set_kick(&rig->dev->vdev, idx, rig->kick_fds[idx], &diag), 0);
}

static const char *
say_command(struct rig *rig)
{
	struct rss rss = data_usual_rss;
	uint64_t offloads;

	switch (rng_below(10)) {
	case 0:
		rig_do_byte(rig, CLASS_RX, (uint8_t)rng_below(6), (uint8_t)rng_below(2));
		return "RX";
	case 1:
		rig_do_data(rig, CLASS_MAC, 0, data_macs(rng_below(70), rng_below(10)));
		return "MAC_TABLE_SET";
	case 2:
		do_mac(rig);
		return "MAC_ADDR_SET";
	case 3:
		rig_do_le16(rig, CLASS_VLAN, (uint8_t)rng_below(2), (uint16_t)rng_below(8));
		return "VLAN";
	case 4:
		rig_do_le16(rig, CLASS_MQ, 0, (uint16_t)rng_below(RIG_PAIRS + 2));
		return "VQ_PAIRS_SET";
	case 5:
		rss.types = rng_below(512);
		rss.mask = (uint16_t)((1u << rng_below(8)) - 1);
		rss.entry = (uint16_t)rng_below(RIG_PAIRS);
		rss.max_tx_vq = (uint16_t)(1 + rng_below(RIG_PAIRS));
		rig_rss(rig, &rss);
		return "RSS_CONFIG";
	case 6:
		rig_do_data(rig, CLASS_MQ, 2, data_hash(rng_below(512), 0, 40));
		return "HASH_CONFIG";
	case 7:
		offloads = rng_below(2) ? rig->features & VNET_GUEST_OFFLOADS : rng_below(1 << 11);
		rig_do(rig, CLASS_OFFLOADS, 0, &offloads, 8);
		return "GUEST_OFFLOADS_SET";
	case 8:
		rig_do_data(rig, CLASS_COAL, (uint8_t)rng_below(2),
			    data_coal(-1, rng_below(3), rng_below(100)));
		return "NOTF_COAL of all";
	default:
		rig_do_data(rig, CLASS_COAL, 2,
			    data_coal((int)rng_below(N_QUEUES), rng_below(9), rng_below(100)));
		return "NOTF_COAL_VQ_SET";
	}
}

static const char *
say_of_a_queue(struct rig *rig)
{
	struct vdev *vdev = &rig->dev->vdev;
	unsigned int idx = rng_below(rig->controlq + 1);
	struct diag diag;

	/* The driver does not speak while its controlq is away; so that is not for long. */
	if (!vdev_queue_is_active(vdev, rig->controlq) && rng_below(2))
		idx = rig->controlq;
	if (!vdev_queue_is_running(vdev, idx)) {
		queue_start(rig, idx);
		return "a queue starts";
	}
	switch (rng_below(3)) {
	case 0:
		vdev_queue_get_base(vdev, idx);
		return "GET_VRING_BASE";
	case 1:
		assert_int_equal(vdev_queue_set_call(vdev, idx, eventfd(0, EFD_CLOEXEC), &diag), 0);
		return "SET_VRING_CALL";
	default:
		assert_int_equal(vdev_queue_set_enable(vdev, idx, !vdev_queue_is_enabled(vdev, idx), &diag),
				 0);
		return "SET_VRING_ENABLE";
	}
}

static const char *
say_of_all(struct rig *rig, const struct rig_options *options)
{
	struct diag diag;

	switch (rng_below(8)) {
	case 0:
		do_mem(rig);
		return "SET_MEM_TABLE";
	case 1:
		do_log(rig);
		return "SET_LOG_BASE";
	case 2:
		do_log_all(rig);
		return "LOG_ALL";
	case 3:
		assert_int_equal(vdev_set_features(&rig->dev->vdev, rig->features, &diag), 0);
		return "SET_FEATURES";
	case 4:
		assert_int_equal(rig->dev->vdev.ops->set_mtu(&rig->dev->vdev, 1400 + rng_below(2)), 0);
		return "NET_SET_MTU";
	case 5:
		vnet_set_link(rig->dev, &(struct port_link){.up = rng_below(4)});
		return "a link";
	case 6:
		if (rng_below(4))
			return "nothing";
		rig_reset(rig, options);
		return "a reset";
	default:
		rig_announce(rig);
		return "an announcement";
	}
}

/* Anything that a front-end, a driver or an administrator may say at this moment. */
static const char *
say(struct rig *rig, const struct rig_options *options)
{
	const bool speaks = vdev_queue_is_active(&rig->dev->vdev, rig->controlq);

	switch (rng_below(4)) {
	case 0:
		return say_of_a_queue(rig);
	case 1:
		return say_of_all(rig, options);
	default:
		return speaks ? say_command(rig) : say_of_a_queue(rig);
	}
}

/* Another device, on the same memory, with these inputs and nothing else of the first one's. */
static struct rig *
twin_open(const struct rig *rig, const struct rig_options *options)
{
	struct rig *twin = unit_zalloc(sizeof(*twin));
	struct vnet_config config = {.ctx = &twin->own_ctx,
				     .name = "twin",
				     .n_pairs = options->n_pairs,
				     .mac = rig_mac,
				     .pool = rig_pool,
				     .port = &twin->port};
	const struct vdev *from = &rig->dev->vdev;
	struct vdev *to;
	struct diag diag;

	assert_int_equal(port_queues_alloc(&twin->port, options->n_pairs), 0);
	twin->dev = unit_zalloc(sizeof(*twin->dev));
	twin->controlq = rig->controlq;
	twin->ctx = &twin->own_ctx;
	assert_int_equal(vnet_init(twin->dev, &config), 0);
	to = &twin->dev->vdev;
	to->mem = from->mem;
	to->log = from->log;
	to->said = from->said;
	for (unsigned int i = 0; i < from->n_queues; i++) {
		to->queues[i].said = from->queues[i].said;
		to->queues[i].call_fd = from->queues[i].call_fd;
		to->queues[i].call_kind = from->queues[i].call_kind;
		to->queues[i].vq = to->ops->queue(to, i);
	}
	twin->dev->draft = rig->dev->input;
	vnet_reconcile(to, VDEV_EVERY_QUEUE, &diag);
	return twin;
}

/* What it has not of itself stays the first one's. */
static void
twin_close(struct rig *twin)
{
	struct vdev *vdev = &twin->dev->vdev;

	vdev_stop(vdev);
	for (unsigned int i = 0; i < vdev->n_queues; i++)
		vdev->queues[i].call_fd = -1;
	vdev->mem = NULL;
	vdev->log = NULL;
	vnet_fini(twin->dev);
	port_queues_free(&twin->port);
	ctx_close(&twin->own_ctx);
	free(twin->dev);
	free(twin);
}

/* Where the rings are and all that is no object of the device itself is the same, byte for byte. */
static void
same_confs(const struct rig *a, const struct rig *b, const char *after)
{
	for (unsigned int i = 0; i <= a->controlq; i++) {
		const struct vnet_conf *of_a = vnet_conf(a->dev->vdev.queues[i].vq);
		const struct vnet_conf *of_b = vnet_conf(b->dev->vdev.queues[i].vq);
		struct vnet_conf ca, cb;

		if (!of_a != !of_b)
			fail_msg("after %s: queue %u runs in one of the two", after, i);
		if (!of_a)
			continue;
		ca = *of_a;
		cb = *of_b;
		if (!ca.flows != !cb.flows)
			fail_msg("after %s: queue %u learns in one of the two", after, i);
		ca.flows = cb.flows = NULL;
		if (memcmp(&ca, &cb, sizeof(ca)) != 0)
			fail_msg("after %s: queue %u differs", after, i);
	}
}

static void
same_frames(struct rig *a, struct rig *b, const char *after)
{
	const bool receives = virtq_conf(&a->dev->queues[0].to_guest);
	const uint64_t dsts[] = {RIG_OWN,          RIG_OTHER,          RIG_MULTICAST, RIG_BROADCAST,
				 RIG_UNICAST_N(1), RIG_MULTICAST_N(1), 0x020000000009};

	for (size_t i = 0; receives && i < RTE_DIM(dsts); i++)
		for (int vlan = RIG_UNTAGGED; vlan < 8; vlan++)
			if (rig_wants_tagged(a, dsts[i], vlan) != rig_wants_tagged(b, dsts[i], vlan))
				fail_msg("after %s: a frame to %llx on VLAN %d is let in by one of the two",
					 after, (unsigned long long)dsts[i], vlan);
	if (!a->dev->output.steer != !b->dev->output.steer)
		fail_msg("after %s: one of the two steers", after);
	for (unsigned int udp = 0; a->dev->output.steer && udp < 2; udp++)
		if (rig_picks(a, udp) != rig_picks(b, udp))
			fail_msg("after %s: a frame goes to different pairs", after);
}

static void
same(struct rig *a, struct rig *b, const char *after)
{
	uint8_t config_a[VDEV_CONFIG_MAX], config_b[VDEV_CONFIG_MAX];

	same_confs(a, b, after);
	same_frames(a, b, after);
	if (atomic_load(&a->port.n_active) != atomic_load(&b->port.n_active))
		fail_msg("after %s: %u and %u pairs can be sent to", after, atomic_load(&a->port.n_active),
			 atomic_load(&b->port.n_active));
	assert_int_equal(atomic_load(&a->dev->shared.link_up), atomic_load(&b->dev->shared.link_up));
	assert_int_equal(vnet_serves_controlq(a->dev), vnet_serves_controlq(b->dev));
	assert_memory_equal(&a->dev->output.hash, &b->dev->output.hash, sizeof(a->dev->output.hash));
	assert_memory_equal(&a->dev->input, &b->dev->input, sizeof(a->dev->input));
	vnet_config_read(&a->dev->vdev, config_a);
	vnet_config_read(&b->dev->vdev, config_b);
	assert_memory_equal(config_a, config_b, sizeof(config_a));
}

static void
test_inputs_alone_make_the_device(void **state)
{
	enum { N_DEVICES = 60, N_WORDS = 100 };
	static const uint64_t withouts[] = {
		0, FEATURE_MASK(NET_HASH_REPORT), FEATURE_MASK(NET_CTRL_VLAN) | FEATURE_MASK(NET_RSS),
		FEATURE_MASK(NET_MRG_RXBUF) | FEATURE_MASK(NET_GUEST_CSUM) | FEATURE_MASK(NET_GUEST_TSO4) |
			FEATURE_MASK(NET_GUEST_TSO6) | FEATURE_MASK(NET_GUEST_ECN) |
			FEATURE_MASK(NET_GUEST_USO4) | FEATURE_MASK(NET_GUEST_USO6) |
			FEATURE_MASK(NET_GUEST_UFO)};
	unsigned int n_words = 0;

	for (unsigned int i = 0; i < N_DEVICES; i++) {
		const struct rig_options options = {
			.n_pairs = RIG_PAIRS,
			.traits = i % 2 ? TRAIT_PACKED : 0,
			.status = i % 3,
			.unfilled = i % 5 == 0,
			.without = withouts[rng_below(RTE_DIM(withouts))],
		};
		struct rig *rig = rig_open(&options);

		for (unsigned int k = 0; k < N_WORDS; k++) {
			const char *word = say(rig, &options);
			struct rig *twin;

			n_words++;
			reconcile_again(rig, word);
			twin = twin_open(rig, &options);
			same(rig, twin, word);
			twin_close(twin);
		}
		rig_close(rig);
	}
	assert_int_equal(n_words, N_DEVICES * N_WORDS);
}

/* What was said before its rings ran is the driver's; what was said while they did is not the next one's. */
static void
test_an_mtu_is_for_one_driver(void **state)
{
	const struct rig_options options = {.n_pairs = RIG_PAIRS};
	struct rig *rig = rig_open(&options);

	do_mtu(rig);
	assert_int_equal(vnet_conf(&rig->dev->queues[0].to_guest)->frame_max, 1400 + 14 + 2 * 4);
	rig_stop(rig);
	rig_start(rig, &options);
	assert_int_equal(vnet_conf(&rig->dev->queues[0].to_guest)->frame_max, PORT_FRAME_MAX);
	rig_stop(rig);
	do_mtu(rig);
	rig_start(rig, &options);
	assert_int_equal(vnet_conf(&rig->dev->queues[0].to_guest)->frame_max, 1400 + 14 + 2 * 4);
	rig_stop(rig);
	rig_start(rig, &options);
	assert_int_equal(vnet_conf(&rig->dev->queues[0].to_guest)->frame_max, PORT_FRAME_MAX);
	rig_close(rig);
}

/* --- no memory --- */

static void
test_no_memory_changes_nothing(void **state)
{
	struct rig *rig = rig_usual();
	struct vnet_settings *draft = &rig->dev->draft.settings;
	unsigned int n, live;

	/* Something of everything is there already. */
	do_promisc_off(rig);
	do_rss(rig);
	live = alloc_live();
	for (n = 1;; n++) {
		const struct published was = published(rig);
		const struct vnet_input input = rig->dev->input;
		struct published is;
		int ret;

		/* A filter, a table and hashes, and coalescing, at once. */
		draft->filter.nobcast = !draft->filter.nobcast;
		draft->steer.rss.table[0] = 3;
		draft->steer.hash.types ^= HASH_TYPE_UDPV4;
		draft->coal[1].max_usecs = draft->coal[1].max_packets = 7;
		watch(rig);
		alloc_fail_at(n, ALLOC_FAILS_ONCE);
		alloc_arm();
		ret = vnet_apply(rig->dev);
		alloc_disarm();
		alloc_recover();
		unwatch(rig);
		assert_int_equal(alloc_live(), live);
		if (!alloc_has_failed()) {
			assert_int_equal(ret, 0);
			break;
		}
		assert_int_equal(ret, -ENOMEM);
		is = published(rig);
		assert_memory_equal(&is, &was, sizeof(is));
		assert_memory_equal(&rig->dev->input, &input, sizeof(input));
		assert_memory_equal(&rig->dev->draft, &input, sizeof(input));
		assert_int_equal(n_waits + n_notices + n_hashes, 0);
		reconcile_again(rig, "a failure");
	}
	/* The filter, the steering, and its hashes. */
	assert_true(n > 3);
	assert_int_equal(virtq_conf(&rig->dev->queues[0].from_guest)->coal_max_packets, 7);
	rig_close(rig);
}

/* What a front-end and an administrator say takes none. */
static void
test_words_need_no_memory(void **state)
{
	static const struct {
		const char *name;
		void (*say)(struct rig *rig);
	} words[] = {
		{"SET_VRING_KICK", do_kick},
		{"SET_VRING_CALL", do_call},
		{"SET_FEATURES", do_features},
		{"LOG_ALL", do_log_all},
		{"NET_SET_MTU", do_mtu},
		{"a link", do_link_down},
		{"SET_VRING_ENABLE", do_disable_2},
		{"GET_VRING_BASE", do_stop_2},
		{"GET_VRING_BASE of the controlq", do_stop_controlq},
		{"RESET_OWNER", NULL},
	};
	struct rig *rig = rig_usual();

	do_promisc_off(rig);
	do_rss(rig);
	alloc_fail_at(1, ALLOC_FAILS_ON);
	alloc_arm();
	for (size_t i = 0; i < RTE_DIM(words); i++) {
		if (words[i].say)
			words[i].say(rig);
		else
			vdev_stop(&rig->dev->vdev);
		if (alloc_has_failed())
			fail_msg("%s asks for memory", words[i].name);
	}
	vdev_reset(&rig->dev->vdev);
	vdev_disconnect(&rig->dev->vdev);
	alloc_disarm();
	alloc_recover();
	assert_false(alloc_has_failed());
	rig_close(rig);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_change_publishes_what_depends_on_it),
		cmocka_unit_test(test_inputs_alone_make_the_device),
		cmocka_unit_test(test_an_mtu_is_for_one_driver),
		cmocka_unit_test(test_no_memory_changes_nothing),
		cmocka_unit_test(test_words_need_no_memory),
	};

	rig_env_open();
	return UNIT_RUN(tests);
}
