/* SPDX-License-Identifier: BSD-3-Clause */
/* test_fwd: every forwarding mode, the plan and the handoff, between made-up ports that record what they are
 * sent. */
#include "unit.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <rte_arp.h>
#include <rte_eal.h>
#include <rte_icmp.h>
#include <rte_ip.h>
#include <rte_udp.h>

#include "borrow.h"
#include "fdb.h"
#include "fwd.h"
#include "fwd_config.h"
#include "rng.h"
#include "unit_eal.h"

enum {
	POOL_SIZE = 8191,
	SENT_MAX = 4096, /* frames that a port keeps for looking at */
};

/* A port that keeps the first `room` frames it is sent, and refuses the rest. */
struct fake {
	struct port port;
	unsigned int n_sent, room;
	struct rte_mbuf *sent[SENT_MAX];
	uint16_t sent_on[SENT_MAX]; /* queue */
};

static struct rte_mempool *pool;
static struct fwd_worker workers[4];
static struct fake *fakes[PORT_MAX];
static struct port *ports[PORT_MAX];
static unsigned int n_fakes;

static uint16_t
fake_tx(struct port_txq *txq, struct rte_mbuf **pkts, uint16_t n)
{
	struct fake *fake = txq->dev;
	uint16_t n_sent = 0;

	assert_true(n >= 1 && n <= PORT_BURST);
	while (n_sent < n && fake->n_sent < fake->room) {
		fake->sent_on[fake->n_sent] = txq->idx;
		fake->sent[fake->n_sent++] = pkts[n_sent];
		txq->stats.bytes += rte_pktmbuf_pkt_len(pkts[n_sent]);
		n_sent++;
	}
	txq->stats.packets += n_sent;
	if (n_sent < n)
		port_tx_drop(txq, DROP_TX_FULL, pkts + n_sent, (uint16_t)(n - n_sent));
	return n_sent;
}

static struct fake *
fake_open(uint16_t n_queues)
{
	struct fake *fake = calloc(1, sizeof(*fake));

	snprintf(fake->port.name, sizeof(fake->port.name), "p%u", n_fakes);
	fake->port.id = (uint16_t)n_fakes;
	atomic_init(&fake->port.n_active, n_queues);
	fake->port.mac = (struct rte_ether_addr){{0x52, 0, 0, 0, (uint8_t)(n_fakes >> 8), (uint8_t)n_fakes}};
	assert_int_equal(port_queues_alloc(&fake->port, n_queues), 0);
	for (uint16_t q = 0; q < n_queues; q++) {
		fake->port.txqs[q].tx = fake_tx;
		fake->port.txqs[q].dev = fake;
	}
	fake->room = SENT_MAX;
	fakes[n_fakes] = fake;
	ports[n_fakes] = &fake->port;
	n_fakes++;
	return fake;
}

static void
fake_forget(struct fake *fake)
{
	rte_pktmbuf_free_bulk(fake->sent, fake->n_sent);
	fake->n_sent = 0;
}

static struct fwd_plan *
plan_of(const char *mode_name, void *mode_state, unsigned int n_workers)
{
	struct diag diag = {0};
	struct fwd_plan *plan = fwd_plan_build(fwd_mode_by_name(mode_name), mode_state, ports, n_fakes, NULL,
					       n_workers, &diag);

	assert_string_equal(diag.cause, "");
	assert_non_null(plan);
	for (unsigned int i = 0; i < n_workers; i++)
		workers[i].plan = plan;
	return plan;
}

/* n_ports ports of n_queues pairs, n_workers workers and a plan over them; undone by teardown(). */
static struct fwd_plan *
setup(const char *mode_name, void *mode_state, unsigned int n_ports, uint16_t n_queues,
      unsigned int n_workers)
{
	struct diag diag = {0};

	assert_int_equal(fwd_workers_open(workers, n_workers, pool, &diag), 0);
	for (unsigned int i = 0; i < n_ports; i++)
		fake_open(n_queues);
	return plan_of(mode_name, mode_state, n_workers);
}

static void
sums(struct port_stats *sum)
{
	memset(sum, 0, sizeof(*sum));
	for (unsigned int i = 0; i < n_fakes; i++) {
		struct port_stats stats;

		port_stats_read(ports[i], &stats);
		for (size_t w = 0; w < sizeof(stats) / 8; w++)
			((uint64_t *)sum)[w] += ((uint64_t *)&stats)[w];
	}
}

/* Nothing is lost, nothing is counted twice, no buffer leaks. */
static void
teardown(struct fwd_plan *plan)
{
	unsigned int n_workers = plan->n_workers;
	struct port_stats sum;
	uint64_t drops = 0;

	for (unsigned int i = 0; i < n_workers; i++)
		fwd_handoff_drain(&workers[i]);
	sums(&sum);
	for (int i = 0; i < DROP_N; i++)
		drops += sum.drops[i];
	assert_int_equal(sum.rx_packets + sum.copies, sum.tx_packets + drops);
	fwd_plan_free(plan);
	fwd_workers_close(workers, n_workers);
	for (unsigned int i = 0; i < n_fakes; i++) {
		fake_forget(fakes[i]);
		port_queues_free(&fakes[i]->port);
		free(fakes[i]);
	}
	n_fakes = 0;
	assert_int_equal(rte_mempool_in_use_count(pool), 0);
}

static struct rte_ether_addr
station(uint8_t number)
{
	return (struct rte_ether_addr){{0x02, 0xaa, 0, 0, 0, number}};
}

static const struct rte_ether_addr broadcast = {{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}};

/* A 64-byte frame with a number in it. */
static struct rte_mbuf *
frame(struct rte_ether_addr dst, struct rte_ether_addr src, uint32_t number)
{
	struct rte_mbuf *m = rte_pktmbuf_alloc(pool);
	struct rte_ether_hdr *eth;

	assert_non_null(m);
	eth = (struct rte_ether_hdr *)rte_pktmbuf_append(m, 64);
	memset(eth, 0x5a, 64);
	eth->dst_addr = dst;
	eth->src_addr = src;
	eth->ether_type = rte_cpu_to_be_16(0x88b5);
	memcpy(eth + 1, &number, sizeof(number));
	return m;
}

static uint32_t
frame_number(const struct rte_mbuf *m)
{
	uint32_t number;

	memcpy(&number, rte_pktmbuf_mtod_offset(m, char *, sizeof(struct rte_ether_hdr)), sizeof(number));
	return number;
}

/* The frames come from queue q of port i, served by its owner. */
static void
arrive(unsigned int i, uint16_t q, struct rte_mbuf **pkts, uint16_t n)
{
	struct port_rxq *from = &ports[i]->rxqs[q];
	struct fwd_worker *worker = &workers[from->worker];

	from->stats.packets += n;
	worker->plan->mode->forward(worker, from, pkts, n);
}

static void
arrive_one(unsigned int i, struct rte_mbuf *m)
{
	arrive(i, 0, &m, 1);
}

static uint64_t
drops(unsigned int i, enum port_drop reason)
{
	struct port_stats stats;

	port_stats_read(ports[i], &stats);
	return stats.drops[reason];
}

/* The frames that port i was sent are exactly these, in this order. */
static void
assert_sent(unsigned int i, unsigned int n, const uint32_t numbers[])
{
	assert_int_equal(fakes[i]->n_sent, n);
	for (unsigned int k = 0; k < n; k++)
		assert_int_equal(frame_number(fakes[i]->sent[k]), numbers[k]);
	fake_forget(fakes[i]);
}

#define ASSERT_SENT(i, ...) \
	assert_sent(i, RTE_DIM(((const uint32_t[]){__VA_ARGS__})), (const uint32_t[]){__VA_ARGS__})
#define ASSERT_SENT_NONE(i) assert_int_equal(fakes[i]->n_sent, 0)

/* --- registry, plan ---------------------------------------------------------------------------------------
 */

/* The state of a mode, from its line. */
static void *
mode_open(const char *line)
{
	struct fwd_config config;
	struct diag diag;
	void *mode_state;

	assert_int_equal(fwd_config_parse(&config, line, &diag), 0);
	assert_int_equal(config.mode->open(&mode_state, config.args, &diag), 0);
	fwd_config_free(&config);
	return mode_state;
}

/* A line of a mode: its keys, what is refused and how, and the line again. */
static void
test_mode_lines(void **state)
{
	static const struct {
		const char *line, *cause, *hint;
	} bad[] = {
		{"swich,ageing=5s", "--forward-mode: no mode \"swich\"",
		 "did you mean --forward-mode switch? modes: io|mac|macswap|rxonly|txonly|icmpecho|switch"},
		{"switch,agein=5s", "--forward-mode switch: mode switch has no key 'agein'",
		 "ageing=5s (keys: ageing, entries)"},
		{"switch,ageing=0", "--forward-mode switch: ageing: 0 is not in 1..1000000", "ageing=1"},
		{"switch,ageing=soon", "--forward-mode switch: ageing: 'soon' is not a number",
		 "ageing=1..1000000"},
		{"switch,ageing=1500ms", "--forward-mode switch: ageing: the table counts whole seconds",
		 "ageing=2s"},
		{"switch,entries=0", "--forward-mode switch: entries: 0 is not in 1..16777216", "entries=1"},
		{"switch,", "--forward-mode switch: nothing stands next to a comma", "switch[,key=value]..."},
		{"switch,ageing=5s,ageing=6s", "--forward-mode switch: key 'ageing' is given twice",
		 "ageing=6s once"},
		{"io,ageing=5s", "--forward-mode io: mode io has no key 'ageing'",
		 "leave it out: mode io has no keys"},
		{"txonly,size=59", "--forward-mode txonly: size: 59 is not in 60..1514", "size=60"},
	};
	static const struct {
		const char *line, *again;
	} good[] = {
		{"io", "io"},
		{"switch", "switch"},
		{"switch,ageing=60,entries=64k", "switch,ageing=60s,entries=64000"},
		{"switch,entries=100,ageing=120000ms", "switch,ageing=120s,entries=100"},
		{"txonly,size=1514", "txonly,size=1514"},
	};
	struct fwd_config config;
	struct diag diag;
	char text[128];

	for (size_t i = 0; i < RTE_DIM(bad); i++) {
		assert_true(fwd_config_parse(&config, bad[i].line, &diag) < 0);
		assert_string_equal(diag.cause, bad[i].cause);
		assert_string_equal(diag.hint, bad[i].hint);
		assert_null(config.args);
	}
	for (size_t i = 0; i < RTE_DIM(good); i++) {
		assert_int_equal(fwd_config_parse(&config, good[i].line, &diag), 0);
		assert_int_equal(fwd_config_print(&config, text, sizeof(text)), strlen(good[i].again));
		assert_string_equal(text, good[i].again);
		fwd_config_free(&config);
		assert_null(config.args);
	}
}

static void
test_modes(void **state)
{
	static const char *const names[] = {"io", "mac", "macswap", "rxonly", "txonly", "icmpecho", "switch"};
	struct fwd_mode *mode;
	struct diag diag;
	unsigned int n = 0;

	for (size_t i = 0; i < RTE_DIM(names); i++) {
		mode = fwd_mode_by_name(names[i]);
		assert_non_null(mode);
		assert_string_equal(mode->name, names[i]);
		assert_true(mode->help[0]);
	}
	list_for_each(mode, fwd_modes())
		n++;
	assert_int_equal(n, RTE_DIM(names));
	assert_null(fwd_mode_by_name("hub"));
	assert_int_equal(fwd_check_pairs(2, &diag), 0);
	assert_int_equal(fwd_check_pairs(1024, &diag), 0);
	assert_int_equal(fwd_check_pairs(3, &diag), -EINVAL);
	assert_string_equal(diag.cause,
			    "forwarding in pairs needs an even number of ports, 2 or more; there are 3");
	assert_string_equal(diag.hint, "add a port or leave one out, or use --forward-mode switch");
	assert_int_equal(fwd_check_pairs(1, &diag), -EINVAL);
	assert_string_equal(diag.hint, "give two ports, or use --forward-mode switch");
	assert_int_equal(fwd_check_pairs(0, &diag), -EINVAL);
}

static void
test_plan(void **state)
{
	struct fwd_plan *plan = setup("io", NULL, 6, 2, 2), *next;
	struct port *fewer[4];
	struct diag diag;

	assert_int_equal(plan->n_ports, 6);
	/* (position / 2 + queue) mod 2 */
	for (unsigned int i = 0; i < 6; i++)
		for (unsigned int q = 0; q < 2; q++) {
			assert_int_equal(ports[i]->rxqs[q].worker, (i / 2 + q) % 2);
			assert_int_equal(ports[i]->txqs[q].worker, (i / 2 + q) % 2);
		}
	assert_int_equal(plan->workers[0].n_queues, 6);
	assert_int_equal(plan->workers[1].n_queues, 6);
	assert_int_equal(plan->workers[0].n_leaving, 0);
	assert_ptr_equal(plan->peer_by_id[4], ports[5]);
	assert_ptr_equal(plan->peer_by_id[5], ports[4]);
	assert_null(plan->peer_by_id[6]);
	assert_null(plan->leaving);

	/* Port 1 leaves, then port 2 in its wake: others keep their workers, pairs close up. */
	fewer[0] = ports[0];
	fewer[1] = ports[3];
	fewer[2] = ports[4];
	fewer[3] = ports[5];
	next = fwd_plan_build(plan->mode, NULL, fewer, 4, ports[1], 2, &diag);
	assert_non_null(next);
	assert_int_equal(next->n_ports, 4);
	assert_ptr_equal(next->leaving, ports[1]);
	assert_ptr_equal(next->port_by_id[1], ports[1]);
	assert_null(next->port_by_id[2]);
	assert_null(next->peer_by_id[1]);
	assert_ptr_equal(next->peer_by_id[0], ports[3]);
	assert_int_equal(ports[3]->rxqs[0].worker, 1);
	for (unsigned int w = 0; w < 2; w++) {
		const struct fwd_worker_plan *worker = &next->workers[w];

		assert_int_equal(worker->n_queues, 4);
		assert_int_equal(worker->n_leaving, 1);
		assert_ptr_equal(worker->queues[4].rxq->port, ports[1]);
		for (unsigned int i = 0; i < 5; i++) {
			assert_int_equal(worker->queues[i].rxq->worker, w);
			assert_int_equal(worker->queues[i].txq->worker, w);
		}
	}
	fwd_plan_free(next);
	/* A leaving port that is still in the list counts as leaving. */
	assert_null(fwd_plan_build(plan->mode, NULL, ports, 6, ports[1], 2, &diag));
	assert_non_null(strstr(diag.cause, "there are 5"));
	next = fwd_plan_build(fwd_mode_by_name("switch"), NULL, ports, 6, ports[1], 2, &diag);
	assert_int_equal(next->n_ports, 5);
	assert_ptr_equal(next->leaving, ports[1]);
	fwd_plan_free(next);
	assert_null(fwd_plan_build(plan->mode, NULL, ports, 6, NULL, 0, &diag));
	assert_null(fwd_plan_build(plan->mode, NULL, ports, 6, NULL, FWD_WORKERS_MAX + 1, &diag));
	fwd_plan_free(NULL);
	teardown(plan);
}

static void
test_plan_full(void **state)
{
	struct fwd_plan *plan = setup("rxonly", NULL, 4, 128, 1);
	struct diag diag;

	assert_int_equal(plan->workers[0].n_queues, FWD_WORKER_QUEUES_MAX);
	fake_open(1);
	assert_null(fwd_plan_build(plan->mode, NULL, ports, 5, NULL, 1, &diag));
	assert_string_equal(diag.cause, "port p4: worker 0 would serve more than 512 queue pairs");
	assert_true(diag.hint[0]);
	teardown(plan);
}

/* --- modes in pairs ---------------------------------------------------------------------------------------
 */

static void
test_io(void **state)
{
	struct fwd_plan *plan = setup("io", NULL, 4, 1, 1);
	struct rte_mbuf *pkts[3];

	for (uint32_t i = 0; i < 3; i++)
		pkts[i] = frame(station(1), station(2), i);
	arrive(0, 0, pkts, 3);
	arrive_one(3, frame(station(1), station(2), 3));
	ASSERT_SENT(1, 0, 1, 2);
	ASSERT_SENT(2, 3);
	ASSERT_SENT_NONE(0);
	ASSERT_SENT_NONE(3);
	plan->peer_by_id[0] = NULL;
	arrive_one(0, frame(station(1), station(2), 4));
	assert_int_equal(drops(0, DROP_NO_PORT), 1);
	fakes[2]->room = 0;
	arrive_one(3, frame(station(1), station(2), 5));
	assert_int_equal(drops(2, DROP_TX_FULL), 1);
	teardown(plan);
}

static void
test_mac(void **state)
{
	static const struct rte_ether_addr by_port_1 = {{0x02, 0, 0, 0, 0, 1}};
	struct fwd_plan *plan = setup("mac", NULL, 2, 1, 1);
	struct rte_mbuf *shared, *clone, *pkts[2];
	const struct rte_ether_hdr *eth;

	/* One frame of ours, one whose data somebody else still reads. */
	shared = frame(station(1), station(2), 8);
	clone = rte_pktmbuf_clone(shared, pool);
	pkts[0] = frame(station(1), station(2), 7);
	pkts[1] = shared;
	arrive(0, 0, pkts, 2);
	assert_int_equal(fakes[1]->n_sent, 2);
	for (int i = 0; i < 2; i++) {
		eth = rte_pktmbuf_mtod(fakes[1]->sent[i], struct rte_ether_hdr *);
		assert_memory_equal(&eth->dst_addr, &by_port_1, 6);
		assert_memory_equal(&eth->src_addr, &ports[1]->mac, 6);
	}
	ASSERT_SENT(1, 7, 8);
	eth = rte_pktmbuf_mtod(clone, struct rte_ether_hdr *);
	assert_memory_equal(&eth->dst_addr, (&(struct rte_ether_addr){{0x02, 0xaa, 0, 0, 0, 1}}), 6);
	/* The clone itself is as little ours. */
	arrive_one(0, clone);
	ASSERT_SENT(1, 8);
	teardown(plan);
}

static void
test_macswap(void **state)
{
	struct fwd_plan *plan = setup("macswap", NULL, 2, 1, 1);
	struct rte_ether_addr one = station(1), two = station(2);
	const struct rte_ether_hdr *eth;

	arrive_one(1, frame(one, two, 1));
	assert_int_equal(fakes[0]->n_sent, 1);
	eth = rte_pktmbuf_mtod(fakes[0]->sent[0], struct rte_ether_hdr *);
	assert_memory_equal(&eth->dst_addr, &two, 6);
	assert_memory_equal(&eth->src_addr, &one, 6);
	ASSERT_SENT(0, 1);
	teardown(plan);
}

/* --- rxonly, txonly ---------------------------------------------------------------------------------------
 */

static void
test_rxonly(void **state)
{
	struct fwd_plan *plan = setup("rxonly", NULL, 1, 1, 1);

	arrive_one(0, frame(station(1), station(2), 1));
	assert_int_equal(drops(0, DROP_SINK), 1);
	ASSERT_SENT_NONE(0);
	teardown(plan);
}

static void
test_txonly(void **state)
{
	struct fwd_mode *mode = fwd_mode_by_name("txonly");
	static struct rte_mbuf *hoard[POOL_SIZE + 1];
	struct rte_ipv4_hdr *ip;
	struct fwd_plan *plan;
	struct port_stats stats;
	void *mode_state = mode_open("txonly");
	unsigned int n_hoard = 0;

	plan = setup("txonly", mode_state, 2, 2, 1);
	mode->generate(&workers[0], &ports[1]->txqs[1]);
	assert_int_equal(fakes[1]->n_sent, 32);
	for (int i = 0; i < 32; i++) {
		struct rte_mbuf *m = fakes[1]->sent[i];
		struct rte_ether_hdr *eth = rte_pktmbuf_mtod(m, struct rte_ether_hdr *);
		struct rte_udp_hdr *udp;

		assert_int_equal(fakes[1]->sent_on[i], 1);
		assert_int_equal(m->pkt_len, 64);
		assert_int_equal(m->data_len, 64);
		assert_memory_equal(&eth->src_addr, &ports[1]->mac, 6);
		assert_memory_equal(&eth->dst_addr, (&(struct rte_ether_addr){{2, 0, 0, 0, 0, 1}}), 6);
		assert_int_equal(eth->ether_type, rte_cpu_to_be_16(RTE_ETHER_TYPE_IPV4));
		ip = (struct rte_ipv4_hdr *)(eth + 1);
		assert_int_equal(rte_be_to_cpu_16(ip->total_length), 50);
		assert_int_equal(rte_be_to_cpu_32(ip->src_addr), RTE_IPV4(198U, 18, 0, 1));
		assert_int_equal(rte_be_to_cpu_32(ip->dst_addr), RTE_IPV4(198U, 18, 0, 2));
		assert_int_equal(rte_raw_cksum(ip, sizeof(*ip)), 0xffff);
		udp = (struct rte_udp_hdr *)(ip + 1);
		assert_int_equal(rte_be_to_cpu_16(udp->dgram_len), 30);
		assert_int_not_equal(udp->dgram_cksum, 0);
		{
			uint16_t cksum = udp->dgram_cksum;

			udp->dgram_cksum = 0;
			assert_int_equal(rte_ipv4_udptcp_cksum(ip, udp), cksum);
		}
	}
	fake_forget(fakes[1]);
	arrive_one(0, frame(station(1), station(2), 1));
	assert_int_equal(drops(0, DROP_SINK), 1);
	/* No buffer left: no burst, nothing counted. */
	while ((hoard[n_hoard] = rte_pktmbuf_alloc(pool)))
		n_hoard++;
	mode->generate(&workers[0], &ports[1]->txqs[0]);
	ASSERT_SENT_NONE(1);
	port_stats_read(ports[1], &stats);
	assert_int_equal(stats.tx_packets, 32);
	rte_pktmbuf_free_bulk(hoard, n_hoard);
	/* Made here, so on no port's receiving side. */
	ports[1]->rxqs[1].stats.packets += 32;
	teardown(plan);
	mode->close(mode_state);
}

static void
test_txonly_sizes(void **state)
{
	static const struct {
		const char *line;
		uint16_t len;
	} row[] = {{"txonly,size=60", 60}, {"txonly,size=1514", 1514}};

	for (size_t i = 0; i < RTE_DIM(row); i++) {
		void *mode_state = mode_open(row[i].line);
		struct fwd_plan *plan = setup("txonly", mode_state, 2, 1, 1);
		struct rte_mbuf *m;
		struct rte_ipv4_hdr *ip;
		struct rte_udp_hdr *udp;

		fwd_mode_by_name("txonly")->generate(&workers[0], &ports[1]->txqs[0]);
		assert_int_equal(fakes[1]->n_sent, 32);
		m = fakes[1]->sent[31];
		ip = rte_pktmbuf_mtod_offset(m, struct rte_ipv4_hdr *, sizeof(struct rte_ether_hdr));
		udp = (struct rte_udp_hdr *)(ip + 1);
		assert_int_equal(m->pkt_len, row[i].len);
		assert_int_equal(m->data_len, row[i].len);
		assert_int_equal(rte_be_to_cpu_16(ip->total_length), row[i].len - 14);
		assert_int_equal(rte_be_to_cpu_16(udp->dgram_len), row[i].len - 34);
		{
			const uint16_t cksum = udp->dgram_cksum;

			udp->dgram_cksum = 0;
			assert_int_equal(rte_ipv4_udptcp_cksum(ip, udp), cksum);
		}
		fake_forget(fakes[1]);
		ports[1]->rxqs[0].stats.packets += 32;
		teardown(plan);
		fwd_mode_by_name("txonly")->close(mode_state);
	}
}

/* --- icmpecho ---------------------------------------------------------------------------------------------
 */

enum { IP_US = RTE_IPV4(192U, 0, 2, 1), IP_THEM = RTE_IPV4(192, 0, 2, 2) };

/* The mbuf's bytes again, in segments of at most `piece`. */
static struct rte_mbuf *
split(struct rte_mbuf *m, uint16_t piece)
{
	struct rte_mbuf *head = NULL;
	uint32_t len = m->pkt_len;

	for (uint32_t at = 0; at < len; at += piece) {
		uint16_t n = (uint16_t)RTE_MIN(len - at, (uint32_t)piece);
		struct rte_mbuf *seg = rte_pktmbuf_alloc(pool);

		memcpy(rte_pktmbuf_append(seg, n), rte_pktmbuf_mtod_offset(m, char *, at), n);
		if (!head)
			head = seg;
		else
			assert_int_equal(rte_pktmbuf_chain(head, seg), 0);
	}
	rte_pktmbuf_free(m);
	return head;
}

static char *
put_eth(struct rte_mbuf *m, struct rte_ether_addr dst, uint16_t type, bool tagged)
{
	struct rte_ether_hdr *eth = (struct rte_ether_hdr *)rte_pktmbuf_append(m, sizeof(*eth));

	eth->dst_addr = dst;
	eth->src_addr = station(9);
	eth->ether_type = rte_cpu_to_be_16(tagged ? RTE_ETHER_TYPE_VLAN : type);
	if (tagged) {
		struct rte_vlan_hdr *vlan = (struct rte_vlan_hdr *)rte_pktmbuf_append(m, sizeof(*vlan));

		vlan->vlan_tci = rte_cpu_to_be_16(42);
		vlan->eth_proto = rte_cpu_to_be_16(type);
	}
	return rte_pktmbuf_mtod_offset(m, char *, m->pkt_len);
}

static struct rte_mbuf *
arp(uint16_t op, uint32_t sender, uint32_t target, bool tagged)
{
	struct rte_mbuf *m = rte_pktmbuf_alloc(pool);
	struct rte_arp_hdr *hdr;

	put_eth(m, broadcast, RTE_ETHER_TYPE_ARP, tagged);
	hdr = (struct rte_arp_hdr *)rte_pktmbuf_append(m, sizeof(*hdr));
	memset(hdr, 0, sizeof(*hdr));
	hdr->arp_hardware = rte_cpu_to_be_16(RTE_ARP_HRD_ETHER);
	hdr->arp_protocol = rte_cpu_to_be_16(RTE_ETHER_TYPE_IPV4);
	hdr->arp_hlen = 6;
	hdr->arp_plen = 4;
	hdr->arp_opcode = rte_cpu_to_be_16(op);
	hdr->arp_data.arp_sha = station(9);
	hdr->arp_data.arp_sip = rte_cpu_to_be_32(sender);
	hdr->arp_data.arp_tip = rte_cpu_to_be_32(target);
	return m;
}

struct ping {
	uint8_t type;
	uint8_t options_len; /* of the IPv4 header */
	uint16_t data_len;
	bool tagged;
	uint16_t fragment;
	uint32_t dst; /* 0: us */
};

static struct rte_mbuf *
ping(const struct ping *p)
{
	struct rte_mbuf *m = rte_pktmbuf_alloc(pool);
	struct rte_ipv4_hdr *ip;
	struct rte_icmp_hdr *icmp;
	uint16_t head = (uint16_t)(sizeof(*ip) + p->options_len),
		 icmp_len = (uint16_t)(sizeof(*icmp) + p->data_len);

	put_eth(m, station(1), RTE_ETHER_TYPE_IPV4, p->tagged);
	ip = (struct rte_ipv4_hdr *)rte_pktmbuf_append(m, (uint16_t)(head + icmp_len));
	memset(ip, 0, head);
	ip->version_ihl = (uint8_t)(0x40 | head / 4);
	ip->total_length = rte_cpu_to_be_16((uint16_t)(head + icmp_len));
	ip->fragment_offset = rte_cpu_to_be_16(p->fragment);
	ip->time_to_live = 64;
	ip->next_proto_id = IPPROTO_ICMP;
	ip->src_addr = rte_cpu_to_be_32(IP_THEM);
	ip->dst_addr = rte_cpu_to_be_32(p->dst ? p->dst : IP_US);
	memset(ip + 1, 1, p->options_len); /* no operation */
	ip->hdr_checksum = (uint16_t)~rte_raw_cksum(ip, head);
	icmp = RTE_PTR_ADD(ip, head);
	icmp->icmp_type = p->type;
	icmp->icmp_code = 0;
	icmp->icmp_cksum = 0;
	icmp->icmp_ident = 0x1234;
	icmp->icmp_seq_nb = 0x0001;
	for (uint16_t i = 0; i < p->data_len; i++)
		((uint8_t *)(icmp + 1))[i] = (uint8_t)(i * 7);
	icmp->icmp_cksum = (uint16_t)~rte_raw_cksum(icmp, icmp_len);
	return m;
}

/* The one frame that port 0 has sent is the answer to p. */
static void
assert_pong(const struct ping *p)
{
	static uint8_t bytes[2048];
	const struct rte_mbuf *m = fakes[0]->sent[0];
	const struct rte_ether_hdr *eth = (const struct rte_ether_hdr *)bytes;
	uint32_t offset = sizeof(*eth) + (p->tagged ? sizeof(struct rte_vlan_hdr) : 0);
	const struct rte_ipv4_hdr *ip = (const struct rte_ipv4_hdr *)(bytes + offset);
	const struct rte_icmp_hdr *icmp;
	struct rte_ether_addr them = station(9);
	const void *data;

	assert_int_equal(fakes[0]->n_sent, 1);
	assert_int_equal(fakes[0]->sent_on[0], 1);
	assert_int_equal(m->pkt_len, offset + sizeof(*ip) + p->options_len + sizeof(*icmp) + p->data_len);
	data = rte_pktmbuf_read(m, 0, m->pkt_len, bytes);
	if (data != bytes)
		memcpy(bytes, data, m->pkt_len);
	assert_memory_equal(&eth->dst_addr, &them, 6);
	assert_memory_equal(&eth->src_addr, &ports[0]->mac, 6);
	if (p->tagged)
		assert_int_equal(bytes[15], 42);
	assert_int_equal(rte_be_to_cpu_32(ip->src_addr), IP_US);
	assert_int_equal(rte_be_to_cpu_32(ip->dst_addr), IP_THEM);
	assert_int_equal(rte_raw_cksum(ip, sizeof(*ip) + p->options_len), 0xffff);
	icmp = (const struct rte_icmp_hdr *)((const uint8_t *)(ip + 1) + p->options_len);
	assert_int_equal(icmp->icmp_type, RTE_IP_ICMP_ECHO_REPLY);
	assert_int_equal(icmp->icmp_ident, 0x1234);
	assert_int_equal(rte_raw_cksum(icmp, sizeof(*icmp) + p->data_len), 0xffff);
	for (uint16_t i = 0; i < p->data_len; i++)
		assert_int_equal(((const uint8_t *)(icmp + 1))[i], (uint8_t)(i * 7));
	fake_forget(fakes[0]);
}

static void
test_icmpecho_ping(void **state)
{
	static const struct ping good[] = {
		{.type = 8, .data_len = 56},
		{.type = 8, .data_len = 0},
		{.type = 8, .data_len = 1472},
		{.type = 8, .data_len = 33, .options_len = 40},
		{.type = 8, .data_len = 1001, .tagged = true},
		{.type = 8, .data_len = 5, .options_len = 8, .tagged = true},
		{.type = 8, .data_len = 56, .fragment = RTE_IPV4_HDR_DF_FLAG},
	};
	static const uint16_t pieces[] = {2000, 128, 50, 16, 14};
	struct fwd_plan *plan = setup("icmpecho", NULL, 1, 2, 1);

	for (size_t i = 0; i < RTE_DIM(good); i++) {
		for (size_t k = 0; k < RTE_DIM(pieces); k++) {
			struct rte_mbuf *m = split(ping(&good[i]), pieces[k]);

			arrive(0, 1, &m, 1);
			assert_pong(&good[i]);
		}
	}
	/* Every data length, so that every value of the checksum's carry comes up. */
	for (uint16_t len = 0; len < 1000; len++) {
		struct ping p = {.type = 8, .data_len = len};
		struct rte_mbuf *m = ping(&p);

		arrive(0, 1, &m, 1);
		assert_pong(&p);
	}
	teardown(plan);
}

static void
test_icmpecho_arp(void **state)
{
	struct fwd_plan *plan = setup("icmpecho", NULL, 1, 2, 1);
	struct rte_ether_addr them = station(9);

	for (int tagged = 0; tagged < 2; tagged++) {
		for (uint16_t piece = 14; piece < 100; piece += 10) {
			struct rte_mbuf *m = split(arp(RTE_ARP_OP_REQUEST, IP_THEM, IP_US, tagged), piece);
			const struct rte_ether_hdr *eth;
			const struct rte_arp_hdr *hdr;

			arrive(0, 1, &m, 1);
			assert_int_equal(fakes[0]->n_sent, 1);
			assert_int_equal(fakes[0]->sent_on[0], 1);
			eth = rte_pktmbuf_mtod(fakes[0]->sent[0], struct rte_ether_hdr *);
			assert_memory_equal(&eth->dst_addr, &them, 6);
			assert_memory_equal(&eth->src_addr, &ports[0]->mac, 6);
			hdr = (const struct rte_arp_hdr *)((const uint8_t *)(eth + 1) + (tagged ? 4 : 0));
			assert_int_equal(hdr->arp_opcode, rte_cpu_to_be_16(RTE_ARP_OP_REPLY));
			assert_memory_equal(&hdr->arp_data.arp_sha, &ports[0]->mac, 6);
			assert_memory_equal(&hdr->arp_data.arp_tha, &them, 6);
			assert_int_equal(rte_be_to_cpu_32(hdr->arp_data.arp_sip), IP_US);
			assert_int_equal(rte_be_to_cpu_32(hdr->arp_data.arp_tip), IP_THEM);
			fake_forget(fakes[0]);
		}
	}
	teardown(plan);
}

static void
test_icmpecho_other(void **state)
{
	struct fwd_plan *plan = setup("icmpecho", NULL, 1, 1, 1);
	struct rte_mbuf *bad[] = {
		frame(station(1), station(2), 1),
		arp(RTE_ARP_OP_REPLY, IP_THEM, IP_US, false),
		arp(RTE_ARP_OP_REQUEST, 0, IP_US, false),        /* probe */
		arp(RTE_ARP_OP_REQUEST, IP_THEM, IP_THEM, true), /* announcement */
		arp(RTE_ARP_OP_REQUEST, IP_THEM, IP_US, false),  /* cut below */
		arp(RTE_ARP_OP_REQUEST, IP_THEM, IP_US, true),   /* cut within the tag below */
		ping(&(struct ping){.type = 0, .data_len = 56}),
		ping(&(struct ping){.type = 8, .data_len = 56, .fragment = RTE_IPV4_HDR_MF_FLAG}),
		ping(&(struct ping){.type = 8, .data_len = 56, .fragment = 1}),
		ping(&(struct ping){.type = 8, .data_len = 56, .dst = RTE_IPV4(224U, 0, 0, 1)}),
		ping(&(struct ping){.type = 8, .data_len = 56, .dst = UINT32_MAX}),
		ping(&(struct ping){.type = 8, .data_len = 56}), /* cut below */
		ping(&(struct ping){.type = 8, .data_len = 56}), /* from a multicast address below */
		ping(&(struct ping){.type = 8, .data_len = 56}), /* header length below the least */
		ping(&(struct ping){.type = 8, .data_len = 0}),  /* shorter than an ICMP header, below */
	};
	struct rte_mbuf *short_frame = frame(station(1), station(2), 1);
	struct rte_ipv4_hdr *ip;

	rte_pktmbuf_trim(bad[4], 1);
	rte_pktmbuf_trim(bad[5], (uint16_t)(bad[5]->pkt_len - 16));
	rte_pktmbuf_trim(bad[11], 1);
	rte_pktmbuf_mtod(bad[12], struct rte_ether_hdr *)->src_addr.addr_bytes[0] |= 1;
	*rte_pktmbuf_mtod_offset(bad[13], uint8_t *, 14) = 0x44;
	ip = rte_pktmbuf_mtod_offset(bad[14], struct rte_ipv4_hdr *, 14);
	ip->total_length = rte_cpu_to_be_16(27);
	arrive(0, 0, bad, RTE_DIM(bad));
	rte_pktmbuf_trim(short_frame, 50);
	arrive_one(0, short_frame);
	assert_int_equal(drops(0, DROP_NOT_ECHO), RTE_DIM(bad) + 1);
	ASSERT_SENT_NONE(0);
	teardown(plan);
}

/* --- handoff ----------------------------------------------------------------------------------------------
 */

static void
test_handoff(void **state)
{
	struct fwd_plan *plan = setup("io", NULL, 2, 2, 2), *empty;
	struct rte_mbuf *pkts[PORT_BURST];
	struct diag diag;

	/* Port 1 has one usable pair only, of worker 0; queue 1 of port 0 is worker 1's. */
	atomic_store(&ports[1]->n_active, 1);
	for (uint32_t i = 0; i < 5; i++)
		pkts[i] = frame(station(1), station(2), i);
	arrive(0, 1, pkts, 2);
	arrive(0, 1, pkts + 2, 3);
	ASSERT_SENT_NONE(1);
	arrive_one(0, frame(station(1), station(2), 100)); /* worker 0 to its own: at once */
	ASSERT_SENT(1, 100);
	assert_int_equal(fwd_handoff_drain(&workers[1]), 0);
	assert_int_equal(fwd_handoff_drain(&workers[0]), 5);
	assert_int_equal(fakes[1]->sent_on[4], 0);
	ASSERT_SENT(1, 0, 1, 2, 3, 4);

	/* A ring holds one less than its size; the rest is counted where it came from. */
	for (uint32_t i = 0; i < FWD_HANDOFF_SIZE + 10; i++) {
		pkts[0] = frame(station(1), station(2), i);
		arrive(0, 1, pkts, 1);
	}
	assert_int_equal(drops(0, DROP_HANDOFF_FULL), 11);
	assert_int_equal(fwd_handoff_drain(&workers[0]), FWD_HANDOFF_SIZE - 1);
	assert_int_equal(fakes[1]->n_sent, FWD_HANDOFF_SIZE - 1);
	for (uint32_t i = 0; i < FWD_HANDOFF_SIZE - 1; i++)
		assert_int_equal(frame_number(fakes[1]->sent[i]), i);
	fake_forget(fakes[1]);

	/* A leaving port still gets what is under way; a port that is gone does not. */
	pkts[0] = frame(station(1), station(2), 7);
	arrive(0, 1, pkts, 1);
	empty = fwd_plan_build(fwd_mode_by_name("switch"), NULL, ports, 1, ports[1], 2, &diag);
	workers[0].plan = empty;
	assert_int_equal(fwd_handoff_drain(&workers[0]), 1);
	ASSERT_SENT(1, 7);
	assert_int_equal(workers[0].lost_port_gone, 0);
	fwd_plan_free(empty);
	pkts[0] = frame(station(1), station(2), 8);
	arrive(0, 1, pkts, 1);
	empty = fwd_plan_build(fwd_mode_by_name("switch"), NULL, ports, 1, NULL, 2, &diag);
	workers[0].plan = empty;
	assert_int_equal(fwd_handoff_drain(&workers[0]), 1);
	ASSERT_SENT_NONE(1);
	assert_int_equal(workers[0].lost_port_gone, 1);
	ports[1]->txqs[0].stats.drops[DROP_NOT_READY]++; /* for the sums */
	fwd_plan_free(empty);

	/* What is still in a ring when workers close is freed. */
	workers[0].plan = plan;
	pkts[0] = frame(station(1), station(2), 9);
	arrive(0, 1, pkts, 1);
	ports[1]->txqs[0].stats.drops[DROP_NOT_READY]++;
	fwd_workers_close(workers, 2);
	teardown(plan);
}

/* --- filter, then steering, then the owner's queue --- */

/* Wants even numbers. */
static uint16_t
even_burst(const struct port_filter *filter, struct rte_mbuf **pkts, uint16_t n)
{
	struct rte_mbuf *unwanted[PORT_BURST];
	uint16_t n_wanted = 0, n_unwanted = 0;

	assert_true(n >= 1 && n <= PORT_BURST);
	for (uint16_t i = 0; i < n; i++) {
		if (frame_number(pkts[i]) % 2)
			unwanted[n_unwanted++] = pkts[i];
		else
			pkts[n_wanted++] = pkts[i];
	}
	memcpy(pkts + n_wanted, unwanted, n_unwanted * sizeof(pkts[0]));
	return n_wanted;
}

static const struct port_filter even = {.burst = even_burst};

/* To pair 1, and nothing that the filter does not want. */
static void
pick_second(const struct port_steer *steer, const struct port *to, const struct port_rxq *from,
	    struct rte_mbuf **pkts, uint16_t n, uint16_t ret_pairs[])
{
	assert_true(n >= 1);
	for (uint16_t i = 0; i < n; i++) {
		assert_int_equal(frame_number(pkts[i]) % 2, 0);
		ret_pairs[i] = 1;
	}
}

static const struct port_steer second = {.pick = pick_second};

static uint64_t
filtered_on(unsigned int i, uint16_t q)
{
	struct port_stats stats;

	port_pair_stats_read(ports[i], q, &stats);
	return stats.drops[DROP_FILTERED];
}

static void
test_filter_then_steer_then_owner(void **state)
{
	struct fwd_plan *plan = setup("io", NULL, 2, 2, 2);
	struct rte_mbuf *pkts[PORT_BURST];

	/* Queue q of both ports is worker q's. */
	atomic_store(&ports[1]->filter, &even);
	for (uint32_t i = 0; i < 6; i++)
		pkts[i] = frame(station(1), station(2), i);
	arrive(0, 1, pkts, 6);
	ASSERT_SENT(1, 0, 2, 4);
	/* What is filtered counts on the pair of the sender's number. */
	assert_int_equal(filtered_on(1, 0), 0);
	assert_int_equal(filtered_on(1, 1), 3);

	/* Steered to the other worker: what is not wanted goes to no ring. */
	atomic_store(&ports[1]->steer, &second);
	for (uint32_t i = 0; i < 7; i++)
		pkts[i] = frame(station(1), station(2), 10 + i);
	arrive(0, 0, pkts, 7);
	assert_int_equal(rte_ring_count(workers[1].handoff_in[0]), 4);
	assert_int_equal(filtered_on(1, 0), 3);
	assert_int_equal(fwd_handoff_drain(&workers[1]), 4);
	ASSERT_SENT(1, 10, 12, 14, 16);
	/* Nothing is left to steer. */
	arrive_one(0, frame(station(1), station(2), 1));
	assert_int_equal(filtered_on(1, 0), 4);

	/* A single pair, of the other worker, and no steering: the count is there, and so are the sums. */
	atomic_store(&ports[1]->steer, NULL);
	atomic_store(&ports[1]->n_active, 1);
	for (uint32_t i = 0; i < 6; i++)
		pkts[i] = frame(station(1), station(2), 20 + i);
	arrive(0, 1, pkts, 6);
	assert_int_equal(rte_ring_count(workers[0].handoff_in[1]), 3);
	assert_int_equal(filtered_on(1, 0), 7);
	assert_int_equal(ports[1]->txqs[0].stats.drops[DROP_FILTERED], 4);
	assert_int_equal(drops(1, DROP_FILTERED), 10);
	fwd_handoff_drain(&workers[0]);
	ASSERT_SENT(1, 20, 22, 24);
	/* Nobody filters the other way. */
	arrive_one(1, frame(station(1), station(2), 1));
	ASSERT_SENT(0, 1);
	teardown(plan);
}

/* Where a mode names the queue itself, or makes the frames. */
static void
test_filter_without_a_choice(void **state)
{
	struct fwd_plan *plan = setup("txonly", NULL, 2, 1, 1);
	struct rte_mbuf *pkts[4];

	atomic_store(&ports[0]->filter, &even);
	for (uint32_t i = 0; i < 4; i++)
		pkts[i] = frame(station(1), station(2), i);
	ports[1]->rxqs[0].stats.packets += 4;
	fwd_send_to(&workers[0], &ports[1]->rxqs[0], &ports[0]->txqs[0], pkts, 4);
	ASSERT_SENT(0, 0, 2);
	pkts[0] = frame(station(1), station(2), 5);
	ports[1]->rxqs[0].stats.packets++;
	fwd_send_made(&workers[0], &ports[0]->txqs[0], pkts, 1);
	ASSERT_SENT_NONE(0);
	assert_int_equal(filtered_on(0, 0), 3);
	teardown(plan);
}

/* --- borrowed frames --- */

enum { BORROWED_LEN = 1000, BORROWED_N = 8 };

/* The sender's memory, and how often it got it back. */
static uint8_t borrowed_memory[BORROWED_N][BORROWED_LEN];
static unsigned int borrowed_done;

static void
borrowed_done_fn(struct port_rxq *rxq)
{
	assert_true(rxq->borrowed);
	rxq->borrowed = false;
	borrowed_done++;
	/* From here on it is the guest's to use for something else. */
	memset(borrowed_memory, 0xbb, sizeof(borrowed_memory));
}

/* A tx that takes borrowed frames copies their tails at once, as vnet_tx() does. What is borrowed is shared
 * with nobody. */
static uint16_t
borrowed_tx(struct port_txq *txq, struct rte_mbuf **pkts, uint16_t n)
{
	for (uint16_t i = 0; i < n; i++)
		assert_true(!borrow_is(pkts[i]) ||
			    (RTE_MBUF_DIRECT(pkts[i]) && rte_mbuf_refcnt_read(pkts[i]) == 1));
	borrow_materialise_burst(pkts, n);
	return fake_tx(txq, pkts, n);
}

/* One that does not must never see one. */
static uint16_t
unborrowed_tx(struct port_txq *txq, struct rte_mbuf **pkts, uint16_t n)
{
	for (uint16_t i = 0; i < n; i++)
		assert_false(borrow_is(pkts[i]));
	return fake_tx(txq, pkts, n);
}

/* Frames 0 .. n - 1, the odd ones borrowed, from queue q of port i; n at most BORROWED_N. */
static void
borrowed_arrive(unsigned int i, uint16_t q, struct rte_ether_addr dst, uint16_t n)
{
	struct port_rxq *from = &ports[i]->rxqs[q];
	struct fwd_worker *worker = &workers[from->worker];
	struct rte_mbuf *pkts[BORROWED_N];

	borrowed_done = 0;
	from->release = borrowed_done_fn;
	from->stats.packets += n;
	for (uint16_t k = 0; k < n; k++) {
		pkts[k] = frame(dst, station(2), k);
		rte_pktmbuf_append(pkts[k], BORROWED_LEN - 64);
		for (unsigned int b = 64; b < BORROWED_LEN; b++)
			rte_pktmbuf_mtod(pkts[k], uint8_t *)[b] = (uint8_t)(k * 31 + b * 7 + (b >> 8));
		if (k % 2 == 0)
			continue;
		memcpy(borrowed_memory[k], rte_pktmbuf_mtod(pkts[k], void *), BORROWED_LEN);
		memset(borrowed_memory[k], 0xcc, BORROW_HEAD);
		memset(rte_pktmbuf_mtod(pkts[k], uint8_t *) + BORROW_HEAD, 0xdd, BORROWED_LEN - BORROW_HEAD);
		borrow_start(pkts[k], borrowed_memory[k]);
		from->borrowed = true;
	}
	fwd_forward(worker, worker->plan->mode, from, pkts, n);
	assert_int_equal(borrowed_done, n > 1);
	assert_false(from->borrowed);
}

/* Port i was sent frames 0 .. n - 1, whole. */
static void
assert_sent_whole(unsigned int i, unsigned int n)
{
	assert_int_equal(fakes[i]->n_sent, n);
	for (unsigned int k = 0; k < n; k++) {
		const struct rte_mbuf *m = fakes[i]->sent[k];

		assert_false(borrow_is(m));
		assert_int_equal(rte_pktmbuf_pkt_len(m), BORROWED_LEN);
		assert_int_equal(frame_number(m), k);
		for (unsigned int b = 64; b < BORROWED_LEN; b++)
			assert_int_equal(rte_pktmbuf_mtod(m, const uint8_t *)[b],
					 (uint8_t)(k * 31 + b * 7 + (b >> 8)));
	}
	fake_forget(fakes[i]);
}

/* Two workers, ports of two pairs; tx says whether ports take borrowed frames. */
static struct fwd_plan *
borrowed_setup(const char *mode, void *mode_state, unsigned int n_ports, bool takes)
{
	struct fwd_plan *plan = setup(mode, mode_state, n_ports, 2, 2);

	for (unsigned int i = 0; i < n_ports; i++)
		for (uint16_t q = 0; q < 2; q++) {
			ports[i]->txqs[q].accepts_borrowed = takes;
			ports[i]->txqs[q].tx = takes ? borrowed_tx : unborrowed_tx;
		}
	return plan;
}

/* In pairs: to a port of this worker and of the other, to one that takes borrowed frames and one that does
 * not.
 */
static void
test_borrowed_in_pairs(void **state)
{
	static const char *const modes[] = {"io", "mac", "macswap"};

	for (size_t i = 0; i < RTE_DIM(modes); i++)
		for (int takes = 0; takes < 2; takes++)
			for (uint16_t q = 0; q < 2; q++) {
				struct fwd_plan *plan = borrowed_setup(modes[i], NULL, 2, takes);

				assert_int_equal(ports[0]->rxqs[q].worker, q);
				borrowed_arrive(0, q, station(1), BORROWED_N);
				assert_sent_whole(1, BORROWED_N);
				/* Pair 1 is the other worker's: by then the sender's memory is its own again.
				 */
				atomic_store(&ports[1]->n_active, 1);
				borrowed_arrive(0, 1, station(1), BORROWED_N);
				ASSERT_SENT_NONE(1);
				assert_int_equal(fwd_handoff_drain(&workers[0]), BORROWED_N);
				assert_sent_whole(1, BORROWED_N);
				teardown(plan);
			}
}

static uint16_t
confirmed_tx(struct port_txq *txq, struct rte_mbuf **pkts, uint16_t n)
{
	assert_false(port_rxq_is_borrowed(&ports[0]->rxqs[0]));
	return unborrowed_tx(txq, pkts, n);
}

/* Somebody waits for the sender's memory: it is given back before anybody may be long in sending the frames.
 */
static void
test_borrowed_to_nobody_for_long(void **state)
{
	struct fwd_plan *plan = borrowed_setup("io", NULL, 2, true);

	atomic_store(&ports[0]->rxqs[0].materialises, true);
	ports[1]->txqs[0].tx = confirmed_tx;
	borrowed_arrive(0, 0, station(1), BORROWED_N);
	assert_sent_whole(1, BORROWED_N);
	atomic_store(&ports[0]->rxqs[0].materialises, false);
	ports[1]->txqs[0].tx = borrowed_tx;
	borrowed_arrive(0, 0, station(1), BORROWED_N);
	assert_sent_whole(1, BORROWED_N);
	teardown(plan);
}

/* Modes that do not send on what they got, and a mode that looks at whole frames. */
static void
test_borrowed_to_nobody(void **state)
{
	static const char *const modes[] = {"rxonly", "icmpecho"};

	for (size_t i = 0; i < RTE_DIM(modes); i++) {
		struct fwd_plan *plan = borrowed_setup(modes[i], NULL, 1, true);

		borrowed_arrive(0, 0, station(1), BORROWED_N);
		ASSERT_SENT_NONE(0);
		teardown(plan);
	}
}

static void
whole_forward(struct fwd_worker *worker, struct port_rxq *from, struct rte_mbuf **pkts, uint16_t n)
{
	fake_tx(&ports[0]->txqs[0], pkts, n);
}

/* A mode that does not say that it takes borrowed frames sees whole ones only. */
static void
test_borrowed_to_a_mode_that_looks(void **state)
{
	static const struct fwd_mode mode = {.name = "whole", .forward = whole_forward};
	struct fwd_plan *plan = borrowed_setup("rxonly", NULL, 1, true);

	plan->mode = &mode;
	borrowed_arrive(0, 0, station(1), BORROWED_N);
	assert_sent_whole(0, BORROWED_N);
	teardown(plan);
}

/* The receiver is full: the frames are dropped there, and the sender has its memory back. */
static void
test_borrowed_to_a_full_port(void **state)
{
	struct fwd_plan *plan = borrowed_setup("io", NULL, 2, true);

	fakes[1]->room = 3;
	borrowed_arrive(0, 0, station(1), BORROWED_N);
	assert_int_equal(drops(1, DROP_TX_FULL), BORROWED_N - 3);
	assert_sent_whole(1, 3);
	teardown(plan);
}

static void
borrowed_drain(void)
{
	for (unsigned int w = 0; w < 2; w++)
		fwd_handoff_drain(&workers[w]);
}

/* The switch: flooded to ports of both kinds, to the other worker, and to the one port that is known. */
static void
test_borrowed_switched(void **state)
{
	void *bridge = mode_open("switch");
	struct fwd_plan *plan;

	plan = borrowed_setup("switch", bridge, 4, true);
	for (uint16_t q = 0; q < 2; q++) {
		ports[2]->txqs[q].accepts_borrowed = false;
		ports[2]->txqs[q].tx = unborrowed_tx;
	}
	atomic_store(&ports[3]->n_active, 1);
	for (uint16_t q = 0; q < 2; q++) {
		borrowed_arrive(0, q, broadcast, BORROWED_N);
		borrowed_drain();
		for (unsigned int i = 1; i < 4; i++)
			assert_sent_whole(i, BORROWED_N);
	}
	for (unsigned int to = 1; to < 4; to++) {
		arrive_one(to, frame(station(2), station((uint8_t)(9 + to)), 0));
		borrowed_drain();
		for (unsigned int i = 0; i < 4; i++)
			fake_forget(fakes[i]);
		fwd_mode_by_name("switch")->tick(bridge);
		for (uint16_t q = 0; q < 2; q++) {
			borrowed_arrive(0, q, station((uint8_t)(9 + to)), BORROWED_N);
			borrowed_drain();
			assert_sent_whole(to, BORROWED_N);
			for (unsigned int i = 0; i < 4; i++)
				ASSERT_SENT_NONE(i);
		}
	}
	teardown(plan);
	fwd_mode_by_name("switch")->close(bridge);
}

/* Queue pairs of unequal ports: the source's index, wrapped around what the destination has. */
static void
test_send_queue(void **state)
{
	struct fwd_plan *plan = setup("io", NULL, 2, 6, 1);

	for (uint16_t n_active = 1; n_active <= 6; n_active++) {
		atomic_store(&ports[1]->n_active, n_active);
		for (uint16_t q = 0; q < 6; q++) {
			struct rte_mbuf *m = frame(station(1), station(2), q);

			arrive(0, q, &m, 1);
			assert_int_equal(fakes[1]->sent_on[0], q % n_active);
			ASSERT_SENT(1, q);
		}
	}
	teardown(plan);
}

static void
test_workers_bad(void **state)
{
	struct diag diag;

	assert_int_equal(fwd_workers_open(workers, 0, pool, &diag), -EINVAL);
	assert_int_equal(fwd_workers_open(workers, FWD_WORKERS_MAX + 1, pool, &diag), -EINVAL);
	assert_string_equal(diag.hint, "1..64 workers");
}

/* --- switch -----------------------------------------------------------------------------------------------
 */

static void *
switch_state(uint32_t n_entries)
{
	struct diag diag;
	struct fdb *bridge;

	assert_int_equal(fdb_open(&bridge, n_entries, FWD_WORKERS_MAX, &diag), 0);
	return bridge;
}

static void
switch_free(void *bridge)
{
	fwd_mode_by_name("switch")->close(bridge);
}

static int
find(const void *bridge, uint8_t number)
{
	struct rte_ether_addr mac = station(number);

	return fdb_find(bridge, &mac);
}

static void
test_switch_learn(void **state)
{
	void *bridge = switch_state(64);
	struct fwd_plan *plan = setup("switch", bridge, 4, 1, 1);
	struct port_stats stats;
	struct rte_mbuf *pkts[6];

	/* Nobody is known: to everybody else. */
	arrive_one(0, frame(station(2), station(1), 1));
	ASSERT_SENT_NONE(0);
	ASSERT_SENT(1, 1);
	ASSERT_SENT(2, 1);
	ASSERT_SENT(3, 1);
	port_stats_read(ports[0], &stats);
	assert_int_equal(stats.copies, 2);
	assert_int_equal(find(bridge, 1), -1);
	fdb_tick(bridge, 1);
	assert_int_equal(find(bridge, 1), 0);
	assert_int_equal(fdb_count(bridge), 1);
	/* The answer goes to port 0 alone, and teaches. */
	arrive_one(2, frame(station(1), station(2), 2));
	ASSERT_SENT(0, 2);
	ASSERT_SENT_NONE(1);
	ASSERT_SENT_NONE(3);
	fdb_tick(bridge, 1);
	arrive_one(0, frame(station(2), station(1), 3));
	ASSERT_SENT(2, 3);
	ASSERT_SENT_NONE(1);
	ASSERT_SENT_NONE(3);
	/* Behind the port it came from. */
	arrive_one(2, frame(station(2), station(3), 4));
	assert_int_equal(drops(2, DROP_SAME_PORT), 1);
	/* Broadcast and multicast, known source. */
	arrive_one(0, frame(broadcast, station(1), 5));
	arrive_one(0, frame((struct rte_ether_addr){{1, 0, 0x5e, 0, 0, 1}}, station(1), 6));
	for (unsigned int i = 1; i < 4; i++)
		ASSERT_SENT(i, 5, 6);
	ASSERT_SENT_NONE(0);
	/* Not for bridges; the neighbours of that block are. */
	for (uint8_t i = 0; i < 18; i++)
		arrive_one(0, frame((struct rte_ether_addr){{1, 0x80, 0xc2, 0, 0, i}}, station(1), i));
	assert_int_equal(drops(0, DROP_NO_PORT), 16);
	ASSERT_SENT(1, 16, 17);
	fake_forget(fakes[2]);
	fake_forget(fakes[3]);
	/* Sources that are no address of a station. */
	fdb_tick(bridge, 1);
	assert_int_equal(fdb_count(bridge), 3);
	arrive_one(0, frame(station(2), broadcast, 1));
	arrive_one(0, frame(station(2), (struct rte_ether_addr){{1, 0, 0, 0, 0, 1}}, 1));
	arrive_one(0, frame(station(2), (struct rte_ether_addr){{0}}, 1));
	fdb_tick(bridge, 1);
	assert_int_equal(fdb_count(bridge), 3);
	fake_forget(fakes[2]);

	/* A burst for all kinds of destinations: each port gets its frames in order. */
	pkts[0] = frame(station(2), station(1), 10);
	pkts[1] = frame(broadcast, station(1), 11);
	pkts[2] = frame(station(2), station(1), 12);
	pkts[3] = frame(station(77), station(1), 13);
	pkts[4] = frame(station(1), station(1), 14);
	pkts[5] = frame(station(3), station(1), 15);
	arrive(0, 0, pkts, 6);
	ASSERT_SENT(1, 11, 13);
	ASSERT_SENT(2, 10, 11, 12, 13, 15);
	ASSERT_SENT(3, 11, 13);
	assert_int_equal(drops(0, DROP_SAME_PORT), 1);
	teardown(plan);
	switch_free(bridge);
}

static void
test_switch_move(void **state)
{
	void *bridge = switch_state(64);
	struct fwd_plan *plan = setup("switch", bridge, 3, 1, 1);

	arrive_one(0, frame(broadcast, station(1), 1));
	fdb_tick(bridge, 1);
	arrive_one(1, frame(station(1), station(2), 2)); /* fills the cache of the worker */
	assert_int_equal(find(bridge, 1), 0);
	arrive_one(2, frame(broadcast, station(1), 3)); /* station 1 speaks from port 2 now */
	fdb_tick(bridge, 1);
	assert_int_equal(find(bridge, 1), 2);
	assert_int_equal(fdb_count(bridge), 2);
	for (unsigned int i = 0; i < 3; i++)
		fake_forget(fakes[i]);
	arrive_one(1, frame(station(1), station(2), 4));
	ASSERT_SENT(2, 4);
	ASSERT_SENT_NONE(0);
	teardown(plan);
	switch_free(bridge);
}

static void
test_switch_age(void **state)
{
	void *bridge = switch_state(64);
	struct fwd_plan *plan = setup("switch", bridge, 3, 1, 1);

	workers[0].now_s = 1000;
	arrive_one(0, frame(broadcast, station(1), 1));
	arrive_one(0, frame(broadcast, station(2), 1));
	fdb_tick(bridge, 1000);
	assert_int_equal(fdb_count(bridge), 2);
	workers[0].now_s = 1200;
	arrive_one(0, frame(broadcast, station(2), 1)); /* alive */
	fdb_tick(bridge, 1300);
	assert_int_equal(fdb_count(bridge), 2); /* exactly the age: kept */
	fdb_tick(bridge, 1301);
	assert_int_equal(find(bridge, 1), -1);
	assert_int_equal(find(bridge, 2), 0);
	for (unsigned int i = 0; i < 3; i++)
		fake_forget(fakes[i]);
	arrive_one(1, frame(station(1), station(3), 2)); /* forgotten: flooded again */
	ASSERT_SENT(0, 2);
	ASSERT_SENT(2, 2);
	fdb_set_ageing_s(bridge, 5);
	fdb_tick(bridge, 1302); /* learns 3, forgets 2 */
	assert_int_equal(find(bridge, 2), -1);
	assert_int_equal(find(bridge, 3), 1);
	fdb_tick(bridge, 1308);
	assert_int_equal(fdb_count(bridge), 0);
	/* The clock of a worker may be a second ahead. */
	workers[0].now_s = 1310;
	arrive_one(0, frame(broadcast, station(1), 1));
	fdb_tick(bridge, 1310);
	workers[0].now_s = 1312;
	arrive_one(0, frame(broadcast, station(1), 1));
	fdb_tick(bridge, 1311);
	assert_int_equal(fdb_count(bridge), 1);
	teardown(plan);
	switch_free(bridge);
}

static void
test_switch_full(void **state)
{
	void *bridge = switch_state(8);
	struct fwd_plan *plan = setup("switch", bridge, 3, 1, 1);

	for (uint8_t i = 1; i <= 10; i++)
		arrive_one(0, frame(broadcast, station(i), i));
	fdb_tick(bridge, 1);
	assert_int_equal(fdb_count(bridge), 8);
	for (unsigned int i = 0; i < 3; i++)
		fake_forget(fakes[i]);
	assert_int_equal(find(bridge, 8), 0);
	assert_int_equal(find(bridge, 9), -1);
	arrive_one(1, frame(station(9), station(8), 1)); /* not learnt: flooded; 8 moves all the same */
	ASSERT_SENT(0, 1);
	ASSERT_SENT(2, 1);
	fdb_tick(bridge, 2);
	assert_int_equal(find(bridge, 8), 1);
	/* When all have aged there is room again, and the slots of the hash are used anew, many times. */
	for (uint32_t round = 1; round < 50; round++) {
		uint32_t now_s = round * 1000;

		fdb_tick(bridge, now_s);
		assert_int_equal(fdb_count(bridge), 0);
		workers[0].now_s = now_s;
		for (uint8_t i = 0; i < 8; i++)
			arrive_one(2, frame(broadcast, station((uint8_t)(round + i)), i));
		fdb_tick(bridge, now_s);
		assert_int_equal(fdb_count(bridge), 8);
		assert_int_equal(find(bridge, (uint8_t)(round + 7)), 2);
		for (unsigned int i = 0; i < 3; i++)
			fake_forget(fakes[i]);
	}
	teardown(plan);
	switch_free(bridge);
}

static void
test_switch_remove(void **state)
{
	struct fwd_mode *mode = fwd_mode_by_name("switch");
	void *bridge = switch_state(64);
	struct fwd_plan *plan = setup("switch", bridge, 3, 1, 1), *next;
	struct port *two[] = {ports[0], ports[2]};
	struct diag diag;

	arrive_one(1, frame(broadcast, station(1), 1));
	arrive_one(2, frame(broadcast, station(2), 1));
	fdb_tick(bridge, 1);
	arrive_one(0, frame(station(1), station(3), 2));
	fake_forget(fakes[1]);
	arrive_one(1, frame(broadcast, station(4), 1)); /* waits to be learnt while its port goes */
	for (unsigned int i = 0; i < 3; i++)
		fake_forget(fakes[i]);

	mode->port_removed(bridge, ports[1]);
	assert_int_equal(find(bridge, 1), -1);
	assert_int_equal(find(bridge, 2), 2);
	arrive_one(1, frame(broadcast, station(5), 3)); /* the worker does not know yet */
	for (unsigned int i = 0; i < 3; i++)
		fake_forget(fakes[i]);
	next = fwd_plan_build(mode, bridge, two, 2, ports[1], 1, &diag);
	workers[0].plan = next;
	arrive_one(0,
		   frame(station(1), station(3), 4)); /* not to the leaving port, flooded among the others */
	ASSERT_SENT(2, 4);
	ASSERT_SENT_NONE(1);
	fdb_tick(bridge, 1);
	assert_int_equal(find(bridge, 4), -1);
	assert_int_equal(find(bridge, 5), -1);
	assert_int_equal(find(bridge, 3), 0);
	/* Were it learnt again all the same, nothing would be sent to a leaving port. */
	workers[0].plan = plan;
	arrive_one(1, frame(station(3), station(1), 5));
	ASSERT_SENT(0, 5);
	fdb_tick(bridge, 1);
	assert_int_equal(find(bridge, 1), 1);
	workers[0].plan = next;
	arrive_one(0, frame(station(1), station(3), 6));
	ASSERT_SENT(2, 6);
	ASSERT_SENT_NONE(1);
	fwd_plan_free(next);

	/* One port left: nowhere to go. */
	next = fwd_plan_build(mode, bridge, two, 1, NULL, 1, &diag);
	workers[0].plan = next;
	arrive_one(0, frame(broadcast, station(3), 7));
	assert_int_equal(drops(0, DROP_NO_PORT), 1);
	fwd_plan_free(next);
	workers[0].plan = plan;
	teardown(plan);
	switch_free(bridge);
}

static void
test_switch_no_clone(void **state)
{
	static struct rte_mbuf *hoard[POOL_SIZE + 1];
	void *bridge = switch_state(64);
	struct fwd_plan *plan = setup("switch", bridge, 4, 1, 1);
	struct rte_mbuf *pkts[2] = {frame(broadcast, station(1), 1), frame(broadcast, station(1), 2)};
	struct port_stats stats;
	unsigned int n_hoard = 0;

	while ((hoard[n_hoard] = rte_pktmbuf_alloc(pool)))
		n_hoard++;
	rte_pktmbuf_free(hoard[--n_hoard]); /* room for one copy */
	arrive(0, 0, pkts, 2);
	port_stats_read(ports[0], &stats);
	assert_int_equal(stats.copies, 4);
	assert_int_equal(stats.drops[DROP_NO_CLONE], 3);
	ASSERT_SENT(1, 1);
	ASSERT_SENT_NONE(2);
	ASSERT_SENT(3, 1, 2); /* the frames themselves */
	rte_pktmbuf_free_bulk(hoard, n_hoard);
	teardown(plan);
	switch_free(bridge);
}

/* Each port that a frame is flooded to has a word of its own. */
static void
test_filter_of_flooded_frames(void **state)
{
	void *bridge = switch_state(16);
	struct fwd_plan *plan = setup("switch", bridge, 4, 1, 2);
	struct rte_mbuf *pkts[3];

	atomic_store(&ports[1]->filter, &even);
	atomic_store(&ports[3]->filter, &even);
	for (uint32_t i = 0; i < 3; i++)
		pkts[i] = frame(broadcast, station(1), i);
	arrive(0, 0, pkts, 3);
	/* Ports 2 and 3 are worker 1's. */
	assert_int_equal(rte_ring_count(workers[1].handoff_in[0]), 5);
	fwd_handoff_drain(&workers[1]);
	ASSERT_SENT(1, 0, 2);
	ASSERT_SENT(2, 0, 1, 2);
	ASSERT_SENT(3, 0, 2);
	assert_int_equal(drops(1, DROP_FILTERED), 1);
	assert_int_equal(drops(3, DROP_FILTERED), 1);
	teardown(plan);
	switch_free(bridge);
}

static struct rte_ether_addr
station_of_port(unsigned int i)
{
	return (struct rte_ether_addr){{0x02, 0xbb, 0, 0, (uint8_t)(i >> 8), (uint8_t)i}};
}

static void
test_switch_many_ports(void **state)
{
	void *bridge = switch_state(2048);
	struct fwd_plan *plan = setup("switch", bridge, PORT_MAX, 1, 4);
	struct rte_mbuf *pkts[PORT_BURST];

	/* Everybody speaks to an address behind port 0, which answers a burst for 32 ports at a time. */
	arrive_one(0, frame(broadcast, station_of_port(0), 0));
	for (unsigned int w = 0; w < 4; w++)
		assert_int_equal(fwd_handoff_drain(&workers[w]), w ? PORT_MAX / 4 : 0);
	fdb_tick(bridge, 1);
	for (unsigned int i = 1; i < PORT_MAX; i++) {
		assert_int_equal(fakes[i]->n_sent, 1);
		fake_forget(fakes[i]);
		arrive_one(i, frame(station_of_port(0), station_of_port(i), i));
	}
	fwd_handoff_drain(&workers[0]);
	assert_int_equal(fakes[0]->n_sent, PORT_MAX - 1);
	fake_forget(fakes[0]);
	fdb_tick(bridge, 1);
	assert_int_equal(fdb_count(bridge), PORT_MAX);
	for (unsigned int first = 1; first + PORT_BURST <= PORT_MAX; first += PORT_BURST) {
		for (unsigned int i = 0; i < PORT_BURST; i++)
			pkts[i] = frame(station_of_port(first + i), station_of_port(0), first + i);
		arrive(0, 0, pkts, PORT_BURST);
	}
	for (unsigned int w = 0; w < 4; w++)
		fwd_handoff_drain(&workers[w]);
	for (unsigned int i = 1; i + PORT_BURST <= PORT_MAX; i++)
		ASSERT_SENT(i, i);
	teardown(plan);
	switch_free(bridge);
}

/* Any number of addresses, without pattern. */
static struct rte_ether_addr
station_of_many(uint32_t i)
{
	uint32_t scattered = i * 2654435761u;

	return (struct rte_ether_addr){{0x02, 0xcc, (uint8_t)(scattered >> 24), (uint8_t)(scattered >> 16),
					(uint8_t)(scattered >> 8), (uint8_t)scattered}};
}

/* n stations from `first` on speak from port i to everybody, and are heard. */
static void
speak(void *bridge, unsigned int i, uint32_t first, uint32_t n, uint32_t now_s)
{
	struct rte_mbuf *pkts[PORT_BURST];

	for (uint32_t end = first + n; first < end; first += PORT_BURST) {
		uint16_t n_burst = (uint16_t)RTE_MIN(end - first, (uint32_t)PORT_BURST);

		for (uint16_t k = 0; k < n_burst; k++)
			pkts[k] = frame(broadcast, station_of_many(first + k), first + k);
		arrive(i, 0, pkts, n_burst);
		fdb_tick(bridge, now_s);
		for (unsigned int k = 0; k < n_fakes; k++)
			fake_forget(fakes[k]);
	}
}

/*
 * As many addresses as the table may have: each finds a place and is found, in bursts to several ports. Half
 * of them age, others come in their places, and the rest is found as before.
 */
static void
test_switch_many_addresses(void **state)
{
	void *bridge = switch_state(FDB_ENTRIES);
	struct fwd_plan *plan = setup("switch", bridge, 4, 1, 1);
	struct rte_mbuf *pkts[PORT_BURST];

	workers[0].now_s = 1000;
	for (unsigned int i = 0; i < 4; i++)
		speak(bridge, i, i * FDB_ENTRIES / 4, FDB_ENTRIES / 4, 1000);
	for (int round = 0; round < 6; round++) {
		assert_int_equal(fdb_count(bridge), FDB_ENTRIES);
		for (uint32_t n = 0; n < FDB_ENTRIES; n++) {
			struct rte_ether_addr mac = station_of_many(n);

			assert_int_equal(fdb_find(bridge, &mac), n / (FDB_ENTRIES / 4));
		}
		for (uint32_t n = 0; n < FDB_ENTRIES / 4; n += PORT_BURST) {
			/* From port 0 to 1, 2, 3, 1 .. */
			for (uint32_t k = 0; k < PORT_BURST; k++)
				pkts[k] = frame(station_of_many(n + k + (k % 3 + 1) * FDB_ENTRIES / 4),
						station_of_many(n + k), k);
			arrive(0, 0, pkts, PORT_BURST);
			ASSERT_SENT_NONE(0);
			ASSERT_SENT(1, 0, 3, 6, 9, 12, 15, 18, 21, 24, 27, 30);
			ASSERT_SENT(2, 1, 4, 7, 10, 13, 16, 19, 22, 25, 28, 31);
			ASSERT_SENT(3, 2, 5, 8, 11, 14, 17, 20, 23, 26, 29);
		}
		assert_int_equal(fdb_waiting(bridge), 0);
		/* Ports 1 and 3 fall silent; strangers take their places, then leave them again. */
		for (uint32_t half = 0; half < 2; half++) {
			uint32_t now_s = workers[0].now_s += FDB_AGEING_S;
			uint32_t strangers = FDB_ENTRIES * (2 + (uint32_t)round);

			speak(bridge, 0, 0, FDB_ENTRIES / 4, now_s);
			speak(bridge, 2, FDB_ENTRIES / 2, FDB_ENTRIES / 4, now_s);
			fdb_tick(bridge, now_s + 1);
			assert_int_equal(fdb_count(bridge), FDB_ENTRIES / 2);
			workers[0].now_s = ++now_s;
			speak(bridge, 1, half ? FDB_ENTRIES / 4 : strangers, FDB_ENTRIES / 4, now_s);
			speak(bridge, 3, half ? 3 * FDB_ENTRIES / 4 : strangers + FDB_ENTRIES / 2,
			      FDB_ENTRIES / 4, now_s);
			assert_int_equal(fdb_count(bridge), FDB_ENTRIES);
		}
	}
	teardown(plan);
	switch_free(bridge);
}

/* Addresses in a row, as one maker's cards have them, find their places whatever the secrets are. */
static void
test_switch_addresses_in_a_row(void **state)
{
	enum { SECRETS = 60, N = 1024, N_STRIDES = 3 };
	static const uint8_t changing[N_STRIDES] = {5, 4, 1}; /* the lower byte of the two that count */

	for (unsigned int i = 0; i < SECRETS; i++) {
		void *bridge = switch_state(N);
		struct fwd_plan *plan = setup("switch", bridge, 4, 1, 1);
		const uint8_t low = changing[i % N_STRIDES];

		for (uint32_t n = 0; n < N; n++) {
			struct rte_ether_addr mac = {{0x02, 0xcc}};

			mac.addr_bytes[low] = (uint8_t)n;
			/* 0 is the byte that says whether it is a group's */
			mac.addr_bytes[low > 1 ? low - 1 : 2] = (uint8_t)(n >> 8);
			arrive_one(1, frame(broadcast, mac, n));
			fdb_tick(bridge, 1);
			for (unsigned int k = 0; k < n_fakes; k++)
				fake_forget(fakes[k]);
		}
		assert_int_equal(fdb_count(bridge), N);
		teardown(plan);
		switch_free(bridge);
	}
}

/* A worker tells of an address once, until the table has changed: not with each frame. */
static void
test_switch_told(void **state)
{
	void *bridge = switch_state(64);
	struct fwd_plan *plan = setup("switch", bridge, 3, 1, 1);
	struct rte_mbuf *pkts[PORT_BURST];

	/* The same address over and over, in one burst and the next. */
	for (int burst = 0; burst < 3; burst++) {
		for (uint8_t k = 0; k < PORT_BURST; k++)
			pkts[k] = frame(station(1), station(2), k);
		arrive(0, 0, pkts, PORT_BURST);
		for (unsigned int i = 1; i < 3; i++) {
			assert_int_equal(fakes[i]->n_sent, PORT_BURST);
			fake_forget(fakes[i]);
		}
	}
	assert_int_equal(fdb_waiting(bridge), 1);
	fdb_tick(bridge, 1);
	arrive_one(0, frame(broadcast, station(1), 0));
	fake_forget(fakes[1]);
	fake_forget(fakes[2]);
	fdb_tick(bridge, 1);
	assert_int_equal(fdb_waiting(bridge), 0);
	assert_int_equal(fdb_count(bridge), 2);
	arrive_one(1, frame(station(2), station(3), 1));
	fake_forget(fakes[0]);
	arrive_one(1, frame(station(2), station(3), 2));
	assert_int_equal(fdb_waiting(bridge), 1);
	fdb_tick(bridge, 1);
	/* A station that moves is told of once, and again when it moves back. */
	for (uint32_t i = 0; i < 4; i++) {
		unsigned int port = i % 2 ? 0 : 2;

		for (int k = 0; k < 3; k++)
			arrive_one(port, frame(station(3), station(1), i));
		assert_int_equal(fdb_waiting(bridge), 1);
		/* Till then, frames go where it was. */
		assert_int_equal(find(bridge, 1), 2 - port);
		fdb_tick(bridge, 1);
		assert_int_equal(find(bridge, 1), port);
	}
	for (unsigned int i = 0; i < 3; i++)
		fake_forget(fakes[i]);
	/* Within a burst: what is known goes to its port, before and after the tick another one. */
	for (uint8_t k = 0; k < 4; k++)
		pkts[k] = frame(station(1), station(3), k);
	arrive(1, 0, pkts, 4);
	ASSERT_SENT(0, 0, 1, 2, 3);
	arrive_one(2, frame(station(3), station(1), 4));
	for (uint8_t k = 0; k < 4; k++)
		pkts[k] = frame(station(1), station(3), k);
	arrive(1, 0, pkts, 4);
	ASSERT_SENT(0, 0, 1, 2, 3);
	fdb_tick(bridge, 1);
	for (uint8_t k = 0; k < 4; k++)
		pkts[k] = frame(station(1), station(3), k);
	arrive(1, 0, pkts, 4);
	ASSERT_SENT(2, 0, 1, 2, 3);
	ASSERT_SENT_NONE(0);
	ASSERT_SENT(1, 4);
	/* No address, though free places in the table look like it. */
	arrive_one(1, frame((struct rte_ether_addr){{0}}, station(3), 5));
	ASSERT_SENT(0, 5);
	ASSERT_SENT(2, 5);
	teardown(plan);
	switch_free(bridge);
}

/*
 * One worker sees nothing of what happens while the other makes 2^16 changes and one more of the table: then
 * it tells all the same what it told before, for that has come to nothing.
 */
static void
test_switch_generations(void **state)
{
	void *bridge = switch_state(64);
	struct fwd_plan *plan = setup("switch", bridge, 4, 1, 2);
	struct fwd_mode *mode = fwd_mode_by_name("switch");

	assert_int_not_equal(ports[0]->txqs[0].worker, ports[2]->txqs[0].worker);
	assert_int_equal(ports[2]->txqs[0].worker, ports[3]->txqs[0].worker);
	arrive_one(0, frame(station(2), station(1), 0));
	assert_int_equal(fdb_waiting(bridge), 1);
	mode->port_removed(bridge, ports[0]);
	/* Passed over, for the port is gone: change 1. */
	fdb_tick(bridge, 1);
	assert_int_equal(find(bridge, 1), -1);
	for (uint32_t i = 1; i <= 1 << 16; i++) {
		arrive_one(2 + i % 2, frame(station(9), station(9), 0));
		fdb_tick(bridge, 1);
		assert_int_equal(find(bridge, 9), 2 + i % 2);
		for (unsigned int k = 0; k < 4; k++)
			fake_forget(fakes[k]);
		for (unsigned int w = 0; w < 2; w++)
			fwd_handoff_drain(&workers[w]);
		if (i < (1 << 16) - 1)
			continue;
		arrive_one(0, frame(station(9), station(1), 0));
		assert_int_equal(fdb_waiting(bridge), i == (1 << 16) - 1 ? 1 : 0);
	}
	assert_int_equal(find(bridge, 1), 0);
	for (unsigned int w = 0; w < 2; w++)
		fwd_handoff_drain(&workers[w]);
	teardown(plan);
	switch_free(bridge);
}

/* Each port has its frames in the order in which they came, whatever lies between them. */
static void
test_switch_order(void **state)
{
	static const struct rte_ether_addr reserved = {{1, 0x80, 0xc2, 0, 0, 0}};
	void *bridge = switch_state(64);
	struct fwd_plan *plan = setup("switch", bridge, 4, 1, 1);

	for (uint8_t i = 0; i < 4; i++) {
		arrive_one(i, frame(broadcast, station((uint8_t)(i + 1)), 0));
		fdb_tick(bridge, 1);
	}
	for (unsigned int i = 0; i < 4; i++)
		fake_forget(fakes[i]);
	for (int round = 0; round < 2000; round++) {
		uint32_t expected[4][PORT_BURST];
		uint16_t n_expected[4] = {0}, n = (uint16_t)(1 + rng_below(PORT_BURST));
		struct rte_mbuf *pkts[PORT_BURST];

		for (uint16_t k = 0; k < n; k++) {
			/* Ports, unknown, broadcast, reserved; most frames go where the one before went. */
			static unsigned int kind;

			if (rng_below(3) == 0)
				kind = rng_below(7);
			pkts[k] = frame(kind < 4    ? station((uint8_t)(kind + 1))
					: kind == 4 ? station(99)
					: kind == 5 ? broadcast
						    : reserved,
					station(1), k);
			for (unsigned int i = 1; i < 4; i++)
				if (kind == i || kind == 4 || kind == 5)
					expected[i][n_expected[i]++] = k;
		}
		arrive(0, 0, pkts, n);
		ASSERT_SENT_NONE(0);
		for (unsigned int i = 1; i < 4; i++)
			assert_sent(i, n_expected[i], expected[i]);
	}
	teardown(plan);
	switch_free(bridge);
}

/* --- all together -----------------------------------------------------------------------------------------
 */

/* Random traffic, full ports, full rings, ports that lose queues: the sums hold, and flows keep their order.
 */
static void
test_conservation(void **state)
{
	static const char *const names[] = {"io", "mac", "macswap", "rxonly", "icmpecho", "switch"};
	void *bridge = switch_state(16);

	for (size_t mode = 0; mode < RTE_DIM(names); mode++) {
		struct fwd_plan *plan = setup(names[mode], bridge, 6, 3, 3);
		uint32_t number = 0;

		for (int round = 0; round < 3000; round++) {
			struct rte_mbuf *pkts[PORT_BURST];
			unsigned int port = rng_below(6);
			uint16_t queue = (uint16_t)rng_below(3);
			uint16_t n = (uint16_t)(1 + rng_below(PORT_BURST));

			if (rte_mempool_avail_count(pool) < PORT_BURST)
				for (unsigned int i = 0; i < 6; i++)
					fake_forget(fakes[i]);
			for (uint16_t i = 0; i < n; i++) {
				unsigned int dst = rng_below(20);

				pkts[i] = frame(dst ? station((uint8_t)dst) : broadcast,
						station((uint8_t)rng_below(20)), number++);
			}
			arrive(port, queue, pkts, n);
			if (rng_below(40) == 0)
				fwd_handoff_drain(&workers[rng_below(3)]);
			if (rng_below(20) == 0)
				fdb_tick(bridge, (uint32_t)round);
			if (rng_below(10) == 0) {
				fake_forget(fakes[port]);
				fakes[port]->room = rng_below(200);
				atomic_store(&ports[port]->filter, rng_below(3) ? NULL : &even);
				atomic_store(&ports[port]->n_active, (uint16_t)(1 + rng_below(3)));
			}
		}
		for (unsigned int w = 0; w < 3; w++)
			fwd_handoff_drain(&workers[w]);
		teardown(plan);
	}
	switch_free(bridge);
}

/*
 * Two workers on threads of their own, while this thread learns, ages and forgets as fast as it can, in a
 * table too small for all: no frame is lost or comes back out of its own port. Most of its worth is under the
 * sanitizers.
 */
enum { RACE_STATIONS = 40 };

static struct {
	atomic_uint stop;
	atomic_uint n_wrong;
} race;

static uint16_t
race_tx(struct port_txq *txq, struct rte_mbuf **pkts, uint16_t n)
{
	for (uint16_t i = 0; i < n; i++) {
		const struct rte_ether_hdr *eth = rte_pktmbuf_mtod(pkts[i], struct rte_ether_hdr *);

		/* Station s is behind port s % 4 and nowhere else. */
		if (eth->src_addr.addr_bytes[5] % 4 == txq->port->id)
			atomic_fetch_add(&race.n_wrong, 1);
	}
	txq->stats.packets += n;
	rte_pktmbuf_free_bulk(pkts, n);
	return n;
}

static void *
race_worker(void *arg)
{
	struct fwd_worker *worker = arg;
	const struct fwd_worker_plan *own = &worker->plan->workers[worker->idx];
	struct rng rng = rng_stream(worker->idx);
	uint32_t rounds = 0;

	rte_thread_register();
	while (!atomic_load_explicit(&race.stop, memory_order_relaxed)) {
		for (uint16_t q = 0; q < own->n_queues; q++) {
			struct port_rxq *from = own->queues[q].rxq;
			struct rte_mbuf *pkts[PORT_BURST];
			uint16_t n = 0;

			while (n < PORT_BURST) {
				uint8_t src =
					(uint8_t)(rng_draw(&rng, RACE_STATIONS / 4) * 4 + from->port->id);
				uint8_t dst = (uint8_t)rng_draw(&rng, RACE_STATIONS);

				pkts[n] = rte_pktmbuf_alloc(pool);
				if (!pkts[n])
					break;
				rte_pktmbuf_append(pkts[n], 64);
				rte_pktmbuf_mtod(pkts[n], struct rte_ether_hdr *)->src_addr = station(src);
				rte_pktmbuf_mtod(pkts[n], struct rte_ether_hdr *)->dst_addr = station(dst);
				n++;
			}
			from->stats.packets += n;
			if (n)
				worker->plan->mode->forward(worker, from, pkts, n);
		}
		fwd_handoff_drain(worker);
		worker->now_s = rounds++;
		sched_yield();
	}
	rte_thread_unregister();
	return NULL;
}

static void
test_race(void **state)
{
	struct fwd_mode *mode = fwd_mode_by_name("switch");
	void *bridge = switch_state(RACE_STATIONS / 2);
	struct fwd_plan *plan = setup("switch", bridge, 4, 1, 2);
	pthread_t threads[2];
	uint64_t n_rx = 0;

	for (unsigned int i = 0; i < 4; i++)
		ports[i]->txqs[0].tx = race_tx;
	fdb_set_ageing_s(bridge, 1);
	memset(&race, 0, sizeof(race));
	for (int w = 0; w < 2; w++)
		assert_int_equal(pthread_create(&threads[w], NULL, race_worker, &workers[w]), 0);
	for (int i = 0; i < 300; i++) {
		fdb_tick(bridge, (uint32_t)i * 3);
		if (i % 7 == 0)
			mode->port_removed(bridge, ports[i % 4]);
		usleep(1000);
	}
	atomic_store(&race.stop, 1);
	for (int w = 0; w < 2; w++)
		pthread_join(threads[w], NULL);
	for (unsigned int i = 0; i < 4; i++)
		n_rx += ports[i]->rxqs[0].stats.packets;
	assert_true(n_rx > 1000);
	assert_int_equal(atomic_load(&race.n_wrong), 0);
	teardown(plan);
	switch_free(bridge);
}

static int
group_setup(void **state)
{
	/* The race needs more than one CPU. */
	pool = unit_eal_start(
		&(struct unit_eal){.memory_mb = 64, .n_mbufs = POOL_SIZE, .keep_affinity = true});
	return 0;
}

static int
group_teardown(void **state)
{
	rte_mempool_free(pool);
	return rte_eal_cleanup();
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_modes),
		cmocka_unit_test(test_mode_lines),
		cmocka_unit_test(test_txonly_sizes),
		cmocka_unit_test(test_plan),
		cmocka_unit_test(test_plan_full),
		cmocka_unit_test(test_io),
		cmocka_unit_test(test_mac),
		cmocka_unit_test(test_macswap),
		cmocka_unit_test(test_rxonly),
		cmocka_unit_test(test_txonly),
		cmocka_unit_test(test_icmpecho_ping),
		cmocka_unit_test(test_icmpecho_arp),
		cmocka_unit_test(test_icmpecho_other),
		cmocka_unit_test(test_handoff),
		cmocka_unit_test(test_filter_then_steer_then_owner),
		cmocka_unit_test(test_filter_without_a_choice),
		cmocka_unit_test(test_filter_of_flooded_frames),
		cmocka_unit_test(test_borrowed_in_pairs),
		cmocka_unit_test(test_borrowed_to_nobody),
		cmocka_unit_test(test_borrowed_to_nobody_for_long),
		cmocka_unit_test(test_borrowed_to_a_mode_that_looks),
		cmocka_unit_test(test_borrowed_to_a_full_port),
		cmocka_unit_test(test_borrowed_switched),
		cmocka_unit_test(test_send_queue),
		cmocka_unit_test(test_workers_bad),
		cmocka_unit_test(test_switch_learn),
		cmocka_unit_test(test_switch_move),
		cmocka_unit_test(test_switch_age),
		cmocka_unit_test(test_switch_full),
		cmocka_unit_test(test_switch_remove),
		cmocka_unit_test(test_switch_no_clone),
		cmocka_unit_test(test_switch_many_ports),
		cmocka_unit_test(test_switch_many_addresses),
		cmocka_unit_test(test_switch_addresses_in_a_row),
		cmocka_unit_test(test_switch_told),
		cmocka_unit_test(test_switch_generations),
		cmocka_unit_test(test_switch_order),
		cmocka_unit_test(test_conservation),
		cmocka_unit_test(test_race),
	};

	return UNIT_RUN_WITH(tests, group_setup, group_teardown);
}
