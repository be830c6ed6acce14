/* SPDX-License-Identifier: BSD-3-Clause */
#include "isa.h"

#include <stdatomic.h>
#include <stddef.h>

struct isa_variant {
	const char *name;
	bool is_compiled;
};

static const struct isa_variant isa_variants[VNET_ISA_N] = {
	[VNET_ISA_PORTABLE] = {.name = "portable", .is_compiled = true},
#define ISA_VARIANT(NAME, word, compiled) [VNET_ISA_##NAME] = {.name = #word, .is_compiled = compiled},
#define ISA_EXTENSION(NAME, word)
#include "isa.def"
#undef ISA_VARIANT
#undef ISA_EXTENSION
};

/* One more than there are: none is no array. */
static const enum vnet_isa isa_needed_by[VNET_ISA_EXTENSION_N + 1] = {
#define ISA_VARIANT(NAME, word, compiled)
#define ISA_EXTENSION(NAME, word) [VNET_ISA_EXTENSION_##word] = VNET_ISA_##NAME,
#include "isa.def"
#undef ISA_VARIANT
#undef ISA_EXTENSION
};

/* The compiler's own check: unlike CPUID alone it knows whether the kernel keeps the registers. */
static bool
isa_cpu_has(enum vnet_isa_extension extension)
{
	switch (extension) {
#define ISA_VARIANT(NAME, word, compiled)
#define ISA_EXTENSION(NAME, word)       \
	case VNET_ISA_EXTENSION_##word: \
		return __builtin_cpu_supports(#word);
#include "isa.def"
#undef ISA_VARIANT
#undef ISA_EXTENSION
	case VNET_ISA_EXTENSION_N:
		break;
	}
	return false;
}

static bool
isa_runs(enum vnet_isa isa, bool (*cpu_has)(enum vnet_isa_extension extension))
{
	if (!isa_variants[isa].is_compiled)
		return false;
	for (unsigned int i = 0; i < VNET_ISA_EXTENSION_N; i++)
		if (isa_needed_by[i] == isa && !cpu_has((enum vnet_isa_extension)i))
			return false;
	return true;
}

enum vnet_isa
vnet_isa_select_by(bool (*cpu_has)(enum vnet_isa_extension extension))
{
	unsigned int isa = VNET_ISA_PORTABLE;

	while (isa + 1 < VNET_ISA_N && isa_runs((enum vnet_isa)(isa + 1), cpu_has))
		isa++;
	return (enum vnet_isa)isa;
}

static _Atomic int isa_selected = -1;

enum vnet_isa
vnet_isa_select(void)
{
	int isa = atomic_load_explicit(&isa_selected, memory_order_relaxed);

	if (isa < 0) {
		isa = (int)vnet_isa_select_by(isa_cpu_has);
		atomic_store_explicit(&isa_selected, isa, memory_order_relaxed);
	}
	return (enum vnet_isa)isa;
}

enum vnet_isa
vnet_isa_limit(enum vnet_isa isa)
{
	enum vnet_isa most = vnet_isa_select_by(isa_cpu_has);

	isa = isa < most ? isa : most;
	atomic_store_explicit(&isa_selected, (int)isa, memory_order_relaxed);
	return isa;
}

const char *
vnet_isa_name(enum vnet_isa isa)
{
	return isa_variants[isa].name;
}
