/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * keys: contract in keys.h. Top down: the numbers, the types (parse, print, show, free of each, and their
 * table), one value, and the pairs of a line.
 */
#include "keys.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nearest.h"
#include "perms.h"
#include "show.h"

enum {
	KEYS_WORDS_MAX = 4 * KEYS_ROWS_MAX, /* keys of one line that a hint chooses from */
	KEYS_SLIP_MAX = 2,                  /* wrong letters in a word that is still recognised */
	KEY_MAC_LEN = 17,
};

/* Where a value stands, for messages. */
struct key_place {
	const struct key *row;
	const char *object;
	const char *text; /* the whole value */
};

/* --- numbers --- */

#define KEY_KIBI (1ull << 10)
#define KEY_KILO 1000ull

static const struct key_suffix {
	enum key_type type;
	const char *text;
	uint64_t times;
	enum key_rate_unit unit;
} key_suffixes[] = {
	/* Of each type from large to small: key_print_number() takes the first that divides. */
	{KEY_NUMBER, "g", KEY_KILO *KEY_KILO *KEY_KILO, 0},
	{KEY_NUMBER, "m", KEY_KILO *KEY_KILO, 0},
	{KEY_NUMBER, "k", KEY_KILO, 0},
	{KEY_SIZE, "g", KEY_KIBI *KEY_KIBI *KEY_KIBI, 0},
	{KEY_SIZE, "m", KEY_KIBI *KEY_KIBI, 0},
	{KEY_SIZE, "k", KEY_KIBI, 0},
	{KEY_RATE, "gbit", KEY_KILO *KEY_KILO *KEY_KILO, KEY_RATE_BIT},
	{KEY_RATE, "mbit", KEY_KILO *KEY_KILO, KEY_RATE_BIT},
	{KEY_RATE, "kbit", KEY_KILO, KEY_RATE_BIT},
	{KEY_RATE, "bit", 1, KEY_RATE_BIT},
	{KEY_RATE, "gpps", KEY_KILO *KEY_KILO *KEY_KILO, KEY_RATE_PPS},
	{KEY_RATE, "mpps", KEY_KILO *KEY_KILO, KEY_RATE_PPS},
	{KEY_RATE, "kpps", KEY_KILO, KEY_RATE_PPS},
	{KEY_RATE, "pps", 1, KEY_RATE_PPS},
	{KEY_DURATION, "s", 1000 * 1000, 0},
	{KEY_DURATION, "ms", 1000, 0},
	{KEY_DURATION, "us", 1, 0},
};

enum { KEY_SUFFIXES = sizeof(key_suffixes) / sizeof(key_suffixes[0]) };

static uint64_t
key_bare(const struct key *row)
{
	return row->bare ? row->bare : 1;
}

static unsigned int
key_rate_units(const struct key *row)
{
	return row->rate_units ? row->rate_units : (unsigned int)KEY_RATE_BIT;
}

static uint64_t
key_max(const struct key *row)
{
	if (row->max)
		return row->max;
	return row->type == KEY_NUMBER && row->size < 8 ? (1ull << 8 * row->size) - 1 : UINT64_MAX;
}

/* Digits at *text, which moves behind them. False: there are none. Beyond 2^64 - 1 is that. */
static bool
key_read_digits(const char **text, uint64_t *ret_number)
{
	uint64_t number = 0;

	if (!isdigit((unsigned char)**text))
		return false;
	for (; isdigit((unsigned char)**text); (*text)++)
		if (__builtin_mul_overflow(number, 10u, &number) ||
		    __builtin_add_overflow(number, (uint64_t)(**text - '0'), &number))
			number = UINT64_MAX;
	*ret_number = number;
	return true;
}

/* Of durations only: ".25" as 10^-9ths, the rest of its digits skipped. */
static uint64_t
key_read_fraction(const char **text)
{
	uint64_t nano = 0, place = 100 * 1000 * 1000;

	for (; isdigit((unsigned char)**text); (*text)++, place /= 10)
		nano += place * (uint64_t)(**text - '0');
	return nano;
}

/* *unit as the text has it. False: `text` is no number, or its suffix is none of the row's type. */
static bool
key_read_number(const struct key *row, const char *text, uint64_t *ret_number, enum key_rate_unit *ret_unit)
{
	const enum key_type type = row->type == KEY_NUMBERS ? KEY_NUMBER : row->type;
	uint64_t whole = 0, nano = 0, times = key_bare(row);
	enum key_rate_unit unit = key_rate_units(row) & KEY_RATE_BIT ? KEY_RATE_BIT : KEY_RATE_PPS;
	bool any = key_read_digits(&text, &whole);
	unsigned __int128 number;

	if (type == KEY_DURATION && *text == '.' && (any || isdigit((unsigned char)text[1]))) {
		text++;
		any = true;
		nano = key_read_fraction(&text);
	}
	if (!any)
		return false;
	if (*text) {
		unsigned int i;

		for (i = 0; i < KEY_SUFFIXES; i++)
			if (key_suffixes[i].type == type && strcmp(key_suffixes[i].text, text) == 0)
				break;
		if (i == KEY_SUFFIXES || (type == KEY_RATE && !(key_suffixes[i].unit & key_rate_units(row))))
			return false;
		times = key_suffixes[i].times;
		unit = key_suffixes[i].unit;
	}
	number = (unsigned __int128)whole * times +
		 ((unsigned __int128)nano * times + 500 * 1000 * 1000) / (1000 * 1000 * 1000);
	*ret_number = number > UINT64_MAX || whole == UINT64_MAX ? UINT64_MAX : (uint64_t)number;
	*ret_unit = unit;
	return true;
}

/* With the largest suffix that leaves it whole; a plain number where the type needs none. */
static size_t
key_print_number(const struct key *row, uint64_t number, enum key_rate_unit unit, char *buf, size_t size)
{
	for (unsigned int i = 0; i < KEY_SUFFIXES && row->type != KEY_NUMBER && row->type != KEY_NUMBERS;
	     i++) {
		const struct key_suffix *suffix = &key_suffixes[i];

		if (suffix->type == row->type && (row->type != KEY_RATE || suffix->unit == unit) &&
		    number % suffix->times == 0 && (number || suffix->times == 1))
			return (size_t)snprintf(buf, size, "%llu%s",
						(unsigned long long)(number / suffix->times), suffix->text);
	}
	return (size_t)snprintf(buf, size, "%llu", (unsigned long long)number);
}

/* An end of a range, in the unit that a number without a suffix has. */
static void
key_print_bound(const struct key *row, uint64_t number, char *buf, size_t size)
{
	const uint64_t bare = key_bare(row);

	if (bare > 1 && number % bare == 0)
		snprintf(buf, size, "%llu", (unsigned long long)(number / bare));
	else
		key_print_number(row, number,
				 key_rate_units(row) & KEY_RATE_BIT ? KEY_RATE_BIT : KEY_RATE_PPS, buf, size);
}

static void
key_print_range(const struct key *row, char *buf, size_t size)
{
	char min[32], max[32];

	key_print_bound(row, row->min, min, sizeof(min));
	key_print_bound(row, key_max(row), max, sizeof(max));
	snprintf(buf, size, "%s..%s", min, max);
}

/* What was meant by 10G, 5 K or 1S; false: no idea. */
static bool
key_guess_number(const struct key *row, const char *text, char *buf, size_t size)
{
	static const char *const tails[] = {"", "bit", "pps", "s"};
	enum key_rate_unit unit;
	uint64_t number;

	for (unsigned int i = 0; i < sizeof(tails) / sizeof(tails[0]); i++) {
		size_t used = 0;

		for (const char *c = text; *c && used + 1 < size; c++)
			if (!isspace((unsigned char)*c))
				buf[used++] = (char)tolower((unsigned char)*c);
		buf[used] = '\0';
		keyval_add(buf, size, used, tails[i]);
		if (key_read_number(row, buf, &number, &unit) && number >= row->min && number <= key_max(row))
			return true;
	}
	return false;
}

static int
key_not_a_number(const struct key_place *place, const char *text, struct diag *diag)
{
	const struct key *row = place->row;
	char form[80];

	diag_set(diag, -EINVAL, NULL, "%s: %s: '%.128s' is not a number", place->object, row->name, text);
	if (!key_guess_number(row, text, form, sizeof(form)))
		key_print_range(row, form, sizeof(form));
	diag_hint(diag, "%s=%s%s", row->name, form,
		  strchr(text, ',') ? " (a doubled comma is part of the value)" : "");
	return -EINVAL;
}

static int
key_number(const struct key_place *place, const char *text, uint64_t *ret_number,
	   enum key_rate_unit *ret_unit, struct diag *diag)
{
	const struct key *row = place->row;
	char range[72], bound[32];
	uint64_t number;

	if (!key_read_number(row, text, &number, ret_unit))
		return key_not_a_number(place, text, diag);
	if (number < row->min || number > key_max(row) || number == UINT64_MAX) {
		key_print_range(row, range, sizeof(range));
		key_print_bound(row, number < row->min ? row->min : key_max(row), bound, sizeof(bound));
		diag_set(diag, -ERANGE, NULL, "%s: %s: %.128s is not in %s", place->object, row->name, text,
			 range);
		diag_hint(diag, "%s=%s", row->name, bound);
		return -ERANGE;
	}
	*ret_number = number;
	return 0;
}

static void
key_store(void *field, size_t size, uint64_t number)
{
	switch (size) {
	case 1:
		*(uint8_t *)field = (uint8_t)number;
		break;
	case 2:
		*(uint16_t *)field = (uint16_t)number;
		break;
	case 4:
		*(uint32_t *)field = (uint32_t)number;
		break;
	default:
		assert(size == 8 && "a number's field is 1, 2, 4 or 8 bytes");
		*(uint64_t *)field = number;
	}
}

static uint64_t
key_load(const void *field, size_t size)
{
	return size == 1   ? *(const uint8_t *)field
	       : size == 2 ? *(const uint16_t *)field
	       : size == 4 ? *(const uint32_t *)field
			   : *(const uint64_t *)field;
}

static int
number_parse(const struct key_place *place, void *field, struct diag *diag)
{
	enum key_rate_unit unit;
	uint64_t number;
	int ret = key_number(place, place->text, &number, &unit, diag);

	if (ret == 0)
		key_store(field, place->row->size, number);
	return ret;
}

static size_t
number_print(const struct key *row, const void *field, const char *doubled, char *buf, size_t size)
{
	return key_print_number(row, key_load(field, row->size), 0, buf, size);
}

static void
number_show(const struct key *row, const void *field, const struct show *show)
{
	show->number(show->arg, row->name, (int64_t)key_load(field, row->size));
}

static int
rate_parse(const struct key_place *place, void *field, struct diag *diag)
{
	struct key_rate rate;
	int ret = key_number(place, place->text, &rate.per_s, &rate.unit, diag);

	if (ret == 0)
		*(struct key_rate *)field = rate;
	return ret;
}

static size_t
rate_print(const struct key *row, const void *field, const char *doubled, char *buf, size_t size)
{
	const struct key_rate *rate = field;

	return key_print_number(row, rate->per_s, rate->unit, buf, size);
}

/* --- one word of several --- */

static const char *const switch_words[] = {"off", "on"};

/* " none of a, b" and the like. */
static void
key_words_join(char *buf, size_t size, const char *const words[], unsigned int n_words, const char *between)
{
	size_t used = 0;

	buf[0] = '\0';
	for (unsigned int i = 0; i < n_words; i++) {
		if (!words[i])
			continue;
		used = keyval_add(buf, size, used, used ? between : "");
		used = keyval_add(buf, size, used, words[i]);
	}
}

/* The index of the word, or -1. */
static int
key_word_find(const char *const words[], unsigned int n_words, const char *text)
{
	for (unsigned int i = 0; i < n_words; i++)
		if (words[i] && strcmp(words[i], text) == 0)
			return (int)i;
	return -1;
}

static const char *
key_word_near(const char *const words[], unsigned int n_words, const char *text)
{
	const char *there[64];
	size_t n = 0;

	for (unsigned int i = 0; i < n_words; i++)
		if (words[i] && n < sizeof(there) / sizeof(there[0]))
			there[n++] = words[i];
	return nearest_word(text, there, n);
}

static int
word_parse(const struct key_place *place, void *field, struct diag *diag)
{
	const struct key *row = place->row;
	int idx = key_word_find(row->words, row->n_words, place->text);
	char all[160];

	if (idx >= 0) {
		key_store(field, row->size, (uint64_t)idx);
		return 0;
	}
	key_words_join(all, sizeof(all), row->words, row->n_words, ", ");
	diag_set(diag, -EINVAL, NULL, "%s: %s: '%.64s' is none of %s", place->object, row->name, place->text,
		 all);
	diag_hint(diag, "%s=%s", row->name, key_word_near(row->words, row->n_words, place->text));
	return -EINVAL;
}

static size_t
word_print(const struct key *row, const void *field, const char *doubled, char *buf, size_t size)
{
	uint64_t idx = key_load(field, row->size);

	return keyval_add_doubled(buf, size, 0, idx < row->n_words ? row->words[idx] : "", doubled);
}

static int
switch_parse(const struct key_place *place, void *field, struct diag *diag)
{
	static const char *const meant[][2] = {{"no", "yes"}, {"false", "true"}, {"0", "1"}, {"n", "y"}};
	int on = key_word_find(switch_words, 2, place->text);

	if (on >= 0) {
		*(bool *)field = on;
		return 0;
	}
	diag_set(diag, -EINVAL, NULL, "%s: %s: '%.64s' is none of off, on", place->object, place->row->name,
		 place->text);
	for (unsigned int i = 0; i < sizeof(meant) / sizeof(meant[0]) && on < 0; i++)
		on = key_word_find(meant[i], 2, place->text);
	diag_hint(diag, "%s=%s", place->row->name,
		  on >= 0 ? switch_words[on] : key_word_near(switch_words, 2, place->text));
	return -EINVAL;
}

static size_t
switch_print(const struct key *row, const void *field, const char *doubled, char *buf, size_t size)
{
	return keyval_add(buf, size, 0, switch_words[*(const bool *)field]);
}

static void
switch_show(const struct key *row, const void *field, const struct show *show)
{
	show->flag(show->arg, row->name, *(const bool *)field);
}

/* --- lists --- */

/*
 * The next element of a list at *text into buf, which has room for all of it, its pluses single again; *text
 * moves behind it, NULL at the last.
 */
static void
key_list_cut(const char **text, char *buf)
{
	const char *c = *text;

	for (; *c; c++) {
		if (*c == '+') {
			if (c[1] != '+')
				break;
			c++;
		}
		*buf++ = *c;
	}
	*buf = '\0';
	*text = *c ? c + 1 : NULL;
}

static int
key_list_empty(const struct key_place *place, struct diag *diag)
{
	char form[KEY_TEXT_MAX];

	key_form(place->row, form, sizeof(form));
	diag_set(diag, -EINVAL, NULL, "%s: %s: nothing stands next to a '+'", place->object,
		 place->row->name);
	diag_hint(diag, "%s=%.200s (a '+' that is part of a value is doubled)", place->row->name, form);
	return -EINVAL;
}

static int
key_list_twice(const struct key_place *place, const char *element, struct diag *diag)
{
	diag_set(diag, -EINVAL, NULL, "%s: %s: '%.64s' is named twice", place->object, place->row->name,
		 element);
	diag_hint(diag, "name it once");
	return -EINVAL;
}

static int
key_no_memory(const struct key_place *place, struct diag *diag)
{
	return diag_no_memory(diag, "%s: no memory", place->object);
}

/* Calls `each` with every element, until one fails. */
static int
key_list_walk(const struct key_place *place,
	      int (*each)(const struct key_place *place, char *element, void *arg, struct diag *diag),
	      void *arg, struct diag *diag)
{
	const char *rest = place->text;
	char *element = malloc(strlen(rest) + 1);
	int ret = 0;

	if (!element)
		return key_no_memory(place, diag);
	while (ret == 0 && rest) {
		key_list_cut(&rest, element);
		ret = element[0] ? each(place, element, arg, diag) : key_list_empty(place, diag);
	}
	free(element);
	return ret;
}

/* Room for one more of `size` bytes in *array, which has n. */
static bool
key_grow(void *array, unsigned int n, size_t size)
{
	void *grown;

	/* At 1, 2, 4 ... */
	if (n & (n - 1))
		return true;
	grown = realloc(*(void **)array, (n ? 2u * n : 1u) * size);
	if (grown)
		*(void **)array = grown;
	return grown;
}

static int
words_each(const struct key_place *place, char *element, void *arg, struct diag *diag)
{
	const struct key *row = place->row;
	int idx = key_word_find(row->words, row->n_words, element);
	uint64_t *mask = arg;

	if (idx < 0) {
		const char *near = key_word_near(row->words, row->n_words, element);

		diag_set(diag, -EINVAL, NULL, "%s: %s: there is no '%.64s'", place->object, row->name,
			 element);
		if (strcmp(element, place->text) == 0)
			diag_hint(diag, "%s=%s", row->name, near);
		else
			diag_hint(diag, "%s instead of %.64s", near, element);
		return -EINVAL;
	}
	if (*mask >> idx & 1)
		return key_list_twice(place, element, diag);
	*mask |= 1ull << idx;
	return 0;
}

static int
words_parse(const struct key_place *place, void *field, struct diag *diag)
{
	uint64_t mask = 0;
	int ret = key_list_walk(place, words_each, &mask, diag);

	if (ret == 0)
		*(uint64_t *)field = mask;
	return ret;
}

static size_t
words_print(const struct key *row, const void *field, const char *doubled, char *buf, size_t size)
{
	const uint64_t mask = *(const uint64_t *)field;
	size_t used = keyval_add(buf, size, 0, "");

	for (unsigned int i = 0; i < row->n_words; i++) {
		if (!(mask >> i & 1))
			continue;
		used = keyval_add(buf, size, used, used ? "+" : "");
		used = keyval_add_doubled(buf, size, used, row->words[i], doubled);
	}
	return used;
}

static void
words_show(const struct key *row, const void *field, const struct show *show)
{
	const uint64_t mask = *(const uint64_t *)field;

	show->open(show->arg, row->name, SHOW_LIST);
	for (unsigned int i = 0; i < row->n_words; i++)
		if (mask >> i & 1)
			show->text(show->arg, NULL, row->words[i]);
	show->close(show->arg);
}

static int
numbers_each(const struct key_place *place, char *element, void *arg, struct diag *diag)
{
	struct key_numbers *numbers = arg;
	char *last = strchr(element, '-');
	enum key_rate_unit unit;
	struct key_range range;
	int ret;

	if (last)
		*last++ = '\0';
	ret = key_number(place, element, &range.first, &unit, diag);
	range.last = range.first;
	if (ret == 0 && last)
		ret = key_number(place, last, &range.last, &unit, diag);
	if (ret < 0)
		return ret;
	if (range.last < range.first) {
		diag_set(diag, -EINVAL, NULL, "%s: %s: %.32s-%.32s runs backwards", place->object,
			 place->row->name, element, last);
		diag_hint(diag, "%s=%.32s-%.32s", place->row->name, last, element);
		return -EINVAL;
	}
	if (!key_grow(&numbers->ranges, numbers->n, sizeof(numbers->ranges[0])))
		return key_no_memory(place, diag);
	numbers->ranges[numbers->n++] = range;
	return 0;
}

static void
numbers_free(void *field)
{
	struct key_numbers *numbers = field;

	free(numbers->ranges);
	memset(numbers, 0, sizeof(*numbers));
}

static int
numbers_parse(const struct key_place *place, void *field, struct diag *diag)
{
	struct key_numbers numbers = {0};
	int ret = key_list_walk(place, numbers_each, &numbers, diag);

	if (ret < 0) {
		numbers_free(&numbers);
		return ret;
	}
	numbers_free(field);
	*(struct key_numbers *)field = numbers;
	return 0;
}

static size_t
range_print(const struct key_range *range, char *buf, size_t size)
{
	if (range->first == range->last)
		return (size_t)snprintf(buf, size, "%llu", (unsigned long long)range->first);
	return (size_t)snprintf(buf, size, "%llu-%llu", (unsigned long long)range->first,
				(unsigned long long)range->last);
}

static size_t
numbers_print(const struct key *row, const void *field, const char *doubled, char *buf, size_t size)
{
	const struct key_numbers *numbers = field;
	size_t used = keyval_add(buf, size, 0, "");
	char range[48];

	for (unsigned int i = 0; i < numbers->n; i++) {
		range_print(&numbers->ranges[i], range, sizeof(range));
		used = keyval_add(buf, size, used, i ? "+" : "");
		used = keyval_add(buf, size, used, range);
	}
	return used;
}

static void
numbers_show(const struct key *row, const void *field, const struct show *show)
{
	const struct key_numbers *numbers = field;
	char range[48];

	show->open(show->arg, row->name, SHOW_LIST);
	for (unsigned int i = 0; i < numbers->n; i++) {
		range_print(&numbers->ranges[i], range, sizeof(range));
		show->text(show->arg, NULL, range);
	}
	show->close(show->arg);
}

bool
key_numbers_has(const struct key_numbers *numbers, uint64_t number)
{
	for (unsigned int i = 0; i < numbers->n; i++)
		if (numbers->ranges[i].first <= number && number <= numbers->ranges[i].last)
			return true;
	return false;
}

/* --- names and strings --- */

static bool
key_name_char(char c)
{
	return isalnum((unsigned char)c) || c == '-' || c == '_' || c == '.';
}

bool
key_is_name(const char *text, size_t len_max)
{
	size_t len = 0;

	if (!isalnum((unsigned char)text[0]))
		return false;
	for (; text[len]; len++)
		if (!key_name_char(text[len]))
			return false;
	return len <= len_max;
}

static int
name_check(const struct key_place *place, const char *name, struct diag *diag)
{
	if (key_is_name(name, place->row->max ? place->row->max : KEY_NAME_LEN_MAX))
		return 0;
	diag_set(diag, -EINVAL, NULL, "%s: %s: '%.64s' is not a name", place->object, place->row->name, name);
	diag_hint(diag,
		  "a name has at most %u letters, digits, '-', '_' and '.', and starts with one of the "
		  "first two",
		  (unsigned int)(place->row->max ? place->row->max : KEY_NAME_LEN_MAX));
	return -EINVAL;
}

/* "++" is "+"; in place. */
static void
key_single_pluses(char *text)
{
	char *out = text;

	for (; *text; text++) {
		*out++ = *text;
		if (text[0] == '+' && text[1] == '+')
			text++;
	}
	*out = '\0';
}

static int
string_parse(const struct key_place *place, void *field, struct diag *diag)
{
	char *text = strdup(place->text);
	size_t len;

	if (!text)
		return key_no_memory(place, diag);
	key_single_pluses(text);
	len = strlen(text);
	if (place->row->max && len > place->row->max) {
		free(text);
		diag_set(diag, -ENAMETOOLONG, NULL, "%s: %s: %zu characters are too many", place->object,
			 place->row->name, len);
		diag_hint(diag, "at most %llu", (unsigned long long)place->row->max);
		return -ENAMETOOLONG;
	}
	free(*(char **)field);
	*(char **)field = text;
	return 0;
}

static int
name_parse(const struct key_place *place, void *field, struct diag *diag)
{
	int ret = name_check(place, place->text, diag);

	return ret < 0 ? ret : string_parse(place, field, diag);
}

static void
string_free(void *field)
{
	free(*(char **)field);
	*(char **)field = NULL;
}

static size_t
string_print(const struct key *row, const void *field, const char *doubled, char *buf, size_t size)
{
	const char *text = *(char *const *)field;

	return keyval_add_doubled(buf, size, 0, text ? text : "", doubled);
}

static void
string_show(const struct key *row, const void *field, const struct show *show)
{
	const char *text = *(char *const *)field;

	if (text)
		show->text(show->arg, row->name, text);
	else
		show->none(show->arg, row->name);
}

static int
names_each(const struct key_place *place, char *element, void *arg, struct diag *diag)
{
	struct key_names *names = arg;
	int ret = name_check(place, element, diag);
	char *name;

	if (ret < 0)
		return ret;
	for (unsigned int i = 0; i < names->n; i++)
		if (strcmp(names->names[i], element) == 0)
			return key_list_twice(place, element, diag);
	name = strdup(element);
	if (!name || !key_grow(&names->names, names->n, sizeof(names->names[0]))) {
		free(name);
		return key_no_memory(place, diag);
	}
	names->names[names->n++] = name;
	return 0;
}

static void
names_free(void *field)
{
	struct key_names *names = field;

	for (unsigned int i = 0; i < names->n; i++)
		free(names->names[i]);
	free(names->names);
	memset(names, 0, sizeof(*names));
}

static int
names_parse(const struct key_place *place, void *field, struct diag *diag)
{
	struct key_names names = {0};
	int ret = key_list_walk(place, names_each, &names, diag);

	if (ret < 0) {
		names_free(&names);
		return ret;
	}
	names_free(field);
	*(struct key_names *)field = names;
	return 0;
}

static size_t
names_print(const struct key *row, const void *field, const char *doubled, char *buf, size_t size)
{
	const struct key_names *names = field;
	size_t used = keyval_add(buf, size, 0, "");

	for (unsigned int i = 0; i < names->n; i++) {
		used = keyval_add(buf, size, used, i ? "+" : "");
		used = keyval_add(buf, size, used, names->names[i]);
	}
	return used;
}

static void
names_show(const struct key *row, const void *field, const struct show *show)
{
	const struct key_names *names = field;

	show->open(show->arg, row->name, SHOW_LIST);
	for (unsigned int i = 0; i < names->n; i++)
		show->text(show->arg, NULL, names->names[i]);
	show->close(show->arg);
}

/* --- addresses --- */

static int
mac_parse(const struct key_place *place, void *field, struct diag *diag)
{
	const char *text = place->text, *why = NULL;
	uint8_t mac[6] = {0}, any = 0;

	if (strlen(text) != KEY_MAC_LEN)
		why = "not a MAC address";
	for (unsigned int i = 0; i < KEY_MAC_LEN && !why; i++)
		if (i % 3 == 2 ? text[i] != ':' : !isxdigit((unsigned char)text[i]))
			why = "not a MAC address";
	for (unsigned int i = 0; i < 6 && !why; i++) {
		const char digits[] = {text[3 * i], text[3 * i + 1], '\0'};

		mac[i] = (uint8_t)strtoul(digits, NULL, 16);
		any |= mac[i];
	}
	if (!why && !any)
		why = "the all-zero address";
	if (!why && mac[0] & 1)
		why = "a multicast address";
	if (why) {
		char form[KEY_TEXT_MAX];

		key_form(place->row, form, sizeof(form));
		diag_set(diag, -EINVAL, NULL, "%s: %s: '%.128s' is %s", place->object, place->row->name, text,
			 why);
		diag_hint(diag, "%s=%.100s", place->row->name, form);
		return -EINVAL;
	}
	memcpy(field, mac, sizeof(mac));
	return 0;
}

static size_t
mac_print(const struct key *row, const void *field, const char *doubled, char *buf, size_t size)
{
	const uint8_t *mac = field;

	return (size_t)snprintf(buf, size, "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3],
				mac[4], mac[5]);
}

/* --- permissions --- */

static int
perms_id_parse(const struct key_place *place, void *field, struct diag *diag)
{
	const enum perms_kind kind = place->row->type == KEY_USER ? PERMS_USER : PERMS_GROUP;
	char what[KEY_TEXT_MAX];

	snprintf(what, sizeof(what), "%s: %s", place->object, place->row->name);
	return perms_parse_id(kind, place->text, what, field, diag);
}

static size_t
perms_id_print(const struct key *row, const void *field, const char *doubled, char *buf, size_t size)
{
	return (size_t)perms_print_id(row->type == KEY_USER ? PERMS_USER : PERMS_GROUP,
				      ((const struct perms_id *)field)->id, buf, size);
}

static int
mode_parse(const struct key_place *place, void *field, struct diag *diag)
{
	char what[KEY_TEXT_MAX];

	snprintf(what, sizeof(what), "%s: %s", place->object, place->row->name);
	return perms_parse_mode(place->text, what, field, diag);
}

static size_t
mode_print(const struct key *row, const void *field, const char *doubled, char *buf, size_t size)
{
	return (size_t)snprintf(buf, size, "%04o", *(const uint16_t *)field);
}

/* --- arguments of somebody else --- */

static int
args_add(const struct key_place *place, struct key_args *args, const char *name, struct diag *diag)
{
	char *name_copy, *value;

	for (unsigned int i = 0; i < args->n; i++) {
		if (strcmp(args->args[i].name, name) == 0) {
			diag_set(diag, -EINVAL, NULL, "%s: key '%s.%.64s' is given twice", place->object,
				 place->row->name, name);
			diag_hint(diag, "%s.%.64s=%.160s once", place->row->name, name, place->text);
			return -EINVAL;
		}
	}
	name_copy = strdup(name);
	value = strdup(place->text);
	if (!name_copy || !value || !key_grow(&args->args, args->n, sizeof(args->args[0]))) {
		free(name_copy);
		free(value);
		return key_no_memory(place, diag);
	}
	key_single_pluses(value);
	args->args[args->n++] = (struct key_arg){.name = name_copy, .value = value};
	return 0;
}

static void
args_free(void *field)
{
	struct key_args *args = field;

	for (unsigned int i = 0; i < args->n; i++) {
		free(args->args[i].name);
		free(args->args[i].value);
	}
	free(args->args);
	memset(args, 0, sizeof(*args));
}

static void
args_show(const struct key *row, const void *field, const struct show *show)
{
	const struct key_args *args = field;
	char key[2 * KEY_NAME_LEN_MAX + 2];

	for (unsigned int i = 0; i < args->n; i++) {
		snprintf(key, sizeof(key), "%s.%s", row->name, args->args[i].name);
		show->text(show->arg, key, args->args[i].value);
	}
}

/* --- the types --- */

static const struct key_type_ops {
	int (*parse)(const struct key_place *place, void *field, struct diag *diag);
	size_t (*print)(const struct key *row, const void *field, const char *doubled, char *buf,
			size_t size);
	void (*show)(const struct key *row, const void *field, const struct show *show); /* NULL: the text */
	void (*free)(void *field); /* NULL: the field owns nothing */
	const char *form;          /* NULL: depends on the row */
} key_types[] = {
	[KEY_SWITCH] = {switch_parse, switch_print, switch_show, NULL, "on|off"},
	[KEY_NUMBER] = {number_parse, number_print, number_show, NULL, NULL},
	[KEY_SIZE] = {number_parse, number_print, NULL, NULL, NULL},
	[KEY_RATE] = {rate_parse, rate_print, NULL, NULL, NULL},
	[KEY_DURATION] = {number_parse, number_print, NULL, NULL, NULL},
	[KEY_MAC] = {mac_parse, mac_print, NULL, NULL, "XX:XX:XX:XX:XX:XX"},
	[KEY_WORD] = {word_parse, word_print, NULL, NULL, NULL},
	[KEY_WORDS] = {words_parse, words_print, words_show, NULL, "NAME[+NAME]..."},
	[KEY_NUMBERS] = {numbers_parse, numbers_print, numbers_show, numbers_free, "N[-N][+N[-N]]..."},
	[KEY_NAME] = {name_parse, string_print, string_show, string_free, "NAME"},
	[KEY_NAMES] = {names_parse, names_print, names_show, names_free, "NAME[+NAME]..."},
	[KEY_PATH] = {string_parse, string_print, string_show, string_free, "PATH"},
	[KEY_STRING] = {string_parse, string_print, string_show, string_free, "TEXT"},
	[KEY_USER] = {perms_id_parse, perms_id_print, NULL, NULL, "USER"},
	[KEY_GROUP] = {perms_id_parse, perms_id_print, NULL, NULL, "GROUP"},
	[KEY_MODE] = {mode_parse, mode_print, NULL, NULL, "0660"},
	[KEY_ARGS] = {NULL, NULL, args_show, args_free, "VALUE"},
};

static void *
key_field(const struct key *row, void *values)
{
	return (char *)values + row->offset;
}

void
key_form(const struct key *row, char *buf, size_t size)
{
	if (row->form)
		snprintf(buf, size, "%s", row->form);
	else if (row->type == KEY_WORD)
		key_words_join(buf, size, row->words, row->n_words, "|");
	else if (key_types[row->type].form)
		snprintf(buf, size, "%s", key_types[row->type].form);
	else
		key_print_range(row, buf, size);
}

void
key_usage(const struct key *row, char *buf, size_t size)
{
	char form[KEY_TEXT_MAX];

	key_form(row, form, sizeof(form));
	snprintf(buf, size, "%s%s=%s", row->name, row->type == KEY_ARGS ? ".KEY" : "", form);
}

int
key_parse(const struct key *row, void *values, const char *object, const char *text, struct diag *diag)
{
	const struct key_place place = {.row = row, .object = object, .text = text};

	assert(key_types[row->type].parse && "arguments have names of their own: keys_parse()");
	return key_types[row->type].parse(&place, key_field(row, values), diag);
}

/* KEY_ARGS: of number `arg`. */
static size_t
key_print_doubled(const struct key *row, const void *values, unsigned int arg, const char *doubled, char *buf,
		  size_t size)
{
	const void *field = (const char *)values + row->offset;

	if (row->type == KEY_ARGS)
		return keyval_add_doubled(buf, size, 0, ((const struct key_args *)field)->args[arg].value,
					  doubled);
	return key_types[row->type].print(row, field, doubled, buf, size);
}

size_t
key_print(const struct key *row, const void *values, unsigned int arg, char *buf, size_t size)
{
	return key_print_doubled(row, values, arg, "+", buf, size);
}

/* --- sets of them --- */

int
keys_init(struct key_set *set)
{
	struct diag diag;

	set->given = 0;
	for (const struct key *row = set->rows; row && row->type != KEY_END; row++) {
		int ret;

		if (!row->initial)
			continue;
		ret = key_parse(row, set->values, "default", row->initial, &diag);
		assert((ret == 0 || ret == -ENOMEM) && "a default is a value that its row takes");
		if (ret < 0) {
			keys_free(set);
			return ret;
		}
	}
	return 0;
}

void
keys_free(struct key_set *set)
{
	for (const struct key *row = set->rows; row && row->type != KEY_END; row++)
		if (key_types[row->type].free)
			key_types[row->type].free(key_field(row, set->values));
}

/* What follows "ROW." in `name`; NULL: nothing of this row. */
static const char *
key_arg_name(const struct key *row, const char *name)
{
	size_t len = strlen(row->name);

	if (row->type != KEY_ARGS || strncmp(name, row->name, len) != 0 || name[len] != '.' ||
	    !key_is_name(name + len + 1, KEY_NAME_LEN_MAX))
		return NULL;
	return name + len + 1;
}

static const struct key *
keys_find(const struct key_set *set, const char *name)
{
	for (const struct key *row = set->rows; row && row->type != KEY_END; row++)
		if (row->type == KEY_ARGS ? key_arg_name(row, name) != NULL : strcmp(row->name, name) == 0)
			return row;
	return NULL;
}

static int
keys_unknown(const struct key_set sets[], unsigned int n_sets, const struct keyval_pair *pair,
	     const char *object, const char *kind, struct diag *diag)
{
	const struct key *rows[KEYS_WORDS_MAX];
	const struct key *args = NULL;
	const char *words[KEYS_WORDS_MAX], *near;
	unsigned int n = 0;
	char all[KEY_TEXT_MAX], form[KEY_TEXT_MAX];

	for (unsigned int i = 0; i < n_sets; i++) {
		const struct key *row = keys_find(&sets[i], pair->key);

		if (row && sets[i].refused)
			return diag_set(diag, -EINVAL, "leave it out", "%s: key '%s' %s", object, pair->key,
					sets[i].refused);
		for (row = sets[i].rows; row && row->type != KEY_END && !sets[i].refused; row++) {
			if (row->type == KEY_ARGS && strcmp(row->name, pair->key) == 0)
				args = row;
			if (row->type == KEY_ARGS || n == KEYS_WORDS_MAX)
				continue;
			rows[n] = row;
			words[n++] = row->name;
		}
	}
	diag_set(diag, -EINVAL, NULL, "%s: %s has no key '%.64s'", object, kind, pair->key);
	near = nearest_word(pair->key, words, n);
	key_words_join(all, sizeof(all), words, n, ", ");
	for (unsigned int i = 0; i < n; i++) {
		if (words[i] != near)
			continue;
		/* Of a slip of the pen the value was meant for that key; of another word it was not. */
		if (pair->value && pair->value[0] && nearest_distance(pair->key, near) <= KEYS_SLIP_MAX)
			snprintf(form, sizeof(form), "%s", pair->value);
		else
			key_form(rows[i], form, sizeof(form));
		diag_hint(diag, "%s=%.100s (keys: %s)", near, form, all);
	}
	if (n == 0)
		diag_hint(diag, "leave it out: %s has no keys", kind);
	if (args) {
		key_usage(args, form, sizeof(form));
		diag_hint(diag, "%.100s", form);
	}
	return -EINVAL;
}

static int
keys_parse_pair(struct key_set sets[], unsigned int n_sets, const struct keyval_pair *pair,
		const char *object, const char *kind, struct diag *diag)
{
	const struct key *row = NULL;
	struct key_place place = {.object = object, .text = pair->value};
	struct key_set *set = NULL;
	char usage[KEY_TEXT_MAX];
	uint64_t bit;
	int ret;

	for (unsigned int i = 0; i < n_sets && !row; i++) {
		set = &sets[i];
		row = set->refused ? NULL : keys_find(set, pair->key);
	}
	if (!row)
		return keys_unknown(sets, n_sets, pair, object, kind, diag);
	if (!pair->value || !pair->value[0]) {
		key_form(row, usage, sizeof(usage));
		diag_set(diag, -EINVAL, NULL, "%s: key '%s' has no value", object, pair->key);
		diag_hint(diag, "%s=%.200s", pair->key, usage);
		return -EINVAL;
	}
	bit = 1ull << (row - set->rows);
	place.row = row;
	if (row->type == KEY_ARGS) {
		ret = args_add(&place, key_field(row, set->values), key_arg_name(row, pair->key), diag);
	} else if (set->given & bit) {
		diag_set(diag, -EINVAL, NULL, "%s: key '%s' is given twice", object, pair->key);
		diag_hint(diag, "%s=%.200s once", pair->key, pair->value);
		return -EINVAL;
	} else {
		ret = key_types[row->type].parse(&place, key_field(row, set->values), diag);
	}
	if (ret == 0)
		set->given |= bit;
	return ret;
}

int
keys_parse(struct key_set sets[], unsigned int n_sets, const struct keyval *keyval, const char *object,
	   const char *kind, const char *head, struct diag *diag)
{
	/* First, for what stands beside it is not what was meant. */
	for (unsigned int i = 0; i < keyval->n_pairs; i++) {
		const struct keyval_pair *pair = &keyval->pairs[i];

		if (!pair->value && !pair->key[0]) {
			diag_set(diag, -EINVAL, NULL, "%s: nothing stands next to a comma", object);
			diag_hint(diag, "%s[,key=value]...", head);
			return -EINVAL;
		}
	}
	for (unsigned int i = 0; i < keyval->n_pairs; i++) {
		int ret = keys_parse_pair(sets, n_sets, &keyval->pairs[i], object, kind, diag);

		if (ret < 0)
			return ret;
	}
	return 0;
}

bool
key_is_given(const struct key_set *set, const char *name)
{
	for (const struct key *row = set->rows; row && row->type != KEY_END; row++)
		if (strcmp(row->name, name) == 0)
			return set->given >> (row - set->rows) & 1;
	return false;
}

/* ",KEY=" and the value with its commas doubled; `name` is an argument's, or NULL. */
static size_t
keys_print_pair(const struct key *row, const char *name, const void *values, unsigned int arg, char *buf,
		size_t size, size_t used)
{
	used = keyval_add(buf, size, used, ",");
	used = keyval_add(buf, size, used, row->name);
	if (name) {
		used = keyval_add(buf, size, used, ".");
		used = keyval_add(buf, size, used, name);
	}
	used = keyval_add(buf, size, used, "=");
	return used + key_print_doubled(row, values, arg, "+,", used < size ? buf + used : NULL,
					used < size ? size - used : 0);
}

size_t
keys_print(const struct key_set *set, char *buf, size_t size, size_t used)
{
	for (const struct key *row = set->rows; row && row->type != KEY_END; row++) {
		const struct key_args *args;

		if (!(set->given >> (row - set->rows) & 1))
			continue;
		if (row->type != KEY_ARGS) {
			used = keys_print_pair(row, NULL, set->values, 0, buf, size, used);
			continue;
		}
		args = key_field(row, set->values);
		for (unsigned int i = 0; i < args->n; i++)
			used = keys_print_pair(row, args->args[i].name, set->values, i, buf, size, used);
	}
	return used;
}

void
keys_show(const struct key_set *set, const struct show *show)
{
	for (const struct key *row = set->rows; row && row->type != KEY_END; row++) {
		const void *field = (const char *)set->values + row->offset;
		char text[64];

		if (!row->initial && !(set->given >> (row - set->rows) & 1))
			continue;
		if (key_types[row->type].show) {
			key_types[row->type].show(row, field, show);
			continue;
		}
		key_types[row->type].print(row, field, "+", text, sizeof(text));
		show->text(show->arg, row->name, text);
	}
}
