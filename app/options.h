/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * options: the command line, parsed and checked before anything is opened.
 *
 *   vnicd [EAL options --] OUR OPTIONS
 *
 * Everything up to a `--` belongs to DPDK's EAL; without a `--` everything is ours. --config reads more of
 * the same from a file.
 */
#ifndef VNICD_OPTIONS_H
#define VNICD_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "config_file.h"
#include "diag.h"
#include "fwd_config.h"
#include "log.h"
#include "perms.h"
#include "port.h"

enum { OPTIONS_MAX = 32 }; /* rows of them */

enum options_action { OPTIONS_RUN, OPTIONS_HELP, OPTIONS_VERSION };

struct options {
	enum options_action action;
	char **eal_args; /* into argv and `file` */
	unsigned int n_eal_args;
	const char **port_lines;         /* into argv and `file` */
	unsigned int *port_line_numbers; /* in `file`; 0: on the command line */
	struct port_config *ports;
	unsigned int n_port_lines;
	unsigned int n_ports; /* parsed ones */
	const char **mirrors; /* lines, into argv and `file` */
	unsigned int n_mirrors;
	struct fwd_config fwd;      /* .mode NULL: not given */
	uint64_t stats_period_ms;   /* 0: none */
	uint64_t duration_ms;       /* 0: no limit */
	const char *control_socket; /* NULL: the default one */
	struct perms socket_perms;  /* of ports' sockets */
	struct perms control_perms; /* of the control socket; its group is the run-time directory's, too */
	enum log_level log_level;
	const char *log_file; /* into argv and `file`; NULL: standard error */
	bool json;
	const char *config_path; /* into argv; NULL: no --config */
	struct config_file file;
	unsigned int line_number; /* of `file`, while it is parsed; else 0 */
	/* What was given to each option, by its row; "": it takes nothing; NULL: it was not given. */
	const char *said[OPTIONS_MAX];
};

/*
 * Split the command line and check every single value but the ports' lines. 0, or -errno with diag filled;
 * either way options_free() is due.
 */
int options_parse(struct options *options, int argc, char **argv, struct diag *diag);
/*
 * The same of a configuration file's text alone, which is copied; `path` is for causes. There need not be
 * ports or a mode.
 */
int options_parse_text(struct options *options, const char *path, const char *text, struct diag *diag);
/* As lines of a file: all that was said but ports and mirrors. Returns the length, which is `size` or more
 * when it did not fit. */
size_t options_print(const struct options *options, char *buf, size_t size);
/* Does `as` say anything else than what `options` runs with, but for ports and mirrors? 0, or -EINVAL with
 * diag filled. What it does not say is no difference. */
int options_check_same(const struct options *options, const struct options *as, struct diag *diag);
/* Parse the ports' lines and check the whole against itself. port_env.run_dir must be set. */
int options_parse_ports(struct options *options, struct diag *diag);
/* Can n_workers workers serve all the queue pairs? */
int options_check_workers(const struct options *options, unsigned int n_workers, struct diag *diag);
/* Queue pairs of all ports. */
unsigned int options_queue_pairs(const struct options *options);
/* What all ports and the mode need together; its pci_device is NULL. */
void options_demand(const struct options *options, struct port_demand *ret_demand);
void options_free(struct options *options);

/* --help, on standard output. */
void options_print_help(void);

#endif
