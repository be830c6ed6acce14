/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * config: one line of configuration, NAME=KIND[,key=value]..., checked before anything is opened.
 *
 * Every refusal names the port first, and its hint holds a form that would have been accepted.
 */
#include "port_config.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "keyval.h"
#include "nearest.h"
#include "port.h"
#include "show.h"

enum {
	CONFIG_FIXED = 3,      /* rows of config_keys; the rest can be changed while a port is open */
	CONFIG_KINDS_MAX = 64, /* that a hint chooses from */
	CONFIG_MODES_MAX = 32, /* that have keys for ports */
	CONFIG_SETS_MAX = PORT_CONFIG_SETS + CONFIG_MODES_MAX,
	CONFIG_MTU_MIN = RTE_ETHER_MIN_MTU,
};

#define CONFIG_RATE_MAX (1000ull * 1000 * 1000 * 1000) /* Tbit/s, and more than memory has */
#define CONFIG_FORM "NAME=KIND[,key=value]..."

/* Keys that every kind has. */
static const struct key config_keys[] = {
	{"queues", KEY_NUMBER, KEY_FIELD(struct port_config, n_queues), .min = 1, .max = PORT_QUEUES_MAX,
	 .initial = "1", .help = "queue pairs (default 1)"},
	{"mac", KEY_MAC, KEY_FIELD(struct port_config, mac),
	 .help = "Ethernet address (default: made from the name)"},
	{"mtu", KEY_NUMBER, KEY_FIELD(struct port_config, mtu), .min = CONFIG_MTU_MIN, .max = UINT16_MAX,
	 .help = "largest packet in bytes, without the Ethernet header"},
	{"police-in", KEY_RATE, KEY_FIELD(struct port_config, police.in.rate),
	 .rate_units = KEY_RATE_BIT | KEY_RATE_PPS, .max = CONFIG_RATE_MAX, .form = "RATE",
	 .help = "drop what it sends beyond 100mbit or 50kpps (a number alone: bit/s); 0: no limit"},
	{"police-in-burst", KEY_SIZE, KEY_FIELD(struct port_config, police.in.burst), .min = 1,
	 .max = CONFIG_RATE_MAX, .form = "SIZE",
	 .help = "what passes at once; in frames for pps (default 10 ms, at least 64 KiB or 64 frames)"},
	{"police-out", KEY_RATE, KEY_FIELD(struct port_config, police.out.rate),
	 .rate_units = KEY_RATE_BIT | KEY_RATE_PPS, .max = CONFIG_RATE_MAX, .form = "RATE",
	 .help = "the same of what is sent to the port"},
	{"police-out-burst", KEY_SIZE, KEY_FIELD(struct port_config, police.out.burst), .min = 1,
	 .max = CONFIG_RATE_MAX, .form = "SIZE", .help = "the same"},
	{0},
};

static_assert(sizeof(config_keys) / sizeof(config_keys[0]) == CONFIG_FIXED + 4 + 1,
	      "what can be changed are the four of policers");

static struct port_mode_keys *config_modes;

const struct key *
port_config_common_keys(void)
{
	return config_keys;
}

void
port_mode_keys_register(struct port_mode_keys *mode_keys)
{
	snprintf(mode_keys->refused, sizeof(mode_keys->refused), "is for --forward-mode %s only",
		 mode_keys->mode);
	list_append(config_modes, mode_keys);
}

/* What `config` has, as sets that point into it. */
static void
config_sets(const struct port_config *config, struct key_set sets[PORT_CONFIG_SETS])
{
	const struct port_mode_keys *mode_keys = config->mode_keys;

	sets[PORT_CONFIG_COMMON] = (struct key_set){.rows = config_keys, .values = (void *)config};
	sets[PORT_CONFIG_KIND] =
		(struct key_set){.rows = config->args ? config->kind->keys : NULL, .values = config->args};
	sets[PORT_CONFIG_MODE] = (struct key_set){.rows = config->mode_args ? mode_keys->keys : NULL,
						  .values = config->mode_args};
	for (unsigned int i = 0; i < PORT_CONFIG_SETS; i++)
		sets[i].given = config->given[i];
}

static bool
config_name_char_ok(char c)
{
	return isalnum((unsigned char)c) || c == '-' || c == '_' || c == '.';
}

/* The allowed name that looks most like `name`. */
static void
config_name_near(char near[PORT_NAME_SIZE], const char *name, size_t len)
{
	size_t n = 0;

	for (size_t i = 0; i < len && n < PORT_NAME_SIZE - 1; i++) {
		if (n == 0 && !isalnum((unsigned char)name[i]))
			continue;
		near[n++] = config_name_char_ok(name[i]) ? name[i] : '-';
	}
	near[n] = '\0';
	if (n == 0)
		snprintf(near, PORT_NAME_SIZE, "port0");
}

/* `rest` is the line from its '=' on. */
static int
config_parse_name(struct port_config *config, const char *name, const char *rest, struct diag *diag)
{
	const size_t len = strlen(name);
	const char *why = NULL;
	char near[PORT_NAME_SIZE];

	if (len == 0)
		why = "the name is empty";
	else if (!isalnum((unsigned char)name[0]))
		why = "a name starts with a letter or a digit";
	else if (len >= PORT_NAME_SIZE)
		why = "a name has at most 31 characters";
	for (size_t i = 0; i < len && !why; i++)
		if (!config_name_char_ok(name[i]))
			why = "a name has letters, digits, '-', '_' and '.' only";
	if (why) {
		config_name_near(near, name, len);
		diag_set(diag, -EINVAL, NULL, "port '%.64s': %s", name, why);
		diag_hint(diag, "%s%s", near, rest);
		return -EINVAL;
	}
	memcpy(config->name, name, len + 1);
	return 0;
}

/* " (kinds: a, b)" and the like, from words. */
static void
config_words_join(char *text, size_t size, const char *const words[], size_t n_words)
{
	size_t used = 0;

	text[0] = '\0';
	for (size_t i = 0; i < n_words && used < size; i++)
		used += (size_t)snprintf(text + used, size - used, "%s%s", i ? ", " : "", words[i]);
}

static size_t
config_kind_words(const char *words[CONFIG_KINDS_MAX])
{
	const struct port_kind *kind;
	size_t n = 0;

	list_for_each(kind, port_kinds()) {
		if (n < CONFIG_KINDS_MAX)
			words[n++] = kind->name;
	}
	return n;
}

static const struct port_kind *
config_kind_by_name(const char *name, size_t len)
{
	const struct port_kind *kind;

	list_for_each(kind, port_kinds()) {
		if (strlen(kind->name) == len && memcmp(kind->name, name, len) == 0)
			return kind;
	}
	return NULL;
}

static int
config_no_kind(const char *line, struct diag *diag)
{
	const char *words[CONFIG_KINDS_MAX];
	size_t n_words = config_kind_words(words);
	const char *example = n_words ? words[0] : "KIND";
	size_t len = strcspn(line, ",");

	if (line[0] == '\0') {
		diag_set(diag, -EINVAL, NULL, "port: the configuration is empty");
		diag_hint(diag, "%s, for example p0=%s", CONFIG_FORM, example);
		return -EINVAL;
	}
	diag_set(diag, -EINVAL, NULL, "port '%.*s': no kind is given", (int)RTE_MIN(len, 64u), line);
	if (config_kind_by_name(line, len))
		diag_hint(diag, "%s, for example p0=%s", CONFIG_FORM, line);
	else
		diag_hint(diag, "%s, for example %.*s=%s", CONFIG_FORM, (int)len, line, example);
	return -EINVAL;
}

/* `word` is the kind as the line has it, with all that follows. */
static int
config_parse_kind(struct port_config *config, const char *word, struct diag *diag)
{
	const char *words[CONFIG_KINDS_MAX], *near;
	size_t len = strcspn(word, ","), n_words;
	char all[128], own[64];

	config->kind = config_kind_by_name(word, len);
	if (config->kind && word[len] == ',' && word[len + 1] == ',') {
		diag_set(diag, -EINVAL, NULL, "port %s: nothing stands next to a comma", config->name);
		diag_hint(diag, "%s=%s[,key=value]...", config->name, config->kind->name);
		return -EINVAL;
	}
	if (config->kind)
		return 0;
	n_words = config_kind_words(words);
	config_words_join(all, sizeof(all), words, n_words);
	snprintf(own, sizeof(own), "%.*s", (int)RTE_MIN(len, sizeof(own) - 1), word);
	near = nearest_word(own, words, n_words);
	if (len == 0)
		diag_set(diag, -EINVAL, NULL, "port %s: the kind is empty", config->name);
	else
		diag_set(diag, -EINVAL, NULL, "port %s: there is no kind '%s'", config->name, own);
	if (near)
		diag_hint(diag, "%s=%s%.120s (kinds: %s)", config->name, near, word + len, all);
	return -EINVAL;
}

/* Room for the values of the kind's keys and of the mode's, with their defaults. */
static int
config_make_room(struct port_config *config, struct diag *diag)
{
	struct key_set sets[PORT_CONFIG_SETS];
	bool ok = true;

	config->mode_keys = port_env.mode_keys;
	if (config->kind->args_size)
		ok = (config->args = calloc(1, config->kind->args_size));
	if (ok && config->mode_keys)
		ok = (config->mode_args = calloc(1, config->mode_keys->args_size));
	config_sets(config, sets);
	for (unsigned int i = 0; i < PORT_CONFIG_SETS && ok; i++)
		ok = keys_init(&sets[i]) == 0;
	return ok ? 0 : port_no_memory(config->name, diag);
}

/* The hint to a bad address is the one that the port would have had, or the one that was nearly given. */
static void
config_hint_mac(const struct port_config *config, const struct keyval *keyval, struct diag *diag)
{
	char text[RTE_ETHER_ADDR_FMT_SIZE];
	struct rte_ether_addr mac = {0};

	for (unsigned int i = 0; i < keyval->n_pairs; i++) {
		const struct keyval_pair *pair = &keyval->pairs[i];

		if (strcmp(pair->key, "mac") != 0 || !pair->value ||
		    strlen(pair->value) != RTE_ETHER_ADDR_FMT_SIZE - 1 ||
		    rte_ether_unformat_addr(pair->value, &mac) < 0 || rte_is_broadcast_ether_addr(&mac))
			memset(&mac, 0, sizeof(mac));
		mac.addr_bytes[0] &= (uint8_t)~RTE_ETHER_GROUP_ADDR;
		if (strcmp(pair->key, "mac") == 0)
			break;
	}
	if (rte_is_zero_ether_addr(&mac))
		port_mac_from_name(&mac, config->name);
	rte_ether_format_addr(text, sizeof(text), &mac);
	diag_hint(diag, "mac=%s", text);
}

static int
config_parse_pairs(struct port_config *config, const struct keyval *keyval, struct diag *diag)
{
	static const char mac_hint[] = "mac=XX:XX:XX:XX:XX:XX";
	char object[PORT_NAME_SIZE + 8], kind[64], head[PORT_NAME_SIZE + 64];
	struct key_set sets[CONFIG_SETS_MAX];
	unsigned int n_sets = PORT_CONFIG_SETS;
	struct port_mode_keys *mode_keys;
	int ret;

	snprintf(object, sizeof(object), "port %s", config->name);
	snprintf(kind, sizeof(kind), "kind %s", config->kind->name);
	snprintf(head, sizeof(head), "%s=%s", config->name, config->kind->name);
	config_sets(config, sets);
	list_for_each(mode_keys, config_modes) {
		if (mode_keys != config->mode_keys && n_sets < CONFIG_SETS_MAX)
			sets[n_sets++] =
				(struct key_set){.rows = mode_keys->keys, .refused = mode_keys->refused};
	}
	ret = keys_parse(sets, n_sets, keyval, object, kind, head, diag);
	for (unsigned int i = 0; i < PORT_CONFIG_SETS; i++)
		config->given[i] = sets[i].given;
	config->has_mac = key_is_given(&sets[PORT_CONFIG_COMMON], "mac");
	/* Of an address that is none: with no value at all the form is the better hint. */
	if (ret < 0 && strcmp(diag->hint, mac_hint) == 0 && !strstr(diag->cause, "has no "))
		config_hint_mac(config, keyval, diag);
	return ret;
}

/* What more than one row has to do with. */
static int
config_check_rows(const struct port_config *config, const struct policer_config *police,
		  const void *mode_args, struct diag *diag)
{
	const struct port_mode_keys *mode_keys = config->mode_keys;
	char object[PORT_NAME_SIZE + 8];
	int ret;

	snprintf(object, sizeof(object), "port %s", config->name);
	ret = policer_check(police, object, diag);
	if (ret == 0 && mode_keys && mode_keys->check)
		ret = mode_keys->check(mode_args, object, diag);
	return ret;
}

int
port_config_parse(struct port_config *config, const char *line, struct diag *diag)
{
	struct keyval keyval;
	int ret;

	memset(config, 0, sizeof(*config));
	ret = keyval_parse(&keyval, line, KEYVAL_NAMED, "port", diag);
	if (ret < 0)
		return ret;
	/* "p0,queues=2": the first word is the name, and its kind is missing. */
	if (!keyval.kind)
		ret = config_no_kind(line, diag);
	if (ret == 0)
		ret = config_parse_name(config, keyval.name, strchr(line, '='), diag);
	if (ret == 0)
		ret = config_parse_kind(config, strchr(line, '=') + 1, diag);
	if (ret == 0)
		ret = config_make_room(config, diag);
	if (ret == 0)
		ret = config_parse_pairs(config, &keyval, diag);
	if (ret == 0)
		ret = config_check_rows(config, &config->police, config->mode_args, diag);
	if (ret == 0 && config->kind->check)
		ret = config->kind->check(config, diag);
	keyval_free(&keyval);
	if (ret < 0)
		port_config_free(config);
	return ret;
}

/* What one line says of one direction, with its rate and its burst in bits `rate` and `rate` + 1 of given. */
static void
config_change_limit(struct policer_limit *limit, uint64_t *given, uint64_t said, unsigned int rate)
{
	if (!(said >> rate & 1))
		return;
	/* A new rate has a new burst. */
	if (!(said >> (rate + 1) & 1)) {
		limit->burst = 0;
		*given &= ~(2ull << rate);
	}
	if (limit->rate.per_s == 0)
		*given &= ~(1ull << rate);
}

/* A copy of the mode's struct, with the values that the line has and the other rows' defaults. */
static int
config_copy_mode_args(const struct port_config *config, void **ret_args, struct diag *diag)
{
	const struct key *row = config->mode_keys->keys;
	struct key_set set = {.rows = row, .values = calloc(1, config->mode_keys->args_size)};
	char text[KEYVAL_LINE_MAX];

	if (!set.values || keys_init(&set) < 0) {
		free(set.values);
		return diag_no_memory(diag, "port %s: no memory", config->name);
	}
	for (unsigned int i = 0; row[i].type != KEY_END; i++) {
		int ret;

		if (!(config->given[PORT_CONFIG_MODE] >> i & 1))
			continue;
		key_print(&row[i], config->mode_args, 0, text, sizeof(text));
		ret = key_parse(&row[i], set.values, config->name, text, diag);
		if (ret < 0) {
			keys_free(&set);
			free(set.values);
			return ret;
		}
	}
	*ret_args = set.values;
	return 0;
}

void
port_config_change_free(const struct port_config *config, struct port_config_change *change)
{
	struct key_set set = {.values = change->mode_args};

	if (!change->mode_args)
		return;
	set.rows = config->mode_keys->keys;
	keys_free(&set);
	free(change->mode_args);
	change->mode_args = NULL;
}

/* Two sets can be changed: the rest of the common keys, and the mode's where it says so. */
static int
config_change_parse(const struct port_config *config, const char *pairs, struct port_config *copy,
		    struct port_config_change *change, struct diag *diag)
{
	enum { COMMON, MODE, FIXED };
	static const char fixed[] = "is fixed while the port is open";
	const struct port_mode_keys *mode_keys = change->mode_args ? config->mode_keys : NULL;
	char object[PORT_NAME_SIZE + 8], line[KEYVAL_LINE_MAX];
	struct key_set sets[FIXED + PORT_CONFIG_SETS] = {
		[COMMON] = {.rows = config_keys + CONFIG_FIXED, .values = copy},
		[MODE] = {.rows = mode_keys ? mode_keys->keys : NULL, .values = change->mode_args},
	};
	struct keyval keyval;
	uint64_t said;
	int ret;

	snprintf(object, sizeof(object), "port %s", config->name);
	if ((size_t)snprintf(line, sizeof(line), "%s,%s", config->kind->name, pairs) >= sizeof(line))
		return diag_set(diag, -E2BIG, "key=value[,key=value]...", "%s: the line is too long", object);
	ret = keyval_parse(&keyval, line, KEYVAL_UNNAMED, "port", diag);
	if (ret < 0)
		return ret;
	config_sets(config, sets + FIXED);
	for (unsigned int i = FIXED; i < RTE_DIM(sets); i++)
		sets[i] = (struct key_set){.rows = sets[i].rows, .refused = fixed};
	ret = keys_parse(sets, RTE_DIM(sets), &keyval, object, "an open port", config->name, diag);
	keyval_free(&keyval);
	if (ret < 0)
		return ret;
	said = sets[COMMON].given << CONFIG_FIXED;
	change->given[PORT_CONFIG_COMMON] |= said;
	config_change_limit(&copy->police.in, &change->given[PORT_CONFIG_COMMON], said, CONFIG_FIXED);
	config_change_limit(&copy->police.out, &change->given[PORT_CONFIG_COMMON], said, CONFIG_FIXED + 2);
	if (mode_keys) {
		change->given[PORT_CONFIG_MODE] |= sets[MODE].given;
		mode_keys->change(change->mode_args, sets[MODE].given, &change->given[PORT_CONFIG_MODE]);
	}
	return config_check_rows(config, &copy->police, change->mode_args, diag);
}

int
port_config_change(const struct port_config *config, const char *pairs, struct port_config_change *ret_change,
		   struct diag *diag)
{
	struct port_config_change change = {0};
	/* Rows are of a port_config: of this one, what can't be changed is not looked at. */
	struct port_config copy = *config;
	int ret = 0;

	memcpy(change.given, config->given, sizeof(change.given));
	if (config->mode_args && config->mode_keys->change)
		ret = config_copy_mode_args(config, &change.mode_args, diag);
	if (ret == 0)
		ret = config_change_parse(config, pairs, &copy, &change, diag);
	if (ret < 0) {
		port_config_change_free(config, &change);
		return ret;
	}
	change.police = copy.police;
	*ret_change = change;
	return 0;
}

/* Are the pairs of those rows the same that `fixed` (bit by row) says? */
static bool
config_sets_equal(struct key_set a, struct key_set b, uint64_t fixed)
{
	char text[2][KEYVAL_LINE_MAX] = {"", ""};

	a.given &= fixed;
	b.given &= fixed;
	keys_print(&a, text[0], sizeof(text[0]), 0);
	keys_print(&b, text[1], sizeof(text[1]), 0);
	return strcmp(text[0], text[1]) == 0;
}

static bool
config_mode_changes(const struct port_config *config, const struct port_config *as)
{
	return as->mode_args && config->mode_args && config->mode_keys->change;
}

bool
port_config_can_become(const struct port_config *config, const struct port_config *as)
{
	const uint64_t fixed[PORT_CONFIG_SETS] = {
		[PORT_CONFIG_COMMON] = (1u << CONFIG_FIXED) - 1,
		[PORT_CONFIG_KIND] = UINT64_MAX,
		[PORT_CONFIG_MODE] = config_mode_changes(config, as) ? 0 : UINT64_MAX,
	};
	struct key_set was[PORT_CONFIG_SETS], sets[PORT_CONFIG_SETS];

	if (strcmp(config->name, as->name) != 0 || config->kind != as->kind)
		return false;
	config_sets(config, was);
	config_sets(as, sets);
	for (unsigned int i = 0; i < PORT_CONFIG_SETS; i++)
		if (!config_sets_equal(was[i], sets[i], fixed[i]))
			return false;
	return true;
}

bool
port_config_change_to(const struct port_config *config, struct port_config *as,
		      struct port_config_change *ret_change)
{
	if (!port_config_can_become(config, as))
		return false;
	*ret_change = (struct port_config_change){.police = as->police};
	memcpy(ret_change->given, as->given, sizeof(as->given));
	if (config_mode_changes(config, as))
		RTE_SWAP(ret_change->mode_args, as->mode_args);
	return true;
}

void
port_config_take(struct port_config *config, struct port_config_change *change)
{
	config->police = change->police;
	memcpy(config->given, change->given, sizeof(config->given));
	if (!change->mode_args)
		return;
	RTE_SWAP(config->mode_args, change->mode_args);
	port_config_change_free(config, change);
}

void
port_config_free(struct port_config *config)
{
	struct key_set sets[PORT_CONFIG_SETS];

	config_sets(config, sets);
	for (unsigned int i = 0; i < PORT_CONFIG_SETS; i++)
		keys_free(&sets[i]);
	free(config->args);
	free(config->mode_args);
	memset(config, 0, sizeof(*config));
}

bool
port_config_has(const struct port_config *config, const char *key)
{
	struct key_set sets[PORT_CONFIG_SETS];

	config_sets(config, sets);
	return key_is_given(&sets[PORT_CONFIG_KIND], key);
}

void
port_config_demand(const struct port_config *config, struct port_demand *ret_demand)
{
	*ret_demand = (struct port_demand){0};
	if (config->kind->demand)
		config->kind->demand(config, ret_demand);
}

size_t
port_config_print(const struct port_config *config, char *buf, size_t size)
{
	struct key_set sets[PORT_CONFIG_SETS];
	size_t used = keyval_add(buf, size, 0, config->name);

	used = keyval_add(buf, size, used, "=");
	used = keyval_add(buf, size, used, config->kind->name);
	config_sets(config, sets);
	for (unsigned int i = 0; i < PORT_CONFIG_SETS; i++)
		used = keys_print(&sets[i], buf, size, used);
	return used;
}

void
port_config_show(const struct port_config *config, const struct show *show)
{
	struct key_set sets[PORT_CONFIG_SETS];

	show->text(show->arg, "name", config->name);
	show->text(show->arg, "kind", config->kind->name);
	config_sets(config, sets);
	for (unsigned int i = 0; i < PORT_CONFIG_SETS; i++)
		keys_show(&sets[i], show);
}

static int
config_check_pair(const struct port_config *a, const struct port_config *b, struct diag *diag)
{
	if (strcmp(a->name, b->name) == 0) {
		diag_set(diag, -EEXIST, NULL, "port %s: two ports have this name", b->name);
		diag_hint(diag, "give each port its own name, for example %.28s-2=%s", b->name,
			  b->kind->name);
		return -EEXIST;
	}
	if (b->resource[0] && strcmp(a->resource, b->resource) == 0) {
		int word = (int)strcspn(b->resource, " ");

		diag_set(diag, -EEXIST, NULL, "port %s: two ports on one %.*s: port %s has %s too", b->name,
			 word, b->resource, a->name, b->resource);
		diag_hint(diag, "give port %s a %.*s of its own", b->name, word, b->resource);
		return -EEXIST;
	}
	return 0;
}

/* There is none yet: how would one be made? */
static void
config_hint_uplink(const char *name, struct diag *diag)
{
	const struct port_kind *kind;

	list_for_each(kind, port_kinds()) {
		if (!kind->is_uplink || !kind->example)
			continue;
		diag_hint(diag, "add the NIC first, for example %s=%s, or leave uplink= out", name,
			  kind->example);
		return;
	}
	diag_hint(diag, "leave uplink= out");
}

/* `uplinks` are the ports that could be named. */
static int
config_check_uplink(const struct port_config *config, const char *const uplinks[], unsigned int n_uplinks,
		    struct diag *diag)
{
	for (unsigned int i = 0; i < n_uplinks; i++)
		if (strcmp(config->uplink, uplinks[i]) == 0)
			return 0;
	diag_set(diag, -ENOENT, NULL, "port %s: uplink: there is no port '%.64s' that is a NIC", config->name,
		 config->uplink);
	if (n_uplinks)
		diag_hint(diag, "uplink=%s", nearest_word(config->uplink, uplinks, n_uplinks));
	else
		config_hint_uplink(config->uplink, diag);
	return -ENOENT;
}

int
port_config_check(const struct port_config configs[], unsigned int n, struct diag *diag)
{
	const char *uplinks[PORT_MAX];
	unsigned int n_uplinks = 0;
	int ret;

	if (n > PORT_MAX) {
		diag_set(diag, -ENOSPC, NULL, "port %s: %u ports are given", configs[PORT_MAX].name, n);
		diag_hint(diag, "at most %d ports", PORT_MAX);
		return -ENOSPC;
	}
	for (unsigned int i = 0; i < n; i++) {
		for (unsigned int j = 0; j < i; j++) {
			ret = config_check_pair(&configs[j], &configs[i], diag);
			if (ret < 0)
				return ret;
		}
		if (configs[i].kind->is_uplink)
			uplinks[n_uplinks++] = configs[i].name;
	}
	for (unsigned int i = 0; i < n; i++) {
		if (!configs[i].uplink)
			continue;
		ret = config_check_uplink(&configs[i], uplinks, n_uplinks, diag);
		if (ret < 0)
			return ret;
	}
	return 0;
}

int
port_config_check_open(const struct port_config *config, struct diag *diag)
{
	const char *uplinks[PORT_MAX];
	unsigned int n_uplinks = 0;

	if (!config->uplink)
		return 0;
	for (unsigned int i = 0; i < PORT_MAX; i++) {
		const struct port *port = port_by_id(i);

		if (port && port->kind->is_uplink)
			uplinks[n_uplinks++] = port->name;
	}
	return config_check_uplink(config, uplinks, n_uplinks, diag);
}
