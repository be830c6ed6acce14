/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * service: the program's rte_service component "vnicd_control", which serves the guests' control queues.
 *
 * On service lcores where EAL was given some (-s, -S), over and over; else on the control thread's own lcore,
 * whenever a driver kicks.
 */
#ifndef VNICD_SERVICE_H
#define VNICD_SERVICE_H

#include "diag.h"

/* After EAL, before the first port. 0 or -errno with diag filled. */
int service_open(struct diag *diag);
/* After the last port. Also without service_open(). */
void service_close(void);

/* Service lcores that serve; 0: the control thread does. */
unsigned int service_n_lcores(void);
/* Who serves: "the control thread", "service lcore 2", "service lcores 2, 3". Static storage. */
const char *service_describe(void);

#endif
