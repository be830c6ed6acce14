/* SPDX-License-Identifier: BSD-3-Clause */
#include "lend.h"

#include <errno.h>

#include <rte_errno.h>
#include <rte_mbuf_dyn.h>

int
lend_init(void)
{
	static const struct rte_mbuf_dynflag flag = {.name = "vnicd_lent"};

	if (rte_mbuf_dynflag_register_bitnum(&flag, LEND_FLAG_BIT) != LEND_FLAG_BIT)
		return rte_errno ? -rte_errno : -EBUSY;
	return 0;
}
