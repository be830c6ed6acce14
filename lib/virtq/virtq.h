/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * virtq: the device's half of a virtqueue, split or packed (VIRTIO, "Virtqueues").
 *
 * Knows rings, descriptors and guest memory; nothing of packets, sockets or lcores. Two structs: `virtq_conf`
 * is immutable once published and replaced as a whole; `virtq` is the running state, written by the one
 * worker that owns the queue. The control thread touches a virtq only while no conf of it is published.
 *
 *   fetch    take available chains into private elements, without moving the queue's position
 *   retire   return one chain; the driver does not see it yet
 *   publish  make visible to the driver all that was retired since the last publish
 *   notify   send the driver a used buffer notification, if it wants one
 *
 * Chains are retired in the order in which they were fetched; not retiring one is how it is put back.
 */
#ifndef VNICD_VIRTQ_H
#define VNICD_VIRTQ_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <linux/virtio_ring.h>

#include "gmem.h"
#include "notifier.h"
#include "template.h"
#include "traits.h"

enum {
	VIRTQ_SIZE_MAX = 32768, /* VIRTIO, "Split Virtqueues" and "Packed Virtqueues" */
	VIRTQ_FETCH_MAX = 32,   /* chains per fetch */
	/* Descriptors in one chain, those of its table included, whatever the size of the ring: as with QEMU.
	 * Longer chains are dropped. */
	VIRTQ_DESCS_MAX = 1024,
	/* Pieces of memory: a buffer may reach over the seam from one region into the next. */
	VIRTQ_SEGS_MAX = VIRTQ_DESCS_MAX + GMEM_REGIONS_MAX - 1,
};

enum virtq_fault {
#define FAULT(symbol, name, help) FAULT_##symbol,
#include "faults.def"
#undef FAULT
	FAULT_N,
};

extern const char *const virtq_fault_name[FAULT_N];
extern const char *const virtq_fault_help[FAULT_N];

struct virtq_conf {
	/* All in guest memory. Split: desc, avail, used. Packed: ring, driver, device. */
	union {
		struct vring_desc *desc;
		struct vring_packed_desc *ring;
	};
	union {
		struct vring_avail *avail;
		struct vring_packed_desc_event *driver;
	};
	union {
		struct vring_used *used;
		struct vring_packed_desc_event *device;
	};
	const struct gmem *mem;
	struct gmem_cache hot;      /* where most buffers lie */
	const struct gmem_log *log; /* NULL: not logging */
	void *inflight;             /* this queue's region (inflight.h); NULL: there is none */
	/* Guest addresses of what the device writes in the ring, for the log. */
	uint64_t used_gpa;  /* split: used ring; packed: descriptor ring */
	uint64_t event_gpa; /* packed: device event suppression area */
	uint32_t traits;
	uint16_t size;  /* descriptors, 1 .. VIRTQ_SIZE_MAX */
	uint16_t mask;  /* split: size - 1 */
	bool event_idx; /* VIRTIO_F_EVENT_IDX */
	bool indirect;  /* VIRTIO_F_INDIRECT_DESC */
	bool enabled;   /* SET_VRING_ENABLE; a started but disabled queue takes nothing in and discards what
			   comes out */
	bool only_read; /* no buffer of this queue is ever written to; filled by the device type */
	int call_fd;    /* -1: the driver is never notified */
	enum notifier_kind call_kind;
	/* Notifications are coalesced over so many packets or ticks (ticks.h); 0, 0: not at all. */
	uint32_t coal_max_packets;
	uint64_t coal_max_ticks;
};

/* Whether the driver has to be notified of used buffers (notify.c). */
enum virtq_notify_state {
	NOTIFY_CONFIRMED, /* no: it was notified, or did not want it, as read after a full fence */
	NOTIFY_ASKED,     /* it did not want it, as read without a fence in this poll iteration */
	NOTIFY_STALE,     /* the same, in an earlier poll iteration, and no burst since */
	NOTIFY_COALESCED, /* later: the notification is coalesced, and its suppression was not read yet */
};

/* A position in the ring: where the next chain is looked for. */
struct virtq_cursor {
	uint16_t idx; /* split: free-running; packed: 0 .. size - 1 */
	bool wrap;    /* packed: the driver's wrap counter */
};

struct virtq {
	/* What the worker polls; NULL while the queue is stopped. Written by the control thread (release). */
	_Atomic(const struct virtq_conf *) conf;

	/* Written by the owner. */
	struct virtq_cursor avail; /* of the next chain to take */
	uint16_t avail_seen;       /* split: last available index read from the driver */
	uint16_t used_idx;         /* split: free-running; packed: 0 .. size - 1; of the next used element */
	bool used_wrap;
	bool held;             /* packed: the first used element of this batch waits for publish */
	uint16_t held_idx;     /* where it goes */
	uint16_t batch;        /* retired since the last publish: split: elements; packed: ring slots */
	uint64_t held_element; /* len, id and flags as one word */
	/* As `batch`: published since the notification state was last NOTIFY_CONFIRMED. */
	uint16_t unsignalled;
	uint8_t notify_state;  /* enum virtq_notify_state */
	atomic_uchar fault;    /* enum virtq_fault; read by the control thread */
	uint32_t coal_packets; /* NOTIFY_COALESCED: packets so far, */
	uint64_t coal_since;   /* and when it began, in ticks */

	/* Counters (counter.h), written by the owner. */
	uint64_t notified;       /* writes to the call descriptor */
	uint64_t notify_refused; /* the call descriptor was full or gone */
	uint64_t no_mbuf;        /* bursts in which chains were left in the ring for want of an mbuf */
} __attribute__((aligned(64)));

/* One chain, by its first descriptor, copied to private memory. */
struct virtq_elem {
	uint64_t addr; /* of the first descriptor: gpa */
	uint32_t len;
	uint16_t flags;  /* VRING_DESC_F_* of the first descriptor */
	uint16_t id;     /* for the used element */
	uint16_t head;   /* slot of the first descriptor */
	uint16_t next;   /* split: index of the second descriptor, when flags say that there is one */
	uint16_t n_desc; /* slots taken in the ring: packed: length of the list; split: 1 */
};

/* A whole chain, translated and checked. */
struct virtq_seg {
	uint8_t *va;
	uint64_t gpa;
	uint32_t len;
};

struct virtq_chain {
	uint16_t n_readable; /* segs[0 .. n_readable) */
	uint16_t n_segs;     /* segs[n_readable .. n_segs) are device-writable */
	uint32_t readable_len, writable_len;
	struct virtq_seg segs[VIRTQ_SEGS_MAX];
};

enum virtq_walk {
	VIRTQ_WALK_OK,
	VIRTQ_WALK_BAD,    /* the chain is malformed: return it with length 0 */
	VIRTQ_WALK_LONG,   /* the same, for it has more than VIRTQ_DESCS_MAX descriptors */
	VIRTQ_WALK_BROKEN, /* the driver broke the queue: fault is set */
};

/* --- control thread, while no conf is published --- */

/* The form of vhost-user's SET_VRING_BASE: split: the available index; packed: these parts. */
enum {
	BASE_IDX_MASK = 0x7fff,    /* available position, */
	BASE_AVAIL_WRAP = 1 << 15, /* its wrap counter; */
	BASE_USED_SHIFT = 16,      /* the same of the used position */
};

enum virtq_start {
	VIRTQ_START_AT_BASE,   /* at the base */
	VIRTQ_START_BY_RING,   /* at the position that the ring shows; the base is impossible */
	VIRTQ_START_AMBIGUOUS, /* the position is uncertain. Packed: at the base. Split, where neither the
				  used index nor the base is possible: at the used index */
};

/*
 * Set the position at which the queue starts, from the front-end's base and the contents of the ring
 * (start.c). Chains that an earlier back-end took but did not return are processed again. Chains of which the
 * ring does not show whether they were returned are returned unprocessed, with length 0. Returns an enum
 * virtq_start, or -EINVAL for a base outside the ring.
 */
int virtq_start(struct virtq *vq, const struct virtq_conf *conf, uint32_t base);
/* The ring could look as it does if the device stood at the base, and nothing speaks against it. */
bool virtq_could_stand(const struct virtq_conf *conf, uint32_t base);
/*
 * The position that a process has left behind which died at any instruction, as a base: where it stood after
 * what its driver can see as returned. `left` is its virtq, of which nothing is believed:
 * virtq_could_stand(). A packed ring's batch that was half stored is returned with length 0.
 */
uint32_t virtq_left_base(const struct virtq *left, const struct virtq_conf *conf);
/* Packed: the same of a device that stood at slot `idx`, which is inside of the ring. */
uint32_t virtq_settle(const struct virtq_conf *conf, uint16_t idx);
bool virtq_base_valid(uint32_t base, bool packed, uint16_t size);
uint32_t virtq_base(const struct virtq *vq, bool packed);
/* Tell the driver whether to send kicks (VIRTIO, "Available Buffer Notification Suppression"). */
enum virtq_kicks { VIRTQ_KICKS_UNWANTED, VIRTQ_KICKS_WANTED };
void virtq_want_kicks(const struct virtq *vq, const struct virtq_conf *conf, enum virtq_kicks kicks);

/* --- owner --- */

static inline const struct virtq_conf *
virtq_conf(const struct virtq *vq)
{
	/* Acquire: pairs with the release in vdev when a conf is published. */
	return atomic_load_explicit(&vq->conf, memory_order_acquire);
}

static inline bool
virtq_is_broken(const struct virtq *vq)
{
	return atomic_load_explicit(&vq->fault, memory_order_relaxed) != FAULT_NONE;
}

/* Mark the queue as broken: no chain is fetched or returned until it is started again. */
void virtq_break(struct virtq *vq, enum virtq_fault fault);
/* How many queues of the process have broken so far: when it changes, the control thread looks for them. */
unsigned int virtq_faults_total(void);

/* Read all descriptors of a fetched chain, check and translate them (chain.c). */
enum virtq_walk virtq_walk(struct virtq *vq, const struct virtq_conf *conf, const struct virtq_elem *elem,
			   struct virtq_chain *chain);

/*
 * After virtq_publish(): notify the driver if it wants that, read without a fence; or coalesce, as the conf
 * says. n_packets: frames in the published buffers. "Not wanted" may be stale, and a coalesced notification
 * becomes due later: virtq_notify_service() takes care of both.
 */
void virtq_notify(struct virtq *vq, const struct virtq_conf *conf, uint16_t n_packets);
/* Notify the driver if it wants that, read after a full fence. Also what is coalesced. */
void virtq_notify_confirm(struct virtq *vq, const struct virtq_conf *conf);
/* In NOTIFY_COALESCED: virtq_notify_confirm(), if the limit of packets or time is reached. */
void virtq_notify_coalesced(struct virtq *vq, const struct virtq_conf *conf);

/*
 * Called at the end of the owner's poll iterations (port_rx_service_fn, port_tx_service_fn): confirms a queue
 * that had no burst for a whole such iteration, and sends coalesced notifications that are due. A queue that
 * has no conf any more was confirmed by the control thread when it stopped.
 */
static inline void
virtq_notify_service(struct virtq *vq)
{
	const struct virtq_conf *conf;

	if (likely_true(vq->notify_state == NOTIFY_CONFIRMED))
		return;
	if (vq->notify_state == NOTIFY_ASKED) {
		vq->notify_state = NOTIFY_STALE;
		return;
	}
	conf = virtq_conf(vq);
	if (!conf)
		return;
	if (vq->notify_state == NOTIFY_COALESCED)
		virtq_notify_coalesced(vq, conf);
	else
		virtq_notify_confirm(vq, conf);
}

/* --- the owner (look.c) --- */

/* There are n (1 or more) available buffers, of one descriptor each in a packed ring; exact, at this moment.
 */
bool virtq_look_enough(const struct virtq *vq, const struct virtq_conf *conf, uint16_t n);

/* --- anyone under the control lock, while `conf` is published (look.c) --- */

/*
 * There is an available chain that the owner has not returned. Not exact while the owner works on the queue.
 */
bool virtq_look_available(const struct virtq *vq, const struct virtq_conf *conf);
/* The end of the ring was never used, so the device has not been round it. */
bool virtq_look_unused(const struct virtq_conf *conf);
/* The ring is all zero: its driver has not used it yet. Reads all of a blank ring. */
bool virtq_look_blank(const struct virtq_conf *conf);

#endif
