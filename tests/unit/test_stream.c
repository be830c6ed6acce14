/* SPDX-License-Identifier: BSD-3-Clause */
/* test_stream: what a peer of the port kind stream can make one call of the port do. */
#include "unit.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <rte_byteorder.h>
#include <rte_eal.h>
#include <rte_mbuf.h>

#include "ctx.h"
#include "loop.h"
#include "port.h"
#include "unit_eal.h"

enum {
	N_MBUFS = 256,
	FRAME_LEN = 1000,
	RECORD_LEN = 4 + FRAME_LEN,
	WAITS_MAX = 1 << 20, /* bytes that the port keeps for a peer */
};

static struct vnic_ctx ctx;
static struct rte_mempool *pool;
static struct port *port;
static int peer = -1;

static void
turns(unsigned int ms)
{
	uint64_t end = loop_now_ms() + ms;

	while (loop_now_ms() < end)
		loop_run_once(ctx.loop, 5);
}

static bool
is_up(void)
{
	struct port_link link;

	port->kind->link(port, &link);
	return link.up;
}

static int
setup(void **state)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct port_config config;
	struct diag diag = {0};
	char line[160];

	snprintf(address.sun_path, sizeof(address.sun_path), "/tmp/test_stream.%d.sock", (int)getpid());
	snprintf(line, sizeof(line), "up0=stream,listen=%s", address.sun_path);
	assert_int_equal(port_config_parse(&config, line, &diag), 0);
	if (port_open(&config, &port, &diag) < 0)
		fail_msg("%s", diag.cause);
	peer = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	assert_true(peer >= 0);
	assert_int_equal(connect(peer, (struct sockaddr *)&address, sizeof(address)), 0);
	for (int i = 0; i < 1000 && !is_up(); i++)
		loop_run_once(ctx.loop, 5);
	assert_true(is_up());
	return 0;
}

static int
teardown(void **state)
{
	close(peer);
	port_close(port);
	return 0;
}

/* As many bytes as there is room for on the way. */
static size_t
peer_send(const void *data, size_t len)
{
	ssize_t sent = send(peer, data, len, MSG_NOSIGNAL);

	assert_true(sent >= 0 || errno == EAGAIN);
	return sent < 0 ? 0 : (size_t)sent;
}

static uint64_t
drops(enum port_drop reason)
{
	struct port_stats stats;

	port_stats_read(port, &stats);
	return stats.drops[reason];
}

/* Records of no bytes: what one call takes of them is a burst. */
static void
test_runts_are_a_burst(void **state)
{
	static const uint8_t empty[WAITS_MAX];
	struct rte_mbuf *pkts[PORT_BURST];
	const size_t sent = peer_send(empty, sizeof(empty));

	assert_true(sent > 64 * 4 * PORT_BURST);
	for (uint64_t i = 1; i <= 64; i++) {
		assert_int_equal(port_rx(&port->rxqs[0], pkts, PORT_BURST), 0);
		assert_int_equal(drops(DROP_RUNT), i * PORT_BURST);
	}
	assert_int_equal(port_rx(&port->rxqs[0], pkts, 1), 0);
	assert_int_equal(drops(DROP_RUNT), 64 * PORT_BURST + 1);
}

static void
fill_record(uint8_t record[RECORD_LEN], uint32_t number)
{
	const uint32_t len = rte_cpu_to_be_32(FRAME_LEN);

	memset(record, 0xee, RECORD_LEN);
	memcpy(record, &len, sizeof(len));
	memcpy(record + 4 + RTE_ETHER_HDR_LEN, &number, sizeof(number));
}

/* Want of packet buffers is no end of a connection, however much of it waits. */
static void
test_without_packet_buffers(void **state)
{
	enum { N_RECORDS = 2 * WAITS_MAX / RECORD_LEN };
	static uint8_t records[N_RECORDS][RECORD_LEN];
	struct rte_mbuf *taken[N_MBUFS + 1], *pkts[PORT_BURST];
	unsigned int n_taken = 0;
	uint32_t n_got = 0;
	size_t sent = 0;

	for (uint32_t i = 0; i < N_RECORDS; i++)
		fill_record(records[i], i);
	while (n_taken < RTE_DIM(taken) && (taken[n_taken] = rte_pktmbuf_alloc(pool)))
		n_taken++;
	for (unsigned int i = 0; i < 200; i++) {
		sent += peer_send((uint8_t *)records + sent, sizeof(records) - sent);
		assert_int_equal(port_rx(&port->rxqs[0], pkts, PORT_BURST), 0);
		usleep(10); /* it does not ask the kernel all the time */
	}
	turns(50);
	assert_true(is_up());
	rte_pktmbuf_free_bulk(taken, n_taken);
	for (uint64_t end = loop_now_ms() + 10000; n_got < N_RECORDS && loop_now_ms() < end;) {
		uint16_t n = port_rx(&port->rxqs[0], pkts, PORT_BURST);

		sent += peer_send((uint8_t *)records + sent, sizeof(records) - sent);
		for (uint16_t i = 0; i < n; i++, n_got++) {
			assert_int_equal(pkts[i]->pkt_len, FRAME_LEN);
			assert_memory_equal(rte_pktmbuf_mtod(pkts[i], void *), records[n_got] + 4, FRAME_LEN);
			rte_pktmbuf_free(pkts[i]);
		}
	}
	assert_int_equal(n_got, N_RECORDS);
}

static int
group_setup(void **state)
{
	pool = unit_eal_start(&(struct unit_eal){.memory_mb = 64, .n_mbufs = N_MBUFS});
	port_env.ctx = &ctx;
	port_env.pool = pool;
	port_env.n_workers = 1;
	return ctx_open(&ctx);
}

static int
group_teardown(void **state)
{
	ctx_close(&ctx);
	return rte_eal_cleanup();
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_runts_are_a_burst, setup, teardown),
		cmocka_unit_test_setup_teardown(test_without_packet_buffers, setup, teardown),
	};

	return UNIT_RUN_WITH(tests, group_setup, group_teardown);
}
