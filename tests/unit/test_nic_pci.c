/* SPDX-License-Identifier: BSD-3-Clause */
/* test_nic_pci: registers that go away under their PMD, and the names of devices. */
#include "unit.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ctx.h"
#include "gmem_sigbus.h"
#include "nic_pci.h"

/* No machine has it. */
#define ADDRESS "7fff:fe:1f.7"

static struct vnic_ctx ctx;

static void
test_addresses(void **state)
{
	static const struct {
		const char *text;
		bool is;
	} row[] = {{"0000:03:00.0", true},   {"03:00.0", true},  {"net_tap0", false},
		   {"0000:03:00.0g", false}, {"0000:03", false}, {"", false}};

	for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++)
		assert_int_equal(nic_pci_is_address(row[i].text), row[i].is);
}

static void
test_none(void **state)
{
	struct nic_pci pci = {0};
	char driver[NIC_PCI_DRIVER_SIZE];

	assert_false(nic_pci_is_gone(&pci));
	nic_pci_open(&pci, ADDRESS);
	assert_int_equal(pci.n_bars, 0);
	assert_true(nic_pci_is_gone(&pci));
	nic_pci_driver(ADDRESS, driver);
	assert_string_equal(driver, "");
	nic_pci_close(&pci);
}

/* A file in the place of sysfs's, which is truncated: what is mapped of it is SIGBUS. */
static void
test_registers_go(void **state)
{
	char top[] = "/tmp/test_nic_pci.XXXXXX", dir[128], path[160];
	const size_t len = (size_t)getpagesize() * 2;
	struct nic_pci pci = {0}, moved;
	volatile uint32_t *bar;
	int fd;

	/* Here, for the runner of tests has a handler of its own. */
	assert_int_equal(ctx_open(&ctx), 0);
	assert_int_equal(gmem_sigbus_install(&ctx), 0);
	assert_non_null(mkdtemp(top));
	snprintf(dir, sizeof(dir), "%s/" ADDRESS, top);
	snprintf(path, sizeof(path), "%s/resource0", dir);
	assert_int_equal(mkdir(dir, 0700), 0);
	fd = open(path, O_RDWR | O_CREAT, 0600);
	assert_true(fd >= 0 && ftruncate(fd, (off_t)len) == 0);
	bar = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_true(bar != MAP_FAILED);
	bar[1] = 0x12345678;
	nic_pci_open(&pci, ADDRESS);
	assert_int_equal(pci.n_bars, 1);
	assert_int_equal(bar[1], 0x12345678);
	/* Who drops the device looks after its registers from now on. */
	nic_pci_move(&moved, &pci);
	assert_int_equal(pci.n_bars, 0);
	assert_int_equal(moved.n_bars, 1);
	assert_int_equal(ftruncate(fd, 0), 0);
	assert_false(gmem_map_is_lost(&moved.bars[0]));
	assert_int_equal(bar[1], 0);
	bar[len / sizeof(*bar) - 1] = 7;
	assert_int_equal(bar[len / sizeof(*bar) - 1], 7);
	assert_true(gmem_map_is_lost(&moved.bars[0]));
	assert_true(nic_pci_is_gone(&moved));
	nic_pci_close(&moved);
	munmap((void *)(uintptr_t)bar, len);
	close(fd);
	unlink(path);
	rmdir(dir);
	rmdir(top);
	gmem_sigbus_uninstall(&ctx);
	ctx_close(&ctx);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_addresses),
		cmocka_unit_test(test_none),
		cmocka_unit_test(test_registers_go),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
