/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * control: who may change things: the control lock of a context.
 *
 * Everything of a context's control plane (devices, ports, plans) belongs to whoever holds it. The control
 * thread holds it from its start on and releases it only while it waits for events (loop.c). A service core
 * that serves control queues tries to take it then. Workers never take it.
 */
#ifndef VNICD_CONTROL_H
#define VNICD_CONTROL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

/* Zero-initialised is free. */
struct control {
	pthread_mutex_t mutex;
	/* Set while the control thread waits for the mutex, which is not fair: a service core tries again at
	 * once. */
	atomic_bool wanted;
};

/* The control thread. Once it waits, nobody else gets the lock before it. */
void control_lock(struct control *control);
void control_unlock(struct control *control);
/* Anybody else. True: the caller has the lock, and is to release it soon. */
bool control_trylock(struct control *control);

#endif
