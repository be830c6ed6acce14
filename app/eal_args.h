/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * eal_args: the command line that EAL gets, and what of it was picked here. Control thread, before EAL runs.
 */
#ifndef VNICD_EAL_ARGS_H
#define VNICD_EAL_ARGS_H

enum { EAL_ARGS_MAX = 256 };

/* Add an argument of the user's, who keeps it, */
void eal_args_add_given(char *arg);
/* and one of ours. */
void eal_args_add(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* Tell what was picked, for people. */
void eal_args_picked(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* All of it: argc, and argv. What was picked: "" for nothing. */
int eal_args_get(char ***ret_argv);
const char *eal_args_describe(void);

#endif
