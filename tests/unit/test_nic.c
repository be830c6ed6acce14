/* SPDX-License-Identifier: BSD-3-Clause */
/* test_nic: the port kind nic over drivers that need no hardware and no privileges. */
#include "unit.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <rte_eal.h>
#include <rte_ethdev.h>

#include "borrow.h"
#include "ctx.h"
#include "loop.h"
#include "mbufs.h"
#include "packet.h"
#include "pools.h"
#include "port.h"
#include "unit_eal.h"

static struct vnic_ctx ctx;

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
		 "dev=net_null0 (keys: queues, mac, mtu, police-in, police-in-burst, police-out, police-out-burst, dev, vdev, gro, lro, flow-control, link-polling, without)"},
		{"up0=nic,vdev=;x=1", "port up0: vdev: ';x=1' names no driver",
		 "vdev=DRIVER[,vdev.KEY=VALUE]..., for example vdev=net_af_packet0,vdev.iface=eth0"},
		{"up0=nic,dev=net_null0,vdev.size=64", "port up0: vdev.size is an argument of no device",
		 "vdev=DRIVER,vdev.size=64"},
		{"up0=nic,vdev=net_null0,vdev.size=64,vdev.size=65",
		 "port up0: key 'vdev.size' is given twice", "vdev.size=65 once"},
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
		assert_int_equal(port_rx(&port->rxqs[1], pkts, PORT_BURST), PORT_BURST);
		assert_int_equal(port_tx(&port->txqs[0], pkts, PORT_BURST), PORT_BURST);
		port_stats_read(port, &stats);
		assert_int_equal(stats.rx_packets, PORT_BURST);
		assert_int_equal(stats.rx_bytes, PORT_BURST * 64);
		assert_int_equal(stats.tx_packets, PORT_BURST);
		assert_int_equal(stats.tx_bytes, PORT_BURST * 64);
		port_close(port);
	}
}

static void
turns(unsigned int ms)
{
	uint64_t end = loop_now_ms() + ms;

	while (loop_now_ms() < end)
		loop_run_once(ctx.loop, 10);
}

static struct rte_mbuf *
frame(uint16_t len, uint16_t piece)
{
	static struct packet packet;

	packet.len = 0;
	packet_add_payload(&packet, len);
	return mbufs_pieces(pool, packet.bytes, packet.len, piece);
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
	n = port_tx(&port->txqs[0], pkts, 4);
	assert_int_equal(n, 4);
	assert_int_equal(port_rx(&port->rxqs[0], got, PORT_BURST), n - 1);
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
		port_tx(&port->txqs[0], pkts, PORT_BURST);
	}
	port_stats_read(port, &stats);
	assert_true(stats.drops[DROP_TX_FULL] > 0);
	assert_int_equal(stats.tx_packets + stats.drops[DROP_TX_FULL], n + 100 * PORT_BURST);
	assert_int_equal(stats.tx_bytes, 5410 + 64 * (stats.tx_packets - n));
	while ((n = port_rx(&port->rxqs[0], got, PORT_BURST)))
		rte_pktmbuf_free_bulk(got, n);
	port_close(port);
	assert_int_equal(rte_mempool_in_use_count(pool), 0);
}

/* Without a link nothing is sent, and nothing is counted as if it were. */
static void
test_link_down(void **state)
{
	struct rte_mbuf *pkts[PORT_BURST];
	struct port_stats stats;
	struct port *port;
	struct diag diag;
	uint16_t eth_id, n;

	assert_int_equal(open_line("up0=nic,vdev=net_ring2", &port, &diag), 0);
	assert_int_equal(rte_eth_dev_get_port_by_name("net_ring2", &eth_id), 0);
	assert_int_equal(rte_eth_dev_set_link_down(eth_id), 0);
	turns(150);
	for (int i = 0; i < PORT_BURST; i++)
		pkts[i] = frame(64, 64);
	assert_int_equal(port_tx(&port->txqs[0], pkts, PORT_BURST), 0);
	port_stats_read(port, &stats);
	assert_int_equal(stats.tx_packets, 0);
	assert_int_equal(stats.tx_bytes, 0);
	assert_int_equal(stats.drops[DROP_LINK_DOWN], PORT_BURST);
	assert_int_equal(rte_eth_dev_set_link_up(eth_id), 0);
	turns(150);
	pkts[0] = frame(64, 64);
	assert_int_equal(port_tx(&port->txqs[0], pkts, 1), 1);
	n = port_rx(&port->rxqs[0], pkts, PORT_BURST);
	assert_int_equal(n, 1);
	rte_pktmbuf_free_bulk(pkts, n);
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
	assert_int_equal(port_tx(&port->txqs[0], pkts, 4), 3);
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
		assert_int_equal(open_line("up1=nic,vdev=net_null9;size=200,vdev.copy=1", &port, &diag), 0);
		assert_int_equal(rte_eth_dev_get_port_by_name("net_null9", &eth_id), 0);
		assert_int_equal(port_rx(&port->rxqs[0], pkts, 8), 8);
		assert_int_equal(pkts[0]->pkt_len, 200);
		rte_pktmbuf_free_bulk(pkts, 8);
		port_close(port);
		assert_int_equal(rte_eth_dev_get_port_by_name("net_null9", &eth_id), -ENODEV);
	}
	/* A port that can't be opened takes its device with it. */
	assert_true(open_line("up1=nic,vdev=net_ring9,mtu=1400", &port, &diag) < 0);
	assert_int_equal(rte_eth_dev_get_port_by_name("net_ring9", &eth_id), -ENODEV);
}

/* --- frames that outlive their port --- */

static struct rte_mempool *
receive_and_close(struct rte_mbuf **pkts)
{
	struct rte_mempool *own;
	struct port *port;
	struct diag diag;

	assert_int_equal(open_line("up0=nic,vdev=net_null6", &port, &diag), 0);
	assert_int_equal(port_rx(&port->rxqs[0], pkts, PORT_BURST), PORT_BURST);
	own = pkts[0]->pool;
	port_close(port);
	return own;
}

/* Several ports of one name, one after the other, whose frames somebody has. */
static void
test_frames_outlive(void **state)
{
	struct rte_mbuf *pkts[3][PORT_BURST];
	struct rte_mempool *owns[3];
	struct pools_waiting_info info;

	for (int i = 0; i < 3; i++)
		owns[i] = receive_and_close(pkts[i]);
	pools_reap(&ctx);
	for (unsigned int i = 0; i < 3; i++) {
		assert_true(mbufs_pool_is_alive(owns[i]));
		assert_true(pools_waiting(&ctx, i, &info));
		assert_string_equal(info.owner, "up0");
		assert_int_equal(info.out, PORT_BURST);
		assert_true(info.size > info.out);
	}
	assert_false(pools_waiting(&ctx, 3, &info));
	rte_pktmbuf_free_bulk(pkts[1], PORT_BURST);
	rte_pktmbuf_free_bulk(pkts[2], PORT_BURST - 1);
	pools_reap(&ctx);
	assert_true(mbufs_pool_is_alive(owns[0]));
	assert_false(mbufs_pool_is_alive(owns[1]));
	assert_true(mbufs_pool_is_alive(owns[2]));
	rte_pktmbuf_free_bulk(pkts[0], PORT_BURST);
	rte_pktmbuf_free(pkts[2][PORT_BURST - 1]);
	pools_reap(&ctx);
	assert_false(mbufs_pool_is_alive(owns[0]));
	assert_false(mbufs_pool_is_alive(owns[2]));
	assert_false(pools_waiting(&ctx, 0, &info));
}

/* A copy made by flooding refers to the frame. */
static void
test_clones_outlive(void **state)
{
	struct rte_mbuf *pkts[PORT_BURST], *clone;
	struct rte_mempool *own;
	struct port *port;
	struct diag diag;

	assert_int_equal(open_line("up0=nic,vdev=net_null6", &port, &diag), 0);
	assert_int_equal(port_rx(&port->rxqs[0], pkts, PORT_BURST), PORT_BURST);
	own = pkts[0]->pool;
	clone = rte_pktmbuf_clone(pkts[0], pool);
	assert_non_null(clone);
	rte_pktmbuf_free_bulk(pkts, PORT_BURST);
	port_close(port);
	pools_reap(&ctx);
	assert_true(mbufs_pool_is_alive(own));
	rte_pktmbuf_free(clone);
	pools_reap(&ctx);
	assert_false(mbufs_pool_is_alive(own));
	assert_int_equal(rte_mempool_in_use_count(pool), 0);
}

/* Who never gives them back does not keep us from ending. */
static void
test_frames_never_back(void **state)
{
	struct rte_mbuf *pkts[PORT_BURST];
	struct rte_mempool *own = receive_and_close(pkts);

	pools_reap(&ctx);
	assert_true(mbufs_pool_is_alive(own));
	pools_free(&ctx);
	assert_false(mbufs_pool_is_alive(own));
}

static struct rte_mempool *moving;

/* quiesce_passed() */
static bool
move_ends(void *arg, uint64_t token)
{
	moving->local_cache[1].len = 0;
	return true;
}

/* A worker that moves buffers out of its cache has them counted twice for a moment: that is not full. */
static void
test_counted_twice(void **state)
{
	struct rte_mbuf *pkts[PORT_BURST];

	moving = receive_and_close(pkts);
	rte_pktmbuf_free_bulk(pkts, PORT_BURST - 1);
	moving->local_cache[1].len = 1;
	assert_true(rte_mempool_full(moving));
	quiesce_set(&ctx.quiesce, NULL, NULL, move_ends, NULL);
	pools_reap(&ctx);
	quiesce_set(&ctx.quiesce, NULL, NULL, NULL, NULL);
	assert_true(mbufs_pool_is_alive(moving));
	rte_pktmbuf_free(pkts[PORT_BURST - 1]);
	pools_reap(&ctx);
	assert_false(mbufs_pool_is_alive(moving));
}

/* --- frames that are borrowed --- */

enum { BORROWED_LEN = 1518 };

/* What stands between a port and its driver. */
static struct driver {
	uint16_t eth_id;
	const struct rte_eth_rxtx_callback *callback;
	/* what it does */
	bool reads;     /* frames, and compares them with the guest's */
	bool keeps;     /* the tails of frames in two segments: it has a reference to each */
	uint16_t takes; /* frames of a burst; the others are not sent */
	/* what it saw */
	unsigned int n_frames, n_pieces, n_kept;
	struct rte_mbuf *kept[PORT_BURST];
} driver;

static uint8_t *guest; /* memory of a guest: a frame */

static uint16_t
driver_sends(uint16_t eth_id, uint16_t queue, struct rte_mbuf *pkts[], uint16_t n, void *arg)
{
	uint8_t room[BORROWED_LEN];

	for (uint16_t i = 0; i < n && i < driver.takes; i++) {
		struct rte_mbuf *pkt = pkts[i];

		rte_mbuf_sanity_check(pkt, 1);
		assert_false(borrow_is(pkt));
		driver.n_frames++;
		driver.n_pieces += pkt->nb_segs > 1;
		if (pkt->nb_segs > 1 && !driver.keeps)
			assert_ptr_equal(rte_pktmbuf_mtod(pkt->next, uint8_t *), guest + BORROW_HEAD);
		if (driver.reads)
			assert_memory_equal(rte_pktmbuf_read(pkt, 0, pkt->pkt_len, room), guest,
					    pkt->pkt_len);
		if (driver.keeps && pkt->nb_segs > 1) {
			rte_mbuf_refcnt_update(pkt->next, 1);
			driver.kept[driver.n_kept++] = pkt->next;
		}
	}
	return RTE_MIN(n, driver.takes);
}

static struct port *
borrow_open(const char *line)
{
	struct port *port;
	struct diag diag;

	assert_int_equal(open_line(line, &port, &diag), 0);
	driver = (struct driver){.reads = true, .takes = PORT_BURST};
	assert_int_equal(rte_eth_dev_get_port_by_name("net_null7", &driver.eth_id), 0);
	driver.callback = rte_eth_add_tx_callback(driver.eth_id, 0, driver_sends, NULL);
	assert_non_null(driver.callback);
	return port;
}

static void
borrow_close(struct port *port)
{
	assert_int_equal(rte_eth_remove_tx_callback(driver.eth_id, 0, driver.callback), 0);
	port_close(port);
	assert_int_equal(rte_mempool_in_use_count(pool), 0);
}

static struct rte_mbuf *
borrowed_frame(uint16_t len)
{
	struct rte_mbuf *pkt = rte_pktmbuf_alloc(pool);

	rte_pktmbuf_append(pkt, len);
	memcpy(rte_pktmbuf_mtod(pkt, void *), guest, BORROW_HEAD);
	borrow_start(pkt, guest);
	return pkt;
}

static struct rte_mbuf *
whole_frame(uint16_t len)
{
	struct rte_mbuf *pkt = rte_pktmbuf_alloc(pool);

	memcpy(rte_pktmbuf_append(pkt, len), guest, len);
	return pkt;
}

/* n frames, every third of them not borrowed. */
static uint16_t
send_borrowed(struct port *port, uint16_t n)
{
	struct rte_mbuf *pkts[PORT_BURST];

	for (uint16_t i = 0; i < n; i++)
		pkts[i] = i % 3 == 2 ? whole_frame(64) : borrowed_frame((uint16_t)(BORROWED_LEN - i));
	return port_tx(&port->txqs[0], pkts, n);
}

static void
test_borrowed(void **state)
{
	struct port *port = borrow_open("up0=nic,vdev=net_null7,queues=1");
	struct port_stats stats;

	assert_true(port->txqs[0].accepts_borrowed);
	assert_non_null(strstr(port->describe, ", borrowed frames: yes ("));
	for (int i = 0; i < 100; i++)
		assert_int_equal(send_borrowed(port, PORT_BURST), PORT_BURST);
	assert_int_equal(driver.n_frames, 100 * PORT_BURST);
	assert_int_equal(driver.n_pieces, 100 * 22);
	/* In a burst with a request there are only whole frames. */
	{
		struct rte_mbuf *pkts[] = {borrowed_frame(BORROWED_LEN), frame(60, 60)};

		driver.reads = false;
		pkts[1]->ol_flags |= RTE_MBUF_F_TX_UDP_CKSUM | RTE_MBUF_F_TX_IPV4;
		pkts[1]->l2_len = 14;
		pkts[1]->l3_len = 20;
		assert_int_equal(port_tx(&port->txqs[0], pkts, 2), 2);
		assert_int_equal(driver.n_pieces, 100 * 22);
	}
	port_stats_read(port, &stats);
	assert_int_equal(stats.tx_packets, 100 * PORT_BURST + 2);
	borrow_close(port);
}

/* Nobody reads the tails on the way to a driver that does not. */
static void
test_borrowed_untouched(void **state)
{
	struct port *port = borrow_open("up0=nic,vdev=net_null7");
	struct rte_mbuf *pkts[PORT_BURST];

	driver.reads = false;
	for (uint16_t i = 0; i < PORT_BURST; i++)
		pkts[i] = borrowed_frame(BORROWED_LEN);
	assert_int_equal(mprotect(guest, BORROWED_LEN, PROT_NONE), 0);
	assert_int_equal(port_tx(&port->txqs[0], pkts, PORT_BURST), PORT_BURST);
	assert_int_equal(driver.n_pieces, PORT_BURST);
	assert_int_equal(mprotect(guest, BORROWED_LEN, PROT_READ | PROT_WRITE), 0);
	borrow_close(port);
}

/* Frames that are not sent, or too long, are counted, and what was borrowed of them comes back. */
static void
test_borrowed_not_sent(void **state)
{
	struct port *port = borrow_open("up0=nic,vdev=net_null7,mtu=1000");
	struct rte_mbuf *pkts[] = {borrowed_frame(1000), borrowed_frame(1500), borrowed_frame(1000),
				   borrowed_frame(1000)};
	struct port_stats stats;

	driver.takes = 1;
	assert_int_equal(port_tx(&port->txqs[0], pkts, RTE_DIM(pkts)), 1);
	assert_int_equal(driver.n_pieces, 1);
	port_stats_read(port, &stats);
	assert_int_equal(stats.tx_packets, 1);
	assert_int_equal(stats.tx_bytes, 1000);
	assert_int_equal(stats.drops[DROP_TOO_LONG], 1);
	assert_int_equal(stats.drops[DROP_TX_FULL], 2);
	turns(150);
	assert_non_null(strstr(port->describe, ", borrowed frames: yes ("));
	borrow_close(port);
}

/* Without mbufs to hang tails on, frames are copied. */
static void
test_borrowed_no_mbuf(void **state)
{
	struct port *port = borrow_open("up0=nic,vdev=net_null7");
	struct rte_mempool *own;
	struct rte_mbuf *pkt, **all;
	unsigned int n = 0;

	/* The device receives into it. */
	assert_int_equal(port_rx(&port->rxqs[0], &pkt, 1), 1);
	own = pkt->pool;
	rte_pktmbuf_free(pkt);
	all = calloc(own->size, sizeof(*all));
	while (n < own->size && (all[n] = rte_pktmbuf_alloc(own)))
		n++;
	assert_int_equal(send_borrowed(port, PORT_BURST), PORT_BURST);
	assert_int_equal(driver.n_frames, PORT_BURST);
	assert_int_equal(driver.n_pieces, 0);
	rte_pktmbuf_free_bulk(all, n);
	free(all);
	assert_int_equal(send_borrowed(port, PORT_BURST), PORT_BURST);
	assert_int_equal(driver.n_pieces, 22);
	borrow_close(port);
}

/* A driver that is not through with a frame gets copies from then on, and the port says so. */
static void
test_borrowed_kept(void **state)
{
	struct port *port = borrow_open("up0=nic,vdev=net_null7");

	assert_int_equal(send_borrowed(port, PORT_BURST), PORT_BURST);
	assert_int_equal(driver.n_pieces, 22);
	driver.keeps = true;
	assert_int_equal(send_borrowed(port, 1), 1);
	assert_int_equal(driver.n_kept, 1);
	assert_int_equal(send_borrowed(port, PORT_BURST), PORT_BURST);
	assert_int_equal(driver.n_frames, PORT_BURST + 1 + PORT_BURST);
	assert_int_equal(driver.n_pieces, 22 + 1);
	assert_int_equal(driver.n_kept, 1);
	turns(150);
	assert_non_null(strstr(port->describe, ", borrowed frames: no (its driver kept some)"));
	assert_null(strstr(port->describe, "yes"));
	for (unsigned int i = 0; i < driver.n_kept; i++)
		rte_pktmbuf_free(driver.kept[i]);
	assert_int_equal(send_borrowed(port, PORT_BURST), PORT_BURST);
	assert_int_equal(driver.n_pieces, 22 + 1);
	borrow_close(port);
}

/* Drivers that are not known are borrowed nothing. */
static void
test_borrowed_unknown(void **state)
{
	struct port *port;
	struct diag diag;

	assert_int_equal(open_line("up0=nic,vdev=net_ring7", &port, &diag), 0);
	for (uint16_t q = 0; q < port->n_queues; q++)
		assert_false(port->txqs[q].accepts_borrowed);
	assert_non_null(strstr(port->describe, ", borrowed frames: no ("));
	port_close(port);
}

static int
group_setup(void **state)
{
	pool = unit_eal_start(
		&(struct unit_eal){.memory_mb = 128, .n_mbufs = 4095, .vdevs = {"net_null0", "net_ring0"}});
	port_env.n_workers = 1;
	port_env.ctx = &ctx;
	guest = mmap(NULL, BORROWED_LEN, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (guest == MAP_FAILED || ctx_open(&ctx) < 0)
		return -1;
	for (unsigned int i = 0; i < BORROWED_LEN; i++)
		guest[i] = (uint8_t)(i * 7 + i / 256);
	return 0;
}

static int
group_teardown(void **state)
{
	ctx_close(&ctx);
	munmap(guest, BORROWED_LEN);
	return rte_eal_cleanup();
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_check),
		cmocka_unit_test(test_bad),
		cmocka_unit_test(test_null),
		cmocka_unit_test(test_ring),
		cmocka_unit_test(test_link_down),
		cmocka_unit_test(test_linearise),
		cmocka_unit_test(test_plug),
		cmocka_unit_test(test_frames_outlive),
		cmocka_unit_test(test_clones_outlive),
		cmocka_unit_test(test_frames_never_back),
		cmocka_unit_test(test_counted_twice),
		cmocka_unit_test(test_borrowed),
		cmocka_unit_test(test_borrowed_untouched),
		cmocka_unit_test(test_borrowed_not_sent),
		cmocka_unit_test(test_borrowed_no_mbuf),
		cmocka_unit_test(test_borrowed_kept),
		cmocka_unit_test(test_borrowed_unknown),
	};

	return UNIT_RUN_WITH(tests, group_setup, group_teardown);
}
