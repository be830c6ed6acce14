/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * nic_presence: a device that comes and goes. A card that is unplugged leaves its port without a link; once
 * it is back, the port has it again. Control thread.
 */
#ifndef VNICD_NIC_PRESENCE_H
#define VNICD_NIC_PRESENCE_H

struct nic;

/* What its interrupts, its bus or the kernel report: nic_setup_open()'s `report`, of a struct nic. */
void nic_presence_report(void *arg, unsigned int events);
/* Look for the card from now on, if it is one, and there is a loop. The device runs. 0 or -ENOMEM. */
int nic_presence_open(struct nic *nic);
/* Accepts one that is not open. */
void nic_presence_close(struct nic *nic);

#endif
