/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * notify: sends used buffer notifications, if the driver wants them, without a fence per burst.
 *
 * The danger: the driver enables notifications and then reads the ring once more; the device publishes used
 * buffers and then reads whether notifications are enabled. If both loads overtake both stores, the driver
 * sleeps on a full ring. A full fence between our store and our load excludes that, but it stalls the worker
 * until all its stores have reached the other core.
 *
 * So the suppression is read without a fence. "Wanted" is always right, at worst one notification too many.
 * "Not wanted" may be stale, so the queue stays pending: the suppression is read again with the next burst,
 * and by virtq_notify_confirm(), after a fence, as soon as a poll iteration passes without a burst, or when
 * half a ring of used buffers has gathered, which also keeps the index arithmetic below from wrapping.
 *
 * Coalescing (VIRTIO, "Notifications Coalescing") delays that reading: until enough packets or time have
 * passed, or half a ring has gathered. Then the suppression is read after a fence, and compared with all that
 * was published since the last confirmation; so the driver may change it meanwhile, and one fence per
 * coalesced notification is cheap. A coalesced queue is checked in every poll iteration with the limits of
 * its current conf, so that new limits take effect at once; with none, the notification is due.
 */
#include "counter.h"
#include "ticks.h"
#include "virtq.h"

static void
notify_send(struct virtq *vq, const struct virtq_conf *conf)
{
	counter_add(&vq->notified, 1);
	/* When the descriptor is full, a notification is pending already. */
	if (notifier_signal(conf->call_fd, conf->call_kind) < 0)
		counter_add(&vq->notify_refused, 1);
}

/* VIRTIO, "Used Buffer Notification Suppression": has `event` been passed by the last n steps to used_idx? */
static bool
notify_event_passed(uint16_t event, uint16_t used_idx, uint16_t n)
{
	return (uint16_t)(used_idx - event - 1) < n;
}

static bool
notify_wanted_split(const struct virtq *vq, const struct virtq_conf *conf)
{
	if (!conf->event_idx) {
		uint16_t flags = __atomic_load_n(&conf->avail->flags, __ATOMIC_RELAXED);

		return !(flags & VRING_AVAIL_F_NO_INTERRUPT);
	}
	/* used_event lies behind the available ring. */
	return notify_event_passed(__atomic_load_n(&conf->avail->ring[conf->size], __ATOMIC_RELAXED),
				   vq->used_idx, vq->unsignalled);
}

static bool
notify_wanted_packed(const struct virtq *vq, const struct virtq_conf *conf)
{
	/* One load, so that offset and flags belong together. */
	uint32_t event = __atomic_load_n((const uint32_t *)conf->driver, __ATOMIC_ACQUIRE);
	uint16_t off_wrap = (uint16_t)event, flags = (uint16_t)(event >> 16) & 3;
	uint16_t n = vq->unsignalled, off;

	if (flags == VRING_PACKED_EVENT_FLAG_DISABLE)
		return false;
	if (flags != VRING_PACKED_EVENT_FLAG_DESC || !conf->event_idx)
		return true;
	off = off_wrap & 0x7fff;
	/* Express the driver's position in the lap of the used index. */
	if ((bool)(off_wrap >> 15) != vq->used_wrap)
		off = (uint16_t)(off - conf->size);
	/* More than a lap back, the same offset and wrap counter mean a position ahead. */
	return notify_event_passed(off, vq->used_idx, n < conf->size ? n : conf->size);
}

static bool
notify_wanted(const struct virtq *vq, const struct virtq_conf *conf)
{
	return conf->traits & TRAIT_PACKED ? notify_wanted_packed(vq, conf) : notify_wanted_split(vq, conf);
}

static void
notify_confirmed(struct virtq *vq)
{
	vq->unsignalled = 0;
	vq->notify_state = NOTIFY_CONFIRMED;
}

static bool
notify_half_a_ring(const struct virtq *vq, const struct virtq_conf *conf)
{
	return vq->unsignalled >= conf->size / 2;
}

/* The time limit is checked by virtq_notify_coalesced(), at the end of the same poll iteration. */
static void
notify_coalesce(struct virtq *vq, const struct virtq_conf *conf, uint16_t n_packets)
{
	if (vq->notify_state != NOTIFY_COALESCED)
		vq->coal_packets = 0;
	vq->coal_packets += n_packets;
	if (vq->coal_packets >= conf->coal_max_packets || notify_half_a_ring(vq, conf)) {
		virtq_notify_confirm(vq, conf);
	} else if (vq->notify_state != NOTIFY_COALESCED) {
		vq->coal_since = ticks_now();
		vq->notify_state = NOTIFY_COALESCED;
	}
}

void
virtq_notify(struct virtq *vq, const struct virtq_conf *conf, uint16_t n_packets)
{
	if (conf->call_fd < 0)
		return;
	if (likely_false(conf->coal_max_packets != 0)) {
		notify_coalesce(vq, conf, n_packets);
	} else if (notify_wanted(vq, conf)) {
		notify_send(vq, conf);
		notify_confirmed(vq);
	} else if (notify_half_a_ring(vq, conf)) {
		virtq_notify_confirm(vq, conf);
	} else {
		vq->notify_state = NOTIFY_ASKED;
	}
}

void
virtq_notify_coalesced(struct virtq *vq, const struct virtq_conf *conf)
{
	if (vq->coal_packets >= conf->coal_max_packets ||
	    ticks_now() - vq->coal_since >= conf->coal_max_ticks)
		virtq_notify_confirm(vq, conf);
}

void
virtq_notify_confirm(struct virtq *vq, const struct virtq_conf *conf)
{
	/* Full fence: pairs with the driver's, between enabling notifications and looking at the ring again.
	 */
	atomic_thread_fence(memory_order_seq_cst);
	if (conf->call_fd >= 0 && vq->unsignalled && notify_wanted(vq, conf))
		notify_send(vq, conf);
	notify_confirmed(vq);
}
