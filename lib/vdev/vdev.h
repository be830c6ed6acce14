/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * vdev: a virtio device of any type: status, features, queues, memory, reset, and the change-over from one
 * published state to the next.
 *
 * A device has a type (virtio-net is the first), which gives it features, a configuration space and burst
 * functions, and a transport (vhost-user), which brings the front-end's messages. All functions belong to the
 * control thread. Workers see one thing of a device: each queue's `virtq_conf`, which is replaced as a whole;
 * its memory is used again only when no worker sees it any more (quiesce.h).
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

/* The name of one feature bit, given as a mask; NULL: it has none. */
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

/* A device type. All callbacks run on the control thread. */
struct vdev_ops {
	const char *name;
	size_t conf_size; /* bytes of a conf of the type, which begins with a struct virtq_conf */
	/* Feature bits to offer, without those of the transport. */
	uint64_t (*features)(const struct vdev *dev);
	/* Check whether the driver may have these bits together. 0, or -EINVAL with diag filled. */
	int (*features_check)(const struct vdev *dev, uint64_t features, struct diag *diag);
	/* The virtq of virtqueue `idx` under the acknowledged features; called while no queue runs. */
	struct virtq *(*queue)(struct vdev *dev, unsigned int idx);
	/* Reset what the driver has set. It takes effect with the `reconcile` that follows. */
	void (*reset)(struct vdev *dev);
	/* Status 0, RESET_DEVICE, or the end of the connection: forget the values of NET_SET_MTU and
	 * SEND_RARP, which were meant for the driver that is gone. `reset` follows. */
	void (*ended)(struct vdev *dev);
	/*
	 * Compute what is to be published from what the front-end has said (`said`) and from the type's own
	 * input, and publish it (vdev_conf.h). It is in effect for every worker on return. 0, or -errno with
	 * diag filled when the queue `must_apply` (its number, or enum vdev_must_apply) can't apply it; if
	 * that is a single queue, nothing was published.
	 */
	int (*reconcile)(struct vdev *dev, unsigned int must_apply, struct diag *diag);
	/* The position at which another process left the queue, in the form of SET_VRING_BASE; it counts if
	 * the ring could look as it does with the device there. False: nobody knows. NULL: no queue was left.
	 */
	bool (*left)(struct vdev *dev, unsigned int idx, const struct virtq_conf *conf, uint32_t *ret_base);
	/* The whole configuration space as it is now; returns its length in bytes. */
	unsigned int (*config_read)(const struct vdev *dev, uint8_t space[VDEV_CONFIG_MAX]);
	/* The driver, or with `migration` the front-end's migration code, writes [offset, offset + len). 0,
	 * or -errno and nothing has changed. */
	int (*config_write)(struct vdev *dev, unsigned int offset, const uint8_t *data, unsigned int len,
			    bool migration);
	/* NET_SET_MTU, SEND_RARP: for a network device; -EINVAL when the value is refused. */
	int (*set_mtu)(struct vdev *dev, uint64_t mtu);
	int (*send_rarp)(struct vdev *dev, const uint8_t mac[6]);
	/* Does this worker hold borrowed frames of the device, and so use its rings and memory even while it
	 * is away (quiesce.h)? */
	bool (*is_held)(const struct vdev *dev, unsigned int worker);
	/* Forbid workers to borrow frames of the device, or allow it again. */
	void (*borrow)(struct vdev *dev, enum vdev_borrow borrow);
	/* Called every VDEV_WATCH_MS by the context's loop (vdev_watch.h). NULL: not needed. */
	void (*poll_slow)(struct vdev *dev);
};

/* Where a stopped queue's base (position) is from (docs/decisions/0017-what-a-message-clears.md). */
enum vdev_base {
	VDEV_BASE_NONE,    /* there is none: the queue starts at the beginning of its ring */
	VDEV_BASE_LEFT,    /* it stopped there before a reset; for GET_VRING_BASE only, it starts as NONE */
	VDEV_BASE_STOPPED, /* it stopped there, and starts there again */
	VDEV_BASE_SET,     /* SET_VRING_BASE: it starts there */
};

/*
 * What the front-end has said of a queue: plain data without pointers and file descriptors, so that another
 * device can be set up with a copy. Descriptors, memory and log are kept beside it.
 */
struct vdev_queue_input {
	uint64_t desc_uva, avail_uva, used_uva, log_gpa;
	uint32_t base; /* in the form of SET_VRING_BASE; valid unless base_is is VDEV_BASE_NONE */
	enum vdev_base base_is;
	uint32_t size;
	bool log_used; /* SET_VRING_ADDR's log flag */
	bool has_size, has_addr, has_kick;
	bool enabled;     /* SET_VRING_ENABLE */
	bool was_enabled; /* at any time since the connection or the last reset */
};

struct vdev_input {
	uint64_t features; /* as acknowledged by the driver, PROTOCOL_FEATURES included */
	bool has_features;
	uint8_t status;
	bool status_used; /* PROTOCOL_F_STATUS was negotiated: queues run only after DRIVER_OK */
	/* By base 0 this front-end means the beginning of a packed ring (conf_base() in vdev_conf.c). */
	bool base_zero_is_fresh;
	/* PROTOCOL_F_CONFIG was negotiated: the driver reads this device's configuration space, not one of
	 * the front-end's own. */
	bool config_used;
};

struct vdev_queue {
	struct virtq *vq; /* the running state; allocated by the device type */
	struct vdev_queue_input said;
	int kick_fd, call_fd, err_fd; /* -1: none */
	enum notifier_kind call_kind, err_kind;
	uint64_t n_kicks; /* read from the kick descriptor so far */
	/* The published conf, or the planned one until vdev_conf_publish(); NULL: the queue is stopped. */
	struct virtq_conf *conf;
	struct virtq_conf *replaced;         /* the conf before, while workers may still see it; NULL: none */
	struct virtq_conf *room[VDEV_CONFS]; /* memory of those two */
	enum virtq_fault reported;           /* last fault that was logged */
	bool left_is_void; /* it has started, or its driver has been reset, since `left` was said of it */
};

/* What SET_INFLIGHT_FD has given: a region for each of n_queues queues of at most queue_size descriptors. */
struct vdev_inflight {
	struct gmem_map *map; /* NULL: nothing */
	uint16_t n_queues, queue_size;
};

/* Bytes for so many queues of such a size, in the layout that the driver has negotiated by now. */
uint64_t vdev_inflight_bytes(const struct vdev *dev, uint16_t n_queues, uint16_t queue_size);

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
	struct vdev_inflight inflight;
	uint64_t mem_max; /* bytes of guest memory to map at most; set by the device type */
	struct vdev_input said;
	bool config_channel;    /* SET_BACKEND_REQ_FD has given a channel for configuration changes */
	uint64_t n_disconnects; /* calls of vdev_disconnect() so far */
	uint64_t n_faults;      /* broken queues that vdev_check_faults() has found so far */
	void *confs;            /* memory of all queues' confs */
	bool changing;          /* until vdev_change_end(): workers borrow no frames of the device */
	uint64_t change_token;  /* of quiesce_start(), just after that was forbidden */
	struct log_limit log_limit;
	/* Close the connection, for a reason to be logged; the front-end may connect again. NULL: there is no
	 * connection. */
	void (*drop)(void *arg, const char *why);
	void *drop_arg;
	/* Notify the front-end of a configuration change, if there is a channel. NULL: no connection. */
	void (*config_changed)(void *arg);
	void *config_changed_arg;
};

/*
 * Make a device of the context, with all queues stopped. Calls the type's `queue` and `reset`. 0 or -ENOMEM.
 */
int vdev_init(struct vdev *dev, struct vnic_ctx *ctx, const char *name, const struct vdev_ops *ops,
	      void *type_dev, unsigned int n_queues);
/* Also stops all queues, as vdev_disconnect(). */
void vdev_fini(struct vdev *dev);

/* The connection has ended: every queue stops; memory, log, features and descriptors are released. */
void vdev_disconnect(struct vdev *dev);
/*
 * RESET_OWNER: every queue stops and is disabled; its addresses and kick descriptor are forgotten, but not
 * its position: GET_VRING_BASE may follow.
 */
void vdev_stop(struct vdev *dev);
/*
 * RESET_DEVICE: as vdev_stop(), and status becomes 0, the driver's settings and all positions are forgotten.
 * Memory, log, features, sizes, call and error descriptors and the connection stay.
 */
void vdev_reset(struct vdev *dev);

/*
 * To be called before a change of queues, which has to wait for workers that hold borrowed frames of the
 * device. False: one of them is away in a PMD (quiesce.h), for an unknown time: call this again some
 * milliseconds later. True: the change can be made without such a wait. From the first call on workers borrow
 * no frames of the device; vdev_change_end() allows it again: call that after the change, or if you give it
 * up. Without vdev_change_begin() a change waits, and blocks the control thread.
 */
bool vdev_change_begin(struct vdev *dev);
void vdev_change_end(struct vdev *dev);

bool vdev_is_packed(const struct vdev *dev);
/* The base of a ring's beginning. */
uint32_t vdev_base_fresh(const struct vdev *dev);
/* A quiesce_holds_fn; `arg` is the device. */
bool vdev_is_held_by(const void *arg, unsigned int worker);
uint64_t vdev_features_offered(const struct vdev *dev);

/*
 * Messages to the device. A message that is refused changes nothing. One that is accepted is in effect on
 * return, and queues that can't apply it (their ring is not in the guest's memory, or their base is outside
 * the ring) are stopped, the others go on. 0, or -errno with diag filled: the refusal, or why the first of
 * those queues stopped.
 */
int vdev_set_features(struct vdev *dev, uint64_t features, struct diag *diag);
/* Status 0: as vdev_reset(), but GET_VRING_BASE still returns the positions: QEMU 7.2 sends it after that. */
int vdev_set_status(struct vdev *dev, uint64_t status, struct diag *diag);
/* Takes ownership of the table and frees the old one. Queues that can't apply it are logged: always 0. */
int vdev_set_mem(struct vdev *dev, struct gmem *mem, struct diag *diag);
/* Takes ownership of the map, whatever is returned. */
int vdev_set_log(struct vdev *dev, struct gmem_map *map, struct diag *diag);

/* Takes ownership of the map, whatever is returned: -EBUSY: a queue runs. It counts for queues that start
 * after it. */
int vdev_set_inflight(struct vdev *dev, const struct vdev_inflight *inflight, struct diag *diag);

/*
 * Messages to one queue. 0, or -errno with diag filled and nothing changed: a queue that runs goes on.
 * -EBUSY: size, base and addresses can't be changed while the queue runs.
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
/* Takes ownership of the descriptor (-1: none, the ring is polled) on success. */
int vdev_queue_set_kick(struct vdev *dev, unsigned int idx, int fd, struct diag *diag);
int vdev_queue_set_call(struct vdev *dev, unsigned int idx, int fd, struct diag *diag);
int vdev_queue_set_err(struct vdev *dev, unsigned int idx, int fd, struct diag *diag);
int vdev_queue_set_enable(struct vdev *dev, unsigned int idx, bool enable, struct diag *diag);
/*
 * GET_VRING_BASE: stop the queue, forget its addresses and kick descriptor, return its position. That is kept
 * until RESET_DEVICE or disconnection, or until other features, size, addresses or a base are set.
 */
uint32_t vdev_queue_get_base(struct vdev *dev, unsigned int idx);

/*
 * Kicks received, for statistics: the kick descriptor is read here and nowhere else. With NOTIFICATION_DATA a
 * front-end might pass on what the driver wrote instead of counting: the value means nothing then, and all
 * since the last call count as one.
 */
uint64_t vdev_queue_kicks(const struct vdev *dev, unsigned int idx);
bool vdev_queue_is_running(const struct vdev *dev, unsigned int idx);
/* By SET_VRING_ENABLE, or because rings start enabled (without PROTOCOL_FEATURES). */
bool vdev_queue_is_enabled(const struct vdev *dev, unsigned int idx);
/* Disabled, and never enabled since the connection or the last reset: its chains are not discarded. */
bool vdev_queue_never_enabled(const struct vdev *dev, unsigned int idx);
bool vdev_queue_is_broken(const struct vdev *dev, unsigned int idx);
/* Running, enabled and not broken. */
bool vdev_queue_is_active(const struct vdev *dev, unsigned int idx);

/*
 * Report queues that broke since the last call: a log line and a signal to the error descriptor of each;
 * NEEDS_RESET and a configuration change notification. Returns their number. Called by vdev_watch.c.
 */
unsigned int vdev_check_faults(struct vdev *dev);
/* A file of the guest's memory, or of the dirty log, was truncated (gmem_sigbus.h). */
bool vdev_memory_is_lost(const struct vdev *dev);

#endif
