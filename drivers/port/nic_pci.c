/* SPDX-License-Identifier: BSD-3-Clause */
#include "nic_pci.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <rte_common.h>

#include "gmem_sigbus.h"

bool
nic_pci_is_address(const char *text)
{
	unsigned int domain, bus, device, function;
	int len = 0;

	if (sscanf(text, "%x:%x:%x.%x%n", &domain, &bus, &device, &function, &len) == 4 && text[len] == '\0')
		return true;
	return sscanf(text, "%x:%x.%x%n", &bus, &device, &function, &len) == 3 && text[len] == '\0';
}

/* Enter a mapping among those that are replaced when they are lost. */
static void
nic_pci_guard(struct nic_pci *pci, uintptr_t start, uintptr_t end)
{
	struct gmem_map *bar = &pci->bars[pci->n_bars];

	*bar = (struct gmem_map){.base = (uint8_t *)start, .len = end - start, .slot = -1};
	bar->slot = gmem_sigbus_guard(bar);
	pci->n_bars++;
}

void
nic_pci_open(struct nic_pci *pci, const char *address)
{
	char line[PATH_MAX + 128], file[NIC_PCI_ADDRESS_SIZE + 16];
	FILE *maps = fopen("/proc/self/maps", "re");

	pci->n_bars = 0;
	snprintf(pci->address, sizeof(pci->address), "%s", address);
	/* Mapped by way of sysfs (uio); VFIO's registers stay until they are let go. */
	snprintf(file, sizeof(file), "/%s/resource", address);
	while (maps && fgets(line, sizeof(line), maps)) {
		uintptr_t start, end;

		if (pci->n_bars < NIC_PCI_BARS_MAX && strstr(line, file) &&
		    sscanf(line, "%" SCNxPTR "-%" SCNxPTR, &start, &end) == 2)
			nic_pci_guard(pci, start, end);
	}
	if (maps)
		fclose(maps);
}

void
nic_pci_close(struct nic_pci *pci)
{
	for (unsigned int i = 0; i < pci->n_bars; i++)
		gmem_sigbus_unguard(&pci->bars[i]);
	pci->n_bars = 0;
}

void
nic_pci_move(struct nic_pci *to, struct nic_pci *from)
{
	*to = (struct nic_pci){0};
	memcpy(to->address, from->address, sizeof(to->address));
	/* Both guard for a moment: there is none without. */
	for (unsigned int i = 0; i < from->n_bars; i++)
		nic_pci_guard(to, (uintptr_t)from->bars[i].base,
			      (uintptr_t)from->bars[i].base + from->bars[i].len);
	nic_pci_close(from);
}

void
nic_pci_driver(const char *address, char ret_driver[NIC_PCI_DRIVER_SIZE])
{
	/* Those of the last two leave the device to DPDK and keep it. */
	static const char *const names[] = {"uio_pci_generic", "igb_uio", "vfio-pci", "mlx4_core",
					    "mlx5_core"};
	char path[PATH_MAX], target[PATH_MAX];
	const char *name;
	ssize_t len;

	ret_driver[0] = '\0';
	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/driver", address);
	len = readlink(path, target, sizeof(target) - 1);
	if (len <= 0)
		return;
	target[len] = '\0';
	name = strrchr(target, '/');
	name = name ? name + 1 : target;
	/* The link is there while the driver still makes its device. */
	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/uio", address);
	if (strstr(name, "uio") && access(path, F_OK) < 0)
		return;
	for (size_t i = 0; i < RTE_DIM(names); i++)
		if (strcmp(name, names[i]) == 0)
			snprintf(ret_driver, NIC_PCI_DRIVER_SIZE, "%s", names[i]);
}

bool
nic_pci_is_gone(const struct nic_pci *pci)
{
	char path[sizeof("/sys/bus/pci/devices//driver") + NIC_PCI_ADDRESS_SIZE];

	if (!pci->address[0])
		return false;
	for (unsigned int i = 0; i < pci->n_bars; i++)
		if (gmem_map_is_lost(&pci->bars[i]))
			return true;
	/* A device without a driver has none to take it from us: those of old virtio work so. */
	if (pci->n_bars == 0) {
		snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s", pci->address);
		return access(path, F_OK) < 0;
	}
	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/driver", pci->address);
	return access(path, F_OK) < 0;
}
