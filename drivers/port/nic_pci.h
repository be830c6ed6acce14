/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * nic_pci: the PCI device behind an ethdev: whether it is there, and its registers, which go with it.
 *
 * A PMD's registers are mapped (BARs). When the card is unplugged, some kernels leave the pages, and reads
 * are all ones; others take them away, and the next access is SIGBUS, in whatever thread. So they are guarded
 * as guest memory is (gmem_sigbus.h): zeroes come in their place, and the PMD goes on until the control
 * thread has found out.
 */
#ifndef VNICD_NIC_PCI_H
#define VNICD_NIC_PCI_H

#include <stdbool.h>
#include <stddef.h>

#include "gmem_map.h"

enum { NIC_PCI_BARS_MAX = 6, NIC_PCI_ADDRESS_SIZE = 16, NIC_PCI_DRIVER_SIZE = 32 };

/* Zero-initialised: closed. */
struct nic_pci {
	char address[NIC_PCI_ADDRESS_SIZE]; /* "0000:03:00.0"; "": it is no PCI device */
	unsigned int n_bars;
	struct gmem_map bars[NIC_PCI_BARS_MAX];
};

/* "0000:03:00.0" or "03:00.0" */
bool nic_pci_is_address(const char *text);

/* Control thread. Guard what this process has mapped of the device; before a worker touches it. */
void nic_pci_open(struct nic_pci *pci, const char *address);
/* The device is closed, and nobody touches it any more. */
void nic_pci_close(struct nic_pci *pci);

/* The guarding of registers goes over to *to, which is closed. */
void nic_pci_move(struct nic_pci *to, struct nic_pci *from);

/* It has been unplugged, or taken away from the driver that we use. */
bool nic_pci_is_gone(const struct nic_pci *pci);
/* The kernel's driver that the device at an address is bound to, if it leaves the device to DPDK; else "". */
void nic_pci_driver(const char *address, char ret_driver[NIC_PCI_DRIVER_SIZE]);

#endif
