/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * prefetch: have a cache line on its way, to be read or to be written.
 *
 * For writing means with ownership: without it a store to a line that another CPU has written costs a second
 * round trip. The compiler emits PREFETCHW only for CPUs that announce it, but every x86-64 CPU decodes it
 * (the oldest as a no-op).
 */
#ifndef VNICD_PREFETCH_H
#define VNICD_PREFETCH_H

static inline void
prefetch_read(const void *at)
{
	__builtin_prefetch(at, 0);
}

static inline void
prefetch_write(const void *at)
{
#ifdef __x86_64__
	__asm__ volatile("prefetchw %0" : : "m"(*(const volatile char *)at));
#else
	__builtin_prefetch(at, 1);
#endif
}

#endif
