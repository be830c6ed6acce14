/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fwd_config: one line of a forwarding mode's configuration, MODE[,key=value]... (docs/grammar.md), read and
 * checked before anything is opened. The keys are the mode's rows (keys.h), which fill a struct of its own.
 * All of it belongs to the control thread.
 */
#ifndef VNICD_FWD_CONFIG_H
#define VNICD_FWD_CONFIG_H

#include <stddef.h>
#include <stdint.h>

#include "diag.h"

struct fwd_mode;

struct fwd_config {
	const struct fwd_mode *mode;
	void *args;     /* the mode's own struct, of mode->args_size bytes; NULL: it has none */
	uint64_t given; /* bit by row of mode->keys: the line has this key */
};

/* 0, or -errno with diag filled. On success config owns memory: fwd_config_free(). */
int fwd_config_parse(struct fwd_config *config, const char *line, struct diag *diag);
/* Accepts a zeroed one; it is zero after that. */
void fwd_config_free(struct fwd_config *config);

/* Bytes of EAL's memory that the mode's state will take. */
size_t fwd_config_demand(const struct fwd_config *config);

/* The line again; its length, which is `size` or more when it did not fit. */
size_t fwd_config_print(const struct fwd_config *config, char *buf, size_t size);

#endif
