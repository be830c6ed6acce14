/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * run_dir: the directory of the sockets.
 */
#ifndef VNICD_RUN_DIR_H
#define VNICD_RUN_DIR_H

#include "diag.h"

struct log;
struct perms;

/* Its path; nothing is made yet. NULL with diag filled: there is none. Static storage. */
const char *run_dir_path(struct diag *diag);
/*
 * Make it if it is not there: 0751, of the group of `perms`, if it has one. So everybody reaches the sockets
 * that their own permissions let him use, and only we and that group see which there are, and could lock the
 * directory (usocket.c). One that is there stays as it is. 0 or -errno with diag filled.
 */
int run_dir_open(const struct log *log, const struct perms *perms, struct diag *diag);
/* Remove it, if it is empty and we made it. */
void run_dir_close(void);

#endif
