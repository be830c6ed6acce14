/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * control: who may change things: the control lock.
 *
 * Everything of the control plane (devices, ports, plans) belongs to whoever holds it. The control thread
 * holds it from its start on and lets go only while it waits for events (loop.c). A service core that serves
 * control queues tries for it between two of the control thread's turns. Workers never see it.
 */
#ifndef VNICD_CONTROL_H
#define VNICD_CONTROL_H

#include <stdbool.h>

/* The control thread. Nobody else is let in before it once it waits. */
void control_lock(void);
void control_unlock(void);
/* Anybody else: true: the lock is held, for a short time. */
bool control_trylock(void);

#endif
