/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * start: where a ring starts, between what the front-end says and what the ring shows.
 *
 * A front-end whose back-end was killed can only guess, and some guess badly. The ring's own words are not
 * proof either, so both are held against each other: the base counts wherever the ring could look as it does
 * if the device stood there, and only then. Why that is sound: docs/decisions/0003-where-a-ring-starts.md.
 *
 * What the ring says is the driver's word and bounded as such: each entry is read once, for one decision, and
 * the worst that a lie can bring about is a position in the liar's own ring.
 */
#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "packed.h"
#include "virtq.h"

/* For what is kept below while a ring is looked at: whichever control thread does it, one at a time. */
static pthread_mutex_t start_mutex = PTHREAD_MUTEX_INITIALIZER;

/* --- split --- */

/* Could the driver have made available what it did, if the device stood at `idx`? What is available between
 * are chains in flight: no more than the ring has, each with a head of its own. */
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

/* The used index says what was returned, unless it can't be right and the base can. */
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
 * What a scan of the ring found. Slots are named by how far they lie behind the driver's position `end`, as
 * positions are: 1 is the slot before it, `size` the oldest one.
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
	/* Chains in flight at one time have an id each. So has what is available now: the device is no
	 * farther behind than this; and so had what was returned in one batch: nor is it nearer than this. */
	uint16_t farthest, nearest;
	uint16_t waits; /* the oldest slot behind them that the driver surely waits for; 0: none */
};

/* The second half of each descriptor as it was when it was looked at, once; under start_mutex. */
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
 * Driver and device both leave the driver's wrap counter in AVAIL, so it changes once on the way round, where
 * the driver goes on. False: it does not, for one of the two is writing, or not what we think.
 */
static bool
scan_end(const struct virtq_conf *conf, struct virtq_cursor *ret_end)
{
	unsigned int n_changes = 0;
	bool next;

	/* From the last slot to the first: what a driver adds meanwhile comes after what was looked at. */
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

/* How many slots there are, from `from` towards `to`, before a list has an id that another one had. */
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
 * Slots that look available between used elements, from `oldest` to `newest`, are what the used element
 * before them left over of its list, or in order of its batch. False: the driver still waits for them, for
 * the first of a batch is stored last, and whoever wanted to store it is dead. Of what the driver has cut
 * into, the rest tells nothing.
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
 * Could the device stand at `behind`? Behind the last used element comes the rest of its list, or in order of
 * its batch, which looks available still, and ends with the used element's id; and nothing else that is not
 * the driver's. Once the driver has written over that element, the id is lost.
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
	/* What the driver wrote over that element with is available. */
	if (behind == 0 && run == scan->conf->size)
		return false;
	last = scan_word(scan, behind + 1);
	if (last.flags & VRING_DESC_F_NEXT || (!in_order && scan->oldest_end != behind + 1))
		return false;
	return run == scan->conf->size || last.id == scan_word(scan, run + 1).id;
}

/* The last of the places where the device could stand; false: there is none. */
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

/* Make a used element of length 0 of what was in the slot, unless the driver has other plans with it by now.
 */
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
 * All lists that look available before `latest` go back unsupported. Those that are not any more, the driver
 * does not look at. What it waits for may be the first of a batch, whose others were stored but whose first
 * was not: their frames may have begun in the first one, so they go back as empty as it does.
 */
static uint16_t
scan_settle(const struct packed_scan *scan, uint32_t latest)
{
	static uint16_t heads[VIRTQ_SIZE_MAX]; /* `behind` of each list that goes back; under start_mutex */
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
	/* The oldest comes last: the driver waits for it, and then finds the rest. */
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
 * Between used and available position: taken by an earlier back-end and never returned; they are taken again.
 * Some front-ends leave the used half 0 and mean that both are the same, so the used position counts only
 * when the distance is credible and the driver's buffer is still there.
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
		scan_settle(&scan, latest);
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

/* Nothing was ever returned here, as far as the position tells. */
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
	/* Whoever returned the last buffers may not have lived to say so. */
	if (!start_is_fresh(vq, conf)) {
		vq->unsignalled = conf->size;
		vq->notify_state = NOTIFY_STALE;
	}
	atomic_store_explicit(&vq->fault, FAULT_NONE, memory_order_relaxed);
	return (int)found;
}
