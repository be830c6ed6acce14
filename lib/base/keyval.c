/* SPDX-License-Identifier: BSD-3-Clause */
#include "keyval.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int
keyval_check(const char *line, const char *what, struct diag *diag)
{
	size_t len = strnlen(line, KEYVAL_LINE_MAX);

	if (len == KEYVAL_LINE_MAX) {
		diag_set(diag, -E2BIG, NULL, "%s '%.64s...': the line is too long", what, line);
		diag_hint(diag, "at most %d characters", KEYVAL_LINE_MAX - 1);
		return -E2BIG;
	}
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)line[i];

		if (c < ' ' || c == 0x7f) {
			/* What stands before it is printable. */
			diag_set(diag, -EINVAL, NULL, "%s '%.*s': a control character (0x%02x) follows", what,
				 (int)(i < 64 ? i : 64), line, c);
			diag_hint(diag, "leave it out: a line has characters that can be seen");
			return -EINVAL;
		}
	}
	return 0;
}

/* Cut the word at `text` off at the next single comma, making double ones single; NULL: it is the last. */
static char *
keyval_cut(char *text)
{
	char *out = text;

	for (; *text; text++) {
		if (*text == ',') {
			if (text[1] != ',') {
				*out = '\0';
				return text + 1;
			}
			text++;
		}
		*out++ = *text;
	}
	*out = '\0';
	return NULL;
}

static void
keyval_split_head(struct keyval *keyval, char *head, enum keyval_form form)
{
	char *equals = form == KEYVAL_NAMED ? strchr(head, '=') : NULL;

	if (form == KEYVAL_UNNAMED) {
		keyval->kind = head;
		return;
	}
	keyval->name = head;
	if (!equals)
		return;
	*equals = '\0';
	keyval->kind = equals + 1;
}

int
keyval_parse(struct keyval *keyval, const char *line, enum keyval_form form, const char *what,
	     struct diag *diag)
{
	int ret = keyval_check(line, what, diag);
	char *word, *next;

	memset(keyval, 0, sizeof(*keyval));
	if (ret < 0)
		return ret;
	keyval->storage = word = strdup(line);
	if (!word)
		return diag_no_memory(diag, "%s '%.64s': no memory", what, line);
	next = keyval_cut(word);
	keyval_split_head(keyval, word, form);
	while ((word = next)) {
		struct keyval_pair *pair = &keyval->pairs[keyval->n_pairs];
		char *equals;

		if (keyval->n_pairs == KEYVAL_PAIRS_MAX) {
			keyval_free(keyval);
			diag_set(diag, -E2BIG, NULL, "%s '%.64s...': too many keys", what, line);
			diag_hint(diag, "at most %d", KEYVAL_PAIRS_MAX);
			return -E2BIG;
		}
		next = keyval_cut(word);
		equals = strchr(word, '=');
		if (equals)
			*equals++ = '\0';
		pair->key = word;
		pair->value = equals;
		keyval->n_pairs++;
	}
	return 0;
}

void
keyval_free(struct keyval *keyval)
{
	free(keyval->storage);
	memset(keyval, 0, sizeof(*keyval));
}

size_t
keyval_add_doubled(char *buf, size_t size, size_t used, const char *text, const char *chars)
{
	for (; *text; text++) {
		unsigned int n = strchr(chars, *text) ? 2 : 1;

		for (; n; n--, used++)
			if (used + 1 < size)
				buf[used] = *text;
	}
	if (size)
		buf[used < size ? used : size - 1] = '\0';
	return used;
}

size_t
keyval_add(char *buf, size_t size, size_t used, const char *text)
{
	return keyval_add_doubled(buf, size, used, text, "");
}

size_t
keyval_add_pair(char *buf, size_t size, size_t used, const char *key, const char *value)
{
	used = keyval_add(buf, size, used, ",");
	used = keyval_add(buf, size, used, key);
	used = keyval_add(buf, size, used, "=");
	return keyval_add_doubled(buf, size, used, value, ",");
}
