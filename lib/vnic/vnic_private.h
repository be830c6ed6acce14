/* SPDX-License-Identifier: BSD-3-Clause */
/* vnic_private: what is behind the handles of vnic.h. */
#ifndef VNICD_VNIC_PRIVATE_H
#define VNICD_VNIC_PRIVATE_H

#include <pthread.h>

#include "ctx.h"
#include "diag.h"
#include "port.h"
#include "transport.h"
#include "vnic.h"
#include "vnet_dev.h"

/*
 * While `n` is odd, the queue's thread is in one of its data functions, and may see what was published. The
 * thread writes it; control functions read it, and wait (section_wait_all()).
 */
struct vnic_section {
	_Atomic uint32_t n;
} __rte_cache_aligned;

struct vnic_home;

struct vnic_dev {
	struct vnic_dev *next; /* of the context */
	struct vnic_home *home;
	bool fences;                  /* the home's, for data functions */
	uint64_t foreign_flags;       /* the home's, for data functions */
	struct vnic_section *rx, *tx; /* [port.n_queues] */
	struct port port;
	struct vnet_dev vnet;
	const struct transport_ops *transport_ops;
	struct transport *transport;
	bool has_vnet;

	/* As last reported by events. */
	struct {
		bool connected, started;
		uint16_t n_queues;
		uint64_t n_disconnects, n_faults;
		uint8_t *faults; /* [virtqueues] */
	} reported;
	void (*event)(void *arg, struct vnic_dev *dev, const struct vnic_event *event);
	void *event_arg;
};

/* A context with what the API keeps of it. */
struct vnic_home {
	struct vnic_ctx ctx; /* the first: the handle */
	struct vnic_dev *devices;
	uint64_t memory_max;
	bool running; /* a thread is in vnic_ctx_run(): */
	pthread_t runner;
	/* The device whose `event` the runner is in, without the lock; NULL: none. */
	const struct vnic_dev *reporting;
	/* The kernel has no membarrier: data functions execute a fence of their own. */
	bool fences;
	/* Of ol_flags, those of the library's bits that the program uses otherwise: they are cleared in
	 * frames to guests. BORROW_FLAG, BORROW_PIECES_FLAG (borrow.h): nothing is borrowed; FRAME_UFO
	 * (request.h): that is not offered, anyway. */
	uint64_t foreign_flags;
	/* The program's log. */
	void (*log)(void *arg, enum vnic_log_level level, const char *text);
	void *log_arg;
	char log_prefix[32];
};

static inline struct vnic_home *
home_of(struct vnic_ctx *ctx)
{
	return (struct vnic_home *)ctx;
}

void home_lock(struct vnic_home *home);
void home_unlock(struct vnic_home *home);
/* Copy `diag` to *error, if that is not NULL; returns err. */
int error_set(struct vnic_error *error, const struct diag *diag, int err);

/* The next event that was not reported yet; counts as reported from now on. False: there is none. */
bool device_news(struct vnic_dev *dev, struct vnic_event *ret_event);
/* With the lock. */
void device_close(struct vnic_dev *dev);

static inline void
section_enter(struct vnic_section *section, bool fences)
{
	atomic_store_explicit(&section->n, atomic_load_explicit(&section->n, memory_order_relaxed) + 1,
			      memory_order_relaxed);
	/* If section_wait_all() finds this section not entered after its membarrier, this thread sees from
	 * here on what was published before. */
	atomic_signal_fence(memory_order_seq_cst);
	if (unlikely(fences))
		atomic_thread_fence(memory_order_seq_cst);
}

static inline void
section_leave(struct vnic_section *section)
{
	/* Release: pairs with the acquire of section_wait(), which then sees all that this thread did. */
	atomic_store_explicit(&section->n, atomic_load_explicit(&section->n, memory_order_relaxed) + 1,
			      memory_order_release);
}

static inline bool
section_is_entered(const struct vnic_section *section)
{
	return atomic_load_explicit(&section->n, memory_order_relaxed) & 1;
}

#endif
