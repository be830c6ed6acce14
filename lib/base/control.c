/* SPDX-License-Identifier: BSD-3-Clause */
#include "control.h"

#include <pthread.h>
#include <stdatomic.h>

static pthread_mutex_t control_mutex = PTHREAD_MUTEX_INITIALIZER;
/* Set while the control thread waits: a mutex is not fair, and a service core tries again at once. */
static atomic_bool control_wanted;

void
control_lock(void)
{
	atomic_store_explicit(&control_wanted, true, memory_order_relaxed);
	pthread_mutex_lock(&control_mutex);
	atomic_store_explicit(&control_wanted, false, memory_order_relaxed);
}

void
control_unlock(void)
{
	pthread_mutex_unlock(&control_mutex);
}

bool
control_trylock(void)
{
	if (atomic_load_explicit(&control_wanted, memory_order_relaxed))
		return false;
	return pthread_mutex_trylock(&control_mutex) == 0;
}
