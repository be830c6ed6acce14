/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * gmem_sigbus: a guest that truncates its memory file, or punches a hole without huge pages to fill it, loses
 * its own port only.
 *
 * The kernel answers an access to the missing page with SIGBUS. The handler replaces the whole mapping by
 * memory of ours, so that the worker goes on with zeroes, marks the mapping as lost and wakes the control
 * thread of its context, which closes the connection. A SIGBUS anywhere else, or from another process, is
 * passed on to the handler that was there before, or has the action that it had.
 *
 * The handler, and the table in which it looks for a mapping, are the process's: a signal has one handler,
 * and an address one mapping. Contexts share them.
 */
#ifndef VNICD_GMEM_SIGBUS_H
#define VNICD_GMEM_SIGBUS_H

#include "gmem.h"

struct vnic_ctx;

/*
 * Mappings in one program: all that all devices may have, and once more what one of them may have, for as
 * long as its old memory table and its new one are both there. So nobody can take another one's.
 */
enum { GMEM_SIGBUS_SLOTS = (GMEM_DEVICES_MAX + 1) * (GMEM_REGIONS_MAX + 1) };

/*
 * The context's mappings (gmem_budget.guard) are guarded from here on; who listens is called on its loop
 * after at least one was lost (find out which with gmem_map_is_lost()). Installs the handler, if this is the
 * first context of the process. 0 or -errno.
 */
int gmem_sigbus_install(struct vnic_ctx *ctx);
/*
 * The context has no mappings any more. With the last context the handler that was there before is back,
 * unless somebody has installed his own since: that one stays, and what it passes on to ours goes to the
 * former handler. Also without gmem_sigbus_install().
 */
void gmem_sigbus_uninstall(struct vnic_ctx *ctx);

/* One listener at most. Not without gmem_sigbus_install(). */
void gmem_sigbus_listen(struct vnic_ctx *ctx, void (*lost)(void *arg), void *arg);

/* For gmem_map: enter and leave the handler's table. Returns a slot, or -1 when the table is full. */
int gmem_sigbus_guard(struct gmem_map *map);
void gmem_sigbus_unguard(struct gmem_map *map);

#endif
