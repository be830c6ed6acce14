/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * chain: the one walker of descriptor chains, for both layouts and their indirect tables.
 *
 * Every descriptor is copied to a local once and judged by that copy. The walk ends after at most as many
 * steps as the table has entries, and VIRTQ_DESCS_MAX, whatever the driver does.
 */
#include <errno.h>

#include "packed.h"
#include "split.h"
#include "virtq.h"

/* One descriptor, whatever its layout. */
struct chain_desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags;
	uint16_t next;
};

struct chain_walk {
	struct virtq *vq;
	const struct virtq_conf *conf;
	struct virtq_chain *chain;
	uint32_t n_descs; /* buffers so far */
	bool bad;         /* keep walking for the structure, but the chain is useless */
	bool writing;     /* a device-writable descriptor was seen */
};

static enum virtq_walk
chain_break(struct chain_walk *walk, enum virtq_fault fault)
{
	virtq_break(walk->vq, fault);
	return VIRTQ_WALK_BROKEN;
}

/* A buffer in the region where most lie, which is a single segment. False: it is not, or there is no room. */
static inline bool
chain_add_whole(struct chain_walk *walk, uint64_t gpa, uint32_t len, bool writable)
{
	struct virtq_chain *chain = walk->chain;
	uint8_t *va = gmem_cache_va(&walk->conf->hot, gpa, len);

	if (!va || chain->n_segs == VIRTQ_SEGS_MAX)
		return false;
	chain->segs[chain->n_segs++] = (struct virtq_seg){.va = va, .gpa = gpa, .len = len};
	if (writable) {
		chain->writable_len += len;
	} else {
		chain->readable_len += len;
		chain->n_readable = chain->n_segs;
	}
	return true;
}

/* Take one buffer into the chain. VIRTQ_WALK_OK: go on; else the walk is over. */
static enum virtq_walk
chain_add(struct chain_walk *walk, const struct chain_desc *desc)
{
	struct virtq_chain *chain = walk->chain;
	uint64_t gpa = desc->addr, left = desc->len;
	bool writable = desc->flags & VRING_DESC_F_WRITE;
	uint32_t *total = writable ? &chain->writable_len : &chain->readable_len;

	if (walk->n_descs++ == VIRTQ_DESCS_MAX)
		return VIRTQ_WALK_LONG;
	if (!writable && walk->writing)
		return chain_break(walk, FAULT_ORDER);
	walk->writing = writable;
	if (left == 0 || left > UINT32_MAX - *total)
		walk->bad = true;
	else if (likely_true(chain_add_whole(walk, gpa, (uint32_t)left, writable)))
		return VIRTQ_WALK_OK;
	while (left && !walk->bad) {
		struct virtq_seg *seg = &chain->segs[chain->n_segs];
		uint64_t len;
		uint8_t *va;

		if (chain->n_segs == VIRTQ_SEGS_MAX)
			return VIRTQ_WALK_LONG;
		/* A buffer may reach from one region into the next; every piece is checked as a whole. */
		va = gmem_piece(walk->conf->mem, gpa, left, &len);
		if (!va) {
			walk->bad = true;
			break;
		}
		*seg = (struct virtq_seg){.va = va, .gpa = gpa, .len = (uint32_t)len};
		chain->n_segs++;
		*total += (uint32_t)len;
		if (!writable)
			chain->n_readable = chain->n_segs;
		gpa += len;
		left -= len;
	}
	return VIRTQ_WALK_OK;
}

/* An indirect table: private rules, but the same descriptors ("Indirect Descriptors"). */
static enum virtq_walk
chain_walk_indirect(struct chain_walk *walk, const struct chain_desc *outer)
{
	const struct virtq_conf *conf = walk->conf;
	bool packed = conf->traits & TRAIT_PACKED;
	uint32_t n = outer->len / sizeof(struct vring_desc), i = 0;
	/*
	 * Readable before writable is the driver's duty ("Scatter-Gather Support"), but DPDK's driver fills
	 * a packed ring's transmit tables with WRITE when it starts and leaves it in some entries: in the
	 * first, the header, always, and in entry i of the table that belongs to slot i of the ring, which
	 * its loop mistakes for the slot itself, whose flags it stores last. Where nothing is ever written
	 * the flag can't mean anything else, and is ignored: that a device SHOULD NOT read what is
	 * device-writable ("The Virtqueue Descriptor Table") leaves room for that. In split rings and
	 * outside of tables drivers get it right, so there the flags count.
	 */
	const uint16_t packed_flags = conf->only_read ? 0 : VRING_DESC_F_WRITE;
	enum virtq_walk ret;
	const uint8_t *table;

	if (!conf->indirect || outer->flags & VRING_DESC_F_NEXT)
		return chain_break(walk, FAULT_INDIRECT_FLAGS);
	if (n == 0 || outer->len % sizeof(struct vring_desc))
		return chain_break(walk, FAULT_INDIRECT_SIZE);
	table = gmem_va(conf->mem, &conf->hot, outer->addr, outer->len);
	if (!table || (uintptr_t)table % sizeof(uint64_t)) {
		walk->bad = true;
		return VIRTQ_WALK_OK;
	}
	for (uint32_t step = 0; step < n; step++) {
		struct chain_desc desc;

		if (packed) {
			const struct vring_packed_desc *p = (const struct vring_packed_desc *)table + i;
			union packed_word w = packed_load_word(p);

			/* Only WRITE has a meaning inside a packed ring's indirect table; the table is used
			 * to its end. */
			desc = (struct chain_desc){
				.addr = packed_load_addr(p), .len = w.len, .flags = w.flags};
			desc.flags =
				(uint16_t)((desc.flags & packed_flags) | (i + 1 < n ? VRING_DESC_F_NEXT : 0));
			if (w.flags & VRING_DESC_F_INDIRECT)
				return chain_break(walk, FAULT_INDIRECT_FLAGS);
			desc.next = (uint16_t)(i + 1);
		} else {
			struct vring_desc d = split_load((const struct vring_desc *)table, (uint16_t)i);

			desc = (struct chain_desc){
				.addr = d.addr, .len = d.len, .flags = d.flags, .next = d.next};
			if (d.flags & VRING_DESC_F_INDIRECT)
				return chain_break(walk, FAULT_INDIRECT_FLAGS);
		}
		ret = chain_add(walk, &desc);
		if (ret != VIRTQ_WALK_OK)
			return ret;
		if (!(desc.flags & VRING_DESC_F_NEXT))
			return VIRTQ_WALK_OK;
		if (desc.next >= n)
			return chain_break(walk, FAULT_NEXT_RANGE);
		i = desc.next;
	}
	return chain_break(walk, FAULT_LOOP);
}

/* The descriptor that follows `at` in the ring itself. */
static struct chain_desc
chain_load(const struct virtq_conf *conf, uint16_t at)
{
	if (conf->traits & TRAIT_PACKED) {
		union packed_word w = packed_load_word(&conf->ring[at]);

		return (struct chain_desc){.addr = packed_load_addr(&conf->ring[at]),
					   .len = w.len,
					   .flags = w.flags,
					   .next = (uint16_t)(at + 1 == conf->size ? 0 : at + 1)};
	} else {
		struct vring_desc d = split_load(conf->desc, at);

		return (struct chain_desc){.addr = d.addr, .len = d.len, .flags = d.flags, .next = d.next};
	}
}

enum virtq_walk
virtq_walk(struct virtq *vq, const struct virtq_conf *conf, const struct virtq_elem *elem,
	   struct virtq_chain *chain)
{
	bool packed = conf->traits & TRAIT_PACKED;
	struct chain_walk walk = {.vq = vq, .conf = conf, .chain = chain};
	uint32_t steps_max = packed ? elem->n_desc : conf->size;
	/* The first descriptor was copied when it was fetched: the copy counts, not what is there now. */
	struct chain_desc desc = {
		.addr = elem->addr, .len = elem->len, .flags = elem->flags, .next = elem->next};

	chain->n_readable = chain->n_segs = 0;
	chain->readable_len = chain->writable_len = 0;
	if (packed)
		desc.next = (uint16_t)(elem->head + 1 == conf->size ? 0 : elem->head + 1);
	for (uint32_t step = 0; step < steps_max; step++) {
		/* In a packed ring the length of the list was fixed when it was fetched. */
		bool more = packed ? step + 1 < steps_max : desc.flags & VRING_DESC_F_NEXT;
		enum virtq_walk ret;

		if (desc.flags & VRING_DESC_F_INDIRECT) {
			if (packed && steps_max > 1)
				return chain_break(&walk, FAULT_INDIRECT_FLAGS);
			ret = chain_walk_indirect(&walk, &desc);
			more = false;
		} else {
			ret = chain_add(&walk, &desc);
		}
		if (ret != VIRTQ_WALK_OK)
			return ret;
		if (!more)
			return walk.bad ? VIRTQ_WALK_BAD : VIRTQ_WALK_OK;
		if (desc.next >= conf->size)
			return chain_break(&walk, FAULT_NEXT_RANGE);
		desc = chain_load(conf, desc.next);
	}
	return chain_break(&walk, FAULT_LOOP);
}
