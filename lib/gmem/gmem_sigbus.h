/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * gmem_sigbus: handles SIGBUS, so that a guest that truncates its memory file, or punches a hole without huge
 * pages to fill it, loses its own connection only.
 *
 * The kernel sends SIGBUS when the missing page is accessed. The handler replaces the whole mapping by zeroed
 * memory of this process, so that the worker goes on, marks the mapping as lost, and wakes the control thread
 * of its context, which closes the connection. Any other SIGBUS is passed on to the handler that was
 * installed before, or has the action that was set before.
 *
 * Contexts share the handler and the table of mappings, for both are of the process.
 */
#ifndef VNICD_GMEM_SIGBUS_H
#define VNICD_GMEM_SIGBUS_H

#include "gmem.h"

struct vnic_ctx;

/*
 * Mappings in one process: those of all devices, and once more those of one device, which has its old and its
 * new memory table mapped for a moment; and the registers of PCI devices. So no device can use up what others
 * need.
 */
enum {
	GMEM_SIGBUS_REGISTERS = 256,
	GMEM_SIGBUS_SLOTS = (GMEM_DEVICES_MAX + 1) * (GMEM_REGIONS_MAX + 1) + GMEM_SIGBUS_REGISTERS,
};

/*
 * Make ctx->guard, which guards the context's mappings (gmem_budget.guard). Its listener is called by the
 * context's loop after at least one was lost (which one: gmem_map_is_lost()). Installs the handler, if this
 * is the first context of the process. 0 or -errno.
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

/*
 * For gmem_map, and for who has mapped something else that may be lost (base and len; guard is NULL): enter and
 * leave the handler's table. Returns the slot, or -1 when the table is full.
 */
int gmem_sigbus_guard(struct gmem_map *map);
void gmem_sigbus_unguard(struct gmem_map *map);

#endif
