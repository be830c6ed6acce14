/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * eal_dir: the directory that EAL makes for each process and leaves behind.
 */
#ifndef VNICD_EAL_DIR_H
#define VNICD_EAL_DIR_H

struct options;

/* Before EAL starts: find out what is there already, and remove what killed processes of ours left. */
void eal_dir_look(const struct options *options);
/* Remove what is empty and was not there before. Runs after EAL's own exit handlers, which remove its socket.
 */
void eal_dir_remove(void);
/* The same while EAL still runs: its socket too. */
void eal_dir_abandon(void);

#endif
