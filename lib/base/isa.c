/* SPDX-License-Identifier: BSD-3-Clause */
#include "isa.h"

#include <stdatomic.h>
#include <stddef.h>

struct isa_variant {
	const char *name;
	bool is_compiled;
	unsigned int width; /* bits of its vector registers */
};

static const struct isa_variant isa_variants[ISA_N] = {
	[ISA_PORTABLE] = {.name = "portable", .is_compiled = true, .width = 128},
#define ISA_VARIANT(NAME, word, compiled, bits) \
	[ISA_##NAME] = {.name = #word, .is_compiled = compiled, .width = bits},
#define ISA_EXTENSION(NAME, word)
#include "isa.def"
#undef ISA_VARIANT
#undef ISA_EXTENSION
};

/* One more than there are: none is no array. */
static const enum isa isa_needed_by[ISA_HAS_N + 1] = {
#define ISA_VARIANT(NAME, word, compiled, bits)
#define ISA_EXTENSION(NAME, word) [ISA_HAS_##word] = ISA_##NAME,
#include "isa.def"
#undef ISA_VARIANT
#undef ISA_EXTENSION
};

/* The compiler's own check: unlike CPUID alone it knows whether the kernel keeps the registers. */
static bool
isa_cpu_has(enum isa_extension extension)
{
	switch (extension) {
#define ISA_VARIANT(NAME, word, compiled, bits)
#define ISA_EXTENSION(NAME, word) \
	case ISA_HAS_##word:      \
		return __builtin_cpu_supports(#word);
#include "isa.def"
#undef ISA_VARIANT
#undef ISA_EXTENSION
	case ISA_HAS_N:
		break;
	}
	return false;
}

static bool
isa_runs(enum isa isa, bool (*cpu_has)(enum isa_extension extension))
{
	if (!isa_variants[isa].is_compiled)
		return false;
	for (unsigned int i = 0; i < ISA_HAS_N; i++)
		if (isa_needed_by[i] == isa && !cpu_has((enum isa_extension)i))
			return false;
	return true;
}

enum isa
isa_select_by(bool (*cpu_has)(enum isa_extension extension))
{
	unsigned int isa = ISA_PORTABLE;

	while (isa + 1 < ISA_N && isa_runs((enum isa)(isa + 1), cpu_has))
		isa++;
	return (enum isa)isa;
}

static _Atomic int isa_selected = -1;

enum isa
isa_select(void)
{
	int isa = atomic_load_explicit(&isa_selected, memory_order_relaxed);

	if (isa < 0) {
		isa = (int)isa_select_by(isa_cpu_has);
		atomic_store_explicit(&isa_selected, isa, memory_order_relaxed);
	}
	return (enum isa)isa;
}

enum isa
isa_limit(enum isa isa)
{
	enum isa most = isa_select_by(isa_cpu_has);

	isa = isa < most ? isa : most;
	atomic_store_explicit(&isa_selected, (int)isa, memory_order_relaxed);
	return isa;
}

enum isa
isa_of_width(unsigned int bits)
{
	unsigned int isa = ISA_PORTABLE;

	while (isa + 1 < ISA_N && isa_variants[isa + 1].width <= bits)
		isa++;
	return (enum isa)isa;
}

const char *
isa_name(enum isa isa)
{
	return isa_variants[isa].name;
}
