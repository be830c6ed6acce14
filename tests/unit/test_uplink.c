/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_uplink: what guests see of the link of a NIC that comes and goes, and when a NIC's hashes are
 * believed.
 *
 * No software driver hashes frames, so the null driver is made to say that it does (rte_eth_dev_info_get()
 * below stands in for the library's); programming it and reading back what it took are its own.
 */
#include "unit.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include <rte_eal.h>
#include <rte_ethdev.h>

#include "ctx.h"
#include "loop.h"
#include "port.h"
#include "unit_eal.h"
#include "uplink.h"

static struct vnic_ctx ctx;

/* VIRTIO's supported_hash_types */
enum { IPV4 = 1, TCPV4 = 2, UDPV4 = 4, IPV6 = 8, TCPV6 = 16, UDPV6 = 32, IP_EX = 64, NINTH = 512 };

/* What the device says of itself, besides what is true. */
static uint64_t says_offloads;
static uint64_t says_types = UINT64_MAX;
static uint8_t says_key_len;
/* And what it says it does, besides what it was told. */
static uint64_t says_programmed = UINT64_MAX;

int
rte_eth_dev_info_get(uint16_t eth_id, struct rte_eth_dev_info *info)
{
	static int (*real)(uint16_t eth_id, struct rte_eth_dev_info * info);
	int ret;

	if (!real)
		*(void **)&real = dlsym(RTLD_NEXT, "rte_eth_dev_info_get");
	ret = real(eth_id, info);
	info->rx_offload_capa |= says_offloads;
	info->flow_type_rss_offloads &= says_types;
	if (says_key_len)
		info->hash_key_size = says_key_len;
	return ret;
}

int
rte_eth_dev_rss_hash_conf_get(uint16_t eth_id, struct rte_eth_rss_conf *conf)
{
	static int (*real)(uint16_t eth_id, struct rte_eth_rss_conf * conf);
	int ret;

	if (!real)
		*(void **)&real = dlsym(RTLD_NEXT, "rte_eth_dev_rss_hash_conf_get");
	ret = real(eth_id, conf);
	conf->rss_hf &= says_programmed;
	return ret;
}

static struct port *
open_nic(const char *line)
{
	struct port_config config;
	struct port *port = NULL;
	struct diag diag;

	assert_int_equal(port_config_parse(&config, line, &diag), 0);
	if (port_open(&config, &port, &diag) < 0)
		fail_msg("%s", diag.cause);
	port_config_free(&config);
	return port;
}

static unsigned int n_looks;

static void
look(void *arg)
{
	n_looks++;
}

/* Two turns of the uplinks' timer: a wish is programmed in the first and published in the second. */
static void
turns(void)
{
	uint64_t end = loop_now_ms() + 350;

	while (loop_now_ms() < end)
		loop_run_once(ctx.loop, 10);
}

static void
test_link(void **state)
{
	struct uplink_follower a = {0}, b = {0};
	struct port *port;

	uplink_unfollow(&a); /* never followed */
	assert_int_equal(uplink_follow(&a, "up0", look, NULL), 0);
	assert_string_equal(uplink_name(&a), "up0");
	assert_false(uplink_link(&a)->up);
	assert_int_equal(uplink_link(&a)->speed, PORT_SPEED_UNKNOWN);
	/* The port comes: at once. */
	n_looks = 0;
	port = open_nic("up0=nic,vdev=net_null0");
	assert_int_equal(n_looks, 1);
	assert_true(uplink_link(&a)->up);
	assert_int_equal(uplink_link(&a)->speed, 10000);
	assert_int_equal(uplink_link(&a)->duplex, PORT_DUPLEX_FULL);
	/* One who comes later. */
	assert_int_equal(uplink_follow(&b, "up0", look, NULL), 0);
	assert_true(uplink_link(&b)->up);
	n_looks = 0;
	turns();
	assert_in_range(n_looks, 4, 10);
	/* Down and up by the device itself, within two turns. */
	assert_int_equal(rte_eth_dev_stop(0), 0);
	turns();
	assert_false(uplink_link(&a)->up);
	assert_int_equal(uplink_link(&a)->speed, PORT_SPEED_UNKNOWN);
	assert_int_equal(rte_eth_dev_start(0), 0);
	turns();
	assert_true(uplink_link(&b)->up);
	/* It goes; and comes again. */
	n_looks = 0;
	port_close(port);
	assert_int_equal(n_looks, 2);
	assert_false(uplink_link(&a)->up);
	port = open_nic("up0=nic,vdev=net_null0");
	assert_true(uplink_link(&a)->up);
	uplink_unfollow(&a);
	assert_true(uplink_link(&b)->up);
	uplink_unfollow(&b);
	uplink_unfollow(&b);
	port_close(port);
}

static const struct hash_params *
rx_hash(struct port *port)
{
	return atomic_load(&port->rx_hash);
}

static struct hash_params
wish(uint32_t types, uint8_t tag)
{
	struct hash_params hash = {.types = types, .key_len = sizeof(hash.key)};

	memset(hash.key, tag, sizeof(hash.key));
	return hash;
}

/* What the device is programmed with. */
static uint64_t
programmed(uint8_t key[52])
{
	struct rte_eth_rss_conf conf = {.rss_key = key, .rss_key_len = says_key_len ? says_key_len : 40};

	assert_int_equal(rte_eth_dev_rss_hash_conf_get(0, &conf), 0);
	return conf.rss_hf;
}

/* A device that can't bring hashes along: what it accepts is not believed, nor is it told. */
static void
test_hash_not_in_frames(void **state)
{
	struct port *port = open_nic("up0=nic,vdev=net_null0,queues=2");
	struct hash_params hash = wish(IPV4 | TCPV4, 1);
	struct uplink_follower a;
	uint8_t key[52], own[52];

	assert_int_equal(uplink_follow(&a, "up0", look, NULL), 0);
	programmed(own);
	uplink_want_hash(&a, &hash);
	turns();
	assert_null(rx_hash(port));
	programmed(key);
	assert_memory_equal(key, own, 40);
	uplink_unfollow(&a);
	port_close(port);
}

static void
test_hash(void **state)
{
	struct hash_params hash = wish(IPV4 | TCPV4 | UDPV6, 0x11), other = wish(IPV6, 0x22), none = {0};
	struct uplink_follower a, b;
	uint8_t key[52], own[52];
	struct port *port;
	uint64_t own_types;

	says_offloads = RTE_ETH_RX_OFFLOAD_RSS_HASH;
	port = open_nic("up0=nic,vdev=net_null0,queues=2");
	own_types = programmed(own);
	assert_true(own_types != 0);
	assert_int_equal(uplink_follow(&a, "up0", look, NULL), 0);
	turns();
	assert_null(rx_hash(port));

	uplink_want_hash(&a, &hash);
	assert_null(rx_hash(port));
	turns();
	assert_non_null(rx_hash(port));
	assert_int_equal(rx_hash(port)->types, hash.types);
	assert_memory_equal(rx_hash(port)->key, hash.key, sizeof(hash.key));
	assert_int_equal(programmed(key),
			 RTE_ETH_RSS_IPV4 | RTE_ETH_RSS_FRAG_IPV4 | RTE_ETH_RSS_NONFRAG_IPV4_OTHER |
				 RTE_ETH_RSS_NONFRAG_IPV4_TCP | RTE_ETH_RSS_NONFRAG_IPV6_UDP);
	assert_memory_equal(key, hash.key, sizeof(hash.key));

	/* Another wish; never is there a hash published that the device does not compute. */
	uplink_want_hash(&a, &other);
	turns();
	assert_int_equal(rx_hash(port)->types, IPV6);
	assert_memory_equal(rx_hash(port)->key, other.key, sizeof(other.key));

	/* Two guests: whose wish should it be? The device is as it was. */
	assert_int_equal(uplink_follow(&b, "up0", look, NULL), 0);
	uplink_want_hash(&b, &other);
	turns();
	assert_null(rx_hash(port));
	assert_int_equal(programmed(key), own_types);
	assert_memory_equal(key, own, 40);
	uplink_unfollow(&a);
	turns();
	assert_int_equal(rx_hash(port)->types, IPV6);

	/* The port goes while its hashes are in use, and comes back. */
	port_close(port);
	port = open_nic("up0=nic,vdev=net_null0,queues=2");
	assert_null(rx_hash(port));
	turns();
	assert_int_equal(rx_hash(port)->types, IPV6);

	uplink_want_hash(&b, &none);
	turns();
	assert_null(rx_hash(port));
	assert_int_equal(programmed(key), own_types);
	uplink_want_hash(&b, &other);
	turns();
	assert_non_null(rx_hash(port));
	uplink_unfollow(&b);
	assert_null(rx_hash(port));
	assert_int_equal(programmed(key), own_types);
	port_close(port);
}

/* Whatever the device can't do exactly is done in software. */
static void
test_hash_refused(void **state)
{
	static const struct {
		uint64_t says_types, says_programmed;
		uint8_t says_key_len;
		uint32_t wish;
	} row[] = {
		/* A type that it has not, all of what is left being there. */
		{~(uint64_t)RTE_ETH_RSS_NONFRAG_IPV4_UDP, UINT64_MAX, 0, IPV4 | UDPV4},
		{~(uint64_t)RTE_ETH_RSS_IPV6_EX, UINT64_MAX, 0, IPV6 | IP_EX},
		/* A type that nobody has. */
		{UINT64_MAX, UINT64_MAX, 0, IPV4 | NINTH},
		/* Accepted, and then left out. */
		{UINT64_MAX, ~(uint64_t)RTE_ETH_RSS_NONFRAG_IPV4_TCP, 0, IPV4 | TCPV4},
		/* A key that ends too soon. */
		{UINT64_MAX, UINT64_MAX, 32, IPV4},
	};
	struct uplink_follower a;

	says_offloads = RTE_ETH_RX_OFFLOAD_RSS_HASH;
	for (size_t i = 0; i < RTE_DIM(row); i++) {
		struct port *port = open_nic("up0=nic,vdev=net_null0,queues=2");
		struct hash_params hash = wish(row[i].wish, 7);

		assert_int_equal(uplink_follow(&a, "up0", look, NULL), 0);
		says_types = row[i].says_types;
		says_programmed = row[i].says_programmed;
		says_key_len = row[i].says_key_len;
		uplink_want_hash(&a, &hash);
		turns();
		assert_null(rx_hash(port));
		/* What it can do it does. */
		says_types = says_programmed = UINT64_MAX;
		says_key_len = 0;
		hash = wish(IPV4 | TCPV4, 8);
		uplink_want_hash(&a, &hash);
		turns();
		assert_non_null(rx_hash(port));
		uplink_unfollow(&a);
		port_close(port);
	}
	says_offloads = 0;
}

static int
group_setup(void **state)
{
	unit_eal_start(&(struct unit_eal){.memory_mb = 128});
	port_env.n_workers = 1;
	port_env.ctx = &ctx;
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
		cmocka_unit_test(test_link),
		cmocka_unit_test(test_hash_not_in_frames),
		cmocka_unit_test(test_hash),
		cmocka_unit_test(test_hash_refused),
	};

	return UNIT_RUN_WITH(tests, group_setup, group_teardown);
}
