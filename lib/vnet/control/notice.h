/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * notice: problems between a guest and its front-end that neither of them reports: memory that is not
 * shared, settings of the port that can't reach the driver. Each is shown while it lasts, and logged once a
 * connection.
 */
#ifndef VNICD_NOTICE_H
#define VNICD_NOTICE_H

#include <stdbool.h>
#include <stdint.h>

struct show;
struct vnet_dev;

/* What was seen of a guest since its front-end connected; zero-initialised is nothing. */
struct vnet_notices {
	uint64_t connection;        /* vdev.n_disconnects: another one, and all of this is void */
	uint64_t kicks;             /* of pair 0 when it began */
	unsigned int logged;        /* bits: enum vnet_notice */
	bool memory_works;          /* something that the driver wrote has been seen */
	uint8_t n_absent, n_unseen; /* looks in a row that found no memory; kicks and nothing written */
};

/* Control lock. About every second. */
void vnet_notices_look(struct vnet_notices *notices, const struct vnet_dev *dev);
/* The list of those that hold now. */
void vnet_notices_show(const struct vnet_notices *notices, const struct vnet_dev *dev,
		       const struct show *show);
/* The driver can't be told of its link's state; NULL: it is, or there is nobody to tell. */
const char *vnet_notice_of_link(const struct vnet_dev *dev);

#endif
