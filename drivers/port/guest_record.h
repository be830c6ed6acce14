/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * guest_record: what of a guest's device outlives vnicd when that is killed, in the run-time directory:
 *
 *   NAME.state   the driver's settings (state.h), a record that is replaced as a whole
 *   NAME.rings   the queue pairs themselves, mapped: where each stood at the last instruction
 *
 * An orderly end removes both. Without one or the other everything works but the memory of a killed vnicd.
 * Control lock.
 */
#ifndef VNICD_GUEST_RECORD_H
#define VNICD_GUEST_RECORD_H

#include "log.h"
#include "state.h"

struct record;
struct vnet_config;
struct vnet_dev;
struct vnic_ctx;

struct guest_record {
	const char *name; /* of the port */
	struct vnic_ctx *ctx;
	struct record *state, *rings;
	struct vnet_state found;
	bool has_found;
	struct vnet_queue *left; /* NULL: none were found */
	struct log_limit log_limit;
};

/* Open both, and have the device's configuration refer to them. `record` stays until after vnet_fini(). */
void guest_record_open(struct guest_record *record, struct vnic_ctx *ctx, struct vnet_config *config);
/* Give the device what was found. */
void guest_record_restore(struct guest_record *record, struct vnet_dev *dev);
/* Remove them. */
void guest_record_close(struct guest_record *record);

#endif
