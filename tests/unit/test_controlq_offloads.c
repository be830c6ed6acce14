/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_controlq_offloads: class GUEST_OFFLOADS.
 */
#include "unit.h"

#include <rte_byteorder.h>

#include "data.h"
#include "rig.h"
#include "vnet_traits.h"

static void
test_C122_guest_offloads(void **state)
{
	const uint64_t csum = FEATURE_MASK(NET_GUEST_CSUM), tso4 = FEATURE_MASK(NET_GUEST_TSO4),
		       tso6 = FEATURE_MASK(NET_GUEST_TSO6), ecn = FEATURE_MASK(NET_GUEST_ECN),
		       uso4 = FEATURE_MASK(NET_GUEST_USO4), uso6 = FEATURE_MASK(NET_GUEST_USO6),
		       ufo = FEATURE_MASK(NET_GUEST_UFO);
	struct rig *rig = rig_open(&(struct rig_options){.n_pairs = RIG_PAIRS, .without = ecn});

	/* All that were negotiated are on. */
	assert_int_equal(vnet_conf(&rig->dev->queues[0].to_guest)->offloads,
			 vnet_offloads_guest(csum | tso4 | tso6 | uso4 | uso6 | ufo));
	for (uint64_t bits = 0; bits < 128; bits++) {
		uint64_t offloads = (bits & 1 ? csum : 0) | (bits & 2 ? tso4 : 0) | (bits & 4 ? tso6 : 0) |
				    (bits & 8 ? ecn : 0) | (bits & 16 ? uso4 : 0) | (bits & 32 ? uso6 : 0) |
				    (bits & 64 ? ufo : 0);
		bool good = !(bits & 8) && (!(bits & 0x76) || bits & 1);
		uint64_t le = rte_cpu_to_le_64(offloads);

		assert_int_equal(rig_do(rig, CLASS_OFFLOADS, 0, &le, 8), good);
		for (unsigned int pair = 0; good && pair < RIG_PAIRS; pair++)
			assert_int_equal(vnet_conf(&rig->dev->queues[pair].to_guest)->offloads,
					 vnet_offloads_guest(offloads));
	}
	rig_close(rig);
}

/* Drivers of RSC_EXT switch it with the others; it is no offload, so that changes nothing. Who has not
 * negotiated it may not name it. */
static void
test_C91_rsc_ext_is_no_offload(void **state)
{
	const uint64_t rsc = FEATURE_MASK(NET_RSC_EXT),
		       tso4 = FEATURE_MASK(NET_GUEST_CSUM) | FEATURE_MASK(NET_GUEST_TSO4);

	for (int accepted = 0; accepted < 2; accepted++) {
		struct rig *rig =
			rig_open(&(struct rig_options){.n_pairs = RIG_PAIRS, .without = accepted ? 0 : rsc});
		const struct virtq *vq = &rig->dev->queues[0].to_guest;
		const uint64_t sets[] = {tso4 | rsc, tso4, rsc, 0};

		assert_int_equal(!!(vnet_conf(vq)->virtq.traits & TRAIT_RSC), accepted);
		for (unsigned int i = 0; i < RTE_DIM(sets); i++) {
			const bool good = accepted || !(sets[i] & rsc);
			uint64_t le = rte_cpu_to_le_64(sets[i]);

			assert_int_equal(rig_do(rig, CLASS_OFFLOADS, 0, &le, 8), good);
			if (!good)
				continue;
			assert_int_equal(vnet_conf(vq)->offloads, vnet_offloads_guest(sets[i]));
			/* Without frames of several segments there is nothing to say. */
			assert_int_equal(!!(vnet_conf(vq)->virtq.traits & TRAIT_RSC),
					 accepted && sets[i] & tso4);
		}
		rig_close(rig);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_C122_guest_offloads),
		cmocka_unit_test(test_C91_rsc_ext_is_no_offload),
	};

	rig_env_open();
	return UNIT_RUN(tests);
}
