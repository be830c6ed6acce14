/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * traffic.c: see traffic.h. The turn functions are the hot path. They work on whole batches: read the ring,
 * prefetch every frame of the batch, then touch the frames, then write the ring. No fence anywhere but in
 * ring_kick().
 */
#include "traffic.h"

#include <string.h>
#include <time.h>

#include "fail.h"

#define always_inline inline __attribute__((always_inline))

enum {
	LINE = 64,
	STAMP_LEN = 8, /* behind the word, which is as long */
	KICK_PERIOD_US = 20,
	SMALL_BURST = 8, /* frames */
	STALL_US = 1000, /* an iteration of 512 frames of 9000 bytes takes less */
	STEP_MS = 10,
	PROBE_WAIT_MS = 50,
	DRAIN_QUIET_MS = 100, /* the back-end may be preempted with frames in its hands */
	DRAIN_MAX_MS = 2000,
	HARVEST_MS = 10,
};

volatile bool traffic_stopped;

static always_inline uint64_t
load64(const uint8_t *at)
{
	uint64_t word;

	memcpy(&word, at, sizeof(word));
	return word;
}

static always_inline void
store64(uint8_t *at, uint64_t word)
{
	memcpy(at, &word, sizeof(word));
}

static always_inline void
store32(uint8_t *at, uint32_t word)
{
	memcpy(at, &word, sizeof(word));
}

/* To be written: the compiler's own is a read prefetch on old CPUs, and the line would have to be fetched
 * twice. */
static always_inline void
prefetch_owned(const uint8_t *at)
{
#ifdef __x86_64__
	__asm__ volatile("prefetchw %0" : : "m"(*(const volatile uint8_t *)at));
#else
	__builtin_prefetch(at, 1);
#endif
}

/* Of a frame: other ports than the last time, spread over all of them; of TCP, the sequence number. */
static always_inline uint32_t
ports_of(const struct ring *ring, uint64_t word)
{
	if (__builtin_expect(ring->n_segments, 0))
		return tcp_seq(word & (((uint64_t)1 << SEQ_TAG_SHIFT) - 1), ring->n_segments);
	return (uint32_t)word * 2654435761u;
}

static uint64_t
clock_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

double
traffic_tsc_calibrate(void)
{
	uint64_t ns = clock_ns(), tsc = tsc_now();
	struct timespec pause = {.tv_nsec = 50 * 1000 * 1000};

	nanosleep(&pause, NULL);
	ns = clock_ns() - ns;
	tsc = tsc_now() - tsc;
	return (double)tsc * 1e9 / (double)ns;
}

/* Takes back what the back-end has sent, and has those frames on their way, to be written again. */
static always_inline unsigned
flow_take(struct flow *flow, const enum traffic_touch touch, unsigned max)
{
	struct ring *ring = flow->from;
	uint32_t lens[RING_BATCH_MAX + RING_SPARE];
	uint16_t slots[RING_BATCH_MAX + RING_SPARE];
	unsigned n;

	if (!ring)
		return 0;
	n = ring->ops->reap(ring, slots, lens, max);
	for (unsigned i = 0; i < n; i++) {
		ring->free_slots[(ring->free_tail + i) & ring->free_mask] = slots[i];
		if (touch != TOUCH_NONE)
			prefetch_owned(ring_frame(ring, slots[i]) + ring->word_off);
	}
	ring->free_tail += n;
	flow->counters.taken += n;
	return n;
}

/* Few slots, many addresses: a slot has other ones each time. */
static __attribute__((noinline)) void
flow_address(struct ring *ring, const uint16_t *slots, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		frame_macs_put(&ring->macs, ring_frame(ring, slots[i]));
}

static always_inline unsigned
flow_send(struct flow *flow, const enum traffic_touch touch, unsigned max)
{
	struct ring *ring = flow->from;
	const uint32_t word_off = ring->word_off, ports_off = ring->ports_off, hdr_len = ring->hdr_len;
	uint16_t slots[RING_BATCH_MAX + RING_SPARE];
	unsigned n = ring_n_free(ring);

	if (n > max)
		n = max;
	if (!n)
		return 0;
	for (unsigned i = 0; i < n; i++)
		slots[i] = ring->free_slots[(ring->free_head + i) & ring->free_mask];
	ring->free_head += n;
	if (__builtin_expect(ring->macs.n, 0))
		flow_address(ring, slots, n);
	for (unsigned i = 0; touch != TOUCH_NONE && i < n; i++) {
		uint8_t *frame = ring_frame(ring, slots[i]);

		if (ports_off)
			store32(frame + ports_off, ports_of(ring, flow->word));
		store64(frame + word_off, flow->word++);
		if (touch == TOUCH_ALL) {
			uint8_t *end = frame + ring->slot_len[slots[i]] - hdr_len - sizeof(uint64_t);

			for (uint8_t *at = frame + word_off + LINE; at <= end; at += LINE)
				store64(at, flow->word);
		}
	}
	ring->ops->post(ring, slots, n);
	flow->counters.posted += n;
	return n;
}

/* One buffer of the ring to the guest; true when a frame began in it. */
static always_inline bool
flow_receive_one(struct flow *flow, const enum traffic_touch touch, const enum flow_header header,
		 uint16_t slot, uint32_t len, uint64_t *bytes)
{
	const struct ring *ring = flow->to;
	const uint32_t word_off = ring->word_off, hdr_len = ring->hdr_len;
	const uint8_t *frame = ring_frame(ring, slot);
	bool first = true, ours = true;

	if (header != HEADER_UNREAD) {
		uint16_t n_buffers, report;

		if (flow->more) {
			flow->more--;
			first = false;
		} else {
			memcpy(&n_buffers, ring_hdr(ring, slot) + 10, sizeof(n_buffers));
			flow->more = n_buffers - 1u;
			if (header == HEADER_READ_HASH) {
				memcpy(&report, ring_hdr(ring, slot) + VNET_HDR_REPORT_OFF, sizeof(report));
				flow->counters.unhashed += report != VNET_HASH_REPORT_UDP4;
			}
		}
	}
	if (!first) {
		*bytes += len;
		frame = ring_hdr(ring, slot);
	} else {
		if (touch != TOUCH_NONE)
			ours = seqcheck_word(&flow->check, load64(frame + word_off));
		len -= hdr_len;
		*bytes += len;
	}
	if (touch == TOUCH_ALL) {
		uint64_t sum = 0;

		for (uint32_t off = first ? word_off + LINE : 0; off + sizeof(uint64_t) <= len; off += LINE)
			sum += load64(frame + off);
		__asm__ volatile("" ::"r"(sum));
	}
	return first && ours;
}

/* The same of TCP, of which each header is checked, and each length. */
static always_inline bool
flow_receive_tcp(struct flow *flow, uint16_t slot, uint32_t len, uint64_t *bytes)
{
	const uint8_t *hdr = ring_hdr(flow->to, slot), *frame = ring_frame(flow->to, slot);
	const bool first = !flow->more;
	bool right, ours = true;

	if (first) {
		uint64_t word = load64(frame + TCP_WORD_OFF);
		uint16_t n_buffers;

		memcpy(&n_buffers, hdr + 10, sizeof(n_buffers));
		len -= VNET_HDR_LEN;
		right = tcp_arrival_begin(&flow->tcp, hdr, frame, len, &word) && n_buffers;
		flow->more = n_buffers ? n_buffers - 1u : 0;
		ours = seqcheck_word(&flow->check, word);
	} else {
		right = tcp_arrival_continue(&flow->tcp, hdr, len);
		flow->more--;
	}
	*bytes += len;
	if (!flow->more)
		right = right && tcp_arrival_end(&flow->tcp);
	flow->counters.malformed += !right;
	return first && ours;
}

/* Frames that came, into flow->got; has them on their way, to be read. */
static always_inline void
flow_reap(struct flow *flow, const enum traffic_touch touch, unsigned max)
{
	struct ring *ring = flow->to;
	struct flow_got *got = &flow->got;
	uint32_t word_off;

	if (!ring)
		return;
	word_off = ring->word_off;
	got->n = ring->ops->reap(ring, got->slots, got->lens, max);
	for (unsigned i = 0; i < got->n; i++) {
		if (touch != TOUCH_NONE)
			__builtin_prefetch(ring_frame(ring, got->slots[i]) + word_off);
		if (flow->header != HEADER_UNREAD)
			__builtin_prefetch(ring_hdr(ring, got->slots[i]));
	}
}

static always_inline unsigned
flow_receive_body(struct flow *flow, const enum traffic_touch touch, const enum flow_header header)
{
	const struct flow_got *got = &flow->got;
	uint64_t n_frames = 0, n_bytes = 0;

	for (unsigned i = 0; i < got->n; i++) {
		if (header == HEADER_READ_TCP)
			n_frames += flow_receive_tcp(flow, got->slots[i], got->lens[i], &n_bytes);
		else
			n_frames +=
				flow_receive_one(flow, touch, header, got->slots[i], got->lens[i], &n_bytes);
	}
	flow->counters.delivered += n_frames;
	flow->counters.bytes += n_bytes;
	flow->to->ops->post(flow->to, got->slots, got->n);
	return got->n;
}

/* What flow_reap() found is received, and the buffers are posted again. */
static always_inline unsigned
flow_receive(struct flow *flow, const enum traffic_touch touch)
{
	if (!flow->got.n)
		return 0;
	switch (flow->header) {
	case HEADER_READ:
		return flow_receive_body(flow, touch, HEADER_READ);
	case HEADER_READ_HASH:
		return flow_receive_body(flow, touch, HEADER_READ_HASH);
	case HEADER_READ_TCP:
		return flow_receive_body(flow, touch, HEADER_READ_TCP);
	default:
		return flow_receive_body(flow, touch, HEADER_UNREAD);
	}
}

static void
traffic_kick(struct traffic *traffic)
{
	for (unsigned i = 0; i < traffic->n_rings; i++)
		ring_kick(traffic->rings[i]);
}

static void
traffic_harvest(struct traffic *traffic, uint64_t now)
{
	if (!traffic->n_logs || now < traffic->harvest_due)
		return;
	traffic->harvest_due = now + (uint64_t)(traffic->tsc_hz / 1e3 * HARVEST_MS);
	for (unsigned i = 0; i < traffic->n_logs; i++)
		dirty_log_harvest(traffic->logs[i]);
}

/* Paced: how many frames have become due; what a full ring makes impossible is counted and forgotten. */
static void
traffic_allow(struct traffic *traffic, uint64_t now)
{
	uint64_t interval = (uint64_t)(traffic->tsc_hz * traffic->burst / traffic->pps);
	uint64_t n_bursts;

	if (now < traffic->next_due)
		return;
	n_bursts = (now - traffic->next_due) / interval + 1;
	traffic->next_due += n_bursts * interval;
	for (unsigned i = 0; i < traffic->n_flows; i++) {
		struct flow *flow = &traffic->flows[i];

		flow->allowance += n_bursts * traffic->burst;
		if (flow->allowance > flow->from->n_slots) {
			flow->counters.unsent += flow->allowance - flow->from->n_slots;
			flow->allowance = flow->from->n_slots;
		}
	}
}

/* As many as are due when paced, or else as many as there is room for. */
static always_inline unsigned
flow_send_due(struct traffic *traffic, struct flow *flow, const enum traffic_touch touch)
{
	unsigned n;

	if (!flow->from)
		return 0;
	if (traffic->mode != TRAFFIC_PACED)
		return flow_send(flow, touch, traffic->burst);
	n = flow_send(flow, touch,
		      flow->allowance < traffic->burst ? (unsigned)flow->allowance : traffic->burst);
	flow->allowance -= n;
	if (n)
		ring_kick(flow->from);
	return n;
}

/*
 * Whether an iteration goes step by step over all rings, so that the lines of one travel while another is
 * looked at, or through one ring after the other. Measured: the first is better where there is much to wait
 * for one after the other, in small bursts and in split rings (index, elements, frames); where a burst's
 * lines keep the CPU busy by themselves, it only lets them be taken away again.
 */
static bool
steps_abreast(const struct traffic *traffic, enum traffic_touch touch)
{
	return traffic->burst <= SMALL_BURST || (!traffic->packed && touch != TOUCH_ALL);
}

void
traffic_pace(struct traffic *traffic, double pps)
{
	traffic->mode = pps > 0 ? TRAFFIC_PACED : TRAFFIC_SATURATED;
	traffic->pps = pps;
	traffic->next_due = 0;
	for (unsigned i = 0; i < traffic->n_flows; i++)
		traffic->flows[i].allowance = 0;
}

static always_inline void
stream_body(struct traffic *traffic, const enum traffic_touch touch, uint64_t end)
{
	uint64_t kick_period = (uint64_t)(traffic->tsc_hz / 1e6 * KICK_PERIOD_US);
	bool paced = traffic->mode == TRAFFIC_PACED;
	uint64_t stall = (uint64_t)(traffic->tsc_hz / 1e6 * STALL_US);
	uint64_t before = tsc_now(), kick_due = before;
	const bool interleaved = steps_abreast(traffic, touch);
	uint64_t dry = 0;

	if (paced && traffic->next_due + kick_period < before)
		traffic->next_due = before;
	while (before < end && !traffic_stopped) {
		unsigned n_moved = 0;
		uint64_t now;

		if (paced)
			traffic_allow(traffic, before);
		if (interleaved) {
			for (unsigned i = 0; i < traffic->n_rings; i++)
				traffic->rings[i]->ops->prefetch(traffic->rings[i]);
			for (unsigned i = 0; i < traffic->n_flows; i++)
				n_moved += flow_take(&traffic->flows[i], touch, traffic->burst);
			for (unsigned i = 0; i < traffic->n_flows; i++)
				flow_reap(&traffic->flows[i], touch, traffic->burst);
			for (unsigned i = 0; i < traffic->n_flows; i++)
				n_moved += flow_send_due(traffic, &traffic->flows[i], touch);
			for (unsigned i = 0; i < traffic->n_flows; i++)
				n_moved += flow_receive(&traffic->flows[i], touch);
		} else {
			for (unsigned i = 0; i < traffic->n_flows; i++) {
				n_moved += flow_take(&traffic->flows[i], touch, traffic->burst);
				n_moved += flow_send_due(traffic, &traffic->flows[i], touch);
			}
			for (unsigned i = 0; i < traffic->n_flows; i++) {
				flow_reap(&traffic->flows[i], touch, traffic->burst);
				n_moved += flow_receive(&traffic->flows[i], touch);
			}
		}
		now = tsc_now();
		traffic->n_iterations++;
		if (now - before > stall) {
			traffic->tsc_stalled += now - before;
		} else if (n_moved) {
			traffic->tsc_busy += now - before;
		} else {
			traffic->n_iterations_idle++;
			traffic->tsc_idle += now - before;
			dry += now - before;
		}
		if (n_moved) {
			traffic->tsc_dry += dry > stall ? dry : 0;
			dry = 0;
		}
		if (now >= kick_due) {
			traffic_kick(traffic);
			traffic_harvest(traffic, now);
			kick_due = now + kick_period;
		}
		before = now;
	}
	traffic->tsc_dry += dry > stall ? dry : 0;
}

static void
stream(struct traffic *traffic, uint64_t end)
{
	switch (traffic->touch) {
	case TOUCH_NONE:
		stream_body(traffic, TOUCH_NONE, end);
		break;
	case TOUCH_ONE:
		stream_body(traffic, TOUCH_ONE, end);
		break;
	case TOUCH_ALL:
		stream_body(traffic, TOUCH_ALL, end);
		break;
	}
}

/* One frame in flight: from the first store of its words to the moment the receiver has read them. */
static void
probe(struct traffic *traffic, struct flow *flow)
{
	uint64_t wait = (uint64_t)(traffic->tsc_hz / 1e3 * PROBE_WAIT_MS);
	struct ring *from = flow->from, *to = flow->to;
	uint64_t sent_at = tsc_now();
	uint64_t n_before = flow->counters.delivered;
	uint16_t slot;

	if (!ring_n_free(from)) {
		flow_take(flow, TOUCH_NONE, traffic->burst);
		return;
	}
	/* Stamped by hand, because the stamp must be in the frame before the frame is posted. */
	slot = from->free_slots[from->free_head & from->free_mask];
	store64(ring_frame(from, slot) + from->word_off + STAMP_LEN, sent_at);
	flow_send(flow, TOUCH_ONE, 1);
	ring_kick(from);
	do {
		uint32_t len;
		uint16_t got;

		if (to->ops->reap(to, &got, &len, 1)) {
			uint64_t stamp = load64(ring_frame(to, got) + to->word_off + STAMP_LEN);

			if (flow_receive_one(flow, TOUCH_ONE, flow->header, got, len, &flow->counters.bytes))
				flow->counters.delivered++;
			if (stamp == sent_at)
				histogram_add(&traffic->latency, tsc_now() - sent_at);
			to->ops->post(to, &got, 1);
		}
		if (tsc_now() - sent_at > wait || traffic_stopped) {
			traffic->n_timeouts++;
			break;
		}
	} while (flow->counters.delivered == n_before || flow->more);
	flow_take(flow, TOUCH_NONE, traffic->burst);
	ring_kick(to);
}

static void
probes(struct traffic *traffic, uint64_t end)
{
	uint64_t stall = (uint64_t)(traffic->tsc_hz / 1e6 * STALL_US);
	unsigned i = 0;

	for (uint64_t before = tsc_now(), now; before < end && !traffic_stopped; before = now) {
		probe(traffic, &traffic->flows[i++ % traffic->n_flows]);
		now = tsc_now();
		traffic->tsc_stalled += now - before > stall ? now - before : 0;
		traffic_harvest(traffic, now);
	}
}

void
traffic_run(struct traffic *traffic, double seconds)
{
	uint64_t end = tsc_now() + (uint64_t)(seconds * traffic->tsc_hz);

	if (traffic->mode == TRAFFIC_LATENCY)
		probes(traffic, end);
	else
		stream(traffic, end);
}

void
traffic_await(struct traffic *traffic, unsigned wait_s)
{
	for (unsigned i = 0; i < traffic->n_rings; i++) {
		if (traffic->rings[i]->direction == RING_TO_GUEST)
			ring_post_all(traffic->rings[i]);
	}
	traffic_kick(traffic);
	for (unsigned step = 0; step < wait_s * 1000 / STEP_MS && !traffic_stopped; step++) {
		bool flowing = true;

		traffic_run(traffic, STEP_MS / 1e3);
		for (unsigned i = 0; i < traffic->n_flows; i++)
			flowing &= flow_n_moved(&traffic->flows[i], &traffic->flows[i].counters) > 0;
		if (flowing)
			return;
	}
	for (unsigned i = 0; i < traffic->n_flows && !traffic_stopped; i++) {
		struct flow *flow = &traffic->flows[i];
		struct flow_counters counters;

		flow_counters_get(flow, &counters);
		if (flow_n_moved(flow, &counters))
			continue;
		if (!flow->from)
			fail("%s: in %u s the back-end delivered no frame to %s (does anybody send to it?)",
			     flow->name, wait_s, flow->to->name);
		if (!counters.taken)
			fail("%s: in %u s the back-end took no frame from %s (does it poll or forward yet?)",
			     flow->name, wait_s, flow->from->name);
		fail("%s: in %u s the back-end took %lu frames from %s and delivered none to %s (%lu "
		     "strangers "
		     "came instead; does it forward one to the other?)",
		     flow->name, wait_s, counters.taken, flow->from->name, flow->to->name, counters.foreign);
	}
}

/* The buffers are not posted again. */
static unsigned
flow_receive_last(struct flow *flow, unsigned max)
{
	uint32_t lens[RING_BATCH_MAX + RING_SPARE];
	uint16_t slots[RING_BATCH_MAX + RING_SPARE];
	unsigned n = flow->to->ops->reap(flow->to, slots, lens, max);

	for (unsigned i = 0; i < n; i++)
		flow->counters.delivered += flow_receive_one(flow, TOUCH_NONE, flow->header, slots[i],
							     lens[i], &flow->counters.bytes);
	return n;
}

static unsigned
flow_drain(struct flow *flow, enum traffic_touch touch, unsigned max)
{
	unsigned n;

	if (!flow->from)
		return flow_receive_last(flow, max);
	n = flow_take(flow, TOUCH_NONE, max);
	flow_reap(flow, TOUCH_NONE, max);
	return n + (touch == TOUCH_NONE ? flow_receive(flow, TOUCH_NONE) : flow_receive(flow, TOUCH_ONE));
}

void
traffic_drain(struct traffic *traffic)
{
	double quiet_tsc = traffic->tsc_hz / 1e3 * DRAIN_QUIET_MS;
	uint64_t start = tsc_now(), moved_at = start;

	while ((double)(tsc_now() - moved_at) < quiet_tsc &&
	       (double)(tsc_now() - start) < traffic->tsc_hz / 1e3 * DRAIN_MAX_MS) {
		for (unsigned i = 0; i < traffic->n_flows; i++) {
			struct flow *flow = &traffic->flows[i];
			unsigned n = flow_drain(flow, traffic->touch, traffic->burst);

			if (n || flow->counters.taken != flow->counters.posted)
				moved_at = tsc_now();
		}
		traffic_kick(traffic);
		traffic_harvest(traffic, tsc_now());
	}
}

void
traffic_times_reset(struct traffic *traffic)
{
	traffic->tsc_busy = traffic->tsc_idle = traffic->tsc_stalled = traffic->tsc_dry = 0;
	traffic->n_iterations = traffic->n_iterations_idle = 0;
	traffic->n_timeouts = 0;
	memset(&traffic->latency, 0, sizeof(traffic->latency));
}

uint64_t
traffic_dirty_pages(struct traffic *traffic)
{
	uint64_t n_pages = 0;

	for (unsigned i = 0; i < traffic->n_logs; i++) {
		dirty_log_harvest(traffic->logs[i]);
		n_pages += traffic->logs[i]->n_pages;
	}
	return n_pages;
}

void
flow_counters_get(const struct flow *flow, struct flow_counters *ret_counters)
{
	*ret_counters = flow->counters;
	ret_counters->lost = flow->check.n_lost;
	ret_counters->duplicated = flow->check.n_duplicated;
	ret_counters->reordered = flow->check.n_reordered;
	ret_counters->foreign = flow->check.n_foreign;
}
