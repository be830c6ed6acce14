/* SPDX-License-Identifier: BSD-3-Clause */
#include "control.h"

void
control_lock(struct control *control)
{
	atomic_store_explicit(&control->wanted, true, memory_order_relaxed);
	pthread_mutex_lock(&control->mutex);
	atomic_store_explicit(&control->wanted, false, memory_order_relaxed);
}

void
control_unlock(struct control *control)
{
	pthread_mutex_unlock(&control->mutex);
}

bool
control_trylock(struct control *control)
{
	if (atomic_load_explicit(&control->wanted, memory_order_relaxed))
		return false;
	return pthread_mutex_trylock(&control->mutex) == 0;
}
