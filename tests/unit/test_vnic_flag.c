/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_vnic_flag: a program that has the library's mbuf flags for something of its own: nothing is borrowed,
 * and its frames come through as they are.
 */
#include "unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <rte_mbuf_dyn.h>

#include "borrow.h"
#include "front_end.h"
#include "request.h"
#include "unit_eal.h"
#include "vnic_host.h"

enum { RING = 64, LEN = 1000 };

static struct rte_mempool *pool;
static char dir[] = "/tmp/vnic-XXXXXX";
static uint8_t frame[FRONT_END_FRAME_MAX];

static void
test_nothing_is_borrowed(void **state)
{
	struct rte_mbuf *pkts[VNIC_BURST_MAX];
	static struct host host;
	struct front_end fe;
	uint16_t n;

	host_open(&host, dir, "vm0", pool, VNIC_FRAMES_BORROW);
	host_run(&host);
	front_end_make(&fe, RING);
	front_end_start(&fe, host.path);
	assert_true(front_end_send(&fe, frame, LEN));
	HOST_WAIT_FOR((n = vnic_rx_burst(host.dev, 0, pkts, VNIC_BURST_MAX)) != 0);
	assert_int_equal(n, 1);
	assert_int_equal(pkts[0]->ol_flags, 0);
	assert_int_equal(front_end_under_way(&fe), 0);
	assert_memory_equal(rte_pktmbuf_mtod(pkts[0], void *), frame, LEN);
	rte_pktmbuf_free(pkts[0]);
	host_close(&host);
	front_end_free(&fe);
}

/* One that is the library's alone, and one that the program holds, too, and finds as it was. */
static void
test_frames_with_the_programs_flag(void **state)
{
	uint8_t got[FRONT_END_FRAME_MAX];
	struct rte_mbuf *pkts[2], *held;
	static struct host host;
	struct front_end fe;
	uint32_t len;

	host_open(&host, dir, "vm0", pool, VNIC_FRAMES_COPY);
	host_run(&host);
	front_end_make(&fe, RING);
	front_end_start(&fe, host.path);
	for (unsigned int i = 0; i < 2; i++) {
		pkts[i] = rte_pktmbuf_alloc(pool);
		assert_non_null(pkts[i]);
		memcpy(rte_pktmbuf_append(pkts[i], LEN), frame, LEN);
		pkts[i]->ol_flags |= BORROW_FLAG | FRAME_UFO;
		/* Where a borrowed frame would have the address of its payload. */
		pkts[i]->tx_offload = 1;
	}
	held = pkts[1];
	rte_mbuf_refcnt_update(held, 1);
	assert_int_equal(vnic_tx_burst(host.dev, 0, pkts, 2), 2);
	for (unsigned int i = 0; i < 2; i++) {
		HOST_WAIT_FOR((len = front_end_receive(&fe, got)) != 0);
		assert_int_equal(len, LEN);
		assert_memory_equal(got, frame, LEN);
	}
	assert_true(held->ol_flags & BORROW_FLAG);
	assert_int_equal(rte_mbuf_refcnt_read(held), 1);
	rte_pktmbuf_free(held);
	host_close(&host);
	front_end_free(&fe);
	assert_int_equal(rte_mempool_in_use_count(pool), 0);
}

static int
tear_down(void **state)
{
	return rmdir(dir);
}

int
main(void)
{
	static const struct rte_mbuf_dynflag own = {.name = "of_the_program"}, other = {.name = "this_too"};
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nothing_is_borrowed),
		cmocka_unit_test(test_frames_with_the_programs_flag),
	};

	pool = unit_eal_start(&(struct unit_eal){.memory_mb = 64, .n_mbufs = 2047, .flagless = true});
	if (rte_mbuf_dynflag_register_bitnum(&own, BORROW_FLAG_BIT) != BORROW_FLAG_BIT ||
	    rte_mbuf_dynflag_register_bitnum(&other, FRAME_UFO_BIT) != FRAME_UFO_BIT || !mkdtemp(dir))
		return 1;
	for (unsigned int i = 0; i < LEN; i++)
		frame[i] = (uint8_t)(i * 7);
	return UNIT_RUN_WITH(tests, NULL, tear_down);
}
