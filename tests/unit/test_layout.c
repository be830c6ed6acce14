/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which cache lines have two writers, or a writer and somebody else who reads them all the time: none, but
 * for what is shared on purpose. A row is a member of a struct that several threads have, and who writes it
 * while frames go by.
 */
#include "unit.h"

#include <stdbool.h>
#include <string.h>

#include <rte_common.h>

#include "ctx.h"
#include "fdb.h"
#include "flows.h"
#include "fwd.h"
#include "policer.h"
#include "port.h"
#include "vnet.h"
#include "worker.h"

enum writer {
	NOBODY,   /* read by workers, several in most structs; written at times by the control thread */
	RX_OWNER, /* the worker that owns the queue which frames come from */
	TX_OWNER, /* that which they go to */
	WORKERS,  /* all of them: shared on purpose, so in lines of its own */
	CONTROL,  /* the control thread, often */
};

struct member {
	const char *struct_name, *name;
	size_t at, size;
	enum writer writer;
};

#define MEMBER(struct_name, name, writer)                                \
	{                                                                \
#struct_name, #name, offsetof(struct struct_name, name), \
			sizeof(((struct struct_name *)0)->name), writer  \
	}

/* The members of a struct follow each other. */
static const struct member members[] = {
	MEMBER(port_rxq, rx, NOBODY),
	MEMBER(port_rxq, service, NOBODY),
	MEMBER(port_rxq, materialises, NOBODY),
	MEMBER(port_rxq, place, NOBODY),
	MEMBER(port_rxq, hooks, NOBODY),
	MEMBER(port_rxq, stats, RX_OWNER),
	MEMBER(port_rxq, borrowed, RX_OWNER),
	MEMBER(port_rxq, has_digests, RX_OWNER),
	MEMBER(port_rxq, in_hooks, RX_OWNER),

	/* Its `worker` and `dev` are read by each worker that sends to the port. */
	MEMBER(port_txq, tx, NOBODY),
	MEMBER(port_txq, worker, NOBODY),
	MEMBER(port_txq, place, NOBODY),
	MEMBER(port_txq, hooks, NOBODY),
	MEMBER(port_txq, stats, TX_OWNER),
	MEMBER(port_txq, in_hooks, TX_OWNER),
	MEMBER(port_txq, filtered_elsewhere, WORKERS),

	MEMBER(vnet_queue, from_guest, RX_OWNER),
	MEMBER(vnet_queue, borrowed_conf, RX_OWNER),
	MEMBER(vnet_queue, discarded_bytes, RX_OWNER),
	MEMBER(vnet_queue, pool, NOBODY),
	MEMBER(vnet_queue, shared, NOBODY),
	MEMBER(vnet_queue, borrows_pieces, NOBODY),
	MEMBER(vnet_queue, await, NOBODY),
	MEMBER(vnet_queue, to_guest, TX_OWNER),

	MEMBER(vnet_flows, variant, NOBODY),
	MEMBER(vnet_flows, entries, WORKERS),

	MEMBER(policer_bucket, tolerance, NOBODY),
	MEMBER(policer_bucket, cost, NOBODY),
	MEMBER(policer_bucket, unit, NOBODY),
	MEMBER(policer_bucket, full_at, WORKERS),

	MEMBER(fdb, buckets, NOBODY),
	MEMBER(fdb, events, NOBODY),
	MEMBER(fdb, generation, NOBODY),
	MEMBER(fdb, full, NOBODY),
	MEMBER(fdb, port_states, NOBODY),
	MEMBER(fdb, n_entries, CONTROL),
	MEMBER(fdb, n_known, CONTROL),
	MEMBER(fdb, changed, CONTROL),
	MEMBER(fdb, ports, CONTROL),
};

/* Each element of an array is somebody else's. */
static const struct {
	const char *name;
	size_t size, align;
} elements[] = {
#define ELEMENT(name)                                             \
	{                                                         \
#name, sizeof(struct name), _Alignof(struct name) \
	}
	ELEMENT(port_rxq),       ELEMENT(port_txq),   ELEMENT(vnet_queue), ELEMENT(virtq),
	ELEMENT(policer_bucket), ELEMENT(fdb_worker), ELEMENT(fwd_worker), ELEMENT(worker_counters),
	ELEMENT(quiesce_worker), ELEMENT(ctx_wait),   ELEMENT(fdb_bucket), ELEMENT(vnet_flows),
#undef ELEMENT
};

static bool
meet(const struct member *a, const struct member *b)
{
	const size_t line = RTE_CACHE_LINE_SIZE;

	return a->at / line <= (b->at + b->size - 1) / line && b->at / line <= (a->at + a->size - 1) / line;
}

static void
test_lines_have_one_writer(void **state)
{
	for (size_t i = 0; i < RTE_DIM(members); i++)
		for (size_t k = i + 1; k < RTE_DIM(members); k++) {
			const struct member *a = &members[i], *b = &members[k];

			if (strcmp(a->struct_name, b->struct_name) == 0 && a->writer != b->writer &&
			    meet(a, b))
				fail_msg("struct %s: %s and %s are in one cache line", a->struct_name,
					 a->name, b->name);
		}
}

static void
test_elements_are_whole_lines(void **state)
{
	for (size_t i = 0; i < RTE_DIM(elements); i++)
		if (elements[i].size % RTE_CACHE_LINE_SIZE != 0 ||
		    elements[i].align % RTE_CACHE_LINE_SIZE != 0)
			fail_msg("struct %s: %zu bytes, aligned to %zu", elements[i].name, elements[i].size,
				 elements[i].align);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lines_have_one_writer),
		cmocka_unit_test(test_elements_are_whole_lines),
	};

	return UNIT_RUN(tests);
}
