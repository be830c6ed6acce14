/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * config_apply: what runs, as a configuration file; and what runs made into what another file says. Control
 * thread.
 */
#ifndef VNICD_CONFIG_APPLY_H
#define VNICD_CONFIG_APPLY_H

#include <stdbool.h>

#include <jansson.h>

#include "diag.h"

struct options;

/* What the program was started with; it stays the caller's. */
void config_apply_open(const struct options *options);

/* The file that would start what runs now, ports and mirrors as they are: for free(); NULL: no memory. */
char *config_text(void);

/*
 * Change ports and mirrors to those of a file, all of them, or none: what can't be done is undone. A port whose
 * line says the same is not touched; one where only keys differ that can change while it is open stays open.
 * `is_dry`: only say what would be done; that it can be done is not tried. *ret_changes: in the order they are
 * done, {"what": "port" or "mirror", "name", "action": "remove", "add", "set" or "replace", "line"}; a new
 * reference. 0, or -errno with diag filled.
 */
int config_apply(const char *text, bool is_dry, json_t **ret_changes, struct diag *diag);

#endif
