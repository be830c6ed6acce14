/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * run_dir: the directory of the sockets.
 */
#ifndef VNICD_RUN_DIR_H
#define VNICD_RUN_DIR_H

#include "diag.h"

/* Its path; nothing is made yet. NULL with diag filled: there is none. Static storage. */
const char *run_dir_path(struct diag *diag);
/* Make it (0750) if it is not there. 0 or -errno with diag filled. */
int run_dir_open(struct diag *diag);
/* Remove it, if it is empty and we made it. */
void run_dir_close(void);

#endif
