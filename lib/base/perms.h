/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * perms: who may open a file that we make: owner, group and mode, as people write them.
 *
 * Names are looked up in this machine's databases of users and groups (NSS), which may take its time: control
 * thread only.
 */
#ifndef VNICD_PERMS_H
#define VNICD_PERMS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "diag.h"

enum perms_kind { PERMS_USER, PERMS_GROUP };

struct perms_id {
	uint32_t id;
	bool given; /* false: whatever the file has by itself */
};

/* Zero-initialised: nothing is given. */
struct perms {
	struct perms_id owner, group;
	uint16_t mode; /* 0: not given */
};

/*
 * A name, or a number. `what` begins the cause ("port vm0: socket-group"). 0, or -errno with diag filled and
 * *ret_id untouched.
 */
int perms_parse_id(enum perms_kind kind, const char *text, const char *what, struct perms_id *ret_id,
		   struct diag *diag);
/* The same of a mode, in octal: 660, 0660. Somebody has to be able to write. */
int perms_parse_mode(const char *text, const char *what, uint16_t *ret_mode, struct diag *diag);

/* The name of it, or its number where it has none; returns its length, as snprintf() does. */
int perms_print_id(enum perms_kind kind, uint32_t id, char *buf, size_t size);

/* What `perms` does not say is taken from `defaults`. */
void perms_complete(struct perms *perms, const struct perms *defaults);

/*
 * Give the file behind `fd` (opened with O_PATH will do) to owner and group, as far as they are given. 0, or
 * -errno with diag filled: `path` is for its text.
 */
int perms_give(const struct perms *perms, int fd, const char *path, struct diag *diag);

#endif
