/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * switch_tags: the VLAN of each frame of a burst that comes from a port with VLANs, and its tag on the way
 * out (switch_port.h).
 */
#ifndef VNICD_SWITCH_TAGS_H
#define VNICD_SWITCH_TAGS_H

#include "borrow.h"
#include "frame.h"
#include "fwd.h"
#include "switch_port.h"
#include "tag.h"

/* What the frame has of a tag that the switch looks at. */
enum switch_tag {
	SWITCH_TAG_NONE,
	SWITCH_TAG_PRIORITY, /* VID 0: no VLAN's */
	SWITCH_TAG_VLAN,
	SWITCH_TAG_BEHIND = 4, /* with SWITCH_TAG_VLAN: another tag is behind it */
};

struct switch_frame {
	uint16_t vlan;
	uint16_t tag; /* enum switch_tag */
};

/* The frames of a burst. */
struct switch_frames {
	struct switch_frame all;
	struct switch_frame *each; /* NULL: they are as `all` */
};

static __rte_always_inline struct switch_frame
switch_frame(const struct switch_frames *frames, uint16_t i)
{
	return frames->each ? frames->each[i] : frames->all;
}

/* Not alike in what says where they go, and with or without a tag. */
static __rte_always_inline unsigned int
switch_frames_differ(struct switch_frame a, struct switch_frame b)
{
	return (unsigned int)(a.vlan ^ b.vlan) | ((a.tag ^ b.tag) & SWITCH_TAG_BEHIND);
}

/* Frames from i on. */
static inline struct switch_frames
switch_frames_from(const struct switch_frames *frames, uint16_t i)
{
	return (struct switch_frames){.all = switch_frame(frames, i),
				      .each = frames->each ? frames->each + i : NULL};
}

static inline bool
switch_type_is_tag(uint16_t type)
{
	return type == RTE_ETHER_TYPE_VLAN || type == RTE_ETHER_TYPE_QINQ;
}

/* Where a frame from this port belongs. DROP_N, or the reason for which it is dropped. */
static inline enum port_drop
switch_classify(const struct switch_port *own, const struct rte_mbuf *pkt, struct switch_frame *ret_frame)
{
	const uint16_t type = own->tagging == SWITCH_TUNNEL ? 0 : tag_type(pkt);
	struct switch_frame frame = {.vlan = own->untagged, .tag = SWITCH_TAG_NONE};

	if (switch_type_is_tag(type)) {
		const enum port_drop tagged =
			own->tagging == SWITCH_ACCESS ? DROP_VLAN_TAGGED : DROP_VLAN_FOREIGN;
		uint16_t vid, behind;
		uint32_t tag;

		if (!tag_whole(pkt, &tag, &behind))
			return tagged;
		vid = tag & TAG_VID_MASK;
		if (vid == 0 && type == RTE_ETHER_TYPE_VLAN) {
			/* It counts as none, and then the frame has that tag: one that is not looked at would
			 * say a VLAN where the first one is taken off. */
			if (switch_type_is_tag(behind))
				return tagged;
			frame.tag = SWITCH_TAG_PRIORITY;
		} else {
			frame.tag = switch_type_is_tag(behind) ? SWITCH_TAG_VLAN | SWITCH_TAG_BEHIND
							       : SWITCH_TAG_VLAN;
			frame.vlan = type == RTE_ETHER_TYPE_VLAN ? vid : VLAN_SERVICE + vid;
			if (own->tagging == SWITCH_ACCESS || vid == 0 || !switch_port_has(own, frame.vlan))
				return tagged;
		}
	}
	if (frame.vlan == VLAN_NONE)
		return DROP_VLAN_UNTAGGED;
	*ret_frame = frame;
	return DROP_N;
}

/* What switch_classify() goes by, but for the priority: equal of two frames, then they are classified alike.
 */
static inline uint32_t
switch_tag_of(const struct rte_mbuf *pkt)
{
	const uint16_t type = tag_type(pkt);
	uint16_t behind;
	uint32_t tag;

	if (likely(!switch_type_is_tag(type)))
		return 0;
	/* A cut one like one of the VLAN that nobody has. */
	if (unlikely(!tag_whole(pkt, &tag, &behind)))
		return (uint32_t)type << 16 | TAG_VID_MASK;
	tag &= (uint32_t)UINT16_MAX << 16 | TAG_VID_MASK;
	return unlikely(switch_type_is_tag(behind)) ? tag | 1u << TAG_VID_BITS : tag;
}

/*
 * Drops those of n frames that have no place here; returns how many are left. `each` is room for n, which
 * ret_frames points to where the frames are not all alike.
 */
static inline uint16_t
switch_classify_burst(const struct switch_port *own, struct port_rxq *from, struct rte_mbuf **pkts,
		      struct switch_frame each[], struct switch_frames *ret_frames, uint16_t n)
{
	uint32_t others = 0;
	uint16_t n_kept = 0;

	if (own->tagging != SWITCH_TUNNEL) {
		const uint32_t first = switch_tag_of(pkts[0]);

		for (uint16_t i = 1; i < n; i++)
			others |= switch_tag_of(pkts[i]) ^ first;
	}
	ret_frames->each = NULL;
	if (likely(!others)) {
		const enum port_drop reason = switch_classify(own, pkts[0], &ret_frames->all);

		if (likely(reason == DROP_N))
			return n;
		port_rx_drop(from, reason, pkts, n);
		return 0;
	}
	for (uint16_t i = 0; i < n; i++) {
		const enum port_drop reason = switch_classify(own, pkts[i], &each[n_kept]);

		if (unlikely(reason != DROP_N))
			port_rx_drop(from, reason, &pkts[i], 1);
		else
			pkts[n_kept++] = pkts[i];
	}
	ret_frames->each = each;
	return n_kept;
}

/* Has the frame a tag when it goes out of the port, which has its VLAN? One of a trunk's native VLAN, too,
 * where without it the tag behind would be the first one, and say another VLAN. */
static inline bool
switch_port_tags(const struct switch_port *to, struct switch_frame frame)
{
	return frame.vlan != to->untagged || (frame.tag & SWITCH_TAG_BEHIND && to->tagging == SWITCH_TRUNK);
}

static inline bool
switch_has_right_tag(struct switch_frame frame, bool tagged)
{
	return (frame.tag & ~SWITCH_TAG_BEHIND) == (tagged ? SWITCH_TAG_VLAN : SWITCH_TAG_NONE);
}

/*
 * The frame as it goes out, with the VLAN's tag or with none. In place, or in a copy where others read the
 * frame, too. NULL when no buffer was free for that: the frame is still the caller's.
 */
static inline struct rte_mbuf *
switch_retag(struct fwd_worker *worker, struct rte_mbuf *pkt, struct switch_frame frame, bool tagged)
{
	if (switch_has_right_tag(frame, tagged))
		return pkt;
	/* Of a borrowed one the head becomes longer or shorter. */
	pkt = frame_own(worker, pkt, TAG_REACH, TAG_LEN);
	if (unlikely(!pkt))
		return NULL;
	if (!tagged)
		tag_pop(pkt);
	else if (frame.tag == SWITCH_TAG_PRIORITY)
		tag_set_vid(pkt, frame.vlan);
	else
		tag_push(pkt, frame.vlan < VLAN_SERVICE ? RTE_ETHER_TYPE_VLAN : RTE_ETHER_TYPE_QINQ,
			 frame.vlan & TAG_VID_MASK);
	return pkt;
}

/* The same of n frames. Those for which there was no buffer are dropped; returns how many are left. */
static inline uint16_t
switch_retag_burst(struct fwd_worker *worker, struct port_rxq *from, struct rte_mbuf **pkts,
		   const struct switch_frames *frames, uint16_t n, bool tagged)
{
	uint16_t n_kept = 0;

	if (!frames->each && switch_has_right_tag(frames->all, tagged))
		return n;
	for (uint16_t i = 0; i < n; i++) {
		struct rte_mbuf *pkt = switch_retag(worker, pkts[i], switch_frame(frames, i), tagged);

		if (unlikely(!pkt))
			port_rx_drop(from, DROP_NO_CLONE, &pkts[i], 1);
		else
			pkts[n_kept++] = pkt;
	}
	return n_kept;
}

#endif
