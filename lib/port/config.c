/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * config: one line of configuration, NAME=KIND[,key=value]..., checked before anything is opened.
 *
 * Every refusal names the port first, and its hint holds a form that would have been accepted.
 */
#include "port.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "nearest.h"

enum {
	CONFIG_VALUES_MAX = RTE_DIM(((struct port_config *)0)->values),
	CONFIG_WORDS_MAX = 64, /* kinds, or keys of one kind, that a hint chooses from */
	CONFIG_SLIP_MAX = 2,   /* wrong letters in a word that is still recognised */
	CONFIG_MTU_MIN = RTE_ETHER_MIN_MTU,
};

#define CONFIG_FORM "NAME=KIND[,key=value]..."

struct config_key {
	struct port_key key;
	int (*parse)(struct port_config *config, const char *value, struct diag *diag);
};

static bool
config_number(const char *word, unsigned long *ret_number)
{
	unsigned long number;
	char *end;

	if (!isdigit((unsigned char)word[0]))
		return false;
	errno = 0;
	number = strtoul(word, &end, 10);
	if (*end)
		return false;
	*ret_number = errno ? ULONG_MAX : number;
	return true;
}

int
port_config_number(const struct port_config *config, const char *key, const char *value, unsigned long min,
		   unsigned long max, unsigned long *ret_number, struct diag *diag)
{
	unsigned long number;

	if (!config_number(value, &number)) {
		diag_set(diag, -EINVAL, NULL, "port %s: %s: '%s' is not a number", config->name, key, value);
		diag_hint(diag, "%s=%lu..%lu", key, min, max);
		return -EINVAL;
	}
	if (number < min || number > max) {
		diag_set(diag, -ERANGE, NULL, "port %s: %s: %s is not in %lu..%lu", config->name, key, value,
			 min, max);
		diag_hint(diag, "%s=%lu", key, number < min ? min : max);
		return -ERANGE;
	}
	*ret_number = number;
	return 0;
}

static int
config_parse_queues(struct port_config *config, const char *value, struct diag *diag)
{
	unsigned long number;
	int ret = port_config_number(config, "queues", value, 1, PORT_QUEUES_MAX, &number, diag);

	if (ret == 0)
		config->n_queues = (uint16_t)number;
	return ret;
}

static int
config_parse_mtu(struct port_config *config, const char *value, struct diag *diag)
{
	unsigned long number;
	int ret = port_config_number(config, "mtu", value, CONFIG_MTU_MIN, UINT16_MAX, &number, diag);

	if (ret == 0)
		config->mtu = (uint16_t)number;
	return ret;
}

static int
config_parse_mac(struct port_config *config, const char *value, struct diag *diag)
{
	char text[RTE_ETHER_ADDR_FMT_SIZE];
	struct rte_ether_addr mac, near;
	const char *cause = NULL;

	port_mac_from_name(&near, config->name);
	/* The length check keeps to the usual form; the library would take others too. */
	if (strlen(value) != RTE_ETHER_ADDR_FMT_SIZE - 1 || rte_ether_unformat_addr(value, &mac) < 0) {
		cause = "not a MAC address";
	} else if (rte_is_zero_ether_addr(&mac)) {
		cause = "the all-zero address";
	} else if (rte_is_multicast_ether_addr(&mac)) {
		cause = "a multicast address";
		if (!rte_is_broadcast_ether_addr(&mac)) {
			near = mac;
			near.addr_bytes[0] &= (uint8_t)~RTE_ETHER_GROUP_ADDR;
			if (rte_is_zero_ether_addr(&near))
				port_mac_from_name(&near, config->name);
		}
	}
	if (cause) {
		rte_ether_format_addr(text, sizeof(text), &near);
		diag_set(diag, -EINVAL, NULL, "port %s: mac: '%s' is %s", config->name, value, cause);
		diag_hint(diag, "mac=%s", text);
		return -EINVAL;
	}
	config->mac = mac;
	config->has_mac = true;
	return 0;
}

/* Keys that every kind has; their order is that of `seen` bits in config_parse_pairs(). */
static const struct config_key config_keys[] = {
	{{"queues", "1..128", "queue pairs"}, config_parse_queues},
	{{"mac", "XX:XX:XX:XX:XX:XX", "Ethernet address"}, config_parse_mac},
	{{"mtu", "68..65535", "largest packet, bytes, without the Ethernet header"}, config_parse_mtu},
};

static_assert(PORT_QUEUES_MAX == 128, "the form of queues= says 128");
static_assert(CONFIG_MTU_MIN == 68, "the form of mtu= says 68");

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

static int
config_parse_name(struct port_config *config, const char *line, size_t len, struct diag *diag)
{
	const char *why = NULL;
	char near[PORT_NAME_SIZE];

	if (len == 0)
		why = "the name is empty";
	else if (!isalnum((unsigned char)line[0]))
		why = "a name starts with a letter or a digit";
	else if (len >= PORT_NAME_SIZE)
		why = "a name has at most 31 characters";
	for (size_t i = 0; i < len && !why; i++)
		if (!config_name_char_ok(line[i]))
			why = "a name has letters, digits, '-', '_' and '.' only";
	if (why) {
		config_name_near(near, line, len);
		diag_set(diag, -EINVAL, NULL, "port '%.*s': %s", (int)RTE_MIN(len, 64u), line, why);
		diag_hint(diag, "%s%s", near, line + len);
		return -EINVAL;
	}
	memcpy(config->name, line, len);
	config->name[len] = '\0';
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

int
port_config_word(const struct port_config *config, const char *key, const char *value,
		 const char *const words[], unsigned int n_words, unsigned int *ret_idx, struct diag *diag)
{
	char all[64];

	for (unsigned int i = 0; i < n_words; i++) {
		if (strcmp(value, words[i]) == 0) {
			*ret_idx = i;
			return 0;
		}
	}
	config_words_join(all, sizeof(all), words, n_words);
	diag_set(diag, -EINVAL, NULL, "port %s: %s: '%s' is none of %s", config->name, key, value, all);
	diag_hint(diag, "%s=%s", key, nearest_word(value, words, n_words));
	return -EINVAL;
}

static size_t
config_kind_words(const char *words[CONFIG_WORDS_MAX])
{
	const struct port_kind *kind;
	size_t n = 0;

	list_for_each(kind, port_kinds()) {
		if (n < CONFIG_WORDS_MAX)
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
	const char *words[CONFIG_WORDS_MAX];
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

static int
config_parse_kind(struct port_config *config, const char *word, struct diag *diag)
{
	const char *words[CONFIG_WORDS_MAX], *near;
	size_t len = strcspn(word, ","), n_words;
	char all[128], own[64];

	config->kind = config_kind_by_name(word, len);
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

/* All keys of a kind, the common ones first. Returns their number. */
static size_t
config_all_keys(const struct port_kind *kind, const struct port_key *keys[CONFIG_WORDS_MAX])
{
	size_t n = 0;

	for (size_t i = 0; i < RTE_DIM(config_keys); i++)
		keys[n++] = &config_keys[i].key;
	for (size_t i = 0; kind->keys && i < CONFIG_VALUES_MAX && kind->keys[i].name; i++)
		keys[n++] = &kind->keys[i];
	return n;
}

static int
config_unknown_key(const struct port_config *config, const char *name, const char *value, struct diag *diag)
{
	const struct port_key *keys[CONFIG_WORDS_MAX];
	const char *words[CONFIG_WORDS_MAX];
	size_t n_keys = config_all_keys(config->kind, keys);
	const char *near;
	char all[128];

	for (size_t i = 0; i < n_keys; i++)
		words[i] = keys[i]->name;
	config_words_join(all, sizeof(all), words, n_keys);
	near = nearest_word(name, words, n_keys);
	diag_set(diag, -EINVAL, NULL, "port %s: kind %s has no key '%s'", config->name, config->kind->name,
		 name);
	for (size_t i = 0; i < n_keys; i++)
		if (words[i] == near)
			/* Of a slip of the pen the value was meant for that key; of another word it was not.
			 */
			diag_hint(diag, "%s=%.100s (keys: %s)", near,
				  value && value[0] && nearest_distance(name, near) <= CONFIG_SLIP_MAX
					  ? value
					  : keys[i]->form,
				  all);
	return -EINVAL;
}

static int
config_parse_pair(struct port_config *config, const char *name, const char *value, uint32_t *seen,
		  struct diag *diag)
{
	const struct port_key *keys[CONFIG_WORDS_MAX];
	size_t n_keys = config_all_keys(config->kind, keys), i;

	for (i = 0; i < n_keys; i++)
		if (strcmp(name, keys[i]->name) == 0)
			break;
	if (i == n_keys)
		return config_unknown_key(config, name, value, diag);
	if (!value || !value[0]) {
		diag_set(diag, -EINVAL, NULL, "port %s: key '%s' has no value", config->name, name);
		diag_hint(diag, "%s=%s", name, keys[i]->form);
		return -EINVAL;
	}
	if (*seen & RTE_BIT32(i)) {
		diag_set(diag, -EINVAL, NULL, "port %s: key '%s' is given twice", config->name, name);
		diag_hint(diag, "%s=%.200s once", name, value);
		return -EINVAL;
	}
	*seen |= RTE_BIT32(i);
	if (i < RTE_DIM(config_keys))
		return config_keys[i].parse(config, value, diag);
	config->values[i - RTE_DIM(config_keys)] = strdup(value);
	if (!config->values[i - RTE_DIM(config_keys)])
		return diag_set(diag, -ENOMEM, NULL, "port %s: no memory", config->name);
	return 0;
}

static int
config_parse_pairs(struct port_config *config, const char *args, struct diag *diag)
{
	char *copy, *rest, *pair;
	uint32_t seen = 0;
	int ret = 0;

	if (args[0] == '\0' || args[0] == ',' || strstr(args, ",,") || args[strlen(args) - 1] == ',') {
		diag_set(diag, -EINVAL, NULL, "port %s: nothing stands next to a comma", config->name);
		diag_hint(diag, "%s=%s[,key=value]...", config->name, config->kind->name);
		return -EINVAL;
	}
	copy = strdup(args);
	if (!copy)
		return diag_set(diag, -ENOMEM, NULL, "port %s: no memory", config->name);
	/* Not rte_kvargs: a value may hold '=' (vdev=net_tap0;iface=tap0), which that takes for another key.
	 */
	rest = copy;
	while (ret == 0 && (pair = strsep(&rest, ","))) {
		char *value = pair;
		const char *key = strsep(&value, "=");

		ret = config_parse_pair(config, key, value, &seen, diag);
	}
	free(copy);
	return ret;
}

int
port_config_parse(struct port_config *config, const char *line, struct diag *diag)
{
	const char *equals = strchr(line, '='), *comma;
	int ret;

	memset(config, 0, sizeof(*config));
	comma = strchr(line, ',');
	/* "p0,queues=2": the first word is the name, and its kind is missing. */
	if (!equals || (comma && comma < equals))
		return config_no_kind(line, diag);
	config->n_queues = 1;
	ret = config_parse_name(config, line, (size_t)(equals - line), diag);
	if (ret == 0)
		ret = config_parse_kind(config, equals + 1, diag);
	if (ret == 0 && comma)
		ret = config_parse_pairs(config, comma + 1, diag);
	if (ret == 0 && config->kind->check)
		ret = config->kind->check(config, diag);
	if (ret < 0)
		port_config_free(config);
	return ret;
}

void
port_config_free(struct port_config *config)
{
	for (size_t i = 0; i < CONFIG_VALUES_MAX; i++)
		free(config->values[i]);
	memset(config, 0, sizeof(*config));
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
		diag_hint(diag,
			  "add the NIC first, for example %s=nic,dev=net_af_packet0, or leave uplink= out",
			  config->uplink[0] && strlen(config->uplink) < PORT_NAME_SIZE ? config->uplink
										       : "up0");
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
