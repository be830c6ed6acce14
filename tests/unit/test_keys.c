/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_keys: the grammar of lines and the types of keys (keyval.h, keys.h), with a made-up object that has a
 * key of each type: what is taken, what is refused in which words, and, of random lines, that what is printed
 * is what was read.
 */
#include "unit.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "keys.h"
#include "keyval.h"
#include "perms.h"
#include "rng.h"
#include "show.h"

#define DIM(a) (sizeof(a) / sizeof((a)[0]))

struct thing {
	bool on;
	uint8_t small;
	uint16_t mtu;
	uint64_t big, bytes, memory, ageing;
	struct key_rate rate, pace, speed;
	uint8_t mac[6];
	uint32_t mode;
	uint64_t without;
	struct key_numbers trunk;
	char *name, *path, *text;
	struct key_names from;
	struct key_args args;
};

static const char *const modes[] = {"server", "client"};
/* With a hole, as tables indexed by bit have. */
static const char *const bits[] = {[0] = "csum", [3] = "mtu", [34] = "ring_packed", [63] = "last"};

static const struct key rows[] = {
	{"on", KEY_SWITCH, KEY_FIELD(struct thing, on)},
	{"small", KEY_NUMBER, KEY_FIELD(struct thing, small), .initial = "7"},
	{"mtu", KEY_NUMBER, KEY_FIELD(struct thing, mtu), .min = 68, .max = 65535},
	{"big", KEY_NUMBER, KEY_FIELD(struct thing, big)},
	{"bytes", KEY_SIZE, KEY_FIELD(struct thing, bytes), .max = 1ull << 40},
	{"memory", KEY_SIZE, KEY_FIELD(struct thing, memory), .bare = 1 << 30, .min = 1 << 30,
	 .max = 1ull << 46, .initial = "1024"},
	{"ageing", KEY_DURATION, KEY_FIELD(struct thing, ageing), .bare = 1000000, .min = 1000,
	 .max = 1000000000000, .initial = "300s"},
	{"rate", KEY_RATE, KEY_FIELD(struct thing, rate), .rate_units = KEY_RATE_BIT | KEY_RATE_PPS},
	{"pace", KEY_RATE, KEY_FIELD(struct thing, pace), .rate_units = KEY_RATE_PPS},
	{"speed", KEY_RATE, KEY_FIELD(struct thing, speed), .bare = 1000000, .max = 2147483647000000},
	{"mac", KEY_MAC, KEY_FIELD(struct thing, mac)},
	{"mode", KEY_WORD, KEY_FIELD(struct thing, mode), .words = modes, .n_words = DIM(modes)},
	{"without", KEY_WORDS, KEY_FIELD(struct thing, without), .words = bits, .n_words = DIM(bits)},
	{"trunk", KEY_NUMBERS, KEY_FIELD(struct thing, trunk), .min = 1, .max = 4094},
	{"name", KEY_NAME, KEY_FIELD(struct thing, name), .max = 31},
	{"from", KEY_NAMES, KEY_FIELD(struct thing, from), .max = 31},
	{"path", KEY_PATH, KEY_FIELD(struct thing, path), .form = "SOCKET", .max = 107},
	{"text", KEY_STRING, KEY_FIELD(struct thing, text)},
	{"args", KEY_ARGS, KEY_FIELD(struct thing, args)},
	{0},
};

/* The line's pairs into *thing; thing_free() is due in either case. */
static int
thing_parse(struct thing *thing, struct key_set *set, const char *line, struct diag *diag)
{
	struct keyval keyval;
	int ret;

	memset(thing, 0, sizeof(*thing));
	*set = (struct key_set){.rows = rows, .values = thing};
	memset(diag, 0, sizeof(*diag));
	assert_int_equal(keys_init(set), 0);
	ret = keyval_parse(&keyval, line, KEYVAL_NAMED, "thing", diag);
	if (ret < 0)
		return ret;
	ret = keys_parse(set, 1, &keyval, "thing t", "kind k", "t=k", diag);
	keyval_free(&keyval);
	return ret;
}

static void
assert_refused(const char *pairs, const char *cause, const char *hint)
{
	struct thing thing;
	struct key_set set;
	struct diag diag;
	char line[512];

	snprintf(line, sizeof(line), "t=k,%s", pairs);
	assert_true(thing_parse(&thing, &set, line, &diag) < 0);
	assert_string_equal(diag.cause, cause);
	assert_string_equal(diag.hint, hint);
	keys_free(&set);
}

/* --- lines --- */

static void
test_lines(void **state)
{
	static const struct {
		const char *line;
		enum keyval_form form;
		const char *name, *kind;
		unsigned int n_pairs;
		const char *key, *value; /* of the last pair */
	} row[] = {
		{"vm0=nic", KEYVAL_NAMED, "vm0", "nic", 0, NULL, NULL},
		{"vm0", KEYVAL_NAMED, "vm0", NULL, 0, NULL, NULL},
		{"vm0,a=1", KEYVAL_NAMED, "vm0", NULL, 1, "a", "1"},
		{"", KEYVAL_NAMED, "", NULL, 0, NULL, NULL},
		{"=", KEYVAL_NAMED, "", "", 0, NULL, NULL},
		{"a=b=c", KEYVAL_NAMED, "a", "b=c", 0, NULL, NULL},
		{"switch", KEYVAL_UNNAMED, NULL, "switch", 0, NULL, NULL},
		{"switch,ageing=5", KEYVAL_UNNAMED, NULL, "switch", 1, "ageing", "5"},
		{"a=b,c", KEYVAL_NAMED, "a", "b", 1, "c", NULL},
		{"a=b,c=", KEYVAL_NAMED, "a", "b", 1, "c", ""},
		{"a=b,c=d=e", KEYVAL_NAMED, "a", "b", 1, "c", "d=e"},
		{"a=b,c=x,,y", KEYVAL_NAMED, "a", "b", 1, "c", "x,y"},
		{"a=b,c=x,,", KEYVAL_NAMED, "a", "b", 1, "c", "x,"},
		{"a=b,c=,,x", KEYVAL_NAMED, "a", "b", 1, "c", ",x"},
		/* Three: the first two are one, the third ends the value. */
		{"a=b,c=x,,,d=y", KEYVAL_NAMED, "a", "b", 2, "d", "y"},
		{"a=b,c=x,,,,d=y", KEYVAL_NAMED, "a", "b", 1, "c", "x,,d=y"},
		{"a=b,c=x++y+z", KEYVAL_NAMED, "a", "b", 1, "c", "x++y+z"},
		{"a=b,", KEYVAL_NAMED, "a", "b", 1, "", NULL},
		{"a=b,,c=d", KEYVAL_NAMED, "a", "b,c=d", 0, NULL, NULL},
	};

	for (size_t i = 0; i < DIM(row); i++) {
		struct keyval keyval;
		struct diag diag;

		assert_int_equal(keyval_parse(&keyval, row[i].line, row[i].form, "thing", &diag), 0);
		if (row[i].name)
			assert_string_equal(keyval.name, row[i].name);
		else
			assert_null(keyval.name);
		if (row[i].kind)
			assert_string_equal(keyval.kind, row[i].kind);
		else
			assert_null(keyval.kind);
		assert_int_equal(keyval.n_pairs, row[i].n_pairs);
		if (row[i].key)
			assert_string_equal(keyval.pairs[keyval.n_pairs - 1].key, row[i].key);
		if (row[i].value)
			assert_string_equal(keyval.pairs[keyval.n_pairs - 1].value, row[i].value);
		else if (row[i].key)
			assert_null(keyval.pairs[keyval.n_pairs - 1].value);
		keyval_free(&keyval);
	}
}

static void
test_lines_refused(void **state)
{
	static char line[KEYVAL_LINE_MAX + 1];
	struct keyval keyval;
	struct diag diag;
	size_t used;

	assert_int_equal(keyval_parse(&keyval, "a=b,c=\td", KEYVAL_NAMED, "port", &diag), -EINVAL);
	assert_string_equal(diag.cause, "port 'a=b,c=': a control character (0x09) follows");
	assert_int_equal(keyval_parse(&keyval, "a=b\n", KEYVAL_NAMED, "port", &diag), -EINVAL);
	assert_null(strchr(diag.cause, '\n'));

	memset(line, 'x', sizeof(line) - 1);
	line[KEYVAL_LINE_MAX - 1] = '\0';
	assert_int_equal(keyval_parse(&keyval, line, KEYVAL_NAMED, "port", &diag), 0);
	keyval_free(&keyval);
	line[KEYVAL_LINE_MAX - 1] = 'x';
	assert_int_equal(keyval_parse(&keyval, line, KEYVAL_NAMED, "port", &diag), -E2BIG);
	assert_non_null(strstr(diag.cause, "the line is too long"));

	used = keyval_add(line, sizeof(line), 0, "a=b");
	for (int i = 0; i < KEYVAL_PAIRS_MAX; i++)
		used = keyval_add_pair(line, sizeof(line), used, "k", "v");
	assert_int_equal(keyval_parse(&keyval, line, KEYVAL_NAMED, "port", &diag), 0);
	assert_int_equal(keyval.n_pairs, KEYVAL_PAIRS_MAX);
	keyval_free(&keyval);
	keyval_add_pair(line, sizeof(line), used, "k", "v");
	assert_int_equal(keyval_parse(&keyval, line, KEYVAL_NAMED, "port", &diag), -E2BIG);
	assert_non_null(strstr(diag.cause, "too many keys"));
}

/* Text that does not fit is cut, and its length is told. */
static void
test_writing(void **state)
{
	char buf[16];

	assert_int_equal(keyval_add_pair(buf, sizeof(buf), 0, "k", "a,b"), 7);
	assert_string_equal(buf, ",k=a,,b");
	assert_int_equal(keyval_add_pair(buf, 6, 0, "k", "a,b"), 7);
	assert_string_equal(buf, ",k=a,");
	assert_int_equal(keyval_add_pair(NULL, 0, 0, "k", "a,b"), 7);
	assert_int_equal(keyval_add_doubled(buf, sizeof(buf), 0, "a+,", "+,"), 5);
	assert_string_equal(buf, "a++,,");
}

/* --- values --- */

static void
test_defaults(void **state)
{
	struct thing thing;
	struct key_set set;
	struct diag diag;

	assert_int_equal(thing_parse(&thing, &set, "t=k", &diag), 0);
	assert_false(thing.on);
	assert_int_equal(thing.small, 7);
	assert_int_equal(thing.memory, 1ull << 40);
	assert_int_equal(thing.ageing, 300000000);
	assert_int_equal(thing.rate.unit, 0);
	assert_int_equal(set.given, 0);
	keys_free(&set);
}

static void
test_numbers(void **state)
{
	static const struct {
		const char *pair;
		size_t offset;
		uint64_t value;
	} row[] = {
		{"big=0", offsetof(struct thing, big), 0},
		{"big=16k", offsetof(struct thing, big), 16000},
		{"big=2m", offsetof(struct thing, big), 2000000},
		{"big=3g", offsetof(struct thing, big), 3000000000},
		{"big=18446744073709551614", offsetof(struct thing, big), UINT64_MAX - 1},
		{"big=007", offsetof(struct thing, big), 7},
		{"bytes=4095", offsetof(struct thing, bytes), 4095},
		{"bytes=64k", offsetof(struct thing, bytes), 65536},
		{"bytes=1m", offsetof(struct thing, bytes), 1 << 20},
		{"bytes=1024g", offsetof(struct thing, bytes), 1ull << 40},
		{"memory=2", offsetof(struct thing, memory), 2ull << 30},
		{"memory=2g", offsetof(struct thing, memory), 2ull << 30},
		{"memory=1536m", offsetof(struct thing, memory), 3ull << 29},
		{"ageing=1", offsetof(struct thing, ageing), 1000000},
		{"ageing=0.5", offsetof(struct thing, ageing), 500000},
		{"ageing=.5", offsetof(struct thing, ageing), 500000},
		{"ageing=5.", offsetof(struct thing, ageing), 5000000},
		{"ageing=1.5ms", offsetof(struct thing, ageing), 1500},
		{"ageing=1ms", offsetof(struct thing, ageing), 1000},
		{"ageing=2500us", offsetof(struct thing, ageing), 2500},
		{"ageing=0.0012345678901234", offsetof(struct thing, ageing), 1235},
		{"rate=10mbit", offsetof(struct thing, rate), 10000000},
		{"rate=10", offsetof(struct thing, rate), 10},
		{"rate=64kbit", offsetof(struct thing, rate), 64000},
		{"rate=5kpps", offsetof(struct thing, rate), 5000},
		{"rate=1gpps", offsetof(struct thing, rate), 1000000000},
		{"pace=5", offsetof(struct thing, pace), 5},
		{"pace=5mpps", offsetof(struct thing, pace), 5000000},
		{"speed=10000", offsetof(struct thing, speed), 10000000000},
		{"speed=10gbit", offsetof(struct thing, speed), 10000000000},
		{"speed=2147483647", offsetof(struct thing, speed), 2147483647000000},
	};

	for (size_t i = 0; i < DIM(row); i++) {
		struct thing thing;
		struct key_set set;
		struct diag diag;
		char line[64];
		uint64_t value;

		snprintf(line, sizeof(line), "t=k,%s", row[i].pair);
		assert_int_equal(thing_parse(&thing, &set, line, &diag), 0);
		memcpy(&value, (char *)&thing + row[i].offset, sizeof(value));
		assert_int_equal(value, row[i].value);
		keys_free(&set);
	}
}

static void
test_values(void **state)
{
	static const uint8_t mac[6] = {0x52, 0x54, 0, 0xab, 0xcd, 0xef};
	struct thing thing;
	struct key_set set;
	struct diag diag;

	assert_int_equal(thing_parse(&thing, &set,
				     "t=k,on=on,small=255,rate=7kpps,mac=52:54:00:AB:cd:ef,mode=client,"
				     "without=ring_packed+last+csum,trunk=10+20+30-40+7k-8k,name=vm0",
				     &diag),
			 -ERANGE);
	assert_string_equal(diag.cause, "thing t: trunk: 7k is not in 1..4094");
	keys_free(&set);
	assert_int_equal(
		thing_parse(&thing, &set,
			    "t=k,on=on,small=255,rate=7kpps,mac=52:54:00:AB:cd:ef,mode=client,"
			    "without=ring_packed+last+csum,trunk=10+20+30-40+1k-2k,name=vm0,"
			    "from=vm0+mon.1+A_b-c,path=/a+b/x,,y++z=1,text=#'\"$ *;|,args.iface=eth1,"
			    "args.b=[x,,y]",
			    &diag),
		0);
	assert_true(thing.on);
	assert_int_equal(thing.small, 255);
	assert_int_equal(thing.rate.per_s, 7000);
	assert_int_equal(thing.rate.unit, KEY_RATE_PPS);
	assert_memory_equal(thing.mac, mac, sizeof(mac));
	assert_int_equal(thing.mode, 1);
	assert_int_equal(thing.without, 1ull << 34 | 1ull << 63 | 1);
	assert_int_equal(thing.trunk.n, 4);
	assert_int_equal(thing.trunk.ranges[2].first, 30);
	assert_int_equal(thing.trunk.ranges[2].last, 40);
	assert_true(key_numbers_has(&thing.trunk, 20));
	assert_true(key_numbers_has(&thing.trunk, 35));
	assert_true(key_numbers_has(&thing.trunk, 2000));
	assert_false(key_numbers_has(&thing.trunk, 2001));
	assert_false(key_numbers_has(&thing.trunk, 21));
	assert_string_equal(thing.name, "vm0");
	assert_int_equal(thing.from.n, 3);
	assert_string_equal(thing.from.names[2], "A_b-c");
	/* A doubled plus is one; a single one, where there is no list, is one, too. */
	assert_string_equal(thing.path, "/a+b/x,y+z=1");
	assert_string_equal(thing.text, "#'\"$ *;|");
	assert_int_equal(thing.args.n, 2);
	assert_string_equal(thing.args.args[0].name, "iface");
	assert_string_equal(thing.args.args[0].value, "eth1");
	assert_string_equal(thing.args.args[1].value, "[x,y]");
	assert_true(key_is_given(&set, "path"));
	assert_false(key_is_given(&set, "mtu"));
	keys_free(&set);
	assert_null(thing.path);
	assert_int_equal(thing.from.n, 0);
}

/* One of each kind of mistake: the object, the key, the cause; and what would have been taken. */
static void
test_refused(void **state)
{
	static const struct {
		const char *pairs, *cause, *hint;
	} row[] = {
		{"small=256", "thing t: small: 256 is not in 0..255", "small=255"},
		{"small=", "thing t: key 'small' has no value", "small=0..255"},
		{"small", "thing t: key 'small' has no value", "small=0..255"},
		{"small=1,small=1", "thing t: key 'small' is given twice", "small=1 once"},
		{"smal=1", "thing t: kind k has no key 'smal'",
		 "small=1 (keys: on, small, mtu, big, bytes, memory, ageing, rate, pace, speed, mac, mode, "
		 "without, trunk, name, from, path, text)"},
		{"small=1,", "thing t: nothing stands next to a comma", "t=k[,key=value]..."},
		{"small=-1", "thing t: small: '-1' is not a number", "small=0..255"},
		{"small=+1", "thing t: small: '+1' is not a number", "small=0..255"},
		{"small=0x10", "thing t: small: '0x10' is not a number", "small=0..255"},
		{"small= 1", "thing t: small: ' 1' is not a number", "small=1"},
		{"small=1.5", "thing t: small: '1.5' is not a number", "small=0..255"},
		{"small=1,,mtu=100", "thing t: small: '1,mtu=100' is not a number",
		 "small=0..255 (a doubled comma is part of the value)"},
		{"small=1+2", "thing t: small: '1+2' is not a number", "small=0..255"},
		{"mtu=9K", "thing t: mtu: '9K' is not a number", "mtu=9k"},
		{"mtu=67", "thing t: mtu: 67 is not in 68..65535", "mtu=68"},
		{"big=99999999999999999999",
		 "thing t: big: 99999999999999999999 is not in "
		 "0..18446744073709551615",
		 "big=18446744073709551615"},
		{"big=18446744073709552k",
		 "thing t: big: 18446744073709552k is not in 0..18446744073709551615",
		 "big=18446744073709551615"},
		{"bytes=64kb", "thing t: bytes: '64kb' is not a number", "bytes=0..1024g"},
		{"bytes=2048g", "thing t: bytes: 2048g is not in 0..1024g", "bytes=1024g"},
		{"bytes=18446744073709551615g", "thing t: bytes: 18446744073709551615g is not in 0..1024g",
		 "bytes=1024g"},
		{"memory=0", "thing t: memory: 0 is not in 1..65536", "memory=1"},
		{"memory=512m", "thing t: memory: 512m is not in 1..65536", "memory=1"},
		{"ageing=0", "thing t: ageing: 0 is not in 1ms..1000000", "ageing=1ms"},
		{"ageing=5min", "thing t: ageing: '5min' is not a number", "ageing=1ms..1000000"},
		{"ageing=5S", "thing t: ageing: '5S' is not a number", "ageing=5s"},
		{"ageing=.", "thing t: ageing: '.' is not a number", "ageing=1ms..1000000"},
		{"ageing=1e99", "thing t: ageing: '1e99' is not a number", "ageing=1ms..1000000"},
		{"ageing=nan", "thing t: ageing: 'nan' is not a number", "ageing=1ms..1000000"},
		{"speed=10G", "thing t: speed: '10G' is not a number", "speed=10gbit"},
		{"speed=10kpps", "thing t: speed: '10kpps' is not a number", "speed=0..2147483647"},
		{"pace=10kbit", "thing t: pace: '10kbit' is not a number",
		 "pace=0pps..18446744073709551615pps"},
		{"mac=52:54:00:12:34", "thing t: mac: '52:54:00:12:34' is not a MAC address",
		 "mac=XX:XX:XX:XX:XX:XX"},
		{"mac=52-54-00-12-34-56", "thing t: mac: '52-54-00-12-34-56' is not a MAC address",
		 "mac=XX:XX:XX:XX:XX:XX"},
		{"mac=00:00:00:00:00:00", "thing t: mac: '00:00:00:00:00:00' is the all-zero address",
		 "mac=XX:XX:XX:XX:XX:XX"},
		{"mac=01:00:5e:00:00:01", "thing t: mac: '01:00:5e:00:00:01' is a multicast address",
		 "mac=XX:XX:XX:XX:XX:XX"},
		{"on=yes", "thing t: on: 'yes' is none of off, on", "on=on"},
		{"on=oof", "thing t: on: 'oof' is none of off, on", "on=off"},
		{"mode=sever", "thing t: mode: 'sever' is none of server, client", "mode=server"},
		{"without=ring_paked", "thing t: without: there is no 'ring_paked'", "without=ring_packed"},
		{"without=csum+mtuu", "thing t: without: there is no 'mtuu'", "mtu instead of mtuu"},
		{"without=csum+csum", "thing t: without: 'csum' is named twice", "name it once"},
		{"without=csum+", "thing t: without: nothing stands next to a '+'",
		 "without=NAME[+NAME]... (a '+' that is part of a value is doubled)"},
		{"trunk=10++20", "thing t: trunk: '10+20' is not a number", "trunk=1..4094"},
		{"trunk=+10", "thing t: trunk: nothing stands next to a '+'",
		 "trunk=N[-N][+N[-N]]... (a '+' that is part of a value is doubled)"},
		{"trunk=40-30", "thing t: trunk: 40-30 runs backwards", "trunk=30-40"},
		{"trunk=10-", "thing t: trunk: '' is not a number", "trunk=1..4094"},
		{"trunk=1-2-3", "thing t: trunk: '2-3' is not a number", "trunk=1..4094"},
		{"trunk=4000-4095", "thing t: trunk: 4095 is not in 1..4094", "trunk=4094"},
		{"name=-x", "thing t: name: '-x' is not a name",
		 "a name has at most 31 letters, digits, '-', '_' and '.', and starts with one of the first "
		 "two"},
		{"from=vm0+vm/1", "thing t: from: 'vm/1' is not a name",
		 "a name has at most 31 letters, digits, '-', '_' and '.', and starts with one of the first "
		 "two"},
		{"from=vm0+vm0", "thing t: from: 'vm0' is named twice", "name it once"},
		{"args.a=1,args.a=2", "thing t: key 'args.a' is given twice", "args.a=2 once"},
		{"args.a=", "thing t: key 'args.a' has no value", "args.a=VALUE"},
		{"args=1", "thing t: kind k has no key 'args'", "args.KEY=VALUE"},
	};
	char line[256], cause[64];

	for (size_t i = 0; i < DIM(row); i++)
		assert_refused(row[i].pairs, row[i].cause, row[i].hint);
	memset(line, 'x', sizeof(line));
	memcpy(line, "path=", 5);
	line[5 + 108] = '\0';
	snprintf(cause, sizeof(cause), "thing t: path: 108 characters are too many");
	assert_refused(line, cause, "at most 107");
}

/* A value that is refused changes nothing. */
static void
test_nothing_changed(void **state)
{
	struct thing thing, before;
	struct key_set set;
	struct diag diag;

	assert_int_equal(
		thing_parse(&thing, &set,
			    "t=k,small=3,path=/a,trunk=1-2,from=a+b,rate=1kpps,mac=52:54:00:00:00:01", &diag),
		0);
	before = thing;
	for (const struct key *row = rows; row->type != KEY_END; row++) {
		static const char bad[] = "!++,";

		if (row->type == KEY_ARGS || row->type == KEY_STRING || row->type == KEY_PATH)
			continue;
		assert_true(key_parse(row, &thing, "thing t", bad, &diag) < 0);
		assert_memory_equal(&thing, &before, sizeof(thing));
	}
	keys_free(&set);
}

/* Keys that another part of the program has, but not now. */
static void
test_refused_set(void **state)
{
	static const struct key other_rows[] = {{"isolated", KEY_SWITCH, .size = sizeof(bool)}, {0}};
	struct thing thing = {0};
	bool isolated = false;
	struct key_set sets[] = {
		{.rows = rows, .values = &thing},
		{.rows = other_rows,
		 .values = &isolated,
		 .refused = "is for mode switch, and the mode is io"},
		{.rows = NULL},
	};
	struct keyval keyval;
	struct diag diag;

	assert_int_equal(keyval_parse(&keyval, "t=k,isolated=on", KEYVAL_NAMED, "thing", &diag), 0);
	assert_int_equal(keys_parse(sets, 3, &keyval, "thing t", "kind k", "t=k", &diag), -EINVAL);
	assert_string_equal(diag.cause, "thing t: key 'isolated' is for mode switch, and the mode is io");
	assert_string_equal(diag.hint, "leave it out");
	sets[1].refused = NULL;
	assert_int_equal(keys_parse(sets, 3, &keyval, "thing t", "kind k", "t=k", &diag), 0);
	assert_true(isolated);
	assert_int_equal(sets[1].given, 1);
	keyval_free(&keyval);
}

/* --- what is shown --- */

struct shown {
	char text[1024];
	size_t used;
};

static void
shown_add(void *arg, const char *fmt, const char *key, const char *value)
{
	struct shown *shown = arg;

	shown->used += (size_t)snprintf(shown->text + shown->used, sizeof(shown->text) - shown->used, fmt,
					key ? key : "", value);
}

static void
shown_text(void *arg, const char *key, const char *value)
{
	shown_add(arg, "%s:'%s' ", key, value);
}

static void
shown_number(void *arg, const char *key, int64_t value)
{
	char text[32];

	snprintf(text, sizeof(text), "%" PRId64, value);
	shown_add(arg, "%s:%s ", key, text);
}

static void
shown_flag(void *arg, const char *key, bool value)
{
	shown_add(arg, "%s:%s ", key, value ? "true" : "false");
}

static void
shown_open(void *arg, const char *key, enum show_group group)
{
	shown_add(arg, "%s:%s ", key, group == SHOW_LIST ? "[" : "{");
}

static void
shown_close(void *arg)
{
	shown_add(arg, "%s%s ", "", "]");
}

static void
test_show(void **state)
{
	struct shown shown = {.used = 0};
	const struct show show = {
		.arg = &shown,
		.text = shown_text,
		.number = shown_number,
		.flag = shown_flag,
		.open = shown_open,
		.close = shown_close,
	};
	struct thing thing;
	struct key_set set;
	struct diag diag;

	assert_int_equal(thing_parse(&thing, &set,
				     "t=k,on=off,bytes=65536,rate=1500kbit,ageing=0.25,without=mtu+csum,"
				     "trunk=1+3-4,path=a++b,args.x=y",
				     &diag),
			 0);
	keys_show(&set, &show);
	/* Given, or with a default. */
	assert_string_equal(shown.text,
			    "on:false small:7 bytes:'64k' memory:'1024g' ageing:'250ms' rate:'1500kbit' "
			    "without:[ :'csum' :'mtu' ] trunk:[ :'1' :'3-4' ] path:'a+b' args.x:'y' ");
	keys_free(&set);
}

static void
test_forms(void **state)
{
	static const char *const usage[] = {
		"on=on|off",
		"small=0..255",
		"mtu=68..65535",
		"big=0..18446744073709551615",
		"bytes=0..1024g",
		"memory=1..65536",
		"ageing=1ms..1000000",
		"rate=0bit..18446744073709551615bit",
		"pace=0pps..18446744073709551615pps",
		"speed=0..2147483647",
		"mac=XX:XX:XX:XX:XX:XX",
		"mode=server|client",
		"without=NAME[+NAME]...",
		"trunk=N[-N][+N[-N]]...",
		"name=NAME",
		"from=NAME[+NAME]...",
		"path=SOCKET",
		"text=TEXT",
		"args.KEY=VALUE",
	};
	char text[KEY_TEXT_MAX];

	assert_int_equal(DIM(usage), DIM(rows) - 1);
	for (size_t i = 0; i < DIM(usage); i++) {
		key_usage(&rows[i], text, sizeof(text));
		assert_string_equal(text, usage[i]);
	}
}

/* --- random lines --- */

static size_t
add(char *buf, size_t used, const char *fmt, uint64_t number)
{
	return used + (size_t)sprintf(buf + used, fmt, (unsigned long long)number);
}

/* A value that the row takes, in one of the forms that it may have, with commas doubled. */
static size_t
random_value(const struct key *row, char *buf, size_t used)
{
	static const char *const rates[] = {"", "bit", "kbit", "mbit", "pps", "kpps"};
	static const char *const times[] = {"ms", "s", "", ".5s"};
	static const char chars[] = "abcxyz019/-_.=+,;:# '\"\\$*(){}[]<>|&~%^@!?";
	unsigned int n = 1 + rng_below(4);

	switch (row->type) {
	case KEY_SWITCH:
		return add(buf, used, rng_below(2) ? "on" : "off", 0);
	case KEY_NUMBER:
		return add(buf, used, "%llu", 68 + rng_below(188));
	case KEY_SIZE:
		return add(buf, used,
			   row->bare      ? "%llug"
			   : rng_below(2) ? "%lluk"
					  : "%llu",
			   1 + rng_below(60000));
	case KEY_RATE:
		used = add(buf, used, "%llu", rng_below(100000));
		return add(buf, used,
			   row->rate_units == 0              ? rates[rng_below(4)]
			   : row->rate_units == KEY_RATE_PPS ? rates[4 + rng_below(2)]
							     : rates[rng_below(6)],
			   0);
	case KEY_DURATION:
		used = add(buf, used, "%llu", 1 + rng_below(900));
		return add(buf, used, times[rng_below(4)], 0);
	case KEY_MAC:
		return add(buf, used, "52:54:00:12:34:%02llx", rng_below(256));
	case KEY_WORD:
		return add(buf, used, row->words[rng_below(row->n_words)], 0);
	case KEY_WORDS:
		used = add(buf, used, "csum", 0);
		return rng_below(2) ? add(buf, used, "+ring_packed", 0) : used;
	case KEY_NUMBERS:
		for (unsigned int i = 0; i < n; i++) {
			used = add(buf, used, i ? "+%llu" : "%llu", 1 + rng_below(2000));
			if (rng_below(2))
				used = add(buf, used, "-%llu", 2001 + rng_below(2000));
		}
		return used;
	case KEY_NAMES:
		for (unsigned int i = 0; i < n; i++)
			used = add(buf, used, i ? "+vm%llu" : "vm%llu", i * 100 + rng_below(100));
		return used;
	case KEY_NAME:
		return add(buf, used, "a.b-c_%llu", rng_below(1000));
	default:
		for (unsigned int i = 0; i < n * 5; i++) {
			char c = chars[rng_below(sizeof(chars) - 1)];

			buf[used++] = c;
			if (c == ',')
				buf[used++] = c;
		}
		buf[used] = '\0';
		return used;
	}
}

static void
assert_same(const struct key *row, const void *a, const void *b)
{
	const struct key_rate *rate_a = a, *rate_b = b;
	const struct key_numbers *numbers_a = a, *numbers_b = b;
	const char *const *text_a = a, *const *text_b = b;

	switch (row->type) {
	case KEY_RATE:
		assert_int_equal(rate_a->per_s, rate_b->per_s);
		assert_int_equal(rate_a->unit, rate_b->unit);
		break;
	case KEY_NUMBERS:
		assert_int_equal(numbers_a->n, numbers_b->n);
		if (numbers_a->n)
			assert_memory_equal(numbers_a->ranges, numbers_b->ranges,
					    numbers_a->n * sizeof(numbers_a->ranges[0]));
		break;
	case KEY_NAME:
	case KEY_PATH:
	case KEY_STRING:
		assert_int_equal(!*text_a, !*text_b);
		if (*text_a)
			assert_string_equal(*text_a, *text_b);
		break;
	case KEY_NAMES: /* as printed */
	case KEY_ARGS:
		break;
	default:
		assert_memory_equal(a, b, row->size);
	}
}

/* print(parse(line)) says the same as the line, and printing that again changes nothing. */
static void
test_round_trip(void **state)
{
	static char line[8192], printed[8192], again[8192];

	for (int round = 0; round < 20000; round++) {
		struct thing first, second;
		struct key_set first_set, second_set;
		struct diag diag;
		size_t used = add(line, 0, "t=k", 0);

		for (const struct key *row = rows; row->type != KEY_END; row++) {
			if (rng_below(3))
				continue;
			used = add(line, used, ",", 0);
			used += (size_t)sprintf(line + used, "%s%s=", row->name,
						row->type == KEY_ARGS ? ".a-b" : "");
			used = random_value(row, line, used);
		}
		if (thing_parse(&first, &first_set, line, &diag) < 0)
			fail_msg("%s: %s", line, diag.cause);
		used = keyval_add(printed, sizeof(printed), 0, "t=k");
		assert_true(keys_print(&first_set, printed, sizeof(printed), used) < sizeof(printed));
		if (thing_parse(&second, &second_set, printed, &diag) < 0)
			fail_msg("%s, printed of %s: %s", printed, line, diag.cause);
		keys_print(&second_set, again, sizeof(again), keyval_add(again, sizeof(again), 0, "t=k"));
		assert_string_equal(printed, again);
		assert_int_equal(first_set.given, second_set.given);
		for (const struct key *row = rows; row->type != KEY_END; row++)
			assert_same(row, (char *)&first + row->offset, (char *)&second + row->offset);
		keys_free(&first_set);
		keys_free(&second_set);
	}
}

/* Whatever comes: taken, and then printable; or refused in one line that names the object. */
static void
test_random_bytes(void **state)
{
	/* Words that get far, and single bytes. */
	static const char *const words[] = {
		"t=k,",
		"on=",
		"small=",
		"mtu=",
		"big=",
		"bytes=",
		"memory=",
		"ageing=",
		"rate=",
		"pace=",
		"speed=",
		"mac=",
		"mode=",
		"without=",
		"trunk=",
		"name=",
		"from=",
		"path=",
		"text=",
		"args.x=",
		"args.=",
		",",
		",,",
		"+",
		"++",
		"-",
		"=",
		"1",
		"9999999999999999999999",
		"k",
		"g",
		"kbit",
		"pps",
		"us",
		".",
		"csum",
		"ring_packed",
		"vm0",
		"52:54:00:00:00:01",
		"server",
		"off",
	};
	static char line[1024], printed[8192];

	for (int round = 0; round < 100000; round++) {
		size_t used = 0, n = rng_below(24);
		struct thing thing;
		struct key_set set;
		struct diag diag;

		if (rng_below(4))
			used = (size_t)sprintf(line, "t=k,");
		for (size_t i = 0; i < n; i++) {
			if (rng_below(8))
				used += (size_t)sprintf(line + used, "%s", words[rng_below(DIM(words))]);
			else
				line[used++] = (char)(1 + rng_below(255));
		}
		line[used] = '\0';
		if (thing_parse(&thing, &set, line, &diag) == 0) {
			used = keyval_add(printed, sizeof(printed), 0, "t=k");
			assert_true(keys_print(&set, printed, sizeof(printed), used) < sizeof(printed));
		} else {
			assert_int_equal(strncmp(diag.cause, "thing ", 6), 0);
			assert_true(diag.hint[0]);
			for (const char *c = diag.cause; *c; c++)
				assert_true((unsigned char)*c >= ' ');
		}
		keys_free(&set);
	}
}

/* --- permissions --- */

static void
test_permissions(void **state)
{
	struct sock {
		struct perms perms;
	};
	static const struct key perms_rows[] = {
		{"owner", KEY_USER, KEY_FIELD(struct sock, perms.owner)},
		{"group", KEY_GROUP, KEY_FIELD(struct sock, perms.group)},
		{"mode", KEY_MODE, KEY_FIELD(struct sock, perms.mode)},
		{0},
	};
	static const struct {
		const char *text;
		unsigned int row;
		const char *printed; /* NULL: refused with */
		const char *cause, *hint;
	} row[] = {
		{"root", 0, "root", NULL, NULL},
		{"0", 0, "root", NULL, NULL},
		{"0", 1, "root", NULL, NULL},
		{"4000000000", 1, "4000000000", NULL, NULL},
		{"4294967295", 1, NULL, "sock s: group: 4294967295 is too large", "less than 4294967295"},
		{"99999999999999999999", 0, NULL, "is too large", "less than"},
		{"no-such-group", 1, NULL, "sock s: group: there is no group 'no-such-group' on this machine",
		 "make it: groupadd --system no-such-group"},
		{"roots", 0, NULL, "sock s: owner: there is no user 'roots'", "name another one, root for"},
		{"660", 2, "0660", NULL, NULL},
		{"0777", 2, "0777", NULL, NULL},
		{"2660", 2, NULL, "sock s: mode: '2660' is not the mode of a socket", "0660"},
		{"rw", 2, NULL, "sock s: mode: 'rw' is not the mode of a socket", "0660"},
		{"0", 2, NULL, "sock s: mode: '0' is not", "0660"},
		{"0680", 2, NULL, "sock s: mode: '0680' is not", "0660"},
		{"0444", 2, NULL, "sock s: mode: with 0444 nobody can connect", "permission to write"},
	};

	for (size_t i = 0; i < DIM(row); i++) {
		const struct key *key = &perms_rows[row[i].row];
		struct sock sock = {.perms = {.mode = 0123}};
		struct diag diag = {0};
		char text[64];
		int ret = key_parse(key, &sock, "sock s", row[i].text, &diag);

		if (row[i].printed) {
			assert_int_equal(ret, 0);
			key_print(key, &sock, 0, text, sizeof(text));
			assert_string_equal(text, row[i].printed);
			continue;
		}
		assert_true(ret < 0);
		assert_non_null(strstr(diag.cause, row[i].cause));
		assert_non_null(strstr(diag.hint, row[i].hint));
		assert_int_equal(sock.perms.mode, 0123);
		assert_false(sock.perms.owner.given || sock.perms.group.given);
	}
}

static void
test_permissions_complete(void **state)
{
	const struct perms defaults = {.owner = {1, true}, .group = {2, true}, .mode = 0600};
	struct perms perms = {.group = {3, true}};

	perms_complete(&perms, &defaults);
	assert_int_equal(perms.owner.id, 1);
	assert_int_equal(perms.group.id, 3);
	assert_int_equal(perms.mode, 0600);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lines),
		cmocka_unit_test(test_lines_refused),
		cmocka_unit_test(test_writing),
		cmocka_unit_test(test_defaults),
		cmocka_unit_test(test_numbers),
		cmocka_unit_test(test_values),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_nothing_changed),
		cmocka_unit_test(test_refused_set),
		cmocka_unit_test(test_show),
		cmocka_unit_test(test_forms),
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_random_bytes),
		cmocka_unit_test(test_permissions),
		cmocka_unit_test(test_permissions_complete),
	};

	return UNIT_RUN(tests);
}
