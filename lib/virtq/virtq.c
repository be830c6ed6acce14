/* SPDX-License-Identifier: BSD-3-Clause */
#include "virtq.h"

const char *const virtq_fault_name[FAULT_N] = {
#define FAULT(symbol, name, help) [FAULT_##symbol] = name,
#include "faults.def"
#undef FAULT
};

const char *const virtq_fault_help[FAULT_N] = {
#define FAULT(symbol, name, help) [FAULT_##symbol] = help,
#include "faults.def"
#undef FAULT
};

_Static_assert(sizeof(struct vring_packed_desc) == 16 && sizeof(struct vring_desc) == 16,
	       "as in the specification");

/* Workers add, the control thread reads. */
static atomic_uint virtq_faults;

bool
virtq_base_valid(uint32_t base, bool packed, uint16_t size)
{
	if (!packed)
		return base <= UINT16_MAX;
	return (base & BASE_IDX_MASK) < size && ((base >> BASE_USED_SHIFT) & BASE_IDX_MASK) < size;
}

uint32_t
virtq_base(const struct virtq *vq, bool packed)
{
	uint32_t avail, used;

	if (!packed)
		return vq->avail.idx;
	avail = vq->avail.idx | (vq->avail.wrap ? BASE_AVAIL_WRAP : 0u);
	used = vq->used_idx | (vq->used_wrap ? BASE_AVAIL_WRAP : 0u);
	return avail | used << BASE_USED_SHIFT;
}

/* Of the ring's own words, [gpa, gpa + len) was written. */
static void
virtq_log_words(const struct virtq_conf *conf, uint64_t gpa, uint64_t len)
{
	if (!conf->log)
		return;
	gmem_log_fence();
	gmem_log_mark(conf->log, gpa, len);
}

void
virtq_want_kicks(const struct virtq *vq, const struct virtq_conf *conf, enum virtq_kicks kicks)
{
	if (conf->traits & TRAIT_PACKED) {
		uint16_t flags = kicks == VIRTQ_KICKS_WANTED ? VRING_PACKED_EVENT_FLAG_ENABLE
							     : VRING_PACKED_EVENT_FLAG_DISABLE;

		__atomic_store_n(&conf->device->flags, flags, __ATOMIC_RELEASE);
		virtq_log_words(conf, conf->event_gpa, sizeof(*conf->device));
	} else if (conf->event_idx) {
		/* The driver kicks when it passes this index: the next one, or the one farthest away. */
		uint16_t *avail_event = (uint16_t *)&conf->used->ring[conf->size];
		uint16_t event = kicks == VIRTQ_KICKS_WANTED ? vq->avail.idx : (uint16_t)(vq->avail.idx - 1);

		__atomic_store_n(&conf->used->flags, 0, __ATOMIC_RELAXED);
		__atomic_store_n(avail_event, event, __ATOMIC_RELEASE);
		virtq_log_words(conf, conf->used_gpa,
				sizeof(*conf->used) + conf->size * sizeof(struct vring_used_elem) + 2);
	} else {
		uint16_t flags = kicks == VIRTQ_KICKS_WANTED ? 0 : VRING_USED_F_NO_NOTIFY;

		__atomic_store_n(&conf->used->flags, flags, __ATOMIC_RELEASE);
		virtq_log_words(conf, conf->used_gpa, sizeof(*conf->used));
	}
}

void
virtq_break(struct virtq *vq, enum virtq_fault fault)
{
	if (virtq_is_broken(vq))
		return;
	atomic_store_explicit(&vq->fault, (unsigned char)fault, memory_order_release);
	atomic_fetch_add_explicit(&virtq_faults, 1, memory_order_release);
}

unsigned int
virtq_faults_total(void)
{
	return atomic_load_explicit(&virtq_faults, memory_order_acquire);
}
