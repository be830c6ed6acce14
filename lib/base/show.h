/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * show: how a port tells what it is and does, to whoever asks: value by value, in an order that a person can
 * read. What becomes of the values (JSON, text) is the receiver's business.
 *
 * Values and groups stand in an object, each under its own key, or in a list, where the key is NULL. The
 * whole is an object that is open already and that the receiver closes.
 */
#ifndef VNICD_SHOW_H
#define VNICD_SHOW_H

#include <stdbool.h>
#include <stdint.h>

enum show_group { SHOW_OBJECT, SHOW_LIST };

/* Strings are valid during the call only. */
struct show {
	void *arg;
	void (*text)(void *arg, const char *key, const char *value);
	void (*number)(void *arg, const char *key, int64_t value);
	void (*flag)(void *arg, const char *key, bool value);
	/* Not known, or not there. */
	void (*none)(void *arg, const char *key);
	/* What follows belongs to this group, until it is closed. */
	void (*open)(void *arg, const char *key, enum show_group group);
	void (*close)(void *arg);
};

#endif
