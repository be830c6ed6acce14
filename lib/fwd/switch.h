/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * switch: the private half of the learning bridge, for its unit test: a table of any size and a clock that
 * the caller turns. All of it belongs to the control thread.
 */
#ifndef VNICD_SWITCH_H
#define VNICD_SWITCH_H

#include <stdint.h>

#include <rte_ether.h>

#include "diag.h"

enum {
	SWITCH_ENTRIES = 16384, /* addresses that the bridge learns, by default */
	SWITCH_AGEING_S = 300,  /* an address not seen for longer is forgotten, by default */
};

/* Like the mode's open, for n_entries addresses. */
int switch_open_sized(void **ret_state, uint32_t n_entries, struct diag *diag);
void switch_set_ageing_s(void *state, uint32_t ageing_s);
/* Like the mode's tick, at a given time on the clock of fwd_worker.now_s. */
void switch_tick_at(void *state, uint32_t now_s);
/* The number of addresses known. */
uint32_t switch_count(const void *state);
/* The number of addresses that workers have told of and no tick has taken yet. */
unsigned int switch_waiting(const void *state);
/* The id of the port that an address is behind; -1: not known. */
int switch_find(const void *state, const struct rte_ether_addr *mac);

#endif
