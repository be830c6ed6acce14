/* SPDX-License-Identifier: BSD-3-Clause */
/* hub: all frames to all other ports, as QEMU's hub does. Nothing is learnt. */
#include "fwd.h"

static struct fwd_mode hub_mode = {
	.name = "hub",
	.help = "every frame to every other port",
	.forward = fwd_flood,
	.accepts_borrowed = true,
};
FWD_MODE_REGISTER(hub_mode)
