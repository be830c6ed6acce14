/* SPDX-License-Identifier: BSD-3-Clause */
#include "request.h"

#include <errno.h>

#include <rte_errno.h>
#include <rte_mbuf_dyn.h>

int
request_init(void)
{
	static const struct rte_mbuf_dynflag flag = {.name = "vnicd_ufo"};

	if (rte_mbuf_dynflag_register_bitnum(&flag, FRAME_UFO_BIT) != FRAME_UFO_BIT)
		return rte_errno ? -rte_errno : -EBUSY;
	return 0;
}
