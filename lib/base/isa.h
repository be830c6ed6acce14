/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * isa: the ISA variants: what is compiled more than once or in a second way, for CPUs with more extensions of
 * the instruction set than DPDK asks for; and which of them runs here.
 *
 * The table is in meson.build and nowhere else: it makes the compiler's options of each variant and, by
 * isa.def, what the CPU is asked for, so that no file uses more than was asked. All variants do the same.
 */
#ifndef VNICD_ISA_H
#define VNICD_ISA_H

#include <stdbool.h>

/* Each runs where those behind it run. */
enum isa {
	ISA_PORTABLE, /* any CPU that DPDK runs on */
#define ISA_VARIANT(NAME, name, is_compiled, bits) ISA_##NAME,
#define ISA_EXTENSION(NAME, word)
#include "isa.def"
#undef ISA_VARIANT
#undef ISA_EXTENSION
	ISA_N,
};

enum isa_extension {
#define ISA_VARIANT(NAME, name, is_compiled, bits)
#define ISA_EXTENSION(NAME, word) ISA_HAS_##word,
#include "isa.def"
#undef ISA_VARIANT
#undef ISA_EXTENSION
	ISA_HAS_N,
};

/* The last one that is compiled in and that this CPU and its kernel have; the first call asks. Any thread. */
enum isa isa_select(void);

/* The rule, without the CPU. */
enum isa isa_select_by(bool (*cpu_has)(enum isa_extension extension));

/*
 * Before there is a device: isa_select() says no more than this from now on, whatever an earlier call said.
 * Returns what it says. For simd.h, tests and benchmarks.
 */
enum isa isa_limit(enum isa isa);

/* The last one whose vector registers, and those of all before it, have no more than so many bits. */
enum isa isa_of_width(unsigned int bits);

const char *isa_name(enum isa isa);

#endif
