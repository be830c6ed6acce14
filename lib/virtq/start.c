/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * start: the position at which a queue starts, from the front-end's base and the contents of the ring.
 *
 * A front-end whose back-end was killed does not know the position, and some send a wrong base. The ring does
 * not prove a position either, so both are compared: the base counts wherever the ring could look as it does
 * with the device at that position, and only then. Why that is sound:
 * docs/decisions/0003-where-a-ring-starts.md.
 *
 * The ring is guest memory: each entry is read once, for one decision, and the worst that false contents
 * bring about is a wrong position in that guest's own ring.
 */
#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "packed.h"
#include "virtq.h"

/* Protects the static arrays below, which control threads of several contexts use. */
static pthread_mutex_t start_mutex = PTHREAD_MUTEX_INITIALIZER;

/* --- split --- */

/* Could the device be at `idx`? Then what the driver has made available since are chains in flight: at most
 * as many as the ring has descriptors, each with another head. */
static bool
split_could_stand(const struct virtq_conf *conf, uint16_t idx)
{
	static uint64_t seen[VIRTQ_SIZE_MAX / 64]; /* under start_mutex */
	uint16_t n = (uint16_t)(__atomic_load_n(&conf->avail->idx, __ATOMIC_ACQUIRE) - idx);

	if (n > conf->size)
		return false;
	memset(seen, 0, sizeof(seen));
	for (uint16_t i = 0; i < n; i++) {
		uint16_t head = __atomic_load_n(&conf->avail->ring[(uint16_t)(idx + i) & conf->mask],
						__ATOMIC_RELAXED);
		uint64_t bit = UINT64_C(1) << head % 64;

		if (head >= conf->size || seen[head / 64] & bit)
			return false;
		seen[head / 64] |= bit;
	}
	return true;
}

/* Start at the used index, unless that is impossible and the base is possible. */
static enum virtq_start
split_start(struct virtq *vq, const struct virtq_conf *conf, uint16_t base)
{
	uint16_t used_idx = __atomic_load_n(&conf->used->idx, __ATOMIC_ACQUIRE);
	enum virtq_start found = VIRTQ_START_AT_BASE;

	if (!split_could_stand(conf, used_idx)) {
		if (used_idx != base && split_could_stand(conf, base)) {
			used_idx = base;
		} else {
			found = VIRTQ_START_AMBIGUOUS;
		}
	} else if (!split_could_stand(conf, base) || (uint16_t)(base - used_idx) > conf->size) {
		found = VIRTQ_START_BY_RING;
	}
	vq->used_idx = used_idx;
	vq->avail.idx = used_idx;
	vq->avail.wrap = false;
	vq->avail_seen = used_idx;
	return found;
}

/* --- packed --- */

enum { SCANS_MAX = 4 };

/*
 * The result of a scan of the ring. Slots and positions are given as distances behind the driver's position
 * `end`: 1 is the slot before it, `size` the oldest one.
 *
 *   size               run + 1   run          1    end
 *   | used elements, and   | last | all look    |  | the driver's
 *   | what they left over  | used | available   |  | next
 */
struct packed_scan {
	const struct virtq_conf *conf;
	struct virtq_cursor end;
	uint16_t run;        /* slots in front of `end` that all look available, */
	uint16_t oldest_end; /* and where the oldest list of those ends */
	/* Chains in flight at one time have different ids. That holds for those that are available now, so
	 * the device is at `farthest` or nearer to `end`; and for those that were returned in one batch, so
	 * it is at `nearest` or farther. */
	uint16_t farthest, nearest;
	uint16_t waits; /* the oldest slot beyond `run` that the driver certainly waits for; 0: none */
};

/* The second half of each descriptor, read once; under start_mutex. */
static uint64_t scan_words[VIRTQ_SIZE_MAX];

static uint16_t
scan_slot(const struct packed_scan *scan, uint32_t behind)
{
	uint32_t idx = scan->end.idx;

	return (uint16_t)(idx >= behind ? idx - behind : idx + scan->conf->size - behind);
}

/* The wrap counter of the lap in which the driver was there last. */
static bool
scan_wrap(const struct packed_scan *scan, uint32_t behind)
{
	return scan->end.idx >= behind ? scan->end.wrap : !scan->end.wrap;
}

static union packed_word
scan_word(const struct packed_scan *scan, uint32_t behind)
{
	return (union packed_word){.word = scan_words[scan_slot(scan, behind)]};
}

static bool
scan_looks_used(const struct packed_scan *scan, uint32_t behind)
{
	uint16_t flags = scan_word(scan, behind).flags;

	return !(flags & PACKED_AVAIL) == !(flags & PACKED_USED);
}

/*
 * Driver and device both leave the driver's wrap counter in AVAIL, so going round the ring AVAIL changes
 * once, at the driver's position. False: it changes more often, for somebody is writing, or the ring is
 * corrupt.
 */
static bool
scan_end(const struct virtq_conf *conf, struct virtq_cursor *ret_end)
{
	unsigned int n_changes = 0;
	bool next;

	/* From the last slot to the first, so that of what a driver adds meanwhile no later part is seen
	 * without an earlier one. */
	for (uint32_t i = conf->size; i-- > 0;)
		scan_words[i] = packed_load_word(&conf->ring[i]).word;
	next = !((union packed_word){.word = scan_words[0]}.flags & PACKED_AVAIL);
	for (uint32_t i = conf->size; i-- > 0;) {
		bool avail = (union packed_word){.word = scan_words[i]}.flags & PACKED_AVAIL;

		if (avail == next) {
			next = avail;
			continue;
		}
		/* The slot after this one was written a lap ago; after the last comes the first, a lap on. */
		n_changes++;
		*ret_end = (struct virtq_cursor){.idx = (uint16_t)(i + 1), .wrap = avail};
		if (ret_end->idx == conf->size)
			*ret_end = (struct virtq_cursor){.idx = 0, .wrap = !avail};
		next = avail;
	}
	return n_changes == 1;
}

/* The last descriptor of the list that starts here, or where a used element or `end` cuts it off. */
static uint32_t
scan_list_end(const struct packed_scan *scan, uint32_t behind)
{
	while (behind > 1 && scan_word(scan, behind).flags & VRING_DESC_F_NEXT &&
	       !scan_looks_used(scan, behind - 1))
		behind--;
	return behind;
}

/* The number of slots from `from` towards `to` before a list repeats the id of another one. */
static uint16_t
scan_ids_apart(const struct packed_scan *scan, uint32_t from, uint32_t to)
{
	static uint64_t seen[(UINT16_MAX + 1) / 64]; /* nothing, between calls */
	const uint32_t total = from < to ? to - from + 1 : from - to + 1, back = from < to ? 0 : 2;
	uint32_t n, i;

	for (n = 0; n < total; n++) {
		union packed_word w = scan_word(scan, from + n - n * back);
		uint64_t bit = UINT64_C(1) << w.id % 64;

		/* Only the last of a list has its id. */
		if (w.flags & VRING_DESC_F_NEXT)
			continue;
		if (seen[w.id / 64] & bit)
			break;
		seen[w.id / 64] |= bit;
	}
	for (i = 0; i < n; i++)
		seen[scan_word(scan, from + i - i * back).id / 64] = 0;
	return (uint16_t)n;
}

/*
 * Are the slots from `oldest` to `newest`, which look available between used elements, the rest of the list
 * (IN_ORDER: of the batch) that the used element before them stands for? False: the driver still waits for
 * them; the first used element of a batch is stored last, and the back-end died before that. If the driver
 * has written over the used element, its id is not compared.
 */
static bool
scan_is_left_over(const struct packed_scan *scan, uint32_t oldest, uint32_t newest)
{
	union packed_word last = scan_word(scan, newest);

	if (last.flags & VRING_DESC_F_NEXT)
		return false;
	if (!(scan->conf->traits & TRAIT_IN_ORDER) && scan_list_end(scan, oldest) != newest)
		return false;
	if (scan_ids_apart(scan, oldest, newest) < oldest - newest + 1)
		return false;
	return oldest == scan->conf->size || last.id == scan_word(scan, oldest + 1).id;
}

static bool
packed_scan(const struct virtq_conf *conf, struct packed_scan *ret_scan)
{
	struct packed_scan scan = {.conf = conf};
	unsigned int n = 0;

	while (!scan_end(conf, &scan.end))
		if (++n == SCANS_MAX)
			return false;
	while (scan.run < conf->size && !scan_looks_used(&scan, scan.run + 1u))
		scan.run++;
	if (scan.run) {
		scan.oldest_end = (uint16_t)scan_list_end(&scan, scan.run);
		scan.farthest = scan_ids_apart(&scan, 1, scan.run);
		scan.nearest = (uint16_t)(scan.run - scan_ids_apart(&scan, scan.run, 1));
	}
	for (uint32_t oldest = conf->size, newest; oldest > scan.run; oldest = newest - 1) {
		newest = oldest;
		if (scan_looks_used(&scan, oldest))
			continue;
		while (!scan_looks_used(&scan, newest - 1))
			newest--;
		if (!scan_is_left_over(&scan, oldest, newest) && !scan.waits)
			scan.waits = (uint16_t)oldest;
	}
	*ret_scan = scan;
	return true;
}

/*
 * Could the device be at `behind`? Then the slots between the last used element and that position are the
 * rest of the list (IN_ORDER: of the batch) that it stands for, which still look available and end with its
 * id. If the driver has written over the used element, its id is not compared.
 */
static bool
scan_could_stand(const struct packed_scan *scan, uint32_t behind)
{
	const bool in_order = scan->conf->traits & TRAIT_IN_ORDER;
	const uint32_t run = scan->run;
	union packed_word last;

	if (behind < scan->nearest || behind > scan->farthest)
		return false;
	if (behind == run)
		return true;
	/* What the driver has written over the last used element is available. */
	if (behind == 0 && run == scan->conf->size)
		return false;
	last = scan_word(scan, behind + 1);
	if (last.flags & VRING_DESC_F_NEXT || (!in_order && scan->oldest_end != behind + 1))
		return false;
	return run == scan->conf->size || last.id == scan_word(scan, run + 1).id;
}

/* The possible position that is nearest to `end`; false: there is none. */
static bool
scan_latest(const struct packed_scan *scan, uint32_t *ret_behind)
{
	for (uint32_t behind = scan->nearest; behind <= scan->farthest; behind++)
		if (scan_could_stand(scan, behind)) {
			*ret_behind = behind;
			return true;
		}
	return false;
}

static bool
scan_agrees(const struct packed_scan *scan, const struct virtq_cursor *at)
{
	uint32_t idx = scan->end.idx;

	if (at->wrap != scan->end.wrap)
		idx += scan->conf->size;
	return idx >= at->idx && idx - at->idx <= scan->conf->size && scan_could_stand(scan, idx - at->idx);
}

static struct virtq_cursor
scan_position(const struct packed_scan *scan, uint32_t behind)
{
	return (struct virtq_cursor){.idx = scan_slot(scan, behind), .wrap = scan_wrap(scan, behind)};
}

/* Store a used element of length 0 in the slot, unless the driver has changed the slot since the scan. */
static void
scan_give(const struct packed_scan *scan, uint32_t behind, uint16_t id)
{
	const uint16_t slot = scan_slot(scan, behind);
	uint64_t was = scan_words[slot];
	union packed_word used = {.id = id};

	used.flags = scan_wrap(scan, behind) ? PACKED_AVAIL | PACKED_USED : 0;
	/* Release: as packed_store_word(). */
	__atomic_compare_exchange_n((uint64_t *)&scan->conf->ring[slot] + 1, &was, used.word, false,
				    __ATOMIC_RELEASE, __ATOMIC_RELAXED);
}

/*
 * Return unprocessed, with length 0, all lists before `latest` that look available. If one of them had been
 * returned already, the driver does not look at its slot. A slot that the driver waits for may be the first
 * of a batch of which only the others were stored: a frame in them may have begun in the first one, so their
 * lengths become 0, too.
 */
static uint16_t
scan_return_uncertain(const struct packed_scan *scan, uint32_t latest)
{
	static uint16_t heads[VIRTQ_SIZE_MAX]; /* `behind` of each list to return; under start_mutex */
	static uint16_t ids[VIRTQ_SIZE_MAX];
	uint16_t n = 0;

	for (uint32_t behind = scan->conf->size; behind > latest; behind--) {
		if (scan_looks_used(scan, behind)) {
			if (behind < scan->waits && scan_word(scan, behind).len)
				scan_give(scan, behind, scan_word(scan, behind).id);
			continue;
		}
		heads[n] = (uint16_t)behind;
		behind = scan_list_end(scan, behind);
		ids[n++] = scan_word(scan, behind).id;
	}
	/* The oldest last: the driver waits for it, and finds all the others then. */
	for (uint16_t i = n; i-- > 0;)
		scan_give(scan, heads[i], ids[i]);
	if (scan->conf->log) {
		gmem_log_fence();
		gmem_log_mark(scan->conf->log, scan->conf->used_gpa,
			      scan->conf->size * sizeof(struct vring_packed_desc));
	}
	return n;
}

/*
 * Chains between the used and the available position were taken by an earlier back-end and not returned: they
 * are processed again. Some front-ends leave the used half 0 and mean that both are the same, so the used
 * position counts only if it is less than a ring behind, and the descriptor there is still available.
 */
static struct virtq_cursor
packed_base(const struct virtq_conf *conf, uint32_t base)
{
	const struct virtq_cursor avail = {.idx = base & BASE_IDX_MASK, .wrap = base & BASE_AVAIL_WRAP};
	const struct virtq_cursor used = {.idx = base >> BASE_USED_SHIFT & BASE_IDX_MASK, .wrap = base >> 31};
	int32_t unreturned = avail.idx - used.idx + (avail.wrap != used.wrap ? conf->size : 0);

	if (unreturned < 0 || unreturned >= conf->size ||
	    !packed_is_available(packed_load_word(&conf->ring[used.idx]).flags, used.wrap))
		return avail;
	return used;
}

static enum virtq_start
packed_start(struct virtq *vq, const struct virtq_conf *conf, uint32_t base)
{
	struct virtq_cursor at = packed_base(conf, base);
	enum virtq_start found = VIRTQ_START_AT_BASE;
	struct packed_scan scan;
	uint32_t latest;

	if (!packed_scan(conf, &scan)) {
		found = VIRTQ_START_AMBIGUOUS;
	} else if (scan_agrees(&scan, &at)) {
		if (scan.waits)
			found = VIRTQ_START_AMBIGUOUS;
	} else if (scan_latest(&scan, &latest)) {
		scan_return_uncertain(&scan, latest);
		at = scan_position(&scan, latest);
		found = VIRTQ_START_BY_RING;
	} else {
		found = VIRTQ_START_AMBIGUOUS;
	}
	vq->avail = at;
	vq->used_idx = at.idx;
	vq->used_wrap = at.wrap;
	return found;
}

bool
virtq_could_stand(const struct virtq_conf *conf, uint32_t base)
{
	const struct virtq_cursor at = {.idx = base & BASE_IDX_MASK, .wrap = base & BASE_AVAIL_WRAP};
	struct packed_scan scan;
	bool could;

	if (!virtq_base_valid(base, conf->traits & TRAIT_PACKED, conf->size))
		return false;
	pthread_mutex_lock(&start_mutex);
	if (conf->traits & TRAIT_PACKED)
		could = packed_scan(conf, &scan) && !scan.waits && scan_agrees(&scan, &at);
	else
		could = split_could_stand(conf, (uint16_t)base);
	pthread_mutex_unlock(&start_mutex);
	return could;
}

/* A packed ring's used element of length 0. */
static void
left_give(const struct virtq_conf *conf, struct virtq_cursor at, uint16_t id)
{
	union packed_word used = {.id = id, .flags = at.wrap ? PACKED_AVAIL | PACKED_USED : 0};

	packed_store_word(conf, at.idx, used.word);
	if (conf->log) {
		gmem_log_fence();
		gmem_log_mark(conf->log, conf->used_gpa + at.idx * sizeof(struct vring_packed_desc),
			      sizeof(struct vring_packed_desc));
	}
}

/* Returned in this lap, by the flags. */
static bool
left_is_used(const struct virtq_conf *conf, struct virtq_cursor at)
{
	const uint16_t both = PACKED_AVAIL | PACKED_USED;

	return (packed_load_word(&conf->ring[at.idx]).flags & both) == (at.wrap ? both : 0);
}

/*
 * The process died in the middle of a batch: behind its first element, which is stored last, others are
 * stored already, over the descriptors that were there. They are given to the driver as they can't be used
 * any more: with length 0, for what is in them is going to be sent again. Slots with the flags of this lap
 * can only be of this batch.
 */
static struct virtq_cursor
left_finish(const struct virtq_conf *conf, struct virtq_cursor first)
{
	const union packed_word waiting = packed_load_word(&conf->ring[first.idx]);
	struct virtq_cursor at = first;
	uint16_t n = 0;

	for (packed_advance(conf, &at.idx, &at.wrap, 1); n + 1 < conf->size && left_is_used(conf, at); n++) {
		left_give(conf, at, packed_load_word(&conf->ring[at.idx]).id);
		packed_advance(conf, &at.idx, &at.wrap, 1);
	}
	if (n == 0 || !packed_is_available(waiting.flags, first.wrap))
		return first;
	left_give(conf, first, waiting.id);
	return at;
}

/*
 * The device's position at a slot. Its wrap counter is in the ring: a slot that is available is of this lap,
 * one that is not was used in the last one. What the process had noted of it may be half changed.
 */
static struct virtq_cursor
left_cursor(const struct virtq_conf *conf, uint16_t idx)
{
	const uint16_t flags = packed_load_word(&conf->ring[idx]).flags;
	const bool avail = flags & PACKED_AVAIL, used = flags & PACKED_USED;

	return (struct virtq_cursor){.idx = idx, .wrap = avail != used ? avail : !avail};
}

/*
 * A batch was retired and not published: its first slot is still available, in the lap before the position
 * behind the batch. Otherwise the batch has been published, or its place had not been noted yet: compilers
 * order these stores.
 */
static bool
left_is_held(const struct virtq *left, const struct virtq_conf *conf)
{
	const uint16_t held_idx = left->held_idx;
	struct virtq_cursor next;
	uint16_t flags;

	if (!left->held || held_idx >= conf->size)
		return false;
	flags = packed_load_word(&conf->ring[held_idx]).flags;
	if (!(flags & PACKED_AVAIL) == !(flags & PACKED_USED))
		return false;
	if (held_idx == left->used_idx)
		return true;
	next = left_cursor(conf, held_idx);
	if (next.wrap == (held_idx < left->used_idx ? left->used_wrap : !left->used_wrap))
		return true;
	/* The counter is the new one, and the index still the old one: more of the batch is stored, then. */
	packed_advance(conf, &next.idx, &next.wrap, 1);
	return left_is_used(conf, next);
}

uint32_t
virtq_left_base(const struct virtq *left, const struct virtq_conf *conf)
{
	if (!(conf->traits & TRAIT_PACKED))
		return left->used_idx;
	if (left_is_held(left, conf))
		return virtq_settle(conf, left->held_idx);
	return left->used_idx < conf->size ? virtq_settle(conf, left->used_idx) : UINT32_MAX;
}

uint32_t
virtq_settle(const struct virtq_conf *conf, uint16_t idx)
{
	const struct virtq_cursor at = left_finish(conf, left_cursor(conf, idx));
	const uint32_t half = at.idx | (at.wrap ? BASE_AVAIL_WRAP : 0u);

	return half | half << BASE_USED_SHIFT;
}

/* By its position, no buffer of the ring has ever been returned. */
static bool
start_is_fresh(const struct virtq *vq, const struct virtq_conf *conf)
{
	return vq->used_idx == 0 && (!(conf->traits & TRAIT_PACKED) || vq->used_wrap);
}

int
virtq_start(struct virtq *vq, const struct virtq_conf *conf, uint32_t base)
{
	bool packed = conf->traits & TRAIT_PACKED;
	enum virtq_start found;

	if (!virtq_base_valid(base, packed, conf->size))
		return -EINVAL;
	pthread_mutex_lock(&start_mutex);
	found = packed ? packed_start(vq, conf, base) : split_start(vq, conf, (uint16_t)base);
	pthread_mutex_unlock(&start_mutex);
	vq->held = false;
	vq->batch = 0;
	vq->unsignalled = 0;
	vq->notify_state = NOTIFY_CONFIRMED;
	/* An earlier back-end may have died between returning buffers and notifying the driver. */
	if (!start_is_fresh(vq, conf)) {
		vq->unsignalled = conf->size;
		vq->notify_state = NOTIFY_STALE;
	}
	atomic_store_explicit(&vq->fault, FAULT_NONE, memory_order_relaxed);
	return (int)found;
}
