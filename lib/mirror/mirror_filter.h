/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * mirror_filter: which frames an expression of pcap-filter(7) means: compiled by libpcap, checked, and run by
 * DPDK's BPF (as machine code where that is possible).
 */
#ifndef VNICD_MIRROR_FILTER_H
#define VNICD_MIRROR_FILTER_H

#include <stdbool.h>

#include <rte_mbuf.h>

#include "diag.h"

struct mirror_filter;

/* Control thread. 0, or -EINVAL or -ENOMEM with diag filled; `object` begins the cause. */
int mirror_filter_open(struct mirror_filter **ret_filter, const char *expression, const char *object,
		       struct diag *diag);
/* No worker uses it any more. Accepts NULL. */
void mirror_filter_close(struct mirror_filter *filter);

/* Any worker, before mirror_filter_wants(). A borrowed frame is materialised where the expression may look
 * behind its head (borrow.h). False: there are no packet buffers for that. */
bool mirror_filter_prepare(const struct mirror_filter *filter, struct rte_mbuf *pkt);
/* Any worker. */
bool mirror_filter_wants(const struct mirror_filter *filter, struct rte_mbuf *pkt);

#endif
