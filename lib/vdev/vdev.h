/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * vdev: the life of a virtio device: status, features, queues, memory, reset, and the change-over from one
 * published state to the next.
 *
 * A device has a type (virtio-net is the first), which gives it features, a configuration space and burst
 * functions, and a transport (vhost-user), which brings the front-end's words. All functions belong to the
 * control thread. Workers see one thing of a device: each queue's `virtq_conf`, which is replaced as a whole;
 * what was replaced is freed after every worker has let go of it (quiesce.h).
 *
 *          configured: size, addresses, kick descriptor, memory, (DRIVER_OK)
 *   STOPPED ------------------------------------------------------------> RUNNING (enabled or not)
 *      ^                                                                     |  \
 *      +------ GET_VRING_BASE, reset, disconnect, memory without the ring ---+   +--> BROKEN (by the driver),
 *                                                                                     until it is stopped
 */
#ifndef VNICD_VDEV_H
#define VNICD_VDEV_H

#include <stdbool.h>
#include <stdint.h>

#include "ctx.h"
#include "diag.h"
#include "gmem.h"
#include "log.h"
#include "virtq.h"

enum vdev_feature {
#define FEATURE(bit, symbol, name) FEATURE_##symbol = (bit),
#include "features.def"
#undef FEATURE
};

#define FEATURE_MASK(symbol) (1ull << FEATURE_##symbol)

/* Of one bit (a mask); NULL: it has none. */
const char *vdev_feature_name(uint64_t feature);

/* VIRTIO, "Device Status Field". */
enum {
	VDEV_STATUS_ACKNOWLEDGE = 1,
	VDEV_STATUS_DRIVER = 2,
	VDEV_STATUS_DRIVER_OK = 4,
	VDEV_STATUS_FEATURES_OK = 8,
	VDEV_STATUS_NEEDS_RESET = 64,
	VDEV_STATUS_FAILED = 128,
};

enum { VDEV_CONFS = 2 };        /* of a queue: the one that workers have, and the one that takes its place */
enum { VDEV_CONFIG_MAX = 256 }; /* bytes of configuration space: vhost-user, "Virtio device config space" */

struct vdev;

enum vdev_borrow { VDEV_BORROW_NOTHING, VDEV_BORROW_FRAMES };

/* What a device type is. All callbacks run on the control thread. */
struct vdev_ops {
	const char *name;
	size_t conf_size; /* bytes of a conf of the type, which begins with a struct virtq_conf */
	/* Feature bits to offer, the transport's own left out. */
	uint64_t (*features)(const struct vdev *dev);
	/* May the driver have these bits together? 0, or -EINVAL with diag filled. */
	int (*features_check)(const struct vdev *dev, uint64_t features, struct diag *diag);
	/* The running state that plays virtqueue `idx` under dev->features; asked while no queue runs. */
	struct virtq *(*queue)(struct vdev *dev, unsigned int idx);
	/* The driver starts anew: forget all it has set. `reconcile` follows, and makes it true. */
	void (*reset)(struct vdev *dev);
	/* The driver's life ends by the front-end's word (status 0, RESET_DEVICE) or with the connection:
	 * forget what was said for it by NET_SET_MTU and SEND_RARP. `reset` follows. */
	void (*ended)(struct vdev *dev);
	/*
	 * The front-end has said something: publish what follows from that, and from what the type knows of
	 * its driver (vdev_conf.h). All of it is in effect on return. `follower` (enum vdev_follower, or a
	 * queue) has to be able to: 0, or -errno with diag filled, and for a single queue nothing published.
	 */
	int (*reconcile)(struct vdev *dev, unsigned int follower, struct diag *diag);
	/* The whole configuration space as it is now; returns its length in bytes. */
	unsigned int (*config_read)(const struct vdev *dev, uint8_t space[VDEV_CONFIG_MAX]);
	/* The driver, or the migration code when `migration`, writes [offset, offset + len). 0 or -errno,
	 * then nothing changed. */
	int (*config_write)(struct vdev *dev, unsigned int offset, const uint8_t *data, unsigned int len,
			    bool migration);
	/* NET_SET_MTU, SEND_RARP: for a network device; -EINVAL when the value is refused. */
	int (*set_mtu)(struct vdev *dev, uint64_t mtu);
	int (*send_rarp)(struct vdev *dev, const uint8_t mac[6]);
	/* Does this worker hold some of the device's rings or memory, even while it is away (quiesce.h)? */
	bool (*is_held)(const struct vdev *dev, unsigned int worker);
	/* May workers hold them so from now on? */
	void (*borrow)(struct vdev *dev, enum vdev_borrow borrow);
	/* Every VDEV_WATCH_MS, on the loop of the context (vdev_watch.h). NULL: not needed. */
	void (*look)(struct vdev *dev);
};

/* What a stopped queue knows of its position (docs/decisions/0017-what-a-message-clears.md). */
enum vdev_base {
	VDEV_BASE_NONE,    /* nothing: its ring is fresh */
	VDEV_BASE_LEFT,    /* where the ring stood when its driver went: still reported, never started from */
	VDEV_BASE_STOPPED, /* where the ring stopped, and would go on */
	VDEV_BASE_SET,     /* where it starts, by SET_VRING_BASE */
};

/*
 * As the front-end said it, and nothing but that: plain data, neither pointers nor descriptors, so that the
 * same words can be said to another device. What they come with (descriptors, memory, log) is beside them.
 */
struct vdev_queue_input {
	uint64_t desc_uva, avail_uva, used_uva, log_gpa;
	uint32_t base; /* in the form of SET_VRING_BASE; what it is, unless that is NONE, says */
	enum vdev_base base_is;
	uint32_t size;
	bool log_used; /* SET_VRING_ADDR's log flag */
	bool has_size, has_addr, has_kick;
	bool enabled;     /* SET_VRING_ENABLE */
	bool was_enabled; /* ever since the connection, or the last reset */
};

struct vdev_input {
	uint64_t features; /* as acknowledged by the driver, PROTOCOL_FEATURES included */
	bool has_features;
	uint8_t status;
	bool status_used; /* SET_STATUS was negotiated: DRIVER_OK has to be seen */
	/* Front-ends that start packed rings at position 0 without wrap counters mean a fresh ring (see
	 * vdev_conf.c). */
	bool base_zero_is_fresh;
	/* PROTOCOL_F_CONFIG: the driver's configuration space is ours, not the front-end's. */
	bool config_used;
};

struct vdev_queue {
	struct virtq *vq; /* the running state; allocated by the device type */
	struct vdev_queue_input said;
	int kick_fd, call_fd, err_fd; /* -1: none */
	enum notifier_kind call_kind, err_kind;
	uint64_t n_kicks; /* vdev_queue_kicks() so far */
	/* What it has, or while that is reconciled ought to have; NULL: it stands still. One of `room`. */
	struct virtq_conf *conf;
	struct virtq_conf *replaced; /* what it had, and workers may still have; NULL: nothing */
	struct virtq_conf *room[VDEV_CONFS];
	enum virtq_fault reported; /* last fault that was logged */
};

struct vdev {
	struct vnic_ctx *ctx;
	struct vdev *next; /* in the context's list (vdev_watch.h) */
	bool watched;
	const char *name; /* of the port, for log lines */
	const struct vdev_ops *ops;
	void *type_dev;            /* the type's own */
	unsigned int n_queues;     /* virtqueues, not pairs */
	struct vdev_queue *queues; /* [n_queues] */
	struct gmem *mem;          /* NULL: no table yet */
	struct gmem_log *log;      /* NULL: none */
	uint64_t mem_max;          /* bytes that its regions may take; set by the device type */
	struct vdev_input said;
	bool config_channel;    /* SET_BACKEND_REQ_FD: there is one to tell of configuration changes */
	uint64_t n_disconnects; /* vdev_disconnect() so far */
	uint64_t n_faults;      /* queues that broke so far, as vdev_check_faults() found them */
	void *confs;            /* room for those of all queues */
	bool changing;          /* vdev_change_begin(): nothing is borrowed meanwhile, */
	uint64_t change_token;  /* since this one (quiesce_start()) */
	struct log_limit log_limit;
	/* End the connection for a reason that lies with the front-end; it may connect again. NULL: there is
	 * none. */
	void (*drop)(void *arg, const char *why);
	void *drop_arg;
	/* Tell the front-end that the configuration space changed; NULL: it has no channel for it. */
	void (*config_changed)(void *arg);
	void *config_changed_arg;
};

/*
 * A device of the context whose queues are all stopped; the type's `queue` and `reset` are called on it. 0 or
 * -ENOMEM.
 */
int vdev_init(struct vdev *dev, struct vnic_ctx *ctx, const char *name, const struct vdev_ops *ops,
	      void *type_dev, unsigned int n_queues);
/* Stops everything first. */
void vdev_fini(struct vdev *dev);

/* The front-end has gone: every queue stops; memory, log, features and descriptors are released. */
void vdev_disconnect(struct vdev *dev);
/*
 * RESET_OWNER: every queue stops and is disabled; its addresses and kick descriptor are forgotten, nothing
 * else, so that GET_VRING_BASE may follow.
 */
void vdev_stop(struct vdev *dev);
/*
 * RESET_DEVICE: as vdev_stop(), and the driver is gone: status 0, its settings and all positions are
 * forgotten. Memory, log, features, sizes, call and error descriptors and the connection stay.
 */
void vdev_reset(struct vdev *dev);

/*
 * Before anything that changes queues: false: a worker that is away (quiesce.h) holds some of the device's
 * memory, so the change would wait for it, and everybody else for the change. Ask again a little later: it
 * holds nothing for longer than it is away. True: go ahead. Nothing is borrowed from then on, lest a worker
 * goes away with it in the middle of the change: vdev_change_end() in either case when that is done, or given
 * up. A caller who does not ask waits.
 */
bool vdev_change_begin(struct vdev *dev);
void vdev_change_end(struct vdev *dev);

bool vdev_is_packed(const struct vdev *dev);
/* The beginning of a ring, as a base. */
uint32_t vdev_base_fresh(const struct vdev *dev);
/* A quiesce_holds_fn of a device. */
bool vdev_is_held_by(const void *arg, unsigned int worker);
uint64_t vdev_features_offered(const struct vdev *dev);

/*
 * What concerns all queues. 0, or -errno with diag filled: -EINVAL, -EBUSY and, for the log, -ENOMEM before
 * anything has changed. Otherwise the word is taken; queues that can't follow it (their ring is not in the
 * guest's memory, or starts outside itself) are stopped or stay so, the others go on, and the
 * first of those is what is returned.
 */
int vdev_set_features(struct vdev *dev, uint64_t features, struct diag *diag);
/* Status 0: as vdev_reset(), but the positions still answer GET_VRING_BASE, which QEMU 7.2 sends after it. */
int vdev_set_status(struct vdev *dev, uint64_t status, struct diag *diag);
/* Takes the table; the old one is released. Queues that can't follow are logged only: always 0. */
int vdev_set_mem(struct vdev *dev, struct gmem *mem, struct diag *diag);
/* Takes the map, whatever is returned. */
int vdev_set_log(struct vdev *dev, struct gmem_map *map, struct diag *diag);

/*
 * What concerns one queue. 0, or -errno with diag filled and nothing changed: a queue that runs goes on as it
 * was. -EBUSY: size, base and addresses stay as they are while the queue runs.
 */
int vdev_queue_set_size(struct vdev *dev, unsigned int idx, uint32_t size, struct diag *diag);
int vdev_queue_set_base(struct vdev *dev, unsigned int idx, uint32_t base, struct diag *diag);

struct vdev_queue_addr {
	uint64_t desc, avail, used; /* front-end addresses */
	uint64_t log_gpa;
	bool log;
};
int vdev_queue_set_addr(struct vdev *dev, unsigned int idx, const struct vdev_queue_addr *addr,
			struct diag *diag);
/* Takes the descriptor (-1: none, the ring is polled) on success. */
int vdev_queue_set_kick(struct vdev *dev, unsigned int idx, int fd, struct diag *diag);
int vdev_queue_set_call(struct vdev *dev, unsigned int idx, int fd, struct diag *diag);
int vdev_queue_set_err(struct vdev *dev, unsigned int idx, int fd, struct diag *diag);
int vdev_queue_set_enable(struct vdev *dev, unsigned int idx, bool enable, struct diag *diag);
/*
 * Stops the queue, forgets its addresses and kick descriptor; returns where it stands (GET_VRING_BASE). The
 * position stays until a reset, or until features, a size, addresses or a base other than its own come.
 */
uint32_t vdev_queue_get_base(struct vdev *dev, unsigned int idx);

/* Kicks received, for statistics: the kick descriptor is read here and nowhere else. */
uint64_t vdev_queue_kicks(const struct vdev *dev, unsigned int idx);
bool vdev_queue_is_running(const struct vdev *dev, unsigned int idx);
/* By the front-end's word: SET_VRING_ENABLE, or that rings start enabled. */
bool vdev_queue_is_enabled(const struct vdev *dev, unsigned int idx);
/* What is in its ring is for later: it has not been enabled since the connection, or the last reset. */
bool vdev_queue_waits(const struct vdev *dev, unsigned int idx);
bool vdev_queue_is_broken(const struct vdev *dev, unsigned int idx);
/* Running, enabled and not broken. */
bool vdev_queue_is_active(const struct vdev *dev, unsigned int idx);

/*
 * Look for queues that broke since the last call: one log line, the queue's error descriptor, NEEDS_RESET and
 * a configuration change for each. Returns how many. Called by vdev_watch.h.
 */
unsigned int vdev_check_faults(struct vdev *dev);
/* The guest's memory file has gone from under us. */
bool vdev_memory_is_lost(const struct vdev *dev);

#endif
