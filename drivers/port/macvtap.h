/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * macvtap: an interface over another one, for all of the traffic of that (mode passthru), and a character
 * device through which its frames come and go as those of a tap. Control thread.
 */
#ifndef VNICD_MACVTAP_H
#define VNICD_MACVTAP_H

#include <net/if.h>
#include <stdint.h>

struct macvtap {
	unsigned int if_index; /* 0: not made. Its name may change */
	char node[64];         /* a device node of our own; "": there is one in /dev */
};

/* Make it over the interface of the number `lower`, and set it up. 0, or -1 with errno set and nothing left
 * behind. */
int macvtap_make(struct macvtap *macvtap, unsigned int lower, const char *ifname, uint16_t n_queues);
/* A queue of it: a descriptor that does not block, or -1 with errno set. */
int macvtap_open(struct macvtap *macvtap);
/* Accepts one that is all zero. */
void macvtap_remove(struct macvtap *macvtap);

#endif
