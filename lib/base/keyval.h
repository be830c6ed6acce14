/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * keyval: the grammar of everything that can be configured, one object a line (docs/grammar.md):
 *
 *	NAME=KIND[,key=value]...	a port, and whatever else has a name
 *	KIND[,key=value]...		what there is one of, such as a forwarding mode
 *
 * A comma that is part of a value is doubled. Nothing here knows what a kind or a key means: the keys' types
 * are keys.h.
 */
#ifndef VNICD_KEYVAL_H
#define VNICD_KEYVAL_H

#include <stddef.h>

#include "diag.h"

enum {
	KEYVAL_LINE_MAX = 16384, /* bytes of a line */
	KEYVAL_PAIRS_MAX = 64,   /* of one object */
};

struct keyval_pair {
	const char *key;
	const char *value; /* NULL: there is no '='. Its commas are single again, its pluses as they came. */
};

struct keyval {
	const char *name; /* NULL: this form has none */
	const char *kind; /* NULL: no '=' follows the name */
	unsigned int n_pairs;
	struct keyval_pair pairs[KEYVAL_PAIRS_MAX];
	char *storage; /* of all strings */
};

enum keyval_form { KEYVAL_NAMED, KEYVAL_UNNAMED };

/*
 * Split a line. Empty words come out as such: to find fault with them is the caller's, who knows what the
 * line should have been. 0; or -errno with diag filled, `what` being the first word of the cause ("port"):
 * -EINVAL: control characters; -E2BIG: too long, too many pairs; -ENOMEM.
 */
int keyval_parse(struct keyval *keyval, const char *line, enum keyval_form form, const char *what,
		 struct diag *diag);
void keyval_free(struct keyval *keyval);

/*
 * Writing. `used` bytes of buf[size] are text already; returns the number with what was added, which is
 * `size` or more when it did not fit (then the text is cut). _doubled(): with each of `chars` doubled.
 */
size_t keyval_add(char *buf, size_t size, size_t used, const char *text);
size_t keyval_add_doubled(char *buf, size_t size, size_t used, const char *text, const char *chars);
/* ",key=value", the value's commas doubled. */
size_t keyval_add_pair(char *buf, size_t size, size_t used, const char *key, const char *value);

#endif
