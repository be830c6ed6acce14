/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * nic_device: the ethdev of a device: found, made, given up, and made again.
 *
 * Closing an ethdev gives it up for good, and only plugging its device again makes a new one. So devices that
 * ports have closed are remembered, and a NIC that was removed as a port can be added again. Control thread.
 */
#ifndef VNICD_NIC_DEVICE_H
#define VNICD_NIC_DEVICE_H

#include <stdbool.h>
#include <stdint.h>

#include <rte_dev.h>

#include "diag.h"

struct loop;
struct nic_pci;

/* One that a port has closed. */
struct nic_device;

/* The ethdev of a name; makes one of a device that was closed, or that came after the program started. 0, or
 * -errno; -EAGAIN: it is being dropped. */
int nic_device_find(const char *dev_name, uint16_t *ret_eth_id);
/* What a person can do about a device that is not there. */
void nic_device_hint(const char *dev_name, struct diag *diag);

/* Stop and close an ethdev that no worker uses, whose device stays. */
void nic_device_close(uint16_t eth_id, const char *dev_name, const struct rte_device *device);
/*
 * The same for a device that was unplugged, or has to be let go, and goes too. PMDs wait for registers that
 * do not answer any more, e1000's for many seconds; so a thread closes it, and the loop does the rest. Takes
 * over *pci, which is empty then. NULL, and done at once, without the memory for that. What is returned is
 * valid until it is dropped and the device of the name is found again.
 */
struct nic_device *nic_device_drop(struct loop *loop, uint16_t eth_id, const char *dev_name,
				   const struct rte_device *device, struct nic_pci *pci);
bool nic_device_is_dropped(const struct nic_device *device);
/* Wait for all of them. */
void nic_device_settle(void);

#endif
