/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * watch_ports: looks at all ports now and then, for what changes without anybody saying so: links, and the
 * number of stations. Makes events of it (events.h). Control thread.
 */
#ifndef VNICD_WATCH_PORTS_H
#define VNICD_WATCH_PORTS_H

/* After dataplane_open(). 0 or -ENOMEM. */
int watch_ports_open(void);
/* Before dataplane_close(). Also without watch_ports_open(). */
void watch_ports_close(void);

#endif
