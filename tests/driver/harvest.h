/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * harvest: a migration that copies guest memory while the device writes to it: takes the marks of the dirty
 * log and copies the pages they stand for, over and over. At the end, when the device has stopped, the copy
 * has to be the same as the memory.
 *
 * Two ways to come at the worst moment: after every single instruction of the device (the CPU's trap flag),
 * which finds every write that no mark follows; and in a thread of its own, all the time, which finds what
 * CPUs reorder.
 */
#ifndef VNICD_TEST_HARVEST_H
#define VNICD_TEST_HARVEST_H

#include "driver.h"

/* Pages of region 0 that are harvested: what lies in them is all that the device may write to. */
enum { HARVEST_PAGES = 256, HARVEST_PAGE = 4096 };

/* The copy is what memory is now, and no mark stands. One harvest at a time. */
void harvest_start(struct driver_mem *mem);
/* The driver wrote; that is logged elsewhere. No harvest runs. */
void harvest_driver_wrote(void);
/* Between these two, after every instruction of this thread. */
void harvest_step_on(void);
void harvest_step_off(void);
/* A thread that harvests all the time between go and pause; on and off, while it is paused, make and end it.
 */
void harvest_thread_on(void);
void harvest_thread_go(void);
void harvest_thread_pause(void);
void harvest_thread_off(void);
/* The last harvest: the first page that differs from its copy; -1: none. */
int harvest_end(void);

#endif
