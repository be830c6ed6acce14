/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * alloc: counts the allocations of the program under test, and has one of them fail.
 *
 * A program links with alloc.c and with -Wl,--wrap= for each function that is named in alloc_wrapped of
 * meson.build. What the libraries (DPDK, libc) allocate for themselves is neither counted nor failed. One
 * thread at a time.
 */
#ifndef VNICD_TEST_ALLOC_H
#define VNICD_TEST_ALLOC_H

#include <stdbool.h>

enum alloc_failure { ALLOC_FAILS_ONCE, ALLOC_FAILS_ON };
/*
 * The nth allocation (1: the next) that is made while armed fails, and with ALLOC_FAILS_ON all after it do,
 * until alloc_recover().
 */
void alloc_fail_at(unsigned int n, enum alloc_failure how);
/* None fails any more. */
void alloc_recover(void);
/* It came to that. */
bool alloc_has_failed(void);
void alloc_arm(void);
void alloc_disarm(void);
/* Allocations, armed or not, that have not been freed. */
unsigned int alloc_live(void);

#endif
