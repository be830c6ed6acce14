/* SPDX-License-Identifier: BSD-3-Clause */
#include "driver.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* Region 1 follows region 0 in guest addresses; region 2 lies behind a hole. Front-end addresses are all
 * apart. */
static const uint64_t region_gpa[DRIVER_N_REGIONS] = {0x100000, 0x100000 + DRIVER_REGION_SIZE, 0x40000000};
static const uint64_t region_uva[DRIVER_N_REGIONS] = {0x7f0000000000, 0x7e0000000000, 0x7d0000000000};

#define MUST(condition)                                                                                \
	do {                                                                                           \
		if (!(condition)) {                                                                    \
			fprintf(stderr, "%s:%d: the driver can't accept: !(%s)\n", __FILE__, __LINE__, \
				#condition);                                                           \
			abort();                                                                       \
		}                                                                                      \
	} while (0)

uint64_t
driver_region_gpa(unsigned int region)
{
	return region_gpa[region];
}

uint64_t
driver_uva(uint64_t gpa)
{
	for (unsigned int i = 0; i < DRIVER_N_REGIONS; i++)
		if (gpa >= region_gpa[i] && gpa - region_gpa[i] < DRIVER_REGION_SIZE)
			return region_uva[i] + (gpa - region_gpa[i]);
	MUST(!"address in guest memory");
	return 0;
}

struct gmem *
driver_gmem(const struct driver_mem *mem)
{
	struct gmem_region_spec specs[DRIVER_N_REGIONS];
	struct gmem *gmem;
	struct diag diag;

	for (unsigned int i = 0; i < DRIVER_N_REGIONS; i++)
		specs[i] = (struct gmem_region_spec){.gpa = region_gpa[i],
						     .size = DRIVER_REGION_SIZE,
						     .uva = region_uva[i],
						     .file_offset = (uint64_t)i * DRIVER_REGION_SIZE,
						     .fd = mem->fd};
	MUST(gmem_build(NULL, specs, DRIVER_N_REGIONS, &gmem, &diag) == 0);
	return gmem;
}

void
driver_mem_open(struct driver_mem *mem)
{
	const size_t total = (size_t)DRIVER_REGION_SIZE * DRIVER_N_REGIONS;

	memset(mem, 0, sizeof(*mem));
	mem->fd = memfd_create("driver", MFD_CLOEXEC);
	MUST(mem->fd >= 0 && ftruncate(mem->fd, (off_t)total) == 0);
	mem->file = mmap(NULL, total, PROT_READ | PROT_WRITE, MAP_SHARED, mem->fd, 0);
	MUST(mem->file != MAP_FAILED);
	mem->gmem = driver_gmem(mem);
	mem->log.n_bytes = (region_gpa[2] + DRIVER_REGION_SIZE) / 4096 / 8;
	mem->log.bits = calloc(1, mem->log.n_bytes);
	MUST(mem->log.bits);
}

void
driver_mem_close(struct driver_mem *mem)
{
	gmem_free(mem->gmem);
	munmap(mem->file, (size_t)DRIVER_REGION_SIZE * DRIVER_N_REGIONS);
	close(mem->fd);
	free((void *)mem->log.bits);
}

bool
driver_mem_next(const struct driver_mem *mem, uint64_t *offset, uint64_t *ret_len)
{
	off_t begin = lseek(mem->fd, (off_t)*offset, SEEK_DATA), end;

	if (begin < 0) {
		MUST(errno == ENXIO);
		return false;
	}
	end = lseek(mem->fd, begin, SEEK_HOLE);
	MUST(end > begin);
	*offset = (uint64_t)begin;
	*ret_len = (uint64_t)(end - begin);
	return true;
}

uint8_t *
driver_mem_copy(const struct driver_mem *mem)
{
	uint8_t *copy = calloc(DRIVER_N_REGIONS, DRIVER_REGION_SIZE);

	MUST(copy);
	for (uint64_t at = 0, len; driver_mem_next(mem, &at, &len); at += len)
		memcpy(copy + at, mem->file + at, len);
	return copy;
}

void
driver_mem_same(const struct driver_mem *a, const struct driver_mem *b)
{
	const struct driver_mem *each[] = {a, b};

	for (int i = 0; i < 2; i++) {
		uint64_t offset = 0, len;

		for (; driver_mem_next(each[i], &offset, &len); offset += len) {
			uint64_t at = offset;

			if (memcmp(a->file + offset, b->file + offset, len) == 0)
				continue;
			while (a->file[at] == b->file[at])
				at++;
			fprintf(stderr, "guest memory differs from byte 0x%lx of the file: 0x%02x, 0x%02x\n",
				at, a->file[at], b->file[at]);
			MUST(!"the same guest memory");
		}
	}
}

void *
driver_va(struct driver_mem *mem, uint64_t gpa)
{
	for (unsigned int i = 0; i < DRIVER_N_REGIONS; i++)
		if (gpa >= region_gpa[i] && gpa - region_gpa[i] < DRIVER_REGION_SIZE)
			return mem->file + (uint64_t)i * DRIVER_REGION_SIZE + (gpa - region_gpa[i]);
	MUST(!"address in guest memory");
	return NULL;
}

/* Regions 0 and 1 follow each other in the file as they do in guest addresses. */
void
driver_write(struct driver_mem *mem, uint64_t gpa, const void *from, uint64_t len)
{
	memcpy(driver_va(mem, gpa), from, len);
}

void
driver_read(struct driver_mem *mem, uint64_t gpa, void *to, uint64_t len)
{
	memcpy(to, driver_va(mem, gpa), len);
}

uint64_t
driver_alloc(struct driver_mem *mem, unsigned int region, uint64_t size, uint64_t align)
{
	uint64_t offset = (mem->next[region] + align - 1) & ~(align - 1);

	MUST(offset + size <= DRIVER_REGION_SIZE);
	mem->next[region] = offset + size;
	memset(driver_va(mem, region_gpa[region] + offset), 0, size);
	return region_gpa[region] + offset;
}

void
driver_queue_open(struct driver_queue *queue, struct driver_mem *mem, unsigned int region, uint32_t traits,
		  uint16_t size, bool event_idx)
{
	bool packed = traits & TRAIT_PACKED;

	memset(queue, 0, sizeof(*queue));
	queue->mem = mem;
	queue->packed = packed;
	queue->in_order = traits & TRAIT_IN_ORDER;
	queue->size = queue->n_free = size;
	queue->tokens = calloc(size, sizeof(queue->tokens[0]));
	queue->order = calloc(size, sizeof(queue->order[0]));
	queue->own_desc = calloc(size, sizeof(queue->own_desc[0]));
	queue->desc_gpa = driver_alloc(mem, region, (uint64_t)size * 16, 16);
	queue->avail_gpa = driver_alloc(mem, region, packed ? 4 : 6 + 2ull * size, 4);
	queue->used_gpa = driver_alloc(mem, region, packed ? 4 : 6 + 8ull * size, 4);
	queue->desc = driver_va(mem, queue->desc_gpa);
	queue->ring = driver_va(mem, queue->desc_gpa);
	queue->avail = driver_va(mem, queue->avail_gpa);
	queue->used = driver_va(mem, queue->used_gpa);
	queue->avail_wrap = queue->used_wrap = true;
	for (uint16_t i = 0; !packed && i < size; i++)
		queue->desc[i].next = (uint16_t)(i + 1);

	/* The device's view. */
	queue->conf.desc = (void *)gmem_va_search(mem->gmem, queue->desc_gpa, 16);
	queue->conf.avail = (void *)gmem_va_search(mem->gmem, queue->avail_gpa, 4);
	queue->conf.used = (void *)gmem_va_search(mem->gmem, queue->used_gpa, 4);
	queue->conf.mem = mem->gmem;
	gmem_cache_init(&queue->conf.hot, mem->gmem);
	queue->conf.log = traits & TRAIT_LOG ? &mem->log : NULL;
	queue->conf.used_gpa = packed ? queue->desc_gpa : queue->used_gpa;
	queue->conf.event_gpa = queue->used_gpa;
	queue->conf.traits = traits;
	queue->conf.size = size;
	queue->conf.mask = (uint16_t)(size - 1);
	queue->conf.event_idx = event_idx;
	queue->conf.indirect = true;
	queue->conf.enabled = true;
	queue->conf.call_fd = -1;
}

void
driver_queue_close(struct driver_queue *queue)
{
	free(queue->tokens);
	free(queue->order);
	free(queue->own_desc);
}

static uint64_t
driver_indirect(struct driver_queue *queue, const struct driver_buf bufs[], unsigned int n)
{
	uint64_t gpa = driver_alloc(queue->mem, 1, n * 16ull, 16);

	for (unsigned int i = 0; i < n; i++) {
		uint16_t write = bufs[i].writable ? VRING_DESC_F_WRITE : 0;

		if (queue->packed) {
			struct vring_packed_desc *d =
				(struct vring_packed_desc *)driver_va(queue->mem, gpa) + i;

			/* Ids and the other flags mean nothing in here: fill them with noise. */
			*d = (struct vring_packed_desc){
				.addr = bufs[i].gpa, .len = bufs[i].len, .id = 0xabcd, .flags = write};
		} else {
			struct vring_desc *d = (struct vring_desc *)driver_va(queue->mem, gpa) + i;
			uint16_t next = i + 1 < n ? VRING_DESC_F_NEXT : 0;

			*d = (struct vring_desc){.addr = bufs[i].gpa,
						 .len = bufs[i].len,
						 .flags = write | next,
						 .next = (uint16_t)(i + 1)};
		}
	}
	return gpa;
}

static void
driver_put_split(struct driver_queue *queue, const struct driver_buf bufs[], const uint16_t flags[],
		 unsigned int n, uint64_t tag)
{
	uint16_t head = queue->free_head, at = head, idx = queue->avail->idx;

	for (unsigned int i = 0; i < n; i++) {
		struct vring_desc *d = &queue->desc[at];

		d->addr = bufs[i].gpa;
		d->len = bufs[i].len;
		d->flags = flags[i];
		queue->own_desc[at] = *d;
		at = d->next;
	}
	queue->free_head = at;
	queue->tokens[head] = (struct driver_token){.used = true, .n_desc = (uint16_t)n, .tag = tag};
	queue->order[queue->order_tail++ % queue->size] = head;
	queue->avail->ring[idx % queue->size] = head;
	__atomic_store_n(&queue->avail->idx, (uint16_t)(idx + 1), __ATOMIC_RELEASE);
}

static void
driver_put_packed(struct driver_queue *queue, const struct driver_buf bufs[], const uint16_t flags[],
		  unsigned int n, uint64_t tag)
{
	uint16_t at = queue->next_avail, first = at, first_flags = 0, id = 0;
	bool wrap = queue->avail_wrap;

	/* Any free id will do; in-order wants the slot of the first descriptor. */
	if (queue->id_is_chosen)
		id = queue->id_chosen;
	else if (queue->in_order)
		id = first;
	else
		while (queue->tokens[id].used)
			id++;
	for (unsigned int i = 0; i < n; i++) {
		uint16_t f = (uint16_t)(flags[i] | (wrap ? 1 << VRING_PACKED_DESC_F_AVAIL
							 : 1 << VRING_PACKED_DESC_F_USED));
		struct vring_packed_desc *d = &queue->ring[at];

		d->addr = bufs[i].gpa;
		d->len = bufs[i].len;
		/* The last descriptor carries the id; the others' ids are noise. */
		d->id = i + 1 == n ? id : 0x5a5a;
		if (i == 0)
			first_flags = f;
		else
			d->flags = f;
		if (++at == queue->size) {
			at = 0;
			wrap = !wrap;
		}
	}
	queue->next_avail = at;
	queue->avail_wrap = wrap;
	queue->tokens[id] = (struct driver_token){.used = true, .n_desc = (uint16_t)n, .tag = tag};
	queue->order[queue->order_tail++ % queue->size] = id;
	__atomic_store_n(&queue->ring[first].flags, first_flags, __ATOMIC_RELEASE);
}

bool
driver_add(struct driver_queue *queue, const struct driver_buf bufs[], unsigned int n, enum driver_form form,
	   uint64_t tag)
{
	struct driver_buf direct[DRIVER_BUFS_MAX];
	uint16_t flags[DRIVER_BUFS_MAX];
	unsigned int n_direct = n;

	/* A packed ring's chains are either direct or one indirect descriptor. */
	if (form == DRIVER_DIRECT_THEN_INDIRECT && (queue->packed || n < 2))
		form = n < 2 ? DRIVER_DIRECT : DRIVER_INDIRECT;
	if (form == DRIVER_INDIRECT)
		n_direct = 0;
	else if (form == DRIVER_DIRECT_THEN_INDIRECT)
		n_direct = 1;
	MUST(n <= DRIVER_BUFS_MAX);
	memcpy(direct, bufs, n_direct * sizeof(bufs[0]));
	for (unsigned int i = 0; i < n_direct; i++)
		flags[i] = (uint16_t)((bufs[i].writable ? VRING_DESC_F_WRITE : 0) |
				      (i + 1 < n_direct || n_direct < n ? VRING_DESC_F_NEXT : 0));
	if (n_direct < n) {
		if ((n - n_direct > queue->size && !queue->long_tables) || queue->n_free < n_direct + 1)
			return false;
		direct[n_direct] =
			(struct driver_buf){.gpa = driver_indirect(queue, bufs + n_direct, n - n_direct),
					    .len = (n - n_direct) * 16};
		/* WRITE means nothing here: set it now and then. */
		flags[n_direct++] = (uint16_t)(VRING_DESC_F_INDIRECT | (tag % 2 ? VRING_DESC_F_WRITE : 0));
	}
	if (n_direct > queue->n_free)
		return false;
	queue->n_free = (uint16_t)(queue->n_free - n_direct);
	if (queue->packed)
		driver_put_packed(queue, direct, flags, n_direct, tag);
	else
		driver_put_split(queue, direct, flags, n_direct, tag);
	return true;
}

/* The chain `id` has come back. */
static void
driver_done(struct driver_queue *queue, uint16_t id, uint64_t *ret_tag)
{
	struct driver_token *token = &queue->tokens[id];

	MUST(id < queue->size && token->used);
	if (queue->in_order)
		MUST(queue->order[queue->order_head % queue->size] == id);
	queue->order_head++;
	*ret_tag = token->tag;
	queue->n_free = (uint16_t)(queue->n_free + token->n_desc);
	if (!queue->packed) {
		uint16_t last = id;

		MUST(memcmp(&queue->desc[id], &queue->own_desc[id], sizeof(queue->desc[id])) == 0);
		for (uint16_t i = 1; i < token->n_desc; i++) {
			last = queue->desc[last].next;
			MUST(memcmp(&queue->desc[last], &queue->own_desc[last], sizeof(queue->desc[last])) ==
			     0);
		}
		queue->desc[last].next = queue->free_head;
		queue->free_head = id;
	}
	token->used = false;
}

static bool
driver_get_packed(struct driver_queue *queue, uint64_t *ret_tag, uint32_t *ret_len)
{
	uint16_t id;

	if (!queue->in_batch) {
		const struct vring_packed_desc *d = &queue->ring[queue->next_used];
		uint16_t flags = __atomic_load_n(&d->flags, __ATOMIC_ACQUIRE);
		bool avail = flags >> VRING_PACKED_DESC_F_AVAIL & 1,
		     used = flags >> VRING_PACKED_DESC_F_USED & 1;

		if (avail != used || used != queue->used_wrap)
			return false;
		MUST(!!(flags & VRING_DESC_F_WRITE) == (d->len != 0));
		queue->batch_id = d->id;
		queue->batch_len = d->len;
		queue->in_batch = true;
	}
	/* In order, one used element may stand for all buffers up to its id. */
	id = queue->in_order ? queue->order[queue->order_head % queue->size] : queue->batch_id;
	MUST(id < queue->size && queue->tokens[id].used);
	*ret_len = id == queue->batch_id ? queue->batch_len : 0;
	if (id == queue->batch_id)
		queue->in_batch = false;
	for (uint16_t i = 0; i < queue->tokens[id].n_desc; i++)
		if (++queue->next_used == queue->size) {
			queue->next_used = 0;
			queue->used_wrap = !queue->used_wrap;
		}
	driver_done(queue, id, ret_tag);
	return true;
}

bool
driver_get(struct driver_queue *queue, uint64_t *ret_tag, uint32_t *ret_len)
{
	const struct vring_used_elem *elem;

	if (queue->packed)
		return driver_get_packed(queue, ret_tag, ret_len);
	if (__atomic_load_n(&queue->used->idx, __ATOMIC_ACQUIRE) == queue->last_used)
		return false;
	elem = &queue->used->ring[queue->last_used++ % queue->size];
	MUST(elem->id < queue->size);
	*ret_len = elem->len;
	driver_done(queue, (uint16_t)elem->id, ret_tag);
	return true;
}

void
driver_interrupts(struct driver_queue *queue, enum driver_interrupts what)
{
	if (queue->packed) {
		struct vring_packed_desc_event *driver = driver_va(queue->mem, queue->avail_gpa);
		uint16_t flags = VRING_PACKED_EVENT_FLAG_DISABLE;

		if (what == DRIVER_INTERRUPTS_ON)
			flags = VRING_PACKED_EVENT_FLAG_ENABLE;
		else if (what == DRIVER_INTERRUPTS_NEXT)
			flags = VRING_PACKED_EVENT_FLAG_DESC;
		driver->off_wrap = (uint16_t)(queue->next_used | (queue->used_wrap ? 1 << 15 : 0));
		__atomic_store_n(&driver->flags, flags, __ATOMIC_SEQ_CST);
	} else if (queue->conf.event_idx) {
		/* Off: an index that is far away. */
		uint16_t event =
			what == DRIVER_INTERRUPTS_OFF ? (uint16_t)(queue->last_used - 1) : queue->last_used;

		__atomic_store_n(&queue->avail->ring[queue->size], event, __ATOMIC_SEQ_CST);
	} else {
		__atomic_store_n(&queue->avail->flags,
				 what == DRIVER_INTERRUPTS_OFF ? VRING_AVAIL_F_NO_INTERRUPT : 0,
				 __ATOMIC_SEQ_CST);
	}
}
