/* SPDX-License-Identifier: BSD-3-Clause */
/* nic_args: the keys of a nic port, what they mean together, and what EAL is told of a device to make. */
#ifndef VNICD_NIC_ARGS_H
#define VNICD_NIC_ARGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "keys.h"

struct diag;
struct port_config;

enum {
	NIC_VDEV_ARGS_SIZE = 512, /* of what nic_args_vdev() writes */
};

struct nic_args {
	char *dev;
	char *vdev; /* DRIVER[;key=value]... */
	struct key_args vdev_args;
	uint64_t without; /* offloads */
	bool gro, link_polling;
	uint8_t lro;          /* enum nic_lro_mode */
	uint8_t flow_control; /* enum nic_flow_mode */
};

/* Up to an entry without a name. */
extern const struct key nic_args_keys[];

/* Control thread, before the port is opened: struct port_kind's check. It sets config->resource. */
int nic_args_check(struct port_config *config, struct diag *diag);
/*
 * What follows the driver in vdev=, which is given, and vdev.KEY=, as EAL wants them: key=value,... Returns
 * the length, which is that of the whole where it is `size` or more.
 */
size_t nic_args_vdev(const struct nic_args *args, char *buf, size_t size);

#endif
