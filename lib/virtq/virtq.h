/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * virtq: the device's half of a virtqueue, split or packed (VIRTIO, "Virtqueues").
 *
 * Knows rings, descriptors and guest memory; nothing of packets, sockets or lcores. Two structs: `virtq_conf`
 * is immutable once published and replaced as a whole; `virtq` is the running state, written by the one
 * worker that owns the queue. The control thread touches a virtq only while no conf of it is published.
 *
 *   fetch    take available chains into private elements, without moving the queue's position
 *   retire   give one chain back; the driver does not see it yet
 *   publish  let the driver see all that was retired since the last publish
 *   notify   tell the driver, when it wants to be told
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
	/* Notifications are held back until so many packets or ticks (ticks.h) have gathered; 0, 0: never. */
	uint32_t coal_max_packets;
	uint64_t coal_max_ticks;
};

/* What a queue owes its driver (notify.c). */
enum virtq_notify_state {
	NOTIFY_CONFIRMED, /* nothing: it was told of all used buffers, or surely did not want to be */
	NOTIFY_ASKED, /* it was asked in this iteration of the poll loop, and its "no" may have been stale */
	NOTIFY_STALE, /* the same, and no burst since */
	NOTIFY_COALESCED, /* it has not been asked: the notification is held back */
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
	/* Notification: as `batch`, but published, since the driver was last asked for sure (see notify.c).
	 */
	uint16_t unsignalled;
	uint8_t notify_state;  /* enum virtq_notify_state */
	atomic_uchar fault;    /* enum virtq_fault; read by the control thread */
	uint32_t coal_packets; /* NOTIFY_COALESCED: packets since when it is held back, */
	uint64_t coal_since;   /* and since when that is, in ticks */

	/* Counters (counter.h), written by the owner. */
	uint64_t notified;       /* writes to the call descriptor */
	uint64_t notify_refused; /* the call descriptor was full or gone */
	uint64_t no_mbuf;        /* turns in which chains waited for a free packet buffer */
} __attribute__((aligned(64)));

/* One chain, by its first descriptor, copied to private memory. */
struct virtq_elem {
	uint64_t addr; /* of the first descriptor: gpa */
	uint32_t len;
	uint16_t flags;  /* VRING_DESC_F_* of the first descriptor */
	uint16_t id;     /* what the used element will say */
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
	VIRTQ_WALK_BAD,    /* this chain is useless: give it back with length 0 */
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
	VIRTQ_START_BY_RING,   /* the ring contradicts the base, and says where it stands */
	VIRTQ_START_AMBIGUOUS, /* packed: the ring does not say where it stands: at the base; split: neither
			       the used index nor the base can be true: at the used index */
};

/*
 * Set where the queue starts, from what the front-end says and what the ring shows (start.c). Chains which an
 * earlier back-end took but did not return are taken again; those of which the ring does not tell whether
 * they were are returned with length 0, unsupported. An enum virtq_start; -EINVAL: a position outside the
 * ring.
 */
int virtq_start(struct virtq *vq, const struct virtq_conf *conf, uint32_t base);
bool virtq_base_valid(uint32_t base, bool packed, uint16_t size);
uint32_t virtq_base(const struct virtq *vq, bool packed);
/* Tell the driver whether we want to hear its kicks (VIRTIO, "Available Buffer Notification Suppression"). */
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

/* The queue stops here: nothing is taken from it or given to it until it is started again. */
void virtq_break(struct virtq *vq, enum virtq_fault fault);
/* How often any queue of the program broke; the control thread looks for the culprit when it changes. */
unsigned int virtq_faults_total(void);

/* Walk one fetched chain whole: the one chain walker (chain.c). */
enum virtq_walk virtq_walk(struct virtq *vq, const struct virtq_conf *conf, const struct virtq_elem *elem,
			   struct virtq_chain *chain);

/*
 * After publish: notify the driver if it wants it, without a fence, or hold that back as the conf says.
 * n_packets: frames that went, or came, with what was published. When the answer is no, it may be stale;
 * virtq_notify_confirm() has to follow once the queue pauses, or what was held back is due:
 * virtq_notify_service() sees to both.
 */
void virtq_notify(struct virtq *vq, const struct virtq_conf *conf, uint16_t n_packets);
/* With a full fence: after this the answer was right, and nothing is held back. */
void virtq_notify_confirm(struct virtq *vq, const struct virtq_conf *conf);
/* A notification is held back (NOTIFY_COALESCED): send it if it is due by now. */
void virtq_notify_coalesced(struct virtq *vq, const struct virtq_conf *conf);

/*
 * At the end of iterations of the owner's poll loop, of all in which something is owed but for the few that
 * an idle pair sits out (port_service_fn): a queue that paused for a whole such iteration is confirmed, and
 * what is held back goes when it is due. A queue without a conf is confirmed by who took it away.
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

/* --- anyone under the control lock, while `conf` is published (look.c) --- */

/*
 * The driver has a chain there that the owner has not returned yet. For a queue that its owner works on this
 * is a guess.
 */
bool virtq_look_available(const struct virtq *vq, const struct virtq_conf *conf);
/* No driver has written to it since its memory was made or the driver zeroed it. Reads all of a blank ring.
 */
bool virtq_look_blank(const struct virtq_conf *conf);

#endif
