/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * config: one line of a port's configuration, NAME=KIND[,key=value]... (docs/grammar.md), read and checked
 * before anything is opened.
 *
 * The keys are rows (keys.h): those that every port has, here; the kind's own, which fill a struct of the
 * kind's; and those that a forwarding mode gives to the ports that it forwards for, which fill a struct of
 * the mode's. All of it belongs to the control thread.
 */
#ifndef VNICD_PORT_CONFIG_H
#define VNICD_PORT_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <rte_ether.h>

#include "diag.h"
#include "keys.h"
#include "policer_config.h"

struct port;
struct port_kind;
struct show;

enum {
	PORT_NAME_SIZE = 32, /* with the terminating NUL */
};

enum port_config_set { PORT_CONFIG_COMMON, PORT_CONFIG_KIND, PORT_CONFIG_MODE, PORT_CONFIG_SETS };

struct port_config {
	char name[PORT_NAME_SIZE];
	const struct port_kind *kind;
	uint16_t n_queues;
	bool has_mac;
	struct rte_ether_addr mac;
	uint16_t mtu; /* 0: not given */
	struct policer_config police;
	void *args;      /* the kind's own struct, of kind->args_size bytes; NULL: it has none */
	void *mode_args; /* the mode's for this port; NULL: it has none */
	/* The port whose link this one follows, in `args`; NULL: none. */
	const char *uplink;
	/* What the port will claim for itself alone ("socket /run/vnicd/vm0.sock", "device net_tap0"). */
	char resource[192];
	/* The mode that mode_args is for; NULL: none. */
	const struct port_mode_keys *mode_keys;
	uint64_t given[PORT_CONFIG_SETS]; /* bit by row of each table: the line has this key */
};

/*
 * Keys that ports have in one forwarding mode. While the mode is another one they are refused, with its name.
 */
struct port_mode_keys {
	struct port_mode_keys *next;
	const char *mode;
	const struct key *keys;
	size_t args_size; /* of the struct that they fill */
	/* Check what the rows can't. `object` begins the cause ("port vm0"). 0, or -errno with diag filled.
	 * NULL: nothing. */
	int (*check)(const void *args, const char *object, struct diag *diag);
	/* What the port's workers read, port->of_mode: one piece for free(), or NULL, which is nothing. The
	 * port is open. 0 or -ENOMEM. NULL: the mode reads its keys from the port's configuration. */
	int (*make)(const struct port *port, const void *args, void **ret_of_mode);
	/*
	 * The keys may be changed while the port is open: `args` has what the line had, and over it what was
	 * said now, `said` (bit by row). Drops what no longer holds, by zeroing it and its bit in *given.
	 * NULL: they are fixed.
	 */
	void (*change)(void *args, uint64_t said, uint64_t *given);
	char refused[96];
};

void port_mode_keys_register(struct port_mode_keys *mode_keys);

/* What a port will need of the program around it: known from its configuration, before anything is opened. */
struct port_demand {
	unsigned int n_mbufs;   /* of the program's pool, that it can hold back at one time */
	size_t own_bytes;       /* of EAL's memory, for pools and rings of its own */
	const char *pci_device; /* that EAL has to let in; NULL: none. Points into the configuration. */
};

/* Parse and check one line. 0, or -errno with diag filled. On success config owns memory: port_config_free().
 */
int port_config_parse(struct port_config *config, const char *line, struct diag *diag);
void port_config_free(struct port_config *config);
/* What changes of a port that is open, all of it. */
struct port_config_change {
	struct policer_config police;
	void *mode_args;                  /* NULL: the mode has none */
	uint64_t given[PORT_CONFIG_SETS]; /* as port_config's */
};

/*
 * Of a port that is open: what would be with `pairs`, key=value[,key=value].... 0, or -errno with diag filled
 * and nothing to free. Changes nothing.
 */
int port_config_change(const struct port_config *config, const char *pairs,
		       struct port_config_change *ret_change, struct diag *diag);
/* Could an open port become what `as` says, which was parsed from another line? Not if something else differs
 * than what port_config_change() takes. */
bool port_config_can_become(const struct port_config *config, const struct port_config *as);
/*
 * Of a port that is open: what would be with the line that `as` was parsed from, whose struct of the mode's
 * goes to *ret_change. False: it can't become that, and nothing was done.
 */
bool port_config_change_to(const struct port_config *config, struct port_config *as,
			   struct port_config_change *ret_change);
/* Takes over what `change` has. */
void port_config_take(struct port_config *config, struct port_config_change *change);
void port_config_change_free(const struct port_config *config, struct port_config_change *change);
/* Check that the names and resources of a set do not collide, and that the ports it names are in the set. */
int port_config_check(const struct port_config configs[], unsigned int n, struct diag *diag);
/* The same for a port that joins those that are open; names and resources are left to port_open(). */
int port_config_check_open(const struct port_config *config, struct diag *diag);

/* Is the kind's own key on the line? */
bool port_config_has(const struct port_config *config, const char *key);
void port_config_demand(const struct port_config *config, struct port_demand *ret_demand);

/* The line again; its length, which is `size` or more when it did not fit. */
size_t port_config_print(const struct port_config *config, char *buf, size_t size);
/* Name, kind, and each key that was given or has a default. */
void port_config_show(const struct port_config *config, const struct show *show);

/* The keys that every port has. */
const struct key *port_config_common_keys(void);

#endif
