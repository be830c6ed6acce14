/* SPDX-License-Identifier: BSD-3-Clause */
/* test_port_config: lines of configuration, the port table, default addresses; with two made-up kinds. */
#include "unit.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "port.h"

struct guest_args {
	char *path;
	uint8_t mode;
};

static const char *const modes[] = {"server", "client"};

static const struct key guest_keys[] = {
	{"path", KEY_PATH, KEY_FIELD(struct guest_args, path), .form = "SOCKET", .help = "unix socket"},
	{"mode", KEY_WORD, KEY_FIELD(struct guest_args, mode), .words = modes, .n_words = RTE_DIM(modes),
	 .initial = "server", .help = "who listens"},
	{0},
};

static int guest_n_open;

static int
guest_check(struct port_config *config, struct diag *diag)
{
	const struct guest_args *args = config->args;

	if (args->path && strcmp(args->path, "/") == 0)
		return diag_set(diag, -EINVAL, "path=SOCKET", "port %s: path: no", config->name);
	snprintf(config->resource, sizeof(config->resource), "socket %s",
		 args->path ? args->path : config->name);
	return 0;
}

static int
guest_open(struct port *port, const struct port_config *config, struct diag *diag)
{
	if (config->mtu == 666)
		return diag_set(diag, -EIO, "another mtu", "port %s: no", config->name);
	assert_int_equal(port_queues_alloc(port, config->n_queues), 0);
	atomic_store(&port->n_active, 0);
	guest_n_open++;
	return 0;
}

static void
guest_close(struct port *port)
{
	port_queues_free(port);
	guest_n_open--;
}

static struct port_kind guest_kind = {
	.name = "vhost-user",
	.keys = guest_keys,
	.args_size = sizeof(struct guest_args),
	.check = guest_check,
	.open = guest_open,
	.close = guest_close,
};
PORT_KIND_REGISTER(guest_kind)

static struct port_kind plain_kind = {.name = "plain"};
PORT_KIND_REGISTER(plain_kind)

static int
wire_check(struct port_config *config, struct diag *diag)
{
	config->uplink = *(char **)config->args;
	return 0;
}

static const struct key wire_keys[] = {
	{"uplink", KEY_NAME, .size = sizeof(char *), .max = PORT_NAME_SIZE - 1, .form = "PORT",
	 .help = "whose link it follows"},
	{0},
};
/* Can be followed, and can follow. */
static struct port_kind wire_kind = {
	.name = "wire",
	.example = "nic,dev=net_af_packet0",
	.keys = wire_keys,
	.args_size = sizeof(char *),
	.check = wire_check,
	.open = guest_open,
	.close = guest_close,
	.is_uplink = true,
};

static void
test_good(void **state)
{
	static const struct rte_ether_addr mac = {{0x52, 0x54, 0, 0x12, 0x34, 0x56}};
	struct port_config config;
	struct diag diag;

	assert_int_equal(port_config_parse(&config, "vm0=vhost-user", &diag), 0);
	assert_string_equal(config.name, "vm0");
	assert_ptr_equal(config.kind, &guest_kind);
	assert_int_equal(config.n_queues, 1);
	assert_false(config.has_mac);
	assert_int_equal(config.mtu, 0);
	assert_null(((struct guest_args *)config.args)->path);
	assert_string_equal(config.resource, "socket vm0");
	port_config_free(&config);

	assert_int_equal(
		port_config_parse(&config,
				  "a.b-c_9=vhost-user,mode=client,queues=128,mtu=65535,path=/tmp/x=y.sock,"
				  "mac=52:54:00:12:34:56",
				  &diag),
		0);
	assert_int_equal(config.n_queues, 128);
	assert_int_equal(config.mtu, 65535);
	assert_true(config.has_mac);
	assert_memory_equal(&config.mac, &mac, sizeof(mac));
	assert_string_equal(((struct guest_args *)config.args)->path, "/tmp/x=y.sock");
	assert_int_equal(((struct guest_args *)config.args)->mode, 1);
	assert_string_equal(config.resource, "socket /tmp/x=y.sock");
	port_config_free(&config);
	assert_null(config.args);

	assert_int_equal(
		port_config_parse(&config, "0123456789012345678901234567890=plain,mtu=68,queues=1", &diag),
		0);
	assert_int_equal(strlen(config.name), PORT_NAME_SIZE - 1);
	port_config_free(&config);
}

static void
test_bad(void **state)
{
	static const struct {
		const char *line, *cause, *hint;
	} row[] = {
		{"", "port: the configuration is empty",
		 "NAME=KIND[,key=value]..., for example p0=vhost-user"},
		{"vm0", "port 'vm0': no kind is given",
		 "NAME=KIND[,key=value]..., for example vm0=vhost-user"},
		{"vm0,queues=2", "port 'vm0': no kind is given",
		 "NAME=KIND[,key=value]..., for example vm0=vhost-user"},
		{"vhost-user", "port 'vhost-user': no kind is given",
		 "NAME=KIND[,key=value]..., for example p0=vhost-user"},
		{"=vhost-user", "port '': the name is empty", "port0=vhost-user"},
		{"-a=plain,mtu=99", "port '-a': a name starts with a letter or a digit", "a=plain,mtu=99"},
		{"v m/0=plain", "port 'v m/0': a name has letters, digits, '-', '_' and '.' only",
		 "v-m-0=plain"},
		{"01234567890123456789012345678901=plain",
		 "port '01234567890123456789012345678901': a name has at most 31 characters",
		 "0123456789012345678901234567890=plain"},
		{"vm0=", "port vm0: the kind is empty", "vm0=plain (kinds: vhost-user, plain)"},
		{"vm0=vhostuser,queues=2", "port vm0: there is no kind 'vhostuser'",
		 "vm0=vhost-user,queues=2 (kinds: vhost-user, plain)"},
		{"vm0=vhost-user,queus=2", "port vm0: kind vhost-user has no key 'queus'",
		 "queues=2 (keys: queues, mac, mtu, police-in, police-in-burst, police-out, police-out-burst, path, mode)"},
		{"vm0=vhost-user,pth", "port vm0: kind vhost-user has no key 'pth'",
		 "path=SOCKET (keys: queues, mac, mtu, police-in, police-in-burst, police-out, police-out-burst, path, mode)"},
		{"vm0=plain,=1", "port vm0: kind plain has no key ''",
		 "mac=XX:XX:XX:XX:XX:XX (keys: queues, mac, mtu, police-in, police-in-burst, police-out, police-out-burst)"},
		{"vm0=plain,path=/x", "port vm0: kind plain has no key 'path'",
		 "mac=XX:XX:XX:XX:XX:XX (keys: queues, mac, mtu, police-in, police-in-burst, police-out, police-out-burst)"},
		{"vm0=vhost-user,queues", "port vm0: key 'queues' has no value", "queues=1..128"},
		{"vm0=vhost-user,path=", "port vm0: key 'path' has no value", "path=SOCKET"},
		{"vm0=vhost-user,queues=1,queues=1", "port vm0: key 'queues' is given twice",
		 "queues=1 once"},
		{"vm0=vhost-user,path=/a,path=/b", "port vm0: key 'path' is given twice", "path=/b once"},
		{"vm0=vhost-user,", "port vm0: nothing stands next to a comma",
		 "vm0=vhost-user[,key=value]..."},
		{"vm0=vhost-user,,queues=1", "port vm0: nothing stands next to a comma",
		 "vm0=vhost-user[,key=value]..."},
		{"vm0=vhost-user,queues=1,", "port vm0: nothing stands next to a comma",
		 "vm0=vhost-user[,key=value]..."},
		{"vm0=vhost-user,queues=0", "port vm0: queues: 0 is not in 1..128", "queues=1"},
		{"vm0=vhost-user,queues=129", "port vm0: queues: 129 is not in 1..128", "queues=128"},
		{"vm0=vhost-user,queues=99999999999999999999",
		 "port vm0: queues: 99999999999999999999 is not in 1..128", "queues=128"},
		{"vm0=vhost-user,queues=two", "port vm0: queues: 'two' is not a number", "queues=1..128"},
		{"vm0=vhost-user,queues=-1", "port vm0: queues: '-1' is not a number", "queues=1..128"},
		{"vm0=vhost-user,queues=1x", "port vm0: queues: '1x' is not a number", "queues=1..128"},
		{"vm0=vhost-user,mtu=67", "port vm0: mtu: 67 is not in 68..65535", "mtu=68"},
		{"vm0=vhost-user,mtu=65536", "port vm0: mtu: 65536 is not in 68..65535", "mtu=65535"},
		{"vm0=vhost-user,mac=53:54:00:12:34:56",
		 "port vm0: mac: '53:54:00:12:34:56' is a multicast address", "mac=52:54:00:12:34:56"},
		{"vm0=vhost-user,mode=srver", "port vm0: mode: 'srver' is none of server, client",
		 "mode=server"},
		{"vm0=vhost-user,path=/", "port vm0: path: no", "path=SOCKET"},
		{"vm0=vhost-user,path=a\nb",
		 "port 'vm0=vhost-user,path=a': a control character (0x0a) follows",
		 "leave it out: a line has characters that can be seen"},
	};

	for (size_t i = 0; i < RTE_DIM(row); i++) {
		struct port_config config;
		struct diag diag = {0};

		assert_true(port_config_parse(&config, row[i].line, &diag) < 0);
		assert_string_equal(diag.cause, row[i].cause);
		assert_string_equal(diag.hint, row[i].hint);
	}
}

/* The hint to a bad address is the one the port would have had. */
static void
test_bad_mac(void **state)
{
	static const struct {
		const char *value, *what;
	} row[] = {
		{"00:00:00:00:00:00", "the all-zero address"}, {"ff:ff:ff:ff:ff:ff", "a multicast address"},
		{"52:54:00:12:34", "not a MAC address"},       {"52:54:00:12:34:5g", "not a MAC address"},
		{"52:54:00:12:34:56:78", "not a MAC address"}, {"525400123456", "not a MAC address"},
	};
	struct rte_ether_addr mac;
	char text[RTE_ETHER_ADDR_FMT_SIZE], want[128], line[1024];

	port_mac_from_name(&mac, "vm0");
	rte_ether_format_addr(text, sizeof(text), &mac);
	for (size_t i = 0; i < RTE_DIM(row); i++) {
		struct port_config config;
		struct diag diag = {0};

		snprintf(line, sizeof(line), "vm0=plain,mac=%s", row[i].value);
		assert_int_equal(port_config_parse(&config, line, &diag), -EINVAL);
		snprintf(want, sizeof(want), "port vm0: mac: '%s' is %s", row[i].value, row[i].what);
		assert_string_equal(diag.cause, want);
		snprintf(want, sizeof(want), "mac=%s", text);
		assert_string_equal(diag.hint, want);
		snprintf(line, sizeof(line), "vm0=plain,%s", diag.hint);
		assert_int_equal(port_config_parse(&config, line, &diag), 0);
		port_config_free(&config);
	}
}

/* Lines far longer than a diag: refused, and cut to one line. */
static void
test_bad_long(void **state)
{
	static char line[8192];
	struct port_config config;
	struct diag diag;

	for (const char *const *start =
		     (const char *const[]){"", "vm0=", "vm0=plain,", "vm0=plain,mac=", NULL};
	     *start; start++) {
		memset(line, 'x', sizeof(line) - 1);
		memcpy(line, *start, strlen(*start));
		assert_int_equal(port_config_parse(&config, line, &diag), -EINVAL);
		assert_null(strchr(diag.cause, '\n'));
		assert_true(diag.hint[0]);
	}
}

static void
test_check(void **state)
{
	struct port_config configs[3];
	struct diag diag;

	assert_int_equal(port_config_parse(&configs[0], "vm0=vhost-user,path=/a", &diag), 0);
	assert_int_equal(port_config_parse(&configs[1], "p=plain", &diag), 0);
	assert_int_equal(port_config_parse(&configs[2], "vm1=vhost-user,path=/b", &diag), 0);
	assert_int_equal(port_config_check(configs, 3, &diag), 0);
	port_config_free(&configs[2]);

	assert_int_equal(port_config_parse(&configs[2], "vm1=vhost-user,path=/a", &diag), 0);
	assert_int_equal(port_config_check(configs, 3, &diag), -EEXIST);
	assert_string_equal(diag.cause, "port vm1: two ports on one socket: port vm0 has socket /a too");
	assert_string_equal(diag.hint, "give port vm1 a socket of its own");
	port_config_free(&configs[2]);

	assert_int_equal(port_config_parse(&configs[2], "vm0=vhost-user,path=/c", &diag), 0);
	assert_int_equal(port_config_check(configs, 3, &diag), -EEXIST);
	assert_string_equal(diag.cause, "port vm0: two ports have this name");
	assert_string_equal(diag.hint, "give each port its own name, for example vm0-2=vhost-user");
	/* Kinds that claim nothing do not collide. */
	port_config_free(&configs[0]);
	port_config_free(&configs[2]);
	assert_int_equal(port_config_parse(&configs[0], "q=plain", &diag), 0);
	assert_int_equal(port_config_check(configs, 2, &diag), 0);
	port_config_free(&configs[0]);
	port_config_free(&configs[1]);
}

/* What is printed is a line that means the same. */
static void
test_print(void **state)
{
	static const char line[] =
		"a=vhost-user,queues=2,mac=52:54:00:12:34:56,mtu=9000,path=/tmp/x,,y++z,mode=client";
	struct port_config config;
	struct diag diag;
	char text[128];

	assert_int_equal(port_config_parse(&config,
					   "a=vhost-user,mode=client,path=/tmp/x,,y+z,mtu=9k,"
					   "mac=52:54:00:12:34:56,queues=02",
					   &diag),
			 0);
	assert_string_equal(((struct guest_args *)config.args)->path, "/tmp/x,y+z");
	assert_int_equal(port_config_print(&config, text, sizeof(text)), strlen(line));
	assert_string_equal(text, line);
	assert_int_equal(port_config_print(&config, text, 20), strlen(line));
	assert_string_equal(text, "a=vhost-user,queues");
	assert_true(port_config_has(&config, "path"));
	assert_false(port_config_has(&config, "pat"));
	port_config_free(&config);
	assert_int_equal(port_config_parse(&config, line, &diag), 0);
	port_config_print(&config, text, sizeof(text));
	assert_string_equal(text, line);
	port_config_free(&config);
}

/* Keys that a forwarding mode gives to ports. */
struct mode_args {
	bool isolated;
	uint32_t vlan;
};

static const struct key mode_keys[] = {
	{"isolated", KEY_SWITCH, KEY_FIELD(struct mode_args, isolated), .initial = "off", .help = "alone"},
	{"vlan", KEY_NUMBER, KEY_FIELD(struct mode_args, vlan), .min = 1, .max = 4094, .initial = "1",
	 .help = "of untagged frames"},
	{0},
};

static void
test_mode_keys(void **state)
{
	static struct port_mode_keys bridge = {
		.mode = "bridge", .keys = mode_keys, .args_size = sizeof(struct mode_args)};
	static const char line[] = "a=plain,queues=2,isolated=on,vlan=7";
	const struct mode_args *args;
	struct port_config config;
	struct port *port;
	struct diag diag;
	char text[128];

	assert_int_equal(port_config_parse(&config, line, &diag), -EINVAL);
	assert_string_equal(diag.cause, "port a: kind plain has no key 'isolated'");

	port_mode_keys_register(&bridge);
	assert_int_equal(port_config_parse(&config, line, &diag), -EINVAL);
	assert_string_equal(diag.cause, "port a: key 'isolated' is for --forward-mode bridge only");
	assert_string_equal(diag.hint, "leave it out");
	assert_int_equal(port_config_parse(&config, "a=plain,isolatd=on", &diag), -EINVAL);
	assert_string_equal(diag.cause, "port a: kind plain has no key 'isolatd'");
	assert_null(strstr(diag.hint, "isolated"));

	port_env.mode_keys = &bridge;
	assert_int_equal(port_config_parse(&config, "a=plain,isolatd=on", &diag), -EINVAL);
	assert_string_equal(diag.hint, "isolated=on (keys: queues, mac, mtu, police-in, police-in-burst, police-out, police-out-burst, isolated, vlan)");
	assert_int_equal(port_config_parse(&config, "a=plain,vlan=4095", &diag), -ERANGE);
	assert_string_equal(diag.cause, "port a: vlan: 4095 is not in 1..4094");
	assert_int_equal(port_config_parse(&config, "b=plain", &diag), 0);
	args = config.mode_args;
	assert_false(args->isolated);
	assert_int_equal(args->vlan, 1);
	port_config_free(&config);

	assert_int_equal(port_config_parse(&config, "a=vhost-user,path=/a,vlan=7,isolated=on", &diag), 0);
	port_config_print(&config, text, sizeof(text));
	assert_string_equal(text, "a=vhost-user,path=/a,isolated=on,vlan=7");
	assert_int_equal(port_open(&config, &port, &diag), 0);
	/* The port has them from here on. */
	assert_null(config.mode_args);
	args = port->config->mode_args;
	assert_true(args->isolated);
	assert_int_equal(args->vlan, 7);
	port_close(port);
	port_env.mode_keys = NULL;
}

static int
open_line(const char *line, struct port **ret_port, struct diag *diag)
{
	struct port_config config;
	int ret;

	assert_int_equal(port_config_parse(&config, line, diag), 0);
	ret = port_open(&config, ret_port, diag);
	port_config_free(&config);
	return ret;
}

static void
test_table(void **state)
{
	struct port *a, *b, *c = NULL;
	struct diag diag;

	assert_int_equal(open_line("a=vhost-user,path=/a,queues=3", &a, &diag), 0);
	assert_int_equal(open_line("b=vhost-user", &b, &diag), 0);
	assert_int_equal(a->id, 0);
	assert_int_equal(b->id, 1);
	assert_string_equal(a->name, "a");
	assert_ptr_equal(a->kind, &guest_kind);
	assert_int_equal(atomic_load(&a->n_active), 1); /* though the kind said 0 */
	for (uint16_t q = 0; q < 3; q++) {
		assert_ptr_equal(a->rxqs[q].port, a);
		assert_int_equal(a->rxqs[q].idx, q);
		assert_int_equal(a->rxqs[q].worker, UINT16_MAX);
		assert_ptr_equal(a->txqs[q].port, a);
		assert_int_equal(a->txqs[q].idx, q);
		assert_int_equal(a->txqs[q].worker, UINT16_MAX);
	}
	assert_ptr_equal(port_by_id(1), b);
	assert_null(port_by_id(2));
	assert_null(port_by_id(PORT_MAX));
	assert_ptr_equal(port_by_name("a"), a);
	assert_null(port_by_name("c"));
	assert_int_equal(port_count(), 2);

	assert_int_equal(open_line("a=vhost-user,path=/x", &c, &diag), -EEXIST);
	assert_string_equal(diag.cause, "port a: a port of this name is open");
	assert_int_equal(open_line("c=vhost-user,path=/a", &c, &diag), -EEXIST);
	assert_string_equal(diag.cause, "port c: two ports on one socket: port a has socket /a");
	assert_string_equal(diag.hint, "give port c a socket of its own, or remove port a first");
	assert_int_equal(open_line("c=vhost-user,mtu=666", &c, &diag), -EIO);
	assert_string_equal(diag.cause, "port c: no");
	assert_null(c);
	assert_int_equal(port_count(), 2);

	a->rxqs[0].stats.packets = 1;
	a->rxqs[2].stats.packets = 10;
	a->rxqs[2].stats.bytes = 100;
	a->rxqs[2].stats.copies = 3;
	a->rxqs[2].stats.drops[DROP_N - 1] = 2;
	a->txqs[1].stats.drops[DROP_N - 1] = 5;
	a->txqs[2].stats.packets = 20;
	a->txqs[2].stats.bytes = 200;
	a->txqs[2].stats.copies = 4;
	{
		struct port_stats stats;

		port_stats_read(a, &stats);
		assert_int_equal(stats.rx_packets, 11);
		assert_int_equal(stats.tx_packets, 20);
		assert_int_equal(stats.copies, 7);
		assert_int_equal(stats.drops[DROP_N - 1], 7);
		port_pair_stats_read(a, 2, &stats);
		assert_int_equal(stats.rx_packets, 10);
		assert_int_equal(stats.rx_bytes, 100);
		assert_int_equal(stats.tx_packets, 20);
		assert_int_equal(stats.tx_bytes, 200);
		assert_int_equal(stats.drops[DROP_N - 1], 2);
	}
	/* The slot, the name and the resource are free again. */
	port_close(a);
	assert_null(port_by_name("a"));
	assert_int_equal(open_line("c=vhost-user,path=/a", &c, &diag), 0);
	assert_int_equal(c->id, 0);
	port_close(b);
	port_close(c);
	port_close(NULL);
	assert_int_equal(port_count(), 0);
	assert_int_equal(guest_n_open, 0);
}

/* A port that is named has to be there: among those on one command line, or open when one joins at run time.
 */
static void
test_uplink(void **state)
{
	static const char missing[] = "port b: uplink: there is no port 'up1' that is a NIC";
	struct port_config configs[3];
	struct port *port;
	struct diag diag;

	port_kind_register(&wire_kind);
	assert_int_equal(port_config_parse(&configs[0], "b=wire,uplink=up1", &diag), 0);
	assert_int_equal(port_config_parse(&configs[1], "up1=vhost-user", &diag), 0);
	assert_int_equal(port_config_parse(&configs[2], "up2=wire", &diag), 0);
	assert_string_equal(configs[0].uplink, "up1");
	/* Of the wrong kind, or not there; the hint names one that would do. */
	assert_int_equal(port_config_check(configs, 3, &diag), -ENOENT);
	assert_string_equal(diag.cause, missing);
	assert_string_equal(diag.hint, "uplink=up2");
	port_config_free(&configs[1]);
	/* The order does not count. */
	assert_int_equal(port_config_parse(&configs[1], "up1=wire", &diag), 0);
	assert_int_equal(port_config_check(configs, 3, &diag), 0);

	assert_int_equal(port_config_check_open(&configs[0], &diag), -ENOENT);
	assert_string_equal(diag.cause, missing);
	assert_string_equal(
		diag.hint, "add the NIC first, for example up1=nic,dev=net_af_packet0, or leave uplink= out");
	assert_int_equal(open_line("up1=vhost-user", &port, &diag), 0);
	assert_int_equal(port_config_check_open(&configs[0], &diag), -ENOENT);
	port_close(port);
	assert_int_equal(open_line("up1=wire", &port, &diag), 0);
	assert_int_equal(port_config_check_open(&configs[0], &diag), 0);
	assert_int_equal(port_config_check_open(&configs[2], &diag), 0);
	port_close(port);
	for (int i = 0; i < 3; i++)
		port_config_free(&configs[i]);
}

static void
test_table_full(void **state)
{
	struct port *port;
	struct diag diag;
	char line[64];

	for (int i = 0; i < PORT_MAX; i++) {
		snprintf(line, sizeof(line), "vm%d=vhost-user", i);
		assert_int_equal(open_line(line, &port, &diag), 0);
	}
	assert_int_equal(open_line("one-more=vhost-user", &port, &diag), -ENOSPC);
	assert_string_equal(diag.cause, "port one-more: 1024 ports are open");
	for (int i = 0; i < PORT_MAX; i++)
		port_close(port_by_id((unsigned int)i));
	assert_int_equal(port_count(), 0);
}

static int
compare_mac(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct rte_ether_addr));
}

static void
test_mac(void **state)
{
	enum { N = 20000 };
	/* The address of a name must never change: guests keep it in their configuration. */
	static const struct rte_ether_addr vm0 = {{0x5a, 0x09, 0xce, 0x88, 0x71, 0x97}};
	static struct rte_ether_addr macs[N];
	struct rte_ether_addr mac;
	char name[PORT_NAME_SIZE];

	for (int i = 0; i < N; i++) {
		snprintf(name, sizeof(name), "vm%d", i);
		port_mac_from_name(&macs[i], name);
		assert_true(rte_is_local_admin_ether_addr(&macs[i]));
		assert_true(rte_is_unicast_ether_addr(&macs[i]));
		port_mac_from_name(&mac, name);
		assert_memory_equal(&mac, &macs[i], sizeof(mac));
	}
	assert_memory_equal(&macs[0], &vm0, sizeof(vm0));
	qsort(macs, N, sizeof(macs[0]), compare_mac);
	for (int i = 1; i < N; i++)
		assert_memory_not_equal(&macs[i - 1], &macs[i], sizeof(mac));
}

/* Whatever rows there are: all is said of each, no two of a class have one name, and the structs are as long.
 */
static void
test_counter_rows(void **state)
{
	for (int class = 0; class < COUNTERS_CLASSES; class ++) {
		const struct counter_class_info *info = &counter_classes[class];

		assert_true(info->name && info->name[0] && info->help && info->help[0]);
		assert_in_range(info->n, 1, COUNTERS_MAX);
		for (unsigned int i = 0; i < info->n; i++) {
			const struct counter *counter = &info->rows[i];

			assert_true(counter->name && counter->name[0]);
			assert_true(counter->help && strlen(counter->help) > 10);
			assert_true(counter->unit < COUNTER_UNITS && counter_unit_name[counter->unit]);
			assert_true(counter->direction < COUNTER_DIRECTIONS &&
				    counter_direction_name[counter->direction]);
			for (unsigned int k = 0; k < i; k++)
				assert_string_not_equal(counter->name, info->rows[k].name);
		}
	}
	assert_int_equal(counter_classes[COUNTERS_DROPS].n, DROP_N);
	assert_int_equal((counter_classes[COUNTERS_PORT].n + DROP_N) * sizeof(uint64_t),
			 sizeof(struct port_stats));
	assert_int_equal(counter_classes[COUNTERS_DEVICE].n * sizeof(uint64_t),
			 sizeof(struct port_device_stats));
	assert_string_equal(counter_classes[COUNTERS_DROPS].rows[DROP_HANDOFF_FULL].name, "handoff_full");
}

/* A frame is lost somewhere. */
static void
test_drop_directions(void **state)
{
	for (int i = 0; i < DROP_N; i++) {
		const struct counter *counter = &counter_classes[COUNTERS_DROPS].rows[i];

		assert_int_not_equal(counter->direction, COUNTER_NONE);
		assert_int_equal(counter->unit, COUNTER_PACKETS);
		assert_int_equal(counter->shown, COUNTER_WHEN_USED);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good),         cmocka_unit_test(test_bad),
		cmocka_unit_test(test_bad_mac),      cmocka_unit_test(test_bad_long),
		cmocka_unit_test(test_check),        cmocka_unit_test(test_print),
		cmocka_unit_test(test_mode_keys),    cmocka_unit_test(test_table),
		cmocka_unit_test(test_table_full),   cmocka_unit_test(test_mac),
		cmocka_unit_test(test_counter_rows), cmocka_unit_test(test_drop_directions),
		cmocka_unit_test(test_uplink),
	};

	return UNIT_RUN(tests);
}
