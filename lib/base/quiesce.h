/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * quiesce: how whoever holds the control lock (control.h) waits until no worker can still see something that
 * has been unpublished.
 *
 * The rooms below the EAL do not know what a worker is; the program sets the waiting function (RCU quiescent
 * states) at start. Without one, waiting returns at once: right for a single-threaded test.
 */
#ifndef VNICD_QUIESCE_H
#define VNICD_QUIESCE_H

/* Control thread, before any worker runs. */
void quiesce_set_wait(void (*wait)(void *arg), void *arg);

/*
 * With the control lock; not a worker. On return every worker has passed a point at which it held no
 * reference to anything published, so what was unpublished before the call may be freed.
 *
 * What workers hand over to each other takes three of these to arrive after the last place that it could come
 * from was unpublished: with the first nobody sends it any more; a worker may be past the look at its rings
 * then, and ends that turn with the second; with the third it has looked once more.
 */
void quiesce_wait(void);

#endif
