/* SPDX-License-Identifier: BSD-3-Clause */
/* plan: what workers know of the ports; built by the control thread, published whole, never edited. */
#include "fwd.h"

#include <errno.h>
#include <stdlib.h>

static int
plan_worker_add(struct fwd_plan *plan, struct port_queue *queue, uint16_t *n, struct diag *diag)
{
	struct fwd_worker_plan *worker = &plan->workers[queue->worker];

	if (worker->n_queues + worker->n_leaving >= FWD_WORKER_QUEUES_MAX) {
		diag_set(diag, -ENOSPC, NULL, "port %s: worker %u would serve more than %d queue pairs",
			 queue->port->name, queue->worker, FWD_WORKER_QUEUES_MAX);
		diag_hint(diag, "run more workers (EAL option -l), or give ports fewer queues");
		return -ENOSPC;
	}
	worker->queues[worker->n_queues + worker->n_leaving] = queue;
	(*n)++;
	return 0;
}

/*
 * Pair i of two neighbouring ports goes to the same worker, so that traffic between them needs no ring. A
 * pair keeps its owner for life: moving it would need the old owner to stop first.
 */
static void
plan_assign(struct port *port, unsigned int position, unsigned int n_workers)
{
	for (uint16_t q = 0; q < port->n_queues; q++)
		if (port->queues[q].worker == UINT16_MAX)
			port->queues[q].worker = (uint16_t)((position / 2 + q) % n_workers);
}

static int
plan_fill(struct fwd_plan *plan, struct port *const ports[], unsigned int n_ports, struct port *leaving,
	  struct diag *diag)
{
	int ret;

	for (unsigned int i = 0; i < n_ports; i++) {
		struct port *port = ports[i];

		if (port == leaving)
			continue;
		plan->ports[plan->n_ports] = port;
		plan->port_by_id[port->id] = port;
		plan_assign(port, plan->n_ports, plan->n_workers);
		plan->n_ports++;
		for (uint16_t q = 0; q < port->n_queues; q++) {
			struct port_queue *queue = &port->queues[q];

			ret = plan_worker_add(plan, queue, &plan->workers[queue->worker].n_queues, diag);
			if (ret < 0)
				return ret;
		}
	}
	for (unsigned int i = 0; i + 1 < plan->n_ports; i += 2) {
		plan->peer_by_id[plan->ports[i]->id] = plan->ports[i + 1];
		plan->peer_by_id[plan->ports[i + 1]->id] = plan->ports[i];
	}
	if (!leaving)
		return 0;
	plan->leaving = leaving;
	plan->port_by_id[leaving->id] = leaving;
	for (uint16_t q = 0; q < leaving->n_queues; q++) {
		struct port_queue *queue = &leaving->queues[q];

		/* Never published: no worker has anything to finish for it. */
		if (queue->worker == UINT16_MAX)
			continue;
		ret = plan_worker_add(plan, queue, &plan->workers[queue->worker].n_leaving, diag);
		if (ret < 0)
			return ret;
	}
	return 0;
}

struct fwd_plan *
fwd_plan_build(const struct fwd_mode *mode, void *mode_state, struct port *const ports[],
	       unsigned int n_ports, struct port *leaving, unsigned int n_workers, struct diag *diag)
{
	static uint64_t serial; /* of the latest plan; the control thread's */
	struct fwd_plan *plan;

	if (n_workers < 1 || n_workers > FWD_WORKERS_MAX || n_ports > PORT_MAX) {
		diag_set(diag, -EINVAL, NULL, "plan: %u ports on %u workers", n_ports, n_workers);
		diag_hint(diag, "at most %d ports, 1..%d workers", PORT_MAX, FWD_WORKERS_MAX);
		return NULL;
	}
	plan = calloc(1, sizeof(*plan) + n_workers * sizeof(plan->workers[0]));
	if (!plan) {
		diag_set(diag, -ENOMEM, NULL, "plan: no memory");
		return NULL;
	}
	plan->serial = ++serial;
	plan->mode = mode;
	plan->mode_state = mode_state;
	plan->n_workers = (uint16_t)n_workers;
	if (plan_fill(plan, ports, n_ports, leaving, diag) < 0 ||
	    (mode->check && mode->check(plan->n_ports, diag) < 0)) {
		fwd_plan_free(plan);
		return NULL;
	}
	return plan;
}

void
fwd_plan_free(struct fwd_plan *plan)
{
	free(plan);
}
