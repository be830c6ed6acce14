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
	/* The port has been opened with these: no worker sees it yet. NULL: the mode reads them itself. */
	void (*apply)(struct port *port, const void *args);
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
/*
 * Of a port that is open: what its policers would be with `pairs`, key=value[,key=value]..., and which of the
 * common keys its line would have. 0, or -errno with diag filled. Changes nothing.
 */
int port_config_change(const struct port_config *config, const char *pairs, struct policer_config *ret_police,
		       uint64_t *ret_given, struct diag *diag);
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
