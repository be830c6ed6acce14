/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * notify: what a service manager is told (sd_notify(3): datagrams to $NOTIFY_SOCKET): ready, stopping, and,
 * as long as the control thread goes around its loop, that it does ($WATCHDOG_USEC). Where no manager
 * listens, nothing of it happens. Control thread.
 */
#ifndef VNICD_NOTIFY_H
#define VNICD_NOTIFY_H

#include "diag.h"

struct loop;

/* Everything is served from now on. 0, or -errno with diag filled: no memory for the watchdog's timer. */
int notify_ready(struct loop *loop, struct diag *diag);
/* The end begins; no watchdog any more. Also without notify_ready(). */
void notify_stopping(void);

#endif
