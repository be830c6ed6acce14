/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_no_memory: every allocation of the control plane fails.
 *
 * A scenario is run over and over; in run n the nth allocation fails, alone, or with all that follow until
 * something is refused. What is refused has changed nothing, and asked for once more, it is done; the rest is
 * done all the same. So after every step all is as it was at that step of a run in which nothing failed. At
 * the end nothing is left: no memory, no open file, no mapping of a guest's memory.
 */
#include "unit.h"

#include <dirent.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <rte_byteorder.h>
#include <rte_eal.h>
#include <rte_ether.h>
#include <rte_mbuf.h>

#include "alloc.h"
#include "ctx.h"
#include "dataplane.h"
#include "driver.h"
#include "filter.h"
#include "fwd.h"
#include "fwd_config.h"
#include "gmem_sigbus.h"
#include "loop.h"
#include "messages.h"
#include "port.h"
#include "session.h"
#include "unit_eal.h"
#include "vnet_dev.h"

static struct vnic_ctx ctx;

enum {
	N_PAIRS = 3,
	N_QUEUES = 2 * N_PAIRS + 1,
	CONTROLQ = N_QUEUES - 1,
	QUEUE_SIZE = 16,
	STEPS_MAX = 300,
	ANSWER_MS = 2000,
	LOG_LEN = 64 << 10,
};

static struct rte_mempool *pool;
static struct rte_mbuf *frames[PORT_BURST]; /* of many flows, to many addresses */
static char run_dir[] = "/tmp/test_no_memory.XXXXXX";

/* --- what must not be left behind --- */

struct holdings {
	unsigned int blocks, fds, maps;
};

static struct holdings
holdings(void)
{
	struct holdings held = {.blocks = alloc_live()};
	FILE *maps = fopen("/proc/self/maps", "r");
	DIR *fds = opendir("/proc/self/fd");
	char line[512];

	assert_true(fds && maps);
	while (readdir(fds))
		held.fds++;
	while (fgets(line, sizeof(line), maps))
		held.maps += strstr(line, "/memfd:") != NULL;
	closedir(fds);
	fclose(maps);
	return held;
}

/* Which allocation fails in this run. */
static unsigned int failing;

static unsigned int
fail_each_how(void (*run)(void *arg), void *arg, enum alloc_failure how)
{
	for (failing = 1;; failing++) {
		struct holdings before = holdings(), after;
		bool failed;

		alloc_fail_at(failing, how);
		run(arg);
		alloc_recover();
		failed = alloc_has_failed();
		after = holdings();
		if (after.blocks != before.blocks || after.fds != before.fds || after.maps != before.maps)
			fail_msg("allocation %u fails: %d blocks, %d descriptors, %d mappings are left",
				 failing, (int)(after.blocks - before.blocks), (int)(after.fds - before.fds),
				 (int)(after.maps - before.maps));
		if (!failed)
			return failing - 1;
	}
}

/* Runs it with every allocation failing in turn, until one run has gone through. Returns how many there are.
 */
static unsigned int
fail_each(void (*run)(void *arg), void *arg)
{
	unsigned int n = fail_each_how(run, arg, ALLOC_FAILS_ONCE);

	fail_each_how(run, arg, ALLOC_FAILS_ON);
	return n;
}

/* It was refused: for want of memory, and there is memory again. */
static void
refused(const char *what)
{
	if (!alloc_has_failed())
		fail_msg("%s: refused, although no allocation failed", what);
	alloc_recover();
}

/* --- a device, its front-end and its driver --- */

struct rig {
	struct loop *loop;
	struct vnet_dev dev;
	struct port port;
	struct port_rxq rxqs[N_PAIRS];
	struct port_txq txqs[N_PAIRS];
	struct driver_mem mem;
	struct driver_queue rings[N_QUEUES];
	struct session *session;
	int fd; /* the front-end's end */
	int kicks[N_QUEUES];
	uint32_t bases[N_QUEUES];
	bool ended;
	uint64_t traits;
} __rte_cache_aligned;

/* All that a step may change. */
struct snapshot {
	struct vnet_settings settings;
	uint64_t features, log_bytes;
	uint32_t n_regions;
	uint16_t n_active, pairs[PORT_BURST];
	uint8_t status, steered;
	uint32_t wanted;
	bool has_features, link_up, ours;
	struct {
		bool running, enabled, on, flows, logs;
		uint16_t size, hdr_len;
		uint32_t traits, coal_max_packets;
		uint64_t offloads;
		int call_fd_is_one;
	} queues[N_QUEUES];
};

/* Bit i: frame i is let in. */
static uint32_t
snapshot_wanted(const struct port_filter *filter)
{
	struct rte_mbuf *pkts[PORT_BURST];
	uint32_t wanted = 0;
	uint16_t n;

	if (!filter)
		return UINT32_MAX;
	memcpy(pkts, frames, sizeof(pkts));
	n = filter->burst(filter, pkts, PORT_BURST);
	for (uint16_t i = 0; i < n; i++)
		for (uint16_t k = 0; k < PORT_BURST; k++)
			wanted |= (uint32_t)(pkts[i] == frames[k]) << k;
	return wanted;
}

static void
snapshot_queue(const struct rig *rig, unsigned int idx, struct snapshot *shot)
{
	const struct virtq_conf *conf = virtq_conf(rig->dev.vdev.queues[idx].vq);
	const struct vnet_conf *net = (const struct vnet_conf *)conf;

	shot->queues[idx].enabled = vdev_queue_is_enabled(&rig->dev.vdev, idx);
	shot->queues[idx].running = conf != NULL;
	if (!conf)
		return;
	shot->queues[idx].on = conf->enabled;
	shot->queues[idx].size = conf->size;
	shot->queues[idx].hdr_len = net->hdr_len;
	shot->queues[idx].traits = conf->traits;
	shot->queues[idx].coal_max_packets = conf->coal_max_packets;
	shot->queues[idx].offloads = net->offloads;
	shot->queues[idx].flows = net->flows != NULL;
	shot->queues[idx].logs = conf->log != NULL;
	shot->queues[idx].call_fd_is_one = conf->call_fd >= 0;
}

static void
snapshot_take(struct rig *rig, struct snapshot *shot)
{
	const struct port_steer *steer = atomic_load(&rig->port.steer);
	const struct vdev *vdev = &rig->dev.vdev;

	memset(shot, 0, sizeof(*shot));
	memcpy(&shot->settings, &rig->dev.input.settings, sizeof(shot->settings));
	/* Those of the last driver, until there is another one. */
	shot->settings.features = 0;
	shot->features = vdev->said.features;
	shot->has_features = vdev->said.has_features;
	shot->status = vdev->said.status;
	shot->link_up = rig->dev.shared.link_up;
	shot->ours = vnet_serves_controlq(&rig->dev);
	shot->n_active = atomic_load(&rig->port.n_active);
	shot->n_regions = vdev->mem ? vdev->mem->n_regions : 0;
	shot->log_bytes = vdev->log ? vdev->log->n_bytes : 0;
	shot->wanted = snapshot_wanted(atomic_load(&rig->port.filter));
	shot->steered = steer != NULL;
	if (steer)
		steer->pick(steer, &rig->port, &rig->rxqs[1], frames, PORT_BURST, shot->pairs);
	for (unsigned int i = 0; i < N_QUEUES; i++)
		snapshot_queue(rig, i, shot);
}

static void
rig_ended(void *arg, const char *why)
{
	((struct rig *)arg)->ended = true;
}

/* --- steps --- */

static const struct iovec *
bytes_of(const void *data, size_t len)
{
	static struct iovec iov;

	iov = (struct iovec){.iov_base = (void *)(uintptr_t)data, .iov_len = len};
	return &iov;
}

static void
rig_iteration(struct rig *rig)
{
	alloc_arm();
	loop_run_once(rig->loop, 1);
	alloc_disarm();
}

static void
rig_say(struct rig *rig, uint32_t request, const struct iovec *payload, const int fds[], unsigned int n_fds)
{
	struct message_header header = {.request = request,
					.flags = MESSAGE_VERSION | MESSAGE_NEED_REPLY,
					.size = (uint32_t)payload->iov_len};
	struct iovec iov[2] = {{&header, sizeof(header)}, *payload};
	char control[CMSG_SPACE(8 * sizeof(int))] __attribute__((aligned(8)));
	struct msghdr msg = {.msg_iov = iov, .msg_iovlen = 2};
	struct cmsghdr *cmsg;

	if (n_fds) {
		msg.msg_control = control;
		msg.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
		cmsg = CMSG_FIRSTHDR(&msg);
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
		memcpy(CMSG_DATA(cmsg), fds, n_fds * sizeof(int));
	}
	assert_int_equal(sendmsg(rig->fd, &msg, MSG_NOSIGNAL), sizeof(header) + payload->iov_len);
}

/* The reply's payload, which is `len` bytes. */
static void
rig_hear(struct rig *rig, void *payload, size_t len)
{
	uint8_t bytes[64];
	size_t want = sizeof(struct message_header) + len;
	uint64_t until = loop_now_ms() + ANSWER_MS;
	ssize_t n = -1;

	while (n < 0 && loop_now_ms() < until) {
		rig_iteration(rig);
		n = recv(rig->fd, bytes, want, MSG_DONTWAIT);
	}
	assert_false(rig->ended);
	assert_int_equal(n, want);
	memcpy(payload, bytes + sizeof(struct message_header), len);
}

/* 0, or -1 when it is refused. */
static int
rig_ask(struct rig *rig, uint32_t request, const struct iovec *payload, const int fds[], unsigned int n_fds)
{
	uint64_t refused;

	rig_say(rig, request, payload, fds, n_fds);
	rig_hear(rig, &refused, sizeof(refused));
	return refused ? -1 : 0;
}

static int
rig_ask_u64(struct rig *rig, uint32_t request, uint64_t word)
{
	return rig_ask(rig, request, bytes_of(&word, sizeof(word)), NULL, 0);
}

enum {
	SET_FEATURES = 2,
	SET_OWNER = 3,
	SET_MEM_TABLE = 5,
	SET_VRING_NUM = 8,
	SET_VRING_ADDR = 9,
	SET_VRING_BASE = 10,
	GET_VRING_BASE = 11,
	SET_VRING_KICK = 12,
	SET_VRING_CALL = 13,
	SET_VRING_ERR = 14,
	SET_PROTOCOL_FEATURES = 16,
	SET_VRING_ENABLE = 18,
	ADD_MEM_REG = 37,
	REM_MEM_REG = 38,
	SET_STATUS = 39,
};

struct command {
	uint8_t class, number, len;
	const char *data;
};

/* One step; arg and command are what `run` makes of them. 0, or -1: refused. */
struct step {
	const char *name;
	int (*run)(struct rig *rig, const struct step *step);
	uint64_t arg;
	struct command command;
};

static int
step_empty(struct rig *rig, const struct step *step)
{
	return rig_ask(rig, step->command.len, bytes_of(NULL, 0), NULL, 0);
}

static int
step_u64(struct rig *rig, const struct step *step)
{
	return rig_ask_u64(rig, (uint32_t)step->command.len, step->arg);
}

/* arg: features to leave out. */
static int
step_features(struct rig *rig, const struct step *step)
{
	return rig_ask_u64(rig, SET_FEATURES, vdev_features_offered(&rig->dev.vdev) & ~step->arg);
}

static struct message_mem_region
region_of(unsigned int i)
{
	return (struct message_mem_region){.gpa = driver_region_gpa(i),
					   .size = DRIVER_REGION_SIZE,
					   .uva = driver_uva(driver_region_gpa(i)),
					   .mmap_offset = (uint64_t)i * DRIVER_REGION_SIZE};
}

/* arg: how many regions. */
static int
step_mem_table(struct rig *rig, const struct step *step)
{
	struct {
		uint32_t n, padding;
		struct message_mem_region regions[DRIVER_N_REGIONS];
	} table = {.n = (uint32_t)step->arg};
	int fds[DRIVER_N_REGIONS];

	for (unsigned int i = 0; i < step->arg; i++) {
		table.regions[i] = region_of(i);
		fds[i] = rig->mem.fd;
	}
	return rig_ask(rig, SET_MEM_TABLE, bytes_of(&table, 8 + step->arg * sizeof(table.regions[0])), fds,
		       (unsigned int)step->arg);
}

/* arg: which region is added, or removed. */
static int
step_mem_region(struct rig *rig, const struct step *step)
{
	struct {
		uint64_t padding;
		struct message_mem_region region;
	} single = {.region = region_of((unsigned int)step->arg)};
	bool add = step->command.len == ADD_MEM_REG;

	return rig_ask(rig, step->command.len, bytes_of(&single, sizeof(single)), &rig->mem.fd, add);
}

/* Not by the message: refused, that one ends the connection. */
static int
step_log(struct rig *rig, const struct step *step)
{
	int fd = memfd_create("log", MFD_CLOEXEC), ret;
	struct gmem_map *map;
	struct diag diag;

	assert_true(fd >= 0 && ftruncate(fd, LOG_LEN) == 0);
	alloc_arm();
	ret = gmem_map_open(fd, 0, step->arg, &map, &diag);
	if (ret == 0)
		ret = vdev_set_log(&rig->dev.vdev, map, &diag);
	alloc_disarm();
	close(fd);
	return ret;
}

static int
step_ring_word(struct rig *rig, const struct step *step)
{
	uint32_t idx = (uint32_t)step->arg, words[2] = {idx, QUEUE_SIZE};

	if (step->command.len == SET_VRING_ENABLE)
		words[1] = step->command.number;
	else if (step->command.len == SET_VRING_BASE)
		words[1] = rig->bases[idx];
	return rig_ask(rig, step->command.len, bytes_of(words, sizeof(words)), NULL, 0);
}

static int
step_ring_addr(struct rig *rig, const struct step *step)
{
	const struct driver_queue *ring = &rig->rings[step->arg];
	const struct {
		uint32_t idx, flags;
		uint64_t desc, used, avail, log;
	} addr = {.idx = (uint32_t)step->arg,
		  .desc = driver_uva(ring->desc_gpa),
		  .used = driver_uva(ring->used_gpa),
		  .avail = driver_uva(ring->avail_gpa)};

	return rig_ask(rig, SET_VRING_ADDR, bytes_of(&addr, sizeof(addr)), NULL, 0);
}

static int
step_ring_fd(struct rig *rig, const struct step *step)
{
	bool kick = step->command.len == SET_VRING_KICK;
	int fd = kick ? rig->kicks[step->arg] : eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), ret;

	ret = rig_ask(rig, step->command.len, bytes_of(&step->arg, 8), &fd, 1);
	if (!kick)
		close(fd);
	return ret;
}

static int
step_ring_stop(struct rig *rig, const struct step *step)
{
	uint32_t state[2] = {(uint32_t)step->arg};

	rig_say(rig, GET_VRING_BASE, bytes_of(state, sizeof(state)), NULL, 0);
	rig_hear(rig, state, sizeof(state));
	rig->bases[step->arg] = state[1];
	return 0;
}

/* The driver's rings are new. */
static int
step_driver(struct rig *rig, const struct step *step)
{
	rig->mem.next[2] = 0;
	for (unsigned int i = 0; i < N_QUEUES; i++) {
		driver_queue_close(&rig->rings[i]);
		driver_queue_open(&rig->rings[i], &rig->mem, 2, (uint32_t)rig->traits, QUEUE_SIZE, true);
		rig->bases[i] = rig->traits & TRAIT_PACKED ? 0x80008000u : 0;
	}
	return 0;
}

/* By the control queue: its answer. */
static int
step_command(struct rig *rig, const struct step *step)
{
	const struct command *command = &step->command;
	struct driver_queue *ring = &rig->rings[CONTROLQ];
	uint64_t data = driver_region_gpa(0) + (1 << 20), ack = driver_region_gpa(0) + (2 << 20), tag;
	struct driver_buf bufs[2] = {{.gpa = data, .len = 2u + command->len},
				     {.gpa = ack, .len = 1, .writable = true}};
	uint64_t until = loop_now_ms() + ANSWER_MS;
	uint32_t len;
	uint8_t byte = 0xa5;

	driver_write(&rig->mem, data, (uint8_t[]){command->class, command->number}, 2);
	driver_write(&rig->mem, data + 2, command->data, command->len);
	driver_write(&rig->mem, ack, &byte, 1);
	assert_true(driver_add(ring, bufs, 2, DRIVER_DIRECT, 7));
	assert_int_equal(eventfd_write(rig->kicks[CONTROLQ], 1), 0);
	while (!driver_get(ring, &tag, &len)) {
		assert_true(loop_now_ms() < until);
		rig_iteration(rig);
	}
	driver_read(&rig->mem, ack, &byte, 1);
	assert_true(byte <= 1);
	return byte ? -1 : 0;
}

static int
step_link(struct rig *rig, const struct step *step)
{
	struct port_link link = {.up = step->arg, .speed = PORT_SPEED_UNKNOWN, .duplex = PORT_DUPLEX_UNKNOWN};
	int ret;

	alloc_arm();
	ret = vnet_set_link(&rig->dev, &link);
	alloc_disarm();
	return ret;
}

static int
step_announce(struct rig *rig, const struct step *step)
{
	int ret;

	alloc_arm();
	ret = vnet_announce(&rig->dev);
	alloc_disarm();
	return ret;
}

/* --- what a front-end and a driver do, in order --- */

static struct step steps[STEPS_MAX];
static struct snapshot shots[STEPS_MAX];
static unsigned int n_steps;

static void
plan(const char *name, int (*run)(struct rig *rig, const struct step *step), uint64_t arg,
     struct command command)
{
	assert_true(n_steps < STEPS_MAX);
	steps[n_steps++] = (struct step){.name = name, .run = run, .arg = arg, .command = command};
}

/* A request's number is in the command's len, of which it is otherwise the whole. */
#define REQUEST(what) ((struct command){.len = (what)})
#define PLAN_U64(request, word) plan(#request, step_u64, (word), REQUEST(request))
#define PLAN_COMMAND(label, ...) plan(label, step_command, 0, (struct command){__VA_ARGS__})

static void
plan_rings(void)
{
	for (uint64_t i = 0; i < N_QUEUES; i++) {
		plan("SET_VRING_NUM", step_ring_word, i, REQUEST(SET_VRING_NUM));
		plan("SET_VRING_BASE", step_ring_word, i, REQUEST(SET_VRING_BASE));
		plan("SET_VRING_ADDR", step_ring_addr, i, REQUEST(SET_VRING_ADDR));
		plan("SET_VRING_CALL", step_ring_fd, i, REQUEST(SET_VRING_CALL));
		plan("SET_VRING_ERR", step_ring_fd, i, REQUEST(SET_VRING_ERR));
		plan("SET_VRING_KICK", step_ring_fd, i, REQUEST(SET_VRING_KICK));
		plan("SET_VRING_ENABLE", step_ring_word, i,
		     (struct command){.len = SET_VRING_ENABLE, .number = 1});
	}
}

/* Types, mask 3, unclassified pair 2, four entries, one transmit queue, a key of four bytes. */
#define RSS                \
	"\x3f\0\0\0"       \
	"\3\0"             \
	"\2\0"             \
	"\0\0\1\0\2\0\1\0" \
	"\1\0"             \
	"\4"               \
	"\x6d\x5a\x56\xda"
#define HASH "\x3f\0\0\0\0\0\0\0\0\0\0\0\4\x6d\x5a\x56\xda"

static void
plan_commands(uint64_t without)
{
	PLAN_COMMAND("PROMISC off", .class = 0, .number = 0, .len = 1, .data = "\0");
	PLAN_COMMAND("MAC_TABLE_SET", .class = 1, .number = 0, .len = 20,
		     .data = "\1\0\0\0\2\0\0\0\0\3\1\0\0\0\1\0\x5e\0\0\1");
	PLAN_COMMAND("MAC_ADDR_SET", .class = 1, .number = 1, .len = 6, .data = "\2\0\0\0\0\5");
	PLAN_COMMAND("VLAN_ADD", .class = 2, .number = 0, .len = 2, .data = "\3\0");
	PLAN_COMMAND("VQ_PAIRS_SET", .class = 4, .number = 0, .len = 2, .data = "\3\0");
	if (!(without & FEATURE_MASK(NET_HASH_REPORT)))
		PLAN_COMMAND("HASH_CONFIG", .class = 4, .number = 2, .len = sizeof(HASH) - 1, .data = HASH);
	PLAN_COMMAND("RSS_CONFIG", .class = 4, .number = 1, .len = sizeof(RSS) - 1, .data = RSS);
	PLAN_COMMAND("GUEST_OFFLOADS_SET", .class = 5, .number = 0, .len = 8, .data = "\2\0\0\0\0\0\0\0");
	PLAN_COMMAND("COAL_TX_SET", .class = 6, .number = 0, .len = 8, .data = "\5\0\0\0\x37\0\0\0");
}

/* without: features that the driver does not take. */
static void
plan_all(uint64_t without)
{
	n_steps = 0;
	PLAN_U64(SET_PROTOCOL_FEATURES, 1 << PROTOCOL_MQ | 1 << PROTOCOL_LOG_SHMFD | 1 << PROTOCOL_REPLY_ACK |
						1 << PROTOCOL_CONFIG | 1 << PROTOCOL_CONFIGURE_MEM_SLOTS |
						1 << PROTOCOL_STATUS);
	plan("SET_OWNER", step_empty, 0, REQUEST(SET_OWNER));
	plan("SET_FEATURES", step_features, without | FEATURE_MASK(LOG_ALL), REQUEST(0));
	plan("SET_MEM_TABLE of two", step_mem_table, 2, REQUEST(0));
	plan("ADD_MEM_REG", step_mem_region, 2, REQUEST(ADD_MEM_REG));
	plan("REM_MEM_REG", step_mem_region, 2, REQUEST(REM_MEM_REG));
	plan("SET_MEM_TABLE of three", step_mem_table, 3, REQUEST(0));
	plan("driver", step_driver, 0, REQUEST(0));
	plan_rings();
	PLAN_U64(SET_STATUS, VDEV_STATUS_DRIVER | VDEV_STATUS_FEATURES_OK | VDEV_STATUS_DRIVER_OK);
	plan_commands(without);
	plan("dirty log", step_log, LOG_LEN / 2, REQUEST(0));
	plan("LOG_ALL on", step_features, without, REQUEST(0));
	plan("another dirty log", step_log, LOG_LEN, REQUEST(0));
	plan("LOG_ALL off", step_features, without | FEATURE_MASK(LOG_ALL), REQUEST(0));
	plan("link down", step_link, 0, REQUEST(0));
	plan("link up", step_link, 1, REQUEST(0));
	plan("announce", step_announce, 0, REQUEST(0));
	PLAN_COMMAND("ANNOUNCE_ACK", .class = 3, .number = 0, .data = "");
	plan("a queue disabled", step_ring_word, 2, (struct command){.len = SET_VRING_ENABLE, .number = 0});
	plan("and enabled", step_ring_word, 2, (struct command){.len = SET_VRING_ENABLE, .number = 1});
	plan("another call descriptor", step_ring_fd, 2, REQUEST(SET_VRING_CALL));
	/* The machine pauses; what the driver has set stays. */
	for (unsigned int i = 0; i < N_QUEUES; i++)
		plan("GET_VRING_BASE", step_ring_stop, i, REQUEST(0));
	plan("SET_MEM_TABLE while paused", step_mem_table, 3, REQUEST(0));
	plan_rings();
	PLAN_COMMAND("PROMISC on", .class = 0, .number = 0, .len = 1, .data = "\1");
	PLAN_COMMAND("PROMISC off again", .class = 0, .number = 0, .len = 1, .data = "\0");
	/* The control queue alone stops and starts: whose word counts? */
	plan("controlq stops", step_ring_stop, CONTROLQ, REQUEST(0));
	plan("SET_VRING_ADDR", step_ring_addr, CONTROLQ, REQUEST(SET_VRING_ADDR));
	plan("SET_VRING_KICK", step_ring_fd, CONTROLQ, REQUEST(SET_VRING_KICK));
	/* Nothing of what this driver has set may be left for the next one. */
	PLAN_U64(SET_STATUS, 0);
	plan("driver", step_driver, 0, REQUEST(0));
	plan("SET_FEATURES", step_features, without | FEATURE_MASK(LOG_ALL) | FEATURE_MASK(NET_CTRL_VLAN),
	     REQUEST(0));
	plan_rings();
	PLAN_U64(SET_STATUS, VDEV_STATUS_DRIVER | VDEV_STATUS_FEATURES_OK | VDEV_STATUS_DRIVER_OK);
	PLAN_COMMAND("PROMISC off", .class = 0, .number = 0, .len = 1, .data = "\0");
	PLAN_COMMAND("RSS_CONFIG", .class = 4, .number = 1, .len = sizeof(RSS) - 1, .data = RSS);
}

/* --- running them --- */

static void
rig_connect(struct rig *rig)
{
	for (rig->session = NULL; !rig->session;) {
		int fds[2];

		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
		rig->fd = fds[0];
		alloc_arm();
		rig->session = session_open(&rig->dev.vdev, N_PAIRS, fds[1], rig_ended, rig);
		alloc_disarm();
		if (rig->session)
			break;
		refused("session_open");
		close(rig->fd);
	}
}

static void
rig_open(struct rig *rig, uint64_t traits)
{
	struct vnet_config config = {.name = "test",
				     .n_pairs = N_PAIRS,
				     .mtu = 1500,
				     .mac = {{2, 0, 0, 0, 0, 1}},
				     .pool = pool,
				     .port = &rig->port};
	int ret;

	memset(rig, 0, sizeof(*rig));
	rig->traits = traits;
	rig->loop = ctx.loop;
	config.ctx = &ctx;
	rig->port.n_queues = N_PAIRS;
	rig->port.rxqs = rig->rxqs;
	rig->port.txqs = rig->txqs;
	driver_mem_open(&rig->mem);
	for (uint16_t i = 0; i < N_PAIRS; i++) {
		rig->rxqs[i].port = rig->txqs[i].port = &rig->port;
		rig->rxqs[i].idx = rig->txqs[i].idx = i;
		rig->rxqs[i].dev = rig->txqs[i].dev = &rig->dev.queues[i];
	}
	for (unsigned int i = 0; i < N_QUEUES; i++)
		rig->kicks[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	do {
		alloc_arm();
		ret = vnet_init(&rig->dev, &config);
		alloc_disarm();
		assert_true(ret == 0 || ret == -ENOMEM);
		if (ret < 0)
			refused("vnet_init");
	} while (ret < 0);
	rig_connect(rig);
}

static void
rig_close(struct rig *rig)
{
	vnet_fini(&rig->dev);
	for (unsigned int i = 0; i < N_QUEUES; i++) {
		driver_queue_close(&rig->rings[i]);
		close(rig->kicks[i]);
	}
	driver_mem_close(&rig->mem);
	/* What was removed from the loop goes with an iteration of it. */
	loop_run_once(rig->loop, 0);
}

/* The first run: nothing fails, and all that follow are compared with it. */
static bool recording;

static void
rig_step(struct rig *rig, unsigned int i)
{
	static struct snapshot before, after;

	snapshot_take(rig, &before);
	if (steps[i].run(rig, &steps[i]) < 0) {
		refused(steps[i].name);
		snapshot_take(rig, &after);
		if (memcmp(&before, &after, sizeof(after)) != 0)
			fail_msg("allocation %u fails: step %u, %s: refused, but something changed", failing,
				 i, steps[i].name);
		if (steps[i].run(rig, &steps[i]) < 0)
			fail_msg("allocation %u fails: step %u, %s: refused once more", failing, i,
				 steps[i].name);
	}
	snapshot_take(rig, &after);
	if (recording)
		shots[i] = after;
	else if (memcmp(&shots[i], &after, sizeof(after)) != 0)
		fail_msg("allocation %u fails: step %u, %s: not as without a failure", failing, i,
			 steps[i].name);
}

static void
rig_run(void *arg)
{
	static struct rig rig;
	static struct snapshot start, end;

	rig_open(&rig, *(uint64_t *)arg);
	snapshot_take(&rig, &start);
	for (unsigned int i = 0; i < n_steps; i++)
		rig_step(&rig, i);
	close(rig.fd);
	alloc_arm();
	session_close(rig.session);
	alloc_disarm();
	/* Nothing is left for the next front-end. */
	snapshot_take(&rig, &end);
	assert_memory_equal(&start, &end, sizeof(end));
	rig_close(&rig);
}

static void
run_device(uint64_t traits, uint64_t without)
{
	unsigned int n;

	plan_all(without);
	recording = true;
	rig_run(&traits);
	recording = false;
	n = fail_each(rig_run, &traits);
	/* At the least the device's parts, the tables, the log, and what the commands are compiled to. */
	assert_in_range(n, 20, 100000);
}

static void
test_device(void **state)
{
	run_device(0, FEATURE_MASK(RING_PACKED) | FEATURE_MASK(IN_ORDER));
}

static void
test_device_packed(void **state)
{
	run_device(TRAIT_PACKED, FEATURE_MASK(IN_ORDER) | FEATURE_MASK(NET_HASH_REPORT));
}

/* --- ports, the plan and the workers --- */

static const char *const port_lines[] = {
	"g0=vhost-user,queues=2,mtu=1500,uplink=up",
	"up=nic,vdev=net_null7",
	"g1=vhost-user,mac=02:00:00:00:00:07",
};

static unsigned int
pairs_planned(void)
{
	struct dataplane_worker_info info;
	unsigned int n = 0;

	for (unsigned int i = 0; i < dataplane_n_workers(); i++) {
		dataplane_worker_info(i, &info);
		n += info.n_queues;
	}
	return n;
}

static int
try_add(const char *line)
{
	struct port_config config;
	struct diag diag;
	int ret;

	alloc_arm();
	ret = port_config_parse(&config, line, &diag);
	if (ret == 0) {
		ret = dataplane_port_add(&config, NULL, &diag);
		port_config_free(&config);
	}
	alloc_disarm();
	return ret;
}

static int
try_remove(const char *name)
{
	struct diag diag;
	int ret;

	alloc_arm();
	ret = dataplane_port_remove(name, &diag);
	alloc_disarm();
	return ret;
}

/* A front-end comes and goes. */
static void
connect_to(const char *name)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	uint64_t until = loop_now_ms() + ANSWER_MS;
	struct message_header header = {.request = 1, .flags = MESSAGE_VERSION};
	uint8_t bytes[64];
	ssize_t n = 0;

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/%s.sock", run_dir, name);
	/* One that there is no memory for is closed at once. */
	while (n == 0) {
		int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

		assert_int_equal(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
		send(fd, &header, sizeof(header), MSG_NOSIGNAL);
		do {
			assert_true(loop_now_ms() < until);
			alloc_arm();
			loop_run_once(ctx.loop, 10);
			alloc_disarm();
			n = recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT);
		} while (n < 0 && errno == EAGAIN);
		n = n < 0 ? 0 : n;
		close(fd);
		if (n == 0)
			refused("a connection");
	}
	alloc_arm();
	loop_run_once(ctx.loop, 10);
	alloc_disarm();
}

static void
ports_run(void *arg)
{
	const unsigned int n_before = pairs_planned();
	unsigned int n_pairs = n_before;

	for (size_t i = 0; i < RTE_DIM(port_lines); i++) {
		char name[8];

		snprintf(name, sizeof(name), "%.*s", (int)strcspn(port_lines[i], "="), port_lines[i]);
		if (try_add(port_lines[i]) < 0) {
			refused("port.add");
			assert_null(port_by_name(name));
			assert_int_equal(dataplane_n_ports(), i);
			assert_int_equal(pairs_planned(), n_pairs);
			assert_int_equal(try_add(port_lines[i]), 0);
		}
		assert_non_null(port_by_name(name));
		n_pairs += port_by_name(name)->n_queues;
		assert_int_equal(pairs_planned(), n_pairs);
	}
	connect_to("g1");
	for (size_t i = 0; i < RTE_DIM(port_lines); i++) {
		char name[8];
		unsigned int n_its;

		snprintf(name, sizeof(name), "%.*s", (int)strcspn(port_lines[i], "="), port_lines[i]);
		n_its = port_by_name(name)->n_queues;
		if (try_remove(name) < 0) {
			refused("port.remove");
			assert_non_null(port_by_name(name));
			assert_int_equal(dataplane_n_ports(), RTE_DIM(port_lines) - i);
			assert_int_equal(pairs_planned(), n_pairs);
			assert_int_equal(try_remove(name), 0);
		}
		assert_null(port_by_name(name));
		n_pairs -= n_its;
		assert_int_equal(pairs_planned(), n_pairs);
	}
	loop_run_once(ctx.loop, 0);
}

static struct fwd_config ports_config; /* the dataplane's, until close_ports() */

static void
test_ports(void **state)
{
	struct diag diag;

	assert_int_equal(fwd_config_parse(&ports_config, "switch", &diag), 0);
	if (dataplane_open(&ports_config, pool, &ctx, &diag) < 0 || dataplane_start(&diag) < 0)
		fail_msg("%s", diag.cause);
	port_env.n_workers = dataplane_n_workers();
	assert_true(fail_each(ports_run, NULL) >= 20);
}

static int
close_ports(void **state)
{
	alloc_disarm();
	dataplane_close();
	loop_run_once(ctx.loop, 0);
	fwd_config_free(&ports_config);
	return 0;
}

/* --- the rest --- */

static void
modes_run(void *arg)
{
	for (struct fwd_mode *mode = fwd_modes(); mode; mode = mode->next) {
		struct fwd_config config;
		void *state = NULL;
		struct diag diag;
		int ret;

		alloc_arm();
		ret = fwd_config_parse(&config, mode->name, &diag);
		if (ret < 0) {
			assert_true(ret == -ENOMEM && config.args == NULL);
			refused(mode->name);
			ret = fwd_config_parse(&config, mode->name, &diag);
		}
		assert_int_equal(ret, 0);
		if (mode->open) {
			ret = mode->open(&state, config.args, &diag);
			if (ret < 0) {
				assert_true(ret == -ENOMEM && state == NULL);
				refused(mode->name);
				ret = mode->open(&state, config.args, &diag);
			}
			assert_int_equal(ret, 0);
		}
		alloc_disarm();
		if (mode->close)
			mode->close(state);
		fwd_config_free(&config);
	}
}

static void
test_modes(void **state)
{
	/* Of each the line; the values of two; the table of the switch in three parts, and the frame of
	 * txonly.
	 */
	assert_true(fail_each(modes_run, NULL) >= 13);
}

static void
handoff_run(void *arg)
{
	enum { N = 3 };
	static struct fwd_worker workers[N];
	struct diag diag;
	int ret;

	alloc_arm();
	ret = fwd_workers_open(workers, N, pool, &diag);
	if (ret < 0) {
		assert_int_equal(ret, -ENOMEM);
		refused("fwd_workers_open");
		ret = fwd_workers_open(workers, N, pool, &diag);
	}
	alloc_disarm();
	assert_int_equal(ret, 0);
	fwd_workers_close(workers, N);
}

static void
test_handoff(void **state)
{
	assert_int_equal(fail_each(handoff_run, NULL), 6);
}

static void
watch_never(void *arg, uint32_t events)
{
	fail();
}

static void
timer_never(void *arg)
{
	fail();
}

static void
loop_run_(void *arg)
{
	int fd = eventfd(0, EFD_CLOEXEC);
	struct loop_watch *watch;
	struct loop_timer *timer;

	alloc_arm();
	watch = loop_watch_add(ctx.loop, fd, 1, watch_never, NULL);
	if (!watch) {
		refused("loop_watch_add");
		watch = loop_watch_add(ctx.loop, fd, 1, watch_never, NULL);
	}
	timer = loop_timer_add(ctx.loop, 100000, 0, timer_never, NULL);
	if (!timer) {
		refused("loop_timer_add");
		timer = loop_timer_add(ctx.loop, 100000, 0, timer_never, NULL);
	}
	alloc_disarm();
	assert_true(watch && timer);
	loop_watch_remove(watch);
	loop_timer_remove(timer);
	loop_run_once(ctx.loop, 0);
	close(fd);
}

static void
test_loop(void **state)
{
	assert_int_equal(fail_each(loop_run_, NULL), 2);
}

/* --- */

static void
frames_make(void)
{
	static const uint8_t ip[] = {0x45, 0, 0, 50, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2};

	for (unsigned int i = 0; i < PORT_BURST; i++) {
		uint8_t *frame;

		frames[i] = rte_pktmbuf_alloc(pool);
		assert_non_null(frames[i]);
		frame = (uint8_t *)rte_pktmbuf_append(frames[i], 64);
		memset(frame, 0, 64);
		frame[0] = i % 8 == 7 ? 1 : 2;
		frame[5] = (uint8_t)(i % 8);
		frame[12] = 8;
		memcpy(frame + 14, ip, sizeof(ip));
		frame[35] = (uint8_t)i;
	}
}

static int
group_setup(void **state)
{
	if (!mkdtemp(run_dir))
		return -1;
	pool = unit_eal_start(&(struct unit_eal){.memory_mb = 64, .n_mbufs = 1023, .lcores = "0@0,1@0"});
	port_env.ctx = &ctx;
	/* What a context keeps is there before anything is counted, as in the program. */
	if (ctx_open(&ctx) < 0 || gmem_sigbus_install(&ctx) < 0 ||
	    controlq_set_mode(&ctx, CONTROLQ_BY_KICK, NULL) < 0)
		return -1;
	port_env.pool = pool;
	port_env.run_dir = run_dir;
	/* Refusals and guests that come and go are what this is about. */
	frames_make();
	return 0;
}

static int
group_teardown(void **state)
{
	gmem_sigbus_uninstall(&ctx);
	loop_run_once(ctx.loop, 0);
	ctx_close(&ctx);
	rmdir(run_dir);
	return rte_eal_cleanup();
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_loop),   cmocka_unit_test(test_handoff),
		cmocka_unit_test(test_modes),  cmocka_unit_test_teardown(test_ports, close_ports),
		cmocka_unit_test(test_device), cmocka_unit_test(test_device_packed),
	};

	return UNIT_RUN_WITH(tests, group_setup, group_teardown);
}
