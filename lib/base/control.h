/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * control: who may change things: the control lock of a context.
 *
 * Everything of a context's control plane (devices, ports, plans) belongs to whoever holds it. The control
 * thread holds it from its start on and lets go only while it waits for events (loop.c). A service core that
 * serves control queues tries for it between two of the control thread's turns. Workers never see it.
 */
#ifndef VNICD_CONTROL_H
#define VNICD_CONTROL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

/* Zero-initialised is free. */
struct control {
	pthread_mutex_t mutex;
	/* Set while the control thread waits: a mutex is not fair, and a service core tries again at once. */
	atomic_bool wanted;
};

/* The control thread. Nobody else is let in before it once it waits. */
void control_lock(struct control *control);
void control_unlock(struct control *control);
/* Anybody else: true: the lock is held, for a short time. */
bool control_trylock(struct control *control);

#endif
