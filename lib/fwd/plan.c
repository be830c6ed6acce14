/* SPDX-License-Identifier: BSD-3-Clause */
/* plan: what workers know of the ports; built by the control thread, published whole, never edited. */
#include "fwd.h"

#include <errno.h>
#include <stdlib.h>

enum plan_role { PLAN_SERVES, PLAN_LEAVES };

static int
plan_worker_add(struct fwd_plan *plan, const struct port *port, uint16_t idx, struct fwd_visit visit,
		enum plan_role role, struct diag *diag)
{
	struct fwd_worker_plan *worker = &plan->workers[idx];

	if (worker->n_queues + worker->n_leaving >= FWD_WORKER_QUEUES_MAX) {
		diag_set(diag, -ENOSPC, NULL, "port %s: worker %u would serve more than %d queue pairs",
			 port->name, idx, FWD_WORKER_QUEUES_MAX);
		diag_hint(diag, "run more workers (EAL option -l), or give ports fewer queues");
		return -ENOSPC;
	}
	worker->queues[worker->n_queues + worker->n_leaving] = visit;
	if (role == PLAN_SERVES)
		worker->n_queues++;
	else
		worker->n_leaving++;
	return 0;
}

/* The pairs of a port to their owners; of one that was never published none has any. */
static int
plan_add(struct fwd_plan *plan, struct port *port, enum plan_role role, struct diag *diag)
{
	for (uint16_t q = 0; q < port->n_queues; q++) {
		struct port_rxq *rxq = &port->rxqs[q];
		struct port_txq *txq = &port->txqs[q];
		struct fwd_visit visit = {rxq, txq};
		int ret = 0;

		if (rxq->worker != txq->worker) {
			visit.rxq = &port_rxq_none;
			if (txq->worker != UINT16_MAX)
				ret = plan_worker_add(plan, port, txq->worker, visit, role, diag);
			if (ret < 0)
				return ret;
			visit = (struct fwd_visit){rxq, &port_txq_none};
		}
		if (rxq->worker != UINT16_MAX)
			ret = plan_worker_add(plan, port, rxq->worker, visit, role, diag);
		if (ret < 0)
			return ret;
	}
	return 0;
}

/*
 * Pair i of two neighbouring ports goes to the same worker, so that traffic between them needs no ring. A
 * queue keeps its owner for life: moving it would need the old owner to stop first.
 */
static void
plan_assign(struct port *port, unsigned int position, unsigned int n_workers)
{
	for (uint16_t q = 0; q < port->n_queues; q++) {
		uint16_t worker = (uint16_t)((position / 2 + q) % n_workers);

		if (port->rxqs[q].worker == UINT16_MAX)
			port->rxqs[q].worker = worker;
		if (port->txqs[q].worker == UINT16_MAX)
			port->txqs[q].worker = worker;
	}
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
		ret = plan_add(plan, port, PLAN_SERVES, diag);
		if (ret < 0)
			return ret;
	}
	for (unsigned int i = 0; i + 1 < plan->n_ports; i += 2) {
		plan->peer_by_id[plan->ports[i]->id] = plan->ports[i + 1];
		plan->peer_by_id[plan->ports[i + 1]->id] = plan->ports[i];
	}
	if (!leaving)
		return 0;
	plan->leaving = leaving;
	plan->port_by_id[leaving->id] = leaving;
	return plan_add(plan, leaving, PLAN_LEAVES, diag);
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
		diag_no_memory(diag, "plan: no memory");
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
