/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * hugepages: what of them is free.
 */
#ifndef VNICD_HUGEPAGES_H
#define VNICD_HUGEPAGES_H

#include <stddef.h>

/* The page size in bytes of free huge pages that can hold this much now, asked of the kernel; 0: none. */
size_t hugepages_find(size_t bytes);

#endif
