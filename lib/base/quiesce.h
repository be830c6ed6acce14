/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * quiesce: how the control thread waits until no worker can still see something it has unpublished.
 *
 * The rooms below the EAL do not know what a worker is; the program sets the waiting function (RCU quiescent
 * states) at start. Without one, waiting returns at once: right for a single-threaded test.
 */
#ifndef VNICD_QUIESCE_H
#define VNICD_QUIESCE_H

/* Control thread, before any worker runs. */
void quiesce_set_wait(void (*wait)(void *arg), void *arg);

/*
 * Control thread. On return every worker has passed a point at which it held no reference to a plan, so what
 * was unpublished before the call may be freed.
 */
void quiesce_wait(void);

#endif
