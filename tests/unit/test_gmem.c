/* SPDX-License-Identifier: BSD-3-Clause */
/* Guest memory: what may be mapped, what translates to where, what the dirty log marks, what a lost file
 * does. */
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ctx.h"
#include "gmem.h"
#include "gmem_sigbus.h"
#include "loop.h"

static struct vnic_ctx ctx;

enum { MIB = 1 << 20 };

static int
memfd_make(off_t size)
{
	int fd = memfd_create("test", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, size), 0);
	return fd;
}

static void
test_map_refuses(void **state)
{
	struct gmem_map *map = (void *)0x1;
	int memfd = memfd_make(MIB), pipefd[2], sock, dir, zero, read_only, event;
	char path[64];
	struct diag diag;

	assert_int_equal(pipe(pipefd), 0);
	sock = socket(AF_UNIX, SOCK_STREAM, 0);
	dir = open("/", O_RDONLY | O_DIRECTORY);
	zero = open("/dev/zero", O_RDWR);
	event = eventfd(0, 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", memfd);
	read_only = open(path, O_RDONLY);
	assert_true(read_only >= 0);

	const struct {
		int fd;
		uint64_t offset, size;
		int err;
	} rows[] = {
		{pipefd[0], 0, 4096, -EBADF},    {sock, 0, 4096, -EBADF},
		{dir, 0, 4096, -EBADF},          {zero, 0, 4096, -EBADF},
		{event, 0, 4096, -EBADF},        {read_only, 0, 4096, -EBADF},
		{-1, 0, 4096, -EBADF},           {memfd, 0, 0, -EINVAL},
		{memfd, 0, MIB + 1, -EFBIG},     {memfd, 4096, MIB, -EFBIG},
		{memfd, MIB, 1, -EFBIG},         {memfd, 1, UINT64_MAX, -EINVAL},
		{memfd, UINT64_MAX, 1, -EINVAL}, {memfd, 8192, UINT64_MAX - 4095, -EINVAL},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		assert_int_equal(gmem_map_open(rows[i].fd, rows[i].offset, rows[i].size, &map, &diag),
				 rows[i].err);
		assert_ptr_equal(map, (void *)0x1);
		assert_true(diag.cause[0] != '\0');
	}
	close(pipefd[0]);
	close(pipefd[1]);
	close(sock);
	close(dir);
	close(zero);
	close(event);
	close(read_only);
	close(memfd);
}

static void
test_map_offset_not_on_a_page(void **state)
{
	int fd = memfd_make(MIB);
	uint8_t *file = mmap(NULL, MIB, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	struct gmem_map *map;
	struct diag diag;

	file[5000] = 0x5a;
	assert_int_equal(gmem_map_open(fd, 5000, 10000, &map, &diag), 0);
	assert_int_equal(map->va[0], 0x5a);
	assert_int_equal(map->size, 10000);
	gmem_map_unref(map);
	munmap(file, MIB);
	close(fd);
}

static void
test_table_refuses(void **state)
{
	int fd = memfd_make(16 * MIB);
	struct gmem *mem;
	struct diag diag;
	const struct {
		struct gmem_region_spec a, b;
		int err;
	} rows[] = {
		{{0, MIB, 0x10000000, 0, fd}, {MIB, MIB, 0x20000000, MIB, fd}, 0},
		{{0, MIB, 0x10000000, 0, fd}, {MIB - 1, MIB, 0x20000000, MIB, fd}, -EINVAL},
		{{0, MIB, 0x10000000, 0, fd}, {0, MIB, 0x20000000, MIB, fd}, -EINVAL},
		{{0, 4 * MIB, 0x10000000, 0, fd}, {MIB, MIB, 0x20000000, MIB, fd}, -EINVAL},
		{{0, MIB, 0x10000000, 0, fd}, {2 * MIB, MIB, 0x10000000 + MIB - 1, MIB, fd}, -EINVAL},
		{{UINT64_MAX - 4095, 8192, 0x10000000, 0, fd}, {0, MIB, 0x20000000, MIB, fd}, -EINVAL},
		{{0, MIB, UINT64_MAX - 4095, 0, fd}, {MIB, MIB, 0x20000000, MIB, fd}, -EINVAL},
		{{0, 0, 0x10000000, 0, fd}, {MIB, MIB, 0x20000000, MIB, fd}, -EINVAL},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct gmem_region_spec specs[2] = {rows[i].a, rows[i].b};

		assert_int_equal(gmem_build(NULL, specs, 2, &mem, &diag), rows[i].err);
		if (rows[i].err == 0)
			gmem_free(mem);
	}
	close(fd);
}

/* Every byte of a small space of addresses and lengths against a plain model. */
static void
test_translation_is_exact(void **state)
{
	int fd = memfd_make(16 * MIB);
	const struct gmem_region_spec specs[] = {
		{0x3000, 0x2000, 0x900000, 0x8000, fd},
		{0x1000, 0x1000, 0x800000, 0x4000, fd},
		{0x2000, 0x1000, 0x700000, 0x1000, fd}, /* touches both */
		{0x8000, 0x1000, 0x100000, 0x2000, fd}, /* behind a hole */
	};
	struct gmem_cache hot;
	struct gmem *mem;
	struct diag diag;

	assert_int_equal(gmem_build(NULL, specs, 4, &mem, &diag), 0);
	gmem_cache_init(&hot, mem);
	for (uint64_t gpa = 0; gpa < 0xa000; gpa += 0x1ff) {
		for (uint64_t len = 0; len < 0x5000; len += 0x333) {
			const struct gmem_region_spec *in = NULL;
			uint64_t piece = 0;
			uint8_t *va;

			for (size_t i = 0; i < 4; i++)
				if (gpa >= specs[i].gpa && gpa < specs[i].gpa + specs[i].size)
					in = &specs[i];
			va = gmem_va(mem, &hot, gpa, (uint32_t)len);
			if (in && gpa + len <= in->gpa + in->size) {
				const uint64_t offset = gpa - in->gpa;
				uint64_t back;

				assert_non_null(va);
				assert_true(gmem_uva_to_gpa(mem, in->uva + offset, len, &back));
				assert_int_equal(back, gpa);
			} else {
				assert_null(va);
			}
			va = gmem_piece(mem, gpa, len, &piece);
			assert_int_equal(va != NULL, in != NULL);
			if (in)
				assert_int_equal(piece, len < in->gpa + in->size - gpa
								? len
								: in->gpa + in->size - gpa);
		}
	}
	assert_null(gmem_va(mem, &hot, UINT64_MAX, 2));
	assert_null(gmem_va(mem, &hot, 0x4fff, 2));
	assert_null(gmem_va(mem, &hot, 0x1000, UINT32_MAX));
	gmem_free(mem);
	close(fd);
}

static void
test_regions_come_and_go(void **state)
{
	int fd = memfd_make(4 * MIB);
	struct gmem_region_spec spec = {0, MIB, 0x10000000, 0, fd};
	struct gmem *one, *two, *left;
	struct diag diag;

	assert_int_equal(gmem_build(NULL, &spec, 1, &one, &diag), 0);
	spec = (struct gmem_region_spec){8 * MIB, MIB, 0x20000000, MIB, fd};
	assert_int_equal(gmem_build(one, &spec, 1, &two, &diag), 0);
	/* The mapping of what stays is shared, so its address stays. */
	assert_ptr_equal(one->regions[0].va, two->regions[0].va);
	gmem_free(one);
	two->regions[0].va[0] = 1;
	assert_int_equal(gmem_build_without(two, 0, 0x10000000, MIB - 1, &left, &diag), -ENOENT);
	assert_int_equal(gmem_build_without(two, 0, 0x10000000, MIB, &left, &diag), 0);
	gmem_free(two);
	assert_int_equal(left->n_regions, 1);
	assert_int_equal(left->regions[0].gpa, 8 * MIB);
	assert_int_equal(gmem_build_without(left, 8 * MIB, 0x20000000, MIB, &one, &diag), 0);
	assert_int_equal(one->n_regions, 0);
	gmem_free(left);
	gmem_free(one);
	close(fd);
}

/* What a device may map is counted once: what is kept, and what comes. */
static void
test_budget(void **state)
{
	int fd = memfd_make(16 * MIB), other = memfd_make(16 * MIB);
	struct gmem_region_spec specs[] = {
		{0, MIB, 0x10000000, 0, fd},
		{MIB, 2 * MIB, 0x20000000, 2 * MIB, fd},
		{8 * MIB, 5000, 0x30000000, 6 * MIB + 4000, fd}, /* three pages */
	};
	const uint64_t all = 3 * MIB + 3 * 4096;
	struct gmem *mem, *more;
	struct gmem_map *map;
	struct diag diag;

	for (unsigned int n = 1; n <= 3; n++) {
		struct gmem_budget budget = {.bytes = 4 * MIB};

		assert_int_equal(gmem_build(NULL, specs, n, &mem, &diag), 0);
		/* To the byte. */
		budget.bytes_max = budget.bytes + gmem_bytes(mem) - 1;
		assert_int_equal(gmem_build_within(budget, NULL, specs, n, &more, &diag), -ENOSPC);
		assert_non_null(strstr(diag.cause, "memory="));
		budget.bytes_max++;
		assert_int_equal(gmem_build_within(budget, NULL, specs, n, &more, &diag), 0);
		gmem_free(more);
		gmem_free(mem);
	}
	/* A table that grows: its regions count, but not twice those that it has already. */
	assert_int_equal(gmem_build(NULL, specs, 3, &mem, &diag), 0);
	assert_int_equal(gmem_bytes(mem), all);
	assert_int_equal(
		gmem_build_within((struct gmem_budget){.bytes_max = all}, mem, specs, 3, &more, &diag), 0);
	assert_int_equal(gmem_bytes(more), all);
	gmem_free(more);
	specs[0] = (struct gmem_region_spec){16 * MIB, MIB, 0x40000000, 0, other};
	assert_int_equal(gmem_build_within((struct gmem_budget){.bytes_max = all + MIB - 1}, mem, specs, 1,
					   &more, &diag),
			 -ENOSPC);
	assert_int_equal(
		gmem_build_within((struct gmem_budget){.bytes_max = all + MIB}, mem, specs, 1, &more, &diag),
		0);
	gmem_free(more);
	gmem_free(mem);
	/* More than is left, by a number that does not wrap round; and a single map beyond all. */
	assert_int_equal(gmem_map_open_within(&(struct gmem_budget){.bytes_max = 4096, .bytes = 8192}, fd, 0,
					      1, &map, &diag),
			 -ENOSPC);
	assert_int_equal(gmem_bytes(NULL), 0);
	close(fd);
	close(other);
}

/* The limit is one of regions, not of how often they were added. */
static void
test_regions_have_a_limit(void **state)
{
	struct gmem_region_spec specs[GMEM_REGIONS_MAX + 1];
	int fd = memfd_make(2 * MIB);
	struct gmem *mem, *more;
	struct diag diag;

	for (unsigned int i = 0; i <= GMEM_REGIONS_MAX; i++)
		specs[i] = (struct gmem_region_spec){i * 0x10000ull, 4096, i * 0x20000ull, i * 8192ull, fd};
	assert_int_equal(gmem_build(NULL, specs, GMEM_REGIONS_MAX + 1, &mem, &diag), -ENOSPC);
	assert_int_equal(gmem_build(NULL, specs, GMEM_REGIONS_MAX, &mem, &diag), 0);
	assert_int_equal(gmem_build(mem, &specs[3], 1, &more, &diag), 0);
	assert_int_equal(more->n_regions, GMEM_REGIONS_MAX);
	gmem_free(more);
	assert_int_equal(gmem_build(mem, &specs[GMEM_REGIONS_MAX], 1, &more, &diag), -ENOSPC);
	gmem_free(mem);
	close(fd);
}

/* All devices with all that each may have, while one of them replaces it. */
static void
test_every_device_has_its_regions(void **state)
{
	static struct {
		struct gmem *mem;
		struct gmem_map *log;
	} devices[GMEM_DEVICES_MAX + 1];
	struct gmem_region_spec specs[GMEM_REGIONS_MAX];
	int fd = memfd_make(2 * MIB);
	struct diag diag;

	/* Apart, so that no two become one mapping of the kernel's. */
	for (unsigned int i = 0; i < GMEM_REGIONS_MAX; i++)
		specs[i] = (struct gmem_region_spec){i * 0x10000ull, 4096, i * 0x20000ull, i * 8192ull, fd};
	for (unsigned int d = 0; d <= GMEM_DEVICES_MAX; d++)
		if (gmem_build(NULL, specs, GMEM_REGIONS_MAX, &devices[d].mem, &diag) < 0 ||
		    gmem_map_open(fd, 0, 4096, &devices[d].log, &diag) < 0)
			fail_msg("device %u: %s", d, diag.cause);
	for (unsigned int d = 0; d <= GMEM_DEVICES_MAX; d++) {
		gmem_free(devices[d].mem);
		gmem_map_unref(devices[d].log);
	}
	close(fd);
}

/* Pages [i, i + 1) of the file, a page apart from each other, highest first so that each is sorted in. */
static struct gmem_region_spec
spec_of(unsigned int i, int fd)
{
	return (struct gmem_region_spec){
		.gpa = (GMEM_REGIONS_MAX - i) * 0x2000ull,
		.size = 0x1000,
		.uva = 0x10000000 + i * 0x2000ull,
		.file_offset = i * 0x1000ull,
		.fd = fd,
	};
}

static struct gmem *
table_of(unsigned int n, int fd)
{
	struct gmem *mem = NULL;
	struct diag diag;

	for (unsigned int i = 0; i < n; i++) {
		struct gmem_region_spec spec = spec_of(i, fd);
		struct gmem *more;

		assert_int_equal(gmem_build(mem, &spec, 1, &more, &diag), 0);
		gmem_free(mem);
		mem = more;
	}
	return mem;
}

static void
test_full_table(void **state)
{
	int fd = memfd_make(GMEM_REGIONS_MAX * 0x1000 + MIB);
	struct gmem *mem = table_of(GMEM_REGIONS_MAX - 1, fd), *more = (void *)0x1;
	struct gmem_region_spec spec;
	struct diag diag;

	for (unsigned int i = 1; i < mem->n_regions; i++)
		assert_true(mem->regions[i - 1].gpa < mem->regions[i].gpa);
	/* Whichever region it overlaps, in gpa or in uva, from below or from above. */
	for (unsigned int i = 0; i < GMEM_REGIONS_MAX - 1; i += 13) {
		spec = spec_of(GMEM_REGIONS_MAX - 1, fd);
		spec.gpa = spec_of(i, fd).gpa + 0xfff;
		assert_int_equal(gmem_build(mem, &spec, 1, &more, &diag), -EINVAL);
		spec.gpa -= 2 * 0xfff;
		assert_int_equal(gmem_build(mem, &spec, 1, &more, &diag), -EINVAL);
		spec = spec_of(GMEM_REGIONS_MAX - 1, fd);
		spec.uva = spec_of(i, fd).uva + 0xfff;
		assert_int_equal(gmem_build(mem, &spec, 1, &more, &diag), -EINVAL);
		spec.uva -= 2 * 0xfff;
		assert_int_equal(gmem_build(mem, &spec, 1, &more, &diag), -EINVAL);
	}
	spec = spec_of(GMEM_REGIONS_MAX - 1, fd);
	assert_int_equal(gmem_build(mem, &spec, 1, &more, &diag), 0);
	assert_int_equal(more->n_regions, GMEM_REGIONS_MAX);
	gmem_free(mem);
	spec = spec_of(GMEM_REGIONS_MAX, fd);
	assert_int_equal(gmem_build(more, &spec, 1, &mem, &diag), -ENOSPC);
	gmem_free(more);
	close(fd);
}

/* Two new ones that overlap each other, and none of those that are there. */
static void
test_new_regions_overlap_each_other(void **state)
{
	int fd = memfd_make(GMEM_REGIONS_MAX * 0x1000);
	struct gmem *mem = table_of(10, fd), *more;
	struct gmem_region_spec specs[2] = {spec_of(20, fd), spec_of(21, fd)};
	struct diag diag;

	specs[1].uva = specs[0].uva + 0xfff;
	assert_int_equal(gmem_build(mem, specs, 2, &more, &diag), -EINVAL);
	specs[1] = spec_of(21, fd);
	specs[1].gpa = specs[0].gpa;
	assert_int_equal(gmem_build(mem, specs, 2, &more, &diag), -EINVAL);
	specs[1] = spec_of(21, fd);
	assert_int_equal(gmem_build(mem, specs, 2, &more, &diag), 0);
	gmem_free(mem);
	gmem_free(more);
	close(fd);
}

static void
test_log_marks_exactly_the_pages(void **state)
{
	static _Atomic uint8_t bits[16];
	struct gmem_log log = {.bits = bits, .n_bytes = sizeof(bits)};

	for (uint64_t gpa = 0; gpa < 16 * 4096; gpa += 777) {
		for (uint64_t len = 0; len < 5 * 4096; len += 1001) {
			memset((void *)bits, 0, sizeof(bits));
			gmem_log_mark(&log, gpa, len);
			for (uint64_t page = 0; page < 128; page++) {
				bool want = len && page >= gpa / 4096 && page <= (gpa + len - 1) / 4096;

				assert_int_equal(bits[page / 8] >> (page % 8) & 1, want);
			}
		}
	}
	/* Beyond the log: nothing is written, nothing faults. */
	gmem_log_mark(&log, 128 * 4096, 4096);
	gmem_log_mark(&log, UINT64_MAX - 10, 10);
	gmem_log_mark(&log, 127 * 4096, 100 * 4096);
}

static bool lost_called;

static void
lost(void *arg)
{
	lost_called = true;
}

static void
check_truncated_file(const struct rlimit *data)
{
	int fd = memfd_make(4 * MIB);
	struct gmem_region_spec spec = {0, 4 * MIB, 0x10000000, 0, fd};
	struct gmem_budget budget = {.bytes_max = 4 * MIB};
	struct rlimit before;
	struct gmem *mem;
	struct diag diag;

	lost_called = false;
	assert_int_equal(ctx_open(&ctx), 0);
	assert_int_equal(getrlimit(RLIMIT_DATA, &before), 0);
	assert_int_equal(gmem_sigbus_install(&ctx), 0);
	gmem_sigbus_listen(&ctx, lost, NULL);
	budget.guard = ctx.guard;
	assert_int_equal(gmem_build_within(budget, NULL, &spec, 1, &mem, &diag), 0);
	mem->regions[0].va[3 * MIB] = 7;
	assert_false(gmem_is_lost(mem));
	assert_int_equal(ftruncate(fd, 0), 0);
	if (data)
		assert_int_equal(setrlimit(RLIMIT_DATA, data), 0);
	/* The access that would kill the process reads and writes zero pages instead. */
	assert_int_equal(*(volatile uint8_t *)&mem->regions[0].va[3 * MIB], 0);
	*(volatile uint8_t *)&mem->regions[0].va[MIB] = 9;
	assert_int_equal(setrlimit(RLIMIT_DATA, &before), 0);
	assert_true(gmem_is_lost(mem));
	assert_int_equal(loop_run_once(ctx.loop, 1000), 0);
	assert_true(lost_called);
	gmem_free(mem);
	gmem_sigbus_uninstall(&ctx);
	loop_run_once(ctx.loop, 0);
	ctx_close(&ctx);
	close(fd);
}

static void
test_truncated_file_is_survived(void **state)
{
	check_truncated_file(NULL);
}

/* Where the kernel gives no memory that it might not have: as with vm.overcommit_memory=2. */
static void
test_truncated_file_is_survived_without_overcommit(void **state)
{
	struct rlimit none;

	assert_int_equal(getrlimit(RLIMIT_DATA, &none), 0);
	none.rlim_cur = 4096; /* 0 would have a meaning of its own */
	check_truncated_file(&none);
}

/* --- contexts --- */

struct place {
	struct vnic_ctx ctx;
	struct gmem *mem;
	unsigned int n_lost;
	int fd;
};

static void
place_lost(void *arg)
{
	((struct place *)arg)->n_lost++;
}

static void
place_open(struct place *place)
{
	struct gmem_budget budget = {.bytes_max = MIB};
	struct gmem_region_spec spec = {0, MIB, 0x10000000, 0, memfd_make(MIB)};
	struct diag diag;

	*place = (struct place){.fd = spec.fd};
	assert_int_equal(ctx_open(&place->ctx), 0);
	assert_int_equal(gmem_sigbus_install(&place->ctx), 0);
	gmem_sigbus_listen(&place->ctx, place_lost, place);
	budget.guard = place->ctx.guard;
	assert_int_equal(gmem_build_within(budget, NULL, &spec, 1, &place->mem, &diag), 0);
}

static void
place_close(struct place *place)
{
	gmem_free(place->mem);
	gmem_sigbus_uninstall(&place->ctx);
	ctx_close(&place->ctx);
	close(place->fd);
}

static void
place_lose(struct place *place)
{
	assert_int_equal(ftruncate(place->fd, 0), 0);
	assert_int_equal(*(volatile uint8_t *)place->mem->regions[0].va, 0);
	assert_true(gmem_is_lost(place->mem));
}

/* Who lost memory is told, and nobody else; and who stays is guarded when another one has gone. */
static void
test_contexts_lose_their_own(void **state)
{
	struct sigaction before, now;
	static struct place a, b;

	sigaction(SIGBUS, NULL, &before);
	place_open(&a);
	place_open(&b);
	place_lose(&a);
	for (unsigned int i = 0; i < 2; i++) {
		assert_int_equal(loop_run_once(a.ctx.loop, 0), 0);
		assert_int_equal(loop_run_once(b.ctx.loop, 0), 0);
	}
	assert_int_equal(a.n_lost, 1);
	assert_int_equal(b.n_lost, 0);
	assert_false(gmem_is_lost(b.mem));
	place_close(&a);
	place_lose(&b);
	assert_int_equal(loop_run_once(b.ctx.loop, 1000), 0);
	assert_int_equal(b.n_lost, 1);
	place_close(&b);
	sigaction(SIGBUS, NULL, &now);
	assert_ptr_equal(now.sa_sigaction, before.sa_sigaction);
}

/* --- what is not guest memory --- */

static void *hole; /* a page whose file has gone, and that we do not guard */

enum { CHILD_INFO = 42, CHILD_PLAIN = 43, CHILD_SURVIVED = 44, CHILD_LATER = 45 };

static void
child_info(int sig, siginfo_t *info, void *context)
{
	_exit(sig == SIGBUS && info->si_addr == hole && context ? CHILD_INFO : 1);
}

static void
child_plain(int sig)
{
	_exit(sig == SIGBUS ? CHILD_PLAIN : 1);
}

static struct sigaction child_below;

/* Came after us, and passes on what is not his. */
static void
child_later(int sig, siginfo_t *info, void *context)
{
	if (info->si_code <= 0)
		_exit(CHILD_LATER);
	child_below.sa_sigaction(sig, info, context);
}

enum child_deed { DEED_FAULT, DEED_KILL };
enum child_time { TIME_INSTALLED, TIME_UNINSTALLED, TIME_LATER, TIME_LATER_UNINSTALLED, TIME_LATER_AGAIN };

/* The status of a child that had `old` before ours was installed, and then meets a SIGBUS that is not ours.
 */
static int
child_status(const struct sigaction *old, enum child_time time, enum child_deed deed)
{
	struct sigaction later = {.sa_sigaction = child_later, .sa_flags = SA_SIGINFO}, now;
	int status, fd;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	assert_true(pid >= 0);
	if (pid) {
		assert_int_equal(waitpid(pid, &status, 0), pid);
		return status;
	}
	setrlimit(RLIMIT_CORE, &(struct rlimit){0});
	fd = memfd_create("hole", MFD_CLOEXEC);
	if (ftruncate(fd, 4096) < 0 || ctx_open(&ctx) < 0)
		_exit(1);
	hole = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
	sigaction(SIGBUS, old, NULL);
	if (gmem_sigbus_install(&ctx) < 0)
		_exit(1);
	if (time >= TIME_LATER)
		sigaction(SIGBUS, &later, &child_below);
	if (time == TIME_UNINSTALLED || time >= TIME_LATER_UNINSTALLED)
		gmem_sigbus_uninstall(&ctx);
	sigaction(SIGBUS, NULL, &now);
	/* Put back, but not over somebody else. */
	if (time == TIME_UNINSTALLED && now.sa_sigaction != old->sa_sigaction)
		_exit(1);
	if (time >= TIME_LATER_UNINSTALLED && now.sa_sigaction != child_later)
		_exit(1);
	/* Over who stayed in between, and who passes on to where we were. */
	if (time == TIME_LATER_AGAIN && gmem_sigbus_install(&ctx) < 0)
		_exit(1);
	if (deed == DEED_KILL) {
		raise(SIGBUS);
		_exit(CHILD_SURVIVED);
	}
	if (ftruncate(fd, 0) < 0)
		_exit(1);
	*(volatile uint8_t *)hole;
	_exit(1);
}

static bool
exited_with(int status, int code)
{
	return WIFEXITED(status) && WEXITSTATUS(status) == code;
}

static bool
killed_by_sigbus(int status)
{
	return WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS;
}

static void
test_other_faults_go_on(void **state)
{
	const struct sigaction info = {.sa_sigaction = child_info, .sa_flags = SA_SIGINFO},
			       plain = {.sa_handler = child_plain}, dfl = {.sa_handler = SIG_DFL},
			       ign = {.sa_handler = SIG_IGN};

	for (enum child_time time = TIME_INSTALLED; time <= TIME_LATER_AGAIN; time++) {
		assert_true(exited_with(child_status(&info, time, DEED_FAULT), CHILD_INFO));
		assert_true(exited_with(child_status(&plain, time, DEED_FAULT), CHILD_PLAIN));
		assert_true(killed_by_sigbus(child_status(&dfl, time, DEED_FAULT)));
		/* The kernel does not let an access be ignored. */
		assert_true(killed_by_sigbus(child_status(&ign, time, DEED_FAULT)));
	}
	for (enum child_time time = TIME_INSTALLED; time <= TIME_UNINSTALLED; time++) {
		assert_true(exited_with(child_status(&plain, time, DEED_KILL), CHILD_PLAIN));
		assert_true(killed_by_sigbus(child_status(&dfl, time, DEED_KILL)));
		assert_true(exited_with(child_status(&ign, time, DEED_KILL), CHILD_SURVIVED));
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_map_refuses),
		cmocka_unit_test(test_map_offset_not_on_a_page),
		cmocka_unit_test(test_table_refuses),
		cmocka_unit_test(test_translation_is_exact),
		cmocka_unit_test(test_regions_come_and_go),
		cmocka_unit_test(test_budget),
		cmocka_unit_test(test_regions_have_a_limit),
		cmocka_unit_test(test_every_device_has_its_regions),
		cmocka_unit_test(test_full_table),
		cmocka_unit_test(test_new_regions_overlap_each_other),
		cmocka_unit_test(test_contexts_lose_their_own),
		cmocka_unit_test(test_log_marks_exactly_the_pages),
		cmocka_unit_test(test_truncated_file_is_survived),
		cmocka_unit_test(test_truncated_file_is_survived_without_overcommit),
		cmocka_unit_test(test_other_faults_go_on),
	};

	return UNIT_RUN(tests);
}
