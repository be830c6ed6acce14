/* SPDX-License-Identifier: BSD-3-Clause */
#include "ctx.h"

#include <errno.h>
#include <stdlib.h>

#include "loop.h"

int
ctx_open(struct vnic_ctx *ctx)
{
	ctx->loop = loop_open(&ctx->control);
	return ctx->loop ? 0 : -errno;
}

void
ctx_close(struct vnic_ctx *ctx)
{
	loop_close(ctx->loop);
	ctx->loop = NULL;
	free(ctx->controlqs);
	ctx->controlqs = NULL;
}
