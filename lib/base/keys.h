/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * keys: the keys that a kind of object takes, as rows: type, range, default, help. A value is parsed once,
 * from its row, into a field of a struct; the message when it is wrong, `--help` and what is shown later come
 * from the same row.
 *
 * Text of a value (docs/grammar.md): elements of a list are joined by '+', ranges of numbers by '-'; a '+'
 * that is part of a value is doubled. A single one in a value that is no list can't separate anything, and
 * stands for itself. Commas are keyval.h's.
 */
#ifndef VNICD_KEYS_H
#define VNICD_KEYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "diag.h"
#include "keyval.h"

struct show;

enum key_type {
	KEY_END,      /* of the rows */
	KEY_SWITCH,   /* bool: on, off */
	KEY_NUMBER,   /* uint8_t, uint16_t, uint32_t or uint64_t: 16, 16k (16,000), 1m, 1g */
	KEY_SIZE,     /* uint64_t, bytes: 4096, 64k (65,536), 1m, 1.5g */
	KEY_RATE,     /* struct key_rate: 10mbit, 1.5gbit, 64kbit, 5kpps */
	KEY_DURATION, /* uint64_t, microseconds: 100us, 1.5ms, 300s */
	KEY_MAC,      /* uint8_t[6], a unicast address: 52:54:00:12:34:56 */
	KEY_WORD,     /* uint8_t, uint16_t or uint32_t: the index of one of `words` */
	KEY_WORDS,    /* uint64_t: some of `words`, bit by index: ring_packed+host_tso4 */
	KEY_NUMBERS,  /* struct key_numbers: 10+20+30-40 */
	KEY_NAME,     /* char *: the name of an object */
	KEY_NAMES,    /* struct key_names: vm0+vm1 */
	KEY_PATH,     /* char * */
	KEY_STRING,   /* char * */
	KEY_USER,     /* struct perms_id: a user's name or number */
	KEY_GROUP,    /* struct perms_id: a group's */
	KEY_MODE,     /* uint16_t: the mode of a socket, octal; 0 is none: 0660 */
	KEY_ARGS,     /* struct key_args: ROW.name=value, any number of them: vdev.iface=eth1 */
};

enum key_rate_unit { KEY_RATE_BIT = 1, KEY_RATE_PPS = 2 };

struct key_rate {
	uint64_t per_s;
	enum key_rate_unit unit; /* 0: none is given */
};

struct key_numbers {
	unsigned int n;
	struct key_range {
		uint64_t first, last; /* first <= last */
	} * ranges;                   /* [n], in the order they were given; they may overlap */
};

struct key_names {
	unsigned int n;
	char **names; /* [n], each once */
};

struct key_args {
	unsigned int n;
	struct key_arg {
		char *name, *value;
	} * args; /* [n], each name once, in the order they were given */
};

enum {
	KEYS_ROWS_MAX = 64, /* of one table */
	KEY_TEXT_MAX = 512, /* bytes that are enough for what people are shown of a value's form */
	KEY_NAME_LEN_MAX = 63,
};

struct key {
	const char *name;
	enum key_type type;
	uint8_t size;       /* of the field, and */
	uint16_t offset;    /* where it is in the struct: KEY_FIELD() */
	uint8_t rate_units; /* enum key_rate_unit, those that are taken; 0: bit */
	/* A number without a suffix counts so many (KEY_SIZE: bytes; KEY_RATE: per second; KEY_DURATION:
	 * microseconds). 0: 1. Ranges are shown in this unit. */
	uint64_t bare;
	uint64_t min, max;        /* of each number, in the field's unit; max 0: what the field holds */
	const char *const *words; /* of KEY_WORD and KEY_WORDS (at most 64); NULL: no word has this index */
	unsigned int n_words;
	const char *form;    /* for people: "SOCKET"; NULL: made from the type */
	const char *initial; /* the default, as one would write it; NULL: what zeroed memory means */
	const char *help;
};

#define KEY_FIELD(type, field) .size = sizeof(((type *)0)->field), .offset = offsetof(type, field)

/* One table, and what was read by it. */
struct key_set {
	const struct key *rows; /* NULL: none */
	void *values;           /* the struct that the rows' fields are in */
	uint64_t given;         /* bit by row: the line has this key */
	/* Keys that can't be given now, and why: ends the sentence "port vm0: key 'x' ". NULL: they can. */
	const char *refused;
};

/* Zeroed memory at set->values becomes the defaults. 0 or -ENOMEM, then nothing is left behind. */
int keys_init(struct key_set *set);
/* Free what the fields own; they are zero after that. */
void keys_free(struct key_set *set);

/*
 * Parse the pairs of a line into sets that keys_init() has seen. `object` begins each cause ("port vm0"),
 * `kind` says whose keys they are ("kind nic"), `head` is the line up to the first pair ("vm0=nic"). 0, or
 * -errno with diag filled; keys_free() is due in either case.
 */
int keys_parse(struct key_set sets[], unsigned int n_sets, const struct keyval *keyval, const char *object,
	       const char *kind, const char *head, struct diag *diag);
/* One value into the field at `values`. 0, or -errno with diag filled and nothing changed. */
int key_parse(const struct key *row, void *values, const char *object, const char *text, struct diag *diag);
/* The length of names is limited to this. False: `text` is none. */
bool key_is_name(const char *text, size_t len_max);

/* Is the key's row among those that the line has? */
bool key_is_given(const struct key_set *set, const char *name);

/*
 * The value as text that key_parse() takes, in its shortest form; returns its length, which is `size` or more
 * when it did not fit. KEY_ARGS: the value of its number `arg`.
 */
size_t key_print(const struct key *row, const void *values, unsigned int arg, char *buf, size_t size);
/* All pairs that were given, as ",key=value...", after `used` bytes of buf (keyval_add_pair()). */
size_t keys_print(const struct key_set *set, char *buf, size_t size, size_t used);
/* Each key that was given or has a default, under its name. */
void keys_show(const struct key_set *set, const struct show *show);

/* What a value looks like, for people: "1..128", "server|client", "SOCKET". */
void key_form(const struct key *row, char *buf, size_t size);
/* "name=", or "name.KEY=" of KEY_ARGS, and the form. */
void key_usage(const struct key *row, char *buf, size_t size);

bool key_numbers_has(const struct key_numbers *numbers, uint64_t number);

#endif
