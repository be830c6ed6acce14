/* SPDX-License-Identifier: BSD-3-Clause */
/* test_nic: the port kind nic over drivers that need no hardware and no privileges. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <rte_eal.h>
#include <rte_ethdev.h>

#include "port.h"

static struct rte_mempool *pool;

static int
open_line(const char *line, struct port **ret_port, struct diag *diag)
{
	struct port_config config;
	int ret;

	memset(diag, 0, sizeof(*diag));
	assert_int_equal(port_config_parse(&config, line, diag), 0);
	ret = port_open(&config, ret_port, diag);
	port_config_free(&config);
	return ret;
}

static void
test_check(void **state)
{
	static const struct {
		const char *line, *cause, *hint;
	} row[] = {
		{"up0=nic", "port up0: kind nic needs a device",
		 "dev=DEVICE, for example dev=net_af_packet0"},
		{"up0=nic,dv=net_null0", "port up0: kind nic has no key 'dv'",
		 "dev=net_null0 (keys: queues, mac, mtu, dev, vdev)"},
		{"up0=nic,vdev=;x=1", "port up0: vdev: ';x=1' names no driver",
		 "vdev=DRIVER[;key=value]..., for example vdev=net_af_packet0;iface=eth0"},
	};
	struct port_config configs[2];
	struct diag diag;

	for (size_t i = 0; i < RTE_DIM(row); i++) {
		assert_int_equal(port_config_parse(&configs[0], row[i].line, &diag), -EINVAL);
		assert_string_equal(diag.cause, row[i].cause);
		assert_string_equal(diag.hint, row[i].hint);
	}
	assert_int_equal(port_config_parse(&configs[0], "a=nic,dev=net_tap0", &diag), 0);
	assert_int_equal(port_config_parse(&configs[1], "b=nic,vdev=net_tap0;iface=t0", &diag), 0);
	assert_string_equal(configs[0].resource, "device net_tap0");
	assert_int_equal(port_config_check(configs, 2, &diag), -EEXIST);
	assert_string_equal(diag.cause, "port b: two ports on one device: port a has device net_tap0 too");
	port_config_free(&configs[0]);
	port_config_free(&configs[1]);
}

static void
test_bad(void **state)
{
	struct port *port;
	struct diag diag;

	assert_int_equal(open_line("up0=nic,dev=net_nul0", &port, &diag), -ENODEV);
	assert_string_equal(diag.cause, "port up0: there is no device net_nul0");
	assert_string_equal(diag.hint, "dev=net_null0 (devices: net_null0, net_ring0)");
	assert_int_equal(open_line("up0=nic,dev=net_ring0,queues=17", &port, &diag), -ERANGE);
	assert_string_equal(diag.cause, "port up0: device net_ring0 has 16 queue pairs, 17 asked for");
	assert_string_equal(diag.hint, "queues=16");
	assert_true(open_line("up0=nic,vdev=net_nosuch0;a=b", &port, &diag) < 0);
	assert_non_null(strstr(diag.cause, "port up0: device net_nosuch0 could not be made with a=b"));
	assert_true(open_line("up0=nic,vdev=net_null0", &port, &diag) < 0);
	assert_string_equal(diag.hint, "dev=net_null0 uses the device that exists");
	/* The ring driver has no MTU to set. A device that was refused can be opened afterwards. */
	assert_int_equal(open_line("up0=nic,dev=net_ring0,mtu=1400", &port, &diag), -ENOTSUP);
	assert_string_equal(diag.cause,
			    "port up0: device net_ring0 refuses an MTU of 1400: Operation not supported");
	assert_int_equal(open_line("up0=nic,dev=net_ring0", &port, &diag), 0);
	port_close(port);
	assert_int_equal(port_count(), 0);
}

static void
test_null(void **state)
{
	struct rte_mbuf *pkts[PORT_BURST];
	struct port_stats stats;
	struct port *port;
	struct diag diag;

	/* Twice: a NIC that was removed can be added again. */
	for (int i = 0; i < 2; i++) {
		assert_int_equal(open_line("up0=nic,dev=net_null0,queues=2", &port, &diag), 0);
		assert_int_equal(port->n_queues, 2);
		assert_int_equal(atomic_load(&port->n_active), 2);
		assert_true(rte_is_valid_assigned_ether_addr(&port->mac));
		assert_non_null(
			strstr(port->describe, "nic net_null0 (driver net_null), 2 queue pairs, link "));
		assert_int_equal(port->queues[1].rx(&port->queues[1], pkts, PORT_BURST), PORT_BURST);
		assert_int_equal(port->queues[0].tx(&port->queues[0], pkts, PORT_BURST), PORT_BURST);
		port_stats_read(port, &stats);
		assert_int_equal(stats.rx_packets, PORT_BURST);
		assert_int_equal(stats.rx_bytes, PORT_BURST * 64);
		assert_int_equal(stats.tx_packets, PORT_BURST);
		assert_int_equal(stats.tx_bytes, PORT_BURST * 64);
		port_close(port);
	}
}

static struct rte_mbuf *
frame(uint16_t len, uint16_t piece)
{
	struct rte_mbuf *head = NULL;

	for (uint16_t at = 0; at < len; at = (uint16_t)(at + piece)) {
		uint16_t n = RTE_MIN(piece, (uint16_t)(len - at));
		struct rte_mbuf *seg = rte_pktmbuf_alloc(pool);

		memset(rte_pktmbuf_append(seg, n), at / piece, n);
		if (!head)
			head = seg;
		else
			assert_int_equal(rte_pktmbuf_chain(head, seg), 0);
	}
	return head;
}

/* The ring driver gives back what it was sent. */
static void
test_ring(void **state)
{
	struct rte_mbuf *pkts[PORT_BURST], *got[PORT_BURST];
	struct port_stats stats;
	struct port *port;
	struct diag diag;
	uint16_t n;

	assert_int_equal(open_line("up0=nic,vdev=net_ring1", &port, &diag), 0);
	pkts[0] = frame(100, 100);
	pkts[1] = frame(300, 40);
	pkts[2] = frame(5000, 1000);
	pkts[3] = frame(10, 10); /* comes back as a runt */
	n = port->queues[0].tx(&port->queues[0], pkts, 4);
	assert_int_equal(n, 4);
	assert_int_equal(port->queues[0].rx(&port->queues[0], got, PORT_BURST), n - 1);
	assert_int_equal(got[0]->pkt_len, 100);
	assert_int_equal(got[1]->pkt_len, 300);
	assert_int_equal(got[1]->nb_segs, 8);
	rte_pktmbuf_free_bulk(got, (unsigned int)(n - 1));
	port_stats_read(port, &stats);
	assert_int_equal(stats.tx_packets, n);
	assert_int_equal(stats.drops[DROP_TOO_LONG], 0);
	assert_int_equal(stats.tx_bytes, 5410);
	assert_int_equal(stats.rx_packets, n);
	assert_int_equal(stats.drops[DROP_RUNT], 1);

	/* Nobody takes frames out: at some point the ring is full, and that is counted. */
	for (int i = 0; i < 100; i++) {
		for (int k = 0; k < PORT_BURST; k++)
			pkts[k] = frame(64, 64);
		port->queues[0].tx(&port->queues[0], pkts, PORT_BURST);
	}
	port_stats_read(port, &stats);
	assert_true(stats.drops[DROP_TX_FULL] > 0);
	assert_int_equal(stats.tx_packets + stats.drops[DROP_TX_FULL], n + 100 * PORT_BURST);
	assert_int_equal(stats.tx_bytes, 5410 + 64 * (stats.tx_packets - n));
	while ((n = port->queues[0].rx(&port->queues[0], got, PORT_BURST)))
		rte_pktmbuf_free_bulk(got, n);
	port_close(port);
	assert_int_equal(rte_mempool_in_use_count(pool), 0);
}

/* The null driver takes one segment only: what fits a buffer, small or big, is copied into one. */
static void
test_linearise(void **state)
{
	struct rte_mbuf *pkts[4];
	struct port_stats stats;
	struct port *port;
	struct diag diag;

	assert_int_equal(open_line("up0=nic,vdev=net_null8", &port, &diag), 0);
	pkts[0] = frame(300, 40);
	pkts[1] = frame(9014, 1000);
	pkts[2] = frame(20000, 2000);
	pkts[3] = frame(1514, 1514);
	assert_int_equal(port->queues[0].tx(&port->queues[0], pkts, 4), 3);
	port_stats_read(port, &stats);
	assert_int_equal(stats.tx_packets, 3);
	assert_int_equal(stats.tx_bytes, 300 + 9014 + 1514);
	assert_int_equal(stats.drops[DROP_TOO_LONG], 1);
	port_close(port);
	assert_int_equal(rte_mempool_in_use_count(pool), 0);
}

static void
test_plug(void **state)
{
	struct rte_mbuf *pkts[PORT_BURST];
	struct port *port;
	struct diag diag;
	uint16_t eth_id;

	for (int i = 0; i < 2; i++) {
		assert_int_equal(open_line("up1=nic,vdev=net_null9;size=200;copy=1", &port, &diag), 0);
		assert_int_equal(rte_eth_dev_get_port_by_name("net_null9", &eth_id), 0);
		assert_int_equal(port->queues[0].rx(&port->queues[0], pkts, 8), 8);
		assert_int_equal(pkts[0]->pkt_len, 200);
		rte_pktmbuf_free_bulk(pkts, 8);
		port_close(port);
		assert_int_equal(rte_eth_dev_get_port_by_name("net_null9", &eth_id), -ENODEV);
	}
	/* A port that can't be opened takes its device with it. */
	assert_true(open_line("up1=nic,vdev=net_ring9,mtu=1400", &port, &diag) < 0);
	assert_int_equal(rte_eth_dev_get_port_by_name("net_ring9", &eth_id), -ENODEV);
}

static int
group_setup(void **state)
{
	char *args[] = {"test_nic", "--no-huge",   "--no-pci",         "-m",
			"128",      "--no-shconf", "--no-telemetry",   "--log-level=4",
			"-l",       "0",           "--vdev=net_null0", "--vdev=net_ring0"};

	if (rte_eal_init(RTE_DIM(args), args) < 0)
		return -1;
	port_env.n_workers = 1;
	pool = rte_pktmbuf_pool_create("test", 4095, 0, 0, RTE_MBUF_DEFAULT_BUF_SIZE, SOCKET_ID_ANY);
	return pool ? 0 : -1;
}

static int
group_teardown(void **state)
{
	return rte_eal_cleanup();
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_check), cmocka_unit_test(test_bad),       cmocka_unit_test(test_null),
		cmocka_unit_test(test_ring),  cmocka_unit_test(test_linearise), cmocka_unit_test(test_plug),
	};

	return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
