/* SPDX-License-Identifier: BSD-3-Clause */
#include "gmem.h"

#include <errno.h>
#include <stdlib.h>

static int
gmem_region_compare(const void *a, const void *b)
{
	const struct gmem_region *x = a, *y = b;

	return x->gpa < y->gpa ? -1 : x->gpa > y->gpa;
}

/* [start, start + size) without wrapping; the last byte may be 2^64 - 1. */
static bool
gmem_range_ok(uint64_t start, uint64_t size)
{
	return size != 0 && start <= UINT64_MAX - (size - 1);
}

static bool
gmem_ranges_overlap(uint64_t a, uint64_t a_size, uint64_t b, uint64_t b_size)
{
	return a < b ? b - a < a_size : a - b < b_size;
}

/* The first n_old are from a table that was checked: what each of the others costs is one look at all. */
static int
gmem_check(const struct gmem *mem, unsigned int n_old, struct diag *diag)
{
	for (unsigned int i = n_old; i < mem->n_regions; i++) {
		const struct gmem_region *a = &mem->regions[i];

		for (unsigned int j = 0; j < i; j++) {
			const struct gmem_region *b = &mem->regions[j];

			if (gmem_ranges_overlap(a->gpa, a->size, b->gpa, b->size) ||
			    gmem_ranges_overlap(a->uva, a->size, b->uva, b->size))
				return diag_set(diag, -EINVAL, "",
						"memory table: regions at gpa 0x%llx and 0x%llx overlap",
						(unsigned long long)b->gpa, (unsigned long long)a->gpa);
		}
	}
	return 0;
}

/* The region of the first n that is just what `spec` says; NULL: there is none. */
static struct gmem_region *
gmem_region_same(struct gmem *mem, unsigned int n, const struct gmem_region_spec *spec)
{
	for (unsigned int i = 0; i < n; i++) {
		struct gmem_region *region = &mem->regions[i];

		if (region->gpa == spec->gpa && region->uva == spec->uva &&
		    gmem_map_is_of(region->map, spec->fd, spec->file_offset, spec->size))
			return region;
	}
	return NULL;
}

int
gmem_build_within(struct gmem_budget budget, const struct gmem *old, const struct gmem_region_spec specs[],
		  unsigned int n, struct gmem **ret_mem, struct diag *diag)
{
	unsigned int n_old = old ? old->n_regions : 0;
	struct gmem *mem;
	int ret;

	if (n == 0)
		return diag_set(diag, -EINVAL, "", "memory table: no region");
	budget.bytes += gmem_bytes(old);
	mem = calloc(1, sizeof(*mem) + (n_old + n) * sizeof(mem->regions[0]));
	if (!mem)
		return diag_set(diag, -ENOMEM, "", "memory table: out of memory");
	for (unsigned int i = 0; i < n_old; i++) {
		mem->regions[mem->n_regions] = old->regions[i];
		gmem_map_ref(mem->regions[mem->n_regions++].map);
	}
	for (unsigned int i = 0; i < n; i++) {
		struct gmem_region *region = gmem_region_same(mem, n_old, &specs[i]);

		if (region) {
			region->n_added++;
			continue;
		}
		if (mem->n_regions == GMEM_REGIONS_MAX) {
			ret = diag_set(diag, -ENOSPC, "",
				       "memory table: more than %d regions: back the guest's memory by fewer",
				       GMEM_REGIONS_MAX);
			goto err;
		}
		region = &mem->regions[mem->n_regions];
		if (!gmem_range_ok(specs[i].gpa, specs[i].size) ||
		    !gmem_range_ok(specs[i].uva, specs[i].size)) {
			ret = diag_set(diag, -EINVAL, "",
				       "memory table: region at gpa 0x%llx of 0x%llx bytes wraps round",
				       (unsigned long long)specs[i].gpa, (unsigned long long)specs[i].size);
			goto err;
		}
		ret = gmem_map_open_within(&budget, specs[i].fd, specs[i].file_offset, specs[i].size,
					   &region->map, diag);
		if (ret < 0)
			goto err;
		region->gpa = specs[i].gpa;
		region->size = specs[i].size;
		region->uva = specs[i].uva;
		region->va = region->map->va;
		region->n_added = 1;
		mem->n_regions++;
	}
	ret = gmem_check(mem, n_old, diag);
	if (ret < 0)
		goto err;
	qsort(mem->regions, mem->n_regions, sizeof(mem->regions[0]), gmem_region_compare);
	*ret_mem = mem;
	return 0;

err:
	gmem_free(mem);
	return ret;
}

int
gmem_build(const struct gmem *old, const struct gmem_region_spec specs[], unsigned int n,
	   struct gmem **ret_mem, struct diag *diag)
{
	const struct gmem_budget usual = {.bytes_max = GMEM_BYTES_MAX};

	return gmem_build_within(usual, old, specs, n, ret_mem, diag);
}

int
gmem_build_without(const struct gmem *old, uint64_t gpa, uint64_t uva, uint64_t size, struct gmem **ret_mem,
		   struct diag *diag)
{
	struct gmem *mem = calloc(1, sizeof(*mem) + (old ? old->n_regions : 0) * sizeof(mem->regions[0]));
	bool found = false;

	if (!mem)
		return diag_set(diag, -ENOMEM, "", "memory table: out of memory");
	for (unsigned int i = 0; old && i < old->n_regions; i++) {
		const struct gmem_region *region = &old->regions[i];

		bool is_it = region->gpa == gpa && region->uva == uva && region->size == size;

		found |= is_it;
		if (is_it && region->n_added == 1)
			continue;
		mem->regions[mem->n_regions] = *region;
		mem->regions[mem->n_regions].n_added -= is_it;
		gmem_map_ref(mem->regions[mem->n_regions++].map);
	}
	if (!found) {
		gmem_free(mem);
		return diag_set(diag, -ENOENT, "",
				"memory table: no region at gpa 0x%llx with uva 0x%llx and 0x%llx bytes",
				(unsigned long long)gpa, (unsigned long long)uva, (unsigned long long)size);
	}
	*ret_mem = mem;
	return 0;
}

void
gmem_free(struct gmem *mem)
{
	if (!mem)
		return;
	for (unsigned int i = 0; i < mem->n_regions; i++)
		gmem_map_unref(mem->regions[i].map);
	free(mem);
}

uint64_t
gmem_bytes(const struct gmem *mem)
{
	uint64_t bytes = 0;

	for (unsigned int i = 0; mem && i < mem->n_regions; i++)
		bytes += mem->regions[i].map->len;
	return bytes;
}

bool
gmem_is_lost(const struct gmem *mem)
{
	for (unsigned int i = 0; mem && i < mem->n_regions; i++)
		if (gmem_map_is_lost(mem->regions[i].map))
			return true;
	return false;
}

bool
gmem_uva_to_gpa(const struct gmem *mem, uint64_t uva, uint64_t len, uint64_t *ret_gpa)
{
	for (unsigned int i = 0; mem && i < mem->n_regions; i++) {
		const struct gmem_region *region = &mem->regions[i];
		uint64_t offset = uva - region->uva;

		if (offset < region->size && len <= region->size - offset) {
			*ret_gpa = region->gpa + offset;
			return true;
		}
	}
	return false;
}

/* The region that holds gpa; NULL when none does. */
static const struct gmem_region *
gmem_region_find(const struct gmem *mem, uint64_t gpa)
{
	unsigned int low = 0, high = mem->n_regions;

	while (low < high) {
		unsigned int mid = low + (high - low) / 2;
		const struct gmem_region *region = &mem->regions[mid];

		if (gpa < region->gpa)
			high = mid;
		else if (gpa - region->gpa < region->size)
			return region;
		else
			low = mid + 1;
	}
	return NULL;
}

uint8_t *
gmem_va_search(const struct gmem *mem, uint64_t gpa, uint64_t len)
{
	const struct gmem_region *region = gmem_region_find(mem, gpa);

	if (!region || len > region->size - (gpa - region->gpa))
		return NULL;
	return region->va + (gpa - region->gpa);
}

uint8_t *
gmem_piece(const struct gmem *mem, uint64_t gpa, uint64_t len, uint64_t *ret_len)
{
	const struct gmem_region *region = gmem_region_find(mem, gpa);
	uint64_t left;

	if (!region)
		return NULL;
	left = region->size - (gpa - region->gpa);
	*ret_len = len < left ? len : left;
	return region->va + (gpa - region->gpa);
}

void
gmem_cache_init(struct gmem_cache *cache, const struct gmem *mem)
{
	*cache = (struct gmem_cache){0};
	for (unsigned int i = 0; i < mem->n_regions; i++) {
		const struct gmem_region *region = &mem->regions[i];

		if (region->size > cache->size)
			*cache = (struct gmem_cache){
				.gpa = region->gpa, .size = region->size, .va = region->va};
	}
}
