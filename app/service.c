/* SPDX-License-Identifier: BSD-3-Clause */
#include "service.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include <rte_launch.h>
#include <rte_lcore.h>
#include <rte_pause.h>
#include <rte_service.h>
#include <rte_service_component.h>

#include "controlq.h"
#include "ctx.h"
#include "dataplane.h"

static struct {
	uint32_t id;
	bool registered;
	uint32_t lcores[RTE_MAX_LCORE];
	unsigned int n_lcores;
} service;

/* On the control thread the lock is held already; anybody else gets it when the control thread waits. */
static int32_t
service_run(void *arg)
{
	unsigned int n;

	if (rte_lcore_id() == rte_get_main_lcore())
		return controlq_serve_all(dataplane_ctx()) ? 0 : -EAGAIN;
	if (!control_trylock(&dataplane_ctx()->control))
		return -EAGAIN;
	n = controlq_serve_all(dataplane_ctx());
	control_unlock(&dataplane_ctx()->control);
	return n ? 0 : -EAGAIN;
}

static void
service_wake(void)
{
	rte_service_run_iter_on_app_lcore(service.id, 1);
}

/* EAL takes any number after -S and -s; one that is no lcore besides has no thread to run on. */
static int
service_check_lcores(struct diag *diag)
{
	for (unsigned int i = 0; i < service.n_lcores; i++)
		if (rte_lcore_index((int)service.lcores[i]) < 0)
			return diag_set(diag, -EINVAL, "-l or --lcores names it too",
					"service lcore %u is not among the lcores", service.lcores[i]);
	return 0;
}

static int
service_map(struct diag *diag)
{
	int ret = 0;

	for (unsigned int i = 0; i < service.n_lcores && ret == 0; i++) {
		ret = rte_service_map_lcore_set(service.id, service.lcores[i], 1);
		if (ret == 0)
			ret = rte_service_lcore_start(service.lcores[i]);
		if (ret == -EALREADY)
			ret = 0;
	}
	return ret < 0 ? diag_set(diag, ret, "leave the EAL options -s and -S out",
				  "control service: a service lcore does not start: %s", strerror(-ret))
		       : 0;
}

int
service_open(struct diag *diag)
{
	struct rte_service_spec spec = {.name = "vnicd_control", .callback = service_run};
	int32_t n = rte_service_lcore_list(service.lcores, RTE_DIM(service.lcores));
	int ret;

	service.n_lcores = n > 0 ? (unsigned int)n : 0;
	ret = service_check_lcores(diag);
	if (ret < 0)
		return ret;
	ret = rte_service_component_register(&spec, &service.id);
	if (ret < 0)
		return diag_set(diag, ret, NULL, "control service: %s", strerror(-ret));
	service.registered = true;
	/* Without a service lcore it runs on the control thread's, which is not mapped to it. */
	rte_service_set_runstate_mapped_check(service.id, service.n_lcores > 0);
	rte_service_component_runstate_set(service.id, 1);
	rte_service_runstate_set(service.id, 1);
	if (controlq_set_mode(dataplane_ctx(), service.n_lcores ? CONTROLQ_POLLED : CONTROLQ_BY_KICK,
			      service_wake) < 0)
		return diag_no_memory(diag, "no memory for the control queues");
	return service_map(diag);
}

/* The service is no lcore's any more; they stop unless they run others (of some PMD), and none is in ours. */
static void
service_unmap(void)
{
	for (unsigned int i = 0; i < service.n_lcores; i++) {
		uint32_t lcore = service.lcores[i];
		int ret;

		rte_service_map_lcore_set(service.id, lcore, 0);
		ret = rte_service_lcore_stop(lcore);
		/* Stopping is a request: an lcore that is in the middle of an iteration ends it first. */
		if (ret == 0 || ret == -EALREADY)
			rte_eal_wait_lcore(lcore);
	}
	while (rte_service_may_be_active(service.id) == 1)
		rte_pause();
}

void
service_close(void)
{
	if (!service.registered)
		return;
	rte_service_runstate_set(service.id, 0);
	service_unmap();
	rte_service_component_runstate_set(service.id, 0);
	rte_service_component_unregister(service.id);
	controlq_set_mode(dataplane_ctx(), CONTROLQ_BY_KICK, NULL);
	service.registered = false;
	service.n_lcores = 0;
}

unsigned int
service_n_lcores(void)
{
	return service.n_lcores;
}

const char *
service_describe(void)
{
	static char text[256];
	size_t len;

	if (service.n_lcores == 0)
		return "the control thread";
	len = (size_t)snprintf(text, sizeof(text), "service lcore%s", service.n_lcores == 1 ? "" : "s");
	for (unsigned int i = 0; i < service.n_lcores && len < sizeof(text); i++)
		len += (size_t)snprintf(text + len, sizeof(text) - len, "%s %u", i ? "," : "",
					service.lcores[i]);
	return text;
}
