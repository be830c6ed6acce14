/* SPDX-License-Identifier: BSD-3-Clause */
/* nic_describe: the line that says what a nic port is now (port->describe). Control thread. */
#ifndef VNICD_NIC_DESCRIBE_H
#define VNICD_NIC_DESCRIBE_H

struct nic;
struct port;
struct port_config;

/* After the port was opened, and whenever its device is gone or is back. */
void nic_describe(const struct nic *nic, struct port *port, const struct port_config *config);

#endif
