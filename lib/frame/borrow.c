/* SPDX-License-Identifier: BSD-3-Clause */
#include "borrow.h"

#include <errno.h>

#include <rte_errno.h>
#include <rte_mbuf_dyn.h>

int
borrow_init(void)
{
	static const struct rte_mbuf_dynflag flag = {.name = "vnicd_borrowed"};

	if (rte_mbuf_dynflag_register_bitnum(&flag, BORROW_FLAG_BIT) != BORROW_FLAG_BIT)
		return rte_errno ? -rte_errno : -EBUSY;
	return 0;
}
