/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * nic_setup: the ethdev of a nic port: found or made, configured, given queues and buffers, started; and
 * stopped. Control thread.
 */
#ifndef VNICD_NIC_SETUP_H
#define VNICD_NIC_SETUP_H

struct diag;
struct nic;
struct port;
struct port_config;
struct port_demand;

/* struct port_kind's demand. */
void nic_setup_demand(const struct port_config *config, struct port_demand *ret_demand);

/*
 * Everything up to a device that runs, and the port's address. `report` is called with `nic` and a set of
 * enum nic_event, by the loop. 0 or -errno. On failure nic_setup_close() is due.
 */
int nic_setup_open(struct nic *nic, struct port *port, const struct port_config *config,
		   void (*report)(void *arg, unsigned int events), struct diag *diag);

enum nic_device_fate { NIC_DEVICE_STAYS, NIC_DEVICE_GOES };

/* No worker uses the device. Fine at any stage of opening it. The mempools stay. */
void nic_setup_close(struct nic *nic, enum nic_device_fate fate);
/* After that: the mempools, of which frames may still be in use, are released. */
void nic_setup_release_pools(struct nic *nic);

#endif
