/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * nic_stats: the counters of the device, and of those that were unplugged from the port before it. Control
 * thread.
 */
#ifndef VNICD_NIC_STATS_H
#define VNICD_NIC_STATS_H

struct nic;
struct port_device_stats;

/* Look at the device's counters, which go with it. */
void nic_stats_read(struct nic *nic);
/* Of this device, as last read, and of those before it. */
struct port_device_stats nic_stats_all(const struct nic *nic);
/* The device is gone: what was last read is kept. */
void nic_stats_lose(struct nic *nic);

#endif
